/*
 * observer.h - the exit list: who is told of a fiber's end
 *
 * Nodes in the storage of those who want to know: owners (rooms above, told before anybody
 * else), joiners (a wait to end), observers (a function to call). Pushed without a lock while
 * the fiber lives; sealed once, by the exit; then taken out one by one by the exit, in the
 * order owners, joiners, observers, and in each kind in the order they came.
 *
 *     head    pointer to the newest node | PENDING (4) | SEALED (2) | CLAIM (1)
 *
 *        add                      seal                              take ... take
 *     open ----> open, node ----------------> sealed, the others ------------------> sealed,
 *                             takes the first                                         empty
 *
 * CLAIM is held for a few instructions, by remove and by the exit, whenever the links of nodes
 * are read or written. An exit that takes a node copies it and unlinks it under the claim and
 * never touches it again, and remove unlinks under the same claim: so when remove has returned
 * the node's storage is its owner's, and nobody can be about to read its `next`. PENDING is set
 * from the seal until the last owner has been told: until then joins and polls hold back, so
 * that nobody learns of the end before the owners have.
 *
 * Order      (A) add     release   the node's contents, to the exit that takes the list (B)
 *            (B) claim   acquire   by seal, take and remove: sees nodes (A) and links left by
 *                        the last claim (C)
 *            (C) unclaim release   the links, to the next claim; from the seal on also the
 *            exit, to add and sealed (D)
 *            (D) add that finds SEALED, sealed(): acquire: the exit is stored before it is read
 */
#ifndef FM_RUNTIME_FIBER_OBSERVER_H
#define FM_RUNTIME_FIBER_OBSERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fm/fiber.h"

enum exit_node_kind { EXIT_OWNER, EXIT_JOINER, EXIT_OBSERVER, EXIT_NODE_KINDS };

/* The same storage as the public struct fm_observer, which is a node of kind EXIT_OBSERVER. */
struct exit_node {
    union {
        /* observer, owner: called with arg; the node's storage is already its maker's again */
        fm_observer_fn *fn;
        struct fm_fiber *who; /* joiner: the wait to end ... */
    };
    union {
        void *arg;
        uint64_t epoch; /* ... and its epoch */
    };
    struct exit_node *next;
    struct exit_node *prev; /* set lazily, under the claim */
    uintptr_t kind;         /* enum exit_node_kind */
    uintptr_t listed;       /* under the claim, or while the node is private */
};

struct exit_list {
    _Atomic uintptr_t head;
    _Atomic(struct exit_node *) firing; /* the observer that is being called */
};

#define EXIT_LIST_SEALED ((uintptr_t)2)
#define EXIT_LIST_PENDING ((uintptr_t)4)

/* kind and contents are set. False if the list is sealed: the node was not added. */
bool fm__exit_list_add(struct exit_list *list, struct exit_node *node);
/*
 * True if the node was on the list and is off now; false if the exit has taken it. The storage
 * is the caller's in both cases.
 */
bool fm__exit_list_remove(struct exit_list *list, struct exit_node *node);
/*
 * The exit: nobody can be added any more, and the first node is taken, as by take. The fiber's
 * exit is stored before.
 */
static inline bool fm__exit_list_seal(struct exit_list *list, struct exit_node *ret_first);
/*
 * After the seal: take the next node, by value. False when there is none. `firing` is set where
 * it is an observer.
 */
bool fm__exit_list_take(struct exit_list *list, struct exit_node *ret_copy);
/*
 * All owners have been told: joins and polls may pass. Called once after the seal, before the
 * first joiner is woken.
 */
void fm__exit_list_owners_told(struct exit_list *list);
/* The observer that seal or take handed out last has returned. */
void fm__exit_list_fired(struct exit_list *list);
/* Whether its owners are being told. Racy, but not for the exit itself. */
static inline bool fm__exit_list_pending(const struct exit_list *list)
{
    /* relaxed: the exit alone sets and clears it */
    return (atomic_load_explicit(&list->head, memory_order_relaxed) & EXIT_LIST_PENDING) != 0;
}
/*
 * Whether the fiber has ended, and all owners know. Waits a moment where they are being told
 * right now.
 */
bool fm__exit_list_sealed(struct exit_list *list);

/* What seal does where somebody is on the list. That nobody is, at most ends, is inline. */
bool fm__exit_list_seal_nodes(struct exit_list *list, struct exit_node *ret_first);

static inline bool fm__exit_list_seal(struct exit_list *list, struct exit_node *ret_first)
{
    /* relaxed: the CAS checks */
    uintptr_t empty = atomic_load_explicit(&list->head, memory_order_relaxed);
    /* release (C): the exit, to whoever finds SEALED */
    if (!empty &&
        atomic_compare_exchange_strong_explicit(&list->head, &empty, EXIT_LIST_SEALED,
                                                memory_order_acq_rel, memory_order_relaxed))
        return false;
    return fm__exit_list_seal_nodes(list, ret_first);
}

#endif
