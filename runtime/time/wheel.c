/*
 * wheel.c - a hierarchical timing wheel
 *
 * A window of one level is a unit of the next: 1024 ticks are a unit of level 1, 64 of those a
 * unit of level 2. A timer stands on the lowest level on which its unit is in the window that
 * holds the cursor, or in the window after. As the cursor goes on, timers move down:
 *
 *     level 1   | . . . c n . . . |  . . . . |  c: the cursor's unit; empty, or being emptied
 *     level 0   | x x cursor x x  |  x x x x |  n: the next; emptied bit by bit, in time
 *                 window of c        window of n
 *
 * That the next unit may be emptied ahead of time is why a level has two windows of slots: with
 * a hundred thousand timers in a unit, fire would otherwise stop for milliseconds at its start.
 * A steady stream of timers pulls the next unit down as it fires. Where nothing fires, next_ns
 * asks for fire LEAD ticks before a unit of many timers begins, and then tick by tick, until it
 * is empty. The first window is long because to move a timer is to miss the cache once more:
 * one that sleeps for a second at most is never moved.
 *
 * Owns        the timers armed in it: link, next, place, deadline_ns, epoch.
 * Knows not   fibers, clocks, who sleeps until next_ns.
 * Invariant   cursor never falls and is at most the latest now that fire has seen. A timer's
 *             unit is not before the cursor's, and in its window or the next; on a level above
 *             0 it is the cursor's own only while fire empties that. A timer that was late when
 *             it was armed stands on level 0 at the cursor. next_tick is at most the tick of
 *             any timer.
 * Source      Varghese, Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987, scheme 7.
 *             Changed: bitmaps to skip empty slots, the second window, lock released in
 *             between.
 * Together    all but init may run at once; disarm of one timer follows its arm.
 *
 * Order
 *   A sleeper that computes how long to sleep, and who arms an earlier timer meanwhile:
 *
 *     arm                                        the one who goes to sleep
 *       next_ns = earlier    seq_cst (A)           note "sleeps until T"    seq_cst
 *       look for sleepers    seq_cst               read next_ns             seq_cst (B)
 *
 *   Either B sees the earlier time, or the armer sees the sleeper and wakes it. The right
 *   column and the look for sleepers are the scheduler's.
 *
 *   take's last access to a timer is the release store of TIMER_NOT_ARMED (C). Who reads that
 *   with acquire (D) may arm the timer again, elsewhere, without the lock: without the pair its
 *   stores could pass take's load of `next`.
 */
#include "runtime/time/wheel.h"

#include <stddef.h>

#include "runtime/platform/check.h"

enum {
    MOVES_MAX = 256,  /* timers moved down under one hold of the lock */
    HOLDS_MAX = 32,   /* holds of the lock in one call of fire */
    LOOK_MAX = 8,     /* timers looked at to learn when a slot above level 0 really begins */
    LEAD = 512,       /* ticks before a unit of many timers begins: time to move them down */
    LEAD_HOLDS = 16,  /* holds of the lock for that, in one call of fire */
    MANY = 4096,      /* timers of a wheel: more are not moved down within a tick */
};

#define TICK_NEVER INT64_MAX

/* ---- ticks ---- */

static int64_t tick_of_deadline(int64_t deadline_ns)
{
    return deadline_ns > 0 ? (deadline_ns - 1) / WHEEL_TICK_NS + 1 : 0;
}

static int64_t tick_of_now(int64_t now_ns)
{
    return now_ns > 0 ? now_ns / WHEEL_TICK_NS : 0;
}

/* A tick that nanoseconds cannot express never comes. */
static int64_t tick_ns(int64_t tick)
{
    return tick > INT64_MAX / WHEEL_TICK_NS ? INT64_MAX : tick * WHEEL_TICK_NS;
}

/* A unit of the level is 1 << unit_bits ticks. */
static unsigned unit_bits(unsigned level)
{
    return level ? WHEEL_FIRST_BITS + WHEEL_BITS * (level - 1) : 0;
}

/* The unit of the level that holds the tick. */
static int64_t unit_of(int64_t tick, unsigned level)
{
    return tick >> unit_bits(level);
}

static int64_t unit_start(int64_t unit, unsigned level)
{
    return unit << unit_bits(level);
}

/* ---- slots; a place is the index of one ---- */

static uint32_t level_slots(unsigned level)
{
    FM_ASSERT(level < WHEEL_LEVELS);
    return level ? WHEEL_LEVEL_SLOTS : WHEEL_FIRST_SLOTS;
}

static uint32_t level_first_place(unsigned level)
{
    return level ? WHEEL_FIRST_SLOTS + WHEEL_LEVEL_SLOTS * (level - 1) : 0;
}

static uint32_t place_of(unsigned level, int64_t unit)
{
    FM_ASSERT(level < WHEEL_LEVELS);
    return level_first_place(level) + ((uint32_t)unit & (level_slots(level) - 1));
}

static bool slot_occupied(struct wheel *wheel, uint32_t place)
{
    return wheel->occupied[place / 64] >> place % 64 & 1;
}

static void slot_mark_if_empty(struct wheel *wheel, uint32_t place)
{
    for (unsigned lane = 0; lane < WHEEL_LANES; lane++)
        if (wheel->slots[place].first[lane])
            return;
    wheel->occupied[place / 64] &= ~(UINT64_C(1) << place % 64);
}

static unsigned lane_after(unsigned lane)
{
    return lane + 1 < WHEEL_LANES ? lane + 1 : 0;
}

static void slot_append(struct wheel *wheel, uint32_t place, struct timer *timer)
{
    FM_ASSERT(fm__lock_held(&wheel->lock));
    FM_ASSERT(place < WHEEL_SLOTS);
    struct wheel_slot *slot = &wheel->slots[place];

    if (!slot_occupied(wheel, place)) {
        wheel->occupied[place / 64] |= UINT64_C(1) << place % 64;
        for (unsigned lane = 0; lane < WHEEL_LANES; lane++) {
            slot->first[lane] = NULL;
            slot->tail[lane] = &slot->first[lane];
        }
        slot->in = slot->out = 0;
    }
    unsigned lane = slot->in;
    slot->in = (uint8_t)lane_after(lane);
    timer->place = place * 4 + lane;
    timer->next = NULL;
    timer->link = slot->tail[lane];
    *timer->link = timer;
    slot->tail[lane] = &timer->next;
}

static void slot_remove(struct wheel *wheel, struct timer *timer)
{
    FM_ASSERT(fm__lock_held(&wheel->lock) && *timer->link == timer);
    uint32_t place = timer->place / 4, lane = timer->place % 4;
    struct wheel_slot *slot = &wheel->slots[place];

    *timer->link = timer->next;
    if (timer->next) {
        timer->next->link = timer->link;
        return;
    }
    slot->tail[lane] = timer->link;
    slot_mark_if_empty(wheel, place);
}

/* Take out the next timer in turn; the slot is occupied. */
static struct timer *slot_pop(struct wheel *wheel, uint32_t place)
{
    FM_ASSERT(fm__lock_held(&wheel->lock) && slot_occupied(wheel, place));
    FM_ASSERT(place < WHEEL_SLOTS);
    struct wheel_slot *slot = &wheel->slots[place];

    unsigned lane = slot->out;
    while (!slot->first[lane])
        lane = lane_after(lane);

    struct timer *timer = slot->first[lane];
    slot->out = (uint8_t)lane_after(lane);
    slot->first[lane] = timer->next;
    if (timer->next) {
        timer->next->link = &slot->first[lane];
    } else {
        slot->tail[lane] = &slot->first[lane];
        slot_mark_if_empty(wheel, place);
    }
    return timer;
}

/*
 * The lowest level on which the tick's unit is in the cursor's window or in the one after.
 * Returns the level.
 */
static unsigned insert(struct wheel *wheel, struct timer *timer, int64_t tick)
{
    FM_ASSERT(tick >= wheel->cursor);
    uint64_t distance = (uint64_t)(tick - wheel->cursor);
    unsigned level = 0;

    if (distance >> WHEEL_FIRST_BITS)
        level = (63 - (unsigned)__builtin_clzll(distance) - WHEEL_FIRST_BITS) / WHEEL_BITS + 1;
    if (level && unit_of(tick, level) - unit_of(wheel->cursor, level) <= 1)
        level--;
    slot_append(wheel, place_of(level, unit_of(tick, level)), timer);
    return level;
}

/* How many units after `unit` the level's first occupied slot is; -1 if all are empty. */
static int64_t units_to_next(struct wheel *wheel, unsigned level, int64_t unit)
{
    uint32_t words = level_slots(level) / 64, first = level_first_place(level) / 64;
    uint32_t from = place_of(level, unit), bit = from % 64;
    uint64_t rest = wheel->occupied[from / 64] >> bit;

    if (rest)
        return __builtin_ctzll(rest);
    /* Round the level; the word of `from` is not met again: there are no three windows. */
    for (uint32_t i = 1; i < words; i++) {
        rest = wheel->occupied[first + (from / 64 - first + i) % words];
        if (rest)
            return 64 * (int64_t)i - bit + __builtin_ctzll(rest);
    }
    return -1;
}

/*
 * The earliest tick in a slot of a higher level, which begins at `start`. If it holds many:
 * when to begin to move them down, which is no later.
 */
static int64_t slot_earliest(struct wheel *wheel, uint32_t place, int64_t start)
{
    FM_ASSERT(place < WHEEL_SLOTS);
    int64_t lead = start - LEAD > wheel->cursor ? start - LEAD : wheel->cursor + 1;

    int64_t earliest = TICK_NEVER;
    int looks = 0;

    for (unsigned lane = 0; lane < WHEEL_LANES; lane++) {
        struct timer *timer = wheel->slots[place].first[lane];
        for (; timer; timer = timer->next) {
            if (looks++ == LOOK_MAX)
                return lead;
            int64_t tick = tick_of_deadline(timer->deadline_ns);
            if (tick < earliest)
                earliest = tick;
        }
    }
    return earliest;
}

/*
 * The first tick from the cursor on at which there is something to do: a slot of level 0 to be
 * taken, a slot of a higher level to be moved down. With `look`, where a few looks can tell,
 * the tick of the timer instead of the start of its slot. The cursor's own units are settled.
 */
static int64_t next_event(struct wheel *wheel, bool look)
{
    FM_ASSERT(fm__lock_held(&wheel->lock));
    int64_t earliest = TICK_NEVER;

    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        int64_t unit = unit_of(wheel->cursor, level);
        /* Nothing here or above begins before the cursor's unit ends, less the lead. */
        if (level && earliest <= unit_start(unit + 1, level) - (look ? LEAD : 0))
            break;
        int64_t units = units_to_next(wheel, level, unit);
        if (units < 0)
            continue;
        int64_t tick = unit_start(unit + units, level);
        if (level && look && tick - LEAD < earliest)
            tick = slot_earliest(wheel, place_of(level, unit + units), tick);
        if (tick < earliest)
            earliest = tick;
    }
    return earliest;
}

/*
 * When fire should be called for a timer on a level above 0: in time to move it and all that
 * are with it. What looks at the slot is fire, so until it has run once there is nobody else to
 * ask.
 */
static int64_t lead_of(const struct wheel *wheel, int64_t tick)
{
    int64_t lead = unit_start(unit_of(tick, 1), 1) - LEAD;
    /* Of a unit that begins sooner fire knows, or will at its next call. */
    return lead > wheel->cursor ? lead : tick;
}

/* ---- arm, disarm ---- */

void fm__wheel_init(struct wheel *wheel, uint32_t number, int64_t now_ns)
{
    FM_ASSERT(number < TIMER_IN_HEAP - 1);
    fm__lock_init(&wheel->lock, LOCK_TIMERS);
    wheel->number = number;
    wheel->cursor = tick_of_now(now_ns);
    wheel->next_tick = TICK_NEVER;
    atomic_init(&wheel->next_ns, INT64_MAX);
}

bool fm__wheel_arm(struct wheel *wheel, struct timer *timer, int64_t deadline_ns,
                   uint64_t epoch)
{
    if (deadline_ns == INT64_MAX)
        return false;
    int64_t tick = tick_of_deadline(deadline_ns);
    bool earlier = false;

    timer->deadline_ns = deadline_ns;
    timer->epoch = epoch;
    fm__lock(&wheel->lock);
    if (tick < wheel->cursor)
        tick = wheel->cursor;
    if (insert(wheel, timer, tick) && fm__wheel_count(wheel) > MANY)
        tick = lead_of(wheel, tick);
    /* relaxed: fire reads it under the lock, disarm is called by who armed */
    atomic_store_explicit(&timer->wheel, wheel->number + 1, memory_order_relaxed);
    fm__count(&wheel->armed, 1);
    if (tick < wheel->next_tick) {
        wheel->next_tick = tick;
        atomic_store_explicit(&wheel->next_ns, tick_ns(tick), memory_order_seq_cst); /* (A) */
        earlier = true;
    }
    fm__unlock(&wheel->lock);
    return earlier;
}

bool fm__wheel_disarm(struct wheel *wheel, struct timer *timer)
{
    /* acquire (D): it fired, and nobody touches it any more */
    if (atomic_load_explicit(&timer->wheel, memory_order_acquire) == TIMER_NOT_ARMED)
        return false;
    fm__lock(&wheel->lock);
    /* relaxed: the lock orders */
    bool armed = atomic_load_explicit(&timer->wheel, memory_order_relaxed) != TIMER_NOT_ARMED;
    if (armed) {
        /*
         * next_tick stays: too early costs one wake-up, and most timers that come after are
         * later
         */
        slot_remove(wheel, timer);
        atomic_store_explicit(&timer->wheel, TIMER_NOT_ARMED, memory_order_relaxed);
        fm__count(&wheel->cancelled, 1);
    }
    fm__unlock(&wheel->lock);
    return armed;
}

/* ---- fire ---- */

/* Move up to `most` timers of a slot to lower levels. Returns how many. */
static unsigned move_down(struct wheel *wheel, uint32_t place, unsigned most)
{
    FM_ASSERT(fm__lock_held(&wheel->lock));
    FM_ASSERT(place < WHEEL_SLOTS);
    unsigned moved = 0;

    for (; moved < most && slot_occupied(wheel, place); moved++) {
        struct timer *timer = slot_pop(wheel, place);
        int64_t tick = tick_of_deadline(timer->deadline_ns);
        FM_ASSERT(tick >= wheel->cursor);
        insert(wheel, timer, tick);
    }
    return moved;
}

/*
 * Empty the cursor's own unit on each level above 0, highest first. False: `*moves` is used up.
 */
static bool settle(struct wheel *wheel, unsigned *moves)
{
    FM_ASSERT(*moves <= MOVES_MAX);
    for (unsigned level = WHEEL_LEVELS - 1; level > 0; level--) {
        uint32_t place = place_of(level, unit_of(wheel->cursor, level));
        *moves -= move_down(wheel, place, *moves);
        if (slot_occupied(wheel, place))
            return false;
    }
    return true;
}

/*
 * Move some of the timers whose unit comes next. Lowest level first: it is needed first. True:
 * the moves are used up.
 */
static bool prepare(struct wheel *wheel, unsigned moves)
{
    FM_ASSERT(moves);
    for (unsigned level = 1; level < WHEEL_LEVELS; level++)
        moves -= move_down(wheel, place_of(level, unit_of(wheel->cursor, level) + 1), moves);
    return moves == 0;
}

/* Whether a unit of level 1, and maybe of those above, begins soon. */
static bool unit_begins_soon(const struct wheel *wheel)
{
    return unit_start(unit_of(wheel->cursor, 1) + 1, 1) - wheel->cursor <= LEAD;
}

/* Take up to `room` timers from the cursor's slot. */
static unsigned take(struct wheel *wheel, struct wheel_due *due, unsigned room)
{
    FM_ASSERT(fm__lock_held(&wheel->lock));
    uint32_t place = place_of(0, wheel->cursor);
    unsigned count = 0;
    FM_ASSERT(place < WHEEL_SLOTS);

    while (count < room && slot_occupied(wheel, place)) {
        struct timer *timer = slot_pop(wheel, place);
        due[count++] = (struct wheel_due){timer, timer->epoch};
        /* release (C): from here on it may be armed again */
        atomic_store_explicit(&timer->wheel, TIMER_NOT_ARMED, memory_order_release);
    }
    return count;
}

/* What there is left to do after one hold of the lock. */
enum rest {
    REST_NOTHING,
    REST_PREPARE, /* all that is due has fired; a unit that begins soon has timers yet */
    REST_DUE,     /* it is not at now_tick yet */
};

/* One hold of the lock: go on towards now_tick. Returns how many were taken. */
static unsigned advance(struct wheel *wheel, int64_t now_tick, struct wheel_due *due,
                        unsigned room, enum rest *ret_rest)
{
    FM_ASSERT(fm__lock_held(&wheel->lock) && room);
    FM_ASSERT(due && ret_rest);
    unsigned moves = MOVES_MAX, count = 0;
    bool more = true;

    /* Another thread, whose clock says more, was faster: for this one nothing is due. */
    if (now_tick < wheel->cursor) {
        *ret_rest = REST_NOTHING;
        return 0;
    }
    while (settle(wheel, &moves)) {
        count += take(wheel, due + count, room - count);
        if (slot_occupied(wheel, place_of(0, wheel->cursor)))
            break;
        if (wheel->cursor == now_tick) {
            more = false;
            break;
        }
        int64_t event = next_event(wheel, false);
        wheel->cursor = event < now_tick ? event : now_tick;
    }
    bool soon = !more && unit_begins_soon(wheel);
    /* As many as have fired, and some: a steady stream arrives prepared. */
    bool unprepared = prepare(wheel, soon ? MOVES_MAX : 2 * count + WHEEL_BATCH / 2);

    int64_t next = more ? wheel->cursor : next_event(wheel, true);
    if (next > wheel->next_tick) {
        wheel->next_tick = next;
        /* relaxed: later than before; who reads the old value wakes up for nothing */
        atomic_store_explicit(&wheel->next_ns, tick_ns(next), memory_order_relaxed);
    }
    fm__count(&wheel->fired, count);
    *ret_rest = more ? REST_DUE : soon && unprepared ? REST_PREPARE : REST_NOTHING;
    return count;
}

unsigned fm__wheel_fire(struct wheel *wheel, int64_t now_ns, unsigned max, wheel_fire_fn *fire,
                        void *context)
{
    FM_ASSERT(fire);
    if (fm__wheel_next(wheel) > now_ns)
        return 0;

    int64_t now_tick = tick_of_now(now_ns);
    unsigned taken = 0;
    enum rest rest = REST_DUE;
    for (int holds = 0;
         rest != REST_NOTHING && taken < max &&
         holds < (rest == REST_DUE ? HOLDS_MAX : LEAD_HOLDS);
         holds++) {
        struct wheel_due due[WHEEL_BATCH];
        unsigned room = max - taken < WHEEL_BATCH ? max - taken : WHEEL_BATCH;
        if (!fm__lock_try(&wheel->lock))
            break;
        unsigned count = advance(wheel, now_tick, due, room, &rest);
        fm__unlock(&wheel->lock);
        if (count)
            fire(context, due, count);
        taken += count;
    }
    return taken;
}

/* ---- the invariant ---- */

static void timer_check(struct wheel *wheel, struct timer *timer, unsigned level,
                        uint32_t place)
{
    int64_t cursor = wheel->cursor, tick = tick_of_deadline(timer->deadline_ns);

    if (tick < cursor)
        tick = cursor;
    FM_ASSERT(atomic_load(&timer->wheel) == wheel->number + 1);
    FM_ASSERT(place_of(level, unit_of(tick, level)) == place);
    FM_ASSERT(unit_of(tick, level + 1) - unit_of(cursor, level + 1) <= 1);
    FM_ASSERT(wheel->next_tick <= tick);
    (void)level, (void)place;
}

void fm__wheel_check(struct wheel *wheel)
{
    uint64_t count = 0;

    fm__lock(&wheel->lock);
    unsigned level = 0;
    for (uint32_t place = 0; place < WHEEL_SLOTS; place++) {
        if (place >= level_first_place(level) + level_slots(level))
            level++;
        if (!slot_occupied(wheel, place))
            continue;
        struct wheel_slot *slot = &wheel->slots[place];
        for (unsigned lane = 0; lane < WHEEL_LANES; lane++) {
            struct timer **link = &slot->first[lane];
            for (; *link; link = &(*link)->next) {
                FM_ASSERT((*link)->link == link);
                FM_ASSERT((*link)->place == place * 4 + lane);
                timer_check(wheel, *link, level, place);
                count++;
            }
            FM_ASSERT(slot->tail[lane] == link);
        }
    }
    FM_ASSERT(count == fm__wheel_count(wheel));
    FM_ASSERT(tick_ns(wheel->next_tick) == fm__wheel_next(wheel));
    (void)count;
    fm__unlock(&wheel->lock);
}
