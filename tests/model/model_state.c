/*
 * model_state.c - one wake ends a wait, and finds the fiber whole
 *
 * Protocol   runtime/fiber/state.h. Thread 0 is the fiber. It hands its epochs out through
 *            words of the scenario, as a wait list does under its lock. Its saved context is
 *            plain data, written when it leaves and read by whoever queues it; so is the value
 *            that a waker brings. Being queued is a word that the fiber waits for.
 */
#include "runtime/fiber/state.h"

#include "tests/model/model.h"

enum { WINS = 0, QUEUED = 8 }; /* notes, one for each epoch */

struct world {
    state_word state;
    _Atomic uint32_t handed[2]; /* the epoch of the first, second wait; 0: not yet */
    _Atomic uint32_t runnable;  /* the run queue */
    _Atomic uint32_t extra;     /* where those who await readiness stand: made by the first */
    _Atomic uint32_t told;      /* they are woken */
    uint64_t context;           /* saved when the fiber leaves: the epoch it waits in */
    uint64_t value;             /* what a waker brings */
    uint64_t interrupter;       /* on record before the mark is set */
    int exit;
};

static struct world *world_new(void)
{
    return model_calloc(1, sizeof(struct world));
}

/* Won, and the fiber has left: it must be whole, and nobody else queues it. */
static void queue(struct world *w, uint64_t epoch)
{
    model_assert(w->context == epoch);
    model_assert(model_note(QUEUED + (unsigned)epoch, 1) == 0);
    atomic_store_explicit(&w->runnable, 1, memory_order_release);
}

static void wake(struct world *w, uint64_t epoch, enum wake_reason reason)
{
    enum wake result = fm__state_wake(&w->state, epoch, reason);
    if (result == WAKE_LOST)
        return;
    model_assert(model_note(WINS + (unsigned)epoch, 1) == 0);
    if (result == WAKE_QUEUE)
        queue(w, epoch);
}

/* The fiber leaves its stack; back when it is queued again, or at once if it was woken. */
static enum wake_reason park(struct world *w, uint64_t epoch)
{
    w->context = epoch;
    if (fm__state_commit(&w->state)) {
        model_await(&w->runnable);
        /* relaxed: nobody queues a fiber that runs */
        atomic_store_explicit(&w->runnable, 0, memory_order_relaxed);
    }
    model_assert(fm__state_life(fm__state_read(&w->state)) == LIFE_ACTIVE);
    return fm__state_reason(&w->state);
}

static uint64_t begin(struct world *w, int wait, bool interruptible)
{
    uint64_t epoch = fm__state_wait_begin(&w->state, interruptible);
    if (epoch)
        atomic_store_explicit(&w->handed[wait], (uint32_t)epoch, memory_order_release);
    return epoch;
}

static uint64_t handed(struct world *w, int wait)
{
    return atomic_load_explicit(&w->handed[wait], memory_order_acquire);
}

/* --- wakers --------------------------------------------------------------------------- */

static void bring_value(void *arg)
{
    struct world *w = arg;
    uint64_t epoch = handed(w, 0);
    if (!epoch)
        return;
    w->value = 7;
    wake(w, epoch, WAKE_VALUE);
}

/* Waits until there is somebody to wake, so that the fiber can count on it. */
static void bring_value_surely(void *arg)
{
    struct world *w = arg;
    model_await(&w->handed[0]);
    bring_value(w);
}

static void bring_second_value_surely(void *arg)
{
    struct world *w = arg;
    model_await(&w->handed[1]);
    w->value = 8;
    wake(w, handed(w, 1), WAKE_VALUE);
}

static void time_out(void *arg)
{
    struct world *w = arg;
    uint64_t epoch = handed(w, 0);
    if (epoch)
        wake(w, epoch, WAKE_TIMEOUT);
}

static void time_out_surely(void *arg)
{
    struct world *w = arg;
    model_await(&w->handed[0]);
    time_out(w);
}

static void interrupt(void *arg)
{
    struct world *w = arg;
    w->interrupter = 5;
    if (fm__state_interrupt(&w->state) == WAKE_QUEUE)
        queue(w, fm__state_epoch(atomic_load_explicit(&w->state, memory_order_relaxed)));
}

/* --- scenarios ------------------------------------------------------------------------- */

/* Value and deadline race for the first wait; the late one must not touch the second. F5, F6, F22. */
static void two_wakers_two_waits(void)
{
    struct world *w = world_new();
    int a = model_spawn(bring_value, w);
    int b = model_spawn(time_out_surely, w);
    if (park(w, begin(w, 0, false)) == WAKE_VALUE)
        model_assert(w->value == 7);
    model_join(a);
    w->value = 0;
    int c = model_spawn(bring_second_value_surely, w);
    model_assert(park(w, begin(w, 1, false)) == WAKE_VALUE);
    model_assert(w->value == 8);
    model_join(b);
    model_join(c);
}

/* Ended by the interrupt, or by the value with the mark left for the next wait. F29. */
static void interrupt_meets_value(void)
{
    struct world *w = world_new();
    int a = model_spawn(interrupt, w);
    int b = model_spawn(bring_value_surely, w);
    uint64_t epoch = begin(w, 0, true);
    if (epoch) {
        enum wake_reason reason = park(w, epoch);
        if (reason == WAKE_VALUE)
            model_assert(w->value == 7);
        else
            model_assert(reason == WAKE_INTERRUPT && w->interrupter == 5);
    } else {
        model_assert(w->interrupter == 5);
        atomic_store_explicit(&w->handed[0], 99, memory_order_release); /* lets b go */
    }
    model_join(a);
    model_join(b);
    model_assert(!fm__state_wait_begin(&w->state, true));
}

/* Nobody else would wake it. */
static void interrupt_ends_a_wait(void)
{
    struct world *w = world_new();
    int a = model_spawn(interrupt, w);
    uint64_t epoch = begin(w, 0, true);
    model_assert(!epoch || park(w, epoch) == WAKE_INTERRUPT);
    model_assert(w->interrupter == 5);
    model_join(a);
}

/* Under a mask the value alone ends the wait; the mark stays. F30. */
static void masked_wait(void)
{
    struct world *w = world_new();
    int a = model_spawn(interrupt, w);
    int b = model_spawn(bring_value_surely, w);
    model_assert(park(w, begin(w, 0, false)) == WAKE_VALUE);
    model_assert(w->value == 7);
    model_join(a);
    model_join(b);
    model_assert(!fm__state_wait_begin(&w->state, true));
    model_assert(fm__state_wait_begin(&w->state, false));
}

/* The fiber changes its mind; a wake that came first is not lost, a later one finds nothing. */
static void abort_meets_wakers(void)
{
    struct world *w = world_new();
    int a = model_spawn(bring_value, w);
    int b = model_spawn(time_out, w);
    int c = model_spawn(interrupt, w);
    begin(w, 0, true);
    enum wake_reason reason;
    if (fm__state_wait_abort(&w->state, &reason)) {
        if (reason == WAKE_VALUE)
            model_assert(w->value == 7);
        if (reason == WAKE_INTERRUPT)
            model_assert(w->interrupter == 5);
    }
    model_assert(fm__state_life(fm__state_read(&w->state)) == LIFE_ACTIVE);
    model_join(a);
    model_join(b);
    model_join(c);
    for (unsigned i = 0; i < 4; i++)
        model_assert(model_note(QUEUED + i, 0) == 0);
    model_assert(!fm__state_wait_begin(&w->state, true));
}

/* Two interrupters; the fiber polls the mark, then ends; a poller reads the exit. */
static void poll_end(void *arg)
{
    struct world *w = arg;
    if (fm__state_life(fm__state_read(&w->state)) == LIFE_DONE)
        model_assert(w->exit == 42);
}

static void end_meets_interrupt(void)
{
    struct world *w = world_new();
    int a = model_spawn(interrupt, w);
    int b = model_spawn(poll_end, w);
    if (fm__state_read(&w->state) & STATE_INTERRUPT)
        model_assert(w->interrupter == 5);
    w->exit = 42;
    fm__state_end(&w->state);
    model_join(a);
    model_join(b);
    model_assert(fm__state_life(fm__state_read(&w->state)) == LIFE_DONE);
}

/* As in join.c: makes the extra, then looks whether there is anything to wait for. */
static void await_ready(void *arg)
{
    struct world *w = arg;
    atomic_store_explicit(&w->extra, 1, memory_order_seq_cst);
    if (fm__state_life(atomic_load_explicit(&w->state, memory_order_seq_cst)) != LIFE_DONE)
        model_await(&w->told);
}

/* Nobody waits for the readiness of a fiber that has ended. */
static void end_meets_await_ready(void)
{
    struct world *w = world_new();
    int a = model_spawn(await_ready, w);
    fm__state_end(&w->state);
    if (atomic_load_explicit(&w->extra, memory_order_seq_cst))
        atomic_store_explicit(&w->told, 1, memory_order_release);
    model_join(a);
}

/* The descriptor serves a second fiber; the deadline of the first one's wait comes late. F6. */
static void recycled_under_a_late_waker(void)
{
    struct world *w = world_new();
    int a = model_spawn(bring_value_surely, w);
    int b = model_spawn(time_out, w);
    park(w, begin(w, 0, false));
    model_join(a);
    fm__state_end(&w->state);
    fm__state_recycle(&w->state);
    w->value = 0;
    int c = model_spawn(bring_second_value_surely, w);
    model_assert(park(w, begin(w, 1, true)) == WAKE_VALUE);
    model_assert(w->value == 8);
    model_join(b);
    model_join(c);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(two_wakers_two_waits),        SCENARIO(interrupt_meets_value),
    SCENARIO(interrupt_ends_a_wait),       SCENARIO(masked_wait),
    SCENARIO(abort_meets_wakers),          SCENARIO(end_meets_interrupt),
    SCENARIO(end_meets_await_ready),       SCENARIO(recycled_under_a_late_waker),
    SCENARIO_END,
};
