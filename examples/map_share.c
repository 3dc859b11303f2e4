#include <errno.h>
#include <fm/fm.h>
#include <stdatomic.h>
#include <stdio.h>

#include "virtual.h"

static atomic_int begun, stops;

static int stopped(void *url, struct fm_exit exit)
{
    printf("stop %s, by %s\n", (const char *)url, fm_reason_name(exit.reason));
    stops++;
    return 0;
}

/* The request: 200 ms. */
static struct fm_exit fetch(void *url)
{
    printf("GET %s\n", (const char *)url);
    begun++;
    int r = fm_defer_on_interrupt(stopped, url);
    if (r == 0)
        r = fm_sleep_ms(200);
    return r < 0 ? fm_fail(r) : fm_ok((void *)"42 users");
}

struct clients {
    struct fm_map *requests;
    int results[3];
};

static struct fm_exit ask(void *arg, size_t i)
{
    struct clients *clients = arg;
    struct fm_exit exit;
    int r = fm_map_run_wait(clients->requests, fm_key_str("/users"), fetch, (void *)"/users",
                            NULL, FM_NEVER, &exit);
    clients->results[i] = r;
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static struct fm_exit program(void *arg)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct clients clients = { 0 };
    struct fm_exit exit;
    struct fm_map *requests;
    int shared = 0;

    int r = fm_map_create_scoped(NULL, &requests);
    if (r < 0)
        return fm_fail(r);
    clients.requests = requests;

    /* Three at once: one request. */
    r = fm_for_each(3, 0, ask, &clients, NULL);
    if (r < 0)
        return fm_fail(r);
    for (int i = 0; i < 3; i++)
        shared += clients.results[i] == FM_MAP_KEPT;
    printf("%d of 3 shared the request of another\n", shared);

    /* Nobody waits for it any more: it need not go on. */
    options.flags = FM_MAP_STOP_WITH_LAST_WAITER;
    r = fm_map_run_wait(requests, fm_key_str("/slow"), fetch, (void *)"/slow", &options,
                        fm_after_ms(50), &exit);
    fm_sleep_ms(1000);
    printf("/slow: %s\n", fm_strerror(r));
    return r == -ETIMEDOUT && shared == 2 && begun == 2 && stops == 1 ? fm_ok(arg)
                                                                      : fm_fail(-EPROTO);
}

int main(void)
{
    return run_virtually(program, 0);
}
