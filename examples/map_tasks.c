#include <errno.h>
#include <fm/fm.h>
#include <stdatomic.h>
#include <stdio.h>

#include "virtual.h"

#define SECOND INT64_C(1000000000)

struct task {
    const char *name;
    fm_entry_fn *work;
    struct fm_schedule *every; /* when to do it again */
    struct fm_schedule *retry; /* when to try it again */
    uint32_t flags;            /* FM_MAP_... */
    /* written by its fiber, read by whoever wants to know */
    atomic_int tries, done, last_error;
    _Atomic int64_t last_ns, spent_ns;
};

/* The network is bad: two of three tries fail. */
static struct fm_exit sync_data(void *arg)
{
    const struct task *task = arg;
    return task->tries % 3 != 0 ? fm_fail(-EAGAIN) : fm_ok(NULL);
}

/* All is well, but for the fifth time. */
static struct fm_exit check_health(void *arg)
{
    const struct task *task = arg;
    return task->tries == 5 ? fm_fail(-EIO) : fm_ok(NULL);
}

static struct fm_exit try_once(void *arg)
{
    struct task *task = arg;
    task->tries++;
    struct fm_exit exit = task->work(task);
    if (exit.kind == FM_FAILURE)
        task->last_error = exit.code;
    return exit;
}

static struct fm_exit do_once(void *arg)
{
    struct task *task = arg;
    struct fm_exit exit;
    int64_t begin_ns = fm_now_ns();
    int r = fm_retry(try_once, task, task->retry, &exit);
    if (r < 0)
        return fm_fail(r);
    if (exit.kind == FM_SUCCESS) {
        task->done++;
        task->last_ns = fm_now_ns();
        task->spent_ns += task->last_ns - begin_ns;
    }
    return exit;
}

static struct fm_exit run_task(void *arg)
{
    struct task *task = arg;
    struct fm_exit exit;
    int r = fm_repeat(do_once, task, task->every, &exit);
    return r < 0 ? fm_fail(r) : exit;
}

/* However often it is registered, it runs once. */
static int add_task(struct fm_map *tasks, struct task *task)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = FM_ONLY_IF_MISSING;
    options.flags = task->flags;
    return fm_map_run(tasks, fm_key_str(task->name), run_task, task, &options, NULL);
}

/* Returns when it has ended, so it can be registered again at once. */
static int stop_task(struct fm_map *tasks, struct task *task)
{
    return fm_map_remove(tasks, fm_key_str(task->name), FM_NEVER);
}

static void show(struct fm_map *tasks, const struct task *task)
{
    printf("%s: %d done in %d tries, the last at %d s, %.1f s on average; %s\n", task->name,
           task->done, task->tries, (int)(task->last_ns / SECOND),
           task->done ? (double)task->spent_ns / task->done / SECOND : 0,
           fm_map_has(tasks, fm_key_str(task->name)) ? "running" : "not running");
}

static int orchestrate(struct fm_map *tasks, struct task *sync, struct task *health)
{
    struct fm_exit verdict;
    add_task(tasks, sync);
    add_task(tasks, health);
    if (add_task(tasks, sync) == FM_MAP_KEPT)
        printf("%s: registered already\n", sync->name);

    /* Returns when a task has failed that was not isolated. */
    int r = fm_map_join(tasks, fm_after_s(3600), &verdict);
    if (r < 0)
        return r;
    printf("after %lld s: %s\n", (long long)(fm_now_ns() / SECOND), fm_strerror(verdict.code));
    show(tasks, sync);
    show(tasks, health);

    add_task(tasks, health); /* again: its key is free, and the others have gone on */
    fm_sleep_ms(45000);
    show(tasks, health);
    r = stop_task(tasks, sync);
    if (r == 0)
        r = add_task(tasks, sync);
    fm_sleep_ms(10000);
    show(tasks, sync);
    return r == 0 && sync->done == 4 && health->done == 6 && sync->last_error == -EAGAIN &&
                   health->last_error == -EIO
               ? 0
               : -EPROTO;
}

static struct fm_exit program(void *arg)
{
    struct task sync = {
        .name = "sync",
        .work = sync_data,
        .every = fm_schedule_fixed_ns(60 * SECOND),
        .retry = fm_schedule_intersect(fm_schedule_exponential(SECOND, 2),
                                       fm_schedule_recurs(3)),
        .flags = FM_MAP_ISOLATE_FAILURE,
    };
    struct task health = {
        .name = "health",
        .work = check_health,
        .every = fm_schedule_fixed_ns(30 * SECOND),
        .retry = fm_schedule_recurs(0),
    };
    struct fm_map *tasks = NULL;
    int r = -ENOMEM;
    if (sync.every && sync.retry && health.every && health.retry)
        r = fm_map_create(NULL, &tasks);
    if (r == 0)
        r = orchestrate(tasks, &sync, &health);

    fm_map_destroy(tasks); /* its fibers use what is on this stack: it goes first */
    fm_schedule_unref(sync.every);
    fm_schedule_unref(sync.retry);
    fm_schedule_unref(health.every);
    fm_schedule_unref(health.retry);
    return r < 0 ? fm_fail(r) : fm_ok(arg);
}

int main(void)
{
    return run_virtually(program, 0);
}
