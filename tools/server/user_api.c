/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user_api.c - requests about users and what is sent to them
 */
#include "tools/server/user_api.h"

#include <errno.h>

#include "tools/server/json.h"
#include "tools/server/text.h"
#include "tools/server/users.h"

void user_api_send(struct exchange *x, const char *user)
{
    const struct buffer *body = &x->request->body;
    if (body->len > x->server->options.message_bytes) {
        answer_error(x, 413, "the message is too large");
        return;
    }
    if (!text_is_utf8(body->data, body->len)) {
        answer_error(x, 400, "the message is not UTF-8");
        return;
    }
    int r = users_send(x->server->users, user, body->data, body->len);
    if (r < 0) {
        answer_error(x, r == -ENOBUFS ? 429 : 503,
                     r == -ENOBUFS  ? "the user's mailbox is full"
                     : r == -EAGAIN ? "too many users"
                                    : fm_strerror(r));
        return;
    }
    struct json_object *object = json_object_new_object();
    if (object) {
        json_add_text(object, "user", user);
        json_add_text(object, "outcome", r == USERS_DELIVERED ? "delivered" : "queued");
    }
    answer_json(x, r == USERS_DELIVERED ? 200 : 202, object);
}
