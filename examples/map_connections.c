#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>
#include <stdlib.h>

#include "virtual.h"

/*
 * The letters to a user belong to the user and not to a connection: they wait while he has
 * none. So nobody who writes has to look first whether he is online, and be wrong at once.
 */
struct user {
    const char *name;
    struct fm_channel *letters;
    int delivered, pings, hang_ups;
};

struct connection {
    struct user *user;
    int number;
};

/* What goes over the wire. */
static int send_text(struct connection *c, const char *text)
{
    printf("%s/%d <- %s\n", c->user->name, c->number, text);
    return 0;
}

/* However its fiber ends: replaced, removed, closed, or by itself. */
static int hang_up(void *arg, struct fm_exit exit)
{
    struct connection *c = arg;
    printf("%s/%d hangs up, by %s\n", c->user->name, c->number, fm_reason_name(exit.reason));
    c->user->hang_ups++;
    free(c);
    return 0;
}

/* Letters as they come, and a ping every half minute. */
static struct fm_exit serve(void *arg)
{
    struct connection *c = arg;
    int64_t ping_ns = fm_after_s(30);
    void *letter;

    int r = fm_defer(hang_up, c);
    if (r < 0) {
        free(c);
        return fm_fail(r);
    }
    while (r == 0) {
        r = fm_channel_recv(c->user->letters, ping_ns, &letter);
        if (r == 0) {
            r = send_text(c, letter);
            c->user->delivered++;
        } else if (r == -ETIMEDOUT) {
            r = send_text(c, "ping");
            c->user->pings++;
            ping_ns = fm_after_s(30);
        }
    }
    return fm_fail(r); /* what has not been received waits for the next connection */
}

/* A user has one connection: a new one takes the place of the old. */
static int connect_user(struct fm_map *online, struct user *user, int number)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct connection *c = malloc(sizeof *c);
    if (!c)
        return -ENOMEM;
    *c = (struct connection) { user, number };
    options.arg_drop = free; /* called if serve never runs */
    int r = fm_map_run(online, fm_key_str(user->name), serve, c, &options, NULL);
    if (r < 0)
        free(c); /* refused: it is still ours */
    return r;
}

/* -EAGAIN: a hundred wait already. */
static int write_to(struct user *user, const char *letter)
{
    return fm_channel_try_send(user->letters, (void *)letter);
}

static int show_user(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    (void)ctx, (void)fiber;
    printf("online: %.*s\n", (int)key.len, (const char *)key.data);
    return 0;
}

static int run_users(struct fm_map *online, struct user *ann, struct user *bob)
{
    struct fm_close_report report;

    write_to(ann, "welcome"); /* she is not there yet */
    connect_user(online, ann, 1);
    fm_sleep_ms(70000);
    write_to(ann, "are you there?");
    fm_sleep_ms(1000);
    bool replaced = connect_user(online, ann, 2) == FM_MAP_REPLACED; /* from her telephone */
    fm_sleep_ms(1000);
    write_to(ann, "there you are");
    fm_sleep_ms(1000);

    connect_user(online, bob, 3);
    fm_sleep_ms(1000);
    fm_map_remove(online, fm_key_str("bob"), FM_NEVER); /* returns when he has hung up */
    write_to(bob, "come back");
    fm_map_each(online, show_user, NULL);

    int r = fm_map_close(online, NULL, &report);
    if (r < 0)
        return r;
    printf("closed: %zu awaited, %zu failed\n", report.awaited, report.failed);
    fm_close_report_fini(&report);
    printf("%zu letter waits for bob\n", fm_channel_length(bob->letters));
    return replaced && ann->delivered == 3 && ann->pings == 2 && ann->hang_ups == 2 &&
                   bob->hang_ups == 1 && bob->delivered == 0 &&
                   fm_channel_length(bob->letters) == 1
               ? 0
               : -EPROTO;
}

static struct fm_exit program(void *arg)
{
    struct user ann = { .name = "ann" }, bob = { .name = "bob" };
    struct fm_map *online = NULL;

    int r = fm_channel_create(100, NULL, &ann.letters);
    if (r == 0)
        r = fm_channel_create(100, NULL, &bob.letters);
    if (r == 0)
        r = fm_map_create(NULL, &online);
    if (r == 0)
        r = run_users(online, &ann, &bob);
    fm_map_destroy(online); /* before what its fibers use */
    fm_channel_destroy(ann.letters);
    fm_channel_destroy(bob.letters);
    return r < 0 ? fm_fail(r) : fm_ok(arg);
}

int main(void)
{
    return run_virtually(program, 0);
}
