/*
 * schedule_table.c - the first delays of each schedule, in milliseconds
 *
 * Steps each by hand, as if every execution took no time, but where a row says otherwise.
 */
#include <fm/fm.h>
#include <stdio.h>

#define MS INT64_C(1000000)
#define S (1000 * MS)
#define STEPS 7

static bool failed(void *ctx, struct fm_exit exit)
{
    (void)ctx;
    return exit.kind == FM_FAILURE;
}

/* One row; took_ms, if not NULL: how long each execution after the first takes. */
static int row(const char *text, struct fm_schedule *schedule, const int64_t *took_ms)
{
    struct fm_schedule_run run;
    int r = fm_schedule_run_init(&run, schedule); /* -EINVAL if there is none */
    if (r < 0)
        return r;
    fm_schedule_run_seed(&run, 1); /* the same random numbers each time */
    printf("%-52s", text);
    int64_t now = 0, delay;
    for (int i = 0; i < STEPS; i++) {
        if (fm_schedule_next_at(&run, now, fm_ok(NULL), &delay) == FM_SCHEDULE_DONE) {
            printf("     -");
            break;
        }
        printf(" %5lld", (long long)(delay / MS));
        now += delay + (took_ms ? took_ms[i] * MS : 0);
    }
    printf("\n");
    fm_schedule_run_fini(&run);
    fm_schedule_unref(schedule);
    return 0;
}

#define ROW(schedule, took) r |= row(#schedule, fm_schedule_##schedule, took)
/* so that the rows stay short */
#define spaced fm_schedule_spaced_ns
#define linear fm_schedule_linear
#define exponential fm_schedule_exponential
#define recurs fm_schedule_recurs

int main(void)
{
    static const int64_t delays[] = {50 * MS, 10 * MS, 0};
    /* the third execution takes two and a half seconds, the others a tenth of one */
    static const int64_t took[STEPS] = {100, 2500, 100, 100, 100, 100, 100};
    int r = 0;

    ROW(recurs(3), NULL);
    ROW(once(), NULL);
    ROW(forever(), NULL);
    ROW(spaced_ns(S), took);
    ROW(fixed_ns(S), took);
    ROW(windowed_ns(S), took);
    ROW(exponential(100 * MS, 2), NULL);
    ROW(exponential(100 * MS, 1.5), NULL);
    ROW(linear(100 * MS), NULL);
    ROW(fibonacci(100 * MS), NULL);
    ROW(delays(delays, 3), NULL);
    ROW(intersect(linear(100 * MS), spaced(250 * MS)), NULL);
    ROW(intersect(linear(100 * MS), recurs(3)), NULL);
    ROW(union(linear(100 * MS), spaced(250 * MS)), NULL);
    ROW(union(linear(100 * MS), recurs(3)), NULL);
    ROW(compose(spaced(250 * MS), linear(100 * MS)), NULL);
    ROW(and_then(recurs(3), spaced(S)), NULL);
    ROW(jittered(spaced(S)), NULL);
    ROW(up_to_ns(spaced(S), 4 * S), NULL);
    ROW(cap_ns(exponential(100 * MS, 2), S), NULL);
    ROW(reset_after_ns(exponential(100 * MS, 2), 2 * S), took);
    ROW(while(spaced(S), failed, NULL), NULL);
    ROW(until(recurs(3), failed, NULL), NULL);
    return r < 0;
}
