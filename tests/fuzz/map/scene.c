/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scene.c - the clients of a scene, and what is known when they have called
 */
#include "tests/fuzz/map/scene.h"

#include <errno.h>
#include <string.h>

#include "runtime/platform/memory.h"

struct scene scene;

static void play(struct client *client)
{
    for (size_t i = 0; i < scene.call_count; i++)
        if (scene.calls[i].client == client->number)
            scene_call(client, &scene.calls[i]);
}

static struct fm_exit fiber_plays(void *arg)
{
    play(arg);
    return fm_ok(NULL);
}

size_t scene_read(const uint8_t *bytes, size_t size)
{
    uint8_t callers = 1 + (size ? bytes[0] % CLIENTS : 0);
    size_t at = 2;

    memset(&scene, 0, sizeof scene);
    for (int i = 0; i < CLIENTS; i++)
        scene.clients[i].number = i;
    scene.call_count = size > 1 ? bytes[1] % (CALLS_MAX + 1) : 0;
    for (size_t i = 0; i < scene.call_count; i++, at += 3) {
        uint8_t code[3] = { 0 };
        if (at < size)
            memcpy(code, bytes + at, size - at < 3 ? size - at : 3);
        scene.calls[i] = (struct call) { code[0] % DO_KINDS, code[1] % LINEAR_KEYS, code[2],
                                         code[0] / DO_KINDS % callers };
    }
    return at < size ? at : size;
}

uint32_t scene_now(void)
{
    if (scene.real_from_ns)
        return (uint32_t)(fm_now_ns() - scene.real_from_ns);
    return atomic_fetch_add(&scene.time, 1) + 1;
}

/*
 * All are started, play, and are waited for. Whoever has no memory to wait tries again: one
 * allocation fails, not all.
 */
static void run_clients(void)
{
    for (int i = 1; i < CLIENTS; i++) {
        struct fm_fiber *fiber;
        int r = fm_runtime_spawn(scene.runtime, fiber_plays, &scene.clients[i], NULL, &fiber);
        FUZZ_CHECK(r == 0, "spawn: %d", r);
        atomic_store(&scene.fibers[i], fiber);
    }
    play(&scene.clients[0]);
    for (int i = 1; i < CLIENTS; i++) {
        int r;
        while ((r = fm_fiber_join(scene.fibers[i], FM_NEVER, NULL)) == -ENOMEM)
            ;
        FUZZ_CHECK(r == 0, "join: %d", r);
    }
    fm__fault_set(FAULT_MALLOC, 0, false);
    scene_call(&scene.clients[0], &(struct call) { .what = DO_CLOSE });
    for (int i = 1; i < CLIENTS; i++)
        fm_fiber_unref(scene.fibers[i]);
}

static uint8_t number_of_id(uint64_t id)
{
    if (id == 0)
        return NOBODY_THERE;
    for (int i = 0; i < BODIES; i++)
        if (scene.bodies[i].id == id)
            return (uint8_t)(i + 1);
    FUZZ_CHECK(false, "fiber %llu is nobody's", (unsigned long long)id);
    return NOBODY_THERE;
}

/* Each has left, after it has run or been dropped. */
static size_t note_ends(struct linear_call calls[], size_t count)
{
    for (int i = 0; i < BODIES; i++) {
        struct body *body = &scene.bodies[i];
        int ran = atomic_load(&body->ran), dropped = atomic_load(&body->dropped);
        FUZZ_CHECK(ran + dropped == (body->fiber != NULL), "body %d: %d runs, %d drops", i + 1,
                   ran, dropped);
        if (!body->fiber)
            continue;
        calls[count++] = (struct linear_call) {
            .op = LEAVE,
            .fiber = (uint8_t)(i + 1),
            .call = ran ? atomic_load(&body->ended) : body->started,
            .returned = atomic_load(&body->left),
        };
        fm_fiber_unref(body->fiber);
    }
    return count;
}

enum linear_verdict scene_judge(void)
{
    struct linear_call calls[LINEAR_CALLS];
    size_t count = 0;

    for (int i = 0; i < CLIENTS; i++)
        for (size_t j = 0; j < scene.clients[i].count; j++) {
            struct record *record = &scene.clients[i].records[j];
            record->told.seen = number_of_id(record->seen);
            record->told.expected = number_of_id(record->expected);
            for (int key = 0; key < LINEAR_KEYS; key++)
                record->told.all_seen[key] = number_of_id(record->all_seen[key]);
            calls[count++] = record->told;
        }
    count = note_ends(calls, count);
    enum linear_verdict verdict = linear_check(calls, count);
    if (verdict == NOT_LINEAR) {
        linear_print(calls, count);
        FUZZ_CHECK(false, "no order of these calls explains their answers");
    }
    return verdict;
}

/* An observer may be called after a join has returned. */
static void await_ends(void)
{
    for (int i = 0; i < BODIES; i++)
        while (scene.bodies[i].fiber && !atomic_load(&scene.bodies[i].left))
            scene.pause();
}

void scene_play(void)
{
    run_clients();
    await_ends();
    FUZZ_CHECK(fm_map_size(scene.map) == 0, "not empty after the close");
}
