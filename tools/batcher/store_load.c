/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_load.c - what a batch on disk has of its jobs, to go on from there
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/batcher/jobfile.h"
#include "tools/batcher/store_inside.h"

char **store_words(struct store *store)
{
    int count = store_number(store, "SELECT count(*) FROM words");
    sqlite3_stmt *statement;
    if (count < 0 ||
        store_prepare(store, "SELECT word FROM words ORDER BY number", &statement) < 0)
        return NULL;
    char **words = calloc((size_t)count + 1, sizeof *words);
    for (int i = 0; words && i < count; i++) {
        const unsigned char *word = sqlite3_step(statement) == SQLITE_ROW
                                        ? sqlite3_column_text(statement, 0)
                                        : NULL;
        words[i] = word ? strdup((const char *)word) : NULL;
        if (!words[i]) {
            strings_free(words);
            words = NULL;
        }
    }
    sqlite3_finalize(statement);
    return words;
}

/* Each definition is a job file of its own. */
static int load_jobs(struct store *store, struct plan *plan, struct complaint *complaint)
{
    sqlite3_stmt *statement;
    int r = store_prepare(store, "SELECT definition, generation FROM jobs ORDER BY number",
                          &statement);
    if (r < 0)
        return r;
    plan->recorded = true;
    while (r == 0 && sqlite3_step(statement) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        plan->generation = (unsigned)sqlite3_column_int(statement, 1);
        r = jobfile_take("journal", text, strlen(text), plan, complaint);
    }
    sqlite3_finalize(statement);
    plan->recorded = false;
    return r;
}

/* Number, state, attempts, how many of these have no end, definition. */
static const char states_sql[] =
    "SELECT number, jobs.state, max(attempt), sum(attempts.state IS NULL), definition FROM jobs"
    " LEFT JOIN attempts ON job = number GROUP BY number ORDER BY number";

struct standing {
    enum job_state state; /* an end, or JOB_WAITING */
    unsigned attempts;
    bool running; /* it is in the midst of one */
};

static struct standing standing_of(sqlite3_stmt *row, bool again)
{
    enum job_state state = (enum job_state)sqlite3_column_int(row, 1);
    unsigned attempts = (unsigned)sqlite3_column_int(row, 2);
    bool failed = state == JOB_FAILED || state == JOB_TIMED_OUT;
    return (struct standing) { failed && again ? JOB_WAITING : state, attempts,
                               !state && attempts && sqlite3_column_int(row, 3) };
}

/* Told once: the next time they are only cut off. */
static int cut_off(struct store *store)
{
    return store_execute(store, "UPDATE attempts SET state = 0 WHERE state IS NULL");
}

/* How each job stands, and who was in the midst of it. */
static int load_states(struct store *store, bool again, struct plan *plan)
{
    sqlite3_stmt *statement;
    int running = 0;
    if (store_prepare(store, states_sql, &statement) < 0)
        return -EIO;
    struct job *job = STAILQ_FIRST(&plan->jobs);
    for (; job && sqlite3_step(statement) == SQLITE_ROW; job = STAILQ_NEXT(job, in_plan)) {
        struct standing standing = standing_of(statement, again);
        job->attempts = standing.attempts;
        if (standing.state)
            job->state = standing.state;
        if (!standing.running)
            continue;
        fprintf(stderr, "batch: job \"%s\" was running (attempt %u); it is run again\n",
                job->key, job->attempts);
        running++;
    }
    sqlite3_finalize(statement);
    return cut_off(store) < 0 ? -EIO : running;
}

int store_load(struct store *store, bool again, struct plan *plan, struct complaint *complaint)
{
    struct complaint about;
    int running = 0;
    int r = load_jobs(store, plan, complaint);
    if (r == 0)
        r = running = load_states(store, again, plan);
    if (r == -EIO)
        return complain(complaint, "journal: %s", store->error);
    if (r < 0)
        return r;
    r = plan_link(plan, &about);
    if (r == -EINVAL)
        return complain(complaint, "journal: %s", about.text);
    return r < 0 ? r : running;
}

static int load_past(struct store *store, bool again, struct past *past)
{
    sqlite3_stmt *statement;
    int r = store_prepare(store, states_sql, &statement), running = 0;
    while (r == 0 && sqlite3_step(statement) == SQLITE_ROW) {
        struct standing standing = standing_of(statement, again);
        uint64_t number = (uint64_t)sqlite3_column_int64(statement, 0);
        const char *argument = (const char *)sqlite3_column_text(statement, 4);
        r = past_put(past, number, argument, standing.state, standing.attempts);
        if (!standing.running)
            continue;
        fprintf(stderr, "batch: job %llu (%s) was running (attempt %u); it is run again\n",
                (unsigned long long)number, argument, standing.attempts);
        running++;
    }
    sqlite3_finalize(statement);
    int count = r < 0 ? r
                      : store_number(store, "SELECT coalesce(max(count), -1) FROM arguments");
    past->complete = count >= 0;
    past->count = count >= 0 ? (uint64_t)count : 0;
    return r < 0 ? r : count == -EIO || cut_off(store) < 0 ? -EIO : running;
}

int store_load_each(struct store *store, bool again, struct past *past,
                    struct complaint *complaint)
{
    int r = load_past(store, again, past);
    return r == -EIO ? complain(complaint, "journal: %s", store->error) : r;
}
