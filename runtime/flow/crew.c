/*
 * crew.c - the fibers that one call starts, and that have all ended when it returns
 *
 * Owns        nothing: the crew lies on the caller's stack, members are held by their own runs.
 * Knows not   what the pieces are, nor what the outcome means.
 * Invariant   a member is on the list from before it starts until its exit is stored, so the
 *             crew outlives it. Whoever takes a piece reports it, once: the member that did it,
 *             or in its place the end of a member that never ran.
 *
 *   a member                                     the caller
 *     take a piece, do it, report                  wait until the list is empty
 *       deciding: lock; CLOSED; signal all         left early: lock; CLOSED; signal all;
 *     no piece left: end                             wait masked until the list is empty
 *       lock; leave; unlock; the last wakes
 *
 * A member uses its fiber again for the next piece where nobody could tell: no reference but
 * its own, nobody waiting for its end, never interrupted, no locals, no readiness. Otherwise a
 * new fiber goes on in its place, so that what was meant for one piece never meets another.
 */
#include "runtime/flow/crew.h"

#include <errno.h>

#include "runtime/fiber/run.h"
#include "runtime/fiber/runtime.h"
#include "runtime/fiber/scope.h"

static struct fm_exit member_body(void *arg);

/* ---- the list: in the owner's words of each member ---- */

enum { OF_CREW, OF_NEXT, OF_PREV };

static struct fm_fiber *next_of(struct fm_fiber *member)
{
    return member->owner.words[OF_NEXT];
}

static void join_locked(struct crew *crew, struct fm_fiber *member)
{
    member->owner.words[OF_NEXT] = crew->members;
    member->owner.words[OF_PREV] = NULL;
    if (crew->members)
        crew->members->owner.words[OF_PREV] = member;
    crew->members = member;
}

static void leave_locked(struct crew *crew, struct fm_fiber *member)
{
    FM_ASSERT(fm__lock_held(&crew->lock) && crew->members);
    struct fm_fiber *next = next_of(member), *prev = member->owner.words[OF_PREV];
    if (prev)
        prev->owner.words[OF_NEXT] = next;
    else
        crew->members = next;
    if (next)
        next->owner.words[OF_PREV] = prev;
}

/* ---- pieces ---- */

static bool is_closed(struct crew *crew)
{
    /* relaxed: who reads it late does one piece more, and is signalled all the same */
    return atomic_load_explicit(&crew->closed, memory_order_relaxed);
}

static bool take(struct crew *crew, size_t *ret_index)
{
    if (is_closed(crew))
        return false;
    /* relaxed: that each piece is taken once is all; the start of the fiber orders the rest */
    size_t index = atomic_fetch_add_explicit(&crew->next, 1, memory_order_relaxed);
    *ret_index = index;
    return index < crew->count;
}

static bool all_taken(struct crew *crew)
{
    return is_closed(crew) ||
           atomic_load_explicit(&crew->next, memory_order_relaxed) >= crew->count;
}

/* Those on the list cannot go while we hold the lock: their last step is to take it. */
static void close_locked(struct crew *crew, enum fm_reason reason)
{
    FM_ASSERT(fm__lock_held(&crew->lock));
    struct fm_fiber *self = fm__fiber_self();
    atomic_store_explicit(&crew->closed, true, memory_order_relaxed);
    for (struct fm_fiber *member = crew->members; member; member = next_of(member))
        if (member != self)
            fm__fiber_interrupt(member, reason);
}

static void report(struct crew *crew, size_t index, struct fm_exit exit)
{
    FM_ASSERT(index < crew->count);
    bool success = exit.kind == FM_SUCCESS;
    bool decides = crew->decides & (success ? CREW_ON_SUCCESS : CREW_ON_OTHER);

    if (crew->exits)
        crew->exits[index] = exit;
    if (success && !decides)
        return;
    fm__lock(&crew->lock);
    if (!crew->decided) {
        crew->index = index;
        crew->exit = exit;
        crew->decided = decides;
        if (decides)
            close_locked(crew, FM_BY_PARENT);
    }
    fm__unlock(&crew->lock);
}

/* ---- members ---- */

/* The end of a member, in the ending fiber or, if it never had a stack, on its worker's. */
static void member_ended(struct fm_fiber *member, struct fm_exit exit)
{
    struct crew *crew = member->owner.words[OF_CREW];
    struct wait waiter;
    size_t index;

    /* member_body succeeds always */
    bool never_ran = exit.kind != FM_SUCCESS;
    if (never_ran && take(crew, &index))
        report(crew, index, exit);
    fm__lock(&crew->lock);
    leave_locked(crew, member);
    bool wake = !crew->members && crew->waited;
    if (wake) {
        crew->waited = false;
        waiter = crew->waiter;
    }
    /* The caller may return, and the crew be gone, as soon as this is unlocked. */
    fm__unlock(&crew->lock);
    if (wake)
        fm__wake(waiter, WAKE_VALUE);
}

/* A member that has not started and is on no list. 0 · -ENOMEM · -EAGAIN */
static int make(struct crew *crew, struct fm_fiber **ret_member)
{
    FM_ASSERT(crew->caller);
    FM_ASSERT(ret_member);
    struct fm_fiber *caller = crew->caller, *member;
    int r = fm__fiber_create(caller->runtime, member_body, crew, NULL, crew->site, false,
                             &member);
    if (r < 0)
        return r;
    /* the caller stands still until the last member has ended, so its locals do too */
    if (atomic_load_explicit(&caller->extra, memory_order_acquire))
        r = fm__locals_inherit(member, caller);
    if (r < 0) {
        fm__fiber_discard(member);
        return r;
    }
    member->task.stack_class = caller->task.stack_class;
    member->owner.ended = member_ended;
    member->owner.words[OF_CREW] = crew;
    /* release: a dump that sees the flags sees the words */
    __atomic_store_n(&member->flags, (uint8_t)(member->flags | FIBER_OWNED), __ATOMIC_RELEASE);
    *ret_member = member;
    return 0;
}

/* Let a new fiber go on with what is left. */
static void replace_self(struct crew *crew)
{
    FM_ASSERT(crew == fm__fiber_self()->owner.words[OF_CREW]);
    struct fm_fiber *member;
    size_t index;

    if (all_taken(crew))
        return;
    int r = make(crew, &member);
    if (r < 0) {
        if (take(crew, &index))
            report(crew, index, fm_fail(r));
        return;
    }
    /* Who closes it after this signals the new one; if it is closed already, that finds no piece. */
    fm__lock(&crew->lock);
    join_locked(crew, member);
    fm__unlock(&crew->lock);
    fm__fiber_start(member);
}

/* Whether nobody could tell this fiber from a new one. */
static bool as_new(struct fm_fiber *self)
{
    FM_ASSERT(self == fm__fiber_self());
    const uint64_t one_reference = 1, count_mask = (UINT64_C(1) << FIBER_ID_SLOT_BITS) - 1;
    uint64_t word = fm__state_read(&self->state);
    /* relaxed: nobody who does not have it yet can come to have it without this fiber's help */
    uint64_t refs = atomic_load_explicit(&self->refs, memory_order_relaxed);
    return (refs & count_mask) == one_reference && !(word & (STATE_INTERRUPT | STATE_READY)) &&
           !atomic_load_explicit(&self->exits.head, memory_order_relaxed) &&
           !atomic_load_explicit(&self->extra, memory_order_relaxed);
}

struct piece {
    struct crew *crew;
    size_t index;
};

static struct fm_exit do_piece(void *arg)
{
    FM_ASSERT(arg);
    struct piece *piece = arg;
    return piece->crew->work(piece->crew, piece->index);
}

static struct fm_exit member_body(void *arg)
{
    FM_ASSERT(arg);
    struct crew *crew = arg;
    struct fm_fiber *self = fm__fiber_self();
    struct piece piece = { .crew = crew };

    while (take(crew, &piece.index)) {
        struct fm_exit exit = fm__scoped(self, do_piece, &piece, NULL);
        /* masks and pins that the piece did not take back end with it */
        self->mask_depth = 0;
        while (self->pin_depth)
            fm_unpin();
        report(crew, piece.index, exit);
        if (!as_new(self)) {
            replace_self(crew);
            break;
        }
        fm__budget_spend();
    }
    return fm_ok(NULL);
}

/* ---- the call ---- */

/* Make so many members, all or none, as a chain by their task links. */
static int make_all(struct crew *crew, size_t members, struct fm_fiber **ret_first)
{
    FM_ASSERT(ret_first);
    struct fm_fiber *first = NULL, *last = NULL, *member;
    int r = 0;

    for (size_t i = 0; i < members; i++) {
        r = make(crew, &member);
        if (r < 0)
            break;
        if (last)
            last->task.next = &member->task;
        else
            first = member;
        last = member;
    }
    for (; r < 0 && first; first = member) {
        member = (struct fm_fiber *)first->task.next;
        fm__fiber_discard(first);
    }
    *ret_first = first;
    return r;
}

static void start_all(struct crew *crew, struct fm_fiber *first)
{
    struct fm_fiber *member, *next;

    /* nobody runs yet: no lock */
    for (member = first; member; member = (struct fm_fiber *)member->task.next)
        join_locked(crew, member);
    for (member = first; member; member = next) {
        next = (struct fm_fiber *)member->task.next;
        fm__fiber_start(member);
    }
}

/* Until no member is left: 0 · -ETIMEDOUT · -ECANCELED */
static int await_locked(struct crew *crew, int64_t deadline_ns, unsigned flags)
{
    FM_ASSERT(fm__lock_held(&crew->lock));
    while (crew->members) {
        struct wait wait;
        int r = fm__wait_begin(&wait, flags, "children");
        if (r < 0)
            return r;
        crew->waiter = wait;
        crew->waited = true;
        fm__unlock(&crew->lock);
        r = fm__wake_result(fm__wait_end(wait, deadline_ns));
        fm__lock(&crew->lock);
        crew->waited = false;
        if (r < 0)
            return r;
    }
    return 0;
}

static int await(struct crew *crew, int64_t deadline_ns)
{
    fm__lock(&crew->lock);
    int r = await_locked(crew, deadline_ns, 0);
    if (r < 0 && (crew->decided || !crew->members))
        r = 0; /* it came too late: the outcome is there */
    if (r < 0)
        close_locked(crew, r == -ETIMEDOUT ? FM_BY_DEADLINE : FM_BY_PARENT);
    await_locked(crew, FM_NEVER, WAIT_MASKED);
    fm__unlock(&crew->lock);
    return r;
}

int fm__crew_run(struct crew *crew, size_t concurrency, int64_t deadline_ns)
{
    FM_ASSERT(crew->work);
    struct fm_fiber *self = fm__fiber_self(), *first;

    if (!self || !self->scope) /* a thread, or a fiber whose body is over */
        return -EPERM;
    if (fm_check() < 0)
        return -ECANCELED;
    if (deadline_ns <= fm__runtime_now_ns(self->runtime))
        return -ETIMEDOUT;
    crew->caller = self;
    fm__lock_init(&crew->lock, LOCK_SCOPE);
    int r = make_all(crew, concurrency && concurrency < crew->count ? concurrency : crew->count,
                     &first);
    if (r < 0)
        return r;
    start_all(crew, first);
    return await(crew, deadline_ns);
}
