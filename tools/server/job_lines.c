/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job_lines.c - jobs as lines of a body without an end
 *
 * Each line is a job, as in a request of its own, and is answered by a line as soon as it has
 * come. What is wrong with one line is said of it, and the next is read; what is wrong with the
 * body ends the answer.
 */
#include "tools/server/job_lines.h"

#include <errno.h>

#include "tools/server/body.h"
#include "tools/server/job_api.h"
#include "tools/server/json.h"
#include "tools/server/lines.h"
#include "tools/server/stream.h"

struct job_lines {
    struct exchange *exchange;
    struct lines in;
};

/* One line of the answer, to that of a number; takes the object over. 0 · -errno */
static int say(struct job_lines *lines, uint64_t number, int status, const char *reason,
               struct json_object *object)
{
    if (!object)
        object = json_object_new_object();
    int r = -ENOMEM;
    if (object) {
        json_add_number(object, "line", number);
        json_add_number(object, "status", (uint64_t)status);
        if (reason)
            json_add_text(object, "detail", reason);
        size_t len;
        const char *text = json_object_to_json_string_length(
            object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
        struct buffer out = { 0 };
        r = text ? buffer_append(&out, text, len) : -ENOMEM;
        r = r ? r : buffer_append(&out, "\n", 1);
        r = r ? r : stream_write(lines->exchange, out.data, out.len);
        buffer_fini(&out);
    }
    json_object_put(object);
    return r;
}

/* A line has come whole. 0 · -errno */
static int take_line(struct job_lines *lines)
{
    if (lines_blank(&lines->in))
        return 0;
    const char *reason = NULL;
    struct json_object *answered = NULL;
    struct json_object *job = json_read_object(&lines->in.line, &reason);
    int status = job ? job_api_run(lines->exchange, job, &answered, &reason) : 400;
    json_object_put(job);
    return say(lines, lines->in.number, status, reason, answered);
}

/* The lines that end in this piece. 0 · -EMSGSIZE one is too long · -errno */
static int take_piece(struct job_lines *lines, const char *piece, size_t len)
{
    while (len) {
        size_t used;
        int r = lines_take(&lines->in, piece, len, &used);
        if (r == LINES_WHOLE)
            r = take_line(lines);
        if (r < 0)
            return r;
        piece += used;
        len -= used;
    }
    return 0;
}

/* 0 · a result of body_read, of stream_write or of take_piece */
static int take_all(struct job_lines *lines, bool *ret_body_failed)
{
    const char *piece;
    ssize_t n;
    while ((n = body_read(lines->exchange, &piece)) > 0) {
        int r = take_piece(lines, piece, (size_t)n);
        if (r < 0)
            return r;
    }
    *ret_body_failed = n < 0;
    return n == 0 && lines_end(&lines->in) == LINES_WHOLE ? take_line(lines) : (int)n;
}

void job_lines_start(struct exchange *x, const char *name)
{
    struct job_lines lines = { .exchange = x };
    lines.in.line.limit = x->server->options.body_bytes;
    if (lines.in.line.limit == 0)
        lines.in.line.limit = 1; /* to a buffer 0 is no limit; a byte is no job either */
    if (stream_begin(x, "application/x-ndjson") < 0)
        return;
    bool body_failed = false;
    int r = take_all(&lines, &body_failed);
    if (r < 0 && !x->wire->broken) {
        const char *reason = "out of memory";
        int status = body_failed       ? body_problem(x, r, &reason)
                     : r == -EMSGSIZE ? 413
                                       : 503;
        if (status == 413 && !body_failed)
            reason = "the line is too long";
        /* of the line that has not ended, or would come next */
        say(&lines, lines.in.number + (lines.in.whole || !lines.in.number), status, reason,
            NULL);
    }
    stream_end(x, r == 0);
    lines_fini(&lines.in);
}
