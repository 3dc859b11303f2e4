/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_batch.c - what tools/batch makes of times, templates, halts and job files, before
 * anything is run
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fm/schedule.h"
#include "tests/support/test.h"
#include "tools/batcher/duration.h"
#include "tools/batcher/halt.h"
#include "tools/batcher/jobfile.h"
#include "tools/batcher/plain.h"
#include "tools/batcher/resources.h"
#include "tools/batcher/template.h"

TEST(batch_duration, units_add_up_and_everything_else_is_refused)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = { { "30", 30000 },    { "1.5", 1500 },   { "250ms", 250 },      { "0", 0 },
                 { "1m30s", 90000 }, { "2h", 7200000 }, { "1d1ms", 86400001 }, { ".5s", 500 } };
    static const char *const bad[] = { "",   "s",     "-1",  "+1",  "1x",       "1m30", "1 s",
                                       "0x", "1e999", "nan", "inf", "9999999d", "0x10" };
    int64_t ns = 0;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        cr_assert_eq(duration_read(good[i].text, &ns), 0, "%s", good[i].text);
        cr_assert_eq(ns, good[i].ms * 1000000, "%s", good[i].text);
    }
    ns = 7;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_lt(duration_read(bad[i], &ns), 0, "%s", bad[i]);
    cr_assert_eq(ns, 7);
}

/* ---- templates ---- */

static void fills(const char *command, const char *argument, const char *wanted)
{
    char *words[] = { (char *)command };
    struct template *template;
    cr_assert_eq(template_create(words, 1, &template), 0);
    char *filled = template_fill(template, argument, 12, 3);
    cr_assert_str_eq(filled, wanted);
    free(filled);
    template_destroy(template);
}

TEST(batch_template, each_place_takes_its_part)
{
    fills("x {} {.} {/} {//} {/.} {#} {%}", "a/b.c/d.tar.gz",
          "x a/b.c/d.tar.gz a/b.c/d.tar d.tar.gz a/b.c d.tar 12 3");
    fills("{.} {/} {//} {/.}", "a.b/c", "a.b/c c a.b c");
    fills("{.} {/.} {//}", "a/.rc", "a/ '' a"); /* as GNU parallel does */
    fills("{//} {/}", "/x", "/ x");
    fills("{//}{//} {/}", "/", "// ''");
    fills("{//} {/} {.}", "a//b/c.d/", "a//b '' a//b/c.d/");
    fills("{//}", "dir/", ".");
    fills("{//}", "//a", "/");
    fills("{//}", "a//b", "a");
    fills("{}{}", "a", "aa");
    fills("echo {} {x} {", "a", "echo a {x} {");
}

TEST(batch_template, without_a_place_the_argument_comes_last)
{
    char *words[] = { (char *)"wc", (char *)"-l" };
    struct template *template;
    cr_assert_eq(template_create(words, 2, &template), 0);
    char *filled = template_fill(template, "f", 1, 1);
    cr_assert_str_eq(filled, "wc -l f");
    free(filled);
    template_destroy(template);
    fills("echo {#}", "a", "echo 12 a");
}

TEST(batch_template, an_argument_is_one_word_of_the_shell)
{
    fills("echo {}", "a b", "echo 'a b'");
    fills("echo {}", "it's $(x) `y` \\ \"", "echo 'it'\\''s $(x) `y` \\ \"'");
    fills("echo {}", "", "echo ''");
    fills("echo {}", "~", "echo '~'");
    fills("echo {.}", "a\nb.c", "echo 'a\nb'");
}

TEST(batch_plain, a_line_that_a_shell_would_only_run_is_split_and_every_other_is_not)
{
    static const struct {
        const char *line, *words[4];
    } plain[] = {
        { "/bin/true", { "/bin/true" } },
        { "  gzip -k  a.log ", { "gzip", "-k", "a.log" } },
        { "wc 'a b' ''", { "wc", "a b", "" } },
        { "x 'it'\\''s $(x)' \\*", { "x", "it's $(x)", "*" } },
        { "sort --key=2 A=1", { "sort", "--key=2", "A=1" } },
    };
    static const char *const shells[] = { "",       " ",      "a;b",     "a|b",      "a>b",
                                          "a &",    "a $b",   "a \"b\"", "a `b`",    "a *",
                                          "a ?",    "a [b]",  "a {b}",   "a ~",      "a #b",
                                          "! a",    "(a)",    "a\nb",    "a\tb",     "A=1 b",
                                          "cd b",   "exit 1", "echo a",  "true",     "[ a ]",
                                          "'cd' b", "a 'b",   "a \\",    "a \\\nb",  "time a",
                                          "if a",   "'' a",   ". ./a",   "a\xc3\xa4" };
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        char **words = plain_words(plain[i].line);
        cr_assert_not_null(words, "%s", plain[i].line);
        size_t n = 0;
        for (; n < 4 && plain[i].words[n]; n++)
            cr_assert_str_eq(words[n], plain[i].words[n], "%s", plain[i].line);
        cr_assert_null(words[n], "%s", plain[i].line);
        free(words);
    }
    for (size_t i = 0; i < sizeof shells / sizeof shells[0]; i++)
        cr_assert_null(plain_words(shells[i]), "%s", shells[i]);
}

/* ---- halts ---- */

TEST(batch_halt, counts_and_percents_are_reached)
{
    struct halt halt;
    cr_assert_eq(halt_read("now,fail=2", &halt), 0);
    cr_assert_eq(halt_reached(&halt, 1, 9, 10), GO_ON);
    cr_assert_eq(halt_reached(&halt, 2, 0, 0), HALT_NOW);
    cr_assert_eq(halt_read("soon,done=50%", &halt), 0);
    cr_assert_eq(halt_reached(&halt, 3, 3, 0), GO_ON, "how many there are is not known");
    cr_assert_eq(halt_reached(&halt, 2, 2, 10), GO_ON);
    cr_assert_eq(halt_reached(&halt, 2, 3, 10), HALT_SOON);
    cr_assert_eq(halt_read("soon,success=1", &halt), 0);
    cr_assert_eq(halt_reached(&halt, 8, 1, 0), HALT_SOON);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(halt_read(i ? "0" : "never", &halt), 0);
        cr_assert_eq(halt_reached(&halt, 1000, 1000, 1000), GO_ON);
    }
    static const char *const bad[] = {
        "",           "now",         "later,fail=1", "now,fail",
        "now,fail=0", "now,fail=-1", "now,fail=1x",  "now,fail=101%",
        "soon,win=1", "now,fail=1%%"
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_eq(halt_read(bad[i], &halt), -EINVAL, "%s", bad[i]);
}

TEST(batch_halt, the_exit_code_is_that_of_the_one_or_tells_how_many)
{
    static const struct {
        const char *text;
        int code; /* of a job that ended with 7, the third of 8 that failed */
    } wanted[] = { { "now,fail=1", 7 },     { "soon,fail=3", 3 }, { "1", 7 },   { "-2", 0 },
                   { "soon,fail=30%", 38 }, { "30%", 38 },        { "-1", 0 },  { "2", 7 },
                   { "now,success=2", 0 },  { "now,done=3", -1 }, { "0%x", -2 } };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        struct halt halt;
        int r = halt_read(wanted[i].text, &halt);
        cr_assert_eq(r == 0 ? halt_code(&halt, 7, 3, 8) : -2, wanted[i].code, "%s",
                     wanted[i].text);
    }
}

/* ---- job files ---- */

static struct plan plan;
static struct complaint complaint;

static int parse(const char *text)
{
    plan_init(&plan);
    complaint.text[0] = '\0';
    return jobfile_parse("f", text, strlen(text), &plan, &complaint);
}

TEST(batch_jobfile, objects_in_a_row_and_in_an_array_are_the_same)
{
    static const char *const texts[] = {
        "{\"key\": \"a\", \"shell\": \"x\"}{\"key\": \"b\", \"argv\": [\"y\", \"z\"]}",
        "{\"key\": \"a\", \"shell\": \"x\"}\n{\"key\": \"b\", \"argv\": [\"y\", \"z\"]}\n",
        "[ {\"key\": \"a\", \"shell\": \"x\"},\n{\"key\": \"b\", \"argv\": [\"y\", \"z\"]}]\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        cr_assert_eq(parse(texts[i]), 0, "%s", complaint.text);
        cr_assert_eq(plan.count, 2u);
        cr_assert_str_eq(plan_find(&plan, "a")->shell, "x");
        cr_assert_str_eq(plan_find(&plan, "b")->argv[1], "z");
        cr_assert_eq(plan_find(&plan, "b")->number, 2u);
        cr_assert_null(plan_find(&plan, "c"));
        plan_fini(&plan);
    }
    cr_assert_eq(parse(""), 0);
    cr_assert_eq(parse("[]"), 0);
    cr_assert_eq(plan.count, 0u);
}

TEST(batch_jobfile, every_field_is_read)
{
    cr_assert_eq(parse(
                     "{\"key\": \"a\", \"shell\": \"x\", \"env\": {\"A\": \"1\", \"B\": \"\"},"
                     "\"directory\": \"/d\", \"stdin\": \"in\", \"timeout\": 1.5,"
                     "\"retry\": {\"times\": 3, \"delay\": \"1s\", \"factor\": 2,"
                     "\"max_delay\": 3, \"jitter\": false}, \"on_failure\": \"fail-fast\"}"
                     "{\"key\": \"b\", \"shell\": \"y\", \"needs\": [\"a\", \"a\"],"
                     "\"stdin_file\": \"f\", \"retry\": 2, \"timeout\": \"1m\"}"),
                 0, "%s", complaint.text);
    struct job *a = plan_find(&plan, "a"), *b = plan_find(&plan, "b");
    cr_assert_str_eq(a->env[0], "A=1");
    cr_assert_str_eq(a->env[1], "B=");
    cr_assert_str_eq(a->directory, "/d");
    cr_assert_str_eq(a->input, "in");
    cr_assert_eq(a->timeout_ns, 1500000000);
    cr_assert_eq(a->on_failure, FAILURE_STOP);
    cr_assert_eq(a->dependent_count, 2u);
    cr_assert_eq(b->unmet, 2u);
    cr_assert_str_eq(b->input_file, "f");
    cr_assert_eq(b->retry.times, 2u);
    struct fm_schedule *schedule = retry_schedule(&a->retry);
    struct fm_schedule_run run;
    cr_assert_eq(fm_schedule_run_init(&run, schedule), 0);
    static const int64_t seconds[] = { 1, 2, 3 };
    int64_t delay;
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(fm_schedule_next_at(&run, i, fm_fail(1), &delay), 0);
        cr_assert_eq(delay, seconds[i] * 1000000000);
    }
    cr_assert_eq(fm_schedule_next_at(&run, 9, fm_fail(1), &delay), FM_SCHEDULE_DONE);
    fm_schedule_run_fini(&run);
    fm_schedule_unref(schedule);
    plan_fini(&plan);
}

/* 64 of them: a recursion for each, on whatever stack that is. */
#define DEEP_8 "(((((((("
#define DEEP DEEP_8 DEEP_8 DEEP_8 DEEP_8 DEEP_8 DEEP_8 DEEP_8 DEEP_8

TEST(batch_jobfile, what_is_wrong_is_named_with_its_place)
{
    static const struct {
        const char *text, *complaint;
    } bad[] = {
        { "{\"key\": \"a\"", "f:1:1: this object is not closed before the end" },
        { "[{\"key\": \"a\", \"shell\": \"x\"}", "f:1:28: expected a comma, or ]" },
        { "[", "f:1:2: the array is not closed" },
        { "[1]", "f:1:2: a job is an object" },
        { "[] x", "f:1:4: there is more behind the array" },
        { "\n\n  {\"key\": \"a\",, }", "f:3:15: malformed JSON" },
        { "{\"shell\": \"x\"}", "f:1:1: job number 1 has no key" },
        { "{\"key\": \"\", \"shell\": \"x\"}", "key is a text of 1 to 4096 bytes" },
        { "{\"key\": \"a\"}", "f:1:1: job \"a\" has no command" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"argv\": [\"x\"]}", "two commands" },
        { "{\"key\": \"a\", \"argv\": []}", "job \"a\": argv is an array" },
        { "{\"key\": \"a\", \"argv\": [1]}", "job \"a\": argv is an array of texts" },
        { "{\"key\": \"a\", \"shell\": \"a\\u0000b\"}", "job \"a\": shell is a text" },
        { "{\"key\": \"a\", \"shel\": \"x\"}", "job \"a\": there is no field \"shel\"" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"timeout\": \"1y\"}", "timeout is a number" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"timeout\": -1}", "timeout is a number" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"retry\": -1}", "retry is a number" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"retry\": {\"tmes\": 1}}", "retry is a number" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"env\": {\"A=\": \"\"}}", "env is an object" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"stdin\": \"\", \"stdin_file\": \"y\"}",
          "both" },
        { "{\"key\": \"a\", \"call\": \"sort\", \"path\": \"x\"}", "call is \"hash\"" },
        { "{\"key\": \"a\", \"call\": \"hash\"}", "hash wants a path, or a text" },
        { "{\"key\": \"a\", \"call\": \"hash\", \"path\": \"x\", \"text\": \"y\"}",
          "not both" },
        { "{\"key\": \"a\", \"call\": \"hash\", \"path\": []}", "path is a text, or an array" },
        { "{\"key\": \"a\", \"call\": \"grep\", \"path\": \"x\"}", "grep wants a pattern" },
        { "{\"key\": \"a\", \"call\": \"grep\", \"path\": \"x\", \"pattern\": \"(\"}",
          "job \"a\": pattern is wrong: Unmatched" },
        { "{\"key\": \"a\", \"call\": \"count\", \"path\": \"x\", \"pattern\": \"y\"}",
          "count has no pattern" },
        { "{\"key\": \"a\", \"call\": \"count\", \"path\": \"x\", \"env\": {}}",
          "a call has no env" },
        { "{\"key\": \"a\", \"call\": \"count\", \"path\": \"x\", \"shell\": \"y\"}",
          "two commands" },
        { "{\"key\": \"a\", \"path\": \"x\"}", "but no call" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"limits\": {\"cpus\": 1}}",
          "limits is an object" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"output_limit\": 3}",
          "output_limit is a number" },
        { "{\"key\": \"a\", \"shell\": \"x\"}\n {\"key\": \"a\", \"shell\": \"y\"}",
          "f:2:2: job \"a\" is there twice, first at 1:1" },
        { "{\"key\": \"a\", \"shell\": \"x\"}\n\n {\"key\": \"a\", \"shell\": \"y\","
          " \"conflict\": \"error\"}",
          "f:3:2: job \"a\" is there twice, first at 1:1" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"conflict\": \"maybe\"}",
          "conflict is \"error\"" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"restart\": \"transient\"}\n"
          "{\"key\": \"a\", \"shell\": \"y\", \"conflict\": \"queue\"}",
          "f:2:1: job \"a\" is queued behind a service, at 1:1" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"restart\": \"often\"}",
          "restart is \"temporary\"" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"restart\": {\"intensity\": -1}}",
          "restart is" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"restart\": {\"period\": 0}}", "restart is" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"restart\": \"transient\", \"retry\": 1}",
          "f:1:1: job \"a\" has restart, which makes it a service, and retry" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"restart\": \"transient\", \"timeout\": 1}",
          "a service, and timeout" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"ready\": {\"port\": 1}}", "no restart" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"ready\": {}}", "ready is an object" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"ready\": {\"port\": 0}}", "ready is" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"ready\": {\"line\": \"" DEEP "\"}}",
          "ready is" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"ready\": {\"port\": 65536}}", "ready is" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"ready\": {\"line\": \"(\"}}", "ready is" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"ready\": {\"probe\": []}}", "ready is" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"ready\": {\"probe\": \"x\", \"line\": \"y\"}}",
          "ready is" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"ready\": {\"line\": \"y\", \"host\": \"z\"}}",
          "ready is" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"ready\": {\"port\": 1, \"within\": 0}}",
          "ready is" },
        { "{\"key\": \"a\", \"shell\": \"x\", \"needs\": [\"b\"]}",
          "f:1:1: job \"a\" needs \"b\", which there is not" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_assert_eq(parse(bad[i].text), -EINVAL, "%s", bad[i].text);
        cr_assert_not_null(strstr(complaint.text, bad[i].complaint), "%s: %s", bad[i].text,
                           complaint.text);
        plan_fini(&plan);
    }
}

TEST(batch_jobfile, a_key_that_comes_again_is_treated_as_the_job_says)
{
#define JOB(key, shell, rest) "{\"key\": \"" key "\", \"shell\": \"" shell "\"" rest "}"
    cr_assert_eq(parse(JOB("a", "1", "") JOB("b", "2", ", \"needs\": [\"a\"]")
                           JOB("a", "3", ", \"conflict\": \"keep\"")
                               JOB("a", "4", ", \"conflict\": \"join\"")),
                 0, "%s", complaint.text);
    cr_assert_eq(plan.count, 2u);
    cr_assert_str_eq(plan_find(&plan, "a")->shell, "1");
    plan_fini(&plan);

    cr_assert_eq(parse(JOB("a", "1", "") JOB("b", "2", ", \"needs\": [\"a\"]")
                           JOB("a", "3", ", \"conflict\": \"replace\"")),
                 0, "%s", complaint.text);
    struct job *a = plan_find(&plan, "a");
    cr_assert_eq(plan.count, 2u);
    cr_assert_eq(a->number, 1u, "in the place of the other");
    cr_assert_eq(a, STAILQ_FIRST(&plan.jobs));
    cr_assert_str_eq(a->shell, "3");
    cr_assert_eq(a->dependents[0], plan_find(&plan, "b"));
    plan_fini(&plan);

    cr_assert_eq(parse(JOB("a", "1", "") JOB("b", "2", ", \"needs\": [\"a\"]")
                           JOB("a", "3", ", \"conflict\": \"queue\"")),
                 0, "%s", complaint.text);
    a = plan_find(&plan, "a");
    cr_assert_eq(plan.count, 3u);
    cr_assert_str_eq(a->after->shell, "3");
    cr_assert_eq(a->after->unmet, 1u, "it waits for the one before it");
    cr_assert_eq(plan_find(&plan, "b")->unmet, 2u, "who needs the key needs both");
    a->state = JOB_FAILED;
    cr_assert_eq(plan_holder(&plan, "a"), a->after);
    plan_fini(&plan);

    cr_assert_eq(parse(JOB("a", "1", "") JOB("b", "2", ", \"needs\": [\"a\"]")
                           JOB("a", "3", ", \"conflict\": \"queue\", \"needs\": [\"b\"]")),
                 -EINVAL);
    cr_assert_not_null(strstr(complaint.text, "these jobs wait for each other"), "%s",
                       complaint.text);
    plan_fini(&plan);
#undef JOB
}

TEST(batch_plan, a_ring_is_refused_and_named)
{
    static const char text[] = "{\"key\": \"z\", \"shell\": \"x\", \"needs\": [\"c\"]}"
                               "{\"key\": \"a\", \"shell\": \"x\", \"needs\": [\"c\", \"e\"]}"
                               "{\"key\": \"b\", \"shell\": \"x\", \"needs\": [\"e\", \"a\"]}"
                               "{\"key\": \"c\", \"shell\": \"x\", \"needs\": [\"b\"]}"
                               "{\"key\": \"e\", \"shell\": \"x\"}";
    cr_assert_eq(parse(text), -EINVAL);
    const char *ring = strstr(complaint.text, "other: ") + strlen("other: ");
    cr_assert(!strcmp(ring, "\"a\" needs \"c\" needs \"b\" needs \"a\"") ||
                  !strcmp(ring, "\"c\" needs \"b\" needs \"a\" needs \"c\"") ||
                  !strcmp(ring, "\"b\" needs \"a\" needs \"c\" needs \"b\""),
              "%s", complaint.text);
    plan_fini(&plan);
    cr_assert_eq(parse("{\"key\": \"a\", \"shell\": \"x\", \"needs\": [\"a\"]}"), -EINVAL);
    cr_assert_not_null(strstr(complaint.text, "\"a\" needs \"a\""), "%s", complaint.text);
    plan_fini(&plan);
}

TEST(batch_keys, every_key_is_found_and_those_that_are_removed_are_not)
{
    enum { MANY = 3000 };
    static struct job jobs[MANY];
    static char texts[MANY][16];
    struct keys keys = { 0 };
    cr_assert_null(keys_find(&keys, "0"));
    for (int i = 0; i < MANY; i++) {
        snprintf(texts[i], sizeof texts[i], "%d", i);
        jobs[i].key = texts[i];
        cr_assert_eq(*keys_add(&keys, &jobs[i]), &jobs[i]);
    }
    struct job same = { .key = texts[7] };
    cr_assert_eq(*keys_add(&keys, &same), &jobs[7]);
    for (int i = 0; i < MANY; i += 3)
        keys_remove(&keys, &jobs[i]);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(keys_find(&keys, texts[i]), i % 3 ? &jobs[i] : NULL, "%d", i);
    keys_fini(&keys);
}

/* ---- resources ---- */

TEST(batch_resources, shares_are_bound_taken_and_given_back)
{
    struct resources resources = { .count = 0 };
    cr_assert_eq(resources_add(&resources, "memory=4"), 0);
    cr_assert_eq(resources_add(&resources, "gpu=1"), 0);
    cr_assert_eq(resources_add(&resources, "gpu=2"), -EEXIST);
    static const char *const bad[] = { "", "x", "=1", "x=", "x=0", "x=-1", "x=1k", "x= 1" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_eq(resources_add(&resources, bad[i]), -EINVAL, "%s", bad[i]);
    cr_assert_eq(parse("{\"key\": \"a\", \"shell\": \"x\", \"resources\": {\"memory\": 3}}"
                       "{\"key\": \"b\", \"shell\": \"x\","
                       " \"resources\": {\"gpu\": 1, \"memory\": 2}}"),
                 0, "%s", complaint.text);
    struct job *a = plan_find(&plan, "a"), *b = plan_find(&plan, "b");
    cr_assert_eq(resources_bind(&resources, &plan, &complaint), 0, "%s", complaint.text);
    cr_assert(resources_fit(&resources, a, 0) && resources_fit(&resources, b, 0));
    cr_assert_not(resources_fit(&resources, a, resources_set(b)), "memory is kept for b");
    resources_take(&resources, a);
    cr_assert_not(resources_fit(&resources, b, 0));
    resources_give(&resources, a);
    cr_assert(resources_fit(&resources, b, 0));
    plan_fini(&plan);
    cr_assert_eq(parse("{\"key\": \"a\", \"shell\": \"x\", \"resources\": {\"gpu\": 0}}"),
                 -EINVAL);
    plan_fini(&plan);
}
