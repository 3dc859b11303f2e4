/*
 * backtrace.c - the calls that lead to a place on a fiber's stack
 *
 * Owns        the table of modules, for the life of the process: it only grows.
 * Invariant   a record that is read lies within the bounds of its walk, and each is above the
 *             one before, so every walk ends.
 * Sanitizers  other people's frames hold poisoned words and are written meanwhile: what reads
 *             them is not instrumented.
 */
#include "runtime/context/backtrace.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdatomic.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "runtime/platform/lock.h"
#include "runtime/platform/sanitizer.h"
#include "runtime/platform/text.h"

enum { MODULES = 256, MODULE_NAME = 48 };

static struct module {
    uintptr_t start, end; /* executable part */
    uintptr_t bias;       /* address - bias is what addr2line takes */
    char name[MODULE_NAME];
} modules[MODULES];
static _Atomic unsigned module_count;
static struct lock modules_lock = LOCK_INIT(LOCK_SLAB);

/* ---- modules ---- */

static bool is_noted(const struct module *module, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (modules[i].start == module->start && modules[i].end == module->end &&
            strcmp(modules[i].name, module->name) == 0)
            return true;
    return false;
}

static int note_module(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    unsigned *count = data;
    char own[PATH_MAX];
    const char *name = info->dlpi_name;
    if (!name || !*name) {
        ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
        own[n > 0 ? n : 0] = '\0';
        name = own;
    }
    const char *slash = strrchr(name, '/');
    name = slash ? slash + 1 : name;
    for (int i = 0; i < info->dlpi_phnum && *count < MODULES; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X))
            continue;
        struct module module = { .start = info->dlpi_addr + part->p_vaddr,
                                 .bias = info->dlpi_addr };
        module.end = module.start + part->p_memsz;
        memcpy(module.name, name, strnlen(name, MODULE_NAME - 1));
        if (!is_noted(&module, *count))
            modules[(*count)++] = module;
    }
    return 0;
}

void fm__modules_note(void)
{
    fm__lock(&modules_lock);
    unsigned count = atomic_load_explicit(&module_count, memory_order_relaxed);
    dl_iterate_phdr(note_module, &count);
    /* release, with module_of: what is counted is whole, and never written again */
    atomic_store_explicit(&module_count, count, memory_order_release);
    fm__unlock(&modules_lock);
}

/* The newest that was loaded there, NULL if none was. */
static const struct module *module_of(uintptr_t pc)
{
    /* acquire, with fm__modules_note */
    unsigned count = atomic_load_explicit(&module_count, memory_order_acquire);
    while (count-- > 0)
        if (pc >= modules[count].start && pc < modules[count].end)
            return &modules[count];
    return NULL;
}

/* ---- walking ---- */

struct registers fm__registers_of(const void *context)
{
#if defined __x86_64__
    const greg_t *r = ((const ucontext_t *)context)->uc_mcontext.gregs;
    return (struct registers) { (uintptr_t)r[REG_RIP], (uintptr_t)r[REG_RSP],
                                (uintptr_t)r[REG_RBP] };
#elif defined __aarch64__
    const mcontext_t *m = &((const ucontext_t *)context)->uc_mcontext;
    return (struct registers) { m->pc, m->sp, m->regs[29] };
#else
    return (struct registers) { 0, 0, 0 };
#endif
}

/* Both architectures keep the caller's frame pointer and the return address side by side. */
struct record {
    uintptr_t fp;
    uintptr_t pc;
};

/* The record at fp, if that lies on the stack and not below `place`. */
static FM_NO_ASAN FM_NO_TSAN bool read_record(const struct walk *walk, uintptr_t fp,
                                              uintptr_t place, struct record *ret_record)
{
    if (fp % sizeof(uintptr_t) || fp < place || fp < walk->low ||
        fp > walk->top - sizeof(struct record))
        return false;
    const uintptr_t *word = (const uintptr_t *)fp;
    ret_record->fp = FM_PEEK(&word[0]);
    ret_record->pc = FM_PEEK(&word[1]);
    return true;
}

/* Whether a chain leads from fp to the fiber's first frame, whose link is NULL. */
static bool is_whole(const struct walk *walk, uintptr_t fp, uintptr_t place)
{
    struct record record;
    for (; read_record(walk, fp, place, &record); fp = record.fp) {
        if (!record.fp)
            return true;
        place = fp + sizeof record;
    }
    return false;
}

/*
 * The first record in [walk->place, end) that looks like one: it returns into a module, and a
 * whole chain leads on from it or, if that is not asked for, at least one link to a record that
 * returns into a module too.
 */
static bool find_record(struct walk *walk, uintptr_t end, bool whole, struct record *ret_record)
{
    struct record record, next;
    uintptr_t at = (walk->place + sizeof(uintptr_t) - 1) & ~(sizeof(uintptr_t) - 1);
    for (; at < end && read_record(walk, at, 0, &record); at += sizeof(uintptr_t)) {
        if (!record.fp || !module_of(record.pc))
            continue;
        if (whole ? is_whole(walk, record.fp, at + sizeof record)
                  : read_record(walk, record.fp, at + sizeof record, &next) &&
                        module_of(next.pc)) {
            walk->place = at + sizeof record;
            *ret_record = record;
            return true;
        }
    }
    return false;
}

void fm__walk_from(struct walk *walk, const void *low, const void *top, struct registers at)
{
    *walk = (struct walk) {
        .low = (uintptr_t)low, .top = (uintptr_t)top, .place = at.sp, .pc = at.pc, .fp = at.fp
    };
    /* below: it has just overflowed; above: in the midst of a switch, on another stack */
    if (at.sp < walk->low)
        walk->place = walk->low;
    else if (at.sp >= walk->top)
        walk->place = walk->top;
}

bool fm__walk_above(struct walk *walk, const void *low, const void *top, uintptr_t place)
{
    enum { SAVED = 256 }; /* bytes that a saved context takes at most */
    struct record record;

    *walk = (struct walk) { .low = (uintptr_t)low, .top = (uintptr_t)top, .place = place };
    if (place < walk->low || place >= walk->top)
        return false;
    if (!find_record(walk, place + SAVED, false, &record) &&
        !find_record(walk, walk->top, true, &record))
        return false;
    walk->pc = record.pc;
    walk->fp = record.fp;
    return true;
}

uintptr_t fm__walk_next(struct walk *walk)
{
    uintptr_t pc = walk->pc;
    struct record record;

    walk->gap = walk->broken;
    walk->broken = false;
    walk->pc = 0;
    if (!pc)
        return 0;
    if (read_record(walk, walk->fp, walk->place, &record)) {
        /* What stands beside the NULL link of the first frame is the trampoline, no caller. */
        if (!record.fp)
            return pc;
        walk->place = walk->fp + sizeof record;
    } else if (find_record(walk, walk->top, true, &record)) {
        walk->broken = true;
    } else {
        return pc;
    }
    walk->pc = record.pc;
    walk->fp = record.fp;
    return pc;
}

void fm__walk_keep(struct walk *walk, struct backtrace *ret_backtrace)
{
    uintptr_t pc;

    *ret_backtrace = (struct backtrace) { 0 };
    while ((pc = fm__walk_next(walk))) {
        if (ret_backtrace->count == BACKTRACE_FRAMES) {
            ret_backtrace->cut = true;
            return;
        }
        ret_backtrace->gaps |= (uint64_t)walk->gap << ret_backtrace->count;
        ret_backtrace->pc[ret_backtrace->count++] = pc;
    }
}

/* ---- text ---- */

size_t fm__place_text(char buffer[PLACE_TEXT], uintptr_t pc, bool names)
{
    struct text text = fm__text(buffer, PLACE_TEXT);
    const struct module *module = module_of(pc);
    Dl_info info;

    fm__put_number(&text, pc, 16);
    if (module) {
        fm__put(&text, " ");
        fm__put(&text, module->name);
        fm__put(&text, "+");
        fm__put_number(&text, pc - module->bias, 16);
    }
    /* - 1: a call that does not return may be the last instruction of its function */
    if (names && dladdr((const void *)(pc - 1), &info) && info.dli_sname) {
        fm__put(&text, " ");
        fm__put(&text, info.dli_sname);
        fm__put(&text, "+");
        fm__put_number(&text, pc - (uintptr_t)info.dli_saddr, 16);
    }
    return (size_t)(text.at - buffer);
}
