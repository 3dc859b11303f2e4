/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress_map_overflow.c - a stack overflow ends the program and names the fiber, every time (F34, R19)
 *
 * Each way over the end of a stack, in a process of its own each time: the report comes once, with the fiber's name, its key and where it
 * was started, and the process is ended by the signal. Nothing that the fiber would have done afterwards is done.
 *
 *     stress_map_overflow         10 times each; FM_LONG=1: 100 times
 */
#include <alloca.h>
#include <fm/fm.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/child.h"
#include "tests/support/stress.h"

enum { FRAME = (100 << 10) * FM_STACK_SCALE, STACK = 16 << 10 };

/* ---- the ways ---- */

/* ThreadSanitizer follows 65536 calls and no more: 200 bytes each are enough to be out before. */
static __attribute__((noinline)) int recurse(int depth)
{
    char room[200];
    room[0] = (char)depth;
    __asm__ volatile("" : : "r"(room) : "memory");
    int below = depth > 0 ? recurse(depth - 1) : 0;
    return below + room[0];
}

static struct fm_exit by_recursion(void *arg)
{
    recurse(1 << 24);
    return fm_ok(arg);
}

static __attribute__((noinline)) void fill(volatile char *room, size_t bytes)
{
    while (bytes-- > 0)
        room[bytes] = 1;
}

static struct fm_exit by_one_frame(void *arg)
{
    char room[FRAME];
    fill(room, sizeof room);
    return fm_ok(arg);
}

static struct fm_exit by_alloca(void *arg)
{
    volatile size_t bytes = FRAME;
    fill(alloca(bytes), bytes);
    return fm_ok(arg);
}

static int overflow_at_the_end(void *arg, struct fm_exit exit)
{
    (void)arg, (void)exit;
    return recurse(1 << 24);
}

static struct fm_exit in_a_finalizer(void *arg)
{
    int r = fm_defer(overflow_at_the_end, NULL);
    STRESS_CHECK(r == 0, "defer: %d", r);
    return fm_ok(arg);
}

static void overflow_in_handler(int signal_number)
{
    recurse(1 << 24 | signal_number);
}

/* Without SA_ONSTACK a handler runs on the fiber's stack; workers begin with signals blocked. */
static struct fm_exit in_a_signal_handler(void *arg)
{
    struct sigaction action = { .sa_handler = overflow_in_handler };
    sigset_t let_through;

    sigaction(SIGUSR1, &action, NULL);
    sigemptyset(&let_through);
    sigaddset(&let_through, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &let_through, NULL);
    raise(SIGUSR1);
    return fm_ok(arg);
}

static const struct way {
    const char *name;
    fm_entry_fn *body;
} ways[] = {
    { "recursion", by_recursion },
    { "one frame of 100 KiB", by_one_frame },
    { "alloca", by_alloca },
    { "in a finalizer", in_a_finalizer },
    { "in a signal handler", in_a_signal_handler },
};

/* ---- one process ---- */

static struct fm_exit run_keyed(void *body)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_map *map;
    fm_entry_fn *const *entry = body;

    options.name = "deep";
    options.stack_bytes = STACK;
    STRESS_CHECK(fm_map_create(NULL, &map) == 0, "map_create");
    int r = fm_map_run(map, fm_key_str("user/4"), *entry, NULL, &options, NULL);
    STRESS_CHECK(r == 0, "run: %d", r);
    fm_map_await_quiescent(map, FM_NEVER);
    fm_map_destroy(map);
    return fm_ok(NULL);
}

static void in_child(void *arg)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;

    config.worker_count = 2;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    alarm(100); /* ends one that would hang */
    STRESS_CHECK(fm_runtime_create(&config, &runtime) == 0, "runtime_create");
    fm_runtime_run(runtime, run_keyed, arg, NULL);
    fm_runtime_destroy(runtime);
}

static void check(const struct way *way, int n)
{
    static struct child child;
    fm_entry_fn *body = way->body;

    child_run(&child, in_child, &body);
    STRESS_CHECK(child.signal == SIGSEGV, "%s, run %d: signal %d, exit code %d: %s", way->name, n,
                 child.signal, child.exit_code, child.said);
    STRESS_CHECK(child_said(&child, "fibermap: stack overflow of fiber ") == 1 &&
                     child_said(&child, " \"deep\" key \"user/4\" spawned at ") == 1 &&
                     child_said(&child, "stress_map_overflow+0x") > 0,
                 "%s, run %d: %s", way->name, n, child.said);
}

int main(void)
{
    int runs = getenv("FM_LONG") ? 100 : 10;

    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        /* ThreadSanitizer has every signal blocked in a handler: the kernel ends the process */
        if (FM_TSAN && ways[i].body == in_a_signal_handler)
            continue;
        for (int n = 0; n < runs; n++)
            check(&ways[i], n);
        printf("%s: named %d times\n", ways[i].name, runs);
    }
    return 0;
}
