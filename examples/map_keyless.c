#include <errno.h>
#include <fm/fm.h>
#include <stdatomic.h>
#include <stdio.h>

#include "virtual.h"

static atomic_int searches;

/* What is typed is looked for when no key has been hit for 300 ms. */
static struct fm_exit search(void *text)
{
    int r = fm_sleep_ms(300);
    if (r < 0)
        return fm_fail(r); /* typed on: the next search stands in this place */
    printf("search for \"%s\"\n", (const char *)text);
    searches++;
    return fm_ok(NULL);
}

static struct fm_exit save(void *arg)
{
    int *saved = arg;
    int r = fm_sleep_ms(500);
    if (r < 0)
        return fm_fail(r);
    ++*saved;
    return fm_ok(NULL);
}

static struct fm_exit program(void *arg)
{
    static const char *const typed[] = { "f", "fi", "fib", "fiber" };
    struct fm_close_policy drain = FM_CLOSE_POLICY_INIT;
    struct fm_handle *searching;
    struct fm_set *saves;
    int saved[4] = { 0 };

    int r = fm_handle_create_scoped(NULL, &searching);
    if (r == 0)
        r = fm_set_create(NULL, &saves);
    if (r < 0)
        return fm_fail(r);
    for (int i = 0; i < 4; i++) {
        fm_handle_run(searching, search, (void *)typed[i], NULL, NULL); /* at most one */
        fm_set_run(saves, save, &saved[i], NULL, NULL);                 /* any number */
        fm_sleep_ms(i == 2 ? 1000 : 100);
    }
    printf("%zu save is under way\n", fm_set_size(saves));
    fm_handle_await_empty(searching, FM_NEVER);

    drain.kind = FM_CLOSE_DRAIN; /* let them end */
    r = fm_set_close(saves, &drain, NULL);
    printf("saved: %d %d %d %d\n", saved[0], saved[1], saved[2], saved[3]);
    fm_set_destroy(saves);
    bool all = saved[0] && saved[1] && saved[2] && saved[3];
    return r == 0 && all && searches == 2 ? fm_ok(arg) : fm_fail(-EPROTO);
}

int main(void)
{
    return run_virtually(program, 0);
}
