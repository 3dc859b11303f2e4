/* SPDX-License-Identifier: Apache-2.0 */
/*
 * halt.h - when to give up, or to have enough
 *
 * In GNU parallel's words: never; or soon (nothing more starts) or now (what runs is stopped
 * too), a comma, and fail=, success= or done= with a number of jobs, or of percents of all.
 */
#ifndef BATCH_HALT_H
#define BATCH_HALT_H

#include <stdbool.h>
#include <stdint.h>

enum halting { GO_ON = 0, HALT_SOON = 1, HALT_NOW = 2 }; /* only ever rises */
enum halt_event { HALT_FAIL, HALT_SUCCESS, HALT_DONE };

struct halt {
    enum halting how; /* GO_ON: never */
    enum halt_event event;
    bool percent;
    uint64_t count;
};

/*
 * "now,fail=1", "soon,done=50%", "never" ...; and as GNU parallel once had it: 0 (never), 1 and 2
 * (soon and now, fail=1), -1 and -2 (success=1), "50%" (soon,fail=50%). 0 · -EINVAL
 */
int halt_read(const char *text, struct halt *ret_halt);
/*
 * What is to be done when so many have failed and succeeded, of so many in all; 0: that is not
 * known yet, and percents are not reached.
 */
enum halting halt_reached(const struct halt *halt, uint64_t failed, uint64_t succeeded,
                          uint64_t all);
/*
 * The exit code when it has been reached: of one failure that of its job, of more their number,
 * of percents those that have failed; 0 for success; -1: as without it.
 */
int halt_code(const struct halt *halt, int code_of_job, uint64_t failed, uint64_t all);

#endif
