#include <curl/curl.h>
#include <errno.h>
#include <fm/fm.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Requests are shared while they are under way, and their answers kept for five minutes, over
 * libcurl. Its multi-socket interface says which sockets it wants to be told of, and when:
 * under each socket's number a fiber waits, under -1 one for the time.
 */
#define SECOND INT64_C(1000000000)

struct client {
    CURLM *multi;
    struct fm_mutex *mutex;  /* one at a time works with libcurl */
    struct fm_map *waiting;  /* by socket */
    struct fm_map *requests; /* by URL */
};

/* ---- libcurl, driven by fibers ---- */

struct wish {
    struct client *client;
    curl_socket_t fd; /* or CURL_SOCKET_TIMEOUT, which is -1 */
    long what;        /* CURL_POLL_IN ... of a socket, else so many milliseconds */
};

/* What has come is libcurl's to deal with. Which transfers have ended by that? */
static int act(struct client *client, curl_socket_t fd, int events)
{
    struct fm_deferred *done;
    CURLMsg *message;
    int running, left;

    int r = fm_mutex_lock(client->mutex, FM_NEVER);
    if (r < 0)
        return r; /* interrupted: it has another wish by now */
    curl_multi_socket_action(client->multi, fd, events, &running);
    while ((message = curl_multi_info_read(client->multi, &left)))
        if (curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &done) == CURLE_OK)
            fm_deferred_complete(done, message->data.result == CURLE_OK ? fm_ok(NULL)
                                                                        : fm_fail(-EIO));
    fm_mutex_unlock(client->mutex);
    return 0;
}

static struct fm_exit wait_for_socket(const struct wish *wish)
{
    unsigned events = (wish->what & CURL_POLL_IN ? FM_IO_READ : 0) |
                      (wish->what & CURL_POLL_OUT ? FM_IO_WRITE : 0);
    for (;;) {
        int r = fm_io_wait(wish->fd, events, FM_NEVER);
        if (r >= 0)
            r = act(wish->client, wish->fd,
                    (r & FM_IO_READ ? CURL_CSELECT_IN : 0) |
                        (r & FM_IO_WRITE ? CURL_CSELECT_OUT : 0));
        if (r < 0)
            return fm_fail(r);
    }
}

static struct fm_exit wait_for_time(const struct wish *wish)
{
    int r = fm_sleep_ms(wish->what);
    if (r == 0)
        r = act(wish->client, CURL_SOCKET_TIMEOUT, 0);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

static struct fm_exit wait_for(void *arg)
{
    struct wish wish = *(struct wish *)arg;
    free(arg);
    return wish.fd == CURL_SOCKET_TIMEOUT ? wait_for_time(&wish) : wait_for_socket(&wish);
}

/*
 * In the place of the last wish for that socket. libcurl calls this within a call of ours,
 * under the mutex, possibly from the very fiber that is replaced: it ends at its next wait.
 */
static int make_wish(struct client *client, curl_socket_t fd, long what)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    struct wish *wish = malloc(sizeof *wish);
    if (!wish)
        return -1; /* libcurl gives its transfers up */
    *wish = (struct wish) { client, fd, what };
    options.arg_drop = free;
    int r = fm_map_run(client->waiting, fm_key_bytes(&fd, sizeof fd), wait_for, wish, &options,
                       NULL);
    if (r < 0)
        free(wish);
    return r < 0 ? -1 : 0;
}

static int drop_wish(struct client *client, curl_socket_t fd)
{
    fm_map_interrupt(client->waiting, fm_key_bytes(&fd, sizeof fd));
    return 0;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
    (void)easy, (void)unused;
    return what == CURL_POLL_REMOVE ? drop_wish(arg, fd) : make_wish(arg, fd, what);
}

static int on_time(CURLM *multi, long ms, void *arg)
{
    (void)multi;
    return ms < 0 ? drop_wish(arg, CURL_SOCKET_TIMEOUT)
                  : make_wish(arg, CURL_SOCKET_TIMEOUT, ms);
}

/* A descriptor that fibers have waited for is closed by fm_close. */
static int close_socket(void *arg, curl_socket_t fd)
{
    (void)arg;
    return fm_close(fd);
}

/* ---- one request ---- */

struct page {
    struct client *client;
    char url[64];
};

/* From here to the end libcurl has the transfer; an interruption takes it away again. */
static int transfer(struct client *client, CURL *easy, struct fm_deferred *done)
{
    struct fm_exit exit = { 0 };
    int r = fm_mutex_lock(client->mutex, FM_NEVER);
    if (r < 0)
        return r;
    bool added = curl_multi_add_handle(client->multi, easy) == CURLM_OK;
    fm_mutex_unlock(client->mutex);
    r = added ? fm_deferred_await(done, FM_NEVER, &exit) : -EIO;
    fm_mask();
    fm_mutex_lock(client->mutex, FM_NEVER);
    curl_multi_remove_handle(client->multi, easy);
    fm_mutex_unlock(client->mutex);
    fm_unmask();
    return r < 0 ? r : exit.code;
}

static int transfer_text(struct page *page, FILE *out, struct fm_deferred *done)
{
    CURL *easy = curl_easy_init();
    if (!easy)
        return -ENOMEM;
    /* By number: names would want fm_resolve and CURLOPT_RESOLVE, or else libcurl's threads. */
    curl_easy_setopt(easy, CURLOPT_URL, page->url);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, out);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, done);
    int r = transfer(page->client, easy, done);
    curl_easy_cleanup(easy);
    return r;
}

static struct fm_exit fetch(void *page)
{
    struct fm_deferred *done = NULL;
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return fm_fail(-ENOMEM);
    int r = fm_deferred_create(&done);
    if (r == 0)
        r = transfer_text(page, out, done);
    fm_deferred_destroy(done);
    if (fclose(out) != 0 && r == 0)
        r = -ENOMEM;
    if (r == 0)
        return fm_ok(text);
    free(text);
    return fm_fail(r);
}

/*
 * A look into the cache, a look for who is under way, and then a start would be three steps,
 * with room for others in between. Here they are one: of all who ask, one starts the request;
 * those who come while it is under way join it, those who come later find its answer.
 */
static int request(struct page *page, struct fm_fiber **ret_fiber)
{
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.conflict = FM_JOIN;
    options.reuse = FM_REUSE_SUCCESS; /* what failed is tried again */
    options.value_drop = free;
    return fm_map_run(page->client->requests, fm_key_str(page->url), fetch, page, &options,
                      ret_fiber);
}

static void close_client(struct client *client)
{
    fm_map_destroy(client->requests);          /* no more transfers */
    fm_map_close(client->waiting, NULL, NULL); /* nobody waits, no wish is granted any more */
    curl_multi_cleanup(client->multi);
    fm_map_destroy(client->waiting);
    fm_mutex_destroy(client->mutex);
}

static int open_client(struct client *client)
{
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    config.retain_count = 1000;
    config.retain_ns = 300 * SECOND;
    *client = (struct client) { .multi = curl_multi_init() };
    int r = client->multi ? 0 : -ENOMEM;
    if (r == 0)
        r = fm_mutex_create(&client->mutex);
    if (r == 0)
        r = fm_map_create(NULL, &client->waiting);
    if (r == 0)
        r = fm_map_create(&config, &client->requests);
    if (r < 0) {
        close_client(client);
        return r;
    }
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_time);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    return 0;
}

/* ---- a server to ask: one connection after the other ---- */

struct server {
    int fd;
    uint16_t port;
    atomic_int requests;
    struct fm_deferred *go; /* answers wait for it */
    struct fm_fiber *fiber;
};

static int hang_up(void *arg, struct fm_exit exit)
{
    (void)exit;
    return fm_close(*(int *)arg);
}

static struct fm_exit serve_connection(void *arg)
{
    static const char users[] = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n42 users";
    static const char down[] = "HTTP/1.1 503 -\r\nContent-Length: 0\r\n\r\n";
    struct server *server = arg;
    char text[2048];
    size_t length = 0;

    int fd = fm_accept(server->fd, NULL, NULL, FM_NEVER);
    if (fd < 0)
        return fm_fail(fd);
    int r = fm_defer(hang_up, &fd);
    if (r < 0) {
        fm_close(fd);
        return fm_fail(r);
    }
    for (;;) {
        ssize_t n = fm_read(fd, text + length, sizeof text - 1 - length, FM_NEVER);
        if (n <= 0)
            return fm_ok(NULL);
        text[length += (size_t)n] = '\0';
        if (!strstr(text, "\r\n\r\n"))
            continue;
        length = 0;
        server->requests++;
        fm_deferred_await(server->go, FM_NEVER, NULL);
        const char *answer = strncmp(text, "GET /users ", 11) == 0 ? users : down;
        if (fm_write_full(fd, answer, strlen(answer), FM_NEVER, NULL) < 0)
            return fm_ok(NULL);
    }
}

static struct fm_exit serve(void *arg)
{
    while (fm_check() == 0)
        fm_scoped(serve_connection, arg); /* closes it, however that ends */
    return fm_interrupted();
}

static int open_server(struct server *server)
{
    struct sockaddr_in address;
    socklen_t bytes = sizeof address;
    int r = fm_deferred_create(&server->go);
    if (r == 0)
        r = fm_listen_tcp(NULL, 0, 16, &server->fd);
    if (r == 0)
        r = getsockname(server->fd, (struct sockaddr *)&address, &bytes);
    if (r == 0)
        server->port = ntohs(address.sin_port);
    return r < 0 ? r : fm_fiber_spawn(serve, server, NULL, &server->fiber);
}

static void close_server(struct server *server)
{
    if (server->fiber)
        fm_fiber_stop(server->fiber, FM_NEVER, NULL);
    fm_fiber_unref(server->fiber);
    fm_deferred_destroy(server->go);
    if (server->fd >= 0)
        fm_close(server->fd);
}

/* ---- what is asked, and what must come of it ---- */

struct visitors {
    struct page *page;
    struct server *server;
    atomic_int asked, shared, answered;
};

static struct fm_exit visit(void *arg, size_t i)
{
    struct visitors *all = arg;
    struct fm_fiber *fiber;
    struct fm_exit exit;
    (void)i;
    int r = request(all->page, &fiber);
    if (r < 0)
        return fm_fail(r);
    all->shared += r == FM_MAP_KEPT;
    if (++all->asked == 3)
        fm_deferred_succeed(all->server->go, NULL); /* all have: now it may answer */
    r = fm_fiber_join(fiber, FM_NEVER, &exit);
    if (r == 0 && exit.kind == FM_SUCCESS && strcmp(exit.value, "42 users") == 0)
        all->answered++;
    fm_fiber_unref(fiber); /* the answer is valid until here */
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

/* One more; `how` it is had, and how many requests the server has seen by then. */
static bool get(struct page *page, struct server *server, int how, int kind, int requests)
{
    struct fm_fiber *fiber;
    struct fm_exit exit = { 0 };
    int r = request(page, &fiber);
    bool right = r == how;
    if (r < 0)
        return false;
    r = fm_fiber_join(fiber, FM_NEVER, &exit);
    printf("%s %s; the server has seen %d\n", how == FM_MAP_REUSED ? "kept:" : "fetched:",
           exit.kind == FM_SUCCESS ? (const char *)exit.value : fm_strerror(exit.code),
           server->requests);
    fm_fiber_unref(fiber);
    return right && r == 0 && exit.kind == kind && server->requests == requests;
}

static bool use(struct client *client, struct server *server, struct fm_runtime *runtime)
{
    struct page users = { .client = client }, down = { .client = client };
    struct visitors three = { .page = &users, .server = server };
    snprintf(users.url, sizeof users.url, "http://127.0.0.1:%d/users", server->port);
    snprintf(down.url, sizeof down.url, "http://127.0.0.1:%d/down", server->port);

    int r = fm_for_each(3, 0, visit, &three, NULL);
    printf("%d of %d shared the request of another\n", three.shared, three.answered);
    bool right = r == 0 && three.shared == 2 && three.answered == 3;
    right = right && get(&users, server, FM_MAP_REUSED, FM_SUCCESS, 1);
    fm_clock_advance_ns(runtime, 301 * SECOND);
    return right && get(&users, server, 0, FM_SUCCESS, 2) &&
           get(&down, server, 0, FM_FAILURE, 3) && get(&down, server, 0, FM_FAILURE, 4);
}

static struct fm_exit program(void *runtime)
{
    struct server server = { .fd = -1 };
    struct client client;
    bool right = false;
    int r = open_server(&server);
    if (r == 0)
        r = open_client(&client);
    if (r == 0) {
        right = use(&client, &server, runtime);
        close_client(&client);
    }
    close_server(&server);
    return r < 0 ? fm_fail(r) : right ? fm_ok(NULL) : fm_fail(-EPROTO);
}

int main(void)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_exit exit = { 0 };

    config.clock = FM_CLOCK_VIRTUAL; /* the sockets are real, the five minutes are not */
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ||
        fm_runtime_create(&config, &runtime) < 0)
        return 1;
    int r = fm_runtime_run(runtime, program, runtime, &exit);
    fm_runtime_destroy(runtime);
    curl_global_cleanup();
    return r < 0 || exit.kind != FM_SUCCESS;
}
