/*
 * run_many.c - runs under many keys: one after the other, or all at one instant
 *
 * Those that start together or not at all are made first, each as far as a run goes without a
 * lock: fiber, stay, idler, an entry of its stripe with its key written. Then all their stripes
 * are locked, and it is decided for all of them; from there on nothing fails.
 *
 *   put in                                        a lookup of one of the keys
 *     lock the stripes, by address                  walk to the entry with the key
 *     closing, held: unlock, undo                   COMING: read the gate, and the entry again:
 *     too many: the same; wait; make them anew
 *     each: COMING behind the gate, in its chain      still COMING: present if the gate is
 *     open the gate             <- the instant          open, else absent
 *     each: LIVE                                      else: it is LIVE, or left
 *     unlock; start each
 *
 * So a lookup, which takes no lock, sees all of them from one store on. Whoever takes the lock
 * of any of the stripes sees none of them or all. The gate is an entry of nobody, from the
 * stripe of the first key, and is buried when it has served; entry.h says why no lookup reads
 * at it what came later.
 *
 * Owns        what it has made, until it is put in.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "fibermap/conflict.h"
#include "fibermap/group.h"
#include "fibermap/idle.h"
#include "fibermap/ledger.h"
#include "fibermap/member.h"
#include "fibermap/run.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/probe.h"

/* One run on its way. */
struct one {
    struct fm_map_run_item *item;
    struct map_key key;
    struct stripe *stripe;
    struct fm_fiber *fiber;
    struct entry *entry;
    struct stay *stay;   /* in a map with a ledger */
    struct idler *idler; /* of one with a ttl */
    int64_t due_ns;      /* of that */
    uint32_t flags;      /* of its options */
};

struct batch {
    struct fm_map *map;
    size_t count;
    struct one *ones;      /* in the order of the array */
    struct one **by_place; /* the same by stripe, by key, by that order */
    struct entry *gate;
    struct stripe *gate_stripe;
    struct limit_hand hand; /* of all */
    int64_t deadline_ns;    /* the earliest of theirs */
    bool blamed;   /* the results say which of the runs are at fault */
    const void *site;
};

/* ---- arguments ---- */

/* The options to go by, which can be had again and again. 0 · -EINVAL · -E2BIG */
static int options_of(const struct fm_map_run_item *item,
                      struct fm_map_run_options *ret_options)
{
    FM_ASSERT(item && ret_options);
    const struct fm_map_run_options *options;
    struct fm_map_run_options copy;
    int r = fm__run_options_read(item->options, &copy, &options);
    *ret_options = r < 0 ? fm__run_by_default : *options;
    if (r < 0)
        return r;
    ret_options->size = sizeof *ret_options;
    ret_options->conflict = FM_FAIL;
    if ((options->conflict != FM_REPLACE && options->conflict != FM_FAIL) || options->reuse ||
        options->flags & (FM_MAP_DYING_IS_ABSENT | FM_AWAIT_PROCEED))
        return -EINVAL;
    return 0;
}

static int read_one(struct batch *batch, struct one *one, struct fm_map_run_item *item)
{
    FM_ASSERT(batch->map && item);
    struct fm_map_run_options options;

    one->item = item;
    if (!item->entry || !fm__key_read(&one->key, &batch->map->seed, item->key))
        return -EINVAL;
    one->stripe = fm__map_stripe(batch->map, &one->key);
    int r = options_of(item, &options);
    one->flags = options.flags;
    if (r == 0 && options.deadline_ns && options.deadline_ns < batch->deadline_ns)
        batch->deadline_ns = options.deadline_ns;
    if (r == 0 && options.group && !fm__group_is_of(options.group, batch->map))
        r = -EINVAL;
    return r;
}

/* Those at fault have their result, 0 stands for the others. The first fault of the array. */
static int blame(struct batch *batch, struct fm_map_run_item runs[])
{
    FM_ASSERT(runs || !batch->count);
    int first = 0;
    for (size_t i = 0; i < batch->count; i++)
        first = first ? first : runs[i].result;
    for (size_t i = 0; first && i < batch->count; i++)
        runs[i].result = runs[i].result ? runs[i].result : -ECANCELED;
    batch->blamed = first != 0;
    return first;
}

static bool is_same_key(const struct one *a, const struct one *b)
{
    FM_ASSERT(a != b);
    return a->key.head == b->key.head && memcmp(a->key.data, b->key.data, a->key.len) == 0;
}

static int by_place(const void *left, const void *right)
{
    FM_ASSERT(left && right);
    const struct one *a = *(struct one *const *)left, *b = *(struct one *const *)right;
    if (a->stripe != b->stripe)
        return a->stripe < b->stripe ? -1 : 1;
    if (a->key.head != b->key.head)
        return a->key.head < b->key.head ? -1 : 1;
    return a < b ? -1 : a > b;
}

/* Which keys stand in the array before: those of one head are next to each other. */
static void find_twice(struct batch *batch)
{
    FM_ASSERT(batch->by_place);
    for (size_t i = 1; i < batch->count; i++) {
        struct one *one = batch->by_place[i];
        for (size_t j = i; j-- > 0 && batch->by_place[j]->key.head == one->key.head;)
            if (is_same_key(batch->by_place[j], one))
                one->item->result = -EEXIST;
    }
}

/* ---- making and undoing ---- */

static int make_one(struct batch *batch, struct one *one, size_t ahead)
{
    FM_ASSERT(!one->fiber && !one->entry && !one->stay && !one->idler);
    FM_ASSERT(one->item->entry);
    struct fm_map_run_item *item = one->item;
    struct fm_map_run_options options;
    struct turn *turn;

    int r = options_of(item, &options);
    FM_ASSERT(r == 0); /* they have been read before */
    if (batch->map->ledger && !(one->stay = fm__stay_make(&one->key)))
        return -ENOMEM;
    r = fm__idle_make(batch->map, fm__idle_ttl(batch->map, &options), &one->idler);
    if (r == 0)
        r = fm__stripe_reserve(one->stripe, &one->key, ahead, &one->entry);
    if (r < 0)
        return r;
    struct work work = { item->entry, item->arg, options.arg_drop };
    return fm__run_make(batch->map, one->stripe, &one->key, work, &options, batch->site,
                        item->ret_fiber != NULL, &turn, &one->fiber);
}

static int make_all(struct batch *batch)
{
    FM_ASSERT(!batch->gate && batch->count);
    size_t ahead = 0;

    batch->gate_stripe = batch->ones[0].stripe;
    int r = fm__stripe_reserve(batch->gate_stripe, &batch->ones[0].key, 0, &batch->gate);
    for (size_t i = 0; r == 0 && i < batch->count; i++) {
        struct one *one = batch->by_place[i];
        ahead = i && batch->by_place[i - 1]->stripe == one->stripe ? ahead + 1 : 0;
        r = make_one(batch, one, ahead);
    }
    return r;
}

static void undo_all(struct batch *batch)
{
    FM_ASSERT(batch->ones);
    for (size_t i = 0; i < batch->count; i++) {
        struct one *one = &batch->ones[i];
        if (one->fiber)
            fm__run_unmake(one->fiber, one->item->ret_fiber != NULL);
        if (one->entry)
            fm__stripe_bury(one->stripe, one->entry);
        fm__idle_drop(batch->map, one->idler);
        fm__stay_unref(one->stay);
        one->fiber = NULL;
        one->entry = NULL;
        one->idler = NULL;
        one->stay = NULL;
    }
    if (batch->gate)
        fm__stripe_bury(batch->gate_stripe, batch->gate);
    batch->gate = NULL;
}

/* ---- putting in ---- */

/* Each stripe once: where `one` is the first of its stripe. */
static bool is_first_there(const struct batch *batch, size_t i)
{
    FM_ASSERT(i < batch->count);
    return i == 0 || batch->by_place[i - 1]->stripe != batch->by_place[i]->stripe;
}

static void lock_all(struct batch *batch)
{
    FM_ASSERT(batch->count);
    for (size_t i = 0; i < batch->count; i++)
        if (is_first_there(batch, i))
            fm__lock(&batch->by_place[i]->stripe->lock);
}

static void unlock_all(struct batch *batch)
{
    for (size_t i = batch->count; i-- > 0;)
        if (is_first_there(batch, i))
            fm__unlock(&batch->by_place[i]->stripe->lock);
}

static int decide_locked(struct batch *batch)
{
    FM_ASSERT(fm__lock_held(&batch->gate_stripe->lock));
    bool held = false;

    if (!fm__map_is_open(batch->map))
        return -ESHUTDOWN;
    for (size_t i = 0; i < batch->count; i++) {
        struct one *one = &batch->ones[i];
        struct place place = fm__stripe_find_locked(one->stripe, &one->key);
        if (fm__holder_locked(one->stripe, &one->key, place)) {
            one->item->result = -EEXIST;
            held = true;
        }
    }
    if (held)
        return -EEXIST;
    return batch->map->ledger ? fm__limit_take_locked(batch->map, &batch->hand, false) : 0;
}

static void put_in_locked(struct batch *batch)
{
    FM_ASSERT(batch->gate && fm__lock_held(&batch->gate_stripe->lock));
    struct fm_map *map = batch->map;

    fm__entry_gate(batch->gate);
    for (size_t i = 0; i < batch->count; i++) {
        struct one *one = &batch->ones[i];
        struct place place = fm__stripe_find_locked(one->stripe, &one->key);
        fm__member_bind(one->fiber, one->stripe, one->entry,
                        one->flags | (one->idler ? MEMBER_IDLES : 0));
        fm__entry_come(one->entry, fm__fiber_id(one->fiber), batch->gate);
        fm__map_install_locked(map, one->stripe, place, one->entry);
        fm__count_add(one->stripe, COUNT_MEMBER_ONE + COUNT_LIVE_ONE);
    }
    fm__entry_open(batch->gate, 0);
    fm__stripe_leave_locked(batch->gate_stripe);
    for (size_t i = 0; i < batch->count; i++) {
        struct one *one = &batch->ones[i];
        fm__entry_arrive(one->entry, fm__fiber_id(one->fiber));
        FM_ASSERT(one->fiber && one->entry);
        if (one->idler)
            one->due_ns = fm__idle_attach_locked(one->stripe, one->entry, one->idler, true);
        if (!one->stay)
            continue;
        fm__stay_begin_locked(one->stay, one->stripe, one->fiber, 0, true);
        fm__limit_use_locked(map, one->stay, &batch->hand, false, false);
    }
}

/* The locks are free: their bodies may begin. */
static void start_all(struct batch *batch)
{
    FM_ASSERT(batch->gate);
    FM_ASSERT(batch->gate_stripe);
    fm__stripe_bury(batch->gate_stripe, batch->gate);
    for (size_t i = 0; i < batch->count; i++) {
        struct one *one = &batch->ones[i];
        struct fm_map_run_item *item = one->item;
        FM_PROBE2(map_run, batch->map, 0);
        if (one->idler)
            fm__idle_told(batch->map, one->due_ns);
        if (item->ret_fiber)
            *item->ret_fiber = one->fiber;
        if (one->stay)
            fm__stay_begun(one->fiber, one->stripe);
        else
            fm__fiber_start(one->fiber);
    }
}

/* 0 · why nothing started · -ERESTART: it may when there are places and starts */
static int try_all(struct batch *batch, struct fm_map_run_item runs[])
{
    FM_ASSERT(!batch->gate);
    for (size_t i = 0; i < batch->count; i++)
        if (fm__map_find(batch->ones[i].stripe, &batch->ones[i].key))
            runs[i].result = -EEXIST;
    int r = blame(batch, runs);
    if (r == 0)
        r = make_all(batch);
    if (r < 0) {
        undo_all(batch);
        return r;
    }
    lock_all(batch);
    r = decide_locked(batch);
    if (r == 0)
        put_in_locked(batch);
    unlock_all(batch);
    if (r == 0) {
        start_all(batch);
        return 0;
    }
    undo_all(batch);
    blame(batch, runs);
    return r;
}

/* All arguments are read. */
static int run_all(struct batch *batch, struct fm_map_run_item runs[])
{
    FM_ASSERT(batch->hand.runs == batch->count);
    int r;

    find_twice(batch);
    while ((r = try_all(batch, runs)) == -ERESTART) {
        r = fm__limit_wait(batch->map, &batch->hand, batch->deadline_ns);
        if (r < 0)
            break;
    }
    if (batch->map->ledger)
        fm__limit_put_back(batch->map, &batch->hand);
    return r;
}

static int run_together(struct fm_map *map, struct fm_map_run_item runs[], size_t count,
                        const void *site)
{
    FM_ASSERT(count);
    struct batch batch = { .map = map, .count = count, .site = site,
                           .hand.runs = (uint32_t)count, .deadline_ns = FM_NEVER };

    batch.ones = fm__calloc(count, sizeof *batch.ones + sizeof *batch.by_place);
    for (size_t i = 0; !batch.ones && i < count; i++)
        runs[i].result = -ENOMEM;
    if (!batch.ones)
        return -ENOMEM;
    batch.by_place = (struct one **)(batch.ones + count);
    for (size_t i = 0; i < count; i++) {
        runs[i].result = read_one(&batch, &batch.ones[i], &runs[i]);
        batch.by_place[i] = &batch.ones[i];
    }
    int r = blame(&batch, runs);
    if (r == 0 && !fm__map_is_open(map))
        r = -ESHUTDOWN;
    if (r == 0) {
        qsort(batch.by_place, count, sizeof *batch.by_place, by_place);
        r = run_all(&batch, runs);
    }
    free(batch.ones);
    for (size_t i = 0; r < 0 && !batch.blamed && i < count; i++)
        runs[i].result = r;
    return r;
}

int fm_map_run_many(struct fm_map *map, struct fm_map_run_item runs[], size_t count,
                    uint32_t flags)
{
    const void *site = __builtin_return_address(0);
    int failed = 0;

    if (!map || (count && !runs) || count > INT_MAX || flags & ~FM_MAP_ALL_OR_NOTHING)
        return -EINVAL;
    if (flags & FM_MAP_ALL_OR_NOTHING)
        return count ? run_together(map, runs, count, site) : 0;
    for (size_t i = 0; i < count; i++) {
        struct fm_map_run_item *run = &runs[i];
        run->result = fm__map_run(map, run->key, run->entry, run->arg, run->options, site, NULL,
                                  run->ret_fiber);
        failed += run->result < 0;
    }
    return failed;
}
