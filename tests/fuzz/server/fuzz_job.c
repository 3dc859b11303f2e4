/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_job.c - a request's body through json.c, spec.c and work.c
 *
 * What is taken is in range, what is not has a reason, and both do not change when asked again.
 */
#include <errno.h>

#include "tests/fuzz/server/fuzz.h"
#include "tools/server/json.h"
#include "tools/server/spec.h"

static void check_restart(const struct restart_spec *restart)
{
    CHECK(restart->type == FM_TEMPORARY || restart->type == FM_TRANSIENT ||
          restart->type == FM_PERMANENT);
    CHECK(restart->intensity <= FM_RESTART_INTENSITY_MAX);
    if (restart->type == FM_TEMPORARY)
        return;
    CHECK(restart->period_ms >= 1 && restart->period_ms <= 86400000);
    CHECK(restart->delay_ms >= 0 && restart->delay_ms <= 86400000);
    CHECK(restart->max_delay_ms >= 0 && restart->max_delay_ms <= 86400000);
    CHECK(restart->factor >= 1 && restart->factor <= 100);
    CHECK(restart->times >= -1 && restart->times <= 1000000);
}

static void check_spec(const struct job_spec *spec)
{
    CHECK(text_is_name(spec->key, strlen(spec->key)));
    CHECK(!text_is_dots(spec->key, strlen(spec->key)));
    CHECK(spec->wait_ms >= 0 && spec->wait_ms <= WAIT_MS_MAX);
    CHECK(spec->deadline_ms >= 0 && spec->deadline_ms <= 86400000);
    CHECK(!spec->wait_ms || spec->conflict == FM_JOIN);
    CHECK(!spec->stop_with_last_waiter || spec->wait_ms);
    check_restart(&spec->restart);
    const char *kind = work_kind_name(&spec->work);
    CHECK(kind && *kind);
    CHECK(spec->work.amount <= UINT64_C(100000000000));
}

/* As far as two readings of the same job must agree. */
static void compare(const struct job_spec *one, const struct job_spec *other)
{
    CHECK(one->work.kind == other->work.kind && one->work.amount == other->work.amount);
    CHECK(one->work.code == other->work.code);
    CHECK(!memcmp(one->work.digest, other->work.digest, sizeof one->work.digest));
    CHECK(one->conflict == other->conflict && one->wait_ms == other->wait_ms);
    CHECK(one->deadline_ms == other->deadline_ms);
    CHECK(one->restart.type == other->restart.type);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer body = { .data = exact_copy(data, size), .len = size, .capacity = size };
    const char *reason = NULL, *again = NULL;
    struct json_object *object = json_read_object(&body, &reason);
    CHECK(object || (reason && *reason));
    if (object) {
        struct job_spec spec, other;
        int r = spec_read(&spec, object, &reason);
        CHECK(r == 0 || (r == -EINVAL && reason && *reason));
        CHECK(spec_read(&other, object, &again) == r);
        if (r == 0) {
            check_spec(&spec);
            compare(&spec, &other);
            if (!json_missing(object, "key"))
                CHECK(!strcmp(spec.key, other.key));
        } else {
            CHECK(!strcmp(reason, again));
        }
    }
    json_object_put(object);
    free(body.data);
    return 0;
}
