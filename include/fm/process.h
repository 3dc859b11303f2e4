/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fm/process.h - child processes, and signals that fibers wait for
 *
 * A process is started, waited for, signalled and given back through a handle. It never becomes
 * a zombie for longer than its handle lives: a handle that is destroyed early is reaped behind
 * the scenes. No other child of the program is touched; a program that reaps or ignores them
 * all by itself (waitpid(-1), SIGCHLD set to SIG_IGN) takes our children's statuses too, which
 * then read -ECHILD.
 *
 * From fibers and threads alike, where nothing else is said. docs/processes.md shows it all in
 * use.
 */
#ifndef FM_PROCESS_H
#define FM_PROCESS_H

#include <sys/select.h> /* sigset_t, in strict C too */
#include <sys/types.h>

#include "fm/base.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fm_process;

/* ---- starting ---- */

/* What stands behind a child's standard input, output or error. */
enum fm_stdio_kind {
    FM_STDIO_INHERIT = 0, /* what stands behind ours */
    FM_STDIO_NULL = 1,    /* /dev/null */
    FM_STDIO_PIPE = 2,    /* a pipe whose other end is fm_process_fd() */
    FM_STDIO_FD = 3,      /* `fd`, which stays the caller's */
    FM_STDIO_STDOUT = 4,  /* of err alone: wherever out goes */
};
struct fm_stdio {
    uint32_t kind; /* enum fm_stdio_kind */
    int32_t fd;    /* of FM_STDIO_FD; 0 otherwise */
};

/* process_spec.flags */
/* leads a process group of its own: fm_process_kill and fm_process_stop reach all of it */
#define FM_PROCESS_GROUP 1u
/* `env` is laid over the environment of this program instead of taking its place */
#define FM_PROCESS_ENV_ADD 2u
/* the process goes on when its handle is destroyed */
#define FM_PROCESS_DETACHED 4u
/*
 * a fiber's own worker starts it, not a thread of the blocking pool: less work, for programs
 * that are in memory; until the program runs no other fiber does on this worker
 */
#define FM_PROCESS_IN_PLACE 8u

/* setrlimit(2) in the child before its program begins. UINT64_MAX: no limit. */
struct fm_process_limit {
    int32_t resource;    /* RLIMIT_CPU, RLIMIT_AS ... */
    uint32_t reserved;   /* 0 */
    uint64_t soft, hard; /* soft is not above hard */
};

/*
 * What to run: `argv` or `shell`, exactly one of them. Nothing is kept after the call.
 *
 * Whatever this program does with signals and descriptors, the child starts with every signal
 * at its default and unblocked, and with no descriptors but 0, 1 and 2.
 */
struct fm_process_spec {
    uint32_t size;           /* set by FM_PROCESS_SPEC_INIT */
    uint32_t flags;          /* FM_PROCESS_... */
    const char *const *argv; /* ends with NULL; has at least argv[0] */
    const char *program;     /* NULL: argv[0]. Without a slash it is found by our PATH */
    const char *shell;       /* a command line for /bin/sh */
    const char *const *env;  /* "NAME=value", ends with NULL; NULL: as ours */
    const char *directory;   /* to start in, also for a relative `program`; NULL: ours */
    struct fm_stdio in, out, err;
    /*
     * Sent to the child when this program dies, however it dies, or when its runtime is shut
     * down; for a process that was spawned by a thread: when that thread ends; with
     * FM_PROCESS_IN_PLACE: also when its worker does, see fm_runtime_resize(). 0: none. Lost
     * when the child runs a set-user-id file.
     */
    int32_t death_signal;
    uint32_t limit_count;    /* of limits */
    const struct fm_process_limit *limits; /* NULL: ours */
};
#define FM_PROCESS_SPEC_INIT {.size = sizeof(struct fm_process_spec)}

/*
 * fm_process_spawn - start a program
 *
 * Returns when the child runs the program, or could not: then the error of the step that
 * failed is the result and no child is left.
 *
 * spec         what and how; required.
 * ret_process  required; the handle, to be given back with fm_process_destroy().
 *
 * Returns    0
 *            -ENOENT (no such program or directory) · -EACCES · -ENOEXEC · -ENOTDIR ...
 *            as execve(2), chdir(2), setrlimit(2)
 *            -EINVAL · -EBADF (FM_STDIO_FD) · -EMFILE, -ENFILE · -ENOMEM · -EAGAIN (too many
 *            processes) · -ECANCELED (interrupted before anything was done) · -EPERM after fork
 * Waits      for a thread of the blocking pool, which an interruption ends, and there for the
 *            exec, which nothing ends; with FM_PROCESS_IN_PLACE for the exec alone.
 */
FM_API int fm_process_spawn(const struct fm_process_spec *spec,
                            struct fm_process **ret_process);

/* The process id; it may be another's once fm_process_wait has returned 0. 0 for NULL. */
FM_API pid_t fm_process_id(const struct fm_process *process);

/*
 * Our end of the child's descriptor `which` (0 its input, 1 its output, 2 its error) if that is
 * a pipe, for fm_write and fm_read: borrowed, closed with the handle. Where a thread spawned
 * the process it is blocking until a fiber uses it, for read(2) and write(2). The number ·
 * -EBADF there is none (any more) · -EINVAL
 */
FM_API int fm_process_fd(const struct fm_process *process, int which);
/* The same, from now on the caller's, to be closed with fm_close. */
FM_API int fm_process_take_fd(struct fm_process *process, int which);
/*
 * Close it now: the child reads the end of its input, or writes to nobody. 0 · -EBADF · -EINVAL
 */
FM_API int fm_process_close_fd(struct fm_process *process, int which);

/* ---- its end ---- */

enum fm_process_end {
    FM_PROCESS_EXITED = 0,   /* status.code is its exit code */
    FM_PROCESS_SIGNALLED = 1 /* status.code is the signal that ended it */
};

struct fm_process_status {
    uint32_t kind;         /* enum fm_process_end */
    int32_t code;
    uint32_t core_dumped;  /* 1: it left a core */
    uint32_t reserved;
    /* what it and the children that it waited for have used */
    int64_t user_ns;
    int64_t system_ns;
    int64_t max_rss_bytes; /* of the largest of them */
    int64_t minor_faults;
    int64_t major_faults;
};

/*
 * fm_process_wait - wait for the end of a process
 *
 * Any number of callers may wait at once and again: all are told the same status. A process
 * that is stopped (SIGSTOP) has not ended.
 *
 * Returns    0, ret_status written · -ETIMEDOUT · -ECANCELED · -ECHILD (somebody else in this
 *            program has reaped it: the status is lost) · -ENOSPC, -ENOMEM (the poller cannot
 *            register it) · -EINVAL · -EPERM after fork
 * Order      a process that has ended is told before a deadline or an interruption is looked
 *            at.
 */
FM_API int fm_process_wait(struct fm_process *process, int64_t deadline_ns,
                           struct fm_process_status *ret_status);

/*
 * Send a signal, to the whole group under FM_PROCESS_GROUP; 0 asks whether that could be done.
 * Never to somebody else: 0 · -ESRCH its end has been collected · -EPERM · -EINVAL
 */
FM_API int fm_process_kill(struct fm_process *process, int signo);

/*
 * fm_process_stop - end a process: SIGTERM, and SIGKILL after a while
 *
 * A process that was stopped is continued so that it sees the SIGTERM. Under FM_PROCESS_GROUP
 * all this goes to the group, and what is left of it when its leader has ended is killed.
 *
 * grace_ns   how long it has between the two; 0: SIGKILL at once.
 *
 * Returns    0, ret_status written: how it ended, be it by itself · -EPERM (it runs as somebody
 *            else: not ended) · -ECHILD, -ENOSPC, -ENOMEM as fm_process_wait (killed) · -EINVAL
 * Waits      for the end; an interruption does not shorten the grace, so that it can be
 *            called by who was interrupted.
 */
FM_API int fm_process_stop(struct fm_process *process, int64_t grace_ns,
                           struct fm_process_status *ret_status);

/*
 * Give the handle back; nobody may be using it. Our ends of the pipes are closed. A process
 * that still runs is killed with SIGKILL, its group too, and reaped without the caller waiting
 * for it (a thread waits); shutting down the runtime waits until it is gone. With
 * FM_PROCESS_DETACHED it goes on, and is reaped when it ends; if its runtime ends first: at a
 * later spawn, destroy or end of a runtime. NULL-safe, returns NULL.
 */
FM_API struct fm_process *fm_process_destroy(struct fm_process *process);

/* ---- from start to end ---- */

struct fm_process_run_options {
    uint32_t size;        /* set by FM_PROCESS_RUN_OPTIONS_INIT */
    uint32_t flags;       /* 0 */
    const void *input;    /* written to its input, which then ends; NULL: spec->in holds */
    size_t input_bytes;
    size_t output_max;    /* bytes kept of its output, and as many of its error; 0: 1 MiB */
    int64_t grace_ns;     /* between SIGTERM and SIGKILL; 0: two seconds */
};
#define FM_PROCESS_RUN_OPTIONS_INIT {.size = sizeof(struct fm_process_run_options)}

/* process_output.flags: there was more, beyond output_max or held open past the grace */
#define FM_OUTPUT_OUT_CUT 1u
#define FM_OUTPUT_ERR_CUT 2u

struct fm_process_output {
    struct fm_process_status status;
    char *out, *err; /* what it said; a NUL follows the last byte */
    size_t out_bytes, err_bytes;
    uint32_t flags;  /* FM_OUTPUT_... */
    uint32_t reserved;
};

/* Positive outcome of fm_process_run: it was stopped at the deadline. */
#define FM_PROCESS_STOPPED 1

/*
 * fm_process_run - run a program to its end and collect what it says
 *
 * Its output and its error are collected where spec says FM_STDIO_INHERIT or FM_STDIO_PIPE;
 * what goes beyond output_max is read and thrown away. At the deadline it is stopped as by
 * fm_process_stop. When it has ended and others still hold its output open, they have grace_ns
 * to say their last words.
 *
 * ret_output  required; to be given back with fm_process_output_free().
 *
 * Returns    0 it ended by itself, whatever its status · FM_PROCESS_STOPPED the deadline came,
 *            it was stopped, ret_output holds what it said until then · -ECANCELED it was
 *            stopped because the caller was interrupted · as fm_process_spawn, fm_process_wait,
 *            fm_read (it has ended) · -ETIMEDOUT it was not started: the deadline was over, or
 *            came before a thread of the blocking pool was free
 * Callers    fiber only.
 */
FM_API int fm_process_run(const struct fm_process_spec *spec,
                          const struct fm_process_run_options *options, int64_t deadline_ns,
                          struct fm_process_output *ret_output);
FM_API void fm_process_output_free(struct fm_process_output *output);

/* ---- signals ---- */

/*
 * fm_signal_block - keep these signals for fm_signal_wait
 *
 * Blocks them in the calling thread and in those that it makes from now on: to be called at the
 * start of main, before there is any other thread. The runtime's own threads have every such
 * signal blocked already. A signal that just one thread of the program lets through does there
 * what it always did, and nobody who waits for it hears of it. 0 · -EINVAL
 */
FM_API int fm_signal_block(const sigset_t *set);

/*
 * fm_signal_wait - wait until one of these signals comes to this program
 *
 * Each signal is given to one waiter. One that came while nobody waited is kept: the
 * standard ones once, however often they came; the real-time ones each time. Signals to one
 * thread (raise, pthread_kill) are not seen.
 *
 * set        blocked as fm_signal_block says; not empty, without SIGKILL and SIGSTOP.
 *
 * Returns    0, ret_signo written · -ETIMEDOUT · -ECANCELED (no signal is taken then) ·
 *            -EMFILE, -ENFILE, -ENOMEM, -ENOSPC · -EINVAL
 */
FM_API int fm_signal_wait(const sigset_t *set, int64_t deadline_ns, int *ret_signo);

#ifdef __cplusplus
}
#endif
#endif
