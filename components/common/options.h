/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command lines from one table per program: the same data parses the options, prints --help, and
 * makes the man pages and the shell completion (tools/pages). Used by main() only.
 */
#ifndef COMMON_OPTIONS_H
#define COMMON_OPTIONS_H

#include <stdbool.h>
#include <stdio.h>

#include <aico/error.h>

/*
 * One option. What its argument is called says what completion offers for it: words in lower case,
 * "drop-old|drop-new", are typed as they stand; FILE and DIR are paths, NAME a component of the
 * home. The same holds for the arguments of a verb.
 */
struct option_entry {
    int id;               /* handed to the program's function, > 0 */
    const char *verbs;    /* "pub,rule set": the verbs that take it; NULL: all */
    const char *name;     /* long name without dashes */
    char letter;          /* short name, 0: none */
    const char *argument; /* shown name of its argument, "DIR"; NULL: a flag */
    const char *help;     /* what it does, no full stop at the end */
    const char *section;  /* heading in --help; NULL: "Options" */
    bool is_later;        /* belongs to a later version: refused by name, not shown */
};

struct verb_entry {
    const char *name;      /* one word, or two: "rule set" */
    const char *arguments; /* "TOPIC [TEXT|-]", "" for none */
    const char *help;      /* one line */
    int min, max;          /* how many arguments; max -1: any number */
    const char *details;   /* paragraphs for `PROGRAM VERB --help`; NULL: none */
};

/* A part of the manual below the options. Lines that begin with two blanks stand as they are in the
 * man page too, the others are filled. */
struct manual_part {
    const char *title; /* "Exit status" */
    const char *text;  /* no newline at the end */
};

struct program {
    const char *name;                   /* "aico-bus" */
    char section;                       /* of the manual: '1' or '8' */
    const char *summary;                /* one line, as in the list of a package's programs */
    const char *description;            /* paragraphs; NULL: none */
    const struct verb_entry *verbs;     /* up to a NULL name. A program without verbs has one
                                           whose name is "" */
    const struct option_entry *options; /* up to id 0; --help and --version are understood anyway */
    const struct manual_part *parts;    /* up to a NULL title */
};

/* --help and --version, which every verb has: up to id 0. */
extern const struct option_entry options_own[];
/* Whether the option is to be shown for @verb; NULL: for the program, what all verbs take. */
bool option_is_shown(const struct option_entry *entry, const struct verb_entry *verb);
/* Whether @name is of two words and begins with @word, of @size bytes: "rule" of "rule set". */
bool verb_is_in_group(const struct verb_entry *verb, const char *word, size_t size);

/* Takes one option; value is NULL for a flag, else borrowed from argv. 0, or AICO_EINVAL with the
 * mistake in @err. */
typedef int option_function(void *context, int id, const char *value, struct aico_error *err);

struct command {
    const struct verb_entry *verb; /* NULL as long as none was found */
    char **arguments;              /* in argv */
    int count;
};

/**
 * Takes a command line apart. Options stand before or after the verb and its arguments; "--" ends
 * them; "-" is an argument. Every option must belong to the verb.
 *
 * Returns 0; 1 when --help or --version was asked and printed to stdout: exit 0; or a negative code
 * with the mistake in @err and, if it came that far, the verb in @ret_command: AICO_EINVAL (exit
 * 2).
 */
int options_parse(const struct program *program, int argc, char **argv, option_function *take,
                  void *context, struct command *ret_command, struct aico_error *err);

/* The text of --help: of one verb, of a @group of verbs ("rule"), or of the program (both NULL). */
void options_print_help(const struct program *program, const struct verb_entry *verb,
                        const char *group, FILE *to);

#endif
