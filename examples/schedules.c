/*
 * schedules.c - a flaky service, called with retry, repeat, timeout and race
 *
 * Virtual time: the program is over at once, and the times it prints are always the same.
 */
#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>
#include <string.h>

#include "virtual.h"

#define MS INT64_C(1000000)

static char said[1024]; /* what the program has said, to be compared at its end */

static void say(const char *what, long long number)
{
    size_t used = strlen(said);
    snprintf(said + used, sizeof said - used, "%5lld ms  %s %lld\n",
             (long long)(fm_now_ns() / MS), what, number);
}

/* A service that is down for the first second, and answers after 30 ms. */
static struct fm_exit call_service(void *arg)
{
    struct fm_schedule_info info = {0};
    fm_schedule_current(&info); /* which try is this? */
    say("try", (long long)info.recurrence);
    int r = fm_sleep_ms(30);
    if (r < 0)
        return fm_fail(r); /* interrupted: never retried */
    return fm_now_ns() < 1000 * MS ? fm_fail(-EAGAIN) : fm_ok(arg);
}

/* Only what may pass is worth another try. */
static bool may_pass(void *ctx, struct fm_exit exit)
{
    (void)ctx;
    return exit.code == -EAGAIN || exit.code == -ETIMEDOUT;
}

/* 100 ms, 200 ms, 400 ms, at most 1 s; five tries more, none after ten seconds. */
static struct fm_schedule *patience(void)
{
    struct fm_schedule *s = fm_schedule_exponential(100 * MS, 2);
    s = fm_schedule_cap_ns(s, 1000 * MS);
    s = fm_schedule_intersect(s, fm_schedule_recurs(5));
    s = fm_schedule_up_to_ns(s, 10000 * MS);
    return fm_schedule_while(s, may_pass, NULL); /* NULL if any of these was */
}

static struct fm_exit get_answer(void *arg)
{
    struct fm_schedule *schedule = patience();
    struct fm_exit exit = fm_fail(-ENOMEM);
    if (schedule) {
        int r = fm_retry(call_service, arg, schedule, &exit);
        if (r < 0)
            exit = fm_fail(r); /* interrupted between two tries */
    }
    fm_schedule_unref(schedule);
    return exit;
}

/* A report each second, whatever it takes. */
static struct fm_exit report(void *arg)
{
    (void)arg;
    say("report", fm_now_ns() / (1000 * MS));
    int r = fm_sleep_ms(300);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static struct fm_exit keep_reporting(void *arg)
{
    struct fm_schedule *every_second = fm_schedule_windowed_ns(1000 * MS);
    struct fm_exit exit = fm_fail(-ENOMEM);
    (void)arg;
    if (every_second) {
        int r = fm_repeat(report, NULL, every_second, &exit);
        if (r < 0)
            exit = fm_fail(r);
    }
    fm_schedule_unref(every_second);
    return exit;
}

static struct fm_exit program(void *arg)
{
    static int answer = 42;
    struct fm_exit exit;
    size_t winner;

    /* Retry until the service is up. */
    int r = fm_timeout(get_answer, &answer, fm_after_s(5), &exit);
    if (r < 0 || exit.kind != FM_SUCCESS)
        return fm_fail(r < 0 ? r : -EPROTO);
    say("answer", *(int *)exit.value);

    /* Whichever is first; the loser has ended when fm_race returns. */
    const struct fm_task tasks[] = {{get_answer, &answer}, {keep_reporting, NULL}};
    r = fm_race(tasks, 2, &winner, &exit);
    if (r < 0)
        return fm_fail(r);
    say("winner", (long long)winner);

    /* A report now, and each second from its end on, for three and a half seconds. */
    r = fm_timeout(keep_reporting, NULL, fm_after_ms(3500), &exit);
    say("timed out", r == -ETIMEDOUT);
    return fm_ok(arg);
}

static const char expected[] = "    0 ms  try 0\n"
                               "  130 ms  try 1\n"
                               "  360 ms  try 2\n"
                               "  790 ms  try 3\n"
                               " 1620 ms  try 4\n"
                               " 1650 ms  answer 42\n"
                               " 1650 ms  try 0\n"
                               " 1650 ms  report 1\n"
                               " 1680 ms  winner 0\n"
                               " 1680 ms  report 1\n"
                               " 2980 ms  report 2\n"
                               " 3980 ms  report 3\n"
                               " 4980 ms  report 4\n"
                               " 5180 ms  timed out 1\n";

int main(void)
{
    int failed = run_virtually(program, 1);
    fputs(said, stdout);
    return failed || strcmp(said, expected) != 0;
}
