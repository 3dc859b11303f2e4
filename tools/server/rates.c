/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rates.c - so many requests a second of one client
 *
 * A limiter of the library for each client; those that nobody uses are kept until there are too
 * many, so that to connect anew does not begin anew.
 *
 * Owns        the limiters.
 * Invariant   a rate stands in the queue of the unused if and only if its users are 0.
 * Together    all calls may run at once, but for create and destroy. The lock is a thread's,
 *             held for a look-up and never across a switch.
 */
#include "tools/server/rates.h"

#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "fm/ratelimit.h"

enum { UNUSED_MAX = 4096 };

struct rate {
    TAILQ_ENTRY(rate) unused;
    struct fm_rate_limiter *limiter;
    unsigned users;
    const char *client; /* behind the struct, or the caller's in what is only looked up */
};

struct rates {
    struct fm_rate_limiter_config config;
    pthread_mutex_t lock;
    void *tree;                      /* lock; by client */
    TAILQ_HEAD(unused, rate) unused; /* lock; the one that was left first is the first */
    unsigned unused_count;           /* lock */
};

static int compare(const void *left, const void *right)
{
    return strcmp(((const struct rate *)left)->client, ((const struct rate *)right)->client);
}

int rates_create(unsigned per_second, unsigned burst, struct rates **ret_rates)
{
    struct rates *rates = calloc(1, sizeof *rates);
    if (!rates)
        return -ENOMEM;
    rates->config = (struct fm_rate_limiter_config)FM_RATE_LIMITER_CONFIG_INIT;
    rates->config.limit = burst;
    rates->config.interval_ns = INT64_C(1000000000) * burst / per_second;
    pthread_mutex_init(&rates->lock, NULL);
    TAILQ_INIT(&rates->unused);
    *ret_rates = rates;
    return 0;
}

static struct rate *rate_add_locked(struct rates *rates, const char *client)
{
    size_t size = strlen(client) + 1;
    struct rate *rate = calloc(1, sizeof *rate + size);
    if (!rate)
        return NULL;
    rate->client = memcpy(rate + 1, client, size);
    if (fm_rate_limiter_create(&rates->config, &rate->limiter) < 0)
        goto free_rate;
    if (!tsearch(rate, &rates->tree, compare))
        goto destroy_limiter;
    return rate;

destroy_limiter:
    fm_rate_limiter_destroy(rate->limiter);
free_rate:
    free(rate);
    return NULL;
}

/* One that is unused. */
static void rate_drop_locked(struct rates *rates, struct rate *rate)
{
    TAILQ_REMOVE(&rates->unused, rate, unused);
    rates->unused_count--;
    tdelete(rate, &rates->tree, compare);
    fm_rate_limiter_destroy(rate->limiter);
    free(rate);
}

struct rate *rates_enter(struct rates *rates, const char *client)
{
    struct rate wanted = { .client = client };
    pthread_mutex_lock(&rates->lock);
    struct rate **node = tfind(&wanted, &rates->tree, compare);
    struct rate *rate = node ? *node : rate_add_locked(rates, client);
    if (node && rate->users == 0) {
        TAILQ_REMOVE(&rates->unused, rate, unused);
        rates->unused_count--;
    }
    if (rate)
        rate->users++;
    pthread_mutex_unlock(&rates->lock);
    return rate;
}

void rates_leave(struct rates *rates, struct rate *rate)
{
    if (!rate)
        return;
    pthread_mutex_lock(&rates->lock);
    if (--rate->users == 0) {
        TAILQ_INSERT_TAIL(&rates->unused, rate, unused);
        rates->unused_count++;
    }
    while (rates->unused_count > UNUSED_MAX)
        rate_drop_locked(rates, TAILQ_FIRST(&rates->unused));
    pthread_mutex_unlock(&rates->lock);
}

bool rate_allows(struct rate *rate)
{
    return fm_rate_limiter_try_acquire(rate->limiter, 1) == 0;
}

struct rates *rates_destroy(struct rates *rates)
{
    if (!rates)
        return NULL;
    while (!TAILQ_EMPTY(&rates->unused))
        rate_drop_locked(rates, TAILQ_FIRST(&rates->unused));
    pthread_mutex_destroy(&rates->lock);
    free(rates);
    return NULL;
}
