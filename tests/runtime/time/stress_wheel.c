/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiters arm and disarm on two wheels while others fire both: each wait is ended once, by its timer
 * or by its disarm, never early; a timer that disarm has given back can be armed anywhere at once.
 * F67, F68.
 */
#include <pthread.h>
#include <stddef.h>

#include "runtime/platform/memory.h"
#include "runtime/time/wheel.h"
#include "tests/support/stress.h"

enum { WAITERS = 3, FIRERS = 2, WHEELS = 2, TIMERS = 16 };

/* One descriptor: what a fiber is to the wheel. */
struct waiter_timer {
    struct timer timer;
    _Atomic uint64_t waiting;    /* the epoch that waits, 0: none */
    _Atomic int64_t deadline_ns; /* of that wait, or already of the next */
    _Atomic uint64_t given;      /* sum of the epochs that fire was given */
    uint64_t epoch, fired;       /* the last epoch; the sum of those that disarm called fired */
    uint32_t wheel;
};

static struct wheel *wheels[WHEELS];
static struct waiter_timer waiter_timers[WAITERS][TIMERS];
static _Atomic int64_t now_ns = WHEEL_TICK_NS;
static _Atomic bool done;
static uint64_t rounds;

static void fired(void *context, const struct wheel_due *due, unsigned count)
{
    int64_t *fire_now_ns = context;
    for (unsigned i = 0; i < count; i++) {
        struct waiter_timer *t =
            (void *)((char *)due[i].timer - offsetof(struct waiter_timer, timer));
        uint64_t epoch = due[i].epoch;
        atomic_fetch_add(&t->given, epoch);
        /* that of this epoch, if the wait is not over before the exchange */
        int64_t late_by = *fire_now_ns - atomic_load(&t->deadline_ns);
        if (atomic_compare_exchange_strong(&t->waiting, &epoch, 0))
            STRESS_CHECK(late_by >= 0, "early by %" PRId64, -late_by);
    }
}

static void fire_all(uint64_t *random)
{
    int64_t step = (int64_t)(stress_random(random) % (4 * WHEEL_TICK_NS));
    if (stress_random(random) % 64 == 0)
        step *= 100;
    int64_t now = atomic_fetch_add(&now_ns, step) + step;
    for (int w = 0; w < WHEELS; w++)
        fm__wheel_fire(wheels[w], now, 1 + stress_random(random) % 100, fired, &now);
}

static void *fire(void *arg)
{
    uint64_t random = stress_seed() + (uint64_t)(uintptr_t)arg;
    while (!atomic_load(&done)) {
        fire_all(&random);
        stress_jitter(&random);
    }
    return NULL;
}

static void end_wait(struct waiter_timer *t)
{
    uint64_t epoch = t->epoch;
    if (!epoch)
        return;
    /* what a value or an interruption does: it may lose against the timer */
    atomic_compare_exchange_strong(&t->waiting, &epoch, 0);
    if (!fm__wheel_disarm(wheels[t->wheel], &t->timer))
        t->fired += t->epoch;
}

static void *wait_often(void *arg)
{
    struct waiter_timer *mine = arg;
    uint64_t random = stress_seed() ^ (uint64_t)(uintptr_t)arg;

    for (uint64_t round = 0; round < rounds; round++) {
        struct waiter_timer *t = &mine[stress_random(&random) % TIMERS];
        end_wait(t);
        int64_t distance = (int64_t)(stress_random(&random) % (WHEEL_TICK_NS << round % 9));
        int64_t deadline_ns = atomic_load(&now_ns) + distance;
        atomic_store(&t->deadline_ns, deadline_ns);
        t->wheel = (uint32_t)(stress_random(&random) % WHEELS);
        t->epoch++;
        atomic_store(&t->waiting, t->epoch);
        fm__wheel_arm(wheels[t->wheel], &t->timer, deadline_ns, t->epoch);
        stress_jitter(&random);
        /* a worker that waits fires too */
        if (round % 4 == 0)
            fire_all(&random);
    }
    for (int i = 0; i < TIMERS; i++)
        end_wait(&mine[i]);
    return NULL;
}

int main(void)
{
    pthread_t waiters[WAITERS], firers[FIRERS];

    stress_seed();
    rounds = stress_rounds(1000000);
    for (uint32_t w = 0; w < WHEELS; w++) {
        wheels[w] = fm__zalloc_aligned(_Alignof(struct wheel), sizeof **wheels);
        STRESS_CHECK(wheels[w], "no memory");
        fm__wheel_init(wheels[w], w, 0);
    }
    for (intptr_t i = 0; i < FIRERS; i++)
        pthread_create(&firers[i], NULL, fire, (void *)(i + 1));
    for (int i = 0; i < WAITERS; i++)
        pthread_create(&waiters[i], NULL, wait_often, waiter_timers[i]);
    for (int i = 0; i < WAITERS; i++)
        pthread_join(waiters[i], NULL);
    atomic_store(&done, true);
    for (int i = 0; i < FIRERS; i++)
        pthread_join(firers[i], NULL);

    for (int i = 0; i < WAITERS; i++)
        for (int j = 0; j < TIMERS; j++)
            STRESS_CHECK(waiter_timers[i][j].fired == waiter_timers[i][j].given,
                         "timer %d of waiter %d", j, i);
    for (int w = 0; w < WHEELS; w++) {
        STRESS_CHECK(fm__wheel_count(wheels[w]) == 0, "wheel %d", w);
        fm__wheel_check(wheels[w]);
        fprintf(stderr, "wheel %d: %" PRIu64 " fired, %" PRIu64 " cancelled\n", w,
                fm__counted(&wheels[w]->fired), fm__counted(&wheels[w]->cancelled));
        free(wheels[w]);
    }
    return 0;
}
