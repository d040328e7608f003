/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aico-pages, a program of the build: man pages and shell completion from the tables that the
 * programs parse their command lines with. Each function writes one file to @to.
 */
#ifndef PAGES_PAGES_H
#define PAGES_PAGES_H

#include <stdio.h>

#include "common/options.h"

void write_man(const struct program *program, FILE *to);
void write_bash(const struct program *program, FILE *to);
void write_zsh(const struct program *program, FILE *to);
void write_fish(const struct program *program, FILE *to);

/* What completion offers where an argument of this name is expected: "FILE|-", "on|off", "NAME". */
enum offer { OFFER_NOTHING, OFFER_FILES, OFFER_FOLDERS, OFFER_NAMES, OFFER_WORDS };
/* The words, if any, go into @words, with a blank between. */
enum offer offer_for(const char *argument, char *words, size_t size);
/* The @index-th argument of "TOPIC [TEXT|-]" without brackets and dots; the last one again if it
 * may come several times. False where there is none. */
bool argument_at(const char *arguments, size_t index, char *to, size_t size);
bool has_verbs(const struct program *program);
/* The n-th option that is to be shown for the verb (NULL: of the program), --help and --version
 * last. */
const struct option_entry *option_at(const struct program *program, const struct verb_entry *verb,
                                     size_t index);
/* Whether @entry is shown and no row before it has its name: verbs may word an option each their
 * way. */
bool is_first_of_name(const struct program *program, const struct option_entry *entry);

#endif
