#include <errno.h>
#include <fm/fm.h>
#include <stdatomic.h>
#include <stdio.h>

#include "virtual.h"

#define MINUTE INT64_C(60000000000)

struct syncing {
    struct fm_map *tasks;
    struct fm_schedule *every;
    atomic_int started; /* by this many callers */
    int rounds;
};

static struct fm_exit sync_once(void *arg)
{
    struct syncing *syncing = arg;
    syncing->rounds++;
    return fm_ok(NULL);
}

static struct fm_exit sync_for_ever(void *arg)
{
    struct syncing *syncing = arg;
    struct fm_exit exit;
    int r = fm_repeat(sync_once, syncing, syncing->every, &exit);
    return r < 0 ? fm_fail(r) : exit;
}

/* Whoever needs it sees to it that it runs; looking first and then running would be a race. */
static struct fm_exit ensure_sync(void *arg, size_t i)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct syncing *syncing = arg;
    (void)i;
    options.conflict = FM_ONLY_IF_MISSING;
    int r = fm_map_run(syncing->tasks, fm_key_str("periodic-sync"), sync_for_ever, syncing,
                       &options, NULL);
    if (r == 0) /* else FM_MAP_KEPT: nothing started, the argument is still the caller's */
        syncing->started++;
    return r == 0 || r == FM_MAP_KEPT ? fm_ok(NULL) : fm_fail(r < 0 ? r : -EPROTO);
}

static struct fm_exit program(void *arg)
{
    struct syncing syncing = { .every = fm_schedule_fixed_ns(MINUTE) };
    struct fm_exit asked = { 0 };
    if (!syncing.every)
        return fm_fail(-ENOMEM);
    int r = fm_map_create(NULL, &syncing.tasks);
    if (r == 0)
        r = fm_for_each(10, 0, ensure_sync, &syncing, &asked); /* ten fibers at once */
    if (r == 0 && asked.kind != FM_SUCCESS)
        r = asked.code;
    if (r == 0)
        r = fm_sleep_ms(5 * 60 * 1000 - 1);
    printf("ten asked, %d started it, %d rounds in five minutes\n", syncing.started,
           syncing.rounds);
    fm_map_destroy(syncing.tasks);
    fm_schedule_unref(syncing.every);
    return r == 0 && syncing.started == 1 && syncing.rounds == 5 ? fm_ok(arg)
                                                                 : fm_fail(-EPROTO);
}

int main(void)
{
    return run_virtually(program, 0);
}
