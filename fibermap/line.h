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

struct turn_list {
    struct turn *first, *last;
};

/*
 * The turns of one key. It stands in one of them, its host: when that goes and others stay it
 * moves on to another.
 */
struct line {
    struct line *below;     /* in the bucket */
    struct turn_list queue; /* QUEUES, first in, first out */
    struct turn_list rest;  /* AWAITS and LEFT, as they came */
    uint32_t queued;        /* so many queue */
    uint32_t left;          /* so many are LEFT */
};

struct turn {
    struct turn *next, *prev; /* of the line; next: of those to be freed */
    enum turn_state state;    /* changed by the fiber alone */
    bool stands;              /* in its line; a FREE one does not, nor one that has an heir */
    bool proceeds;            /* FM_AWAIT_PROCEED */
    struct stripe *stripe;
    struct fm_fiber *fiber;
    struct entry *mine;
    uint64_t id;
    uint64_t after; /* id of whom it displaced; 0: nobody, or he has ended, or an heir has it */
    uint64_t epoch; /* of its wait, or of one that is over */
    int64_t deadline_ns;
    struct work work;
    struct turn_lines *spare; /* for the stripe, if that lacks it */
    struct turn *gone;        /* found at the entering; to be freed when the lock is free */
    struct line line;         /* of its key, if it is the host */
    struct map_key key;
    unsigned char bytes[];
};

/* What the stripe lacks for one more line, without the lock: *ret NULL: nothing. 0 · -ENOMEM */
int fm__lines_spare(struct stripe *stripe, struct turn_lines **ret_spare);
/* Give it to the stripe. What is left in *spare goes when the lock is free. */
void fm__lines_give(struct stripe *stripe, struct turn_lines **spare);

/* The line of this key; NULL: nobody of it stands there. Until the next push or remove. */
struct line *fm__line_of(struct stripe *stripe, const struct map_key *key);
/* At the end of its line. What of other keys goes with that is in turn->gone. */
void fm__line_push(struct turn *turn, enum turn_state state);
void fm__line_remove(struct turn *turn);
/* It waits no more, and stays for whom it displaced. */
void fm__line_left(struct turn *turn);
/* It is in no line any more; it goes with fm__turns_free, when the lock is free. */
void fm__turn_free_later(struct turn *turn, struct turn **gone);
void fm__turns_free(struct turn *gone);

/* Whether the fiber of this id has ended. */
bool fm__turn_is_over(uint64_t id);
/*
 * One whom a turn of this key displaced and who has not ended, or 0. LEFT turns that have
 * nothing more to say go, those of other keys in the bucket, too.
 */
uint64_t fm__line_displaced(struct stripe *stripe, const struct map_key *key,
                            struct turn **gone);
/*
 * The turn by which the fiber of this entry, which is under its key, waits to begin, or NULL.
 * The line may be NULL.
 */
struct turn *fm__line_awaiting(const struct line *line, const struct entry *entry);

#endif
