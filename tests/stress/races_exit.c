/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_exit.c - calls that meet a fiber's end: X6 set of a dying one, X7 interrupt before the first step, X8 await_empty,
 * X16 handles and ids after their descriptor has been used again
 */
#include <unistd.h>

#include "tests/stress/race.h"

static struct fm_exit stand_by(void *arg)
{
    return fm_fail(fm_never());
}

/* ---- X6: set x exit. Observers fire once, the keys are free. ---- */

static void count_observation(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    atomic_fetch_add((_Atomic uint32_t *)arg, 1);
}

static void one_to_die(struct slot *slot)
{
    slot->first = race_spawn(slot, stand_by);
    slot->observer[0] = (struct fm_observer) { .fn = count_observation, .arg = &slot->seen[0] };
    slot->observer[1] = (struct fm_observer) { .fn = count_observation, .arg = &slot->seen[1] };
    int r = fm_fiber_observe(slot->first, &slot->observer[0]);
    RACE_CHECK(slot, r == 0, "observe: %d", r);
    if (slot->choice & 1)
        race_run(slot, slot->key, race_park, FM_REPLACE, NULL);
}

static void kill_set_or_observe(struct slot *slot, struct part *part)
{
    int r;
    switch (part->role) {
    case 0: fm_fiber_interrupt(slot->first); break;
    case 1:
        r = fm_map_set(slot->map, slot->key, slot->first, NULL);
        RACE_CHECK(slot, r == 0 || r == FM_MAP_REPLACED || r == FM_MAP_SAME, "set: %d", r);
        slot->result[part->index] = r;
        r = fm_fiber_observe(slot->first, &slot->observer[1]);
        RACE_CHECK(slot, r == 0 || r == FM_ALREADY_DONE, "observe: %d", r);
        break;
    default:
        r = fm_map_set(slot->map, part->role == 2 ? slot->key2 : slot->key, slot->first, NULL);
        RACE_CHECK(slot, r == 0 || r == FM_MAP_SAME || (part->role > 2 && r == FM_MAP_REPLACED),
                   "set: %d", r);
        slot->result[part->index] = r;
        break;
    }
}

static void observed_once(struct slot *slot)
{
    struct fm_exit exit = race_finish(slot, fm_fiber_ref(slot->first));
    RACE_CHECK(slot, exit.kind == FM_INTERRUPTED, "%s", fm_exit_kind_name(exit.kind));
    RACE_CHECK(slot, !fm_map_has(slot->map, slot->key2), "a dead fiber under its key");
    RACE_CHECK(slot, !fm_map_has(slot->map, slot->key),
               "a dead fiber, or one that was replaced, under its key");
    /* Observers run after joiners have been woken; unobserve waits for them. */
    for (int i = 0; i < 2; i++) {
        int r = fm_fiber_unobserve(slot->first, &slot->observer[i]);
        uint32_t times = atomic_load(&slot->seen[i]);
        RACE_CHECK(slot, times + (r == 0) == 1, "observer %d fired %u times, unobserve: %d", i,
                   times, r);
    }
    race_empty(slot);
    race_release(slot);
}

/* ---- X7: interrupt x first step ---- */

static struct fm_exit tell_and_park(void *arg)
{
    race_enter(arg);
    return fm_fail(fm_never());
}

static void nothing(struct slot *slot) {}

static void run_and_interrupt(struct slot *slot, struct part *part)
{
    int r;
    switch (part->role) {
    case 0:
        r = race_run_as(slot, part, tell_and_park, FM_REPLACE);
        RACE_CHECK(slot, r == 0 || r == FM_MAP_REPLACED, "run: %d", r);
        r = fm_fiber_interrupt(slot->fiber[part->index]);
        RACE_CHECK(slot, r == 0 || r == FM_ALREADY_DONE, "interrupt: %d", r);
        break;
    case 1:
        r = fm_map_interrupt(slot->map, slot->key);
        RACE_CHECK(slot, r == 0 || r == -ENOENT, "interrupt: %d", r);
        break;
    case 2:
        r = fm_map_remove(slot->map, slot->key, FM_NEVER);
        RACE_CHECK(slot, r == 0 || r == -ENOENT, "remove: %d", r);
        break;
    default:
        r = race_run(slot, slot->key, tell_and_park, FM_REPLACE, NULL);
        RACE_CHECK(slot, r == 0 || r == FM_MAP_REPLACED, "run: %d", r);
        r = fm_map_remove(slot->map, slot->key, FM_NEVER);
        RACE_CHECK(slot, r == 0 || r == -ENOENT, "remove: %d", r);
        break;
    }
}

static void never_ran(struct slot *slot)
{
    for (uint32_t i = 0; i < slot->parts; i++) {
        if (!slot->fiber[i])
            continue;
        struct fm_exit exit = race_finish(slot, slot->fiber[i]);
        slot->fiber[i] = NULL;
        RACE_CHECK(slot, exit.kind == FM_INTERRUPTED, "%s", fm_exit_kind_name(exit.kind));
    }
    race_empty(slot);
}

/* Pages of this process in memory. */
static long resident(void)
{
    long all = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file || fscanf(file, "%ld %ld", &all, &pages) != 2)
        pages = 0;
    if (file)
        fclose(file);
    return pages;
}

/* From a fifth of the meetings on the memory stands still; the bound is room for the allocator's and the pools' habits. */
static void memory_stands_still(uint64_t meeting, uint64_t meetings)
{
    static long before;
    if (FM_ASAN || FM_TSAN)
        return; /* their shadow grows */
    if (meeting == meetings / 5)
        before = resident();
    if (meeting + 1 == meetings) {
        long grown = (resident() - before) * sysconf(_SC_PAGESIZE);
        STRESS_CHECK(grown <= 2 << 20, "memory has grown by %ld bytes", grown);
    }
}

/*
 * ---- X8: await_empty x last exit x new run ----
 *
 * Odd rounds: another member is there all the time. Who then waits for emptiness must wait until the member is taken out.
 */

static struct fm_exit await_empty(void *arg)
{
    struct slot *slot = arg;
    int r = fm_map_await_empty(slot->map, FM_NEVER);
    RACE_CHECK(slot, r == 0, "await_empty: %d", r);
    atomic_store(&slot->seen[0], 1);
    return fm_ok(NULL);
}

static void last_member(struct slot *slot)
{
    int r = race_run(slot, slot->key, race_park, FM_REPLACE, &slot->first);
    RACE_CHECK(slot, r == 0, "run: %d", r);
    if (slot->round & 1)
        race_run(slot, slot->key2, race_park, FM_REPLACE, NULL);
    if (slot->choice & 1)
        slot->second = race_spawn(slot, await_empty);
}

static void leave_run_or_await(struct slot *slot, struct part *part)
{
    int r;
    if (part->role == 0) {
        fm_fiber_interrupt(slot->first);
    } else if (part->role == 1) {
        r = race_run_as(slot, part, slot->choice & 2 ? race_linger : race_quick,
                        slot->choice & 4 ? FM_KEEP : FM_REPLACE);
        RACE_CHECK(slot, r >= 0, "run: %d", r);
    } else if (slot->round & 1) {
        slot->fiber[part->index] = race_spawn(slot, await_empty);
    } else {
        r = fm_map_await_empty(slot->map, FM_NEVER);
        RACE_CHECK(slot, r == 0, "await_empty: %d", r);
    }
}

static void was_empty(struct slot *slot)
{
    if (slot->round & 1) {
        RACE_CHECK(slot, !atomic_load(&slot->seen[0]),
                   "await_empty has returned, but it never was empty");
        int r = fm_map_remove(slot->map, slot->key2, FM_NEVER);
        RACE_CHECK(slot, r == 0, "remove: %d", r);
    }
    for (uint32_t i = 0; i < slot->parts; i++) {
        if (slot->fiber[i])
            race_finish(slot, fm_fiber_ref(slot->fiber[i]));
    }
    if (slot->second)
        race_finish(slot, fm_fiber_ref(slot->second));
    race_empty(slot);
    race_release(slot);
}

/* ---- X16: a descriptor is used again while old handles and ids are still used ---- */

static struct fm_exit name_myself(void *arg)
{
    race_enter(arg);
    fm_yield();
    if (fm_check() < 0)
        return fm_interrupted();
    return fm_ok((void *)(uintptr_t)fm_fiber_id(fm_fiber_self()));
}

static void one_to_recycle(struct slot *slot)
{
    int r = race_run(slot, slot->key, race_park, FM_REPLACE, &slot->first);
    RACE_CHECK(slot, r == 0, "run: %d", r);
    slot->second = fm_fiber_ref(slot->first);
}

/* Fibers that nobody interrupts, in whatever descriptors are free now. */
static void run_innocents(struct slot *slot)
{
    for (int i = 0; i < 3; i++) {
        struct fm_fiber *fiber;
        int r = race_run(slot, slot->key2, name_myself, FM_KEEP, &fiber);
        RACE_CHECK(slot, r == 0 || r == FM_MAP_KEPT, "run: %d", r);
        uint64_t id = fm_fiber_id(fiber);
        struct fm_exit exit = race_finish(slot, fm_fiber_ref(fiber));
        RACE_CHECK(slot, exit.kind == FM_SUCCESS && (uintptr_t)exit.value == id,
                   "an innocent fiber: %s by %s", fm_exit_kind_name(exit.kind),
                   fm_reason_name(exit.reason));
        RACE_CHECK(slot, fm_fiber_id(fiber) == id, "the id has changed");
        fm_fiber_unref(fiber);
    }
}

static void use_after_the_end(struct slot *slot, struct fm_fiber **handle)
{
    struct fm_observer observer = { .fn = count_observation, .arg = &slot->seen[0] };
    uint64_t id = fm_fiber_id(*handle);
    struct fm_exit exit;
    int r = fm_fiber_stop(*handle, FM_NEVER, &exit);
    RACE_CHECK(slot, r == 0 && exit.kind == FM_INTERRUPTED, "stop: %d", r);
    RACE_CHECK(slot, fm_fiber_interrupt(*handle) == FM_ALREADY_DONE,
               "interrupt of one that has ended");
    RACE_CHECK(slot, fm_fiber_poll(*handle, &exit) == 0 && exit.kind == FM_INTERRUPTED,
               "another exit");
    RACE_CHECK(slot, fm_fiber_observe(*handle, &observer) == FM_ALREADY_DONE,
               "a late observer");
    RACE_CHECK(slot, fm_fiber_id(*handle) == id, "the id has changed");
    *handle = fm_fiber_unref(*handle);
}

static void use_or_recycle(struct slot *slot, struct part *part)
{
    int r;
    switch (part->role) {
    case 0: use_after_the_end(slot, &slot->first); break;
    case 1: use_after_the_end(slot, &slot->second); break;
    case 2: run_innocents(slot); break;
    default:
        r = fm_map_interrupt(slot->map, slot->key);
        RACE_CHECK(slot, r == 0 || r == -ENOENT, "interrupt: %d", r);
        run_innocents(slot);
        break;
    }
}

static void all_was_told(struct slot *slot)
{
    RACE_CHECK(slot, atomic_load(&slot->seen[0]) == 2, "late observers were called %u times",
               atomic_load(&slot->seen[0]));
    RACE_CHECK(slot, !fm_map_has(slot->map, slot->key), "there after stop");
    race_empty(slot);
}

const struct race exit_races[] = {
    /* F48 */
    { "x6_set_dying", "a dying fiber is set: each observer fires once", one_to_die,
      kill_set_or_observe, observed_once, NULL },
    /* F28 */
    { "x7_first_step", "interrupted before its first step: the entry goes, memory stands still",
      nothing, run_and_interrupt, never_ran, memory_stands_still },
    /* F57 */
    { "x8_await_empty", "await_empty returns if and only if it was empty", last_member,
      leave_run_or_await, was_empty, NULL },
    /* F23 */
    { "x16_recycled", "old handles and ids never reach a new fiber", one_to_recycle,
      use_or_recycle, all_was_told, NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
