/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_keyed_waits.c - what do runs under a key cost that wait for one another?
 *
 *   dedup          --callers fibers run_wait the same key while its body runs, which goes on
 *                  until all of them have come: one body, everybody its exit; per caller,
 *                  spawned and joined
 *   replace-await  run(key i mod --keys, a body that blocks until interrupted), each of which
 *                  begins when the one it replaces has ended; the caller yields after a round
 *   restart        --keys fibers that fail and are restarted at once, per restart
 *
 * Keys as in bench_keyed.c. Per operation: wall time / operations.
 */
#include "benchmarks/support/bench.h"
#include "benchmarks/support/keys.h"

#include <stdatomic.h>

static uint64_t caller_count = 100; /* of dedup, at the same time */
static uint64_t key_count = 1000;   /* of the other two */

static struct fm_map *make_map(void)
{
    struct fm_map *map;
    int r = fm_map_create(NULL, &map);
    BENCH_CHECK(r == 0, "map: %s", fm_strerror(r));
    return map;
}

static void report(const struct bench_run *run, const char *metric, int64_t start,
                   uint64_t count)
{
    int64_t end = fm_now_ns();
    bench_record(run, metric, "ns", (double)(end - start) / (double)count);
}

/* ---- dedup ---- */

struct party {
    struct fm_map *map;
    struct fm_key key;
    _Atomic uint64_t come;    /* callers, in this round */
    _Atomic uint64_t bodies;  /* in all rounds */
    _Atomic uint64_t started; /* callers whose own run it was */
};

static struct fm_exit until_all_have_come(void *arg)
{
    struct party *party = arg;
    atomic_fetch_add_explicit(&party->bodies, 1, memory_order_relaxed);
    while (atomic_load_explicit(&party->come, memory_order_relaxed) < caller_count)
        fm_yield();
    return fm_ok(party);
}

static struct fm_exit come(void *arg)
{
    struct party *party = arg;
    struct fm_exit exit;
    atomic_fetch_add_explicit(&party->come, 1, memory_order_relaxed);
    int r = fm_map_run_wait(party->map, party->key, until_all_have_come, party, NULL, FM_NEVER,
                            &exit);
    BENCH_CHECK(r == 0 || r == FM_MAP_KEPT, "run_wait: %s", fm_strerror(r));
    if (r == 0)
        atomic_fetch_add_explicit(&party->started, 1, memory_order_relaxed);
    return exit;
}

static struct fm_exit dedup(void *arg)
{
    const struct bench_run *run = arg;
    uint64_t rounds = (run->count + caller_count - 1) / caller_count;
    struct bench_names names = bench_names_make(rounds);
    struct fm_fiber **callers = calloc(caller_count, sizeof(struct fm_fiber *));
    struct party party = { .map = make_map() };
    BENCH_CHECK(callers, "no memory");
    int64_t start = fm_now_ns();
    for (uint64_t i = 0; i < rounds; i++) {
        party.key = names.keys[i];
        atomic_store(&party.come, 0);
        for (uint64_t c = 0; c < caller_count; c++)
            callers[c] = bench_spawn(come, &party);
        for (uint64_t c = 0; c < caller_count; c++) {
            struct fm_exit exit = bench_finish(callers[c]);
            BENCH_CHECK(exit.value == &party, "another's exit");
        }
    }
    report(run, "run_wait of one key, per caller", start, rounds * caller_count);
    BENCH_CHECK(party.bodies == party.started && party.bodies >= rounds, "%lu bodies, %lu runs",
                (unsigned long)party.bodies, (unsigned long)party.started);
    fm_map_destroy(party.map);
    free(callers);
    bench_names_free(&names);
    return fm_ok(NULL);
}

/* ---- replace-await ---- */

struct place {
    _Atomic uint64_t inside; /* bodies that run under this key: never two */
    _Atomic uint64_t ended;
};

static struct fm_exit alone(void *arg)
{
    struct place *place = arg;
    uint64_t others = atomic_fetch_add_explicit(&place->inside, 1, memory_order_relaxed);
    BENCH_CHECK(others == 0, "%lu others run", (unsigned long)others);
    int r = fm_never();
    atomic_fetch_sub_explicit(&place->inside, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&place->ended, 1, memory_order_relaxed);
    return fm_fail(r);
}

static void never_began(void *arg)
{
    struct place *place = arg;
    atomic_fetch_add_explicit(&place->ended, 1, memory_order_relaxed);
}

static struct fm_exit replace_await(void *arg)
{
    static const struct fm_map_run_options in_turn = {
        .size = sizeof(struct fm_map_run_options),
        .conflict = FM_REPLACE_AWAIT,
        .arg_drop = never_began,
    };
    const struct bench_run *run = arg;
    struct bench_names names = bench_names_make(key_count);
    struct place *places = calloc(key_count, sizeof *places);
    struct fm_map *map = make_map();
    uint64_t ended = 0;
    BENCH_CHECK(places, "no memory");
    int64_t start = fm_now_ns();
    for (uint64_t i = 0; i < run->count; i++) {
        uint64_t k = i % key_count;
        int r = fm_map_run(map, names.keys[k], alone, &places[k], &in_turn, NULL);
        BENCH_CHECK(r == (i < key_count ? 0 : FM_MAP_REPLACED), "run: %d", r);
        if (k == key_count - 1)
            fm_yield();
    }
    fm_map_clear(map, FM_NEVER);
    fm_map_await_quiescent(map, FM_NEVER);
    report(run, "replace_await storm", start, run->count);
    for (uint64_t k = 0; k < key_count; k++)
        ended += atomic_load(&places[k].ended);
    BENCH_CHECK(ended == run->count, "%lu ended", (unsigned long)ended);
    fm_map_destroy(map);
    free(places);
    bench_names_free(&names);
    return fm_ok(NULL);
}

/* ---- restart ---- */

struct failing {
    _Atomic uint64_t bodies;
    uint64_t restarts; /* of each key */
};

static struct fm_exit fail_at_once(void *arg)
{
    struct failing *failing = arg;
    atomic_fetch_add_explicit(&failing->bodies, 1, memory_order_relaxed);
    return fm_fail(-1);
}

static bool not_yet_enough(void *ctx, struct fm_key key, struct fm_exit exit, uint64_t count)
{
    const struct failing *failing = ctx;
    return count < failing->restarts;
}

static struct fm_exit restart(void *arg)
{
    const struct bench_run *run = arg;
    struct failing failing = { .restarts = (run->count + key_count - 1) / key_count };
    struct fm_restart again = FM_RESTART_INIT;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct bench_names names = bench_names_make(key_count);
    struct fm_map *map = make_map();
    again.type = FM_TRANSIENT;
    again.should_restart = not_yet_enough;
    again.ctx = &failing;
    options.restart = &again;
    int64_t start = fm_now_ns();
    for (uint64_t k = 0; k < key_count; k++) {
        int r = fm_map_run(map, names.keys[k], fail_at_once, &failing, &options, NULL);
        BENCH_CHECK(r == 0, "run: %s", fm_strerror(r));
    }
    fm_map_await_empty(map, FM_NEVER);
    report(run, "restart storm", start, key_count * failing.restarts);
    BENCH_CHECK(failing.bodies == key_count * (failing.restarts + 1), "%lu bodies",
                (unsigned long)failing.bodies);
    fm_map_destroy(map);
    bench_names_free(&names);
    return fm_ok(NULL);
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { .name = "dedup", .body = dedup, .count = 200000 },
        { .name = "replace-await", .body = replace_await, .count = 200000 },
        { .name = "restart", .body = restart, .count = 1000000 },
    };
    bench_parameter("callers", &caller_count, 1, 100000, "callers of one key in dedup");
    bench_parameter("keys", &key_count, 1, 1000000, "keys of the storms");
    return bench_main(argc, argv, "what runs under a key cost that wait for one another", cases,
                      sizeof cases / sizeof *cases);
}
