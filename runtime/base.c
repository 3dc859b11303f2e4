/*
 * base.c - exits, texts, the version
 */
#include "fm/runtime.h"

#include <errno.h>
#include <string.h>

struct fm_exit fm_ok(void *value)
{
    return (struct fm_exit) { .kind = FM_SUCCESS, .value = value };
}

struct fm_exit fm_fail(int code)
{
    return (struct fm_exit) { .kind = FM_FAILURE, .code = code };
}

struct fm_exit fm_fail_with(int code, void *value)
{
    return (struct fm_exit) { .kind = FM_FAILURE, .code = code, .value = value };
}

struct fm_exit fm_interrupted(void)
{
    return (struct fm_exit) { .kind = FM_INTERRUPTED };
}

struct fm_exit fm_defect(int code)
{
    return (struct fm_exit) { .kind = FM_DEFECT, .code = code };
}

const char *fm_strerror(int result)
{
    if (result == 0)
        return "Success";
    if (result == INT32_MIN)
        return "Unknown error";
    /*
     * strerrordesc_np has static texts; strerror's buffer belongs to the thread, which a fiber
     * may leave
     */
    const char *text = strerrordesc_np(result < 0 ? -result : result);
    return text ? text : "Unknown error";
}

const char *fm_exit_kind_name(int kind)
{
    switch (kind) {
    case FM_SUCCESS: return "success";
    case FM_FAILURE: return "failure";
    case FM_INTERRUPTED: return "interrupted";
    case FM_DEFECT: return "defect";
    }
    return "unknown";
}

const char *fm_reason_name(int reason)
{
    static const char *const names[] = {
        [FM_BY_NOBODY] = "nobody",
        [FM_BY_USER] = "user",
        [FM_BY_PARENT] = "parent",
        [FM_BY_REPLACE] = "replace",
        [FM_BY_REMOVE] = "remove",
        [FM_BY_CLEAR] = "clear",
        [FM_BY_CLOSE] = "close",
        [FM_BY_REJECT] = "reject",
        [FM_BY_LAST_WAITER] = "last waiter",
        [FM_BY_RESTART_LIMIT] = "restart limit",
        [FM_BY_DEADLINE] = "deadline",
        [FM_BY_SHUTDOWN] = "shutdown",
        [FM_BY_GROUP] = "group",
        [FM_BY_IDLE] = "idle",
    };
    return reason >= 0 && (size_t)reason < sizeof names / sizeof *names ? names[reason]
                                                                        : "unknown";
}

const char *fm_version(void)
{
    return FM_BUILD_VERSION;
}

uint64_t fm_histogram_percentile(const struct fm_histogram *histogram, double percent)
{
    enum { BUCKETS = sizeof histogram->bucket / sizeof histogram->bucket[0] };
    uint64_t total = 0, seen = 0;

    if (!histogram)
        return 0;
    /* of the buckets, not count: they may have been read while values were added */
    for (unsigned i = 0; i < BUCKETS; i++)
        total += histogram->bucket[i];
    if (!total)
        return 0;
    double share = percent > 0 ? percent < 100 ? percent / 100 : 1 : 0;
    for (unsigned i = 0; i < BUCKETS - 1; i++) {
        seen += histogram->bucket[i];
        if (seen && (double)seen >= share * (double)total) {
            uint64_t highest = (UINT64_C(2) << i) - 1; /* of the bucket */
            return highest < histogram->max ? highest : histogram->max;
        }
    }
    return histogram->max; /* it is in the last one, which has no end */
}
