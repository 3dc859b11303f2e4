/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.h - which request means what
 */
#ifndef SERVER_API_H
#define SERVER_API_H

#include "tools/server/answer.h"

/* Answer x->request. Called masked, so that the answer is made whole. May wait for a job. */
void api_answer(struct exchange *x);

/* Whether x->request, of which the head has come, is answered while its body comes (body.h). */
bool api_streams(const struct exchange *x);

#endif
