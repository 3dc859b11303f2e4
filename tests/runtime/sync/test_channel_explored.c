/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_channel_explored.c - channels and selects in the whole runtime, schedule by schedule
 *
 * Each body is a small scene on two workers; an arbiter runs it under many schedules. At its
 * end what was sent and what was received must agree, value by value.
 */
#include <errno.h>
#include <fm/fm.h>
#include <stdatomic.h>

#include "runtime/platform/sanitizer.h"
#include "tests/support/stress.h"
#include "tests/support/test.h"

enum { ACTORS = 5 };

struct scene {
    struct fm_channel *a, *b;
    struct fm_fiber *victim;
    _Atomic unsigned sent, received; /* bits; a bit that is set twice is set in wrong too */
    _Atomic unsigned wrong;
};

struct actor {
    struct scene *scene;
    unsigned number;
};

static void mark(struct scene *scene, _Atomic unsigned *bits, void *value)
{
    unsigned bit = 1u << (uintptr_t)value;
    if (atomic_fetch_or(bits, bit) & bit)
        atomic_fetch_or(&scene->wrong, bit);
}

static void *value_of(struct actor *actor)
{
    return (void *)(uintptr_t)actor->number;
}

/* ---- actors ---- */

static struct fm_exit sender(void *arg)
{
    struct actor *actor = arg;
    int r = fm_channel_send(actor->scene->a, value_of(actor), FM_NEVER);
    if (r == 0)
        mark(actor->scene, &actor->scene->sent, value_of(actor));
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static struct fm_exit receiver(void *arg)
{
    struct actor *actor = arg;
    void *value;
    int r = fm_channel_recv(actor->scene->a, FM_NEVER, &value);
    if (r == 0)
        mark(actor->scene, &actor->scene->received, value);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static struct fm_exit choose(struct actor *actor, struct fm_case *cases, size_t count)
{
    size_t index;
    int r = fm_select(cases, count, FM_NEVER, &index);
    if (r == 0)
        r = cases[index].result;
    if (r < 0)
        return fm_fail(r);
    _Atomic unsigned *bits = cases[index].kind == FM_CASE_SEND ? &actor->scene->sent
                                                               : &actor->scene->received;
    mark(actor->scene, bits, cases[index].value);
    return fm_ok(NULL);
}

static struct fm_exit send_a_recv_b(void *arg)
{
    struct actor *actor = arg;
    struct fm_case cases[] = { fm_case_send(actor->scene->a, value_of(actor)),
                               fm_case_recv(actor->scene->b) };
    return choose(actor, cases, 2);
}

static struct fm_exit send_b_recv_a(void *arg)
{
    struct actor *actor = arg;
    struct fm_case cases[] = { fm_case_send(actor->scene->b, value_of(actor)),
                               fm_case_recv(actor->scene->a) };
    return choose(actor, cases, 2);
}

static struct fm_exit closer(void *arg)
{
    struct actor *actor = arg;
    fm_channel_close(actor->scene->a);
    fm_channel_close(actor->scene->b);
    return fm_ok(NULL);
}

static struct fm_exit interrupter(void *arg)
{
    struct actor *actor = arg;
    fm_fiber_interrupt(actor->scene->victim);
    return fm_ok(NULL);
}

/* ---- scenes ---- */

static bool play(size_t capacity, fm_entry_fn *const entries[], size_t count,
                 unsigned *ret_sent)
{
    struct scene scene = { .victim = NULL };
    struct actor actors[ACTORS];
    struct fm_fiber *fibers[ACTORS];
    void *value;

    if (fm_channel_create(capacity, NULL, &scene.a) < 0 ||
        fm_channel_create(capacity, NULL, &scene.b) < 0)
        return false;
    for (size_t i = 0; i < count; i++) {
        actors[i] = (struct actor) { &scene, (unsigned)i };
        if (fm_fiber_spawn(entries[i], &actors[i], NULL, &fibers[i]) < 0)
            return false;
        if (i == 0)
            scene.victim = fibers[0];
    }
    for (size_t i = 0; i < count; i++)
        fm_fiber_join(fibers[i], FM_NEVER, NULL);
    for (size_t i = 0; i < count; i++)
        fm_fiber_unref(fibers[i]);
    while (fm_channel_try_recv(scene.a, &value) == 0)
        mark(&scene, &scene.received, value);
    while (fm_channel_try_recv(scene.b, &value) == 0)
        mark(&scene, &scene.received, value);
    fm_channel_destroy(scene.a);
    fm_channel_destroy(scene.b);
    *ret_sent = scene.sent;
    return scene.sent == scene.received && scene.wrong == 0;
}

static struct fm_exit verdict(bool good)
{
    return good ? fm_ok(NULL) : fm_fail(-EPROTO);
}

static struct fm_exit two_and_two(void *arg)
{
    static fm_entry_fn *const entries[] = { sender, receiver, sender, receiver };
    unsigned sent;
    bool good = play((size_t)(uintptr_t)arg, entries, 4, &sent);
    return verdict(good && sent == 5);
}

/* Without the close the other of a pair that lost its partner would wait for ever. */
static struct fm_exit interrupted_and_closed(void *arg)
{
    static fm_entry_fn *const entries[] = { sender, receiver, receiver, interrupter, closer };
    unsigned sent;
    return verdict(play((size_t)(uintptr_t)arg, entries, 5, &sent));
}

static struct fm_exit facing(void *arg)
{
    static fm_entry_fn *const entries[] = { send_a_recv_b, send_b_recv_a };
    unsigned sent;
    bool good = play((size_t)(uintptr_t)arg, entries, 2, &sent);
    return verdict(good && (arg || sent == 1 || sent == 2));
}

static struct fm_exit facing_interrupted(void *arg)
{
    static fm_entry_fn *const entries[] = { send_a_recv_b, send_b_recv_a, send_a_recv_b,
                                            interrupter, closer };
    unsigned sent;
    return verdict(play((size_t)(uintptr_t)arg, entries, 5, &sent));
}

/* ---- tests ---- */

static void explore(fm_entry_fn *scene, uintptr_t capacity)
{
    for (uint32_t strategy = FM_EXPLORE_RANDOM; strategy <= FM_EXPLORE_EXHAUSTIVE; strategy++) {
        struct fm_explore_options options = FM_EXPLORE_OPTIONS_INIT;
        struct fm_explore_report report;
        options.strategy = strategy;
        options.schedules = stress_fewer(FM_ASAN || FM_TSAN ? 20 : 300);
        options.flags = FM_EXPLORE_LIGHT;
        cr_assert_eq(fm_explore(scene, (void *)capacity, &options, &report), 0,
                     "capacity %d, strategy %u: %s", (int)capacity, strategy, report.replay);
    }
}

TEST_WITH(channel_explored, two_senders_and_two_receivers_exchange_all, .timeout = 60)
{
    explore(two_and_two, 0);
    explore(two_and_two, 1);
}

/* F77 */
TEST_WITH(channel_explored, close_and_interruption_lose_no_value, .timeout = 60)
{
    explore(interrupted_and_closed, 0);
    explore(interrupted_and_closed, 1);
}

/* F77 */
TEST_WITH(channel_explored, two_selects_that_face_each_other_exchange_one_value, .timeout = 60)
{
    explore(facing, 0);
    explore(facing, 1);
}

/* F77 */
TEST_WITH(channel_explored, selects_interrupted_and_closed_lose_no_value, .timeout = 60)
{
    explore(facing_interrupted, 0);
    explore(facing_interrupted, 1);
}
