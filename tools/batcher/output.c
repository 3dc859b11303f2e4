/* SPDX-License-Identifier: Apache-2.0 */
/*
 * output.c - what an attempt says, kept whole until it is printed
 *
 * Files are opened and copied on the blocking pool. The descriptors are never shown to the
 * poller, so that close(2) is enough for them, and ours stay as blocking as we found them.
 */
#include "tools/batcher/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fm/fiber.h"

int write_whole(int fd, const char *text, size_t bytes)
{
    while (bytes) {
        ssize_t n = write(fd, text, bytes);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            text += n;
            bytes -= (size_t)n;
        }
    }
    return 0;
}

int make_folders(const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    int r = 0;
    for (char *slash = strchr(copy + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash)
            *slash = '\0';
        r = mkdir(copy, 0777) < 0 && errno != EEXIST ? -errno : 0;
        if (!slash || r < 0)
            break;
        *slash = '/';
    }
    free(copy);
    return r;
}

/* ---- opening ---- */

int output_open_nameless(void)
{
    const char *folder = getenv("TMPDIR");
    if (!folder || !*folder)
        folder = "/tmp";
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)
        return -errno;
    char path[4096]; /* a file system without nameless files */
    snprintf(path, sizeof path, "%s/batch-XXXXXX", folder);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    unlink(path);
    return fd;
}

static int open_named(const char *folder, const char *name)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return -ENAMETOOLONG;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return fd < 0 ? -errno : fd;
}

const char *const output_names[2] = { "stdout", "stderr" };

struct opening {
    struct output *output;
    const char *folder;
};

static struct fm_exit open_both(void *arg)
{
    struct opening *opening = arg;
    int r = opening->folder ? make_folders(opening->folder) : 0;
    for (int i = 0; i < 2 && r == 0; i++) {
        int fd = opening->folder ? open_named(opening->folder, output_names[i])
                                 : output_open_nameless();
        opening->output->fd[i] = fd < 0 ? -1 : fd;
        r = fd < 0 ? fd : 0;
    }
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

int output_open(struct output *output, const char *folder)
{
    struct opening opening = { output, folder };
    struct fm_exit exit;
    *output = (struct output)OUTPUT_NONE;
    fm_mask(); /* the thread works on our stack */
    int r = fm_blocking(open_both, &opening, FM_NEVER, &exit);
    fm_unmask();
    if (r == 0 && exit.kind != FM_SUCCESS)
        r = exit.code;
    if (r < 0)
        output_close(output);
    return r;
}

struct numbering {
    const char *folder;
    uint64_t number;
};

static struct fm_exit number_entry(void *arg)
{
    const struct numbering *numbering = arg;
    char text[32];
    int n = snprintf(text, sizeof text, "%llu", (unsigned long long)numbering->number);
    int r = make_folders(numbering->folder);
    int fd = r < 0 ? r : open_named(numbering->folder, "seq");
    r = fd < 0 ? fd : write_whole(fd, text, (size_t)n);
    if (fd >= 0)
        close(fd);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

int output_number(const char *folder, uint64_t number)
{
    struct numbering numbering = { folder, number };
    struct fm_exit exit;
    fm_mask();
    int r = fm_blocking(number_entry, &numbering, FM_NEVER, &exit);
    fm_unmask();
    return r == 0 && exit.kind != FM_SUCCESS ? exit.code : r;
}

struct saving {
    const struct output *output;
    const char *folder;
};

static struct fm_exit save_both(void *arg)
{
    const struct saving *saving = arg;
    int r = make_folders(saving->folder);
    for (int i = 0; i < 2 && r == 0; i++) {
        int fd = open_named(saving->folder, output_names[i]);
        r = fd < 0 ? fd : write_whole(fd, saving->output->text[i], saving->output->bytes[i]);
        if (fd >= 0)
            close(fd);
    }
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

int output_save(const struct output *output, const char *folder)
{
    struct saving saving = { output, folder };
    struct fm_exit exit;
    fm_mask();
    int r = fm_blocking(save_both, &saving, FM_NEVER, &exit);
    fm_unmask();
    return r == 0 && exit.kind != FM_SUCCESS ? exit.code : r;
}

/* ---- the end ---- */

/* Who wrote into it was told so, and may not have cared. */
static bool is_full(int fd)
{
    struct statvfs disk;
    if (fstatvfs(fd, &disk) < 0 || !disk.f_blocks)
        return false;
    return !(geteuid() ? disk.f_bavail : disk.f_bfree);
}

int output_settle(struct output *output)
{
    int r = 0;
    for (int i = 0; i < 2; i++) {
        struct stat about;
        if (output->fd[i] < 0 || fstat(output->fd[i], &about) < 0)
            continue;
        if (is_full(output->fd[i]))
            r = -ENOSPC;
        output->bytes[i] = (size_t)about.st_size;
        if (about.st_size > OUTPUT_TEXT_MAX)
            continue;
        if (about.st_size) {
            output->text[i] = malloc((size_t)about.st_size);
            if (!output->text[i] || pread(output->fd[i], output->text[i], (size_t)about.st_size,
                                          0) != about.st_size) {
                free(output->text[i]);
                output->text[i] = NULL;
                continue; /* it stays in the file */
            }
        }
        close(output->fd[i]);
        output->fd[i] = -1;
    }
    return r;
}

static int copy_file(int from, size_t bytes, int to)
{
    char *buffer = malloc(OUTPUT_TEXT_MAX);
    int r = buffer ? 0 : -ENOMEM;
    for (size_t at = 0; r == 0 && at < bytes;) {
        ssize_t n = pread(from, buffer, OUTPUT_TEXT_MAX, (off_t)at);
        if (n <= 0) {
            r = n < 0 ? -errno : 0;
            break; /* somebody has cut it off meanwhile */
        }
        r = write_whole(to, buffer, (size_t)n);
        at += (size_t)n;
    }
    free(buffer);
    return r;
}

/* Those of a rotor. */
static int copy_files(const struct output *output, int which)
{
    char note[80];
    int n = snprintf(note, sizeof note, "[... %zu bytes are left out ...]\n",
                     output->before[which]);
    int r = output->before[which] ? write_whole(which + 1, note, (size_t)n) : 0;
    for (size_t i = 0; i < output->file_count[which] && r == 0; i++)
        r = copy_file(output->files[which][i], SIZE_MAX, which + 1);
    return r;
}

int output_copy(const struct output *output)
{
    int r = 0;
    for (int i = 0; i < 2 && r == 0; i++) {
        if (output->text[i])
            r = write_whole(i + 1, output->text[i], output->bytes[i]);
        else if (output->fd[i] >= 0)
            r = copy_file(output->fd[i], output->bytes[i], i + 1);
        else
            r = copy_files(output, i);
    }
    return r;
}

void output_close(struct output *output)
{
    for (int i = 0; i < 2; i++) {
        if (output->fd[i] >= 0)
            close(output->fd[i]);
        for (size_t n = 0; n < output->file_count[i]; n++)
            close(output->files[i][n]);
        free(output->files[i]);
        free(output->text[i]);
    }
    *output = (struct output)OUTPUT_NONE;
}
