/* SPDX-License-Identifier: Apache-2.0 */
/* Texts into fields by the type in the schema, and fields into texts. Any thread. */
#include "config/value.h"

#include <inttypes.h>

#include "base/cleanup.h"
#include "config/endpoint.h"

#define COMPONENT_NAME_SIZE_MAX 64

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit second_units[] = {{"", 1},     {"s", 1},     {"m", 60},
                                           {"h", 3600}, {"d", 86400}, {NULL, 0}};
static const struct unit byte_units[] = {
    {"", 1}, {"KiB", 1024}, {"MiB", 1024 * 1024}, {"GiB", 1024 * 1024 * 1024}, {NULL, 0}};
static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

static void *field_of(const struct schema_key *key, struct aico_config *config)
{
    return (char *)config + key->offset;
}

static const void *const_field_of(const struct schema_key *key, const struct aico_config *config)
{
    return (const char *)config + key->offset;
}

const char *value_shown(const char *text, char *to)
{
    size_t size = strlen(text);
    size_t cut = VALUE_SHOWN_SIZE - sizeof("...");

    if (size < VALUE_SHOWN_SIZE) {
        memcpy(to, text, size + 1);
        return to;
    }
    while (cut > 0 && ((uint8_t)text[cut] & 0xc0) == 0x80)
        cut--;
    memcpy(to, text, cut);
    memcpy(to + cut, "...", sizeof("..."));
    return to;
}

static int refuse(const char *text, char *why, const char *what)
{
    char shown[VALUE_SHOWN_SIZE];

    (void)snprintf(why, VALUE_WHY_SIZE, "`%s` %s", value_shown(text, shown), what);
    return AICO_ECONFIG;
}

/* A single value, whatever its type. */
static int require_value(const struct tree_node *node, char *why)
{
    const char *what = NULL;

    if (tree_is_empty(node))
        what = "the value is missing";
    else if (node->kind == TREE_LIST)
        what = "a list, where one value is expected";
    else if (node->kind == TREE_MAP)
        what = "a mapping, where one value is expected";
    if (!what)
        return 0;
    (void)snprintf(why, VALUE_WHY_SIZE, "%s", what);
    return AICO_ECONFIG;
}

/*
 * Digits and a unit into units of the first kind. False when it is no such number. Leading zeros
 * are refused because YAML 1.1 reads them as octal; what does not fit becomes INT64_MAX, which no
 * range allows.
 */
static bool parse_number(const char *text, const struct unit *units, int64_t *ret)
{
    bool negative = *text == '-';
    int64_t value = 0;
    size_t digits;

    text += negative;
    digits = strspn(text, "0123456789");
    if (digits == 0 || (text[0] == '0' && (digits > 1 || negative)))
        return false;
    for (size_t i = 0; i < digits; i++)
        if (__builtin_mul_overflow(value, (int64_t)10, &value) ||
            __builtin_add_overflow(value, (int64_t)(text[i] - '0'), &value))
            value = INT64_MAX / 10 * 10; /* stays too large whatever follows */

    for (; units->name; units++) {
        if (strcmp(text + digits, units->name) != 0)
            continue;
        if (__builtin_mul_overflow(value, units->factor, &value))
            value = INT64_MAX;
        *ret = negative ? -value : value;
        return true;
    }
    return false;
}

static int read_number(const struct schema_key *key, const struct tree_node *node, int64_t *ret,
                       char *why)
{
    const struct unit *units = key->type == SCHEMA_SECONDS ? second_units
                               : key->type == SCHEMA_BYTES ? byte_units
                                                           : no_units;
    int64_t value;
    bool has_unit;

    if (!parse_number(node->text, units, &value))
        return refuse(node->text, why,
                      key->type == SCHEMA_SECONDS ? "is not a whole number of seconds"
                      : key->type == SCHEMA_BYTES ? "is not a whole number of bytes"
                                                  : "is not an integer");
    has_unit = node->text[strspn(node->text, "-0123456789")] != '\0';
    if (node->quoted && !has_unit)
        return refuse(node->text, why, "is text; write the number without quotes");
    if ((value < key->min || value > key->max) && !(value == 0 && key->zero))
        return refuse(node->text, why, "is out of range");

    *ret = value;
    return 0;
}

static int read_word(const struct schema_key *key, const struct tree_node *node, int *ret,
                     char *why)
{
    const char *near = schema_nearest_word(key->words, node->text);
    char what[64];

    for (int i = 0; key->words[i]; i++) {
        if (strcmp(node->text, key->words[i]) == 0) {
            *ret = i;
            return 0;
        }
    }
    (void)snprintf(what, sizeof(what), "is unknown%s%s%s", near ? " (did you mean `" : "",
                   near ? near : "", near ? "`?)" : "");
    return refuse(node->text, why, what);
}

static int read_bool(const struct tree_node *node, bool *ret, char *why)
{
    bool is_true = strcmp(node->text, "true") == 0;

    if (!is_true && strcmp(node->text, "false") != 0)
        return refuse(node->text, why, "is neither true nor false");
    if (node->quoted)
        return refuse(node->text, why, "is text; write it without quotes");
    *ret = is_true;
    return 0;
}

/* What YAML takes for a number or truth value was perhaps not meant as text. */
static int require_text(const struct tree_node *node, char *why)
{
    static const char *const words[] = {"true", "false", "yes", "no", "on", "off", NULL};
    int64_t number = 0;

    if (node->quoted)
        return 0;
    if (parse_number(node->text, no_units, &number))
        return refuse(node->text, why, "is a number; if it is meant as text, put it in quotes");
    for (size_t i = 0; words[i]; i++)
        if (strcasecmp(node->text, words[i]) == 0)
            return refuse(node->text, why,
                          "is a truth value; if it is meant as text, put it in quotes");
    return 0;
}

static int read_namespace(const char *text, char **ret, char *why)
{
    size_t size = strlen(text);

    if (size < 1 || size > 64)
        return refuse(text, why, size ? "is longer than 64 bytes" : "is empty");
    if (strchr(text, ' '))
        return refuse(text, why, "has a space");
    *ret = strdup(text);
    return *ret ? 0 : AICO_ENOMEM;
}

bool value_is_component_name(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t size = strlen(text);

    return size >= 1 && size <= COMPONENT_NAME_SIZE_MAX && strspn(text, letters) == size &&
           *text != '.' && *text != '_' && *text != '-';
}

void value_list_deinit(struct aico_config_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct aico_config_list){0};
}

int value_list_add(struct aico_config_list *list, const char *text)
{
    char **items = reallocarray(list->items, list->count + 1, sizeof(*items));

    if (!items)
        return AICO_ENOMEM;
    list->items = items;
    items[list->count] = strdup(text);
    if (!items[list->count])
        return AICO_ENOMEM;
    list->count++;
    return 0;
}

static int read_list_entry(const struct schema_key *key, const struct tree_node *node,
                           const struct value_context *context, struct aico_config_list *list,
                           char *why)
{
    CLEANUP(free_memory)
    char *text = NULL;
    int r;

    r = require_value(node, why);
    if (r == 0)
        r = require_text(node, why);
    if (r < 0)
        return r;
    if (key->type == SCHEMA_ENDPOINTS) {
        r = endpoint_parse(node->text, false, context, &text, why);
        if (r < 0)
            return r;
    } else if (!value_is_component_name(node->text)) {
        return refuse(node->text, why, "is no component name (a-z, 0-9, `.`, `_`, `-`)");
    }

    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], text ? text : node->text) == 0)
            return refuse(node->text, why, "is given twice");
    return value_list_add(list, text ? text : node->text);
}

static int read_list(const struct schema_key *key, const struct tree_node *node,
                     const struct value_context *context, struct aico_config_list *ret_list,
                     struct place *ret_place, char *why)
{
    size_t max = key->type == SCHEMA_ENDPOINTS ? SCHEMA_ENDPOINTS_MAX : SCHEMA_NAMES_MAX;
    CLEANUP(value_list_deinit)
    struct aico_config_list list = {0};
    int r;

    if (node->kind != TREE_LIST) {
        (void)snprintf(why, VALUE_WHY_SIZE, "%s",
                       tree_is_empty(node) ? "the value is missing" : "a list is expected");
        return AICO_ECONFIG;
    }
    for (const struct tree_node *entry = node->first; entry; entry = entry->next) {
        *ret_place = entry->place;
        if (list.count == max) {
            (void)snprintf(why, VALUE_WHY_SIZE, "more than %zu entries", max);
            return AICO_ECONFIG;
        }
        r = read_list_entry(key, entry, context, &list, why);
        if (r < 0)
            return r;
    }
    if (list.count == 0 && key->type == SCHEMA_ENDPOINTS) {
        (void)snprintf(why, VALUE_WHY_SIZE, "the list is empty");
        return AICO_ECONFIG;
    }

    value_list_deinit(ret_list);
    *ret_list = list;
    list = (struct aico_config_list){0};
    return 0;
}

static int read_text(const struct schema_key *key, const struct tree_node *node,
                     const struct value_context *context, char **ret_text, char *why)
{
    CLEANUP(free_memory)
    char *text = NULL;
    int r;

    r = require_text(node, why);
    if (r < 0)
        return r;
    if (key->type == SCHEMA_NAMESPACE)
        r = read_namespace(node->text, &text, why);
    else if (key->type == SCHEMA_ADDRESS)
        r = endpoint_parse(node->text, true, context, &text, why);
    else if (!key->initial || strcmp(node->text, "none") != 0)
        r = endpoint_expand_path(node->text, context, &text, why);
    if (r < 0)
        return r;

    free(*ret_text);
    *ret_text = STEAL(text);
    return 0;
}

int value_read(const struct schema_key *key, const struct tree_node *node,
               const struct value_context *context, struct aico_config *config,
               struct place *ret_place, char *why)
{
    int64_t number = 0;
    int r, word;

    *ret_place = node->place;
    if (key->type == SCHEMA_ENDPOINTS || key->type == SCHEMA_NAMES)
        return read_list(key, node, context, field_of(key, config), ret_place, why);
    r = require_value(node, why);
    if (r < 0)
        return r;

    switch (key->type) {
    case SCHEMA_WORD:
        return read_word(key, node, key->offset == SCHEMA_UNSTORED ? &word : field_of(key, config),
                         why);
    case SCHEMA_BOOL:
        return read_bool(node, field_of(key, config), why);
    case SCHEMA_NUMBER:
    case SCHEMA_SECONDS:
    case SCHEMA_BYTES:
        r = read_number(key, node, &number, why);
        if (r == 0)
            *(int64_t *)field_of(key, config) =
                key->type == SCHEMA_SECONDS ? number * 1000 : number;
        return r;
    default:
        return read_text(key, node, context, field_of(key, config), why);
    }
}

/* As YAML: quoted, since neither a path nor an address can be told from other things safely. */
static void write_text(const char *text, FILE *out)
{
    (void)fputc('"', out);
    for (; *text; text++) {
        if ((uint8_t)*text < 0x20 || *text == 0x7f)
            (void)fprintf(out, "\\x%02x", (unsigned)(uint8_t)*text);
        else if (*text == '"' || *text == '\\')
            (void)fprintf(out, "\\%c", *text);
        else
            (void)fputc(*text, out);
    }
    (void)fputc('"', out);
}

static void write_list(const struct aico_config_list *list, FILE *out)
{
    (void)fputc('[', out);
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0)
            (void)fputs(", ", out);
        write_text(list->items[i], out);
    }
    (void)fputc(']', out);
}

static void write_field(const struct schema_key *key, const struct aico_config *config, FILE *out)
{
    const void *field = const_field_of(key, config);
    const char *text;

    switch (key->type) {
    case SCHEMA_WORD:
        (void)fputs(key->words[*(const int *)field], out);
        break;
    case SCHEMA_BOOL:
        (void)fputs(*(const bool *)field ? "true" : "false", out);
        break;
    case SCHEMA_SECONDS:
        (void)fprintf(out, "%" PRId64, *(const int64_t *)field / 1000);
        break;
    case SCHEMA_NUMBER:
    case SCHEMA_BYTES:
        (void)fprintf(out, "%" PRId64, *(const int64_t *)field);
        break;
    case SCHEMA_ENDPOINTS:
    case SCHEMA_NAMES:
        if (key->type == SCHEMA_ENDPOINTS || config->has_allowed_components)
            write_list(field, out);
        break;
    default:
        text = *(char *const *)field;
        if (text)
            write_text(text, out);
        else if (key->initial)
            (void)fputs(key->initial, out);
    }
}

char *value_text(const struct schema_key *key, const struct aico_config *config)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return NULL;
    write_field(key, config, out);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
