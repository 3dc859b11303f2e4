/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/map.h - FiberMap: at most one running fiber under each key
 *
 * A fiber that ends leaves the map by itself. Running under a key that is taken replaces the
 * fiber there in one step and interrupts it; FM_KEEP starts exactly one of any number of racing
 * callers. Closing the map interrupts and awaits everything it owns. The protocol stands in
 * fibermap/README.md.
 *
 * Words      An entry is present from the moment its run or set takes effect until its fiber
 *            has ended, been replaced, or been detached. A zombie is a replaced fiber that has
 *            not ended yet: no lookup finds it, the map still owns it, close waits for it. A
 *            queued fiber waits until it may stand under its key (FM_QUEUE): size counts it,
 *            clear and close signal and await it.
 * Callers    Every call works from any fiber, any thread, an exit observer (those that wait:
 *            not from an observer) and from the callbacks of the map. No lock of the map is
 *            held while foreign code runs.
 */
#ifndef FM_MAP_H
#define FM_MAP_H

#include "fm/fiber.h"
#include "fm/schedule.h"
#include "fm/sync.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fm_map;
struct fm_runner;
struct fm_snapshot;
struct fm_map_hooks;
struct fm_map_group;

/*
 * ---- keys: 1 to FM_KEY_MAX bytes, compared as bytes; copied by the calls that keep them ----
 */

#define FM_KEY_MAX 4096u

struct fm_key {
    const void *data;
    size_t len;
};

/* without the final NUL; NULL gives a key that is refused */
FM_API struct fm_key fm_key_str(const char *text);
static inline struct fm_key fm_key_bytes(const void *data, size_t len)
{
    struct fm_key key = {data, len};
    return key;
}
#ifndef __cplusplus
/*
 * The eight bytes of an integer, in the machine's order; lives until the end of the enclosing
 * block.
 */
#define FM_KEY_U64(n) ((struct fm_key){&(const uint64_t){(n)}, sizeof(uint64_t)})
#endif

/* ---- outcomes ---- */

#define FM_MAP_REPLACED 1 /* run, set: an older fiber was there and was interrupted */
/* run, set: nothing started, ret_fiber is the fiber that holds the key */
#define FM_MAP_KEPT 2
/* remove, close, clear: the caller is a member; signalled where due, not awaited */
#define FM_MAP_SELF 3
#define FM_MAP_REUSED 6   /* run: nothing started, the key's last exit is retained and fits */
#define FM_MAP_SAME 4     /* set: this very fiber stands there already; nothing changed */
#define FM_MAP_QUEUED 5   /* run: the fiber waits its turn behind others */

/* ---- making and ending a map ---- */

enum fm_hash {
    FM_HASH_KEYED = 0, /* under a secret key: for keys that come from outside */
    /* seeded, faster, not safe against a chosen-key attacker who sees timings */
    FM_HASH_FAST = 1,
};

enum fm_on_failure {
    FM_ON_FAILURE_NOTHING = 0,
    /* the first qualifying failure interrupts all other members (FM_BY_CLEAR) */
    FM_CANCEL_SIBLINGS = 1,
    FM_CLOSE_MAP = 2,       /* ... and closes the map, without awaiting */
};

struct fm_map_config {
    uint32_t size;               /* set by FM_MAP_CONFIG_INIT */
    /* locks, rounded up to a power of two; 0: four per worker that can run, at least 8 */
    uint32_t stripe_count;
    struct fm_runtime *runtime;  /* where fibers run; NULL: the caller's, -EINVAL in a thread */
    uint32_t hash;               /* enum fm_hash */
    uint32_t on_failure;         /* enum fm_on_failure */
    uint32_t flags;              /* 0 */
    uint32_t reserved;           /* 0 */
    const char *name;            /* copied, for dumps; NULL: none */
    /*
     * all restarts together, as in struct fm_restart: at most so many within the period; one
     * too many is a limit of the fiber that was to be restarted
     */
    uint32_t restart_intensity;  /* 0: no limit */
    uint32_t restart_reserved;   /* 0 */
    int64_t restart_period_ns;   /* 0: five seconds */
    uint32_t completions;        /* so many are kept for fm_map_next; 0: none */
    uint32_t retain_count;       /* so many last exits are retained; 0: none */
    const struct fm_map_hooks *hooks; /* copied; NULL: none */
    int64_t retain_ns;           /* each for so long; 0: until it is pushed out */
    /* limits: fm/map_limit.h */
    uint32_t max_live;           /* so many present at once; 0: no limit */
    uint32_t max_starts;         /* so many started in each interval; 0: no limit */
    int64_t interval_ns;
    uint32_t on_excess;          /* enum fm_excess */
    uint32_t excess_reserved;    /* 0 */
    int64_t idle_ttl_ns;         /* of runs and sets that give none; 0: none. fm/map_limit.h */
};
#define FM_MAP_CONFIG_INIT {.size = sizeof(struct fm_map_config)}

/*
 * 0 · -EINVAL · -E2BIG · -ENOMEM. The map is the caller's, to be given to fm_map_destroy. It
 * must go before its runtime.
 */
FM_API int fm_map_create(const struct fm_map_config *config, struct fm_map **ret_map);
/*
 * The same, owned by the caller's innermost scope, which closes and frees it: fiber only
 * (-EPERM).
 */
FM_API int fm_map_create_scoped(const struct fm_map_config *config, struct fm_map **ret_map);

enum fm_close_kind {
    FM_CLOSE_CANCEL = 0,       /* signal all (FM_BY_CLOSE), await all */
    FM_CLOSE_DRAIN = 1,        /* await all */
    FM_CLOSE_CANCEL_AFTER = 2, /* await for grace_ns, then signal, then await */
};

struct fm_close_policy {
    uint32_t size;       /* set by FM_CLOSE_POLICY_INIT */
    uint32_t kind;       /* enum fm_close_kind */
    int64_t grace_ns;    /* of FM_CLOSE_CANCEL_AFTER */
    int64_t deadline_ns; /* when to stop waiting and report who is stuck; 0: FM_NEVER */
};
#define FM_CLOSE_POLICY_INIT {.size = sizeof(struct fm_close_policy)}

/* A member by its key, as reports and snapshots show it. */
enum fm_member_state {
    FM_MEMBER_LIVE = 0,   /* present, and nothing of what follows */
    FM_MEMBER_ZOMBIE = 1, /* replaced, still ending */
    FM_MEMBER_ENDING = 2, /* present, interrupt pending */
    FM_MEMBER_QUEUED = 3, /* waits until it may stand under its key */
    /* present, between two incarnations, not interrupted: it backs off, or its group waits */
    FM_MEMBER_BACKING_OFF = 4,
    /* fm_map_count alone: those among the live ones that have said so (fm_ready) */
    FM_MEMBER_READY = 5,
};

struct fm_member {
    struct fm_key key;      /* owned by the report or snapshot */
    struct fm_fiber *fiber; /* a reference owned by the report or snapshot */
    uint32_t state;         /* enum fm_member_state */
    uint32_t incarnation;   /* fm_fiber_incarnation; stays at UINT32_MAX */
    /* since it was run or set, to the tick of the runtime's coarse clock */
    int64_t age_ns;
};

struct fm_close_report {
    size_t awaited;       /* members that ended while closing */
    size_t failed;        /* of these: failures and defects */
    size_t stuck;         /* members that had not ended at the deadline */
    struct fm_close_failure {
        struct fm_key key;
        struct fm_exit exit; /* its value has gone with the fiber */
    } *failures;          /* the first 64 of the failed */
    size_t failure_count;
    struct fm_member *stuck_members;
    size_t stuck_count;   /* entries of stuck_members */
};

/*
 * fm_map_close - refuse new runs, end all members, wait for them
 *
 * Flips the state first: from then on run and set return -ESHUTDOWN, and get, has and size find
 * nothing. Waits for present fibers and zombies. A second closer waits too. A member that
 * closes its own map is left out of the wait. All are ended side by side, but the members of a
 * group in the reverse order of their runs (fm/map_group.h).
 *
 * When it returns 0 every member's exit is decided and a join on it returns without waiting for
 * anybody else; a poll may say -EAGAIN for the instant in which the exit is made public.
 *
 * policy      NULL: cancel, without a deadline.
 * ret_report  NULL, or filled in on every result but -EINVAL and -E2BIG; release with
 *             fm_close_report_fini().
 *
 * Returns    0 all have ended · FM_MAP_SELF all but the caller · -ETIMEDOUT some are stuck (in
 *            the report; close again to go on waiting) · -ECANCELED the caller was interrupted
 *            (the map stays closing) · -EINVAL · -E2BIG
 */
FM_API int fm_map_close(struct fm_map *map, const struct fm_close_policy *policy,
                        struct fm_close_report *ret_report);
FM_API void fm_close_report_fini(struct fm_close_report *report);
/*
 * Close (cancel, no deadline, masked), then free. NULL-safe, returns NULL. No other call on the
 * map may be under way. By a member: a broken invariant, the program stops.
 */
FM_API struct fm_map *fm_map_destroy(struct fm_map *map);

/* ---- running ---- */

enum fm_conflict {
    FM_REPLACE = 0,
    FM_KEEP = 1,
    FM_ONLY_IF_MISSING = FM_KEEP,
    FM_FAIL = 2,
    FM_REPLACE_AWAIT = 3, /* FM_REPLACE; the body begins when the replaced one has ended */
    FM_JOIN = 4,  /* as FM_KEEP, but never a fiber that fm_map_run_wait has given up */
    FM_QUEUE = 5, /* in turn: behind who holds the key, and who queues there already */
};

/* an interruption that the map did not issue counts for fm_map_join */
#define FM_MAP_PROPAGATE_INTERRUPT 1u
#define FM_MAP_ISOLATE_FAILURE 2u     /* this fiber's exit never counts for fm_map_join */
/*
 * FM_KEEP, FM_FAIL, FM_JOIN: an incumbent that has been interrupted does not hold its key; it
 * is replaced, as with FM_REPLACE_AWAIT
 */
#define FM_MAP_DYING_IS_ABSENT 8u
/* at deadline_ns the body begins, although the replaced fiber has not ended */
#define FM_AWAIT_PROCEED 16u
/* fm_map_run_wait: what this call starts ends when nobody waits for it any more */
#define FM_MAP_STOP_WITH_LAST_WAITER 32u

/*
 * ---- restarting: what the map does when a body has ended ----
 *
 * A fiber that is run with a policy is a lineage: its body runs again and again, while entry,
 * handle, id, joiners and observers stay, and see one fiber that ends once. Each incarnation
 * ends whole before the next begins: children, finalizers, locals, masks and pins. All of them
 * get the same arg; arg_drop is called only if none ever ran. value_drop is called on the value
 * of an incarnation that is followed by another. Readiness, once told, stays.
 *
 * While a lineage backs off its key is held, and it can be interrupted, removed or replaced at
 * once. It is not run again
 *   - after an interruption by a map or by shutdown: none begins once the call that interrupts
 *     has done so, fm_map_interrupt() included (a round of its group is another thing);
 *   - after fm_fiber_interrupt() or fm_fiber_stop(), unless it is FM_PERMANENT: that one is
 *     run again, or waits for another back-off, and so fm_fiber_stop() waits on. Remove it;
 *   - once its map is closing (FM_CLOSE_DRAIN too: what runs is awaited, what backs off ends),
 *     or it is no longer under its key: replaced or detached.
 * Its exit is then that of the last incarnation, or the interruption that came in a back-off.
 * A body for which there never was a stack is not run again either: -ENOMEM is the exit, as of
 * any fiber.
 *
 * Its map is the one that runs it. Under a key of another map (fm_map_set) a lineage is a fiber
 * that runs long: that map's interruptions are final too, but its FM_CLOSE_DRAIN waits for the
 * lineage, not for the incarnation.
 */

enum fm_restart_type {
    FM_TEMPORARY = 0, /* never */
    FM_TRANSIENT = 1, /* after a failure or a defect */
    FM_PERMANENT = 2, /* after every end but an interruption by a map or by shutdown */
};

enum fm_on_limit {
    /*
     * the exit counts for fm_map_join (unless FM_MAP_ISOLATE_FAILURE), whatever kind it is
     */
    FM_LIMIT_ESCALATE = 0,
    FM_LIMIT_REMOVE = 1,    /* it does not count; the key is free */
    FM_LIMIT_CLOSE_MAP = 2, /* as ESCALATE, and the map closes, without awaiting */
};

#define FM_RESTART_INTENSITY_MAX 65536u

/*
 * Asked before each restart that the type allows; false: the lineage ends with this exit. In
 * the lineage's fiber, masked, between two incarnations; `count` restarts came before. key and
 * the exit's value are borrowed.
 */
typedef bool fm_should_restart_fn(void *ctx, struct fm_key key, struct fm_exit exit,
                                  uint64_t count);

/*
 * At the limit, which is the first restart that the window forbids, or the schedule's end, the
 * lineage ends: with its last failure or defect, its exit.reason FM_BY_RESTART_LIMIT; where the
 * last incarnation had succeeded or been interrupted, with an interruption for that reason.
 */
struct fm_restart {
    uint32_t size;                  /* set by FM_RESTART_INIT */
    uint32_t type;                  /* enum fm_restart_type */
    /*
     * when to run it again, asked at each end; the run takes a reference of its own. NULL: at
     * once (others that are runnable come first), for ever.
     */
    struct fm_schedule *schedule;
    uint32_t intensity;             /* so many restarts within any period; 0: no limit */
    uint32_t on_limit;              /* enum fm_on_limit */
    int64_t period_ns;              /* both its ends included; 0: five seconds */
    /* an incarnation that lived so long: window and schedule begin anew; 0: never */
    int64_t reset_after_ns;
    fm_should_restart_fn *should_restart; /* NULL: always */
    void *ctx;
};
#define FM_RESTART_INIT {.size = sizeof(struct fm_restart)}

struct fm_map_run_options {
    uint32_t size;          /* set by FM_MAP_RUN_OPTIONS_INIT */
    uint32_t conflict;      /* enum fm_conflict */
    uint32_t flags;         /* FM_MAP_... */
    uint32_t stack_bytes;   /* as in spawn */
    const char *name;       /* as in spawn */
    fm_drop_fn *arg_drop;   /* called on arg if the started fiber never ran its body */
    fm_drop_fn *value_drop; /* as in spawn */
    const struct fm_restart *restart; /* read by the call; NULL: the body runs once */
    uint32_t reuse;          /* enum fm_reuse */
    uint32_t reuse_reserved; /* 0 */
    /*
     * of waiting: for a place in the map (fm/map_limit.h), and then of a body that is to wait
     * for its turn; 0: FM_NEVER
     */
    int64_t deadline_ns;
    uint32_t queue_max;      /* FM_QUEUE: so many may wait under the key; 0: any number */
    uint32_t own_map;        /* 1: it may have a map of its own, fm/map_child.h */
    struct fm_map_group *group; /* restarted and stopped with it: fm/map_group.h; NULL: none */
    /* interrupted when it has not been used for so long (fm/map_limit.h); 0: the map's */
    int64_t idle_ttl_ns;
};
#define FM_MAP_RUN_OPTIONS_INIT {.size = sizeof(struct fm_map_run_options)}

/*
 * fm_map_run - start a fiber under a key
 *
 * With FM_REPLACE the swap is one step: a lookup sees the old fiber or the new one, never none
 * and never both. The replaced fiber is interrupted (FM_BY_REPLACE); its end is not awaited.
 * The entry is published before the body starts, so the body finds its own key from its first
 * line. The new fiber is no child of the caller.
 *
 * With FM_REPLACE_AWAIT the swap is the same, and the new fiber is there at once, to be found,
 * joined, interrupted and removed; but its body begins only when the replaced fiber has ended,
 * finalizers and children included. Runs with it never have two bodies of a key under way at
 * once, whatever is interrupted, removed or late in between; only one that FM_REPLACE or set
 * has replaced is not waited for. A run or set that comes while it waits drops it: its body
 * never runs, the latest wins.
 *
 * With FM_QUEUE a fiber whose key is held comes under it when nobody else is: runs with it are
 * under way one at a time, first in, first out. It can be joined and interrupted meanwhile.
 * Other runs and sets go before the queue: FM_REPLACE takes the place of who is under the key,
 * not of who waits. For FM_KEEP, FM_FAIL, FM_JOIN and lookups a key with a queue is never free:
 * between two bodies they find the next. remove and detach let the next one go ahead.
 *
 * A fiber that waits for its turn ends without its body (arg_drop) when it is interrupted or
 * replaced, or as a failure: -ETIMEDOUT at deadline_ns, unless FM_AWAIT_PROCEED says that it
 * begins then, and -EDEADLK where whom it waits for waits for it.
 *
 * key        copied.
 * arg        passes to the new fiber if one starts; else stays the caller's.
 * options    NULL: replace.
 * ret_fiber  NULL, or a reference to the fiber that holds the key when this call took effect
 *            (0, FM_MAP_REPLACED: the new one; FM_MAP_KEPT: the incumbent), or that queues
 *            there (FM_MAP_QUEUED).
 *            With FM_JOIN a fiber that fm_map_run_wait has given up, and that still ends, does
 *            not hold its key: it is replaced.
 *
 * In a map with limits (fm/map_limit.h) the call may wait for a place or a start; in every
 * other it never waits. With reuse (fm/map_retain.h) it may start nothing.
 *
 * Returns    0 started, the key was free · FM_MAP_REPLACED · FM_MAP_KEPT · FM_MAP_QUEUED ·
 *            FM_MAP_REUSED · -EEXIST (FM_FAIL) · -ESHUTDOWN · -ENOMEM · -EAGAIN (the runtime's
 *            max_fibers; queue_max; one too many in a map with limits) · -EINVAL · -E2BIG.
 *            Of the wait for a place besides: -ECANCELED · -ETIMEDOUT at deadline_ns
 * Order      all before this call happens before the first line of entry.
 * Cost       one stripe lock, under which no foreign code runs; FM_KEEP on a held key takes
 *            none. A body that waits for its turn has a stack meanwhile, and takes the lock
 *            each time somebody before it has ended. How many wait makes no difference.
 */
FM_API int fm_map_run(struct fm_map *map, struct fm_key key, fm_entry_fn *entry, void *arg,
                      const struct fm_map_run_options *options, struct fm_fiber **ret_fiber);

/*
 * fm_map_run_wait - run under a key, or join who runs there, and wait for the end
 *
 * De-duplicates in one step: of any number of concurrent callers one starts its entry, all
 * others wait for that fiber, and all get the same exit. The next caller after it starts anew:
 * failures are shared like successes, nothing is kept.
 *
 * A caller that is interrupted or late stops waiting, and that is all: the run and those who
 * wait for it do not notice. When the last leaves, the run goes on, unless the call that
 * started it gave FM_MAP_STOP_WITH_LAST_WAITER: then it is interrupted (FM_BY_LAST_WAITER), and
 * a caller that comes while it still ends starts a fresh one in its place. A fiber that was put
 * under the key by another call is joined, and never stopped.
 *
 * arg         passes to the call, unless that refuses: either the body runs with it, or
 *             arg_drop(arg) is called, at once where the caller joins.
 * options     conflict: left 0, or FM_JOIN. Those of a caller that joins are not used.
 * ret_exit    NULL, or where to put the exit. Where the fiber has a value_drop its value is
 *             NULL: it goes with the fiber. Who wants it runs with FM_JOIN, and joins.
 *
 * Returns    0 this call's run has ended · FM_MAP_KEPT another's has · FM_MAP_SELF the caller
 *            is that fiber · -ETIMEDOUT · -ECANCELED · -EDEADLK a ring of joins
 *            refused: -ESHUTDOWN · -ENOMEM · -EAGAIN (the runtime's max_fibers) · -EPERM (in a
 *            child made by fork) · -EINVAL · -E2BIG
 * Callers    fibers and threads that may wait.
 * Cost       one stripe lock to join, two to start, one more to leave early.
 */
FM_API int fm_map_run_wait(struct fm_map *map, struct fm_key key, fm_entry_fn *entry, void *arg,
                           const struct fm_map_run_options *options, int64_t deadline_ns,
                           struct fm_exit *ret_exit);

/*
 * How often the map has restarted the fiber: 0 in its first incarnation, for every fiber
 * without a policy, and for NULL. Valid after the end. Never waits.
 */
FM_API uint64_t fm_fiber_incarnation(const struct fm_fiber *fiber);

/*
 * fm_map_set - put a fiber that exists under a key
 *
 * The same fiber again is no change (FM_MAP_SAME), tested before the conflict option; its first
 * options stay. A fiber that has ended is put in and taken out at once: a predecessor is still
 * interrupted, a failure still recorded. A fiber may stand under several keys and in several
 * maps. On a closed map the fiber is interrupted (FM_BY_REJECT), and so it is when FM_KEEP or
 * FM_FAIL find the key held.
 *
 * options    conflict (FM_REPLACE, FM_KEEP, FM_FAIL) and flags only.
 * Returns    0 · FM_MAP_REPLACED · FM_MAP_KEPT · FM_MAP_SAME · -EEXIST · -ESHUTDOWN · -ENOMEM ·
 *            -EINVAL · -E2BIG
 */
FM_API int fm_map_set(struct fm_map *map, struct fm_key key, struct fm_fiber *fiber,
                      const struct fm_map_run_options *options);

/* ---- looking, without waiting ---- */

/* 0 with a reference · -ENOENT · -EINVAL. Takes no lock. */
FM_API int fm_map_get(struct fm_map *map, struct fm_key key, struct fm_fiber **ret_fiber);
FM_API bool fm_map_has(struct fm_map *map, struct fm_key key);
/* Present and queued entries; exact whenever the map rests; 0 once closing. */
FM_API size_t fm_map_size(struct fm_map *map);
/*
 * Members in a state, of enum fm_member_state, of a closing map too; 0 for one that there is
 * not. Each member is in one state, but for FM_MEMBER_READY, who are live as well. Exact
 * whenever the map rests; looks at all entries, but for zombies. Never waits.
 */
FM_API size_t fm_map_count(struct fm_map *map, uint32_t state);

/* ---- ending by key ---- */

/*
 * Signal (FM_BY_REMOVE) and wait for the exit; the entry stays present until then. Interrupting
 * or timing out the caller stops only the waiting. 0 · -ENOENT · FM_MAP_SELF · -ECANCELED ·
 * -ETIMEDOUT · -EINVAL
 */
FM_API int fm_map_remove(struct fm_map *map, struct fm_key key, int64_t deadline_ns);
/* Signal only (FM_BY_REMOVE): 0 · -ENOENT · -EINVAL */
FM_API int fm_map_interrupt(struct fm_map *map, struct fm_key key);
/*
 * Forget the key; the fiber goes on, owned by the runtime, and is not restarted. 0, with a
 * reference if asked for · -ENOENT · -EINVAL
 */
FM_API int fm_map_detach(struct fm_map *map, struct fm_key key, struct fm_fiber **ret_fiber);
/*
 * Signal all present and queued entries at this moment (FM_BY_CLEAR), then await these, zombies
 * among them not. Entries added meanwhile stay. 0 · FM_MAP_SELF the caller was among them ·
 * -ECANCELED · -ETIMEDOUT · -ENOMEM · -EINVAL
 */
FM_API int fm_map_clear(struct fm_map *map, int64_t deadline_ns);
typedef bool fm_match_fn(void *ctx, struct fm_key key, struct fm_fiber *fiber);
FM_API int fm_map_clear_matching(struct fm_map *map, fm_match_fn *match, void *ctx,
                                 int64_t deadline_ns);

/* ---- waiting for the map ---- */

/*
 * The verdict: completes once, with the first qualifying exit in time (0, ret_exit written), or
 * at close with a success. Any failure or defect qualifies unless FM_MAP_ISOLATE_FAILURE; an
 * interruption only under FM_MAP_PROPAGATE_INTERRUPT and only if the map did not issue it.
 * Pending otherwise, even when the map is empty. All callers get the same. 0 · -ECANCELED ·
 * -ETIMEDOUT · -EINVAL. The exit's value is gone if the fiber is: look at code.
 */
FM_API int fm_map_join(struct fm_map *map, int64_t deadline_ns, struct fm_exit *ret_exit);
/*
 * Returns once an instant without present and queued entries existed after the call began, or
 * the map is closed. 0 · -ECANCELED · -ETIMEDOUT · -EDEADLK the caller is present in the map ·
 * -EINVAL
 */
FM_API int fm_map_await_empty(struct fm_map *map, int64_t deadline_ns);
/* The same, zombies counted too. */
FM_API int fm_map_await_quiescent(struct fm_map *map, int64_t deadline_ns);
/*
 * The exit of the fiber that is under the key now: 0 · -ENOENT · FM_MAP_SELF · -ECANCELED ·
 * -ETIMEDOUT · -EINVAL
 */
FM_API int fm_map_await_key(struct fm_map *map, struct fm_key key, int64_t deadline_ns,
                            struct fm_exit *ret_exit);

/* ---- looking at all ---- */

/* a point-in-time cut of all stripes; else consistent per stripe */
#define FM_SNAPSHOT_CONSISTENT 1u
#define FM_SNAPSHOT_ZOMBIES 2u    /* also who is replaced and has not ended */
#define FM_SNAPSHOT_QUEUED 4u     /* also who waits until it may stand under its key */

/*
 * 0 · -ENOMEM · -EINVAL. Works on a closing map: shows what is ending. No key twice (zombies
 * and queued ones aside).
 */
FM_API int fm_map_snapshot(struct fm_map *map, uint32_t flags,
                           struct fm_snapshot **ret_snapshot);
FM_API size_t fm_snapshot_count(const struct fm_snapshot *snapshot);
/* NULL past the end */
FM_API const struct fm_member *fm_snapshot_at(const struct fm_snapshot *snapshot, size_t index);
FM_API struct fm_snapshot *fm_snapshot_free(struct fm_snapshot *snapshot);
/*
 * On a snapshot; fn may call anything; a result other than 0 ends the walk and is returned. 0 ·
 * -ENOMEM · -EINVAL
 */
typedef int fm_each_fn(void *ctx, struct fm_key key, struct fm_fiber *fiber);
FM_API int fm_map_each(struct fm_map *map, fm_each_fn *fn, void *ctx);

/* ---- a map of its own for callers that live outside fibers ---- */

FM_API int fm_runner_create(struct fm_runtime *runtime, const struct fm_map_config *config,
                            struct fm_runner **ret_runner);
/* The runner's map, borrowed. */
FM_API struct fm_map *fm_runner_map(struct fm_runner *runner);
/* As fm_map_run. */
FM_API int fm_runner_run(struct fm_runner *runner, struct fm_key key, fm_entry_fn *entry,
                         void *arg, const struct fm_map_run_options *options,
                         struct fm_fiber **ret_fiber);
/*
 * As fm_map_run, and a promise of the fiber's exit: complete before any join on that fiber
 * returns. Where nothing starts (FM_MAP_KEPT, FM_MAP_REUSED, -EEXIST, -ESHUTDOWN) the promise,
 * if the result is >= 0, follows the incumbent, or is of the retained exit; on failure there is
 * none. A success's value is valid while the promise lives. Returns as fm_map_run.
 */
FM_API int fm_runner_promise(struct fm_runner *runner, struct fm_key key, fm_entry_fn *entry,
                             void *arg, const struct fm_map_run_options *options,
                             struct fm_promise **ret_promise);
/* Closes the map, frees both. NULL-safe, returns NULL. */
FM_API struct fm_runner *fm_runner_destroy(struct fm_runner *runner);

#ifdef __cplusplus
}
#endif

#include "fm/map_child.h"
#include "fm/map_group.h"
#include "fm/map_limit.h"
#include "fm/map_many.h"
#include "fm/map_retain.h"
#include "fm/map_watch.h"

#endif
