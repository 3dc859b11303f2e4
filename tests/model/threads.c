/*
 * threads.c - coroutines: who runs, who waits
 *
 * The threads of an execution are coroutines of one OS thread. They hand over to each other
 * only in threads_point and threads_block, where the search says who is next. A thread that has
 * looked at things IDLE_STEPS times without a write gives way to the next one: it waits in a
 * loop, and a bounded search would let it wait for ever.
 */
#include <stdatomic.h>
#include <string.h>

#include "tests/model/checker.h"

enum {
    IDLE_STEPS = 40,
    STEPS = 20000, /* of one execution: beyond, it is a livelock */
    TIMEOUTS = 3,  /* of a thread while others can go on, whom it would keep off for ever */
};

/* Boost.Context's C interface; its own header is C++. */
struct transfer {
    void *from;
    void *data;
};
extern struct transfer jump_fcontext(void *to, void *data);
extern void *make_fcontext(void *stack_top, size_t size, void (*entry)(struct transfer));

_Alignas(4096) char thread_stacks[THREADS][STACK_BYTES];
struct thread threads[THREADS];
struct thread *running;
unsigned thread_count;
unsigned spurious_left;

/* To tell one kind of step from another in the hashes of states.c. */
enum { STEP_GIVE_WAY = 100, STEP_END, STEP_TIMEOUT, STEP_GO_ON, STEP_WAKE };

static struct order spawned;
static void *search_context; /* of the caller of threads_execute */
static unsigned steps;

static void switch_to(struct thread *next)
{
    struct thread *self = running;
    if (next == self)
        return;
    running = next;
    struct transfer t = jump_fcontext(next->context, self);
    ((struct thread *)t.data)->context = t.from;
}

/* A lock is waited for by its state, a timed sleep may end at any time. */
static bool can_run(const struct thread *t)
{
    switch (t->state) {
    case THREAD_READY: return true;
    case THREAD_FUTEX: return t->timed && t->timeouts < TIMEOUTS;
    case THREAD_LOCK: return memory_newest(t->waits_on, 4) == 0;
    case THREAD_AWAIT: return memory_newest(t->waits_on, 4) != 0;
    case THREAD_JOIN: return t->joins->state == THREAD_DONE;
    case THREAD_DONE: return false;
    }
    return false;
}

_Noreturn static void stop_stuck(void)
{
    for (unsigned i = 0; i < thread_count; i++)
        if (threads[i].state == THREAD_FUTEX || threads[i].state == THREAD_AWAIT)
            model_fail("lost wake-up: thread %u sleeps on %s and nobody can go on", i,
                       shadow_name(threads[i].waits_on));
    for (unsigned i = 0; i < thread_count; i++)
        if (threads[i].state == THREAD_LOCK)
            model_fail("deadlock: thread %u waits for the lock at %s", i,
                       shadow_name(threads[i].waits_on));
    for (unsigned i = 0; i < thread_count; i++)
        if (threads[i].state == THREAD_JOIN)
            model_fail("deadlock: thread %u joins thread %u", i,
                       (unsigned)(threads[i].joins - threads));
    threads_stop();
}

/* `own`: before a step on what nobody else uses. */
static void hand_over(bool given_way, bool own)
{
    if (++steps > STEPS)
        model_fail("livelock: %d steps", STEPS);
    struct thread *ready[THREADS];
    unsigned n = 0;
    bool stays = can_run(running) && running->state == THREAD_READY;
    if (stays && !given_way)
        ready[n++] = running;
    for (unsigned i = 1; i <= thread_count; i++) {
        struct thread *t = &threads[(running_id() + i) % thread_count];
        if (t != running ? can_run(t) : !stays && can_run(t))
            ready[n++] = t;
    }
    if (!n && stays)
        ready[n++] = running;
    for (unsigned i = 0; !n && i < thread_count; i++)
        if (threads[i].state == THREAD_FUTEX && threads[i].timed)
            ready[n++] = &threads[i];
    if (!n)
        stop_stuck();
    struct thread *next = given_way ? ready[0] : search_choose_thread(ready, n, !stays, own);
    if (next != running)
        TRACE("        -> thread %u", (unsigned)(next - threads));
    if (next->state == THREAD_FUTEX) {
        next->timed_out = true;
        next->timeouts++;
    }
    next->state = THREAD_READY;
    switch_to(next);
}

/*
 * Who was let run at a wait or at its start, and has done nothing since, need not be asked
 * again: to preempt it here is to have let another run in the first place.
 */
static void point(bool own)
{
    bool idle = ++running->idle_steps > IDLE_STEPS;
    if (running->unmoved && !idle)
        return;
    if (idle)
        running->idle_steps = 0;
    hand_over(idle, own);
}

void threads_point(void)
{
    point(false);
}

void threads_point_at(const void *address)
{
    point(alone_with(address));
}

void threads_give_way(void)
{
    running->idle_steps = 0;
    states_local(STEP_GIVE_WAY);
    hand_over(true, false);
}

/* To block is no step of its own: a thread's past tells whether it is about to. */
void threads_block(enum thread_state state)
{
    if (state == THREAD_DONE)
        states_local(STEP_END);
    running->state = state;
    hand_over(false, false);
    if (state == THREAD_FUTEX && running->timed_out) {
        states_write(states_futex(running->waits_on), STEP_TIMEOUT);
        return;
    }
    if (state == THREAD_FUTEX)
        states_local(STEP_GO_ON);
    running->unmoved = true;
}

bool threads_wake(const void *word)
{
    struct thread *sleeping[THREADS];
    unsigned n = 0;
    for (unsigned i = 0; i < thread_count; i++)
        if (threads[i].state == THREAD_FUTEX && threads[i].waits_on == word)
            sleeping[n++] = &threads[i];
    if (!n) {
        states_read(states_futex(word), STEP_WAKE);
        return false;
    }
    struct thread *woken = sleeping[search_choose(n)];
    states_write(states_futex(word), STEP_WAKE + (uint64_t)(woken - threads));
    states_meet(woken, running);
    woken->state = THREAD_READY;
    return true;
}

static void thread_entry(struct transfer t)
{
    if (t.data)
        ((struct thread *)t.data)->context = t.from;
    else
        search_context = t.from;
    running->run(running->arg);
    running->now.at[running_id()]++;
    threads_block(THREAD_DONE);
    __builtin_unreachable();
}

static struct thread *thread_new(void (*run)(void *), void *arg)
{
    if (thread_count == THREADS)
        model_fail("more than %d threads", THREADS);
    unsigned i = thread_count++;
    struct thread *t = &threads[i];
    memset(t, 0, sizeof *t);
    t->run = run;
    t->arg = arg;
    t->state = THREAD_READY;
    t->context = make_fcontext(thread_stacks[i] + STACK_BYTES, STACK_BYTES, thread_entry);
    t->unmoved = true;
    if (i) {
        t->seen = running->seen;
        t->now = running->now;
        running->now.at[running_id()]++;
        states_write(&spawned, i);
        t->past = i;
        states_meet(t, running);
    }
    t->now.at[i] = 1;
    return t;
}

int model_spawn(void (*run)(void *arg), void *arg)
{
    return (int)(thread_new(run, arg) - threads);
}

void model_join(int thread)
{
    struct thread *t = &threads[thread];
    if (t->state != THREAD_DONE) {
        running->joins = t;
        threads_block(THREAD_JOIN);
    }
    states_meet(running, t);
    t->joined = true;
    view_join(&running->seen, &t->seen);
    clock_join(&running->now, &t->now);
}

int model_thread(void)
{
    return (int)running_id();
}

void *model_own(void)
{
    return running->own;
}

void model_set_own(void *own)
{
    running->own = own;
}

void model_await(const _Atomic uint32_t *word)
{
    while (memory_load((void *)(uintptr_t)word, 4, memory_order_acquire) == 0) {
        running->waits_on = word;
        threads_block(THREAD_AWAIT);
    }
}

static void first_entry(void *arg)
{
    (*(void (**)(void))arg)();
}

void threads_execute(void (*run)(void))
{
    steps = 0;
    thread_count = 0;
    spurious_left = 1;
    spawned = (struct order) { 0 };
    running = thread_new(first_entry, &run);
    jump_fcontext(running->context, NULL);
    running = NULL;
}

_Noreturn void threads_stop(void)
{
    jump_fcontext(search_context, NULL);
    __builtin_unreachable();
}
