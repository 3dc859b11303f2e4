/* SPDX-License-Identifier: Apache-2.0 */
/*
 * halt.c - when to give up, or to have enough
 */
#include "tools/batcher/halt.h"

#include <errno.h>
#include <stdio.h>
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

/* The short forms, as the long ones; NULL: it is none. */
static const char *long_form(const char *text, char *buffer, size_t size)
{
    static const char *const forms[][2] = { { "0", "never" },
                                            { "1", "soon,fail=1" },
                                            { "2", "now,fail=1" },
                                            { "-1", "soon,success=1" },
                                            { "-2", "now,success=1" } };
    size_t len = strlen(text);
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (!strcmp(text, forms[i][0]))
            return forms[i][1];
    if (*text < '0' || *text > '9' || text[len - 1] != '%')
        return NULL;
    snprintf(buffer, size, "soon,fail=%s", text);
    return buffer;
}

int halt_read(const char *text, struct halt *ret_halt)
{
    struct halt halt = { 0 };
    char buffer[64];
    const char *form = long_form(text, buffer, sizeof buffer);
    text = form ? form : text;
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

int halt_code(const struct halt *halt, int code_of_job, uint64_t failed, uint64_t all)
{
    if (halt->event == HALT_DONE)
        return -1;
    if (halt->event == HALT_SUCCESS)
        return 0;
    if (halt->percent)
        return all ? (int)((failed * 100 + all - 1) / all) : -1;
    return halt->count == 1 ? code_of_job & 0xff : failed > 100 ? 101 : (int)failed;
}
