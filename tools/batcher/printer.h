/* SPDX-License-Identifier: Apache-2.0 */
/*
 * printer.h - one after the other, to our own output
 */
#ifndef BATCH_PRINTER_H
#define BATCH_PRINTER_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/batcher/output.h"

struct printer;

/*
 * keep_order  outputs come in the order of their numbers, which are 1, 2, 3 ... : each must be
 *             put once, with or without anything to print. 0 · -ENOMEM
 */
int printer_create(bool keep_order, struct printer **ret_printer);
/* NULL-safe, returns NULL. */
struct printer *printer_destroy(struct printer *printer);
/*
 * Print this output when it is its turn, number 0 at once; it passes to the printer. Fibers only; waits for its
 * turn at the descriptor, and is not interrupted. 0 · -errno of write(2): then and from then on
 */
int printer_put(struct printer *printer, uint64_t number, struct output *output);
/* Print what waits for numbers that will not come. Results as printer_put. */
int printer_flush(struct printer *printer);
/*
 * Show this on the last line of the terminal behind our error, in place of what it shows now;
 * it goes before anything is printed. "": nothing.
 */
void printer_progress(struct printer *printer, const char *text);
/* Print a line on our error, as it comes. */
__attribute__((format(printf, 2, 3))) void printer_say(struct printer *printer,
                                                       const char *format, ...);

#endif
