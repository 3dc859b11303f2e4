/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rotor.c - a text without an end in files with one: who is full gives way to a new one
 *
 * The files of this text stay open, so that what is kept can be printed whoever moves or
 * removes them meanwhile.
 */
#include "tools/batcher/rotor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fm/fiber.h"
#include "tools/batcher/output.h"

enum { PATH_BYTES = 4096 };

struct part {
    int fd;
    size_t bytes;
};

struct rotor {
    struct rotate rotate;
    const char *folder, *name;
    struct part parts[ROTATE_FILES_MAX + 1]; /* the oldest first, the last is written to */
    size_t count;
    size_t left_out;
    int error;
    const char *text; /* what a thread writes */
    size_t len;
};

/* ---- in a thread that may wait ---- */

/* number 0: the file that is written. 0 · -ENAMETOOLONG */
static int path_of(const struct rotor *rotor, unsigned number, char path[PATH_BYTES])
{
    int n = number ? snprintf(path, PATH_BYTES, "%s/%s.%u", rotor->folder, rotor->name, number)
                   : snprintf(path, PATH_BYTES, "%s/%s", rotor->folder, rotor->name);
    return n < 0 || n >= PATH_BYTES ? -ENAMETOOLONG : 0;
}

/* Each file takes the next number; the last one is gone. */
static int move_names(const struct rotor *rotor)
{
    char from[PATH_BYTES], to[PATH_BYTES];
    int r = path_of(rotor, rotor->rotate.files, to);
    if (r == 0 && unlink(to) < 0 && errno != ENOENT)
        r = -errno;
    for (unsigned i = rotor->rotate.files; i && r == 0; i--) {
        r = path_of(rotor, i - 1, from);
        if (r == 0)
            r = path_of(rotor, i, to);
        if (r == 0 && rename(from, to) < 0 && errno != ENOENT)
            r = -errno;
    }
    return r;
}

static int open_named(const struct rotor *rotor)
{
    char path[PATH_BYTES];
    int r = move_names(rotor);
    if (r == 0)
        r = path_of(rotor, 0, path);
    if (r < 0)
        return r;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return fd < 0 ? -errno : fd;
}

/* The oldest goes where there are as many as are kept. */
static int open_next(struct rotor *rotor)
{
    int fd = rotor->folder ? open_named(rotor) : output_open_nameless();
    if (fd < 0)
        return fd;
    if (rotor->count == rotor->rotate.files + 1) {
        close(rotor->parts[0].fd);
        rotor->left_out += rotor->parts[0].bytes;
        memmove(rotor->parts, rotor->parts + 1, --rotor->count * sizeof rotor->parts[0]);
    }
    rotor->parts[rotor->count++] = (struct part) { fd, 0 };
    return 0;
}

static int write_all(struct rotor *rotor)
{
    int r = 0;
    while (rotor->len && r == 0) {
        struct part *now = &rotor->parts[rotor->count - 1];
        size_t room = rotor->rotate.bytes - now->bytes;
        size_t piece = rotor->len < room ? rotor->len : room;
        r = piece ? write_whole(now->fd, rotor->text, piece) : open_next(rotor);
        if (r == 0) {
            now->bytes += piece;
            rotor->text += piece;
            rotor->len -= piece;
        }
    }
    return r;
}

static struct fm_exit open_entry(void *arg)
{
    struct rotor *rotor = arg;
    int r = rotor->folder ? make_folders(rotor->folder) : 0;
    return fm_fail_with(r < 0 ? r : open_next(rotor), NULL);
}

static struct fm_exit write_entry(void *arg)
{
    return fm_fail_with(write_all(arg), NULL);
}

/* ---- in a fiber ---- */

/* The thread works on what is ours: it is awaited. */
static int elsewhere(fm_entry_fn *entry, struct rotor *rotor)
{
    struct fm_exit exit;
    fm_mask();
    int r = fm_blocking(entry, rotor, FM_NEVER, &exit);
    fm_unmask();
    return r < 0 ? r : exit.code;
}

int rotor_create(struct rotate rotate, const char *folder, const char *name,
                 struct rotor **ret_rotor)
{
    struct rotor *rotor = calloc(1, sizeof *rotor);
    if (!rotor)
        return -ENOMEM;
    rotor->rotate = rotate;
    rotor->folder = folder;
    rotor->name = name;
    int r = elsewhere(open_entry, rotor);
    if (r < 0) {
        rotor_destroy(rotor);
        return r;
    }
    *ret_rotor = rotor;
    return 0;
}

void rotor_put(struct rotor *rotor, const char *text, size_t len)
{
    if (rotor->error)
        return;
    rotor->text = text;
    rotor->len = len;
    rotor->error = elsewhere(write_entry, rotor);
}

int rotor_error(const struct rotor *rotor)
{
    return rotor->error;
}

size_t rotor_left_out(const struct rotor *rotor)
{
    return rotor->left_out;
}

int *rotor_take(struct rotor *rotor, size_t *ret_count, size_t *ret_bytes)
{
    int *fds = calloc(rotor->count, sizeof *fds);
    size_t bytes = 0;
    for (size_t i = 0; fds && i < rotor->count; i++) {
        fds[i] = rotor->parts[i].fd;
        bytes += rotor->parts[i].bytes;
    }
    if (fds) {
        *ret_bytes = bytes;
        *ret_count = rotor->count;
        rotor->count = 0;
    }
    return fds;
}

struct rotor *rotor_destroy(struct rotor *rotor)
{
    for (size_t i = 0; rotor && i < rotor->count; i++)
        close(rotor->parts[i].fd);
    free(rotor);
    return NULL;
}
