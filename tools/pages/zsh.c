/* SPDX-License-Identifier: Apache-2.0 */
/* Completion for zsh: specifications for _arguments. */
#include "pages/pages.h"

#include <string.h>

/* Inside '...' and inside [...] of a specification. */
static void put_escaped(const char *text, FILE *to)
{
    for (; *text; text++) {
        if (*text == '\'')
            (void)fputs("'\\''", to);
        else if (strchr("[]:\\", *text))
            (void)fprintf(to, "\\%c", *text);
        else
            (void)fputc(*text, to);
    }
}

static void put_action(const char *argument, FILE *to)
{
    char words[160];

    (void)fputc(':', to);
    put_escaped(argument, to);
    (void)fputc(':', to);
    switch (offer_for(argument, words, sizeof(words))) {
    case OFFER_FILES:
        (void)fputs("_files", to);
        break;
    case OFFER_FOLDERS:
        (void)fputs("_files -/", to);
        break;
    case OFFER_NAMES:
        (void)fprintf(to, "{compadd - %s%s${AICO_HOME:-$HOME/.aico}/identities/*.key(N:t:r)}",
                      words, *words ? " " : "");
        break;
    case OFFER_WORDS:
        (void)fprintf(to, "(%s)", words);
        break;
    case OFFER_NOTHING:
        (void)fputc(' ', to);
        break;
    }
}

static void put_option(const struct option_entry *entry, FILE *to)
{
    if (entry->letter)
        (void)fprintf(to, "        '*-%c%s[", entry->letter, entry->argument ? "+" : "");
    for (int i = entry->letter ? 0 : 1; i < 2; i++) {
        if (i == 1)
            (void)fprintf(to, "        '*--%s%s[", entry->name, entry->argument ? "=" : "");
        put_escaped(entry->help, to);
        (void)fputc(']', to);
        if (entry->argument)
            put_action(entry->argument, to);
        (void)fputs("'\n", to);
    }
}

/* All options of the verb (NULL: of the program) as an array. */
static void put_options(const struct program *program, const struct verb_entry *verb, FILE *to)
{
    const struct option_entry *entry;

    (void)fputs("    options=(\n", to);
    for (size_t i = 0; (entry = option_at(program, verb, i)) != NULL; i++)
        put_option(entry, to);
    (void)fputs("    )\n", to);
}

static void put_arguments(const struct verb_entry *verb, FILE *to)
{
    char argument[64];
    bool is_repeated = strstr(verb->arguments, "...") != NULL;

    for (size_t i = 0; i < 4 && argument_at(verb->arguments, i, argument, sizeof(argument)); i++) {
        if (is_repeated)
            (void)fputs(" '*", to);
        else
            (void)fprintf(to, " '%zu", i + 1);
        put_action(argument, to);
        (void)fputc('\'', to);
        if (is_repeated)
            break;
    }
}

static void put_verb(const struct program *program, const struct verb_entry *verb, FILE *to)
{
    size_t size = strcspn(verb->name, " ");
    bool is_of_two = verb->name[size] != '\0';

    (void)fprintf(to, "\n_%s_%.*s%s%s() {\n    local -a options\n", program->name, (int)size,
                  verb->name, is_of_two ? "_" : "", is_of_two ? verb->name + size + 1 : "");
    put_options(program, verb, to);
    (void)fputs("    _arguments -s $options", to);
    put_arguments(verb, to);
    (void)fputs("\n}\n", to);
}

/* The function that hands over to that of the verb, or of the second word of a verb of two. */
static void put_choice(const struct program *program, const char *group, FILE *to)
{
    size_t group_size = strlen(group), skip = group_size > 0 ? group_size + 1 : 0;

    (void)fprintf(to,
                  "\n_%s%s%s() {\n"
                  "    local curcontext=$curcontext state line\n"
                  "    local -a options verbs\n",
                  program->name, *group ? "_" : "", group);
    put_options(program, NULL, to);
    (void)fputs("    verbs=(\n", to);
    for (const struct verb_entry *verb = program->verbs; verb->name; verb++) {
        size_t size = strcspn(verb->name, " ");

        if (*group && !verb_is_in_group(verb, group, group_size))
            continue;
        if (!*group && verb->name[size]) {
            if (verb == program->verbs || !verb_is_in_group(verb - 1, verb->name, size))
                (void)fprintf(to, "        '%.*s'\n", (int)size, verb->name);
            continue;
        }
        (void)fprintf(to, "        '%s:", verb->name + skip);
        put_escaped(verb->help, to);
        (void)fputs("'\n", to);
    }
    (void)fprintf(to,
                  "    )\n"
                  "    _arguments -s -C $options '1: :->verb' '*:: :->rest'\n"
                  "    case $state in\n"
                  "    verb) _describe -t commands command verbs ;;\n"
                  "    rest) (( $+functions[_%s%s%s_$line[1]] )) && \"_%s%s%s_$line[1]\" ;;\n"
                  "    esac\n"
                  "}\n",
                  program->name, *group ? "_" : "", group, program->name, *group ? "_" : "", group);
}

void write_zsh(const struct program *program, FILE *to)
{
    char group[64];

    (void)fprintf(to,
                  "#compdef %s\n"
                  "# zsh completion for %s, made from its option table by tools/pages.\n",
                  program->name, program->name);
    for (const struct verb_entry *verb = program->verbs; has_verbs(program) && verb->name; verb++) {
        size_t size = strcspn(verb->name, " ");

        if (verb->name[size] &&
            (verb == program->verbs || !verb_is_in_group(verb - 1, verb->name, size))) {
            (void)snprintf(group, sizeof(group), "%.*s", (int)size, verb->name);
            put_choice(program, group, to);
        }
        put_verb(program, verb, to);
    }
    if (has_verbs(program)) {
        put_choice(program, "", to);
    } else {
        (void)fprintf(to, "\n_%s() {\n    local -a options\n", program->name);
        put_options(program, NULL, to);
        (void)fputs("    _arguments -s $options\n}\n", to);
    }
    (void)fprintf(to, "\n_%s \"$@\"\n", program->name);
}
