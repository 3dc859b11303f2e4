/*
 * checker.h - the rooms of the model checker, and what they say to one another
 *
 *     entry.c    what the compiler calls: accesses of instrumented code
 *     platform.c what the rooms call: allocation, futex, lock, FM_BUG
 *     memory.c   atomic locations: which stores a load may still see
 *     shadow.c   every byte: races, use after free, wild pointers
 *     threads.c  coroutines: who runs, who waits
 *     alone.c    which objects only one thread uses
 *     states.c   which states have been searched from
 *     search.c   choices: which execution comes next; the command line; the report
 */
#ifndef TESTS_MODEL_CHECKER_H
#define TESTS_MODEL_CHECKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/model/model.h"

enum {
    THREADS = 8,    /* of an execution */
    LOCATIONS = 64, /* distinct atomic objects of an execution */
    STORES = 250,   /* to one of them; an index fits a byte */
    STACK_BYTES = 1 << 16,
};

/* For each location the index of the oldest store that may still be read. */
struct view {
    uint8_t at[LOCATIONS];
};

/* For each thread how much of what it did has happened before. */
struct clock {
    int16_t at[THREADS];
};

static inline void view_join(struct view *into, const struct view *from)
{
    for (int i = 0; i < LOCATIONS; i++)
        into->at[i] = into->at[i] > from->at[i] ? into->at[i] : from->at[i];
}

static inline void clock_join(struct clock *into, const struct clock *from)
{
    for (int i = 0; i < THREADS; i++)
        into->at[i] = into->at[i] > from->at[i] ? into->at[i] : from->at[i];
}

/* What was done to a thing that threads share, as a hash: states.c. */
struct order {
    uint64_t written; /* the last write, and all that it had met */
    uint64_t read;    /* the reads since */
};

/* --- threads.c ---------------------------------------- */

enum thread_state {
    THREAD_READY,
    THREAD_FUTEX,
    THREAD_LOCK,  /* until a word is 0 */
    THREAD_AWAIT, /* until a word is not 0 */
    THREAD_JOIN,
    THREAD_DONE,
};

struct thread {
    void *context;
    enum thread_state state;
    bool timed;           /* THREAD_FUTEX: may time out */
    bool timed_out;       /* and has */
    unsigned timeouts;
    const void *waits_on; /* FUTEX, LOCK, AWAIT: the word, of 32 bits */
    struct thread *joins; /* THREAD_JOIN */
    unsigned idle_steps;  /* since it last wrote or gave way */
    uint64_t past;        /* all that it did, and what that met: states.c */
    bool unmoved;         /* nothing, since it was let run */
    bool joined;
    void (*run)(void *arg);
    void *arg;
    void *own;                /* model_own */
    struct view seen;         /* what its loads may not go behind */
    struct view seen_relaxed; /* what it would have seen, had its relaxed loads been acquire */
    struct view released;     /* what it had seen at its last release fence */
    struct clock now;
    struct clock now_relaxed;
    struct clock now_released;
    uint8_t stale[LOCATIONS]; /* old values read in a row */
};

extern struct thread *running;
extern struct thread threads[THREADS];
extern unsigned thread_count;
/* Failures of a weak CAS and wakes of a futex for no reason that this execution may see. */
extern unsigned spurious_left;

static inline unsigned running_id(void)
{
    return (unsigned)(running - threads);
}

/* Before each step that other threads could see: perhaps somebody else goes first. */
void threads_point(void);
/* The same before a step on this object, which may turn out to be the thread's own. */
void threads_point_at(const void *address);
/* The running thread waits in a loop: somebody else goes first, and no bound is charged. */
void threads_give_way(void);
/* The running thread cannot go on; returns when it can. */
void threads_block(enum thread_state state);
/* Make ready one thread that sleeps on word; false if none does. */
bool threads_wake(const void *word);
/* Run one execution from thread 0 until all are done or one calls threads_stop. */
void threads_execute(void (*run)(void));
_Noreturn void threads_stop(void);
extern char thread_stacks[THREADS][STACK_BYTES];

/* --- memory.c ---------------------------------------- */

void memory_reset(void);
uint64_t memory_load(void *address, unsigned size, int order);
void memory_store(void *address, unsigned size, uint64_t value, int order);
enum memory_rmw { RMW_SET, RMW_ADD, RMW_SUB, RMW_AND, RMW_OR, RMW_XOR, RMW_NAND };
uint64_t memory_rmw(void *address, unsigned size, enum memory_rmw op, uint64_t v, int order);
/* The same where another thread could go first already. */
uint64_t memory_rmw_now(void *address, unsigned size, enum memory_rmw op, uint64_t v,
                        int order);
/* True if it took place. *expected becomes what was read. */
bool memory_cas(void *address, unsigned size, uint64_t *expected, uint64_t desired, bool weak,
                int order, int failure_order);
void memory_fence(int order);
/* The newest value, as the kernel reads it. */
uint64_t memory_newest(const void *address, unsigned size);
/* It has read that: stops if the memory has gone. */
void memory_look(void *address, unsigned size);
/* A plain access to the bytes of location x, from shadow.c. */
void memory_plain(unsigned x, bool write);
/* A plain access before the location was known as one. */
struct plain {
    int16_t read[THREADS];
    int16_t write[THREADS];
};

/* --- shadow.c ---------------------------------------- */

void shadow_reset(void);
void shadow_plain(const void *address, size_t size, bool write);
/*
 * Before an atomic access: stops at a wild or dead address; returns the location, 0 for none.
 */
unsigned shadow_location(const void *address, unsigned size);
/* The bytes are location x from now on; *ret_past is what plain accesses came before. */
void shadow_set_location(const void *address, unsigned size, unsigned x,
                         struct plain *ret_past);
bool shadow_owns(const void *address);
/*
 * For messages: "block 2+16", "stack 1-48" (below the top of thread 1's). The next calls
 * use the buffer again.
 */
const char *shadow_name(const void *address);

/* --- states.c ---------------------------------------- */

void states_reset(void);
/* The running thread does something that only it can see, and `what` tells it from others. */
void states_local(uint64_t what);
/* It looks at a thing: the order among those who look makes no difference. */
void states_read(struct order *order, uint64_t what);
/* It changes it. */
void states_write(struct order *order, uint64_t what);
/* What `other` did has made a difference to `thread`. */
void states_meet(struct thread *thread, const struct thread *other);
/* Of those who sleep on a word. */
struct order *states_futex(const void *word);
/* Whether the search has been here with no more spent. It has from now on. */
bool states_searched(unsigned preemptions, unsigned surprises);
/* The execution has come to its end; how many different ends there were. */
void states_end(void);
uint64_t states_ends(void);
/* The next scenario. */
void states_forget(void);

/* --- alone.c ---------------------------------------- */

/* Whether the running thread is the only one that uses this object, as far as is known. */
bool alone_with(const void *address);
/* Whether that was wrong since it was last asked. */
bool alone_was_mistaken(void);
/* The next scenario. */
void alone_forget(void);

/* --- search.c ---------------------------------------- */

/* One of count values for a load or the like; 0 is the plainest. */
unsigned search_choose(unsigned count);
/*
 * Which of count ready threads goes on; candidate 0 is the running one if it could. Preempting
 * it is charged to the bound, unless it gave way by itself. `stays`: it does go on, but for
 * who draws at random.
 */
struct thread *search_choose_thread(struct thread *const *ready, unsigned count, bool free,
                                    bool stays);
/* A line of the trace, when one is wanted. */
extern bool search_tracing;
void search_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define TRACE(...) \
    do { \
        if (search_tracing) \
            search_trace(__VA_ARGS__); \
    } while (0)
/* Where instrumented code is now, for trace and report. */
extern const void *search_where;

#endif
