/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handshake.c - the request by which a connection becomes a WebSocket
 *
 * Knows not   frames.
 */
#include "tools/server/handshake.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

#include "tools/server/users.h"
#include "tools/server/websocket.h"

/*
 * Sec-WebSocket-Accept, which proves that the key was understood: 0 · -EINVAL (no key of 16
 * bytes) · -ENOMEM
 */
static int prove(const struct http_header *key, char accept[32])
{
    static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    unsigned char decoded[18], digest[20];
    char text[24 + sizeof magic];
    if (key->count != 1 || key->len != 24 || strcmp(key->text + 22, "==") ||
        EVP_DecodeBlock(decoded, (const unsigned char *)key->text, 24) != sizeof decoded)
        return -EINVAL;
    memcpy(text, key->text, 24);
    memcpy(text + 24, magic, sizeof magic);
    /* OpenSSL's errors are the thread's: read, or cleared, before any switch */
    if (!EVP_Digest(text, sizeof text - 1, digest, NULL, EVP_sha1(), NULL)) {
        ERR_clear_error();
        return -ENOMEM;
    }
    EVP_EncodeBlock((unsigned char *)accept, digest, sizeof digest);
    return 0;
}

void handshake_accept(struct exchange *x, const char *user)
{
    const struct http_request *request = x->request;
    const struct http_header *version = &request->headers[HEADER_WEBSOCKET_VERSION];
    char accept[32];
    if (!request->upgrade_to_websocket || version->count != 1 || strcmp(version->text, "13")) {
        answer_error(x, 426, "WebSocket, version 13");
        return;
    }
    int r = prove(&request->headers[HEADER_WEBSOCKET_KEY], accept);
    if (r == -EINVAL) {
        answer_error(x, 400, "Sec-WebSocket-Key is 16 bytes in base64");
        return;
    }
    struct websocket *ws = NULL;
    if (r == 0)
        r = websocket_create(x->server, user, &ws);
    if (r == 0)
        r = users_enter(x->server->users, user, ws);
    if (r < 0) {
        websocket_unref(ws);
        answer_error(x, 503, r == -EAGAIN ? "too many users" : fm_strerror(r));
        return;
    }
    server_count(&x->server->upgraded);
    x->websocket = ws;
    answer_switch(x, accept);
}
