#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>
#include <stdlib.h>

struct connection {
    const char *user;
    int number;
    int beats;
};

/* However its fiber ends: replaced, removed, closed, or by itself. */
static int hang_up(void *arg, struct fm_exit exit)
{
    struct connection *c = arg;
    printf("%s: connection %d ends after %d beats, by %s\n", c->user, c->number, c->beats,
           fm_reason_name(exit.reason));
    free(c);
    return 0;
}

static struct fm_exit serve(void *arg)
{
    struct connection *c = arg;
    int r = fm_defer(hang_up, c);
    if (r < 0) {
        free(c);
        return fm_fail(r);
    }
    for (;;) {
        r = fm_sleep_ms(30000); /* a heartbeat every half minute */
        if (r < 0)
            return fm_fail(r);
        c->beats++;
    }
}

/* A user has one connection: a new one takes the place of the old. */
static int connect_user(struct fm_map *online, const char *user, int number)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct connection *c = malloc(sizeof *c);
    if (!c)
        return -ENOMEM;
    *c = (struct connection) { user, number, 0 };
    options.arg_drop = free; /* called if serve never runs */
    int r = fm_map_run(online, fm_key_str(user), serve, c, &options, NULL);
    if (r < 0)
        free(c); /* refused: it is still ours */
    return r;
}

static struct fm_exit program(void *arg)
{
    struct fm_map *online;
    struct fm_close_report report;
    int r = fm_map_create_scoped(NULL, &online);
    if (r < 0)
        return fm_fail(r);

    connect_user(online, "ann", 1);
    connect_user(online, "bob", 2);
    fm_sleep_ms(100000);
    r = connect_user(online, "ann", 3); /* from her telephone */
    fm_sleep_ms(100000);
    printf("ann: %s; %zu users online\n", r == FM_MAP_REPLACED ? "one connection" : "?",
           fm_map_size(online));

    fm_map_remove(online, fm_key_str("bob"), FM_NEVER); /* returns when he has hung up */
    printf("bob: %s\n", fm_map_has(online, fm_key_str("bob")) ? "online" : "offline");

    r = fm_map_close(online, NULL, &report);
    if (r < 0)
        return fm_fail(r);
    printf("closed: %zu awaited, %zu failed\n", report.awaited, report.failed);
    fm_close_report_fini(&report);
    return fm_ok(arg);
}

int main(void)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_fiber *fiber;
    struct fm_exit exit = { 0 };

    config.clock = FM_CLOCK_VIRTUAL;
    if (fm_runtime_create(&config, &runtime) < 0)
        return 1;
    int r = fm_runtime_spawn(runtime, program, NULL, NULL, &fiber);
    if (r == 0) {
        fm_clock_advance_ns(runtime, INT64_C(3600000000000));
        r = fm_fiber_poll(fiber, &exit);
        fm_fiber_unref(fiber);
    }
    fm_runtime_destroy(runtime);
    return r < 0 || exit.kind != FM_SUCCESS;
}
