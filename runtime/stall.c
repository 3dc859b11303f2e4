/*
 * stall.c - a fiber that keeps its worker: what its thread does, who it is, where it is
 *
 * Invariant   the monitor never waits for the fiber that it reports: what it asks of it has a
 *             deadline, and function names, for which the loader's lock is needed, are left to
 *             addr2line: the fiber may be inside dlopen.
 */
#include "runtime/stall.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "runtime/dump.h"
#include "runtime/platform/clock.h"
#include "runtime/sched/sample.h"

enum fm_stall_cause fm__stall_cause(const struct sched_stall *stall, char state)
{
    int64_t half = stall->watched_ns / 2;

    if (state == 'T' || state == 't')
        return FM_STALL_STOPPED;
    if (stall->times.ran_ns >= half)
        return FM_STALL_RUNNING;
    if (stall->throttled_ns >= half)
        return FM_STALL_THROTTLED;
    if (stall->times.queued_ns >= half)
        return FM_STALL_QUEUED;
    /* neither ran nor waited to: it slept, and if it is awake now then since a moment ago */
    if (state == 'S' || state == 'D' || stall->times.ran_ns + stall->times.queued_ns < half)
        return FM_STALL_KERNEL;
    return state == 'R' ? FM_STALL_RUNNING : FM_STALL_UNKNOWN;
}

bool fm__stall_may_print(int64_t now_ns, uint64_t *ret_left_out)
{
    static struct lock lock = LOCK_INIT(LOCK_RUNTIME);
    static int64_t second_ns = INT64_MIN;
    static uint32_t printed;
    static uint64_t left_out;

    fm__lock(&lock);
    if (second_ns == INT64_MIN || now_ns - second_ns >= 1000000000) {
        second_ns = now_ns;
        printed = 0;
    }
    bool may = printed < STALLS_A_SECOND;
    if (may) {
        printed++;
        *ret_left_out = left_out;
        left_out = 0;
    } else {
        left_out++;
    }
    fm__unlock(&lock);
    return may;
}

static int print_cause(char *text, size_t size, const struct fm_stall *stall)
{
    long long ran = stall->ran_ns / 1000000, queued = stall->queued_ns / 1000000;
    switch ((enum fm_stall_cause)stall->cause) {
    case FM_STALL_RUNNING: return snprintf(text, size, "was on a processor for %lld ms", ran);
    case FM_STALL_KERNEL:
        if (stall->system_call >= 0)
            return snprintf(text, size, "is in the kernel, in system call %d%s%s",
                            (int)stall->system_call, stall->wait_channel[0] ? " at " : "",
                            stall->wait_channel);
        return snprintf(text, size, "sleeps in the kernel%s%s",
                        stall->wait_channel[0] ? " at " : "", stall->wait_channel);
    case FM_STALL_QUEUED: return snprintf(text, size, "waited %lld ms for a processor", queued);
    case FM_STALL_THROTTLED:
        return snprintf(text, size, "was throttled: the quota of its control group is used up");
    case FM_STALL_STOPPED: return snprintf(text, size, "is stopped");
    case FM_STALL_UNKNOWN: break;
    }
    return snprintf(text, size, "does something unknown");
}

size_t fm__stall_text(char *text, size_t size, const struct fm_stall *stall, const char *who,
                      uint64_t left_out)
{
    char cause[128];
    size_t at = 0;

    if (left_out)
        at += (size_t)snprintf(text, size, "fibermap: %llu stalls were not printed\n",
                               (unsigned long long)left_out);
    print_cause(cause, sizeof cause, stall);
    at += (size_t)snprintf(text + at, size - at,
                           "fibermap: fiber %s has not let others run for %u ms; its thread %d "
                           "%s\n",
                           who, stall->ms, stall->thread_id, cause);
    for (uint32_t i = 0; i < stall->frame_count && at < size; i++) {
        char place[PLACE_TEXT];
        fm__place_text(place, (uintptr_t)stall->frames[i], false);
        at += (size_t)snprintf(text + at, size - at, "fibermap:   #%u %s\n", i, place);
    }
    return at < size ? at : size - 1;
}

/* One write, so that the lines of several runtimes do not mix. */
static void print(const struct fm_stall *stall, const char *who, uint64_t left_out)
{
    char text[16384];
    size_t length = fm__stall_text(text, sizeof text, stall, who, left_out);
    ssize_t written = write(STDERR_FILENO, text, length);
    (void)written;
}

void fm__stall_report(struct fm_runtime *runtime, const struct sched_stall *seen)
{
    const struct fm_runtime_config *config = &runtime->config;
    bool prints = seen->counts && !(config->flags & FM_RUNTIME_NO_STALL_REPORT);
    uint64_t left_out = 0;
    char who[768], key[256], channel[64];
    struct backtrace calls = { 0 };
    struct thread_call call;

    prints = prints && fm__stall_may_print(fm__clock_ns(), &left_out);
    if (!prints && !config->on_stall)
        return;
    /* It may have ended in the meantime: then there is nothing to tell. */
    struct fm_fiber *fiber = fm__fiber_ref_id(fm__fiber_id((struct fm_fiber *)seen->task));
    if (!fiber)
        return;
    if (fm__sched_running(&runtime->sched, seen->worker) != &fiber->task)
        goto unref;
    bool blocked = fm__thread_call(seen->kernel_id, &call);
    fm__thread_wait_channel(seen->kernel_id, channel, sizeof channel);
    if (fm__sample_task(&runtime->sched, seen->worker, &fiber->task, &calls) < 0)
        calls.count = 0;
    fm__describe_key(fiber, key, sizeof key);

    _Static_assert(sizeof(void *) == sizeof calls.pc[0],
                   "addresses are handed out as they are");
    struct fm_stall stall = {
        .size = sizeof stall,
        .ms = seen->ms,
        .cause = fm__stall_cause(seen, fm__thread_state(seen->kernel_id)),
        .worker = seen->worker,
        .fiber = fm__fiber_id(fiber),
        .name = fm_fiber_name(fiber),
        .key = key,
        .spawn_site = fiber->spawn_site,
        .ran_ns = seen->times.ran_ns,
        .queued_ns = seen->times.queued_ns,
        .throttled_ns = seen->throttled_ns,
        .thread_id = seen->kernel_id,
        .system_call = blocked ? (int32_t)call.number : -1,
        .wait_channel = channel,
        .frames = (void *const *)(void *)calls.pc,
        .frame_count = calls.count,
        .counts = seen->counts,
    };
    if (prints) {
        fm__describe_owner(fiber, who, sizeof who);
        print(&stall, who, left_out);
    }
    if (config->on_stall)
        config->on_stall(config->on_stall_arg, &stall);
unref:
    fm_fiber_unref(fiber);
}
