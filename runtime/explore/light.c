/*
 * light.c - threads of a schedule as coroutines of the one thread that the system knows
 *
 * Owns        a stack and an image of the thread-locals for each seat, until the process ends.
 * Invariant   the image of who runs stands where the compiler looks for thread-locals; those of
 *             the others are here.
 *
 * Thread-locals are those of the program and of the module that this file is in: what the test and
 * the rooms are made of. Those of libc stay where they are, one for all; the arbiter keeps errno. A
 * pointer to a thread-local means another thread's after a change: no room keeps one.
 *
 * Knows not   turns. Who has a seat runs when the arbiter changes to it.
 */
#include "runtime/explore/light.h"

#include <errno.h>
#include <limits.h>
#include <link.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/context/context.h"
#include "runtime/explore/log.h"

enum { STACK_BYTES = 8 << 20, KEYS_MAX = 16, MODULES = 2 };

/* A module's thread-locals. */
struct locals {
    char *place;
    const char *initial; /* so many bytes; the others are 0 */
    size_t initial_bytes, bytes;
};

static struct light {
    struct context context;
    char *stack;
    char *locals; /* of all modules, while another runs */
    void (*fn)(void *arg);
    void *arg;
    void *values[KEYS_MAX];
} lights[SEATS_MAX];

static struct locals modules[MODULES];
static unsigned module_count;
static size_t locals_bytes;
static unsigned running;

static struct {
    pthread_key_t key;
    void (*destroy)(void *value);
} keys[KEYS_MAX];
static _Atomic unsigned key_count;

/* ---- what is a thread's own ---- */

static bool is_inside(const void *at, const void *start, size_t bytes)
{
    return (uintptr_t)at - (uintptr_t)start < bytes;
}

/* The program, which is the first that is told, and the module that has this file. */
static int note_module(struct dl_phdr_info *info, size_t size, void *arg)
{
    const ElfW(Phdr) *locals = NULL;
    unsigned *told = arg;
    bool ours = (*told)++ == 0;

    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_TLS)
            locals = part;
        else if (part->p_type == PT_LOAD)
            ours |= is_inside(lights, (char *)info->dlpi_addr + part->p_vaddr, part->p_memsz);
    }
    if (!ours || !locals || !info->dlpi_tls_data || module_count == MODULES)
        return 0;
    modules[module_count++] = (struct locals) { .place = info->dlpi_tls_data,
                                                .initial = (const char *)info->dlpi_addr +
                                                           locals->p_vaddr,
                                                .initial_bytes = locals->p_filesz,
                                                .bytes = locals->p_memsz };
    locals_bytes += locals->p_memsz;
    return 0;
}

static void fill_locals(char *to)
{
    for (unsigned i = 0; i < module_count; to += modules[i++].bytes) {
        memset(to, 0, modules[i].bytes);
        memcpy(to, modules[i].initial, modules[i].initial_bytes);
    }
}

static void put_locals_away(char *to)
{
    for (unsigned i = 0; i < module_count; to += modules[i++].bytes)
        memcpy(to, modules[i].place, modules[i].bytes);
}

static void bring_locals_back(const char *from)
{
    for (unsigned i = 0; i < module_count; from += modules[i++].bytes)
        memcpy(modules[i].place, from, modules[i].bytes);
}

/* ---- threads ---- */

extern void __asan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));

bool fm__light_begin(void)
{
    unsigned told = 0;

    if (__asan_init || __tsan_init)
        return false;
    module_count = 0;
    locals_bytes = 0;
    dl_iterate_phdr(note_module, &told);
    for (unsigned i = 0; i < module_count; i++)
        if (is_inside(&errno, modules[i].place, modules[i].bytes))
            return false;
    running = 0;
    lights[0].locals = malloc(locals_bytes + 1);
    return lights[0].locals != NULL;
}

static char *make_stack(void)
{
    size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    char *stack = mmap(NULL, guard + STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
        return NULL;
    if (mprotect(stack, guard, PROT_NONE) == 0)
        return stack + guard;
    munmap(stack, guard + STACK_BYTES);
    return NULL;
}

static void thread_begins(struct context_transfer from)
{
    FM_CONTEXT_FIRST_FRAME(from);
    struct light *light = &lights[running];
    light->fn(light->arg);
    __builtin_trap();
}

int fm__light_make(unsigned seat, void (*fn)(void *arg), void *arg)
{
    struct light *light = &lights[seat];

    if (!light->locals)
        light->locals = malloc(locals_bytes + 1);
    if (!light->stack)
        light->stack = make_stack();
    if (!light->locals || !light->stack)
        return EAGAIN;
    fill_locals(light->locals);
    memset(light->values, 0, sizeof light->values);
    light->fn = fn;
    light->arg = arg;
    fm__context_init_stack(&light->context, light->stack + STACK_BYTES, STACK_BYTES, NULL,
                           thread_begins);
    return 0;
}

void fm__light_change(unsigned from, unsigned to, bool ends)
{
    struct light *left = &lights[from], *next = &lights[to];

    put_locals_away(left->locals);
    bring_locals_back(next->locals);
    running = to;
    fm__context_switch(&left->context, &next->context, ends);
}

pthread_t fm__light_thread(unsigned seat)
{
    return (pthread_t)&lights[seat];
}

bool fm__light_is(pthread_t thread)
{
    return is_inside((const void *)thread, lights, sizeof lights);
}

/* ---- keys ---- */

int fm__light_key_create(pthread_key_t *ret_key, void (*destroy)(void *value))
{
    int e = pthread_key_create(ret_key, destroy);
    if (e)
        return e;
    /* relaxed: a key is used by those who were told of it */
    unsigned i = atomic_fetch_add_explicit(&key_count, 1, memory_order_relaxed);
    if (i >= KEYS_MAX) {
        pthread_key_delete(*ret_key);
        return EAGAIN;
    }
    keys[i].key = *ret_key;
    keys[i].destroy = destroy;
    return 0;
}

int fm__light_set(unsigned seat, pthread_key_t key, const void *value)
{
    for (unsigned i = 0; i < KEYS_MAX; i++)
        if (keys[i].destroy && keys[i].key == key) {
            lights[seat].values[i] = (void *)value;
            return 0;
        }
    return EINVAL;
}

void fm__light_destroy_values(unsigned seat)
{
    bool any = true;

    for (int round = 0; any && round < PTHREAD_DESTRUCTOR_ITERATIONS; round++) {
        any = false;
        for (unsigned i = 0; i < KEYS_MAX; i++) {
            void *value = lights[seat].values[i];
            lights[seat].values[i] = NULL;
            if (value) {
                keys[i].destroy(value);
                any = true;
            }
        }
    }
}
