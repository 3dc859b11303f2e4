/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_timers.c - how late do a million sleepers wake, and what does a timer cost?
 *
 *   sleeps   --count fibers each sleep until a random instant of one second, which begins when
 *            all of them have gone to sleep; lateness is measured by each on waking. Processor
 *            time is that of the whole, creation included.
 *   cancel   --count fibers sleep for an hour, then all are interrupted: from the first spawn
 *            until all sleep, and from the first interrupt until all have ended, per fiber
 *   arm      a round trip of two fibers whose waits have a deadline, less one whose waits have
 *            none, by two: arming a timer and cancelling it
 */
#include "benchmarks/support/bench.h"

#include <errno.h>
#include <stdatomic.h>

static const int64_t second_ns = 1000000000;

struct sleepers {
    int64_t begin_ns;
    int32_t *late_us; /* one a fiber, in no order */
    _Atomic uint64_t woken;
};

struct sleeper {
    struct sleepers *all;
    int64_t wake_ns;
};

static struct fm_exit sleep_once(void *arg)
{
    struct sleeper *sleeper = arg;
    struct sleepers *all = sleeper->all;
    const int64_t wake_ns = sleeper->wake_ns; /* on its stack, where a fiber keeps its own */
    int r = fm_sleep_until_ns(wake_ns);
    int64_t late = fm_now_ns() - wake_ns;
    uint64_t place = atomic_fetch_add_explicit(&all->woken, 1, memory_order_relaxed);
    all->late_us[place] = (int32_t)(late / 1000);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static int compare(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* One round; false if creation took so long that the second had begun before all slept. */
static bool sleep_round(const struct bench_run *run, struct sleeper *each, int64_t ahead_ns)
{
    uint64_t n = run->count, random = 88172645463325252u;
    struct sleepers all = { .late_us = calloc(n, sizeof(int32_t)) };
    BENCH_CHECK(all.late_us, "no memory");

    int64_t cpu = bench_cpu_ns();
    all.begin_ns = fm_now_ns() + ahead_ns;
    for (uint64_t i = 0; i < n; i++) {
        int64_t in_second = (int64_t)(bench_random(&random) % (uint64_t)second_ns);
        each[i] = (struct sleeper) { &all, all.begin_ns + in_second };
        int r = fm_fiber_spawn(sleep_once, &each[i], NULL, NULL);
        BENCH_CHECK(r == 0, "spawn %lu: %s", (unsigned long)i, fm_strerror(r));
        if (i % 1000 == 999)
            fm_yield();
    }
    bool in_time = fm_now_ns() < all.begin_ns;
    fm_scope_wait(FM_NEVER);
    cpu = bench_cpu_ns() - cpu;

    BENCH_CHECK(atomic_load(&all.woken) == n, "%lu woke",
                (unsigned long)atomic_load(&all.woken));
    qsort(all.late_us, n, sizeof *all.late_us, compare);
    BENCH_CHECK(all.late_us[0] >= 0, "%d us too early", -all.late_us[0]);
    if (in_time) {
        bench_record(run, "sleeps, lateness p50", "us", all.late_us[n / 2]);
        bench_record(run, "sleeps, lateness p99", "us", all.late_us[n - 1 - n / 100]);
        bench_record(run, "sleeps, lateness p99.9", "us", all.late_us[n - 1 - n / 1000]);
        bench_record(run, "sleeps, processor time", "s", (double)cpu / 1e9);
    }
    free(all.late_us);
    return in_time;
}

static struct fm_exit sleeps(void *arg)
{
    const struct bench_run *run = arg;
    struct sleeper *each = calloc(run->count, sizeof *each);
    BENCH_CHECK(each, "no memory");
    /* five microseconds to create each, or more where the machine is busy */
    int64_t ahead_ns = second_ns / 10 + (int64_t)run->count * 5000;
    while (!sleep_round(run, each, ahead_ns))
        ahead_ns *= 2;
    free(each);
    return fm_ok(NULL);
}

struct crowd {
    _Atomic uint64_t asleep; /* or about to be */
    _Atomic uint64_t interrupted;
};

static struct fm_exit sleep_for_an_hour(void *arg)
{
    struct crowd *crowd = arg;
    uint64_t place = atomic_fetch_add_explicit(&crowd->asleep, 1, memory_order_relaxed);
    int r = fm_sleep_ms(3600000 + (int64_t)(place % 1000));
    if (r == -ECANCELED)
        atomic_fetch_add_explicit(&crowd->interrupted, 1, memory_order_relaxed);
    return fm_fail(r);
}

static struct fm_exit cancel(void *arg)
{
    const struct bench_run *run = arg;
    struct crowd crowd = { 0, 0 };
    struct fm_fiber **fibers = calloc(run->count, sizeof(struct fm_fiber *));
    BENCH_CHECK(fibers, "no memory");
    int64_t start = fm_now_ns();
    for (uint64_t i = 0; i < run->count; i++)
        fibers[i] = bench_spawn(sleep_for_an_hour, &crowd);
    while (atomic_load_explicit(&crowd.asleep, memory_order_relaxed) < run->count)
        fm_yield();
    int64_t asleep = fm_now_ns();
    fm_sleep_ms(20); /* until the last of them sleep */
    int64_t interrupts = fm_now_ns();
    for (uint64_t i = 0; i < run->count; i++)
        fm_fiber_interrupt(fibers[i]);
    for (uint64_t i = 0; i < run->count; i++)
        bench_finish(fibers[i]);
    int64_t end = fm_now_ns();
    BENCH_CHECK(crowd.interrupted == run->count, "%lu were interrupted",
                (unsigned long)crowd.interrupted);
    double n = (double)run->count;
    bench_record(run, "sleeps, create and arm", "ns", (double)(asleep - start) / n);
    bench_record(run, "sleeps, cancel and end", "ns", (double)(end - interrupts) / n);
    free(fibers);
    return fm_ok(NULL);
}

struct pair {
    struct fm_semaphore *ball_of[2];
    uint64_t rounds;
    int64_t deadline_ns;
};

static void play(struct pair *pair, int me)
{
    for (uint64_t i = 0; i < pair->rounds; i++) {
        int r = fm_semaphore_acquire(pair->ball_of[me], 1, pair->deadline_ns);
        BENCH_CHECK(r == 0, "acquire: %s", fm_strerror(r));
        fm_semaphore_release(pair->ball_of[!me], 1);
    }
}

static struct fm_exit second_player(void *arg)
{
    play(arg, 1);
    return fm_ok(NULL);
}

static double round_trip(uint64_t rounds, int64_t deadline_ns)
{
    struct pair pair = { .rounds = rounds, .deadline_ns = deadline_ns };
    BENCH_CHECK(fm_semaphore_create(1, &pair.ball_of[0]) == 0 &&
                    fm_semaphore_create(0, &pair.ball_of[1]) == 0,
                "no memory");
    struct fm_fiber *second = bench_spawn(second_player, &pair);
    int64_t start = fm_now_ns();
    play(&pair, 0);
    bench_finish(second);
    int64_t end = fm_now_ns();
    fm_semaphore_destroy(pair.ball_of[0]);
    fm_semaphore_destroy(pair.ball_of[1]);
    return (double)(end - start) / (double)rounds;
}

static struct fm_exit arm(void *arg)
{
    const struct bench_run *run = arg;
    double plain = round_trip(run->count, FM_NEVER);
    double timed = round_trip(run->count, fm_after_s(3600));
    bench_record(run, "arm and cancel a timer", "ns", (timed - plain) / 2);
    return fm_ok(NULL);
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { .name = "sleeps", .body = sleeps, .count = 1000000, .cold = true },
        { .name = "cancel", .body = cancel, .count = 1000000, .cold = true },
        { .name = "arm", .body = arm, .count = 300000, .max_workers = 1 },
    };
    return bench_main(argc, argv, "how late sleepers wake and what a timer costs", cases, 3);
}
