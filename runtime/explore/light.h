/*
 * light.h - threads of a schedule as coroutines of the one thread that the system knows
 *
 * Threads that take turns never run at the same time, so one can be all of them: to make one
 * costs a stack, to change to another a jump, where the system takes microseconds for either.
 * The thread-locals of the program and of this library are put away and brought back at each
 * change.
 */
#ifndef FM_RUNTIME_EXPLORE_LIGHT_H
#define FM_RUNTIME_EXPLORE_LIGHT_H

#include <pthread.h>
#include <stdbool.h>

/*
 * The calling thread is seat 0 and becomes all others. False: not here. A sanitizer knows threads
 * and not these; a thread-local of libc's own (a program that has libc inside) is not ours to move.
 */
bool fm__light_begin(void);

/* A thread for this seat, whose last one, if there was one, has ended. It runs when it is changed to.
 * `fn` does not return. 0 · EAGAIN */
int fm__light_make(unsigned seat, void (*fn)(void *arg), void *arg);
/* Leave seat `from`, go on in `to`. `ends`: nobody comes back. */
void fm__light_change(unsigned from, unsigned to, bool ends);

/* The name of the seat's thread in the place of a pthread_t, and whether it is one. */
pthread_t fm__light_thread(unsigned seat);
bool fm__light_is(pthread_t thread);

/* As pthread_key_create and pthread_setspecific; the second for the thread of a seat. */
int fm__light_key_create(pthread_key_t *ret_key, void (*destroy)(void *value));
int fm__light_set(unsigned seat, pthread_key_t key, const void *value);
/* At the end of the seat's thread, in it: what pthread_exit does with the values. */
void fm__light_destroy_values(unsigned seat);

#endif
