/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress_io_reuse.c - descriptors are closed under their readers and their numbers used again at once (F81, F82)
 *
 * A fiber opens a local stream and parks a reader on one end. Then data for the reader, the closing of his end or of the
 * other, and a new stream that takes the number and has a foreign mark ready in it, all come at once, in any order. The reader may have
 * his own mark, the end, or -EBADF, whichever came first. The foreign mark would mean that he tried again on a number that was no
 * longer his; and if nobody woke him, the program would hang.
 */
#include <errno.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fm/fm.h"
#include "runtime/fiber/fiber.h"
#include "tests/support/stress.h"

enum { MAKERS = 12 };

struct stream {
    int fd;
    uint64_t mark;
};

static _Atomic uint64_t marks_read, ended_by_close, ended_by_peer, numbers_reused;
static uint64_t rounds;

static struct fm_exit read_mark(void *arg)
{
    struct stream *stream = arg;
    uint64_t mark = 0;
    ssize_t n = fm_read(stream->fd, &mark, sizeof mark, FM_NEVER);

    if (n == sizeof mark) {
        STRESS_CHECK(mark == stream->mark, "a mark of another stream on number %d", stream->fd);
        atomic_fetch_add(&marks_read, 1);
    } else {
        STRESS_CHECK(n == 0 || n == -EBADF, "%zd", n);
        atomic_fetch_add(n == 0 ? &ended_by_peer : &ended_by_close, 1);
    }
    return fm_ok(NULL);
}

static struct fm_exit close_it(void *arg)
{
    STRESS_CHECK(fm_close((int)(intptr_t)arg) == 0, "close");
    return fm_ok(NULL);
}

static struct fm_fiber *start(fm_entry_fn *entry, void *arg)
{
    struct fm_fiber *fiber;
    STRESS_CHECK(fm_fiber_spawn(entry, arg, NULL, &fiber) == 0, "spawn");
    return fiber;
}

static void finish(struct fm_fiber *fiber)
{
    STRESS_CHECK(fm_fiber_join(fiber, FM_NEVER, NULL) == 0, "join");
    fm_fiber_unref(fiber);
}

static void make_pair(int fds[2])
{
    STRESS_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0, "%d", errno);
}

static void one_round(uint64_t *random)
{
    struct stream stream = { .mark = stress_random(random) };
    uint64_t foreign = ~stream.mark, choice = stress_random(random);
    struct fm_fiber *closer = NULL;
    int fds[2], next[2];
    bool own_end = choice & 3;

    make_pair(fds);
    stream.fd = fds[0];
    struct fm_fiber *reader = start(read_mark, &stream);
    while (fm__state_life(fm__state_read(&reader->state)) != LIFE_PARKED)
        fm_yield();

    if (choice & 4)
        closer = start(close_it, (void *)(intptr_t)fds[!own_end]);
    if (choice & 8 && own_end) {
        ssize_t n = send(fds[1], &stream.mark, sizeof stream.mark, MSG_NOSIGNAL);
        /* the closer may have been faster */
        STRESS_CHECK(n == sizeof stream.mark || (closer && errno == EPIPE), "%d", errno);
    }
    for (uint64_t yields = choice >> 4 & 15; yields > 4; yields--)
        fm_yield();
    stress_jitter(random);
    if (closer)
        finish(closer);
    else
        close_it((void *)(intptr_t)fds[!own_end]);

    make_pair(next);
    STRESS_CHECK(write(next[0], &foreign, sizeof foreign) == sizeof foreign, "%d", errno);
    STRESS_CHECK(write(next[1], &foreign, sizeof foreign) == sizeof foreign, "%d", errno);
    if (own_end && (next[0] == fds[0] || next[1] == fds[0]))
        atomic_fetch_add(&numbers_reused, 1);
    finish(reader);
    close_it((void *)(intptr_t)fds[own_end]);
    close_it((void *)(intptr_t)next[0]);
    close_it((void *)(intptr_t)next[1]);
}

static struct fm_exit make_streams(void *arg)
{
    uint64_t random = (stress_seed() ^ ((uintptr_t)arg + 1) * UINT64_C(0x9E3779B97F4A7C15)) | 1;

    for (uint64_t round = 0; round < rounds; round++)
        one_round(&random);
    return fm_ok(NULL);
}

static struct fm_exit all(void *arg)
{
    struct fm_fiber *makers[MAKERS];
    (void)arg;
    for (uintptr_t i = 0; i < MAKERS; i++)
        makers[i] = start(make_streams, (void *)i);
    for (int i = 0; i < MAKERS; i++)
        finish(makers[i]);
    return fm_ok(NULL);
}

int main(void)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;

    stress_seed();
    rounds = stress_rounds(4000);
    config.worker_count = 4;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    STRESS_CHECK(fm_runtime_create(&config, &runtime) == 0, "create");
    STRESS_CHECK(fm_runtime_run(runtime, all, NULL, NULL) == 0, "run");
    fm_runtime_destroy(runtime);
    printf("%llu marks read; %llu readers ended by close, %llu by their peer; %llu numbers reused at once\n",
           (unsigned long long)marks_read, (unsigned long long)ended_by_close, (unsigned long long)ended_by_peer,
           (unsigned long long)numbers_reused);
    return 0;
}
