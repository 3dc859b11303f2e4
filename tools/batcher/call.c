/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.c - work that is built in: hash, grep, count, in a fiber and without a process
 */
#include "tools/batcher/call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fm/fm.h"
#include "tools/batcher/call_work.h"
#include "tools/batcher/job.h"
#include "tools/batcher/pattern.h"

static const char *const names[] = { "", "hash", "grep", "count" };
enum { KINDS = sizeof names / sizeof names[0] };

int call_kind_read(const char *name, enum call_kind *ret_kind)
{
    for (int kind = CALL_HASH; kind < KINDS; kind++)
        if (!strcmp(name, names[kind])) {
            *ret_kind = (enum call_kind)kind;
            return 0;
        }
    return -EINVAL;
}

struct call *call_destroy(struct call *call)
{
    if (!call)
        return NULL;
    strings_free(call->paths);
    free(call->text);
    free(call->pattern);
    if (call->compiled)
        regfree(&call->regex);
    free(call);
    return NULL;
}

static int compile(struct call *call, const char *key, struct complaint *complaint)
{
    char why[160];
    int r = pattern_compile(call->pattern, call->ignore_case ? REG_ICASE : 0, &call->regex, why,
                            sizeof why);
    call->compiled = r == 0;
    return r < 0 ? complain(complaint, "job \"%s\": pattern %s", key, why) : 0;
}

int call_check(struct call *call, const char *key, struct complaint *complaint)
{
    if (call->kind == CALL_UNSAID)
        return complain(complaint, "job \"%s\" has path, text or pattern, but no call", key);
    if (!call->paths == !call->text)
        return complain(complaint, "job \"%s\": %s wants %s", key, names[call->kind],
                        call->paths ? "a path or a text, not both" : "a path, or a text");
    if (call->kind != CALL_GREP)
        return !call->pattern && !call->ignore_case
                   ? 0
                   : complain(complaint, "job \"%s\": %s has no pattern", key,
                              names[call->kind]);
    if (!call->pattern)
        return complain(complaint, "job \"%s\": grep wants a pattern", key);
    return call->compiled ? 0 : compile(call, key, complaint);
}

char *call_line(const struct call *call)
{
    char *line = NULL;
    size_t size;
    FILE *out = open_memstream(&line, &size);
    if (!out)
        return NULL;
    fputs(names[call->kind], out);
    if (call->pattern)
        fprintf(out, " %s", call->pattern);
    for (char **path = call->paths; path && *path; path++)
        fprintf(out, " %s", *path);
    if (fclose(out) == 0)
        return line;
    free(line);
    return NULL;
}

/* ---- doing it ---- */

struct saying {
    FILE *out, *err;
    bool unread;
};

static int take_text(struct call_work *work, const struct call_kind_work *kind)
{
    struct piece piece = {
        .begins = true, .ends = true, .bytes = work->call->text, .len = strlen(work->call->text)
    };
    return kind->take(work, &piece);
}

static int take_files(struct call_work *work, const struct call_kind_work *kind,
                      const char *folder, int64_t deadline_ns, struct saying *saying)
{
    struct walk *walk;
    struct piece piece;
    int r = walk_create(work->call->paths, folder, &walk);
    if (r < 0)
        return r;
    while ((r = walk_next(walk, &piece)) > 0) {
        if (piece.error) {
            fprintf(saying->err, "%s: %s\n", piece.path, fm_strerror(piece.error));
            saying->unread = true;
        } else {
            r = kind->take(work, &piece);
        }
        if (r >= 0 && deadline_ns != FM_NEVER && fm_now_ns() >= deadline_ns)
            r = -ETIMEDOUT;
        if (r < 0)
            break;
    }
    walk_destroy(walk);
    return r;
}

static int run(struct call_work *work, const char *folder, int64_t deadline_ns,
               struct saying *saying)
{
    static const struct call_kind_work *const kinds[KINDS] = { NULL, &call_hash, &call_grep,
                                                               &call_count };
    const struct call_kind_work *kind = kinds[work->call->kind];
    int r = kind->begin(work);
    if (r < 0)
        return r;
    r = work->call->text ? take_text(work, kind)
                         : take_files(work, kind, folder, deadline_ns, saying);
    int ended = kind->end(work, r == 0);
    return r < 0 ? r : ended;
}

int call_run(struct call *call, const char *folder, int64_t deadline_ns, FILE *out, FILE *err,
             int *ret_code)
{
    struct call_work work = { .call = call, .out = out };
    struct saying saying = { out, err, false };
    int r = run(&work, folder, deadline_ns, &saying);
    *ret_code = saying.unread ? 2 : call->kind == CALL_GREP && !work.matched;
    return r;
}
