/* SPDX-License-Identifier: Apache-2.0 */
/* test_map_snapshot.c - snapshots, each, dumps of keyed fibers */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fibermap/describe.h"
#include "runtime/dump.h"
#include "runtime/platform/memory.h"
#include "tests/fibermap/map_test.h"

static const struct fm_member *find(const struct fm_snapshot *snapshot, const char *key)
{
    for (size_t i = 0; i < fm_snapshot_count(snapshot); i++) {
        const struct fm_member *member = fm_snapshot_at(snapshot, i);
        if (member->key.len == strlen(key) &&
            memcmp(member->key.data, key, member->key.len) == 0)
            return member;
    }
    return NULL;
}

/* T096 */
WORKER_TEST(map_snapshot, shows_each_present_key_once)
{
    for (uint32_t how = 0; how <= FM_SNAPSHOT_CONSISTENT; how++) {
        struct fm_map *map = make_map();
        struct fm_snapshot *snapshot;
        char longer[300];
        memset(longer, 'l', sizeof longer - 1);
        longer[sizeof longer - 1] = 0;
        for (uint64_t i = 0; i < 500; i++)
            cr_assert_eq(fm_map_run(map, FM_KEY_U64(i), until_interrupted, NULL, NULL, NULL),
                         0);
        struct fm_fiber *a = run(map, "a", until_interrupted, NULL),
                        *l = run(map, longer, until_interrupted, NULL);
        settle();
        fm_map_interrupt(map, KEY("a"));
        cr_assert_eq(fm_map_snapshot(map, how, &snapshot), 0);
        cr_expect_eq(fm_snapshot_count(snapshot), 502);
        cr_assert_not_null(find(snapshot, "a"));
        cr_expect_eq(find(snapshot, "a")->fiber, a);
        cr_expect_eq(find(snapshot, "a")->state, FM_MEMBER_ENDING);
        cr_expect_geq(find(snapshot, "a")->age_ns, 0);
        cr_expect_eq(find(snapshot, "a")->incarnation, 0);
        cr_assert_not_null(find(snapshot, longer));
        cr_expect_eq(find(snapshot, longer)->fiber, l);
        cr_expect_eq(find(snapshot, longer)->state, FM_MEMBER_LIVE);
        bool seen[500] = { false };
        for (size_t i = 0; i < fm_snapshot_count(snapshot); i++) {
            uint64_t n;
            if (fm_snapshot_at(snapshot, i)->key.len != sizeof n)
                continue;
            memcpy(&n, fm_snapshot_at(snapshot, i)->key.data, sizeof n);
            cr_assert_lt(n, 500);
            cr_expect_not(seen[n]);
            seen[n] = true;
        }
        cr_expect_null(fm_snapshot_at(snapshot, 502));
        fm_map_destroy(map);
        cr_expect_eq(fm_fiber_poll(find(snapshot, "a")->fiber, NULL), 0, "it outlives the map");
        cr_expect_null(fm_snapshot_free(snapshot));
        fm_fiber_unref(a);
        fm_fiber_unref(l);
    }
}

TIMED_WORKER_TEST(map_snapshot, zombies_on_request_and_what_ends_on_a_closing_map)
{
    struct fm_map *map = make_map();
    struct fm_snapshot *snapshot;
    struct fm_close_policy poll = FM_CLOSE_POLICY_INIT;
    atomic_bool go = false;
    struct fm_fiber *old = run(map, "a", stubborn, &go);
    settle();
    struct fm_fiber *new = run(map, "a", stubborn, &go);
    settle();
    poll.deadline_ns = 1;
    cr_assert_eq(fm_map_close(map, &poll, NULL), -ETIMEDOUT);
    cr_assert_eq(fm_map_snapshot(map, 0, &snapshot), 0);
    cr_expect_eq(fm_snapshot_count(snapshot), 1);
    cr_expect_eq(fm_snapshot_at(snapshot, 0)->fiber, new);
    fm_snapshot_free(snapshot);
    cr_assert_eq(fm_map_snapshot(map, FM_SNAPSHOT_ZOMBIES | FM_SNAPSHOT_CONSISTENT, &snapshot),
                 0);
    cr_expect_eq(fm_snapshot_count(snapshot), 2);
    int zombies = 0;
    for (size_t i = 0; i < 2; i++)
        zombies += fm_snapshot_at(snapshot, i)->state == FM_MEMBER_ZOMBIE;
    cr_expect_eq(zombies, 1);
    fm_snapshot_free(snapshot);
    atomic_store(&go, true);
    fm_map_destroy(map);
    fm_fiber_unref(old);
    fm_fiber_unref(new);
}

WORKER_TEST(map_snapshot, what_is_wrong_is_refused_and_no_memory_leaves_nothing)
{
    struct fm_map *map = make_map();
    struct fm_snapshot *snapshot = NULL;
    cr_assert_eq(fm_map_run(map, KEY("a"), until_interrupted, NULL, NULL, NULL), 0);
    cr_expect_eq(fm_map_snapshot(NULL, 0, &snapshot), -EINVAL);
    cr_expect_eq(fm_map_snapshot(map, 0, NULL), -EINVAL);
    cr_expect_eq(fm_map_snapshot(map, 8, &snapshot), -EINVAL);
    for (uint32_t how = 0; how <= FM_SNAPSHOT_CONSISTENT; how++) {
        for (uint64_t nth = 1;; nth++) {
            fm__fault_set(FAULT_MALLOC, nth, false);
            int r = fm_map_snapshot(map, how, &snapshot);
            fm__fault_set(FAULT_MALLOC, 0, false);
            if (r == 0)
                break;
            cr_expect_eq(r, -ENOMEM);
            cr_expect_null(snapshot);
        }
        snapshot = fm_snapshot_free(snapshot);
    }
    cr_expect_eq(fm_snapshot_count(NULL), 0);
    cr_expect_null(fm_snapshot_at(NULL, 0));
    cr_expect_null(fm_snapshot_free(NULL));
    fm_map_destroy(map);
}

struct walk {
    struct fm_map *map;
    int calls, stop_at;
};

static int walk(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    struct walk *w = ctx;
    cr_expect_eq(under(w->map, "nobody"), 0, "anything may be called");
    cr_expect_eq(fm_map_remove(w->map, key, FM_NEVER), 0);
    cr_expect_eq(fm_fiber_poll(fiber, NULL), 0);
    return ++w->calls == w->stop_at ? 17 : 0;
}

WORKER_TEST(map_each, walks_a_snapshot_and_stops_when_told)
{
    struct walk w = { make_map(), 0, 0 };
    for (uint64_t i = 0; i < 5; i++)
        cr_assert_eq(fm_map_run(w.map, FM_KEY_U64(i), until_interrupted, NULL, NULL, NULL), 0);
    w.stop_at = 2;
    cr_expect_eq(fm_map_each(w.map, walk, &w), 17);
    cr_expect_eq(w.calls, 2);
    cr_expect_eq(fm_map_size(w.map), 3);
    cr_expect_eq(fm_map_each(w.map, walk, &w), 0);
    cr_expect_eq(w.calls, 5);
    cr_expect_eq(fm_map_each(w.map, NULL, NULL), -EINVAL);
    cr_expect_eq(fm_map_each(NULL, walk, &w), -EINVAL);
    fm_map_destroy(w.map);
}

/* ---- keys in words ---- */

TEST(map_describe, unprintable_bytes_are_escaped_and_long_keys_cut)
{
    char text[32];
    fm__key_print(text, sizeof text, (const unsigned char *)"user-1", 6);
    cr_expect_str_eq(text, "user-1");
    fm__key_print(text, sizeof text, (const unsigned char *)"a\n\"\\\x7f", 5);
    cr_expect_str_eq(text, "a\\x0a\\x22\\x5c\\x7f");
    fm__key_print(text, 8, (const unsigned char *)"abcdefgh", 8);
    cr_expect_str_eq(text, "abcd...");
    fm__key_print(text, 8, (const unsigned char *)"abcdefg", 7);
    cr_expect_str_eq(text, "abcdefg");
    fm__key_print(text, 8, (const unsigned char *)"\1\1\1", 3);
    cr_expect_str_eq(text, "\\x01...");
    fm__key_print(text, 1, (const unsigned char *)"abc", 3);
    cr_expect_str_eq(text, "");
}

WORKER_TEST(map_describe, dump_shows_the_key)
{
    struct fm_map *map = make_map();
    FILE *file = tmpfile();
    static char dump[65536];
    char longer[200];
    memset(longer, 'q', sizeof longer);
    cr_assert_eq(fm_map_run(map, KEY("user\n7"), until_interrupted, NULL, NULL, NULL), 0);
    cr_assert_eq(fm_map_run(map, fm_key_bytes(longer, sizeof longer), until_interrupted, NULL,
                            NULL, NULL),
                 0);
    settle();
    cr_assert_eq(fm_runtime_dump(fm_runtime_current(), fileno(file)), 0);
    ssize_t n = pread(fileno(file), dump, sizeof dump - 1, 0);
    cr_assert_gt(n, 0);
    dump[n] = 0;
    cr_expect(strstr(dump, "key \"user\\x0a7\""), "%s", dump);
    cr_expect(strstr(dump, "qqqqqq...\""), "%s", dump);
    fclose(file);
    fm_map_destroy(map);
}

/* Long keys are kept in words, of which the last overlaps the one before it. */
WORKER_TEST(map_describe, the_first_64_bytes_of_a_longer_key_are_shown)
{
    struct fm_map *map = make_map();
    char bytes[96], shown[256], expected[128];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)('0' + i % 64);
    for (size_t length = 1; length <= 80; length++) {
        struct fm_fiber *fiber;
        cr_assert_eq(fm_map_run(map, fm_key_bytes(bytes + 16, length), until_interrupted, NULL,
                                NULL, &fiber),
                     0);
        fm__key_print(expected, sizeof expected, (unsigned char *)bytes + 16,
                      length < 64 ? length : 64);
        fm__describe_key(fiber, shown, sizeof shown);
        cr_assert_eq(shown[0], '"');
        cr_assert_eq(strncmp(shown + 1, expected, strlen(expected)), 0, "%zu: %s", length,
                     shown);
        cr_assert_str_eq(shown + 1 + strlen(expected), length > 64 ? "...\"" : "\"");
        cr_assert_eq(fm_fiber_stop(fiber, FM_NEVER, NULL), 0);
        fm__describe_key(fiber, shown, sizeof shown);
        cr_assert_str_eq(shown, "", "who has left the map has no key");
        fm_fiber_unref(fiber);
    }
    fm_map_destroy(map);
}

/* ---- states by count ---- */

static struct fm_exit ready_then_wait(void *arg)
{
    fm_ready();
    return fm_fail(fm_never());
}

static struct fm_exit fail_at_once(void *arg)
{
    return fm_fail(-EIO);
}

/* Live, ready, ending, zombie, queued, backing off: each member is counted once. */
EXACT_TEST(map_snapshot, states_are_counted_and_shown)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options queue = conflict(FM_QUEUE), again = conflict(FM_REPLACE);
    struct fm_restart restart = FM_RESTART_INIT;
    struct fm_snapshot *snapshot;
    atomic_bool go = false;
    size_t shown[6] = { 0 };

    restart.type = FM_PERMANENT;
    restart.schedule = fm_schedule_spaced_ns(1000 * INT64_C(1000000));
    again.restart = &restart;
    fm_fiber_unref(run(map, "live", until_interrupted, NULL));
    fm_fiber_unref(run(map, "ready", ready_then_wait, NULL));
    fm_fiber_unref(run(map, "replaced", stubborn, &go));
    fm_fiber_unref(run(map, "ending", stubborn, &go));
    cr_assert_eq(fm_map_run(map, KEY("backs off"), fail_at_once, NULL, &again, NULL), 0);
    fm_schedule_unref(restart.schedule);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(fm_map_run(map, KEY("live"), until_interrupted, NULL, &queue, NULL),
                     FM_MAP_QUEUED);
    settle();
    fm_fiber_unref(run(map, "replaced", until_interrupted, NULL));
    cr_assert_eq(fm_map_interrupt(map, KEY("ending")), 0);
    settle();
    cr_assert_eq(fm_map_count(map, FM_MEMBER_LIVE), 3);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_READY), 1);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_ZOMBIE), 1);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_ENDING), 1);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_QUEUED), 2);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_BACKING_OFF), 1);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_READY + 1), 0);
    cr_assert_eq(fm_map_snapshot(map, FM_SNAPSHOT_ZOMBIES | FM_SNAPSHOT_QUEUED, &snapshot), 0);
    for (size_t i = 0; i < fm_snapshot_count(snapshot); i++)
        shown[fm_snapshot_at(snapshot, i)->state]++;
    fm_snapshot_free(snapshot);
    for (uint32_t state = 0; state <= FM_MEMBER_BACKING_OFF; state++)
        cr_assert_eq(shown[state], fm_map_count(map, state), "state %u", state);
    cr_assert_eq(fm_map_interrupt(map, KEY("backs off")), 0);
    settle();
    cr_assert_eq(fm_map_count(map, FM_MEMBER_BACKING_OFF), 0);
    atomic_store(&go, true);
    pass_ms(10);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_ZOMBIE), 0);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_ENDING), 0);
    fm_map_destroy(map);
}

static struct fm_exit fails_once(void *arg)
{
    bool *failed = arg, again = *failed;
    *failed = true;
    return fm_fail(again ? fm_never() : -EIO);
}

/* It runs again after a second, and is live then. */
EXACT_TEST(map_snapshot, one_that_backs_off_is_live_again_when_it_runs)
{
    struct fm_map *map = make_map();
    struct fm_map_run_options again = conflict(FM_REPLACE);
    struct fm_restart restart = FM_RESTART_INIT;
    bool failed = false;

    restart.type = FM_TRANSIENT;
    restart.schedule = fm_schedule_spaced_ns(1000 * INT64_C(1000000));
    again.restart = &restart;
    cr_assert_eq(fm_map_run(map, KEY("a"), fails_once, &failed, &again, NULL), 0);
    fm_schedule_unref(restart.schedule);
    settle();
    cr_assert_eq(fm_map_count(map, FM_MEMBER_BACKING_OFF), 1);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_LIVE), 0);
    pass_ms(1000);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_BACKING_OFF), 0);
    cr_assert_eq(fm_map_count(map, FM_MEMBER_LIVE), 1);
    fm_map_destroy(map);
}
