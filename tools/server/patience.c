/* SPDX-License-Identifier: Apache-2.0 */
/*
 * patience.c - waiting for something else than the client, but no longer than the client does
 */
#include "tools/server/patience.h"

#include <errno.h>
#include <sys/socket.h>

#include "tools/server/wire.h"

/* Nobody else reads the socket meanwhile: what comes stays there, its end is of interest. */
static struct fm_exit watch_entry(void *arg)
{
    struct patience *patience = arg;
    int r = fm_io_wait(patience->exchange->fd, FM_IO_READ, FM_NEVER);
    char byte;
    ssize_t n = r < 0 ? 1 : recv(patience->exchange->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    /* it has closed its side, or the connection is broken */
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
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
