#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>

#include "virtual.h"

#define SECOND INT64_C(1000000000)

struct host {
    const char *name;
    int64_t idle_ttl_ns;
};

static void tell(const struct host *host, const char *what)
{
    printf("%2d s  %s %s", (int)(fm_now_ns() / SECOND), host->name, what);
}

static int disconnect(void *host, struct fm_exit exit)
{
    tell(host, "disconnected");
    printf(", by %s\n", fm_reason_name(exit.reason));
    return 0;
}

static struct fm_exit connection(void *arg)
{
    tell(arg, "connected\n");
    int r = fm_defer(disconnect, arg);
    return fm_fail(r < 0 ? r : fm_never());
}

/* The connection to the host: the one that is there, which is used by that, or a new one. */
static int use(struct fm_map *connections, struct host *host)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = FM_KEEP;
    options.flags = FM_MAP_DYING_IS_ABSENT; /* one that disconnects is no use */
    options.idle_ttl_ns = host->idle_ttl_ns;
    int r = fm_map_run(connections, fm_key_str(host->name), connection, host, &options, NULL);
    if (r == FM_MAP_KEPT)
        tell(host, "used again\n");
    return r;
}

static struct fm_exit program(void *arg)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct host mail = { "mail", 0 }, cache = { "cache", 5 * SECOND };
    struct fm_map *connections;
    config.idle_ttl_ns = 30 * SECOND; /* of those who say nothing */
    int r = fm_map_create_scoped(&config, &connections);
    if (r < 0)
        return fm_fail(r);

    use(connections, &mail);
    fm_sleep_ms(1000);
    use(connections, &cache);
    fm_sleep_ms(19000);
    use(connections, &mail);
    use(connections, &cache); /* a new one: it has been idle for too long */
    fm_sleep_ms(4000);
    fm_map_touch(connections, fm_key_str("cache")); /* used, by other means */
    r = fm_map_await_empty(connections, FM_NEVER);
    return r == 0 && fm_now_ns() == 50 * SECOND ? fm_ok(arg) : fm_fail(-EPROTO);
}

int main(void)
{
    return run_virtually(program, 0);
}
