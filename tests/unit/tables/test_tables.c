/* SPDX-License-Identifier: Apache-2.0 */
/* The command lines of all programs: nothing in a table contradicts another row of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "pages/programs.h"

static const struct verb_entry *find_verb(const struct program *program, const char *name,
                                          size_t size)
{
    for (const struct verb_entry *verb = program->verbs; verb->name; verb++)
        if (strlen(verb->name) == size && strncmp(verb->name, name, size) == 0)
            return verb;
    return NULL;
}

static void options_name_verbs_that_there_are(void **state)
{
    (void)state;
    for (size_t p = 0; p < PROGRAM_COUNT; p++)
        for (const struct option_entry *entry = programs[p]->options; entry->id; entry++)
            for (const char *at = entry->verbs; at && *at;) {
                size_t size = strcspn(at, ",");

                if (!find_verb(programs[p], at, size))
                    fail_msg("%s: --%s names the verb \"%.*s\"", programs[p]->name, entry->name,
                             (int)size, at);
                at += size + (at[size] == ',');
            }
}

/* The parser reads an option before it knows the verb. */
static void options_of_one_name_are_of_one_form(void **state)
{
    (void)state;
    for (size_t p = 0; p < PROGRAM_COUNT; p++)
        for (const struct option_entry *a = programs[p]->options; a->id; a++)
            for (const struct option_entry *b = a + 1; b->id; b++) {
                bool is_same = strcmp(a->name, b->name) == 0;

                if (is_same && (!a->argument != !b->argument || a->letter != b->letter))
                    fail_msg("%s: --%s is written in two ways", programs[p]->name, a->name);
                if (!is_same && a->letter && a->letter == b->letter)
                    fail_msg("%s: -%c is two options", programs[p]->name, a->letter);
            }
}

static void no_verb_has_an_option_twice(void **state)
{
    (void)state;
    for (size_t p = 0; p < PROGRAM_COUNT; p++)
        for (const struct verb_entry *verb = programs[p]->verbs; verb->name; verb++)
            for (const struct option_entry *a = programs[p]->options; a->id; a++)
                for (const struct option_entry *b = a + 1; b->id; b++)
                    if (strcmp(a->name, b->name) == 0 && option_is_shown(a, verb) &&
                        option_is_shown(b, verb))
                        fail_msg("%s %s: --%s is there twice", programs[p]->name, verb->name,
                                 a->name);
}

static void assert_narrow(const char *program, const char *text)
{
    while (text && *text) {
        size_t size = strcspn(text, "\n");

        if (size > 92)
            fail_msg("%s: too wide for a terminal: %.*s", program, (int)size, text);
        text += size + (text[size] == '\n');
    }
}

static void everything_is_explained_and_fits(void **state)
{
    (void)state;
    for (size_t p = 0; p < PROGRAM_COUNT; p++) {
        for (const struct option_entry *entry = programs[p]->options; entry->id; entry++)
            if (!entry->is_later && (!entry->help || !*entry->help))
                fail_msg("%s: --%s has no explanation", programs[p]->name, entry->name);
        for (const struct verb_entry *verb = programs[p]->verbs; verb->name; verb++)
            assert_narrow(programs[p]->name, verb->details);
        assert_narrow(programs[p]->name, programs[p]->description);
        for (const struct manual_part *part = programs[p]->parts; part->title; part++)
            assert_narrow(programs[p]->name, part->text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_name_verbs_that_there_are),
        cmocka_unit_test(options_of_one_name_are_of_one_form),
        cmocka_unit_test(no_verb_has_an_option_twice),
        cmocka_unit_test(everything_is_explained_and_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
