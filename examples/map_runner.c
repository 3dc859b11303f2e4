#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>
#include <string.h>

/* The caller is a thread: a request of a web framework, a window's event, main(). */
static struct fm_exit greet(void *name)
{
    return fm_ok(name);
}

static struct fm_exit stay(void *arg)
{
    (void)arg;
    return fm_fail(fm_never());
}

/* One call in place of "make a fiber, tell it where to run, wait for it". */
static bool run_and_join(struct fm_runner *runner, const char *key, const char *result)
{
    struct fm_fiber *fiber;
    struct fm_exit exit;
    if (fm_runner_run(runner, fm_key_str(key), greet, (void *)result, NULL, &fiber) < 0)
        return false;
    int r = fm_fiber_join(fiber, FM_NEVER, &exit); /* the thread sleeps meanwhile */
    bool right = r == 0 && exit.kind == FM_SUCCESS && strcmp(exit.value, result) == 0;
    if (right)
        printf("%s: %s\n", key, (const char *)exit.value);
    fm_fiber_unref(fiber); /* its value is valid until here */
    return right;
}

int main(void)
{
    struct fm_runtime *runtime;
    struct fm_runner *runner = NULL;

    if (fm_runtime_create(NULL, &runtime) < 0)
        return 1;
    int r = fm_runner_create(runtime, NULL, &runner); /* with a map of its own */
    bool right = r == 0 && run_and_join(runner, "task-1", "result-1") &&
                 run_and_join(runner, "task-2", "result-2");

    /* All that a map can do is done with the runner's map. */
    if (right) {
        struct fm_key key = fm_key_str("task-3");
        right = fm_runner_run(runner, key, stay, NULL, NULL, NULL) == 0 &&
                fm_map_has(fm_runner_map(runner), key);
    }
    fm_runner_destroy(runner); /* ends and awaits task-3 */
    fm_runtime_destroy(runtime);
    return !right;
}
