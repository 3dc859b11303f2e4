/*
 * backtrace.h - the calls that lead to a place on a fiber's stack
 *
 * Along the frame pointers, which this library is compiled with and its users should be. Where
 * somebody's code keeps none the chain breaks; the walk then goes on at the next record above
 * from which a chain leads whole to the fiber's first frame, and says that there is a gap.
 *
 * Everything here but fm__modules_note and fm__place_text with names is async-signal-safe,
 * takes no lock and reads no memory outside the bounds it is given. So a walk may be made over
 * a stack that is in use: what it tells is then for the caller to believe or not.
 */
#ifndef FM_RUNTIME_CONTEXT_BACKTRACE_H
#define FM_RUNTIME_CONTEXT_BACKTRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct registers {
    uintptr_t pc, sp, fp;
};

/* Of the code that a signal handler has interrupted: `context` is its third argument. */
struct registers fm__registers_of(const void *context);

struct walk {
    uintptr_t low, top; /* of the stack: what may be read */
    uintptr_t place;    /* records below it have been told */
    uintptr_t pc, fp;   /* what is told next, and the record of its caller */
    bool broken;        /* ... after a gap */
    bool gap;           /* frames may be missing before what was told last */
};

/* From registers that somebody has: the pc is told first. */
void fm__walk_from(struct walk *walk, const void *low, const void *top, struct registers at);
/*
 * From a place on the stack at or below which its code has stopped, with the registers unknown
 * (a saved context; a system call): the innermost record above it is told first. False if there
 * is none.
 */
bool fm__walk_above(struct walk *walk, const void *low, const void *top, uintptr_t place);
/* The next return address, innermost first; 0 at the end. */
uintptr_t fm__walk_next(struct walk *walk);

/* A walk, kept. */
enum { BACKTRACE_FRAMES = 48 };
struct backtrace {
    uint32_t count;
    bool cut; /* there were more */
    uintptr_t pc[BACKTRACE_FRAMES];
    uint64_t gaps; /* bit i: frames may be missing before pc[i] */
};
void fm__walk_keep(struct walk *walk, struct backtrace *ret_backtrace);

/* ---- where an address lies ---- */

/*
 * Note what is loaded, for the functions below; what was noted stays. Takes the loader's lock:
 * not in a signal handler.
 */
void fm__modules_note(void);

enum { PLACE_TEXT = 256 };
/*
 * "0x55d0c1c02a41 serve+0x2a41" into buffer, the module and offset as addr2line takes them;
 * with `names` also the function where its name is exported, for which the loader's lock is
 * taken.
 * Returns the length.
 */
size_t fm__place_text(char buffer[PLACE_TEXT], uintptr_t pc, bool names);

#endif
