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

static void put_case(FILE *out, const struct job *job)
{
    char name[4352];
    fputs("  <testcase classname=\"batch\" name=\"", out);
    xml_put(out, summary_name(job, name, sizeof name));
    fprintf(out, "\" time=\"%.3f\"", (double)runs_took_ns(job) / 1e9);
    if (job->state == JOB_SUCCEEDED) {
        fputs("/>\n", out);
        return;
    }
    bool failed = job->state == JOB_FAILED || job->state == JOB_TIMED_OUT;
    const struct run *last = job->run_count ? &job->runs[job->run_count - 1] : NULL;
    fprintf(out, ">\n    <%s ", failed ? "failure" : "skipped");
    if (failed)
        fprintf(out, "type=\"%s\" ", job_state_name(job->state));
    fputs("message=\"", out);
    if (!failed)
        fputs(job_state_name(job->state), out);
    if (!failed && (job->blocker || last))
        fputs(": ", out);
    if (job->blocker) {
        fputs("it needs ", out);
        xml_put(out, job->blocker->key);
    } else if (last) {
        xml_put(out, last->why);
    }
    fputs("\"/>\n  </testcase>\n", out);
}

int report_junit(FILE *out, const struct summary *summary)
{
    const struct batch *batch = summary->batch;
    const struct job *job;
    uint64_t all = 0, failed = batch->count[JOB_FAILED] + batch->count[JOB_TIMED_OUT];
    for (int state = JOB_SUCCEEDED; state < JOB_STATES; state++)
        all += batch->count[state];
    time_t begin = (time_t)(summary->begin_ns / 1000000000);
    struct tm parts;
    char when[32];
    gmtime_r(&begin, &parts);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &parts);
    fprintf(out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<testsuite name=\"batch\" tests=\"%llu\" failures=\"%llu\" errors=\"0\" "
            "skipped=\"%llu\" time=\"%.3f\" timestamp=\"%s\">\n",
            (unsigned long long)all, (unsigned long long)failed,
            (unsigned long long)(all - failed - batch->count[JOB_SUCCEEDED]),
            (double)summary->elapsed_ns / 1e9, when);
    STAILQ_FOREACH(job, &batch->plan.jobs, in_plan)
        put_case(out, job);
    fputs("</testsuite>\n", out);
    return 0;
}
