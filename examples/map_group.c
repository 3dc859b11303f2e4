#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>

#include "virtual.h"

#define SECOND INT64_C(1000000000)

/* Each part needs those before it: a reader of an old link has nothing to read. */
struct part {
    const char *name;
    int64_t fails_after_ms; /* its first incarnation; 0: it does not */
};

static int times_up; /* of all; there is one worker */

static void say(const struct part *part, const char *what)
{
    printf("%2d s  %s %s\n", (int)(fm_now_ns() / SECOND), part->name, what);
}

static int go_down(void *arg, struct fm_exit exit)
{
    say(arg, exit.kind == FM_INTERRUPTED ? "is stopped" : "fails");
    return 0;
}

static struct fm_exit serve(void *arg)
{
    const struct part *part = arg;
    say(part, "is up");
    times_up++;
    fm_ready(); /* the next one may begin */
    int r = fm_defer(go_down, arg);
    if (r < 0)
        return fm_fail(r);
    if (!part->fails_after_ms || fm_fiber_incarnation(fm_fiber_self()) > 0)
        return fm_fail(fm_never());
    r = fm_sleep_ms(part->fails_after_ms);
    return fm_fail(r < 0 ? r : -ECONNRESET);
}

/* One more part of the group, when those before it are up. */
static int begin(struct fm_map *map, struct fm_map_group *group, struct part *part,
                 struct fm_schedule *back_off)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_restart restart = FM_RESTART_INIT;
    struct fm_fiber *fiber;

    restart.type = FM_PERMANENT;
    restart.schedule = back_off;
    options.restart = &restart;
    options.group = group;
    int r = fm_map_run(map, fm_key_str(part->name), serve, part, &options, &fiber);
    if (r < 0)
        return r;
    r = fm_fiber_await_ready(fiber, FM_NEVER);
    fm_fiber_unref(fiber);
    return r;
}

static int run_parts(struct fm_map *map, struct fm_map_group *group)
{
    static struct part parts[] = { { "link", 30000 }, { "reader", 10000 }, { "writer", 0 } };
    struct fm_schedule *back_off = fm_schedule_spaced_ns(SECOND);
    int r = back_off ? 0 : -ENOMEM;

    for (int i = 0; i < 3 && r == 0; i++)
        r = begin(map, group, &parts[i], back_off);
    fm_schedule_unref(back_off); /* each part holds a reference of its own */
    if (r == 0)
        r = fm_sleep_ms(60000);
    if (r == 0)
        r = fm_map_group_stop(group, FM_NEVER);
    return r;
}

static struct fm_exit program(void *arg)
{
    struct fm_map_group_config config = FM_MAP_GROUP_CONFIG_INIT;
    struct fm_map_group *group = NULL;
    struct fm_map *map;

    config.strategy = FM_REST_FOR_ONE;
    config.intensity = 3; /* rounds within a minute; one more ends the group */
    config.period_ns = 60 * SECOND;
    int r = fm_map_create_scoped(NULL, &map);
    if (r < 0)
        return fm_fail(r);
    r = fm_map_group_create(map, &config, &group);
    if (r == 0)
        r = run_parts(map, group);
    if (r == 0 && (fm_map_size(map) != 0 || times_up != 8))
        r = -EPROTO;
    fm_map_group_unref(group);
    return r < 0 ? fm_fail(r) : fm_ok(arg);
}

int main(void)
{
    return run_virtually(program, 1);
}
