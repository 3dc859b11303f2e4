/*
 * entry.h - one stay of one fiber under one key, and who may end it
 *
 * Each run and each set makes an entry of its own; the entry is the registration. It lives in
 * type-stable memory of its stripe, so a lookup may walk over it without a lock, even while it
 * is used again for another key.
 *
 *     state   63 .. 60   59 ................ 0
 *             life       id of the fiber (all but DEAD)
 *
 *                   publish               end, by the exit
 *          (free) ----------> LIVE --------------------------> DEAD ---> (buried, swept, free)
 *             ^               | | ^                              ^
 *             |               | | | hold, release                | end
 *             |       displace| | '----> HELD                    |
 *             |               | '------- detach --------> DETACHED
 *             |               v
 *             '---- swept -- GONE <---- end ---- ZOMBIE (from displace)
 *
 *          (free) --- queue ---> QUEUED --- publish: its turn ---> LIVE
 *                                   '------ end ---> DEAD
 *
 * QUEUED waits, in no chain, until it may stand under its key (turn.c). It is left by its own
 * fiber alone: that begins, under the stripe lock, or ends.
 *
 *          (free) --- come ---> COMING --- arrive ---> LIVE
 *          HELD, free: a gate --- open ---> MOVED
 *
 * COMING is there together with others, or instead of another: its gate, which its successor
 * names, is opened by one store, and that store makes present all who come behind it. The gate
 * is an entry: for a move the one that is left (HELD by the mover, then MOVED, for good), for
 * runs that start together one of nobody. A lookup that meets COMING reads the gate, and then
 * COMING once more: as long as that stands there the holder of the stripe locks is at it, and
 * the gate is no other. An exit that meets MOVED goes on to where its fiber has been moved
 * (member.c).
 *
 * The exit of the fiber draws `end`, once for each entry. Everything else is drawn by the
 * holder of the stripe lock: displace by a run or set that takes the key over, detach, and hold
 * and release by a snapshot that wants a cut (it holds the map's wait lock as well, and an exit
 * that finds HELD waits for that lock and tries again; a move holds so, too). LIVE is left by a
 * compare-and-swap alone, so exactly one of exit, displace and detach takes the fiber out.
 *
 * A displaced entry names its successor: from the instant of that swap a lookup that stands on
 * the old entry goes on to the new one, before any link of the table has moved. GONE is a
 * ZOMBIE whose fiber has ended; it still forwards.
 *
 * Order      (A) publish   release   key words and links of the entry, to a lookup that reads
 *                                    the state at (C)
 *            (B) displace  acq_rel   release: the successor and all that (A) of it published,
 *                                    to a lookup that reads ZOMBIE at (C); acquire: the
 *                                    displacer that fails reads DEAD and with it what the exit
 *                                    did before (D)
 *            (C) read      acquire   by lookups
 *            (D) end       acq_rel   release: what the fiber did, to the run that finds the key
 *                                    free; acquire: of (B), so that the exit of a zombie
 *                                    follows its displacement
 *            (K) touch     acq_rel   release: that somebody queues behind this fiber, through
 *                                    its (D) to the lookup that reads DEAD at (C) and must look
 *                                    for who is next
 *            (L) open      release   the gate: with (C), all that the opener did before
 *            (M) arrive    release   that the gate is open, to the lookup that reads LIVE at
 *                                    (C) and then asks where the fiber came from; and through
 *                                    the stripe locks to whoever uses the gate again: a lookup
 *                                    that reads at the gate what such a one wrote does not read
 *                                    COMING afterwards (N)
 *            Without A/C a lookup could match a half-written key; without B/C it could follow a
 *            successor that is not there yet.
 */
#ifndef FM_FIBERMAP_ENTRY_H
#define FM_FIBERMAP_ENTRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime/platform/check.h"

enum entry_life {
    ENTRY_DEAD = 0, /* also fresh and free memory: all zeros is a dead entry */
    ENTRY_LIVE = 1,
    ENTRY_HELD = 2,
    ENTRY_ZOMBIE = 3,
    ENTRY_GONE = 4,
    ENTRY_COMING = 5,
    ENTRY_DETACHED = 6,
    ENTRY_QUEUED = 7,
    ENTRY_MOVED = 8,
};

#define ENTRY_LIFE_SHIFT 60
#define ENTRY_ID ((UINT64_C(1) << ENTRY_LIFE_SHIFT) - 1)
#define ENTRY_KEY_WORDS 7

struct key_blob;
struct idler;

struct entry {
    /* first line: all that a lookup of a key of at most 24 bytes reads */
    _Alignas(64) _Atomic uint64_t state;
    _Atomic(struct entry *)
        next[2];           /* in its bucket's chain, one for each parity of the table */
    _Atomic uint64_t head; /* of the key: hash and length */
    /*
     * of the free list (stripe lock), of the dead list (the burying exit); between the two, of
     * one that was moved here its home, of one that was set its struct set_node
     */
    void *link;
    _Atomic uint64_t word[ENTRY_KEY_WORDS]; /* of a short key */
    /* here the second line has begun */
    /* who displaced it, in ZOMBIE and GONE; its gate, in COMING; its fiber's now, in MOVED */
    _Atomic(struct entry *) successor;
    _Atomic(struct key_blob *)
        blob;         /* of a long key; never anything but NULL or a blob of this stripe */
    union {               /* stripe lock */
        int64_t since_ns; /* coarse */
        struct idler *idler; /* idles: it has a ttl, and since_ns stands there (idle.h) */
    };
    uint32_t shared; /* stripe lock; who waits for it by fm_map_run_wait: share.h */
    bool linked;     /* stripe lock; in a chain */
    bool idles;      /* stripe lock */
};
_Static_assert(sizeof(struct entry) == 128, "two lines");

static inline enum entry_life fm__entry_life(uint64_t state)
{
    return (enum entry_life)(state >> ENTRY_LIFE_SHIFT);
}

static inline uint64_t fm__entry_state(enum entry_life life, uint64_t id)
{
    FM_ASSERT(!(id & ~ENTRY_ID));
    return (uint64_t)life << ENTRY_LIFE_SHIFT | id;
}

static inline uint64_t fm__entry_read(struct entry *entry)
{
    /* acquire (C) */
    return atomic_load_explicit(&entry->state, memory_order_acquire);
}

/* The id of the fiber that is present here, else 0. */
static inline uint64_t fm__entry_present(uint64_t state)
{
    enum entry_life life = fm__entry_life(state);
    return life == ENTRY_LIVE || life == ENTRY_HELD ? state & ENTRY_ID : 0;
}

/* The same, and the one that waits for its turn, and the one that comes: who counts as live. */
static inline uint64_t fm__entry_counted(uint64_t state)
{
    const unsigned counted = 1u << ENTRY_LIVE | 1u << ENTRY_HELD | 1u << ENTRY_QUEUED |
                             1u << ENTRY_COMING;
    return counted >> fm__entry_life(state) & 1 ? state & ENTRY_ID : 0;
}

/*
 * The key is written and no lookup can reach the entry but by links from before it was free. id
 * 0: dead from the start.
 */
static inline void fm__entry_publish(struct entry *entry, uint64_t id)
{
    FM_ASSERT(!(id & ~ENTRY_ID));
    /* release (A) */
    atomic_store_explicit(&entry->state, id ? fm__entry_state(ENTRY_LIVE, id) : 0,
                          memory_order_release);
}

/* The key is written; the fiber is to wait for its turn. */
static inline void fm__entry_queue(struct entry *entry, uint64_t id)
{
    FM_ASSERT(id && !(id & ~ENTRY_ID));
    /* release (A): for those who look at all entries */
    atomic_store_explicit(&entry->state, fm__entry_state(ENTRY_QUEUED, id),
                          memory_order_release);
}

/*
 * The key is written; the fiber is present as soon as the gate is open. The stripe lock is held
 * until it has arrived.
 */
static inline void fm__entry_come(struct entry *entry, uint64_t id, struct entry *gate)
{
    FM_ASSERT(id && entry != gate);
    /* relaxed: published by the next */
    atomic_store_explicit(&entry->successor, gate, memory_order_relaxed);
    /* release (A) */
    atomic_store_explicit(&entry->state, fm__entry_state(ENTRY_COMING, id),
                          memory_order_release);
}

/*
 * It will be a gate of nobody. Somebody may still have it in hand as where a fiber began that
 * has ended: if he asks where that stands now, it is here.
 */
static inline void fm__entry_gate(struct entry *entry)
{
    /* relaxed: published by fm__entry_open */
    atomic_store_explicit(&entry->successor, entry, memory_order_relaxed);
}

/* All who come behind this gate are present. It is HELD, of the fiber `id`, or of nobody: 0. */
static inline void fm__entry_open(struct entry *gate, uint64_t id)
{
    /* release (L) */
    atomic_store_explicit(&gate->state, fm__entry_state(ENTRY_MOVED, id), memory_order_release);
}

/* The gate is open. */
static inline void fm__entry_arrive(struct entry *entry, uint64_t id)
{
    /* release (M) */
    atomic_store_explicit(&entry->state, fm__entry_state(ENTRY_LIVE, id), memory_order_release);
}

/*
 * Of an entry that was read as COMING: who is present. False: it is COMING no more, read again.
 */
static inline bool fm__entry_coming(struct entry *entry, uint64_t state, uint64_t *ret_id)
{
    /* acquire: the gate's own key and links, where it is used again */
    struct entry *gate = atomic_load_explicit(&entry->successor, memory_order_acquire);
    uint64_t at_gate = fm__entry_read(gate);
    /* relaxed (N): the reads before it are acquire, so it stays behind them */
    if (atomic_load_explicit(&entry->state, memory_order_relaxed) != state)
        return false;
    *ret_id = fm__entry_life(at_gate) == ENTRY_MOVED ? state & ENTRY_ID : 0;
    return true;
}

/*
 * Where the fiber of a registration stands now: `home` is the entry that it began with, and
 * stays its as long as the fiber lives. Old at once, but under the lock of the result's stripe,
 * if it is the result there again.
 */
static inline struct entry *fm__entry_now(struct entry *home)
{
    if (fm__entry_life(fm__entry_read(home)) != ENTRY_MOVED)
        return home;
    /* acquire (P), with the move: the entry that it names */
    return atomic_load_explicit(&home->successor, memory_order_acquire);
}

/*
 * Read the state, and let its fiber's exit know what the caller did before. The stripe lock is
 * held.
 */
static inline uint64_t fm__entry_touch(struct entry *entry)
{
    /* acq_rel (K) */
    return atomic_fetch_or_explicit(&entry->state, 0, memory_order_acq_rel);
}

/*
 * Take the fiber that is present out of its entry in favour of `successor`. Returns its id, or
 * 0 if it has ended: then nothing was displaced. The stripe lock is held.
 */
static inline uint64_t fm__entry_displace(struct entry *entry, struct entry *successor)
{
    FM_ASSERT(entry != successor);
    uint64_t state = fm__entry_read(entry);
    if (fm__entry_life(state) != ENTRY_LIVE)
        return 0;
    /* relaxed: published by the swap below; nobody follows it before */
    atomic_store_explicit(&entry->successor, successor, memory_order_relaxed);
    uint64_t id = state & ENTRY_ID;
    /* acq_rel (B). It fails only against the exit: LIVE turns DEAD. */
    if (!atomic_compare_exchange_strong_explicit(&entry->state, &state,
                                                 fm__entry_state(ENTRY_ZOMBIE, id),
                                                 memory_order_acq_rel, memory_order_acquire))
        return 0;
    return id;
}

/* Take the fiber out of the map. False: it has ended. The stripe lock is held. */
static inline bool fm__entry_detach(struct entry *entry, uint64_t id)
{
    FM_ASSERT(id);
    uint64_t state = fm__entry_state(ENTRY_LIVE, id);
    /* acq_rel: as (B) */
    return atomic_compare_exchange_strong_explicit(&entry->state, &state,
                                                   fm__entry_state(ENTRY_DETACHED, id),
                                                   memory_order_acq_rel, memory_order_acquire);
}

/*
 * For a cut: true if the fiber is present and stays so until released. All stripe locks and the
 * wait lock are held.
 */
static inline bool fm__entry_hold(struct entry *entry)
{
    uint64_t state = fm__entry_read(entry);
    /*
     * acq_rel: the holds of a cut are one before the other, and before the exits that they hold
     * off
     */
    return fm__entry_life(state) == ENTRY_LIVE &&
           atomic_compare_exchange_strong_explicit(&entry->state, &state,
                                                   fm__entry_state(ENTRY_HELD,
                                                                   state & ENTRY_ID),
                                                   memory_order_acq_rel, memory_order_acquire);
}

static inline void fm__entry_release(struct entry *entry)
{
    /* relaxed: nobody else writes a HELD state */
    uint64_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);
    if (fm__entry_life(state) == ENTRY_HELD)
        atomic_store_explicit(&entry->state, fm__entry_state(ENTRY_LIVE, state & ENTRY_ID),
                              memory_order_release);
}

enum entry_end {
    ENTRY_END_PRESENT,  /* it was present and has left */
    ENTRY_END_ZOMBIE,   /* it had been displaced */
    ENTRY_END_DETACHED, /* it had been detached: it is no member of the map */
    ENTRY_END_HELD,     /* nothing has happened: wait for the wait lock, then again */
    ENTRY_END_MOVED,    /* nothing has happened: the wait lock says where it stands now */
};

/* The fiber ends. Called by its exit, once until the result is neither HELD nor MOVED. */
static inline enum entry_end fm__entry_end(struct entry *entry, uint64_t id)
{
    FM_ASSERT(id);
    uint64_t state = fm__entry_state(ENTRY_LIVE, id);
    /* acq_rel (D) */
    if (atomic_compare_exchange_strong_explicit(&entry->state, &state, 0, memory_order_acq_rel,
                                                memory_order_acquire))
        return ENTRY_END_PRESENT;
    switch (fm__entry_life(state)) {
    case ENTRY_ZOMBIE:
        /* release (D); from ZOMBIE and DETACHED the exit alone moves on */
        atomic_store_explicit(&entry->state, fm__entry_state(ENTRY_GONE, id),
                              memory_order_release);
        return ENTRY_END_ZOMBIE;
    case ENTRY_DETACHED:
        atomic_store_explicit(&entry->state, 0, memory_order_release);
        return ENTRY_END_DETACHED;
    case ENTRY_MOVED: return ENTRY_END_MOVED;
    default:
        if (fm__entry_life(state) == ENTRY_HELD)
            return ENTRY_END_HELD;
        /*
         * QUEUED. relaxed: nobody comes to it by its key; who sweeps it has the end from bury
         */
        atomic_store_explicit(&entry->state, 0, memory_order_relaxed);
        return ENTRY_END_PRESENT; /* it was counted as one */
    }
}

#endif
