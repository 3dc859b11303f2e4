/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls.c - connections that are encrypted
 *
 * A fiber shakes hands with the client, and then stands between it and a connection like any
 * other, which it reaches by a pair of sockets. So nothing else knows of TLS, and who does
 * without it pays nothing; who has it pays for one more copy.
 *
 *   client <== TCP, TLS ==> fiber and its reader <== pair of sockets ==> connection.c
 *
 * Two directions, two fibers: the reader decrypts, the other encrypts, and at its end stops the
 * reader. What OpenSSL knows of the stream belongs to both, under a lock that is never held in
 * a wait: OpenSSL reads and writes a socket that does not block.
 *
 * Owns        the client's socket, this side of the pair.
 * The end     The connection shuts its side down; what it has said goes out, then our farewell,
 *             and the client has a while to hang up itself. It is masked from the handshake on,
 *             for it ends when the connection does.
 */
#include "tools/server/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/server/connection.h"

enum {
    CHUNK_BYTES = 16 << 10,  /* what fits into a record */
    STACK_BYTES = 128 << 10, /* a handshake is deep */
    LINGER_MS = 2000,
};

struct tls {
    SSL_CTX *ctx;
};

struct tls_connection {
    struct server *server;
    struct fm_semaphore *slots;
    uint64_t number;
    int fd;                /* the client's */
    int inner;             /* our side of the pair; -1: there is none yet */
    struct fm_mutex *lock; /* guards ssl */
    SSL *ssl;
};

/* ---- one step of OpenSSL ---- */

enum step { HANDSHAKE, READ, WRITE, FAREWELL };

/*
 * Try once: the number of bytes, or 0 (the end of the stream; of handshake and farewell: done)
 * · -EAGAIN, what to wait for in *ret_events · -EPROTO. Its errors are the thread's: read
 * before any switch.
 */
static int try_step(SSL *ssl, enum step step, char *bytes, size_t len, unsigned *ret_events)
{
    ERR_clear_error();
    int r = step == HANDSHAKE ? SSL_accept(ssl)
            : step == READ    ? SSL_read(ssl, bytes, (int)len)
            : step == WRITE   ? SSL_write(ssl, bytes, (int)len)
                              : SSL_shutdown(ssl);
    if (r > 0)
        return step == READ || step == WRITE ? r : 0;
    if (step == FAREWELL && r == 0)
        return 0;
    int error = SSL_get_error(ssl, r);
    ERR_clear_error();
    *ret_events = error == SSL_ERROR_WANT_WRITE ? FM_IO_WRITE : FM_IO_READ;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return -EAGAIN;
    return error == SSL_ERROR_ZERO_RETURN ? 0 : -EPROTO;
}

/* Until it is done: as try_step · -ETIMEDOUT · -ECANCELED */
static int do_step(struct tls_connection *c, enum step step, char *bytes, size_t len,
                   int64_t deadline_ns)
{
    for (;;) {
        unsigned events;
        int r = fm_mutex_lock(c->lock, FM_NEVER);
        if (r < 0)
            return r;
        r = try_step(c->ssl, step, bytes, len, &events);
        fm_mutex_unlock(c->lock);
        if (r != -EAGAIN)
            return r;
        r = fm_io_wait(c->fd, events, deadline_ns);
        if (r < 0)
            return r;
    }
}

/* ---- the two directions ---- */

static struct fm_exit reader_entry(void *arg)
{
    struct tls_connection *c = arg;
    char bytes[CHUNK_BYTES];
    int n;
    while ((n = do_step(c, READ, bytes, sizeof bytes, FM_NEVER)) > 0) {
        if (fm_write_full(c->inner, bytes, (size_t)n, FM_NEVER, NULL) < 0)
            break;
    }
    /* also where it did not end well: the connection hears no more */
    shutdown(c->inner, SHUT_WR);
    return fm_ok(NULL);
}

static int write_all(struct tls_connection *c, char *bytes, size_t len)
{
    while (len) {
        int n = do_step(c, WRITE, bytes, len, fm_after_ms(c->server->options.send_ms));
        if (n <= 0)
            return n < 0 ? n : -EPIPE;
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

static void relay(struct tls_connection *c)
{
    char bytes[CHUNK_BYTES];
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    struct fm_fiber *reader;
    options.name = "tls reader";
    options.stack_bytes = STACK_BYTES;
    if (fm_fiber_spawn(reader_entry, c, &options, &reader) < 0)
        return;
    int r = 0;
    ssize_t n = 0;
    while (r == 0 && (n = fm_recv(c->inner, bytes, sizeof bytes, 0, FM_NEVER)) > 0)
        r = write_all(c, bytes, (size_t)n);
    if (r == 0 && do_step(c, FAREWELL, NULL, 0, fm_after_ms(LINGER_MS)) == 0)
        shutdown(c->fd, SHUT_WR);
    else
        shutdown(c->inner, SHUT_RDWR); /* the connection cannot be heard any more */
    if (fm_fiber_join(reader, fm_after_ms(r == 0 ? LINGER_MS : 0), NULL) < 0)
        fm_fiber_stop(reader, FM_NEVER, NULL);
    fm_fiber_unref(reader);
}

/* ---- the fiber ---- */

static void tls_connection_free(struct tls_connection *c)
{
    if (c->inner >= 0)
        fm_close(c->inner);
    SSL_free(c->ssl);
    fm_mutex_destroy(c->lock);
    free(c);
}

/* It never ran. */
static void tls_drop(void *arg)
{
    struct tls_connection *c = arg;
    fm_semaphore_release(c->slots, 1);
    close(c->fd);
    tls_connection_free(c);
}

/* The place is the connection's from here on: 0 · -errno */
static int connect_inside(struct tls_connection *c)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    int r = connection_start(c->server, pair[1], c->fd, c->number, c->slots);
    if (r < 0) {
        close(pair[0]);
        close(pair[1]);
        return r;
    }
    c->inner = pair[0];
    return 0;
}

static struct fm_exit tls_entry(void *arg)
{
    struct tls_connection *c = arg;
    int r = do_step(c, HANDSHAKE, NULL, 0, fm_after_ms(c->server->options.head_ms));
    fm_mask();
    if (r == 0)
        r = connect_inside(c);
    if (r == 0) {
        relay(c);
    } else {
        server_count(&c->server->refused);
        fm_semaphore_release(c->slots, 1);
    }
    fm_close(c->fd);
    tls_connection_free(c);
    return fm_ok(NULL);
}

int tls_start(struct server *server, int fd, uint64_t number, struct fm_semaphore *slots)
{
    struct tls_connection *c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    *c = (struct tls_connection) {
        .server = server, .slots = slots, .number = number, .fd = fd, .inner = -1
    };
    int r = fm_mutex_create(&c->lock);
    if (r == 0) {
        c->ssl = SSL_new(server->tls->ctx);
        r = c->ssl && SSL_set_fd(c->ssl, fd) ? 0 : -ENOMEM;
        ERR_clear_error();
    }
    struct fm_map_run_options options = FM_MAP_RUN_OPTIONS_INIT;
    options.name = "tls";
    options.stack_bytes = STACK_BYTES;
    options.arg_drop = tls_drop;
    if (r == 0)
        r = fm_map_run(server->tunnels, FM_KEY_U64(number), tls_entry, c, &options, NULL);
    if (r < 0)
        tls_connection_free(c);
    return r;
}

/* ---- certificates ---- */

/* HTTP/1.1 is all that is spoken here: who offers other things only is told so. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *arg)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

int tls_create(const char *cert_file, const char *key_file, struct tls **ret_tls)
{
    struct tls *tls = calloc(1, sizeof *tls);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!tls || !ctx) {
        SSL_CTX_free(ctx);
        free(tls);
        return -ENOMEM;
    }
    tls->ctx = ctx;
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    if (SSL_CTX_use_certificate_chain_file(ctx, cert_file) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ctx) != 1) {
        ERR_print_errors_fp(stderr);
        tls_destroy(tls);
        return -EINVAL;
    }
    *ret_tls = tls;
    return 0;
}

struct tls *tls_destroy(struct tls *tls)
{
    if (!tls)
        return NULL;
    SSL_CTX_free(tls->ctx);
    free(tls);
    return NULL;
}
