/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h - what all rooms of the server share
 *
 * One struct server, made by main before any fiber runs and gone after the last has ended.
 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "fm/fm.h"
#include "tools/server/options.h"

struct auth;
struct events;
struct log;
struct rates;
struct results;
struct tls;
struct users;

struct server {
    struct options options;
    int inherited_fd; /* the listening socket that the process was started with; -1: none */
    struct fm_runtime *runtime;
    struct fm_map *connections; /* key: the connection's number */
    struct fm_map *tunnels;     /* key: the same; what encrypts them */
    struct fm_map *jobs;        /* key: as the client chose */
    struct fm_map *hellos;      /* key: hello-NUMBER; who answers /hello/keyed */
    struct users *users;        /* mailboxes, and the map of WebSocket connections by user */
    struct results *results;
    struct events *events; /* of jobs, to those who listen */
    struct auth *auth;     /* NULL: whoever is on this machine may ask */
    bool own_names_only;   /* by no other: it could be a name of any site (api.c) */
    struct rates *rates;   /* of clients; NULL: no limit */
    struct tls *tls;       /* NULL: nothing is encrypted */
    struct log *log;       /* NULL: none is kept */

    /* Counters for /api/stats. relaxed: nothing is concluded from one about the others. */
    atomic_ullong accepted;
    atomic_ullong requests;
    atomic_ullong refused; /* requests that were not HTTP, too large or too slow */
    atomic_ullong problems; /* answers of 400 and above */
    atomic_ullong upgraded;
    atomic_ullong jobs_started;
    atomic_ullong messages_sent;
    atomic_ullong hellos_made; /* by a fiber of their own */

    atomic_ullong job_sequence; /* rises with every job, by which the later of two is known */

    atomic_ullong hello_sequence; /* the number of the next one's key */

    /* Set once, relaxed: an answer made after it says that the connection will close. */
    atomic_bool draining;
};

static inline void server_count(atomic_ullong *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static inline unsigned long long server_read(atomic_ullong *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif
