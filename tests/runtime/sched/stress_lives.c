/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress_lives.c - ten thousand runtimes, one after the other and some side by side (F21, F97, R20)
 *
 * Each life has other workers, another queue and another load: fibers that never start, that
 * compute, sleep, wait for a socket, a job on the blocking pool, a map's members, children that
 * nobody joins. It is ended at once or a moment later, by destroy alone, after a shutdown that
 * waits, or after one that does not. Every argument is given back once, by the body or instead
 * of it, and at the end the process holds what it held after the first tenth of the lives:
 * threads, descriptors, and, where no sanitizer keeps more, mappings and memory.
 */
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fm/fm.h"
#include "tests/soak/usage.h"
#include "tests/support/stress.h"

enum { LOADS = 7, EACH = 4, SIDE_BY_SIDE = 3, MAPPINGS = 2, MEMORY = 512 << 10 };

struct life {
    struct fm_runtime *runtime;
    _Atomic uint64_t handed_out, given_back; /* how often it was an argument */
    int ends[2];                             /* of a socket that stays silent */
};

static void hand_out(struct life *life)
{
    atomic_fetch_add(&life->handed_out, 1);
}

static void give_back(void *arg)
{
    struct life *life = arg;
    atomic_fetch_add(&life->given_back, 1);
}

static struct fm_exit end_of(struct life *life)
{
    give_back(life);
    return fm_ok(NULL);
}

static struct fm_exit compute(void *arg)
{
    for (volatile int i = 0; i < 1000; i++)
        ;
    fm_yield();
    return end_of(arg);
}

static struct fm_exit sleep_an_hour(void *arg)
{
    fm_sleep_ms(3600000);
    return end_of(arg);
}

static struct fm_exit sleep_a_moment(void *arg)
{
    fm_sleep_ns(20000);
    return end_of(arg);
}

static struct fm_exit read_for_ever(void *arg)
{
    struct life *life = arg;
    char byte;
    fm_read(life->ends[0], &byte, 1, FM_NEVER);
    return end_of(life);
}

static struct fm_exit job(void *arg)
{
    return fm_ok(arg);
}

static struct fm_exit work_elsewhere(void *arg)
{
    struct fm_exit exit;
    fm_blocking(job, NULL, FM_NEVER, &exit);
    return end_of(arg);
}

static struct fm_exit keep_a_map(void *arg)
{
    struct life *life = arg;
    struct fm_map *map;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.arg_drop = give_back;
    if (fm_map_create_scoped(NULL, &map) == 0) {
        for (uint64_t key = 0; key < EACH; key++) {
            hand_out(life);
            /* the last replaces the first; who is interrupted already may be refused */
            if (fm_map_run(map, FM_KEY_U64(key % 3), sleep_an_hour, life, &options, NULL) < 0)
                give_back(life);
        }
        fm_map_await_empty(map, FM_NEVER);
    }
    return end_of(life);
}

static struct fm_exit have_children(void *arg)
{
    struct life *life = arg;
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    options.arg_drop = give_back;
    for (int i = 0; i < EACH; i++) {
        hand_out(life);
        if (fm_fiber_spawn(i % 2 ? compute : sleep_an_hour, life, &options, NULL) < 0)
            give_back(life);
    }
    return end_of(life);
}

static struct life *begin(uint64_t *random)
{
    static fm_entry_fn *const bodies[LOADS] = { compute,       sleep_an_hour,  sleep_a_moment,
                                                read_for_ever, work_elsewhere, keep_a_map,
                                                have_children };
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct life *life = calloc(1, sizeof *life);
    uint64_t choice = stress_random(random);

    STRESS_CHECK(life, "no memory");
    config.worker_count = 1 + (uint32_t)(choice & (choice >> 3 & 7 ? 1 : 7));
    config.queue_size = 1u << (1 + (choice >> 6 & 7));
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    STRESS_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, life->ends) == 0, "%s",
                 strerror(errno));
    int r = fm_runtime_create(&config, &life->runtime);
    STRESS_CHECK(r == 0, "create: %s", fm_strerror(r));
    options.arg_drop = give_back;
    unsigned fibers = (unsigned)(choice >> 9) & 15;
    for (unsigned i = 0; i < fibers; i++) {
        hand_out(life);
        r = fm_runtime_spawn(life->runtime, bodies[stress_random(random) % LOADS], life,
                             &options, NULL);
        STRESS_CHECK(r == 0, "spawn: %s", fm_strerror(r));
    }
    return life;
}

static void end(struct life *life, uint64_t *random)
{
    uint64_t choice = stress_random(random), handed_out, given_back;
    if (choice & 1)
        stress_jitter(random); /* else hardly anybody has started */
    if (choice & 2) {
        int r = fm_runtime_shutdown(life->runtime, choice & 4 ? FM_NEVER : 0);
        STRESS_CHECK(r == 0 || (r == -ETIMEDOUT && !(choice & 4)), "shutdown: %s",
                     fm_strerror(r));
    }
    fm_runtime_destroy(life->runtime);
    handed_out = atomic_load(&life->handed_out);
    given_back = atomic_load(&life->given_back);
    STRESS_CHECK(handed_out == given_back, "%" PRIu64 " of %" PRIu64, given_back, handed_out);
    close(life->ends[0]);
    close(life->ends[1]);
    free(life);
}

int main(void)
{
    uint64_t random = stress_seed(), rounds = stress_rounds(10000), warm = rounds / 10 + 1;
    struct life *lives[SIDE_BY_SIDE] = { NULL };
    struct usage before = { 0 }, after;

    /* malloc's own arenas, one for each thread that meets another, would grow for a long time */
    mallopt(M_ARENA_MAX, 1);
    for (uint64_t round = 0; round < warm + rounds; round++) {
        struct life **place = &lives[round % SIDE_BY_SIDE];
        if (round == warm) {
            for (int i = 0; i < SIDE_BY_SIDE; i++) {
                if (lives[i])
                    end(lives[i], &random);
                lives[i] = NULL;
            }
            before = usage_settled();
        }
        if (*place)
            end(*place, &random);
        *place = begin(&random);
    }
    for (int i = 0; i < SIDE_BY_SIDE; i++)
        if (lives[i])
            end(lives[i], &random);

    after = usage_settled();
    STRESS_CHECK(after.threads == before.threads, "%u, were %u", after.threads, before.threads);
    STRESS_CHECK(after.descriptors == before.descriptors, "%u, were %u", after.descriptors,
                 before.descriptors);
    if (!FM_ASAN && !FM_TSAN) {
        STRESS_CHECK(after.mappings <= before.mappings + MAPPINGS, "%u, were %u",
                     after.mappings, before.mappings);
        STRESS_CHECK(after.memory <= before.memory + MEMORY, "%zu, were %zu", after.memory,
                     before.memory);
    }
    printf("%" PRIu64 " lives: %zu KiB, %u mappings; before %zu KiB, %u\n", rounds,
           after.memory >> 10, after.mappings, before.memory >> 10, before.mappings);
    return 0;
}
