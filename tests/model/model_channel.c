/*
 * model_channel.c - each value goes to one receiver or stays with its sender
 *
 * Protocol   runtime/sync/channel.c with runtime/sync/word.h. A value is a cell of plain data
 *            that its sender has written; its receiver reads and frees it, so that one who
 *            comes twice, or too early, is found. Where one receives all there is, it destroys
 *            the channel at once, while senders may still be returning.
 */
#include <errno.h>
#include <string.h>

#include "fm/channel.h"
#include "runtime/fiber/fiber.h"
#include "tests/model/model.h"

struct world {
    struct fm_channel *channel;
    _Atomic int inside; /* the last to come back destroys the channel */
    _Atomic(struct fm_fiber *) waiter;
};

enum { SENT, RECEIVED, REFUSED }; /* model_note */

static struct world *world_new(size_t capacity)
{
    struct world *w = model_calloc(1, sizeof *w);
    model_assert(fm_channel_create(capacity, NULL, &w->channel) == 0);
    return w;
}

/* ---- what the threads do ---- */

/* Nobody may touch the stack that a call has left. */
static __attribute__((noinline)) void tread(void)
{
    char left[256];
    memset(left, 0, sizeof left);
}

static int send_one(struct world *w, int64_t deadline_ns)
{
    int *cell = model_malloc(sizeof *cell);
    *cell = 42;
    int r = fm_channel_send(w->channel, cell, deadline_ns);
    tread();
    if (r == 0) {
        model_note(SENT, 1);
        return 0;
    }
    model_assert(*cell == 42);
    model_free(cell);
    model_note(REFUSED, 1);
    return r;
}

static void use(int *cell)
{
    model_assert(*cell == 42);
    *cell = 0;
    model_free(cell);
    model_note(RECEIVED, 1);
}

static int recv_one(struct world *w, int64_t deadline_ns)
{
    void *value;
    int r = fm_channel_recv(w->channel, deadline_ns, &value);
    tread();
    if (r == 0)
        use(value);
    return r;
}

static void send(void *arg)
{
    model_assert(send_one(arg, FM_NEVER) == 0);
}

static void send_until(void *arg)
{
    int r = send_one(arg, 1000);
    model_assert(r == 0 || r == -ETIMEDOUT);
}

static void send_or_closed(void *arg)
{
    int r = send_one(arg, FM_NEVER);
    model_assert(r == 0 || r == -EPIPE);
}

static void recv(void *arg)
{
    model_assert(recv_one(arg, FM_NEVER) == 0);
}

static void recv_until(void *arg)
{
    int r = recv_one(arg, 1000);
    model_assert(r == 0 || r == -ETIMEDOUT);
}

static void recv_or_closed(void *arg)
{
    int r = recv_one(arg, FM_NEVER);
    model_assert(r == 0 || r == -EPIPE);
}

static void recv_and_destroy(void *arg)
{
    struct world *w = arg;
    recv(w);
    fm_channel_destroy(w->channel);
}

static void recv_twice_and_destroy(void *arg)
{
    recv(arg);
    recv_and_destroy(arg);
}

static void recv_interruptibly(void *arg)
{
    struct world *w = arg;
    atomic_store_explicit(&w->waiter, fm__fiber_self(), memory_order_release);
    int r = recv_one(w, 1000);
    model_assert(r == 0 || r == -ECANCELED || r == -ETIMEDOUT);
}

static void interrupt(void *arg)
{
    struct world *w = arg;
    struct fm_fiber *waiter = atomic_load_explicit(&w->waiter, memory_order_acquire);
    if (waiter)
        fm__fiber_interrupt(waiter, FM_BY_USER);
}

static void close_it(void *arg)
{
    struct world *w = arg;
    model_assert(fm_channel_close(w->channel) == 0);
}

/* Waits in vain; the last to leave destroys the channel. */
static void recv_none_until(struct world *w, int64_t deadline_ns)
{
    int r = recv_one(w, deadline_ns);
    model_assert(r == -EPIPE || (r == -ETIMEDOUT && deadline_ns != FM_NEVER));
    if (atomic_fetch_sub_explicit(&w->inside, 1, memory_order_acq_rel) == 1)
        fm_channel_destroy(w->channel);
}

static void recv_none(void *arg)
{
    recv_none_until(arg, FM_NEVER);
}

static void recv_none_or_give_up(void *arg)
{
    recv_none_until(arg, 1000);
}

/* ---- scenarios ---- */

static void run(struct world *w, void (*a)(void *), void (*b)(void *), void (*c)(void *))
{
    int ta = model_spawn(a, w), tb = model_spawn(b, w), tc = c ? model_spawn(c, w) : 0;
    model_join(ta);
    model_join(tb);
    if (c)
        model_join(tc);
}

/* What is left in the channel when all have gone; then the accounts are made up. */
static void drain(struct world *w)
{
    void *value;
    while (fm_channel_try_recv(w->channel, &value) == 0)
        use(value);
    fm_channel_destroy(w->channel);
    model_assert(model_note(SENT, 0) == model_note(RECEIVED, 0));
}

static void rendezvous(void)
{
    run(world_new(0), send, recv_and_destroy, NULL);
    model_assert(model_note(RECEIVED, 0) == 1);
}

static void two_senders_meet_one_receiver(void)
{
    run(world_new(0), send, send, recv_twice_and_destroy);
    model_assert(model_note(RECEIVED, 0) == 2);
}

static void two_senders_one_place(void)
{
    run(world_new(1), send, send, recv_twice_and_destroy);
    model_assert(model_note(RECEIVED, 0) == 2);
}

static void deadline_meets_hand_over(void)
{
    struct world *w = world_new(0);
    run(w, send_until, recv_until, NULL);
    drain(w);
}

static void deadline_meets_free_place(void)
{
    struct world *w = world_new(1);
    model_assert(send_one(w, 0) == 0);
    run(w, send_until, recv_until, recv_until);
    drain(w);
}

static void free_place_lets_a_sender_go(void)
{
    struct world *w = world_new(1);
    model_assert(send_one(w, 0) == 0);
    run(w, send, recv, NULL);
    drain(w);
}

static void interrupt_meets_hand_over(void)
{
    struct world *w = world_new(0);
    run(w, send_until, recv_interruptibly, interrupt);
    drain(w);
}

static void close_meets_send_and_recv(void)
{
    struct world *w = world_new(0);
    run(w, send_or_closed, recv_or_closed, close_it);
    drain(w);
}

static void close_meets_place(void)
{
    struct world *w = world_new(1);
    model_assert(send_one(w, 0) == 0);
    run(w, send_or_closed, recv_or_closed, close_it);
    drain(w);
}

static void close_meets_sender(void)
{
    struct world *w = world_new(0);
    run(w, send_or_closed, close_it, NULL);
    drain(w);
}

/*
 * The close wakes one at a time here, and comes back for the second (channel.c), who may have
 * left by then and destroyed the channel.
 */
static void destroyed_while_close_returns(void)
{
    struct world *w = world_new(0);
    w->inside = 2;
    run(w, recv_none, recv_none_or_give_up, close_it);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(rendezvous),
    SCENARIO(deadline_meets_hand_over),
    SCENARIO(free_place_lets_a_sender_go),
    SCENARIO(close_meets_sender),
    SCENARIO(two_senders_meet_one_receiver, .less = 1),
    SCENARIO(two_senders_one_place, .less = 1),
    SCENARIO(deadline_meets_free_place, .less = 1),
    SCENARIO(interrupt_meets_hand_over, .less = 1),
    SCENARIO(close_meets_send_and_recv, .less = 1),
    SCENARIO(close_meets_place, .less = 1),
    SCENARIO(destroyed_while_close_returns, .less = 1),
    SCENARIO_END,
};
