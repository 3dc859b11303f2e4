/*
 * call.c - try, wait, try again
 *
 * Knows not   what is tried.
 */
#include "runtime/io/call.h"

#include <errno.h>

#include "runtime/io/blocking.h"
#include "runtime/platform/check.h"

struct file_job {
    const struct use *use;
    const struct call *call;
};

static struct fm_exit run_file_job(void *arg)
{
    const struct file_job *job = arg;
    return fm_fail_with(0, (void *)(intptr_t)job->call->attempt(job->use, job->call));
}

/*
 * A file is always ready, and may make its thread wait for a device: that thread is one of the
 * pool. The buffer is the caller's: who leaves before a thread has begun takes the job along,
 * from there on he waits for its end. Where there is no pool to be had, the worker itself
 * waits.
 */
static ssize_t call_file(const struct use *use, const struct call *call, int64_t deadline_ns)
{
    FM_ASSERT(use->kind == KIND_FILE);
    struct file_job job = { use, call };
    struct fm_exit exit;
    ssize_t n = -EAGAIN;

    if (call->file_attempt)
        n = call->file_attempt(use, call);
    if (n != -EAGAIN && n != -EOPNOTSUPP)
        return n;
    int r = fm__blocking_run_lent(run_file_job, &job, deadline_ns, &exit);
    if (r == -ECANCELED || r == -ETIMEDOUT)
        return r;
    if (r < 0)
        return call->attempt(use, call);
    return exit.kind == FM_INTERRUPTED ? -ECANCELED : (ssize_t)(intptr_t)exit.value;
}

ssize_t fm__call(int fd, const struct call *call, int64_t deadline_ns)
{
    FM_ASSERT(call->attempt && call->what);
    enum direction direction = call->direction;
    struct use use;
    uint32_t seen[2];
    bool waited = false;
    ssize_t n;

    int r = fm__use_begin(&use, fd);
    if (r < 0)
        return r;
    for (;;) {
        if (use.kind == KIND_FILE) {
            n = call_file(&use, call, deadline_ns);
            break;
        }
        seen[direction] = fm__use_tick(&use, direction);
        use.on_time = (seen[direction] & TICK_DRAINED) && !call->always_try &&
                      !fm__use_expired(&use, deadline_ns);
        if (!use.on_time) {
            n = call->attempt(&use, call);
            if (n != -EAGAIN) {
                if (call->streams && n > 0 && (size_t)n < call->count &&
                    fm__use_short_is_drained(&use))
                    fm__use_drained(&use, direction, seen[direction]);
                break;
            }
            if (!call->always_try)
                fm__use_drained(&use, direction, seen[direction]);
        }
        r = fm__use_wait(&use, 1u << direction, seen, deadline_ns, call->what);
        if (r < 0)
            return r;
        waited = true;
    }
    fm__use_pass_on(&use);
    fm__use_end(&use);
    if (!waited)
        fm__budget_spend();
    return n;
}
