/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c - the kept inputs through a target, without libFuzzer: replay FILE...
 *
 * Each line of a file is an input, where \xNN, \r, \n and \\ stand for bytes. What begins with
 * # is a remark.
 */
#include "tests/fuzz/server/fuzz.h"

static unsigned digit(int c)
{
    CHECK((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* Undo the escapes, in place: how many bytes there are. */
static size_t decode(char *line)
{
    char *to = line;
    for (const char *at = line; *at && *at != '\n'; at++) {
        if (*at != '\\') {
            *to++ = *at;
            continue;
        }
        at++;
        if (*at == 'x') {
            *to++ = (char)(digit(at[1]) * 16 + digit(at[2]));
            at += 2;
        } else {
            CHECK(*at == 'r' || *at == 'n' || *at == '\\');
            *to++ = (char)(*at == 'r' ? '\r' : *at == 'n' ? '\n' : '\\');
        }
    }
    return (size_t)(to - line);
}

static unsigned long replay(const char *path)
{
    FILE *file = fopen(path, "r");
    CHECK(file);
    unsigned long count = 0;
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, file) > 0) {
        if (line[0] == '#')
            continue;
        size_t size = decode(line);
        uint8_t *data = (uint8_t *)exact_copy((uint8_t *)line, size);
        LLVMFuzzerTestOneInput(data, size);
        free(data);
        count++;
    }
    free(line);
    fclose(file);
    return count;
}

int main(int argc, char *argv[])
{
    for (int i = 1; i < argc; i++) {
        unsigned long count = replay(argv[i]);
        CHECK(count > 0);
        printf("%s: %lu inputs\n", argv[i], count);
    }
    return 0;
}
