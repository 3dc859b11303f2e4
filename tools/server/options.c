/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.c - what the command line says
 */
#include "tools/server/options.h"

#include <argp.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "fm/base.h"

enum { FIRST_NUMBER = 0x100 }; /* keys from here on are numbers[key - FIRST_NUMBER] */

static const struct options defaults = {
    .address = "127.0.0.1",
    .port = 8080,
    .max_connections = 10000,
    .max_jobs = 100000,
    .max_results = 1024,
    .max_users = 10000,
    .max_queued = 64,
    .head_bytes = 16 << 10,
    .url_bytes = 8 << 10,
    .body_bytes = 1 << 20,
    .stream_mib = 16 << 10,
    .message_bytes = 64 << 10,
    .head_ms = 10000,
    .body_ms = 30000,
    .idle_ms = 60000,
    .send_ms = 30000,
    .ping_ms = 30000,
    .pong_ms = 10000,
    .drain_ms = 10000,
};

#define NUMBER(field, least, most) \
    { \
        offsetof(struct options, field), least, most \
    }
static const struct {
    size_t offset;
    unsigned least, most;
} numbers[] = {
    NUMBER(port, 0, 65535),
    NUMBER(workers, 0, 256),
    NUMBER(max_connections, 1, 1000000),
    NUMBER(max_jobs, 1, 10000000),
    NUMBER(max_results, 1, 1000000),
    NUMBER(max_users, 1, 1000000),
    NUMBER(max_queued, 1, 100000),
    NUMBER(rate, 0, 1000000),
    NUMBER(rate_burst, 0, 1000000),
    NUMBER(head_bytes, 256, 1 << 20),
    NUMBER(url_bytes, 64, 1 << 20),
    NUMBER(body_bytes, 0, 1 << 30),
    NUMBER(stream_mib, 0, 1 << 30),
    NUMBER(message_bytes, 125, 1 << 24),
    NUMBER(queue_ms, 0, 86400000),
    NUMBER(head_ms, 1, 86400000),
    NUMBER(body_ms, 1, 86400000),
    NUMBER(idle_ms, 1, 86400000),
    NUMBER(send_ms, 1, 86400000),
    NUMBER(ping_ms, 1, 86400000),
    NUMBER(pong_ms, 1, 86400000),
    NUMBER(grace_ms, 0, 86400000),
    NUMBER(drain_ms, 1, 86400000),
};

/* in the order of numbers[] above */
enum {
    PORT = FIRST_NUMBER,
    WORKERS,
    MAX_CONNECTIONS,
    MAX_JOBS,
    MAX_RESULTS,
    MAX_USERS,
    MAX_QUEUED,
    RATE,
    RATE_BURST,
    HEAD_BYTES,
    URL_BYTES,
    BODY_BYTES,
    STREAM_MIB,
    MESSAGE_BYTES,
    QUEUE_MS,
    HEAD_MS,
    BODY_MS,
    IDLE_MS,
    SEND_MS,
    PING_MS,
    PONG_MS,
    GRACE_MS,
    DRAIN_MS,
};

static const struct argp_option table[] = {
    { "address", 'a', "ADDRESS", 0, "Listen here (127.0.0.1)", 1 },
    { "port", 'p', "PORT", 0, "and on this port; 0 takes a free one and prints it (8080)", 1 },
    { "unix", 'u', "PATH", 0, "Listen on this socket in place of address and port", 1 },
    { "tls-cert", 'c', "FILE", 0, "Speak TLS, with this chain of certificates, in PEM", 1 },
    { "tls-key", 'k', "FILE", 0, "and this key (it stands in the same file)", 1 },
    { "token-file", 't', "FILE", 0,
      "Answer only to bearers of the token in its first line; without, listen on loopback only",
      1 },
    { "log", 'l', "FILE", 0, "One line of JSON for each request; - is standard output", 1 },
    { "workers", 'w', "N", 0, "Worker threads (as many as the machine offers)", 1 },
    { "max-connections", MAX_CONNECTIONS, "N", 0, "Connections at once; more wait (10000)", 2 },
    { "max-jobs", MAX_JOBS, "N", 0, "Jobs at once; more are refused (100000)", 2 },
    { "results", MAX_RESULTS, "N", 0, "Keys whose last result is kept (1024)", 2 },
    { "max-users", MAX_USERS, "N", 0, "Users connected or with messages waiting (10000)", 2 },
    { "queue", MAX_QUEUED, "N", 0, "Messages that wait for one user (64)", 2 },
    { "rate", RATE, "N", 0, "Requests of one client in a second, else 429 (0: no limit)", 2 },
    { "rate-burst", RATE_BURST, "N", 0, "and at once (0: as many as in a second)", 2 },
    { "header-bytes", HEAD_BYTES, "N", 0, "Request line and headers, else 431 (16384)", 2 },
    { "url-bytes", URL_BYTES, "N", 0, "Request target, else 414 (8192)", 2 },
    { "body-bytes", BODY_BYTES, "N", 0, "Request body, else 413 (1048576)", 2 },
    { "stream-mib", STREAM_MIB, "N", 0, "Request body that is streamed, else 413 (16384)", 2 },
    { "message-bytes", MESSAGE_BYTES, "N", 0, "WebSocket message, else 1009 (65536)", 2 },
    { "queue-ms", QUEUE_MS, "MS", 0, "For which a message waits for its user (0: for ever)",
      3 },
    { "header-ms", HEAD_MS, "MS", 0, "For the headers to arrive, else 408 (10000)", 3 },
    { "body-ms", BODY_MS, "MS", 0, "For the body to arrive, else 408 (30000)", 3 },
    { "idle-ms", IDLE_MS, "MS", 0, "Without a request before closing (60000)", 3 },
    { "send-ms", SEND_MS, "MS", 0, "For an answer to leave (30000)", 3 },
    { "ping-ms", PING_MS, "MS", 0, "Between WebSocket pings (30000)", 3 },
    { "pong-ms", PONG_MS, "MS", 0, "A peer silent for so long after a ping leaves (10000)", 3 },
    { "grace-ms", GRACE_MS, "MS", 0, "At the end, for jobs to finish by themselves (0)", 4 },
    { "drain-ms", DRAIN_MS, "MS", 0, "At the end, when to give up waiting (10000)", 4 },
    { 0 },
};

static error_t read_option(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 'a': options->address = arg; return 0;
    case 'u': options->unix_path = arg; return 0;
    case 'c': options->tls_cert = arg; return 0;
    case 'k': options->tls_key = arg; return 0;
    case 't': options->token_file = arg; return 0;
    case 'l': options->log = arg; return 0;
    case 'p': key = PORT; break;
    case 'w': key = WORKERS; break;
    case ARGP_KEY_ARG: argp_error(state, "unexpected argument: %s", arg); return EINVAL;
    default: break;
    }
    size_t index = (size_t)(key - FIRST_NUMBER);
    if (key < FIRST_NUMBER || index >= sizeof numbers / sizeof numbers[0])
        return ARGP_ERR_UNKNOWN;
    char *end;
    errno = 0;
    unsigned long value = strtoul(arg, &end, 10);
    if (arg[0] < '0' || arg[0] > '9' || *end || errno || value < numbers[index].least ||
        value > numbers[index].most)
        argp_error(state, "%s is not a number from %u to %u", arg, numbers[index].least,
                   numbers[index].most);
    *(unsigned *)((char *)options + numbers[index].offset) = (unsigned)value;
    return 0;
}

static void print_version(FILE *stream, struct argp_state *state)
{
    fprintf(stream, "fibermap-serve %s\n", fm_version());
}

void options_read(struct options *options, int argc, char *argv[])
{
    static const struct argp argp = {
        table,
        read_option,
        NULL,
        "Runs jobs by key and keeps one WebSocket per user. What it answers to, it tells at /."
        "\vSIGTERM and SIGINT end it in good order, a second one at once.",
        NULL,
        NULL,
        NULL
    };
    argp_program_version_hook = print_version;
    *options = defaults;
    argp_parse(&argp, argc, argv, 0, NULL, options);
}
