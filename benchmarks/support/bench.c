/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.c - runs cases, keeps their figures, prints them as a table or as JSON lines
 *
 * Owns   the figures, for the process.
 */
#include "benchmarks/support/bench.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif
#ifndef BENCH_FLAGS
#define BENCH_FLAGS "unknown"
#endif

extern const char bench_commit[];

enum { METRICS_MAX = 128, WORKERS_MAX = 16, PARAMETERS_MAX = 8 };

struct metric {
    const char *name;
    const char *unit;
    uint32_t workers;
    size_t value_count, value_max;
    double *values;
};

static struct {
    pthread_mutex_t lock;
    size_t count;
    struct metric metrics[METRICS_MAX];
    int pipe; /* of a cold run's process: the figures go to its parent; 0: none */
} figures = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* What a cold run sends. The texts stand at the same addresses in both processes. */
struct sent {
    const char *metric, *unit;
    double value;
};

static struct parameter {
    const char *name, *meaning;
    uint64_t *value, least, most;
} parameters[PARAMETERS_MAX];
static int parameter_count;

static struct program {
    const char *name, *question;
    const struct bench_case *cases;
    size_t case_count;
} program;

struct options {
    uint32_t workers[WORKERS_MAX];
    size_t worker_kinds;
    unsigned runs, warmup;
    uint64_t count;
    const char *only;
    bool json;
};

static void out_of_memory(void)
{
    fputs("bench: out of memory\n", stderr);
    exit(1);
}

void bench_record(const struct bench_run *run, const char *metric, const char *unit,
                  double value)
{
    struct metric *m = figures.metrics;

    if (!run->counted)
        return;
    if (figures.pipe) {
        struct sent sent = { metric, unit, value };
        ssize_t written = write(figures.pipe, &sent, sizeof sent);
        BENCH_CHECK(written == (ssize_t)sizeof sent, "a figure was not sent");
        return;
    }
    pthread_mutex_lock(&figures.lock);
    while (m->name && (strcmp(m->name, metric) != 0 || m->workers != run->workers))
        m++;
    BENCH_CHECK(m < figures.metrics + METRICS_MAX - 1, "too many figures");
    if (!m->name) {
        *m = (struct metric) { .name = metric, .unit = unit, .workers = run->workers };
        figures.count++;
    }
    if (m->value_count == m->value_max) {
        m->value_max = m->value_max ? 2 * m->value_max : 16;
        m->values = realloc(m->values, m->value_max * sizeof *m->values);
        if (!m->values)
            out_of_memory();
    }
    m->values[m->value_count++] = value;
    pthread_mutex_unlock(&figures.lock);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void bench_record_late(const struct bench_run *run, const char *p50, const char *p99,
                       double *late_us)
{
    qsort(late_us, run->count, sizeof *late_us, compare);
    BENCH_CHECK(late_us[0] >= 0, "%g us too early", -late_us[0]);
    bench_record(run, p50, "us", late_us[run->count / 2]);
    bench_record(run, p99, "us", late_us[run->count - 1 - run->count / 100]);
}

uint64_t bench_resident_bytes(void)
{
    unsigned long total, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file) {
        if (fscanf(file, "%lu %lu", &total, &resident) != 2)
            resident = 0;
        fclose(file);
    }
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

int64_t bench_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

uint64_t bench_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* ---- options ---- */

void bench_parameter(const char *name, uint64_t *value, uint64_t least, uint64_t most,
                     const char *meaning)
{
    BENCH_CHECK(parameter_count < PARAMETERS_MAX, "too many parameters");
    parameters[parameter_count++] = (struct parameter) { name, meaning, value, least, most };
}

static _Noreturn void usage(int status)
{
    FILE *out = status ? stderr : stdout;
    fprintf(out,
            "%s - %s\n"
            "  --workers LIST       worker counts that take turns (1,2)\n"
            "  --runs N             counted runs of each (7)\n"
            "  --warmup N           runs before, not counted (1)\n"
            "  --count, --fibers N  operations or fibers of a run, instead of each case's own\n"
            "  --only CASE          this case alone\n"
            "  --json               one JSON object a line\n",
            program.name, program.question);
    for (int i = 0; i < parameter_count; i++) {
        const struct parameter *p = &parameters[i];
        fprintf(out, "  --%-8s N         %s (%" PRIu64 ")\n", p->name, p->meaning, *p->value);
    }
    fputs("cases, and the count of each:\n", out);
    for (size_t i = 0; i < program.case_count; i++)
        fprintf(out, "  %-18s %" PRIu64 "\n", program.cases[i].name, program.cases[i].count);
    exit(status);
}

/* A number that ends at the text's end or at a comma. */
static uint64_t read_number(const char *text, uint64_t least, uint64_t most)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 0);
    bool read = !errno && end != text && *text != '-' && (!*end || *end == ',');
    if (!read || n < least || n > most) {
        fprintf(stderr, "%s: a number from %" PRIu64 " to %" PRIu64 " is wanted, not %s\n",
                program.name, least, most, text);
        exit(2);
    }
    return n;
}

static void read_workers(struct options *options, const char *text)
{
    options->worker_kinds = 0;
    for (const char *s = text; s; s = strchr(s, ',')) {
        s += *s == ',';
        if (options->worker_kinds == WORKERS_MAX)
            usage(2);
        options->workers[options->worker_kinds++] = (uint32_t)read_number(s, 1, UINT32_MAX);
    }
}

static void check_only(const char *only)
{
    for (size_t i = 0; i < program.case_count; i++)
        if (strcmp(program.cases[i].name, only) == 0)
            return;
    fprintf(stderr, "%s: no case %s\n", program.name, only);
    exit(2);
}

static struct options read_options(int argc, char **argv)
{
    enum { FIRST_PARAMETER = 256 };
    struct option longs[9 + PARAMETERS_MAX] = {
        { "workers", required_argument, NULL, 'w' },
        { "runs", required_argument, NULL, 'r' },
        { "warmup", required_argument, NULL, 'u' },
        { "count", required_argument, NULL, 'n' },
        { "fibers", required_argument, NULL, 'n' },
        { "only", required_argument, NULL, 'o' },
        { "json", no_argument, NULL, 'j' },
        { "help", no_argument, NULL, 'h' },
    };
    struct options options = { .workers = { 1, 2 }, .worker_kinds = 2, .runs = 7, .warmup = 1 };
    int option;

    for (int i = 0; i < parameter_count; i++)
        longs[8 + i] = (struct option) { parameters[i].name, required_argument, NULL,
                                         FIRST_PARAMETER + i };
    while ((option = getopt_long(argc, argv, "w:r:u:n:o:jh", longs, NULL)) != -1) {
        switch (option) {
        case 'w': read_workers(&options, optarg); break;
        case 'r': options.runs = (unsigned)read_number(optarg, 1, 1000000); break;
        case 'u': options.warmup = (unsigned)read_number(optarg, 0, 1000000); break;
        case 'n': options.count = read_number(optarg, 1, UINT64_MAX); break;
        case 'o': check_only(options.only = optarg); break;
        case 'j': options.json = true; break;
        case 'h': usage(0);
        default: {
            if (option < FIRST_PARAMETER)
                usage(2);
            const struct parameter *p = &parameters[option - FIRST_PARAMETER];
            *p->value = read_number(optarg, p->least, p->most);
        }
        }
    }
    if (optind != argc)
        usage(2);
    return options;
}

/* ---- what was measured, and where ---- */

static const char *processor(void)
{
    static char name[128];
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");

    snprintf(name, sizeof name, "unknown");
    while (file && fgets(line, sizeof line, file)) {
        char *value = strstr(line, ": ");
        if (value && strncmp(line, "model name", 10) == 0) {
            value[strcspn(value, "\n")] = '\0';
            snprintf(name, sizeof name, "%.100s", value + 2);
            break;
        }
    }
    if (file)
        fclose(file);
    return name;
}

static double quantile(const struct metric *m, double q)
{
    double place = q * (double)(m->value_count - 1);
    size_t low = (size_t)place;
    size_t high = low + 1 < m->value_count ? low + 1 : low;
    return m->values[low] + (place - (double)low) * (m->values[high] - m->values[low]);
}

static void print_table(const struct options *options)
{
    struct utsname os;
    uname(&os);
    printf(
        "# %s\n# machine   %s, %ld processors, %ld MiB, %s\n# kernel    %s %s\n"
        "# compiler  %s\n# flags     %s\n# commit    %s\n# runs      %u after %u of warm-up\n",
        program.question, processor(), sysconf(_SC_NPROCESSORS_ONLN),
        sysconf(_SC_PHYS_PAGES) / 1024 * (sysconf(_SC_PAGESIZE) / 1024), os.machine, os.sysname,
        os.release, COMPILER, BENCH_FLAGS, bench_commit, options->runs, options->warmup);
    printf("%-36s %7s %12s %12s %12s  %s\n", "", "workers", "min", "median", "p99", "unit");
    for (size_t i = 0; i < figures.count; i++) {
        const struct metric *m = &figures.metrics[i];
        printf("%-36s %7" PRIu32 " %12.1f %12.1f %12.1f  %s\n", m->name, m->workers,
               quantile(m, 0), quantile(m, 0.5), quantile(m, 0.99), m->unit);
    }
}

static void print_json(const struct options *options)
{
    struct utsname os;
    uname(&os);
    for (size_t i = 0; i < figures.count; i++) {
        const struct metric *m = &figures.metrics[i];
        printf("{\"who\":\"fibermap\",\"metric\":\"%s\",\"workers\":%" PRIu32
               ",\"unit\":\"%s\","
               "\"min\":%.6g,\"median\":%.6g,\"p99\":%.6g,\"values\":[",
               m->name, m->workers, m->unit, quantile(m, 0), quantile(m, 0.5),
               quantile(m, 0.99));
        for (size_t j = 0; j < m->value_count; j++)
            printf("%s%.6g", j ? "," : "", m->values[j]);
        printf("],\"runs\":%u,\"machine\":\"%s\",\"kernel\":\"%s\",\"compiler\":\"%s\","
               "\"flags\":\"%s\",\"commit\":\"%s\"}\n",
               options->runs, processor(), os.release, COMPILER, BENCH_FLAGS, bench_commit);
    }
}

/* ---- runs ---- */

static void run_once(const struct bench_case *c, struct bench_run *run)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_exit exit;

    config.worker_count = run->workers;
    config.flags = FM_RUNTIME_NO_STALL_REPORT; /* loops without a wait are the point here */
    int r = fm_runtime_create(&config, &run->runtime);
    BENCH_CHECK(r == 0, "runtime: %s", fm_strerror(r));
    r = fm_runtime_run(run->runtime, c->body, run, &exit);
    BENCH_CHECK(r == 0 && exit.kind == FM_SUCCESS, "%s: %s, %s", c->name, fm_strerror(r),
                fm_exit_kind_name(exit.kind));
    fm_runtime_destroy(run->runtime);
}

static void run_cold(const struct bench_case *c, struct bench_run *run)
{
    int ends[2];
    BENCH_CHECK(pipe(ends) == 0, "pipe");
    pid_t child = fork();
    BENCH_CHECK(child >= 0, "fork");
    if (child == 0) {
        figures.pipe = ends[1];
        run_once(c, run);
        _exit(0);
    }
    close(ends[1]);
    struct sent sent;
    while (read(ends[0], &sent, sizeof sent) == (ssize_t)sizeof sent)
        bench_record(run, sent.metric, sent.unit, sent.value);
    close(ends[0]);
    int status;
    BENCH_CHECK(waitpid(child, &status, 0) == child && status == 0, "%s: status %d", c->name,
                status);
}

static void run_case(const struct options *options, const struct bench_case *c,
                     uint32_t workers, bool counted)
{
    struct bench_run run = { NULL, options->count ? options->count : c->count, workers,
                             counted };

    if ((c->min_workers && workers < c->min_workers) ||
        (c->max_workers && workers > c->max_workers) ||
        (options->only && strcmp(options->only, c->name) != 0))
        return;
    if (!c->cold)
        run_once(c, &run);
    else if (counted)
        run_cold(c, &run);
}

int bench_main(int argc, char **argv, const char *question, const struct bench_case cases[],
               size_t case_count)
{
    program = (struct program) { argv[0], question, cases, case_count };
    struct options options = read_options(argc, argv);

    for (unsigned i = 0; i < options.warmup + options.runs; i++)
        for (size_t c = 0; c < case_count; c++)
            for (size_t w = 0; w < options.worker_kinds; w++)
                run_case(&options, &cases[c], options.workers[w], i >= options.warmup);
    for (size_t i = 0; i < figures.count; i++)
        qsort(figures.metrics[i].values, figures.metrics[i].value_count, sizeof(double),
              compare);
    if (options.json)
        print_json(&options);
    else
        print_table(&options);
    return 0;
}
