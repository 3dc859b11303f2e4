/* SPDX-License-Identifier: Apache-2.0 */
/* test_map_key.c - keys read, hashed, compared; the hashes against their published vectors */
#include <stdlib.h>

#include "fibermap/key.h"
#include "tests/support/test.h"

#define K0 UINT64_C(0x0706050403020100)
#define K1 UINT64_C(0x0f0e0d0c0b0a0908)

/* vectors_sip64 of the authors' reference implementation: message n is the bytes 0 .. n - 1 */
static const uint64_t siphash_24[64] = {
    UINT64_C(0x726fdb47dd0e0e31), UINT64_C(0x74f839c593dc67fd), UINT64_C(0x0d6c8009d9a94f5a),
    UINT64_C(0x85676696d7fb7e2d), UINT64_C(0xcf2794e0277187b7), UINT64_C(0x18765564cd99a68d),
    UINT64_C(0xcbc9466e58fee3ce), UINT64_C(0xab0200f58b01d137), UINT64_C(0x93f5f5799a932462),
    UINT64_C(0x9e0082df0ba9e4b0), UINT64_C(0x7a5dbbc594ddb9f3), UINT64_C(0xf4b32f46226bada7),
    UINT64_C(0x751e8fbc860ee5fb), UINT64_C(0x14ea5627c0843d90), UINT64_C(0xf723ca908e7af2ee),
    UINT64_C(0xa129ca6149be45e5), UINT64_C(0x3f2acc7f57c29bdb), UINT64_C(0x699ae9f52cbe4794),
    UINT64_C(0x4bc1b3f0968dd39c), UINT64_C(0xbb6dc91da77961bd), UINT64_C(0xbed65cf21aa2ee98),
    UINT64_C(0xd0f2cbb02e3b67c7), UINT64_C(0x93536795e3a33e88), UINT64_C(0xa80c038ccd5ccec8),
    UINT64_C(0xb8ad50c6f649af94), UINT64_C(0xbce192de8a85b8ea), UINT64_C(0x17d835b85bbb15f3),
    UINT64_C(0x2f2e6163076bcfad), UINT64_C(0xde4daaaca71dc9a5), UINT64_C(0xa6a2506687956571),
    UINT64_C(0xad87a3535c49ef28), UINT64_C(0x32d892fad841c342), UINT64_C(0x7127512f72f27cce),
    UINT64_C(0xa7f32346f95978e3), UINT64_C(0x12e0b01abb051238), UINT64_C(0x15e034d40fa197ae),
    UINT64_C(0x314dffbe0815a3b4), UINT64_C(0x027990f029623981), UINT64_C(0xcadcd4e59ef40c4d),
    UINT64_C(0x9abfd8766a33735c), UINT64_C(0x0e3ea96b5304a7d0), UINT64_C(0xad0c42d6fc585992),
    UINT64_C(0x187306c89bc215a9), UINT64_C(0xd4a60abcf3792b95), UINT64_C(0xf935451de4f21df2),
    UINT64_C(0xa9538f0419755787), UINT64_C(0xdb9acddff56ca510), UINT64_C(0xd06c98cd5c0975eb),
    UINT64_C(0xe612a3cb9ecba951), UINT64_C(0xc766e62cfcadaf96), UINT64_C(0xee64435a9752fe72),
    UINT64_C(0xa192d576b245165a), UINT64_C(0x0a8787bf8ecb74b2), UINT64_C(0x81b3e73d20b49b6f),
    UINT64_C(0x7fa8220ba3b2ecea), UINT64_C(0x245731c13ca42499), UINT64_C(0xb78dbfaf3a8d83bd),
    UINT64_C(0xea1ad565322a1a0b), UINT64_C(0x60e61c23a3795013), UINT64_C(0x6606d7e446282b93),
    UINT64_C(0x6ca4ecb15c5f91e1), UINT64_C(0x9f626da15c9625f3), UINT64_C(0xe51b38608ef25f57),
    UINT64_C(0x958a324ceb064572),
};

/* The vectors of Rust's core library for SipHash-1-3, the same messages; bytes as printed there. */
static const char *const siphash_13[64] = {
    "dcc40f055801acab", "93ca577df39bf4c9", "4dd4c74d029bcb82", "fbf7dde7b80af88b",
    "2883d388605775cf", "673b53492fd5f9de", "a7229fc5502b0dc5", "4011b19b987d92d3",
    "8e9a298d11959036", "e43d066cb38ea425", "7f09ff92ee85de79", "52c34df9c118c170",
    "a2d9b457b184a378", "a7ff29120c766f30", "345df9c011a15a60", "5699512a6dd820d3",
    "668b907d1add4fcc", "0cd8db639068f29c", "3ee673b49c38fc8f", "1c7d298de59d1ff2",
    "40e0cca6462fdcc0", "44f8452bfeab92b9", "2e8720a39b7bfe7f", "23c1e6da7f0e5a52",
    "8c9c3467b2ae64f4", "79095b702859cd45", "a51399cae3353e3a", "353bde4a4ec71da9",
    "0dd06cef02ed0bfb", "f4e1b14ab43cd988", "63e6c543d6110f54", "bcd1218c1fdd7023",
    "0db6a7166c7b1581", "bff98f7ae5b9544d", "3e752a1f78129f75", "916b18bfbea3a1ce",
    "0662a2add308f52c", "5730c3a32d1c10b6", "a1363aae9674f4b3", "9283107b54576b62",
    "3115e4993236d2c1", "44d91a3f92c17c66", "258813c8fe4f7065", "a64989c2d180f224",
    "6b87f8faed1ccac2", "9621049ffc4b16c2", "23d6b168939c6ea1", "fd14518b9c16fb49",
    "464c07dff843319f", "b386cc1224affdc6", "8f09520ad149af7e", "9a2f299d5513f31c",
    "121ff4a2dd304ac4", "d01ea74389e9fa36", "e6bcf0734cb38f31", "80e9a77036bf7aa2",
    "756d3c24dbc0bcb4", "1315b7fd52d8f823", "088a7da64d5f038f", "48f1e8b7e5d09cd8",
    "ee44a6f7bce6f4f6", "f237180fd89ac5ae", "e094664b15f6b2c3", "a8b3bbb76290199d",
};

/* Eight bytes in hex, the first the lowest. */
static uint64_t little_endian(const char *hex)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) {
        char byte[3] = { hex[2 * i], hex[2 * i + 1], 0 };
        value = value << 8 | strtoul(byte, NULL, 16);
    }
    return value;
}

/* A copy of n bytes that ends where its allocation ends: one byte read too far is found. */
static unsigned char *message(size_t n)
{
    unsigned char *bytes = malloc(n ? n : 1);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (unsigned char)i;
    return bytes;
}

TEST(map_key, siphash_gives_the_published_vectors)
{
    for (size_t n = 0; n < 64; n++) {
        unsigned char *bytes = message(n);
        cr_expect_eq(fm__siphash_24(K0, K1, bytes, n), siphash_24[n], "2-4, %zu bytes", n);
        cr_expect_eq(fm__siphash_13(K0, K1, bytes, n), little_endian(siphash_13[n]),
                     "1-3, %zu bytes", n);
        free(bytes);
    }
}

TEST(map_key, key_is_hashed_as_siphash_1_3_at_every_length)
{
    struct hash_seed seed = { .kind = HASH_SIP, .k0 = K0, .k1 = K1 };
    for (size_t n = 1; n <= FM_KEY_MAX; n += n < 100 ? 1 : 333) {
        unsigned char *bytes = message(n);
        struct map_key key;
        cr_assert(fm__key_read(&key, &seed, fm_key_bytes(bytes, n)));
        uint64_t hash = fm__siphash_13(K0, K1, bytes, n);
        cr_expect_eq(key.head >> KEY_LENGTH_BITS, hash >> KEY_LENGTH_BITS, "%zu bytes", n);
        cr_expect_eq(fm__key_head_length(key.head), n);
        free(bytes);
    }
}

/* FIPS 197, appendix B: what the first round makes of the state after the first key was added. */
TEST(map_key, aes_round_is_the_standards)
{
    static const unsigned char start[16] = {
        0x19, 0x3d, 0xe3, 0xbe, 0xa0, 0xf4, 0xe2, 0x2b,
        0x9a, 0xc6, 0x8d, 0x2a, 0xe9, 0xf8, 0x48, 0x08,
    };
    static const unsigned char round_key[16] = {
        0xa0, 0xfa, 0xfe, 0x17, 0x88, 0x54, 0x2c, 0xb1,
        0x23, 0xa3, 0x39, 0x39, 0x2a, 0x6c, 0x76, 0x05,
    };
    static const unsigned char after[16] = {
        0xa4, 0x9c, 0x7f, 0xf2, 0x68, 0x9f, 0x35, 0x2b,
        0x6b, 0x5b, 0xea, 0x43, 0x02, 0x6a, 0x50, 0x49,
    };
    uint64_t block[2], key[2];
    if (!fm__aes_usable())
        cr_skip("no AES instructions here");
    memcpy(block, start, 16);
    memcpy(key, round_key, 16);
    fm__aes_round(block, key);
    cr_expect_arr_eq(block, after, 16);
}

/* Four rounds by hand for each block, and the sum. */
TEST(map_key, aes_hash_is_four_rounds_of_each_block_added)
{
    struct hash_seed seed;
    uint64_t words[4] = { 11, 12, 13, 14 }, sum = 0;
    if (!fm__aes_usable())
        cr_skip("no AES instructions here");
    fm__hash_seed_init(&seed, 9, HASH_AES);
    cr_assert_eq(seed.kind, HASH_AES);
    for (int block = 0; block < 2; block++) {
        uint64_t x[2] = { words[2 * block] ^ seed.aes.round[block][0][0],
                          words[2 * block + 1] ^ seed.aes.round[block][0][1] };
        for (int round = 1; round <= AES_ROUNDS; round++)
            fm__aes_round(x, seed.aes.round[block][round]);
        sum ^= x[0];
    }
    cr_expect_eq(fm__aes_hash_4(&seed.aes, 11, 12, 13, 14), sum);
}

static const enum hash_kind kinds[] = { HASH_SIP, HASH_AES, HASH_FAST };
enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* Every byte of a key of every length counts, and no byte beyond it. */
TEST(map_key, every_byte_and_the_length_change_the_hash)
{
    for (int kind = 0; kind < KINDS; kind++) {
        struct hash_seed seed;
        fm__hash_seed_init(&seed, 3, kinds[kind]);
        for (size_t n = 1; n <= 300; n += n < 70 ? 1 : 23) {
            unsigned char *bytes = message(n);
            struct map_key key, other;
            cr_assert(fm__key_read(&key, &seed, fm_key_bytes(bytes, n)));
            for (size_t i = 0; i < n; i++) {
                bytes[i] ^= 0x10;
                cr_assert(fm__key_read(&other, &seed, fm_key_bytes(bytes, n)));
                cr_expect_neq(key.head, other.head, "hash %d, byte %zu of %zu", kind, i, n);
                bytes[i] ^= 0x10;
            }
            cr_assert(fm__key_read(&other, &seed, fm_key_bytes(bytes, n)));
            cr_expect_eq(key.head, other.head);
            free(bytes);
        }
        unsigned char zeros[64] = { 0 };
        for (size_t n = 1; n < 64; n++) {
            struct map_key key, longer;
            cr_assert(fm__key_read(&key, &seed, fm_key_bytes(zeros, n)));
            cr_assert(fm__key_read(&longer, &seed, fm_key_bytes(zeros, n + 1)));
            cr_expect_neq(key.head >> KEY_LENGTH_BITS, longer.head >> KEY_LENGTH_BITS,
                          "hash %d, %zu zeros", kind, n);
        }
    }
}

/* F56 */
TEST(map_key, what_is_no_key_is_refused_without_being_read)
{
    struct hash_seed seed = { .kind = HASH_SIP };
    struct map_key key;
    char byte = 'x';
    cr_expect_not(fm__key_read(&key, &seed, fm_key_bytes(NULL, 0)));
    cr_expect_not(fm__key_read(&key, &seed, fm_key_bytes(NULL, 5)));
    cr_expect_not(fm__key_read(&key, &seed, fm_key_bytes(&byte, 0)));
    cr_expect_not(fm__key_read(&key, &seed, fm_key_bytes(&byte, FM_KEY_MAX + 1)));
    cr_expect_not(fm__key_read(&key, &seed, fm_key_bytes(&byte, SIZE_MAX)));
    cr_expect_not(fm__key_read(&key, &seed, fm_key_str(NULL)));
    cr_expect_not(fm__key_read(&key, &seed, fm_key_str("")));
    cr_expect(fm__key_read(&key, &seed, fm_key_bytes(&byte, 1)));
}

TEST(map_key, words_say_all_bytes)
{
    struct hash_seed seed = { .kind = HASH_SIP };
    for (size_t n = 1; n <= FM_KEY_MAX; n += n < 200 ? 1 : 97) {
        unsigned char *bytes = message(n), *back = malloc(n);
        struct map_key key;
        cr_assert(fm__key_read(&key, &seed, fm_key_bytes(bytes, n)));
        cr_assert_eq(key.words, fm__key_words(n));
        memset(back, 0xee, n);
        for (uint32_t i = 0; i < key.words; i++)
            fm__put_word(back, n, i, fm__key_word(&key, i));
        cr_expect_arr_eq(back, bytes, n, "%zu bytes", n);
        free(bytes);
        free(back);
    }
}

TEST(map_key, keys_that_differ_in_trailing_zeros_differ)
{
    struct hash_seed seed = { .kind = HASH_SIP };
    struct map_key one, two;
    cr_assert(fm__key_read(&one, &seed, fm_key_bytes("a\0", 1)));
    cr_assert(fm__key_read(&two, &seed, fm_key_bytes("a\0", 2)));
    cr_expect_neq(one.head, two.head);
}

TEST(map_key, same_seed_gives_same_secret_and_another_seed_another)
{
    struct hash_seed a, b, c;
    fm__hash_seed_init(&a, 5, HASH_AES);
    fm__hash_seed_init(&b, 5, HASH_AES);
    fm__hash_seed_init(&c, 6, HASH_AES);
    cr_expect(a.k0 == b.k0 && a.k1 == b.k1 && memcmp(&a.aes, &b.aes, sizeof a.aes) == 0);
    cr_expect(a.k0 != c.k0 && a.k1 != c.k1 && memcmp(&a.aes, &c.aes, sizeof a.aes) != 0);
}

/* F55, as far as numbers can show it: no bit of the bucket or stripe is a stranger to the key's last byte. */
TEST(map_key, all_hashes_spread_counting_keys_evenly)
{
    enum { BUCKETS = 256, KEYS = 256 * 64 };
    for (int kind = 0; kind < KINDS; kind++) {
        struct hash_seed seed;
        unsigned low[BUCKETS] = { 0 }, high[BUCKETS] = { 0 }, worst = 0;
        fm__hash_seed_init(&seed, 77, kinds[kind]);
        for (uint64_t i = 0; i < KEYS; i++) {
            struct map_key key;
            fm__key_read(&key, &seed, fm_key_bytes(&i, sizeof i));
            low[(key.head >> KEY_LENGTH_BITS) % BUCKETS]++;
            high[key.head >> 56]++;
        }
        for (int i = 0; i < BUCKETS; i++) {
            worst = low[i] > worst ? low[i] : worst;
            worst = high[i] > worst ? high[i] : worst;
        }
        cr_expect_lt(worst, 64 + 6 * 8, "%u keys in a bucket that should have 64", worst);
    }
}
