#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>

#include "virtual.h"

static struct fm_exit fail_soon(void *arg)
{
    (void)arg;
    int r = fm_sleep_ms(10);
    return fm_fail(r < 0 ? r : -EIO);
}

static struct fm_exit go_on(void *arg)
{
    (void)arg;
    return fm_fail(fm_never());
}

static int run(struct fm_map *map, const char *name, fm_entry_fn *entry, uint32_t flags)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.flags = flags;
    return fm_map_run(map, fm_key_str(name), entry, NULL, &options, NULL);
}

/* Somebody interrupts the fiber itself; the map has no part in it. */
static void interrupt_from_outside(struct fm_map *map, const char *name)
{
    struct fm_fiber *fiber;
    if (fm_map_get(map, fm_key_str(name), &fiber) == 0) {
        fm_fiber_stop(fiber, FM_NEVER, NULL);
        fm_fiber_unref(fiber);
    }
}

/* The map's verdict is its first end that counts. -ETIMEDOUT: there was none for a second. */
static int show_verdict(struct fm_map *map, const char *after, struct fm_exit *ret_exit)
{
    int r = fm_map_join(map, fm_after_s(1), ret_exit);
    printf("%s: %s\n", after,
           r < 0 ? "no verdict"
                 : (ret_exit->kind == FM_FAILURE ? fm_strerror(ret_exit->code)
                                                 : fm_exit_kind_name(ret_exit->kind)));
    return r;
}

/* A failure counts, unless the fiber is isolated. The others are not touched by it. */
static bool failures_count(struct fm_map *map)
{
    struct fm_exit exit = { 0 };
    run(map, "other", go_on, 0);
    run(map, "background", fail_soon, FM_MAP_ISOLATE_FAILURE);
    bool isolated = show_verdict(map, "an isolated failure", &exit) == -ETIMEDOUT;
    run(map, "critical", fail_soon, 0);
    return show_verdict(map, "a failure", &exit) == 0 && exit.code == -EIO && isolated &&
           fm_map_has(map, fm_key_str("other"));
}

/* An interruption counts only where that was asked for, and never if the map itself did it. */
static bool interruptions_count_where_asked(struct fm_map *map)
{
    struct fm_exit exit = { 0 };
    run(map, "background", go_on, 0);
    run(map, "removed", go_on, FM_MAP_PROPAGATE_INTERRUPT);
    run(map, "critical", go_on, FM_MAP_PROPAGATE_INTERRUPT);
    interrupt_from_outside(map, "background");
    fm_map_remove(map, fm_key_str("removed"), FM_NEVER);
    bool silent = show_verdict(map, "interruptions that do not count", &exit) == -ETIMEDOUT;
    interrupt_from_outside(map, "critical");
    return show_verdict(map, "one that does", &exit) == 0 && exit.kind == FM_INTERRUPTED &&
           silent;
}

static struct fm_exit program(void *arg)
{
    struct fm_map *first, *second;
    int r = fm_map_create_scoped(NULL, &first);
    if (r == 0)
        r = fm_map_create_scoped(NULL, &second); /* a map has one verdict in its life */
    if (r < 0)
        return fm_fail(r);
    return failures_count(first) && interruptions_count_where_asked(second) ? fm_ok(arg)
                                                                            : fm_fail(-EPROTO);
}

int main(void)
{
    return run_virtually(program, 0);
}
