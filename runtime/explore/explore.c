/*
 * explore.c - a test under many schedules: which ones, and what is made of them
 *
 * Knows not   what a step is; how a schedule is played (play.c) or the next one found
 *             (search.c).
 */
#include "fm/explore.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fm/fiber.h"
#include "runtime/explore/play.h"
#include "runtime/explore/search.h"
#include "runtime/explore/seen.h"
#include "runtime/explore/strategy.h"
#include "runtime/explore/tell.h"
#include "runtime/explore/trace.h"
#include "runtime/platform/config.h"

enum {
    SCHEDULES = 1000,
    STEP_LIMIT = 100000,
    STEP_LIMIT_MAX = 100000000,
    DEPTH = 3,
    PREEMPTIONS = 2,
    PATIENCE_S = 60,
    TWICE = 50, /* one process in so many is run again */
    SITES_MAX = 1024,
};

struct explore {
    struct fm_explore_options options;
    struct play play;
    struct fm_explore_report report;
    struct search search;
    struct seen seen;
    uint64_t traces[TOGETHER_MAX];         /* of the process before */
    uint64_t steps_before, steps_expected; /* of the test, and of itself */
    const struct turn_point *sites[SITES_MAX];
    uint32_t site_count;
};

/* ---- the schedules of a process ---- */

/* `count` of them from this one on. 0, the result is in the report · -EAGAIN */
static int run_plans(struct explore *explore, const struct plan *plan, uint32_t count)
{
    const struct result *result = explore->play.result;
    struct fm_explore_report *report = &explore->report;
    enum fm_explore_kind kind;

    int r = fm__play(&explore->play, plan, count, &kind);
    if (r < 0)
        return r;
    explore->play.result->traces[result->played - 1] = result->log.trace;
    report->kind = kind;
    report->code = result->code;
    report->exit = result->exit;
    report->seed = plan->seed;
    report->trace = result->log.trace;
    report->steps += result->steps_before + result->log.steps;
    if (result->steps_max > report->steps_max)
        report->steps_max = result->steps_max;
    if (result->log.steps > report->steps_max)
        report->steps_max = result->log.steps;
    return 0;
}

/* The same again: what differs was not the schedules' doing. */
static int run_again(struct explore *explore, const struct plan *plan, uint32_t count)
{
    const struct result *result = explore->play.result;
    struct fm_explore_report *report = &explore->report;

    memcpy(explore->traces, result->traces, count * sizeof *explore->traces);
    int r = run_plans(explore, plan, count);
    if (r == 0 && (result->played != count || memcmp(explore->traces, result->traces,
                                                     count * sizeof *explore->traces) != 0))
        report->kind = FM_EXPLORE_DIVERGED;
    return r;
}

/* ---- plans ---- */

static struct plan plan_of(const struct explore *explore)
{
    const struct fm_explore_options *options = &explore->options;
    bool keep = options->strategy == FM_EXPLORE_EXHAUSTIVE;

    return (struct plan) {
        .kind = options->strategy == FM_EXPLORE_RANDOM ? PLAN_RANDOM
                : options->strategy == FM_EXPLORE_PCT  ? PLAN_PCT
                                                       : PLAN_GIVEN,
        .seed = options->seed,
        .depth = options->depth,
        .steps_before = explore->steps_before,
        .steps_expected = explore->steps_expected,
        .sites = explore->sites,
        .site_count = explore->site_count,
        .deviations = keep ? explore->search.deviations : NULL,
        .deviation_count = keep ? explore->search.deviation_count : 0,
        .step_limit = options->step_limit,
        .time_jumps = keep ? 0 : options->time_jumps,
        .fine = (options->flags & FM_EXPLORE_FINE) != 0,
        .keep_choices = keep,
        .light = (options->flags & FM_EXPLORE_LIGHT) != 0,
    };
}

/* The places in the code that the test comes to, each once. */
static void note_sites(struct explore *explore, uint64_t first, uint64_t end)
{
    const struct arbiter_log *log = &explore->play.result->log;

    for (uint64_t i = first; i < end && explore->site_count < SITES_MAX; i++) {
        uint32_t k = 0;
        while (k < explore->site_count && explore->sites[k] != log->records[i].point)
            k++;
        if (k == explore->site_count)
            explore->sites[explore->site_count++] = log->records[i].point;
    }
}

/* How many steps the test takes, and where, when nobody is preempted. */
static int measure(struct explore *explore)
{
    struct plan plan = plan_of(explore);

    plan.kind = PLAN_GIVEN;
    plan.time_jumps = 0;
    int r = run_plans(explore, &plan, 1);
    const struct arbiter_log *log = &explore->play.result->log;
    explore->steps_before = log->test_begins;
    uint64_t end = log->test_ends ? log->test_ends : log->steps;
    explore->steps_expected = end - log->test_begins + 1;
    note_sites(explore, log->test_begins, end);
    explore->report.steps = explore->report.steps_max = 0;
    return r;
}

/* A schedule that others preceded in its process is repeated with them. */
static void write_replay(struct explore *explore)
{
    const struct result *result = explore->play.result;
    struct fm_explore_report *report = &explore->report;

    if (explore->options.strategy == FM_EXPLORE_EXHAUSTIVE)
        fm__search_write(&explore->search, report->replay, sizeof report->replay);
    else if (result->played > 1)
        snprintf(report->replay, sizeof report->replay, "0x%" PRIx64 "+%u", report->seed,
                 result->played - 1);
    else
        snprintf(report->replay, sizeof report->replay, "0x%" PRIx64, report->seed);
}

/* ---- searching ---- */

static int search_schedules(struct explore *explore)
{
    const struct fm_explore_options *options = &explore->options;
    const struct result *result = explore->play.result;
    const struct arbiter_log *log = &result->log;
    struct fm_explore_report *report = &explore->report;
    uint64_t seeds = options->seed;
    int r = 0;

    for (uint64_t i = 0; !options->schedules || report->schedules < options->schedules; i++) {
        struct plan plan = plan_of(explore);
        uint32_t count = options->together;
        if (options->schedules && count > options->schedules - report->schedules)
            count = (uint32_t)(options->schedules - report->schedules);
        if (i && options->strategy != FM_EXPLORE_EXHAUSTIVE)
            plan.seed = fm__explore_random(&seeds);
        r = run_plans(explore, &plan, count);
        report->schedules += r < 0 ? 0 : result->played;
        if (r == 0 && report->kind == FM_EXPLORE_PASSED && i % TWICE == 0)
            r = run_again(explore, &plan, count);
        if (r < 0 || report->kind != FM_EXPLORE_PASSED)
            return r;
        for (uint32_t k = 0; k < count; k++)
            fm__seen_add(&explore->seen, result->traces[k]);
        if (options->strategy == FM_EXPLORE_EXHAUSTIVE &&
            !fm__search_next(&explore->search, log->choices, log->choice_count)) {
            explore->report.complete = !explore->search.out_of_memory;
            return explore->search.out_of_memory ? -ENOMEM : 0;
        }
    }
    return r;
}

static int replay(struct explore *explore, const char *text)
{
    struct fm_explore_options *options = &explore->options;
    unsigned long before = 0;
    char *end = NULL;

    if (options->strategy == FM_EXPLORE_EXHAUSTIVE) {
        if (!fm__search_read(&explore->search, text))
            return -EINVAL;
    } else {
        options->seed = strtoull(text, &end, 0);
        if (end != text && *end == '+' && end[1] >= '0' && end[1] <= '9')
            before = strtoul(end + 1, &end, 10);
        if (end == text || *end || before >= TOGETHER_MAX)
            return -EINVAL;
    }
    struct plan plan = plan_of(explore);
    int r = run_plans(explore, &plan, (uint32_t)before + 1);
    explore->report.schedules = 1;
    return r;
}

/* ---- one call ---- */

static int read_options(struct explore *explore, const struct fm_explore_options *given)
{
    struct fm_explore_options *options = &explore->options;
    const char *seed = getenv("FM_SEED");

    int r = fm__config_read(options, sizeof *options, given);
    if (r < 0)
        return r;
    if (options->strategy > FM_EXPLORE_EXHAUSTIVE || options->depth > CHANGE_POINTS_MAX ||
        options->flags & ~(FM_EXPLORE_FINE | FM_EXPLORE_QUIET | FM_EXPLORE_LIGHT) ||
        options->trace_fd < 0 || options->step_limit > STEP_LIMIT_MAX ||
        options->together > TOGETHER_MAX ||
        (options->together > 1 && options->strategy == FM_EXPLORE_EXHAUSTIVE))
        return -EINVAL;
    options->together += !options->together;
    struct fm_runtime_config *config = &explore->play.config;
    r = fm__config_read(config, sizeof *config, options->config);
    if (r < 0)
        return r;
    if (!config->worker_count)
        config->worker_count = 2;
    config->size = sizeof *config;
    if (!options->name)
        options->name = "test";
    if (seed)
        options->seed = strtoull(seed, NULL, 0);
    options->seed += !options->seed;
    if (!options->schedules && options->strategy != FM_EXPLORE_EXHAUSTIVE)
        options->schedules = SCHEDULES;
    if (!options->step_limit)
        options->step_limit = STEP_LIMIT;
    if (!options->depth)
        options->depth = DEPTH;
    if (!options->preemptions)
        options->preemptions = PREEMPTIONS;
    if (!options->patience_s)
        options->patience_s = PATIENCE_S;
    explore->play.patience_s = options->patience_s;
    explore->play.check = options->check;
    return 0;
}

/* FM_EXPLORE=name=... */
static const char *replay_wanted(const struct explore *explore)
{
    const char *name = explore->options.name, *given = getenv("FM_EXPLORE");
    size_t length = strlen(name);

    if (given && strncmp(given, name, length) == 0 && given[length] == '=')
        return given + length + 1;
    return explore->options.replay;
}

static int explore_all(struct explore *explore)
{
    const struct fm_explore_options *options = &explore->options;
    const struct arbiter_log *log;
    bool quiet = options->flags & FM_EXPLORE_QUIET;

    int r = fm__play_init(&explore->play, options->step_limit, !quiet);
    if (r < 0)
        return r;
    log = &explore->play.result->log;
    fm__search_init(&explore->search, options->preemptions, options->deviations);
    if (options->strategy != FM_EXPLORE_EXHAUSTIVE)
        r = measure(explore);
    const char *again = replay_wanted(explore);
    if (r == 0)
        r = again ? replay(explore, again) : search_schedules(explore);
    if (r == 0) {
        explore->report.distinct = explore->seen.count;
        write_replay(explore);
        bool failed = explore->report.kind != FM_EXPLORE_PASSED;
        if (failed && !quiet)
            fm__tell_failure(options->name, &explore->report, &explore->play);
        if (again && again != options->replay)
            fm__trace_write(log, STDERR_FILENO);
        if ((failed || again) && options->trace_fd > 0)
            fm__trace_write(log, options->trace_fd);
        r = failed ? FM_EXPLORE_FOUND : 0;
    }
    fm__search_fini(&explore->search);
    fm__seen_fini(&explore->seen);
    fm__play_fini(&explore->play);
    return r;
}

int fm_explore(fm_entry_fn *test, void *arg, const struct fm_explore_options *options,
               struct fm_explore_report *ret_report)
{
    if (!test)
        return -EINVAL;
    if (fm_fiber_self() || fm__arbiter_seated())
        return -EPERM;
    struct explore *explore = calloc(1, sizeof *explore);
    if (!explore)
        return -ENOMEM;
    explore->play.test = test;
    explore->play.arg = arg;
    int r = read_options(explore, options);
    if (r == 0)
        r = explore_all(explore);
    if (r >= 0 && ret_report)
        *ret_report = explore->report;
    free(explore);
    return r;
}
