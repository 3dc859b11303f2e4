/*
 * schedule_run.c - one walk through a schedule
 *
 * Owns        the run's cells: in the run itself, or, of a large schedule, on the heap.
 * Knows not   what is executed, and who waits.
 * Invariant   a part that has ended and is asked again (under a union) says the same again,
 *             unless it was made to depend on the exit or to begin anew.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/fiber/runtime.h"
#include "runtime/flow/schedule.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/memory.h"

#define CELLS_IN_RUN \
    (sizeof((struct fm_schedule_run *)0)->few_ / sizeof(struct fm_schedule_cell))
#define STOPS FM_SCHEDULE_STOPS

/* ---- random numbers ---- */

/* One step of a sequence that runs through all 2^64 states, and a hash of where it stands. */
static uint64_t draw(uint64_t *state)
{
    FM_ASSERT(state);
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/*
 * Where a run's random numbers begin: each run elsewhere. Asked when the first is drawn, which
 * for a fiber that the map runs again is in that fiber, whoever made it.
 */
static uint64_t first_state(const struct fm_schedule_run *run)
{
    static _Atomic uint64_t of_threads;
    struct fm_fiber *self = fm__fiber_self();
    uint64_t state, which;

    /* relaxed, both: only that no two get the same */
    if (self) {
        state = self->runtime->config.seed;
        which = atomic_fetch_add_explicit(&self->runtime->random_runs, 1, memory_order_relaxed);
    } else {
        state = (uint64_t)fm__clock_ns() ^ (uintptr_t)run;
        which = atomic_fetch_add_explicit(&of_threads, 1, memory_order_relaxed);
    }
    state = draw(&state) + which;
    return draw(&state);
}

/* ---- delays ---- */

static int64_t rounded(double delay)
{
    FM_ASSERT(delay >= 0);
    return delay < 0x1p63 ? (int64_t)(delay + 0.5) : INT64_MAX;
}

/* How many of `count` delays have been given: the number of the next one, or STOPS. */
static int64_t next_of(int64_t count, struct fm_schedule_cell *cell)
{
    FM_ASSERT(cell->n >= 0 && cell->n <= count);
    return cell->n < count ? cell->n++ : STOPS;
}

/* ns is the time of the grid that was answered last, for which it may be too early to ask. */
static int64_t fixed(int64_t interval_ns, struct fm_schedule_cell *cell, int64_t now)
{
    FM_ASSERT(interval_ns >= 0);
    if (interval_ns == 0)
        return 0;
    if (!cell->n) {
        cell->n = 1;
        cell->ns = now;
    }
    int64_t next = fm__time_add(cell->ns, interval_ns);
    if (now >= next) { /* at once, in place of the last that is due */
        cell->ns = now - (now - next) % interval_ns;
        return 0;
    }
    if (now >= cell->ns)
        cell->ns = next;
    return cell->ns - now;
}

static int64_t windowed(int64_t interval_ns, struct fm_schedule_cell *cell, int64_t now)
{
    FM_ASSERT(interval_ns >= 0);
    if (interval_ns == 0)
        return 0;
    if (!cell->n) {
        cell->n = 1;
        cell->ns = now;
    }
    return interval_ns - (now - cell->ns) % interval_ns;
}

static int64_t exponential(const struct fm_schedule *part, struct fm_schedule_cell *cell)
{
    FM_ASSERT(part->factor > 0);
    if (!cell->n) {
        cell->n = 1;
        cell->delay = (double)part->n;
        return part->n;
    }
    cell->delay *= part->factor;
    return rounded(cell->delay);
}

static int64_t linear(int64_t base_ns, struct fm_schedule_cell *cell)
{
    FM_ASSERT(base_ns >= 0);
    cell->ns = fm__time_add(cell->ns, base_ns);
    return cell->ns;
}

/* ns is the last delay and n the one before it. */
static int64_t fibonacci(int64_t base_ns, struct fm_schedule_cell *cell)
{
    FM_ASSERT(base_ns >= 0);
    int64_t delay = cell->ns ? fm__time_add(cell->ns, cell->n) : base_ns;
    cell->n = cell->ns;
    cell->ns = delay;
    return delay;
}

/* One of the whole numbers from 0.8 * delay up to but not including 1.2 * delay. */
static int64_t jittered(int64_t delay, struct fm_schedule_run *run)
{
    FM_ASSERT(delay >= 0);
    if (delay == INT64_MAX)
        return delay;
    if (!run->seeded_) {
        run->random_ = first_state(run);
        run->seeded_ = true;
    }
    uint64_t d = (uint64_t)delay, low = d - d / 5, width = d + (d + 4) / 5 - low;
    __extension__ typedef unsigned __int128 product;
    uint64_t value = low + (uint64_t)((product)draw(&run->random_) * width >> 64);
    return value > INT64_MAX ? INT64_MAX : (int64_t)value;
}

/* ---- a step ---- */

struct step {
    struct fm_schedule_run *run;
    int64_t now;
    struct fm_exit exit;
};

/* What both of two say: the longer delay, if both go on. */
static int64_t both(int64_t a, int64_t b)
{
    return a < 0 || b < 0 ? STOPS : a > b ? a : b;
}

static int64_t either(int64_t a, int64_t b)
{
    return a < 0 ? b : b < 0 ? a : a < b ? a : b;
}

static int64_t ask(const struct step *step, const struct fm_schedule *part,
                   struct fm_schedule_cell *cell);

static int64_t and_then(const struct step *step, const struct fm_schedule *part,
                        struct fm_schedule_cell *cell)
{
    FM_ASSERT(part->a && part->b);
    if (!cell->n) {
        int64_t delay = ask(step, part->a, cell + 1);
        if (delay >= 0)
            return delay;
        cell->n = 1;
        memset(cell + 1, 0, part->b->cells * sizeof *cell);
    }
    return ask(step, part->b, cell + 1);
}

static int64_t up_to(const struct step *step, const struct fm_schedule *part,
                     struct fm_schedule_cell *cell)
{
    FM_ASSERT(part->a);
    if (!cell->n) {
        cell->n = 1;
        cell->ns = step->now;
    }
    int64_t delay = ask(step, part->a, cell + 1);
    return step->now - cell->ns < part->n ? delay : STOPS;
}

static int64_t reset_after(const struct step *step, const struct fm_schedule *part,
                           struct fm_schedule_cell *cell)
{
    FM_ASSERT(part->a);
    const struct fm_schedule_info *last = &step->run->info;
    if (step->run->begun_ && step->now - fm__time_add(last->step_ns, last->delay_ns) >= part->n)
        memset(cell, 0, part->cells * sizeof *cell);
    return ask(step, part->a, cell);
}

/* What the part says: a delay, or STOPS. `cell` is its first. */
static int64_t ask(const struct step *step, const struct fm_schedule *part,
                   struct fm_schedule_cell *cell)
{
    FM_ASSERT(part && step->run);
    int64_t delay;

    switch (part->kind) {
    case SCHEDULE_RECURS: return next_of(part->n, cell) < 0 ? STOPS : 0;
    case SCHEDULE_FOREVER: return 0;
    case SCHEDULE_FIXED: return fixed(part->n, cell, step->now);
    case SCHEDULE_SPACED: return part->n;
    case SCHEDULE_WINDOWED: return windowed(part->n, cell, step->now);
    case SCHEDULE_EXPONENTIAL: return exponential(part, cell);
    case SCHEDULE_LINEAR: return linear(part->n, cell);
    case SCHEDULE_FIBONACCI: return fibonacci(part->n, cell);
    case SCHEDULE_DELAYS:
        delay = next_of(part->n, cell);
        return delay < 0 ? STOPS : part->delays[delay];
    case SCHEDULE_INTERSECT:
        delay = ask(step, part->a, cell);
        return both(delay, ask(step, part->b, cell + part->a->cells));
    case SCHEDULE_UNION:
        delay = ask(step, part->a, cell);
        return either(delay, ask(step, part->b, cell + part->a->cells));
    case SCHEDULE_COMPOSE:
        delay = ask(step, part->a, cell);
        return delay < 0 ? STOPS : both(delay, ask(step, part->b, cell + part->a->cells));
    case SCHEDULE_AND_THEN: return and_then(step, part, cell);
    case SCHEDULE_JITTERED:
        delay = ask(step, part->a, cell);
        return delay < 0 ? STOPS : jittered(delay, step->run);
    case SCHEDULE_UP_TO: return up_to(step, part, cell);
    case SCHEDULE_CAP:
        delay = ask(step, part->a, cell);
        return delay < part->n ? delay : part->n;
    case SCHEDULE_RESET_AFTER: return reset_after(step, part, cell);
    case SCHEDULE_WHILE:
    case SCHEDULE_UNTIL:
        delay = ask(step, part->a, cell);
        if (delay >= 0 && part->pred(part->ctx, step->exit) != (part->kind == SCHEDULE_WHILE))
            return STOPS;
        return delay;
    case SCHEDULE_ON_DECISION:
        delay = ask(step, part->a, cell);
        part->decision(part->ctx, step->exit, delay);
        return delay;
    }
    return STOPS;
}

/* ---- public ---- */

int fm_schedule_run_init(struct fm_schedule_run *run, struct fm_schedule *schedule)
{
    if (!run || !schedule)
        return -EINVAL;
    struct fm_schedule_cell *more = NULL;
    if (schedule->cells > CELLS_IN_RUN) {
        more = fm__calloc(schedule->cells, sizeof *more);
        if (!more)
            return -ENOMEM;
    }
    *run = (struct fm_schedule_run) { .schedule_ = fm_schedule_ref(schedule), .more_ = more };
    return 0;
}

void fm_schedule_run_fini(struct fm_schedule_run *run)
{
    if (run) {
        free(run->more_);
        run->more_ = NULL;
        run->schedule_ = fm_schedule_unref(run->schedule_);
    }
}

int fm_schedule_run_seed(struct fm_schedule_run *run, uint64_t seed)
{
    if (!run || !run->schedule_)
        return -EINVAL;
    run->random_ = seed;
    run->seeded_ = true;
    return 0;
}

int fm_schedule_next_at(struct fm_schedule_run *run, int64_t now_ns, struct fm_exit exit,
                        int64_t *ret_delay_ns)
{
    if (!run || !run->schedule_ || now_ns < 0)
        return -EINVAL;
    if (run->over_)
        return FM_SCHEDULE_DONE;
    struct fm_schedule_info *info = &run->info;
    struct step step = { .run = run,
                         .now = now_ns < info->step_ns ? info->step_ns : now_ns,
                         .exit = exit };
    int64_t delay = ask(&step, run->schedule_, run->more_ ? run->more_ : run->few_);

    if (!run->begun_) {
        run->begun_ = true;
        info->start_ns = info->step_ns = step.now;
    }
    info->since_previous_ns = step.now - info->step_ns;
    info->step_ns = step.now;
    info->elapsed_ns = step.now - info->start_ns;
    info->input = exit;
    run->over_ = delay < 0;
    info->delay_ns = run->over_ ? 0 : delay;
    if (run->over_)
        return FM_SCHEDULE_DONE;
    info->recurrence++;
    if (ret_delay_ns)
        *ret_delay_ns = delay;
    return 0;
}

int fm_schedule_next(struct fm_schedule_run *run, struct fm_exit exit, int64_t *ret_delay_ns)
{
    return fm_schedule_next_at(run, fm_now_ns(), exit, ret_delay_ns);
}
