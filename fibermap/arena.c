/*
 * arena.c - large blocks for the stripes of a map, in huge pages where the system has them
 *
 * Owns   the chunks.
 */
#include "fibermap/arena.h"

#include <string.h>

#include "runtime/platform/check.h"
#include "runtime/platform/pages.h"

enum {
    CHUNK = 2 << 20,
    HEAD = 128, /* the first bytes of a chunk are its record; blocks stay aligned to it */
};

struct arena_chunk {
    struct arena_chunk *next;
    size_t bytes;
};
struct arena_spare {
    struct arena_spare *next;
    size_t bytes;
};
_Static_assert(sizeof(struct arena_chunk) <= HEAD, "the record fits");

static struct arena_chunk *chunk_make(size_t bytes)
{
    FM_ASSERT(bytes && bytes % CHUNK == 0);
    int error;
    struct arena_chunk *chunk = fm__pages_reserve(bytes, CHUNK, NULL, "fibermap entries",
                                                  &error);
    if (!chunk)
        return NULL;
    fm__pages_let_huge(chunk, bytes);
    chunk->bytes = bytes; /* the first touch, with no lock held */
    return chunk;
}

static void *cut_locked(struct arena *arena, size_t bytes)
{
    FM_ASSERT(fm__lock_held(&arena->lock));
    FM_ASSERT(bytes && bytes % HEAD == 0 && arena->at <= arena->end);
    for (struct arena_spare **link = &arena->spares; *link; link = &(*link)->next) {
        struct arena_spare *spare = *link;
        if (spare->bytes != bytes)
            continue;
        *link = spare->next;
        memset(spare, 0, sizeof *spare);
        return spare;
    }
    if ((size_t)(arena->end - arena->at) < bytes)
        return NULL;
    void *block = arena->at;
    arena->at += bytes;
    FM_ASSERT(arena->at <= arena->end);
    return block;
}

static void *take(struct block_source *source, size_t bytes)
{
    FM_ASSERT(source && bytes);
    struct arena *arena = (struct arena *)source;

    bytes = (bytes + HEAD - 1) & ~(size_t)(HEAD - 1);
    fm__lock(&arena->lock);
    void *block = cut_locked(arena, bytes);
    fm__unlock(&arena->lock);
    if (block)
        return block;
    struct arena_chunk *chunk = chunk_make((bytes + HEAD + CHUNK - 1) & ~(size_t)(CHUNK - 1));
    if (!chunk)
        return NULL;
    char *at = (char *)chunk + HEAD, *end = (char *)chunk + chunk->bytes;
    FM_ASSERT((size_t)(end - at) >= bytes);
    fm__lock(&arena->lock);
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    /* go on in the one with more left */
    if (end - (at + bytes) > arena->end - arena->at) {
        arena->at = at + bytes;
        arena->end = end;
    }
    fm__unlock(&arena->lock);
    return at;
}

static void give(struct block_source *source, void *block, size_t bytes)
{
    FM_ASSERT(block && (uintptr_t)block % HEAD == 0);
    FM_ASSERT(source && bytes);
    struct arena *arena = (struct arena *)source;
    struct arena_spare *spare = block;

    fm__lock(&arena->lock);
    spare->bytes = (bytes + HEAD - 1) & ~(size_t)(HEAD - 1);
    spare->next = arena->spares;
    arena->spares = spare;
    fm__unlock(&arena->lock);
}

void fm__arena_init(struct arena *arena)
{
    memset(arena, 0, sizeof *arena);
    arena->source.take = take;
    arena->source.give = give;
    fm__lock_init(&arena->lock, LOCK_MAP_WAIT);
}

void fm__arena_fini(struct arena *arena)
{
    while (arena->chunks) {
        struct arena_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        FM_ASSERT(chunk->bytes && chunk->bytes % CHUNK == 0);
        fm__pages_release(chunk, chunk->bytes);
    }
}
