/* SPDX-License-Identifier: Apache-2.0 */
/*
 * same_worker.c - what ThreadSanitizer sees of two fibers that never leave one worker
 *
 * A build in which a switch orders nothing (strict_tsan) must report each of the races and must
 * not report what a promise of the library orders; any other build cannot see the races, which
 * is asserted too, so that nobody takes its silence for more than it is.
 */
#include <errno.h>
#include <fm/fm.h>

#include "runtime/platform/sanitizer.h"
#include "tests/support/stress.h"

/* The tool calls it for each report that it prints. */
static unsigned reports;
void __tsan_on_report(const void *report);
void __tsan_on_report(const void *report)
{
    (void)report;
    reports++;
}

struct scene {
    int number; /* plain: what it is all about */
    struct fm_deferred *deferred;
    struct fm_mutex *mutex;
    struct fm_semaphore *semaphore;
    struct fm_channel *channel;
    struct fm_map *map;
};

static __attribute__((noinline)) void touch(struct scene *scene)
{
    scene->number++;
}

static struct fm_fiber *spawn(fm_entry_fn *entry, struct scene *scene)
{
    struct fm_fiber *fiber;
    int r = fm_fiber_spawn(entry, scene, NULL, &fiber);
    STRESS_CHECK(r == 0, "spawn: %d", r);
    return fiber;
}

static void join(struct fm_fiber *fiber)
{
    int r = fm_fiber_join(fiber, FM_NEVER, NULL);
    STRESS_CHECK(r == 0, "join: %d", r);
    fm_fiber_unref(fiber);
}

static void both(fm_entry_fn *one, fm_entry_fn *other, struct scene *scene)
{
    struct fm_fiber *fibers[] = { spawn(one, scene), spawn(other, scene) };
    join(fibers[0]);
    join(fibers[1]);
}

/* ---- races ---- */

static struct fm_exit touches_and_yields(void *arg)
{
    for (int i = 0; i < 3; i++) {
        touch(arg);
        fm_yield();
    }
    return fm_ok(NULL);
}

static void in_turns(struct scene *scene)
{
    both(touches_and_yields, touches_and_yields, scene);
}

static struct fm_exit touches(void *arg)
{
    touch(arg);
    return fm_ok(NULL);
}

static void one_ends_before_the_other_begins(struct scene *scene)
{
    both(touches, touches, scene);
}

static struct fm_exit touches_and_waits(void *arg)
{
    struct scene *scene = arg;
    touch(scene);
    int r = fm_semaphore_acquire(scene->semaphore, 1, FM_NEVER);
    STRESS_CHECK(r == 0, "acquire: %d", r);
    return fm_ok(NULL);
}

static void one_waits_while_the_other_writes(struct scene *scene)
{
    both(touches_and_waits, touches_and_waits, scene);
}

static struct fm_exit touches_and_completes(void *arg)
{
    struct scene *scene = arg;
    fm_deferred_complete(scene->deferred, fm_ok(NULL));
    touch(scene);
    return fm_ok(NULL);
}

static struct fm_exit awaits_and_touches(void *arg)
{
    struct scene *scene = arg;
    struct fm_exit exit;
    int r = fm_deferred_await(scene->deferred, FM_NEVER, &exit);
    STRESS_CHECK(r == 0, "await: %d", r);
    touch(scene);
    return fm_ok(NULL);
}

/* What comes after the wake is not shown by it. */
static void the_waker_goes_on_writing(struct scene *scene)
{
    both(awaits_and_touches, touches_and_completes, scene);
}

/* ---- promises ---- */

static void spawn_and_join(struct scene *scene)
{
    touch(scene);
    join(spawn(touches, scene));
    touch(scene);
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    options.flags = FM_SPAWN_FIRST;
    int r = fm_fiber_spawn(touches, scene, &options, &fiber);
    STRESS_CHECK(r == 0, "spawn: %d", r);
    join(fiber);
    touch(scene);
}

static struct fm_exit completes(void *arg)
{
    struct scene *scene = arg;
    touch(scene);
    fm_deferred_complete(scene->deferred, fm_ok(NULL));
    return fm_ok(NULL);
}

static void a_wake(struct scene *scene)
{
    both(awaits_and_touches, completes, scene);
}

static struct fm_exit locks(void *arg)
{
    struct scene *scene = arg;
    for (int i = 0; i < 5; i++) {
        int r = fm_mutex_lock(scene->mutex, FM_NEVER);
        STRESS_CHECK(r == 0, "lock: %d", r);
        touch(scene);
        fm_yield();
        touch(scene);
        fm_mutex_unlock(scene->mutex);
    }
    return fm_ok(NULL);
}

static void a_mutex(struct scene *scene)
{
    both(locks, locks, scene);
}

static struct fm_exit sends(void *arg)
{
    struct scene *scene = arg;
    touch(scene);
    int r = fm_channel_send(scene->channel, scene, FM_NEVER);
    STRESS_CHECK(r == 0, "send: %d", r);
    return fm_ok(NULL);
}

static struct fm_exit receives(void *arg)
{
    struct scene *scene = arg;
    void *got;
    int r = fm_channel_recv(scene->channel, FM_NEVER, &got);
    STRESS_CHECK(r == 0 && got == scene, "recv: %d", r);
    touch(got);
    return fm_ok(NULL);
}

static void a_channel(struct scene *scene)
{
    both(receives, sends, scene);
}

/* A fiber of a map, whoever replaces it, and who waits until none is left. */
static void a_map(struct scene *scene)
{
    const struct fm_key key = fm_key_str("key");
    touch(scene);
    int r = fm_map_run(scene->map, key, touches, scene, NULL, NULL);
    STRESS_CHECK(r >= 0, "run: %d", r);
    r = fm_map_await_empty(scene->map, FM_NEVER);
    STRESS_CHECK(r == 0, "await_empty: %d", r);
    touch(scene);
}

static const struct {
    const char *name;
    void (*play)(struct scene *scene);
    bool races;
} scenes[] = {
    { "one ends before the other begins", one_ends_before_the_other_begins, true },
    { "in turns", in_turns, true },
    { "one waits while the other writes", one_waits_while_the_other_writes, true },
    { "the waker goes on writing", the_waker_goes_on_writing, true },
    { "spawn and join", spawn_and_join, false },
    { "a wake", a_wake, false },
    { "a mutex", a_mutex, false },
    { "a channel", a_channel, false },
    { "a map", a_map, false },
};

enum { SCENES = sizeof scenes / sizeof *scenes };

static struct fm_exit play_all(void *arg)
{
    /* Each its own memory: of one address the tool speaks once. */
    struct scene *stage = arg;
    for (size_t i = 0; i < SCENES; i++) {
        struct scene *scene = &stage[i];
        struct fm_map_config config = FM_MAP_CONFIG_INIT;
        unsigned before = reports;

        STRESS_CHECK(fm_deferred_create(&scene->deferred) == 0 &&
                         fm_mutex_create(&scene->mutex) == 0 &&
                         fm_semaphore_create(2, &scene->semaphore) == 0 &&
                         fm_channel_create(0, NULL, &scene->channel) == 0 &&
                         fm_map_create(&config, &scene->map) == 0,
                     "no memory");
        scenes[i].play(scene);
        bool reported = reports != before;
        STRESS_CHECK(reported == (FM_TSAN_STRICT && scenes[i].races), "%s: %s", scenes[i].name,
                     reported ? "reported" : "not reported");
        fm_map_destroy(scene->map);
        fm_channel_destroy(scene->channel);
        fm_semaphore_destroy(scene->semaphore);
        fm_mutex_destroy(scene->mutex);
        fm_deferred_destroy(scene->deferred);
    }
    return fm_ok(NULL);
}

int main(void)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_exit exit;
    struct scene *stage = calloc(SCENES, sizeof *stage);

    STRESS_CHECK(stage, "no memory");
    config.worker_count = 1;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    int r = fm_runtime_create(&config, &runtime);
    STRESS_CHECK(r == 0, "runtime_create: %d", r);
    r = fm_runtime_run(runtime, play_all, stage, &exit);
    STRESS_CHECK(r == 0, "runtime_run: %d", r);
    STRESS_CHECK(exit.kind == FM_SUCCESS, "the scenes ended as %s", fm_exit_kind_name(exit.kind));
    fm_runtime_destroy(runtime);
    free(stage);
    return 0;
}
