/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races_order.c - bodies that take turns in maps with limits and hooks
 *
 * What X14 and X15 do in a plain map is done here where each run needs a place, and where hooks
 * are told of it. Each run has a member, who writes down himself what became of him; what the
 * hooks were told stands in a list, in the order of the calls. The list is written without a
 * lock and without atomics: that the calls are one after the other is part of what is tested.
 *
 *     who was put in    is told of once when that happens and once when he ends; of one that
 *                       was detached no end is told; before his body begins his start was told
 *     a replacement     is of who stands under the key, and the next start is that of the new one
 *     who queues        begins after all who queued before him, and when nobody is under the key
 *     bodies            never two of a key at once, so many as there are places in all; who
 *                       nobody disturbed begins: all in a queue, the last of those who await
 *     places            are all there at the end, and not one more
 */
#include "tests/stress/race.h"

enum { KEYS = 2, MEMBERS = 24, EVENTS = 3 * MEMBERS, STEPS = 3 };

enum order_choice {
    AWAITS = 1, /* else queues */
    MIXES = 2,  /* both */
    REMOVES = 4,
    DETACHES = 8,
    CLEARS = 16,
    CLOSES = 32,
    INTERRUPTS = 64, /* who has been put in, by his handle */
    CANCELS = 128,   /* who puts in, wherever he is by then */
    REPLACES = 256,  /* by FM_REPLACE, which waits for nobody */
    SETS = 512,
    ONE_KEY = 1024,
    SLOW_END = 2048,
    EVICTS = 4096,
    LATE = 8192, /* puts in with a deadline */
    FAILS = 16384,
    CALM = 3 << 16, /* one in four: nothing of what ends or overtakes others */
    DISTURBS = REMOVES | DETACHES | CLEARS | CLOSES | INTERRUPTS | CANCELS | REPLACES | SETS |
               LATE | EVICTS | MIXES,
    /* two bodies of a key may well be under way */
    OVERLAPS = DETACHES | REPLACES | SETS,
};

enum how { QUEUES, AWAITED, REPLACED, WAS_SET };
enum kind { REPLACE, START, EXIT };

struct member {
    struct order *order;
    uint32_t key, part;
    enum how how;
    struct fm_fiber *fiber; /* NULL: it was not put in */
    bool queued;            /* behind others */
    _Atomic bool detached;
    _Atomic uint32_t begun;   /* the how manieth; 0: not */
    _Atomic uint32_t dropped; /* how often its argument was */
    uint32_t started_at, starts, exits;
    bool zombie;
};

struct event {
    enum kind kind;
    uint32_t key;
    uint64_t fiber, old;
};

struct order {
    struct slot *slot;
    struct fm_map *map;
    uint64_t choice;
    uint32_t places; /* 0: no limit */
    bool hooks;
    _Atomic uint32_t inside[KEYS], bodies, begun;
    _Atomic uint32_t members;
    _Atomic bool closed;
    struct member member[MEMBERS];
    bool telling;
    _Atomic uint32_t events;
    struct event event[EVENTS];
};

/* What became of each, and what was told, before the program stops. */
static void show(const struct order *o)
{
    static const char *const hows[] = { "queue", "await", "replace", "set" };
    static const char *const kinds[] = { "replace", "start", "exit" };

    fprintf(stderr, "choice 0x%" PRIx64 ", %u places\n", o->choice, o->places);
    for (uint32_t i = 0; i < atomic_load(&o->members) && i < MEMBERS; i++) {
        const struct member *m = &o->member[i];
        fprintf(stderr, "    %" PRIu64 " key %u part %u %s%s%s, begun %u, dropped %u\n",
                fm_fiber_id(m->fiber), m->key, m->part, hows[m->how],
                m->queued ? ", queued" : "", atomic_load(&m->detached) ? ", detached" : "",
                atomic_load(&m->begun), atomic_load(&m->dropped));
    }
    for (uint32_t i = 0; i < atomic_load(&o->events) && i < EVENTS; i++)
        fprintf(stderr, "    %s key %u: %" PRIu64 " for %" PRIu64 "\n", kinds[o->event[i].kind],
                o->event[i].key, o->event[i].fiber, o->event[i].old);
}

#define ORDER_CHECK(o, condition, ...) \
    do { \
        if (!(condition)) { \
            show(o); \
            RACE_CHECK((o)->slot, condition, __VA_ARGS__); \
        } \
    } while (0)

static bool chosen(const struct order *o, uint64_t what)
{
    return ((o->choice & CALM) ? o->choice : o->choice & ~(uint64_t)DISTURBS) & what;
}

static struct fm_key name_of(struct order *o, uint32_t key)
{
    return key ? o->slot->key2 : o->slot->key;
}

/* ---- hooks ---- */

static void note(struct order *o, enum kind kind, struct fm_key key, struct fm_fiber *fiber,
                 struct fm_fiber *old)
{
    uint32_t at = atomic_load_explicit(&o->events, memory_order_relaxed);
    ORDER_CHECK(o, !o->telling, "two hooks at once");
    o->telling = true;
    ORDER_CHECK(o, at < EVENTS, "more is told than was done");
    o->event[at] = (struct event) {
        .kind = kind,
        .key = key.len == o->slot->key2.len &&
               memcmp(key.data, o->slot->key2.data, key.len) == 0,
        .fiber = fm_fiber_id(fiber),
        .old = fm_fiber_id(old),
    };
    o->telling = false;
    /* release: the event, to the body that looks for its start */
    atomic_store_explicit(&o->events, at + 1, memory_order_release);
}

static void on_start(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    note(ctx, START, key, fiber, NULL);
}

static void on_replace(void *ctx, struct fm_key key, struct fm_fiber *old,
                       struct fm_fiber *fiber)
{
    note(ctx, REPLACE, key, fiber, old);
}

static void on_exit_of(void *ctx, struct fm_key key, struct fm_fiber *fiber,
                       struct fm_exit exit)
{
    note(ctx, EXIT, key, fiber, NULL);
}

static bool was_told(struct order *o, enum kind kind, uint64_t fiber)
{
    uint32_t events = atomic_load_explicit(&o->events, memory_order_acquire);
    for (uint32_t i = 0; i < events; i++)
        if (o->event[i].kind == kind && o->event[i].fiber == fiber)
            return true;
    return false;
}

/* ---- members ---- */

static int leaves(void *arg, struct fm_exit exit)
{
    struct member *m = arg;
    struct order *o = m->order;

    if (o->choice & SLOW_END)
        fm_yield();
    ORDER_CHECK(o, !atomic_load(&o->closed) || m->how == WAS_SET,
                "a body ends after the close has returned");
    atomic_fetch_sub(&o->bodies, 1);
    atomic_fetch_sub(&o->inside[m->key], 1);
    return 0;
}

/* A replaced body holds none, and who waits for it may have been ended, and his place free. */
static bool has_no_place(struct order *o)
{
    return chosen(o, OVERLAPS) || ((o->choice & AWAITS) && chosen(o, DISTURBS)) ||
           chosen(o, MIXES);
}

static struct fm_exit body(void *arg)
{
    struct member *m = arg;
    struct order *o = m->order;

    uint32_t inside = atomic_fetch_add(&o->inside[m->key], 1);
    uint32_t bodies = atomic_fetch_add(&o->bodies, 1);
    ORDER_CHECK(o, !inside || chosen(o, OVERLAPS), "two bodies of a key at once");
    ORDER_CHECK(o, !o->places || bodies < o->places || has_no_place(o), "%u bodies, %u places",
                bodies + 1, o->places);
    ORDER_CHECK(o,
                !o->hooks || m->how == WAS_SET ||
                    was_told(o, START, fm_fiber_id(fm_fiber_self())),
                "a body before its start is told");
    atomic_store(&m->begun, 1 + atomic_fetch_add(&o->begun, 1));
    int r = fm_defer(leaves, m);
    ORDER_CHECK(o, r == 0, "defer: %d", r);
    for (uint64_t i = o->choice >> 20 & 3; i && r == 0; i--)
        r = fm_yield();
    return r < 0 ? fm_interrupted() : fm_ok(NULL);
}

static void drop(void *arg)
{
    struct member *m = arg;
    atomic_fetch_add(&m->dropped, 1);
}

static struct member *new_member(struct order *o, uint32_t part, uint32_t key, enum how how)
{
    uint32_t at = atomic_fetch_add(&o->members, 1);
    ORDER_CHECK(o, at < MEMBERS, "so many members");
    struct member *m = &o->member[at];
    m->order = o;
    m->key = key;
    m->part = part;
    m->how = how;
    return m;
}

static void put_in(struct member *m)
{
    struct order *o = m->order;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    int r;

    if (m->how == WAS_SET) {
        m->fiber = NULL;
        r = fm_runtime_spawn(o->slot->runtime, body, m, NULL, &m->fiber);
        ORDER_CHECK(o, r == 0, "spawn: %d", r);
        r = fm_map_set(o->map, name_of(o, m->key), m->fiber, NULL);
        ORDER_CHECK(o, r == 0 || r == FM_MAP_REPLACED || r == -ESHUTDOWN, "set: %d", r);
        if (r < 0) {
            race_finish(o->slot, m->fiber);
            m->fiber = NULL;
        }
        return;
    }
    options.conflict = m->how == QUEUES    ? FM_QUEUE
                       : m->how == AWAITED ? FM_REPLACE_AWAIT
                                           : FM_REPLACE;
    options.arg_drop = drop;
    options.deadline_ns = chosen(o, LATE) ? fm_after_us(20) : 0;
    r = fm_map_run(o->map, name_of(o, m->key), body, m, &options, &m->fiber);
    ORDER_CHECK(o,
                r == 0 || r == FM_MAP_REPLACED || r == FM_MAP_QUEUED || r == -ESHUTDOWN ||
                    r == -ECANCELED || (r == -EAGAIN && (o->choice & FAILS)) ||
                    (r == -ETIMEDOUT && chosen(o, LATE)),
                "run: %d", r);
    ORDER_CHECK(o, r >= 0 || !atomic_load(&m->dropped), "the argument is the caller's");
    m->queued = r == FM_MAP_QUEUED;
}

static struct fm_exit fiber_puts_in(void *arg)
{
    put_in(arg);
    return fm_ok(NULL);
}

/* ---- those who take part ---- */

static void detach_one(struct order *o, uint32_t key)
{
    struct fm_fiber *fiber;
    int r = fm_map_detach(o->map, name_of(o, key), &fiber);
    ORDER_CHECK(o, r == 0 || r == -ENOENT, "detach: %d", r);
    if (r != 0)
        return;
    uint64_t id = fm_fiber_id(fiber);
    struct fm_fiber **kept = &o->slot->fiber[0];
    for (uint32_t i = 0; i < RACE_PARTS_MAX; i++)
        if (!kept[i]) {
            kept[i] = fiber; /* until it is known whose it is */
            return;
        }
    ORDER_CHECK(o, false, "too many detached, the last %" PRIu64, id);
}

/* Role 0 ends others, once. */
static void disturb(struct order *o, uint32_t key)
{
    int r = 0;
    if (chosen(o, CLOSES)) {
        struct fm_close_policy policy = FM_CLOSE_POLICY_INIT;
        policy.kind = (o->choice & CLEARS) ? FM_CLOSE_DRAIN : FM_CLOSE_CANCEL;
        r = fm_map_close(o->map, &policy, NULL);
        atomic_store(&o->closed, true);
    } else if (chosen(o, CLEARS)) {
        r = fm_map_clear(o->map, FM_NEVER);
    } else if (chosen(o, REMOVES)) {
        r = fm_map_remove(o->map, name_of(o, key), FM_NEVER);
    } else if (chosen(o, DETACHES)) {
        detach_one(o, key);
    }
    ORDER_CHECK(o, r == 0 || r == -ENOENT, "%d", r);
}

static enum how how_of(struct order *o, uint64_t random, uint32_t role)
{
    if (role == 1 && chosen(o, REPLACES) && random % 2)
        return REPLACED;
    if (role == 1 && chosen(o, SETS) && random % 2)
        return WAS_SET;
    bool awaits = (o->choice & AWAITS) != 0;
    return awaits != (chosen(o, MIXES) && random / 2 % 2) ? AWAITED : QUEUES;
}

static void take_turns(struct slot *slot, struct part *part)
{
    struct order *o = slot->thing;

    for (int i = 0; i < STEPS; i++) {
        uint64_t random = stress_random(&part->random) >> 11;
        uint32_t key = (o->choice & ONE_KEY) ? 0 : (uint32_t)(random >> 8) % KEYS;
        if (part->role == 0 && i == 1)
            disturb(o, key);
        struct member *m = new_member(o, part->index, key, how_of(o, random, part->role));
        if (part->role == 2 && chosen(o, CANCELS)) {
            struct fm_fiber *caller;
            int r = fm_runtime_spawn(slot->runtime, fiber_puts_in, m, NULL, &caller);
            RACE_CHECK(slot, r == 0, "spawn: %d", r);
            if (random >> 16 & 1)
                fm_yield();
            fm_fiber_interrupt(caller);
            race_finish(slot, caller);
        } else {
            put_in(m);
        }
        if (part->role == 2 && chosen(o, INTERRUPTS) && m->fiber)
            fm_fiber_interrupt(m->fiber);
    }
}

/* ---- what must hold ---- */

static struct member *member_of(struct order *o, uint64_t fiber)
{
    for (uint32_t i = 0; i < atomic_load(&o->members); i++)
        if (fiber && o->member[i].fiber && fm_fiber_id(o->member[i].fiber) == fiber)
            return &o->member[i];
    ORDER_CHECK(o, false, "a fiber that nobody has put in: %" PRIu64, fiber);
    return NULL;
}

static uint32_t began(struct member *m)
{
    return atomic_load(&m->begun);
}

/* One key, as its events tell it. */
struct told {
    struct order *order;
    struct member *present, *next; /* under the key; about to be, by a replacement */
    struct member *queue[MEMBERS];
    uint32_t queued;
    uint32_t zombies;
};

static void leave_queue(struct told *t, struct member *m)
{
    uint32_t at = 0;
    while (at < t->queued && t->queue[at] != m)
        at++;
    ORDER_CHECK(t->order, at < t->queued, "an exit of somebody who was never there");
    t->queued--;
    for (; at < t->queued; at++)
        t->queue[at] = t->queue[at + 1];
}

/* Who comes under the key next, if it is `m`: one that never begins may have left the queue. */
static struct member *next_of(struct told *t, struct member *m)
{
    for (uint32_t i = 0; i < t->queued; i++) {
        struct member *q = t->queue[i];
        if (q == m || atomic_load(&q->detached) || began(q))
            return q;
    }
    return NULL;
}

/* What nobody tells: a detached one goes, and the next in the queue stands under the key. */
static bool stands(struct told *t, struct member *m)
{
    while (t->present != m) {
        struct member *next = next_of(t, m);
        if ((t->present && !atomic_load(&t->present->detached)) || !next ||
            (next != m && !atomic_load(&next->detached)))
            return false;
        leave_queue(t, next);
        t->present = next;
    }
    return true;
}

static void follow_start(struct told *t, struct member *m)
{
    struct order *o = t->order;
    ORDER_CHECK(o, !t->next || t->next == m, "another start after a replacement");
    if (t->next || !m->queued) {
        ORDER_CHECK(o, t->next || !t->present || atomic_load(&t->present->detached),
                    "a start on a key that is held");
        t->present = m;
        t->next = NULL;
    } else {
        t->queue[t->queued++] = m;
    }
}

static void follow_exit(struct told *t, struct member *m)
{
    struct order *o = t->order;
    ORDER_CHECK(o, !atomic_load(&m->detached), "the end of one who was detached is told");
    if (stands(t, m))
        t->present = NULL;
    else if (m->zombie)
        t->zombies--;
    else {
        ORDER_CHECK(o, !began(m), "a body out of its turn");
        leave_queue(t, m);
    }
}

static void follow(struct order *o, uint32_t key)
{
    struct told t = { .order = o };

    for (uint32_t i = 0; i < atomic_load(&o->events); i++) {
        struct event *e = &o->event[i];
        if (e->key != key)
            continue;
        struct member *m = member_of(o, e->fiber);
        ORDER_CHECK(o, m->key == key, "told of another key");
        if (e->kind == REPLACE) {
            struct member *old = member_of(o, e->old);
            ORDER_CHECK(o, stands(&t, old) && !t.next, "who is replaced is not there");
            old->zombie = true;
            t.zombies++;
            t.next = m;
        } else if (e->kind == START) {
            m->started_at = i;
            m->starts++;
            follow_start(&t, m);
        } else {
            m->exits++;
            follow_exit(&t, m);
        }
    }
    ORDER_CHECK(o, !t.next && !t.zombies, "%u zombies", t.zombies);
}

/*
 * By what hooks told, or for the runs of one participant by the order of his calls. One who was
 * taken off his key may write down his begin late: nobody waits for him.
 */
static void turns_were_kept(struct order *o, struct member *a, struct member *b)
{
    bool first = o->hooks ? a->started_at < b->started_at : a->part == b->part;
    bool taken_off = o->hooks ? a->zombie || atomic_load(&a->detached) : chosen(o, OVERLAPS);
    if (a->key != b->key || a->how != b->how || a->how > AWAITED || !first || taken_off)
        return;
    ORDER_CHECK(o, !began(a) || !began(b) || began(a) < began(b), "out of turn");
}

static void each_has_its_end(struct order *o)
{
    uint32_t members = atomic_load(&o->members), completed = 0;

    for (uint32_t i = 0; i < members; i++) {
        struct member *m = &o->member[i];
        if (!m->fiber)
            continue;
        uint32_t dropped = atomic_load(&m->dropped);
        bool detached = atomic_load(&m->detached);
        ORDER_CHECK(o, m->how == WAS_SET || dropped + (began(m) != 0) == 1,
                    "begun %u, dropped %u", began(m), dropped);
        ORDER_CHECK(o, chosen(o, DISTURBS) || m->how != QUEUES || began(m), "lost in a queue");
        ORDER_CHECK(o, !o->hooks || (m->starts == 1 && m->exits == !detached),
                    "%u starts, %u exits", m->starts, m->exits);
        completed += !detached && !m->zombie;
        for (uint32_t j = 0; j < members; j++)
            if (i != j && o->member[j].fiber && (o->hooks || i < j))
                turns_were_kept(o, m, &o->member[j]);
    }
    if (!o->hooks)
        return;
    uint32_t taken = 0;
    while (fm_map_try_next(o->map, NULL) == 0)
        taken++;
    ORDER_CHECK(o, taken == completed && !fm_map_completions_dropped(o->map),
                "%u completions of %u", taken, completed);
}

/* Who came last was not replaced, so he has begun. */
static void the_latest_has_won(struct order *o, uint32_t key)
{
    struct member *last = NULL;
    if (!o->hooks || chosen(o, DISTURBS) || !(o->choice & AWAITS))
        return;
    for (uint32_t i = 0; i < atomic_load(&o->members); i++) {
        struct member *m = &o->member[i];
        if (m->fiber && m->key == key && (!last || m->started_at > last->started_at))
            last = m;
    }
    ORDER_CHECK(o, !last || began(last), "the latest has not begun");
}

static struct fm_exit holds(void *arg)
{
    return fm_fail(fm_never());
}

static void places_are_back(struct order *o)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    uint64_t key = 0;
    int r = 0;

    if (!o->places || chosen(o, CLOSES))
        return;
    ORDER_CHECK(o, fm_map_size(o->map) == 0, "not empty");
    options.deadline_ns = 1;
    for (; key < o->places && r == 0; key++)
        r = fm_map_run(o->map, fm_key_bytes(&key, sizeof key), holds, NULL, &options, NULL);
    ORDER_CHECK(o, r == 0, "a place was lost: %d", r);
    if (chosen(o, EVICTS))
        return; /* one more would get the place of another */
    r = fm_map_run(o->map, fm_key_bytes(&key, sizeof key), holds, NULL, &options, NULL);
    ORDER_CHECK(o, r == ((o->choice & FAILS) ? -EAGAIN : -ETIMEDOUT), "one too many: %d", r);
}

static void all_turns_are_over(struct slot *slot)
{
    struct order *o = slot->thing;

    int r = fm_map_await_quiescent(o->map, FM_NEVER);
    RACE_CHECK(slot, r == 0, "await_quiescent: %d", r);
    for (uint32_t i = 0; i < RACE_PARTS_MAX; i++)
        if (slot->fiber[i]) {
            atomic_store(&member_of(o, fm_fiber_id(slot->fiber[i]))->detached, true);
            race_finish(slot, slot->fiber[i]);
            slot->fiber[i] = NULL;
        }
    for (uint32_t key = 0; o->hooks && key < KEYS; key++)
        follow(o, key);
    each_has_its_end(o);
    for (uint32_t key = 0; key < KEYS; key++)
        the_latest_has_won(o, key);
    RACE_CHECK(slot, atomic_load(&o->bodies) == 0, "somebody is inside");
    places_are_back(o);
    for (uint32_t i = 0; i < atomic_load(&o->members); i++)
        fm_fiber_unref(o->member[i].fiber);
    fm_map_destroy(o->map);
    free(o);
    slot->thing = NULL;
}

/* ---- the maps ---- */

static void make(struct slot *slot, uint64_t choice, bool hooks, bool limited)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_hooks told = FM_MAP_HOOKS_INIT;
    struct order *o = calloc(1, sizeof *o);

    STRESS_CHECK(o, "no memory");
    o->slot = slot;
    o->choice = choice;
    o->hooks = hooks;
    o->places = limited ? 1 + (uint32_t)(choice >> 24) % 3 : 0;
    told.ctx = o;
    told.on_start = on_start;
    told.on_replace = on_replace;
    told.on_exit = on_exit_of;
    config.runtime = slot->runtime;
    config.stripe_count = 1;
    config.hooks = hooks ? &told : NULL;
    config.completions = hooks ? MEMBERS : 0;
    config.max_live = o->places;
    config.on_excess = (choice & FAILS)    ? FM_EXCESS_FAIL
                       : chosen(o, EVICTS) ? FM_EXCESS_EVICT_IDLE
                                           : FM_EXCESS_WAIT;
    slot->thing = o;
    int r = fm_map_create(&config, &o->map);
    RACE_CHECK(slot, r == 0, "create: %d", r);
}

static void queue_in_places(struct slot *slot)
{
    make(slot, slot->choice & ~(uint64_t)AWAITS, false, true);
}

static void await_in_places(struct slot *slot)
{
    make(slot, slot->choice | AWAITS, false, true);
}

static void queue_before_hooks(struct slot *slot)
{
    make(slot, slot->choice & ~(uint64_t)AWAITS, true, slot->choice >> 30 & 1);
}

static void await_before_hooks(struct slot *slot)
{
    make(slot, slot->choice | AWAITS, true, slot->choice >> 30 & 1);
}

const struct race order_races[] = {
    { "queue_places", "a queue under a limit: in turn, none lost, no place lost",
      queue_in_places, take_turns, all_turns_are_over, NULL },
    { "await_places", "replacements that are awaited under a limit", await_in_places,
      take_turns, all_turns_are_over, NULL },
    { "queue_hooks", "hooks tell of a queue what happens, in order", queue_before_hooks,
      take_turns, all_turns_are_over, NULL },
    { "await_hooks", "hooks tell of replacements that are awaited", await_before_hooks,
      take_turns, all_turns_are_over, NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL },
};
