/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen.c - the door: accepts connections until it is closed
 *
 * Owns        the listening socket and the places: a connection takes one and gives it back at
 *             its end. When there is none left, clients wait in the kernel's backlog.
 */
#include "tools/server/listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/server/connection.h"

enum {
    BACKLOG = 1024,
    BACKOFF_FIRST_MS = 10,
    BACKOFF_MOST_MS = 500,
};

struct listener {
    struct server *server;
    int fd;
    unsigned port;
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
    int fd = fm_accept(listener->fd, NULL, NULL, FM_NEVER);
    if (fd < 0)
        return fd;
    int r = connection_start(listener->server, fd, number, listener->slots);
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
    fm_close(listener->fd);
    return fm_fail(r);
}

static unsigned port_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        return 0;
    if (address.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
    return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

/* fm_listen_tcp is for fibers only. */
static struct fm_exit open_entry(void *arg)
{
    struct listener *listener = arg;
    const struct options *options = &listener->server->options;
    int r = fm_listen_tcp(options->address, (uint16_t)options->port, BACKLOG, &listener->fd);
    if (r < 0)
        return fm_fail(r);
    listener->port = port_of(listener->fd);
    return fm_ok(NULL);
}

int listener_start(struct server *server, struct listener **ret_listener, unsigned *ret_port)
{
    struct listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return -ENOMEM;
    listener->server = server;
    listener->fd = -1;
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
        goto close_fd;
    *ret_listener = listener;
    *ret_port = listener->port;
    return 0;

close_fd:
    fm_close(listener->fd);
destroy_slots:
    fm_semaphore_destroy(listener->slots);
free_listener:
    free(listener);
    return r;
}

void listener_stop(struct listener *listener)
{
    fm_fiber_stop(listener->fiber, FM_NEVER, NULL);
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
