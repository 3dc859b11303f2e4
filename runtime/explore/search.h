/*
 * search.h - all schedules up to a number of preemptions, one after the other
 *
 *     fm__search_init(&search, 2, 0);
 *     do run search.deviations; while (fm__search_next(&search, choices, count));
 *
 * Depth first: the last choice that has an untried seat gets the next one. Not among them: who
 * preempts, where preemptions are used up (Musuvathi and Qadeer, "Iterative Context Bounding
 * for Systematic Testing of Multithreaded Programs", PLDI 2007). Where a thread waits or ends
 * somebody must be chosen, which costs no preemption but makes as many schedules; so what rises
 * step by step is the number of deviations of either kind (after Emmi, Qadeer, Rakamaric,
 * "Delay-Bounded Scheduling", POPL 2011): all schedules with one come before any with two.
 */
#ifndef FM_RUNTIME_EXPLORE_SEARCH_H
#define FM_RUNTIME_EXPLORE_SEARCH_H

#include "runtime/explore/arbiter.h"

struct search_choice {
    struct choice choice;
    uint64_t untried;
    uint32_t preemptions; /* of all choices before this one */
    uint32_t deviations;  /* the same */
};

struct search {
    uint32_t preemptions_max;
    uint32_t deviations_max; /* in the end; 0: without a bound */
    uint32_t level;          /* deviations_max for now */
    bool cut;                /* there are schedules with more */
    uint32_t count, room;
    struct search_choice *path;
    uint32_t deviation_count;
    struct deviation deviations[DEVIATIONS_MAX];
    bool out_of_memory;
};

/* deviations 0: any number. */
void fm__search_init(struct search *search, uint32_t preemptions, uint32_t deviations);
void fm__search_fini(struct search *search);
/* What the schedule chose. False: there is no further one. */
bool fm__search_next(struct search *search, const struct choice *choices, uint32_t count);

/* The deviations, "12.3-40.1", or "usual" for none; empty if they are too long. */
void fm__search_write(const struct search *search, char *to, size_t size);
/* False: not what fm__search_write writes. */
bool fm__search_read(struct search *search, const char *text);

#endif
