/*
 * waitlist.h - those who wait for one thing, in order
 *
 * A list of nodes on the waiters' stacks, guarded by a lock of the owner. A waker copies the
 * wait out of a node and unlinks it under the lock, and wakes when the lock is free: it never
 * touches a node again, so a waiter's stack may go at once.
 */
#ifndef FM_RUNTIME_FIBER_WAITLIST_H
#define FM_RUNTIME_FIBER_WAITLIST_H

#include "runtime/fiber/fiber.h"
#include "runtime/platform/lock.h"

struct wait_node {
    struct wait_node *next, *prev; /* prev NULL and not first: not listed */
    struct wait wait;
    bool listed;
    int64_t amount; /* for the owner: permits wanted, a mode ... */
    void *item;     /* for the owner */
};

struct waitlist {
    struct wait_node *first, *last;
};

static inline bool fm__waitlist_empty(const struct waitlist *list)
{
    return list->first == NULL;
}

static inline void fm__waitlist_push_locked(struct waitlist *list, struct wait_node *node)
{
    node->next = NULL;
    node->prev = list->last;
    node->listed = true;
    if (list->last)
        list->last->next = node;
    else
        list->first = node;
    list->last = node;
}

static inline void fm__waitlist_remove_locked(struct waitlist *list, struct wait_node *node)
{
    if (node->prev)
        node->prev->next = node->next;
    else
        list->first = node->next;
    if (node->next)
        node->next->prev = node->prev;
    else
        list->last = node->prev;
    node->listed = false;
}

/*
 * Wait on `list`, whose lock the caller holds; returns without the lock. The node is off the
 * list when this returns. A deadline that has passed gives WAKE_TIMEOUT at once. 0 woken with a
 * value · -ECANCELED · -ETIMEDOUT · -EBADF (WAKE_CLOSED) · -ENOMEM (a thread's first wait)
 */
int fm__waitlist_wait(struct waitlist *list, struct lock *held, struct wait_node *node,
                      int64_t deadline_ns, unsigned flags, const char *what);

/*
 * Wake all who are on the list now, first come first; the caller does not hold the lock. Some
 * who come meanwhile may be woken too: for things that stay true once they are. Returns how
 * many woke.
 */
size_t fm__waitlist_wake_all(struct waitlist *list, struct lock *lock, enum wake_reason reason);

#endif
