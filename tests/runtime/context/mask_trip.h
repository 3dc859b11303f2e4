/* SPDX-License-Identifier: Apache-2.0 */
/* mask_trip.h - a switch in a program that is built for processors with AVX-512 */
#ifndef TESTS_RUNTIME_CONTEXT_MASK_TRIP_H
#define TESTS_RUNTIME_CONTEXT_MASK_TRIP_H

#include "runtime/context/context.h"

/* Adds 1 to all that are not 0; which, is found out before the switch. */
void mask_trip(struct context *from, struct context *to, const int32_t in[16],
               int32_t out[16]);
/* Sets the mask registers that compilers take first. */
void mask_spoil(void);

#endif
