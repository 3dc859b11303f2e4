/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clients.h - what the crowds that load the server share
 *
 * One fiber a client. All do a step, and wait until the script behind standard input has looked
 * at the server and sends the word for the next. What goes wrong with one is said, and ends the
 * process: there is nobody to be polite to.
 */
#ifndef TESTS_SERVE_CLIENTS_H
#define TESTS_SERVE_CLIENTS_H

#include <stddef.h>
#include <stdint.h>

#include "fm/fm.h"

enum { PATIENCE_S = 120 }; /* for whatever must come; only a failure takes so long */

/* printf's; the exit code is 1. */
_Noreturn void clients_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Fail unless r is a count or 0. */
void clients_must(const char *what, unsigned number, int r);

/*
 * A connection to the server, TCP_NODELAY set, to be closed with fm_close. Client by client
 * they leave from other addresses of this machine, since one has ports for 28,000 only. No
 * more than a hundred connect at a time, or the kernel would have some of them try again later.
 */
int clients_dial(uint16_t port, unsigned number);
void clients_send(int fd, unsigned number, const void *bytes, size_t len);
/* At least a byte more; 0 at the end of the stream. */
size_t clients_receive(int fd, unsigned number, void *bytes, size_t room);

/* What all clients have done before the next thing begins. */
struct step {
    struct fm_latch *reached, *over;
};

void step_init(struct step *step, unsigned clients);
void step_fini(struct step *step);
/* A client's: it has done it, and waits for the word. */
void step_reach(struct step *step);
/* Whoever leads them: all have. */
void step_await(struct step *step);
/* Say a line, wait for the word, let the clients go on. */
void step_end(struct step *step, const char *line, const char *word);

/* Run a client for each number below count. */
void clients_start(struct fm_set *set, fm_entry_fn *entry, void *clients, unsigned count);
/* All have ended. */
void clients_await(struct fm_set *set);

/* ---- the crowds ---- */

struct asking {
    uint16_t port;
    unsigned clients;
    unsigned requests; /* of each, at least */
    unsigned seconds;  /* for so long, at least */
    unsigned turns;    /* so often each connects, asks twice and leaves; 0: it stays */
};
/* Keep connections alive, all asking for /hello at once. Fiber only. */
void clients_ask(const struct asking *asking);

struct meeting {
    uint16_t port;
    unsigned users;
    unsigned messages; /* that all are sent, "message 0" and so on */
};
/* WebSocket users who come, replace each other, listen and leave. Fiber only. */
void clients_meet(const struct meeting *meeting);

#endif
