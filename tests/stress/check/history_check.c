/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history_check.c - are histories of map calls linearizable?
 *
 *     history_check [FILE]               0: yes; 1: no, the first key that fails is shown;
 *                                        2: it cannot be read, or not be decided
 *     history_check --run PROGRAM ...    run the program and check what it writes
 *     history_check --self-test          accepts and rejects the histories it must
 *
 * One JSON object a line, as map_history writes them; a line that begins with # begins the next
 * history. Without FILE standard input is read.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/stress/check/check.h"

FILE *told;

struct total {
    uint64_t histories, operations, calls, keys, configurations, open, told;
};

struct text {
    char *bytes;
    size_t length, room;
};

/* ---- memory ---- */

static void *there(void *memory)
{
    if (!memory) {
        fputs("no memory\n", stderr);
        exit(2);
    }
    return memory;
}

void *grown(void *memory, size_t count, size_t each)
{
    return there(realloc(memory, count * each));
}

void *zeroed(size_t count, size_t each)
{
    return there(calloc(count, each));
}

static void append(struct text *text, const char *bytes, size_t length)
{
    if (text->length + length > text->room) {
        text->room = (text->length + length) * 2;
        text->bytes = grown(text->bytes, text->room, 1);
    }
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
}

static void append_all(struct text *text, int from)
{
    static char bytes[1 << 16];
    ssize_t length;
    while ((length = read(from, bytes, sizeof bytes)) > 0)
        append(text, bytes, (size_t)length);
}

/* ---- a history ---- */

static void count(struct total *total, const struct op *op)
{
    total->operations++;
    if (op->name == EXIT || op->name == GONE || op->name == STEP || op->name == BODY ||
        op->name == SEE || op->name == TURN)
        return; /* what the fibers tell, and one snapshot is one of each key */
    total->calls++;
    if (op->name == RUN || op->name == RUN_AWAIT || op->name == SET || op->name == INTERRUPT) {
        total->open += op->result == UNTOLD;
        total->told += op->result == NUMBER;
    }
}

/* The calls on a key, and those on all of them: how many. */
static size_t gather(int32_t key, const size_t *from, struct op *const *sorted, struct op **ops)
{
    size_t used = 0;
    for (size_t i = from[key + 1]; i < from[key + 2]; i++)
        ops[used++] = sorted[i];
    for (size_t i = from[0]; i < from[1]; i++)
        ops[used++] = sorted[i];
    return used;
}

/* By key, those on all keys first; of bodies and steps rules.c has judged. */
static struct op **sort(const struct history *h, size_t *from)
{
    struct op **sorted = zeroed(h->count + 1, sizeof *sorted);
    size_t used = 0, *next = zeroed((size_t)h->key_count + 2, sizeof *next);

    for (size_t i = 0; i < h->count; i++)
        if (h->ops[i].name != STEP && h->ops[i].name != BODY)
            next[h->ops[i].key + 1]++;
    for (int32_t key = 0; key < h->key_count + 1; key++) {
        from[key] = used;
        used += next[key];
        next[key] = from[key];
    }
    from[h->key_count + 1] = used;
    for (size_t i = 0; i < h->count; i++)
        if (h->ops[i].name != STEP && h->ops[i].name != BODY)
            sorted[next[h->ops[i].key + 1]++] = &h->ops[i];
    free(next);
    return sorted;
}

static enum verdict check_history(struct history *h, struct total *total)
{
    size_t *from = zeroed((size_t)h->key_count + 2, sizeof *from);
    enum verdict verdict = rules_hold(h) ? LINEARIZABLE : VIOLATION;
    struct op **sorted = sort(h, from), **ops = zeroed(h->count + 1, sizeof *ops);

    total->histories++;
    for (size_t i = 0; i < h->count; i++)
        count(total, &h->ops[i]);
    for (int32_t key = 0; verdict == LINEARIZABLE && key < h->key_count; key++) {
        if (from[key + 2] == from[key + 1])
            continue; /* nothing but steps and bodies */
        size_t used = gather(key, from, sorted, ops);
        mark(ops, used);
        total->keys++;
        verdict = search_key(h, ops, used, &total->configurations);
    }
    if (verdict == UNDECIDED)
        fputs("too much is open at once to decide\n", told);
    free(ops);
    free(sorted);
    free(from);
    return verdict;
}

/* All histories of a text. What is wrong is printed, unless nobody wants to know. */
static enum verdict check(const struct text *text, struct total *total, bool quiet)
{
    struct history h = { 0 };
    const char *title = "", *end = text->bytes + text->length;
    int title_length = 0;
    enum verdict verdict = LINEARIZABLE;
    char *said = NULL;
    size_t said_length = 0;

    told = open_memstream(&said, &said_length);
    for (const char *at = text->bytes, *next; verdict == LINEARIZABLE && at < end; at = next) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        next = line_end ? line_end + 1 : end;
        line_end = line_end ? line_end : end;
        if (at == line_end)
            continue;
        if (*at != '#') {
            if (!history_add(&h, at, (size_t)(line_end - at))) {
                fprintf(told, "not an operation: %.*s\n", (int)(line_end - at), at);
                verdict = UNDECIDED;
            }
            continue;
        }
        if (h.count)
            verdict = check_history(&h, total);
        if (verdict == LINEARIZABLE) {
            history_forget(&h);
            title = at;
            title_length = (int)(line_end - at);
        }
    }
    if (verdict == LINEARIZABLE && h.count)
        verdict = check_history(&h, total);
    fclose(told);
    if (verdict != LINEARIZABLE && !quiet)
        printf("%.*s\n%s", title_length, title, said);
    free(said);
    history_free(&h);
    return verdict;
}

/* ---- its own test ---- */

/* A call of a case, `op+flags arg result call return`, as the line of a history. */
static void append_call(struct text *text, char *call)
{
    char line[256], *rest = NULL, *name = strtok_r(call, " \n", &rest);
    const char *word[4], *flag = strchr(name, '+');
    bool of_all = strncmp(name, "clear", 5) == 0 || strncmp(name, "close", 5) == 0;

    for (int i = 0; i < 4; i++)
        word[i] = there(strtok_r(NULL, " \n", &rest));
    int used = snprintf(line, sizeof line, "{\"op\":\"%.*s\"%s", (int)strcspn(name, "+"), name,
                        of_all ? "" : ",\"key\":\"k\"");
    for (size_t length; flag; flag = flag[length] ? flag + length : NULL) {
        length = strcspn(++flag, "+");
        size_t to = strcspn(flag, "+=");
        used += snprintf(line + used, sizeof line - (size_t)used, ",\"%.*s\":%.*s", (int)to,
                         flag, to == length ? 4 : (int)(length - to - 1),
                         to == length ? "true" : flag + to + 1);
    }
    if (*word[0] != '-')
        used += snprintf(line + used, sizeof line - (size_t)used, ",\"arg\":%s", word[0]);
    bool bare = strspn(word[1], "0123456789") || !strcmp(word[1], "true") ||
                !strcmp(word[1], "false");
    if (*word[1] != '-')
        used += snprintf(line + used, sizeof line - (size_t)used, ",\"result\":%s%s%s",
                         bare ? "" : "\"", word[1], bare ? "" : "\"");
    used += snprintf(line + used, sizeof line - (size_t)used,
                     ",\"call_ns\":%s,\"return_ns\":%s}\n", word[2], word[3]);
    append(text, line, (size_t)used);
}

static int judged_wrongly(const struct history_case *cases, enum verdict right)
{
    int wrong = 0;

    for (; cases->name; cases++) {
        struct text text = { 0 };
        struct total total = { 0 };
        char *calls = there(strdup(cases->text)), *rest = NULL;
        for (char *call = strtok_r(calls, ";", &rest); call; call = strtok_r(NULL, ";", &rest))
            append_call(&text, call);
        enum verdict verdict = check(&text, &total, true);
        if (verdict != right) {
            wrong++;
            printf("%s: %s\n", cases->name,
                   verdict == LINEARIZABLE ? "accepted"
                   : verdict == VIOLATION  ? "rejected"
                                           : "not decided");
        }
        free(calls);
        free(text.bytes);
    }
    return wrong;
}

static int self_test(void)
{
    int wrong = judged_wrongly(accepted_cases, LINEARIZABLE) +
                judged_wrongly(rejected_cases, VIOLATION);
    printf("self-test: %d wrong\n", wrong);
    return wrong != 0;
}

/* ---- what is asked for ---- */

/* Whether the program came to a good end. */
static bool run(struct text *text, char *words[])
{
    int ends[2], status;

    fflush(stdout);
    pid_t child = pipe(ends) == 0 ? fork() : -1;
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execvp(words[0], words);
        _exit(127);
    }
    if (child < 0)
        return false;
    close(ends[1]);
    append_all(text, ends[0]);
    close(ends[0]);
    if (waitpid(child, &status, 0) == child && status == 0)
        return true;
    printf("%s ended with %d\n", words[0], status);
    return false;
}

static bool read_file(struct text *text, const char *path)
{
    FILE *file = path ? fopen(path, "re") : stdin;
    if (!file) {
        perror(path);
        return false;
    }
    append_all(text, fileno(file));
    fclose(file);
    return true;
}

int main(int count, char *words[])
{
    struct text text = { 0 };
    struct total total = { 0 };

    if (count == 2 && strcmp(words[1], "--self-test") == 0)
        return self_test();
    bool runs = count > 2 && strcmp(words[1], "--run") == 0;
    if (!runs && (count > 2 || (count == 2 && words[1][0] == '-'))) {
        fputs("history_check [FILE]\n"
              "history_check --run PROGRAM [ARGUMENT...]\n"
              "history_check --self-test\n",
              stderr);
        return 2;
    }
    if (!(runs ? run(&text, words + 2) : read_file(&text, words[1])))
        return 2;
    enum verdict verdict = check(&text, &total, false);
    free(text.bytes);
    if (verdict != LINEARIZABLE)
        return verdict == VIOLATION ? 1 : 2;
    uint64_t met = total.open + total.told;
    printf("%llu histories, %llu calls (%llu operations) on %llu keys are linearizable, "
           "%llu configurations; of runs, sets and interrupts %llu%% say whom they met\n",
           (unsigned long long)total.histories, (unsigned long long)total.calls,
           (unsigned long long)total.operations, (unsigned long long)total.keys,
           (unsigned long long)total.configurations,
           (unsigned long long)(met ? 100 * total.told / met : 0));
    return 0;
}
