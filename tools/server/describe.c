/* SPDX-License-Identifier: Apache-2.0 */
/*
 * describe.c - jobs as JSON
 *
 * Nothing here keeps state.
 */
#include "tools/server/describe.h"

#include <errno.h>

#include "tools/server/json.h"

struct json_object *describe_running(const char *key, struct fm_fiber *fiber)
{
    struct json_object *object = json_object_new_object();
    if (!object)
        return NULL;
    json_add_text(object, "key", key);
    json_add_text(object, "state", "running");
    json_add_id(object, "id", fm_fiber_id(fiber));
    json_add_text(object, "kind", fm_fiber_name(fiber));
    uint64_t restarts = fm_fiber_incarnation(fiber);
    if (restarts)
        json_add_number(object, "restarts", restarts);
    return object;
}

static void describe_exit(struct json_object *object, const struct result *result, bool whole)
{
    const struct fm_exit *exit = &result->exit;
    if (exit->kind == FM_SUCCESS) {
        struct json_object *value = whole ? json_object_new_object() : NULL;
        if (value)
            work_describe(&result->work, value);
        json_object_object_add(object, "result", value);
        return;
    }
    if (exit->kind != FM_INTERRUPTED)
        json_object_object_add(object, "code", json_object_new_int(exit->code));
    if (exit->kind == FM_FAILURE && exit->code == -ETIMEDOUT)
        json_add_text(object, "reason", fm_reason_name(FM_BY_DEADLINE));
    else if (exit->kind == FM_INTERRUPTED || exit->reason)
        json_add_text(object, "reason", fm_reason_name(exit->reason));
}

struct json_object *describe_result(const char *key, const struct result *result, bool whole)
{
    struct json_object *object = json_object_new_object();
    if (!object)
        return NULL;
    json_add_text(object, "key", key);
    json_add_text(object, "state", fm_exit_kind_name(result->exit.kind));
    if (result->id)
        json_add_id(object, "id", result->id);
    json_add_text(object, "kind", work_kind_name(&result->work));
    if (whole)
        json_add_number(object, "ms", (uint64_t)(result->run_ns / 1000000));
    describe_exit(object, result, whole);
    return object;
}

static const char *outcome_name(uint32_t conflict, int result)
{
    switch (result) {
    case FM_MAP_REPLACED: return "replaced";
    case FM_MAP_QUEUED: return "queued";
    case FM_MAP_KEPT: return conflict == FM_JOIN ? "joined" : "kept";
    default: return "started";
    }
}

struct json_object *describe_outcome(const struct job_spec *spec,
                                     const struct job_outcome *outcome)
{
    struct json_object *object = json_object_new_object();
    if (!object)
        return NULL;
    json_add_id(object, "id", outcome->id);
    json_add_text(object, "key", spec->key);
    json_add_text(object, "outcome", outcome_name(spec->conflict, outcome->result));
    return object;
}

struct json_object *describe_member(const struct fm_member *member)
{
    static const char *const states[] = { [FM_MEMBER_LIVE] = "running",
                                          [FM_MEMBER_ZOMBIE] = "replaced",
                                          [FM_MEMBER_QUEUED] = "queued",
                                          [FM_MEMBER_ENDING] = "ending",
                                          [FM_MEMBER_BACKING_OFF] = "backing off" };
    struct json_object *object = json_object_new_object();
    if (!object)
        return NULL;
    json_object_object_add(object, "key",
                           json_object_new_string_len(member->key.data, (int)member->key.len));
    json_add_id(object, "id", fm_fiber_id(member->fiber));
    json_add_text(object, "name", fm_fiber_name(member->fiber));
    json_add_text(object, "state", states[member->state % 5]);
    json_add_number(object, "restarts", member->incarnation);
    json_object_object_add(object, "age_ms", json_object_new_int64(member->age_ns / 1000000));
    struct fm_fiber_look look;
    if (fm_fiber_look(member->fiber, &look) == 0) {
        json_add_text(object, "fiber", fm_fiber_state_name(look.state));
        if (look.waits_for) {
            json_add_text(object, "waits_for", look.waits_for);
            json_add_number(object, "waits_ms", look.waits_ms);
        }
    }
    return object;
}
