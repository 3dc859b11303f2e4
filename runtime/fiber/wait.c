/*
 * wait.c - how fibers and threads wait, and how they are woken
 *
 * A thread waits through a descriptor of its own, made at its first wait and given back when
 * the thread ends, so wakers need not tell the two apart until they have won: then a fiber is
 * queued and a thread's futex is set.
 *
 *   thread                                          waker
 *     futex = 0, wait_begin: PARKING                  state_wake wins: PARKED -> ACTIVE
 *     commit: PARKED, or woken before: go on          futex = 1      (A, release)
 *     sleep while futex == 0   (B, acquire)           wake the futex: the address alone
 * A shows B all that the waker did. The waker's last access by value is A; the descriptor is
 * type-stable, so a wake of the futex that comes late reaches a descriptor, if maybe another
 * thread's, which looks again and goes on sleeping.
 *
 * Knows not   what is waited for.
 */
#include <errno.h>
#include <pthread.h>

#include "runtime/fiber/again.h"
#include "runtime/fiber/run.h"
#include "runtime/fiber/runtime.h"
#include "runtime/fiber/slab.h"
#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/futex.h"
#include "runtime/platform/probe.h"
#include "runtime/sched/fork.h"
#include "runtime/sched/sched.h"

#define IDS_END (UINT64_C(1) << 60) /* ids of descriptors are below */

/* ---- threads ---- */

static __thread struct fm_fiber *thread_descriptor __attribute__((tls_model("initial-exec")));
static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;
static bool thread_key_made;

static void thread_ends(void *descriptor)
{
    thread_descriptor = NULL;
    fm_fiber_unref(descriptor);
}

static void make_key(void)
{
    thread_key_made = pthread_key_create(&thread_key, thread_ends) == 0;
}

/* Never inlined into code that waits: a thread-local of the thread we are on now. */
static __attribute__((noinline)) struct fm_fiber *thread_self(void)
{
    __asm__ volatile("" ::: "memory");
    struct fm_fiber *self = thread_descriptor;
    if (self)
        return self;
    pthread_once(&thread_once, make_key);
    self = thread_key_made ? fm__slab_take(NULL) : NULL;
    if (!self)
        return NULL;
    fm__descriptor_reset(self, NULL, FIBER_THREAD);
    fm__descriptor_publish(self, 1);
    if (pthread_setspecific(thread_key, self) != 0) {
        fm_fiber_unref(self);
        return NULL;
    }
    thread_descriptor = self;
    return self;
}

/* As thread_self. It outlasts the descriptor, which goes before the last destructor. */
static __attribute__((noinline)) uint64_t thread_id(void)
{
    static _Atomic uint64_t nameless;
    static __thread uint64_t id __attribute__((tls_model("initial-exec")));

    __asm__ volatile("" ::: "memory");
    if (!id) {
        struct fm_fiber *self = thread_self();
        /* relaxed: the numbers differ, nothing else is asked of them */
        id = self ? fm__fiber_id(self)
                  : IDS_END + atomic_fetch_add_explicit(&nameless, 1, memory_order_relaxed);
    }
    return id;
}

uint64_t fm__holder_self(void)
{
    struct fm_fiber *self = fm__fiber_self();
    return self ? fm__fiber_id(self) : thread_id();
}

static enum wake_reason thread_wait(struct fm_fiber *self, uint64_t epoch, int64_t deadline_ns)
{
    FM_ASSERT(self->kind == FIBER_THREAD);
    FM_ASSERT(epoch);
    if (!fm__state_commit(&self->state))
        return fm__state_reason(&self->state);
    /* acquire (B) */
    while (atomic_load_explicit(&self->futex, memory_order_acquire) == 0) {
        if (fm__futex_wait(&self->futex, 0, deadline_ns) == -ETIMEDOUT) {
            if (fm__state_wake(&self->state, epoch, WAKE_TIMEOUT) == WAKE_QUEUE)
                return WAKE_TIMEOUT;
            deadline_ns = FM_NEVER; /* somebody else has won and sets the futex in a moment */
        }
    }
    return fm__state_reason(&self->state);
}

/* ---- both ---- */

void fm__wake_release(struct fm_fiber *fiber)
{
    FM_PROBE1(wake, fiber);
    if (__builtin_expect(fiber->kind == FIBER_THREAD, 0)) {
        /* release (A) */
        atomic_store_explicit(&fiber->futex, 1, memory_order_release);
        fm__futex_wake(&fiber->futex, 1);
        return;
    }
    struct sched *sched = &fiber->runtime->sched;
    fm__tsan_give(&fiber->task);
    fm__sched_ready(sched, &fiber->task);
}

/*
 * From DONE on the fiber calls back: owners, observers, drops. Others may be spinning until
 * such a call returns, on this very worker, and there is no way back from a wait.
 */
static bool has_ended(struct fm_fiber *self)
{
    /* relaxed: the fiber's own */
    return fm__state_life(atomic_load_explicit(&self->state, memory_order_relaxed)) ==
           LIFE_DONE;
}

int fm__wait_begin(struct wait *ret_wait, unsigned flags, const char *what)
{
    FM_ASSERT(ret_wait && what);
    struct fm_fiber *self = fm__fiber_self();
    bool interruptible = !(flags & WAIT_MASKED);

    if (self) {
        FM_BUG_IF(has_ended(self), "a callback of an end must not wait (%s)", what);
        interruptible = interruptible && self->mask_depth == 0;
        atomic_store_explicit(&self->futex, (uint32_t)(fm__sched_coarse_ns() / 1000000),
                              memory_order_relaxed);
    } else {
        if (fm__forked())
            return -EPERM;
        self = thread_self();
        if (!self)
            return -ENOMEM;
        atomic_store_explicit(&self->futex, 0, memory_order_relaxed);
    }
    uint64_t epoch = fm__state_wait_begin(&self->state, interruptible);
    if (!epoch)
        return -ECANCELED;
    /* relaxed: for the dump */
    atomic_store_explicit(&self->waits_for, what, memory_order_relaxed);
    FM_PROBE2(park, self, what);
    *ret_wait = (struct wait) { self, epoch };
    return 0;
}

int fm__wait_prepare(void)
{
    if (fm__fiber_self())
        return 0;
    if (fm__forked())
        return -EPERM;
    return thread_self() ? 0 : -ENOMEM;
}

__attribute__((noinline)) bool fm__wait_prepared(void)
{
    return fm__fiber_self() || thread_descriptor || fm__forked(); /* whom begin refuses first */
}

static void new_budget(struct fm_fiber *self)
{
    atomic_store_explicit(&self->budget, FIBER_BUDGET, memory_order_relaxed);
}

enum wake_reason fm__wait_end(struct wait wait, int64_t deadline_ns)
{
    FM_ASSERT(wait.who);
    struct fm_fiber *self = wait.who;
    enum wake_reason reason;

    if (self->kind == FIBER_THREAD) {
        FM_ASSERT(wait.epoch);
        reason = thread_wait(self, wait.epoch, deadline_ns);
    } else {
        FM_ASSERT(self == fm__fiber_self());
        struct fm_runtime *runtime = self->runtime;
        /*
         * Woken already: no need to leave the stack. It counts like a wait that did not
         * suspend, but this is no place to yield: what was waited for may be a lock that is now
         * held.
         */
        if (fm__state_life(fm__state_read(&self->state)) == LIFE_WOKEN) {
            fm__state_wait_abort(&self->state, &reason);
            fm__budget_take(self);
            goto ended;
        }
        new_budget(self);
        if (deadline_ns == FM_NEVER) {
            fm__sched_park(&self->task);
            reason = fm__state_reason(&self->state);
        } else {
            runtime->hooks->timer_arm(runtime, self, wait.epoch, deadline_ns);
            fm__sched_park(&self->task);
            runtime->hooks->timer_disarm(runtime, self);
            reason = fm__state_reason(&self->state);
        }
    }
ended:
    atomic_store_explicit(&self->waits_for, NULL, memory_order_relaxed);
    return reason;
}

enum wake_reason fm__wait_end_at(struct wait wait, int64_t deadline_ns,
                                 struct fm_runtime *runtime, int64_t ready_ns)
{
    FM_ASSERT(wait.who);
    bool same_clock = !runtime || !runtime->virtual_clock || wait.who->kind != FIBER_THREAD;

    if (same_clock || ready_ns == FM_NEVER)
        return fm__wait_end(wait, ready_ns < deadline_ns ? ready_ns : deadline_ns);
    /* A thread sleeps on a futex and leaves its descriptor's timer to us. */
    runtime->hooks->timer_arm(runtime, wait.who, wait.epoch, ready_ns);
    enum wake_reason reason = fm__wait_end(wait, deadline_ns);
    runtime->hooks->timer_disarm(runtime, wait.who);
    return reason;
}

bool fm__wait_abort(struct wait wait)
{
    FM_ASSERT(wait.who && wait.epoch);
    enum wake_reason reason;
    atomic_store_explicit(&wait.who->waits_for, NULL, memory_order_relaxed);
    return fm__state_wait_abort(&wait.who->state, &reason);
}

bool fm__wake(struct wait wait, enum wake_reason reason)
{
    switch (fm__wake_win(wait, reason)) {
    case WAKE_LOST: return false;
    case WAKE_NOTED: return true;
    case WAKE_QUEUE: fm__wake_release(wait.who); return true;
    }
    return false;
}

int fm__wake_result(enum wake_reason reason)
{
    switch (reason) {
    case WAKE_VALUE: return 0;
    case WAKE_TIMEOUT: return -ETIMEDOUT;
    case WAKE_INTERRUPT: return -ECANCELED;
    case WAKE_CLOSED: return -EBADF;
    }
    FM_BUG("a wait ended for reason %d", (int)reason);
}

int fm__fiber_interrupt(struct fm_fiber *fiber, enum fm_reason reason)
{
    FM_ASSERT(fiber);
    uint64_t nobody = 0, me = fm__self_id() << 4 | (uint64_t)reason;

    fm__lock_check_map("an interruption");
    if (fm__fiber_ended(fiber))
        return FM_ALREADY_DONE;
    /*
     * acq_rel: the first one stays; it is on record before the mark can be seen (E of state.h)
     */
    /* acquire where it fails: who reads INTERRUPTER_ASK sees that the body runs again */
    if (__builtin_expect(!atomic_compare_exchange_strong_explicit(&fiber->interrupter, &nobody,
                                                                  me, memory_order_acq_rel,
                                                                  memory_order_acquire),
                         0))
        return fm__again_interrupt(fiber, me);
    if (fm__state_interrupt(&fiber->state) == WAKE_QUEUE)
        fm__wake_release(fiber);
    return 0;
}

/* ---- the plain waits ---- */

void fm__budget_spend(void)
{
    fm__budget_spend_by(fm__fiber_self());
}

void fm__budget_over(struct fm_fiber *self)
{
    FM_ASSERT(self == fm__fiber_self());
    FM_ASSERT(self->kind == FIBER_TASK);
    new_budget(self);
    /* without a stack it ends on the worker's own, which nobody may leave */
    if (!has_ended(self) && self->task.stack)
        fm__sched_yield(&self->task);
}

int fm_yield(void)
{
    struct fm_fiber *self = fm__fiber_self();
    if (!self)
        return -EPERM;
    FM_BUG_IF(has_ended(self), "a callback of an end must not yield");
    new_budget(self);
    fm__sched_yield(&self->task);
    return fm__fiber_check(self);
}

/* No farther than there are numbers, on either side. */
static int64_t nanoseconds(int64_t n, int64_t unit_ns)
{
    int64_t ns;
    if (__builtin_mul_overflow(n, unit_ns, &ns))
        ns = n < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}

int fm_sleep_until_ns(int64_t time_ns)
{
    struct fm_fiber *self = fm__fiber_self();
    struct wait wait;

    if (!self)
        return -EPERM;
    if (time_ns < 0)
        return -EINVAL;
    if (time_ns <= fm__runtime_now_ns(self->runtime))
        return fm_yield();
    int r = fm__wait_begin(&wait, 0, "sleep");
    if (r < 0)
        return r;
    r = fm__wake_result(fm__wait_end(wait, time_ns));
    return r == -ETIMEDOUT ? 0 : r;
}

int fm_sleep_ns(int64_t n)
{
    if (!fm__fiber_self())
        return -EPERM;
    if (n < 0)
        return -EINVAL;
    return fm_sleep_until_ns(fm_after_ns(n));
}

int fm_sleep_ms(int64_t n)
{
    return fm_sleep_ns(nanoseconds(n, 1000000));
}

int fm_never(void)
{
    struct wait wait;

    if (!fm__fiber_self())
        return -EPERM;
    int r = fm__wait_begin(&wait, 0, "never");
    return r < 0 ? r : fm__wake_result(fm__wait_end(wait, FM_NEVER));
}

/* ---- time ---- */

int64_t fm__runtime_now_ns(struct fm_runtime *runtime)
{
    /*
     * acquire, with the step of the virtual clock: who was woken by it reads at least its time
     */
    return runtime->virtual_clock
               ? atomic_load_explicit(&runtime->virtual_now_ns, memory_order_acquire)
               : fm__clock_ns();
}

int64_t fm__runtime_coarse_ns(struct fm_runtime *runtime)
{
    return runtime->virtual_clock ? fm__runtime_now_ns(runtime) : fm__sched_coarse_ns();
}

int64_t fm_now_ns(void)
{
    struct fm_fiber *self = fm__fiber_self();
    return self ? fm__runtime_now_ns(self->runtime) : fm__clock_ns();
}

int64_t fm_after_ns(int64_t n)
{
    return n == FM_NEVER ? FM_NEVER : fm__time_add(fm_now_ns(), n);
}

int64_t fm_after_us(int64_t n)
{
    return fm_after_ns(nanoseconds(n, 1000));
}

int64_t fm_after_ms(int64_t n)
{
    return fm_after_ns(nanoseconds(n, 1000000));
}

int64_t fm_after_s(int64_t n)
{
    return fm_after_ns(nanoseconds(n, 1000000000));
}
