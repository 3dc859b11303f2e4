/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys.c - the string keys of the keyed benchmarks
 */
#include "benchmarks/support/keys.h"

#include "benchmarks/support/bench.h"

struct bench_names bench_names_make(uint64_t count)
{
    static const char *const stems[] = { "j-", "job-", "user-", "session-", "connection-" };
    struct bench_names names = { malloc(count * BENCH_KEY_BYTES),
                                 malloc(count * sizeof(struct fm_key)) };
    BENCH_CHECK(names.text && names.keys, "no memory");
    for (uint64_t i = 0; i < count; i++) {
        snprintf(names.text[i], BENCH_KEY_BYTES, "%s%07u", stems[i % 5], (unsigned)i);
        names.keys[i] = fm_key_str(names.text[i]);
    }
    return names;
}

void bench_names_free(struct bench_names *names)
{
    free(names->text);
    free(names->keys);
}
