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
#include <json-c/json_tokener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "tools/server/hello.h"
#include "tools/server/jobs.h"
#include "tools/server/text.h"
#include "tools/server/users.h"
#include "tools/server/websocket.h"

enum {
    JSON_DEPTH = 32, /* json-c prints and frees by recursion */
    FIBERS_SHOWN = 1000,
    DUMP_BYTES_MAX = 8 << 20,
};

static const char help[] =
    "fibermap-serve: jobs by key, one WebSocket per user\n"
    "\n"
    "GET    /                   this page\n"
    "GET    /hello              a few bytes of text, to measure with\n"
    "GET    /hello/keyed        the same by a supervised fiber of its own, and which it was\n"
    "GET    /healthz            ok, or draining\n"
    "\n"
    "POST   /api/process        start a job; the body is JSON:\n"
    "         {\"key\": \"nap\", \"kind\": \"sleep\", \"ms\": 5000}\n"
    "         {\"kind\": \"hash\", \"text\": \"abc\", \"rounds\": 1000000}\n"
    "         {\"kind\": \"primes\", \"below\": 100000000}\n"
    "         {\"kind\": \"fail\", \"code\": 7, \"ms\": 100}\n"
    "         Without a key it gets a new one. \"mode\" says what if a job holds the key:\n"
    "         \"replace\" (interrupt that one) or \"only-if-missing\" (start nothing).\n"
    "GET    /api/status/KEY     running, or how the key's last job ended\n"
    "DELETE /api/cancel/KEY     interrupt the job and wait for its end\n"
    "GET    /api/fibers         all jobs and users\n"
    "GET    /api/stats          counters of the runtime and the server\n"
    "GET    /api/dump           one line for each fiber\n"
    "\n"
    "GET    /ws/USER            WebSocket: the user's messages, and an echo of what it sends;\n"
    "                           a second connection replaces the first (close code 4000)\n"
    "POST   /api/send/USER      the body is sent to the user as it is, or waits for it\n";

/* ---- small things ---- */

static void get_help(struct exchange *x, const char *name)
{
    answer_text(x, 200, help);
}

static void get_health(struct exchange *x, const char *name)
{
    bool draining = atomic_load_explicit(&x->server->draining, memory_order_relaxed);
    answer_text(x, draining ? 503 : 200, draining ? "draining\n" : "ok\n");
}

/* ---- jobs ---- */

/* The body as an object of JSON: NULL, with the reason, if it is none. */
static struct json_object *body_object(const struct buffer *body, const char **ret_reason)
{
    struct json_tokener *tokener = json_tokener_new_ex(JSON_DEPTH);
    if (!tokener) {
        *ret_reason = "out of memory";
        return NULL;
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *object = json_tokener_parse_ex(tokener, body->len ? body->data : "",
                                                       (int)body->len);
    enum json_tokener_error error = json_tokener_get_error(tokener);
    json_tokener_free(tokener);
    *ret_reason = error == json_tokener_success    ? "the body is not a JSON object"
                  : error == json_tokener_continue ? "the JSON ends too early"
                                                   : json_tokener_error_desc(error);
    if (object && !json_object_is_type(object, json_type_object)) {
        json_object_put(object);
        object = NULL;
    }
    return object;
}

/* The string under name; NULL if there is none. *ret_len is set in the first case. */
static const char *member_text(struct json_object *object, const char *name, size_t *ret_len)
{
    struct json_object *value;
    if (!json_object_object_get_ex(object, name, &value) ||
        !json_object_is_type(value, json_type_string))
        return NULL;
    *ret_len = (size_t)json_object_get_string_len(value);
    return json_object_get_string(value);
}

static bool member_missing(struct json_object *object, const char *name)
{
    struct json_object *value;
    return !json_object_object_get_ex(object, name, &value) || !value;
}

/* The key of the request, or a new one: 0 · -EINVAL, ret_reason written */
static int process_key(struct json_object *body, char key[NAME_BYTES_MAX + 1],
                       const char **ret_reason)
{
    if (member_missing(body, "key")) {
        unsigned char random[16];
        if (getrandom(random, sizeof random, 0) != sizeof random) {
            *ret_reason = "no random bytes for a key";
            return -EINVAL;
        }
        text_hex(random, sizeof random, key);
        return 0;
    }
    size_t len;
    const char *text = member_text(body, "key", &len);
    if (!text || !text_is_name(text, len)) {
        *ret_reason = "key is a string of 1 to 512 bytes without control characters";
        return -EINVAL;
    }
    memcpy(key, text, len + 1);
    return 0;
}

static int process_conflict(struct json_object *body, unsigned *ret_conflict,
                            const char **ret_reason)
{
    size_t len;
    const char *mode = member_missing(body, "mode") ? "replace"
                                                    : member_text(body, "mode", &len);
    if (mode && !strcmp(mode, "replace")) {
        *ret_conflict = FM_REPLACE;
    } else if (mode && !strcmp(mode, "only-if-missing")) {
        *ret_conflict = FM_ONLY_IF_MISSING;
    } else {
        *ret_reason = "mode is replace or only-if-missing";
        return -EINVAL;
    }
    return 0;
}

static void answer_started(struct exchange *x, const char *key, uint64_t id, int result)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)id);
    struct json_object *object = json_object_new_object();
    if (object) {
        json_object_object_add(object, "id", json_object_new_string(text));
        json_object_object_add(object, "key", json_object_new_string(key));
        json_object_object_add(object, "outcome",
                               json_object_new_string(result == FM_MAP_REPLACED ? "replaced"
                                                      : result == FM_MAP_KEPT   ? "kept"
                                                                                : "started"));
    }
    answer_json(x, result == FM_MAP_KEPT ? 200 : 202, object);
}

static void post_process(struct exchange *x, const char *name)
{
    char key[NAME_BYTES_MAX + 1];
    struct work work;
    unsigned conflict = FM_REPLACE;
    const char *reason = NULL;
    struct json_object *body = body_object(&x->request->body, &reason);
    int r = body ? process_key(body, key, &reason) : -EINVAL;
    if (r == 0)
        r = process_conflict(body, &conflict, &reason);
    if (r == 0)
        r = work_read(&work, body, &reason);
    json_object_put(body);
    if (r < 0) {
        answer_error(x, 400, reason);
        return;
    }
    uint64_t id = 0;
    r = jobs_start(x->server, key, &work, conflict, &id);
    if (r == -EAGAIN)
        answer_error(x, 429, "too many jobs");
    else if (r < 0)
        answer_error(x, 503, r == -ESHUTDOWN ? "draining" : fm_strerror(r));
    else
        answer_started(x, key, id, r);
}

static void get_status(struct exchange *x, const char *key)
{
    struct json_object *object;
    if (jobs_status(x->server, key, &object) == 0)
        answer_json(x, 200, object);
    else
        answer_error(x, 404, "no such key");
}

static void delete_job(struct exchange *x, const char *key)
{
    int r = jobs_cancel(x->server, key);
    if (r == -ENOENT) {
        answer_error(x, 404, "no job runs under this key");
        return;
    }
    struct json_object *object = json_object_new_object();
    if (object) {
        json_object_object_add(object, "key", json_object_new_string(key));
        json_object_object_add(object, "outcome",
                               json_object_new_string(r == 0 ? "cancelled" : "interrupted"));
    }
    answer_json(x, r == 0 ? 200 : 202, object);
}

/* ---- looking around ---- */

static void add_number(struct json_object *object, const char *name, uint64_t number)
{
    json_object_object_add(object, name, json_object_new_uint64(number));
}

static struct json_object *member_object(const struct fm_member *member)
{
    static const char *const states[] = { [FM_MEMBER_LIVE] = "running",
                                          [FM_MEMBER_ZOMBIE] = "replaced",
                                          [FM_MEMBER_QUEUED] = "queued",
                                          [FM_MEMBER_ENDING] = "ending",
                                          [FM_MEMBER_BACKING_OFF] = "backing off" };
    struct json_object *object = json_object_new_object();
    if (!object)
        return NULL;
    char id[24];
    snprintf(id, sizeof id, "%llu", (unsigned long long)fm_fiber_id(member->fiber));
    json_object_object_add(object, "key",
                           json_object_new_string_len(member->key.data, (int)member->key.len));
    json_object_object_add(object, "id", json_object_new_string(id));
    json_object_object_add(object, "name",
                           json_object_new_string(fm_fiber_name(member->fiber)));
    json_object_object_add(object, "state", json_object_new_string(states[member->state % 5]));
    json_object_object_add(object, "age_ms", json_object_new_int64(member->age_ns / 1000000));
    return object;
}

/* The members of a map, the first FIBERS_SHOWN of them: NULL without memory */
static struct json_object *members_array(struct fm_map *map)
{
    struct fm_snapshot *snapshot;
    if (fm_map_snapshot(map, FM_SNAPSHOT_ZOMBIES, &snapshot) < 0)
        return NULL;
    struct json_object *array = json_object_new_array();
    size_t count = fm_snapshot_count(snapshot);
    for (size_t i = 0; array && i < count && i < FIBERS_SHOWN; i++)
        json_object_array_add(array, member_object(fm_snapshot_at(snapshot, i)));
    fm_snapshot_free(snapshot);
    return array;
}

static void get_fibers(struct exchange *x, const char *name)
{
    struct server *server = x->server;
    struct json_object *object = json_object_new_object();
    if (object) {
        add_number(object, "job_count", fm_map_size(server->jobs));
        add_number(object, "user_count", fm_map_size(users_map(server->users)));
        add_number(object, "connection_count", fm_map_size(server->connections));
        json_object_object_add(object, "jobs", members_array(server->jobs));
        json_object_object_add(object, "users", members_array(users_map(server->users)));
    }
    answer_json(x, 200, object);
}

static struct json_object *histogram_object(const struct fm_histogram *histogram)
{
    struct json_object *object = json_object_new_object();
    if (!object)
        return NULL;
    add_number(object, "count", histogram->count);
    add_number(object, "mean_ns", histogram->count ? histogram->sum / histogram->count : 0);
    add_number(object, "p50_ns", fm_histogram_percentile(histogram, 50));
    add_number(object, "p99_ns", fm_histogram_percentile(histogram, 99));
    add_number(object, "max_ns", histogram->max);
    return object;
}

static struct json_object *runtime_object(const struct fm_runtime_stats *stats)
{
    const struct {
        const char *name;
        uint64_t number;
    } numbers[] = {
        { "worker_count", stats->worker_count },
        { "workers_awake", stats->workers_awake },
        { "guard", stats->guard },
        { "blocking_threads", stats->blocking_threads },
        { "fibers_spawned", stats->fibers_spawned },
        { "fibers_ended", stats->fibers_ended },
        { "fibers_live", stats->fibers_live },
        { "switches", stats->switches },
        { "steals", stats->steals },
        { "injected", stats->injected },
        { "overflows", stats->overflows },
        { "parks", stats->parks },
        { "wakes", stats->wakes },
        { "polls", stats->polls },
        { "io_events", stats->io_events },
        { "timers_fired", stats->timers_fired },
        { "timers_cancelled", stats->timers_cancelled },
        { "timers_armed", stats->timers_armed },
        { "stalls", stats->stalls },
        { "stacks_live", stats->stacks_live },
        { "stacks_pooled", stats->stacks_pooled },
        { "stack_bytes_mapped", stats->stack_bytes_mapped },
        { "blocking_jobs", stats->blocking_jobs },
        { "blocking_queued", stats->blocking_queued },
    };
    struct json_object *object = json_object_new_object();
    if (!object)
        return NULL;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        add_number(object, numbers[i].name, numbers[i].number);
    json_object_object_add(object, "blocking_wait", histogram_object(&stats->blocking_wait));
    json_object_object_add(object, "schedule_latency",
                           histogram_object(&stats->schedule_latency));
    json_object_object_add(object, "run_length", histogram_object(&stats->run_length));
    return object;
}

static struct json_object *server_object(struct server *server)
{
    struct json_object *object = json_object_new_object();
    if (!object)
        return NULL;
    add_number(object, "connections", fm_map_size(server->connections));
    add_number(object, "jobs", fm_map_size(server->jobs));
    add_number(object, "users", fm_map_size(users_map(server->users)));
    add_number(object, "accepted", server_read(&server->accepted));
    add_number(object, "requests", server_read(&server->requests));
    add_number(object, "refused", server_read(&server->refused));
    add_number(object, "upgraded", server_read(&server->upgraded));
    add_number(object, "jobs_started", server_read(&server->jobs_started));
    add_number(object, "messages_sent", server_read(&server->messages_sent));
    add_number(object, "hellos_made", server_read(&server->hellos_made));
    return object;
}

static void get_stats(struct exchange *x, const char *name)
{
    struct fm_runtime_stats stats;
    int r = fm_runtime_stats(x->server->runtime, &stats);
    if (r < 0) {
        answer_error(x, 503, fm_strerror(r));
        return;
    }
    struct json_object *object = json_object_new_object();
    if (object) {
        json_object_object_add(object, "runtime", runtime_object(&stats));
        json_object_object_add(object, "server", server_object(x->server));
    }
    answer_json(x, 200, object);
}

/* What is in a file in memory, up to DUMP_BYTES_MAX: 0 · -errno. */
static int read_back(int fd, struct buffer *text)
{
    off_t size = lseek(fd, 0, SEEK_END);
    if (size < 0)
        return -errno;
    if (size > DUMP_BYTES_MAX)
        size = DUMP_BYTES_MAX;
    int r = buffer_reserve(text, (size_t)size);
    while (r == 0 && text->len < (size_t)size) {
        ssize_t n = pread(fd, text->data + text->len, (size_t)size - text->len,
                          (off_t)text->len);
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        text->len += (size_t)n;
    }
    return r;
}

static int open_memory(void)
{
    int fd = memfd_create("fibermap-dump", MFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static void get_dump(struct exchange *x, const char *name)
{
    struct buffer text = { 0 };
    int fd = open_memory();
    int r = fd;
    if (fd >= 0) {
        r = fm_runtime_dump(x->server->runtime, fd);
        r = r < 0 ? r : read_back(fd, &text);
        close(fd);
    }
    if (r < 0)
        answer_error(x, 503, fm_strerror(r));
    else
        answer(x, 200, "text/plain; charset=utf-8", text.data, text.len);
    buffer_fini(&text);
}

/* ---- users ---- */

static void post_message(struct exchange *x, const char *user)
{
    const struct buffer *body = &x->request->body;
    if (body->len > x->server->options.message_bytes) {
        answer_error(x, 413, "the message is too large");
        return;
    }
    if (!text_is_utf8(body->data, body->len)) {
        answer_error(x, 400, "the message is not UTF-8");
        return;
    }
    int r = users_send(x->server->users, user, body->data, body->len);
    if (r < 0) {
        answer_error(x, r == -ENOBUFS ? 429 : 503,
                     r == -ENOBUFS  ? "the user's mailbox is full"
                     : r == -EAGAIN ? "too many users"
                                    : fm_strerror(r));
        return;
    }
    struct json_object *object = json_object_new_object();
    if (object) {
        json_object_object_add(object, "user", json_object_new_string(user));
        json_object_object_add(object, "outcome",
                               json_object_new_string(r == USERS_DELIVERED ? "delivered"
                                                                           : "queued"));
    }
    answer_json(x, r == USERS_DELIVERED ? 200 : 202, object);
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
    { HTTP_GET, "GET, HEAD", "/api/status/", get_status },
    { HTTP_POST, "POST", "/api/process", post_process },
    { HTTP_DELETE, "DELETE", "/api/cancel/", delete_job },
    { HTTP_POST, "POST", "/api/send/", post_message },
    { HTTP_GET, "GET", "/ws/", websocket_accept },
    { HTTP_GET, "GET, HEAD", "/healthz", get_health },
    { HTTP_GET, "GET, HEAD", "/api/fibers", get_fibers },
    { HTTP_GET, "GET, HEAD", "/api/stats", get_stats },
    { HTTP_GET, "GET, HEAD", "/api/dump", get_dump },
    { HTTP_GET, "GET, HEAD", "/", get_help },
};

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

/* The path within the target: no query, and no scheme and host of the absolute form. */
static bool target_path(const struct buffer *url, const char **ret_path, size_t *ret_len)
{
    const char *path = url->data, *end = url->data + url->len;
    if (url->len >= 7 && !strncasecmp(path, "http://", 7)) {
        path = memchr(path + 7, '/', url->len - 7);
        if (!path) {
            *ret_path = "/";
            *ret_len = 1;
            return true;
        }
    }
    if (path == end || *path != '/')
        return false;
    size_t len = (size_t)(end - path);
    const char *query = memchr(path, '?', len);
    *ret_path = path;
    *ret_len = query ? (size_t)(query - path) : len;
    return true;
}

/*
 * A page of another site may make a browser send us requests and open WebSockets, but not
 * without the Origin header: where there is one, it must be ours.
 */
static bool origin_is_ours(const struct http_request *request)
{
    const struct http_header *origin = &request->headers[HEADER_ORIGIN];
    const struct http_header *host = &request->headers[HEADER_HOST];
    if (origin->count == 0)
        return true;
    const char *authority = strstr(origin->text, "://");
    return origin->count == 1 && !origin->cut && authority && host->count == 1 &&
           !strcasecmp(authority + 3, host->text);
}

static void route_take(struct exchange *x, const struct route *route, const char *name,
                       const char *end)
{
    char decoded[NAME_BYTES_MAX + 1];
    if (name) {
        int len = text_percent_decode(name, (size_t)(end - name), decoded, sizeof decoded);
        if (len < 0 || !text_is_name(decoded, (size_t)len) ||
            memchr(name, '/', (size_t)(end - name))) {
            answer_error(x, 400,
                         "a name is 1 to 512 bytes of UTF-8 without control characters");
            return;
        }
    }
    if (route->method != HTTP_GET || route->handler == websocket_accept) {
        if (!origin_is_ours(x->request)) {
            answer_error(x, 403, "requests of other sites are refused");
            return;
        }
    }
    route->handler(x, name ? decoded : NULL);
}

void api_answer(struct exchange *x)
{
    const struct http_request *request = x->request;
    const char *path, *name;
    size_t len;
    x->websocket = NULL;
    x->head_only = request->method == HTTP_HEAD;
    x->close = !request->keep_alive ||
               atomic_load_explicit(&x->server->draining, memory_order_relaxed);
    server_count(&x->server->requests);
    if (!target_path(&request->url, &path, &len)) {
        answer_error(x, 400, "the target is not a path");
        return;
    }
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (!route_matches(&routes[i], path, len, &name))
            continue;
        bool head_for_get = x->head_only && strstr(routes[i].method_name, "HEAD");
        if (request->method == routes[i].method || head_for_get) {
            route_take(x, &routes[i], name, path + len);
        } else {
            x->allow = routes[i].method_name;
            answer_error(x, 405, "the method is not for this path");
        }
        return;
    }
    answer_error(x, 404, "no such path; GET / lists them");
}
