/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth.c - who may ask: bearer of a token, or whoever is on this machine
 *
 * What is kept and compared are digests, all of one length: neither the time of a comparison
 * nor a core file shows the token.
 *
 * Owns        the digest; nothing changes after auth_read.
 */
#include "tools/server/auth.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { TOKEN_BYTES_MIN = 16, TOKEN_BYTES_MAX = 200, DIGEST_BYTES = 32 };

struct auth {
    unsigned char digest[DIGEST_BYTES];
};

static int digest_of(const char *token, size_t len, unsigned char digest[DIGEST_BYTES])
{
    if (EVP_Digest(token, len, digest, NULL, EVP_sha256(), NULL))
        return 0;
    ERR_clear_error();
    return -ENOMEM;
}

/* The length of the line without its end, or -EINVAL if it can be no token. */
static int token_len(const char *line)
{
    size_t len = strcspn(line, "\r\n");
    if (len < TOKEN_BYTES_MIN || len > TOKEN_BYTES_MAX)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        if (line[i] < '!' || line[i] > '~')
            return -EINVAL;
    }
    return (int)len;
}

int auth_read(const char *path, struct auth **ret_auth)
{
    char line[TOKEN_BYTES_MAX + 3];
    FILE *file = fopen(path, "re");
    if (!file)
        return -errno;
    if (!fgets(line, sizeof line, file))
        line[0] = '\0';
    fclose(file);
    int len = token_len(line);
    struct auth *auth = len < 0 ? NULL : calloc(1, sizeof *auth);
    int r = len < 0 ? len : !auth ? -ENOMEM : digest_of(line, (size_t)len, auth->digest);
    OPENSSL_cleanse(line, sizeof line);
    if (r < 0) {
        free(auth);
        return r;
    }
    *ret_auth = auth;
    return 0;
}

struct auth *auth_free(struct auth *auth)
{
    free(auth);
    return NULL;
}

bool auth_passes(const struct auth *auth, const struct http_request *request)
{
    static const char scheme[] = "bearer ";
    const struct http_header *header = &request->headers[HEADER_AUTHORIZATION];
    unsigned char digest[DIGEST_BYTES];
    if (header->count != 1 || header->cut ||
        strncasecmp(header->text, scheme, sizeof scheme - 1))
        return false;
    const char *token = header->text + sizeof scheme - 1;
    token += strspn(token, " ");
    return digest_of(token, strlen(token), digest) == 0 &&
           CRYPTO_memcmp(digest, auth->digest, sizeof digest) == 0;
}

bool auth_is_own_name(const char *host, size_t len)
{
    static const char local[] = ".localhost";
    const size_t tail = sizeof local - 1;
    if (len && host[0] == '[')
        return true;
    const char *port = memchr(host, ':', len);
    if (port)
        len = (size_t)(port - host);
    return !memchr(host, '.', len) || strspn(host, "0123456789.") >= len ||
           (len > tail && !strncasecmp(host + len - tail, local, tail));
}

bool auth_is_local(const struct sockaddr *address)
{
    if (address->sa_family == AF_UNIX)
        return true;
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)address;
        return ntohl(four->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
    if (address->sa_family != AF_INET6)
        return false;
    return IN6_IS_ADDR_LOOPBACK(&six->sin6_addr) ||
           (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr) && six->sin6_addr.s6_addr[12] == 127);
}

bool auth_is_loopback(const char *address)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    if (getaddrinfo(address, NULL, &hints, &found) != 0)
        return false;
    bool all = found != NULL;
    for (const struct addrinfo *at = found; at && all; at = at->ai_next)
        all = auth_is_local(at->ai_addr);
    if (found)
        freeaddrinfo(found);
    return all;
}
