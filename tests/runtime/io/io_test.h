/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_test.h - what the tests of runtime/io share
 *
 * The body of a test is a fiber (FIBER_TEST). A test that needs somebody to wait starts a fiber and calls
 * await_wait.
 */
#ifndef TESTS_RUNTIME_IO_IO_TEST_H
#define TESTS_RUNTIME_IO_IO_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/platform/memory.h"
#include "tests/support/fibers.h"
#include "tests/support/waits.h"

/* Two ends of a local stream. */
static inline void make_pair(int fds[2])
{
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

static inline uint16_t port_of(int fd)
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    return ntohs(address.sin_port);
}

/* Two ends of a TCP connection over loopback: fds[0] accepted, fds[1] dialled. */
static inline void make_tcp(int fds[2])
{
    int listener;
    cr_assert_eq(fm_listen_tcp(NULL, 0, 16, &listener), 0);
    cr_assert_eq(fm_dial_tcp(NULL, port_of(listener), FM_NEVER, &fds[1]), 0);
    fds[0] = fm_accept(listener, NULL, NULL, FM_NEVER);
    cr_assert_geq(fds[0], 0);
    cr_assert_eq(fm_close(listener), 0);
}

static inline void close_both(const int fds[2])
{
    cr_assert_eq(fm_close(fds[0]), 0);
    cr_assert_eq(fm_close(fds[1]), 0);
}

/* One read of one byte into the fiber's exit: success with the byte, or failure with the errno. */
static inline struct fm_exit read_byte(void *arg)
{
    unsigned char byte;
    ssize_t n = fm_read((int)(intptr_t)arg, &byte, 1, FM_NEVER);
    return n < 0 ? fm_fail((int)n) : fm_ok((void *)(intptr_t)(n ? byte : -1));
}

static inline struct fm_fiber *start_reader(int fd)
{
    struct fm_fiber *fiber = start(read_byte, number(fd));
    await_wait(fiber);
    return fiber;
}

static inline uint64_t events_now(void)
{
    struct fm_runtime_stats stats;
    cr_assert_eq(fm_runtime_stats(fm_runtime_current(), &stats), 0);
    return stats.io_events;
}

/* The poller knows the socket and has told that it can be written to; nobody waits for it. */
static inline void be_registered(int fd)
{
    uint64_t before = events_now();
    struct fm_fiber *reader = start_reader(fd);
    while (events_now() == before)
        fm_yield();
    cr_assert_eq(fm_fiber_stop(reader, FM_NEVER, NULL), 0);
    fm_fiber_unref(reader);
}

static inline bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

#endif
