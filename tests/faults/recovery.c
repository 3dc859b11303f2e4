/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recovery.c - as fast as before, two seconds after the last fault
 *
 *     recovery [--rounds=40] [--limps]
 *
 * A round is a runtime with the load of load.h. It counts the pieces of a second; then each kind
 * of call that the library makes is refused in its turn, all are interrupted, cut to bytes, and
 * the clock steps back; then it counts those of the second that ends two seconds after the last
 * of these. From that last one on no piece that begins may fail. A round is bad in real time
 * whose median window of 50 ms has fewer than 95 % of the pieces of the median before; and in
 * processor time, which others disturb less, whose second has fewer than 95 % of the pieces.
 *
 * They do to the windows before what they do to those after. So of a library that recovers at
 * most every second round is bad, and 34 of 40 are so once in 200,000 times at the most; that
 * many are a failure. With --limps the clients do one piece in four for nothing after the
 * faults, and that it must see.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/platform/memory.h"
#include "tests/faults/calls.h"
#include "tests/faults/load.h"

enum {
    WINDOWS = 20,
    WINDOW_MS = 50, /* so a second */
    FAULT_MS = 20,
    PATIENCE_S = 120, /* for a round */
    ROUNDS = 40,
    BAD = 34,
    PER_CENT = 95,
};

/* ---- the faults ---- */

static const struct {
    bool call; /* a system call of calls.h, else a fault of the library's own counter */
    uint32_t kind;
    int error;
} refusals[] = {
    { false, FAULT_MALLOC, 0 },
    { false, FAULT_MAP, 0 },
    { false, FAULT_PROTECT, 0 },
    { false, FAULT_THREAD, 0 },
    { false, FAULT_FD, 0 },
    { false, FAULT_EPOLL, 0 },
    { true, CALL_READ, EIO },
    { true, CALL_WRITE, ENOSPC },
    { true, CALL_ACCEPT, EMFILE },
    { true, CALL_ACCEPT, ECONNABORTED },
    { true, CALL_CONNECT, ETIMEDOUT },
    { true, CALL_OPEN, ENFILE },
    { true, CALL_EPOLL, ENOMEM },
    { true, CALL_ADVISE, EAGAIN },
};
enum { REFUSALS = sizeof refusals / sizeof *refusals };

static void refuse(int i, uint64_t nth)
{
    if (refusals[i].call)
        call_refuse((enum call_kind)refusals[i].kind, nth, refusals[i].error, true);
    else
        fm__fault_set((enum fault_kind)refusals[i].kind, nth, true);
}

/* The load goes on by itself: this thread only looks at it now and then. */
static void let_pass(int ms)
{
    struct timespec time = { ms / 1000, ms % 1000 * 1000000L };
    while (nanosleep(&time, &time) < 0 && errno == EINTR)
        ;
}

static void all_faults(void)
{
    static void (*const others[])(bool) = { call_interrupt, call_shorten, call_step_back };
    load_faults(true);
    for (int i = 0; i < REFUSALS; i++) {
        refuse(i, 1);
        let_pass(FAULT_MS);
        refuse(i, 0);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        others[i](true);
        let_pass(FAULT_MS);
        others[i](false);
    }
    load_faults(false);
}

/* ---- the figures ---- */

struct rate {
    double real, processor; /* pieces in a second of it */
};

static double seconds(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_size);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

/* Of a load that never ran nothing can be said. */
static double by(double after, double before)
{
    return before > 0 ? after / before : 1;
}

/* The next second of the load: its median window, and all of its processor time. */
static struct rate rate_now(void)
{
    double real[WINDOWS];
    double processor_from = seconds(CLOCK_PROCESS_CPUTIME_ID);
    uint64_t from = load_done();
    for (int i = 0; i < WINDOWS; i++) {
        double real_from = seconds(CLOCK_MONOTONIC);
        uint64_t done = load_done();
        let_pass(WINDOW_MS);
        done = load_done() - done;
        real[i] = (double)done / (seconds(CLOCK_MONOTONIC) - real_from);
    }
    return (struct rate) {
        median(real, WINDOWS),
        (double)(load_done() - from) / (seconds(CLOCK_PROCESS_CPUTIME_ID) - processor_from),
    };
}

static void hangs(int signal_number)
{
    (void)signal_number;
    fputs("hangs\n", stderr);
    load_dump();
    abort();
}

/* Whether it recovers. */
static bool judge(int rounds, const char *folder)
{
    double *real = calloc((size_t)rounds, sizeof *real);
    double *processor = calloc((size_t)rounds, sizeof *processor);
    double before_all = 0;
    int bad_real = 0, bad_processor = 0;
    load_expect(real && processor, "there is memory");
    for (int i = 0; i < rounds; i++) {
        alarm(PATIENCE_S);
        load_begin(folder);
        let_pass(WINDOWS * WINDOW_MS); /* until it is warm */
        struct rate before = rate_now();
        all_faults();
        let_pass(WINDOWS * WINDOW_MS);
        struct rate after = rate_now();
        load_end();
        before_all += before.real / rounds;
        real[i] = by(after.real, before.real);
        processor[i] = by(after.processor, before.processor);
        bad_real += real[i] * 100 < PER_CENT;
        bad_processor += processor[i] * 100 < PER_CENT;
    }
    alarm(0);
    printf("%d rounds, %.0f pieces a second, %" PRIu64 " refused; after by before: "
           "in real time %.3f, %d bad, in processor time %.3f, %d bad\n",
           rounds, before_all, load_refused(), median(real, (size_t)rounds), bad_real,
           median(processor, (size_t)rounds), bad_processor);
    free(real);
    free(processor);
    return bad_real * ROUNDS < BAD * rounds && bad_processor * ROUNDS < BAD * rounds;
}

int main(int argc, char **argv)
{
    char folder[] = "/tmp/fm-recovery-XXXXXX";
    int rounds = ROUNDS;
    bool limps = false;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--limps") == 0)
            limps = true;
        else if (sscanf(argv[i], "--rounds=%d", &rounds) != 1 || rounds < 1)
            return 2;
    }
    load_expect(mkdtemp(folder) != NULL, "there is a folder");
    if (limps)
        load_limps();
    signal(SIGALRM, hangs);
    bool recovers = judge(rounds, folder);
    rmdir(folder);
    load_expect(load_refused() > 0, "something was refused");
    return recovers == !limps ? 0 : 1;
}
