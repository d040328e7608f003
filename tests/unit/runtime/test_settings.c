/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a key in a file to the field that the code reads: each key, changed alone, changes its field
 * of what client, session and broker are given, and no other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* keep: cmocka needs the above first */
#include <cmocka.h>

#include "base/cleanup.h"
#include "runtime/broker.h"
#include "runtime/client.h"

static char home[] = "/tmp/aico-settings-XXXXXX";

struct field {
    const char *key, *value;
    size_t offset, size;
};

#define CLIENT(key, value, field)                                                                  \
    {                                                                                              \
        key, value, offsetof(struct client_settings, field),                                       \
            sizeof(((struct client_settings *)NULL)->field)                                        \
    }
#define SESSION(key, value, field) CLIENT("security.transport." key, value, session.field)
#define BROKER(key, value, field)                                                                  \
    {                                                                                              \
        key, value, offsetof(struct broker_settings, field),                                       \
            sizeof(((struct broker_settings *)NULL)->field)                                        \
    }

static const struct field client_fields[] = {
    SESSION("registry_max_age", "60", registry_max_age_ms),
    SESSION("require_fresh_handshake", "false", fresh_handshake),
    SESSION("enforce_message_ordering", "false", strict_ordering),
    SESSION("session_timeout", "60", session_timeout_ms),
    SESSION("key_rotation_interval", "60", key_rotation_interval_ms),
    SESSION("handshake_timeout", "1", handshake_timeout_ms),
    SESSION("keepalive_interval", "1", keepalive_interval_ms),
    SESSION("connection_retry_limit", "7", connection_retry_limit),
    SESSION("max_message_size", "1024", max_message_size),
    SESSION("synchrony_bound", "1", synchrony_bound_ms),
    SESSION("group_epoch", "1", group_epoch_ms),
    SESSION("max_skipped_messages", "7", max_skipped_messages),
    SESSION("padding", "padme", padding),
};

static const struct field broker_fields[] = {
    BROKER("security.transport.keepalive_interval", "1", keepalive_interval_ms),
    BROKER("security.transport.max_message_size", "1024", max_message_size),
    BROKER("security.transport.handshake_timeout", "1", hello_timeout_ms),
    BROKER("broker.outbox_limit", "131072", outbox_limit),
    BROKER("broker.mailbox_limit", "131072", mailbox_limit),
    BROKER("broker.value_limit", "131072", value_limit),
    BROKER("broker.publish_window", "131072", publish_window),
    BROKER("broker.max_connections", "7", max_connections),
    BROKER("broker.max_connections_per_component", "7", max_connections_per_component),
    BROKER("broker.max_topics", "7", max_topics),
    BROKER("broker.max_retained", "7", max_retained),
    BROKER("broker.retained_limit", "65536", retained_limit),
    BROKER("broker.max_subscriptions", "7", max_subscriptions),
    BROKER("broker.max_requests", "7", max_requests),
    BROKER("broker.publish_rate", "7", publish_rate),
};

/* The configuration of a file with that key alone; NULL: of an empty one. */
static struct aico_config *config_with(const struct field *field)
{
    CLEANUP(free_memory)
    char *path = NULL;
    struct aico_config *config = NULL;
    struct aico_error err = {0};
    int indent = 0;
    FILE *file;

    assert_true(asprintf(&path, "%s/security.yaml", home) > 0);
    file = fopen(path, "w");
    assert_non_null(file);
    for (const char *at = field ? field->key : ""; *at; indent += 2) {
        size_t size = strcspn(at, ".");

        (void)fprintf(file, "%*s%.*s:%s", indent, "", (int)size, at, at[size] ? "\n" : " ");
        at += size + (at[size] == '.');
    }
    if (field)
        (void)fprintf(file, "%s\n", field->value);
    (void)fclose(file);
    if (aico_config_load(home, NULL, "cli", &config, &err) < 0)
        fail_msg("%s", err.text);
    (void)unlink(path);
    return config;
}

static void check(const struct field *fields, size_t count, const void *before, const void *after,
                  const struct field *changed)
{
    for (size_t i = 0; i < count; i++) {
        size_t offset = fields[i].offset;
        bool same = memcmp((const char *)before + offset, (const char *)after + offset,
                           fields[i].size) == 0;

        if (same == (&fields[i] == changed))
            fail_msg("%s = %s: the field of %s %s", changed->key, changed->value, fields[i].key,
                     same ? "is as before" : "has changed");
    }
}

static void each_key_changes_its_field_of_the_client(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *initial = config_with(NULL);
    struct client_home first = {.config = initial};
    struct client_settings before = client_home_settings(&first, false);

    (void)state;
    for (size_t i = 0; i < COUNT_OF(client_fields); i++) {
        CLEANUP(aico_config_free)
        struct aico_config *config = config_with(&client_fields[i]);
        struct client_home changed = {.config = config};
        struct client_settings after = client_home_settings(&changed, false);

        check(client_fields, COUNT_OF(client_fields), &before, &after, &client_fields[i]);
    }
}

static void each_key_changes_its_field_of_the_broker(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *initial = config_with(NULL);
    struct broker_settings before, after;

    (void)state;
    broker_settings_of(initial, &before);
    for (size_t i = 0; i < COUNT_OF(broker_fields); i++) {
        CLEANUP(aico_config_free)
        struct aico_config *config = config_with(&broker_fields[i]);

        broker_settings_of(config, &after);
        check(broker_fields, COUNT_OF(broker_fields), &before, &after, &broker_fields[i]);
    }
}

static int make_home(void **state)
{
    (void)state;
    return mkdtemp(home) ? 0 : -1;
}

static int remove_home(void **state)
{
    (void)state;
    return rmdir(home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_key_changes_its_field_of_the_client),
        cmocka_unit_test(each_key_changes_its_field_of_the_broker),
    };

    return cmocka_run_group_tests(tests, make_home, remove_home);
}
