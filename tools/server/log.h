/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one line of JSON for each thing that happens
 */
#ifndef SERVER_LOG_H
#define SERVER_LOG_H

#include <stddef.h>
#include <stdint.h>

struct log;

/*
 * Lines go behind what is in a file; - is standard output. Thread only.
 * Returns    0 · -errno: the file cannot be opened, or there is no thread for it
 */
int log_open(const char *path, struct log **ret_log);
/* Writes what is left. NULL-safe, returns NULL. */
struct log *log_close(struct log *log);

/* Wait until all lines so far have been written. Thread only. NULL-safe. */
void log_flush(struct log *log);

/* A text of which any byte is allowed, and how it stands in a line: see log_line. */
struct log_text {
    const char *text;
    size_t len;
};

struct log_field {
    const char *name;
    struct log_text text; /* NULL: the number counts */
    long long number;
};
/*
 * {"time": now, "event": event, fields...}. Never waits for the file: lines that it does not
 * take in time are dropped, and a line says how many. NULL-safe.
 */
void log_line(struct log *log, const char *event, const struct log_field fields[],
              size_t count);

#endif
