/*
 * flow.c - for_each, all, race, timeout: what each makes of the exits of its pieces
 *
 * Each is one crew on the caller's stack (crew.c has the protocol).
 */
#include "fm/flow.h"

#include <errno.h>

#include "runtime/fiber/runtime.h"
#include "runtime/flow/crew.h"

#define SITE() __builtin_return_address(0)

/* ---- an index a piece ---- */

struct each {
    struct crew crew;
    fm_index_fn *fn;
    void *arg;
};

static struct fm_exit do_index(struct crew *crew, size_t index)
{
    FM_ASSERT(index < crew->count);
    struct each *each = (struct each *)crew; /* its first member */
    return each->fn(each->arg, index);
    FM_ASSERT(each->fn);
}

int fm_for_each(size_t count, size_t concurrency, fm_index_fn *fn, void *arg,
                struct fm_exit *ret_exit)
{
    if (!fn)
        return -EINVAL;
    struct each each = { .crew = { .work = do_index,
                                   .count = count,
                                   .decides = CREW_ON_OTHER,
                                   .exit = fm_ok(NULL),
                                   .site = SITE() },
                         .fn = fn,
                         .arg = arg };
    int r = fm__crew_run(&each.crew, concurrency, FM_NEVER);
    if (r == 0 && ret_exit)
        *ret_exit = each.crew.exit;
    return r;
}

/* ---- a task a piece ---- */

struct tasks {
    struct crew crew;
    const struct fm_task *tasks;
};

static struct fm_exit do_task(struct crew *crew, size_t index)
{
    FM_ASSERT(index < crew->count);
    const struct fm_task *task = &((struct tasks *)crew)->tasks[index];
    FM_ASSERT(task->entry);
    return task->entry(task->arg);
}

static bool valid(const struct fm_task tasks[], size_t count)
{
    if (count && !tasks)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!tasks[i].entry)
            return false;
    return true;
}

/* Tasks are taken in their order: those from crew->next on were never begun. */
static void fill_up(struct crew *crew, struct fm_exit exits[])
{
    FM_ASSERT(exits != NULL);
    struct fm_exit stopped = fm_interrupted();
    stopped.reason = FM_BY_PARENT;
    stopped.by = fm__self_id();
    for (size_t i = atomic_load_explicit(&crew->next, memory_order_relaxed); i < crew->count;
         i++)
        exits[i] = stopped;
}

int fm_all(const struct fm_task given[], size_t count, size_t concurrency,
           struct fm_exit ret_exits[])
{
    if (!valid(given, count))
        return -EINVAL;
    struct tasks tasks = { .crew = { .work = do_task,
                                     .count = count,
                                     .decides = CREW_ON_OTHER,
                                     .exits = ret_exits,
                                     .site = SITE() },
                           .tasks = given };
    int r = fm__crew_run(&tasks.crew, concurrency, FM_NEVER);
    if (ret_exits && (r == 0 || r == -ECANCELED))
        fill_up(&tasks.crew, ret_exits);
    return r == 0 && tasks.crew.decided ? FM_ALL_FAILED : r;
}

static int race(const struct fm_task given[], size_t count, unsigned decides, const void *site,
                size_t *ret_winner, struct fm_exit *ret_exit)
{
    FM_ASSERT(decides);
    if (!count || !valid(given, count))
        return -EINVAL;
    struct tasks tasks = {
        .crew = { .work = do_task, .count = count, .decides = decides, .site = site },
        .tasks = given
    };
    int r = fm__crew_run(&tasks.crew, 0, FM_NEVER);
    if (r < 0)
        return r;
    if (ret_winner)
        *ret_winner = tasks.crew.index;
    if (ret_exit)
        *ret_exit = tasks.crew.exit;
    return 0;
}

int fm_race(const struct fm_task tasks[], size_t count, size_t *ret_winner,
            struct fm_exit *ret_exit)
{
    return race(tasks, count, CREW_ON_SUCCESS, SITE(), ret_winner, ret_exit);
}

int fm_race_first(const struct fm_task tasks[], size_t count, size_t *ret_winner,
                  struct fm_exit *ret_exit)
{
    return race(tasks, count, CREW_ON_SUCCESS | CREW_ON_OTHER, SITE(), ret_winner, ret_exit);
}

int fm_timeout(fm_entry_fn *entry, void *arg, int64_t deadline_ns, struct fm_exit *ret_exit)
{
    if (!entry)
        return -EINVAL;
    const struct fm_task one = { entry, arg };
    struct tasks tasks = { .crew = { .work = do_task,
                                     .count = 1,
                                     .decides = CREW_ON_SUCCESS | CREW_ON_OTHER,
                                     .site = SITE() },
                           .tasks = &one };
    int r = fm__crew_run(&tasks.crew, 0, deadline_ns);
    if (r == 0 && ret_exit)
        *ret_exit = tasks.crew.exit;
    return r;
}
