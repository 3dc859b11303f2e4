/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slots.h - so many attempts at once, each with a number
 */
#ifndef BATCH_SLOTS_H
#define BATCH_SLOTS_H

#include <stdbool.h>

struct slots;

/* 0 · -ENOMEM */
int slots_create(unsigned count, struct slots **ret_slots);
/* Nobody holds one. NULL-safe, returns NULL. */
struct slots *slots_destroy(struct slots *slots);
/* Wait for a free one, in turn; the lowest number, from 1. 0 · -ECANCELED */
int slots_take(struct slots *slots, unsigned *ret_slot);
/* The same without waiting. 0 · -EAGAIN none is free: who gives one back next will be told */
int slots_try(struct slots *slots, unsigned *ret_slot);
/* true: somebody has tried to take one, and should hear of it. */
bool slots_give(struct slots *slots, unsigned slot);

#endif
