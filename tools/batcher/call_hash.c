/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call_hash.c - SHA-256 of each file, in the lines of sha256sum
 */
#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>

#include "tools/batcher/call_work.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256; /* fetched once, for that takes longer than a short text */

static void fetch(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
}

static int begin(struct call_work *work)
{
    pthread_once(&once, fetch);
    work->state = sha256 ? EVP_MD_CTX_new() : NULL;
    return work->state ? 0 : -ENOMEM;
}

/* A name with a newline or a backslash in it has them escaped, and a backslash before all. */
static void put_name(FILE *out, const unsigned char *sum, unsigned len, const char *path)
{
    static const char digits[] = "0123456789abcdef";
    if (strpbrk(path, "\\\n"))
        fputc('\\', out);
    for (unsigned i = 0; i < len; i++) {
        putc_unlocked(digits[sum[i] >> 4], out);
        putc_unlocked(digits[sum[i] & 15], out);
    }
    fputs("  ", out);
    for (; *path; path++)
        if (*path == '\n')
            fputs("\\n", out);
        else if (*path == '\\')
            fputs("\\\\", out);
        else
            fputc(*path, out);
    fputc('\n', out);
}

static int take(struct call_work *work, const struct piece *piece)
{
    EVP_MD_CTX *context = work->state;
    if (piece->begins && !EVP_DigestInit_ex2(context, sha256, NULL))
        return -ENOMEM;
    if (!EVP_DigestUpdate(context, piece->bytes, piece->len))
        return -ENOMEM;
    if (!piece->ends)
        return 0;
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned len;
    if (!EVP_DigestFinal_ex(context, sum, &len))
        return -ENOMEM;
    put_name(work->out, sum, len, piece->path ? piece->path : "-");
    return 0;
}

static int end(struct call_work *work, bool all)
{
    (void)all;
    EVP_MD_CTX_free(work->state);
    return 0;
}

const struct call_kind_work call_hash = { begin, take, end };
