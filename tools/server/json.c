/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.c - what a client says in JSON, member by member
 *
 * Nothing here keeps state.
 */
#include "tools/server/json.h"

#include <errno.h>
#include <json-c/json_tokener.h>
#include <string.h>

#include "tools/server/text.h"

enum { DEPTH_MAX = 32 }; /* json-c prints and frees by recursion */

struct json_object *json_read_object(const struct buffer *body, const char **ret_reason)
{
    /* json-c takes a NUL for the end, and would not look at what stands behind it */
    if (body->len && memchr(body->data, '\0', body->len)) {
        *ret_reason = "a NUL byte in JSON";
        return NULL;
    }
    struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
    if (!tokener) {
        *ret_reason = "out of memory";
        return NULL;
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *object = json_tokener_parse_ex(tokener, body->len ? body->data : "",
                                                       (int)body->len);
    enum json_tokener_error error = json_tokener_get_error(tokener);
    json_tokener_free(tokener);
    if (json_object_is_type(object, json_type_object))
        return object;
    json_object_put(object);
    *ret_reason = error == json_tokener_success    ? "the body is not a JSON object"
                  : error == json_tokener_continue ? "the JSON ends too early"
                                                   : json_tokener_error_desc(error);
    return NULL;
}

bool json_missing(struct json_object *object, const char *name)
{
    struct json_object *value;
    return !json_object_object_get_ex(object, name, &value) || !value;
}

const char *json_text(struct json_object *object, const char *name, size_t *ret_len)
{
    struct json_object *value;
    if (!json_object_object_get_ex(object, name, &value) ||
        !json_object_is_type(value, json_type_string))
        return NULL;
    *ret_len = (size_t)json_object_get_string_len(value);
    return json_object_get_string(value);
}

bool json_says(struct json_object *object, const char *name, const char *text)
{
    size_t len;
    const char *said = json_text(object, name, &len);
    return said && len == strlen(text) && !memcmp(said, text, len);
}

int json_number(struct json_object *object, const char *name, int64_t least, int64_t most,
                int64_t *ret_number)
{
    struct json_object *value;
    if (!json_object_object_get_ex(object, name, &value))
        return 0;
    /*
     * json-c takes what does not fit into 64 bits for the largest that does: out of range here,
     * too
     */
    if (!json_object_is_type(value, json_type_int))
        return -EINVAL;
    int64_t number = json_object_get_int64(value);
    if (number < least || number > most)
        return -EINVAL;
    *ret_number = number;
    return 0;
}

int json_flag(struct json_object *object, const char *name, bool *ret_flag)
{
    struct json_object *value;
    if (!json_object_object_get_ex(object, name, &value))
        return 0;
    if (!json_object_is_type(value, json_type_boolean))
        return -EINVAL;
    *ret_flag = json_object_get_boolean(value);
    return 0;
}

void json_add_text(struct json_object *object, const char *name, const char *text)
{
    json_object_object_add(object, name, json_object_new_string(text));
}

void json_add_number(struct json_object *object, const char *name, uint64_t number)
{
    json_object_object_add(object, name, json_object_new_uint64(number));
}

void json_add_id(struct json_object *object, const char *name, uint64_t id)
{
    char text[24];
    text[text_number(id, text)] = '\0';
    json_add_text(object, name, text);
}
