/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest.h - the digest of a body of any size
 */
#ifndef SERVER_DIGEST_H
#define SERVER_DIGEST_H

#include "tools/server/answer.h"

void digest_answer(struct exchange *x, const char *name);

#endif
