/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_queue.c - FM_QUEUE: one body of a key at a time, first in, first out
 *
 * On one worker and the virtual clock: pass_ms() returns when all that is due has happened.
 */
#include "tests/fibermap/turn_test.h"

enum { MANY = 5 };

/* A to E under one key, each `ms` long. */
static void queue_all(struct fm_map *map, struct told *told, struct act acts[], int64_t ms,
                      struct fm_fiber *fibers[])
{
    for (int i = 0; i < MANY; i++) {
        acts[i] = (struct act) { told, (char)('A' + i), ms, 0, 0 };
        fibers[i] = act_started(map, &acts[i], FM_QUEUE, i ? FM_MAP_QUEUED : 0);
    }
}

static void unref_all(struct fm_fiber *fibers[])
{
    for (int i = 0; i < MANY; i++)
        fm_fiber_unref(fibers[i]);
}

static uint64_t under_key(struct fm_map *map)
{
    struct fm_fiber *fiber;
    if (fm_map_get(map, fm_key_str("key"), &fiber) < 0)
        return 0;
    uint64_t id = fm_fiber_id(fiber);
    fm_fiber_unref(fiber);
    return id;
}

/* T246: a lock by key. */
EXACT_TEST(map_queue, bodies_run_one_at_a_time_first_in_first_out)
{
    struct told told = { 0 };
    struct act acts[MANY];
    struct fm_fiber *fibers[MANY];
    struct fm_map *map = new_map();
    queue_all(map, &told, acts, 10, fibers);
    told_is(&told, "A");
    for (int i = 0; i < MANY; i++) {
        cr_assert_eq(under_key(map), fm_fiber_id(fibers[i]));
        pass_ms(10);
    }
    told_is(&told, "AaBbCcDdEe");
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(finish(fibers[i]).value, &acts[i]);
    cr_assert_eq(fm_map_size(map), 0);
    fm_map_destroy(map);
}

/* T246 */
EXACT_TEST(map_queue, next_one_begins_when_finalizers_are_done_whatever_the_end)
{
    struct told told = { 0 };
    struct act acts[] = { { &told, 'A', 1, 10, -EIO },
                          { &told, 'B', 0, 10, 0 },
                          { &told, 'C', 0, 0, 0 } };
    struct fm_map *map = new_map();
    for (int i = 0; i < 3; i++)
        fm_fiber_unref(act_started(map, &acts[i], FM_QUEUE, i ? FM_MAP_QUEUED : 0));
    pass_ms(10);
    told_is(&told, "A");
    pass_ms(1);
    told_is(&told, "AaB");
    pass_ms(10);
    told_is(&told, "AaBbCc");
    fm_map_destroy(map);
}

EXACT_TEST(map_queue, queues_behind_whoever_holds_the_key)
{
    struct told told = { 0 };
    struct act a = { &told, 'A', 10, 0, 0 }, b = { &told, 'B', 0, 0, 0 };
    for (int set = 0; set < 2; set++) {
        struct fm_map *map = new_map();
        told = (struct told) { 0 };
        struct fm_fiber *old = set ? start(act_body, &a) : act_started(map, &a, FM_REPLACE, 0);
        if (set)
            cr_assert_eq(fm_map_set(map, fm_key_str("key"), old, NULL), 0);
        pass_ms(0);
        struct fm_fiber *fiber = act_started(map, &b, FM_QUEUE, FM_MAP_QUEUED);
        pass_ms(9);
        told_is(&told, "A");
        pass_ms(1);
        told_is(&told, "AaBb");
        fm_fiber_unref(fiber);
        fm_fiber_unref(old);
        fm_map_destroy(map);
    }
}

/* T246 */
EXACT_TEST(map_queue, keys_are_apart)
{
    struct told told = { 0 };
    struct act a = { &told, 'A', -1, 0, 0 }, b = { &told, 'B', 0, 0, 0 };
    struct fm_map *map = new_map();
    fm_fiber_unref(act_started(map, &a, FM_QUEUE, 0));
    struct fm_map_run_options options = act_options(FM_QUEUE);
    for (uint64_t key = 0; key < 300; key++) {
        told = (struct told) { 0 };
        cr_assert_eq(fm_map_run(map, fm_key_bytes(&key, sizeof key), act_body, &b, &options,
                                NULL),
                     0);
        pass_ms(0);
        told_is(&told, "Bb");
    }
    fm_map_destroy(map);
}

/* F62 */
EXACT_TEST(map_queue, so_many_may_wait_and_no_more)
{
    struct told told = { 0 };
    struct act acts[] = { { &told, 'A', 10, 0, 0 },
                          { &told, 'B', 10, 0, 0 },
                          { &told, 'C', 10, 0, 0 },
                          { &told, 'D', 10, 0, 0 } };
    static const int outcomes[] = { 0, FM_MAP_QUEUED, FM_MAP_QUEUED, -EAGAIN };
    struct fm_map *map = new_map();
    struct fm_map_run_options options = act_options(FM_QUEUE);
    options.queue_max = 2;
    for (int i = 0; i < 4; i++)
        cr_assert_eq(act_run_as(map, &acts[i], options, NULL), outcomes[i]);
    cr_assert_eq(fm_map_size(map), 3, "nothing has changed");
    pass_ms(10);
    told_is(&told, "AaB");
    cr_assert_eq(act_run_as(map, &acts[3], options, NULL), FM_MAP_QUEUED, "room again");
    pass_ms(30);
    told_is(&told, "AaBbCcDd");
    fm_map_destroy(map);
}

/* ---- leaving the queue ---- */

/* T246, F62 */
EXACT_TEST(map_queue, one_that_waits_can_be_interrupted_and_the_others_keep_their_order)
{
    struct told told = { 0 };
    struct act acts[MANY];
    struct fm_fiber *fibers[MANY];
    struct fm_map *map = new_map();
    queue_all(map, &told, acts, 10, fibers);
    fm_fiber_interrupt(fibers[1]);
    pass_ms(0);
    fm_fiber_interrupt(fibers[3]);
    pass_ms(0);
    cr_assert(has_ended(fibers[1]) && has_ended(fibers[3]));
    told_is(&told, "A-B-D");
    cr_assert_eq(fm_map_size(map), 3);
    pass_ms(30);
    told_is(&told, "A-B-DaCcEe");
    unref_all(fibers);
    fm_map_destroy(map);
}

EXACT_TEST(map_queue, interrupted_before_its_first_step_it_leaves_too)
{
    struct told told = { 0 };
    struct act a = { &told, 'A', 10, 0, 0 }, b = { &told, 'B', 0, 0, 0 },
               c = { &told, 'C', 0, 0, 0 };
    struct fm_map *map = new_map();
    struct fm_fiber *fiber;
    fm_fiber_unref(act_started(map, &a, FM_QUEUE, 0));
    cr_assert_eq(act_run(map, &b, FM_QUEUE, &fiber), FM_MAP_QUEUED);
    fm_fiber_interrupt(fiber);
    fm_fiber_unref(act_started(map, &c, FM_QUEUE, FM_MAP_QUEUED));
    expect_interruption(finish(fiber), FM_BY_USER);
    pass_ms(10);
    told_is(&told, "A-BaCc");
    fm_map_destroy(map);
}

EXACT_TEST(map_queue, a_late_one_fails_without_its_body)
{
    struct told told = { 0 };
    struct act acts[] = { { &told, 'A', 10, 0, 0 },
                          { &told, 'B', 0, 0, 0 },
                          { &told, 'C', 0, 0, 0 } };
    struct fm_map *map = new_map();
    struct fm_map_run_options options = act_options(FM_QUEUE);
    struct fm_fiber *fiber;
    cr_assert_eq(act_run_as(map, &acts[0], options, NULL), 0);
    options.deadline_ns = fm_after_ms(5);
    cr_assert_eq(act_run_as(map, &acts[1], options, &fiber), FM_MAP_QUEUED);
    options.deadline_ns = 0;
    cr_assert_eq(act_run_as(map, &acts[2], options, NULL), FM_MAP_QUEUED);
    pass_ms(5);
    cr_assert_eq(finish(fiber).code, -ETIMEDOUT);
    pass_ms(5);
    told_is(&told, "A-BaCc");
    fm_map_destroy(map);
}

/* ---- others meet the queue ---- */

EXACT_TEST(map_queue, replacing_goes_before_the_queue)
{
    for (int awaits = 0; awaits < 2; awaits++) {
        struct told told = { 0 };
        struct act acts[] = { { &told, 'A', -1, 5, 0 },
                              { &told, 'B', 0, 0, 0 },
                              { &told, 'C', 10, 0, 0 } };
        struct fm_map *map = new_map();
        fm_fiber_unref(act_started(map, &acts[0], FM_QUEUE, 0));
        fm_fiber_unref(act_started(map, &acts[1], FM_QUEUE, FM_MAP_QUEUED));
        fm_fiber_unref(act_started(map, &acts[2], awaits ? FM_REPLACE_AWAIT : FM_REPLACE,
                                   FM_MAP_REPLACED));
        pass_ms(15);
        told_is(&told, awaits ? "AaCcBb" : "ACacBb");
        fm_map_destroy(map);
    }
}

/* The old one, which a removed successor waited for, is waited for by the queue as well. */
EXACT_TEST(map_queue, the_queue_waits_for_whom_a_removed_successor_waited_for)
{
    struct told told = { 0 };
    struct act a = { &told, 'A', -1, 20, 0 }, b = { &told, 'B', 0, 0, 0 },
               c = { &told, 'C', 0, 0, 0 };
    struct fm_map *map = new_map();
    fm_fiber_unref(act_started(map, &a, FM_REPLACE, 0));
    fm_fiber_unref(act_started(map, &b, FM_REPLACE_AWAIT, FM_MAP_REPLACED));
    cr_assert_eq(fm_map_remove(map, fm_key_str("key"), FM_NEVER), 0);
    struct fm_fiber *fiber = act_started(map, &c, FM_QUEUE, FM_MAP_QUEUED);
    cr_assert_eq(under_key(map), fm_fiber_id(fiber), "it holds the key already");
    told_is(&told, "A-B");
    pass_ms(20);
    told_is(&told, "A-BaCc");
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

EXACT_TEST(map_queue, remove_lets_the_next_one_go_ahead)
{
    struct told told = { 0 };
    struct act acts[MANY];
    struct fm_fiber *fibers[MANY];
    struct fm_map *map = new_map();
    queue_all(map, &told, acts, -1, fibers);
    cr_assert_eq(fm_map_remove(map, fm_key_str("key"), FM_NEVER), 0);
    pass_ms(0);
    told_is(&told, "AaB");
    unref_all(fibers);
    fm_map_destroy(map);
}

EXACT_TEST(map_queue, detach_lets_the_next_one_go_ahead)
{
    struct told told = { 0 };
    struct act acts[MANY];
    struct fm_fiber *fibers[MANY];
    struct fm_map *map = new_map();
    queue_all(map, &told, acts, 10, fibers);
    cr_assert_eq(fm_map_detach(map, fm_key_str("key"), NULL), 0);
    pass_ms(0);
    told_is(&told, "AB");
    pass_ms(40);
    told_is(&told, "ABabCcDdEe");
    unref_all(fibers);
    fm_map_destroy(map);
}

/* What an observer of the end finds, before the next body has begun. */
struct between {
    struct fm_map *map;
    uint64_t found;
    int kept, failed, joined;
    bool has;
};

static void look_between(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    struct between *between = arg;
    struct fm_map_run_options options = act_options(FM_KEEP);
    between->found = under_key(between->map);
    between->has = fm_map_has(between->map, fm_key_str("key"));
    between->kept = act_run_as(between->map, NULL, options, NULL);
    options.conflict = FM_FAIL;
    between->failed = act_run_as(between->map, NULL, options, NULL);
    options.conflict = FM_JOIN;
    between->joined = act_run_as(between->map, NULL, options, NULL);
}

EXACT_TEST(map_queue, a_key_with_a_queue_is_never_free)
{
    struct told told = { 0 };
    struct act acts[MANY];
    struct fm_fiber *fibers[MANY];
    struct between between = { .map = new_map() };
    struct fm_observer observer = { .fn = look_between, .arg = &between };
    queue_all(between.map, &told, acts, 10, fibers);
    cr_assert_eq(fm_fiber_observe(fibers[0], &observer), 0);
    pass_ms(10);
    cr_assert_eq(between.found, fm_fiber_id(fibers[1]));
    cr_assert(between.has);
    cr_assert_eq(between.kept, FM_MAP_KEPT);
    cr_assert_eq(between.failed, -EEXIST);
    cr_assert_eq(between.joined, FM_MAP_KEPT);
    pass_ms(40);
    told_is(&told, "AaBbCcDdEe");
    cr_assert(!fm_map_has(between.map, fm_key_str("key")));
    unref_all(fibers);
    fm_map_destroy(between.map);
}

/* ---- all of them ---- */

/* The exit of the removed one is retained; the queue still waits for whom that one waited for. */
EXACT_TEST(map_queue, a_retained_exit_is_not_used_while_somebody_queues)
{
    struct told told = { 0 };
    struct act a = { &told, 'A', -1, 20, 0 }, b = { &told, 'B', 0, 0, 0 },
               c = { &told, 'C', 0, 0, 0 }, d = { &told, 'D', 0, 0, 0 };
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    config.retain_count = 1;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    fm_fiber_unref(act_started(map, &a, FM_REPLACE, 0));
    fm_fiber_unref(act_started(map, &b, FM_REPLACE_AWAIT, FM_MAP_REPLACED));
    cr_assert_eq(fm_map_remove(map, fm_key_str("key"), FM_NEVER), 0);
    cr_assert_eq(fm_map_last_exit(map, fm_key_str("key"), NULL), 0);
    fm_fiber_unref(act_started(map, &c, FM_QUEUE, FM_MAP_QUEUED));
    static const struct {
        uint32_t conflict;
        int outcome;
    } runs[] = {
        { FM_KEEP, FM_MAP_KEPT }, { FM_QUEUE, FM_MAP_QUEUED }, { FM_REPLACE, 0 }
    };
    for (int i = 0; i < 3; i++) {
        struct fm_map_run_options options = act_options(runs[i].conflict);
        options.reuse = FM_REUSE_ANY;
        cr_assert_eq(act_run_as(map, &d, options, NULL), runs[i].outcome, "%d", i);
    }
    pass_ms(20);
    told_is(&told, "A-BDdaCcDd");
    fm_map_destroy(map);
}

EXACT_TEST(map_queue, those_who_wait_are_counted_and_shown)
{
    struct told told = { 0 };
    struct act acts[MANY];
    struct fm_fiber *fibers[MANY];
    struct fm_map *map = new_map();
    struct fm_snapshot *snapshot;
    queue_all(map, &told, acts, -1, fibers);
    cr_assert_eq(fm_map_size(map), MANY);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_LIVE), 1);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_QUEUED), MANY - 1);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_ZOMBIE), 0);
    for (uint32_t consistent = 0; consistent < 2; consistent++) {
        cr_assert_eq(fm_map_snapshot(map, consistent, &snapshot), 0);
        cr_assert_eq(fm_snapshot_count(snapshot), 1, "no key twice");
        fm_snapshot_free(snapshot);
        cr_assert_eq(fm_map_snapshot(map, consistent | FM_SNAPSHOT_QUEUED, &snapshot), 0);
        cr_assert_eq(fm_snapshot_count(snapshot), MANY);
        int queued = 0;
        for (size_t i = 0; i < MANY; i++)
            queued += fm_snapshot_at(snapshot, i)->state == FM_MEMBER_QUEUED;
        cr_assert_eq(queued, MANY - 1);
        fm_snapshot_free(snapshot);
    }
    unref_all(fibers);
    fm_map_destroy(map);
    cr_assert_null(strpbrk(told.text, "bcde"), "%s", told.text);
}

static bool is_any(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    return true;
}

EXACT_TEST(map_queue, clear_ends_all_of_them)
{
    for (int matching = 0; matching < 2; matching++) {
        struct told told = { 0 };
        struct act acts[MANY];
        struct fm_fiber *fibers[MANY];
        struct fm_map *map = new_map();
        queue_all(map, &told, acts, -1, fibers);
        cr_assert_eq(matching ? fm_map_clear_matching(map, is_any, NULL, FM_NEVER)
                              : fm_map_clear(map, FM_NEVER),
                     0);
        for (int i = 0; i < MANY; i++)
            expect_interruption(finish(fibers[i]), FM_BY_CLEAR);
        cr_assert_null(strchr(told.text + 1, 'A'));
        cr_assert_eq(fm_map_size(map), 0);
        fm_map_destroy(map);
    }
}

/* F62 */
EXACT_TEST(map_queue, close_ends_all_of_them)
{
    struct told told = { 0 };
    struct act acts[MANY];
    struct fm_fiber *fibers[MANY];
    struct fm_close_report report;
    struct fm_map *map = new_map();
    queue_all(map, &told, acts, -1, fibers);
    cr_assert_eq(fm_map_close(map, NULL, &report), 0);
    cr_assert_eq(report.awaited, MANY);
    cr_assert_eq(report.failed, 0);
    fm_close_report_fini(&report);
    for (int i = 0; i < MANY; i++)
        expect_interruption(finish(fibers[i]), FM_BY_CLOSE);
    fm_map_destroy(map);
}

TIMED_WORKER_TEST(map_queue, a_drain_runs_all_of_them)
{
    struct told told = { 0 };
    struct act acts[MANY];
    struct fm_map *map = new_map();
    struct fm_close_policy policy = FM_CLOSE_POLICY_INIT;
    for (int i = 0; i < MANY; i++) {
        acts[i] = (struct act) { &told, (char)('A' + i), 10, 5, 0 };
        cr_assert_eq(act_run(map, &acts[i], FM_QUEUE, NULL), i ? FM_MAP_QUEUED : 0);
    }
    policy.kind = FM_CLOSE_DRAIN;
    cr_assert_eq(fm_map_close(map, &policy, NULL), 0);
    told_is(&told, "AaBbCcDdEe");
    fm_map_destroy(map);
}

TIMED_WORKER_TEST(map_queue, await_empty_waits_for_all_of_them)
{
    struct told told = { 0 };
    struct act acts[MANY];
    struct fm_map *map = new_map();
    for (int i = 0; i < MANY; i++) {
        acts[i] = (struct act) { &told, (char)('A' + i), 10, 0, 0 };
        cr_assert_eq(act_run(map, &acts[i], FM_QUEUE, NULL), i ? FM_MAP_QUEUED : 0);
    }
    cr_assert_eq(fm_map_await_empty(map, FM_NEVER), 0);
    told_is(&told, "AaBbCcDdEe");
    fm_map_destroy(map);
}

/* ---- bodies that queue ---- */

struct chain {
    struct fm_map *map;
    int left, inside;
};

static struct fm_exit queue_the_next(void *arg)
{
    struct chain *chain = arg;
    cr_assert_eq(chain->inside++, 0);
    if (chain->left-- > 0) {
        struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
        options.conflict = FM_QUEUE;
        cr_assert_eq(fm_map_run(chain->map, fm_key_str("key"), queue_the_next, chain, &options,
                                NULL),
                     FM_MAP_QUEUED);
    }
    fm_yield();
    chain->inside--;
    return fm_ok(NULL);
}

EXACT_TEST(map_queue, a_body_may_queue_its_successor)
{
    struct chain chain = { .map = new_map(), .left = 1000 };
    run(chain.map, "key", queue_the_next, &chain);
    cr_assert_eq(fm_map_await_empty(chain.map, FM_NEVER), 0);
    cr_assert_eq(chain.left, -1);
    fm_map_destroy(chain.map);
}

static struct fm_exit queue_and_join(void *arg)
{
    struct chain *chain = arg;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    struct fm_exit exit = { 0 };
    options.conflict = FM_QUEUE;
    cr_assert_eq(fm_map_run(chain->map, fm_key_str("key"), return_arg, chain, &options, &fiber),
                 FM_MAP_QUEUED);
    int r = fm_fiber_join(fiber, FM_NEVER, &exit);
    fm_fiber_unref(fiber);
    return r == 0 && exit.code == -EDEADLK ? fm_ok(NULL) : fm_fail(r);
}

EXACT_TEST(map_queue, a_body_that_waits_for_one_behind_it_is_told_not_hung)
{
    struct chain chain = { .map = new_map() };
    struct fm_fiber *fiber = NULL;
    cr_assert_eq(fm_map_run(chain.map, fm_key_str("key"), queue_and_join, &chain, NULL, &fiber),
                 0);
    struct fm_exit exit = finish(fiber);
    cr_assert(exit.kind == FM_SUCCESS || exit.code == -EDEADLK);
    fm_map_destroy(chain.map);
}
