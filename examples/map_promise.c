#include <fm/fm.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

static struct fm_exit look_up(void *host)
{
    int r = fm_sleep_ms(10);
    if (r < 0)
        return fm_fail(r);
    printf("looked up %s\n", (const char *)host);
    return fm_ok((void *)"192.0.2.7");
}

/* The program's own loop, which knows descriptors and no fibers. */
static int loop(struct fm_promise *promise)
{
    struct pollfd event = { fm_promise_eventfd(promise), POLLIN, 0 };
    struct fm_exit exit;
    if (event.fd < 0 || poll(&event, 1, 10000) != 1)
        return -1;
    int r = fm_promise_poll(promise, &exit);
    if (r < 0 || exit.kind != FM_SUCCESS)
        return -1;
    printf("the loop has %s\n", (const char *)exit.value);
    return strcmp(exit.value, "192.0.2.7") == 0 ? 0 : -1;
}

int main(void)
{
    struct fm_runtime *runtime;
    struct fm_runner *runner = NULL;
    struct fm_promise *promise = NULL;

    if (fm_runtime_create(NULL, &runtime) < 0)
        return 1;
    int r = fm_runner_create(runtime, NULL, &runner);
    if (r == 0)
        r = fm_runner_promise(runner, fm_key_str("example.org"), look_up, (void *)"example.org",
                              NULL, &promise);
    if (r >= 0)
        r = loop(promise);
    fm_promise_unref(promise);
    fm_runner_destroy(runner); /* ends and awaits what runs under its keys */
    fm_runtime_destroy(runtime);
    return r < 0;
}
