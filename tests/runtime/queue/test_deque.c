/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The deque on one thread, against an array, and the inject list, against a count. Several
 * threads: stress_deque_steal.c, and every order of a few steps: tests/model/model_deque.c,
 * model_idle.c.
 */
#include "runtime/queue/deque.h"

#include <errno.h>

#include "runtime/platform/memory.h"
#include "runtime/queue/inject.h"
#include "tests/support/stress.h"
#include "tests/support/test.h"

/* The deque never looks inside a task; the inject list knows its link, with which it begins. */
struct task {
    struct task *next;
    int number;
};

static struct task tasks[4096];

static void init(struct deque *d, uint32_t capacity)
{
    cr_assert_eq(fm__deque_init(d, capacity), 0);
}

static void fini(struct deque *d)
{
    while (fm__deque_pop(d))
        ;
    fm__deque_fini(d);
}

static void push(struct deque *d, int from, int count)
{
    for (int i = from; i < from + count; i++)
        cr_assert(fm__deque_push(d, &tasks[i]));
}

TEST(deque, pop_takes_newest)
{
    struct deque d;
    init(&d, 4);
    push(&d, 0, 3);
    for (int i = 3; i-- > 0;)
        cr_assert_eq(fm__deque_pop(&d), &tasks[i]);
    fini(&d);
}

TEST(deque, steal_takes_oldest)
{
    struct deque d;
    init(&d, 4);
    push(&d, 0, 3);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(fm__deque_steal(&d), &tasks[i]);
    fini(&d);
}

TEST(deque, empty_gives_nothing_and_fills_again)
{
    struct deque d, other;
    struct task *first = &tasks[7];
    init(&d, 4);
    init(&other, 4);
    for (int round = 0; round < 10; round++) {
        cr_assert_null(fm__deque_pop(&d));
        cr_assert_null(fm__deque_steal(&d));
        cr_assert_eq(fm__deque_steal_half(&d, &other, &first), 0);
        cr_assert_eq(first, &tasks[7], "written although nothing was taken");
        cr_assert_eq(fm__deque_count(&d), 0);
        push(&d, 0, 1);
        cr_assert_eq(fm__deque_count(&d), 1);
        cr_assert_eq(round % 2 ? fm__deque_pop(&d) : fm__deque_steal(&d), &tasks[0]);
    }
    fini(&d);
    fini(&other);
}

TEST(deque, full_refuses_and_changes_nothing)
{
    struct deque d;
    init(&d, 4);
    push(&d, 0, 4);
    cr_assert(!fm__deque_push(&d, &tasks[4]));
    cr_assert_eq(fm__deque_count(&d), 4);
    cr_assert_eq(fm__deque_steal(&d), &tasks[0]);
    push(&d, 4, 1);
    cr_assert(!fm__deque_push(&d, &tasks[5]));
    for (int i = 4; i > 0; i--)
        cr_assert_eq(fm__deque_pop(&d), &tasks[i]);
    fini(&d);
}

TEST(deque, steal_half_takes_half_rounded_up_and_keeps_the_order)
{
    for (int n = 1; n <= 16; n++) {
        struct deque victim, own;
        struct task *first;
        init(&victim, 16);
        init(&own, 16);
        push(&victim, 0, n);
        int half = (n + 1) / 2;
        cr_assert_eq(fm__deque_steal_half(&victim, &own, &first), half);
        cr_assert_eq(first, &tasks[0]);
        for (int i = 1; i < half; i++)
            cr_assert_eq(fm__deque_steal(&own), &tasks[i]);
        cr_assert_eq(fm__deque_count(&own), 0);
        for (int i = half; i < n; i++)
            cr_assert_eq(fm__deque_steal(&victim), &tasks[i]);
        fini(&victim);
        fini(&own);
    }
}

TEST(deque, steal_half_takes_no_more_than_there_is_room_for)
{
    for (int room = 0; room <= 2; room++) {
        struct deque victim, own;
        struct task *first;
        init(&victim, 16);
        init(&own, 4);
        push(&victim, 0, 16);
        push(&own, 100, 4 - room);
        cr_assert_eq(fm__deque_steal_half(&victim, &own, &first), 1 + room);
        cr_assert_eq(first, &tasks[0]);
        for (int i = 0; i < 4 - room; i++)
            cr_assert_eq(fm__deque_steal(&own), &tasks[100 + i]);
        for (int i = 1; i <= room; i++)
            cr_assert_eq(fm__deque_steal(&own), &tasks[i]);
        cr_assert_eq(fm__deque_count(&victim), 15 - room);
        fini(&victim);
        fini(&own);
    }
}

TEST(deque, init_without_memory_says_so)
{
    struct deque d;
    fm__fault_set(FAULT_MALLOC, 1, false);
    cr_assert_eq(fm__deque_init(&d, 4), -ENOMEM);
    fm__fault_set(FAULT_MALLOC, 0, false);
}

/* Some turns, beginning at this index. */
static void agree_with_an_array(int64_t index, int turns)
{
    enum { CAPACITY = 8 };
    uint64_t random = stress_seed();
    struct task *model[CAPACITY];
    int count = 0, next = 0;
    struct deque d;
    init(&d, CAPACITY);
    atomic_store(&d.top, index);
    atomic_store(&d.bottom, index);
    d.top_seen = index;
    for (int step = 0; step < turns; step++) {
        switch (stress_random(&random) % 4) {
        case 0:
        case 1: {
            struct task *task = &tasks[next++ % 4096];
            cr_assert_eq(fm__deque_push(&d, task), count < CAPACITY);
            if (count < CAPACITY)
                model[count++] = task;
            break;
        }
        case 2:
            cr_assert_eq(fm__deque_pop(&d), count ? model[count - 1] : NULL);
            count -= count > 0;
            break;
        case 3:
            cr_assert_eq(fm__deque_steal(&d), count ? model[0] : NULL);
            for (int i = 1; i < count; i++)
                model[i - 1] = model[i];
            count -= count > 0;
            break;
        }
        cr_assert_eq(fm__deque_count(&d), count);
    }
    fini(&d);
}

TEST(deque, agrees_with_an_array_over_many_turns)
{
    agree_with_an_array(0, 200000);
}

/* F11: an index is as wide as it is, and lasts 290 years. */
TEST(deque, indices_go_on_past_every_width_that_is_not_theirs)
{
    static const int widths[] = { 8, 15, 16, 24, 31, 32, 48, 53, 62 };
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        agree_with_an_array((INT64_C(1) << widths[i]) - 20, 1000);
}

/* The lanes are eight: batches, single ones and parts of them that are taken begin in each. */
TEST(inject, tasks_go_as_they_came_alone_or_in_batches)
{
    enum { MOST = 40 };
    uint64_t random = stress_seed();
    struct inject inject;
    unsigned in = 0, out = 0;
    fm__inject_init(&inject);
    for (int step = 0; step < 20000 || in != out; step++) {
        unsigned many = (unsigned)(stress_random(&random) % MOST) + 1;
        unsigned what = step < 20000 && in - out < 2048 ? stress_random(&random) % 4 : 3;
        if (what == 0) {
            fm__inject_push(&inject, &tasks[in++ % 4096]);
        } else if (what == 1) {
            struct inject_batch batch;
            fm__inject_batch_init(&batch);
            for (unsigned i = 0; i < many; i++)
                fm__inject_batch_add(&batch, &tasks[in++ % 4096]);
            fm__inject_push_batch(&inject, &batch);
        } else {
            struct task *taken[MOST];
            unsigned count = fm__inject_take(&inject, many, taken);
            cr_assert_eq(count, in - out < many ? in - out : many);
            for (unsigned i = 0; i < count; i++)
                cr_assert_eq(taken[i], &tasks[out++ % 4096]);
        }
        cr_assert_eq(fm__inject_count(&inject), in - out);
    }
}
