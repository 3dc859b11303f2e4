/* SPDX-License-Identifier: Apache-2.0 */
/*
 * results.c - how the last job of a key ended, for the keys that ended last
 *
 * A search tree by key, whose cost no choice of keys can spoil, and a queue by age; besides,
 * for those who have waited for one job among many of its key, the last ones by number.
 *
 * Owns        the kept results; each stands in the tree and in the queue. And copies in a ring.
 * Knows not   fibers: the lock is a thread's, held for a look-up and never across a switch.
 * Together    all calls may run at once, but for create and destroy.
 */
#include "tools/server/results.h"

#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum { RECENT = 1024 };

struct kept {
    TAILQ_ENTRY(kept) by_age;
    const char *key; /* behind the struct, or the caller's in what is only looked up */
    struct result result;
};

struct results {
    pthread_mutex_t lock;
    void *tree;                    /* lock */
    TAILQ_HEAD(ages, kept) by_age; /* lock; the oldest first */
    unsigned count, max;           /* lock */
    struct result recent[RECENT];  /* lock; at sequence % RECENT */
};

static int compare(const void *left, const void *right)
{
    return strcmp(((const struct kept *)left)->key, ((const struct kept *)right)->key);
}

int results_create(unsigned max, struct results **ret_results)
{
    struct results *results = calloc(1, sizeof *results);
    if (!results)
        return -ENOMEM;
    pthread_mutex_init(&results->lock, NULL);
    TAILQ_INIT(&results->by_age);
    results->max = max;
    *ret_results = results;
    return 0;
}

static struct kept *kept_find_locked(struct results *results, const char *key)
{
    struct kept wanted = { .key = key };
    struct kept **node = tfind(&wanted, &results->tree, compare);
    return node ? *node : NULL;
}

static struct kept *kept_add_locked(struct results *results, const char *key)
{
    size_t size = strlen(key) + 1;
    struct kept *kept = malloc(sizeof *kept + size);
    if (!kept)
        return NULL;
    kept->key = memcpy(kept + 1, key, size);
    if (!tsearch(kept, &results->tree, compare)) {
        free(kept);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&results->by_age, kept, by_age);
    results->count++;
    return kept;
}

static void kept_drop_locked(struct results *results, struct kept *kept)
{
    tdelete(kept, &results->tree, compare);
    TAILQ_REMOVE(&results->by_age, kept, by_age);
    results->count--;
    free(kept);
}

void results_put(struct results *results, const char *key, const struct result *result)
{
    pthread_mutex_lock(&results->lock);
    results->recent[result->sequence % RECENT] = *result;
    struct kept *kept = kept_find_locked(results, key);
    bool later_stands = kept && kept->result.sequence > result->sequence;
    if (kept && !later_stands) {
        TAILQ_REMOVE(&results->by_age, kept, by_age);
        TAILQ_INSERT_TAIL(&results->by_age, kept, by_age);
    } else if (!kept) {
        kept = kept_add_locked(results, key);
    }
    if (kept && !later_stands)
        kept->result = *result;
    while (results->count > results->max)
        kept_drop_locked(results, TAILQ_FIRST(&results->by_age));
    pthread_mutex_unlock(&results->lock);
}

int results_get(struct results *results, const char *key, struct result *ret_result)
{
    pthread_mutex_lock(&results->lock);
    const struct kept *kept = kept_find_locked(results, key);
    if (kept)
        *ret_result = kept->result;
    pthread_mutex_unlock(&results->lock);
    return kept ? 0 : -ENOENT;
}

int results_get_number(struct results *results, uint64_t sequence, struct result *ret_result)
{
    pthread_mutex_lock(&results->lock);
    const struct result *recent = &results->recent[sequence % RECENT];
    bool found = sequence && recent->sequence == sequence;
    if (found)
        *ret_result = *recent;
    pthread_mutex_unlock(&results->lock);
    return found ? 0 : -ENOENT;
}

struct results *results_destroy(struct results *results)
{
    if (!results)
        return NULL;
    while (!TAILQ_EMPTY(&results->by_age))
        kept_drop_locked(results, TAILQ_FIRST(&results->by_age));
    pthread_mutex_destroy(&results->lock);
    free(results);
    return NULL;
}
