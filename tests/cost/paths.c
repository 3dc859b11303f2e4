/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paths.c - the hot paths of the library, one at a time, for cost.py to count instructions
 *
 *     paths PATH COUNT     run the path COUNT times, on one worker
 *     paths                what paths there are
 *
 * What a path does for an operation is the same each time, so the work of 2 N operations less
 * that of N is the work of N: start-up, first uses and the end cancel out. Each path checks its
 * results.
 *
 * Determinism: one worker, a fixed seed, and a clock that stands while the path runs, or moves
 * by clock_step_ns each time that the worker reads it: so no tick comes early on a slow machine.
 * For all other threads it is an hour ahead, so that the kernel lets the monitor sleep on.
 */
#include <errno.h>
#include <fm/fm.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

enum {
    BATCH = 1000,
    CALLERS = 100,
    HUNDRED_THOUSAND = 100000,
    KEY_BYTES = 24,
};

/* ---- the clock ---- */

static const int64_t hour_ns = INT64_C(3600000000000);

static _Thread_local int64_t stopped_ns; /* 0: it goes */
static int64_t clock_step_ns;

/* In place of libc's, for all of the program. */
int clock_gettime(clockid_t id, struct timespec *now)
{
    if (stopped_ns) {
        stopped_ns += clock_step_ns;
        *now = (struct timespec) { stopped_ns / 1000000000, stopped_ns % 1000000000 };
        return 0;
    }
    int r = (int)syscall(SYS_clock_gettime, id, now);
    now->tv_sec += hour_ns / 1000000000;
    return r;
}

/* By the main fiber: for the worker's thread. */
static void stop_clock(void)
{
    stopped_ns = fm_now_ns();
}

static void start_clock(void)
{
    stopped_ns = 0;
    clock_step_ns = 0;
}

/* ---- fibers ---- */

static struct fm_exit nothing(void *arg)
{
    return fm_ok(arg);
}

static struct fm_exit wait_to_be_interrupted(void *arg)
{
    return fm_fail(fm_never());
}

static struct fm_fiber *spawn(fm_entry_fn *entry, void *arg)
{
    struct fm_fiber *fiber;
    CHECK(fm_fiber_spawn(entry, arg, NULL, &fiber) == 0);
    return fiber;
}

static void finish(struct fm_fiber *fiber)
{
    struct fm_exit exit;
    CHECK(fm_fiber_join(fiber, FM_NEVER, &exit) == 0 && exit.kind == FM_SUCCESS);
    fm_fiber_unref(fiber);
}

/* Two fibers that do the same, each `count` times. */
struct pair {
    void (*play)(struct pair *pair, int me);
    uint64_t count;
    int64_t deadline_ns;
    int turn;
    struct fm_mutex *mutex;
    struct fm_cond *turn_of[2];
    struct fm_semaphore *ball_of[2];
    struct fm_channel *channel;
};

static struct fm_exit second(void *arg)
{
    struct pair *pair = arg;
    pair->play(pair, 1);
    return fm_ok(NULL);
}

static void play(struct pair *pair)
{
    struct fm_fiber *other = spawn(second, pair);
    pair->play(pair, 0);
    finish(other);
}

/* ---- switching, starting, ending ---- */

static void play_yield(struct pair *pair, int me)
{
    for (uint64_t i = 0; i < pair->count; i++)
        fm_yield();
}

static void path_yield(uint64_t count)
{
    play(&(struct pair) { .play = play_yield, .count = count / 2 });
}

static void path_spawn_join(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        finish(spawn(nothing, NULL));
}

static void path_spawn_batch(uint64_t count)
{
    static struct fm_fiber *fibers[BATCH];
    for (uint64_t i = 0; i < count; i += BATCH) {
        for (int f = 0; f < BATCH; f++)
            fibers[f] = spawn(nothing, NULL);
        for (int f = 0; f < BATCH; f++)
            finish(fibers[f]);
    }
}

static void path_scope(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct fm_scope *scope;
        CHECK(fm_scope_open(&scope) == 0);
        CHECK(fm_scope_close(scope, fm_ok(NULL)).kind == FM_SUCCESS);
    }
}

/* ---- waiting for one another ---- */

static void path_mutex(uint64_t count)
{
    struct fm_mutex *mutex;
    CHECK(fm_mutex_create(&mutex) == 0);
    for (uint64_t i = 0; i < count; i++) {
        CHECK(fm_mutex_lock(mutex, FM_NEVER) == 0);
        fm_mutex_unlock(mutex);
    }
    fm_mutex_destroy(mutex);
}

static void play_cond(struct pair *pair, int me)
{
    fm_mutex_lock(pair->mutex, FM_NEVER);
    for (uint64_t i = 0; i < pair->count; i++) {
        while (pair->turn != me)
            CHECK(fm_cond_wait(pair->turn_of[me], pair->mutex, FM_NEVER) == 0);
        pair->turn = !me;
        fm_cond_signal(pair->turn_of[!me]);
    }
    fm_mutex_unlock(pair->mutex);
}

static void path_cond(uint64_t count)
{
    struct pair pair = { .play = play_cond, .count = count };
    CHECK(fm_mutex_create(&pair.mutex) == 0);
    CHECK(fm_cond_create(&pair.turn_of[0]) == 0 && fm_cond_create(&pair.turn_of[1]) == 0);
    play(&pair);
    fm_cond_destroy(pair.turn_of[0]);
    fm_cond_destroy(pair.turn_of[1]);
    fm_mutex_destroy(pair.mutex);
}

static void play_ball(struct pair *pair, int me)
{
    for (uint64_t i = 0; i < pair->count; i++) {
        CHECK(fm_semaphore_acquire(pair->ball_of[me], 1, pair->deadline_ns) == 0);
        fm_semaphore_release(pair->ball_of[!me], 1);
    }
}

static void ball(uint64_t count, int64_t deadline_ns)
{
    struct pair pair = { .play = play_ball, .count = count, .deadline_ns = deadline_ns };
    CHECK(fm_semaphore_create(1, &pair.ball_of[0]) == 0);
    CHECK(fm_semaphore_create(0, &pair.ball_of[1]) == 0);
    play(&pair);
    fm_semaphore_destroy(pair.ball_of[0]);
    fm_semaphore_destroy(pair.ball_of[1]);
}

static void path_semaphore(uint64_t count)
{
    ball(count, FM_NEVER);
}

static void path_timed(uint64_t count)
{
    ball(count, fm_after_ns(hour_ns));
}

static void path_channel(uint64_t count)
{
    struct fm_channel *channel;
    CHECK(fm_channel_create(1, NULL, &channel) == 0);
    for (uint64_t i = 0; i < count; i++) {
        void *value = NULL;
        CHECK(fm_channel_send(channel, &i, FM_NEVER) == 0);
        CHECK(fm_channel_recv(channel, FM_NEVER, &value) == 0 && value == &i);
    }
    fm_channel_destroy(channel);
}

static void play_hand_over(struct pair *pair, int me)
{
    for (uint64_t i = 0; i < pair->count; i++) {
        void *value = pair;
        CHECK((me ? fm_channel_recv(pair->channel, FM_NEVER, &value)
                  : fm_channel_send(pair->channel, value, FM_NEVER)) == 0);
        CHECK(value == pair);
    }
}

static void path_hand_over(uint64_t count)
{
    struct pair pair = { .play = play_hand_over, .count = count };
    CHECK(fm_channel_create(0, NULL, &pair.channel) == 0);
    play(&pair);
    fm_channel_destroy(pair.channel);
}

/* Alone, so the worker looks at the clock between two sleeps, and there the time is over. */
static void path_sleep(uint64_t count)
{
    clock_step_ns = 2000000;
    for (uint64_t i = 0; i < count; i++)
        CHECK(fm_sleep_ns(1000000) == 0);
}

/* ---- the map ---- */

static char names[HUNDRED_THOUSAND][KEY_BYTES];
static struct fm_key keys[HUNDRED_THOUSAND];

/* "job-0000001" ...: 9 to 18 bytes, no two alike. */
static void make_names(void)
{
    static const char *const stems[] = { "j-", "job-", "user-", "session-", "connection-" };
    for (uint32_t i = 0; i < HUNDRED_THOUSAND; i++) {
        const char *stem = stems[i % 5];
        size_t length = strlen(stem) + 7;
        memcpy(names[i], stem, length - 7);
        for (uint32_t place = 1, rest = i; place <= 7; place++, rest /= 10)
            names[i][length - place] = (char)('0' + rest % 10);
        keys[i] = fm_key_bytes(names[i], length);
    }
}

static struct fm_key name(uint64_t i)
{
    return keys[i % HUNDRED_THOUSAND];
}

static struct fm_map *make_map(const struct fm_map_config *config)
{
    struct fm_map *map;
    CHECK(fm_map_create(config, &map) == 0);
    make_names();
    return map;
}

/* One fiber under all names. */
static struct fm_map *make_full_map(struct fm_fiber **ret_fiber)
{
    struct fm_map *map = make_map(NULL);
    *ret_fiber = spawn(wait_to_be_interrupted, NULL);
    for (uint64_t i = 0; i < HUNDRED_THOUSAND; i++)
        CHECK(fm_map_set(map, name(i), *ret_fiber, NULL) == 0);
    return map;
}

static void end_full_map(struct fm_map *map, struct fm_fiber *fiber)
{
    CHECK(fm_map_size(map) == HUNDRED_THOUSAND);
    fm_fiber_unref(fiber);
    fm_map_destroy(map);
}

static void path_map_get(uint64_t count)
{
    struct fm_fiber *fiber, *found;
    struct fm_map *map = make_full_map(&fiber);
    for (uint64_t i = 0; i < count; i++) {
        CHECK(fm_map_get(map, name(i * 7919), &found) == 0 && found == fiber);
        fm_fiber_unref(found);
    }
    end_full_map(map, fiber);
}

/* Keys of the same lengths that nobody has. */
static void path_map_miss(uint64_t count)
{
    struct fm_fiber *fiber, *found;
    struct fm_map *map = make_full_map(&fiber);
    for (uint64_t i = 0; i < count; i++) {
        struct fm_key other = name(i * 7919);
        char text[32];
        CHECK(other.len < sizeof text);
        memcpy(text, other.data, other.len);
        text[other.len - 1] = '?';
        CHECK(fm_map_get(map, fm_key_bytes(text, other.len), &found) == -ENOENT);
    }
    end_full_map(map, fiber);
}

static void path_map_has(uint64_t count)
{
    struct fm_fiber *fiber;
    struct fm_map *map = make_full_map(&fiber);
    for (uint64_t i = 0; i < count; i++)
        CHECK(fm_map_has(map, name(i * 7919)));
    end_full_map(map, fiber);
}

static void path_map_keep(uint64_t count)
{
    struct fm_map_run_options keep = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    struct fm_map *map = make_full_map(&fiber);
    keep.conflict = FM_KEEP;
    for (uint64_t i = 0; i < count; i++)
        CHECK(fm_map_run(map, name(i * 7919), nothing, NULL, &keep, NULL) == FM_MAP_KEPT);
    end_full_map(map, fiber);
}

static void path_map_run(uint64_t count)
{
    struct fm_map *map = make_map(NULL);
    for (uint64_t i = 0; i < count; i++) {
        struct fm_fiber *fiber;
        CHECK(fm_map_run(map, name(i), nothing, NULL, NULL, &fiber) == 0);
        finish(fiber);
    }
    CHECK(fm_map_size(map) == 0);
    fm_map_destroy(map);
}

/* Each round replaces a thousand fibers; `started`: that wait, else that have not begun. */
static void replace(uint64_t count, bool started)
{
    struct fm_map *map = make_map(NULL);
    for (uint64_t i = 0; i < count; i++) {
        int r = fm_map_run(map, name(i % BATCH), wait_to_be_interrupted, NULL, NULL, NULL);
        CHECK(r == (i < BATCH ? 0 : FM_MAP_REPLACED));
        if (started && i % BATCH == BATCH - 1)
            fm_yield();
    }
    CHECK(fm_map_clear(map, FM_NEVER) == 0);
    CHECK(fm_map_await_quiescent(map, FM_NEVER) == 0);
    fm_map_destroy(map);
}

static void path_map_replace(uint64_t count)
{
    replace(count, true);
}

static void path_map_storm(uint64_t count)
{
    replace(count, false);
}

static void path_map_remove(uint64_t count)
{
    struct fm_map *map = make_map(NULL);
    for (uint64_t i = 0; i < count; i++) {
        CHECK(fm_map_run(map, name(i), wait_to_be_interrupted, NULL, NULL, NULL) == 0);
        fm_yield();
        CHECK(fm_map_remove(map, name(i), FM_NEVER) == 0);
    }
    CHECK(fm_map_size(map) == 0);
    fm_map_destroy(map);
}

/* Each thousand stands in one line. */
static void path_map_queue(uint64_t count)
{
    struct fm_map_run_options in_turn = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_map *map = make_map(NULL);
    in_turn.conflict = FM_QUEUE;
    for (uint64_t i = 0; i < count; i++) {
        int r = fm_map_run(map, name(i / BATCH), nothing, NULL, &in_turn, NULL);
        CHECK(r == (i % BATCH ? FM_MAP_QUEUED : 0));
        if (i % BATCH == BATCH - 1)
            CHECK(fm_map_await_quiescent(map, FM_NEVER) == 0);
    }
    fm_map_destroy(map);
}

struct party {
    struct fm_map *map;
    struct fm_key key;
    uint64_t come, started;
};

static struct fm_exit until_all_have_come(void *arg)
{
    struct party *party = arg;
    party->started++;
    while (party->come % CALLERS)
        fm_yield();
    return fm_ok(party);
}

static struct fm_exit come(void *arg)
{
    struct party *party = arg;
    struct fm_exit exit;
    party->come++;
    CHECK(fm_map_run_wait(party->map, party->key, until_all_have_come, party, NULL, FM_NEVER,
                          &exit) >= 0);
    return exit;
}

/* Callers of one key at a time, who share one run. */
static void path_map_share(uint64_t count)
{
    struct fm_fiber *callers[CALLERS];
    struct party party = { .map = make_map(NULL) };
    for (uint64_t i = 0; i < count; i += CALLERS) {
        party.key = name(i);
        for (uint64_t c = 0; c < CALLERS; c++)
            callers[c] = spawn(come, &party);
        for (uint64_t c = 0; c < CALLERS; c++)
            finish(callers[c]);
    }
    CHECK(party.started == count / CALLERS);
    fm_map_destroy(party.map);
}

static void path_map_touch(uint64_t count)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    config.max_live = BATCH;
    config.on_excess = FM_EXCESS_EVICT_IDLE;
    struct fm_map *map = make_map(&config);
    for (uint64_t i = 0; i < BATCH; i++)
        CHECK(fm_map_run(map, name(i), wait_to_be_interrupted, NULL, NULL, NULL) == 0);
    for (uint64_t i = 0; i < count; i++)
        CHECK(fm_map_touch(map, name(i * 7919 % BATCH)) == 0);
    fm_map_destroy(map);
}

/* ---- one of them ---- */

struct path {
    const char *name;
    void (*run)(uint64_t count);
    const char *what;
    uint64_t count;
};

static struct fm_exit run_path(void *arg)
{
    const struct path *path = arg;
    stop_clock();
    path->run(path->count);
    start_clock();
    return fm_ok(NULL);
}

int main(int argc, char **argv)
{
    static struct path paths[] = {
        { .name = "yield", .run = path_yield, .what = "a switch between two runnable fibers" },
        { .name = "spawn_join",
          .run = path_spawn_join,
          .what = "spawn and join, one at a time" },
        { .name = "spawn_batch",
          .run = path_spawn_batch,
          .what = "spawn a thousand, then join all" },
        { .name = "scope", .run = path_scope, .what = "open and close a scope" },
        { .name = "mutex", .run = path_mutex, .what = "lock and unlock, nobody else there" },
        { .name = "cond",
          .run = path_cond,
          .what = "round trip of two under a mutex and two conditions" },
        { .name = "semaphore",
          .run = path_semaphore,
          .what = "round trip of two over two semaphores" },
        { .name = "timed",
          .run = path_timed,
          .what = "the same with a deadline each: two timers armed and cancelled" },
        { .name = "channel",
          .run = path_channel,
          .what = "send and receive, the value stays in between" },
        { .name = "hand_over",
          .run = path_hand_over,
          .what = "send to one that waits, no buffer" },
        { .name = "sleep", .run = path_sleep, .what = "a sleep, alone" },
        { .name = "map_get", .run = path_map_get, .what = "get with a reference, of 100,000" },
        { .name = "map_miss", .run = path_map_miss, .what = "get of a key that nobody has" },
        { .name = "map_has", .run = path_map_has, .what = "has, of 100,000" },
        { .name = "map_keep",
          .run = path_map_keep,
          .what = "run, only if missing, where the key is held" },
        { .name = "map_run",
          .run = path_map_run,
          .what = "run under a free key and await the end (i-seq)" },
        { .name = "map_replace",
          .run = path_map_replace,
          .what = "run in place of one that waits (ii-started)" },
        { .name = "map_storm",
          .run = path_map_storm,
          .what = "run in place of one that has not begun (ii)" },
        { .name = "map_remove",
          .run = path_map_remove,
          .what = "run, let it wait, remove and await the end" },
        { .name = "map_queue",
          .run = path_map_queue,
          .what = "run behind those who queue, a thousand, and have its turn" },
        { .name = "map_share",
          .run = path_map_share,
          .what = "spawn, run_wait where somebody runs, and join" },
        { .name = "map_touch",
          .run = path_map_touch,
          .what = "touch, where the idle are evicted" },
    };
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_exit exit;

    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        if (argc == 1)
            printf("%s\t%s\n", paths[i].name, paths[i].what);
        if (argc != 3 || strcmp(argv[1], paths[i].name) != 0)
            continue;
        paths[i].count = strtoull(argv[2], NULL, 10);
        config.worker_count = 1;
        config.seed = 1;
        config.guard = FM_GUARD_MPROTECT; /* which every kernel has */
        config.flags = FM_RUNTIME_NO_STALL_REPORT;
        CHECK(fm_runtime_create(&config, &runtime) == 0);
        CHECK(fm_runtime_run(runtime, run_path, &paths[i], &exit) == 0);
        CHECK(exit.kind == FM_SUCCESS);
        fm_runtime_destroy(runtime);
        return 0;
    }
    return argc == 1 ? 0 : 2;
}
