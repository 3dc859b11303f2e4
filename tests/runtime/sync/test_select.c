/* SPDX-License-Identifier: Apache-2.0 */
/* test_select.c - exactly one case happens, and the others as if they had not been there */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "runtime/platform/memory.h"
#include "tests/support/fibers.h"
#include "tests/support/waits.h"

static struct fm_channel *make(size_t capacity)
{
    struct fm_channel *channel;
    cr_assert_eq(fm_channel_create(capacity, NULL, &channel), 0);
    return channel;
}

static void expect_value(struct fm_channel *channel, intptr_t expected)
{
    void *value = NULL;
    cr_assert_eq(fm_channel_try_recv(channel, &value), 0);
    cr_assert_eq(value, number(expected));
}

/* Nobody waits on a rendezvous. */
static void expect_alone(struct fm_channel *channel)
{
    cr_assert_eq(fm_channel_try_send(channel, NULL), -EAGAIN);
    cr_assert_eq(fm_channel_try_recv(channel, NULL), -EAGAIN);
}

/* One select in a fiber of its own. */
enum { CASES_MAX = 4 };

struct selection {
    struct fm_case cases[CASES_MAX];
    size_t count;
    int64_t deadline_ns;
    int result; /* 1: has not returned */
    size_t index;
};

static struct fm_exit select_it(void *arg)
{
    struct selection *s = arg;
    s->result = fm_select(s->cases, s->count, s->deadline_ns, &s->index);
    return s->result < 0 ? fm_fail(s->result) : fm_ok(NULL);
}

static struct selection selection(size_t count, struct fm_case a, struct fm_case b,
                                  struct fm_case c)
{
    return (struct selection) {
        .cases = { a, b, c }, .count = count, .deadline_ns = FM_NEVER, .result = 1, .index = 99
    };
}

static struct fm_fiber *begin(struct selection *s)
{
    struct fm_fiber *fiber = start(select_it, s);
    settle();
    return fiber;
}

/* ---- what can happen at once ---- */

static struct fm_exit ready_body(void *arg)
{
    struct fm_channel *full = make(1), *empty = make(1);
    size_t index = 99;
    cr_assert_eq(fm_channel_try_send(full, number(1)), 0);

    struct fm_case recv[] = { fm_case_recv(empty), fm_case_recv(full) };
    cr_assert_eq(fm_select(recv, 2, FM_NEVER, &index), 0);
    cr_assert_eq(index, 1);
    cr_assert_eq(recv[1].result, 0);
    cr_assert_eq(recv[1].value, number(1));

    cr_assert_eq(fm_channel_try_send(full, number(2)), 0);
    struct fm_case send[] = { fm_case_send(full, number(3)), fm_case_send(empty, number(4)) };
    cr_assert_eq(fm_select(send, 2, 0, &index), 0);
    cr_assert_eq(index, 1);
    cr_assert_eq(send[1].result, 0);
    cr_assert_eq(fm_channel_length(full), 1);
    cr_assert_eq(fm_select(send, 2, 0, &index), -ETIMEDOUT, "both are full now");
    cr_assert_eq(index, 1, "written on success only");
    expect_value(full, 2);
    expect_value(empty, 4);
    cr_assert_eq(fm_select(recv, 2, 0, NULL), -ETIMEDOUT);
    fm_channel_destroy(full);
    fm_channel_destroy(empty);
    return fm_ok(NULL);
}

TEST(select, what_can_happen_at_once_happens_without_waiting)
{
    run_in_fibers(ready_body, 1, FM_CLOCK_REAL);
    ready_body(NULL);
}

/* Several are ready. */
static struct fm_exit fair_body(void *arg)
{
    enum { CASES = 5, TURNS = 5000 };
    struct fm_channel *channels[CASES];
    struct fm_case cases[CASES];
    uint64_t *ret_trace = arg;
    int happened[CASES] = { 0 };
    for (int i = 0; i < CASES; i++) {
        channels[i] = make(1);
        cases[i] = fm_case_recv(channels[i]);
    }
    cr_assert_eq(fm_channel_try_send(channels[1], NULL), 0);
    cr_assert_eq(fm_channel_try_send(channels[2], NULL), 0);
    cr_assert_eq(fm_channel_try_send(channels[4], NULL), 0);
    for (int i = 0; i < TURNS; i++) {
        size_t index;
        cr_assert_eq(fm_select(cases, CASES, i % 2 ? FM_NEVER : 0, &index), 0);
        happened[index]++;
        *ret_trace = *ret_trace * 31 + index;
        cr_assert_eq(fm_channel_try_send(channels[index], NULL), 0);
    }
    for (int i = 0; i < CASES; i++) {
        if (i == 0 || i == 3)
            cr_assert_eq(happened[i], 0);
        else
            cr_assert(happened[i] > TURNS / 4 && happened[i] < TURNS / 2, "%d: %d", i,
                      happened[i]);
        fm_channel_destroy(channels[i]);
    }
    return fm_ok(NULL);
}

static uint64_t trace_of_seed(uint64_t seed)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_exit exit;
    uint64_t trace = 0;
    config.worker_count = 1;
    config.seed = seed;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    cr_assert_eq(fm_runtime_run(runtime, fair_body, &trace, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    fm_runtime_destroy(runtime);
    return trace;
}

/* F77 */
TEST(select, of_several_each_is_as_likely_and_the_seed_decides)
{
    uint64_t trace = trace_of_seed(7);
    cr_assert_eq(trace_of_seed(7), trace);
    cr_assert_neq(trace_of_seed(8), trace);
    fair_body(&trace); /* a thread draws by itself */
}

/* ---- waiting ---- */

WORKER_TEST(select, one_case_happens_and_the_other_leaves_no_trace)
{
    struct fm_channel *a = make(0), *b = make(0);
    for (int which = 0; which < 2; which++) {
        struct selection s = selection(2, fm_case_recv(a), fm_case_send(b, number(5)),
                                       fm_case_none());
        struct fm_fiber *fiber = begin(&s);
        cr_assert_eq(s.result, 1);
        if (which == 0)
            cr_assert_eq(fm_channel_try_send(a, number(4)), 0);
        else
            expect_value(b, 5);
        /* its other case is on a list still, and harmless */
        expect_alone(a);
        expect_alone(b);
        finish(fiber);
        cr_assert_eq(s.result, 0);
        cr_assert_eq(s.index, which);
        cr_assert_eq(s.cases[which].result, 0);
        if (which == 0)
            cr_assert_eq(s.cases[0].value, number(4));
        expect_alone(a);
        expect_alone(b);
    }
    fm_channel_destroy(a);
    fm_channel_destroy(b);
}

/* A place in the ring, filled by a select that waited to send. */
WORKER_TEST(select, waiting_send_fills_the_place_that_becomes_free)
{
    struct fm_channel *a = make(1), *b = make(2);
    cr_assert_eq(fm_channel_try_send(a, number(1)), 0);
    cr_assert_eq(fm_channel_try_send(b, number(2)), 0);
    cr_assert_eq(fm_channel_try_send(b, number(3)), 0);
    struct selection s = selection(2, fm_case_send(a, number(4)), fm_case_send(b, number(5)),
                                   fm_case_none());
    struct fm_fiber *fiber = begin(&s);
    expect_value(b, 2);
    cr_assert_eq(fm_channel_length(b), 2, "5 has taken the place");
    expect_value(a, 1);
    cr_assert_eq(fm_channel_length(a), 0, "4 is its sender's still");
    finish(fiber);
    cr_assert_eq(s.index, 1);
    expect_value(b, 3);
    expect_value(b, 5);
    fm_channel_destroy(a);
    fm_channel_destroy(b);
}

WORKER_TEST(select, selects_are_served_first_come_first_served)
{
    struct fm_channel *a = make(0), *b = make(0);
    struct selection s[3];
    struct fm_fiber *fibers[3];
    for (int i = 0; i < 3; i++) {
        s[i] = selection(2, fm_case_recv(i == 1 ? b : a), fm_case_recv(i == 1 ? a : b),
                         fm_case_none());
        fibers[i] = begin(&s[i]);
    }
    for (intptr_t i = 0; i < 3; i++)
        cr_assert_eq(fm_channel_try_send(i == 2 ? b : a, number(i)), 0);
    for (int i = 0; i < 3; i++) {
        finish(fibers[i]);
        cr_assert_eq(s[i].index, i > 0);
        cr_assert_eq(s[i].cases[s[i].index].value, number(i), "first come, first served");
    }
    expect_alone(a);
    expect_alone(b);
    fm_channel_destroy(a);
    fm_channel_destroy(b);
}

/* ---- one channel in several cases ---- */

WORKER_TEST(select, channel_may_stand_in_several_cases)
{
    struct fm_channel *a = make(0);
    struct selection s = selection(3, fm_case_recv(a), fm_case_recv(a), fm_case_recv(a));
    struct fm_fiber *fiber = begin(&s);
    cr_assert_eq(fm_channel_try_send(a, number(1)), 0);
    cr_assert_eq(fm_channel_try_send(a, number(2)), -EAGAIN, "one select takes one value");
    finish(fiber);
    cr_assert_eq(s.cases[s.index].value, number(1));

    s = selection(2, fm_case_send(a, number(1)), fm_case_send(a, number(2)), fm_case_none());
    fiber = begin(&s);
    void *value;
    cr_assert_eq(fm_channel_try_recv(a, &value), 0);
    cr_assert_eq(fm_channel_try_recv(a, NULL), -EAGAIN);
    finish(fiber);
    cr_assert_eq(value, number((intptr_t)s.index + 1), "the value is that of the case");
    expect_alone(a);
    fm_channel_destroy(a);
}

TIMED_WORKER_TEST(select, send_and_receive_on_one_channel_meet_only_others)
{
    struct fm_channel *a = make(0);
    struct fm_case both[] = { fm_case_send(a, number(1)), fm_case_recv(a) };
    cr_assert_eq(fm_select(both, 2, 0, NULL), -ETIMEDOUT);
    cr_assert_eq(fm_select(both, 2, fm_after_ms(2), NULL), -ETIMEDOUT,
                 "a select does not meet itself");

    struct selection s[2];
    struct fm_fiber *fibers[2];
    for (int i = 0; i < 2; i++) {
        s[i] = selection(2, fm_case_send(a, number(i + 1)), fm_case_recv(a), fm_case_none());
        fibers[i] = begin(&s[i]);
    }
    for (int i = 0; i < 2; i++)
        finish(fibers[i]);
    cr_assert_neq(s[0].index, s[1].index, "two of the kind meet each other");
    for (int i = 0; i < 2; i++)
        if (s[i].index == 1)
            cr_assert_eq(s[i].cases[1].value, number(2 - i));
    expect_alone(a);
    fm_channel_destroy(a);
}

/* ---- two that face each other ---- */

static struct fm_exit face_body(void *arg)
{
    struct fm_channel *a = make(0), *b = make(0);
    for (int turn = 0; turn < 2000; turn++) {
        struct selection left = selection(2, fm_case_send(a, number(1)), fm_case_recv(b),
                                          fm_case_none());
        struct selection right = selection(2, fm_case_send(b, number(2)), fm_case_recv(a),
                                           fm_case_none());
        struct fm_fiber *fibers[] = { start(select_it, &left), start(select_it, &right) };
        for (int i = 0; i < 2; i++)
            cr_assert_eq(finish(fibers[i]).kind, FM_SUCCESS);
        cr_assert_neq(left.index, right.index, "one sent, the other received");
        if (left.index == 0)
            cr_assert_eq(right.cases[1].value, number(1));
        else
            cr_assert_eq(left.cases[1].value, number(2));
        expect_alone(a);
        expect_alone(b);
    }
    fm_channel_destroy(a);
    fm_channel_destroy(b);
    return fm_ok(NULL);
}

TEST_WITH(select, two_that_face_each_other_exchange_one_value, .timeout = 30)
{
    run_in_fibers(face_body, 1, FM_CLOCK_REAL);
    run_in_fibers(face_body, 2, FM_CLOCK_REAL);
}

/* ---- close ---- */

WORKER_TEST(select, closed_channel_makes_its_cases_happen)
{
    struct fm_channel *a = make(0), *b = make(0);
    struct selection s[2] = {
        selection(2, fm_case_recv(a), fm_case_recv(b), fm_case_none()),
        selection(2, fm_case_send(b, number(1)), fm_case_send(a, number(2)), fm_case_none()),
    };
    s[1].cases[0] = fm_case_none();
    /* the second would meet the first: let it wait for the close by itself */
    struct fm_fiber *fiber = begin(&s[0]);
    cr_assert_eq(fm_channel_close(a), 0);
    finish(fiber);
    cr_assert_eq(s[0].result, 0);
    cr_assert_eq(s[0].index, 0);
    cr_assert_eq(s[0].cases[0].result, -EPIPE);
    cr_assert_null(s[0].cases[0].value);
    expect_alone(b);

    fiber = begin(&s[1]);
    finish(fiber);
    cr_assert_eq(s[1].index, 1, "closed already");
    cr_assert_eq(s[1].cases[1].result, -EPIPE);
    cr_assert_eq(s[1].cases[1].value, number(2));

    s[1] = selection(1, fm_case_send(b, number(3)), fm_case_none(), fm_case_none());
    fiber = begin(&s[1]);
    cr_assert_eq(fm_channel_close(b), 0);
    finish(fiber);
    cr_assert_eq(s[1].index, 0);
    cr_assert_eq(s[1].cases[0].result, -EPIPE);
    fm_channel_destroy(a);
    fm_channel_destroy(b);
}

/* ---- time ---- */

EXACT_TEST(select, timer_is_a_case_and_the_deadline_is_none)
{
    struct fm_channel *a = make(0);
    struct selection s = selection(3, fm_case_timer(fm_after_ms(30)), fm_case_recv(a),
                                   fm_case_timer(fm_after_ms(20)));
    struct fm_fiber *fiber = begin(&s);
    pass_ms(19);
    cr_assert_eq(s.result, 1);
    pass_ms(1);
    finish(fiber);
    cr_assert_eq(s.index, 2, "the earlier one");
    cr_assert_eq(s.cases[2].result, 0);
    expect_alone(a);

    cr_assert_eq(fm_select(s.cases, 3, FM_NEVER, &s.index), 0);
    cr_assert_eq(s.index, 2, "it is over");

    s = selection(2, fm_case_recv(a), fm_case_timer(fm_after_ms(30)), fm_case_none());
    s.deadline_ns = fm_after_ms(10);
    fiber = begin(&s);
    pass_ms(10);
    finish(fiber);
    cr_assert_eq(s.result, -ETIMEDOUT, "the deadline came before the timer");
    expect_alone(a);

    s.deadline_ns = s.cases[1].time_ns;
    fiber = begin(&s);
    pass_ms(20);
    finish(fiber);
    cr_assert_eq(s.result, 0, "at the same time the timer is a case that has happened");
    cr_assert_eq(s.index, 1);

    s = selection(2, fm_case_recv(a), fm_case_timer(fm_after_ms(10)), fm_case_none());
    fiber = begin(&s);
    cr_assert_eq(fm_channel_try_send(a, number(1)), 0);
    finish(fiber);
    cr_assert_eq(s.index, 0);
    int64_t next;
    cr_assert_eq(fm_clock_next_ns(fm_runtime_current(), &next), 0);
    cr_assert_eq(next, FM_NEVER, "no timer was left");
    fm_channel_destroy(a);
}

EXACT_TEST(select, without_a_case_only_the_deadline_or_an_interruption_ends_it)
{
    struct selection s = selection(0, fm_case_none(), fm_case_none(), fm_case_none());
    cr_assert_eq(fm_select(NULL, 0, 0, NULL), -ETIMEDOUT);
    s.deadline_ns = fm_after_ms(10);
    struct fm_fiber *fiber = begin(&s);
    cr_assert_eq(s.result, 1);
    pass_ms(10);
    finish(fiber);
    cr_assert_eq(s.result, -ETIMEDOUT);

    s.count = 3; /* cases that are switched off */
    s.deadline_ns = FM_NEVER;
    s.result = 1;
    fiber = begin(&s);
    pass_ms(1000000);
    cr_assert_eq(s.result, 1);
    fm_fiber_interrupt(fiber);
    cr_assert_eq(finish(fiber).kind, FM_INTERRUPTED);
    cr_assert_eq(s.result, -ECANCELED);
}

/* ---- deferreds ---- */

WORKER_TEST(select, deferred_that_completes_is_a_case)
{
    struct fm_channel *a = make(0);
    struct fm_deferred *d[2];
    for (int i = 0; i < 2; i++)
        cr_assert_eq(fm_deferred_create(&d[i]), 0);
    struct selection s = selection(3, fm_case_deferred(d[0]), fm_case_recv(a),
                                   fm_case_deferred(d[1]));
    struct fm_fiber *fiber = begin(&s);
    cr_assert_eq(fm_deferred_fail(d[1], -7), 0);
    finish(fiber);
    cr_assert_eq(s.index, 2);
    cr_assert_eq(s.cases[2].result, 0);
    cr_assert_eq(s.cases[2].exit.kind, FM_FAILURE);
    cr_assert_eq(s.cases[2].exit.code, -7);
    expect_alone(a);

    s.cases[2].exit = fm_ok(NULL);
    cr_assert_eq(fm_select(s.cases, 3, 0, &s.index), 0, "it stays complete");
    cr_assert_eq(s.index, 2);
    cr_assert_eq(s.cases[2].exit.code, -7);

    s.count = 2;
    s.result = 1;
    fiber = begin(&s);
    cr_assert_eq(fm_channel_try_send(a, number(1)), 0);
    cr_assert_eq(fm_deferred_succeed(d[0], NULL), 0, "too late for this select");
    finish(fiber);
    cr_assert_eq(s.index, 1);
    cr_assert_eq(s.cases[1].value, number(1));

    fm_deferred_destroy(d[1]);
    cr_assert_eq(fm_deferred_create(&d[1]), 0);
    s = selection(2, fm_case_deferred(d[1]), fm_case_deferred(d[1]), fm_case_none());
    fiber = begin(&s);
    cr_assert_eq(fm_deferred_succeed(d[1], s.cases), 0);
    finish(fiber);
    cr_assert_eq(s.cases[s.index].exit.value, s.cases, "twice in one select");
    for (int i = 0; i < 2; i++)
        fm_deferred_destroy(d[i]);
    fm_channel_destroy(a);
}

/* ---- interruption ---- */

TIMED_WORKER_TEST(select, interruption_gives_values_back)
{
    struct fm_channel *a = make(0), *b = make(1);
    cr_assert_eq(fm_channel_try_send(b, number(1)), 0);
    struct selection s = selection(2, fm_case_recv(a), fm_case_send(b, number(2)),
                                   fm_case_none());
    struct fm_fiber *fiber = begin(&s);
    fm_fiber_interrupt(fiber);
    expect_value(b, 1);
    cr_assert_eq(fm_channel_length(b), 0, "2 has gone back");
    cr_assert_eq(finish(fiber).kind, FM_INTERRUPTED);
    cr_assert_eq(s.result, -ECANCELED);
    expect_alone(a);

    s = selection(2, fm_case_recv(a), fm_case_recv(b), fm_case_none());
    fiber = begin(&s);
    cr_assert_eq(fm_channel_try_send(a, number(3)), 0);
    fm_fiber_interrupt(fiber);
    cr_assert_eq(finish(fiber).kind, FM_SUCCESS, "the value came first");
    cr_assert_eq(s.cases[0].value, number(3));

    fm_fiber_interrupt(fm_fiber_self());
    cr_assert_eq(fm_select(s.cases, 2, FM_NEVER, NULL), -ECANCELED);
    cr_assert_eq(fm_select(s.cases, 2, 0, NULL), -ETIMEDOUT, "a poll does not wait");
    fm_mask();
    cr_assert_eq(fm_select(s.cases, 2, fm_after_ms(1), NULL), -ETIMEDOUT, "masked");
    fm_unmask();
    fm_channel_destroy(a);
    fm_channel_destroy(b);
}

/*
 * Two selects that both send and receive, on a rendezvous and on a channel that holds one
 * value; one of them is interrupted, or its deadline passes, at each step. Who comes to the
 * chosen step does that, to himself or to another who waits, is about to run or has ended.
 */
enum { SWEEP_TURNS = 6 };

struct sweep {
    struct fm_channel *channels[2];
    int64_t deadline_ns;
    _Atomic(struct fm_fiber *) victim; /* nobody starts before it is known */
    _Atomic int steps_left;
    _Atomic unsigned sent, received; /* bits */
};

static void sweep_end(struct sweep *sweep)
{
    if (sweep->deadline_ns != FM_NEVER)
        time_out(sweep->victim);
    else
        fm_fiber_interrupt(sweep->victim);
}

static void sweep_step(struct sweep *sweep)
{
    if (sweep->steps_left-- == 0)
        sweep_end(sweep);
}

struct player {
    struct sweep *sweep;
    int me;
};

static void mark(_Atomic unsigned *bits, intptr_t value)
{
    unsigned before = atomic_fetch_or(bits, 1u << value);
    cr_assert_not(before & 1u << value, "value %d twice", (int)value);
}

static struct fm_exit sweep_player(void *arg)
{
    struct player *player = arg;
    struct sweep *sweep = player->sweep;
    while (!sweep->victim)
        fm_yield();
    for (int i = 0; i < SWEEP_TURNS; i++) {
        intptr_t value = player->me * SWEEP_TURNS + i;
        struct fm_case cases[] = { fm_case_send(sweep->channels[0], number(value)),
                                   fm_case_recv(sweep->channels[1]),
                                   fm_case_send(sweep->channels[1], number(value)),
                                   fm_case_recv(sweep->channels[0]) };
        size_t index;
        sweep_step(sweep);
        int r = fm_select(cases, 4, player->me ? FM_NEVER : sweep->deadline_ns, &index);
        if (r < 0)
            return fm_fail(r);
        if (cases[index].result == -EPIPE)
            return fm_ok(NULL);
        if (index % 2)
            mark(&sweep->received, (intptr_t)cases[index].value);
        else
            mark(&sweep->sent, value);
        sweep_step(sweep);
        r = i % 2 ? fm_yield() : 0;
        if (r < 0)
            return fm_fail(r);
    }
    return fm_ok(NULL);
}

static void sweep_once(int victim, int step, bool by_deadline, int *ended, int *unharmed)
{
    struct sweep sweep = { { make(0), make(1) }, FM_NEVER, NULL, step, 0, 0 };
    struct player players[3] = { { &sweep, 0 }, { &sweep, 1 }, { &sweep, 2 } };
    struct fm_fiber *fibers[3];
    if (by_deadline)
        sweep.deadline_ns = fm_after_s(1000);
    for (int i = 0; i < 3; i++)
        fibers[i] = start(sweep_player, &players[i]);
    sweep.victim = fibers[victim];
    fm_clock_advance_ns(fm_runtime_current(), 1); /* returns when nobody can go on */
    if (sweep.steps_left >= 0)
        sweep_end(&sweep);
    for (int i = 0; i < 2; i++)
        fm_channel_close(sweep.channels[i]); /* who is left alone goes */
    for (int i = 0; i < 3; i++) {
        struct fm_exit exit = finish(fibers[i]);
        cr_assert(i == victim || exit.kind == FM_SUCCESS);
        *ended += exit.kind != FM_SUCCESS;
        *unharmed += exit.kind == FM_SUCCESS;
    }
    for (int i = 0; i < 2; i++) {
        void *value;
        while (fm_channel_try_recv(sweep.channels[i], &value) == 0)
            mark(&sweep.received, (intptr_t)value);
        fm_channel_destroy(sweep.channels[i]);
    }
    cr_assert_eq(sweep.sent, sweep.received, "victim %d, step %d", victim, step);
}

static struct fm_exit sweep_body(void *arg)
{
    int ended = 0, unharmed = 0;
    for (int step = 0; step < 6 * SWEEP_TURNS; step++) {
        for (int victim = 0; victim < 3; victim++)
            sweep_once(victim, step, false, &ended, &unharmed);
        sweep_once(0, step, true, &ended, &unharmed);
    }
    cr_assert_gt(ended, 5, "the sweep met something");
    cr_assert_gt(unharmed, 100);
    return fm_ok(NULL);
}

/* F77 */
TEST_WITH(select, no_value_is_lost_wherever_a_select_is_ended, .timeout = 30)
{
    run_in_fibers(sweep_body, 1, FM_CLOCK_VIRTUAL);
    run_in_fibers(sweep_body, 2, FM_CLOCK_VIRTUAL);
}

/* ---- many, threads, refused ---- */

WORKER_TEST(select, there_may_be_hundreds_of_cases)
{
    enum { MANY = 300 };
    static struct fm_case cases[MANY];
    struct fm_channel *channels[MANY];
    for (int i = 0; i < MANY; i++)
        channels[i] = make(0);
    for (int i = 0; i < MANY; i++) /* in no order, and some several times */
        cases[i] = fm_case_recv(channels[(i * 77 + 5) % (MANY - 20)]);
    struct selection s = selection(1, fm_case_send(channels[12], number(12)), fm_case_none(),
                                   fm_case_none());
    struct fm_fiber *fiber = begin(&s);
    size_t index;
    cr_assert_eq(fm_select(cases, MANY, FM_NEVER, &index), 0);
    cr_assert_eq(cases[index].value, number(12));
    finish(fiber);
    s = selection(1, fm_case_send(channels[33], number(33)), fm_case_none(), fm_case_none());
    fiber = start(select_it, &s); /* it comes while we wait */
    cr_assert_eq(fm_select(cases, MANY, FM_NEVER, &index), 0);
    cr_assert_eq(cases[index].value, number(33));
    finish(fiber);
    for (int i = 0; i < MANY; i++) {
        expect_alone(channels[i]);
        fm_channel_destroy(channels[i]);
    }
}

struct relay {
    struct fm_channel *in, *out, *stop;
};

static void *relay_thread(void *arg)
{
    struct relay *relay = arg;
    void *held = NULL;
    for (bool full = false;;) {
        struct fm_case cases[] = { fm_case_recv(relay->stop),
                                   full ? fm_case_none() : fm_case_recv(relay->in),
                                   full ? fm_case_send(relay->out, held) : fm_case_none() };
        size_t index;
        cr_assert_eq(fm_select(cases, 3, FM_NEVER, &index), 0);
        if (index == 0)
            return held;
        full = index == 1;
        held = full ? cases[1].value : NULL;
    }
}

static struct fm_exit relay_body(void *arg)
{
    struct relay relay = { make(0), make(0), make(0) };
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, relay_thread, &relay), 0);
    intptr_t put = 0, got = 0, sum = 0;
    while (got < 1000) {
        struct fm_case cases[] = { put < 1000 ? fm_case_send(relay.in, number(put))
                                              : fm_case_none(),
                                   fm_case_recv(relay.out) };
        size_t index;
        cr_assert_eq(fm_select(cases, 2, FM_NEVER, &index), 0);
        if (index == 0) {
            put++;
        } else {
            got++;
            sum += (intptr_t)cases[1].value;
        }
    }
    cr_assert_eq(sum, 999 * 1000 / 2);
    fm_channel_close(relay.stop);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    expect_alone(relay.in);
    expect_alone(relay.out);
    fm_channel_destroy(relay.in);
    fm_channel_destroy(relay.out);
    fm_channel_destroy(relay.stop);
    return fm_ok(NULL);
}

TEST(select, threads_select_as_fibers_do)
{
    run_in_fibers(relay_body, 2, FM_CLOCK_REAL);
    relay_body(NULL);
}

TEST(select, wrong_arguments_are_refused)
{
    struct fm_channel *a = make(1);
    size_t index = 99;
    struct fm_case cases[2] = { fm_case_send(a, number(1)), fm_case_recv(NULL) };
    cr_assert_eq(fm_select(NULL, 1, 0, &index), -EINVAL);
    cr_assert_eq(fm_select(cases, 2, 0, &index), -EINVAL);
    cases[1] = fm_case_send(NULL, NULL);
    cr_assert_eq(fm_select(cases, 2, 0, &index), -EINVAL);
    cases[1] = fm_case_deferred(NULL);
    cr_assert_eq(fm_select(cases, 2, 0, &index), -EINVAL);
    cases[1].kind = 77;
    cr_assert_eq(fm_select(cases, 2, 0, &index), -EINVAL);
    cr_assert_eq(fm_select(cases, SIZE_MAX, 0, &index), -EINVAL);
    cr_assert_eq(fm_channel_length(a), 0, "nothing has happened");
    cr_assert_eq(index, 99);
    fm_channel_destroy(a);
}

TEST(select, no_memory_for_a_threads_first_wait_is_said_and_leaves_no_trace)
{
    struct fm_channel *a = make(0);
    struct fm_case cases[2] = { fm_case_send(a, number(1)), fm_case_recv(a) };
    fm__fault_set(FAULT_MAP, 1, true);
    cr_assert_eq(fm_select(cases, 2, FM_NEVER, NULL), -ENOMEM);
    fm__fault_set(FAULT_MAP, 0, false);
    expect_alone(a);
    fm_channel_destroy(a);
}
