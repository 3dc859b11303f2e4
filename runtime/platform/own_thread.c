/*
 * own_thread.c - the library's own threads
 */
#include "runtime/platform/own_thread.h"

#include <errno.h>
#include <signal.h>

#include "runtime/platform/memory.h"

int fm__thread_create(pthread_t *ret_thread, void *(*body)(void *arg), void *arg)
{
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
