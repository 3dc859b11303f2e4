/*
 * explore.c - a test under many schedules: who forks, chooses the next one, and tells
 *
 * The parent makes plans, a child plays each of them. Between them stands one shared mapping:
 * the arbiter's log and the result.
 *
 *   parent                                  child
 *     plan; fork                              take the first seat; runtime; test; threads; end
 *     wait                                    write outcome and exit there; leave
 *     read outcome, choices, steps
 *
 * Knows not   what a step is; how a schedule is played (arbiter.c) or the next one found
 *             (search.c).
 */
#include "fm/explore.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fm/fiber.h"
#include "runtime/explore/arbiter.h"
#include "runtime/explore/platform.h"
#include "runtime/explore/search.h"
#include "runtime/explore/strategy.h"
#include "runtime/explore/trace.h"
#include "runtime/platform/config.h"
#include "runtime/platform/turn.h"

enum {
    SCHEDULES = 1000,
    STEP_LIMIT = 100000,
    STEP_LIMIT_MAX = 100000000,
    DEPTH = 3,
    PREEMPTIONS = 2,
    PATIENCE_S = 60,
    TWICE = 50, /* one schedule in so many is run again */
    THREADS_MAX = 60,
    SITES_MAX = 1024,
    EXIT_TOLD = 0,
};

/* In memory that parent and child share. */
struct result {
    struct arbiter_log log;
    struct fm_exit exit;
    int32_t code;
};

struct explore {
    struct fm_explore_options options;
    struct fm_runtime_config config;
    fm_entry_fn *test;
    void *arg;
    struct result *result;
    size_t mapped_bytes;
    struct fm_explore_report report;
    struct search search;
    uint64_t steps_before, steps_expected; /* of the test, and of itself */
    const struct turn_point *sites[SITES_MAX];
    uint32_t site_count;
    uint64_t *seen; /* hashes of traces, an open table */
    size_t seen_room;
    int notes_fd; /* what the child has to say about its deadlock; -1: nowhere */
};

/* ---- in the child ---- */

static struct {
    struct explore *explore;
    struct fm_runtime *runtime;
    _Atomic uint32_t thread_count;
    struct {
        void (*fn)(void *arg);
        void *arg;
        pthread_t thread;
    } threads[THREADS_MAX];
} playing;

static _Noreturn void leave(void)
{
    fflush(NULL);
    _exit(EXIT_TOLD);
}

/* The schedule cannot go on. */
static void cannot_go_on(void)
{
    struct explore *explore = playing.explore;

    fm__arbiter_abandon();
    if (playing.runtime && explore->notes_fd >= 0) {
        alarm(2); /* a lock that the dump wants may be held by who has no turn any more */
        fm_runtime_dump(playing.runtime, explore->notes_fd);
    }
    leave();
}

static void *thread_main(void *arg)
{
    uintptr_t i = (uintptr_t)arg;
    playing.threads[i].fn(playing.threads[i].arg);
    return NULL;
}

int fm_explore_thread(void (*fn)(void *arg), void *arg)
{
    if (!fn)
        return -EINVAL;
    if (!playing.runtime || !fm__turn_taken())
        return -EPERM;
    /* relaxed: takers take turns */
    uint32_t i = atomic_load_explicit(&playing.thread_count, memory_order_relaxed);
    if (i == THREADS_MAX)
        return -EAGAIN;
    playing.threads[i].fn = fn;
    playing.threads[i].arg = arg;
    atomic_store_explicit(&playing.thread_count, i + 1, memory_order_relaxed);
    int e = fm__turn_thread_create(&playing.threads[i].thread, NULL, thread_main,
                                   (void *)(uintptr_t)i);
    if (e)
        playing.threads[i].fn = NULL;
    return e ? -EAGAIN : 0;
}

static void join_threads(void)
{
    /* A thread may make another while it is waited for. */
    for (uint32_t i = 0; i < atomic_load_explicit(&playing.thread_count, memory_order_relaxed);
         i++)
        if (playing.threads[i].fn)
            fm__turn_thread_join(playing.threads[i].thread, NULL);
}

static struct fm_exit test_main(void *arg)
{
    struct explore *explore = arg;
    fm__arbiter_test_begins();
    return explore->test(explore->arg);
}

static enum outcome play_test(struct explore *explore)
{
    struct result *result = explore->result;

    int r = fm_runtime_create(&explore->config, &playing.runtime);
    if (r == 0) {
        r = fm_runtime_run(playing.runtime, test_main, explore, &result->exit);
        join_threads();
        fm__arbiter_test_ends();
        playing.runtime = fm_runtime_destroy(playing.runtime);
    }
    result->code = r;
    return r == 0 && result->exit.kind == FM_SUCCESS ? OUTCOME_PASSED : OUTCOME_FAILED;
}

static _Noreturn void play(struct explore *explore, const struct plan *plan)
{
    struct result *result = explore->result;

    playing.explore = explore;
    alarm(explore->options.patience_s);
    fm__arbiter_begin(plan, &result->log, cannot_go_on);
    enum outcome outcome = play_test(explore);
    fm__arbiter_end();
    if (outcome == OUTCOME_PASSED && explore->options.check) {
        int r = explore->options.check(explore->arg);
        result->code = r;
        if (r < 0)
            outcome = OUTCOME_FAILED;
    }
    result->log.outcome = outcome;
    leave();
}

/* ---- points of the test's own ---- */

void fm_explore_point(const char *what)
{
    if (what && fm__arbiter_seated())
        fm__arbiter_turn(fm__arbiter_point(what), false);
}

void fm_explore_wait(const char *what)
{
    if (what && fm__arbiter_seated())
        fm__arbiter_turn(fm__arbiter_point(what), true);
}

uint64_t fm_explore_random(void)
{
    return fm__arbiter_random();
}

/* ---- a schedule, from outside ---- */

static enum fm_explore_kind kind_of(enum outcome outcome, int status, int32_t *ret_code)
{
    switch (outcome) {
    case OUTCOME_NONE: break;
    case OUTCOME_PASSED: return FM_EXPLORE_PASSED;
    case OUTCOME_FAILED: return FM_EXPLORE_FAILED;
    case OUTCOME_DEADLOCK: return FM_EXPLORE_DEADLOCK;
    case OUTCOME_STEP_LIMIT: return FM_EXPLORE_STEP_LIMIT;
    case OUTCOME_DIVERGED: return FM_EXPLORE_DIVERGED;
    }
    *ret_code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? FM_EXPLORE_STUCK
                                                              : FM_EXPLORE_CRASHED;
}

/* 0, the result is in the report · -EAGAIN */
static int run_plan(struct explore *explore, const struct plan *plan)
{
    struct result *result = explore->result;
    struct fm_explore_report *report = &explore->report;
    int status = 0;

    result->log.outcome = OUTCOME_NONE;
    result->log.steps = 0;
    result->log.choice_count = 0;
    result->exit = (struct fm_exit) { 0 };
    result->code = 0;
    explore->config.seed = plan->seed ? plan->seed : 1;
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        return -EAGAIN;
    if (child == 0)
        play(explore, plan);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    report->code = result->code;
    report->kind = kind_of(result->log.outcome, status, &report->code);
    report->exit = result->exit;
    report->seed = plan->seed;
    report->trace = result->log.trace;
    report->steps += result->log.steps;
    if (result->log.steps > report->steps_max)
        report->steps_max = result->log.steps;
    return 0;
}

/* The same again, now and then: what differs was not the schedule's doing. */
static int run_and_compare(struct explore *explore, const struct plan *plan, bool twice)
{
    struct fm_explore_report *report = &explore->report;

    int r = run_plan(explore, plan);
    report->schedules++;
    if (r < 0 || !twice || report->kind != FM_EXPLORE_PASSED)
        return r;
    uint64_t trace = report->trace;
    r = run_plan(explore, plan);
    if (r == 0 && report->trace != trace)
        report->kind = FM_EXPLORE_DIVERGED;
    return r;
}

/* ---- what has been seen ---- */

static bool seen_grow(struct explore *explore)
{
    size_t room = explore->seen_room ? 2 * explore->seen_room : 1024;
    uint64_t *seen = calloc(room, sizeof *seen);
    if (!seen)
        return false;
    for (size_t i = 0; i < explore->seen_room; i++) {
        uint64_t trace = explore->seen[i];
        size_t at = trace & (room - 1);
        while (trace && seen[at])
            at = (at + 1) & (room - 1);
        if (trace)
            seen[at] = trace;
    }
    free(explore->seen);
    explore->seen = seen;
    explore->seen_room = room;
    return true;
}

static void count_distinct(struct explore *explore)
{
    uint64_t trace = explore->report.trace | 1;

    if (explore->report.distinct * 2 >= explore->seen_room && !seen_grow(explore))
        return;
    size_t at = trace & (explore->seen_room - 1);
    for (; explore->seen[at]; at = (at + 1) & (explore->seen_room - 1))
        if (explore->seen[at] == trace)
            return;
    explore->seen[at] = trace;
    explore->report.distinct++;
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
    };
}

/* The places in the code that the test comes to, each once. */
static void note_sites(struct explore *explore, uint64_t first, uint64_t end)
{
    const struct arbiter_log *log = &explore->result->log;

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
    int r = run_plan(explore, &plan);
    const struct arbiter_log *log = &explore->result->log;
    explore->steps_before = log->test_begins;
    uint64_t end = log->test_ends ? log->test_ends : log->steps;
    explore->steps_expected = end - log->test_begins + 1;
    note_sites(explore, log->test_begins, end);
    explore->report.steps = explore->report.steps_max = 0;
    return r;
}

static bool read_deviations(const char *text, struct search *search)
{
    uint32_t count = 0;
    while (*text && strcmp(text, "usual") != 0) {
        char *end;
        unsigned long choice = strtoul(text, &end, 10);
        if (end == text || *end != '.' || count == DEVIATIONS_MAX)
            return false;
        text = end + 1;
        unsigned long seat = strtoul(text, &end, 10);
        if (end == text || seat >= SEATS_MAX || (*end && *end != '-'))
            return false;
        search->deviations[count++] = (struct deviation) { (uint32_t)choice, (uint32_t)seat };
        text = *end ? end + 1 : end;
    }
    search->deviation_count = count;
    return true;
}

static void write_replay(const struct explore *explore, char *to, size_t size)
{
    size_t at = 0;

    if (explore->options.strategy != FM_EXPLORE_EXHAUSTIVE) {
        snprintf(to, size, "0x%" PRIx64, explore->report.seed);
        return;
    }
    snprintf(to, size, "usual");
    for (uint32_t i = 0; i < explore->search.deviation_count; i++) {
        const struct deviation *d = &explore->search.deviations[i];
        at += (size_t)snprintf(to + at, size - at, "%s%u.%u", i ? "-" : "", d->choice, d->seat);
        if (at >= size) {
            *to = 0;
            return;
        }
    }
}

/* ---- searching ---- */

static int search_schedules(struct explore *explore)
{
    const struct fm_explore_options *options = &explore->options;
    const struct arbiter_log *log = &explore->result->log;
    uint64_t seeds = options->seed;
    int r = 0;

    for (uint64_t i = 0; !options->schedules || i < options->schedules; i++) {
        struct plan plan = plan_of(explore);
        if (i && options->strategy != FM_EXPLORE_EXHAUSTIVE)
            plan.seed = fm__explore_random(&seeds);
        r = run_and_compare(explore, &plan, i % TWICE == 0);
        if (r < 0 || explore->report.kind != FM_EXPLORE_PASSED)
            return r;
        count_distinct(explore);
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
    char *end = NULL;

    if (options->strategy == FM_EXPLORE_EXHAUSTIVE) {
        if (!read_deviations(text, &explore->search))
            return -EINVAL;
    } else {
        options->seed = strtoull(text, &end, 0);
        if (end == text || *end)
            return -EINVAL;
    }
    struct plan plan = plan_of(explore);
    return run_and_compare(explore, &plan, false);
}

/* ---- telling ---- */

const char *fm_explore_kind_name(int kind)
{
    static const char *const names[] = { "passed",  "failed", "deadlock", "step limit",
                                         "crashed", "stuck",  "diverged" };
    return kind >= 0 && kind < (int)(sizeof names / sizeof *names) ? names[kind] : "unknown";
}

static void copy_notes(const struct explore *explore)
{
    char bytes[4096];
    ssize_t n;

    for (off_t at = 0; (n = pread(explore->notes_fd, bytes, sizeof bytes, at)) > 0; at += n)
        if (write(STDERR_FILENO, bytes, (size_t)n) < 0)
            return;
}

static void tell(const struct explore *explore)
{
    const struct fm_explore_report *report = &explore->report;
    const struct fm_explore_options *options = &explore->options;

    dprintf(STDERR_FILENO, "%s: schedule %" PRIu64 ": %s", options->name, report->schedules,
            fm_explore_kind_name((int)report->kind));
    if (report->kind == FM_EXPLORE_FAILED && report->code < 0)
        /* of check(), or of the runtime that could not be made */
        dprintf(STDERR_FILENO, " (%s)", fm_strerror(report->code));
    else if (report->kind == FM_EXPLORE_FAILED)
        dprintf(STDERR_FILENO, " (%s%s%s)", fm_exit_kind_name(report->exit.kind),
                report->exit.code ? ", " : "",
                report->exit.code ? fm_strerror(report->exit.code) : "");
    else if (report->code)
        dprintf(STDERR_FILENO, " (%d)", report->code);
    dprintf(STDERR_FILENO, " after %" PRIu64 " steps\n", explore->result->log.steps);
    if (report->kind == FM_EXPLORE_DEADLOCK || report->kind == FM_EXPLORE_STEP_LIMIT ||
        report->kind == FM_EXPLORE_STUCK)
        fm__trace_seats(&explore->result->log, STDERR_FILENO);
    if (explore->notes_fd >= 0)
        copy_notes(explore);
    if (*report->replay)
        dprintf(STDERR_FILENO, "again, with its trace: FM_EXPLORE='%s=%s' %s\n", options->name,
                report->replay, program_invocation_name);
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
        options->flags & ~(FM_EXPLORE_FINE | FM_EXPLORE_QUIET) || options->trace_fd < 0 ||
        options->step_limit > STEP_LIMIT_MAX)
        return -EINVAL;
    r = fm__config_read(&explore->config, sizeof explore->config, options->config);
    if (r < 0)
        return r;
    if (!explore->config.worker_count)
        explore->config.worker_count = 2;
    explore->config.size = sizeof explore->config;
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
    return 0;
}

/*
 * The log, the steps and the choices in one mapping; the system gives pages as they are used.
 */
static int map_result(struct explore *explore)
{
    uint64_t limit = explore->options.step_limit;
    size_t steps_bytes = limit * sizeof(struct step);
    size_t choices_bytes = limit * sizeof(struct choice);

    explore->mapped_bytes = sizeof(struct result) + steps_bytes + choices_bytes;
    char *memory = mmap(NULL, explore->mapped_bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -ENOMEM;
    struct result *result = explore->result = (void *)memory;
    result->log.choices = (void *)(memory + sizeof *result);
    result->log.records = (void *)(memory + sizeof *result + choices_bytes);
    result->log.record_max = result->log.choice_max = limit;
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
    int r = map_result(explore);
    if (r < 0)
        return r;
    if (!(explore->options.flags & FM_EXPLORE_QUIET))
        explore->notes_fd = memfd_create("fm_explore", MFD_CLOEXEC);
    fm__search_init(&explore->search, explore->options.preemptions,
                    explore->options.deviations);
    if (explore->options.strategy != FM_EXPLORE_EXHAUSTIVE)
        r = measure(explore);
    const char *again = replay_wanted(explore);
    if (r == 0)
        r = again ? replay(explore, again) : search_schedules(explore);
    if (r == 0) {
        write_replay(explore, explore->report.replay, sizeof explore->report.replay);
        bool failed = explore->report.kind != FM_EXPLORE_PASSED;
        if (failed && !(explore->options.flags & FM_EXPLORE_QUIET))
            tell(explore);
        if (again && again != explore->options.replay)
            fm__trace_write(&explore->result->log, STDERR_FILENO);
        if ((failed || again) && explore->options.trace_fd > 0)
            fm__trace_write(&explore->result->log, explore->options.trace_fd);
        r = failed ? FM_EXPLORE_FOUND : 0;
    }
    fm__search_fini(&explore->search);
    free(explore->seen);
    if (explore->notes_fd >= 0)
        close(explore->notes_fd);
    munmap(explore->result, explore->mapped_bytes);
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
    explore->test = test;
    explore->arg = arg;
    explore->notes_fd = -1;
    int r = read_options(explore, options);
    if (r == 0)
        r = explore_all(explore);
    if (r >= 0 && ret_report)
        *ret_report = explore->report;
    free(explore);
    return r;
}
