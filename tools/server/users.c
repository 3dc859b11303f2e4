/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users.c - who is connected, and what waits for whom
 *
 * Owns        the mailboxes: one for each user that is connected or has messages waiting.
 * Knows not   frames, sockets.
 * Invariant   a mailbox's owner is the connection whose fiber was set under the user's name
 *             last: both are changed under one lock, or two that connect at once could end with
 *             the map showing one and the messages going to the other.
 * Together    all calls may run at once, but for create and destroy. The lock is a thread's: it
 *             is held for a few steps and never across a switch; fm_map_set, called under it,
 *             never waits.
 */
#include "tools/server/users.h"

#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "tools/server/websocket.h"

struct mailbox {
    const char *user; /* behind the mailbox, or the caller's in what is only looked up */
    struct websocket *owner;
    STAILQ_HEAD(messages, message) messages; /* the oldest first */
    unsigned count;
};

struct users {
    const struct options *options;
    struct fm_map *map;
    pthread_mutex_t lock;
    void *tree;     /* lock: mailboxes by user */
    unsigned count; /* lock: of them */
};

/* ---- mailboxes ---- */

static int compare(const void *left, const void *right)
{
    return strcmp(((const struct mailbox *)left)->user, ((const struct mailbox *)right)->user);
}

static struct mailbox *mailbox_find_locked(struct users *users, const char *user)
{
    struct mailbox wanted = { .user = user };
    struct mailbox **node = tfind(&wanted, &users->tree, compare);
    return node ? *node : NULL;
}

/* The user's mailbox, made if there is none: 0 · -EAGAIN · -ENOMEM */
static int mailbox_get_locked(struct users *users, const char *user,
                              struct mailbox **ret_mailbox)
{
    *ret_mailbox = mailbox_find_locked(users, user);
    if (*ret_mailbox)
        return 0;
    if (users->count >= users->options->max_users)
        return -EAGAIN;
    size_t size = strlen(user) + 1;
    struct mailbox *mailbox = calloc(1, sizeof *mailbox + size);
    if (!mailbox)
        return -ENOMEM;
    mailbox->user = memcpy(mailbox + 1, user, size);
    STAILQ_INIT(&mailbox->messages);
    if (!tsearch(mailbox, &users->tree, compare)) {
        free(mailbox);
        return -ENOMEM;
    }
    users->count++;
    *ret_mailbox = mailbox;
    return 0;
}

static void mailbox_free_if_unused_locked(struct users *users, struct mailbox *mailbox)
{
    if (mailbox->owner || mailbox->count)
        return;
    tdelete(mailbox, &users->tree, compare);
    users->count--;
    free(mailbox);
}

/* ---- connections ---- */

int users_enter(struct users *users, const char *user, struct websocket *websocket)
{
    struct mailbox *mailbox;
    pthread_mutex_lock(&users->lock);
    int r = mailbox_get_locked(users, user, &mailbox);
    if (r == 0) {
        r = fm_map_set(users->map, fm_key_str(user), fm_fiber_self(), NULL);
        if (r >= 0)
            mailbox->owner = websocket;
        mailbox_free_if_unused_locked(users, mailbox);
    }
    pthread_mutex_unlock(&users->lock);
    return r;
}

void users_leave(struct users *users, const char *user, struct websocket *websocket)
{
    pthread_mutex_lock(&users->lock);
    struct mailbox *mailbox = mailbox_find_locked(users, user);
    if (mailbox && mailbox->owner == websocket) {
        mailbox->owner = NULL;
        mailbox_free_if_unused_locked(users, mailbox);
    }
    pthread_mutex_unlock(&users->lock);
}

/* ---- messages ---- */

struct message *users_take(struct users *users, const char *user, struct websocket *websocket)
{
    struct message *message = NULL;
    pthread_mutex_lock(&users->lock);
    struct mailbox *mailbox = mailbox_find_locked(users, user);
    if (mailbox && mailbox->owner == websocket && mailbox->count) {
        message = STAILQ_FIRST(&mailbox->messages);
        STAILQ_REMOVE_HEAD(&mailbox->messages, next);
        mailbox->count--;
    }
    pthread_mutex_unlock(&users->lock);
    return message;
}

void users_return(struct users *users, const char *user, struct message *message)
{
    struct websocket *rung = NULL;
    struct mailbox *mailbox;
    pthread_mutex_lock(&users->lock);
    if (mailbox_get_locked(users, user, &mailbox) == 0) {
        STAILQ_INSERT_HEAD(&mailbox->messages, message, next);
        mailbox->count++;
        message = NULL;
        rung = mailbox->owner ? websocket_ref(mailbox->owner) : NULL;
    }
    pthread_mutex_unlock(&users->lock);
    free(message);
    if (rung)
        websocket_ring(rung);
    websocket_unref(rung);
}

int users_send(struct users *users, const char *user, const char *text, size_t len)
{
    struct message *message = malloc(sizeof *message + len);
    if (!message)
        return -ENOMEM;
    message->len = len;
    if (len)
        memcpy(message->text, text, len);

    struct websocket *rung = NULL;
    struct mailbox *mailbox;
    pthread_mutex_lock(&users->lock);
    int r = mailbox_get_locked(users, user, &mailbox);
    if (r == 0 && mailbox->count >= users->options->max_queued)
        r = -ENOBUFS;
    if (r == 0) {
        STAILQ_INSERT_TAIL(&mailbox->messages, message, next);
        mailbox->count++;
        rung = mailbox->owner ? websocket_ref(mailbox->owner) : NULL;
        r = rung ? USERS_DELIVERED : USERS_QUEUED;
    }
    pthread_mutex_unlock(&users->lock);
    if (r < 0)
        free(message);
    if (rung)
        websocket_ring(rung);
    websocket_unref(rung);
    return r;
}

/* ---- making and ending ---- */

int users_create(struct fm_runtime *runtime, const struct options *options,
                 struct users **ret_users)
{
    struct users *users = calloc(1, sizeof *users);
    if (!users)
        return -ENOMEM;
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    config.runtime = runtime;
    config.name = "users";
    int r = fm_map_create(&config, &users->map);
    if (r < 0) {
        free(users);
        return r;
    }
    pthread_mutex_init(&users->lock, NULL);
    users->options = options;
    *ret_users = users;
    return 0;
}

struct users *users_destroy(struct users *users)
{
    if (!users)
        return NULL;
    users->map = fm_map_destroy(users->map);
    while (users->tree) {
        /* the tree's root points to its mailbox first, as tsearch(3) promises of every node */
        struct mailbox *mailbox = *(struct mailbox **)users->tree;
        while (!STAILQ_EMPTY(&mailbox->messages)) {
            struct message *message = STAILQ_FIRST(&mailbox->messages);
            STAILQ_REMOVE_HEAD(&mailbox->messages, next);
            free(message);
        }
        tdelete(mailbox, &users->tree, compare);
        free(mailbox);
    }
    pthread_mutex_destroy(&users->lock);
    free(users);
    return NULL;
}

struct fm_map *users_map(struct users *users)
{
    return users->map;
}
