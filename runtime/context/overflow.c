/*
 * overflow.c - the handler that tells a stack overflow by name
 *
 * Owns        the process's handlers for SIGSEGV and SIGBUS while installed; alternate stacks.
 * Knows not   fibers: who owns a stack is described by a function handed down.
 * Invariant   report() and all below it call nothing but write(2): no locks, no memory, no
 *             library that might load another. What they print of the modules was noted at
 *             install.
 */
#include "runtime/context/overflow.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "runtime/context/backtrace.h"
#include "runtime/context/stack.h"
#include "runtime/platform/check.h"
#include "runtime/platform/lock.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/pages.h"
#include "runtime/platform/sanitizer.h"
#include "runtime/platform/text.h"

enum {
    ALTSTACK_BYTES = 64 << 10,
    FRAMES_FIRST = 24, /* of the backtrace: the newest, where it went wrong */
    FRAMES_LAST = 8,   /* and the oldest, how it came there */
};

static const int signals[] = { SIGSEGV, SIGBUS };
enum { SIGNALS = sizeof signals / sizeof signals[0] };

/*
 * `former` is written before the handler that reads it is installed. It stays valid after the
 * uninstall: a signal may be on its way.
 */
static struct {
    struct lock lock;
    unsigned count;
    bool beneath[SIGNALS]; /* left in place below somebody else's handler */
    struct sigaction former[SIGNALS];
} handlers = { .lock = LOCK_INIT(LOCK_STACK_POOL) };

static _Atomic(overflow_describe_fn *) describe_owner;

/* --- a line of text ---------------------------------------------------------------------- */

struct line {
    char buffer[512];
    struct text text;
};

static void begin_line(struct line *line, const char *words)
{
    FM_ASSERT(words);
    /* one place is kept for the newline */
    line->text = fm__text(line->buffer, sizeof line->buffer - 1);
    fm__put(&line->text, words);
}

static void end_line(struct line *line)
{
    FM_ASSERT(line->text.at < line->buffer + sizeof line->buffer);
    *line->text.at++ = '\n';
    for (const char *from = line->buffer; from < line->text.at;) {
        ssize_t n = write(STDERR_FILENO, from, (size_t)(line->text.at - from));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        from += n;
    }
}

/* --- the backtrace ----------------------------------------------------------------------- */

static void print_frame(unsigned number, uintptr_t pc)
{
    char place[PLACE_TEXT];
    struct line line;
    fm__place_text(place, pc, false);
    begin_line(&line, "fibermap:   #");
    fm__put_number(&line.text, number, 10);
    fm__put(&line.text, " ");
    fm__put(&line.text, place);
    end_line(&line);
}

static void print_backtrace(const struct stack *stack, struct registers at)
{
    FM_ASSERT((char *)stack->low < (char *)stack->top);
    uintptr_t last[FRAMES_LAST], pc;
    unsigned number = 0;
    struct walk walk;

    fm__walk_from(&walk, stack->low, stack->top, at);
    for (; (pc = fm__walk_next(&walk)); number++) {
        if (number < FRAMES_FIRST)
            print_frame(number, pc);
        else
            last[number % FRAMES_LAST] = pc;
    }
    if (number <= FRAMES_FIRST)
        return;
    unsigned from = number > FRAMES_FIRST + FRAMES_LAST ? number - FRAMES_LAST : FRAMES_FIRST;
    if (from > FRAMES_FIRST) {
        struct line line;
        begin_line(&line, "fibermap:   ... ");
        fm__put_number(&line.text, from - FRAMES_FIRST, 10);
        fm__put(&line.text, " more ...");
        end_line(&line);
    }
    for (unsigned i = from; i < number; i++)
        print_frame(i, last[i % FRAMES_LAST]);
}

/* --- the report -------------------------------------------------------------------------- */

static void add_owner(struct line *line, const struct stack *stack)
{
    FM_ASSERT(stack);
    char who[256] = "";
    /*
     * relaxed: written by this very thread, or the stack is not its own and the answer a hint
     */
    void *owner = atomic_load_explicit(&stack->owner, memory_order_relaxed);
    /* acquire, with the release at install: what the function reads is set up */
    overflow_describe_fn *describe = atomic_load_explicit(&describe_owner,
                                                          memory_order_acquire);
    if (owner && describe)
        describe(owner, who, sizeof who);
    who[sizeof who - 1] = '\0';
    fm__put(&line->text, who[0] ? "fiber " : "no fiber");
    fm__put(&line->text, who);
}

/*
 * The stack that the code runs on. One that makes room page by page moves the stack pointer
 * first and probes behind it: then the pointer is beyond the guard already, and the frame's
 * base tells.
 */
static const struct stack *running_stack(const struct stack *hit, struct registers at)
{
    FM_ASSERT(hit);
    if (fm__stack_find((const void *)at.fp, NULL) == hit)
        return hit;
    return fm__stack_find((const void *)at.sp, NULL);
}

static void report(const struct stack *stack, const void *address, struct registers at)
{
    struct line line;
    const struct stack *running = running_stack(stack, at);

    begin_line(&line, running == stack ? "fibermap: stack overflow of "
                                       : "fibermap: access to the stack guard of ");
    add_owner(&line, stack);
    fm__put(&line.text, " (stack ");
    fm__put_number(&line.text, fm__stack_class_bytes(stack->stack_class) >> 10, 10);
    fm__put(&line.text, " KiB at ");
    fm__put_number(&line.text, (uintptr_t)stack->low, 16);
    fm__put(&line.text, ", access to ");
    fm__put_number(&line.text, (uintptr_t)address, 16);
    if (running && running != stack) {
        fm__put(&line.text, " by ");
        add_owner(&line, running);
    }
    fm__put(&line.text, ")");
    end_line(&line);
    if (running)
        print_backtrace(running, at);
}

/* --- the handler ------------------------------------------------------------------------- */

/* The signal was sent, not caused: returning would not bring it again. */
static bool was_sent(const siginfo_t *info)
{
    return info->si_code <= 0;
}

/*
 * Back to what the kernel does by itself. The faulting instruction runs again, and that ends
 * the process.
 */
static void by_default(int signal_number, const siginfo_t *info)
{
    FM_ASSERT(info);
    struct sigaction action = { .sa_handler = SIG_DFL };
    sigaction(signal_number, &action, NULL);
    if (was_sent(info))
        raise(signal_number);
}

static void pass_on(int index, siginfo_t *info, void *context)
{
    FM_ASSERT(index >= 0 && index < SIGNALS);
    int signal_number = signals[index];
    const struct sigaction *former = &handlers.former[index];

    if (former->sa_flags & SA_SIGINFO) {
        sigset_t before;
        pthread_sigmask(SIG_BLOCK, &former->sa_mask, &before);
        former->sa_sigaction(signal_number, info, context);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return;
    }
    if (former->sa_handler == SIG_DFL) {
        by_default(signal_number, info);
    } else if (former->sa_handler == SIG_IGN) {
        /* the kernel ignores only what was sent */
        if (!was_sent(info))
            by_default(signal_number, info);
    } else {
        sigset_t before;
        pthread_sigmask(SIG_BLOCK, &former->sa_mask, &before);
        former->sa_handler(signal_number);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
}

/*
 * The reported fault that the former handler returned from: if it comes again, nobody cured it.
 */
static _Atomic uintptr_t returned_sp;

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
    int index = signal_number == signals[0] ? 0 : 1;
    bool in_guard = false;
    int saved_errno = errno;

    struct stack *stack = was_sent(info) ? NULL : fm__stack_find(info->si_addr, &in_guard);
    if (!stack || !in_guard) {
        pass_on(index, info, context);
    } else {
        struct registers at = fm__registers_of(context);
        /* relaxed, both: the thread that faults again wrote it itself */
        if (atomic_load_explicit(&returned_sp, memory_order_relaxed) == at.sp) {
            by_default(signal_number, info);
        } else {
            report(stack, info->si_addr, at);
            pass_on(index, info, context);
            atomic_store_explicit(&returned_sp, at.sp, memory_order_relaxed);
        }
    }
    errno = saved_errno;
}

static bool is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == on_fault;
}

static bool is_default(const struct sigaction *action)
{
    return !(action->sa_flags & SA_SIGINFO) && action->sa_handler == SIG_DFL;
}

static int install_locked(int index)
{
    FM_ASSERT(fm__lock_held(&handlers.lock));
    FM_ASSERT(index >= 0 && index < SIGNALS);
    struct sigaction now;
    struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    sigemptyset(&action.sa_mask);

    if (sigaction(signals[index], NULL, &now) != 0)
        return -errno;
    /*
     * Where it lies below another handler already it must not go above that: they would pass
     * signals in a circle.
     */
    if (is_ours(&now) || (handlers.beneath[index] && !is_default(&now)))
        return 0;
    handlers.beneath[index] = false;
    handlers.former[index] = now;
    return sigaction(signals[index], &action, NULL) == 0 ? 0 : -errno;
}

static void uninstall_locked(int up_to)
{
    FM_ASSERT(fm__lock_held(&handlers.lock) && up_to <= SIGNALS);
    struct sigaction now;
    for (int i = 0; i < up_to; i++) {
        handlers.beneath[i] = sigaction(signals[i], NULL, &now) == 0 && !is_ours(&now);
        if (!handlers.beneath[i])
            sigaction(signals[i], &handlers.former[i], NULL);
    }
    atomic_store_explicit(&describe_owner, NULL, memory_order_relaxed);
}

int fm__overflow_install(overflow_describe_fn *describe)
{
    FM_ASSERT(describe);
    int r = 0;

    fm__lock(&handlers.lock);
    if (handlers.count++)
        goto unlock;
    /* release: see add_owner */
    atomic_store_explicit(&describe_owner, describe, memory_order_release);
    fm__modules_note();
    for (int i = 0; i < SIGNALS; i++) {
        r = install_locked(i);
        if (r < 0) {
            uninstall_locked(i);
            handlers.count--;
            break;
        }
    }
unlock:
    fm__unlock(&handlers.lock);
    return r;
}

void fm__overflow_uninstall(void)
{
    fm__lock(&handlers.lock);
    FM_ASSERT(handlers.count);
    if (--handlers.count == 0)
        uninstall_locked(SIGNALS);
    fm__unlock(&handlers.lock);
}

/* --- alternate stacks -------------------------------------------------------------------- */

/* Stands at the top of its own mapping: guard page, stack, this. */
struct altstack {
    char *start;
    size_t bytes;
    stack_t former;
};

int fm__overflow_attach_thread(void **ret_altstack)
{
    FM_ASSERT(ret_altstack);
    size_t page = fm__page_bytes();
    /*
     * what the kernel pushes may be large (vector registers): on top of what the handler needs
     */
    long least = sysconf(_SC_MINSIGSTKSZ);
    size_t bytes = ALTSTACK_BYTES * FM_STACK_SCALE + (least > 0 ? (size_t)least : 0) +
                   sizeof(struct altstack);
    bytes = (bytes + page - 1) & ~(page - 1);
    int r = -ENOMEM;

    char *start = fm__pages_reserve(page + bytes, page, NULL, "fibermap signal stack", &r);
    if (!start)
        return r;
    /* Without the guard it is as good as most alternate stacks. */
    fm__pages_protect(start, page);

    struct altstack *altstack = (struct altstack *)(start + page + bytes) - 1;
    altstack->start = start;
    altstack->bytes = page + bytes;
    stack_t mine = { .ss_sp = start + page,
                     .ss_size = (size_t)((char *)altstack - (start + page)) & ~(size_t)15 };
    if (sigaltstack(&mine, &altstack->former) != 0) {
        r = -errno;
        fm__pages_release(start, page + bytes);
        return r;
    }
    *ret_altstack = altstack;
    return 0;
}

void fm__overflow_detach_thread(void *handle)
{
    struct altstack *altstack = handle;
    if (!altstack)
        return;
    /* Somebody's own one set since then stays. */
    stack_t now;
    FM_ASSERT(altstack->start && altstack->bytes);
    if (sigaltstack(NULL, &now) == 0 && now.ss_sp == altstack->start + fm__page_bytes())
        sigaltstack(&altstack->former, NULL);
    fm__pages_release(altstack->start, altstack->bytes);
}
