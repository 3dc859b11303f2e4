#include <errno.h>
#include <fm/fm.h>
#include <stdatomic.h>
#include <stdio.h>

#include "virtual.h"

/* ---- one after the other: what is booked on an account ---- */

struct account {
    const char *number;
    int balance;
};

struct booking {
    struct account *account;
    int amount;
};

/* It reads, waits, and writes: two at once would lose one. */
static struct fm_exit book(void *arg)
{
    const struct booking *booking = arg;
    int balance = booking->account->balance;
    int r = fm_sleep_ms(100);
    if (r < 0)
        return fm_fail(r);
    booking->account->balance = balance + booking->amount;
    return fm_ok(NULL);
}

static int queue(struct fm_map *map, struct booking *booking)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = FM_QUEUE;
    options.queue_max = 100; /* more: -EAGAIN */
    return fm_map_run(map, fm_key_str(booking->account->number), book, booking, &options, NULL);
}

/* ---- never two: who listens on a port ---- */

static atomic_int open_ports, opened;

static int close_port(void *version, struct fm_exit exit)
{
    (void)exit;
    fm_sleep_ms(200); /* the last answers go out */
    printf("%s closes the port\n", (const char *)version);
    open_ports--;
    return 0;
}

static struct fm_exit listen_on_port(void *version)
{
    printf("%s opens the port\n", (const char *)version);
    if (++open_ports > 1)
        return fm_defect(-EADDRINUSE);
    opened++;
    int r = fm_defer(close_port, version);
    return fm_fail(r < 0 ? r : fm_never());
}

static void never_ran(void *version)
{
    printf("%s was never needed\n", (const char *)version);
}

static int deploy(struct fm_map *map, const char *version)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = FM_REPLACE_AWAIT;
    options.arg_drop = never_ran;
    return fm_map_run(map, fm_key_str("port 80"), listen_on_port, (void *)version, &options,
                      NULL);
}

static int run_both(struct fm_map *map)
{
    struct account here = { "here", 0 };
    struct account there = { "there", 0 };
    struct booking bookings[] = { { &here, 10 }, { &here, 20 }, { &here, 30 }, { &there, 5 } };
    for (int i = 0; i < 4; i++)
        if (queue(map, &bookings[i]) == FM_MAP_QUEUED)
            printf("%d waits for its turn\n", bookings[i].amount);
    int r = fm_map_await_empty(map, FM_NEVER);
    if (r < 0)
        return r;
    printf("%d ms: %d here, %d there\n", (int)(fm_now_ns() / 1000000), here.balance,
           there.balance);

    deploy(map, "v1");
    fm_sleep_ms(1000);
    deploy(map, "v2");
    fm_sleep_ms(100);
    deploy(map, "v3"); /* while v1 still ends: v2 need not begin */
    fm_sleep_ms(1000);
    r = fm_map_remove(map, fm_key_str("port 80"), FM_NEVER);
    bool right = here.balance == 60 && there.balance == 5 && opened == 2 && open_ports == 0;
    return r == 0 && !right ? -EPROTO : r;
}

static struct fm_exit program(void *arg)
{
    struct fm_map *map;
    int r = fm_map_create(NULL, &map);
    if (r < 0)
        return fm_fail(r);
    r = run_both(map);
    fm_map_destroy(map);
    return r < 0 ? fm_fail(r) : fm_ok(arg);
}

int main(void)
{
    return run_virtually(program, 0);
}
