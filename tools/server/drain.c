/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drain.c - the end in good order, and the report of it
 *
 * First no connection is accepted any more, and who listens to events is told; then jobs end,
 * then users, then connections: whoever waits for a job still gets its answer.
 */
#include "tools/server/drain.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/server/events.h"
#include "tools/server/log.h"
#include "tools/server/users.h"

/* The keys of connections are their numbers, all others text. */
static void print_key(struct fm_key key, bool numbered)
{
    uint64_t number;
    if (numbered && key.len == sizeof number) {
        memcpy(&number, key.data, sizeof number);
        fprintf(stderr, " %llu", (unsigned long long)number);
    } else {
        fprintf(stderr, " %.*s", (int)key.len, (const char *)key.data);
    }
}

/* Interrupt and await all members of a map, say how it went: how many did not end in time. */
static size_t drain_map(struct server *server, struct fm_map *map, const char *name,
                        int64_t grace_ns, int64_t deadline_ns)
{
    struct fm_close_policy policy = FM_CLOSE_POLICY_INIT;
    policy.kind = grace_ns ? FM_CLOSE_CANCEL_AFTER : FM_CLOSE_CANCEL;
    policy.grace_ns = grace_ns;
    policy.deadline_ns = deadline_ns;
    struct fm_close_report report;
    int r = fm_map_close(map, &policy, &report);
    if (r < 0 && r != -ETIMEDOUT) {
        fprintf(stderr, "fibermap-serve: cannot close the %s: %s\n", name, fm_strerror(r));
        return 1;
    }
    fprintf(stderr, "fibermap-serve: %s: %zu ended, %zu of them failed, %zu stuck", name,
            report.awaited, report.failed, report.stuck);
    for (size_t i = 0; i < report.stuck_count; i++)
        print_key(report.stuck_members[i].key,
                  map != server->jobs && map != users_map(server->users));
    fputc('\n', stderr);
    const struct log_field fields[] = {
        { "map", { name, strlen(name) }, 0 },
        { "ended", { NULL, 0 }, (long long)report.awaited },
        { "failed", { NULL, 0 }, (long long)report.failed },
        { "stuck", { NULL, 0 }, (long long)report.stuck },
    };
    log_line(server->log, "drained", fields, sizeof fields / sizeof fields[0]);
    size_t stuck = report.stuck;
    fm_close_report_fini(&report);
    return stuck;
}

int drain(struct server *server, struct listener *listener)
{
    atomic_store_explicit(&server->draining, true, memory_order_relaxed);
    listener_stop(listener);
    events_tell(server->events, "draining", "", json_object_new_object());
    int64_t grace_ns = (int64_t)server->options.grace_ms * 1000000;
    int64_t deadline_ns = fm_after_ms((int64_t)server->options.grace_ms +
                                      server->options.drain_ms);
    size_t stuck = drain_map(server, server->jobs, "jobs", grace_ns, deadline_ns);
    stuck += drain_map(server, users_map(server->users), "users", 0, deadline_ns);
    stuck += drain_map(server, server->connections, "connections", 0, deadline_ns);
    if (server->tls)
        stuck += drain_map(server, server->tunnels, "tunnels", 0, deadline_ns);
    return stuck ? -ETIMEDOUT : fm_runtime_shutdown(server->runtime, deadline_ns);
}
