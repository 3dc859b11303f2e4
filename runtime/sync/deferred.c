/*
 * deferred.c - a cell that is written once and awaited by many
 *
 * Owns        the list of awaiters while the cell is empty.
 * Knows not   what the exit's value points to: nobody drops it here.
 * Invariant   word is DONE | LOCKED (word.h). DONE is set once, under the lock, after exit is
 *             written; from then on the list only shrinks.
 * Callers     any fiber, any thread. complete, poll: never suspend.
 *
 *   complete                                  await
 *     lock                                      if (DONE)     (C)  return exit
 *     exit = ...                                lock
 *     take the first waits off the list         if (!DONE) join the list, unlock, suspend
 *     unlock with DONE  (A) <--- pairs (C)      else unlock
 *     wake them, by value (W) <--- pairs (D)    woken: read exit
 *
 * A release, C acquire: who reads DONE without the lock reads the whole exit. W and D are the
 * order of the state word (runtime/fiber/state.h). DONE and the list change under one lock, so
 * an awaiter either sees DONE or is seen by the completion: none is left behind.
 *
 * Who is woken may destroy the cell at once. So the completion takes waits off by value and,
 * once the list is empty, touches the cell no more: its last access is the unlock, and destroy
 * takes the lock once to let that unlock pass. An awaiter that leaves (deadline, interruption)
 * takes its node off under the lock; where its wait had been copied out already, the wake finds
 * another epoch and fails.
 */
#include "runtime/sync/deferred.h"

#include <errno.h>
#include <stdlib.h>

#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"

enum { WAKE_BATCH = 32 };

#define DONE UINT64_C(2)

void fm__deferred_init(struct fm_deferred *deferred)
{
    fm__word_init(&deferred->word, 0);
    deferred->waiters = (struct waitlist) { .first = NULL };
}

void fm__deferred_fini(struct fm_deferred *deferred)
{
    uint64_t word = fm__word_lock(&deferred->word);
    FM_BUG_IF(!fm__waitlist_empty(&deferred->waiters), "a deferred is destroyed while awaited");
    fm__word_unlock(&deferred->word, word);
}

static bool is_done(struct fm_deferred *deferred)
{
    /* acquire (C) */
    return atomic_load_explicit(&deferred->word.value, memory_order_acquire) & DONE;
}

int fm__deferred_complete(struct fm_deferred *deferred, struct fm_exit exit)
{
    if (is_done(deferred))
        return FM_ALREADY_DONE;
    uint64_t word = fm__word_lock(&deferred->word);
    if (word & DONE) {
        fm__word_unlock(&deferred->word, word);
        return FM_ALREADY_DONE;
    }
    deferred->exit = exit;

    for (bool more = true; more;) {
        struct wait batch[WAKE_BATCH];
        int count = 0;
        while (count < WAKE_BATCH && !fm__waitlist_empty(&deferred->waiters))
            batch[count++] = fm__waitlist_shift_locked(&deferred->waiters)->wait;
        more = !fm__waitlist_empty(&deferred->waiters);
        fm__word_unlock(&deferred->word, DONE); /* (A) */
        for (int i = 0; i < count; i++)
            fm__wake(batch[i], WAKE_VALUE);
        if (more) /* somebody still waits, so the cell is still there */
            fm__word_lock(&deferred->word);
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

/* Wait while it is not done: 0 done · -ECANCELED · -ETIMEDOUT · -ENOMEM */
static int wait_until_done(struct fm_deferred *deferred, int64_t deadline_ns, const char *what)
{
    FM_ASSERT(what);
    struct wait_node node = { .item = NULL };
    uint64_t word = fm__word_lock(&deferred->word);
    int r = word & DONE ? 0 : fm__wait_begin(&node.wait, 0, what);
    bool waits = !(word & DONE) && r == 0;

    if (waits)
        fm__waitlist_push_locked(&deferred->waiters, &node);
    fm__word_unlock(&deferred->word, word);
    if (!waits)
        return r;

    enum wake_reason reason = fm__wait_end(node.wait, deadline_ns);
    if (reason != WAKE_VALUE) {
        word = fm__word_lock(&deferred->word);
        if (node.listed)
            fm__waitlist_remove_locked(&deferred->waiters, &node);
        fm__word_unlock(&deferred->word, word);
    }
    return fm__wake_result(reason);
}

int fm__deferred_await(struct fm_deferred *deferred, int64_t deadline_ns,
                       struct fm_exit *ret_exit, const char *what)
{
    if (deadline_ns <= 0)
        return fm__deferred_poll(deferred, ret_exit) < 0 ? -ETIMEDOUT : 0;
    fm__budget_spend();
    int r = is_done(deferred) ? 0 : wait_until_done(deferred, deadline_ns, what);
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
    return deferred ? fm__deferred_complete(deferred, exit) : -EINVAL;
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
