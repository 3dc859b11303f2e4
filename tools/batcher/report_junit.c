/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report_junit.c - a report that CI servers show: JUnit's XML, a testcase for each job
 */
#include <string.h>
#include <time.h>

#include "tools/batcher/reports.h"

/* The length of the character of UTF-8 that XML may hold and that text begins with; 0: none. */
static size_t character(const unsigned char *text)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } kinds[] = {
        { 0x80, 0x00, 0 }, { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 }, { 0xf8, 0xf0, 0x10000 }
    };
    for (size_t len = 1; len <= 4; len++) {
        if ((text[0] & kinds[len - 1].mask) != kinds[len - 1].lead)
            continue;
        uint32_t code = text[0] & (unsigned char)~kinds[len - 1].mask;
        for (size_t i = 1; i < len; i++) {
            if ((text[i] & 0xc0) != 0x80)
                return 0;
            code = code << 6 | (text[i] & 0x3f);
        }
        bool allowed = code >= ' ' || code == '\t' || code == '\n' || code == '\r';
        return allowed && code >= kinds[len - 1].least && code < 0x110000 &&
                       (code < 0xd800 || code >= 0xe000) && code != 0xfffe && code != 0xffff
                   ? len
                   : 0;
    }
    return 0;
}

void xml_put(FILE *out, const char *text)
{
    while (*text) {
        size_t len = character((const unsigned char *)text);
        const char *special = len == 1 ? strchr("&<>\"'\n\t\r", *text) : NULL;
        if (special)
            fprintf(out, "&#%d;", *special);
        else if (len)
            fwrite(text, 1, len, out);
        else
            fputc('?', out);
        text += len ? len : 1;
    }
}

/* What a reader of such reports calls it. */
enum verdict { PASSED, FAILURE, ERROR, SKIPPED, VERDICTS };

/* An error: it was begun, and somebody else ended it. A service that was stopped did its work. */
static enum verdict verdict_of(const struct job *job)
{
    switch (job->state) {
    case JOB_SUCCEEDED:
    case JOB_STOPPED: return PASSED;
    case JOB_FAILED:
    case JOB_TIMED_OUT: return FAILURE;
    case JOB_CANCELLED: return job->run_count ? ERROR : SKIPPED;
    default: return SKIPPED;
    }
}

/* Of the job's last attempt, or whom it would have needed. */
static void put_reason(FILE *out, const struct job *job)
{
    bool needed = job->blocker != NULL;
    if (!needed && !job->run_count)
        return;
    fputs(needed ? ": it needs " : ": ", out);
    xml_put(out, needed ? job->blocker->key : job->runs[job->run_count - 1].why);
}

static void put_case(FILE *out, const struct job *job)
{
    static const char *const elements[VERDICTS] = { NULL, "failure", "error", "skipped" };
    enum verdict verdict = verdict_of(job);
    char name[4352];
    fputs("  <testcase classname=\"batch\" name=\"", out);
    xml_put(out, summary_name(job, name, sizeof name));
    fprintf(out, "\" time=\"%.3f\"", (double)(runs_end_ns(job) - runs_begin_ns(job)) / 1e9);
    if (verdict == PASSED) {
        fputs("/>\n", out);
        return;
    }
    fprintf(out, ">\n    <%s ", elements[verdict]);
    if (verdict != SKIPPED)
        fprintf(out, "type=\"%s\" ", job_state_name(job->state));
    fprintf(out, "message=\"%s", job_state_name(job->state));
    put_reason(out, job);
    fputs("\"/>\n  </testcase>\n", out);
}

int report_junit(FILE *out, const struct summary *summary)
{
    const struct batch *batch = summary->batch;
    const struct job *job;
    uint64_t count[VERDICTS] = { 0 }, all = 0;
    STAILQ_FOREACH(job, &batch->plan.jobs, in_plan) {
        count[verdict_of(job)]++;
        all++;
    }
    time_t begin = (time_t)(summary->begin_ns / 1000000000);
    struct tm parts;
    char when[32];
    gmtime_r(&begin, &parts);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &parts);
    fprintf(out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<testsuite name=\"batch\" tests=\"%llu\" failures=\"%llu\" errors=\"%llu\" "
            "skipped=\"%llu\" time=\"%.3f\" timestamp=\"%s\">\n",
            (unsigned long long)all, (unsigned long long)count[FAILURE],
            (unsigned long long)count[ERROR], (unsigned long long)count[SKIPPED],
            (double)summary->elapsed_ns / 1e9, when);
    STAILQ_FOREACH(job, &batch->plan.jobs, in_plan)
        put_case(out, job);
    fputs("</testsuite>\n", out);
    return 0;
}
