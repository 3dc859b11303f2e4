/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu.c - how many processors this process may really use
 *
 * /proc/self/cgroup says which group of each hierarchy we are in, /proc/self/mountinfo where
 * that hierarchy is mounted and which part of it. A container may see only a part, and may be
 * told a path outside of it; then the mount point is as near as one gets. A file that is
 * missing sets no limit.
 */
#include "runtime/platform/cpu.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/platform/check.h"

enum { AFFINITY_MOST = 1 << 16 };

static unsigned affinity_count(void)
{
    /* The kernel refuses a set smaller than its own, and does not say how large that is. */
    for (unsigned most = 1024; most <= AFFINITY_MOST; most *= 4) {
        cpu_set_t *set = CPU_ALLOC(most);
        if (!set)
            break;
        int r = sched_getaffinity(0, CPU_ALLOC_SIZE(most), set);
        int count = r == 0 ? CPU_COUNT_S(CPU_ALLOC_SIZE(most), set) : 0;
        CPU_FREE(set);
        if (r == 0)
            return count > 0 ? (unsigned)count : 1;
        if (errno != EINVAL)
            break;
    }
    return 1;
}

static FILE *open_below(const char *root, const char *folder, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s%s/%s", root, folder, name);
    return n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
}

/* One line of one file; false if there is none. */
static bool read_line(const char *root, const char *folder, const char *name, char *line,
                      int size)
{
    FILE *file = open_below(root, folder, name);
    if (!file)
        return false;
    bool read = fgets(line, size, file) != NULL;
    fclose(file);
    return read;
}

/* What is asked of each group from our own one upwards. */
struct question {
    const char *root;
    void (*ask)(struct question *question, const char *folder, bool unified);
    unsigned least;       /* quota_of: the tightest so far, 0: no limit */
    int64_t throttled_ns; /* throttled_in: the sum so far */
};

/* Processors of one group; 0: no limit. */
static unsigned group_quota(const char *root, const char *folder, bool unified)
{
    char line[64];
    long long quota = -1;
    long long period = 100000;

    if (unified) {
        /* "max 100000" has no number in front */
        if (!read_line(root, folder, "cpu.max", line, sizeof line) ||
            sscanf(line, "%lld %lld", &quota, &period) < 1)
            return 0;
    } else {
        if (!read_line(root, folder, "cpu.cfs_quota_us", line, sizeof line) ||
            sscanf(line, "%lld", &quota) < 1)
            return 0;
        if (read_line(root, folder, "cpu.cfs_period_us", line, sizeof line))
            sscanf(line, "%lld", &period);
    }
    if (quota <= 0 || period <= 0)
        return 0;
    long long count = quota / period + (quota % period != 0);
    return count < INT_MAX ? (unsigned)count : INT_MAX;
}

static unsigned tighter(unsigned a, unsigned b)
{
    if (!a || !b)
        return a + b;
    return a < b ? a : b;
}

static void quota_of(struct question *question, const char *folder, bool unified)
{
    FM_ASSERT(question->root && folder);
    question->least = tighter(question->least, group_quota(question->root, folder, unified));
}

/* How long one group was kept from running by its quota. */
static void throttled_in(struct question *question, const char *folder, bool unified)
{
    FM_ASSERT(question->root && folder);
    FILE *file = open_below(question->root, folder, "cpu.stat");
    char line[128];
    long long time;

    if (!file)
        return;
    while (fgets(line, sizeof line, file)) {
        if (unified && sscanf(line, "throttled_usec %lld", &time) == 1)
            question->throttled_ns += time * 1000;
        else if (!unified && sscanf(line, "throttled_time %lld", &time) == 1)
            question->throttled_ns += time;
    }
    fclose(file);
}

/* Ask the group `path` (below `mount`; "" is the mount point itself) and all above it. */
static void walk_up(struct question *question, const char *mount, const char *path,
                    bool unified)
{
    FM_ASSERT(question->ask && mount && path);
    char folder[PATH_MAX];
    int n = snprintf(folder, sizeof folder, "%s%s", mount, path);
    if (n < 0 || (size_t)n >= sizeof folder)
        return;

    size_t top = strlen(mount);
    for (;;) {
        question->ask(question, folder, unified);
        char *slash = strrchr(folder, '/');
        if (!slash || (size_t)(slash - folder) < top)
            return;
        *slash = '\0';
    }
}

/* A comma-separated list holds the word. */
static bool lists(const char *list, const char *word)
{
    FM_ASSERT(list && word);
    size_t size = strlen(word);
    for (;;) {
        size_t item = strcspn(list, ",");
        if (item == size && strncmp(list, word, size) == 0)
            return true;
        if (!list[item])
            return false;
        list += item + 1;
    }
}

/* mountinfo writes a space in a path as \040, and other signs likewise. */
static void unescape(char *text)
{
    FM_ASSERT(text);
    char *to = text;
    for (const char *from = text; *from; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
            from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* The group as seen below a mount that shows the hierarchy from `part` downwards. */
static const char *path_in_mount(const char *group, const char *part)
{
    FM_ASSERT(group && part);
    size_t size = strcmp(part, "/") == 0 ? 0 : strlen(part);
    if (strncmp(group, part, size) != 0 || (group[size] != '/' && group[size] != '\0'))
        return "";
    /* a path that leads out of the namespace, or the root itself */
    if (strncmp(group, "/..", 3) == 0 || strcmp(group + size, "/") == 0)
        return "";
    return group + size;
}

/*
 * Ask the groups in the hierarchy that one line of mountinfo mounts, if it is that hierarchy.
 */
static void ask_mount(struct question *question, char *line, const char *group, bool unified)
{
    FM_ASSERT(line && group);
    /* id parent major:minor part mount options [optional...] - type source super-options */
    char *rest = strstr(line, " - ");
    if (!rest)
        return;
    *rest = '\0';
    char *type = strtok_r(rest + 3, " \n", &rest);
    strtok_r(NULL, " \n", &rest);
    char *super_options = strtok_r(NULL, " \n", &rest);
    if (!type || strcmp(type, unified ? "cgroup2" : "cgroup") != 0)
        return;
    if (!unified && (!super_options || !lists(super_options, "cpu")))
        return;

    char *field[5] = { 0 };
    rest = line;
    for (int i = 0; i < 5; i++) {
        field[i] = strtok_r(NULL, " ", &rest);
        if (!field[i])
            return;
    }
    unescape(field[3]);
    unescape(field[4]);
    walk_up(question, field[4], path_in_mount(group, field[3]), unified);
}

static void ask_hierarchy(struct question *question, const char *group, bool unified)
{
    FM_ASSERT(question->ask && group);
    FILE *file = open_below(question->root, "/proc/self", "mountinfo");
    if (!file)
        return;

    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, file) > 0)
        ask_mount(question, line, group, unified);
    free(line);
    fclose(file);
}

static void ask_groups(struct question *question)
{
    FM_ASSERT(question->ask && question->root);
    FILE *file = open_below(question->root, "/proc/self", "cgroup");
    if (!file)
        return;

    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, file) > 0) {
        /* hierarchy:controllers:path; hierarchy 0 has no list and is version 2 */
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *controllers++ = '\0';
        *group++ = '\0';
        bool unified = strcmp(line, "0") == 0 && *controllers == '\0';
        if (unified || lists(controllers, "cpu"))
            ask_hierarchy(question, group, unified);
    }
    free(line);
    fclose(file);
}

unsigned fm__cpu_quota_under(const char *root)
{
    FM_ASSERT(root);
    struct question question = { .root = root, .ask = quota_of };
    ask_groups(&question);
    return question.least;
}

int64_t fm__cpu_throttled_under(const char *root)
{
    FM_ASSERT(root);
    struct question question = { .root = root, .ask = throttled_in };
    ask_groups(&question);
    return question.throttled_ns;
}

unsigned fm__cpu_count(void)
{
    return tighter(affinity_count(), fm__cpu_quota_under(""));
}

bool fm__cpu_quota(void)
{
    return fm__cpu_quota_under("") != 0;
}
