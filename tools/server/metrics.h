/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - numbers for Prometheus
 */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include "tools/server/answer.h"

/* GET /metrics, in the text format 0.0.4 */
void metrics_answer(struct exchange *x, const char *name);

#endif
