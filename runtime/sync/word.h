/*
 * word.h - a lock that is the lowest bit of the word it guards
 *
 * The objects of this folder keep their state in one word beside a list of waiters. Where
 * nobody waits, the word is moved by one CAS. Else it is locked by a CAS, read, worked with,
 * and unlocked by the store of its next value: one read-modify-write for what a lock beside the
 * word would take three for. While LOCKED is set nobody but who set it writes the word, and the
 * list is his.
 *
 *   fm__word_lock    acquire   (A) <--- pairs ---> (B)   release   fm__word_unlock
 *
 * A shows the next holder the word, the list, and all that was written before B. The sections
 * are a few dozen instructions; none switches fibers or makes a system call, but that
 * wait_begin may make a thread's descriptor the first time. Who finds the bit set spins, and
 * gives its time slice away soon. Unlock's store is the last access, so who takes the word next
 * may free it.
 *
 * The rank is checked like that of any lock in debug builds; `rank` is not used otherwise.
 */
#ifndef FM_RUNTIME_SYNC_WORD_H
#define FM_RUNTIME_SYNC_WORD_H

#include <stdatomic.h>
#include <stdint.h>

#include "runtime/fiber/waitlist.h"
#include "runtime/platform/lock.h"
#include "runtime/platform/spin.h"

#define LOCKED UINT64_C(1)

struct word {
    _Atomic uint64_t value;
    struct lock rank; /* LOCK_SYNC */
};

static inline void fm__word_init(struct word *word, uint64_t value)
{
    atomic_init(&word->value, value);
    fm__lock_init(&word->rank, LOCK_SYNC);
}

/* LOCKED is set already, by a CAS of the caller's own with acquire (A). */
static inline void fm__word_locked(struct word *word)
{
    fm__lock_note(&word->rank);
}

/* Returns the value, without LOCKED. */
static inline uint64_t fm__word_lock(struct word *word)
{
    /* relaxed: the CAS orders */
    uint64_t old = atomic_load_explicit(&word->value, memory_order_relaxed);
    for (unsigned spins = 0;;) {
        if (old & LOCKED) {
            fm__spin(spins++);
            old = atomic_load_explicit(&word->value, memory_order_relaxed);
        } else if (atomic_compare_exchange_weak_explicit(&word->value, &old, old | LOCKED,
                                                         memory_order_acquire, /* (A) */
                                                         memory_order_relaxed)) {
            fm__word_locked(word);
            return old;
        }
    }
}

static inline void fm__word_unlock(struct word *word, uint64_t value)
{
    fm__lock_forget(&word->rank);
    /* release (B) */
    atomic_store_explicit(&word->value, value, memory_order_release);
}

/* The first of a list that is not empty, taken off. */
static inline struct wait_node *fm__waitlist_shift_locked(struct waitlist *list)
{
    struct wait_node *node = list->first;
    fm__waitlist_remove_locked(list, node);
    return node;
}

/* In front of all others. */
static inline void fm__waitlist_unshift_locked(struct waitlist *list, struct wait_node *node)
{
    node->prev = NULL;
    node->next = list->first;
    node->listed = true;
    if (list->first)
        list->first->prev = node;
    else
        list->last = node;
    list->first = node;
}

/*
 * Those whose wakes a locked section has won: they stand still, so their nodes serve as a list.
 * Let go of them when the word is unlocked. Touches no more than the nodes, each before its
 * waiter goes.
 */
static inline void fm__waitlist_release(struct waitlist *won)
{
    for (struct wait_node *node = won->first, *next; node; node = next) {
        next = node->next;
        node->listed = false; /* in what its waiter looks through */
        fm__wake_release(node->wait.who);
    }
}

#endif
