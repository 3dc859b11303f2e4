/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_search.c - the search against a brute count, on threads that only take steps
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/explore/search.h"
#include "tests/support/test.h"

enum { THREADS_MAX = 3, STEPS_MAX = 5, SCHEDULES_MAX = 100000 };

/* `threads` of them, each with `steps` steps; a schedule is the string of who made each. */
struct model {
    unsigned threads, steps;
    unsigned preemptions, deviations; /* at most */
};

static unsigned next_after(uint64_t eligible, unsigned current)
{
    if (eligible >> current & 1)
        return current;
    uint64_t after = eligible & ~UINT64_C(0) << (current + 1);
    return (unsigned)__builtin_ctzll(after ? after : eligible);
}

/* All strings within the bounds, counted by trying everything. */
static unsigned count_all(const struct model *model, unsigned *left, unsigned current,
                          unsigned preemptions, unsigned deviations)
{
    uint64_t eligible = 0;
    unsigned count = 0;
    for (unsigned i = 0; i < model->threads; i++)
        eligible |= (uint64_t)(left[i] > 0) << i;
    if (!eligible)
        return 1;
    for (unsigned i = 0; i < model->threads; i++) {
        if (!left[i])
            continue;
        unsigned p = preemptions + (i != current && left[current] > 0);
        unsigned d = deviations + (i != next_after(eligible, current));
        if (p > model->preemptions || (model->deviations && d > model->deviations))
            continue;
        left[i]--;
        count += count_all(model, left, i, p, d);
        left[i]++;
    }
    return count;
}

/* One schedule as the arbiter would play it. */
static uint32_t play(const struct model *model, const struct search *search,
                     struct choice *choices, char *made)
{
    unsigned left[THREADS_MAX], current = 0;
    uint32_t count = 0, deviation = 0, steps = 0;
    for (unsigned i = 0; i < model->threads; i++)
        left[i] = model->steps;
    for (;;) {
        uint64_t eligible = 0;
        for (unsigned i = 0; i < model->threads; i++)
            eligible |= (uint64_t)(left[i] > 0) << i;
        if (!eligible)
            break;
        unsigned chosen = next_after(eligible, current);
        if (eligible & (eligible - 1)) {
            struct choice *choice = &choices[count];
            *choice = (struct choice) { .eligible = eligible,
                                        .current = (uint8_t)current,
                                        .usual = (uint8_t)chosen };
            if (deviation < search->deviation_count &&
                search->deviations[deviation].choice == count)
                chosen = search->deviations[deviation++].seat;
            cr_assert(eligible >> chosen & 1, "a deviation to somebody who cannot go on");
            choice->chosen = (uint8_t)chosen;
            count++;
        }
        left[chosen]--;
        current = chosen;
        made[steps++] = (char)('a' + chosen);
    }
    made[steps] = 0;
    cr_assert_eq(deviation, search->deviation_count);
    return count;
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void search_all(struct model model)
{
    enum { LENGTH = THREADS_MAX * STEPS_MAX + 1 };
    static char seen[SCHEDULES_MAX][LENGTH];
    static struct search search;
    struct choice choices[LENGTH];
    unsigned count = 0, distinct = 0, left[THREADS_MAX];

    fm__search_init(&search, model.preemptions, model.deviations);
    for (bool more = true; more; count++) {
        cr_assert_lt(count, SCHEDULES_MAX);
        uint32_t made = play(&model, &search, choices, seen[count]);
        more = fm__search_next(&search, choices, made);
    }
    cr_assert_not(search.out_of_memory);
    fm__search_fini(&search);
    qsort(seen, count, LENGTH, compare);
    for (unsigned i = 0; i < count; i++)
        distinct += i == 0 || strcmp(seen[i], seen[i - 1]) != 0;
    for (unsigned i = 0; i < model.threads; i++)
        left[i] = model.steps;
    cr_assert_eq(distinct, count_all(&model, left, 0, 0, 0),
                 "%u threads, %u steps, %u preemptions, %u deviations: %u", model.threads,
                 model.steps, model.preemptions, model.deviations, distinct);
}

TEST(search, every_schedule_within_the_bounds_is_tried)
{
    for (unsigned threads = 1; threads <= THREADS_MAX; threads++)
        for (unsigned steps = 1; steps <= 3; steps++)
            for (unsigned preemptions = 0; preemptions <= 3; preemptions++)
                for (unsigned deviations = 0; deviations <= 3; deviations++)
                    search_all((struct model) { threads, steps, preemptions, deviations });
}

TEST(search, without_bounds_it_is_every_order_there_is)
{
    /* 10! / (5! 5!) */
    struct model model = { 2, 5, 100, 0 };
    unsigned left[] = { 5, 5 };
    cr_assert_eq(count_all(&model, left, 0, 0, 0), 252);
    search_all(model);
}

TEST(search, fewer_deviations_come_first)
{
    struct model model = { 3, 3, 3, 0 };
    static struct search search;
    struct choice choices[16];
    char made[16];
    uint32_t before = 0;

    fm__search_init(&search, model.preemptions, 0);
    for (bool more = true; more;) {
        cr_assert_leq(search.deviation_count, search.level);
        cr_assert_geq(search.level, before);
        before = search.level;
        uint32_t count = play(&model, &search, choices, made);
        more = fm__search_next(&search, choices, count);
    }
    fm__search_fini(&search);
}
