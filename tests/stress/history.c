/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history.c - clients that call a map at random, and record it
 *
 * call_ns and return_ns are read before and after the call, from one clock. An exit lies between the end of the fiber's last finalizer and
 * the moment that somebody saw the fiber ended; a set of a fiber that had ended has an exit of its own within the set.
 */
#include "tests/stress/history.h"

#include <errno.h>
#include <string.h>

/* ---- recording ---- */

static struct record *note(struct client *c, enum op op, int32_t key, uint64_t arg,
                           int64_t call_ns, int64_t return_ns)
{
    STRESS_CHECK(c->count < c->room, "the buffer of client %u is full", c->number);
    struct record *record = &c->records[c->count++];
    *record = (struct record) {
        .call_ns = call_ns,
        .return_ns = return_ns,
        .arg = arg,
        .by = fm_fiber_id(fm_fiber_self()),
        .key = key,
        .op = (uint8_t)op,
    };
    return record;
}

static void note_number(struct record *record, uint64_t number)
{
    record->result = NUMBER;
    record->number = number;
}

static void note_truth(struct record *record, bool truth)
{
    record->result = TRUTH;
    record->number = truth;
}

/* ---- bodies ---- */

static int told_end(void *arg, struct fm_exit exit)
{
    struct told *told = arg;
    atomic_store(&told->end_ns, fm_now_ns());
    return 0;
}

static bool step(struct told *told)
{
    int64_t begin_ns = fm_now_ns();
    if (fm_check() < 0)
        return false;
    int at = told->steps < STEPS_MAX ? told->steps++
                                     : STEPS_MAX - 1; /* the first ones, and the last */
    told->step_begin_ns[at] = begin_ns;
    told->step_end_ns[at] = fm_now_ns();
    return true;
}

/* The caller has no handle: the fiber gives one. */
static void tell_self(struct told *told)
{
    told->id = fm_fiber_id(fm_fiber_self());
    atomic_store(&told->self, fm_fiber_ref(fm_fiber_self()));
}

/* Of run_wait: in the call itself where that joins another fiber; else in the fiber, which has not begun. */
static void never_begun(void *arg)
{
    struct told *told = arg;
    if (fm_fiber_self() == told->caller)
        told->refused = true;
    else
        tell_self(told);
}

/* The exit's value is the fiber's id: who joined it knows whom. */
static struct fm_exit body(void *arg)
{
    struct told *told = arg;
    if (told->by_run_wait)
        tell_self(told);
    told->begin_ns = fm_now_ns();
    if (fm_defer(told_end, told) < 0)
        return fm_fail(-ENOMEM);
    bool goes_on = step(told);
    switch (told->kind % 3) {
    case 0: break;
    case 1:
        for (uint64_t i = told->kind / 3 % 24; i && goes_on; i--) {
            fm_yield();
            goes_on = step(told);
        }
        break;
    default: fm_never(); break;
    }
    if (fm_check() < 0)
        return fm_interrupted();
    return fm_ok((void *)(uintptr_t)fm_fiber_id(fm_fiber_self()));
}

/* ---- the fibers of a client ---- */

static struct told *new_told(struct client *c)
{
    struct told *told = &c->told[c->told_count];
    told->kind = stress_random(&c->random) >> 8;
    return told;
}

static void own(struct client *c, struct fm_fiber *fiber, struct told *told, int32_t key,
                int64_t since_ns)
{
    c->owned[c->owned_count++] = (struct owned) { fiber, told, key, !fiber, since_ns };
}

/* It has been seen ended: write down its exit from this key, and what it told, and forget it. */
static void note_end(struct client *c, int index, struct fm_exit exit)
{
    struct owned *owned = &c->owned[index];
    struct told *told = owned->told;
    int64_t now = fm_now_ns(), from_ns = atomic_load(&told->end_ns);
    uint64_t id = fm_fiber_id(owned->fiber);

    if (exit.kind == FM_INTERRUPTED && exit.by && !told->noted)
        c->signals[c->signal_count++] = (struct signal) { exit.by, id, exit.reason };

    struct record *left = note(c, EXIT, owned->key, id,
                               from_ns > owned->since_ns ? from_ns : owned->since_ns, now);
    if (owned->by_run_wait && exit.kind == FM_INTERRUPTED && exit.reason == FM_BY_LAST_WAITER)
        left->flags = RECORD_GIVEN_UP;
    note(c, GONE, owned->key, id, now, now);
    if (from_ns && !told->noted) {
        note(c, BODY, owned->key, id, told->begin_ns, from_ns);
        for (int i = 0; i < told->steps; i++)
            note(c, STEP, owned->key, id, told->step_begin_ns[i], told->step_end_ns[i]);
    }
    told->noted = true;
    fm_fiber_unref(owned->fiber);
    *owned = c->owned[--c->owned_count];
}

static void let_others(struct client *c)
{
    if (fm_fiber_self())
        fm_yield();
    else
        c->history->pause();
}

/* NULL, where `wait` does not say to wait for it: it has neither begun nor been dropped. */
static struct fm_fiber *fiber_of(struct client *c, struct owned *owned, bool wait)
{
    while (!owned->fiber && !(owned->fiber = atomic_exchange(&owned->told->self, NULL)) && wait)
        let_others(c);
    return owned->fiber;
}

/* Look after what has ended; with `all`, end and await the rest. */
static void reap(struct client *c, bool all)
{
    for (int i = c->owned_count; i-- > 0;) {
        struct fm_fiber *fiber = fiber_of(c, &c->owned[i], all);
        struct fm_exit exit;
        if (all)
            STRESS_CHECK(fm_fiber_stop(fiber, FM_NEVER, NULL) == 0, "stop");
        if (fiber && fm_fiber_poll(fiber, &exit) == 0)
            note_end(c, i, exit);
    }
}

/* ---- operations ---- */

static struct fm_key key_at(struct client *c, int32_t key)
{
    return fm_key_str(c->history->names[key]);
}

static uint64_t id_not_started(struct client *c)
{
    return NOT_STARTED + atomic_fetch_add(&c->history->not_started, 1);
}

static void do_run(struct client *c, int32_t key, enum op op)
{
    static const uint32_t conflicts[] = {
        [RUN] = FM_REPLACE,
        [RUN_MISSING] = FM_KEEP,
        [RUN_JOIN] = FM_JOIN,
        [RUN_AWAIT] = FM_REPLACE_AWAIT,
    };
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber = NULL;
    struct told *told = new_told(c);

    options.conflict = conflicts[op];
    int64_t call_ns = fm_now_ns();
    int r = fm_map_run(c->history->map, key_at(c, key), body, told, &options, &fiber);
    int64_t return_ns = fm_now_ns();
    bool started = r == 0 || r == FM_MAP_REPLACED;
    uint64_t id = started ? fm_fiber_id(fiber) : id_not_started(c);
    struct record *record = note(c, op, key, id, call_ns, return_ns);
    STRESS_CHECK(started || r == FM_MAP_KEPT || r == -ESHUTDOWN || r == -ENOMEM, "run: %d", r);
    if (r == -ESHUTDOWN)
        record->result = CLOSED;
    else if (r < 0)
        record->result = FAILED;
    else if (op == RUN_MISSING || op == RUN_JOIN)
        note_number(record, fm_fiber_id(fiber));
    else if (r == 0)
        note_number(record, 0);
    if (started) {
        c->told_count++;
        own(c, fiber, told, key, call_ns);
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
    struct told *told = new_told(c);
    struct fm_exit exit = { 0 };
    bool stops = stress_random(&c->random) % 2;

    c->told_count++;
    told->by_run_wait = true;
    told->caller = fm_fiber_self();
    options.arg_drop = never_begun;
    options.flags = stops ? FM_MAP_STOP_WITH_LAST_WAITER : 0;
    int64_t until_ns = patience(c), call_ns = fm_now_ns();
    int r = fm_map_run_wait(c->history->map, key_at(c, key), body, told, &options, until_ns,
                            &exit);
    int64_t return_ns = fm_now_ns();
    STRESS_CHECK(r == 0 || r == FM_MAP_KEPT || r == -ETIMEDOUT || r == -ESHUTDOWN ||
                     r == -ENOMEM,
                 "run_wait: %d", r);
    bool refused = r == -ESHUTDOWN || r == -ENOMEM;
    bool started = !refused && !told->refused;
    STRESS_CHECK(!(r == 0 && !started) && !(r == FM_MAP_KEPT && started), "run_wait: %d", r);
    struct record *record = note(c, RUN_WAIT, key, started ? 0 : id_not_started(c), call_ns,
                                 return_ns);
    record->flags = (uint8_t)((stops ? RECORD_STOPS : 0) | (r == -ETIMEDOUT ? RECORD_LEFT : 0));
    if (refused)
        record->result = r == -ESHUTDOWN ? CLOSED : FAILED;
    else if (!started && r == FM_MAP_KEPT && exit.kind == FM_SUCCESS)
        note_number(record, (uint64_t)(uintptr_t)exit.value);
    else
        note_truth(record, started);
    if (started) {
        record->told = told;
        own(c, NULL, told, key, call_ns);
    }
}

static void do_set(struct client *c, int32_t key)
{
    struct fm_fiber *fiber = NULL;
    struct told *told;

    if (c->owned_count && stress_random(&c->random) % 4) {
        /* who is shared stands under his key once: a waiter leaves the one stay that he knows */
        struct owned *owned = &c->owned[stress_random(&c->random) % (uint64_t)c->owned_count];
        told = owned->told;
        fiber = told->by_run_wait ? NULL : fm_fiber_ref(owned->fiber);
    }
    if (!fiber) {
        told = new_told(c);
        int r = fm_runtime_spawn(c->history->runtime, body, told, NULL, &fiber);
        STRESS_CHECK(r == 0, "spawn: %d", r);
        c->told_count++;
    }
    int64_t call_ns = fm_now_ns();
    int r = fm_map_set(c->history->map, key_at(c, key), fiber, NULL);
    struct record *record = note(c, SET, key, fm_fiber_id(fiber), call_ns, fm_now_ns());
    STRESS_CHECK(r == 0 || r == FM_MAP_REPLACED || r == FM_MAP_SAME || r == -ESHUTDOWN,
                 "set: %d", r);
    if (r == 0)
        note_number(record, 0);
    else if (r == FM_MAP_SAME)
        note_number(record, fm_fiber_id(fiber));
    else if (r == -ESHUTDOWN)
        record->result = CLOSED;
    own(c, fiber, told, key, call_ns);
}

static void do_get(struct client *c, int32_t key)
{
    struct fm_fiber *fiber = NULL;
    int64_t call_ns = fm_now_ns();
    int r = fm_map_get(c->history->map, key_at(c, key), &fiber);
    int64_t return_ns = fm_now_ns();
    STRESS_CHECK(r == 0 || r == -ENOENT, "get: %d", r);
    note_number(note(c, GET, key, 0, call_ns, return_ns), fm_fiber_id(fiber));
    fm_fiber_unref(fiber);
}

static void do_detach(struct client *c, int32_t key)
{
    struct fm_fiber *fiber = NULL;
    int64_t call_ns = fm_now_ns();
    int r = fm_map_detach(c->history->map, key_at(c, key), &fiber);
    int64_t return_ns = fm_now_ns();
    STRESS_CHECK(r == 0 || r == -ENOENT, "detach: %d", r);
    note_number(note(c, DETACH, key, 0, call_ns, return_ns), fm_fiber_id(fiber));
    if (fiber)
        fm_fiber_interrupt(fiber); /* nobody else may ever end it */
    fm_fiber_unref(fiber);
}

static void do_has(struct client *c, int32_t key)
{
    int64_t call_ns = fm_now_ns();
    bool has = fm_map_has(c->history->map, key_at(c, key));
    note_truth(note(c, HAS, key, 0, call_ns, fm_now_ns()), has);
}

static void do_interrupt(struct client *c, int32_t key)
{
    int64_t call_ns = fm_now_ns();
    int r = fm_map_interrupt(c->history->map, key_at(c, key));
    struct record *record = note(c, INTERRUPT, key, 0, call_ns, fm_now_ns());
    STRESS_CHECK(r == 0 || r == -ENOENT, "interrupt: %d", r);
    if (r == -ENOENT)
        note_number(record, 0);
}

static void do_remove(struct client *c, int32_t key)
{
    int64_t call_ns = fm_now_ns();
    int r = fm_map_remove(c->history->map, key_at(c, key), FM_NEVER);
    STRESS_CHECK(r == 0 || r == -ENOENT, "remove: %d", r);
    note_truth(note(c, REMOVE, key, 0, call_ns, fm_now_ns()), r == 0);
}

static void do_clear(struct client *c)
{
    int64_t call_ns = fm_now_ns();
    int r = fm_map_clear(c->history->map, FM_NEVER);
    STRESS_CHECK(r == 0, "clear: %d", r);
    note(c, CLEAR, -1, 0, call_ns, fm_now_ns());
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
            note_number(note(c, SEE, (int32_t)key, 0, call_ns, return_ns),
                        fm_fiber_id(member->fiber));
        }
        if (!found)
            note_number(note(c, SEE, (int32_t)key, 0, call_ns, return_ns), 0);
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
    note(c, CLOSE, -1, 0, call_ns, fm_now_ns());
}

/* ---- a client ---- */

/* What a fiber of its own does for its client, so that whoever is interrupted has the id of this one call on record. */
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
    { GET, 15 },     { HAS, 7 },       { RUN, 13 }, { RUN_AWAIT, 5 }, { RUN_MISSING, 14 },
    { RUN_JOIN, 7 }, { RUN_WAIT, 10 }, { SET, 9 },  { INTERRUPT, 7 }, { REMOVE, 10 },
};

static void operate(struct client *c)
{
    uint64_t draw = stress_random(&c->random) >> 11;
    uint32_t keys = c->history->keys, hot = c->history->hot < keys ? c->history->hot : keys;
    int32_t key = (int32_t)(draw % 2 ? (draw >> 1) % hot : (draw >> 1) % keys);
    uint64_t kind = stress_random(&c->random) >> 11;

    if (c->owned_count > OWNED_MAX - 2)
        reap(c, true);
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
        switch (mix[i].op) {
        case GET: do_get(c, key); break;
        case HAS: do_has(c, key); break;
        default: make_call(c, mix[i].op, key); break;
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
            reap(c, false);
        if (fm_fiber_self() && stress_random(&c->random) % 4 == 0)
            fm_yield();
        atomic_fetch_add(&c->history->done, 1);
    }
}

void history_end(struct history *h)
{
    for (uint32_t i = 0; i < h->clients + h->foreign; i++)
        reap(&h->client[i], true);
}

/* ---- memory, and the map ---- */

static void replaces(void *ctx, struct fm_key key, struct fm_fiber *old, struct fm_fiber *fiber)
{
    struct history *h = ctx;
    size_t at = atomic_fetch_add(&h->replaced_count, 1);
    STRESS_CHECK(at < h->replaced_room, "more were replaced than run");
    for (uint32_t i = 0; i < h->keys; i++)
        if (strlen(h->names[i]) == key.len && memcmp(h->names[i], key.data, key.len) == 0)
            h->replaced[at] = (struct replaced) { (int32_t)i, fm_fiber_id(old),
                                                  fm_fiber_id(fiber) };
}

static void make_map(struct history *h)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_hooks hooks = FM_MAP_HOOKS_INIT;

    config.runtime = h->runtime;
    if (h->watched) {
        hooks.ctx = h;
        hooks.on_replace = replaces;
        config.hooks = &hooks;
        config.completions = (uint32_t)h->replaced_room;
    }
    STRESS_CHECK(fm_map_create(&config, &h->map) == 0, "map_create");
}

static void client_init(struct history *h, uint32_t number, uint64_t *random)
{
    struct client *c = &h->client[number];
    c->history = h;
    c->number = number;
    c->random = stress_random(random) | 1;
    /* itself, exit, gone, body, steps; a snapshot is one of each key */
    c->room = h->operations * (4 + STEPS_MAX) + 16;
    c->room += (h->operations * h->rare / 1000 + 16) * h->keys;
    c->records = malloc(c->room * sizeof *c->records);
    c->told = calloc(h->operations + 1, sizeof *c->told);
    c->signals = malloc((h->operations + 1) * sizeof *c->signals);
    STRESS_CHECK(c->records && c->told && c->signals, "no memory");
    memset(c->records, 0,
           c->room * sizeof *c->records); /* touched now, not between two clock readings */
}

void history_init(struct history *h, uint64_t *random)
{
    uint32_t all = h->clients + h->foreign + 1;

    h->names = calloc(h->keys, sizeof *h->names);
    h->client = calloc(all, sizeof *h->client);
    h->replaced_room = h->operations * (all - 1) + 1;
    h->replaced = h->watched ? calloc(h->replaced_room, sizeof *h->replaced) : NULL;
    STRESS_CHECK(h->names && h->client && (h->replaced || !h->watched), "no memory");
    for (uint32_t i = 0; i < h->keys; i++)
        snprintf(h->names[i], sizeof *h->names, "k%u", i);
    for (uint32_t i = 0; i < all; i++)
        client_init(h, i, random);
    make_map(h);
}

void history_fini(struct history *h)
{
    for (uint32_t i = 0; i < h->clients + h->foreign + 1; i++) {
        free(h->client[i].records);
        free(h->client[i].told);
        free(h->client[i].signals);
    }
    free(h->client);
    free(h->replaced);
    free(h->names);
}
