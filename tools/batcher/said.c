/* SPDX-License-Identifier: Apache-2.0 */
/*
 * said.c - where what an attempt says goes: to files, to pipes that are read along, or to ours
 *
 *   --ungroup                       our own output
 *   a limit, or files that rotate   pipes
 *   --results, a service            files: they can be looked at while it runs
 *   any other                       pipes
 */
#include "tools/batcher/said.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/batcher/service_spec.h"

enum { RESULTS_PATH = 3072 };

/* FOLDER/KEY, in which no key can reach elsewhere: 0 · -ENAMETOOLONG */
static int results_folder(const struct batch *batch, const struct job *job, char *path,
                          size_t size)
{
    const char *name = job->template ? job->argument : job->key;
    int n = snprintf(path, size, "%s/%s", batch->options.results, job->template ? "1/" : "");
    if (n < 0 || (size_t)n >= size)
        return -ENAMETOOLONG;
    char *end = path + n, *limit = path + size - 3;
    if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
        *end++ = '\\'; /* these would be other folders */
    for (; *name; name++) {
        if (end >= limit)
            return -ENAMETOOLONG;
        const char *from = "/\\\t", *to = "_\\t";
        const char *special = strchr(from, *name);
        if (special)
            *end++ = '\\';
        *end++ = special ? to[special - from] : *name;
    }
    *end = '\0';
    return 0;
}

int said_of_call(struct said *said, const struct batch *batch, const struct job *job)
{
    const struct options *options = &batch->options;
    *said = (struct said) { .way = SAID_TO_PIPES };
    said->keeping.limit = job->output_limit ? job->output_limit : options->output_limit;
    said->keeping.rotate = job->rotate.bytes ? job->rotate : options->rotate;
    if (!options->results)
        return 0;
    said->folder = malloc(RESULTS_PATH);
    int r = said->folder ? results_folder(batch, job, said->folder, RESULTS_PATH) : -ENOMEM;
    if (r < 0)
        free(said->folder);
    else
        said->keeping.folder = said->folder;
    return r;
}

int said_begin(struct said *said, const struct batch *batch, const struct job *job,
               struct output *output)
{
    *output = (struct output)OUTPUT_NONE;
    int r = said_of_call(said, batch, job);
    if (r < 0)
        return r;
    if (batch->options.ungroup)
        said->way = SAID_TO_US;
    else if (!keeping_limits(&said->keeping) && (said->folder || job->restart))
        said->way = SAID_TO_FILES;
    if (said->folder && job->template && said->way != SAID_TO_US)
        r = output_number(said->folder, job->number);
    if (r == 0 && said->way == SAID_TO_FILES)
        r = output_open(output, said->folder);
    if (r < 0)
        free(said->folder);
    return r;
}

void said_place(const struct said *said, const struct output *output,
                struct fm_process_spec *spec)
{
    if (said->way == SAID_TO_US)
        return;
    spec->out.kind = spec->err.kind = said->way == SAID_TO_PIPES ? FM_STDIO_PIPE : FM_STDIO_FD;
    if (said->way == SAID_TO_PIPES)
        return;
    spec->out.fd = output->fd[0];
    spec->err.fd = output->fd[1];
}

int said_started(struct said *said, const struct job *job, struct fm_process *process)
{
    bool awaits_line = job->readiness && job->readiness->kind == READY_LINE;
    if (said->way != SAID_TO_PIPES)
        return 0;
    int r = capture_create(process, &said->keeping,
                           awaits_line ? &job->readiness->pattern : NULL, &said->capture);
    return r == 0 && job->restart ? capture_follow(said->capture) : r;
}

int said_save(struct said *said, const struct output *output)
{
    int r = said->folder && !said->keeping.rotate.bytes ? output_save(output, said->folder) : 0;
    free(said->folder);
    return r;
}

int said_end(struct said *said, struct output *output)
{
    if (said->way == SAID_TO_PIPES) {
        int r = capture_end(said->capture, output);
        int saved = said_save(said, output);
        return r < 0 ? r : saved;
    }
    free(said->folder);
    return output_settle(output);
}
