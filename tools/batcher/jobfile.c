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
};

/* "name:line:column: what", columns in bytes. */
static int complain_at(struct reader *reader, size_t at, const char *what)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at && i < reader->len; i++) {
        column = reader->text[i] == '\n' ? 1 : column + 1;
        line += reader->text[i] == '\n';
    }
    return complain(reader->complaint, "%s:%zu:%zu: %s", reader->name, line, column, what);
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
    struct job *job = job_create(reader->plan->count + 1);
    struct complaint complaint;
    r = job ? fields_read(job, object, &complaint) : -ENOMEM;
    if (r == 0) {
        job->definition = strndup(reader->text + begin, reader->at - begin);
        r = job->definition ? 0 : -ENOMEM;
    }
    json_object_put(object);
    if (r == 0) {
        r = plan_add(reader->plan, job);
        if (r == -EEXIST)
            r = complain(&complaint, "job \"%s\" is there twice, first as number %llu",
                         job->key,
                         (unsigned long long)plan_find(reader->plan, job->key)->number);
        if (r == 0)
            return 0;
    }
    job_destroy(job);
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

int jobfile_parse(const char *name, const char *text, size_t len, struct plan *plan,
                  struct complaint *complaint)
{
    struct reader reader = { name, text, len, 0, plan, complaint };
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
    if (r < 0)
        return r;
    struct complaint about;
    r = plan_link(plan, &about);
    return r == -EINVAL ? complain(complaint, "%s: %s", name, about.text) : r;
}

int jobfile_read(const char *name, struct plan *plan, struct complaint *complaint)
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
    if (r == 0)
        r = jobfile_parse(standard ? "standard input" : name, text, len, plan, complaint);
    free(text);
    return r;
}
