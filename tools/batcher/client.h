/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - ask a running batch
 */
#ifndef BATCH_CLIENT_H
#define BATCH_CLIENT_H

#include "tools/batcher/options.h"

/*
 * Ask what the options say, print the answer. The exit code: 0, 1 it was an error, that of the
 * batch for `wait`, BATCH_ERROR nobody answers.
 */
int client_run(const struct options *options);

#endif
