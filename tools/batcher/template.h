/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template.h - a command with places for an argument
 *
 *     {}   the argument             {.}   without its extension
 *     {/}  its last component       {//}  what is before that, or "."
 *     {/.} that without extension   {#}   the number of the job     {%}  its slot
 *
 * Where the command has none of the first five, " {}" is put at its end. What the argument
 * brings is quoted for the shell, so that it is one word there whatever it contains.
 */
#ifndef BATCH_TEMPLATE_H
#define BATCH_TEMPLATE_H

#include <stdint.h>

struct template;

/* The words, joined by spaces, are the command. 0 · -ENOMEM */
int template_create(char *const words[], int count, struct template **ret_template);
/* NULL-safe, returns NULL. */
struct template *template_destroy(struct template *template);
/* The command for this argument, to be freed; NULL: no memory. */
char *template_fill(const struct template *template, const char *argument, uint64_t number,
                    unsigned slot);

#endif
