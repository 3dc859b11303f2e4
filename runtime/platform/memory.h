/*
 * memory.h - every allocation and the system calls that may be refused go through here
 *
 * So that a test can make the nth one of a kind fail, once or from there on, and see that each
 * error path is clean. The check costs one relaxed load of a word that nobody writes.
 */
#ifndef FM_RUNTIME_PLATFORM_MEMORY_H
#define FM_RUNTIME_PLATFORM_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault_kind {
    FAULT_MALLOC,  /* malloc, calloc, realloc, aligned_alloc */
    FAULT_MAP,     /* mmap */
    FAULT_PROTECT, /* mprotect, madvise of a guard */
    FAULT_THREAD,  /* pthread_create */
    FAULT_FD,      /* epoll_create, eventfd, socket, accept, pipe, signalfd, open */
    FAULT_EPOLL,   /* epoll_ctl */
    FAULT_PROCESS, /* clone of a child process */
    FAULT_CLOSE,   /* in a child: close_range, then the list in its place */
    FAULT_KINDS,
};

extern _Atomic uint32_t fm__faults_armed;

/*
 * From now on the calls of this kind are counted from 1; the nth fails, and all after it if
 * `for_ever`. n = 0 disarms. Tests only. Since then, fm__fault_hits: how many calls have been
 * made to fail; fm__fault_seen: how many have been made, while armed.
 */
void fm__fault_set(enum fault_kind kind, uint64_t n, bool for_ever);
uint64_t fm__fault_hits(enum fault_kind kind);
uint64_t fm__fault_seen(enum fault_kind kind);
bool fm__fault_slow(enum fault_kind kind);

static inline bool fm__fault(enum fault_kind kind)
{
    /* relaxed: a test arms before it starts what it watches */
    return __builtin_expect(atomic_load_explicit(&fm__faults_armed, memory_order_relaxed) != 0,
                            0) &&
           fm__fault_slow(kind);
}

/* As their namesakes; NULL when there is no memory. Freed with free(). */
void *fm__malloc(size_t size) __attribute__((malloc, alloc_size(1)));
void *fm__calloc(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2)));
void *fm__realloc(void *memory, size_t size) __attribute__((alloc_size(2)));
/* Aligned to a power of two, zeroed. */
void *fm__zalloc_aligned(size_t alignment, size_t size) __attribute__((malloc));

#endif
