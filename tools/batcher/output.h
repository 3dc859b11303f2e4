/* SPDX-License-Identifier: Apache-2.0 */
/*
 * output.h - what an attempt says, kept whole until it is printed
 *
 * Either a capture has read along, see there; or the job writes into files itself: those under
 * --results, or nameless ones in $TMPDIR for what is looked at while it runs. What is small is
 * taken into memory at the end and its file closed. Nothing is too much but for the disk.
 */
#ifndef BATCH_OUTPUT_H
#define BATCH_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

enum { OUTPUT_TEXT_MAX = 64 << 10 }; /* what is not larger is kept in memory */

struct output {
    int fd[2];     /* of its output and its error; -1: none */
    char *text[2]; /* instead of the file */
    int *files[2]; /* instead of both: the oldest first, see rotor.h */
    size_t file_count[2];
    size_t before[2]; /* how much came before them and is gone */
    size_t bytes[2];
    size_t left_out; /* of both, see keeper.h and rotor.h */
};
#define OUTPUT_NONE \
    { \
        .fd = { -1, -1 } \
    }

/* What the files of the two are called. */
extern const char *const output_names[2];

/*
 * Make the files. folder: where they are called stdout and stderr; NULL: nameless.
 * Fiber only; 0 · -ECANCELED · -errno of open(2)
 */
int output_open(struct output *output, const char *folder);
/* A nameless file in $TMPDIR: its descriptor · -errno. It may wait for the disk. */
int output_open_nameless(void);
/*
 * The number of its job into a file called seq in the folder, which is made. Fiber only, not
 * interrupted; 0 · -errno of open(2) or write(2)
 */
int output_number(const char *folder, uint64_t number);
/*
 * What it holds as text also into such files. Fiber only, not interrupted; 0 · -errno of
 * open(2) or write(2)
 */
int output_save(const struct output *output, const char *folder);
/*
 * The attempt has ended: see how much there is. 0 · -ENOSPC the disk is full, so there may have
 * been more
 */
int output_settle(struct output *output);
/* Write it to ours, from a thread that may wait: 0 · -errno of write(2), -EPIPE among them. */
int output_copy(const struct output *output);
void output_close(struct output *output);

/* All of it, however long it takes: 0 · -errno */
int write_whole(int fd, const char *text, size_t bytes);
/* A folder and those above it: 0, also if it is there · -errno */
int make_folders(const char *path);

#endif
