/*
 * key.h - a key as the map works with it: its words, its hash, its length
 *
 * The bytes of a key are read once, at the door: up to KEY_INLINE of them into words, padded with zeros, so that the map compares
 * eight at a time and a lookup can read the words of an entry as atomics. The hash and the length share one word, the head: two
 * keys with different heads differ.
 *
 *     head    63 ............... 13  12 ........ 0
 *             hash, 51 bits          length
 *             the top bits choose the stripe, those from bit 13 up the bucket
 */
#ifndef FM_FIBERMAP_KEY_H
#define FM_FIBERMAP_KEY_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "fm/map.h"

enum {
    KEY_INLINE = 56, /* bytes that an entry holds itself; longer keys stand in a blob */
    KEY_WORDS = KEY_INLINE / 8,
    KEY_LENGTH_BITS = 13,
};
_Static_assert(FM_KEY_MAX < 1u << KEY_LENGTH_BITS, "the head has room for the length");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "SipHash reads little-endian words");

struct hash_seed {
    uint64_t k0, k1;
    bool fast;
};

struct map_key {
    uint64_t head;
    const unsigned char *data; /* the caller's; NULL never */
    uint32_t len;
    uint32_t words;           /* len / 8, rounded up */
    uint64_t word[KEY_WORDS]; /* of a key of at most KEY_INLINE bytes */
};

/* Secret numbers out of the runtime's seed; the same seed gives the same ones. */
void fm__hash_seed_init(struct hash_seed *seed, uint64_t from, bool fast);
/* Read and hash. False: not a key (no data, no length, or one above FM_KEY_MAX). */
bool fm__key_read(struct map_key *ret_key, const struct hash_seed *seed, struct fm_key given);

/* The hashes themselves. SipHash: Aumasson and Bernstein, "SipHash: a fast short-input PRF", INDOCRYPT 2012. */
uint64_t fm__siphash_13(uint64_t k0, uint64_t k1, const void *data, size_t len);
uint64_t fm__siphash_24(uint64_t k0, uint64_t k1, const void *data, size_t len);
uint64_t fm__hash_fast(uint64_t k0, uint64_t k1, const void *data, size_t len);

/* n bytes, 1 to 7, as the low bytes of a word. Reads these bytes and no others. */
static inline uint64_t fm__load_tail(const unsigned char *p, size_t n)
{
    if (n >= 4) {
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + n - 4, 4);
        return low | (uint64_t)high << (8 * (n - 4));
    }
    return p[0] | (uint64_t)p[n >> 1] << (8 * (n >> 1)) | (uint64_t)p[n - 1] << (8 * (n - 1));
}

/* Word i of the key, whatever its length. */
static inline uint64_t fm__key_word(const struct map_key *key, uint32_t i)
{
    uint64_t word;

    if (key->len <= KEY_INLINE)
        return key->word[i];
    if (8 * (i + 1) > key->len)
        return fm__load_tail(key->data + 8 * i, key->len - 8 * i);
    memcpy(&word, key->data + 8 * i, 8);
    return word;
}

static inline uint32_t fm__key_head_length(uint64_t head)
{
    return (uint32_t)(head & ((1u << KEY_LENGTH_BITS) - 1));
}

#endif
