/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history_write.c - what became known after a call, and the lines of a history
 *
 * One JSON object a line, an operation each; a line that begins with # is the head of a
 * history.
 */
#include <string.h>

#include "tests/stress/history.h"

static const char *const op_names[] = {
    "run",   "run_missing", "run_join", "run_wait",  "run_await", "run_queue", "run_if", "set",
    "get",   "has",         "see",      "interrupt", "remove",    "detach",    "exit",   "gone",
    "clear", "close",       "step",     "body",      "turn",      "last",      "forget",
};

static uint32_t client_count(const struct history *h)
{
    return h->clients + h->foreign + 1;
}

/* ---- looking records up: all of one kind, in the order of a number ---- */

struct found {
    uint64_t number;
    struct record *record; /* NULL: several have this number */
};

struct index {
    struct found *found;
    size_t count;
};

static int by_number(const void *a, const void *b)
{
    uint64_t x = ((const struct found *)a)->number, y = ((const struct found *)b)->number;
    return x < y ? -1 : x > y;
}

static struct index index_of(struct history *h, uint64_t (*number)(const struct record *))
{
    struct index index = { 0 };
    size_t room = 1, kept = 0;

    for (uint32_t i = 0; i < client_count(h); i++)
        room += h->client[i].count;
    index.found = malloc(room * sizeof *index.found);
    STRESS_CHECK(index.found, "no memory");
    for (uint32_t i = 0; i < client_count(h); i++)
        for (size_t j = 0; j < h->client[i].count; j++) {
            struct record *record = &h->client[i].records[j];
            uint64_t n = number(record);
            if (n)
                index.found[index.count++] = (struct found) { n, record };
        }
    qsort(index.found, index.count, sizeof *index.found, by_number);
    for (size_t i = 0; i < index.count; i++) {
        if (kept && index.found[kept - 1].number == index.found[i].number)
            index.found[kept - 1].record = NULL;
        else
            index.found[kept++] = index.found[i];
    }
    index.count = kept;
    return index;
}

static struct record *look_up(const struct index *index, uint64_t number)
{
    struct found key = { .number = number };
    const struct found *found = index->count ? bsearch(&key, index->found, index->count,
                                                       sizeof *index->found, by_number)
                                             : NULL;
    return found ? found->record : NULL;
}

static bool puts_in(const struct record *record)
{
    return record->op == RUN || record->op == RUN_AWAIT || record->op == SET;
}

/* Fiber and key in one: ids have less than 53 bits in any history that ends. */
static uint64_t stay(uint64_t fiber, int32_t key)
{
    return fiber * 1009 + (uint64_t)key + 1;
}

static uint64_t caller_of(const struct record *record)
{
    return puts_in(record) || record->op == INTERRUPT || record->op == REMOVE ? record->by : 0;
}

/* A fiber may come under a key twice: by a run, and by a set. */
static uint64_t stay_begun(const struct record *record)
{
    return record->op <= SET ? stay(record->arg, record->key) : 0;
}

static uint64_t stay_ended(const struct record *record)
{
    return record->op == EXIT ? stay(record->arg, record->key) : 0;
}

/* ---- what became known ---- */

/* A call's result was open, or it found somebody: it was this one. */
static void know(struct record *record, uint64_t fiber)
{
    if (!record || record->result == NUMBER)
        return;
    STRESS_CHECK(record->result == UNKNOWN || (record->result == TRUTH && record->number),
                 "%s found nobody and interrupted %" PRIu64, op_names[record->op], fiber);
    record->result = NUMBER;
    record->number = fiber;
}

/* A run displaces for one reason, interrupt and remove signal for another. */
static bool fits(const struct record *record, uint8_t reason)
{
    return puts_in(record) ? reason == FM_BY_REPLACE || reason == FM_BY_LAST_WAITER
                           : reason == FM_BY_REMOVE;
}

static void know_signals(struct history *h)
{
    struct index callers = index_of(h, caller_of);
    for (uint32_t i = 0; i < client_count(h); i++)
        for (size_t j = 0; j < h->client[i].signal_count; j++) {
            struct signal signal = h->client[i].signals[j];
            struct record *record = look_up(&callers, signal.by);
            if (record && fits(record, signal.reason))
                know(record, signal.fiber);
        }
    free(callers.found);
}

static void know_replaced(struct history *h)
{
    struct index stays = index_of(h, stay_begun);
    for (size_t i = 0; i < h->replaced_count; i++) {
        struct record *record = look_up(&stays, stay(h->replaced[i].fiber, h->replaced[i].key));
        if (record && puts_in(record))
            know(record, h->replaced[i].old);
    }
    free(stays.found);
}

/* Who left its key has a completion; who was displaced or detached has none. */
static void know_exits(struct history *h)
{
    struct index stays = index_of(h, stay_ended);
    struct fm_completion *completion;

    STRESS_CHECK(fm_map_completions_dropped(h->map) == 0, "a completion was dropped");
    for (size_t i = 0; i < stays.count; i++)
        if (stays.found[i].record)
            stays.found[i].record->result = TRUTH;
    while (fm_map_try_next(h->map, &completion) == 0) {
        for (uint32_t key = 0; key < h->keys; key++) {
            const char *name = h->names[key];
            if (completion->key.len != strlen(name) ||
                memcmp(completion->key.data, name, completion->key.len) != 0)
                continue;
            struct record *record = look_up(&stays,
                                            stay(fm_fiber_id(completion->fiber), (int32_t)key));
            if (record)
                record->number = true;
        }
        fm_completion_free(completion);
    }
    free(stays.found);
}

void history_resolve(struct history *h)
{
    for (uint32_t i = 0; i < client_count(h); i++)
        for (size_t j = 0; j < h->client[i].count; j++) {
            struct record *record = &h->client[i].records[j];
            if (record->told)
                record->arg = record->told->id;
        }
    know_signals(h);
    if (h->watched) {
        know_replaced(h);
        know_exits(h);
    }
}

/* ---- lines ---- */

static void write_record(FILE *out, const struct history *h, const struct client *c,
                         const struct record *record)
{
    fprintf(out, "{\"client\":%u,\"op\":\"%s\"", c->number, op_names[record->op]);
    if (record->key >= 0)
        fprintf(out, ",\"key\":\"%s\"", h->names[record->key]);
    if (record->arg)
        fprintf(out, ",\"arg\":%" PRIu64, record->arg);
    if (record->op == RUN_IF)
        fprintf(out, ",\"expect\":%" PRIu64, record->expect);
    if (record->op == RUN_QUEUE)
        fprintf(out, ",\"most\":%" PRIu64, record->expect);
    if (record->flags & RECORD_REUSES)
        fputs(",\"reuses\":true", out);
    if (record->flags & RECORD_REUSED)
        fputs(",\"reused\":true", out);
    if (record->flags & RECORD_FOLLOWS)
        fputs(",\"follows\":true", out);
    if (record->flags & RECORD_STOPS)
        fputs(",\"stops\":true", out);
    if (record->flags & RECORD_LEFT)
        fputs(",\"left\":true", out);
    if (record->flags & RECORD_GIVEN_UP)
        fputs(",\"given_up\":true", out);
    switch ((enum result)record->result) {
    case UNKNOWN: break;
    case NUMBER: fprintf(out, ",\"result\":%" PRIu64, record->number); break;
    case TRUTH: fprintf(out, ",\"result\":%s", record->number ? "true" : "false"); break;
    case CLOSED: fputs(",\"result\":\"closed\"", out); break;
    case FAILED: fputs(",\"result\":\"failed\"", out); break;
    case WAITS: fputs(",\"result\":\"queued\"", out); break;
    case FULL: fputs(",\"result\":\"full\"", out); break;
    }
    fprintf(out, ",\"call_ns\":%" PRId64 ",\"return_ns\":%" PRId64 "}\n", record->call_ns,
            record->return_ns);
}

void history_write(const struct history *h, FILE *out, const char *title)
{
    fprintf(out, "# %s\n", title);
    for (uint32_t i = 0; i < client_count(h); i++)
        for (size_t j = 0; j < h->client[i].count; j++)
            write_record(out, h, &h->client[i], &h->client[i].records[j]);
    STRESS_CHECK(fflush(out) == 0 && !ferror(out), "writing the history");
}
