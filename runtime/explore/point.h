/*
 * point.h - a place in the code where another thread may go on instead
 */
#ifndef FM_RUNTIME_EXPLORE_POINT_H
#define FM_RUNTIME_EXPLORE_POINT_H

#include <stdbool.h>

/* Constant, one for each place. */
struct turn_point {
    const char *what;     /* "load", "compare-and-swap" ... */
    const char *object;   /* "&fiber->state"; NULL: none */
    const char *function; /* NULL: a point of the test's own */
    const char *file;
    int line;
    bool relaxed;
};

/*
 * The calling thread is about to do this. Returns when it is its turn; at once if it takes
 * none.
 */
void fm__turn(const struct turn_point *point);

#endif
