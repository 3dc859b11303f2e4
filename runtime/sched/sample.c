/*
 * sample.c - where the task that a worker is running has got to
 *
 * Owns        one real-time signal of the process.
 * Invariant   the handler takes no lock, calls nothing but what is async-signal-safe, reads
 *             nothing outside the stack that it interrupted, and runs on the worker's signal
 *             stack. So it may come at any instruction: in malloc, under a lock, in the midst
 *             of a switch, where the stack that sp is on is the one that is told.
 * Sanitizers  ThreadSanitizer runs handlers later and elsewhere: there are no samples.
 *
 * A signal that comes too late finds no wish; one that comes to a thread that is no worker any
 * more finds no worker.
 */
#include "runtime/sched/sample.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/context/stack.h"
#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/futex.h"
#include "runtime/platform/lock.h"
#include "runtime/platform/sanitizer.h"
#include "runtime/platform/thread.h"
#include "runtime/sched/worker.h"

enum { WAIT_NS = 20000000 };

static struct lock init_lock = LOCK_INIT(LOCK_RUNTIME);
static _Atomic int sample_signal; /* 0: none yet */

/* ---- the handler ---- */

static FM_NO_ASAN FM_NO_TSAN void take(struct sample *sample, const void *context)
{
    FM_ASSERT(sample && context);
    struct registers at = fm__registers_of(context);
    const struct stack *stack = fm__stack_find((const void *)at.sp, NULL);
    struct walk walk;

    sample->owner = NULL;
    if (!stack)
        return;
    /* relaxed: this very thread wrote it */
    sample->owner = atomic_load_explicit(&stack->owner, memory_order_relaxed);
    fm__walk_from(&walk, stack->low, stack->top, at);
    fm__walk_keep(&walk, &sample->backtrace);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    struct worker *w = fm__worker_self();
    uint32_t wanted = SAMPLE_WANTED, taking = SAMPLE_TAKING;

    (void)number, (void)info;
    /* acquire: the asker before us has read what we overwrite */
    if (w &&
        atomic_compare_exchange_strong_explicit(&w->sample.state, &wanted, SAMPLE_TAKING,
                                                memory_order_acquire, memory_order_relaxed)) {
        take(&w->sample, context);
        /* release: the sample; acquire of nothing */
        if (atomic_compare_exchange_strong_explicit(&w->sample.state, &taking, SAMPLE_TAKEN,
                                                    memory_order_release, memory_order_relaxed))
            fm__futex_wake(&w->sample.state, 1);
        else
            atomic_store_explicit(&w->sample.state, SAMPLE_IDLE, memory_order_release);
    }
    errno = saved_errno;
}

/* ---- the signal ---- */

static bool is_free(int number)
{
    FM_ASSERT(number > 0);
    struct sigaction now;
    return sigaction(number, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) &&
           now.sa_handler == SIG_DFL;
}

static bool is_ours(int number)
{
    FM_ASSERT(number > 0);
    struct sigaction now;
    return sigaction(number, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) &&
           now.sa_sigaction == on_signal;
}

static int install_locked(int wanted)
{
    FM_ASSERT(fm__lock_held(&init_lock));
    enum { SPARED = 2 }; /* the last ones are what most others begin with */
    struct sigaction action = { .sa_sigaction = on_signal,
                                .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
    int number = wanted ? wanted : SIGRTMAX - SPARED;

    if (wanted && (wanted < SIGRTMIN || wanted > SIGRTMAX))
        return -EINVAL;
    while (!is_free(number)) {
        if (wanted || --number < SIGRTMIN)
            return -EBUSY;
    }
    sigemptyset(&action.sa_mask);
    if (sigaction(number, &action, NULL) != 0)
        return -errno;
    /* release: the handler is there */
    atomic_store_explicit(&sample_signal, number, memory_order_release);
    return 0;
}

int fm__sample_init(int wanted)
{
    int r = 0;

    if (FM_TSAN || wanted < 0)
        return 0;
    fm__lock(&init_lock);
    int number = atomic_load_explicit(&sample_signal, memory_order_relaxed);
    if (!number)
        r = install_locked(wanted);
    else if (wanted && wanted != number)
        r = -EBUSY;
    fm__unlock(&init_lock);
    return r;
}

void fm__sample_attach(void)
{
    sigset_t set;
    int number = atomic_load_explicit(&sample_signal, memory_order_acquire);
    if (!number)
        return;
    sigemptyset(&set);
    sigaddset(&set, number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* ---- asking ---- */

/* Whatever the state, the wish is ours no more; true if the sample is there after all. */
static bool withdraw(struct sample *sample)
{
    uint32_t state = SAMPLE_WANTED;
    if (atomic_compare_exchange_strong_explicit(&sample->state, &state, SAMPLE_IDLE,
                                                memory_order_relaxed, memory_order_relaxed))
        return false;
    state = SAMPLE_TAKING;
    /* acquire: the sample, where the handler was quicker */
    return !atomic_compare_exchange_strong_explicit(&sample->state, &state, SAMPLE_DROPPED,
                                                    memory_order_acquire, memory_order_acquire);
}

static int ask(struct worker *w, int kernel_id, const struct task *task,
               struct backtrace *ret_backtrace)
{
    struct sample *sample = &w->sample;
    int number = atomic_load_explicit(&sample_signal, memory_order_acquire);
    uint32_t state = SAMPLE_IDLE;
    int r = 0;

    /* a signal that somebody has taken from us since would do what it does by default */
    if (!number || !is_ours(number))
        return -ENOTSUP;
    /* release: what was read of the last sample was read before */
    if (!atomic_compare_exchange_strong_explicit(&sample->state, &state, SAMPLE_WANTED,
                                                 memory_order_acq_rel, memory_order_relaxed))
        return -EBUSY;
    int64_t until = fm__clock_ns() + WAIT_NS;
    if (syscall(SYS_tgkill, getpid(), kernel_id, number) != 0)
        r = -ESRCH;
    /* acquire: the sample */
    while (r == 0 &&
           (state = atomic_load_explicit(&sample->state, memory_order_acquire)) != SAMPLE_TAKEN)
        r = fm__futex_wait(&sample->state, state, until);
    if (r < 0 && !withdraw(sample))
        return r;
    r = sample->owner == task ? 0 : -ESRCH;
    if (r == 0)
        *ret_backtrace = sample->backtrace;
    atomic_store_explicit(&sample->state, SAMPLE_IDLE, memory_order_release);
    return r;
}

static bool still_runs(struct worker *w, const struct task *task, uint32_t runs)
{
    return atomic_load_explicit(&w->current, memory_order_acquire) == task &&
           atomic_load_explicit(&w->runs, memory_order_acquire) == runs;
}

/* Its thread is blocked, at `place` on the task's stack or below it: nothing moves there. */
static int look(struct worker *w, const struct task *task, struct thread_call call,
                struct backtrace *ret_backtrace)
{
    uint32_t runs = atomic_load_explicit(&w->runs, memory_order_acquire);
    const struct stack *stack = fm__stack_find((const void *)call.sp, NULL);
    struct walk walk;

    if (!stack || atomic_load_explicit(&stack->owner, memory_order_acquire) != task)
        return -ESRCH;
    if (!fm__walk_above(&walk, stack->low, stack->top, call.sp)) {
        walk.pc = 0;
        walk.gap = walk.broken = false;
    }
    fm__walk_keep(&walk, ret_backtrace);
    /* the call itself stands before its callers */
    uint32_t count = ret_backtrace->count;
    if (count == BACKTRACE_FRAMES)
        count--;
    for (uint32_t i = count; i-- > 0;)
        ret_backtrace->pc[i + 1] = ret_backtrace->pc[i];
    ret_backtrace->pc[0] = call.pc;
    ret_backtrace->gaps = ret_backtrace->gaps << 1 | (count ? 2 : 0);
    ret_backtrace->count = count + 1;
    return still_runs(w, task, runs) ? 0 : -ESRCH;
}

static __attribute__((noinline)) int own(const struct task *task,
                                         struct backtrace *ret_backtrace)
{
    FM_ASSERT(task->stack);
    struct registers at = { (uintptr_t)__builtin_return_address(0),
                            (uintptr_t)__builtin_frame_address(0),
                            *(uintptr_t *)__builtin_frame_address(0) };
    struct walk walk;
    fm__walk_from(&walk, task->stack->low, task->stack->top, at);
    fm__walk_keep(&walk, ret_backtrace);
    return 0;
}

int fm__sample_task(struct sched *sched, uint32_t index, const struct task *task,
                    struct backtrace *ret_backtrace)
{
    FM_ASSERT(task && ret_backtrace);
    struct worker *w = index < WORKERS_MAX
                           ? atomic_load_explicit(&sched->workers[index], memory_order_acquire)
                           : NULL;
    struct thread_call call;

    if (!w)
        return -ESRCH;
    if (w == fm__worker_self() && task == fm__sched_current())
        return own(task, ret_backtrace);
    if (atomic_load_explicit(&w->current, memory_order_relaxed) != task)
        return -ESRCH;
    int kernel_id = atomic_load_explicit(&w->kernel_id, memory_order_relaxed);
    if (fm__thread_call(kernel_id, &call))
        return look(w, task, call, ret_backtrace);
    return ask(w, kernel_id, task, ret_backtrace);
}
