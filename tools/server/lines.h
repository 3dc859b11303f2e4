/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lines.h - lines out of pieces that are cut anywhere
 */
#ifndef SERVER_LINES_H
#define SERVER_LINES_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/server/buffer.h"

/* All-zero but for line.limit, the most bytes that a line may have without its end. */
struct lines {
    struct buffer line; /* what has come of one, without its end */
    uint64_t number;    /* of it; 0: nothing has come */
    bool whole;
};

#define LINES_MORE 0  /* all is used, and the line has not ended */
#define LINES_WHOLE 1 /* lines->line is one, up to the next call */

/*
 * Take what belongs to one line. Which lines come out does not depend on how they are cut.
 *
 * ret_used   how many bytes of the piece; the rest belong to the next
 * Returns    LINES_MORE · LINES_WHOLE · -EMSGSIZE it is too long · -ENOMEM
 */
int lines_take(struct lines *lines, const char *piece, size_t len, size_t *ret_used);
/* No more comes. LINES_WHOLE: there is a line that had no end · LINES_MORE: there is none */
int lines_end(struct lines *lines);
/* Whether there is nothing in the line but white space. */
bool lines_blank(const struct lines *lines);
void lines_fini(struct lines *lines);

#endif
