#include <fm/fm.h>
#include <stdio.h>

static struct fm_exit greet(void *name)
{
    int r = fm_sleep_ms(10);
    if (r < 0)
        return fm_fail(r); /* replaced, removed, or the map has closed */
    printf("hello from the %s\n", (const char *)name);
    return fm_ok(NULL);
}

static struct fm_exit program(void *arg)
{
    struct fm_map *map;
    int r = fm_map_create_scoped(NULL, &map); /* closes at the end of this body */
    if (r < 0)
        return fm_fail(r);
    fm_map_run(map, fm_key_str("user-1"), greet, (void *)"first", NULL, NULL);
    fm_map_run(map, fm_key_str("user-1"), greet, (void *)"second", NULL, NULL); /* takes its place */
    r = fm_map_await_empty(map, FM_NEVER);
    return r < 0 ? fm_fail(r) : fm_ok(arg);
}

int main(void)
{
    return fm_run(program, NULL, NULL) < 0;
}
