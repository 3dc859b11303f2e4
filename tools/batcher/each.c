/* SPDX-License-Identifier: Apache-2.0 */
/*
 * each.c - the jobs of `batch each`: the command, once for each argument
 *
 * A pipe or a terminal on the standard input is opened anew by its name in /proc, so that it is
 * ours alone that does not block: the one that we were given is shared with whoever has it.
 */
#include "tools/batcher/each.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fm/io.h"
#include "tools/batcher/complaint.h"
#include "tools/batcher/past.h"
#include "tools/batcher/template.h"

enum { READ_BYTES = 64 << 10 };

struct each {
    const struct options *options;
    const struct past *past; /* NULL: the batch begins */
    struct complaint complaint;
    struct template *template; /* NULL: the argument is the command */
    uint64_t number;           /* of the last one */
    int fd;                    /* -1: from the command line */
    bool ended;
    char *buffer;
    size_t begin, end, size; /* of buffer: what is not used yet, what there is room for */
};

static int open_arguments(const char *name)
{
    if (strcmp(name, "-"))
        return open(name, O_RDONLY | O_CLOEXEC);
    int fd = open("/proc/self/fd/0", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return fd >= 0 ? fd : fcntl(0, F_DUPFD_CLOEXEC, 3);
}

/* Are they read, or known already? */
static bool reads(const struct each *each)
{
    return !each->options->arguments && !(each->past && past_is_whole(each->past));
}

int each_create(const struct options *options, const struct past *past, struct each **ret_each)
{
    struct each *each = calloc(1, sizeof *each);
    if (!each)
        return -ENOMEM;
    each->options = options;
    each->past = past;
    each->fd = -1;
    int r = 0;
    if (options->word_count)
        r = template_create(options->words, options->word_count, &each->template);
    if (r == 0 && past && reads(each) && !strcmp(options->argument_file, "-") && isatty(0))
        r = -ENOTTY;
    if (r == 0 && reads(each)) {
        each->fd = open_arguments(options->argument_file);
        if (each->fd < 0)
            r = -errno;
    }
    if (r < 0) {
        each_destroy(each);
        return r;
    }
    *ret_each = each;
    return 0;
}

struct each *each_destroy(struct each *each)
{
    if (!each)
        return NULL;
    if (each->fd >= 0)
        fm_close(each->fd);
    template_destroy(each->template);
    free(each->buffer);
    free(each);
    return NULL;
}

uint64_t each_count(const struct each *each)
{
    return each->options->arguments ? (uint64_t)each->options->argument_count : 0;
}

/* Read more behind what there is: 1 · 0 the end · as fm_read */
static int fill(struct each *each)
{
    if (each->begin) {
        memmove(each->buffer, each->buffer + each->begin, each->end - each->begin);
        each->end -= each->begin;
        each->begin = 0;
    }
    if (each->size - each->end < READ_BYTES / 2 || !each->size) {
        size_t size = each->size ? 2 * each->size : READ_BYTES;
        char *more = realloc(each->buffer, size);
        if (!more)
            return -ENOMEM;
        each->buffer = more;
        each->size = size;
    }
    ssize_t n = fm_read(each->fd, each->buffer + each->end, each->size - each->end, FM_NEVER);
    if (n <= 0)
        return (int)n;
    each->end += (size_t)n;
    return 1;
}

/* The next line, without its end, to be freed: 1 · 0 none · -errno */
static int next_line(struct each *each, char **ret_line)
{
    char separator = each->options->null_separated ? '\0' : '\n';
    size_t seen = 0;
    for (;;) {
        char *from = each->buffer + each->begin;
        size_t there = each->end - each->begin;
        char *stop = there > seen ? memchr(from + seen, separator, there - seen) : NULL;
        size_t len = stop ? (size_t)(stop - from) : there;
        if (stop || (each->ended && there)) {
            *ret_line = strndup(from, len);
            each->begin += len + (stop ? 1 : 0);
            return *ret_line ? 1 : -ENOMEM;
        }
        if (each->ended)
            return 0;
        seen = there;
        int r = fill(each);
        if (r < 0)
            return r;
        each->ended = r == 0;
    }
}

static int next_argument(struct each *each, char **ret_argument)
{
    const struct options *options = each->options;
    if (reads(each))
        return next_line(each, ret_argument);
    if (!options->arguments) {
        const struct past_job *known = past_find(each->past, each->number + 1);
        *ret_argument = known ? strdup(known->argument) : NULL;
        return !known ? 0 : *ret_argument ? 1 : -ENOMEM;
    }
    if (each->number == (uint64_t)options->argument_count)
        return 0;
    *ret_argument = strdup(options->arguments[each->number]);
    return *ret_argument ? 1 : -ENOMEM;
}

const char *each_complaint(const struct each *each)
{
    return each->complaint.text;
}

/* Is it what the past has, or is the end where that has none either? 0 · -EINVAL */
static int compare(struct each *each, const char *argument)
{
    uint64_t number = each->number + 1;
    const struct past_job *known = each->past ? past_find(each->past, number) : NULL;
    if (!argument && each->past && each->past->most >= number)
        return complain(&each->complaint,
                        "there are %llu, the journal has %llu: give it all of them again",
                        (unsigned long long)each->number, (unsigned long long)each->past->most);
    if (argument && known && strcmp(known->argument, argument) != 0)
        return complain(&each->complaint, "number %llu was \"%.80s\", and now is \"%.80s\"",
                        (unsigned long long)number, known->argument, argument);
    return 0;
}

/* The next one, compared: as next_argument(), and -EINVAL */
static int take_argument(struct each *each, char **ret_argument)
{
    char *argument = NULL;
    int r = next_argument(each, &argument);
    int compared = r < 0 ? 0 : compare(each, argument);
    if (compared < 0) {
        free(argument);
        return compared;
    }
    *ret_argument = argument;
    return r;
}

int each_next(struct each *each, struct job **ret_job)
{
    char *argument;
    int r = take_argument(each, &argument);
    if (r <= 0)
        return r;
    struct job *job = job_create(++each->number);
    if (!job) {
        free(argument);
        return -ENOMEM;
    }
    job->argument = argument;
    job->template = each->template;
    if (!each->template)
        job->shell = strdup(argument);
    if ((!each->template && !job->shell) ||
        asprintf(&job->key, "%llu", (unsigned long long)job->number) < 0) {
        job->key = NULL;
        job_destroy(job);
        return -ENOMEM;
    }
    const struct past_job *known = each->past ? past_find(each->past, job->number) : NULL;
    if (known) {
        job->state = known->state;
        job->attempts = known->attempts;
    }
    *ret_job = job;
    return 1;
}
