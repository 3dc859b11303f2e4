/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scene_calls.c - one call after the other, and what each told
 */
#include <errno.h>
#include <string.h>

#include "runtime/platform/memory.h"
#include "tests/fuzz/map/scene.h"

/* ---- bodies ---- */

enum { QUICK, YIELDS, PARKS, LINGERS, SLEEPS, BODY_KINDS };

static struct fm_exit run_body(void *arg)
{
    struct body *body = arg;

    atomic_fetch_add(&body->ran, 1);
    uint8_t kind = body->kind % BODY_KINDS;
    if (kind == SLEEPS)
        fm_sleep_ms(1 + body->times);
    if (kind == PARKS || kind == LINGERS)
        fm_never();
    if (kind == LINGERS)
        fm_mask();
    if (kind == YIELDS || kind == LINGERS)
        for (unsigned i = body->times % 8; i--;)
            fm_yield();
    atomic_store(&body->ended, scene_now());
    return fm_ok(NULL);
}

static void drop_body(void *arg)
{
    struct body *body = arg;
    atomic_fetch_add(&body->dropped, 1);
}

static void body_left(struct fm_fiber *fiber, struct fm_exit exit, void *arg)
{
    struct body *body = arg;
    atomic_store(&body->left, scene_now());
}

static struct body *new_body(const struct call *call, int which)
{
    struct body *body = &scene.bodies[(call - scene.calls) * 2 + which];
    body->kind = call->more;
    body->times = call->more / BODY_KINDS;
    return body;
}

static void began(struct body *body, struct fm_fiber *fiber, uint32_t called)
{
    body->fiber = fiber;
    body->id = fm_fiber_id(fiber);
    body->started = called;
    body->observer = (struct fm_observer) { .fn = body_left, .arg = body };
    int r = fm_fiber_observe(fiber, &body->observer);
    FUZZ_CHECK(r == 0 || r == FM_ALREADY_DONE, "observe: %d", r);
}

/* ---- calls ---- */

static struct fm_key key_of(unsigned key)
{
    /* one of them is longer than what a lookup compares at once */
    static const char *const names[] = { "a", "b",
                                         "a key that needs memory of its own, or so" };
    return fm_key_str(names[key % LINEAR_KEYS]);
}

static struct record *note(struct client *client, const struct call *call, enum linear_op op,
                           uint32_t called, uint32_t returned)
{
    struct record *record = &client->records[client->count++];
    *record = (struct record) { .told = { .op = (uint8_t)op,
                                          .key = call->key % LINEAR_KEYS,
                                          .key2 = (call->key + 1) % LINEAR_KEYS,
                                          .call = called,
                                          .returned = returned } };
    return record;
}

static uint8_t number_of(const struct body *body)
{
    return (uint8_t)(body - scene.bodies + 1);
}

/* Of whatever may refuse to start: the results that all of them have. */
static bool told_refusal(struct record *record, int r)
{
    if (r == -ESHUTDOWN)
        record->told.result = CLOSED;
    else if (r == -ENOMEM)
        record->told.result = NOTHING_DONE;
    else
        return false;
    return true;
}

static void note_run(struct client *client, const struct call *call, struct body *body, int r,
                     struct fm_fiber *fiber, uint32_t called, uint32_t returned)
{
    bool stays = call->what == DO_KEEP || call->what == DO_FAIL;
    struct record *record = note(client, call, stays ? PUT_IF_FREE : PUT, called, returned);

    record->told.fiber = number_of(body);
    if (told_refusal(record, r)) {
        FUZZ_CHECK(!fiber, "a reference beside %d", r);
        return;
    }
    if (r == 0 || (r == FM_MAP_REPLACED && !stays)) {
        record->told.found = r == FM_MAP_REPLACED;
        began(body, fiber, called);
        return;
    }
    FUZZ_CHECK(r == (call->what == DO_FAIL ? -EEXIST : FM_MAP_KEPT), "run: %d", r);
    record->told.result = REFUSED;
    record->told.seen_known = fiber != NULL;
    record->seen = fm_fiber_id(fiber);
    fm_fiber_unref(fiber);
}

static void do_run(struct client *client, const struct call *call)
{
    static const uint32_t conflicts[] = { [DO_RUN] = FM_REPLACE,
                                          [DO_KEEP] = FM_KEEP,
                                          [DO_FAIL] = FM_FAIL,
                                          [DO_AWAIT] = FM_REPLACE_AWAIT };
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct body *body = new_body(call, 0);
    struct fm_fiber *fiber = NULL;

    options.conflict = conflicts[call->what];
    options.arg_drop = drop_body;
    uint32_t called = scene_now();
    int r = fm_map_run(scene.map, key_of(call->key), run_body, body, &options, &fiber);
    note_run(client, call, body, r, fiber, called, scene_now());
}

/* Looks, and then runs in the place of whom it has seen. */
static void do_run_if(struct client *client, const struct call *call)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *expected = NULL, *fiber = NULL;
    struct body *body = new_body(call, 0);

    options.arg_drop = drop_body;
    if (call->more & 1)
        fm_map_get(scene.map, key_of(call->key), &expected);
    uint32_t called = scene_now();
    int r = fm_map_compare_and_replace(scene.map, key_of(call->key), expected, run_body, body,
                                       &options, &fiber);
    struct record *record = note(client, call, PUT_IF, called, scene_now());
    record->told.fiber = number_of(body);
    record->expected = fm_fiber_id(expected);
    if (r == 0 || r == FM_MAP_REPLACED) {
        record->told.result = r == 0 && expected ? FOLLOWED : DONE;
        began(body, fiber, called);
    } else if (!told_refusal(record, r)) {
        FUZZ_CHECK(r == FM_MAP_KEPT || (r == -ENOENT && expected), "compare_and_replace: %d",
                   r);
        record->told.result = REFUSED;
        record->seen = fm_fiber_id(fiber);
        fm_fiber_unref(fiber);
    }
    fm_fiber_unref(expected);
}

/* Two keys: one instant, or one after the other. */
static void do_many(struct client *client, const struct call *call)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct body *bodies[] = { new_body(call, 0), new_body(call, 1) };
    struct fm_fiber *fibers[2] = { NULL, NULL };
    bool both = call->what == DO_BOTH;
    struct fm_map_run_item runs[] = {
        { key_of(call->key), run_body, bodies[0], &options, &fibers[0], 0 },
        { key_of(call->key + 1u), run_body, bodies[1], &options, &fibers[1], 0 },
    };

    options.arg_drop = drop_body;
    uint32_t called = scene_now();
    int r = fm_map_run_many(scene.map, runs, 2, both ? FM_MAP_ALL_OR_NOTHING : 0);
    uint32_t returned = scene_now();
    if (!both) {
        struct call one = *call;
        one.what = DO_RUN;
        note_run(client, &one, bodies[0], runs[0].result, fibers[0], called, returned);
        one.key++;
        note_run(client, &one, bodies[1], runs[1].result, fibers[1], called, returned);
        return;
    }
    struct record *record = note(client, call, PUT_BOTH, called, returned);
    record->told.fiber = number_of(bodies[0]);
    record->told.fiber2 = number_of(bodies[1]);
    FUZZ_CHECK((r == 0) == (fibers[0] && fibers[1]), "run_many: %d, with half of it", r);
    if (r == 0) {
        began(bodies[0], fibers[0], called);
        began(bodies[1], fibers[1], called);
    } else if (!told_refusal(record, r)) {
        FUZZ_CHECK(r == -EEXIST, "run_many: %d", r);
        record->told.result = REFUSED;
    }
}

static void do_move(struct client *client, const struct call *call)
{
    uint32_t called = scene_now();
    int r = fm_map_move(scene.map, key_of(call->key), key_of(call->more));
    struct record *record = note(client, call, MOVE, called, scene_now());
    record->told.key2 = call->more % LINEAR_KEYS;
    if (r == 0 || told_refusal(record, r))
        return;
    FUZZ_CHECK(r == -ENOENT || r == -EEXIST || r == -EBUSY, "move: %d", r);
    record->told.result = r == -EEXIST ? REFUSED_TO : REFUSED;
    if (r == -EBUSY) { /* somebody is there, whose turn is still to come */
        record->told.op = SIGNAL;
        record->told.result = DONE;
        record->told.found = true;
    }
}

static void do_look_at_all(struct client *client, const struct call *call)
{
    struct fm_snapshot *snapshot;
    uint32_t called = scene_now();
    int r = fm_map_snapshot(scene.map, FM_SNAPSHOT_CONSISTENT, &snapshot);
    struct record *record = note(client, call, LOOK_AT_ALL, called, scene_now());
    if (r < 0) {
        FUZZ_CHECK(told_refusal(record, r), "snapshot: %d", r);
        return;
    }
    size_t seen = 0;
    for (unsigned key = 0; key < LINEAR_KEYS; key++) {
        struct fm_key name = key_of(key);
        for (size_t i = 0; i < fm_snapshot_count(snapshot); i++) {
            const struct fm_member *member = fm_snapshot_at(snapshot, i);
            if (member->key.len != name.len || memcmp(member->key.data, name.data, name.len))
                continue;
            record->all_seen[key] = fm_fiber_id(member->fiber);
            seen++;
        }
    }
    FUZZ_CHECK(seen == fm_snapshot_count(snapshot), "a key that nobody has used, or one twice");
    fm_snapshot_free(snapshot);
}

static void do_look(struct client *client, const struct call *call)
{
    struct fm_fiber *fiber = NULL;
    struct record *record;
    uint32_t called = scene_now();
    int r = 0;

    switch (call->what) {
    case DO_HAS: {
        bool has = fm_map_has(scene.map, key_of(call->key));
        record = note(client, call, HAS, called, scene_now());
        record->told.found = has;
        return;
    }
    case DO_INTERRUPT:
        r = fm_map_interrupt(scene.map, key_of(call->key));
        record = note(client, call, SIGNAL, called, scene_now());
        record->told.found = r == 0;
        break;
    case DO_DETACH:
        r = fm_map_detach(scene.map, key_of(call->key), &fiber);
        record = note(client, call, DETACH, called, scene_now());
        if (fiber)
            fm_fiber_interrupt(fiber); /* nobody else ends it */
        break;
    default:
        r = fm_map_get(scene.map, key_of(call->key), &fiber);
        record = note(client, call, LOOK, called, scene_now());
    }
    FUZZ_CHECK(r == 0 || r == -ENOENT, "look: %d", r);
    record->seen = fm_fiber_id(fiber);
    fm_fiber_unref(fiber);
}

static void do_remove(struct client *client, const struct call *call)
{
    int64_t until_ns = call->what == DO_REMOVE ? FM_NEVER : fm_after_ns(call->more * 1000);
    uint32_t called = scene_now();
    int r = fm_map_remove(scene.map, key_of(call->key), until_ns);
    struct record *record = note(client, call, REMOVE, called, scene_now());
    FUZZ_CHECK(r == 0 || r == -ENOENT || r == -ECANCELED || r == -ETIMEDOUT || r == -ENOMEM,
               "remove: %d", r);
    record->told.found = r != -ENOENT;
    record->told.result = r == 0 || r == -ENOENT ? DONE : r == -ENOMEM ? NOTHING_DONE : WENT;
}

static void do_clear(struct client *client, const struct call *call)
{
    uint32_t called = scene_now();
    int r = fm_map_clear(scene.map, FM_NEVER);
    uint32_t returned = scene_now();
    FUZZ_CHECK(r == 0 || r == -ECANCELED || r == -ENOMEM, "clear: %d", r);
    for (unsigned key = 0; key < LINEAR_KEYS && r == 0; key++)
        note(client, call, CLEAR, called, returned)->told.key = (uint8_t)key;
}

static void do_close(struct client *client, const struct call *call)
{
    uint32_t called = scene_now();
    int r = fm_map_close(scene.map, NULL, NULL);
    struct record *record = note(client, call, CLOSE, called, scene_now());
    FUZZ_CHECK(r == 0 || r == -ECANCELED || r == -ENOMEM, "close: %d", r);
    record->told.result = r == 0 ? DONE : WENT;
}

/* A client, which may not have been started yet. */
static void disturb(unsigned which)
{
    struct fm_fiber *fiber = atomic_load(&scene.fibers[1 + which % (CLIENTS - 1)]);
    if (fiber)
        fm_fiber_interrupt(fiber);
}

void scene_call(struct client *client, const struct call *call)
{
    switch ((enum what)call->what) {
    case DO_RUN:
    case DO_KEEP:
    case DO_FAIL:
    case DO_AWAIT: do_run(client, call); break;
    case DO_RUN_IF: do_run_if(client, call); break;
    case DO_BOTH:
    case DO_MANY: do_many(client, call); break;
    case DO_MOVE: do_move(client, call); break;
    case DO_LOOK_AT_ALL: do_look_at_all(client, call); break;
    case DO_REMOVE:
    case DO_REMOVE_SOON: do_remove(client, call); break;
    case DO_CLEAR: do_clear(client, call); break;
    case DO_CLOSE: do_close(client, call); break;
    case DO_DISTURB: disturb(call->key); break;
    case DO_FAULT: fm__fault_set(FAULT_MALLOC, 1 + call->more % 8, false); break;
    case DO_YIELD: fm_yield(); break;
    default: do_look(client, call);
    }
}
