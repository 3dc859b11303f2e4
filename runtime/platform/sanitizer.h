/*
 * sanitizer.h - tells the sanitizers and Valgrind what a stack switch is
 *
 * The only place that knows which of them is in the build. Elsewhere the calls are there in
 * every build and cost nothing without one.
 *
 * ThreadSanitizer's identity changes at the annotation, not at the jump: nothing instrumented
 * may stand between FM_TSAN_SWITCH and the jump. One TSan fiber goes with each stack, not with
 * each descriptor: fibers that follow one another on a stack are ordered anyway, and the tool's
 * records are large.
 */
#ifndef FM_RUNTIME_PLATFORM_SANITIZER_H
#define FM_RUNTIME_PLATFORM_SANITIZER_H

#include <stddef.h>

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
static inline void *fm__tsan_create(void)
{
    return __tsan_create_fiber(0);
}
static inline void fm__tsan_destroy(void *fiber)
{
    if (fiber)
        __tsan_destroy_fiber(fiber);
}
static inline void *fm__tsan_current(void)
{
    return __tsan_get_current_fiber();
}
#define FM_TSAN_SWITCH(fiber) __tsan_switch_to_fiber((fiber), 0)
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
