/* SPDX-License-Identifier: Apache-2.0 */
/* aico-pages FORMAT PROGRAM: writes one man page or completion to stdout; see pages.h. */
#include "pages/pages.h"

#include <ctype.h>
#include <string.h>

#include "pages/programs.h"

static const struct {
    const char *name;
    void (*write)(const struct program *, FILE *);
} formats[] = {
    {"man", write_man},
    {"bash", write_bash},
    {"zsh", write_zsh},
    {"fish", write_fish},
};

enum offer offer_for(const char *argument, char *words, size_t size)
{
    enum offer offer = OFFER_NOTHING;
    char copy[160];

    *words = '\0';
    (void)snprintf(copy, sizeof(copy), "%s", argument ? argument : "");
    for (char *rest = copy, *word; (word = strsep(&rest, "|")) != NULL;) {
        size_t used = strlen(words);

        if (islower((unsigned char)*word)) {
            (void)snprintf(words + used, size - used, "%s%s", used > 0 ? " " : "", word);
            offer = offer == OFFER_NOTHING ? OFFER_WORDS : offer;
        } else if (strcmp(word, "FILE") == 0) {
            offer = OFFER_FILES;
        } else if (strcmp(word, "DIR") == 0) {
            offer = OFFER_FOLDERS;
        } else if (strcmp(word, "NAME") == 0 || strcmp(word, "WHO,..") == 0) {
            offer = OFFER_NAMES;
        }
    }
    return offer;
}

bool argument_at(const char *arguments, size_t index, char *to, size_t size)
{
    char copy[160], *rest = copy, *word, *last = NULL;
    bool is_repeated = strstr(arguments, "...") != NULL;

    (void)snprintf(copy, sizeof(copy), "%s", arguments);
    for (size_t i = 0; (word = strsep(&rest, " ")) != NULL; i++) {
        word += *word == '[';
        word[strcspn(word, "].")] = '\0';
        last = word;
        if (i == index)
            break;
    }
    if (!word && !is_repeated)
        return false;
    (void)snprintf(to, size, "%s", word ? word : last);
    return *to != '\0';
}

bool has_verbs(const struct program *program)
{
    return *program->verbs->name != '\0';
}

const struct option_entry *option_at(const struct program *program, const struct verb_entry *verb,
                                     size_t index)
{
    const struct option_entry *const tables[] = {program->options, options_own};

    for (size_t i = 0; i < 2; i++)
        for (const struct option_entry *entry = tables[i]; entry->id; entry++)
            if (option_is_shown(entry, verb) && index-- == 0)
                return entry;
    return NULL;
}

bool is_first_of_name(const struct program *program, const struct option_entry *entry)
{
    for (const struct option_entry *before = program->options; before < entry; before++)
        if (!before->is_later && strcmp(before->name, entry->name) == 0)
            return false;
    return !entry->is_later;
}

int main(int argc, char **argv)
{
    for (size_t f = 0; argc == 3 && f < sizeof(formats) / sizeof(formats[0]); f++)
        for (size_t p = 0; p < PROGRAM_COUNT; p++)
            if (strcmp(formats[f].name, argv[1]) == 0 && strcmp(programs[p]->name, argv[2]) == 0) {
                formats[f].write(programs[p], stdout);
                return fflush(stdout) != 0 || ferror(stdout);
            }
    (void)fprintf(stderr, "usage: aico-pages man|bash|zsh|fish PROGRAM\n");
    return 2;
}
