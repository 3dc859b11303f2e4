/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.c - the HTTP question over epoll alone: what a server costs that does nothing else
 *
 * peer http [--workers 1] says where it listens and serves /hello, on one thread, until it is
 * ended. The answer is ours to the byte. A request's head is read line by line, as far as one
 * must to know where it ends, what it asks for and whether the connection goes on; one with a
 * body is refused. There are no deadlines, no limits but the buffers', and no drain.
 *
 *   readable --> recv, answer all that is whole --> send --> epoll_wait
 *                     ^                               |
 *                     '--- writable, all is sent <----'  the peer does not read: nothing of
 *                                                        its is read until it does
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    IN_BYTES = 8 << 10,
    OUT_BYTES = 64 << 10,
    ANSWER_BYTES = 512, /* the longest answer is shorter */
    EVENTS = 256,
};

struct client {
    int fd;
    bool last;    /* no request is read any more */
    bool waiting; /* for the peer to read; epoll knows */
    size_t in_len;
    size_t out_len, sent;
    char in[IN_BYTES];
    char out[OUT_BYTES];
};

struct request {
    size_t len; /* of the head, which is all of it */
    const char *status;
    bool hello;
    bool close;
};

static int poller;

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- requests and answers ---- */

static bool names(const char *line, size_t len, const char *name)
{
    size_t name_len = strlen(name);
    return len > name_len && line[name_len] == ':' && !strncasecmp(line, name, name_len);
}

static bool begins(const char *line, size_t len, const char *text)
{
    return len >= strlen(text) && !memcmp(line, text, strlen(text));
}

static void read_header(struct request *request, const char *line, size_t len)
{
    switch (*line | 0x20) { /* most headers are none of these */
    case 'c':
        if (names(line, len, "connection") && memmem(line, len, "close", 5))
            request->close = true;
        if (names(line, len, "content-length"))
            request->status = "501 Not Implemented";
        break;
    case 't':
        if (names(line, len, "transfer-encoding"))
            request->status = "501 Not Implemented";
        break;
    default: break;
    }
}

/* The first request of these bytes; false: there is no whole one. */
static bool read_request(const char *at, size_t len, struct request *request)
{
    const char *start = at, *end = at + len, *newline;
    *request = (struct request) { .status = "200 OK" };
    for (; (newline = memchr(at, '\n', (size_t)(end - at))); at = newline + 1) {
        size_t line_len = (size_t)(newline - at);
        if (line_len <= 1) { /* CR at most: the head ends */
            request->len = (size_t)(newline + 1 - start);
            if (!request->hello)
                request->status = "404 Not Found";
            if (request->status[0] != '2')
                request->close = true;
            return true;
        }
        if (at == start)
            request->hello = begins(at, line_len, "GET /hello HTTP/1.1");
        else
            read_header(request, at, line_len);
    }
    return false;
}

static const char *date(void)
{
    static time_t second;
    static char text[40];
    time_t now = time(NULL);
    if (now != second) {
        struct tm tm;
        gmtime_r(&now, &tm);
        strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        second = now;
    }
    return text;
}

static size_t compose(char *out, const struct request *request)
{
    char *at = out;
    at = stpcpy(stpcpy(at, "HTTP/1.1 "), request->status);
    at = stpcpy(at, "\r\nContent-Type: text/plain; charset=utf-8\r\nDate: ");
    at = stpcpy(at, date());
    at = stpcpy(at, request->hello ? "\r\nContent-Length: 6" : "\r\nContent-Length: 0");
    if (request->close)
        at = stpcpy(at, "\r\nConnection: close");
    at = stpcpy(at, "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n");
    if (request->hello)
        at = stpcpy(at, "hello\n");
    return (size_t)(at - out);
}

/* ---- clients ---- */

static void client_end(struct client *client)
{
    close(client->fd);
    free(client);
}

/* Answer what is whole, as long as there is room. */
static void answer(struct client *client)
{
    size_t used = 0;
    struct request request;
    while (!client->last && OUT_BYTES - client->out_len >= ANSWER_BYTES &&
           read_request(client->in + used, client->in_len - used, &request)) {
        client->out_len += compose(client->out + client->out_len, &request);
        client->last = request.close;
        used += request.len;
    }
    client->in_len -= used;
    if (used && client->in_len)
        memmove(client->in, client->in + used, client->in_len);
}

/* Send what waits: 1 all of it, 0 the peer must read first, -1 it is gone */
static int flush(struct client *client)
{
    while (client->sent < client->out_len) {
        ssize_t n = send(client->fd, client->out + client->sent, client->out_len - client->sent,
                         MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        client->sent += (size_t)n;
    }
    client->sent = client->out_len = 0;
    return 1;
}

static void watch(struct client *client, bool waiting)
{
    struct epoll_event event = { .events = waiting ? EPOLLOUT : EPOLLIN, .data.ptr = client };
    if (waiting != client->waiting && epoll_ctl(poller, EPOLL_CTL_MOD, client->fd, &event) < 0)
        die("epoll_ctl");
    client->waiting = waiting;
}

/* Answer and send in turn until the one or the other stops. False: it is over. */
static bool converse(struct client *client)
{
    for (;;) {
        int r = flush(client);
        if (r <= 0) {
            watch(client, true);
            return r == 0;
        }
        if (client->last)
            return false;
        answer(client);
        if (!client->out_len)
            break;
    }
    watch(client, false);
    return client->in_len < IN_BYTES; /* else a head that is too large */
}

static bool client_ready(struct client *client)
{
    if (client->waiting)
        return converse(client);
    ssize_t n = recv(client->fd, client->in + client->in_len, IN_BYTES - client->in_len, 0);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    client->in_len += (size_t)n;
    return converse(client);
}

static void client_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return; /* it has left already */
    struct client *client = malloc(sizeof *client);
    if (!client)
        die("malloc");
    client->fd = fd;
    client->last = client->waiting = false;
    client->in_len = client->out_len = client->sent = 0;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int) { 1 }, sizeof(int));
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = client };
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

/* ---- the loop ---- */

static int listen_anywhere(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, 4096) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        die("listen");
    printf("listening on http://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void serve(void)
{
    static struct epoll_event events[EVENTS];
    poller = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_anywhere();
    struct epoll_event of_listener = { .events = EPOLLIN };
    if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &of_listener) < 0)
        die("epoll");
    for (;;) {
        int count = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct client *client = events[i].data.ptr;
            if (!client)
                client_accept(listener);
            else if (!client_ready(client))
                client_end(client);
        }
    }
}

int main(int argc, char *argv[])
{
    if (argc == 2 && !strcmp(argv[1], "--version"))
        return puts("epoll, gcc " __VERSION__) < 0;
    bool of_one = argc == 4 && !strcmp(argv[2], "--workers") && !strcmp(argv[3], "1");
    if ((argc != 2 && !of_one) || strcmp(argv[1], "http")) {
        fprintf(stderr, "usage: peer http [--workers 1]\n");
        return 1;
    }
    serve();
}
