/* SPDX-License-Identifier: Apache-2.0 */
/*
 * printer.c - one after the other, to our own output
 *
 * The mutex is a fiber's: who prints waits until it is written, holding its slot, so that a
 * reader who is slow slows the jobs down and not the memory up. What may take its time a thread
 * of the blocking pool writes; a little that does not is written in place.
 * Waits are masked: what a job has said is printed also when all is being stopped.
 */
#include "tools/batcher/printer.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <search.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "fm/fm.h"

struct waiting {
    uint64_t number;
    struct output output;
};

/* How a little text gets to a descriptor. */
enum way {
    WAY_POOL, /* it may wait for somebody, so a thread of the pool writes it */
    WAY_ROOM, /* a pipe: at once if there is room for so much */
    WAY_FILE, /* at once: it goes to memory */
};

struct printer {
    struct fm_mutex *mutex;
    bool keep_order;
    enum way ways[2]; /* to our output and our error */
    bool shown;       /* mutex; there is a line of progress */
    int error;        /* mutex; of the first write that failed */
    uint64_t next;    /* mutex; keep_order: what is printed next */
    void *waiting;    /* mutex; keep_order: outputs by their numbers */
};

static int compare(const void *left, const void *right)
{
    uint64_t a = ((const struct waiting *)left)->number;
    uint64_t b = ((const struct waiting *)right)->number;
    return a < b ? -1 : a > b;
}

static enum way way_to(int fd)
{
    struct stat about;
    if (fstat(fd, &about) < 0)
        return WAY_POOL;
    if (S_ISFIFO(about.st_mode))
        return WAY_ROOM;
    bool nowhere = S_ISCHR(about.st_mode) && about.st_rdev == makedev(1, 3); /* /dev/null */
    return S_ISREG(about.st_mode) || nowhere ? WAY_FILE : WAY_POOL;
}

int printer_create(bool keep_order, struct printer **ret_printer)
{
    struct printer *printer = calloc(1, sizeof *printer);
    if (!printer)
        return -ENOMEM;
    int r = fm_mutex_create(&printer->mutex);
    if (r < 0) {
        free(printer);
        return r;
    }
    printer->keep_order = keep_order;
    printer->ways[0] = way_to(1);
    printer->ways[1] = way_to(2);
    printer->next = 1;
    *ret_printer = printer;
    return 0;
}

static void waiting_free(void *arg)
{
    struct waiting *waiting = arg;
    output_close(&waiting->output);
    free(waiting);
}

struct printer *printer_destroy(struct printer *printer)
{
    if (!printer)
        return NULL;
    tdestroy(printer->waiting, waiting_free);
    fm_mutex_destroy(printer->mutex);
    free(printer);
    return NULL;
}

struct line {
    char text[1200];
    size_t bytes;
};

static struct fm_exit say_entry(void *arg)
{
    struct line *line = arg;
    write_whole(2, line->text, line->bytes);
    return fm_ok(NULL);
}

/* Before anything else is written to the terminal. */
static void erase_progress_locked(struct printer *printer)
{
    static struct line erasure = { "\r\033[K", 4 };
    if (printer->shown)
        fm_blocking(say_entry, &erasure, FM_NEVER, NULL);
    printer->shown = false;
}

static struct fm_exit copy_entry(void *output)
{
    int r = output_copy(output);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

/* A pipe that is ready has room for PIPE_BUF bytes; both of ours may be the same one. */
static bool goes_at_once(const struct printer *printer, const struct output *output)
{
    if (output->bytes[0] + output->bytes[1] > PIPE_BUF)
        return false;
    for (int i = 0; i < 2; i++) {
        struct pollfd room = { .fd = i + 1, .events = POLLOUT };
        if (!output->bytes[i])
            continue;
        if (!output->text[i] || printer->ways[i] == WAY_POOL ||
            (printer->ways[i] == WAY_ROOM && poll(&room, 1, 0) != 1))
            return false;
    }
    return true;
}

/* Print it, unless nobody listens any more, and let it go. */
static void print_locked(struct printer *printer, struct output *output)
{
    if (!printer->error && output->bytes[0] + output->bytes[1]) {
        struct fm_exit exit;
        erase_progress_locked(printer);
        int r = 0;
        if (goes_at_once(printer, output))
            exit = copy_entry(output);
        else
            r = fm_blocking(copy_entry, output, FM_NEVER, &exit);
        if (r == 0 && exit.kind != FM_SUCCESS)
            r = exit.code;
        printer->error = r;
    }
    output_close(output);
}

static void print_next_locked(struct printer *printer)
{
    for (;;) {
        struct waiting wanted = { .number = printer->next };
        struct waiting **node = tfind(&wanted, &printer->waiting, compare);
        if (!node)
            return;
        struct waiting *waiting = *node;
        tdelete(waiting, &printer->waiting, compare);
        printer->next++;
        print_locked(printer, &waiting->output);
        free(waiting);
    }
}

static void put_locked(struct printer *printer, uint64_t number, struct output *output)
{
    if (!printer->keep_order || !number) {
        print_locked(printer, output);
        return;
    }
    struct waiting *waiting = calloc(1, sizeof *waiting);
    if (waiting) {
        waiting->number = number;
        waiting->output = *output;
        if (tsearch(waiting, &printer->waiting, compare)) {
            print_next_locked(printer);
            return;
        }
        free(waiting);
    }
    printer->error = -ENOMEM;
    output_close(output);
}

static void lock(struct printer *printer)
{
    fm_mask();
    fm_mutex_lock(printer->mutex, FM_NEVER);
}

static void unlock(struct printer *printer)
{
    fm_mutex_unlock(printer->mutex);
    fm_unmask();
}

int printer_put(struct printer *printer, uint64_t number, struct output *output)
{
    lock(printer);
    put_locked(printer, number, output);
    int r = printer->error;
    unlock(printer);
    return r;
}

int printer_flush(struct printer *printer)
{
    lock(printer);
    while (printer->waiting) {
        print_next_locked(printer);
        printer->next++; /* nobody will put this one */
    }
    int r = printer->error;
    unlock(printer);
    return r;
}

void printer_say(struct printer *printer, const char *format, ...)
{
    struct line line;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line.text, sizeof line.text - 1, format, args);
    va_end(args);
    if (n < 0)
        return;
    line.bytes = (size_t)n < sizeof line.text - 1 ? (size_t)n : sizeof line.text - 2;
    line.text[line.bytes++] = '\n';
    lock(printer);
    erase_progress_locked(printer);
    fm_blocking(say_entry, &line, FM_NEVER, NULL);
    unlock(printer);
}

void printer_progress(struct printer *printer, const char *text)
{
    struct line line;
    int n = snprintf(line.text, sizeof line.text, "\r\033[K%s", text);
    lock(printer);
    if (*text || printer->shown) {
        line.bytes = (size_t)n < sizeof line.text ? (size_t)n : sizeof line.text - 1;
        fm_blocking(say_entry, &line, FM_NEVER, NULL);
        printer->shown = *text;
    }
    unlock(printer);
}
