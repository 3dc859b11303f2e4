/*
 * check.h - broken invariants stop the program
 *
 * FM_BUG      stays in every build: prints where, what and the fiber that was running, then
 *             aborts.
 * FM_ASSERT   the same in debug builds (NDEBUG off), nothing in a release.
 */
#ifndef FM_RUNTIME_PLATFORM_CHECK_H
#define FM_RUNTIME_PLATFORM_CHECK_H

#include <stdint.h>

/*
 * Who is running, for the message: the fiber layer hands this down at start. Writes at most
 * `size` bytes with the final NUL. NULL: nobody knows.
 */
typedef void fm__describe_fn(char *buffer, unsigned size);
void fm__check_set_describe(fm__describe_fn *describe);

_Noreturn void fm__bug(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));

/* Says on stderr what the program does that is likely to end badly, and who is running. */
void fm__warn(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

#define FM_BUG(...) fm__bug(__FILE__, __LINE__, __VA_ARGS__)
#define FM_BUG_IF(condition, ...) \
    do { \
        if (__builtin_expect(!!(condition), 0)) \
            FM_BUG(__VA_ARGS__); \
    } while (0)

#ifdef NDEBUG
#define FM_ASSERT(condition) ((void)sizeof(condition))
#else
#define FM_ASSERT(condition) \
    do { \
        if (__builtin_expect(!(condition), 0)) \
            FM_BUG("%s", #condition); \
    } while (0)
#endif

#endif
