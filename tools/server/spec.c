/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec.c - one job as a client describes it
 *
 * Every member has a default; one that is there and wrong is refused, never ignored.
 */
#include "tools/server/spec.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "tools/server/json.h"

enum { DAY_MS = 86400000, TIMES_MAX = 1000000 };

struct choice {
    const char *name;
    uint32_t value;
};

static int wrong(const char **ret_reason, const char *reason)
{
    *ret_reason = reason;
    return -EINVAL;
}

/* Which of the choices stands under name; absent, *ret_value stays: 0 · -EINVAL */
static int read_choice(struct json_object *from, const char *name,
                       const struct choice choices[], uint32_t *ret_value)
{
    if (json_missing(from, name))
        return 0;
    for (; choices->name; choices++) {
        if (json_says(from, name, choices->name)) {
            *ret_value = choices->value;
            return 0;
        }
    }
    return -EINVAL;
}

/* The key that is asked for, or a new one. */
static int read_key(struct json_object *from, char key[NAME_BYTES_MAX + 1],
                    const char **ret_reason)
{
    if (json_missing(from, "key")) {
        unsigned char random[16];
        if (getrandom(random, sizeof random, 0) != sizeof random)
            return wrong(ret_reason, "no random bytes for a key");
        text_hex(random, sizeof random, key);
        return 0;
    }
    size_t len;
    const char *text = json_text(from, "key", &len);
    if (!text || !text_is_name(text, len) || text_is_dots(text, len))
        return wrong(ret_reason, "key is a string of 1 to 512 bytes without control "
                                 "characters, and not . or ..");
    memcpy(key, text, len + 1);
    return 0;
}

static int read_conflict(struct json_object *from, struct job_spec *spec,
                         const char **ret_reason)
{
    static const struct choice modes[] = {
        { "replace", FM_REPLACE },
        { "only-if-missing", FM_ONLY_IF_MISSING },
        { "fail", FM_FAIL },
        { "await-replace", FM_REPLACE_AWAIT },
        { "join", FM_JOIN },
        { "queue", FM_QUEUE },
        { NULL, 0 },
    };
    if (read_choice(from, "mode", modes, &spec->conflict) < 0)
        return wrong(ret_reason, "mode is replace, only-if-missing, fail, await-replace, join "
                                 "or queue");
    if (json_number(from, "wait_ms", 0, WAIT_MS_MAX, &spec->wait_ms) < 0)
        return wrong(ret_reason, "wait_ms is a whole number from 0 to 600000");
    if (json_flag(from, "stop_with_last_waiter", &spec->stop_with_last_waiter) < 0)
        return wrong(ret_reason, "stop_with_last_waiter is true or false");
    if (spec->wait_ms && spec->conflict != FM_JOIN)
        return wrong(ret_reason, "wait_ms goes with mode join");
    if (spec->stop_with_last_waiter && !spec->wait_ms)
        return wrong(ret_reason, "stop_with_last_waiter goes with wait_ms");
    return 0;
}

/* The back-off: a fixed delay, or one that grows up to a bound. */
static int read_backoff(struct json_object *from, struct restart_spec *restart,
                        const char **ret_reason)
{
    restart->factor = 1;
    restart->max_delay_ms = DAY_MS;
    restart->times = -1;
    if (json_number(from, "delay_ms", 0, DAY_MS, &restart->delay_ms) < 0 ||
        json_number(from, "max_delay_ms", 0, DAY_MS, &restart->max_delay_ms) < 0)
        return wrong(ret_reason, "delay_ms and max_delay_ms are from 0 to 86400000");
    if (json_number(from, "times", 0, TIMES_MAX, &restart->times) < 0)
        return wrong(ret_reason, "times is a whole number from 0 to 1000000");
    struct json_object *factor;
    if (!json_object_object_get_ex(from, "factor", &factor))
        return 0;
    if (json_object_is_type(factor, json_type_int) ||
        json_object_is_type(factor, json_type_double))
        restart->factor = json_object_get_double(factor);
    else
        restart->factor = 0;
    if (!(restart->factor >= 1 && restart->factor <= 100))
        return wrong(ret_reason, "factor is a number from 1 to 100");
    return 0;
}

static int read_restart(struct json_object *from, struct restart_spec *restart,
                        const char **ret_reason)
{
    static const struct choice types[] = { { "temporary", FM_TEMPORARY },
                                           { "transient", FM_TRANSIENT },
                                           { "permanent", FM_PERMANENT },
                                           { NULL, 0 } };
    struct json_object *object;
    if (!json_object_object_get_ex(from, "restart", &object))
        return 0;
    if (!json_object_is_type(object, json_type_object) || json_missing(object, "type") ||
        read_choice(object, "type", types, &restart->type) < 0)
        return wrong(ret_reason, "restart is an object whose type is temporary, transient or "
                                 "permanent");
    int64_t intensity = 0;
    restart->period_ms = 5000;
    if (json_number(object, "intensity", 0, FM_RESTART_INTENSITY_MAX, &intensity) < 0)
        return wrong(ret_reason, "intensity is a whole number from 0 to 65536");
    if (json_number(object, "period_ms", 1, DAY_MS, &restart->period_ms) < 0)
        return wrong(ret_reason, "period_ms is a whole number from 1 to 86400000");
    restart->intensity = (uint32_t)intensity;
    return read_backoff(object, restart, ret_reason);
}

int spec_read(struct job_spec *spec, struct json_object *from, const char **ret_reason)
{
    memset(spec, 0, sizeof *spec);
    int r = read_key(from, spec->key, ret_reason);
    if (r == 0)
        r = read_conflict(from, spec, ret_reason);
    if (r == 0)
        r = read_restart(from, &spec->restart, ret_reason);
    if (r == 0 && json_number(from, "deadline_ms", 1, DAY_MS, &spec->deadline_ms) < 0)
        r = wrong(ret_reason, "deadline_ms is a whole number from 1 to 86400000");
    return r < 0 ? r : work_read(&spec->work, from, ret_reason);
}
