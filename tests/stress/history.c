/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history.c - the map of a history, its clients, and their memory
 */
#include "tests/stress/history.h"

#include <string.h>

static void replaces(void *ctx, struct fm_key key, struct fm_fiber *old, struct fm_fiber *fiber)
{
    struct history *h = ctx;
    size_t at = atomic_fetch_add(&h->replaced_count, 1);
    STRESS_CHECK(at < h->replaced_room, "more were replaced than run");
    for (uint32_t i = 0; i < h->keys; i++)
        if (strlen(h->names[i]) == key.len && memcmp(h->names[i], key.data, key.len) == 0)
            h->replaced[at] = (struct replaced) { (int32_t)i, fm_fiber_id(old),
                                                  fm_fiber_id(fiber) };
}

static void make_map(struct history *h)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_map_hooks hooks = FM_MAP_HOOKS_INIT;

    config.runtime = h->runtime;
    if (h->retains)
        config.retain_count = h->keys;
    if (h->watched) {
        hooks.ctx = h;
        hooks.on_replace = replaces;
        config.hooks = &hooks;
        config.completions = (uint32_t)h->replaced_room;
    }
    STRESS_CHECK(fm_map_create(&config, &h->map) == 0, "map_create");
}

static void client_init(struct history *h, uint32_t number, uint64_t *random)
{
    struct client *c = &h->client[number];
    c->history = h;
    c->number = number;
    c->random = stress_random(random) | 1;
    /*
     * Of two fibers at most: itself, a look before it or a turn, exit, gone, body, steps; a
     * snapshot is one of each key.
     */
    c->room = h->operations * 2 * (5 + STEPS_MAX) + 16;
    c->room += (h->operations * h->rare / 1000 + 16) * h->keys;
    c->records = malloc(c->room * sizeof *c->records);
    c->told = calloc(h->operations * 2 + 1, sizeof *c->told);
    c->signals = malloc((h->operations * 2 + 1) * sizeof *c->signals);
    STRESS_CHECK(c->records && c->told && c->signals, "no memory");
    memset(c->records, 0,
           c->room * sizeof *c->records); /* touched now, not between two clock readings */
}

void history_init(struct history *h, uint64_t *random)
{
    uint32_t all = h->clients + h->foreign + 1;

    h->names = calloc(h->keys, sizeof *h->names);
    h->client = calloc(all, sizeof *h->client);
    h->replaced_room = h->operations * 2 * (all - 1) + 1;
    h->replaced = h->watched ? calloc(h->replaced_room, sizeof *h->replaced) : NULL;
    STRESS_CHECK(h->names && h->client && (h->replaced || !h->watched), "no memory");
    /* Lookups of keys of more than 24 bytes have a way of their own. */
    for (uint32_t i = 0; i < h->keys; i++)
        snprintf(h->names[i], sizeof *h->names, "k%u%s", i,
                 stress_random(random) & 1 ? "" : "-with-a-name-that-goes-on");
    for (uint32_t i = 0; i < all; i++)
        client_init(h, i, random);
    make_map(h);
}

void history_fini(struct history *h)
{
    for (uint32_t i = 0; i < h->clients + h->foreign + 1; i++) {
        free(h->client[i].records);
        free(h->client[i].told);
        free(h->client[i].signals);
    }
    free(h->client);
    free(h->replaced);
    free(h->names);
}
