/*
 * conflict.h - who comes to a key that somebody holds: what the options say
 */
#ifndef FM_FIBERMAP_CONFLICT_H
#define FM_FIBERMAP_CONFLICT_H

#include <errno.h>

#include "fibermap/idle.h"
#include "fibermap/map.h"
#include "fibermap/share.h"
#include "fibermap/turn.h"
#include "runtime/platform/config.h"

/* What goes for a caller who gives no options. */
extern const struct fm_map_run_options fm__run_by_default;
extern const struct fm_map_run_options fm__run_to_join; /* the same, of FM_JOIN */
#define RUN_FLAGS \
    (FM_MAP_PROPAGATE_INTERRUPT | FM_MAP_ISOLATE_FAILURE | FM_MAP_DYING_IS_ABSENT | \
     FM_AWAIT_PROCEED)

/* Options of our shape. 0 · -EINVAL */
static inline int fm__run_options_check(const struct fm_map_run_options *options)
{
    if (options->conflict > FM_QUEUE || options->stack_bytes > 1u << 20 ||
        (options->flags & ~RUN_FLAGS) || options->deadline_ns < 0 || options->own_map > 1 ||
        options->reuse > FM_REUSE_ANY || options->reuse_reserved || options->idle_ttl_ns < 0)
        return -EINVAL;
    if (options->flags & FM_AWAIT_PROCEED && options->conflict == FM_QUEUE)
        return -EINVAL;
    return options->restart ? fm__restart_check(options->restart) : 0;
}

/* The options to go by: the caller's own where they have our shape, else a copy. */
static inline int fm__run_options_read(const struct fm_map_run_options *given,
                                       struct fm_map_run_options *copy,
                                       const struct fm_map_run_options **ret_options)
{
    FM_ASSERT(copy && ret_options);
    *ret_options = &fm__run_by_default;
    if (!given)
        return 0;
    const struct fm_map_run_options *options = given;
    if (given->size != sizeof *given) {
        int r = fm__config_read(copy, sizeof *copy, given);
        if (r < 0)
            return r;
        options = copy;
    }
    *ret_options = options;
    return fm__run_options_check(options);
}

/* Whether a run with this conflict option gives way to who holds the key. */
static inline bool fm__conflict_gives_way(uint32_t conflict)
{
    return conflict == FM_KEEP || conflict == FM_FAIL || conflict == FM_JOIN;
}

/*
 * Under the lock: who holds the key and keeps it against this run, a reference, or NULL. The
 * caller waits for it if he wants to.
 */
struct fm_fiber *fm__conflict_stays_locked(struct stripe *stripe, const struct map_key *key,
                                           struct place place,
                                           const struct fm_map_run_options *options,
                                           struct run_more *more);
/* The outcome for who gives way to the fiber. Consumes the reference. */
static inline int fm__conflict_held(struct fm_fiber *incumbent, uint32_t conflict,
                                    struct fm_fiber **ret_fiber)
{
    FM_ASSERT(incumbent || !ret_fiber || conflict == FM_FAIL);
    bool keeps = conflict != FM_FAIL;
    if (keeps && ret_fiber)
        *ret_fiber = incumbent;
    else
        fm_fiber_unref(incumbent);
    return keeps ? FM_MAP_KEPT : -EEXIST;
}

/*
 * A run that gives way, before it has made anything: FM_MAP_KEPT, -EEXIST, -ESHUTDOWN, or 0:
 * nobody is there, or will not be. `more` may be NULL, as in fm__map_run. A hit takes no lock,
 * but of those who must look at more than the key; without a wish for the reference none is
 * taken.
 */
int fm__conflict_look_locked(struct fm_map *map, struct stripe *stripe,
                             const struct map_key *key,
                             const struct fm_map_run_options *options, struct run_more *more,
                             struct fm_fiber **ret_fiber);
static inline int fm__conflict_look(struct fm_map *map, struct stripe *stripe,
                                    const struct map_key *key,
                                    const struct fm_map_run_options *options,
                                    struct run_more *more, struct fm_fiber **ret_fiber)
{
    FM_ASSERT(fm__conflict_gives_way(options->conflict));
    /* relaxed: a run that misses it came at the same time as the first that set it */
    if (options->conflict == FM_JOIN || (options->flags & FM_MAP_DYING_IS_ABSENT) ||
        __builtin_expect(atomic_load_explicit(&map->notes_use, memory_order_relaxed), 0))
        return fm__conflict_look_locked(map, stripe, key, options, more, ret_fiber);
    if (!ret_fiber) {
        if (!fm__stripe_find(stripe, key) && !fm__map_find(stripe, key))
            return 0;
        return fm__map_is_open(map) ? fm__conflict_held(NULL, options->conflict, NULL)
                                    : -ESHUTDOWN;
    }
    struct fm_fiber *incumbent = fm__map_look(map, key);
    return incumbent ? fm__conflict_held(incumbent, options->conflict, ret_fiber) : 0;
}

/*
 * For a caller who joins and waits, before he has made anything: a reference to whoever holds
 * the key, for whom he is counted as waiting; NULL: nobody does whom he may join.
 */
struct fm_fiber *fm__conflict_join(struct fm_map *map, const struct map_key *key,
                                   const struct fm_map_run_options *options,
                                   struct run_more *more);

/* The entry that holds the key against who comes: of who is under it, or is the next to be. */
static inline struct entry *fm__holder_locked(struct stripe *stripe, const struct map_key *key,
                                              struct place place)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    if (place.entry && fm__entry_present(fm__entry_read(place.entry)))
        return place.entry;
    return fm__turn_lines_used(stripe) ? fm__turn_head_locked(stripe, key) : NULL;
}

/*
 * The id of its fiber, or 0. From one read: who is under the key may end between two, which
 * takes no lock, and from then on the first in the queue holds it.
 */
static inline uint64_t fm__holder_id_locked(struct stripe *stripe, const struct map_key *key,
                                            struct place place)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    uint64_t id = place.entry ? fm__entry_present(fm__entry_read(place.entry)) : 0;
    if (id || !fm__turn_lines_used(stripe))
        return id;
    struct entry *head = fm__turn_head_locked(stripe, key);
    return head ? fm__entry_counted(fm__entry_read(head)) : 0;
}

/* Put a published entry in its place. Returns the id of whom it displaced, or 0. */
static inline uint64_t fm__map_install_locked(struct fm_map *map, struct stripe *stripe,
                                              struct place place, struct entry *entry)
{
    FM_ASSERT(fm__lock_held(&stripe->lock) && entry != place.entry);
    entry->since_ns = fm__runtime_coarse_ns(map->runtime);
    if (place.entry && __builtin_expect(place.entry->idles || map->ledger, 0))
        fm__idle_displace_locked(stripe, place.entry);
    return fm__stripe_install_locked(stripe, place, entry);
}

/* A fiber that nobody needs any more is interrupted for that, whoever does it first. */
static inline enum fm_reason fm__why_displaced_locked(const struct entry *old)
{
    FM_ASSERT(old);
    if (__builtin_expect(!fm__share_stopping_locked(old), 1))
        return FM_BY_REPLACE;
    return old->shared & SHARED_STOPPING ? FM_BY_LAST_WAITER : FM_BY_IDLE;
}

#endif
