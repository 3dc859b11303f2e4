/*
 * task.h - what the scheduler moves; it never learns what a fiber is
 *
 * A task is the first line of a record of four lines that its owner keeps, which ready.c has
 * fetched into the caches ahead of a run.
 */
#ifndef FM_RUNTIME_SCHED_TASK_H
#define FM_RUNTIME_SCHED_TASK_H

#include "runtime/context/context.h"

struct stack;

struct task {
    struct task *next;   /* owned by the list that holds the task */
    struct context ctx;  /* owned by the worker that runs the task; saved while nobody does */
    struct stack *stack; /* NULL until the first dispatch */
    uint8_t stack_class; /* of the stack it will need */
    uint8_t flags;       /* TASK_..., written by the owner of the task alone */
    uint16_t pinned;     /* worker index + 1 that alone may run it, 0: any */
    uint32_t since_tick; /* when it became runnable, for the sampled latency; 0: not sampled */
};

#define TASK_SPAWNED 1u /* never run yet */

_Static_assert(offsetof(struct task, next) == 0, "queue/inject.c finds the link there");

#endif
