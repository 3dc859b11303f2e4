/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_blocking.c - the pool of threads: bound, order, giving up, shutdown
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include "runtime/fiber/runtime.h"
#include "runtime/io/blocking.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/futex.h"
#include "tests/runtime/io/io_test.h"

/* A door that jobs wait behind. */
struct gate {
    _Atomic uint32_t open;
    _Atomic uint32_t inside;
    _Atomic uint32_t most; /* inside at once */
    _Atomic uint32_t passed;
};

static void open_gate(struct gate *gate)
{
    atomic_store(&gate->open, 1);
    fm__futex_wake(&gate->open, INT32_MAX);
}

static struct fm_exit pass(void *arg)
{
    struct gate *gate = arg;
    uint32_t inside = atomic_fetch_add(&gate->inside, 1) + 1, most = atomic_load(&gate->most);
    while (inside > most && !atomic_compare_exchange_weak(&gate->most, &most, inside))
        ;
    while (!atomic_load(&gate->open))
        fm__futex_wait(&gate->open, 0, INT64_MAX);
    atomic_fetch_sub(&gate->inside, 1);
    atomic_fetch_add(&gate->passed, 1);
    return fm_ok(gate);
}

static struct fm_exit pass_on_pool(void *arg)
{
    struct fm_exit exit;
    int r = fm_blocking(pass, arg, FM_NEVER, &exit);
    return r < 0 ? fm_fail(r) : exit;
}

static void await_inside(struct gate *gate, uint32_t count)
{
    while (atomic_load(&gate->inside) < count)
        fm_yield();
}

static struct fm_exit name_of_thread(void *arg)
{
    pthread_getname_np(pthread_self(), arg, 16);
    return fm_fail_with(fm_fiber_self() ? 1 : 2, arg);
}

FIBER_TEST(blocking, job_runs_in_a_thread_of_the_pool_and_gives_its_exit)
{
    char name[16] = "";
    struct fm_exit exit;
    cr_assert_eq(fm_blocking(name_of_thread, name, FM_NEVER, &exit), 0);
    cr_assert_str_eq(name, "fm-blocking");
    cr_assert_eq(exit.kind, FM_FAILURE);
    cr_assert_eq(exit.code, 2);
    cr_assert_eq(exit.value, name);
    cr_assert_eq(fm_blocking(name_of_thread, name, FM_NEVER, NULL), 0);
    cr_assert_eq(fm_blocking(NULL, NULL, FM_NEVER, &exit), -EINVAL);
}

TEST(blocking, thread_runs_the_job_in_place)
{
    char name[16] = "", mine[16];
    struct fm_exit exit;
    pthread_getname_np(pthread_self(), mine, sizeof mine);
    cr_assert_eq(fm_blocking(name_of_thread, name, 0, &exit), 0);
    cr_assert_str_eq(name, mine);
}

static struct fm_exit count_up(void *arg)
{
    atomic_fetch_add((_Atomic uint32_t *)arg, 1);
    return fm_ok(arg);
}

static struct fm_exit count_on_pool(void *arg)
{
    struct fm_exit exit;
    int r = fm_blocking(count_up, arg, FM_NEVER, &exit);
    return r < 0 ? fm_fail(r) : exit;
}

FIBER_TEST(blocking, thousand_jobs_each_run_once)
{
    enum { JOBS = 1000 };
    static struct fm_fiber *fibers[JOBS];
    _Atomic uint32_t count = 0;
    struct fm_runtime_stats stats;
    for (int i = 0; i < JOBS; i++)
        fibers[i] = start(count_on_pool, &count);
    for (int i = 0; i < JOBS; i++)
        cr_assert_eq(finish(fibers[i]).kind, FM_SUCCESS);
    cr_assert_eq(count, JOBS);
    fm_runtime_stats(fm_runtime_current(), &stats);
    cr_assert_eq(stats.blocking_jobs, JOBS);
    cr_assert_eq(stats.blocking_queued, 0);
    cr_assert_eq(stats.blocking_wait.count, JOBS);
    cr_assert_leq(stats.blocking_threads, 64);
    cr_assert_eq(fm__blocking_busy(fm_runtime_current()), 0);
}

/* F95: one that hangs costs one thread. */
FIBER_TEST(blocking, jobs_pass_one_that_hangs)
{
    enum { JOBS = 10000, AT_ONCE = 500 };
    static struct fm_fiber *fibers[AT_ONCE];
    struct gate gate = { 0 };
    _Atomic uint32_t count = 0;
    struct fm_fiber *hangs = start(pass_on_pool, &gate);
    await_inside(&gate, 1);
    for (int done = 0; done < JOBS; done += AT_ONCE) {
        for (int i = 0; i < AT_ONCE; i++)
            fibers[i] = start(count_on_pool, &count);
        for (int i = 0; i < AT_ONCE; i++)
            cr_assert_eq(finish(fibers[i]).kind, FM_SUCCESS);
    }
    cr_assert_eq(count, JOBS);
    cr_assert_eq(fm_fiber_poll(hangs, NULL), -EAGAIN);
    open_gate(&gate);
    finish(hangs);
}

static void in_pool_of(uint32_t threads, fm_entry_fn *body)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_exit exit;
    config.worker_count = 2;
    config.blocking_threads = threads;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    cr_assert_eq(fm_runtime_run(runtime, body, NULL, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    fm_runtime_destroy(runtime);
}

static struct fm_exit body_bound(void *arg)
{
    enum { JOBS = 20, BOUND = 3 };
    struct fm_fiber *fibers[JOBS];
    struct gate gate = { 0 };
    struct fm_runtime_stats stats;
    for (int i = 0; i < JOBS; i++) {
        fibers[i] = start(pass_on_pool, &gate);
        await_wait(fibers[i]);
    }
    await_inside(&gate, BOUND);
    fm_runtime_stats(fm_runtime_current(), &stats);
    cr_assert_eq(stats.blocking_threads, BOUND);
    cr_assert_eq(stats.blocking_queued, JOBS - BOUND);
    cr_assert_eq(fm__blocking_busy(fm_runtime_current()), JOBS);
    open_gate(&gate);
    for (int i = 0; i < JOBS; i++)
        cr_assert_eq(finish(fibers[i]).value, &gate);
    cr_assert_eq(gate.most, BOUND);
    cr_assert_eq(fm__blocking_busy(fm_runtime_current()), 0);
    return fm_ok(arg);
}

TEST(blocking, bound_is_kept_and_the_rest_is_queued)
{
    in_pool_of(3, body_bound);
}

struct turn {
    _Atomic uint32_t *next;
    uint32_t got;
};

static struct fm_exit take_turn(void *arg)
{
    struct turn *turn = arg;
    turn->got = atomic_fetch_add(turn->next, 1);
    return fm_ok(NULL);
}

static struct fm_exit take_turn_on_pool(void *arg)
{
    return fm_fail(fm_blocking(take_turn, arg, FM_NEVER, NULL));
}

static struct fm_exit body_order(void *arg)
{
    enum { JOBS = 20 };
    struct fm_fiber *fibers[JOBS], *holder;
    struct turn turns[JOBS];
    struct gate gate = { 0 };
    _Atomic uint32_t next = 0;
    holder = start(pass_on_pool, &gate);
    await_inside(&gate, 1);
    for (int i = 0; i < JOBS; i++) {
        turns[i].next = &next;
        fibers[i] = start(take_turn_on_pool, &turns[i]);
        await_wait(fibers[i]);
    }
    open_gate(&gate);
    finish(holder);
    for (int i = 0; i < JOBS; i++) {
        finish(fibers[i]);
        cr_assert_eq(turns[i].got, (uint32_t)i);
    }
    return fm_ok(arg);
}

TEST(blocking, jobs_start_first_come_first_served)
{
    in_pool_of(1, body_order);
}

/* ---- giving up ---- */

static struct fm_exit pass_until(void *arg)
{
    struct fm_exit exit;
    return fm_fail(fm_blocking(pass, arg, fm_after_s(1000), &exit));
}

FIBER_TEST(blocking, who_gives_up_leaves_at_once_and_the_job_goes_on)
{
    struct gate gate = { 0 };
    struct fm_fiber *fiber = start(pass_on_pool, &gate);
    await_inside(&gate, 1);
    fm_fiber_interrupt(fiber);
    expect_interruption(finish(fiber), FM_BY_USER);
    fiber = start(pass_until, &gate);
    await_inside(&gate, 2);
    await_wait(fiber);
    cr_assert(time_out(fiber));
    cr_assert_eq(finish(fiber).code, -ETIMEDOUT);
    cr_assert_eq(gate.passed, 0);
    cr_assert_eq(fm__blocking_busy(fm_runtime_current()), 0, "nobody waits for them");
    open_gate(&gate);
    while (atomic_load(&gate.passed) < 2)
        fm_yield();
}

static struct fm_exit count_while_interrupted(void *arg)
{
    fm_fiber_interrupt(fm_fiber_self());
    return fm_ok(number(fm_blocking(count_up, arg, FM_NEVER, NULL)));
}

FIBER_TEST(blocking, canceled_always_means_that_the_job_runs)
{
    _Atomic uint32_t count = 0;
    cr_assert_eq((intptr_t)finish(start(count_while_interrupted, &count)).value, -ECANCELED);
    while (atomic_load(&count) == 0)
        fm_yield();
}

static _Atomic uint32_t drops;

static void count_drop(void *arg)
{
    (void)arg;
    atomic_fetch_add(&drops, 1);
}

static struct fm_exit run_with_drop(void *arg)
{
    return fm_fail(fm__blocking_run(pass, arg, count_drop, fm_after_s(1000), NULL));
}

FIBER_TEST(blocking, argument_is_dropped_when_the_job_has_left_it)
{
    struct gate gate = { 0 };
    atomic_store(&drops, 0);
    struct fm_fiber *fiber = start(run_with_drop, &gate);
    await_wait(fiber);
    cr_assert(time_out(fiber));
    cr_assert_eq(finish(fiber).code, -ETIMEDOUT);
    cr_assert_eq(drops, 0);
    open_gate(&gate);
    while (atomic_load(&drops) == 0)
        fm_yield();
    fm__fault_set(FAULT_MALLOC, 1, true);
    cr_assert_eq(fm__blocking_run(pass, &gate, count_drop, FM_NEVER, NULL), -ENOMEM);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert_eq(drops, 2);
    cr_assert_eq(fm__blocking_run(pass, &gate, count_drop, FM_NEVER, NULL), 0);
    /* the pool's thread may be the last to let go of the job, a moment after it woke us */
    while (atomic_load(&drops) == 2)
        fm_yield();
    cr_assert_eq(drops, 3);
}

static struct fm_exit masked_run(void *arg)
{
    struct fm_exit exit;
    fm_mask();
    int r = fm_blocking(pass, arg, FM_NEVER, &exit);
    fm_unmask();
    return r < 0 ? fm_fail(r) : fm_ok(number(fm_check()));
}

FIBER_TEST(blocking, mask_waits_for_the_end)
{
    struct gate gate = { 0 };
    struct fm_fiber *fiber = start(masked_run, &gate);
    await_inside(&gate, 1);
    fm_fiber_interrupt(fiber);
    for (int i = 0; i < 50; i++)
        fm_yield();
    cr_assert_eq(fm_fiber_poll(fiber, NULL), -EAGAIN);
    open_gate(&gate);
    cr_assert_eq((intptr_t)finish(fiber).value, -ECANCELED);
}

/* ---- a job on what the caller lends ---- */

/* On the stack of its fiber. */
struct loan {
    struct gate *gate;
    int64_t deadline_ns;
    uint32_t runs;
    int pending; /* fm_check() afterwards */
};
static _Atomic uint32_t loans_used;

static struct fm_exit use_loan(void *arg)
{
    struct loan *loan = arg;
    struct fm_exit exit = loan->gate ? pass(loan->gate) : fm_ok(NULL);
    loan->runs++;
    atomic_fetch_add(&loans_used, 1);
    return exit;
}

static struct fm_exit lend(void *arg)
{
    const struct loan *given = arg;
    struct loan loan = *given;
    struct fm_exit exit;
    int r = fm__blocking_run_lent(use_loan, &loan, loan.deadline_ns, &exit);
    cr_assert_eq(loan.runs, r == 0);
    *(struct loan *)arg = loan;
    ((struct loan *)arg)->pending = fm_check();
    return r < 0 ? fm_fail_with(r, NULL) : fm_ok(exit.value);
}

static struct fm_fiber *start_queued(struct loan *loan)
{
    struct fm_fiber *fiber = start(lend, loan);
    await_wait(fiber);
    return fiber;
}

static struct fm_exit body_withdrawn(void *arg)
{
    enum { LOANS = 5 };
    struct gate gate = { 0 };
    struct loan loans[LOANS];
    struct fm_fiber *fibers[LOANS], *holder = start(pass_on_pool, &gate);
    struct fm_runtime_stats stats;
    await_inside(&gate, 1); /* the only thread hangs */
    for (int i = 0; i < LOANS; i++) {
        loans[i] = (struct loan) { .deadline_ns = i == 2 ? fm_after_s(1000) : FM_NEVER };
        fibers[i] = start_queued(&loans[i]);
    }
    cr_assert(time_out(fibers[2]));
    cr_assert_eq(finish(fibers[2]).code, -ETIMEDOUT, "from the middle");
    fm_fiber_interrupt(fibers[0]);
    expect_interruption(finish(fibers[0]), FM_BY_USER);
    fm_fiber_interrupt(fibers[4]);
    expect_interruption(finish(fibers[4]), FM_BY_USER);
    fm_runtime_stats(fm_runtime_current(), &stats);
    cr_assert_eq(stats.blocking_queued, 2);
    cr_assert_eq(fm__blocking_busy(fm_runtime_current()), 3);
    struct loan late = { .deadline_ns = FM_NEVER };
    struct fm_fiber *last = start_queued(&late);
    open_gate(&gate);
    cr_assert_eq(finish(fibers[1]).kind, FM_SUCCESS);
    cr_assert_eq(finish(fibers[3]).kind, FM_SUCCESS);
    cr_assert_eq(finish(last).kind, FM_SUCCESS, "linked where the last one was withdrawn");
    finish(holder);
    cr_assert_eq(loans_used, 3, "and none of those that were withdrawn");
    return fm_ok(arg);
}

/* F95: with all threads of the pool hung, who waits for one has a way out. */
TEST(blocking, lent_job_that_has_not_begun_is_withdrawn)
{
    in_pool_of(1, body_withdrawn);
}

static struct fm_exit body_all_withdrawn(void *arg)
{
    struct gate gate = { 0 };
    struct loan loan = { .deadline_ns = FM_NEVER };
    struct fm_fiber *holder = start(pass_on_pool, &gate);
    await_inside(&gate, 1);
    for (int i = 0; i < 2; i++) {
        struct fm_fiber *fiber = start_queued(&loan);
        fm_fiber_interrupt(fiber);
        expect_interruption(finish(fiber), FM_BY_USER);
    }
    open_gate(&gate);
    finish(holder);
    cr_assert_eq(finish(start(lend, &loan)).kind, FM_SUCCESS);
    return fm_ok(arg);
}

TEST(blocking, queue_that_was_left_by_all_serves_the_next)
{
    in_pool_of(1, body_all_withdrawn);
}

FIBER_TEST(blocking, lent_job_that_has_begun_is_awaited)
{
    struct gate gate = { 0 };
    struct loan loans[2] = { { .gate = &gate, .deadline_ns = FM_NEVER },
                             { .gate = &gate, .deadline_ns = fm_after_s(1000) } };
    struct fm_fiber *interrupted = start_queued(&loans[0]), *late = start_queued(&loans[1]);
    await_inside(&gate, 2);
    fm_fiber_interrupt(interrupted);
    cr_assert(time_out(late));
    for (int i = 0; i < 50; i++)
        fm_yield();
    cr_assert_eq(fm_fiber_poll(interrupted, NULL), -EAGAIN);
    cr_assert_eq(fm_fiber_poll(late, NULL), -EAGAIN);
    cr_assert_eq(fm__blocking_busy(fm_runtime_current()), 2);
    open_gate(&gate);
    cr_assert_eq(finish(interrupted).value, &gate, "it is the job's");
    cr_assert_eq(loans[0].pending, -ECANCELED, "and seen by the next wait");
    cr_assert_eq(finish(late).value, &gate);
    cr_assert_eq(loans[1].pending, 0);
}

static struct fm_exit lend_while_interrupted(void *loan)
{
    fm_fiber_interrupt(fm_fiber_self());
    return lend(loan);
}

FIBER_TEST(blocking, lent_job_is_not_handed_in_past_its_deadline_or_interrupted)
{
    struct fm_runtime_stats before, after;
    struct loan loan = { .deadline_ns = 0 };
    struct loan past = { .deadline_ns = fm_now_ns() };
    fm_runtime_stats(fm_runtime_current(), &before);
    cr_assert_eq(finish(start(lend, &loan)).code, -ETIMEDOUT);
    cr_assert_eq(finish(start(lend, &past)).code, -ETIMEDOUT);
    loan.deadline_ns = FM_NEVER;
    expect_interruption(finish(start(lend_while_interrupted, &loan)), FM_BY_USER);
    fm_runtime_stats(fm_runtime_current(), &after);
    cr_assert_eq(after.blocking_jobs, before.blocking_jobs);
}

/* The virtual clock does not step over a job. */
static struct fm_exit sleep_an_hour(void *arg)
{
    (void)arg;
    return fm_fail(fm_sleep_ms(3600000));
}

struct advance {
    struct fm_runtime *runtime;
    int done; /* a pipe: a fiber that sat in pthread_join would keep the clock from moving */
};

static void *advance(void *arg)
{
    struct advance *a = arg;
    cr_assert_eq(fm_clock_advance_ns(a->runtime, INT64_C(3600000000000)), 0);
    cr_assert_eq(write(a->done, "", 1), 1);
    return NULL;
}

VIRTUAL_TEST(blocking, virtual_time_waits_for_jobs)
{
    struct gate gate = { 0 };
    pthread_t thread;
    int fds[2];
    cr_assert_eq(pipe(fds), 0);
    struct advance a = { fm_runtime_current(), fds[1] };
    struct fm_fiber *job = start(pass_on_pool, &gate), *sleeper = start(sleep_an_hour, NULL);
    await_inside(&gate, 1);
    await_wait(sleeper);
    cr_assert_eq(pthread_create(&thread, NULL, advance, &a), 0);
    for (int i = 0; i < 100; i++)
        fm_yield();
    cr_assert_eq(fm_fiber_poll(sleeper, NULL), -EAGAIN);
    open_gate(&gate);
    finish(job);
    cr_assert_eq(finish(sleeper).code, 0);
    cr_assert_eq((intptr_t)read_byte(number(fds[0])).value, 0);
    pthread_join(thread, NULL);
    close_both(fds);
}

/* ---- threads that come and go ---- */

/* F88 */
FIBER_TEST(blocking, without_a_thread_the_call_fails_and_nothing_is_queued)
{
    _Atomic uint32_t count = 0;
    struct fm_runtime_stats stats;
    fm__fault_set(FAULT_THREAD, 1, true);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(fm_blocking(count_up, &count, FM_NEVER, NULL), -EAGAIN);
    fm_runtime_stats(fm_runtime_current(), &stats);
    cr_assert_eq(stats.blocking_queued, 0);
    cr_assert_eq(stats.blocking_threads, 0);
    fm__fault_set(FAULT_THREAD, 0, false);
    cr_assert_eq(fm_blocking(count_up, &count, FM_NEVER, NULL), 0);
    cr_assert_eq(count, 1);
}

FIBER_TEST(blocking, where_one_thread_is_there_a_job_is_queued_for_it)
{
    struct gate gate = { 0 };
    struct fm_fiber *first = start(pass_on_pool, &gate), *second;
    await_inside(&gate, 1);
    fm__fault_set(FAULT_THREAD, 1, true);
    second = start(pass_on_pool, &gate);
    await_wait(second);
    cr_assert_eq(fm_fiber_poll(second, NULL), -EAGAIN);
    open_gate(&gate);
    cr_assert_eq(finish(first).value, &gate);
    cr_assert_eq(finish(second).value, &gate);
    cr_assert_eq(gate.most, 1);
    fm__fault_set(FAULT_THREAD, 0, false);
}

FIBER_TEST(blocking, idle_threads_go_and_come_back)
{
    enum { JOBS = 4 };
    struct fm_runtime_stats stats;
    fm__blocking_set_idle_ns(fm_runtime_current(), 1000000);
    for (int round = 0; round < 3; round++) {
        struct gate gate = { 0 };
        struct fm_fiber *fibers[JOBS];
        for (int i = 0; i < JOBS; i++)
            fibers[i] = start(pass_on_pool, &gate);
        await_inside(&gate, JOBS);
        open_gate(&gate);
        for (int i = 0; i < JOBS; i++)
            finish(fibers[i]);
        do {
            fm_yield(); /* the time of threads is real */
            fm_runtime_stats(fm_runtime_current(), &stats);
        } while (stats.blocking_threads);
    }
}

/* ---- files ---- */

FIBER_TEST(blocking, files_are_written_by_the_pool_or_else_in_place)
{
    struct fm_runtime_stats stats;
    int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return; /* not on this file system */
    cr_assert_eq(fm_write(fd, "abc", 3, FM_NEVER), 3);
    fm_runtime_stats(fm_runtime_current(), &stats);
    cr_assert_eq(stats.blocking_jobs, 1);
    fm__fault_set(FAULT_MALLOC, 1, true);
    cr_assert_eq(fm_write(fd, "def", 3, FM_NEVER), 3);
    fm__fault_set(FAULT_MALLOC, 0, false);
    char got[8] = "";
    cr_assert_eq(pread(fd, got, sizeof got, 0), 6);
    cr_assert_str_eq(got, "abcdef");
    cr_assert_eq(fm_close(fd), 0);
}

/* ---- shutdown ---- */

/* F95 */
TEST(blocking, shutdown_with_a_stuck_job_times_out_names_it_and_can_be_repeated)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct gate gate = { 0 };
    struct fm_fiber *waiter;
    struct fm_exit exit;
    char said[256] = "", id[32];
    int fds[2];
    config.worker_count = 1;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    cr_assert_eq(fm_runtime_spawn(runtime, pass_on_pool, &gate, NULL, &waiter), 0);
    while (atomic_load(&gate.inside) == 0)
        sched_yield();
    for (int i = 0; i < 2; i++)
        cr_assert_eq(fm_runtime_shutdown(runtime, fm_after_ms(5)), -ETIMEDOUT);
    cr_assert_eq(fm_fiber_join(waiter, FM_NEVER, &exit), 0);
    expect_interruption(exit, FM_BY_SHUTDOWN); /* the fiber has gone, its job has not */
    cr_assert_eq(pipe(fds), 0);
    cr_assert_eq(fm__blocking_dump(runtime, fds[1]), 0);
    cr_assert_gt(read(fds[0], said, sizeof said - 1), 0);
    snprintf(id, sizeof id, "%#llx", (unsigned long long)fm_fiber_id(waiter));
    cr_assert_not_null(strstr(said, id), "%s", said);
    open_gate(&gate);
    cr_assert_eq(fm_runtime_shutdown(runtime, FM_NEVER), 0);
    cr_assert_eq(gate.passed, 1);
    fm_fiber_unref(waiter);
    fm_runtime_destroy(runtime);
    close(fds[0]);
    close(fds[1]);
}

struct late {
    struct gate gate;
    _Atomic uint32_t ran;
    _Atomic uint32_t refused;
};

static struct fm_exit count_masked(void *arg)
{
    struct late *late = arg;
    struct fm_exit exit;
    fm_mask();
    int r = fm_blocking(count_up, &late->ran, FM_NEVER, &exit);
    if (r == 0 && exit.kind == FM_INTERRUPTED && exit.reason == FM_BY_SHUTDOWN)
        atomic_fetch_add(&late->refused, 1);
    if (fm_blocking(count_up, &late->ran, FM_NEVER, &exit) == -ESHUTDOWN)
        atomic_fetch_add(&late->refused, 1);
    fm_unmask();
    return fm_ok(NULL);
}

static void *shut_pool(void *runtime)
{
    return number(fm__blocking_shutdown(runtime, FM_NEVER));
}

TEST(blocking, queued_jobs_end_as_interrupted_at_shutdown)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct late late = { .gate = { 0 } };
    struct fm_fiber *holder, *queued;
    pthread_t thread;
    config.worker_count = 1;
    config.blocking_threads = 1;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    cr_assert_eq(fm_runtime_spawn(runtime, pass_on_pool, &late.gate, NULL, &holder), 0);
    while (atomic_load(&late.gate.inside) == 0)
        sched_yield();
    cr_assert_eq(fm_runtime_spawn(runtime, count_masked, &late, NULL, &queued), 0);
    while (fm__state_life(fm__state_read(&queued->state)) != LIFE_PARKED)
        sched_yield();
    cr_assert_eq(pthread_create(&thread, NULL, shut_pool, runtime), 0);
    cr_assert_eq(fm_fiber_join(queued, FM_NEVER, NULL), 0);
    cr_assert_eq(late.ran, 0);
    cr_assert_eq(late.refused, 2);
    open_gate(&late.gate);
    cr_assert_eq(fm_fiber_join(holder, FM_NEVER, NULL), 0);
    void *r;
    pthread_join(thread, &r);
    cr_assert_eq((intptr_t)r, 0);
    fm_fiber_unref(holder);
    fm_fiber_unref(queued);
    fm_runtime_destroy(runtime);
}
