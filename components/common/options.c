/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines: parsing and --help from one table. */
#include "common/options.h"

#include <stdlib.h>
#include <string.h>

#include <aico/client.h>

#define HELP_COLUMN 26
#define OPTIONS_MAX 128 /* given on one command line */
#define ID_HELP (-1)
#define ID_VERSION (-2)

const struct option_entry options_own[] = {
    {ID_HELP, NULL, "help", 'h', NULL, "show this help", "Other options", false},
    {ID_VERSION, NULL, "version", 0, NULL, "show the version", "Other options", false},
    {0},
};

/* One option as it was given; which entry it means is known only together with the verb. */
struct given {
    const char *name; /* long name, or NULL */
    size_t name_size;
    char letter;
    const char *value;
};

/* Whether @word is among the words of @list, which commas part. */
static bool is_listed(const char *list, const char *word)
{
    size_t size = strlen(word);

    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, size) == 0 && (at[size] == ',' || at[size] == '\0'))
            return true;
    }
    return false;
}

static bool is_for(const struct option_entry *entry, const struct verb_entry *verb)
{
    return !entry->verbs || !verb || !*verb->name || is_listed(entry->verbs, verb->name);
}

bool option_is_shown(const struct option_entry *entry, const struct verb_entry *verb)
{
    return !entry->is_later && (verb ? is_for(entry, verb) : !entry->verbs);
}

bool verb_is_in_group(const struct verb_entry *verb, const char *word, size_t size)
{
    return strncmp(verb->name, word, size) == 0 && verb->name[size] == ' ';
}

static bool is_named(const struct option_entry *entry, const struct given *given)
{
    if (!given->name)
        return entry->letter == given->letter;
    return strlen(entry->name) == given->name_size &&
           strncmp(entry->name, given->name, given->name_size) == 0;
}

/* The entry of that name that belongs to the verb, else of that name, else NULL. */
static const struct option_entry *find(const struct program *program, const struct verb_entry *verb,
                                       const struct given *given)
{
    const struct option_entry *other = NULL;
    const struct option_entry *const tables[] = {program->options, options_own};

    for (size_t i = 0; i < 2; i++) {
        for (const struct option_entry *entry = tables[i]; entry->id; entry++) {
            if (!is_named(entry, given))
                continue;
            if (is_for(entry, verb))
                return entry;
            other = entry;
        }
    }
    return other;
}

static const struct verb_entry *find_verb(const struct program *program, const char *name)
{
    for (const struct verb_entry *verb = program->verbs; verb->name; verb++)
        if (strcmp(verb->name, name) == 0)
            return verb;
    return NULL;
}

static bool is_group(const struct program *program, const char *word)
{
    for (const struct verb_entry *verb = program->verbs; verb->name; verb++)
        if (verb_is_in_group(verb, word, strlen(word)))
            return true;
    return false;
}

/* How many letters must change to make one word of the other; small words only. */
static size_t distance(const char *a, const char *b)
{
    size_t row[33], b_size = strlen(b);

    if (b_size > 32)
        return 99;
    for (size_t j = 0; j <= b_size; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];

        row[0] = i + 1;
        for (size_t j = 0; j < b_size; j++) {
            size_t change = diagonal + (a[i] != b[j]);
            size_t step = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;

            diagonal = row[j + 1];
            row[j + 1] = change < step ? change : step;
        }
    }
    return row[b_size];
}

static int unknown_option(const struct program *program, const struct given *given,
                          struct aico_error *err)
{
    char name[64];
    const char *nearest = NULL;
    size_t best = 3;

    if (!given->name)
        return aico_error_set(err, AICO_EINVAL, "unknown option -%c", given->letter);

    (void)snprintf(name, sizeof(name), "%.*s", (int)given->name_size, given->name);
    for (const struct option_entry *entry = program->options; entry->id; entry++) {
        size_t d = entry->is_later ? 99 : distance(name, entry->name);

        if (d < best) {
            best = d;
            nearest = entry->name;
        }
    }
    if (nearest)
        return aico_error_set(err, AICO_EINVAL, "unknown option --%s; did you mean --%s?", name,
                              nearest);
    return aico_error_set(err, AICO_EINVAL, "unknown option --%s", name);
}

/* Reads the option at argv[*index] into @list; *index moves on over a value of its own. */
static int read_option(const struct program *program, int argc, char **argv, int *index,
                       struct given *list, int *count, struct aico_error *err)
{
    char *text = argv[*index];
    bool is_long = text[1] == '-';
    char *at = text + (is_long ? 2 : 1);

    do {
        struct given given = {.letter = *at};
        const struct option_entry *entry;

        if (is_long) {
            given.name = at;
            given.name_size = strcspn(at, "=");
            if (at[given.name_size] == '=')
                given.value = at + given.name_size + 1;
        }
        entry = find(program, NULL, &given);
        if (!entry)
            return unknown_option(program, &given, err);
        if (*count == OPTIONS_MAX)
            return aico_error_set(err, AICO_EINVAL, "more than %d options", OPTIONS_MAX);
        if (!entry->argument && given.value)
            return aico_error_set(err, AICO_EINVAL, "option --%s takes no value", entry->name);
        if (entry->argument && !given.value) {
            if (!is_long && at[1])
                given.value = at + 1;
            else if (*index + 1 < argc)
                given.value = argv[++*index];
            else
                return aico_error_set(err, AICO_EINVAL, "option --%s needs %s", entry->name,
                                      entry->argument);
        }
        list[(*count)++] = given;
        if (is_long || entry->argument)
            return 0;
    } while (*++at);
    return 0;
}

static int check_arguments(const struct command *command, struct aico_error *err)
{
    const struct verb_entry *verb = command->verb;

    if (command->count < verb->min)
        return aico_error_set(err, AICO_EINVAL, "something is missing: %s", verb->arguments);
    if (verb->max >= 0 && command->count > verb->max)
        return aico_error_set(err, AICO_EINVAL, "unexpected argument \"%.60s\"",
                              command->arguments[verb->max]);
    return 0;
}

static int take_all(const struct program *program, const struct given *list, int count,
                    option_function *take, void *context, struct command *command,
                    struct aico_error *err)
{
    for (int i = 0; i < count; i++) {
        const struct option_entry *entry = find(program, command->verb, &list[i]);
        int r;

        if (entry->is_later)
            return aico_error_set(err, AICO_EINVAL, "option --%s is not available in this version",
                                  entry->name);
        if (!is_for(entry, command->verb))
            return aico_error_set(err, AICO_EINVAL, "option --%s does not belong to %s",
                                  entry->name, command->verb->name);
        if (entry->id == ID_HELP || entry->id == ID_VERSION)
            continue;
        r = take(context, entry->id, list[i].value, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The words of a line that are no options: the verb, of one word or two, and its arguments. */
struct words {
    const struct program *program;
    struct command *command;
    const char *group;   /* the first word of two, as long as the second is missing */
    const char *unknown; /* a first word that is no verb */
    char name[64];
};

static void take_word(struct words *words, char *word)
{
    struct command *command = words->command;

    if (command->verb || words->unknown) {
        command->arguments[command->count++] = word;
    } else if (words->group) {
        (void)snprintf(words->name, sizeof(words->name), "%s %s", words->group, word);
        command->verb = find_verb(words->program, words->name);
        if (!command->verb)
            words->unknown = words->name;
    } else if (is_group(words->program, word)) {
        words->group = word;
    } else if (!(command->verb = find_verb(words->program, word))) {
        words->unknown = word;
    }
}

/* --help and --version win over everything else on the line. */
static bool answer_own(const struct given *list, int count, const struct words *words)
{
    const struct verb_entry *verb = words->command->verb;

    for (int i = 0; i < count; i++) {
        const struct option_entry *entry = find(words->program, verb, &list[i]);

        if (entry->id == ID_HELP)
            options_print_help(words->program, verb && *verb->name ? verb : NULL, words->group,
                               stdout);
        else if (entry->id == ID_VERSION)
            (void)printf("%s %s\n", words->program->name, AICO_VERSION);
        else
            continue;
        return true;
    }
    return false;
}

static int check_verb(const struct words *words, struct aico_error *err)
{
    const char *between = "";
    char list[160] = "";

    if (words->command->verb)
        return 0;
    if (!words->unknown && !words->group)
        return aico_error_set(err, AICO_EINVAL, "no command given");
    for (const struct verb_entry *verb = words->program->verbs; words->group && verb->name;
         verb++) {
        size_t size = strlen(list);

        if (!verb_is_in_group(verb, words->group, strlen(words->group)))
            continue;
        (void)snprintf(list + size, sizeof(list) - size, "%s%s", between, verb->name);
        between = ", ";
    }
    if (words->unknown)
        return aico_error_set(err, AICO_EINVAL, "unknown command \"%.40s\"%s%s", words->unknown,
                              *list ? "; there is " : "", list);
    return aico_error_set(err, AICO_EINVAL, "something is missing: %s", list);
}

int options_parse(const struct program *program, int argc, char **argv, option_function *take,
                  void *context, struct command *ret_command, struct aico_error *err)
{
    struct given list[OPTIONS_MAX];
    struct words words = {.program = program, .command = ret_command};
    bool is_over = false;
    int given = 0, r = 0;

    ret_command->verb = *program->verbs->name ? NULL : program->verbs;
    ret_command->arguments = argv;
    ret_command->count = 0;

    for (int i = 1; i < argc && r == 0; i++) {
        if (!is_over && strcmp(argv[i], "--") == 0)
            is_over = true;
        else if (!is_over && argv[i][0] == '-' && argv[i][1])
            r = read_option(program, argc, argv, &i, list, &given, err);
        else
            take_word(&words, argv[i]);
    }
    if (r == 0 && answer_own(list, given, &words))
        return 1;
    if (r == 0)
        r = check_verb(&words, err);
    if (r == 0)
        r = take_all(program, list, given, take, context, ret_command, err);
    return r < 0 ? r : check_arguments(ret_command, err);
}

static void print_option(const struct option_entry *entry, FILE *to)
{
    char left[80];

    (void)snprintf(left, sizeof(left), "%c%c%s --%s%s%s", entry->letter ? '-' : ' ',
                   entry->letter ? entry->letter : ' ', entry->letter ? "," : " ", entry->name,
                   entry->argument ? " " : "", entry->argument ? entry->argument : "");
    if (strlen(left) > HELP_COLUMN - 1)
        (void)fprintf(to, "  %s\n  %-*s", left, HELP_COLUMN, "");
    else
        (void)fprintf(to, "  %-*s", HELP_COLUMN, left);
    (void)fprintf(to, "%s\n", entry->help);
}

static const char *section_of(const struct option_entry *entry)
{
    return entry->section ? entry->section : "Options";
}

/* Options under their headings, in the order in which the headings first appear in the table. */
static void print_options(const struct option_entry *table, const struct verb_entry *verb, FILE *to)
{
    for (const struct option_entry *first = table; first->id; first++) {
        bool is_new = option_is_shown(first, verb);

        for (const struct option_entry *e = table; e < first; e++)
            if (option_is_shown(e, verb) && strcmp(section_of(e), section_of(first)) == 0)
                is_new = false;
        if (!is_new)
            continue;
        (void)fprintf(to, "\n%s:\n", section_of(first));
        for (const struct option_entry *e = first; e->id; e++)
            if (option_is_shown(e, verb) && strcmp(section_of(e), section_of(first)) == 0)
                print_option(e, to);
    }
}

static void print_verbs(const struct program *program, const char *group, FILE *to)
{
    char left[80];

    (void)fprintf(to, "\nCommands (%s COMMAND --help tells more):\n", program->name);
    for (const struct verb_entry *verb = program->verbs; verb->name; verb++) {
        if (group && !verb_is_in_group(verb, group, strlen(group)))
            continue;
        (void)snprintf(left, sizeof(left), "%s%s%s", verb->name, *verb->arguments ? " " : "",
                       verb->arguments);
        if (strlen(left) > HELP_COLUMN - 1)
            (void)fprintf(to, "  %s\n  %-*s%s\n", left, HELP_COLUMN, "", verb->help);
        else
            (void)fprintf(to, "  %-*s%s\n", HELP_COLUMN, left, verb->help);
    }
}

static void print_program(const struct program *program, const char *group, FILE *to)
{
    bool has_verbs = *program->verbs->name != '\0';

    (void)fprintf(to, "usage: %s %s%s%s[options]\n", program->name, group ? group : "",
                  group ? " " : "", has_verbs ? "COMMAND ... " : "");
    if (!group)
        (void)fprintf(to, "\n%s\n%s%s%s", program->summary, program->description ? "\n" : "",
                      program->description ? program->description : "",
                      program->description ? "\n" : "");
    if (has_verbs)
        print_verbs(program, group, to);
}

void options_print_help(const struct program *program, const struct verb_entry *verb,
                        const char *group, FILE *to)
{
    if (verb) {
        (void)fprintf(to, "usage: %s %s%s%s [options]\n\n%s\n", program->name, verb->name,
                      *verb->arguments ? " " : "", verb->arguments, verb->help);
        if (verb->details)
            (void)fprintf(to, "\n%s\n", verb->details);
    } else {
        print_program(program, group, to);
    }
    print_options(program->options, verb, to);
    print_options(options_own, verb, to);
    for (const struct manual_part *part = program->parts; part && !verb && !group && part->title;
         part++)
        (void)fprintf(to, "\n%s:\n%s\n", part->title, part->text);
}
