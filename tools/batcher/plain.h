/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plain.h - command lines that mean the same without a shell
 */
#ifndef BATCH_PLAIN_H
#define BATCH_PLAIN_H

/*
 * The words of the line, to be freed with free() alone, if a shell would do nothing but run the
 * program with them: no expansion, no redirection, no assignment, no command of the shell's
 * own. NULL: it is one for the shell, or there is no memory.
 */
char **plain_words(const char *line);

#endif
