/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lines.c - a file that grows by whole lines
 *
 * Opened to append: each line is one write, and a line is whole or not there.
 */
#include "tools/batcher/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fm/fiber.h"
#include "tools/batcher/output.h"

struct lines {
    int fd;
};

int lines_create(const char *path, bool append, const char *head, struct lines **ret_lines)
{
    int anew = append ? 0 : O_TRUNC;
    int fd = open(path, O_WRONLY | O_CREAT | anew | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        return -errno;
    int r = append ? 0 : write_whole(fd, head, strlen(head));
    struct lines *lines = r == 0 ? malloc(sizeof *lines) : NULL;
    if (!lines) {
        close(fd);
        return r < 0 ? r : -ENOMEM;
    }
    lines->fd = fd;
    *ret_lines = lines;
    return 0;
}

struct lines *lines_destroy(struct lines *lines)
{
    if (lines)
        close(lines->fd);
    free(lines);
    return NULL;
}

struct line {
    int fd;
    const char *text;
    size_t bytes;
};

static struct fm_exit write_entry(void *arg)
{
    struct line *line = arg;
    int r = write_whole(line->fd, line->text, line->bytes);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

int lines_add(struct lines *lines, const char *text, size_t bytes)
{
    struct line line = { lines->fd, text, bytes };
    struct fm_exit exit;
    fm_mask();
    int r = fm_blocking(write_entry, &line, FM_NEVER, &exit);
    fm_unmask();
    return r == 0 && exit.kind != FM_SUCCESS ? exit.code : r;
}
