/*
 * due.c - idlers by when they are due
 *
 * A leftist heap: nobody is due before the one above him, and from everyone the way down is at
 * least as short to the right as it is to the left. So the way down to the right has at most
 * log2(n) steps; two heaps are merged along those, and everything here is a merge.
 *
 * Source      Crane, "Linear Lists and Priority Queues as Balanced Binary Trees", 1972; Knuth,
 *             The Art of Computer Programming, volume 3, 5.2.3.
 */
#include "fibermap/due.h"

static uint32_t rank_of(const struct idler *idler)
{
    FM_ASSERT(!idler || idler->rank);
    return idler ? idler->rank : 0;
}

/* The longer way down goes to the left. Whether the rank has changed. */
static bool lean_left(struct idler *idler)
{
    FM_ASSERT(idler->rank);
    uint32_t rank = idler->rank;
    if (rank_of(idler->left) < rank_of(idler->right)) {
        struct idler *left = idler->left;
        idler->left = idler->right;
        idler->right = left;
    }
    idler->rank = rank_of(idler->right) + 1;
    return idler->rank != rank;
}

static struct idler *merge(struct idler *a, struct idler *b)
{
    struct idler *root = NULL, *last = NULL;

    while (a && b) {
        struct idler *first = b->due_ns < a->due_ns ? b : a;
        b = first == a ? b : a;
        a = first->right;
        first->up = last;
        *(last ? &last->right : &root) = first;
        last = first;
    }
    struct idler *rest = a ? a : b;
    if (rest)
        rest->up = last;
    *(last ? &last->right : &root) = rest;
    for (; last; last = last->up)
        lean_left(last);
    return root;
}

void fm__due_put(struct idler **root, struct idler *idler, int64_t due_ns)
{
    FM_ASSERT(!idler->rank);
    idler->due_ns = due_ns;
    idler->left = idler->right = NULL;
    idler->rank = 1;
    *root = merge(*root, idler);
    FM_ASSERT((*root)->rank && !(*root)->up);
}

void fm__due_take(struct idler **root, struct idler *idler)
{
    FM_ASSERT(root && idler);
    if (!idler->rank)
        return;
    struct idler *up = idler->up, *below = merge(idler->left, idler->right);
    idler->rank = 0;
    if (below)
        below->up = up;
    *(!up ? root : up->left == idler ? &up->left : &up->right) = below;
    while (up && lean_left(up))
        up = up->up;
}
