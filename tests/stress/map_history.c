/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map_history.c - random calls on a map, and the history of them for a linearizability checker
 *
 *     map_history --operations=20000 --keys=16 --clients=8 --foreign=2 --output=history.jsonl
 *     history_check.py history.jsonl
 *
 * One JSON object a line, an operation each; call_ns and return_ns are CLOCK_MONOTONIC before and after the call. Each client
 * records into memory of its own, all is written at the end: a shared log would order what it watches.
 *
 * What a call does not tell stands as null: whom a run displaced (but 0 where the key was free), whom an interrupt signalled,
 * whether an exit took its entry out. An exit lies between the end of the fiber's last finalizer and the moment that somebody saw the
 * fiber ended; a set of a fiber that had ended has an exit of its own within the set. A fiber that was not started has an
 * id that no fiber can have.
 */
#include <errno.h>
#include <fm/fm.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "tests/support/stress.h"

enum { OWNED_MAX = 48, STEPS_MAX = 2, CLIENTS_MAX = 256, KEY_BYTES = 16 };
#define NOT_STARTED (UINT64_C(1) << 52)

enum op {
    RUN,
    RUN_MISSING,
    SET,
    GET,
    HAS,
    INTERRUPT,
    REMOVE,
    DETACH,
    EXIT,
    GONE,
    CLEAR,
    CLOSE,
    STEP,
    BODY
};
static const char *const op_names[] = { "run",       "run_missing", "set",    "get",  "has",
                                        "interrupt", "remove",      "detach", "exit", "gone",
                                        "clear",     "close",       "step",   "body" };

enum result { UNKNOWN, NUMBER, TRUTH, CLOSED, FAILED };

struct record {
    int64_t call_ns, return_ns;
    uint64_t arg, number;
    int32_t key; /* -1: none */
    uint8_t op, result;
};

/* What a fiber tells of itself; lives as long as the program. */
struct told {
    uint64_t kind; /* what its body does, random */
    int64_t begin_ns;
    _Atomic int64_t end_ns; /* 0: not yet, or it has never run */
    int64_t step_begin_ns[STEPS_MAX], step_end_ns[STEPS_MAX];
    int steps;
    bool noted;
};

/* A fiber under a key, not yet seen ended. */
struct owned {
    struct fm_fiber *fiber;
    struct told *told;
    int32_t key;
    int64_t since_ns;
};

struct client {
    struct history *history;
    uint32_t number;
    uint64_t random;
    struct record *records;
    size_t count, room;
    struct told *told;
    size_t told_count;
    struct owned owned[OWNED_MAX];
    int owned_count;
};

struct history {
    struct fm_map *map;
    struct fm_runtime *runtime;
    uint32_t keys, clients, foreign, workers;
    uint64_t operations; /* of one client */
    bool close;
    char (*names)[KEY_BYTES];
    _Atomic uint64_t not_started;
    _Atomic uint64_t done; /* operations of all */
    struct client *client;
};

/* ---- recording ---- */

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static struct record *note(struct client *c, enum op op, int32_t key, uint64_t arg,
                           int64_t call_ns, int64_t return_ns)
{
    STRESS_CHECK(c->count < c->room, "the buffer of client %u is full", c->number);
    struct record *record = &c->records[c->count++];
    *record = (struct record) {
        .call_ns = call_ns, .return_ns = return_ns, .arg = arg, .key = key, .op = (uint8_t)op
    };
    return record;
}

static void note_number(struct record *record, uint64_t number)
{
    record->result = NUMBER;
    record->number = number;
}

static void note_truth(struct record *record, bool truth)
{
    record->result = TRUTH;
    record->number = truth;
}

/* ---- bodies ---- */

static int told_end(void *arg, struct fm_exit exit)
{
    struct told *told = arg;
    atomic_store(&told->end_ns, now_ns());
    return 0;
}

static bool step(struct told *told)
{
    int64_t begin_ns = now_ns();
    if (fm_check() < 0)
        return false;
    int at = told->steps < STEPS_MAX ? told->steps++
                                     : STEPS_MAX - 1; /* the first ones, and the last */
    told->step_begin_ns[at] = begin_ns;
    told->step_end_ns[at] = now_ns();
    return true;
}

static struct fm_exit body(void *arg)
{
    struct told *told = arg;
    told->begin_ns = now_ns();
    if (fm_defer(told_end, told) < 0)
        return fm_fail(-ENOMEM);
    bool goes_on = step(told);
    switch (told->kind % 3) {
    case 0: break;
    case 1:
        for (uint64_t i = told->kind / 3 % 24; i && goes_on; i--) {
            fm_yield();
            goes_on = step(told);
        }
        break;
    default: fm_never(); break;
    }
    return fm_ok(NULL);
}

/* ---- the fibers of a client ---- */

static struct told *new_told(struct client *c)
{
    struct told *told = &c->told[c->told_count];
    told->kind = stress_random(&c->random) >> 8;
    return told;
}

static void own(struct client *c, struct fm_fiber *fiber, struct told *told, int32_t key,
                int64_t since_ns)
{
    c->owned[c->owned_count++] = (struct owned) { fiber, told, key, since_ns };
}

/* It has been seen ended: write down its exit from this key, and what it told, and forget it. */
static void note_end(struct client *c, int index)
{
    struct owned *owned = &c->owned[index];
    struct told *told = owned->told;
    int64_t now = now_ns(), from_ns = atomic_load(&told->end_ns);
    uint64_t id = fm_fiber_id(owned->fiber);

    note(c, EXIT, owned->key, id, from_ns > owned->since_ns ? from_ns : owned->since_ns, now);
    note(c, GONE, owned->key, id, now, now);
    if (from_ns && !told->noted) {
        told->noted = true;
        note(c, BODY, owned->key, id, told->begin_ns, from_ns);
        for (int i = 0; i < told->steps; i++)
            note(c, STEP, owned->key, id, told->step_begin_ns[i], told->step_end_ns[i]);
    }
    fm_fiber_unref(owned->fiber);
    *owned = c->owned[--c->owned_count];
}

/* Look after what has ended; with `all`, end and await the rest. */
static void reap(struct client *c, bool all)
{
    for (int i = c->owned_count; i-- > 0;) {
        struct fm_fiber *fiber = c->owned[i].fiber;
        if (all)
            STRESS_CHECK(fm_fiber_stop(fiber, FM_NEVER, NULL) == 0, "stop");
        if (fm_fiber_poll(fiber, NULL) == 0)
            note_end(c, i);
    }
}

/* ---- operations ---- */

static struct fm_key key_at(struct client *c, int32_t key)
{
    return fm_key_str(c->history->names[key]);
}

static uint64_t id_not_started(struct client *c)
{
    return NOT_STARTED + atomic_fetch_add(&c->history->not_started, 1);
}

static void do_run(struct client *c, int32_t key, bool missing)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct fm_fiber *fiber = NULL;
    struct told *told = new_told(c);

    options.conflict = missing ? FM_KEEP : FM_REPLACE;
    int64_t call_ns = now_ns();
    int r = fm_map_run(c->history->map, key_at(c, key), body, told, &options, &fiber);
    int64_t return_ns = now_ns();
    bool started = r == 0 || r == FM_MAP_REPLACED;
    uint64_t id = started ? fm_fiber_id(fiber) : id_not_started(c);
    struct record *record = note(c, missing ? RUN_MISSING : RUN, key, id, call_ns, return_ns);
    STRESS_CHECK(r == 0 || r == (missing ? FM_MAP_KEPT : FM_MAP_REPLACED) || r == -ESHUTDOWN ||
                     r == -ENOMEM,
                 "run: %d", r);
    if (r == -ESHUTDOWN)
        record->result = CLOSED;
    else if (r < 0)
        record->result = FAILED;
    else if (missing)
        note_number(record, fm_fiber_id(fiber));
    else if (r == 0)
        note_number(record, 0);
    if (started) {
        c->told_count++;
        own(c, fiber, told, key, call_ns);
    } else {
        fm_fiber_unref(fiber);
    }
}

static void do_set(struct client *c, int32_t key)
{
    struct fm_fiber *fiber;
    struct told *told;

    if (c->owned_count && stress_random(&c->random) % 4) {
        struct owned *owned = &c->owned[stress_random(&c->random) % (uint64_t)c->owned_count];
        fiber = fm_fiber_ref(owned->fiber);
        told = owned->told;
    } else {
        told = new_told(c);
        int r = fm_runtime_spawn(c->history->runtime, body, told, NULL, &fiber);
        STRESS_CHECK(r == 0, "spawn: %d", r);
        c->told_count++;
    }
    int64_t call_ns = now_ns();
    int r = fm_map_set(c->history->map, key_at(c, key), fiber, NULL);
    struct record *record = note(c, SET, key, fm_fiber_id(fiber), call_ns, now_ns());
    STRESS_CHECK(r == 0 || r == FM_MAP_REPLACED || r == FM_MAP_SAME || r == -ESHUTDOWN,
                 "set: %d", r);
    if (r == 0)
        note_number(record, 0);
    else if (r == -ESHUTDOWN)
        record->result = CLOSED;
    own(c, fiber, told, key, call_ns);
}

static void do_get(struct client *c, int32_t key)
{
    struct fm_fiber *fiber = NULL;
    int64_t call_ns = now_ns();
    int r = fm_map_get(c->history->map, key_at(c, key), &fiber);
    int64_t return_ns = now_ns();
    STRESS_CHECK(r == 0 || r == -ENOENT, "get: %d", r);
    note_number(note(c, GET, key, 0, call_ns, return_ns), fm_fiber_id(fiber));
    fm_fiber_unref(fiber);
}

static void do_detach(struct client *c, int32_t key)
{
    struct fm_fiber *fiber = NULL;
    int64_t call_ns = now_ns();
    int r = fm_map_detach(c->history->map, key_at(c, key), &fiber);
    int64_t return_ns = now_ns();
    STRESS_CHECK(r == 0 || r == -ENOENT, "detach: %d", r);
    note_number(note(c, DETACH, key, 0, call_ns, return_ns), fm_fiber_id(fiber));
    if (fiber)
        fm_fiber_interrupt(fiber); /* nobody else may ever end it */
    fm_fiber_unref(fiber);
}

static void do_has(struct client *c, int32_t key)
{
    int64_t call_ns = now_ns();
    bool has = fm_map_has(c->history->map, key_at(c, key));
    note_truth(note(c, HAS, key, 0, call_ns, now_ns()), has);
}

static void do_interrupt(struct client *c, int32_t key)
{
    int64_t call_ns = now_ns();
    int r = fm_map_interrupt(c->history->map, key_at(c, key));
    struct record *record = note(c, INTERRUPT, key, 0, call_ns, now_ns());
    STRESS_CHECK(r == 0 || r == -ENOENT, "interrupt: %d", r);
    if (r == -ENOENT)
        note_number(record, 0);
}

static void do_remove(struct client *c, int32_t key)
{
    int64_t call_ns = now_ns();
    int r = fm_map_remove(c->history->map, key_at(c, key), FM_NEVER);
    STRESS_CHECK(r == 0 || r == -ENOENT, "remove: %d", r);
    note_truth(note(c, REMOVE, key, 0, call_ns, now_ns()), r == 0);
}

static void do_clear(struct client *c)
{
    int64_t call_ns = now_ns();
    int r = fm_map_clear(c->history->map, FM_NEVER);
    STRESS_CHECK(r == 0, "clear: %d", r);
    note(c, CLEAR, -1, 0, call_ns, now_ns());
}

static void do_close(struct client *c)
{
    int64_t call_ns = now_ns();
    int r = fm_map_close(c->history->map, NULL, NULL);
    STRESS_CHECK(r == 0, "close: %d", r);
    note(c, CLOSE, -1, 0, call_ns, now_ns());
}

static void operate(struct client *c)
{
    uint64_t draw = stress_random(&c->random) >> 11;
    uint32_t keys = c->history->keys, hot = keys < 2 ? keys : 2;
    int32_t key = (int32_t)(draw % 2 ? (draw >> 1) % hot : (draw >> 1) % keys);
    uint64_t kind = stress_random(&c->random) >> 11;

    if (c->owned_count > OWNED_MAX - 2)
        reap(c, true);
    if (kind % 1000 == 0) {
        do_clear(c);
        return;
    }
    kind = kind / 1000 % 100;
    if (kind < 22)
        do_get(c, key);
    else if (kind < 32)
        do_has(c, key);
    else if (kind < 52)
        do_run(c, key, false);
    else if (kind < 72)
        do_run(c, key, true);
    else if (kind < 80)
        do_set(c, key);
    else if (kind < 87)
        do_interrupt(c, key);
    else if (kind < 97)
        do_remove(c, key);
    else
        do_detach(c, key);
}

static void play(struct client *c)
{
    for (uint64_t i = 0; i < c->history->operations; i++) {
        stress_jitter(&c->random);
        operate(c);
        if (i % 3 == 0)
            reap(c, false);
        if (fm_fiber_self() && stress_random(&c->random) % 4 == 0)
            fm_yield();
        atomic_fetch_add(&c->history->done, 1);
    }
}

static struct fm_exit fiber_plays(void *arg)
{
    play(arg);
    return fm_ok(NULL);
}

static void *thread_plays(void *arg)
{
    play(arg);
    return NULL;
}

/* ---- writing ---- */

static void write_record(FILE *out, const struct history *h, const struct client *c,
                         const struct record *record)
{
    fprintf(out, "{\"client\":%u,\"op\":\"%s\"", c->number, op_names[record->op]);
    if (record->key >= 0)
        fprintf(out, ",\"key\":\"%s\"", h->names[record->key]);
    if (record->arg)
        fprintf(out, ",\"arg\":%" PRIu64, record->arg);
    switch ((enum result)record->result) {
    case UNKNOWN: break;
    case NUMBER: fprintf(out, ",\"result\":%" PRIu64, record->number); break;
    case TRUTH: fprintf(out, ",\"result\":%s", record->number ? "true" : "false"); break;
    case CLOSED: fputs(",\"result\":\"closed\"", out); break;
    case FAILED: fputs(",\"result\":\"failed\"", out); break;
    }
    fprintf(out, ",\"call_ns\":%" PRId64 ",\"return_ns\":%" PRId64 "}\n", record->call_ns,
            record->return_ns);
}

static void write_history(const struct history *h, uint32_t clients, const char *path)
{
    FILE *out = path ? fopen(path, "we") : stdout;
    STRESS_CHECK(out, "cannot write %s", path);
    fprintf(out,
            "# FM_SEED=0x%" PRIx64
            " keys=%u clients=%u foreign=%u workers=%u operations=%" PRIu64 "%s\n",
            stress_seed(), h->keys, h->clients, h->foreign, h->workers, h->operations,
            h->close ? " close" : "");
    for (uint32_t i = 0; i < clients; i++) {
        for (size_t j = 0; j < h->client[i].count; j++)
            write_record(out, h, &h->client[i], &h->client[i].records[j]);
    }
    STRESS_CHECK(fflush(out) == 0 && !ferror(out), "writing the history");
    if (path)
        fclose(out);
}

/* ---- all together ---- */

static void client_init(struct history *h, uint32_t number, uint64_t *random)
{
    struct client *c = &h->client[number];
    c->history = h;
    c->number = number;
    c->random = stress_random(random);
    c->room = h->operations * (4 + STEPS_MAX) + 16; /* itself, exit, gone, body, steps */
    c->records = malloc(c->room * sizeof *c->records);
    c->told = calloc(h->operations + 1, sizeof *c->told);
    STRESS_CHECK(c->records && c->told, "no memory");
    memset(c->records, 0,
           c->room * sizeof *c->records); /* touched now, not between two clock readings */
}

static void run_clients(struct history *h, struct client *closer)
{
    struct fm_fiber *fibers[CLIENTS_MAX];
    pthread_t threads[CLIENTS_MAX];
    uint64_t all = h->operations * (h->clients + h->foreign);

    for (uint32_t i = 0; i < h->clients; i++)
        STRESS_CHECK(fm_runtime_spawn(h->runtime, fiber_plays, &h->client[i], NULL,
                                      &fibers[i]) == 0,
                     "spawn");
    for (uint32_t i = 0; i < h->foreign; i++)
        STRESS_CHECK(pthread_create(&threads[i], NULL, thread_plays,
                                    &h->client[h->clients + i]) == 0,
                     "thread");
    if (h->close) {
        uint64_t when = stress_random(&closer->random) % (all + 1);
        struct timespec moment = { .tv_nsec = 20000 };
        while (atomic_load(&h->done) < when)
            nanosleep(&moment, NULL);
        do_close(closer);
    }
    for (uint32_t i = 0; i < h->clients; i++) {
        STRESS_CHECK(fm_fiber_join(fibers[i], FM_NEVER, NULL) == 0, "join");
        fm_fiber_unref(fibers[i]);
    }
    for (uint32_t i = 0; i < h->foreign; i++)
        pthread_join(threads[i], NULL);
    do_close(closer);
    for (uint32_t i = 0; i < h->clients + h->foreign; i++)
        reap(&h->client[i], true);
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
        { NULL, 0, NULL, 0 },
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
        default: return false;
        }
    }
    return optind == count && h->keys && h->clients + h->foreign &&
           h->clients < CLIENTS_MAX / 2 && h->foreign < CLIENTS_MAX / 2;
}

int main(int count, char *words[])
{
    static struct history h = { .keys = 16, .clients = 8, .foreign = 2, .workers = 2 };
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_map_config map_config = FM_MAP_CONFIG_INIT;
    uint64_t operations = 20000;
    const char *path = NULL;

    if (!read_options(&h, &operations, &path, count, words)) {
        fprintf(stderr, "map_history [--keys=N] [--clients=N] [--foreign=N] [--workers=N] "
                        "[--operations=N] [--seed=N]"
                        " [--output=FILE] [--close]\n");
        return 2;
    }
    uint32_t clients = h.clients + h.foreign + 1; /* and the closer */
    uint64_t random = stress_seed();
    h.operations = operations / (clients - 1) + 1;
    h.names = calloc(h.keys, sizeof *h.names);
    h.client = calloc(clients, sizeof *h.client);
    STRESS_CHECK(h.names && h.client, "no memory");
    for (uint32_t i = 0; i < h.keys; i++)
        snprintf(h.names[i], sizeof *h.names, "k%u", i);
    for (uint32_t i = 0; i < clients; i++)
        client_init(&h, i, &random);

    config.worker_count = h.workers;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    STRESS_CHECK(fm_runtime_create(&config, &h.runtime) == 0, "runtime_create");
    map_config.runtime = h.runtime;
    STRESS_CHECK(fm_map_create(&map_config, &h.map) == 0, "map_create");
    run_clients(&h, &h.client[clients - 1]);
    fm_map_destroy(h.map);
    fm_runtime_destroy(h.runtime);

    write_history(&h, clients, path);
    for (uint32_t i = 0; i < clients; i++) {
        free(h.client[i].records);
        free(h.client[i].told);
    }
    free(h.client);
    free(h.names);
    return 0;
}
