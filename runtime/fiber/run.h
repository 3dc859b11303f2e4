/*
 * run.h - what the rooms of the fiber folder share among themselves and with runtime.c
 */
#ifndef FM_RUNTIME_FIBER_RUN_H
#define FM_RUNTIME_FIBER_RUN_H

#include "runtime/fiber/fiber.h"
#include "runtime/fiber/slab.h"
#include "runtime/fiber/waitlist.h"

struct fm_runtime;

/* What each worker keeps for fibers: worker->user. */
struct fiber_worker {
    struct fm_runtime *runtime;
    struct slab_cache slab;
    _Atomic uint64_t spawned, ended; /* fibers, counted where it happened */
};

/*
 * A descriptor from the slab, made ready for a new life of this kind; then, when it is
 * complete, given so many references.
 */
void fm__descriptor_reset(struct fm_fiber *fiber, struct fm_runtime *runtime,
                          enum fiber_kind kind);
void fm__descriptor_publish(struct fm_fiber *fiber, unsigned references);

/* The scheduler's hooks. */
void fm__fiber_run(struct task *task);
void fm__fiber_no_stack(struct task *task);
bool fm__fiber_parked(struct task *task);

/*
 * An exit as a body gave it; one that speaks of interruption becomes the interruption on
 * record.
 */
struct fm_exit fm__settle_exit(struct fm_fiber *fiber, struct fm_exit exit);
/*
 * The body of a fiber from its first line to the last drop: scope, children, finalizers, pins,
 * locals. `note` as in fm__scoped.
 */
struct fm_exit fm__body_run(struct fm_fiber *fiber, fm_entry_fn *entry, void *arg,
                            const void *note);
/* The fiber ends: its locals' drops. */
void fm__locals_drop(struct fm_fiber *fiber);
/* A new fiber takes over its maker's inherited locals. 0 · -ENOMEM */
int fm__locals_inherit(struct fm_fiber *child, struct fm_fiber *parent);

/* runtime.c: fibers that have been spawned and have not ended; exact when nothing happens. */
uint64_t fm__runtime_live(struct fm_runtime *runtime);
/* One more has ended: the last thing that is done for a fiber. */
void fm__runtime_fiber_ended(struct fm_runtime *runtime);

static inline struct waitlist *fm__ready_waiters(struct fiber_extra *extra)
{
    _Static_assert(offsetof(struct fiber_extra, ready_last) -
                           offsetof(struct fiber_extra, ready_first) ==
                       offsetof(struct waitlist, last),
                   "the two words are a wait list");
    return (struct waitlist *)(void *)&extra->ready_first;
}

#endif
