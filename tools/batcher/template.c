/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template.c - a command with places for an argument
 */
#include "tools/batcher/template.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct template
{
    char *text;
};

enum place { ALL, STEM, BASE, FOLDER, BASE_STEM, NUMBER, SLOT, PLACES };
static const char *const places[PLACES] = { "{}", "{.}", "{/}", "{//}", "{/.}", "{#}", "{%}" };

/* Which place text begins with; PLACES: none. */
static enum place place_at(const char *text)
{
    enum place place = 0;
    while (place < PLACES && strncmp(text, places[place], strlen(places[place])))
        place++;
    return place;
}

static bool has_argument(const char *text)
{
    for (; (text = strchr(text, '{')); text++)
        if (place_at(text) < NUMBER)
            return true;
    return false;
}

int template_create(char *const words[], int count, struct template **ret_template)
{
    size_t size = sizeof " {}";
    for (int i = 0; i < count; i++)
        size += strlen(words[i]) + 1;
    struct template *template = malloc(sizeof *template);
    char *text = malloc(size);
    if (!template || !text) {
        free(template);
        free(text);
        return -ENOMEM;
    }
    char *end = text;
    *end = '\0';
    for (int i = 0; i < count; i++)
        end = stpcpy(stpcpy(end, i ? " " : ""), words[i]);
    if (!has_argument(text))
        strcpy(end, " {}");
    template->text = text;
    *ret_template = template;
    return 0;
}

struct template *template_destroy(struct template *template)
{
    if (template)
        free(template->text);
    free(template);
    return NULL;
}

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("_-./,:=@%+", c));
}

/* One word of the shell; plain ones stay as they are, so that they are good to read. */
static void put_quoted(FILE *out, const char *text, size_t len)
{
    bool plain = len > 0;
    for (size_t i = 0; i < len; i++)
        plain &= is_plain(text[i]);
    if (plain) {
        fwrite(text, 1, len, out);
        return;
    }
    fputc('\'', out);
    for (size_t i = 0; i < len; i++)
        if (text[i] == '\'')
            fputs("'\\''", out);
        else
            fputc(text[i], out);
    fputc('\'', out);
}

/* Where the extension begins in a name whose last component begins at base; its end if none. */
static size_t stem_len(const char *name, size_t base)
{
    const char *dot = strrchr(name + base, '.');
    return dot ? (size_t)(dot - name) : strlen(name);
}

/* As dirname(1): slashes at the end do not count. */
static void put_folder(FILE *out, const char *name)
{
    size_t len = strlen(name);
    while (len && name[len - 1] == '/')
        len--;
    while (len && name[len - 1] != '/')
        len--;
    while (len > 1 && name[len - 1] == '/')
        len--;
    if (len)
        put_quoted(out, name, len);
    else
        fputc(*name == '/' ? '/' : '.', out);
}

static void put_place(FILE *out, enum place place, const char *argument, uint64_t number,
                      unsigned slot)
{
    const char *slash = strrchr(argument, '/');
    size_t base = slash ? (size_t)(slash + 1 - argument) : 0;
    switch (place) {
    case ALL: put_quoted(out, argument, strlen(argument)); break;
    case STEM: put_quoted(out, argument, stem_len(argument, base)); break;
    case BASE: put_quoted(out, argument + base, strlen(argument + base)); break;
    case BASE_STEM: put_quoted(out, argument + base, stem_len(argument, base) - base); break;
    case FOLDER: put_folder(out, argument); break;
    case NUMBER: fprintf(out, "%llu", (unsigned long long)number); break;
    case SLOT: fprintf(out, "%u", slot); break;
    case PLACES: break;
    }
}

char *template_fill(const struct template *template, const char *argument, uint64_t number,
                    unsigned slot)
{
    char *filled = NULL;
    size_t size;
    FILE *out = open_memstream(&filled, &size);
    if (!out)
        return NULL;
    for (const char *at = template->text; *at;) {
        enum place place = place_at(at);
        if (place == PLACES) {
            fputc(*at++, out);
        } else {
            put_place(out, place, argument, number, slot);
            at += strlen(places[place]);
        }
    }
    bool failed = ferror(out);
    if (fclose(out) != 0 || failed) {
        free(filled);
        return NULL;
    }
    return filled;
}
