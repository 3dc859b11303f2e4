/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_resolve.c - names, with a resolver of the test's own that does what it is told
 *
 * getaddrinfo below takes the place of the C library's: "hangs" does not return before it is
 * let go, "many" has a thousand addresses, "mixed" one of each kind, others have an answer without any.
 */
#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>

#include "runtime/io/blocking.h"
#include "tests/runtime/io/io_test.h"

enum { MANY = 1000 };

static sem_t let_go;
static _Atomic int hanging, freed;
static int told, told_errno; /* what it returns and leaves in errno */

static struct addrinfo *make_list(int count)
{
    struct addrinfo *list = NULL;
    for (int i = count; i > 0; i--) {
        struct addrinfo *a = calloc(1, sizeof *a);
        struct sockaddr_in *address = calloc(1, sizeof *address);
        address->sin_family = AF_INET;
        address->sin_addr.s_addr = htonl(0x0a000000u + (unsigned)i);
        a->ai_family = AF_INET;
        a->ai_addr = (struct sockaddr *)address;
        a->ai_addrlen = sizeof *address;
        a->ai_next = list;
        list = a;
    }
    return list;
}

/* Of version 4, of no version that is known here, of version 6. */
static struct addrinfo *make_mixed(void)
{
    struct addrinfo *list = make_list(3), *odd = list->ai_next, *six = odd->ai_next;
    struct sockaddr_in6 *address = calloc(1, sizeof *address);
    odd->ai_family = AF_UNIX;
    odd->ai_addr->sa_family = AF_UNIX;
    free(six->ai_addr);
    address->sin6_family = AF_INET6;
    address->sin6_addr.s6_addr[15] = 6;
    six->ai_family = AF_INET6;
    six->ai_addr = (struct sockaddr *)address;
    six->ai_addrlen = sizeof *address;
    return list;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret_list)
{
    (void)service, (void)hints;
    if (strcmp(name, "hangs") == 0) {
        atomic_fetch_add(&hanging, 1);
        while (sem_wait(&let_go) < 0)
            ;
        atomic_fetch_sub(&hanging, 1);
        *ret_list = make_list(1);
        return 0;
    }
    *ret_list = strcmp(name, "mixed") == 0  ? make_mixed()
                : strcmp(name, "many") == 0 ? make_list(MANY)
                                            : NULL;
    errno = told_errno;
    return told;
}

void freeaddrinfo(struct addrinfo *list)
{
    while (list) {
        struct addrinfo *next = list->ai_next;
        free(list->ai_addr);
        free(list);
        list = next;
    }
    atomic_fetch_add(&freed, 1);
}

/* F96 */
FIBER_TEST(resolve, answers_are_told_as_they_are)
{
    struct fm_address *addresses = NULL;
    int count = 0;
    cr_assert_eq(fm_resolve("none", 80, FM_NEVER, &addresses), -ENOENT);
    cr_assert_null(addresses);
    cr_assert_eq(fm_resolve("many", 80, FM_NEVER, &addresses), 0);
    for (struct fm_address *a = addresses; a; a = a->next) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a->storage;
        count++;
        cr_assert_eq(ntohl(v4->sin_addr.s_addr), 0x0a000000u + (unsigned)count, "in order");
        cr_assert_eq(ntohs(v4->sin_port), 80);
    }
    cr_assert_eq(count, MANY);
    fm_addresses_free(addresses);
}

/* F96 */
FIBER_TEST(resolve, failures_of_the_resolver_are_told_as_results)
{
    static const struct {
        int told, told_errno, result;
    } cases[] = {
        { EAI_NONAME, 0, -ENOENT }, { EAI_NODATA, 0, -ENOENT }, { EAI_ADDRFAMILY, 0, -ENOENT },
        { EAI_AGAIN, 0, -EAGAIN },  { EAI_MEMORY, 0, -ENOMEM }, { EAI_SYSTEM, EMFILE, -EMFILE },
        { EAI_SYSTEM, 0, -EIO },    { EAI_FAIL, EMFILE, -EIO },
    };
    struct fm_address *addresses = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        told = cases[i].told;
        told_errno = cases[i].told_errno;
        cr_assert_eq(fm_resolve("name", 80, FM_NEVER, &addresses), cases[i].result, "%s",
                     gai_strerror(told));
        cr_assert_null(addresses);
    }
}

FIBER_TEST(resolve, addresses_of_both_versions_have_the_port_and_others_are_left_out)
{
    struct fm_address *addresses;
    cr_assert_eq(fm_resolve("mixed", 443, FM_NEVER, &addresses), 0);
    const struct sockaddr_in *four = (const struct sockaddr_in *)&addresses->storage;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&addresses->next->storage;
    cr_assert_null(addresses->next->next);
    cr_assert_eq(four->sin_family, AF_INET);
    cr_assert_eq(ntohs(four->sin_port), 443);
    cr_assert_eq(six->sin6_family, AF_INET6);
    cr_assert_eq(ntohs(six->sin6_port), 443);
    cr_assert_eq(six->sin6_addr.s6_addr[15], 6);
    fm_addresses_free(addresses);
}

static struct fm_exit resolve_when_interrupted(void *arg)
{
    struct fm_address *addresses;
    (void)arg;
    fm_fiber_interrupt(fm_fiber_self());
    return fm_fail(fm_resolve("many", 80, FM_NEVER, &addresses));
}

FIBER_TEST(resolve, who_was_interrupted_asks_nobody)
{
    expect_interruption(finish(start(resolve_when_interrupted, NULL)), FM_BY_USER);
    cr_assert_eq(atomic_load(&freed), 0);
}

FIBER_TEST(resolve, refused_memory_in_the_midst_of_many_is_enomem)
{
    struct fm_address *addresses = NULL;
    for (uint64_t n = 1; n < MANY + 3; n += 100) {
        fm__fault_set(FAULT_MALLOC, n, false);
        int r = fm_resolve("many", 80, FM_NEVER, &addresses);
        fm__fault_set(FAULT_MALLOC, 0, false);
        cr_assert_eq(r, -ENOMEM, "number %d", (int)n);
        cr_assert_null(addresses);
    }
}

static struct fm_exit resolve_hanging(void *arg)
{
    struct fm_address *addresses;
    int r = fm_resolve("hangs", 80, *(int64_t *)arg, &addresses);
    if (r == 0)
        fm_addresses_free(addresses);
    return fm_fail(r);
}

static struct fm_exit dial_hanging(void *arg)
{
    int fd;
    (void)arg;
    return fm_fail(fm_dial_tcp("hangs", 80, fm_after_s(1000), &fd));
}

static void await_hanging(int count)
{
    while (atomic_load(&hanging) != count)
        fm_yield();
}

/* The waiting ends, the call does not: what it finds in the end is freed. F96. */
FIBER_TEST(resolve, hanging_resolver_holds_neither_deadline_nor_interruption)
{
    int64_t later = fm_after_s(1000), never = FM_NEVER;
    struct fm_address *addresses;
    sem_init(&let_go, 0, 0);
    struct fm_fiber *late = start(resolve_hanging, &later),
                    *other = start(resolve_hanging, &never);
    await_wait(late);
    await_wait(other);
    await_hanging(2);
    cr_assert(time_out(late));
    cr_assert_eq(finish(late).code, -ETIMEDOUT);
    fm_fiber_interrupt(other);
    expect_interruption(finish(other), FM_BY_USER);
    cr_assert_eq(fm_resolve("none", 80, FM_NEVER, &addresses), -ENOENT, "others go on");
    late = start(dial_hanging, NULL);
    await_wait(late);
    await_hanging(3);
    cr_assert(time_out(late));
    cr_assert_eq(finish(late).code, -ETIMEDOUT);
    for (int i = 0; i < 3; i++)
        sem_post(&let_go);
    await_hanging(0);
}

static struct fm_exit shut_down_later(void *arg)
{
    (void)arg;
    await_hanging(1);
    return fm_ok(NULL);
}

/* A virtual clock does not step over a name that is being looked up. */
VIRTUAL_TEST(resolve, virtual_clock_waits_for_the_resolver)
{
    int64_t never = FM_NEVER;
    sem_init(&let_go, 0, 0);
    struct fm_fiber *fiber = start(resolve_hanging, &never);
    finish(start(shut_down_later, NULL));
    sem_post(&let_go);
    cr_assert_eq(fm_clock_advance_ns(fm_runtime_current(), 1000), 0);
    cr_assert_eq(fm_fiber_poll(fiber, NULL), 0, "it has ended before the clock moved");
    fm_fiber_unref(fiber);
}
