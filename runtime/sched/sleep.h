/*
 * sleep.h - how a worker goes to sleep, and how it is woken
 */
#ifndef FM_RUNTIME_SCHED_SLEEP_H
#define FM_RUNTIME_SCHED_SLEEP_H

#include "runtime/sched/worker.h"

/* ---- who has made work ---- */

/* Wake a sleeper if the rules of idle.h ask for it; `force`: even if not. Any thread. */
void fm__sched_wake_one(struct sched *sched, bool force);
/* Wake this worker, if it sleeps. Any thread. */
void fm__sched_rouse(struct sched *sched, struct worker *worker);

/* After a task was put where others can take it. */
static inline void fm__sched_cover(struct sched *sched)
{
    if (!fm__idle_no_need(&sched->idle))
        fm__sched_wake_one(sched, false);
}

/*
 * So many of those who are awake let others have their processor, or are the only ones left to
 * run what is queued and do not (idle.h): wake for what is queued, if that is too few now.
 * Monitor thread.
 */
void fm__sched_away(struct sched *sched, uint32_t away);
/* Whether anything is queued that any worker could run. */
bool fm__sched_work_queued(struct sched *sched);

/* ---- who has none: on the worker's own stack ---- */

/*
 * Join the sleepers, look at every queue once more, and sleep until named, or until io or a
 * deadline where this worker polls. Returns at once if there is something to do.
 */
void fm__worker_sleep(struct worker *worker);
/* A searcher has found work: others may have trusted it with more. */
void fm__worker_stop_searching(struct worker *worker);

/* ---- the token: who holds it polls ---- */

/* Never waits: false if another has it. `holder` as in sched->polling. */
bool fm__sched_take_token(struct sched *sched, uint32_t holder);
/* The holder's: its poll ended at now_ns. */
void fm__sched_drop_token(struct sched *sched, int64_t now_ns);

#endif
