/* SPDX-License-Identifier: Apache-2.0 */
/*
 * read.c - lines to operations
 *
 * A line is one JSON object whose values are numbers, true, false, null, and strings without
 * escapes: more is in no history. What it keeps of a line points into it.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/stress/check/check.h"

struct word {
    const char *text;
    size_t length;
};

static const char *const names[NAMES] = {
    [RUN] = "run",
    [RUN_MISSING] = "run_missing",
    [RUN_JOIN] = "run_join",
    [RUN_WAIT] = "run_wait",
    [RUN_AWAIT] = "run_await",
    [RUN_QUEUE] = "run_queue",
    [RUN_IF] = "run_if",
    [SET] = "set",
    [GET] = "get",
    [HAS] = "has",
    [SEE] = "see",
    [INTERRUPT] = "interrupt",
    [GONE] = "gone",
    [STEP] = "step",
    [BODY] = "body",
    [LAST] = "last",
    [REMOVE] = "remove",
    [DETACH] = "detach",
    [EXIT] = "exit",
    [CLEAR] = "clear",
    [CLOSE] = "close",
    [TURN] = "turn",
    [FORGET] = "forget",
};

static const struct {
    const char *word;
    enum result result;
} results[] = {
    { "null", UNTOLD },       { "true", YES },          { "false", NO },
    { "\"closed\"", CLOSED }, { "\"failed\"", FAILED }, { "\"queued\"", QUEUED },
    { "\"full\"", FULL },
};

static const struct {
    const char *word;
    enum flag flag;
} flags[] = {
    { "stops", STOPS },   { "left", LEFT },     { "given_up", GIVEN_UP },
    { "reuses", REUSES }, { "reused", REUSED }, { "follows", FOLLOWS },
};

static bool is(struct word word, const char *text)
{
    return strlen(text) == word.length && memcmp(word.text, text, word.length) == 0;
}

/* ---- fibers and keys by their number in the history ---- */

static uint32_t *place_of(const struct history *h, uint64_t id)
{
    uint64_t at = (id * UINT64_C(0x9e3779b97f4a7c15)) >> 20;
    for (;; at++) {
        uint32_t *place = &h->fiber_table[at % h->fiber_table_room];
        if (*place == 0 || h->ids[*place] == id)
            return place;
    }
}

static void make_room(struct history *h)
{
    if (h->fibers + 2 > h->ids_room) {
        h->ids_room = h->ids_room ? h->ids_room * 2 : 64;
        h->ids = grown(h->ids, h->ids_room, sizeof *h->ids);
        h->ids[0] = 0;
        free(h->fiber_table);
        h->fiber_table_room = h->ids_room * 2;
        h->fiber_table = zeroed(h->fiber_table_room, sizeof *h->fiber_table);
        for (uint32_t i = 1; i <= h->fibers; i++)
            *place_of(h, h->ids[i]) = i;
    }
}

static uint32_t fiber_of(struct history *h, uint64_t id)
{
    if (id == 0)
        return 0;
    make_room(h);
    uint32_t *place = place_of(h, id);
    if (*place == 0) {
        *place = ++h->fibers;
        h->ids[h->fibers] = id;
    }
    return *place;
}

/* There are few, and the one of the line before is the likeliest. */
static int32_t key_of(struct history *h, struct word name)
{
    for (int32_t i = h->key_count; i-- > 0;)
        if (h->keys[i].length == name.length &&
            memcmp(h->keys[i].text, name.text, name.length) == 0)
            return i;
    if (h->key_count == h->key_room) {
        h->key_room = h->key_room ? h->key_room * 2 : 16;
        h->keys = grown(h->keys, (size_t)h->key_room, sizeof *h->keys);
    }
    h->keys[h->key_count] = (struct key_name) { name.text, name.length };
    return h->key_count++;
}

/* ---- a line ---- */

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r'))
        at++;
    return at;
}

/* A string keeps its quotes. NULL: there is none. */
static const char *take(const char *at, const char *end, struct word *word)
{
    at = skip_blanks(at, end);
    word->text = at;
    if (at < end && *at == '"') {
        for (at++; at < end && *at != '"'; at++)
            if (*at == '\\')
                return NULL;
        if (at++ == end)
            return NULL;
    } else {
        while (at < end && !strchr(",:{}\" \t\r", *at))
            at++;
    }
    word->length = (size_t)(at - word->text);
    return word->length ? skip_blanks(at, end) : NULL;
}

static struct word bare(struct word word)
{
    if (word.length >= 2 && word.text[0] == '"')
        return (struct word) { word.text + 1, word.length - 2 };
    return word;
}

static bool number_of(struct word word, uint64_t *ret_number)
{
    uint64_t number = 0;
    for (size_t i = 0; i < word.length; i++) {
        if (word.text[i] < '0' || word.text[i] > '9' || number > UINT64_MAX / 10 - 1)
            return false;
        number = number * 10 + (uint64_t)(word.text[i] - '0');
    }
    *ret_number = number;
    return true;
}

static bool set_result(struct history *h, struct op *op, struct word value)
{
    uint64_t number;

    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        if (is(value, results[i].word)) {
            op->result = (uint8_t)results[i].result;
            return true;
        }
    if (!number_of(value, &number))
        return false;
    op->result = NUMBER;
    op->number = fiber_of(h, number);
    return true;
}

static bool set_name(struct op *op, struct word value)
{
    for (uint8_t i = 0; i < NAMES; i++)
        if (is(value, names[i])) {
            op->name = i;
            return true;
        }
    return false;
}

static bool set_flag(struct op *op, struct word name, struct word value)
{
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (is(name, flags[i].word)) {
            op->flags |= is(value, "true") ? (uint8_t)flags[i].flag : 0;
            return true;
        }
    return false;
}

/* What has no name that is known is not looked at. */
static bool set(struct history *h, struct op *op, struct word name, struct word value)
{
    uint64_t number = 0;

    if (is(name, "op"))
        return set_name(op, bare(value));
    if (is(name, "result"))
        return set_result(h, op, value);
    if (set_flag(op, name, value))
        return true;
    if (is(name, "key")) {
        op->key = key_of(h, bare(value));
        return true;
    }
    bool null = is(value, "null");
    if (!null && !number_of(value, &number))
        return !is(name, "arg") && !is(name, "expect") && !is(name, "most") &&
               !is(name, "call_ns") && !is(name, "return_ns");
    if (is(name, "arg"))
        op->arg = fiber_of(h, number);
    else if (is(name, "expect"))
        op->expect = fiber_of(h, number);
    else if (is(name, "most"))
        op->most = (uint32_t)number;
    else if (is(name, "call_ns"))
        op->call = (int64_t)number;
    else if (is(name, "return_ns") && !null)
        op->returned = (int64_t)number;
    return true;
}

static bool is_whole(const struct op *op)
{
    bool of_all = op->name == CLEAR || op->name == CLOSE;
    return op->name < NAMES && op->call >= 0 && op->call <= op->returned &&
           of_all == (op->key < 0);
}

bool history_add(struct history *h, const char *line, size_t length)
{
    struct op op = { .name = NAMES, .key = -1, .call = -1, .returned = NEVER };
    const char *at = skip_blanks(line, line + length), *end = line + length;

    op.line = line;
    op.length = (uint32_t)length;
    do {
        struct word name, value;
        if (at == end || *at != (op.name == NAMES && at == skip_blanks(line, end) ? '{' : ','))
            return false;
        at = take(at + 1, end, &name);
        if (!at || at == end || *at++ != ':')
            return false;
        at = take(at, end, &value);
        if (!at || !set(h, &op, bare(name), value))
            return false;
    } while (at < end && *at != '}');
    if (at == end || !is_whole(&op))
        return false;
    if (h->count == h->room) {
        h->room = h->room ? h->room * 2 : 1024;
        h->ops = grown(h->ops, h->room, sizeof *h->ops);
    }
    h->ops[h->count++] = op;
    return true;
}

void history_forget(struct history *h)
{
    if (h->fiber_table)
        memset(h->fiber_table, 0, h->fiber_table_room * sizeof *h->fiber_table);
    h->count = h->fibers = 0;
    h->key_count = 0;
}

void history_free(struct history *h)
{
    free(h->ops);
    free(h->ids);
    free(h->fiber_table);
    free(h->keys);
    *h = (struct history) { 0 };
}
