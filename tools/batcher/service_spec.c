/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service_spec.c - what makes a job a service: when it is started again, and when it is ready
 */
#include "tools/batcher/service_spec.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "tools/batcher/pattern.h"
#include "tools/batcher/values.h"

static const int64_t second_ns = INT64_C(1000000000);

/* ---- restarts ---- */

static int read_type(struct json_object *value, enum fm_restart_type *ret_type)
{
    static const char *const names[] = {
        [FM_TEMPORARY] = "temporary", [FM_TRANSIENT] = "transient", [FM_PERMANENT] = "permanent"
    };
    if (!json_object_is_type(value, json_type_string))
        return -EINVAL;
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!strcmp(json_object_get_string(value), names[i])) {
            *ret_type = (enum fm_restart_type)i;
            return 0;
        }
    return -EINVAL;
}

static int read_restart_object(struct json_object *object, struct restart *restart)
{
    int r = 0;
    json_object_object_foreach(object, name, value)
    {
        if (!strcmp(name, "type"))
            r = read_type(value, &restart->type);
        else if (!strcmp(name, "intensity"))
            r = value_count(value, FM_RESTART_INTENSITY_MAX, &restart->intensity);
        else if (!strcmp(name, "period"))
            r = value_duration(value, &restart->period_ns);
        else if (!strcmp(name, "reset_after"))
            r = value_duration(value, &restart->reset_after_ns);
        else
            r = value_retry(name, value, &restart->delays);
        if (r < 0)
            return r;
    }
    return restart->period_ns ? 0 : -EINVAL;
}

int restart_read(struct json_object *value, struct restart **ret_restart)
{
    struct restart restart = { .type = FM_TRANSIENT,
                               .delays = { .times = UINT_MAX, .factor = 2 },
                               .intensity = 5,
                               .period_ns = 10 * second_ns };
    int r = json_object_is_type(value, json_type_object) ? read_restart_object(value, &restart)
                                                         : read_type(value, &restart.type);
    if (r < 0)
        return r;
    *ret_restart = malloc(sizeof restart);
    if (!*ret_restart)
        return -ENOMEM;
    **ret_restart = restart;
    return 0;
}

/* ---- readiness ---- */

struct readiness *readiness_destroy(struct readiness *readiness)
{
    if (!readiness)
        return NULL;
    if (readiness->kind == READY_LINE)
        regfree(&readiness->pattern);
    strings_free(readiness->argv);
    free(readiness->shell);
    free(readiness->host);
    free(readiness);
    return NULL;
}

static int read_probe(struct json_object *value, struct readiness *readiness)
{
    if (json_object_is_type(value, json_type_string))
        return value_text(value, &readiness->shell);
    int r = value_texts(value, &readiness->argv);
    return r == 0 && !readiness->argv[0] ? -EINVAL : r;
}

static int read_port(struct json_object *value, struct readiness *readiness)
{
    int r = value_count(value, 65535, &readiness->port);
    return r == 0 && !readiness->port ? -EINVAL : r;
}

static int read_line(struct json_object *value, struct readiness *readiness)
{
    char *text = NULL, why[160];
    int r = value_text(value, &text);
    if (r == 0)
        r = pattern_compile(text, 0, &readiness->pattern, why, sizeof why);
    free(text);
    return r;
}

/* What is to be looked at: one of three. */
static int read_kind(struct json_object *object, struct readiness *readiness)
{
    static const struct {
        const char *name;
        enum ready_kind kind;
        int (*read)(struct json_object *value, struct readiness *readiness);
    } kinds[] = { { "probe", READY_PROBE, read_probe },
                  { "port", READY_PORT, read_port },
                  { "line", READY_LINE, read_line } };
    struct json_object *found = NULL, *value;
    int r = -EINVAL;
    for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (!json_object_object_get_ex(object, kinds[i].name, &value))
            continue;
        r = found ? -EINVAL : kinds[i].read(value, readiness);
        if (r < 0)
            return r;
        readiness->kind = kinds[i].kind;
        found = value;
    }
    return r;
}

static int read_rest(struct json_object *object, struct readiness *readiness)
{
    int r = 0;
    json_object_object_foreach(object, name, value)
    {
        if (!strcmp(name, "interval"))
            r = value_duration(value, &readiness->interval_ns);
        else if (!strcmp(name, "timeout") && readiness->kind != READY_LINE)
            r = value_duration(value, &readiness->timeout_ns);
        else if (!strcmp(name, "within"))
            r = value_duration(value, &readiness->within_ns);
        else if (!strcmp(name, "host") && readiness->kind == READY_PORT)
            r = value_text(value, &readiness->host);
        else if (strcmp(name, "probe") && strcmp(name, "port") && strcmp(name, "line"))
            r = -EINVAL;
        if (r < 0)
            return r;
    }
    return readiness->interval_ns && readiness->timeout_ns && readiness->within_ns ? 0
                                                                                   : -EINVAL;
}

int readiness_read(struct json_object *value, struct readiness **ret_readiness)
{
    if (!json_object_is_type(value, json_type_object))
        return -EINVAL;
    struct readiness *readiness = calloc(1, sizeof *readiness);
    if (!readiness)
        return -ENOMEM;
    readiness->interval_ns = second_ns / 20;
    readiness->timeout_ns = second_ns;
    readiness->within_ns = 30 * second_ns;
    int r = read_kind(value, readiness);
    if (r == 0)
        r = read_rest(value, readiness);
    if (r == 0 && readiness->kind == READY_PORT && !readiness->host) {
        readiness->host = strdup("127.0.0.1");
        r = readiness->host ? 0 : -ENOMEM;
    }
    if (r < 0)
        readiness_destroy(readiness);
    else
        *ret_readiness = readiness;
    return r;
}
