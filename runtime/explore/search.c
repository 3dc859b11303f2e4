/*
 * search.c - all schedules up to a number of preemptions, one after the other
 *
 * A schedule is told by its deviations from the usual choices. At each level those with fewer
 * are run once more: they are few beside the others.
 */
#include "runtime/explore/search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/platform/check.h"

void fm__search_init(struct search *search, uint32_t preemptions, uint32_t deviations)
{
    *search = (struct search) { .preemptions_max = preemptions, .deviations_max = deviations };
}

void fm__search_fini(struct search *search)
{
    free(search->path);
    search->path = NULL;
}

static bool preempts(const struct choice *choice, unsigned seat)
{
    FM_ASSERT(seat < SEATS_MAX);
    return choice->current != seat && choice->current < SEATS_MAX &&
           (choice->eligible >> choice->current & 1);
}

static bool grow(struct search *search, uint32_t count)
{
    if (count <= search->room)
        return true;
    struct search_choice *path = realloc(search->path, 2 * count * sizeof *path);
    if (!path)
        return false;
    search->path = path;
    search->room = 2 * count;
    FM_ASSERT(count <= search->room);
    return true;
}

/* The next seat to be tried at this choice within the bounds; NOBODY: none. */
static unsigned next_seat(struct search *search, const struct search_choice *at)
{
    for (uint64_t left = at->untried; left; left &= left - 1) {
        unsigned seat = (unsigned)__builtin_ctzll(left);
        if (at->preemptions + preempts(&at->choice, seat) > search->preemptions_max)
            continue;
        if (at->deviations + (seat != at->choice.usual) <= search->level)
            return seat;
        search->cut = true;
    }
    return NOBODY;
}

static bool note_deviations(struct search *search)
{
    search->deviation_count = 0;
    for (uint32_t i = 0; i < search->count; i++) {
        const struct choice *choice = &search->path[i].choice;
        if (choice->chosen == choice->usual)
            continue;
        if (search->deviation_count == DEVIATIONS_MAX)
            return false;
        search->deviations[search->deviation_count++] = (struct deviation) { i,
                                                                             choice->chosen };
        FM_ASSERT(search->deviation_count <= DEVIATIONS_MAX);
    }
    return true;
}

/* Back to the last choice with something left to try, and take that. */
static bool back(struct search *search)
{
    for (; search->count; search->count--) {
        struct search_choice *last = &search->path[search->count - 1];
        unsigned seat = next_seat(search, last);
        if (seat == NOBODY)
            continue;
        last->untried &= ~(UINT64_C(1) << seat);
        last->choice.chosen = (uint8_t)seat;
        return note_deviations(search);
    }
    return false;
}

/* The choices that the schedule made after those that it was given. */
static void append(struct search *search, const struct choice *choices, uint32_t count)
{
    FM_ASSERT(count <= search->room);
    for (uint32_t i = search->count; i < count; i++) {
        const struct search_choice *last = i ? &search->path[i - 1] : NULL;
        search->path[i] = (struct search_choice) {
            .choice = choices[i],
            .untried = choices[i].eligible & ~(UINT64_C(1) << choices[i].chosen),
        };
        if (last) {
            search->path[i].preemptions = last->preemptions +
                                          preempts(&last->choice, last->choice.chosen);
            search->path[i].deviations = last->deviations +
                                         (last->choice.chosen != last->choice.usual);
        }
        search->count = i + 1;
    }
}

bool fm__search_next(struct search *search, const struct choice *choices, uint32_t count)
{
    if (!grow(search, count)) {
        search->out_of_memory = true;
        return false;
    }
    append(search, choices, count);
    if (back(search))
        return true;
    if (!search->cut || (search->deviations_max && search->level == search->deviations_max))
        return false;
    /* From the root again, with one deviation more. */
    search->level++;
    search->cut = false;
    search->deviation_count = 0;
    return true;
}

/* ---- as text ---- */

bool fm__search_read(struct search *search, const char *text)
{
    FM_ASSERT(text);
    uint32_t count = 0;
    bool more = strcmp(text, "usual") != 0;
    while (more) {
        char *end;
        unsigned long choice = strtoul(text, &end, 10);
        if (end == text || *end != '.' || count == DEVIATIONS_MAX)
            return false;
        text = end + 1;
        unsigned long seat = strtoul(text, &end, 10);
        if (end == text || seat >= SEATS_MAX || (*end && *end != '-'))
            return false;
        search->deviations[count++] = (struct deviation) { (uint32_t)choice, (uint32_t)seat };
        more = *end;
        text = end + 1;
    }
    search->deviation_count = count;
    return true;
}

void fm__search_write(const struct search *search, char *to, size_t size)
{
    FM_ASSERT(to && size);
    size_t at = (size_t)snprintf(to, size, search->deviation_count ? "" : "usual");

    for (uint32_t i = 0; i < search->deviation_count && at < size; i++)
        at += (size_t)snprintf(to + at, size - at, "%s%u.%u", i ? "-" : "",
                               search->deviations[i].choice, search->deviations[i].seat);
    if (at >= size)
        *to = 0;
}
