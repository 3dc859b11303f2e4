/*
 * clock.c - the virtual clock: requests, served one step each time that all is quiet
 *
 *     requester                                  the last worker to go idle
 *       wait_begin                                 first request, if any:
 *       append the request, with its wait            a timer not past the target: now = its
 *       kick, if not a fiber of this runtime           deadline, take it out, wake its waiter
 *       wait_end                                     else: now = target, take the request
 *       woken otherwise: withdraw                      out, wake the requester
 *
 * One step wakes one waiter. What that one does, new sleeps included, is done before the next
 * step, so each wakes at its own time, and those of one time in the order in which they armed.
 *
 * Owns        the heap, the requests while they are listed, virtual_now_ns.
 * Knows not   how idleness is found out.
 * Invariant   no timer in the heap is due at virtual_now_ns; virtual_now_ns never falls.
 * Order       A request lives on its requester's stack. It is taken off the list under the lock
 *             and written for the last time before the wake, whose release the requester
 *             acquires; or the requester, woken by something else, takes it off under the lock.
 */
#include "runtime/time/clock.h"

#include <errno.h>
#include <stdlib.h>

#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/memory.h"

enum request_kind { REQUEST_ADVANCE, REQUEST_SET, REQUEST_NEXT };

struct clock_request {
    struct clock_request *next;
    struct wait wait;
    int64_t time_ns; /* ADVANCE: how far · SET: up to when · NEXT: the answer */
    int result;
    uint8_t kind; /* enum request_kind */
    bool begun;   /* time_ns of an ADVANCE is absolute now */
    bool listed;
};

int fm__clock_init(struct fm_runtime *runtime)
{
    FM_ASSERT(!runtime->clock);
    struct clock_control *clock = fm__calloc(1, sizeof *clock);
    if (!clock)
        return -ENOMEM;
    fm__lock_init(&clock->lock, LOCK_TIMERS);
    clock->tail = &clock->first;
    runtime->clock = clock;
    return 0;
}

void fm__clock_fini(struct fm_runtime *runtime)
{
    struct clock_control *clock = runtime->clock;
    FM_ASSERT(!clock || (!clock->first && !fm__heap_first(&clock->heap)));
    free(clock);
    runtime->clock = NULL;
}

/* ---- timers ---- */

static int64_t now_ns(struct fm_runtime *runtime)
{
    /* relaxed: written under the lock; without it, a recent value is as good */
    return atomic_load_explicit(&runtime->virtual_now_ns, memory_order_relaxed);
}

void fm__clock_arm(struct fm_runtime *runtime, struct fm_fiber *fiber, uint64_t epoch,
                   int64_t deadline_ns)
{
    FM_ASSERT(runtime->virtual_clock);
    FM_ASSERT(runtime->clock && epoch);
    struct clock_control *clock = runtime->clock;
    struct timer *timer = &fiber->timer;

    if (deadline_ns == FM_NEVER)
        return;
    fm__lock(&clock->lock);
    bool due = deadline_ns <= now_ns(runtime);
    if (!due) {
        timer->deadline_ns = deadline_ns;
        timer->epoch = epoch;
        fm__heap_push(&clock->heap, timer);
        /* relaxed: read under the lock, and by disarm, which who armed calls */
        atomic_store_explicit(&timer->wheel, TIMER_IN_HEAP, memory_order_relaxed);
    }
    fm__count(&clock->armed, 1);
    fm__count(&clock->fired, due);
    fm__unlock(&clock->lock);
    if (due)
        fm__wake((struct wait){fiber, epoch}, WAKE_TIMEOUT);
}

static void timer_remove_locked(struct clock_control *clock, struct timer *timer)
{
    FM_ASSERT(fm__lock_held(&clock->lock));
    fm__heap_remove(&clock->heap, timer);
    /* release: the last access; pairs with the acquire in disarm */
    atomic_store_explicit(&timer->wheel, TIMER_NOT_ARMED, memory_order_release);
}

void fm__clock_disarm(struct fm_runtime *runtime, struct fm_fiber *fiber)
{
    FM_ASSERT(runtime->clock);
    struct clock_control *clock = runtime->clock;
    struct timer *timer = &fiber->timer;

    /* acquire: it fired, and nobody touches it any more */
    if (atomic_load_explicit(&timer->wheel, memory_order_acquire) == TIMER_NOT_ARMED)
        return;
    fm__lock(&clock->lock);
    /* relaxed: the lock orders */
    if (atomic_load_explicit(&timer->wheel, memory_order_relaxed) != TIMER_NOT_ARMED) {
        timer_remove_locked(clock, timer);
        fm__count(&clock->cancelled, 1);
    }
    fm__unlock(&clock->lock);
}

/* ---- steps ---- */

static void set_now_locked(struct fm_runtime *runtime, int64_t time_ns)
{
    FM_ASSERT(fm__lock_held(&runtime->clock->lock));
    FM_ASSERT(time_ns >= 0);
    /* release: who reads the new time sees what was done before it; never falls */
    if (time_ns > now_ns(runtime))
        atomic_store_explicit(&runtime->virtual_now_ns, time_ns, memory_order_release);
}

/* Step to the first timer that is not after target_ns and take it out. False: there is none. */
static bool step_locked(struct fm_runtime *runtime, int64_t target_ns, struct wait *ret_wait)
{
    FM_ASSERT(fm__lock_held(&runtime->clock->lock));
    struct clock_control *clock = runtime->clock;
    struct timer *timer = fm__heap_first(&clock->heap);

    if (!timer || timer->deadline_ns > target_ns)
        return false;
    struct fm_fiber *fiber = (void *)((char *)timer - offsetof(struct fm_fiber, timer));
    *ret_wait = (struct wait){fiber, timer->epoch};
    set_now_locked(runtime, timer->deadline_ns);
    timer_remove_locked(clock, timer);
    fm__count(&clock->fired, 1);
    return true;
}

/* The request at the head wants this. True: a waiter to wake; false: the request is done. */
static bool serve_locked(struct fm_runtime *runtime, struct clock_request *request,
                         struct wait *ret_wait)
{
    FM_ASSERT(fm__lock_held(&runtime->clock->lock) && request->listed);
    int64_t now = now_ns(runtime);
    struct timer *timer = fm__heap_first(&runtime->clock->heap);

    switch ((enum request_kind)request->kind) {
    case REQUEST_ADVANCE:
        if (!request->begun) {
            /* FM_NEVER is no time */
            request->time_ns = fm__time_add(now, request->time_ns);
            request->time_ns -= request->time_ns == FM_NEVER;
        }
        break;
    case REQUEST_SET:
        if (!request->begun && request->time_ns < now) {
            request->result = -EINVAL;
            return false;
        }
        break;
    case REQUEST_NEXT: request->time_ns = timer ? timer->deadline_ns : FM_NEVER; return false;
    }
    request->begun = true;
    if (step_locked(runtime, request->time_ns, ret_wait))
        return true;
    set_now_locked(runtime, request->time_ns);
    return false;
}

static void unlist_locked(struct clock_control *clock, struct clock_request *request)
{
    FM_ASSERT(fm__lock_held(&clock->lock) && request->listed);
    struct clock_request **link = &clock->first;
    while (*link != request)
        link = &(*link)->next;
    *link = request->next;
    if (!*link)
        clock->tail = link;
    request->listed = false;
    FM_ASSERT(!*clock->tail);
}

bool fm__clock_all_idle(struct fm_runtime *runtime)
{
    struct clock_control *clock = runtime->clock;
    enum wake_reason reason = WAKE_TIMEOUT;
    struct wait wait;

    if (!clock)
        return false;
    fm__lock(&clock->lock);
    struct clock_request *request = clock->first;
    /*
     * Since the caller was the last to sleep somebody may have been woken: then time stands
     * still until that one sleeps.
     */
    if (request && !fm__sched_at_rest(&runtime->sched)) {
        fm__unlock(&clock->lock);
        return false;
    }
    if (request && !serve_locked(runtime, request, &wait)) {
        reason = WAKE_VALUE;
        wait = request->wait;
        unlist_locked(clock, request);
    }
    fm__unlock(&clock->lock);
    if (!request)
        return false;
    /* lost to an interruption: then that one has made work */
    fm__wake(wait, reason);
    return true;
}

/* ---- requests ---- */

static int request_run(struct fm_runtime *runtime, struct clock_request *request)
{
    FM_ASSERT(runtime->clock && !request->listed);
    struct clock_control *clock = runtime->clock;
    struct fm_fiber *self = fm__fiber_self();

    int r = fm__wait_begin(&request->wait, 0, "virtual clock");
    if (r < 0)
        return r;
    struct wait wait = request->wait;
    fm__lock(&clock->lock);
    request->next = NULL;
    request->listed = true;
    *clock->tail = request;
    clock->tail = &request->next;
    FM_ASSERT(clock->first);
    fm__unlock(&clock->lock);

    /*
     * A fiber's own worker goes idle when the fiber has parked; all of them may be idle
     * already.
     */
    if ((!self || self->runtime != runtime) && clock->kick)
        clock->kick(runtime);
    enum wake_reason reason = fm__wait_end(wait, FM_NEVER);
    if (reason == WAKE_VALUE)
        return request->result;

    fm__lock(&clock->lock);
    if (request->listed)
        unlist_locked(clock, request);
    fm__unlock(&clock->lock);
    return fm__wake_result(reason);
}

FM_API int fm_clock_advance_ns(struct fm_runtime *runtime, int64_t n)
{
    if (!runtime || n < 0)
        return -EINVAL;
    if (!runtime->clock)
        return -ENOTSUP;
    return request_run(runtime, &(struct clock_request){.kind = REQUEST_ADVANCE, .time_ns = n});
}

FM_API int fm_clock_set_ns(struct fm_runtime *runtime, int64_t time_ns)
{
    if (!runtime || time_ns < 0 || time_ns == FM_NEVER)
        return -EINVAL;
    if (!runtime->clock)
        return -ENOTSUP;
    if (time_ns < now_ns(runtime))
        return -EINVAL;
    return request_run(runtime,
                       &(struct clock_request){.kind = REQUEST_SET, .time_ns = time_ns});
}

FM_API int fm_clock_next_ns(struct fm_runtime *runtime, int64_t *ret_next_ns)
{
    if (!runtime)
        return -EINVAL;
    if (!runtime->clock)
        return -ENOTSUP;
    struct clock_request request = {.kind = REQUEST_NEXT};
    int r = request_run(runtime, &request);
    if (r == 0 && ret_next_ns)
        *ret_next_ns = request.time_ns;
    return r;
}
