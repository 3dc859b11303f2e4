/*
 * search.c - choices: which execution comes next; the command line; the report
 *
 * An execution is a list of choices: which ready thread goes on, which of the visible stores a
 * load reads. The same list gives the same execution.
 *
 *   dfs=B       every list with at most B preemptions, depth first. A switch at the end or the
 *               blocking of a thread is free; so is a thread that gives way in a waiting loop.
 *               A scenario with many threads may ask for a lower bound (struct model_scenario).
 *   old=N       and with at most N loads that return an old value, compares that fail although
 *               they need not, or wakes for no reason (3 unless given)
 *   full        no scenario has a lower bound
 *   whole       cut nothing off: where a state is met again (states.c), search on
 *   ends        count the different ends, which are as many with `whole` as without
 *   pct=D       random priorities with D - 1 random changes in an execution
 *   random      each choice at random
 *
 * Source   Musuvathi, Qadeer, "Iterative context bounding", PLDI 2007 (dfs); Burckhardt et al.,
 *          "A randomized scheduler with probabilistic guarantees", ASPLOS 2010 (pct).
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/model/checker.h"

enum { CHOICES = 1 << 15, NOTES = 64, CHANGES = 16, TRACE_LINES = 1 << 14 };

enum strategy { DFS, PCT, RANDOM, REPLAY };
enum verdict { COMPLETE, BUDGET, FAULT };

static struct {
    enum strategy strategy;
    unsigned bound; /* dfs: preemptions; pct: depth */
    unsigned surprises;
    uint64_t seed;
    uint64_t executions;
    double seconds;
    const char *scenario;
    const char *replay;
    bool full, whole, ends;
} options = { .strategy = DFS, .bound = 2, .surprises = 3, .seed = 1 };

static struct choice {
    uint8_t taken;
    uint8_t count; /* what depth first search may try here */
} choices[CHOICES];
static unsigned choice_count;
static unsigned prefix; /* the first so many are given */

static unsigned preemptions, preemption_bound;
static unsigned surprises; /* choices other than the plainest, threads apart */
static bool cut_off, discarded;
static int notes[NOTES];
static struct order note_orders[NOTES];
static char failure[512];
static const void *failure_where;
static const char *program;
static const char *scenario_name;

static uint64_t random_state;
static unsigned thread_steps, longest = 40;
static int priority[THREADS], lowest;
static unsigned change_at[CHANGES];

bool search_tracing;
const void *search_where;
static struct {
    const void *where;
    unsigned thread;
    char text[104];
} * trace;
static unsigned trace_count;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* --- choices ---------------------------------------- */

/* Note what is chosen next: as given, or else what the strategy would have. */
static unsigned decide(unsigned count, unsigned alternatives, unsigned fresh)
{
    if (choice_count == CHOICES)
        model_fail("more than %d choices", CHOICES);
    struct choice *c = &choices[choice_count];
    if (choice_count++ >= prefix) {
        c->taken = (uint8_t)fresh;
        c->count = (uint8_t)alternatives;
    } else if (c->taken >= count || (options.strategy == DFS && c->count != alternatives)) {
        fprintf(stderr,
                "%s: choice %u differs from the last time: something outside the "
                "model's memory keeps state\n",
                program, choice_count - 1);
        _exit(4);
    }
    return c->taken;
}

unsigned search_choose(unsigned count)
{
    if (count <= 1)
        return 0;
    bool spent = options.strategy == DFS && surprises >= options.surprises;
    bool at_random = options.strategy == PCT || options.strategy == RANDOM;
    unsigned fresh = at_random ? (unsigned)(random_next() % count) : 0;
    unsigned taken = decide(count, spent ? 1 : count, fresh);
    surprises += taken > 0;
    return taken;
}

static unsigned highest_priority(struct thread *const *ready, unsigned count)
{
    for (unsigned i = 0; i + 1 < options.bound; i++)
        if (change_at[i] == thread_steps)
            priority[running_id()] = --lowest;
    unsigned best = 0;
    for (unsigned i = 1; i < count; i++)
        if (priority[ready[i] - threads] > priority[ready[best] - threads])
            best = i;
    return best;
}

struct thread *search_choose_thread(struct thread *const *ready, unsigned count, bool free,
                                    bool stays)
{
    thread_steps++;
    if (count == 1)
        return ready[0];
    bool spent = options.strategy == DFS &&
                 ((!free && preemptions >= preemption_bound) || (stays && !options.whole));
    if (options.strategy == DFS && !options.whole && !spent && choice_count >= prefix &&
        states_searched(preemptions, surprises)) {
        cut_off = true;
        threads_stop();
    }
    unsigned fresh = options.strategy == PCT      ? highest_priority(ready, count)
                     : options.strategy == RANDOM ? (unsigned)(random_next() % count)
                                                  : 0;
    unsigned taken = decide(count, spent ? 1 : count, fresh);
    preemptions += !free && taken > 0;
    return ready[taken];
}

/* The next list in depth first order; false if there is none. */
static bool next_list(void)
{
    while (choice_count > 0) {
        struct choice *c = &choices[choice_count - 1];
        if (c->taken + 1u < c->count) {
            c->taken++;
            prefix = choice_count;
            return true;
        }
        choice_count--;
    }
    return false;
}

/* "12z,2,1": twelve zeros, a 2, a 1. */
static void print_choices(void)
{
    const char *comma = "";
    for (unsigned i = 0; i < choice_count;) {
        unsigned zeros = 0;
        while (i + zeros < choice_count && choices[i + zeros].taken == 0)
            zeros++;
        if (i + zeros == choice_count)
            break; /* zeros at the end go without saying */
        if (zeros > 1)
            printf("%s%uz", comma, zeros);
        else
            printf("%s%u", comma, choices[i].taken);
        i += zeros > 1 ? zeros : 1;
        comma = ",";
    }
}

static void read_choices(const char *list)
{
    prefix = 0;
    while (*list) {
        char *end;
        unsigned long n = strtoul(list, &end, 10);
        if (end == list || prefix + n >= CHOICES) {
            fprintf(stderr, "%s: not a list of choices: %s\n", program, list);
            exit(2);
        }
        if (*end == 'z') {
            memset(&choices[prefix], 0, n * sizeof *choices);
            prefix += (unsigned)n;
            end++;
        } else {
            choices[prefix++] = (struct choice) { .taken = (uint8_t)n };
        }
        list = end + (*end == ',');
    }
}

/* --- outcome of an execution ---------------------------------------- */

void model_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(failure, sizeof failure, format, arguments);
    va_end(arguments);
    failure_where = search_where;
    TRACE("FAULT %s", failure);
    threads_stop();
}

void model_discard(void)
{
    discarded = true;
    threads_stop();
}

int model_note(unsigned counter, int add)
{
    if (counter >= NOTES)
        model_fail("note %u of %d", counter, NOTES);
    int before = notes[counter];
    notes[counter] += add;
    (add ? states_write : states_read)(&note_orders[counter], counter);
    return before;
}

void search_trace(const char *format, ...)
{
    if (trace_count == TRACE_LINES)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(trace[trace_count].text, sizeof trace->text, format, arguments);
    va_end(arguments);
    trace[trace_count].where = search_where;
    trace[trace_count++].thread = running_id();
}

/* "deque.c:88", by addr2line if it is there, else the address. */
static const char *source_line(const void *where)
{
    static char line[128];
    char command[256];
    snprintf(command, sizeof command, "addr2line -s -e /proc/%d/exe %p 2>/dev/null",
             (int)getpid(), (const void *)((const char *)where - 1));
    FILE *pipe = popen(command, "r");
    if (!pipe || !fgets(line, sizeof line, pipe))
        snprintf(line, sizeof line, "%p", where);
    if (pipe)
        pclose(pipe);
    line[strcspn(line, " \n")] = 0;
    return line;
}

static void print_trace(void)
{
    for (unsigned i = 0; i < trace_count; i++)
        printf("%*s%u  %-72s %s\n", (int)(4 * trace[i].thread), "", trace[i].thread,
               trace[i].text, source_line(trace[i].where));
}

static void print_fault(void)
{
    printf("    %s\n    at %s\n    replay: %s scenario=%s replay=", failure,
           source_line(failure_where), program, scenario_name);
    print_choices();
    printf("\n");
    fflush(stdout);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    snprintf(failure, sizeof failure, "signal %d, address %p", number, info->si_addr);
    failure_where = search_where;
    printf("%-32s FAULT\n", scenario_name);
    if (search_tracing)
        print_trace();
    print_fault();
    _exit(1);
}

/* --- the search ---------------------------------------- */

static void draw_priorities(void)
{
    for (int i = 0; i < THREADS; i++)
        priority[i] = i + 1;
    for (unsigned i = THREADS - 1; i > 0; i--) {
        unsigned j = (unsigned)(random_next() % (i + 1));
        int p = priority[i];
        priority[i] = priority[j];
        priority[j] = p;
    }
    lowest = 0;
    for (unsigned i = 0; i + 1 < options.bound && i < CHANGES; i++)
        change_at[i] = 1 + (unsigned)(random_next() % longest);
}

static void execute(const struct model_scenario *scenario)
{
    choice_count = 0;
    preemptions = 0;
    surprises = 0;
    thread_steps = 0;
    failure[0] = 0;
    cut_off = discarded = false;
    memset(notes, 0, sizeof notes);
    memset(note_orders, 0, sizeof note_orders);
    memory_reset();
    shadow_reset();
    states_reset();
    if (options.strategy == PCT)
        draw_priorities();
    threads_execute(scenario->run);
    if (thread_steps > longest)
        longest = thread_steps;
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static enum verdict search(const struct model_scenario *scenario)
{
    double start = seconds_now();
    uint64_t executions = 0, cuts = 0;
    unsigned most = 0; /* threads */
    enum verdict verdict = BUDGET;
    scenario_name = scenario->name;
    unsigned less = options.full ? 0 : scenario->less;
    preemption_bound = options.bound > less ? options.bound - less : 0;
    states_forget();
    alone_forget();
    random_state = (options.seed * UINT64_C(0x9e3779b97f4a7c15)) | 1;
    prefix = 0;
    if (options.strategy == REPLAY)
        read_choices(options.replay);

    while ((!options.executions || executions < options.executions) &&
           (!options.seconds || executions % 256 || seconds_now() - start < options.seconds)) {
        execute(scenario);
        executions++;
        cuts += cut_off;
        most = thread_count > most ? thread_count : most;
        if (options.ends && !cut_off && !discarded)
            states_end();
        if (failure[0]) {
            verdict = FAULT;
            break;
        }
        if (alone_was_mistaken() && options.strategy == DFS && !options.whole) {
            executions = cuts = choice_count = prefix = 0;
            states_forget();
            continue;
        }
        if (options.strategy == REPLAY || (options.strategy == DFS && !next_list())) {
            verdict = COMPLETE;
            break;
        }
    }

    static const char *const verdicts[] = { "complete", "budget used up", "FAULT" };
    print_trace();
    printf("%-44s %9lu executions, %9lu cut off, %u threads %8.3f s  %s", scenario->name,
           executions, cuts, most, seconds_now() - start, verdicts[verdict]);
    if (options.ends)
        printf("  %lu ends", states_ends());
    printf("\n");
    if (verdict == FAULT)
        print_fault();
    fflush(stdout);
    return verdict;
}

/* --- the command line ---------------------------------------- */

static int usage(void)
{
    printf("usage: %s [dfs=BOUND [old=BOUND] [full] [whole] [ends] | pct=DEPTH | random |\n"
           "       replay=CHOICES] [scenario=NAME] [n=EXECUTIONS] [seconds=TIME] [seed=N]\n"
           "exit: 0 no fault found (dfs: in all executions), 1 fault, 2 usage,\n"
           "      3 dfs stopped by n or seconds\n"
           "scenarios:",
           program);
    for (const struct model_scenario *s = model_scenarios; s->name; s++)
        printf(" %s", s->name);
    printf("\n");
    return 2;
}

/* The value after "name=", or NULL. */
static const char *value_of(const char *argument, const char *name)
{
    size_t n = strlen(name);
    return strncmp(argument, name, n) == 0 && argument[n] == '=' ? argument + n + 1 : NULL;
}

static bool read_option(const char *argument)
{
    const char *v;
    if ((v = value_of(argument, "dfs"))) {
        options.strategy = DFS;
        options.bound = (unsigned)strtoul(v, NULL, 10);
    } else if ((v = value_of(argument, "old"))) {
        options.surprises = (unsigned)strtoul(v, NULL, 10);
    } else if (strcmp(argument, "full") == 0) {
        options.full = true;
    } else if (strcmp(argument, "whole") == 0) {
        options.whole = true;
    } else if (strcmp(argument, "ends") == 0) {
        options.ends = true;
    } else if ((v = value_of(argument, "pct"))) {
        options.strategy = PCT;
        options.bound = (unsigned)strtoul(v, NULL, 10);
    } else if (strcmp(argument, "random") == 0) {
        options.strategy = RANDOM;
    } else if ((v = value_of(argument, "replay"))) {
        options.strategy = REPLAY;
        options.replay = v;
        search_tracing = true;
    } else if ((v = value_of(argument, "scenario"))) {
        options.scenario = v;
    } else if ((v = value_of(argument, "n"))) {
        options.executions = strtoull(v, NULL, 10);
    } else if ((v = value_of(argument, "seconds"))) {
        options.seconds = strtod(v, NULL);
    } else if ((v = value_of(argument, "seed"))) {
        options.seed = strtoull(v, NULL, 0);
    } else {
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    program = argv[0];
    for (int i = 1; i < argc; i++)
        if (!read_option(argv[i]))
            return usage();
    if (options.strategy == PCT && options.bound > CHANGES)
        return usage();
    if ((options.strategy == PCT || options.strategy == RANDOM) && !options.executions &&
        !options.seconds)
        options.executions = 100000;
    if (options.strategy == REPLAY && !options.scenario)
        return usage();
    trace = search_tracing ? calloc(TRACE_LINES, sizeof *trace) : NULL;

    static char signal_stack[1 << 16];
    sigaltstack(&(stack_t) { .ss_sp = signal_stack, .ss_size = sizeof signal_stack }, NULL);
    struct sigaction action = { .sa_sigaction = on_signal,
                                .sa_flags = SA_SIGINFO | SA_ONSTACK };
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGFPE, &action, NULL);

    bool found = false, stopped = false;
    for (const struct model_scenario *s = model_scenarios; s->name; s++) {
        if (options.scenario && strcmp(options.scenario, s->name) != 0)
            continue;
        found = true;
        enum verdict verdict = search(s);
        if (verdict == FAULT)
            return 1;
        stopped |= verdict == BUDGET && options.strategy == DFS;
    }
    if (!found)
        return usage();
    return stopped ? 3 : 0;
}
