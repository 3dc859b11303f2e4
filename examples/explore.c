#include <errno.h>
#include <fm/fm.h>
#include <stdbool.h>
#include <stdio.h>

struct office {
    struct fm_mutex *mutex; /* NULL: who sells does not care who else does */
    int tickets, sold;
};

/* The code under test. */
static void sell(struct office *office)
{
    if (office->mutex)
        fm_mutex_lock(office->mutex, FM_NEVER);
    bool one = office->tickets > 0;
    fm_explore_point("between the look and the sale");
    if (one) {
        office->tickets--;
        office->sold++;
    }
    if (office->mutex)
        fm_mutex_unlock(office->mutex);
}

static struct fm_exit clerk(void *office)
{
    sell(office);
    return fm_ok(NULL);
}

static void window(void *office)
{
    sell(office);
}

/* The test: a fiber and a thread sell one ticket. It begins anew for each schedule. */
static struct fm_exit sell_from_two_sides(void *arg)
{
    struct fm_fiber *fiber;
    int r = fm_explore_thread(window, arg);
    if (r == 0)
        r = fm_fiber_spawn(clerk, arg, NULL, &fiber);
    if (r < 0)
        return fm_fail(r);
    fm_fiber_join(fiber, FM_NEVER, NULL);
    fm_fiber_unref(fiber);
    return fm_ok(NULL);
}

/* Called when fibers and threads have ended. */
static int sold_once(void *arg)
{
    struct office *office = arg;
    return office->sold == 1 && office->tickets == 0 ? 0 : -EPROTO;
}

int main(void)
{
    struct office office = { .tickets = 1 };
    struct fm_explore_options options = FM_EXPLORE_OPTIONS_INIT;
    struct fm_explore_report report, again;

    options.name = "office";
    options.check = sold_once;
    options.schedules = 300;
    int broken = fm_explore(sell_from_two_sides, &office, &options, &report);
    printf("without the mutex: %s\n", fm_explore_kind_name((int)report.kind));

    options.replay = report.replay;
    fm_explore(sell_from_two_sides, &office, &options, &again);
    bool same = again.kind == report.kind && again.trace == report.trace;
    printf("the same schedule: %s\n", same ? "the same trace" : "another trace");

    options.replay = NULL;
    if (fm_mutex_create(&office.mutex) < 0)
        return 1;
    int mended = fm_explore(sell_from_two_sides, &office, &options, &report);
    printf("with it: %s in %d schedules\n", fm_explore_kind_name((int)report.kind),
           (int)report.schedules);
    fm_mutex_destroy(office.mutex);
    return !(broken == FM_EXPLORE_FOUND && same && mended == 0);
}
