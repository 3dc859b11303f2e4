#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>

#include "virtual.h"

#define SECOND INT64_C(1000000000)

static int take_leave(void *arg, struct fm_exit exit)
{
    (void)arg, (void)exit;
    return fm_sleep_ms(1000); /* ending may take its time */
}

static struct fm_exit work(void *seconds)
{
    int r = fm_defer_on_interrupt(take_leave, NULL);
    if (r == 0)
        r = fm_sleep_ms(*(const int *)seconds * 1000);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

/* What a lookup finds it finds with a reference: the fiber may end, the handle stays valid. */
static bool look_at(struct fm_map *map, const char *name)
{
    struct fm_fiber *fiber;
    struct fm_exit exit;
    if (fm_map_get(map, fm_key_str(name), &fiber) == -ENOENT) {
        printf("%s: nobody\n", name);
        return false;
    }
    printf("%s: a fiber called %s, with an id %s, %s\n", name, fm_fiber_name(fiber),
           fm_fiber_id(fiber) ? "of its own" : "missing",
           fm_fiber_poll(fiber, &exit) == -EAGAIN ? "running" : fm_exit_kind_name(exit.kind));
    fm_fiber_unref(fiber);
    return true;
}

static struct fm_exit program(void *arg)
{
    static int ten = 10, five = 5;
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_map *map;

    int r = fm_map_create_scoped(NULL, &map);
    options.name = "worker"; /* for dumps and traces; keys are for finding */
    if (r == 0)
        r = fm_map_run(map, fm_key_str("task-1"), work, &ten, &options, NULL);
    if (r == 0)
        r = fm_map_run(map, fm_key_str("task-2"), work, &five, &options, NULL);
    if (r < 0)
        return fm_fail(r);

    bool right = fm_map_size(map) == 2 && look_at(map, "task-1") && !look_at(map, "task-3");
    fm_sleep_ms(6000);
    right = right && !fm_map_has(map, fm_key_str("task-2")) && fm_map_size(map) == 1;
    printf("after 6 s: %zu fiber\n", fm_map_size(map));

    /* Asked to end it is still there, until it has ended. */
    fm_map_interrupt(map, fm_key_str("task-1"));
    right = right && fm_map_count(map, FM_MEMBER_ENDING) == 1 && fm_map_size(map) == 1;
    printf("interrupted: %zu ending\n", fm_map_count(map, FM_MEMBER_ENDING));

    r = fm_map_await_empty(map, FM_NEVER);
    printf("after %d s: %zu fibers\n", (int)(fm_now_ns() / SECOND), fm_map_size(map));
    return r == 0 && right && fm_now_ns() == 7 * SECOND ? fm_ok(arg) : fm_fail(-EPROTO);
}

int main(void)
{
    return run_virtually(program, 0);
}
