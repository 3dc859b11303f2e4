/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.c - a line on the terminal that says how far it is
 *
 *     [########............] 120/300, 2 running, 1 failed, 41.2/s, 4 s left: compile 12 s
 */
#include "tools/batcher/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { EVERY_MS = 200, BAR = 20, TEXT = 512 };

struct text {
    char text[TEXT];
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format,
                                                      ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text->text + text->len, sizeof text->text - text->len, format, args);
    va_end(args);
    if (n > 0)
        text->len += (size_t)n;
    if (text->len >= sizeof text->text)
        text->len = sizeof text->text - 1;
}

bool progress_wanted(const struct options *options)
{
    const char *terminal = getenv("TERM");
    return isatty(2) && !options->quiet && !options->ungroup && !options->dry_run && terminal &&
           strcmp(terminal, "dumb");
}

static void add_bar(struct text *text, uint64_t ended, uint64_t all)
{
    char bar[BAR + 1];
    for (unsigned i = 0; i < BAR; i++)
        bar[i] = all && ended * BAR >= (i + 1) * all ? '#' : '.';
    bar[BAR] = '\0';
    add(text, "[%s] %llu/%llu", bar, (unsigned long long)ended, (unsigned long long)all);
}

static void compose_locked(struct batch *batch, struct text *text, int64_t elapsed_ns,
                           int64_t now_ns)
{
    uint64_t ended = 0, failed = batch->count[JOB_FAILED] + batch->count[JOB_TIMED_OUT];
    for (int state = JOB_SUCCEEDED; state < JOB_STATES; state++)
        ended += batch->count[state];
    add_bar(text, ended, batch->all);
    add(text, "%s, %zu running", batch->all_known ? "" : "+", batch->running_count);
    if (failed)
        add(text, ", %llu failed", (unsigned long long)failed);
    double rate = (double)ended * 1e9 / (double)elapsed_ns;
    if (ended)
        add(text, ", %.3g/s", rate);
    if (ended && batch->all_known)
        add(text, ", %.0f s left", (double)(batch->all - ended) / rate);
    const char *before = ": ";
    struct job *job;
    TAILQ_FOREACH(job, &batch->running, in_state) {
        char name[128];
        job_name(job, name, sizeof name);
        add(text, "%s%s %lld s", before, name,
            (long long)((now_ns - job->ending.started_at_ns) / 1000000000));
        before = ", ";
        if (text->len > TEXT / 2)
            break;
    }
}

/* As many bytes as there are columns; what a key has of control characters is not shown. */
static void fit(struct text *text)
{
    struct winsize size;
    size_t columns = ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
    if (text->len >= columns)
        text->len = columns - 1;
    for (size_t i = 0; i < text->len; i++)
        if ((unsigned char)text->text[i] < ' ' || text->text[i] == 0x7f)
            text->text[i] = '?';
    text->text[text->len] = '\0';
}

struct fm_exit progress_entry(void *arg)
{
    struct batch *batch = arg;
    int64_t start_ns = fm_now_ns();
    while (fm_sleep_ms(EVERY_MS) == 0) {
        struct text text = { .len = 0 };
        int64_t elapsed_ns = fm_now_ns() - start_ns, now_ns = wall_ns();
        pthread_mutex_lock(&batch->lock);
        compose_locked(batch, &text, elapsed_ns, now_ns);
        pthread_mutex_unlock(&batch->lock);
        fit(&text);
        printer_progress(batch->printer, text.text);
    }
    return fm_ok(NULL);
}
