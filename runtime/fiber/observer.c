/*
 * observer.c - the exit list
 *
 * Owns        no memory: nodes are their makers'.
 * Knows not   fibers, waking, scheduling.
 * Invariant   links are read and written under the claim, or while the node is private to its
 *             maker; prev of a node is right if the node behind which it points has been walked
 *             under the claim, else NULL.
 * Together    (X: the caller keeps the two apart; -: they may run at once)
 *                           add   remove  seal/take
 *                 add        -      -        -
 *                 remove     -      -        -
 *                 seal/take  -      -        X
 */
#include "runtime/fiber/observer.h"

#include <stddef.h>

#include "runtime/platform/check.h"
#include "runtime/platform/spin.h"

#define CLAIM ((uintptr_t)1)
#define SEALED EXIT_LIST_SEALED
#define PENDING EXIT_LIST_PENDING
#define FLAGS (CLAIM | SEALED | PENDING)

_Static_assert(sizeof(struct exit_node) == sizeof(struct fm_observer), "an observer is a node");
_Static_assert(offsetof(struct exit_node, arg) == offsetof(struct fm_observer, arg),
               "an observer is a node");

static struct exit_node *node_of(uintptr_t head)
{
    return (struct exit_node *)(head & ~FLAGS);
}

/* Returns the head without CLAIM; the caller holds the claim. `more` is set with it. */
static uintptr_t claim(struct exit_list *list, uintptr_t more)
{
    FM_ASSERT(!(more & ~SEALED));
    /* relaxed: the CAS orders */
    uintptr_t head = atomic_load_explicit(&list->head, memory_order_relaxed);
    for (unsigned spins = 0;; spins++) {
        /*
         * acquire (B); release for the seal, whose SEALED an add may find before the unclaim:
         * (C) of the exit
         */
        if (!(head & CLAIM) &&
            atomic_compare_exchange_weak_explicit(&list->head, &head, head | CLAIM | more,
                                                  memory_order_acq_rel, memory_order_relaxed))
            return head | more;
        if (head & CLAIM) {
            fm__spin(spins);
            head = atomic_load_explicit(&list->head, memory_order_relaxed);
        }
    }
}

static void unclaim(struct exit_list *list, uintptr_t head)
{
    /* release (C); nobody else writes a claimed head */
    atomic_store_explicit(&list->head, head & ~CLAIM, memory_order_release);
}

bool fm__exit_list_add(struct exit_list *list, struct exit_node *node)
{
    FM_ASSERT(node->kind < EXIT_NODE_KINDS);
    /* acquire (D) if it is sealed */
    uintptr_t head = atomic_load_explicit(&list->head, memory_order_acquire);
    for (unsigned spins = 0;; spins++) {
        if (head & SEALED)
            return false;
        if (head & CLAIM) {
            fm__spin(spins);
            head = atomic_load_explicit(&list->head, memory_order_acquire);
            continue;
        }
        node->next = node_of(head);
        node->prev = NULL;
        node->listed = 1;
        /* release (A); acquire (D) of the seal on failure */
        if (atomic_compare_exchange_weak_explicit(&list->head, &head, (uintptr_t)node,
                                                  memory_order_acq_rel, memory_order_acquire))
            return true;
    }
}

/* Give every node its prev; those below one that has it have it too. */
static void link_back(struct exit_node *newest)
{
    for (struct exit_node *node = newest; node && node->next && !node->next->prev;
         node = node->next)
        node->next->prev = node;
}

bool fm__exit_list_remove(struct exit_list *list, struct exit_node *node)
{
    FM_ASSERT(node);
    uintptr_t head = claim(list, 0);
    bool listed = node->listed != 0;
    if (listed) {
        link_back(node_of(head));
        if (node->next)
            node->next->prev = node->prev;
        if (node->prev)
            node->prev->next = node->next;
        else
            head = (uintptr_t)node->next | (head & FLAGS);
        node->listed = 0;
    }
    unclaim(list, head);
    return listed;
}

/*
 * Take the first node of a claimed list, by value, and let go: its storage may be gone after
 * that. False if there is none.
 */
static bool take_claimed(struct exit_list *list, uintptr_t head, struct exit_node *ret_copy)
{
    FM_ASSERT(ret_copy);
    struct exit_node *node = node_of(head);
    if (node) {
        *ret_copy = *node;
        node->listed = 0;
        if (node->next)
            node->next->prev = NULL;
        /* relaxed: written and read under the claim; fired() ends it with release */
        if (node->kind == EXIT_OBSERVER)
            atomic_store_explicit(&list->firing, node, memory_order_relaxed);
        head = (uintptr_t)node->next | (head & FLAGS);
    }
    unclaim(list, head);
    return node != NULL;
}

/* Newest first becomes: owners, joiners, observers, each oldest first. Under the claim. */
static struct exit_node *in_order(struct exit_node *newest)
{
    FM_ASSERT(newest);
    struct exit_node *first[EXIT_NODE_KINDS] = { NULL }, *last[EXIT_NODE_KINDS] = { NULL };
    for (struct exit_node *node = newest, *next; node; node = next) {
        next = node->next;
        node->next = first[node->kind];
        first[node->kind] = node;
        if (!last[node->kind])
            last[node->kind] = node;
    }
    struct exit_node *all = NULL;
    for (int kind = EXIT_NODE_KINDS; kind-- > 0;) {
        if (!first[kind])
            continue;
        last[kind]->next = all;
        all = first[kind];
    }
    struct exit_node *before = NULL;
    for (struct exit_node *node = all; node; before = node, node = node->next)
        node->prev = before;
    return all;
}

bool fm__exit_list_seal_nodes(struct exit_list *list, struct exit_node *ret_first)
{
    FM_ASSERT(ret_first);
    struct exit_node *first = node_of(claim(list, SEALED));
    if (first && first->next)
        first = in_order(first);
    bool owned = first && first->kind == EXIT_OWNER;
    return take_claimed(list, (uintptr_t)first | SEALED | (owned ? PENDING : 0), ret_first);
}

bool fm__exit_list_take(struct exit_list *list, struct exit_node *ret_copy)
{
    /* relaxed: after the seal nodes only go; an empty list stays empty */
    if (!node_of(atomic_load_explicit(&list->head, memory_order_relaxed)))
        return false;
    return take_claimed(list, claim(list, 0), ret_copy);
}

void fm__exit_list_owners_told(struct exit_list *list)
{
    /* relaxed: this thread alone sets and clears PENDING */
    if (!(atomic_load_explicit(&list->head, memory_order_relaxed) & PENDING))
        return;
    uintptr_t head = claim(list, 0);
    unclaim(list, head & ~PENDING);
}

void fm__exit_list_fired(struct exit_list *list)
{
    /* release: what the observer did, to the unobserve that waits for it */
    atomic_store_explicit(&list->firing, NULL, memory_order_release);
}

bool fm__exit_list_sealed(struct exit_list *list)
{
    for (unsigned spins = 0;; spins++) {
        /* acquire (D) */
        uintptr_t head = atomic_load_explicit(&list->head, memory_order_acquire);
        if (!(head & SEALED))
            return false;
        /* CLAIM at the seal itself: PENDING is not decided yet */
        if (!(head & (PENDING | CLAIM)))
            return true;
        fm__spin(spins);
    }
}
