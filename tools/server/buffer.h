/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buffer.h - bytes that grow up to a limit
 *
 * A buffer belongs to one fiber at a time. All-zero is an empty buffer without a limit.
 */
#ifndef SERVER_BUFFER_H
#define SERVER_BUFFER_H

#include <stddef.h>
#include <string.h>

struct buffer {
    char *data;
    size_t len;
    size_t capacity;
    size_t limit; /* most bytes that len may reach; 0: none */
};

/* Room for count bytes behind len: 0 · -EMSGSIZE (the limit) · -ENOMEM, nothing has changed. */
int buffer_reserve(struct buffer *buffer, size_t count);
/* Add count bytes: 0 · -EMSGSIZE · -ENOMEM, and then nothing was added. */
int buffer_append(struct buffer *buffer, const void *bytes, size_t count);
/* The same with a string's bytes. */
int buffer_append_text(struct buffer *buffer, const char *text);
/* Forget the first count bytes. */
void buffer_drop(struct buffer *buffer, size_t count);
/* Forget the content; keep at most keep_capacity bytes of memory for the next. */
void buffer_clear(struct buffer *buffer, size_t keep_capacity);
void buffer_fini(struct buffer *buffer);

#endif
