/*
 * seeded.c - a runtime that takes turns in the process that made it
 *
 * FM_RUNTIME_SEEDED: no children and no search; a schedule that cannot go on stops the program.
 */
#include "runtime/explore/seeded.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/explore/arbiter.h"
#include "runtime/explore/trace.h"
#include "runtime/platform/turn.h"

static struct arbiter_log told;
static unsigned long long seed_told;
static struct plan spelled; /* of the next runtime, if it has a limit */

static void cannot_go_on(void)
{
    dprintf(STDERR_FILENO,
            "fibermap: the runtime of seed 0x%llx cannot go on: %s after %llu steps\n",
            seed_told, told.outcome == OUTCOME_DEADLOCK ? "deadlock" : "step limit",
            (unsigned long long)told.steps);
    fm__trace_seats(&told, STDERR_FILENO);
    abort();
}

void fm__seeded_spell(const uint8_t *bytes, size_t count, uint64_t step_limit)
{
    spelled = (struct plan) {
        .kind = PLAN_SPELLED, .spelled = bytes, .spelled_count = count, .step_limit = step_limit
    };
}

int fm__turn_begin(uint64_t seed)
{
    seed_told = seed;
    struct plan plan = { .kind = PLAN_RANDOM, .seed = seed, .step_limit = UINT64_MAX };
    if (spelled.step_limit)
        plan = spelled;
    spelled.step_limit = 0;
    return fm__arbiter_begin(&plan, &told, cannot_go_on);
}

void fm__turn_end(void)
{
    fm__arbiter_end();
}
