/*
 * model.h - what a scenario says to the model checker
 *
 * A scenario is a small program of two to five threads over the real functions of a room. The
 * checker runs it again and again, in every order and with every value that a load may return
 * within the bounds asked for. See README.md for what is and what is not searched.
 *
 * Scenario and room are compiled with -fsanitize=thread and linked without its library: each
 * atomic and each plain access arrives at the checker, which plays the memory. All state that
 * threads share lives in memory from model_malloc, or the rooms' own allocation calls, or on
 * the threads' stacks. A write to any global is refused, as it would leak from one execution
 * into the next, unless model_global has named it.
 */
#ifndef TESTS_MODEL_MODEL_H
#define TESTS_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct model_scenario {
    const char *name;
    void (*run)(void); /* thread 0 of each execution; joins all that it spawns */
    unsigned less;     /* so many preemptions less than asked for: it has many threads */
};

/*
 * Defined by the program, SCENARIO_END last:
 *     const struct model_scenario model_scenarios[] = { SCENARIO(last_task), SCENARIO_END };
 */
extern const struct model_scenario model_scenarios[];
#define SCENARIO(function, ...) \
    { \
        .name = #function, .run = (function), ##__VA_ARGS__ \
    }
#define SCENARIO_END \
    { \
        .name = NULL \
    }

/* Start a thread, or wait for its end. At most 8 in an execution, thread 0 included. */
int model_spawn(void (*run)(void *arg), void *arg);
void model_join(int thread);

/* The number of the calling thread, and a pointer of its own, NULL at the start. */
int model_thread(void);
void *model_own(void);
void model_set_own(void *own);

/*
 * Wait until the word is not 0, and acquire what its store released. For the scenario's own
 * order of events: cheaper to search than a loop, and no part of what is proved.
 */
void model_await(const _Atomic uint32_t *word);

/*
 * Memory of one execution, filled with junk (malloc) or zero (calloc). It is never given out
 * twice, so that a use after the free is found; nothing need be freed.
 */
void *model_malloc(size_t size);
void *model_calloc(size_t count, size_t size);
void *model_aligned(size_t alignment, size_t size);
void model_free(void *memory);
bool model_freed(const void *memory);

/* A global variable that the room shares: 0 from here on, in each execution. At most four. */
void model_global(void *variable, size_t size);

/*
 * The book-keeping of the scenario itself: 64 counters, zero at the start, which are no shared
 * memory to the checker and order nothing. Returns the value before.
 */
int model_note(unsigned counter, int add);

/* This execution is wrong. Each ends it, prints the choices that lead here, and counts. */
_Noreturn void model_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define model_assert(condition) \
    do { \
        if (!(condition)) \
            model_fail("%s:%d: %s", __FILE_NAME__, __LINE__, #condition); \
    } while (0)

/* This execution is not of interest (a loop that waits has waited enough): end it, no fault. */
_Noreturn void model_discard(void);

/* What redirect.h puts in place of the lock, of libc's copies and of a processor's pause. */
void model_lock(_Atomic uint32_t *word);
bool model_lock_try(_Atomic uint32_t *word);
void model_unlock(_Atomic uint32_t *word);
void *model_memmove(void *to, const void *from, size_t size);
void *model_memset(void *to, int byte, size_t size);
int model_memcmp(const void *a, const void *b, size_t size);
void model_relax(void);

#endif
