/*
 * play.c - schedules of a test, in a process of their own
 *
 * Between parent and child stands one shared mapping: the arbiter's log and the result.
 *
 *   parent                                  child
 *     fork                                    for each of the plans:
 *     wait                                      take the first seat; runtime; test; threads; end
 *                                             write outcome and exit there; leave
 *     read outcome, choices, steps
 *
 * Knows not   what a step is; how a schedule is chosen (strategy.c); why this one (explore.c).
 */
#include "runtime/explore/play.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fm/fiber.h"
#include "runtime/explore/light.h"
#include "runtime/explore/platform.h"
#include "runtime/explore/strategy.h"
#include "runtime/platform/turn.h"

enum { THREADS_MAX = 60, EXIT_TOLD = 0 };

/* ---- in the child ---- */

static struct {
    const struct play *play;
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
    int notes_fd = playing.play->notes_fd;

    fm__arbiter_abandon();
    if (playing.runtime && notes_fd >= 0) {
        alarm(2); /* a lock that the dump wants may be held by who has no turn any more */
        fm_runtime_dump(playing.runtime, notes_fd);
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
    const struct play *play = arg;
    fm__arbiter_test_begins();
    return play->test(play->arg);
}

static enum outcome run_test(struct play *play)
{
    struct result *result = play->result;

    /* relaxed: the threads of the schedule before have been joined */
    atomic_store_explicit(&playing.thread_count, 0, memory_order_relaxed);
    int r = fm_runtime_create(&play->config, &playing.runtime);
    if (r == 0) {
        r = fm_runtime_run(playing.runtime, test_main, play, &result->exit);
        join_threads();
        fm__arbiter_test_ends();
        playing.runtime = fm_runtime_destroy(playing.runtime);
    }
    result->code = r;
    return r == 0 && result->exit.kind == FM_SUCCESS ? OUTCOME_PASSED : OUTCOME_FAILED;
}

static enum outcome play_one(struct play *play, const struct plan *plan)
{
    struct result *result = play->result;

    result->played++;
    play->config.seed = plan->seed ? plan->seed : 1;
    alarm(play->patience_s);
    fm__arbiter_begin(plan, &result->log, cannot_go_on);
    enum outcome outcome = run_test(play);
    fm__arbiter_end();
    if (outcome == OUTCOME_PASSED && play->check) {
        int r = play->check(play->arg);
        result->code = r;
        if (r < 0)
            outcome = OUTCOME_FAILED;
    }
    return outcome;
}

/* What is known of a schedule that others follow. */
static void keep_passed(struct result *result)
{
    result->traces[result->played - 1] = result->log.trace;
    result->steps_before += result->log.steps;
    if (result->log.steps > result->steps_max)
        result->steps_max = result->log.steps;
}

static _Noreturn void be_child(struct play *play, const struct plan *first, uint32_t count)
{
    struct result *result = play->result;
    struct plan plan = *first;
    uint64_t seeds = first->seed;

    playing.play = play;
    plan.light = plan.light && fm__light_begin();
    fm__turn_stay();
    enum outcome outcome = play_one(play, &plan);
    while (outcome == OUTCOME_PASSED && result->played < count) {
        keep_passed(result);
        plan.seed = fm__explore_random(&seeds);
        outcome = play_one(play, &plan);
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

/* ---- in the parent ---- */

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

int fm__play(struct play *play, const struct plan *plan, uint32_t count,
             enum fm_explore_kind *ret_kind)
{
    struct result *result = play->result;
    int status = 0;

    result->log.outcome = OUTCOME_NONE;
    result->log.steps = 0;
    result->log.choice_count = 0;
    result->exit = (struct fm_exit) { 0 };
    result->code = 0;
    result->played = 0;
    result->steps_before = result->steps_max = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        return -EAGAIN;
    if (child == 0)
        be_child(play, plan, count);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    *ret_kind = kind_of(result->log.outcome, status, &result->code);
    return 0;
}

/*
 * The log, the steps and the choices in one mapping; the system gives pages as they are used.
 */
int fm__play_init(struct play *play, uint64_t step_limit, bool takes_notes)
{
    size_t steps_bytes = step_limit * sizeof(struct step);
    size_t choices_bytes = step_limit * sizeof(struct choice);

    play->mapped_bytes = sizeof(struct result) + steps_bytes + choices_bytes;
    char *memory = mmap(NULL, play->mapped_bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -ENOMEM;
    struct result *result = play->result = (void *)memory;
    result->log.choices = (void *)(memory + sizeof *result);
    result->log.records = (void *)(memory + sizeof *result + choices_bytes);
    result->log.record_max = result->log.choice_max = step_limit;
    play->notes_fd = takes_notes ? memfd_create("fm_explore", MFD_CLOEXEC) : -1;
    return 0;
}

void fm__play_fini(struct play *play)
{
    if (play->notes_fd >= 0)
        close(play->notes_fd);
    munmap(play->result, play->mapped_bytes);
}
