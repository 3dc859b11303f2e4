/*
 * spin.h - wait a moment for another thread that is a few instructions away
 *
 *     for (unsigned spins = 0; !done(); spins++)
 *         fm__spin(spins);
 *
 * Pauses the processor at first, then gives the time slice away: the other may have been
 * preempted.
 */
#ifndef FM_RUNTIME_PLATFORM_SPIN_H
#define FM_RUNTIME_PLATFORM_SPIN_H

void fm__spin(unsigned spins);

#endif
