/*
 * seeded.h - a runtime of FM_RUNTIME_SEEDED that takes its turns from bytes, not from a seed
 *
 * For a fuzzer, to whom the schedule is a part of the input.
 */
#ifndef FM_RUNTIME_EXPLORE_SEEDED_H
#define FM_RUNTIME_EXPLORE_SEEDED_H

#include <stddef.h>
#include <stdint.h>

/*
 * Of the next one that is made. The bytes are the caller's and stay until it has gone. Any will
 * do, none too: they say where the schedule is not the plainest one. More steps than
 * step_limit, which is not 0, stop the program, as a deadlock does.
 */
void fm__seeded_spell(const uint8_t *bytes, size_t count, uint64_t step_limit);

#endif
