/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls.h - connections that are encrypted
 */
#ifndef SERVER_TLS_H
#define SERVER_TLS_H

#include "fm/sync.h"
#include "tools/server/server.h"

struct tls;

/*
 * Read the chain of certificates and the key, in PEM. Thread only.
 * Returns    0 · -EINVAL, with the reason on standard error · -ENOMEM
 */
int tls_create(const char *cert_file, const char *key_file, struct tls **ret_tls);
/* NULL-safe, returns NULL. */
struct tls *tls_destroy(struct tls *tls);

/* As connection_start: for a socket behind which the client speaks TLS. */
int tls_start(struct server *server, int fd, uint64_t number, struct fm_semaphore *slots);

#endif
