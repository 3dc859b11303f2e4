/* SPDX-License-Identifier: Apache-2.0 */
/* test_pages.c - reservations, guards and what is resident */
#include "runtime/platform/pages.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "runtime/platform/memory.h"
#include "tests/support/child.h"
#include "tests/support/test.h"

static void touch(void *address)
{
    *(volatile char *)address = 1;
}

static void cr_assert_faults(char *address)
{
    struct child child;
    child_run(&child, touch, address);
    cr_assert_eq(child.signal, SIGSEGV);
}

TEST(pages, reservation_is_aligned_and_zero)
{
    int error = 0;
    for (size_t alignment = fm__page_bytes(); alignment <= 64 << 20; alignment *= 4) {
        char *start = fm__pages_reserve(1 << 20, alignment, NULL, "test", &error);
        cr_assert(start);
        cr_assert_eq((uintptr_t)start % alignment, 0);
        cr_assert_eq(start[0] | start[(1 << 20) - 1], 0);
        fm__pages_release(start, 1 << 20);
    }
}

TEST(pages, hint_is_taken_if_free)
{
    int error = 0;
    size_t bytes = 1 << 20;
    char *start = fm__pages_reserve(2 * bytes, bytes, NULL, "test", &error);
    fm__pages_release(start, bytes);
    char *again = fm__pages_reserve(bytes, bytes, start, "test", &error);
    cr_assert_eq(again, start);
    char *elsewhere = fm__pages_reserve(bytes, bytes, start, "test", &error);
    cr_assert(elsewhere);
    cr_assert_neq(elsewhere, start);
    fm__pages_release(start, 2 * bytes);
    fm__pages_release(elsewhere, bytes);
}

TEST(pages, refused)
{
    int error = 0;
    fm__fault_set(FAULT_MAP, 2, false);
    char *start = fm__pages_reserve(4096, 4096, NULL, "test", &error);
    cr_assert(start);
    cr_assert_null(fm__pages_reserve(4096, 4096, NULL, "test", &error));
    cr_assert_eq(error, -ENOMEM);
    fm__fault_set(FAULT_MAP, 0, false);
    error = 0;
    cr_assert_null(fm__pages_reserve((size_t)1 << 60, 4096, NULL, "test", &error));
    cr_assert_eq(error, -ENOMEM);
    fm__fault_set(FAULT_PROTECT, 1, true);
    cr_assert_eq(fm__pages_guard(start, fm__page_bytes()), -ENOMEM);
    cr_assert_eq(fm__pages_protect(start, fm__page_bytes()), -ENOMEM);
    fm__fault_set(FAULT_PROTECT, 0, false);
    fm__pages_release(start, 4096);
}

TEST(pages, guards_fault_and_outlive_discard)
{
    int (*const guards[])(void *, size_t) = { fm__pages_guard, fm__pages_protect };
    size_t page = fm__page_bytes();
    for (int i = 0; i < 2; i++) {
        int error = 0;
        char *start = fm__pages_reserve(4 * page, page, NULL, "test", &error);
        int r = guards[i](start, page);
        if (r == 0) {
            start[page] = 1;
            cr_assert_faults(start + page - 1);
            cr_assert_eq(fm__pages_discard(start, 4 * page), 0);
            cr_assert_eq(((volatile char *)start)[page], 0);
            cr_assert_faults(start);
        } else {
            cr_assert_eq(guards[i], fm__pages_guard);
            cr_assert_eq(r, -EINVAL, "Linux before 6.13, or qemu-user");
        }
        fm__pages_release(start, 4 * page);
    }
}

/* As qemu-user does, which cannot have the filter and does not need it. */
static void take_advice_for_nothing(void)
{
    enum { GUARD_INSTALL = 102 };
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, GUARD_INSTALL, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof steps / sizeof steps[0], .filter = steps };
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

TEST(pages, advice_that_is_taken_and_not_followed_is_no_guard)
{
    size_t page = fm__page_bytes();
    int error = 0;
    char *start = fm__pages_reserve(page, page, NULL, "test", &error);
    take_advice_for_nothing();
    cr_assert_eq(fm__pages_guard(start, page), -EINVAL);
    touch(start);
    cr_assert_eq(fm__pages_guard(start, page), -EINVAL, "nor the second time");
    fm__pages_release(start, page);
}

TEST(pages, lowest_resident)
{
    int error = 0;
    size_t page = fm__page_bytes();
    size_t bytes = 200 * page;
    char *start = fm__pages_reserve(bytes, page, NULL, "test", &error);
    cr_assert_eq(fm__pages_lowest_resident(start, bytes), start + bytes);
    touch(start + 190 * page);
    cr_assert_eq(fm__pages_lowest_resident(start, bytes), start + 190 * page);
    touch(start + 70 * page + 5);
    cr_assert_eq(fm__pages_lowest_resident(start, bytes), start + 70 * page);
    touch(start);
    cr_assert_eq(fm__pages_lowest_resident(start, bytes), start);
    fm__pages_release(start, bytes);
}

TEST(pages, map_count_is_known)
{
    cr_assert(fm__pages_max_maps() >= 1000);
}
