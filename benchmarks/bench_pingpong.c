/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_pingpong.c - how long does it take to hand the turn over and get it back?
 *
 * Two fibers, one mutex, one condition each: whoever has the turn gives it to the other and
 * waits. Per round trip. With one worker both share it; with two each is pinned to its own.
 * `semaphore` does the same with two semaphores, `channel` with two channels without capacity,
 * `channel_1` with two that hold one value. `asleep` is played with semaphores by two workers,
 * and whoever has the turn computes for so long that the other's worker has gone to sleep: of
 * its round trip only the two times from the release to the other's next line count.
 */
#include "benchmarks/support/bench.h"

#include <stdatomic.h>

static const int64_t think_ns = 50000;

struct table {
    void (*play)(struct table *table, int me);
    struct fm_mutex *mutex;
    struct fm_cond *turn_of[2];
    struct fm_semaphore *ball_of[2];
    struct fm_channel *to[2];
    int turn;
    uint64_t rounds;
    uint64_t played[2];
    int64_t released_ns; /* asleep: when the turn was given ... */
    int64_t handed_ns;   /* ... and how long all of them were on their way */
    bool two_workers;
    _Atomic bool apart; /* the second player has its own worker */
};

static void play_cond(struct table *table, int me)
{
    fm_mutex_lock(table->mutex, FM_NEVER);
    for (uint64_t i = 0; i < table->rounds; i++) {
        while (table->turn != me)
            fm_cond_wait(table->turn_of[me], table->mutex, FM_NEVER);
        table->played[me]++;
        table->turn = !me;
        fm_cond_signal(table->turn_of[!me]);
    }
    fm_mutex_unlock(table->mutex);
}

static void play_semaphore(struct table *table, int me)
{
    for (uint64_t i = 0; i < table->rounds; i++) {
        fm_semaphore_acquire(table->ball_of[me], 1, FM_NEVER);
        table->played[me]++;
        fm_semaphore_release(table->ball_of[!me], 1);
    }
}

static void play_asleep(struct table *table, int me)
{
    for (uint64_t i = 0; i < table->rounds; i++) {
        fm_semaphore_acquire(table->ball_of[me], 1, FM_NEVER);
        int64_t now = fm_now_ns();
        if (i > 0 || me > 0)
            table->handed_ns += now - table->released_ns;
        table->played[me]++;
        for (int64_t until = now + think_ns; now < until;)
            now = fm_now_ns();
        table->released_ns = now;
        fm_semaphore_release(table->ball_of[!me], 1);
    }
}

static void play_channel(struct table *table, int me)
{
    for (uint64_t i = 0; i < table->rounds; i++) {
        void *ball = &table->played[me];
        if (me == 0)
            fm_channel_send(table->to[1], ball, FM_NEVER);
        fm_channel_recv(table->to[me], FM_NEVER, &ball);
        table->played[me] += ball == &table->played[0];
        if (me == 1)
            fm_channel_send(table->to[0], ball, FM_NEVER);
    }
}

static struct fm_exit second_player(void *arg)
{
    struct table *table = arg;
    if (table->two_workers) {
        fm_pin();
        atomic_store(&table->apart, true);
    }
    table->play(table, 1);
    if (table->two_workers)
        fm_unpin();
    return fm_ok(NULL);
}

static void play(const struct bench_run *run, struct table *table, const char *metric)
{
    table->rounds = run->count;
    table->two_workers = run->workers > 1;
    if (table->two_workers)
        fm_pin();
    struct fm_fiber *second = bench_spawn(second_player, table);
    /* we do not let go of this worker until another has taken the second player */
    while (table->two_workers && !atomic_load(&table->apart))
        ;
    int64_t start = fm_now_ns();
    table->play(table, 0);
    bench_finish(second);
    int64_t end = fm_now_ns();
    if (table->two_workers)
        fm_unpin();
    BENCH_CHECK(table->played[0] == run->count && table->played[1] == run->count,
                "a turn is missing");
    int64_t ns = table->handed_ns ? table->handed_ns : end - start;
    bench_record(run, metric, "ns", (double)ns / (double)run->count);
}

static struct fm_exit cond(void *arg)
{
    struct table table = { .play = play_cond };
    BENCH_CHECK(fm_mutex_create(&table.mutex) == 0 && fm_cond_create(&table.turn_of[0]) == 0 &&
                    fm_cond_create(&table.turn_of[1]) == 0,
                "no memory");
    play(arg, &table, "ping-pong, condition");
    fm_cond_destroy(table.turn_of[0]);
    fm_cond_destroy(table.turn_of[1]);
    fm_mutex_destroy(table.mutex);
    return fm_ok(NULL);
}

static struct fm_exit semaphores(void *arg, void (*player)(struct table *, int),
                                 const char *metric)
{
    struct table table = { .play = player };
    BENCH_CHECK(fm_semaphore_create(1, &table.ball_of[0]) == 0 &&
                    fm_semaphore_create(0, &table.ball_of[1]) == 0,
                "no memory");
    play(arg, &table, metric);
    fm_semaphore_destroy(table.ball_of[0]);
    fm_semaphore_destroy(table.ball_of[1]);
    return fm_ok(NULL);
}

static struct fm_exit semaphore(void *arg)
{
    return semaphores(arg, play_semaphore, "ping-pong, semaphore");
}

static struct fm_exit asleep(void *arg)
{
    return semaphores(arg, play_asleep, "ping-pong, both asleep");
}

static struct fm_exit channels(void *arg, size_t capacity, const char *metric)
{
    struct table table = { .play = play_channel };
    BENCH_CHECK(fm_channel_create(capacity, NULL, &table.to[0]) == 0 &&
                    fm_channel_create(capacity, NULL, &table.to[1]) == 0,
                "no memory");
    play(arg, &table, metric);
    fm_channel_destroy(table.to[0]);
    fm_channel_destroy(table.to[1]);
    return fm_ok(NULL);
}

static struct fm_exit channel(void *arg)
{
    return channels(arg, 0, "ping-pong, channel");
}

static struct fm_exit channel_1(void *arg)
{
    return channels(arg, 1, "ping-pong, channel of one");
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { .name = "cond", .body = cond, .count = 300000, .max_workers = 2 },
        { .name = "semaphore", .body = semaphore, .count = 300000, .max_workers = 2 },
        { .name = "channel", .body = channel, .count = 300000, .max_workers = 2 },
        { .name = "channel_1", .body = channel_1, .count = 300000, .max_workers = 2 },
        { .name = "asleep", .body = asleep, .count = 5000, .min_workers = 2, .max_workers = 2 },
    };
    return bench_main(argc, argv, "how long a round trip between two fibers takes", cases,
                      sizeof cases / sizeof cases[0]);
}
