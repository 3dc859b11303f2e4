/*
 * alone.c - what one thread alone uses needs no turns
 *
 * To preempt a thread before it touches an object that no other thread ever does is to preempt
 * it before its next step. So such an access is no place to do it. Who uses what is learnt on
 * the way: a search that finds that it took an object for one thread's own begins again.
 *
 * What thread 0 does when it has joined all others, or has none, does not count.
 */
#include <string.h>

#include "tests/model/checker.h"

enum { OBJECTS = 2048, NOBODY = 0, SHARED = THREADS + 1 /* else the thread, and 1 */ };

static struct {
    const void *address;
    unsigned user;
} objects[OBJECTS];
static unsigned object_count;
static bool mistaken;

void alone_forget(void)
{
    memset(objects, 0, sizeof objects);
    object_count = 0;
    mistaken = false;
}

bool alone_was_mistaken(void)
{
    bool was = mistaken;
    mistaken = false;
    return was;
}

static bool all_joined(void)
{
    if (running != threads)
        return false;
    for (unsigned i = 1; i < thread_count; i++)
        if (!threads[i].joined)
            return false;
    return true;
}

bool alone_with(const void *address)
{
    if (all_joined())
        return true;
    unsigned i = (unsigned)((uintptr_t)address * UINT64_C(0x9e3779b97f4a7c15) >> 53) % OBJECTS;
    while (objects[i].address && objects[i].address != address)
        i = (i + 1) % OBJECTS;
    if (!objects[i].address) {
        if (object_count == OBJECTS / 2)
            return false;
        object_count++;
        objects[i].address = address;
        objects[i].user = running_id() + 1;
    }
    if (objects[i].user != running_id() + 1 && objects[i].user != SHARED) {
        objects[i].user = SHARED;
        mistaken = true;
    }
    return objects[i].user != SHARED;
}
