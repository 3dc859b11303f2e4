/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.c - the clients, and what they do
 */
#include "tests/faults/load.h"

#include <errno.h>
#include <fcntl.h>
#include <fm/fm.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CLIENTS = 8 };

struct client {
    uint64_t turn;
    char key[16];
};

static struct {
    struct fm_runtime *runtime;
    struct fm_fiber *all;
    struct fm_map *map;
    struct sockaddr_un address;
    int listener;
    _Atomic uint64_t pieces, refused;
    _Atomic uint64_t faults; /* odd while there are any */
    atomic_bool limps, over;
} load;

/* For a wait that ends unless something is lost, or refused. */
static int64_t soon(void)
{
    return fm_after_ms(atomic_load(&load.faults) % 2 ? 20 : 30000);
}

/* ---- the pieces: 0, or what was refused; nothing is kept ---- */

static struct fm_exit give(void *arg)
{
    return fm_ok(arg);
}

static struct fm_exit until_stopped(void *arg)
{
    (void)arg;
    return fm_fail(fm_never());
}

static int run_by_key(struct client *self)
{
    struct fm_key key = fm_key_str(self->key);
    int r = fm_map_run(load.map, key, until_stopped, NULL, NULL, NULL);
    if (r < 0)
        return r;
    int replaced = fm_map_run(load.map, key, until_stopped, NULL, NULL, NULL);
    r = fm_map_remove(load.map, key, FM_NEVER);
    return replaced < 0 ? replaced : r < 0 ? r : 0;
}

static int end_of(struct fm_fiber *fiber)
{
    struct fm_exit exit;
    int r = fm_fiber_join(fiber, FM_NEVER, &exit);
    fm_fiber_unref(fiber);
    return r < 0 ? r : exit.kind == FM_SUCCESS ? 0 : exit.kind == FM_FAILURE ? exit.code : -EIO;
}

static int spawn_named(struct client *self)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    options.name = "has a name";
    options.stack_bytes = 16384u << self->turn % 7;
    int r = fm_fiber_spawn(give, NULL, &options, &fiber);
    return r < 0 ? r : end_of(fiber);
}

static int pass_on(struct client *self)
{
    struct fm_channel *channel;
    void *value;
    int r = fm_channel_create(1, NULL, &channel);
    if (r < 0)
        return r;
    r = fm_channel_send(channel, self, FM_NEVER);
    if (r == 0)
        r = fm_channel_recv(channel, FM_NEVER, &value);
    fm_channel_destroy(channel);
    return r;
}

static struct fm_exit read_one(void *fd)
{
    char byte;
    ssize_t n = fm_read((int)(intptr_t)fd, &byte, 1, soon());
    return n == 1 ? fm_ok(NULL) : fm_fail(n < 0 ? (int)n : -EPIPE);
}

static int talk(struct client *self)
{
    struct fm_fiber *reader;
    int ends[2];
    (void)self;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    int r = fm_fiber_spawn(read_one, (void *)(intptr_t)ends[0], NULL, &reader);
    if (r == 0) {
        fm_yield();
        ssize_t n = fm_write(ends[1], "x", 1, soon());
        r = end_of(reader);
        if (n < 0)
            r = (int)n;
    }
    fm_close(ends[0]);
    fm_close(ends[1]);
    return r;
}

static int connect_to_us(struct client *self)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    char byte;
    (void)self;
    if (fd < 0)
        return -errno;
    int r = fm_connect(fd, (struct sockaddr *)&load.address, sizeof load.address, soon());
    if (r == 0) {
        ssize_t n = fm_read(fd, &byte, 1, soon());
        r = n == 1 ? 0 : n < 0 ? (int)n : -EPIPE;
    }
    fm_close(fd);
    return r;
}

static int open_null(struct client *self)
{
    int fd;
    (void)self;
    int r = fm_open("/dev/null", O_RDONLY, 0, FM_NEVER, &fd);
    return r < 0 ? r : fm_close(fd);
}

static const struct {
    const char *name;
    int (*act)(struct client *self);
} pieces[] = {
    { "run by key", run_by_key }, { "spawn with a name", spawn_named },
    { "pass on", pass_on },       { "talk", talk },
    { "connect", connect_to_us }, { "open", open_null },
};
enum { PIECES = sizeof pieces / sizeof *pieces };

static struct fm_exit work(void *arg)
{
    struct client *self = arg;
    for (; !atomic_load(&load.over); self->turn++) {
        uint64_t before = atomic_load(&load.faults);
        int r = pieces[self->turn % PIECES].act(self);
        if (r < 0 && before % 2 == 0 && atomic_load(&load.faults) == before) {
            fprintf(stderr, "%s: %s, though nothing is refused\n",
                    pieces[self->turn % PIECES].name, fm_strerror(r));
            abort();
        }
        if (r < 0) {
            atomic_fetch_add(&load.refused, 1);
            fm_yield();
        } else if (!(atomic_load(&load.limps) && before && self->turn % 4 == 0)) {
            atomic_fetch_add(&load.pieces, 1);
        }
    }
    return fm_ok(NULL);
}

/* One byte for each who comes. */
static struct fm_exit answer(void *arg)
{
    (void)arg;
    for (;;) {
        int fd = fm_accept(load.listener, NULL, NULL, FM_NEVER);
        if (fd == -ECANCELED)
            return fm_interrupted();
        if (fd < 0) {
            fm_sleep_ms(1);
            continue;
        }
        fm_write(fd, "y", 1, soon());
        fm_close(fd);
    }
}

void load_expect(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "not so: %s\n", what);
    abort();
}

static struct fm_exit everybody(void *arg)
{
    static struct client clients[CLIENTS];
    struct fm_fiber *fibers[CLIENTS], *answerer;
    (void)arg;
    load_expect(fm_map_create(NULL, &load.map) == 0, "there is a map");
    load_expect(fm_listen_unix(load.address.sun_path, &load.listener) == 0, "somebody listens");
    load_expect(fm_fiber_spawn(answer, NULL, NULL, &answerer) == 0, "somebody answers");
    for (int i = 0; i < CLIENTS; i++) {
        clients[i].turn = (uint64_t)i;
        snprintf(clients[i].key, sizeof clients[i].key, "client %d", i);
        load_expect(fm_fiber_spawn(work, &clients[i], NULL, &fibers[i]) == 0, "somebody works");
    }
    for (int i = 0; i < CLIENTS; i++)
        load_expect(end_of(fibers[i]) == 0, "everybody comes to an end");
    fm_fiber_stop(answerer, FM_NEVER, NULL);
    fm_fiber_unref(answerer);
    fm_close(load.listener);
    load.map = fm_map_destroy(load.map);
    return fm_ok(NULL);
}

/* ---- from outside ---- */

void load_begin(const char *folder)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    config.worker_count = 2;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    load.address.sun_family = AF_UNIX;
    snprintf(load.address.sun_path, sizeof load.address.sun_path, "%s/socket", folder);
    atomic_store(&load.over, false);
    atomic_store(&load.faults, 0);
    load_expect(fm_runtime_create(&config, &load.runtime) == 0, "there is a runtime");
    load_expect(fm_runtime_spawn(load.runtime, everybody, NULL, NULL, &load.all) == 0,
                "there is a load");
}

void load_end(void)
{
    struct fm_runtime_stats stats;
    atomic_store(&load.over, true);
    load_expect(end_of(load.all) == 0, "the load ends");
    load_expect(fm_runtime_shutdown(load.runtime, FM_NEVER) == 0, "the runtime ends");
    load_expect(fm_runtime_stats(load.runtime, &stats) == 0 && stats.fibers_live == 0,
                "nobody is left");
    fm_runtime_destroy(load.runtime);
    unlink(load.address.sun_path);
}

void load_dump(void)
{
    fm_runtime_dump(load.runtime, STDERR_FILENO);
}

void load_faults(bool come)
{
    load_expect(atomic_fetch_add(&load.faults, 1) % 2 != come, "faults come and go");
}

void load_limps(void)
{
    atomic_store(&load.limps, true);
}

uint64_t load_done(void)
{
    return atomic_load(&load.pieces);
}

uint64_t load_refused(void)
{
    return atomic_load(&load.refused);
}
