/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - a batch on disk: its jobs, each start and each end of an attempt
 *
 * An attempt without an end was under way when the program was killed: its job has not ended
 * and is run again. What the system has written survives that; `durable` is for losing power.
 */
#include "tools/batcher/store_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FORMAT = 3 };

static const char schema[] =
    "PRAGMA user_version = 3;"
    "CREATE TABLE words (number INTEGER PRIMARY KEY, word TEXT NOT NULL);"
    "CREATE TABLE jobs (number INTEGER PRIMARY KEY, key TEXT NOT NULL,"
    " definition TEXT NOT NULL, generation INTEGER NOT NULL, state INTEGER);"
    "CREATE TABLE arguments (count INTEGER NOT NULL);"
    "CREATE TABLE attempts (job INTEGER NOT NULL, attempt INTEGER NOT NULL,"
    " started_at_ns INTEGER NOT NULL, ended_at_ns INTEGER, state INTEGER, code INTEGER,"
    " user_ns INTEGER, system_ns INTEGER, max_rss_bytes INTEGER,"
    " PRIMARY KEY (job, attempt)) WITHOUT ROWID;";

int store_note(struct store *store)
{
    snprintf(store->error, sizeof store->error, "%s", sqlite3_errmsg(store->db));
    store->full = sqlite3_errcode(store->db) == SQLITE_FULL;
    return -EIO;
}

const char *store_error(const struct store *store)
{
    return store->error;
}

int store_execute(struct store *store, const char *sql)
{
    return sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : store_note(store);
}

int store_prepare(struct store *store, const char *sql, sqlite3_stmt **ret_statement)
{
    return sqlite3_prepare_v2(store->db, sql, -1, ret_statement, NULL) == SQLITE_OK
               ? 0
               : store_note(store);
}

/* Do it once, and have it ready for the next time. */
static int step(struct store *store, sqlite3_stmt *statement)
{
    int r = sqlite3_step(statement) == SQLITE_DONE ? 0 : store_note(store);
    sqlite3_reset(statement);
    return r;
}

struct store *store_destroy(struct store *store)
{
    if (!store)
        return NULL;
    sqlite3_finalize(store->start);
    sqlite3_finalize(store->end);
    sqlite3_finalize(store->ended);
    sqlite3_finalize(store->came);
    sqlite3_finalize(store->complete);
    sqlite3_close(store->db);
    free(store);
    return NULL;
}

/* Alone, WAL; the first read takes the lock. */
static int open_database(struct store *store, const char *path, int flags, bool durable)
{
    if (sqlite3_open_v2(path, &store->db, flags, NULL) != SQLITE_OK)
        return store_note(store);
    int r = store_execute(store, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;");
    if (r == 0)
        r = store_execute(store, durable ? "PRAGMA synchronous = FULL;"
                                         : "PRAGMA synchronous = NORMAL;");
    return r;
}

static int prepare_all(struct store *store)
{
    int r = store_prepare(store,
                          "INSERT INTO attempts (job, attempt, started_at_ns) VALUES (?, ?, ?)",
                          &store->start);
    if (r == 0)
        r = store_prepare(store,
                          "UPDATE attempts SET ended_at_ns = ?3, state = ?4, code = ?5,"
                          " user_ns = ?6, system_ns = ?7, max_rss_bytes = ?8"
                          " WHERE job = ?1 AND attempt = ?2",
                          &store->end);
    if (r == 0)
        r = store_prepare(store, "UPDATE jobs SET state = ? WHERE number = ?", &store->ended);
    if (r == 0) /* a job that is run again is there */
        r = store_prepare(store, "INSERT OR IGNORE INTO jobs VALUES (?1, ?1, ?2, 0, NULL)",
                          &store->came);
    if (r == 0)
        r = store_prepare(store, "INSERT INTO arguments VALUES (?)", &store->complete);
    return r;
}

/* ---- making ---- */

static int insert_words(struct store *store, char *const words[])
{
    sqlite3_stmt *insert = NULL;
    char *folder = getcwd(NULL, 0);
    int r = folder ? store_prepare(store, "INSERT INTO words VALUES (?, ?)", &insert) : -ENOMEM;
    for (int i = 0; r == 0 && (!i || words[i - 1]); i++) {
        sqlite3_bind_int(insert, 1, i);
        sqlite3_bind_text(insert, 2, i ? words[i - 1] : folder, -1, SQLITE_STATIC);
        r = step(store, insert);
    }
    sqlite3_finalize(insert);
    free(folder);
    return r;
}

/* Of these jobs, and those behind them in their plan. */
static int insert_jobs(struct store *store, const struct job *first)
{
    sqlite3_stmt *insert = NULL;
    int r = store_prepare(store, "INSERT INTO jobs VALUES (?, ?, ?, ?, NULL)", &insert);
    for (const struct job *job = first; job && r == 0; job = STAILQ_NEXT(job, in_plan)) {
        sqlite3_bind_int64(insert, 1, (sqlite3_int64)job->number);
        sqlite3_bind_text(insert, 2, job->key, -1, SQLITE_STATIC);
        sqlite3_bind_text(insert, 3, job->definition, -1, SQLITE_STATIC);
        sqlite3_bind_int64(insert, 4, job->generation);
        r = step(store, insert);
    }
    sqlite3_finalize(insert);
    return r;
}

int store_create(const char *path, const struct plan *plan, char *const words[], bool durable,
                 struct store **ret_store, struct complaint *complaint)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return errno == EEXIST ? -EEXIST : complain(complaint, "%s: %s", path, strerror(errno));
    close(fd);
    struct store *store = calloc(1, sizeof *store);
    if (!store)
        return -ENOMEM;
    int r = open_database(store, path, SQLITE_OPEN_READWRITE, durable);
    if (r == 0)
        r = store_execute(store, "BEGIN");
    if (r == 0)
        r = store_execute(store, schema);
    if (r == 0)
        r = insert_words(store, words);
    if (r == 0)
        r = insert_jobs(store, STAILQ_FIRST(&plan->jobs));
    if (r == 0)
        r = store_execute(store, "COMMIT");
    if (r == 0)
        r = prepare_all(store);
    if (r < 0) {
        complain(complaint, "%s: %s", path, store->error);
        store_destroy(store);
        unlink(path);
        return -EINVAL;
    }
    *ret_store = store;
    return 0;
}

/* ---- opening ---- */

int store_number(struct store *store, const char *sql)
{
    sqlite3_stmt *statement;
    if (store_prepare(store, sql, &statement) < 0)
        return -EIO;
    int r = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int(statement, 0)
                                                  : store_note(store);
    sqlite3_finalize(statement);
    return r;
}

int store_open(const char *path, struct store **ret_store, struct complaint *complaint)
{
    if (access(path, R_OK | W_OK) < 0)
        return complain(complaint, "%s: %s", path, strerror(errno));
    struct store *store = calloc(1, sizeof *store);
    if (!store)
        return -ENOMEM;
    int r = open_database(store, path, SQLITE_OPEN_READWRITE, true);
    if (r == 0)
        r = store_number(store, "PRAGMA user_version");
    if (r == FORMAT)
        r = prepare_all(store);
    else if (r >= 0)
        r = -EINVAL;
    if (r == 0) {
        *ret_store = store;
        return 0;
    }
    bool busy = sqlite3_errcode(store->db) == SQLITE_BUSY;
    complain(complaint, "%s: %s", path,
             r == -EINVAL ? "not a journal, or of another version"
             : busy       ? "somebody is running it"
                          : store->error);
    store_destroy(store);
    return -EINVAL;
}

/* ---- writing ---- */

static int write_added(struct store *store, const struct plan *added)
{
    const struct job *job;
    int r = insert_jobs(store, STAILQ_FIRST(&added->jobs));
    STAILQ_FOREACH(job, &added->jobs, in_plan) {
        if (r < 0 || !job->replaces)
            continue;
        sqlite3_bind_int(store->ended, 1, JOB_REPLACED);
        sqlite3_bind_int64(store->ended, 2, (sqlite3_int64)job->replaces);
        r = step(store, store->ended);
    }
    return r;
}

/* A job of `each`, where its journal has none yet. */
static int write_argument(struct store *store, const struct record *record)
{
    sqlite3_bind_int64(store->came, 1, (sqlite3_int64)record->number);
    sqlite3_bind_text(store->came, 2, record->argument, -1, SQLITE_STATIC);
    return step(store, store->came);
}

static int write_one(struct store *store, const struct record *record)
{
    if (record->added)
        return write_added(store, record->added);
    if (record->complete) {
        sqlite3_bind_int64(store->complete, 1, (sqlite3_int64)record->number);
        return step(store, store->complete);
    }
    if (record->argument && write_argument(store, record) < 0)
        return -EIO;
    sqlite3_stmt *statement = record->state == JOB_RUNNING ? store->start : store->end;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)record->number);
    sqlite3_bind_int64(statement, 2, record->attempt);
    sqlite3_bind_int64(statement, 3, record->at_ns);
    if (statement == store->start)
        return step(store, statement);
    sqlite3_bind_int(statement, 4, (int)record->state);
    sqlite3_bind_int(statement, 5, record->code);
    sqlite3_bind_int64(statement, 6, record->user_ns);
    sqlite3_bind_int64(statement, 7, record->system_ns);
    sqlite3_bind_int64(statement, 8, record->max_rss_bytes);
    int r = step(store, statement);
    if (r < 0 || !record->last)
        return r;
    sqlite3_bind_int(store->ended, 1, (int)record->state);
    sqlite3_bind_int64(store->ended, 2, (sqlite3_int64)record->number);
    return step(store, store->ended);
}

int store_write(struct store *store, const struct record *const records[], size_t count)
{
    int r = store_execute(store, "BEGIN");
    for (size_t i = 0; i < count && r == 0; i++)
        r = write_one(store, records[i]);
    if (r == 0)
        r = store_execute(store, "COMMIT");
    if (r < 0)
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL); /* the first error is told */
    return r < 0 && store->full ? -ENOSPC : r;
}
