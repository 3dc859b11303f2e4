/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capture.c - what an attempt says, from its pipes: all, or what a limit leaves of it
 *
 * The pipes hold what a short job says until it ends. Beside any other a fiber for each pipe
 * reads along, so that the job never stands still. Whoever of its children holds a pipe beyond
 * its end is not waited for: what stands in the pipe then is taken, and a fiber on its own
 * reads what else comes, for as long as this program runs, for nobody.
 */
#include "tools/batcher/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "fm/fm.h"
#include "tools/batcher/pattern.h"
#include "tools/batcher/scan.h"
#include "tools/batcher/spool.h"

/* A pipe holds no more than PIPE_MOST: who goes on writing into it does not hold us up. */
enum { READ_BYTES = 64 << 10, PIPE_MOST = 1 << 20 };

struct stream {
    int fd;
    struct fm_fiber *fiber;
    bool limited;
    struct spool all;       /* not limited */
    struct channel channel; /* limited */
    const regex_t *pattern; /* of a line that is waited for; NULL: none */
    struct scan *scan;
    atomic_bool found; /* that line; read by others */
    bool no_memory;    /* from then on nothing is kept */
    bool ended, wide;
};

struct capture {
    struct stream streams[2];
};

static void keep(struct stream *stream, const char *text, size_t len)
{
    if (stream->pattern && !atomic_load(&stream->found) &&
        scan_finds(stream->scan, text, len, stream->pattern))
        atomic_store(&stream->found, true);
    if (stream->limited)
        channel_put(&stream->channel, text, len);
    else
        spool_add(&stream->all, text, len);
}

/* Who says much is to wait less often: as much room as an ordinary user may have. */
static void widen(struct stream *stream)
{
    fcntl(stream->fd, F_SETPIPE_SZ, PIPE_MOST); /* or it stays as it is */
    stream->wide = true;
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
        if (all >= PIPE_MOST && !stream->wide)
            widen(stream);
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

static int stream_open(struct stream *stream, const struct keeping *keeping,
                       const regex_t *pattern, int which)
{
    stream->limited = keeping_limits(keeping);
    stream->all = (struct spool)SPOOL_EMPTY;
    stream->pattern = pattern;
    stream->scan = pattern ? calloc(1, sizeof *stream->scan) : NULL;
    if (pattern && !stream->scan)
        return -ENOMEM;
    return stream->limited ? channel_open(&stream->channel, keeping, which) : 0;
}

static void stream_close(struct stream *stream)
{
    spool_free(&stream->all);
    channel_close(&stream->channel);
    free(stream->scan);
}

int capture_create(struct fm_process *process, const struct keeping *keeping,
                   const regex_t *pattern, struct capture **ret_capture)
{
    struct capture *capture = calloc(1, sizeof *capture);
    if (!capture)
        return -ENOMEM;
    int r = 0;
    for (int i = 0; i < 2; i++) {
        int opened = stream_open(&capture->streams[i], keeping, pattern, i);
        r = r ? r : opened;
    }
    for (int i = 0; i < 2; i++) {
        capture->streams[i].fd = r == 0 ? fm_process_take_fd(process, i + 1) : -1;
        if (r < 0)
            stream_close(&capture->streams[i]);
    }
    if (r < 0)
        free(capture);
    else
        *ret_capture = capture;
    return r;
}

int capture_follow(struct capture *capture)
{
    int r = 0;
    for (int i = 0; capture && i < 2 && r == 0; i++) {
        struct stream *stream = &capture->streams[i];
        struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
        options.stack_bytes = stream->pattern ? PATTERN_STACK : 0;
        if (!stream->fiber)
            r = fm_fiber_spawn(read_entry, stream, &options, &stream->fiber);
    }
    return r;
}

bool capture_has_line(struct capture *capture)
{
    return atomic_load(&capture->streams[0].found) || atomic_load(&capture->streams[1].found);
}

static int take(struct stream *stream, struct output *output, int i)
{
    if (stream->no_memory)
        return -ENOMEM;
    return stream->limited
               ? channel_take(&stream->channel, output, i)
               : spool_end(&stream->all, &output->text[i], &output->fd[i], &output->bytes[i]);
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
        stream->pattern = NULL; /* nobody waits any more, and it wants a large stack */
        read_along(stream, PIPE_MOST, 0);
        if (r == 0)
            r = take(stream, output, i);
        if (stream->ended)
            fm_close(stream->fd);
        else
            let_go(stream->fd);
        stream_close(stream);
    }
    fm_unmask();
    free(capture);
    return r;
}
