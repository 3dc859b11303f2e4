/* SPDX-License-Identifier: Apache-2.0 */
/*
 * soak.c - everything at once for as long as wanted, and what the process uses meanwhile
 *
 *     soak --seconds=3600 [--cycle=10] >samples.jsonl; soak.py --judge samples.jsonl
 *     soak --calms=12 --leak=memory        or descriptor, fiber, thread
 *
 * A cycle is a storm and a calm. In the storm fibers replace each other under keys, fail and
 * are restarted, sleep, talk over sockets that come and go, compute on the blocking pool, and
 * meet foreign threads on the map, while the number of workers goes up and down. In the calm
 * all of that has ended: what the process still holds then is what it keeps, so it is the calms
 * that are judged. Each second, and each calm, is a line.
 *
 * --leak loses some pieces in each storm on purpose: the judge must say so. --calms ends the
 * run after so many, however long they take.
 */
#include <errno.h>
#include <fm/fm.h>
#include <getopt.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/soak/usage.h"
#include "tests/support/stress.h"

enum {
    KEYS = 64,
    STORMERS = 4,
    RESTARTED = 8,
    SLEEPERS = 16,
    TALKERS = 4,
    COMPUTERS = 2,
    THREADS = 2,
    LOADS = STORMERS + RESTARTED + SLEEPERS + TALKERS + COMPUTERS + 1,
    WORKERS = 2,
    WORKERS_MAX = 6,
    LATENCIES_MAX = 200000,
    LEAKED_BYTES = 1 << 20,
};

enum leak { LEAK_NOTHING, LEAK_MEMORY, LEAK_DESCRIPTOR, LEAK_FIBER, LEAK_THREAD };

static const char *const leak_names[] = { "nothing", "memory", "descriptor", "fiber",
                                          "thread" };

static struct fm_runtime *runtime;
static struct fm_map *map;
static _Atomic bool stop;
static _Atomic uint64_t runs, replaced, restarts, sleeps, bytes, jobs, lookups;
static enum leak leak;
static void *_Atomic leaked; /* the last one, so that no compiler leaves it out */

/* Of the probe; written by it alone, read in the calm. */
static int64_t latencies[LATENCIES_MAX];
static size_t latency_count;

static bool goes_on(void)
{
    /* relaxed: each looks again and again */
    return !atomic_load_explicit(&stop, memory_order_relaxed);
}

static void count(_Atomic uint64_t *counter)
{
    /* relaxed: a count */
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* ---- on purpose ---- */

static void *parks_for_ever(void *arg)
{
    pthread_barrier_wait(arg);
    return NULL;
}

static struct fm_exit never_ends(void *arg)
{
    fm_mask();
    fm_never();
    return fm_ok(NULL);
}

static void lose_something(void)
{
    static pthread_barrier_t barrier;
    pthread_t thread;

    switch (leak) {
    case LEAK_NOTHING: break;
    case LEAK_MEMORY:
        atomic_store(&leaked, malloc(LEAKED_BYTES));
        memset(atomic_load(&leaked), 1, LEAKED_BYTES);
        break;
    case LEAK_DESCRIPTOR: atomic_store(&leaked, (void *)(intptr_t)dup(STDOUT_FILENO)); break;
    case LEAK_FIBER: fm_runtime_spawn(runtime, never_ends, NULL, NULL, NULL); break;
    case LEAK_THREAD:
        pthread_barrier_init(&barrier, NULL, 1 << 20);
        if (pthread_create(&thread, NULL, parks_for_ever, &barrier) == 0)
            pthread_detach(thread);
        break;
    }
}

/* ---- loads: each runs until the storm is over ---- */

static struct fm_key key_number(uint64_t *number)
{
    *number %= KEYS;
    return fm_key_bytes(number, sizeof *number);
}

static struct fm_exit member(void *arg)
{
    return fm_sleep_ms(1 + (intptr_t)arg % 50) < 0 ? fm_interrupted() : fm_ok(NULL);
}

static struct fm_exit storms(void *arg)
{
    uint64_t random = (uint64_t)(intptr_t)arg * 2 + 1;

    for (uint64_t i = 0; goes_on(); i++) {
        uint64_t number = stress_random(&random);
        int r = fm_map_run(map, key_number(&number), member, (void *)(intptr_t)(i % 100), NULL,
                           NULL);
        STRESS_CHECK(r == 0 || r == FM_MAP_REPLACED, "run: %d", r);
        count(&runs);
        if (r == FM_MAP_REPLACED)
            count(&replaced);
        if (i % 16 == 0)
            fm_sleep_ms(1);
    }
    return fm_ok(NULL);
}

static struct fm_exit fails_soon(void *arg)
{
    count(&restarts);
    fm_sleep_ms(2);
    return fm_fail(-EIO);
}

/* A lineage that fails and comes again, until its key is removed. */
static struct fm_exit has_it_restarted(void *arg)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_restart restart = FM_RESTART_INIT;
    uint64_t number = 1000 + (uint64_t)(intptr_t)arg;

    restart.type = FM_PERMANENT;
    options.restart = &restart;
    while (goes_on()) {
        int r = fm_map_run(map, fm_key_bytes(&number, sizeof number), fails_soon, NULL,
                           &options, NULL);
        STRESS_CHECK(r == 0, "run with restarts: %d", r);
        fm_sleep_ms(20);
        r = fm_map_remove(map, fm_key_bytes(&number, sizeof number), FM_NEVER);
        STRESS_CHECK(r == 0 || r == -ENOENT, "remove: %d", r);
    }
    return fm_ok(NULL);
}

static struct fm_exit sleeps_on(void *arg)
{
    uint64_t random = (uint64_t)(intptr_t)arg * 2 + 1;

    while (goes_on()) {
        fm_sleep_ms((int64_t)(stress_random(&random) % 10));
        count(&sleeps);
    }
    return fm_ok(NULL);
}

static struct fm_exit echoes(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buffer[512];
    ssize_t n;

    while ((n = fm_read(fd, buffer, sizeof buffer, FM_NEVER)) > 0)
        if (fm_write_full(fd, buffer, (size_t)n, FM_NEVER, NULL) < 0)
            break;
    fm_close(fd);
    return fm_ok(NULL);
}

static struct fm_exit talks(void *arg)
{
    char sent[512] = "soak", received[512];

    while (goes_on()) {
        struct fm_fiber *other;
        int pair[2];
        STRESS_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair: %d", errno);
        int r = fm_fiber_spawn(echoes, (void *)(intptr_t)pair[1], NULL, &other);
        STRESS_CHECK(r == 0, "spawn: %d", r);
        for (int i = 0; i < 20; i++) {
            ssize_t n = fm_write_full(pair[0], sent, sizeof sent, FM_NEVER, NULL);
            if (n > 0)
                n = fm_read_full(pair[0], received, sizeof received, FM_NEVER, NULL);
            STRESS_CHECK(n == sizeof received, "echo: %zd", n);
            atomic_fetch_add_explicit(&bytes, sizeof received, memory_order_relaxed);
        }
        fm_close(pair[0]);
        fm_fiber_join(other, FM_NEVER, NULL);
        fm_fiber_unref(other);
    }
    lose_something();
    return fm_ok(NULL);
}

static struct fm_exit job(void *arg)
{
    uint64_t random = 7;
    for (int i = 0; i < 20000; i++)
        stress_random(&random);
    return fm_ok((void *)(uintptr_t)random);
}

static struct fm_exit computes(void *arg)
{
    while (goes_on()) {
        struct fm_exit exit;
        int r = fm_blocking(job, NULL, FM_NEVER, &exit);
        STRESS_CHECK(r == 0, "blocking: %d", r);
        count(&jobs);
        fm_sleep_ms(5);
    }
    return fm_ok(NULL);
}

static struct fm_exit nothing(void *arg)
{
    return fm_ok(NULL);
}

/* How long it takes to run under a fresh key and see the end. */
static struct fm_exit probes(void *arg)
{
    static uint64_t number = 1 << 20;

    while (goes_on()) {
        int64_t begin_ns = fm_now_ns();
        struct fm_fiber *fiber;
        number++;
        int r = fm_map_run(map, fm_key_bytes(&number, sizeof number), nothing, NULL, NULL,
                           &fiber);
        STRESS_CHECK(r == 0, "run: %d", r);
        fm_fiber_join(fiber, FM_NEVER, NULL);
        fm_fiber_unref(fiber);
        if (latency_count < LATENCIES_MAX)
            latencies[latency_count++] = fm_now_ns() - begin_ns;
        fm_sleep_ms(1);
    }
    return fm_ok(NULL);
}

static void *looks_from_outside(void *arg)
{
    uint64_t random = (uint64_t)(intptr_t)arg * 2 + 1;
    struct timespec moment = { .tv_nsec = 1000000 };

    while (goes_on()) {
        struct fm_fiber *fiber;
        uint64_t number = stress_random(&random);
        if (fm_map_get(map, key_number(&number), &fiber) == 0)
            fm_fiber_unref(fiber);
        int r = fm_map_run(map, key_number(&number), member, (void *)3, NULL, NULL);
        STRESS_CHECK(r == 0 || r == FM_MAP_REPLACED, "run: %d", r);
        if (stress_random(&random) % 8 == 0)
            fm_map_remove(map, key_number(&number), FM_NEVER);
        count(&lookups);
        nanosleep(&moment, NULL);
    }
    return NULL;
}

/* ---- a storm and a calm ---- */

static const struct {
    fm_entry_fn *entry;
    int times;
} loads[] = { { storms, STORMERS }, { has_it_restarted, RESTARTED }, { sleeps_on, SLEEPERS },
              { talks, TALKERS },   { computes, COMPUTERS },         { probes, 1 } };

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void tell(const char *what, int64_t since_ns)
{
    struct usage usage = goes_on() ? usage_now() : usage_settled();
    struct fm_runtime_stats stats;

    fm_runtime_stats(runtime, &stats);
    printf("{\"%s\":%.1f,\"memory\":%zu,\"descriptors\":%u,\"threads\":%u,\"mappings\":%u,"
           "\"fibers\":%" PRIu64 ",\"timers\":%" PRIu64 ",\"stacks\":%" PRIu64
           ",\"workers\":%u,"
           "\"members\":%zu,\"runs\":%" PRIu64 ",\"replaced\":%" PRIu64 ",\"restarts\":%" PRIu64
           ",\"sleeps\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"jobs\":%" PRIu64
           ",\"lookups\":%" PRIu64,
           what, (double)(fm_now_ns() - since_ns) / 1e9, usage.memory, usage.descriptors,
           usage.threads, usage.mappings, stats.fibers_live, stats.timers_armed,
           stats.stacks_live, stats.worker_count, fm_map_size(map), atomic_load(&runs),
           atomic_load(&replaced), atomic_load(&restarts), atomic_load(&sleeps),
           atomic_load(&bytes), atomic_load(&jobs), atomic_load(&lookups));
    if (latency_count && !goes_on()) {
        qsort(latencies, latency_count, sizeof *latencies, by_value);
        printf(",\"p50_ns\":%" PRId64 ",\"p99_ns\":%" PRId64, latencies[latency_count / 2],
               latencies[latency_count * 99 / 100]);
    }
    printf("}\n");
    fflush(stdout);
}

static void storm(int64_t cycle_ns, int64_t since_ns)
{
    struct timespec step = { .tv_nsec = 50000000 };
    struct fm_fiber *fibers[LOADS];
    pthread_t threads[THREADS];
    int n = 0;
    int64_t end_ns = fm_now_ns() + cycle_ns, tell_ns = fm_now_ns() + 1000000000;

    atomic_store(&stop, false);
    latency_count = 0;
    for (size_t i = 0; i < sizeof loads / sizeof *loads; i++)
        for (int k = 0; k < loads[i].times; k++, n++) {
            int r = fm_runtime_spawn(runtime, loads[i].entry, (void *)(intptr_t)(n + 1), NULL,
                                     &fibers[n]);
            STRESS_CHECK(r == 0, "spawn: %d", r);
        }
    for (intptr_t i = 0; i < THREADS; i++)
        STRESS_CHECK(pthread_create(&threads[i], NULL, looks_from_outside, (void *)(i + 1)) ==
                         0,
                     "thread");
    for (uint32_t i = 0; fm_now_ns() < end_ns; i++) {
        nanosleep(&step, NULL);
        STRESS_CHECK(fm_runtime_resize(runtime, 1 + i % WORKERS_MAX) == 0, "resize");
        if (fm_now_ns() < tell_ns)
            continue;
        tell("storm", since_ns);
        tell_ns += 1000000000;
    }
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < n; i++) {
        STRESS_CHECK(fm_fiber_join(fibers[i], FM_NEVER, NULL) == 0, "join");
        fm_fiber_unref(fibers[i]);
    }
    STRESS_CHECK(fm_runtime_resize(runtime, WORKERS) == 0, "resize");
    STRESS_CHECK(fm_map_clear(map, FM_NEVER) == 0, "clear");
    STRESS_CHECK(fm_map_await_quiescent(map, FM_NEVER) == 0, "quiescent");
}

int main(int word_count, char *words[])
{
    static const struct option known[] = { { "seconds", 1, NULL, 's' },
                                           { "calms", 1, NULL, 'n' },
                                           { "cycle", 1, NULL, 'c' },
                                           { "leak", 1, NULL, 'l' },
                                           { NULL, 0, NULL, 0 } };
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_map_config map_config = FM_MAP_CONFIG_INIT;
    int64_t seconds = 60, cycle = 10, calms = 0;
    int option;

    while ((option = getopt_long(word_count, words, "", known, NULL)) >= 0) {
        switch (option) {
        case 's': seconds = strtoll(optarg, NULL, 0); break;
        case 'n': calms = strtoll(optarg, NULL, 0); break;
        case 'c': cycle = strtoll(optarg, NULL, 0); break;
        case 'l':
            for (unsigned i = 0; i < sizeof leak_names / sizeof *leak_names; i++)
                if (strcmp(optarg, leak_names[i]) == 0)
                    leak = (enum leak)i;
            break;
        default: return 2;
        }
    }
    /*
     * Else malloc makes an arena whenever more threads meet in it than ever before, be it after
     * an hour: memory that grows late and is no leak.
     */
    STRESS_CHECK(mallopt(M_ARENA_MAX, 1) == 1, "mallopt");
    config.worker_count = WORKERS;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    config.blocking_threads = COMPUTERS;
    STRESS_CHECK(fm_runtime_create(&config, &runtime) == 0, "runtime_create");
    map_config.runtime = runtime;
    STRESS_CHECK(fm_map_create(&map_config, &map) == 0, "map_create");
    int64_t since_ns = fm_now_ns();
    for (int64_t i = 0; calms ? i < calms : fm_now_ns() - since_ns < seconds * 1000000000;
         i++) {
        storm(cycle * 1000000000, since_ns);
        tell("calm", since_ns);
    }
    fm_map_destroy(map);
    if (leak != LEAK_FIBER) /* whom nobody can end */
        fm_runtime_destroy(runtime);
    return 0;
}
