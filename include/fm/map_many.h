/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/map_many.h - calls of a map over more than one thing: many keys; a key and who holds it
 */
#ifndef FM_MAP_MANY_H
#define FM_MAP_MANY_H

#include "fm/map.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One run of fm_map_run_many: the arguments of fm_map_run, and its result. */
struct fm_map_run_item {
    struct fm_key key;
    fm_entry_fn *entry;
    void *arg;
    const struct fm_map_run_options *options; /* NULL: the defaults */
    struct fm_fiber **ret_fiber;              /* NULL, or where to put a reference */
    int result;                               /* written by the call */
};

/* All runs start, or none does. */
#define FM_MAP_ALL_OR_NOTHING 1u

/*
 * fm_map_run_many - start fibers under many keys
 *
 * Without a flag it is one fm_map_run after the other, in the order of the array: each goes by
 * its own options and has its own result, and one that is refused keeps no other from
 * starting. A key may stand in it twice; the second run then meets the first.
 *
 * With FM_MAP_ALL_OR_NOTHING all of them start, or, if any of the keys is held or stands in the
 * array twice, none does. All come under their keys at one instant: after a lookup that finds
 * one of them no lookup, of any caller, misses another, unless it has left; a consistent
 * snapshot shows all or none. The bodies begin after that instant, so each finds the others.
 *
 * runs       `count` of them; none: 0. arg of a run passes where its result is >= 0 and says
 *            that it has started, or waits (FM_MAP_QUEUED); else it stays the caller's. Where
 *            nothing started arg_drop is not called.
 * flags      0, or FM_MAP_ALL_OR_NOTHING. Then conflict is left 0, or FM_FAIL, which it means
 *            either way; no FM_MAP_DYING_IS_ABSENT and no reuse. If the map has not places and
 *            starts for all of them (fm/map_limit.h) they wait as one, or do what on_excess
 *            says, until the earliest deadline_ns of their options: at the head of the line
 *            they gather places, which nobody else has meanwhile; their starts are of one
 *            window. The keys are looked at before and after.
 *
 * Returns    Without the flag the number of runs that failed: those whose result, as of
 *            fm_map_run, is negative. -EINVAL: no map, no runs, more than INT_MAX, unknown
 *            flags; nothing is written.
 *            With it 0, each result 0 · or why nothing started, no reference handed out:
 *            -EEXIST   result of each run whose key is held, or stands in the array before
 *            -EINVAL, -E2BIG   result of each run with such arguments; that comes first
 *                      the others' result is -ECANCELED: nothing is wrong with them
 *            -EAGAIN, -ENOMEM, -ESHUTDOWN, -EPERM, -ECANCELED, -ETIMEDOUT   as of fm_map_run,
 *                      of each run as well; -EAGAIN too where max_live or max_starts is less
 *                      than `count`: waiting would not help
 * Callers    as fm_map_run. Suspends as one run does with the flag, without it as each does.
 * Cost       With the flag each stripe lock that is concerned, all held at once for as long as
 *            the entries are put in; lookups do not notice.
 */
FM_API int fm_map_run_many(struct fm_map *map, struct fm_map_run_item runs[], size_t count,
                           uint32_t flags);

/*
 * fm_map_remove_many - end the fibers under these keys, and wait for all of them
 *
 * Signals all that are present (FM_BY_REMOVE) before it waits for the first, so they end side
 * by side. As for fm_map_remove: their entries stay until they have ended, the caller's
 * interruption or deadline ends the waiting only, and a caller who is among them is signalled
 * last and not awaited. Keys that nobody stands under are passed over; a key may stand twice.
 *
 * Returns    0 all who were found have ended · -ENOENT none was found · FM_MAP_SELF the caller
 *            was among them · -ECANCELED · -ETIMEDOUT · -ENOMEM, -EINVAL (a key that is none
 *            is among them too): nobody was signalled
 */
FM_API int fm_map_remove_many(struct fm_map *map, const struct fm_key keys[], size_t count,
                              int64_t deadline_ns);

/*
 * fm_map_move - the fiber under `from` stands under `to` from now on
 *
 * It is the same fiber and the same stay: handle, joiners, options, incarnations, ttl, place in
 * a limited map and age go on, and it notices nothing. It changes keys at one instant: a lookup
 * never finds it under both, nor, while it stays in the map, under neither, and no snapshot
 * shows it twice or leaves it out. One that ends meanwhile leaves the key that it stands under.
 *
 * What others have begun at `from` is about the fiber that they found: remove, await_key,
 * run_wait and joins wait for its end wherever it stands. What stays with the key are the
 * fibers that queue there (FM_QUEUE): the first of them comes under it now. Nobody is waited
 * for at `to` either; a body that is under way there although its key is free goes on.
 *
 * From then on its end frees `to`, and completions, retained exits, close reports, dumps and
 * on_restart and on_exit hooks name that key. Hooks are not told of the move itself. What is
 * retained of `to` from before stays until it is pushed out; should_restart goes on to be asked
 * by the key of the run.
 *
 * Returns    0 it stands there; or both keys are the same and somebody stands under it: nothing
 *            has changed · -ENOENT nobody stands under `from` (one that queues does not yet) ·
 *            -EEXIST `to` is held, or somebody queues for it · -EBUSY it waits for its turn
 *            (FM_REPLACE_AWAIT), its body has not begun: what it waits for, the end of who was
 *            under `from`, is nothing to `to`; try again when it has begun (fm_ready) ·
 *            -ENOMEM · -EINVAL · -ESHUTDOWN
 * Callers    any fiber, any thread, an exit observer, hooks; the fiber itself. Never suspends.
 * Cost       two stripe locks. Exits of fibers that were moved take a short lock of the map,
 *            and each holds one entry more as long as it lives.
 */
FM_API int fm_map_move(struct fm_map *map, struct fm_key from, struct fm_key to);

/*
 * fm_map_compare_and_replace - start a fiber in place of that one, and of no other
 *
 * Looks who holds the key and puts the new fiber there in one step: of any number of callers
 * who expect the same fiber one replaces it.
 *
 * expected   the fiber that must be present under the key, of which the caller holds a
 *            reference; NULL: nobody may be.
 * options    as of fm_map_run; conflict left 0.
 *
 * Returns    FM_MAP_REPLACED started, `expected` was interrupted (FM_BY_REPLACE) · 0 started:
 *            the key was free, as expected, or `expected` ended in that very instant ·
 *            FM_MAP_KEPT nothing started, ret_fiber is the fiber that holds the key · -ENOENT
 *            nobody does · and what fm_map_run fails with. Where nothing starts arg stays the
 *            caller's.
 * Callers    as fm_map_run.
 */
FM_API int fm_map_compare_and_replace(struct fm_map *map, struct fm_key key,
                                      struct fm_fiber *expected, fm_entry_fn *entry, void *arg,
                                      const struct fm_map_run_options *options,
                                      struct fm_fiber **ret_fiber);

#ifdef __cplusplus
}
#endif
#endif
