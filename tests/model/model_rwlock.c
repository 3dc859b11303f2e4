/*
 * model_rwlock.c - a writer is alone, nobody waits for a lock that he could have
 *
 * Protocol   runtime/sync/rwlock.c with runtime/sync/word.h. What the lock guards is plain
 *            data, which readers read and writers write.
 */
#include <errno.h>

#include "fm/sync.h"
#include "runtime/fiber/fiber.h"
#include "tests/model/model.h"

struct world {
    struct fm_rwlock *rwlock;
    int data; /* plain, guarded by the lock */
    _Atomic(struct fm_fiber *) waiter;
    _Atomic uint32_t in; /* a reader has come in beside another */
};

static struct world *world_new(void)
{
    struct world *w = model_calloc(1, sizeof *w);
    model_assert(fm_rwlock_create(&w->rwlock) == 0);
    return w;
}

static void read_until(struct world *w, int64_t deadline_ns, int refused)
{
    int r = fm_rwlock_lock_read(w->rwlock, deadline_ns);
    if (r == 0) {
        model_assert(w->data >= 0);
        model_assert(fm_rwlock_unlock(w->rwlock) == 0);
    } else {
        model_assert(r == refused);
    }
}

static void write_until(struct world *w, int64_t deadline_ns, int refused)
{
    int r = fm_rwlock_lock_write(w->rwlock, deadline_ns);
    if (r == 0) {
        w->data++;
        model_assert(fm_rwlock_unlock(w->rwlock) == 0);
    } else {
        model_assert(r == refused);
    }
}

static void reads(void *arg)
{
    read_until(arg, FM_NEVER, 0);
}

static void writes(void *arg)
{
    write_until(arg, FM_NEVER, 0);
}

static void writes_until(void *arg)
{
    write_until(arg, 1000, -ETIMEDOUT);
}

static void writes_interruptibly(void *arg)
{
    struct world *w = arg;
    atomic_store_explicit(&w->waiter, fm__fiber_self(), memory_order_release);
    write_until(w, FM_NEVER, -ECANCELED);
}

static void reads_interruptibly(void *arg)
{
    struct world *w = arg;
    atomic_store_explicit(&w->waiter, fm__fiber_self(), memory_order_release);
    read_until(w, FM_NEVER, -ECANCELED);
}

static void interrupt(void *arg)
{
    struct world *w = arg;
    struct fm_fiber *waiter = atomic_load_explicit(&w->waiter, memory_order_acquire);
    if (waiter)
        fm__fiber_interrupt(waiter, FM_BY_USER);
}

static void reads_beside(void *arg)
{
    struct world *w = arg;
    model_assert(fm_rwlock_lock_read(w->rwlock, FM_NEVER) == 0);
    model_assert(w->data == 0);
    atomic_store_explicit(&w->in, 1, memory_order_release);
    model_assert(fm_rwlock_unlock(w->rwlock) == 0);
}

/* The first reader stays until the second is in, so the writer between them gives up. */
static void writer_between_readers_leaves(void)
{
    struct world *w = world_new();
    model_assert(fm_rwlock_lock_read(w->rwlock, FM_NEVER) == 0);
    int ta = model_spawn(writes_until, w), tb = model_spawn(reads_beside, w);
    model_await(&w->in);
    model_assert(fm_rwlock_unlock(w->rwlock) == 0);
    model_join(ta);
    model_join(tb);
    fm_rwlock_destroy(w->rwlock);
}

/* All have come back: it is free, whoever comes gets it. */
static void together(void (*a)(void *), void (*b)(void *), void (*c)(void *))
{
    struct world *w = world_new();
    int ta = model_spawn(a, w), tb = model_spawn(b, w), tc = c ? model_spawn(c, w) : 0;
    model_join(ta);
    model_join(tb);
    if (c)
        model_join(tc);
    model_assert(fm_rwlock_trylock_write(w->rwlock) == 0);
    w->data++;
    model_assert(fm_rwlock_unlock(w->rwlock) == 0);
    model_assert(fm_rwlock_unlock(w->rwlock) == -EPERM);
    fm_rwlock_destroy(w->rwlock);
}

static void reader_meets_writer(void)
{
    together(reads, writes, NULL);
}

static void two_readers_and_a_writer(void)
{
    together(reads, writes, reads);
}

static void two_writers_and_a_reader(void)
{
    together(writes, reads, writes);
}

static void deadline_meets_hand_off(void)
{
    together(reads, writes_until, reads);
}

static void interrupt_meets_hand_off(void)
{
    together(reads, writes_interruptibly, interrupt);
}

static void interrupt_meets_a_reader_let_in(void)
{
    together(writes, reads_interruptibly, interrupt);
}

const struct model_scenario model_scenarios[] = {
    SCENARIO(reader_meets_writer),
    SCENARIO(writer_between_readers_leaves, .less = 1),
    SCENARIO(interrupt_meets_hand_off),
    SCENARIO(interrupt_meets_a_reader_let_in),
    SCENARIO(deadline_meets_hand_off, .less = 1),
    SCENARIO(two_readers_and_a_writer, .less = 1),
    SCENARIO(two_writers_and_a_reader, .less = 1),
    SCENARIO_END,
};
