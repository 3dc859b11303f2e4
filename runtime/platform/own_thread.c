/*
 * own_thread.c - the library's own threads
 */
#include "runtime/platform/own_thread.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>

#include "runtime/platform/check.h"
#include "runtime/platform/memory.h"

/* Set while a thread serves: the destructor runs if it ends so. */
static pthread_key_t serving;
static pthread_once_t serving_once = PTHREAD_ONCE_INIT;
static bool serving_known;

int fm__thread_create(pthread_t *ret_thread, void *(*body)(void *arg), void *arg)
{
    FM_ASSERT(ret_thread && body);
    static const int let_through[] = { SIGSEGV, SIGBUS,  SIGFPE, SIGILL, SIGTRAP,
                                       SIGABRT, SIGPIPE, SIGSYS, SIGPROF };
    sigset_t blocked, before;

    if (fm__fault(FAULT_THREAD))
        return -EAGAIN;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof let_through / sizeof *let_through; i++)
        sigdelset(&blocked, let_through[i]);
    /* A thread inherits its maker's mask: blocked from its first instruction on. */
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int e = pthread_create(ret_thread, NULL, body, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return e ? -EAGAIN : 0;
}

void fm__thread_refuse_cancel(void)
{
    int old;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    /*
     * Means nothing while it is disabled. But glibc before 2.41 makes it so before each call
     * that may block and undoes it afterwards, by two atomic operations, unless it is so.
     */
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
}

static void ended_while_serving(void *unused)
{
    (void)unused;
    FM_BUG("a fiber or a blocking job has ended its thread (pthread_exit)");
}

static void make_key(void)
{
    /* without a key nobody is told, and all else is as it was */
    serving_known = pthread_key_create(&serving, ended_while_serving) == 0;
}

void fm__thread_serves(void)
{
    pthread_once(&serving_once, make_key);
    if (serving_known)
        pthread_setspecific(serving, &serving);
}

void fm__thread_may_end(void)
{
    if (serving_known)
        pthread_setspecific(serving, NULL);
}
