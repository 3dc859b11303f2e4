#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>
#include <string.h>

static char story[200];

static void tell(const char *what)
{
    strcat(story, what);
    strcat(story, "; ");
}

static int open_pool(void *name, void **ret_pool)
{
    tell("pool opened");
    *ret_pool = name;
    return 0;
}

static int close_pool(void *pool, struct fm_exit exit)
{
    (void)pool, (void)exit;
    tell("pool closed");
    return 0;
}

static int say_goodbye(void *what, struct fm_exit exit)
{
    (void)exit;
    tell(what);
    return 0;
}

static struct fm_exit serve(void *arg)
{
    (void)arg;
    fm_defer(say_goodbye, (void *)"server gone");
    return fm_fail(fm_never()); /* until its scope interrupts it */
}

static struct fm_exit fail_soon(void *arg)
{
    (void)arg;
    fm_sleep_ms(5);
    return fm_fail(-EIO);
}

static struct fm_exit program(void *arg)
{
    struct fm_scope *scope;
    void *pool;

    /* the first child that fails takes its siblings, and then the scope, with it */
    if (fm_scope_open_with(FM_SCOPE_FAIL_FAST, &scope) < 0)
        return fm_fail(-ENOMEM);
    int r = fm_acquire(open_pool, (void *)"pool", close_pool, &pool);
    if (r == 0)
        r = fm_fiber_spawn(serve, pool, NULL, NULL);
    if (r == 0)
        r = fm_fiber_spawn(fail_soon, pool, NULL, NULL);
    if (r == 0)
        r = fm_scope_wait(FM_NEVER); /* for both children */
    struct fm_exit exit = fm_scope_close(scope, r < 0 ? fm_fail(r) : fm_ok(arg));
    tell("scope closed");

    printf("%s\n", story);
    bool told = strcmp(story, "pool opened; server gone; pool closed; scope closed; ") == 0;
    return told && exit.kind == FM_FAILURE && exit.code == -EIO ? fm_ok(arg) : fm_fail(-EPROTO);
}

int main(void)
{
    struct fm_exit exit;
    return fm_run(program, NULL, &exit) < 0 || exit.kind != FM_SUCCESS;
}
