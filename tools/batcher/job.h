/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.h - what is to be done, and how it went
 *
 * What is to be done is written before the first job starts and never again. How it went is
 * written by the job's own fiber, its state by the conductor under his lock.
 */
#ifndef BATCH_JOB_H
#define BATCH_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fm/process.h"
#include "fm/schedule.h"
#include "tools/batcher/rotate.h"

struct batch;
struct call;
struct limits;
struct readiness;
struct restart;
struct run;
struct template;

/* Those from JOB_SUCCEEDED on are ends. The numbers stand in journals. */
enum job_state {
    JOB_WAITING, /* for what it needs */
    JOB_READY,   /* for a place, a slot, or its next attempt */
    JOB_RUNNING,
    JOB_SUCCEEDED, /* exit code 0 */
    JOB_FAILED,    /* another one, a signal, or it could not be started */
    JOB_TIMED_OUT,
    JOB_CANCELLED, /* it was stopped, by a signal to us or because another one failed */
    JOB_SKIPPED,   /* something that it needs did not succeed */
    JOB_NOT_RUN,   /* all came to an end before it was its turn */
    JOB_STOPPED,   /* a service that nobody needs any more */
    JOB_REPLACED,  /* another job took its key while it waited or ran */
    JOB_STATES
};
const char *job_state_name(enum job_state state);

/* What the failure of a job is to the others. */
enum failure_policy {
    FAILURE_UNSAID = 0, /* the batch's own, and of that: FAILURE_SKIP */
    FAILURE_SKIP,       /* who needs it is skipped, everybody else goes on */
    FAILURE_CONTINUE,   /* everybody goes on, also who needs it */
    FAILURE_STOP        /* those that run are stopped, no other starts */
};

/* "skip-dependents", "keep-going", "fail-fast": 0 · -EINVAL */
int failure_policy_read(const char *text, enum failure_policy *ret_policy);

/* What it is to be where another job has its key: as the options of fm_map_run(). */
enum conflict_policy {
    CONFLICT_ERROR = 0, /* refused */
    CONFLICT_REPLACE,   /* it takes that one's place */
    CONFLICT_KEEP,      /* it is left out */
    CONFLICT_QUEUE,     /* it starts when that one has ended, whatever became of it */
    CONFLICT_JOIN       /* as KEEP, but one that is being stopped is waited for */
};

/* "error", "replace", "keep", "queue", "join": 0 · -EINVAL */
int conflict_policy_read(const char *text, enum conflict_policy *ret_policy);

enum retry_kind { RETRY_FIXED, RETRY_EXPONENTIAL };

struct retry {
    unsigned times; /* after the first attempt; 0: none */
    enum retry_kind kind;
    bool jitter;
    int64_t delay_ns;
    int64_t max_delay_ns; /* 0: none */
    double factor;        /* of RETRY_EXPONENTIAL */
};

/* How the last attempt went. */
struct ending {
    int error;        /* < 0: it could not be run at all */
    const char *step; /* which step of it failed */
    bool timed_out;
    bool stopped;  /* it was interrupted */
    bool late;     /* a service: not ready in time, and so stopped */
    bool early;    /* a service: it ended before it was ready */
    unsigned slot; /* 1 to --jobs */
    struct fm_process_status status;
    int64_t started_at_ns; /* since 1970 */
    int64_t run_ns;
    size_t out_bytes, err_bytes;
    size_t cut_bytes; /* of both; left out */
};

/* Of what is kept of outputs, in bytes. */
enum { OUTPUT_LIMIT_MIN = 16, OUTPUT_LIMIT_MAX = 1 << 30 };

/* What it takes of a resource while it is under way. */
struct share {
    char *name;
    int64_t amount;
    unsigned resource; /* its place in struct resources, from resources_bind() */
};

struct job {
    struct batch *batch;
    char *key;
    uint64_t number;     /* 1, 2, 3 ... in the order in which they came */
    char *definition;    /* its object of JSON, as it stood in the file; NULL: not kept */
    size_t line, column; /* where it stood there */
    unsigned generation; /* 0: of the file; otherwise the addition that brought it */

    /* the command: one of the four */
    struct call *call;
    char **argv;
    char *shell;
    const struct template *template; /* the batch's, filled with the argument */
    char *argument;

    char **env; /* NAME=value, laid over ours; NULL: none */
    char *directory;
    char *input; /* text for its standard input */
    char *input_file;
    char **needs;          /* keys; NULL: none */
    int64_t timeout_ns;    /* of each attempt; 0: the batch's */
    size_t output_limit;   /* bytes of each attempt's output and error; 0: the batch's */
    struct rotate rotate;  /* of each attempt's; bytes 0: the batch's */
    struct limits *limits; /* NULL: the batch's */
    struct retry retry;
    bool has_retry; /* false: the batch's */
    enum failure_policy on_failure;
    enum conflict_policy conflict;
    struct restart *restart;     /* of a service; NULL: it is none */
    struct readiness *readiness; /* of a service; NULL: ready when its process runs */

    struct share *shares;
    size_t share_count;
    char *rate; /* whose permits its attempts take; NULL: none but that of all jobs */

    /* the graph, plan.c */
    struct job **dependents;
    size_t dependent_count;
    size_t unmet; /* needs that have not ended, and who is before it under its key: the lock */
    uint64_t replaces;          /* the number of the job whose place it takes; 0: nobody's */
    struct job *before, *after; /* it under the same key; NULL: nobody */
    const struct job *blocker;  /* of a skipped one: what did not succeed */

    /* how it goes: the conductor's lock */
    enum job_state state;
    bool taken;                 /* its fiber has been started, or is about to be */
    bool cancelled;             /* by its key */
    bool replaced;              /* another job has its key */
    bool dismissed;             /* a service: nobody needs it any more */
    bool up;                    /* a service: it runs, and is ready */
    size_t served;              /* a service: so many of its first dependents have ended */
    struct fm_process *process; /* while an attempt runs */
    TAILQ_ENTRY(job) in_state;  /* ready, or running */
    TAILQ_ENTRY(job) in_services;

    unsigned attempts;
    bool permitted; /* the conductor has taken the permits of its next attempt */
    struct ending ending;
    struct run *runs; /* runs.c; where a report is wanted */
    size_t run_count;

    STAILQ_ENTRY(job) in_plan;
};

/* All fields zero but the number. NULL: no memory. */
struct job *job_create(uint64_t number);
/* NULL-safe, returns NULL. */
struct job *job_destroy(struct job *job);
void strings_free(char **strings);
/*
 * The schedule between the attempts, the caller's; NULL: no memory, or a figure out of range.
 */
struct fm_schedule *retry_schedule(const struct retry *retry);
/* Nanoseconds since 1970. */
int64_t wall_ns(void);
/* "key" in its quotes, or number (argument), cut to fit. */
void job_name(const struct job *job, char *text, size_t size);
/* "exit code 3", "signal 9 (Killed)", "no such file or directory" ..., cut to fit. */
void job_describe_end(const struct job *job, char *text, size_t size);
/* What it makes of the attempt. */
enum job_state ending_state(const struct ending *ending);
/* The number a shell would show: the exit code, 128 + signal, 127 or 126. */
int ending_code(const struct ending *ending);

#endif
