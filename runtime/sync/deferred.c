/*
 * deferred.c - a cell that is written once and awaited by many
 *
 * Owns        the list of awaiters while the cell is empty.
 * Knows not   what the exit's value points to: nobody drops it here.
 * Invariant   done goes from 0 to 1 once, under the lock, after exit is written; from then on the
 *             list only shrinks.
 * Callers     any fiber, any thread. complete, poll: never suspend.
 *
 *   complete                                  await
 *     lock                                      if (done)    (C)  return exit
 *     exit = ...                                lock
 *     done = 1            (A) <--- pairs (C)    if (!done) join the list, unlock, suspend
 *     take the first waits off the list         else unlock
 *     unlock              (B) lock order
 *     wake them, by value (W) <--- pairs (D)    woken: read exit
 *
 * A release, C acquire: who reads done as 1 without the lock reads the whole exit. W and D are the
 * order of the state word (runtime/fiber/state.h). Done and the list change under one lock, so an
 * awaiter either sees done or is seen by the completion: none is left behind.
 *
 * Who is woken may destroy the cell at once. So the completion takes waits off by value and, once the list
 * is empty, touches the cell no more: its last access is the unlock, and destroy takes the lock
 * once to let that unlock pass. An awaiter that leaves (deadline, interruption) takes its node off
 * under the lock; where its wait had been copied out already, the wake finds another epoch and fails.
 */
#include "runtime/sync/deferred.h"

#include <errno.h>
#include <stdlib.h>

#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"

enum { WAKE_BATCH = 32 };

void fm__deferred_init(struct fm_deferred *deferred)
{
    atomic_init(&deferred->done, 0);
    fm__lock_init(&deferred->lock, LOCK_SYNC);
    deferred->waiters = (struct waitlist) { .first = NULL };
}

void fm__deferred_fini(struct fm_deferred *deferred)
{
    fm__lock(&deferred->lock);
    FM_BUG_IF(!fm__waitlist_empty(&deferred->waiters), "a deferred is destroyed while awaited");
    fm__unlock(&deferred->lock);
}

static bool is_done(struct fm_deferred *deferred)
{
    /* acquire (C) */
    return atomic_load_explicit(&deferred->done, memory_order_acquire) != 0;
}

int fm__deferred_complete(struct fm_deferred *deferred, struct fm_exit exit,
                          void (*after)(struct fm_deferred *deferred))
{
    if (is_done(deferred))
        return FM_ALREADY_DONE;
    fm__lock(&deferred->lock);
    if (is_done(deferred)) {
        fm__unlock(&deferred->lock);
        return FM_ALREADY_DONE;
    }
    deferred->exit = exit;
    /* release (A) */
    atomic_store_explicit(&deferred->done, 1, memory_order_release);
    if (after)
        after(deferred);

    for (bool more = true; more;) {
        struct wait batch[WAKE_BATCH];
        int count = 0;
        while (count < WAKE_BATCH && !fm__waitlist_empty(&deferred->waiters)) {
            struct wait_node *node = deferred->waiters.first;
            batch[count++] = node->wait;
            fm__waitlist_remove_locked(&deferred->waiters, node);
        }
        more = !fm__waitlist_empty(&deferred->waiters);
        fm__unlock(&deferred->lock);
        for (int i = 0; i < count; i++)
            fm__wake(batch[i], WAKE_VALUE);
        if (more) /* somebody still waits, so the cell is still there */
            fm__lock(&deferred->lock);
    }
    return 0;
}

int fm__deferred_poll(struct fm_deferred *deferred, struct fm_exit *ret_exit)
{
    if (!is_done(deferred))
        return -EAGAIN;
    if (ret_exit)
        *ret_exit = deferred->exit;
    return 0;
}

int fm__deferred_await(struct fm_deferred *deferred, int64_t deadline_ns,
                       struct fm_exit *ret_exit, const char *what)
{
    int r = 0;

    if (deadline_ns <= 0)
        return fm__deferred_poll(deferred, ret_exit) < 0 ? -ETIMEDOUT : 0;
    fm__budget_spend();
    if (!is_done(deferred)) {
        struct wait_node node;
        fm__lock(&deferred->lock);
        if (is_done(deferred))
            fm__unlock(&deferred->lock);
        else
            r = fm__waitlist_wait(&deferred->waiters, &deferred->lock, &node, deadline_ns, 0,
                                  what);
    }
    if (r == 0 && ret_exit)
        *ret_exit = deferred->exit;
    return r;
}

int fm_deferred_create(struct fm_deferred **ret_deferred)
{
    if (!ret_deferred)
        return -EINVAL;
    struct fm_deferred *deferred = fm__malloc(sizeof *deferred);
    if (!deferred)
        return -ENOMEM;
    fm__deferred_init(deferred);
    *ret_deferred = deferred;
    return 0;
}

struct fm_deferred *fm_deferred_destroy(struct fm_deferred *deferred)
{
    if (deferred) {
        fm__deferred_fini(deferred);
        free(deferred);
    }
    return NULL;
}

int fm_deferred_complete(struct fm_deferred *deferred, struct fm_exit exit)
{
    return deferred ? fm__deferred_complete(deferred, exit, NULL) : -EINVAL;
}

int fm_deferred_succeed(struct fm_deferred *deferred, void *value)
{
    return fm_deferred_complete(deferred, fm_ok(value));
}

int fm_deferred_fail(struct fm_deferred *deferred, int code)
{
    return fm_deferred_complete(deferred, fm_fail(code));
}

int fm_deferred_await(struct fm_deferred *deferred, int64_t deadline_ns,
                      struct fm_exit *ret_exit)
{
    return deferred ? fm__deferred_await(deferred, deadline_ns, ret_exit, "deferred") : -EINVAL;
}

int fm_deferred_poll(struct fm_deferred *deferred, struct fm_exit *ret_exit)
{
    return deferred ? fm__deferred_poll(deferred, ret_exit) : -EINVAL;
}
