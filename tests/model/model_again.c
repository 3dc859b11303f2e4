/*
 * model_again.c - an interruption that is final stops the runnings, one that is not is seen
 * whole or not at all, and nobody waits between two runnings for what has been taken away
 *
 * Protocol   runtime/fiber/again.c over the state word. The swap that leads there, which stands
 *            in wait.c, is written out below.
 */
#include <errno.h>

#include "runtime/fiber/again.h"
#include "runtime/fiber/run.h"
#include "tests/model/model.h"

enum { RUNNINGS = 3 };

struct world {
    struct fm_fiber *fiber;
    enum again again;
    _Atomic uint32_t born, over;
    _Atomic bool wanted;
};

enum { FROZEN_AT = 1 }; /* notes: the count when a final interruption returned, and 1 */

struct fiber_extra *fm__fiber_extra(struct fm_fiber *fiber)
{
    struct fiber_extra *extra = model_calloc(1, sizeof *extra);
    fm__lock_init(&extra->lock, LOCK_SYNC);
    atomic_store_explicit(&fiber->extra, extra, memory_order_release);
    return extra;
}

/* Runnings are the scenario's own. */
struct fm_exit fm__body_run(struct fm_fiber *fiber, fm_entry_fn *entry, void *arg,
                            const void *note)
{
    (void)fiber, (void)note;
    return entry(arg);
}

int fm__fiber_interrupt(struct fm_fiber *fiber, enum fm_reason reason)
{
    uint64_t nobody = 0, me = fm__self_id() << 4 | (uint64_t)reason;
    if (!atomic_compare_exchange_strong_explicit(&fiber->interrupter, &nobody, me,
                                                 memory_order_acq_rel, memory_order_acquire))
        return fm__again_interrupt(fiber, me);
    if (fm__state_interrupt(&fiber->state) == WAKE_QUEUE)
        fm__wake_release(fiber);
    return 0;
}

static uint64_t record_of(struct fm_fiber *fiber)
{
    return atomic_load_explicit(&fiber->interrupter, memory_order_relaxed);
}

static bool is_marked(struct fm_fiber *fiber)
{
    return fm__state_read(&fiber->state) & STATE_INTERRUPT;
}

/* ---- who interrupts ---- */

static void interrupt_for_good(void *arg)
{
    struct world *w = arg;
    fm__fiber_interrupt(w->fiber, FM_BY_CLOSE);
    model_note(FROZEN_AT, (int)fm__again_count(w->fiber) + 1);
}

static void interrupt_one_running(void *arg)
{
    struct world *w = arg;
    fm__fiber_interrupt(w->fiber, FM_BY_USER);
}

static void end_one_running(void *arg)
{
    struct world *w = arg;
    fm__again_end_running(w->fiber, FM_BY_GROUP);
}

static void take_away(void *arg)
{
    struct world *w = arg;
    atomic_store_explicit(&w->wanted, false, memory_order_relaxed);
    fm__again_hurry(w->fiber);
}

/* ---- the fiber ---- */

static void begin(struct world *w)
{
    w->fiber = fm__fiber_self();
    w->fiber->owner.words[0] = w;
    model_assert(fm__again_init(w->fiber, w->again) == 0);
    atomic_store_explicit(&w->born, 1, memory_order_release);
}

/* A mark comes with who has set it. */
static struct fm_exit look(void *arg)
{
    struct fm_fiber *self = arg;
    if (is_marked(self))
        model_assert(record_of(self) != INTERRUPTER_ASK);
    return fm_ok(NULL);
}

/* False: no running may follow; then it is interrupted, and the record says by whom. */
static bool run_once(struct fm_fiber *self)
{
    fm__again_run(self, look, self, NULL);
    if (fm__again_next(self))
        return true;
    model_assert(is_marked(self) && record_of(self) != INTERRUPTER_ASK);
    return false;
}

static void run_again_and_again(void *arg)
{
    struct world *w = arg;
    begin(w);
    for (int i = 0; i < RUNNINGS && run_once(w->fiber); i++)
        ;
}

static bool is_wanted(struct fm_fiber *self)
{
    struct world *w = self->owner.words[0];
    return atomic_load_explicit(&w->wanted, memory_order_relaxed);
}

/* Between two runnings for ever, but for what others do. */
static void run_and_pause(void *arg)
{
    struct world *w = arg;
    begin(w);
    fm__again_run(w->fiber, look, w->fiber, NULL);
    int r = fm__again_pause(w->fiber, FM_NEVER, is_wanted);
    model_assert(r == -ECANCELED || (r == -EBADF && !is_wanted(w->fiber)));
}

/* ---- scenarios ---- */

static struct world *together(enum again again, void (*fiber)(void *), void (*a)(void *),
                              void (*b)(void *))
{
    struct world *w = model_calloc(1, sizeof *w);
    w->again = again;
    atomic_init(&w->wanted, true);
    int tf = model_spawn(fiber, w);
    model_await(&w->born);
    int ta = model_spawn(a, w), tb = b ? model_spawn(b, w) : 0;
    model_join(tf);
    model_join(ta);
    if (b)
        model_join(tb);
    return w;
}

/* Nothing that came after the interruption for good has come back was counted. */
static void check_frozen(struct world *w)
{
    model_assert(model_note(FROZEN_AT, 0) == (int)fm__again_count(w->fiber) + 1);
    model_assert(!fm__again_outlives(w->fiber) && !fm__again_next(w->fiber));
    model_assert(is_marked(w->fiber) && record_of(w->fiber) != INTERRUPTER_ASK);
}

static void final_one_freezes_the_count(void)
{
    check_frozen(together(AGAIN_UNLESS_OWNED, run_again_and_again, interrupt_for_good, NULL));
}

static void final_one_is_not_lost_with_another(void)
{
    check_frozen(together(AGAIN_UNLESS_OWNED, run_again_and_again, interrupt_for_good,
                          interrupt_one_running));
}

/* Whatever its interruptions mean else. */
static void ending_one_running_freezes_nothing(void)
{
    struct world *w = together(AGAIN_UNLESS_INTERRUPTED, run_again_and_again, end_one_running,
                               NULL);
    model_assert(is_marked(w->fiber) == (record_of(w->fiber) != INTERRUPTER_ASK));
    model_assert(fm__again_count(w->fiber) == RUNNINGS);
}

static void final_one_is_not_lost_with_an_end_of_one_running(void)
{
    check_frozen(together(AGAIN_UNLESS_INTERRUPTED, run_again_and_again, interrupt_for_good,
                          end_one_running));
}

static void two_end_one_running_each(void)
{
    struct world *w = together(AGAIN_UNLESS_OWNED, run_again_and_again, interrupt_one_running,
                               interrupt_one_running);
    model_assert(is_marked(w->fiber) == (record_of(w->fiber) != INTERRUPTER_ASK));
    model_assert(fm__again_count(w->fiber) == RUNNINGS);
}

static void pause_ends_with_an_interruption(void)
{
    check_frozen(together(AGAIN_UNLESS_INTERRUPTED, run_and_pause, interrupt_for_good, NULL));
}

static void pause_ends_with_its_reason(void)
{
    together(AGAIN_UNLESS_OWNED, run_and_pause, take_away, NULL);
}

static void pause_ends_with_either(void)
{
    check_frozen(together(AGAIN_UNLESS_OWNED, run_and_pause, take_away, interrupt_for_good));
}

/* ---- a shutdown finds it before it knows that it may run again ---- */

static void is_found_early(void *arg)
{
    struct world *w = arg;
    w->fiber = fm__fiber_self();
    atomic_store_explicit(&w->born, 1, memory_order_release);
    model_assert(fm__again_init(w->fiber, AGAIN_UNLESS_OWNED) == 0);
    model_await(&w->over);
    model_assert(!fm__again_outlives(w->fiber) && !fm__again_next(w->fiber));
}

static void shut_down(void *arg)
{
    struct world *w = arg;
    fm__fiber_interrupt(w->fiber, FM_BY_SHUTDOWN);
    atomic_store_explicit(&w->over, 1, memory_order_release);
}

static void shutdown_meets_the_making(void)
{
    together(AGAIN_UNLESS_OWNED, is_found_early, shut_down, NULL);
}

static void two_shutdowns_meet_the_making(void)
{
    together(AGAIN_UNLESS_OWNED, is_found_early, shut_down, shut_down);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(final_one_freezes_the_count),
    SCENARIO(final_one_is_not_lost_with_another, .less = 1),
    SCENARIO(ending_one_running_freezes_nothing),
    SCENARIO(final_one_is_not_lost_with_an_end_of_one_running, .less = 1),
    SCENARIO(two_end_one_running_each, .less = 1),
    SCENARIO(pause_ends_with_an_interruption),
    SCENARIO(pause_ends_with_its_reason),
    SCENARIO(pause_ends_with_either, .less = 1),
    SCENARIO(shutdown_meets_the_making),
    SCENARIO(two_shutdowns_meet_the_making),
    SCENARIO_END,
};
