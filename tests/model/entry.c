/*
 * entry.c - what the compiler calls: accesses of instrumented code
 *
 * With -fsanitize=thread gcc and clang turn each atomic operation into a call that carries its
 * order, and put a call before each plain access to memory that may be shared. These are the
 * functions of that interface that C code needs; what is missing here fails to link.
 */
#include <stddef.h>
#include <stdint.h>

#include "tests/model/checker.h"

#define HERE() (search_where = __builtin_return_address(0))

void __tsan_init(void);
void __tsan_init(void) {}

void __tsan_func_entry(void *caller);
void __tsan_func_entry(void *caller)
{
    (void)caller;
}

void __tsan_func_exit(void);
void __tsan_func_exit(void) {}

#define PLAIN(name, size, write) \
    void __tsan_##name(void *address); \
    void __tsan_##name(void *address) \
    { \
        HERE(); \
        shadow_plain(address, size, write); \
    }
#define PLAIN_SIZE(size) \
    PLAIN(read##size, size, false) \
    PLAIN(write##size, size, true) \
    PLAIN(volatile_read##size, size, false) \
    PLAIN(volatile_write##size, size, true)
#define PLAIN_UNALIGNED(size) \
    PLAIN(unaligned_read##size, size, false) \
    PLAIN(unaligned_write##size, size, true) \
    PLAIN(unaligned_volatile_read##size, size, false) \
    PLAIN(unaligned_volatile_write##size, size, true)

PLAIN_SIZE(1)
PLAIN_SIZE(2)
PLAIN_SIZE(4)
PLAIN_SIZE(8)
PLAIN_SIZE(16)
PLAIN_UNALIGNED(2)
PLAIN_UNALIGNED(4)
PLAIN_UNALIGNED(8)
PLAIN_UNALIGNED(16)

void __tsan_read_range(void *address, size_t size);
void __tsan_read_range(void *address, size_t size)
{
    HERE();
    shadow_plain(address, size, false);
}

void __tsan_write_range(void *address, size_t size);
void __tsan_write_range(void *address, size_t size)
{
    HERE();
    shadow_plain(address, size, true);
}

#define FETCH(bits, name, op) \
    uint##bits##_t __tsan_atomic##bits##_##name(void *address, uint##bits##_t v, int order); \
    uint##bits##_t __tsan_atomic##bits##_##name(void *address, uint##bits##_t v, int order) \
    { \
        HERE(); \
        return (uint##bits##_t)memory_rmw(address, bits / 8, op, v, order); \
    }
#define CAS(bits, name, weak) \
    int __tsan_atomic##bits##_##name(void *address, uint##bits##_t *expected, \
                                     uint##bits##_t desired, int order, int failure_order); \
    int __tsan_atomic##bits##_##name(void *address, uint##bits##_t *expected, \
                                     uint##bits##_t desired, int order, int failure_order) \
    { \
        HERE(); \
        uint64_t e = *expected; \
        bool done = memory_cas(address, bits / 8, &e, desired, weak, order, failure_order); \
        *expected = (uint##bits##_t)e; \
        return done; \
    }
#define ATOMIC(bits) \
    uint##bits##_t __tsan_atomic##bits##_load(void *address, int order); \
    uint##bits##_t __tsan_atomic##bits##_load(void *address, int order) \
    { \
        HERE(); \
        return (uint##bits##_t)memory_load(address, bits / 8, order); \
    } \
    void __tsan_atomic##bits##_store(void *address, uint##bits##_t v, int order); \
    void __tsan_atomic##bits##_store(void *address, uint##bits##_t v, int order) \
    { \
        HERE(); \
        memory_store(address, bits / 8, v, order); \
    } \
    FETCH(bits, exchange, RMW_SET) \
    FETCH(bits, fetch_add, RMW_ADD) \
    FETCH(bits, fetch_sub, RMW_SUB) \
    FETCH(bits, fetch_and, RMW_AND) \
    FETCH(bits, fetch_or, RMW_OR) \
    FETCH(bits, fetch_xor, RMW_XOR) \
    FETCH(bits, fetch_nand, RMW_NAND) \
    CAS(bits, compare_exchange_strong, false) \
    CAS(bits, compare_exchange_weak, true) \
    uint##bits##_t __tsan_atomic##bits##_compare_exchange_val(void *address, \
                                                              uint##bits##_t expected, \
                                                              uint##bits##_t desired, \
                                                              int order, int failure_order); \
    uint##bits##_t __tsan_atomic##bits##_compare_exchange_val(void *address, \
                                                              uint##bits##_t expected, \
                                                              uint##bits##_t desired, \
                                                              int order, int failure_order) \
    { \
        HERE(); \
        uint64_t e = expected; \
        memory_cas(address, bits / 8, &e, desired, false, order, failure_order); \
        return (uint##bits##_t)e; \
    }

ATOMIC(8)
ATOMIC(16)
ATOMIC(32)
ATOMIC(64)

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order)
{
    HERE();
    memory_fence(order);
}

/* Orders a thread against its own signal handlers; there are none. */
void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_signal_fence(int order)
{
    (void)order;
}
