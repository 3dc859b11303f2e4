/*
 * restart.c - fibers that the map runs again
 *
 * A lineage is one fiber. Its body is ours: it runs the user's entry, looks at how that ended,
 * waits out the back-off, and runs it again. So the entry, the id, the handle, joiners and
 * observers are those of a fiber that runs long, and nothing of the map's protocol knows of
 * incarnations. An incarnation has ended whole, children and finalizers included, before the
 * next begins.
 *
 *     run the entry <--------------- begin: no final interruption, count += 1 ----.
 *          |                                                                      |
 *          v                 yes                  yes                 time is up  |
 *     to be run again? -------------> within limits? -----> back off -------------'
 *          | no                            | no               |  ^  | closing, detached
 *          v                               v      interrupted |  '--| not finally: again?
 *     its exit is the lineage's     on_limit says   finally   v     v
 *                                                 interruption    the last exit
 *
 * To be run again? Not if the map is closing, or the lineage has been replaced or detached;
 * not if a final interruption has come: one by a map or a shutdown, and unless it is
 * FM_PERMANENT any at all. Who interrupts while this is asked is told of in runtime/fiber/
 * again.c: after a final interruption no incarnation begins.
 *
 * Owns        the lineage: made by run, gone with the body, or with arg_drop if that never ran.
 * Callers     the fiber itself, but for wrap, arm and unwrap.
 */
#include "fibermap/restart.h"

#include <errno.h>
#include <stdlib.h>

#include "fibermap/group.h"
#include "fibermap/ledger.h"
#include "fibermap/map.h"
#include "fibermap/member.h"
#include "fm/schedule.h"
#include "runtime/fiber/again.h"
#include "runtime/fiber/run.h"
#include "runtime/platform/clock.h"
#include "runtime/platform/config.h"
#include "runtime/platform/memory.h"

enum { PERIOD_DEFAULT_S = 5 };

struct lineage {
    struct work work;
    struct fm_restart policy;
    struct fm_schedule_run run; /* of the policy's schedule, if it has one */
    struct restart_window window;
    bool ran;          /* the entry, once at least: arg is its own now */
    struct group_member *member; /* NULL: of no group. From arm on the exit's */
    struct fm_key key; /* for should_restart; its bytes follow the times */
    int64_t times[];
};

/* ---- the limit ---- */

void fm__restart_window_init(struct restart_window *window, uint32_t intensity,
                             int64_t period_ns, int64_t *times)
{
    FM_ASSERT(times || !intensity);
    *window = (struct restart_window) {
        .intensity = intensity,
        .period_ns = period_ns ? period_ns : PERIOD_DEFAULT_S * INT64_C(1000000000),
        .times = times,
    };
}

bool fm__restart_window_admit(struct restart_window *window, int64_t now_ns)
{
    if (!window->intensity)
        return true;
    if (window->count == window->intensity &&
        now_ns - window->times[window->at] <= window->period_ns)
        return false;
    FM_ASSERT(window->at < window->intensity && window->count <= window->intensity);
    window->times[window->at] = now_ns;
    window->at = (window->at + 1) % window->intensity;
    window->count += window->count < window->intensity;
    return true;
}

static bool map_admits(struct fm_map *map, int64_t now_ns)
{
    FM_ASSERT(now_ns >= 0);
    if (!map->restarts.intensity)
        return true;
    fm__lock(&map->waiting.lock);
    bool admitted = fm__restart_window_admit(&map->restarts, now_ns);
    fm__unlock(&map->waiting.lock);
    return admitted;
}

/* ---- making ---- */

static int policy_read(struct fm_restart *policy, const struct fm_restart *given)
{
    FM_ASSERT(policy);
    int r = fm__config_read(policy, sizeof *policy, given);
    if (r < 0)
        return r;
    if (policy->type > FM_PERMANENT || policy->on_limit > FM_LIMIT_CLOSE_MAP ||
        policy->intensity > FM_RESTART_INTENSITY_MAX || policy->period_ns < 0 ||
        policy->reset_after_ns < 0)
        return -EINVAL;
    return 0;
}

int fm__restart_check(const struct fm_restart *given)
{
    struct fm_restart policy;
    return policy_read(&policy, given);
}

static void lineage_free(struct lineage *lineage)
{
    if (lineage->policy.schedule)
        fm_schedule_run_fini(&lineage->run);
    free(lineage);
}

static void lineage_drop(void *arg)
{
    FM_ASSERT(arg);
    struct lineage *lineage = arg;
    if (!lineage->ran)
        fm__work_drop(&lineage->work);
    lineage_free(lineage);
}

/* A healthy time begins the schedule anew as it does the window. */
static int begin_schedule(struct lineage *lineage)
{
    FM_ASSERT(!lineage->ran);
    struct fm_restart *policy = &lineage->policy;
    struct fm_schedule *schedule = policy->schedule;

    if (!schedule)
        return 0;
    policy->schedule = NULL; /* until there is something to finish */
    fm_schedule_ref(schedule);
    if (policy->reset_after_ns)
        schedule = fm_schedule_reset_after_ns(schedule, policy->reset_after_ns);
    if (!schedule)
        return -ENOMEM;
    int r = fm_schedule_run_init(&lineage->run, schedule);
    fm_schedule_unref(schedule); /* the run has its own */
    if (r == 0)
        policy->schedule = schedule;
    return r;
}

static struct fm_exit lineage_body(void *arg);

int fm__restart_wrap(struct fm_map *map, const struct map_key *key,
                     const struct fm_map_run_options *options, struct work *work,
                     struct lineage **ret_lineage)
{
    FM_ASSERT(work->entry);
    struct fm_restart policy;
    int r = policy_read(&policy, options->restart);
    FM_ASSERT(r == 0); /* fm__restart_check */
    size_t times = policy.intensity * sizeof(int64_t);
    struct lineage *lineage = fm__malloc(sizeof *lineage + times + key->len);
    if (!lineage)
        return -ENOMEM;
    *lineage = (struct lineage) {
        .work = *work,
        .policy = policy,
        .key = fm_key_bytes(lineage->times + policy.intensity, key->len),
    };
    memcpy(lineage->times + policy.intensity, key->data, key->len);
    fm__restart_window_init(&lineage->window, policy.intensity, policy.period_ns,
                            lineage->times);
    if (options->group)
        r = fm__group_member_make(options->group, map, &lineage->member);
    if (r == 0)
        r = begin_schedule(lineage);
    if (r < 0) {
        fm__group_member_discard(lineage->member);
        lineage_free(lineage);
        return r;
    }
    *work = (struct work) { lineage_body, lineage, lineage_drop };
    *ret_lineage = lineage;
    return 0;
}

int fm__restart_arm(struct fm_map *map, struct fm_fiber *fiber, struct lineage *lineage)
{
    FM_ASSERT(lineage);
    int r = fm__again_init(fiber, lineage->policy.type == FM_PERMANENT
                                      ? AGAIN_UNLESS_OWNED
                                      : AGAIN_UNLESS_INTERRUPTED);
    if (r == 0 && lineage->member) {
        fm__again_keep(fiber, lineage->member);
        r = fm__group_join(lineage->member, fiber);
    }
    if (r < 0)
        return r;
    /* relaxed: who closes the map has visited the stripe's lock, under which we are put in */
    if (!atomic_load_explicit(&map->has_lineages, memory_order_relaxed))
        atomic_store_explicit(&map->has_lineages, true, memory_order_relaxed);
    return 0;
}

void fm__restart_unwrap(struct work *work)
{
    if (work->drop != lineage_drop)
        return;
    struct lineage *lineage = work->arg;
    *work = lineage->work;
    FM_ASSERT(work->entry && !lineage->ran);
    fm__group_member_discard(lineage->member);
    lineage_free(lineage);
}

/* ---- the body ---- */

/* Nobody will see this exit any more. */
static void exit_drop(struct lineage *lineage, struct fm_fiber *self, struct fm_exit exit)
{
    FM_ASSERT(self == fm__fiber_self());
    if (exit.kind == FM_INTERRUPTED || !exit.value)
        return;
    if (lineage->policy.schedule)
        lineage->run.info.input.value = NULL; /* what fm_schedule_current shows */
    if (self->value_drop)
        self->value_drop(exit.value);
    self->mask_depth = 0; /* a mask that a function of the user forgets ends with it */
}

static struct fm_exit interruption(struct fm_fiber *self)
{
    FM_ASSERT(self == fm__fiber_self());
    return fm__settle_exit(self, fm_interrupted());
}

static struct fm_exit incarnation(struct lineage *lineage, struct fm_fiber *self)
{
    FM_ASSERT(self == fm__fiber_self() && self->mask_depth == 0);
    const struct fm_restart *policy = &lineage->policy;
    int64_t begun_ns = fm_now_ns();

    lineage->ran = true;
    struct fm_exit exit = fm__again_run(self, lineage->work.entry, lineage->work.arg,
                                        policy->schedule ? &lineage->run : NULL);
    if (policy->reset_after_ns && fm_now_ns() - begun_ns >= policy->reset_after_ns)
        lineage->window.count = 0;
    return exit;
}

static bool is_run_again(struct lineage *lineage, struct fm_fiber *self, struct fm_exit exit)
{
    FM_ASSERT(self == fm__fiber_self());
    const struct fm_restart *policy = &lineage->policy;
    bool went_wrong = exit.kind == FM_FAILURE || exit.kind == FM_DEFECT;

    if (policy->type == FM_TEMPORARY || (policy->type == FM_TRANSIENT && !went_wrong))
        return false;
    if (!fm__member_goes_on(self) || !fm__again_forgive(self))
        return false;
    if (!policy->should_restart)
        return true;
    self->mask_depth++;
    bool again = policy->should_restart(policy->ctx, lineage->key, exit, fm__again_count(self));
    self->mask_depth = 0;
    return again;
}

static bool within_limits(struct lineage *lineage, struct fm_fiber *self, struct fm_exit exit,
                          int64_t *ret_until_ns)
{
    FM_ASSERT(self == fm__fiber_self());
    int64_t now = fm_now_ns(), delay_ns = 0;
    if (!fm__restart_window_admit(&lineage->window, now) ||
        !map_admits(fm__member_map(self), now))
        return false;
    int r = lineage->policy.schedule
                ? fm_schedule_next_at(&lineage->run, now, exit, &delay_ns)
                : 0;
    self->mask_depth = 0; /* as in exit_drop: the schedule may have asked the user */
    if (r != 0)
        return false;
    *ret_until_ns = delay_ns ? fm__time_add(now, delay_ns) : 0;
    return true;
}

/* The lineage ends because it was to be run again too often. */
static struct fm_exit at_limit(struct lineage *lineage, struct fm_fiber *self,
                               struct fm_exit exit, uint32_t on_limit)
{
    FM_ASSERT(on_limit <= FM_LIMIT_CLOSE_MAP);
    if (on_limit == FM_LIMIT_REMOVE)
        fm__member_mark(self, FM_MAP_ISOLATE_FAILURE);
    else if (on_limit == FM_LIMIT_CLOSE_MAP)
        fm__member_mark(self, MEMBER_CLOSES_MAP);
    if (exit.kind == FM_SUCCESS || exit.kind == FM_INTERRUPTED) {
        exit_drop(lineage, self, exit);
        exit = fm_interrupted();
    }
    exit.reason = FM_BY_RESTART_LIMIT;
    return exit;
}

/* 0 · -ECANCELED · -EBADF */
static int back_off(struct fm_fiber *self, int64_t until_ns)
{
    FM_ASSERT(self == fm__fiber_self());
    /* without a delay, too, others run first */
    int r = until_ns ? fm__again_pause(self, until_ns, fm__member_goes_on) : fm_yield();
    return r < 0 || fm__member_goes_on(self) ? r : -EBADF;
}

/* Whether an incarnation is to be followed by another, and what comes before that. */
enum next {
    NEXT_NONE,
    NEXT_BACK_OFF, /* until *ret_until_ns */
    NEXT_AT_ONCE,  /* with its group, which has ended it */
    NEXT_LIMIT,    /* none, and *ret_on_limit says what the map hears */
};

static enum next what_next(struct lineage *lineage, struct fm_fiber *self, struct fm_exit exit,
                           int64_t *ret_until_ns, uint32_t *ret_on_limit)
{
    FM_ASSERT(self == fm__fiber_self());
    if (lineage->member && fm__group_has_ended(lineage->member))
        return lineage->policy.type != FM_TEMPORARY && fm__member_goes_on(self) ? NEXT_AT_ONCE
                                                                                : NEXT_NONE;
    if (!is_run_again(lineage, self, exit))
        return NEXT_NONE;
    *ret_on_limit = lineage->policy.on_limit;
    if (!within_limits(lineage, self, exit, ret_until_ns))
        return NEXT_LIMIT;
    if (!lineage->member)
        return NEXT_BACK_OFF;
    *ret_on_limit = fm__group_on_limit(lineage->member);
    switch (fm__group_ask(lineage->member, self, fm_now_ns())) {
    case GROUP_RESTARTS: return NEXT_BACK_OFF;
    case GROUP_AT_LIMIT: return NEXT_LIMIT;
    case GROUP_ENDS: break;
    }
    return NEXT_NONE;
}

/* The back-off is over: count one incarnation more. 0 · -ECANCELED · -EBADF */
static int begin_next(struct lineage *lineage, struct fm_fiber *self)
{
    FM_ASSERT(self == fm__fiber_self());
    if (lineage->member)
        return fm__group_await(lineage->member, self);
    return fm__again_next(self) ? 0 : -ECANCELED;
}

static struct fm_exit live(struct lineage *lineage, struct fm_fiber *self)
{
    FM_ASSERT(lineage->work.entry);
    struct group_member *member = lineage->member;
    int64_t until_ns = 0;
    uint32_t on_limit = 0;

    if (member && fm__group_begin(member, self) < 0)
        return interruption(self);
    /*
     * interrupted before the first step: what would be said of an incarnation is said of that
     */
    struct fm_exit exit = fm__fiber_interrupted(self) ? interruption(self)
                                                      : incarnation(lineage, self);
    for (;;) {
        enum next next = what_next(lineage, self, exit, &until_ns, &on_limit);
        if (next == NEXT_LIMIT)
            return at_limit(lineage, self, exit, on_limit);
        int r = next == NEXT_BACK_OFF ? back_off(self, until_ns) : 0;
        if (r == 0 && next != NEXT_NONE)
            r = begin_next(lineage, self);
        if (next == NEXT_NONE || r == -EBADF)
            return exit;
        if (r == 0)
            fm__hooks_restart(self, exit);
        if (r == 0 && member)
            fm__group_begun(member);
        exit_drop(lineage, self, exit);
        exit = r == 0 ? incarnation(lineage, self) : interruption(self);
    }
}

static struct fm_exit lineage_body(void *arg)
{
    FM_ASSERT(arg);
    struct fm_exit exit = live(arg, fm__fiber_self());
    lineage_drop(arg);
    return exit;
}

/* ---- closing ---- */

void fm__restart_end_pauses(struct fm_map *map)
{
    /* relaxed: see create */
    if (!atomic_load_explicit(&map->has_lineages, memory_order_relaxed))
        return;
    fm__map_each_stripe(map, s) {
        uint32_t made = fm__stripe_made(s);
        for (uint32_t i = 0; i < made; i++) {
            uint64_t id = fm__entry_present(fm__entry_read(fm__stripe_at(s, i)));
            struct fm_fiber *fiber = id ? fm__fiber_ref_id(id) : NULL;
            if (!fiber)
                continue;
            fm__again_hurry(fiber);
            fm_fiber_unref(fiber);
        }
    }
}

uint64_t fm_fiber_incarnation(const struct fm_fiber *fiber)
{
    return fiber ? fm__again_count((struct fm_fiber *)fiber) : 0;
}
