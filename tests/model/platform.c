/*
 * platform.c - what the rooms call: allocation, futex, lock, FM_BUG
 *
 * Stands in for runtime/platform in a model. The lock's quick side is inline and stays real;
 * its slow side is a thread that cannot run until the word is 0, so that the search need not
 * try each turn of a spin.
 */
#include "runtime/platform/futex.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/platform/check.h"
#include "runtime/platform/lock.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/spin.h"
#include "tests/model/checker.h"

/*
 * The kernel compares with the newest value and sleeps in one step. It may also return at once
 * for no reason. A sleep with a deadline may time out whenever the search likes.
 */
int fm__futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns)
{
    threads_point();
    memory_look(word, 4);
    bool sleeps = memory_newest(word, 4) == expected;
    TRACE("futex wait %s while %#x: %s", shadow_name(word), expected,
          sleeps ? "sleeps" : "has changed");
    if (!sleeps)
        return 0;
    if (spurious_left && search_choose(2)) {
        spurious_left--;
        states_local(1);
        TRACE("futex wakes for no reason");
        return 0;
    }
    running->waits_on = word;
    running->timed = deadline_ns != INT64_MAX;
    running->timed_out = false;
    states_write(states_futex(word), 0);
    threads_block(THREAD_FUTEX);
    return running->timed_out ? -ETIMEDOUT : 0;
}

void fm__futex_wake(_Atomic uint32_t *word, int count)
{
    threads_point();
    TRACE("futex wake %s, at most %d", shadow_name(word), count);
    while (count-- > 0 && threads_wake(word))
        ;
}

/* Who finds the lock held cannot run until it is free: no turn of a spin need be searched. */
void model_lock(_Atomic uint32_t *word)
{
    threads_point_at(word);
    while (memory_newest(word, 4) != 0) {
        memory_look(word, 4);
        running->waits_on = word;
        threads_block(THREAD_LOCK);
    }
    memory_rmw_now(word, 4, RMW_SET, 1, memory_order_acquire);
}

bool model_lock_try(_Atomic uint32_t *word)
{
    threads_point_at(word);
    if (memory_newest(word, 4) != 0) {
        memory_look(word, 4);
        return false;
    }
    memory_rmw_now(word, 4, RMW_SET, 1, memory_order_acquire);
    return true;
}

void model_unlock(_Atomic uint32_t *word)
{
    memory_store(word, 4, 0, memory_order_release);
}

#ifndef NDEBUG
/* Ranks are the business of debug builds. Weak: the model of the lock has the room itself. */
__attribute__((weak)) void fm__lock_note(struct lock *lock)
{
    (void)lock;
}

__attribute__((weak)) void fm__lock_forget(struct lock *lock)
{
    (void)lock;
}

/* What is held is known by the order of the search, not by a thread. */
__attribute__((weak)) bool fm__lock_held(const struct lock *lock)
{
    (void)lock;
    return true;
}

void fm__lock_check_none(void) {}

void fm__lock_check_map(const char *what)
{
    (void)what;
}
#endif

void *fm__malloc(size_t size)
{
    return model_malloc(size);
}

void *fm__calloc(size_t count, size_t size)
{
    return model_calloc(count, size);
}

void *fm__zalloc_aligned(size_t alignment, size_t size)
{
    return model_aligned(alignment, size);
}

void fm__bug(const char *file, int line, const char *format, ...)
{
    char text[200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    model_fail("FM_BUG at %s:%d: %s", file, line, text);
}

/* Who spins waits for another thread: let it run. */
void fm__spin(unsigned spins)
{
    (void)spins;
    threads_give_way();
}

/* --- redirect.h ---------------------------------------- */

void model_relax(void)
{
    threads_give_way();
}

void *model_memmove(void *to, const void *from, size_t size)
{
    if (size) {
        shadow_plain(from, size, false);
        shadow_plain(to, size, true);
    }
    return memmove(to, from, size);
}

void *model_memset(void *to, int byte, size_t size)
{
    if (size)
        shadow_plain(to, size, true);
    return memset(to, byte, size);
}

int model_memcmp(const void *a, const void *b, size_t size)
{
    if (size) {
        shadow_plain(a, size, false);
        shadow_plain(b, size, false);
    }
    return memcmp(a, b, size);
}
