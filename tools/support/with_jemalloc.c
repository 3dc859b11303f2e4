/* SPDX-License-Identifier: Apache-2.0 */
/*
 * with_jemalloc.c - makes a program's malloc jemalloc's
 *
 * Part of programs (tools, benchmarks, examples), never of the library: the program decides
 * which allocator the process has, the library only finds it there. The linker drops a library
 * to which nothing refers (--as-needed), and malloc alone counts for nothing where libc offers
 * it as well; hence one real reference to a name that only jemalloc has.
 */
#include <jemalloc/jemalloc.h>

typedef int mallctl_fn(const char *, void *, size_t *, void *, size_t);
extern mallctl_fn *const volatile program_uses_jemalloc;
mallctl_fn *const volatile program_uses_jemalloc = mallctl;

/* read by jemalloc at start; MALLOC_CONF in the environment goes over it */
const char *malloc_conf = "background_thread:true,metadata_thp:auto";
