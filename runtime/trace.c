/*
 * trace.c - traces written out as Chrome's trace event JSON
 *
 * Knows not   how events are kept: sched/trace.c.
 * Format      "Trace Event Format": an object with traceEvents; X is a span, i a moment, s and
 *             f the ends of an arrow, M a name. ts and dur are microseconds.
 */
#include "fm/trace.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/dump.h"
#include "runtime/fiber/runtime.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/config.h"
#include "runtime/platform/memory.h"
#include "runtime/trace.h"

enum { EVENTS = 16384, EVENTS_MAX = 1 << 24 };

/* ---- what the scheduler is told of fibers ---- */

static struct fm_fiber *fiber_of(struct task *task)
{
    return (struct fm_fiber *)task; /* its first member */
}

uint64_t fm__trace_id(struct task *task)
{
    return fm__fiber_id(fiber_of(task));
}

void fm__trace_task(struct task *task, struct trace_event *event)
{
    struct fm_fiber *fiber = fiber_of(task);
    event->fiber = fm__fiber_id(fiber);
    fm__describe_key(fiber, event->text, sizeof event->text);
    event->keyed = event->text[0] != '\0';
    if (!event->keyed)
        snprintf(event->text, sizeof event->text, "%s", fm_fiber_name(fiber));
}

const char *fm__trace_wait(struct task *task)
{
    return task ? atomic_load_explicit(&fiber_of(task)->waits_for, memory_order_relaxed) : NULL;
}

int64_t fm__trace_now(struct sched *sched)
{
    struct fm_runtime *runtime = (struct fm_runtime *)sched; /* its first member */
    if (!runtime->virtual_clock)
        return fm__clock_ns();
    /* later than any before, so that what happens at one virtual time keeps its order */
    int64_t now = fm__runtime_now_ns(runtime), next;
    int64_t last = atomic_load_explicit(&runtime->trace_stamp_ns, memory_order_relaxed);
    do
        next = last + 1 > now ? last + 1 : now;
    while (!atomic_compare_exchange_weak_explicit(&runtime->trace_stamp_ns, &last, next,
                                                  memory_order_relaxed, memory_order_relaxed));
    return next;
}

/* ---- JSON ---- */

struct writer {
    int fd;
    int error;
    size_t used;
    int64_t start_ns;
    int pid;
    bool first;
    char buffer[16384];
};

static void flush(struct writer *to)
{
    FM_ASSERT(to->used <= sizeof to->buffer);
    size_t done = 0;
    while (!to->error && done < to->used) {
        ssize_t n = write(to->fd, to->buffer + done, to->used - done);
        if (n >= 0)
            done += (size_t)n;
        else if (errno != EINTR)
            to->error = -errno;
    }
    to->used = 0;
}

static __attribute__((format(printf, 2, 3))) void put(struct writer *to, const char *format,
                                                      ...)
{
    FM_ASSERT(to->used <= sizeof to->buffer);
    enum { LONGEST = 512 };
    va_list list;
    if (sizeof to->buffer - to->used < LONGEST)
        flush(to);
    va_start(list, format);
    int n = vsnprintf(to->buffer + to->used, LONGEST, format, list);
    va_end(list);
    to->used += n < LONGEST ? (size_t)n : LONGEST - 1;
}

/* Inside quotes. Bytes that are not plain are told as the characters of their numbers. */
static void put_text(struct writer *to, const char *text)
{
    FM_ASSERT(text);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            put(to, "\\%c", c);
        else if (c < ' ' || c > '~')
            put(to, "\\u%04x", c);
        else
            put(to, "%c", c);
    }
}

static void put_time(struct writer *to, const char *name, int64_t ns)
{
    FM_ASSERT(name);
    if (ns < 0)
        ns = 0;
    put(to, ",\"%s\":%lld.%03d", name, (long long)(ns / 1000), (int)(ns % 1000));
}

/* What each event begins with; the caller goes on and ends it with "}}". */
static void begin(struct writer *to, char phase, unsigned row, int64_t at_ns)
{
    FM_ASSERT(row <= WORKERS_MAX);
    put(to, "%s\n{\"ph\":\"%c\",\"pid\":%d,\"tid\":%u", to->first ? "" : ",", phase, to->pid,
        row);
    to->first = false;
    put_time(to, "ts", at_ns - to->start_ns);
}

/* ---- events ---- */

static unsigned row_of(const struct trace_event *event)
{
    return event->worker == TRACE_OUTSIDE ? WORKERS_MAX : event->worker;
}

static void put_run(struct writer *to, const struct trace_event *event)
{
    FM_ASSERT(event->kind == TRACE_RUN && event->how < 5);
    static const char *const ends[] = { "parked", "yielded", "spawned a child that runs first",
                                        "ended", "runs on" };
    begin(to, 'X', row_of(event), event->begin_ns);
    put_time(to, "dur", event->end_ns - event->begin_ns);
    put(to, ",\"cat\":\"run\",\"name\":\"");
    if (event->text[0])
        put_text(to, event->text);
    else
        put(to, "fiber %llu", (unsigned long long)event->fiber);
    put(to, "\",\"args\":{\"fiber\":%llu", (unsigned long long)event->fiber);
    if (event->text[0]) {
        put(to, ",\"%s\":\"", event->keyed ? "key" : "name");
        put_text(to, event->text);
        put(to, "\"");
    }
    put(to, ",\"end\":\"%s\"", ends[event->how]);
    if (event->what)
        put(to, ",\"waits_for\":\"%s\"", event->what);
    put(to, "}}");
}

static void put_readiness(struct writer *to, const struct trace_event *event)
{
    static const char *const by[] = { "fiber", "timer", "io", "outside",
                                      "before it had left its stack" };
    const char *name = event->kind == TRACE_SPAWN ? "spawn" : "wake";
    begin(to, 'i', row_of(event), event->begin_ns);
    put(to, ",\"s\":\"t\",\"cat\":\"%s\",\"name\":\"%s\",\"args\":{\"fiber\":%llu", name, name,
        (unsigned long long)event->fiber);
    if (event->by)
        put(to, ",\"by_fiber\":%llu", (unsigned long long)event->by);
    put(to, ",\"by\":\"%s\"}}",
        event->how == TRACE_BY_TASK && !event->by ? "worker" : by[event->how]);
}

static void put_event(struct writer *to, const struct trace_event *event)
{
    switch ((enum trace_kind)event->kind) {
    case TRACE_RUN: put_run(to, event); return;
    case TRACE_SPAWN:
    case TRACE_WAKE: put_readiness(to, event); return;
    case TRACE_STEAL:
        begin(to, 'i', row_of(event), event->begin_ns);
        put(to,
            ",\"s\":\"t\",\"cat\":\"steal\",\"name\":\"steal\",\"args\":{\"tasks\":%u,\"from\":"
            "%u}}",
            event->number, event->other);
        return;
    case TRACE_ASLEEP:
        begin(to, 'X', row_of(event), event->begin_ns);
        put_time(to, "dur", event->end_ns - event->begin_ns);
        put(to, ",\"cat\":\"idle\",\"name\":\"asleep\",\"args\":{}}");
        return;
    case TRACE_STALL:
        begin(to, 'i', event->other, event->begin_ns);
        put(to,
            ",\"s\":\"t\",\"cat\":\"stall\",\"name\":\"stall\",\"args\":{\"fiber\":%llu,\"ms\":"
            "%u}}",
            (unsigned long long)event->fiber, event->number);
        return;
    }
}

static bool is_readiness(const struct trace_event *event)
{
    return event->kind == TRACE_WAKE || event->kind == TRACE_SPAWN;
}

static int by_fiber_and_time(const void *a, const void *b)
{
    const struct trace_event *x = a, *y = b;
    if (x->fiber != y->fiber)
        return x->fiber < y->fiber ? -1 : 1;
    if (x->begin_ns != y->begin_ns)
        return x->begin_ns < y->begin_ns ? -1 : 1;
    /* woken first, then run */
    return is_readiness(y) - is_readiness(x);
}

/* An arrow from each wake to the run of that fiber which follows it. */
static void put_arrows(struct writer *to, struct trace_event *events, size_t count)
{
    const struct trace_event *wake = NULL;
    unsigned long long arrow = 0;

    qsort(events, count, sizeof *events, by_fiber_and_time);
    for (size_t i = 0; i < count; i++) {
        const struct trace_event *event = &events[i];
        if (is_readiness(event)) {
            wake = event;
        } else if (event->kind == TRACE_RUN) {
            if (wake && wake->fiber == event->fiber) {
                const char *name = wake->kind == TRACE_SPAWN ? "spawn" : "wake";
                begin(to, 's', row_of(wake), wake->begin_ns);
                put(to, ",\"id\":%llu,\"cat\":\"%s\",\"name\":\"%s\",\"args\":{}}", ++arrow,
                    name, name);
                begin(to, 'f', row_of(event), event->begin_ns);
                put(to, ",\"bp\":\"e\",\"id\":%llu,\"cat\":\"%s\",\"name\":\"%s\",\"args\":{}}",
                    arrow, name, name);
            }
            wake = NULL;
        }
    }
}

static void put_row(struct writer *to, unsigned row)
{
    FM_ASSERT(row <= WORKERS_MAX);
    begin(to, 'M', row, to->start_ns);
    if (row < WORKERS_MAX)
        put(to, ",\"name\":\"thread_name\",\"args\":{\"name\":\"worker %u\"}}", row);
    else
        put(to, ",\"name\":\"thread_name\",\"args\":{\"name\":\"other threads\"}}");
}

static int write_trace(struct fm_runtime *runtime, struct writer *to)
{
    struct sched *sched = &runtime->sched;
    uint64_t dropped = 0;
    size_t count = 0, room = 0;
    struct trace_event *events = NULL;

    put(to, "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[");
    for (uint32_t i = 0; i <= WORKERS_MAX; i++) {
        if (room - count < sched->trace.events) {
            /* twice as much, so that many workers do not copy it all again and again */
            room = 2 * count + sched->trace.events;
            struct trace_event *more = fm__malloc(room * sizeof *more);
            if (more && count)
                memcpy(more, events, count * sizeof *more);
            free(events);
            if (!more)
                return -ENOMEM;
            events = more;
        }
        uint32_t n = fm__trace_read(sched, i, events + count, &dropped);
        FM_ASSERT(count + n <= room);
        if (n)
            put_row(to, i);
        for (size_t end = count + n; count < end; count++)
            put_event(to, &events[count]);
    }
    put_arrows(to, events, count);
    free(events);
    put(to, "\n],\"otherData\":{\"dropped\":%llu,\"clock\":\"%s\"}}\n",
        (unsigned long long)dropped, runtime->virtual_clock ? "virtual" : "monotonic");
    flush(to);
    return to->error;
}

/* ---- the public calls ---- */

int fm_trace_start(struct fm_runtime *runtime, const struct fm_trace_options *given)
{
    struct fm_trace_options options;

    if (!runtime)
        return -EINVAL;
    int r = fm__config_read(&options, sizeof options, given);
    if (r < 0)
        return r;
    if (options.events > EVENTS_MAX)
        return -EINVAL;
    uint32_t events = options.events ? 1 : EVENTS;
    while (events < options.events)
        events *= 2;
    return fm__trace_start(&runtime->sched, events);
}

int fm_trace_stop(struct fm_runtime *runtime, int fd)
{
    if (!runtime || fd < -1)
        return -EINVAL;
    int r = fm__trace_stop(&runtime->sched);
    if (r < 0)
        return r;
    struct writer *to = fd >= 0 ? fm__malloc(sizeof *to) : NULL;
    if (!to) {
        fm__trace_forget(&runtime->sched);
        return fd >= 0 ? -ENOMEM : 0;
    }
    *to = (struct writer) {
        .fd = fd, .start_ns = runtime->sched.trace.start_ns, .pid = (int)getpid(), .first = true
    };
    r = write_trace(runtime, to);
    free(to);
    fm__trace_forget(&runtime->sched);
    return r;
}
