/* SPDX-License-Identifier: Apache-2.0 */
/*
 * asking.c - connections that are kept alive, and ask again as soon as they are answered
 *
 * The first answer is looked at, all others must be the same to the byte but for the time in
 * them. How long each took is counted with an error of 3 %.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "tests/serve/clients.h"

enum {
    ANSWER_BYTES = 1024,
    CLOCK_BYTES = 25, /* "Sun, 06 Nov 1994 08:49:37" */
    STEPS = 32,       /* of each power of two */
    BUCKETS = 60 * STEPS,
};

static const char request[] = "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";

struct crowd {
    struct asking asking;
    struct step connected, asked;
    char answer[ANSWER_BYTES];
    size_t answer_len, clock_at;
    int64_t from_ns, until_ns; /* written before connected is over */
    atomic_uint next;          /* client's number */
    atomic_ullong buckets[BUCKETS];
};

/* ---- how long ---- */

static unsigned bucket_of(uint64_t ns)
{
    if (ns < STEPS)
        return (unsigned)ns;
    unsigned shift = 63 - (unsigned)__builtin_clzll(ns) - 5;
    unsigned bucket = (shift + 1) * STEPS + (unsigned)((ns >> shift) - STEPS);
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* The longest time that falls into it. */
static double bucket_us(unsigned bucket)
{
    if (bucket < STEPS)
        return bucket / 1e3;
    unsigned shift = bucket / STEPS - 1;
    return (double)(((uint64_t)(bucket % STEPS) + STEPS + 1) << shift) / 1e3;
}

static unsigned long long answers(struct crowd *crowd)
{
    unsigned long long count = 0;
    for (unsigned i = 0; i < BUCKETS; i++)
        count += atomic_load_explicit(&crowd->buckets[i], memory_order_relaxed);
    return count;
}

static double percentile_us(struct crowd *crowd, unsigned long long count, double percent)
{
    unsigned long long seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += atomic_load_explicit(&crowd->buckets[i], memory_order_relaxed);
        if (seen && (double)seen >= (double)count * percent / 100)
            return bucket_us(i);
    }
    return 0;
}

/* ---- one answer ---- */

/* What it looks like, from the first. */
static void learn(struct crowd *crowd)
{
    int fd = clients_dial(crowd->asking.port, 0);
    clients_send(fd, 0, request, sizeof request - 1);
    char *answer = crowd->answer, *end;
    do {
        size_t n = clients_receive(fd, 0, answer + crowd->answer_len,
                                   ANSWER_BYTES - 1 - crowd->answer_len);
        if (n == 0)
            clients_fail("no answer but %s", answer);
        crowd->answer_len += n;
        end = strstr(answer, "\r\n\r\n");
    } while (!end || strlen(end) < strlen("\r\n\r\nhello\n"));
    const char *clock = strstr(answer, "\r\nDate: ");
    if (strncmp(answer, "HTTP/1.1 200 OK\r\n", 17) || strcmp(end, "\r\n\r\nhello\n") ||
        !clock || !strstr(answer, "\r\nContent-Length: 6\r\n"))
        clients_fail("not the answer to a hello: %s", answer);
    crowd->clock_at = (size_t)(clock - answer) + strlen("\r\nDate: ");
    fm_close(fd);
}

static void check(struct crowd *crowd, unsigned number, const char *came)
{
    size_t behind = crowd->clock_at + CLOCK_BYTES;
    if (memcmp(came, crowd->answer, crowd->clock_at) ||
        memcmp(came + behind, crowd->answer + behind, crowd->answer_len - behind))
        clients_fail("client %u: another answer: %.*s", number, (int)crowd->answer_len, came);
}

static void ask(struct crowd *crowd, int fd, unsigned number)
{
    char came[ANSWER_BYTES];
    clients_send(fd, number, request, sizeof request - 1);
    for (size_t len = 0; len < crowd->answer_len;) {
        size_t n = clients_receive(fd, number, came + len, sizeof came - len);
        if (n == 0 || len + n > crowd->answer_len)
            clients_fail("client %u: %s", number, n ? "more than an answer" : "closed");
        len += n;
    }
    check(crowd, number, came);
}

static void ask_on_time(struct crowd *crowd, int fd, unsigned number)
{
    int64_t from_ns = fm_now_ns();
    ask(crowd, fd, number);
    unsigned bucket = bucket_of((uint64_t)(fm_now_ns() - from_ns));
    atomic_fetch_add_explicit(&crowd->buckets[bucket], 1, memory_order_relaxed);
}

/* ---- the crowd ---- */

static struct fm_exit stay(void *arg)
{
    struct crowd *crowd = arg;
    unsigned number = atomic_fetch_add_explicit(&crowd->next, 1, memory_order_relaxed);
    int fd = clients_dial(crowd->asking.port, number);
    ask(crowd, fd, number);
    step_reach(&crowd->connected);
    for (unsigned i = 0; i < crowd->asking.requests || fm_now_ns() < crowd->until_ns; i++)
        ask_on_time(crowd, fd, number);
    step_reach(&crowd->asked);
    fm_close(fd);
    return fm_ok(NULL);
}

static struct fm_exit come_and_go(void *arg)
{
    struct crowd *crowd = arg;
    step_reach(&crowd->connected);
    for (unsigned i = 0; i < crowd->asking.turns; i++) {
        unsigned number = atomic_fetch_add_explicit(&crowd->next, 1, memory_order_relaxed);
        int fd = clients_dial(crowd->asking.port, number);
        ask_on_time(crowd, fd, number);
        ask_on_time(crowd, fd, number);
        fm_close(fd);
    }
    step_reach(&crowd->asked);
    return fm_ok(NULL);
}

static void tell(struct crowd *crowd, char *line, size_t room)
{
    double seconds = (double)(fm_now_ns() - crowd->from_ns) / 1e9;
    unsigned long long count = answers(crowd);
    snprintf(line, room,
             "{\"requests\": %llu, \"per_second\": %.0f, \"p50_us\": %.0f, \"p99_us\": %.0f, "
             "\"p999_us\": %.0f}",
             count, (double)count / seconds, percentile_us(crowd, count, 50),
             percentile_us(crowd, count, 99), percentile_us(crowd, count, 99.9));
}

void clients_ask(const struct asking *asking)
{
    static struct crowd crowd;
    struct fm_set *set;
    char line[256];
    crowd.asking = *asking;
    learn(&crowd);
    step_init(&crowd.connected, asking->clients);
    step_init(&crowd.asked, asking->clients);
    clients_must("a set", 0, fm_set_create(NULL, &set));
    clients_start(set, asking->turns ? come_and_go : stay, &crowd, asking->clients);
    step_await(&crowd.connected);
    crowd.from_ns = fm_now_ns();
    crowd.until_ns = fm_after_s(asking->seconds);
    step_end(&crowd.connected, "connected", "ask");
    step_await(&crowd.asked);
    tell(&crowd, line, sizeof line);
    step_end(&crowd.asked, line, "leave");
    clients_await(set);
    fm_set_destroy(set);
    step_fini(&crowd.connected);
    step_fini(&crowd.asked);
}
