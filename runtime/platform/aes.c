/*
 * aes.c - a keyed hash out of the processor's AES rounds
 */
#include "runtime/platform/aes.h"

#include "runtime/platform/check.h"

#if defined __x86_64__

#include <immintrin.h>

#define WITH_AES __attribute__((target("aes,sse2")))

bool fm__aes_usable(void)
{
    return __builtin_cpu_supports("aes");
}

static inline WITH_AES __m128i pair(uint64_t low, uint64_t high)
{
    return _mm_set_epi64x((long long)high, (long long)low);
}

static inline WITH_AES __m128i key_of(const struct aes_key *key, int block, int round)
{
    return _mm_load_si128((const __m128i *)key->round[block][round]);
}

static inline WITH_AES __m128i rounds(const struct aes_key *key, int block, __m128i x)
{
    x = _mm_xor_si128(x, key_of(key, block, 0));
    for (int i = 1; i <= AES_ROUNDS; i++)
        x = _mm_aesenc_si128(x, key_of(key, block, i));
    return x;
}

static inline WITH_AES uint64_t low_word(__m128i x)
{
    return (uint64_t)_mm_cvtsi128_si64(x);
}

WITH_AES uint64_t fm__aes_hash_4(const struct aes_key *key, uint64_t a, uint64_t b, uint64_t c,
                                 uint64_t d)
{
    __m128i first = rounds(key, 0, pair(a, b)), second = rounds(key, 1, pair(c, d));
    return low_word(_mm_xor_si128(first, second));
}

WITH_AES uint64_t fm__aes_hash(const struct aes_key *key, const void *data, size_t len,
                               uint64_t a, uint64_t b)
{
    const char *p = data, *last = p + len - 16;
    __m128i x = _mm_setzero_si128();
    for (; p < last; p += 16)
        x = rounds(key, 0, _mm_xor_si128(x, _mm_loadu_si128((const __m128i *)(const void *)p)));
    x = rounds(key, 0, _mm_xor_si128(x, _mm_loadu_si128((const __m128i *)(const void *)last)));
    return low_word(rounds(key, 1, _mm_xor_si128(x, pair(a, b))));
}

WITH_AES void fm__aes_round(uint64_t block[2], const uint64_t round_key[2])
{
    __m128i x = pair(block[0], block[1]);
    x = _mm_aesenc_si128(x, pair(round_key[0], round_key[1]));
    _mm_storeu_si128((__m128i *)block, x);
}

#else

bool fm__aes_usable(void)
{
    return false;
}

uint64_t fm__aes_hash_4(const struct aes_key *key, uint64_t a, uint64_t b, uint64_t c,
                        uint64_t d)
{
    FM_BUG("no AES instructions");
}

uint64_t fm__aes_hash(const struct aes_key *key, const void *data, size_t len, uint64_t a,
                      uint64_t b)
{
    FM_BUG("no AES instructions");
}

void fm__aes_round(uint64_t block[2], const uint64_t round_key[2])
{
    FM_BUG("no AES instructions");
}

#endif
