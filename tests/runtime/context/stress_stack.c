/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress_stack.c - threads take stacks here and give them there, while somebody trims and
 * somebody looks
 *
 * Each taken stack is marked with its taker and stays marked until it is given: nobody else has
 * it.
 */
#include <pthread.h>
#include <string.h>

#include "runtime/context/stack.h"
#include "tests/support/stress.h"

enum { THREADS = 4, HELD = 200, SHARED = 64 };

static _Atomic(struct stack *) shared[SHARED]; /* on their way from one thread to another */
static _Atomic bool done;
static pthread_barrier_t barrier;

static void mark(struct stack *stack, void *who)
{
    STRESS_CHECK(atomic_load_explicit(&stack->owner, memory_order_relaxed) == NULL,
                 "%p has an owner", (void *)stack);
    atomic_store_explicit(&stack->owner, who, memory_order_relaxed);
    memcpy((char *)stack->top - 64, &who, sizeof who);
    memcpy(stack->low, &who, sizeof who);
    STRESS_CHECK(fm__stack_find(stack->low, NULL) == stack, "%p is not found", (void *)stack);
}

static void unmark(struct stack *stack, void *who)
{
    STRESS_CHECK(atomic_load_explicit(&stack->owner, memory_order_relaxed) == who,
                 "%p changed owners", (void *)stack);
    STRESS_CHECK(memcmp((char *)stack->top - 64, &who, sizeof who) == 0, "%p was written to",
                 (void *)stack);
    STRESS_CHECK(memcmp(stack->low, &who, sizeof who) == 0, "%p was written to", (void *)stack);
}

struct thread {
    pthread_t thread;
    uint64_t random;
};

static void *work(void *arg)
{
    struct thread *self = arg;
    struct stack_cache cache = { 0 };
    struct stack *held[HELD];
    int count = 0;

    pthread_barrier_wait(&barrier);
    for (uint64_t round = stress_rounds(6000000); round > 0; round--) {
        uint64_t random = stress_random(&self->random);
        if (random % 64 == 0) {
            /* through another thread's hands */
            struct stack *stack = count ? held[--count] : NULL;
            if (stack)
                unmark(stack, self);
            stack = atomic_exchange_explicit(&shared[random / 64 % SHARED], stack,
                                             memory_order_acq_rel);
            if (stack) {
                atomic_store_explicit(&stack->owner, NULL, memory_order_relaxed);
                mark(stack, &shared);
                unmark(stack, &shared);
                fm__stack_give(random & 4096 ? &cache : NULL, stack);
            }
        } else if (random % 5000 == 1) {
            fm__stack_cache_flush(&cache);
        } else if (count < HELD && (count == 0 || random & 1024)) {
            struct stack *stack = fm__stack_take(&cache, random & 2048 ? 0 : 1, NULL);
            STRESS_CHECK(stack, "no stack");
            mark(stack, self);
            held[count++] = stack;
        } else {
            struct stack *stack = held[--count];
            unmark(stack, self);
            fm__stack_give(&cache, stack);
        }
    }
    while (count > 0)
        fm__stack_give(&cache, held[--count]);
    fm__stack_cache_flush(&cache);
    return NULL;
}

static void *trim(void *arg)
{
    uint64_t random = *(uint64_t *)arg;
    struct stack_stats stats;
    pthread_barrier_wait(&barrier);
    while (!atomic_load_explicit(&done, memory_order_acquire)) {
        fm__stack_trim(INT64_MAX, stress_random(&random) % 100);
        fm__stack_stats(&stats);
        struct timespec pause = { .tv_nsec = 100000 };
        nanosleep(&pause, NULL);
    }
    return NULL;
}

int main(void)
{
    uint64_t seed = stress_seed();
    struct thread threads[THREADS];
    pthread_t trimmer;

    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    pthread_create(&trimmer, NULL, trim, &seed);
    for (int i = 0; i < THREADS; i++) {
        threads[i].random = seed + (uint64_t)i * UINT64_C(0x9e3779b97f4a7c15);
        pthread_create(&threads[i].thread, NULL, work, &threads[i]);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i].thread, NULL);
    atomic_store_explicit(&done, true, memory_order_release);
    pthread_join(trimmer, NULL);

    for (int i = 0; i < SHARED; i++) {
        struct stack *stack = atomic_load_explicit(&shared[i], memory_order_relaxed);
        if (stack)
            fm__stack_give(NULL, stack);
    }
    struct stack_stats stats;
    fm__stack_stats(&stats);
    STRESS_CHECK(stats.live == 0, "%" PRIu64 " stacks are missing", stats.live);
    uint64_t pooled = stats.pooled;
    STRESS_CHECK(fm__stack_trim(INT64_MAX, SIZE_MAX) == pooled,
                 "some of %" PRIu64 " were not trimmed", pooled);
    return 0;
}
