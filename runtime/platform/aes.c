/*
 * aes.c - a keyed hash out of the processor's AES rounds
 */
#include "runtime/platform/aes.h"

#include "runtime/platform/check.h"

#if defined __x86_64__

#include <string.h>

bool fm__aes_usable(void)
{
    return __builtin_cpu_supports("aes");
}

static aes_block load(const void *p)
{
    aes_block block;
    memcpy(&block, p, sizeof block);
    return block;
}

uint64_t fm__aes_hash(const struct aes_key *key, const void *data, size_t len, uint64_t a,
                      uint64_t b)
{
    FM_ASSERT(len >= 16);
    const char *p = data, *last = p + len - 16;
    aes_block x = { 0, 0 };
    for (; p < last; p += 16)
        x = fm__aes_rounds(key, 0, x ^ load(p));
    x = fm__aes_rounds(key, 0, x ^ load(last));
    return fm__aes_rounds(key, 1, x ^ (aes_block) { a, b })[0];
}

void fm__aes_round(uint64_t block[2], const uint64_t round_key[2])
{
    aes_block x = load(block);
    __asm__("aesenc %1, %0" : "+x"(x) : "x"(load(round_key)));
    memcpy(block, &x, sizeof x);
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
