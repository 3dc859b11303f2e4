/*
 * schedule.c - schedules are made, put together, and shared
 *
 * Owns        every part until its last reference is dropped; a part holds a reference to each
 *             of its own parts.
 * Knows not   time, runs (schedule_run.c).
 * Invariant   a schedule never changes once it is made, but for its count of references: so any
 *             number of runs may read it at once. depth, size and cells are those of the whole.
 */
#include "runtime/flow/schedule.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"

enum {
    DEPTH_MAX = 64, /* a step and the last unref recurse so deep, on a fiber's stack */
    SIZE_MAX_PARTS = 4096,
};

struct fm_schedule *fm_schedule_ref(struct fm_schedule *schedule)
{
    if (schedule)
        /* relaxed: the caller has a reference, which keeps everything in place */
        atomic_fetch_add_explicit(&schedule->refs, 1, memory_order_relaxed);
    return schedule;
}

struct fm_schedule *fm_schedule_unref(struct fm_schedule *schedule)
{
    if (!schedule)
        return NULL;
    /* acq_rel: all that others read of it happens before it is freed */
    uint32_t refs = atomic_fetch_sub_explicit(&schedule->refs, 1, memory_order_acq_rel);
    FM_BUG_IF(refs == 0, "a schedule's reference was dropped twice");
    if (refs == 1) {
        fm_schedule_unref(schedule->a);
        fm_schedule_unref(schedule->b);
        free(schedule);
    }
    return NULL;
}

/* ---- simple ones ---- */

/* A part without parts that remembers so many cells. NULL: no memory. */
static struct fm_schedule *simple(enum schedule_kind kind, uint32_t cells, size_t delay_count)
{
    struct fm_schedule *schedule = NULL;
    size_t bytes;

    if (!__builtin_mul_overflow(delay_count, sizeof schedule->delays[0], &bytes) &&
        !__builtin_add_overflow(bytes, sizeof *schedule, &bytes))
        schedule = fm__malloc(bytes);
    if (!schedule)
        return NULL;
    *schedule = (struct fm_schedule) {
        .refs = 1, .kind = kind, .depth = 1, .size = 1, .cells = cells
    };
    return schedule;
}

/* The same with its number, which may not be negative. */
static struct fm_schedule *with_number(enum schedule_kind kind, uint32_t cells, int64_t n)
{
    struct fm_schedule *schedule = n < 0 ? NULL : simple(kind, cells, 0);
    if (schedule)
        schedule->n = n;
    return schedule;
}

struct fm_schedule *fm_schedule_recurs(int64_t n)
{
    return with_number(SCHEDULE_RECURS, 1, n < 0 ? 0 : n);
}

struct fm_schedule *fm_schedule_once(void)
{
    return fm_schedule_recurs(1);
}

struct fm_schedule *fm_schedule_forever(void)
{
    return simple(SCHEDULE_FOREVER, 0, 0);
}

struct fm_schedule *fm_schedule_fixed_ns(int64_t interval_ns)
{
    return with_number(SCHEDULE_FIXED, 1, interval_ns);
}

struct fm_schedule *fm_schedule_spaced_ns(int64_t delay_ns)
{
    return with_number(SCHEDULE_SPACED, 0, delay_ns);
}

struct fm_schedule *fm_schedule_windowed_ns(int64_t interval_ns)
{
    return with_number(SCHEDULE_WINDOWED, 1, interval_ns);
}

struct fm_schedule *fm_schedule_exponential(int64_t base_ns, double factor)
{
    if (!(factor > 0 && factor <= DBL_MAX)) /* neither infinite nor no number at all */
        return NULL;
    struct fm_schedule *schedule = with_number(SCHEDULE_EXPONENTIAL, 1, base_ns);
    if (schedule)
        schedule->factor = factor;
    return schedule;
}

struct fm_schedule *fm_schedule_linear(int64_t base_ns)
{
    return with_number(SCHEDULE_LINEAR, 1, base_ns);
}

struct fm_schedule *fm_schedule_fibonacci(int64_t base_ns)
{
    return with_number(SCHEDULE_FIBONACCI, 1, base_ns);
}

struct fm_schedule *fm_schedule_delays(const int64_t delays_ns[], size_t count)
{
    if (count && !delays_ns)
        return NULL;
    for (size_t i = 0; i < count; i++)
        if (delays_ns[i] < 0)
            return NULL;
    struct fm_schedule *schedule = simple(SCHEDULE_DELAYS, 1, count);
    if (schedule) {
        schedule->n = (int64_t)count;
        if (count)
            memcpy(schedule->delays, delays_ns, count * sizeof delays_ns[0]);
    }
    return schedule;
}

/* ---- combinators ---- */

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* A part over a, and over b if it is one of two. Releases them where it cannot be made. */
static struct fm_schedule *over(enum schedule_kind kind, uint32_t own_cells, bool two,
                                struct fm_schedule *a, struct fm_schedule *b)
{
    struct fm_schedule *schedule = NULL;
    bool fits = a && (b || !two) && a->depth < DEPTH_MAX && (!b || b->depth < DEPTH_MAX) &&
                a->size + (b ? b->size : 0) < SIZE_MAX_PARTS;

    if (fits)
        schedule = simple(kind, own_cells, 0);
    if (!schedule) {
        fm_schedule_unref(a);
        fm_schedule_unref(b);
        return NULL;
    }
    schedule->a = a;
    FM_ASSERT(schedule->a);
    schedule->b = b;
    schedule->depth += larger(a->depth, b ? b->depth : 0);
    schedule->size += a->size + (b ? b->size : 0);
    FM_ASSERT(schedule->depth <= DEPTH_MAX && schedule->size <= SIZE_MAX_PARTS);
    schedule->cells += kind == SCHEDULE_AND_THEN ? larger(a->cells, b->cells)
                                                 : a->cells + (b ? b->cells : 0);
    return schedule;
}

/* The same over one, with a number that may not be negative. */
static struct fm_schedule *over_with(enum schedule_kind kind, uint32_t own_cells,
                                     struct fm_schedule *a, int64_t n)
{
    if (n < 0)
        return fm_schedule_unref(a);
    struct fm_schedule *schedule = over(kind, own_cells, false, a, NULL);
    if (schedule)
        schedule->n = n;
    return schedule;
}

struct fm_schedule *fm_schedule_intersect(struct fm_schedule *a, struct fm_schedule *b)
{
    return over(SCHEDULE_INTERSECT, 0, true, a, b);
}

struct fm_schedule *fm_schedule_union(struct fm_schedule *a, struct fm_schedule *b)
{
    return over(SCHEDULE_UNION, 0, true, a, b);
}

struct fm_schedule *fm_schedule_compose(struct fm_schedule *a, struct fm_schedule *b)
{
    return over(SCHEDULE_COMPOSE, 0, true, a, b);
}

struct fm_schedule *fm_schedule_and_then(struct fm_schedule *a, struct fm_schedule *b)
{
    return over(SCHEDULE_AND_THEN, 1, true, a, b);
}

struct fm_schedule *fm_schedule_jittered(struct fm_schedule *schedule)
{
    return over(SCHEDULE_JITTERED, 0, false, schedule, NULL);
}

struct fm_schedule *fm_schedule_up_to_ns(struct fm_schedule *schedule, int64_t limit_ns)
{
    return over_with(SCHEDULE_UP_TO, 1, schedule, limit_ns);
}

struct fm_schedule *fm_schedule_cap_ns(struct fm_schedule *schedule, int64_t max_delay_ns)
{
    return over_with(SCHEDULE_CAP, 0, schedule, max_delay_ns);
}

struct fm_schedule *fm_schedule_reset_after_ns(struct fm_schedule *schedule, int64_t healthy_ns)
{
    return over_with(SCHEDULE_RESET_AFTER, 0, schedule, healthy_ns);
}

static struct fm_schedule *asking(enum schedule_kind kind, struct fm_schedule *schedule,
                                  fm_schedule_pred_fn *pred, void *ctx)
{
    if (!pred)
        return fm_schedule_unref(schedule);
    schedule = over(kind, 0, false, schedule, NULL);
    if (schedule) {
        schedule->pred = pred;
        FM_ASSERT(schedule->pred);
        schedule->ctx = ctx;
    }
    return schedule;
}

struct fm_schedule *fm_schedule_while(struct fm_schedule *schedule, fm_schedule_pred_fn *pred,
                                      void *ctx)
{
    return asking(SCHEDULE_WHILE, schedule, pred, ctx);
}

struct fm_schedule *fm_schedule_until(struct fm_schedule *schedule, fm_schedule_pred_fn *pred,
                                      void *ctx)
{
    return asking(SCHEDULE_UNTIL, schedule, pred, ctx);
}

struct fm_schedule *fm_schedule_on_decision(struct fm_schedule *schedule,
                                            fm_schedule_decision_fn *fn, void *ctx)
{
    if (!fn)
        return fm_schedule_unref(schedule);
    schedule = over(SCHEDULE_ON_DECISION, 0, false, schedule, NULL);
    if (schedule) {
        schedule->decision = fn;
        schedule->ctx = ctx;
    }
    return schedule;
}
