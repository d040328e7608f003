/* SPDX-License-Identifier: Apache-2.0 */
/* Man pages in the language of man(7). */
#include "pages/pages.h"

#include <ctype.h>
#include <string.h>

#include <aico/client.h>

/* Text of a line: a backslash, a dash that is typed, and a first dot or quote mean themselves. */
static void put_text(const char *text, size_t size, FILE *to)
{
    if (size > 0 && (*text == '.' || *text == '\''))
        (void)fputs("\\&", to);
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\\')
            (void)fputs("\\e", to);
        else if (text[i] == '-')
            (void)fputs("\\-", to);
        else if (text[i] == '\'')
            (void)fputs("\\(aq", to);
        else if (text[i] == '`')
            (void)fputs("\\(ga", to);
        else if (text[i] == '^')
            (void)fputs("\\(ha", to);
        else if (text[i] == '~')
            (void)fputs("\\(ti", to);
        else
            (void)fputc(text[i], to);
    }
}

static void put_line(const char *text, FILE *to)
{
    put_text(text, strlen(text), to);
    (void)fputc('\n', to);
}

static void put_heading(const char *title, FILE *to)
{
    bool has_blank = strchr(title, ' ') != NULL;

    (void)fputs(".SH ", to);
    if (has_blank)
        (void)fputc('"', to);
    for (; *title; title++)
        (void)fputc(toupper((unsigned char)*title), to);
    (void)fputs(has_blank ? "\"\n" : "\n", to);
}

/* Filled, but for lines that begin with two blanks. An empty line begins a paragraph. */
static void put_paragraphs(const char *text, FILE *to)
{
    bool is_verbatim = false, is_first = true;

    while (text && *text) {
        size_t size = strcspn(text, "\n");
        bool is_example = strncmp(text, "  ", 2) == 0;

        if (is_example != is_verbatim)
            (void)fprintf(to, "%s%s%s", is_example ? "" : ".fi\n", is_first ? "" : ".PP\n",
                          is_example ? ".nf\n" : "");
        is_verbatim = is_example;
        is_first = false;
        if (size == 0) {
            (void)fputs(".PP\n", to);
        } else {
            put_text(text, size, to);
            (void)fputc('\n', to);
        }
        text += size + (text[size] == '\n');
    }
    if (is_verbatim)
        (void)fputs(".fi\n", to);
}

static void put_option(const struct option_entry *entry, FILE *to)
{
    (void)fputs(".TP\n", to);
    if (entry->letter)
        (void)fprintf(to, "\\fB\\-%c\\fR, ", entry->letter);
    (void)fputs("\\fB\\-\\-", to);
    put_text(entry->name, strlen(entry->name), to);
    (void)fputs("\\fR", to);
    if (entry->argument) {
        (void)fputs(" \\fI", to);
        put_text(entry->argument, strlen(entry->argument), to);
        (void)fputs("\\fR", to);
    }
    (void)fputc('\n', to);
    put_line(entry->help, to);
}

/* A verb with the options that not all verbs have. */
static void put_verb(const struct program *program, const struct verb_entry *verb, FILE *to)
{
    const struct option_entry *entry;

    (void)fprintf(to, ".SS \"%s", verb->name);
    if (*verb->arguments)
        (void)fputc(' ', to);
    put_text(verb->arguments, strlen(verb->arguments), to);
    (void)fputs("\"\n", to);
    put_line(verb->help, to);
    if (verb->details) {
        (void)fputs(".PP\n", to);
        put_paragraphs(verb->details, to);
    }
    for (size_t i = 0; (entry = option_at(program, verb, i)) != NULL; i++)
        if (entry->verbs)
            put_option(entry, to);
}

static void put_synopsis(const struct program *program, FILE *to)
{
    put_heading("Synopsis", to);
    if (!has_verbs(program)) {
        (void)fputs(".B ", to);
        put_line(program->name, to);
        (void)fputs("[\\fIoptions\\fR]\n", to);
        return;
    }
    for (const struct verb_entry *verb = program->verbs; verb->name; verb++) {
        (void)fputs(verb == program->verbs ? ".B " : ".br\n.B ", to);
        put_text(program->name, strlen(program->name), to);
        (void)fprintf(to, " %s\n", verb->name);
        if (*verb->arguments)
            put_line(verb->arguments, to);
        (void)fputs("[\\fIoptions\\fR]\n", to);
    }
}

void write_man(const struct program *program, FILE *to)
{
    const struct option_entry *entry;

    (void)fputs(".\\\" Made from the option table of the program by tools/pages.\n", to);
    (void)fputs(".TH ", to);
    for (const char *at = program->name; *at; at++)
        (void)fputc(toupper((unsigned char)*at), to);
    (void)fprintf(to, " %c \"\" \"AICO Bus %s\" \"AICO Bus\"\n", program->section, AICO_VERSION);

    put_heading("Name", to);
    put_text(program->name, strlen(program->name), to);
    (void)fputs(" \\- ", to);
    put_line(program->summary, to);
    put_synopsis(program, to);
    if (program->description) {
        put_heading("Description", to);
        put_paragraphs(program->description, to);
    }
    if (has_verbs(program)) {
        put_heading("Commands", to);
        for (const struct verb_entry *verb = program->verbs; verb->name; verb++)
            put_verb(program, verb, to);
    }
    put_heading("Options", to);
    if (has_verbs(program))
        (void)fputs("Before or after the command:\n", to);
    for (size_t i = 0; (entry = option_at(program, NULL, i)) != NULL; i++)
        put_option(entry, to);
    for (const struct manual_part *part = program->parts; part && part->title; part++) {
        put_heading(part->title, to);
        put_paragraphs(part->text, to);
    }
    put_heading("See also", to);
    (void)fputs(".BR aico\\-bus (1),\n.BR aico\\-keytool (1),\n.BR aico\\-frontend (1),\n"
                ".BR aico\\-broker (8),\n.BR aico\\-backend (8)\n",
                to);
}
