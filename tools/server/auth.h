/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth.h - who may ask: bearer of a token, or whoever is on this machine
 */
#ifndef SERVER_AUTH_H
#define SERVER_AUTH_H

#include <stdbool.h>
#include <sys/socket.h>

#include "tools/server/http.h"

struct auth;

/*
 * Read the token: the first line of a file, 16 to 200 characters from ! to ~. Thread only.
 * Returns    0 · -EINVAL no such line · -ENOMEM · -errno of the file
 */
int auth_read(const char *path, struct auth **ret_auth);
/* NULL-safe, returns NULL. */
struct auth *auth_free(struct auth *auth);

/* Does the request bear the token? In a time that tells nothing of how much of it is right. */
bool auth_passes(const struct auth *auth, const struct http_request *request);

/*
 * Does the host, with its port, name this machine however it is looked up? An address, a name
 * without a point, and localhost do: what they lead to no site on the net can choose.
 */
bool auth_is_own_name(const char *host, size_t len);
/* Can only who is on this machine come from there? */
bool auth_is_local(const struct sockaddr *address);
/*
 * Is every address that this one names on this machine only? Resolves, and waits for it; thread
 * only. One that cannot be resolved is not.
 */
bool auth_is_loopback(const char *address);

#endif
