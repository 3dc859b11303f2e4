/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_channel.c - what does a value through a channel cost, and what a select?
 *
 *   producer_consumer   one sends, one receives: per value; channels of 0, 1 and 100
 *   many                four send, four receive over one channel: per value; of 0 and 100
 *   buffer              four put, four take, through a ring of 100 under a mutex with two
 *                       conditions: per value
 *   select              one fiber selects over n channels that hold a value each, in turn: per
 *                       select that need not wait; n of 2, 4, 8
 *   select_wait         one fiber waits in a select over n channels without capacity, another
 *                       sends to one after the other: per value; n of 2, 4, 8
 */
#include "benchmarks/support/bench.h"

enum { PAIRS_MAX = 4, CASES_MAX = 8 };

struct line {
    struct fm_channel *channels[CASES_MAX];
    uint64_t values; /* that each sender sends */
    size_t count;    /* of channels */
};

static struct fm_channel *channel_new(size_t capacity)
{
    struct fm_channel *channel;
    BENCH_CHECK(fm_channel_create(capacity, NULL, &channel) == 0, "no memory");
    return channel;
}

/* 1, 2, ... through the one channel */
static struct fm_exit produce(void *arg)
{
    struct line *line = arg;
    for (uintptr_t i = 1; i <= line->values; i++)
        fm_channel_send(line->channels[0], (void *)i, FM_NEVER);
    return fm_ok(NULL);
}

static struct fm_exit consume(void *arg)
{
    struct line *line = arg;
    uintptr_t sum = 0;
    void *value;
    while (fm_channel_recv(line->channels[0], FM_NEVER, &value) == 0)
        sum += (uintptr_t)value;
    return fm_ok((void *)sum);
}

static void run_pairs(const struct bench_run *run, int pairs, size_t capacity,
                      const char *metric)
{
    struct line line = { { channel_new(capacity) }, run->count / (uint64_t)pairs, 1 };
    struct fm_fiber *producers[PAIRS_MAX], *consumers[PAIRS_MAX];
    uintptr_t sum = 0;

    int64_t start = fm_now_ns();
    for (int i = 0; i < pairs; i++)
        consumers[i] = bench_spawn(consume, &line);
    for (int i = 0; i < pairs; i++)
        producers[i] = bench_spawn(produce, &line);
    for (int i = 0; i < pairs; i++)
        bench_finish(producers[i]);
    fm_channel_close(line.channels[0]);
    for (int i = 0; i < pairs; i++)
        sum += (uintptr_t)bench_finish(consumers[i]).value;
    int64_t end = fm_now_ns();

    BENCH_CHECK(sum == (uintptr_t)pairs * (line.values * (line.values + 1) / 2),
                "a value is missing");
    bench_record(run, metric, "ns",
                 (double)(end - start) / (double)(line.values * (uint64_t)pairs));
    fm_channel_destroy(line.channels[0]);
}

static struct fm_exit producer_consumer(void *arg)
{
    run_pairs(arg, 1, 0, "channel, one to one");
    run_pairs(arg, 1, 1, "channel of one, one to one");
    run_pairs(arg, 1, 100, "channel of 100, one to one");
    return fm_ok(NULL);
}

static struct fm_exit many(void *arg)
{
    run_pairs(arg, 4, 0, "channel, four to four");
    run_pairs(arg, 4, 100, "channel of 100, four to four");
    return fm_ok(NULL);
}

/* ---- the same without a channel ---- */

enum { RING = 100 };

struct buffer {
    struct fm_mutex *mutex;
    struct fm_cond *not_full, *not_empty;
    uintptr_t ring[RING];
    uint64_t put, taken; /* so far */
    uint64_t each;       /* values of a producer, and of a consumer */
};

static struct fm_exit put_many(void *arg)
{
    struct buffer *b = arg;
    for (uintptr_t i = 1; i <= b->each; i++) {
        fm_mutex_lock(b->mutex, FM_NEVER);
        while (b->put - b->taken == RING)
            fm_cond_wait(b->not_full, b->mutex, FM_NEVER);
        b->ring[b->put++ % RING] = i;
        fm_cond_signal(b->not_empty);
        fm_mutex_unlock(b->mutex);
    }
    return fm_ok(NULL);
}

static struct fm_exit take_many(void *arg)
{
    struct buffer *b = arg;
    uintptr_t sum = 0;
    for (uint64_t i = 0; i < b->each; i++) {
        fm_mutex_lock(b->mutex, FM_NEVER);
        while (b->put == b->taken)
            fm_cond_wait(b->not_empty, b->mutex, FM_NEVER);
        sum += b->ring[b->taken++ % RING];
        fm_cond_signal(b->not_full);
        fm_mutex_unlock(b->mutex);
    }
    return fm_ok((void *)sum);
}

static struct fm_exit buffer(void *arg)
{
    const struct bench_run *run = arg;
    struct buffer b = { .each = run->count / PAIRS_MAX };
    struct fm_fiber *producers[PAIRS_MAX], *consumers[PAIRS_MAX];
    uintptr_t sum = 0;
    BENCH_CHECK(fm_mutex_create(&b.mutex) == 0 && fm_cond_create(&b.not_full) == 0 &&
                    fm_cond_create(&b.not_empty) == 0,
                "no memory");
    int64_t start = fm_now_ns();
    for (int i = 0; i < PAIRS_MAX; i++) {
        consumers[i] = bench_spawn(take_many, &b);
        producers[i] = bench_spawn(put_many, &b);
    }
    for (int i = 0; i < PAIRS_MAX; i++) {
        bench_finish(producers[i]);
        sum += (uintptr_t)bench_finish(consumers[i]).value;
    }
    int64_t end = fm_now_ns();
    BENCH_CHECK(sum == PAIRS_MAX * (b.each * (b.each + 1) / 2), "a value is missing");
    bench_record(run, "buffer of 100, four to four", "ns",
                 (double)(end - start) / (double)(b.each * PAIRS_MAX));
    fm_cond_destroy(b.not_full);
    fm_cond_destroy(b.not_empty);
    fm_mutex_destroy(b.mutex);
    return fm_ok(NULL);
}

/* ---- select ---- */

static void run_select(const struct bench_run *run, size_t count, const char *metric)
{
    struct fm_channel *channels[CASES_MAX];
    struct fm_case cases[CASES_MAX];
    uintptr_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        channels[i] = channel_new(1);
        cases[i] = fm_case_recv(channels[i]);
        fm_channel_try_send(channels[i], (void *)1);
    }
    int64_t start = fm_now_ns();
    for (uint64_t i = 0; i < run->count; i++) {
        size_t index = count;
        fm_select(cases, count, FM_NEVER, &index);
        sum += (uintptr_t)cases[index].value;
        fm_channel_try_send(channels[index], (void *)1);
    }
    int64_t end = fm_now_ns();
    BENCH_CHECK(sum == run->count, "a value is missing");
    bench_record(run, metric, "ns", (double)(end - start) / (double)run->count);
    for (size_t i = 0; i < count; i++)
        fm_channel_destroy(channels[i]);
}

static struct fm_exit select_ready(void *arg)
{
    run_select(arg, 2, "select of 2, and a send");
    run_select(arg, 4, "select of 4, and a send");
    run_select(arg, 8, "select of 8, and a send");
    return fm_ok(NULL);
}

static struct fm_exit send_in_turn(void *arg)
{
    struct line *line = arg;
    for (uint64_t i = 0; i < line->values; i++)
        fm_channel_send(line->channels[i % line->count], (void *)1, FM_NEVER);
    return fm_ok(NULL);
}

static void run_select_wait(const struct bench_run *run, size_t count, const char *metric)
{
    struct line line = { .values = run->count, .count = count };
    struct fm_case cases[CASES_MAX];
    uintptr_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        line.channels[i] = channel_new(0);
        cases[i] = fm_case_recv(line.channels[i]);
    }
    int64_t start = fm_now_ns();
    struct fm_fiber *sender = bench_spawn(send_in_turn, &line);
    for (uint64_t i = 0; i < run->count; i++) {
        size_t index = count;
        fm_select(cases, count, FM_NEVER, &index);
        sum += (uintptr_t)cases[index].value;
    }
    bench_finish(sender);
    int64_t end = fm_now_ns();
    BENCH_CHECK(sum == run->count, "a value is missing");
    bench_record(run, metric, "ns", (double)(end - start) / (double)run->count);
    for (size_t i = 0; i < count; i++)
        fm_channel_destroy(line.channels[i]);
}

static struct fm_exit select_wait(void *arg)
{
    run_select_wait(arg, 2, "select of 2, waiting");
    run_select_wait(arg, 4, "select of 4, waiting");
    run_select_wait(arg, 8, "select of 8, waiting");
    return fm_ok(NULL);
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { .name = "producer_consumer", .body = producer_consumer, .count = 1000000 },
        { .name = "many", .body = many, .count = 1000000 },
        { .name = "buffer", .body = buffer, .count = 1000000 },
        { .name = "select", .body = select_ready, .count = 1000000, .max_workers = 1 },
        { .name = "select_wait", .body = select_wait, .count = 300000 },
    };
    return bench_main(argc, argv, "what a value through a channel costs, and a select", cases,
                      sizeof cases / sizeof cases[0]);
}
