/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history_runs.c - the clients' calls that put a fiber under a key
 *
 * call_ns and return_ns are read before and after the call, from one clock.
 */
#include "tests/stress/history.h"

#include <errno.h>

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
    int r = fm_map_run(c->history->map, history_key(c, key), history_body, told, &options,
                       &fiber);
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

/* Two keys in one call: at one instant or none, or one after the other. */
static void do_run_many(struct client *c, int32_t key)
{
    struct fm_map_run_options keeps = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber[2] = { NULL, NULL };
    struct fm_map_run_item runs[2];
    struct told *told[2];
    uint32_t keys = c->history->keys, flags = 0;
    int32_t at[2] = {
        key,
        (int32_t)(((uint32_t)key + 1 + (stress_random(&c->random) >> 11) % (keys - 1)) % keys)
    };

    keeps.conflict = FM_KEEP;
    if (stress_random(&c->random) % 2)
        flags = FM_MAP_ALL_OR_NOTHING;
    for (int i = 0; i < 2; i++) {
        told[i] = history_new_told(c);
        c->told_count++;
        runs[i] = (struct fm_map_run_item) { .key = history_key(c, at[i]),
                                             .entry = history_body,
                                             .arg = told[i],
                                             .options = flags ? NULL : &keeps,
                                             .ret_fiber = &fiber[i] };
    }
    int64_t call_ns = fm_now_ns();
    int r = fm_map_run_many(c->history->map, runs, 2, flags);
    int64_t return_ns = fm_now_ns();
    STRESS_CHECK(r <= 0 || !flags, "run_many: %d", r);
    for (int i = 0; i < 2; i++) {
        bool started = runs[i].result == 0;
        if (runs[i].result == -ECANCELED)
            continue; /* the other key was held */
        uint64_t id = started ? fm_fiber_id(fiber[i]) : id_not_started(c);
        struct record *record = history_note(c, RUN_MISSING, at[i], id, call_ns, return_ns);
        if (runs[i].result == -EEXIST)
            history_note_truth(record, false);
        else
            note_outcome(record, runs[i].result, fiber[i]);
        if (started)
            history_own(c, fiber[i], told[i], at[i], call_ns);
        else
            fm_fiber_unref(fiber[i]);
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
    int r = fm_map_run_wait(c->history->map, history_key(c, key), history_body, told, &options,
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
    int r = fm_map_set(c->history->map, history_key(c, key), fiber, NULL);
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

/* In place of whom a look has found, or of nobody. */
static void do_run_if(struct client *c, int32_t key)
{
    struct fm_fiber *fiber = NULL;
    struct fm_fiber *expected = stress_random(&c->random) % 4 ? history_get(c, key) : NULL;
    struct told *told = history_new_told(c);

    int64_t call_ns = fm_now_ns();
    int r = fm_map_compare_and_replace(c->history->map, history_key(c, key), expected,
                                       history_body, told, NULL, &fiber);
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

void history_run(struct client *c, int32_t key, enum op op)
{
    switch (op) {
    case SET: do_set(c, key); break;
    case RUN_WAIT: do_run_wait(c, key); break;
    case RUN_IF: do_run_if(c, key); break;
    case RUN_MANY: do_run_many(c, key); break;
    default: do_run(c, key, op); break;
    }
}
