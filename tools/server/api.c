/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.c - which request means what
 *
 * A table of routes; each handler makes exactly one answer.
 *
 * Knows not   sockets and the bytes of HTTP.
 */
#include "tools/server/api.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tools/server/auth.h"
#include "tools/server/digest.h"
#include "tools/server/feed.h"
#include "tools/server/handshake.h"
#include "tools/server/hello.h"
#include "tools/server/job_api.h"
#include "tools/server/job_lines.h"
#include "tools/server/log.h"
#include "tools/server/look.h"
#include "tools/server/metrics.h"
#include "tools/server/page.h"
#include "tools/server/rates.h"
#include "tools/server/target.h"
#include "tools/server/text.h"
#include "tools/server/user_api.h"

enum { PATH_BYTES_MAX = 2048 }; /* longer than any that is known, however it is spelt */

static const char help[] =
    "fibermap-serve: jobs by key, one WebSocket per user\n"
    "\n"
    "GET    /                   this list; for browsers a live page\n"
    "GET    /help               this list\n"
    "GET    /hello              a few bytes of text, to measure with\n"
    "GET    /hello/keyed        the same by a supervised fiber of its own, and which it was\n"
    "GET    /healthz            ok: it lives\n"
    "GET    /readyz             ready, or 503 draining\n"
    "GET    /metrics            numbers for Prometheus\n"
    "GET    /openapi.json       all of this, for programs\n"
    "\n"
    "POST   /api/process        start a job; the body is JSON:\n"
    "         {\"key\": \"nap\", \"kind\": \"sleep\", \"ms\": 5000}\n"
    "         {\"kind\": \"hash\", \"text\": \"abc\", \"rounds\": 1000000}\n"
    "         {\"kind\": \"primes\", \"below\": 100000000}\n"
    "         {\"kind\": \"fail\", \"code\": 7, \"ms\": 100}\n"
    "         Without a key it gets a new one. \"mode\" says what if a job holds the key:\n"
    "         \"replace\" it, \"await-replace\" (the same, and begin when it has ended), "
    "start\n"
    "         \"only-if-missing\", \"join\" it (with \"wait_ms\": await its end), \"queue\" "
    "behind\n"
    "         it, \"fail\". \"deadline_ms\": for all its life. \"restart\": run it again.\n"
    "POST   /api/batch          start many, all or none: {\"jobs\": [{...}, ...]}\n"
    "POST   /api/process/lines  start a job for each line of a body of any length, and answer "
    "by lines\n"
    "POST   /api/digest         the SHA-256 of a body of any length\n"
    "GET    /api/status/KEY     running, or how the key's last job ended; ?wait_ms=N awaits "
    "that\n"
    "DELETE /api/cancel/KEY     interrupt the job and wait for its end\n"
    "DELETE /api/cancel?prefix=TEXT  the same for all jobs whose key begins so\n"
    "GET    /api/events/KEY     what happens to a job, as server-sent events; without KEY: "
    "all\n"
    "GET    /api/fibers         all jobs and users\n"
    "GET    /api/stats          counters of the runtime and the server\n"
    "GET    /api/dump           one line for each fiber\n"
    "\n"
    "GET    /ws/USER            WebSocket: the user's messages, and an echo of what it sends;\n"
    "                           a second connection replaces the first (close code 4000)\n"
    "POST   /api/send/USER      the body is sent to the user as it is, or waits for it\n"
    "POST   /api/send           the same to all who are connected\n"
    "GET    /api/users          who is connected, and for whom messages wait\n";

/* ---- small things ---- */

static void get_help(struct exchange *x, const char *name)
{
    answer_text(x, 200, help);
}

/* A browser gets the page, everybody else the list. */
static void get_root(struct exchange *x, const char *name)
{
    if (page_wanted(x->request))
        page_index(x);
    else
        answer_text(x, 200, help);
}

/* The process lives. */
static void get_health(struct exchange *x, const char *name)
{
    answer_text(x, 200, "ok\n");
}

/* It takes new work. */
static void get_ready(struct exchange *x, const char *name)
{
    bool draining = atomic_load_explicit(&x->server->draining, memory_order_relaxed);
    answer_text(x, draining ? 503 : 200, draining ? "draining\n" : "ready\n");
}

/* ---- routes ---- */

struct route {
    uint8_t method; /* enum llhttp_method; HEAD goes where GET goes */
    const char *method_name;
    const char *path; /* all of it, or what comes before a name if it ends in a slash */
    void (*handler)(struct exchange *x, const char *name);
};

static const struct route routes[] = {
    { HTTP_GET, "GET, HEAD", "/hello", hello_plain },
    { HTTP_GET, "GET, HEAD", "/hello/keyed", hello_keyed },
    { HTTP_GET, "GET, HEAD", "/api/status/", job_api_status },
    { HTTP_POST, "POST", "/api/process", job_api_start },
    { HTTP_DELETE, "DELETE", "/api/cancel/", job_api_cancel },
    { HTTP_DELETE, "DELETE", "/api/cancel", job_api_cancel_prefix },
    { HTTP_POST, "POST", "/api/batch", job_api_start_many },
    { HTTP_POST, "POST", "/api/process/lines", job_lines_start },
    { HTTP_POST, "POST", "/api/digest", digest_answer },
    { HTTP_GET, "GET", "/api/events", feed_all },
    { HTTP_GET, "GET", "/api/events/", feed_key },
    { HTTP_POST, "POST", "/api/send/", user_api_send },
    { HTTP_POST, "POST", "/api/send", user_api_send_all },
    { HTTP_GET, "GET, HEAD", "/api/users", user_api_list },
    { HTTP_GET, "GET", "/ws/", handshake_accept },
    { HTTP_GET, "GET, HEAD", "/healthz", get_health },
    { HTTP_GET, "GET, HEAD", "/readyz", get_ready },
    { HTTP_GET, "GET, HEAD", "/metrics", metrics_answer },
    { HTTP_GET, "GET, HEAD", "/openapi.json", look_openapi },
    { HTTP_GET, "GET, HEAD", "/api/fibers", look_fibers },
    { HTTP_GET, "GET, HEAD", "/api/stats", look_stats },
    { HTTP_GET, "GET, HEAD", "/api/dump", look_dump },
    { HTTP_GET, "GET, HEAD", "/", get_root },
    { HTTP_GET, "GET, HEAD", "/help", get_help },
    { HTTP_GET, "GET, HEAD", "/page/", page_file },
};

/*
 * To whoever asks, without a token: what keeps watch over the process has none, and a browser
 * has none before its page has asked for it.
 */
static bool route_is_open(const struct route *route, const struct http_request *request)
{
    return route->handler == get_health || route->handler == get_ready ||
           route->handler == page_file || (route->handler == get_root && page_wanted(request));
}

static bool route_streams(const struct route *route)
{
    return route->handler == job_lines_start || route->handler == digest_answer;
}

/* Does the path take this route? Then *ret_name is what stands where a name is wanted. */
static bool route_matches(const struct route *route, const char *path, size_t len,
                          const char **ret_name)
{
    size_t fixed = strlen(route->path);
    *ret_name = NULL;
    if (len < fixed || memcmp(path, route->path, fixed))
        return false;
    if (fixed == 1 || route->path[fixed - 1] != '/')
        return len == fixed;
    *ret_name = path + fixed;
    return true;
}

/* Whom the client takes us for, with the port. */
static const char *host_of(const struct http_request *request, size_t *ret_len)
{
    const struct http_header *host = &request->headers[HEADER_HOST];
    const char *authority = target_authority(request->url.data, request->url.len, ret_len);
    if (authority)
        return authority;
    *ret_len = host->len;
    return host->text;
}

/*
 * A site may have its own name lead to this machine, and its pages ask us as if we were the
 * site (DNS rebinding): the name tells.
 */
static bool host_is_ours(const struct http_request *request)
{
    size_t len;
    const char *host = host_of(request, &len);
    return auth_is_own_name(host, len);
}

/*
 * A page of another site may make a browser send us requests and open WebSockets, but not
 * without the Origin header: where there is one, it must be ours.
 */
static bool origin_is_ours(const struct http_request *request)
{
    const struct http_header *origin = &request->headers[HEADER_ORIGIN];
    if (origin->count == 0)
        return true;
    const char *theirs = strstr(origin->text, "://");
    if (origin->count != 1 || origin->cut || !theirs)
        return false;
    size_t len;
    const char *ours = host_of(request, &len);
    return len && strlen(theirs + 3) == len && !strncasecmp(theirs + 3, ours, len);
}

static void route_call(struct exchange *x, const struct route *route, const char *name)
{
    bool changes = route->method != HTTP_GET || route->handler == handshake_accept;
    if (changes && !origin_is_ours(x->request))
        answer_error(x, 403, "requests of other sites are refused");
    else
        route->handler(x, name);
}

/*
 * The same with what stands between name and end, decoded. Apart, and so is what follows for
 * another spelling of a path: their room would make every connection's stack a page deeper.
 */
static __attribute__((noinline)) void route_call_named(struct exchange *x,
                                                       const struct route *route,
                                                       const char *name, const char *end)
{
    char decoded[NAME_BYTES_MAX + 1];
    int len = text_percent_decode(name, (size_t)(end - name), decoded, sizeof decoded);
    if (len < 0 || !text_is_name(decoded, (size_t)len) ||
        text_is_dots(decoded, (size_t)len) || memchr(name, '/', (size_t)(end - name)) ||
        memchr(name, '#', (size_t)(end - name)))
        answer_error(x, 400, "a name is 1 to 512 bytes of UTF-8 without control characters");
    else
        route_call(x, route, decoded);
}

static void route_take(struct exchange *x, const struct route *route, const char *name,
                       const char *end)
{
    const struct auth *auth = x->server->auth;
    bool own_names_only = x->server->own_names_only;
    if (auth && !route_is_open(route, x->request) && !auth_passes(auth, x->request))
        answer_error(x, 401, "a bearer token is needed");
    else if (own_names_only && !host_is_ours(x->request) && !route_is_open(route, x->request))
        answer_error(x, 403, "the Host is no name of this machine, and there is no token");
    else if (name)
        route_call_named(x, route, name, end);
    else
        route_call(x, route, NULL);
}

static inline void exchange_begin(struct exchange *x)
{
    x->websocket = NULL;
    x->streaming = false;
    x->head_only = x->request->method == HTTP_HEAD;
    x->close = !x->request->keep_alive ||
               atomic_load_explicit(&x->server->draining, memory_order_relaxed);
    server_count(&x->server->requests);
}

/* Take the route that the path names: false if there is none. */
static bool route_try(struct exchange *x, const char *path, size_t len)
{
    const struct http_request *request = x->request;
    const char *name;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (!route_matches(&routes[i], path, len, &name))
            continue;
        bool head_for_get = x->head_only && strstr(routes[i].method_name, "HEAD");
        if (request->method == routes[i].method || head_for_get) {
            route_take(x, &routes[i], name, path + len);
            return true;
        }
        x->allow = routes[i].method_name;
        if (request->method == HTTP_OPTIONS)
            answer_allow(x);
        else
            answer_error(x, 405, "the method is not for this path");
        return true;
    }
    return false;
}

/*
 * The path is none as it stands: false, and that has been answered, if it has no other
 * spelling, else *target has the path in plain, which takes PATH_BYTES_MAX.
 */
static bool make_plain(struct exchange *x, struct target *target, char *plain)
{
    int len = target_plain_path(target->path, target->path_len, plain, PATH_BYTES_MAX);
    if (len == -EINVAL) {
        answer_error(x, 400, "the path has bytes or segments that name nothing");
        return false;
    }
    if (len < 0 || (size_t)len == target->path_len) {
        answer_error(x, 404, "no such path; GET / lists them");
        return false;
    }
    target->path = plain;
    target->path_len = (size_t)len;
    return true;
}

/* The path is none as it stands: take the route of its plain spelling. */
static __attribute__((noinline)) void route_find_plain(struct exchange *x,
                                                       struct target *target)
{
    char plain[PATH_BYTES_MAX];
    while (make_plain(x, target, plain)) {
        if (route_try(x, target->path, target->path_len))
            return;
    }
}

static void route_find(struct exchange *x)
{
    const struct http_request *request = x->request;
    struct target target;
    exchange_begin(x);
    if (target_read(request->url.data, request->url.len, &target)) {
        x->query = target.query;
        if (!route_try(x, target.path, target.path_len))
            route_find_plain(x, &target);
        return;
    }
    x->allow = "GET, HEAD, POST, DELETE";
    if (request->method == HTTP_OPTIONS && !strcmp(request->url.data, "*"))
        answer_allow(x);
    else
        answer_error(x, 400, "the target is not a path");
}

/* Whether a route that streams is of this path. */
static bool path_streams(const char *path, size_t len)
{
    const char *name;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (route_streams(&routes[i]) && route_matches(&routes[i], path, len, &name))
            return true;
    }
    return false;
}

bool api_streams(const struct exchange *x)
{
    char plain[PATH_BYTES_MAX];
    struct target target;
    if (x->request->method != HTTP_POST ||
        !target_read(x->request->url.data, x->request->url.len, &target))
        return false;
    if (!memchr(target.path, '%', target.path_len))
        return path_streams(target.path, target.path_len);
    int len = target_plain_path(target.path, target.path_len, plain, sizeof plain);
    return len > 0 && path_streams(plain, (size_t)len);
}

/* ---- the log ---- */

/* What was answered stands behind what was there before: "HTTP/1.1 200 OK...". */
static void log_request(struct exchange *x, int64_t start_ns)
{
    const struct http_request *request = x->request;
    const char *method = llhttp_method_name((llhttp_method_t)request->method);
    unsigned long long bytes = x->streaming ? x->streamed : x->out->len - x->begins;
    int status = x->streaming ? 200 : bytes > 12 ? atoi(x->out->data + x->begins + 9) : 0;
    const struct log_field fields[] = {
        { "client", { x->client, strlen(x->client) }, 0 },
        { "method", { method, strlen(method) }, 0 },
        { "target", { request->url.data, request->url.len }, 0 },
        { "status", { NULL, 0 }, status },
        { "bytes", { NULL, 0 }, (long long)bytes },
        { "us", { NULL, 0 }, (fm_now_ns() - start_ns) / 1000 },
    };
    log_line(x->server->log, "request", fields, sizeof fields / sizeof fields[0]);
}

static void answer_watched(struct exchange *x)
{
    int64_t start_ns = fm_now_ns();
    x->begins = x->out->len;
    if (x->rate && !rate_allows(x->rate)) {
        exchange_begin(x);
        answer_error(x, 429, "too many requests");
    } else {
        route_find(x);
    }
    log_request(x, start_ns);
}

void api_answer(struct exchange *x)
{
    if (x->client)
        answer_watched(x);
    else
        route_find(x);
}
