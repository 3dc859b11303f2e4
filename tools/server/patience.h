/* SPDX-License-Identifier: Apache-2.0 */
/*
 * patience.h - waiting for something else than the client, but no longer than the client does
 */
#ifndef SERVER_PATIENCE_H
#define SERVER_PATIENCE_H

#include "tools/server/answer.h"

struct patience {
    struct exchange *exchange;
    struct fm_fiber *waiter;
    struct fm_fiber *watcher; /* NULL: there was no memory for it */
};

/*
 * What has been answered before is sent, so that it does not wait as well. Then, from begin to
 * end, the calling fiber, masked before and after, can be interrupted: also by a watcher that
 * sees the client close its side, or go; a moment later if it has sent more before. Then
 * x->close is set, so that the connection ends.
 */
void patience_begin(struct patience *patience, struct exchange *x);
void patience_end(struct patience *patience);

#endif
