/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_inside.h - what store.c and store_load.c share of the database
 */
#ifndef BATCH_STORE_INSIDE_H
#define BATCH_STORE_INSIDE_H

#include <sqlite3.h>

#include "tools/batcher/store.h"

struct store {
    sqlite3 *db;
    sqlite3_stmt *start, *end, *ended, *came, *complete;
    char error[256];
    bool full; /* the disk was, at the last error */
};

/* SQLite's last error becomes the store's: -EIO */
int store_note(struct store *store);
/* 0 · -EIO */
int store_execute(struct store *store, const char *sql);
int store_prepare(struct store *store, const char *sql, sqlite3_stmt **ret_statement);
/* What a query for one whole number says · -EIO */
int store_number(struct store *store, const char *sql);

#endif
