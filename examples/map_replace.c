#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>

static struct fm_exit hold_connection(void *number)
{
    int r;
    do
        r = fm_sleep_ms(1000);
    while (r == 0);
    printf("the %s connection ends\n", (const char *)number);
    return fm_fail(r);
}

static struct fm_exit program(void *arg)
{
    struct fm_key user = fm_key_str("user-123");
    struct fm_fiber *first = NULL, *second = NULL, *found = NULL;
    struct fm_map *connections;
    struct fm_exit exit = { 0 };

    int r = fm_map_create_scoped(NULL, &connections);
    if (r == 0)
        r = fm_map_run(connections, user, hold_connection, (void *)"first", NULL, &first);
    if (r < 0)
        return fm_fail(r);
    fm_sleep_ms(5000);

    /* One step: at no instant does a lookup find none, or both. The old one is interrupted. */
    r = fm_map_run(connections, user, hold_connection, (void *)"second", NULL, &second);
    fm_map_get(connections, user, &found);
    bool replaced = r == FM_MAP_REPLACED && found == second && fm_map_size(connections) == 1;

    /* Nobody has waited for its end; who wants to know how it ended joins it. */
    fm_fiber_join(first, FM_NEVER, &exit);
    printf("it was interrupted, by %s\n", fm_reason_name(exit.reason));
    fm_fiber_unref(first);
    fm_fiber_unref(second);
    fm_fiber_unref(found);
    return replaced && exit.kind == FM_INTERRUPTED && exit.reason == FM_BY_REPLACE
               ? fm_ok(arg)
               : fm_fail(-EPROTO);
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
