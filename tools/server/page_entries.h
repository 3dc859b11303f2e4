/* SPDX-License-Identifier: Apache-2.0 */
/* page_entries.h - the files of the live page as embed_page.py writes them down, index.html first */
#ifndef TOOLS_SERVER_PAGE_ENTRIES_H
#define TOOLS_SERVER_PAGE_ENTRIES_H

#include <stddef.h>

extern const struct page_entry {
    const char *name, *type, *etag;
    const unsigned char *data;
    size_t len;
} page_entries[];
extern const size_t page_entry_count;

#endif
