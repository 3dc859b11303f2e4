#include <errno.h>
#include <fm/fm.h>
#include <stdatomic.h>
#include <stdio.h>

#include "virtual.h"

static struct fm_map *parts;
static atomic_int complete;

/* Each part of a rollout finds the others there from its first line. */
static struct fm_exit part(void *arg)
{
    complete += fm_map_size(parts) == 3;
    return fm_fail(fm_never());
}

static int roll_out(const char *const names[3])
{
    struct fm_map_run_item runs[3] = { 0 };

    for (int i = 0; i < 3; i++)
        runs[i] = (struct fm_map_run_item) { .key = fm_key_str(names[i]),
                                             .entry = part,
                                             .arg = (void *)names[i] };
    int r = fm_map_run_many(parts, runs, 3, FM_MAP_ALL_OR_NOTHING);
    for (int i = 0; i < 3 && r < 0; i++)
        printf("  %s: %s\n", names[i],
               runs[i].result == -ECANCELED ? "not started" : fm_strerror(runs[i].result));
    fm_sleep_ms(10);
    if (r == 0)
        printf("  %d parts have begun, and each has found all three\n", complete);
    complete = 0;
    return r;
}

static struct fm_exit program(void *arg)
{
    static const char *const blue[] = { "web", "cache", "mail" };
    static const char *const green[] = { "search", "mail", "backup" };
    struct fm_key keys[3];

    int r = fm_map_create(NULL, &parts);
    if (r < 0)
        return fm_fail(r);
    puts("blue");
    int first = roll_out(blue);
    puts("green"); /* wants one of the names of blue: then none of its parts starts */
    int second = roll_out(green);
    printf("%zu parts\n", fm_map_size(parts));
    for (int i = 0; i < 3; i++)
        keys[i] = fm_key_str(blue[i]);
    r = fm_map_remove_many(parts, keys, 3, FM_NEVER); /* they end side by side */
    puts("green");
    int third = roll_out(green);
    fm_map_destroy(parts);
    return r == 0 && first == 0 && second == -EEXIST && third == 0 ? fm_ok(arg)
                                                                   : fm_fail(-EPROTO);
}

int main(void)
{
    return run_virtually(program, 0);
}
