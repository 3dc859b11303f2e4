/*
 * tell.h - how a schedule failed, in words
 */
#ifndef FM_RUNTIME_EXPLORE_TELL_H
#define FM_RUNTIME_EXPLORE_TELL_H

#include "runtime/explore/play.h"

/*
 * On stderr: what happened in the test `name`, who waits for what, and how to have it again.
 * The play was the report's last.
 */
void fm__tell_failure(const char *name, const struct fm_explore_report *report,
                      const struct play *play);

#endif
