/* SPDX-License-Identifier: Apache-2.0 */
/*
 * values.c - what a field of a job file may hold, by its kind
 */
#include "tools/batcher/values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/batcher/duration.h"

int value_text(struct json_object *value, char **ret_text)
{
    if (!json_object_is_type(value, json_type_string))
        return -EINVAL;
    const char *text = json_object_get_string(value);
    if (strlen(text) != (size_t)json_object_get_string_len(value))
        return -EINVAL;
    char *copy = strdup(text);
    if (!copy)
        return -ENOMEM;
    free(*ret_text);
    *ret_text = copy;
    return 0;
}

int value_texts(struct json_object *value, char ***ret_texts)
{
    if (!json_object_is_type(value, json_type_array))
        return -EINVAL;
    size_t count = json_object_array_length(value);
    char **texts = calloc(count + 1, sizeof *texts);
    int r = texts ? 0 : -ENOMEM;
    for (size_t i = 0; i < count && r == 0; i++)
        r = value_text(json_object_array_get_idx(value, i), &texts[i]);
    if (r < 0) {
        strings_free(texts);
        return r;
    }
    strings_free(*ret_texts);
    *ret_texts = texts;
    return 0;
}

int value_duration(struct json_object *value, int64_t *ret_ns)
{
    switch (json_object_get_type(value)) {
    case json_type_int:
    case json_type_double: return duration_of_seconds(json_object_get_double(value), ret_ns);
    case json_type_string: return duration_read(json_object_get_string(value), ret_ns);
    default: return -EINVAL;
    }
}

int value_count(struct json_object *value, int64_t most, unsigned *ret_count)
{
    if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0 ||
        json_object_get_int64(value) > most)
        return -EINVAL;
    *ret_count = (unsigned)json_object_get_int64(value);
    return 0;
}

int value_retry(const char *name, struct json_object *value, struct retry *retry)
{
    if (!strcmp(name, "times"))
        return value_count(value, 1000000, &retry->times);
    if (!strcmp(name, "delay"))
        return value_duration(value, &retry->delay_ns);
    if (!strcmp(name, "max_delay"))
        return value_duration(value, &retry->max_delay_ns);
    if (!strcmp(name, "jitter") && json_object_is_type(value, json_type_boolean)) {
        retry->jitter = json_object_get_boolean(value);
        return 0;
    }
    if (!strcmp(name, "factor") && json_object_get_double(value) >= 1 &&
        json_object_get_double(value) <= 1000) {
        retry->factor = json_object_get_double(value);
        retry->kind = RETRY_EXPONENTIAL;
        return 0;
    }
    return -EINVAL;
}
