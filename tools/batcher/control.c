/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - others may ask a running batch, over a Unix socket
 *
 * A fiber accepts, and each connection has one below it: when the first is stopped, so are
 * they. Who waits for the end waits for that, or for its peer to go.
 */
#include "tools/batcher/control.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tools/batcher/add.h"
#include "tools/batcher/conductor.h"
#include "tools/batcher/pattern.h"
#include "tools/batcher/report.h"

enum { QUESTION_BYTES = 4096, QUESTION_MS = 5000, ANSWER_MS = 2000 };
enum { VERSION = 1 };

struct control {
    struct batch *batch;
    char *path;
    int fd;
    struct fm_fiber *fiber;
};

struct connection {
    struct batch *batch;
    int fd;
};

/* ---- answers ---- */

static void add_text(struct json_object *object, const char *name, const char *text)
{
    json_object_object_add(object, name, json_object_new_string(text));
}

static void add_number(struct json_object *object, const char *name, int64_t number)
{
    json_object_object_add(object, name, json_object_new_int64(number));
}

static void add_error(struct json_object *answer, const char *what)
{
    add_text(answer, "error", what);
}

static struct json_object *describe_locked(const struct job *job, int64_t now_ns)
{
    struct json_object *object = json_object_new_object();
    if (!object)
        return NULL;
    add_text(object, "key", job->key);
    if (job->argument)
        add_text(object, "argument", job->argument);
    add_number(object, "attempt", job->attempts);
    add_number(object, "slot", job->ending.slot);
    add_number(object, "pid", fm_process_id(job->process));
    add_number(object, "ms", (now_ns - job->ending.started_at_ns) / 1000000);
    return object;
}

static const char *service_state(const struct job *job)
{
    return job->state < JOB_SUCCEEDED && !job->taken ? "waiting"
           : job->state >= JOB_SUCCEEDED             ? job_state_name(job->state)
           : job->dismissed                          ? "stopping"
           : job->up                                 ? "ready"
           : job->process                            ? "starting"
                                                     : "backing off";
}

static void add_services_locked(struct batch *batch, struct json_object *answer)
{
    struct json_object *services = json_object_new_array();
    struct job *job;
    TAILQ_FOREACH(job, &batch->all_services, in_services) {
        struct json_object *object = json_object_new_object();
        add_text(object, "key", job->key);
        add_text(object, "state", service_state(job));
        if (job->process) { /* otherwise its fiber may be writing these */
            add_number(object, "attempt", job->attempts);
            add_number(object, "pid", fm_process_id(job->process));
        }
        json_object_array_add(services, object);
    }
    json_object_object_add(answer, "services", services);
}

static void add_rates_locked(struct batch *batch, struct json_object *answer)
{
    struct json_object *rates = json_object_new_array();
    for (unsigned i = 0; i < batch->options.rates.count; i++) {
        const struct rate *rate = &batch->options.rates.each[i];
        struct json_object *object = json_object_new_object();
        json_object_object_add(object, "name",
                               json_object_new_string_len(rate->name, (int)rate->name_len));
        add_number(object, "free", fm_rate_limiter_free(rate->limiter) + rate->permits);
        json_object_object_add(object, "wanted", json_object_new_boolean(rate->wanted));
        json_object_array_add(rates, object);
    }
    json_object_object_add(answer, "rates", rates);
}

static void answer_status(struct batch *batch, struct json_object *answer)
{
    struct json_object *running = json_object_new_array();
    struct job *job;
    int64_t now_ns = wall_ns();
    pthread_mutex_lock(&batch->lock);
    add_number(answer, "jobs", (int64_t)batch->all);
    json_object_object_add(answer, "more_may_come", json_object_new_boolean(!batch->all_known));
    json_object_object_add(answer, "stopping",
                           json_object_new_boolean(batch->halting != GO_ON));
    for (int state = JOB_SUCCEEDED; state < JOB_STATES; state++)
        add_number(answer, job_state_name(state), (int64_t)batch->count[state]);
    TAILQ_FOREACH(job, &batch->running, in_state)
        if (!job->restart)
            json_object_array_add(running, describe_locked(job, now_ns));
    add_services_locked(batch, answer);
    add_rates_locked(batch, answer);
    pthread_mutex_unlock(&batch->lock);
    json_object_object_add(answer, "running", running);
}

static void answer_cancel(struct batch *batch, struct json_object *question,
                          struct json_object *answer)
{
    struct json_object *key;
    if (!json_object_object_get_ex(question, "key", &key) ||
        !json_object_is_type(key, json_type_string)) {
        add_error(answer, "cancel wants a key");
        return;
    }
    int r = conductor_cancel(batch, json_object_get_string(key));
    if (r < 0)
        add_error(answer,
                  r == -EALREADY ? "this job has ended already" : "there is no such job");
    else
        add_text(answer, "cancelled", json_object_get_string(key));
}

/* The text of this field; NULL: there is none. */
static const char *text_of(struct json_object *question, const char *name)
{
    struct json_object *value;
    return json_object_object_get_ex(question, name, &value) &&
                   json_object_is_type(value, json_type_string)
               ? json_object_get_string(value)
               : NULL;
}

static void answer_add(struct batch *batch, struct json_object *question, bool replace,
                       struct json_object *answer)
{
    const char *key = replace ? text_of(question, "key") : NULL;
    const char *name = text_of(question, "name"), *jobs = text_of(question, "jobs");
    struct complaint complaint = { "" };
    struct json_object *added = json_object_new_object();
    if (replace ? !key : !jobs) {
        add_error(answer, replace ? "replace wants a key" : "add wants jobs");
    } else if (batch->each) {
        add_error(answer, "jobs of each come from its arguments");
    } else {
        int r = added ? add_jobs(batch, name ? name : "jobs", jobs, key, added, &complaint)
                      : -ENOMEM;
        if (r < 0)
            add_error(answer, r == -EINVAL      ? complaint.text
                              : r == -ENOENT    ? "there is no such job"
                              : r == -ESHUTDOWN ? "it is stopping, or over"
                                                : fm_strerror(r));
        json_object_object_foreach(added, verdict, keys)
        {
            if (r == 0)
                json_object_object_add(answer, verdict, json_object_get(keys));
        }
    }
    json_object_put(added);
}

/* false: the peer has gone */
static bool answer_wait(struct connection *connection, struct json_object *answer)
{
    if (fm_io_wait(connection->fd, FM_IO_READ, FM_NEVER) != -ECANCELED)
        return false;
    add_number(answer, "exit_code", report_exit_code(connection->batch));
    return true;
}

/* ---- connections ---- */

/* Does it come from our user, or from root? The mode of a path may be changed. */
static bool is_ours(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

/* The line, ended by a NUL in place of its newline, to be freed: 0 · -errno */
static int read_question(int fd, char **ret_text)
{
    int64_t deadline_ns = fm_after_ms(QUESTION_MS);
    size_t size = 0, len = 0;
    char *text = NULL;
    int r = 0;
    for (;;) {
        if (len == size) {
            size = size ? 2 * size : QUESTION_BYTES;
            char *more = size <= CONTROL_QUESTION_MAX ? realloc(text, size) : NULL;
            r = more ? 0 : size <= CONTROL_QUESTION_MAX ? -ENOMEM : -EMSGSIZE;
            if (r < 0)
                break;
            text = more;
        }
        ssize_t n = fm_read(fd, text + len, size - len, deadline_ns);
        r = n > 0 ? 0 : n < 0 ? (int)n : -EPIPE;
        if (r < 0)
            break;
        char *end = memchr(text + len, '\n', (size_t)n);
        if (end) {
            *end = '\0';
            *ret_text = text;
            return 0;
        }
        len += (size_t)n;
    }
    free(text);
    return r;
}

/* false: there is nothing to be said */
static bool make_answer(struct connection *connection, const char *text,
                        struct json_object *answer)
{
    struct json_object *question = json_tokener_parse(text), *version;
    const char *name = question ? text_of(question, "do") : NULL;
    bool say = true;
    if (!name)
        name = "";
    if (question && json_object_object_get_ex(question, "version", &version) &&
        (!json_object_is_type(version, json_type_int) ||
         json_object_get_int64(version) != VERSION))
        add_error(answer, "it speaks version 1, not the one that was asked in");
    else if (!strcmp(name, "status"))
        answer_status(connection->batch, answer);
    else if (!strcmp(name, "cancel"))
        answer_cancel(connection->batch, question, answer);
    else if (!strcmp(name, "wait"))
        say = answer_wait(connection, answer);
    else if (!strcmp(name, "add") || !strcmp(name, "replace"))
        answer_add(connection->batch, question, *name == 'r', answer);
    else
        add_error(answer,
                  "a question is {\"do\": \"status\"}, or \"cancel\", \"wait\", \"add\" or "
                  "\"replace\"");
    json_object_put(question);
    return say;
}

static struct fm_exit connection_entry(void *arg)
{
    struct connection *connection = arg;
    char *text = NULL;
    struct json_object *answer = json_object_new_object();
    if (answer && is_ours(connection->fd) && read_question(connection->fd, &text) == 0 &&
        make_answer(connection, text, answer)) {
        const char *line = json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN);
        fm_mask(); /* the answer to `wait` is given when all is being stopped */
        int64_t deadline_ns = fm_after_ms(ANSWER_MS);
        if (fm_write_full(connection->fd, line, strlen(line), deadline_ns, NULL) >= 0)
            fm_write_full(connection->fd, "\n", 1, deadline_ns, NULL);
        fm_unmask();
    }
    free(text);
    json_object_put(answer);
    fm_close(connection->fd);
    free(connection);
    return fm_ok(NULL);
}

static void connection_drop(void *arg)
{
    struct connection *connection = arg;
    fm_close(connection->fd);
    free(connection);
}

static struct fm_exit accept_entry(void *arg)
{
    struct control *control = arg;
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    options.arg_drop = connection_drop;
    options.stack_bytes = PATTERN_STACK; /* what is added may have patterns */
    for (;;) {
        int fd = fm_accept(control->fd, NULL, NULL, FM_NEVER);
        if (fd == -ECANCELED || fd == -EBADF)
            return fm_ok(NULL);
        if (fd < 0) { /* too many descriptors, for now */
            if (fm_sleep_ms(100) < 0)
                return fm_ok(NULL);
            continue;
        }
        struct connection *connection = malloc(sizeof *connection);
        if (connection)
            *connection = (struct connection) { control->batch, fd };
        if (!connection || fm_fiber_spawn(connection_entry, connection, &options, NULL) < 0) {
            fm_close(fd);
            free(connection);
        }
    }
}

/* ---- start and end ---- */

/* A socket whose listener has gone is in the way. */
static void remove_stale(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct stat about;
    if (lstat(path, &about) < 0 || !S_ISSOCK(about.st_mode))
        return; /* to connect to a file is refused as well */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && strlen(path) < sizeof address.sun_path) {
        strcpy(address.sun_path, path);
        if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 &&
            errno == ECONNREFUSED)
            unlink(path);
    }
    if (fd >= 0)
        close(fd);
}

int control_start(struct batch *batch, const char *path, struct control **ret_control)
{
    struct control *control = calloc(1, sizeof *control);
    if (!control)
        return -ENOMEM;
    control->batch = batch;
    control->path = strdup(path);
    if (!control->path) {
        free(control);
        return -ENOMEM;
    }
    remove_stale(path);
    mode_t before = umask(0177);
    int r = fm_listen_unix(path, &control->fd);
    umask(before);
    if (r < 0)
        goto free_control;
    r = fm_fiber_spawn(accept_entry, control, NULL, &control->fiber);
    if (r < 0)
        goto close_socket;
    *ret_control = control;
    return 0;

close_socket:
    fm_close(control->fd);
    unlink(path);
free_control:
    free(control->path);
    free(control);
    return r;
}

struct control *control_stop(struct control *control)
{
    if (!control)
        return NULL;
    fm_fiber_stop(control->fiber, FM_NEVER, NULL);
    fm_fiber_unref(control->fiber);
    fm_close(control->fd);
    unlink(control->path);
    free(control->path);
    free(control);
    return NULL;
}
