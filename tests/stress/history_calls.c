/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history_calls.c - clients that call a map at random, and record it: what starts nothing, and
 * which call is next
 *
 * call_ns and return_ns are read before and after the call, from one clock.
 */
#include "tests/stress/history.h"

#include <errno.h>
#include <string.h>

/* ---- operations ---- */

struct fm_key history_key(const struct client *c, int32_t key)
{
    return fm_key_str(c->history->names[key]);
}

struct fm_fiber *history_get(struct client *c, int32_t key)
{
    struct fm_fiber *fiber = NULL;
    int64_t call_ns = fm_now_ns();
    int r = fm_map_get(c->history->map, history_key(c, key), &fiber);
    int64_t return_ns = fm_now_ns();
    STRESS_CHECK(r == 0 || r == -ENOENT, "get: %d", r);
    history_note_number(history_note(c, GET, key, 0, call_ns, return_ns), fm_fiber_id(fiber));
    return fiber;
}

static void do_get(struct client *c, int32_t key)
{
    fm_fiber_unref(history_get(c, key));
}

/* The exit that is retained: whose it is a success tells. */
static void do_last(struct client *c, int32_t key)
{
    struct fm_exit exit;
    int64_t call_ns = fm_now_ns();
    int r = fm_map_last_exit(c->history->map, history_key(c, key), &exit);
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
    int r = fm_map_forget(c->history->map, history_key(c, key));
    STRESS_CHECK(r == 0 || r == -ENOENT, "forget: %d", r);
    history_note_truth(history_note(c, FORGET, key, 0, call_ns, fm_now_ns()), r == 0);
}

static void do_detach(struct client *c, int32_t key)
{
    struct fm_fiber *fiber = NULL;
    int64_t call_ns = fm_now_ns();
    int r = fm_map_detach(c->history->map, history_key(c, key), &fiber);
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
    bool has = fm_map_has(c->history->map, history_key(c, key));
    history_note_truth(history_note(c, HAS, key, 0, call_ns, fm_now_ns()), has);
}

static void do_interrupt(struct client *c, int32_t key)
{
    int64_t call_ns = fm_now_ns();
    int r = fm_map_interrupt(c->history->map, history_key(c, key));
    struct record *record = history_note(c, INTERRUPT, key, 0, call_ns, fm_now_ns());
    STRESS_CHECK(r == 0 || r == -ENOENT, "interrupt: %d", r);
    if (r == -ENOENT)
        history_note_number(record, 0);
}

static void do_remove(struct client *c, int32_t key)
{
    int64_t call_ns = fm_now_ns();
    int r = fm_map_remove(c->history->map, history_key(c, key), FM_NEVER);
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
        struct fm_key name = history_key(c, (int32_t)key);
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
    case INTERRUPT: do_interrupt(call->client, call->key); break;
    case REMOVE: do_remove(call->client, call->key); break;
    default: history_run(call->client, call->key, call->op); break;
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
    { GET, 13 },      { HAS, 6 },      { RUN, 11 },       { RUN_AWAIT, 5 }, { RUN_MISSING, 7 },
    { RUN_JOIN, 6 },  { RUN_WAIT, 9 }, { RUN_QUEUE, 10 }, { RUN_IF, 6 },    { SET, 7 },
    { INTERRUPT, 5 }, { REMOVE, 7 },   { LAST, 2 },       { FORGET, 1 },    { RUN_MANY, 3 },
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
        if ((op == LAST || op == FORGET) && !c->history->retains)
            op = GET;
        if (op == RUN_MANY && c->history->keys < 2)
            op = RUN_MISSING;
        switch (op) {
        case LAST: do_last(c, key); break;
        case FORGET: do_forget(c, key); break;
        case RUN_MANY: history_run(c, key, op); break;
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
