/* SPDX-License-Identifier: Apache-2.0 */
/*
 * systemd.h - what a service manager hands over, and what it is told
 */
#ifndef SERVER_SYSTEMD_H
#define SERVER_SYSTEMD_H

/*
 * The listening socket that the process was started with (LISTEN_FDS, LISTEN_PID), made
 * non-blocking and close-on-exec. Forgets the variables. Before there is another thread.
 *
 * Returns    1, with the socket in *ret_fd · 0 none · -EINVAL more than one, or no stream socket
 *            that listens · -errno
 */
int systemd_take_socket(int *ret_fd);

/* Tell the manager (NOTIFY_SOCKET), if there is one: "READY=1", "STOPPING=1". Never waits. */
void systemd_notify(const char *state);

#endif
