/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.c - what the command line says
 */
#include "tools/batcher/options.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "fm/base.h"
#include "tools/batcher/option_values.h"

enum { RETRIES_MAX = 1000000 };

enum {
    TIMEOUT = 0x100,
    GRACE,
    RETRIES,
    RETRY_DELAY,
    ON_FAILURE,
    HALT,
    DRY_RUN,
    RESULTS,
    JOBLOG,
    JSON,
    SOCKET,
    JOURNAL,
    DURABLE,
    RETRY_FAILED,
    RESOURCE,
    RATE,
    DELAY,
    REPORT,
    LIMIT,
    OUTPUT_LIMIT,
    ROTATE,
    CGROUP,
};

static const struct argp_option common[] = {
    { "jobs", 'j', "N", 0, "So many at once (as many as there are processors); N%, +N, -N", 1 },
    { "timeout", TIMEOUT, "TIME", 0, "Stop an attempt that lasts longer: 30, 1m30s, 500ms", 1 },
    { "grace", GRACE, "TIME", 0, "From SIGTERM to SIGKILL (2)", 1 },
    { "limit", LIMIT, "NAME=VALUE", 0,
      "Of each process: cpu (seconds), as, fsize, core (bytes), nofile, nproc; several times",
      1 },
    { "output-limit", OUTPUT_LIMIT, "BYTES", 0,
      "Keep so much of each output, half from its beginning and half from its end", 3 },
    { "rotate", ROTATE, "BYTES[:FILES]", 0,
      "Keep outputs in files of at most so much (10M), and so many older ones (1)", 3 },
    { "cgroup", CGROUP, NULL, 0, "Have all that runs in a cgroup, which nothing leaves", 1 },
    { "retries", RETRIES, "N", 0, "So many more attempts after one that failed (0)", 2 },
    { "retry-delay", RETRY_DELAY, "TIME", 0, "before each of them (0)", 2 },
    { "delay", DELAY, "TIME", 0, "From one start to the next (0)", 1 },
    { "rate", RATE, "[NAME=]N[/TIME][:BURST]", 0,
      "Start so many in a second, or that time, of those jobs or of all; so many at once (1)",
      1 },
    { "halt", HALT, "WHEN", 0, "never; or now or soon,fail=N or success=N or done=N (or N%)",
      2 },
    { "dry-run", DRY_RUN, NULL, 0, "Print what would be run", 3 },
    { "keep-order", 'k', NULL, 0, "Print outputs in the order of the jobs", 3 },
    { "ungroup", 'u', NULL, 0, "Let jobs write to our output themselves, mixed", 3 },
    { "results", RESULTS, "FOLDER", 0, "Keep the outputs there", 3 },
    { "joblog", JOBLOG, "FILE", 0, "Write a line for each job that has ended", 3 },
    { "json", JSON, "FILE", 0, "Write what happens as JSON, a line for each event", 3 },
    { "report", REPORT, "FILE", 0,
      "Say there at the end how each attempt went: .json, .xml (JUnit), .svg (a picture), or a "
      "table; several times",
      3 },
    { "socket", SOCKET, "PATH", 0, "Listen there for status, cancel and wait", 3 },
    { "journal", JOURNAL, "FILE", 0, "Make this file, to resume from", 3 },
    { "durable", DURABLE, NULL, 0, "Have each write of the journal reach the device", 3 },
    { "quiet", 'q', NULL, 0, "Say nothing of failures", 3 },
    { "verbose", 'v', NULL, 0, "Say what starts and ends", 3 },
    { 0 },
};

static error_t read_common(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 'j': options->jobs = option_jobs(arg, state); return 0;
    case 'k': options->keep_order = true; return 0;
    case 'u': options->ungroup = true; return 0;
    case 'q': options->quiet = true; return 0;
    case 'v': options->verbose = true; return 0;
    case TIMEOUT: options->timeout_ns = option_duration(arg, state); return 0;
    case GRACE: options->grace_ns = option_duration(arg, state); return 0;
    case RETRIES: options->retry.times = option_number(arg, 0, RETRIES_MAX, state); return 0;
    case RETRY_DELAY: options->retry.delay_ns = option_duration(arg, state); return 0;
    case DELAY:
        if (rates_add_delay(&options->rates, option_duration(arg, state)) < 0)
            argp_error(state, "--delay is the --rate of all jobs: one of them");
        return 0;
    case RATE:
        if (rates_add(&options->rates, arg) < 0)
            argp_error(state, "%s is not a new rate such as 5, 0.5, 100/1m or api=10/1s:3",
                       arg);
        return 0;
    case DRY_RUN: options->dry_run = true; return 0;
    case RESULTS: options->results = arg; return 0;
    case JOBLOG: options->joblog = arg; return 0;
    case JSON: options->events = arg; return 0;
    case SOCKET: options->socket = arg; return 0;
    case LIMIT:
        if (limits_read(&options->limits, arg) < 0)
            argp_error(state, "%s is not cpu, as, nofile, nproc, fsize or core=VALUE", arg);
        return 0;
    case OUTPUT_LIMIT:
        options->output_limit = option_number(arg, OUTPUT_LIMIT_MIN, OUTPUT_LIMIT_MAX, state);
        return 0;
    case ROTATE:
        if (rotate_read(arg, &options->rotate) < 0)
            argp_error(state, "%s is not a size such as 10M or 64k:5", arg);
        return 0;
    case REPORT:
        if (options->report_count == REPORTS_MAX)
            argp_error(state, "more than %d reports", REPORTS_MAX);
        options->reports[options->report_count++] = arg;
        return 0;
    case JOURNAL: options->journal = arg; return 0;
    case CGROUP: options->cgroup = true; return 0;
    case DURABLE: options->durable = true; return 0;
    case HALT:
        if (halt_read(arg, &options->halt) < 0)
            argp_error(state,
                       "%s is not never, or now or soon, a comma, and fail=, success= or "
                       "done= with a number, as in now,fail=1",
                       arg);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* ---- run ---- */

static const struct argp_option run_table[] = {
    { "on-failure", ON_FAILURE, "WHAT", 0,
      "skip who needs a job that failed (skip-dependents), nobody (keep-going), or stop all "
      "(fail-fast)",
      2 },
    { "resource", RESOURCE, "NAME=AMOUNT", 0, "Jobs that run take no more of it together", 1 },
    { "retry-failed", RETRY_FAILED, NULL, 0, "Of resume: jobs that failed are run again", 2 },
    { 0 },
};

static error_t read_run(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = options; return 0;
    case ON_FAILURE:
        if (failure_policy_read(arg, &options->on_failure) < 0)
            argp_error(state, "%s is not skip-dependents, keep-going or fail-fast", arg);
        return 0;
    case RESOURCE:
        if (resources_add(&options->resources, arg) < 0)
            argp_error(state, "%s is not a new NAME=AMOUNT, a whole number from 1", arg);
        return 0;
    case RETRY_FAILED: options->retry_failed = true; return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num)
            argp_error(state, "one file at a time: %s", arg);
        options->file = arg;
        return 0;
    case ARGP_KEY_NO_ARGS: argp_error(state, "which file? (- is standard input)"); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* ---- each ---- */

static const struct argp_option each_table[] = {
    { "arg-file", 'a', "FILE", 0, "Take the arguments from this file, one a line", 1 },
    { "null", '0', NULL, 0, "They end with a NUL instead of a line's end", 1 },
    { 0 },
};

/* Words up to ":::" are the command, what follows the arguments. */
static void read_words(struct options *options, int count, char *words[],
                       struct argp_state *state)
{
    options->words = words;
    while (options->word_count < count && strcmp(words[options->word_count], ":::"))
        options->word_count++;
    if (options->word_count == count)
        return;
    options->arguments = words + options->word_count + 1;
    options->argument_count = count - options->word_count - 1;
    for (int i = 0; i < options->argument_count; i++)
        if (!strcmp(options->arguments[i], ":::"))
            argp_error(state, "one list of arguments at a time: there is a second :::");
    if (options->argument_file)
        argp_error(state, "arguments from --arg-file and behind ::: at once");
}

static error_t read_each(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = options; return 0;
    case 'a': options->argument_file = arg; return 0;
    case '0': options->null_separated = true; return 0;
    case ARGP_KEY_ARGS:
        read_words(options, state->argc - state->next, state->argv + state->next, state);
        state->next = state->argc;
        return 0;
    case ARGP_KEY_END:
        if (!options->arguments && !options->argument_file)
            options->argument_file = "-";
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* ---- both ---- */

static const char overview[] =
    "usage: batch run [OPTION...] FILE                          the jobs of a file\n"
    "       batch resume [OPTION...] JOURNAL                     what a kill has left of them\n"
    "       batch each [OPTION...] COMMAND... [::: ARGUMENT...]  one for each argument\n"
    "       batch status SOCKET | cancel SOCKET KEY | wait SOCKET  ask one that runs\n"
    "       batch add SOCKET FILE | replace SOCKET KEY [FILE]    more jobs for it\n"
    "\n"
    "  batch each --jobs=4 'gzip -k {}' ::: *.log\n"
    "  find . -name '*.c' | batch each --keep-order wc -l {}\n"
    "  echo '{\"key\": \"a\", \"shell\": \"make a\"} {\"key\": \"b\", \"shell\": \"make b\", "
    "\"needs\": [\"a\"]}' |\n"
    "    batch run -\n"
    "\n"
    "batch COMMAND --help lists the options; docs/batch.md tells it all.\n";

static const struct argp common_argp = { common, read_common, NULL, NULL, NULL, NULL, NULL };
static const struct argp_child children[] = { { &common_argp, 0, NULL, 0 }, { 0 } };
static const struct argp run_argp = { run_table,
                                      read_run,
                                      "FILE",
                                      "Runs the jobs of a file, each when those that it needs "
                                      "have succeeded. docs/batch.md tells what stands in it.",
                                      children,
                                      NULL,
                                      NULL };
static const struct argp each_argp = {
    each_table,
    read_each,
    "COMMAND... [::: ARGUMENT...]",
    "Runs the command by the shell once for each argument, or line of the standard input."
    "\vIn the command {} is the argument, {.} it without its extension, {/} its last "
    "component, "
    "{//} what is before that, {/.} the last component without its extension, {#} the job's "
    "number, {%} its slot. Without any of them the argument comes last.",
    children,
    NULL,
    NULL
};

static void read_all(struct options *options, bool each, int argc, char *argv[])
{
    argp_parse(each ? &each_argp : &run_argp, argc, argv, each ? ARGP_IN_ORDER : 0, NULL,
               options);
    if (options->dry_run)
        options->jobs = 1; /* in an order in which they could be run */
}

static struct options defaults(void)
{
    return (struct options) { .jobs = option_processors(), .grace_ns = INT64_C(2000000000) };
}

static const struct {
    const char *name, *program;
} commands[] = { [COMMAND_RUN] = { "run", "batch run" },
                 [COMMAND_EACH] = { "each", "batch each" },
                 [COMMAND_RESUME] = { "resume", "batch resume" },
                 [COMMAND_STATUS] = { "status", NULL },
                 [COMMAND_CANCEL] = { "cancel", NULL },
                 [COMMAND_WAIT] = { "wait", NULL },
                 [COMMAND_ADD] = { "add", NULL },
                 [COMMAND_REPLACE] = { "replace", NULL } };
enum { COMMANDS = sizeof commands / sizeof commands[0] };

/* Which command the word is; what is none ends the program. */
static enum batch_command read_command(const char *word)
{
    if (!strcmp(word, "--help") || !strcmp(word, "help")) {
        fputs(overview, stdout);
        exit(0);
    }
    if (!strcmp(word, "--version")) {
        printf("fibermap-batch %s\n", fm_version());
        exit(0);
    }
    int command = 0;
    while (command < COMMANDS && strcmp(word, commands[command].name))
        command++;
    if (command == COMMANDS) {
        fprintf(stderr, "%s%s%s%s", *word ? "batch: no command " : "", word, *word ? "\n" : "",
                overview);
        exit(BATCH_ERROR);
    }
    return (enum batch_command)command;
}

/* The socket, and a key or a file or both. */
static void read_question(struct options *options, int argc, char *argv[])
{
    static const struct {
        const char *rest;
        int least, most;
    } forms[COMMANDS] = { [COMMAND_STATUS] = { "", 1, 1 },
                          [COMMAND_CANCEL] = { " KEY", 2, 2 },
                          [COMMAND_WAIT] = { "", 1, 1 },
                          [COMMAND_ADD] = { " FILE", 2, 2 },
                          [COMMAND_REPLACE] = { " KEY [FILE]", 2, 3 } };
    enum batch_command command = options->command;
    if (argc < forms[command].least || argc > forms[command].most) {
        fprintf(stderr, "batch: usage: batch %s SOCKET%s\n", commands[command].name,
                forms[command].rest);
        exit(BATCH_ERROR);
    }
    options->socket = argv[0];
    options->key = argc > 1 && command != COMMAND_ADD ? argv[1] : NULL;
    options->file = command == COMMAND_ADD ? argv[1] : argc > 2 ? argv[2] : NULL;
}

void options_read(struct options *options, int argc, char *argv[])
{
    argp_err_exit_status = BATCH_ERROR;
    *options = defaults();
    options->command = read_command(argc > 1 ? argv[1] : "");
    options->argc = argc - 1;
    options->argv = argv + 1;
    if (options->command >= COMMAND_STATUS) {
        read_question(options, argc - 2, argv + 2);
        return;
    }
    argv[1] = (char *)commands[options->command].program;
    read_all(options, options->command == COMMAND_EACH, argc - 1, argv + 1);
}

void options_resume(struct options *options, char *begun[])
{
    const struct options now = *options;
    int count = 0;
    while (begun[count])
        count++;
    *options = defaults();
    bool each = !strcmp(begun[0], commands[COMMAND_EACH].program);
    options->command = each ? COMMAND_EACH : COMMAND_RUN;
    read_all(options, each, count, begun);
    const struct resources resources = options->resources;
    const struct rates rates = options->rates;
    options->resources.count = options->rates.count = 0;
    read_all(options, false, now.argc, now.argv);
    if (!options->resources.count)
        options->resources = resources;
    if (!options->rates.count)
        options->rates = rates;
    options->resumed = true;
    options->journal = now.file;
}
