#include <errno.h>
#include <fm/fm.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virtual.h"

#define SECOND INT64_C(1000000000)

static atomic_int requests;

/* The request: 200 ms. Its answer has to be freed. */
static struct fm_exit fetch(void *url)
{
    requests++;
    int r = fm_sleep_ms(200);
    if (r == 0 && strcmp(url, "/down") == 0)
        r = -EHOSTDOWN;
    if (r < 0)
        return fm_fail(r);
    char *answer = strdup("42 users");
    return answer ? fm_ok(answer) : fm_fail(-ENOMEM);
}

/* Fetched, shared with others who want it now, or what was fetched in the last minutes. */
static int get(struct fm_map *cache, const char *url)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber;
    struct fm_exit exit;
    options.conflict = FM_JOIN;
    options.reuse = FM_REUSE_SUCCESS; /* a failure is tried again */
    options.value_drop = free;
    int how = fm_map_run(cache, fm_key_str(url), fetch, (void *)url, &options, &fiber);
    if (how < 0)
        return how;
    int r = fm_fiber_join(fiber, FM_NEVER, &exit);
    if (r == 0)
        printf("%3d s  %s %s: %s\n", (int)(fm_now_ns() / SECOND), url,
               how == FM_MAP_REUSED ? "kept"
               : how == FM_MAP_KEPT ? "shared"
                                    : "fetched",
               exit.kind == FM_SUCCESS ? (const char *)exit.value : fm_strerror(exit.code));
    fm_fiber_unref(fiber); /* the answer is valid until here */
    return r;
}

static struct fm_exit program(void *arg)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map *cache;
    config.retain_count = 1000;
    config.retain_ns = 300 * SECOND;
    int r = fm_map_create_scoped(&config, &cache);
    if (r < 0)
        return fm_fail(r);

    get(cache, "/users");
    fm_sleep_ms(100000);
    get(cache, "/users");
    fm_map_forget(cache, fm_key_str("/users")); /* they have changed */
    get(cache, "/users");
    fm_sleep_ms(400000);
    get(cache, "/users");
    get(cache, "/down");
    get(cache, "/down");
    return requests == 5 ? fm_ok(arg) : fm_fail(-EPROTO);
}

int main(void)
{
    return run_virtually(program, 0);
}
