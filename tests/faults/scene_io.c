/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scene_io.c - sockets, pipes, files, children, signals, names
 */
#include "tests/faults/faults.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static const char text[] = "some bytes that are told from one another";

static char folder[] = "/tmp/fm-faults-XXXXXX";

static void remove_folder(void)
{
    rmdir(folder);
}

/* A folder of our own, made once. */
static const char *in_folder(const char *name)
{
    static char path[64];
    static bool made;
    if (!made)
        HOLDS(mkdtemp(folder) != NULL && atexit(remove_folder) == 0);
    made = true;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* ---- streams ---- */

/* All of it through the two ends, in both ways of writing and reading; or a failure. */
static void talk(int to, int from)
{
    char got[sizeof text];
    struct iovec out = { (char *)text, sizeof text }, in = { got, sizeof got };
    size_t done;

    HOLDS(fm_io_wait(to, FM_IO_WRITE, SOON) > 0 || fault_met());
    if (OK(fm_write_full(to, text, sizeof text, SOON, &done)) &&
        OK(fm_read_full(from, got, sizeof got, SOON, &done)))
        HOLDS(memcmp(got, text, sizeof text) == 0);
    else
        return; /* bytes are left over, or missing */
    ssize_t n = fm_writev(to, &out, 1, SOON);
    if (OK(n) && OK(fm_read_full(from, got, (size_t)n, SOON, &done)))
        HOLDS(memcmp(got, text, (size_t)n) == 0);
    else
        return;
    n = fm_write(to, text, sizeof text, SOON);
    if (!OK(n))
        return;
    in.iov_len = (size_t)n;
    ssize_t read_so_far = fm_readv(from, &in, 1, SOON);
    if (!OK(read_so_far))
        return;
    if (read_so_far < n && !OK(fm_read(from, got, (size_t)(n - read_so_far), SOON)))
        return;
}

static void talk_by_messages(int to, int from)
{
    char byte = 0;
    HOLDS(fm_io_wait(from, FM_IO_READ, fm_now_ns()) < 0 || fault_met());
    if (OK(fm_send(to, "x", 1, 0, SOON)) && OK(fm_recv(from, &byte, 1, 0, SOON)))
        HOLDS(byte == 'x');
}

static struct fm_exit play_tcp(void *arg)
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    int listener, dialled = -1;
    (void)arg;
    if (!OK(fm_listen_tcp("127.0.0.1", 0, 8, &listener)))
        return fm_ok(NULL);
    HOLDS(getsockname(listener, (struct sockaddr *)&address, &len) == 0);
    if (OK(fm_dial_tcp("127.0.0.1", ntohs(address.sin_port), SOON, &dialled))) {
        int accepted = fm_accept(listener, NULL, NULL, SOON);
        if (OK(accepted)) {
            talk_by_messages(accepted, dialled);
            talk(dialled, accepted);
            OK(fm_close(accepted));
        }
        OK(fm_close(dialled));
    }
    OK(fm_close(listener));
    return fm_ok(NULL);
}

static struct fm_exit echo_one(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char byte;
    ssize_t n = fm_read(fd, &byte, 1, SOON);
    if (n == 1)
        n = fm_write(fd, &byte, 1, SOON);
    HOLDS(n == 1 || fault_met());
    fm_close(fd);
    return fm_ok(NULL);
}

/* Who waits is told, though it be of the end alone. */
static struct fm_exit play_local(void *arg)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const char *path = in_folder("socket");
    struct fm_fiber *fiber;
    int listener;
    int client = (int)syscall(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                              0);
    char byte;
    (void)arg;
    unlink(path);
    strcpy(address.sun_path, path);
    HOLDS(client >= 0);
    if (OK(fm_listen_unix(path, &listener))) {
        if (OK(fm_connect(client, (struct sockaddr *)&address, sizeof address, SOON))) {
            int accepted = fm_accept(listener, NULL, NULL, SOON);
            if (OK(accepted)) {
                if (OK(fm_fiber_spawn(echo_one, (void *)(intptr_t)accepted, NULL, &fiber))) {
                    if (OK(fm_write(client, "y", 1, SOON)))
                        HOLDS(fm_read(client, &byte, 1, fault_met() ? fm_after_ms(5) : SOON) ==
                                  1 ||
                              fault_met());
                    fm_close(client);
                    client = -1;
                    stop_and_unref(fiber);
                    if (fault_met())
                        fm_close(accepted); /* it may never have begun */
                } else {
                    OK(fm_close(accepted));
                }
            }
        }
        OK(fm_close(listener));
    }
    if (client >= 0)
        fm_close(client);
    unlink(path);
    return fm_ok(NULL);
}

static struct fm_exit play_pipe(void *arg)
{
    int ends[2];
    (void)arg;
    HOLDS(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    talk(ends[1], ends[0]);
    OK(fm_close(ends[0]));
    OK(fm_close(ends[1]));
    return fm_ok(NULL);
}

/* ---- files ---- */

static struct fm_exit play_file(void *arg)
{
    const char *path = in_folder("file");
    char got[sizeof text];
    int fd, ends[2];
    off_t offset = 0;
    (void)arg;
    if (!OK(fm_open(path, O_RDWR | O_CREAT | O_TRUNC, 0600, SOON, &fd)))
        return fm_ok(NULL);
    ssize_t n = fm_pwrite(fd, text, sizeof text, 0, SOON);
    if (OK(n)) {
        OK(fm_fdatasync(fd, SOON));
        OK(fm_fsync(fd, SOON));
        ssize_t back = fm_pread(fd, got, (size_t)n, 0, SOON);
        if (OK(back))
            HOLDS(back > 0 && memcmp(got, text, (size_t)back) == 0);
        HOLDS(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
        back = fm_sendfile(ends[1], fd, &offset, (size_t)n, SOON);
        if (OK(back))
            HOLDS(back > 0 && offset == back);
        OK(fm_close(ends[0]));
        OK(fm_close(ends[1]));
    }
    OK(fm_close(fd));
    unlink(path);
    return fm_ok(NULL);
}

/* ---- children ---- */

static struct fm_exit play_child(void *arg)
{
    const char *argv[] = { "cat", NULL };
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    struct fm_process_status status;
    struct fm_process *process;
    char got[sizeof text];
    size_t done;
    (void)arg;
    spec.argv = argv;
    spec.in.kind = spec.out.kind = FM_STDIO_PIPE;
    spec.err.kind = FM_STDIO_NULL;
    if (OK(fm_process_spawn(&spec, &process))) {
        HOLDS(fm_process_id(process) > 0);
        if (OK(fm_write_full(fm_process_fd(process, 0), text, sizeof text, SOON, &done))) {
            OK(fm_process_close_fd(process, 0));
            int out = fm_process_take_fd(process, 1);
            HOLDS(out >= 0);
            bool whole = OK(fm_read_full(out, got, sizeof got, SOON, &done));
            if (whole)
                HOLDS(memcmp(got, text, sizeof text) == 0);
            OK(fm_close(out));
            if (OK(fm_process_wait(process, SOON, &status)))
                HOLDS((status.kind == FM_PROCESS_EXITED && status.code == 0) || !whole);
            else
                OK(fm_process_kill(process, SIGKILL));
        } else {
            OK(fm_process_kill(process, SIGTERM));
        }
        fm_process_destroy(process);
    }
    spec.shell = "exec sleep 1000";
    spec.argv = NULL;
    if (OK(fm_process_spawn(&spec, &process))) {
        OK(fm_process_stop(process, 1000000000, &status));
        fm_process_destroy(process);
    }
    return fm_ok(NULL);
}

static struct fm_exit play_run(void *arg)
{
    struct fm_process_run_options options = FM_PROCESS_RUN_OPTIONS_INIT;
    struct fm_process_spec spec = FM_PROCESS_SPEC_INIT;
    struct fm_process_output output;
    (void)arg;
    spec.shell = "cat; echo $TOLD >&2";
    spec.env = (const char *const[]) { "TOLD=yes", NULL };
    spec.flags = FM_PROCESS_ENV_ADD;
    options.input = text;
    options.input_bytes = sizeof text;
    if (OK(fm_process_run(&spec, &options, SOON, &output))) {
        HOLDS((output.out_bytes == sizeof text && output.err_bytes == 4) || fault_met());
        fm_process_output_free(&output);
    }
    return fm_ok(NULL);
}

/* ---- signals, names ---- */

static struct fm_exit play_signal(void *arg)
{
    sigset_t set;
    int signo;
    (void)arg;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    OK(fm_signal_block(&set)); /* which main has done for all threads */
    kill(getpid(), SIGUSR2);
    if (OK(fm_signal_wait(&set, SOON, &signo)))
        HOLDS(signo == SIGUSR2);
    else
        sigwait(&set, &signo);
    return fm_ok(NULL);
}

static struct fm_exit play_name(void *arg)
{
    static const char *const hosts[] = { "127.0.0.1", "localhost" };
    struct fm_address *addresses;
    (void)arg;
    for (int i = 0; i < 2; i++) {
        if (OK(fm_resolve(hosts[i], 80, SOON, &addresses))) {
            HOLDS(addresses != NULL);
            fm_addresses_free(addresses);
        }
    }
    return fm_ok(NULL);
}

const struct scene io_scenes[] = {
    { "tcp", play_tcp },       { "local", play_local }, { "pipe", play_pipe },
    { "file", play_file },     { "child", play_child }, { "run", play_run },
    { "signal", play_signal }, { "name", play_name },   { NULL, NULL },
};
