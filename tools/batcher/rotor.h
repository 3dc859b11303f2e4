/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rotor.h - a text without an end in files with one: who is full gives way to a new one
 *
 * NAME is what is written now, NAME.1 what was before it, and so on; nameless files go the same
 * way.
 */
#ifndef BATCH_ROTOR_H
#define BATCH_ROTOR_H

#include "tools/batcher/rotate.h"

struct rotor;

/*
 * Files that are there with the name are rotated too: those of an attempt before this one.
 *
 * folder  where they are, which is made; NULL: nameless ones in $TMPDIR. Both texts live as
 *         long.
 *
 * Fiber only, as all that follows; waits for the disk, whatever interrupts the fiber. 0 ·
 * -ENOMEM · -errno of open(2) or rename(2)
 */
int rotor_create(struct rotate rotate, const char *folder, const char *name,
                 struct rotor **ret_rotor);
/* What fails is told by rotor_error, and ends all writing. */
void rotor_put(struct rotor *rotor, const char *text, size_t len);
/* 0 · -errno of write(2) and so on */
int rotor_error(const struct rotor *rotor);
/* How many bytes are in no file any more. */
size_t rotor_left_out(const struct rotor *rotor);
/*
 * Its files, the oldest first, which pass to the caller with the array; how many, and how much
 * they hold. NULL: no memory.
 */
int *rotor_take(struct rotor *rotor, size_t *ret_count, size_t *ret_bytes);
/* NULL-safe, returns NULL. */
struct rotor *rotor_destroy(struct rotor *rotor);

#endif
