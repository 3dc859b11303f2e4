/* SPDX-License-Identifier: Apache-2.0 */
/*
 * option_values.c - what stands behind an option: numbers, times, how many jobs at once
 */
#include "tools/batcher/option_values.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tools/batcher/duration.h"

enum { JOBS_MAX = 100000 };

unsigned option_processors(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

unsigned option_number(const char *arg, unsigned least, unsigned most,
                            struct argp_state *state)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(arg, &end, 10);
    if (arg[0] < '0' || arg[0] > '9' || *end || errno || value < least || value > most)
        argp_error(state, "%s is not a number from %u to %u", arg, least, most);
    return (unsigned)value;
}

unsigned option_jobs(const char *arg, struct argp_state *state)
{
    unsigned cores = option_processors();
    size_t len = strlen(arg);
    if (arg[0] == '+')
        return cores + option_number(arg + 1, 0, JOBS_MAX - cores, state);
    if (arg[0] == '-') {
        unsigned less = option_number(arg + 1, 0, JOBS_MAX, state);
        return less < cores ? cores - less : 1;
    }
    if (len > 1 && len < 12 && arg[len - 1] == '%') {
        char digits[12];
        memcpy(digits, arg, len - 1);
        digits[len - 1] = '\0';
        unsigned jobs = cores * option_number(digits, 1, 10000, state) / 100;
        return jobs ? jobs : 1;
    }
    unsigned jobs = option_number(arg, 0, JOBS_MAX, state);
    return jobs ? jobs : 1024; /* 0: as many as possible */
}

int64_t option_duration(const char *arg, struct argp_state *state)
{
    int64_t ns = 0;
    if (duration_read(arg, &ns) < 0)
        argp_error(state, "%s is not a time such as 30, 1.5, 500ms, 1m30s or 2h", arg);
    return ns;
}
