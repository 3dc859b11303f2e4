/* SPDX-License-Identifier: Apache-2.0 */
/*
 * halt.c - when to give up, or to have enough
 */
#include "tools/batcher/halt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Does *text begin with word? Then it moves behind it. */
static bool take(const char **text, const char *word)
{
    size_t len = strlen(word);
    if (strncmp(*text, word, len))
        return false;
    *text += len;
    return true;
}

int halt_read(const char *text, struct halt *ret_halt)
{
    struct halt halt = { 0 };
    if (!strcmp(text, "never")) {
        *ret_halt = halt;
        return 0;
    }
    if (take(&text, "now,"))
        halt.how = HALT_NOW;
    else if (take(&text, "soon,"))
        halt.how = HALT_SOON;
    else
        return -EINVAL;
    if (take(&text, "fail="))
        halt.event = HALT_FAIL;
    else if (take(&text, "success="))
        halt.event = HALT_SUCCESS;
    else if (take(&text, "done="))
        halt.event = HALT_DONE;
    else
        return -EINVAL;
    char *end;
    errno = 0;
    halt.count = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || errno || !halt.count)
        return -EINVAL;
    halt.percent = *end == '%';
    if (end[halt.percent] || (halt.percent && halt.count > 100))
        return -EINVAL;
    *ret_halt = halt;
    return 0;
}

enum halting halt_reached(const struct halt *halt, uint64_t failed, uint64_t succeeded,
                          uint64_t all)
{
    uint64_t count = halt->event == HALT_FAIL      ? failed
                     : halt->event == HALT_SUCCESS ? succeeded
                                                   : failed + succeeded;
    if (halt->how == GO_ON || (halt->percent && !all))
        return GO_ON;
    bool reached = halt->percent ? count * 100 >= halt->count * all : count >= halt->count;
    return reached ? halt->how : GO_ON;
}
