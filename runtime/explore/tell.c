/*
 * tell.c - how a schedule failed, in words
 */
#include "runtime/explore/tell.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "fm/fiber.h"
#include "runtime/explore/trace.h"

const char *fm_explore_kind_name(int kind)
{
    static const char *const names[] = { "passed",  "failed", "deadlock", "step limit",
                                         "crashed", "stuck",  "diverged" };
    return kind >= 0 && kind < (int)(sizeof names / sizeof *names) ? names[kind] : "unknown";
}

static void copy_notes(int notes_fd)
{
    char bytes[4096];
    ssize_t n;

    for (off_t at = 0; (n = pread(notes_fd, bytes, sizeof bytes, at)) > 0; at += n)
        if (write(STDERR_FILENO, bytes, (size_t)n) < 0)
            return;
}

void fm__tell_failure(const char *name, const struct fm_explore_report *report,
                      const struct play *play)
{
    dprintf(STDERR_FILENO, "%s: schedule %" PRIu64 ": %s", name, report->schedules,
            fm_explore_kind_name((int)report->kind));
    if (report->kind == FM_EXPLORE_FAILED && report->code < 0)
        /* of check(), or of the runtime that could not be made */
        dprintf(STDERR_FILENO, " (%s)", fm_strerror(report->code));
    else if (report->kind == FM_EXPLORE_FAILED)
        dprintf(STDERR_FILENO, " (%s%s%s)", fm_exit_kind_name(report->exit.kind),
                report->exit.code ? ", " : "",
                report->exit.code ? fm_strerror(report->exit.code) : "");
    else if (report->code)
        dprintf(STDERR_FILENO, " (%d)", report->code);
    dprintf(STDERR_FILENO, " after %" PRIu64 " steps\n", play->result->log.steps);
    if (report->kind == FM_EXPLORE_DEADLOCK || report->kind == FM_EXPLORE_STEP_LIMIT ||
        report->kind == FM_EXPLORE_STUCK)
        fm__trace_seats(&play->result->log, STDERR_FILENO);
    if (play->notes_fd >= 0)
        copy_notes(play->notes_fd);
    if (*report->replay)
        dprintf(STDERR_FILENO, "again, with its trace: FM_EXPLORE='%s=%s' %s\n", name,
                report->replay, program_invocation_name);
}
