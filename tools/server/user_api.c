/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user_api.c - requests about users and what is sent to them
 */
#include "tools/server/user_api.h"

#include <errno.h>

#include "tools/server/json.h"
#include "tools/server/text.h"
#include "tools/server/users.h"

enum { USERS_SHOWN = 1000 };

/* Can the body be a message? If not it has been answered. */
static bool body_is_message(struct exchange *x)
{
    const struct buffer *body = &x->request->body;
    bool large = body->len > x->server->options.message_bytes;
    if (large)
        answer_error(x, 413, "the message is too large");
    else if (!text_is_utf8(body->data, body->len))
        answer_error(x, 400, "the message is not UTF-8");
    else
        return true;
    return false;
}

void user_api_send(struct exchange *x, const char *user)
{
    const struct buffer *body = &x->request->body;
    if (!body_is_message(x))
        return;
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

void user_api_send_all(struct exchange *x, const char *name)
{
    const struct buffer *body = &x->request->body;
    struct users_told told;
    if (!body_is_message(x))
        return;
    int r = users_send_all(x->server->users, body->data, body->len, &told);
    if (r < 0) {
        answer_error(x, 503, fm_strerror(r));
        return;
    }
    struct json_object *object = json_object_new_object();
    if (object) {
        json_add_number(object, "delivered", told.delivered);
        json_add_number(object, "full", told.full);
    }
    answer_json(x, 200, object);
}

static void add_user(void *array, const char *user, bool connected, unsigned waiting)
{
    struct json_object *object = json_object_new_object();
    if (object) {
        json_add_text(object, "user", user);
        json_object_object_add(object, "connected", json_object_new_boolean(connected));
        json_add_number(object, "waiting", waiting);
    }
    json_object_array_add(array, object);
}

void user_api_list(struct exchange *x, const char *name)
{
    struct json_object *object = json_object_new_object();
    struct json_object *array = json_object_new_array();
    if (array)
        users_visit(x->server->users, USERS_SHOWN, add_user, array);
    if (object) {
        json_add_number(object, "connected", fm_map_size(users_map(x->server->users)));
        json_object_object_add(object, "users", array);
    }
    answer_json(x, 200, object);
}
