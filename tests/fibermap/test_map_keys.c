/* SPDX-License-Identifier: Apache-2.0 */
/* test_map_keys.c - which keys there are: lengths at the limits, any bytes, keys that begin alike */
#include <stdlib.h>

#include "tests/fibermap/map_test.h"

static struct fm_fiber *run_under(struct fm_map *map, struct fm_key key)
{
    struct fm_fiber *fiber;
    cr_assert_eq(fm_map_run(map, key, until_interrupted, NULL, NULL, &fiber), 0);
    return fiber;
}

static void expect_under(struct fm_map *map, struct fm_key key, const struct fm_fiber *expected)
{
    struct fm_fiber *found = NULL;
    cr_assert_eq(fm_map_get(map, key, &found), expected ? 0 : -ENOENT);
    cr_assert_eq(found, expected, "a key of %zu bytes", key.len);
    cr_assert_eq(fm_map_has(map, key), expected != NULL);
    fm_fiber_unref(found);
}

/* Bytes of the heap, so that a sanitizer sees one that is read too far. */
static char *filled(size_t length, char byte)
{
    char *bytes = malloc(length);
    memset(bytes, byte, length);
    return bytes;
}

static void expect_refused_everywhere(struct fm_map *map, struct fm_key key)
{
    struct fm_map_run_options keep = conflict(FM_KEEP), join = conflict(FM_JOIN);
    struct fm_fiber *fiber = NULL, *other = start(until_interrupted, NULL);
    struct fm_exit exit;

    cr_expect_eq(fm_map_run(map, key, until_interrupted, NULL, NULL, &fiber), -EINVAL);
    cr_expect_eq(fm_map_run(map, key, until_interrupted, NULL, &keep, &fiber), -EINVAL);
    cr_expect_eq(fm_map_run(map, key, until_interrupted, NULL, &join, &fiber), -EINVAL);
    cr_expect_eq(fm_map_run_wait(map, key, until_interrupted, NULL, NULL, FM_NEVER, &exit),
                 -EINVAL);
    cr_expect_eq(fm_map_set(map, key, other, NULL), -EINVAL);
    cr_expect_eq(fm_map_get(map, key, &fiber), -EINVAL);
    cr_expect_not(fm_map_has(map, key));
    cr_expect_eq(fm_map_interrupt(map, key), -EINVAL);
    cr_expect_eq(fm_map_remove(map, key, FM_NEVER), -EINVAL);
    cr_expect_eq(fm_map_detach(map, key, &fiber), -EINVAL);
    cr_expect_eq(fm_map_await_key(map, key, FM_NEVER, &exit), -EINVAL);
    cr_expect_null(fiber);
    cr_expect_eq(fm_map_size(map), 0);
    settle();
    cr_expect_not(has_ended(other), "a set with a bad key has rejected its fiber");
    cr_expect_eq(fm_fiber_stop(other, FM_NEVER, NULL), 0);
    fm_fiber_unref(other);
}

/* F56 */
WORKER_TEST(map_keys, key_of_the_greatest_length_does_all_that_keys_do)
{
    struct fm_map *map = make_map();
    struct fm_snapshot *snapshot;
    char *bytes = filled(FM_KEY_MAX, 'k'), *differs = filled(FM_KEY_MAX, 'k');
    struct fm_key key = fm_key_bytes(bytes, FM_KEY_MAX);
    struct fm_key other = fm_key_bytes(differs, FM_KEY_MAX);
    differs[FM_KEY_MAX - 1] ^= 1;

    struct fm_fiber *fiber = run_under(map, key);
    expect_under(map, key, fiber);
    expect_under(map, other, NULL);
    cr_assert_eq(fm_map_snapshot(map, 0, &snapshot), 0);
    cr_assert_eq(fm_snapshot_count(snapshot), 1);
    cr_expect_eq(fm_snapshot_at(snapshot, 0)->key.len, FM_KEY_MAX);
    cr_expect_arr_eq(fm_snapshot_at(snapshot, 0)->key.data, bytes, FM_KEY_MAX);
    fm_snapshot_free(snapshot);

    struct fm_fiber *second = run_under(map, other);
    cr_assert_eq(fm_map_remove(map, key, FM_NEVER), 0);
    expect_under(map, key, NULL);
    expect_under(map, other, second);
    fm_fiber_unref(fiber);
    fm_fiber_unref(second);
    fm_map_destroy(map);
    free(bytes);
    free(differs);
}

WORKER_TEST(map_keys, key_of_one_byte_more_is_refused_by_every_call)
{
    struct fm_map *map = make_map();
    char *bytes = filled(FM_KEY_MAX + 1, 'k');
    expect_refused_everywhere(map, fm_key_bytes(bytes, FM_KEY_MAX + 1));
    expect_refused_everywhere(map, fm_key_bytes(bytes, SIZE_MAX));
    fm_map_destroy(map);
    free(bytes);
}

WORKER_TEST(map_keys, empty_key_is_refused_by_every_call)
{
    struct fm_map *map = make_map();
    expect_refused_everywhere(map, fm_key_bytes("k", 0));
    expect_refused_everywhere(map, fm_key_bytes(NULL, 0));
    expect_refused_everywhere(map, fm_key_bytes(NULL, 3));
    expect_refused_everywhere(map, fm_key_str(""));
    expect_refused_everywhere(map, fm_key_str(NULL));
    fm_map_destroy(map);
}

/* A NUL is a byte as any: before it, behind it and how many there are, all counts. */
WORKER_TEST(map_keys, keys_with_nul_bytes_differ_by_all_their_bytes)
{
    static const char zeros[70];
    struct fm_key keys[80];
    struct fm_fiber *fibers[80];
    size_t count = 0;
    struct fm_map *map = make_map();

    keys[count++] = fm_key_bytes("a", 1);
    keys[count++] = fm_key_bytes("a\0", 2);
    keys[count++] = fm_key_bytes("a\0b", 3);
    keys[count++] = fm_key_bytes("a\0c", 3);
    keys[count++] = fm_key_bytes("\0a", 2);
    keys[count++] = fm_key_bytes("\0b", 2);
    for (size_t length = 1; length <= sizeof zeros; length++)
        keys[count++] = fm_key_bytes(zeros, length);
    for (size_t i = 0; i < count; i++)
        fibers[i] = run_under(map, keys[i]);
    cr_assert_eq(fm_map_size(map), count);
    for (size_t i = 0; i < count; i++)
        expect_under(map, keys[i], fibers[i]);
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(fm_map_remove(map, keys[i], FM_NEVER), 0);
        expect_under(map, keys[i], NULL);
        if (i + 1 < count)
            expect_under(map, keys[i + 1], fibers[i + 1]);
        fm_fiber_unref(fibers[i]);
    }
    fm_map_destroy(map);
}

/* The same bytes, one more each time, from the first to the limit: no two of them are one key. */
WORKER_TEST(map_keys, keys_that_are_prefixes_of_one_another_are_keys_of_their_own)
{
    struct fm_fiber *fibers[FM_KEY_MAX + 1];
    struct fm_map *map = make_map();
    char *bytes = filled(FM_KEY_MAX, 'p');

    for (size_t n = 1; n <= FM_KEY_MAX; n++)
        fibers[n] = run_under(map, fm_key_bytes(bytes, n));
    cr_assert_eq(fm_map_size(map), FM_KEY_MAX);
    for (size_t n = 1; n <= FM_KEY_MAX; n++)
        expect_under(map, fm_key_bytes(bytes, n), fibers[n]);
    for (size_t n = 1; n <= FM_KEY_MAX; n += 2)
        cr_assert_eq(fm_map_remove(map, fm_key_bytes(bytes, n), FM_NEVER), 0);
    for (size_t n = 1; n <= FM_KEY_MAX; n++) {
        expect_under(map, fm_key_bytes(bytes, n), n % 2 ? NULL : fibers[n]);
        fm_fiber_unref(fibers[n]);
    }
    fm_map_destroy(map);
    free(bytes);
}

/* The map has its own copy: what the caller does with his bytes later changes no key. */
WORKER_TEST(map_keys, bytes_of_a_key_are_the_callers_again_when_run_returns)
{
    static const size_t lengths[] = { 1, 7, 8, 24, 25, 56, 57, 128, 129, FM_KEY_MAX };
    struct fm_map *map = make_map();
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        char *bytes = filled(lengths[i], 'a'), *same = filled(lengths[i], 'a');
        struct fm_fiber *fiber = run_under(map, fm_key_bytes(bytes, lengths[i]));
        memset(bytes, 'b', lengths[i]);
        expect_under(map, fm_key_bytes(bytes, lengths[i]), NULL);
        free(bytes);
        expect_under(map, fm_key_bytes(same, lengths[i]), fiber);
        fm_fiber_unref(fiber);
        free(same);
    }
    fm_map_destroy(map);
}

WORKER_TEST(map_keys, what_is_no_key_is_refused_and_not_read)
{
    struct fm_map *map = make_map();
    char one = 'x'; /* a read past its one byte is seen by the address sanitizer */
    expect_refused_everywhere(map, fm_key_bytes(&one, 0));
    expect_refused_everywhere(map, fm_key_bytes(NULL, 0));
    expect_refused_everywhere(map, fm_key_bytes(NULL, 8));
    expect_refused_everywhere(map, fm_key_bytes(&one, FM_KEY_MAX + 1));
    expect_refused_everywhere(map, fm_key_bytes(&one, SIZE_MAX));
    expect_refused_everywhere(map, fm_key_str(NULL));
    expect_refused_everywhere(map, fm_key_str(""));
    fm_map_destroy(map);
}

WORKER_TEST(map_keys, keys_are_bytes_of_any_value_up_to_the_limit)
{
    static const size_t lengths[] = { 1,  2,  7,  8,  9,  31,  32,   33,        55,
                                      56, 57, 63, 64, 65, 255, 4095, FM_KEY_MAX };
    enum { LENGTHS = sizeof lengths / sizeof *lengths };
    struct fm_map *map = make_map();
    struct fm_fiber *fiber[2 * LENGTHS];

    /*
     * Of each length one that is all NUL and one that ends otherwise; exactly as large as the
     * key, so that no byte behind it is ours.
     */
    for (size_t i = 0; i < 2 * LENGTHS; i++) {
        size_t len = lengths[i / 2];
        char *key = calloc(1, len);
        cr_assert_not_null(key);
        key[len - 1] = i % 2 ? '\xff' : '\0';
        cr_assert_eq(fm_map_run(map, fm_key_bytes(key, len), until_interrupted, NULL, NULL,
                                &fiber[i]),
                     0);
        memset(key, 'z', len); /* the map has a copy */
        free(key);
    }
    cr_assert_eq(fm_map_size(map), 2 * LENGTHS);
    for (size_t i = 0; i < 2 * LENGTHS; i++) {
        size_t len = lengths[i / 2];
        struct fm_fiber *found = NULL;
        char *key = calloc(1, len);
        cr_assert_not_null(key);
        key[len - 1] = i % 2 ? '\xff' : '\0';
        cr_assert_eq(fm_map_get(map, fm_key_bytes(key, len), &found), 0);
        cr_assert_eq(found, fiber[i], "length %zu", len);
        fm_fiber_unref(found);
        fm_fiber_unref(fiber[i]);
        free(key);
    }
    fm_map_destroy(map);
}
