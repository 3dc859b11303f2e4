/* SPDX-License-Identifier: Apache-2.0 */
/* test_map_stripe.c - chains, growth, room and sweeping, without fibers */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "fibermap/arena.h"
#include "fibermap/stripe.h"
#include "runtime/platform/memory.h"
#include "tests/support/test.h"

static const struct hash_seed seed = { .kind = HASH_SIP, .k0 = 1, .k1 = 2 };
static struct stripe stripe;

static struct map_key key_of(char *buffer, size_t length, unsigned n)
{
    struct map_key key;
    memset(buffer, 'k', length);
    memcpy(buffer, &n, sizeof n);
    cr_assert(fm__key_read(&key, &seed, fm_key_bytes(buffer, length)));
    return key;
}

static void start(void)
{
    fm__stripe_init(&stripe, NULL, NULL);
}

/* Put an id under a key, as run does. Returns the id displaced. */
static uint64_t put(const struct map_key *key, uint64_t id)
{
    cr_assert_eq(fm__stripe_lock_with_room(&stripe, key), 0);
    struct place place = fm__stripe_find_locked(&stripe, key);
    struct entry *entry = fm__stripe_take_locked(&stripe, key);
    fm__entry_publish(entry, id);
    uint64_t displaced = fm__stripe_install_locked(&stripe, place, entry);
    atomic_fetch_add(&stripe.count, COUNT_MEMBER_ONE + (displaced ? 0 : COUNT_LIVE_ONE));
    fm__unlock(&stripe.lock);
    return displaced;
}

static struct entry *entry_of(const struct map_key *key)
{
    fm__lock(&stripe.lock);
    struct place place = fm__stripe_find_locked(&stripe, key);
    fm__unlock(&stripe.lock);
    return place.entry;
}

/* The exit of the fiber that is there. */
static void end(const struct map_key *key, uint64_t id)
{
    struct entry *entry = entry_of(key);
    cr_assert_eq(fm__entry_end(entry, id), ENTRY_END_PRESENT);
    fm__stripe_bury(&stripe, entry);
    atomic_fetch_sub(&stripe.count, COUNT_MEMBER_ONE + COUNT_LIVE_ONE);
}

TEST(map_stripe, empty_stripe_owns_no_memory_and_finds_nothing)
{
    char text[8];
    struct map_key key = key_of(text, sizeof text, 1);
    start();
    cr_expect_eq(fm__stripe_find(&stripe, &key), 0);
    cr_expect_null(stripe.slabs[0]);
    fm__stripe_fini(&stripe);
}

/* F49, F52 */
TEST(map_stripe, all_keys_are_found_while_the_table_grows)
{
    enum { KEYS = 5000 };
    char text[12];
    start();
    for (unsigned n = 0; n < KEYS; n++) {
        struct map_key key = key_of(text, sizeof text, n);
        cr_assert_eq(put(&key, n + 1), 0);
        struct map_key probe = key_of(text, sizeof text, n / 2);
        cr_assert_eq(fm__stripe_find(&stripe, &probe), n / 2 + 1, "key %u after %u", n / 2, n);
    }
    for (unsigned n = 0; n < KEYS; n++) {
        struct map_key key = key_of(text, sizeof text, n);
        cr_assert_eq(fm__stripe_find(&stripe, &key), n + 1);
    }
    cr_expect_eq(fm__stripe_made(&stripe), KEYS);
    cr_expect_eq(stripe.linked, KEYS);
    struct map_key stranger = key_of(text, sizeof text, KEYS);
    cr_expect_eq(fm__stripe_find(&stripe, &stranger), 0);
    fm__stripe_fini(&stripe);
}

TEST(map_stripe, keys_of_all_lengths_live_side_by_side)
{
    static const size_t lengths[] = { 4,  7,   8,   9,    24,   25,   55,  56,
                                      57, 128, 129, 1000, 2048, 4095, 4096 };
    enum { COUNT = sizeof lengths / sizeof lengths[0] };
    char text[FM_KEY_MAX];
    start();
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned n = 0; n < COUNT; n++) {
            struct map_key key = key_of(text, lengths[n], 7);
            cr_assert_eq(put(&key, n + 1), 0);
        }
        for (unsigned n = 0; n < COUNT; n++) {
            struct map_key key = key_of(text, lengths[n], 7);
            cr_expect_eq(fm__stripe_find(&stripe, &key), n + 1, "%zu bytes", lengths[n]);
            char copy[FM_KEY_MAX + 8];
            struct entry *entry = entry_of(&key);
            cr_expect_eq(fm__entry_key_length(entry), lengths[n]);
            fm__entry_copy_key(entry, copy);
            cr_expect_arr_eq(copy, text, lengths[n]);
            end(&key, n + 1);
            cr_expect_eq(fm__stripe_find(&stripe, &key), 0);
        }
    }
    fm__stripe_fini(&stripe);
}

/* A hash is taken for the other's, so that bytes alone decide: the first words, the others, a block. */
TEST(map_stripe, keys_of_one_hash_differ_by_each_of_their_bytes)
{
    static const size_t lengths[] = { 8, 24, 25, 40, 56, 57, 64, 130 };
    char text[130], other_text[130];
    start();
    for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
        size_t length = lengths[l];
        struct map_key key = key_of(text, length, 7);
        cr_assert_eq(put(&key, 1), 0);
        for (size_t at = 0; at < length; at++) {
            memcpy(other_text, text, length);
            other_text[at] ^= 1;
            struct map_key other;
            cr_assert(fm__key_read(&other, &seed, fm_key_bytes(other_text, length)));
            other.head = key.head;
            cr_assert_eq(fm__stripe_find(&stripe, &other), 0, "byte %zu of %zu", at, length);
            cr_assert_eq(put(&other, 2), 0, "it displaces nobody");
            cr_assert_eq(fm__stripe_find(&stripe, &other), 2);
            cr_assert_eq(fm__stripe_find(&stripe, &key), 1);
            end(&other, 2);
            cr_assert_eq(fm__stripe_find(&stripe, &other), 0);
            cr_assert_eq(fm__stripe_find(&stripe, &key), 1);
        }
        end(&key, 1);
    }
    fm__stripe_fini(&stripe);
}

/* So many keys of one hash that a walk gives up: then it is done with the lock held. */
TEST(map_stripe, a_chain_of_any_length_is_searched_to_its_end)
{
    enum { KEYS = 5000 };
    char text[40];
    start();
    struct map_key first = key_of(text, sizeof text, 0);
    for (unsigned n = 0; n <= KEYS; n++) {
        struct map_key key = key_of(text, sizeof text, n);
        key.head = first.head;
        if (n == KEYS)
            cr_assert_eq(fm__stripe_find(&stripe, &key), 0, "nobody is there");
        else
            cr_assert_eq(put(&key, n + 1), 0);
    }
    for (unsigned n = 0; n < KEYS; n += 100) {
        struct map_key key = key_of(text, sizeof text, n);
        key.head = first.head;
        cr_assert_eq(fm__stripe_find(&stripe, &key), n + 1, "key %u", n);
    }
    fm__stripe_fini(&stripe);
}

TEST(map_stripe, lookup_on_displaced_entry_goes_on_to_its_successor)
{
    char text[8];
    struct map_key key = key_of(text, sizeof text, 1);
    start();
    put(&key, 10);
    struct entry *old = entry_of(&key);
    cr_expect_eq(put(&key, 11), 10);
    cr_expect_eq(put(&key, 12), 11);
    cr_expect_eq(fm__stripe_find(&stripe, &key), 12);
    /* what a lookup does that had come to the old entry before */
    struct entry *next = atomic_load(&atomic_load(&old->successor)->successor);
    cr_expect_eq(fm__entry_present(fm__entry_read(next)), 12);
    cr_expect_eq(stripe.linked, 1);
    fm__stripe_fini(&stripe);
}

/* T241: whose exit has not taken it out yet. */
TEST(map_stripe, new_fiber_takes_the_place_of_a_dead_one)
{
    char text[8];
    struct map_key key = key_of(text, sizeof text, 1);
    start();
    put(&key, 10);
    end(&key, 10);
    cr_expect_eq(fm__stripe_find(&stripe, &key), 0);
    cr_expect_eq(put(&key, 11), 0, "nobody was displaced");
    cr_expect_eq(fm__stripe_find(&stripe, &key), 11);
    cr_expect_eq(stripe.linked, 1);
    fm__stripe_fini(&stripe);
}

/* F52: one-shot keys do not grow a stripe */
TEST(map_stripe, one_shot_keys_use_the_same_entries_again_and_again)
{
    char text[100]; /* long ones, so that blobs go round too */
    start();
    for (unsigned n = 0; n < 50000; n++) {
        struct map_key key = key_of(text, n % 2 ? 100 : 20, n);
        put(&key, n + 1);
        end(&key, n + 1);
    }
    cr_expect_leq(fm__stripe_made(&stripe), 16);
    unsigned blobs = 0;
    for (struct key_blob *blob = stripe.blobs; blob; blob = blob->made)
        blobs++;
    cr_expect_leq(blobs, 16);
    fm__stripe_fini(&stripe);
}

/* F52: a burst is swept by the exits themselves */
TEST(map_stripe, exits_sweep_a_stripe_that_went_quiet)
{
    enum { KEYS = 20000 };
    char text[12];
    start();
    for (unsigned n = 0; n < KEYS; n++) {
        struct map_key key = key_of(text, sizeof text, n);
        put(&key, n + 1);
    }
    for (unsigned n = 0; n < KEYS; n++) {
        struct map_key key = key_of(text, sizeof text, n);
        end(&key, n + 1);
    }
    cr_expect_lt(atomic_load(&stripe.used), 1100, "%u entries not free",
                 atomic_load(&stripe.used));
    fm__stripe_fini(&stripe);
}

TEST(map_stripe, sweep_raises_the_version_before_entries_are_used_again)
{
    char text[12];
    start();
    for (unsigned n = 0; n < 16; n++) {
        struct map_key key = key_of(text, sizeof text, n);
        put(&key, n + 1);
    }
    uint64_t version = atomic_load(&stripe.version);
    for (unsigned n = 0; n < 16; n++) {
        struct map_key key = key_of(text, sizeof text, n);
        end(&key, n + 1);
    }
    cr_expect_eq(atomic_load(&stripe.version), version, "nothing is used again yet");
    struct map_key key = key_of(text, sizeof text, 99);
    put(&key, 100);
    cr_expect_eq(fm__stripe_made(&stripe), 16);
    cr_expect_eq(atomic_load(&stripe.version), version + 1);
    fm__stripe_fini(&stripe);
}

/* F50 */
TEST(map_stripe, no_memory_leaves_the_stripe_as_it_was)
{
    char text[200];
    struct map_key shorter = key_of(text, 20, 1), longer = key_of(text, sizeof text, 1);
    start();
    for (int nth = 1; nth <= 3; nth++) {
        fm__fault_set(FAULT_MALLOC, (uint64_t)nth, false);
        int r = fm__stripe_lock_with_room(&stripe, &longer);
        fm__fault_set(FAULT_MALLOC, 0, false);
        cr_assert_eq(r, -ENOMEM, "allocation %d", nth);
        cr_expect_eq(fm__stripe_find(&stripe, &longer), 0);
    }
    put(&shorter, 5);
    put(&longer, 6);
    cr_expect_eq(fm__stripe_find(&stripe, &shorter), 5);
    cr_expect_eq(fm__stripe_find(&stripe, &longer), 6);
    fm__stripe_fini(&stripe);
}

TEST(map_stripe, without_memory_for_a_larger_table_chains_grow)
{
    char text[12];
    start();
    for (unsigned n = 0; n < 200; n++) {
        struct map_key key = key_of(text, sizeof text, n);
        cr_assert_eq(fm__stripe_lock_with_room(&stripe, &key), 0);
        fm__unlock(&stripe.lock);
        /* the slab comes first: let every second allocation after it fail */
        fm__fault_set(FAULT_MALLOC, stripe.linked == 16 || stripe.linked == 32 ? 1 : 0, true);
        put(&key, n + 1);
        fm__fault_set(FAULT_MALLOC, 0, false);
    }
    for (unsigned n = 0; n < 200; n++) {
        struct map_key key = key_of(text, sizeof text, n);
        cr_expect_eq(fm__stripe_find(&stripe, &key), n + 1);
    }
    fm__stripe_fini(&stripe);
}

/* ---- large blocks ---- */

TEST(map_arena, blocks_are_zeroed_aligned_and_apart)
{
    struct arena arena;
    struct block_source *source = &arena.source;
    unsigned char *blocks[40];
    size_t bytes[40];
    fm__arena_init(&arena);
    for (int i = 0; i < 40; i++) {
        bytes[i] = i == 20 ? 5 << 20 : BLOCK_LARGE + (size_t)i * 8000;
        blocks[i] = source->take(source, bytes[i]);
        cr_assert_not_null(blocks[i]);
        cr_expect_eq((uintptr_t)blocks[i] % 128, 0);
        for (size_t at = 0; at < bytes[i]; at += 512)
            cr_assert_eq(blocks[i][at], 0);
        cr_assert_eq(blocks[i][bytes[i] - 1], 0);
        if (i % 4 == 3) { /* untouched: another one of that size is the same */
            source->give(source, blocks[i], bytes[i]);
            unsigned char *again = source->take(source, bytes[i]);
            cr_expect_eq(again, blocks[i]);
            for (int b = 0; b < 64; b++)
                cr_assert_eq(again[b], 0);
        }
        memset(blocks[i], 0xff, bytes[i]);
    }
    fm__arena_fini(&arena);
}

TEST(map_arena, a_block_is_given_to_who_asks_for_its_size)
{
    struct arena arena;
    struct block_source *source = &arena.source;
    fm__arena_init(&arena);
    void *small = source->take(source, BLOCK_LARGE),
         *large = source->take(source, 2 * BLOCK_LARGE);
    source->give(source, small, BLOCK_LARGE);
    source->give(source, large, 2 * BLOCK_LARGE);
    void *third = source->take(source, 3 * BLOCK_LARGE);
    cr_expect(third != small && third != large, "neither has room for it");
    cr_expect_eq(source->take(source, BLOCK_LARGE), small);
    cr_expect_eq(source->take(source, 2 * BLOCK_LARGE), large);
    fm__arena_fini(&arena);
}

TEST(map_arena, no_memory_is_told_and_the_next_request_succeeds)
{
    struct arena arena;
    fm__arena_init(&arena);
    fm__fault_set(FAULT_MAP, 1, false);
    cr_expect_null(arena.source.take(&arena.source, BLOCK_LARGE));
    fm__fault_set(FAULT_MAP, 0, false);
    cr_expect_not_null(arena.source.take(&arena.source, BLOCK_LARGE));
    fm__arena_fini(&arena);
}

TEST(map_arena, stripe_with_many_keys_lives_in_it)
{
    enum { KEYS = 40000 };
    struct arena arena;
    char text[12];
    fm__arena_init(&arena);
    fm__stripe_init(&stripe, NULL, &arena.source);
    for (unsigned n = 0; n < KEYS; n++) {
        struct map_key key = key_of(text, sizeof text, n);
        put(&key, n + 1);
    }
    for (unsigned n = 0; n < KEYS; n++) {
        struct map_key key = key_of(text, sizeof text, n);
        cr_assert_eq(fm__stripe_find(&stripe, &key), n + 1);
    }
    cr_expect_not_null(arena.chunks);
    fm__stripe_fini(&stripe);
    fm__arena_fini(&arena);
}

/* ---- blocks that no link can point into ---- */

static void *const too_high = (void *)(UINT64_C(5) << 56 | 1 << 20);
static int too_high_out;

static void *take_too_high(struct block_source *source, size_t bytes)
{
    (void)source, (void)bytes;
    too_high_out++;
    return too_high;
}

static void give_too_high(struct block_source *source, void *block, size_t bytes)
{
    (void)source, (void)bytes;
    cr_assert_eq(block, too_high);
    too_high_out--;
}

TEST(map_stripe, a_block_whose_address_has_no_bits_to_spare_is_no_memory)
{
    struct block_source source = { take_too_high, give_too_high };
    char text[12];
    unsigned n = 0;
    int r;

    fm__stripe_init(&stripe, NULL, &source);
    for (;; n++) {
        struct map_key key = key_of(text, sizeof text, n);
        r = fm__stripe_lock_with_room(&stripe, &key);
        if (r < 0)
            break;
        fm__unlock(&stripe.lock);
        put(&key, n + 1);
    }
    cr_assert_eq(r, -ENOMEM);
    cr_assert_eq(too_high_out, 0);
    while (n-- > 0) {
        struct map_key key = key_of(text, sizeof text, n);
        cr_assert_eq(fm__stripe_find(&stripe, &key), n + 1);
    }
    fm__stripe_fini(&stripe);
}
