/*
 * spin.c - see spin.h
 */
#include "runtime/platform/spin.h"

#include <sched.h>

#include "runtime/platform/atomic.h"

enum { PAUSES = 40 };

void fm__spin(unsigned spins)
{
    if (spins < PAUSES)
        fm__cpu_relax();
    else
        sched_yield();
}
