/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_run_many_wait.c - runs that start together wait for their places and starts together
 */
#include "tests/fibermap/limit_test.h"

enum { MANY_MAX = 4, PENDING = 99 };

/* Whether a newcomer is let in without waiting; later than the first instant. */
static int poll_run(struct fm_map *map, const char *key)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.deadline_ns = 1;
    return fm_map_run(map, KEY(key), until_interrupted, NULL, &options, NULL);
}

/* So many runs under keys of one letter each, all or none. */
struct together {
    struct fm_map *map;
    const char *letters;
    fm_entry_fn *entry; /* NULL: until it is interrupted */
    int64_t deadlines_ns[MANY_MAX];
    int result, each;
    int64_t at_ms;
};

static struct fm_exit run_together(void *arg)
{
    struct together *t = arg;
    size_t count = strlen(t->letters);
    struct fm_map_run_options options[MANY_MAX];
    struct fm_map_run_item runs[MANY_MAX];
    for (size_t i = 0; i < count; i++) {
        options[i] = (struct fm_map_run_options)FM_MAP_RUN_OPTIONS_INIT;
        options[i].deadline_ns = t->deadlines_ns[i];
        runs[i] = (struct fm_map_run_item) { .key = fm_key_bytes(&t->letters[i], 1),
                                             .entry = t->entry ? t->entry : until_interrupted,
                                             .options = &options[i] };
    }
    t->result = fm_map_run_many(t->map, runs, count, FM_MAP_ALL_OR_NOTHING);
    t->at_ms = now_ms();
    t->each = runs[0].result;
    for (size_t i = 1; i < count; i++)
        t->each = runs[i].result == t->each ? t->each : PENDING;
    return fm_ok(NULL);
}

static struct fm_fiber *start_together(struct together *t, struct fm_map *map,
                                       const char *letters)
{
    t->map = map;
    t->letters = letters;
    t->result = PENDING;
    struct fm_fiber *fiber = start(run_together, t);
    settle();
    return fiber;
}

static void remove_key(struct fm_map *map, const char *key)
{
    cr_assert_eq(fm_map_remove(map, KEY(key), FM_NEVER), 0);
    settle();
}

EXACT_TEST(run_many_wait, places_are_gathered_until_there_is_one_for_each)
{
    struct fm_map *map = make_limited(3, 0, FM_EXCESS_WAIT);
    struct together both = { 0 };
    pass_ms(1);
    for (const char *key = "abc"; *key; key++)
        cr_assert_eq(fm_map_run(map, fm_key_bytes(key, 1), until_interrupted, NULL, NULL, NULL),
                     0);
    struct fm_fiber *fiber = start_together(&both, map, "xy");
    remove_key(map, "a");
    cr_assert_eq(both.result, PENDING);
    cr_assert_eq(fm_map_size(map), 2, "nothing comes under a key before all do");
    cr_assert_eq(poll_run(map, "late"), -ETIMEDOUT, "the place is not a newcomer's");
    remove_key(map, "b");
    cr_assert(both.result == 0 && both.each == 0);
    cr_assert(fm_map_has(map, KEY("x")) && fm_map_has(map, KEY("y")));
    cr_assert_eq(fm_map_size(map), 3);
    finish(fiber);
    fm_map_destroy(map);
}

/* Each would have half of what it wants, and wait for the other half. */
WORKER_TEST(run_many_wait, two_who_want_all_places_get_them_in_turn)
{
    struct fm_map *map = make_limited(2, 0, FM_EXCESS_WAIT);
    struct together first = { 0 }, second = { 0 };
    cr_assert_eq(try_run(map, "a"), 0);
    cr_assert_eq(try_run(map, "b"), 0);
    struct fm_fiber *one = start_together(&first, map, "12"),
                    *two = start_together(&second, map, "34");
    remove_key(map, "a");
    remove_key(map, "b");
    cr_assert(first.result == 0 && second.result == PENDING);
    remove_key(map, "1");
    remove_key(map, "2");
    cr_assert(second.result == 0 && second.each == 0);
    finish(one);
    finish(two);
    fm_map_destroy(map);
}

TIMED_WORKER_TEST(run_many_wait, the_earliest_deadline_ends_it_and_what_it_had_is_free)
{
    struct fm_map *map = make_limited(2, 0, FM_EXCESS_WAIT);
    int64_t begin_ms = now_ms();
    struct together both = { .deadlines_ns = { fm_after_ms(50), fm_after_ms(20) } };
    cr_assert_eq(try_run(map, "a"), 0);
    finish(start_together(&both, map, "xy"));
    cr_assert(both.result == -ETIMEDOUT && both.each == -ETIMEDOUT);
    cr_assert_eq(both.at_ms - begin_ms, 20);
    cr_assert_eq(poll_run(map, "b"), 0, "the place that it had gathered");
    cr_assert_eq(poll_run(map, "c"), -ETIMEDOUT);
    fm_map_destroy(map);
}

WORKER_TEST(run_many_wait, who_is_interrupted_leaves_his_places_to_the_next)
{
    struct fm_map *map = make_limited(2, 0, FM_EXCESS_WAIT);
    struct together both = { 0 }, next = { 0 };
    cr_assert_eq(try_run(map, "a"), 0);
    struct fm_fiber *one = start_together(&both, map, "xy"),
                    *two = start_together(&next, map, "z");
    cr_assert(both.result == PENDING && next.result == PENDING);
    fm_fiber_interrupt(one);
    finish(one);
    finish(two);
    cr_assert(both.result == -ECANCELED && both.each == -ECANCELED && next.result == 0);
    cr_assert(fm_map_has(map, KEY("z")) && fm_map_size(map) == 2);
    fm_map_destroy(map);
}

WORKER_TEST(run_many_wait, more_than_there_ever_are_is_refused_at_once)
{
    struct fm_map *places = make_limited(2, 0, FM_EXCESS_WAIT),
                  *starts = make_limited(0, 2, FM_EXCESS_WAIT);
    struct together three = { 0 };
    for (int i = 0; i < 2; i++) {
        finish(start_together(&three, i ? starts : places, "xyz"));
        cr_assert(three.result == -EAGAIN && three.each == -EAGAIN);
        cr_assert_eq(fm_map_size(i ? starts : places), 0);
    }
    fm_map_destroy(places);
    fm_map_destroy(starts);
}

WORKER_TEST(run_many_wait, as_many_are_evicted_as_there_are_too_few_places)
{
    struct fm_map *map = make_limited(4, 0, FM_EXCESS_EVICT_IDLE);
    struct together both = { 0 };
    for (const char *key = "abc"; *key; key++) {
        cr_assert_eq(fm_map_run(map, fm_key_bytes(key, 1), until_interrupted, NULL, NULL, NULL),
                     0);
        settle();
    }
    finish(start_together(&both, map, "xyz"));
    cr_assert_eq(both.result, 0);
    cr_assert(fm_map_has(map, KEY("c")) && fm_map_size(map) == 4);
    cr_assert_not(fm_map_has(map, KEY("a")) || fm_map_has(map, KEY("b")));
    fm_map_destroy(map);
}

EXACT_TEST(run_many_wait, their_starts_are_of_one_window)
{
    struct fm_map *map = make_limited(0, 3, FM_EXCESS_WAIT);
    struct together first = { 0 }, second = { 0 };
    pass_ms(1);
    finish(start_together(&first, map, "12"));
    cr_assert_eq(first.result, 0);
    struct fm_fiber *fiber = start_together(&second, map, "34");
    cr_assert_eq(second.result, PENDING);
    cr_assert_eq(poll_run(map, "5"), -ETIMEDOUT, "the line has a first");
    pass_ms(99);
    cr_assert_eq(second.result, PENDING);
    pass_ms(1);
    cr_assert(second.result == 0 && second.at_ms == first.at_ms + 100);
    cr_assert_eq(poll_run(map, "5"), 0, "the third start of the window");
    cr_assert_eq(poll_run(map, "6"), -ETIMEDOUT);
    finish(fiber);
    fm_map_destroy(map);
}

EXACT_TEST(run_many_wait, places_wait_for_starts_and_go_back)
{
    struct fm_map *map = make_limited(3, 2, FM_EXCESS_WAIT);
    struct together both = { 0 };
    pass_ms(1);
    cr_assert_eq(try_run(map, "a"), 0);
    struct fm_fiber *fiber = start_together(&both, map, "xy");
    cr_assert_eq(both.result, PENDING, "one start is there");
    fm_fiber_interrupt(fiber);
    finish(fiber);
    cr_assert_eq(both.result, -ECANCELED);
    cr_assert_eq(poll_run(map, "b"), 0);
    pass_ms(100);
    cr_assert_eq(poll_run(map, "c"), 0);
    cr_assert_eq(poll_run(map, "d"), -ETIMEDOUT, "three places, three there");
    fm_map_destroy(map);
}

EXACT_TEST(run_many_wait, a_key_that_is_taken_meanwhile_keeps_all_from_starting)
{
    struct fm_map *map = make_limited(2, 0, FM_EXCESS_WAIT);
    struct together both = { 0 };
    pass_ms(1);
    cr_assert_eq(try_run(map, "a"), 0);
    cr_assert_eq(try_run(map, "b"), 0);
    struct fm_fiber *fiber = start_together(&both, map, "xy"),
                    *set = start(until_interrupted, NULL);
    cr_assert_eq(fm_map_set(map, KEY("y"), set, NULL), 0); /* not limited, but counted */
    remove_key(map, "a");
    remove_key(map, "b");
    cr_assert_eq(both.result, PENDING, "one place is there");
    cr_assert_eq(fm_map_detach(map, KEY("y"), NULL), 0);
    cr_assert_eq(fm_map_set(map, KEY("x"), set, NULL), 0);
    finish(fiber);
    cr_assert_eq(both.result, -EEXIST);
    cr_assert_eq(both.each, PENDING, "x is held, nothing is wrong with y");
    cr_assert_eq(poll_run(map, "c"), 0, "the places have gone back");
    cr_assert_eq(poll_run(map, "d"), -ETIMEDOUT);
    fm_fiber_unref(set);
    fm_map_destroy(map);
}

WORKER_TEST(run_many_wait, closing_sends_them_away)
{
    for (int starts = 0; starts < 2; starts++) {
        struct fm_map *map = make_limited(2, starts ? 2 : 0, FM_EXCESS_WAIT);
        struct together both = { 0 };
        cr_assert_eq(try_run(map, "a"), 0);
        struct fm_fiber *fiber = start_together(&both, map, "xy");
        cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
        finish(fiber);
        cr_assert(both.result == -ESHUTDOWN && both.each == -ESHUTDOWN);
        fm_map_destroy(map);
    }
}

static void *thread_body(void *arg)
{
    run_together(arg);
    return NULL;
}

/* A thread waits as a fiber does, and is woken with the last place. */
FIBER_TEST(run_many_wait, a_thread_waits_too)
{
    struct fm_map *map = make_limited(2, 0, FM_EXCESS_WAIT);
    struct together both = { .map = map, .letters = "xy", .result = PENDING };
    pthread_t thread;
    cr_assert_eq(try_run(map, "a"), 0);
    cr_assert_eq(pthread_create(&thread, NULL, thread_body, &both), 0);
    cr_assert_eq(fm_map_remove(map, KEY("a"), FM_NEVER), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert(both.result == 0 && both.each == 0 && fm_map_size(map) == 2);
    fm_map_destroy(map);
}

static struct fm_exit over_at_once(void *arg)
{
    return fm_ok(arg);
}

/* One after the other; each third one is interrupted, wherever it is then. */
static struct fm_exit drive(void *arg)
{
    struct together *t = arg;
    for (int round = 0; round < 300; round++) {
        struct fm_fiber *fiber = start(run_together, t);
        for (int i = 0; i < round % 4; i++)
            fm_yield();
        if (round % 3 == 0)
            fm_fiber_interrupt(fiber);
        finish(fiber);
        cr_assert(t->result == 0 || t->result == -EEXIST ||
                      (t->result == -ECANCELED && round % 3 == 0),
                  "%d in round %d", t->result, round);
    }
    return fm_ok(NULL);
}

/* Whom an earlier round has run may still hold its key: -EEXIST. */
FIBER_TEST(run_many_wait, no_place_is_lost_among_many)
{
    struct fm_map *map = make_limited(3, 0, FM_EXCESS_WAIT);
    const char *letters[] = { "ab", "cd", "efg", "h" };
    struct together drives[4] = { 0 }, all = { .map = map, .letters = "xyz" };
    struct fm_fiber *fibers[4];
    for (int i = 0; i < 4; i++) {
        drives[i].map = map;
        drives[i].letters = letters[i];
        drives[i].entry = over_at_once;
        fibers[i] = start(drive, &drives[i]);
    }
    for (int i = 0; i < 4; i++)
        cr_assert_eq(finish(fibers[i]).kind, FM_SUCCESS);
    cr_assert_eq(fm_map_await_quiescent(map, FM_NEVER), 0);
    all.deadlines_ns[0] = 1;
    run_together(&all);
    cr_assert_eq(all.result, 0, "all three places are free");
    fm_map_destroy(map);
}

EXACT_TEST(run_many_wait, the_earliest_deadline_of_all_ends_the_wait)
{
    for (int late = 0; late < 2; late++) {
        struct fm_map *map = make_limited(2, 0, FM_EXCESS_WAIT);
        struct together both = { 0 };
        pass_ms(1);
        cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, NULL, NULL), 0);
        int64_t begin_ms = now_ms();
        both.deadlines_ns[late] = fm_after_ms(50);
        both.deadlines_ns[!late] = fm_after_ms(20);
        struct fm_fiber *fiber = start_together(&both, map, "xy");
        pass_ms(60);
        cr_assert(both.result == -ETIMEDOUT && both.each == -ETIMEDOUT);
        cr_assert_eq(both.at_ms - begin_ms, 20);
        cr_assert_eq(fm_map_size(map), 1);
        fm_fiber_unref(fiber);
        fm_map_destroy(map);
    }
}
