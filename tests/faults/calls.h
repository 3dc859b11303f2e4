/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.h - system calls that can be made to fail, to be interrupted or to do less
 *
 * The program's own read(), write() and their like stand in for the C library's, so the library
 * is the one that ships: nothing is compiled into it. They count, and pass on to the real ones.
 */
#ifndef TESTS_FAULTS_CALLS_H
#define TESTS_FAULTS_CALLS_H

#include <stdbool.h>
#include <stdint.h>

enum call_kind {
    CALL_READ,   /* read, readv, preadv2, pread, recv */
    CALL_WRITE,  /* write, writev, pwritev2, pwrite, send, sendmsg, sendfile */
    CALL_ACCEPT, /* accept4 */
    CALL_CONNECT,
    CALL_OPEN,   /* open, socket, pipe2, eventfd, signalfd, epoll_create1 */
    CALL_EPOLL,  /* epoll_ctl */
    CALL_ADVISE, /* madvise */
    CALL_SYNC,   /* fsync, fdatasync */
    CALL_SLEEP,  /* poll, futex and epoll waits: interrupted only */
    CALL_KINDS,
};

/*
 * The nth call of the kind from now on fails with this errno, and all after it if `for_ever`;
 * n = 0: none.
 */
void call_refuse(enum call_kind kind, uint64_t n, int error, bool for_ever);
/* Every second call of all kinds ends with EINTR. */
void call_interrupt(bool on);
/* Reads and writes move one byte each. */
void call_shorten(bool on);

/* The monotonic clock is two microseconds behind at every second look. */
void call_step_back(bool on);
/* How often somebody has asked for the time of day, which may be set at any time. */
uint64_t call_times_of_day(void);

/* Since the last call_refuse: how many were made, how many of them refused. */
uint64_t call_made(enum call_kind kind);
uint64_t call_refused(void);

#endif
