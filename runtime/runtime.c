/*
 * runtime.c - puts a runtime together, runs it, shuts it down
 *
 * The one room of the runtime that may see all others: it hands time and io down to the
 * scheduler and the fibers.
 */
#include "fm/runtime.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "runtime/context/overflow.h"
#include "runtime/dump.h"
#include "runtime/fiber/run.h"
#include "runtime/fiber/runtime.h"
#include "runtime/io/blocking.h"
#include "runtime/io/poller.h"
#include "runtime/io/process.h"
#include "runtime/platform/check.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/config.h"
#include "runtime/platform/cpu.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/turn.h"
#include "runtime/sched/fork.h"
#include "runtime/sched/sample.h"
#include "runtime/sched/worker.h"
#include "runtime/stall.h"
#include "runtime/time/clock.h"
#include "runtime/time/timers.h"
#include "runtime/trace.h"

enum {
    FLAGS = FM_RUNTIME_NO_STALL_REPORT | FM_RUNTIME_SEEDED,
    STALL_MS = 40,
    BLOCKING_THREADS = 64,
    QUEUE_SIZE = 2048,
    RESCAN_MS = 2,      /* the first, then twice as long each time ... */
    RESCAN_MAX_MS = 64, /* ... up to this */
};

/* ---- what the scheduler is handed ---- */

static struct fm_runtime *runtime_of(struct sched *sched)
{
    return (struct fm_runtime *)sched; /* its first member */
}

static int worker_init(struct worker *worker)
{
    FM_ASSERT(worker->sched);
    struct fiber_worker *mine = worker->user;
    /* A worker that comes again after a resize goes on counting where it stopped. */
    if (!mine) {
        mine = fm__calloc(1, sizeof *mine);
        if (!mine)
            return -ENOMEM;
        mine->runtime = runtime_of(worker->sched);
        worker->user = mine;
    }
    return 0;
}

static void worker_fini(struct worker *worker)
{
    FM_ASSERT(worker->user);
    struct fiber_worker *mine = worker->user;
    fm__slab_flush(&mine->slab);
}

static void worker_free(struct worker *worker)
{
    free(worker->user);
}

static bool all_idle(struct sched *sched)
{
    struct fm_runtime *runtime = runtime_of(sched);
    if (!runtime->virtual_clock || fm__blocking_busy(runtime))
        return false;
    enum trace_by before = fm__trace_by(TRACE_BY_TIMER);
    bool made_work = fm__clock_all_idle(runtime);
    fm__trace_by(before);
    return made_work;
}

static int64_t timer_next(struct sched *sched)
{
    struct fm_runtime *runtime = runtime_of(sched);
    return runtime->virtual_clock ? INT64_MAX : runtime->hooks->timer_next(runtime);
}

static unsigned timer_fire(struct sched *sched, int64_t now_ns)
{
    struct fm_runtime *runtime = runtime_of(sched);
    enum trace_by before = fm__trace_by(TRACE_BY_TIMER);
    unsigned count = runtime->hooks->timer_fire(runtime, now_ns);
    fm__trace_by(before);
    return count;
}

static unsigned poll_io(struct sched *sched, int64_t deadline_ns)
{
    struct fm_runtime *runtime = runtime_of(sched);
    enum trace_by before = fm__trace_by(TRACE_BY_IO);
    unsigned count = runtime->hooks->poll(runtime, deadline_ns);
    fm__trace_by(before);
    return count;
}

static void poll_wake(struct sched *sched)
{
    struct fm_runtime *runtime = runtime_of(sched);
    runtime->hooks->poll_wake(runtime);
}

static bool poll_needed(struct sched *sched)
{
    struct fm_runtime *runtime = runtime_of(sched);
    return runtime->hooks->poll_needed(runtime);
}

static void stalled(struct sched *sched, const struct sched_stall *stall)
{
    FM_ASSERT(stall->task);
    fm__stall_report(runtime_of(sched), stall);
}

static void slice_over(struct sched *sched, struct task *task)
{
    FM_ASSERT(task);
    /* what happens on the virtual clock must not hang on how fast the processor is */
    if (!runtime_of(sched)->virtual_clock)
        fm__budget_cut((struct fm_fiber *)task); /* its first member */
}

static int64_t throttled_ns(struct sched *sched)
{
    return runtime_of(sched)->quota ? fm__cpu_throttled_under("") : 0;
}

static const struct sched_ops sched_ops = {
    .run = fm__fiber_run,
    .no_stack = fm__fiber_no_stack,
    .parked = fm__fiber_parked,
    .worker_init = worker_init,
    .worker_fini = worker_fini,
    .worker_free = worker_free,
    .all_idle = all_idle,
    .timer_next = timer_next,
    .timer_fire = timer_fire,
    .poll = poll_io,
    .poll_wake = poll_wake,
    .poll_needed = poll_needed,
    .stalled = stalled,
    .slice_over = slice_over,
    .throttled_ns = throttled_ns,
    .trace_id = fm__trace_id,
    .trace_task = fm__trace_task,
    .trace_wait = fm__trace_wait,
    .trace_now = fm__trace_now,
};

static const struct runtime_hooks hooks = {
    .timer_arm = fm__timer_arm,
    .timer_disarm = fm__timer_disarm,
    .timer_next = fm__timer_next,
    .timer_fire = fm__timer_fire,
    .poll = fm__poller_poll,
    .poll_wake = fm__poller_wake,
    .poll_needed = fm__poller_needed,
};

static void deadline_moved(struct fm_runtime *runtime, int64_t deadline_ns)
{
    fm__sched_deadline_moved(&runtime->sched, deadline_ns);
}

static void kick(struct fm_runtime *runtime)
{
    fm__sched_kick(&runtime->sched);
}

/* ---- create ---- */

static int read_config(struct fm_runtime *runtime, const struct fm_runtime_config *given)
{
    struct fm_runtime_config *config = &runtime->config;
    int r = fm__config_read(config, sizeof *config, given);
    if (r < 0)
        return r;
    if (config->worker_count > WORKERS_MAX || config->clock > FM_CLOCK_VIRTUAL ||
        config->guard > FM_GUARD_CANARY || config->flags & ~FLAGS ||
        config->max_fibers > (1u << FIBER_ID_SLOT_BITS) || config->queue_size > 65536 ||
        (config->queue_size & (config->queue_size - 1)) || config->queue_size == 1)
        return -EINVAL;
    if (!config->worker_count) {
        unsigned cpus = fm__cpu_count();
        config->worker_count = cpus < WORKERS_MAX ? cpus : WORKERS_MAX;
    }
    if (!config->stack_bytes)
        config->stack_bytes = 64 * 1024;
    runtime->default_stack_class = fm__stack_class(config->stack_bytes);
    if (runtime->default_stack_class < 0)
        return -EINVAL;
    if (!config->blocking_threads)
        config->blocking_threads = BLOCKING_THREADS;
    if (!config->stall_ms)
        config->stall_ms = STALL_MS;
    if (!config->queue_size)
        config->queue_size = QUEUE_SIZE;
    if (!config->seed &&
        getrandom(&config->seed, sizeof config->seed, GRND_NONBLOCK) != sizeof config->seed)
        config->seed = (uint64_t)fm__clock_ns() ^ (uintptr_t)runtime;
    return 0;
}

int fm_runtime_create(const struct fm_runtime_config *config, struct fm_runtime **ret_runtime)
{
    if (!ret_runtime)
        return -EINVAL;
    struct fm_runtime *runtime = fm__zalloc_aligned(_Alignof(struct fm_runtime),
                                                    sizeof *runtime);
    if (!runtime)
        return -ENOMEM;
    int r = read_config(runtime, config);
    if (r == 0)
        r = fm__fork_enter();
    if (r < 0)
        goto free_runtime;
    runtime->seeded = (runtime->config.flags & FM_RUNTIME_SEEDED) && !fm__turn_taken();
    r = runtime->seeded ? fm__turn_begin(runtime->config.seed) : 0;
    if (r < 0)
        goto leave_fork;
    r = fm__stack_init(runtime->config.guard);
    if (r < 0)
        goto end_turns;
    runtime->hooks = &hooks;
    runtime->virtual_clock = runtime->config.clock == FM_CLOCK_VIRTUAL;
    atomic_store_explicit(&runtime->trace_stamp_ns, -1, memory_order_relaxed);
    fm__lock_init(&runtime->end_lock, LOCK_RUNTIME);
    /* for the monitor, which is off where threads take turns */
    runtime->quota = !fm__turn_taken() && fm__cpu_quota();
    fm__check_set_describe(fm__describe_running);
    r = fm__sample_init(runtime->config.backtrace_signal);
    if (r < 0 && runtime->config.backtrace_signal > 0)
        goto end_turns;
    r = fm__overflow_install(fm__describe_owner);
    if (r < 0)
        goto end_turns;
    r = fm__timers_init(runtime);
    if (r < 0)
        goto uninstall;
    runtime->timers->moved = deadline_moved;
    if (runtime->clock)
        runtime->clock->kick = kick;
    r = fm__poller_init(runtime);
    if (r < 0)
        goto fini_timers;
    r = fm__blocking_init(runtime);
    if (r < 0)
        goto fini_poller;
    struct sched *sched = &runtime->sched;
    sched->ops = &sched_ops;
    sched->queue_size = runtime->config.queue_size;
    sched->stall_ms = runtime->config.stall_ms;
    sched->seed = runtime->config.seed;
    r = fm__sched_init(sched, runtime->config.worker_count);
    if (r < 0)
        goto fini_blocking;
    *ret_runtime = runtime;
    return 0;

fini_blocking:
    fm__blocking_fini(runtime);
fini_poller:
    fm__poller_fini(runtime);
fini_timers:
    fm__timers_fini(runtime);
uninstall:
    fm__overflow_uninstall();
end_turns:
    if (runtime->seeded)
        fm__turn_end();
leave_fork:
    fm__fork_leave();
free_runtime:
    free(runtime);
    return r;
}

/* ---- counting, shutdown, destroy ---- */

static struct fiber_worker *fibers_of(struct fm_runtime *runtime, uint32_t index)
{
    FM_ASSERT(index < WORKERS_MAX);
    struct worker *w = atomic_load_explicit(&runtime->sched.workers[index],
                                            memory_order_acquire);
    return w ? w->user : NULL;
}

uint64_t fm__runtime_live(struct fm_runtime *runtime)
{
    uint64_t ended = 0, spawned;
    /*
     * Ends first: a fiber that is spawned and ends in between counts as live, never as less
     * than none.
     */
    for (uint32_t i = 0; i < WORKERS_MAX; i++) {
        struct fiber_worker *mine = fibers_of(runtime, i);
        if (!mine)
            break;
        /* acquire, with fm__runtime_fiber_ended: its spawn is counted where we look next */
        ended += atomic_load_explicit(&mine->ended, memory_order_acquire);
    }
    /* seq_cst: with fm_runtime_spawn */
    spawned = atomic_load_explicit(&runtime->foreign_spawned, memory_order_seq_cst);
    for (uint32_t i = 0; i < WORKERS_MAX; i++) {
        struct fiber_worker *mine = fibers_of(runtime, i);
        if (!mine)
            break;
        spawned += atomic_load_explicit(&mine->spawned, memory_order_acquire);
    }
    return spawned - ended;
}

void fm__runtime_fiber_ended(struct fm_runtime *runtime)
{
    struct fiber_worker *mine = fm__sched_user();
    FM_ASSERT(mine && mine->runtime == runtime);
    /* release: with fm__runtime_live */
    atomic_store_explicit(&mine->ended, fm__counted(&mine->ended) + 1, memory_order_release);
    /* relaxed: a shutter-down that is missed here looks again by itself after RESCAN_MS */
    if (__builtin_expect(atomic_load_explicit(&runtime->stopping, memory_order_relaxed), 0) &&
        fm__runtime_live(runtime) == 0)
        fm__waitlist_wake_all(&runtime->end_waiters, &runtime->end_lock, WAKE_VALUE);
}

/* Interrupt every fiber that is there now. */
static void interrupt_all(struct fm_runtime *runtime)
{
    uint32_t slots = fm__slab_slots();
    for (uint32_t slot = 0; slot < slots; slot++) {
        struct fm_fiber *fiber = fm__slab_find(slot);
        uint64_t refs = atomic_load_explicit(&fiber->refs, memory_order_acquire);
        if (!(refs & ((1u << FIBER_ID_SLOT_BITS) - 1)))
            continue;
        fiber = fm__fiber_ref_id(fm__fiber_id(fiber));
        if (!fiber)
            continue;
        if (fiber->runtime == runtime && fiber->kind == FIBER_TASK)
            fm__fiber_interrupt(fiber, FM_BY_SHUTDOWN);
        fm_fiber_unref(fiber);
    }
}

static int await_end(struct fm_runtime *runtime, int64_t deadline_ns)
{
    for (int64_t pause_ms = RESCAN_MS;;
         pause_ms = pause_ms < RESCAN_MAX_MS ? 2 * pause_ms : pause_ms) {
        if (fm__runtime_live(runtime) == 0)
            return 0;
        /*
         * Finalizers may have spawned more; and an end may have passed between our look and our
         * sleep.
         */
        interrupt_all(runtime);
        struct wait_node node = { 0 };
        int64_t again = fm__time_add(fm__clock_ns(), pause_ms * 1000000);
        fm__lock(&runtime->end_lock);
        if (fm__runtime_live(runtime) == 0) {
            fm__unlock(&runtime->end_lock);
            return 0;
        }
        int r = fm__waitlist_wait(&runtime->end_waiters, &runtime->end_lock, &node,
                                  again < deadline_ns ? again : deadline_ns, 0, "shutdown");
        if (r < 0 && r != -ETIMEDOUT)
            return r;
        if (r == -ETIMEDOUT && fm__clock_ns() >= deadline_ns && fm__runtime_live(runtime) != 0)
            return -ETIMEDOUT;
    }
}

int fm_runtime_shutdown(struct fm_runtime *runtime, int64_t deadline_ns)
{
    if (!runtime)
        return -EINVAL;
    struct fm_fiber *self = fm__fiber_self();
    if ((self && self->runtime == runtime) || fm__forked())
        return -EPERM;
    /* seq_cst: with fm_runtime_spawn */
    atomic_store_explicit(&runtime->stopping, true, memory_order_seq_cst);
    int r = await_end(runtime, deadline_ns);
    return r < 0 ? r : fm__blocking_shutdown(runtime, deadline_ns);
}

struct fm_runtime *fm_runtime_destroy(struct fm_runtime *runtime)
{
    if (!runtime || fm__forked())
        return NULL;
    struct fm_fiber *self = fm__fiber_self();
    FM_BUG_IF(self && self->runtime == runtime, "a fiber destroys the runtime that it runs on");
    /*
     * A fiber of another runtime waits here masked: its interruption does not leave workers
     * behind.
     */
    if (self)
        fm_mask();
    int r = fm_runtime_shutdown(runtime, FM_NEVER);
    FM_BUG_IF(r != 0, "a runtime that is destroyed did not shut down: %s", fm_strerror(r));
    if (self)
        fm_unmask();
    fm__sched_fini(&runtime->sched);
    fm__blocking_fini(runtime);
    fm__poller_fini(runtime);
    fm__timers_fini(runtime);
    fm__overflow_uninstall();
    if (runtime->seeded)
        fm__turn_end();
    free(runtime);
    fm__fork_leave();
    fm__process_sweep();
    return NULL;
}

int fm_runtime_run(struct fm_runtime *runtime, fm_entry_fn *entry, void *arg,
                   struct fm_exit *ret_exit)
{
    struct fm_fiber *fiber;

    if (!runtime || !entry)
        return -EINVAL;
    if (fm__fiber_self())
        return -EPERM;
    int r = fm_runtime_spawn(runtime, entry, arg, NULL, &fiber);
    if (r < 0)
        return r;
    r = fm_fiber_join(fiber, FM_NEVER, ret_exit);
    fm_fiber_unref(fiber);
    return r;
}

int fm_run(fm_entry_fn *entry, void *arg, struct fm_exit *ret_exit)
{
    struct fm_runtime *runtime;

    if (!entry)
        return -EINVAL;
    if (fm__fiber_self())
        return -EPERM;
    int r = fm_runtime_create(NULL, &runtime);
    if (r < 0)
        return r;
    r = fm_runtime_run(runtime, entry, arg, ret_exit);
    fm_runtime_destroy(runtime);
    return r;
}

struct fm_runtime *fm_runtime_current(void)
{
    struct fm_fiber *self = fm__fiber_self();
    return self ? self->runtime : NULL;
}

int fm_runtime_resize(struct fm_runtime *runtime, uint32_t worker_count)
{
    if (!runtime || worker_count == 0 || worker_count > WORKERS_MAX)
        return -EINVAL;
    return fm__forked() ? -EPERM : fm__sched_resize(&runtime->sched, worker_count);
}

int fm_runtime_stats(struct fm_runtime *runtime, struct fm_runtime_stats *ret_stats)
{
    if (!runtime || !ret_stats)
        return -EINVAL;
    if (fm__forked())
        return -EPERM;
    struct fm_runtime_stats stats = { .guard = fm__stack_guard() };
    struct stack_stats stacks;
    fm__sched_stats(&runtime->sched, &stats);
    stats.fibers_spawned = atomic_load_explicit(&runtime->foreign_spawned,
                                                memory_order_relaxed);
    for (uint32_t i = 0; i < WORKERS_MAX; i++) {
        struct fiber_worker *mine = fibers_of(runtime, i);
        if (!mine)
            break;
        stats.fibers_spawned += fm__counted(&mine->spawned);
        stats.fibers_ended += fm__counted(&mine->ended);
    }
    stats.fibers_live = fm__runtime_live(runtime);
    fm__stack_stats(&stacks);
    stats.stacks_live = stacks.live;
    stats.stacks_pooled = stacks.pooled;
    stats.stack_bytes_mapped = stacks.mapped_bytes;
    fm__timers_stats(runtime, &stats);
    fm__poller_stats(runtime, &stats);
    fm__blocking_stats(runtime, &stats);
    *ret_stats = stats;
    return 0;
}
