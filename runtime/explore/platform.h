/*
 * platform.h - the calls that redirect.h puts in the place of the system's
 *
 * Each as its namesake, for a thread without a seat; for others the arbiter has a say.
 */
#ifndef FM_RUNTIME_EXPLORE_PLATFORM_H
#define FM_RUNTIME_EXPLORE_PLATFORM_H

#include <pthread.h>
#include <sched.h>
#include <sys/types.h>
#include <time.h>

int fm__turn_thread_create(pthread_t *thread, const pthread_attr_t *attributes,
                           void *(*fn)(void *), void *arg);
int fm__turn_thread_join(pthread_t thread, void **ret_value);
pthread_t fm__turn_thread_self(void);
int fm__turn_thread_name(pthread_t thread, const char *name);
int fm__turn_key_create(pthread_key_t *ret_key, void (*destroy)(void *value));
int fm__turn_key_set(pthread_key_t key, const void *value);
int fm__turn_clock(clockid_t clock, struct timespec *ret_time);
/* At least six arguments after the number. */
long fm__turn_syscall(long number, ...);
ssize_t fm__turn_write(int fd, const void *bytes, size_t size);
int fm__turn_affinity(pid_t pid, size_t bytes, cpu_set_t *ret_set);

/*
 * The calling thread, and all that come from it, stay on the processor that it is on. One of them
 * runs at a time, and to hand the turn to a thread there costs a switch; elsewhere it costs the
 * waking of a processor, ten times as much. Who asks for the affinity is told what it was before.
 */
void fm__turn_stay(void);

#endif
