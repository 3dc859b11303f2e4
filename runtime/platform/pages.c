/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pages.c - whole pages from the system
 *
 * Owns        nothing: who reserves, releases.
 * Invariant   a call that fails leaves no mapping behind.
 */
#include "runtime/platform/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime/platform/lock.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/sanitizer.h"

/* Linux 6.13; the headers of older systems lack it. */
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

enum { MAPS_DEFAULT = 65530 };

size_t fm__page_bytes(void)
{
    return getauxval(AT_PAGESZ);
}

static char *map(void *where, size_t bytes, int flags)
{
    fm__lock_check_map("a mapping");
    fm__tsan_ignore_begin(); /* what a mapper writes there is none of his */
    void *start = mmap(where, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
    fm__tsan_ignore_end();
    return start == MAP_FAILED ? NULL : start;
}

/* Exactly there, or NULL. A kernel before 4.17 takes the place as a hint only. */
static char *map_at(void *where, size_t bytes)
{
    char *start = map(where, bytes, MAP_FIXED_NOREPLACE);
    if (start && start != where) {
        munmap(start, bytes);
        start = NULL;
    }
    return start;
}

/* Map more than is needed, cut off both ends. */
static char *map_and_cut(size_t bytes, size_t alignment)
{
    size_t room = bytes + alignment;
    char *start = map(NULL, room, 0);
    if (!start)
        return NULL;
    size_t before = -(uintptr_t)start & (alignment - 1);
    if (before)
        munmap(start, before);
    if (room - before - bytes)
        munmap(start + before + bytes, room - before - bytes);
    return start + before;
}

/*
 * Where the address space is limited there may be no room for more: look for a place, take what
 * is aligned in it.
 */
static char *map_below(size_t bytes, size_t alignment)
{
    char *start = map(NULL, bytes, 0);
    if (!start || !((uintptr_t)start & (alignment - 1)))
        return start;
    munmap(start, bytes);
    return map_at((char *)((uintptr_t)start & ~(alignment - 1)), bytes);
}

void *fm__pages_reserve(size_t bytes, size_t alignment, void *hint, const char *name,
                        int *ret_error)
{
    char *start = NULL;

    if (fm__fault(FAULT_MAP)) {
        *ret_error = -ENOMEM;
        return NULL;
    }
    if (hint)
        start = map_at(hint, bytes);
    if (!start)
        start = map_and_cut(bytes, alignment);
    if (!start)
        start = map_below(bytes, alignment);
    if (!start) {
        *ret_error = errno == EEXIST ? -ENOMEM : -errno;
        return NULL;
    }
    /* Both may be unknown to the kernel, and nothing depends on them. */
    madvise(start, bytes, MADV_NOHUGEPAGE);
    prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, start, bytes, name);
    return start;
}

void fm__pages_let_huge(void *start, size_t bytes)
{
    /* May be unknown to the kernel, and nothing depends on it. */
    madvise(start, bytes, MADV_HUGEPAGE);
}

void fm__pages_release(void *start, size_t bytes)
{
    munmap(start, bytes);
}

/*
 * Whether who reads the word faults, without doing so: the kernel is to wait while it is 1, for no
 * time at all, and must read it first.
 */
static bool faults(void *word)
{
    struct timespec no_time = { 0 };
    return syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 1, &no_time, NULL, 0) < 0 &&
           errno == EFAULT;
}

int fm__pages_guard(void *start, size_t bytes)
{
    static atomic_bool believed;

    if (fm__fault(FAULT_PROTECT))
        return -ENOMEM;
    if (madvise(start, bytes, MADV_GUARD_INSTALL) != 0)
        return -errno;
    /* Some take any advice and do nothing: qemu-user. One that has followed it once, always does. */
    if (!atomic_load_explicit(&believed, memory_order_relaxed)) {
        if (!faults(start))
            return -EINVAL;
        /* relaxed: who does not see it asks again */
        atomic_store_explicit(&believed, true, memory_order_relaxed);
    }
    return 0;
}

int fm__pages_protect(void *start, size_t bytes)
{
    if (fm__fault(FAULT_PROTECT))
        return -ENOMEM;
    return mprotect(start, bytes, PROT_NONE) == 0 ? 0 : -errno;
}

int fm__pages_discard(void *start, size_t bytes)
{
    return madvise(start, bytes, MADV_DONTNEED) == 0 ? 0 : -errno;
}

void *fm__pages_lowest_resident(void *start, size_t bytes)
{
    unsigned char resident[64];
    size_t page = fm__page_bytes();

    for (size_t done = 0; done < bytes;) {
        size_t part = bytes - done < page * sizeof resident ? bytes - done
                                                            : page * sizeof resident;
        if (mincore((char *)start + done, part, resident) != 0)
            break;
        for (size_t i = 0; i < part / page; i++) {
            if (resident[i] & 1)
                return (char *)start + done + i * page;
        }
        done += part;
    }
    return (char *)start + bytes;
}

size_t fm__pages_max_maps(void)
{
    char text[32];
    int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return MAPS_DEFAULT;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return MAPS_DEFAULT;
    text[n] = '\0';
    return strtoull(text, NULL, 10);
}
