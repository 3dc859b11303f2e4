/* SPDX-License-Identifier: Apache-2.0 */
/*
 * walk.h - what stands in files, and in all files below folders, piece by piece
 */
#ifndef BATCH_WALK_H
#define BATCH_WALK_H

#include <stdbool.h>
#include <stddef.h>

struct walk;

/*
 * A file comes as one piece or several in a row; what cannot be read as one with an error. That
 * ends it. Text and bytes are the walk's until the next call.
 */
struct piece {
    const char *path; /* that of the file: as given, and what is below it */
    size_t root;      /* which of the given paths it is below, or is */
    bool begins, ends;
    int error; /* -errno, of a folder too; 0: none */
    const char *bytes;
    size_t len;
};

/*
 * paths   end with NULL and live as long: files, also by symbolic links, or folders. Below
 *         those regular files are taken in the order of their names; links are not followed.
 * folder  that they are named from; NULL: ours.
 *
 * 0 · -ENOMEM
 */
int walk_create(char *const paths[], const char *folder, struct walk **ret_walk);
/* NULL-safe, returns NULL. */
struct walk *walk_destroy(struct walk *walk);
/*
 * The next piece. Fiber only: a thread of the blocking pool reads many small files, or some of
 * a large one, at a time.
 *
 * Returns    1 · 0 there is none · -ECANCELED · -ENOMEM · -errno of opening `folder`
 */
int walk_next(struct walk *walk, struct piece *ret_piece);

#endif
