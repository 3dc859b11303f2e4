#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>

#include "virtual.h"

#define SECOND INT64_C(1000000000)

/* What each service does: so long does it live, and ends so; then it runs for good. */
struct service {
    const char *name;
    int64_t lives_ms;
    int code;       /* 0: it ends well */
    int times;      /* so often */
    uint32_t type;  /* enum fm_restart_type */
    uint32_t flags; /* FM_MAP_... */
};

static struct fm_exit serve(void *arg)
{
    const struct service *service = arg;
    uint64_t incarnation = fm_fiber_incarnation(fm_fiber_self());
    if (incarnation >= (uint64_t)service->times)
        return fm_fail(fm_never());
    int r = fm_sleep_ms(service->lives_ms);
    if (r == 0)
        r = service->code;
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

/* Is it worth another try? */
static bool may_pass(void *ctx, struct fm_key key, struct fm_exit exit, uint64_t count)
{
    (void)ctx, (void)key, (void)count;
    return exit.code != -EACCES;
}

static void log_restart(void *ctx, struct fm_key key, struct fm_fiber *fiber,
                        struct fm_exit exit)
{
    (void)ctx;
    printf("%5.1f s  %.*s: restart %d after %s\n", (double)fm_now_ns() / SECOND, (int)key.len,
           (const char *)key.data, (int)fm_fiber_incarnation(fiber),
           exit.kind == FM_SUCCESS ? "success" : fm_strerror(exit.code));
}

static void log_exit(void *ctx, struct fm_key key, struct fm_fiber *fiber, struct fm_exit exit)
{
    (void)ctx, (void)fiber;
    printf("%5.1f s  %.*s: ended: %s\n", (double)fm_now_ns() / SECOND, (int)key.len,
           (const char *)key.data,
           exit.reason ? fm_reason_name(exit.reason) : fm_strerror(exit.code));
}

/*
 * The map runs the body again, in the same fiber, under the same key. A body that did so itself,
 * by running its key once more, would replace the fiber that it is, and be interrupted by that.
 */
static int supervise(struct fm_map *pool, const struct service *service,
                     struct fm_schedule *backoff)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_restart restart = FM_RESTART_INIT;
    restart.type = service->type;
    restart.schedule = backoff;
    restart.intensity = 3;           /* restarts ... */
    restart.period_ns = 60 * SECOND; /* ... within a minute */
    restart.should_restart = may_pass;
    options.restart = &restart; /* read by the call */
    options.flags = service->flags;
    options.conflict = FM_FAIL;
    return fm_map_run(pool, fm_key_str(service->name), serve, (void *)service, &options, NULL);
}

static int run_pool(struct fm_map *pool, struct fm_schedule *backoff)
{
    static const struct service services[] = {
        { "database", 300, -ECONNREFUSED, 2, FM_TRANSIENT, 0 },
        { "monitor", 25000, 0, 1, FM_PERMANENT, 0 },
        { "upload", 400, -EACCES, 1, FM_TRANSIENT, FM_MAP_ISOLATE_FAILURE },
        { "parser", 10000, -EPROTO, 99, FM_TRANSIENT, 0 },
    };
    struct fm_exit verdict;
    for (int i = 0; i < 4; i++) {
        int r = supervise(pool, &services[i], backoff);
        if (r < 0)
            return r;
    }
    int r = fm_map_join(pool, FM_NEVER, &verdict); /* until one has failed too often */
    if (r < 0)
        return r;
    printf("the verdict: %s; %zu services run on\n", fm_strerror(verdict.code),
           fm_map_size(pool));
    if (verdict.code != -EPROTO || fm_map_size(pool) != 2)
        return -EPROTO;
    return fm_map_remove(pool, fm_key_str("monitor"), FM_NEVER); /* for good */
}

static struct fm_exit program(void *arg)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_hooks hooks = FM_MAP_HOOKS_INIT;
    struct fm_map *pool;

    struct fm_schedule *backoff = fm_schedule_exponential(SECOND, 2);
    if (!backoff)
        return fm_fail(-ENOMEM);
    hooks.on_restart = log_restart;
    hooks.on_exit = log_exit;
    config.hooks = &hooks;
    int r = fm_map_create_scoped(&config, &pool);
    if (r == 0)
        r = run_pool(pool, backoff);
    fm_schedule_unref(backoff); /* each service holds a reference of its own */
    return r < 0 ? fm_fail(r) : fm_ok(arg);
}

int main(void)
{
    return run_virtually(program, 0);
}
