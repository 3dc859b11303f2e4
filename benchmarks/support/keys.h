/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys.h - the string keys of the keyed benchmarks, made beforehand
 */
#ifndef BENCHMARKS_SUPPORT_KEYS_H
#define BENCHMARKS_SUPPORT_KEYS_H

#include <fm/fm.h>

enum { BENCH_KEY_BYTES = 24 };

struct bench_names {
    char (*text)[BENCH_KEY_BYTES];
    struct fm_key *keys;
};

/* "job-0000001" ...: 8 to 20 bytes, no two alike. */
struct bench_names bench_names_make(uint64_t count);
void bench_names_free(struct bench_names *names);

#endif
