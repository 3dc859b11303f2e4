/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.h - what a client says in JSON, member by member
 *
 * The readers leave *ret alone where there is no such member: it holds the default.
 */
#ifndef SERVER_JSON_H
#define SERVER_JSON_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/server/buffer.h"

/* The body as an object: NULL, with the reason, if it is none. */
struct json_object *json_read_object(const struct buffer *body, const char **ret_reason);
/* There is no such member, or it is null. */
bool json_missing(struct json_object *object, const char *name);
/* The string under name; NULL if there is none. *ret_len is set in the first case. */
const char *json_text(struct json_object *object, const char *name, size_t *ret_len);
/* Whether the string under name is this one, to its end. */
bool json_says(struct json_object *object, const char *name, const char *text);
/* 0 · -EINVAL no whole number from least to most */
int json_number(struct json_object *object, const char *name, int64_t least, int64_t most,
                int64_t *ret_number);
/* 0 · -EINVAL neither true nor false */
int json_flag(struct json_object *object, const char *name, bool *ret_flag);

void json_add_text(struct json_object *object, const char *name, const char *text);
void json_add_number(struct json_object *object, const char *name, uint64_t number);
/* An id has 64 bits, more than a number of JavaScript holds: it is shown as text. */
void json_add_id(struct json_object *object, const char *name, uint64_t id);

#endif
