#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>

/* A tenant is a fiber under its name, with a map of workers of its own. */
struct tenant {
    const char *name;
    struct fm_map *workers;
};

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

/* The workers end with their tenant; later ones are refused. */
static int close_workers(void *arg, struct fm_exit exit)
{
    struct tenant *tenant = arg;
    (void)exit;
    int r = fm_map_close(tenant->workers, NULL, NULL);
    printf("%s closes\n", tenant->name);
    return r;
}

static struct fm_exit live(void *arg)
{
    int r = fm_defer(close_workers, arg);
    return fm_fail(r < 0 ? r : fm_never());
}

/* The map is there before the fiber is, and goes after it: nobody meets one that has gone. */
static int open_tenant(struct fm_map *tenants, struct tenant *tenant)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    int r = fm_map_create(NULL, &tenant->workers);
    options.conflict = FM_FAIL;
    if (r == 0)
        r = fm_map_run(tenants, fm_key_str(tenant->name), live, tenant, &options, NULL);
    return r;
}

static int add_worker(struct tenant *tenant, struct worker *worker)
{
    return fm_map_run(tenant->workers, fm_key_str(worker->name), work, worker, NULL, NULL);
}

static int run_tenants(struct fm_map *tenants, struct tenant *acme, struct tenant *zeta)
{
    static struct worker mail = { "mail", 20 };
    static struct worker index = { "index", 10 };
    static struct worker backup = { "backup", 0 };

    int r = open_tenant(tenants, acme);
    if (r == 0)
        r = open_tenant(tenants, zeta);
    if (r < 0)
        return r;
    add_worker(acme, &mail);
    add_worker(acme, &index);
    add_worker(zeta, &backup);
    fm_sleep_ms(1000);

    r = fm_map_remove(tenants, fm_key_str("acme"), FM_NEVER); /* its workers, then it */
    int late = add_worker(acme, &mail);
    printf("%zu tenant left; a worker for acme: %s\n", fm_map_size(tenants), fm_strerror(late));
    return r == 0 && late == -ESHUTDOWN && fm_map_size(tenants) == 1 ? 0 : -EPROTO;
}

static struct fm_exit program(void *arg)
{
    struct tenant acme = { "acme", NULL };
    struct tenant zeta = { "zeta", NULL };
    struct fm_map *tenants;
    int r = fm_map_create(NULL, &tenants);
    if (r < 0)
        return fm_fail(r);
    r = run_tenants(tenants, &acme, &zeta);
    fm_map_destroy(tenants); /* closes it: each tenant closes its own */
    fm_map_destroy(acme.workers);
    fm_map_destroy(zeta.workers);
    return r < 0 ? fm_fail(r) : fm_ok(arg);
}

int main(void)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_fiber *fiber;
    struct fm_exit exit = { 0 };

    config.clock = FM_CLOCK_VIRTUAL;
    if (fm_runtime_create(&config, &runtime) < 0)
        return 1;
    int r = fm_runtime_spawn(runtime, program, NULL, NULL, &fiber);
    if (r == 0) {
        fm_clock_advance_ns(runtime, INT64_C(3600000000000));
        r = fm_fiber_poll(fiber, &exit);
        fm_fiber_unref(fiber);
    }
    fm_runtime_destroy(runtime);
    return r < 0 || exit.kind != FM_SUCCESS;
}
