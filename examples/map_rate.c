#include <errno.h>
#include <fm/fm.h>
#include <stdatomic.h>
#include <stdio.h>

#include "virtual.h"

#define SECOND INT64_C(1000000000)

/* What all requests share. */
struct api {
    struct fm_map *requests;
    struct fm_rate_limiter *starts;  /* two each second */
    struct fm_semaphore *concurrent; /* three at a time */
    atomic_int calls;
    int64_t begun_ns[6]; /* when each call has begun */
};

struct request {
    struct api *api;
    const char *name;
};

/* It takes two seconds. */
static struct fm_exit call(void *arg)
{
    const struct request *request = arg;
    int r = fm_rate_limiter_acquire(request->api->starts, 1, FM_NEVER);
    if (r < 0)
        return fm_fail(r);
    int64_t now_ns = fm_now_ns();
    request->api->begun_ns[request->api->calls++] = now_ns;
    printf("%.1f s  %s\n", (double)now_ns / SECOND, request->name);
    r = fm_sleep_ms(2000);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

/* Under its key from the beginning: it can be found, and stopped, while it waits its turn. */
static struct fm_exit call_in_turn(void *arg)
{
    const struct request *request = arg;
    struct fm_exit exit;
    int r = fm_semaphore_with(request->api->concurrent, 1, call, arg, FM_NEVER, &exit);
    return r < 0 ? fm_fail(r) : exit;
}

static int make_requests(struct api *api)
{
    static struct request requests[6];
    static const char *const names[6] = {
        "first", "second", "third", "fourth", "fifth", "sixth"
    };
    for (int i = 0; i < 6; i++) {
        requests[i] = (struct request) { api, names[i] };
        int r = fm_map_run(api->requests, fm_key_str(names[i]), call_in_turn, &requests[i],
                           NULL, NULL);
        if (r < 0)
            return r;
        fm_sleep_ms(10); /* they come one after the other */
    }
    int r = fm_map_remove(api->requests, fm_key_str("fifth"), FM_NEVER);
    if (r == 0)
        printf("fifth goes; it has used nothing\n");
    if (r == 0)
        r = fm_map_await_empty(api->requests, FM_NEVER);
    /* the third waits for the rate, the fourth for one that has ended */
    const int64_t *at = api->begun_ns;
    bool in_turn = at[2] - at[0] >= SECOND / 2 && at[3] - at[0] >= 2 * SECOND;
    return r == 0 && (api->calls != 5 || !in_turn) ? -EPROTO : r;
}

static struct fm_exit program(void *arg)
{
    struct fm_rate_limiter_config config = FM_RATE_LIMITER_CONFIG_INIT;
    struct api api = { 0 };

    config.limit = 2;
    config.interval_ns = SECOND;
    int r = fm_rate_limiter_create(&config, &api.starts);
    if (r == 0)
        r = fm_semaphore_create(3, &api.concurrent);
    if (r == 0)
        r = fm_map_create(NULL, &api.requests);
    if (r == 0)
        r = make_requests(&api);
    fm_map_destroy(api.requests); /* before what its fibers use */
    fm_semaphore_destroy(api.concurrent);
    fm_rate_limiter_destroy(api.starts);
    return r < 0 ? fm_fail(r) : fm_ok(arg);
}

int main(void)
{
    return run_virtually(program, 0);
}
