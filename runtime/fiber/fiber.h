/*
 * fiber.h - the descriptor, and what the rooms above may do with a fiber
 *
 * A descriptor lives in type-stable memory: a stale waker may read its state word and its
 * reference word for ever. It is recycled under a new generation when its last reference has
 * gone.
 *
 *   id          generation (36 bits) << 24 | slot; below 2^60; unique in the process
 *   references  generation << 24 | count: a reference can be taken by id, with one
 *               compare-and-swap
 */
#ifndef FM_RUNTIME_FIBER_FIBER_H
#define FM_RUNTIME_FIBER_FIBER_H

#include <errno.h>

#include "fm/fiber.h"
#include "runtime/fiber/observer.h"
#include "runtime/fiber/state.h"
#include "runtime/fiber/timer.h"
#include "runtime/platform/check.h"
#include "runtime/platform/lock.h"
#include "runtime/sched/task.h"

struct fm_scope;
struct fiber_extra;
struct fm_runtime;

/*
 * What a room above keeps with a fiber (the map: its entry). ended() is called once, in the
 * ending fiber, after the exit is stored and before any joiner wakes; it must not wait. Set
 * before fm__fiber_start, by who created the fiber, with FIBER_OWNED in fiber->flags. A second
 * owner of the same fiber adds a node of kind EXIT_OWNER to fiber->exits.
 */
struct fiber_owner {
    void (*ended)(struct fm_fiber *fiber, struct fm_exit exit);
    void *words[3];
};

enum fiber_kind { FIBER_NONE, FIBER_TASK, FIBER_THREAD };

struct fm_fiber {
    /* first line: what the scheduler and wakers touch */
    _Alignas(FM_CACHE_LINE) struct task task;
    state_word state;
    _Atomic uint64_t refs;
    struct fm_runtime *runtime; /* NULL: a thread's */
    /* second line */
    union {
        struct {
            fm_entry_fn *entry; /* until the body is called */
            void *arg;
        };
        struct fm_exit exit; /* from the end on */
    };
    struct exit_list exits;
    struct fm_scope *scope;       /* innermost, on the fiber's own stack or heap */
    _Atomic uint64_t interrupter; /* id << 4 | reason, or 0: nobody; the first one stays */
    /* third line */
    struct timer timer;
    _Atomic(const char *) waits_for; /* static text; NULL: does not wait */
    /* fourth line */
    union {
        struct fiber_owner owner;          /* FIBER_OWNED */
        struct {                           /* a child */
            struct fm_scope *parent_scope; /* NULL: detached */
            struct fm_fiber *sibling_next, *sibling_prev;
        };
    };
    /* cold: name, locals, who waits for readiness; NULL until needed */
    _Atomic(struct fiber_extra *) extra;
    const void *spawn_site;
    fm_drop_fn *arg_drop;
    fm_drop_fn *value_drop;
    _Atomic uintptr_t waits_on; /* the lock or the fiber it waits for: ring.c */
    uint32_t slot;
    uint16_t mask_depth;
    uint8_t kind;  /* enum fiber_kind */
    uint8_t flags; /* FIBER_... */
    uint16_t pin_depth;
    _Atomic uint16_t budget; /* waits that it may yet have without letting others run */
    /* FIBER_THREAD: what it sleeps on; else when it began to wait, in coarse ms */
    _Atomic uint32_t futex;
};

#define INTERRUPTER_REASON UINT64_C(15)
/* in place of 0, of a fiber whose body may run again: nobody, and whoever comes asks again.c */
#define INTERRUPTER_ASK UINT64_C(15)

#define FIBER_OWNED 1u /* a room above keeps it: owner is valid, it is nobody's child */
#define FIBER_KEYED 2u /* owner.words describe a key */

#define FIBER_ID_SLOT_BITS 24

enum { FIBER_BUDGET = 128 };

/* ---- life ---- */

/*
 * A fiber that has not started: complete, referenced once for its run and, if ret_ref, once
 * more for the caller; not yet runnable, not yet in any scope (callers in the map: it is the
 * runtime's own). Options as public, checked by the caller. 0 · -ENOMEM · -EAGAIN · -ESHUTDOWN
 */
int fm__fiber_create(struct fm_runtime *runtime, fm_entry_fn *entry, void *arg,
                     const struct fm_spawn_options *options, const void *spawn_site,
                     bool extra_reference, struct fm_fiber **ret_fiber);
/*
 * Make it runnable. From here on the fiber may end and be recycled at any moment: use a
 * reference of your own.
 */
void fm__fiber_start(struct fm_fiber *fiber);
/* It was never started: give it back, without arg_drop. Drops the run's reference only. */
void fm__fiber_discard(struct fm_fiber *fiber);

static inline uint64_t fm__fiber_id(const struct fm_fiber *fiber)
{
    /* relaxed: the generation does not change while the caller holds a reference */
    uint64_t refs = atomic_load_explicit(&fiber->refs, memory_order_relaxed);
    return (refs >> FIBER_ID_SLOT_BITS) << FIBER_ID_SLOT_BITS | fiber->slot;
}
/*
 * A reference to the fiber of this id, or NULL if its last one has gone. Any thread, any time.
 * One CAS.
 */
struct fm_fiber *fm__fiber_ref_id(uint64_t id);
/*
 * The state word of the fiber of this id, without a reference; LIFE_DONE and no more if its
 * last one has gone. Old as soon as it is told, but a fiber that is DONE stays so, and so does
 * an interruption (runtime/fiber/again.h aside).
 */
uint64_t fm__fiber_peek(uint64_t id);
/* The calling fiber, NULL in a thread. It may be kept over a wait; its worker may not. */
struct fm_fiber *fm__fiber_self(void);
/*
 * Whether the end is public: stored, and every owner told. Not to be asked by an owner of the
 * fiber while it is being told: it would wait for itself. True: fiber->exit may be read.
 */
static inline bool fm__fiber_ended(struct fm_fiber *fiber)
{
    FM_BUG_IF(fm__exit_list_pending(&fiber->exits) && fiber == fm__fiber_self(),
              "an owner asks whether the fiber has ended whose end it is being told");
    return fm__exit_list_sealed(&fiber->exits);
}
static inline bool fm__fiber_interrupted(struct fm_fiber *fiber)
{
    return (fm__state_read(&fiber->state) & STATE_INTERRUPT) != 0;
}
/* fm_check of the calling fiber. */
static inline int fm__fiber_check(struct fm_fiber *self)
{
    return self->mask_depth == 0 && fm__fiber_interrupted(self) ? -ECANCELED : 0;
}
/*
 * Interrupt with a reason; `by` is the id of the calling fiber or 0. The caller holds a
 * reference. 0 · FM_ALREADY_DONE
 */
int fm__fiber_interrupt(struct fm_fiber *fiber, enum fm_reason reason);

/* ---- the calling fiber or thread, and its waits ---- */

/* The id of the calling fiber, 0 in a thread. */
uint64_t fm__self_id(void);
/*
 * Whoever calls, as the holder of a lock: the id of the fiber, or a number below 2^61 that this
 * thread alone ever has; that of its descriptor where there was memory for one.
 */
uint64_t fm__holder_self(void);

/*
 * One wait of one fiber or thread, by value: what a waker is given. A thread waits through a
 * descriptor of its own, so both look alike to wakers.
 */
struct wait {
    struct fm_fiber *who;
    uint64_t epoch;
};

#define WAIT_MASKED 1u /* interruptions do not end this wait */

/*
 * A wait in three steps:
 *     fm__wait_begin      0 · -ECANCELED interrupt pending (nothing begun) · -ENOMEM (a
 *                         thread's first wait)
 *     hand the wait to whoever may end it, under that one's lock
 *     fm__wait_end        suspends until the one wake that wins; never spurious
 * Between begin and end the caller must not wait otherwise. `what` is static text for the dump.
 */
int fm__wait_begin(struct wait *ret_wait, unsigned flags, const char *what);
/*
 * What a thread needs for its first wait is mapped memory: had here, before the caller takes a
 * lock under which nothing is mapped. 0 · -EPERM in a child of fork · -ENOMEM. A wait of who is
 * prepared begins without memory; a fiber always is.
 */
int fm__wait_prepare(void);
bool fm__wait_prepared(void);
enum wake_reason fm__wait_end(struct wait wait, int64_t deadline_ns);
/*
 * The same, and at ready_ns of the clock of `runtime` at the latest, NULL for the real clock. A
 * fiber that calls lives by that clock; a thread need not, whose deadline is on its own.
 */
enum wake_reason fm__wait_end_at(struct wait wait, int64_t deadline_ns,
                                 struct fm_runtime *runtime, int64_t ready_ns);
/*
 * The wait was handed to nobody, or the caller has taken it back from everybody: true if a wake
 * had won.
 */
bool fm__wait_abort(struct wait wait);
/*
 * End that wait; true if this wake won. The waiter may go on, and its stack be gone, before
 * this returns.
 */
bool fm__wake(struct wait wait, enum wake_reason reason);
/*
 * The same in two steps, for a waker that keeps the waiter standing a little longer.
 * fm__wake_win: WAKE_LOST · WAKE_NOTED won, the waiter goes on by itself · WAKE_QUEUE won,
 * nothing else can end the wait, and the waiter stands still until fm__wake_release.
 */
static inline enum wake fm__wake_win(struct wait wait, enum wake_reason reason)
{
    return fm__state_wake(&wait.who->state, wait.epoch, reason);
}
void fm__wake_release(struct fm_fiber *who);
/* WAKE_VALUE 0, WAKE_TIMEOUT -ETIMEDOUT, WAKE_INTERRUPT -ECANCELED, WAKE_CLOSED -EBADF */
int fm__wake_result(enum wake_reason reason);
/*
 * A call that did its work without waiting counts against the fiber's budget; at its end the
 * fiber yields. The monitor ends that of a fiber that has had a processor for a time slice.
 */
void fm__budget_spend(void);
void fm__budget_over(struct fm_fiber *self);
/* One of it, by the fiber itself; false if it is used up. */
static inline bool fm__budget_take(struct fm_fiber *self)
{
    /* relaxed, and not one operation: the monitor's 0 in between is lost, but comes again */
    uint16_t left = atomic_load_explicit(&self->budget, memory_order_relaxed);
    if (left == 0)
        return false;
    atomic_store_explicit(&self->budget, (uint16_t)(left - 1), memory_order_relaxed);
    return true;
}
/* The same for who knows who calls; NULL is a thread. */
static inline void fm__budget_spend_by(struct fm_fiber *self)
{
    if (self && __builtin_expect(!fm__budget_take(self), 0))
        fm__budget_over(self);
}
/* Its time slice is over: it yields at its next wait. Any thread; the fiber may have ended. */
static inline void fm__budget_cut(struct fm_fiber *fiber)
{
    atomic_store_explicit(&fiber->budget, 0, memory_order_relaxed);
}

/* ---- clock and timers, of the runtime the caller is in ---- */

int64_t fm__runtime_now_ns(struct fm_runtime *runtime); /* real or virtual */
/*
 * The same for ages: as old as the worker's last look at the clock, which is some hundred
 * microseconds where fibers take turns. No system call on a worker.
 */
int64_t fm__runtime_coarse_ns(struct fm_runtime *runtime);

/* Read once it has ended: who set what a scope or a finalizer left behind. */
struct fiber_extra {
    struct lock lock;                           /* LOCK_SYNC: the waiters */
    struct wait_node *ready_first, *ready_last; /* a struct waitlist: see waitlist.h */
    char name[64];
    bool finalizer_failed;
    struct fm_exit finalizer_exit; /* the first that failed after a failing body */
    _Atomic uint8_t again;         /* enum again; of a fiber whose body may run again: */
    _Atomic bool between;          /* one running has ended, and no other has begun */
    bool stopped;                  /* lock; a final interruption has come */
    uint64_t pause;                /* lock; epoch of its wait between two runnings, or 0 */
    _Atomic uint64_t again_count;  /* runnings after the first */
    void *nest;                    /* constant once it has started; freed with this */
    void *kept;                    /* the same; of the room above, which frees it */
    void **locals;                 /* by key; local_count of them */
    uint32_t local_count;
};
/* The extra of a fiber, made if need be; NULL: no memory. Any thread with a reference. */
struct fiber_extra *fm__fiber_extra(struct fm_fiber *fiber);

/*
 * The key of a keyed fiber for dumps and reports: the map hands this down. Writes printable
 * text, async-signal-safe.
 */
typedef void fiber_describe_fn(struct fm_fiber *fiber, char *buffer, size_t size);
void fm__fiber_set_key_describe(fiber_describe_fn *describe);

#endif
