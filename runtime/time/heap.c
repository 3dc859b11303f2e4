/*
 * heap.c - a pairing heap
 *
 *     root                 each timer comes before its children; the children are a list:
 *      | child             *link is whoever points to the timer, the parent's child or the
 *     a -- b -- c          brother's next; of the root it is heap->root
 *     |    next
 *     d -- e
 *
 * Source      Fredman, Sedgewick, Sleator, Tarjan, "The pairing heap", Algorithmica 1 (1986);
 *             children are melded in two passes. No recursion: a million brothers cost no
 *             stack.
 */
#include "runtime/time/heap.h"

#include <stdbool.h>

#include "runtime/platform/check.h"

static bool before(const struct timer *a, const struct timer *b)
{
    FM_ASSERT(a != b);
    if (a->deadline_ns != b->deadline_ns)
        return a->deadline_ns < b->deadline_ns;
    return (int32_t)(a->order - b->order) < 0;
}

/* Two trees into one; returns its root, whose next and link are left to the caller. */
static struct timer *meld(struct timer *a, struct timer *b)
{
    FM_ASSERT(a && b && a != b);
    if (before(b, a)) {
        struct timer *swap = a;
        a = b;
        b = swap;
    }
    b->next = a->child;
    if (b->next)
        b->next->link = &b->next;
    b->link = &a->child;
    a->child = b;
    return a;
}

/* A list of brothers into one tree, NULL if there are none. */
static struct timer *meld_all(struct timer *first)
{
    struct timer *pairs = NULL; /* linked by next, the last pair first */

    while (first) {
        struct timer *a = first, *b = a->next;
        first = b ? b->next : NULL;
        if (b)
            a = meld(a, b);
        a->next = pairs;
        pairs = a;
    }

    struct timer *tree = NULL;
    while (pairs) {
        struct timer *pair = pairs;
        pairs = pair->next;
        tree = tree ? meld(tree, pair) : pair;
    }
    return tree;
}

static void set_root(struct timer_heap *heap, struct timer *root)
{
    heap->root = root;
    if (root) {
        root->next = NULL;
        root->link = &heap->root;
    }
}

void fm__heap_push(struct timer_heap *heap, struct timer *timer)
{
    timer->child = NULL;
    timer->order = heap->order++;
    set_root(heap, heap->root ? meld(heap->root, timer) : timer);
    FM_ASSERT(heap->root && !heap->root->next);
}

void fm__heap_remove(struct timer_heap *heap, struct timer *timer)
{
    FM_ASSERT(*timer->link == timer);
    FM_ASSERT(heap->root);
    *timer->link = timer->next;
    if (timer->next)
        timer->next->link = timer->link;
    struct timer *children = meld_all(timer->child);
    if (!heap->root) /* it was the root */
        set_root(heap, children);
    else if (children)
        set_root(heap, meld(heap->root, children));
}
