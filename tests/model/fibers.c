/*
 * fibers.c - threads of a model that wait as fibers do
 *
 * Stands in for runtime/fiber/wait.c where a model is about what waits and wakes: each thread
 * has a descriptor with the real state word, and sleeps on a word of its own where a fiber
 * would leave its stack. A deadline below FM_NEVER may pass at any time. Compiled like a room:
 * what it shares is searched with the rest.
 */
#include <errno.h>

#include "runtime/fiber/fiber.h"
#include "runtime/fiber/ring.h"
#include "runtime/platform/futex.h"
#include "runtime/sched/sched.h"
#include "tests/model/model.h"

static struct fm_fiber *self(void)
{
    struct fm_fiber *fiber = model_own();
    if (!fiber) {
        fiber = model_aligned(_Alignof(struct fm_fiber), sizeof *fiber);
        fiber->slot = (uint32_t)fm__self_id(); /* its whole id: it is the first in its slot */
        model_set_own(fiber);
    }
    return fiber;
}

struct fm_fiber *fm__fiber_self(void)
{
    return self();
}

uint64_t fm__self_id(void)
{
    return (uint64_t)model_thread() + 1;
}

uint64_t fm__holder_self(void)
{
    return fm__self_id();
}

/* Nobody is in a ring, but in the model of them, which has the room itself. */
#define ELSEWHERE __attribute__((weak))

ELSEWHERE bool fm__ring_enter_lock(struct fm_fiber *fiber, holder_word *word,
                                   int64_t deadline_ns)
{
    (void)fiber, (void)word, (void)deadline_ns;
    return false;
}

ELSEWHERE void fm__ring_note_promise(struct fm_fiber *fiber, holder_word *word)
{
    (void)fiber, (void)word;
}

ELSEWHERE void fm__ring_leave(struct fm_fiber *fiber)
{
    (void)fiber;
}

ELSEWHERE void fm__ring_forget(void) {}

void fm__budget_spend(void) {}

/* No chance but that of the search. */
uint32_t fm__sched_random(uint32_t below)
{
    (void)below;
    return 0;
}

int64_t fm_now_ns(void)
{
    return 0;
}

int fm__wait_begin(struct wait *ret_wait, unsigned flags, const char *what)
{
    struct fm_fiber *fiber = self();
    (void)what;
    /* relaxed: nobody wakes us before the epoch is out */
    atomic_store_explicit(&fiber->futex, 0, memory_order_relaxed);
    uint64_t epoch = fm__state_wait_begin(&fiber->state, !(flags & WAIT_MASKED));
    if (!epoch)
        return -ECANCELED;
    *ret_wait = (struct wait) { fiber, epoch };
    return 0;
}

int fm__wait_prepare(void)
{
    return 0;
}

bool fm__wait_prepared(void)
{
    return true;
}

enum wake_reason fm__wait_end(struct wait wait, int64_t deadline_ns)
{
    struct fm_fiber *fiber = wait.who;
    if (!fm__state_commit(&fiber->state))
        return fm__state_reason(&fiber->state);
    while (deadline_ns != FM_NEVER &&
           atomic_load_explicit(&fiber->futex, memory_order_acquire) == 0) {
        if (fm__futex_wait(&fiber->futex, 0, deadline_ns) != -ETIMEDOUT)
            continue;
        if (fm__state_wake(&fiber->state, wait.epoch, WAKE_TIMEOUT) == WAKE_QUEUE)
            return WAKE_TIMEOUT;
        deadline_ns = FM_NEVER; /* somebody else has won, and lets us go in a moment */
    }
    model_await(&fiber->futex);
    return fm__state_reason(&fiber->state);
}

bool fm__wait_abort(struct wait wait)
{
    enum wake_reason reason;
    return fm__state_wait_abort(&wait.who->state, &reason);
}

void fm__wake_release(struct fm_fiber *who)
{
    atomic_store_explicit(&who->futex, 1, memory_order_release);
    fm__futex_wake(&who->futex, 1);
}

bool fm__wake(struct wait wait, enum wake_reason reason)
{
    enum wake result = fm__state_wake(&wait.who->state, wait.epoch, reason);
    if (result == WAKE_QUEUE)
        fm__wake_release(wait.who);
    return result != WAKE_LOST;
}

/* Nobody asks who did it, but in the model of what runs again. */
ELSEWHERE int fm__fiber_interrupt(struct fm_fiber *fiber, enum fm_reason reason)
{
    (void)reason;
    if (fm__state_interrupt(&fiber->state) == WAKE_QUEUE)
        fm__wake_release(fiber);
    return 0;
}

int fm__wake_result(enum wake_reason reason)
{
    static const int results[] = { 0, -ETIMEDOUT, -ECANCELED, -EBADF };
    return results[reason];
}

struct fm_exit fm_ok(void *value)
{
    return (struct fm_exit) { .kind = FM_SUCCESS, .value = value };
}

struct fm_exit fm_fail(int code)
{
    return (struct fm_exit) { .kind = FM_FAILURE, .code = code };
}
