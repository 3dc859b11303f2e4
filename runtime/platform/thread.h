/*
 * thread.h - what the kernel says of a thread of this process
 *
 * Read from /proc/self/task; a file that is missing or not to be read makes the answer "not
 * known". System calls and no memory: for reports, not for hot paths.
 */
#ifndef FM_RUNTIME_PLATFORM_THREAD_H
#define FM_RUNTIME_PLATFORM_THREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Since the thread began. */
struct thread_times {
    int64_t ran_ns;    /* on processors */
    int64_t queued_ns; /* runnable and waiting for one; 0 where the kernel does not count it */
};
struct thread_times fm__thread_times(int kernel_id);
/* ran_ns alone, which is one call of the kernel; 0 if it has gone. Of the caller: id 0. */
int64_t fm__thread_ran_ns(int kernel_id);

/* As in ps: R running or runnable, S asleep, D asleep and not to be woken, T stopped; ? */
char fm__thread_state(int kernel_id);

struct thread_call {
    long number; /* of the system call; -1: in the kernel for another reason, a page fault */
    uintptr_t sp, pc; /* where it has left its code */
};
/* False: it is not blocked in the kernel, or that is not known. */
bool fm__thread_call(int kernel_id, struct thread_call *ret_call);

/* The kernel function that it sleeps in, "" if that is not known or it does not. */
void fm__thread_wait_channel(int kernel_id, char *buffer, size_t size);

#endif
