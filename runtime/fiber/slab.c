/*
 * slab.c - descriptors in type-stable memory
 *
 * The free ones of the depot are bits, and the lowest go out first: however wildly fibers end,
 * those that are spawned next stand one behind the other again, which a processor fetches ahead.
 * On a list they would come in the order of the ends, each a miss of the cache.
 *
 * Owns        the chunks, for the life of the process.
 * Invariant   a chunk is published when all its descriptors are in order; slots never move. A
 *             word or a chunk has its bit above if and only if it has one itself.
 */
#include "runtime/fiber/slab.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/platform/memory.h"
#include "runtime/platform/pages.h"
#include "runtime/platform/sanitizer.h"

/*
 * The first chunks come one by one, page by page: most programs need no more. Where there are
 * many fibers, a page of four KiB holds the descriptors of sixteen, and each fault and each
 * miss of the address cache would cost more than what is done with them: the others come eight
 * at a time from one huge page.
 *
 * Most of the time only the first line of a descriptor is wanted. Four lines apart, the first
 * lines of all share a quarter of the cache's sets: so each region begins one line further on
 * than the one before, three at most, and its last descriptor ends in a page behind the huge
 * one.
 */
enum { SLAB_SMALL_CHUNKS = 8, SLAB_REGION_CHUNKS = 8, SLAB_COLOURS = 4 };

#define CHUNK_BYTES (sizeof(struct fm_fiber) * SLAB_CHUNK)
#define REGION_BYTES (CHUNK_BYTES * SLAB_REGION_CHUNKS)

/* A bit for each slot that is free, and above it one for each word of 64 that has any. */
enum {
    FREE_WORDS = (1 << FIBER_ID_SLOT_BITS) / 64,
    FREE_HIGH_WORDS = FREE_WORDS / 64,
    FREE_TOP_WORDS = FREE_HIGH_WORDS / 64,
};

static struct {
    struct lock lock;
    uint64_t free[FREE_WORDS], free_high[FREE_HIGH_WORDS], free_top[FREE_TOP_WORDS];
    struct fm_fiber *region; /* what is left of it: the next chunks */
    uint32_t region_chunks, region_colour;
    _Atomic uint32_t chunk_count;
} slab = { .lock = LOCK_INIT(LOCK_SLAB) };

_Atomic(struct fm_fiber *) fm__slab_chunks[SLAB_CHUNKS];

#if !FM_ASAN && !FM_TSAN
_Static_assert(sizeof(struct fm_fiber) == 256, "four lines, as docs/design.md says");
#endif

static struct fm_fiber *reserve(size_t bytes, size_t alignment)
{
    int error; /* whatever it is: no memory */
    return fm__pages_reserve(bytes, alignment, NULL, "fibermap descriptors", &error);
}

/* Address space for a chunk; pages come at first touch. The lock is held. */
static struct fm_fiber *take_chunk_locked(uint32_t index)
{
    FM_ASSERT(fm__lock_held(&slab.lock) && index < SLAB_CHUNKS);
    if (index < SLAB_SMALL_CHUNKS)
        return reserve(CHUNK_BYTES, fm__page_bytes());
    if (!slab.region_chunks) {
        /* a power of two, and a huge page where a descriptor has its usual size */
        char *region = (char *)reserve(REGION_BYTES + fm__page_bytes(),
                                       (size_t)1 << (63 - __builtin_clzl(REGION_BYTES)));
        if (!region)
            return reserve(CHUNK_BYTES, fm__page_bytes());
        fm__pages_let_huge(region, REGION_BYTES);
        slab.region = (struct fm_fiber *)(void *)(region + slab.region_colour * FM_CACHE_LINE);
        slab.region_colour = (slab.region_colour + 1) % SLAB_COLOURS;
        slab.region_chunks = SLAB_REGION_CHUNKS;
    }
    struct fm_fiber *chunk = slab.region;
    slab.region += SLAB_CHUNK;
    slab.region_chunks--;
    return chunk;
}

/* ---- the free ones of the depot; the lock is held ---- */

static void free_add_locked(uint32_t slot)
{
    FM_ASSERT(fm__lock_held(&slab.lock));
    FM_ASSERT(!(slab.free[slot / 64] >> slot % 64 & 1));
    uint32_t word = slot / 64, high = word / 64;
    uint64_t others = slab.free[word];
    slab.free[word] = others | UINT64_C(1) << slot % 64;
    if (others)
        return;
    slab.free_high[high] |= UINT64_C(1) << word % 64;
    slab.free_top[high / 64] |= UINT64_C(1) << high % 64;
}

/* A word with free slots, the lowest; FREE_WORDS if there is none. */
static uint32_t free_word_locked(void)
{
    FM_ASSERT(fm__lock_held(&slab.lock));
    for (uint32_t top = 0; top < FREE_TOP_WORDS; top++) {
        if (!slab.free_top[top])
            continue;
        uint32_t high = top * 64 + (uint32_t)__builtin_ctzll(slab.free_top[top]);
        return high * 64 + (uint32_t)__builtin_ctzll(slab.free_high[high]);
    }
    return FREE_WORDS;
}

/* The lowest slots of a word that has free ones, up to `most`, as bits. */
static uint64_t free_remove_locked(uint32_t word, uint32_t most)
{
    FM_ASSERT(fm__lock_held(&slab.lock));
    FM_ASSERT(word < FREE_WORDS && slab.free[word]);
    uint32_t high = word / 64;
    uint64_t all = slab.free[word], rest = all;

    while (rest && most--)
        rest &= rest - 1;
    slab.free[word] = rest;
    if (!rest)
        slab.free_high[high] &= ~(UINT64_C(1) << word % 64);
    if (!slab.free_high[high])
        slab.free_top[high / 64] &= ~(UINT64_C(1) << high % 64);
    return all & ~rest;
}

/* Room for more; the lock is held. */
static bool grow_locked(void)
{
    FM_ASSERT(fm__lock_held(&slab.lock));
    uint32_t index = atomic_load_explicit(&slab.chunk_count, memory_order_relaxed);
    if (index == SLAB_CHUNKS)
        return false;
    struct fm_fiber *chunk = take_chunk_locked(index);
    if (!chunk)
        return false;
    /* The values that fibers left behind, and their extras, hang on descriptors: not a leak. */
    fm__lsan_root(chunk, CHUNK_BYTES);
    for (uint32_t i = SLAB_CHUNK; i-- > 0;) {
        struct fm_fiber *fiber = &chunk[i];
        fiber->slot = index * SLAB_CHUNK + i;
        /* generation 1, no reference; relaxed: published with the chunk */
        atomic_store_explicit(&fiber->refs, UINT64_C(1) << FIBER_ID_SLOT_BITS,
                              memory_order_relaxed);
        free_add_locked(fiber->slot);
    }
    /* release: with fm__slab_at */
    atomic_store_explicit(&fm__slab_chunks[index], chunk, memory_order_release);
    atomic_store_explicit(&slab.chunk_count, index + 1, memory_order_release);
    return true;
}

static FM_THREADS_OWN struct fm_fiber *next_of(struct fm_fiber *fiber)
{
    return (struct fm_fiber *)fiber->task.next;
}

/* Into an empty cache, up to `most`, so that the lowest is taken first. */
static FM_THREADS_OWN void fill_locked(struct slab_cache *cache, uint32_t most)
{
    FM_ASSERT(!cache->list && !cache->count);
    struct fm_fiber *last = NULL;
    uint32_t word;

    while (cache->count < most && (word = free_word_locked()) < FREE_WORDS) {
        uint64_t slots = free_remove_locked(word, most - cache->count);
        for (; slots; slots &= slots - 1) {
            struct fm_fiber *fiber = fm__slab_at(word * 64 + (uint32_t)__builtin_ctzll(slots));
            if (last)
                last->task.next = (struct task *)fiber;
            else
                cache->list = fiber;
            last = fiber;
            cache->count++;
        }
    }
    if (last)
        last->task.next = NULL;
}

FM_THREADS_OWN struct fm_fiber *fm__slab_take(struct slab_cache *cache)
{
    struct slab_cache none = { 0 };

    if (!cache)
        cache = &none;
    if (!cache->list) {
        fm__lock(&slab.lock);
        if (free_word_locked() < FREE_WORDS || grow_locked())
            fill_locked(cache, cache == &none ? 1 : SLAB_BATCH);
        fm__unlock(&slab.lock);
        if (!cache->list)
            return NULL;
    }
    FM_ASSERT(cache->count);
    struct fm_fiber *fiber = cache->list;
    cache->list = next_of(fiber);
    cache->count--;
    fm__tsan_take(fiber);
    return fiber;
}

/* Move `count` from the cache to the depot. */
static FM_THREADS_OWN void spill(struct slab_cache *cache, uint32_t count)
{
    FM_ASSERT(count <= cache->count);
    if (!count)
        return;
    fm__lock(&slab.lock);
    for (uint32_t i = 0; i < count; i++) {
        free_add_locked(cache->list->slot);
        cache->list = next_of(cache->list);
    }
    fm__unlock(&slab.lock);
    cache->count -= count;
}

FM_THREADS_OWN void fm__slab_give(struct slab_cache *cache, struct fm_fiber *fiber)
{
    struct slab_cache none = { 0 };
    if (!cache)
        cache = &none;
    fm__tsan_give(fiber);
    fiber->task.next = (struct task *)cache->list;
    cache->list = fiber;
    cache->count++;
    if (cache == &none)
        spill(cache, 1);
    else if (cache->count > 2 * SLAB_BATCH)
        spill(cache, SLAB_BATCH);
}

void fm__slab_flush(struct slab_cache *cache)
{
    spill(cache, cache->count);
}

struct fm_fiber *fm__slab_find(uint32_t slot)
{
    return fm__slab_at(slot);
}

uint32_t fm__slab_slots(void)
{
    return atomic_load_explicit(&slab.chunk_count, memory_order_acquire) * SLAB_CHUNK;
}
