/*
 * config.h - configs that grow at their end without breaking old callers
 */
#ifndef FM_RUNTIME_PLATFORM_CONFIG_H
#define FM_RUNTIME_PLATFORM_CONFIG_H

#include <errno.h>
#include <stdint.h>
#include <string.h>

/*
 * Copy a caller's struct that begins with its `uint32_t size` into ours of `bytes`. NULL, or a
 * size of 0 with all else zero: all defaults. A shorter one reads as zero-filled, a longer one,
 * unless its tail is zero, is -E2BIG. 0 · -EINVAL · -E2BIG
 */
static inline int fm__config_read(void *to, uint32_t bytes, const void *from)
{
    uint32_t size;

    memset(to, 0, bytes);
    if (!from)
        return 0;
    memcpy(&size, from, sizeof size);
    if (size == 0)
        /* all-zero, or a struct whose maker forgot its size: then it is of our time */
        size = bytes;
    if (size < sizeof size)
        return -EINVAL;
    for (uint32_t i = bytes; i < size; i++)
        if (((const unsigned char *)from)[i])
            return -E2BIG;
    memcpy(to, from, size < bytes ? size : bytes);
    return 0;
}

#endif
