/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map_history.c - a history of random calls from fibers and threads, as long as wanted
 *
 *     map_history --operations=20000 --keys=16 --clients=8 --foreign=2 --output=history.jsonl
 *     history_check history.jsonl
 */
#include <getopt.h>
#include <pthread.h>
#include <sched.h>

#include "tests/stress/history.h"

static struct fm_exit fiber_plays(void *arg)
{
    history_play(arg);
    return fm_ok(NULL);
}

static void *thread_plays(void *arg)
{
    history_play(arg);
    return NULL;
}

static void close_meanwhile(struct history *h)
{
    uint64_t all = h->operations * (h->clients + h->foreign);
    uint64_t when = stress_random(&h->client[h->clients + h->foreign].random) % (all + 1);
    struct timespec moment = { .tv_nsec = 20000 };
    while (atomic_load(&h->done) < when)
        nanosleep(&moment, NULL);
    history_close(h);
}

static void run_clients(struct history *h)
{
    struct fm_fiber *fibers[CLIENTS_MAX];
    pthread_t threads[CLIENTS_MAX];

    for (uint32_t i = 0; i < h->clients; i++)
        STRESS_CHECK(fm_runtime_spawn(h->runtime, fiber_plays, &h->client[i], NULL,
                                      &fibers[i]) == 0,
                     "spawn");
    for (uint32_t i = 0; i < h->foreign; i++)
        STRESS_CHECK(pthread_create(&threads[i], NULL, thread_plays,
                                    &h->client[h->clients + i]) == 0,
                     "thread");
    if (h->close)
        close_meanwhile(h);
    for (uint32_t i = 0; i < h->clients; i++) {
        STRESS_CHECK(fm_fiber_join(fibers[i], FM_NEVER, NULL) == 0, "join");
        fm_fiber_unref(fibers[i]);
    }
    for (uint32_t i = 0; i < h->foreign; i++)
        pthread_join(threads[i], NULL);
    history_close(h);
    history_end(h);
}

static void give_way(void)
{
    sched_yield();
}

static uint32_t number(const char *text)
{
    return (uint32_t)strtoul(text, NULL, 0);
}

static bool read_options(struct history *h, uint64_t *operations, const char **path, int count,
                         char *words[])
{
    static const struct option options[] = {
        { "keys", 1, NULL, 'k' },       { "clients", 1, NULL, 'c' },
        { "workers", 1, NULL, 'w' },    { "foreign", 1, NULL, 'f' },
        { "seed", 1, NULL, 's' },       { "output", 1, NULL, 'o' },
        { "operations", 1, NULL, 'n' }, { "close", 0, NULL, 'x' },
        { "watched", 0, NULL, 'a' },    { "hot", 1, NULL, 'h' },
        { "retains", 0, NULL, 'r' },    { NULL, 0, NULL, 0 },
    };
    int option;
    while ((option = getopt_long(count, words, "", options, NULL)) >= 0) {
        switch (option) {
        case 'k': h->keys = number(optarg); break;
        case 'c': h->clients = number(optarg); break;
        case 'w': h->workers = number(optarg); break;
        case 'f': h->foreign = number(optarg); break;
        case 's': setenv("FM_SEED", optarg, 1); break;
        case 'o': *path = optarg; break;
        case 'n': *operations = strtoull(optarg, NULL, 0); break;
        case 'x': h->close = true; break;
        case 'h': h->hot = number(optarg); break;
        case 'a': h->watched = true; break;
        case 'r': h->retains = true; break;
        default: return false;
        }
    }
    return optind == count && h->keys && h->hot && h->clients + h->foreign &&
           h->clients < CLIENTS_MAX / 2 && h->foreign < CLIENTS_MAX / 2;
}

static void write_all(const struct history *h, const char *path)
{
    char title[160];
    FILE *out = path ? fopen(path, "we") : stdout;
    STRESS_CHECK(out, "cannot write %s", path);
    snprintf(title, sizeof title,
             "FM_SEED=0x%" PRIx64
             " keys=%u clients=%u foreign=%u workers=%u operations=%" PRIu64 "%s%s%s",
             stress_seed(), h->keys, h->clients, h->foreign, h->workers, h->operations,
             h->close ? " close" : "", h->watched ? " watched" : "",
             h->retains ? " retains" : "");
    history_write(h, out, title);
    if (path)
        fclose(out);
}

int main(int count, char *words[])
{
    static struct history h = { .keys = 16,
                                .hot = 2,
                                .clients = 8,
                                .foreign = 2,
                                .workers = 2,
                                .rare = 2,
                                .pause = give_way };
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    uint64_t operations = 20000;
    const char *path = NULL;

    if (!read_options(&h, &operations, &path, count, words)) {
        fprintf(stderr,
                "map_history [--keys=N] [--hot=N] [--clients=N] [--foreign=N] [--workers=N] "
                "[--operations=N] [--seed=N]"
                " [--output=FILE] [--close] [--watched] [--retains]\n");
        return 2;
    }
    uint64_t random = stress_seed();
    h.operations = operations / (h.clients + h.foreign) + 1;
    config.worker_count = h.workers;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    STRESS_CHECK(fm_runtime_create(&config, &h.runtime) == 0, "runtime_create");
    history_init(&h, &random);
    run_clients(&h);
    history_resolve(&h);
    fm_map_destroy(h.map);
    fm_runtime_destroy(h.runtime);
    write_all(&h, path);
    history_fini(&h);
    return 0;
}
