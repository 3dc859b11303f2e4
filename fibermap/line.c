/*
 * line.c - turns in the lines of their keys
 *
 * The lines of a stripe stand in a table of buckets, by hash, which grows with their number: so
 * a step costs the same however many keys have a line, and however many turns a line has. Lines
 * of nobody but LEFT turns go when their bucket is looked at, and before they make it grow.
 *
 * Owns        the table, from the first turn of a stripe to the end of the map; LEFT turns.
 * Knows not   entries, waiting.
 */
#include "fibermap/line.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"

enum { FIRST_LOG2 = 6, LAST_LOG2 = 24 };

struct turn_lines {
    uint32_t count; /* of lines */
    uint32_t room;  /* above so many it is asked whether more buckets are wanted */
    uint32_t left;  /* LEFT turns, in all lines */
    unsigned log2;  /* of the number of buckets */
    struct line *bucket[];
};

/* ---- the table ---- */

int fm__lines_spare(struct stripe *stripe, struct turn_lines **ret_spare)
{
    FM_ASSERT(ret_spare);
    /* relaxed, both: who misses that more are wanted leaves it to the next */
    bool none = !atomic_load_explicit(&stripe->lines, memory_order_relaxed);
    unsigned log2 = none ? FIRST_LOG2
                         : atomic_load_explicit(&stripe->lines_wanted, memory_order_relaxed);
    *ret_spare = NULL;
    if (!log2)
        return 0;
    struct turn_lines *spare =
        fm__calloc(1, sizeof *spare + sizeof(struct line *) * ((size_t)1 << log2));
    if (!spare)
        return none ? -ENOMEM : 0; /* longer chains will do */
    spare->log2 = log2;
    spare->room = UINT32_C(1) << log2;
    *ret_spare = spare;
    return 0;
}

static struct line **bucket_of(struct turn_lines *lines, const struct map_key *key)
{
    FM_ASSERT(lines->log2 >= FIRST_LOG2 && lines->log2 <= LAST_LOG2);
    return &lines->bucket[(key->head >> KEY_LENGTH_BITS) & ((UINT64_C(1) << lines->log2) - 1)];
}

static struct turn *host_of(const struct line *line)
{
    FM_ASSERT(line);
    return (struct turn *)((char *)line - offsetof(struct turn, line));
}

void fm__lines_give(struct stripe *stripe, struct turn_lines **spare)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    /* relaxed, here and below: under the lock */
    struct turn_lines *old = atomic_load_explicit(&stripe->lines, memory_order_relaxed);
    struct turn_lines *new = *spare;

    if (!new || (old && new->log2 <= old->log2))
        return;
    for (size_t i = 0; old && i < (size_t)1 << old->log2; i++) {
        for (struct line *line = old->bucket[i], *below; line; line = below) {
            struct line **bucket = bucket_of(new, &host_of(line)->key);
            below = line->below;
            line->below = *bucket;
            *bucket = line;
        }
    }
    new->count = old ? old->count : 0;
    new->left = old ? old->left : 0;
    atomic_store_explicit(&stripe->lines_wanted, 0, memory_order_relaxed);
    /* release: not needed, a reader takes the lock; that it is there is told by (K) */
    atomic_store_explicit(&stripe->lines, new, memory_order_release);
    *spare = old;
}

static struct turn_lines *lines_of(struct stripe *stripe)
{
    return atomic_load_explicit(&stripe->lines, memory_order_relaxed);
}

static bool is_of(const struct line *line, const struct map_key *key)
{
    FM_ASSERT(line);
    const struct turn *turn = host_of(line);
    return turn->key.head == key->head && memcmp(turn->bytes, key->data, key->len) == 0;
}

/* What points to the line of this key, or to NULL at the end of its bucket. */
static struct line **find(struct turn_lines *lines, const struct map_key *key)
{
    FM_ASSERT(lines);
    struct line **link = bucket_of(lines, key);
    while (*link && !is_of(*link, key))
        link = &(*link)->below;
    return link;
}

struct line *fm__line_of(struct stripe *stripe, const struct map_key *key)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    struct turn_lines *lines = lines_of(stripe);
    return lines ? *find(lines, key) : NULL;
}

/* ---- turns out ---- */

static struct turn_list *list_of(struct line *line, const struct turn *turn)
{
    FM_ASSERT(turn->state != TURN_FREE);
    return turn->state == TURN_QUEUES ? &line->queue : &line->rest;
}

static void take_out(struct turn_lines *lines, struct line **link, struct turn *turn)
{
    FM_ASSERT(lines->count);
    FM_ASSERT(turn->state != TURN_LEFT || lines->left);
    struct line *line = *link;
    struct turn_list *list = list_of(line, turn);

    FM_ASSERT(turn->stands);
    *(turn->prev ? &turn->prev->next : &list->first) = turn->next;
    *(turn->next ? &turn->next->prev : &list->last) = turn->prev;
    turn->stands = false;
    line->queued -= turn->state == TURN_QUEUES;
    line->left -= turn->state == TURN_LEFT;
    lines->left -= turn->state == TURN_LEFT;
    struct turn *heir = line->rest.first ? line->rest.first : line->queue.first;
    if (!heir) {
        FM_ASSERT(!line->queued && !line->left);
        *link = line->below;
        lines->count--;
        FM_ASSERT(!turn->stands);
    } else if (line == &turn->line) {
        heir->line = *line;
        *link = &heir->line;
    }
}

void fm__line_remove(struct turn *turn)
{
    FM_ASSERT(fm__lock_held(&turn->stripe->lock));
    FM_ASSERT(turn->stands);
    struct turn_lines *lines = lines_of(turn->stripe);
    take_out(lines, find(lines, &turn->key), turn);
}

void fm__line_left(struct turn *turn)
{
    FM_ASSERT(fm__lock_held(&turn->stripe->lock));
    FM_ASSERT(turn->stands && turn->after && turn->state == TURN_AWAITS);
    struct turn_lines *lines = lines_of(turn->stripe);
    turn->state = TURN_LEFT;
    (*find(lines, &turn->key))->left++;
    lines->left++;
    FM_ASSERT(turn->state == TURN_LEFT);
}

void fm__turn_free_later(struct turn *turn, struct turn **gone)
{
    FM_ASSERT(!turn->stands);
    turn->next = *gone;
    *gone = turn;
}

void fm__turns_free(struct turn *gone)
{
    while (gone) {
        struct turn *turn = gone;
        gone = turn->next;
        FM_ASSERT(!turn->stands);
        free(turn->spare);
        free(turn);
    }
}

/* ---- looking ---- */

bool fm__turn_is_over(uint64_t id)
{
    FM_ASSERT(id);
    return fm__state_life(fm__fiber_peek(id)) == LIFE_DONE;
}

/* The same of one line; with its last turn it goes itself, and *link is the next. */
static uint64_t displaced(struct turn_lines *lines, struct line **link, struct turn **gone)
{
    FM_ASSERT(*link);
    FM_ASSERT(lines->count);
    uint64_t found = 0;

    for (struct turn *turn = (*link)->rest.first, *next; turn; turn = next) {
        next = turn->next;
        if (turn->after && fm__turn_is_over(turn->after))
            turn->after = 0;
        if (turn->after) {
            found = found ? found : turn->after;
        } else if (turn->state == TURN_LEFT) {
            take_out(lines, link, turn);
            fm__turn_free_later(turn, gone);
        }
    }
    return found;
}

/* Through a bucket, for this key; NULL: for what may go alone. */
static uint64_t look_in(struct turn_lines *lines, struct line **link, const struct map_key *key,
                        struct turn **gone)
{
    uint64_t found = 0;

    while (*link) {
        struct line *below = (*link)->below;
        bool ours = key && is_of(*link, key);
        if (ours || (*link)->left) {
            uint64_t id = displaced(lines, link, gone);
            found = ours ? id : found;
        }
        if (*link != below)
            link = &(*link)->below;
    }
    return found;
}

uint64_t fm__line_displaced(struct stripe *stripe, const struct map_key *key,
                            struct turn **gone)
{
    FM_ASSERT(fm__lock_held(&stripe->lock));
    struct turn_lines *lines = lines_of(stripe);
    return lines ? look_in(lines, bucket_of(lines, key), key, gone) : 0;
}

struct turn *fm__line_awaiting(const struct line *line, const struct entry *entry)
{
    FM_ASSERT(entry);
    /* whoever came later displaced it, or found the key free: it is under it no more */
    struct turn *last = line ? line->rest.last : NULL;
    return last && last->state == TURN_AWAITS && last->mine == entry ? last : NULL;
}

/* ---- turns in ---- */

/*
 * A key that never comes again leaves its LEFT turns where nobody looks. Such lines must not
 * make the table grow, in which others would then be looked at still less: where they are many,
 * those with nothing more to say go first. That is one look for each line that began since.
 */
static void room_for_more(struct stripe *stripe, struct turn_lines *lines, struct turn **gone)
{
    FM_ASSERT(lines->count > lines->room);
    uint32_t buckets = UINT32_C(1) << lines->log2, half = buckets / 2;

    if (lines->left > half)
        for (uint32_t i = 0; i < buckets; i++)
            look_in(lines, &lines->bucket[i], NULL, gone);
    if (lines->count > half && lines->log2 < LAST_LOG2)
        atomic_store_explicit(&stripe->lines_wanted, (uint8_t)(lines->log2 + 1),
                              memory_order_relaxed);
    /* at the end of the scale, or where memory lacks: again after so many */
    lines->room = lines->count > half ? lines->count + half : buckets;
}

void fm__line_push(struct turn *turn, enum turn_state state)
{
    FM_ASSERT(fm__lock_held(&turn->stripe->lock));
    FM_ASSERT(!turn->stands && (state == TURN_AWAITS || state == TURN_QUEUES));
    struct turn_lines *lines = lines_of(turn->stripe);
    struct line **link = find(lines, &turn->key), *line = *link;

    if (!line) {
        turn->line = (struct line) { 0 };
        *link = line = &turn->line;
        lines->count++;
    }
    turn->state = state;
    turn->stands = true;
    struct turn_list *list = list_of(line, turn);
    turn->next = NULL;
    turn->prev = list->last;
    *(list->last ? &list->last->next : &list->first) = turn;
    list->last = turn;
    FM_ASSERT(list->first && !list->last->next);
    line->queued += state == TURN_QUEUES;
    if (lines->count > lines->room)
        room_for_more(turn->stripe, lines, &turn->gone);
}

void fm__turn_lines_free(struct stripe *stripe)
{
    struct turn_lines *lines = lines_of(stripe); /* nobody else is there */
    struct turn *gone = NULL;

    for (size_t i = 0; lines && i < (size_t)1 << lines->log2; i++)
        while (lines->bucket[i]) {
            struct turn *turn = lines->bucket[i]->rest.first;
            FM_ASSERT(turn->state == TURN_LEFT);
            take_out(lines, &lines->bucket[i], turn);
            fm__turn_free_later(turn, &gone);
        }
    fm__turns_free(gone);
    free(lines);
}
