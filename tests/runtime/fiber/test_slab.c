/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_slab.c - descriptors in type-stable memory: chunks, regions of chunks, refused memory
 */
#include "runtime/fiber/slab.h"

#include <errno.h>

#include "fm/runtime.h"
#include "runtime/platform/memory.h"
#include "tests/support/test.h"

enum {
    ALONE = 8,  /* chunks that are mapped one by one */
    REGION = 8, /* chunks of one mapping afterwards */
};

/* Descriptors as a fiber gets them; each is found again by its slot. */
static void take(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct fm_fiber *fiber = fm__slab_take(NULL);
        cr_assert_not_null(fiber, "descriptor %u of %u", i, count);
        cr_assert_eq((uintptr_t)fiber % _Alignof(struct fm_fiber), 0);
        cr_assert_eq(fm__slab_find(fiber->slot), fiber);
    }
}

TEST(slab, refused_memory_is_no_descriptor_and_the_next_try_may_succeed)
{
    fm__fault_set(FAULT_MAP, 1, true);
    cr_assert_null(fm__slab_take(NULL));
    cr_assert_eq(fm__slab_slots(), 0);
    fm__fault_set(FAULT_MAP, 0, false);
    take(1);
    cr_assert_eq(fm__slab_slots(), SLAB_CHUNK);
}

TEST(slab, a_spawn_without_a_descriptor_says_so) /* F51 */
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;

    config.worker_count = 1;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    fm__fault_set(FAULT_MAP, 1, true);
    cr_assert_eq(fm_runtime_spawn(runtime, fm_ok, NULL, NULL, NULL), -ENOMEM);
    fm__fault_set(FAULT_MAP, 0, false);
    cr_assert_eq(fm_runtime_run(runtime, fm_ok, NULL, NULL), 0);
    fm_runtime_destroy(runtime);
}

TEST(slab, later_chunks_come_from_one_mapping)
{
    take(ALONE * SLAB_CHUNK);
    take(1); /* maps the region */
    fm__fault_set(FAULT_MAP, 1, true);
    take(REGION * SLAB_CHUNK - 1);
    cr_assert_eq(fm__fault_hits(FAULT_MAP), 0);
    cr_assert_null(fm__slab_take(NULL));
    fm__fault_set(FAULT_MAP, 0, false);
    take(1);
}

TEST(slab, where_there_is_no_room_for_a_region_a_chunk_will_do)
{
    take(ALONE * SLAB_CHUNK);
    fm__fault_set(FAULT_MAP, 1, false);
    take(SLAB_CHUNK);
    cr_assert_eq(fm__fault_hits(FAULT_MAP), 1);
    fm__fault_set(FAULT_MAP, 0, false);
    take(2 * SLAB_CHUNK);
    cr_assert_eq(fm__slab_slots(), (ALONE + 3) * SLAB_CHUNK);
}

TEST(slab, however_they_came_back_the_lowest_go_out_first)
{
    enum { COUNT = 3 * SLAB_CHUNK };
    static struct fm_fiber *fibers[COUNT];
    struct slab_cache cache = { 0 };

    for (uint32_t i = 0; i < COUNT; i++)
        fibers[i] = fm__slab_take(&cache);
    fm__slab_flush(&cache);
    for (uint32_t i = 0; i < COUNT; i++) /* 7 and COUNT have no divisor in common */
        fm__slab_give(&cache, fibers[i * 7 % COUNT]);
    fm__slab_flush(&cache);
    for (uint32_t i = 0; i < COUNT; i++) {
        struct fm_fiber *fiber = fm__slab_take(i % 200 ? &cache : NULL);
        cr_assert_not_null(fiber);
        if (i % 200) /* who asks the depot itself gets one from behind the cache's batch */
            cr_assert_leq(fiber->slot, i + SLAB_BATCH, "%u at %u", fiber->slot, i);
        cr_assert_geq(fiber->slot + SLAB_BATCH, i, "%u at %u", fiber->slot, i);
        fibers[i] = fiber;
    }
    cr_assert_eq(fm__slab_slots(), COUNT, "none was lost, none is out twice");
    for (uint32_t i = 0; i < COUNT; i++)
        atomic_fetch_add(&fibers[i]->refs, 1);
    for (uint32_t i = 0; i < COUNT; i++)
        cr_assert_eq(atomic_load(&fibers[i]->refs) & FIBER_ID_SLOT, 1);
}
