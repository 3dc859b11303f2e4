/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_poller.c - epoll: what may be refused, what may be lost
 */
#include <pthread.h>

#include "runtime/fiber/runtime.h"
#include "runtime/io/epoll.h"
#include "runtime/io/readiness.h"
#include "runtime/platform/clock.h"
#include "tests/runtime/io/io_test.h"

static struct poller *make_poller(void)
{
    struct poller *poller = aligned_alloc(_Alignof(struct poller), sizeof *poller);
    cr_assert_eq(fm__epoll_init(poller), 0);
    return poller;
}

static void free_poller(struct poller *poller)
{
    fm__epoll_fini(poller);
    free(poller);
}

static unsigned delivered;
static uint64_t last_tag;

static unsigned note(uint64_t tag, uint32_t events)
{
    (void)events;
    delivered++;
    last_tag = tag;
    return 1;
}

static unsigned look(struct poller *poller)
{
    return fm__epoll_deliver(poller, fm__epoll_wait(poller, 0), note);
}

/* ---- waking ---- */

static void *wait_for_ever(void *arg)
{
    return number(fm__epoll_wait(arg, INT64_MAX));
}

TEST(poller, wake_ends_the_wait_that_goes_on_or_the_next)
{
    struct poller *poller = make_poller();
    pthread_t thread;
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(pthread_create(&thread, NULL, wait_for_ever, poller), 0);
        fm__epoll_wake(poller);
        fm__epoll_wake(poller);
        void *n;
        pthread_join(thread, &n);
        cr_assert_eq((intptr_t)n, 1);
        cr_assert_eq(fm__epoll_deliver(poller, 1, note), 0);
        cr_assert_eq(fm__epoll_wait(poller, 0), 0, "two wakes are one");
    }
    free_poller(poller);
}

/* F91 */
TEST(poller, full_counter_still_wakes)
{
    struct poller *poller = make_poller();
    uint64_t most = UINT64_MAX - 1;
    cr_assert_eq(write(poller->event_fd, &most, sizeof most), sizeof most);
    fm__epoll_wake(poller); /* its write finds the counter full */
    cr_assert_eq(fm__epoll_wait(poller, INT64_MAX), 1);
    cr_assert_eq(fm__epoll_deliver(poller, 1, note), 0);
    cr_assert_eq(fm__epoll_wait(poller, 0), 0);
    fm__epoll_wake(poller);
    cr_assert_eq(fm__epoll_wait(poller, INT64_MAX), 1);
    free_poller(poller);
}

/* ---- time ---- */

TEST(poller, wait_keeps_its_deadline_on_old_kernels_too)
{
    struct poller *poller = make_poller();
    for (int coarse = 0; coarse < 2; coarse++) {
        atomic_store(&fm__epoll_coarse, coarse);
        int64_t deadline = fm__clock_ns() + 1300000;
        cr_assert_eq(fm__epoll_wait(poller, deadline), 0);
        cr_assert_geq(fm__clock_ns(), deadline);
        cr_assert_eq(fm__epoll_wait(poller, deadline), 0, "a deadline that is over is no wait");
        cr_assert_eq(fm__epoll_wait(poller, -5), 0);
        fm__epoll_wake(poller);
        cr_assert_eq(fm__epoll_wait(poller, INT64_MAX), 1);
        cr_assert_eq(fm__epoll_deliver(poller, 1, note), 0);
    }
    free_poller(poller);
}

/* ---- events ---- */

TEST(poller, event_carries_its_tag_once_an_edge)
{
    struct poller *poller = make_poller();
    int fds[2];
    make_pair(fds);
    cr_assert_eq(fm__epoll_add(poller, fds[0], 77), 0);
    cr_assert_eq(atomic_load(&poller->registered), 1);
    delivered = 0;
    cr_assert_eq(look(poller), 1);
    cr_assert_eq(last_tag, 77);
    cr_assert_eq(look(poller), 0);
    cr_assert_eq(write(fds[1], "x", 1), 1);
    cr_assert_eq(look(poller), 1);
    cr_assert_eq(look(poller), 0);
    fm__epoll_remove(poller, fds[0]);
    cr_assert_eq(write(fds[1], "x", 1), 1);
    cr_assert_eq(look(poller), 0);
    cr_assert_eq(atomic_load(&poller->registered), 0);
    cr_assert_eq(delivered, 2);
    close(fds[0]);
    close(fds[1]);
    free_poller(poller);
}

/* F81: the tag's generation is not the descriptor's any more. */
FIBER_TEST(poller, event_of_another_generation_wakes_nobody)
{
    int fds[2];
    make_pair(fds);
    struct fm_fiber *reader = start_reader(fds[0]);
    for (uint32_t generation = 1; generation < 50; generation++)
        cr_assert_eq(fm__fd_event((uint64_t)generation << 32 | (uint32_t)fds[0], EPOLLIN | EPOLLHUP), 0);
    cr_assert_eq(fm_fiber_poll(reader, NULL), -EAGAIN);
    cr_assert_eq(fm__fd_event((uint32_t)fds[0], EPOLLIN), 1, "its own wakes it, to find nothing");
    await_wait(reader);
    cr_assert_eq(fm_write(fds[1], "x", 1, FM_NEVER), 1);
    cr_assert_eq((intptr_t)finish(reader).value, 'x');
    close_both(fds);
}

/* ---- races, one step at a time ---- */

/* A descriptor of a generation that is known: 0, for the number is fresh. */
static int fresh_copy(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 700);
    cr_assert_geq(copy, 700);
    return copy;
}

FIBER_TEST(poller, event_between_the_attempt_and_the_wait_is_not_missed)
{
    int fds[2], fd;
    struct use use;
    make_pair(fds);
    fd = fresh_copy(fds[0]);
    be_registered(fd);
    for (enum direction d = DIRECTION_READ; d <= DIRECTION_WRITE; d++) {
        cr_assert_eq(fm__use_begin(&use, fd), 0);
        uint32_t seen[2] = { fm__use_tick(&use, DIRECTION_READ), fm__use_tick(&use, DIRECTION_WRITE) };
        cr_assert_eq(fm__fd_event((uint32_t)fd, d == DIRECTION_READ ? EPOLLIN : EPOLLOUT), 0);
        fm__use_drained(&use, d, seen[d]); /* too late to be believed */
        cr_assert_not(fm__use_tick(&use, d) & TICK_DRAINED);
        cr_assert_eq(fm__use_wait(&use, 1u << d, seen, fm_after_s(30), "test"), 0);
        cr_assert_eq(fm__use_wait(&use, 3, seen, fm_after_s(30), "test"), 0);
        fm__use_end(&use);
    }
    cr_assert_eq(fm_close(fd), 0);
    close_both(fds);
}

/* One worker: the interrupted fiber is runnable, and still stands first in line. */
WORKER_TEST(poller, wake_that_the_first_in_line_cannot_use_goes_to_the_next)
{
    int fds[2], fd;
    make_pair(fds);
    fd = fresh_copy(fds[0]);
    struct fm_fiber *leaver = start_reader(fd), *stayer = start_reader(fd);
    fm_fiber_interrupt(leaver);
    cr_assert_eq(fm__fd_event((uint32_t)fd, EPOLLIN), 1);
    cr_assert_eq(fm__state_life(fm__state_read(&stayer->state)), LIFE_ACTIVE);
    expect_interruption(finish(leaver), FM_BY_USER);
    cr_assert_eq(fm_write(fds[1], "x", 1, FM_NEVER), 1);
    cr_assert_eq((intptr_t)finish(stayer).value, 'x');
    cr_assert_eq(fm_close(fd), 0);
    close_both(fds);
}

/* F82: the number stays taken until the call that is using it has ended. */
FIBER_TEST(poller, close_under_a_call_is_finished_by_the_call)
{
    int fds[2];
    char byte;
    make_pair(fds);
    for (int waits = 0; waits < 2; waits++) {
        struct use use, other;
        int fd = fresh_copy(fds[0]);
        cr_assert_eq(fm__use_begin(&use, fd), 0);
        uint32_t seen[2] = { fm__use_tick(&use, DIRECTION_READ), 0 };
        cr_assert_eq(fm_close(fd), 0);
        cr_assert(is_open(fd));
        cr_assert_eq(fm_close(fd), -EBADF);
        cr_assert_eq(fm_read(fd, &byte, 1, FM_NEVER), -EBADF);
        cr_assert_eq(fm__use_begin(&other, fd), -EBADF);
        cr_assert(is_open(fd));
        if (waits)
            cr_assert_eq(fm__use_wait(&use, FM_IO_READ, seen, fm_after_s(30), "test"), -EBADF);
        else
            fm__use_end(&use);
        cr_assert_not(is_open(fd));
        cr_assert_eq(fm_close(fd), -EBADF);
    }
    close_both(fds);
}

/* ---- refusals ---- */

/* F87 */
TEST(poller, runtime_without_descriptors_is_not_made_and_leaves_none)
{
    struct fm_runtime *runtime = NULL;
    int lowest = dup(0);
    close(lowest);
    for (uint64_t n = 1; n <= 2; n++) {
        fm__fault_set(FAULT_FD, n, false);
        cr_assert_eq(fm_runtime_create(NULL, &runtime), -EMFILE);
        cr_assert_eq(fm__fault_hits(FAULT_FD), 1);
        cr_assert_null(runtime);
        int now = dup(0);
        cr_assert_eq(now, lowest);
        close(now);
    }
    fm__fault_set(FAULT_FD, 0, false);
    cr_assert_eq(fm_runtime_create(NULL, &runtime), 0);
    fm_runtime_destroy(runtime);
}

/* F87 */
FIBER_TEST(poller, refused_registration_fails_that_one_call)
{
    int fds[2], others[2];
    char byte;
    make_pair(fds);
    make_pair(others);
    struct fm_fiber *reader = start_reader(others[0]); /* registered already: not concerned */
    fm__fault_set(FAULT_EPOLL, 1, true);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(fm_read(fds[0], &byte, 1, FM_NEVER), -ENOSPC);
        cr_assert_eq(fm_io_wait(fds[0], FM_IO_READ, FM_NEVER), -ENOSPC);
    }
    cr_assert_eq(fm_write(others[1], "o", 1, FM_NEVER), 1);
    cr_assert_eq((intptr_t)finish(reader).value, 'o');
    cr_assert_eq(fm_write(fds[1], "x", 1, FM_NEVER), 1, "what need not wait need not be registered");
    cr_assert_eq(fm_read(fds[0], &byte, 1, FM_NEVER), 1);
    fm__fault_set(FAULT_EPOLL, 0, false);
    reader = start_reader(fds[0]);
    cr_assert_eq(fm_write(fds[1], "y", 1, FM_NEVER), 1);
    cr_assert_eq((intptr_t)finish(reader).value, 'y');
    close_both(fds);
    close_both(others);
}

FIBER_TEST(poller, record_without_memory_fails_that_one_call)
{
    int fds[2], high;
    char byte;
    make_pair(fds);
    high = fcntl(fds[0], F_DUPFD_CLOEXEC, 600); /* another chunk of the table */
    cr_assert_geq(high, 600);
    fm__fault_set(FAULT_MALLOC, 1, true);
    cr_assert_eq(fm_read(high, &byte, 1, 0), -ENOMEM);
    fm__fault_set(FAULT_MALLOC, 0, false);
    cr_assert_eq(fm_read(high, &byte, 1, 0), -ETIMEDOUT);
    cr_assert_eq(fm_close(high), 0);
    close_both(fds);
}

TEST(poller, sixty_four_runtimes_live_at_once)
{
    enum { MANY = 64 };
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtimes[MANY], *one_more = NULL;
    config.worker_count = 1;
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(fm_runtime_create(&config, &runtimes[i]), 0);
    cr_assert_eq(fm_runtime_create(&config, &one_more), -EMFILE);
    fm_runtime_destroy(runtimes[7]);
    cr_assert_eq(fm_runtime_create(&config, &runtimes[7]), 0);
    for (int i = 0; i < MANY; i++)
        fm_runtime_destroy(runtimes[i]);
}

/* ---- cost: what the hot path may ask of the kernel ---- */

static struct fm_exit serve_requests(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buffer[256];
    ssize_t n;
    while ((n = fm_recv(fd, buffer, sizeof buffer, 0, FM_NEVER)) > 0)
        fm_send(fd, buffer, (size_t)n, 0, FM_NEVER);
    return fm_ok(NULL);
}

FIBER_TEST(poller, keep_alive_loop_registers_once)
{
    int fds[2];
    char buffer[256];
    make_tcp(fds);
    be_registered(fds[0]);
    be_registered(fds[1]);
    struct fm_fiber *server = start(serve_requests, number(fds[0]));
    struct poller *poller = fm_fiber_self()->runtime->poller;
    fm__fault_set(FAULT_EPOLL, 1, true); /* nobody is to register again */
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(fm_send(fds[1], "GET /", 5, 0, FM_NEVER), 5);
        cr_assert_eq(fm_recv(fds[1], buffer, sizeof buffer, 0, FM_NEVER), 5);
    }
    cr_assert_eq(fm__fault_hits(FAULT_EPOLL), 0);
    fm__fault_set(FAULT_EPOLL, 0, false);
    cr_assert_leq(atomic_load(&poller->registered), 3);
    cr_assert_eq(fm_close(fds[1]), 0);
    finish(server);
    cr_assert_eq(fm_close(fds[0]), 0);
    cr_assert_eq(atomic_load(&poller->registered), 0);
}
