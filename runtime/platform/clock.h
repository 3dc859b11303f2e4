/*
 * clock.h - the monotonic clock, in nanoseconds
 */
#ifndef FM_RUNTIME_PLATFORM_CLOCK_H
#define FM_RUNTIME_PLATFORM_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t fm__clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* now + n, kept between the ends of the scale; what would pass FM_NEVER is FM_NEVER. */
static inline int64_t fm__time_add(int64_t now, int64_t n)
{
    int64_t sum;
    if (__builtin_add_overflow(now, n, &sum))
        return n < 0 ? INT64_MIN : INT64_MAX;
    return sum;
}

#endif
