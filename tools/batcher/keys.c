/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys.c - jobs by their keys
 *
 * A job is at the place that its key's hash names, or behind that with no empty place between.
 */
#include "tools/batcher/keys.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE_LEAST = 64 };

/* FNV-1a, and its high bits to the low ones, which alone are used. */
static size_t hash(const char *key)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (; *key; key++)
        h = (h ^ (unsigned char)*key) * UINT64_C(0x100000001b3);
    return (size_t)(h ^ h >> 32);
}

/* Its place, or the empty one where it would be. */
static struct job **place_of(const struct keys *keys, const char *key)
{
    size_t at = hash(key) & (keys->size - 1);
    while (keys->places[at] && strcmp(keys->places[at]->key, key))
        at = (at + 1) & (keys->size - 1);
    return &keys->places[at];
}

static bool grow(struct keys *keys)
{
    struct keys more = { .size = keys->size ? 2 * keys->size : SIZE_LEAST,
                         .count = keys->count };
    more.places = calloc(more.size, sizeof *more.places);
    if (!more.places)
        return false;
    for (size_t i = 0; i < keys->size; i++)
        if (keys->places[i])
            *place_of(&more, keys->places[i]->key) = keys->places[i];
    free(keys->places);
    *keys = more;
    return true;
}

struct job **keys_add(struct keys *keys, struct job *job)
{
    if (2 * keys->count >= keys->size && !grow(keys))
        return NULL;
    struct job **place = place_of(keys, job->key);
    if (!*place) {
        *place = job;
        keys->count++;
    }
    return place;
}

struct job *keys_find(const struct keys *keys, const char *key)
{
    return keys->size ? *place_of(keys, key) : NULL;
}

void keys_remove(struct keys *keys, const struct job *job)
{
    size_t mask = keys->size - 1;
    size_t empty = (size_t)(place_of(keys, job->key) - keys->places);
    keys->places[empty] = NULL;
    keys->count--;
    /* Who is behind it by way of this place comes nearer. */
    for (size_t at = (empty + 1) & mask; keys->places[at]; at = (at + 1) & mask) {
        size_t first = hash(keys->places[at]->key) & mask;
        if (((at - first) & mask) < ((at - empty) & mask))
            continue;
        keys->places[empty] = keys->places[at];
        keys->places[at] = NULL;
        empty = at;
    }
}

void keys_fini(struct keys *keys)
{
    free(keys->places);
    *keys = (struct keys) { 0 };
}
