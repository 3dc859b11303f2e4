/*
 * sanitizer.h - tells the sanitizers and Valgrind what a stack switch is
 *
 * The only place that knows which of them is in the build. Elsewhere the calls are there in
 * every build and cost nothing without one.
 *
 * ThreadSanitizer's identity changes at the annotation, not at the jump: nothing instrumented
 * may stand between FM_TSAN_SWITCH and the jump. One TSan fiber goes with each stack, not with
 * each descriptor: fibers that follow one another on a stack are ordered anyway, and the tool's
 * records are large. A switch counts as an order, but not in a strict build: see below.
 */
#ifndef FM_RUNTIME_PLATFORM_SANITIZER_H
#define FM_RUNTIME_PLATFORM_SANITIZER_H

#include <stddef.h>
#include <stdint.h>

#if defined __SANITIZE_ADDRESS__
#define FM_ASAN 1
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define FM_ASAN 1
#endif
#endif
#if defined __SANITIZE_THREAD__
#define FM_TSAN 1
#elif defined __has_feature
#if __has_feature(thread_sanitizer)
#define FM_TSAN 1
#endif
#endif
#ifndef FM_ASAN
#define FM_ASAN 0
#endif
#ifndef FM_TSAN
#define FM_TSAN 0
#endif
#ifndef FM_TSAN_STRICT
#define FM_TSAN_STRICT 0
#endif

/* Frames of instrumented code are larger: stacks grow by this factor. */
#define FM_STACK_SCALE (FM_ASAN || FM_TSAN ? 4 : 1)

#if FM_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#define FM_NO_ASAN __attribute__((no_sanitize_address))
static inline void fm__asan_start_switch(void **save, const void *bottom, size_t size)
{
    __sanitizer_start_switch_fiber(save, bottom, size);
}
static inline void fm__asan_finish_switch(void *save, const void **bottom, size_t *size)
{
    __sanitizer_finish_switch_fiber(save, bottom, size);
}
/* Nobody may use the memory, and the leak checker believes no pointer in it. */
static inline void fm__asan_poison(const void *start, size_t size)
{
    __asan_poison_memory_region(start, size);
}
static inline void fm__asan_unpoison(const void *start, size_t size)
{
    __asan_unpoison_memory_region(start, size);
}
static inline void fm__lsan_root(const void *start, size_t size)
{
    __lsan_register_root_region(start, size);
}
static inline void fm__lsan_unroot(const void *start, size_t size)
{
    __lsan_unregister_root_region(start, size);
}
#else
#define FM_NO_ASAN
static inline void fm__asan_start_switch(void **save, const void *bottom, size_t size)
{
    (void)save, (void)bottom, (void)size;
}
static inline void fm__asan_finish_switch(void *save, const void **bottom, size_t *size)
{
    (void)save, (void)bottom, (void)size;
}
static inline void fm__asan_poison(const void *start, size_t size)
{
    (void)start, (void)size;
}
static inline void fm__asan_unpoison(const void *start, size_t size)
{
    (void)start, (void)size;
}
static inline void fm__lsan_root(const void *start, size_t size)
{
    (void)start, (void)size;
}
static inline void fm__lsan_unroot(const void *start, size_t size)
{
    (void)start, (void)size;
}
#endif

#if FM_TSAN
#include <sanitizer/tsan_interface.h>
#define FM_NO_TSAN __attribute__((no_sanitize("thread")))
#if FM_TSAN_STRICT
void *fm__tsan_create(void);
void fm__tsan_thread_begins(void);
void fm__tsan_thread_ends(void);
#else
static inline void *fm__tsan_create(void)
{
    return __tsan_create_fiber(0);
}
static inline void fm__tsan_thread_begins(void) {}
static inline void fm__tsan_thread_ends(void) {}
#endif
static inline void fm__tsan_destroy(void *fiber)
{
    if (fiber)
        __tsan_destroy_fiber(fiber);
}
static inline void *fm__tsan_current(void)
{
    return __tsan_get_current_fiber();
}
#define FM_TSAN_SWITCH(fiber) \
    __tsan_switch_to_fiber((fiber), FM_TSAN_STRICT ? __tsan_switch_to_fiber_no_sync : 0)
/*
 * The tool takes every clone(2) for a fork; a child that shares our memory is not one. This is
 * the same function under a name that it does not know.
 */
int __clone(int (*body)(void *arg), void *stack, int flags, void *arg, ...);
#define FM_CLONE __clone
#else
#define FM_CLONE clone
#define FM_NO_TSAN
static inline void *fm__tsan_create(void)
{
    return NULL;
}
static inline void fm__tsan_thread_begins(void) {}
static inline void fm__tsan_thread_ends(void) {}
static inline void fm__tsan_destroy(void *fiber)
{
    (void)fiber;
}
static inline void *fm__tsan_current(void)
{
    return NULL;
}
#define FM_TSAN_SWITCH(fiber) ((void)(fiber))
#endif

/*
 * Strict (the option strict_tsan): a switch orders nothing. To ThreadSanitizer each stack, and
 * the worker's own, is then a thread like any other, so that two fibers race on one worker where
 * they would on two. What the thread that runs them orders all the same must be said, as narrowly
 * as it is meant, and in a strict build alone:
 *
 *   FM_THREADS_OWN   a function that touches what belongs to the thread it runs on, or a task that
 *                    is in that thread's hands: its plain accesses are not looked at
 *   give, take       what came before a give of an object comes before what follows a later take
 *     a task         made runnable (a queue's promise); it runs
 *     a descriptor   given back; used again
 *     a stack        left by a fiber that has ended; begun by the next
 *     a worker       its thread begins; whatever runs there
 *     its `home`     left by a task; the thread ends, or is seen at rest
 *   ignore_begin,    what is written in between is nobody's: new memory, the worker's own record
 *   ignore_end
 *   thread_begins,   whoever makes a ThreadSanitizer fiber is ordered before all of its steps; on
 *   thread_ends      such a thread it is made by one that does nothing else (context.c)
 *
 * Other builds see to what is not looked at here: there these functions are ordinary ones, and
 * what stands in the queues is ordered by their atomics alone.
 */
#if FM_TSAN && FM_TSAN_STRICT
#define FM_THREADS_OWN FM_NO_TSAN
static inline void fm__tsan_give(const void *object)
{
    __tsan_release((void *)(uintptr_t)object);
}
static inline void fm__tsan_take(const void *object)
{
    __tsan_acquire((void *)(uintptr_t)object);
}
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
static inline void fm__tsan_ignore_begin(void)
{
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}
static inline void fm__tsan_ignore_end(void)
{
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
}
#else
#define FM_THREADS_OWN
static inline void fm__tsan_give(const void *object)
{
    (void)object;
}
static inline void fm__tsan_take(const void *object)
{
    (void)object;
}
static inline void fm__tsan_ignore_begin(void) {}
static inline void fm__tsan_ignore_end(void) {}
#endif

/*
 * A word that somebody else may be writing, read in a function without instrumentation
 * (FM_NO_TSAN, FM_NO_ASAN) and judged afterwards. acquire: what is read to judge it is read
 * later. ThreadSanitizer follows atomic accesses everywhere, so there it is a plain one.
 */
#if FM_TSAN
#define FM_PEEK(place) (*(volatile __typeof__(*(place)) *)(place))
#else
#define FM_PEEK(place) __atomic_load_n((place), __ATOMIC_ACQUIRE)
#endif

#if defined FM_HAVE_VALGRIND
#include <valgrind/valgrind.h>
#define FM_VALGRIND_STACK_REGISTER(low, high) VALGRIND_STACK_REGISTER(low, high)
#define FM_VALGRIND_STACK_DEREGISTER(id) VALGRIND_STACK_DEREGISTER(id)
#else
#define FM_VALGRIND_STACK_REGISTER(low, high) ((void)(low), (void)(high), 0u)
#define FM_VALGRIND_STACK_DEREGISTER(id) ((void)(id))
#endif

#endif
