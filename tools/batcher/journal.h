/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal.h - each start and each end is on disk before anything is made of it
 */
#ifndef BATCH_JOURNAL_H
#define BATCH_JOURNAL_H

#include "tools/batcher/store.h"

struct journal;

/* The store passes to it, on success. 0 · -ENOMEM */
int journal_create(struct store *store, struct journal **ret_journal);
/* NULL-safe, returns NULL. */
struct journal *journal_destroy(struct journal *journal);

/*
 * Returns when it is written. Those who come while another writes are written together, in one
 * transaction. Fiber only; not interrupted. 0 · -ENOSPC, -EIO, journal_error() says why: then
 * and from then on, and nothing was written
 */
int journal_write(struct journal *journal, const struct record *record);
/* Of what has failed; "" before. */
const char *journal_error(const struct journal *journal);

#endif
