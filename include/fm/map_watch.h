/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/map_watch.h - following what happens in a map: completions with their key, and hooks
 *
 * Both are asked for when the map is made. A map that is not asked costs nothing for them; in
 * one that is, each run allocates what it takes to tell of it later, so that an end is never
 * lost for want of memory, and exits take the short lock of their stripe.
 */
#ifndef FM_MAP_WATCH_H
#define FM_MAP_WATCH_H

#include "fm/map.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- completions: ended fibers with their keys ---- */

#define FM_COMPLETIONS_MAX (1u << 24)

/*
 * A fiber that has left its key: it ended, of whatever kind its exit is. A replaced fiber and a
 * detached one leave no completion, and a fiber that is restarted leaves one, at its last end.
 * One that stands under several keys leaves one for each.
 */
struct fm_completion {
    struct fm_key key;      /* owned by the completion */
    struct fm_fiber *fiber; /* a reference owned by the completion: exit.value is valid */
    struct fm_exit exit;
};

/*
 * fm_map_next - wait for the next fiber that ends, and take it with its key
 *
 * In the order in which they end. A map keeps the config's `completions` that nobody has taken
 * yet; one more drops the oldest, and counts it. Each is handed to one caller.
 *
 * ret_completion  NULL, or where to put it; to be released with fm_completion_free().
 *
 * Returns    0 · -ENOENT none is kept and nobody is present, so none will come unless something
 *            is run · -ECANCELED · -ETIMEDOUT · -ENOMEM (a thread's first wait) · -EINVAL the
 *            map keeps no completions
 * Callers    any fiber, any thread; on a closing map too, which hands out what is left. A
 *            member that waits here is itself somebody who is present.
 * Order      all that the fiber did happens before this returns. Its key is free, unless it has
 *            been taken since; a join on it may still wait for an instant.
 * Cost       one short lock of the map.
 */
FM_API int fm_map_next(struct fm_map *map, int64_t deadline_ns,
                       struct fm_completion **ret_completion);
/* The same without waiting: -EAGAIN where fm_map_next would wait. */
FM_API int fm_map_try_next(struct fm_map *map, struct fm_completion **ret_completion);
/* NULL-safe, returns NULL. Any time, after the map has gone too, but not after its runtime. */
FM_API struct fm_completion *fm_completion_free(struct fm_completion *completion);
/* How many were dropped because there was no room; 0 for a map that keeps none. */
FM_API uint64_t fm_map_completions_dropped(struct fm_map *map);

/* ---- hooks ---- */

/*
 * Functions of the user that are told what happens under each key. Each may be NULL. key,
 * fibers and the exit's value are borrowed for the call.
 *
 * Order      For one key the calls come one after the other, never two at once, in the order in
 *            which the things happened. Of different keys no order is promised.
 * Where      In no lock of the map, in the call or the fiber that brought it about; or, where
 *            another is telling of something next to it, in that one, and then possibly after
 *            the call has returned. fm_map_destroy returns after the last.
 * May        call everything that does not wait, on this map too: what comes of that is told
 *            after the hook has returned. A hook must not wait.
 */
struct fm_map_hooks {
    uint32_t size;     /* set by FM_MAP_HOOKS_INIT */
    uint32_t reserved; /* 0 */
    void *ctx;
    /*
     * run, set: the fiber stands under the key, or queues for it (FM_QUEUE); that its turn has
     * come is not told. Of run: told before its body's first line.
     */
    void (*on_start)(void *ctx, struct fm_key key, struct fm_fiber *fiber);
    /* The fiber has ended: present, replaced or in the queue; not one that was detached. */
    void (*on_exit)(void *ctx, struct fm_key key, struct fm_fiber *fiber, struct fm_exit exit);
    /* `fiber` has taken the key over from `old`, told before on_start of `fiber`. */
    void (*on_replace)(void *ctx, struct fm_key key, struct fm_fiber *old,
                       struct fm_fiber *fiber);
    /*
     * The fiber's body has ended with `exit` and runs again, after the back-off, when this has
     * returned. fm_fiber_incarnation(fiber) is that of the one to come.
     */
    void (*on_restart)(void *ctx, struct fm_key key, struct fm_fiber *fiber,
                       struct fm_exit exit);
};
#define FM_MAP_HOOKS_INIT {.size = sizeof(struct fm_map_hooks)}

#ifdef __cplusplus
}
#endif
#endif
