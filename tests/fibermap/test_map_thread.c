/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_thread.c - a thread that has never waited, where there is no descriptor for it
 *
 * A thread needs one for its first wait. All that are free are taken, and none can be made: what
 * would wait is refused with -ENOMEM and leaves nothing behind, and what must not fail tries again.
 */
#include "fibermap/ledger.h"
#include "runtime/fiber/slab.h"
#include "runtime/platform/memory.h"
#include "tests/fibermap/map_test.h"

static struct fm_fiber *hoard[4 * SLAB_CHUNK];
static unsigned hoarded;

static void take_all_descriptors(void)
{
    struct fm_fiber *fiber;
    fm__fault_set(FAULT_MAP, 1, true);
    while ((fiber = fm__slab_take(NULL))) {
        cr_assert_lt(hoarded, sizeof hoard / sizeof *hoard);
        hoard[hoarded++] = fiber;
    }
}

static void give_them_back(void)
{
    fm__fault_set(FAULT_MAP, 0, false);
    while (hoarded)
        fm__slab_give(NULL, hoard[--hoarded]);
}

struct call {
    int (*fn)(struct call *call);
    struct fm_map *map;
    struct fm_map_group *group;
    int result, drops;
};

static void *make_call(void *arg)
{
    struct call *call = arg;
    call->result = call->fn(call);
    return NULL;
}

static void begin(pthread_t *thread, struct call *call, int (*fn)(struct call *call))
{
    call->fn = fn;
    cr_assert_eq(pthread_create(thread, NULL, make_call, call), 0);
}

/* The call's result, from a thread that has never waited. */
static int without_descriptor(struct call *call, int (*fn)(struct call *call))
{
    pthread_t thread;
    take_all_descriptors();
    begin(&thread, call, fn);
    pthread_join(thread, NULL);
    give_them_back();
    return call->result;
}

static int with_descriptor(struct call *call, int (*fn)(struct call *call))
{
    pthread_t thread;
    begin(&thread, call, fn);
    pthread_join(thread, NULL);
    return call->result;
}

static struct call call_on(struct fm_runtime *runtime)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct call call = { 0 };
    config.runtime = runtime;
    config.completions = 4;
    config.max_live = 1;
    cr_assert_eq(fm_map_create(&config, &call.map), 0);
    return call;
}

static struct fm_exit ready_and_never(void *arg)
{
    fm_ready();
    return fm_fail(fm_never());
}

/* One that has its stack. */
static void run_begun(struct call *call, fm_entry_fn *entry, void *arg,
                      const struct fm_map_run_options *options, struct fm_fiber **ret_fiber)
{
    cr_assert_eq(fm_map_run(call->map, KEY("a"), entry, arg, options, ret_fiber), 0);
    cr_assert_eq(fm_fiber_await_ready(*ret_fiber, FM_NEVER), 0);
}

static void over(struct call *call, struct fm_runtime *runtime)
{
    fm_map_destroy(call->map);
    fm_map_group_unref(call->group);
    fm_runtime_destroy(runtime);
}

/* ---- refused ---- */

static void count_drop(void *arg)
{
    ++*(int *)arg;
}

static int run_and_wait(struct call *call)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.arg_drop = count_drop;
    return fm_map_run_wait(call->map, KEY("a"), until_interrupted, &call->drops, &options, 1,
                           NULL);
}

TEST(map_thread, a_run_that_is_to_be_awaited_does_not_begin)
{
    struct fm_runtime *runtime = runtime_with(1);
    struct call call = call_on(runtime);
    cr_assert_eq(without_descriptor(&call, run_and_wait), -ENOMEM);
    cr_assert_eq(fm_map_size(call.map), 0);
    cr_assert_eq(call.drops, 0, "the argument is the caller's");
    cr_assert_eq(with_descriptor(&call, run_and_wait), -ETIMEDOUT);
    cr_assert_eq(fm_map_size(call.map), 1);
    over(&call, runtime);
}

static int wait_for_the_next(struct call *call)
{
    return fm_map_next(call->map, FM_NEVER, NULL);
}

TEST(map_thread, who_cannot_wait_for_the_next_end_leaves_it_to_others)
{
    struct fm_runtime *runtime = runtime_with(1);
    struct call call = call_on(runtime);
    struct fm_fiber *fiber;
    run_begun(&call, ready_and_never, NULL, NULL, &fiber);
    fm_fiber_unref(fiber);
    cr_assert_eq(without_descriptor(&call, wait_for_the_next), -ENOMEM);
    cr_assert_eq(fm_map_interrupt(call.map, KEY("a")), 0);
    cr_assert_eq(with_descriptor(&call, wait_for_the_next), 0);
    over(&call, runtime);
}

static struct fm_exit masked_until(void *go)
{
    fm_mask();
    fm_ready();
    while (!atomic_load((atomic_bool *)go))
        fm_yield();
    fm_unmask();
    return fm_fail(fm_check());
}

static int stop_the_group(struct call *call)
{
    return fm_map_group_stop(call->group, FM_NEVER);
}

/* The members see to it themselves. */
TEST(map_thread, a_group_stops_although_its_stopper_cannot_wait)
{
    struct fm_runtime *runtime = runtime_with(1);
    struct call call = call_on(runtime);
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    atomic_bool go = false;
    cr_assert_eq(fm_map_group_create(call.map, NULL, &call.group), 0);
    options.group = call.group;
    run_begun(&call, masked_until, &go, &options, &fiber);
    /* it is masked: with no member left there would be nothing to wait for */
    cr_assert_eq(without_descriptor(&call, stop_the_group), -ENOMEM);
    atomic_store(&go, true);
    expect_interruption(finish(fiber), FM_BY_GROUP);
    cr_assert_eq(with_descriptor(&call, stop_the_group), 0);
    over(&call, runtime);
}

/* ---- mapped in time ---- */

static int wait_for_the_verdict(struct call *call)
{
    return fm_map_join(call->map, fm_after_ms(1), NULL);
}

static int wait_until_it_is_empty(struct call *call)
{
    return fm_map_await_empty(call->map, fm_after_ms(1));
}

static int wait_a_moment_for_the_next(struct call *call)
{
    return fm_map_next(call->map, fm_after_ms(1), NULL);
}

/*
 * What a run does that found no place: others may have taken the descriptor that it made its fiber
 * from, and has given back.
 */
static int wait_for_a_place(struct call *call)
{
    struct limit_hand hand = { .runs = 1, .lacks_place = true };
    int r = fm__limit_wait(call->map, &hand, fm_after_ms(1));
    fm__limit_put_back(call->map, &hand);
    return r;
}

/* A debug build stops a mapping under a lock of the map. */
TEST(map_thread, what_a_first_wait_needs_is_mapped_before_the_lock)
{
    int (*const waits[])(struct call *) = { wait_for_the_verdict, wait_until_it_is_empty,
                                            wait_a_moment_for_the_next, wait_for_a_place };
    struct fm_runtime *runtime = runtime_with(1);
    struct call call = call_on(runtime);
    struct fm_fiber *fiber;
    run_begun(&call, ready_and_never, NULL, NULL, &fiber);
    for (unsigned i = 0; i < sizeof waits / sizeof *waits; i++) {
        take_all_descriptors();
        fm__fault_set(FAULT_MAP, 0, false);
        cr_assert_eq(with_descriptor(&call, waits[i]), -ETIMEDOUT);
        give_them_back();
    }
    fm_fiber_unref(fiber);
    over(&call, runtime);
}

/* ---- tried again ---- */

static int destroy_the_map(struct call *call)
{
    call->map = fm_map_destroy(call->map);
    return 0;
}

/* It has nobody to tell that it could not wait, so it comes back until it can. */
TEST(map_thread, who_destroys_a_map_waits_for_its_fibers_all_the_same)
{
    struct fm_runtime *runtime = runtime_with(1);
    struct call call = call_on(runtime);
    struct fm_fiber *fiber;
    atomic_bool go = false;
    pthread_t thread;
    run_begun(&call, masked_until, &go, NULL, &fiber);
    take_all_descriptors();
    uint64_t refused = fm__fault_hits(FAULT_MAP);
    begin(&thread, &call, destroy_the_map);
    while (fm__fault_hits(FAULT_MAP) < refused + 3)
        sched_yield();
    cr_assert_eq(fm_fiber_poll(fiber, NULL), -EAGAIN);
    give_them_back();
    atomic_store(&go, true);
    pthread_join(thread, NULL);
    cr_assert_null(call.map);
    expect_interruption(finish(fiber), FM_BY_CLOSE);
    over(&call, runtime);
}
