/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service_spec.h - what makes a job a service: when it is started again, and when it is ready
 */
#ifndef BATCH_SERVICE_SPEC_H
#define BATCH_SERVICE_SPEC_H

#include <json-c/json.h>
#include <regex.h>

#include "fm/map.h"
#include "tools/batcher/job.h"

/* As struct fm_restart. */
struct restart {
    enum fm_restart_type type;
    struct retry delays; /* before each start but the first; times: how many of those */
    unsigned intensity;  /* so many of them within any period; 0: any number */
    int64_t period_ns;
    int64_t
        reset_after_ns; /* an incarnation that lived so long begins all that anew; 0: none */
};

enum ready_kind { READY_PROBE, READY_PORT, READY_LINE };

struct readiness {
    enum ready_kind kind;
    char **argv; /* of READY_PROBE, or shell */
    char *shell;
    char *host; /* of READY_PORT */
    unsigned port;
    regex_t pattern;     /* of READY_LINE */
    int64_t interval_ns; /* from one look to the next */
    int64_t timeout_ns;  /* of one probe, or of connecting */
    int64_t within_ns;   /* from the start of the process until it must be ready */
};

/*
 * "temporary", "transient", "permanent", or an object. To be freed, on success. 0 · -EINVAL ·
 * -ERANGE · -ENOMEM
 */
int restart_read(struct json_object *value, struct restart **ret_restart);
/* An object. Results as restart_read. */
int readiness_read(struct json_object *value, struct readiness **ret_readiness);
/* NULL-safe, returns NULL. */
struct readiness *readiness_destroy(struct readiness *readiness);

#endif
