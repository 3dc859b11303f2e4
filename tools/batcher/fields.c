/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fields.c - a job from an object of JSON
 *
 * A table of fields; each reads one value, and its words complete "FIELD is ..." where that is
 * of another kind.
 */
#include "tools/batcher/fields.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fm/map.h"
#include "tools/batcher/duration.h"

/* ---- values ---- */

/* A copy; a NUL would end it early and is refused. 0 · -EINVAL · -ENOMEM */
static int text_of(struct json_object *value, char **ret_text)
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

static int texts_of(struct json_object *value, char ***ret_texts)
{
    if (!json_object_is_type(value, json_type_array))
        return -EINVAL;
    size_t count = json_object_array_length(value);
    char **texts = calloc(count + 1, sizeof *texts);
    int r = texts ? 0 : -ENOMEM;
    for (size_t i = 0; i < count && r == 0; i++)
        r = text_of(json_object_array_get_idx(value, i), &texts[i]);
    if (r < 0) {
        strings_free(texts);
        return r;
    }
    strings_free(*ret_texts);
    *ret_texts = texts;
    return 0;
}

static int duration_of(struct json_object *value, int64_t *ret_ns)
{
    switch (json_object_get_type(value)) {
    case json_type_int:
    case json_type_double: return duration_of_seconds(json_object_get_double(value), ret_ns);
    case json_type_string: return duration_read(json_object_get_string(value), ret_ns);
    default: return -EINVAL;
    }
}

static int count_of(struct json_object *value, int64_t most, unsigned *ret_count)
{
    if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0 ||
        json_object_get_int64(value) > most)
        return -EINVAL;
    *ret_count = (unsigned)json_object_get_int64(value);
    return 0;
}

/* ---- fields ---- */

static int read_key(struct job *job, struct json_object *value)
{
    int r = text_of(value, &job->key);
    if (r == 0 && (!job->key[0] || strlen(job->key) > FM_KEY_MAX)) {
        free(job->key);
        job->key = NULL;
        r = -EINVAL;
    }
    return r;
}

static int read_argv(struct job *job, struct json_object *value)
{
    int r = texts_of(value, &job->argv);
    return r == 0 && !job->argv[0] ? -EINVAL : r;
}

static int read_shell(struct job *job, struct json_object *value)
{
    return text_of(value, &job->shell);
}

static int read_env(struct job *job, struct json_object *value)
{
    if (!json_object_is_type(value, json_type_object))
        return -EINVAL;
    char **env = calloc((size_t)json_object_object_length(value) + 1, sizeof *env);
    if (!env)
        return -ENOMEM;
    int r = 0;
    size_t count = 0;
    json_object_object_foreach(value, name, item)
    {
        char *text = NULL;
        r = !*name || strchr(name, '=') ? -EINVAL : text_of(item, &text);
        if (r == 0 && asprintf(&env[count++], "%s=%s", name, text) < 0) {
            env[--count] = NULL;
            r = -ENOMEM;
        }
        free(text);
        if (r < 0)
            break;
    }
    if (r < 0) {
        strings_free(env);
        return r;
    }
    strings_free(job->env);
    job->env = env;
    return 0;
}

static int read_directory(struct job *job, struct json_object *value)
{
    return text_of(value, &job->directory);
}

static int read_stdin(struct job *job, struct json_object *value)
{
    return text_of(value, &job->input);
}

static int read_stdin_file(struct job *job, struct json_object *value)
{
    return text_of(value, &job->input_file);
}

static int read_needs(struct job *job, struct json_object *value)
{
    return texts_of(value, &job->needs);
}

static int read_resources(struct job *job, struct json_object *value)
{
    if (!json_object_is_type(value, json_type_object) || job->shares)
        return -EINVAL;
    job->shares = calloc((size_t)json_object_object_length(value) + 1, sizeof *job->shares);
    if (!job->shares)
        return -ENOMEM;
    json_object_object_foreach(value, name, item)
    {
        struct share *share = &job->shares[job->share_count];
        if (!json_object_is_type(item, json_type_int) || json_object_get_int64(item) < 1)
            return -EINVAL;
        share->amount = json_object_get_int64(item);
        share->name = strdup(name);
        if (!share->name)
            return -ENOMEM;
        job->share_count++;
    }
    return 0;
}

static int read_timeout(struct job *job, struct json_object *value)
{
    return duration_of(value, &job->timeout_ns);
}

static int read_retry_object(struct retry *retry, struct json_object *object)
{
    int r = 0;
    retry->times = 1;
    retry->factor = 2;
    json_object_object_foreach(object, name, value)
    {
        if (!strcmp(name, "times"))
            r = count_of(value, 1000000, &retry->times);
        else if (!strcmp(name, "delay"))
            r = duration_of(value, &retry->delay_ns);
        else if (!strcmp(name, "max_delay"))
            r = duration_of(value, &retry->max_delay_ns);
        else if (!strcmp(name, "jitter") && json_object_is_type(value, json_type_boolean))
            retry->jitter = json_object_get_boolean(value);
        else if (!strcmp(name, "factor") && json_object_get_double(value) >= 1 &&
                 json_object_get_double(value) <= 1000)
            retry->factor = json_object_get_double(value), retry->kind = RETRY_EXPONENTIAL;
        else
            r = -EINVAL;
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_retry(struct job *job, struct json_object *value)
{
    struct retry retry = { 0 };
    int r = json_object_is_type(value, json_type_object)
                ? read_retry_object(&retry, value)
                : count_of(value, 1000000, &retry.times);
    if (r == 0) {
        job->retry = retry;
        job->has_retry = true;
    }
    return r;
}

static int read_on_failure(struct job *job, struct json_object *value)
{
    if (!json_object_is_type(value, json_type_string))
        return -EINVAL;
    return failure_policy_read(json_object_get_string(value), &job->on_failure);
}

static const struct {
    const char *name;
    int (*read)(struct job *job, struct json_object *value);
    const char *kind;
} fields[] = {
    { "key", read_key, "a text of 1 to 4096 bytes" },
    { "argv", read_argv, "an array of texts, the first of them the program" },
    { "shell", read_shell, "a text, a command line of the shell" },
    { "env", read_env, "an object of texts, whose names have no =" },
    { "directory", read_directory, "a text" },
    { "stdin", read_stdin, "a text" },
    { "stdin_file", read_stdin_file, "a text, the name of a file" },
    { "needs", read_needs, "an array of keys" },
    { "resources", read_resources, "an object of whole numbers from 1" },
    { "timeout", read_timeout, "a number of seconds or a text such as \"1m30s\"" },
    { "retry", read_retry,
      "a number, or an object with times, delay, factor (1 to 1000), max_delay, jitter" },
    { "on_failure", read_on_failure, "\"skip-dependents\", \"keep-going\" or \"fail-fast\"" },
};

static int read_field(struct job *job, const char *name, struct json_object *value,
                      struct complaint *complaint)
{
    const char *key = job->key ? job->key : "?";
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (strcmp(name, fields[i].name))
            continue;
        int r = fields[i].read(job, value);
        if (r == -EINVAL || r == -ERANGE)
            return complain(complaint, "job \"%s\": %s is %s", key, name, fields[i].kind);
        return r;
    }
    return complain(complaint, "job \"%s\": there is no field \"%s\"", key, name);
}

int fields_read(struct job *job, struct json_object *object, struct complaint *complaint)
{
    struct json_object *key;
    if (!json_object_object_get_ex(object, "key", &key))
        return complain(complaint, "job number %llu has no key",
                        (unsigned long long)job->number);
    int r = read_field(job, "key", key, complaint);
    if (r < 0)
        return r;
    json_object_object_foreach(object, name, value)
    {
        r = read_field(job, name, value, complaint);
        if (r < 0)
            return r;
    }
    if (!job->argv == !job->shell)
        return complain(complaint, "job \"%s\" has %s", job->key,
                        job->argv ? "two commands, argv and shell"
                                  : "no command: it wants argv or shell");
    if (job->input && job->input_file)
        return complain(complaint, "job \"%s\" has both stdin and stdin_file", job->key);
    return 0;
}
