/* SPDX-License-Identifier: Apache-2.0 */
/*
 * look.h - requests that look around and change nothing
 */
#ifndef SERVER_LOOK_H
#define SERVER_LOOK_H

#include "tools/server/answer.h"

/* jobs and users, from the maps */
void look_fibers(struct exchange *x, const char *name);
/* counters of the runtime and the server */
void look_stats(struct exchange *x, const char *name);
/* one line for each fiber */
void look_dump(struct exchange *x, const char *name);
/* openapi.json, as it stands beside this */
void look_openapi(struct exchange *x, const char *name);

#endif
