/*
 * select.c - the first of several things that can happen, and none of the others
 *
 * Owns        a node for each case, in the case's private words, on the lists of its channel or
 *             deferred while the select waits.
 * Knows not   how values are handed over: channel.c does that, for a select as for a call.
 * Callers     any fiber, any thread.
 *
 *   fm_select                                  another, on one of the channels
 *     draw an order of the cases                 .
 *     1. what looks possible: lock that one,     .
 *        try it; done where it was               .
 *     2. lock all, by address        (A)         .
 *        try each; done where one was            .
 *        begin the wait, join all lists          .
 *        unlock all                  (B)         lock, take our node off
 *        suspend                                 win our wake --- won: mark the node CHOSEN
 *     3. for each: lock              (A)                     \--- lost: it leaves us alone
 *        leave the list, read the mark           unlock                        (B)
 *        unlock
 *
 * One fires. All our nodes carry one wait, and the state word lets one wake of it win: a hand-
 * over, a close, the completion of a deferred, the deadline or an interruption. Nothing of
 * ours changes hands before that CAS, so the cases that lost are as if they had never been: a
 * value in a sender's node is still the caller's.
 *
 * Which it was stands in the node, under the channel's lock. The other wrote it after its CAS,
 * which may have let us go on already; but we come to step 3 for every channel before we leave,
 * and there wait for its unlock. A deferred need not say so: it stays completed, and if the
 * wake was none of a channel's, one of the deferreds is.
 *
 * Two selects that face each other, one with send a and recv b, the other with recv a and send
 * b: whoever has all the locks first finds nobody and joins both lists before it gives up
 * either. The other finds it on a list when it tries, and hands over by one CAS on a fiber that
 * waits, while its own wait has not begun: nobody can win that. Two that both wait cannot have
 * missed each other, and no step needs two fibers to be claimed at once. For the same reason a
 * select does not meet its own nodes: while it tries they are on no list.
 *
 * Locks are taken by address, and no other call holds two of them: no ring of waiting.
 */
#include <errno.h>
#include <stdatomic.h>

#include "runtime/platform/check.h"
#include "runtime/sched/sched.h"
#include "runtime/sync/channel.h"
#include "runtime/sync/deferred.h"

/* What is private in a case. `drawn` and `locked` make two orders over all cases of a call. */
struct place {
    struct wait_node node;
    size_t drawn;      /* of the ith place: the ith case to be tried */
    size_t locked;     /* of the ith place: the ith case to be locked */
    struct word *word; /* of the case's channel or deferred, NULL: there is nothing to lock */
};
_Static_assert(sizeof(struct place) <= sizeof(((struct fm_case *)0)->private_),
               "what is private fits into a case");

#define NONE SIZE_MAX

struct select {
    struct fm_case *cases;
    size_t count;
    int64_t now_ns;        /* if a timer asks for it */
    size_t lock_count;     /* cases with something to lock */
    struct fm_fiber *owed; /* whose wake was won */
};

static struct place *place(const struct select *s, size_t i)
{
    FM_ASSERT(i < s->count);
    return (struct place *)(void *)s->cases[i].private_;
}

/* ---- the cases ---- */

static bool valid(const struct fm_case *c)
{
    switch (c->kind) {
    case FM_CASE_NONE:
    case FM_CASE_TIMER: return true;
    case FM_CASE_SEND:
    case FM_CASE_RECV: return c->channel != NULL;
    case FM_CASE_DEFERRED: return c->deferred != NULL;
    }
    return false;
}

static struct word *word_of(const struct fm_case *c)
{
    switch (c->kind) {
    case FM_CASE_SEND:
    case FM_CASE_RECV: return &c->channel->word;
    case FM_CASE_DEFERRED: return &c->deferred->word;
    }
    return NULL;
}

static struct waitlist *list_of(const struct fm_case *c)
{
    FM_ASSERT(word_of(c));
    switch (c->kind) {
    case FM_CASE_SEND: return &c->channel->senders;
    case FM_CASE_RECV: return &c->channel->receivers;
    default: return &c->deferred->waiters;
    }
}

static void unlock(const struct fm_case *c)
{
    FM_ASSERT(word_of(c));
    if (c->kind != FM_CASE_DEFERRED) {
        fm__channel_unlock(c->channel);
    } else {
        /* relaxed: nobody else writes it while it is locked, and we leave it as it was */
        uint64_t word = atomic_load_explicit(&c->deferred->word.value, memory_order_relaxed) &
                        ~LOCKED;
        fm__word_unlock(&c->deferred->word, word);
    }
}

/* False where trying would not help: no more than a guess of a channel, exact of the others. */
static bool looks_possible(const struct select *s, const struct fm_case *c)
{
    switch (c->kind) {
    case FM_CASE_SEND: return fm__channel_may_send(c->channel);
    case FM_CASE_RECV: return fm__channel_may_recv(c->channel);
    case FM_CASE_TIMER: return c->time_ns <= s->now_ns;
    case FM_CASE_DEFERRED: return fm__deferred_poll(c->deferred, NULL) == 0;
    }
    return false;
}

/* Let the case happen if it can at once; a channel is locked. True: it has happened. */
static bool try_locked(struct select *s, struct fm_case *c)
{
    int r;
    void *value = NULL;

    switch (c->kind) {
    case FM_CASE_SEND: r = fm__channel_send_locked(c->channel, c->value, &s->owed); break;
    case FM_CASE_RECV:
        r = fm__channel_recv_locked(c->channel, &value, &s->owed);
        if (r != -EAGAIN)
            c->value = value;
        break;
    case FM_CASE_TIMER: r = c->time_ns <= s->now_ns ? 0 : -EAGAIN; break;
    case FM_CASE_DEFERRED: r = fm__deferred_poll(c->deferred, &c->exit); break;
    default: r = -EAGAIN;
    }
    if (r == -EAGAIN)
        return false;
    c->result = r;
    return true;
}

/* ---- their orders ---- */

/* Each order of the cases is as likely as the others. */
static void draw(struct select *s)
{
    if (s->count > 0)
        place(s, 0)->drawn = 0;
    for (size_t i = 1; i < s->count; i++) {
        size_t j = fm__sched_random((uint32_t)i + 1);
        place(s, i)->drawn = place(s, j)->drawn;
        place(s, j)->drawn = i;
    }
}

/* Those that have something to lock, by its address. */
static void sort(struct select *s)
{
    s->lock_count = 0;
    for (size_t i = 0; i < s->count; i++) {
        struct word *word = word_of(&s->cases[i]);
        place(s, i)->word = word;
        if (!word)
            continue;
        size_t at = s->lock_count++;
        for (; at > 0 && place(s, place(s, at - 1)->locked)->word > word; at--)
            place(s, at)->locked = place(s, at - 1)->locked;
        FM_ASSERT(at < s->lock_count);
        place(s, at)->locked = i;
    }
}

/* The ith to be locked, or NONE behind the last. */
static size_t locked(const struct select *s, size_t i)
{
    return i < s->lock_count ? place(s, i)->locked : NONE;
}

/* Whether the ith to be locked shares its lock with the one before it. */
static bool shares_lock(const struct select *s, size_t i)
{
    FM_ASSERT(s->lock_count <= s->count);
    return i > 0 && i < s->lock_count &&
           place(s, locked(s, i))->word == place(s, locked(s, i - 1))->word;
}

static void lock_all(const struct select *s)
{
    for (size_t i = 0; i < s->lock_count; i++)
        if (!shares_lock(s, i))
            fm__word_lock(place(s, locked(s, i))->word);
}

static void unlock_all(const struct select *s)
{
    for (size_t i = 0; i < s->lock_count; i++)
        if (!shares_lock(s, i))
            unlock(&s->cases[locked(s, i)]);
}

/* ---- the steps ---- */

/* 1: the case that has happened, or NONE. */
static size_t try_one_by_one(struct select *s)
{
    for (size_t i = 0; i < s->count; i++) {
        size_t drawn = place(s, i)->drawn;
        struct fm_case *c = &s->cases[drawn];
        if (!looks_possible(s, c))
            continue;
        bool channel = c->kind == FM_CASE_SEND || c->kind == FM_CASE_RECV;
        if (channel)
            fm__word_lock(&c->channel->word);
        bool done = try_locked(s, c);
        if (channel)
            fm__channel_unlock(c->channel);
        if (done)
            return drawn;
    }
    return NONE;
}

/* 2: the same with all locks held. */
static size_t try_all_locked(struct select *s)
{
    for (size_t i = 0; i < s->count; i++) {
        size_t drawn = place(s, i)->drawn;
        if (try_locked(s, &s->cases[drawn]))
            return drawn;
    }
    return NONE;
}

static void join_all_locked(const struct select *s, struct wait wait)
{
    FM_ASSERT(wait.who);
    for (size_t i = 0; i < s->lock_count; i++) {
        struct fm_case *c = &s->cases[locked(s, i)];
        struct wait_node *node = &place(s, locked(s, i))->node;
        *node = (struct wait_node) { .wait = wait, .amount = WAITER_IN_SELECT };
        if (c->kind == FM_CASE_SEND)
            node->item = c->value;
        fm__waitlist_push_locked(list_of(c), node);
    }
}

/* 3: off all lists; the channel's case that has happened, or NONE. */
static size_t leave_all(const struct select *s)
{
    FM_ASSERT(s->lock_count <= s->count);
    size_t chosen = NONE;

    for (size_t i = 0; i < s->lock_count; i++) {
        struct fm_case *c = &s->cases[locked(s, i)];
        struct wait_node *node = &place(s, locked(s, i))->node;
        if (!shares_lock(s, i))
            fm__word_lock(place(s, locked(s, i))->word);
        if (node->listed)
            fm__waitlist_remove_locked(list_of(c), node);
        if (node->amount != WAITER_IN_SELECT) {
            chosen = locked(s, i);
            c->result = node->amount == WAITER_CLOSED ? -EPIPE : 0;
            if (c->kind == FM_CASE_RECV)
                c->value = c->result == 0 ? node->item : NULL;
        }
        if (!shares_lock(s, i + 1))
            unlock(c);
    }
    return chosen;
}

/* The timer that is due first, or NONE; of several, as they were drawn. */
static size_t first_timer(const struct select *s)
{
    size_t first = NONE;

    for (size_t i = 0; i < s->count; i++) {
        size_t drawn = place(s, i)->drawn;
        const struct fm_case *c = &s->cases[drawn];
        if (c->kind == FM_CASE_TIMER && (first == NONE || c->time_ns < s->cases[first].time_ns))
            first = drawn;
    }
    return first;
}

/* A deferred that is complete; one is. */
static size_t complete_deferred(struct select *s)
{
    for (size_t i = 0; i < s->count; i++) {
        size_t drawn = place(s, i)->drawn;
        struct fm_case *c = &s->cases[drawn];
        if (c->kind == FM_CASE_DEFERRED && try_locked(s, c))
            return drawn;
    }
    FM_BUG("a select was woken by none of its cases");
}

/* The lists have been joined: suspend until one wake has won. */
static int wait_and_leave(struct select *s, struct wait wait, int64_t deadline_ns,
                          size_t *ret_index)
{
    FM_ASSERT(wait.who && s->lock_count <= s->count);
    size_t timer = first_timer(s);
    bool timed = timer != NONE && s->cases[timer].time_ns <= deadline_ns;

    enum wake_reason reason = fm__wait_end(wait, timed ? s->cases[timer].time_ns : deadline_ns);
    size_t chosen = leave_all(s);
    if (reason == WAKE_INTERRUPT || (reason == WAKE_TIMEOUT && !timed))
        return fm__wake_result(reason);
    if (reason == WAKE_TIMEOUT) {
        chosen = timer;
        s->cases[timer].result = 0;
    } else if (chosen == NONE) {
        chosen = complete_deferred(s);
    }
    *ret_index = chosen;
    return 0;
}

static int try_or_wait(struct select *s, int64_t deadline_ns, size_t *ret_index)
{
    FM_ASSERT(ret_index);
    struct wait wait;
    int r = 0;

    lock_all(s);
    size_t chosen = try_all_locked(s);
    if (chosen == NONE)
        r = deadline_ns <= 0 ? -ETIMEDOUT : fm__wait_begin(&wait, 0, "select");
    if (chosen == NONE && r == 0)
        join_all_locked(s, wait);
    unlock_all(s);
    if (s->owed)
        fm__wake_release(s->owed);
    if (chosen == NONE)
        return r < 0 ? r : wait_and_leave(s, wait, deadline_ns, ret_index);
    *ret_index = chosen;
    return 0;
}

/* ---- the call ---- */

int fm_select(struct fm_case cases[], size_t count, int64_t deadline_ns, size_t *ret_index)
{
    struct select s = { .cases = cases, .count = count };
    bool timers = false;

    if ((count && !cases) || count > INT32_MAX)
        return -EINVAL;
    for (size_t i = 0; i < count; i++) {
        if (!valid(&cases[i]))
            return -EINVAL;
        timers = timers || cases[i].kind == FM_CASE_TIMER;
    }
    if (deadline_ns > 0)
        fm__budget_spend(); /* before: a fiber that yields here has done nothing yet */
    if (timers)
        s.now_ns = fm_now_ns();
    draw(&s);
    size_t chosen = try_one_by_one(&s);
    if (chosen == NONE) {
        sort(&s);
        int r = try_or_wait(&s, deadline_ns, &chosen);
        if (r < 0)
            return r;
    } else if (s.owed) {
        fm__wake_release(s.owed);
    }
    if (ret_index)
        *ret_index = chosen;
    return 0;
}

struct fm_case fm_case_none(void)
{
    return (struct fm_case) { .kind = FM_CASE_NONE };
}

struct fm_case fm_case_send(struct fm_channel *channel, void *value)
{
    return (struct fm_case) { .kind = FM_CASE_SEND, .channel = channel, .value = value };
}

struct fm_case fm_case_recv(struct fm_channel *channel)
{
    return (struct fm_case) { .kind = FM_CASE_RECV, .channel = channel };
}

struct fm_case fm_case_timer(int64_t time_ns)
{
    return (struct fm_case) { .kind = FM_CASE_TIMER, .time_ns = time_ns };
}

struct fm_case fm_case_deferred(struct fm_deferred *deferred)
{
    return (struct fm_case) { .kind = FM_CASE_DEFERRED, .deferred = deferred };
}
