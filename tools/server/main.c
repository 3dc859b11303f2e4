/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - fibermap-serve: start, wait for a signal, drain
 *
 *   exit code 0   drained after SIGTERM or SIGINT
 *             1   could not start, could not go on, or something did not end in time
 *             64  wrong options
 *             128 + number of the second signal, at once
 *
 * The signals are blocked before there is another thread, so that they wait for the main
 * thread's sigwait and nobody else, also when they come early.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/server/events.h"
#include "tools/server/jobs.h"
#include "tools/server/listen.h"
#include "tools/server/options.h"
#include "tools/server/results.h"
#include "tools/server/server.h"
#include "tools/server/users.h"

static void die(const char *what, int r)
{
    fprintf(stderr, "fibermap-serve: %s: %s\n", what, fm_strerror(r));
    exit(1);
}

/* ---- signals ---- */

static sigset_t signals;

static void signals_block(void)
{
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void *second_signal_entry(void *arg)
{
    int number = SIGTERM;
    sigwait(&signals, &number);
    _exit(128 + number);
}

/* From here on a second signal ends the process at once. */
static void second_signal_watch(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, second_signal_entry, NULL) == 0)
        pthread_detach(thread);
}

/* ---- start ---- */

/* Libraries read files and want deep stacks at their first use: here, and not on a fiber. */
static void libraries_init(void)
{
    tzset();
    OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG | OPENSSL_INIT_ADD_ALL_DIGESTS, NULL);
}

static struct fm_map *map_create(struct server *server, const char *name)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    config.runtime = server->runtime;
    config.name = name;
    struct fm_map *map;
    int r = fm_map_create(&config, &map);
    if (r < 0)
        die("cannot create a map", r);
    return map;
}

static void server_init(struct server *server)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    config.worker_count = server->options.workers;
    int r = fm_runtime_create(&config, &server->runtime);
    if (r < 0)
        die("cannot start the runtime", r);
    server->connections = map_create(server, "connections");
    server->hellos = map_create(server, "hellos");
    r = jobs_create(server->runtime, server->options.max_jobs, &server->jobs);
    if (r < 0)
        die("cannot create a map", r);
    r = users_create(server->runtime, &server->options, &server->users);
    if (r == 0)
        r = results_create(server->options.max_results, &server->results);
    if (r == 0)
        r = events_create(&server->events);
    if (r < 0)
        die("cannot start", r);
}

static void server_fini(struct server *server)
{
    server->jobs = fm_map_destroy(server->jobs);
    server->users = users_destroy(server->users);
    server->connections = fm_map_destroy(server->connections);
    server->hellos = fm_map_destroy(server->hellos);
    server->runtime = fm_runtime_destroy(server->runtime);
    server->results = results_destroy(server->results);
    server->events = events_destroy(server->events);
}

static void announce(const struct options *options, unsigned port)
{
    bool six = strchr(options->address, ':');
    char url[128];
    snprintf(url, sizeof url, "http://%s%s%s:%u", six ? "[" : "", options->address,
             six ? "]" : "", port);
    printf("fibermap-serve: listening on %s\n"
           "  curl %s/\n"
           "  curl -d '{\"key\": \"nap\", \"kind\": \"sleep\", \"ms\": 60000}' %s/api/process\n"
           "  curl %s/api/status/nap\n"
           "  curl -X DELETE %s/api/cancel/nap\n"
           "  curl %s/api/fibers\n"
           "  curl -d 'hello' %s/api/send/ann      # for whoever opens ws%s/ws/ann\n",
           url, url, url, url, url, url, url, url + 4);
    fflush(stdout);
}

/* ---- the end ---- */

/* The keys of connections are their numbers, all others text. */
static void print_key(struct fm_key key, bool numbered)
{
    uint64_t number;
    if (numbered && key.len == sizeof number) {
        memcpy(&number, key.data, sizeof number);
        fprintf(stderr, " %llu", (unsigned long long)number);
    } else {
        fprintf(stderr, " %.*s", (int)key.len, (const char *)key.data);
    }
}

/* Interrupt and await all members of a map, say how it went: how many did not end in time. */
static size_t drain_map(struct server *server, struct fm_map *map, const char *name,
                        int64_t grace_ns, int64_t deadline_ns)
{
    struct fm_close_policy policy = FM_CLOSE_POLICY_INIT;
    policy.kind = grace_ns ? FM_CLOSE_CANCEL_AFTER : FM_CLOSE_CANCEL;
    policy.grace_ns = grace_ns;
    policy.deadline_ns = deadline_ns;
    struct fm_close_report report;
    int r = fm_map_close(map, &policy, &report);
    if (r < 0 && r != -ETIMEDOUT) {
        fprintf(stderr, "fibermap-serve: cannot close the %s: %s\n", name, fm_strerror(r));
        return 1;
    }
    fprintf(stderr, "fibermap-serve: %s: %zu ended, %zu of them failed, %zu stuck", name,
            report.awaited, report.failed, report.stuck);
    for (size_t i = 0; i < report.stuck_count; i++)
        print_key(report.stuck_members[i].key, map == server->connections);
    fputc('\n', stderr);
    size_t stuck = report.stuck;
    fm_close_report_fini(&report);
    return stuck;
}

/* Nothing is left running: 0 · -ETIMEDOUT */
static int drain(struct server *server, struct listener *listener)
{
    atomic_store_explicit(&server->draining, true, memory_order_relaxed);
    listener_stop(listener);
    int64_t grace_ns = (int64_t)server->options.grace_ms * 1000000;
    int64_t deadline_ns = fm_after_ms((int64_t)server->options.grace_ms +
                                      server->options.drain_ms);
    size_t stuck = drain_map(server, server->jobs, "jobs", grace_ns, deadline_ns);
    stuck += drain_map(server, users_map(server->users), "users", 0, deadline_ns);
    stuck += drain_map(server, server->connections, "connections", 0, deadline_ns);
    return stuck ? -ETIMEDOUT : fm_runtime_shutdown(server->runtime, deadline_ns);
}

int main(int argc, char *argv[])
{
    static struct server server;
    options_read(&server.options, argc, argv);
    signals_block();
    libraries_init();
    server_init(&server);
    struct listener *listener;
    unsigned port;
    int r = listener_start(&server, &listener, &port);
    if (r < 0) {
        fprintf(stderr, "fibermap-serve: cannot listen on %s port %u: %s\n",
                server.options.address, server.options.port, fm_strerror(r));
        server_fini(&server);
        return 1;
    }
    announce(&server.options, port);

    int number = 0;
    sigwait(&signals, &number);
    second_signal_watch();
    fprintf(stderr, "fibermap-serve: %s, draining\n", strsignal(number));
    r = drain(&server, listener);
    if (r < 0) {
        fprintf(stderr, "fibermap-serve: not all has ended: %s\n", fm_strerror(r));
        _exit(1);
    }
    bool failed = listener_failed(listener);
    listener_destroy(listener);
    server_fini(&server);
    fprintf(stderr, "fibermap-serve: drained\n");
    return failed ? 1 : 0;
}
