/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hello.c - the shortest answers, to measure with
 *
 * Owns        nothing: what the two fibers of a keyed answer share stands on the stack of the
 *             one that waits. It is masked and waits without a deadline, so it outlasts the
 *             other.
 */
#include "tools/server/hello.h"

#include "tools/server/text.h"

struct hello {
    struct server *server;
    unsigned long long number; /* of answers made, this one included; 0: not made */
};

void hello_plain(struct exchange *x, const char *name)
{
    answer_text(x, 200, "hello\n");
}

static struct fm_exit hello_entry(void *arg)
{
    struct hello *hello = arg;
    hello->number = 1 + atomic_fetch_add_explicit(&hello->server->hellos_made, 1,
                                                  memory_order_relaxed);
    return fm_ok(NULL);
}

/* prefix, number, suffix */
static void compose(char *out, const char *prefix, unsigned long long number,
                    const char *suffix)
{
    out = stpcpy(out, prefix);
    out += text_number(number, out);
    strcpy(out, suffix);
}

void hello_keyed(struct exchange *x, const char *name)
{
    struct hello hello = { .server = x->server };
    char text[48];
    compose(text, "hello-",
            atomic_fetch_add_explicit(&x->server->hello_sequence, 1, memory_order_relaxed), "");
    int r = fm_map_run_wait(x->server->hellos, fm_key_str(text), hello_entry, &hello, NULL,
                            FM_NEVER, NULL);
    if (r < 0 || hello.number == 0) {
        answer_error(x, 503, r < 0 ? fm_strerror(r) : "draining");
        return;
    }
    compose(text, "hello ", hello.number, "\n");
    answer_text(x, 200, text);
}
