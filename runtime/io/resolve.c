/*
 * resolve.c - names to addresses
 *
 * getaddrinfo blocks, and cannot be stopped: it runs on the pool with copies of its own. The
 * lookup is shared by who waits and the job that works, and goes with the last of the two.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fm/io.h"
#include "runtime/fiber/fiber.h"
#include "runtime/io/blocking.h"
#include "runtime/platform/memory.h"

struct lookup {
    _Atomic uint32_t refs;
    int error;
    struct fm_address *found;
    uint16_t port;
    char host[];
};

static void lookup_unref(void *pointer)
{
    FM_ASSERT(pointer);
    struct lookup *lookup = pointer;
    /* acq_rel: the last one frees what the other has written */
    if (atomic_fetch_sub_explicit(&lookup->refs, 1, memory_order_acq_rel) != 1)
        return;
    fm_addresses_free(lookup->found);
    free(lookup);
}

struct fm_address *fm_addresses_free(struct fm_address *addresses)
{
    while (addresses) {
        struct fm_address *next = addresses->next;
        free(addresses);
        addresses = next;
    }
    return NULL;
}

static struct fm_address *make_address(const void *address, socklen_t len)
{
    FM_ASSERT(len <= sizeof(struct sockaddr_storage));
    struct fm_address *a = fm__calloc(1, sizeof *a);
    if (!a)
        return NULL;
    memcpy(&a->storage, address, len);
    a->len = len;
    return a;
}

static int result_of(int answer, int system_error)
{
    switch (answer) {
    case 0: return 0;
    case EAI_NONAME:
    case EAI_NODATA:
    case EAI_ADDRFAMILY: return -ENOENT;
    case EAI_AGAIN: return -EAGAIN;
    case EAI_MEMORY: return -ENOMEM;
    case EAI_SYSTEM: return system_error ? -system_error : -EIO;
    default: return -EIO;
    }
}

/* In a thread of the pool. */
static struct fm_exit look_up(void *arg)
{
    FM_ASSERT(arg);
    struct lookup *lookup = arg;
    struct fm_address **end = &lookup->found;
    const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    struct addrinfo *list = NULL;

    errno = 0;
    int answer = getaddrinfo(lookup->host, NULL, &hints, &list);
    lookup->error = result_of(answer, errno);
    for (struct addrinfo *i = answer == 0 ? list : NULL; i && lookup->error == 0;
         i = i->ai_next) {
        if (i->ai_family != AF_INET && i->ai_family != AF_INET6)
            continue;
        struct fm_address *a = make_address(i->ai_addr, i->ai_addrlen);
        if (!a) {
            lookup->error = -ENOMEM;
            break;
        }
        if (i->ai_family == AF_INET)
            ((struct sockaddr_in *)&a->storage)->sin_port = htons(lookup->port);
        else
            ((struct sockaddr_in6 *)&a->storage)->sin6_port = htons(lookup->port);
        *end = a;
        end = &a->next;
    }
    if (answer == 0)
        freeaddrinfo(list);
    if (lookup->error == 0 && !lookup->found)
        lookup->error = -ENOENT;
    return fm_ok(NULL);
}

/*
 * An address that needs no looking up: NULL if it is none, or without memory (*ret_r says
 * which).
 */
static struct fm_address *read_literal(const char *host, uint16_t port, int *ret_r)
{
    FM_ASSERT(host && ret_r);
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    struct fm_address *a = NULL;

    *ret_r = -ENOMEM;
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1)
        a = make_address(&v4, sizeof v4);
    else if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1)
        a = make_address(&v6, sizeof v6);
    else
        *ret_r = 0;
    return a;
}

int fm_resolve(const char *host, uint16_t port, int64_t deadline_ns,
               struct fm_address **ret_addresses)
{
    struct fm_exit exit;
    int r;

    if (!fm__fiber_self())
        return -EPERM;
    if (!ret_addresses)
        return -EINVAL;
    if (!host)
        host = "127.0.0.1";
    struct fm_address *literal = read_literal(host, port, &r);
    if (literal) {
        *ret_addresses = literal;
        return 0;
    }
    if (r < 0)
        return r;
    r = fm_check();
    if (r < 0)
        return r;

    size_t size = strlen(host) + 1;
    struct lookup *lookup = fm__calloc(1, sizeof *lookup + size);
    if (!lookup)
        return -ENOMEM;
    atomic_init(&lookup->refs, 2);
    lookup->port = port;
    memcpy(lookup->host, host, size);
    r = fm__blocking_run(look_up, lookup, lookup_unref, deadline_ns, &exit);
    if (r == 0)
        r = exit.kind == FM_INTERRUPTED ? -ECANCELED : lookup->error;
    if (r == 0) {
        *ret_addresses = lookup->found;
        lookup->found = NULL;
    }
    lookup_unref(lookup);
    return r;
}
