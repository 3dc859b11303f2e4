/* SPDX-License-Identifier: Apache-2.0 */
/*
 * walk.c - what stands in files, and in all files below folders, piece by piece
 *
 * A thread of the blocking pool fills the buffer with the pieces of as many files as it has
 * room for, the fiber takes them one by one, and so on: a few hundred files pay the way to the
 * pool together. While one side has the walk the other waits.
 */
#include "tools/batcher/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fm/fm.h"

enum { BUFFER = 256 << 10, READ_LEAST = 4096, PIECES = 256 };

/* A folder whose entries are being taken. */
struct level {
    struct level *up;
    size_t path_len;
    size_t count, next;
    char *names[]; /* sorted; the byte before each is its d_type */
};

struct walk {
    char *const *paths;
    const char *folder;
    int base; /* the folder's descriptor; AT_FDCWD: none */
    bool opened;
    size_t root, next_root;
    struct level *level;
    char *path; /* of the level, or of the file */
    size_t path_size;
    int fd;        /* of the file that is being read; -1: none */
    bool has_read; /* something of it */
    int error;     /* what ended the walk */

    char *buffer;
    size_t used;
    struct piece pieces[PIECES];
    char *owned[PIECES]; /* paths of those that end here */
    size_t count, taken;
};

int walk_create(char *const paths[], const char *folder, struct walk **ret_walk)
{
    struct walk *walk = calloc(1, sizeof *walk);
    char *buffer = walk ? malloc(BUFFER) : NULL;
    if (!buffer) {
        free(walk);
        return -ENOMEM;
    }
    walk->paths = paths;
    walk->folder = folder;
    walk->base = AT_FDCWD;
    walk->fd = -1;
    walk->buffer = buffer;
    *ret_walk = walk;
    return 0;
}

static void pieces_free(struct walk *walk)
{
    for (size_t i = 0; i < walk->count; i++)
        free(walk->owned[i]);
    walk->count = walk->taken = walk->used = 0;
}

static void level_free(struct level *level)
{
    for (size_t i = 0; i < level->count; i++)
        free(level->names[i] - 1);
    free(level);
}

static void leave(struct walk *walk)
{
    struct level *level = walk->level;
    walk->level = level->up;
    level_free(level);
}

struct walk *walk_destroy(struct walk *walk)
{
    if (!walk)
        return NULL;
    pieces_free(walk);
    while (walk->level)
        leave(walk);
    if (walk->fd >= 0)
        close(walk->fd);
    if (walk->base >= 0)
        close(walk->base);
    free(walk->path);
    free(walk->buffer);
    free(walk);
    return NULL;
}

/* ---- on a thread of the pool: pieces ---- */

static struct piece *piece_add(struct walk *walk, const char *bytes, size_t len)
{
    walk->owned[walk->count] = NULL;
    struct piece *piece = &walk->pieces[walk->count++];
    *piece = (struct piece) {
        .path = walk->path, .root = walk->root, .bytes = bytes, .len = len
    };
    return piece;
}

/* The file has ended, or what stands at the path cannot be read: the path goes with it. */
static int piece_end(struct walk *walk, int error)
{
    struct piece *last = walk->count ? &walk->pieces[walk->count - 1] : NULL;
    bool same = last && last->path == walk->path && !error;
    if (!same) {
        last = piece_add(walk, walk->buffer, 0);
        last->begins = !walk->has_read;
    }
    last->ends = true;
    last->error = error;
    if (walk->fd >= 0)
        close(walk->fd);
    walk->fd = -1;
    walk->has_read = false;
    char *path = malloc(walk->path_size);
    if (!path)
        return -ENOMEM;
    memcpy(path, walk->path, walk->path_size);
    walk->owned[walk->count - 1] = walk->path; /* those before it in this buffer have it too */
    walk->path = path;
    return 0;
}

static int read_more(struct walk *walk)
{
    ssize_t n;
    do
        n = read(walk->fd, walk->buffer + walk->used, BUFFER - walk->used);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return piece_end(walk, n < 0 ? -errno : 0);
    piece_add(walk, walk->buffer + walk->used, (size_t)n)->begins = !walk->has_read;
    walk->has_read = true;
    walk->used += (size_t)n;
    return 0;
}

/* ---- folders ---- */

static int by_name(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static int level_add(struct level **level, const struct dirent *entry)
{
    size_t n = (*level)->count;
    if (n >= 16 && (n & (n - 1)) == 0) { /* full: sizes are the powers of two from 16 */
        struct level *more = realloc(*level, sizeof *more + 2 * n * sizeof more->names[0]);
        if (!more)
            return -ENOMEM;
        *level = more;
    }
    size_t len = strlen(entry->d_name) + 1;
    char *name = malloc(len + 1);
    if (!name)
        return -ENOMEM;
    name[0] = (char)entry->d_type;
    memcpy(name + 1, entry->d_name, len);
    (*level)->names[(*level)->count++] = name + 1;
    return 0;
}

/* All entries of the folder: 0 · -errno */
static int level_read(DIR *dir, struct level **level)
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry)
            return -errno;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        int r = level_add(level, entry);
        if (r < 0)
            return r;
    }
}

/* Into the folder at the path; one that cannot be read is a piece. */
static int enter(struct walk *walk, int flags)
{
    struct level *level = calloc(1, sizeof *level + 16 * sizeof level->names[0]);
    if (!level)
        return -ENOMEM;
    level->path_len = strlen(walk->path);
    int fd = openat(walk->base, walk->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    int r = dir ? level_read(dir, &level) : -errno;
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    if (r == -ENOMEM) {
        level_free(level);
        return r;
    }
    qsort(level->names, level->count, sizeof level->names[0], by_name);
    level->up = walk->level;
    walk->level = level; /* what was read of it before an error is walked */
    return r < 0 ? piece_end(walk, r) : 0;
}

static int path_set(struct walk *walk, size_t at, const char *text)
{
    size_t size = at + strlen(text) + 2;
    if (size > walk->path_size) {
        char *path = realloc(walk->path, 2 * size);
        if (!path)
            return -ENOMEM;
        walk->path = path;
        walk->path_size = 2 * size;
    }
    if (at && walk->path[at - 1] != '/')
        walk->path[at++] = '/';
    strcpy(walk->path + at, text);
    return 0;
}

static int take_file(struct walk *walk, int flags)
{
    walk->fd = openat(walk->base, walk->path,
                      O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags);
    return walk->fd < 0 ? piece_end(walk, -errno) : 0;
}

/* What one of the given paths is. */
static int take_root(struct walk *walk)
{
    struct stat about;
    walk->root = walk->next_root++;
    int r = path_set(walk, 0, walk->paths[walk->root]);
    if (r < 0)
        return r;
    if (fstatat(walk->base, walk->path, &about, 0) < 0)
        return piece_end(walk, -errno);
    if (S_ISDIR(about.st_mode))
        return enter(walk, 0);
    return S_ISREG(about.st_mode) ? take_file(walk, 0) : piece_end(walk, -EOPNOTSUPP);
}

static int take_entry(struct walk *walk)
{
    struct level *level = walk->level;
    const char *name = level->names[level->next++];
    unsigned char type = (unsigned char)name[-1];
    int r = path_set(walk, level->path_len, name);
    if (r < 0)
        return r;
    if (type == DT_UNKNOWN) {
        struct stat about;
        if (fstatat(walk->base, walk->path, &about, AT_SYMLINK_NOFOLLOW) < 0)
            return piece_end(walk, -errno);
        type = S_ISDIR(about.st_mode) ? DT_DIR : S_ISREG(about.st_mode) ? DT_REG : DT_LNK;
    }
    if (type == DT_DIR)
        return enter(walk, O_NOFOLLOW);
    return type == DT_REG ? take_file(walk, O_NOFOLLOW) : 0;
}

static int open_base(struct walk *walk)
{
    walk->opened = true;
    if (!walk->folder)
        return 0;
    walk->base = open(walk->folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return walk->base < 0 ? -errno : 0;
}

/* As many pieces as there is room for. */
static struct fm_exit fill(void *arg)
{
    struct walk *walk = arg;
    int r = walk->opened ? 0 : open_base(walk);
    while (r == 0 && walk->count < PIECES && BUFFER - walk->used >= READ_LEAST) {
        if (walk->fd >= 0)
            r = read_more(walk);
        else if (walk->level && walk->level->next == walk->level->count)
            leave(walk);
        else if (walk->level)
            r = take_entry(walk);
        else if (walk->paths[walk->next_root])
            r = take_root(walk);
        else
            break;
    }
    walk->error = r;
    return fm_ok(NULL);
}

int walk_next(struct walk *walk, struct piece *ret_piece)
{
    if (walk->taken == walk->count) {
        int r = walk->error < 0 ? walk->error : fm_check();
        if (r < 0)
            return r;
        pieces_free(walk);
        fm_mask(); /* the thread has the walk */
        r = fm_blocking(fill, walk, FM_NEVER, NULL);
        fm_unmask();
        if (r < 0)
            return r;
        if (!walk->count)
            return walk->error;
    }
    *ret_piece = walk->pieces[walk->taken++];
    return 1;
}
