#include <errno.h>
#include <fm/fm.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * A server of long jobs: POST starts one and answers with its id, GET tells how it is, DELETE
 * cancels it. Requests are read as far as this needs; tools/server is one with all of HTTP.
 */
#define SECOND INT64_C(1000000000)

struct server {
    int fd;
    uint16_t port;
    atomic_int jobs_started;
    struct fm_map *jobs;
    struct fm_set *connections;
};

struct connection {
    struct server *server;
    int fd;
};

/* ---- a job ---- */

static struct fm_exit square(void *number)
{
    int r = fm_sleep_ns(10 * SECOND);
    if (r < 0)
        return fm_fail(r);
    intptr_t n = (intptr_t)number; /* the numbers themselves: nothing to free */
    return fm_ok((void *)(n * n));
}

static int start_job(struct server *server, intptr_t number, char *id, size_t bytes)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = FM_FAIL;
    snprintf(id, bytes, "%d", ++server->jobs_started);
    return fm_map_run(server->jobs, fm_key_str(id), square, (void *)number, &options, NULL);
}

/*
 * A fiber that has ended is not in the map any more, so a look at the map alone could never say
 * "completed". The map retains last exits: one who is not there has ended, or there is none.
 */
static void tell_status(struct server *server, const char *id, char *text, size_t bytes)
{
    struct fm_exit exit;
    if (fm_map_has(server->jobs, fm_key_str(id)))
        snprintf(text, bytes, "processing");
    else if (fm_map_last_exit(server->jobs, fm_key_str(id), &exit) < 0)
        snprintf(text, bytes, "not found");
    else if (exit.kind == FM_SUCCESS)
        snprintf(text, bytes, "completed: %d", (int)(intptr_t)exit.value);
    else
        snprintf(text, bytes, "%s", exit.kind == FM_INTERRUPTED ? "cancelled" : "failed");
}

static int answer(struct server *server, const char *request, char *text, size_t bytes)
{
    char id[16];
    int number;
    if (sscanf(request, "POST /api/process/%d ", &number) == 1) {
        int r = start_job(server, number, id, sizeof id);
        snprintf(text, bytes, "%s", r < 0 ? fm_strerror(r) : id);
        return r < 0 ? 503 : 202;
    }
    if (sscanf(request, "GET /api/status/%15[0-9] ", id) == 1) {
        tell_status(server, id, text, bytes);
        return 200;
    }
    if (sscanf(request, "DELETE /api/cancel/%15[0-9] ", id) == 1) {
        int r = fm_map_remove(server->jobs, fm_key_str(id), fm_after_s(5)); /* until it is */
        snprintf(text, bytes, "%s", r == 0 ? "cancelled" : fm_strerror(r));
        return r == 0 ? 200 : r == -ENOENT ? 404 : 500;
    }
    snprintf(text, bytes, "no such thing");
    return 404;
}

/* ---- connections ---- */

static void hang_up(void *arg)
{
    struct connection *c = arg;
    fm_close(c->fd);
    free(c);
}

static int end_connection(void *arg, struct fm_exit exit)
{
    (void)exit;
    hang_up(arg);
    return 0;
}

static struct fm_exit serve(void *arg)
{
    struct connection *c = arg;
    char request[1024] = "", text[64], response[256];
    size_t length = 0;

    int r = fm_defer(end_connection, c);
    if (r < 0) {
        hang_up(c);
        return fm_fail(r);
    }
    while (!strstr(request, "\r\n\r\n")) { /* who is slow has ten seconds for each piece */
        ssize_t n = fm_read(c->fd, request + length, sizeof request - 1 - length,
                            fm_after_s(10));
        if (n <= 0)
            return fm_fail(n < 0 ? (int)n : -EPROTO);
        request[length += (size_t)n] = '\0';
    }
    int status = answer(c->server, request, text, sizeof text);
    int bytes = snprintf(response, sizeof response,
                         "HTTP/1.1 %d -\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                         status, strlen(text), text);
    ssize_t n = fm_write_full(c->fd, response, (size_t)bytes, fm_after_s(10), NULL);
    return n < 0 ? fm_fail((int)n) : fm_ok(NULL);
}

/* A fiber for each connection. None is awaited here, and the set keeps none that has ended. */
static struct fm_exit accept_all(void *arg)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct server *server = arg;
    options.arg_drop = hang_up;
    for (;;) {
        int fd = fm_accept(server->fd, NULL, NULL, FM_NEVER);
        if (fd < 0)
            return fm_fail(fd);
        struct connection *c = malloc(sizeof *c);
        if (!c) {
            fm_close(fd);
            continue;
        }
        *c = (struct connection) { server, fd };
        if (fm_set_run(server->connections, serve, c, &options, NULL) < 0)
            hang_up(c);
    }
}

static int open_server(struct server *server)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct sockaddr_in address;
    socklen_t bytes = sizeof address;

    config.retain_count = 1000;      /* so many results can be asked for, */
    config.retain_ns = 600 * SECOND; /* for ten minutes */
    int r = fm_map_create(&config, &server->jobs);
    if (r == 0)
        r = fm_set_create(NULL, &server->connections);
    if (r == 0)
        r = fm_listen_tcp(NULL, 0, 16, &server->fd);
    if (r == 0)
        r = getsockname(server->fd, (struct sockaddr *)&address, &bytes);
    if (r == 0)
        server->port = ntohs(address.sin_port);
    return r;
}

/* ---- a client, and what it expects ---- */

static bool ask(struct server *server, const char *request, const char *expected)
{
    char text[512];
    int fd = -1;
    int length = snprintf(text, sizeof text, "%s HTTP/1.1\r\nHost: localhost\r\n\r\n", request);
    int r = fm_dial_tcp("127.0.0.1", server->port, fm_after_s(5), &fd);
    if (r == 0)
        r = (int)fm_write_full(fd, text, (size_t)length, fm_after_s(5), NULL);
    ssize_t n = r < 0 ? r : fm_read_full(fd, text, sizeof text - 1, fm_after_s(20), NULL);
    if (fd >= 0)
        fm_close(fd);
    text[n < 0 ? 0 : n] = '\0';
    const char *body = strstr(text, "\r\n\r\n");
    printf("%s: %s\n", request, body ? body + 4 : fm_strerror((int)n));
    return body && strcmp(body + 4, expected) == 0;
}

static bool use(struct server *server, struct fm_runtime *runtime)
{
    bool right = ask(server, "POST /api/process/7", "1") &&
                 ask(server, "POST /api/process/8", "2") &&
                 ask(server, "GET /api/status/1", "processing") &&
                 ask(server, "DELETE /api/cancel/2", "cancelled");
    fm_clock_advance_ns(runtime, 10 * SECOND);
    right = right && ask(server, "GET /api/status/1", "completed: 49") &&
            ask(server, "GET /api/status/2", "cancelled") &&
            ask(server, "GET /api/status/3", "not found");
    fm_clock_advance_ns(runtime, 3600 * SECOND);
    return right && ask(server, "GET /api/status/1", "not found") && /* forgotten */
           ask(server, "POST /api/process/9", "3"); /* still at work when the server ends */
}

static struct fm_exit program(void *runtime)
{
    struct fm_close_policy drain = FM_CLOSE_POLICY_INIT;
    struct server server = { .fd = -1 };
    struct fm_fiber *acceptor;
    bool right = false;

    int r = open_server(&server);
    if (r == 0)
        r = fm_fiber_spawn(accept_all, &server, NULL, &acceptor);
    if (r == 0) {
        right = use(&server, runtime);
        /* First nobody new, then let those be answered who are there, then end the jobs. */
        fm_fiber_stop(acceptor, FM_NEVER, NULL);
        fm_fiber_unref(acceptor);
        drain.kind = FM_CLOSE_DRAIN;
        r = fm_set_close(server.connections, &drain, NULL);
    }
    fm_set_destroy(server.connections);
    fm_map_destroy(server.jobs);
    if (server.fd >= 0)
        fm_close(server.fd);
    return r < 0 ? fm_fail(r) : right ? fm_ok(NULL) : fm_fail(-EPROTO);
}

int main(void)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_exit exit = { 0 };

    /* The sockets are real, the ten seconds of a job are not. */
    config.clock = FM_CLOCK_VIRTUAL;
    if (fm_runtime_create(&config, &runtime) < 0)
        return 1;
    int r = fm_runtime_run(runtime, program, runtime, &exit);
    fm_runtime_destroy(runtime);
    return r < 0 || exit.kind != FM_SUCCESS;
}
