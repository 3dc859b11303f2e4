/* SPDX-License-Identifier: Apache-2.0 */
/* test_channel.c - each value goes to one receiver or back to its sender */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "runtime/platform/memory.h"
#include "tests/support/fibers.h"

static struct fm_channel *make(size_t capacity)
{
    struct fm_channel *channel;
    cr_assert_eq(fm_channel_create(capacity, NULL, &channel), 0);
    return channel;
}

/* One send or receive in a fiber of its own. */
struct call {
    struct fm_channel *channel;
    intptr_t value; /* what is sent, or was received */
    int64_t deadline_ns;
    int result; /* 1: has not returned */
};

static struct fm_exit send_it(void *arg)
{
    struct call *call = arg;
    call->result = fm_channel_send(call->channel, number(call->value), call->deadline_ns);
    return call->result < 0 ? fm_fail(call->result) : fm_ok(NULL);
}

static struct fm_exit recv_it(void *arg)
{
    struct call *call = arg;
    void *value = number(call->value);
    call->result = fm_channel_recv(call->channel, call->deadline_ns, &value);
    call->value = (intptr_t)value;
    return call->result < 0 ? fm_fail(call->result) : fm_ok(NULL);
}

static struct call calls(struct fm_channel *channel, intptr_t value)
{
    return (struct call) { channel, value, FM_NEVER, 1 };
}

/* Start it, and let it come to its wait. */
static struct fm_fiber *begin(fm_entry_fn *entry, struct call *call)
{
    struct fm_fiber *fiber = start(entry, call);
    settle();
    return fiber;
}

static void expect_value(struct fm_channel *channel, intptr_t expected)
{
    void *value = NULL;
    cr_assert_eq(fm_channel_try_recv(channel, &value), 0);
    cr_assert_eq(value, number(expected));
}

/* ---- the ring ---- */

static struct fm_exit order_body(void *arg)
{
    for (size_t capacity = 1; capacity <= 5; capacity++) {
        struct fm_channel *channel = make(capacity);
        intptr_t sent = 0, received = 0;
        void *value;
        for (int turn = 0; turn < 20; turn++) {
            while (fm_channel_try_send(channel, number(sent)) == 0)
                sent++;
            cr_assert_eq(fm_channel_length(channel), capacity);
            cr_assert_eq(fm_channel_send(channel, number(sent), 0), -ETIMEDOUT);
            for (int i = 0; i <= turn && fm_channel_try_recv(channel, &value) == 0; i++)
                cr_assert_eq(value, number(received++));
        }
        while (fm_channel_recv(channel, 0, &value) == 0)
            cr_assert_eq(value, number(received++));
        cr_assert_eq(sent, received);
        cr_assert_eq(fm_channel_try_recv(channel, &value), -EAGAIN);
        cr_assert_eq(fm_channel_recv(channel, 0, &value), -ETIMEDOUT);
        fm_channel_destroy(channel);
    }
    return fm_ok(NULL);
}

TEST(channel, values_come_out_in_the_order_they_were_sent)
{
    run_in_fibers(order_body, 1, FM_CLOCK_REAL);
    order_body(NULL);
}

WORKER_TEST(channel, null_is_a_value_like_any_other)
{
    struct fm_channel *channel = make(1);
    void *value = channel;
    cr_assert_eq(fm_channel_send(channel, NULL, 0), 0);
    cr_assert_eq(fm_channel_recv(channel, FM_NEVER, &value), 0);
    cr_assert_null(value);
    cr_assert_eq(fm_channel_send(channel, channel, 0), 0);
    cr_assert_eq(fm_channel_recv(channel, FM_NEVER, NULL), 0, "nobody wants it");
    cr_assert_eq(fm_channel_length(channel), 0);
    fm_channel_destroy(channel);
}

/* ---- waiting ---- */

WORKER_TEST(channel, without_capacity_sender_and_receiver_meet)
{
    struct fm_channel *channel = make(0);
    cr_assert_eq(fm_channel_try_send(channel, number(1)), -EAGAIN);
    cr_assert_eq(fm_channel_try_recv(channel, NULL), -EAGAIN);
    cr_assert_eq(fm_channel_send(channel, number(1), 0), -ETIMEDOUT);

    struct call call = calls(channel, 7);
    struct fm_fiber *fiber = begin(send_it, &call);
    cr_assert_eq(call.result, 1, "a send waits for its receiver");
    cr_assert_eq(fm_channel_length(channel), 0);
    expect_value(channel, 7);
    finish(fiber);
    cr_assert_eq(call.result, 0);

    call = calls(channel, 0);
    fiber = begin(recv_it, &call);
    cr_assert_eq(fm_channel_try_send(channel, number(8)), 0, "from hand to hand");
    cr_assert_eq(fm_channel_try_send(channel, number(9)), -EAGAIN, "it has one already");
    finish(fiber);
    cr_assert_eq(call.value, 8);
    fm_channel_destroy(channel);
}

/* Senders that wait: their values come in their order, and newcomers do not overtake. */
WORKER_TEST(channel, senders_are_served_first_come_first_served)
{
    for (size_t capacity = 0; capacity <= 2; capacity++) {
        enum { SENDERS = 4 };
        struct fm_channel *channel = make(capacity);
        struct call call[SENDERS];
        struct fm_fiber *fibers[SENDERS];
        intptr_t next = 0;
        for (; next < (intptr_t)capacity; next++)
            cr_assert_eq(fm_channel_try_send(channel, number(next)), 0);
        for (int i = 0; i < SENDERS; i++) {
            call[i] = calls(channel, next++);
            fibers[i] = begin(send_it, &call[i]);
        }
        cr_assert_eq(fm_channel_length(channel), capacity);
        for (intptr_t expected = 0; expected < next; expected++) {
            expect_value(channel, expected);
            if (expected + 1 < SENDERS)
                cr_assert_eq(fm_channel_try_send(channel, number(99)), -EAGAIN,
                             "capacity %zu: the place is the next sender's", capacity);
            settle();
            for (int i = 0; i < SENDERS; i++)
                cr_assert_eq(call[i].result, i <= expected ? 0 : 1,
                             "capacity %zu, after value %d: sender %d", capacity, (int)expected,
                             i);
        }
        for (int i = 0; i < SENDERS; i++)
            finish(fibers[i]);
        fm_channel_destroy(channel);
    }
}

WORKER_TEST(channel, receivers_are_served_first_come_first_served)
{
    for (size_t capacity = 0; capacity <= 2; capacity++) {
        enum { RECEIVERS = 4 };
        struct fm_channel *channel = make(capacity);
        struct call call[RECEIVERS];
        struct fm_fiber *fibers[RECEIVERS];
        for (int i = 0; i < RECEIVERS; i++) {
            call[i] = calls(channel, -1);
            fibers[i] = begin(recv_it, &call[i]);
        }
        for (int i = 0; i < RECEIVERS; i++) {
            cr_assert_eq(fm_channel_try_send(channel, number(i)), 0);
            cr_assert_eq(fm_channel_length(channel), 0, "into the hand of who waits");
            cr_assert_eq(fm_channel_try_recv(channel, NULL), -EAGAIN, "not ours");
        }
        for (int i = 0; i < RECEIVERS; i++) {
            finish(fibers[i]);
            cr_assert_eq(call[i].value, i);
        }
        fm_channel_destroy(channel);
    }
}

/* ---- leaving ---- */

/* The hand-over and an interruption, in both orders: the first decides. */
WORKER_TEST(channel, hand_over_and_interruption_the_first_decides)
{
    for (size_t capacity = 0; capacity <= 1; capacity++) {
        struct fm_channel *channel = make(capacity);
        struct call call = calls(channel, -1);
        struct fm_fiber *fiber = begin(recv_it, &call);
        cr_assert_eq(fm_channel_try_send(channel, number(1)), 0);
        fm_fiber_interrupt(fiber);
        cr_assert_eq(finish(fiber).kind, FM_SUCCESS, "it has its value");
        cr_assert_eq(call.value, 1);

        call = calls(channel, -1);
        fiber = begin(recv_it, &call);
        fm_fiber_interrupt(fiber);
        int r = fm_channel_try_send(channel, number(2));
        cr_assert_eq(r, capacity ? 0 : -EAGAIN, "on the list still, but its wait has ended");
        cr_assert_eq(finish(fiber).kind, FM_INTERRUPTED);
        cr_assert_eq(call.value, -1);
        cr_assert_eq(fm_channel_length(channel), capacity);

        call = calls(channel, 3);
        fiber = begin(send_it, &call); /* full, or nobody there */
        fm_fiber_interrupt(fiber);
        if (capacity)
            expect_value(channel, 2);
        cr_assert_eq(fm_channel_try_recv(channel, NULL), -EAGAIN, "3 has gone back");
        cr_assert_eq(finish(fiber).kind, FM_INTERRUPTED);

        if (capacity)
            cr_assert_eq(fm_channel_try_send(channel, number(4)), 0);
        call = calls(channel, 5);
        fiber = begin(send_it, &call);
        if (capacity)
            expect_value(channel, 4);
        else
            expect_value(channel, 5);
        fm_fiber_interrupt(fiber);
        cr_assert_eq(finish(fiber).kind, FM_SUCCESS, "it has sent");
        if (capacity)
            expect_value(channel, 5);
        fm_channel_destroy(channel);
    }
}

/* Who leaves, from the front, the middle or the back, is as if he had not come. */
EXACT_TEST(channel, waiter_whose_deadline_passes_leaves_no_trace)
{
    for (int leaver = 0; leaver < 3; leaver++) {
        for (int sending = 0; sending < 2; sending++) {
            struct fm_channel *channel = make(0);
            struct call call[3];
            struct fm_fiber *fibers[3];
            for (int i = 0; i < 3; i++) {
                call[i] = calls(channel, sending ? i : -1);
                if (i == leaver)
                    call[i].deadline_ns = fm_after_ms(10);
                fibers[i] = begin(sending ? send_it : recv_it, &call[i]);
            }
            pass_ms(20);
            cr_assert_eq(call[leaver].result, -ETIMEDOUT);
            for (int i = 0; i < 3; i++) {
                if (i == leaver)
                    continue;
                if (sending)
                    expect_value(channel, i);
                else
                    cr_assert_eq(fm_channel_try_send(channel, number(i)), 0);
            }
            cr_assert_eq(fm_channel_try_send(channel, NULL), -EAGAIN);
            cr_assert_eq(fm_channel_try_recv(channel, NULL), -EAGAIN);
            for (int i = 0; i < 3; i++) {
                finish(fibers[i]);
                cr_assert_eq(call[i].result, i == leaver ? -ETIMEDOUT : 0);
                cr_assert_eq(call[i].value, !sending && i == leaver ? -1 : i);
            }
            fm_channel_destroy(channel);
        }
    }
}

TIMED_WORKER_TEST(channel, pending_interruption_ends_the_next_wait_unless_masked)
{
    struct fm_channel *channel = make(1);
    fm_fiber_interrupt(fm_fiber_self());
    cr_assert_eq(fm_channel_recv(channel, FM_NEVER, NULL), -ECANCELED);
    cr_assert_eq(fm_channel_send(channel, number(1), FM_NEVER), 0, "no need to wait");
    cr_assert_eq(fm_channel_send(channel, number(2), FM_NEVER), -ECANCELED);
    cr_assert_eq(fm_mask(), 0);
    cr_assert_eq(fm_channel_recv(channel, FM_NEVER, NULL), 0);
    cr_assert_eq(fm_channel_recv(channel, fm_after_ms(1), NULL), -ETIMEDOUT, "masked");
    cr_assert_eq(fm_unmask(), 0);
    cr_assert_eq(fm_channel_length(channel), 0);
    fm_channel_destroy(channel);
}

/* ---- close ---- */

WORKER_TEST(channel, closed_lets_receivers_drain_and_refuses_senders)
{
    struct fm_channel *channel = make(2);
    cr_assert_not(fm_channel_closed(channel));
    cr_assert_eq(fm_channel_try_send(channel, number(1)), 0);
    cr_assert_eq(fm_channel_try_send(channel, number(2)), 0);
    struct call sender = calls(channel, 3);
    struct fm_fiber *fiber = begin(send_it, &sender);
    cr_assert_eq(fm_channel_close(channel), 0);
    cr_assert(fm_channel_closed(channel));
    cr_assert_eq(fm_channel_close(channel), FM_ALREADY_DONE);
    finish(fiber);
    cr_assert_eq(sender.result, -EPIPE, "3 is its sender's still");
    cr_assert_eq(fm_channel_try_send(channel, number(4)), -EPIPE);
    cr_assert_eq(fm_channel_send(channel, number(4), FM_NEVER), -EPIPE);
    expect_value(channel, 1);
    cr_assert_eq(fm_channel_try_send(channel, number(4)), -EPIPE, "there is room, but closed");
    void *value = NULL;
    cr_assert_eq(fm_channel_recv(channel, FM_NEVER, &value), 0, "what was there is received");
    cr_assert_eq(value, number(2));
    cr_assert_eq(fm_channel_recv(channel, FM_NEVER, &value), -EPIPE);
    cr_assert_eq(fm_channel_recv(channel, 0, &value), -EPIPE);
    cr_assert_eq(fm_channel_try_recv(channel, &value), -EPIPE);
    cr_assert_eq(value, number(2), "written on success only");
    fm_channel_destroy(channel);
}

/* More than one batch of close. */
static struct fm_exit close_wakes_body(void *arg)
{
    enum { MANY = 100 };
    for (int sending = 0; sending < 2; sending++) {
        struct fm_channel *channel = make(0);
        static struct call call[MANY];
        struct fm_fiber *fibers[MANY];
        for (int i = 0; i < MANY; i++) {
            call[i] = calls(channel, i);
            fibers[i] = start(sending ? send_it : recv_it, &call[i]);
        }
        for (int i = 0; i < MANY; i++)
            settle();
        cr_assert_eq(fm_channel_close(channel), 0);
        for (int i = 0; i < MANY; i++) {
            finish(fibers[i]);
            cr_assert_eq(call[i].result, -EPIPE);
            cr_assert_eq(call[i].value, i);
        }
        fm_channel_destroy(channel);
    }
    return fm_ok(NULL);
}

TEST(channel, close_wakes_all_who_wait)
{
    run_in_fibers(close_wakes_body, 1, FM_CLOCK_REAL);
    run_in_fibers(close_wakes_body, 2, FM_CLOCK_REAL);
}

/* The last of many who are woken by the close destroys the channel: it may be early. */
struct crowd {
    struct fm_channel *channel;
    _Atomic int inside;
};

static struct fm_exit last_destroys(void *arg)
{
    struct crowd *crowd = arg;
    cr_assert_eq(fm_channel_recv(crowd->channel, FM_NEVER, NULL), -EPIPE);
    if (atomic_fetch_sub(&crowd->inside, 1) == 1)
        fm_channel_destroy(crowd->channel);
    return fm_ok(NULL);
}

static struct fm_exit destroy_body(void *arg)
{
    for (int turn = 0; turn < 50; turn++) {
        enum { MANY = 70 };
        struct crowd crowd = { make(0), MANY };
        struct fm_fiber *fibers[MANY];
        for (int i = 0; i < MANY; i++)
            fibers[i] = start(last_destroys, &crowd);
        settle();
        fm_channel_close(crowd.channel);
        for (int i = 0; i < MANY; i++)
            finish(fibers[i]);
    }
    return fm_ok(NULL);
}

TEST(channel, whoever_is_woken_last_may_destroy_the_channel)
{
    run_in_fibers(destroy_body, 1, FM_CLOCK_REAL);
    run_in_fibers(destroy_body, 2, FM_CLOCK_REAL);
}

/* ---- what nobody receives; T184 in its meaning for a channel ---- */

static _Atomic int dropped;

static void drop(void *value)
{
    dropped = dropped * 10 + (int)(intptr_t)value;
}

static struct fm_exit drop_body(void *arg)
{
    struct fm_channel_options options = FM_CHANNEL_OPTIONS_INIT;
    struct fm_channel *channel;
    options.drop = drop;
    cr_assert_eq(fm_channel_create(3, &options, &channel), 0);
    for (intptr_t i = 1; i <= 3; i++)
        cr_assert_eq(fm_channel_try_send(channel, number(i)), 0);
    expect_value(channel, 1);
    cr_assert_eq(fm_channel_try_send(channel, number(4)), 0, "round the end of the ring");
    dropped = 0;
    cr_assert_eq(fm_channel_recv(channel, 0, NULL), 0);
    cr_assert_eq(dropped, 2, "received by nobody");
    fm_channel_close(channel);
    cr_assert_eq(dropped, 2, "close leaves values to the receivers");
    cr_assert_null(fm_channel_destroy(channel));
    cr_assert_eq(dropped, 234, "oldest first");
    return fm_ok(NULL);
}

TEST(channel, values_left_at_the_end_are_dropped)
{
    run_in_fibers(drop_body, 1, FM_CLOCK_REAL);
    drop_body(NULL);
}

/* ---- the sweep: a fiber is interrupted at each step ---- */

enum { SWEEP_VALUES = 8, SWEEP_STEPS = 4 * SWEEP_VALUES };

/*
 * Who comes to the chosen step interrupts the victim: itself, or the other where that one
 * waits, is about to run or has ended. Counted in steps of the two, not in turns of a third:
 * how many steps of theirs such a turn is worth, nobody promises.
 */
struct sweep {
    struct fm_channel *channel;
    _Atomic(struct fm_fiber *) victim; /* nobody starts before it is known */
    _Atomic int steps_left;
    unsigned sent, received; /* bits, each with one writer, read when both have ended */
};

static void sweep_begin(struct sweep *sweep)
{
    while (!sweep->victim)
        fm_yield();
}

static void sweep_step(struct sweep *sweep)
{
    if (sweep->steps_left-- == 0)
        fm_fiber_interrupt(sweep->victim);
}

static struct fm_exit sweep_sender(void *arg)
{
    struct sweep *sweep = arg;
    sweep_begin(sweep);
    for (intptr_t i = 0; i < SWEEP_VALUES; i++) {
        sweep_step(sweep);
        int r = fm_channel_send(sweep->channel, number(i), FM_NEVER);
        if (r < 0)
            return fm_fail(r);
        sweep->sent |= 1u << i;
        sweep_step(sweep);
        r = i % 2 ? fm_yield() : 0;
        if (r < 0)
            return fm_fail(r);
    }
    return fm_ok(NULL);
}

static struct fm_exit sweep_receiver(void *arg)
{
    struct sweep *sweep = arg;
    sweep_begin(sweep);
    for (int i = 0; i < SWEEP_VALUES; i++) {
        void *value;
        sweep_step(sweep);
        int r = fm_channel_recv(sweep->channel, FM_NEVER, &value);
        if (r < 0)
            return fm_fail(r);
        cr_assert_not(sweep->received & 1u << (intptr_t)value, "received twice");
        sweep->received |= 1u << (intptr_t)value;
        sweep_step(sweep);
        r = i % 3 ? fm_yield() : 0;
        if (r < 0)
            return fm_fail(r);
    }
    return fm_ok(NULL);
}

static struct fm_exit sweep_body(void *arg)
{
    int ended = 0, unharmed = 0;
    for (size_t capacity = 0; capacity <= 2; capacity++) {
        for (int victim = 0; victim < 2; victim++) {
            for (int step = 0; step <= SWEEP_STEPS; step++) {
                struct sweep sweep = { make(capacity), NULL, step, 0, 0 };
                struct fm_fiber *fibers[2] = { start(sweep_sender, &sweep),
                                               start(sweep_receiver, &sweep) };
                sweep.victim = fibers[victim];
                while (step < SWEEP_STEPS && sweep.steps_left >= 0)
                    fm_yield();
                if (step == SWEEP_STEPS) { /* too late for it */
                    fm_fiber_join(fibers[0], FM_NEVER, NULL);
                    fm_fiber_join(fibers[1], FM_NEVER, NULL);
                    fm_fiber_interrupt(fibers[victim]);
                }
                settle();
                fm_channel_close(sweep.channel); /* who is left alone gets -EPIPE */
                for (int i = 0; i < 2; i++) {
                    struct fm_exit exit = finish(fibers[i]);
                    cr_assert(i == victim || exit.kind != FM_INTERRUPTED);
                    ended += exit.kind == FM_INTERRUPTED;
                    unharmed += exit.kind == FM_SUCCESS;
                }
                void *value;
                while (fm_channel_try_recv(sweep.channel, &value) == 0) {
                    cr_assert_not(sweep.received & 1u << (intptr_t)value, "twice");
                    sweep.received |= 1u << (intptr_t)value;
                }
                cr_assert_eq(sweep.sent, sweep.received, "capacity %zu, victim %d, step %d",
                             capacity, victim, step);
                fm_channel_destroy(sweep.channel);
            }
        }
    }
    cr_assert_gt(ended, 20, "the sweep met something");
    cr_assert_geq(unharmed, 12, "in the last step of each sweep both");
    return fm_ok(NULL);
}

/* F77 */
TEST_WITH(channel, no_value_is_lost_wherever_a_fiber_is_interrupted, .timeout = 30)
{
    run_in_fibers(sweep_body, 1, FM_CLOCK_REAL);
    run_in_fibers(sweep_body, 2, FM_CLOCK_REAL);
}

/* ---- threads ---- */

static void *sending_thread(void *arg)
{
    for (intptr_t i = 1; i <= 1000; i++)
        cr_assert_eq(fm_channel_send(arg, number(i), FM_NEVER), 0);
    return NULL;
}

static struct fm_exit threads_body(void *arg)
{
    for (size_t capacity = 0; capacity <= 3; capacity += 3) {
        struct fm_channel *channel = make(capacity);
        pthread_t threads[2];
        intptr_t sum = 0;
        for (int i = 0; i < 2; i++)
            cr_assert_eq(pthread_create(&threads[i], NULL, sending_thread, channel), 0);
        for (int i = 0; i < 2000; i++) {
            void *value;
            cr_assert_eq(fm_channel_recv(channel, FM_NEVER, &value), 0);
            sum += (intptr_t)value;
        }
        cr_assert_eq(sum, 1000 * 1001);
        for (int i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
        fm_channel_destroy(channel);
    }
    return fm_ok(NULL);
}

TEST(channel, threads_send_to_fibers_and_to_threads)
{
    run_in_fibers(threads_body, 2, FM_CLOCK_REAL);
    threads_body(NULL);
}

static void *closing_thread(void *arg)
{
    cr_assert_eq(fm_channel_close(arg), 0);
    return NULL;
}

TEST(channel, thread_waits_until_its_deadline_or_the_close)
{
    struct fm_channel *channel = make(0);
    pthread_t thread;
    cr_assert_eq(fm_channel_recv(channel, fm_after_ms(1), NULL), -ETIMEDOUT);
    cr_assert_eq(fm_channel_send(channel, NULL, fm_after_ms(1)), -ETIMEDOUT);
    cr_assert_eq(pthread_create(&thread, NULL, closing_thread, channel), 0);
    cr_assert_eq(fm_channel_recv(channel, FM_NEVER, NULL), -EPIPE);
    pthread_join(thread, NULL);
    fm_channel_destroy(channel);
}

/* ---- refused ---- */

TEST(channel, wrong_arguments_are_refused)
{
    struct fm_channel *channel = NULL;
    struct {
        struct fm_channel_options options;
        uint64_t future;
    } longer = { { .size = sizeof longer }, 1 };
    struct fm_channel_options reserved = { .size = sizeof reserved, .reserved = 1 };
    cr_assert_eq(fm_channel_create(1, NULL, NULL), -EINVAL);
    cr_assert_eq(fm_channel_create(SIZE_MAX, NULL, &channel), -EINVAL);
    cr_assert_eq(fm_channel_create(1, &longer.options, &channel), -E2BIG);
    cr_assert_eq(fm_channel_create(1, &reserved, &channel), -EINVAL);
    cr_assert_null(channel);
    cr_assert_null(fm_channel_destroy(NULL));
    cr_assert_eq(fm_channel_send(NULL, NULL, 0), -EINVAL);
    cr_assert_eq(fm_channel_recv(NULL, 0, NULL), -EINVAL);
    cr_assert_eq(fm_channel_try_send(NULL, NULL), -EINVAL);
    cr_assert_eq(fm_channel_try_recv(NULL, NULL), -EINVAL);
    cr_assert_eq(fm_channel_close(NULL), -EINVAL);
    cr_assert_eq(fm_channel_length(NULL), 0);
    cr_assert_not(fm_channel_closed(NULL));
}

TEST(channel, no_memory_for_a_channel_is_said)
{
    struct fm_channel *channel = NULL;
    fm__fault_set(FAULT_MALLOC, 1, false);
    cr_assert_eq(fm_channel_create(4, NULL, &channel), -ENOMEM);
    cr_assert_eq(fm__fault_hits(FAULT_MALLOC), 1);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert_null(channel);
}

TEST(channel, no_memory_for_a_threads_first_wait_is_said_and_leaves_no_trace)
{
    struct fm_channel *channel = make(0);
    fm__fault_set(FAULT_MAP, 1, true);
    cr_assert_eq(fm_channel_recv(channel, FM_NEVER, NULL), -ENOMEM);
    cr_assert_eq(fm_channel_send(channel, NULL, FM_NEVER), -ENOMEM);
    fm__fault_set(FAULT_MAP, 0, false);
    cr_assert_eq(fm_channel_try_send(channel, NULL), -EAGAIN);
    cr_assert_eq(fm_channel_try_recv(channel, NULL), -EAGAIN);
    cr_assert_eq(fm_channel_recv(channel, fm_after_ms(1), NULL), -ETIMEDOUT);
    fm_channel_destroy(channel);
}
