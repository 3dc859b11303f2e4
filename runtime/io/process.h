/*
 * process.h - for the runtime's end and for tests: children whose handles are gone
 */
#ifndef FM_RUNTIME_IO_PROCESS_H
#define FM_RUNTIME_IO_PROCESS_H

#include <stddef.h>

/*
 * Reap those that have ended of the processes that were let go while they ran. Returns how many
 * still run.
 */
size_t fm__process_sweep(void);

#endif
