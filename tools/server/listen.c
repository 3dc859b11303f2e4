/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen.c - the door: accepts connections until it is closed
 *
 * Owns        the listening socket and the places: a connection takes one and gives it back at
 *             its end. When there is none left, clients wait in the kernel's backlog.
 */
#include "tools/server/listen.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tools/server/connection.h"
#include "tools/server/tls.h"

enum {
    BACKOFF_FIRST_MS = 10,
    BACKOFF_MOST_MS = 500,
};

struct listener {
    struct server *server;
    struct door door;
    struct fm_fiber *fiber;
    struct fm_semaphore *slots;
    bool failed;
};

static void place_back(struct listener *listener)
{
    fm_semaphore_release(listener->slots, 1);
}

/* What is over before it began, or has gone wrong with this one client only. */
static bool next_may_succeed(int r)
{
    switch (r) {
    case -ECONNABORTED:
    case -ECONNRESET:
    case -EINTR:
    case -EPROTO:
    case -EPERM:
    case -ENETDOWN:
    case -ENOPROTOOPT:
    case -EHOSTDOWN:
    case -ENONET:
    case -EHOSTUNREACH:
    case -EOPNOTSUPP:
    case -ENETUNREACH:
    case -ETIMEDOUT: return true;
    default: return false;
    }
}

static bool exhausted(int r)
{
    return r == -EMFILE || r == -ENFILE || r == -ENOBUFS || r == -ENOMEM || r == -EAGAIN;
}

/* One connection: 0 · -errno */
static int accept_one(struct listener *listener, uint64_t number)
{
    int fd = fm_accept(listener->door.fd, NULL, NULL, FM_NEVER);
    if (fd < 0)
        return fd;
    struct server *server = listener->server;
    int r = server->tls ? tls_start(server, fd, number, listener->slots)
                        : connection_start(server, fd, fd, number, listener->slots);
    if (r < 0)
        close(fd);
    return r;
}

static struct fm_exit accept_entry(void *arg)
{
    struct listener *listener = arg;
    int64_t backoff_ms = BACKOFF_FIRST_MS;
    uint64_t number = 0;
    int r;
    while ((r = fm_semaphore_acquire(listener->slots, 1, FM_NEVER)) == 0) {
        r = accept_one(listener, number++);
        if (r == 0) {
            backoff_ms = BACKOFF_FIRST_MS;
            continue;
        }
        place_back(listener);
        if (next_may_succeed(r))
            continue;
        if (!exhausted(r))
            break;
        /* descriptors or memory are out: clients wait, and so do we, until others have ended */
        if (backoff_ms == BACKOFF_FIRST_MS)
            fprintf(stderr, "fibermap-serve: cannot accept for now: %s\n", fm_strerror(r));
        r = fm_sleep_ms(backoff_ms);
        if (r < 0)
            break;
        backoff_ms = backoff_ms * 2 < BACKOFF_MOST_MS ? backoff_ms * 2 : BACKOFF_MOST_MS;
    }
    if (r != -ECANCELED) {
        listener->failed = true;
        fprintf(stderr, "fibermap-serve: cannot accept any more: %s\n", fm_strerror(r));
        kill(getpid(), SIGTERM);
    }
    fm_close(listener->door.fd);
    return fm_fail(r);
}

/* Listening sockets are opened by fibers only. */
static struct fm_exit open_entry(void *arg)
{
    struct listener *listener = arg;
    struct server *server = listener->server;
    int r = door_open(&listener->door, &server->options, server->inherited_fd);
    if (r == 0 && listener->door.is_public && !server->auth) {
        fm_close(listener->door.fd);
        door_remove(&listener->door, &server->options);
        r = -ENOKEY;
    }
    /* browsers reach TCP alone, and behind TLS the name is in the certificate */
    server->own_names_only = !server->auth && !server->tls && listener->door.port;
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

int listener_start(struct server *server, struct listener **ret_listener)
{
    struct listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return -ENOMEM;
    listener->server = server;
    int r = fm_semaphore_create(server->options.max_connections, &listener->slots);
    if (r < 0)
        goto free_listener;
    struct fm_exit opened;
    r = fm_runtime_run(server->runtime, open_entry, listener, &opened);
    if (r == 0 && opened.kind != FM_SUCCESS)
        r = opened.code;
    if (r < 0)
        goto destroy_slots;
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    options.name = "accept";
    r = fm_runtime_spawn(server->runtime, accept_entry, listener, &options, &listener->fiber);
    if (r < 0)
        goto close_door;
    *ret_listener = listener;
    return 0;

close_door:
    fm_close(listener->door.fd);
    door_remove(&listener->door, &server->options);
destroy_slots:
    fm_semaphore_destroy(listener->slots);
free_listener:
    free(listener);
    return r;
}

void listener_stop(struct listener *listener)
{
    fm_fiber_stop(listener->fiber, FM_NEVER, NULL);
    door_remove(&listener->door, &listener->server->options);
}

const struct door *listener_door(const struct listener *listener)
{
    return &listener->door;
}

bool listener_failed(const struct listener *listener)
{
    return listener->failed;
}

struct listener *listener_destroy(struct listener *listener)
{
    if (!listener)
        return NULL;
    fm_fiber_unref(listener->fiber);
    fm_semaphore_destroy(listener->slots);
    free(listener);
    return NULL;
}
