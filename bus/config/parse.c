/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks the trees of the files along the schema, then checks what no single key can tell.
 * One thread.
 */
#include "config/parse.h"

#include "base/cleanup.h"
#include "config/endpoint.h"
#include "config/nested.h"
#include "config/parse_internal.h"
#include "config/tree.h"
#include "config/value.h"

#define ALLOWED_SIZE 160
#define OWN_SECTION "transport_config" /* the component file's keys may stand in it */
#define BROKER_NAME "broker"

struct config_origin *origin_of(const struct parse *p, const struct schema_key *key)
{
    return &p->config->origins->of[key - schema_keys];
}

static const struct config_origin *origin_named(const struct parse *p, enum schema_file file,
                                                const char *section, const char *name)
{
    return origin_of(p, schema_find(file, section, name));
}

bool is_given(const struct config_origin *origin)
{
    return origin->kind != ORIGIN_DEFAULT;
}

/* A default, or a value that another setting implies: text of ours, in the spelling of a file. */
static int set_own_text(struct parse *p, const struct schema_key *key, const char *text)
{
    struct value_context context = {p->input->home, p->input->user_home, NULL};
    CLEANUP(tree_free)
    struct tree_node *node = NULL;
    struct problem_list problems = {0};
    char why[VALUE_WHY_SIZE];
    struct place place;
    int r;

    r = tree_parse(bytes_text(text), &problems, &node);
    if (r == 0 && !node)
        r = AICO_EINTERNAL;
    if (r == 0)
        r = value_read(key, node, &context, p->config, &place, why);
    return r == AICO_ECONFIG ? AICO_EINTERNAL : r;
}

static int set_defaults(struct parse *p)
{
    int r;

    for (size_t i = 0; i < schema_count; i++) {
        r = schema_keys[i].initial ? set_own_text(p, &schema_keys[i], schema_keys[i].initial) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

int take_value(struct parse *p, const struct schema_key *key, const char *path,
               const struct tree_node *node)
{
    char allowed[ALLOWED_SIZE], why[VALUE_WHY_SIZE];
    struct place place;
    int r;

    r = value_read(key, node, &p->context, p->config, &place, why);
    if (r == AICO_ECONFIG) {
        (void)problem_add(p->problems, place, "key `%s`: %s; allowed: %s", path, why,
                          schema_allowed(key, allowed, sizeof(allowed)));
        return 0;
    }
    if (r < 0)
        return r;

    *origin_of(p, key) = (struct config_origin){
        p->file == SCHEMA_SECURITY ? ORIGIN_SECURITY : ORIGIN_COMPONENT, node->place};
    return 0;
}

static void refuse_unknown(struct parse *p, const char *section, const struct tree_node *entry)
{
    char path[PATH_SIZE], near[PATH_SIZE], shown[VALUE_SHOWN_SIZE];
    bool is_security = p->file == SCHEMA_SECURITY;
    const struct schema_key *other =
        schema_find(is_security ? SCHEMA_COMPONENT : SCHEMA_SECURITY, NULL, entry->key);

    (void)snprintf(path, sizeof(path), "%s%s%s", section, *section ? "." : "",
                   value_shown(entry->key, shown));
    if (schema_nearest(p->file, section, entry->key, near, sizeof(near)))
        (void)problem_add(p->problems, entry->key_place, "key `%s`: unknown, did you mean `%s`?",
                          path, near);
    else if (other)
        (void)problem_add(p->problems, entry->key_place, "key `%s`: unknown here, it belongs in %s",
                          path, is_security ? "the component's file" : "security.yaml");
    else
        (void)problem_add(p->problems, entry->key_place,
                          "key `%s`: unknown; `aico-broker --print-config` shows all keys", path);
}

void require_map(struct parse *p, const char *path, const struct tree_node *entry)
{
    if (!tree_is_empty(entry)) /* all its keys commented out is no mistake */
        (void)problem_add(p->problems, entry->place, "key `%s`: must hold keys, indented below",
                          path);
}

/* The entries of one mapping: settings, or mappings that hold settings. */
static int walk(struct parse *p, const char *section, const struct tree_node *map)
{
    const struct schema_key *key;
    char path[PATH_SIZE];
    int r = 0;

    for (const struct tree_node *entry = map->first; entry && r == 0; entry = entry->next) {
        key = schema_find(p->file, section, entry->key);
        (void)snprintf(path, sizeof(path), "%s%s%.64s", section, *section ? "." : "", entry->key);
        if (key)
            r = take_value(p, key, path, entry);
        else if (p->file == SCHEMA_SECURITY && strcmp(path, NESTED_ROOT) == 0)
            r = nested_walk(p, map, entry);
        else if (!*entry->key || strchr(entry->key, '.') || !schema_is_section(p->file, path))
            refuse_unknown(p, section, entry);
        else if (entry->kind == TREE_MAP)
            r = walk(p, path, entry);
        else
            require_map(p, path, entry);
    }
    return r;
}

/* The component's keys stand at the top of its file, or all below transport_config. */
static int walk_own(struct parse *p, const struct tree_node *root)
{
    const struct tree_node *nested = tree_find(root, OWN_SECTION);

    if (!nested)
        return walk(p, "", root);
    for (const struct tree_node *entry = root->first; entry; entry = entry->next)
        if (strcmp(entry->key, OWN_SECTION) != 0)
            (void)problem_add(p->problems, entry->key_place,
                              "key `%.64s`: stands beside " OWN_SECTION ", where it has no effect",
                              entry->key);
    if (nested->kind == TREE_MAP)
        return walk(p, "", nested);
    if (!tree_is_empty(nested))
        (void)problem_add(p->problems, nested->place,
                          "key `" OWN_SECTION "`: must hold keys, indented below");
    return 0;
}

/* The folder of an absolute path, for relative paths inside the file. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash > path ? strndup(path, (size_t)(slash - path)) : strdup("/");
}

static int read_source(struct parse *p, const struct config_source *source, enum schema_file file)
{
    CLEANUP(tree_free)
    struct tree_node *root = NULL;
    CLEANUP(free_memory)
    char *folder = NULL;
    int r;

    problem_file(p->problems, source->path, file);
    if (!source->present)
        return 0;
    folder = folder_of(source->path);
    if (!folder)
        return AICO_ENOMEM;
    p->file = file;
    p->context = (struct value_context){p->input->home, p->input->user_home, folder};

    r = tree_parse(source->text, p->problems, &root);
    if (r == AICO_ECONFIG || (r == 0 && !root))
        return 0; /* the problem is recorded, or the file is empty */
    if (r < 0)
        return r;
    if (root->kind != TREE_MAP) {
        (void)problem_add(p->problems, root->place, "the file must hold `key: value`");
        return 0;
    }
    return file == SCHEMA_SECURITY ? walk(p, "", root) : walk_own(p, root);
}

/* allow_key_reuse stores what require_fresh_handshake forbids to use. */
static void check_key_reuse(struct parse *p)
{
    const struct config_origin *origin =
        origin_named(p, SCHEMA_SECURITY, "security.transport", "allow_key_reuse");

    if (p->config->allow_key_reuse && p->config->require_fresh_handshake)
        (void)problem_add(p->problems, origin->place,
                          "key `security.transport.allow_key_reuse`: needs require_fresh_handshake "
                          "false");
}

/* maximum is a row of settings: the ones left out follow, another value contradicts it. */
static int apply_maximum(struct parse *p)
{
    char path[PATH_SIZE];

    if (p->config->security_level != AICO_SECURITY_MAXIMUM)
        return 0;
    for (size_t i = 0; i < schema_count; i++) {
        const struct schema_key *key = &schema_keys[i];
        CLEANUP(free_memory)
        char *text = NULL;
        int r;

        if (!key->at_maximum)
            continue;
        if (!is_given(origin_of(p, key))) {
            r = set_own_text(p, key, key->at_maximum);
            if (r < 0)
                return r;
            origin_of(p, key)->kind = ORIGIN_IMPLIED;
            continue;
        }
        text = value_text(key, p->config);
        if (!text)
            return AICO_ENOMEM;
        if (strcmp(text, key->at_maximum) != 0)
            (void)problem_add(
                p->problems, origin_of(p, key)->place,
                "key `%s`: security_level maximum means %s; leave it out or write that",
                schema_path(key, path, sizeof(path)), key->at_maximum);
    }
    return 0;
}

/* Both ends of a channel read security.yaml; a component alone may only be stricter. */
static void check_own_level(struct parse *p, int level_of_all)
{
    const struct config_origin *origin = origin_named(p, SCHEMA_COMPONENT, "", "security_level");
    const struct schema_key *key = schema_find(SCHEMA_COMPONENT, "", "security_level");

    if (!is_given(origin) || p->config->security_level >= level_of_all)
        return;
    (void)problem_add(
        p->problems, origin->place,
        "key `security_level`: %s is lower than %s in security.yaml; it may be raised "
        "here, not lowered",
        key->words[p->config->security_level], key->words[level_of_all]);
    p->config->security_level = level_of_all;
}

static void check_for_broker(struct parse *p)
{
    char path[PATH_SIZE];

    if (strcmp(p->input->component, BROKER_NAME) != 0)
        return;
    for (size_t i = 0; i < schema_count; i++)
        if (schema_keys[i].not_for_broker && is_given(origin_of(p, &schema_keys[i])))
            (void)problem_add(p->problems, origin_of(p, &schema_keys[i])->place,
                              "key `%s`: is for components that connect; the broker does not",
                              schema_path(&schema_keys[i], path, sizeof(path)));
}

/* listen_address stands for the default endpoint of its kind; written endpoints must agree. */
static int apply_listen_address(struct parse *p)
{
    const struct config_origin *origin = origin_named(p, SCHEMA_COMPONENT, "", "listen_address");
    bool written = is_given(origin_named(p, SCHEMA_SECURITY, "broker", "endpoints"));
    struct aico_config_list *endpoints = &p->config->endpoints;
    const char *address = p->config->listen_address;

    if (!is_given(origin))
        return 0;
    if (is_given(origin_named(p, SCHEMA_COMPONENT, "", "backend_address")))
        (void)problem_add(p->problems, origin->place,
                          "key `listen_address`: backend_address is given too; keep one of them");

    for (size_t i = 0; i < endpoints->count; i++) {
        if (written && strcmp(endpoints->items[i], address) == 0)
            return 0;
        if (!written && endpoint_same_kind(endpoints->items[i], address)) {
            char *copy = strdup(address);

            if (!copy)
                return AICO_ENOMEM;
            free(endpoints->items[i]);
            endpoints->items[i] = copy;
            return 0;
        }
    }
    if (written)
        (void)problem_add(p->problems, origin->place,
                          "key `listen_address`: is not among broker.endpoints in security.yaml");
    return 0;
}

static void check_backend_address(struct parse *p)
{
    const struct config_origin *origin = origin_named(p, SCHEMA_COMPONENT, "", "backend_address");

    if (is_given(origin) && endpoint_is_wildcard(p->config->backend_address))
        (void)problem_add(p->problems, origin->place,
                          "key `backend_address`: nobody can connect to a wildcard; name the host");
}

static int complete_paths(struct parse *p)
{
    struct aico_config *config = p->config;
    const char *name = p->input->component;
    const char *address = config->backend_address  ? config->backend_address
                          : config->listen_address ? config->listen_address
                                                   : config->endpoints.items[0];
    int written = 0;

    config->connect_endpoint = endpoint_to_connect(address);
    if (!config->connect_endpoint)
        return AICO_ENOMEM;
    if (!name || config->identity_file)
        return 0;
    if (strcmp(name, BROKER_NAME) == 0)
        written = asprintf(&config->identity_file, "%s/broker.key", p->input->home);
    else
        written = asprintf(&config->identity_file, "%s/identities/%s.key", p->input->home, name);
    if (written < 0) {
        config->identity_file = NULL; /* asprintf leaves it undefined */
        return AICO_ENOMEM;
    }
    return 0;
}

static int read_own(struct parse *p)
{
    int level = p->config->security_level;
    int r;

    r = read_source(p, &p->input->own, SCHEMA_COMPONENT);
    if (r < 0)
        return r;
    p->config->has_allowed_components =
        is_given(origin_named(p, SCHEMA_COMPONENT, "", "allowed_components"));
    check_own_level(p, level);
    check_for_broker(p);
    check_backend_address(p);
    return apply_listen_address(p);
}

static int prepare(struct parse *p)
{
    struct aico_config *config = p->config;
    const struct config_input *input = p->input;

    config->origins =
        calloc(1, sizeof(*config->origins) + schema_count * sizeof(config->origins->of[0]));
    config->home = strdup(input->home);
    config->security_file = strdup(input->security.path);
    if (!config->origins || !config->home || !config->security_file)
        return AICO_ENOMEM;
    if (!input->component)
        return 0;
    config->component = strdup(input->component);
    config->origins->component_file = strdup(input->own.path);
    return config->component && config->origins->component_file ? 0 : AICO_ENOMEM;
}

int config_parse(const struct config_input *input, struct problem_list *problems,
                 struct aico_config **ret_config)
{
    CLEANUP(aico_config_free)
    struct aico_config *config = calloc(1, sizeof(*config));
    struct parse p = {input, problems, config};
    int r;

    if (!config)
        return AICO_ENOMEM;
    r = prepare(&p);
    if (r == 0)
        r = set_defaults(&p);
    if (r == 0)
        r = read_source(&p, &input->security, SCHEMA_SECURITY);
    if (r == 0)
        check_key_reuse(&p);
    if (r == 0 && input->component)
        r = read_own(&p);
    if (r == 0) {
        problem_file(problems, input->security.path, SCHEMA_SECURITY);
        r = apply_maximum(&p);
    }
    if (r == 0)
        r = complete_paths(&p);
    if (r < 0)
        return r;

    problem_sort(problems);
    if (problems->count > 0)
        return AICO_ECONFIG;
    *ret_config = STEAL(config);
    return 0;
}

static void free_field(const struct schema_key *key, void *field)
{
    switch (key->type) {
    case SCHEMA_ENDPOINTS:
    case SCHEMA_NAMES:
        value_list_deinit(field);
        break;
    case SCHEMA_NAMESPACE:
    case SCHEMA_PATH:
    case SCHEMA_ADDRESS:
        free_memory(field);
        break;
    default: /* numbers */
        break;
    }
}

void aico_config_free(struct aico_config **config)
{
    struct aico_config *c = *config;

    if (!c)
        return;
    for (size_t i = 0; i < schema_count; i++) /* what the schema stores, it also frees */
        if (schema_keys[i].offset != SCHEMA_UNSTORED)
            free_field(&schema_keys[i], (char *)c + schema_keys[i].offset);
    if (c->origins)
        free(c->origins->component_file);
    free(c->origins);
    free(c->home);
    free(c->component);
    free(c->security_file);
    free(c->connect_endpoint);
    free(c);
    *config = NULL;
}
