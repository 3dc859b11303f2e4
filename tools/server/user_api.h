/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user_api.h - requests about users and what is sent to them
 */
#ifndef SERVER_USER_API_H
#define SERVER_USER_API_H

#include "tools/server/answer.h"

/* The body, to one user. */
void user_api_send(struct exchange *x, const char *user);
/* The body, to all who are connected. */
void user_api_send_all(struct exchange *x, const char *name);
/* Who is connected, and for whom messages wait. */
void user_api_list(struct exchange *x, const char *name);

#endif
