/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.h - what may stand in a name, and how it stands in a URL
 */
#ifndef SERVER_TEXT_H
#define SERVER_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* A job's key or a user's name: so many bytes of UTF-8 at most, no control character in it. */
#define NAME_BYTES_MAX 512

/* UTF-8 as RFC 3629 has it: shortest form, no surrogates, up to U+10FFFF. */
bool text_is_utf8(const char *text, size_t len);
bool text_is_name(const char *text, size_t len);
/* One or two points: as a segment of a path it names nothing, for clients resolve it. */
bool text_is_dots(const char *text, size_t len);
/*
 * Undo %xx: writes at most size - 1 bytes and a final NUL, which does not count.
 * Returns    the number of bytes · -EINVAL (a % without two digits after it) · -EMSGSIZE
 */
int text_percent_decode(const char *text, size_t len, char *out, size_t size);
/*
 * The value of a name in a query (name=value&...), with %xx undone. The first counts.
 * Returns    as text_percent_decode · -ENOENT
 */
int text_query(const char *query, const char *name, char *out, size_t size);
/* The decimal digits, up to 20, without a NUL: how many. */
size_t text_number(unsigned long long number, char *out);
/* out takes 2 * len digits and a final NUL. */
void text_hex(const unsigned char *bytes, size_t len, char *out);

#endif
