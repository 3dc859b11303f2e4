#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>

#include "virtual.h"

struct task {
    const char *name;
    int64_t ms;
};

/* However the task ends: by itself, or because its map closes. */
static int say_goodbye(void *arg, struct fm_exit exit)
{
    const struct task *task = arg;
    printf("%s ends: %s\n", task->name,
           exit.kind == FM_SUCCESS ? "done" : fm_reason_name(exit.reason));
    return 0;
}

static struct fm_exit work(void *arg)
{
    const struct task *task = arg;
    int r = fm_defer(say_goodbye, arg);
    if (r == 0)
        r = fm_sleep_ms(task->ms);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static struct fm_exit program(void *arg)
{
    static struct task tasks[] = { { "task-1", 100 }, { "task-2", 60000 } };
    struct fm_map *map;

    int r = fm_map_create_scoped(NULL, &map); /* closes when this body ends */
    for (int i = 0; i < 2 && r == 0; i++)
        r = fm_map_run(map, fm_key_str(tasks[i].name), work, &tasks[i], NULL, NULL);
    if (r < 0)
        return fm_fail(r);

    size_t before = fm_map_size(map);
    fm_sleep_ms(200);
    size_t after = fm_map_size(map); /* who has ended is not there any more */
    printf("%zu fibers, then %zu\n", before, after);
    return before == 2 && after == 1 ? fm_ok(arg) : fm_fail(-EPROTO);
}

int main(void)
{
    return run_virtually(program, 0);
}
