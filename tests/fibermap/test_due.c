/* SPDX-License-Identifier: Apache-2.0 */
/* test_due.c - the heap of those who have an idle time, by when it is over */
#include "fibermap/due.h"
#include "tests/support/test.h"

static void check_heap(const struct idler *idler, const struct idler *up, int64_t due_ns,
                       size_t *count)
{
    if (!idler)
        return;
    cr_assert_eq(idler->up, up);
    cr_assert_geq(idler->due_ns, due_ns);
    uint32_t left = idler->left ? idler->left->rank : 0;
    uint32_t right = idler->right ? idler->right->rank : 0;
    cr_assert_geq(left, right);
    cr_assert_eq(idler->rank, right + 1);
    ++*count;
    check_heap(idler->left, idler, idler->due_ns, count);
    check_heap(idler->right, idler, idler->due_ns, count);
}

TEST(due, the_earliest_is_on_top_whoever_comes_and_goes)
{
    enum { MANY = 64, STEPS = 20000 };
    struct idler idlers[MANY] = { 0 }, *root = NULL;
    uint32_t seed = 99;
    size_t in = 0;

    for (int step = 0; step < STEPS; step++) {
        seed = seed * 1103515245 + 12345;
        struct idler *idler = &idlers[(seed >> 16) % MANY];
        if (idler->rank) {
            fm__due_take(&root, idler);
            in--;
        } else {
            seed = seed * 1103515245 + 12345;
            fm__due_put(&root, idler, (seed >> 16) % 50);
            in++;
        }
        size_t count = 0;
        check_heap(root, NULL, 0, &count);
        cr_assert_eq(count, in);
    }
}
