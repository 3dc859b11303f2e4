/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/scope.h - structured lifetimes: children and finalizers end with their scope
 *
 * Closing a scope, in this order: its children are signalled (FM_BY_PARENT) and awaited, then
 * its finalizers run, last registered first, masked, each even if another fails. Every fiber's
 * body is a scope. Fiber only, but for fm_scoped.
 */
#ifndef FM_SCOPE_H
#define FM_SCOPE_H

#include "fm/fiber.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fm_scope;

/*
 * Runs at the close of its scope. A result < 0 is a failure: it turns a success into
 * failure(result).
 */
typedef int fm_finalizer_fn(void *arg, struct fm_exit exit);

/*
 * the first failing child interrupts its siblings, those too that are spawned after it, which
 * never run; the scope's exit becomes its, but for the value
 */
#define FM_SCOPE_FAIL_FAST 1u

/* Run entry(arg) in a scope of its own and close that. From a thread: fm_defect(-EPERM). */
FM_API struct fm_exit fm_scoped(fm_entry_fn *entry, void *arg);
/* Open a scope inside the innermost one: 0 · -EPERM · -ENOMEM · -EINVAL (flags). */
FM_API int fm_scope_open(struct fm_scope **ret_scope);
FM_API int fm_scope_open_with(uint32_t flags, struct fm_scope **ret_scope);
/*
 * Close the innermost scope; `exit` is what its finalizers are told. Returns the exit as the
 * finalizers and, under FM_SCOPE_FAIL_FAST, the children left it. A scope that is not the
 * innermost: fm_defect(-EINVAL), nothing closed.
 */
FM_API struct fm_exit fm_scope_close(struct fm_scope *scope, struct fm_exit exit);
/*
 * Register a finalizer on the innermost scope: 0 · -EPERM · -ENOMEM · -EINVAL. While that scope
 * is running its finalizers, fn is run at once.
 */
FM_API int fm_defer(fm_finalizer_fn *fn, void *arg);
/* The same; fn runs only if the exit is an interruption. */
FM_API int fm_defer_on_interrupt(fm_finalizer_fn *fn, void *arg);
/*
 * fm_acquire - take a resource that the scope gives back
 *
 * acquire(arg, &resource) runs masked; if it returns 0, release(resource, exit) is registered
 * before any interruption can be seen. Returns 0 · the failure of acquire · -EPERM · -ENOMEM
 * (acquire was not called) · -EINVAL
 */
typedef int fm_acquire_fn(void *arg, void **ret_resource);
FM_API int fm_acquire(fm_acquire_fn *acquire, void *arg, fm_finalizer_fn *release,
                      void **ret_resource);
/* Wait for the children of the innermost scope: 0 · -ECANCELED · -ETIMEDOUT · -EPERM */
FM_API int fm_scope_wait(int64_t deadline_ns);

#ifdef __cplusplus
}
#endif
#endif
