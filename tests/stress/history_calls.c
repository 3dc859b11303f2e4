/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history_calls.c - clients that call a map at random, and record it
 *
 * call_ns and return_ns are read before and after the call, from one clock.
 */
#include "tests/stress/history.h"

#include <errno.h>
#include <string.h>

/* ---- operations ---- */

static struct fm_key key_at(struct client *c, int32_t key)
{
    return fm_key_str(c->history->names[key]);
}

static uint64_t id_not_started(struct client *c)
{
    return NOT_STARTED + atomic_fetch_add(&c->history->not_started, 1);
}

/* Of a map that retains exits: whether this run is content with one. */
static bool reuses(struct client *c)
{
    return c->history->retains && stress_random(&c->random) % 3 == 0;
}

static void note_outcome(struct record *record, int r, struct fm_fiber *fiber)
{
    switch (r) {
    case 0:
    case FM_MAP_REPLACED:
        /* whom it displaced is learned later */
        if (record->op == RUN_MISSING || record->op == RUN_JOIN)
            history_note_number(record, fm_fiber_id(fiber));
        else if (r == 0)
            history_note_number(record, 0);
        break;
    case FM_MAP_REUSED:
    case FM_MAP_KEPT:
        record->flags |= r == FM_MAP_REUSED ? RECORD_REUSED : 0;
        history_note_number(record, fm_fiber_id(fiber));
        break;
    case FM_MAP_QUEUED: record->result = WAITS; break;
    case -EAGAIN: record->result = FULL; break;
    case -ESHUTDOWN: record->result = CLOSED; break;
    default: STRESS_CHECK(r == -ENOMEM, "run: %d", r); record->result = FAILED;
    }
}

static void do_run(struct client *c, int32_t key, enum op op)
{
    static const uint32_t conflicts[] = {
        [RUN] = FM_REPLACE,     [RUN_MISSING] = FM_KEEP,
        [RUN_JOIN] = FM_JOIN,   [RUN_AWAIT] = FM_REPLACE_AWAIT,
        [RUN_QUEUE] = FM_QUEUE,
    };
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber = NULL;
    struct told *told = history_new_told(c);

    options.conflict = conflicts[op];
    options.reuse = reuses(c) ? FM_REUSE_ANY : FM_REUSE_NOTHING;
    options.queue_max = op == RUN_QUEUE ? 1 + stress_random(&c->random) % 3 : 0;
    int64_t call_ns = fm_now_ns();
    int r = fm_map_run(c->history->map, key_at(c, key), history_body, told, &options, &fiber);
    int64_t return_ns = fm_now_ns();
    bool started = r == 0 || r == FM_MAP_REPLACED || r == FM_MAP_QUEUED;
    uint64_t id = started ? fm_fiber_id(fiber) : id_not_started(c);
    struct record *record = history_note(c, op, key, id, call_ns, return_ns);
    record->expect = options.queue_max;
    record->flags = options.reuse ? RECORD_REUSES : 0;
    STRESS_CHECK(r != -EAGAIN || op == RUN_QUEUE, "run: %d", r);
    note_outcome(record, r, fiber);
    if (started) {
        told->queued = r == FM_MAP_QUEUED;
        c->told_count++;
        history_own(c, fiber, told, key, call_ns);
    } else {
        fm_fiber_unref(fiber);
    }
}

/* A third do not stay, the others for some time: nobody need ever end whom they wait for. */
static int64_t patience(struct client *c)
{
    return stress_random(&c->random) % 3 ? fm_after_ms(1) : fm_after_ns(0);
}

static void do_run_wait(struct client *c, int32_t key)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct told *told = history_new_told(c);
    struct fm_exit exit = { 0 };
    bool stops = stress_random(&c->random) % 2;

    c->told_count++;
    told->by_run_wait = true;
    told->caller = fm_fiber_self();
    options.arg_drop = history_never_begun;
    options.flags = stops ? FM_MAP_STOP_WITH_LAST_WAITER : 0;
    options.reuse = reuses(c) ? FM_REUSE_ANY : FM_REUSE_NOTHING;
    int64_t until_ns = patience(c), call_ns = fm_now_ns();
    int r = fm_map_run_wait(c->history->map, key_at(c, key), history_body, told, &options,
                            until_ns, &exit);
    int64_t return_ns = fm_now_ns();
    STRESS_CHECK(r == 0 || r == FM_MAP_KEPT || r == -ETIMEDOUT || r == -ESHUTDOWN ||
                     r == -ENOMEM,
                 "run_wait: %d", r);
    bool refused = r == -ESHUTDOWN || r == -ENOMEM;
    bool started = !refused && !told->refused;
    STRESS_CHECK(!(r == 0 && !started) && !(r == FM_MAP_KEPT && started), "run_wait: %d", r);
    struct record *record = history_note(c, RUN_WAIT, key, started ? 0 : id_not_started(c),
                                         call_ns, return_ns);
    record->flags = (uint8_t)((stops ? RECORD_STOPS : 0) | (r == -ETIMEDOUT ? RECORD_LEFT : 0) |
                              (options.reuse ? RECORD_REUSES : 0));
    if (refused)
        record->result = r == -ESHUTDOWN ? CLOSED : FAILED;
    else if (!started && r == FM_MAP_KEPT && exit.kind == FM_SUCCESS)
        history_note_number(record, (uint64_t)(uintptr_t)exit.value);
    else
        history_note_truth(record, started);
    if (started) {
        record->told = told;
        history_own(c, NULL, told, key, call_ns);
    }
}

static void do_set(struct client *c, int32_t key)
{
    struct fm_fiber *fiber = NULL;
    struct told *told;

    if (c->owned_count && stress_random(&c->random) % 4) {
        /*
         * Who is shared stands under his key once: a waiter leaves the one stay that he knows.
         * So does who queues, since his turn is that of one stay.
         */
        struct owned *owned = &c->owned[stress_random(&c->random) % (uint64_t)c->owned_count];
        told = owned->told;
        fiber = told->by_run_wait || told->queued ? NULL : fm_fiber_ref(owned->fiber);
    }
    if (!fiber) {
        told = history_new_told(c);
        int r = fm_runtime_spawn(c->history->runtime, history_body, told, NULL, &fiber);
        STRESS_CHECK(r == 0, "spawn: %d", r);
        c->told_count++;
    }
    int64_t call_ns = fm_now_ns();
    int r = fm_map_set(c->history->map, key_at(c, key), fiber, NULL);
    struct record *record = history_note(c, SET, key, fm_fiber_id(fiber), call_ns, fm_now_ns());
    STRESS_CHECK(r == 0 || r == FM_MAP_REPLACED || r == FM_MAP_SAME || r == -ESHUTDOWN,
                 "set: %d", r);
    if (r == 0)
        history_note_number(record, 0);
    else if (r == FM_MAP_SAME)
        history_note_number(record, fm_fiber_id(fiber));
    else if (r == -ESHUTDOWN)
        record->result = CLOSED;
    history_own(c, fiber, told, key, call_ns);
}

/* With a reference, or NULL. */
static struct fm_fiber *get(struct client *c, int32_t key)
{
    struct fm_fiber *fiber = NULL;
    int64_t call_ns = fm_now_ns();
    int r = fm_map_get(c->history->map, key_at(c, key), &fiber);
    int64_t return_ns = fm_now_ns();
    STRESS_CHECK(r == 0 || r == -ENOENT, "get: %d", r);
    history_note_number(history_note(c, GET, key, 0, call_ns, return_ns), fm_fiber_id(fiber));
    return fiber;
}

static void do_get(struct client *c, int32_t key)
{
    fm_fiber_unref(get(c, key));
}

/* In place of whom a look has found, or of nobody. */
static void do_run_if(struct client *c, int32_t key)
{
    struct fm_fiber *fiber = NULL;
    struct fm_fiber *expected = stress_random(&c->random) % 4 ? get(c, key) : NULL;
    struct told *told = history_new_told(c);

    int64_t call_ns = fm_now_ns();
    int r = fm_map_compare_and_replace(c->history->map, key_at(c, key), expected, history_body,
                                       told, NULL, &fiber);
    int64_t return_ns = fm_now_ns();
    bool started = r == 0 || r == FM_MAP_REPLACED;
    uint64_t id = started ? fm_fiber_id(fiber) : id_not_started(c);
    struct record *record = history_note(c, RUN_IF, key, id, call_ns, return_ns);
    record->expect = fm_fiber_id(expected);
    record->flags = r == 0 && expected ? RECORD_FOLLOWS : 0;
    STRESS_CHECK(r != -ENOENT || expected, "nobody was expected, and nobody is there");
    if (started || r == -ENOENT)
        history_note_number(record, started ? id : 0);
    else
        note_outcome(record, r, fiber);
    if (started) {
        c->told_count++;
        history_own(c, fiber, told, key, call_ns);
    } else {
        fm_fiber_unref(fiber);
    }
    fm_fiber_unref(expected);
}

/* The exit that is retained: whose it is a success tells. */
static void do_last(struct client *c, int32_t key)
{
    struct fm_exit exit;
    int64_t call_ns = fm_now_ns();
    int r = fm_map_last_exit(c->history->map, key_at(c, key), &exit);
    struct record *record = history_note(c, LAST, key, 0, call_ns, fm_now_ns());
    STRESS_CHECK(r == 0 || r == -ENOENT, "last_exit: %d", r);
    if (r == 0 && exit.kind == FM_SUCCESS)
        history_note_number(record, (uint64_t)(uintptr_t)exit.value);
    else
        history_note_truth(record, r == 0);
}

static void do_forget(struct client *c, int32_t key)
{
    int64_t call_ns = fm_now_ns();
    int r = fm_map_forget(c->history->map, key_at(c, key));
    STRESS_CHECK(r == 0 || r == -ENOENT, "forget: %d", r);
    history_note_truth(history_note(c, FORGET, key, 0, call_ns, fm_now_ns()), r == 0);
}

static void do_detach(struct client *c, int32_t key)
{
    struct fm_fiber *fiber = NULL;
    int64_t call_ns = fm_now_ns();
    int r = fm_map_detach(c->history->map, key_at(c, key), &fiber);
    int64_t return_ns = fm_now_ns();
    STRESS_CHECK(r == 0 || r == -ENOENT, "detach: %d", r);
    history_note_number(history_note(c, DETACH, key, 0, call_ns, return_ns),
                        fm_fiber_id(fiber));
    if (fiber)
        fm_fiber_interrupt(fiber); /* nobody else may ever end it */
    fm_fiber_unref(fiber);
}

static void do_has(struct client *c, int32_t key)
{
    int64_t call_ns = fm_now_ns();
    bool has = fm_map_has(c->history->map, key_at(c, key));
    history_note_truth(history_note(c, HAS, key, 0, call_ns, fm_now_ns()), has);
}

static void do_interrupt(struct client *c, int32_t key)
{
    int64_t call_ns = fm_now_ns();
    int r = fm_map_interrupt(c->history->map, key_at(c, key));
    struct record *record = history_note(c, INTERRUPT, key, 0, call_ns, fm_now_ns());
    STRESS_CHECK(r == 0 || r == -ENOENT, "interrupt: %d", r);
    if (r == -ENOENT)
        history_note_number(record, 0);
}

static void do_remove(struct client *c, int32_t key)
{
    int64_t call_ns = fm_now_ns();
    int r = fm_map_remove(c->history->map, key_at(c, key), FM_NEVER);
    STRESS_CHECK(r == 0 || r == -ENOENT, "remove: %d", r);
    history_note_truth(history_note(c, REMOVE, key, 0, call_ns, fm_now_ns()), r == 0);
}

static void do_clear(struct client *c)
{
    int64_t call_ns = fm_now_ns();
    int r = fm_map_clear(c->history->map, FM_NEVER);
    STRESS_CHECK(r == 0, "clear: %d", r);
    history_note(c, CLEAR, -1, 0, call_ns, fm_now_ns());
}

/* One moment for all keys or one for each stripe: either is one for each key. */
static void do_snapshot(struct client *c)
{
    struct fm_snapshot *snapshot;
    uint32_t flags = stress_random(&c->random) % 2 ? FM_SNAPSHOT_CONSISTENT : 0;
    int64_t call_ns = fm_now_ns();
    int r = fm_map_snapshot(c->history->map, flags, &snapshot);
    int64_t return_ns = fm_now_ns();
    STRESS_CHECK(r == 0, "snapshot: %d", r);
    size_t seen = 0, count = fm_snapshot_count(snapshot);
    for (uint32_t key = 0; key < c->history->keys; key++) {
        struct fm_key name = key_at(c, (int32_t)key);
        bool found = false;
        for (size_t i = 0; i < count; i++) {
            const struct fm_member *member = fm_snapshot_at(snapshot, i);
            if (member->key.len != name.len || memcmp(member->key.data, name.data, name.len))
                continue;
            found = true;
            seen++;
            history_note_number(history_note(c, SEE, (int32_t)key, 0, call_ns, return_ns),
                                fm_fiber_id(member->fiber));
        }
        if (!found)
            history_note_number(history_note(c, SEE, (int32_t)key, 0, call_ns, return_ns), 0);
    }
    STRESS_CHECK(seen == count, "a snapshot shows a key that nobody used");
    fm_snapshot_free(snapshot);
}

void history_close(struct history *h)
{
    struct client *c = &h->client[h->clients + h->foreign];
    int64_t call_ns = fm_now_ns();
    int r = fm_map_close(h->map, NULL, NULL);
    STRESS_CHECK(r == 0, "close: %d", r);
    history_note(c, CLOSE, -1, 0, call_ns, fm_now_ns());
}

/* ---- a client ---- */

/*
 * What a fiber of its own does for its client, so that whoever is interrupted has the id of
 * this one call on record.
 */
struct call {
    struct client *client;
    enum op op;
    int32_t key;
};

static void make(struct call *call)
{
    switch (call->op) {
    case SET: do_set(call->client, call->key); break;
    case INTERRUPT: do_interrupt(call->client, call->key); break;
    case REMOVE: do_remove(call->client, call->key); break;
    case RUN_WAIT: do_run_wait(call->client, call->key); break;
    case RUN_IF: do_run_if(call->client, call->key); break;
    default: do_run(call->client, call->key, call->op); break;
    }
}

static struct fm_exit fiber_makes(void *arg)
{
    make(arg);
    return fm_ok(NULL);
}

static void make_call(struct client *c, enum op op, int32_t key)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct call call = { c, op, key };
    struct fm_fiber *fiber;

    if (!fm_fiber_self()) {
        make(&call);
        return;
    }
    options.flags = FM_SPAWN_FIRST;
    STRESS_CHECK(fm_fiber_spawn(fiber_makes, &call, &options, &fiber) == 0, "spawn");
    STRESS_CHECK(fm_fiber_join(fiber, FM_NEVER, NULL) == 0, "join");
    fm_fiber_unref(fiber);
}

/* Of a hundred calls so many; what is left are detaches. */
static const struct {
    enum op op;
    uint32_t percent;
} mix[] = {
    { GET, 13 },      { HAS, 6 },      { RUN, 11 },       { RUN_AWAIT, 5 }, { RUN_MISSING, 10 },
    { RUN_JOIN, 6 },  { RUN_WAIT, 9 }, { RUN_QUEUE, 10 }, { RUN_IF, 6 },    { SET, 7 },
    { INTERRUPT, 5 }, { REMOVE, 7 },   { LAST, 2 },       { FORGET, 1 },
};

static void operate(struct client *c)
{
    uint64_t draw = stress_random(&c->random) >> 11;
    uint32_t keys = c->history->keys, hot = c->history->hot < keys ? c->history->hot : keys;
    int32_t key = (int32_t)(draw % 2 ? (draw >> 1) % hot : (draw >> 1) % keys);
    uint64_t kind = stress_random(&c->random) >> 11;

    if (c->owned_count > OWNED_MAX - 2)
        history_reap(c, true);
    if (kind % 1000 < c->history->rare) {
        (kind % 2 ? do_clear : do_snapshot)(c);
        return;
    }
    kind = kind / 1000 % 100;
    for (size_t i = 0; i < sizeof mix / sizeof *mix; i++) {
        if (kind >= mix[i].percent) {
            kind -= mix[i].percent;
            continue;
        }
        enum op op = mix[i].op;
        switch ((op == LAST || op == FORGET) && !c->history->retains ? GET : op) {
        case LAST: do_last(c, key); break;
        case FORGET: do_forget(c, key); break;
        case GET: do_get(c, key); break;
        case HAS: do_has(c, key); break;
        default: make_call(c, op, key); break;
        }
        return;
    }
    do_detach(c, key);
}

void history_play(struct client *c)
{
    for (uint64_t i = 0; i < c->history->operations; i++) {
        stress_jitter(&c->random);
        operate(c);
        if (i % 3 == 0)
            history_reap(c, false);
        if (fm_fiber_self() && stress_random(&c->random) % 4 == 0)
            fm_yield();
        atomic_fetch_add(&c->history->done, 1);
    }
}

void history_end(struct history *h)
{
    for (uint32_t i = 0; i < h->clients + h->foreign; i++)
        history_reap(&h->client[i], true);
}
