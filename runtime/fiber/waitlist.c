/*
 * waitlist.c - those who wait for one thing, in order
 */
#include "runtime/fiber/waitlist.h"

#include <errno.h>

int fm__waitlist_wait(struct waitlist *list, struct lock *held, struct wait_node *node,
                      int64_t deadline_ns, unsigned flags, const char *what)
{
    FM_ASSERT(fm__lock_held(held) && !node->listed);
    if (deadline_ns <= 0) {
        fm__unlock(held);
        return -ETIMEDOUT;
    }
    int r = fm__wait_begin(&node->wait, flags, what);
    if (r < 0) {
        fm__unlock(held);
        return r;
    }
    fm__waitlist_push_locked(list, node);
    fm__unlock(held);
    enum wake_reason reason = fm__wait_end(node->wait, deadline_ns);
    if (reason != WAKE_VALUE) {
        /*
         * Who woke us with a value took the node off first; a deadline or an interruption left
         * it there.
         */
        fm__lock(held);
        if (node->listed)
            fm__waitlist_remove_locked(list, node);
        fm__unlock(held);
    }
    return fm__wake_result(reason);
}

size_t fm__waitlist_wake_all(struct waitlist *list, struct lock *lock, enum wake_reason reason)
{
    FM_ASSERT(list && lock);
    enum { BATCH = 32 };
    struct wait batch[BATCH];
    size_t woken = 0;
    struct wait_node *end = NULL;

    fm__lock(lock);
    /* Those who come while we wake are not meant: the last of now marks the end. */
    end = list->last;
    bool more = end != NULL;
    while (more) {
        unsigned n = 0;
        while (n < BATCH && more) {
            struct wait_node *node = list->first;
            if (!node)
                break;
            more = node != end;
            batch[n++] = node->wait;
            fm__waitlist_remove_locked(list, node);
        }
        fm__unlock(lock);
        for (unsigned i = 0; i < n; i++)
            woken += fm__wake(batch[i], reason);
        if (!more || n == 0)
            return woken;
        fm__lock(lock);
    }
    fm__unlock(lock);
    return woken;
}
