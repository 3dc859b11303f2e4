/*
 * hooks.c - telling the user what happens under each key, in the order in which it happens
 *
 * Each stripe has a queue of events. An event is queued in the hold of the stripe lock in which
 * the thing happened; it is told with no lock held, by whoever finds that nobody tells:
 *
 *     note (locked)                    tell
 *       to the end of the queue          lock; somebody tells, or nothing to tell: leave
 *                                        telling = true
 *                                        take the whole queue; unlock; call the hooks; lock;
 *                                        again until it is empty; telling = false; unlock
 *
 * So the calls of one stripe are one after the other, in order, and whoever leaves because
 * somebody tells has queued his event before that one looked last. A hook that calls the map
 * finds himself telling and goes on; what he did is told after him.
 *
 * The start of a fiber is told before the fiber is made runnable, by the one who makes it so:
 * on_start comes before its body, whoever tells.
 *
 * Nothing is told once the map has been destroyed. Members have told by then, or are waited
 * for; a lineage that is detached notes nothing, and one that had noted its restart before is
 * waited for by the destroyer.
 */
#include <errno.h>

#include "fibermap/describe.h"
#include "fibermap/ledger.h"
#include "fibermap/member.h"
#include "runtime/platform/config.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/spin.h"

int fm__hooks_make(struct ledger *ledger, const struct fm_map_config *config, uint32_t stripes)
{
    FM_ASSERT(stripes);
    if (!config->hooks)
        return 0;
    int r = fm__config_read(&ledger->hooks, sizeof ledger->hooks, config->hooks);
    if (r < 0 || ledger->hooks.reserved)
        return r < 0 ? r : -EINVAL;
    ledger->events = fm__calloc(stripes, sizeof *ledger->events);
    if (!ledger->events)
        return -ENOMEM;
    for (uint32_t i = 0; i < stripes; i++)
        ledger->events[i].last = &ledger->events[i].first;
    return 0;
}

static struct event_queue *queue_of(struct stripe *stripe)
{
    FM_ASSERT(stripe->map->ledger->events);
    FM_ASSERT(stripe >= stripe->map->stripes);
    struct fm_map *map = stripe->map;
    return &map->ledger->events[stripe - map->stripes];
}

void fm__hooks_note_locked(struct stripe *stripe, struct stay *stay, enum event_kind kind)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    FM_ASSERT(kind < EVENT_KINDS && stay->end.fiber);
    struct event_queue *queue = queue_of(stripe);
    struct event *event = &stay->events[kind];

    fm__stay_ref(stay);
    event->next = NULL;
    *queue->last = event;
    queue->last = &event->next;
}

static void tell_start(const struct fm_map_hooks *hooks, struct stay *stay)
{
    FM_ASSERT(stay->end.fiber);
    if (stay->displaced && hooks->on_replace)
        hooks->on_replace(hooks->ctx, stay->end.key, stay->displaced, stay->end.fiber);
    stay->displaced = fm_fiber_unref(stay->displaced);
    if (hooks->on_start)
        hooks->on_start(hooks->ctx, stay->end.key, stay->end.fiber);
    if (stay->starts)
        fm__fiber_start(stay->end.fiber);
}

static void tell_one(const struct fm_map_hooks *hooks, struct event *event)
{
    FM_ASSERT(event->stay);
    struct stay *stay = event->stay;

    switch ((enum event_kind)(event - stay->events)) {
    case EVENT_START: tell_start(hooks, stay); break;
    case EVENT_RESTART:
        hooks->on_restart(hooks->ctx, stay->end.key, stay->end.fiber, stay->last);
        /* release: the hook has returned; with the lineage that waits for it */
        atomic_store_explicit(&stay->restart_told, true, memory_order_release);
        break;
    case EVENT_EXIT:
        if (hooks->on_exit)
            hooks->on_exit(hooks->ctx, stay->end.key, stay->end.fiber, stay->end.exit);
        break;
    case EVENT_KINDS: break;
    }
    fm__stay_unref(stay);
}

void fm__hooks_finish(struct fm_map *map)
{
    FM_ASSERT(map);
    if (!map->ledger || !map->ledger->events)
        return;
    fm__map_each_stripe(map, s) {
        const struct event_queue *queue = queue_of(s);
        bool more = true;
        for (unsigned spins = 0; more; spins++) {
            fm__lock(&s->lock);
            more = queue->telling || queue->first;
            fm__unlock(&s->lock);
            if (more)
                fm__spin(spins);
        }
    }
}

void fm__hooks_tell(struct stripe *stripe)
{
    FM_ASSERT(stripe->map->ledger);
    struct event_queue *queue = queue_of(stripe);
    const struct fm_map_hooks *hooks = &stripe->map->ledger->hooks;

    fm__lock(&stripe->lock);
    if (!queue->telling) {
        queue->telling = true;
        while (queue->first) {
            struct event *event = queue->first;
            queue->first = NULL;
            queue->last = &queue->first;
            fm__unlock(&stripe->lock);
            while (event) {
                struct event *next = event->next;
                tell_one(hooks, event);
                event = next;
            }
            fm__lock(&stripe->lock);
        }
        queue->telling = false;
    }
    fm__unlock(&stripe->lock);
}

void fm__hooks_restart(struct fm_fiber *self, struct fm_exit exit)
{
    FM_ASSERT(self == fm__fiber_self());
    struct fm_map *map = fm__member_map(self);
    struct ledger *ledger = map->ledger;
    struct stripe *stripe;

    if (!ledger || !ledger->hooks.on_restart)
        return;
    fm__home_lock(map, fm__described_entry(self), &stripe);
    bool detached = fm__member_is_detached(self);
    struct stay *stay = fm__member_stay(self);
    FM_ASSERT(stay);
    if (!detached) {
        stay->last = exit;
        atomic_store_explicit(&stay->restart_told, false, memory_order_relaxed);
        fm__hooks_note_locked(stripe, stay, EVENT_RESTART);
        fm__stay_ref(stay); /* a move may drop it meanwhile */
    }
    fm__unlock(&stripe->lock);
    if (detached)
        return;
    fm__hooks_tell(stripe);
    self->mask_depth++;
    /* acquire, with the release above. Another tells it, who does not wait. */
    while (!atomic_load_explicit(&stay->restart_told, memory_order_acquire))
        fm_yield();
    self->mask_depth = 0;
    fm__stay_unref(stay);
}
