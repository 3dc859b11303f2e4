/*
 * scope.c - children and finalizers
 *
 * Owns        finalizers; scopes that fm_scope_open made. The scope of a body lives on its
 *             stack.
 * Invariant   a child is on its parent scope's list from before it starts until its very end,
 *             so the scope outlives it.
 * Close       no more children · signal them · wait until none is left · finalizers, masked,
 *             newest first.
 */
#include "runtime/fiber/scope.h"

#include <errno.h>
#include <stdlib.h>

#include "runtime/fiber/run.h"
#include "runtime/fiber/runtime.h"
#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"

struct finalizer {
    struct finalizer *next;
    fm_finalizer_fn *fn;
    void *arg;
    bool on_interrupt;
};

void fm__scope_init(struct fm_scope *scope, struct fm_fiber *fiber)
{
    FM_ASSERT(fiber);
    scope->outer = NULL;
    scope->fiber = fiber;
    scope->finalizers = NULL;
    scope->note = NULL;
    scope->flags = 0;
    scope->on_heap = false;
    scope->finalizing = false;
    scope->had_children = false;
    fm__lock_init(&scope->lock, LOCK_SCOPE);
    scope->children = NULL;
    scope->count = 0;
    scope->closing = false;
    scope->waited = false;
    scope->failed = false;
}

static void add_locked(struct fm_scope *scope, struct fm_fiber *child)
{
    FM_ASSERT(fm__lock_held(&scope->lock));
    FM_ASSERT(!scope->closing && !(child->flags & FIBER_OWNED));
    child->parent_scope = scope;
    child->sibling_prev = NULL;
    child->sibling_next = scope->children;
    if (scope->children)
        scope->children->sibling_prev = child;
    scope->children = child;
    scope->count++;
    if (scope->failed) /* it came after its siblings were signalled */
        fm__fiber_interrupt(child, FM_BY_PARENT);
}

int fm__scope_add(struct fm_scope *scope, struct fm_fiber *child)
{
    FM_ASSERT(child->kind == FIBER_TASK);
    scope->had_children = true;
    fm__lock(&scope->lock);
    bool open = !scope->closing;
    if (open)
        add_locked(scope, child);
    fm__unlock(&scope->lock);
    return open ? 0 : -ESHUTDOWN;
}

int fm__scope_add_many(struct fm_scope *scope, struct fm_fiber *first)
{
    FM_ASSERT(first);
    scope->had_children = true;
    fm__lock(&scope->lock);
    bool open = !scope->closing;
    for (struct task *task = &first->task; open && task; task = task->next)
        add_locked(scope, (struct fm_fiber *)task); /* its first member */
    fm__unlock(&scope->lock);
    return open ? 0 : -ESHUTDOWN;
}

/* Those on the list cannot go while we hold the lock: their last step is to take it. */
static void signal_children_locked(struct fm_scope *scope)
{
    FM_ASSERT(fm__lock_held(&scope->lock));
    for (struct fm_fiber *child = scope->children; child; child = child->sibling_next)
        fm__fiber_interrupt(child, FM_BY_PARENT);
}

void fm__scope_leave(struct fm_scope *scope, struct fm_fiber *child, struct fm_exit exit)
{
    FM_ASSERT(child->parent_scope == scope);
    struct wait waiter;
    bool wake = false;

    fm__lock(&scope->lock);
    if (child->sibling_prev)
        child->sibling_prev->sibling_next = child->sibling_next;
    else
        scope->children = child->sibling_next;
    if (child->sibling_next)
        child->sibling_next->sibling_prev = child->sibling_prev;
    FM_ASSERT(scope->count);
    scope->count--;
    FM_ASSERT(!scope->count == !scope->children);
    bool failure = exit.kind == FM_FAILURE || exit.kind == FM_DEFECT;
    if (failure && scope->flags & FM_SCOPE_FAIL_FAST && !scope->failed) {
        scope->failed = true;
        scope->first_failure = exit;
        scope->first_failure.value = NULL; /* the child's own, dropped with it */
        signal_children_locked(scope);
    }
    if (scope->count == 0 && scope->waited) {
        scope->waited = false;
        waiter = scope->waiter;
        wake = true;
    }
    /* The closer may free the scope as soon as this is unlocked. */
    fm__unlock(&scope->lock);
    if (wake)
        fm__wake(waiter, WAKE_VALUE);
}

/* Wait until no child is left. The lock is held on entry, free on return. */
static int await_children_locked(struct fm_scope *scope, int64_t deadline_ns, unsigned flags)
{
    FM_ASSERT(fm__lock_held(&scope->lock));
    FM_ASSERT(!(flags & ~(unsigned)WAIT_MASKED));
    while (scope->count) {
        if (deadline_ns <= 0) {
            fm__unlock(&scope->lock);
            return -ETIMEDOUT;
        }
        int r = fm__wait_begin(&scope->waiter, flags, "children");
        if (r < 0) {
            fm__unlock(&scope->lock);
            return r;
        }
        scope->waited = true;
        struct wait wait = scope->waiter;
        fm__unlock(&scope->lock);
        r = fm__wake_result(fm__wait_end(wait, deadline_ns));
        fm__lock(&scope->lock);
        if (r < 0) {
            scope->waited = false;
            fm__unlock(&scope->lock);
            return r;
        }
    }
    fm__unlock(&scope->lock);
    return 0;
}

/* exit, as one finalizer's result leaves it. */
static struct fm_exit after_finalizer(struct fm_fiber *fiber, struct fm_exit exit, int result)
{
    FM_ASSERT(fiber == fm__fiber_self());
    if (result >= 0)
        return exit;
    if (exit.kind == FM_SUCCESS)
        return fm_fail(result);
    if (!(exit.flags & FM_EXIT_FINALIZER_FAILED)) {
        exit.flags |= FM_EXIT_FINALIZER_FAILED;
        struct fiber_extra *extra = fm__fiber_extra(fiber);
        /* without memory for it the flag alone tells */
        if (extra && !extra->finalizer_failed) {
            extra->finalizer_failed = true;
            extra->finalizer_exit = fm_fail(result);
        }
    }
    return exit;
}

static struct fm_exit close_down_to(struct fm_scope *scope, struct fm_exit exit);

static struct fm_exit close_scope(struct fm_scope *scope, struct fm_exit exit)
{
    FM_ASSERT(scope->fiber->scope == scope && !scope->finalizing);
    struct fm_fiber *fiber = scope->fiber;

    fm__lock(&scope->lock);
    scope->closing = true;
    signal_children_locked(scope);
    int r = await_children_locked(scope, FM_NEVER, WAIT_MASKED);
    FM_BUG_IF(r != 0, "a scope's children were not awaited: %s", fm_strerror(r));
    FM_ASSERT(!scope->count && !scope->children);
    if (scope->failed && exit.kind != FM_FAILURE && exit.kind != FM_DEFECT)
        exit = scope->first_failure;
    scope->finalizing = true;
    const uint16_t depth = ++fiber->mask_depth;
    while (scope->finalizers) {
        struct finalizer finalizer = *scope->finalizers;
        free(scope->finalizers);
        scope->finalizers = finalizer.next;
        if (finalizer.on_interrupt && exit.kind != FM_INTERRUPTED)
            continue;
        exit = after_finalizer(fiber, exit, finalizer.fn(finalizer.arg, exit));
        /*
         * A finalizer that forgets a scope or a mask does not take it away from those that
         * follow.
         */
        close_down_to(scope, exit);
        fiber->mask_depth = depth;
    }
    fiber->mask_depth--;
    fiber->scope = scope->outer;
    return exit;
}

/* Close what stands open inside `scope`, innermost first. */
static struct fm_exit close_down_to(struct fm_scope *scope, struct fm_exit exit)
{
    FM_ASSERT(scope->fiber == fm__fiber_self());
    struct fm_fiber *fiber = scope->fiber;
    while (fiber->scope != scope) {
        struct fm_scope *left_open = fiber->scope;
        exit = close_scope(left_open, exit);
        if (left_open->on_heap)
            free(left_open);
    }
    return exit;
}

struct fm_exit fm__scope_close_body(struct fm_scope *body, struct fm_exit exit)
{
    FM_ASSERT(body->fiber == fm__fiber_self());
    struct fm_fiber *fiber = body->fiber;
    /* Masks that the body did not take back end with it; the finalizers have their own. */
    fiber->mask_depth = 0;
    for (;;) {
        struct fm_scope *scope = fiber->scope;
        /*
         * The common body has neither: nobody else has ever known its scope. A count that has
         * fallen to 0 would not do: the last child may still be about to unlock.
         */
        if (scope == body && !scope->finalizers && !scope->had_children)
            return exit;
        exit = close_scope(scope, exit);
        if (scope->on_heap)
            free(scope);
        if (scope == body)
            return exit;
    }
}

struct fm_exit fm__scoped(struct fm_fiber *self, fm_entry_fn *entry, void *arg,
                          const void *note)
{
    FM_ASSERT(self == fm__fiber_self());
    FM_ASSERT(entry);
    struct fm_scope scope;

    fm__scope_init(&scope, self);
    scope.note = note;
    scope.outer = self->scope;
    self->scope = &scope;
    struct fm_exit exit = fm__settle_exit(self, entry(arg));
    /* scopes that the entry left open close first */
    return close_scope(&scope, close_down_to(&scope, exit));
}

const void *fm__scope_note(struct fm_fiber *self)
{
    FM_ASSERT(self == fm__fiber_self());
    for (struct fm_scope *scope = self->scope; scope; scope = scope->outer)
        if (scope->note)
            return scope->note;
    return NULL;
}

/* ---- public ---- */

int fm_scope_open_with(uint32_t flags, struct fm_scope **ret_scope)
{
    struct fm_fiber *self = fm__fiber_self();
    if (!ret_scope || flags & ~FM_SCOPE_FAIL_FAST)
        return -EINVAL;
    if (!self)
        return -EPERM;
    struct fm_scope *scope = fm__malloc(sizeof *scope);
    if (!scope)
        return -ENOMEM;
    fm__scope_init(scope, self);
    scope->on_heap = true;
    scope->flags = flags;
    scope->outer = self->scope;
    self->scope = scope;
    *ret_scope = scope;
    return 0;
}

int fm_scope_open(struct fm_scope **ret_scope)
{
    return fm_scope_open_with(0, ret_scope);
}

struct fm_exit fm_scope_close(struct fm_scope *scope, struct fm_exit exit)
{
    struct fm_fiber *self = fm__fiber_self();
    if (!self)
        return fm_defect(-EPERM);
    if (!scope || self->scope != scope || !scope->on_heap || scope->finalizing)
        return fm_defect(-EINVAL);
    exit = close_scope(scope, fm__settle_exit(self, exit));
    free(scope);
    return exit;
}

struct fm_exit fm_scoped(fm_entry_fn *entry, void *arg)
{
    struct fm_fiber *self = fm__fiber_self();
    if (!self)
        return fm_defect(-EPERM);
    if (!entry)
        return fm_defect(-EINVAL);
    return fm__scoped(self, entry, arg, NULL);
}

static int defer(fm_finalizer_fn *fn, void *arg, bool on_interrupt)
{
    struct fm_fiber *self = fm__fiber_self();
    if (!fn)
        return -EINVAL;
    if (!self || !self->scope) /* a thread, or a fiber whose body is over */
        return -EPERM;
    struct finalizer *finalizer = fm__malloc(sizeof *finalizer);
    if (!finalizer)
        return -ENOMEM;
    /*
     * While the scope's finalizers run, the newest is the next to run: at once, after the one
     * that registers it.
     */
    *finalizer = (struct finalizer) { self->scope->finalizers, fn, arg, on_interrupt };
    self->scope->finalizers = finalizer;
    return 0;
}

int fm_defer(fm_finalizer_fn *fn, void *arg)
{
    return defer(fn, arg, false);
}

int fm_defer_on_interrupt(fm_finalizer_fn *fn, void *arg)
{
    return defer(fn, arg, true);
}

/*
 * A finalizer that calls release(resource): its place is taken before the resource is, so that
 * nothing can fail in between.
 */
int fm_acquire(fm_acquire_fn *acquire, void *arg, fm_finalizer_fn *release, void **ret_resource)
{
    struct fm_fiber *self = fm__fiber_self();
    void *resource = NULL;

    if (!acquire || !release)
        return -EINVAL;
    if (!self || !self->scope) /* a thread, or a fiber whose body is over */
        return -EPERM;
    struct finalizer *finalizer = fm__malloc(sizeof *finalizer);
    if (!finalizer)
        return -ENOMEM;
    self->mask_depth++;
    int r = acquire(arg, &resource);
    self->mask_depth--;
    if (r < 0) {
        free(finalizer);
        return r;
    }
    *finalizer = (struct finalizer) { self->scope->finalizers, release, resource, false };
    self->scope->finalizers = finalizer;
    if (ret_resource)
        *ret_resource = resource;
    return 0;
}

int fm_scope_wait(int64_t deadline_ns)
{
    struct fm_fiber *self = fm__fiber_self();
    if (!self || !self->scope)
        return -EPERM;
    if (deadline_ns > 0)
        fm__budget_spend_by(self);
    fm__lock(&self->scope->lock);
    return await_children_locked(self->scope, deadline_ns, 0);
}
