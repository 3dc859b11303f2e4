/*
 * scope.h - the children and finalizers of one stretch of a fiber's code
 */
#ifndef FM_RUNTIME_FIBER_SCOPE_H
#define FM_RUNTIME_FIBER_SCOPE_H

#include "fm/scope.h"
#include "runtime/fiber/fiber.h"
#include "runtime/platform/lock.h"

struct finalizer;

struct fm_scope {
    struct fm_scope *outer;
    struct fm_fiber *fiber;
    struct finalizer *finalizers; /* newest first; the fiber's own */
    const void *note;             /* what the room above that opened it keeps with it */
    uint32_t flags;
    bool on_heap;
    bool finalizing;   /* its finalizers are running: it cannot be closed again */
    bool had_children; /* the fiber's own: only it adds children */
    struct lock lock;  /* LOCK_SCOPE: what follows */
    struct fm_fiber *children;
    uint64_t count;
    bool closing; /* no child can be added */
    bool waited;  /* `waiter` wants to know when count is 0 */
    bool failed;  /* FM_SCOPE_FAIL_FAST: first_failure is set */
    struct wait waiter;
    struct fm_exit first_failure;
};

/* The body's own scope, on the fiber's stack. */
void fm__scope_init(struct fm_scope *scope, struct fm_fiber *fiber);
/* fm_scoped, from a fiber, with a note that code running in the scope can find. */
struct fm_exit fm__scoped(struct fm_fiber *self, fm_entry_fn *entry, void *arg,
                          const void *note);
/* The note of the innermost scope that has one, NULL if none has. */
const void *fm__scope_note(struct fm_fiber *self);
/* Close it and every scope that the body left open, innermost first. */
struct fm_exit fm__scope_close_body(struct fm_scope *body, struct fm_exit exit);
/* Add a child that has not started: 0 · -ESHUTDOWN. */
int fm__scope_add(struct fm_scope *scope, struct fm_fiber *child);
/* The same for all that hang on `first` by their task links: all or none. */
int fm__scope_add_many(struct fm_scope *scope, struct fm_fiber *first);
/* A child has ended, observers and all. */
void fm__scope_leave(struct fm_scope *scope, struct fm_fiber *child, struct fm_exit exit);

#endif
