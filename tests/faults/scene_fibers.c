/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scene_fibers.c - fibers, scopes, structured calls, schedules, the runtime itself
 */
#include "tests/faults/faults.h"

#include <string.h>
#include <unistd.h>

static _Atomic int dropped;

static void drop(void *pointer)
{
    (void)pointer;
    dropped++;
}

/* ---- fibers ---- */

static void observed(struct fm_fiber *fiber, struct fm_exit exit, void *told)
{
    (void)fiber, (void)exit;
    ++*(_Atomic int *)told;
}

static struct fm_exit play_spawn(void *arg)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    _Atomic int told = 0;
    struct fm_observer stays = { .fn = observed, .arg = &told }, leaves = stays;
    struct fm_fiber *fiber, *many[4];
    void *args[4] = { &told, &told, &told, &told };
    (void)arg;

    options.name = "a name that is copied";
    options.arg_drop = drop;
    options.value_drop = drop;
    dropped = 0;
    if (OK(fm_fiber_spawn(until_stopped, &options, &options, &fiber))) {
        HOLDS(fm_fiber_id(fiber) != 0 && strcmp(fm_fiber_name(fiber), options.name) == 0);
        bool begins = fm_fiber_await_ready(fiber, SOON) == 0;
        HOLDS(begins || fault_met());
        HOLDS(fm_fiber_poll(fiber, NULL) == (begins ? -EAGAIN : 0));
        int stands = fm_fiber_observe(fiber, &stays);
        if (fm_fiber_observe(fiber, &leaves) == 0)
            fm_fiber_unobserve(fiber, &leaves);
        OK(fm_fiber_interrupt(fiber));
        fm_fiber_unref(fm_fiber_ref(fiber));
        stop_and_unref(fiber);
        HOLDS(told == (stands == 0) || begins == false);
        HOLDS(begins ? dropped == 0 : dropped == 1);
    }
    if (OK(fm_fiber_spawn_many(give, args, 4, NULL, many)))
        for (int i = 0; i < 4; i++)
            join_and_unref(many[i]);
    if (OK(fm_fiber_spawn_many(until_stopped, args, 4, NULL, many))) {
        OK(fm_fiber_stop_many(many, 4, SOON));
        for (int i = 0; i < 4; i++)
            fm_fiber_unref(many[i]);
    }
    options = (struct fm_spawn_options)FM_SPAWN_OPTIONS_INIT;
    options.stack_bytes = 1 << 20;
    options.flags = FM_SPAWN_FIRST;
    if (OK(fm_runtime_spawn(fm_runtime_current(), give, NULL, NULL, &fiber)))
        join_and_unref(fiber);
    if (OK(fm_fiber_spawn(give, NULL, &options, &fiber)))
        join_and_unref(fiber);
    return fm_ok(NULL);
}

static struct fm_exit play_self(void *arg)
{
    static fm_local_key key;
    struct fm_exit exit;
    (void)arg;
    if (!key)
        HOLDS(fm_local_key_create(&key, drop) == 0 && fm_local_key_inherit(key) == 0);
    if (OK(fm_local_set(key, &key)))
        HOLDS(fm_local_get(key) == &key);
    OK(fm_yield());
    OK(fm_sleep_ns(1000));
    OK(fm_sleep_ms(0));
    OK(fm_sleep_until_ns(fm_after_us(20)));
    OK(fm_mask());
    HOLDS(fm_masked());
    OK(fm_fiber_interrupt(fm_fiber_self()));
    OK(fm_unmask());
    HOLDS(fm_check() == -ECANCELED && fm_interrupt_info(&exit) >= 0);
    HOLDS(fm_never() == -ECANCELED);
    OK(fm_pin());
    OK(fm_unpin());
    return fm_interrupted();
}

/* It is interrupted, so it is a fiber of its own. */
static struct fm_exit play_self_apart(void *arg)
{
    struct fm_fiber *fiber;
    if (OK(fm_fiber_spawn(play_self, arg, NULL, &fiber)))
        join_and_unref(fiber);
    return fm_ok(NULL);
}

static struct fm_exit play_blocking(void *arg)
{
    struct fm_exit exit;
    for (int i = 0; i < 3; i++)
        if (OK(fm_blocking(give, arg, SOON, &exit)))
            HOLDS(exit.kind == FM_SUCCESS);
    return fm_ok(NULL);
}

/* ---- scopes ---- */

static int finalized;

static int finalize(void *arg, struct fm_exit exit)
{
    (void)arg, (void)exit;
    finalized++;
    return 0;
}

static int acquire(void *arg, void **ret_resource)
{
    *ret_resource = arg;
    return 0;
}

static struct fm_exit in_scope(void *arg)
{
    struct fm_fiber *self = fm_fiber_self();
    struct fm_exit exit;
    void *resource;
    int to_come = 0;

    finalized = 0;
    to_come += OK(fm_defer(finalize, arg));
    OK(fm_defer_on_interrupt(finalize, arg));
    to_come += OK(fm_acquire(acquire, arg, finalize, &resource));
    OK(fm_fiber_spawn(give, arg, NULL, NULL));
    OK(fm_scope_wait(SOON));
    HOLDS(fm_fiber_finalizer_exit(self, &exit) < 0);
    return fm_ok((void *)(intptr_t)to_come);
}

static struct fm_exit play_scope(void *arg)
{
    struct fm_scope *scope;
    struct fm_exit exit = fm_scoped(in_scope, arg);
    HOLDS(exit.kind == FM_SUCCESS ? finalized == (intptr_t)exit.value : fault_met());
    if (OK(fm_scope_open(&scope))) {
        OK(fm_fiber_spawn(until_stopped, arg, NULL, NULL));
        exit = fm_scope_close(scope, fm_ok(NULL));
        HOLDS(exit.kind == FM_SUCCESS || fault_met());
    }
    if (OK(fm_scope_open_with(FM_SCOPE_FAIL_FAST, &scope))) {
        OK(fm_fiber_spawn(give, arg, NULL, NULL));
        exit = fm_scope_close(scope, fm_ok(NULL));
        HOLDS(exit.kind == FM_SUCCESS || fault_met());
    }
    return fm_ok(NULL);
}

/* ---- structured calls, schedules ---- */

static struct fm_exit piece(void *arg, size_t index)
{
    (void)arg;
    return fm_ok((void *)index);
}

static struct fm_exit fail_once(void *arg)
{
    struct fm_schedule_info info;
    HOLDS(fm_schedule_current(&info) == 0);
    return ++*(int *)arg < 2 ? fm_fail(-EIO) : fm_ok(arg);
}

static bool always(void *ctx, struct fm_exit exit)
{
    (void)ctx, (void)exit;
    return true;
}

static bool never(void *ctx, struct fm_exit exit)
{
    return !always(ctx, exit);
}

static void decided(void *ctx, struct fm_exit exit, int64_t delay_ns)
{
    (void)ctx, (void)exit, (void)delay_ns;
}

static struct fm_exit play_flow(void *arg)
{
    struct fm_task tasks[] = { { give, arg }, { give, arg } };
    struct fm_exit exit, exits[2];
    size_t winner;
    if (OK(fm_for_each(5, 2, piece, arg, &exit)))
        ended_well(exit);
    OK(fm_all(tasks, 2, 2, exits));
    OK(fm_race(tasks, 2, &winner, &exit));
    OK(fm_race_first(tasks, 2, &winner, &exit));
    if (OK(fm_timeout(give, arg, SOON, &exit)))
        ended_well(exit);
    return fm_ok(NULL);
}

/* One of each kind under another: whatever cannot be made makes all above it none. */
static struct fm_schedule *everything(void)
{
    static const int64_t delays[] = { 1000, 2000 };
    struct fm_schedule *all = fm_schedule_recurs(5);
    all = fm_schedule_union(all, fm_schedule_once());
    all = fm_schedule_intersect(all, fm_schedule_forever());
    all = fm_schedule_intersect(all, fm_schedule_fixed_ns(1000));
    all = fm_schedule_union(all, fm_schedule_windowed_ns(1000));
    all = fm_schedule_intersect(all, fm_schedule_exponential(100, 1.5));
    all = fm_schedule_intersect(all, fm_schedule_linear(100));
    all = fm_schedule_compose(all, fm_schedule_fibonacci(100));
    all = fm_schedule_and_then(all, fm_schedule_delays(delays, 2));
    all = fm_schedule_and_then(all, fm_schedule_spaced_ns(1000));
    all = fm_schedule_jittered(all);
    all = fm_schedule_up_to_ns(all, 1000000000);
    all = fm_schedule_cap_ns(all, 2000);
    all = fm_schedule_reset_after_ns(all, 1000000000);
    all = fm_schedule_while(all, always, NULL);
    all = fm_schedule_until(all, never, NULL);
    return fm_schedule_on_decision(all, decided, NULL);
}

static struct fm_exit play_schedule(void *arg)
{
    struct fm_schedule *twice = fm_schedule_recurs(2), *all = everything();
    struct fm_schedule_run run;
    struct fm_exit exit;
    int64_t delay_ns;
    int tries = 0;
    (void)arg;

    HOLDS((twice && all) || fault_met());
    if (all && OK(fm_schedule_run_init(&run, all))) {
        OK(fm_schedule_run_seed(&run, 7));
        OK(fm_schedule_next(&run, fm_ok(NULL), &delay_ns));
        OK(fm_schedule_next_at(&run, fm_now_ns(), fm_ok(NULL), &delay_ns));
        fm_schedule_run_fini(&run);
    }
    if (twice) {
        fm_schedule_unref(fm_schedule_ref(twice));
        OK(fm_repeat(give, NULL, twice, &exit));
        OK(fm_retry(fail_once, &tries, twice, &exit));
    }
    fm_schedule_unref(twice);
    fm_schedule_unref(all);
    return fm_ok(NULL);
}

/* ---- the runtime ---- */

static struct fm_exit seem_busy(void *arg)
{
    for (int i = 0; i < 5; i++)
        fm_yield();
    return fm_ok(arg);
}

static int met(void *seen, struct fm_fiber *fiber, const struct fm_fiber_look *look)
{
    (void)fiber;
    HOLDS(*fm_fiber_state_name(look->state));
    ++*(int *)seen;
    return 0;
}

static struct fm_exit play_runtime(void *arg)
{
    struct fm_worker_stats workers[4];
    struct fm_fiber_look look;
    int seen = 0;
    struct fm_runtime *runtime = fm_runtime_current();
    struct fm_runtime_stats stats;
    struct fm_fiber *fiber = NULL;
    int nowhere = OPEN("/dev/null", O_WRONLY);
    (void)arg;

    OK(fm_trace_start(runtime, NULL));
    OK(fm_runtime_resize(runtime, 3));
    OK(fm_fiber_spawn(until_stopped, NULL, NULL, &fiber));
    OK(fm_fiber_spawn(seem_busy, NULL, NULL, NULL));
    OK(fm_runtime_dump(runtime, nowhere));
    OK(fm_runtime_dump_with(runtime, nowhere, FM_DUMP_BACKTRACE));
    OK(fm_fiber_look(fm_fiber_self(), &look));
    OK(fm_runtime_visit(runtime, met, &seen));
    HOLDS(seen > 0);
    OK(fm_runtime_workers(runtime, workers, 4));
    OK(fm_runtime_resize(runtime, 1));
    OK(fm_runtime_stats(runtime, &stats));
    HOLDS(fm_histogram_percentile(&stats.run_length, 50) <= stats.run_length.max);
    HOLDS(fm_trace_stop(runtime, nowhere) == 0 || fault_met());
    if (fiber)
        stop_and_unref(fiber);
    close(nowhere);
    return fm_ok(NULL);
}

/* In a thread: the life of a runtime of its own, with the virtual clock. */
static void live(void *arg)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_fiber *fiber;
    struct fm_exit exit;
    int64_t next_ns;

    config.worker_count = 2;
    config.clock = FM_CLOCK_VIRTUAL;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    if (OK(fm_runtime_create(&config, &runtime))) {
        if (OK(fm_runtime_spawn(runtime, until_stopped, arg, NULL, &fiber)))
            stop_and_unref(fiber);
        if (OK(fm_runtime_run(runtime, give, arg, &exit)))
            ended_well(exit);
        OK(fm_clock_advance_ns(runtime, 1000));
        OK(fm_clock_set_ns(runtime, 2000));
        OK(fm_clock_next_ns(runtime, &next_ns));
        OK(fm_runtime_shutdown(runtime, FM_NEVER));
        fm_runtime_destroy(runtime);
    }
    if (OK(fm_run(give, arg, &exit)))
        ended_well(exit);
}

static struct fm_exit live_in_thread(void *arg)
{
    live(arg);
    return fm_ok(NULL);
}

static struct fm_exit play_life(void *arg)
{
    struct fm_exit exit;
    OK(fm_blocking(live_in_thread, arg, FM_NEVER, &exit));
    return fm_ok(NULL);
}

/* What has nothing to be refused: once is enough. */
static struct fm_exit play_words(void *arg)
{
    HOLDS(*fm_version() && *fm_strerror(-ENOMEM) && *fm_exit_kind_name(FM_FAILURE));
    HOLDS(*fm_reason_name(FM_BY_USER));
    HOLDS(fm_after_ns(0) < fm_after_ms(1) && fm_after_us(1) < fm_after_s(1));
    HOLDS(fm_interrupted().kind == FM_INTERRUPTED);
    HOLDS(fm_fail_with(-EIO, arg).code == -EIO);
    return fm_ok(NULL);
}

const struct scene fiber_scenes[] = {
    { "spawn", play_spawn },       { "self", play_self_apart },
    { "blocking", play_blocking }, { "scope", play_scope },
    { "flow", play_flow },         { "schedule", play_schedule },
    { "runtime", play_runtime },   { "life", play_life },
    { "words", play_words },       { NULL, NULL },
};
