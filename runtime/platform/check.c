/*
 * check.c - the last words of a program whose invariant broke, and warnings
 *
 * Owns        nothing.
 * Invariant   writes with write(2) alone: it may be called from a signal handler or with any
 *             lock held.
 */
#include "runtime/platform/check.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Atomic(fm__describe_fn *) describe_running;

void fm__check_set_describe(fm__describe_fn *describe)
{
    /* release, with the acquire below: the function's data is set up before it can be called */
    atomic_store_explicit(&describe_running, describe, memory_order_release);
}

/* Writes the whole of one line: what, and who is running. */
static __attribute__((format(printf, 2, 0))) void say(const char *what, const char *format,
                                                      va_list args)
{
    char text[768];
    char who[192] = "";
    fm__describe_fn *describe = atomic_load_explicit(&describe_running, memory_order_acquire);

    if (describe)
        describe(who, sizeof who);
    int n = snprintf(text, sizeof text, "fibermap: %s", what);
    n += vsnprintf(text + n, sizeof text - (size_t)n, format, args);
    if ((size_t)n >= sizeof text)
        n = (int)sizeof text - 1;
    n += snprintf(text + n, sizeof text - (size_t)n, "%s%s\n", who[0] ? "; running " : "", who);
    if ((size_t)n >= sizeof text)
        n = (int)sizeof text - 1;
    ssize_t written = write(STDERR_FILENO, text, (size_t)n);
    (void)written;
}

void fm__bug(const char *file, int line, const char *format, ...)
{
    char what[256];
    va_list args;

    snprintf(what, sizeof what, "broken invariant at %s:%d: ", file, line);
    va_start(args, format);
    say(what, format, args);
    va_end(args);
    abort();
}

void fm__warn(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say("", format, args);
    va_end(args);
}
