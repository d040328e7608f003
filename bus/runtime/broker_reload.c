/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration read again while the broker runs. Every changed key is told, in the log and to
 * whoever asked: applied, or in force at the next start of the broker or of the components. A file
 * that is wrong anywhere changes nothing. The broker's thread only.
 */
#include <inttypes.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "config/schema.h"
#include "runtime/broker.h"

struct report {
    struct aico_broker *b;
    struct json *json;
    bool applied; /* which of the changed keys are told now */
};

static const char *result_of(const struct schema_key *key)
{
    switch (key->reload) {
    case RELOAD_BROKER:
        return "applied";
    case RELOAD_COMPONENTS:
        return "needs restart of the components";
    case RELOAD_RESTART:
        break;
    }
    return "needs restart";
}

static void tell_change(void *context, const char *path, const char *before, const char *after)
{
    struct report *report = context;
    const struct schema_key *key = schema_find_path(path);
    bool applied = key->reload == RELOAD_BROKER;

    if (applied != report->applied)
        return;
    broker_say(report->b, applied ? AICO_LOG_INFO : AICO_LOG_WARNING, AICO_BROKER_CONFIG, NULL,
               NULL, 0, "%s: %s -> %s: %s", path, before, after, result_of(key));
    json_open_object(report->json, NULL);
    json_put_text(report->json, "key", bytes_text(path));
    json_put_text(report->json, "before", bytes_text(before));
    json_put_text(report->json, "after", bytes_text(after));
    json_put_text(report->json, "result", bytes_text(result_of(key)));
    json_close_object(report->json);
}

/* What is applied is compared with what was in force, everything else with what the start had read:
 * it is still owed after a second reload. */
static int tell_changes(struct aico_broker *b, const struct aico_config *config, struct json *json)
{
    struct report report = {b, json, true};
    const struct aico_config *started = b->started ? b->started : b->home.config;
    int r;

    json_open_array(json, "settings");
    r = aico_config_compare(b->home.config, config, tell_change, &report);
    report.applied = false;
    if (r == 0)
        r = aico_config_compare(started, config, tell_change, &report);
    json_close_array(json);
    return r;
}

static void refuse(struct aico_broker *b, struct json *json, int code, const char *text)
{
    broker_say(b, AICO_LOG_ERROR, AICO_BROKER_CONFIG, NULL, NULL, code, "refused: %s", text);
    json_put_text(json, NULL, bytes_text(text));
}

/* Everything that is wrong with the files. */
static void refuse_all(struct aico_broker *b, struct json *json, const struct aico_error *first)
{
    struct aico_config_problems problems;
    int r = aico_config_check(b->home.config->home, b->home.config_path, BROKER_NAME, &problems);

    if (r == 0) /* it was put right between two looks; the next reload takes it */
        refuse(b, json, first->code, first->text);
    for (size_t i = 0; r < 0 && i < problems.count; i++)
        refuse(b, json, problems.problems[i].code, problems.problems[i].text);
}

/* What no single file can tell. */
static int check_against_registry(const struct aico_broker *b, const struct aico_config *config,
                                  struct aico_error *err)
{
    if (strcmp(config->bus_namespace, b->home.config->bus_namespace) == 0)
        return 0;
    return aico_error_set(err, AICO_ECONFIG,
                          "key `security.transport.namespace`: the registry in force is of "
                          "namespace %s, not %s: a new namespace is a new home",
                          b->home.config->bus_namespace, config->bus_namespace);
}

/* @config is in force from now on. */
static void apply(struct aico_broker *b, struct moment now, struct aico_config **config)
{
    struct broker_settings settings;

    broker_settings_of(*config, &settings);
    settings.has_store = b->store != NULL;
    broker_set_settings(b->core, now, &settings);
    if (b->started)
        aico_config_free(&b->home.config);
    else
        b->started = b->home.config;
    b->home.config = STEAL(*config);
    b->stale_say_ms = 0;
}

static int reload_config(struct aico_broker *b, struct moment now, struct json *json)
{
    CLEANUP(aico_config_free)
    struct aico_config *config = NULL;
    struct aico_error err = {0};
    int r = aico_config_load(b->home.config->home, b->home.config_path, BROKER_NAME, &config, &err);

    if (r < 0) {
        json_open_array(json, "refused");
        refuse_all(b, json, &err);
        json_close_array(json);
        return r;
    }
    r = check_against_registry(b, config, &err);
    if (r < 0) {
        json_open_array(json, "refused");
        refuse(b, json, r, err.text);
        json_close_array(json);
        return r;
    }
    r = tell_changes(b, config, json);
    if (r == 0)
        apply(b, now, &config);
    return r;
}

int broker_reload(struct aico_broker *b, struct moment now, struct buffer *answer)
{
    CLEANUP(buffer_deinit)
    struct buffer unheard = {0};
    struct json json = json_over(answer ? answer : &unheard);
    int r;

    broker_look_at_registry(b, now, true);
    json_open_object(&json, NULL);
    r = reload_config(b, now, &json);
    json_put_bool(&json, "reloaded", r == 0);
    json_put_u64(&json, "registry", registry_version(b->home.registry));
    json_close_object(&json);
    broker_say(b, r == 0 ? AICO_LOG_INFO : AICO_LOG_ERROR, AICO_BROKER_RELOADED, NULL, NULL, r,
               "registry %" PRIu64 " is in force%s", registry_version(b->home.registry),
               r == 0 ? "" : ", the configuration stays as it was");
    if (r == 0 && json.failed && answer)
        r = AICO_ENOMEM;
    return r;
}
