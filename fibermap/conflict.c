/*
 * conflict.c - who comes to a key that somebody holds: what the options say
 *
 *     FM_REPLACE        takes the key over                  FM_KEEP, FM_JOIN  get the holder
 *     FM_REPLACE_AWAIT  the same, and its body waits        FM_FAIL           is refused
 *     FM_QUEUE          takes it when nobody holds it
 *
 * The holder is who is under the key, or else the first in its queue. For FM_JOIN one that was
 * given up is none, and with FM_MAP_DYING_IS_ABSENT one that was interrupted: they are
 * replaced.
 *
 * Callers     run and set.
 */
#include "fibermap/conflict.h"

const struct fm_map_run_options fm__run_by_default = FM_MAP_RUN_OPTIONS_INIT;
const struct fm_map_run_options fm__run_to_join = {
    .size = sizeof(struct fm_map_run_options),
    .conflict = FM_JOIN,
};

static bool is_dying(uint64_t id)
{
    return fm__fiber_peek(id) & STATE_INTERRUPT;
}

/*
 * Its exit, which needs no lock, puts the entry on a list by the word that names home: while it
 * is held it cannot. Home of one that has ended does not matter: nobody is counted there.
 */
static __attribute__((noinline)) struct entry *home_of_moved_locked(struct fm_map *map,
                                                                    struct entry *entry)
{
    FM_ASSERT(entry->shared & SHARED_MOVED);
    struct entry *home = entry;

    fm__lock(&map->waiting.lock);
    if (fm__entry_hold(entry)) {
        home = fm__entry_home_locked(entry);
        fm__entry_release(entry);
    }
    fm__unlock(&map->waiting.lock);
    return home;
}

static inline struct entry *home_of_locked(struct fm_map *map, struct entry *entry)
{
    FM_ASSERT(entry);
    return __builtin_expect(entry->shared & SHARED_MOVED, 0) ? home_of_moved_locked(map, entry)
                                                             : entry;
}

static inline bool is_given_up_locked(struct entry *holder,
                                      const struct fm_map_run_options *options,
                                      uint32_t conflict)
{
    FM_ASSERT(holder);
    return (conflict == FM_JOIN && fm__share_stopping_locked(holder)) ||
           ((options->flags & FM_MAP_DYING_IS_ABSENT) &&
            (fm__idle_expired_locked(holder) ||
             is_dying(fm__entry_counted(fm__entry_read(holder)))));
}

/* Inline: what run_wait does for each of its callers is for the most part this. */
static inline __attribute__((always_inline)) struct fm_fiber *stays_locked(
    struct stripe *stripe, const struct map_key *key, struct place place,
    const struct fm_map_run_options *options, uint32_t conflict, struct run_more *more,
    bool waits)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    struct entry *holder = fm__conflict_gives_way(conflict)
                               ? fm__holder_locked(stripe, key, place)
                               : NULL;
    while (holder && !is_given_up_locked(holder, options, conflict)) {
        struct fm_fiber *incumbent = fm__present_locked(holder);
        if (incumbent) {
            if (conflict != FM_FAIL)
                fm__idle_use_locked(stripe, holder);
            if (waits) {
                fm__share_join_locked(holder);
                more->home = home_of_locked(stripe->map, holder);
            }
            return incumbent;
        }
        /* It has ended meanwhile, which takes no lock: the first in its queue holds the key. */
        holder = holder == place.entry ? fm__holder_locked(stripe, key, place) : NULL;
    }
    return NULL;
}

struct fm_fiber *fm__conflict_stays_locked(struct stripe *stripe, const struct map_key *key,
                                           struct place place,
                                           const struct fm_map_run_options *options,
                                           struct run_more *more)
{
    return stays_locked(stripe, key, place, options, options->conflict, more,
                        more && more->waits);
}

struct fm_fiber *fm__conflict_join(struct fm_map *map, const struct map_key *key,
                                   const struct fm_map_run_options *options,
                                   struct run_more *more)
{
    FM_ASSERT(more && more->waits);
    struct stripe *stripe = fm__map_stripe(map, key);
    struct fm_fiber *incumbent = NULL;

    fm__lock(&stripe->lock);
    struct place place = fm__stripe_find_locked(stripe, key);
    if (fm__map_is_open(map))
        incumbent = stays_locked(stripe, key, place, options, FM_JOIN, more, true);
    fm__unlock(&stripe->lock);
    return incumbent;
}

int fm__conflict_look_locked(struct fm_map *map, struct stripe *stripe,
                             const struct map_key *key,
                             const struct fm_map_run_options *options, struct run_more *more,
                             struct fm_fiber **ret_fiber)
{
    FM_ASSERT(fm__conflict_gives_way(options->conflict));
    fm__lock(&stripe->lock);
    struct place place = fm__stripe_find_locked(stripe, key);
    struct fm_fiber *incumbent = NULL;
    if (fm__map_is_open(map))
        incumbent = fm__conflict_stays_locked(stripe, key, place, options, more);
    fm__unlock(&stripe->lock);
    return incumbent ? fm__conflict_held(incumbent, options->conflict, ret_fiber) : 0;
}
