/*
 * check.c - the last words of a program whose invariant broke
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

void fm__bug(const char *file, int line, const char *format, ...)
{
    char text[768];
    char who[192] = "";
    fm__describe_fn *describe = atomic_load_explicit(&describe_running, memory_order_acquire);

    if (describe)
        describe(who, sizeof who);
    int n = snprintf(text, sizeof text, "fibermap: broken invariant at %s:%d: ", file, line);
    va_list args;
    va_start(args, format);
    n += vsnprintf(text + n, sizeof text - (size_t)n, format, args);
    va_end(args);
    if ((size_t)n >= sizeof text)
        n = (int)sizeof text - 1;
    n += snprintf(text + n, sizeof text - (size_t)n, "%s%s\n", who[0] ? "; running " : "", who);
    if ((size_t)n >= sizeof text)
        n = (int)sizeof text - 1;
    ssize_t written = write(STDERR_FILENO, text, (size_t)n);
    (void)written;
    abort();
}
