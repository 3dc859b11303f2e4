/*
 * completions.c - ended fibers with their keys, in the order in which they ended
 *
 * A ring of stays. An exit puts its own in before it gives up its place in the count, and both
 * happen under the wait lock, where the map's emptiness is known at every instant: a map with a
 * ring is always watched (count.c). So under that lock: nothing in the ring and no stripe with
 * a present entry means that nothing will come but from a run to come.
 *
 *     push                                   next
 *       lock; put in; take the first           lock; something in: take it
 *         waiter off; unlock; wake him           nobody present: -ENOENT
 *       he had left: the next one              else onto the list; wait; again
 *
 * A wake is not a completion: who comes in between may take it, and the woken one waits again.
 * Each push wakes one, so as long as there is something in the ring, nobody who is on the list
 * has not been passed over for somebody who is on his way.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "fibermap/ledger.h"
#include "runtime/platform/memory.h"

int fm__completions_make(struct ledger *ledger, const struct fm_map_config *config)
{
    FM_ASSERT(!ledger->ring);
    if (!config->completions)
        return 0;
    ledger->ring = fm__malloc(config->completions * sizeof *ledger->ring);
    ledger->ring_size = config->completions;
    return ledger->ring ? 0 : -ENOMEM;
}

static struct stay *pop_locked(struct ledger *ledger)
{
    FM_ASSERT(ledger->ring_count <= ledger->ring_size);
    if (!ledger->ring_count)
        return NULL;
    FM_ASSERT(ledger->ring_at < ledger->ring_size);
    struct stay *stay = ledger->ring[ledger->ring_at];
    ledger->ring_at = ledger->ring_at + 1 == ledger->ring_size ? 0 : ledger->ring_at + 1;
    ledger->ring_count--;
    FM_ASSERT(stay);
    return stay;
}

void fm__completions_free(struct ledger *ledger)
{
    struct stay *stay;
    while ((stay = pop_locked(ledger)) != NULL)
        fm__stay_unref(stay);
    free(ledger->ring);
}

static void wake_one_and_unlock(struct waiting *w, struct ledger *ledger)
{
    FM_ASSERT(fm__lock_held(&w->lock));
    FM_ASSERT(ledger->ring);
    struct waitlist *list = &w->lists[WAIT_NEXT];

    while (list->first && ledger->ring_count) {
        struct wait wait = list->first->wait;
        fm__waitlist_remove_locked(list, list->first);
        fm__unlock(&w->lock);
        if (fm__wake(wait, WAKE_VALUE))
            return;
        fm__lock(&w->lock);
    }
    fm__unlock(&w->lock);
}

void fm__completions_push(struct fm_map *map, struct stay *stay)
{
    FM_ASSERT(stay->end.fiber);
    struct ledger *ledger = map->ledger;
    struct stay *oldest = NULL;

    if (!ledger->ring)
        return;
    fm__stay_ref(stay);
    fm__lock(&map->waiting.lock);
    if (ledger->ring_count == ledger->ring_size) {
        oldest = pop_locked(ledger);
        ledger->dropped++;
    }
    FM_ASSERT(ledger->ring_count < ledger->ring_size);
    uint64_t at = (uint64_t)ledger->ring_at + ledger->ring_count++;
    ledger->ring[at < ledger->ring_size ? at : at - ledger->ring_size] = stay;
    wake_one_and_unlock(&map->waiting, ledger);
    fm__stay_unref(oldest);
}

static int hand_out(struct stay *stay, struct fm_completion **ret_completion)
{
    FM_ASSERT(stay && stay->end.fiber);
    if (ret_completion)
        *ret_completion = &stay->end;
    else
        fm__stay_unref(stay);
    return 0;
}

int fm_map_next(struct fm_map *map, int64_t deadline_ns, struct fm_completion **ret_completion)
{
    struct stay *stay;

    if (!map || !map->ledger || !map->ledger->ring)
        return -EINVAL;
    if (deadline_ns > 0)
        fm__budget_spend();
    fm__wait_prepare();
    for (;;) {
        fm__lock(&map->waiting.lock);
        stay = pop_locked(map->ledger);
        if (stay || !map->waiting.stripes_live)
            break;
        int r = fm__waiting_wait(&map->waiting, WAIT_NEXT, deadline_ns, "map_next");
        if (r < 0)
            return r;
    }
    fm__unlock(&map->waiting.lock);
    return stay ? hand_out(stay, ret_completion) : -ENOENT;
}

int fm_map_try_next(struct fm_map *map, struct fm_completion **ret_completion)
{
    if (!map || !map->ledger || !map->ledger->ring)
        return -EINVAL;
    fm__lock(&map->waiting.lock);
    struct stay *stay = pop_locked(map->ledger);
    bool to_come = map->waiting.stripes_live != 0;
    fm__unlock(&map->waiting.lock);
    if (!stay)
        return to_come ? -EAGAIN : -ENOENT;
    return hand_out(stay, ret_completion);
}

struct fm_completion *fm_completion_free(struct fm_completion *completion)
{
    if (completion)
        fm__stay_unref(
            (struct stay *)(void *)((char *)completion - offsetof(struct stay, end)));
    return NULL;
}

uint64_t fm_map_completions_dropped(struct fm_map *map)
{
    if (!map || !map->ledger)
        return 0;
    fm__lock(&map->waiting.lock);
    uint64_t dropped = map->ledger->dropped;
    fm__unlock(&map->waiting.lock);
    return dropped;
}
