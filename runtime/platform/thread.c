/*
 * thread.c - what the kernel says of a thread of this process
 */
#include "runtime/platform/thread.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/platform/check.h"

/* One file of the thread's folder; the length, 0 if there is nothing to read. */
static size_t read_file(int kernel_id, const char *name, char *text, size_t size)
{
    FM_ASSERT(name && size);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/%s", kernel_id, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

int64_t fm__thread_ran_ns(int kernel_id)
{
    struct timespec t;
    /* as pthread_getcpuclockid makes it, without the pthread_t */
    clockid_t clock = (clockid_t)((~(unsigned)kernel_id << 3) | 6);
    return clock_gettime(clock, &t) == 0 ? (int64_t)t.tv_sec * 1000000000 + t.tv_nsec : 0;
}

struct thread_times fm__thread_times(int kernel_id)
{
    struct thread_times times = { .ran_ns = fm__thread_ran_ns(kernel_id) };
    char text[128];
    long long ran, queued;
    /* its first number is as old as the last tick of the kernel: the clock is not */
    if (read_file(kernel_id, "schedstat", text, sizeof text) &&
        sscanf(text, "%lld %lld", &ran, &queued) == 2)
        times.queued_ns = queued;
    return times;
}

char fm__thread_state(int kernel_id)
{
    char text[512];
    if (!read_file(kernel_id, "stat", text, sizeof text))
        return '?';
    /* the name in parentheses may hold anything: the state follows the last one */
    char *end = strrchr(text, ')');
    return end && end[1] == ' ' && end[2] ? end[2] : '?';
}

bool fm__thread_call(int kernel_id, struct thread_call *ret_call)
{
    FM_ASSERT(ret_call);
    char text[256];
    /* "running", or number, six arguments, sp and pc, or -1, sp and pc */
    if (!read_file(kernel_id, "syscall", text, sizeof text))
        return false;
    char *end = text;
    long number = strtol(text, &end, 0);
    if (end == text)
        return false;
    unsigned long word[8];
    int count = 0;
    for (char *at = end; count < 8; count++, at = end) {
        word[count] = strtoul(at, &end, 0);
        if (end == at)
            break;
    }
    if (count < 2)
        return false;
    *ret_call = (struct thread_call) { number, word[count - 2], word[count - 1] };
    return true;
}

void fm__thread_wait_channel(int kernel_id, char *buffer, size_t size)
{
    FM_ASSERT(buffer && size);
    char text[128];
    buffer[0] = '\0';
    if (read_file(kernel_id, "wchan", text, sizeof text) && strcmp(text, "0") != 0)
        snprintf(buffer, size, "%s", text);
}
