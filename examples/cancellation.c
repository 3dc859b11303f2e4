#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>

struct job {
    int parts;     /* written so far */
    int committed; /* of those, the ones that the index knows */
    int closed;
};

static int close_file(void *arg, struct fm_exit exit)
{
    struct job *job = arg;
    job->closed = 1;
    printf("closed after %d parts: %s, by %s\n", job->parts, fm_exit_kind_name(exit.kind),
           fm_reason_name(exit.reason));
    return 0;
}

/* Two writes that belong together: no interruption comes between them. */
static int write_part(struct job *job)
{
    fm_mask();
    job->parts++;
    fm_sleep_ms(1); /* completes, interrupted or not */
    job->committed++;
    fm_unmask();
    return fm_check();
}

static struct fm_exit write_for_ever(void *arg)
{
    struct job *job = arg;
    int r = fm_defer(close_file, job); /* runs however this body ends */
    while (r == 0) {
        r = write_part(job);
        if (r == 0)
            r = fm_sleep_ms(5); /* -ECANCELED as soon as somebody interrupts */
    }
    return fm_fail(r); /* -ECANCELED with a mark pending is an interruption */
}

static struct fm_exit program(void *arg)
{
    struct job job = { 0 };
    struct fm_fiber *writer;
    struct fm_exit exit;

    if (fm_fiber_spawn(write_for_ever, &job, NULL, &writer) < 0)
        return fm_fail(-ENOMEM);
    fm_sleep_ms(30);
    fm_fiber_stop(writer, FM_NEVER, &exit); /* signals, then waits for finalizers too */
    fm_fiber_unref(writer);
    if (exit.kind != FM_INTERRUPTED || exit.reason != FM_BY_USER || !job.closed ||
        job.parts == 0 || job.parts != job.committed)
        return fm_fail(-EPROTO);
    return fm_ok(arg);
}

int main(void)
{
    struct fm_exit exit;
    return fm_run(program, NULL, &exit) < 0 || exit.kind != FM_SUCCESS;
}
