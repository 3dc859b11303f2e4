/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pages.h - whole pages from the system: reserve, guard, give back
 *
 * Sizes and addresses are multiples of the page. Results: 0 · -errno as the kernel gave it.
 * Tests make these calls fail through memory.h: FAULT_MAP reservations, FAULT_PROTECT guards.
 */
#ifndef FM_RUNTIME_PLATFORM_PAGES_H
#define FM_RUNTIME_PLATFORM_PAGES_H

#include <stddef.h>
#include <stdint.h>

size_t fm__page_bytes(void);

/*
 * Readable, writable, private memory that is charged page by page when touched: no reserve, no
 * huge pages. Lies at a multiple of `alignment` (a power of two); at `hint` if that place is
 * free (NULL: anywhere). `name` (a literal) shows in /proc/self/maps where the kernel can. NULL
 * with *ret_error set when the system refuses.
 */
void *fm__pages_reserve(size_t bytes, size_t alignment, void *hint, const char *name,
                        int *ret_error);
void fm__pages_release(void *start, size_t bytes);
/* Let huge pages be used here, where the system has them. */
void fm__pages_let_huge(void *start, size_t bytes);

/*
 * MADV_GUARD_INSTALL: any access faults from now on; what was there is gone. Splits no mapping.
 * -EINVAL too if the system takes the advice and does not follow it.
 */
int fm__pages_guard(void *start, size_t bytes);
/* The same by mprotect(PROT_NONE), which makes up to two mappings more. */
int fm__pages_protect(void *start, size_t bytes);
/* Give the memory back; the addresses read as zero afterwards. Guards of both kinds stay. */
int fm__pages_discard(void *start, size_t bytes);

/*
 * The lowest resident page of [start, start + bytes), or its end if none is. Pages of memory
 * locked by mlock() are all resident; swapped pages do not count.
 */
void *fm__pages_lowest_resident(void *start, size_t bytes);

/*
 * How many mappings the process may have (vm.max_map_count); the kernel's default if nobody
 * tells.
 */
size_t fm__pages_max_maps(void);

#endif
