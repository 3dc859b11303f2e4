/*
 * overflow.h - the handler that tells a stack overflow by name
 *
 * One SIGSEGV (and SIGBUS) handler a process, on a guarded alternate stack of each worker
 * thread. From the address it finds the stack in O(1), has the owner described (id, name, key,
 * spawn site), prints a backtrace along the frame pointers and hands the signal to who had it
 * before:
 *
 *     fibermap: stack overflow of fiber 17 "worker" (stack 64 KiB at 0x7f10a0010000, access to
 *     0x7f10a0011ff8)
 *     fibermap:   #0 0x55d0c1c02a41 serve+0x2a41
 *     fibermap:   #1 ...
 *
 * Any other fault goes straight to that handler, or to the default. Code compiled without frame
 * pointers cuts the backtrace short; a frame larger than the guard that is not probed
 * (-fstack-clash-protection, on aarch64 with --param=stack-clash-protection-guard-size=12) is not
 * caught.
 */
#ifndef FM_RUNTIME_CONTEXT_OVERFLOW_H
#define FM_RUNTIME_CONTEXT_OVERFLOW_H

#include <stddef.h>

/*
 * Write who owns a stack into buffer, with the final NUL: it follows the word "fiber". Called
 * in a signal handler: async-signal-safe.
 */
typedef void overflow_describe_fn(void *owner, char *buffer, size_t size);

/*
 * Install the handler, once per process, counted; the first describe stays in force. 0 ·
 * -errno.
 */
int fm__overflow_install(overflow_describe_fn *describe);
/*
 * The last one puts back what was there before the first, unless somebody has put a handler
 * above ours: then ours stays beneath and passes everything on.
 */
void fm__overflow_uninstall(void);
/*
 * Give the calling thread a guarded alternate signal stack; 0 · -ENOMEM · -EPERM it runs on
 * one. Pair with detach on the same thread, which puts the former one back. NULL is let through
 * there.
 */
int fm__overflow_attach_thread(void **ret_altstack);
void fm__overflow_detach_thread(void *altstack);

#endif
