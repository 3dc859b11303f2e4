/*
 * dump.c - fibers told in words
 *
 * Invariant   describing allocates nothing and takes no lock: it may run in a signal handler,
 *             over a fiber that is being recycled; what it says is then wrong, but it stays
 *             within its memory.
 * Sanitizers  what is told of a fiber that runs meanwhile is racy by design: the two functions
 *             that read its plain fields are not instrumented.
 */
#include "runtime/dump.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "runtime/context/backtrace.h"
#include "runtime/context/stack.h"
#include "runtime/fiber/again.h"
#include "runtime/fiber/ring.h"
#include "runtime/fiber/runtime.h"
#include "runtime/io/blocking.h"
#include "runtime/look.h"
#include "runtime/platform/text.h"
#include "runtime/sched/fork.h"
#include "runtime/sched/sample.h"

static _Atomic(fiber_describe_fn *) describe_key;

void fm__fiber_set_key_describe(fiber_describe_fn *describe)
{
    atomic_store_explicit(&describe_key, describe, memory_order_release);
}

/* ---- one fiber ---- */

FM_NO_TSAN void fm__describe_key(struct fm_fiber *fiber, char *buffer, size_t size)
{
    fiber_describe_fn *key = atomic_load_explicit(&describe_key, memory_order_acquire);
    buffer[0] = '\0';
    if (key && fiber->flags & FIBER_KEYED)
        key(fiber, buffer, size);
}

static FM_NO_TSAN void put_fiber(struct text *text, struct fm_fiber *fiber)
{
    struct fiber_extra *extra = atomic_load_explicit(&fiber->extra, memory_order_acquire);
    char key[256], place[PLACE_TEXT];

    fm__put_number(text, fm__fiber_id(fiber), 10);
    if (extra && extra->name[0]) {
        fm__put(text, " \"");
        fm__put(text, extra->name);
        fm__put(text, "\"");
    }
    fm__describe_key(fiber, key, sizeof key);
    if (key[0]) {
        fm__put(text, " key ");
        fm__put(text, key);
    }
    fm__place_text(place, (uintptr_t)fiber->spawn_site, false);
    fm__put(text, " spawned at ");
    fm__put(text, place);
}

void fm__describe_owner(void *owner, char *buffer, size_t size)
{
    struct text text = fm__text(buffer, size);
    put_fiber(&text, owner);
}

void fm__describe_running(char *buffer, unsigned size)
{
    struct fm_fiber *self = fm__fiber_self();
    struct text text = fm__text(buffer, size);
    if (!self)
        return;
    fm__put(&text, "fiber ");
    put_fiber(&text, self);
}

/* ---- the dump ---- */

static FM_NO_TSAN const char *state_name(const struct fm_fiber *fiber, uint64_t word,
                                         bool running)
{
    switch (fm__state_life(word)) {
    case LIFE_ACTIVE:
        return running ? "running" : fiber->task.flags & TASK_SPAWNED ? "new" : "runnable";
    case LIFE_PARKING:
    case LIFE_WOKEN: return "parking";
    case LIFE_PARKED: return "parked";
    case LIFE_DONE: return "done";
    }
    return "?";
}

static int write_all(int fd, const char *text, size_t size)
{
    while (size) {
        ssize_t n = write(fd, text, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        text += n;
        size -= (size_t)n;
    }
    return 0;
}

/* ---- its calls ---- */

/* What a fiber that does not run has saved of itself, as one look finds it. */
struct saved {
    uint64_t word;
    struct stack *stack;
    void *fctx;
};

static FM_NO_TSAN struct saved saved_by(struct fm_fiber *fiber)
{
    struct saved saved;
    saved.word = fm__state_read(&fiber->state);
    saved.stack = FM_PEEK(&fiber->task.stack);
    saved.fctx = FM_PEEK(&fiber->task.ctx.fctx);
    return saved;
}

/*
 * The calls of a fiber that does not run. Its stack is type-stable memory: it may be read
 * whatever happens, and what was read is true if the fiber stands in the same wait, its epoch,
 * before and after. A fiber in a queue has no epoch of its own; for that one, best effort.
 */
static FM_NO_TSAN bool walk_saved(struct fm_runtime *runtime, struct fm_fiber *fiber,
                                  struct backtrace *ret_backtrace)
{
    enum { TRIES = 4 };
    for (int i = 0; i < TRIES; i++) {
        struct saved before = saved_by(fiber);
        enum life life = fm__state_life(before.word);
        struct walk walk;
        if ((life != LIFE_PARKED && life != LIFE_ACTIVE) || !before.stack || !before.fctx ||
            fm__stack_find(before.fctx, NULL) != before.stack ||
            fm__fiber_runs_on(runtime, fiber) >= 0)
            continue;
        if (!fm__walk_above(&walk, (char *)before.fctx, before.stack, (uintptr_t)before.fctx))
            continue;
        fm__walk_keep(&walk, ret_backtrace);
        struct saved after = saved_by(fiber);
        if (after.word == before.word && after.stack == before.stack &&
            after.fctx == before.fctx && fm__fiber_runs_on(runtime, fiber) < 0)
            return true;
    }
    return false;
}

static int write_calls(const struct backtrace *backtrace, int fd)
{
    char line[PLACE_TEXT + 32], place[PLACE_TEXT];
    int r = 0;
    for (uint32_t i = 0; i < backtrace->count && r == 0; i++) {
        struct text text = fm__text(line, sizeof line);
        fm__place_text(place, backtrace->pc[i], true);
        if (backtrace->gaps >> i & 1)
            fm__put(&text, "    ... some calls may be missing\n");
        fm__put(&text, "    #");
        fm__put_number(&text, i, 10);
        fm__put(&text, " ");
        fm__put(&text, place);
        fm__put(&text, "\n");
        r = write_all(fd, line, (size_t)(text.at - line));
    }
    if (r == 0 && backtrace->cut)
        r = write_all(fd, "    ... and more\n", 17);
    return r;
}

static int dump_calls(struct fm_runtime *runtime, struct fm_fiber *fiber, int fd)
{
    struct backtrace backtrace = { 0 };
    int worker = fm__fiber_runs_on(runtime, fiber), r = -ESRCH;

    if (!saved_by(fiber).stack)
        return write_all(fd, "    has not begun\n", 18);
    if (worker >= 0)
        r = fm__sample_task(&runtime->sched, (uint32_t)worker, &fiber->task, &backtrace);
    if (r == -ESRCH && walk_saved(runtime, fiber, &backtrace))
        r = 0;
    if (r == 0)
        return write_calls(&backtrace, fd);
    const char *why = r == -ESRCH     ? "    it moves on and on\n"
                      : r == -ENOTSUP ? "    it runs, and may not be sent a signal\n"
                      : r == -EBUSY   ? "    it runs, and is being asked already\n"
                                      : "    it runs, and its thread does not answer\n";
    return write_all(fd, why, strlen(why));
}

/* ---- all of them ---- */

/* Who holds the lock that is waited for. */
static void put_holder(struct text *text, uint64_t number)
{
    if (!number)
        return;
    struct fm_fiber *holder = fm__ring_find(number) ? fm__fiber_ref_id(number) : NULL;
    fm__put(text, " held by ");
    if (holder && holder->kind == FIBER_TASK) {
        fm__put(text, "fiber ");
        put_fiber(text, holder);
    } else {
        fm__put(text, holder ? "thread " : "one that has ended, ");
        fm__put_number(text, number, 10);
    }
    fm_fiber_unref(holder);
}

struct dump {
    struct fm_runtime *runtime;
    int fd;
    uint32_t flags;
};

static FM_NO_TSAN int dump_one(void *ctx, struct fm_fiber *fiber)
{
    const struct dump *dump = ctx;
    char line[1024];
    struct text text = fm__text(line, sizeof line - 1); /* and the newline */
    uint64_t word = fm__state_read(&fiber->state);
    const char *waits_for = atomic_load_explicit(&fiber->waits_for, memory_order_relaxed);

    fm__put(&text, "fiber ");
    put_fiber(&text, fiber);
    fm__put(&text, " ");
    fm__put(&text, state_name(fiber, word, fm__fiber_runs_on(dump->runtime, fiber) >= 0));
    if (waits_for) {
        fm__put(&text, " in ");
        fm__put(&text, waits_for);
        fm__put(&text, " for ");
        fm__put_number(&text, fm__fiber_waited_ms(fiber), 10);
        fm__put(&text, " ms");
        put_holder(&text, fm__ring_holder(fiber));
    }
    if (fiber->mask_depth)
        fm__put(&text, " masked");
    if (word & STATE_INTERRUPT) {
        uint64_t by = atomic_load_explicit(&fiber->interrupter, memory_order_acquire);
        fm__put(&text, " interrupted by ");
        fm__put(&text, fm_reason_name((int)(by & 15)));
    }
    uint64_t again = fm__again_count(fiber);
    if (again) {
        fm__put(&text, " incarnation ");
        fm__put_number(&text, again, 10);
    }
    /* a racy look: only where its record is whole; it may have gone to another fiber since */
    struct stack *stack = fiber->task.stack;
    if (stack && fm__stack_find(stack, NULL) == stack) {
        fm__put(&text, " stack ");
        fm__put_number(&text, fm__stack_high_water(stack) / 1024, 10);
        fm__put(&text, "/");
        fm__put_number(&text, (size_t)((char *)stack->top - (char *)stack->low) / 1024, 10);
        fm__put(&text, " KiB");
    }
    *text.at++ = '\n';
    int r = write_all(dump->fd, line, (size_t)(text.at - line));
    bool calls = r == 0 && dump->flags & FM_DUMP_BACKTRACE;
    return calls ? dump_calls(dump->runtime, fiber, dump->fd) : r;
}

int fm_runtime_dump_with(struct fm_runtime *runtime, int fd, uint32_t flags)
{
    if (!runtime || fd < 0 || flags & ~FM_DUMP_BACKTRACE)
        return -EINVAL;
    if (fm__forked())
        return -EPERM;
    if (flags & FM_DUMP_BACKTRACE)
        fm__modules_note();
    struct dump dump = { runtime, fd, flags };
    int r = fm__fiber_each(runtime, dump_one, &dump);
    if (r < 0)
        return r;
    return fm__blocking_dump(runtime, fd);
}

int fm_runtime_dump(struct fm_runtime *runtime, int fd)
{
    return fm_runtime_dump_with(runtime, fd, 0);
}
