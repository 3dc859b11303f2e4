/*
 * map.h - the map itself, as its rooms share it
 *
 *     key.[hc]       bytes to words and a hash
 *     entry.h        one fiber's stay under one key: the state word
 *     stripe.[hc]    lock, table, memory; lookups without the lock
 *     count.[hc]     how many there are, and who waits until there is nobody
 *     member.[hc]    the exit's side: leaving, verdict, failures; signalling
 *     map.c          create, look up, count, detach
 *     map_run.c      run                map_set.c    set
 *     conflict.[hc]  what their options say
 *     map_end.c      remove, clear      map_wait.c   join, await_...
 *     map_close.c    close, destroy
 *     turn.[hc]      fibers whose bodies wait for others of their key
 *     share.[hc]     callers that share one run
 *     restart.[hc]   fibers that the map runs again
 *     group.[hc], round.[hc]   those that it runs again together
 *     child.[hc]     maps of fibers of maps
 *     ledger.[hc]    stays, of maps with options: hooks.c, completions.c
 *     idle.[hc]      fibers that end when nobody has used them for a while
 *     snapshot.[hc]  all members at once, copied
 *     runner.c       a map for callers outside fibers
 *     many.c, run_many.c   calls over many keys         move.c   a fiber goes to another key
 *
 * Locks, in this order: stripes (by address), the wait lock. Under either nothing is allocated,
 * no fiber is signalled or started, no foreign code runs.
 */
#ifndef FM_FIBERMAP_MAP_H
#define FM_FIBERMAP_MAP_H

#include "fibermap/arena.h"
#include "fibermap/count.h"
#include "fibermap/restart.h"
#include "fibermap/stripe.h"
#include "fm/map.h"
#include "runtime/fiber/fiber.h"

enum map_state {
    MAP_OPEN,
    MAP_CLOSING, /* for good: closed is closing without members */
};

enum { STRIPES_MAX = 1024 };
_Static_assert(STRIPES_MAX <= 1 << KEY_STRIPE_BITS, "a head chooses among all");

struct closing_failure;
struct fm_map_group;
struct ledger;
struct stay;

/* Fibers with a ttl, and the one that ends them: idle.c. */
struct map_idle {
    _Atomic int64_t wakes_ns; /* it will look at all of them then, by itself */
    /* under the wait lock */
    size_t count; /* idlers */
    struct wait reaper; /* who NULL: it does not sleep */
    bool running;
    bool told; /* to look again, while it did not sleep */
};

struct fm_map {
    /* read by every call, written at most once */
    FM_ALONE _Atomic uint32_t state; /* enum map_state */
    uint32_t stripe_mask;
    struct stripe *stripes;
    struct hash_seed seed;
    struct fm_runtime *runtime;
    uint32_t on_failure;  /* enum fm_on_failure */
    _Atomic bool decided; /* the verdict is in: nobody need bring another */
    _Atomic bool has_lineages; /* or had, at some time: fibers that are run again */
    _Atomic bool notes_use;    /* it matters, or did, when members were last used */
    int64_t idle_ttl_ns;       /* of runs that say nothing; 0: none */
    struct ledger *ledger; /* constant; NULL: a plain map */
    char *name;           /* NULL: none */

    FM_ALONE struct waiting waiting;
    _Atomic uint32_t moves; /* begun; written under the wait lock */
    uint32_t moves_held;    /* wait lock: so many look at all stripes, and nothing moves */
    struct arena arena;
    struct fm_exit verdict;           /* under the wait lock, until decided */
    struct closing_failure *failures; /* under the wait lock; the newest first */
    uint32_t failure_count;           /* of the list, at most CLOSE_FAILURES_MAX */
    struct restart_window restarts;   /* of all lineages; under the wait lock */
    struct map_idle idle;
    struct fm_map_group *groups; /* under the wait lock; the newest first */
    /* registrations by set that have not ended: else who is a member is in its descriptor */
    _Atomic uint32_t sets;
    /*
     * the map, and who else needs it after its end, as detached fibers; the last frees the
     * memory
     */
    _Atomic uint32_t refs;
};

enum { CLOSE_FAILURES_MAX = 64 };

/* A failure that was seen while closing. */
struct closing_failure {
    struct closing_failure *next;
    struct fm_exit exit;
    uint32_t key_length;
    unsigned char key[];
};

static inline bool fm__map_is_open(struct fm_map *map)
{
    /*
     * relaxed: under a stripe lock the closer's visit orders it; elsewhere the reads before it
     * are acquire
     */
    return atomic_load_explicit(&map->state, memory_order_relaxed) == MAP_OPEN;
}

static inline struct stripe *fm__map_stripe_of(struct fm_map *map, uint64_t head)
{
    FM_ASSERT(map->stripes);
    return &map->stripes[(head >> (64 - KEY_STRIPE_BITS)) & map->stripe_mask];
}
static inline struct stripe *fm__map_stripe(struct fm_map *map, const struct map_key *key)
{
    return fm__map_stripe_of(map, key->head);
}

#define fm__map_each_stripe(map, s) \
    for (struct stripe *s = (map)->stripes; s <= (map)->stripes + (map)->stripe_mask; s++)

/* The id of the fiber that is present under the key, or is the next to be; else 0. */
uint64_t fm__map_find(struct stripe *stripe, const struct map_key *key);
/* The same: a reference, or NULL. NULL once closing. */
struct fm_fiber *fm__map_look(struct fm_map *map, const struct map_key *key);

/* move.c: from hold to go no fiber goes from one key to another. No lock is held. */
void fm__moves_hold(struct fm_map *map);
void fm__moves_go(struct fm_map *map);
/*
 * Lock the stripe in which the fiber of this registration stands now: its entry. One that has
 * ended leads anywhere: compare the id.
 */
struct entry *fm__home_lock(struct fm_map *map, struct entry *home, struct stripe **ret_stripe);

/*
 * The same under the stripe lock, of the entry that was found there or in the queue (NULL:
 * NULL).
 */
static inline struct fm_fiber *fm__present_locked(struct entry *entry)
{
    uint64_t id;
    while (entry && (id = fm__entry_counted(fm__entry_read(entry))) != 0) {
        struct fm_fiber *fiber = fm__fiber_ref_id(id);
        if (fiber)
            return fiber;
        /* gone, so its exit has left the entry: the next read sees that */
    }
    return NULL;
}

/* What callers within the map want of a run besides. */
struct run_more {
    /* an owner node that the new fiber's exit is to tell; then its storage is its fn's */
    struct exit_node *told;
    bool waits;         /* for the fiber, started or found (share.h); ret_fiber is not NULL */
    /* of one that gives way: looked up just now, and nobody was there; NULL: read it and look */
    const struct map_key *looked;
    bool compares;      /* only in place of the fiber `expected`, or of nobody if that is 0 */
    uint64_t expected;
    bool stops;         /* if it is started: it ends when nobody waits for it any more */
    struct entry *home; /* told to who waits: by whose entry, or its heir, he is counted */
};
/* As fm_map_run; `more` may be NULL. */
int fm__map_run(struct fm_map *map, struct fm_key key, fm_entry_fn *entry, void *arg,
                const struct fm_map_run_options *options, const void *site,
                struct run_more *more, struct fm_fiber **ret_fiber);

/*
 * A detached fiber has ended, or the map was destroyed: free the memory with the last of these.
 */
void fm__map_unref(struct fm_map *map);

#endif
