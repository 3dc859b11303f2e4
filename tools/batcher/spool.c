/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spool.c - a text that comes piece by piece: a little in memory, more in a nameless file
 */
#include "tools/batcher/spool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fm/fiber.h"
#include "tools/batcher/output.h"

enum { SIZE_FIRST = 1 << 10 };

static struct fm_exit flush_entry(void *arg)
{
    struct spool *spool = arg;
    if (spool->fd < 0)
        spool->fd = output_open_nameless();
    int r = spool->fd < 0 ? spool->fd : write_whole(spool->fd, spool->text, spool->len);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

/* What stands in memory goes to the file. */
static void flush(struct spool *spool)
{
    struct fm_exit exit;
    fm_mask(); /* the thread works on what is ours */
    int r = fm_blocking(flush_entry, spool, FM_NEVER, &exit);
    fm_unmask();
    spool->error = r < 0 ? r : exit.kind == FM_SUCCESS ? 0 : exit.code;
    spool->written += spool->len;
    spool->len = 0;
}

static bool grow(struct spool *spool, size_t wanted)
{
    if (wanted <= spool->size)
        return true;
    size_t size = 2 * wanted < OUTPUT_TEXT_MAX ? 2 * wanted : OUTPUT_TEXT_MAX;
    size = size < SIZE_FIRST ? SIZE_FIRST : size;
    char *more = realloc(spool->text, size);
    if (!more)
        return false;
    spool->text = more;
    spool->size = size;
    return true;
}

void spool_add(struct spool *spool, const char *text, size_t len)
{
    while (len && !spool->error) {
        size_t room = OUTPUT_TEXT_MAX - spool->len;
        size_t part = len < room ? len : room;
        if (!part) {
            flush(spool);
        } else if (!grow(spool, spool->len + part)) {
            spool->error = -ENOMEM;
        } else {
            memcpy(spool->text + spool->len, text, part);
            spool->len += part;
            text += part;
            len -= part;
        }
    }
}

int spool_end(struct spool *spool, char **ret_text, int *ret_fd, size_t *ret_bytes)
{
    if (spool->written && spool->len && !spool->error)
        flush(spool);
    if (spool->error)
        return spool->error;
    *ret_bytes = spool->written + spool->len;
    if (spool->written) {
        *ret_fd = spool->fd;
        spool->fd = -1;
    } else {
        *ret_text = spool->text;
        spool->text = NULL;
    }
    return 0;
}

void spool_free(struct spool *spool)
{
    if (spool->fd >= 0)
        close(spool->fd);
    free(spool->text);
}
