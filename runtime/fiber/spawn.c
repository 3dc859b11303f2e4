/*
 * spawn.c - the public calls that start fibers and hold them
 */
#include <errno.h>
#include <string.h>

#include "runtime/context/stack.h"
#include "runtime/fiber/run.h"
#include "runtime/fiber/runtime.h"
#include "runtime/fiber/scope.h"
#include "runtime/platform/config.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/probe.h"

#define SPAWN_SITE() __builtin_return_address(0)

static int read_options(struct fm_spawn_options *options, const struct fm_spawn_options *given)
{
    int r = fm__config_read(options, sizeof *options, given);
    if (r < 0)
        return r;
    if (options->flags & ~(FM_SPAWN_DETACHED | FM_SPAWN_FIRST) || options->reserved)
        return -EINVAL;
    if (options->stack_bytes && fm__stack_class(options->stack_bytes) < 0)
        return -EINVAL;
    return 0;
}

static void discard(struct fm_fiber *fiber, bool reference)
{
    FM_ASSERT(fiber->kind == FIBER_TASK);
    if (reference)
        fm_fiber_unref(fiber);
    fm__fiber_discard(fiber);
}

/* Create, in no scope. Not started. */
static int make(struct fm_fiber *self, fm_entry_fn *entry, void *arg,
                const struct fm_spawn_options *options, const void *site, bool reference,
                struct fm_fiber **ret_fiber)
{
    FM_ASSERT(self == fm__fiber_self() && entry);
    int r = fm__fiber_create(self->runtime, entry, arg, options, site, reference, ret_fiber);
    if (r < 0 || !atomic_load_explicit(&self->extra, memory_order_relaxed))
        return r;
    r = fm__locals_inherit(*ret_fiber, self);
    if (r < 0)
        discard(*ret_fiber, reference);
    return r;
}

int fm_fiber_spawn(fm_entry_fn *entry, void *arg, const struct fm_spawn_options *given,
                   struct fm_fiber **ret_fiber)
{
    struct fm_spawn_options storage, *options = NULL;
    struct fm_fiber *self = fm__fiber_self(), *fiber;

    if (!entry)
        return -EINVAL;
    if (!self)
        return -EPERM;
    if (given) {
        int r = read_options(&storage, given);
        if (r < 0)
            return r;
        options = &storage;
    }
    int r = make(self, entry, arg, options, SPAWN_SITE(), ret_fiber != NULL, &fiber);
    if (r < 0)
        return r;
    if (!(options && options->flags & FM_SPAWN_DETACHED)) {
        /* no scope: the body is over, an observer or a drop function spawns */
        r = self->scope ? fm__scope_add(self->scope, fiber) : -ESHUTDOWN;
        if (r < 0) {
            discard(fiber, ret_fiber != NULL);
            return r;
        }
    }
    if (ret_fiber)
        *ret_fiber = fiber;
    if (options && options->flags & FM_SPAWN_FIRST) {
        FM_PROBE2(spawn, fiber, fiber->spawn_site);
        fm__sched_run_first(&self->task, &fiber->task);
    } else {
        fm__fiber_start(fiber);
    }
    return 0;
}

int fm_runtime_spawn(struct fm_runtime *runtime, fm_entry_fn *entry, void *arg,
                     const struct fm_spawn_options *given, struct fm_fiber **ret_fiber)
{
    struct fm_spawn_options options;
    struct fm_fiber *fiber;

    if (!runtime || !entry)
        return -EINVAL;
    int r = read_options(&options, given);
    if (r < 0)
        return r;
    struct fm_fiber *self = fm__fiber_self();
    /*
     * seq_cst: after shutdown has begun nothing more comes from outside; its own fibers may
     * still clean up
     */
    if (atomic_load_explicit(&runtime->stopping, memory_order_seq_cst) &&
        !(self && self->runtime == runtime))
        return -ESHUTDOWN;
    r = fm__fiber_create(runtime, entry, arg, &options, SPAWN_SITE(), ret_fiber != NULL,
                         &fiber);
    if (r < 0)
        return r;
    /*
     * Once more, now that the fiber is counted: either shutdown finds it or we find the
     * shutdown. seq_cst on both sides, as are the count of foreign spawns and its reading.
     */
    if (!(self && self->runtime == runtime) &&
        atomic_load_explicit(&runtime->stopping, memory_order_seq_cst)) {
        if (ret_fiber)
            fm_fiber_unref(fiber);
        fm__fiber_discard(fiber);
        return -ESHUTDOWN;
    }
    if (ret_fiber)
        *ret_fiber = fiber;
    fm__fiber_start(fiber);
    return 0;
}

int fm_fiber_spawn_many(fm_entry_fn *entry, void *const args[], size_t count,
                        const struct fm_spawn_options *given, struct fm_fiber *ret_fibers[])
{
    struct fm_spawn_options options;
    struct fm_fiber *self = fm__fiber_self(), *first = NULL, *last = NULL;

    if (!entry)
        return -EINVAL;
    if (!self)
        return -EPERM;
    int r = read_options(&options, given);
    if (r < 0)
        return r;
    /*
     * All are made before the first one starts; until then they hang on one another by their
     * task links.
     */
    size_t made = 0;
    for (; made < count; made++) {
        struct fm_fiber *fiber;
        r = make(self, entry, args ? args[made] : NULL, &options, SPAWN_SITE(),
                 ret_fibers != NULL, &fiber);
        if (r < 0)
            break;
        if (last)
            last->task.next = &fiber->task;
        else
            first = fiber;
        last = fiber;
        if (ret_fibers)
            ret_fibers[made] = fiber;
    }
    if (r == 0 && first && !(options.flags & FM_SPAWN_DETACHED))
        r = self->scope ? fm__scope_add_many(self->scope, first) : -ESHUTDOWN;
    for (struct fm_fiber *fiber = first, *next; fiber; fiber = next) {
        next = (struct fm_fiber *)fiber->task.next;
        if (r == 0)
            fm__fiber_start(fiber);
        else
            discard(fiber, ret_fibers != NULL);
    }
    return r;
}

struct fm_fiber *fm_fiber_self(void)
{
    return fm__fiber_self();
}

uint64_t fm_fiber_id(const struct fm_fiber *fiber)
{
    return fiber ? fm__fiber_id(fiber) : 0;
}

const char *fm_fiber_name(const struct fm_fiber *fiber)
{
    struct fiber_extra *extra = fiber
                                    ? atomic_load_explicit(&fiber->extra, memory_order_acquire)
                                    : NULL;
    return extra ? extra->name : "";
}

int fm_check(void)
{
    struct fm_fiber *self = fm__fiber_self();
    return self ? fm__fiber_check(self) : 0;
}

int fm_mask(void)
{
    struct fm_fiber *self = fm__fiber_self();
    if (!self)
        return -EPERM;
    if (self->mask_depth == UINT16_MAX)
        return -EOVERFLOW;
    self->mask_depth++;
    return 0;
}

int fm_unmask(void)
{
    struct fm_fiber *self = fm__fiber_self();
    if (!self)
        return -EPERM;
    if (self->mask_depth == 0)
        return -EINVAL;
    self->mask_depth--;
    return 0;
}

bool fm_masked(void)
{
    struct fm_fiber *self = fm__fiber_self();
    return self && self->mask_depth;
}

int fm_interrupt_info(struct fm_exit *ret_exit)
{
    struct fm_fiber *self = fm__fiber_self();
    if (!self)
        return -EPERM;
    if (!fm__fiber_interrupted(self))
        return -ENOENT;
    if (ret_exit)
        *ret_exit = fm__settle_exit(self, fm_interrupted());
    return 0;
}

int fm_pin(void)
{
    struct fm_fiber *self = fm__fiber_self();
    if (!self)
        return -EPERM;
    if (self->pin_depth == UINT16_MAX)
        return -EOVERFLOW;
    if (self->pin_depth++ == 0)
        fm__sched_pin(&self->task);
    return 0;
}

int fm_unpin(void)
{
    struct fm_fiber *self = fm__fiber_self();
    if (!self)
        return -EPERM;
    if (self->pin_depth == 0)
        return -EINVAL;
    if (--self->pin_depth == 0)
        fm__sched_unpin(&self->task);
    return 0;
}
