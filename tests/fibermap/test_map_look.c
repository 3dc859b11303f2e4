/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_look.c - what looking at a map shows: nobody who has ended, of a closed one nothing,
 * the size exactly, a stripe at one instant
 */
#include "tests/fibermap/map_test.h"

/* ---- who has ended ---- */

static int call_get(struct fm_map *map, struct fm_fiber *ended)
{
    struct fm_fiber *fiber;
    return fm_map_get(map, KEY("key"), &fiber);
}

static int call_looks(struct fm_map *map, struct fm_fiber *ended)
{
    struct fm_snapshot *snapshot;
    size_t shown = 0;
    for (uint32_t how = 0; how < 8; how++) { /* consistent, with zombies, with queued ones */
        cr_assert_eq(fm_map_snapshot(map, how, &snapshot), 0);
        shown += fm_snapshot_count(snapshot);
        fm_snapshot_free(snapshot);
    }
    for (uint32_t state = 0; state <= FM_MEMBER_READY; state++)
        shown += fm_map_count(map, state);
    return (int)(shown + fm_map_size(map) + fm_map_has(map, KEY("key")));
}

static int call_remove(struct fm_map *map, struct fm_fiber *ended)
{
    return fm_map_remove(map, KEY("key"), FM_NEVER);
}

static int call_remove_many(struct fm_map *map, struct fm_fiber *ended)
{
    struct fm_key key = KEY("key");
    return fm_map_remove_many(map, &key, 1, FM_NEVER);
}

static int call_interrupt(struct fm_map *map, struct fm_fiber *ended)
{
    return fm_map_interrupt(map, KEY("key"));
}

static int call_detach(struct fm_map *map, struct fm_fiber *ended)
{
    return fm_map_detach(map, KEY("key"), NULL);
}

static int call_touch(struct fm_map *map, struct fm_fiber *ended)
{
    return fm_map_touch(map, KEY("key"));
}

static int call_await_key(struct fm_map *map, struct fm_fiber *ended)
{
    return fm_map_await_key(map, KEY("key"), FM_NEVER, NULL);
}

static int call_move_away(struct fm_map *map, struct fm_fiber *ended)
{
    return fm_map_move(map, KEY("key"), KEY("other"));
}

static int call_move_here(struct fm_map *map, struct fm_fiber *ended)
{
    fm_fiber_unref(run(map, "other", until_interrupted, NULL));
    return fm_map_move(map, KEY("other"), KEY("key"));
}

static int call_compare(struct fm_map *map, struct fm_fiber *ended)
{
    return fm_map_compare_and_replace(map, KEY("key"), ended, until_interrupted, NULL, NULL,
                                      NULL);
}

static int call_compare_none(struct fm_map *map, struct fm_fiber *ended)
{
    return fm_map_compare_and_replace(map, KEY("key"), NULL, until_interrupted, NULL, NULL,
                                      NULL);
}

static int call_run_many(struct fm_map *map, struct fm_fiber *ended)
{
    struct fm_map_run_item item = { .key = KEY("key"), .entry = until_interrupted };
    return fm_map_run_many(map, &item, 1, FM_MAP_ALL_OR_NOTHING);
}

static int call_run_wait(struct fm_map *map, struct fm_fiber *ended)
{
    return fm_map_run_wait(map, KEY("key"), return_arg, NULL, NULL, FM_NEVER, NULL);
}

static int call_await_empty(struct fm_map *map, struct fm_fiber *ended)
{
    return fm_map_await_empty(map, 1) + fm_map_await_quiescent(map, 1);
}

static int call_clear(struct fm_map *map, struct fm_fiber *ended)
{
    return fm_map_clear(map, 1);
}

/* One who has ended stays in the table until somebody sweeps: no call takes notice of him. */
WORKER_TEST(map_look, who_has_ended_is_absent_for_every_call)
{
    static const struct {
        int (*call)(struct fm_map *map, struct fm_fiber *ended);
        int result;
    } calls[] = {
        { call_get, -ENOENT },       { call_looks, 0 },
        { call_remove, -ENOENT },    { call_remove_many, -ENOENT },
        { call_interrupt, -ENOENT }, { call_detach, -ENOENT },
        { call_touch, -ENOENT },     { call_await_key, -ENOENT },
        { call_move_away, -ENOENT }, { call_move_here, 0 },
        { call_compare, -ENOENT },   { call_compare_none, 0 },
        { call_run_many, 0 },        { call_run_wait, 0 },
        { call_await_empty, 0 },     { call_clear, 0 },
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        struct fm_map *map = make_map();
        struct fm_fiber *ended = run(map, "key", return_arg, NULL);
        cr_assert_eq(fm_fiber_join(ended, FM_NEVER, NULL), 0);
        cr_expect_eq(calls[i].call(map, ended), calls[i].result, "call %zu", i);
        fm_fiber_unref(ended);
        fm_map_destroy(map);
    }
}

/* F42 */
WORKER_TEST(map_look, who_has_ended_is_nobody_to_be_replaced_kept_or_awaited)
{
    for (uint32_t kind = FM_REPLACE; kind <= FM_QUEUE; kind++) {
        for (int by_set = 0; by_set <= (kind <= FM_FAIL); by_set++) {
            struct fm_map *map = make_map();
            struct fm_map_run_options options = conflict(kind);
            struct fm_fiber *fiber = start(until_interrupted, NULL);
            fm_fiber_unref(run(map, "key", return_arg, NULL));
            settle();
            int r = by_set
                        ? fm_map_set(map, KEY("key"), fiber, &options)
                        : fm_map_run(map, KEY("key"), until_interrupted, NULL, &options, NULL);
            cr_expect_eq(r, 0, "conflict %u: %d", kind, r);
            cr_expect_eq(fm_map_count(map, FM_MEMBER_LIVE), 1);
            fm_map_destroy(map);
            fm_fiber_interrupt(fiber);
            finish(fiber);
        }
    }
}

/* ---- a closed map ---- */

static int count_calls(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    ++*(int *)ctx;
    return 0;
}

WORKER_TEST(map_look, a_closed_map_shows_nobody_and_refuses_no_look)
{
    struct fm_map *map = make_map();
    struct fm_fiber *old = run(map, "key", until_interrupted, NULL), *found;
    int calls = 0;
    settle();
    fm_fiber_unref(run(map, "key", until_interrupted, NULL));
    cr_assert_eq(fm_map_close(map, NULL, NULL), 0);
    cr_expect_eq(call_looks(map, old), 0);
    cr_expect_eq(fm_map_get(map, KEY("key"), &found), -ENOENT);
    cr_expect_eq(fm_map_each(map, count_calls, &calls), 0);
    cr_expect_eq(calls, 0);
    fm_fiber_unref(old);
    fm_map_destroy(map);
}

/* ---- the size ---- */

enum { KEYS = 8, ACTORS = 3, STEPS = 30, ROUNDS = 30 };

struct actor {
    struct fm_map *map;
    uint64_t random;
    _Atomic bool done;
};

static uint64_t draw(struct actor *actor, uint64_t below)
{
    actor->random = actor->random * 6364136223846793005u + 1442695040888963407u;
    return (actor->random >> 33) % below;
}

/* Comes and goes in all ways but one: nobody is left to end by himself when it returns. */
static void act(struct actor *actor)
{
    struct fm_map_run_options keep = conflict(FM_KEEP);
    struct fm_fiber *fiber;

    for (int i = 0; i < STEPS; i++) {
        uint64_t n = draw(actor, KEYS);
        struct fm_key key = fm_key_bytes(&n, sizeof n);
        int r = 0;
        switch (draw(actor, 6)) {
        case 0: r = fm_map_run(actor->map, key, until_interrupted, NULL, NULL, NULL); break;
        case 1: r = fm_map_run(actor->map, key, until_interrupted, NULL, &keep, NULL); break;
        case 2:
            r = fm_map_run(actor->map, key, return_arg, NULL, NULL, &fiber);
            cr_assert_eq(fm_fiber_join(fiber, FM_NEVER, NULL), 0);
            fm_fiber_unref(fiber);
            break;
        case 3: r = fm_map_remove(actor->map, key, FM_NEVER); break;
        case 4:
            if (fm_map_detach(actor->map, key, &fiber) == 0) {
                cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
                fm_fiber_unref(fiber);
            }
            break;
        case 5: r = fm_map_move(actor->map, key, FM_KEY_U64(draw(actor, KEYS))); break;
        }
        cr_assert(r >= 0 || r == -ENOENT || r == -EEXIST, "%d", r);
    }
    atomic_store(&actor->done, true);
}

static struct fm_exit act_in_fiber(void *actor)
{
    act(actor);
    return fm_ok(NULL);
}

static void *act_in_thread(void *actor)
{
    act(actor);
    return NULL;
}

/* F65 */
FIBER_TEST(map_look, size_is_exact_whenever_all_is_at_rest)
{
    struct fm_map *map = make_map();
    for (uint64_t round = 0; round < ROUNDS; round++) {
        struct actor actors[ACTORS + 1];
        struct fm_fiber *fibers[ACTORS];
        struct fm_snapshot *snapshot;
        size_t there = 0;
        pthread_t thread;

        for (uint64_t i = 0; i <= ACTORS; i++)
            actors[i] = (struct actor) { .map = map, .random = round * (ACTORS + 1) + i };
        cr_assert_eq(pthread_create(&thread, NULL, act_in_thread, &actors[ACTORS]), 0);
        for (int i = 0; i < ACTORS; i++)
            fibers[i] = start(act_in_fiber, &actors[i]);
        for (int i = 0; i < ACTORS; i++)
            finish(fibers[i]);
        while (!atomic_load(&actors[ACTORS].done))
            fm_yield();
        pthread_join(thread, NULL);

        for (uint64_t n = 0; n < KEYS; n++)
            there += fm_map_has(map, FM_KEY_U64(n));
        cr_assert_eq(fm_map_size(map), there, "round %d", (int)round);
        cr_assert_eq(fm_map_count(map, FM_MEMBER_LIVE), there, "round %d", (int)round);
        for (uint32_t how = 0; how <= FM_SNAPSHOT_CONSISTENT; how++) {
            cr_assert_eq(fm_map_snapshot(map, how, &snapshot), 0);
            cr_assert_eq(fm_snapshot_count(snapshot), there, "round %d", (int)round);
            fm_snapshot_free(snapshot);
        }
    }
    fm_map_destroy(map);
}

/* ---- one stripe ---- */

enum { GENERATIONS = 1600, LOOKS_MAX = 20000 };

/* What was put under the two keys, one after the other; what was seen there. */
struct cut {
    struct fm_map *map;
    uint64_t written[GENERATIONS][2], seen[LOOKS_MAX][2];
    _Atomic int looks;
    _Atomic bool done;
};

static void look(struct cut *cut)
{
    struct fm_snapshot *snapshot;
    int n = atomic_load(&cut->looks);
    cr_assert_eq(fm_map_snapshot(cut->map, 0, &snapshot), 0);
    for (size_t i = 0; i < fm_snapshot_count(snapshot); i++) {
        const struct fm_member *member = fm_snapshot_at(snapshot, i);
        uint64_t *seen = &cut->seen[n][*(const char *)member->key.data == 'b'];
        cr_assert_eq(*seen, 0, "a key twice");
        *seen = fm_fiber_id(member->fiber);
    }
    fm_snapshot_free(snapshot);
    atomic_store(&cut->looks, n + 1);
}

static void *look_on(void *arg)
{
    struct cut *cut = arg;
    while (!atomic_load(&cut->done) && atomic_load(&cut->looks) < LOOKS_MAX)
        look(cut);
    return NULL;
}

static int generation_of(struct cut *cut, int key, uint64_t id, int from)
{
    int i = from;
    while (i < GENERATIONS && cut->written[i][key] != id)
        i++;
    cr_assert_lt(i, GENERATIONS, "an older one than before, or nobody");
    return i;
}

/* Whoever writes the second key has written the first: no snapshot shows it the other way. */
FIBER_TEST(map_look, a_plain_snapshot_shows_a_stripe_at_one_instant)
{
    static struct cut cut;
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    int at[2] = { 0, 0 };
    pthread_t thread;

    config.stripe_count = 1;
    cr_assert_eq(fm_map_create(&config, &cut.map), 0);
    for (int i = 0; i < GENERATIONS; i++) {
        for (int key = 0; key < 2; key++) {
            struct fm_fiber *fiber = run(cut.map, key ? "b" : "a", until_interrupted, NULL);
            cut.written[i][key] = fm_fiber_id(fiber);
            fm_fiber_unref(fiber);
        }
        if (i == 0)
            cr_assert_eq(pthread_create(&thread, NULL, look_on, &cut), 0);
        while (atomic_load(&cut.looks) < i / 8) /* beside each other, whoever is slow */
            fm_yield();
    }
    atomic_store(&cut.done, true);
    pthread_join(thread, NULL);
    for (int i = 0; i < cut.looks; i++) {
        for (int key = 0; key < 2; key++)
            at[key] = generation_of(&cut, key, cut.seen[i][key], at[key]);
        cr_assert(at[0] == at[1] || at[0] == at[1] + 1,
                  "the first key in generation %d, the "
                  "second in %d",
                  at[0], at[1]);
    }
    fm_map_destroy(cut.map);
}
