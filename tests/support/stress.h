/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress.h - a stress program: many short rounds, a printed seed, a check that says which
 *
 *     int main(void)
 *     {
 *         uint64_t seed = stress_seed();
 *         for (uint64_t round = 0; round < stress_rounds(100000); round++) {
 *             ...
 *             STRESS_CHECK(taken == pushed, "round %" PRIu64 ": %d taken", round, taken);
 *         }
 *         return 0;
 *     }
 *
 * FM_SEED=0x5eed in the environment repeats a run; FM_LONG=1 asks for the long one, FM_FEWER=100
 * for a hundredth of it, where each round takes so much longer. Threads meet at a pthread barrier
 * and then call stress_jitter(): without it they hardly ever meet in the window.
 */
#ifndef TESTS_SUPPORT_STRESS_H
#define TESTS_SUPPORT_STRESS_H

#include "runtime/platform/sanitizer.h"
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* The seed of this run, from FM_SEED or the clock. The first call prints it. */
static inline uint64_t stress_seed(void)
{
    static uint64_t seed;
    if (seed)
        return seed;
    const char *given = getenv("FM_SEED");
    if (given) {
        seed = strtoull(given, NULL, 0);
    } else {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        seed = (uint64_t)now.tv_sec * 1000000007u ^ (uint64_t)now.tv_nsec;
    }
    seed |= !seed;
    fprintf(stderr, "FM_SEED=0x%" PRIx64 "\n", seed);
    return seed;
}

/* The next number of a xorshift generator; *state is never 0. One state to a thread. */
static inline uint64_t stress_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* A part of the rounds, for Valgrind and qemu. */
static inline uint64_t stress_fewer(uint64_t rounds)
{
    const char *given = getenv("FM_FEWER");
    uint64_t by = given ? strtoull(given, NULL, 0) : 0;
    return by > 1 ? rounds / by + 1 : rounds;
}

/* Rounds for this build and run: a tenth under a sanitizer, a hundredfold with FM_LONG. */
static inline uint64_t stress_rounds(uint64_t rounds)
{
    if (FM_ASAN || FM_TSAN)
        rounds = rounds / 10 + 1;
    return stress_fewer(getenv("FM_LONG") ? rounds * 100 : rounds);
}

/* Wait 0 to 100 steps, so that threads that start together meet somewhere else in each round. */
static inline void stress_jitter(uint64_t *state)
{
    for (volatile uint64_t steps = stress_random(state) % 101; steps; steps--)
        ;
}

#define STRESS_CHECK(condition, ...)                                                            \
    do {                                                                                        \
        if (!(condition)) {                                                                     \
            fprintf(stderr, "%s:%d: FM_SEED=0x%" PRIx64 ": %s: ", __FILE__, __LINE__,           \
                    stress_seed(), #condition);                                                 \
            fprintf(stderr, __VA_ARGS__);                                                       \
            fputc('\n', stderr);                                                                \
            abort();                                                                            \
        }                                                                                       \
    } while (0)

#endif
