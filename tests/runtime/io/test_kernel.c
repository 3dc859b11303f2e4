/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernel.c - what the kernel refuses without being asked to: the test's own calls stand in for
 * its (tests/faults/calls.h, and three below)
 */
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/syscall.h>

#include "tests/faults/calls.h"
#include "tests/runtime/io/io_test.h"

/* ---- fcntl, setsockopt and getsockopt that refuse one command ---- */

static _Atomic int refused_command = -1, refused_option = -1;
static _Atomic int said_open = -1; /* a number that is said to be a descriptor */

int fcntl(int fd, int command, ...)
{
    va_list more;
    va_start(more, command);
    long arg = va_arg(more, long);
    va_end(more);
    if (command == atomic_load(&refused_command)) {
        errno = EPERM;
        return -1;
    }
    if (command == F_GETFD && fd == atomic_load(&said_open))
        return 0;
    return (int)syscall(SYS_fcntl, fd, command, arg);
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t length)
{
    if (option == atomic_load(&refused_option)) {
        errno = ENOPROTOOPT;
        return -1;
    }
    return (int)syscall(SYS_setsockopt, fd, level, option, value, length);
}

int getsockopt(int fd, int level, int option, void *restrict value, socklen_t *restrict length)
{
    if (option == atomic_load(&refused_option)) {
        errno = ENOPROTOOPT;
        return -1;
    }
    return (int)syscall(SYS_getsockopt, fd, level, option, value, length);
}

/* ---- writing ---- */

FIBER_TEST(kernel, where_pipes_cannot_be_written_quietly_the_signal_is_masked)
{
    char text[] = "ab";
    struct iovec parts[] = { { text, 1 }, { text + 1, 1 } };
    int fds[2];
    char got[3];
    sigset_t pending;

    cr_assert_eq(pipe(fds), 0);
    call_refuse(CALL_WRITE, 1, EOPNOTSUPP, false);
    cr_assert_eq(fm_write(fds[1], "x", 1, FM_NEVER), 1);
    cr_assert_eq(call_refused(), 1);
    call_interrupt(true);
    cr_assert_eq(fm_writev(fds[1], parts, 2, FM_NEVER), 2);
    call_interrupt(false);
    cr_assert_eq(fm_read(fds[0], got, 3, FM_NEVER), 3);
    cr_assert_eq(memcmp(got, "xab", 3), 0);
    cr_assert_eq(fm_close(fds[0]), 0);
    cr_assert_eq(fm_write(fds[1], "x", 1, FM_NEVER), -EPIPE, "and nobody was killed");
    sigpending(&pending);
    cr_assert_not(sigismember(&pending, SIGPIPE));
    cr_assert_eq(fm_close(fds[1]), 0);
}

static struct fm_exit write_to_nobody(void *fd)
{
    sigset_t set, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    fm_pin(); /* a mask is a thread's */
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    int r = (int)fm_write((int)(intptr_t)fd, "x", 1, FM_NEVER);
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    cr_assert(sigismember(&set, SIGPIPE), "what the program has blocked stays so");
    sigpending(&pending);
    cr_assert(sigismember(&pending, SIGPIPE));
    const struct timespec at_once = { 0 };
    sigtimedwait(&pending, NULL, &at_once);
    return fm_fail(r);
}

FIBER_TEST(kernel, a_signal_that_is_blocked_already_is_left_pending)
{
    int fds[2];
    cr_assert_eq(pipe(fds), 0);
    cr_assert_eq(fm_close(fds[0]), 0);
    call_refuse(CALL_WRITE, 1, EOPNOTSUPP, false);
    cr_assert_eq(finish(start(write_to_nobody, number(fds[1]))).code, -EPIPE);
    cr_assert_eq(fm_close(fds[1]), 0);
}

FIBER_TEST(kernel, interrupted_calls_on_a_device_go_on)
{
    char got[2];
    struct iovec part = { got, 2 };
    int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 2; i++) { /* each is interrupted in one of two rounds */
        call_interrupt(true);
        cr_assert_eq(fm_read(fd, got, 2, FM_NEVER), 2);
        cr_assert_eq(fm_readv(fd, &part, 1, FM_NEVER), 2);
        cr_assert_eq(fm_write(fd, "ab", 2, FM_NEVER), 2);
        cr_assert_eq(fm_writev(fd, &part, 1, FM_NEVER), 2);
        call_interrupt(false);
        cr_assert_eq(fm_io_wait(fd, FM_IO_READ, 0), FM_IO_READ);
        cr_assert_eq(call_refused(), 0, "nothing failed");
    }
    cr_assert_eq(fm_close(fd), 0);
}

/* ---- readiness ---- */

FIBER_TEST(kernel, what_cannot_be_looked_at_is_told)
{
    int fds[2];
    make_pair(fds);
    cr_assert_eq(fm_io_wait(fds[0], FM_IO_READ, 0), -ETIMEDOUT);
    call_refuse(CALL_SLEEP, 1, ENOMEM, true);
    int r = fm_io_wait(fds[0], FM_IO_READ, 0);
    call_refuse(CALL_SLEEP, 0, 0, false);
    cr_assert_eq(r, -ENOMEM);
    cr_assert_eq(fm_close(fds[1]), 0);
    close(fds[0]); /* behind our back */
    cr_assert_eq(fm_io_wait(fds[0], FM_IO_READ, 0), -EBADF);
}

FIBER_TEST(kernel, what_cannot_be_made_non_blocking_is_not_used)
{
    static const int commands[] = { F_GETFL, F_SETFL };
    char byte;
    int fds[2];
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(pipe(fds), 0);
        atomic_store(&refused_command, commands[i]);
        cr_assert_eq(fm_read(fds[0], &byte, 1, 0), -EPERM);
        atomic_store(&refused_command, -1);
        cr_assert_eq(fm_read(fds[0], &byte, 1, 0), -ETIMEDOUT, "nothing was remembered");
        close_both(fds);
    }
}

FIBER_TEST(kernel, a_number_beyond_all_tables_is_refused)
{
    char byte;
    cr_assert_eq(fm_read(INT32_MAX, &byte, 1, 0), -EBADF);
    atomic_store(&said_open, INT32_MAX);
    cr_assert_eq(fm_read(INT32_MAX, &byte, 1, 0), -EMFILE);
    cr_assert_eq(fm_read(-1, &byte, 1, 0), -EBADF);
    cr_assert_eq(fm_close(INT32_MAX), -EBADF);
}

/* Whoever has the numbers below 512 has left the part of the table beyond them untouched. */
WORKER_TEST(kernel, what_is_handed_out_without_memory_is_known_at_its_first_use)
{
    char path[] = "/tmp/test_kernel.XXXXXX", name[64];
    int below[512], count = 0, fd;
    cr_assert_not_null(mkdtemp(path));
    snprintf(name, sizeof name, "%s/s", path);
    while ((fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 512)
        below[count++] = fd;
    close(fd);
    fm__fault_set(FAULT_MALLOC, 1, true);
    int r = fm_listen_unix(name, &fd);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert_eq(r, 0);
    cr_assert_geq(fd, 512);
    fm__fault_set(FAULT_MALLOC, 1, true);
    r = fm_accept(fd, NULL, NULL, 0);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert_eq(r, -ENOMEM);
    cr_assert_eq(fm_accept(fd, NULL, NULL, 0), -ETIMEDOUT);
    cr_assert_eq(fm_close(fd), 0);
    while (count)
        close(below[--count]);
    unlink(name);
    rmdir(path);
}

/*
 * The number was closed behind our back while a duplicate lives on, had another file, and has its
 * old one again: the kernel has the old registration still.
 */
FIBER_TEST(kernel, a_number_that_comes_back_to_its_old_file_is_registered_anew)
{
    int fds[2], listener;
    make_pair(fds);
    cr_assert_eq(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    struct fm_fiber *reader = start(read_byte, number(fds[0]));
    await_wait(reader);
    fm_fiber_interrupt(reader);
    expect_interruption(finish(reader), FM_BY_USER);

    int again = dup(fds[0]);
    close(fds[0]);
    cr_assert_eq(fm_listen_tcp(NULL, 0, 1, &listener), 0);
    cr_assert_eq(listener, fds[0]);
    cr_assert_eq(fm_close(listener), 0);
    cr_assert_eq(dup2(again, fds[0]), fds[0]);
    reader = start(read_byte, number(fds[0]));
    await_wait(reader);
    cr_assert_eq(write(fds[1], "y", 1), 1);
    cr_assert_eq(finish(reader).value, number('y'));
    close(again);
    close_both(fds);
}

/* ---- sockets ---- */

FIBER_TEST(kernel, what_befell_a_connection_in_the_queue_is_not_the_listeners_failure)
{
    static const int errors[] = { EINTR,       ECONNABORTED, EPROTO,    ENOPROTOOPT, ENETDOWN,
                                  ENETUNREACH, ENONET,       EHOSTDOWN, EHOSTUNREACH };
    int listener, client;
    cr_assert_eq(fm_listen_tcp(NULL, 0, 16, &listener), 0);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        cr_assert_eq(fm_dial_tcp(NULL, port_of(listener), FM_NEVER, &client), 0);
        call_refuse(CALL_ACCEPT, 1, errors[i], false);
        int fd = fm_accept(listener, NULL, NULL, FM_NEVER);
        cr_assert_eq(call_refused(), 1, "%d", errors[i]);
        cr_assert_geq(fd, 0, "%s", fm_strerror(errors[i]));
        cr_assert_eq(fm_close(fd), 0);
        cr_assert_eq(fm_close(client), 0);
    }
    call_refuse(CALL_ACCEPT, 1, EINVAL, false);
    cr_assert_eq(fm_accept(listener, NULL, NULL, FM_NEVER), -EINVAL, "that is its own");
    cr_assert_eq(fm_close(listener), 0);
}

FIBER_TEST(kernel, a_connect_that_is_interrupted_or_begun_already_is_awaited)
{
    int listener, fd;
    cr_assert_eq(fm_listen_tcp(NULL, 0, 16, &listener), 0);
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    static const int errors[] = { EINTR, EALREADY };
    for (int i = 0; i < 2; i++) {
        fd = socket(AF_INET,
                    SOCK_STREAM | SOCK_CLOEXEC | (errors[i] == EALREADY ? SOCK_NONBLOCK : 0),
                    0);
        if (errors[i] == EALREADY)
            connect(fd, (struct sockaddr *)&address, len);
        call_refuse(CALL_CONNECT, 1, errors[i], false);
        call_interrupt(true); /* the look at it too, every second time */
        cr_assert_eq(fm_connect(fd, (struct sockaddr *)&address, len, FM_NEVER), 0);
        call_interrupt(false);
        call_refuse(CALL_CONNECT, 0, 0, false);
        cr_assert_eq(fm_close(fd), 0);
    }
    cr_assert_eq(fm_close(listener), 0);
}

FIBER_TEST(kernel, a_connect_that_cannot_be_looked_at_is_told)
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    int listener, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(fm_listen_tcp(NULL, 0, 16, &listener), 0);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    cr_assert_eq(fm_connect(fd, NULL, 0, FM_NEVER), -EINVAL);
    call_refuse(CALL_CONNECT, 1, EINTR, false);
    call_refuse(CALL_SLEEP, 1, ENOMEM, true);
    int r = fm_connect(fd, (struct sockaddr *)&address, len, FM_NEVER);
    call_refuse(CALL_SLEEP, 0, 0, false);
    cr_assert_eq(r, -ENOMEM);
    cr_assert_eq(fm_close(fd), 0);

    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    call_refuse(CALL_CONNECT, 1, EINTR, false);
    atomic_store(&refused_option, SO_ERROR);
    r = fm_connect(fd, (struct sockaddr *)&address, len, FM_NEVER);
    atomic_store(&refused_option, -1);
    cr_assert_eq(r, -ENOPROTOOPT);
    cr_assert_eq(fm_close(fd), 0);
    cr_assert_eq(fm_close(listener), 0);
}

FIBER_TEST(kernel, options_that_a_socket_does_not_take_make_none)
{
    int listener, fd = -1;
    cr_assert_eq(fm_listen_tcp(NULL, 0, 16, NULL), -EINVAL);
    cr_assert_eq(fm_dial_tcp(NULL, 1, 0, NULL), -EINVAL);
    atomic_store(&refused_option, SO_REUSEADDR);
    cr_assert_eq(fm_listen_tcp(NULL, 0, 16, &fd), -ENOPROTOOPT);
    atomic_store(&refused_option, -1);
    cr_assert_eq(fm_listen_tcp(NULL, 0, 16, &listener), 0);
    atomic_store(&refused_option, TCP_NODELAY);
    cr_assert_eq(fm_dial_tcp(NULL, port_of(listener), FM_NEVER, &fd), -ENOPROTOOPT);
    atomic_store(&refused_option, -1);
    cr_assert_eq(fd, -1);
    cr_assert_eq(fm_close(listener), 0);
}
