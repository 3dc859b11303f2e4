/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.c - what may stand in a name, and how it stands in a URL
 *
 * Nothing here keeps state.
 */
#include "tools/server/text.h"

#include <errno.h>
#include <string.h>

/* The bytes of the character at text, 0 if there is none in UTF-8. left is at least 1. */
static size_t character_len(const unsigned char *text, size_t left)
{
    unsigned char first = text[0];
    if (first < 0x80)
        return 1;
    size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || len > left)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    }
    /* the second byte tells: longer than need be, a surrogate, past the last character */
    bool wrong = (first == 0xe0 && text[1] < 0xa0) || (first == 0xed && text[1] > 0x9f) ||
                 (first == 0xf0 && text[1] < 0x90) || (first == 0xf4 && text[1] > 0x8f);
    return wrong ? 0 : len;
}

bool text_is_utf8(const char *text, size_t len)
{
    size_t at = 0;
    while (at < len) {
        size_t step = character_len((const unsigned char *)text + at, len - at);
        if (step == 0)
            return false;
        at += step;
    }
    return true;
}

bool text_is_name(const char *text, size_t len)
{
    if (len == 0 || len > NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f)
            return false;
    }
    return text_is_utf8(text, len);
}

bool text_is_dots(const char *text, size_t len)
{
    return (len == 1 || len == 2) && text[0] == '.' && text[len - 1] == '.';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int text_percent_decode(const char *text, size_t len, char *out, size_t size)
{
    size_t count = 0;
    for (size_t i = 0; i < len; i++) {
        int c = (unsigned char)text[i];
        if (c == '%') {
            int high = len - i > 2 ? hex_value(text[i + 1]) : -1;
            int low = len - i > 2 ? hex_value(text[i + 2]) : -1;
            if (high < 0 || low < 0)
                return -EINVAL;
            c = high * 16 + low;
            i += 2;
        }
        if (count + 1 >= size)
            return -EMSGSIZE;
        out[count++] = (char)c;
    }
    out[count] = '\0';
    return (int)count;
}

int text_query(const char *query, const char *name, char *out, size_t size)
{
    size_t name_len = strlen(name);
    for (; *query; query += *query == '&') {
        size_t len = strcspn(query, "&");
        if (len > name_len && !memcmp(query, name, name_len) && query[name_len] == '=') {
            const char *value = query + name_len + 1;
            return text_percent_decode(value, len - name_len - 1, out, size);
        }
        query += len;
    }
    return -ENOENT;
}

void text_hex(const unsigned char *bytes, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * len] = '\0';
}

size_t text_number(unsigned long long number, char *out)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    memcpy(out, digits + at, sizeof digits - at);
    return sizeof digits - at;
}
