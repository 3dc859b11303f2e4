/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message.h - what waits in a mailbox
 */
#ifndef SERVER_MESSAGE_H
#define SERVER_MESSAGE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fm/ref.h"

/* What is sent to many is one text. It does not change. */
struct message_text {
    size_t len;
    char bytes[];
};

struct message {
    STAILQ_ENTRY(message) next; /* the mailbox's */
    int64_t expires_ns;         /* when it has waited too long; FM_NEVER: at no time */
    struct fm_value *text;      /* a reference to a struct message_text */
};

/* 0, with the caller's reference to a struct message_text · -ENOMEM */
int message_text_create(const char *bytes, size_t len, struct fm_value **ret_text);
/* With a reference to the text of its own; ttl_ms 0: for ever. NULL: no memory. */
struct message *message_create(struct fm_value *text, int64_t ttl_ms);
/* NULL-safe. */
void message_free(struct message *message);

#endif
