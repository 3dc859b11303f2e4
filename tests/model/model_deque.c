/*
 * model_deque.c - each task is taken once, whole, and none is lost
 *
 * Protocol   runtime/queue/deque.c. Rings of 2 and 4, so that slots are used again.
 */
#include "runtime/queue/deque.h"

#include "tests/model/model.h"

/* What the queue moves: the number is plain data, so a task that arrives early is a race. */
struct task {
    int number;
};

enum { TASKS = 6 };

struct world {
    struct deque owner;
    struct deque thief;
    struct task tasks[TASKS];
    int used;              /* tasks that exist so far; the owner's */
    _Atomic uint32_t word; /* notes the sleeper */
};

static struct world *world_new(uint32_t owner_capacity)
{
    struct world *w = model_aligned(_Alignof(struct world), sizeof *w);
    model_assert(fm__deque_init(&w->owner, owner_capacity) == 0);
    model_assert(fm__deque_init(&w->thief, 2) == 0);
    return w;
}

static void take(struct task *task)
{
    if (task)
        model_assert(model_note((unsigned)task->number, 1) == 0);
}

/* A new task; the owner runs it itself if there is no room. */
static void push_one(struct world *w)
{
    struct task *task = &w->tasks[w->used];
    task->number = w->used++;
    if (!fm__deque_push(&w->owner, task))
        take(task);
}

/* All threads are joined: what is left is in the owner's queue, and nothing else was lost. */
static void settle(struct world *w)
{
    for (struct task *task; (task = fm__deque_pop(&w->owner));)
        take(task);
    model_assert(fm__deque_count(&w->owner) == 0);
    for (int i = 0; i < w->used; i++)
        model_assert(model_note((unsigned)i, 0) == 1);
}

static void steal_one(void *arg)
{
    struct world *w = arg;
    take(fm__deque_steal(&w->owner));
}

static void steal_two(void *arg)
{
    steal_one(arg);
    steal_one(arg);
}

static void steal_from_thief(void *arg)
{
    struct world *w = arg;
    take(fm__deque_steal(&w->thief));
}

static void steal_half(void *arg)
{
    struct world *w = arg;
    struct task *first;
    unsigned n = fm__deque_steal_half(&w->owner, &w->thief, &first);
    if (n)
        take(first);
    for (struct task *task; (task = fm__deque_pop(&w->thief));)
        take(task);
}

/* Owner and two thieves meet at the last tasks. F8. */
static void last_task(void)
{
    struct world *w = world_new(4);
    int a = model_spawn(steal_one, w);
    int b = model_spawn(steal_one, w);
    push_one(w);
    push_one(w);
    take(fm__deque_pop(&w->owner));
    take(fm__deque_pop(&w->owner));
    model_join(a);
    model_join(b);
    settle(w);
}

/* The queue runs empty and fills again: the last store of pop publishes nothing. */
static void refill(void)
{
    struct world *w = world_new(4);
    int a = model_spawn(steal_two, w);
    push_one(w);
    take(fm__deque_pop(&w->owner));
    push_one(w);
    take(fm__deque_pop(&w->owner));
    push_one(w);
    model_join(a);
    settle(w);
}

/* A ring of two: slots are written again while a thief may still read them. F9, F10. */
static void slots_come_round(void)
{
    struct world *w = world_new(2);
    int a = model_spawn(steal_two, w);
    int b = model_spawn(steal_one, w);
    for (int i = 0; i < 4; i++)
        push_one(w);
    model_join(a);
    model_join(b);
    settle(w);
}

/* The owner, too, may want its oldest. */
static void owner_takes_oldest(void)
{
    struct world *w = world_new(4);
    int a = model_spawn(steal_two, w);
    push_one(w);
    push_one(w);
    take(fm__deque_steal(&w->owner));
    take(fm__deque_pop(&w->owner));
    model_join(a);
    settle(w);
}

/* Half of the owner's tasks move while it pops, and a third thread robs the thief. F9. */
static void half_moves(void)
{
    struct world *w = world_new(4);
    for (int i = 0; i < 4; i++)
        push_one(w);
    int a = model_spawn(steal_half, w);
    int b = model_spawn(steal_from_thief, w);
    take(fm__deque_pop(&w->owner));
    take(fm__deque_pop(&w->owner));
    model_join(a);
    model_join(b);
    settle(w);
}

static void steal_half_when_full(void *arg)
{
    struct world *w = arg;
    for (int i = 4; i < 6; i++) {
        w->tasks[i].number = i;
        model_assert(fm__deque_push(&w->thief, &w->tasks[i]));
    }
    steal_half(w);
}

/* A thief whose own queue is full takes one to run, and loses none of its own. F10. */
static void half_finds_no_room(void)
{
    struct world *w = world_new(4);
    for (int i = 0; i < 4; i++)
        push_one(w);
    int a = model_spawn(steal_half_when_full, w);
    take(fm__deque_pop(&w->owner));
    model_join(a);
    w->used = 6;
    settle(w);
}

/* Sleeper's side of the promise in deque.h: note 8 says it found nothing and sleeps. */
static void sleeper(void *arg)
{
    struct world *w = arg;
    atomic_fetch_or_explicit(&w->word, 1, memory_order_seq_cst);
    if (fm__deque_count(&w->owner) == 0)
        model_note(8, 1);
}

static void thief_awake(void *arg)
{
    struct world *w = arg;
    struct task *task = fm__deque_steal(&w->owner);
    if (task)
        model_note(9, 1);
    take(task);
}

/* Sleeper and submitter do not miss each other, unless somebody awake has the task. */
static void sleeper_sees_push(void)
{
    struct world *w = world_new(4);
    int a = model_spawn(sleeper, w);
    int b = model_spawn(thief_awake, w);
    push_one(w);
    bool told = atomic_load_explicit(&w->word, memory_order_seq_cst) != 0;
    model_join(a);
    model_join(b);
    model_assert(told || model_note(8, 0) == 0 || model_note(9, 0) == 1);
    settle(w);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(last_task),          SCENARIO(refill),     SCENARIO(slots_come_round),
    SCENARIO(owner_takes_oldest), SCENARIO(half_moves), SCENARIO(half_finds_no_room),
    SCENARIO(sleeper_sees_push),  SCENARIO_END,
};
