#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>

#include "virtual.h"

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
    return run_virtually(program, 0);
}
