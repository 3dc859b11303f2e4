/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection.c - one client, one fiber
 *
 * Reads, hands the bytes to http.c, answers each request in its turn, sends all answers at once
 * when the input is used up, and waits for more. The fiber is masked but where it waits for the
 * client: a request that has come whole is answered even if an interruption comes meanwhile,
 * and the next wait ends. A request whose body is streamed is answered as soon as its head has
 * come, and its handler does the waiting (body.h).
 *
 * Owns        the socket, the parser, the answers not yet sent.
 * Knows not   what a request means.
 */
#include "tools/server/connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tools/server/answer.h"
#include "tools/server/api.h"
#include "tools/server/body.h"
#include "tools/server/http.h"
#include "tools/server/log.h"
#include "tools/server/rates.h"
#include "tools/server/websocket.h"
#include "tools/server/wire.h"

enum {
    CLIENT_BYTES = INET6_ADDRSTRLEN,
    COARSE_MS = 10, /* the kernel's longest tick: how far its coarse clock is behind at most */
};

struct connection {
    struct server *server;
    struct fm_semaphore *slots;
    char client[CLIENT_BYTES]; /* its address, where that is asked for */
    struct http http;
    struct exchange exchange;
    struct body body;
    unsigned long long requests; /* answered */
    /*
     * Last, and its room for input never cleared: of a client whose requests are short, most of
     * its pages are never touched, and so not there.
     */
    struct wire wire;
};

static void connection_free(void *arg)
{
    struct connection *c = arg;
    fm_semaphore_release(c->slots, 1);
    rates_leave(c->server->rates, c->exchange.rate);
    http_fini(&c->http);
    buffer_fini(&c->wire.out);
    free(c);
}

/* The fiber never ran: nobody has registered the socket with the runtime. */
static void connection_drop(void *arg)
{
    close(((struct connection *)arg)->wire.fd);
    connection_free(arg);
}

/* ---- requests ---- */

static void refuse(struct connection *c, int status, const char *reason)
{
    server_count(&c->server->refused);
    const struct log_field fields[] = {
        { "client", { c->client, strlen(c->client) }, 0 },
        { "status", { NULL, 0 }, status },
        { "reason", { reason, strlen(reason) }, 0 },
    };
    log_line(c->server->log, "refused", fields, sizeof fields / sizeof fields[0]);
    c->exchange.head_only = false;
    c->exchange.close = true;
    answer_error(&c->exchange, status, reason);
}

/* The request is answered while its body comes. Answers true while the connection goes on. */
static bool answer_streaming(struct connection *c)
{
    if (wire_flush(&c->wire) < 0)
        return false;
    body_begin(&c->body, &c->exchange, &c->http);
    api_answer(&c->exchange);
    c->exchange.body = NULL;
    c->requests++;
    if (!c->body.ended)
        return false;
    http_next(&c->http);
    return !c->exchange.close;
}

/* A head that announces a body. Answers true while the connection goes on. */
static bool take_head(struct connection *c)
{
    if (api_streams(&c->exchange))
        return answer_streaming(c);
    if (http_hold_body(&c->http) < 0) {
        refuse(c, c->http.refused_status, c->http.refused_reason);
        return false;
    }
    return c->wire.in_from < c->wire.in_to || !http_wants_continue(&c->http) ||
           buffer_append_text(&c->wire.out, "HTTP/1.1 100 Continue\r\n\r\n") == 0;
}

/* Answer what has been read. Answers true while the connection goes on. */
static bool use_input(struct connection *c)
{
    struct wire *wire = &c->wire;
    while (wire->in_from < wire->in_to) {
        size_t used;
        int r = http_feed(&c->http, wire->in + wire->in_from, wire->in_to - wire->in_from,
                          &used);
        wire->in_from += used;
        if (r < 0) {
            refuse(c, c->http.refused_status, c->http.refused_reason);
            return false;
        }
        if (r == FEED_HEAD && !take_head(c))
            return false;
        if (r == FEED_REQUEST) {
            api_answer(&c->exchange);
            c->requests++;
            http_next(&c->http);
            if (c->exchange.close || c->exchange.websocket)
                return false;
        }
        if (wire->out.len > WIRE_OUT_BYTES && wire_flush(wire) < 0)
            return false;
    }
    return wire_flush(wire) == 0;
}

/* The time now or a moment later, so that nobody is given less than is promised; cheap. */
static int64_t about_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec + COARSE_MS * 1000000;
}

/*
 * Wait for bytes, each part of a request within its own time: true if there are some.
 *
 * since_ns  when the present part began
 */
static bool wait_for_input(struct connection *c, int64_t since_ns)
{
    const struct options *options = &c->server->options;
    unsigned ms = c->http.phase == PHASE_IDLE   ? options->idle_ms
                  : c->http.phase == PHASE_HEAD ? options->head_ms
                                                : options->body_ms;
    ssize_t n = wire_receive(&c->wire, since_ns + (int64_t)ms * 1000000);
    if (n == -ETIMEDOUT && c->http.phase != PHASE_IDLE)
        refuse(c, 408, "the request did not come in time");
    return n > 0;
}

static void converse(struct connection *c)
{
    int64_t since_ns = about_now_ns();
    while (wait_for_input(c, since_ns)) {
        enum http_phase before = c->http.phase;
        unsigned long long request = c->requests;
        if (!use_input(c))
            return;
        if (c->http.phase != before || c->requests != request)
            since_ns = about_now_ns();
    }
}

static struct fm_exit connection_entry(void *arg)
{
    struct connection *c = arg;
    fm_mask();
    converse(c);
    struct websocket *websocket = c->exchange.websocket;
    struct wire *wire = &c->wire;
    if (websocket) {
        if (wire_flush(wire) < 0)
            shutdown(wire->fd, SHUT_RDWR);
        websocket_run(websocket, wire);
    }
    wire_hang_up(wire);
    fm_close(wire->fd);
    connection_free(c);
    return fm_ok(NULL);
}

/* The address of who is there, for the log and the limit: 0 · -ENOMEM */
static int connection_know_client(struct connection *c, int peer)
{
    struct server *server = c->server;
    if (!server->log && !server->rates)
        return 0;
    struct sockaddr_storage storage = { 0 };
    const struct sockaddr_in *four = (const struct sockaddr_in *)&storage;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&storage;
    socklen_t len = sizeof storage;
    if (getpeername(peer, (struct sockaddr *)&storage, &len) < 0)
        storage.ss_family = AF_UNSPEC; /* gone already */
    if (storage.ss_family == AF_INET)
        inet_ntop(AF_INET, &four->sin_addr, c->client, sizeof c->client);
    else if (storage.ss_family == AF_INET6)
        inet_ntop(AF_INET6, &six->sin6_addr, c->client, sizeof c->client);
    else
        strcpy(c->client, storage.ss_family == AF_UNIX ? "unix" : "unknown");
    c->exchange.client = c->client;
    if (server->rates)
        c->exchange.rate = rates_enter(server->rates, c->client);
    return server->rates && !c->exchange.rate ? -ENOMEM : 0;
}

int connection_start(struct server *server, int fd, int peer, uint64_t number,
                     struct fm_semaphore *slots)
{
    struct connection *c = malloc(sizeof *c);
    if (!c)
        return -ENOMEM;
    memset(c, 0, offsetof(struct connection, wire.in));
    struct http_limits limits = {
        .head_bytes = server->options.head_bytes,
        .url_bytes = server->options.url_bytes,
        .body_bytes = server->options.body_bytes,
        .stream_bytes = (uint64_t)server->options.stream_mib << 20,
    };
    http_init(&c->http, &limits);
    c->server = server;
    c->slots = slots;
    c->wire.fd = fd;
    c->wire.send_ms = server->options.send_ms;
    c->exchange.server = server;
    c->exchange.fd = fd;
    c->exchange.request = &c->http.request;
    c->exchange.wire = &c->wire;
    c->exchange.out = &c->wire.out;
    /* answers are sent whole, so there is nothing to wait for; behind TLS fd is none of TCP */
    setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &(int) { 1 }, sizeof(int));

    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.name = "connection";
    options.arg_drop = connection_drop;
    int r = connection_know_client(c, peer);
    if (r == 0)
        r = fm_map_run(server->connections, FM_KEY_U64(number), connection_entry, c, &options,
                       NULL);
    if (r < 0) {
        rates_leave(server->rates, c->exchange.rate);
        http_fini(&c->http);
        free(c);
        return r;
    }
    server_count(&server->accepted);
    return 0;
}
