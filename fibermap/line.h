/*
 * line.h - turns in the lines of their keys; turn.c says what they mean
 *
 * All under the stripe lock, but for what frees.
 */
#ifndef FM_FIBERMAP_LINE_H
#define FM_FIBERMAP_LINE_H

#include "fibermap/turn.h"

enum turn_state {
    TURN_FREE, /* in no line: the body begins at once */
    TURN_AWAITS,
    TURN_QUEUES,
    TURN_LEFT,
};

struct turn {
    struct turn *next, *prev; /* of the bucket; next: of those to be freed */
    enum turn_state state;    /* changed by the fiber alone */
    bool proceeds;            /* FM_AWAIT_PROCEED */
    struct stripe *stripe;
    struct fm_fiber *fiber;
    struct entry *mine;
    uint64_t id;
    uint64_t after; /* id of whom it displaced; 0: nobody, or he has ended */
    uint64_t epoch; /* of its wait, or of one that is over */
    int64_t deadline_ns;
    struct work work;
    struct turn_lines *spare; /* the stripe's, if it has none */
    struct turn *gone;        /* found at the entering; to be freed when the lock is free */
    struct map_key key;
    unsigned char bytes[];
};

/* The turns of some keys, in the order in which they came. */
struct turn_list {
    struct turn *first, *last;
};

/* How much a stripe needs for its lines. */
size_t fm__lines_bytes(void);
/* The list with the line of this key; NULL: nobody has ever waited in this stripe. */
struct turn_list *fm__line_of(struct stripe *stripe, const struct map_key *key);
bool fm__turn_is_of(const struct turn *turn, const struct map_key *key);

void fm__line_push(struct turn_list *list, struct turn *turn, enum turn_state state);
void fm__line_remove(struct turn_list *list, struct turn *turn);
/* It is in no line any more; it goes with fm__turns_free, when the lock is free. */
void fm__turn_free_later(struct turn *turn, struct turn **gone);
void fm__turns_free(struct turn *gone);

/* Whether the fiber of this id has ended. */
bool fm__turn_is_over(uint64_t id);
/*
 * One whom a turn of this key displaced and who has not ended, or 0. LEFT turns that have
 * nothing more to say go.
 */
uint64_t fm__line_displaced(struct turn_list *list, const struct map_key *key,
                            struct turn **gone);
/* The last in the queue for the key before `turn`; before NULL: the last of all. */
struct turn *fm__line_queued_before(struct turn_list *list, const struct map_key *key,
                                    const struct turn *turn);
/* The first in the queue for the key, or NULL. The list may be NULL. */
struct turn *fm__line_first_queued(struct turn_list *list, const struct map_key *key);

#endif
