/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper.c - of a text that comes piece by piece the beginning and the end
 */
#include "tools/batcher/keeper.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool grow_head(struct keeper *keeper, size_t wanted)
{
    if (wanted <= keeper->head_size)
        return true;
    size_t size = 2 * wanted < keeper->half ? 2 * wanted : keeper->half;
    char *more = realloc(keeper->head, size);
    if (!more)
        return false;
    keeper->head = more;
    keeper->head_size = size;
    return true;
}

/* Over what stands in the ring longest. */
static void keep_tail(struct keeper *keeper, const char *text, size_t len)
{
    if (!keeper->tail)
        keeper->tail = malloc(keeper->half);
    if (!keeper->tail) {
        keeper->no_memory = true;
        return;
    }
    if (len > keeper->half) {
        keeper->left_out += len - keeper->half;
        text += len - keeper->half;
        len = keeper->half;
    }
    size_t room = keeper->half - keeper->tail_len;
    if (len > room) {
        keeper->left_out += len - room;
        keeper->tail_at = (keeper->tail_at + len - room) % keeper->half;
        keeper->tail_len -= len - room;
    }
    size_t at = (keeper->tail_at + keeper->tail_len) % keeper->half;
    size_t first = len < keeper->half - at ? len : keeper->half - at;
    memcpy(keeper->tail + at, text, first);
    memcpy(keeper->tail, text + first, len - first);
    keeper->tail_len += len;
}

void keeper_put(struct keeper *keeper, const char *text, size_t len)
{
    size_t first = keeper->half - keeper->head_len;
    first = len < first ? len : first;
    if (keeper->no_memory || !grow_head(keeper, keeper->head_len + first)) {
        keeper->no_memory = true;
        return;
    }
    if (first)
        memcpy(keeper->head + keeper->head_len, text, first);
    keeper->head_len += first;
    if (len > first)
        keep_tail(keeper, text + first, len - first);
}

int keeper_text(const struct keeper *keeper, char **ret_text, size_t *ret_bytes)
{
    char note[80] = "";
    if (keeper->no_memory)
        return -ENOMEM;
    if (keeper->left_out)
        snprintf(note, sizeof note, "\n[... %zu bytes are left out ...]\n", keeper->left_out);
    size_t note_len = strlen(note);
    char *text = malloc(keeper->head_len + note_len + keeper->tail_len + 1);
    if (!text)
        return -ENOMEM;
    size_t first = keeper->half - keeper->tail_at;
    first = keeper->tail_len < first ? keeper->tail_len : first;
    if (keeper->head_len)
        memcpy(text, keeper->head, keeper->head_len);
    memcpy(text + keeper->head_len, note, note_len);
    char *end = text + keeper->head_len + note_len;
    if (keeper->tail_len) {
        memcpy(end, keeper->tail + keeper->tail_at, first);
        memcpy(end + first, keeper->tail, keeper->tail_len - first);
    }
    *ret_text = text;
    *ret_bytes = keeper->head_len + note_len + keeper->tail_len;
    return 0;
}

void keeper_fini(struct keeper *keeper)
{
    free(keeper->head);
    free(keeper->tail);
}
