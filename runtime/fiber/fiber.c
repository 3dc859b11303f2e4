/*
 * fiber.c - the life of a fiber, from the descriptor to the last reference
 *
 * Owns        descriptors from create until the last unref.
 * Invariant   whoever takes the reference count to 0 recycles the descriptor, under the next
 *             generation, before anybody can see a count above 0 again.
 * The end of a fiber, in this order: children and finalizers (scope.c); the exit is stored; the
 * owner embedded in the descriptor is told; DONE; the exit list is sealed; other owners are
 * told; joiners wake; observers run; the parent's scope is left; the run's reference is
 * dropped.
 */
#include "runtime/fiber/fiber.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/context/stack.h"
#include "runtime/fiber/again.h"
#include "runtime/fiber/run.h"
#include "runtime/fiber/runtime.h"
#include "runtime/fiber/scope.h"
#include "runtime/fiber/slab.h"
#include "runtime/fiber/waitlist.h"
#include "runtime/platform/check.h"
#include "runtime/platform/held.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/probe.h"
#include "runtime/platform/spin.h"
#include "runtime/sched/fork.h"

#define REF_ONE UINT64_C(1)
#define REF_MASK ((UINT64_C(1) << FIBER_ID_SLOT_BITS) - 1)
#define GENERATION_ONE (UINT64_C(1) << FIBER_ID_SLOT_BITS)
#define GENERATION_LAST (UINT64_C(1) << 60)

static struct fm_fiber *fiber_of(struct task *task)
{
    return (struct fm_fiber *)task; /* its first member */
}

struct fm_fiber *fm__fiber_self(void)
{
    return fiber_of(fm__sched_current());
}

uint64_t fm__self_id(void)
{
    struct fm_fiber *self = fm__fiber_self();
    return self ? fm__fiber_id(self) : 0;
}

/* ---- descriptors and references ---- */

static struct slab_cache *own_cache(void)
{
    struct fiber_worker *mine = fm__sched_user();
    return mine ? &mine->slab : NULL;
}

void fm__descriptor_reset(struct fm_fiber *fiber, struct fm_runtime *runtime,
                          enum fiber_kind kind)
{
    FM_ASSERT(kind != FIBER_NONE);
    fiber->task.next = NULL;
    fiber->task.ctx.fctx = NULL;
    fiber->task.stack = NULL;
    fiber->task.flags = TASK_SPAWNED;
    fiber->task.pinned = 0;
    fiber->task.since_tick = 0;
    fm__state_recycle(&fiber->state);
    fiber->runtime = runtime;
    fiber->entry = NULL;
    fiber->arg = NULL;
    /* relaxed, all of these: published by the references word below */
    atomic_store_explicit(&fiber->exits.head, 0, memory_order_relaxed);
    atomic_store_explicit(&fiber->exits.firing, NULL, memory_order_relaxed);
    fiber->scope = NULL;
    atomic_store_explicit(&fiber->interrupter, 0, memory_order_relaxed);
    atomic_store_explicit(&fiber->waits_for, NULL, memory_order_relaxed);
    fiber->parent_scope = NULL;
    fiber->owner.ended = NULL;
    atomic_store_explicit(&fiber->extra, NULL, memory_order_relaxed);
    fiber->spawn_site = NULL;
    fiber->arg_drop = NULL;
    fiber->value_drop = NULL;
    atomic_store_explicit(&fiber->waits_on, 0, memory_order_relaxed);
    fiber->mask_depth = 0;
    fiber->kind = (uint8_t)kind;
    fiber->flags = 0;
    fiber->pin_depth = 0;
    atomic_store_explicit(&fiber->budget, FIBER_BUDGET, memory_order_relaxed);
}

void fm__descriptor_publish(struct fm_fiber *fiber, unsigned references)
{
    FM_ASSERT(references && fiber->kind != FIBER_NONE);
    /* relaxed: nobody has a reference, so nobody else writes */
    uint64_t generation = atomic_load_explicit(&fiber->refs, memory_order_relaxed) & ~REF_MASK;
    /* release: with fm__fiber_ref_id, which dumps call for every slot */
    atomic_store_explicit(&fiber->refs, generation | references, memory_order_release);
}

static void recycle(struct fm_fiber *fiber, uint64_t generation)
{
    FM_ASSERT(!(generation & REF_MASK));
    struct fiber_extra *extra = atomic_load_explicit(&fiber->extra, memory_order_relaxed);
    if (extra) {
        free(extra->locals);
        free(extra->nest);
        free(extra);
    }
    fiber->kind = FIBER_NONE;
    /*
     * A slot whose generations are used up is never given out again: an id names one fiber for
     * ever.
     */
    if (generation + GENERATION_ONE >= GENERATION_LAST)
        return;
    atomic_store_explicit(&fiber->refs, generation + GENERATION_ONE, memory_order_release);
    fm__slab_give(own_cache(), fiber);
}

struct fm_fiber *fm_fiber_ref(struct fm_fiber *fiber)
{
    if (fiber) {
        /* relaxed: the caller has a reference, which keeps everything in place */
        uint64_t old = atomic_fetch_add_explicit(&fiber->refs, REF_ONE, memory_order_relaxed);
        FM_BUG_IF((old & REF_MASK) == 0 || (old & REF_MASK) > REF_MASK / 2,
                  "fiber %llu referenced with %llu references",
                  (unsigned long long)(old >> FIBER_ID_SLOT_BITS),
                  (unsigned long long)(old & REF_MASK));
    }
    return fiber;
}

static __attribute__((noinline)) void last_reference(struct fm_fiber *fiber, uint64_t generation)
{
    FM_ASSERT(!(generation & REF_MASK));
    if (fiber->value_drop &&
        fm__state_life(atomic_load_explicit(&fiber->state, memory_order_relaxed)) ==
            LIFE_DONE &&
        fiber->exit.kind != FM_INTERRUPTED && fiber->exit.value) {
        fm__lock_check_map("a drop");
        fiber->value_drop(fiber->exit.value);
    }
    recycle(fiber, generation);
}

struct fm_fiber *fm_fiber_unref(struct fm_fiber *fiber)
{
    if (!fiber)
        return NULL;
    /* acq_rel: all uses of the others happen before the recycling */
    uint64_t old = atomic_fetch_sub_explicit(&fiber->refs, REF_ONE, memory_order_acq_rel);
    FM_BUG_IF((old & REF_MASK) == 0, "a fiber's reference was dropped twice");
    if ((old & REF_MASK) == 1)
        last_reference(fiber, old & ~REF_MASK);
    return NULL;
}

struct fm_fiber *fm__fiber_ref_id(uint64_t id)
{
    return fm__slab_ref(id);
}

uint64_t fm__fiber_peek(uint64_t id)
{
    struct fm_fiber *fiber = fm__slab_find((uint32_t)(id & REF_MASK));
    if (!fiber)
        return LIFE_DONE;
    /*
     * The word, then whose it is: who reads what a later fiber of this slot made of the word
     * has read, with acquire, what came after the generation was raised.
     */
    uint64_t word = fm__state_read(&fiber->state);
    uint64_t refs = atomic_load_explicit(&fiber->refs, memory_order_acquire);
    return (refs & ~REF_MASK) == (id & ~REF_MASK) && (refs & REF_MASK) ? word : LIFE_DONE;
}

struct fiber_extra *fm__fiber_extra(struct fm_fiber *fiber)
{
    FM_ASSERT(fiber);
    /* acquire, with the release below: the extra is complete */
    struct fiber_extra *extra = atomic_load_explicit(&fiber->extra, memory_order_acquire);
    if (extra)
        return extra;
    struct fiber_extra *mine = fm__calloc(1, sizeof *mine);
    if (!mine)
        return NULL;
    fm__lock_init(&mine->lock, LOCK_SYNC);
    /* seq_cst: one side of the race told in fm_ready */
    if (atomic_compare_exchange_strong_explicit(&fiber->extra, &extra, mine,
                                                memory_order_seq_cst, memory_order_acquire))
        return mine;
    free(mine);
    return extra;
}

/* ---- making and starting ---- */

static void count_spawn(struct fm_runtime *runtime, int64_t n)
{
    FM_ASSERT(n == 1 || n == -1);
    struct fiber_worker *mine = fm__sched_user();
    if (mine && mine->runtime == runtime)
        fm__count(&mine->spawned, (uint64_t)n);
    else
        /* seq_cst: with shutdown, see fm_runtime_spawn */
        atomic_fetch_add_explicit(&runtime->foreign_spawned, (uint64_t)n, memory_order_seq_cst);
}

int fm__fiber_create(struct fm_runtime *runtime, fm_entry_fn *entry, void *arg,
                     const struct fm_spawn_options *options, const void *spawn_site,
                     bool extra_reference, struct fm_fiber **ret_fiber)
{
    FM_ASSERT(entry);
    FM_ASSERT(runtime && ret_fiber);
    struct slab_cache *cache = own_cache();
    if (!cache && fm__forked())
        return -EPERM;
    struct fm_fiber *fiber = fm__slab_take(cache);
    if (!fiber)
        return -ENOMEM;
    fm__descriptor_reset(fiber, runtime, FIBER_TASK);
    fiber->task.stack_class = (uint8_t)runtime->default_stack_class;
    fiber->entry = entry;
    fiber->arg = arg;
    fiber->spawn_site = spawn_site;
    if (options) {
        fiber->arg_drop = options->arg_drop;
        fiber->value_drop = options->value_drop;
        if (options->stack_bytes)
            fiber->task.stack_class = (uint8_t)fm__stack_class(options->stack_bytes);
        if (options->name) {
            struct fiber_extra *extra = fm__fiber_extra(fiber);
            if (!extra) {
                recycle(fiber, atomic_load_explicit(&fiber->refs, memory_order_relaxed));
                return -ENOMEM;
            }
            memcpy(extra->name, options->name, strnlen(options->name, sizeof extra->name - 1));
        }
    }
    fm__descriptor_publish(fiber, extra_reference ? 2 : 1);
    count_spawn(runtime, 1);
    if (runtime->config.max_fibers && fm__runtime_live(runtime) > runtime->config.max_fibers) {
        if (extra_reference)
            fm_fiber_unref(fiber);
        fm__fiber_discard(fiber);
        return -EAGAIN;
    }
    *ret_fiber = fiber;
    return 0;
}

void fm__fiber_start(struct fm_fiber *fiber)
{
    FM_ASSERT(fiber->kind == FIBER_TASK && fiber->entry);
    FM_PROBE2(spawn, fiber, fiber->spawn_site);
    struct sched *sched = &fiber->runtime->sched;
    fm__tsan_give(&fiber->task);
    fm__sched_ready(sched, &fiber->task);
}

void fm__fiber_discard(struct fm_fiber *fiber)
{
    FM_ASSERT(fiber->kind == FIBER_TASK);
    count_spawn(fiber->runtime, -1);
    fiber->value_drop = NULL;
    fm_fiber_unref(fiber);
}

/* ---- running and ending ---- */

/* What the interrupter left on record, as an exit. */
static bool interruption(struct fm_fiber *fiber, struct fm_exit *ret_exit)
{
    FM_ASSERT(ret_exit);
    /* acquire, with fm__fiber_interrupt */
    uint64_t who = atomic_load_explicit(&fiber->interrupter, memory_order_acquire);
    if (!who || who == INTERRUPTER_ASK)
        return false;
    *ret_exit = (struct fm_exit) { .kind = FM_INTERRUPTED,
                                   .reason = (uint8_t)(who & INTERRUPTER_REASON),
                                   .by = who >> 4 };
    return true;
}

/*
 * An exit as the body gave it: one that speaks of interruption becomes the interruption on
 * record.
 */
static struct fm_exit settle_exit(struct fm_fiber *fiber, struct fm_exit exit)
{
    struct fm_exit recorded;
    bool claims = exit.kind == FM_INTERRUPTED ||
                  (exit.kind == FM_FAILURE && exit.code == -ECANCELED);
    if (claims && interruption(fiber, &recorded)) {
        recorded.flags = exit.flags;
        return recorded;
    }
    if (exit.kind > FM_DEFECT)
        exit.kind = FM_DEFECT;
    return exit;
}

/* From the stored exit to the dropped reference. */
static void finish(struct fm_fiber *fiber, struct fm_exit exit)
{
    FM_ASSERT(fiber == fm__fiber_self());
    struct fm_runtime *runtime = fiber->runtime;
    struct exit_node node;
    bool owners_told = false;

    FM_PROBE3(end, fiber, exit.kind, exit.code);
    fiber->exit = exit;
    if (fiber->flags & FIBER_OWNED)
        fiber->owner.ended(fiber, exit);
    fm__state_end(&fiber->state);
    for (bool more = fm__exit_list_seal(&fiber->exits, &node); more;
         more = fm__exit_list_take(&fiber->exits, &node)) {
        if (node.kind == EXIT_OWNER) {
            node.fn(fiber, exit, node.arg);
            continue;
        }
        if (!owners_told) {
            owners_told = true;
            fm__exit_list_owners_told(&fiber->exits);
        }
        if (node.kind == EXIT_JOINER) {
            fm__wake((struct wait) { node.who, node.epoch }, WAKE_VALUE);
        } else {
            node.fn(fiber, exit, node.arg);
            fm__exit_list_fired(&fiber->exits);
        }
    }
    if (!owners_told)
        fm__exit_list_owners_told(&fiber->exits);
    /* seq_cst, with fm__fiber_extra in await_ready: see fm_ready */
    struct fiber_extra *extra = atomic_load_explicit(&fiber->extra, memory_order_seq_cst);
    if (extra)
        fm__waitlist_wake_all(fm__ready_waiters(extra), &extra->lock, WAKE_CLOSED);
    if (!(fiber->flags & FIBER_OWNED) && fiber->parent_scope)
        fm__scope_leave(fiber->parent_scope, fiber, exit);
    fm_fiber_unref(fiber);
    fm__runtime_fiber_ended(runtime);
}

static void never_ran(struct fm_fiber *fiber, struct fm_exit exit)
{
    FM_ASSERT(fiber == fm__fiber_self() && !fiber->scope);
    void *arg = fiber->arg;
    fm__lock_check_map("a drop");
    if (fiber->arg_drop)
        fiber->arg_drop(arg);
    finish(fiber, exit);
}

/* fiber->entry(fiber->arg), from its first line to the last drop. */
static inline struct fm_exit run_body(struct fm_fiber *fiber, struct fm_scope *outer,
                                      const void *note)
{
    FM_ASSERT(fiber == fm__fiber_self() && fiber->entry);
    struct fm_scope body;
    fm__scope_init(&body, fiber);
    if (outer) /* a constant NULL in each use but one */
        body.outer = outer;
    if (note)
        body.note = note;
    fiber->scope = &body;
    const struct fm_exit given = fiber->entry(fiber->arg);
    FM_BUG_IF(fm__forked(), "a fiber ends in a child made by fork: it may only exec or _exit");
    struct fm_exit exit = fm__scope_close_body(&body, settle_exit(fiber, given));
    fiber->scope = outer;
    /*
     * Where a finalizer's failure, a child's or an interruption took its place, nobody will see
     * the body's value any more.
     */
    if (given.kind != FM_INTERRUPTED && given.value && fiber->value_drop &&
        (exit.kind == FM_INTERRUPTED || exit.value != given.value))
        fiber->value_drop(given.value);
    fm__locals_drop(fiber);
    while (fiber->pin_depth) {
        fiber->pin_depth = 0;
        fm__sched_unpin(&fiber->task);
    }
    fm__held_check();
    return exit;
}

struct fm_exit fm__body_run(struct fm_fiber *fiber, fm_entry_fn *entry, void *arg,
                            const void *note)
{
    FM_ASSERT(fiber == fm__fiber_self() && entry);
    fiber->entry = entry;
    fiber->arg = arg;
    return run_body(fiber, fiber->scope, note);
}

void fm__fiber_run(struct task *task)
{
    FM_ASSERT(task->stack);
    struct fm_fiber *fiber = fiber_of(task);

    task->flags &= (uint8_t)~TASK_SPAWNED;
    if ((fm__state_read(&fiber->state) & STATE_INTERRUPT) && !fm__again_outlives(fiber)) {
        struct fm_exit exit;
        interruption(fiber, &exit);
        never_ran(fiber, exit);
        return;
    }
    finish(fiber, run_body(fiber, NULL, NULL));
}

void fm__fiber_no_stack(struct task *task)
{
    never_ran(fiber_of(task), fm_fail(-ENOMEM));
}

bool fm__fiber_parked(struct task *task)
{
    return fm__state_commit(&fiber_of(task)->state);
}

struct fm_exit fm__settle_exit(struct fm_fiber *fiber, struct fm_exit exit)
{
    return settle_exit(fiber, exit);
}
