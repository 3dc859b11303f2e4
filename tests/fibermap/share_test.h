/* SPDX-License-Identifier: Apache-2.0 */
/*
 * share_test.h - a piece of work under the key "key", and callers that share it
 *
 * Each caller is a fiber of its own. What has become of the work is counted in it.
 */
#ifndef TESTS_FIBERMAP_SHARE_TEST_H
#define TESTS_FIBERMAP_SHARE_TEST_H

#include "tests/support/maps.h"

/* One shared piece of work, and what became of it. */
struct work {
    struct fm_map *map;
    int64_t ms; /* how long a body takes; below 0: for ever */
    struct fm_exit exit;
    _Atomic int bodies, drops, interrupted, ends;
};

static inline int count_interruption(void *arg, struct fm_exit exit)
{
    struct work *work = arg;
    work->interrupted++;
    return 0;
}

static inline struct fm_exit work_body(void *arg)
{
    struct work *work = arg;
    work->bodies++;
    fm_defer_on_interrupt(count_interruption, work);
    int r = work->ms < 0 ? fm_never() : fm_sleep_ms(work->ms);
    if (r < 0)
        return fm_fail(r);
    work->ends++;
    return work->exit;
}

static inline void drop(void *arg)
{
    ((struct work *)arg)->drops++;
}

/* A caller, a fiber of its own. */
struct caller {
    struct work *work;
    int64_t deadline_ns;
    uint32_t flags;
    int result;
    struct fm_exit exit;
    struct fm_fiber *fiber;
};

static inline int share(struct work *work, uint32_t flags, int64_t deadline_ns,
                        struct fm_exit *ret_exit)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.flags = flags;
    options.arg_drop = drop;
    return fm_map_run_wait(work->map, fm_key_str("key"), work_body, work, &options, deadline_ns,
                           ret_exit);
}

static inline struct fm_exit call(void *arg)
{
    struct caller *caller = arg;
    caller->result = share(caller->work, caller->flags, caller->deadline_ns, &caller->exit);
    return fm_ok(NULL);
}

static inline void call_all(struct caller *callers, int count, struct work *work,
                            uint32_t flags)
{
    for (int i = 0; i < count; i++) {
        callers[i] = (struct caller) { .work = work, .flags = flags, .deadline_ns = FM_NEVER };
        callers[i].fiber = start(call, &callers[i]);
    }
    pass_ms(0);
}

static inline void all_have_returned(struct caller *callers, int count)
{
    for (int i = 0; i < count; i++)
        finish(callers[i].fiber);
}

static inline struct work new_work(int64_t ms, struct fm_exit exit)
{
    return (struct work) { .map = new_map(), .ms = ms, .exit = exit };
}

static inline struct fm_exit any(void)
{
    return fm_ok(NULL);
}

enum { MANY = 5 };

#endif
