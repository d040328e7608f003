/* SPDX-License-Identifier: Apache-2.0 */
/* Completion for fish: one `complete` line an option, under the condition that its verb was typed.
 */
#include "pages/pages.h"

#include <string.h>

static void put_quoted(const char *text, FILE *to)
{
    (void)fputc('\'', to);
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\')
            (void)fputc('\\', to);
        (void)fputc(*text, to);
    }
    (void)fputc('\'', to);
}

static void put_offer(const char *argument, FILE *to)
{
    char words[160];

    switch (offer_for(argument, words, sizeof(words))) {
    case OFFER_FILES:
        (void)fputs(" -F", to);
        break;
    case OFFER_FOLDERS:
        (void)fputs(" -x -a '(__fish_complete_directories)'", to);
        break;
    case OFFER_NAMES:
        (void)fprintf(to, " -x -a '%s%s(__aico_names)'", words, *words ? " " : "");
        break;
    case OFFER_WORDS:
        (void)fprintf(to, " -x -a '%s'", words);
        break;
    case OFFER_NOTHING:
        (void)fputs(" -x", to);
        break;
    }
}

static void put_condition(const struct program *program, const char *verb, FILE *to)
{
    (void)fprintf(to, "complete -c %s", program->name);
    if (verb)
        (void)fprintf(to, " -n '__%s_verb %s'", program->name, verb);
}

static void put_options(const struct program *program, const struct verb_entry *verb, FILE *to)
{
    const struct option_entry *entry;

    for (size_t i = 0; (entry = option_at(program, verb, i)) != NULL; i++) {
        if (verb && !entry->verbs)
            continue; /* stands among those of the program */
        put_condition(program, verb ? verb->name : NULL, to);
        (void)fprintf(to, " -l %s", entry->name);
        if (entry->letter)
            (void)fprintf(to, " -s %c", entry->letter);
        if (entry->argument) {
            (void)fputs(" -r", to);
            put_offer(entry->argument, to);
        }
        (void)fputs(" -d ", to);
        put_quoted(entry->help, to);
        (void)fputc('\n', to);
    }
}

/* Fish does not count arguments for us: what any of them may be is offered. */
static void put_arguments(const struct program *program, const struct verb_entry *verb, FILE *to)
{
    char argument[64], words[160];

    for (size_t i = 0; i < 4 && argument_at(verb->arguments, i, argument, sizeof(argument)); i++) {
        if (offer_for(argument, words, sizeof(words)) != OFFER_NOTHING) {
            put_condition(program, verb->name, to);
            put_offer(argument, to);
            (void)fputc('\n', to);
        }
        if (strstr(verb->arguments, "..."))
            break;
    }
}

static void put_verb_name(const struct program *program, const struct verb_entry *verb, FILE *to)
{
    size_t size = strcspn(verb->name, " ");

    if (!verb->name[size]) {
        (void)fprintf(to, "complete -c %s -n '__%s_verb' -a %s -d ", program->name, program->name,
                      verb->name);
        put_quoted(verb->help, to);
        (void)fputc('\n', to);
        return;
    }
    if (verb == program->verbs || !verb_is_in_group(verb - 1, verb->name, size))
        (void)fprintf(to, "complete -c %s -n '__%s_verb' -a %.*s\n", program->name, program->name,
                      (int)size, verb->name);
    (void)fprintf(to, "complete -c %s -n '__%s_verb %.*s only' -a %s -d ", program->name,
                  program->name, (int)size, verb->name, verb->name + size + 1);
    put_quoted(verb->help, to);
    (void)fputc('\n', to);
}

/* A function that is true when exactly these words of a verb, and maybe its arguments, were typed:
 * without any, when none was; with "only" at the end, when nothing follows them yet. */
static void put_function(const struct program *program, FILE *to)
{
    (void)fprintf(to,
                  "function __%s_verb\n"
                  "    set -l skip 0\n"
                  "    set -l typed\n"
                  "    for word in (commandline -opc)[2..-1]\n"
                  "        if test $skip = 1\n"
                  "            set skip 0\n"
                  "            continue\n"
                  "        end\n"
                  "        switch $word\n"
                  "            case",
                  program->name);
    for (const struct option_entry *entry = program->options; entry->id; entry++) {
        if (!entry->argument || !is_first_of_name(program, entry))
            continue;
        (void)fprintf(to, " --%s", entry->name);
        if (entry->letter)
            (void)fprintf(to, " -%c", entry->letter);
    }
    (void)fputs("\n"
                "                set skip 1\n"
                "            case '-*'\n"
                "            case '*'\n"
                "                set -a typed $word\n"
                "        end\n"
                "    end\n"
                "    if test (count $argv) = 0\n"
                "        test (count $typed) = 0\n"
                "        return\n"
                "    end\n"
                "    if test \"$argv[-1]\" = only\n"
                "        test \"$typed\" = \"$argv[1]\"\n"
                "        return\n"
                "    end\n"
                "    test (count $typed) -ge (count $argv); or return 1\n"
                "    set -l begin $typed[1..(count $argv)]\n"
                "    test \"$begin\" = \"$argv\"\n"
                "end\n",
                to);
}

void write_fish(const struct program *program, FILE *to)
{
    (void)fprintf(to, "# fish completion for %s, made from its option table by tools/pages.\n",
                  program->name);
    (void)fputs("function __aico_names\n"
                "    set -l home $HOME/.aico\n"
                "    set -q AICO_HOME; and set home $AICO_HOME\n"
                "    for key in $home/identities/*.key\n"
                "        string replace -r '.*/(.*)\\.key$' '$1' $key\n"
                "    end\n"
                "end\n",
                to);
    if (has_verbs(program))
        put_function(program, to);
    (void)fprintf(to, "complete -c %s -f\n", program->name);
    put_options(program, NULL, to);
    for (const struct verb_entry *verb = program->verbs; has_verbs(program) && verb->name; verb++) {
        put_verb_name(program, verb, to);
        put_options(program, verb, to);
        put_arguments(program, verb, to);
    }
}
