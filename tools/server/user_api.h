/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user_api.h - requests about users and what is sent to them
 */
#ifndef SERVER_USER_API_H
#define SERVER_USER_API_H

#include "tools/server/answer.h"

/* The body, to one user. */
void user_api_send(struct exchange *x, const char *user);

#endif
