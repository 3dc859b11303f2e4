/* SPDX-License-Identifier: Apache-2.0 */
/*
 * duration.c - lengths of time as people write them
 */
#include "tools/batcher/duration.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const double most_s = 10.0 * 366 * 86400;

int duration_of_seconds(double seconds, int64_t *ret_ns)
{
    if (!(seconds >= 0))
        return -EINVAL;
    if (seconds > most_s)
        return -ERANGE;
    *ret_ns = (int64_t)(seconds * 1e9);
    return 0;
}

/* The unit that text begins with, in seconds; 0 if there is none. *text moves behind it. */
static double unit_read(const char **text)
{
    static const struct {
        const char *name;
        double seconds;
    } units[] = { { "ms", 1e-3 }, { "s", 1 }, { "m", 60 }, { "h", 3600 }, { "d", 86400 } };
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        size_t len = strlen(units[i].name);
        if (!strncmp(*text, units[i].name, len)) {
            *text += len;
            return units[i].seconds;
        }
    }
    return 0;
}

int duration_read(const char *text, int64_t *ret_ns)
{
    double sum = 0;
    const char *at = text;
    do {
        if ((*at < '0' || *at > '9') && *at != '.')
            return -EINVAL;
        char *end;
        double number = strtod(at, &end);
        bool alone = at == text && !*end;
        if (end == at || memchr(at, 'x', (size_t)(end - at)))
            return -EINVAL;
        at = end;
        double unit = alone ? 1 : unit_read(&at);
        if (unit == 0)
            return -EINVAL;
        sum += number * unit;
    } while (*at);
    return duration_of_seconds(sum, ret_ns);
}
