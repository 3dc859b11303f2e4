/*
 * observer.h - who is told of a fiber's end: joiners and observers
 */
#ifndef FM_RUNTIME_FIBER_OBSERVER_H
#define FM_RUNTIME_FIBER_OBSERVER_H
#include <stdatomic.h>
#include <stdint.h>
struct exit_list {
    _Atomic uintptr_t head;
};
#endif
