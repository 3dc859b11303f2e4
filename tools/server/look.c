/* SPDX-License-Identifier: Apache-2.0 */
/*
 * look.c - requests that look around and change nothing
 */
#include "tools/server/look.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/server/describe.h"
#include "tools/server/json.h"
#include "tools/server/users.h"

enum {
    FIBERS_SHOWN = 1000,
    WORKERS_SHOWN = 256,
    WAITS_SHOWN = 32,
    DUMP_BYTES_MAX = 8 << 20,
};

/* The members of a map, the first FIBERS_SHOWN of them: NULL without memory */
static struct json_object *members_array(struct fm_map *map)
{
    struct fm_snapshot *snapshot;
    if (fm_map_snapshot(map, FM_SNAPSHOT_ZOMBIES | FM_SNAPSHOT_QUEUED, &snapshot) < 0)
        return NULL;
    struct json_object *array = json_object_new_array();
    size_t count = fm_snapshot_count(snapshot);
    for (size_t i = 0; array && i < count && i < FIBERS_SHOWN; i++)
        json_object_array_add(array, describe_member(fm_snapshot_at(snapshot, i)));
    fm_snapshot_free(snapshot);
    return array;
}

/* How many fibers are in which state, and how many wait for what. */
struct census {
    uint64_t states[FM_FIBER_ENDED];
    struct {
        const char *what;
        uint64_t fibers;
    } waits[WAITS_SHOWN];
};

static int census_count(void *ctx, struct fm_fiber *fiber, const struct fm_fiber_look *look)
{
    struct census *census = ctx;
    census->states[look->state]++;
    if (!look->waits_for)
        return 0;
    for (size_t i = 0; i < WAITS_SHOWN; i++) {
        const char *what = census->waits[i].what;
        if (!what)
            census->waits[i].what = look->waits_for;
        else if (strcmp(what, look->waits_for) != 0)
            continue;
        census->waits[i].fibers++;
        break;
    }
    return 0;
}

static struct json_object *census_object(struct fm_runtime *runtime)
{
    struct census census = { 0 };
    struct json_object *states = json_object_new_object();
    struct json_object *waits = json_object_new_object();
    struct json_object *object = json_object_new_object();
    if (fm_runtime_visit(runtime, census_count, &census) < 0 || !states || !waits || !object) {
        json_object_put(states);
        json_object_put(waits);
        json_object_put(object);
        return NULL;
    }
    for (uint32_t i = 0; i < FM_FIBER_ENDED; i++)
        json_add_number(states, fm_fiber_state_name(i), census.states[i]);
    for (size_t i = 0; i < WAITS_SHOWN && census.waits[i].what; i++)
        json_add_number(waits, census.waits[i].what, census.waits[i].fibers);
    json_object_object_add(object, "states", states);
    json_object_object_add(object, "waits", waits);
    return object;
}

void look_fibers(struct exchange *x, const char *name)
{
    struct server *server = x->server;
    struct json_object *object = json_object_new_object();
    if (object) {
        json_add_number(object, "job_count", fm_map_size(server->jobs));
        json_add_number(object, "user_count", fm_map_size(users_map(server->users)));
        json_add_number(object, "connection_count", fm_map_size(server->connections));
        json_object_object_add(object, "fibers", census_object(server->runtime));
        json_object_object_add(object, "jobs", members_array(server->jobs));
        json_object_object_add(object, "users", members_array(users_map(server->users)));
    }
    answer_json(x, 200, object);
}

/* Up to the last that has counted anything. */
static struct json_object *buckets_array(const struct fm_histogram *histogram)
{
    size_t count = sizeof histogram->bucket / sizeof histogram->bucket[0];
    while (count && !histogram->bucket[count - 1])
        count--;
    struct json_object *array = json_object_new_array();
    for (size_t i = 0; array && i < count; i++)
        json_object_array_add(array, json_object_new_uint64(histogram->bucket[i]));
    return array;
}

static struct json_object *histogram_object(const struct fm_histogram *histogram)
{
    struct json_object *object = json_object_new_object();
    if (!object)
        return NULL;
    json_add_number(object, "count", histogram->count);
    json_add_number(object, "mean_ns",
                    histogram->count ? histogram->sum / histogram->count : 0);
    json_add_number(object, "p50_ns", fm_histogram_percentile(histogram, 50));
    json_add_number(object, "p99_ns", fm_histogram_percentile(histogram, 99));
    json_add_number(object, "max_ns", histogram->max);
    json_object_object_add(object, "buckets", buckets_array(histogram));
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
        { "shared_queued", stats->shared_queued },
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
        json_add_number(object, numbers[i].name, numbers[i].number);
    json_object_object_add(object, "blocking_wait", histogram_object(&stats->blocking_wait));
    json_object_object_add(object, "schedule_latency",
                           histogram_object(&stats->schedule_latency));
    json_object_object_add(object, "run_length", histogram_object(&stats->run_length));
    return object;
}

static struct json_object *workers_array(struct fm_runtime *runtime)
{
    struct fm_worker_stats workers[WORKERS_SHOWN];
    struct json_object *array = json_object_new_array();
    int count = fm_runtime_workers(runtime, workers, WORKERS_SHOWN);
    for (int i = 0; array && i < count && i < WORKERS_SHOWN; i++) {
        const struct fm_worker_stats *worker = &workers[i];
        struct json_object *object = json_object_new_object();
        json_object_array_add(array, object);
        if (!object)
            continue;
        if (worker->running)
            json_add_id(object, "running", worker->running);
        json_add_number(object, "queued", worker->queued);
        json_add_number(object, "pinned", worker->pinned);
        json_add_number(object, "switches", worker->switches);
        json_add_number(object, "steals", worker->steals);
        json_add_number(object, "parks", worker->parks);
    }
    return array;
}

static struct json_object *server_object(struct server *server)
{
    struct json_object *object = json_object_new_object();
    if (!object)
        return NULL;
    json_add_number(object, "connections", fm_map_size(server->connections));
    json_add_number(object, "jobs", fm_map_size(server->jobs));
    json_add_number(object, "users", fm_map_size(users_map(server->users)));
    json_add_number(object, "accepted", server_read(&server->accepted));
    json_add_number(object, "requests", server_read(&server->requests));
    json_add_number(object, "refused", server_read(&server->refused));
    json_add_number(object, "upgraded", server_read(&server->upgraded));
    json_add_number(object, "jobs_started", server_read(&server->jobs_started));
    json_add_number(object, "messages_sent", server_read(&server->messages_sent));
    json_add_number(object, "hellos_made", server_read(&server->hellos_made));
    bool draining = atomic_load_explicit(&server->draining, memory_order_relaxed);
    json_object_object_add(object, "draining", json_object_new_boolean(draining));
    return object;
}

void look_stats(struct exchange *x, const char *name)
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
        json_object_object_add(object, "workers", workers_array(x->server->runtime));
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

void look_dump(struct exchange *x, const char *name)
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

/* Made by embed.py. */
extern const unsigned char openapi[];
extern const size_t openapi_len;

void look_openapi(struct exchange *x, const char *name)
{
    answer(x, 200, "application/json", openapi, openapi_len);
}
