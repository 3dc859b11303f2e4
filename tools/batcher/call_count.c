/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call_count.c - lines, words and bytes: of each file or, of a folder, of all below it
 *
 * As `wc` in the C locale: a word ends at a space, and where its file does.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "tools/batcher/call_work.h"

struct counts {
    uint64_t lines, words, bytes;
};

struct counting {
    struct counts total, here; /* here: below one of the paths */
    bool in_word;
    size_t root; /* which one */
    size_t told; /* so many have had their line */
};

static int begin(struct call_work *work)
{
    work->state = calloc(1, sizeof(struct counting));
    return work->state ? 0 : -ENOMEM;
}

static unsigned is_space(unsigned char c)
{
    return c == ' ' || (unsigned char)(c - '\t') < 5;
}

/* Each byte is seen with the one before it, so that many can be seen at once. */
static void count(struct counts *counts, const unsigned char *bytes, size_t len, bool in_word)
{
    uint64_t words = !in_word && !is_space(bytes[0]), lines = bytes[0] == '\n';
    for (size_t at = 1; at < len;) {
        unsigned some_words = 0, some_lines = 0;
        size_t stop = len - at < 4096 ? len : at + 4096;
        for (; at < stop; at++) {
            some_words += is_space(bytes[at - 1]) & (is_space(bytes[at]) ^ 1u);
            some_lines += bytes[at] == '\n';
        }
        words += some_words;
        lines += some_lines;
    }
    counts->words += words;
    counts->lines += lines;
    counts->bytes += len;
}

static void put(FILE *out, const struct counts *counts, const char *name)
{
    fprintf(out, "%llu %llu %llu %s\n", (unsigned long long)counts->lines,
            (unsigned long long)counts->words, (unsigned long long)counts->bytes, name);
}

/* The lines of the paths before this one. */
static void tell_until(struct call_work *work, size_t root)
{
    struct counting *counting = work->state;
    char **paths = work->call->paths;
    for (; counting->told < root; counting->told++) {
        put(work->out, &counting->here, paths ? paths[counting->told] : "-");
        counting->total.lines += counting->here.lines;
        counting->total.words += counting->here.words;
        counting->total.bytes += counting->here.bytes;
        counting->here = (struct counts) { 0 };
    }
}

static int take(struct call_work *work, const struct piece *piece)
{
    struct counting *counting = work->state;
    tell_until(work, piece->root);
    if (piece->begins)
        counting->in_word = false;
    if (piece->len) {
        const unsigned char *bytes = (const unsigned char *)piece->bytes;
        count(&counting->here, bytes, piece->len, counting->in_word);
        counting->in_word = !is_space(bytes[piece->len - 1]);
    }
    return 0;
}

static int end(struct call_work *work, bool all)
{
    struct counting *counting = work->state;
    size_t paths = 0;
    while (work->call->paths && work->call->paths[paths])
        paths++;
    if (all) {
        tell_until(work, paths ? paths : 1);
        if (paths > 1)
            put(work->out, &counting->total, "total");
    }
    free(counting);
    return 0;
}

const struct call_kind_work call_count = { begin, take, end };
