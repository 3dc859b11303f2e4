/*
 * slot.h - where stacks come from: address space, guards, records
 *
 * Below the pools of stack.c, and for them alone: what everybody else may ask of a stack stands
 * in stack.h, also where slot.c answers it.
 */
#ifndef FM_RUNTIME_CONTEXT_SLOT_H
#define FM_RUNTIME_CONTEXT_SLOT_H

#include <stdint.h>

#include "runtime/context/stack.h"

/*
 * A stack that nobody has: guarded as well as can be, its record written. NULL with *ret_error
 * set when there is no memory. Any thread; a short lock, a system call for the guard, a page
 * fault.
 */
struct stack *fm__slot_carve(int stack_class, int *ret_error);

/*
 * The reverse for a chain of stacks of one class that nobody uses: their memory goes, records
 * and all; their guards stay. Returns how many they were.
 */
uint32_t fm__slot_raze(struct stack *chain);

/*
 * Address space in windows of this class, and the stacks with a record: carved and not razed.
 */
void fm__slot_count(int stack_class, uint64_t *ret_mapped_bytes, uint64_t *ret_carved);

#endif
