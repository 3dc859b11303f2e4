/*
 * trace.c - what happened, as text
 */
#include "runtime/explore/trace.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/platform/check.h"

enum { LINE = 256, LINES = 64 };

struct text {
    int fd;
    int error;
    size_t size;
    char bytes[LINE * LINES];
};

static void flush(struct text *text)
{
    FM_ASSERT(text->size <= sizeof text->bytes);
    for (size_t done = 0; done < text->size && !text->error;) {
        ssize_t n = write(text->fd, text->bytes + done, text->size - done);
        if (n < 0 && errno != EINTR)
            text->error = -errno;
        else if (n > 0)
            done += (size_t)n;
    }
    text->size = 0;
}

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format,
                                                      ...)
{
    va_list list;

    if (text->size + LINE > sizeof text->bytes)
        flush(text);
    va_start(list, format);
    int n = vsnprintf(text->bytes + text->size, LINE, format, list);
    va_end(list);
    text->size += n < LINE ? (size_t)n : LINE - 1;
}

/* "compare-and-swap &fiber->state  fm__state_wake state.h:187" */
static void add_point(struct text *text, const struct turn_point *point)
{
    FM_ASSERT(point->what);
    const char *slash = point->file ? strrchr(point->file, '/') : NULL;
    const char *file = slash ? slash + 1 : point->file;

    if (!point->function)
        add(text, "%s", point->what);
    else if (point->line)
        add(text, "%s %.60s  %s %s:%d", point->what, point->object, point->function, file,
            point->line);
    else
        add(text, "%s %s", point->function, point->what);
}

int fm__trace_write(const struct arbiter_log *log, int fd)
{
    struct text text = { .fd = fd };

    for (uint64_t i = 0; log->records && i < log->steps && i < log->record_max; i++) {
        const struct step *step = &log->records[i];
        add(&text, "%6llu  %-15s  ", (unsigned long long)i, log->seats[step->seat].name);
        add_point(&text, step->point);
        if (step->chosen != step->seat)
            add(&text, "  -> %s", log->seats[step->chosen].name);
        add(&text, "\n");
    }
    flush(&text);
    return text.error;
}

int fm__trace_seats(const struct arbiter_log *log, int fd)
{
    static const char *const states[] = { "gone", "can go on", "waits", "has ended" };
    struct text text = { .fd = fd };

    for (unsigned i = 0; i < log->seat_count; i++) {
        const struct seat_log *seat = &log->seats[i];
        if (seat->state == SEAT_FREE || seat->state == SEAT_ENDED)
            continue;
        add(&text, "    %-15s  %s%s%s: ", seat->name, states[seat->state],
            seat->state == SEAT_BLOCKED && seat->io ? " for io" : "",
            seat->state == SEAT_BLOCKED && seat->timed ? " with a deadline" : "");
        add_point(&text, seat->at);
        add(&text, "\n");
    }
    flush(&text);
    return text.error;
}
