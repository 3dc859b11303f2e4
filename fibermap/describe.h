/*
 * describe.h - the key of a fiber, for dumps and crash reports
 */
#ifndef FM_FIBERMAP_DESCRIBE_H
#define FM_FIBERMAP_DESCRIBE_H

#include "fibermap/entry.h"
#include "runtime/fiber/fiber.h"

/*
 * The entry of a fiber that was run under a key, in its descriptor: read by dumps at any time,
 * so no plain access.
 */
static inline struct entry *fm__described_entry(struct fm_fiber *fiber)
{
    /* acquire: the entry's key is written */
    return __atomic_load_n(&fiber->owner.words[0], __ATOMIC_ACQUIRE);
}
static inline void fm__described_entry_set(struct fm_fiber *fiber, struct entry *entry)
{
    /* release: the entry's key */
    __atomic_store_n(&fiber->owner.words[0], (void *)entry, __ATOMIC_RELEASE);
}

/* From now on dumps show keys. Again and again, by anybody. */
void fm__describe_start(void);
/* All fibers of a map have ended; when this returns no dump reads its entries any more. */
void fm__describe_wait(void);

/*
 * Printable text for a key: what is not ASCII, and the quote and the backslash, as \xHH; cut at
 * the end with "...".
 */
void fm__key_print(char *buffer, size_t size, const unsigned char *key, size_t length);

#endif
