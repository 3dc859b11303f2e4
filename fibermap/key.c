/*
 * key.c - reading and hashing keys
 *
 * Which hash, and why, stands with the figures in fibermap/README.md.
 */
#include "fibermap/key.h"

#include "runtime/platform/check.h"

__extension__ typedef unsigned __int128 uint128;

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
        uint64_t word = fm__load_word(p + 8 * i);
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
    FM_ASSERT(p || !len);
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

uint64_t fm__hash_fast(uint64_t k0, uint64_t k1, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return fold(fold(a ^ k0, b ^ k1) ^ UINT64_C(0xe7037ed1a0b428db), fold(c ^ k1, d ^ k0) ^ k0);
}

/* ---- keys ---- */

void fm__hash_seed_init(struct hash_seed *seed, uint64_t from, enum hash_kind kind)
{
    FM_ASSERT(kind == HASH_AES || kind == HASH_FAST || kind == HASH_SIP);
    uint64_t *aes = &seed->aes.round[0][0][0];
    uint64_t purpose[2] = { UINT64_C(0x70616d7265626966), 0 }; /* and a count */

    if (kind == HASH_AES && !fm__aes_usable())
        kind = HASH_SIP;
    seed->kind = kind;
    seed->k0 = fm__siphash_24(from, ~from, purpose, sizeof purpose);
    purpose[1]++;
    seed->k1 = fm__siphash_24(from, ~from, purpose, sizeof purpose);
    for (size_t i = 0; i < sizeof seed->aes / sizeof *aes; i++) {
        purpose[1]++;
        aes[i] = fm__siphash_24(from, ~from, purpose, sizeof purpose);
    }
}

/* Of more than 24 bytes. */
static uint64_t fast_long(const struct hash_seed *seed, const unsigned char *p, size_t len)
{
    FM_ASSERT(len > 8 * KEY_FIRST);
    uint64_t h = len;
    for (size_t i = 0; i < len; i += 32)
        h = fm__hash_fast(seed->k0, seed->k1, h ^ fm__load_word(p + fm__word_at(len, i / 8)),
                          fm__load_word(p + fm__word_at(len, i / 8 + 1)),
                          fm__load_word(p + fm__word_at(len, i / 8 + 2)),
                          fm__load_word(p + fm__word_at(len, i / 8 + 3)));
    return h;
}

static uint64_t hash(const struct map_key *key, const struct hash_seed *seed)
{
    FM_ASSERT(key->len && key->len <= FM_KEY_MAX);
    bool is_short = key->len <= 8 * KEY_FIRST;
    const uint64_t *word = key->word;

    switch ((enum hash_kind)seed->kind) {
    case HASH_AES:
        return is_short ? fm__aes_hash_4(&seed->aes, word[0], word[1], word[2], key->len)
                        : fm__aes_hash(&seed->aes, key->data, key->len, key->len, 0);
    case HASH_FAST:
        return is_short ? fm__hash_fast(seed->k0, seed->k1, word[0], word[1], word[2], key->len)
                        : fast_long(seed, key->data, key->len);
    case HASH_SIP: break;
    }
    return fm__siphash_13(seed->k0, seed->k1, key->data, key->len);
}

bool fm__key_read_any(struct map_key *key, const struct hash_seed *seed, struct fm_key given)
{
    if (__builtin_expect(!given.data || given.len - 1 >= FM_KEY_MAX, 0))
        return false;
    const unsigned char *p = given.data;
    size_t len = given.len;

    key->data = p;
    key->len = (uint32_t)len;
    key->words = KEY_FIRST;
    if (__builtin_expect(len - 8 <= 16, 1)) {
        key->word[0] = fm__load_word(p);
        key->word[1] = fm__load_word(p + fm__word_at(len, 1));
        key->word[2] = fm__load_word(p + fm__word_at(len, 2));
    } else if (len < 8) {
        key->word[0] = fm__load_tail(p, len);
        key->word[1] = key->word[2] = 0;
    } else {
        key->words = fm__key_words(len);
        for (uint32_t i = 0; len <= KEY_INLINE && i < key->words; i++)
            key->word[i] = fm__load_word(p + fm__word_at(len, i));
    }
    key->head = fm__key_head(hash(key, seed), len);
    FM_ASSERT(fm__key_head_length(key->head) == len);
    return true;
}

struct fm_key fm_key_str(const char *text)
{
    return fm_key_bytes(text, text ? strlen(text) : 0);
}
