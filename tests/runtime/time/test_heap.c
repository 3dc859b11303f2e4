/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heap against the plainest of references: look at all of them.
 */
#include "runtime/time/heap.h"

#include <inttypes.h>
#include <stdlib.h>

#include "tests/support/stress.h"
#include "tests/support/test.h"

TEST(heap, equal_deadlines_come_out_in_the_order_they_went_in)
{
    enum { N = 1000 };
    static struct timer timers[N];
    struct timer_heap heap = {.order = UINT32_MAX - N / 2}; /* the order wraps on the way */

    for (int i = 0; i < N; i++) {
        timers[i].deadline_ns = i % 3;
        fm__heap_push(&heap, &timers[i]);
    }
    for (int deadline = 0; deadline < 3; deadline++) {
        for (int i = deadline; i < N; i += 3) {
            cr_assert_eq(fm__heap_first(&heap), &timers[i]);
            fm__heap_remove(&heap, &timers[i]);
        }
    }
    cr_assert_null(fm__heap_first(&heap));
}

/* F73 */
TEST(heap, a_million_of_one_time_cost_no_stack)
{
    enum { N = 1000000 };
    struct timer *timers = calloc(N, sizeof *timers);
    struct timer_heap heap = {0};

    for (int i = 0; i < N; i++)
        fm__heap_push(&heap, &timers[i]);
    for (int i = 0; i < N; i++) {
        cr_assert_eq(fm__heap_first(&heap), &timers[i]);
        fm__heap_remove(&heap, &timers[i]);
    }
    free(timers);
}

TEST(heap, agrees_with_a_list_when_any_of_them_leaves)
{
    enum { N = 200 };
    static struct timer timers[N];
    static uint64_t pushed[N]; /* 0: not in */
    uint64_t random = stress_seed(), rounds = stress_rounds(300000), serial = 0;
    struct timer_heap heap = {0};

    for (uint64_t round = 0; round < rounds; round++) {
        size_t i = stress_random(&random) % N;
        if (pushed[i]) {
            fm__heap_remove(&heap, &timers[i]);
            pushed[i] = 0;
        } else {
            timers[i].deadline_ns = (int64_t)(stress_random(&random) % 50) - 25;
            fm__heap_push(&heap, &timers[i]);
            pushed[i] = ++serial;
        }
        size_t first = N;
        for (size_t t = 0; t < N; t++) {
            if (!pushed[t])
                continue;
            if (first == N || timers[t].deadline_ns < timers[first].deadline_ns ||
                (timers[t].deadline_ns == timers[first].deadline_ns && pushed[t] < pushed[first]))
                first = t;
        }
        cr_assert_eq(fm__heap_first(&heap), first == N ? NULL : &timers[first],
                     "seed 0x%" PRIx64 ", round %" PRIu64, stress_seed(), round);
    }
}
