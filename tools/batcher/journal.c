/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal.c - each start and each end is on disk before anything is made of it
 *
 * Who wants to write puts its record into the queue and goes to the mutex. Who has that writes
 * all that the queue has, in a thread of the blocking pool; those who come to the mutex after
 * that find their record written. So one transaction takes all that came during the last.
 *
 * A record lies on the stack of its fiber: nobody leaves before it is written.
 */
#include "tools/batcher/journal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "fm/fm.h"

struct entry {
    STAILQ_ENTRY(entry) in_queue;
    const struct record *record;
    bool written; /* mutex */
};

enum { TOGETHER_MAX = 256 };

struct journal {
    struct store *store;                        /* mutex */
    struct fm_mutex *mutex;                     /* of fibers: held while it is written */
    int error;                                  /* mutex */
    pthread_mutex_t lock;                       /* held for a line */
    STAILQ_HEAD(, entry) queue;                 /* lock */
    const struct record *records[TOGETHER_MAX]; /* mutex: what is being written */
    size_t count;                               /* mutex */
};

int journal_create(struct store *store, struct journal **ret_journal)
{
    struct journal *journal = calloc(1, sizeof *journal);
    if (!journal)
        return -ENOMEM;
    int r = fm_mutex_create(&journal->mutex);
    if (r < 0) {
        free(journal);
        return r;
    }
    journal->store = store;
    pthread_mutex_init(&journal->lock, NULL);
    STAILQ_INIT(&journal->queue);
    *ret_journal = journal;
    return 0;
}

struct journal *journal_destroy(struct journal *journal)
{
    if (!journal)
        return NULL;
    store_destroy(journal->store);
    fm_mutex_destroy(journal->mutex);
    pthread_mutex_destroy(&journal->lock);
    free(journal);
    return NULL;
}

const char *journal_error(const struct journal *journal)
{
    return store_error(journal->store);
}

static struct fm_exit write_entry(void *arg)
{
    struct journal *journal = arg;
    int r = store_write(journal->store, journal->records, journal->count);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

/* The first of the queue, at most TOGETHER_MAX, in one transaction. */
static void write_queue(struct journal *journal)
{
    struct entry *entries[TOGETHER_MAX];
    size_t count = 0;
    pthread_mutex_lock(&journal->lock);
    while (count < TOGETHER_MAX && (entries[count] = STAILQ_FIRST(&journal->queue))) {
        STAILQ_REMOVE_HEAD(&journal->queue, in_queue);
        journal->records[count] = entries[count]->record;
        count++;
    }
    pthread_mutex_unlock(&journal->lock);
    journal->count = count;
    if (!journal->error) {
        struct fm_exit exit;
        int r = fm_blocking(write_entry, journal, FM_NEVER, &exit);
        journal->error = r == 0 && exit.kind != FM_SUCCESS ? exit.code : r;
    }
    for (size_t i = 0; i < count; i++)
        entries[i]->written = true;
}

int journal_write(struct journal *journal, const struct record *record)
{
    struct entry entry = { .record = record };
    pthread_mutex_lock(&journal->lock);
    STAILQ_INSERT_TAIL(&journal->queue, &entry, in_queue);
    pthread_mutex_unlock(&journal->lock);
    fm_mask();
    fm_mutex_lock(journal->mutex, FM_NEVER);
    while (!entry.written)
        write_queue(journal);
    int r = journal->error;
    fm_mutex_unlock(journal->mutex);
    fm_unmask();
    return r;
}
