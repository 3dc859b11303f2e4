/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu.c - quotas of made-up control groups, how long they kept who is in them from running,
 * and what the real machine says
 */
#include "runtime/platform/cpu.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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

/* What looks like the beginning of an escape stands for itself. */
TEST(cpu, a_mount_point_may_have_a_backslash)
{
    static const char *const signs[] = { "\\", "\\z", "\\4", "\\0z", "\\09", "\\04z", "\\049" };
    char text[128];
    put("/proc/self/cgroup", "0::/\n");
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++) {
        snprintf(text, sizeof text, "30 23 0:26 / /odd%s rw - cgroup2 cgroup rw\n", signs[i]);
        put("/proc/self/mountinfo", text);
        snprintf(text, sizeof text, "/odd%s/cpu.max", signs[i]);
        put(text, "500000 100000\n");
        cr_assert_eq(fm__cpu_quota_under(root), 5, "%s", signs[i]);
    }
}

TEST(cpu, a_path_that_is_too_long_is_no_group)
{
    char group[PATH_MAX + 8], line[PATH_MAX + 16];
    memset(group, 'a', sizeof group - 1);
    group[0] = '/';
    group[sizeof group - 1] = '\0';
    put("/proc/self/mountinfo", V2_MOUNT);
    snprintf(line, sizeof line, "0::%s\n", group);
    put("/proc/self/cgroup", line);
    put("/sys/fs/cgroup/cpu.max", "200000 100000\n");
    cr_assert_eq(fm__cpu_quota_under(root), 0);
    cr_assert_eq(fm__cpu_throttled_under(root), 0);
    group[PATH_MAX - 20] = '\0'; /* fits, but not with what stands below it */
    snprintf(line, sizeof line, "0::%s\n", group);
    put("/proc/self/cgroup", line);
    cr_assert_eq(fm__cpu_quota_under(root), 2, "the mount point is asked all the same");
}

TEST(cpu, a_quota_beyond_all_counts_is_the_most_there_can_be)
{
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/proc/self/cgroup", "0::/own\n");
    put("/sys/fs/cgroup/own/cpu.max", "9000000000000000000 1\n");
    cr_assert_eq(fm__cpu_quota_under(root), INT_MAX);
}

/* F94 */
TEST(cpu, throttled_times_of_all_ancestors_add_up)
{
    put("/proc/self/mountinfo", V2_MOUNT);
    put("/proc/self/cgroup", "0::/top/own\n");
    cr_assert_eq(fm__cpu_throttled_under(root), 0, "it is not counted");
    put("/sys/fs/cgroup/top/own/cpu.stat",
        "usage_usec 9\nnr_throttled 2\nthrottled_usec 1500\nthrottled_time 7\n");
    cr_assert_eq(fm__cpu_throttled_under(root), 1500000);
    put("/sys/fs/cgroup/top/cpu.stat", "throttled_usec 500\n");
    put("/sys/fs/cgroup/cpu.stat", "usage_usec 12\n");
    cr_assert_eq(fm__cpu_throttled_under(root), 2000000);
}

TEST(cpu, v1_counts_throttled_times_in_nanoseconds)
{
    put("/proc/self/mountinfo", V1_MOUNTS);
    put("/proc/self/cgroup", "5:cpuset:/own\n2:cpu,cpuacct:/own\n");
    put("/sys/fs/cgroup/cpu,cpuacct/own/cpu.stat",
        "nr_periods 4\nthrottled_usec 7\nthrottled_time 12345\n");
    put("/sys/fs/cgroup/cpuset/own/cpu.stat", "throttled_time 99\n");
    cr_assert_eq(fm__cpu_throttled_under(root), 12345, "the hierarchy of cpu alone");
}

/* ---- the real machine, and one with more processors or a kernel that does not say ---- */

static size_t kernel_bytes; /* of the kernel's own set; a smaller one is refused */
static int kernel_error;    /* what it refuses every set with; 0: it does not */

/* Stands in for the C library's. */
int sched_getaffinity(pid_t pid, size_t bytes, cpu_set_t *set)
{
    if (kernel_error || bytes < kernel_bytes) {
        errno = kernel_error ? kernel_error : EINVAL;
        return -1;
    }
    long written = syscall(SYS_sched_getaffinity, pid, bytes, set);
    if (written < 0)
        return -1;
    memset((char *)set + written, 0, bytes - (size_t)written);
    return 0;
}

TEST(cpu, a_kernel_for_more_processors_is_asked_with_a_larger_set)
{
    unsigned count = fm__cpu_count();
    kernel_bytes = 4096 / 8;
    cr_assert_eq(fm__cpu_count(), count);
    kernel_bytes = (1 << 16) / 8;
    cr_assert_eq(fm__cpu_count(), count);
}

TEST(cpu, there_is_one_processor_where_the_kernel_does_not_say)
{
    kernel_bytes = 1 << 20;
    cr_assert_eq(fm__cpu_count(), 1);
    kernel_error = ENOSYS;
    cr_assert_eq(fm__cpu_count(), 1);
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
