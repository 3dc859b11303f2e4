#include <arpa/inet.h>
#include <errno.h>
#include <fm/fm.h>
#include <llhttp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * HTTP/1.1 with a parser that knows nothing of fibers, and counters that one fiber at a time
 * works on: GET /count/NAME counts one up and tells how far it has come.
 */
enum { IN_BYTES = 4096, HEAD_BYTES = 8192, TARGET_BYTES = 128 };
enum { OUT_BYTES = 4096, ANSWER_BYTES = 256 };

struct counter {
    const char *name;
    long count;
};

struct server {
    int listener;
    struct fm_map *counters; /* key: the name; who works on it */
    struct counter ann, bob;
};

struct connection {
    struct server *server;
    int fd;
    llhttp_t parser;
    int refused;  /* the status of what has gone wrong; 0: nothing */
    bool last;    /* the client wants no more answers */
    size_t begun; /* bytes of a request that has not come whole */
    size_t target_len, out_len;
    char target[TARGET_BYTES];
    char out[OUT_BYTES];
};

/* ---- what the parser tells ---- */

static int on_begin(llhttp_t *parser)
{
    struct connection *c = parser->data;
    c->target_len = 0;
    return 0;
}

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
    struct connection *c = parser->data;
    if (len >= sizeof c->target - c->target_len) {
        c->refused = 414;
        return HPE_USER;
    }
    memcpy(c->target + c->target_len, at, len);
    c->target_len += len;
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    struct connection *c = parser->data;
    (void)at, (void)len;
    c->refused = 413; /* nothing here takes one */
    return HPE_USER;
}

/* The parser stops behind the request, so that it is answered before the next is looked at. */
static int on_complete(llhttp_t *parser)
{
    struct connection *c = parser->data;
    c->target[c->target_len] = '\0';
    c->last = !llhttp_should_keep_alive(parser);
    return HPE_PAUSED;
}

/* ---- counters ---- */

static struct fm_exit count_up(void *arg)
{
    struct counter *counter = arg;
    long seen = counter->count;
    fm_yield(); /* a database, say: who counted up meanwhile would be lost */
    counter->count = seen + 1;
    return fm_ok((void *)(seen + 1));
}

/* Whoever asks for the same name waits for his turn. */
static int ask_counter(struct server *server, struct counter *counter, long *ret_count)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    struct fm_exit exit;

    options.conflict = FM_QUEUE;
    options.queue_max = 1000;
    int r = fm_map_run(server->counters, fm_key_str(counter->name), count_up, counter, &options,
                       &fiber);
    if (r < 0)
        return r;
    r = fm_fiber_join(fiber, fm_after_s(5), &exit);
    *ret_count = r == 0 && exit.kind == FM_SUCCESS ? (long)exit.value : 0;
    fm_fiber_unref(fiber);
    return r;
}

/* ---- answers ---- */

static int flush(struct connection *c)
{
    ssize_t n = fm_write_full(c->fd, c->out, c->out_len, fm_after_s(10), NULL);
    c->out_len = 0;
    return n < 0 ? (int)n : 0;
}

static int answer(struct connection *c, int status, const char *text)
{
    int r = sizeof c->out - c->out_len < ANSWER_BYTES ? flush(c) : 0;
    c->out_len += (size_t)snprintf(c->out + c->out_len, ANSWER_BYTES,
                                   "HTTP/1.1 %d -\r\nContent-Length: %zu\r\n%s\r\n%s", status,
                                   strlen(text), c->last ? "Connection: close\r\n" : "", text);
    return r;
}

static int answer_request(struct connection *c)
{
    struct server *server = c->server;
    char text[32] = "";
    long count = 0;
    bool ann = !strcmp(c->target, "/count/ann");

    if (!ann && strcmp(c->target, "/count/bob"))
        return answer(c, 404, "");
    int r = ask_counter(server, ann ? &server->ann : &server->bob, &count);
    if (r < 0)
        return answer(c, 503, fm_strerror(r));
    snprintf(text, sizeof text, "%ld\n", count);
    return answer(c, 200, text);
}

static int refuse(struct connection *c, int status)
{
    c->last = true;
    return answer(c, c->refused ? c->refused : status, "");
}

/* ---- a connection ---- */

/* Answer all that is whole in these bytes, in its order: to be pipelined is nothing special. */
static int feed(struct connection *c, const char *at, size_t len)
{
    const char *end = at + len;
    while (at < end && !c->last) {
        enum llhttp_errno error = llhttp_execute(&c->parser, at, (size_t)(end - at));
        if (error == HPE_OK) {
            c->begun += (size_t)(end - at);
            return c->begun > HEAD_BYTES ? refuse(c, 431) : 0;
        }
        if (error != HPE_PAUSED)
            return refuse(c, 400);
        at = llhttp_get_error_pos(&c->parser);
        llhttp_resume(&c->parser);
        c->begun = 0;
        int r = answer_request(c);
        if (r < 0)
            return r;
    }
    return 0;
}

static int converse(struct connection *c)
{
    char in[IN_BYTES];
    int64_t deadline_ns = fm_after_s(60);
    while (!c->last) {
        ssize_t n = fm_recv(c->fd, in, sizeof in, 0, deadline_ns);
        if (n <= 0)
            return (int)n;
        int r = feed(c, in, (size_t)n);
        if (r == 0)
            r = flush(c);
        if (r < 0)
            return r;
        if (c->begun == 0) /* who sends a head byte by byte gets no more time for it */
            deadline_ns = fm_after_s(60);
    }
    return 0;
}

static void hang_up(void *arg)
{
    struct connection *c = arg;
    fm_close(c->fd);
    free(c);
}

static struct fm_exit serve(void *arg)
{
    static const llhttp_settings_t settings = { .on_message_begin = on_begin,
                                                .on_url = on_url,
                                                .on_body = on_body,
                                                .on_message_complete = on_complete };
    struct connection *c = arg;
    llhttp_init(&c->parser, HTTP_REQUEST, &settings);
    c->parser.data = c;
    int r = converse(c);
    hang_up(c);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static struct fm_exit accept_all(void *arg)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct server *server = arg;
    options.arg_drop = hang_up; /* of one that is interrupted before its first line */
    for (;;) {
        int fd = fm_accept(server->listener, NULL, NULL, FM_NEVER);
        if (fd < 0)
            return fm_fail(fd);
        struct connection *c = calloc(1, sizeof *c);
        if (!c) {
            fm_close(fd);
            continue;
        }
        c->server = server;
        c->fd = fd;
        if (fm_fiber_spawn(serve, c, &options, NULL) < 0)
            hang_up(c);
    }
}

/* ---- clients ---- */

enum { CLIENTS = 4, REQUESTS = 25, HEARD_BYTES = 8192 };

/* Say all of it at once, and hear until the server closes. */
static int say(struct server *server, const char *text, char heard[HEARD_BYTES])
{
    struct sockaddr_in address = { 0 };
    socklen_t bytes = sizeof address;
    int fd;

    getsockname(server->listener, (struct sockaddr *)&address, &bytes);
    int r = fm_dial_tcp("127.0.0.1", ntohs(address.sin_port), fm_after_s(20), &fd);
    if (r < 0)
        return r;
    ssize_t n = fm_write_full(fd, text, strlen(text), fm_after_s(20), NULL);
    if (n >= 0)
        n = fm_read_full(fd, heard, HEARD_BYTES - 1, fm_after_s(20), NULL);
    heard[n < 0 ? 0 : n] = '\0';
    fm_close(fd);
    return n < 0 ? (int)n : 0;
}

static struct fm_exit count_many(void *server)
{
    char text[REQUESTS * 64] = "", heard[HEARD_BYTES];
    intptr_t answers = 0;
    for (int i = 1; i < REQUESTS; i++)
        strcat(text, "GET /count/ann HTTP/1.1\r\nHost: x\r\n\r\n");
    strcat(text, "GET /count/ann HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    int r = say(server, text, heard);
    if (r < 0)
        return fm_fail(r);
    for (const char *at = heard; (at = strstr(at, "HTTP/1.1 200 -")); at++)
        answers++;
    return fm_ok((void *)answers);
}

static bool use(struct server *server)
{
    struct fm_fiber *clients[CLIENTS];
    void *args[CLIENTS] = { server, server, server, server };
    char heard[HEARD_BYTES];
    intptr_t answers = 0;

    if (fm_fiber_spawn_many(count_many, args, CLIENTS, NULL, clients) < 0)
        return false;
    for (int i = 0; i < CLIENTS; i++) {
        struct fm_exit exit = { 0 };
        if (fm_fiber_join(clients[i], FM_NEVER, &exit) == 0 && exit.kind == FM_SUCCESS)
            answers += (intptr_t)exit.value;
        fm_fiber_unref(clients[i]);
    }
    printf("%d answers, %ld counted\n", (int)answers, server->ann.count);
    bool refused = say(server, "nonsense\r\n\r\n", heard) == 0;
    printf("nonsense: %.12s\n", heard);
    return refused && answers == CLIENTS * REQUESTS && server->ann.count == answers &&
           !strncmp(heard, "HTTP/1.1 400", 12);
}

static struct fm_exit program(void *arg)
{
    struct server server = { .ann = { "ann", 0 }, .bob = { "bob", 0 } };
    struct fm_fiber *acceptor;
    bool right = false;

    int r = fm_map_create_scoped(NULL, &server.counters);
    if (r == 0)
        r = fm_listen_tcp("127.0.0.1", 0, 128, &server.listener);
    if (r < 0)
        return fm_fail(r);
    r = fm_fiber_spawn(accept_all, &server, NULL, &acceptor);
    if (r == 0) {
        right = use(&server);
        fm_fiber_stop(acceptor, FM_NEVER,
                      NULL); /* and the connections, which are its children */
        fm_fiber_unref(acceptor);
    }
    fm_close(server.listener);
    return right ? fm_ok(arg) : fm_fail(r < 0 ? r : -EPROTO);
}

int main(void)
{
    struct fm_exit exit = { 0 };
    return fm_run(program, NULL, &exit) < 0 || exit.kind != FM_SUCCESS;
}
