/*
 * redirect.h - included ahead of each room and scenario of a model
 *
 * What the compiler does not report by itself: copies through libc, the heap, and the pause of
 * a processor that spins; and a bound made small. Everything else of a room arrives at the
 * checker unchanged.
 */
#ifndef TESTS_MODEL_REDIRECT_H
#define TESTS_MODEL_REDIRECT_H

#include <stdlib.h>
#include <string.h>

#include "tests/model/model.h"

#define LOCK_SPINS 1 /* runtime/platform/lock.c: the rest of a wait is what is searched */
#define REF_SETTLE 2 /* runtime/sync/ref.c: the rare case in an execution of a few steps */

#define malloc(size) model_malloc(size)
#define calloc(count, size) model_calloc(count, size)
#define aligned_alloc(alignment, size) model_aligned(alignment, size)
#define free(memory) model_free(memory)
#define memcpy(to, from, size) model_memmove(to, from, size)
#define memmove(to, from, size) model_memmove(to, from, size)
#define memset(to, byte, size) model_memset(to, byte, size)
#define memcmp(a, b, size) model_memcmp(a, b, size)
#define __builtin_ia32_pause() model_relax()

/*
 * The lock as one step each way: its room has a model of its own, and to search its inside
 * wherever it is used would be to search it again and again.
 */
#include "runtime/platform/lock.h"
#define fm__lock(lock) model_lock(&(lock)->word)
#define fm__lock_try(lock) model_lock_try(&(lock)->word)
#define fm__unlock(lock) model_unlock(&(lock)->word)

#endif
