/*
 * platform.c - what the rooms ask of the system, where an arbiter is asked first
 *
 * In place of platform/futex.c and platform/spin.c, and of the calls that redirect.h redirects.
 * A thread without a seat gets the system's own answer.
 */
#include "runtime/platform/futex.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime/explore/arbiter.h"
#include "runtime/explore/light.h"
#include "runtime/explore/platform.h"
#include "runtime/platform/spin.h"
#include "runtime/platform/turn.h"

enum { OUTSIDE_MS = 50 };

#ifdef SYS_epoll_pwait2
#define EPOLL_PWAIT2 SYS_epoll_pwait2
#else
#define EPOLL_PWAIT2 441
#endif

/* ---- points ---- */

void fm__turn(const struct turn_point *point)
{
    fm__arbiter_turn(point, false);
}

bool fm__turn_taken(void)
{
    return fm__arbiter_seated();
}

void fm__turn_give(void)
{
    static const struct turn_point gives = { .what = "give", .function = "turn", .file = "" };
    fm__arbiter_turn(&gives, true);
}

void fm__spin(unsigned spins)
{
    (void)spins;
    if (fm__arbiter_seated())
        fm__turn_give();
    else
        sched_yield();
}

unsigned fm__turn_seat(void)
{
    return fm__arbiter_seat();
}

/* ---- futex ---- */

int fm__futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns)
{
    static const struct turn_point waits = { .what = "wait", .function = "futex", .file = "" };
    struct timespec until, *timeout = NULL;

    if (fm__arbiter_seated()) {
        fm__arbiter_turn(&waits, false);
        /* relaxed: the caller reads it again with the order that it needs */
        if (atomic_load_explicit(word, memory_order_relaxed) != expected)
            return 0;
        if (deadline_ns <= fm__arbiter_now_ns())
            return -ETIMEDOUT;
        return fm__arbiter_block(word, deadline_ns) == BLOCK_TIMEOUT ? -ETIMEDOUT : 0;
    }
    if (deadline_ns != INT64_MAX) {
        if (deadline_ns < 0)
            deadline_ns = 0;
        until.tv_sec = deadline_ns / 1000000000;
        until.tv_nsec = deadline_ns % 1000000000;
        timeout = &until;
    }
    long r = syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected, timeout,
                     NULL, FUTEX_BITSET_MATCH_ANY);
    return r < 0 && errno == ETIMEDOUT ? -ETIMEDOUT : 0;
}

void fm__futex_wake(_Atomic uint32_t *word, int count)
{
    static const struct turn_point wakes = { .what = "wake", .function = "futex", .file = "" };

    if (fm__arbiter_seated()) {
        fm__arbiter_turn(&wakes, false);
        fm__arbiter_wake(word, count);
    } else {
        syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, NULL, NULL, 0);
    }
}

/* ---- threads ---- */

static struct {
    bool narrowed;
    cpu_set_t before;
} affinity;

void fm__turn_stay(void)
{
    cpu_set_t here;
    int cpu = sched_getcpu();

    /* A machine with more processors than the set has room for: they stay where they may. */
    if (cpu < 0 || sched_getaffinity(0, sizeof affinity.before, &affinity.before) < 0)
        return;
    CPU_ZERO(&here);
    CPU_SET(cpu, &here);
    affinity.narrowed = sched_setaffinity(0, sizeof here, &here) == 0;
}

int fm__turn_affinity(pid_t pid, size_t bytes, cpu_set_t *ret_set)
{
    if (!affinity.narrowed || bytes < sizeof affinity.before)
        return sched_getaffinity(pid, bytes, ret_set);
    memset(ret_set, 0, bytes);
    memcpy(ret_set, &affinity.before, sizeof affinity.before);
    return 0;
}

struct beginning {
    void *(*fn)(void *);
    void *arg;
    unsigned seat;
};

static pthread_key_t end_key;
static pthread_once_t end_once = PTHREAD_ONCE_INIT;
static bool end_key_made;

/*
 * A thread's last turn comes after the other destructors, which may use the rooms: this one
 * asks for a second round.
 */
static void thread_ends(void *value)
{
    uintptr_t seat = (uintptr_t)value - 1;
    if (seat < SEATS_MAX && pthread_setspecific(end_key, (void *)(seat + SEATS_MAX + 1)) == 0)
        return;
    fm__arbiter_stand((unsigned)(seat % SEATS_MAX));
}

static void make_end_key(void)
{
    end_key_made = pthread_key_create(&end_key, thread_ends) == 0;
}

static void *thread_begins(void *arg)
{
    struct beginning begin = *(struct beginning *)arg;

    free(arg);
    pthread_setspecific(end_key, (void *)((uintptr_t)begin.seat + 1));
    fm__arbiter_sit(begin.seat);
    return begin.fn(begin.arg);
}

static void light_begins(void *arg)
{
    struct beginning begin = *(struct beginning *)arg;

    free(arg);
    fm__arbiter_sit(begin.seat);
    begin.fn(begin.arg);
    fm__light_destroy_values(begin.seat);
    fm__arbiter_stand(begin.seat);
}

static int make_thread(pthread_t *thread, const pthread_attr_t *attributes,
                       struct beginning *begin)
{
    if (!fm__arbiter_light())
        return pthread_create(thread, attributes, thread_begins, begin);
    *thread = fm__light_thread(begin->seat);
    return fm__light_make(begin->seat, light_begins, begin);
}

int fm__turn_thread_create(pthread_t *thread, const pthread_attr_t *attributes,
                           void *(*fn)(void *), void *arg)
{
    static const struct turn_point makes = { .what = "create",
                                             .function = "thread",
                                             .file = "" };

    if (!fm__arbiter_seated())
        return pthread_create(thread, attributes, fn, arg);
    pthread_once(&end_once, make_end_key);
    struct beginning *begin = end_key_made ? malloc(sizeof *begin) : NULL;
    unsigned seat = begin ? fm__arbiter_seat_take() : NOBODY;
    if (seat == NOBODY) {
        free(begin);
        return EAGAIN;
    }
    *begin = (struct beginning) { fn, arg, seat };
    int e = make_thread(thread, attributes, begin);
    if (e) {
        fm__arbiter_seat_drop(seat);
        free(begin);
        return e;
    }
    fm__arbiter_seat_made(seat, *thread);
    fm__turn(&makes);
    return 0;
}

int fm__turn_thread_join(pthread_t thread, void **ret_value)
{
    fm__arbiter_join(thread);
    return fm__light_is(thread) ? 0 : pthread_join(thread, ret_value);
}

pthread_t fm__turn_thread_self(void)
{
    return fm__arbiter_light() ? fm__light_thread(fm__arbiter_seat()) : pthread_self();
}

int fm__turn_thread_name(pthread_t thread, const char *name)
{
    fm__arbiter_name(name);
    return fm__light_is(thread) ? 0 : pthread_setname_np(thread, name);
}

int fm__turn_key_create(pthread_key_t *ret_key, void (*destroy)(void *value))
{
    return fm__light_key_create(ret_key, destroy);
}

int fm__turn_key_set(pthread_key_t key, const void *value)
{
    return fm__arbiter_light() ? fm__light_set(fm__arbiter_seat(), key, value)
                               : pthread_setspecific(key, value);
}

/* ---- time and io ---- */

int fm__turn_clock(clockid_t clock, struct timespec *ret_time)
{
    int64_t now_ns = fm__arbiter_now_ns();
    if (clock != CLOCK_MONOTONIC || now_ns == 0)
        return clock_gettime(clock, ret_time);
    ret_time->tv_sec = now_ns / 1000000000;
    ret_time->tv_nsec = now_ns % 1000000000;
    return 0;
}

static int64_t deadline_after(const struct timespec *timeout)
{
    int64_t ns;
    if (!timeout || __builtin_mul_overflow(timeout->tv_sec, (int64_t)1000000000, &ns) ||
        __builtin_add_overflow(ns, timeout->tv_nsec, &ns) ||
        __builtin_add_overflow(ns, fm__arbiter_now_ns(), &ns))
        return INT64_MAX;
    return ns;
}

static int seated_epoll_wait(int epoll, struct epoll_event *events, int max,
                             int64_t deadline_ns)
{
    static const struct turn_point polls = { .what = "poll", .function = "io", .file = "" };
    bool last = false;

    fm__turn(&polls);
    for (;;) {
        int n = epoll_wait(epoll, events, max, last ? OUTSIDE_MS : 0);
        if (n != 0 || deadline_ns <= fm__arbiter_now_ns())
            return n;
        last = fm__arbiter_block_io(deadline_ns, last) == BLOCK_LAST;
    }
}

long fm__turn_syscall(long n, ...)
{
    long a[6];
    va_list list;

    va_start(list, n);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (n == EPOLL_PWAIT2 && fm__arbiter_seated())
        return seated_epoll_wait((int)a[0], (struct epoll_event *)a[1], (int)a[2],
                                 deadline_after((const struct timespec *)a[3]));
    return syscall(n, a[0], a[1], a[2], a[3], a[4], a[5]);
}

ssize_t fm__turn_write(int fd, const void *bytes, size_t size)
{
    ssize_t n = write(fd, bytes, size);
    if (n > 0 && fm__arbiter_seated())
        fm__arbiter_look();
    return n;
}
