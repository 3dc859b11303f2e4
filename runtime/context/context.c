/*
 * context.c - the parts of the switch that only sanitizer builds need
 */
#include "runtime/context/context.h"

#if FM_ASAN || FM_TSAN
#include <pthread.h>

void fm__context_init_thread(struct context *context)
{
    pthread_attr_t attr;
    void *bottom = NULL;
    size_t size = 0;

    *context = (struct context) { .tsan = fm__tsan_current() };
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        pthread_attr_getstack(&attr, &bottom, &size);
        pthread_attr_destroy(&attr);
    }
    context->bottom = bottom;
    context->size = size;
}

/*
 * Not inlined and not instrumented: its own frame must not be entered as one fiber and left as
 * another.
 */
__attribute__((noinline)) FM_NO_TSAN void fm__context_switch(struct context *from,
                                                             struct context *to, bool ends)
{
    void *fctx = to->fctx;

    fm__asan_start_switch(ends ? NULL : &from->fake, to->bottom, to->size);
    FM_TSAN_SWITCH(to->tsan);
    fm__context_arrive(from, jump_fcontext(fctx, from));
}
#else
void fm__context_init_thread(struct context *context)
{
    *context = (struct context) { 0 };
}
#endif
