/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.h - a runtime on two workers whose clients do one piece of work after the other
 *
 * A run in a map, a fiber on its own size of stack, a channel, a pair of sockets, a connection,
 * a file on the blocking pool. Pieces are counted; one that fails ends the program, unless it
 * has begun while there were faults, or they came meanwhile.
 */
#ifndef TESTS_FAULTS_LOAD_H
#define TESTS_FAULTS_LOAD_H

#include <stdbool.h>
#include <stdint.h>

/* Begins it; its socket is in this folder. */
void load_begin(const char *folder);
/* Ends it, and sees to it that nobody is left. */
void load_end(void);
/* Says what every fiber does. */
void load_dump(void);

/* Faults come, and are over. */
void load_faults(bool come);
/* From the first faults on one piece in four is not counted. */
void load_limps(void);

/* Pieces that were done, and that were refused something, ever. */
uint64_t load_done(void);
uint64_t load_refused(void);

/* Ends the program where it does not hold. */
void load_expect(bool condition, const char *what);

#endif
