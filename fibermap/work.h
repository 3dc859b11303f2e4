/*
 * work.h - what a fiber of the map does, and how rooms of the map wrap it
 *
 * A room that has something to do before or around a body puts its own in its place, with the
 * body as its argument. Whoever takes the argument out of a wrap owns it.
 */
#ifndef FM_FIBERMAP_WORK_H
#define FM_FIBERMAP_WORK_H

#include "fm/fiber.h"

struct work {
    fm_entry_fn *entry;
    void *arg;
    fm_drop_fn *drop; /* of arg, if entry is never called; NULL: none */
};

static inline void fm__work_drop(const struct work *work)
{
    if (work->drop)
        work->drop(work->arg);
}

#endif
