/*
 * retain.c - the last exit of each key, for a while
 *
 * A table by key and a list by age, of stays. An exit that leaves its key puts its stay in
 * under the same hold of the stripe lock: who finds the key free finds the result of whoever
 * held it last, if he looks for it under that lock. A lookup takes none, and may come between
 * the two; so who looks for a result takes it in any case. The table itself is under the wait
 * lock, inside it.
 *
 * What falls out is handed back on a list and released when no lock is held: a stay is the last
 * to hold its fiber, whose value is the user's to drop.
 */
#include <errno.h>
#include <stdlib.h>

#include "fibermap/conflict.h"
#include "fibermap/ledger.h"
#include "runtime/platform/memory.h"

int fm__retain_make(struct ledger *ledger, const struct fm_map_config *config)
{
    uint32_t buckets = 16;

    if (!config->retain_count)
        return 0;
    while (buckets < config->retain_count)
        buckets *= 2;
    ledger->retained = fm__calloc(buckets, sizeof *ledger->retained);
    ledger->retained_mask = buckets - 1;
    FM_ASSERT((buckets & ledger->retained_mask) == 0);
    ledger->retain_count = config->retain_count;
    ledger->retain_ns = config->retain_ns;
    return ledger->retained ? 0 : -ENOMEM;
}

static struct stay **bucket_of(struct ledger *ledger, uint64_t head)
{
    FM_ASSERT(ledger->retained);
    return &ledger->retained[head >> KEY_LENGTH_BITS & ledger->retained_mask];
}

static struct stay *find_locked(struct ledger *ledger, const struct map_key *key)
{
    FM_ASSERT(ledger->retained);
    struct stay *stay = *bucket_of(ledger, key->head);
    while (stay && !(stay->head == key->head && memcmp(stay->key, key->data, key->len) == 0))
        stay = stay->chain;
    return stay;
}

/* Off the table and the list, onto `dropped`. */
static void take_off_locked(struct ledger *ledger, struct stay *stay, struct stay **dropped)
{
    FM_ASSERT(ledger->retained_count);
    struct stay **link = bucket_of(ledger, stay->head);
    while (*link != stay)
        link = &(*link)->chain;
    *link = stay->chain;
    *(stay->older ? &stay->older->newer : &ledger->oldest) = stay->newer;
    *(stay->newer ? &stay->newer->older : &ledger->newest) = stay->older;
    ledger->retained_count--;
    FM_ASSERT(!ledger->oldest == !ledger->retained_count);
    stay->chain = *dropped;
    *dropped = stay;
}

static bool is_over(const struct ledger *ledger, const struct stay *stay, int64_t now_ns)
{
    FM_ASSERT(ledger->retained);
    return ledger->retain_ns && now_ns - stay->ended_ns >= ledger->retain_ns;
}

void fm__retain_put_locked(struct fm_map *map, struct stay *stay)
{
    FM_ASSERT(stay->end.fiber);
    struct ledger *ledger = map->ledger;
    struct map_key key = { .head = stay->head,
                           .data = stay->key,
                           .len = (uint32_t)stay->end.key.len };
    int64_t now_ns = fm__runtime_now_ns(map->runtime);

    fm__stay_ref(stay);
    stay->ended_ns = now_ns;
    fm__lock(&map->waiting.lock);
    struct stay *former = find_locked(ledger, &key), **bucket = bucket_of(ledger, stay->head);
    if (former)
        take_off_locked(ledger, former, &stay->dropped);
    while (ledger->oldest && (ledger->retained_count == ledger->retain_count ||
                              is_over(ledger, ledger->oldest, now_ns)))
        take_off_locked(ledger, ledger->oldest, &stay->dropped);
    stay->chain = *bucket;
    *bucket = stay;
    stay->newer = NULL;
    stay->older = ledger->newest;
    *(ledger->newest ? &ledger->newest->newer : &ledger->oldest) = stay;
    ledger->newest = stay;
    FM_ASSERT(ledger->oldest && !ledger->oldest->older);
    ledger->retained_count++;
    FM_ASSERT(ledger->retained_count <= ledger->retain_count);
    fm__unlock(&map->waiting.lock);
}

void fm__retain_drop(struct stay *dropped)
{
    while (dropped) {
        struct stay *stay = dropped;
        dropped = stay->chain;
        fm__stay_unref(stay);
    }
}

void fm__retain_free(struct ledger *ledger)
{
    struct stay *dropped = NULL;
    while (ledger->oldest)
        take_off_locked(ledger, ledger->oldest, &dropped);
    fm__retain_drop(dropped);
    FM_ASSERT(!ledger->newest && !ledger->retained_count);
    free(ledger->retained);
}

/*
 * What is retained of the key and fits, referenced; NULL: nothing. The caller holds the lock of
 * the key's stripe.
 */
static struct stay *look_locked(struct fm_map *map, const struct map_key *key,
                                bool success_only)
{
    FM_ASSERT(fm__lock_held(&fm__map_stripe(map, key)->lock));
    struct ledger *ledger = map->ledger;
    int64_t now_ns = fm__runtime_now_ns(map->runtime);

    fm__lock(&map->waiting.lock);
    struct stay *stay = find_locked(ledger, key);
    /* One that is over goes when the next is put in. */
    if (stay &&
        (is_over(ledger, stay, now_ns) || (success_only && stay->end.exit.kind != FM_SUCCESS)))
        stay = NULL;
    if (stay)
        fm__stay_ref(stay);
    fm__unlock(&map->waiting.lock);
    return stay;
}

struct stay *fm__retain_reuse_locked(struct fm_map *map, const struct map_key *key,
                                     struct place place, uint32_t reuse)
{
    FM_ASSERT(fm__lock_held(&fm__map_stripe(map, key)->lock));
    if (!reuse || !map->ledger->retained || !fm__map_is_open(map) ||
        fm__holder_locked(fm__map_stripe(map, key), key, place))
        return NULL;
    return look_locked(map, key, reuse == FM_REUSE_SUCCESS);
}

struct stay *fm__retain_reuse(struct stripe *stripe, const struct map_key *key, uint32_t reuse)
{
    FM_ASSERT(stripe->map->ledger);
    if (!reuse)
        return NULL;
    fm__lock(&stripe->lock);
    struct place place = fm__stripe_find_locked(stripe, key);
    struct stay *stay = fm__retain_reuse_locked(stripe->map, key, place, reuse);
    fm__unlock(&stripe->lock);
    return stay;
}

int fm__retain_hand_out(struct stay *stay, struct fm_fiber **ret_fiber)
{
    FM_ASSERT(stay->end.fiber);
    if (ret_fiber)
        *ret_fiber = fm_fiber_ref(stay->end.fiber);
    fm__stay_unref(stay);
    return FM_MAP_REUSED;
}

/* ---- the calls ---- */

static bool read_key(struct fm_map *map, struct fm_key given, struct map_key *ret_key)
{
    return map && map->ledger && map->ledger->retained &&
           fm__key_read(ret_key, &map->seed, given);
}

int fm_map_last_exit(struct fm_map *map, struct fm_key given, struct fm_exit *ret_exit)
{
    struct map_key key;

    if (!read_key(map, given, &key))
        return -EINVAL;
    struct stripe *stripe = fm__map_stripe(map, &key);
    fm__lock(&stripe->lock);
    struct stay *stay = look_locked(map, &key, false);
    fm__unlock(&stripe->lock);
    if (!stay)
        return -ENOENT;
    if (ret_exit)
        *ret_exit = stay->end.exit;
    fm__stay_unref(stay);
    return 0;
}

int fm_map_forget(struct fm_map *map, struct fm_key given)
{
    struct stay *dropped = NULL;
    struct map_key key;

    if (!read_key(map, given, &key))
        return -EINVAL;
    struct stripe *stripe = fm__map_stripe(map, &key);
    int64_t now_ns = fm__runtime_now_ns(map->runtime);
    fm__lock(&stripe->lock);
    fm__lock(&map->waiting.lock);
    struct stay *stay = find_locked(map->ledger, &key);
    bool was_over = stay && is_over(map->ledger, stay, now_ns);
    if (stay)
        take_off_locked(map->ledger, stay, &dropped);
    fm__unlock(&map->waiting.lock);
    fm__unlock(&stripe->lock);
    fm__retain_drop(dropped);
    return stay && !was_over ? 0 : -ENOENT;
}
