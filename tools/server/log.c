/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c - one line of JSON for each thing that happens
 *
 * Fibers make lines in memory; a thread of its own writes them, so that a slow disk or a full
 * pipe holds up nobody else.
 *
 * Owns        the file, the lines that are not written.
 * Invariant   pending holds whole lines, PENDING_BYTES at most.
 */
#include "tools/server/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/server/buffer.h"
#include "tools/server/text.h"

enum {
    PENDING_BYTES = 1 << 20,
    LINE_BYTES = 64 << 10,
};

struct log {
    int fd;
    pthread_t thread;
    pthread_mutex_t lock;       /* held for a copy, never across a switch */
    pthread_cond_t turn;        /* a line to be written, or all have been */
    struct buffer pending;      /* lock */
    unsigned long long dropped; /* lock; lines since the last that was taken */
    bool writing, last;         /* lock */
};

/* ---- the thread that writes ---- */

static void write_all(int fd, const char *bytes, size_t len)
{
    while (len) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno != EINTR)
            return; /* nobody to tell: the lines are lost, the server goes on */
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
}

static void *writer_entry(void *arg)
{
    struct log *log = arg;
    pthread_mutex_lock(&log->lock);
    while (!log->last || log->pending.len) {
        if (!log->pending.len) {
            pthread_cond_wait(&log->turn, &log->lock);
            continue;
        }
        struct buffer writing = log->pending;
        log->pending = (struct buffer) { .limit = PENDING_BYTES };
        log->writing = true;
        pthread_mutex_unlock(&log->lock);
        write_all(log->fd, writing.data, writing.len);
        buffer_fini(&writing);
        pthread_mutex_lock(&log->lock);
        log->writing = false;
        pthread_cond_broadcast(&log->turn);
    }
    pthread_mutex_unlock(&log->lock);
    return NULL;
}

/* ---- lines ---- */

/* Once something has not fitted nothing does any more: a line is whole, or its end is missing. */
static void add(struct buffer *line, const void *bytes, size_t len)
{
    if (buffer_append(line, bytes, len) < 0)
        line->limit = line->len;
}

static void add_text(struct buffer *line, const char *text)
{
    add(line, text, strlen(text));
}

static void add_quoted(struct buffer *line, const char *text, size_t len)
{
    add(line, "\"", 1);
    bool utf8 = text_is_utf8(text, len);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        char escaped[8];
        if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f || (c >= 0x80 && !utf8)) {
            snprintf(escaped, sizeof escaped, "\\u%04x", c);
            add(line, escaped, 6);
        } else {
            add(line, &text[i], 1);
        }
    }
    add(line, "\"", 1);
}

static void add_field(struct buffer *line, const struct log_field *field)
{
    add(line, ",\"", 2);
    add_text(line, field->name);
    add(line, "\":", 2);
    if (field->text.text) {
        add_quoted(line, field->text.text, field->text.len);
        return;
    }
    char number[24];
    snprintf(number, sizeof number, "%lld", field->number);
    add_text(line, number);
}

/* To the millisecond, as RFC 3339 has it. */
static void add_time(struct buffer *line)
{
    struct timespec now;
    struct tm tm;
    char text[80];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t len = strftime(text, sizeof text, "{\"time\":\"%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + len, sizeof text - len, ".%03ldZ\",\"event\":\"", now.tv_nsec / 1000000);
    add_text(line, text);
}

static void give_locked(struct log *log, const struct buffer *line)
{
    char told[64];
    int len = 0;
    if (log->dropped)
        len = snprintf(told, sizeof told, "{\"event\":\"dropped\",\"lines\":%llu}\n",
                       log->dropped);
    if (buffer_reserve(&log->pending, (size_t)len + line->len) < 0) {
        log->dropped++;
        return;
    }
    buffer_append(&log->pending, told, (size_t)len);
    buffer_append(&log->pending, line->data, line->len);
    log->dropped = 0;
    pthread_cond_broadcast(&log->turn);
}

void log_line(struct log *log, const char *event, const struct log_field fields[], size_t count)
{
    if (!log)
        return;
    struct buffer line = { .limit = LINE_BYTES };
    add_time(&line);
    add_text(&line, event);
    add(&line, "\"", 1);
    for (size_t i = 0; i < count; i++)
        add_field(&line, &fields[i]);
    /* a line without its end is left out */
    if (buffer_append(&line, "}\n", 2) == 0) {
        pthread_mutex_lock(&log->lock);
        give_locked(log, &line);
        pthread_mutex_unlock(&log->lock);
    }
    buffer_fini(&line);
}

/* ---- making and ending ---- */

int log_open(const char *path, struct log **ret_log)
{
    struct log *log = calloc(1, sizeof *log);
    if (!log)
        return -ENOMEM;
    log->fd = strcmp(path, "-") ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640)
                                : fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    int r = log->fd < 0 ? -errno : 0;
    if (r < 0)
        goto free_log;
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->turn, NULL);
    log->pending.limit = PENDING_BYTES;
    r = -pthread_create(&log->thread, NULL, writer_entry, log);
    if (r < 0)
        goto close_fd;
    *ret_log = log;
    return 0;

close_fd:
    close(log->fd);
free_log:
    free(log);
    return r;
}

void log_flush(struct log *log)
{
    if (!log)
        return;
    pthread_mutex_lock(&log->lock);
    while (log->pending.len || log->writing)
        pthread_cond_wait(&log->turn, &log->lock);
    pthread_mutex_unlock(&log->lock);
}

struct log *log_close(struct log *log)
{
    if (!log)
        return NULL;
    pthread_mutex_lock(&log->lock);
    log->last = true;
    pthread_cond_signal(&log->turn);
    pthread_mutex_unlock(&log->lock);
    pthread_join(log->thread, NULL);
    pthread_cond_destroy(&log->turn);
    pthread_mutex_destroy(&log->lock);
    buffer_fini(&log->pending);
    close(log->fd);
    free(log);
    return NULL;
}
