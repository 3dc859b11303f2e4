#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>

#define MINUTE INT64_C(60000000000)

struct harness {
    struct fm_runtime *runtime;
    struct fm_map *running;
};

/* A fixture: a server that is up after two seconds, and down when it is stopped. */
struct server {
    int requests;
    bool up;
};

static int go_down(void *arg, struct fm_exit exit)
{
    struct server *server = arg;
    (void)exit;
    server->up = false;
    return 0;
}

static struct fm_exit run_server(void *arg)
{
    struct server *server = arg;
    int r = fm_defer(go_down, server);
    if (r == 0)
        r = fm_sleep_ms(2000);
    if (r < 0)
        return fm_fail(r);
    server->up = true;
    fm_ready(); /* whoever waits for it may go on */
    return fm_fail(fm_never());
}

/* The code under test: asks every ten minutes. */
static struct fm_exit poll_server(void *arg)
{
    struct server *server = arg;
    for (;;) {
        if (!server->up)
            return fm_fail(-ECONNREFUSED);
        server->requests++;
        int r = fm_sleep_ms(600000);
        if (r < 0)
            return fm_fail(r);
    }
}

/* Start something under a name, let it come up, and say whether it has. */
static int start(struct harness *h, const char *name, fm_entry_fn *entry, void *arg)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    options.conflict = FM_FAIL; /* the same name twice is a mistake of the test */
    int r = fm_map_run(h->running, fm_key_str(name), entry, arg, &options, &fiber);
    if (r < 0)
        return r;
    fm_clock_advance_ns(h->runtime, MINUTE); /* returns when all is quiet at that time */
    r = fm_fiber_await_ready(fiber, 0);
    fm_fiber_unref(fiber);
    return r;
}

static int check(const char *what, bool holds)
{
    printf("%s: %s\n", what, holds ? "yes" : "NO");
    return holds ? 0 : 1;
}

/* The test is a thread; all the rest runs in fibers, on a clock that the test moves. */
static int test_polls_until_the_server_goes(struct harness *h)
{
    struct server server = { 0 };
    struct fm_exit exit;
    struct fm_fiber *fiber;

    int failed = check("the server comes up", start(h, "server", run_server, &server) == 0);
    fm_map_run(h->running, fm_key_str("poller"), poll_server, &server, NULL, &fiber);
    fm_clock_advance_ns(h->runtime, 55 * MINUTE);
    failed += check("an hour: six requests", server.requests == 6);

    failed += check("the server stops",
                    fm_map_remove(h->running, fm_key_str("server"), FM_NEVER) == 0 &&
                        !server.up);
    fm_clock_advance_ns(h->runtime, 10 * MINUTE);
    failed += check("then the poller fails", fm_fiber_poll(fiber, &exit) == 0 &&
                                                 exit.kind == FM_FAILURE &&
                                                 exit.code == -ECONNREFUSED);
    fm_fiber_unref(fiber);
    failed += check("nothing is left", fm_map_clear(h->running, FM_NEVER) == 0 &&
                                           fm_map_count(h->running, FM_MEMBER_LIVE) == 0);
    return failed;
}

int main(void)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_map_config map_config = FM_MAP_CONFIG_INIT;
    struct harness h = { 0 };
    int failed = 1;

    config.clock = FM_CLOCK_VIRTUAL;
    if (fm_runtime_create(&config, &h.runtime) < 0)
        return 1;
    map_config.runtime = h.runtime; /* the map of a thread says whose fibers it runs */
    if (fm_map_create(&map_config, &h.running) == 0)
        failed = test_polls_until_the_server_goes(&h);
    fm_map_destroy(h.running); /* whatever the test has left */
    fm_runtime_destroy(h.runtime);
    return failed;
}
