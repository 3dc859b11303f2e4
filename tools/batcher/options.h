/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - what the command line says
 */
#ifndef BATCH_OPTIONS_H
#define BATCH_OPTIONS_H

#include "tools/batcher/halt.h"
#include "tools/batcher/job.h"
#include "tools/batcher/rates.h"
#include "tools/batcher/resources.h"
#include "tools/batcher/rlimits.h"
#include "tools/batcher/rotate.h"

enum batch_command {
    COMMAND_RUN,
    COMMAND_EACH,
    COMMAND_RESUME,
    COMMAND_STATUS,
    COMMAND_CANCEL,
    COMMAND_WAIT,
    COMMAND_ADD,
    COMMAND_REPLACE
};

enum { REPORTS_MAX = 8 };

/* Exit code: nothing was run because something is wrong with what we were given. */
#define BATCH_ERROR 255

struct options {
    enum batch_command command;
    unsigned jobs;      /* attempts at once */
    int64_t timeout_ns; /* of each attempt; 0: none */
    struct limits limits;
    size_t output_limit; /* of each attempt's output and error; 0: none */
    struct rotate rotate; /* of each attempt's; bytes 0: none */
    int64_t grace_ns;    /* between SIGTERM and SIGKILL */
    struct retry retry;  /* of jobs that say nothing themselves */
    enum failure_policy on_failure;
    struct resources resources; /* of run */
    struct rates rates;
    struct halt halt;
    bool keep_order, dry_run, ungroup, quiet, verbose;
    const char *results; /* folder; NULL: none */
    const char *joblog;  /* file; NULL: none */
    const char *journal; /* file; NULL: none */
    const char *events;  /* file; NULL: none */
    const char *reports[REPORTS_MAX];
    unsigned report_count;
    const char *socket;         /* path; NULL: none. status, cancel, wait: whom to ask */
    const char *key;            /* cancel, replace: whom */
    bool cgroup;                /* all that runs is in one of its own */
    bool durable;               /* the journal's writes reach the device */
    bool resumed, retry_failed; /* resume: the batch has begun before; failed jobs too */

    /* run, add, replace: the job file; "-": standard input, NULL: none. resume: the journal */
    const char *file;
    int argc; /* what was read, for the journal and for options_resume() */
    char **argv;

    char **words; /* each: the command */
    int word_count;
    char **arguments; /* each: behind ":::"; NULL: they come from a file */
    int argument_count;
    const char *argument_file; /* "-": standard input */
    bool null_separated;
};

/* Ends the program with a message where they are wrong. */
void options_read(struct options *options, int argc, char *argv[]);
/*
 * Of a batch that is resumed: those that it was begun with, which end with NULL and live as
 * long, and over them those of now.
 */
void options_resume(struct options *options, char *begun[]);

#endif
