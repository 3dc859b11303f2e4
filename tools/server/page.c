/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page.c - the live page: files that are part of the program
 *
 * The files are those of tools/server/page, and uPlot's where npm had brought it when this was
 * built; embed_page.py makes the table of them. All they know of the server they ask for as
 * everybody does, by the API and, where there is one, with the token.
 */
#include "tools/server/page.h"

#include <string.h>

#include "tools/server/page_entries.h"

/* Nothing is loaded from elsewhere, nothing that stands in the document itself is run. */
#define POLICY \
    "\r\nContent-Security-Policy: default-src 'self'; base-uri 'none'; form-action 'none'; " \
    "frame-ancestors 'none'; object-src 'none'\r\nReferrer-Policy: no-referrer"

static void answer_entry(struct exchange *x, const struct page_entry *entry, const char *more)
{
    answer_tagged(x, entry->type, entry->etag, more, entry->data, entry->len);
}

bool page_wanted(const struct http_request *request)
{
    return strcasestr(request->headers[HEADER_ACCEPT].text, "text/html") != NULL;
}

void page_index(struct exchange *x)
{
    answer_entry(x, &page_entries[0], "\r\nVary: Accept" POLICY);
}

void page_file(struct exchange *x, const char *name)
{
    for (size_t i = 0; i < page_entry_count; i++) {
        if (strcmp(page_entries[i].name, name) == 0) {
            answer_entry(x, &page_entries[i], POLICY);
            return;
        }
    }
    answer_error(x, 404, "no such file");
}
