/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_socket.c - connections: listening, accepting, dialling, names
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/un.h>

#include "tests/runtime/io/io_test.h"

static int loopback_listener(void)
{
    int fd;
    cr_assert_eq(fm_listen_tcp(NULL, 0, 0, &fd), 0);
    return fd;
}

static struct fm_exit accept_one(void *arg)
{
    int fd = fm_accept((int)(intptr_t)arg, NULL, NULL, FM_NEVER);
    return fd < 0 ? fm_fail(fd) : fm_ok(number(fd));
}

static void dial_and_part(int listener)
{
    int fds[2];
    cr_assert_eq(fm_dial_tcp(NULL, port_of(listener), FM_NEVER, &fds[0]), 0);
    fds[1] = fm_accept(listener, NULL, NULL, FM_NEVER);
    cr_assert_geq(fds[1], 0);
    close_both(fds);
}

FIBER_TEST(socket, accepted_descriptor_is_non_blocking_and_closed_on_exec)
{
    struct sockaddr_in peer;
    socklen_t len = sizeof peer, size = sizeof(int);
    int listener = loopback_listener(), fds[2], nodelay = 0;
    cr_assert_eq(fm_dial_tcp("127.0.0.1", port_of(listener), FM_NEVER, &fds[0]), 0);
    fds[1] = fm_accept(listener, (struct sockaddr *)&peer, &len, FM_NEVER);
    cr_assert_geq(fds[1], 0);
    cr_assert_eq(peer.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    cr_assert_eq(ntohs(peer.sin_port), port_of(fds[0]));
    for (int i = 0; i < 2; i++) {
        cr_assert(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
        cr_assert(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
    }
    cr_assert_eq(getsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &nodelay, &size), 0);
    cr_assert_neq(nodelay, 0);
    close_both(fds);
    cr_assert_eq(fm_close(listener), 0);
}

FIBER_TEST(socket, many_acceptors_share_many_connections)
{
    enum { COUNT = 40 };
    struct fm_fiber *acceptors[COUNT];
    int dialled[COUNT], listener = loopback_listener();
    for (int i = 0; i < COUNT; i++) {
        acceptors[i] = start(accept_one, number(listener));
        if (i % 2)
            await_wait(acceptors[i]);
    }
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(fm_dial_tcp(NULL, port_of(listener), FM_NEVER, &dialled[i]), 0);
    for (int i = 0; i < COUNT; i++) {
        struct fm_exit exit = finish(acceptors[i]);
        cr_assert_eq(exit.kind, FM_SUCCESS);
        cr_assert_eq(fm_close((int)(intptr_t)exit.value), 0);
        cr_assert_eq(fm_close(dialled[i]), 0);
    }
    cr_assert_eq(fm_accept(listener, NULL, NULL, 0), -ETIMEDOUT);
    cr_assert_eq(fm_close(listener), 0);
}

/* F86: the failure is the caller's to deal with; the connection stays in the queue. */
FIBER_TEST(socket, accept_without_a_descriptor_to_give_fails_and_recovers)
{
    int listener = loopback_listener(), fd;
    cr_assert_eq(fm_dial_tcp(NULL, port_of(listener), FM_NEVER, &fd), 0);
    fm__fault_set(FAULT_FD, 1, true);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(fm_accept(listener, NULL, NULL, FM_NEVER), -EMFILE);
    cr_assert_eq(fm__fault_hits(FAULT_FD), 3);
    fm__fault_set(FAULT_FD, 0, false);
    int accepted = fm_accept(listener, NULL, NULL, FM_NEVER);
    cr_assert_geq(accepted, 0);
    cr_assert_eq(fm_close(accepted), 0);
    cr_assert_eq(fm_close(fd), 0);
    dial_and_part(listener);
    cr_assert_eq(fm_close(listener), 0);
}

FIBER_TEST(socket, without_descriptors_nothing_is_made_and_nothing_leaks)
{
    int listener = loopback_listener(), fd = -7;
    char path[] = "/tmp/fm-unix-XXXXXX";
    cr_assert_not_null(mkdtemp(path));
    int lowest = dup(listener);
    close(lowest);
    fm__fault_set(FAULT_FD, 1, true);
    cr_assert_eq(fm_dial_tcp(NULL, port_of(listener), FM_NEVER, &fd), -EMFILE);
    cr_assert_eq(fm_listen_tcp(NULL, 0, 1, &fd), -EMFILE);
    cr_assert_eq(fm_listen_unix("unused", &fd), -EMFILE);
    fm__fault_set(FAULT_FD, 0, false);
    cr_assert_eq(fd, -7);
    cr_assert_eq(fm_listen_unix(path, &fd), -EADDRINUSE);
    cr_assert_eq(dup(listener), lowest, "a descriptor leaked");
    close(lowest);
    rmdir(path);
    dial_and_part(listener);
    cr_assert_eq(fm_close(listener), 0);
}

FIBER_TEST(socket, refused_connection_is_reported)
{
    int listener = loopback_listener(), fd;
    uint16_t port = port_of(listener);
    cr_assert_eq(fm_close(listener), 0);
    cr_assert_eq(fm_dial_tcp(NULL, port, fm_after_s(10), &fd), -ECONNREFUSED);
    cr_assert_eq(fm_dial_tcp("::1", port, fm_after_s(10), &fd) == 0, false);
}

FIBER_TEST(socket, second_listener_on_a_port_is_refused)
{
    int listener = loopback_listener(), fd;
    cr_assert_eq(fm_listen_tcp(NULL, port_of(listener), 1, &fd), -EADDRINUSE);
    cr_assert_eq(fm_close(listener), 0);
}

/* A listener whose queue is full lets connections hang: the handshake is never finished. */
struct dial {
    uint16_t port;
    int64_t deadline_ns;
};

static struct fm_exit dial_until(void *arg)
{
    struct dial *dial = arg;
    int fd;
    int r = fm_dial_tcp(NULL, dial->port, dial->deadline_ns, &fd);
    if (r == 0)
        fm_close(fd);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

/* In real time: nothing else tells a handshake that hangs from one that is under way. */
REAL_TIME_TEST(socket, connect_that_hangs_ends_by_deadline_and_by_interruption)
{
    enum { MANY = 16 };
    int listener, fds[MANY], count = 0;
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    cr_assert_eq(fm_listen_tcp(NULL, 0, 1, &listener), 0);
    address.sin_port = htons(port_of(listener));
    for (; count < MANY; count++) { /* fill it */
        fds[count] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int r = fm_connect(fds[count], (struct sockaddr *)&address, sizeof address, fm_after_ms(20));
        if (r == -ETIMEDOUT)
            break;
        cr_assert_eq(r, 0);
    }
    cr_assert_lt(count, MANY, "the queue never filled");
    cr_assert_eq(fm_close(fds[count]), 0);
    struct dial dial = { ntohs(address.sin_port), FM_NEVER };
    struct fm_fiber *fiber = start(dial_until, &dial);
    await_wait(fiber);
    fm_fiber_interrupt(fiber);
    expect_interruption(finish(fiber), FM_BY_USER);
    dial.deadline_ns = fm_after_ms(5);
    cr_assert_eq(finish(start(dial_until, &dial)).code, -ETIMEDOUT);
    while (count--)
        cr_assert_eq(fm_close(fds[count]), 0);
    cr_assert_eq(fm_close(listener), 0);
}

/* A local listener whose queue is full refuses with EAGAIN, and no event says when it no longer is. */
TIMED_TEST(socket, connect_to_a_full_local_listener_waits_its_turn)
{
    enum { MANY = 8 };
    char path[] = "/tmp/fm-full-XXXXXX";
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int listener, fds[MANY], count = 0, accepted[2];
    cr_assert_not_null(mkdtemp(path));
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", path);
    cr_assert_eq(fm_listen_unix(address.sun_path, &listener), 0);
    cr_assert_eq(listen(listener, 0), 0);
    for (; count < MANY; count++) {
        fds[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int r = fm_connect(fds[count], (struct sockaddr *)&address, sizeof address, fm_after_ms(3));
        if (r == -ETIMEDOUT)
            break;
        cr_assert_eq(r, 0);
    }
    cr_assert_lt(count, MANY, "the queue never filled");
    struct fm_fiber *acceptor = start(accept_one, number(listener));
    cr_assert_eq(fm_connect(fds[count], (struct sockaddr *)&address, sizeof address, FM_NEVER), 0);
    accepted[0] = (int)(intptr_t)finish(acceptor).value;
    accepted[1] = fm_accept(listener, NULL, NULL, FM_NEVER);
    close_both(accepted);
    for (; count >= 0; count--)
        cr_assert_eq(fm_close(fds[count]), 0);
    cr_assert_eq(fm_close(listener), 0);
    unlink(address.sun_path);
    rmdir(path);
}

FIBER_TEST(socket, local_listener_takes_connections)
{
    char path[] = "/tmp/fm-unix-XXXXXX", longer[200];
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int listener, fd;
    cr_assert_not_null(mkdtemp(path));
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", path);
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    cr_assert_eq(fm_listen_unix(longer, &fd), -ENAMETOOLONG);
    cr_assert_eq(fm_listen_unix("", &fd), -EINVAL);
    cr_assert_eq(fm_listen_unix(NULL, &fd), -EINVAL);
    cr_assert_eq(fm_listen_unix(address.sun_path, NULL), -EINVAL);
    cr_assert_eq(fm_listen_unix(address.sun_path, &listener), 0);
    struct fm_fiber *acceptor = start(accept_one, number(listener));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(fm_connect(fd, (struct sockaddr *)&address, sizeof address, FM_NEVER), 0);
    int accepted = (int)(intptr_t)finish(acceptor).value;
    cr_assert_eq(fm_write(fd, "x", 1, FM_NEVER), 1);
    cr_assert_eq((intptr_t)read_byte(number(accepted)).value, 'x');
    cr_assert_eq(fm_close(accepted), 0);
    cr_assert_eq(fm_close(fd), 0);
    cr_assert_eq(fm_close(listener), 0);
    unlink(address.sun_path);
    rmdir(path);
}

FIBER_TEST(socket, six_is_as_good_as_four)
{
    int listener, fds[2];
    struct sockaddr_in6 address;
    socklen_t len = sizeof address;
    int r = fm_listen_tcp("::1", 0, 0, &listener);
    if (r == -EADDRNOTAVAIL || r == -EAFNOSUPPORT)
        return; /* a machine without */
    cr_assert_eq(r, 0);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    cr_assert_eq(fm_dial_tcp("::1", ntohs(address.sin6_port), FM_NEVER, &fds[0]), 0);
    fds[1] = fm_accept(listener, NULL, NULL, FM_NEVER);
    close_both(fds);
    cr_assert_eq(fm_close(listener), 0);
}

/* ---- names ---- */

FIBER_TEST(socket, dial_by_name_tries_each_address)
{
    int listener = loopback_listener(), fds[2];
    /* localhost may name ::1 first, where nobody listens. */
    cr_assert_eq(fm_dial_tcp("localhost", port_of(listener), fm_after_s(20), &fds[0]), 0);
    fds[1] = fm_accept(listener, NULL, NULL, FM_NEVER);
    close_both(fds);
    cr_assert_eq(fm_close(listener), 0);
    cr_assert_eq(fm_listen_tcp("localhost", 0, 0, &listener), 0);
    cr_assert_eq(fm_close(listener), 0);
}

FIBER_TEST(socket, literals_are_read_without_the_pool)
{
    struct fm_address *a = NULL;
    struct fm_runtime_stats stats;
    cr_assert_eq(fm_resolve("10.1.2.3", 80, 0, &a), 0);
    const struct sockaddr_in *four = (const struct sockaddr_in *)&a->storage;
    cr_assert_eq(a->len, sizeof *four);
    cr_assert_eq(four->sin_family, AF_INET);
    cr_assert_eq(four->sin_port, htons(80));
    cr_assert_eq(four->sin_addr.s_addr, inet_addr("10.1.2.3"));
    cr_assert_null(a->next);
    a = fm_addresses_free(a);
    cr_assert_null(a);
    cr_assert_eq(fm_resolve("fe80::1", 443, 0, &a), 0);
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&a->storage;
    cr_assert_eq(six->sin6_family, AF_INET6);
    cr_assert_eq(six->sin6_port, htons(443));
    fm_addresses_free(a);
    cr_assert_eq(fm_resolve(NULL, 1, 0, &a), 0);
    four = (const struct sockaddr_in *)&a->storage;
    cr_assert_eq(four->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    fm_addresses_free(a);
    cr_assert_eq(fm_resolve("1.2.3.4", 1, 0, NULL), -EINVAL);
    fm__fault_set(FAULT_MALLOC, 1, true);
    cr_assert_eq(fm_resolve("1.2.3.4", 1, 0, &a), -ENOMEM);
    cr_assert_eq(fm_resolve("localhost", 1, 0, &a), -ENOMEM);
    fm__fault_set(FAULT_MALLOC, 0, false);
    fm_runtime_stats(fm_runtime_current(), &stats);
    cr_assert_eq(stats.blocking_jobs, 0);
}

static struct fm_exit resolve_localhost(void *arg)
{
    struct fm_address *a;
    int r = fm_resolve("localhost", 80, *(int64_t *)arg, &a);
    if (r == 0)
        fm_addresses_free(a);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

FIBER_TEST(socket, name_is_resolved_on_the_pool)
{
    struct fm_address *a;
    struct fm_runtime_stats stats;
    cr_assert_eq(fm_resolve("localhost", 8080, FM_NEVER, &a), 0);
    for (struct fm_address *each = a; each; each = each->next) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)&each->storage;
        cr_assert(four->sin_family == AF_INET || four->sin_family == AF_INET6);
        cr_assert_eq(four->sin_port, htons(8080)); /* the port is in one place in both */
    }
    fm_addresses_free(a);
    fm_runtime_stats(fm_runtime_current(), &stats);
    cr_assert_eq(stats.blocking_jobs, 1);
    int r = fm_resolve("no-such-name.invalid", 1, FM_NEVER, &a);
    cr_assert(r == -ENOENT || r == -EAGAIN, "%d", r);
}

/*
 * F96: who gives up leaves the job with what it needs. The leak checker looks on. In real time,
 * that of the pool's threads: at any step of theirs.
 */
REAL_TIME_TEST(socket, resolver_that_is_given_up_on_owns_what_it_uses)
{
    enum { MANY = 50 };
    struct fm_fiber *fibers[MANY];
    int64_t deadlines[MANY];
    for (int i = 0; i < MANY; i++) {
        deadlines[i] = i % 2 ? FM_NEVER : fm_after_us(i * 10);
        fibers[i] = start(resolve_localhost, &deadlines[i]);
        if (i % 4 == 1)
            fm_fiber_interrupt(fibers[i]);
    }
    for (int i = 0; i < MANY; i++) {
        struct fm_exit exit = finish(fibers[i]);
        cr_assert(exit.kind == FM_SUCCESS || exit.kind == FM_INTERRUPTED || exit.code == -ETIMEDOUT);
    }
}
