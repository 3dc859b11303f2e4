/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lines.h - a file that grows by whole lines
 */
#ifndef BATCH_LINES_H
#define BATCH_LINES_H

#include <stdbool.h>
#include <stddef.h>

struct lines;

/*
 * Makes the file, or empties it; append: goes on in it. head is its first line, or "". 0 ·
 * -ENOMEM · -errno of open(2) or write(2)
 */
int lines_create(const char *path, bool append, const char *head, struct lines **ret_lines);
/* NULL-safe, returns NULL. */
struct lines *lines_destroy(struct lines *lines);
/* Add a line, which ends with a newline. Fiber only, not interrupted; 0 · -errno of write(2) */
int lines_add(struct lines *lines, const char *text, size_t bytes);

#endif
