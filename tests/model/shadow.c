/*
 * shadow.c - every byte: races, use after free, wild pointers
 *
 * Behind each byte that scenario and room may share stands a cell: which threads read and wrote
 * it last, at which tick of their clocks, and whether an atomic object covers it. A plain
 * access must have happened after each conflicting one of another thread; both orders of a race
 * are so found in one execution. The bytes are those of the arena, which model_malloc hands out
 * once each, of the threads' stacks, and of variables that the scenario has named. Constants of
 * the program may be read. All else is wild.
 *
 * Source   Flanagan, Freund, "FastTrack", PLDI 2009; changed: a cell keeps every thread's last
 *          read, as there are so few threads.
 */
#include <stdio.h>
#include <string.h>

#include "tests/model/checker.h"

enum {
    ARENA_BYTES = 1 << 19,
    BLOCKS = 256,
    RED_ZONE = 16, /* between blocks */
    GLOBALS = 4,
    GLOBAL_BYTES = 64, /* of one */
};

enum cell_state { CELL_NONE, CELL_LIVE, CELL_FREED };

struct cell {
    uint32_t execution; /* the one it belongs to; the content of older ones is void */
    uint8_t state;      /* enum cell_state; of the arena only */
    uint8_t location;
    int16_t read[THREADS];
    int16_t write[THREADS];
};

static _Alignas(4096) char arena[ARENA_BYTES];
static struct cell arena_cells[ARENA_BYTES];
static size_t arena_used;
static struct cell stack_cells[THREADS * STACK_BYTES];
static struct block {
    char *start;
    size_t size;
    bool freed;
    uint8_t maker; /* the thread; and when it was */
    int16_t made;
} blocks[BLOCKS];
static unsigned block_count;
static struct order heap;  /* where the next block begins hangs on who came before */
static struct order freed; /* reads: model_free; writes: model_freed */
static struct global {
    char *start;
    size_t size;
    struct cell cells[GLOBAL_BYTES];
} globals[GLOBALS];
static unsigned global_count;
static uint32_t execution;

void shadow_reset(void)
{
    execution++;
    arena_used = 0;
    block_count = 0;
    global_count = 0;
    heap = freed = (struct order) { 0 };
}

static struct cell *fresh(struct cell *cell)
{
    if (cell->execution != execution) {
        memset(cell, 0, sizeof *cell);
        cell->execution = execution;
    }
    return cell;
}

static bool in_arena(const void *address)
{
    return (const char *)address >= arena && (const char *)address < arena + ARENA_BYTES;
}

static bool on_stack(const void *address)
{
    const char *low = thread_stacks[0];
    return (const char *)address >= low && (const char *)address < low + sizeof thread_stacks;
}

bool shadow_owns(const void *address)
{
    return in_arena(address) || on_stack(address);
}

const char *shadow_name(const void *address)
{
    static char names[4][48];
    static unsigned turn;
    char *name = names[turn++ % 4];
    const char *p = address;
    if (on_stack(p)) {
        size_t offset = (size_t)(p - thread_stacks[0]);
        snprintf(name, sizeof names[0], "stack %zu-%zu", offset / STACK_BYTES,
                 STACK_BYTES - offset % STACK_BYTES);
        return name;
    }
    for (unsigned i = 0; i < block_count; i++) {
        if (p < blocks[i].start - RED_ZONE || p >= blocks[i].start + blocks[i].size + RED_ZONE)
            continue;
        snprintf(name, sizeof names[0], "block %u%+td", i, p - blocks[i].start);
        return name;
    }
    snprintf(name, sizeof names[0], "%p", address);
    return name;
}

/* The last that begins at or before p. */
static const struct block *block_before(const char *p)
{
    unsigned low = 0, high = block_count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (blocks[middle].start <= p)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &blocks[low - 1] : NULL;
}

/* A cell is made when its byte is first touched: most are never. */
static struct cell *arena_cell(const char *p)
{
    struct cell *cell = &arena_cells[p - arena];
    if (cell->execution == execution)
        return cell;
    const struct block *block = block_before(p);
    fresh(cell);
    if (block && p < block->start + block->size) {
        cell->state = CELL_LIVE;
        cell->write[block->maker] = block->made;
    }
    return cell;
}

static struct cell *global_cell(const char *p)
{
    for (unsigned i = 0; i < global_count; i++)
        if (p >= globals[i].start && p < globals[i].start + globals[i].size)
            return fresh(&globals[i].cells[p - globals[i].start]);
    return NULL;
}

/* The linker's: code and constants stand between these. */
extern const char __executable_start[], __data_start[];

/* The cell of a byte; NULL if it is constant data and only read. */
static struct cell *cell_of(const void *address, bool write)
{
    const char *p = address;
    const char *what = write ? "write" : "read";
    if (on_stack(p))
        return fresh(&stack_cells[p - thread_stacks[0]]);
    if (in_arena(p)) {
        struct cell *cell = arena_cell(p);
        if (cell->state == CELL_FREED)
            model_fail("use after free: %s of %s", what, shadow_name(p));
        if (cell->state != CELL_LIVE)
            model_fail("%s out of bounds: %s", what, shadow_name(p));
        return cell;
    }
    struct cell *global = global_cell(p);
    if (global)
        return global;
    if (!write && p >= __executable_start && p < __data_start)
        return NULL;
    model_fail("%s of memory that is not the model's: %p", what, address);
}

static void check_ordered(const int16_t *accesses, const char *address, const char *what)
{
    for (unsigned i = 0; i < THREADS; i++)
        if (threads + i != running && accesses[i] > running->now.at[i])
            model_fail("data race: %s, unordered with thread %u, at %s", what, i,
                       shadow_name(address));
}

void shadow_plain(const void *address, size_t size, bool write)
{
    const char *p = address;
    unsigned known = 0;
    for (size_t i = 0; i < size; i++) {
        struct cell *cell = cell_of(p + i, write);
        if (!cell)
            continue;
        if (cell->location) {
            if (cell->location != known)
                memory_plain(cell->location, write);
            known = cell->location;
            continue;
        }
        check_ordered(cell->write, p + i, write ? "write after write" : "read after write");
        if (write)
            check_ordered(cell->read, p + i, "write after read");
        (write ? cell->write : cell->read)[running_id()] = running->now.at[running_id()];
    }
    if (write)
        running->idle_steps = 0;
    TRACE("%s %s, %zu bytes", write ? "write" : "read ", shadow_name(address), size);
}

unsigned shadow_location(const void *address, unsigned size)
{
    const struct cell *cell = cell_of(address, true);
    cell_of((const char *)address + size - 1, true);
    return cell->location;
}

void shadow_set_location(const void *address, unsigned size, unsigned x, struct plain *ret_past)
{
    memset(ret_past, 0, sizeof *ret_past);
    for (unsigned i = 0; i < size; i++) {
        struct cell *cell = cell_of((const char *)address + i, true);
        if (cell->location)
            model_fail("atomic accesses of different sizes at %s", shadow_name(address));
        cell->location = (uint8_t)x;
        for (unsigned t = 0; t < THREADS; t++) {
            if (cell->read[t] > ret_past->read[t])
                ret_past->read[t] = cell->read[t];
            if (cell->write[t] > ret_past->write[t])
                ret_past->write[t] = cell->write[t];
        }
    }
}

void *model_aligned(size_t alignment, size_t size)
{
    if (alignment < 16)
        alignment = 16;
    size_t start = (arena_used + RED_ZONE + alignment - 1) & ~(alignment - 1);
    if (block_count == BLOCKS || start + size + RED_ZONE > ARENA_BYTES)
        model_fail("the model's arena is used up");
    arena_used = start + size;
    blocks[block_count++] = (struct block) { .start = arena + start,
                                             .size = size,
                                             .maker = (uint8_t)running_id(),
                                             .made = running->now.at[running_id()] };
    states_write(&heap, size);
    memset(arena + start, 0, size);
    return arena + start;
}

void model_global(void *variable, size_t size)
{
    if (global_count == GLOBALS || size > GLOBAL_BYTES)
        model_fail("no room for another variable of %zu bytes", size);
    globals[global_count].start = variable;
    globals[global_count++].size = size;
    memset(variable, 0, size);
    for (size_t i = 0; i < size; i++)
        global_cell((char *)variable + i)->write[running_id()] = running->now.at[running_id()];
}

void *model_malloc(size_t size)
{
    return memset(model_aligned(16, size), 0xa5, size);
}

void *model_calloc(size_t count, size_t size)
{
    return model_aligned(16, count * size);
}

static struct block *block_at(const void *start)
{
    for (unsigned i = 0; i < block_count; i++)
        if (blocks[i].start == start)
            return &blocks[i];
    model_fail("free of %s, which is no allocation", shadow_name(start));
}

/* To the races a free is a write to each byte. The memory rests until the execution ends. */
void model_free(void *memory)
{
    if (!memory)
        return;
    struct block *b = block_at(memory);
    if (b->freed)
        model_fail("double free of %s", shadow_name(memory));
    TRACE("free  %s, %zu bytes", shadow_name(memory), b->size);
    shadow_plain(memory, b->size, true);
    for (size_t i = 0; i < b->size; i++)
        arena_cell(b->start + i)->state = CELL_FREED;
    b->freed = true;
    states_read(&freed, (uintptr_t)memory);
}

bool model_freed(const void *memory)
{
    states_write(&freed, 0);
    return block_at(memory)->freed;
}
