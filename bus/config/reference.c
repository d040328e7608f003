/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the schema and a configuration look like to people: the effective settings, the commented
 * example and the reference. Any thread.
 */
#include "config/reference.h"

#include <aico/config.h>

#include "base/cleanup.h"
#include "config/nested.h"
#include "config/parse.h"
#include "config/value.h"

#define WIDTH 96 /* of wrapped comments */
#define TEXT_SIZE 192

/* "    # words wrapped" at that indent. */
static void write_comment(const char *text, int indent, FILE *out)
{
    int column = 0;

    while (*text) {
        int size = (int)strcspn(text, " ");

        if (column > 0 && column + 1 + size > WIDTH) {
            (void)fputc('\n', out);
            column = 0;
        }
        if (column == 0)
            column = fprintf(out, "%*s#", indent, "");
        column += fprintf(out, " %.*s", size, text);
        text += size;
        text += strspn(text, " ");
    }
    (void)fputc('\n', out);
}

/* Opens the mappings of @section that @before, the section of the line above, has not open. */
static int write_section(const char *before, const char *section, FILE *out)
{
    int indent = 0;
    size_t at = 0, size;

    while (section[at]) {
        size = strcspn(section + at, ".");
        if (strncmp(before, section, at + size) != 0)
            (void)fprintf(out, "%s%*s%.*s:\n", at == 0 ? "\n" : "", indent, "", (int)size,
                          section + at);
        at += size + (section[at + size] == '.');
        indent += 4;
    }
    return indent;
}

static void write_meaning(const struct schema_key *key, int indent, FILE *out)
{
    char allowed[TEXT_SIZE], line[TEXT_SIZE + 16];

    write_comment(key->help, indent, out);
    (void)snprintf(line, sizeof(line), "Allowed: %s.",
                   schema_allowed(key, allowed, sizeof(allowed)));
    write_comment(line, indent, out);
}

static void write_origin(const struct aico_config *config, const struct config_origin *origin,
                         FILE *out)
{
    switch (origin->kind) {
    case ORIGIN_DEFAULT:
        (void)fputs("default", out);
        break;
    case ORIGIN_IMPLIED:
        (void)fputs("implied by security_level", out);
        break;
    case ORIGIN_SECURITY:
        (void)fprintf(out, "%s:%u", config->security_file, origin->place.line);
        break;
    case ORIGIN_COMPONENT:
        (void)fprintf(out, "%s:%u", config->origins->component_file, origin->place.line);
        break;
    }
}

/* An empty field has no spelling: such a key is shown as the comment it would be. */
static int write_setting(const struct schema_key *key, const struct aico_config *config, int indent,
                         FILE *out)
{
    const struct config_origin *origin = &config->origins->of[key - schema_keys];
    CLEANUP(free_memory)
    char *text = NULL;

    write_meaning(key, indent, out);
    if (key->offset != SCHEMA_UNSTORED) {
        text = value_text(key, config);
        if (!text)
            return AICO_ENOMEM;
    }
    if (text && !*text)
        (void)fprintf(out, "%*s# %s: (not set)  # ", indent, "", key->name);
    else
        (void)fprintf(out, "%*s%s: %s  # ", indent, "", key->name, text ? text : key->initial);
    write_origin(config, origin, out);
    (void)fputc('\n', out);
    return 0;
}

/* The keys of one file, in the order of the schema. */
static int write_file(enum schema_file file, const struct aico_config *config, FILE *out)
{
    const char *before = "";
    int r;

    for (size_t i = 0; i < schema_count; i++) {
        const struct schema_key *key = &schema_keys[i];

        if (key->file != file)
            continue;
        r = write_setting(key, config, write_section(before, key->section, out), out);
        if (r < 0)
            return r;
        before = key->section;
    }
    return 0;
}

static int finish(FILE *out)
{
    return fflush(out) == 0 && !ferror(out) ? 0 : AICO_ESYSTEM;
}

int aico_config_print(const struct aico_config *config, FILE *out)
{
    int r;

    (void)fprintf(out, "# Effective settings of %s in %s\n# security.yaml: %s\n",
                  config->component ? config->component : "every component", config->home,
                  config->security_file);
    r = write_file(SCHEMA_SECURITY, config, out);
    if (r < 0 || !config->component)
        return r < 0 ? r : finish(out);

    (void)fprintf(out, "---\n# The component file: %s\n", config->origins->component_file);
    r = write_file(SCHEMA_COMPONENT, config, out);
    return r < 0 ? r : finish(out);
}

int aico_config_compare(const struct aico_config *before, const struct aico_config *after,
                        aico_config_change changed, void *context)
{
    char path[TEXT_SIZE];

    for (size_t i = 0; i < schema_count; i++) {
        const struct schema_key *key = &schema_keys[i];
        CLEANUP(free_memory)
        char *old_text = NULL;
        CLEANUP(free_memory)
        char *new_text = NULL;

        /* A second key of the same field says nothing new. */
        if (key->offset == SCHEMA_UNSTORED ||
            (key->file == SCHEMA_COMPONENT && schema_find(SCHEMA_SECURITY, NULL, key->name)))
            continue;
        old_text = value_text(key, before);
        new_text = value_text(key, after);
        if (!old_text || !new_text)
            return AICO_ENOMEM;
        if (strcmp(old_text, new_text) != 0)
            changed(context, schema_path(key, path, sizeof(path)), old_text, new_text);
    }
    return 0;
}

int config_example_write(FILE *out)
{
    const char *before = "";
    int indent;

    (void)fputs("# SPDX-License-Identifier: Apache-2.0\n"
                "# Settings of AICO Bus, each at its default. Every component and the broker read\n"
                "# this file, HOME/security.yaml; a key left out has its default, and without the\n"
                "# file all have. docs/configuration.md has the same as a table.\n",
                out);
    for (size_t i = 0; i < schema_count; i++) {
        const struct schema_key *key = &schema_keys[i];

        if (key->file != SCHEMA_SECURITY)
            continue;
        indent = write_section(before, key->section, out);
        write_meaning(key, indent, out);
        (void)fprintf(out, "%*s%s: %s\n", indent, "", key->name, key->initial);
        before = key->section;
    }
    return finish(out);
}

static const char introduction[] =
    "# Configuration\n"
    "\n"
    "<!-- Generated from the schema in bus/config/schema.c; a test compares them. -->\n"
    "\n"
    "Two files of a home hold settings, both YAML, both optional: without them every key has its\n"
    "default.\n"
    "\n"
    "* `security.yaml` (another place: `--config FILE`) is the same for the broker and all\n"
    "  components. [config/security.yaml](../config/security.yaml) shows every key.\n"
    "* `config/NAME.yaml` belongs to the component NAME. Its keys stand at the top of the file or\n"
    "  all below `transport_config:`.\n"
    "\n"
    "`aico-broker --print-config` prints the effective settings and where each came from,\n"
    "`aico-broker --check` says what is wrong. An unknown key, a wrong type, a value out of range\n"
    "or settings that contradict each other stop the start with exit status 3 and name\n"
    "`FILE:LINE:COLUMN`, the key, what is allowed and the nearest known key:\n"
    "\n"
    "    /home/me/.aico/security.yaml:3:9: key `security.transport.sesion_timeout`: unknown, did "
    "you mean "
    "`security.transport.session_timeout`?\n"
    "\n"
    "What a file may hold: one YAML document in UTF-8 of at most 256 KiB. Tabs, anchors, aliases,\n"
    "tags, directives and keys given twice are refused, and so is a file that every user may\n"
    "change. Numbers are written without quotes, durations as seconds or with a unit (`90s`,\n"
    "`10m`, `24h`, `7d`), sizes as bytes or with a unit (`64KiB`, `16MiB`, `1GiB`). In paths `~` "
    "is\n"
    "your home directory and `${AICO_HOME}` the home of the bus; a relative path starts at the\n"
    "folder of its file. Inside `[ ]` a text with `${AICO_HOME}` needs quotes.\n"
    "\n"
    "A changed key takes effect at the next start; where `reload` stands, also at HUP and\n"
    "`aico-bus reload` ([operating.md](operating.md)), which say so for each key.\n";

static const char *effect_of(const struct schema_key *key)
{
    switch (key->reload) {
    case RELOAD_BROKER:
        return "reload";
    case RELOAD_COMPONENTS:
        return "components: next start";
    case RELOAD_RESTART:
        break;
    }
    return key->offset == SCHEMA_UNSTORED ? "" : "next start";
}

static void write_row(const struct schema_key *key, FILE *out)
{
    char allowed[TEXT_SIZE];

    (void)fprintf(out, "| `%s` | ", key->name);
    if (key->initial)
        (void)fprintf(out, "`%s`", key->initial);
    (void)fprintf(out, " | %s | %s", schema_allowed(key, allowed, sizeof(allowed)), key->help);
    if (key->at_maximum)
        (void)fprintf(out, " With security_level maximum: `%s`.", key->at_maximum);
    if (key->not_for_broker)
        (void)fputs(" Not in the broker's file.", out);
    (void)fprintf(out, " | %s |\n", effect_of(key));
}

/* tools/docs.sh looks for each of them. */
static void write_tests(FILE *out)
{
    char path[TEXT_SIZE];

    (void)fputs("\n## The tests\n\n"
                "Each changes that key alone and sees what it does. Files are below tests/.\n\n"
                "| key | shown by |\n| --- | --- |\n",
                out);
    for (size_t i = 0; i < schema_count; i++) {
        const struct schema_key *key = &schema_keys[i];

        (void)fprintf(out, "| %s`%s` | %s |\n",
                      key->file == SCHEMA_COMPONENT ? "config/NAME.yaml: " : "",
                      schema_path(key, path, sizeof(path)), key->shown_by ? key->shown_by : "");
    }
}

static void write_table(enum schema_file file, const char *section, FILE *out)
{
    (void)fputs(
        "| key | default | allowed | meaning | takes effect |\n| --- | --- | --- | --- | --- |\n",
        out);
    for (size_t i = 0; i < schema_count; i++)
        if (schema_keys[i].file == file && strcmp(schema_keys[i].section, section) == 0)
            write_row(&schema_keys[i], out);
}

static void write_nested(FILE *out)
{
    (void)fputs(
        "\n## security.yaml: the other shape\n\n"
        "Where `transport:` stands at the top of the file, without `security:`, these keys are "
        "read\n"
        "below it. A setting they have no word for stands directly below `transport:` by its name\n"
        "above. `broker:` is the same in both; a file that has both shapes is refused\n"
        "([why](decisions/0033-two-shapes-of-security-yaml.md)).\n\n"
        "| key | means |\n| --- | --- |\n",
        out);
    for (size_t i = 0; i < nested_count; i++) {
        const struct nested_key *key = &nested_keys[i];

        (void)fprintf(out, "| `%s` | ", key->path);
        if (key->name)
            (void)fprintf(out, "`%s` |\n", key->name);
        else if (key->only)
            (void)fprintf(out, "only `%s`: %s |\n", key->only, key->why);
        else
            (void)fprintf(out, "refused: %s |\n", key->why);
    }
}

int config_reference_write(FILE *out)
{
    (void)fputs(introduction, out);
    (void)fputs("\n## security.yaml: `security.transport`\n\n", out);
    write_table(SCHEMA_SECURITY, "security.transport", out);
    (void)fputs("\n`allow_key_reuse: true` needs `require_fresh_handshake: false`.\n", out);
    (void)fputs("\n## security.yaml: `broker`\n\n", out);
    write_table(SCHEMA_SECURITY, "broker", out);
    write_nested(out);
    (void)fputs("\n## config/NAME.yaml\n\n", out);
    write_table(SCHEMA_COMPONENT, "", out);
    write_tests(out);
    return finish(out);
}
