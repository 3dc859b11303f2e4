/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_map_enemy.c - keys chosen by somebody who knows the hash function but not the secret
 *
 * What counts is entries read: by a lookup on its way to its key, by an insertion on its way to the end of the chain. It is counted
 * on the map's own chains, so it does not depend on the machine. Each attack is run twice: on a map under its own secret, where
 * the cost must be that of any keys, and on a map that is given the attacker's secret, where the same measure must rise. The second
 * run shows that the attack is one and that the first could have failed.
 *
 * The map holds one fiber under all these keys, by fm_map_set: what is tested is the table.
 */
#include "fibermap/lookup.h"
#include "fibermap/map.h"
#include "runtime/fiber/runtime.h"
#include "runtime/platform/sanitizer.h"
#include "tests/fibermap/map_test.h"

/* Entries read, on average and at most. Keys without an enemy: 1.2 for each lookup. */
#define FLAT_MEAN 1.5
enum { FLAT_MOST = 16, STEEP_MEAN = 3 };

enum { KEYS = FM_ASAN || FM_TSAN ? 100000 : 1000000 };
/* Given the attacker's seed the work is that of all chains: fewer keys show it as well. */
enum { KEYS_KNOWN = KEYS / 10, KEYS_IN_ONE_CHAIN = 3000 };
/* So many low bits of the bucket are the same for all keys that are found by search. */
enum { SEARCHED_BITS = 4 };

struct cost {
    uint64_t read;
    size_t operations;
    unsigned most;
};

/* Of 24 bytes: three words, read by every hash without a copy. */
struct enemy_key {
    uint64_t word[3];
};

static struct fm_key bytes_of(const struct enemy_key *key)
{
    return fm_key_bytes(key, sizeof *key);
}

static void count(struct cost *cost, unsigned read)
{
    cost->read += read;
    cost->operations++;
    cost->most = read > cost->most ? read : cost->most;
}

static double mean(struct cost cost)
{
    return (double)cost.read / (double)cost.operations;
}

/* The entries that a lookup of this key reads, and an insertion: that of the key, or else the whole chain. */
static unsigned entries_read(struct fm_map *map, struct fm_key given)
{
    struct map_key key;
    cr_assert(fm__key_read(&key, &map->seed, given));
    uintptr_t table = fm__table_in_use(fm__map_stripe(map, &key));
    unsigned read = 0;

    if (!table)
        return 0;
    unsigned parity = fm__table_parity(table);
    for (struct entry *e = fm__follow(fm__table_bucket(table, key.head)); e;
         e = fm__follow(&e->next[parity])) {
        read++;
        if (fm__entry_matches(e, &key))
            break;
    }
    return read;
}

/* ---- attacks ---- */

/* Knows the function, and takes 0 for its secret. */
static struct hash_seed attackers(enum hash_kind kind)
{
    return (struct hash_seed) { .kind = kind };
}

/* Try keys one after the other, and take those that fall into every 16th bucket under the seed. */
static void search_keys(struct enemy_key *keys, size_t wanted, struct hash_seed seed)
{
    const uint64_t bits = ((UINT64_C(1) << SEARCHED_BITS) - 1)
                          << (64 - KEY_STRIPE_BITS - SEARCHED_BITS);
    struct enemy_key try = { { 0 } };

    for (size_t found = 0; found < wanted; try.word[0]++) {
        struct map_key key;
        cr_assert(fm__key_read(&key, &seed, bytes_of(&try)));
        if (!(key.head & bits))
            keys[found++] = try;
    }
}

/*
 * No search: the fast hash multiplies two words of the key, each under a word of the secret. Who knows the secret makes
 * one factor 0, and the other word counts for nothing: all keys have one hash.
 */
static void make_keys_of_one_hash(struct enemy_key *keys, size_t wanted, struct hash_seed seed)
{
    for (size_t i = 0; i < wanted; i++)
        keys[i] = (struct enemy_key) { { seed.k0, i, 1 } };
}

/* ---- a map under attack ---- */

static struct cost insert_all(struct fm_map *map, const struct enemy_key *keys, size_t n,
                              struct fm_fiber *fiber)
{
    struct cost cost = { 0 };
    for (size_t i = 0; i < n; i++) {
        count(&cost, entries_read(map, bytes_of(&keys[i])));
        cr_assert_eq(fm_map_set(map, bytes_of(&keys[i]), fiber, NULL), 0);
    }
    return cost;
}

static struct cost look_up_all(struct fm_map *map, const struct enemy_key *keys, size_t n)
{
    struct cost cost = { 0 };
    for (size_t i = 0; i < n; i++) {
        count(&cost, entries_read(map, bytes_of(&keys[i])));
        cr_assert(fm_map_has(map, bytes_of(&keys[i])), "key %zu", i);
    }
    return cost;
}

/* All keys in, and looked up. A map of that kind under `known`, or under its own secret where that is NULL. */
static void attack(enum hash_kind kind, const struct hash_seed *known,
                   const struct enemy_key *keys, size_t n, struct cost *ret_insert,
                   struct cost *ret_look_up)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *map;

    config.hash = kind == HASH_FAST ? FM_HASH_FAST : FM_HASH_KEYED;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    if (known)
        map->seed = *known;
    else if (map->seed.kind != kind) /* as where the processor has no AES */
        fm__hash_seed_init(&map->seed, map->runtime->config.seed, kind);
    struct fm_fiber *fiber = start(until_interrupted, NULL);
    *ret_insert = insert_all(map, keys, n, fiber);
    *ret_look_up = look_up_all(map, keys, n);
    cr_assert_eq(fm_map_size(map), n);
    fm_map_destroy(map);
    fm_fiber_unref(fiber);
}

static bool is_flat(struct cost cost)
{
    return mean(cost) < FLAT_MEAN && cost.most < FLAT_MOST;
}

static void expect_flat_unless_known(enum hash_kind kind, struct hash_seed known,
                                     const struct enemy_key *keys, size_t n, size_t n_known)
{
    struct cost insert, look_up;

    attack(kind, NULL, keys, n, &insert, &look_up);
    cr_expect(is_flat(insert), "an insertion read %.2f entries, at most %u", mean(insert),
              insert.most);
    cr_expect(is_flat(look_up), "a lookup read %.2f entries, at most %u", mean(look_up),
              look_up.most);

    attack(kind, &known, keys, n_known, &insert, &look_up);
    cr_expect(!is_flat(insert) && mean(insert) > STEEP_MEAN, "an insertion read only %.2f",
              mean(insert));
    cr_expect(!is_flat(look_up) && mean(look_up) > STEEP_MEAN, "a lookup read only %.2f",
              mean(look_up));
}

static void search_and_attack(enum hash_kind kind)
{
    struct enemy_key *keys = malloc(KEYS * sizeof *keys);
    search_keys(keys, KEYS, attackers(kind));
    expect_flat_unless_known(kind, attackers(kind), keys, KEYS, KEYS_KNOWN);
    free(keys);
}

/* F55 */
WORKER_TEST(map_enemy, million_keys_that_collide_under_aes_without_the_secret_cost_what_any_do)
{
    if (!fm__aes_usable())
        cr_skip("no AES instructions here");
    search_and_attack(HASH_AES);
}

WORKER_TEST(map_enemy,
            million_keys_that_collide_under_siphash_without_the_secret_cost_what_any_do)
{
    search_and_attack(HASH_SIP);
}

/* FM_HASH_FAST promises nothing to who watches it, but a secret that is not known still spreads. */
WORKER_TEST(map_enemy, million_keys_of_one_hash_under_another_secret_of_fast_cost_what_any_do)
{
    struct enemy_key *keys = malloc(KEYS * sizeof *keys);
    make_keys_of_one_hash(keys, KEYS, attackers(HASH_FAST));
    expect_flat_unless_known(HASH_FAST, attackers(HASH_FAST), keys, KEYS, KEYS_IN_ONE_CHAIN);
    free(keys);
}

/* ---- the secret ---- */

static struct hash_seed seed_of_new_runtime(void)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_map *map;

    cr_assert_eq(fm_runtime_create(NULL, &runtime), 0);
    config.runtime = runtime;
    cr_assert_eq(fm_map_create(&config, &map), 0);
    struct hash_seed seed = map->seed;
    fm_map_destroy(map);
    fm_runtime_destroy(runtime);
    return seed;
}

/* From the system: two runs of a program have nothing in common that one could have learned from the other. F55. */
TEST(map_enemy, each_runtime_draws_a_secret_of_its_own)
{
    struct hash_seed one = seed_of_new_runtime(), two = seed_of_new_runtime();
    cr_expect_neq(one.k0, two.k0);
    cr_expect_neq(one.k1, two.k1);
    const uint64_t *a = &one.aes.round[0][0][0], *b = &two.aes.round[0][0][0];
    for (size_t i = 0; i < sizeof one.aes / sizeof *a; i++) {
        cr_expect_neq(a[i], b[i], "word %zu of the round keys", i);
        cr_expect_neq(a[i], 0);
    }
}
