/*
 * fd.c - the records of descriptors: users, and who may close a number
 *
 * Knows not   how a wait goes (readiness.c); it wakes all who wait when it closes.
 * Invariant   Once `closing` is set no waiter is added: it is set, and looked at, under the
 *             record's lock.
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

struct fd_record *fm__fd_find(int fd)
{
    FM_ASSERT(fd >= 0);
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
    FM_ASSERT(fd >= 0);
    FM_ASSERT(ret_record);
    unsigned chunk = (unsigned)fd / CHUNK_RECORDS;

    *ret_record = fm__fd_find(fd);
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

/* ---- closing ---- */

/*
 * Nobody uses the number and `finishing` is ours: close(2), then give the record to the next
 * owner. He may have got the number already; he waits in use_begin for the few instructions in
 * between. Returns -errno of close(2).
 */
static __attribute__((noinline)) int finish(struct fd_record *d, int fd)
{
    FM_ASSERT(fd >= 0);
    int r = close(fd) < 0 ? -errno : 0;
    uint64_t old = atomic_load_explicit(&d->state, memory_order_relaxed);
    uint64_t next;

    do {
        next = (uint64_t)(fm__fd_generation(old) + 1) << STATE_GENERATION_SHIFT |
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

static void forget_locked(struct fd_record *d, int fd)
{
    FM_ASSERT(fm__lock_held(&d->lock));
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
    struct fd_record *d = fm__fd_find(fd);
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
    forget_locked(d, fd);
    fm__unlock(&d->lock);

    wake_everybody(d);
    return leave(d) ? finish(d, fd) : 0;
}

void fm__fd_adopt(int fd, enum fd_kind kind)
{
    FM_ASSERT(fd >= 0 && kind <= KIND_FILE);
    struct fd_record *d;

    if (find_or_make(fd, &d) < 0)
        return; /* its first use will try again */
    wait_for_finish(d);
    uint64_t old = atomic_load_explicit(&d->state, memory_order_acquire);
    if (__builtin_expect((old & STATE_KNOWN) ||
                             atomic_load_explicit(&d->pollers, memory_order_relaxed),
                         0)) {
        /*
         * The last owner used close(2) instead of fm_close: what is known is about another
         * file.
         */
        fm__lock(&d->lock);
        forget_locked(d, fd);
        old = atomic_load_explicit(&d->state, memory_order_relaxed);
        while (!atomic_compare_exchange_weak_explicit(&d->state, &old,
                                                      (uint64_t)(fm__fd_generation(old) + 1)
                                                              << STATE_GENERATION_SHIFT |
                                                          (old & STATE_USERS),
                                                      memory_order_acq_rel,
                                                      memory_order_relaxed))
            ;
        fm__unlock(&d->lock);
        wake_everybody(d);
    }
    fm__lock(&d->lock);
    fm__fd_tick_locked(d, DIRECTION_READ); /* not drained, whatever its last owner found */
    fm__fd_tick_locked(d, DIRECTION_WRITE);
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

/*
 * The first use, or one that meets a closer. The caller is a user of a record that is not
 * simply known. 0: it is now · -errno
 */
static __attribute__((noinline)) int use_begin_slow(struct use *use, uint64_t state)
{
    FM_ASSERT(use->fiber == fm__fiber_self());
    struct fd_record *d = use->record;

    while (state & STATE_FINISHING) {
        leave(d);
        wait_for_finish(d);
        state = atomic_fetch_add_explicit(&d->state, STATE_USER_ONE, memory_order_acquire);
    }
    use->generation = fm__fd_generation(state);
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
            fm__fd_tick_locked(d, DIRECTION_READ);
            fm__fd_tick_locked(d, DIRECTION_WRITE);
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
    struct fd_record *d = fm__fd_find(fd);
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
                          .generation = fm__fd_generation(old),
                          .kind = kind_of(old) };
    if (__builtin_expect((old & (STATE_KNOWN | STATE_CLOSING | STATE_FINISHING)) != STATE_KNOWN,
                         0))
        return use_begin_slow(use, old);
    return 0;
}

void fm__use_end(struct use *use)
{
    FM_ASSERT(use->record && use->fd >= 0);
    if (leave(use->record))
        finish(use->record, use->fd);
}

bool fm__use_resume(struct use *use)
{
    FM_ASSERT(use->record);
    /* acquire (D) */
    uint64_t old = atomic_fetch_add_explicit(&use->record->state, STATE_USER_ONE,
                                             memory_order_acquire);
    if (fm__fd_generation(old) == use->generation && !(old & (STATE_CLOSING | STATE_FINISHING)))
        return true;
    fm__use_end(use);
    return false;
}

/* ---- the pollers ---- */

int fm__fd_join(struct poller *poller)
{
    FM_ASSERT(poller);
    int r = -EMFILE;

    fm__lock(&joining);
    for (unsigned i = 0; i < POLLERS_MAX && r < 0; i++) {
        /*
         * relaxed: written under joining; who reads a slot got its bit by way of a record's
         * lock
         */
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
    FM_ASSERT(poller->slot < POLLERS_MAX);
    uint64_t bit = UINT64_C(1) << poller->slot;

    /*
     * relaxed: no fiber of that runtime is left to register; a closer on another thread may
     * only take away
     */
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
