/*
 * seen.c - which traces there have been: a set of hashes
 */
#include "runtime/explore/seen.h"

#include <stdbool.h>
#include <stdlib.h>

#include "runtime/platform/check.h"

/* Where it stands, or would. */
static size_t place_of(const uint64_t *traces, size_t room, uint64_t trace)
{
    FM_ASSERT(room && (room & (room - 1)) == 0);
    size_t at = trace & (room - 1);
    while (traces[at] && traces[at] != trace)
        at = (at + 1) & (room - 1);
    return at;
}

static bool grow(struct seen *seen)
{
    size_t room = seen->room ? 2 * seen->room : 1024;
    uint64_t *traces = calloc(room, sizeof *traces);
    if (!traces)
        return false;
    for (size_t i = 0; i < seen->room; i++)
        if (seen->traces[i])
            traces[place_of(traces, room, seen->traces[i])] = seen->traces[i];
    free(seen->traces);
    seen->traces = traces;
    seen->room = room;
    return true;
}

void fm__seen_add(struct seen *seen, uint64_t trace)
{
    trace |= 1; /* not 0 */
    if (seen->count * 2 >= seen->room && !grow(seen))
        return;
    size_t at = place_of(seen->traces, seen->room, trace);
    FM_ASSERT(at < seen->room);
    seen->count += !seen->traces[at];
    seen->traces[at] = trace;
}

void fm__seen_fini(struct seen *seen)
{
    free(seen->traces);
}
