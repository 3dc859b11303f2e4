/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jobfile.c - a file of jobs: objects of JSON, one after the other or in an array
 *
 * The objects are taken from the text one by one, so that each complaint knows its place.
 */
#include "tools/batcher/jobfile.h"

#include <errno.h>
#include <json-c/json_object.h>
#include <json-c/json_tokener.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/batcher/fields.h"

enum { JSON_DEPTH = 16 };

struct reader {
    const char *name;
    const char *text;
    size_t len, at;
    struct plan *plan;
    struct complaint *complaint;
    struct place {
        size_t at, line, column; /* columns in bytes, both from 1 */
    } counted;                   /* so far */
};

/* Of what comes after the last one that was asked for, or as well before it. */
static struct place place_of(struct reader *reader, size_t at)
{
    struct place place = reader->counted;
    if (at < place.at || !place.line)
        place = (struct place) { 0, 1, 1 };
    for (; place.at < at && place.at < reader->len; place.at++) {
        bool end = reader->text[place.at] == '\n';
        place.column = end ? 1 : place.column + 1;
        place.line += end;
    }
    reader->counted = place;
    return place;
}

/* "name:line:column: what" */
static int complain_at(struct reader *reader, size_t at, const char *what)
{
    struct place place = place_of(reader, at);
    return complain(reader->complaint, "%s:%zu:%zu: %s", reader->name, place.line, place.column,
                    what);
}

static void skip_space(struct reader *reader)
{
    while (reader->at < reader->len && strchr(" \t\r\n", reader->text[reader->at]) &&
           reader->text[reader->at])
        reader->at++;
}

static bool take(struct reader *reader, char c)
{
    skip_space(reader);
    if (reader->at == reader->len || reader->text[reader->at] != c)
        return false;
    reader->at++;
    return true;
}

/* The object that begins here: 0, the caller's · -EINVAL · -ENOMEM */
static int read_object(struct reader *reader, struct json_object **ret_object)
{
    if (reader->text[reader->at] != '{')
        return complain_at(reader, reader->at, "a job is an object, as in {\"key\": ...}");
    struct json_tokener *tokener = json_tokener_new_ex(JSON_DEPTH);
    if (!tokener)
        return -ENOMEM;
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8 |
                                        JSON_TOKENER_ALLOW_TRAILING_CHARS);
    size_t rest = reader->len - reader->at;
    struct json_object *object = json_tokener_parse_ex(tokener, reader->text + reader->at,
                                                       rest < INT_MAX ? (int)rest : INT_MAX);
    enum json_tokener_error error = json_tokener_get_error(tokener);
    size_t end = reader->at + json_tokener_get_parse_end(tokener);
    json_tokener_free(tokener);
    if (object) {
        reader->at = end;
        *ret_object = object;
        return 0;
    }
    char what[128];
    if (error == json_tokener_continue)
        return complain_at(reader, reader->at, "this object is not closed before the end");
    snprintf(what, sizeof what, "malformed JSON: %s", json_tokener_error_desc(error));
    return complain_at(reader, end, what);
}

/* The job that the object says, with its text and its place: 0 · -EINVAL · -ENOMEM */
static int make_job(struct reader *reader, struct json_object *object, size_t begin,
                    struct complaint *complaint, struct job **ret_job)
{
    struct job *job = job_create(reader->plan->count + 1);
    int r = job ? fields_read(job, object, complaint) : -ENOMEM;
    if (r == 0) {
        struct place place = place_of(reader, begin);
        job->line = place.line;
        job->column = place.column;
        if (!reader->plan->forgetful)
            job->definition = strndup(reader->text + begin, reader->at - begin);
        r = job->definition || reader->plan->forgetful ? 0 : -ENOMEM;
    }
    if (r < 0)
        job_destroy(job);
    else
        *ret_job = job;
    return r;
}

/* The job passes to the plan, or is freed. */
static int add_job(struct reader *reader, struct job *job, struct complaint *complaint)
{
    int r = plan_add(reader->plan, job);
    if (r == 0)
        return 0;
    const struct job *first = plan_find(reader->plan, job->key);
    if (r == -EEXIST)
        r = complain(complaint, "job \"%s\" is there twice, first at %zu:%zu", job->key,
                     first->line, first->column);
    if (r == -EBUSY)
        r = complain(complaint,
                     "job \"%s\" is queued behind a service, at %zu:%zu, which ends last",
                     job->key, first->line, first->column);
    job_destroy(job);
    return r == PLAN_KEPT ? 0 : r;
}

static int read_job(struct reader *reader)
{
    skip_space(reader);
    size_t begin = reader->at;
    if (begin == reader->len)
        return complain_at(reader, begin, "the array is not closed before the end");
    struct json_object *object = NULL;
    int r = read_object(reader, &object);
    if (r < 0)
        return r;
    struct complaint complaint;
    struct job *job;
    r = make_job(reader, object, begin, &complaint, &job);
    json_object_put(object);
    if (r == 0)
        r = add_job(reader, job, &complaint);
    return r == -EINVAL ? complain_at(reader, begin, complaint.text) : r;
}

/* What stands between [ and ]. */
static int read_array(struct reader *reader)
{
    if (take(reader, ']'))
        return 0;
    do {
        int r = read_job(reader);
        if (r < 0)
            return r;
    } while (take(reader, ','));
    if (!take(reader, ']'))
        return complain_at(reader, reader->at,
                           "expected a comma, or ] at the end of the array");
    return 0;
}

int jobfile_take(const char *name, const char *text, size_t len, struct plan *plan,
                 struct complaint *complaint)
{
    struct reader reader = {
        .name = name, .text = text, .len = len, .plan = plan, .complaint = complaint
    };
    int r = 0;
    skip_space(&reader);
    if (take(&reader, '[')) {
        r = read_array(&reader);
        skip_space(&reader);
        if (r == 0 && reader.at < reader.len)
            r = complain_at(&reader, reader.at, "there is more behind the array");
    } else {
        while (r == 0 && reader.at < reader.len) {
            r = read_job(&reader);
            skip_space(&reader);
        }
    }
    return r;
}

int jobfile_parse(const char *name, const char *text, size_t len, struct plan *plan,
                  struct complaint *complaint)
{
    int r = jobfile_take(name, text, len, plan, complaint);
    if (r < 0)
        return r;
    struct complaint about;
    r = plan_link(plan, &about);
    return r == -EINVAL ? complain(complaint, "%s:%s", name, about.text) : r;
}

int jobfile_text(const char *name, char **ret_text, size_t *ret_len)
{
    bool standard = !strcmp(name, "-");
    FILE *file = standard ? stdin : fopen(name, "re");
    if (!file)
        return -errno;
    char *text = NULL;
    size_t len;
    FILE *all = open_memstream(&text, &len);
    int r = all ? 0 : -ENOMEM;
    char buffer[16384];
    size_t n;
    errno = 0;
    while (r == 0 && (n = fread(buffer, 1, sizeof buffer, file)) > 0)
        if (fwrite(buffer, 1, n, all) != n)
            r = -ENOMEM;
    if (r == 0 && ferror(file))
        r = errno ? -errno : -EIO;
    if (all && fclose(all) != 0 && r == 0)
        r = -ENOMEM;
    if (!standard)
        fclose(file);
    if (r < 0) {
        free(text);
        return r;
    }
    *ret_text = text;
    *ret_len = len;
    return 0;
}

int jobfile_read(const char *name, struct plan *plan, struct complaint *complaint)
{
    char *text;
    size_t len;
    int r = jobfile_text(name, &text, &len);
    if (r < 0)
        return r;
    r = jobfile_parse(!strcmp(name, "-") ? "standard input" : name, text, len, plan, complaint);
    free(text);
    return r;
}
