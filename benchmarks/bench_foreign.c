/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_foreign.c - what does it cost to reach the runtime from a thread of the system?
 *
 *   submit   one thread, then --threads of them, start fibers that do nothing; until the last
 *            has ended, per fiber
 *   wake     the workers sleep; a thread gives a permit to the fiber that waits for it: from
 *            before the call to the fiber's next line
 *   spawn    the same where the thread starts a fiber: from before the call to its first line
 */
#include "benchmarks/support/bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { THREADS_MAX = 64 };

static uint64_t thread_count = 4;
static uint64_t pause_us = 1000; /* before each wake: the workers are asleep then */

/* ---- submit ---- */

struct submission {
    struct fm_runtime *runtime;
    uint64_t each; /* fibers of a thread */
    uint64_t all;
    _Atomic uint64_t ended;
    struct fm_deferred *all_ended;
    _Atomic bool left; /* the last of them, and will not touch this any more */
};

static struct fm_exit end_one(void *arg)
{
    struct submission *s = arg;
    if (atomic_fetch_add_explicit(&s->ended, 1, memory_order_relaxed) + 1 == s->all) {
        fm_deferred_succeed(s->all_ended, NULL);
        atomic_store(&s->left, true);
    }
    return fm_ok(NULL);
}

static void *submit_many(void *arg)
{
    struct submission *s = arg;
    for (uint64_t i = 0; i < s->each; i++) {
        int r = fm_runtime_spawn(s->runtime, end_one, s, NULL, NULL);
        BENCH_CHECK(r == 0, "spawn: %s", fm_strerror(r));
    }
    return NULL;
}

static void submit_from(const struct bench_run *run, uint64_t threads, const char *metric)
{
    struct submission s = { .runtime = run->runtime, .each = run->count / threads };
    pthread_t ids[THREADS_MAX];
    s.all = s.each * threads;
    BENCH_CHECK(s.each > 0 && fm_deferred_create(&s.all_ended) == 0, "no work, or no memory");
    int64_t start = fm_now_ns();
    for (uint64_t i = 0; i < threads; i++)
        BENCH_CHECK(pthread_create(&ids[i], NULL, submit_many, &s) == 0, "no thread");
    fm_deferred_await(s.all_ended, FM_NEVER, NULL);
    int64_t end = fm_now_ns();
    for (uint64_t i = 0; i < threads; i++)
        pthread_join(ids[i], NULL); /* it has made its last call, or is in it */
    while (!atomic_load(&s.left))
        fm_yield();
    bench_record(run, metric, "ns", (double)(end - start) / (double)s.all);
    fm_deferred_destroy(s.all_ended);
}

static struct fm_exit submit(void *arg)
{
    submit_from(arg, 1, "submit from one thread");
    submit_from(arg, thread_count, "submit from several threads");
    return fm_ok(NULL);
}

/* ---- wake and spawn ---- */

struct waking {
    struct fm_runtime *runtime;
    uint64_t rounds;
    bool spawn;
    struct fm_semaphore *permit, *next;
    _Atomic int64_t called_ns; /* before the call */
    double *late_us;
    uint64_t done;
    _Atomic bool over;
};

static void note(struct waking *w)
{
    w->late_us[w->done++] = (double)(fm_now_ns() - atomic_load(&w->called_ns)) / 1e3;
}

static struct fm_exit first_line(void *arg)
{
    note(arg);
    return fm_ok(NULL);
}

/* The thread outside: lets the workers fall asleep, then calls; one round after the other. */
static void *call_many(void *arg)
{
    struct waking *w = arg;
    struct timespec pause = { 0, (long)pause_us * 1000 };
    for (uint64_t i = 0; i < w->rounds; i++) {
        nanosleep(&pause, NULL);
        atomic_store(&w->called_ns, fm_now_ns());
        if (w->spawn) {
            struct fm_fiber *fiber;
            int r = fm_runtime_spawn(w->runtime, first_line, w, NULL, &fiber);
            BENCH_CHECK(r == 0, "spawn: %s", fm_strerror(r));
            bench_finish(fiber);
        } else {
            fm_semaphore_release(w->permit, 1);
            fm_semaphore_acquire(w->next, 1, FM_NEVER);
        }
    }
    atomic_store(&w->over, true);
    return NULL;
}

static struct fm_exit latency(const struct bench_run *run, bool spawn, const char *p50,
                              const char *p99)
{
    struct waking w = { .runtime = run->runtime, .rounds = run->count, .spawn = spawn };
    pthread_t thread;
    w.late_us = calloc(run->count, sizeof *w.late_us);
    BENCH_CHECK(w.late_us && fm_semaphore_create(0, &w.permit) == 0 &&
                    fm_semaphore_create(0, &w.next) == 0,
                "no memory");
    BENCH_CHECK(pthread_create(&thread, NULL, call_many, &w) == 0, "no thread");
    for (uint64_t i = 0; i < run->count && !spawn; i++) {
        fm_semaphore_acquire(w.permit, 1, FM_NEVER);
        note(&w);
        fm_semaphore_release(w.next, 1);
    }
    while (!atomic_load(&w.over))
        fm_sleep_ms(20);
    pthread_join(thread, NULL);
    BENCH_CHECK(w.done == run->count, "%lu calls", (unsigned long)w.done);
    bench_record_late(run, p50, p99, w.late_us);
    fm_semaphore_destroy(w.permit);
    fm_semaphore_destroy(w.next);
    free(w.late_us);
    return fm_ok(NULL);
}

static struct fm_exit wake(void *arg)
{
    return latency(arg, false, "wake from idle, p50", "wake from idle, p99");
}

static struct fm_exit spawn(void *arg)
{
    return latency(arg, true, "spawn from idle, p50", "spawn from idle, p99");
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { .name = "submit", .body = submit, .count = 200000 },
        { .name = "wake", .body = wake, .count = 500 },
        { .name = "spawn", .body = spawn, .count = 500 },
    };
    bench_parameter("threads", &thread_count, 1, THREADS_MAX, "threads that submit");
    bench_parameter("pause", &pause_us, 0, 999999, "microseconds before a wake");
    return bench_main(argc, argv, "what it costs to reach the runtime from a thread", cases,
                      sizeof cases / sizeof *cases);
}
