/* SPDX-License-Identifier: Apache-2.0 */
/*
 * criterion.c - what stands in for functions that Criterion calls when a test program starts
 *
 * Criterion runs each test in a process of its own, so all of this is paid for with every test.
 * Linked into every Criterion program, once built, and nowhere else.
 */

/*
 * Criterion compares texts with libgit2, which also knows TLS and reads the certificates of all
 * authorities for it: 5 ms of each process, 15 under a sanitizer. None are wanted here. Where
 * libgit2 is built otherwise, or there are no certificates, nobody calls this.
 */
int mbedtls_x509_crt_parse_file(void *chain, const char *path)
{
    (void)chain;
    (void)path;
    return 0;
}

/*
 * BoxFort, under Criterion, maps its arena at a fixed address that it draws with rand_r().
 * ThreadSanitizer allows such mappings only in a few ranges, and Criterion gives up ("could not
 * initialize inheritable arena"). This rand_r() steers the draw into 0x550000000000 to
 * 0x554000000000, which is allowed.
 */
#if defined TEST_THREAD_SANITIZER
#include <stdlib.h>

int rand_r(unsigned int *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return (int)(0x350000u + ((*seed >> 8) % 0x4000u));
}
#endif
