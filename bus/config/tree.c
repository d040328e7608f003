/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML events into a tree. The bytes are looked at once before libyaml sees them, so that wrong
 * encoding, tabs and control characters are reported with their exact place.
 */
#include "config/tree.h"

#include <yaml.h>

#include "base/cleanup.h"

struct builder {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; always initialised */
    struct problem_list *problems;
    size_t nodes;
};

static struct place place_of(yaml_mark_t mark)
{
    return (struct place){(unsigned)mark.line + 1, (unsigned)mark.column + 1};
}

/* The size of the UTF-8 character at @at, 1..4, or 0: overlong forms, surrogates and numbers past
 * U+10FFFF are no characters. */
static size_t character_size(const uint8_t *at, size_t left)
{
    static const struct {
        uint8_t first, last; /* of the first byte */
        uint8_t second, second_last;
        size_t size;
    } forms[] = {
        {0x00, 0x7f, 0x80, 0xbf, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        if (at[0] < forms[i].first || at[0] > forms[i].last)
            continue;
        if (forms[i].size > left)
            return 0;
        if (forms[i].size > 1 && (at[1] < forms[i].second || at[1] > forms[i].second_last))
            return 0;
        for (size_t k = 2; k < forms[i].size; k++)
            if (at[k] < 0x80 || at[k] > 0xbf)
                return 0;
        return forms[i].size;
    }
    return 0;
}

/* C1 controls, the line separators that YAML counts as line ends and editors do not, byte order
 * marks, and U+FFFE and U+FFFF. */
static bool is_invisible(const uint8_t *at, size_t size)
{
    if (size == 2)
        return at[0] == 0xc2 && at[1] < 0xa0;
    if (size != 3)
        return false;
    return (at[0] == 0xe2 && at[1] == 0x80 && (at[2] == 0xa8 || at[2] == 0xa9)) ||
           (at[0] == 0xef && at[1] == 0xbb && at[2] == 0xbf) ||
           (at[0] == 0xef && at[1] == 0xbf && at[2] >= 0xbe);
}

static int check_bytes(struct bytes text, struct problem_list *problems)
{
    struct place place = {1, 1};

    if (text.size > AICO_CONFIG_FILE_MAX)
        return problem_add(problems, place, "the file has more than %d bytes",
                           AICO_CONFIG_FILE_MAX);

    for (size_t i = 0; i < text.size;) {
        const uint8_t *at = text.at + i;
        size_t size = character_size(at, text.size - i);
        bool is_crlf = at[0] == '\r' && text.size - i > 1 && at[1] == '\n';

        if (size == 0)
            return problem_add(problems, place, "byte 0x%02x is not UTF-8", (unsigned)at[0]);
        if (at[0] == '\t')
            return problem_add(problems, place, "a tab; indent with spaces");
        if (((at[0] < 0x20 && at[0] != '\n') || at[0] == 0x7f) && !is_crlf)
            return problem_add(problems, place, "control character 0x%02x", (unsigned)at[0]);
        if (is_invisible(at, size))
            return problem_add(problems, place, "an invisible control character");

        if (at[0] == '\n') {
            place.line++;
            place.column = 1;
        } else {
            place.column++;
        }
        i += size;
    }
    return 0;
}

static int next_event(struct builder *b)
{
    const yaml_parser_t *parser = &b->parser;
    yaml_mark_t mark;

    yaml_event_delete(&b->event);
    if (yaml_parser_parse(&b->parser, &b->event))
        return 0;
    if (parser->error == YAML_MEMORY_ERROR)
        return AICO_ENOMEM;

    mark = parser->problem_mark;
    if (parser->context)
        return problem_add(b->problems, place_of(mark), "not valid YAML: %s %s (line %u)",
                           parser->problem, parser->context,
                           (unsigned)parser->context_mark.line + 1);
    return problem_add(b->problems, place_of(mark), "not valid YAML: %s",
                       parser->problem ? parser->problem : "unknown cause");
}

static int refuse_decoration(struct builder *b, const yaml_char_t *anchor, const yaml_char_t *tag)
{
    struct place place = place_of(b->event.start_mark);

    if (anchor)
        return problem_add(b->problems, place, "an anchor (&%.64s); anchors are not allowed",
                           (const char *)anchor);
    if (tag)
        return problem_add(b->problems, place, "a tag (!); tags are not allowed");
    return 0;
}

static bool has_control(struct bytes text)
{
    for (size_t i = 0, size; i < text.size; i += size) {
        size = character_size(text.at + i, text.size - i);
        if (size == 0 || text.at[i] < 0x20 || text.at[i] == 0x7f || is_invisible(text.at + i, size))
            return true;
    }
    return false;
}

/* Copies the current scalar. Escapes such as "\0" can bring in what check_bytes() kept out. */
static int take_text(struct builder *b, char **ret_text)
{
    const uint8_t *at = b->event.data.scalar.value;
    size_t size = b->event.data.scalar.length;
    char *text;
    int r;

    r = refuse_decoration(b, b->event.data.scalar.anchor, b->event.data.scalar.tag);
    if (r < 0)
        return r;
    if (has_control(bytes_of(at, size)))
        return problem_add(b->problems, place_of(b->event.start_mark),
                           "the text has a line end or a control character");

    text = strndup((const char *)at, size);
    if (!text)
        return AICO_ENOMEM;
    *ret_text = text;
    return 0;
}

/* Appends to @parent; owned by it from then on. */
static int add_node(struct builder *b, struct tree_node *parent, struct tree_node **ret_node)
{
    struct tree_node *node;

    if (b->nodes++ == TREE_NODES_MAX)
        return problem_add(b->problems, place_of(b->event.start_mark), "more than %d entries",
                           TREE_NODES_MAX);
    node = calloc(1, sizeof(*node));
    if (!node)
        return AICO_ENOMEM;

    if (parent->last)
        parent->last->next = node;
    else
        parent->first = node;
    parent->last = node;
    node->parent = parent;
    *ret_node = node;
    return 0;
}

static int read_value(struct builder *b, struct tree_node *node, unsigned depth);

static int read_list(struct builder *b, struct tree_node *list, unsigned depth)
{
    struct tree_node *entry = NULL;
    int r;

    for (;;) {
        r = next_event(b);
        if (r < 0 || b->event.type == YAML_SEQUENCE_END_EVENT)
            return r;
        r = add_node(b, list, &entry);
        if (r == 0)
            r = read_value(b, entry, depth + 1);
        if (r < 0)
            return r;
    }
}

/* Of an entry far below only its last mapping is named; the place says the rest. */
static void refuse_repeated(struct builder *b, const struct tree_node *map,
                            const struct tree_node *same, struct place place)
{
    const struct tree_node *above = map->parent && map->parent->key ? map->parent : NULL;

    (void)problem_add(b->problems, place, "key `%.40s%s%.40s%s%.40s`: given before, in line %u",
                      above ? above->key : "", above ? "." : "", map->key ? map->key : "",
                      map->key ? "." : "", same->key, same->key_place.line);
}

static int read_entry(struct builder *b, struct tree_node *map, unsigned depth)
{
    struct place place = place_of(b->event.start_mark);
    CLEANUP(free_memory)
    char *key = NULL;
    const struct tree_node *same;
    struct tree_node *entry = NULL;
    int r;

    if (b->event.type != YAML_SCALAR_EVENT)
        return problem_add(b->problems, place, "a key must be one word");
    r = take_text(b, &key);
    if (r < 0)
        return r;
    same = tree_find(map, key);
    if (same) /* a problem, but no reason to stop looking for others */
        refuse_repeated(b, map, same, place);

    r = add_node(b, map, &entry);
    if (r < 0)
        return r;
    entry->key = STEAL(key);
    entry->key_place = place;
    r = next_event(b);
    return r < 0 ? r : read_value(b, entry, depth + 1);
}

static int read_map(struct builder *b, struct tree_node *map, unsigned depth)
{
    int r;

    for (;;) {
        r = next_event(b);
        if (r < 0 || b->event.type == YAML_MAPPING_END_EVENT)
            return r;
        r = read_entry(b, map, depth);
        if (r < 0)
            return r;
    }
}

/* The current event begins the value; on return it has been read whole. */
static int read_value(struct builder *b, struct tree_node *node, unsigned depth)
{
    int r;

    node->place = place_of(b->event.start_mark);
    if (depth > TREE_DEPTH_MAX)
        return problem_add(b->problems, node->place, "nested more than %d deep", TREE_DEPTH_MAX);

    switch (b->event.type) {
    case YAML_SCALAR_EVENT:
        node->kind = TREE_VALUE;
        node->quoted = b->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        return take_text(b, &node->text);
    case YAML_SEQUENCE_START_EVENT:
        node->kind = TREE_LIST;
        r = refuse_decoration(b, b->event.data.sequence_start.anchor,
                              b->event.data.sequence_start.tag);
        return r < 0 ? r : read_list(b, node, depth);
    case YAML_MAPPING_START_EVENT:
        node->kind = TREE_MAP;
        r = refuse_decoration(b, b->event.data.mapping_start.anchor,
                              b->event.data.mapping_start.tag);
        return r < 0 ? r : read_map(b, node, depth);
    case YAML_ALIAS_EVENT:
        return problem_add(b->problems, node->place, "an alias (*%.64s); aliases are not allowed",
                           (const char *)b->event.data.alias.anchor);
    default:
        return problem_add(b->problems, node->place, "a value is missing");
    }
}

/* stream start, [document start, value, document end], stream end */
static int read_stream(struct builder *b, struct tree_node *root)
{
    int r;

    r = next_event(b);
    if (r == 0)
        r = next_event(b);
    if (r < 0 || b->event.type == YAML_STREAM_END_EVENT)
        return r;
    if (b->event.data.document_start.version_directive ||
        b->event.data.document_start.tag_directives.start !=
            b->event.data.document_start.tag_directives.end)
        return problem_add(b->problems, place_of(b->event.start_mark),
                           "a %% directive; directives are not allowed");

    r = next_event(b);
    if (r == 0)
        r = read_value(b, root, 0);
    if (r == 0)
        r = next_event(b); /* document end */
    if (r == 0)
        r = next_event(b);
    if (r == 0 && b->event.type != YAML_STREAM_END_EVENT)
        r = problem_add(b->problems, place_of(b->event.start_mark),
                        "a second document; one file holds one");
    return r;
}

int tree_parse(struct bytes text, struct problem_list *problems, struct tree_node **ret_root)
{
    CLEANUP(tree_free)
    struct tree_node *root = NULL;
    struct builder b = {.problems = problems};
    int r;

    if (text.size >= 3 && memcmp(text.at, "\xef\xbb\xbf", 3) == 0)
        text = bytes_of(text.at + 3, text.size - 3); /* an editor's mark for UTF-8 */
    r = check_bytes(text, problems);
    if (r < 0)
        return r;
    root = calloc(1, sizeof(*root));
    if (!root || !yaml_parser_initialize(&b.parser))
        return AICO_ENOMEM;

    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING); /* no guessing by the first bytes */
    yaml_parser_set_input_string(&b.parser, text.size ? text.at : (const uint8_t *)"", text.size);
    r = read_stream(&b, root);
    yaml_event_delete(&b.event);
    yaml_parser_delete(&b.parser);

    if (r < 0)
        return r;
    *ret_root = tree_is_empty(root) ? NULL : STEAL(root);
    return 0;
}

void tree_free(struct tree_node **node)
{
    struct tree_node *entry = NULL;

    if (!*node)
        return;
    while ((entry = (*node)->first)) { /* as deep as TREE_DEPTH_MAX, no more */
        (*node)->first = entry->next;
        tree_free(&entry);
    }
    free((*node)->key);
    free((*node)->text);
    free(*node);
    *node = NULL;
}

const struct tree_node *tree_find(const struct tree_node *map, const char *key)
{
    for (const struct tree_node *entry = map->first; entry; entry = entry->next)
        if (entry->key && strcmp(entry->key, key) == 0)
            return entry;
    return NULL;
}

bool tree_is_empty(const struct tree_node *node)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};

    if (node->kind == TREE_VALUE && !node->text)
        return true; /* never filled */
    if (node->kind != TREE_VALUE || node->quoted)
        return false;
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (strcmp(node->text, words[i]) == 0)
            return true;
    return false;
}
