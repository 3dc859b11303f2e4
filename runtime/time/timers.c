/*
 * timers.c - deadlines of fibers
 *
 * A fiber arms on the wheel of the worker that it runs on; a thread on wheel 0. Any worker
 * fires any wheel, so the timers of a busy worker, or of one that has gone, are not late.
 *
 * Owns        the wheels.
 * Order       a wheel is published with release (A) and found with acquire (B): A shows it
 *             whole.
 */
#include "runtime/time/timers.h"

#include <errno.h>
#include <stdlib.h>

#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/memory.h"
#include "runtime/time/clock.h"

#define BEHIND_NS INT64_C(5000000)

static struct fm_fiber *fiber_of(struct timer *timer)
{
    return (void *)((char *)timer - offsetof(struct fm_fiber, timer));
}

/* ---- the wheels ---- */

static struct wheel *wheel_at(struct timers *timers, uint32_t index)
{
    FM_ASSERT(index < WORKERS_MAX);
    /* acquire (B) */
    return atomic_load_explicit(&timers->wheels[index], memory_order_acquire);
}

/* NULL if there is no memory. */
static struct wheel *wheel_make(struct timers *timers, uint32_t index)
{
    FM_ASSERT(index < WORKERS_MAX);
    struct wheel *wheel = fm__zalloc_aligned(_Alignof(struct wheel), sizeof *wheel);
    struct wheel *other = NULL;
    if (!wheel)
        return NULL;
    fm__wheel_init(wheel, index, fm__clock_ns());
    /* release (A); acquire (B) of another's */
    if (!atomic_compare_exchange_strong_explicit(&timers->wheels[index], &other, wheel,
                                                 memory_order_acq_rel, memory_order_acquire)) {
        free(wheel);
        return other;
    }
    /* seq_cst: who arms here must find or be found by one that goes to sleep, see wheel.c */
    uint32_t end = atomic_load_explicit(&timers->wheel_end, memory_order_seq_cst);
    while (end <= index &&
           !atomic_compare_exchange_weak_explicit(&timers->wheel_end, &end, index + 1,
                                                  memory_order_seq_cst, memory_order_seq_cst))
        ;
    return wheel;
}

/* The wheel to arm on. A worker that has no memory for its own uses the first. */
static struct wheel *wheel_here(struct timers *timers)
{
    int index = fm__worker_index();
    FM_ASSERT(index < WORKERS_MAX);
    struct wheel *wheel = wheel_at(timers, index < 0 ? 0 : (uint32_t)index);
    if (!wheel)
        wheel = wheel_make(timers, (uint32_t)index);
    return wheel ? wheel : wheel_at(timers, 0);
}

int fm__timers_init(struct fm_runtime *runtime)
{
    FM_ASSERT(!runtime->timers);
    struct timers *timers = fm__calloc(1, sizeof *timers);
    if (!timers)
        return -ENOMEM;
    if (runtime->virtual_clock ? fm__clock_init(runtime) < 0 : !wheel_make(timers, 0)) {
        free(timers);
        return -ENOMEM;
    }
    runtime->timers = timers;
    return 0;
}

void fm__timers_fini(struct fm_runtime *runtime)
{
    struct timers *timers = runtime->timers;
    if (!timers)
        return;
    for (uint32_t i = 0; i < WORKERS_MAX; i++) {
        struct wheel *wheel = wheel_at(timers, i);
        FM_ASSERT(!wheel || fm__wheel_count(wheel) == 0);
        free(wheel);
    }
    free(timers);
    runtime->timers = NULL;
    fm__clock_fini(runtime);
}

/* ---- the hooks ---- */

void fm__timer_arm(struct fm_runtime *runtime, struct fm_fiber *fiber, uint64_t epoch,
                    int64_t deadline_ns)
{
    FM_ASSERT(runtime->timers);
    FM_ASSERT(epoch);
    struct timers *timers = runtime->timers;

    if (runtime->clock) {
        fm__clock_arm(runtime, fiber, epoch, deadline_ns);
        return;
    }
    struct wheel *wheel = wheel_here(timers);
    if (fm__wheel_arm(wheel, &fiber->timer, deadline_ns, epoch) && timers->moved)
        timers->moved(runtime, fm__wheel_next(wheel));
}

void fm__timer_disarm(struct fm_runtime *runtime, struct fm_fiber *fiber)
{
    if (runtime->clock) {
        fm__clock_disarm(runtime, fiber);
        return;
    }
    /* acquire: it fired, and nobody touches it any more; else only fire changes it, to that */
    uint32_t number = atomic_load_explicit(&fiber->timer.wheel, memory_order_acquire);
    if (number != TIMER_NOT_ARMED)
        fm__wheel_disarm(wheel_at(runtime->timers, number - 1), &fiber->timer);
}

int64_t fm__timer_next(struct fm_runtime *runtime)
{
    struct timers *timers = runtime->timers;
    int64_t next_ns = INT64_MAX;

    /* seq_cst: with the raise in wheel_make, as next_ns in wheel.c */
    uint32_t end = atomic_load_explicit(&timers->wheel_end, memory_order_seq_cst);
    for (uint32_t i = 0; i < end; i++) {
        struct wheel *wheel = wheel_at(timers, i);
        int64_t wheel_next_ns = wheel ? fm__wheel_next(wheel) : INT64_MAX;
        if (wheel_next_ns < next_ns)
            next_ns = wheel_next_ns;
    }
    return next_ns;
}

static void wake_due(void *context, const struct wheel_due *due, unsigned count)
{
    FM_ASSERT(count && count <= WHEEL_BATCH);
    unsigned *woke = context;

    struct fm_fiber *won[WHEEL_BATCH];
    unsigned won_count = 0;

    for (unsigned i = 0; i < count; i++)
        __builtin_prefetch(fiber_of(due[i].timer), 1);
    /*
     * The wait may be over and the fiber gone: the state word of a descriptor can be read for
     * ever.
     */
    for (unsigned i = 0; i < count; i++) {
        struct fm_fiber *fiber = fiber_of(due[i].timer);
        enum wake wake = fm__wake_win((struct wait){fiber, due[i].epoch}, WAKE_TIMEOUT);
        *woke += wake != WAKE_LOST;
        if (wake == WAKE_QUEUE)
            won[won_count++] = fiber;
    }
    /*
     * Those that are won stand still until they are released: what they need has left the
     * caches.
     */
    for (unsigned i = 0; i < won_count; i++)
        fm__task_fetch(&won[i]->task);
    for (unsigned i = 0; i < won_count; i++)
        fm__wake_release(won[i]);
}

/*
 * The wheel that is further behind than `own` by more than its worker's next look around takes:
 * that worker is busy or has gone. Else `own`. Where there is always more due than room, nobody
 * would come to it otherwise.
 */
static uint32_t most_behind(struct timers *timers, uint32_t own, uint32_t end)
{
    uint32_t most = own;
    struct wheel *wheel = wheel_at(timers, own);
    int64_t least_ns = wheel ? fm__wheel_next(wheel) : INT64_MAX;

    least_ns = least_ns > BEHIND_NS ? least_ns - BEHIND_NS : 0;
    for (uint32_t i = 0; i < end; i++) {
        wheel = wheel_at(timers, i);
        int64_t next_ns = wheel ? fm__wheel_next(wheel) : INT64_MAX;
        if (next_ns < least_ns) {
            least_ns = next_ns;
            most = i;
        }
    }
    return most;
}

unsigned fm__timer_fire(struct fm_runtime *runtime, int64_t now_ns)
{
    struct timers *timers = runtime->timers;
    int self = fm__worker_index();
    /*
     * What does not fit into the queue would be spilled, and newer ones overtake it: on the
     * wheel they keep their order.
     */
    unsigned woke = 0, room = fm__sched_room(&runtime->sched);

    /* relaxed: a wheel that is missed has been made just now */
    uint32_t end = atomic_load_explicit(&timers->wheel_end, memory_order_relaxed);
    uint32_t index = self >= 0 && (uint32_t)self < end ? (uint32_t)self : 0;
    uint32_t behind = most_behind(timers, index, end);
    if (behind != index)
        room -= fm__wheel_fire(wheel_at(timers, behind), now_ns, room, wake_due, &woke);
    for (uint32_t i = 0; i < end && room; i++) {
        struct wheel *wheel = wheel_at(timers, index);
        if (wheel)
            room -= fm__wheel_fire(wheel, now_ns, room, wake_due, &woke);
        index = index + 1 < end ? index + 1 : 0;
    }
    return woke;
}

void fm__timers_stats(struct fm_runtime *runtime, struct fm_runtime_stats *stats)
{
    struct timers *timers = runtime->timers;
    struct clock_control *clock = runtime->clock;
    uint64_t armed = 0, fired = 0, cancelled = 0;

    for (uint32_t i = 0; i < WORKERS_MAX; i++) {
        struct wheel *wheel = wheel_at(timers, i);
        if (!wheel)
            continue;
        fired += fm__counted(&wheel->fired);
        cancelled += fm__counted(&wheel->cancelled);
        armed += fm__counted(&wheel->armed);
    }
    if (clock) {
        fired += fm__counted(&clock->fired);
        cancelled += fm__counted(&clock->cancelled);
        armed += fm__counted(&clock->armed);
    }
    /*
     * The ends are read before the beginnings; clamped all the same, the reads have no order.
     */
    stats->timers_armed = armed > fired + cancelled ? armed - fired - cancelled : 0;
    stats->timers_fired = fired;
    stats->timers_cancelled = cancelled;
}
