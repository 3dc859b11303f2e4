/* SPDX-License-Identifier: Apache-2.0 */
/*
 * F8, F9: owner and thieves on a ring of 4; each task is run once and none is lost.
 */
#include "runtime/queue/deque.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "tests/support/stress.h"

enum { THIEVES = 3, TASKS = 64, IN_VAIN_MAX = 4000 };

/* plain, but for the count: a task that is seen before it was pushed is ThreadSanitizer's find */
struct task {
    int number;
    _Atomic int runs;
};

static struct deque owner;
static struct task tasks[TASKS];
static pthread_barrier_t start, end;
static _Atomic bool pushed_all, finished;
static uint64_t current_round;

static void run(struct task *task)
{
    int number = (int)(task - tasks);
    STRESS_CHECK(task->number == number, "round %" PRIu64 ": task %d is %d", current_round,
                 number, task->number);
    /* relaxed: counts only */
    int before = atomic_fetch_add_explicit(&task->runs, 1, memory_order_relaxed);
    STRESS_CHECK(before == 0, "round %" PRIu64 ": task %d ran twice", current_round, number);
}

static void *thief(void *arg)
{
    uint64_t random = stress_seed() + (uint64_t)(uintptr_t)arg;
    bool halves = (uintptr_t)arg % 2;
    struct deque own;
    STRESS_CHECK(fm__deque_init(&own, 4) == 0, "no memory");
    for (;;) {
        pthread_barrier_wait(&start);
        if (atomic_load(&finished))
            break;
        stress_jitter(&random);
        int in_vain = 0;
        for (bool last = false; !last;) {
            last = atomic_load(&pushed_all);
            struct task *task = NULL;
            if (in_vain++ == IN_VAIN_MAX) { /* the owner may be waiting for our processor */
                in_vain = 0;
                sched_yield();
            }
            if (halves)
                fm__deque_steal_half(&owner, &own, &task);
            else
                task = fm__deque_steal(&owner);
            last = last && !task;
            if (task) {
                in_vain = 0;
                run(task);
            }
            while ((task = fm__deque_pop(&own)))
                run(task);
        }
        pthread_barrier_wait(&end);
    }
    fm__deque_fini(&own);
    return NULL;
}

int main(void)
{
    uint64_t random = stress_seed();
    uint64_t rounds = stress_rounds(20000);
    pthread_t threads[THIEVES];

    STRESS_CHECK(fm__deque_init(&owner, 4) == 0, "no memory");
    pthread_barrier_init(&start, NULL, THIEVES + 1);
    pthread_barrier_init(&end, NULL, THIEVES + 1);
    for (uintptr_t i = 0; i < THIEVES; i++)
        pthread_create(&threads[i], NULL, thief, (void *)(i + 1));

    for (current_round = 0; current_round < rounds; current_round++) {
        memset(tasks, 0, sizeof tasks);
        atomic_store(&pushed_all, false);
        pthread_barrier_wait(&start);
        stress_jitter(&random);
        for (int i = 0; i < TASKS; i++) {
            tasks[i].number = i;
            if (!fm__deque_push(&owner, &tasks[i]))
                run(&tasks[i]);
            struct task *task = stress_random(&random) % 3 ? NULL : fm__deque_pop(&owner);
            if (task)
                run(task);
        }
        atomic_store(&pushed_all, true);
        pthread_barrier_wait(&end);
        for (struct task *task; (task = fm__deque_pop(&owner));)
            run(task);
        for (int i = 0; i < TASKS; i++)
            STRESS_CHECK(tasks[i].runs == 1, "round %" PRIu64 ": task %d ran %d times",
                         current_round, i, tasks[i].runs);
    }
    atomic_store(&finished, true);
    pthread_barrier_wait(&start);
    for (int i = 0; i < THIEVES; i++)
        pthread_join(threads[i], NULL);
    fm__deque_fini(&owner);
    return 0;
}
