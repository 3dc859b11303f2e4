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
#include "tools/batcher/call.h"
#include "tools/batcher/rlimits.h"
#include "tools/batcher/service_spec.h"
#include "tools/batcher/values.h"

static int read_key(struct job *job, struct json_object *value)
{
    int r = value_text(value, &job->key);
    if (r == 0 && (!job->key[0] || strlen(job->key) > FM_KEY_MAX)) {
        free(job->key);
        job->key = NULL;
        r = -EINVAL;
    }
    return r;
}

static int read_argv(struct job *job, struct json_object *value)
{
    int r = value_texts(value, &job->argv);
    return r == 0 && !job->argv[0] ? -EINVAL : r;
}

static int read_shell(struct job *job, struct json_object *value)
{
    return value_text(value, &job->shell);
}

/* ---- what is built in ---- */

static struct call *call_of(struct job *job)
{
    if (!job->call)
        job->call = calloc(1, sizeof *job->call);
    return job->call;
}

static int read_call(struct job *job, struct json_object *value)
{
    if (!json_object_is_type(value, json_type_string))
        return -EINVAL;
    struct call *call = call_of(job);
    return call ? call_kind_read(json_object_get_string(value), &call->kind) : -ENOMEM;
}

static int read_path(struct job *job, struct json_object *value)
{
    struct call *call = call_of(job);
    if (!call)
        return -ENOMEM;
    if (json_object_is_type(value, json_type_array)) {
        int r = value_texts(value, &call->paths);
        return r == 0 && !call->paths[0] ? -EINVAL : r;
    }
    char **paths = calloc(2, sizeof *paths);
    int r = paths ? value_text(value, &paths[0]) : -ENOMEM;
    if (r < 0) {
        free(paths);
        return r;
    }
    strings_free(call->paths);
    call->paths = paths;
    return 0;
}

static int read_text(struct job *job, struct json_object *value)
{
    struct call *call = call_of(job);
    return call ? value_text(value, &call->text) : -ENOMEM;
}

static int read_pattern(struct job *job, struct json_object *value)
{
    struct call *call = call_of(job);
    return call ? value_text(value, &call->pattern) : -ENOMEM;
}

static int read_ignore_case(struct job *job, struct json_object *value)
{
    struct call *call = call_of(job);
    if (!call)
        return -ENOMEM;
    call->ignore_case = json_object_get_boolean(value);
    return json_object_is_type(value, json_type_boolean) ? 0 : -EINVAL;
}

/* ---- what all have ---- */

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
        r = !*name || strchr(name, '=') ? -EINVAL : value_text(item, &text);
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
    return value_text(value, &job->directory);
}

static int read_stdin(struct job *job, struct json_object *value)
{
    return value_text(value, &job->input);
}

static int read_stdin_file(struct job *job, struct json_object *value)
{
    return value_text(value, &job->input_file);
}

static int read_needs(struct job *job, struct json_object *value)
{
    return value_texts(value, &job->needs);
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

static int read_rate(struct job *job, struct json_object *value)
{
    int r = value_text(value, &job->rate);
    return r == 0 && !*job->rate ? -EINVAL : r;
}

static int read_limits(struct job *job, struct json_object *value)
{
    if (!json_object_is_type(value, json_type_object))
        return -EINVAL;
    if (!job->limits)
        job->limits = calloc(1, sizeof *job->limits);
    if (!job->limits)
        return -ENOMEM;
    json_object_object_foreach(value, name, item)
    {
        if (!json_object_is_type(item, json_type_int) ||
            limits_set(job->limits, name, json_object_get_int64(item)) < 0)
            return -EINVAL;
    }
    return 0;
}

static int read_rotate(struct job *job, struct json_object *value)
{
    if (!json_object_is_type(value, json_type_string))
        return -EINVAL;
    return rotate_read(json_object_get_string(value), &job->rotate);
}

static int read_output_limit(struct job *job, struct json_object *value)
{
    unsigned limit;
    int r = value_count(value, OUTPUT_LIMIT_MAX, &limit);
    if (r < 0 || limit < OUTPUT_LIMIT_MIN)
        return -EINVAL;
    job->output_limit = limit;
    return 0;
}

static int read_timeout(struct job *job, struct json_object *value)
{
    return value_duration(value, &job->timeout_ns);
}

static int read_retry_object(struct retry *retry, struct json_object *object)
{
    retry->times = 1;
    retry->factor = 2;
    json_object_object_foreach(object, name, value)
    {
        int r = value_retry(name, value, retry);
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
                : value_count(value, 1000000, &retry.times);
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

static int read_conflict(struct job *job, struct json_object *value)
{
    if (!json_object_is_type(value, json_type_string))
        return -EINVAL;
    return conflict_policy_read(json_object_get_string(value), &job->conflict);
}

static int read_restart(struct job *job, struct json_object *value)
{
    return job->restart ? -EINVAL : restart_read(value, &job->restart);
}

static int read_ready(struct job *job, struct json_object *value)
{
    return job->readiness ? -EINVAL : readiness_read(value, &job->readiness);
}

static const struct {
    const char *name;
    int (*read)(struct job *job, struct json_object *value);
    const char *kind;
} fields[] = {
    { "key", read_key, "a text of 1 to 4096 bytes" },
    { "argv", read_argv, "an array of texts, the first of them the program" },
    { "shell", read_shell, "a text, a command line of the shell" },
    { "call", read_call, "\"hash\", \"grep\" or \"count\"" },
    { "path", read_path, "a text, or an array of them, files and folders" },
    { "text", read_text, "a text" },
    { "pattern", read_pattern, "a text, an extended regular expression" },
    { "ignore_case", read_ignore_case, "true or false" },
    { "env", read_env, "an object of texts, whose names have no =" },
    { "directory", read_directory, "a text" },
    { "stdin", read_stdin, "a text" },
    { "stdin_file", read_stdin_file, "a text, the name of a file" },
    { "needs", read_needs, "an array of keys" },
    { "resources", read_resources, "an object of whole numbers from 1" },
    { "rate", read_rate, "a text, the name of a --rate" },
    { "limits", read_limits,
      "an object of whole numbers from 0: cpu, as, nofile, nproc, fsize, core" },
    { "output_limit", read_output_limit, "a number of bytes, 16 to 1073741824" },
    { "rotate", read_rotate, "a size such as \"10M\" or \"64k:5\"" },
    { "timeout", read_timeout, "a number of seconds or a text such as \"1m30s\"" },
    { "retry", read_retry,
      "a number, or an object with times, delay, factor (1 to 1000), max_delay, jitter" },
    { "on_failure", read_on_failure, "\"skip-dependents\", \"keep-going\" or \"fail-fast\"" },
    { "restart", read_restart,
      "\"temporary\", \"transient\" or \"permanent\", or an object with type, intensity, "
      "period, "
      "reset_after, times, delay, factor (1 to 1000), max_delay, jitter" },
    { "ready", read_ready,
      "an object with probe (a command), port (1 to 65535) or line (a regular expression), and "
      "with interval, within; of a probe timeout, of a port host and timeout" },
    { "conflict", read_conflict, "\"error\", \"replace\", \"keep\", \"queue\" or \"join\"" },
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

/* What one field says of another. */
static int check_together(const struct job *job, struct complaint *complaint)
{
    int commands = !!job->argv + !!job->shell + !!job->call;
    if (commands != 1)
        return complain(complaint, "job \"%s\" has %s", job->key,
                        commands ? "two commands: it wants one of argv, shell and call"
                                 : "no command: it wants argv, shell or call");
    if (job->call && (job->env || job->input || job->input_file || job->limits || job->restart))
        return complain(complaint, "job \"%s\": a call has no env, stdin, limits or restart",
                        job->key);
    int r = job->call ? call_check(job->call, job->key, complaint) : 0;
    if (r < 0)
        return r;
    if (job->input && job->input_file)
        return complain(complaint, "job \"%s\" has both stdin and stdin_file", job->key);
    if (job->restart && (job->has_retry || job->timeout_ns))
        return complain(complaint, "job \"%s\" has restart, which makes it a service, and %s",
                        job->key, job->has_retry ? "retry" : "timeout");
    if (job->readiness && !job->restart)
        return complain(complaint,
                        "job \"%s\" has ready, but no restart: that makes it a service",
                        job->key);
    return 0;
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
    return check_together(job, complaint);
}
