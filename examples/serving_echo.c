#include <arpa/inet.h>
#include <fm/fm.h>
#include <stdio.h>
#include <string.h>

/* The number of a descriptor as an argument. */
static void *pack(int fd)
{
    return (void *)(intptr_t)fd;
}

static int unpack(void *arg)
{
    return (int)(intptr_t)arg;
}

static struct fm_exit echo(void *arg)
{
    char bytes[4096];
    ssize_t n;
    while ((n = fm_recv(unpack(arg), bytes, sizeof bytes, 0, fm_after_s(60))) > 0)
        if ((n = fm_write_full(unpack(arg), bytes, (size_t)n, fm_after_s(60), NULL)) < 0)
            break;
    fm_close(unpack(arg));
    return n < 0 ? fm_fail((int)n) : fm_ok(NULL);
}

/* A fiber for each connection. They are its children, and end when it does. */
static struct fm_exit accept_all(void *listener)
{
    for (;;) {
        int fd = fm_accept(unpack(listener), NULL, NULL, FM_NEVER);
        if (fd < 0)
            return fm_fail(fd);
        if (fm_fiber_spawn(echo, pack(fd), NULL, NULL) < 0)
            fm_close(fd);
    }
}

/* ---- a client ---- */

static int use(int listener)
{
    struct sockaddr_in address = { 0 };
    socklen_t bytes = sizeof address;
    char text[] = "hello\n", heard[sizeof text] = "";
    int fd;

    getsockname(listener, (struct sockaddr *)&address, &bytes);
    int r = fm_dial_tcp("127.0.0.1", ntohs(address.sin_port), fm_after_s(20), &fd);
    if (r < 0)
        return r;
    ssize_t n = fm_write_full(fd, text, strlen(text), fm_after_s(20), NULL);
    if (n >= 0)
        n = fm_read_full(fd, heard, strlen(text), fm_after_s(20), NULL);
    fm_close(fd);
    printf("%s", heard);
    return n < 0 || strcmp(heard, text) ? -1 : 0;
}

static struct fm_exit program(void *arg)
{
    struct fm_fiber *acceptor;
    int listener;

    int r = fm_listen_tcp("127.0.0.1", 0, 128, &listener);
    if (r < 0)
        return fm_fail(r);
    r = fm_fiber_spawn(accept_all, pack(listener), NULL, &acceptor);
    if (r == 0) {
        r = use(listener);
        fm_fiber_stop(acceptor, FM_NEVER, NULL);
        fm_fiber_unref(acceptor);
    }
    fm_close(listener);
    return r < 0 ? fm_fail(r) : fm_ok(arg);
}

int main(void)
{
    struct fm_exit exit = { 0 };
    return fm_run(program, NULL, &exit) < 0 || exit.kind != FM_SUCCESS;
}
