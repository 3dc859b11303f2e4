/*
 * aes.h - a keyed hash out of the processor's AES rounds
 *
 * Two blocks of 16 bytes go through four rounds each, under round keys of their own, and are
 * added. Four rounds under independent secret keys send two different blocks to a given
 * difference with a probability of at most 2^-113 (Keliher and Sui, "Exact maximum expected
 * differential and linear probability for two-round AES", IET Information Security 2007;
 * Minematsu and Tsunoo, FSE 2006, build authenticators on it). No block, and no number that
 * comes out, is ever shown to anybody.
 *
 * x86-64 with AES-NI; elsewhere it is not usable, and callers take another hash.
 */
#ifndef FM_RUNTIME_PLATFORM_AES_H
#define FM_RUNTIME_PLATFORM_AES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { AES_ROUNDS = 4 };

/* Secret, random; as made by the caller. [block][0] is added before the first round. */
struct aes_key {
    _Alignas(16) uint64_t round[2][AES_ROUNDS + 1][2];
};

/* Whether this processor has the instructions; the others may be called only if it does. */
bool fm__aes_usable(void);

#if defined __x86_64__
typedef unsigned long long aes_block __attribute__((vector_size(16)));

/* The instruction by hand: the compiler inlines its own into functions for AES alone. */
static inline aes_block fm__aes_rounds(const struct aes_key *key, int block, aes_block x)
{
    const aes_block *round = (const aes_block *)(const void *)key->round[block];
    x ^= round[0];
    for (int i = 1; i <= AES_ROUNDS; i++)
        __asm__("aesenc %1, %0" : "+x"(x) : "xm"(round[i]));
    return x;
}

/* Of 32 bytes. */
static inline uint64_t fm__aes_hash_4(const struct aes_key *key, uint64_t a, uint64_t b,
                                      uint64_t c, uint64_t d)
{
    return (fm__aes_rounds(key, 0, (aes_block) { a, b }) ^
            fm__aes_rounds(key, 1, (aes_block) { c, d }))[0];
}
#else
uint64_t fm__aes_hash_4(const struct aes_key *key, uint64_t a, uint64_t b, uint64_t c,
                        uint64_t d);
#endif
/* Of `len` bytes, 16 or more. The length is not mixed in: a, b are two more words that are. */
uint64_t fm__aes_hash(const struct aes_key *key, const void *data, size_t len, uint64_t a,
                      uint64_t b);
/* One round, as FIPS 197 has it: for the test. */
void fm__aes_round(uint64_t block[2], const uint64_t round_key[2]);

#endif
