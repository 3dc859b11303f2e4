/*
 * states.c - what has been searched from need not be searched from again
 *
 * Two orders of steps that do not touch the same things end in the same state. So each thing
 * that steps touch (an atomic object, a futex, the heap, a note of the scenario) keeps a hash
 * of what was done to it, and each thread a hash of what it did and of all that it met on the
 * way: which writes came before its reads, which reads and writes before its writes. Equal
 * hashes of all threads mean: the same steps, each of which met the same, in another order.
 * That is the same state, as threads know no more of the order than what they met.
 *
 * A state counts as searched if it was left with the same thread running and no less to spend:
 * preemptions, old values, failures for no reason. The search then stops there; all that could
 * follow has been seen, within the same bounds. A step is never met twice on one path, so what
 * is found here has been searched to its end.
 *
 * Plain data needs no hash: who reads it has met, by atomics, whoever wrote it, or it is a
 * race, which shows in each order.
 *
 * Source   Musuvathi, Qadeer, "Partial-order reduction for context-bounded state exploration",
 *          Microsoft Research, 2007; changed: a read of an old value counts as a read like
 *          others.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model/checker.h"

enum {
    FIRST_BITS = 12,
    LAST_BITS = 25, /* 320 MB; a full table takes no more, and less is cut off */
    FUTEXES = 64,
};

/* States, and with what was left to spend they were met; the same one may stand there again. */
struct table {
    uint64_t *states; /* 0: free */
    uint16_t *spent;
    unsigned bits;
    uint64_t used;
};

static struct table searched, ends;
static struct {
    const void *word;
    struct order order;
} futexes[FUTEXES];
static unsigned futex_count;

void states_reset(void)
{
    futex_count = 0;
}

/* ---- what is done ---- */

/* Of two in this order: the second is often made from the first. */
static uint64_t mixed(uint64_t a, uint64_t b)
{
    a = (a ^ a >> 32) * UINT64_C(0xd6e8feb86659fd93);
    a = (a + (b ^ b >> 29)) * UINT64_C(0x9e3779b97f4a7c15);
    a = (a ^ a >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return a ^ a >> 29;
}

void states_local(uint64_t what)
{
    running->past = mixed(running->past, what);
    running->unmoved = false;
}

void states_read(struct order *order, uint64_t what)
{
    states_local(mixed(order->written, what));
    order->read += running->past;
}

void states_write(struct order *order, uint64_t what)
{
    states_local(mixed(mixed(order->written, order->read), what));
    order->written = running->past;
    order->read = 0;
}

void states_meet(struct thread *thread, const struct thread *other)
{
    thread->past = mixed(thread->past, other->past);
}

struct order *states_futex(const void *word)
{
    for (unsigned i = 0; i < futex_count; i++)
        if (futexes[i].word == word)
            return &futexes[i].order;
    if (futex_count == FUTEXES)
        model_fail("more than %d futexes", FUTEXES);
    futexes[futex_count].word = word;
    futexes[futex_count].order = (struct order) { .written = (uintptr_t)word };
    return &futexes[futex_count++].order;
}

/* ---- where we are ---- */

static uint64_t state_now(uint64_t who)
{
    uint64_t state = who;
    for (unsigned i = 0; i < thread_count; i++)
        state += mixed(threads[i].past, i + 1);
    state = mixed(state, thread_count);
    return state ? state : 1;
}

/* Preemptions, surprises, failures for no reason: four bits each. */
static bool within(unsigned spent, unsigned bound)
{
    return (spent & 15) <= (bound & 15) && (spent >> 4 & 15) <= (bound >> 4 & 15) &&
           spent >> 8 <= bound >> 8;
}

/* The slot of the state if it was met with no more spent; else one to put it into. */
static uint64_t find(const struct table *table, uint64_t state, unsigned spent, bool *ret_met)
{
    uint64_t mask = (UINT64_C(1) << table->bits) - 1, i = state & mask;
    for (; table->states[i]; i = (i + 1) & mask) {
        if (table->states[i] != state)
            continue;
        *ret_met = within(table->spent[i], spent);
        if (*ret_met || within(spent, table->spent[i]))
            return i;
    }
    *ret_met = false;
    return i;
}

static void grow(struct table *table)
{
    struct table old = *table;
    table->bits = old.bits ? old.bits + 1 : FIRST_BITS;
    table->states = calloc((size_t)1 << table->bits, sizeof *table->states);
    table->spent = calloc((size_t)1 << table->bits, sizeof *table->spent);
    if (!table->states || !table->spent) {
        fprintf(stderr, "no memory for the states that have been searched\n");
        exit(2);
    }
    for (uint64_t i = 0; old.states && i < UINT64_C(1) << old.bits; i++) {
        if (!old.states[i])
            continue;
        bool met;
        uint64_t at = find(table, old.states[i], old.spent[i], &met);
        table->states[at] = old.states[i];
        table->spent[at] = old.spent[i];
    }
    free(old.states);
    free(old.spent);
}

/* Whether it stood there, met with no more spent; from now on it does. */
static bool put(struct table *table, uint64_t state, unsigned spent)
{
    if (table->bits < LAST_BITS && (!table->bits || table->used >> (table->bits - 1)))
        grow(table);
    bool met;
    uint64_t at = find(table, state, spent, &met);
    if (met || (!table->states[at] && table->used >> (table->bits - 4) >= 15))
        return met;
    table->used += !table->states[at];
    table->states[at] = state;
    table->spent[at] = (uint16_t)spent;
    return false;
}

bool states_searched(unsigned preemptions, unsigned surprises)
{
    preemptions = preemptions < 15 ? preemptions : 15;
    surprises = surprises < 15 ? surprises : 15;
    return put(&searched, state_now(running_id() + 1),
               preemptions | surprises << 4 | (spurious_left == 0) << 8);
}

void states_end(void)
{
    put(&ends, state_now(0), 0);
}

uint64_t states_ends(void)
{
    return ends.used;
}

static void forget(struct table *table)
{
    free(table->states);
    free(table->spent);
    *table = (struct table) { 0 };
}

void states_forget(void)
{
    forget(&searched);
    forget(&ends);
}
