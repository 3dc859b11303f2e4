/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rates.h - so many starts in a time, for jobs that share a name, or for all
 *
 * A start is that of an attempt. The conductor starts a job when its permits are there, and
 * others meanwhile; a fiber for each rate waits for those. What is tried again, or restarted,
 * waits itself.
 */
#ifndef BATCH_RATES_H
#define BATCH_RATES_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/batcher/plan.h"

enum { RATES_MAX = 64 };

struct batch;

struct rates {
    unsigned count;
    struct rate {
        const char *name; /* the caller's, up to its '='; empty: of all jobs */
        size_t name_len;
        int64_t burst;   /* so many at once */
        int64_t between; /* nanoseconds in which one more comes */
        struct fm_rate_limiter *limiter;
        struct fm_semaphore *asked; /* a permit is wanted for the conductor */
        bool wanted, told;          /* lock; the conductor waits for one; its fiber knows */
        unsigned permits;           /* lock; that the conductor may use */
    } each[RATES_MAX];
};

/*
 * One more, "[name=]n[/time][:burst]": n in a second, or in that time; burst at once, or one. 0
 * · -EINVAL not of this form, or out of range · -EEXIST it is there · -ENOSPC too many
 */
int rates_add(struct rates *rates, const char *text);
/* For all jobs: so long from one start to the next. Results as rates_add. */
int rates_add_delay(struct rates *rates, int64_t delay_ns);
/* Say of each job which rate it has. 0 · -EINVAL, the complaint naming the job: there is none */
int rates_bind(const struct rates *rates, struct plan *plan, struct complaint *complaint);

/* Before there is a fiber. 0 · -ENOMEM */
int rates_init(struct rates *rates);
void rates_fini(struct rates *rates);
/* Start what waits for the conductor's permits, below its fiber. 0 · as fm_fiber_spawn */
int rates_begin(struct batch *batch);

/* May this job start? If not it will be news when it may. Under the lock. */
bool rates_let_locked(struct batch *batch, const struct job *job);
/* It does: its permits are used. Under the lock. */
void rates_use_locked(struct batch *batch, struct job *job);
/* Have those permits brought that were found to lack. Never waits, without the lock. */
void rates_ask(struct batch *batch);
/* Wait until it may make another attempt; not for the first. Fiber only. 0 · -ECANCELED */
int rates_await(struct batch *batch, struct job *job);

#endif
