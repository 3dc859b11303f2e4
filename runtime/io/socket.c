/*
 * socket.c - connections: listen, accept, connect, dial
 *
 * Each new number goes to its record at once (fm__fd_adopt): its first use need not ask what it
 * is.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "runtime/io/call.h"
#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/memory.h"

/* A new socket, non-blocking and known: the descriptor, or -errno. */
static __attribute__((noinline)) int open_socket(int family)
{
    int fd = fm__fault(FAULT_FD)
                 ? (errno = EMFILE, -1)
                 : socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    fm__fd_adopt(fd, family == AF_UNIX ? KIND_SOCKET : KIND_TCP);
    return fd;
}

/* ---- accept ---- */

/*
 * What befell a connection in the queue, not the listener: the next one is as good. As
 * accept(2) advises.
 */
static bool is_of_the_connection(int error)
{
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case ENONET:
    case EHOSTDOWN:
    case EHOSTUNREACH: return true;
    default: return false;
    }
}

ATTEMPT try_accept(const struct use *use, const struct call *call)
{
    FM_ASSERT(call->direction == DIRECTION_READ);
    int fd;

    if (fm__fault(FAULT_FD))
        return -EMFILE;
    do
        fd = accept4(use->fd, call->address, call->address_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    while (fd < 0 && is_of_the_connection(errno));
    if (fd < 0)
        return -errno;
    fm__fd_adopt(fd, use->kind);
    return fd;
}

int fm_accept(int fd, struct sockaddr *address, socklen_t *address_len, int64_t deadline_ns)
{
    const struct call call = { .attempt = try_accept,
                               .direction = DIRECTION_READ,
                               .what = "io accept",
                               .address = address,
                               .address_len = address_len };
    return (int)fm__call(fd, &call, deadline_ns);
}

/* ---- connect ---- */

static __attribute__((noinline)) int start_connect(int fd, const struct sockaddr *address,
                                                   socklen_t address_len)
{
    FM_ASSERT(fd >= 0 && address);
    return connect(fd, address, address_len) < 0 ? -errno : 0;
}

/* How the connection that was begun is going: 0 made · -EAGAIN not yet · -errno */
static __attribute__((noinline)) int finish_connect(int fd)
{
    FM_ASSERT(fd >= 0);
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    int error = 0, n;
    socklen_t size = sizeof error;

    do
        n = poll(&p, 1, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (n == 0)
        return -EAGAIN;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        return -errno;
    return -error;
}

/*
 * A local listener's queue is full, of which no event tells the end: look again, less and less
 * often.
 */
static int await_local_listener(int64_t *pause_ns, int64_t deadline_ns)
{
    FM_ASSERT(*pause_ns > 0);
    int64_t until = fm_after_ns(*pause_ns);
    if (deadline_ns <= fm_now_ns())
        return -ETIMEDOUT;
    if (*pause_ns < 20000000)
        *pause_ns *= 2;
    return fm_sleep_until_ns(until < deadline_ns ? until : deadline_ns);
}

int fm_connect(int fd, const struct sockaddr *address, socklen_t address_len,
               int64_t deadline_ns)
{
    int64_t pause_ns = 500000;
    struct use use;
    uint32_t seen[2];
    int r;

    if (!address)
        return -EINVAL;
    for (;;) {
        r = fm__use_begin(&use, fd);
        if (r < 0)
            return r;
        seen[DIRECTION_WRITE] = fm__use_tick(&use, DIRECTION_WRITE);
        r = start_connect(fd, address, address_len);
        if (r != -EAGAIN)
            break;
        fm__use_end(&use);
        r = await_local_listener(&pause_ns, deadline_ns);
        if (r < 0)
            return r;
    }
    if (r == -EINPROGRESS || r == -EALREADY || r == -EINTR) {
        for (;;) {
            r = finish_connect(fd);
            if (r != -EAGAIN)
                break;
            r = fm__use_wait(&use, FM_IO_WRITE, seen, deadline_ns, "io connect");
            if (r < 0)
                return r;
            seen[DIRECTION_WRITE] = fm__use_tick(&use, DIRECTION_WRITE);
        }
    }
    fm__use_pass_on(&use);
    fm__use_end(&use);
    return r;
}

/* ---- listen, dial ---- */

static __attribute__((noinline)) int bind_and_listen(int fd, const struct sockaddr *address,
                                                     socklen_t len, int backlog)
{
    FM_ASSERT(fd >= 0 && address);
    int on = 1;

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, address, len) < 0 || listen(fd, backlog) < 0)
        return -errno;
    return 0;
}

static int listen_at(const struct sockaddr *address, socklen_t len, int backlog, int *ret_fd)
{
    FM_ASSERT(address && ret_fd);
    int fd = open_socket(address->sa_family);
    if (fd < 0)
        return fd;
    int r = bind_and_listen(fd, address, len, backlog);
    if (r < 0)
        fm_close(fd);
    else
        *ret_fd = fd;
    return r;
}

int fm_listen_tcp(const char *host, uint16_t port, int backlog, int *ret_fd)
{
    struct fm_address *addresses;

    if (!ret_fd)
        return -EINVAL;
    int r = fm_resolve(host, port, FM_NEVER, &addresses);
    if (r < 0)
        return r;
    r = -ENOENT;
    for (struct fm_address *a = addresses; a && r < 0; a = a->next)
        r = listen_at((const struct sockaddr *)&a->storage, a->len,
                      backlog > 0 ? backlog : SOMAXCONN, ret_fd);
    fm_addresses_free(addresses);
    return r;
}

int fm_listen_unix(const char *path, int *ret_fd)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    if (!path || !*path || !ret_fd)
        return -EINVAL;
    if (!fm__fiber_self())
        return -EPERM;
    if (strlen(path) >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    return listen_at((const struct sockaddr *)&address, sizeof address, SOMAXCONN, ret_fd);
}

static __attribute__((noinline)) int set_nodelay(int fd)
{
    FM_ASSERT(fd >= 0);
    int on = 1;
    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ? -errno : 0;
}

int fm_dial_tcp(const char *host, uint16_t port, int64_t deadline_ns, int *ret_fd)
{
    struct fm_address *addresses;

    if (!ret_fd)
        return -EINVAL;
    int r = fm_resolve(host, port, deadline_ns, &addresses);
    if (r < 0)
        return r;
    r = -ENOENT;
    for (struct fm_address *a = addresses; a; a = a->next) {
        int fd = r = open_socket(a->storage.ss_family);
        if (fd < 0)
            continue;
        r = fm_connect(fd, (const struct sockaddr *)&a->storage, a->len, deadline_ns);
        if (r == 0)
            r = set_nodelay(fd);
        if (r == 0) {
            *ret_fd = fd;
            break;
        }
        fm_close(fd);
        if (r == -ECANCELED || r == -ETIMEDOUT)
            break;
    }
    fm_addresses_free(addresses);
    return r;
}
