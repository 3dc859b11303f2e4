/* SPDX-License-Identifier: Apache-2.0 */
/*
 * patience.c - waiting for something else than the client, but no longer than the client does
 */
#include "tools/server/patience.h"

#include <poll.h>

#include "tools/server/wire.h"

enum { LOOK_MS = 500 };

/* It has closed its side, or the connection is broken; also behind bytes that nobody has read. */
static bool client_has_left(int fd)
{
    struct pollfd look = { .fd = fd, .events = POLLRDHUP };
    return poll(&look, 1, 0) > 0;
}

/*
 * Nobody else reads the socket meanwhile: what comes stays there, its end is of interest. While
 * there is something to be read nothing wakes us when the end comes, too.
 */
static struct fm_exit watch_entry(void *arg)
{
    struct patience *patience = arg;
    int fd = patience->exchange->fd;
    int r = fm_io_wait(fd, FM_IO_READ, FM_NEVER);
    while (r >= 0 && !client_has_left(fd))
        r = fm_sleep_ms(LOOK_MS);
    if (r >= 0)
        fm_fiber_interrupt(patience->waiter);
    return fm_ok(NULL);
}

void patience_begin(struct patience *patience, struct exchange *x)
{
    wire_flush(x->wire);
    x->begins = x->out->len;
    patience->exchange = x;
    patience->waiter = fm_fiber_self();
    patience->watcher = NULL;
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    options.name = "patience";
    fm_fiber_spawn(watch_entry, patience, &options, &patience->watcher);
    fm_unmask();
}

void patience_end(struct patience *patience)
{
    fm_mask();
    if (patience->watcher)
        fm_fiber_stop(patience->watcher, FM_NEVER, NULL);
    fm_fiber_unref(patience->watcher);
    if (fm_interrupt_info(NULL) == 0)
        patience->exchange->close = true;
}
