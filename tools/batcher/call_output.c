/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call_output.c - what a built-in says, as two streams that it writes to
 *
 * What has no limit is a text in memory. What has one goes through a stream of the C library's
 * to a channel. That may wait for the disk and go on in another thread, so the stream takes no
 * lock: it is one fiber's.
 */
#include "tools/batcher/call_output.h"

#include <errno.h>
#include <stdio_ext.h>

static ssize_t put(void *channel, const char *text, size_t len)
{
    channel_put(channel, text, len);
    return (ssize_t)len; /* an error is told at the end */
}

static FILE *open_stream(struct call_output *said, struct output *output, int which)
{
    if (!said->limited)
        return open_memstream(&output->text[which], &output->bytes[which]);
    FILE *file = fopencookie(&said->channels[which], "w",
                             (cookie_io_functions_t) { .write = put });
    if (file)
        __fsetlocking(file, FSETLOCKING_BYCALLER);
    return file;
}

int call_output_open(struct call_output *said, const struct keeping *keeping,
                     struct output *output)
{
    int r = 0;
    *said = (struct call_output) { .limited = keeping_limits(keeping) };
    *output = (struct output)OUTPUT_NONE;
    for (int i = 0; i < 2 && r == 0; i++) {
        if (said->limited)
            r = channel_open(&said->channels[i], keeping, i);
        if (r == 0)
            said->files[i] = open_stream(said, output, i);
        if (r == 0 && !said->files[i])
            r = -ENOMEM;
    }
    if (r < 0)
        call_output_close(said, output);
    return r;
}

int call_output_close(struct call_output *said, struct output *output)
{
    int r = 0;
    for (int i = 0; i < 2; i++) {
        bool there = said->files[i] != NULL;
        if (there && fclose(said->files[i]) != 0)
            r = -ENOMEM;
        if (there && said->limited && r == 0)
            r = channel_take(&said->channels[i], output, i);
        channel_close(&said->channels[i]);
    }
    return r;
}
