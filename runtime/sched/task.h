/*
 * task.h - what the scheduler moves; it never learns what a fiber is
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

/*
 * A task that was parked for long has most likely left the caches, and so has its stack. Have
 * fetched what the switch to it and its way back to the caller touch, so that for a batch of
 * tasks the waits for memory overlap; also what they only write, since the next atomic waits
 * until that is stored. The caller has the task in its hands. A task is the first line of a
 * record of four that its owner keeps. Of the lines of its stack the first is what the switch
 * saved, the next two are the gap that it left (context.h).
 */
static inline FM_THREADS_OWN void fm__task_fetch(struct task *task)
{
    enum { LINE = 64, RECORD_LINES = 4, FRAME_LINES = 10 };
    for (int i = 1; i < RECORD_LINES; i++)
        __builtin_prefetch((char *)task + i * LINE, 1);
    if (!task->stack)
        return;
    __builtin_prefetch(task->stack, 1);
    for (int i = 0; i < FRAME_LINES; i++)
        __builtin_prefetch((char *)task->ctx.fctx + i * LINE, 1);
}

_Static_assert(offsetof(struct task, next) == 0, "queue/inject.c finds the link there");

#endif
