/*
 * text.h - text into a buffer, without stdio: for signal handlers
 *
 * What does not fit is left out; the text always ends in a NUL.
 */
#ifndef FM_RUNTIME_PLATFORM_TEXT_H
#define FM_RUNTIME_PLATFORM_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct text {
    char *at;  /* the NUL */
    char *end; /* the last place for it */
};

static inline struct text fm__text(char *buffer, size_t size)
{
    buffer[0] = '\0';
    return (struct text) { buffer, buffer + size - 1 };
}

static inline void fm__put(struct text *text, const char *s)
{
    while (*s && text->at < text->end)
        *text->at++ = *s++;
    *text->at = '\0';
}

/* base 10, or 16 with 0x in front */
static inline void fm__put_number(struct text *text, uint64_t number, unsigned base)
{
    char digits[24];
    size_t at = sizeof digits;
    digits[--at] = '\0';
    do
        digits[--at] = "0123456789abcdef"[number % base];
    while (number /= base);
    fm__put(text, base == 16 ? "0x" : "");
    fm__put(text, digits + at);
}

#endif
