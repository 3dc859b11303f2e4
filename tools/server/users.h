/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users.h - who is connected, and what waits for whom
 *
 * A user has one WebSocket connection, the latest: its fiber stands under the user's name in a
 * map. Messages wait in the user's mailbox until that connection takes them out, one at a time,
 * so that those it has not begun to send wait on for its successor.
 */
#ifndef SERVER_USERS_H
#define SERVER_USERS_H

#include <stddef.h>

#include "fm/map.h"
#include "tools/server/message.h"
#include "tools/server/server.h"

struct users;
struct websocket;

/* 0 · -errno. The limits are read from options, which must outlive the users. */
int users_create(struct fm_runtime *runtime, const struct options *options,
                 struct users **ret_users);
/* Nobody may be connected any more. NULL-safe, returns NULL. */
struct users *users_destroy(struct users *users);
/* The map of connected users, borrowed. */
struct fm_map *users_map(struct users *users);

/*
 * The calling fiber becomes the user's connection. The one before it is interrupted
 * (FM_BY_REPLACE).
 *
 * websocket  to be rung when there is a message; owned by the caller until users_leave.
 * Returns    0 · FM_MAP_REPLACED · -ESHUTDOWN · -EAGAIN (max_users) · -ENOMEM
 */
int users_enter(struct users *users, const char *user, struct websocket *websocket);
/* It is no more; no effect if another has taken its place. */
void users_leave(struct users *users, const char *user, struct websocket *websocket);
/*
 * The next message for this connection, owned by the caller (message_free); NULL: none, or
 * another has taken its place.
 */
struct message *users_take(struct users *users, const char *user, struct websocket *websocket);
/* Put back what was taken and not begun: it is the next again. The message is taken over. */
void users_return(struct users *users, const char *user, struct message *message);

/* Somebody is connected and has been rung, or nobody is and the message waits. */
#define USERS_DELIVERED 1
#define USERS_QUEUED 2
/*
 * Send a text to a user. Fiber only.
 * Returns    USERS_DELIVERED · USERS_QUEUED · -ENOBUFS (the mailbox is full) · -EAGAIN
 *            (max_users) · -ENOMEM
 */
int users_send(struct users *users, const char *user, const char *text, size_t len);

/* What has come of a message to all who are connected. */
struct users_told {
    unsigned delivered;
    unsigned full; /* whose mailbox had no room */
};
/* Send a text to everybody who is connected now. Fiber only. 0 · -ENOMEM, nobody gets it */
int users_send_all(struct users *users, const char *text, size_t len,
                   struct users_told *ret_told);

/*
 * Who is connected or has messages waiting, in the order of their names: at most max of them.
 * visit runs under a lock, must not wait and must not call back.
 */
typedef void users_visit_fn(void *ctx, const char *user, bool connected, unsigned waiting);
void users_visit(struct users *users, unsigned max, users_visit_fn *visit, void *ctx);
/* How many messages have waited too long. */
unsigned long long users_expired(struct users *users);

#endif
