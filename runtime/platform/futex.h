/*
 * futex.h - sleep on a word
 *
 * fm__futex_wait sleeps while *word == expected, at most until deadline_ns (CLOCK_MONOTONIC,
 * FM_NEVER: for ever). Returns 0 woken, changed or for no reason at all · -ETIMEDOUT. Callers
 * look again in any case.
 */
#ifndef FM_RUNTIME_PLATFORM_FUTEX_H
#define FM_RUNTIME_PLATFORM_FUTEX_H

#include <stdatomic.h>
#include <stdint.h>

int fm__futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns);
/* Wakes at most `count` sleepers. The memory may have gone: then it wakes nobody. */
void fm__futex_wake(_Atomic uint32_t *word, int count);

#endif
