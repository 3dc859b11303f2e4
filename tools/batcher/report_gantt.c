/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report_gantt.c - a picture of who ran when: a row for each slot and each service
 *
 * A bar is an attempt. Jobs of the critical path have a dark edge; the pointer over a bar shows
 * what it was. Of more attempts than can be seen those that took longest are drawn, and it says
 * so.
 */
#include <errno.h>
#include <stdlib.h>

#include "tools/batcher/reports.h"

enum { LEFT = 60, WIDTH = 1000, ROW = 22, TOP = 30, BARS_MAX = 20000, TICKS = 10 };

struct bar {
    const struct job *job;
    const struct run *run;
    unsigned row;
};

/* Those of the slots come first. */
struct rows {
    unsigned slots, services;
};

static int by_length(const void *left, const void *right)
{
    int64_t a = ((const struct bar *)left)->run->ending.run_ns;
    int64_t b = ((const struct bar *)right)->run->ending.run_ns;
    return a < b ? 1 : a > b ? -1 : 0;
}

static const char *colour(enum job_state state)
{
    switch (state) {
    case JOB_SUCCEEDED: return "#6baf6b";
    case JOB_FAILED: return "#d9594c";
    case JOB_TIMED_OUT: return "#e0a030";
    default: return "#a0a0a0";
    }
}

static bool is_on_path(const struct summary *summary, const struct job *job)
{
    for (size_t i = 0; i < summary->path_count; i++)
        if (summary->path[i] == job)
            return true;
    return false;
}

/* The whole time is as wide as the picture. */
static double x_of(int64_t ns, int64_t whole_ns)
{
    return (double)ns * WIDTH / (double)whole_ns;
}

static void put_bar(FILE *out, const struct summary *summary, const struct bar *bar,
                    int64_t whole_ns)
{
    char name[256];
    const struct ending *ending = &bar->run->ending;
    double width = x_of(ending->run_ns, whole_ns);
    fprintf(out,
            "<rect x=\"%.2f\" y=\"%u\" width=\"%.2f\" height=\"%d\" fill=\"%s\" "
            "stroke=\"%s\"><title>",
            LEFT + x_of(ending->started_at_ns - summary->begin_ns, whole_ns),
            TOP + bar->row * ROW + 2, width > 0.2 ? width : 0.2, ROW - 4,
            colour(bar->run->state), is_on_path(summary, bar->job) ? "#202020" : "none");
    xml_put(out, summary_name(bar->job, name, sizeof name));
    fprintf(out, ", attempt %u: ", bar->run->attempt);
    xml_put(out, bar->run->why);
    fprintf(out, ", %.3f s</title></rect>\n", (double)ending->run_ns / 1e9);
}

static void put_axis(FILE *out, const struct rows *rows, int64_t whole_ns)
{
    unsigned bottom = TOP + (rows->slots + rows->services) * ROW;
    for (int i = 0; i <= TICKS; i++) {
        int x = LEFT + i * WIDTH / TICKS;
        fprintf(out,
                "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%u\" stroke=\"#e0e0e0\"/>"
                "<text x=\"%d\" y=\"%u\" text-anchor=\"middle\">%.3g s</text>\n",
                x, TOP, x, bottom, x, bottom + 16, (double)whole_ns / 1e9 * i / TICKS);
    }
    for (unsigned row = 0; row < rows->slots; row++)
        fprintf(out, "<text x=\"8\" y=\"%u\">slot %u</text>\n", TOP + row * ROW + 15, row + 1);
    for (unsigned row = 0; row < rows->services; row++)
        fprintf(out, "<text x=\"8\" y=\"%u\">service</text>\n",
                TOP + (rows->slots + row) * ROW + 15);
}

static void count_rows(const struct summary *summary, struct rows *rows, int64_t *ret_whole_ns)
{
    const struct job *job;
    STAILQ_FOREACH(job, &summary->batch->plan.jobs, in_plan) {
        rows->services += job->restart && job->run_count;
        for (size_t i = 0; i < job->run_count; i++) {
            const struct ending *ending = &job->runs[i].ending;
            int64_t end_ns = ending->started_at_ns + ending->run_ns - summary->begin_ns;
            rows->slots = ending->slot > rows->slots ? ending->slot : rows->slots;
            *ret_whole_ns = end_ns > *ret_whole_ns ? end_ns : *ret_whole_ns;
        }
    }
}

static size_t collect(const struct summary *summary, const struct rows *rows, struct bar *bars)
{
    size_t count = 0;
    unsigned service = rows->slots;
    const struct job *job;
    STAILQ_FOREACH(job, &summary->batch->plan.jobs, in_plan) {
        for (size_t i = 0; i < job->run_count; i++) {
            unsigned row = job->restart ? service : job->runs[i].ending.slot - 1;
            bars[count++] = (struct bar) { job, &job->runs[i], row };
        }
        service += job->restart && job->run_count;
    }
    return count;
}

int report_gantt(FILE *out, const struct summary *summary)
{
    struct bar *bars = calloc(summary->attempts + 1, sizeof *bars);
    struct rows rows = { 0, 0 };
    int64_t whole_ns = 1;
    if (!bars)
        return -ENOMEM;
    count_rows(summary, &rows, &whole_ns);
    size_t count = collect(summary, &rows, bars);
    qsort(bars, count, sizeof *bars, by_length);
    size_t shown = count < BARS_MAX ? count : BARS_MAX;
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%u\" "
            "font-family=\"sans-serif\" font-size=\"11\">\n"
            "<text x=\"8\" y=\"18\">%llu attempts in %.3f s, critical path %.3f s%s</text>\n",
            LEFT + WIDTH + 40, TOP + (rows.slots + rows.services) * ROW + 30,
            (unsigned long long)summary->attempts, (double)whole_ns / 1e9,
            (double)summary->path_ns / 1e9,
            shown < count ? "; only the longest are shown" : "");
    put_axis(out, &rows, whole_ns);
    for (size_t i = 0; i < shown; i++)
        put_bar(out, summary, &bars[i], whole_ns);
    fputs("</svg>\n", out);
    free(bars);
    return 0;
}
