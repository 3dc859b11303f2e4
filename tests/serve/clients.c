/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clients.c - crowds that load the server, a fiber for each of them
 *
 *   serve_clients ask PORT CLIENTS REQUESTS SECONDS
 *   serve_clients turns PORT CLIENTS TURNS
 *   serve_clients meet PORT USERS MESSAGES
 *
 * Says on standard output which step all have done, and waits on standard input for the word.
 * The exit code is 0 if every answer, message and close was what it should be.
 */
#include "tests/serve/clients.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    DIALS_AT_ONCE = 100,
    CLIENTS_OF_ADDRESS = 5000,
};

static struct fm_semaphore *dials;

/* ---- failing ---- */

void clients_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    flockfile(stderr);
    fputs("serve_clients: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    _exit(1);
}

void clients_must(const char *what, unsigned number, int r)
{
    if (r < 0)
        clients_fail("client %u: %s: %s", number, what, fm_strerror(r));
}

/* ---- bytes ---- */

int clients_dial(uint16_t port, unsigned number)
{
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_in from = { .sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 +
                                                         number / CLIENTS_OF_ADDRESS % 250) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    clients_must("socket", number, fd < 0 ? -errno : 0);
    /* the port is chosen when it is known whom it goes to */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int) { 1 }, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int) { 1 }, sizeof(int));
    clients_must("bind", number, bind(fd, (struct sockaddr *)&from, sizeof from) ? -errno : 0);

    clients_must("its turn", number, fm_semaphore_acquire(dials, 1, FM_NEVER));
    clients_must("connect", number,
                 fm_connect(fd, (struct sockaddr *)&to, sizeof to, fm_after_s(PATIENCE_S)));
    fm_semaphore_release(dials, 1);
    return fd;
}

void clients_send(int fd, unsigned number, const void *bytes, size_t len)
{
    clients_must("send", number,
                 (int)fm_write_full(fd, bytes, len, fm_after_s(PATIENCE_S), NULL));
}

size_t clients_receive(int fd, unsigned number, void *bytes, size_t room)
{
    ssize_t n = fm_recv(fd, bytes, room, 0, fm_after_s(PATIENCE_S));
    clients_must("receive", number, (int)n);
    return (size_t)n;
}

/* ---- steps ---- */

void step_init(struct step *step, unsigned clients)
{
    clients_must("a latch", 0, fm_latch_create(clients, &step->reached));
    clients_must("a latch", 0, fm_latch_create(1, &step->over));
}

void step_fini(struct step *step)
{
    fm_latch_destroy(step->reached);
    fm_latch_destroy(step->over);
}

void step_reach(struct step *step)
{
    fm_latch_count_down(step->reached, 1);
    clients_must("the next step", 0, fm_latch_wait(step->over, FM_NEVER));
}

void step_await(struct step *step)
{
    clients_must("all of them", 0, fm_latch_wait(step->reached, FM_NEVER));
}

void step_end(struct step *step, const char *line, const char *word)
{
    char heard[16];
    size_t len = 0;
    printf("%s\n", line);
    fflush(stdout);
    do {
        ssize_t n = fm_read(STDIN_FILENO, heard + len, sizeof heard - 1 - len, FM_NEVER);
        if (n <= 0)
            clients_fail("nobody says %s", word);
        len += (size_t)n;
    } while (heard[len - 1] != '\n' && len < sizeof heard - 1);
    heard[len - 1] = '\0';
    if (strcmp(heard, word))
        clients_fail("%s: the word is %s", heard, word);
    fm_latch_count_down(step->over, 1);
}

void clients_start(struct fm_set *set, fm_entry_fn *entry, void *clients, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        clients_must("a fiber", i, fm_set_run(set, entry, clients, NULL, NULL));
}

void clients_await(struct fm_set *set)
{
    clients_must("their end", 0, fm_set_await_empty(set, FM_NEVER));
}

/* ---- the command line ---- */

struct command {
    const char *name;
    unsigned numbers[4];
};

static struct fm_exit program(void *arg)
{
    const struct command *command = arg;
    const unsigned *numbers = command->numbers;
    uint16_t port = (uint16_t)numbers[0];
    clients_must("a semaphore", 0, fm_semaphore_create(DIALS_AT_ONCE, &dials));
    if (!strcmp(command->name, "ask"))
        clients_ask(&(struct asking) { port, numbers[1], numbers[2], numbers[3], 0 });
    else if (!strcmp(command->name, "turns"))
        clients_ask(&(struct asking) { port, numbers[1], 0, 0, numbers[2] });
    else if (!strcmp(command->name, "meet"))
        clients_meet(&(struct meeting) { port, numbers[1], numbers[2] });
    else
        clients_fail("no such crowd: %s", command->name);
    fm_semaphore_destroy(dials);
    return fm_ok(NULL);
}

int main(int argc, char *argv[])
{
    struct command command = { .name = argc > 1 ? argv[1] : "" };
    for (int i = 2; i < argc && i < 6; i++)
        command.numbers[i - 2] = (unsigned)strtoul(argv[i], NULL, 10);
    /* crowds share the machine with the server: who has waited for a turn says nothing */
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    config.flags = FM_RUNTIME_NO_STALL_REPORT;
    struct fm_runtime *runtime;
    clients_must("a runtime", 0, fm_runtime_create(&config, &runtime));
    int r = fm_runtime_run(runtime, program, &command, NULL);
    fm_runtime_destroy(runtime);
    return r < 0;
}
