/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every key of security.yaml at its default, its limits and beyond. The numbers are written down
 * here a second time on purpose: they are promises to users, not details of the schema.
 */
#include <inttypes.h>

#include "parse_text.h"

#define FIELD(name) offsetof(struct aico_config, name)

static const char *const transport_lines = "security:\n    transport:\n        ";
static const char *const broker_lines = "broker:\n    ";

static void write_setting(const char *section, const char *name, const char *value, char to[256])
{
    (void)snprintf(to, 256, "%s%s: %s\n", *section == 's' ? transport_lines : broker_lines, name,
                   value);
}

/* "PATH:LINE:COLUMN: key `section.name`: " of a value or a key that write_setting() wrote. */
static void write_place(const char *section, const char *name, bool of_value, char to[256])
{
    unsigned line = *section == 's' ? 3 : 2;
    unsigned column = *section == 's' ? 9 : 5;

    (void)snprintf(to, 256, "%s:%u:%u: key `%s.%s`: ", SECURITY_PATH, line,
                   column + (of_value ? (unsigned)strlen(name) + 2 : 0), section, name);
}

static void value_refused(const char *section, const char *name, const char *value,
                          const char *reason)
{
    char text[256], place[256], expected[512];

    write_setting(section, name, value, text);
    write_place(section, name, true, place);
    (void)snprintf(expected, sizeof(expected), "%s%s", place, reason);
    refused(text, NULL, NULL, expected);
}

/* A pointer into a configuration that accepts the value. */
static struct aico_config *with(const char *section, const char *name, const char *value)
{
    char text[256];

    write_setting(section, name, value, text);
    return accepted(text, NULL, NULL);
}

static const struct number {
    const char *section, *name;
    size_t offset;
    int64_t initial, min, max;
    int64_t scale; /* of the field: 1000 for milliseconds */
    bool zero;     /* allowed beside min..max */
} numbers[] = {
#define T "security.transport"
#define B "broker"
    {T, "registry_max_age", FIELD(registry_max_age_ms), 0, 60, 31536000, 1000, true},
    {T, "session_timeout", FIELD(session_timeout_ms), 3600, 60, 604800, 1000},
    {T, "key_rotation_interval", FIELD(key_rotation_interval_ms), 86400, 60, 2592000, 1000},
    {T, "handshake_timeout", FIELD(handshake_timeout_ms), 30, 1, 300, 1000},
    {T, "keepalive_interval", FIELD(keepalive_interval_ms), 60, 1, 3600, 1000},
    {T, "connection_retry_limit", FIELD(connection_retry_limit), 3, 0, 1000000, 1},
    {T, "max_message_size", FIELD(max_message_size), 16777216, 1024, 16777216, 1},
    {T, "synchrony_bound", FIELD(synchrony_bound_ms), 30, 1, 300, 1000},
    {T, "group_epoch", FIELD(group_epoch_ms), 60, 1, 86400, 1000},
    {T, "max_skipped_messages", FIELD(max_skipped_messages), 1000, 0, 10000, 1, true},
    {B, "outbox_limit", FIELD(outbox_limit_bytes), 67108864, 65536, 4294967296, 1},
    {B, "publish_window", FIELD(publish_window_bytes), 1048576, 131072, 67108864, 1},
    {B, "max_connections", FIELD(max_connections), 10000, 1, 1000000, 1},
    {B, "max_connections_per_component", FIELD(max_connections_per_component), 32, 1, 1000000, 1},
    {B, "max_subscriptions", FIELD(max_subscriptions), 10000, 1, 1000000, 1},
    {B, "max_requests", FIELD(max_requests), 4096, 1, 1000000, 1},
    {B, "publish_rate", FIELD(publish_rate), 0, 0, 100000000, 1},
    {B, "max_topics", FIELD(max_topics), 1000000, 1, 100000000, 1},
    {B, "max_retained", FIELD(max_retained), 10000, 0, 10000000, 1},
    {B, "retained_limit", FIELD(retained_limit_bytes), 67108864, 65536, 4294967296, 1},
    {B, "io_threads", FIELD(io_threads), 1, 1, 16, 1},
    {B, "drain_timeout", FIELD(drain_timeout_ms), 5, 0, 300, 1000},
};

static int64_t field(const struct aico_config *config, const struct number *n)
{
    return *(const int64_t *)(const void *)((const char *)config + n->offset);
}

static void number_accepted(const struct number *n, int64_t value)
{
    CLEANUP(aico_config_free)
    struct aico_config *config = NULL;
    char text[32];

    (void)snprintf(text, sizeof(text), "%" PRId64, value);
    config = with(n->section, n->name, text);
    assert_int_equal(field(config, n), value * n->scale);
}

static void number_refused(const struct number *n, int64_t value)
{
    char text[32], reason[64];

    (void)snprintf(text, sizeof(text), "%" PRId64, value);
    (void)snprintf(reason, sizeof(reason), "`%s` is out of range; allowed: ", text);
    value_refused(n->section, n->name, text, reason);
}

static void without_a_file_every_number_has_its_default(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *config = accepted(NULL, NULL, NULL);

    (void)state;
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        assert_int_equal(field(config, &numbers[i]), numbers[i].initial * numbers[i].scale);
}

static void numbers_reach_to_their_limits_and_not_beyond(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        const struct number *n = &numbers[i];

        number_accepted(n, n->initial);
        number_refused(n, n->max + 1);
        number_accepted(n, n->min);
        number_accepted(n, n->max);
        if (n->min > 0 || n->zero)
            number_refused(n, n->min - 1);
        if (n->zero)
            number_accepted(n, 0);
        else if (n->min > 0)
            number_refused(n, 0);
        number_refused(n, -1);
    }
}

static void what_is_not_a_number_is_refused(void **state)
{
    static const struct {
        const char *value, *reason;
    } wrong[] = {
        {"many", "`many` is not a"},
        {"1.5", "`1.5` is not a"},
        {"1e3", "`1e3` is not a"},
        {"0x10", "`0x10` is not a"},
        {"010", "`010` is not a"},
        {"-0", "`-0` is not a"},
        {"+5", "`+5` is not a"},
        {"1_000", "`1_000` is not a"},
        {"true", "`true` is not a"},
        {"5 s", "`5 s` is not a"},
        {"\"\"", "`` is not a"},
        {"99999999999999999999", "`99999999999999999999` is out of range"},
        {"[1]", "a list, where one value is expected"},
        {"{a: 1}", "a mapping, where one value is expected"},
        {"~", "the value is missing"},
        {"null", "the value is missing"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        for (size_t k = 0; k < COUNT_OF(wrong); k++)
            value_refused(numbers[i].section, numbers[i].name, wrong[k].value, wrong[k].reason);
        value_refused(numbers[i].section, numbers[i].name, "\"100\"",
                      "`100` is text; write the number without quotes");
    }
}

static void seconds_may_have_a_unit(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } spellings[] = {{"90s", 90000},    {"10m", 600000},    {"24h", 86400000},
                     {"7d", 604800000}, {"\"60s\"", 60000}, {"'2m'", 120000}};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(spellings); i++) {
        CLEANUP(aico_config_free)
        struct aico_config *config =
            with("security.transport", "session_timeout", spellings[i].text);

        assert_int_equal(config->session_timeout_ms, spellings[i].ms);
    }
    value_refused("security.transport", "session_timeout", "8d", "`8d` is out of range");
    value_refused("security.transport", "session_timeout", "90S", "`90S` is not a whole number");
    value_refused("security.transport", "session_timeout", "90KiB", "`90KiB` is not a whole");
    value_refused("security.transport", "session_timeout", "9223372036854775807d",
                  "`9223372036854775807d` is out of range");
}

static void bytes_may_have_a_unit(void **state)
{
    static const struct {
        const char *text;
        int64_t size;
    } spellings[] = {{"64KiB", 65536}, {"16MiB", 16777216}, {"4GiB", 4294967296}};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(spellings); i++) {
        CLEANUP(aico_config_free)
        struct aico_config *config = with("broker", "outbox_limit", spellings[i].text);

        assert_int_equal(config->outbox_limit_bytes, spellings[i].size);
    }
    value_refused("broker", "outbox_limit", "5GiB", "`5GiB` is out of range");
    value_refused("broker", "outbox_limit", "16MB", "`16MB` is not a whole number of bytes");
    value_refused("broker", "io_threads", "1KiB", "`1KiB` is not an integer");
}

static const struct truth {
    const char *name;
    size_t offset;
    bool initial;
    bool is_bound; /* the other value needs another key's, too */
} truths[] = {
    {"require_fresh_handshake", FIELD(require_fresh_handshake), true},
    {"allow_key_reuse", FIELD(allow_key_reuse), false, true},
    {"enforce_message_ordering", FIELD(enforce_message_ordering), true},
};

static bool truth_of(const struct aico_config *config, const struct truth *truth)
{
    return *(const bool *)((const char *)config + truth->offset);
}

static void truth_values_are_true_and_false_only(void **state)
{
    static const char *const others[] = {"yes", "no", "on", "off", "True", "FALSE", "0", "1"};
    char reason[64];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(truths); i++) {
        CLEANUP(aico_config_free)
        struct aico_config *initial = accepted(NULL, NULL, NULL);
        CLEANUP(aico_config_free)
        struct aico_config *same = NULL;
        CLEANUP(aico_config_free)
        struct aico_config *other = NULL;
        const struct truth *truth = &truths[i];

        assert_int_equal(truth_of(initial, truth), truth->initial);
        same = with("security.transport", truth->name, truth->initial ? "true" : "false");
        assert_int_equal(truth_of(same, truth), truth->initial);
        if (!truth->is_bound) {
            other = with("security.transport", truth->name, truth->initial ? "false" : "true");
            assert_int_equal(truth_of(other, truth), !truth->initial);
        }
        for (size_t k = 0; k < COUNT_OF(others); k++) {
            (void)snprintf(reason, sizeof(reason),
                           "`%s` is neither true nor false; allowed: true, false", others[k]);
            value_refused("security.transport", truth->name, others[k], reason);
        }
        value_refused("security.transport", truth->name, "\"true\"",
                      "`true` is text; write it without quotes");
        value_refused("security.transport", truth->name, "[true]", "a list, where");
    }
}

static void words_are_those_of_the_list(void **state)
{
    static const struct {
        const char *section, *name;
        size_t offset; /* 0: the only value is not stored */
        int initial;
        const char *words[5];
    } words[] = {
        {T, "encryption", 0, 0, {"xchacha20poly1305"}},
        {T, "key_exchange", 0, 0, {"x25519"}},
        {T, "authentication", 0, 0, {"ed25519"}},
        {T,
         "security_level",
         FIELD(security_level),
         AICO_SECURITY_HIGH,
         {"standard", "high", "maximum"}},
        {T, "padding", FIELD(padding), AICO_PADDING_NONE, {"none", "padme"}},
        {B, "log_level", FIELD(log_level), AICO_LOG_INFO, {"error", "warning", "info", "debug"}},
        {B, "log_format", FIELD(log_format), AICO_LOG_TEXT, {"text", "json", "journal"}},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        CLEANUP(aico_config_free)
        struct aico_config *initial = accepted(NULL, NULL, NULL);

        if (words[i].offset)
            assert_int_equal(*(int *)(void *)((char *)initial + words[i].offset), words[i].initial);
        for (int k = 0; words[i].words[k]; k++) {
            CLEANUP(aico_config_free)
            struct aico_config *config = with(words[i].section, words[i].name, words[i].words[k]);

            if (words[i].offset)
                assert_int_equal(*(int *)(void *)((char *)config + words[i].offset), k);
        }
        value_refused(words[i].section, words[i].name, "rot13", "`rot13` is unknown; allowed: ");
        value_refused(words[i].section, words[i].name, "7", "`7` is unknown; allowed: ");
        value_refused(words[i].section, words[i].name, "[a]", "a list, where one value");
        value_refused(words[i].section, words[i].name, "null", "the value is missing; allowed: ");
    }
}

static void a_mistyped_word_is_answered_with_the_nearest(void **state)
{
    (void)state;
    value_refused("security.transport", "security_level", "hihg",
                  "`hihg` is unknown (did you mean `high`?); allowed: standard, high, maximum");
    value_refused("security.transport", "padding", "Padme",
                  "`Padme` is unknown (did you mean `padme`?)");
    value_refused("security.transport", "encryption", "XChaCha20-Poly1305",
                  "`XChaCha20-Poly1305` is unknown (did you mean `xchacha20poly1305`?)");
}

static void the_namespace_has_1_to_64_bytes(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *initial = accepted(NULL, NULL, NULL);
    CLEANUP(aico_config_free)
    struct aico_config *one = with(T, "namespace", "x");
    CLEANUP(aico_config_free)
    struct aico_config *quoted = with(T, "namespace", "\"12\"");
    CLEANUP(aico_config_free)
    struct aico_config *longest = NULL;
    char text[66];

    (void)state;
    assert_string_equal(initial->bus_namespace, "aico");
    assert_string_equal(one->bus_namespace, "x");
    assert_string_equal(quoted->bus_namespace, "12");
    memset(text, 'n', sizeof(text));
    text[64] = '\0';
    longest = with(T, "namespace", text);
    assert_string_equal(longest->bus_namespace, text);
    text[64] = 'n';
    text[65] = '\0';
    refused("security: {transport: {namespace: "
            "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn}}",
            NULL, NULL,
            SECURITY_PATH ":1:35: key `security.transport.namespace`: "
                          "`nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn` is "
                          "longer than 64 bytes");
    value_refused(T, "namespace", "\"\"", "`` is empty; allowed: 1..64 bytes");
    value_refused(T, "namespace", "a b", "`a b` has a space");
    value_refused(T, "namespace", "12", "`12` is a number; if it is meant as text");
    value_refused(T, "namespace", "yes", "`yes` is a truth value; if it is meant as text");
    value_refused(T, "namespace", "[a]", "a list, where one value is expected");
    refused("security: {transport: {namespace: \"a\\nb\"}}", NULL, NULL,
            SECURITY_PATH ":1:35: the text has a line end or a control character");
}

static void the_psk_path_expands(void **state)
{
    static const struct {
        const char *written, *path;
    } paths[] = {
        {"/a/psk", "/a/psk"},
        {"psk", "/etc/aico/psk"},
        {"./none", "/etc/aico/./none"},
        {"~/psk", "/home/me/psk"},
        {"${AICO_HOME}/psk", HOME "/psk"},
        {"$AICO_HOME/psk", HOME "/psk"},
        {"\"~/a b\"", "/home/me/a b"},
        {"none", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        CLEANUP(aico_config_free)
        struct aico_config *config = with(T, "psk_file", paths[i].written);

        if (paths[i].path)
            assert_string_equal(config->psk_file, paths[i].path);
        else
            assert_null(config->psk_file);
    }
    value_refused(T, "psk_file", "~root/psk", "`~` expands to your own home only");
    value_refused(T, "psk_file", "$HOME/psk", "`$` stands before AICO_HOME only");
    value_refused(T, "psk_file", "$AICO_HOMES/psk", "`$` stands before AICO_HOME only");
    value_refused(T, "psk_file", "\"\"", "the path is empty; allowed: a path or none");
    value_refused(T, "psk_file", "~", "the value is missing");
    value_refused(T, "psk_file", "[a]", "a list, where one value is expected");
}

static void endpoints_are_ipc_or_tcp(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *initial = accepted(NULL, NULL, NULL);
    CLEANUP(aico_config_free)
    struct aico_config *config =
        with(B, "endpoints",
             "[\"ipc://${AICO_HOME}/s\", \"ipc://~/s\", tcp://*:1, \"tcp://[::1]:65535\", "
             "tcp://bus.example:8771]");

    (void)state;
    assert_int_equal(initial->endpoints.count, 2);
    assert_string_equal(initial->endpoints.items[0], "ipc://" HOME "/run/bus.sock");
    assert_string_equal(initial->endpoints.items[1], "tcp://127.0.0.1:8771");
    assert_string_equal(initial->connect_endpoint, "ipc://" HOME "/run/bus.sock");

    assert_int_equal(config->endpoints.count, 5);
    assert_string_equal(config->endpoints.items[0], "ipc://" HOME "/s");
    assert_string_equal(config->endpoints.items[1], "ipc:///home/me/s");
    assert_string_equal(config->endpoints.items[2], "tcp://*:1");
    assert_string_equal(config->endpoints.items[3], "tcp://[::1]:65535");
    assert_string_equal(config->endpoints.items[4], "tcp://bus.example:8771");
}

static void what_is_no_endpoint_is_refused_at_its_own_place(void **state)
{
    static const struct {
        const char *value, *reason;
    } wrong[] = {
        {"http://a:1", "`http://a:1` is neither ipc:// nor tcp://"},
        {"127.0.0.1:1", "`127.0.0.1:1` is neither ipc:// nor tcp://"},
        {"inproc://a", "`inproc://a` is neither"},
        {"ipc://run/s", "an ipc address needs an absolute path"},
        {"\"ipc://@abstract\"", "an ipc address needs an absolute path"},
        {"ipc://*", "an ipc address needs an absolute path"},
        {"tcp://a", "the port is missing"},
        {"\"tcp://[::1]\"", "the port is missing"},
        {"tcp://a:0", "the port must be 1..65535"},
        {"tcp://a:65536", "the port must be 1..65535"},
        {"tcp://a:080", "the port must be 1..65535"},
        {"\"tcp://a:*\"", "the port must be 1..65535"},
        {"\"tcp://::1:5\"", "an IPv6 address stands in brackets"},
        {"\"tcp://[::g]:5\"", "the host must be"},
        {"\"tcp://[]:5\"", "the host must be"},
        {"tcp://256.0.0.1:5", "the host must be"},
        {"tcp://a_b/c:5", "the host must be"},
        {"\"tcp://:5\"", "the host must be"},
        {"tcp://-a:5", "the host must be"},
        {"7", "`7` is a number"},
        {"[a]", "a list, where one value is expected"},
        {"tcp://good:1", "`tcp://good:1` is given twice"},
    };
    char text[256], expected[256], shown[128];
    struct problem_list problems;
    struct aico_config *config = NULL;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        (void)snprintf(text, sizeof(text), "broker:\n  endpoints:\n  - tcp://good:1\n  - %s\n",
                       wrong[i].value);
        (void)snprintf(expected, sizeof(expected), "%s:4:5: key `broker.endpoints`: %s",
                       SECURITY_PATH, wrong[i].reason);
        refused(text, NULL, NULL, expected);
    }
    value_refused(B, "endpoints", "[]", "the list is empty; allowed: a list of 1..16");
    value_refused(B, "endpoints", "tcp://a:1", "a list is expected");
    value_refused(B, "endpoints", "~", "the value is missing");

    memset(shown, 'x', sizeof(shown) - 1);
    shown[sizeof(shown) - 1] = '\0';
    (void)snprintf(text, sizeof(text), "broker: {endpoints: [ipc:///%s]}", shown);
    assert_int_equal(parse_texts(text, NULL, NULL, &problems, &config), AICO_ECONFIG);
    assert_non_null(strstr(problems.items[0].error.text,
                           "the socket path has 128 bytes, the system allows 107"));
}

static void seventeen_endpoints_are_too_many(void **state)
{
    char text[1024];
    size_t used = (size_t)snprintf(text, sizeof(text), "broker:\n  endpoints:\n");

    (void)state;
    for (int i = 1; i <= 17; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "  - tcp://a:%d\n", i);
    refused(text, NULL, NULL, SECURITY_PATH ":19:5: key `broker.endpoints`: more than 16 entries");
}

static void a_mistyped_key_is_answered_with_the_nearest(void **state)
{
    char name[64], text[256], place[256], expected[512];

    (void)state;
    for (size_t i = 0; i < schema_count; i++) {
        const struct schema_key *key = &schema_keys[i];
        size_t size = strlen(key->name);

        if (key->file != SCHEMA_SECURITY)
            continue;
        for (size_t missing = 0; missing < size; missing++) {
            (void)snprintf(name, sizeof(name), "%.*s%s", (int)missing, key->name,
                           key->name + missing + 1);
            write_setting(key->section, name, "1", text);
            write_place(key->section, name, false, place);
            (void)snprintf(expected, sizeof(expected), "%sunknown, did you mean `%s.%s`?", place,
                           key->section, key->name);
            refused(text, NULL, NULL, expected);
        }
    }
}

static void a_key_in_the_wrong_place_is_answered_with_the_right_one(void **state)
{
    (void)state;
    refused("padding: none\n", NULL, NULL,
            SECURITY_PATH
            ":1:1: key `padding`: unknown, did you mean `security.transport.padding`?");
    refused("security:\n  padding: none\n", NULL, NULL,
            SECURITY_PATH ":2:3: key `security.padding`: unknown, did you mean "
                          "`security.transport.padding`?");
    refused("transprot: {}\n", NULL, NULL,
            SECURITY_PATH ":1:1: key `transprot`: unknown, did you mean `security.transport`?");
    refused("brokers: {}\n", NULL, NULL,
            SECURITY_PATH ":1:1: key `brokers`: unknown, did you mean `broker`?");
    refused("security.transport: {padding: none}\n", NULL, NULL,
            SECURITY_PATH ":1:1: key `security.transport`: unknown");
    refused("identity_file: a\n", NULL, NULL,
            SECURITY_PATH ":1:1: key `identity_file`: unknown here, it belongs in the "
                          "component's file");
    refused("certificates: a\n", NULL, NULL,
            SECURITY_PATH ":1:1: key `certificates`: unknown; `aico-broker --print-config` shows");
}

static void key_reuse_needs_handshakes_that_are_not_fresh(void **state)
{
    struct problem_list problems;
    struct aico_config *config = NULL;

    (void)state;
    assert_int_equal(parse_texts("security: {transport: {allow_key_reuse: true}}", NULL, NULL,
                                 &problems, &config),
                     AICO_ECONFIG);
    assert_int_equal(problems.count, 1);
    assert_string_equal(problems.items[0].error.text,
                        SECURITY_PATH ":1:41: key `security.transport.allow_key_reuse`: needs "
                                      "require_fresh_handshake false");
}

static void maximum_contradicts_settings_of_its_row(void **state)
{
    struct problem_list problems;
    struct aico_config *config = NULL;

    (void)state;
    assert_int_equal(parse_texts("security:\n  transport:\n    padding: none\n"
                                 "    registry_max_age: 60\n    security_level: maximum\n",
                                 NULL, NULL, &problems, &config),
                     AICO_ECONFIG);
    assert_int_equal(problems.count, 2);
    assert_string_equal(problems.items[0].error.text,
                        SECURITY_PATH ":3:14: key `security.transport.padding`: security_level "
                                      "maximum means padme; leave it out or write that");
    assert_string_equal(problems.items[1].error.text,
                        SECURITY_PATH ":4:23: key `security.transport.registry_max_age`: "
                                      "security_level maximum means 86400; leave it out or write "
                                      "that");
}

static void maximum_implies_the_settings_of_its_row(void **state)
{
    static const char *const texts[] = {
        "security: {transport: {security_level: maximum}}",
        "security: {transport: {padding: padme, registry_max_age: 1d, security_level: maximum}}"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        CLEANUP(aico_config_free)
        struct aico_config *config = accepted(texts[i], NULL, NULL);

        assert_int_equal(config->security_level, AICO_SECURITY_MAXIMUM);
        assert_int_equal(config->padding, AICO_PADDING_PADME);
        assert_int_equal(config->registry_max_age_ms, 86400000);
    }
}

static void all_problems_are_told_in_the_order_of_the_file(void **state)
{
    static const char text[] =
        "broker:\n  io_threads: 17\n  log_levle: info\nsecurity:\n"
        "  transport:\n    padding: x\n    padding: none\n    group_epoch: 0\n";
    static const unsigned places[][2] = {{2, 15}, {3, 3}, {6, 14}, {7, 5}, {8, 18}};
    struct problem_list problems;
    struct aico_config *config = NULL;

    (void)state;
    assert_int_equal(parse_texts(text, NULL, NULL, &problems, &config), AICO_ECONFIG);
    assert_int_equal(problems.count, COUNT_OF(places));
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        assert_int_equal(problems.items[i].place.line, places[i][0]);
        assert_int_equal(problems.items[i].place.column, places[i][1]);
    }
}

static void problems_past_twenty_are_counted(void **state)
{
    char text[1024];
    size_t used = 0;
    struct problem_list problems;
    struct aico_config *config = NULL;

    (void)state;
    for (int i = 0; i < 25; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "unknown%d: 1\n", i);
    assert_int_equal(parse_texts(text, NULL, NULL, &problems, &config), AICO_ECONFIG);
    assert_int_equal(problems.count, AICO_CONFIG_PROBLEMS_MAX);
    assert_int_equal(problems.more, 5);
}

static void sections_without_keys_are_no_mistake(void **state)
{
    static const char *const texts[] = {
        "",   "# nothing\n", "---\n...\n", "security:\nbroker:\n", "security:\n  transport:\n",
        "{}", "broker: {}\n"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        CLEANUP(aico_config_free)
        struct aico_config *config = accepted(texts[i], NULL, NULL);

        assert_int_equal(config->session_timeout_ms, 3600000);
    }
    refused("broker: 5\n", NULL, NULL, SECURITY_PATH ":1:9: key `broker`: must hold keys");
    refused("security:\n  transport: [a]\n", NULL, NULL,
            SECURITY_PATH ":2:14: key `security.transport`: must hold keys");
    refused("[a]\n", NULL, NULL, SECURITY_PATH ":1:1: the file must hold `key: value`");
    refused("word\n", NULL, NULL, SECURITY_PATH ":1:1: the file must hold `key: value`");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_file_every_number_has_its_default),
        cmocka_unit_test(numbers_reach_to_their_limits_and_not_beyond),
        cmocka_unit_test(what_is_not_a_number_is_refused),
        cmocka_unit_test(seconds_may_have_a_unit),
        cmocka_unit_test(bytes_may_have_a_unit),
        cmocka_unit_test(truth_values_are_true_and_false_only),
        cmocka_unit_test(words_are_those_of_the_list),
        cmocka_unit_test(a_mistyped_word_is_answered_with_the_nearest),
        cmocka_unit_test(the_namespace_has_1_to_64_bytes),
        cmocka_unit_test(the_psk_path_expands),
        cmocka_unit_test(endpoints_are_ipc_or_tcp),
        cmocka_unit_test(what_is_no_endpoint_is_refused_at_its_own_place),
        cmocka_unit_test(seventeen_endpoints_are_too_many),
        cmocka_unit_test(a_mistyped_key_is_answered_with_the_nearest),
        cmocka_unit_test(a_key_in_the_wrong_place_is_answered_with_the_right_one),
        cmocka_unit_test(key_reuse_needs_handshakes_that_are_not_fresh),
        cmocka_unit_test(maximum_contradicts_settings_of_its_row),
        cmocka_unit_test(maximum_implies_the_settings_of_its_row),
        cmocka_unit_test(all_problems_are_told_in_the_order_of_the_file),
        cmocka_unit_test(problems_past_twenty_are_counted),
        cmocka_unit_test(sections_without_keys_are_no_mistake),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
