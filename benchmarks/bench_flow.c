/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_flow.c - what do the structured calls cost?
 *
 *   each      for_each over many pieces that do nothing, eight at a time, per piece
 *   yielding  the same, each piece yields once
 *   fresh     the same, each piece leaves something behind and so costs a fiber of its own
 *   race      a race of two, of which one succeeds at once and one waits for ever
 *   timeout   a body that ends at once, under a deadline
 *   step      a step of a schedule as retries use them: exponential, capped, jittered, bounded
 */
#include "benchmarks/support/bench.h"

static uint64_t bound = 8;

static void report(const struct bench_run *run, const char *metric, int64_t start)
{
    int64_t end = fm_now_ns();
    bench_record(run, metric, "ns", (double)(end - start) / (double)run->count);
}

static fm_local_key key;

static struct fm_exit nothing(void *arg, size_t index)
{
    char *done = arg;
    done[index] = 1;
    return fm_ok(NULL);
}

static struct fm_exit yielding(void *arg, size_t index)
{
    int r = fm_yield();
    return r < 0 ? fm_fail(r) : nothing(arg, index);
}

static struct fm_exit leaving(void *arg, size_t index)
{
    fm_local_set(key, arg);
    return nothing(arg, index);
}

static struct fm_exit for_each(const struct bench_run *run, fm_index_fn *fn, const char *metric)
{
    struct fm_exit exit;
    char *done = calloc(run->count, 1);
    BENCH_CHECK(done, "no memory");
    int64_t start = fm_now_ns();
    int r = fm_for_each(run->count, bound, fn, done, &exit);
    report(run, metric, start);
    BENCH_CHECK(r == 0 && exit.kind == FM_SUCCESS, "for_each: %s", fm_strerror(r));
    for (uint64_t i = 0; i < run->count; i++)
        BENCH_CHECK(done[i], "piece %lu was left out", (unsigned long)i);
    free(done);
    return fm_ok(NULL);
}

static struct fm_exit each(void *arg)
{
    return for_each(arg, nothing, "for_each of 8");
}

static struct fm_exit each_yielding(void *arg)
{
    return for_each(arg, yielding, "for_each of 8, yielding");
}

static struct fm_exit each_fresh(void *arg)
{
    return for_each(arg, leaving, "for_each of 8, fresh");
}

static struct fm_exit at_once(void *arg)
{
    return fm_ok(arg);
}

static struct fm_exit for_ever(void *arg)
{
    (void)arg;
    return fm_fail(fm_never());
}

static struct fm_exit race(void *arg)
{
    const struct bench_run *run = arg;
    const struct fm_task tasks[] = { { for_ever, NULL }, { at_once, arg } };
    struct fm_exit exit;
    int64_t start = fm_now_ns();
    for (uint64_t i = 0; i < run->count; i++) {
        int r = fm_race(tasks, 2, NULL, &exit);
        BENCH_CHECK(r == 0 && exit.value == arg, "race: %s", fm_strerror(r));
    }
    report(run, "race of two", start);
    return fm_ok(NULL);
}

static struct fm_exit timeout(void *arg)
{
    const struct bench_run *run = arg;
    struct fm_exit exit;
    int64_t start = fm_now_ns();
    for (uint64_t i = 0; i < run->count; i++) {
        int r = fm_timeout(at_once, arg, fm_after_s(1), &exit);
        BENCH_CHECK(r == 0 && exit.value == arg, "timeout: %s", fm_strerror(r));
    }
    report(run, "timeout that does not fire", start);
    return fm_ok(NULL);
}

static struct fm_exit step(void *arg)
{
    const struct bench_run *run = arg;
    struct fm_schedule *schedule = fm_schedule_exponential(1000, 2);
    struct fm_schedule_run walk;
    int64_t delay, sum = 0;

    schedule = fm_schedule_jittered(fm_schedule_cap_ns(schedule, 1000000));
    schedule = fm_schedule_intersect(schedule, fm_schedule_recurs((int64_t)run->count));
    BENCH_CHECK(fm_schedule_run_init(&walk, schedule) == 0, "no schedule");
    int64_t start = fm_now_ns();
    while (fm_schedule_next_at(&walk, start, fm_fail(-1), &delay) == 0)
        sum += delay > 0;
    report(run, "step of a retry's schedule", start);
    BENCH_CHECK(sum == (int64_t)run->count, "%ld steps", (long)sum);
    fm_schedule_run_fini(&walk);
    fm_schedule_unref(schedule);
    return fm_ok(NULL);
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { .name = "each", .body = each, .count = 1000000 },
        { .name = "yielding", .body = each_yielding, .count = 500000 },
        { .name = "fresh", .body = each_fresh, .count = 300000 },
        { .name = "race", .body = race, .count = 100000 },
        { .name = "timeout", .body = timeout, .count = 100000 },
        { .name = "step", .body = step, .count = 1000000 },
    };
    if (fm_local_key_create(&key, NULL) < 0)
        return 1;
    bench_parameter("bound", &bound, 1, 1000000, "pieces of for_each at a time");
    return bench_main(argc, argv, "what the structured calls cost", cases, 6);
}
