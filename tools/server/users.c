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
    void *tree;                 /* lock: mailboxes by user */
    unsigned count;             /* lock: of them */
    int64_t next_expiry_ns;     /* lock: no message has waited too long before this */
    unsigned long long expired; /* lock: messages that had */
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

static void mailbox_free_if_unused_locked(struct users *users, struct mailbox *mailbox)
{
    if (mailbox->owner || mailbox->count)
        return;
    tdelete(mailbox, &users->tree, compare);
    users->count--;
    free(mailbox);
}

/* What has waited too long goes; what is left came later. The mailbox stays. */
static void mailbox_expire_locked(struct users *users, struct mailbox *mailbox, int64_t now_ns)
{
    struct message *message;
    while ((message = STAILQ_FIRST(&mailbox->messages)) && message->expires_ns <= now_ns) {
        STAILQ_REMOVE_HEAD(&mailbox->messages, next);
        mailbox->count--;
        users->expired++;
        message_free(message);
    }
}

static void mailbox_put_locked(struct users *users, struct mailbox *mailbox,
                               struct message *message)
{
    STAILQ_INSERT_TAIL(&mailbox->messages, message, next);
    mailbox->count++;
    if (message->expires_ns < users->next_expiry_ns)
        users->next_expiry_ns = message->expires_ns;
}

/* ---- all mailboxes ---- */

/* They are collected first: to free one changes the tree that is walked. */
struct all {
    struct mailbox **mailboxes;
    size_t count;
};

static void collect(const void *node, VISIT visit, void *arg)
{
    struct all *all = arg;
    if (visit == postorder || visit == leaf)
        all->mailboxes[all->count++] = *(struct mailbox *const *)node;
}

/* In the order of their names, to be freed: 0 · -ENOMEM */
static int all_collect_locked(struct users *users, struct all *all)
{
    all->count = 0;
    all->mailboxes = malloc((users->count + 1) * sizeof *all->mailboxes);
    if (!all->mailboxes)
        return -ENOMEM;
    twalk_r(users->tree, collect, all);
    return 0;
}

/* Forget what has waited too long, if anything can have. Looks at every mailbox. */
static void sweep_locked(struct users *users)
{
    struct all all;
    int64_t now_ns = fm_now_ns();
    if (users->next_expiry_ns > now_ns || all_collect_locked(users, &all) < 0)
        return;
    users->next_expiry_ns = FM_NEVER;
    for (size_t i = 0; i < all.count; i++) {
        struct mailbox *mailbox = all.mailboxes[i];
        mailbox_expire_locked(users, mailbox, now_ns);
        const struct message *first = STAILQ_FIRST(&mailbox->messages);
        if (first && first->expires_ns < users->next_expiry_ns)
            users->next_expiry_ns = first->expires_ns;
        mailbox_free_if_unused_locked(users, mailbox);
    }
    free(all.mailboxes);
}

/* The user's mailbox, made if there is none: 0 · -EAGAIN · -ENOMEM */
static int mailbox_get_locked(struct users *users, const char *user,
                              struct mailbox **ret_mailbox)
{
    *ret_mailbox = mailbox_find_locked(users, user);
    if (*ret_mailbox)
        return 0;
    if (users->count >= users->options->max_users)
        sweep_locked(users);
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

/* ---- sending and taking ---- */

struct message *users_take(struct users *users, const char *user, struct websocket *websocket)
{
    struct message *message = NULL;
    pthread_mutex_lock(&users->lock);
    struct mailbox *mailbox = mailbox_find_locked(users, user);
    if (mailbox && mailbox->count)
        mailbox_expire_locked(users, mailbox, fm_now_ns());
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
    message_free(message);
    if (rung)
        websocket_ring(rung);
    websocket_unref(rung);
}

int users_send(struct users *users, const char *user, const char *bytes, size_t len)
{
    struct fm_value *text;
    int r = message_text_create(bytes, len, &text);
    if (r < 0)
        return r;
    struct message *message = message_create(text, users->options->queue_ms);
    fm_value_unref(text);
    if (!message)
        return -ENOMEM;

    struct websocket *rung = NULL;
    struct mailbox *mailbox;
    pthread_mutex_lock(&users->lock);
    r = mailbox_get_locked(users, user, &mailbox);
    if (r == 0)
        mailbox_expire_locked(users, mailbox, fm_now_ns());
    if (r == 0 && mailbox->count >= users->options->max_queued)
        r = -ENOBUFS;
    if (r == 0) {
        mailbox_put_locked(users, mailbox, message);
        rung = mailbox->owner ? websocket_ref(mailbox->owner) : NULL;
        r = rung ? USERS_DELIVERED : USERS_QUEUED;
    }
    pthread_mutex_unlock(&users->lock);
    if (r < 0)
        message_free(message);
    if (rung)
        websocket_ring(rung);
    websocket_unref(rung);
    return r;
}

/* One more for whoever is connected there: to be rung and given back; NULL: none. */
static struct websocket *deliver_locked(struct users *users, struct mailbox *mailbox,
                                        struct fm_value *text, struct users_told *told)
{
    if (!mailbox->owner)
        return NULL;
    struct message *message = mailbox->count < users->options->max_queued
                                  ? message_create(text, users->options->queue_ms)
                                  : NULL;
    if (!message) {
        told->full++;
        return NULL;
    }
    mailbox_put_locked(users, mailbox, message);
    told->delivered++;
    return websocket_ref(mailbox->owner);
}

int users_send_all(struct users *users, const char *bytes, size_t len,
                   struct users_told *ret_told)
{
    struct fm_value *text;
    struct websocket **rung = NULL;
    struct all all;
    *ret_told = (struct users_told) { 0 };
    int r = message_text_create(bytes, len, &text);
    if (r < 0)
        return r;
    pthread_mutex_lock(&users->lock);
    r = all_collect_locked(users, &all);
    if (r == 0)
        rung = calloc(all.count + 1, sizeof(struct websocket *));
    for (size_t i = 0; rung && i < all.count; i++)
        rung[i] = deliver_locked(users, all.mailboxes[i], text, ret_told);
    pthread_mutex_unlock(&users->lock);
    fm_value_unref(text);
    if (r < 0)
        return r;
    for (size_t i = 0; rung && i < all.count; i++) {
        if (rung[i])
            websocket_ring(rung[i]);
        websocket_unref(rung[i]);
    }
    r = rung ? 0 : -ENOMEM;
    free(rung);
    free(all.mailboxes);
    return r;
}

/* ---- looking ---- */

void users_visit(struct users *users, unsigned max, users_visit_fn *visit, void *ctx)
{
    struct all all;
    pthread_mutex_lock(&users->lock);
    sweep_locked(users);
    if (all_collect_locked(users, &all) == 0) {
        for (size_t i = 0; i < all.count && i < max; i++) {
            const struct mailbox *mailbox = all.mailboxes[i];
            visit(ctx, mailbox->user, mailbox->owner != NULL, mailbox->count);
        }
        free(all.mailboxes);
    }
    pthread_mutex_unlock(&users->lock);
}

unsigned long long users_expired(struct users *users)
{
    pthread_mutex_lock(&users->lock);
    unsigned long long expired = users->expired;
    pthread_mutex_unlock(&users->lock);
    return expired;
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
    users->next_expiry_ns = FM_NEVER;
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
            message_free(message);
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
