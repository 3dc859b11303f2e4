/*
 * strategy.c - who goes on
 *
 * Random walk   stays with odds drawn for the schedule: some schedules change hands at nearly
 *               each point, some run long stretches. The bugs of the two kinds are different
 *               ones. A few times in a schedule who runs is frozen for hundreds of steps, as a
 *               kernel freezes a thread: at a random step, and where it comes to a random place
 *               in the code, since most steps are those of a few busy places.
 * PCT           the highest priority runs. At each of depth - 1 steps, drawn beforehand, who
 *               runs falls below all others; so does who waits for the others, else it would
 *               wait for ever.
 * Given         stay while possible, else the next seat in a ring; at the choices of the test
 *               that the plan lists, what it lists. search.c makes those lists.
 * Spelled       the same, but the list is one of bytes that a fuzzer makes: each says after how
 *               many choices who else goes on. Any bytes are a schedule, and a small change of
 *               them is a small change of it.
 *
 * Source        Burckhardt, Kothari, Musuvathi, Nagarakatte, "A Randomized Scheduler with
 *               Probabilistic Guarantees of Finding Bugs", ASPLOS 2010. Added: the fall of who
 *               waits, and of who has run alone for very long.
 */
#include "runtime/explore/strategy.h"

enum {
    STAY_BITS = 6,
    FREEZES = 3,
    ARRIVALS = 4,
    FROZEN_MIN = 50,
    FROZEN = 1000,
    LONG_RUN = 5000,
    WHO_BITS = 2,
    GAP_SHORT = 32,
};

/* A number of the plan's own sequence. */
static uint64_t draw(struct strategy *strategy)
{
    return fm__explore_random(&strategy->random);
}

void fm__strategy_init(struct strategy *strategy, const struct plan *plan,
                       struct arbiter_log *log)
{
    *strategy = (struct strategy) { .plan = plan, .log = log, .random = plan->seed };
    strategy->stay = 1u << draw(strategy) % STAY_BITS;
    strategy->frozen = NOBODY;
    if (plan->kind == PLAN_PCT)
        strategy->changes = plan->depth - 1;
    else if (plan->kind == PLAN_RANDOM && plan->steps_expected)
        strategy->changes = (uint32_t)(draw(strategy) % FREEZES);
    if (plan->kind == PLAN_RANDOM && plan->site_count) {
        strategy->site = plan->sites[draw(strategy) % plan->site_count];
        strategy->arrivals = (uint32_t)(draw(strategy) % ARRIVALS);
    }
    for (uint32_t i = 0; i < strategy->changes; i++)
        strategy->change[i] = plan->steps_before + 1 + draw(strategy) % plan->steps_expected;
}

void fm__strategy_enter(struct strategy *strategy, unsigned seat)
{
    if (strategy->plan->kind == PLAN_PCT)
        strategy->priority[seat] = (int64_t)(draw(strategy) >> 2) + 1;
}

static void lower(struct strategy *strategy, unsigned seat)
{
    strategy->priority[seat] = --strategy->lowest;
    strategy->in_a_row = 0;
}

void fm__strategy_gave(struct strategy *strategy, unsigned seat)
{
    if (strategy->plan->kind == PLAN_PCT)
        lower(strategy, seat);
}

bool fm__strategy_jumps(struct strategy *strategy)
{
    /* at each step: a product, not a remainder */
    return strategy->plan->time_jumps &&
           (draw(strategy) >> 32) * strategy->plan->time_jumps >> 32 == 0;
}

static bool can(uint64_t eligible, unsigned seat)
{
    return seat < SEATS_MAX && (eligible >> seat & 1);
}

static unsigned usual(uint64_t eligible, unsigned current)
{
    if (can(eligible, current))
        return current;
    uint64_t after = current < SEATS_MAX - 1 ? eligible & ~UINT64_C(0) << (current + 1) : 0;
    return (unsigned)__builtin_ctzll(after ? after : eligible);
}

/* One of them, by any number. */
static unsigned nth_of(uint64_t eligible, uint64_t n)
{
    n %= (unsigned)__builtin_popcountll(eligible);
    while (n--)
        eligible &= eligible - 1;
    return (unsigned)__builtin_ctzll(eligible);
}

/* Whether one of the steps at which something changes has come. */
static bool change_is_due(struct strategy *strategy)
{
    for (uint32_t i = 0; i < strategy->changes; i++)
        if (strategy->change[i] && strategy->change[i] <= strategy->log->steps) {
            strategy->change[i] = 0;
            return true;
        }
    return false;
}

static bool site_is_met(struct strategy *strategy, const struct turn_point *point)
{
    if (point != strategy->site || strategy->arrivals-- != 0)
        return false;
    strategy->site = NULL;
    return true;
}

static unsigned walk(struct strategy *strategy, uint64_t eligible, unsigned current,
                     const struct turn_point *point)
{
    if (change_is_due(strategy) || site_is_met(strategy, point)) {
        strategy->frozen = current;
        strategy->thaw = strategy->log->steps + FROZEN_MIN + draw(strategy) % FROZEN;
    }
    /* There is somebody else: of one there is no choice. */
    if (strategy->thaw > strategy->log->steps && can(eligible, strategy->frozen))
        eligible &= ~(UINT64_C(1) << strategy->frozen);
    if (can(eligible, current) && (draw(strategy) & (strategy->stay - 1)) != 0)
        return current;
    return nth_of(eligible, draw(strategy));
}

static unsigned highest(struct strategy *strategy, uint64_t eligible, unsigned current)
{
    while (change_is_due(strategy))
        lower(strategy, current);
    if (can(eligible, current) && ++strategy->in_a_row > LONG_RUN)
        lower(strategy, current);
    unsigned best = NOBODY;
    for (uint64_t left = eligible; left; left &= left - 1) {
        unsigned seat = (unsigned)__builtin_ctzll(left);
        if (best == NOBODY || strategy->priority[seat] > strategy->priority[best])
            best = seat;
    }
    if (best != current)
        strategy->in_a_row = 0;
    return best;
}

static unsigned given(struct strategy *strategy, uint64_t eligible, unsigned current)
{
    const struct plan *plan = strategy->plan;
    uint32_t next = strategy->next;

    if (next == plan->deviation_count || plan->deviations[next].choice != strategy->choices)
        return usual(eligible, current);
    strategy->next++;
    unsigned seat = plan->deviations[next].seat;
    return can(eligible, seat) ? seat : NOBODY;
}

/* The high bits are how many choices go as usual before, further and further apart. */
static unsigned spelled(struct strategy *strategy, uint64_t eligible, unsigned current)
{
    const struct plan *plan = strategy->plan;

    if (strategy->next == plan->spelled_count)
        return usual(eligible, current);
    unsigned byte = plan->spelled[strategy->next], gap = byte >> WHO_BITS;
    if (gap > GAP_SHORT)
        gap = GAP_SHORT + (gap - GAP_SHORT) * (gap - GAP_SHORT);
    if (strategy->gap++ < gap)
        return usual(eligible, current);
    strategy->gap = 0;
    strategy->next++;
    return nth_of(eligible, byte & ((1u << WHO_BITS) - 1));
}

unsigned fm__strategy_choose(struct strategy *strategy, uint64_t eligible, unsigned current,
                             const struct turn_point *point)
{
    struct arbiter_log *log = strategy->log;
    unsigned chosen = NOBODY;

    if (!(eligible & (eligible - 1)))
        return (unsigned)__builtin_ctzll(eligible);
    if (strategy->plan->kind == PLAN_GIVEN && (!log->test_begins || log->test_ends))
        return usual(eligible, current);
    switch (strategy->plan->kind) {
    case PLAN_RANDOM: chosen = walk(strategy, eligible, current, point); break;
    case PLAN_PCT: chosen = highest(strategy, eligible, current); break;
    case PLAN_GIVEN: chosen = given(strategy, eligible, current); break;
    case PLAN_SPELLED: chosen = spelled(strategy, eligible, current); break;
    }
    if (strategy->plan->keep_choices && strategy->choices < log->choice_max) {
        log->choices[strategy->choices] = (struct choice) {
            .eligible = eligible,
            .current = (uint8_t)current,
            .usual = (uint8_t)usual(eligible, current),
            .chosen = (uint8_t)chosen,
        };
        log->choice_count = strategy->choices + 1;
    }
    strategy->choices++;
    return chosen;
}
