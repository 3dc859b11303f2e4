/* SPDX-License-Identifier: Apache-2.0 */
/* test_cpu.c - quotas of made-up control groups, and what the real machine says */
#include "runtime/platform/cpu.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/test.h"

static char root[] = "/tmp/test_cpu.XXXXXX";

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
    return remove(path);
}

static void remove_root(void)
{
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void make_root(void)
{
    cr_assert(mkdtemp(root));
}

/* Write a file below the root, and the folders on the way. */
static void put(const char *path, const char *text)
{
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *at = full + sizeof root; (at = strchr(at, '/')); at++) {
        *at = '\0';
        cr_assert(mkdir(full, 0777) == 0 || errno == EEXIST);
        *at = '/';
    }
    FILE *file = fopen(full, "we");
    cr_assert(file, "%s", full);
    fputs(text, file);
    fclose(file);
}

#define V2_MOUNT \
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_MOUNTS \
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n" \
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n" \
    "33 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"

TestSuite(cpu, .init = make_root, .fini = remove_root);

TEST(cpu, no_files_no_quota)
{
    cr_assert_eq(fm__cpu_quota_under(root), 0);
    put("/proc/self/cgroup", "0::/a\n");
    cr_assert_eq(fm__cpu_quota_under(root), 0);
    put("/proc/self/mountinfo", V2_MOUNT);
    cr_assert_eq(fm__cpu_quota_under(root), 0);
}

/* F94 */
TEST(cpu, v2_takes_the_tightest_of_all_ancestors)
{
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/proc/self/cgroup", "0::/top/middle/own\n");
    put("/sys/fs/cgroup/top/middle/own/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/top/middle/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/top/cpu.max", "max 100000\n");
    cr_assert_eq(fm__cpu_quota_under(root), 0);
    put("/sys/fs/cgroup/top/cpu.max", "300000 100000\n");
    cr_assert_eq(fm__cpu_quota_under(root), 3);
    put("/sys/fs/cgroup/top/middle/own/cpu.max", "800000 100000\n");
    cr_assert_eq(fm__cpu_quota_under(root), 3);
    put("/sys/fs/cgroup/top/middle/cpu.max", "100000 50000\n");
    cr_assert_eq(fm__cpu_quota_under(root), 2);
}

TEST(cpu, parts_of_a_processor_are_rounded_up)
{
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/proc/self/cgroup", "0::/own\n");
    put("/sys/fs/cgroup/own/cpu.max", "150000 100000\n");
    cr_assert_eq(fm__cpu_quota_under(root), 2);
    put("/sys/fs/cgroup/own/cpu.max", "1000 100000\n");
    cr_assert_eq(fm__cpu_quota_under(root), 1);
    put("/sys/fs/cgroup/own/cpu.max", "200000\n");
    cr_assert_eq(fm__cpu_quota_under(root), 2);
}

TEST(cpu, nonsense_is_no_quota)
{
    static const char *const lines[] = { "",           "\n",      "0 100000\n", "-5 100000\n",
                                         "100000 0\n", "many 3\n" };
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/proc/self/cgroup", "nonsense\n0\n0:\n0::/own\n");
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        put("/sys/fs/cgroup/own/cpu.max", lines[i]);
        cr_assert_eq(fm__cpu_quota_under(root), 0, "%s", lines[i]);
    }
    put("/proc/self/mountinfo", "\n - \n1 2 - cgroup2\n1 2 3 - cgroup2 x rw\n");
    cr_assert_eq(fm__cpu_quota_under(root), 0);
}

/* F94 */
TEST(cpu, v1_takes_the_tightest_of_all_ancestors)
{
    put("/proc/self/mountinfo", V1_MOUNTS);
    put("/proc/self/cgroup", "5:cpuset:/own\n2:cpu,cpuacct:/top/own\n1:name=systemd:/\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/top/own/cpu.cfs_quota_us", "-1\n");
    cr_assert_eq(fm__cpu_quota_under(root), 0);
    put("/sys/fs/cgroup/cpu,cpuacct/top/cpu.cfs_quota_us", "250000\n");
    cr_assert_eq(fm__cpu_quota_under(root), 3);
    put("/sys/fs/cgroup/cpu,cpuacct/top/cpu.cfs_period_us", "50000\n");
    cr_assert_eq(fm__cpu_quota_under(root), 5);
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "400000\n");
    cr_assert_eq(fm__cpu_quota_under(root), 4);
    put("/sys/fs/cgroup/cpuset/own/cpu.cfs_quota_us", "100000\n");
    cr_assert_eq(fm__cpu_quota_under(root), 4, "not the hierarchy of cpu");
}

TEST(cpu, hybrid_looks_at_both)
{
    put("/proc/self/mountinfo",
        V1_MOUNTS "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n");
    put("/proc/self/cgroup", "9:name=systemd:/\n2:cpuacct:/\n1:cpu,cpuacct:/x\n0::/y\n");
    put("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "600000\n");
    cr_assert_eq(fm__cpu_quota_under(root), 6);
    put("/sys/fs/cgroup/unified/y/cpu.max", "200000 100000\n");
    cr_assert_eq(fm__cpu_quota_under(root), 2);
}

TEST(cpu, a_mount_may_show_a_part_of_the_hierarchy)
{
    put("/proc/self/mountinfo",
        "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup ro\n");
    put("/sys/fs/cgroup/cpu.max", "300000 100000\n");
    put("/sys/fs/cgroup/inner/cpu.max", "200000 100000\n");
    put("/proc/self/cgroup", "0::/docker/abc\n");
    cr_assert_eq(fm__cpu_quota_under(root), 3);
    put("/proc/self/cgroup", "0::/docker/abc/inner\n");
    cr_assert_eq(fm__cpu_quota_under(root), 2);
    put("/proc/self/cgroup", "0::/docker/abcdef\n");
    cr_assert_eq(fm__cpu_quota_under(root), 3, "outside: the mount point is the nearest");
    put("/proc/self/cgroup", "0::/../other\n");
    cr_assert_eq(fm__cpu_quota_under(root), 3);
    put("/proc/self/cgroup", "0::/\n");
    cr_assert_eq(fm__cpu_quota_under(root), 3);
}

TEST(cpu, a_mount_point_may_have_a_space)
{
    put("/proc/self/mountinfo", "30 23 0:26 / /my\\040groups rw - cgroup2 cgroup rw\n");
    put("/proc/self/cgroup", "0::/own\n");
    put("/my groups/own/cpu.max", "400000 100000\n");
    cr_assert_eq(fm__cpu_quota_under(root), 4);
}

TEST(cpu, real_count_follows_affinity)
{
    cpu_set_t all, one;
    unsigned count = fm__cpu_count();
    cr_assert(count >= 1);
    cr_assert_eq(sched_getaffinity(0, sizeof all, &all), 0);
    cr_assert(count <= (unsigned)CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++) {
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    }
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
    cr_assert_eq(fm__cpu_count(), 1);
    cr_assert_eq(fm__cpu_quota(), fm__cpu_quota_under("") > 0);
}
