/*
 * process_run.c - a program from start to end, and what it said
 *
 * Three fibers in a scope of their own carry what goes in and what comes out, while the caller
 * waits for the end. Closing the scope ends those that somebody else still holds up: a child of
 * the child that has the pipe open.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fm/io.h"
#include "fm/scope.h"
#include "runtime/io/process.h"
#include "runtime/platform/check.h"
#include "runtime/platform/config.h"
#include "runtime/platform/memory.h"

enum { OUTPUT_FIRST = 4096, OUTPUT_DEFAULT = 1024 * 1024, THROWN_AWAY_BYTES = 2048 };
static const int64_t GRACE_NS = INT64_C(2000000000);

struct collected {
    struct fm_process *process;
    int which;
    size_t max;
    char *data; /* a byte more than size at least */
    size_t size, capacity;
    bool whole; /* all of it was read and kept */
    int error;
};

struct given {
    struct fm_process *process;
    const void *data;
    size_t bytes;
    int error;
};

/* Room for one byte more, and the NUL. False: it is full, or there is no memory. */
static bool make_room(struct collected *c)
{
    FM_ASSERT(c->size <= c->max && c->size < c->capacity);
    if (c->size == c->max)
        return false;
    if (c->size + 1 < c->capacity)
        return true;
    size_t capacity = c->capacity < c->max / 2 ? 2 * c->capacity : c->max + 1;
    char *data = fm__realloc(c->data, capacity);
    if (!data) {
        c->error = -ENOMEM;
        c->max = c->size;
        return false;
    }
    c->data = data;
    c->capacity = capacity;
    FM_ASSERT(c->size + 1 < c->capacity);
    return true;
}

/* To the end: what there is no room for is read too, so that the program never stands still. */
static struct fm_exit collect(void *arg)
{
    struct collected *c = arg;
    FM_ASSERT(c->data && c->process);
    char thrown_away[THROWN_AWAY_BYTES];
    int fd = fm_process_fd(c->process, c->which);
    bool full = false;
    ssize_t n;

    do {
        bool room = make_room(c);
        size_t free_bytes = c->capacity - c->size - 1;
        n = room ? fm_read(fd, c->data + c->size, free_bytes, FM_NEVER)
                 : fm_read(fd, thrown_away, sizeof thrown_away, FM_NEVER);
        if (n > 0 && room)
            c->size += (size_t)n;
        full = full || (n > 0 && !room);
    } while (n > 0);
    c->whole = n == 0 && !full;
    if (n < 0 && n != -ECANCELED) {
        c->error = (int)n;
        fm_process_close_fd(c->process, c->which); /* nobody listens: let it know */
    }
    return fm_ok(NULL);
}

/* A program that does not want to hear it all is none of our errors. */
static struct fm_exit give(void *arg)
{
    struct given *given = arg;
    FM_ASSERT(given->data && given->process);
    ssize_t n = fm_write_full(fm_process_fd(given->process, 0), given->data, given->bytes,
                              FM_NEVER, NULL);
    fm_process_close_fd(given->process, 0);
    if (n < 0 && n != -EPIPE && n != -ECANCELED)
        given->error = (int)n;
    return fm_ok(NULL);
}

static int start(fm_entry_fn *entry, void *arg, const char *name)
{
    FM_ASSERT(entry && name);
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    options.name = name;
    return fm_fiber_spawn(entry, arg, &options, NULL);
}

static int prepare(struct collected *c, struct fm_process *process, int which, size_t max)
{
    FM_ASSERT(which == 1 || which == 2);
    *c = (struct collected) { .process = process, .which = which, .max = max };
    c->capacity = max < OUTPUT_FIRST ? max + 1 : OUTPUT_FIRST;
    c->data = fm__malloc(c->capacity);
    c->whole = fm_process_fd(process, which) < 0;
    return c->data ? 0 : -ENOMEM;
}

/* Wait for the end, and bring it about at the deadline. As fm_process_run. */
static int await_end(struct fm_process *process, int64_t deadline_ns, int64_t grace_ns,
                     struct fm_process_status *ret_status)
{
    FM_ASSERT(process);
    int r = fm_process_wait(process, deadline_ns, ret_status);
    if (r != -ETIMEDOUT && r != -ECANCELED)
        return r;
    int stopped = fm_process_stop(process, grace_ns, ret_status);
    if (stopped < 0)
        return stopped;
    return r == -ETIMEDOUT ? FM_PROCESS_STOPPED : r;
}

static int carry(struct fm_process *process, struct given *given, struct collected c[2],
                 int64_t deadline_ns, int64_t grace_ns, struct fm_process_status *ret_status)
{
    struct fm_scope *scope;
    int r = fm_scope_open(&scope);
    if (r < 0)
        return r;
    if (given->data)
        r = start(give, given, "process input");
    if (r == 0 && !c[0].whole)
        r = start(collect, &c[0], "process output");
    if (r == 0 && !c[1].whole)
        r = start(collect, &c[1], "process error");
    if (r == 0) {
        r = await_end(process, deadline_ns, grace_ns, ret_status);
        if (r >= 0)
            fm_scope_wait(fm_after_ns(grace_ns));
    }
    fm_scope_close(scope, fm_ok(NULL));
    if (r >= 0 && (given->error || c[0].error || c[1].error))
        return given->error ? given->error : c[0].error ? c[0].error : c[1].error;
    return r;
}

static char *text_of(struct collected *c)
{
    FM_ASSERT(c->size < c->capacity);
    c->data[c->size] = '\0';
    return c->data;
}

int fm_process_run(const struct fm_process_spec *given_spec,
                   const struct fm_process_run_options *given_options, int64_t deadline_ns,
                   struct fm_process_output *ret_output)
{
    struct fm_process_spec spec;
    struct fm_process_run_options options;
    struct fm_process *process;
    struct fm_process_output output = { .flags = 0 };
    struct collected c[2] = { { .data = NULL }, { .data = NULL } };

    if (!given_spec || !ret_output)
        return -EINVAL;
    if (!fm_fiber_self())
        return -EPERM;
    int r = fm__config_read(&spec, sizeof spec, given_spec);
    if (r == 0)
        r = fm__config_read(&options, sizeof options, given_options);
    if (r < 0)
        return r;
    if (options.flags || options.grace_ns < 0 || options.output_max > SIZE_MAX / 2 ||
        spec.flags & FM_PROCESS_DETACHED || (!options.input && options.input_bytes))
        return -EINVAL;
    size_t max = options.output_max ? options.output_max : OUTPUT_DEFAULT;
    int64_t grace_ns = options.grace_ns ? options.grace_ns : GRACE_NS;
    if (options.input)
        spec.in = (struct fm_stdio) { .kind = FM_STDIO_PIPE };
    if (spec.out.kind == FM_STDIO_INHERIT)
        spec.out.kind = FM_STDIO_PIPE;
    if (spec.err.kind == FM_STDIO_INHERIT)
        spec.err.kind = FM_STDIO_PIPE;

    r = fm__process_spawn(&spec, deadline_ns, &process);
    if (r < 0)
        return r;
    if (!options.input)
        fm_process_close_fd(process, 0); /* a pipe that nobody would write to */
    struct given given = { .process = process,
                           .data = options.input,
                           .bytes = options.input_bytes };
    r = prepare(&c[0], process, 1, max);
    if (r == 0)
        r = prepare(&c[1], process, 2, max);
    if (r == 0)
        r = carry(process, &given, c, deadline_ns, grace_ns, &output.status);
    fm_process_destroy(process);
    if (r < 0) {
        free(c[0].data);
        free(c[1].data);
        return r;
    }
    output.flags = (c[0].whole ? 0 : FM_OUTPUT_OUT_CUT) | (c[1].whole ? 0 : FM_OUTPUT_ERR_CUT);
    output.out = text_of(&c[0]);
    output.out_bytes = c[0].size;
    output.err = text_of(&c[1]);
    output.err_bytes = c[1].size;
    *ret_output = output;
    return r;
}

void fm_process_output_free(struct fm_process_output *output)
{
    if (!output)
        return;
    free(output->out);
    free(output->err);
    *output = (struct fm_process_output) { .flags = 0 };
}
