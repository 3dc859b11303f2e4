/*
 * fd.c - the records of descriptors: users, waiters, closing
 *
 * Waiting must not miss an event:
 *
 *   a call                                        the poller
 *     seen = tick                     (A)
 *     system call: EAGAIN                           (readiness comes: an edge)
 *     lock                                          lock
 *     registered? else epoll_ctl adds it            tick + 1                (C)
 *     tick is no longer seen: try again  (B)        take the first waiter
 *     join the waiters                              unlock, wake him
 *     unlock, sleep
 *
 * Readiness that comes after the system call makes an edge that comes after A. If the poller had the lock first, B sees C; else it
 * finds the waiter. A descriptor that was not registered is added under the lock, and epoll reports what is there at that moment.
 *
 * Invariant   A waiter's node is off every list when fm__use_wait returns; a waker never touches a node once the lock is free.
 *             Once `closing` is set no node is added.
 */
#include "runtime/io/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/fiber/runtime.h"
#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"
#include "runtime/platform/spin.h"

#define STATE_KIND UINT64_C(7)
#define STATE_KNOWN UINT64_C(8)
#define STATE_EXACT UINT64_C(16)
#define STATE_CLOSING UINT64_C(32)
#define STATE_FINISHING UINT64_C(64)
#define STATE_USER_ONE UINT64_C(256)
#define STATE_USERS (UINT64_C(0xffffff) << 8)
#define STATE_GENERATION_SHIFT 32

static uint32_t generation_of(uint64_t state)
{
    return (uint32_t)(state >> STATE_GENERATION_SHIFT);
}

static enum fd_kind kind_of(uint64_t state)
{
    return (enum fd_kind)(state & STATE_KIND);
}

/* ---- the table ---- */

enum { CHUNK_RECORDS = 512, CHUNK_COUNT = 8192, POLLERS_MAX = 64 };

static struct fd_record *_Atomic chunks[CHUNK_COUNT];

/* By slot. Read under the lock of a record that has the slot's bit; written under joining. */
static struct poller *_Atomic pollers[POLLERS_MAX];
static struct lock joining = LOCK_INIT(LOCK_RUNTIME);

/* The record, NULL if nobody has ever needed one near that number. fd >= 0. */
static struct fd_record *find(int fd)
{
    unsigned chunk = (unsigned)fd / CHUNK_RECORDS;
    if (chunk >= CHUNK_COUNT)
        return NULL;
    /* acquire: the chunk is complete; pairs with the CAS in find_or_make */
    struct fd_record *records = atomic_load_explicit(&chunks[chunk], memory_order_acquire);
    return records ? &records[(unsigned)fd % CHUNK_RECORDS] : NULL;
}

/* 0 · -ENOMEM · -EMFILE: above four million. */
static int find_or_make(int fd, struct fd_record **ret_record)
{
    unsigned chunk = (unsigned)fd / CHUNK_RECORDS;

    *ret_record = find(fd);
    if (*ret_record)
        return 0;
    if (chunk >= CHUNK_COUNT)
        return -EMFILE;
    struct fd_record *records = fm__zalloc_aligned(FM_CACHE_LINE,
                                                   CHUNK_RECORDS * sizeof(struct fd_record));
    if (!records)
        return -ENOMEM;
    for (unsigned i = 0; i < CHUNK_RECORDS; i++)
        fm__lock_init(&records[i].lock, LOCK_IO);
    struct fd_record *other = NULL;
    /* release: the records are complete; acquire of another's that came first */
    if (!atomic_compare_exchange_strong_explicit(&chunks[chunk], &other, records,
                                                 memory_order_acq_rel, memory_order_acquire)) {
        free(records);
        records = other;
    }
    *ret_record = &records[(unsigned)fd % CHUNK_RECORDS];
    return 0;
}

/* The next event's tick; the caller holds the lock. */
static void tick_locked(struct fd_record *d, enum direction direction)
{
    uint32_t old = atomic_load_explicit(&d->ticks[direction], memory_order_relaxed);
    /* release (C): what the event says of the record was written before */
    while (!atomic_compare_exchange_weak_explicit(&d->ticks[direction], &old,
                                                  (old & ~TICK_DRAINED) + 2,
                                                  memory_order_release, memory_order_relaxed))
        ;
}

/* ---- closing ---- */

/*
 * Nobody uses the number and `finishing` is ours: close(2), then give the record to the next owner. He may have got the number
 * already; he waits in use_begin for the few instructions in between. Returns -errno of close(2).
 */
static __attribute__((noinline)) int finish(struct fd_record *d, int fd)
{
    int r = close(fd) < 0 ? -errno : 0;
    uint64_t old = atomic_load_explicit(&d->state, memory_order_relaxed);
    uint64_t next;

    do {
        next = (uint64_t)(generation_of(old) + 1) << STATE_GENERATION_SHIFT |
               (old & STATE_USERS);
        /* release (C) */
    } while (!atomic_compare_exchange_weak_explicit(&d->state, &old, next, memory_order_release,
                                                    memory_order_relaxed));
    /* Linux has closed the descriptor whatever it says; an interrupted close is no news. */
    return r == -EINTR ? 0 : r;
}

/* No longer a user; true if closing has been left to the caller. */
static bool leave(struct fd_record *d)
{
    /* release (A) */
    uint64_t old = atomic_fetch_sub_explicit(&d->state, STATE_USER_ONE, memory_order_release);
    FM_ASSERT(old & STATE_USERS);
    old -= STATE_USER_ONE;
    while (__builtin_expect((old & (STATE_CLOSING | STATE_FINISHING)) == STATE_CLOSING, 0) &&
           !(old & STATE_USERS))
        /* acquire (B) */
        if (atomic_compare_exchange_weak_explicit(&d->state, &old, old | STATE_FINISHING,
                                                  memory_order_acquire, memory_order_relaxed))
            return true;
    return false;
}

/* Wait until a close(2) of the number that is under way has left the record. */
static void wait_for_finish(struct fd_record *d)
{
    /* acquire (D) */
    for (unsigned spins = 0;
         atomic_load_explicit(&d->state, memory_order_acquire) & STATE_FINISHING; spins++)
        fm__spin(spins);
}

static void remove_from_pollers_locked(struct fd_record *d, int fd)
{
    /* relaxed: written under the lock alone */
    uint64_t mask = atomic_load_explicit(&d->pollers, memory_order_relaxed);
    for (uint64_t rest = mask; rest; rest &= rest - 1) {
        unsigned slot = (unsigned)__builtin_ctzll(rest);
        /* relaxed: a poller clears its bits, under this lock, before it leaves its slot */
        fm__epoll_remove(atomic_load_explicit(&pollers[slot], memory_order_relaxed), fd);
    }
    atomic_store_explicit(&d->pollers, 0, memory_order_relaxed);
}

static void wake_everybody(struct fd_record *d)
{
    fm__waitlist_wake_all(&d->waiters[DIRECTION_READ], &d->lock, WAKE_CLOSED);
    fm__waitlist_wake_all(&d->waiters[DIRECTION_WRITE], &d->lock, WAKE_CLOSED);
}

int fm__fd_close(int fd)
{
    if (fd < 0)
        return -EBADF;
    struct fd_record *d = find(fd);
    if (!d)
        return close(fd) < 0 ? -errno : 0;

    fm__lock(&d->lock);
    uint64_t old = atomic_load_explicit(&d->state, memory_order_acquire);
    for (;;) {
        if (old & STATE_FINISHING) { /* of the number's last owner */
            fm__unlock(&d->lock);
            wait_for_finish(d);
            fm__lock(&d->lock);
            old = atomic_load_explicit(&d->state, memory_order_acquire);
        } else if (old & STATE_CLOSING) {
            fm__unlock(&d->lock);
            return -EBADF;
            /* acq_rel: see Order in the head; a user from here on */
        } else if (atomic_compare_exchange_weak_explicit(&d->state, &old,
                                                         (old | STATE_CLOSING) + STATE_USER_ONE,
                                                         memory_order_acq_rel,
                                                         memory_order_acquire)) {
            break;
        }
    }
    remove_from_pollers_locked(d, fd);
    fm__unlock(&d->lock);

    wake_everybody(d);
    return leave(d) ? finish(d, fd) : 0;
}

void fm__fd_adopt(int fd, enum fd_kind kind)
{
    struct fd_record *d;

    if (find_or_make(fd, &d) < 0)
        return; /* its first use will try again */
    wait_for_finish(d);
    uint64_t old = atomic_load_explicit(&d->state, memory_order_acquire);
    if (__builtin_expect((old & STATE_KNOWN) ||
                             atomic_load_explicit(&d->pollers, memory_order_relaxed),
                         0)) {
        /* The last owner used close(2) instead of fm_close: what is known is about another file. */
        fm__lock(&d->lock);
        remove_from_pollers_locked(d, fd);
        old = atomic_load_explicit(&d->state, memory_order_relaxed);
        while (!atomic_compare_exchange_weak_explicit(&d->state, &old,
                                                      (uint64_t)(generation_of(old) + 1)
                                                              << STATE_GENERATION_SHIFT |
                                                          (old & STATE_USERS),
                                                      memory_order_acq_rel,
                                                      memory_order_relaxed))
            ;
        fm__unlock(&d->lock);
        wake_everybody(d);
    }
    fm__lock(&d->lock);
    tick_locked(d, DIRECTION_READ); /* not drained, whatever its last owner found */
    tick_locked(d, DIRECTION_WRITE);
    /* release (C) */
    atomic_fetch_or_explicit(&d->state, STATE_KNOWN | kind, memory_order_release);
    fm__unlock(&d->lock);
}

/* ---- using ---- */

/* What the file is; made non-blocking unless that has no meaning for it. 0 · -errno */
static __attribute__((noinline)) int look_at(int fd, enum fd_kind *ret_kind)
{
    struct stat status;
    enum fd_kind kind = KIND_OTHER;

    if (fstat(fd, &status) < 0)
        return -errno;
    if (S_ISSOCK(status.st_mode)) {
        int protocol = 0;
        socklen_t size = sizeof protocol;
        kind = getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 &&
                       protocol == IPPROTO_TCP
                   ? KIND_TCP
                   : KIND_SOCKET;
    } else if (S_ISFIFO(status.st_mode)) {
        kind = KIND_PIPE;
    } else if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) || S_ISBLK(status.st_mode)) {
        kind = KIND_FILE;
    }
    if (kind != KIND_FILE) {
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0))
            return -errno;
    }
    *ret_kind = kind;
    return 0;
}

/* The first use, or one that meets a closer. The caller is a user of a record that is not simply known. 0: it is now · -errno */
static __attribute__((noinline)) int use_begin_slow(struct use *use, uint64_t state)
{
    struct fd_record *d = use->record;

    while (state & STATE_FINISHING) {
        leave(d);
        wait_for_finish(d);
        state = atomic_fetch_add_explicit(&d->state, STATE_USER_ONE, memory_order_acquire);
    }
    use->generation = generation_of(state);
    if (state & STATE_CLOSING) {
        fm__use_end(use);
        return -EBADF;
    }
    if (!(state & STATE_KNOWN)) {
        enum fd_kind kind;
        int r = look_at(use->fd, &kind);
        if (r < 0) {
            fm__use_end(use);
            return r;
        }
        fm__lock(&d->lock);
        state = atomic_load_explicit(&d->state, memory_order_relaxed);
        if (!(state & STATE_KNOWN)) {
            tick_locked(d, DIRECTION_READ);
            tick_locked(d, DIRECTION_WRITE);
            /* release (C) */
            state = atomic_fetch_or_explicit(&d->state, STATE_KNOWN | kind,
                                             memory_order_release) |
                    kind;
        }
        fm__unlock(&d->lock);
    }
    use->kind = kind_of(state);
    return 0;
}

int fm__use_begin(struct use *use, int fd)
{
    struct fm_fiber *self = fm__fiber_self();
    int r;

    if (!self)
        return -EPERM;
    if (fm__fiber_interrupted(self) && fm_check() < 0)
        return -ECANCELED;
    if (fd < 0)
        return -EBADF;
    struct fd_record *d = find(fd);
    if (__builtin_expect(!d, 0)) {
        if (fcntl(fd, F_GETFD) < 0)
            return -EBADF;
        r = find_or_make(fd, &d);
        if (r < 0)
            return r;
    }
    /* acquire (D) */
    uint64_t old = atomic_fetch_add_explicit(&d->state, STATE_USER_ONE, memory_order_acquire);
    *use = (struct use) { .record = d,
                          .fiber = self,
                          .fd = fd,
                          .generation = generation_of(old),
                          .kind = kind_of(old) };
    if (__builtin_expect((old & (STATE_KNOWN | STATE_CLOSING | STATE_FINISHING)) != STATE_KNOWN,
                         0))
        return use_begin_slow(use, old);
    return 0;
}

void fm__use_end(struct use *use)
{
    if (leave(use->record))
        finish(use->record, use->fd);
}

/* A user again after a wait: false if the number is no longer the same descriptor. */
static bool use_resume(struct use *use)
{
    /* acquire (D) */
    uint64_t old = atomic_fetch_add_explicit(&use->record->state, STATE_USER_ONE,
                                             memory_order_acquire);
    if (generation_of(old) == use->generation && !(old & (STATE_CLOSING | STATE_FINISHING)))
        return true;
    fm__use_end(use);
    return false;
}

void fm__use_drained(struct use *use, enum direction direction, uint32_t seen)
{
    /* relaxed: a hint about the socket; it guards no memory. Unregistered, no event would take it back. */
    if (!(seen & TICK_DRAINED) &&
        atomic_load_explicit(&use->record->pollers, memory_order_relaxed) != 0)
        atomic_compare_exchange_strong_explicit(&use->record->ticks[direction], &seen,
                                                seen | TICK_DRAINED, memory_order_relaxed,
                                                memory_order_relaxed);
}

bool fm__use_short_is_drained(const struct use *use)
{
    /* relaxed: an event that came before the attempt is seen by way of its tick; one that came later moves the tick */
    return use->kind == KIND_TCP &&
           !(atomic_load_explicit(&use->record->state, memory_order_relaxed) & STATE_EXACT);
}

bool fm__use_expired(const struct use *use, int64_t deadline_ns)
{
    return deadline_ns <= 0 ||
           (deadline_ns != FM_NEVER && deadline_ns <= fm__runtime_now_ns(use->fiber->runtime));
}

/* ---- waiting ---- */

/* Register it with the poller of the fiber's runtime, if it is not. The caller holds the lock. 0 · 1 cannot be polled · -errno */
static int register_locked(struct use *use)
{
    struct fd_record *d = use->record;
    struct poller *poller = use->fiber->runtime->poller;
    uint64_t bit = UINT64_C(1) << poller->slot;
    /* relaxed: written under the lock alone */
    uint64_t mask = atomic_load_explicit(&d->pollers, memory_order_relaxed);

    if (mask & bit)
        return 0;
    int r = fm__epoll_add(poller, use->fd,
                          (uint64_t)use->generation << STATE_GENERATION_SHIFT |
                              (uint32_t)use->fd);
    if (r == -EPERM) {
        atomic_fetch_or_explicit(&d->state, KIND_FILE, memory_order_relaxed);
        use->kind = KIND_FILE;
        return 1;
    }
    if (r < 0)
        return r;
    atomic_store_explicit(&d->pollers, mask | bit, memory_order_relaxed);
    return 0;
}

static bool ticked(const struct use *use, unsigned events, const uint32_t seen[2])
{
    for (unsigned i = 0; i < 2; i++)
        if ((events & 1u << i) &&
            (fm__use_tick(use, (enum direction)i) | TICK_DRAINED) != (seen[i] | TICK_DRAINED))
            return true;
    return false;
}

int fm__use_wait(struct use *use, unsigned events, const uint32_t seen[2], int64_t deadline_ns,
                 const char *what)
{
    struct fd_record *d = use->record;
    struct wait_node nodes[2] = { { .listed = false }, { .listed = false } };
    struct wait wait;
    int r;

    if (fm__use_expired(use, deadline_ns)) {
        r = -ETIMEDOUT;
        goto end;
    }
    r = fm__wait_begin(&wait, 0, what);
    if (r < 0)
        goto end;

    fm__lock(&d->lock);
    /* relaxed: `closing` is set under this lock */
    if (atomic_load_explicit(&d->state, memory_order_relaxed) & STATE_CLOSING)
        r = -EBADF;
    else
        r = register_locked(use);
    if (r != 0 || ticked(use, events, seen)) {
        fm__unlock(&d->lock);
        fm__wait_abort(wait);
        if (r < 0)
            goto end;
        return 0;
    }
    for (unsigned i = 0; i < 2; i++) {
        if (events & 1u << i) {
            nodes[i].wait = wait;
            fm__waitlist_push_locked(&d->waiters[i], &nodes[i]);
        }
    }
    fm__unlock(&d->lock);
    fm__use_end(use);

    enum wake_reason reason = fm__wait_end(wait, deadline_ns);

    /* Whoever ended a wait for one direction has taken its node. */
    if (reason == WAKE_TIMEOUT || reason == WAKE_INTERRUPT ||
        events == (FM_IO_READ | FM_IO_WRITE)) {
        fm__lock(&d->lock);
        for (unsigned i = 0; i < 2; i++)
            if (nodes[i].listed)
                fm__waitlist_remove_locked(&d->waiters[i], &nodes[i]);
        fm__unlock(&d->lock);
    }
    if (reason != WAKE_VALUE)
        return fm__wake_result(reason);
    use->more = (nodes[0].amount ? FM_IO_READ : 0) | (nodes[1].amount ? FM_IO_WRITE : 0);
    return use_resume(use) ? 0 : -EBADF;

end:
    fm__use_end(use);
    return r;
}

/* Take the first waiter: true with a copy of his wait. He is told whether there are more. The caller holds the lock. */
static bool take_locked(struct fd_record *d, enum direction direction, struct wait *ret_wait)
{
    struct wait_node *node = d->waiters[direction].first;
    if (!node)
        return false;
    *ret_wait = node->wait;
    fm__waitlist_remove_locked(&d->waiters[direction], node);
    node->amount = !fm__waitlist_empty(&d->waiters[direction]);
    return true;
}

/* Wake the first waiter of that generation that still waits. Returns how many woke: 0 or 1. */
static unsigned wake_one(struct fd_record *d, uint32_t generation, enum direction direction)
{
    struct wait wait;

    for (;;) {
        fm__lock(&d->lock);
        bool taken = generation_of(atomic_load_explicit(&d->state, memory_order_relaxed)) ==
                         generation &&
                     take_locked(d, direction, &wait);
        fm__unlock(&d->lock);
        if (!taken)
            return 0;
        if (fm__wake(wait, WAKE_VALUE))
            return 1;
    }
}

void fm__use_pass_on(struct use *use)
{
    for (unsigned i = 0; i < 2; i++)
        if (use->more & 1u << i)
            wake_one(use->record, use->generation, (enum direction)i);
    use->more = 0;
}

unsigned fm__fd_event(uint64_t tag, uint32_t events)
{
    struct fd_record *d = find((int)(uint32_t)tag);
    uint32_t generation = generation_of(tag);
    const uint32_t end = EPOLLHUP | EPOLLERR;
    bool hit[2] = { (events & (EPOLLIN | EPOLLRDHUP | EPOLLPRI | end)) != 0,
                    (events & (EPOLLOUT | end)) != 0 };
    bool taken[2] = { false, false };
    struct wait waits[2];
    unsigned woken = 0;

    fm__lock(&d->lock);
    uint64_t state = atomic_load_explicit(&d->state, memory_order_relaxed);
    if (generation_of(state) != generation || (state & (STATE_CLOSING | STATE_FINISHING))) {
        fm__unlock(&d->lock);
        return 0;
    }
    /* relaxed: shown by the tick that follows */
    if ((events & (EPOLLRDHUP | EPOLLPRI | end)) && !(state & STATE_EXACT))
        atomic_fetch_or_explicit(&d->state, STATE_EXACT, memory_order_relaxed);
    for (unsigned i = 0; i < 2; i++) {
        if (hit[i]) {
            tick_locked(d, (enum direction)i);
            taken[i] = take_locked(d, (enum direction)i, &waits[i]);
        }
    }
    fm__unlock(&d->lock);

    for (unsigned i = 0; i < 2; i++)
        if (taken[i])
            woken += fm__wake(waits[i], WAKE_VALUE)
                         ? 1
                         : wake_one(d, generation, (enum direction)i);
    return woken;
}

/* ---- the pollers ---- */

int fm__fd_join(struct poller *poller)
{
    int r = -EMFILE;

    fm__lock(&joining);
    for (unsigned i = 0; i < POLLERS_MAX && r < 0; i++) {
        /* relaxed: written under joining; who reads a slot got its bit by way of a record's lock */
        if (!atomic_load_explicit(&pollers[i], memory_order_relaxed)) {
            atomic_store_explicit(&pollers[i], poller, memory_order_relaxed);
            poller->slot = i;
            r = 0;
        }
    }
    fm__unlock(&joining);
    return r;
}

void fm__fd_leave(struct poller *poller)
{
    uint64_t bit = UINT64_C(1) << poller->slot;

    /* relaxed: no fiber of that runtime is left to register; a closer on another thread may only take away */
    bool any = atomic_load_explicit(&poller->registered, memory_order_relaxed) != 0;
    for (unsigned c = 0; any && c < CHUNK_COUNT; c++) {
        struct fd_record *records = atomic_load_explicit(&chunks[c], memory_order_acquire);
        for (unsigned i = 0; records && i < CHUNK_RECORDS; i++) {
            struct fd_record *d = &records[i];
            if (!(atomic_load_explicit(&d->pollers, memory_order_relaxed) & bit))
                continue;
            fm__lock(&d->lock);
            atomic_store_explicit(&d->pollers,
                                  atomic_load_explicit(&d->pollers, memory_order_relaxed) &
                                      ~bit,
                                  memory_order_relaxed);
            fm__unlock(&d->lock);
        }
    }
    fm__lock(&joining);
    atomic_store_explicit(&pollers[poller->slot], NULL, memory_order_relaxed);
    fm__unlock(&joining);
}
