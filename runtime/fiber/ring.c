/*
 * ring.c - who waits for whom, and rings of those who wait for one another
 *
 * Each who waits for a lock or for an end notes for which: fiber->waits_on. From there one
 * comes to the fiber that is waited for: a joined one stands there itself, a lock's holder is
 * in the lock's holder word. Following that from one who is about to wait either ends with
 * somebody who runs, or has a deadline, or comes back.
 *
 *   A, waits for B                            B, waits for A
 *     A.waits_on = ...       (P)                B.waits_on = ...       (P)
 *     follow: B.waits_on     (L)                follow: A.waits_on     (L)
 *
 * P and L are seq_cst, so of those who close a ring at least the last one sees all of it.
 *
 * What is followed was not all true at one time. So a ring is looked at once more, backwards
 * from the edge that leads to `self`. `self` gives nothing up meanwhile, so who waits for it
 * stays, so who waits for that one stays, and so on: what is still there on the second look is
 * a ring, unless somebody in it is interrupted at that moment. A note outlasts its wait by the
 * time that the waiter needs to run; so its state word is asked as well.
 *
 * Memory     Descriptors stay descriptors. A lock may be freed as soon as its last waiter has
 *            come back, while another still follows that one's note:
 *
 *              follow                            the last waiter, then whoever destroys
 *                walkers += 1        (W)           waits_on = 0        (Z)
 *                read waits_on       (L)           .
 *                read the lock's word              walkers += 0        (R)
 *                walkers -= 1        (U)           it was not 0: again; free the lock
 *
 *            W and R change one word, so one comes first. Is it W, R finds its 1. Is it R,
 *            then W (acquire) follows R (release) and Z, and L finds Z's 0. U release, R
 *            acquire: what was read was read before the lock is freed. So the cost is with who
 *            destroys a lock, and not with each who waited: Z is a plain store. The own lock
 *            needs no such care, and a holder that waits for nothing, or for nothing any more, ends
 *            the look before W.
 */
#include "runtime/fiber/ring.h"

#include "runtime/fiber/slab.h"
#include "runtime/platform/spin.h"

enum { RING_MAX = 64 };

/* In the low bits of waits_on. */
#define ON_LOCK ((uintptr_t)1)  /* the address of a holder word; else of a descriptor */
#define ON_TIMED ((uintptr_t)2) /* has a deadline: no part of a ring */
#define ON_WON ((uintptr_t)4)   /* its wake is won, and it has to have the lock first of all */
#define ON_FLAGS (ON_LOCK | ON_TIMED | ON_WON)

static FM_ALONE _Atomic uint32_t walkers;

struct fm_fiber *fm__ring_find(uint64_t number)
{
    struct fm_fiber *fiber = number >> 60 ? NULL
                                          : fm__slab_find((uint32_t)number &
                                                          ((1u << FIBER_ID_SLOT_BITS) - 1));
    return number && fiber && fm__fiber_id(fiber) == number ? fiber : NULL;
}

static uintptr_t note_of(struct fm_fiber *fiber)
{
    /* seq_cst (L) */
    return atomic_load_explicit(&fiber->waits_on, memory_order_seq_cst);
}

/* The number of whoever is waited for: by way of a lock. */
static uint64_t holder_of(uintptr_t note)
{
    FM_ASSERT(note & ON_LOCK);
    holder_word *word = (holder_word *)(note & ~ON_FLAGS);
    /* acquire: the holder's descriptor was complete before it took the lock */
    return atomic_load_explicit(word, memory_order_acquire) >> HOLDER_SHIFT;
}

/* Whether its wait has not been ended, as by an interruption that it has not seen yet. */
static bool is_waiting(struct fm_fiber *fiber)
{
    enum life life = fm__state_life(fm__state_read(&fiber->state));
    return life == LIFE_PARKING || life == LIFE_PARKED;
}

/* For what it waits without a deadline, or 0. */
static uintptr_t waits_for(struct fm_fiber *fiber)
{
    uintptr_t note = note_of(fiber);
    if (!note || (note & ON_TIMED) || !(note & ON_WON || is_waiting(fiber)))
        return 0;
    return note;
}

/* For whom, or NULL. */
static struct fm_fiber *target_of(struct fm_fiber *fiber)
{
    uintptr_t note = waits_for(fiber);
    if (!note)
        return NULL;
    return note & ON_LOCK ? fm__ring_find(holder_of(note)) : (struct fm_fiber *)note;
}

static void walk_begin(void)
{
    /* acquire (W) */
    atomic_fetch_add_explicit(&walkers, 1, memory_order_acquire);
}

static void walk_end(void)
{
    /* release (U) */
    atomic_fetch_sub_explicit(&walkers, 1, memory_order_release);
}

/* Whether the way that begins at self's target leads back to it. */
static bool leads_back(struct fm_fiber *self, struct fm_fiber *first)
{
    FM_ASSERT(self != first);
    struct fm_fiber *way[RING_MAX], *at = first;
    int count = 0;

    while (at && at != self && count < RING_MAX) {
        way[count++] = at;
        at = target_of(at);
    }
    if (at != self)
        return false;
    while (count > 0) {
        struct fm_fiber *before = way[--count];
        if (target_of(before) != at)
            return false;
        at = before;
    }
    return target_of(self) == first;
}

static bool enter(struct fm_fiber *self, uintptr_t note)
{
    FM_ASSERT(note & ~ON_FLAGS);
    /* seq_cst (P) */
    atomic_store_explicit(&self->waits_on, note, memory_order_seq_cst);
    struct fm_fiber *first = target_of(self);
    /* first == self: the lock has been handed over already */
    if (!first || first == self || !waits_for(first))
        return false;
    walk_begin();
    bool ring = leads_back(self, first);
    walk_end();
    return ring;
}

bool fm__ring_enter_lock(struct fm_fiber *self, holder_word *word, int64_t deadline_ns)
{
    return enter(self, (uintptr_t)word | ON_LOCK | (deadline_ns == FM_NEVER ? 0 : ON_TIMED));
}

bool fm__ring_enter_join(struct fm_fiber *self, struct fm_fiber *target, int64_t deadline_ns)
{
    FM_ASSERT(self != target);
    return enter(self, (uintptr_t)target | (deadline_ns == FM_NEVER ? 0 : ON_TIMED));
}

void fm__ring_note_promise(struct fm_fiber *other, holder_word *word)
{
    FM_ASSERT(other && word);
    /* seq_cst (P) */
    atomic_store_explicit(&other->waits_on, (uintptr_t)word | ON_LOCK | ON_WON,
                          memory_order_seq_cst);
}

void fm__ring_leave(struct fm_fiber *self)
{
    /* relaxed (Z): shown by (R); who follows it till then looks twice */
    atomic_store_explicit(&self->waits_on, 0, memory_order_relaxed);
}

void fm__ring_forget(void)
{
    /* acq_rel (R) */
    for (unsigned spins = 0; atomic_fetch_add_explicit(&walkers, 0, memory_order_acq_rel) != 0;
         spins++)
        fm__spin(spins);
}

uint64_t fm__ring_holder(struct fm_fiber *fiber)
{
    walk_begin();
    uintptr_t note = note_of(fiber);
    uint64_t number = note & ON_LOCK ? holder_of(note) : 0;
    walk_end();
    return number >> 61 ? 0 : number;
}
