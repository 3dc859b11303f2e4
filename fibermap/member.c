/*
 * member.c - how a fiber leaves a map
 *
 * The exit of a member, in this order: it leaves its key (one swap of the entry's state),
 * brings the verdict if it qualifies, buries the entry, and gives up its place in the count,
 * which is its last access to the map. All of it before any join on the fiber returns, and
 * without waiting for a stripe lock.
 *
 * Callers     exits: the embedded owner's hook (run), an owner node (set). set itself for a
 *             fiber that had ended before.
 */
#include "fibermap/member.h"

#include <stdlib.h>

#include "fibermap/describe.h"
#include "fibermap/group.h"
#include "fibermap/idle.h"
#include "fibermap/ledger.h"
#include "runtime/fiber/again.h"
#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/probe.h"

/*
 * ---- the descriptor's words: [0] the entry, NULL once ended; [1] the stripe, with the flags
 * in its low bits; [2] in a map with a ledger the stay ----
 */

#define WORD_FLAGS ((uintptr_t)127)
_Static_assert((FM_MAP_PROPAGATE_INTERRUPT | FM_MAP_ISOLATE_FAILURE | MEMBER_CLOSES_MAP |
                FM_MAP_DYING_IS_ABSENT | FM_AWAIT_PROCEED | FM_MAP_STOP_WITH_LAST_WAITER |
                MEMBER_IDLES) <= WORD_FLAGS,
               "the flags fit below the stripe");
_Static_assert(_Alignof(struct stripe) > WORD_FLAGS, "the flags fit below the stripe");

static void run_ended(struct fm_fiber *fiber, struct fm_exit exit)
{
    FM_ASSERT(fiber->flags & FIBER_OWNED);
    struct entry *entry = fm__described_entry(fiber);
    uintptr_t word = (uintptr_t)fiber->owner.words[1];

    FM_PROBE2(map_exit, fiber, exit.kind);
    fm__described_entry_set(fiber, NULL);
    struct stripe *stripe = (struct stripe *)(word & ~WORD_FLAGS);
    uint32_t flags = (uint32_t)(word & WORD_FLAGS);
    if (__builtin_expect(stripe->map->ledger != NULL, 0)) {
        fm__stay_ended((struct stay **)&fiber->owner.words[2], stripe, entry, flags, fiber,
                       exit);
        return;
    }
    fm__member_left(stripe, entry, flags, fiber, exit,
                    fm__entry_end(entry, fm__fiber_id(fiber)));
}

void fm__member_bind(struct fm_fiber *fiber, struct stripe *stripe, struct entry *entry,
                     uint32_t flags)
{
    FM_ASSERT(fm__lock_held(&stripe->lock) && flags <= WORD_FLAGS);
    FM_ASSERT(!(fiber->flags & FIBER_OWNED));
    FM_ASSERT(((uintptr_t)stripe & WORD_FLAGS) == 0 && entry);
    fiber->owner.ended = run_ended;
    fiber->owner.words[1] = (void *)((uintptr_t)stripe | flags);
    fm__described_entry_set(fiber, entry);
    /* release: a dump that sees the flags sees the words */
    __atomic_store_n(&fiber->flags, (uint8_t)(fiber->flags | FIBER_OWNED | FIBER_KEYED),
                     __ATOMIC_RELEASE);
}

struct stripe *fm__member_stripe(struct fm_fiber *fiber)
{
    /*
     * relaxed, this and the next: the stripe stays; others may ask while the fiber marks itself
     */
    void *word = __atomic_load_n(&fiber->owner.words[1], __ATOMIC_RELAXED);
    return (struct stripe *)((uintptr_t)word & ~WORD_FLAGS);
}

void fm__member_mark(struct fm_fiber *self, uint32_t flag)
{
    FM_ASSERT(flag && flag <= WORD_FLAGS);
    void *word = (void *)((uintptr_t)self->owner.words[1] | flag);
    __atomic_store_n(&self->owner.words[1], word, __ATOMIC_RELAXED);
}

struct fm_map *fm__member_map(struct fm_fiber *self)
{
    return fm__member_stripe(self)->map;
}

uint64_t fm__member_stands(struct fm_fiber *fiber)
{
    uint64_t id = fm__fiber_id(fiber);

    for (;;) {
        struct entry *home = fm__described_entry(fiber);
        struct entry *entry = home ? fm__entry_now(home) : NULL;
        uint64_t state = entry ? fm__entry_read(entry) : 0;
        if (fm__entry_life(state) == ENTRY_COMING)
            /* moved: present all along */
            state = fm__entry_state(ENTRY_LIVE, state & ENTRY_ID);
        if (!entry || ((state & ENTRY_ID) == id && fm__entry_life(state) != ENTRY_MOVED))
            return state;
        /* moved on, and its entry used again; else it has ended */
        if (fiber != fm__fiber_self() && fm__entry_now(home) == entry)
            return 0;
    }
}

bool fm__member_is_detached(struct fm_fiber *fiber)
{
    return fm__member_stands(fiber) == fm__entry_state(ENTRY_DETACHED, fm__fiber_id(fiber));
}

bool fm__member_goes_on(struct fm_fiber *self)
{
    return fm__map_is_open(fm__member_map(self)) && fm__entry_present(fm__member_stands(self));
}

bool fm__member_is_in(struct fm_fiber *fiber, struct fm_map *map)
{
    /* acquire, with bind: the words */
    uint8_t flags = __atomic_load_n(&fiber->flags, __ATOMIC_ACQUIRE);
    if (!(flags & FIBER_OWNED) || fiber->owner.ended != run_ended ||
        fm__member_map(fiber) != map)
        return false;
    return fm__entry_present(fm__member_stands(fiber)) == fm__fiber_id(fiber);
}

enum fm_member_state fm__member_state(struct fm_fiber *fiber)
{
    if (fm__fiber_interrupted(fiber))
        return FM_MEMBER_ENDING;
    return fm__again_between(fiber) ? FM_MEMBER_BACKING_OFF : FM_MEMBER_LIVE;
}

bool fm__member_is_at(struct fm_fiber *fiber, struct entry *entry)
{
    FM_ASSERT(entry);
    /* acquire, with bind: the words */
    uint8_t flags = __atomic_load_n(&fiber->flags, __ATOMIC_ACQUIRE);
    struct entry *home = (flags & FIBER_OWNED) && fiber->owner.ended == run_ended
                             ? fm__described_entry(fiber)
                             : NULL;
    return home && fm__entry_now(home) == entry;
}

static void set_ended(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    struct set_node *set = arg;
    FM_ASSERT(set->entry && set->stripe);
    struct stripe *stripe = set->stripe;
    struct entry *entry = set->entry;
    uint32_t flags = set->flags;
    /* relaxed: only the fiber itself asks whether it is in, and it is not any more */
    atomic_fetch_sub_explicit(&stripe->map->sets, 1, memory_order_relaxed);
    if (stripe->map->ledger)
        fm__stay_ended(&set->stay, stripe, entry, flags, fiber, exit);
    else
        fm__member_left(stripe, entry, flags, fiber, exit,
                        fm__entry_end(entry, fm__fiber_id(fiber)));
    free(set); /* moves reach it by the entry, until that has been left */
}

struct set_node *fm__set_node_make(struct stripe *stripe, uint32_t flags)
{
    FM_ASSERT(stripe && flags <= WORD_FLAGS);
    struct set_node *set = fm__malloc(sizeof *set);
    if (!set)
        return NULL;
    *set = (struct set_node) { .node = { .fn = set_ended, .arg = set, .kind = EXIT_OWNER },
                               .stripe = stripe,
                               .flags = flags };
    return set;
}

/* ---- what an exit says ---- */

static bool issued_by_map(uint8_t reason)
{
    return reason == FM_BY_REPLACE || reason == FM_BY_REMOVE || reason == FM_BY_CLEAR ||
           reason == FM_BY_CLOSE || reason == FM_BY_REJECT || reason == FM_BY_LAST_WAITER ||
           reason == FM_BY_GROUP || reason == FM_BY_IDLE;
}

/* A finalizer that failed makes a failure of an interruption. */
static struct fm_exit plain_exit(struct fm_fiber *fiber, struct fm_exit exit)
{
    FM_ASSERT(fiber);
    if (exit.kind == FM_INTERRUPTED && (exit.flags & FM_EXIT_FINALIZER_FAILED)) {
        /* acquire: with its making; the finalizers have run */
        struct fiber_extra *extra = atomic_load_explicit(&fiber->extra, memory_order_acquire);
        if (extra && extra->finalizer_failed)
            exit = extra->finalizer_exit;
    }
    if (exit.kind != FM_INTERRUPTED)
        exit.value = NULL; /* goes with the fiber */
    return exit;
}

static bool qualifies(struct fm_exit exit, uint32_t flags)
{
    FM_ASSERT(flags <= WORD_FLAGS);
    FM_ASSERT(exit.kind != FM_SUCCESS);
    if (flags & FM_MAP_ISOLATE_FAILURE)
        return false;
    return exit.kind != FM_INTERRUPTED || exit.reason == FM_BY_RESTART_LIMIT ||
           ((flags & FM_MAP_PROPAGATE_INTERRUPT) && !issued_by_map(exit.reason));
}

bool fm__map_decide(struct fm_map *map, struct fm_exit exit)
{
    fm__lock(&map->waiting.lock);
    /* relaxed: written under this lock */
    if (atomic_load_explicit(&map->decided, memory_order_relaxed)) {
        fm__unlock(&map->waiting.lock);
        return false;
    }
    map->verdict = exit;
    /* release: the verdict, to a join that reads `decided` without the lock */
    atomic_store_explicit(&map->decided, true, memory_order_release);
    fm__waiting_wake_and_unlock(&map->waiting, 1u << WAIT_VERDICT);
    return true;
}

static void note_closing_failure(struct fm_map *map, struct entry *entry, struct fm_exit exit)
{
    FM_ASSERT(!fm__map_is_open(map));
    uint32_t length = fm__entry_key_length(entry);
    struct closing_failure *failure = fm__malloc(sizeof *failure + ((length + 7) & ~7u));
    if (failure) {
        failure->exit = exit;
        failure->key_length = length;
        fm__entry_copy_key(entry, failure->key);
    }
    fm__lock(&map->waiting.lock);
    if (failure && map->failure_count < CLOSE_FAILURES_MAX) {
        failure->next = map->failures;
        map->failures = failure;
        map->failure_count++;
        failure = NULL;
    }
    fm__unlock(&map->waiting.lock);
    free(failure);
}

/* Not a success. */
static __attribute__((noinline)) void judge(struct stripe *stripe, struct entry *entry,
                                            uint32_t flags, struct fm_fiber *fiber,
                                            struct fm_exit exit)
{
    FM_ASSERT(exit.kind != FM_SUCCESS);
    FM_ASSERT(flags <= WORD_FLAGS);
    struct fm_map *map = stripe->map;

    exit = plain_exit(fiber, exit);
    if (!fm__map_is_open(map) && exit.kind != FM_INTERRUPTED) {
        /* relaxed: a statistic, complete when all members have left */
        atomic_fetch_add_explicit(&stripe->closing_failed, 1, memory_order_relaxed);
        note_closing_failure(map, entry, exit);
    }
    /* relaxed: once true it stays; a stale false costs a lock */
    bool first = qualifies(exit, flags) &&
                 !atomic_load_explicit(&map->decided, memory_order_relaxed) &&
                 fm__map_decide(map, exit);
    if ((flags & MEMBER_CLOSES_MAP) || (first && map->on_failure == FM_CLOSE_MAP)) {
        fm__map_shut(map);
        fm__groups_close(map, NULL);
        fm__map_signal_all(map, FM_BY_CLOSE, true, fm__fiber_id(fiber));
    } else if (first && map->on_failure == FM_CANCEL_SIBLINGS) {
        fm__map_signal_all(map, FM_BY_CLEAR, false, fm__fiber_id(fiber));
    }
}

void fm__home_leave(struct stripe *stripe, struct entry *home, struct entry *now)
{
    FM_ASSERT(home && now);
    if (now != home)
        fm__stripe_bury(stripe, home);
}

/*
 * A snapshot makes its cut, or the fiber is moved, or was: under the wait lock neither goes on,
 * and its entry is the one that its home names. Home goes with it.
 */
static __attribute__((noinline)) void leave_elsewhere(struct stripe *stripe, struct entry *home,
                                                      uint32_t flags, struct fm_fiber *fiber,
                                                      struct fm_exit exit)
{
    FM_ASSERT(home);
    struct fm_map *map = stripe->map;

    fm__lock(&map->waiting.lock);
    struct entry *entry = fm__entry_now(home);
    enum entry_end end = fm__entry_end(entry, fm__fiber_id(fiber));
    fm__unlock(&map->waiting.lock);
    FM_ASSERT(end != ENTRY_END_HELD && end != ENTRY_END_MOVED);
    fm__home_leave(stripe, home, entry);
    fm__member_left(fm__entry_stripe(map, entry), entry, flags, fiber, exit, end);
}

void fm__member_left(struct stripe *stripe, struct entry *entry, uint32_t flags,
                     struct fm_fiber *fiber, struct fm_exit exit, enum entry_end end)
{
    FM_ASSERT(entry && stripe);
    if (__builtin_expect(end == ENTRY_END_HELD || end == ENTRY_END_MOVED, 0)) {
        leave_elsewhere(stripe, entry, flags, fiber, exit);
        return;
    }
    if (__builtin_expect((flags & MEMBER_IDLES) != 0, 0))
        fm__idle_left(stripe, entry);
    if (__builtin_expect(end == ENTRY_END_DETACHED, 0)) {
        struct fm_map *map = stripe->map;
        fm__stripe_bury(stripe, entry);
        fm__map_unref(map);
        return;
    }
    if (__builtin_expect(exit.kind != FM_SUCCESS, 0))
        judge(stripe, entry, flags, fiber, exit);
    if (__builtin_expect(!fm__map_is_open(stripe->map), 0))
        /* relaxed: as above */
        atomic_fetch_add_explicit(&stripe->closing_ended, 1, memory_order_relaxed);
    fm__stripe_bury(stripe, entry);
    fm__count_subtract(stripe,
                       COUNT_MEMBER_ONE + (end == ENTRY_END_PRESENT ? COUNT_LIVE_ONE : 0));
}

/* ---- signals ---- */

static void signal_fiber(struct fm_fiber *fiber, enum fm_reason reason)
{
    FM_ASSERT(fiber && reason != FM_BY_NOBODY);
    /*
     * fm__fiber_interrupt waits a moment for a fiber that is telling its owners. If we are one
     * of those ourselves, skipping whoever was DONE before keeps two exits that signal each
     * other from waiting for each other: the later one finds the earlier DONE.
     */
    if (fm__state_life(fm__state_read(&fiber->state)) != LIFE_DONE)
        fm__fiber_interrupt(fiber, reason);
}

void fm__member_signal(uint64_t id, enum fm_reason reason)
{
    FM_ASSERT(id && reason != FM_BY_NOBODY);
    struct fm_fiber *fiber = fm__fiber_ref_id(id);
    if (!fiber)
        return;
    signal_fiber(fiber, reason);
    fm_fiber_unref(fiber);
}

/* But for who is present and ended by his group, in his turn, when the map closes. */
static void signal_one(struct fm_map *map, uint64_t id, enum fm_reason reason)
{
    FM_ASSERT(id);
    struct fm_fiber *fiber = fm__fiber_ref_id(id);
    if (!fiber)
        return;
    if (reason != FM_BY_CLOSE || !fm__group_has(fiber) || !fm__member_is_in(fiber, map))
        signal_fiber(fiber, reason);
    fm_fiber_unref(fiber);
}

void fm__map_signal_all(struct fm_map *map, enum fm_reason reason, bool zombies_too,
                        uint64_t except)
{
    FM_ASSERT(reason != FM_BY_NOBODY);
again:;
    /* acquire: before the states that are read */
    uint32_t moves = atomic_load_explicit(&map->moves, memory_order_acquire);
    fm__map_each_stripe(map, s) {
        uint32_t made = fm__stripe_made(s);
        for (uint32_t i = 0; i < made; i++) {
            uint64_t state = fm__entry_read(fm__stripe_at(s, i));
            uint64_t id = fm__entry_counted(state);
            if (!id && zombies_too && fm__entry_life(state) == ENTRY_ZOMBIE)
                id = state & ENTRY_ID;
            if (id && id != except)
                signal_one(map, id, reason);
        }
    }
    /* relaxed: all reads before it are acquire. Who is signalled twice notices nothing. */
    if (atomic_load_explicit(&map->moves, memory_order_relaxed) != moves)
        goto again;
}

void fm__map_shut(struct fm_map *map)
{
    uint32_t open = MAP_OPEN;
    /* acq_rel: what was before the close is before what sees it */
    if (atomic_compare_exchange_strong_explicit(&map->state, &open, MAP_CLOSING,
                                                memory_order_acq_rel, memory_order_acquire))
        fm__map_decide(map, fm_ok(NULL));
    fm__limit_shut(map);
    /*
     * A run that read OPEN has put its fiber in before it let go of the lock; one that comes
     * later reads CLOSING.
     */
    fm__map_each_stripe(map, s) {
        fm__lock(&s->lock);
        fm__unlock(&s->lock);
    }
}

/* ---- the caller ---- */

enum self fm__map_self(struct fm_map *map)
{
    struct fm_fiber *self = fm__fiber_self();
    enum self found = SELF_STRANGER;

    if (!self)
        return SELF_STRANGER;
    if ((self->flags & FIBER_OWNED) && self->owner.ended == run_ended) {
        uint64_t state = fm__member_map(self) == map ? fm__member_stands(self) : 0;
        if (fm__entry_counted(state))
            return SELF_PRESENT;
        if (fm__entry_life(state) == ENTRY_ZOMBIE)
            found = SELF_ZOMBIE;
    }
    /*
     * relaxed: a set of the caller itself happened before, or is concurrent and may be missed
     */
    if (atomic_load_explicit(&map->sets, memory_order_relaxed) == 0)
        return found;
    uint64_t id = fm__fiber_id(self);
again:;
    /* acquire: before the states that are read */
    uint32_t moves = atomic_load_explicit(&map->moves, memory_order_acquire);
    fm__map_each_stripe(map, s) {
        uint32_t made = fm__stripe_made(s);
        for (uint32_t i = 0; i < made; i++) {
            uint64_t state = fm__entry_read(fm__stripe_at(s, i));
            if ((state & ENTRY_ID) != id)
                continue;
            if (fm__entry_counted(state))
                return SELF_PRESENT;
            if (fm__entry_life(state) == ENTRY_ZOMBIE)
                found = SELF_ZOMBIE;
        }
    }
    /* relaxed: all reads before it are acquire */
    if (atomic_load_explicit(&map->moves, memory_order_relaxed) != moves)
        goto again; /* it may have gone from what was still to be read to what had been */
    return found;
}
