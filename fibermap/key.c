/*
 * key.c - reading and hashing keys
 *
 * Which hash, and why, stands with the figures in fibermap/README.md.
 */
#include "fibermap/key.h"

__extension__ typedef unsigned __int128 uint128;

static inline uint64_t load(const unsigned char *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

static inline uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

/* ---- SipHash ---- */

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline __attribute__((always_inline)) void sip_rounds(struct sip *s, int n)
{
    for (int i = 0; i < n; i++) {
        s->v0 += s->v1;
        s->v2 += s->v3;
        s->v1 = rotate(s->v1, 13) ^ s->v0;
        s->v3 = rotate(s->v3, 16) ^ s->v2;
        s->v0 = rotate(s->v0, 32) + s->v3;
        s->v2 += s->v1;
        s->v1 = rotate(s->v1, 17) ^ s->v2;
        s->v3 = rotate(s->v3, 21) ^ s->v0;
        s->v2 = rotate(s->v2, 32);
    }
}

/* `last` is what remains after the full words, with the length in its top byte. */
static inline __attribute__((always_inline)) uint64_t sip(uint64_t k0, uint64_t k1,
                                                          const unsigned char *p, size_t full,
                                                          uint64_t last, int c, int d)
{
    struct sip s = {
        k0 ^ UINT64_C(0x736f6d6570736575),
        k1 ^ UINT64_C(0x646f72616e646f6d),
        k0 ^ UINT64_C(0x6c7967656e657261),
        k1 ^ UINT64_C(0x7465646279746573),
    };
    for (size_t i = 0; i < full; i++) {
        uint64_t word = load(p + 8 * i);
        s.v3 ^= word;
        sip_rounds(&s, c);
        s.v0 ^= word;
    }
    s.v3 ^= last;
    sip_rounds(&s, c);
    s.v0 ^= last;
    s.v2 ^= 0xff;
    sip_rounds(&s, d);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

static inline uint64_t sip_last(const unsigned char *p, size_t len)
{
    uint64_t tail = len % 8 ? fm__load_tail(p + len / 8 * 8, len % 8) : 0;
    return tail | (uint64_t)len << 56;
}

uint64_t fm__siphash_13(uint64_t k0, uint64_t k1, const void *data, size_t len)
{
    return sip(k0, k1, data, len / 8, sip_last(data, len), 1, 3);
}

uint64_t fm__siphash_24(uint64_t k0, uint64_t k1, const void *data, size_t len)
{
    return sip(k0, k1, data, len / 8, sip_last(data, len), 2, 4);
}

/* ---- the fast one: multiply and fold, after the idea of wyhash ---- */

static inline uint64_t fold(uint64_t a, uint64_t b)
{
    uint128 product = (uint128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t fast(uint64_t k0, uint64_t k1, const unsigned char *p, size_t full,
                            uint64_t tail, size_t len)
{
    uint64_t h = k0 ^ len * UINT64_C(0x9e3779b97f4a7c15);
    size_t i = 0;
    for (; i + 1 < full; i += 2)
        h = fold(load(p + 8 * i) ^ h, load(p + 8 * i + 8) ^ k1);
    if (i < full)
        h = fold(load(p + 8 * i) ^ h, tail ^ k1);
    else
        h = fold(tail ^ h, k1);
    return fold(h ^ UINT64_C(0xe7037ed1a0b428db), k0 ^ k1);
}

uint64_t fm__hash_fast(uint64_t k0, uint64_t k1, const void *data, size_t len)
{
    const unsigned char *p = data;
    return fast(k0, k1, p, len / 8, len % 8 ? fm__load_tail(p + len / 8 * 8, len % 8) : 0, len);
}

/* ---- keys ---- */

void fm__hash_seed_init(struct hash_seed *seed, uint64_t from, bool is_fast)
{
    static const char purpose[2][16] = { "fibermap key 0", "fibermap key 1" };

    seed->k0 = fm__siphash_24(from, ~from, purpose[0], sizeof purpose[0]);
    seed->k1 = fm__siphash_24(from, ~from, purpose[1], sizeof purpose[1]);
    seed->fast = is_fast;
    if (is_fast) { /* its multipliers must not be even, let alone 0 */
        seed->k0 |= 1;
        seed->k1 = (seed->k1 & ~UINT64_C(1)) | 2;
    }
}

bool fm__key_read(struct map_key *key, const struct hash_seed *seed, struct fm_key given)
{
    if (__builtin_expect(!given.data || given.len - 1 >= FM_KEY_MAX, 0))
        return false;
    const unsigned char *p = given.data;
    size_t len = given.len, full = len / 8, rest = len % 8;
    uint64_t tail = 0, hash;

    key->data = p;
    key->len = (uint32_t)len;
    key->words = (uint32_t)((len + 7) / 8);
    if (rest)
        tail = full ? load(p + len - 8) >> (8 * (8 - rest)) : fm__load_tail(p, rest);
    if (len <= KEY_INLINE) {
        for (size_t i = 0; i < full; i++)
            key->word[i] = load(p + 8 * i);
        if (rest)
            key->word[full] = tail;
    }
    if (seed->fast)
        hash = fast(seed->k0, seed->k1, p, full, tail, len);
    else
        hash = sip(seed->k0, seed->k1, p, full, tail | (uint64_t)len << 56, 1, 3);
    key->head = (hash & ~((UINT64_C(1) << KEY_LENGTH_BITS) - 1)) | len;
    return true;
}

struct fm_key fm_key_str(const char *text)
{
    return fm_key_bytes(text, text ? strlen(text) : 0);
}
