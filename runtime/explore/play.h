/*
 * play.h - one schedule of a test, in a process of its own
 *
 * Each one begins with the same memory, and a crash is a result: what is known afterwards
 * stands in memory that the processes share.
 */
#ifndef FM_RUNTIME_EXPLORE_PLAY_H
#define FM_RUNTIME_EXPLORE_PLAY_H

#include "fm/explore.h"
#include "runtime/explore/arbiter.h"

/* In memory that parent and child share. */
struct result {
    struct arbiter_log log;
    struct fm_exit exit; /* the test's */
    int32_t code;        /* of check(), of the runtime that could not be made, of the process */
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

/* Play this one and wait for its end: play->result. 0 · -EAGAIN: no process to be had */
int fm__play(struct play *play, const struct plan *plan, enum fm_explore_kind *ret_kind);

#endif
