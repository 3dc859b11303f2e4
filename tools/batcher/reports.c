/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reports.c - files that say at the end how everything went
 */
#include "tools/batcher/reports.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef int report_fn(FILE *out, const struct summary *summary);

struct report {
    const char *path;
    FILE *out;
    report_fn *write;
};

struct reports {
    unsigned count;
    struct report each[REPORTS_MAX];
};

static report_fn *kind_of(const char *path)
{
    const char *dot = strrchr(path, '.');
    if (dot && !strcmp(dot, ".json"))
        return report_json;
    if (dot && !strcmp(dot, ".xml"))
        return report_junit;
    return dot && !strcmp(dot, ".svg") ? report_gantt : report_table;
}

int reports_create(const struct options *options, struct reports **ret_reports,
                   const char **ret_path)
{
    struct reports *reports = calloc(1, sizeof *reports);
    if (!reports)
        return -ENOMEM;
    for (unsigned i = 0; i < options->report_count; i++) {
        const char *path = options->reports[i];
        FILE *out = strcmp(path, "-") ? fopen(path, "we") : stdout;
        if (!out) {
            int r = -errno;
            *ret_path = path;
            reports_destroy(reports);
            return r;
        }
        reports->each[reports->count++] = (struct report) { path, out, kind_of(path) };
    }
    *ret_reports = reports;
    return 0;
}

struct reports *reports_destroy(struct reports *reports)
{
    for (unsigned i = 0; reports && i < reports->count; i++)
        if (reports->each[i].out && reports->each[i].out != stdout)
            fclose(reports->each[i].out);
    free(reports);
    return NULL;
}

static int write_one(struct report *report, const struct summary *summary)
{
    errno = 0;
    int r = report->write(report->out, summary);
    if (r == 0 && (fflush(report->out) != 0 || ferror(report->out)))
        r = errno ? -errno : -EIO;
    return r;
}

int reports_write(struct reports *reports, const struct summary *summary, const char **ret_path)
{
    for (unsigned i = 0; i < reports->count; i++) {
        int r = write_one(&reports->each[i], summary);
        if (r < 0) {
            *ret_path = reports->each[i].path;
            return r;
        }
    }
    return 0;
}
