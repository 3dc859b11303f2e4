/*
 * map_run.c - run: putting a new fiber under a key
 *
 * Invariant   a key has at most one present entry; whoever is displaced from it has been or is
 *             about to be interrupted by the displacer, after the stripe lock is free; a
 *             fiber's entry is published before the fiber starts.
 * Order       look without the lock (KEEP, FAIL), or with it (JOIN); make the fiber, its body
 *             wrapped where it is to wait; make room; lock; decide; publish, install, count;
 *             unlock; interrupt the old one; start the new one.
 */
#include <errno.h>

#include "fibermap/child.h"
#include "fibermap/conflict.h"
#include "fibermap/idle.h"
#include "fibermap/ledger.h"
#include "fibermap/member.h"
#include "fibermap/run.h"
#include "runtime/platform/probe.h"

static __attribute__((noinline)) void begin_more_locked(struct run_more *more,
                                                        struct stripe *stripe,
                                                        struct entry *mine,
                                                        struct fm_fiber *fiber)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    FM_ASSERT(more && mine);
    if (more->told)
        fm__exit_list_add(&fiber->exits, more->told);
    if (more->waits) {
        fm__share_begin_locked(mine, more->stops);
        more->home = mine;
    }
}

/* It will not be run. */
static void unwrap(struct work *work)
{
    fm__turn_unwrap(work);
    fm__restart_unwrap(work);
    fm__child_unwrap(work);
}

void fm__run_unmake(struct fm_fiber *fiber, bool reference)
{
    FM_ASSERT(!(fiber->flags & FIBER_OWNED));
    struct work work = { fiber->entry, fiber->arg, fiber->arg_drop };
    unwrap(&work);
    if (reference) {
        fiber->value_drop = NULL;
        fm_fiber_unref(fiber);
    }
    fm__fiber_discard(fiber);
}

/* Whether the map runs it again: a member of a group is told of rounds, if not more. */
static inline bool is_lineage(const struct fm_map_run_options *options)
{
    return options->restart || options->group;
}

/* The work inside the work, and what its fiber is to be told of before it starts. */
struct wraps {
    struct nest *nest;
    struct lineage *lineage;
    struct turn *turn;
};

static int wrap(struct stripe *stripe, const struct map_key *key,
                const struct fm_map_run_options *options, struct work *work,
                struct wraps *wraps)
{
    FM_ASSERT(work->entry);
    int r = options->own_map ? fm__child_wrap(work, &wraps->nest) : 0;
    if (r == 0 && is_lineage(options))
        r = fm__restart_wrap(stripe->map, key, options, work, &wraps->lineage);
    if (r == 0 && fm__turn_kind(options) != TURN_NONE)
        r = fm__turn_wrap(stripe, key, options, work, &wraps->turn);
    if (r < 0)
        unwrap(work);
    return r;
}

static inline int create(struct fm_map *map, struct work work,
                         const struct fm_map_run_options *options, const void *site,
                         bool reference, struct fm_fiber **ret_fiber)
{
    FM_ASSERT(work.entry);
    struct fm_spawn_options spawn = {
        .size = sizeof spawn,
        .name = options->name,
        .stack_bytes = options->stack_bytes,
        .arg_drop = work.drop,
        .value_drop = options->value_drop,
    };
    return fm__fiber_create(map->runtime, work.entry, work.arg, &spawn, site, reference,
                            ret_fiber);
}

/* Whether the body of a run with these options is wrapped. */
static inline bool is_wrapped(const struct fm_map_run_options *options)
{
    return is_lineage(options) || options->own_map || fm__turn_kind(options) != TURN_NONE;
}

static __attribute__((noinline)) int create_wrapped(struct fm_map *map, struct stripe *stripe,
                                                    const struct map_key *key, struct work work,
                                                    const struct fm_map_run_options *options,
                                                    const void *site, bool reference,
                                                    struct turn **ret_turn,
                                                    struct fm_fiber **ret_fiber)
{
    FM_ASSERT(is_wrapped(options));
    struct wraps wraps = { 0 };
    struct fm_fiber *fiber;
    int r = wrap(stripe, key, options, &work, &wraps);
    if (r < 0)
        return r;
    r = create(map, work, options, site, reference, &fiber);
    if (r < 0) {
        unwrap(&work);
        return r;
    }
    r = wraps.nest ? fm__child_attach(fiber, wraps.nest) : 0;
    if (r == 0 && wraps.lineage)
        r = fm__restart_arm(map, fiber, wraps.lineage);
    if (r < 0) {
        fm__run_unmake(fiber, reference);
        return r;
    }
    *ret_fiber = fiber;
    *ret_turn = wraps.turn;
    return 0;
}

int fm__run_make(struct fm_map *map, struct stripe *stripe, const struct map_key *key,
                 struct work work, const struct fm_map_run_options *options, const void *site,
                 bool reference, struct turn **ret_turn, struct fm_fiber **ret_fiber)
{
    if (is_wrapped(options))
        return create_wrapped(map, stripe, key, work, options, site, reference, ret_turn,
                              ret_fiber);
    return create(map, work, options, site, reference, ret_fiber);
}

/*
 * Of a run with options, under the lock: 0 it begins, and displaces whoever is under the key ·
 * FM_MAP_QUEUED it waits · FM_MAP_KEPT, with the incumbent · -EAGAIN
 */
static __attribute__((noinline)) int decide_locked(struct stripe *stripe,
                                                   const struct map_key *key,
                                                   struct place place,
                                                   const struct fm_map_run_options *options,
                                                   struct run_more *more, struct turn *turn,
                                                   struct fm_fiber **ret_incumbent)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    FM_ASSERT(options->conflict != FM_REPLACE);
    if (options->conflict == FM_QUEUE)
        return fm__turn_ask_locked(turn, place, options->queue_max);
    *ret_incumbent = fm__conflict_stays_locked(stripe, key, place, options, more);
    return *ret_incumbent ? FM_MAP_KEPT : 0;
}

static inline bool is_held(struct place place)
{
    return place.entry && fm__entry_present(fm__entry_read(place.entry));
}

/*
 * For a run that compares: 0 · FM_MAP_KEPT another, referenced, holds the key · -ENOENT nobody
 * does
 */
static int compare_locked(struct place place, uint64_t expected, struct fm_fiber **ret_holder)
{
    FM_ASSERT(ret_holder);
    uint64_t id = place.entry ? fm__entry_present(fm__entry_read(place.entry)) : 0;
    if (id == expected)
        return 0;
    *ret_holder = fm__present_locked(place.entry);
    if (*ret_holder)
        return FM_MAP_KEPT;
    return expected ? -ENOENT : 0;
}

/* Compiled twice: for plain maps, and for those that keep a ledger. */
static inline __attribute__((always_inline)) int run(
    struct fm_map *map, struct fm_key given, fm_entry_fn *entry, void *arg,
    const struct fm_map_run_options *given_options, const void *site, struct run_more *more,
    struct fm_fiber **ret_fiber, struct limit_hand *hand, const bool keeps_ledger)
{
    struct stay *stay = NULL;
    const struct fm_map_run_options *options;
    struct fm_map_run_options copy;
    struct map_key key;
    struct fm_fiber *fiber;

    int r = 0;
    const bool looked = more && more->looked;
    if (__builtin_expect(looked, 0)) {
        key = *more->looked;
        more->looked = NULL; /* another time there may be somebody */
        options = given_options;
    } else {
        if (!map || !entry || !fm__key_read(&key, &map->seed, given))
            return -EINVAL;
        r = fm__run_options_read(given_options, &copy, &options);
        if (r < 0)
            return r;
    }
    if (!fm__map_is_open(map))
        return -ESHUTDOWN;
    struct stripe *stripe = fm__map_stripe(map, &key);
    if (fm__conflict_gives_way(options->conflict) && !looked) {
        r = fm__conflict_look(map, stripe, &key, options, more, ret_fiber);
        if (r != 0)
            return r;
    }
    struct turn *turn = NULL;
    struct stay *retained = keeps_ledger ? fm__retain_reuse(stripe, &key, options->reuse)
                                         : NULL;
    if (retained)
        return fm__retain_hand_out(retained, ret_fiber);
    if (keeps_ledger && !(stay = fm__stay_make(&key)))
        return -ENOMEM;
    struct idler *idler = NULL;
    int64_t due_ns = FM_NEVER;
    if (__builtin_expect((options->idle_ttl_ns | map->idle_ttl_ns) != 0, 0)) {
        struct idler *made; /* its own: idler stays in a register */
        r = fm__idle_make(map, fm__idle_ttl(map, options), &made);
        if (r < 0)
            goto drop_stay;
        idler = made;
    }
    struct work work = { entry, arg, options->arg_drop };
    if (options == &fm__run_by_default)
        r = fm__fiber_create(map->runtime, entry, arg, NULL, site, ret_fiber != NULL, &fiber);
    else if (__builtin_expect(is_wrapped(options), 0))
        r = create_wrapped(map, stripe, &key, work, options, site, ret_fiber != NULL, &turn,
                           &fiber);
    else
        r = create(map, work, options, site, ret_fiber != NULL, &fiber);
    if (r < 0)
        goto drop_idler;
    r = fm__stripe_lock_with_room(stripe, &key);
    if (r < 0)
        goto discard_fiber;
    struct place place = fm__stripe_find_locked(stripe, &key);
    struct fm_fiber *incumbent = NULL;
    if (!fm__map_is_open(map))
        r = -ESHUTDOWN;
    else if (options->conflict != FM_REPLACE)
        r = decide_locked(stripe, &key, place, options, more, turn, &incumbent);
    else if (more && more->compares)
        r = compare_locked(place, more->expected, &incumbent);
    if (keeps_ledger && r == 0 &&
        (retained = fm__retain_reuse_locked(map, &key, place, options->reuse)) != NULL)
        r = FM_MAP_REUSED;
    if (keeps_ledger && (r == 0 || r == FM_MAP_QUEUED)) {
        int limited = fm__limit_take_locked(map, hand, r == 0 && is_held(place));
        r = limited < 0 ? limited : r;
    }
    const bool queues = r == FM_MAP_QUEUED;
    if (__builtin_expect(r != 0, 0) && !queues) {
        fm__unlock(&stripe->lock);
        if (retained) {
            r = fm__retain_hand_out(retained, ret_fiber);
        } else if (incumbent) {
            uint32_t conflict = more && more->compares ? FM_KEEP : options->conflict;
            r = fm__conflict_held(incumbent, conflict, ret_fiber);
        }
        goto discard_fiber;
    }

    struct entry *mine = fm__stripe_take_locked(stripe, &key);
    enum fm_reason reason = FM_BY_NOBODY;
    uint64_t displaced = 0;
    fm__member_bind(fiber, stripe, mine, options->flags);
    if (more)
        begin_more_locked(more, stripe, mine, fiber);
    if (__builtin_expect(queues, 0)) {
        mine->since_ns = fm__runtime_coarse_ns(map->runtime);
        fm__turn_queue_locked(turn, fiber, mine);
    } else {
        fm__entry_publish(mine, fm__fiber_id(fiber));
        displaced = fm__map_install_locked(map, stripe, place, mine);
        if (displaced)
            reason = fm__why_displaced_locked(place.entry);
        if (__builtin_expect(turn != NULL, 0))
            fm__turn_enter_locked(turn, fiber, mine, displaced, place.entry);
    }
    if (__builtin_expect(idler != NULL, 0)) {
        fm__member_mark(fiber, MEMBER_IDLES);
        due_ns = fm__idle_attach_locked(stripe, mine, idler, !fm__turn_waits_locked(turn));
    }
    fm__count_add(stripe, COUNT_MEMBER_ONE + (displaced ? 0 : COUNT_LIVE_ONE));
    struct turn_rest rest = { NULL, NULL };
    if (__builtin_expect(turn != NULL, 0))
        rest = fm__turn_rest_locked(turn);
    if (keeps_ledger) {
        fm__stay_begin_locked(stay, stripe, fiber, displaced, true);
        fm__limit_use_locked(map, stay, hand, displaced != 0, queues);
    }
    fm__unlock(&stripe->lock);

    FM_PROBE2(map_run, map, displaced);
    if (__builtin_expect(turn != NULL, 0))
        fm__turn_rest_free(rest);
    if (__builtin_expect(idler != NULL, 0))
        fm__idle_told(map, due_ns);
    if (displaced)
        fm__member_signal(displaced, reason);
    if (keeps_ledger)
        fm__stay_begun(fiber, stripe);
    else
        fm__fiber_start(fiber);
    if (ret_fiber)
        *ret_fiber = fiber;
    return displaced ? FM_MAP_REPLACED : r;

discard_fiber:
    fm__run_unmake(fiber, ret_fiber != NULL);
drop_idler:
    if (__builtin_expect(idler != NULL, 0))
        fm__idle_drop(map, idler);
drop_stay:
    if (keeps_ledger)
        fm__stay_unref(stay);
    return r;
}

static __attribute__((noinline)) int run_with_ledger(struct fm_map *map, struct fm_key key,
                                                     fm_entry_fn *entry, void *arg,
                                                     const struct fm_map_run_options *options,
                                                     const void *site, struct run_more *more,
                                                     struct fm_fiber **ret_fiber)
{
    FM_ASSERT(map->ledger);
    struct limit_hand hand = { .runs = 1 };
    int r;

    while ((r = run(map, key, entry, arg, options, site, more, ret_fiber, &hand, true)) ==
           -ERESTART) {
        const struct fm_map_run_options *read;
        struct fm_map_run_options copy;
        r = fm__run_options_read(options, &copy, &read); /* run has read them: it fits */
        if (r == 0)
            r = fm__limit_wait(map, &hand, read->deadline_ns ? read->deadline_ns : FM_NEVER);
        if (r < 0)
            break;
    }
    fm__limit_put_back(map, &hand);
    return r;
}

int fm__map_run(struct fm_map *map, struct fm_key key, fm_entry_fn *entry, void *arg,
                const struct fm_map_run_options *options, const void *site,
                struct run_more *more, struct fm_fiber **ret_fiber)
{
    if (map && __builtin_expect(map->ledger != NULL, 0))
        return run_with_ledger(map, key, entry, arg, options, site, more, ret_fiber);
    return run(map, key, entry, arg, options, site, more, ret_fiber, NULL, false);
}

int fm_map_run(struct fm_map *map, struct fm_key key, fm_entry_fn *entry, void *arg,
               const struct fm_map_run_options *options, struct fm_fiber **ret_fiber)
{
    return fm__map_run(map, key, entry, arg, options, __builtin_return_address(0), NULL,
                       ret_fiber);
}

int fm_map_compare_and_replace(struct fm_map *map, struct fm_key key, struct fm_fiber *expected,
                               fm_entry_fn *entry, void *arg,
                               const struct fm_map_run_options *options,
                               struct fm_fiber **ret_fiber)
{
    struct run_more more = { .compares = true,
                             .expected = expected ? fm__fiber_id(expected) : 0 };
    if (options && options->conflict != FM_REPLACE)
        return -EINVAL;
    return fm__map_run(map, key, entry, arg, options, __builtin_return_address(0), &more,
                       ret_fiber);
}
