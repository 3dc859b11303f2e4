/*
 * redirect.h - included ahead of each room of libfibermap-explore
 *
 * Puts a point before every atomic operation, and sends what the rooms ask of the system
 * (threads, clock, epoll) to platform.c, which asks the arbiter. The rooms are compiled
 * unchanged; a room that is written tomorrow has its points too.
 *
 * A point is before the operation: between two points of a thread stand one ordered operation,
 * the relaxed ones that follow it, and plain code. Relaxed loads and stores are points only in
 * a fine exploration (FM_EXPLORE_FINE): mostly they precede a compare-and-swap, which decides.
 */
#ifndef FM_RUNTIME_EXPLORE_REDIRECT_H
#define FM_RUNTIME_EXPLORE_REDIRECT_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime/explore/platform.h"
#include "runtime/explore/point.h"

#define FM_POINT(what_, object_, relaxed_) \
    do { \
        static const struct turn_point point_ = { .what = (what_), \
                                                  .object = (object_), \
                                                  .function = __func__, \
                                                  .file = __FILE__, \
                                                  .line = __LINE__, \
                                                  .relaxed = (relaxed_) }; \
        fm__turn(&point_); \
    } while (0)
#define FM_AT_POINT(what, object, relaxed, operation) \
    __extension__({ \
        FM_POINT(what, object, relaxed); \
        operation; \
    })
#define FM_IS_RELAXED(order) ((order) == memory_order_relaxed)

#if defined __clang__
#define FM_RAW(name) __c11_atomic_##name
#define FM_RAW_CAS(p, e, d, weak, s, f) __c11_atomic_compare_exchange_##weak(p, e, d, s, f)
#else
#define FM_RAW(name) FM_RAW_##name
#define FM_RAW_load __atomic_load_n
#define FM_RAW_store __atomic_store_n
#define FM_RAW_exchange __atomic_exchange_n
#define FM_RAW_fetch_add __atomic_fetch_add
#define FM_RAW_fetch_sub __atomic_fetch_sub
#define FM_RAW_fetch_or __atomic_fetch_or
#define FM_RAW_fetch_and __atomic_fetch_and
#define FM_RAW_CAS(p, e, d, weak, s, f) __atomic_compare_exchange_n(p, e, d, FM_IS_##weak, s, f)
#define FM_IS_weak 1
#define FM_IS_strong 0
#endif

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and_explicit

#define atomic_load_explicit(p, order) \
    FM_AT_POINT("load", #p, FM_IS_RELAXED(order), FM_RAW(load)(p, order))
#define atomic_store_explicit(p, value, order) \
    FM_AT_POINT("store", #p, FM_IS_RELAXED(order), FM_RAW(store)(p, value, order))
#define atomic_exchange_explicit(p, value, order) \
    FM_AT_POINT("exchange", #p, 0, FM_RAW(exchange)(p, value, order))
#define atomic_compare_exchange_strong_explicit(p, expected, desired, success, failure) \
    FM_AT_POINT("compare-and-swap", #p, 0, \
                FM_RAW_CAS(p, expected, desired, strong, success, failure))
#define atomic_compare_exchange_weak_explicit(p, expected, desired, success, failure) \
    FM_AT_POINT("compare-and-swap", #p, 0, \
                FM_RAW_CAS(p, expected, desired, weak, success, failure))
#define atomic_fetch_add_explicit(p, n, order) \
    FM_AT_POINT("add", #p, 0, FM_RAW(fetch_add)(p, n, order))
#define atomic_fetch_sub_explicit(p, n, order) \
    FM_AT_POINT("subtract", #p, 0, FM_RAW(fetch_sub)(p, n, order))
#define atomic_fetch_or_explicit(p, bits, order) \
    FM_AT_POINT("or", #p, 0, FM_RAW(fetch_or)(p, bits, order))
#define atomic_fetch_and_explicit(p, bits, order) \
    FM_AT_POINT("and", #p, 0, FM_RAW(fetch_and)(p, bits, order))

#define pthread_create(thread, attributes, fn, arg) \
    fm__turn_thread_create(thread, attributes, fn, arg)
#define pthread_join(thread, ret_value) fm__turn_thread_join(thread, ret_value)
#define pthread_self() fm__turn_thread_self()
#define pthread_setname_np(thread, name) fm__turn_thread_name(thread, name)
#define pthread_key_create(ret_key, destroy) fm__turn_key_create(ret_key, destroy)
#define pthread_setspecific(key, value) fm__turn_key_set(key, value)
#define clock_gettime(clock, ret_time) fm__turn_clock(clock, ret_time)
/* As many arguments as any call has: what is read of them must have been passed. */
#define syscall(...) fm__turn_syscall(__VA_ARGS__, 0L, 0L, 0L, 0L, 0L, 0L)
#define write(fd, bytes, size) fm__turn_write(fd, bytes, size)
#define sched_getaffinity(pid, bytes, ret_set) fm__turn_affinity(pid, bytes, ret_set)

#endif
