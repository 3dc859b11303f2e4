/* SPDX-License-Identifier: Apache-2.0 */
/*
 * locks.c - libfibermap-locks: which pthread mutexes a thread holds
 *
 * Each function here bears the name of one of libc's, calls that, and takes a note. It must be
 * a shared library that comes before libc: then the dynamic linker binds every caller's
 * pthread_mutex_lock to this one, and RTLD_NEXT leads on.
 *
 * Owns        the note of each thread: a few words of it, so that nothing is allocated.
 * Order       a thread writes and reads its own note only.
 * Recursion   dlsym may allocate, an allocator may lock. Libc's own are looked up before main,
 *             in one thread: whoever comes here from within that locks and unlocks nothing,
 *             which nobody else can notice.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "fm/locks.h"

enum { KEPT = 16 }; /* of more than that only the number is known */

static __thread struct {
    unsigned count, kept;
    bool looking_up;
    struct fm_thread_lock locks[KEPT];
} held __attribute__((tls_model("initial-exec")));

unsigned fm_thread_locks(struct fm_thread_lock *ret_last)
{
    if (held.kept && ret_last)
        *ret_last = held.locks[held.kept - 1];
    return held.count;
}

void fm_thread_locks_forget(void)
{
    held.count = held.kept = 0;
}

static int note(int result, const void *mutex, const void *site)
{
    if (result == 0 || result == EOWNERDEAD) {
        if (held.kept < KEPT)
            held.locks[held.kept++] = (struct fm_thread_lock) { mutex, site };
        held.count++;
    }
    return result;
}

/* One that was not counted, or counted as given back, is passed over. */
static void forget(const void *mutex)
{
    unsigned i = held.kept;
    while (i > 0 && held.locks[i - 1].mutex != mutex)
        i--;
    if (i > 0) {
        held.kept--;
        for (; i <= held.kept; i++)
            held.locks[i - 1] = held.locks[i];
    }
    if (i > 0 || held.count > held.kept)
        held.count--;
}

/* ---- libc's own ---- */

typedef int mutex_fn(pthread_mutex_t *mutex);
typedef int timed_fn(pthread_mutex_t *mutex, const struct timespec *until);
typedef int clock_fn(pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until);

static struct {
    mutex_fn *lock, *trylock, *unlock;
    timed_fn *timedlock;
    clock_fn *clocklock;
} next;

/* Before main, in one thread, unless a constructor that comes earlier locks something. */
static __attribute__((constructor)) void look_up(void)
{
    held.looking_up = true;
    *(void **)&next.lock = dlsym(RTLD_NEXT, "pthread_mutex_lock");
    *(void **)&next.trylock = dlsym(RTLD_NEXT, "pthread_mutex_trylock");
    *(void **)&next.timedlock = dlsym(RTLD_NEXT, "pthread_mutex_timedlock");
    *(void **)&next.clocklock = dlsym(RTLD_NEXT, "pthread_mutex_clocklock");
    *(void **)&next.unlock = dlsym(RTLD_NEXT, "pthread_mutex_unlock");
    held.looking_up = false;
}

/* False: called from within the look-up. */
static bool is_ready(void)
{
    if (!next.unlock && !held.looking_up)
        look_up();
    return !held.looking_up;
}

/* ---- in its place ---- */

FM_API int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    return is_ready() ? note(next.lock(mutex), mutex, __builtin_return_address(0)) : 0;
}

FM_API int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    return is_ready() ? note(next.trylock(mutex), mutex, __builtin_return_address(0)) : 0;
}

FM_API int pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *until)
{
    return is_ready() ? note(next.timedlock(mutex, until), mutex, __builtin_return_address(0))
                      : 0;
}

FM_API int pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock,
                                   const struct timespec *until)
{
    return is_ready()
               ? note(next.clocklock(mutex, clock, until), mutex, __builtin_return_address(0))
               : 0;
}

FM_API int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    if (!is_ready())
        return 0;
    forget(mutex); /* before: after it the mutex may be gone */
    return next.unlock(mutex);
}
