/*
 * held.h - a fiber leaves its thread while that holds a pthread mutex
 *
 * Said on stderr, in debug builds, where libfibermap-locks counts mutexes (fm/locks.h).
 */
#ifndef FM_RUNTIME_PLATFORM_HELD_H
#define FM_RUNTIME_PLATFORM_HELD_H

#ifdef NDEBUG
static inline void fm__held_check(void) {}
#else
/* Called by a fiber that is about to be left. */
void fm__held_check(void);
#endif

#endif
