/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage.h - what this process holds, as the kernel counts it
 */
#ifndef TESTS_SOAK_USAGE_H
#define TESTS_SOAK_USAGE_H

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

struct usage {
    size_t memory; /* resident bytes */
    unsigned descriptors, threads, mappings;
};

static inline unsigned usage_entries(const char *path)
{
    unsigned count = 0;
    DIR *folder = opendir(path);
    while (folder && readdir(folder))
        count++;
    if (folder)
        closedir(folder);
    return count > 2 ? count - 2 : 0;
}

static inline struct usage usage_now(void)
{
    struct usage usage = { .descriptors = usage_entries("/proc/self/fd"),
                           .threads = usage_entries("/proc/self/task") };
    size_t all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (file) {
        if (fscanf(file, "%zu %zu", &all, &resident) == 2)
            usage.memory = resident * (size_t)sysconf(_SC_PAGESIZE);
        fclose(file);
    }
    file = fopen("/proc/self/maps", "re");
    for (int c; file && (c = fgetc(file)) != EOF;)
        usage.mappings += c == '\n';
    if (file)
        fclose(file);
    return usage;
}

#endif
