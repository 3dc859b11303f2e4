#include <arpa/inet.h>
#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Users who write to each other, a line at a time: the first line is one's name, every other is
 * "TO: TEXT". A user has one connection, and a mailbox whether he has one or not.
 */
enum { LINE_BYTES = 256, MAILBOX_LINES = 4, CONNECTIONS_MAX = 1000, USERS = 3 };

struct user {
    const char *name;
    struct fm_channel *mailbox;
};

struct server {
    int listener;
    struct user users[USERS];
    struct fm_map *online;      /* key: the user's name */
    struct fm_set *connections; /* all of them, also those who have not said who they are */
    int last;                   /* of the clients, to see how it is let go */
};

struct connection {
    struct server *server;
    struct user *user;
    int fd;
    size_t len;
    char in[LINE_BYTES];
};

/* ---- lines ---- */

/* The next line, without its end: 0 · -EPIPE the client has closed · -errno */
static int read_line(struct connection *c, char line[LINE_BYTES], int64_t deadline_ns)
{
    char *end;
    while (!(end = memchr(c->in, '\n', c->len))) {
        if (c->len == sizeof c->in)
            return -EMSGSIZE;
        ssize_t n = fm_recv(c->fd, c->in + c->len, sizeof c->in - c->len, 0, deadline_ns);
        if (n <= 0)
            return n < 0 ? (int)n : -EPIPE;
        c->len += (size_t)n;
    }
    size_t used = (size_t)(end - c->in);
    memcpy(line, c->in, used);
    line[used] = '\0';
    c->len -= used + 1;
    memmove(c->in, end + 1, c->len);
    return 0;
}

static int write_text(struct connection *c, const char *text)
{
    return (int)fm_write_full(c->fd, text, strlen(text), fm_after_s(10), NULL);
}

/* ---- mailboxes ---- */

static struct user *find_user(struct server *server, const char *name)
{
    for (int i = 0; i < USERS; i++)
        if (!strcmp(server->users[i].name, name))
            return &server->users[i];
    return NULL;
}

/* 0 · -ETIMEDOUT so many letters wait there already · -ECANCELED · -ENOMEM */
static int put(struct user *to, const char *from, const char *text, int64_t deadline_ns)
{
    char *letter = malloc(LINE_BYTES + 64);
    if (!letter)
        return -ENOMEM;
    snprintf(letter, LINE_BYTES + 64, "%s: %s\n", from, text);
    int r = fm_channel_send(to->mailbox, letter, deadline_ns);
    if (r < 0)
        free(letter);
    return r;
}

/* A child of the connection: it writes, so that the connection can read. */
static struct fm_exit write_letters(void *arg)
{
    struct connection *c = arg;
    for (;;) {
        void *letter;
        int r = fm_channel_recv(c->user->mailbox, FM_NEVER, &letter);
        if (r < 0)
            return fm_fail(r);
        r = write_text(c, letter);
        free(letter);
        if (r < 0) {
            shutdown(c->fd, SHUT_RDWR); /* so that the connection hears of it */
            return fm_fail(r);
        }
    }
}

/* ---- a connection ---- */

/* However it ends: the writer is gone already. Finalizers are masked, so this can be sent. */
static int hang_up(void *arg, struct fm_exit exit)
{
    struct connection *c = arg;
    if (exit.kind == FM_INTERRUPTED)
        write_text(c, exit.reason == FM_BY_REPLACE ? "replaced\n" : "going away\n");
    fm_close(c->fd);
    free(c);
    return 0;
}

/* It never ran. */
static void drop(void *arg)
{
    struct connection *c = arg;
    fm_close(c->fd);
    free(c);
}

/* From here on the user's connection: the one before is interrupted. */
static int enter(struct connection *c, const char *name)
{
    c->user = find_user(c->server, name);
    if (!c->user)
        return -ENOENT;
    int r = fm_map_set(c->server->online, fm_key_str(name), fm_fiber_self(), NULL);
    if (r >= 0)
        r = write_text(c, "hello\n");
    return r < 0 ? r : fm_fiber_spawn(write_letters, c, NULL, NULL);
}

/*
 * Nobody waits for a mailbox of somebody else. But who does not read what he makes us answer is
 * waited for, and meanwhile nothing more is read from him; for ten seconds.
 */
static int deliver(struct connection *c, char *line)
{
    char *text = strstr(line, ": ");
    if (!text)
        return -EPROTO;
    *text = '\0';
    struct user *to = find_user(c->server, line);
    int r = to ? put(to, c->user->name, text + 2, 0) : -ENOENT;
    if (r == -ETIMEDOUT || r == -ENOENT)
        r = put(c->user, line, to ? "full" : "nobody", fm_after_s(10));
    return r;
}

static struct fm_exit serve(void *arg)
{
    struct connection *c = arg;
    char line[LINE_BYTES];

    int r = fm_defer(hang_up, c);
    if (r < 0) {
        drop(c);
        return fm_fail(r);
    }
    r = read_line(c, line, fm_after_s(10)); /* for all of it, not for each byte */
    if (r == 0)
        r = enter(c, line);
    while (r == 0) {
        r = read_line(c, line, fm_after_s(600));
        if (r == 0)
            r = deliver(c, line);
    }
    return r == -EPIPE ? fm_ok(NULL) : fm_fail(r);
}

/* ---- the door ---- */

static void start(struct server *server, int fd)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct connection *c = calloc(1, sizeof *c);
    if (!c) {
        fm_close(fd);
        return;
    }
    c->server = server;
    c->fd = fd;
    options.arg_drop = drop;
    if (fm_set_run(server->connections, serve, c, &options, NULL) < 0)
        drop(c);
}

static struct fm_exit accept_all(void *arg)
{
    struct server *server = arg;
    for (;;) {
        int fd = fm_accept(server->listener, NULL, NULL, FM_NEVER);
        if (fd >= 0)
            start(server, fd);
        else if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM)
            fm_sleep_ms(100); /* clients wait in the kernel, and so do we */
        else if (fd != -ECONNABORTED)
            return fm_fail(fd);
    }
}

static void tell_metrics(struct server *server, char *text, size_t bytes)
{
    struct fm_runtime_stats stats;
    fm_runtime_stats(fm_runtime_current(), &stats);
    snprintf(text, bytes, "connections %zu\nonline %zu\nfibers %llu\nlate_ns_p99 %llu\n",
             fm_set_size(server->connections), fm_map_size(server->online),
             (unsigned long long)stats.fibers_live,
             (unsigned long long)fm_histogram_percentile(&stats.schedule_latency, 99));
}

/* ---- clients ---- */

/* Says who it is: the connection, or -1 */
static int come(struct server *server, const char *name)
{
    struct sockaddr_in address = { 0 };
    socklen_t bytes = sizeof address;
    char text[64];
    int fd;

    getsockname(server->listener, (struct sockaddr *)&address, &bytes);
    if (fm_dial_tcp("127.0.0.1", ntohs(address.sin_port), fm_after_s(20), &fd) < 0)
        return -1;
    snprintf(text, sizeof text, "%s\n", name);
    fm_write_full(fd, text, strlen(text), fm_after_s(20), NULL);
    return fd;
}

/* The next thing that it hears is this. */
static bool hears(int fd, const char *who, const char *expected)
{
    char heard[64] = "";
    ssize_t n = fm_read_full(fd, heard, strlen(expected), fm_after_s(20), NULL);
    printf("%s hears %s", who, heard);
    return n >= 0 && !strcmp(heard, expected);
}

static void says(int fd, const char *text)
{
    fm_write_full(fd, text, strlen(text), fm_after_s(20), NULL);
}

static bool converse(struct server *server)
{
    int ann = come(server, "ann");
    bool right = hears(ann, "ann", "hello\n");
    int bob = come(server, "bob");
    right = right && hears(bob, "bob", "hello\n");
    says(ann, "bob: are you there?\n");
    right = right && hears(bob, "bob", "ann: are you there?\n");

    int telephone = come(server, "ann");
    right = right && hears(ann, "ann", "replaced\n") && hears(telephone, "ann", "hello\n");
    for (int i = 0; i <= MAILBOX_LINES; i++)
        says(telephone, "cat: call me\n"); /* who never comes */
    right = right && hears(telephone, "ann", "cat: full\n");
    fm_close(ann);
    fm_close(bob);
    fm_map_await_key(server->online, fm_key_str("bob"), fm_after_s(20), NULL);
    says(telephone, "bob: good night\n"); /* he is gone: it waits */
    bob = come(server, "bob");
    right = right && hears(bob, "bob", "hello\n") && hears(bob, "bob", "ann: good night\n");
    fm_close(bob);

    char metrics[256];
    tell_metrics(server, metrics, sizeof metrics);
    server->last = telephone;
    return right && strstr(metrics, "\nonline ");
}

/* ---- the whole ---- */

static int close_listener(void *arg, struct fm_exit exit)
{
    (void)exit;
    return fm_close(((struct server *)arg)->listener);
}

/* Everything belongs to the scope that is open: it ends in the reverse order. */
static int open_server(struct server *server)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    config.max_live = CONNECTIONS_MAX; /* one more waits, and so the door does */
    int r = fm_set_create_scoped(&config, &server->connections);
    if (r == 0)
        r = fm_map_create_scoped(NULL, &server->online);
    if (r == 0)
        r = fm_listen_tcp("127.0.0.1", 0, 128, &server->listener);
    if (r == 0)
        r = fm_defer(close_listener, server);
    return r < 0 ? r : fm_fiber_spawn(accept_all, server, NULL, NULL);
}

static struct fm_exit serve_until_the_end(void *arg)
{
    struct server *server = arg;
    int r = open_server(server);
    if (r < 0)
        return fm_fail(r);
    return converse(server) ? fm_ok(NULL) : fm_fail(-EPROTO); /* fm_signal_wait in yours */
}

static struct fm_exit program(void *arg)
{
    struct fm_channel_options options = FM_CHANNEL_OPTIONS_INIT;
    struct server server = { .users = { { "ann", NULL }, { "bob", NULL }, { "cat", NULL } },
                             .last = -1 };
    int r = 0;

    options.drop = free; /* letters that nobody will read */
    for (int i = 0; i < USERS && r == 0; i++)
        r = fm_channel_create(MAILBOX_LINES, &options, &server.users[i].mailbox);
    struct fm_exit exit = r < 0 ? fm_fail(r) : fm_scoped(serve_until_the_end, &server);
    if (server.last >= 0 && !hears(server.last, "ann", "going away\n"))
        exit = fm_fail(-EPROTO);
    if (server.last >= 0)
        fm_close(server.last);
    for (int i = 0; i < USERS; i++)
        fm_channel_destroy(server.users[i].mailbox);
    return exit;
}

int main(void)
{
    struct fm_exit exit = { 0 };
    return fm_run(program, NULL, &exit) < 0 || exit.kind != FM_SUCCESS;
}
