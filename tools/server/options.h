/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - what the command line says
 */
#ifndef SERVER_OPTIONS_H
#define SERVER_OPTIONS_H

/* Numbers are unsigned int, so that one table can read and bound them all. */
struct options {
    const char *address;
    const char *tls_cert;   /* NULL: no TLS */
    const char *tls_key;    /* NULL: it stands in the same file */
    const char *token_file; /* NULL: no token */
    const char *log;        /* where to; NULL: no log */
    unsigned port;
    const char *unix_path;  /* listened on in their place; NULL: none */
    unsigned workers; /* 0: what the machine offers */
    unsigned max_connections;
    unsigned max_jobs;    /* live at once */
    unsigned max_results; /* of jobs that have ended */
    unsigned max_users;   /* with a connection or with messages that wait */
    unsigned max_queued;  /* messages that wait for one user */

    unsigned rate;        /* requests of one client in a second; 0: no limit */
    unsigned rate_burst;  /* at once; 0: as many */

    unsigned head_bytes;
    unsigned url_bytes;
    unsigned body_bytes;
    unsigned stream_mib; /* of a body that is not held whole */
    unsigned message_bytes; /* of one WebSocket message, in and out */

    unsigned queue_ms; /* for which a message waits for its user; 0: for ever */

    unsigned head_ms; /* from a request's first byte to the end of its head */
    unsigned body_ms; /* from there to its last byte */
    unsigned idle_ms; /* without a request */
    unsigned send_ms; /* for an answer to leave */
    unsigned ping_ms; /* between pings */
    unsigned pong_ms; /* how late the answer to a ping may be */

    unsigned grace_ms; /* what jobs get to end by themselves when the server ends */
    unsigned drain_ms; /* when to give up waiting after that */
};

/* Fill in from the command line. A wrong one, --help and --version end the program. */
void options_read(struct options *options, int argc, char *argv[]);

#endif
