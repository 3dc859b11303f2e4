/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_old_kernel.c - pages and threads where the kernel can do less, says less or has less room: the
 * test's own calls stand in for its (tests/faults/calls.h, and mmap below)
 */
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/platform/pages.h"
#include "runtime/platform/thread.h"
#include "tests/faults/calls.h"
#include "tests/support/test.h"

enum { BYTES = 1 << 20, MAPS_DEFAULT = 65530 };

static size_t most_bytes;    /* that are mapped at once; 0: any number */
static void *next_place;     /* where the next one goes that asks for no place */
static bool place_is_a_hint; /* as before Linux 4.17 */

void *mmap(void *where, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if (most_bytes && bytes > most_bytes) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    if (!where && next_place) {
        where = next_place;
        next_place = NULL;
    }
    if (place_is_a_hint)
        flags &= ~(MAP_FIXED_NOREPLACE & ~MAP_FIXED);
    return (void *)syscall(SYS_mmap, where, bytes, protection, flags, fd, offset);
}

static char *reserve(size_t alignment, void *hint, int *ret_error)
{
    return fm__pages_reserve(BYTES, alignment, hint, "test", ret_error);
}

TEST(old_kernel, a_place_that_is_taken_is_not_mistaken_for_the_one_that_was_asked_for)
{
    int error = 0;
    char *first = reserve(BYTES, NULL, &error);
    first[0] = 'x';
    place_is_a_hint = true;
    char *other = reserve(BYTES, first, &error);
    place_is_a_hint = false;
    cr_assert_not_null(other);
    cr_assert_neq(other, first);
    cr_assert_eq((uintptr_t)other % BYTES, 0);
    cr_assert_eq(first[0], 'x');
    cr_assert_eq(other[0], 0);
    fm__pages_release(first, BYTES);
    fm__pages_release(other, BYTES);
}

/* There is no room for more than what is asked for, so nothing can be cut off. */
TEST(old_kernel, what_is_aligned_is_found_below_what_is_not)
{
    int error = 0;
    size_t page = fm__page_bytes();
    char *place = fm__pages_reserve(4 * BYTES, BYTES, NULL, "test", &error);
    cr_assert_not_null(place);
    fm__pages_release(place, 4 * BYTES);
    most_bytes = BYTES;
    next_place = place + page;
    cr_assert_eq(reserve(BYTES, NULL, &error), place);
    fm__pages_release(place, BYTES);

    next_place = place + BYTES; /* aligned as it is */
    cr_assert_eq(reserve(BYTES, NULL, &error), place + BYTES);
    fm__pages_release(place + BYTES, BYTES);

    char *taken = mmap(place, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    cr_assert_eq(taken, place);
    next_place = place + page;
    cr_assert_null(reserve(BYTES, NULL, &error));
    cr_assert_eq(error, -ENOMEM);
    munmap(taken, page);

    most_bytes = page;
    error = 0;
    cr_assert_null(reserve(page, NULL, &error));
    cr_assert_eq(error, -ENOMEM);
    most_bytes = 0;
}

TEST(old_kernel, advice_that_is_refused_is_told)
{
    int error = 0;
    char *start = reserve(fm__page_bytes(), NULL, &error);
    cr_assert_not_null(start);
    call_refuse(CALL_ADVISE, 1, EAGAIN, false);
    cr_assert_eq(fm__pages_discard(start, BYTES), -EAGAIN);
    cr_assert_eq(fm__pages_discard(start, BYTES), 0);
    fm__pages_release(start, BYTES);
    cr_assert_eq(fm__pages_protect(start, BYTES), -ENOMEM, "nothing is there");
    cr_assert_eq(fm__pages_lowest_resident(start, BYTES), start + BYTES);
}

TEST(old_kernel, where_the_count_of_mappings_is_not_told_it_is_the_usual_one)
{
    call_refuse(CALL_OPEN, 1, EACCES, false);
    cr_assert_eq(fm__pages_max_maps(), MAPS_DEFAULT);
    call_refuse(CALL_READ, 1, EIO, false);
    cr_assert_eq(fm__pages_max_maps(), MAPS_DEFAULT);
    cr_assert_eq(call_refused(), 2);
}

TEST(old_kernel, of_a_thread_that_nothing_is_told_of_nothing_is_known)
{
    int self = (int)syscall(SYS_gettid);
    struct thread_call call;
    call_refuse(CALL_READ, 1, EIO, true);
    cr_assert_eq(fm__thread_state(self), '?');
    cr_assert_eq(fm__thread_times(self).queued_ns, 0);
    cr_assert_not(fm__thread_call(self, &call));
    call_refuse(CALL_READ, 0, 0, false);
    cr_assert_eq(fm__thread_state(self), 'R');
}
