/* SPDX-License-Identifier: Apache-2.0 */
/* Completion for bash: one function per program, which knows the verb from the words before. */
#include "pages/pages.h"

#include <string.h>

/* "aico_bus" for the names of functions. */
static const char *identifier(const struct program *program)
{
    static char name[64];

    (void)snprintf(name, sizeof(name), "%s", program->name);
    for (char *at = name; *at; at++)
        if (*at == '-')
            *at = '_';
    return name;
}

/* What is to be typed where @argument is expected, as a line of the script. */
static void put_offer(const char *argument, FILE *to)
{
    char words[160];

    switch (offer_for(argument, words, sizeof(words))) {
    case OFFER_FILES:
        (void)fputs("compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")", to);
        break;
    case OFFER_FOLDERS:
        (void)fputs("compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"$cur\")", to);
        break;
    case OFFER_NAMES:
        (void)fprintf(to,
                      "words=\"%s%s$(cd \"${AICO_HOME:-$HOME/.aico}/identities\" 2>/dev/null &&\n"
                      "            printf '%%s\\n' *.key | sed -n 's/\\.key$//; /^[^*]/p')\"",
                      words, *words ? " " : "");
        break;
    case OFFER_WORDS:
        (void)fprintf(to, "words='%s'", words);
        break;
    case OFFER_NOTHING:
        (void)fputs(":", to);
        break;
    }
}

/* The cases of `case $option in`: what the value of each option may be; the last one is a pattern
 * of all that take a value. */
static void put_values(const struct program *program, FILE *to)
{
    for (const struct option_entry *entry = program->options; entry->id; entry++) {
        if (!entry->argument || !is_first_of_name(program, entry))
            continue;
        (void)fprintf(to, "    --%s", entry->name);
        if (entry->letter)
            (void)fprintf(to, " | -%c", entry->letter);
        (void)fputs(") ", to);
        put_offer(entry->argument, to);
        (void)fputs(" ;;\n", to);
    }
}

static void put_takers(const struct program *program, FILE *to)
{
    const char *between = "";

    for (const struct option_entry *entry = program->options; entry->id; entry++) {
        if (!entry->argument || !is_first_of_name(program, entry))
            continue;
        (void)fprintf(to, "%s--%s", between, entry->name);
        if (entry->letter)
            (void)fprintf(to, " | -%c", entry->letter);
        between = " | ";
    }
}

static void put_options(const struct program *program, const struct verb_entry *verb, FILE *to)
{
    const struct option_entry *entry;

    (void)fprintf(to, "        '%s') words='", verb ? verb->name : "");
    for (size_t i = 0; (entry = option_at(program, verb, i)) != NULL; i++)
        (void)fprintf(to, "%s--%s", i > 0 ? " " : "", entry->name);
    (void)fputs("' ;;\n", to);
}

/* What stands at each place behind the verb; a repeated argument at every later place. */
static void put_arguments(const struct verb_entry *verb, FILE *to)
{
    char argument[64];

    for (size_t i = 0; i < 4 && argument_at(verb->arguments, i, argument, sizeof(argument)); i++) {
        (void)fprintf(to, "    '%s:%zu') ", verb->name, i);
        put_offer(argument, to);
        (void)fputs(" ;;\n", to);
    }
}

static void put_verbs(const struct program *program, FILE *to)
{
    const char *last = "";
    size_t last_size = 0;

    (void)fputs("    ':0') words='", to);
    for (const struct verb_entry *verb = program->verbs; verb->name; verb++) {
        size_t size = strcspn(verb->name, " ");

        if (size != last_size || strncmp(verb->name, last, size) != 0)
            (void)fprintf(to, "%s%.*s", verb == program->verbs ? "" : " ", (int)size, verb->name);
        last = verb->name;
        last_size = size;
    }
    (void)fputs("' ;;\n", to);
    for (const struct verb_entry *verb = program->verbs; verb->name; verb++) {
        size_t size = strcspn(verb->name, " ");

        if (verb->name[size])
            (void)fprintf(to, "    '%.*s:0') words=\"${words-} %s\" ;;&\n", (int)size, verb->name,
                          verb->name + size + 1);
    }
}

/* The first words of verbs of two, as a pattern. */
static void put_groups(const struct program *program, FILE *to)
{
    const char *between = "";

    for (const struct verb_entry *verb = program->verbs; verb->name; verb++) {
        size_t size = strcspn(verb->name, " ");
        bool is_known = verb > program->verbs && verb_is_in_group(verb - 1, verb->name, size);

        if (verb->name[size] && !is_known) {
            (void)fprintf(to, "%s'%.*s'", between, (int)size, verb->name);
            between = " | ";
        }
    }
    (void)fputs(*between ? "" : "'/'", to);
}

void write_bash(const struct program *program, FILE *to)
{
    const char *id = identifier(program);

    (void)fprintf(to,
                  "# bash completion for %s, made from its option table by tools/pages.\n"
                  "_%s()\n"
                  "{\n"
                  "    local cur=${COMP_WORDS[COMP_CWORD]} option= verb= index=0 i words=\n"
                  "    COMPREPLY=()\n"
                  "    [ \"$cur\" = = ] && cur=\n"
                  "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                  "        if [ -n \"$option\" ]; then\n"
                  "            [ \"${COMP_WORDS[i]}\" = = ] || option=\n"
                  "            continue\n"
                  "        fi\n"
                  "        case ${COMP_WORDS[i]} in\n"
                  "        ",
                  program->name, id);
    put_takers(program, to);
    (void)fputs(") option=${COMP_WORDS[i]} ;;\n"
                "        -?*) ;;\n",
                to);
    if (has_verbs(program)) {
        (void)fputs("        *)\n"
                    "            case $verb in\n"
                    "            '') verb=${COMP_WORDS[i]} ;;\n"
                    "            ",
                    to);
        put_groups(program, to);
        (void)fputs(") verb=\"$verb ${COMP_WORDS[i]}\" ;;\n"
                    "            *) index=$((index + 1)) ;;\n"
                    "            esac\n"
                    "            ;;\n",
                    to);
    }
    (void)fputs("        esac\n"
                "    done\n"
                "    case $option in\n",
                to);
    put_values(program, to);
    (void)fputs("    esac\n"
                "    if [ -z \"$option\" ] && [[ $cur == -* ]]; then\n"
                "        case $verb in\n",
                to);
    for (const struct verb_entry *verb = program->verbs; has_verbs(program) && verb->name; verb++)
        put_options(program, verb, to);
    put_options(program, NULL, to);
    (void)fputs("        esac\n"
                "    elif [ -z \"$option\" ]; then\n"
                "    case $verb:$index in\n",
                to);
    if (has_verbs(program))
        put_verbs(program, to);
    for (const struct verb_entry *verb = program->verbs; has_verbs(program) && verb->name; verb++)
        put_arguments(verb, to);
    (void)fprintf(to,
                  "    esac\n"
                  "    fi\n"
                  "    [ -z \"$words\" ] || mapfile -t COMPREPLY < <(compgen -W \"$words\" -- "
                  "\"$cur\")\n"
                  "}\n"
                  "complete -F _%s %s\n",
                  id, program->name);
}
