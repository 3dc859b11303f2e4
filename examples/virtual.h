/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtual.h - what main() is in the examples whose minutes pass in no time (docs/clock.md)
 *
 * A program of yours calls fm_run(program, NULL, &exit) instead.
 */
#ifndef EXAMPLES_VIRTUAL_H
#define EXAMPLES_VIRTUAL_H

#include <fm/fm.h>

/*
 * Run a program in a fiber, for an hour of a virtual clock.
 *
 * worker_count   0 for one a processor; 1 where what is printed would have no order else.
 *
 * Returns        what main() returns: 0 if the program has ended with success within the hour.
 */
static inline int run_virtually(fm_entry_fn *program, uint32_t worker_count)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_fiber *fiber;
    struct fm_exit exit = { 0 };

    config.clock = FM_CLOCK_VIRTUAL;
    config.worker_count = worker_count;
    if (fm_runtime_create(&config, &runtime) < 0)
        return 1;
    int r = fm_runtime_spawn(runtime, program, NULL, NULL, &fiber);
    if (r == 0) {
        fm_clock_advance_ns(runtime, INT64_C(3600000000000));
        r = fm_fiber_poll(fiber, &exit);
        fm_fiber_unref(fiber);
    }
    fm_runtime_destroy(runtime);
    return r < 0 || exit.kind != FM_SUCCESS;
}

#endif
