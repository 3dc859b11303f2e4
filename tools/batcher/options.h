/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - what the command line says
 */
#ifndef BATCH_OPTIONS_H
#define BATCH_OPTIONS_H

#include "tools/batcher/halt.h"
#include "tools/batcher/job.h"

enum batch_command { COMMAND_RUN, COMMAND_EACH };

/* Exit code: nothing was run because something is wrong with what we were given. */
#define BATCH_ERROR 255

struct options {
    enum batch_command command;
    unsigned jobs;      /* attempts at once */
    int64_t timeout_ns; /* of each attempt; 0: none */
    int64_t grace_ns;   /* between SIGTERM and SIGKILL */
    struct retry retry; /* of jobs that say nothing themselves */
    enum failure_policy on_failure;
    struct halt halt;
    bool keep_order, dry_run, ungroup, quiet, verbose;
    const char *results; /* folder; NULL: none */
    const char *joblog;  /* file; NULL: none */

    const char *file; /* run: the job file; "-": standard input */

    char **words; /* each: the command */
    int word_count;
    char **arguments; /* each: behind ":::"; NULL: they come from a file */
    int argument_count;
    const char *argument_file; /* "-": standard input */
    bool null_separated;
};

/* Ends the program with a message where they are wrong. */
void options_read(struct options *options, int argc, char *argv[]);

#endif
