/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_evict.c - who makes room for whom, and starts that are waited for
 */
#include "tests/fibermap/idle_test.h"
#include "tests/support/waits.h"

static struct fm_map *make_evicting(uint32_t max_live, uint32_t max_starts)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;
    config.max_live = max_live;
    config.max_starts = max_starts;
    config.interval_ns = max_starts ? 100 * MS : 0;
    config.on_excess = FM_EXCESS_EVICT_IDLE;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    return map;
}

struct asked {
    struct fm_map *map;
    const char *key;
    struct stay_of stay;
    int64_t deadline_ns, returned_ms;
    int result;
};

static int ask_until(struct asked *asked, uint32_t conflict)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = conflict;
    options.deadline_ns = asked->deadline_ns;
    asked->result = fm_map_run(asked->map, KEY(asked->key), stay_body, &asked->stay, &options,
                               NULL);
    asked->returned_ms = now_ms();
    return asked->result;
}

static struct fm_exit ask_body(void *arg)
{
    ask_until(arg, FM_REPLACE);
    return fm_ok(NULL);
}

/* Asks in a fiber of its own; deadline_ms 0: none. */
static struct fm_fiber *begin_to_ask(struct asked *asked, struct fm_map *map, const char *key,
                                     int64_t deadline_ms)
{
    *asked = (struct asked) {
        .map = map, .key = key, .deadline_ns = deadline_ms * MS, .result = 99
    };
    return start(ask_body, asked);
}

static struct fm_fiber *ask(struct asked *asked, struct fm_map *map, const char *key,
                            int64_t deadline_ms)
{
    struct fm_fiber *fiber = begin_to_ask(asked, map, key, deadline_ms);
    settle();
    return fiber;
}

static void put_in(struct fm_map *map, const char *key, struct stay_of *stay)
{
    cr_assert_eq(run_stay(map, key, stay, FM_REPLACE, 0, NULL), 0);
    settle();
}

EXACT_TEST(map_evict, nobody_goes_for_one_who_has_no_start)
{
    struct fm_map *map = make_evicting(1, 1);
    struct stay_of a = { 0 };
    struct asked b;

    put_in(map, "a", &a);
    fm_fiber_unref(ask(&b, map, "b", 30));
    pass_ms(99);
    cr_assert(b.result == -ETIMEDOUT && b.returned_ms == 30 && !a.ended_ms);
    fm_fiber_unref(ask(&b, map, "b", 0));
    cr_assert_not(a.ended_ms);
    pass_ms(1);
    cr_assert(b.result == 0 && b.returned_ms == 100 && a.ended_ms == 100);
    fm_map_destroy(map);
}

/* Its eviction takes half a second; whoever waited for that gives up long before. */
EXACT_TEST(map_evict, who_gives_up_puts_his_start_back)
{
    struct fm_map *map = make_evicting(1, 2);
    struct stay_of a = { .ends_ms = 500 };
    struct asked b, again;

    put_in(map, "a", &a);
    fm_fiber_unref(ask(&b, map, "b", 40));
    settle();
    cr_assert_eq(fm_map_count(map, FM_MEMBER_ENDING), 1);
    fm_fiber_unref(ask(&again, map, "a", 0));
    cr_assert_eq(again.result, 99, "the window's second start is held");
    pass_ms(40);
    cr_assert(b.result == -ETIMEDOUT && again.result == FM_MAP_REPLACED);
    cr_assert_eq(again.returned_ms, 40);
    pass_ms(500);
    fm_map_destroy(map);
}

EXACT_TEST(map_evict, a_start_that_is_held_counts_in_the_window_in_which_it_is_used)
{
    struct fm_map *map = make_evicting(1, 1);
    struct stay_of a = { .ends_ms = 150 };
    struct asked b, c;

    put_in(map, "a", &a);
    fm_fiber_unref(ask(&b, map, "b", 0));
    pass_ms(100);
    cr_assert_eq(a.ended_ms, 100);
    fm_fiber_unref(ask(&c, map, "a", 0)); /* takes a's place, and so lacks the start alone */
    pass_ms(1000);
    cr_assert(b.result == 0 && b.returned_ms == 250);
    cr_assert(c.result == 0 && c.returned_ms == 350);
    fm_map_destroy(map);
}

EXACT_TEST(map_evict, a_close_tells_those_who_wait_for_a_start_at_once)
{
    for (int evicts = 0; evicts < 2; evicts++) {
        struct fm_map_config config = FM_MAP_CONFIG_INIT;
        struct stay_of a = { 0 };
        struct asked asked[3];
        struct fm_map *map;

        config.max_starts = 1;
        config.interval_ns = 100 * MS;
        config.on_excess = evicts ? FM_EXCESS_EVICT_IDLE : FM_EXCESS_WAIT;
        cr_assert_eq(fm_map_create(&config, &map), 0);
        put_in(map, "a", &a);
        int64_t begin_ms = now_ms();
        for (int i = 0; i < 3; i++) /* the first in line, and two behind */
            fm_fiber_unref(ask(&asked[i], map, "b", 0));
        pass_ms(10);
        cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
        settle();
        for (int i = 0; i < 3; i++)
            cr_assert(asked[i].result == -ESHUTDOWN && asked[i].returned_ms == begin_ms + 10);
        expect_nothing_left();
        fm_map_destroy(map);
    }
}

/* The one who is being evicted for him ends later; nobody else need go then. */
EXACT_TEST(map_evict, a_map_that_drains_evicts_nobody)
{
    struct fm_close_policy drain = FM_CLOSE_POLICY_INIT;
    struct fm_map *map = make_evicting(2, 0);
    struct stay_of a = { .ends_ms = 20 }, b = { 0 };
    struct asked c;

    pass_ms(1);
    put_in(map, "a", &a);
    put_in(map, "b", &b);
    fm_fiber_unref(ask(&c, map, "c", 0));
    drain.kind = FM_CLOSE_DRAIN;
    drain.deadline_ns = 1; /* it has passed */
    cr_assert_eq(fm_map_close(map, &drain, NULL), -ETIMEDOUT);
    settle();
    cr_assert_eq(c.result, -ESHUTDOWN);
    pass_ms(50);
    cr_assert(a.ended_ms == 1 && b.ended_ms == 0);
    fm_map_destroy(map);
}

EXACT_TEST(map_evict, starts_are_had_in_turn_and_none_is_lost_with_who_leaves_the_line)
{
    struct fm_map *map = make_evicting(0, 1);
    struct stay_of a = { 0 };
    struct asked first, second, third;

    put_in(map, "a", &a);
    struct fm_fiber *one = ask(&first, map, "1", 50), *two = ask(&second, map, "2", 0);
    struct fm_fiber *three = ask(&third, map, "3", 0);
    pass_ms(60);
    cr_assert(first.result == -ETIMEDOUT && second.result == 99);
    fm_fiber_interrupt(two); /* first in line by now */
    settle();
    cr_assert_eq(second.result, -ECANCELED);
    pass_ms(40);
    cr_assert(third.result == 0 && third.returned_ms == 100);
    fm_fiber_unref(one);
    fm_fiber_unref(two);
    fm_fiber_unref(three);
    fm_map_destroy(map);
}

struct thread_asks {
    struct asked asked;
    _Atomic int id, result;
};

static void *ask_in_thread(void *arg)
{
    struct thread_asks *asks = arg;
    atomic_store(&asks->id, thread_id());
    int r = fm_map_run(asks->asked.map, KEY("b"), stay_body, &asks->asked.stay, NULL, NULL);
    atomic_store(&asks->result, r);
    return NULL;
}

EXACT_TEST(map_evict, a_thread_waits_for_a_start_by_the_clock_of_the_map)
{
    struct fm_map *map = make_evicting(0, 1);
    struct thread_asks asks = { .asked.map = map, .result = 99 };
    struct stay_of a = { 0 };
    pthread_t thread;

    put_in(map, "a", &a);
    cr_assert_eq(pthread_create(&thread, NULL, ask_in_thread, &asks), 0);
    await_asleep(&asks.id);
    pass_ms(99);
    cr_assert_eq(atomic_load(&asks.result), 99);
    pass_ms(1);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    settle();
    cr_assert(asks.result == 0 && asks.asked.stay.begun_ms == 100);
    fm_map_destroy(map);
}

/* When he comes nobody is there to be evicted: the place is on its way to another. */
EXACT_TEST(map_evict, who_waits_gets_the_place_of_one_who_is_put_in_later)
{
    struct fm_map *map = make_evicting(1, 0);
    struct stay_of a = { .ends_ms = 100 };
    struct asked b, c;

    put_in(map, "a", &a);
    fm_fiber_unref(ask(&b, map, "b", 0));
    fm_fiber_unref(ask(&c, map, "c", 0));
    pass_ms(100);
    cr_assert(b.result == 0 && c.result == 0 && b.returned_ms == 100);
    cr_assert(fm_map_has(map, KEY("c")) && fm_map_size(map) == 1);
    fm_map_destroy(map);
}

EXACT_TEST(map_evict, no_more_are_evicted_than_wait)
{
    struct fm_map *map = make_evicting(2, 0);
    struct stay_of a = { .ends_ms = 100 }, b = { 0 };
    struct asked c;

    put_in(map, "a", &a);
    put_in(map, "b", &b);
    fm_fiber_unref(ask(&c, map, "c", 0));
    cr_assert_eq(fm_map_touch(map, KEY("b")), 0);
    cr_assert_eq(run_stay(map, "b", &b, FM_KEEP, 0, NULL), FM_MAP_KEPT);
    pass_ms(50);
    cr_assert(c.result == 99 && !b.ended_ms);
    pass_ms(50);
    cr_assert(c.result == 0 && !b.ended_ms);
    fm_map_destroy(map);
}

EXACT_TEST(map_evict, where_the_place_of_the_evicted_is_taken_over_another_goes)
{
    struct fm_map *map = make_evicting(2, 0);
    struct stay_of a = { .ends_ms = 100 }, b = { .ends_ms = 10 }, heir = { 0 };
    struct asked c;

    put_in(map, "a", &a);
    put_in(map, "b", &b);
    fm_fiber_unref(ask(&c, map, "c", 0));
    cr_assert_eq(run_stay(map, "a", &heir, FM_REPLACE, 0, NULL), FM_MAP_REPLACED);
    pass_ms(10);
    cr_assert(c.result == 0 && c.returned_ms == 10);
    cr_assert(!fm_map_has(map, KEY("b")) && fm_map_has(map, KEY("a")));
    pass_ms(90);
    cr_assert_eq(fm_map_size(map), 2);
    fm_map_destroy(map);
}

EXACT_TEST(map_evict, a_run_that_finds_it_keeps_it_in)
{
    struct fm_map *map = make_evicting(2, 0);
    struct stay_of a = { 0 }, b = { 0 }, c = { 0 };

    put_in(map, "a", &a);
    put_in(map, "b", &b);
    cr_assert_eq(run_stay(map, "a", &a, FM_KEEP, 0, NULL), FM_MAP_KEPT);
    put_in(map, "c", &c);
    cr_assert(fm_map_has(map, KEY("a")) && !fm_map_has(map, KEY("b")));
    fm_map_destroy(map);
}

EXACT_TEST(map_evict, one_that_queued_can_be_evicted_from_its_turn_on)
{
    struct fm_map *map = make_evicting(2, 0);
    struct stay_of first = { 0 }, second = { 0 }, c = { 0 }, d = { 0 }, e = { 0 };

    put_in(map, "a", &first);
    cr_assert_eq(run_stay(map, "a", &second, FM_QUEUE, 0, NULL), FM_MAP_QUEUED);
    put_in(map, "c", &c); /* of the two the first goes, the other's turn begins */
    cr_assert(first.begun && second.begun && fm_map_size(map) == 2);
    put_in(map, "d", &d);
    put_in(map, "e", &e);
    cr_assert(!fm_map_has(map, KEY("a")) && fm_map_size(map) == 2);
    fm_map_destroy(map);
}

static int end_in_steps(void *arg, struct fm_exit exit)
{
    for (int i = 0; i < 6; i++)
        fm_yield();
    return 0;
}

static struct fm_exit until_interrupted_in_steps(void *arg)
{
    fm_defer(end_in_steps, NULL);
    return fm_fail(fm_never());
}

/*
 * A place is on its way to b, and the second start of two. Wherever b is interrupted, c has
 * both at once; or b was in, and c has the place when b goes, and a start with the next window.
 */
static bool interrupt_who_waits(uint32_t on_excess, int step)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct asked b, c;
    struct fm_map *map;

    config.max_live = 1;
    config.max_starts = 2;
    config.interval_ns = 100 * MS;
    config.on_excess = on_excess;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    fm_fiber_unref(run(map, "a", until_interrupted_in_steps, NULL));
    settle();
    struct fm_fiber *asks = begin_to_ask(&b, map, "b", 0);
    for (int i = 0; i < step; i++) {
        if (i == 2)
            fm_map_interrupt(map, KEY("a")); /* an eviction has done it before */
        fm_yield();
    }
    fm_fiber_interrupt(asks);
    fm_map_interrupt(map, KEY("a"));
    finish(asks);
    settle();
    bool in = b.result == 0;
    cr_assert(in || b.result == -ECANCELED, "step %d: %d", step, b.result);
    cr_assert_eq(fm_map_size(map), in, "step %d", step);
    if (in)
        cr_assert_eq(fm_map_remove(map, KEY("b"), FM_NEVER), 0);
    int64_t asked_ms = now_ms();
    fm_fiber_unref(ask(&c, map, "c", 0));
    cr_assert_eq(c.result, in ? 99 : 0, "step %d", step);
    pass_ms(100);
    cr_assert_eq(c.result, 0);
    cr_assert_eq(c.returned_ms - asked_ms, in ? 100 : 0, "step %d", step);
    fm_map_destroy(map);
    expect_nothing_left();
    return in;
}

EXACT_TEST(map_evict, wherever_who_waits_is_interrupted_place_and_start_go_to_the_next)
{
    static const uint32_t kinds[] = { FM_EXCESS_WAIT, FM_EXCESS_EVICT_IDLE };
    for (int kind = 0; kind < 2; kind++) {
        int in = 0;
        for (int step = 1; step <= 24; step++)
            in += interrupt_who_waits(kinds[kind], step);
        cr_assert(in > 0 && in < 24, "%d of 24 were in", in);
    }
}
