/*
 * map_run.c - run and set: putting a fiber under a key
 *
 * Invariant   a key has at most one present entry; whoever is displaced from it has been or is
 *             about to be interrupted by the displacer, after the stripe lock is free; a
 *             fiber's entry is published before the fiber starts.
 * Order       look without the lock (KEEP, FAIL); make the fiber; make room; lock; decide;
 *             publish, install, count; unlock; interrupt the old one; start the new one.
 */
#include <errno.h>
#include <stdlib.h>

#include "fibermap/ledger.h"
#include "fibermap/map.h"
#include "fibermap/member.h"
#include "fibermap/share.h"
#include "runtime/platform/check.h"
#include "runtime/platform/config.h"
#include "runtime/platform/probe.h"

static const struct fm_map_run_options by_default = FM_MAP_RUN_OPTIONS_INIT;

/* The options to go by: the caller's own where they have our shape, else a copy. */
static int options_read(const struct fm_map_run_options *given, struct fm_map_run_options *copy,
                        const struct fm_map_run_options **ret_options)
{
    *ret_options = &by_default;
    if (!given)
        return 0;
    *ret_options = given;
    if (given->size != sizeof *given) {
        int r = fm__config_read(copy, sizeof *copy, given);
        if (r < 0)
            return r;
        *ret_options = copy;
    }
    uint32_t conflict = (*ret_options)->conflict;
    if ((conflict > FM_FAIL && conflict != FM_JOIN) || (*ret_options)->stack_bytes > 1u << 20 ||
        (*ret_options)->reuse > FM_REUSE_ANY || (*ret_options)->reuse_reserved ||
        ((*ret_options)->flags & ~(FM_MAP_PROPAGATE_INTERRUPT | FM_MAP_ISOLATE_FAILURE)))
        return -EINVAL;
    return (*ret_options)->restart ? fm__restart_check((*ret_options)->restart) : 0;
}

static bool keeps(uint32_t conflict)
{
    return conflict == FM_KEEP || conflict == FM_JOIN;
}

/* The key is held and the caller does not replace. Consumes the reference. */
static int held(struct fm_fiber *incumbent, uint32_t conflict, struct fm_fiber **ret_fiber)
{
    if (keeps(conflict) && ret_fiber)
        *ret_fiber = incumbent;
    else
        fm_fiber_unref(incumbent);
    return keeps(conflict) ? FM_MAP_KEPT : -EEXIST;
}

/* Who is under the key and stays there: a reference, or NULL. The caller waits for it if he wants to. */
static struct fm_fiber *stays_locked(struct stripe *stripe, struct place place,
                                     uint32_t conflict, struct run_more *more)
{
    if (conflict == FM_REPLACE ||
        (conflict == FM_JOIN && place.entry && fm__share_stopping_locked(place.entry)))
        return NULL;
    struct fm_fiber *incumbent = fm__present_locked(place.entry);
    if (incumbent && more && more->waits) {
        fm__share_join_locked(place.entry);
        more->stripe = stripe;
        more->entry = place.entry;
    }
    return incumbent;
}

/* For a run that compares: 0 · FM_MAP_KEPT another, referenced, holds the key · -ENOENT nobody does */
static int compare_locked(struct place place, uint64_t expected, struct fm_fiber **ret_holder)
{
    uint64_t id = place.entry ? fm__entry_present(fm__entry_read(place.entry)) : 0;
    if (id == expected)
        return 0;
    *ret_holder = fm__present_locked(place.entry);
    if (*ret_holder)
        return FM_MAP_KEPT;
    return expected ? -ENOENT : 0;
}

/* Before anything is made: FM_MAP_KEPT, -EEXIST, -ESHUTDOWN, or 0: nobody is there, or goes. */
static int look_first(struct fm_map *map, struct stripe *stripe, const struct map_key *key,
                      uint32_t conflict, struct run_more *more, struct fm_fiber **ret_fiber)
{
    struct fm_fiber *incumbent;

    if (conflict == FM_JOIN) {
        fm__lock(&stripe->lock);
        struct place place = fm__stripe_find_locked(stripe, key);
        incumbent = fm__map_is_open(map) ? stays_locked(stripe, place, conflict, more) : NULL;
        fm__unlock(&stripe->lock);
    } else {
        /* A hit takes no lock and makes no fiber. Without a wish for the reference none is taken. */
        if (!ret_fiber && fm__stripe_find(stripe, key))
            return fm__map_is_open(map) ? held(NULL, conflict, NULL) : -ESHUTDOWN;
        incumbent = ret_fiber ? fm__map_look(map, key) : NULL;
    }
    return incumbent ? held(incumbent, conflict, ret_fiber) : 0;
}

/* Put a published entry in its place and count it. Returns the id of whom it displaced, or 0. */
static uint64_t install_locked(struct fm_map *map, struct stripe *stripe, struct place place,
                               struct entry *entry)
{
    entry->since_ns = fm__runtime_coarse_ns(map->runtime);
    return fm__stripe_install_locked(stripe, place, entry);
}

/* A fiber that nobody waits for any more is interrupted for that, whoever is the first to do it. */
static enum fm_reason why_displaced_locked(const struct entry *old)
{
    return fm__share_stopping_locked(old) ? FM_BY_LAST_WAITER : FM_BY_REPLACE;
}

static __attribute__((noinline)) void begin_more_locked(struct run_more *more,
                                                        struct stripe *stripe,
                                                        struct entry *mine,
                                                        struct fm_fiber *fiber)
{
    if (more->told)
        fm__exit_list_add(&fiber->exits, more->told);
    if (more->waits) {
        fm__share_begin_locked(mine, more->stops);
        more->stripe = stripe;
        more->entry = mine;
    }
}

static int create(struct fm_map *map, const struct map_key *key, fm_entry_fn *entry, void *arg,
                  const struct fm_map_run_options *options, const void *site, bool reference,
                  struct fm_fiber **ret_fiber)
{
    if (options == &by_default)
        return fm__fiber_create(map->runtime, entry, arg, NULL, site, reference, ret_fiber);
    struct fm_spawn_options spawn = {
        .size = sizeof spawn,
        .name = options->name,
        .stack_bytes = options->stack_bytes,
        .arg_drop = options->arg_drop,
        .value_drop = options->value_drop,
    };
    if (options->restart)
        return fm__restart_create(map, key, entry, arg, options, &spawn, site, reference,
                                  ret_fiber);
    return fm__fiber_create(map->runtime, entry, arg, &spawn, site, reference, ret_fiber);
}

/* It will not be started. */
static void discard(struct fm_fiber *fiber, bool reference)
{
    fm__restart_discard(fiber);
    if (reference) {
        fiber->value_drop = NULL;
        fm_fiber_unref(fiber);
    }
    fm__fiber_discard(fiber);
}

/* Compiled twice: for plain maps, and for those that keep a ledger. */
static inline __attribute__((always_inline)) int
run(struct fm_map *map, struct fm_key given, fm_entry_fn *entry, void *arg,
    const struct fm_map_run_options *given_options, const void *site, struct run_more *more,
    struct fm_fiber **ret_fiber, struct limit_hand *hand, const bool keeps_ledger)
{
    struct stay *stay = NULL;
    const struct fm_map_run_options *options;
    struct fm_map_run_options copy;
    struct map_key key;
    struct fm_fiber *fiber;

    if (!map || !entry || !fm__key_read(&key, &map->seed, given))
        return -EINVAL;
    int r = options_read(given_options, &copy, &options);
    if (r < 0)
        return r;
    if (!fm__map_is_open(map))
        return -ESHUTDOWN;
    struct stripe *stripe = fm__map_stripe(map, &key);
    if (options->conflict != FM_REPLACE) {
        r = look_first(map, stripe, &key, options->conflict, more, ret_fiber);
        if (r != 0)
            return r;
    }
    struct stay *retained = keeps_ledger ? fm__retain_reuse(stripe, &key, options->reuse) : NULL;
    if (retained)
        return fm__retain_hand_out(retained, ret_fiber);
    if (keeps_ledger && !(stay = fm__stay_make(&key)))
        return -ENOMEM;
    r = create(map, &key, entry, arg, options, site, ret_fiber != NULL, &fiber);
    if (r < 0) {
        if (keeps_ledger)
            fm__stay_unref(stay);
        return r;
    }
    r = fm__stripe_lock_with_room(stripe, &key);
    if (r < 0) {
        discard(fiber, ret_fiber != NULL);
        if (keeps_ledger)
            fm__stay_unref(stay);
        return r;
    }
    struct place place = fm__stripe_find_locked(stripe, &key);
    struct fm_fiber *incumbent = NULL;
    if (!fm__map_is_open(map))
        r = -ESHUTDOWN;
    else if (more && more->compares)
        r = compare_locked(place, more->expected, &incumbent);
    else if ((incumbent = stays_locked(stripe, place, options->conflict, more)) != NULL)
        r = FM_MAP_KEPT;
    if (keeps_ledger && r == 0 &&
        (retained = fm__retain_reuse_locked(map, &key, place, options->reuse)) != NULL)
        r = FM_MAP_REUSED;
    if (keeps_ledger && r == 0)
        r = fm__limit_take_locked(
            map, hand, place.entry && fm__entry_present(fm__entry_read(place.entry)));
    if (r != 0) {
        fm__unlock(&stripe->lock);
        discard(fiber, ret_fiber != NULL);
        if (keeps_ledger)
            fm__stay_unref(stay);
        if (retained)
            return fm__retain_hand_out(retained, ret_fiber);
        uint32_t conflict = more && more->compares ? FM_KEEP : options->conflict;
        return incumbent ? held(incumbent, conflict, ret_fiber) : r;
    }

    struct entry *mine = fm__stripe_take_locked(stripe, &key);
    fm__member_bind(fiber, stripe, mine, options->flags);
    if (more)
        begin_more_locked(more, stripe, mine, fiber);
    fm__entry_publish(mine, fm__fiber_id(fiber));
    uint64_t displaced = install_locked(map, stripe, place, mine);
    enum fm_reason reason = displaced ? why_displaced_locked(place.entry) : FM_BY_NOBODY;
    fm__count_add(stripe, COUNT_MEMBER_ONE + (displaced ? 0 : COUNT_LIVE_ONE));
    if (keeps_ledger) {
        fm__stay_begin_locked(stay, stripe, fiber, displaced, true);
        fm__limit_use_locked(map, stay, hand, displaced != 0);
    }
    fm__unlock(&stripe->lock);

    FM_PROBE2(map_run, map, displaced);
    if (displaced)
        fm__member_signal(displaced, reason);
    if (keeps_ledger)
        fm__stay_begun(stay, stripe);
    else
        fm__fiber_start(fiber);
    if (ret_fiber)
        *ret_fiber = fiber;
    return displaced ? FM_MAP_REPLACED : 0;
}

static __attribute__((noinline)) int run_with_ledger(
    struct fm_map *map, struct fm_key key, fm_entry_fn *entry, void *arg,
    const struct fm_map_run_options *options, const void *site, struct run_more *more,
    struct fm_fiber **ret_fiber)
{
    struct limit_hand hand = { 0 };
    int r;

    while ((r = run(map, key, entry, arg, options, site, more, ret_fiber, &hand, true)) ==
           -ERESTART) {
        r = fm__limit_wait(map, &hand, FM_NEVER);
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

/* ---- setting ---- */

static int reject(struct fm_fiber *fiber, int result)
{
    fm__fiber_interrupt(fiber, FM_BY_REJECT);
    return result;
}

int fm_map_set(struct fm_map *map, struct fm_key given, struct fm_fiber *fiber,
               const struct fm_map_run_options *given_options)
{
    const struct fm_map_run_options *options;
    struct fm_map_run_options copy;
    struct map_key key;

    if (!map || !fiber || fiber->kind != FIBER_TASK || !fm__key_read(&key, &map->seed, given))
        return -EINVAL;
    int r = options_read(given_options, &copy, &options);
    if (r < 0)
        return r;
    if (options->conflict > FM_FAIL)
        return -EINVAL;
    struct stripe *stripe = fm__map_stripe(map, &key);
    uint64_t id = fm__fiber_id(fiber);
    struct set_node *node = fm__set_node_make(stripe, options->flags);
    if (!node)
        return -ENOMEM;
    struct stay *stay = map->ledger ? fm__stay_make(&key) : NULL;
    r = map->ledger && !stay ? -ENOMEM : fm__stripe_lock_with_room(stripe, &key);
    if (r < 0) {
        fm__stay_unref(stay);
        free(node);
        return r;
    }
    struct place place = fm__stripe_find_locked(stripe, &key);
    uint64_t present = place.entry ? fm__entry_present(fm__entry_read(place.entry)) : 0;
    if (!fm__map_is_open(map))
        r = -ESHUTDOWN;
    else if (present == id)
        r = FM_MAP_SAME;
    else if (present && options->conflict != FM_REPLACE)
        r = options->conflict == FM_KEEP ? FM_MAP_KEPT : -EEXIST;
    if (r != 0) {
        fm__unlock(&stripe->lock);
        fm__stay_unref(stay);
        free(node);
        return r == FM_MAP_SAME ? r : reject(fiber, r);
    }

    struct entry *mine = fm__stripe_take_locked(stripe, &key);
    node->entry = mine;
    node->stay = stay;
    fm__count_add(stripe, COUNT_MEMBER_ONE + COUNT_LIVE_ONE);
    fm__entry_publish(mine, id);
    atomic_fetch_add_explicit(&map->sets, 1, memory_order_relaxed);
    /* From here the fiber's exit may take the entry, although no lookup has found it yet. */
    bool told = fm__exit_list_add(&fiber->exits, &node->node);
    if (!told)
        fm__entry_publish(mine, 0); /* it has ended: in and out in one step */
    uint64_t displaced = install_locked(map, stripe, place, mine);
    enum fm_reason reason = displaced ? why_displaced_locked(place.entry) : FM_BY_NOBODY;
    if (stay)
        fm__stay_begin_locked(stay, stripe, fiber, displaced, false);
    if (stay && !displaced)
        fm__limit_count_locked(map);
    if (stay && !told) /* sealed: its exit is stored */
        fm__stay_over_locked(stay, stripe, fiber->exit);
    fm__unlock(&stripe->lock);

    if (displaced) {
        fm__count_subtract(stripe, COUNT_LIVE_ONE); /* its place under the key is ours now */
        fm__member_signal(displaced, reason);
    }
    if (stay)
        fm__stay_begun(stay, stripe);
    if (!told) {
        struct fm_exit exit;
        atomic_fetch_sub_explicit(&map->sets, 1, memory_order_relaxed);
        free(node);
        r = fm_fiber_poll(fiber, &exit);
        FM_ASSERT(r == 0);
        if (stay)
            fm__stay_over(stay, stripe);
        fm__member_left(stripe, mine, options->flags, fiber, exit, ENTRY_END_PRESENT);
    }
    return displaced ? FM_MAP_REPLACED : 0;
}
