/*
 * line.c - turns in the lines of their keys
 *
 * A stripe's lines share some buckets, by hash: each is a list of all turns whose keys fall
 * into it, in the order in which they came.
 *
 * Owns        the buckets, from the first turn of a stripe to the end of the map; LEFT turns.
 * Knows not   entries, waiting.
 */
#include "fibermap/line.h"

#include <stdlib.h>

enum { BUCKETS = 64 };

struct turn_lines {
    struct turn_list bucket[BUCKETS];
};

size_t fm__lines_bytes(void)
{
    return sizeof(struct turn_lines);
}

struct turn_list *fm__line_of(struct stripe *stripe, const struct map_key *key)
{
    /* relaxed: under the lock */
    struct turn_lines *lines = atomic_load_explicit(&stripe->lines, memory_order_relaxed);
    return lines ? &lines->bucket[(key->head >> KEY_LENGTH_BITS) % BUCKETS] : NULL;
}

bool fm__turn_is_of(const struct turn *turn, const struct map_key *key)
{
    return turn->key.head == key->head && memcmp(turn->bytes, key->data, key->len) == 0;
}

void fm__line_push(struct turn_list *list, struct turn *turn, enum turn_state state)
{
    turn->state = state;
    turn->next = NULL;
    turn->prev = list->last;
    *(list->last ? &list->last->next : &list->first) = turn;
    list->last = turn;
}

void fm__line_remove(struct turn_list *list, struct turn *turn)
{
    *(turn->prev ? &turn->prev->next : &list->first) = turn->next;
    *(turn->next ? &turn->next->prev : &list->last) = turn->prev;
}

void fm__turn_free_later(struct turn *turn, struct turn **gone)
{
    turn->next = *gone;
    *gone = turn;
}

void fm__turns_free(struct turn *gone)
{
    while (gone) {
        struct turn *turn = gone;
        gone = turn->next;
        free(turn->spare);
        free(turn);
    }
}

bool fm__turn_is_over(uint64_t id)
{
    return fm__state_life(fm__fiber_peek(id)) == LIFE_DONE;
}

uint64_t fm__line_displaced(struct turn_list *list, const struct map_key *key,
                            struct turn **gone)
{
    uint64_t found = 0;

    for (struct turn *turn = list->first, *next; turn; turn = next) {
        next = turn->next;
        if (turn->after && fm__turn_is_over(turn->after))
            turn->after = 0;
        if (turn->state == TURN_LEFT && !turn->after) {
            fm__line_remove(list, turn);
            fm__turn_free_later(turn, gone);
        } else if (turn->after && !found && fm__turn_is_of(turn, key)) {
            found = turn->after;
        }
    }
    return found;
}

struct turn *fm__line_queued_before(struct turn_list *list, const struct map_key *key,
                                    const struct turn *turn)
{
    struct turn *before = turn ? turn->prev : list->last;
    while (before && !(before->state == TURN_QUEUES && fm__turn_is_of(before, key)))
        before = before->prev;
    return before;
}

struct turn *fm__line_first_queued(struct turn_list *list, const struct map_key *key)
{
    struct turn *turn = list ? list->first : NULL;
    while (turn && !(turn->state == TURN_QUEUES && fm__turn_is_of(turn, key)))
        turn = turn->next;
    return turn;
}

void fm__turn_lines_free(struct stripe *stripe)
{
    /* relaxed: nobody else is there */
    struct turn_lines *lines = atomic_load_explicit(&stripe->lines, memory_order_relaxed);
    for (int i = 0; lines && i < BUCKETS; i++)
        fm__turns_free(lines->bucket[i].first);
    free(lines);
}
