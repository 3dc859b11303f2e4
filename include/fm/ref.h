/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/ref.h - values that are shared and never change, and a cell that holds the present one
 *
 * A struct fm_value is a counted box around a pointer: what it points to must not change while
 * anybody may read it. A struct fm_ref is a cell with the present value. Whoever gets it reads
 * a whole value for as long as he likes, whatever is set meanwhile: configuration, routing
 * tables, snapshots. Nothing here ever waits.
 */
#ifndef FM_REF_H
#define FM_REF_H

#include "fm/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fm_value;
struct fm_ref;

/*
 * fm_value_create - a box around a pointer, with one reference, the caller's
 *
 * drop       NULL, or called with the pointer when the last reference goes, by whoever drops
 *            that, in his fiber or thread, with no lock held.
 *
 * Returns    0 · -ENOMEM (drop is not called) · -EINVAL
 */
FM_API int fm_value_create(void *pointer, fm_drop_fn *drop, struct fm_value **ret_value);
/* One more, one less; NULL-safe. unref returns NULL. */
FM_API struct fm_value *fm_value_ref(struct fm_value *value);
FM_API struct fm_value *fm_value_unref(struct fm_value *value);
/* What is in it; valid while the caller holds a reference. NULL for NULL. */
FM_API void *fm_value_pointer(const struct fm_value *value);

/* A cell that holds this value, by a reference of its own. 0 · -ENOMEM · -EINVAL */
FM_API int fm_ref_create(struct fm_value *value, struct fm_ref **ret_ref);
/* Nobody may use it any more; values that were got stay good. NULL-safe, returns NULL. */
FM_API struct fm_ref *fm_ref_destroy(struct fm_ref *ref);

/*
 * fm_ref_get - the present value, with a reference for the caller
 *
 * Returns    the value, to be dropped with fm_value_unref(); NULL only for NULL.
 *
 * Callers    any fiber, any thread, as many at once as there are. Never waits.
 * Order      what the setter did before the set happens before this returns.
 * Cost       one atomic addition, whatever others do; the unref is another, elsewhere.
 */
FM_API struct fm_value *fm_ref_get(struct fm_ref *ref);

/*
 * Put another value in its place. The cell takes a reference of its own, the caller keeps his.
 * 0 · -EINVAL
 */
FM_API int fm_ref_set(struct fm_ref *ref, struct fm_value *value);

/*
 * What makes the next value of the present one. Leaves *ret_next NULL where nothing is to
 * change, else gives a reference to what shall stand there, which the cell takes over. A
 * failure is passed up and changes nothing.
 */
typedef int fm_ref_fn(void *ctx, struct fm_value *present, struct fm_value **ret_next);

/*
 * fm_ref_update - replace the value by one made of it, as if in one step
 *
 * fn         called in the caller, with no lock held; once more, with the value that stands
 *            there by then, each time that another was faster. What it made in vain is dropped.
 *
 * Returns    0 · what fn failed with · -EINVAL
 */
FM_API int fm_ref_update(struct fm_ref *ref, fm_ref_fn *fn, void *ctx);
/*
 * The same, and tells what it did: the value that fn was given the last time and the one that
 * stands in its place, each with a reference for the caller; the same one twice where nothing
 * changed.
 */
FM_API int fm_ref_modify(struct fm_ref *ref, fm_ref_fn *fn, void *ctx,
                         struct fm_value **ret_before, struct fm_value **ret_after);

#ifdef __cplusplus
}
#endif
#endif
