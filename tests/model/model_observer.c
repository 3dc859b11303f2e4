/*
 * model_observer.c - each node on the exit list is told once or is its maker's again
 *
 * Protocol   runtime/fiber/observer.c. The exit of the fiber is plain data: whoever learns of
 *            the end before it is stored is a race. Nodes are freed by their makers as soon as
 *            the contract allows.
 */
#include "runtime/fiber/observer.h"

#include "runtime/platform/spin.h"
#include "tests/model/model.h"

enum { NODES = 4, TOLD = 0, REFUSED = 8, REMOVED = 16 }; /* notes, one for each node */

struct world {
    struct exit_list list;
    int exit;        /* of the fiber: stored before the seal */
    int touched;     /* by observer 0 while it is called */
    bool owned;      /* an owner is on the list from the start */
    bool owner_told; /* plain: readable by whoever is told, or asks, after the owners */
};

static struct world *world_new(void)
{
    return model_calloc(1, sizeof(struct world));
}

static struct exit_node *node_new(enum exit_node_kind kind, int number)
{
    struct exit_node *node = model_calloc(1, sizeof *node);
    node->kind = kind;
    node->epoch = (uint64_t)number;
    return node;
}

static void check_refused(struct world *w, unsigned number)
{
    model_assert(w->exit == 42);
    model_note(REFUSED + number, 1);
}

/* The fiber ends: as fiber.c does it. Observer 0 touches what its maker owns. */
static void run_exit(void *arg)
{
    struct world *w = arg;
    w->exit = 42;
    struct exit_node node;
    bool told = false, more = fm__exit_list_seal(&w->list, &node);
    enum exit_node_kind last = EXIT_OWNER;
    for (; more; more = fm__exit_list_take(&w->list, &node)) {
        model_assert(node.kind >= last);
        last = (enum exit_node_kind)node.kind;
        if (last == EXIT_OWNER) {
            w->owner_told = true;
        } else if (!told) {
            fm__exit_list_owners_told(&w->list);
            told = true;
        }
        model_assert(model_note(TOLD + (unsigned)node.epoch, 1) == 0);
        if (last == EXIT_OBSERVER) {
            if (node.epoch == 0)
                w->touched = 1;
            fm__exit_list_fired(&w->list);
        }
    }
    if (!told)
        fm__exit_list_owners_told(&w->list);
    model_assert(fm__exit_list_sealed(&w->list));
}

static void settle(unsigned nodes)
{
    for (unsigned i = 0; i < nodes; i++)
        model_assert(model_note(TOLD + i, 0) + model_note(REFUSED + i, 0) +
                         model_note(REMOVED + i, 0) ==
                     1);
}

static void add(struct world *w, enum exit_node_kind kind, unsigned number)
{
    if (!fm__exit_list_add(&w->list, node_new(kind, (int)number)))
        check_refused(w, number);
}

/* Add, take off again, and free at once, whatever remove says. */
static void add_and_remove(struct world *w, unsigned number)
{
    struct exit_node *node = node_new(EXIT_OBSERVER, (int)number);
    if (!fm__exit_list_add(&w->list, node)) {
        check_refused(w, number);
    } else if (fm__exit_list_remove(&w->list, node)) {
        model_note(REMOVED + number, 1);
    } else {
        /* as unobserve: acquire pairs with fired */
        for (unsigned spins = 0;
             atomic_load_explicit(&w->list.firing, memory_order_acquire) == node; spins++)
            fm__spin(spins);
        if (number == 0)
            w->touched = 2;
    }
    model_free(node);
}

static void add_observer_0(void *arg)
{
    add(arg, EXIT_OBSERVER, 0);
}

static void add_joiner_1(void *arg)
{
    add(arg, EXIT_JOINER, 1);
}

static void remove_0(void *arg)
{
    add_and_remove(arg, 0);
}

static void remove_1(void *arg)
{
    add_and_remove(arg, 1);
}

/* Has it ended? Then its exit is there, and the owners know. */
static void poll_end(void *arg)
{
    struct world *w = arg;
    if (!fm__exit_list_sealed(&w->list))
        return;
    model_assert(w->exit == 42);
    model_assert(!w->owned || w->owner_told);
}

static void together(struct world *w, void (*a)(void *), void (*b)(void *), void (*c)(void *),
                     unsigned nodes)
{
    int ta = model_spawn(a, w), tb = model_spawn(b, w), tc = c ? model_spawn(c, w) : 0;
    model_join(ta);
    model_join(tb);
    if (c)
        model_join(tc);
    settle(nodes);
}

/* F26 */
static void add_meets_seal(void)
{
    together(world_new(), run_exit, add_observer_0, add_joiner_1, 2);
}

/* F25 */
static void remove_meets_exit(void)
{
    together(world_new(), run_exit, remove_0, NULL, 1);
}

static void remove_meets_remove_and_exit(void)
{
    together(world_new(), run_exit, remove_0, remove_1, 2);
}

/* Neighbours on a list that is there already: from the middle, from the end. */
static void remove_old(void *arg)
{
    struct world *w = ((void **)arg)[0];
    struct exit_node *node = ((void **)arg)[1];
    unsigned number = (unsigned)node->epoch;
    if (fm__exit_list_remove(&w->list, node))
        model_note(REMOVED + number, 1);
    model_free(node);
}

/* Put a node on the list before the threads start; what remove_old needs to take it off. */
static void **listed(struct world *w, enum exit_node_kind kind, int number)
{
    void **argument = model_calloc(2, sizeof(void *));
    argument[0] = w;
    argument[1] = node_new(kind, number);
    model_assert(fm__exit_list_add(&w->list, argument[1]));
    return argument;
}

static void neighbours_leave(void)
{
    struct world *w = world_new();
    void **first = listed(w, EXIT_OBSERVER, 0);
    void **second = listed(w, EXIT_JOINER, 1);
    listed(w, EXIT_OBSERVER, 2);
    int a = model_spawn(remove_old, first);
    int b = model_spawn(remove_old, second);
    int c = model_spawn(run_exit, w);
    model_join(a);
    model_join(b);
    model_join(c);
    settle(3);
}

static void remove_meets_the_telling_of_owners(void)
{
    struct world *w = world_new();
    w->owned = true;
    listed(w, EXIT_OWNER, 0);
    listed(w, EXIT_JOINER, 1);
    void **joiner = listed(w, EXIT_JOINER, 2);
    int a = model_spawn(remove_old, joiner);
    int b = model_spawn(run_exit, w);
    model_join(a);
    model_join(b);
    settle(3);
}

static void end_is_known_after_the_owners(void)
{
    struct world *w = world_new();
    w->owned = true;
    add(w, EXIT_OWNER, 0);
    together(w, run_exit, poll_end, add_joiner_1, 2);
}

static void end_without_owners(void)
{
    together(world_new(), run_exit, poll_end, poll_end, 0);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(add_meets_seal),
    SCENARIO(remove_meets_exit),
    SCENARIO(remove_meets_remove_and_exit),
    SCENARIO(neighbours_leave),
    SCENARIO(remove_meets_the_telling_of_owners),
    SCENARIO(end_is_known_after_the_owners),
    SCENARIO(end_without_owners),
    SCENARIO_END,
};
