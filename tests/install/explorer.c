/* SPDX-License-Identifier: Apache-2.0 */
/* explorer.c - a user's test, valid as C11 and as C++17: two fibers under a hundred schedules */
#include <fm/fm.h>
#include <stdio.h>

static struct fm_exit nothing(void *arg)
{
    (void)arg;
    return fm_ok(NULL);
}

static struct fm_exit spawn_and_join(void *arg)
{
    struct fm_fiber *fiber;
    struct fm_exit exit;
    int r = fm_fiber_spawn(nothing, arg, NULL, &fiber);
    if (r < 0)
        return fm_fail(r);
    fm_fiber_join(fiber, FM_NEVER, &exit);
    fm_fiber_unref(fiber);
    return exit;
}

int main(void)
{
    struct fm_explore_options options = FM_EXPLORE_OPTIONS_INIT;
    struct fm_explore_report report;
    options.schedules = 100;
    int r = fm_explore(spawn_and_join, NULL, &options, &report);
    if (r != 0 || report.schedules != 100 || report.distinct < 10) {
        fprintf(stderr, "fm_explore: %d after %d schedules\n", r, (int)report.schedules);
        return 1;
    }
    return 0;
}
