/*
 * share.c - callers that share one run
 *
 * Who comes to a key that is held waits for the fiber there, who finds it free starts one: both
 * are decided, and the caller is counted in the entry, under the stripe lock that also decides
 * whose run it is (conflict.c). What they wait for is that fiber's exit, so all get the same
 * one, and the next caller after it finds the key free: nothing is kept here.
 *
 *   a waiter leaves                         a caller comes
 *     lock                                    lock
 *       waiters -= 1                            STOPPING: a fresh run takes the key over
 *       none, STOPS, still under the key:       else waiters += 1
 *         set STOPPING                        unlock
 *     unlock
 *     set: interrupt the fiber
 *
 * The locks have one order. If the caller was first, the leaver is not the last; if the leaver
 * was, the caller sees STOPPING and never gets the exit of a run that was given up. A waiter
 * who got the exit does not count himself out: the entry has been left.
 *
 * Callers     fibers and threads that may wait.
 */
#include "fibermap/share.h"

#include <errno.h>

#include "fibermap/conflict.h"
#include "fibermap/idle.h"
#include "fibermap/map.h"
#include "fibermap/member.h"
#include "runtime/platform/config.h"

/* Whether the fiber is still under its key; an entry that is used again is another fiber's. */
static bool is_present(struct entry *entry, uint64_t id)
{
    FM_ASSERT(entry && id);
    return fm__entry_counted(fm__entry_read(entry)) == id;
}

/* The caller has waited for the fiber, and waits no more. */
static void leave(struct fm_map *map, struct entry *home, uint64_t id)
{
    FM_ASSERT(home && id);
    struct stripe *stripe;
    bool last = false;

    struct entry *entry = fm__home_lock(map, home, &stripe);
    if (is_present(entry, id)) {
        entry->shared--;
        FM_ASSERT((entry->shared & SHARED_WAITERS) != SHARED_WAITERS);
        fm__idle_use_locked(stripe, entry);
        last = (entry->shared & SHARED_STOPS) && !(entry->shared & SHARED_WAITERS);
        if (last)
            entry->shared |= SHARED_STOPPING;
    }
    fm__unlock(&stripe->lock);
    if (last)
        fm__member_signal(id, FM_BY_LAST_WAITER);
}

static int hand_out(struct fm_fiber *fiber, struct fm_exit exit, struct fm_exit *ret_exit)
{
    FM_ASSERT(fiber);
    if (fiber->value_drop && exit.kind != FM_INTERRUPTED)
        exit.value = NULL; /* goes with the last reference, which may be ours */
    if (ret_exit)
        *ret_exit = exit;
    return 0;
}

static int await(struct fm_fiber *fiber, int64_t deadline_ns, struct fm_exit *ret_exit)
{
    FM_ASSERT(fiber);
    struct fm_exit exit;
    if (fiber == fm__fiber_self())
        return FM_MAP_SELF;
    int r = fm_fiber_join(fiber, deadline_ns, &exit);
    return r < 0 ? r : hand_out(fiber, exit, ret_exit);
}

/* Of run_wait: those of a run that joins, in *copy. 0 · -EINVAL · -E2BIG */
static int options_read(const struct fm_map_run_options *given, struct fm_map_run_options *copy,
                        struct run_more *more)
{
    FM_ASSERT(given && copy);
    int r = fm__config_read(copy, sizeof *copy, given);
    if (r < 0)
        return r;
    if (copy->conflict != FM_REPLACE && copy->conflict != FM_JOIN)
        return -EINVAL;
    copy->size = sizeof *copy;
    copy->conflict = FM_JOIN;
    more->stops = copy->flags & FM_MAP_STOP_WITH_LAST_WAITER;
    copy->flags &= ~FM_MAP_STOP_WITH_LAST_WAITER;
    return fm__run_options_check(copy);
}

int fm_map_run_wait(struct fm_map *map, struct fm_key given, fm_entry_fn *entry, void *arg,
                    const struct fm_map_run_options *given_options, int64_t deadline_ns,
                    struct fm_exit *ret_exit)
{
    const struct fm_map_run_options *options = &fm__run_to_join;
    struct fm_map_run_options copy;
    struct run_more more = { .waits = true };
    struct map_key key;

    int r = 0;
    if (given_options) {
        r = options_read(given_options, &copy, &more);
        options = &copy;
    }
    if (r == 0)
        r = fm__wait_prepare(); /* better refused now than when the run has begun */
    if (r < 0)
        return r;
    if (!map || !entry || !fm__key_read(&key, &map->seed, given))
        return -EINVAL;
    struct fm_fiber *fiber = fm__conflict_join(map, &key, options, &more);
    if (fiber) {
        r = FM_MAP_KEPT;
    } else {
        more.looked = &key;
        r = fm__map_run(map, given, entry, arg, options, __builtin_return_address(0), &more,
                        &fiber);
        if (r < 0)
            return r;
    }
    bool shared = r == FM_MAP_KEPT || r == FM_MAP_REUSED;
    if (shared && options->arg_drop)
        options->arg_drop(arg);
    if (r == FM_MAP_REUSED)
        /* written before it was retained; that it is public may take an instant more */
        r = hand_out(fiber, fiber->exit, ret_exit);
    else
        r = await(fiber, deadline_ns, ret_exit);
    if (r != 0)
        leave(map, more.home, fm__fiber_id(fiber));
    fm_fiber_unref(fiber);
    return r == 0 && shared ? FM_MAP_KEPT : r;
}
