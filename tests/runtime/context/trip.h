/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trip.h - run a function on a stack of its own and come back, without a scheduler
 *
 *     struct trip trip;
 *     trip_start(&trip, stack, body, arg);    runs body until it calls trip_away() or returns
 *     trip_back(&trip);                       goes on after trip_away()
 */
#ifndef TESTS_RUNTIME_CONTEXT_TRIP_H
#define TESTS_RUNTIME_CONTEXT_TRIP_H

#include <stdbool.h>
#include <stdlib.h>

#include "runtime/context/context.h"
#include "runtime/context/stack.h"

struct trip {
    struct context home;
    struct context fiber;
    struct stack *stack;
    void (*body)(void *arg);
    void *arg;
    bool ended;
};

static _Thread_local struct trip *trip_now;

static inline void trip_away(void)
{
    struct trip *trip = trip_now;
    fm__context_switch(&trip->fiber, &trip->home, false);
}

static __attribute__((noinline)) void trip_entry(struct context_transfer from)
{
    FM_CONTEXT_FIRST_FRAME(from);
    struct trip *trip = trip_now;
    trip->body(trip->arg);
    trip->ended = true;
    fm__context_switch(&trip->fiber, &trip->home, true);
    abort();
}

static inline void trip_back(struct trip *trip)
{
    struct trip *before = trip_now;
    trip_now = trip;
    fm__context_switch(&trip->home, &trip->fiber, false);
    trip_now = before;
}

static inline void trip_start(struct trip *trip, struct stack *stack, void (*body)(void *arg),
                              void *arg)
{
    *trip = (struct trip) { .stack = stack, .body = body, .arg = arg };
    fm__context_init_thread(&trip->home);
    fm__context_init_stack(&trip->fiber, stack->top,
                           (size_t)((char *)stack->top - (char *)stack->low), stack->tsan,
                           trip_entry);
    trip_back(trip);
}

#endif
