/*
 * turn.h - who goes on, in the builds where an arbiter decides that
 *
 * libfibermap-explore is made from the same rooms, compiled with FM_EXPLORE and
 * runtime/explore/redirect.h: there each atomic operation is preceded by fm__turn(). Rooms name
 * this header where they must know of it: what spins, what counts on real time, what would
 * depend on an address. In libfibermap everything here is a constant.
 */
#ifndef FM_RUNTIME_PLATFORM_TURN_H
#define FM_RUNTIME_PLATFORM_TURN_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef FM_EXPLORE

/* Whether the calling thread takes turns. */
bool fm__turn_taken(void);
/* The calling thread's place among those that do; 0 else. */
unsigned fm__turn_seat(void);
/* The caller waits for what another will do: let others go on first. */
void fm__turn_give(void);
/*
 * The calling thread, and those it makes from now on, take turns at random from this seed.
 * 0 · -EBUSY: somebody does already.
 */
int fm__turn_begin(uint64_t seed);
/* All other threads that took turns have been joined. */
void fm__turn_end(void);

#else

static inline bool fm__turn_taken(void)
{
    return false;
}
static inline unsigned fm__turn_seat(void)
{
    return 0;
}
static inline void fm__turn_give(void) {}
static inline int fm__turn_begin(uint64_t seed)
{
    (void)seed;
    return -ENOTSUP;
}
static inline void fm__turn_end(void) {}

#endif
#endif
