/*
 * held.c - a fiber leaves its thread while that holds a pthread mutex
 *
 * Knows not   how mutexes are counted: libfibermap-locks does, if it is in the program. The
 *             reference to it is weak; without it there is nothing to ask.
 *
 * What has been said is counted as given back: the fiber may unlock it in another thread, and
 * this one must not be blamed for it again.
 */
#include "runtime/platform/held.h"

#ifndef NDEBUG
#include <stdatomic.h>

#include "fm/locks.h"
#include "runtime/platform/check.h"

#pragma weak fm_thread_locks
#pragma weak fm_thread_locks_forget

/*
 * Each place once: a program that does it will do it often. A few that share a slot say more.
 */
enum { PLACES = 64 };

static bool is_said(const void *site)
{
    static _Atomic(const void *) said[PLACES];
    _Atomic(const void *) *slot = &said[(uintptr_t)site / 4 % PLACES];
    /* relaxed: said twice does no harm */
    if (atomic_load_explicit(slot, memory_order_relaxed) == site)
        return true;
    atomic_store_explicit(slot, site, memory_order_relaxed);
    return false;
}

__attribute__((noinline)) void fm__held_check(void)
{
    struct fm_thread_lock last;

    if (!fm_thread_locks || fm_thread_locks(&last) == 0)
        return;
    fm_thread_locks_forget();
    if (!is_said(last.site))
        fm__warn("a fiber leaves its thread, which holds the pthread mutex %p, locked at %p; "
                 "it may go on in another thread, which must not unlock that",
                 last.mutex, last.site);
}
#endif
