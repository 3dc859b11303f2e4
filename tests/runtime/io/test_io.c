/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_io.c - bytes in and out: waiting, being woken, giving up, closing
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sched.h>

#include "runtime/io/quiet.h"
#include "tests/runtime/io/io_test.h"
#include "tests/runtime/io/storm.h"

/* ---- moving bytes ---- */

FIBER_TEST(io, read_waits_for_what_another_fiber_writes)
{
    int fds[2];
    make_pair(fds);
    struct fm_fiber *reader = start_reader(fds[0]);
    cr_assert_eq(fm_write(fds[1], "x", 1, FM_NEVER), 1);
    cr_assert_eq((intptr_t)finish(reader).value, 'x');
    close_both(fds);
}

FIBER_TEST(io, who_cancels_the_thread_of_a_fiber_changes_nothing)
{
    int fds[2];
    char byte;
    make_pair(fds);
    cr_assert_eq(pthread_cancel(pthread_self()), 0);
    cr_assert_eq(write(fds[1], "x", 1), 1); /* where a thread would end */
    cr_assert_eq(fm_read(fds[0], &byte, 1, FM_NEVER), 1);
    close_both(fds);
}

FIBER_TEST(io, read_returns_0_at_the_end)
{
    int fds[2];
    make_pair(fds);
    struct fm_fiber *reader = start_reader(fds[0]);
    cr_assert_eq(fm_close(fds[1]), 0);
    cr_assert_eq((intptr_t)finish(reader).value, -1);
    cr_assert_eq(fm_close(fds[0]), 0);
}

FIBER_TEST(io, nothing_to_transfer_waits_for_nothing)
{
    int fds[2];
    char byte;
    make_tcp(fds);
    cr_assert_eq(fm_read(fds[0], &byte, 1, 0), -ETIMEDOUT);
    cr_assert_eq(fm_read(fds[0], &byte, 0, FM_NEVER), 0);
    cr_assert_eq(fm_read_full(fds[0], &byte, 0, FM_NEVER, NULL), 0);
    cr_assert_eq(fm_write_full(fds[0], &byte, 0, FM_NEVER, NULL), 0);
    close_both(fds);
}

static struct fm_exit echo(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buffer[512];
    for (;;) {
        ssize_t n = fm_read(fd, buffer, sizeof buffer, FM_NEVER);
        if (n <= 0)
            return n < 0 ? fm_fail((int)n) : fm_ok(NULL);
        n = fm_write_full(fd, buffer, (size_t)n, FM_NEVER, NULL);
        if (n < 0)
            return fm_fail((int)n);
    }
}

enum { ECHO_ROUNDS = 50, ECHO_PAIRS = 64 };

static struct fm_exit speak(void *arg)
{
    int fd = (int)(intptr_t)arg;
    uint64_t sent, got;
    for (uint64_t i = 0; i < ECHO_ROUNDS; i++) {
        sent = i * UINT64_C(0x9E3779B97F4A7C15) + (uint64_t)fd;
        if (fm_write(fd, &sent, sizeof sent, FM_NEVER) != sizeof sent ||
            fm_read_full(fd, &got, sizeof got, FM_NEVER, NULL) != sizeof got || got != sent)
            return fm_fail(-EIO);
    }
    return fm_ok(NULL);
}

static void echo_over(void (*make)(int fds[2]))
{
    static int fds[ECHO_PAIRS][2];
    struct fm_fiber *echoes[ECHO_PAIRS], *speakers[ECHO_PAIRS];
    for (int i = 0; i < ECHO_PAIRS; i++) {
        make(fds[i]);
        echoes[i] = start(echo, number(fds[i][0]));
        speakers[i] = start(speak, number(fds[i][1]));
    }
    for (int i = 0; i < ECHO_PAIRS; i++) {
        cr_assert_eq(finish(speakers[i]).kind, FM_SUCCESS);
        cr_assert_eq(fm_close(fds[i][1]), 0);
        cr_assert_eq(finish(echoes[i]).kind, FM_SUCCESS);
        cr_assert_eq(fm_close(fds[i][0]), 0);
    }
}

FIBER_TEST(io, many_fibers_echo_over_local_sockets)
{
    echo_over(make_pair);
}

FIBER_TEST(io, many_fibers_echo_over_tcp)
{
    echo_over(make_tcp);
}

enum { BIG = 10 << 20 };

static struct fm_exit read_slowly(void *arg)
{
    int fd = (int)(intptr_t)arg;
    size_t total = 0;
    unsigned char *buffer = malloc(70000);
    for (size_t round = 0; total < BIG; round++) {
        ssize_t n = fm_read(fd, buffer, round % 7 == 0 ? 1 : round % 3 == 0 ? 70000 : 4096, FM_NEVER);
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++)
            if (buffer[i] != (unsigned char)((total + (size_t)i) * 31)) {
                free(buffer);
                return fm_fail(-EILSEQ);
            }
        total += (size_t)n;
        if (round % 16 == 0)
            fm_yield();
    }
    free(buffer);
    return total == BIG ? fm_ok(NULL) : fm_fail(-EIO);
}

static void write_all_of_it(void (*make)(int fds[2]))
{
    int fds[2];
    size_t done = 0;
    unsigned char *data = malloc(BIG);
    for (size_t i = 0; i < BIG; i++)
        data[i] = (unsigned char)(i * 31);
    make(fds);
    struct fm_fiber *reader = start(read_slowly, number(fds[0]));
    cr_assert_eq(fm_write_full(fds[1], data, BIG, FM_NEVER, &done), BIG);
    cr_assert_eq(done, BIG);
    cr_assert_eq(finish(reader).kind, FM_SUCCESS);
    free(data);
    close_both(fds);
}

/* F85 */
FIBER_TEST(io, write_full_sends_all_to_a_slow_reader_over_tcp)
{
    write_all_of_it(make_tcp);
}

/* F85 */
FIBER_TEST(io, write_full_sends_all_to_a_slow_reader_over_a_local_socket)
{
    write_all_of_it(make_pair);
}

static void make_pipe(int fds[2])
{
    cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
}

/* F85 */
FIBER_TEST(io, write_full_sends_all_to_a_slow_reader_through_a_pipe)
{
    write_all_of_it(make_pipe);
}

/* F85 */
TIMED_TEST(io, read_full_gathers_single_bytes_and_stops_at_the_end)
{
    int fds[2];
    char got[8] = "";
    size_t done = 0;
    make_pair(fds);
    cr_assert_eq(fm_write(fds[1], "abc", 3, FM_NEVER), 3);
    cr_assert_eq(fm_read_full(fds[0], got, sizeof got, fm_after_ms(5), &done), -ETIMEDOUT);
    cr_assert_eq(done, 3);
    cr_assert_eq(fm_write(fds[1], "de", 2, FM_NEVER), 2);
    cr_assert_eq(fm_close(fds[1]), 0);
    cr_assert_eq(fm_read_full(fds[0], got + 3, 5, FM_NEVER, &done), 2);
    cr_assert_eq(done, 2);
    cr_assert_str_eq(got, "abcde");
    cr_assert_eq(fm_close(fds[0]), 0);
}

FIBER_TEST(io, vectors_scatter_and_gather)
{
    int fds[2];
    char a[3] = "ab", b[4] = "cde", c[2], d[8];
    struct iovec out[2] = { { a, 2 }, { b, 3 } }, in[2] = { { c, 2 }, { d, 8 } };
    void (*const makes[])(int fds[2]) = { make_pair, make_tcp };
    for (int i = 0; i < 2; i++) {
        makes[i](fds);
        cr_assert_eq(fm_writev(fds[1], out, 2, FM_NEVER), 5);
        cr_assert_eq(fm_readv(fds[0], in, 2, FM_NEVER), 5);
        cr_assert_eq(memcmp(c, "ab", 2), 0);
        cr_assert_eq(memcmp(d, "cde", 3), 0);
        close_both(fds);
    }
    make_pipe(fds);
    cr_assert_eq(fm_writev(fds[1], out, 2, FM_NEVER), 5);
    cr_assert_eq(fm_readv(fds[0], in, 2, FM_NEVER), 5);
    cr_assert_eq(fm_readv(fds[0], in, -1, FM_NEVER), -EINVAL);
    cr_assert_eq(fm_writev(fds[1], NULL, 1, FM_NEVER), -EINVAL);
    cr_assert_eq(fm_writev(fds[1], out, 1 << 20, FM_NEVER), -EINVAL);
    close_both(fds);
}

FIBER_TEST(io, peeking_leaves_what_it_saw)
{
    int fds[2];
    char got[16];
    make_tcp(fds);
    be_registered(fds[0]);
    cr_assert_eq(fm_send(fds[1], "abc", 3, 0, FM_NEVER), 3);
    cr_assert_eq(fm_recv(fds[0], got, sizeof got, MSG_PEEK, FM_NEVER), 3);
    cr_assert_eq(fm_recv(fds[0], got, sizeof got, MSG_PEEK, FM_NEVER), 3, "a short peek is no sign of an empty socket");
    cr_assert_eq(fm_recv(fds[0], got, sizeof got, 0, FM_NEVER), 3);
    close_both(fds);
}

static struct fm_exit receive_twice(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char got[64];
    ssize_t first = fm_recv(fd, got, sizeof got, 0, FM_NEVER);
    ssize_t second = first > 0 ? fm_recv(fd, got, sizeof got, 0, FM_NEVER) : -EIO;
    return fm_ok(number(first * 100 + second));
}

WORKER_TEST(io, data_behind_urgent_data_is_not_left_lying)
{
    int fds[2];
    char got[16];
    make_tcp(fds);
    be_registered(fds[0]);
    uint64_t before = events_now();
    cr_assert_eq(send(fds[1], "abU", 3, MSG_OOB), 3);
    cr_assert_eq(send(fds[1], "cdef", 4, 0), 4);
    while (events_now() == before) /* the poller reports it all before we look */
        fm_yield();
    /* The kernel ends a receive before the urgent byte: short, though more is there. */
    cr_assert_eq(fm_recv(fds[0], got, sizeof got, 0, fm_after_s(10)), 2);
    cr_assert_eq(fm_recv(fds[0], got, sizeof got, 0, fm_after_s(10)), 4);
    close_both(fds);
}

FIBER_TEST(io, end_of_stream_behind_a_short_receive_is_seen)
{
    for (int round = 0; round < 200; round++) {
        int fds[2];
        make_tcp(fds);
        struct fm_fiber *reader = start(receive_twice, number(fds[0]));
        if (round % 2)
            await_wait(reader);
        cr_assert_eq(fm_send(fds[1], "abc", 3, 0, FM_NEVER), 3);
        cr_assert_eq(fm_close(fds[1]), 0);
        cr_assert_eq((intptr_t)finish(reader).value, 300);
        cr_assert_eq(fm_close(fds[0]), 0);
    }
}

FIBER_TEST(io, sendfile_sends_a_file_whole)
{
    int fds[2];
    size_t size = 300000, total = 0;
    off_t offset = 0;
    int file = memfd_create("sendfile", MFD_CLOEXEC);
    unsigned char *data = calloc(1, size), *got = calloc(1, size);
    for (size_t i = 0; i < size; i++)
        data[i] = (unsigned char)(i * 7);
    cr_assert_eq(fm_write_full(file, data, size, FM_NEVER, NULL), (ssize_t)size);
    make_tcp(fds);
    while (total < size) {
        ssize_t n = fm_sendfile(fds[1], file, &offset, size - total, FM_NEVER);
        cr_assert_gt(n, 0);
        cr_assert_eq(fm_read_full(fds[0], got + total, (size_t)n, FM_NEVER, NULL), n);
        total += (size_t)n;
    }
    cr_assert_eq(memcmp(data, got, size), 0);
    cr_assert_eq(fm_close(fds[0]), 0);
    offset = 0;
    ssize_t n;
    do
        n = fm_sendfile(fds[1], file, &offset, 1000, FM_NEVER);
    while (n > 0);
    cr_assert(n == -EPIPE || n == -ECONNRESET, "%zd", n);
    cr_assert_eq(fm_close(fds[1]), 0);
    cr_assert_eq(fm_close(file), 0);
    free(data);
    free(got);
}

FIBER_TEST(io, regular_file_is_written_and_read)
{
    char path[] = "/tmp/fm-io-XXXXXX", got[16] = "";
    struct iovec iov = { got, 5 };
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(fm_io_wait(fd, FM_IO_READ | FM_IO_WRITE, 0), FM_IO_READ | FM_IO_WRITE);
    cr_assert_eq(fm_write(fd, "hello", 5, FM_NEVER), 5);
    cr_assert_eq(lseek(fd, 0, SEEK_SET), 0);
    cr_assert_eq(fm_read(fd, got, sizeof got, FM_NEVER), 5);
    cr_assert_str_eq(got, "hello");
    cr_assert_eq(fm_read(fd, got, sizeof got, FM_NEVER), 0);
    cr_assert_eq(lseek(fd, 0, SEEK_SET), 0);
    cr_assert_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0); /* or not: both ways must do */
    cr_assert_eq(fm_readv(fd, &iov, 1, FM_NEVER), 5);
    cr_assert_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    cr_assert_eq(fm_close(fd), 0);
    unlink(path);
}

FIBER_TEST(io, what_cannot_be_polled_is_always_ready)
{
    char got[8];
    int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
    cr_assert_eq(fm_read(fd, got, sizeof got, FM_NEVER), sizeof got);
    cr_assert_eq(fm_io_wait(fd, FM_IO_READ, 0), FM_IO_READ);
    cr_assert_eq(fm_write(fd, got, 1, FM_NEVER), 1);
    cr_assert_eq(fm_close(fd), 0);
    fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cr_assert_eq(fm_read(fd, got, sizeof got, FM_NEVER), -EISDIR);
    cr_assert_eq(fm_close(fd), 0);
}

TIMED_TEST(io, eventfd_and_pipe_wait_like_sockets)
{
    uint64_t value = 5;
    int fd = eventfd(0, EFD_CLOEXEC); /* blocking: the first use changes that */
    struct fm_fiber *reader = start(read_byte, number(fd));
    cr_assert_eq(finish(reader).code, -EINVAL, "an eventfd gives eight bytes or nothing");
    cr_assert_eq(fm_read(fd, &value, sizeof value, fm_after_ms(1)), -ETIMEDOUT);
    value = 5;
    cr_assert_eq(fm_write(fd, &value, sizeof value, FM_NEVER), sizeof value);
    cr_assert_eq(fm_read(fd, &value, sizeof value, FM_NEVER), sizeof value);
    cr_assert_eq(value, 5);
    cr_assert_eq(fm_close(fd), 0);
    int fds[2];
    make_pipe(fds);
    reader = start_reader(fds[0]);
    cr_assert_eq(fm_write(fds[1], "p", 1, FM_NEVER), 1);
    cr_assert_eq((intptr_t)finish(reader).value, 'p');
    close_both(fds);
}

/* ---- readiness ---- */

static struct fm_exit wait_for_both(void *arg)
{
    return fm_ok(number(fm_io_wait((int)(intptr_t)arg, FM_IO_READ | FM_IO_WRITE, FM_NEVER)));
}

static void fill(int fd)
{
    static char block[65536];
    while (fm_write(fd, block, sizeof block, 0) > 0)
        ;
}

FIBER_TEST(io, readiness_is_a_level_not_an_edge)
{
    int fds[2];
    make_pair(fds);
    cr_assert_eq(fm_io_wait(fds[0], FM_IO_READ, 0), -ETIMEDOUT);
    cr_assert_eq(fm_io_wait(fds[0], FM_IO_WRITE, FM_NEVER), FM_IO_WRITE);
    cr_assert_eq(fm_write(fds[1], "x", 1, FM_NEVER), 1);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(fm_io_wait(fds[0], FM_IO_READ, FM_NEVER), FM_IO_READ);
    cr_assert_eq(fm_close(fds[1]), 0);
    cr_assert_eq(fm_io_wait(fds[0], FM_IO_READ | FM_IO_WRITE, FM_NEVER), FM_IO_READ | FM_IO_WRITE);
    cr_assert_eq(fm_io_wait(fds[0], 0, FM_NEVER), -EINVAL);
    cr_assert_eq(fm_io_wait(fds[0], 4, FM_NEVER), -EINVAL);
    cr_assert_eq(fm_close(fds[0]), 0);
}

FIBER_TEST(io, one_wait_for_both_directions_ends_by_either)
{
    int fds[2];
    char block[4096];
    make_pair(fds);
    fill(fds[0]);
    struct fm_fiber *both = start(wait_for_both, number(fds[0]));
    await_wait(both);
    cr_assert_eq(fm_write(fds[1], "x", 1, FM_NEVER), 1);
    cr_assert_eq((intptr_t)finish(both).value, FM_IO_READ);
    cr_assert_eq(fm_read(fds[0], block, 1, FM_NEVER), 1);
    both = start(wait_for_both, number(fds[0]));
    await_wait(both);
    while (fm_read(fds[1], block, sizeof block, 0) > 0)
        ;
    cr_assert_eq((intptr_t)finish(both).value, FM_IO_WRITE);
    close_both(fds);
}

TIMED_TEST(io, reader_and_writer_wait_on_one_descriptor_apart)
{
    int fds[2];
    make_tcp(fds);
    fill(fds[0]);
    struct fm_fiber *reader = start_reader(fds[0]);
    cr_assert_eq(fm_write(fds[0], "y", 1, fm_after_ms(2)), -ETIMEDOUT);
    cr_assert_eq(fm_write(fds[1], "x", 1, FM_NEVER), 1);
    cr_assert_eq((intptr_t)finish(reader).value, 'x');
    close_both(fds);
}

/* An event wakes one; each passes the rest on. */
FIBER_TEST(io, many_readers_share_what_comes_at_once)
{
    enum { READERS = 10 };
    struct fm_fiber *readers[READERS];
    int fds[2], sum = 0;
    make_pair(fds);
    for (int i = 0; i < READERS; i++)
        readers[i] = start_reader(fds[0]);
    cr_assert_eq(fm_write(fds[1], "\0\1\2\3\4\5\6\7\10\11", READERS, FM_NEVER), READERS);
    for (int i = 0; i < READERS; i++)
        sum += (int)(intptr_t)finish(readers[i]).value;
    cr_assert_eq(sum, 45);
    close_both(fds);
}

FIBER_TEST(io, the_end_of_a_stream_reaches_every_reader)
{
    enum { READERS = 10 };
    struct fm_fiber *readers[READERS];
    int fds[2];
    make_tcp(fds);
    for (int i = 0; i < READERS; i++)
        readers[i] = start_reader(fds[0]);
    cr_assert_eq(fm_close(fds[1]), 0);
    for (int i = 0; i < READERS; i++)
        cr_assert_eq((intptr_t)finish(readers[i]).value, -1);
    cr_assert_eq(fm_close(fds[0]), 0);
}

FIBER_TEST(io, waiter_that_leaves_takes_no_wake_with_it)
{
    for (int round = 0; round < 300; round++) {
        int fds[2];
        make_pair(fds);
        struct fm_fiber *leaver = start_reader(fds[0]), *stayer = start_reader(fds[0]);
        /* The event and the interruption race for the first in line. */
        cr_assert_eq(fm_write(fds[1], "a", 1, FM_NEVER), 1);
        fm_fiber_interrupt(leaver);
        struct fm_exit left = finish(leaver);
        if (left.kind == FM_SUCCESS)
            cr_assert_eq(fm_write(fds[1], "a", 1, FM_NEVER), 1);
        cr_assert_eq((intptr_t)finish(stayer).value, 'a');
        close_both(fds);
    }
}

/* ---- giving up ---- */

/* In real time: the poller waits until then. */
REAL_TIME_TEST(io, wait_ends_at_its_deadline)
{
    int fds[2];
    char byte;
    make_pair(fds);
    int64_t before = fm_now_ns();
    cr_assert_eq(fm_read(fds[0], &byte, 1, fm_after_ms(5)), -ETIMEDOUT);
    cr_assert_geq(fm_now_ns() - before, 5000000);
    cr_assert_eq(fm_read(fds[0], &byte, 1, 0), -ETIMEDOUT);
    cr_assert_eq(fm_read(fds[0], &byte, 1, fm_after_ms(-5)), -ETIMEDOUT);
    cr_assert_eq(fm_write(fds[1], "x", 1, 0), 1);
    cr_assert_eq(fm_read(fds[0], &byte, 1, 0), 1, "what is there is had without waiting");
    cr_assert_eq(fm_read(fds[0], &byte, 1, fm_after_ms(1)), -ETIMEDOUT);
    cr_assert_eq(fm_write(fds[1], "y", 1, 0), 1);
    cr_assert_eq(fm_read(fds[0], &byte, 1, fm_after_ms(-1)), 1);
    close_both(fds);
}

FIBER_TEST(io, polling_sees_data_that_no_poller_has_reported)
{
    int fds[2];
    char buffer[16];
    make_tcp(fds);
    cr_assert_eq(fm_write(fds[1], "ab", 2, FM_NEVER), 2);
    cr_assert_eq(fm_read(fds[0], buffer, sizeof buffer, FM_NEVER), 2); /* short: thought empty */
    cr_assert_eq(send(fds[1], "cd", 2, 0), 2);
    ssize_t n;
    do /* loopback may take a moment; the fiber never lets go of its worker */
        n = fm_read(fds[0], buffer, sizeof buffer, 0);
    while (n == -ETIMEDOUT);
    cr_assert_eq(n, 2);
    close_both(fds);
}

VIRTUAL_TEST(io, deadlines_follow_the_virtual_clock)
{
    int fds[2];
    char byte;
    make_pair(fds);
    int64_t hour = INT64_C(3600000000000), before = fm_now_ns();
    struct fm_fiber *sleeper = start_reader(fds[0]);
    cr_assert_eq(fm_fiber_join(sleeper, 0, NULL), -ETIMEDOUT);
    cr_assert_eq(fm_clock_advance_ns(fm_runtime_current(), hour), 0);
    cr_assert_eq(fm_now_ns() - before, hour);
    cr_assert_eq(fm_read(fds[1], &byte, 1, fm_now_ns() - 1), -ETIMEDOUT);
    fm_fiber_stop(sleeper, FM_NEVER, NULL);
    fm_fiber_unref(sleeper);
    close_both(fds);
}

FIBER_TEST(io, interruption_ends_a_waiting_read_and_stays_pending)
{
    int fds[2];
    make_pair(fds);
    struct fm_fiber *reader = start_reader(fds[0]);
    fm_fiber_interrupt(reader);
    expect_interruption(finish(reader), FM_BY_USER);
    /* The descriptor is as good as before. */
    reader = start_reader(fds[0]);
    cr_assert_eq(fm_write(fds[1], "x", 1, FM_NEVER), 1);
    cr_assert_eq((intptr_t)finish(reader).value, 'x');
    close_both(fds);
}

static struct fm_exit read_ready_while_interrupted(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char byte = 0;
    fm_fiber_interrupt(fm_fiber_self());
    if (fm_read(fd, &byte, 1, FM_NEVER) != -ECANCELED)
        return fm_fail(-1);
    if (fm_read(fd, &byte, 1, FM_NEVER) != -ECANCELED)
        return fm_fail(-2);
    fm_mask();
    if (fm_read(fd, &byte, 1, FM_NEVER) != 1 || byte != 'x')
        return fm_fail(-3);
    fm_unmask();
    return fm_ok(NULL);
}

FIBER_TEST(io, pending_interruption_is_seen_before_anything_is_consumed)
{
    int fds[2];
    make_pair(fds);
    cr_assert_eq(fm_write(fds[1], "x", 1, FM_NEVER), 1);
    struct fm_exit exit = finish(start(read_ready_while_interrupted, number(fds[0])));
    cr_assert_eq(exit.kind, FM_SUCCESS, "step %d", exit.code);
    close_both(fds);
}

static struct fm_exit read_forever(void *arg)
{
    char block[4096];
    ssize_t n;
    do
        n = fm_read((int)(intptr_t)arg, block, sizeof block, FM_NEVER);
    while (n > 0);
    return fm_fail((int)n);
}

WORKER_TEST(io, always_ready_descriptor_does_not_keep_the_worker)
{
    int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    struct fm_fiber *greedy = start(read_forever, number(fd));
    for (int i = 0; i < 10; i++)
        cr_assert_eq(fm_yield(), 0); /* comes back */
    struct fm_exit exit;
    cr_assert_eq(fm_fiber_stop(greedy, FM_NEVER, &exit), 0);
    expect_interruption(exit, FM_BY_USER);
    fm_fiber_unref(greedy);
    cr_assert_eq(fm_close(fd), 0);
}

TEST(io, threads_are_refused_but_may_close)
{
    int fds[2], fd;
    char byte;
    struct sockaddr_in address = { .sin_family = AF_INET };
    struct fm_address *addresses;
    make_pair(fds);
    cr_assert_eq(fm_read(fds[0], &byte, 1, 0), -EPERM);
    cr_assert_eq(fm_write(fds[0], &byte, 1, 0), -EPERM);
    cr_assert_eq(fm_io_wait(fds[0], FM_IO_READ, 0), -EPERM);
    cr_assert_eq(fm_accept(fds[0], NULL, NULL, 0), -EPERM);
    cr_assert_eq(fm_connect(fds[0], (struct sockaddr *)&address, sizeof address, 0), -EPERM);
    cr_assert_eq(fm_sendfile(fds[0], fds[1], NULL, 1, 0), -EPERM);
    cr_assert_eq(fm_listen_tcp(NULL, 0, 1, &fd), -EPERM);
    cr_assert_eq(fm_listen_unix("x", &fd), -EPERM);
    cr_assert_eq(fm_dial_tcp(NULL, 1, 0, &fd), -EPERM);
    cr_assert_eq(fm_resolve("localhost", 1, 0, &addresses), -EPERM);
    cr_assert_eq(fm_close(fds[0]), 0);
    cr_assert_eq(fm_close(fds[1]), 0);
    cr_assert_eq(fm_close(fds[1]), -EBADF);
    cr_assert_eq(fm_close(-1), -EBADF);
}

/* ---- SIGPIPE ---- */

static void write_to_nobody(void)
{
    int fds[2];
    char x = 0;
    struct iovec iov = { &x, 1 };
    make_pair(fds);
    cr_assert_eq(fm_close(fds[0]), 0);
    cr_assert_eq(fm_write(fds[1], "x", 1, FM_NEVER), -EPIPE);
    cr_assert_eq(fm_writev(fds[1], &iov, 1, FM_NEVER), -EPIPE);
    cr_assert_eq(fm_send(fds[1], "x", 1, 0, FM_NEVER), -EPIPE);
    cr_assert_eq(fm_close(fds[1]), 0);
    make_pipe(fds);
    cr_assert_eq(fm_close(fds[0]), 0);
    cr_assert_eq(fm_write(fds[1], "x", 1, FM_NEVER), -EPIPE);
    cr_assert_eq(fm_writev(fds[1], &iov, 1, FM_NEVER), -EPIPE);
    cr_assert_eq(fm_close(fds[1]), 0);
}

/* F92 */
FIBER_TEST(io, writing_to_nobody_is_epipe_and_no_signal)
{
    signal(SIGPIPE, SIG_DFL);
    write_to_nobody();
    atomic_store(&fm__quiet_by_mask, true);
    write_to_nobody();
    sigset_t mask, pending;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    cr_assert_not(sigismember(&mask, SIGPIPE));
    sigpending(&pending);
    cr_assert_not(sigismember(&pending, SIGPIPE));
}

/* ---- signals ---- */

/* F22: a sleep that a signal ends is a wake for no reason. F84, F92 */
FIBER_TEST(io, storm_of_signals_is_invisible)
{
    struct storm storm;
    storm_begin(&storm);
    do
        echo_over(make_tcp);
    while (storm_hits() < 100);
    storm_end(&storm);
}

/* ---- closing ---- */

static struct fm_exit write_block(void *arg)
{
    static const char block[65536];
    return fm_fail((int)fm_write((int)(intptr_t)arg, block, sizeof block, FM_NEVER));
}

static struct fm_exit accept_one(void *arg)
{
    return fm_fail(fm_accept((int)(intptr_t)arg, NULL, NULL, FM_NEVER));
}

static struct fm_exit wait_for_both_fail(void *arg)
{
    return fm_fail(fm_io_wait((int)(intptr_t)arg, FM_IO_READ | FM_IO_WRITE, FM_NEVER));
}

/* F82 */
FIBER_TEST(io, close_wakes_every_kind_of_waiter_with_ebadf)
{
    int fds[2], listener;
    struct fm_fiber *waiters[6];
    make_pair(fds);
    cr_assert_eq(fm_listen_tcp(NULL, 0, 16, &listener), 0);
    fill(fds[0]);
    waiters[0] = start(read_byte, number(fds[0]));
    waiters[1] = start(read_byte, number(fds[0]));
    waiters[2] = start(write_block, number(fds[0]));
    waiters[3] = start(wait_for_both_fail, number(fds[0]));
    waiters[4] = start(accept_one, number(listener));
    waiters[5] = start(accept_one, number(listener));
    for (int i = 0; i < 6; i++)
        await_wait(waiters[i]);
    cr_assert_eq(fm_close(fds[0]), 0);
    cr_assert_not(is_open(fds[0]), "waiters do not delay the close");
    cr_assert_eq(fm_close(listener), 0);
    for (int i = 0; i < 6; i++) {
        struct fm_exit exit = finish(waiters[i]);
        cr_assert_eq(exit.kind, FM_FAILURE, "waiter %d", i);
        cr_assert_eq(exit.code, -EBADF, "waiter %d: %d", i, exit.code);
    }
    cr_assert_eq(fm_close(fds[0]), -EBADF);
    cr_assert_eq(fm_close(fds[1]), 0);
    char byte;
    cr_assert_eq(fm_read(fds[0], &byte, 1, FM_NEVER), -EBADF);
    cr_assert_eq(fm_read(-1, &byte, 1, FM_NEVER), -EBADF);
    cr_assert_eq(fm_read(1 << 30, &byte, 1, FM_NEVER), -EBADF);
    cr_assert_eq(fm_close(1 << 30), -EBADF);
}

static void *close_from_a_thread(void *arg)
{
    return number(fm_close((int)(intptr_t)arg));
}

FIBER_TEST(io, thread_closes_under_a_waiting_fiber)
{
    int fds[2];
    pthread_t thread;
    void *result;
    make_pair(fds);
    struct fm_fiber *reader = start_reader(fds[0]);
    cr_assert_eq(pthread_create(&thread, NULL, close_from_a_thread, number(fds[0])), 0);
    cr_assert_eq(finish(reader).code, -EBADF);
    pthread_join(thread, &result);
    cr_assert_eq((intptr_t)result, 0);
    cr_assert_eq(fm_close(fds[1]), 0);
}

/* F83: epoll goes on reporting an open file for as long as a duplicate lives, unless it is taken out first. */
FIBER_TEST(io, duplicate_that_lives_on_wakes_nobody)
{
    int fds[2], other[2], later[2];
    make_pair(fds);
    make_pair(later);
    be_registered(later[0]);
    struct fm_fiber *reader = start_reader(fds[0]);
    int copy = dup(fds[0]);
    cr_assert_eq(fm_close(fds[0]), 0);
    cr_assert_eq(finish(reader).code, -EBADF);
    make_pair(other);
    cr_assert_eq(other[0], fds[0], "the number is used again");
    be_registered(other[0]);
    reader = start_reader(other[0]);
    uint64_t before = events_now();
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(write(fds[1], "z", 1), 1); /* reaches the duplicate alone */
        for (int k = 0; k < 50; k++)
            fm_yield();
    }
    /* an event that comes after them is the only one */
    struct fm_fiber *later_reader = start_reader(later[0]);
    cr_assert_eq(write(later[1], "y", 1), 1);
    cr_assert_eq((intptr_t)finish(later_reader).value, 'y');
    cr_assert_leq(events_now() - before, 1);
    cr_assert_eq(fm_fiber_poll(reader, NULL), -EAGAIN);
    reader = fm_fiber_unref((fm_fiber_stop(reader, FM_NEVER, NULL), reader));
    close_both(other);
    close_both(later);
    cr_assert_eq(fm_close(fds[1]), 0);
    close(copy);
}

/* F81, in the small: the storm is stress_io_reuse.c */
WORKER_TEST(io, event_of_a_closed_number_does_not_wake_its_next_owner)
{
    for (int round = 0; round < 100; round++) {
        int fds[2], other[2];
        make_pair(fds);
        struct fm_fiber *first = start_reader(fds[0]);
        /* Readable, reported at the next poll, and gone before. */
        cr_assert_eq(write(fds[1], "x", 1), 1);
        cr_assert_eq(fm_close(fds[0]), 0);
        make_pair(other);
        cr_assert_eq(other[0], fds[0]);
        struct fm_fiber *second = start_reader(other[0]);
        struct fm_exit exit = finish(first);
        cr_assert(exit.kind == FM_FAILURE && exit.code == -EBADF);
        cr_assert_eq(fm_fiber_poll(second, NULL), -EAGAIN);
        cr_assert_eq(fm_write(other[1], "y", 1, FM_NEVER), 1);
        cr_assert_eq((intptr_t)finish(second).value, 'y');
        close_both(other);
        cr_assert_eq(fm_close(fds[1]), 0);
    }
}

/* The program closes behind our back; what we hand out under that number is sound all the same. */
FIBER_TEST(io, number_closed_with_close_is_forgotten_when_it_comes_back)
{
    int listener, fds[2], again[2];
    cr_assert_eq(fm_listen_tcp(NULL, 0, 16, &listener), 0);
    for (int round = 0; round < 3; round++) {
        cr_assert_eq(fm_dial_tcp(NULL, port_of(listener), FM_NEVER, &fds[1]), 0);
        fds[0] = fm_accept(listener, NULL, NULL, FM_NEVER);
        be_registered(fds[0]);
        close(fds[0]);
        close(fds[1]);
        cr_assert_eq(fm_dial_tcp(NULL, port_of(listener), FM_NEVER, &again[1]), 0);
        again[0] = fm_accept(listener, NULL, NULL, FM_NEVER);
        cr_assert(again[0] == fds[0] || again[1] == fds[0]);
        struct fm_fiber *reader = start_reader(again[0]);
        cr_assert_eq(fm_write(again[1], "x", 1, FM_NEVER), 1);
        cr_assert_eq((intptr_t)finish(reader).value, 'x');
        close_both(again);
    }
    cr_assert_eq(fm_close(listener), 0);
}

/* ---- two runtimes ---- */

static struct fm_exit read_from_other_runtime(void *arg)
{
    return read_byte(arg);
}

static void await_parked(struct fm_fiber *fiber)
{
    while (fm__state_life(fm__state_read(&fiber->state)) != LIFE_PARKED)
        sched_yield();
}

/* F97 */
TEST(io, two_runtimes_wait_on_one_descriptor)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *one, *two;
    struct fm_fiber *a, *b;
    struct fm_exit exit_a, exit_b;
    int fds[2];
    config.worker_count = 1;
    cr_assert_eq(fm_runtime_create(&config, &one), 0);
    cr_assert_eq(fm_runtime_create(&config, &two), 0);
    make_pair(fds);
    for (int round = 0; round < 50; round++) {
        cr_assert_eq(fm_runtime_spawn(one, read_from_other_runtime, number(fds[0]), NULL, &a), 0);
        cr_assert_eq(fm_runtime_spawn(two, read_from_other_runtime, number(fds[0]), NULL, &b), 0);
        cr_assert_eq(write(fds[1], "ab", 2), 2);
        cr_assert_eq(fm_fiber_join(a, FM_NEVER, &exit_a), 0);
        cr_assert_eq(fm_fiber_join(b, FM_NEVER, &exit_b), 0);
        cr_assert_eq((intptr_t)exit_a.value + (intptr_t)exit_b.value, 'a' + 'b');
        fm_fiber_unref(a);
        fm_fiber_unref(b);
    }
    /* What only the first has registered, its successor in the slot registers anew. */
    int lone[2];
    make_pair(lone);
    cr_assert_eq(fm_runtime_spawn(one, read_from_other_runtime, number(lone[0]), NULL, &a), 0);
    await_parked(a);
    cr_assert_eq(fm_fiber_stop(a, FM_NEVER, NULL), 0);
    fm_fiber_unref(a);
    one = fm_runtime_destroy(one);
    cr_assert_eq(fm_runtime_create(&config, &one), 0);
    cr_assert_eq(fm_runtime_spawn(one, read_from_other_runtime, number(lone[0]), NULL, &a), 0);
    await_parked(a);
    cr_assert_eq(write(lone[1], "d", 1), 1);
    cr_assert_eq(fm_fiber_join(a, FM_NEVER, &exit_a), 0);
    cr_assert_eq((intptr_t)exit_a.value, 'd');
    fm_fiber_unref(a);
    close_both(lone);
    /* One goes; the other's registration is its own. */
    cr_assert_eq(fm_runtime_spawn(two, read_from_other_runtime, number(fds[0]), NULL, &b), 0);
    one = fm_runtime_destroy(one);
    cr_assert_eq(write(fds[1], "c", 1), 1);
    cr_assert_eq(fm_fiber_join(b, FM_NEVER, &exit_b), 0);
    cr_assert_eq((intptr_t)exit_b.value, 'c');
    fm_fiber_unref(b);
    /* A close reaches a waiter wherever he runs; a third runtime takes the first one's slot. */
    cr_assert_eq(fm_runtime_create(&config, &one), 0);
    cr_assert_eq(fm_runtime_spawn(one, read_from_other_runtime, number(fds[0]), NULL, &a), 0);
    cr_assert_eq(fm_runtime_spawn(two, read_from_other_runtime, number(fds[0]), NULL, &b), 0);
    await_parked(a);
    await_parked(b);
    cr_assert_eq(fm_close(fds[0]), 0);
    cr_assert_eq(fm_fiber_join(a, FM_NEVER, &exit_a), 0);
    cr_assert_eq(fm_fiber_join(b, FM_NEVER, &exit_b), 0);
    cr_assert_eq(exit_a.code, -EBADF);
    cr_assert_eq(exit_b.code, -EBADF);
    fm_fiber_unref(a);
    fm_fiber_unref(b);
    cr_assert_eq(fm_close(fds[1]), 0);
    fm_runtime_destroy(one);
    fm_runtime_destroy(two);
}
