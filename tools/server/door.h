/* SPDX-License-Identifier: Apache-2.0 */
/*
 * door.h - the socket that is listened on: of TCP, of a path, or one that was handed over
 */
#ifndef SERVER_DOOR_H
#define SERVER_DOOR_H

#include <stdbool.h>

#include "tools/server/options.h"

struct door {
    int fd;
    unsigned port;  /* of TCP, else 0 */
    bool has_file;  /* options->unix_path is ours, to be removed */
    bool is_public; /* who is on another machine may come */
    char name[160]; /* http://127.0.0.1:8080, unix:/run/serve */
};

/*
 * Open it, or take the one that was handed over. A file that nobody listens on any more gives
 * way. Fiber only.
 *
 * inherited_fd   -1: none; else taken over
 * Returns        0 · -errno
 */
int door_open(struct door *door, const struct options *options, int inherited_fd);
/* Remove the file, if there is one. The descriptor has been closed. Thread only. */
void door_remove(const struct door *door, const struct options *options);

#endif
