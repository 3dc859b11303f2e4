/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec.h - one job as a client describes it
 */
#ifndef SERVER_SPEC_H
#define SERVER_SPEC_H

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stdint.h>

#include "fm/map.h"
#include "tools/server/text.h"
#include "tools/server/work.h"

enum { WAIT_MS_MAX = 600000 }; /* for which a client may wait for an end */

/* When to run the work again: members of struct fm_restart, and what makes its schedule. */
struct restart_spec {
    uint32_t type;      /* enum fm_restart_type */
    uint32_t intensity; /* so many within any period; 0: no limit */
    int64_t period_ms;
    int64_t delay_ms; /* of the first back-off; each next one is factor times as long */
    double factor;
    int64_t max_delay_ms; /* but no longer than this */
    int64_t times;        /* so many restarts; below 0: no limit */
};

/* A value, to be copied at will. */
struct job_spec {
    char key[NAME_BYTES_MAX + 1];
    struct work work;
    uint32_t conflict; /* enum fm_conflict */
    bool stop_with_last_waiter;
    int64_t wait_ms;     /* FM_JOIN: for its end, together with all others who do */
    int64_t deadline_ms; /* from now on, for all of its life; 0: none */
    struct restart_spec restart;
};

/* 0 · -EINVAL, ret_reason says what is wrong */
int spec_read(struct job_spec *spec, struct json_object *from, const char **ret_reason);

#endif
