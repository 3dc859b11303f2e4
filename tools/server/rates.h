/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rates.h - so many requests a second of one client
 */
#ifndef SERVER_RATES_H
#define SERVER_RATES_H

#include <stdbool.h>

struct rates;
struct rate;

/* 0 · -ENOMEM. per_second and burst are at least 1. */
int rates_create(unsigned per_second, unsigned burst, struct rates **ret_rates);
/* Every client has left. NULL-safe, returns NULL. */
struct rates *rates_destroy(struct rates *rates);

/*
 * The rate of a client, which all its connections share, and which outlives them for a while;
 * to be given back. NULL: no memory.
 *
 * client  its address, copied
 */
struct rate *rates_enter(struct rates *rates, const char *client);
/* NULL-safe. */
void rates_leave(struct rates *rates, struct rate *rate);
/* One request more: may it? Never waits. */
bool rate_allows(struct rate *rate);

#endif
