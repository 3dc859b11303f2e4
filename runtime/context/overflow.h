/*
 * overflow.h - the handler that tells a stack overflow by name
 *
 * One SIGSEGV (and SIGBUS) handler a process, on a guarded alternate stack of each worker thread. From the address it finds the stack in
 * O(1), has the owner described (id, name, key, spawn site), prints a backtrace along the frame pointers and hands the signal to who had it before.
 */
#ifndef FM_RUNTIME_CONTEXT_OVERFLOW_H
#define FM_RUNTIME_CONTEXT_OVERFLOW_H

#include <stddef.h>

/* Write a line about the owner of a stack into buffer. Called in a signal handler: async-signal-safe. */
typedef void overflow_describe_fn(void *owner, char *buffer, size_t size);

/* Install the handler, once per process, counted; 0 · -errno. */
int fm__overflow_install(overflow_describe_fn *describe);
void fm__overflow_uninstall(void);
/* Give the calling thread a guarded alternate signal stack; 0 · -ENOMEM. Pair with detach on the same thread. */
int fm__overflow_attach_thread(void **ret_altstack);
void fm__overflow_detach_thread(void *altstack);

#endif
