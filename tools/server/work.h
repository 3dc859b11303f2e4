/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work.h - the kinds of work a job can do
 */
#ifndef SERVER_WORK_H
#define SERVER_WORK_H

#include <json-c/json_object.h>
#include <stdint.h>

#include "fm/base.h"

struct work_kind;

/* Parameters and result of one piece of work: a value, to be copied at will. */
struct work {
    const struct work_kind *kind;
    uint64_t amount; /* sleep: ms · hash: rounds · primes: below · fail: ms before it fails */
    uint64_t count;  /* primes: how many there are */
    int32_t code;    /* fail */
    unsigned char digest[32]; /* hash: of the text, then of the digest before */
};

/*
 * Read kind and parameters from a request's object.
 * Returns    0 · -EINVAL, ret_reason says what is wrong
 */
int work_read(struct work *work, struct json_object *from, const char **ret_reason);
const char *work_kind_name(const struct work *work);

/* How far the work has come, told now and then on the fiber that does it. Must not wait. */
struct progress {
    void (*report)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
};
/* Do it, on the calling fiber; ends early if that is interrupted. */
struct fm_exit work_run(struct work *work, const struct progress *progress);
/* Add the result of a success to an object. */
void work_describe(const struct work *work, struct json_object *to);

#endif
