/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channel.c - one of the two outputs of an attempt, where what is kept of it has a limit
 *
 * With a limit and files both have their part: what is printed is beginning and end, the files
 * have the last of it all.
 */
#include "tools/batcher/channel.h"

#include <errno.h>

bool keeping_limits(const struct keeping *keeping)
{
    return keeping->limit || keeping->rotate.bytes;
}

int channel_open(struct channel *channel, const struct keeping *keeping, int which)
{
    *channel = (struct channel) { .keeper = { .half = keeping->limit / 2 } };
    return keeping->rotate.bytes ? rotor_create(keeping->rotate, keeping->folder,
                                                output_names[which], &channel->rotor)
                                 : 0;
}

void channel_put(struct channel *channel, const char *text, size_t len)
{
    if (channel->keeper.half)
        keeper_put(&channel->keeper, text, len);
    if (channel->rotor)
        rotor_put(channel->rotor, text, len);
}

int channel_take(struct channel *channel, struct output *output, int which)
{
    int r = channel->rotor ? rotor_error(channel->rotor) : 0;
    if (r < 0)
        return r;
    if (channel->keeper.half) {
        output->left_out += channel->keeper.left_out;
        return keeper_text(&channel->keeper, &output->text[which], &output->bytes[which]);
    }
    output->left_out += rotor_left_out(channel->rotor);
    output->before[which] = rotor_left_out(channel->rotor);
    output->files[which] = rotor_take(channel->rotor, &output->file_count[which],
                                      &output->bytes[which]);
    return output->files[which] ? 0 : -ENOMEM;
}

void channel_close(struct channel *channel)
{
    keeper_fini(&channel->keeper);
    channel->rotor = rotor_destroy(channel->rotor);
}
