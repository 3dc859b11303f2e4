/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slots.c - so many attempts at once, each with a number
 */
#include "tools/batcher/slots.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "fm/sync.h"

struct slots {
    struct fm_semaphore *free; /* who has a permit finds a number */
    pthread_mutex_t lock;
    unsigned count;
    bool wanted;  /* lock; somebody has tried to take one */
    bool taken[]; /* lock; [number - 1] */
};

int slots_create(unsigned count, struct slots **ret_slots)
{
    struct slots *slots = calloc(1, sizeof *slots + count * sizeof slots->taken[0]);
    if (!slots)
        return -ENOMEM;
    int r = fm_semaphore_create(count, &slots->free);
    if (r < 0) {
        free(slots);
        return r;
    }
    pthread_mutex_init(&slots->lock, NULL);
    slots->count = count;
    *ret_slots = slots;
    return 0;
}

struct slots *slots_destroy(struct slots *slots)
{
    if (!slots)
        return NULL;
    fm_semaphore_destroy(slots->free);
    pthread_mutex_destroy(&slots->lock);
    free(slots);
    return NULL;
}

/* There is one: its permit has been acquired. */
static unsigned take_number(struct slots *slots)
{
    pthread_mutex_lock(&slots->lock);
    unsigned i = 0;
    while (slots->taken[i])
        i++;
    slots->taken[i] = true;
    pthread_mutex_unlock(&slots->lock);
    return i + 1;
}

int slots_take(struct slots *slots, unsigned *ret_slot)
{
    int r = fm_semaphore_acquire(slots->free, 1, FM_NEVER);
    if (r == 0)
        *ret_slot = take_number(slots);
    return r;
}

/*
 *   slots_try()                       slots_give()
 *     wanted                            give the permit back
 *     take a permit, or there is none   wanted?
 *
 * Whoever comes first, one of the two sees the other.
 */
int slots_try(struct slots *slots, unsigned *ret_slot)
{
    pthread_mutex_lock(&slots->lock);
    slots->wanted = true;
    pthread_mutex_unlock(&slots->lock);
    int r = fm_semaphore_try_acquire(slots->free, 1);
    if (r == 0)
        *ret_slot = take_number(slots);
    return r;
}

bool slots_give(struct slots *slots, unsigned slot)
{
    pthread_mutex_lock(&slots->lock);
    slots->taken[slot - 1] = false;
    pthread_mutex_unlock(&slots->lock);
    fm_semaphore_release(slots->free, 1);
    pthread_mutex_lock(&slots->lock);
    bool wanted = slots->wanted;
    slots->wanted = false;
    pthread_mutex_unlock(&slots->lock);
    return wanted;
}
