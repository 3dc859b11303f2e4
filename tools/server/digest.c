/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest.c - the digest of a body of any size
 */
#include "tools/server/digest.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "tools/server/body.h"
#include "tools/server/json.h"
#include "tools/server/text.h"

/* All of the body: 0 · as body_read · -ENOMEM */
static int digest_body(struct exchange *x, EVP_MD_CTX *ctx, uint64_t *ret_bytes)
{
    const char *piece;
    ssize_t n;
    *ret_bytes = 0;
    while ((n = body_read(x, &piece)) > 0) {
        if (!EVP_DigestUpdate(ctx, piece, (size_t)n))
            return -ENOMEM;
        *ret_bytes += (uint64_t)n;
    }
    return (int)n;
}

void digest_answer(struct exchange *x, const char *name)
{
    unsigned char digest[32];
    char text[2 * sizeof digest + 1];
    uint64_t bytes;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int r = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) ? digest_body(x, ctx, &bytes)
                                                              : -ENOMEM;
    if (r == 0 && !EVP_DigestFinal_ex(ctx, digest, NULL))
        r = -ENOMEM;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error(); /* OpenSSL's errors are the thread's */
    if (r == 0) {
        struct json_object *object = json_object_new_object();
        text_hex(digest, sizeof digest, text);
        if (object) {
            json_add_number(object, "bytes", bytes);
            json_add_text(object, "sha256", text);
        }
        answer_json(x, 200, object);
        return;
    }
    const char *reason = "out of memory";
    int status = r == -ENOMEM ? 503 : body_problem(x, r, &reason);
    answer_error(x, status, reason);
}
