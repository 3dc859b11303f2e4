/* Children as fibers see them: from start to end, in conversation, under a key; and signals. */
#include <fm/fm.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define S INT64_C(1000000000)

/* From start to end: input, output, a deadline, a bound. */
static int sort_words(void)
{
    const char *const argv[] = {"sort", "-r", NULL};
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    struct fm_process_run_options options = FM_PROCESS_RUN_OPTIONS_INIT;
    struct fm_process_output output;

    spec.argv = argv;
    options.input = "ant\nbee\ncat\n";
    options.input_bytes = 12;
    options.output_max = 4096;
    int r = fm_process_run(&spec, &options, fm_after_s(10), &output);
    if (r < 0)
        return r; /* sort could not be started, or we were interrupted */
    if (r == FM_PROCESS_STOPPED)
        printf("sort took too long\n");
    else if (output.status.kind == FM_PROCESS_EXITED)
        printf("sort ended with %d and said %.3s\n", output.status.code, output.out);
    fm_process_output_free(&output);
    return 0;
}

/* In conversation: both ends of its pipes are descriptors like any other. */
static int converse(void)
{
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    struct fm_process *process;
    char answer[12] = "";

    spec.shell = "while read name; do echo \"hello $name\"; done";
    spec.in.kind = spec.out.kind = FM_STDIO_PIPE;
    int r = fm_process_spawn(&spec, &process);
    if (r < 0)
        return r;
    ssize_t n = fm_write_full(fm_process_fd(process, 0), "world\n", 6, fm_after_s(10), NULL);
    if (n > 0)
        n = fm_read_full(fm_process_fd(process, 1), answer, 11, fm_after_s(10), NULL);
    printf("it answered %.11s\n", n > 0 ? answer : "nothing");
    fm_process_close_fd(process, 0); /* the end of its input */
    struct fm_process_status status;
    r = fm_process_wait(process, fm_after_s(10), &status);
    if (r == 0)
        printf("it ended with %d\n", status.code);
    fm_process_destroy(process); /* would kill it if it still ran */
    return r;
}

/* Whatever ends the fiber ends the process, and awaits that. */
static int stop_it(void *process, struct fm_exit exit)
{
    struct fm_process_status status;
    (void)exit;
    int r = fm_process_stop(process, 2 * S, &status);
    if (r == 0)
        printf("stopped by signal %d\n", status.code);
    fm_process_destroy(process);
    return r;
}

static struct fm_exit serve(void *command)
{
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    struct fm_process *process;

    spec.shell = command;
    spec.flags = FM_PROCESS_GROUP; /* the shell and all that it starts */
    spec.death_signal = SIGKILL;   /* nor does it outlive this program */
    int r = fm_process_spawn(&spec, &process);
    if (r < 0)
        return fm_fail(r);
    r = fm_defer(stop_it, process);
    if (r < 0) {
        fm_process_destroy(process);
        return fm_fail(r);
    }
    fm_ready();
    r = fm_process_wait(process, FM_NEVER, NULL);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

/* One service under the key; in this program none runs there yet. 0: it is up. */
static int run_service(struct fm_map *services, const char *command)
{
    struct fm_fiber *fiber;
    int r = fm_map_run(services, fm_key_str("web"), serve, (void *)command, NULL, &fiber);
    if (r < 0)
        return r;
    int up = fm_fiber_await_ready(fiber, fm_after_s(10));
    fm_fiber_unref(fiber);
    return up < 0 ? up : r;
}

/* SIGTERM ends the program in order; SIGHUP would make it read its settings again. */
static int until_terminated(void)
{
    sigset_t set;
    int signo;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    for (;;) {
        int r = fm_signal_wait(&set, FM_NEVER, &signo);
        if (r < 0)
            return r;
        printf("signal %d\n", signo);
        if (signo == SIGTERM)
            return 0;
    }
}

static struct fm_exit program(void *arg)
{
    struct fm_map *services;

    int r = sort_words();
    if (r == 0)
        r = converse();
    if (r == 0)
        r = fm_map_create_scoped(NULL, &services);
    if (r < 0)
        return fm_fail(r);
    r = run_service(services, "sleep 60");
    if (r == 0)
        r = fm_map_remove(services, fm_key_str("web"), FM_NEVER); /* its process has gone too */
    if (r == 0)
        r = run_service(services, "sleep 60");
    kill(getpid(), SIGHUP);
    kill(getpid(), SIGTERM); /* as somebody else would */
    if (r == 0)
        r = until_terminated();
    return r < 0 ? fm_fail(r) : fm_ok(arg); /* the map closes: the service is stopped */
}

int main(void)
{
    struct fm_exit exit;
    sigset_t set;

    setvbuf(stdout, NULL, _IOLBF, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    fm_signal_block(&set); /* before there is a second thread */
    return fm_run(program, NULL, &exit) < 0 || exit.kind != FM_SUCCESS;
}
