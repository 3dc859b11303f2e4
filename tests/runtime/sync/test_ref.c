/* SPDX-License-Identifier: Apache-2.0 */
/* test_ref.c - whoever gets a value keeps it whole, and each is dropped once, by the last */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "runtime/platform/memory.h"
#include "tests/support/fibers.h"

/* What a value points to: it says whether it has been dropped. */
struct config {
    long a, b;
    _Atomic int drops;
};

static void drop(void *arg)
{
    struct config *config = arg;
    atomic_fetch_add(&config->drops, 1);
    config->a = config->b = -1;
}

static struct fm_value *value_of(struct config *config)
{
    struct fm_value *value;
    cr_assert_eq(fm_value_create(config, drop, &value), 0);
    return value;
}

static struct fm_ref *cell_of(struct config *config)
{
    struct fm_value *value = value_of(config);
    struct fm_ref *ref;
    cr_assert_eq(fm_ref_create(value, &ref), 0);
    fm_value_unref(value);
    return ref;
}

TEST(ref, value_lives_until_its_last_reference_goes)
{
    struct config config = { 1, 1, 0 };
    struct fm_value *value = value_of(&config);
    cr_assert_eq(fm_value_ref(value), value);
    fm_value_unref(value);
    cr_assert_eq(config.drops, 0);
    cr_assert_eq(fm_value_pointer(value), &config);
    cr_assert_null(fm_value_unref(value));
    cr_assert_eq(config.drops, 1);
}

TEST(ref, got_value_stays_whole_when_another_is_set)
{
    struct config first = { 1, 1, 0 }, second = { 2, 2, 0 };
    struct fm_ref *ref = cell_of(&first);
    struct fm_value *got = fm_ref_get(ref), *next = value_of(&second);
    cr_assert_eq(fm_value_pointer(got), &first);
    cr_assert_eq(fm_ref_set(ref, next), 0);
    fm_value_unref(next);
    cr_assert_eq(first.drops, 0);
    cr_assert_eq(((struct config *)fm_value_pointer(got))->a, 1);
    fm_value_unref(got);
    cr_assert_eq(first.drops, 1);

    got = fm_ref_get(ref);
    fm_ref_destroy(ref);
    cr_assert_eq(second.drops, 0, "what was got outlives the cell");
    fm_value_unref(got);
    cr_assert_eq(second.drops, 1);
}

TEST(ref, one_value_may_stand_in_several_cells_and_come_back)
{
    struct config config = { 1, 1, 0 }, other = { 2, 2, 0 };
    struct fm_value *value = value_of(&config), *another = value_of(&other);
    struct fm_ref *a, *b;
    cr_assert_eq(fm_ref_create(value, &a), 0);
    cr_assert_eq(fm_ref_create(value, &b), 0);
    fm_value_unref(value);
    struct fm_value *got = fm_ref_get(a);
    fm_ref_set(a, another);
    fm_ref_set(b, another);
    cr_assert_eq(config.drops, 0, "one is in hand");
    fm_ref_set(a, got);
    fm_value_unref(got);
    fm_ref_set(a, fm_value_ref(another));
    fm_value_unref(another);
    cr_assert_eq(config.drops, 1);
    fm_ref_set(a, another);
    cr_assert_eq(other.drops, 0, "set in place of itself");
    fm_value_unref(another);
    fm_ref_destroy(a);
    cr_assert_eq(other.drops, 0);
    fm_ref_destroy(b);
    cr_assert_eq(other.drops, 1);
}

/* Far more gets than the word of the cell has room for, all in hand at once. */
TEST(ref, many_thousands_may_hold_a_value)
{
    enum { MANY = 100000 };
    struct config config = { 1, 1, 0 };
    struct fm_ref *ref = cell_of(&config);
    for (int i = 0; i < MANY; i++)
        fm_ref_get(ref);
    struct fm_value *value = fm_ref_get(ref);
    fm_ref_destroy(ref);
    for (int i = 0; i < MANY; i++)
        fm_value_unref(value);
    cr_assert_eq(config.drops, 0);
    fm_value_unref(value);
    cr_assert_eq(config.drops, 1);
}

static int add_one(void *ctx, struct fm_value *present, struct fm_value **ret_next)
{
    long next = (long)(intptr_t)fm_value_pointer(present) + 1;
    return fm_value_create((void *)(intptr_t)next, NULL, ret_next);
}

static int refuse(void *ctx, struct fm_value *present, struct fm_value **ret_next)
{
    return -EPROTO;
}

static int keep(void *ctx, struct fm_value *present, struct fm_value **ret_next)
{
    return 0;
}

/* Sets something else the first two times, as another might. */
struct rival {
    struct fm_ref *ref;
    int calls;
};

static int outrun(void *ctx, struct fm_value *present, struct fm_value **ret_next)
{
    struct rival *rival = ctx;
    if (rival->calls++ < 2)
        cr_assert_eq(fm_ref_update(rival->ref, add_one, NULL), 0);
    return add_one(NULL, present, ret_next);
}

/* T238: what another has changed meanwhile is not overwritten. */
TEST(ref, update_replaces_what_it_saw_or_nothing)
{
    struct fm_value *zero, *before, *after;
    struct fm_ref *ref;
    cr_assert_eq(fm_value_create(NULL, NULL, &zero), 0);
    cr_assert_eq(fm_ref_create(zero, &ref), 0);
    fm_value_unref(zero);
    cr_assert_eq(fm_ref_modify(ref, add_one, NULL, &before, &after), 0);
    cr_assert_eq(fm_value_pointer(before), number(0));
    cr_assert_eq(fm_value_pointer(after), number(1));
    fm_value_unref(before);
    fm_value_unref(after);
    cr_assert_eq(fm_ref_update(ref, refuse, NULL), -EPROTO);
    cr_assert_eq(fm_ref_modify(ref, keep, NULL, &before, &after), 0);
    cr_assert_eq(before, after);
    fm_value_unref(before);
    fm_value_unref(after);

    struct rival rival = { ref, 0 };
    cr_assert_eq(fm_ref_modify(ref, outrun, &rival, &before, NULL), 0);
    cr_assert_eq(rival.calls, 3);
    cr_assert_eq(fm_value_pointer(before), number(3), "made of what stands there by then");
    fm_value_unref(before);
    after = fm_ref_get(ref);
    cr_assert_eq(fm_value_pointer(after), number(4));
    fm_value_unref(after);
    fm_ref_destroy(ref);
}

/* T238: concurrent modifications lose no update. */
enum { UPDATES = 5000 };

static struct fm_exit update_many(void *arg)
{
    for (int i = 0; i < UPDATES; i++)
        cr_assert_eq(fm_ref_update(arg, add_one, NULL), 0);
    return fm_ok(NULL);
}

static void *update_thread(void *arg)
{
    update_many(arg);
    return NULL;
}

static struct fm_exit updates_body(void *arg)
{
    struct fm_value *value;
    struct fm_ref *ref;
    struct fm_fiber *fibers[4];
    pthread_t thread;
    cr_assert_eq(fm_value_create(NULL, NULL, &value), 0);
    cr_assert_eq(fm_ref_create(value, &ref), 0);
    fm_value_unref(value);
    for (int i = 0; i < 4; i++)
        fibers[i] = start(update_many, ref);
    cr_assert_eq(pthread_create(&thread, NULL, update_thread, ref), 0);
    for (int i = 0; i < 4; i++)
        finish(fibers[i]);
    pthread_join(thread, NULL);
    value = fm_ref_get(ref);
    cr_assert_eq(fm_value_pointer(value), number(5 * UPDATES));
    fm_value_unref(value);
    fm_ref_destroy(ref);
    return fm_ok(NULL);
}

TEST_WITH(ref, concurrent_updates_lose_none, .timeout = 60)
{
    run_in_fibers(updates_body, 2, FM_CLOCK_REAL);
}

/* Readers against setters: no value is seen after its drop, and each is dropped once. */
enum { VALUES = 3000, READERS = 3 };

struct traffic {
    struct fm_ref *ref;
    struct config configs[2 * VALUES];
    _Atomic int next, setters;
};

static struct fm_exit set_many(void *arg)
{
    struct traffic *traffic = arg;
    for (int i = 0; i < VALUES; i++) {
        struct config *config = &traffic->configs[atomic_fetch_add(&traffic->next, 1)];
        config->a = config->b = i;
        struct fm_value *value = value_of(config);
        fm_ref_set(traffic->ref, value);
        fm_value_unref(value);
        if (i % 16 == 0 && fm_fiber_self())
            fm_yield();
    }
    atomic_fetch_sub(&traffic->setters, 1);
    return fm_ok(NULL);
}

static struct fm_exit read_many(void *arg)
{
    struct traffic *traffic = arg;
    struct fm_value *kept = NULL;
    while (atomic_load(&traffic->setters) > 0) {
        struct fm_value *value = fm_ref_get(traffic->ref);
        struct config *config = fm_value_pointer(value);
        cr_assert_eq(config->a, config->b);
        cr_assert_geq(config->a, 0);
        fm_value_unref(kept); /* the one before last, across a get */
        kept = value;
        if (fm_fiber_self())
            fm_yield();
    }
    fm_value_unref(kept);
    return fm_ok(NULL);
}

static void *read_thread(void *arg)
{
    read_many(arg);
    return NULL;
}

static void *set_thread(void *arg)
{
    set_many(arg);
    return NULL;
}

static struct fm_exit traffic_body(void *arg)
{
    static struct config first;
    static struct traffic traffic;
    struct fm_fiber *fibers[READERS + 1];
    pthread_t threads[2];
    traffic.ref = cell_of(&first);
    traffic.setters = 2;
    fibers[0] = start(set_many, &traffic);
    for (int i = 1; i <= READERS; i++)
        fibers[i] = start(read_many, &traffic);
    cr_assert_eq(pthread_create(&threads[0], NULL, set_thread, &traffic), 0);
    cr_assert_eq(pthread_create(&threads[1], NULL, read_thread, &traffic), 0);
    for (int i = 0; i <= READERS; i++)
        finish(fibers[i]);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    fm_ref_destroy(traffic.ref);
    cr_assert_eq(first.drops, 1);
    for (int i = 0; i < 2 * VALUES; i++)
        cr_assert_eq(traffic.configs[i].drops, 1, "value %d", i);
    return fm_ok(NULL);
}

TEST_WITH(ref, readers_never_meet_a_dropped_value, .timeout = 60)
{
    run_in_fibers(traffic_body, 2, FM_CLOCK_REAL);
}

TEST(ref, wrong_arguments_and_no_memory_are_refused)
{
    struct fm_value *value = NULL;
    struct fm_ref *ref = NULL;
    struct config config = { 0 };
    cr_assert_eq(fm_value_create(NULL, NULL, NULL), -EINVAL);
    cr_assert_eq(fm_ref_create(NULL, &ref), -EINVAL);
    cr_assert_null(fm_ref_get(NULL));
    cr_assert_null(fm_ref_destroy(NULL));
    cr_assert_null(fm_value_ref(NULL));
    cr_assert_null(fm_value_unref(NULL));
    cr_assert_null(fm_value_pointer(NULL));
    fm__fault_set(FAULT_MALLOC, 1, false);
    cr_assert_eq(fm_value_create(&config, drop, &value), -ENOMEM);
    value = value_of(&config);
    fm__fault_set(FAULT_MALLOC, 1, false);
    cr_assert_eq(fm_ref_create(value, &ref), -ENOMEM);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert_eq(fm_ref_create(value, NULL), -EINVAL);
    cr_assert_eq(fm_ref_create(value, &ref), 0);
    cr_assert_eq(fm_ref_set(ref, NULL), -EINVAL);
    cr_assert_eq(fm_ref_set(NULL, value), -EINVAL);
    cr_assert_eq(fm_ref_update(NULL, keep, NULL), -EINVAL);
    cr_assert_eq(fm_ref_update(ref, NULL, NULL), -EINVAL);
    fm_value_unref(value);
    fm_ref_destroy(ref);
    cr_assert_eq(config.drops, 1);
}
