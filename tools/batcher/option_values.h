/* SPDX-License-Identifier: Apache-2.0 */
/*
 * option_values.h - what stands behind an option: numbers, times, how many jobs at once
 *
 * What is wrong ends the program with a message.
 */
#ifndef BATCH_OPTION_VALUES_H
#define BATCH_OPTION_VALUES_H

#include <argp.h>
#include <stdint.h>

unsigned option_processors(void);
/* A whole number from least to most. */
unsigned option_number(const char *arg, unsigned least, unsigned most,
                       struct argp_state *state);
/* "4", "+1", "-1", "50%", and 0 for as many as can be. */
unsigned option_jobs(const char *arg, struct argp_state *state);
/* Nanoseconds. */
int64_t option_duration(const char *arg, struct argp_state *state);

#endif
