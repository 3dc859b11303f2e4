/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage.h - what this process holds, as the kernel counts it
 */
#ifndef TESTS_SOAK_USAGE_H
#define TESTS_SOAK_USAGE_H

#include <dirent.h>
#include <stdio.h>
#include <time.h>
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

/*
 * The least of some readings: threads that have been joined, and what they held, are gone for
 * the kernel a little later.
 */
static inline struct usage usage_settled(void)
{
    struct timespec moment = { .tv_nsec = 20000000 };
    struct usage least = usage_now();

    for (int i = 0; i < 25; i++) {
        nanosleep(&moment, NULL);
        struct usage usage = usage_now();
        if (usage.memory < least.memory)
            least.memory = usage.memory;
        if (usage.descriptors < least.descriptors)
            least.descriptors = usage.descriptors;
        if (usage.threads < least.threads)
            least.threads = usage.threads;
        if (usage.mappings < least.mappings)
            least.mappings = usage.mappings;
    }
    return least;
}

#endif
