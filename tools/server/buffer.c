/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buffer.c - bytes that grow up to a limit
 *
 * Owns        the memory, doubled as it fills.
 * Invariant   len <= capacity; len <= limit, where there is one.
 */
#include "tools/server/buffer.h"

#include <errno.h>
#include <stdlib.h>

enum { FIRST_CAPACITY = 256 };

int buffer_reserve(struct buffer *buffer, size_t count)
{
    size_t most = buffer->limit ? buffer->limit : (size_t)1 << 40;
    if (buffer->len > most || count > most - buffer->len)
        return -EMSGSIZE;
    if (count <= buffer->capacity - buffer->len)
        return 0;
    size_t capacity = buffer->capacity ? buffer->capacity : FIRST_CAPACITY;
    while (capacity - buffer->len < count)
        capacity *= 2;
    char *data = realloc(buffer->data, capacity);
    if (!data)
        return -ENOMEM;
    buffer->data = data;
    buffer->capacity = capacity;
    return 0;
}

int buffer_append(struct buffer *buffer, const void *bytes, size_t count)
{
    int r = buffer_reserve(buffer, count);
    if (r < 0 || count == 0)
        return r;
    memcpy(buffer->data + buffer->len, bytes, count);
    buffer->len += count;
    return 0;
}

int buffer_append_text(struct buffer *buffer, const char *text)
{
    return buffer_append(buffer, text, strlen(text));
}

void buffer_drop(struct buffer *buffer, size_t count)
{
    buffer->len -= count;
    if (count && buffer->len)
        memmove(buffer->data, buffer->data + count, buffer->len);
}

void buffer_clear(struct buffer *buffer, size_t keep_capacity)
{
    buffer->len = 0;
    if (buffer->capacity > keep_capacity) {
        free(buffer->data);
        buffer->data = NULL;
        buffer->capacity = 0;
    }
}

void buffer_fini(struct buffer *buffer)
{
    buffer_clear(buffer, 0);
}
