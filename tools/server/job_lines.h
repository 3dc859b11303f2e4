/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job_lines.h - jobs as lines of a body without an end
 */
#ifndef SERVER_JOB_LINES_H
#define SERVER_JOB_LINES_H

#include "tools/server/answer.h"

void job_lines_start(struct exchange *x, const char *name);

#endif
