/*
 * context.h - the switch between stacks, over Boost.Context's C symbols
 *
 * A context is the saved frame of a stack that nobody runs on. fcontext hands the frame of the
 * stack that was left to the code that goes on, and that code stores it (arrive), before
 * anything else: so a context is whole before anybody can be told of it.
 *
 * Knows not   fibers, tasks, where stacks come from.
 * Sanitizers  every argument is loaded before the identity changes; nothing instrumented stands
 *             between the annotation and the jump.
 * Source      Boost.Context 1.74, libs/context/src/asm; the prototypes below are its C ABI. A
 *             frame holds mxcsr and the x87 control word on x86-64, so each context has a
 *             floating-point environment of its own there; FPCR on aarch64 is not switched.
 */
#ifndef FM_RUNTIME_CONTEXT_CONTEXT_H
#define FM_RUNTIME_CONTEXT_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/platform/sanitizer.h"

struct context_transfer {
    void *fctx;
    void *data; /* the struct context that was left */
};
typedef void context_entry_fn(struct context_transfer from);

extern struct context_transfer jump_fcontext(void *to, void *data);
extern void *make_fcontext(void *stack_top, size_t size, context_entry_fn *entry);

struct context {
    void *fctx; /* the saved frame; NULL while running or not made */
#if FM_ASAN || FM_TSAN
    const void *bottom; /* lowest address of the stack */
    size_t size;
    void *fake; /* AddressSanitizer's fake stack while switched away */
    void *tsan;
#endif
};

/* The calling thread's own stack. */
void fm__context_init_thread(struct context *context);

/*
 * A fresh frame on the stack [top - size, top): the first switch to it calls entry there, which
 * must begin with FM_CONTEXT_FIRST_FRAME and never return. `tsan` is the stack's
 * ThreadSanitizer fiber or NULL.
 */
static inline FM_THREADS_OWN void fm__context_init_stack(struct context *context, void *top,
                                                         size_t size, void *tsan,
                                                         context_entry_fn *entry)
{
    context->fctx = make_fcontext(top, size, entry);
#if FM_ASAN || FM_TSAN
    context->bottom = (char *)top - size;
    context->size = size;
    context->fake = NULL;
    context->tsan = tsan;
#else
    (void)tsan;
#endif
}

/*
 * First in an entry function. Ends the unwinder's walk (the CFI says that there is no caller)
 * and the walk along the frame pointers (a NULL link), so that gdb and perf stop there and not
 * in what the stack held before; then takes over from the context that was left.
 */
#if defined __x86_64__
#define FM_CONTEXT_END_UNWIND() __asm__ volatile(".cfi_undefined rip")
#elif defined __aarch64__
#define FM_CONTEXT_END_UNWIND() __asm__ volatile(".cfi_undefined x30")
#else
#define FM_CONTEXT_END_UNWIND() ((void)0)
#endif
#define FM_CONTEXT_FIRST_FRAME(transfer) \
    do { \
        FM_CONTEXT_END_UNWIND(); \
        ((void **)__builtin_frame_address(0))[0] = NULL; \
        fm__context_arrive(NULL, (transfer)); \
    } while (0)

/*
 * Store the frame of the context that was left. `self` is the one that goes on, NULL at its
 * very beginning.
 */
static inline FM_NO_TSAN void fm__context_arrive(struct context *self,
                                                 struct context_transfer transfer)
{
    struct context *from = transfer.data;
    from->fctx = transfer.fctx;
#if FM_ASAN
    fm__asan_finish_switch(self ? self->fake : NULL, &from->bottom, &from->size);
#else
    (void)self;
#endif
}

/*
 * jump_fcontext, which is called and leaves by a jump. A processor predicts a return by the call
 * that it belongs to; a call without one puts every return behind the switch off by one. So it is
 * entered by a jump too, with the address at which it is to go on pushed by hand.
 */
static inline __attribute__((always_inline)) struct context_transfer
fm__context_jump(void *to, void *data)
{
#if defined __x86_64__ && !defined __ILP32__
    struct context_transfer from;
    struct context_transfer (*jump)(void *, void *) = jump_fcontext;
    __asm__ volatile("leaq -128(%%rsp), %%rsp\n\t" /* the red zone */
                     "leaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\t"
                     "jmp *%2\n"
                     "1:\n\t"
                     "leaq 128(%%rsp), %%rsp"
                     : "=&a"(from.fctx), "=d"(from.data), "+c"(jump), "+D"(to), "+S"(data)
                     :
                     /* all that a call may change; it keeps rbx, rbp and r12 to r15 */
                     : "r8", "r9", "r10", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2",
                       "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                       "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "st", "st(1)", "st(2)",
                       "st(3)", "st(4)", "st(5)", "st(6)", "st(7)"
#if defined __AVX512F__
                       , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",
                       "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31",
                       "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#endif
    );
    return from;
#else
    return jump_fcontext(to, data);
#endif
}

/*
 * Leave `from`, go on in `to`. Returns when somebody switches back, maybe on another thread: no
 * thread-local, no errno and no pointer to the worker survives it. `ends`: nobody will come
 * back to `from`; its stack may be used again by the code that goes on.
 */
#if FM_ASAN || FM_TSAN
void fm__context_switch(struct context *from, struct context *to, bool ends);
#else
static inline void fm__context_switch(struct context *from, struct context *to, bool ends)
{
    (void)ends;
    fm__context_arrive(from, fm__context_jump(to->fctx, from));
}
#endif

#endif
