/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work.c - the kinds of work a job can do
 *
 * sleep waits; hash and primes compute, in slices of about a millisecond between which they let
 * others run and learn whether they have been interrupted; fail fails.
 *
 * Knows not   keys, maps, HTTP.
 */
#include "tools/server/work.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "fm/fiber.h"
#include "tools/server/json.h"
#include "tools/server/text.h"

enum {
    SLEEP_STEPS = 10, /* between which it tells how far it has come */
    ROUNDS_PER_SLICE = 2000,
    SIEVE_BYTES = 32 << 10, /* one flag for each odd number of a segment */
    TEXT_BYTES_MAX = 64 << 10,
};

struct work_kind {
    const char *name;
    int (*read)(struct work *work, struct json_object *from, const char **ret_reason);
    struct fm_exit (*run)(struct work *work, const struct progress *progress);
    void (*describe)(const struct work *work, struct json_object *to);
};

/* ---- parameters ---- */

static int wrong(const char **ret_reason, const char *reason)
{
    *ret_reason = reason;
    return -EINVAL;
}

/* ---- sleep ---- */

static int sleep_read(struct work *work, struct json_object *from, const char **ret_reason)
{
    int64_t ms = 1000;
    if (json_number(from, "ms", 0, 86400000, &ms) < 0)
        return wrong(ret_reason, "ms is a whole number from 0 to 86400000");
    work->amount = (uint64_t)ms;
    return 0;
}

static struct fm_exit sleep_run(struct work *work, const struct progress *progress)
{
    int64_t start_ns = fm_now_ns(), total_ns = (int64_t)work->amount * 1000000;
    int r = 0;
    for (int step = 1; step < SLEEP_STEPS && work->amount >= SLEEP_STEPS && r == 0; step++) {
        r = fm_sleep_until_ns(start_ns + total_ns / SLEEP_STEPS * step);
        if (r == 0)
            progress->report(progress->ctx, (uint64_t)step, SLEEP_STEPS);
    }
    if (r == 0)
        r = fm_sleep_until_ns(start_ns + total_ns);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static void sleep_describe(const struct work *work, struct json_object *to)
{
    json_object_object_add(to, "ms", json_object_new_uint64(work->amount));
}

/* ---- hash ---- */

/*
 * SHA-256 of bytes, with a context for use over and over. OpenSSL's errors are the thread's:
 * cleared before any switch.
 */
static int sha256(EVP_MD_CTX *ctx, const void *bytes, size_t len, unsigned char digest[32])
{
    if (EVP_DigestInit_ex(ctx, EVP_MD_CTX_get0_md(ctx) ? NULL : EVP_sha256(), NULL) &&
        EVP_DigestUpdate(ctx, bytes, len) && EVP_DigestFinal_ex(ctx, digest, NULL))
        return 0;
    ERR_clear_error();
    return -ENOMEM;
}

static int hash_read(struct work *work, struct json_object *from, const char **ret_reason)
{
    int64_t rounds = 1;
    if (json_number(from, "rounds", 1, 1000000000, &rounds) < 0)
        return wrong(ret_reason, "rounds is a whole number from 1 to 1000000000");
    struct json_object *text = NULL;
    json_object_object_get_ex(from, "text", &text);
    size_t len = text ? (size_t)json_object_get_string_len(text) : 0;
    if (text && (!json_object_is_type(text, json_type_string) || len > TEXT_BYTES_MAX))
        return wrong(ret_reason, "text is a string of at most 65536 bytes");
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int r = ctx ? sha256(ctx, text ? json_object_get_string(text) : "", len, work->digest)
                : -ENOMEM;
    EVP_MD_CTX_free(ctx);
    work->amount = (uint64_t)rounds;
    return r < 0 ? wrong(ret_reason, "out of memory") : 0;
}

static struct fm_exit hash_run(struct work *work, const struct progress *progress)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx)
        return fm_fail(-ENOMEM);
    int r = 0;
    /* the first round was the text's */
    for (uint64_t round = 1; round < work->amount && r == 0; round++) {
        r = sha256(ctx, work->digest, sizeof work->digest, work->digest);
        if (r == 0 && round % ROUNDS_PER_SLICE == 0) {
            progress->report(progress->ctx, round, work->amount);
            r = fm_yield();
        }
    }
    EVP_MD_CTX_free(ctx);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static void hash_describe(const struct work *work, struct json_object *to)
{
    char hex[2 * sizeof work->digest + 1];
    text_hex(work->digest, sizeof work->digest, hex);
    json_object_object_add(to, "rounds", json_object_new_uint64(work->amount));
    json_object_object_add(to, "sha256", json_object_new_string(hex));
}

/* ---- primes ---- */

static int primes_read(struct work *work, struct json_object *from, const char **ret_reason)
{
    int64_t below = 1000000;
    if (json_number(from, "below", 0, 100000000000, &below) < 0)
        return wrong(ret_reason, "below is a whole number from 0 to 100000000000");
    work->amount = (uint64_t)below;
    return 0;
}

/*
 * The odd primes whose squares are below `below`, by trial division: for 10^11 they are 27292.
 * 0 with *ret_primes to be freed · -ENOMEM · -ECANCELED
 */
static int small_primes(uint64_t below, uint32_t **ret_primes, size_t *ret_count)
{
    uint32_t *primes = NULL;
    size_t count = 0, capacity = 0;
    int r = 0;
    for (uint32_t n = 3; (uint64_t)n * n < below && r == 0; n += 2) {
        bool prime = true;
        for (size_t i = 0; i < count && primes[i] * primes[i] <= n && prime; i++)
            prime = n % primes[i] != 0;
        if (!prime)
            continue;
        if (count == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            uint32_t *more = realloc(primes, capacity * sizeof *primes);
            if (!more) {
                r = -ENOMEM;
                break;
            }
            primes = more;
        }
        primes[count++] = n;
        if (count % 1024 == 0)
            r = fm_yield();
    }
    if (r < 0) {
        free(primes);
        return r;
    }
    *ret_primes = primes;
    *ret_count = count;
    return 0;
}

/* Count the primes among the `len` odd numbers from `first` on; flags has room for len. */
static uint64_t segment_count(unsigned char *flags, uint64_t first, size_t len,
                              const uint32_t *primes, size_t prime_count)
{
    memset(flags, 1, len);
    for (size_t i = 0; i < prime_count; i++) {
        uint64_t p = primes[i], multiple = p * p;
        if (multiple >= first + 2 * len)
            break;
        if (multiple < first) {
            multiple = (first + p - 1) / p * p;
            if (multiple % 2 == 0)
                multiple += p;
        }
        for (uint64_t at = (multiple - first) / 2; at < len; at += p)
            flags[at] = 0;
    }
    uint64_t count = 0;
    for (size_t i = 0; i < len; i++)
        count += flags[i];
    return count;
}

static struct fm_exit primes_run(struct work *work, const struct progress *progress)
{
    uint32_t *primes = NULL;
    size_t prime_count = 0;
    int r = small_primes(work->amount, &primes, &prime_count);
    if (r < 0)
        return fm_fail(r);
    unsigned char *flags = malloc(SIEVE_BYTES);
    if (!flags)
        r = -ENOMEM;
    work->count = work->amount > 2 ? 1 : 0; /* 2; from here on odd numbers only */
    for (uint64_t first = 3; first < work->amount && r == 0;
         first += 2 * (uint64_t)SIEVE_BYTES) {
        uint64_t len = (work->amount - first + 1) / 2;
        work->count += segment_count(flags, first, len < SIEVE_BYTES ? len : SIEVE_BYTES,
                                     primes, prime_count);
        progress->report(progress->ctx, first, work->amount);
        r = fm_yield();
    }
    free(flags);
    free(primes);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static void primes_describe(const struct work *work, struct json_object *to)
{
    json_object_object_add(to, "below", json_object_new_uint64(work->amount));
    json_object_object_add(to, "primes", json_object_new_uint64(work->count));
}

/* ---- fail ---- */

static int fail_read(struct work *work, struct json_object *from, const char **ret_reason)
{
    int64_t code = 1, ms = 0;
    if (json_number(from, "code", INT32_MIN, INT32_MAX, &code) < 0 || code == 0)
        return wrong(ret_reason, "code is a whole number of 32 bits, not 0");
    if (json_number(from, "ms", 0, 86400000, &ms) < 0)
        return wrong(ret_reason, "ms is a whole number from 0 to 86400000");
    work->code = (int32_t)code;
    work->amount = (uint64_t)ms;
    return 0;
}

static struct fm_exit fail_run(struct work *work, const struct progress *progress)
{
    int r = work->amount ? fm_sleep_ms((int64_t)work->amount) : 0;
    return fm_fail(r < 0 ? r : work->code);
}

static void fail_describe(const struct work *work, struct json_object *to) {}

/* ---- all of them ---- */

static const struct work_kind kinds[] = {
    { "sleep", sleep_read, sleep_run, sleep_describe },
    { "hash", hash_read, hash_run, hash_describe },
    { "primes", primes_read, primes_run, primes_describe },
    { "fail", fail_read, fail_run, fail_describe },
};

int work_read(struct work *work, struct json_object *from, const char **ret_reason)
{
    memset(work, 0, sizeof *work);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (!json_says(from, "kind", kinds[i].name))
            continue;
        work->kind = &kinds[i];
        return kinds[i].read(work, from, ret_reason);
    }
    return wrong(ret_reason, "kind is one of sleep, hash, primes, fail");
}

const char *work_kind_name(const struct work *work)
{
    return work->kind->name;
}

struct fm_exit work_run(struct work *work, const struct progress *progress)
{
    return work->kind->run(work, progress);
}

void work_describe(const struct work *work, struct json_object *to)
{
    work->kind->describe(work, to);
}
