/*
 * again.c - a fiber whose body runs more than once
 *
 * Between two runnings the sticky mark and the record of the interrupter are taken back, while
 * others may be interrupting. For every other fiber the two are written one after the other
 * without a lock: record, then mark. Taken back so, a mark could be left without a record, or
 * an order to end for good be lost with one that was not. So the interrupters of such a fiber,
 * whose record begins as INTERRUPTER_ASK where others begin with 0, take its lock:
 *
 *   interrupter                                the fiber, between two runnings
 *     swap the record, 0 for mine: fails         lock
 *     lock                                         stopped: end
 *       the record is ASK: mine                    record = ASK; take the mark off
 *       final: stopped = true                      count += 1
 *       set the mark, win the wait               unlock
 *     unlock                                     run the body
 *     queue the fiber, if won
 *
 * The locks have one order. If the interrupter came first, a final interruption has stopped the
 * fiber and the count never grows again; if the fiber came first, the next running finds record
 * and mark, both of them. So once any call that interrupts for good has returned, no running
 * begins: nobody need wait for the fiber's end to be sure of that.
 *
 * The wait between two runnings is ended by interruptions, and by who took away the reason to
 * go on (a map that drains, a detach) without an interruption:
 *
 *   pause                                      hurry
 *     begin the wait                             (the reason is taken away)
 *     lock; pause = its epoch; unlock            lock; epoch = pause; unlock
 *     does it go on? no: leave the wait          epoch: wake it
 *
 * If the left lock came first, the right one sees the wait; else the question, which comes
 * after it, sees what was taken away.
 */
#include "runtime/fiber/again.h"

#include <errno.h>

#include "runtime/fiber/run.h"
#include "runtime/platform/lock.h"

static struct fiber_extra *extra_of(struct fm_fiber *fiber)
{
    /* acquire: with its making */
    return atomic_load_explicit(&fiber->extra, memory_order_acquire);
}

/* relaxed: written before the fiber, or INTERRUPTER_ASK, was shown to anybody */
static enum again again_of(struct fiber_extra *extra)
{
    return extra ? atomic_load_explicit(&extra->again, memory_order_relaxed) : AGAIN_NO;
}

int fm__again_init(struct fm_fiber *fiber, enum again again)
{
    FM_ASSERT(again != AGAIN_NO);
    uint64_t nobody = 0;
    struct fiber_extra *extra = fm__fiber_extra(fiber);
    if (!extra)
        return -ENOMEM;
    atomic_store_explicit(&extra->again, (uint8_t)again, memory_order_relaxed);
    /* release: with the failing swap in fm__fiber_interrupt */
    if (!atomic_compare_exchange_strong_explicit(&fiber->interrupter, &nobody, INTERRUPTER_ASK,
                                                 memory_order_release, memory_order_relaxed)) {
        fm__lock(&extra->lock); /* a shutdown has found it already, and may do so again */
        extra->stopped = true;
        fm__unlock(&extra->lock);
    }
    return 0;
}

/* ---- interrupting ---- */

static void interrupt(struct fm_fiber *fiber, uint64_t record, bool final)
{
    struct fiber_extra *extra = extra_of(fiber);
    FM_ASSERT(extra);

    fm__lock(&extra->lock);
    /* relaxed: shown by the mark */
    if (atomic_load_explicit(&fiber->interrupter, memory_order_relaxed) == INTERRUPTER_ASK)
        atomic_store_explicit(&fiber->interrupter, record, memory_order_relaxed);
    if (final)
        extra->stopped = true;
    enum wake wake = fm__state_interrupt(&fiber->state);
    fm__unlock(&extra->lock);
    if (wake == WAKE_QUEUE)
        fm__wake_release(fiber);
}

int fm__again_interrupt(struct fm_fiber *fiber, uint64_t record)
{
    enum again again = again_of(extra_of(fiber));

    if (again != AGAIN_NO)
        interrupt(fiber, record,
                  again != AGAIN_UNLESS_OWNED || (record & INTERRUPTER_REASON) != FM_BY_USER);
    else if (fm__state_interrupt(&fiber->state) == WAKE_QUEUE)
        fm__wake_release(fiber);
    return 0;
}

void fm__again_end_running(struct fm_fiber *fiber, enum fm_reason reason)
{
    FM_ASSERT(reason != FM_BY_NOBODY);
    interrupt(fiber, fm__self_id() << 4 | (uint64_t)reason, false);
}

void fm__again_end(struct fm_fiber *fiber, enum fm_reason reason)
{
    FM_ASSERT(reason != FM_BY_NOBODY);
    interrupt(fiber, fm__self_id() << 4 | (uint64_t)reason, true);
}

bool fm__again_outlives(struct fm_fiber *fiber)
{
    struct fiber_extra *extra = extra_of(fiber);
    if (again_of(extra) == AGAIN_NO)
        return false;
    fm__lock(&extra->lock);
    bool outlives = !extra->stopped;
    fm__unlock(&extra->lock);
    return outlives;
}

/* ---- the fiber itself ---- */

struct fm_exit fm__again_run(struct fm_fiber *self, fm_entry_fn *entry, void *arg,
                             const void *note)
{
    struct fiber_extra *extra = extra_of(self);
    FM_ASSERT(extra && entry);

    extra->finalizer_failed = false;
    /* relaxed, both: for those who count */
    atomic_store_explicit(&extra->between, false, memory_order_relaxed);
    struct fm_exit exit = fm__body_run(self, entry, arg, note);
    self->mask_depth = 0; /* a mask that a drop forgets ends with the running */
    atomic_store_explicit(&extra->between, true, memory_order_relaxed);
    return exit;
}

bool fm__again_between(struct fm_fiber *fiber)
{
    struct fiber_extra *extra = extra_of(fiber);
    return extra && atomic_load_explicit(&extra->between, memory_order_relaxed);
}

static bool take_back(struct fm_fiber *self, unsigned counted)
{
    struct fiber_extra *extra = extra_of(self);
    FM_ASSERT(extra && counted <= 1);
    fm__lock(&extra->lock);
    bool stopped = extra->stopped;
    if (!stopped) {
        /* relaxed: interrupters take the lock */
        atomic_store_explicit(&self->interrupter, INTERRUPTER_ASK, memory_order_relaxed);
        fm__state_forgive(&self->state);
        /* relaxed: a number; written here alone */
        uint64_t count = atomic_load_explicit(&extra->again_count, memory_order_relaxed);
        atomic_store_explicit(&extra->again_count, count + counted, memory_order_relaxed);
    }
    fm__unlock(&extra->lock);
    return !stopped;
}

void fm__again_keep(struct fm_fiber *fiber, void *kept)
{
    FM_ASSERT(kept);
    extra_of(fiber)->kept = kept;
}

void *fm__again_kept(struct fm_fiber *fiber)
{
    struct fiber_extra *extra = extra_of(fiber);
    return extra ? extra->kept : NULL;
}

bool fm__again_forgive(struct fm_fiber *self)
{
    return take_back(self, 0);
}

bool fm__again_next(struct fm_fiber *self)
{
    return take_back(self, 1);
}

static void tell_pause(struct fiber_extra *extra, uint64_t epoch)
{
    FM_ASSERT(extra);
    fm__lock(&extra->lock);
    extra->pause = epoch;
    fm__unlock(&extra->lock);
}

int fm__again_pause(struct fm_fiber *self, int64_t until_ns, fm__again_ask_fn *goes_on)
{
    struct fiber_extra *extra = extra_of(self);
    FM_ASSERT(extra && goes_on);
    struct wait wait;

    int r = fm__wait_begin(&wait, 0, "restart");
    if (r < 0)
        return r;
    tell_pause(extra, wait.epoch);
    if (goes_on(self)) {
        r = fm__wake_result(fm__wait_end(wait, until_ns));
    } else {
        fm__wait_abort(wait);
        r = -EBADF;
    }
    tell_pause(extra, 0);
    return r == -ETIMEDOUT ? 0 : r;
}

/* ---- anybody ---- */

uint64_t fm__again_count(struct fm_fiber *fiber)
{
    struct fiber_extra *extra = extra_of(fiber);
    return extra ? atomic_load_explicit(&extra->again_count, memory_order_relaxed) : 0;
}

void fm__again_hurry(struct fm_fiber *fiber)
{
    struct fiber_extra *extra = extra_of(fiber);
    if (again_of(extra) == AGAIN_NO)
        return;
    fm__lock(&extra->lock);
    struct wait wait = { fiber, extra->pause };
    fm__unlock(&extra->lock);
    if (wait.epoch)
        fm__wake(wait, WAKE_CLOSED);
}
