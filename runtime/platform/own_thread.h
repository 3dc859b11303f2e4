/*
 * own_thread.h - the library's own threads
 *
 * They are made with all signals blocked but those that a thread brings upon itself (faults,
 * SIGPIPE) and SIGPROF, so that a profiler sees the workers. Handlers of the program run on
 * threads of the program, never on a fiber's small stack, and a signal that the program's
 * threads block too stays pending for fm_signal_wait.
 */
#ifndef FM_RUNTIME_PLATFORM_OWN_THREAD_H
#define FM_RUNTIME_PLATFORM_OWN_THREAD_H

#include <pthread.h>

/* 0 · -EAGAIN. The thread begins with those signals blocked; the caller's mask is as before. */
int fm__thread_create(pthread_t *ret_thread, void *(*body)(void *arg), void *arg);

/*
 * The calling thread cannot be cancelled from here on (pthread_cancel): the stacks of fibers
 * are not unwound as a thread's own is.
 */
void fm__thread_refuse_cancel(void);

/*
 * Between the two the calling thread must not end. A fiber or a job that calls pthread_exit
 * would take its worker along, and all would wait for that: it stops the program.
 */
void fm__thread_serves(void);
void fm__thread_may_end(void);

#endif
