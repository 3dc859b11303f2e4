/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.c - numbers for Prometheus
 *
 * Names end in their unit, counters in _total; times are seconds. Histograms of the runtime,
 * whose buckets are many, are shown as summaries.
 */
#include "tools/server/metrics.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tools/server/results.h"
#include "tools/server/users.h"

struct metric {
    const char *name;
    const char *type;
    const char *help;
    double value;
};

/* Text behind what is there. Without memory it is left out: nobody adds up a page of numbers. */
__attribute__((format(printf, 2, 3))) static void add(struct buffer *out, const char *format,
                                                      ...)
{
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (len > 0 && (size_t)len < sizeof line)
        buffer_append(out, line, (size_t)len);
}

static void add_metrics(struct buffer *out, const struct metric metrics[], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        add(out, "# HELP fibermap_%s %s\n", metrics[i].name, metrics[i].help);
        add(out, "# TYPE fibermap_%s %s\n", metrics[i].name, metrics[i].type);
        add(out, "fibermap_%s %.17g\n", metrics[i].name, metrics[i].value);
    }
}

static void add_summary(struct buffer *out, const char *name, const char *help,
                        const struct fm_histogram *histogram)
{
    static const double quantiles[] = { 50, 90, 99, 99.9 };
    add(out, "# HELP fibermap_%s_seconds %s\n", name, help);
    add(out, "# TYPE fibermap_%s_seconds summary\n", name);
    for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++)
        add(out, "fibermap_%s_seconds{quantile=\"%g\"} %.9g\n", name, quantiles[i] / 100,
            (double)fm_histogram_percentile(histogram, quantiles[i]) / 1e9);
    add(out, "fibermap_%s_seconds_sum %.9g\n", name, (double)histogram->sum / 1e9);
    add(out, "fibermap_%s_seconds_count %llu\n", name, (unsigned long long)histogram->count);
}

#define COUNTER(name, help, value) \
    { \
        name "_total", "counter", help, (double)(value) \
    }
#define GAUGE(name, help, value) \
    { \
        name, "gauge", help, (double)(value) \
    }

static void add_server(struct buffer *out, struct server *server)
{
    const struct metric metrics[] = {
        GAUGE("connections", "Open connections", fm_map_size(server->connections)),
        COUNTER("connections_accepted", "Connections ever", server_read(&server->accepted)),
        COUNTER("requests", "Requests answered", server_read(&server->requests)),
        COUNTER("requests_refused", "Not HTTP, too large or too slow",
                server_read(&server->refused)),
        COUNTER("problems", "Answers of 400 and above", server_read(&server->problems)),
        GAUGE("users", "Users connected", fm_map_size(users_map(server->users))),
        COUNTER("upgrades", "WebSockets ever", server_read(&server->upgraded)),
        COUNTER("messages_sent", "Messages framed for users",
                server_read(&server->messages_sent)),
        COUNTER("messages_expired", "Messages that have waited too long",
                users_expired(server->users)),
        GAUGE("jobs", "Jobs under a key or in a queue", fm_map_size(server->jobs)),
        GAUGE("jobs_backing_off", "Jobs between two incarnations",
              fm_map_count(server->jobs, FM_MEMBER_BACKING_OFF)),
        GAUGE("jobs_queued", "Jobs that wait for their turn",
              fm_map_count(server->jobs, FM_MEMBER_QUEUED)),
        COUNTER("jobs_started", "Jobs ever", server_read(&server->jobs_started)),
        GAUGE("draining", "1 once the end has begun",
              atomic_load_explicit(&server->draining, memory_order_relaxed)),
    };
    add_metrics(out, metrics, sizeof metrics / sizeof metrics[0]);
}

static void add_runtime(struct buffer *out, const struct fm_runtime_stats *stats)
{
    const struct metric metrics[] = {
        GAUGE("workers", "Worker threads", stats->worker_count),
        GAUGE("workers_awake", "Workers that do not sleep", stats->workers_awake),
        GAUGE("fibers", "Fibers that have not ended", stats->fibers_live),
        COUNTER("fibers_spawned", "Fibers ever", stats->fibers_spawned),
        COUNTER("switches", "Switches to a fiber", stats->switches),
        COUNTER("steals", "Fibers taken from another worker", stats->steals),
        COUNTER("parks", "Times that a worker went to sleep", stats->parks),
        COUNTER("io_events", "Readiness events", stats->io_events),
        GAUGE("timers", "Timers that are armed", stats->timers_armed),
        COUNTER("timers_fired", "Timers that have fired", stats->timers_fired),
        COUNTER("stalls", "Workers that were found stalled", stats->stalls),
        GAUGE("stack_bytes", "Memory mapped for stacks", stats->stack_bytes_mapped),
        GAUGE("blocking_queued", "Calls that wait for a blocking thread",
              stats->blocking_queued),
    };
    add_metrics(out, metrics, sizeof metrics / sizeof metrics[0]);
    add_summary(out, "schedule_latency", "From runnable to running", &stats->schedule_latency);
    add_summary(out, "run_length", "From running to the next switch", &stats->run_length);
}

static double resident_bytes(void)
{
    unsigned long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    if (fscanf(file, "%lu %lu", &total, &resident) != 2)
        resident = 0;
    fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void add_process(struct buffer *out)
{
    struct rusage usage = { 0 };
    getrusage(RUSAGE_SELF, &usage);
    const struct metric metrics[] = {
        COUNTER("process_cpu_seconds", "Processor time, user and system",
                seconds(usage.ru_utime) + seconds(usage.ru_stime)),
        GAUGE("process_resident_memory_bytes", "Memory in use", resident_bytes()),
    };
    add_metrics(out, metrics, sizeof metrics / sizeof metrics[0]);
}

void metrics_answer(struct exchange *x, const char *name)
{
    struct fm_runtime_stats stats;
    int r = fm_runtime_stats(x->server->runtime, &stats);
    if (r < 0) {
        answer_error(x, 503, fm_strerror(r));
        return;
    }
    struct buffer out = { 0 };
    add_server(&out, x->server);
    add_runtime(&out, &stats);
    add_process(&out);
    answer(x, 200, "text/plain; version=0.0.4; charset=utf-8", out.data, out.len);
    buffer_fini(&out);
}
