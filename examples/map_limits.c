#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>

#include "virtual.h"

#define SECOND INT64_C(1000000000)

static int leave(void *user, struct fm_exit exit)
{
    printf("%2d s  %s leaves, by %s\n", (int)(fm_now_ns() / SECOND), (const char *)user,
           fm_reason_name(exit.reason));
    return 0;
}

static struct fm_exit session(void *user)
{
    int r = fm_defer(leave, user);
    return fm_fail(r < 0 ? r : fm_never());
}

/* Waits while the map is at a limit. */
static int log_in(struct fm_map *sessions, const char *user)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = FM_KEEP;
    int r = fm_map_run(sessions, fm_key_str(user), session, (void *)user, &options, NULL);
    if (r == 0)
        printf("%2d s  %s is in\n", (int)(fm_now_ns() / SECOND), user);
    return r;
}

static struct fm_exit program(void *arg)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *sessions;
    config.max_live = 2;
    config.max_starts = 3; /* a minute */
    config.interval_ns = 60 * SECOND;
    config.on_excess = FM_EXCESS_EVICT_IDLE; /* for a place; for a start it waits */
    int r = fm_map_create_scoped(&config, &sessions);
    if (r < 0)
        return fm_fail(r);

    log_in(sessions, "ann");
    fm_sleep_ms(1000);
    log_in(sessions, "bob");
    fm_sleep_ms(1000);
    fm_map_touch(sessions, fm_key_str("ann")); /* she does something */
    fm_sleep_ms(1000);
    log_in(sessions, "cem"); /* in the place of bob */
    bool evicted = !fm_map_has(sessions, fm_key_str("bob"));
    fm_sleep_ms(1000);
    fm_map_remove(sessions, fm_key_str("ann"), FM_NEVER); /* she logs out: a place is free */
    log_in(sessions, "dora");                             /* the fourth start in this minute */
    fm_sleep_ms(1000);
    r = fm_map_remove(sessions, fm_key_str("cem"), FM_NEVER);
    return r == 0 && evicted && fm_now_ns() == 61 * SECOND ? fm_ok(arg) : fm_fail(-EPROTO);
}

int main(void)
{
    return run_virtually(program, 0);
}
