#include <fm/fm.h>
#include <stdio.h>

#define HOUR_NS INT64_C(3600000000000)

/* The code under test: looks every ten minutes, and gives up after an hour. */
static struct fm_exit look_for_an_hour(void *arg)
{
    int *looks = arg;
    int64_t end = fm_after_ns(HOUR_NS);
    for (;;) {
        ++*looks;
        int r = fm_sleep_ns(HOUR_NS / 6);
        if (r < 0)
            return fm_fail(r);
        if (fm_now_ns() >= end)
            return fm_ok(looks);
    }
}

int main(void)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_fiber *looker;
    struct fm_exit exit;
    int64_t next_ns = 0;
    int looks = 0;

    config.clock = FM_CLOCK_VIRTUAL;
    if (fm_runtime_create(&config, &runtime) < 0)
        return 1;
    fm_runtime_spawn(runtime, look_for_an_hour, &looks, NULL, &looker);

    fm_clock_advance_ns(runtime, HOUR_NS / 2); /* returns when all is quiet at half past */
    bool half = looks == 4 && fm_fiber_poll(looker, NULL) < 0;
    fm_clock_next_ns(runtime, &next_ns); /* the next instant at which anything happens */
    bool next = next_ns == HOUR_NS / 6 * 4;
    fm_clock_set_ns(runtime, HOUR_NS);
    bool done = fm_fiber_join(looker, FM_NEVER, &exit) == 0 && exit.kind == FM_SUCCESS;

    printf("an hour later: %d looks\n", looks);
    fm_fiber_unref(looker);
    fm_runtime_destroy(runtime);
    return !(half && next && done && looks == 6);
}
