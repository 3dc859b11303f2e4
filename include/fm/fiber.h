/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/fiber.h - start, await, interrupt and observe fibers; what a fiber may ask of itself
 *
 * A handle is a counted reference. It stays valid after the fiber has ended and after its
 * runtime is gone. A fiber that is not detached belongs to the innermost scope of the fiber
 * that spawned it: when that scope closes it is interrupted and awaited.
 */
#ifndef FM_FIBER_H
#define FM_FIBER_H

#include "fm/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Positive outcome: the fiber had ended (observe), or the observer has fired or is firing
 * (unobserve).
 */
#define FM_ALREADY_DONE 1

/* spawn_options.flags */
/* owned by the runtime, not by the caller's innermost scope */
#define FM_SPAWN_DETACHED 1u
#define FM_SPAWN_FIRST 2u          /* the child runs now, the caller is queued */

struct fm_spawn_options {
    uint32_t size;          /* set by FM_SPAWN_OPTIONS_INIT */
    uint32_t flags;
    const char *name;       /* copied, at most 63 bytes kept; NULL: none */
    uint32_t stack_bytes;   /* rounded up to a class; 0: the runtime's; above 1 MiB: -EINVAL */
    uint32_t reserved;      /* 0 */
    fm_drop_fn *arg_drop;   /* called on arg if and only if the body never ran; must not wait */
    /*
     * called on a success's or failure's value at the last unref, or when another exit takes
     * its place; must not wait
     */
    fm_drop_fn *value_drop;
};
#define FM_SPAWN_OPTIONS_INIT {.size = sizeof(struct fm_spawn_options)}

/*
 * fm_fiber_spawn - start a fiber in the caller's runtime
 *
 * entry      first function; arg passes to the fiber on success only.
 * options    NULL for the defaults.
 * ret_fiber  NULL, or where to put a reference, to be dropped with fm_fiber_unref().
 *
 * Returns    0 · -EPERM from a thread (use fm_runtime_spawn) · -EINVAL · -E2BIG · -ENOMEM ·
 *            -EAGAIN (max_fibers) · -ESHUTDOWN (the scope is closing). Should no stack be had
 *            when the fiber is first run, it ends as failure(-ENOMEM) without running.
 * Order      all before this call happens before the first line of entry.
 * Cost       no lock shared with other workers, no system call; the stack comes later.
 */
FM_API int fm_fiber_spawn(fm_entry_fn *entry, void *arg, const struct fm_spawn_options *options,
                          struct fm_fiber **ret_fiber);

/*
 * The same from anywhere, into that runtime. The fiber is detached: the runtime owns it.
 * -ESHUTDOWN once shut down.
 */
FM_API int fm_runtime_spawn(struct fm_runtime *runtime, fm_entry_fn *entry, void *arg,
                            const struct fm_spawn_options *options,
                            struct fm_fiber **ret_fiber);

/*
 * Start count fibers that run entry(args[i]); args may be NULL (each gets NULL). All or none:
 * on failure nothing has started. ret_fibers, if not NULL, takes count references.
 */
FM_API int fm_fiber_spawn_many(fm_entry_fn *entry, void *const args[], size_t count,
                               const struct fm_spawn_options *options,
                               struct fm_fiber *ret_fibers[]);

/* The calling fiber, borrowed; NULL in a thread. */
FM_API struct fm_fiber *fm_fiber_self(void);
/* Unique in the process, never used again, above 0; 0 for NULL. */
FM_API uint64_t fm_fiber_id(const struct fm_fiber *fiber);
/* The name given at spawn, "" if none; valid while the reference is held. */
FM_API const char *fm_fiber_name(const struct fm_fiber *fiber);
/* One more reference; returns the fiber. NULL-safe. */
FM_API struct fm_fiber *fm_fiber_ref(struct fm_fiber *fiber);
/* Drop a reference; NULL-safe, returns NULL. The last one drops the exit's value. */
FM_API struct fm_fiber *fm_fiber_unref(struct fm_fiber *fiber);

/*
 * fm_fiber_join - wait for a fiber's end
 *
 * Returns    0, ret_exit written (its value stays the fiber's) · -ECANCELED the caller was
 *            interrupted · -ETIMEDOUT · -EDEADLK the caller itself, or a ring of those who wait
 *            for one another (as of fm_mutex_lock) · -EINVAL · -ENOMEM (a thread's first wait)
 * Order      everything the fiber did happens before this returns 0.
 */
FM_API int fm_fiber_join(struct fm_fiber *fiber, int64_t deadline_ns, struct fm_exit *ret_exit);
/* 0 ended, ret_exit written · -EAGAIN still running · -EINVAL. Never waits. */
FM_API int fm_fiber_poll(struct fm_fiber *fiber, struct fm_exit *ret_exit);
/*
 * Ask the fiber to end: sets its sticky mark and wakes it if it waits unmasked. Does not wait;
 * no code of the target runs here. The first interrupter and reason stay on record. 0 ·
 * FM_ALREADY_DONE · -EINVAL.
 */
FM_API int fm_fiber_interrupt(struct fm_fiber *fiber);
/* Interrupt, then join. Results as fm_fiber_join; on oneself: signals and returns -EDEADLK. */
FM_API int fm_fiber_stop(struct fm_fiber *fiber, int64_t deadline_ns, struct fm_exit *ret_exit);
/*
 * Signal all, then wait for all. 0 · -ECANCELED · -ETIMEDOUT (some remain) · -EDEADLK · -EINVAL
 */
FM_API int fm_fiber_stop_many(struct fm_fiber *const fibers[], size_t count,
                              int64_t deadline_ns);
/*
 * The first failure of a finalizer of an ended fiber: 0 · -ENOENT none · -EAGAIN still running
 * · -EINVAL
 */
FM_API int fm_fiber_finalizer_exit(struct fm_fiber *fiber, struct fm_exit *ret_exit);

/*
 * Exit observers. The struct is the caller's storage, untouched by him from observe until the
 * observer has fired or unobserve has returned. fn runs once, in the ending fiber, with no lock
 * held, and must not wait or yield: in the ending fiber that stops the program with a report.
 * `fiber` is borrowed.
 */
typedef void fm_observer_fn(struct fm_fiber *fiber, struct fm_exit exit, void *arg);
struct fm_observer {
    fm_observer_fn *fn;
    void *arg;
    void *private_[4];
};

/*
 * 0 registered · FM_ALREADY_DONE the fiber had ended: fn was called here, before this returned
 * · -EINVAL
 */
FM_API int fm_fiber_observe(struct fm_fiber *fiber, struct fm_observer *observer);
/*
 * 0 removed, fn will not be called · FM_ALREADY_DONE it has been called (where another thread
 * was in the midst of it, this waits until it has returned; an observer may unobserve itself,
 * but two observers of two fibers must not wait for each other) · -EINVAL. Either way the
 * storage is free.
 */
FM_API int fm_fiber_unobserve(struct fm_fiber *fiber, struct fm_observer *observer);

/* What a fiber is doing. */
enum fm_fiber_state {
    FM_FIBER_NEW = 0,      /* has not begun to run */
    FM_FIBER_RUNNABLE = 1, /* in a queue */
    FM_FIBER_RUNNING = 2,
    FM_FIBER_PARKED = 3,   /* waits, or is about to */
    FM_FIBER_ENDED = 4,
};

struct fm_fiber_look {
    uint32_t state;        /* enum fm_fiber_state */
    int32_t worker;        /* that runs it; -1: none does */
    const char *waits_for; /* a word, static text; NULL: it does not wait */
    uint32_t waits_ms;     /* for so long, to some milliseconds; 0 if it does not wait */
};

/*
 * fm_fiber_look - what a fiber is doing
 *
 * Racy by nature: it may have moved on before this returns, and what is told of one that does
 * not stand still may be of two moments.
 *
 * Returns    0 · -EINVAL
 * Callers    any thread, any fiber; one may look at oneself.
 * Cost       a few loads, and of a fiber that is not parked one for each worker.
 */
FM_API int fm_fiber_look(struct fm_fiber *fiber, struct fm_fiber_look *ret_look);
/* The word for a state: "new", "runnable", ...; "?" for none of them. */
FM_API const char *fm_fiber_state_name(uint32_t state);

/*
 * fm_runtime_visit - look at every live fiber
 *
 * A fiber that lives during the whole call is met once; one that begins or ends meanwhile may
 * be. In no order.
 *
 * fn         may call anything; the fiber is borrowed. A result other than 0 ends the walk.
 *
 * Returns    0 · what fn returned · -EINVAL · -EPERM (in a child of fork)
 * Cost       that of a look for each fiber; no lock.
 */
typedef int fm_visit_fn(void *ctx, struct fm_fiber *fiber, const struct fm_fiber_look *look);
FM_API int fm_runtime_visit(struct fm_runtime *runtime, fm_visit_fn *fn, void *ctx);

/* Let others run; 0 · -EPERM in a thread · -ECANCELED interrupted (after having yielded). */
FM_API int fm_yield(void);
/*
 * Wait for so long, or until then: never less, and on the real clock until the next tick of a
 * millisecond, so that a sleep of a microsecond may last a thousand. 0, or a time that has
 * passed, yields.
 *
 * 0 · -ECANCELED · -EPERM in a thread · -EINVAL (negative)
 */
FM_API int fm_sleep_ns(int64_t n);
FM_API int fm_sleep_ms(int64_t n);
FM_API int fm_sleep_until_ns(int64_t time_ns);
/* Waits until interrupted: -ECANCELED · -EPERM in a thread. Under a mask it waits for ever. */
FM_API int fm_never(void);

/* -ECANCELED if an interrupt is pending and not masked, else 0; 0 in a thread. Never waits. */
FM_API int fm_check(void);
/*
 * Masks nest. Under a mask waits complete normally; the first wait after the outermost unmask
 * sees a pending interrupt. 0 · -EPERM in a thread · -EINVAL (unmask without mask).
 */
FM_API int fm_mask(void);
FM_API int fm_unmask(void);
FM_API bool fm_masked(void);
/*
 * Who interrupted the caller and why, even when masked: 0 · -ENOENT nobody · -EPERM in a thread
 */
FM_API int fm_interrupt_info(struct fm_exit *ret_exit);

/*
 * The body has finished its start-up: wakes those in fm_fiber_await_ready. 0 · -EPERM in a
 * thread.
 */
FM_API int fm_ready(void);
/*
 * 0 ready · -ESRCH it ended without being ready · -ECANCELED · -ETIMEDOUT · -EDEADLK oneself ·
 * -EINVAL
 */
FM_API int fm_fiber_await_ready(struct fm_fiber *fiber, int64_t deadline_ns);

/*
 * Stay on this worker until as many unpins as pins. 0 · -EPERM in a thread · -EINVAL (unpin
 * without pin)
 */
FM_API int fm_pin(void);
FM_API int fm_unpin(void);

/*
 * Fiber-locals. A key is process-wide. drop runs on each fiber's value when that fiber ends. A
 * key that was marked as inherited is copied to each fiber that a fiber spawns; its values are
 * shared then, and never dropped: they must outlive their users.
 */
typedef uint32_t fm_local_key;
/* 0 · -ENOSPC (256 keys) · -EINVAL */
FM_API int fm_local_key_create(fm_local_key *ret_key, fm_drop_fn *drop);
/* Before its first use. 0 · -EINVAL */
FM_API int fm_local_key_inherit(fm_local_key key);
/* 0 · -EPERM in a thread · -EINVAL · -ENOMEM. A value that is replaced is not dropped. */
FM_API int fm_local_set(fm_local_key key, void *value);
/* The value; NULL if none, or in a thread. */
FM_API void *fm_local_get(fm_local_key key);

/*
 * fm_blocking - run a function that may block its thread on the blocking pool, and wait for it
 *
 * fn runs on a thread of the pool, which never counts the workers; deadline_ns and interruption
 * end the waiting at once while fn goes on to its end on its own: arg must then stay valid
 * until fn returns. -ECANCELED and -ETIMEDOUT always mean that fn runs or will run, unless the
 * runtime shuts down first; any other failure means that it does not. From a thread: fn runs on
 * the pool of no runtime, that is, in place.
 *
 * Returns    0, ret_exit written · -ECANCELED · -ETIMEDOUT · -EAGAIN (no thread could be made
 *            and none exists) -ENOMEM · -ESHUTDOWN · -EINVAL
 */
FM_API int fm_blocking(fm_entry_fn *fn, void *arg, int64_t deadline_ns,
                       struct fm_exit *ret_exit);

#ifdef __cplusplus
}
#endif
#endif
