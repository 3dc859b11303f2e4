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

#include "tools/server/auth.h"
#include "tools/server/drain.h"
#include "tools/server/events.h"
#include "tools/server/jobs.h"
#include "tools/server/listen.h"
#include "tools/server/log.h"
#include "tools/server/options.h"
#include "tools/server/rates.h"
#include "tools/server/results.h"
#include "tools/server/server.h"
#include "tools/server/systemd.h"
#include "tools/server/tls.h"
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

static void say_cannot_listen(const struct server *server, int r)
{
    const struct options *options = &server->options;
    const char *reason =
        r == -ENOKEY && !server->auth
            ? "without --token-file on loopback and sockets of this machine only"
            : fm_strerror(r);
    if (server->inherited_fd >= 0)
        fprintf(stderr,
                "fibermap-serve: cannot listen on the socket that was handed over: %s\n",
                reason);
    else if (options->unix_path)
        fprintf(stderr, "fibermap-serve: cannot listen on %s: %s\n", options->unix_path,
                reason);
    else
        fprintf(stderr, "fibermap-serve: cannot listen on %s port %u: %s\n", options->address,
                options->port, reason);
}

/* Who may ask, how often, and what is written down of it. */
static void policies_init(struct server *server)
{
    const struct options *options = &server->options;
    int r = options->token_file ? auth_read(options->token_file, &server->auth) : 0;
    if (r < 0)
        die(r == -EINVAL ? "no token of 16 to 200 characters in the file's first line"
                         : "cannot read the token",
            r);
    if (!server->auth && !auth_is_loopback(options->address)) {
        fprintf(stderr,
                "fibermap-serve: cannot listen on %s without --token-file: it is not "
                "loopback\n",
                options->address);
        exit(1);
    }
    const char *key_file = options->tls_key ? options->tls_key : options->tls_cert;
    r = options->tls_cert ? tls_create(options->tls_cert, key_file, &server->tls) : 0;
    if (r < 0)
        die("cannot read certificate and key", r);
    unsigned burst = options->rate_burst ? options->rate_burst : options->rate;
    r = options->rate ? rates_create(options->rate, burst, &server->rates) : 0;
    if (r < 0)
        die("cannot start", r);
    r = options->log ? log_open(options->log, &server->log) : 0;
    if (r < 0)
        die("cannot open the log", r);
}

static void server_init(struct server *server)
{
    policies_init(server);
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    config.worker_count = server->options.workers;
    int r = fm_runtime_create(&config, &server->runtime);
    if (r < 0)
        die("cannot start the runtime", r);
    server->connections = map_create(server, "connections");
    server->tunnels = map_create(server, "tunnels");
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
    server->tunnels = fm_map_destroy(server->tunnels);
    server->hellos = fm_map_destroy(server->hellos);
    server->runtime = fm_runtime_destroy(server->runtime);
    server->results = results_destroy(server->results);
    server->events = events_destroy(server->events);
    server->rates = rates_destroy(server->rates);
    server->auth = auth_free(server->auth);
    server->tls = tls_destroy(server->tls);
    server->log = log_close(server->log);
}

/* Standard output is the log's alone, where that is kept there. */
static void announce(const struct door *door, const char *log)
{
    const char *url = door->name;
    FILE *out = log && !strcmp(log, "-") ? stderr : stdout;
    fprintf(out, "fibermap-serve: listening on %s\n", url);
    if (door->port)
        fprintf(out,
                "  curl %s/\n"
                "  curl -d '{\"key\": \"nap\", \"kind\": \"sleep\", \"ms\": 60000}' "
                "%s/api/process\n"
                "  curl %s/api/status/nap\n"
                "  curl -X DELETE %s/api/cancel/nap\n"
                "  curl %s/api/fibers\n"
                "  curl -d 'hello' %s/api/send/ann      # for whoever opens ws%s/ws/ann\n",
                url, url, url, url, url, url, url + 4);
    else
        fprintf(out, "  curl --unix-socket %s http://localhost/\n", url + strlen("unix:"));
    fflush(out);
}

int main(int argc, char *argv[])
{
    static struct server server;
    options_read(&server.options, argc, argv);
    signals_block();
    server.inherited_fd = -1;
    int taken = systemd_take_socket(&server.inherited_fd);
    if (taken < 0)
        die("cannot take the socket that was handed over", taken);
    libraries_init();
    server_init(&server);
    struct listener *listener;
    int r = listener_start(&server, &listener);
    if (r < 0) {
        say_cannot_listen(&server, r);
        server_fini(&server);
        return 1;
    }
    const struct door *door = listener_door(listener);
    const struct log_field where[] = {
        { "door", { door->name, strlen(door->name) }, 0 },
        { "port", { NULL, 0 }, door->port },
    };
    log_line(server.log, "listening", where, sizeof where / sizeof where[0]);
    announce(door, server.options.log);
    systemd_notify("READY=1");

    int number = 0;
    sigwait(&signals, &number);
    second_signal_watch();
    fprintf(stderr, "fibermap-serve: %s, draining\n", strsignal(number));
    log_line(server.log, "draining", NULL, 0);
    systemd_notify("STOPPING=1");
    r = drain(&server, listener);
    if (r < 0) {
        fprintf(stderr, "fibermap-serve: not all has ended: %s\n", fm_strerror(r));
        log_flush(server.log);
        _exit(1);
    }
    bool failed = listener_failed(listener);
    listener_destroy(listener);
    server_fini(&server);
    fprintf(stderr, "fibermap-serve: drained\n");
    return failed ? 1 : 0;
}
