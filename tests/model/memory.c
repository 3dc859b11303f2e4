/*
 * memory.c - which stores a load may still see
 *
 * Each atomic object keeps its stores in the order of execution. A thread has a view: for each
 * object the oldest store it may still read. A load picks any store from there on.
 *
 *   release store    the store carries the thread's view and clock
 *   acquire load     joins what the store carries into the thread
 *   relaxed store    carries what the thread had seen at its last release fence
 *   relaxed load     sets aside what the store carries, for an acquire fence
 *   read-modify-write reads the newest, and hands on what that store carries (C++20 release
 *                    sequence: later plain stores of the same thread do not)
 *   seq_cst access   may not read behind the last seq_cst store or load of this object, nor
 *                    behind what a seq_cst fence has announced; but a load that finds a weaker
 *                    store of its own thread, as it may before others can, announces nothing
 *   seq_cst fence    joins the global view, and the global view joins it; orders no plain data
 *
 * The single order of seq_cst operations is the order of execution. Real memory always holds
 * the newest value, so that plain reads of it and a debugger see the truth.
 *
 * Source   Kang et al., "A promising semantics for relaxed-memory concurrency", POPL 2017, the
 *          views; without promises: a load never reads a store that has yet to run.
 */
#include <stdatomic.h>
#include <string.h>

#include "tests/model/checker.h"

enum {
    VISIBLE = 4,       /* the newest this many stores are offered to a load */
    STALE_IN_A_ROW = 2 /* then the newest is due, or a loop would never end */
};

struct store {
    uint64_t value;
    unsigned thread;
    struct view view;
    struct clock clock;
};

static struct location {
    char *address;
    unsigned size;
    unsigned count; /* stores */
    unsigned first; /* older ones were made unreadable by a plain write */
    bool rewritten; /* by a plain write: take the value from memory again */
    struct order order;
    struct plain plain;
    struct plain atomic;
    struct store stores[STORES];
} locations[LOCATIONS];

static unsigned location_count;
static struct view announced; /* seq_cst accesses and fences */
static struct order fences;   /* writes: seq_cst fences; reads: seq_cst accesses */

void memory_reset(void)
{
    location_count = 1; /* 0 means none */
    memset(&announced, 0, sizeof announced);
    fences = (struct order) { 0 };
}

static bool acquires(int order)
{
    return order == memory_order_acquire || order == memory_order_consume ||
           order == memory_order_acq_rel || order == memory_order_seq_cst;
}

static bool releases(int order)
{
    return order == memory_order_release || order == memory_order_acq_rel ||
           order == memory_order_seq_cst;
}

static const char *order_name(int order)
{
    static const char *const names[] = { "relaxed", "consume", "acquire",
                                         "release", "acq_rel", "seq_cst" };
    return names[order];
}

static uint64_t raw_read(const void *address, unsigned size)
{
    switch (size) {
    case 1: return *(const volatile uint8_t *)address;
    case 2: return *(const volatile uint16_t *)address;
    case 4: return *(const volatile uint32_t *)address;
    default: return *(const volatile uint64_t *)address;
    }
}

static void raw_write(void *address, unsigned size, uint64_t value)
{
    switch (size) {
    case 1: *(volatile uint8_t *)address = (uint8_t)value; break;
    case 2: *(volatile uint16_t *)address = (uint16_t)value; break;
    case 4: *(volatile uint32_t *)address = (uint32_t)value; break;
    default: *(volatile uint64_t *)address = value; break;
    }
}

static uint64_t truncated(uint64_t value, unsigned size)
{
    return size == 8 ? value : value & ((UINT64_C(1) << (8 * size)) - 1);
}

uint64_t memory_newest(const void *address, unsigned size)
{
    return raw_read(address, size);
}

void memory_look(void *address, unsigned size)
{
    unsigned x = shadow_location(address, size);
    if (x)
        states_read(&locations[x].order, raw_read(address, size));
    else
        states_local(raw_read(address, size));
}

/* Did all of these accesses of other threads happen before now? */
static void check_ordered(const struct location *l, const int16_t *accesses, const char *what)
{
    for (unsigned i = 0; i < THREADS; i++)
        if (threads + i != running && accesses[i] > running->now.at[i])
            model_fail("data race: %s, unordered with thread %u, at %s", what, i,
                       shadow_name(l->address));
}

/* The value a plain write left, or the first one: known to all who may look at it at all. */
static void store_initial(struct location *l)
{
    if (l->count == STORES)
        model_fail("more than %d stores to one location", STORES);
    struct store *s = &l->stores[l->count];
    memset(s, 0, sizeof *s);
    s->value = raw_read(l->address, l->size);
    s->thread = THREADS; /* nobody's */
    l->first = l->count++;
    l->rewritten = false;
}

static unsigned location_of(void *address, unsigned size, bool write)
{
    unsigned x = shadow_location(address, size);
    struct location *l = &locations[x];
    if (!x) {
        if (location_count == LOCATIONS)
            model_fail("more than %d atomic objects", LOCATIONS - 1);
        x = location_count++;
        l = &locations[x];
        l->address = address;
        l->size = size;
        l->count = 0;
        l->order = (struct order) { .written = (uintptr_t)address };
        memset(&l->atomic, 0, sizeof l->atomic);
        shadow_set_location(address, size, x, &l->plain);
        store_initial(l);
    } else if (l->address != address || l->size != size) {
        model_fail("atomic accesses of different sizes at %s", shadow_name(address));
    } else if (l->rewritten || raw_read(address, size) != l->stores[l->count - 1].value) {
        /* the second: by code that is not instrumented, on its own stack */
        store_initial(l);
    }
    check_ordered(l, l->plain.write,
                  write ? "atomic write after plain write" : "atomic read after plain write");
    if (write)
        check_ordered(l, l->plain.read, "atomic write after plain read");
    (write ? l->atomic.write : l->atomic.read)[running_id()] = running->now.at[running_id()];
    return x;
}

void memory_plain(unsigned x, bool write)
{
    struct location *l = &locations[x];
    const char *what = write ? "plain write" : "plain read";
    check_ordered(l, l->plain.write, what);
    check_ordered(l, l->atomic.write, what);
    if (write) {
        check_ordered(l, l->plain.read, what);
        check_ordered(l, l->atomic.read, what);
        l->rewritten = true;
    }
    (write ? l->plain.write : l->plain.read)[running_id()] = running->now.at[running_id()];
}

/* Store k of location x has been read. True if others may see by that that it was. */
static bool observe(unsigned x, unsigned k, int order)
{
    struct thread *t = running;
    const struct store *s = &locations[x].stores[k];
    t->seen.at[x] = (uint8_t)k;
    if (acquires(order)) {
        view_join(&t->seen, &s->view);
        clock_join(&t->now, &s->clock);
    } else {
        view_join(&t->seen_relaxed, &s->view);
        clock_join(&t->now_relaxed, &s->clock);
    }
    if (order != memory_order_seq_cst || announced.at[x] >= k || s->thread == running_id())
        return false;
    announced.at[x] = (uint8_t)k;
    return true;
}

/* A new store; after is the one a read-modify-write has read. */
static void append(unsigned x, uint64_t value, int order, const struct store *after)
{
    struct thread *t = running;
    struct location *l = &locations[x];
    if (l->count == STORES)
        model_fail("more than %d stores to one location: a livelock?", STORES);
    unsigned k = l->count++;
    struct store *s = &l->stores[k];
    s->value = value;
    s->thread = running_id();
    t->seen.at[x] = (uint8_t)k;
    if (releases(order)) {
        s->view = t->seen;
        s->clock = t->now;
        t->now.at[running_id()]++;
    } else {
        s->view = t->released;
        s->view.at[x] = (uint8_t)k;
        s->clock = t->now_released;
    }
    if (after) {
        view_join(&s->view, &after->view);
        clock_join(&s->clock, &after->clock);
    }
    if (order == memory_order_seq_cst)
        announced.at[x] = (uint8_t)k;
    raw_write(l->address, l->size, value);
    t->idle_steps = 0;
    states_write(&l->order, STORES + k);
    if (order == memory_order_seq_cst)
        states_read(&fences, 0);
}

/* The oldest store the running thread may read, within the bounds of the search. */
static unsigned oldest_visible(unsigned x, int order)
{
    const struct location *l = &locations[x];
    unsigned oldest = running->seen.at[x];
    if (oldest < l->first)
        oldest = l->first;
    if (order == memory_order_seq_cst && oldest < announced.at[x])
        oldest = announced.at[x];
    if (oldest + VISIBLE < l->count)
        oldest = l->count - VISIBLE;
    return running->stale[x] >= STALE_IN_A_ROW ? l->count - 1 : oldest;
}

static uint64_t read_store(unsigned x, unsigned k, int order)
{
    const struct location *l = &locations[x];
    running->stale[x] = k == l->count - 1 ? 0 : (uint8_t)(running->stale[x] + 1);
    bool announces = observe(x, k, order);
    (announces ? states_write : states_read)(&locations[x].order, k);
    if (order == memory_order_seq_cst)
        states_read(&fences, 0);
    return l->stores[k].value;
}

uint64_t memory_load(void *address, unsigned size, int order)
{
    threads_point_at(address);
    unsigned x = location_of(address, size, false);
    unsigned newest = locations[x].count - 1;
    unsigned k = newest - search_choose(newest - oldest_visible(x, order) + 1);
    uint64_t value = read_store(x, k, order);
    TRACE("load  %s %s = %#lx%s", order_name(order), shadow_name(address), value,
          k < newest ? "  (an old value)" : "");
    return value;
}

void memory_store(void *address, unsigned size, uint64_t value, int order)
{
    threads_point_at(address);
    unsigned x = location_of(address, size, true);
    value = truncated(value, size);
    append(x, value, order, NULL);
    TRACE("store %s %s = %#lx", order_name(order), shadow_name(address), value);
}

/* What a read-modify-write does once it is its turn: reads the newest, writes the next. */
static void modify(unsigned x, uint64_t value, int order)
{
    const struct location *l = &locations[x];
    unsigned k = l->count - 1;
    running->stale[x] = 0;
    observe(x, k, order);
    append(x, value, order, &l->stores[k]);
}

uint64_t memory_rmw(void *address, unsigned size, enum memory_rmw op, uint64_t v, int order)
{
    threads_point_at(address);
    return memory_rmw_now(address, size, op, v, order);
}

uint64_t memory_rmw_now(void *address, unsigned size, enum memory_rmw op, uint64_t v, int order)
{
    unsigned x = location_of(address, size, true);
    const struct location *l = &locations[x];
    uint64_t old = l->stores[l->count - 1].value;
    uint64_t next = op == RMW_SET   ? v
                    : op == RMW_ADD ? old + v
                    : op == RMW_SUB ? old - v
                    : op == RMW_AND ? (old & v)
                    : op == RMW_OR  ? (old | v)
                    : op == RMW_XOR ? (old ^ v)
                                    : ~(old & v);
    next = truncated(next, size);
    modify(x, next, order);
    TRACE("rmw   %s %s = %#lx -> %#lx", order_name(order), shadow_name(address), old, next);
    return old;
}

/*
 * It takes place if the newest value is the expected one. It may also fail, on any visible
 * value that differs; the weak form once in a while on the right one.
 */
bool memory_cas(void *address, unsigned size, uint64_t *expected, uint64_t desired, bool weak,
                int order, int failure_order)
{
    threads_point_at(address);
    unsigned x = location_of(address, size, false);
    struct location *l = &locations[x];
    unsigned newest = l->count - 1;
    uint64_t wanted = truncated(*expected, size);
    bool matches = l->stores[newest].value == wanted;
    bool spurious = matches && weak && spurious_left > 0;

    unsigned failures[VISIBLE + 1], n = 0;
    unsigned oldest = oldest_visible(x, failure_order);
    for (unsigned k = newest + 1; k-- > oldest;)
        if (l->stores[k].value != wanted)
            failures[n++] = k;
    if (spurious)
        failures[n++] = newest;

    unsigned choice = search_choose(n + matches);
    if (matches && choice == 0) {
        location_of(address, size, true); /* for the races: it writes, too */
        modify(x, truncated(desired, size), order);
        TRACE("cas   %s %s = %#lx -> %#lx", order_name(order), shadow_name(address), wanted,
              truncated(desired, size));
        return true;
    }
    unsigned k = failures[choice - matches];
    if (l->stores[k].value == wanted)
        spurious_left--;
    *expected = read_store(x, k, failure_order);
    TRACE("cas   %s %s = %#lx, fails%s", order_name(failure_order), shadow_name(address),
          *expected,
          *expected == wanted ? " for no reason"
          : k < newest        ? "  (an old value)"
                              : "");
    return false;
}

void memory_fence(int order)
{
    threads_point();
    struct thread *t = running;
    TRACE("fence %s", order_name(order));
    if (order == memory_order_seq_cst)
        states_write(&fences, 0);
    else
        states_local((uint64_t)order);
    if (acquires(order)) {
        view_join(&t->seen, &t->seen_relaxed);
        clock_join(&t->now, &t->now_relaxed);
    }
    if (order == memory_order_seq_cst) {
        view_join(&t->seen, &announced);
        announced = t->seen;
    }
    if (releases(order)) {
        t->released = t->seen;
        t->now_released = t->now;
        t->now.at[running_id()]++;
    }
}
