/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/locks.h - which pthread mutexes a thread holds; libfibermap-locks, for debugging
 *
 * A fiber that waits while its thread holds a pthread mutex goes on in another thread, which
 * may not unlock it, while the first one runs into it: a deadlock, some day. A debug build of
 * fibermap (without NDEBUG) names the fiber on stderr where it leaves its thread like that,
 * once for each place that locked, if libfibermap-locks is in the program as well: linked
 * (-lfibermap-locks, in any place before libc), or, where the program uses the shared
 * libfibermap, put before it by LD_PRELOAD=libfibermap-locks.so.
 *
 * That library stands between the program and libc's pthread_mutex_lock, trylock, timedlock,
 * clocklock and unlock, and counts. std::mutex and other libraries' mutexes are among them,
 * C11's mtx_lock and rwlocks are not. It is a shared library of its own because only so every
 * caller in the program is seen, sanitizers keep their place in front, and a program that does
 * without pays nothing.
 */
#ifndef FM_LOCKS_H
#define FM_LOCKS_H

#include "fm/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fm_thread_lock {
    const void *mutex;
    const void *site; /* where it was locked: an address in the code of the caller */
};

/*
 * How many pthread mutexes the calling thread holds, as far as it has been counted, and the one
 * that it locked last. Async-signal-safe.
 */
FM_API unsigned fm_thread_locks(struct fm_thread_lock *ret_last);
/* Count them as given back. */
FM_API void fm_thread_locks_forget(void);

#ifdef __cplusplus
}
#endif
#endif
