/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_base.c - the names of results, kinds and reasons, and the version
 */
#include <errno.h>
#include <fm/fm.h>
#include <limits.h>
#include <string.h>

#include "tests/support/test.h"

TEST(base, a_result_has_a_text_whatever_its_sign)
{
    cr_assert_str_eq(fm_strerror(0), "Success");
    cr_assert_str_eq(fm_strerror(-ENOENT), "No such file or directory");
    cr_assert_str_eq(fm_strerror(ENOENT), fm_strerror(-ENOENT));
    static const int strange[] = { 99999, -99999, INT_MAX, -INT_MAX, INT_MIN };
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++)
        cr_assert_str_eq(fm_strerror(strange[i]), "Unknown error", "%d", strange[i]);
}

TEST(base, each_kind_of_exit_has_a_name)
{
    cr_assert_str_eq(fm_exit_kind_name(FM_SUCCESS), "success");
    cr_assert_str_eq(fm_exit_kind_name(FM_FAILURE), "failure");
    cr_assert_str_eq(fm_exit_kind_name(FM_INTERRUPTED), "interrupted");
    cr_assert_str_eq(fm_exit_kind_name(FM_DEFECT), "defect");
    cr_assert_str_eq(fm_exit_kind_name(FM_DEFECT + 1), "unknown");
    cr_assert_str_eq(fm_exit_kind_name(-1), "unknown");
}

TEST(base, each_reason_has_a_name_of_its_own)
{
    cr_assert_str_eq(fm_reason_name(FM_BY_NOBODY), "nobody");
    cr_assert_str_eq(fm_reason_name(FM_BY_LAST_WAITER), "last waiter");
    cr_assert_str_eq(fm_reason_name(FM_BY_IDLE), "idle");
    for (int a = FM_BY_NOBODY; a <= FM_BY_IDLE; a++) {
        cr_assert_str_neq(fm_reason_name(a), "unknown", "%d", a);
        for (int b = FM_BY_NOBODY; b < a; b++)
            cr_assert_str_neq(fm_reason_name(a), fm_reason_name(b), "%d and %d", a, b);
    }
    cr_assert_str_eq(fm_reason_name(FM_BY_IDLE + 1), "unknown");
    cr_assert_str_eq(fm_reason_name(-1), "unknown");
}

TEST(base, the_version_is_three_numbers)
{
    const char *version = fm_version();
    size_t length = strspn(version, "0123456789.");
    int points = 0;
    for (const char *c = version; *c; c++)
        points += *c == '.';
    cr_assert_eq(length, strlen(version), "%s", version);
    cr_assert_eq(points, 2, "%s", version);
}
