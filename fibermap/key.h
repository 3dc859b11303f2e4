/*
 * key.h - a key as the map works with it: its words, its hash, its length
 *
 * The bytes of a key are read once, at the door, as words of eight bytes, so that a lookup can
 * read the words of an entry as atomics. The last word is the last eight bytes, so it may
 * overlap the one before; and there are at least three, so that keys of up to 24 bytes, which
 * is most keys, are read, hashed and compared without a branch on their length:
 *
 *     word i    the 8 bytes from min(8 i, length - 8) on; of a key of less than 8 bytes word 0
 *               holds all, padded with zeros, and the others are 0
 *
 * With the length, which is part of the head, the words say all bytes. Two keys with different
 * heads differ.
 *
 *     head      63 ............... 13  12 ........ 0
 *               hash, 51 bits          length
 *               the bits from 48 up choose the stripe, those from 47 down the bucket
 */
#ifndef FM_FIBERMAP_KEY_H
#define FM_FIBERMAP_KEY_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "fm/map.h"
#include "runtime/platform/aes.h"
#include "runtime/platform/check.h"

enum {
    KEY_INLINE = 56, /* bytes that an entry holds itself; longer keys stand in a blob */
    KEY_WORDS = KEY_INLINE / 8,
    KEY_FIRST = 3, /* words that every key has */
    KEY_LENGTH_BITS = 13,
    KEY_STRIPE_BITS = 16, /* uppermost of the head */
};
_Static_assert(FM_KEY_MAX < 1u << KEY_LENGTH_BITS, "the head has room for the length");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are little-endian");

enum hash_kind { HASH_SIP, HASH_AES, HASH_FAST };

struct hash_seed {
    uint32_t kind; /* enum hash_kind */
    uint64_t k0, k1;
    struct aes_key aes;
};

/* A key of 8 to 24 bytes: what a lookup needs of it, few enough to stay in registers. */
struct short_key {
    uint64_t head, word[KEY_FIRST];
};

struct map_key {
    uint64_t head;
    const unsigned char *data; /* the caller's; NULL never */
    uint32_t len;
    uint32_t words;           /* at least KEY_FIRST */
    uint64_t word[KEY_WORDS]; /* of a key of at most KEY_INLINE bytes */
};

/*
 * Secret numbers out of the runtime's seed; the same seed gives the same ones. HASH_AES becomes
 * HASH_SIP where the processor has no AES.
 */
void fm__hash_seed_init(struct hash_seed *seed, uint64_t from, enum hash_kind kind);
/*
 * The hashes themselves. SipHash: Aumasson and Bernstein, "SipHash: a fast short-input PRF",
 * INDOCRYPT 2012.
 */
uint64_t fm__siphash_13(uint64_t k0, uint64_t k1, const void *data, size_t len);
uint64_t fm__siphash_24(uint64_t k0, uint64_t k1, const void *data, size_t len);
/* Multiply and fold, after the idea of wyhash; of 32 bytes. */
uint64_t fm__hash_fast(uint64_t k0, uint64_t k1, uint64_t a, uint64_t b, uint64_t c,
                       uint64_t d);

static inline uint64_t fm__load_word(const unsigned char *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

/* n bytes, 1 to 7, as the low bytes of a word. Reads these bytes and no others. */
static inline uint64_t fm__load_tail(const unsigned char *p, size_t n)
{
    FM_ASSERT(n >= 1 && n <= 7);
    if (n >= 4) {
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + n - 4, 4);
        return low | (uint64_t)high << (8 * (n - 4));
    }
    return p[0] | (uint64_t)p[n >> 1] << (8 * (n >> 1)) | (uint64_t)p[n - 1] << (8 * (n - 1));
}

/* Where in the key word i begins; of a key of 8 bytes or more. */
static inline size_t fm__word_at(size_t len, size_t i)
{
    FM_ASSERT(len >= 8);
    return 8 * i < len - 8 ? 8 * i : len - 8;
}

static inline uint32_t fm__key_words(size_t len)
{
    return len <= 8 * KEY_FIRST ? KEY_FIRST : (uint32_t)((len + 7) / 8);
}

/* Word i of the key, whatever its length. */
static inline uint64_t fm__key_word(const struct map_key *key, uint32_t i)
{
    if (key->len <= KEY_INLINE)
        return key->word[i];
    return fm__load_word(key->data + fm__word_at(key->len, i));
}

/* Back to bytes: put word i of a key of `len` bytes where it belongs in `to`. */
static inline void fm__put_word(void *to, size_t len, uint32_t i, uint64_t word)
{
    if (len >= 8)
        memcpy((char *)to + fm__word_at(len, i), &word, 8);
    else if (i == 0)
        memcpy(to, &word, len);
}

static inline uint32_t fm__key_head_length(uint64_t head)
{
    return (uint32_t)(head & ((1u << KEY_LENGTH_BITS) - 1));
}

/* fm__key_read for the rest: other lengths, other hashes, and what is no key. */
bool fm__key_read_any(struct map_key *ret_key, const struct hash_seed *seed,
                      struct fm_key given);

static inline uint64_t fm__key_head(uint64_t hash, size_t len)
{
    FM_ASSERT(len <= FM_KEY_MAX);
    return (hash & ~((UINT64_C(1) << KEY_LENGTH_BITS) - 1)) | len;
}

/*
 * Read and hash a key of 8 to 24 bytes under AES; false: any other, or none. Inline, as all
 * that a lookup does: what it costs in a large map is waiting for memory, and the fewer
 * instructions it has, the more of the next one fits beside the wait.
 */
static inline bool fm__key_read_short(struct short_key *key, const struct hash_seed *seed,
                                      struct fm_key given)
{
    const unsigned char *p = given.data;
    size_t len = given.len;

    if (__builtin_expect(!p, 0) || __builtin_expect(len - 8 > 16, 0) ||
        __builtin_expect(seed->kind != HASH_AES, 0))
        return false;
    key->word[0] = fm__load_word(p);
    key->word[1] = fm__load_word(p + fm__word_at(len, 1));
    key->word[2] = fm__load_word(p + len - 8);
    key->head = fm__key_head(
        fm__aes_hash_4(&seed->aes, key->word[0], key->word[1], key->word[2], len), len);
    return true;
}

/* Read and hash. False: not a key (no data, no length, or one above FM_KEY_MAX). */
static inline bool fm__key_read(struct map_key *key, const struct hash_seed *seed,
                                struct fm_key given)
{
    struct short_key read;

    if (!fm__key_read_short(&read, seed, given))
        return fm__key_read_any(key, seed, given);
    key->head = read.head;
    key->data = given.data;
    key->len = (uint32_t)given.len;
    key->words = KEY_FIRST;
    for (int i = 0; i < KEY_FIRST; i++)
        key->word[i] = read.word[i];
    return true;
}

#endif
