/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message.c - what waits in a mailbox
 */
#include "tools/server/message.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int message_text_create(const char *bytes, size_t len, struct fm_value **ret_text)
{
    struct message_text *text = malloc(sizeof *text + len);
    if (!text)
        return -ENOMEM;
    text->len = len;
    if (len)
        memcpy(text->bytes, bytes, len);
    int r = fm_value_create(text, free, ret_text);
    if (r < 0)
        free(text);
    return r;
}

struct message *message_create(struct fm_value *text, int64_t ttl_ms)
{
    struct message *message = malloc(sizeof *message);
    if (!message)
        return NULL;
    message->expires_ns = ttl_ms ? fm_after_ms(ttl_ms) : FM_NEVER;
    message->text = fm_value_ref(text);
    return message;
}

void message_free(struct message *message)
{
    if (!message)
        return;
    fm_value_unref(message->text);
    free(message);
}
