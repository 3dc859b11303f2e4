/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capture.c - what an attempt says, from its pipes: all, or the beginning and the end
 *
 * The pipes hold what a short job says until it ends. Beside any other a fiber for each pipe
 * reads along, so that the job never stands still. Whoever of its children holds a pipe beyond
 * its end is not waited for: what stands in the pipe then is taken, and a fiber on its own
 * reads what else comes, for as long as this program runs, for nobody.
 */
#include "tools/batcher/capture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fm/fm.h"
#include "tools/batcher/spool.h"

/* A pipe holds no more than PIPE_MOST: who goes on writing into it does not hold us up. */
enum { READ_BYTES = 16 << 10, PIPE_MOST = 1 << 20 };

struct stream {
    int fd;
    struct fm_fiber *fiber;
    struct spool all;
    size_t half;       /* how much is kept of each end; 0: all, in the spool */
    char *head, *tail; /* tail is a ring */
    size_t head_len, head_size;
    size_t tail_at, tail_len;
    size_t left_out;
    bool no_memory; /* from then on nothing is kept */
    bool ended;
};

struct capture {
    struct stream streams[2];
};

static bool grow_head(struct stream *stream, size_t wanted)
{
    if (wanted <= stream->head_size)
        return true;
    size_t size = 2 * wanted < stream->half ? 2 * wanted : stream->half;
    char *more = realloc(stream->head, size);
    if (!more)
        return false;
    stream->head = more;
    stream->head_size = size;
    return true;
}

/* Over what stands in the ring longest. */
static void keep_tail(struct stream *stream, const char *text, size_t len)
{
    if (!stream->tail)
        stream->tail = malloc(stream->half);
    if (!stream->tail) {
        stream->no_memory = true;
        return;
    }
    if (len > stream->half) {
        stream->left_out += len - stream->half;
        text += len - stream->half;
        len = stream->half;
    }
    size_t room = stream->half - stream->tail_len;
    if (len > room) {
        stream->left_out += len - room;
        stream->tail_at = (stream->tail_at + len - room) % stream->half;
        stream->tail_len -= len - room;
    }
    size_t at = (stream->tail_at + stream->tail_len) % stream->half;
    size_t first = len < stream->half - at ? len : stream->half - at;
    memcpy(stream->tail + at, text, first);
    memcpy(stream->tail, text + first, len - first);
    stream->tail_len += len;
}

static void keep_ends(struct stream *stream, const char *text, size_t len)
{
    size_t first = stream->half - stream->head_len;
    first = len < first ? len : first;
    if (stream->no_memory || !grow_head(stream, stream->head_len + first)) {
        stream->no_memory = true;
        return;
    }
    if (first)
        memcpy(stream->head + stream->head_len, text, first);
    stream->head_len += first;
    if (len > first)
        keep_tail(stream, text + first, len - first);
}

static void keep(struct stream *stream, const char *text, size_t len)
{
    if (stream->half)
        keep_ends(stream, text, len);
    else
        spool_add(&stream->all, text, len);
}

/* To the end, the deadline or an interruption, and hardly more than so much. */
static void read_along(struct stream *stream, size_t most, int64_t deadline_ns)
{
    char *buffer = malloc(READ_BYTES);
    if (!buffer)
        stream->no_memory = true;
    for (size_t all = 0; buffer && !stream->ended && all < most;) {
        ssize_t n = fm_read(stream->fd, buffer, READ_BYTES, deadline_ns);
        if (n < 0)
            break;
        stream->ended = n == 0;
        keep(stream, buffer, (size_t)n);
        all += (size_t)n;
    }
    free(buffer);
}

static struct fm_exit read_entry(void *arg)
{
    struct stream *stream = arg;
    read_along(stream, SIZE_MAX, FM_NEVER);
    return fm_ok(NULL);
}

/* ---- after the end ---- */

static void pipe_close(void *arg)
{
    fm_close((int)(intptr_t)arg);
}

static struct fm_exit ignore_entry(void *arg)
{
    char text[1024];
    while (fm_read((int)(intptr_t)arg, text, sizeof text, FM_NEVER) > 0)
        ;
    pipe_close(arg);
    return fm_ok(NULL);
}

/* Who holds the other end may go on writing. */
static void let_go(int fd)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    options.name = "output of nobody";
    options.flags = FM_SPAWN_DETACHED;
    options.arg_drop = pipe_close;
    if (fm_fiber_spawn(ignore_entry, (void *)(intptr_t)fd, &options, NULL) < 0)
        fm_close(fd);
}

/* ---- both pipes ---- */

int capture_create(struct fm_process *process, size_t limit, struct capture **ret_capture)
{
    struct capture *capture = calloc(1, sizeof *capture);
    if (!capture)
        return -ENOMEM;
    for (int i = 0; i < 2; i++) {
        struct stream *stream = &capture->streams[i];
        stream->fd = fm_process_take_fd(process, i + 1);
        stream->half = limit / 2;
        stream->all = (struct spool)SPOOL_EMPTY;
    }
    *ret_capture = capture;
    return 0;
}

int capture_follow(struct capture *capture)
{
    int r = 0;
    for (int i = 0; capture && i < 2 && r == 0; i++) {
        struct stream *stream = &capture->streams[i];
        if (!stream->fiber)
            r = fm_fiber_spawn(read_entry, stream, NULL, &stream->fiber);
    }
    return r;
}

/* Both ends of it as one text, to be freed: 0 · -ENOMEM */
static int join(const struct stream *stream, char **ret_text, size_t *ret_bytes)
{
    char note[80] = "";
    if (stream->no_memory)
        return -ENOMEM;
    if (stream->left_out)
        snprintf(note, sizeof note, "\n[... %zu bytes are left out ...]\n", stream->left_out);
    size_t note_len = strlen(note);
    char *text = malloc(stream->head_len + note_len + stream->tail_len + 1);
    if (!text)
        return -ENOMEM;
    size_t first = stream->half - stream->tail_at;
    first = stream->tail_len < first ? stream->tail_len : first;
    if (stream->head_len)
        memcpy(text, stream->head, stream->head_len);
    memcpy(text + stream->head_len, note, note_len);
    char *end = text + stream->head_len + note_len;
    if (stream->tail_len) {
        memcpy(end, stream->tail + stream->tail_at, first);
        memcpy(end + first, stream->tail, stream->tail_len - first);
    }
    *ret_text = text;
    *ret_bytes = stream->head_len + note_len + stream->tail_len;
    return 0;
}

static int take(struct stream *stream, struct output *output, int i)
{
    if (stream->half)
        return join(stream, &output->text[i], &output->bytes[i]);
    return stream->no_memory ? -ENOMEM
                             : spool_end(&stream->all, &output->text[i], &output->fd[i],
                                         &output->bytes[i]);
}

int capture_end(struct capture *capture, struct output *output)
{
    int r = 0;
    if (!capture)
        return 0;
    fm_mask();
    for (int i = 0; i < 2; i++) {
        struct stream *stream = &capture->streams[i];
        if (stream->fiber)
            fm_fiber_stop(stream->fiber, FM_NEVER, NULL);
        fm_fiber_unref(stream->fiber);
        read_along(stream, PIPE_MOST, 0);
        if (r == 0)
            r = take(stream, output, i);
        output->left_out += stream->left_out;
        if (stream->ended)
            fm_close(stream->fd);
        else
            let_go(stream->fd);
        spool_free(&stream->all);
        free(stream->head);
        free(stream->tail);
    }
    fm_unmask();
    free(capture);
    return r;
}
