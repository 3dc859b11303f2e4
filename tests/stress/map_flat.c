/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map_flat.c - one-shot keys without number leave nothing behind (F52)
 *
 * A fiber runs under a key that nobody has used before and nobody will use again, over and over. Three shapes: a steady stream; bursts, each
 * awaited; large bursts, each followed by silence, in which no writer comes and the exits alone must have cleaned up. After a warm-up the
 * resident memory stays within a bound of what it was, and at the end of each shape the map is empty.
 *
 *     stress_map_flat [runs]        2 million, large bursts of 100,000; FM_LONG=1: 100 million, 1 million; a tenth under a sanitizer
 *
 * Why BOUND: who starts races those who end, so the number of fibers alive at once varies, and the pools keep what their highest mark
 * took. At most a burst is alive at once: 512 bytes each for its descriptor, its entry and its part of the table. HABITS
 * more allow for the allocator. 2 million leaked entries would be 256 MB, leaked descriptors 512 MB.
 *
 * The large bursts have a runtime with one worker, so that the whole burst is alive at once each time: there HABITS alone is the bound. What
 * a burst leaves unswept, the next one has to allocate anew: 128 bytes for each key.
 */
#include <fm/fm.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/stress.h"

enum {
    AHEAD = 1024,
    BURST = 20000,
    LARGE_BURSTS = 4,
    HABITS = 8 << 20,
    BOUND = HABITS + BURST * 512,
};

static struct fm_map *map;
static uint64_t next_key;
static _Atomic uint64_t ended;

static size_t resident(void)
{
    unsigned long all = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    STRESS_CHECK(file && fscanf(file, "%lu %lu", &all, &pages) == 2, "statm");
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static struct fm_exit shot(void *arg)
{
    /* relaxed: a count */
    atomic_fetch_add_explicit(&ended, 1, memory_order_relaxed);
    return fm_ok(NULL);
}

static void run_one(void)
{
    uint64_t key = next_key++;
    int r = fm_map_run(map, fm_key_bytes(&key, sizeof key), shot, NULL, NULL, NULL);
    STRESS_CHECK(r == 0, "run %" PRIu64 ": %d", key, r);
}

static void await_quiet(void)
{
    int r = fm_map_await_quiescent(map, FM_NEVER);
    STRESS_CHECK(r == 0 && fm_map_size(map) == 0, "%zu left, %d", fm_map_size(map), r);
    STRESS_CHECK(fm_map_count(map, FM_MEMBER_ZOMBIE) == 0, "zombies without a replacement");
}

static void stream(uint64_t runs)
{
    for (uint64_t i = 0; i < runs; i++) {
        run_one();
        while (next_key - atomic_load_explicit(&ended, memory_order_relaxed) >= AHEAD)
            fm_yield();
    }
    await_quiet();
}

static void bursts(uint64_t runs)
{
    for (uint64_t i = 0; i < runs; i++) {
        run_one();
        if (i % BURST == BURST - 1)
            await_quiet();
    }
    await_quiet();
}

/* Memory may be a little more than before. */
static void compare(const char *shape, size_t before, long bound)
{
    size_t now = resident();
    long grown = (long)now - (long)before;
    fprintf(stderr, "%-8s %7.1f MiB resident, %+.1f MiB since the warm-up\n", shape,
            (double)now / (1 << 20), (double)grown / (1 << 20));
    STRESS_CHECK(FM_ASAN || FM_TSAN || grown <= bound, "%s: memory has grown by %ld bytes",
                 shape, grown);
}

static struct fm_exit measure(void *arg)
{
    uint64_t runs = *(uint64_t *)arg;
    STRESS_CHECK(fm_map_create(NULL, &map) == 0, "map_create");

    bursts(4 * BURST);
    stream(runs / 10);
    size_t before = resident();
    fprintf(stderr, "warm-up  %7.1f MiB resident after %" PRIu64 " keys\n",
            (double)before / (1 << 20), next_key);

    int64_t start_ns = fm_now_ns();
    stream(runs);
    int64_t stream_ns = fm_now_ns() - start_ns;
    compare("stream", before, BOUND);

    start_ns = fm_now_ns();
    bursts(runs / 4);
    int64_t bursts_ns = fm_now_ns() - start_ns;
    compare("bursts", before, BOUND);

    fprintf(stderr, "%" PRIu64 " keys: %.0f ns per run in a stream, %.0f ns in bursts\n",
            next_key, (double)stream_ns / (double)runs, (double)bursts_ns / ((double)runs / 4));
    fm_map_destroy(map);
    STRESS_CHECK(atomic_load(&ended) == next_key, "%" PRIu64 " of %" PRIu64 " ran",
                 atomic_load(&ended), next_key);
    return fm_ok(NULL);
}

/* One worker: nobody ends before all have been started. */
static struct fm_exit measure_silence(void *arg)
{
    uint64_t burst = *(uint64_t *)arg;
    size_t before = 0;
    STRESS_CHECK(fm_map_create(NULL, &map) == 0, "map_create");

    for (int i = 0; i < LARGE_BURSTS; i++) {
        uint64_t ended_before = atomic_load(&ended);
        for (uint64_t n = 0; n < burst; n++)
            run_one();
        STRESS_CHECK(atomic_load(&ended) == ended_before, "a fiber has run meanwhile");
        await_quiet();
        fm_sleep_ms(50);
        if (i == 0)
            before = resident();
        compare("silence", before, HABITS);
    }
    STRESS_CHECK(atomic_load(&ended) == next_key, "%" PRIu64 " of %" PRIu64 " ran",
                 atomic_load(&ended), next_key);
    fm_map_destroy(map);
    return fm_ok(NULL);
}

static void run(uint32_t workers, fm_entry_fn *entry, uint64_t count)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_exit exit;

    config.worker_count = workers;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    STRESS_CHECK(fm_runtime_create(&config, &runtime) == 0, "runtime_create");
    STRESS_CHECK(fm_runtime_run(runtime, entry, &count, &exit) == 0 && exit.kind == FM_SUCCESS,
                 "the main fiber");
    fm_runtime_destroy(runtime);
}

int main(int count, char *words[])
{
    uint64_t burst = getenv("FM_LONG") ? 1000000 : 100000;
    uint64_t runs = count > 1           ? strtoull(words[1], NULL, 0)
                    : getenv("FM_LONG") ? 100000000
                                        : 2000000;

    if (FM_ASAN || FM_TSAN) {
        runs /= 10;
        burst /= 10;
    }
    run(2, measure, runs);
    run(1, measure_silence, burst);
    return 0;
}
