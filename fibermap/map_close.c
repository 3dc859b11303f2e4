/*
 * map_close.c - closing and destroying
 *
 *     OPEN --- shut: the first closer ---> CLOSING      (closed: CLOSING without members)
 *
 * shut() flips the state, brings the verdict (success, if there was none), and visits every
 * stripe lock once. After that no run or set is in flight, so the entries that are there are
 * all there will ever be: they can be signalled and counted without a lock. Every closer does
 * the same, so a second one needs nothing from the first.
 *
 * A stranger waits on the count; its zero is what allows the memory to be freed. A member is
 * part of the count, so it awaits all others one by one. Two members that close the map at once
 * join each other: the later join is told the ring (-EDEADLK) and leaves that one out, as it
 * leaves out itself.
 */
#include <errno.h>
#include <stdlib.h>

#include "fibermap/group.h"
#include "fibermap/idle.h"
#include "fibermap/ledger.h"
#include "fibermap/map.h"
#include "fibermap/member.h"
#include "fibermap/snapshot.h"
#include "fm/map.h"
#include "runtime/platform/check.h"
#include "runtime/platform/config.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/spin.h"

/* The member other than `self` whose entry is in that state; 0: none. */
static uint64_t other_member(uint64_t state, uint64_t self)
{
    uint64_t id = state & ENTRY_ID;
    bool member = fm__entry_counted(state) || fm__entry_life(state) == ENTRY_ZOMBIE;
    return member && id != self ? id : 0;
}

static int await_others(struct fm_map *map, int64_t deadline_ns)
{
    FM_ASSERT(fm__self_id());
    uint64_t self = fm__self_id();

    fm__map_each_stripe(map, s) {
        uint32_t made = fm__stripe_made(s);
        for (uint32_t i = 0; i < made; i++) {
            uint64_t id = other_member(fm__entry_read(fm__stripe_at(s, i)), self);
            struct fm_fiber *fiber = id ? fm__fiber_ref_id(id) : NULL;
            if (!fiber)
                continue;
            int r = fm_fiber_join(fiber, deadline_ns, NULL);
            fm_fiber_unref(fiber);
            if (r < 0 && r != -EDEADLK)
                return r;
        }
    }
    return 0;
}

static int await_members(struct fm_map *map, enum self self, int64_t deadline_ns)
{
    FM_ASSERT(!fm__map_is_open(map));
    if (self == SELF_STRANGER)
        return fm__count_await(map, WAIT_QUIESCENT, deadline_ns, "map_close");
    return await_others(map, deadline_ns);
}

/* ---- the report ---- */

static void copy_failures(struct fm_map *map, struct fm_close_report *report)
{
    struct closing_failure *list[CLOSE_FAILURES_MAX];
    size_t bytes = 0, count = 0;

    /*
     * Failures are added and never taken off, so what the list is now may be read without the
     * lock.
     */
    fm__lock(&map->waiting.lock);
    for (struct closing_failure *f = map->failures; f; f = f->next)
        list[count++] = f;
    FM_ASSERT(count <= CLOSE_FAILURES_MAX);
    fm__unlock(&map->waiting.lock);
    for (size_t i = 0; i < count; i++)
        bytes += list[i]->key_length;
    if (!count)
        return;
    struct fm_close_failure *failures = fm__malloc(count * sizeof *failures + bytes + 1);
    if (!failures)
        return; /* the numbers are there */
    unsigned char *key = (unsigned char *)(failures + count);
    for (size_t i = 0; i < count; i++) {
        struct closing_failure *f = list[count - 1 - i]; /* in time */
        memcpy(key, f->key, f->key_length);
        failures[i] = (struct fm_close_failure) { .key = fm_key_bytes(key, f->key_length),
                                                  .exit = f->exit };
        key += f->key_length;
    }
    report->failures = failures;
    report->failure_count = count;
}

static void copy_stuck(struct fm_map *map, struct fm_close_report *report)
{
    FM_ASSERT(report && !report->stuck_members);
    uint64_t self = fm__self_id();
    struct fm_snapshot *snapshot;

    fm__map_each_stripe(map, s) {
        uint32_t made = fm__stripe_made(s);
        for (uint32_t i = 0; i < made; i++)
            report->stuck += other_member(fm__entry_read(fm__stripe_at(s, i)), self) != 0;
    }
    if (fm_map_snapshot(map, FM_SNAPSHOT_ZOMBIES | FM_SNAPSHOT_QUEUED, &snapshot) < 0)
        return; /* the number is there */
    if (fm__snapshot_members(snapshot, self, &report->stuck_members, &report->stuck_count) == 0)
        report->stuck = report->stuck_count;
    fm_snapshot_free(snapshot);
}

static void report_fill(struct fm_map *map, struct fm_close_report *report, bool stuck)
{
    FM_ASSERT(report);
    memset(report, 0, sizeof *report);
    fm__map_each_stripe(map, s) {
        /* relaxed: complete for all who have ended, whom we have awaited */
        report->awaited += atomic_load_explicit(&s->closing_ended, memory_order_relaxed);
        report->failed += atomic_load_explicit(&s->closing_failed, memory_order_relaxed);
    }
    copy_failures(map, report);
    if (stuck)
        copy_stuck(map, report);
}

void fm_close_report_fini(struct fm_close_report *report)
{
    if (!report)
        return;
    for (size_t i = 0; i < report->stuck_count; i++)
        fm_fiber_unref(report->stuck_members[i].fiber);
    free(report->stuck_members);
    free(report->failures);
    memset(report, 0, sizeof *report);
}

/* ---- closing ---- */

int fm_map_close(struct fm_map *map, const struct fm_close_policy *given,
                 struct fm_close_report *ret_report)
{
    struct fm_close_policy policy;

    if (!map)
        return -EINVAL;
    int r = fm__config_read(&policy, sizeof policy, given);
    if (r < 0)
        return r;
    if (policy.kind > FM_CLOSE_CANCEL_AFTER || policy.grace_ns < 0 || policy.deadline_ns < 0)
        return -EINVAL;
    int64_t deadline_ns = policy.deadline_ns ? policy.deadline_ns : FM_NEVER;
    uint64_t id = fm__self_id();

    fm__map_shut(map);
    enum self self = fm__map_self(map);
    if (policy.kind != FM_CLOSE_CANCEL)
        fm__restart_end_pauses(map);
    if (policy.kind == FM_CLOSE_CANCEL_AFTER) {
        int64_t grace_ends_ns = fm_after_ns(policy.grace_ns);
        r = await_members(map, self, grace_ends_ns < deadline_ns ? grace_ends_ns : deadline_ns);
    } else if (policy.kind == FM_CLOSE_CANCEL) {
        r = -ETIMEDOUT; /* no grace at all */
    } else {
        r = await_members(map, self, deadline_ns);
    }
    if (policy.kind != FM_CLOSE_DRAIN && r == -ETIMEDOUT) {
        fm__groups_close(map, fm__fiber_self());
        fm__map_signal_all(map, FM_BY_CLOSE, true, id);
        r = await_members(map, self, deadline_ns);
    }
    if (ret_report)
        report_fill(map, ret_report, r < 0);
    if (self == SELF_STRANGER)
        return r;
    /*
     * The caller comes last: its own interruption would have ended its waiting for the others.
     */
    if (policy.kind != FM_CLOSE_DRAIN)
        fm__member_signal(id, FM_BY_CLOSE);
    return r < 0 ? r : FM_MAP_SELF;
}

struct fm_map *fm_map_destroy(struct fm_map *map)
{
    if (!map)
        return NULL;
    bool masked = fm_mask() == 0;
    int r = fm_map_close(map, NULL, NULL);
    /* A thread that has never waited needs a descriptor for it. */
    for (unsigned spins = 0; r == -ENOMEM; spins++) {
        fm__spin(spins);
        r = fm_map_close(map, NULL, NULL);
    }
    if (r == 0)
        fm__idle_fini(map);
    if (masked)
        fm_unmask();
    FM_BUG_IF(r == FM_MAP_SELF, "a member destroys its own map");
    FM_BUG_IF(r != 0, "a map does not close: %d", r);
    fm__hooks_finish(map);
    fm__map_unref(map);
    return NULL;
}
