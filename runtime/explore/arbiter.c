/*
 * arbiter.c - one thread at a time, and who is next
 *
 * Owns        the seats, the turn, the time.
 * Invariant   exactly one seat has the turn; all that is here but `go` is written by its
 *             holder.
 *
 * Light threads (light.h) are changed to. Among others the turn is handed on by a word of the next seat (A release, B acquire). This folder is never
 * compiled for ThreadSanitizer, which therefore sees neither A nor B, nor the memory here: to
 * it the threads run without any order but what the rooms themselves make, and a missing order
 * in a room is still a report, although no two threads ever run at the same time.
 *
 * Knows not   fibers. A fiber is where its worker is.
 */
#include "runtime/explore/arbiter.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fm/explore.h"
#include "runtime/explore/light.h"
#include "runtime/explore/strategy.h"
#include "runtime/platform/turn.h"

enum { WAITING_NS = 100 * FM_EXPLORE_STEP_NS };

struct seat {
    _Alignas(64) _Atomic uint32_t go;
    enum seat_state state;
    bool io;
    enum block_result result;
    const void *address;
    int64_t deadline_ns;
    uint64_t since; /* steps; who waits longest is woken first */
    pthread_t thread;
    bool has_thread;
};

static struct {
    bool open;
    _Atomic bool abandoned;
    bool quiet;       /* who waits for io has looked since anybody made a step */
    uint64_t ready;   /* seats in that state, a bit each */
    uint64_t waiting; /* those that gave their turn away; nobody else has done anything since */
    uint64_t order;   /* of blocking */
    int64_t now_ns;
    uint64_t random; /* the test's own; the strategy has another */
    struct plan plan;
    struct strategy strategy;
    struct arbiter_log *log;
    void (*failed)(void);
    struct seat seats[SEATS_MAX];
} arbiter;

static __thread struct seat *mine __attribute__((tls_model("initial-exec")));

static const struct turn_point ended = { .what = "end", .function = "thread", .file = "" };
static const struct turn_point began = { .what = "begin", .function = "thread", .file = "" };

static unsigned number(const struct seat *seat)
{
    return (unsigned)(seat - arbiter.seats);
}

static uint64_t bit(const struct seat *seat)
{
    return UINT64_C(1) << number(seat);
}

static void set_state(struct seat *seat, enum seat_state state)
{
    seat->state = state;
    arbiter.ready = state == SEAT_READY ? arbiter.ready | bit(seat)
                                        : arbiter.ready & ~bit(seat);
}

/* Fibers move between threads: never kept over a switch, so never inlined into one. */
static __attribute__((noinline)) struct seat *self(void)
{
    __asm__ volatile("" ::: "memory");
    /* relaxed: set once, in a failed schedule */
    return atomic_load_explicit(&arbiter.abandoned, memory_order_relaxed) ? NULL : mine;
}

/* ---- the turn ---- */

static void await_turn(struct seat *seat)
{
    /* acquire (B) */
    while (atomic_load_explicit(&seat->go, memory_order_acquire) == 0)
        syscall(SYS_futex, &seat->go, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0);
    atomic_store_explicit(&seat->go, 0, memory_order_relaxed);
}

static void hand_turn(unsigned next)
{
    struct seat *seat = &arbiter.seats[next];
    /* release (A) */
    atomic_store_explicit(&seat->go, 1, memory_order_release);
    syscall(SYS_futex, &seat->go, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

static void fail(enum outcome outcome)
{
    struct arbiter_log *log = arbiter.log;
    for (unsigned i = 0; i < log->seat_count; i++) {
        log->seats[i].state = (uint8_t)arbiter.seats[i].state;
        log->seats[i].timed = arbiter.seats[i].deadline_ns != INT64_MAX;
        log->seats[i].io = arbiter.seats[i].io;
    }
    log->outcome = outcome;
    arbiter.failed();
    __builtin_trap();
}

static void ready(struct seat *seat, enum block_result result)
{
    set_state(seat, SEAT_READY);
    seat->result = result;
    seat->address = NULL;
    seat->io = false;
    arbiter.waiting &= ~bit(seat);
}

/* ---- time and the outside ---- */

/* To the earliest deadline: false if there is none. */
static bool time_passes(void)
{
    int64_t next = INT64_MAX;
    for (unsigned i = 0; i < arbiter.log->seat_count; i++) {
        struct seat *seat = &arbiter.seats[i];
        if (seat->state == SEAT_BLOCKED && seat->deadline_ns < next)
            next = seat->deadline_ns;
    }
    if (next == INT64_MAX)
        return false;
    if (next > arbiter.now_ns)
        arbiter.now_ns = next;
    for (unsigned i = 0; i < arbiter.log->seat_count; i++) {
        struct seat *seat = &arbiter.seats[i];
        if (seat->state == SEAT_BLOCKED && seat->deadline_ns <= arbiter.now_ns)
            ready(seat, BLOCK_TIMEOUT);
    }
    return true;
}

/* Those who wait for io look again; with `last`, the first of them as the last hope. */
static bool look_outside(bool last)
{
    bool any = false;
    for (unsigned i = 0; i < arbiter.log->seat_count && !(any && last); i++) {
        struct seat *seat = &arbiter.seats[i];
        if (seat->state == SEAT_BLOCKED && seat->io) {
            ready(seat, last ? BLOCK_LAST : BLOCK_LOOK);
            any = true;
        }
    }
    return any;
}

/* ---- choosing ---- */

/* `current` has come to a point, or cannot go on. */
static unsigned choose(unsigned current, const struct turn_point *point, bool last)
{
    if (fm__strategy_jumps(&arbiter.strategy))
        time_passes();
    uint64_t eligible = arbiter.ready & ~arbiter.waiting;
    while (!eligible) {
        /* All wait for one another: a ring in which nobody stays, until the limit. */
        eligible = arbiter.ready;
        if (eligible & ~(UINT64_C(1) << current))
            eligible &= ~(UINT64_C(1) << current);
        if (eligible)
            break;
        if (!arbiter.quiet && look_outside(false))
            arbiter.quiet = true;
        else if (time_passes())
            arbiter.quiet = false;
        else if (last || !look_outside(true))
            fail(OUTCOME_DEADLOCK);
        eligible = arbiter.ready & ~arbiter.waiting;
    }
    unsigned chosen = fm__strategy_choose(&arbiter.strategy, eligible, current, point);
    if (chosen == NOBODY)
        fail(OUTCOME_DIVERGED);
    return chosen;
}

/*
 * `seat` stands at `point`; it may go on, or be blocked or ended. Returns when it has the turn.
 */
static void turn(struct seat *seat, const struct turn_point *point, bool last)
{
    unsigned current = number(seat);
    struct arbiter_log *log = arbiter.log;

    if (log->steps >= arbiter.plan.step_limit)
        fail(OUTCOME_STEP_LIMIT);
    log->seats[current].at = point;
    /* It has done something since its last point: who waits may look whether it was that. */
    if (!(arbiter.waiting & bit(seat)))
        arbiter.waiting = 0;
    arbiter.now_ns += FM_EXPLORE_STEP_NS;
    unsigned chosen = choose(current, point, last);
    fm__log_step(log, current, point, chosen);
    if (chosen == current)
        return;
    bool comes_back = seat->state != SEAT_ENDED; /* read while the seat is ours */
    int error = errno; /* of a call before the point, which may be looked at after it */
    log->switches++;
    if (arbiter.plan.light) {
        fm__light_change(current, chosen, !comes_back);
    } else {
        hand_turn(chosen);
        if (comes_back)
            await_turn(seat);
    }
    errno = error;
}

void fm__arbiter_turn(const struct turn_point *point, bool waiting)
{
    struct seat *seat = self();
    if (!seat || (point->relaxed && !arbiter.plan.fine))
        return;
    arbiter.quiet = false;
    arbiter.waiting &= ~bit(seat);
    if (waiting) {
        arbiter.waiting |= bit(seat);
        arbiter.now_ns += WAITING_NS;
        fm__strategy_gave(&arbiter.strategy, number(seat));
    }
    turn(seat, point, false);
    arbiter.waiting &= ~bit(seat);
}

static enum block_result block(struct seat *seat, const void *address, int64_t deadline_ns,
                               bool io, bool last)
{
    static const struct turn_point sleeps = { .what = "sleep",
                                              .function = "futex",
                                              .file = "" };
    static const struct turn_point polls = { .what = "sleep", .function = "poll", .file = "" };

    set_state(seat, SEAT_BLOCKED);
    seat->address = address;
    seat->deadline_ns = deadline_ns;
    seat->io = io;
    seat->since = arbiter.order++;
    turn(seat, io ? &polls : &sleeps, last);
    seat->deadline_ns = INT64_MAX;
    return seat->result;
}

enum block_result fm__arbiter_block(const void *address, int64_t deadline_ns)
{
    arbiter.quiet = false;
    return block(self(), address, deadline_ns, false, false);
}

enum block_result fm__arbiter_block_io(int64_t deadline_ns, bool was_last)
{
    return block(self(), NULL, deadline_ns, true, was_last);
}

void fm__arbiter_wake(const void *address, int count)
{
    for (; count > 0; count--) {
        struct seat *first = NULL;
        for (unsigned i = 0; i < arbiter.log->seat_count; i++) {
            struct seat *seat = &arbiter.seats[i];
            if (seat->state == SEAT_BLOCKED && seat->address == address &&
                (!first || seat->since < first->since))
                first = seat;
        }
        if (!first)
            return;
        ready(first, BLOCK_WOKEN);
    }
}

void fm__arbiter_look(void)
{
    look_outside(false);
}

void fm__arbiter_test_begins(void)
{
    if (self() && !arbiter.log->test_begins)
        arbiter.log->test_begins = arbiter.log->steps;
}

void fm__arbiter_test_ends(void)
{
    if (self() && !arbiter.log->test_ends)
        arbiter.log->test_ends = arbiter.log->steps;
}

uint64_t fm__arbiter_random(void)
{
    return self() ? fm__explore_random(&arbiter.random) : 0;
}

int64_t fm__arbiter_now_ns(void)
{
    return mine ? arbiter.now_ns : 0;
}

/* ---- seats ---- */

unsigned fm__arbiter_seat_take(void)
{
    struct arbiter_log *log = arbiter.log;
    unsigned i = 0;
    while (i < log->seat_count && arbiter.seats[i].state != SEAT_FREE)
        i++;
    if (i == SEATS_MAX)
        return NOBODY;
    if (i == log->seat_count)
        log->seat_count++;
    struct seat *seat = &arbiter.seats[i];
    set_state(seat, SEAT_ENDED); /* neither free nor ready */
    arbiter.waiting &= ~bit(seat);
    seat->io = seat->has_thread = false;
    seat->address = NULL;
    seat->deadline_ns = INT64_MAX;
    log->seats[i].at = &began;
    char name[] = "thread 00";
    name[7] = (char)('0' + i / 10);
    name[8] = (char)('0' + i % 10);
    fm__log_name(log, i, name);
    fm__strategy_enter(&arbiter.strategy, i);
    return i;
}

void fm__arbiter_seat_made(unsigned seat, pthread_t thread)
{
    arbiter.seats[seat].thread = thread;
    arbiter.seats[seat].has_thread = true;
    set_state(&arbiter.seats[seat], SEAT_READY);
}

void fm__arbiter_seat_drop(unsigned seat)
{
    arbiter.seats[seat].state = SEAT_FREE;
}

void fm__arbiter_sit(unsigned seat)
{
    mine = &arbiter.seats[seat];
    if (!arbiter.plan.light)
        await_turn(mine);
}

void fm__arbiter_stand(unsigned seat)
{
    struct seat *me = &arbiter.seats[seat];
    mine = NULL;
    /* relaxed: see self */
    if (atomic_load_explicit(&arbiter.abandoned, memory_order_relaxed))
        return;
    set_state(me, SEAT_ENDED);
    fm__arbiter_wake(me, SEATS_MAX);
    turn(me, &ended, false);
}

void fm__arbiter_join(pthread_t thread)
{
    if (!self())
        return;
    for (unsigned i = 0; i < arbiter.log->seat_count; i++) {
        struct seat *seat = &arbiter.seats[i];
        if (seat->state == SEAT_FREE || !seat->has_thread ||
            !pthread_equal(seat->thread, thread))
            continue;
        while (seat->state != SEAT_ENDED)
            fm__arbiter_block(seat, INT64_MAX);
        seat->state = SEAT_FREE;
        seat->has_thread = false;
        return;
    }
}

void fm__arbiter_name(const char *name)
{
    if (self())
        fm__log_name(arbiter.log, number(self()), name);
}

bool fm__arbiter_seated(void)
{
    return self() != NULL;
}

unsigned fm__arbiter_seat(void)
{
    return self() ? number(self()) : 0;
}

bool fm__arbiter_light(void)
{
    return self() && arbiter.plan.light;
}

void fm__arbiter_abandon(void)
{
    atomic_store_explicit(&arbiter.abandoned, true, memory_order_relaxed);
}

const struct turn_point *fm__arbiter_point(const char *what)
{
    return fm__log_point(arbiter.log, what);
}

/* ---- begin, end ---- */

int fm__arbiter_begin(const struct plan *plan, struct arbiter_log *log, void (*failed)(void))
{
    if (arbiter.open)
        return -EBUSY;
    arbiter.open = true;
    arbiter.quiet = false;
    arbiter.ready = arbiter.waiting = 0;
    arbiter.order = 0;
    arbiter.now_ns = 1000000000;
    arbiter.random = ~plan->seed;
    arbiter.plan = *plan;
    arbiter.log = log;
    arbiter.failed = failed;
    fm__log_begin(log);
    fm__strategy_init(&arbiter.strategy, &arbiter.plan, log);
    unsigned seat = fm__arbiter_seat_take();
    set_state(&arbiter.seats[seat], SEAT_READY);
    fm__log_name(log, seat, "main");
    mine = &arbiter.seats[seat];
    return 0;
}

void fm__arbiter_end(void)
{
    mine->state = SEAT_FREE;
    mine = NULL;
    arbiter.open = false;
}
