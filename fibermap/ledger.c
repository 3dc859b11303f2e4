/*
 * ledger.c - stays: one for each registration of a map that keeps a ledger
 *
 * Owns        the ledger, with the map; each stay until its last reference.
 * Invariant   a fiber leaves its entry under the stripe lock, in the same hold that notes its
 *             end; so the events of a stripe are queued in the order in which its entries
 *             changed, and one who reads a stay of an entry that is LIVE or ZOMBIE under that
 *             lock reads one that is there.
 * Order       the exit leaves its key, completes, has its end told, drops the stay, and then
 *             does what every exit does: verdict, burial, count. Whoever tells hooks is a call
 *             on the map or an exit that has not left the count: the map is there while he
 *             does.
 */
#include "fibermap/ledger.h"

#include <errno.h>
#include <stdlib.h>

#include "fibermap/member.h"
#include "runtime/platform/memory.h"

/* ---- the ledger ---- */

int fm__ledger_make(struct fm_map *map, const struct fm_map_config *config)
{
    FM_ASSERT(!map->ledger);
    if (!config->completions && !config->hooks && !config->retain_count && !config->max_live &&
        !config->max_starts)
        return 0;
    struct ledger *ledger = fm__calloc(1, sizeof *ledger);
    if (!ledger)
        return -ENOMEM;
    map->ledger = ledger;
    int r = fm__completions_make(ledger, config);
    if (r == 0)
        r = fm__retain_make(ledger, config);
    fm__limit_make(map, config);
    if (r == 0)
        r = fm__hooks_make(ledger, config, map->stripe_mask + 1);
    if (r < 0)
        fm__ledger_free(map);
    return r;
}

void fm__ledger_free(struct fm_map *map)
{
    struct ledger *ledger = map->ledger;
    if (!ledger)
        return;
    fm__completions_free(ledger);
    fm__retain_free(ledger);
    free(ledger->events);
    free(ledger);
    map->ledger = NULL;
}

/* ---- stays ---- */

struct stay *fm__stay_make(const struct map_key *key)
{
    FM_ASSERT(key->len);
    struct stay *stay = fm__malloc(sizeof *stay + key->len);
    if (!stay)
        return NULL;
    *stay = (struct stay) { .end.key = fm_key_bytes(stay->key, key->len), .head = key->head };
    memcpy(stay->key, key->data, key->len);
    atomic_init(&stay->refs, 1);
    for (int i = 0; i < EVENT_KINDS; i++)
        stay->events[i].stay = stay;
    return stay;
}

void fm__stay_ref(struct stay *stay)
{
    FM_ASSERT(stay);
    /* relaxed: the caller's own reference keeps it */
    atomic_fetch_add_explicit(&stay->refs, 1, memory_order_relaxed);
}

void fm__stay_unref(struct stay *stay)
{
    /* acq_rel: all uses of the others happen before the last one frees */
    if (!stay || atomic_fetch_sub_explicit(&stay->refs, 1, memory_order_acq_rel) != 1)
        return;
    fm_fiber_unref(stay->displaced);
    fm_fiber_unref(stay->end.fiber);
    free(stay);
}

void fm__stay_begin_locked(struct stay *stay, struct stripe *stripe, struct fm_fiber *fiber,
                           uint64_t displaced, bool starts)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    FM_ASSERT(!stay->end.fiber);
    FM_ASSERT(fiber->kind == FIBER_TASK);
    stay->end.fiber = fm_fiber_ref(fiber);
    stay->starts = starts;
    if (starts)
        fm__member_keep(fiber, stay);
    if (!stripe->map->ledger->events)
        return;
    /* It cannot end before it has had this lock, so it is there. */
    stay->displaced = displaced ? fm__fiber_ref_id(displaced) : NULL;
    fm__hooks_note_locked(stripe, stay, EVENT_START);
}

void fm__stay_begun(struct fm_fiber *fiber, struct stripe *stripe)
{
    FM_ASSERT(stripe->map->ledger);
    if (stripe->map->ledger->events)
        fm__hooks_tell(stripe);
    else
        fm__fiber_start(fiber);
}

static void end_locked(struct stay *stay, struct stripe *stripe, struct fm_exit exit,
                       enum entry_end end)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    FM_ASSERT(stay->end.fiber);
    FM_ASSERT(end != ENTRY_END_HELD && end != ENTRY_END_MOVED);
    stay->end.exit = exit;
    if (end == ENTRY_END_PRESENT && stripe->map->ledger->retained)
        fm__retain_put_locked(stripe->map, stay);
    if (stripe->map->ledger->events)
        fm__hooks_note_locked(stripe, stay, EVENT_EXIT);
}

/* The exit has left the key, and it is noted. */
static void after_end(struct stay *stay, struct stripe *stripe, enum entry_end end)
{
    FM_ASSERT(stripe->map->ledger);
    struct stay *dropped = stay->dropped;
    stay->dropped = NULL;
    fm__retain_drop(dropped);
    if (end == ENTRY_END_PRESENT)
        fm__completions_push(stripe->map, stay);
    fm__limit_left(stripe->map, stay, end == ENTRY_END_PRESENT);
    if (stripe->map->ledger->events)
        fm__hooks_tell(stripe);
    fm__stay_unref(stay);
}

void fm__stay_over_locked(struct stay *stay, struct stripe *stripe, struct fm_exit exit)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    end_locked(stay, stripe, exit, ENTRY_END_PRESENT);
}

void fm__stay_over(struct stay *stay, struct stripe *stripe)
{
    FM_ASSERT(stay->end.fiber);
    after_end(stay, stripe, ENTRY_END_PRESENT);
}

void fm__stay_ended(struct stay **place, struct stripe *stripe, struct entry *home,
                    uint32_t flags, struct fm_fiber *fiber, struct fm_exit exit)
{
    FM_ASSERT(place);
    struct stripe *first = stripe;
    struct entry *entry = fm__home_lock(stripe->map, home, &stripe);
    struct stay *stay = *place; /* not before: a move puts another there */
    FM_ASSERT(stay);
    /* Neither HELD nor MOVED: a cut and a move hold this lock. */
    enum entry_end end = fm__entry_end(entry, fm__fiber_id(fiber));
    if (end != ENTRY_END_DETACHED)
        end_locked(stay, stripe, exit, end);
    fm__unlock(&stripe->lock);
    after_end(stay, stripe, end);
    fm__home_leave(first, home, entry);
    fm__member_left(stripe, entry, flags, fiber, exit, end);
}
