/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c - the main function of a fuzz target without libFuzzer
 *
 *     fuzz_map corpus.txt                   each line: bytes in hexadecimal, # for a remark
 *     fuzz_map found-by-libfuzzer           another file is one input
 *     fuzz_map --random=10000 [--seed=7]    so many inputs of random bytes
 *
 * An input that fails ends the program, which says which one it was.
 */
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tests/fuzz/map/fuzz.h"
#include "tests/support/stress.h"

enum { INPUT_MAX = 1 << 16, RANDOM_MAX = 256 };

static uint8_t bytes[INPUT_MAX];
static uint64_t played;
static size_t bytes_now;
static char playing[512];

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

/* Which input it was, and its bytes in hexadecimal, as xxd -r -p reads them. */
static void tell(void)
{
    static const char digits[] = "0123456789abcdef";
    char line[80];
    size_t n = 0;

    dprintf(STDERR_FILENO, "%s:\n", playing);
    for (size_t i = 0; i < bytes_now; i++) {
        line[n++] = digits[bytes[i] >> 4];
        line[n++] = digits[bytes[i] & 15];
        if (n == 72 || i + 1 == bytes_now) {
            line[n++] = '\n';
            if (write(STDERR_FILENO, line, n) < 0)
                return;
            n = 0;
        }
    }
}

static void aborted(int signal)
{
    tell();
}

static void play(size_t size)
{
    bytes_now = size;
    LLVMFuzzerTestOneInput(bytes, size);
    played++;
}

static void play_lines(FILE *file, const char *path)
{
    char line[2 * RANDOM_MAX + 2];

    for (unsigned number = 1; fgets(line, sizeof line, file); number++) {
        size_t size = 0;
        for (const char *at = line; sscanf(at, "%2hhx", &bytes[size]) == 1; at += 2)
            size++;
        snprintf(playing, sizeof playing, "%s:%u", path, number);
        if (line[0] != '#')
            play(size);
    }
}

static void play_path(const char *path)
{
    const char *ending = strrchr(path, '.');
    FILE *file = fopen(path, "re");

    STRESS_CHECK(file, "cannot read %s", path);
    if (ending && strcmp(ending, ".txt") == 0) {
        play_lines(file, path);
    } else {
        snprintf(playing, sizeof playing, "%s", path);
        play(fread(bytes, 1, sizeof bytes, file));
    }
    fclose(file);
}

static void play_random(uint64_t count, uint64_t seed)
{
    uint64_t random = seed * 2 + 1;

    for (uint64_t i = 0; i < count; i++) {
        size_t size = stress_random(&random) % RANDOM_MAX;
        for (size_t at = 0; at < size; at++)
            bytes[at] = (uint8_t)(stress_random(&random) >> 32);
        snprintf(playing, sizeof playing, "random input %" PRIu64 " of seed %" PRIu64, i, seed);
        play(size);
    }
}

int main(int count, char *words[])
{
    uint64_t inputs = 0, seed = 1;

    signal(SIGABRT, aborted);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(tell);
    for (int i = 1; i < count; i++) {
        if (strncmp(words[i], "--random=", 9) == 0)
            inputs = strtoull(words[i] + 9, NULL, 0);
        else if (strncmp(words[i], "--seed=", 7) == 0)
            seed = strtoull(words[i] + 7, NULL, 0);
        else
            play_path(words[i]);
    }
    play_random(inputs, seed);
    STRESS_CHECK(played, "no input");
    printf("%" PRIu64 " inputs, %" PRIu64 " of them undecided\n", played, fuzz_undecided());
    return 0;
}
