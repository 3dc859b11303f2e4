/*
 * probe.h - USDT probes, where <sys/sdt.h> was there when this was built
 *
 * One instruction that does nothing, and a note in the file where it stands and where its
 * arguments are. Arguments must be at hand: they are not evaluated for a tracer alone.
 * docs/observing.md lists them.
 */
#ifndef FM_RUNTIME_PLATFORM_PROBE_H
#define FM_RUNTIME_PLATFORM_PROBE_H

#if defined FM_HAVE_SDT
#include <sys/sdt.h>
#define FM_PROBE1(name, a) DTRACE_PROBE1(fibermap, name, a)
#define FM_PROBE2(name, a, b) DTRACE_PROBE2(fibermap, name, a, b)
#define FM_PROBE3(name, a, b, c) DTRACE_PROBE3(fibermap, name, a, b, c)
#else
#define FM_PROBE1(name, a) ((void)sizeof(a))
#define FM_PROBE2(name, a, b) ((void)sizeof(a), (void)sizeof(b))
#define FM_PROBE3(name, a, b, c) ((void)sizeof(a), (void)sizeof(b), (void)sizeof(c))
#endif

#endif
