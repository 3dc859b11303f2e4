#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>
#include <string.h>

#include "virtual.h"

static char story[400];

static void tell(const char *what, struct fm_key key, const char *more)
{
    size_t length = strlen(story);
    snprintf(story + length, sizeof story - length, "%s %.*s%s%s\n", what, (int)key.len,
             (const char *)key.data, *more ? ", by " : "", more);
}

/* The map tells what happens under each of its keys, in the order in which it happens. */
static void on_start(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    (void)ctx, (void)fiber;
    tell("start", key, "");
}

static void on_replace(void *ctx, struct fm_key key, struct fm_fiber *old,
                       struct fm_fiber *fiber)
{
    (void)ctx, (void)old, (void)fiber;
    tell("replace", key, "");
}

static void on_exit_(void *ctx, struct fm_key key, struct fm_fiber *fiber, struct fm_exit exit)
{
    (void)ctx, (void)fiber;
    tell("end", key, exit.kind == FM_INTERRUPTED ? fm_reason_name(exit.reason) : "");
}

static struct fm_exit run_for(void *ms)
{
    int r = fm_sleep_ms(*(const int64_t *)ms);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static int live(struct fm_map *map)
{
    static int64_t short_ms = 100, long_ms = 60000;
    struct fm_map_run_options keep = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_map_run_options fail = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_key a = fm_key_str("a"), b = fm_key_str("b"), c = fm_key_str("c");
    struct fm_fiber *free_fiber;

    keep.conflict = FM_KEEP;
    fail.conflict = FM_FAIL;
    int r = fm_map_run(map, a, run_for, &long_ms, NULL, NULL); /* the key is free */
    if (r == 0)
        r = fm_map_run(map, a, run_for, &long_ms, NULL, NULL); /* takes its place */
    if (r != FM_MAP_REPLACED ||
        fm_map_run(map, a, run_for, &long_ms, &keep, NULL) != FM_MAP_KEPT ||
        fm_map_run(map, a, run_for, &long_ms, &fail, NULL) != -EEXIST)
        return -EPROTO;
    fm_sleep_ms(1); /* the replaced one ends on its own, nobody has waited for it */

    fm_map_run(map, b, run_for, &short_ms, NULL, NULL);
    fm_sleep_ms(200);                /* b has ended, and left */
    fm_map_remove(map, a, FM_NEVER); /* ends, and is awaited */

    /* Out of the map it goes on, and ends with its new owner: here with this scope. */
    fm_map_run(map, c, run_for, &long_ms, NULL, NULL);
    r = fm_map_detach(map, c, &free_fiber);
    if (r < 0)
        return r;
    bool gone = fm_map_size(map) == 0;
    r = fm_map_set(map, b, free_fiber, NULL); /* a fiber that runs already, under another key */
    fm_fiber_unref(free_fiber);
    return gone ? r : -EPROTO;
}

static struct fm_exit program(void *arg)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_hooks hooks = FM_MAP_HOOKS_INIT;
    struct fm_map *map;

    hooks.on_start = on_start;
    hooks.on_replace = on_replace;
    hooks.on_exit = on_exit_;
    config.hooks = &hooks;
    int r = fm_map_create(&config, &map);
    if (r < 0)
        return fm_fail(r);
    r = live(map);
    fm_map_destroy(map); /* ends what is left, and awaits it */

    fputs(story, stdout);
    bool told = strcmp(story, "start a\nreplace a\nstart a\nend a, by replace\n"
                              "start b\nend b\nend a, by remove\n"
                              "start c\nstart b\nend b, by close\n") == 0;
    return r == 0 && told ? fm_ok(arg) : fm_fail(r < 0 ? r : -EPROTO);
}

int main(void)
{
    return run_virtually(program, 0);
}
