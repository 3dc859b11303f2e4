/* SPDX-License-Identifier: Apache-2.0 */
/* test_map_entry.c - the state word of an entry, arrow by arrow */
#include "fibermap/entry.h"
#include "tests/support/test.h"

#define ID UINT64_C(0x0fedcba987654321)

static uint64_t read_state(struct entry *entry)
{
    return fm__entry_read(entry);
}

TEST(map_entry, zeroed_memory_is_a_dead_entry)
{
    struct entry entry = { 0 };
    cr_expect_eq(fm__entry_life(read_state(&entry)), ENTRY_DEAD);
    cr_expect_eq(fm__entry_present(read_state(&entry)), 0);
}

TEST(map_entry, exit_of_present_fiber_leaves_key_dead)
{
    struct entry entry = { 0 }, other = { 0 };
    fm__entry_publish(&entry, ID);
    cr_expect_eq(fm__entry_present(read_state(&entry)), ID);
    cr_expect_eq(fm__entry_end(&entry, ID), ENTRY_END_PRESENT);
    cr_expect_eq(read_state(&entry), 0);
    cr_expect_eq(fm__entry_displace(&entry, &other), 0, "nobody is there to be displaced");
    cr_expect_not(fm__entry_detach(&entry, ID));
    cr_expect_not(fm__entry_hold(&entry));
}

TEST(map_entry, displaced_fiber_is_a_zombie_that_names_its_successor_beyond_its_end)
{
    struct entry entry = { 0 }, next = { 0 };
    fm__entry_publish(&entry, ID);
    fm__entry_publish(&next, ID + 1);
    cr_expect_eq(fm__entry_displace(&entry, &next), ID);
    cr_expect_eq(fm__entry_present(read_state(&entry)), 0);
    cr_expect_eq(fm__entry_life(read_state(&entry)), ENTRY_ZOMBIE);
    cr_expect_eq(read_state(&entry) & ENTRY_ID, ID);
    cr_expect_eq(fm__entry_displace(&entry, &next), 0, "once");
    cr_expect_eq(fm__entry_end(&entry, ID), ENTRY_END_ZOMBIE);
    cr_expect_eq(fm__entry_life(read_state(&entry)), ENTRY_GONE);
    cr_expect_eq(atomic_load(&entry.successor), &next);
    cr_expect_eq(fm__entry_present(read_state(&next)), ID + 1,
                 "its end does not touch the successor");
}

TEST(map_entry, detached_fiber_ends_as_detached)
{
    struct entry entry = { 0 };
    fm__entry_publish(&entry, ID);
    cr_expect_not(fm__entry_detach(&entry, ID + 1), "another fiber");
    cr_expect(fm__entry_detach(&entry, ID));
    cr_expect_eq(fm__entry_present(read_state(&entry)), 0);
    cr_expect_eq(fm__entry_end(&entry, ID), ENTRY_END_DETACHED);
    cr_expect_eq(read_state(&entry), 0);
}

TEST(map_entry, held_fiber_is_present_and_its_exit_has_to_wait)
{
    struct entry entry = { 0 };
    fm__entry_publish(&entry, ID);
    cr_expect(fm__entry_hold(&entry));
    cr_expect_eq(fm__entry_present(read_state(&entry)), ID);
    cr_expect_eq(fm__entry_end(&entry, ID), ENTRY_END_HELD);
    cr_expect_eq(fm__entry_present(read_state(&entry)), ID);
    fm__entry_release(&entry);
    cr_expect_eq(fm__entry_end(&entry, ID), ENTRY_END_PRESENT);
}

TEST(map_entry, release_leaves_other_states_alone)
{
    struct entry entry = { 0 }, next = { 0 };
    fm__entry_release(&entry);
    cr_expect_eq(read_state(&entry), 0);
    fm__entry_publish(&entry, ID);
    fm__entry_displace(&entry, &next);
    cr_expect_not(fm__entry_hold(&entry));
    fm__entry_release(&entry);
    cr_expect_eq(fm__entry_life(read_state(&entry)), ENTRY_ZOMBIE);
}

TEST(map_entry, entry_born_dead_is_absent)
{
    struct entry entry = { 0 };
    fm__entry_publish(&entry, ID);
    fm__entry_publish(&entry, 0);
    cr_expect_eq(fm__entry_present(read_state(&entry)), 0);
}
