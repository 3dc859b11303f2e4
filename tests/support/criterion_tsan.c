/* SPDX-License-Identifier: Apache-2.0 */
/*
 * criterion_tsan.c - lets Criterion start under ThreadSanitizer
 *
 * BoxFort, under Criterion, maps its arena at a fixed address that it draws with rand_r(). The
 * sanitizer allows such mappings only in a few ranges, and Criterion gives up ("could not initialize
 * inheritable arena"). This rand_r() steers the draw into 0x550000000000 to 0x554000000000, which is
 * allowed. Linked into test programs of thread-sanitizer builds, nowhere else.
 */
#include <stdlib.h>

int rand_r(unsigned int *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return (int)(0x350000u + ((*seed >> 8) % 0x4000u));
}
