/*
 * repeat.c - run a body again as a schedule says
 *
 * Owns        the run of the schedule, on the caller's stack.
 * Knows not   how delays come about (schedule_run.c).
 *
 * The body finds its run by the scope that each execution has: the innermost scope with a note.
 * A thread has no scopes, but it also stays the same thread, so a thread-local does.
 */
#include <errno.h>

#include "fm/flow.h"
#include "runtime/fiber/scope.h"
#include "runtime/platform/clock.h"

static __thread const struct fm_schedule_run *of_thread;

static struct fm_exit execute(struct fm_fiber *self, fm_entry_fn *entry, void *arg,
                              const struct fm_schedule_run *run)
{
    FM_ASSERT(entry && run);
    if (self)
        return fm__scoped(self, entry, arg, run);
    const struct fm_schedule_run *outer = of_thread;
    of_thread = run;
    struct fm_exit exit = entry(arg);
    of_thread = outer;
    return exit;
}

static int sleep_until(struct fm_fiber *self, int64_t time_ns)
{
    FM_ASSERT(time_ns >= 0);
    struct wait wait;

    if (self)
        return fm_sleep_until_ns(time_ns);
    if (time_ns <= fm_now_ns())
        return 0;
    int r = fm__wait_begin(&wait, 0, "schedule");
    if (r < 0)
        return r;
    r = fm__wake_result(fm__wait_end(wait, time_ns));
    return r == -ETIMEDOUT ? 0 : r;
}

/* Again while it ends so. */
static int again_while(enum fm_exit_kind kind, fm_entry_fn *entry, void *arg,
                       struct fm_schedule *schedule, struct fm_exit *ret_exit)
{
    FM_ASSERT(kind == FM_SUCCESS || kind == FM_FAILURE);
    struct fm_schedule_run run;
    struct fm_exit exit;
    int64_t delay_ns;

    if (!entry || !schedule)
        return -EINVAL;
    if (fm_check() < 0)
        return -ECANCELED;
    struct fm_fiber *self = fm__fiber_self();
    int r = fm_schedule_run_init(&run, schedule);
    if (r < 0)
        return r;
    for (;;) {
        exit = execute(self, entry, arg, &run);
        if (exit.kind != kind || fm_schedule_next(&run, exit, &delay_ns) == FM_SCHEDULE_DONE)
            break;
        r = sleep_until(self, fm__time_add(run.info.step_ns, delay_ns));
        if (r < 0)
            break;
    }
    fm_schedule_run_fini(&run);
    if (r == 0 && ret_exit)
        *ret_exit = exit;
    return r;
}

int fm_repeat(fm_entry_fn *entry, void *arg, struct fm_schedule *schedule,
              struct fm_exit *ret_exit)
{
    return again_while(FM_SUCCESS, entry, arg, schedule, ret_exit);
}

int fm_retry(fm_entry_fn *entry, void *arg, struct fm_schedule *schedule,
             struct fm_exit *ret_exit)
{
    return again_while(FM_FAILURE, entry, arg, schedule, ret_exit);
}

int fm_schedule_current(struct fm_schedule_info *ret_info)
{
    if (!ret_info)
        return -EINVAL;
    struct fm_fiber *self = fm__fiber_self();
    const struct fm_schedule_run *run = self ? fm__scope_note(self) : of_thread;
    if (!run)
        return -ENOENT;
    *ret_info = run->info;
    return 0;
}
