/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_keyed.c - what does supervision by key cost?
 *
 * String keys of 8 to 20 bytes, made beforehand. Each case checks its result.
 *
 *   i-seq      run(fresh key, nothing), wait for it
 *   i-batch    run 1000 fresh keys, await the empty map
 *   ii         run(key i mod 1000, a body that blocks until interrupted): each run replaces and
 *              interrupts; until all have ended
 *   ii-started the same, yielding after each round of 1000, so that most bodies block before
 *              they are replaced
 *   iii        run, only if missing, of a key that is held; one fiber per worker
 *   iii-ref    the same, with a reference to the holder
 *   iv         get with a reference, 100,000 entries in random order; one fiber per worker
 *   v          two fibers over 16 hot keys: 50 % replace, 25 % get, 15 % remove (not awaited),
 *              10 % only if missing; each yields every 64 operations
 *   vi         clear 100,000 blocked entries until all have ended, per entry
 *
 * Per operation: wall time / operations of all fibers together.
 */
#include "benchmarks/support/bench.h"
#include "benchmarks/support/keys.h"

#include <errno.h>
#include <stdatomic.h>

static uint64_t round_keys = 1000; /* in flight in i-batch, shared by the storms */
static uint64_t hot_keys = 16;
static uint64_t entry_count = 100000; /* of iv */

struct work {
    struct fm_map *map;
    struct bench_names names;
    const struct fm_key *order;
    uint64_t count;
    uint64_t seed;
    bool reference;
    uint64_t started, replaced; /* by this fiber */
};

static _Atomic uint64_t bodies;  /* that ran to their end, of the present run */
static _Atomic uint64_t dropped; /* that never began */

static struct fm_map *make_map(void)
{
    struct fm_map *map;
    int r = fm_map_create(NULL, &map);
    BENCH_CHECK(r == 0, "map: %s", fm_strerror(r));
    atomic_store(&bodies, 0);
    atomic_store(&dropped, 0);
    return map;
}

static struct fm_exit nothing(void *arg)
{
    return fm_ok(arg);
}

static struct fm_exit count_one(void *arg)
{
    atomic_fetch_add_explicit(&bodies, 1, memory_order_relaxed);
    return fm_ok(arg);
}

static struct fm_exit block(void *arg)
{
    int r = fm_never();
    atomic_fetch_add_explicit(&bodies, 1, memory_order_relaxed);
    return fm_fail(r);
}

static void drop_one(void *arg)
{
    atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
}

static uint64_t ended(void)
{
    return atomic_load(&bodies) + atomic_load(&dropped);
}

static const struct fm_map_run_options replace = { .size = sizeof(struct fm_map_run_options),
                                                   .conflict = FM_REPLACE,
                                                   .arg_drop = drop_one };
static const struct fm_map_run_options keep = { .size = sizeof(struct fm_map_run_options),
                                                .conflict = FM_ONLY_IF_MISSING,
                                                .arg_drop = drop_one };

static void report(const struct bench_run *run, const char *metric, int64_t ns, uint64_t count)
{
    bench_record(run, metric, "ns", (double)ns / (double)count);
}

static struct fm_exit i_seq(void *arg)
{
    const struct bench_run *run = arg;
    struct bench_names names = bench_names_make(run->count);
    struct fm_map *map = make_map();
    int64_t start = fm_now_ns();
    for (uint64_t i = 0; i < run->count; i++) {
        struct fm_fiber *fiber;
        int r = fm_map_run(map, names.keys[i], nothing, arg, NULL, &fiber);
        BENCH_CHECK(r == 0, "run: %d", r);
        BENCH_CHECK(bench_finish(fiber).value == arg, "another's exit");
    }
    int64_t end = fm_now_ns();
    BENCH_CHECK(fm_map_size(map) == 0, "%zu left", fm_map_size(map));
    report(run, "i-seq", end - start, run->count);
    fm_map_destroy(map);
    bench_names_free(&names);
    return fm_ok(NULL);
}

static struct fm_exit i_batch(void *arg)
{
    const struct bench_run *run = arg;
    uint64_t rounds = run->count / round_keys;
    BENCH_CHECK(rounds > 0, "a count below --keys");
    struct bench_names names = bench_names_make(rounds * round_keys);
    struct fm_map *map = make_map();
    int64_t start = fm_now_ns();
    for (uint64_t i = 0; i < rounds * round_keys; i++) {
        int r = fm_map_run(map, names.keys[i], count_one, NULL, NULL, NULL);
        BENCH_CHECK(r == 0, "run: %d", r);
        if (i % round_keys == round_keys - 1) {
            r = fm_map_await_empty(map, FM_NEVER);
            BENCH_CHECK(r == 0, "await: %d", r);
            BENCH_CHECK(atomic_load(&bodies) == i + 1, "%lu ran", (unsigned long)bodies);
        }
    }
    int64_t end = fm_now_ns();
    report(run, "i-batch", end - start, rounds * round_keys);
    fm_map_destroy(map);
    bench_names_free(&names);
    return fm_ok(NULL);
}

static struct fm_exit storm(const struct bench_run *run, const char *metric, bool yield)
{
    struct bench_names names = bench_names_make(round_keys);
    struct fm_map *map = make_map();
    uint64_t replaced = 0;
    BENCH_CHECK(run->count >= round_keys, "a count below --keys");
    int64_t start = fm_now_ns();
    for (uint64_t i = 0; i < run->count; i++) {
        int r = fm_map_run(map, names.keys[i % round_keys], block, map, &replace, NULL);
        BENCH_CHECK(r >= 0, "run: %d", r);
        replaced += r == FM_MAP_REPLACED;
        if (yield && i % round_keys == round_keys - 1)
            fm_yield();
    }
    fm_map_clear(map, FM_NEVER);
    fm_map_await_quiescent(map, FM_NEVER);
    int64_t end = fm_now_ns();
    BENCH_CHECK(replaced == run->count - round_keys, "%lu replaced", (unsigned long)replaced);
    BENCH_CHECK(ended() == run->count, "%lu ended", (unsigned long)ended());
    report(run, metric, end - start, run->count);
    fm_map_destroy(map);
    bench_names_free(&names);
    return fm_ok(NULL);
}

static struct fm_exit ii(void *arg)
{
    return storm(arg, "ii", false);
}

static struct fm_exit ii_started(void *arg)
{
    return storm(arg, "ii-started", true);
}

/* The same work in one fiber for each worker, `count` operations altogether. */
static int64_t in_each_worker(const struct bench_run *run, fm_entry_fn *entry,
                              struct work *works, const struct work *common)
{
    struct fm_fiber *fibers[64];
    BENCH_CHECK(run->workers <= 64, "at most 64 workers");
    int64_t start = fm_now_ns();
    for (uint32_t i = 0; i < run->workers; i++) {
        works[i] = *common;
        works[i].count = run->count / run->workers;
        works[i].seed = 2463534242u + i * 7919;
        fibers[i] = bench_spawn(entry, &works[i]);
    }
    for (uint32_t i = 0; i < run->workers; i++)
        bench_finish(fibers[i]);
    return fm_now_ns() - start;
}

static struct fm_exit keep_many(void *arg)
{
    const struct work *work = arg;
    for (uint64_t i = 0; i < work->count; i++) {
        struct fm_fiber *holder;
        int r = fm_map_run(work->map, work->names.keys[0], block, arg, &keep,
                           work->reference ? &holder : NULL);
        BENCH_CHECK(r == FM_MAP_KEPT, "run: %d", r);
        if (work->reference)
            fm_fiber_unref(holder);
    }
    return fm_ok(NULL);
}

static struct fm_exit held(const struct bench_run *run, const char *metric, bool reference)
{
    struct work common = { .map = make_map(),
                           .names = bench_names_make(1),
                           .reference = reference };
    struct work works[64];
    BENCH_CHECK(fm_map_run(common.map, common.names.keys[0], block, works, &replace, NULL) == 0,
                "run");
    fm_yield();
    int64_t ns = in_each_worker(run, keep_many, works, &common);
    BENCH_CHECK(fm_map_size(common.map) == 1, "size %zu", fm_map_size(common.map));
    report(run, metric, ns, run->count / run->workers * run->workers);
    fm_map_destroy(common.map);
    BENCH_CHECK(ended() == 1, "%lu ended", (unsigned long)ended());
    bench_names_free(&common.names);
    return fm_ok(NULL);
}

static struct fm_exit iii(void *arg)
{
    return held(arg, "iii", false);
}

static struct fm_exit iii_ref(void *arg)
{
    return held(arg, "iii-ref", true);
}

static void fill(struct fm_map *map, const struct bench_names *names, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        int r = fm_map_run(map, names->keys[i], block, map, &replace, NULL);
        BENCH_CHECK(r == 0, "run: %d", r);
        if (i % 256 == 255)
            fm_yield();
    }
    fm_sleep_ms(20); /* until the last of them block */
}

static struct fm_exit get_many(void *arg)
{
    const struct work *work = arg;
    uint64_t place = work->seed % entry_count, found = 0;
    for (uint64_t i = 0; i < work->count; i++) {
        struct fm_fiber *fiber;
        if (fm_map_get(work->map, work->order[place], &fiber) == 0) {
            found++;
            fm_fiber_unref(fiber);
        }
        place = place + 1 == entry_count ? 0 : place + 1;
    }
    BENCH_CHECK(found == work->count, "%lu found", (unsigned long)found);
    return fm_ok(NULL);
}

static struct fm_exit iv(void *arg)
{
    const struct bench_run *run = arg;
    struct fm_key *order = calloc(entry_count, sizeof *order);
    struct work common = { .map = make_map(),
                           .names = bench_names_make(entry_count),
                           .order = order };
    struct work works[64];
    uint64_t random = 88172645463325252u;
    BENCH_CHECK(order, "no memory");
    for (uint64_t i = 0; i < entry_count; i++) { /* inside-out shuffle */
        uint64_t j = bench_random(&random) % (i + 1);
        order[i] = order[j];
        order[j] = common.names.keys[i];
    }
    fill(common.map, &common.names, entry_count);
    int64_t ns = in_each_worker(run, get_many, works, &common);
    report(run, "iv", ns, run->count / run->workers * run->workers);
    fm_map_destroy(common.map);
    bench_names_free(&common.names);
    free(order);
    return fm_ok(NULL);
}

static struct fm_exit hot_many(void *arg)
{
    struct work *work = arg;
    uint64_t random = work->seed;
    for (uint64_t i = 0; i < work->count; i++) {
        uint64_t draw = bench_random(&random);
        struct fm_key key = work->names.keys[draw % hot_keys];
        uint64_t percent = (draw >> 32) % 100;
        struct fm_fiber *fiber;
        int r;
        if (percent < 50) {
            r = fm_map_run(work->map, key, block, work, &replace, NULL);
            work->started++;
            work->replaced += r == FM_MAP_REPLACED;
        } else if (percent < 75) {
            r = fm_map_get(work->map, key, &fiber);
            if (r == 0)
                fm_fiber_unref(fiber);
        } else if (percent < 90) {
            r = fm_map_interrupt(work->map, key);
        } else {
            r = fm_map_run(work->map, key, block, work, &keep, NULL);
            work->started += r == 0;
        }
        BENCH_CHECK(r >= 0 || r == -ENOENT, "%d", r);
        if (i % 64 == 63)
            fm_yield();
    }
    return fm_ok(NULL);
}

static struct fm_exit v(void *arg)
{
    const struct bench_run *run = arg;
    struct fm_map *map = make_map();
    struct bench_names names = bench_names_make(hot_keys);
    struct work works[2];
    struct fm_fiber *fibers[2];
    int64_t start = fm_now_ns();
    for (int i = 0; i < 2; i++) {
        works[i] = (struct work) { .map = map,
                                   .names = names,
                                   .count = run->count / 2,
                                   .seed = 2463534242u + (uint64_t)i * 7919 };
        fibers[i] = bench_spawn(hot_many, &works[i]);
    }
    for (int i = 0; i < 2; i++)
        bench_finish(fibers[i]);
    int64_t end = fm_now_ns();
    fm_map_clear(map, FM_NEVER);
    fm_map_await_quiescent(map, FM_NEVER);
    BENCH_CHECK(ended() == works[0].started + works[1].started, "%lu ended",
                (unsigned long)ended());
    BENCH_CHECK(fm_map_size(map) == 0, "%zu left", fm_map_size(map));
    report(run, "v", end - start, run->count / 2 * 2);
    fm_map_destroy(map);
    bench_names_free(&names);
    return fm_ok(NULL);
}

static struct fm_exit vi(void *arg)
{
    const struct bench_run *run = arg;
    struct bench_names names = bench_names_make(run->count);
    struct fm_map *map = make_map();
    fill(map, &names, run->count);
    BENCH_CHECK(fm_map_size(map) == run->count, "size %zu", fm_map_size(map));
    int64_t start = fm_now_ns();
    int r = fm_map_clear(map, FM_NEVER);
    int64_t end = fm_now_ns();
    BENCH_CHECK(r == 0 && fm_map_size(map) == 0, "clear: %d", r);
    BENCH_CHECK(ended() == run->count, "%lu ended", (unsigned long)ended());
    report(run, "vi", end - start, run->count);
    fm_map_destroy(map);
    bench_names_free(&names);
    return fm_ok(NULL);
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { .name = "i-seq", .body = i_seq, .count = 200000 },
        { .name = "i-batch", .body = i_batch, .count = 200000 },
        { .name = "ii", .body = ii, .count = 200000 },
        { .name = "ii-started", .body = ii_started, .count = 200000 },
        { .name = "iii", .body = iii, .count = 2000000, .max_workers = 64 },
        { .name = "iii-ref", .body = iii_ref, .count = 2000000, .max_workers = 64 },
        { .name = "iv", .body = iv, .count = 1000000, .max_workers = 64 },
        { .name = "v", .body = v, .count = 400000 },
        { .name = "vi", .body = vi, .count = 100000 },
    };
    bench_parameter("keys", &round_keys, 1, 1000000, "keys in flight in i-batch and ii");
    bench_parameter("hot", &hot_keys, 1, 1000000, "keys of v");
    bench_parameter("entries", &entry_count, 1, 10000000, "entries of iv");
    return bench_main(argc, argv, "what supervision by key costs", cases,
                      sizeof cases / sizeof *cases);
}
