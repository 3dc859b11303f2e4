/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plain.c - command lines that mean the same without a shell
 *
 * What is in doubt is the shell's. Without it a program starts in two thirds of the time.
 */
#include "tools/batcher/plain.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Reserved words, and what dash or bash have built in: theirs differ from the programs. */
static const char *const shells_own[] = {
    ".",        "[",       "alias",   "bg",      "bind",     "break",    "builtin", "caller",
    "case",     "cd",      "chdir",   "command", "compgen",  "complete", "compopt", "continue",
    "coproc",   "declare", "dirs",    "disown",  "do",       "done",     "echo",    "elif",
    "else",     "enable",  "esac",    "eval",    "exec",     "exit",     "export",  "false",
    "fc",       "fg",      "fi",      "for",     "function", "getopts",  "hash",    "help",
    "history",  "if",      "in",      "jobs",    "kill",     "let",      "local",   "logout",
    "mapfile",  "newgrp",  "popd",    "printf",  "pushd",    "pwd",      "read",    "readarray",
    "readonly", "return",  "select",  "set",     "shift",    "shopt",    "source",  "suspend",
    "test",     "then",    "time",    "times",   "trap",     "true",     "type",    "typeset",
    "ulimit",   "umask",   "unalias", "unset",   "until",    "wait",     "while",
};

static bool is_shells_own(const char *word)
{
    if (!*word || strchr(word, '='))
        return true;
    for (size_t i = 0; i < sizeof shells_own / sizeof shells_own[0]; i++)
        if (!strcmp(word, shells_own[i]))
            return true;
    return false;
}

/* Stands for itself wherever it stands. */
static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           strchr("_-./,:=@%+", c);
}

/*
 * One word from `from`, without its quotes to `to`: where it ends in the line; NULL: it is for
 * the shell. There is quoting by '...' and by a backslash, as template.c writes it.
 */
static const char *take_word(const char *from, char **to)
{
    char *end = *to;
    while (*from && *from != ' ') {
        if (*from == '\'') {
            const char *close = strchr(from + 1, '\'');
            if (!close)
                return NULL;
            memcpy(end, from + 1, (size_t)(close - from - 1));
            end += close - from - 1;
            from = close + 1;
        } else if (*from == '\\' && from[1] && from[1] != '\n') {
            *end++ = from[1];
            from += 2;
        } else if (is_plain(*from)) {
            *end++ = *from++;
        } else {
            return NULL;
        }
    }
    *end++ = '\0';
    *to = end;
    return from;
}

char **plain_words(const char *line)
{
    size_t len = strlen(line), most = len / 2 + 2, count = 0;
    char **words = malloc(most * sizeof *words + len + 1);
    if (!words)
        return NULL;
    char *text = (char *)(words + most);
    while (*line) {
        if (*line == ' ') {
            line++;
            continue;
        }
        words[count++] = text;
        line = take_word(line, &text);
        if (!line)
            break;
    }
    words[count] = NULL;
    if (!line || !count || is_shells_own(words[0])) {
        free(words);
        return NULL;
    }
    return words;
}
