/*
 * dump.h - fibers told in words: dumps, overflow reports, the last line of a broken invariant
 */
#ifndef FM_RUNTIME_DUMP_H
#define FM_RUNTIME_DUMP_H

#include "runtime/fiber/fiber.h"

/*
 * What follows the word fiber: "42 \"name\" key \"user-1\" spawned at 0x...", of a stack's
 * owner; async-signal-safe.
 */
void fm__describe_owner(void *owner, char *buffer, size_t size);
/* "fiber 42 ..." of the fiber that the calling thread runs; "" if none. */
void fm__describe_running(char *buffer, unsigned size);
/* Its key as dumps show it, "" if it has none. */
void fm__describe_key(struct fm_fiber *fiber, char *buffer, size_t size);

#endif
