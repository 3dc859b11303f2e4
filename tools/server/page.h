/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page.h - the live page: files that are part of the program
 */
#ifndef SERVER_PAGE_H
#define SERVER_PAGE_H

#include "tools/server/answer.h"

/* Whether who asks for / is a browser, which says so by accepting text/html. */
bool page_wanted(const struct http_request *request);
/* GET /, for a browser: index.html. */
void page_index(struct exchange *x);
/* GET /page/NAME: what index.html is made of. It tells nothing of the server. */
void page_file(struct exchange *x, const char *name);

#endif
