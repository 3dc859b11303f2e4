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
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/context/stack.h"
#include "runtime/fiber/runtime.h"
#include "runtime/fiber/slab.h"
#include "runtime/io/blocking.h"
#include "runtime/platform/clock.h"

static _Atomic(fiber_describe_fn *) describe_key;

void fm__fiber_set_key_describe(fiber_describe_fn *describe)
{
    atomic_store_explicit(&describe_key, describe, memory_order_release);
}

/* ---- text without stdio, for signal handlers ---- */

struct text {
    char *at;
    size_t left; /* without the final NUL */
};

static void put(struct text *text, const char *s)
{
    while (*s && text->left) {
        *text->at++ = *s++;
        text->left--;
    }
    *text->at = 0;
}

static void put_number(struct text *text, uint64_t n, unsigned base)
{
    char digits[24];
    int i = sizeof digits - 1;
    digits[i] = 0;
    do {
        digits[--i] = "0123456789abcdef"[n % base];
        n /= base;
    } while (n && i);
    put(text, digits + i);
}

static FM_NO_TSAN void put_fiber(struct text *text, struct fm_fiber *fiber)
{
    struct fiber_extra *extra = atomic_load_explicit(&fiber->extra, memory_order_acquire);
    fiber_describe_fn *key = atomic_load_explicit(&describe_key, memory_order_acquire);
    char key_text[256];

    put_number(text, fm__fiber_id(fiber), 10);
    if (extra && extra->name[0]) {
        put(text, " \"");
        put(text, extra->name);
        put(text, "\"");
    }
    if (key && fiber->flags & FIBER_KEYED) {
        key_text[0] = 0;
        key(fiber, key_text, sizeof key_text);
        if (key_text[0]) {
            put(text, " key ");
            put(text, key_text);
        }
    }
    put(text, " spawned at 0x");
    put_number(text, (uintptr_t)fiber->spawn_site, 16);
}

void fm__describe_owner(void *owner, char *buffer, size_t size)
{
    struct text text = { buffer, size - 1 };
    buffer[0] = 0;
    put_fiber(&text, owner);
}

void fm__describe_running(char *buffer, unsigned size)
{
    struct fm_fiber *self = fm__fiber_self();
    struct text text = { buffer, size - 1 };
    buffer[0] = 0;
    if (!self)
        return;
    put(&text, "fiber ");
    put_fiber(&text, self);
}

void fm__report_stall(struct fm_fiber *fiber, uint32_t ms, char thread_state)
{
    char who[512], line[768];

    /* It may have ended in the meantime: then there is nothing to tell. */
    fiber = fm__fiber_ref_id(fm__fiber_id(fiber));
    if (!fiber)
        return;
    const char *where = thread_state == 'R'   ? "on the processor or waiting for one"
                        : thread_state == 'S' ? "asleep in the kernel"
                        : thread_state == 'D' ? "blocked in the kernel"
                        : thread_state == 'T' ? "stopped"
                                              : "in an unknown state";
    fm__describe_owner(fiber, who, sizeof who);
    fm_fiber_unref(fiber);
    int n = snprintf(line, sizeof line,
                     "fibermap: fiber %s has not let others run for %u ms; its thread is %s\n",
                     who, ms, where);
    ssize_t written = write(STDERR_FILENO, line,
                            (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
    (void)written;
}

/* ---- the dump ---- */

static const char *state_name(uint64_t word, bool running)
{
    switch (fm__state_life(word)) {
    case LIFE_NEW: return "new";
    case LIFE_ACTIVE: return running ? "running" : "runnable";
    case LIFE_PARKING:
    case LIFE_WOKEN: return "parking";
    case LIFE_PARKED: return "parked";
    case LIFE_DONE: return "done";
    }
    return "?";
}

static bool is_running(struct fm_runtime *runtime, struct fm_fiber *fiber)
{
    for (uint32_t i = 0; i < WORKERS_MAX; i++)
        if (fm__sched_running(&runtime->sched, i) == &fiber->task)
            return true;
    return false;
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

static FM_NO_TSAN int dump_one(struct fm_runtime *runtime, struct fm_fiber *fiber, int fd)
{
    char line[1024];
    struct text text = { line, sizeof line - 2 };
    uint64_t word = fm__state_read(&fiber->state);
    const char *waits_for = atomic_load_explicit(&fiber->waits_for, memory_order_relaxed);

    put(&text, "fiber ");
    put_fiber(&text, fiber);
    put(&text, " ");
    put(&text, state_name(word, is_running(runtime, fiber)));
    if (waits_for) {
        put(&text, " in ");
        put(&text, waits_for);
        put(&text, " for ");
        uint32_t since = atomic_load_explicit(&fiber->futex, memory_order_relaxed);
        uint32_t ms = (uint32_t)(fm__clock_ns() / 1000000) - since;
        put_number(&text, ms > INT32_MAX ? 0 : ms, 10);
        put(&text, " ms");
    }
    if (fiber->mask_depth)
        put(&text, " masked");
    if (word & STATE_INTERRUPT) {
        uint64_t by = atomic_load_explicit(&fiber->interrupter, memory_order_acquire);
        put(&text, " interrupted by ");
        put(&text, fm_reason_name((int)(by & 15)));
    }
    struct stack *stack = fiber->task.stack;
    if (stack) {
        put(&text, " stack ");
        put_number(&text, fm__stack_high_water(stack) / 1024, 10);
        put(&text, "/");
        put_number(&text, (size_t)((char *)stack->top - (char *)stack->low) / 1024, 10);
        put(&text, " KiB");
    }
    *text.at++ = '\n';
    return write_all(fd, line, (size_t)(text.at - line));
}

int fm_runtime_dump(struct fm_runtime *runtime, int fd)
{
    if (!runtime || fd < 0)
        return -EINVAL;
    uint32_t slots = fm__slab_slots();
    for (uint32_t slot = 0; slot < slots; slot++) {
        struct fm_fiber *fiber = fm__slab_find(slot);
        uint64_t refs = atomic_load_explicit(&fiber->refs, memory_order_acquire);
        if (!(refs & ((1u << FIBER_ID_SLOT_BITS) - 1)) ||
            !(fiber = fm__fiber_ref_id(fm__fiber_id(fiber))))
            continue;
        int r = 0;
        if (fiber->runtime == runtime && fiber->kind == FIBER_TASK && !fm__fiber_ended(fiber))
            r = dump_one(runtime, fiber, fd);
        fm_fiber_unref(fiber);
        if (r < 0)
            return r;
    }
    return fm__blocking_dump(runtime, fd);
}
