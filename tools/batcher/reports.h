/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reports.h - files that say at the end how everything went
 *
 * The kind is that of the name: .json, .xml (JUnit), .svg (who ran when on which slot), and for
 * every other a table. docs/batch.md tells what stands in them.
 */
#ifndef BATCH_REPORTS_H
#define BATCH_REPORTS_H

#include <stdio.h>

#include "tools/batcher/options.h"
#include "tools/batcher/summary.h"

struct reports;

/*
 * Make the files, empty. "-": our output, a table. 0 · -ENOMEM · -errno of open(2), with
 * ret_path the name
 */
int reports_create(const struct options *options, struct reports **ret_reports,
                   const char **ret_path);
/* NULL-safe, returns NULL. */
struct reports *reports_destroy(struct reports *reports);
/* Thread only: all has ended. 0 · -ENOMEM · -errno of write(2), with ret_path the name */
int reports_write(struct reports *reports, const struct summary *summary,
                  const char **ret_path);

/* Each writes one of them; whether that went well the stream knows. 0 · -ENOMEM */
int report_table(FILE *out, const struct summary *summary);
int report_json(FILE *out, const struct summary *summary);
int report_junit(FILE *out, const struct summary *summary);
int report_gantt(FILE *out, const struct summary *summary);

/* Text in XML: what is special is escaped, what is no UTF-8 or not allowed a question mark. */
void xml_put(FILE *out, const char *text);

#endif
