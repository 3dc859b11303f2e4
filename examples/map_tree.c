#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>

#include "virtual.h"

/*
 * A tenant is a fiber under its name, with a map of workers of its own. Its workers have ended
 * when this is printed.
 */
static int close_tenant(void *name, struct fm_exit exit)
{
    (void)exit;
    printf("%s closes\n", (const char *)name);
    return 0;
}

static struct fm_exit live(void *name)
{
    int r = fm_defer(close_tenant, name);
    return fm_fail(r < 0 ? r : fm_never());
}

static int open_tenant(struct fm_map *tenants, const char *name)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.own_map = 1; /* it may have a map of its own */
    options.conflict = FM_FAIL;
    return fm_map_run(tenants, fm_key_str(name), live, (void *)name, &options, NULL);
}

struct worker {
    const char *name;
    int64_t goodbye_ms; /* what it takes to stop */
};

static int say_goodbye(void *arg, struct fm_exit exit)
{
    const struct worker *worker = arg;
    fm_sleep_ms(worker->goodbye_ms); /* a finalizer may wait */
    printf("  %s stops, by %s\n", worker->name, fm_reason_name(exit.reason));
    return 0;
}

static struct fm_exit work(void *arg)
{
    int r = fm_defer(say_goodbye, arg);
    return fm_fail(r < 0 ? r : fm_never());
}

/* In the tenant's map, which is made for the first worker. */
static int add_worker(struct fm_map *tenants, const char *tenant, struct worker *worker)
{
    struct fm_map *workers;
    int r = fm_map_child(tenants, fm_key_str(tenant), NULL, FM_NEVER, &workers);
    if (r < 0)
        return r;
    r = fm_map_run(workers, fm_key_str(worker->name), work, worker, NULL, NULL);
    fm_map_unref(workers); /* it is the tenant's, who closes it; this lets go of it */
    return r;
}

static int run_tenants(struct fm_map *tenants)
{
    static struct worker mail = { "mail", 20 };
    static struct worker index = { "index", 10 };
    static struct worker backup = { "backup", 0 };

    int r = open_tenant(tenants, "acme");
    if (r == 0)
        r = open_tenant(tenants, "zeta");
    if (r < 0)
        return r;
    add_worker(tenants, "acme", &mail);
    add_worker(tenants, "acme", &index);
    add_worker(tenants, "zeta", &backup);
    fm_sleep_ms(1000);

    r = fm_map_remove(tenants, fm_key_str("acme"), FM_NEVER); /* its workers, then it */
    int late = add_worker(tenants, "acme", &mail);
    printf("%zu tenant left; a worker for acme: %s\n", fm_map_size(tenants), fm_strerror(late));
    return r == 0 && late == -ENOENT && fm_map_size(tenants) == 1 ? 0 : -EPROTO;
}

static struct fm_exit program(void *arg)
{
    struct fm_map *tenants;
    int r = fm_map_create(NULL, &tenants);
    if (r < 0)
        return fm_fail(r);
    r = run_tenants(tenants);
    fm_map_destroy(tenants); /* ends each tenant, and so all that is below it */
    return r < 0 ? fm_fail(r) : fm_ok(arg);
}

int main(void)
{
    return run_virtually(program, 0);
}
