/* SPDX-License-Identifier: Apache-2.0 */
/* consumer.c - a user's program, valid as C11 and as C++17: a fiber runs and hands its result back */
#include <fm/fm.h>
#include <stdio.h>
#include <string.h>

static struct fm_exit add_one(void *arg)
{
    int *number = (int *)arg;
    *number += 1;
    return fm_ok(number);
}

int main(void)
{
    int number = 41;
    struct fm_exit exit;
    int r = fm_run(add_one, &number, &exit);
    if (r < 0) {
        fprintf(stderr, "fm_run: %s\n", fm_strerror(r));
        return 1;
    }
    if (exit.kind != FM_SUCCESS || exit.value != &number || number != 42) {
        fprintf(stderr, "wrong end: kind %d, number %d\n", exit.kind, number);
        return 2;
    }
    if (strcmp(fm_version(), "0.1.0") != 0) {
        fprintf(stderr, "wrong version: %s\n", fm_version());
        return 3;
    }
    return 0;
}
