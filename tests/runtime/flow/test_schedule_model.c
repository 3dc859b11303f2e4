/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_schedule_model.c - random expressions beside a model that is written the plain way
 *
 * The model keeps each part's state in the part, and begins anew by clearing it part by part; so
 * it shares nothing with the cells of the real one, where each part's place is computed. Both
 * are asked at the same random times. FM_SEED repeats a run.
 */
#include <errno.h>
#include <inttypes.h>

#include "tests/support/fibers.h"
#include "tests/support/stress.h"

enum kind {
    RECURS,
    FOREVER,
    FIXED,
    SPACED,
    WINDOWED,
    EXPONENTIAL,
    LINEAR,
    FIBONACCI,
    DELAYS,
    LEAVES,
    INTERSECT = LEAVES,
    UNION,
    COMPOSE,
    AND_THEN,
    CAP,
    UP_TO,
    RESET_AFTER,
    WHILE,
    KINDS
};

enum { PARTS = 200, DEPTH = 7, DELAY_COUNT = 5 };

struct part {
    enum kind kind;
    int64_t n;
    struct part *a, *b;
    /* state */
    bool begun, over;
    int64_t count, at, last, before;
};

static struct part parts[PARTS];
static int part_count;
static uint64_t seed;
static int64_t delays[DELAY_COUNT];
static bool answer; /* of the predicate */

static int64_t below(int64_t n)
{
    return (int64_t)(stress_random(&seed) % (uint64_t)n);
}

static bool pred(void *ctx, struct fm_exit exit)
{
    (void)ctx;
    return exit.code == 1;
}

/* ---- the model ---- */

static void clear(struct part *part)
{
    part->begun = part->over = false;
    part->count = part->at = part->last = part->before = 0;
    if (part->a)
        clear(part->a);
    if (part->b)
        clear(part->b);
}

/* When the last execution was to begin; -1 before the first step. */
static int64_t planned;

static int64_t model(struct part *part, int64_t now)
{
    int64_t a, b;
    bool first = !part->begun;

    switch (part->kind) {
    case RECURS: return part->count++ < part->n ? 0 : -1;
    case FOREVER: return 0;
    case SPACED: return part->n;
    case LINEAR: return part->n * ++part->count;
    case DELAYS: return part->count < DELAY_COUNT ? delays[part->count++] : -1;
    case EXPONENTIAL: return part->n << (part->count < 30 ? part->count++ : 30);
    case FIBONACCI:
        part->before = part->begun ? part->last : 0;
        part->last = part->begun ? part->at : part->n;
        part->at = part->last + part->before; /* the one after this */
        part->begun = true;
        return part->last;
    case WINDOWED:
        part->begun = true;
        part->at = first ? now : part->at;
        for (a = part->at; a <= now; a += part->n)
            ;
        return a - now;
    case FIXED:
        part->begun = true;
        if (first) { /* at: T; last: the time of the grid that was answered last */
            part->at = now;
            part->last = now + part->n;
            return part->n;
        }
        if (now < part->last)
            return part->last - now;
        if (now < part->last + part->n) {
            part->last += part->n;
            return part->last - now;
        }
        while (part->last + part->n <= now)
            part->last += part->n;
        return 0;
    case INTERSECT:
        a = model(part->a, now);
        b = model(part->b, now);
        return a < 0 || b < 0 ? -1 : a > b ? a : b;
    case UNION:
        a = model(part->a, now);
        b = model(part->b, now);
        return a < 0 ? b : b < 0 || a < b ? a : b;
    case COMPOSE:
        a = model(part->a, now);
        if (a < 0)
            return -1;
        b = model(part->b, now);
        return b < 0 ? -1 : a > b ? a : b;
    case AND_THEN:
        a = part->over ? -1 : model(part->a, now);
        part->over = a < 0;
        return part->over ? model(part->b, now) : a;
    case CAP: a = model(part->a, now); return a > part->n ? part->n : a;
    case UP_TO:
        part->begun = true;
        part->at = first ? now : part->at;
        a = model(part->a, now);
        return now - part->at < part->n ? a : -1;
    case RESET_AFTER:
        if (planned >= 0 && now - planned >= part->n)
            clear(part->a);
        return model(part->a, now);
    case WHILE: a = model(part->a, now); return answer ? a : -1;
    case KINDS: break;
    }
    return -1;
}

/* ---- both, at random ---- */

static struct fm_schedule *grow(int depth, struct part **ret_part)
{
    struct part *part = &parts[part_count++];
    bool leaf = depth == 0 || part_count > PARTS - 2 * DEPTH;
    struct fm_schedule *a = NULL, *b = NULL;

    *part = (struct part) { .kind = (enum kind)(leaf ? below(LEAVES) : below(KINDS)),
                            .n = 1 + below(20) };
    *ret_part = part;
    if (part->kind >= LEAVES)
        a = grow(depth - 1, &part->a);
    if (part->kind >= INTERSECT && part->kind <= AND_THEN)
        b = grow(depth - 1, &part->b);
    switch (part->kind) {
    case RECURS: return fm_schedule_recurs(part->n);
    case FOREVER: return fm_schedule_forever();
    case FIXED: return fm_schedule_fixed_ns(part->n);
    case SPACED: return fm_schedule_spaced_ns(part->n);
    case WINDOWED: return fm_schedule_windowed_ns(part->n);
    case EXPONENTIAL: return fm_schedule_exponential(part->n, 2);
    case LINEAR: return fm_schedule_linear(part->n);
    case FIBONACCI: return fm_schedule_fibonacci(part->n);
    case DELAYS: return fm_schedule_delays(delays, DELAY_COUNT);
    case INTERSECT: return fm_schedule_intersect(a, b);
    case UNION: return fm_schedule_union(a, b);
    case COMPOSE: return fm_schedule_compose(a, b);
    case AND_THEN: return fm_schedule_and_then(a, b);
    case CAP: return fm_schedule_cap_ns(a, part->n);
    case UP_TO: part->n *= 50; return fm_schedule_up_to_ns(a, part->n);
    case RESET_AFTER: return fm_schedule_reset_after_ns(a, part->n);
    case WHILE: return fm_schedule_while(a, pred, NULL);
    case KINDS: break;
    }
    return NULL;
}

static int one_expression(void)
{
    struct part *root;
    struct fm_schedule_run run;
    int64_t now = below(1000), delay;
    int steps = 0;

    part_count = 0;
    planned = -1;
    for (int i = 0; i < DELAY_COUNT; i++)
        delays[i] = below(30);
    struct fm_schedule *schedule = grow((int)below(DEPTH), &root);
    cr_assert_neq(schedule, NULL);
    cr_assert_eq(fm_schedule_run_init(&run, schedule), 0);
    for (bool over = false; !over && steps < 25; steps++) {
        answer = below(20) != 0;
        int64_t expected = model(root, now);
        int r = fm_schedule_next_at(&run, now, fm_fail(answer), &delay);
        over = r == FM_SCHEDULE_DONE;
        cr_assert_eq(over ? -1 : delay, expected,
                     "step %d of %d parts at %" PRId64 ": %" PRId64 " instead of %" PRId64,
                     steps, part_count, now, over ? -1 : delay, expected);
        planned = now + (over ? 0 : delay);
        /* the execution takes some time, or the program does not wait for it */
        now = below(10) ? planned + below(25) : now + below(5);
    }
    fm_schedule_run_fini(&run);
    fm_schedule_unref(schedule);
    return steps;
}

TEST(schedule_model, random_expressions_agree_with_the_model)
{
    uint64_t steps = 0, rounds = stress_rounds(10000);
    seed = stress_seed();
    for (uint64_t i = 0; i < rounds; i++)
        steps += (uint64_t)one_expression();
    cr_assert_gt(steps, 3 * rounds, "most expressions end at once");
}
