/* SPDX-License-Identifier: Apache-2.0 */
/*
 * races.c - the participants, their meetings, the watchdog
 *
 *     stress_races [name ...]       without names: all
 */
#include "tests/stress/race.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "runtime/platform/futex.h"

enum { ROUNDS = 100000, PATIENCE_S = 60, STEPS_TO_MEET = 300, POLLS_MAX = 100 };

struct cast {
    uint32_t workers, fibers, threads;
};

/* Who takes part. Each race goes through all of them, an equal share of the rounds each. */
static const struct cast casts[] = { { 2, 2, 1 }, { 3, 1, 2 }, { 4, 2, 2 } };
enum { CASTS = sizeof casts / sizeof *casts };

struct run {
    const struct race *race;
    struct fm_runtime *runtime;
    uint64_t meetings;
    uint32_t parts;
    _Atomic uint32_t arrived, turn;
    struct slot slots[RACE_SLOTS];
};

struct actor {
    struct run *run;
    struct part part;
    bool fiber;
};

static _Atomic uint64_t progress;
static struct fm_runtime *_Atomic present;

/* ---- the watchdog ---- */

static const char *_Atomic playing;

static void *watch(void *arg)
{
    uint64_t last = 0;
    for (unsigned quiet = 0; quiet < PATIENCE_S; quiet++) {
        sleep(1);
        uint64_t now = atomic_load(&progress);
        if (now != last)
            quiet = 0;
        last = now;
    }
    fprintf(stderr, "FM_SEED=0x%" PRIx64 ": no progress in %s for %d s\n", stress_seed(),
            atomic_load(&playing), PATIENCE_S);
    struct fm_runtime *runtime = atomic_load(&present);
    if (runtime)
        fm_runtime_dump(runtime, STDERR_FILENO);
    abort();
}

/* ---- meetings ---- */

/*
 * Until all are here. Who comes early polls for a while, so that all go on together. Then a
 * thread blocks: the processors are few, and it would take them from those who are still at it.
 * A fiber goes on polling, which keeps its worker awake.
 */
static void meet(struct run *run, bool fiber)
{
    /* acquire and release: what each has done before the meeting, to all after it */
    uint32_t turn = atomic_load_explicit(&run->turn, memory_order_acquire);
    if (atomic_fetch_add_explicit(&run->arrived, 1, memory_order_acq_rel) + 1 == run->parts) {
        atomic_store_explicit(&run->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&run->turn, turn + 1, memory_order_release);
        fm__futex_wake(&run->turn, INT_MAX);
        return;
    }
    for (unsigned polls = 0; atomic_load_explicit(&run->turn, memory_order_acquire) == turn;
         polls++) {
        if (fiber)
            fm_yield();
        else if (polls >= POLLS_MAX)
            fm__futex_wait(&run->turn, turn, FM_NEVER);
        if (!fiber || polls % 8 == 7)
            sched_yield();
    }
}

static void begin(struct run *run, uint64_t round, uint64_t choice, struct slot *slot)
{
    slot->round = round;
    slot->choice = choice;
    atomic_store(&slot->arrived, 0);
    atomic_store(&slot->started, 0);
    atomic_store(&slot->entered, 0);
    atomic_store(&slot->left, 0);
    atomic_store(&slot->dropped, 0);
    atomic_store(&slot->closed, false);
    for (int i = 0; i < 4; i++)
        atomic_store(&slot->seen[i], 0);
    memset(slot->result, 0, sizeof slot->result);
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    config.runtime = run->runtime;
    config.stripe_count = 1;
    int r = slot->map ? 0 : fm_map_create(&config, &slot->map);
    STRESS_CHECK(r == 0, "map_create: %d", r);
    r = slot->other ? 0 : fm_map_create(&config, &slot->other);
    STRESS_CHECK(r == 0, "map_create: %d", r);
    run->race->begin(slot);
}

static void act(struct run *run, struct slot *slot, struct part *part)
{
    /*
     * Half of the rounds begin when two are there: more there cannot be at the same moment on
     * two processors. relaxed: it only brings us close together
     */
    atomic_fetch_add_explicit(&slot->arrived, 1, memory_order_relaxed);
    uint32_t enough = slot->choice >> 63 ? run->parts : 2;
    for (int steps = 0; steps < STEPS_TO_MEET; steps++) {
        if (atomic_load_explicit(&slot->arrived, memory_order_relaxed) >= enough)
            break;
    }
    stress_jitter(&part->random);
    run->race->act(slot, part);
}

static void take_part(struct actor *actor)
{
    struct run *run = actor->run;
    struct part *part = &actor->part;
    bool leader = part->index == 0;

    for (uint64_t meeting = 0; meeting < run->meetings; meeting++) {
        if (leader) {
            for (uint32_t i = 0; i < RACE_SLOTS; i++)
                begin(run, meeting * RACE_SLOTS + i, stress_random(&part->random),
                      &run->slots[i]);
        }
        meet(run, actor->fiber);
        part->role = (uint32_t)((part->index + meeting) % run->parts);
        for (uint32_t i = 0; i < RACE_SLOTS; i++)
            act(run, &run->slots[i], part);
        meet(run, actor->fiber);
        if (leader) {
            for (uint32_t i = 0; i < RACE_SLOTS; i++) {
                run->race->end(&run->slots[i]);
                atomic_fetch_add(&progress, 1);
            }
            if (run->race->over)
                run->race->over(meeting, run->meetings);
        }
    }
}

static struct fm_exit fiber_takes_part(void *arg)
{
    take_part(arg);
    return fm_ok(NULL);
}

static void *thread_takes_part(void *arg)
{
    take_part(arg);
    return NULL;
}

/* ---- a run ---- */

static void start(struct actor *actor, struct fm_fiber **fiber, pthread_t *thread)
{
    int r = actor->fiber
                ? fm_runtime_spawn(actor->run->runtime, fiber_takes_part, actor, NULL, fiber)
                : pthread_create(thread, NULL, thread_takes_part, actor);
    STRESS_CHECK(r == 0, "a participant does not start: %d", r);
}

static void play(const struct race *race, const struct cast *cast, uint64_t rounds)
{
    struct run *run = calloc(1, sizeof *run);
    struct actor actors[RACE_PARTS_MAX];
    struct fm_fiber *fibers[RACE_PARTS_MAX] = { NULL };
    pthread_t threads[RACE_PARTS_MAX];
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime_stats stats;
    uint64_t random = stress_seed() * 0x9e3779b97f4a7c15u | 1;

    STRESS_CHECK(run, "no memory");
    config.worker_count = cast->workers;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    int r = fm_runtime_create(&config, &run->runtime);
    STRESS_CHECK(r == 0, "runtime_create: %d", r);
    atomic_store(&present, run->runtime);
    run->race = race;
    run->meetings = (rounds + RACE_SLOTS - 1) / RACE_SLOTS;
    run->parts = cast->fibers + cast->threads;
    for (int i = 0; i < RACE_SLOTS; i++) {
        struct slot *slot = &run->slots[i];
        slot->parts = run->parts;
        slot->runtime = run->runtime;
        snprintf(slot->text, sizeof slot->text, "key %d", i);
        snprintf(slot->text2, sizeof slot->text2, "another key %d", i);
        slot->key = fm_key_str(slot->text);
        slot->key2 = fm_key_str(slot->text2);
    }
    for (uint32_t i = 0; i < run->parts; i++) {
        actors[i] = (struct actor) { .run = run, .fiber = i < cast->fibers };
        actors[i].part = (struct part) { .index = i,
                                         .runtime = run->runtime,
                                         .random = stress_random(&random) };
    }
    for (uint32_t i = 0; i < run->parts; i++)
        start(&actors[i], &fibers[i], &threads[i]);
    for (uint32_t i = 0; i < run->parts; i++) {
        if (actors[i].fiber)
            r = fm_fiber_join(fibers[i], FM_NEVER, NULL);
        else
            r = pthread_join(threads[i], NULL);
        STRESS_CHECK(r == 0, "a participant is lost: %d", r);
        fm_fiber_unref(fibers[i]);
    }
    for (int i = 0; i < RACE_SLOTS; i++) {
        fm_map_destroy(run->slots[i].map);
        fm_map_destroy(run->slots[i].other);
    }
    r = fm_runtime_shutdown(run->runtime, FM_NEVER);
    STRESS_CHECK(r == 0, "shutdown: %d", r);
    fm_runtime_stats(run->runtime, &stats);
    STRESS_CHECK(stats.fibers_live == 0 && stats.fibers_spawned == stats.fibers_ended,
                 "%" PRIu64 " spawned, %" PRIu64 " ended", stats.fibers_spawned,
                 stats.fibers_ended);
    atomic_store(&present, NULL);
    fm_runtime_destroy(run->runtime);
    free(run);
}

static double seconds(void)
{
    return (double)fm_now_ns() / 1e9;
}

static void play_all(const struct race *race)
{
    uint64_t rounds = FM_ASAN || FM_TSAN ? ROUNDS / 10 : ROUNDS;
    if (getenv("FM_LONG"))
        rounds *= 10;
    rounds = stress_fewer(rounds);
    double start_s = seconds();
    for (int i = 0; i < CASTS; i++)
        play(race, &casts[i], rounds / CASTS + 1);
    fprintf(stderr, "%-16s %" PRIu64 " rounds in %.1f s: %s\n", race->name, rounds,
            seconds() - start_s, race->says);
}

static bool wanted(const char *name, int count, char *names[])
{
    for (int i = 1; i < count; i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return count < 2;
}

int main(int count, char *names[])
{
    const struct race *const rooms[] = { watch_races, replace_races, close_races,
                                         exit_races,  reenter_races, wait_races,
                                         flow_races,  restart_races, group_races, share_races,
                                         turn_races,  cut_races,     order_races,
                                         idle_races,    many_races,   late_races,
                                         meet_races };
    pthread_t watchdog;
    int played = 0;

    stress_seed();
    for (size_t room = 0; room < sizeof rooms / sizeof *rooms; room++) {
        for (const struct race *race = rooms[room]; race->name; race++) {
            if (!wanted(race->name, count, names))
                continue;
            atomic_store(&playing, race->name);
            if (!played++ && pthread_create(&watchdog, NULL, watch, NULL) == 0)
                pthread_detach(watchdog);
            play_all(race);
        }
    }
    if (!played)
        fprintf(stderr, "no race of that name\n");
    return played ? 0 : 2;
}
