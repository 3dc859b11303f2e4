/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rlimits.c - what a job's processes may take of the system, each: setrlimit(2)
 */
#include "tools/batcher/rlimits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const struct {
    const char *name;
    int resource;
} table[LIMITS] = {
    { "cpu", RLIMIT_CPU },     { "as", RLIMIT_AS },       { "nofile", RLIMIT_NOFILE },
    { "nproc", RLIMIT_NPROC }, { "fsize", RLIMIT_FSIZE }, { "core", RLIMIT_CORE },
};

static int set(struct limits *limits, const char *name, size_t len, int64_t value)
{
    for (unsigned i = 0; i < LIMITS; i++) {
        if (strlen(table[i].name) != len || memcmp(table[i].name, name, len))
            continue;
        if (value < 0)
            return -EINVAL;
        limits->said[i] = true;
        limits->value[i] = value;
        return 0;
    }
    return -EINVAL;
}

int limits_set(struct limits *limits, const char *name, int64_t value)
{
    return set(limits, name, strlen(name), value);
}

int limits_read(struct limits *limits, const char *text)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals[1] < '0' || equals[1] > '9')
        return -EINVAL;
    char *end;
    errno = 0;
    long long value = strtoll(equals + 1, &end, 10);
    return *end || errno ? -EINVAL : set(limits, text, (size_t)(equals - text), value);
}

unsigned limits_list(const struct limits *limits, const struct limits *otherwise,
                     struct fm_process_limit list[LIMITS])
{
    unsigned count = 0;
    for (unsigned i = 0; i < LIMITS; i++) {
        const struct limits *says = limits && limits->said[i]         ? limits
                                    : otherwise && otherwise->said[i] ? otherwise
                                                                      : NULL;
        if (!says)
            continue;
        uint64_t value = (uint64_t)says->value[i];
        /* Of processor time the soft one is a signal that says why, the hard one SIGKILL. */
        bool warns = table[i].resource == RLIMIT_CPU;
        list[count++] = (struct fm_process_limit) { .resource = table[i].resource,
                                                    .soft = value,
                                                    .hard = value + warns };
    }
    return count;
}
