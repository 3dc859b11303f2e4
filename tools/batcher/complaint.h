/* SPDX-License-Identifier: Apache-2.0 */
/*
 * complaint.h - what is wrong with what we were given, in words for who gave it
 */
#ifndef BATCH_COMPLAINT_H
#define BATCH_COMPLAINT_H

struct complaint {
    char text[1024];
};

/* Write it down, cut to fit; returns -EINVAL, to be passed up. */
__attribute__((format(printf, 2, 3))) int complain(struct complaint *complaint,
                                                   const char *format, ...);

#endif
