/* SPDX-License-Identifier: Apache-2.0 */
/*
 * complaint.c - what is wrong with what we were given
 */
#include "tools/batcher/complaint.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int complain(struct complaint *complaint, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(complaint->text, sizeof complaint->text, format, args);
    va_end(args);
    return -EINVAL;
}
