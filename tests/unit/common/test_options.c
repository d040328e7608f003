/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines: options anywhere, each belonging to its verb, mistakes named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/connect.h"
#include "common/options.h"

enum { COUNT = CONNECT_END, LINES, RETAIN };

static const struct verb_entry verbs[] = {
    {"pub", "TOPIC [TEXT]", "publish", 1, 2, NULL},
    {"sub", "FILTER...", "subscribe", 1, -1, NULL},
    {"rule set", "FILTER", "change a rule", 1, 1, NULL},
    {"rule list", "", "show the rules", 0, 0, NULL},
    {0},
};

static const struct option_entry entries[] = {
    {COUNT, "sub,rule list", "count", 'n', "N", "how many", NULL, false},
    {LINES, "pub,rule set", "lines", 0, NULL, "each line", NULL, false},
    {RETAIN, "pub", "retain", 0, NULL, "", NULL, true},
    {CONNECT_VERBOSE, NULL, "verbose", 'v', NULL, "say more", NULL, false},
    {CONNECT_JSON, NULL, "json", 'j', NULL, "objects", NULL, false},
    CONNECT_OPTION_ENTRIES,
    {0},
};

static const struct manual_part parts[] = {
    {"Exit status", "0 done"},
    {0},
};

static const struct program program = {
    "demo", '1', "A demonstration.", NULL, verbs, entries, parts,
};

struct taken {
    struct connect_options connect;
    const char *count;
    bool is_lines;
};

static int take(void *context, int id, const char *value, struct aico_error *err)
{
    struct taken *taken = context;
    int r = connect_take(&taken->connect, id, value, err);

    if (r <= 0)
        return r;
    if (id == COUNT)
        taken->count = value;
    else
        taken->is_lines = true;
    return 0;
}

/* Splits @line at blanks and parses it; the words live as long as the test. */
static int parse(const char *line, struct taken *taken, struct command *command,
                 struct aico_error *err)
{
    static char words[16][64];
    static char *argv[17];
    static char copy[256];
    int argc = 0;

    *taken = (struct taken){.connect = CONNECT_OPTIONS_INIT};
    (void)snprintf(copy, sizeof(copy), "%s", line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
        (void)snprintf(words[argc], sizeof(words[argc]), "%s", word);
        argv[argc] = words[argc];
        argc++;
    }
    return options_parse(&program, argc, argv, take, taken, command, err);
}

static void options_stand_before_and_after_the_verb(void **state)
{
    struct taken taken;
    struct command command;
    struct aico_error err = {0};

    (void)state;
    assert_int_equal(parse("demo --as cli sub a/b -n5 --timeout=2s c -vj", &taken, &command, &err),
                     0);
    assert_string_equal(command.verb->name, "sub");
    assert_int_equal(command.count, 2);
    assert_string_equal(command.arguments[0], "a/b");
    assert_string_equal(command.arguments[1], "c");
    assert_string_equal(taken.connect.client.identity, "cli");
    assert_string_equal(taken.count, "5");
    assert_int_equal(taken.connect.timeout_ms, 2000);
    assert_true(taken.connect.is_verbose && taken.connect.is_json);
}

static void two_dashes_end_the_options(void **state)
{
    struct taken taken;
    struct command command;
    struct aico_error err = {0};

    (void)state;
    assert_int_equal(parse("demo pub t -- --lines", &taken, &command, &err), 0);
    assert_int_equal(command.count, 2);
    assert_string_equal(command.arguments[1], "--lines");
    assert_false(taken.is_lines);
    assert_int_equal(parse("demo pub t -", &taken, &command, &err), 0);
    assert_string_equal(command.arguments[1], "-");
}

static void assert_refused(const char *line, const char *text)
{
    struct taken taken;
    struct command command;
    struct aico_error err = {0};

    assert_int_equal(parse(line, &taken, &command, &err), AICO_EINVAL);
    if (!strstr(err.text, text))
        fail_msg("\"%s\" is not in \"%s\"", text, err.text);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    assert_refused("demo", "no command");
    assert_refused("demo frob", "unknown command \"frob\"");
    assert_refused("demo sub", "FILTER...");
    assert_refused("demo pub a b c", "unexpected argument \"c\"");
    assert_refused("demo sub a --cuont 5", "did you mean --count?");
    assert_refused("demo sub a -z", "unknown option -z");
    assert_refused("demo sub a --count", "needs N");
    assert_refused("demo pub a --count 5", "does not belong to pub");
    assert_refused("demo pub a --lines=yes", "takes no value");
    assert_refused("demo pub a --timeout 5", "5s");
}

static void a_later_option_is_refused_and_not_shown(void **state)
{
    char *help = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&help, &size);

    (void)state;
    assert_refused("demo pub a --retain", "not available in this version");
    options_print_help(&program, &verbs[0], NULL, to);
    (void)fclose(to);
    assert_null(strstr(help, "retain"));
    assert_null(strstr(help, "--count"));
    assert_non_null(strstr(help, "--lines"));
    assert_non_null(strstr(help, "--home"));
    free(help);
}

static void a_verb_may_be_two_words(void **state)
{
    struct taken taken;
    struct command command;
    struct aico_error err = {0};

    (void)state;
    assert_int_equal(parse("demo rule --lines set a/b", &taken, &command, &err), 0);
    assert_string_equal(command.verb->name, "rule set");
    assert_int_equal(command.count, 1);
    assert_string_equal(command.arguments[0], "a/b");
    assert_refused("demo rule", "rule set, rule list");
    assert_refused("demo rule frob", "unknown command \"rule frob\"; there is rule set, rule list");
    assert_refused("demo set a/b", "unknown command \"set\"");
}

static void an_option_of_one_verb_is_refused_by_its_neighbour(void **state)
{
    (void)state;
    assert_refused("demo rule list --lines", "--lines does not belong to rule list");
    assert_refused("demo rule set a -n 5", "--count does not belong to rule set");
}

static char *help_of(const struct verb_entry *verb, const char *group)
{
    char *help = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&help, &size);

    options_print_help(&program, verb, group, to);
    (void)fclose(to);
    return help;
}

static void help_of_two_words_shows_the_verbs_that_begin_so(void **state)
{
    char *help = help_of(NULL, "rule");

    (void)state;
    assert_non_null(strstr(help, "usage: demo rule COMMAND"));
    assert_non_null(strstr(help, "rule list"));
    assert_null(strstr(help, "publish"));
    free(help);
}

static void help_ends_with_the_parts_of_the_manual(void **state)
{
    char *help = help_of(NULL, NULL);

    (void)state;
    assert_non_null(strstr(help, "\nExit status:\n0 done\n"));
    free(help);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_before_and_after_the_verb),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(a_later_option_is_refused_and_not_shown),
        cmocka_unit_test(a_verb_may_be_two_words),
        cmocka_unit_test(an_option_of_one_verb_is_refused_by_its_neighbour),
        cmocka_unit_test(help_of_two_words_shows_the_verbs_that_begin_so),
        cmocka_unit_test(help_ends_with_the_parts_of_the_manual),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
