/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_signal.c - signals that fibers and threads wait for
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>

#include "tests/runtime/io/process_test.h"

static sigset_t set_of(int a, int b)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, a);
    sigaddset(&set, b);
    return set;
}

/* The program blocks what the tests use, before it has any other thread. */
static void block(void)
{
    sigset_t set = set_of(SIGUSR1, SIGUSR2);
    sigaddset(&set, SIGRTMIN);
    sigaddset(&set, SIGCHLD);
    cr_assert_eq(fm_signal_block(&set), 0);
}

#define SIGNAL_TEST_ON(promise, clock) \
    static void body_##promise(void); \
    static struct fm_exit entry_##promise(void *arg) \
    { \
        (void)arg; \
        body_##promise(); \
        return fm_ok(NULL); \
    } \
    TEST(signal, promise) \
    { \
        block(); \
        run_processes(entry_##promise, 2, clock); \
    } \
    static void body_##promise(void)
#define SIGNAL_TEST(promise) SIGNAL_TEST_ON(promise, FM_CLOCK_REAL)

static void raise_here(int signo)
{
    cr_assert_eq(kill(getpid(), signo), 0);
}

static struct fm_exit wait_for_set(void *arg)
{
    int signo = 0;
    int r = fm_signal_wait(arg, FM_NEVER, &signo);
    return r < 0 ? fm_fail(r) : fm_ok(number(signo));
}

SIGNAL_TEST(signal_wakes_who_waits_for_it)
{
    sigset_t first = set_of(SIGUSR1, SIGUSR1), both = set_of(SIGUSR1, SIGUSR2);
    struct fm_fiber *a = start(wait_for_set, &first);
    await_wait(a);
    struct fm_fiber *b = start(wait_for_set, &both);
    await_wait(b);
    raise_here(SIGUSR2);
    cr_assert_eq((intptr_t)finish(b).value, SIGUSR2);
    cr_assert_eq(fm_fiber_poll(a, NULL), -EAGAIN);
    raise_here(SIGUSR1);
    cr_assert_eq((intptr_t)finish(a).value, SIGUSR1);
}

SIGNAL_TEST(signal_that_came_before_the_wait_is_kept_once)
{
    sigset_t set = set_of(SIGUSR1, SIGUSR1), real_time = set_of(SIGRTMIN, SIGRTMIN);
    int signo = 0;
    for (int i = 0; i < 3; i++) {
        raise_here(SIGUSR1);
        raise_here(SIGRTMIN);
    }
    cr_assert_eq(fm_signal_wait(&set, 0, &signo), 0);
    cr_assert_eq(signo, SIGUSR1);
    cr_assert_eq(fm_signal_wait(&set, 0, &signo), -ETIMEDOUT);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(fm_signal_wait(&real_time, 0, NULL), 0, "each of them");
    cr_assert_eq(fm_signal_wait(&real_time, 0, &signo), -ETIMEDOUT);
    cr_assert_eq(signo, SIGUSR1, "nothing is written");
}

struct taking {
    sigset_t set;
    _Atomic int taken;
};

static struct fm_exit take_until_interrupted(void *arg)
{
    struct taking *taking = arg;
    int r;
    while ((r = fm_signal_wait(&taking->set, FM_NEVER, NULL)) == 0)
        atomic_fetch_add(&taking->taken, 1);
    return fm_fail(r);
}

static void *send_many(void *arg)
{
    for (intptr_t i = 0; i < (intptr_t)arg; i++)
        kill(getpid(), SIGRTMIN);
    return NULL;
}

SIGNAL_TEST(each_signal_is_given_to_one_waiter)
{
    enum { TAKERS = 4, SIGNALS = 500 };
    struct taking taking = { .set = set_of(SIGRTMIN, SIGRTMIN) };
    struct fm_fiber *takers[TAKERS];
    pthread_t thread;
    for (int i = 0; i < TAKERS; i++)
        takers[i] = start(take_until_interrupted, &taking);
    pthread_create(&thread, NULL, send_many, number(SIGNALS));
    while (atomic_load(&taking.taken) < SIGNALS)
        fm_yield();
    pthread_join(thread, NULL);
    for (int i = 0; i < TAKERS; i++) {
        await_wait(takers[i]);
        fm_fiber_interrupt(takers[i]);
        expect_interruption(finish(takers[i]), FM_BY_USER);
    }
    cr_assert_eq(atomic_load(&taking.taken), SIGNALS);
    cr_assert_eq(fm_signal_wait(&taking.set, 0, NULL), -ETIMEDOUT);
}

static struct fm_exit wait_a_second(void *arg)
{
    return fm_fail(fm_signal_wait(arg, fm_after_s(1), NULL));
}

SIGNAL_TEST_ON(waiter_that_leaves_takes_nothing_with_it, FM_CLOCK_VIRTUAL)
{
    sigset_t set = set_of(SIGUSR1, SIGUSR1);
    unsigned before = count_descriptors();
    struct fm_fiber *waiter = start(wait_for_set, &set);
    await_wait(waiter);
    fm_fiber_interrupt(waiter);
    expect_interruption(finish(waiter), FM_BY_USER);
    waiter = start(wait_a_second, &set);
    await_wait(waiter);
    cr_assert_eq(fm_clock_advance_ns(fm_runtime_current(), INT64_C(1000000000)), 0);
    cr_assert_eq(finish(waiter).code, -ETIMEDOUT);
    cr_assert_eq(count_descriptors(), before);

    raise_here(SIGUSR1);
    waiter = start(wait_for_set, &set);
    fm_fiber_interrupt(waiter);
    struct fm_exit exit = finish(waiter);
    if (exit.kind == FM_INTERRUPTED) /* it had not begun: the signal is still there */
        cr_assert_eq(fm_signal_wait(&set, 0, NULL), 0);
    cr_assert_eq(fm_signal_wait(&set, 0, NULL), -ETIMEDOUT);
}

static void *wait_in_thread(void *arg)
{
    int signo = 0;
    return number(fm_signal_wait(arg, FM_NEVER, &signo) < 0 ? -1 : signo);
}

SIGNAL_TEST(thread_waits_like_a_fiber)
{
    sigset_t set = set_of(SIGUSR1, SIGUSR2);
    pthread_t thread;
    void *signo;
    pthread_create(&thread, NULL, wait_in_thread, &set);
    raise_here(SIGUSR2);
    pthread_join(thread, &signo);
    cr_assert_eq((intptr_t)signo, SIGUSR2);
}

TEST(signal, thread_sees_its_deadline)
{
    sigset_t set = set_of(SIGUSR1, SIGUSR1);
    int signo = 0;
    block();
    cr_assert_eq(fm_signal_wait(&set, 0, &signo), -ETIMEDOUT);
    cr_assert_eq(fm_signal_wait(&set, fm_after_ms(2), &signo), -ETIMEDOUT);
    raise_here(SIGUSR1);
    cr_assert_eq(fm_signal_wait(&set, fm_after_ms(2), &signo), 0);
    cr_assert_eq(signo, SIGUSR1);
}

SIGNAL_TEST(end_of_a_child_is_a_signal_too)
{
    sigset_t set = set_of(SIGCHLD, SIGCHLD);
    struct fm_process_spec spec = shell("exit 0");
    struct fm_process *process = spawn(&spec);
    cr_assert_eq(fm_signal_wait(&set, FM_NEVER, NULL), 0);
    cr_assert_eq(fm_process_wait(process, FM_NEVER, NULL), 0, "which takes nothing from us");
    fm_process_destroy(process);
}

SIGNAL_TEST(bad_sets_are_refused)
{
    sigset_t empty, set = set_of(SIGUSR1, SIGKILL);
    sigemptyset(&empty);
    cr_assert_eq(fm_signal_wait(NULL, 0, NULL), -EINVAL);
    cr_assert_eq(fm_signal_wait(&empty, 0, NULL), -EINVAL);
    cr_assert_eq(fm_signal_wait(&set, 0, NULL), -EINVAL);
    set = set_of(SIGSTOP, SIGSTOP);
    cr_assert_eq(fm_signal_wait(&set, 0, NULL), -EINVAL);
    cr_assert_eq(fm_signal_block(NULL), -EINVAL);
}

/* F87 */
SIGNAL_TEST(refused_descriptor_or_registration_fails_the_one_call)
{
    static const struct {
        enum fault_kind kind;
        int result;
    } cases[] = { { FAULT_FD, -EMFILE }, { FAULT_EPOLL, -ENOSPC } };
    sigset_t set = set_of(SIGUSR1, SIGUSR1);
    unsigned before = count_descriptors();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fm__fault_set(cases[i].kind, 1, false);
        cr_assert_eq(fm_signal_wait(&set, FM_NEVER, NULL), cases[i].result, "case %zu", i);
        fm__fault_set(cases[i].kind, 0, false);
        cr_assert_eq(count_descriptors(), before);
    }
    raise_here(SIGUSR1);
    cr_assert_eq(fm_signal_wait(&set, FM_NEVER, NULL), 0);
}

/* The mask of a thread of this program, and its name. False: it has gone. */
static bool read_thread(const char *id, char name[32], uint64_t *ret_blocked)
{
    char path[300], line[128];
    bool found = false;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", id);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        sscanf(line, "Name: %31s", name);
        unsigned long long blocked;
        if (sscanf(line, "SigBlk: %llx", &blocked) == 1) {
            *ret_blocked = blocked;
            found = true;
        }
    }
    if (file)
        fclose(file);
    return found;
}

static uint64_t bit(int signo)
{
    return UINT64_C(1) << (signo - 1);
}

static unsigned look_at_threads(void)
{
    unsigned seen = 0;
    DIR *threads = opendir("/proc/self/task");
    cr_assert(threads);
    for (struct dirent *entry; (entry = readdir(threads));) {
        char name[32] = "";
        uint64_t blocked;
        if (!read_thread(entry->d_name, name, &blocked) || strncmp(name, "fm-", 3))
            continue;
        seen++;
        cr_assert_eq(blocked & bit(SIGTERM), bit(SIGTERM), "%s", name);
        cr_assert_eq(blocked & bit(SIGALRM), bit(SIGALRM), "%s", name);
    }
    closedir(threads);
    return seen;
}

/* Two workers, the monitor, and this one of the pool, once they have their names. */
static struct fm_exit look_at_all_threads(void *arg)
{
    while (look_at_threads() < 4)
        sched_yield();
    return fm_ok(arg);
}

/* F92: a handler never runs on the small stack of a fiber. */
FIBER_TEST(signal, threads_of_the_runtime_handle_none)
{
    cr_assert_eq(fm_blocking(look_at_all_threads, NULL, FM_NEVER, NULL), 0);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    cr_assert(sigismember(&mask, SIGTERM));
    cr_assert_not(sigismember(&mask, SIGSEGV));
    cr_assert_not(sigismember(&mask, SIGPIPE));
    cr_assert_not(sigismember(&mask, SIGPROF), "a profiler sees the workers");
}
