/*
 * sample.h - where the task that a worker is running has got to
 *
 * A running task's registers are its thread's alone. So the thread is sent a real-time signal,
 * whose handler walks the stack that it has interrupted and leaves the addresses in the
 * worker's record. A thread that is blocked in a system call is not disturbed: its call would
 * come back with EINTR; the kernel says where its stack is.
 */
#ifndef FM_RUNTIME_SCHED_SAMPLE_H
#define FM_RUNTIME_SCHED_SAMPLE_H

#include <stdatomic.h>

#include "runtime/context/backtrace.h"
#include "runtime/sched/sched.h"

/*
 * Who draws the arrows:
 *
 *     IDLE ---- asker ----> WANTED ---- handler ----> TAKING ---- handler ----> TAKEN
 *      ^ ^                    |                         |                        |
 *      | '--- asker, late ----'                         | asker, late            |
 *      |                                                v                        |
 *      |<------------------ handler ---------------- DROPPED                     |
 *      '-------------------------- asker, has read ------------------------------'
 */
enum sample_state { SAMPLE_IDLE, SAMPLE_WANTED, SAMPLE_TAKING, SAMPLE_TAKEN, SAMPLE_DROPPED };

struct sample {
    _Atomic uint32_t state; /* enum sample_state; futex of the asker */
    const void *owner;      /* of the stack that was interrupted */
    struct backtrace backtrace;
};

/*
 * Once a process: take the signal `wanted`, or for 0 a real-time signal that nobody has. The
 * handler stays for the life of the process. Negative: there shall be no samples. 0 · -EINVAL
 * not a real-time signal · -EBUSY somebody has it, or all are taken
 */
int fm__sample_init(int wanted);
/* The calling thread is a worker's: let the signal through, whatever its maker blocked. */
void fm__sample_attach(void);

/*
 * The calls that `task`, which worker `index` is running, is in. The worker goes on. Waits at
 * most some milliseconds. From the task itself: its own. 0 · -ESRCH it runs no longer ·
 * -ETIMEDOUT its thread did not get a processor · -EBUSY somebody else is asking · -ENOTSUP
 */
int fm__sample_task(struct sched *sched, uint32_t index, const struct task *task,
                    struct backtrace *ret_backtrace);

#endif
