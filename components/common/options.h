/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command lines from one table per program: the same data parses the options, prints --help, and is
 * complete enough to make man pages and shell completion from. Used by main() only.
 */
#ifndef COMMON_OPTIONS_H
#define COMMON_OPTIONS_H

#include <stdbool.h>
#include <stdio.h>

#include <aico/error.h>

struct option_entry {
    int id;               /* handed to the program's function, > 0 */
    const char *verbs;    /* " pub sub ": the verbs that know it, between blanks; NULL: all */
    const char *name;     /* long name without dashes */
    char letter;          /* short name, 0: none */
    const char *argument; /* shown name of its argument, "DIR"; NULL: a flag */
    const char *help;     /* what it does, no full stop at the end */
    const char *section;  /* heading in --help; NULL: "Options" */
    bool is_later;        /* belongs to a later version: refused by name, not shown */
};

struct verb_entry {
    const char *name;
    const char *arguments; /* "TOPIC [TEXT|-]", "" for none */
    const char *help;      /* one line */
    int min, max;          /* how many arguments; max -1: any number */
    const char *details;   /* paragraphs for `PROGRAM VERB --help`; NULL: none */
};

struct program {
    const char *name;                   /* "aico-bus" */
    const char *summary;                /* one line */
    const struct verb_entry *verbs;     /* up to a NULL name. A program without verbs has one
                                           whose name is "" */
    const struct option_entry *options; /* up to id 0; --help and --version are understood anyway */
    const char *details;                /* exit codes, files, examples: end of --help; or NULL */
};

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

/* The text of --help: of one verb, or (@verb NULL) of the program. */
void options_print_help(const struct program *program, const struct verb_entry *verb, FILE *to);

#endif
