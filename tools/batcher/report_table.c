/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report_table.c - a report for people: a line for each attempt
 */
#include "tools/batcher/reports.h"

static double seconds(int64_t ns)
{
    return (double)ns / 1e9;
}

/* What a terminal would take for more than text is a question mark. */
static void put_name(FILE *out, const struct job *job)
{
    char name[256];
    for (const char *at = summary_name(job, name, sizeof name); *at; at++)
        fputc((unsigned char)*at < ' ' || *at == 0x7f ? '?' : *at, out);
}

static void put_run(FILE *out, const struct summary *summary, const struct job *job,
                    const struct run *run)
{
    const struct ending *ending = &run->ending;
    fprintf(out, "%-10s %4u %4u %10.3f %10.3f %9.3f %9.3f %9.1f %10zu  ",
            job_state_name(run->state), run->attempt, ending->slot,
            seconds(ending->started_at_ns - summary->begin_ns), seconds(ending->run_ns),
            seconds(ending->status.user_ns), seconds(ending->status.system_ns),
            (double)ending->status.max_rss_bytes / (1 << 20),
            ending->out_bytes + ending->err_bytes);
    put_name(out, job);
    if (run->state != JOB_SUCCEEDED)
        fprintf(out, ": %s", run->why);
    if (ending->cut_bytes)
        fprintf(out, " [%zu bytes of its output are left out]", ending->cut_bytes);
    fputc('\n', out);
}

static void put_job(FILE *out, const struct summary *summary, const struct job *job)
{
    for (size_t i = 0; i < job->run_count; i++)
        put_run(out, summary, job, &job->runs[i]);
    if (job->run_count)
        return;
    fprintf(out, "%-10s %4s %4s %10s %10s %9s %9s %9s %10s  ", job_state_name(job->state), "-",
            "-", "-", "-", "-", "-", "-", "-");
    put_name(out, job);
    if (job->blocker) {
        fputs(": it needs ", out);
        put_name(out, job->blocker);
    }
    fputc('\n', out);
}

int report_table(FILE *out, const struct summary *summary)
{
    const struct batch *batch = summary->batch;
    const struct job *job;
    fprintf(out, "%-10s %4s %4s %10s %10s %9s %9s %9s %10s  %s\n", "state", "try", "slot",
            "began (s)", "took (s)", "user (s)", "sys (s)", "RSS (MiB)", "output (B)", "job");
    STAILQ_FOREACH(job, &batch->plan.jobs, in_plan)
        put_job(out, summary, job);

    fputs("\nslowest:\n", out);
    for (size_t i = 0; i < summary->slowest_count; i++) {
        fprintf(out, "%10.3f s  ", seconds(runs_took_ns(summary->slowest[i])));
        put_name(out, summary->slowest[i]);
        fputc('\n', out);
    }
    fprintf(out, "\ncritical path, %.3f s:\n", seconds(summary->path_ns));
    for (size_t i = 0; i < summary->path_count; i++) {
        fprintf(out, "%10.3f s  ", seconds(runs_took_ns(summary->path[i])));
        put_name(out, summary->path[i]);
        fputc('\n', out);
    }

    fputs("\njobs:", out);
    for (int state = JOB_SUCCEEDED; state < JOB_STATES; state++)
        if (batch->count[state])
            fprintf(out, " %llu %s,", (unsigned long long)batch->count[state],
                    job_state_name(state));
    fprintf(out, " %llu attempts; %.3f s, exit code %d\n",
            (unsigned long long)summary->attempts, seconds(summary->elapsed_ns),
            summary->exit_code);
    fprintf(out, "processes: %.3f s user, %.3f s system, the largest %.1f MiB\n",
            seconds(summary->user_ns), seconds(summary->system_ns),
            (double)summary->max_rss_bytes / (1 << 20));
    return 0;
}
