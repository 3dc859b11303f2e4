/*
 * model_ref.c - who gets a value holds a whole one, and the last of all frees it, once
 *
 * Protocol   runtime/sync/ref.c, a cell of counted values. What a value points to is plain data
 *            that its drop writes once more: who reads it too late, or without order, races.
 *            The boxes are memory that the checker watches: freed too soon, twice or never is
 *            seen.
 *            Gets are settled from the second on (redirect.h).
 */
#include "runtime/sync/value.h"
#include "tests/model/model.h"

enum { DROPS };

struct world {
    struct fm_ref *ref;
    int data[4]; /* plain: what the values point to */
};

static void drop(void *pointer)
{
    int *data = pointer;
    model_assert(*data > 0);
    *data = -1;
    model_note(DROPS, 1);
}

/* A value over data[i], written by its maker. */
static struct fm_value *make(struct world *w, int i)
{
    struct fm_value *value;
    w->data[i] = i + 1;
    model_assert(fm_value_create(&w->data[i], drop, &value) == 0);
    return value;
}

static struct world *world_new(void)
{
    struct world *w = model_calloc(1, sizeof *w);
    struct fm_value *value = make(w, 0);
    model_assert(fm_ref_create(value, &w->ref) == 0);
    fm_value_unref(value);
    return w;
}

static void read_value(struct fm_value *value)
{
    model_assert(*(int *)fm_value_pointer(value) > 0);
}

static void get_one(void *arg)
{
    struct world *w = arg;
    struct fm_value *value = fm_ref_get(w->ref);
    read_value(value);
    fm_value_unref(value);
}

/* Three in hand at once: some are settled. */
static void get_three(void *arg)
{
    struct world *w = arg;
    struct fm_value *values[3];
    for (int i = 0; i < 3; i++)
        values[i] = fm_ref_get(w->ref);
    for (int i = 0; i < 3; i++) {
        read_value(values[i]);
        fm_value_unref(values[i]);
    }
}

static void set_value(struct world *w, int i)
{
    struct fm_value *value = make(w, i);
    fm_ref_set(w->ref, value);
    fm_value_unref(value);
}

static void set_second(void *arg)
{
    set_value(arg, 1);
}

static void set_third(void *arg)
{
    set_value(arg, 2);
}

static void set_second_and_get(void *arg)
{
    set_second(arg);
    get_three(arg);
}

/* What is got is put back: the same value again, maybe after another. */
static void put_back(void *arg)
{
    struct world *w = arg;
    struct fm_value *value = fm_ref_get(w->ref);
    read_value(value);
    fm_ref_set(w->ref, value);
    fm_value_unref(value);
}

static void together(void (*a)(void *), void (*b)(void *), void (*c)(void *), int values)
{
    struct world *w = world_new();
    int ta = model_spawn(a, w), tb = model_spawn(b, w), tc = c ? model_spawn(c, w) : 0;
    model_join(ta);
    model_join(tb);
    if (c)
        model_join(tc);
    get_one(w);
    fm_ref_destroy(w->ref);
    model_assert(model_note(DROPS, 0) == values);
}

static void get_meets_set(void)
{
    together(get_one, set_second, get_one, 2);
}

static void set_meets_set(void)
{
    together(set_second, get_one, set_third, 3);
}

static void settling_meets_set(void)
{
    together(get_three, set_second, NULL, 2);
}

static void settling_meets_settling(void)
{
    together(get_three, get_three, NULL, 1);
}

static void settling_meets_return(void)
{
    together(get_three, set_second, put_back, 2);
}

static void settling_meets_other_gets(void)
{
    together(get_three, set_second_and_get, NULL, 2);
}

/* Each counts one up: the number that it finds, and one more in a place of its own. */
struct counting {
    struct world *w;
    int place;
};

static int count_up(void *ctx, struct fm_value *present, struct fm_value **ret_next)
{
    struct counting *counting = ctx;
    int *own = &counting->w->data[counting->place];
    read_value(present);
    *own = *(int *)fm_value_pointer(present) + 1; /* what was made in vain has been dropped */
    return fm_value_create(own, drop, ret_next);
}

static void update(struct world *w, int place)
{
    struct counting counting = { w, place };
    struct fm_value *before, *after;
    model_assert(fm_ref_modify(w->ref, count_up, &counting, &before, &after) == 0);
    model_assert(*(int *)fm_value_pointer(after) == *(int *)fm_value_pointer(before) + 1);
    fm_value_unref(before);
    fm_value_unref(after);
}

static void update_third(void *arg)
{
    update(arg, 2);
}

static void update_fourth(void *arg)
{
    update(arg, 3);
}

static void update_meets_update(void)
{
    struct world *w = world_new();
    int ta = model_spawn(update_third, w), tb = model_spawn(update_fourth, w);
    model_join(ta);
    model_join(tb);
    struct fm_value *value = fm_ref_get(w->ref);
    model_assert(*(int *)fm_value_pointer(value) == 3);
    fm_value_unref(value);
    fm_ref_destroy(w->ref);
    model_assert(model_note(DROPS, 0) >= 3);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(get_meets_set, .less = 1),
    SCENARIO(set_meets_set, .less = 1),
    SCENARIO(settling_meets_set),
    SCENARIO(settling_meets_settling, .less = 1),
    SCENARIO(settling_meets_return, .less = 1),
    SCENARIO(settling_meets_other_gets),
    SCENARIO(update_meets_update),
    SCENARIO_END,
};
