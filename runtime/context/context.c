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

#if FM_TSAN && FM_TSAN_STRICT
/*
 * To ThreadSanitizer whoever makes a fiber has done all it did before the fiber's first step. The
 * task that happens to carve a stack for another has nothing to do with it, so the maker is
 * somebody who never does anything.
 */
static __thread void *nobody;

void fm__tsan_thread_begins(void)
{
    nobody = __tsan_create_fiber(0);
}

void fm__tsan_thread_ends(void)
{
    __tsan_destroy_fiber(nobody);
    nobody = NULL;
}

/* Not instrumented: what it reads is the thread's. */
__attribute__((noinline)) FM_NO_TSAN void *fm__tsan_create(void)
{
    void *self = __tsan_get_current_fiber();

    if (!nobody)
        return __tsan_create_fiber(0);
    FM_TSAN_SWITCH(nobody);
    void *fiber = __tsan_create_fiber(0);
    FM_TSAN_SWITCH(self);
    return fiber;
}
#endif
