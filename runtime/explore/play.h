/*
 * play.h - schedules of a test, in a process of their own
 *
 * The first begins with the memory of the caller, each further one with what those before it
 * left. A crash is a result: what is known afterwards stands in memory that the processes share.
 */
#ifndef FM_RUNTIME_EXPLORE_PLAY_H
#define FM_RUNTIME_EXPLORE_PLAY_H

#include "fm/explore.h"
#include "runtime/explore/arbiter.h"

enum { TOGETHER_MAX = 1000 };

/* In memory that parent and child share. */
struct result {
    struct arbiter_log log;        /* of the last schedule */
    struct fm_exit exit;           /* its test's */
    uint32_t played;               /* schedules that have begun */
    uint64_t steps_before;         /* of those before the last */
    uint64_t steps_max;            /* the same */
    uint64_t traces[TOGETHER_MAX]; /* the same: their hashes */
    int32_t code; /* of check(), of the runtime that could not be made, of the process */
};

struct play {
    fm_entry_fn *test;
    void *arg;
    fm_explore_check_fn *check;      /* or NULL */
    struct fm_runtime_config config; /* its seed is the plan's */
    uint32_t patience_s;
    /* from fm__play_init to fm__play_fini: */
    int notes_fd; /* what the child has to say about its deadlock; -1: nowhere */
    struct result *result;
    size_t mapped_bytes;
};

/* With room for the steps and choices of a schedule that ends at its limit. 0 · -ENOMEM */
int fm__play_init(struct play *play, uint64_t step_limit, bool takes_notes);
void fm__play_fini(struct play *play);

/*
 * Play this plan, and `count` in all, 1 to TOGETHER_MAX, in one process: each seed is followed by
 * the next number of the sequence that the first one begins. Ends with the first schedule that
 * fails. play->result. 0 · -EAGAIN: no process to be had
 */
int fm__play(struct play *play, const struct plan *plan, uint32_t count,
             enum fm_explore_kind *ret_kind);

#endif
