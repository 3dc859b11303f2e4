/* SPDX-License-Identifier: Apache-2.0 */
/*
 * door.c - the socket that is listened on: of TCP, of a path, or one that was handed over
 */
#include "tools/server/door.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "fm/io.h"
#include "tools/server/auth.h"

enum { BACKLOG = 1024 };

/* What it is called, as the kernel knows it. */
static int door_look(struct door *door, const struct options *options)
{
    struct sockaddr_storage storage = { 0 };
    const struct sockaddr *address = (const struct sockaddr *)&storage;
    const struct sockaddr_un *local = (const struct sockaddr_un *)&storage;
    socklen_t len = sizeof storage;
    char host[INET6_ADDRSTRLEN + 16], port[8];
    if (getsockname(door->fd, (struct sockaddr *)&storage, &len) < 0)
        return -errno;
    door->is_public = !auth_is_local(address);
    if (storage.ss_family == AF_UNIX) {
        snprintf(door->name, sizeof door->name, "unix:%.*s", (int)sizeof local->sun_path,
                 local->sun_path);
        return 0;
    }
    if (getnameinfo(address, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return -EAFNOSUPPORT;
    bool six = storage.ss_family == AF_INET6;
    door->port = ntohs(six ? ((const struct sockaddr_in6 *)&storage)->sin6_port
                           : ((const struct sockaddr_in *)&storage)->sin_port);
    snprintf(door->name, sizeof door->name, "%s://%s%s%s:%s",
             options->tls_cert ? "https" : "http", six ? "[" : "", host, six ? "]" : "", port);
    return 0;
}

/* The file is a socket behind which nobody stands. */
static bool file_is_stale(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct stat is;
    /* a file of another kind refuses connections, too */
    if (lstat(path, &is) < 0 || !S_ISSOCK(is.st_mode))
        return false;
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    int r = connect(fd, (const struct sockaddr *)&address, sizeof address) < 0 ? errno : 0;
    close(fd);
    return r == ECONNREFUSED;
}

static int listen_at_path(const char *path, int *ret_fd)
{
    int r = fm_listen_unix(path, ret_fd);
    if (r == -EADDRINUSE && file_is_stale(path) && unlink(path) == 0)
        r = fm_listen_unix(path, ret_fd);
    return r;
}

int door_open(struct door *door, const struct options *options, int inherited_fd)
{
    memset(door, 0, sizeof *door);
    int r = 0;
    if (inherited_fd >= 0)
        door->fd = inherited_fd;
    else if (options->unix_path)
        r = listen_at_path(options->unix_path, &door->fd);
    else
        r = fm_listen_tcp(options->address, (uint16_t)options->port, BACKLOG, &door->fd);
    if (r < 0)
        return r;
    door->has_file = inherited_fd < 0 && options->unix_path;
    r = door_look(door, options);
    if (r < 0) {
        fm_close(door->fd);
        door_remove(door, options);
    }
    return r;
}

void door_remove(const struct door *door, const struct options *options)
{
    if (door->has_file)
        unlink(options->unix_path);
}
