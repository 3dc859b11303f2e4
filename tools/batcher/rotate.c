/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rotate.c - how large a file of output becomes, and how many are kept
 */
#include "tools/batcher/rotate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int rotate_read(const char *text, struct rotate *ret_rotate)
{
    static const char units[] = "kMG";
    struct rotate rotate = { 0, 1 };
    char *end;
    errno = 0;
    unsigned long long bytes = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || errno || bytes > (unsigned long long)1 << 40)
        return -EINVAL;
    const char *unit = *end ? strchr(units, *end) : NULL;
    if (unit) {
        bytes <<= 10 * (unit - units + 1);
        end++;
    }
    if (*end == ':') {
        const char *files = end + 1;
        unsigned long count = strtoul(files, &end, 10);
        if (*files < '0' || *files > '9' || count > ROTATE_FILES_MAX)
            return -EINVAL;
        rotate.files = (unsigned)count;
    }
    if (*end || bytes < ROTATE_BYTES_MIN)
        return -EINVAL;
    rotate.bytes = bytes;
    *ret_rotate = rotate;
    return 0;
}
