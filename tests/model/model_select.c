/*
 * model_select.c - one case happens, whoever comes at the same time
 *
 * Protocol   runtime/sync/select.c over runtime/sync/channel.c and deferred.c. A value is a
 *            cell of plain data, as in model_channel.c; the cell of a send that did not happen
 *            is freed by its sender.
 */
#include <errno.h>

#include "fm/sync.h"
#include "runtime/fiber/fiber.h"
#include "tests/model/model.h"

struct world {
    struct fm_channel *a, *b;
    struct fm_deferred *cell;
    _Atomic(struct fm_fiber *) waiter;
};

enum { SENT, RECEIVED, CLOSED, COMPLETE }; /* model_note */

static struct world *world_new(size_t capacity)
{
    struct world *w = model_calloc(1, sizeof *w);
    model_assert(fm_channel_create(0, NULL, &w->a) == 0);
    model_assert(fm_channel_create(capacity, NULL, &w->b) == 0);
    model_assert(fm_deferred_create(&w->cell) == 0);
    return w;
}

/* ---- values ---- */

static int *cell_new(void)
{
    int *cell = model_malloc(sizeof *cell);
    *cell = 42;
    return cell;
}

static void keep(int *cell)
{
    model_assert(*cell == 42);
    model_free(cell);
}

static void use(int *cell)
{
    keep(cell);
    model_note(RECEIVED, 1);
}

/* ---- what the threads do ---- */

/* One select; its accounts. Returns its result, or the index of what happened. */
static int choose(struct fm_case *cases, size_t count, int64_t deadline_ns)
{
    size_t index = count;
    int r = fm_select(cases, count, deadline_ns, &index);
    model_assert(r < 0 || index < count);
    for (size_t i = 0; i < count; i++) {
        struct fm_case *c = &cases[i];
        bool happened = r == 0 && i == index;
        model_note(CLOSED, happened && c->result == -EPIPE);
        happened = happened && c->result == 0;
        if (c->kind == FM_CASE_SEND && happened)
            model_note(SENT, 1);
        else if (c->kind == FM_CASE_SEND)
            keep(c->value);
        else if (c->kind == FM_CASE_RECV && happened)
            use(c->value);
        else if (c->kind == FM_CASE_DEFERRED && happened)
            model_note(COMPLETE, c->exit.code == 5);
    }
    return r < 0 ? r : (int)index;
}

static struct fm_case sends(struct fm_channel *channel)
{
    return (struct fm_case) { .kind = FM_CASE_SEND, .channel = channel, .value = cell_new() };
}

static struct fm_case recvs(struct fm_channel *channel)
{
    return (struct fm_case) { .kind = FM_CASE_RECV, .channel = channel };
}

static void send_a_recv_b(void *arg)
{
    struct world *w = arg;
    struct fm_case cases[] = { sends(w->a), recvs(w->b) };
    model_assert(choose(cases, 2, FM_NEVER) >= 0);
}

static void send_b_recv_a(void *arg)
{
    struct world *w = arg;
    struct fm_case cases[] = { sends(w->b), recvs(w->a) };
    model_assert(choose(cases, 2, FM_NEVER) >= 0);
}

static void send_and_recv_a(void *arg)
{
    struct world *w = arg;
    struct fm_case cases[] = { sends(w->a), recvs(w->a) };
    model_assert(choose(cases, 2, FM_NEVER) >= 0);
}

static void recv_a_or_b(void *arg)
{
    struct world *w = arg;
    struct fm_case cases[] = { recvs(w->a), recvs(w->b) };
    model_assert(choose(cases, 2, FM_NEVER) >= 0);
}

static void recv_a_or_b_twice(void *arg)
{
    recv_a_or_b(arg);
    recv_a_or_b(arg);
}

static void recv_or_send_until(void *arg)
{
    struct world *w = arg;
    struct fm_case cases[] = { recvs(w->a), sends(w->b) };
    int r = choose(cases, 2, 1000);
    model_assert(r >= 0 || r == -ETIMEDOUT);
}

static void recv_a_or_b_interruptibly(void *arg)
{
    struct world *w = arg;
    struct fm_case cases[] = { recvs(w->a), recvs(w->b) };
    atomic_store_explicit(&w->waiter, fm__fiber_self(), memory_order_release);
    int r = choose(cases, 2, 1000);
    model_assert(r >= 0 || r == -ECANCELED || r == -ETIMEDOUT);
}

static void interrupt(void *arg)
{
    struct world *w = arg;
    struct fm_fiber *waiter = atomic_load_explicit(&w->waiter, memory_order_acquire);
    if (waiter)
        fm__fiber_interrupt(waiter, FM_BY_USER);
}

static void recv_a_or_await(void *arg)
{
    struct world *w = arg;
    struct fm_case cases[] = { recvs(w->a), { .kind = FM_CASE_DEFERRED, .deferred = w->cell } };
    model_assert(choose(cases, 2, FM_NEVER) >= 0);
}

static void complete(void *arg)
{
    struct world *w = arg;
    model_assert(fm_deferred_fail(w->cell, 5) == 0);
}

static void send_to(struct fm_channel *channel, int64_t deadline_ns)
{
    int *cell = cell_new();
    int r = fm_channel_send(channel, cell, deadline_ns);
    if (r == 0) {
        model_note(SENT, 1);
    } else {
        keep(cell);
        model_assert(r == -EPIPE || (r == -ETIMEDOUT && deadline_ns != FM_NEVER));
    }
}

static void send_a(void *arg)
{
    send_to(((struct world *)arg)->a, FM_NEVER);
}

static void send_b(void *arg)
{
    send_to(((struct world *)arg)->b, FM_NEVER);
}

static void send_a_until(void *arg)
{
    send_to(((struct world *)arg)->a, 1000);
}

static void send_b_until(void *arg)
{
    send_to(((struct world *)arg)->b, 1000);
}

static void recv_b_until(void *arg)
{
    struct world *w = arg;
    void *value;
    if (fm_channel_recv(w->b, 1000, &value) == 0)
        use(value);
}

static void close_a(void *arg)
{
    struct world *w = arg;
    model_assert(fm_channel_close(w->a) == 0);
}

/* ---- scenarios ---- */

static void together(struct world *w, void (*a)(void *), void (*b)(void *), void (*c)(void *))
{
    int ta = model_spawn(a, w), tb = model_spawn(b, w), tc = c ? model_spawn(c, w) : 0;
    model_join(ta);
    model_join(tb);
    if (c)
        model_join(tc);
    void *value;
    while (fm_channel_try_recv(w->b, &value) == 0)
        use(value);
    fm_channel_destroy(w->a);
    fm_channel_destroy(w->b);
    fm_deferred_destroy(w->cell);
    model_assert(model_note(SENT, 0) == model_note(RECEIVED, 0));
}

static void two_face_each_other(void)
{
    together(world_new(0), send_a_recv_b, send_b_recv_a, NULL);
    model_assert(model_note(SENT, 0) == 1);
}

static void two_meet_on_one_channel(void)
{
    together(world_new(0), send_and_recv_a, send_and_recv_a, NULL);
    model_assert(model_note(SENT, 0) == 1);
}

static void two_senders(void)
{
    together(world_new(0), recv_a_or_b_twice, send_a, send_b);
    model_assert(model_note(SENT, 0) == 2);
}

static void deadline_meets_both(void)
{
    together(world_new(0), recv_or_send_until, send_a_until, recv_b_until);
}

static void interrupt_meets_sender(void)
{
    together(world_new(0), recv_a_or_b_interruptibly, send_a_until, interrupt);
}

static void close_meets_sender(void)
{
    together(world_new(1), recv_a_or_b, send_b_until, close_a);
}

static void completion_meets_sender(void)
{
    together(world_new(0), recv_a_or_await, send_a_until, complete);
    model_assert(model_note(SENT, 0) + model_note(COMPLETE, 0) == 1);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(two_face_each_other),
    SCENARIO(two_meet_on_one_channel),
    SCENARIO(two_senders, .less = 1),
    SCENARIO(deadline_meets_both, .less = 2),
    SCENARIO(interrupt_meets_sender, .less = 1),
    SCENARIO(close_meets_sender, .less = 1),
    SCENARIO(completion_meets_sender, .less = 1),
    SCENARIO_END,
};
