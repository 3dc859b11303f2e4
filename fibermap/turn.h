/*
 * turn.h - fibers whose bodies wait for others of their key: FM_REPLACE_AWAIT, FM_QUEUE
 */
#ifndef FM_FIBERMAP_TURN_H
#define FM_FIBERMAP_TURN_H

#include "fibermap/stripe.h"
#include "fibermap/work.h"
#include "runtime/fiber/fiber.h"

struct turn;

enum turn_kind {
    TURN_NONE,  /* the body begins at once */
    TURN_AWAIT, /* under the key at once; the body waits for whom it displaced */
    TURN_QUEUE, /* comes under the key when nobody else is */
};
static inline enum turn_kind fm__turn_kind(const struct fm_map_run_options *options)
{
    if (options->conflict == FM_QUEUE)
        return TURN_QUEUE;
    return options->conflict == FM_REPLACE_AWAIT ||
                   (options->flags & FM_MAP_DYING_IS_ABSENT && options->conflict != FM_REPLACE)
               ? TURN_AWAIT
               : TURN_NONE;
}

/* ---- a run, in this order ---- */

/* Wrap the work of a fiber that is to wait. 0 · -ENOMEM */
int fm__turn_wrap(struct stripe *stripe, const struct map_key *key,
                  const struct fm_map_run_options *options, struct work *work,
                  struct turn **ret_turn);
/* It will not be run: what wrap made goes. Any work. */
void fm__turn_unwrap(struct work *work);
/*
 * Of TURN_QUEUE, where the key is at `place`: whether it has to wait, of at most `queue_max`
 * (0: any number). 0 · FM_MAP_QUEUED · -EAGAIN too many wait
 */
int fm__turn_ask_locked(struct turn *turn, struct place place, uint32_t queue_max);
/* Its fiber has been put in, and has displaced that of the entry `old` (0: nobody). */
void fm__turn_enter_locked(struct turn *turn, struct fm_fiber *fiber, struct entry *mine,
                           uint64_t displaced, struct entry *old);
/* The same, as asked: it waits. */
void fm__turn_queue_locked(struct turn *turn, struct fm_fiber *fiber, struct entry *mine);
/* Whether its fiber waits, now that it has been put in. NULL: it does not. */
bool fm__turn_waits_locked(const struct turn *turn);
/*
 * What is left over, to be freed when the lock is free: by then somebody else may have started
 * the fiber (hooks.c), and the turn be gone.
 */
struct turn_rest {
    struct turn *gone;
    struct turn_lines *spare;
};
struct turn_rest fm__turn_rest_locked(struct turn *turn);
void fm__turn_rest_free(struct turn_rest rest);

/* ---- others ---- */

/* Whether the fiber of this entry, under its key, waits to begin. */
bool fm__turn_awaits_locked(struct stripe *stripe, const struct map_key *key,
                            const struct entry *entry);
/* The entry of the first in the queue for the key, or NULL. */
struct entry *fm__turn_head_locked(struct stripe *stripe, const struct map_key *key);
/* Who is under the key, or is the next to be: an id, or 0. Takes the lock. */
uint64_t fm__turn_find(struct stripe *stripe, const struct map_key *key);
/* Whoever was waited for has left the key without an end: what wakes the first in the queue. */
struct wait fm__turn_next_locked(struct stripe *stripe, const struct map_key *key);
/* Nobody waits any more, and nobody looks. */
void fm__turn_lines_free(struct stripe *stripe);

/* Whether somebody has ever waited for a turn in this stripe. */
static inline bool fm__turn_lines_used(struct stripe *stripe)
{
    /* relaxed: under the lock, or after the read of a state (K) */
    return atomic_load_explicit(&stripe->lines, memory_order_relaxed) != NULL;
}

#endif
