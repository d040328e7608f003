/* SPDX-License-Identifier: Apache-2.0 */
/* The schema table. To add a setting: a field in <aico/config.h>, a row here, its effect. */
#include "config/schema.h"

#include <stdio.h>
#include <string.h>

#include <aico/config.h>

#include "base/cleanup.h"

#define FIELD(name) offsetof(struct aico_config, name)
#define DAY 86400
#define KIB INT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

#define TRANSPORT SCHEMA_SECURITY, "security.transport"
#define BROKER SCHEMA_SECURITY, "broker"
#define COMPONENT SCHEMA_COMPONENT, ""

#define WORDS(...)                                                                                 \
    .words = (const char *const[])                                                                 \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }
#define RANGE(from, to) .min = (from), .max = (to)

/* clang-format off */
const struct schema_key schema_keys[] = {
    {TRANSPORT, "encryption", SCHEMA_WORD, SCHEMA_UNSTORED, "xchacha20poly1305",
     WORDS("xchacha20poly1305"),
     .shown_by = "system/settings.sh:algorithms_are_asserted",
     .help = "Asserted, not negotiated: any other value stops the start."},
    {TRANSPORT, "key_exchange", SCHEMA_WORD, SCHEMA_UNSTORED, "x25519", WORDS("x25519"),
     .shown_by = "system/settings.sh:algorithms_are_asserted",
     .help = "Asserted, not negotiated: any other value stops the start."},
    {TRANSPORT, "authentication", SCHEMA_WORD, SCHEMA_UNSTORED, "ed25519", WORDS("ed25519"),
     .shown_by = "system/settings.sh:algorithms_are_asserted",
     .help = "Asserted, not negotiated: any other value stops the start."},
    {TRANSPORT, "namespace", SCHEMA_NAMESPACE, FIELD(bus_namespace), "aico",
     .shown_by = "system/settings.sh:another_namespace_meets_nobody",
     .help = "Keeps two products apart: part of every signature and key derivation. All components, "
             "the broker and the registry must have the same."},
    {TRANSPORT, "security_level", SCHEMA_WORD, FIELD(security_level), "high",
     WORDS("standard", "high", "maximum"),
     .reload = RELOAD_COMPONENTS,
     .shown_by = "system/settings.sh:standard_lets_a_rule_say_none "
     "system/settings.sh:maximum_ratchets_signs_and_pads",
     .help = "standard: every link is encrypted, payloads are sealed where a rule asks for it. high: "
             "every application topic and request is sealed, `seal none` is refused. maximum: high, "
             "and messages to one component are ratcheted, groups sign, padding is on for both, "
             "registry_max_age is 86400, and peers of format 0 are refused. Both ends must agree."},
    {TRANSPORT, "padding", SCHEMA_WORD, FIELD(padding), "none", WORDS("none", "padme"),
     .at_maximum = "padme",
     .reload = RELOAD_COMPONENTS,
     .shown_by = "system/settings.sh:padding_hides_the_size_on_channels",
     .help = "Hides the exact size of what channels carry; for topics the rule says it. Both ends "
             "must agree."},
    {TRANSPORT, "registry_max_age", SCHEMA_SECONDS, FIELD(registry_max_age_ms), "0",
     RANGE(60, 365 * DAY), .zero = "off", .at_maximum = "86400",
     .reload = RELOAD_BROKER,
     .shown_by = "unit/session/test_handshake.c:a_registry_past_its_age_refuses_new_handshakes "
     "integration/test_broker_link.c:an_old_registry_is_mentioned",
     .help = "A registry issued longer ago than this refuses new handshakes. Against a broker that "
             "withholds revocations; the owner must then sign a new registry in time."},
    {TRANSPORT, "require_fresh_handshake", SCHEMA_BOOL, FIELD(require_fresh_handshake), "true",
     .reload = RELOAD_COMPONENTS,
     .shown_by = "unit/session/test_settings.c:require_fresh_handshake_false_keeps_channels_over_links "
     "system/settings.sh:both_ends_of_a_channel_must_agree",
     .help = "true: when the broker link or the process was lost, every channel is handshaken anew "
             "before the next message. false: a channel that both processes still hold in memory "
             "goes on after a link loss with its sequence and keys. Both ends must agree."},
    {TRANSPORT, "allow_key_reuse", SCHEMA_BOOL, FIELD(allow_key_reuse), "false",
     .reload = RELOAD_COMPONENTS,
     .shown_by = "unit/session/test_peers_resume.c:a_channel_goes_on_after_a_restart "
     "system/settings.sh:allow_key_reuse_keeps_what_channels_go_on_from",
     .help = "true: the resumption secret of a channel is stored, sealed, for session_timeout; needs "
             "require_fresh_handshake false. false: no channel secret is ever written."},
    {TRANSPORT, "enforce_message_ordering", SCHEMA_BOOL, FIELD(enforce_message_ordering), "true",
     .reload = RELOAD_COMPONENTS,
     .shown_by = "unit/session/test_replay.c:window_1023_back_once_1024_back_never "
     "system/settings.sh:both_ends_of_a_channel_must_agree",
     .help = "true: messages of a channel or group open in strict order only. false: within a window "
             "of 1024. Both ends must agree."},
    {TRANSPORT, "session_timeout", SCHEMA_SECONDS, FIELD(session_timeout_ms), "3600",
     RANGE(60, 7 * DAY),
     .reload = RELOAD_COMPONENTS,
     .shown_by = "unit/session/test_settings.c:session_timeout_ends_an_idle_channel "
     "unit/runtime/test_settings.c:each_key_changes_its_field_of_the_client",
     .help = "A channel without a message in either direction for so long is ended and wiped."},
    {TRANSPORT, "key_rotation_interval", SCHEMA_SECONDS, FIELD(key_rotation_interval_ms), "86400",
     RANGE(60, 30 * DAY),
     .reload = RELOAD_COMPONENTS,
     .shown_by = "unit/session/test_settings.c:key_rotation_interval_makes_new_keys "
     "unit/runtime/test_settings.c:each_key_changes_its_field_of_the_client",
     .help = "Maximum age of a channel's handshake and of a group's keys; they are renewed up to a "
             "tenth earlier."},
    {TRANSPORT, "handshake_timeout", SCHEMA_SECONDS, FIELD(handshake_timeout_ms), "30",
     RANGE(1, 300),
     .shown_by = "unit/session/test_settings.c:handshake_timeout_ends_an_attempt "
     "unit/runtime/test_settings.c:each_key_changes_its_field_of_the_client",
     .help = "From the first message of a handshake to the established channel; also for the "
             "connection to the broker, and how long replaced receiving keys live."},
    {TRANSPORT, "keepalive_interval", SCHEMA_SECONDS, FIELD(keepalive_interval_ms), "60",
     RANGE(1, 3600),
     .reload = RELOAD_BROKER,
     .shown_by = "system/settings.sh:keepalive_interval_finds_who_is_silent "
     "unit/session/test_settings.c:keepalive_interval_finds_a_silent_peer",
     .help = "Silence on a channel or broker link after which a PING is sent; two without an answer "
             "end it."},
    {TRANSPORT, "connection_retry_limit", SCHEMA_NUMBER, FIELD(connection_retry_limit), "3",
     RANGE(0, 1000000), .zero = "for ever",
     .reload = RELOAD_COMPONENTS,
     .shown_by = "system/settings.sh:connection_retry_limit_ends_the_waiting",
     .help = "Attempts to reach the broker or a peer, with growing pauses of 0.1 to 30 seconds, "
             "before the error reaches the application."},
    {TRANSPORT, "max_message_size", SCHEMA_BYTES, FIELD(max_message_size), "16777216",
     RANGE(KIB, 16 * MIB),
     .reload = RELOAD_BROKER,
     .shown_by = "system/settings.sh:max_message_size_refuses_at_the_publisher",
     .help = "Content of one message before padding and sealing. Larger ones are refused at the "
             "publisher, and unopened at the reader."},
    {TRANSPORT, "synchrony_bound", SCHEMA_SECONDS, FIELD(synchrony_bound_ms), "30", RANGE(1, 300),
     .reload = RELOAD_COMPONENTS,
     .shown_by = "unit/session/test_settings.c:synchrony_bound_is_how_far_clocks_may_differ "
     "unit/runtime/test_settings.c:each_key_changes_its_field_of_the_client",
     .help = "How far the clocks of two components may differ."},
    {TRANSPORT, "group_epoch", SCHEMA_SECONDS, FIELD(group_epoch_ms), "60", RANGE(1, DAY),
     .reload = RELOAD_COMPONENTS,
     .shown_by = "unit/session/test_settings.c:group_epoch_steps_the_keys_of_a_group "
     "unit/runtime/test_settings.c:each_key_changes_its_field_of_the_client",
     .help = "How often the keys of a group step forward and the older ones are erased."},
    {TRANSPORT, "max_skipped_messages", SCHEMA_NUMBER, FIELD(max_skipped_messages), "1000",
     RANGE(0, 10000),
     .reload = RELOAD_COMPONENTS,
     .shown_by = "unit/session/test_peers_ratchet.c:max_skipped_messages_is_how_many_may_be_missing "
     "unit/runtime/test_settings.c:each_key_changes_its_field_of_the_client",
     .help = "Keys a ratchet keeps for messages that have not come yet."},
    {TRANSPORT, "psk_file", SCHEMA_PATH, FIELD(psk_file), "none",
     .reload = RELOAD_COMPONENTS,
     .shown_by = "system/settings.sh:both_ends_of_a_channel_must_agree",
     .help = "A file of mode 0600 with 32 bytes in hex, the same for all components and not for the "
             "broker: recorded traffic stays closed even to a quantum computer."},

    {BROKER, "endpoints", SCHEMA_ENDPOINTS, FIELD(endpoints),
     "[\"ipc://${AICO_HOME}/run/bus.sock\", \"tcp://127.0.0.1:8771\"]",
     .shown_by = "system/settings.sh:endpoints_are_where_it_listens",
     .help = "Where the broker listens. listen_address in a component file takes the place of the "
             "default of its kind."},
    {BROKER, "outbox_limit", SCHEMA_BYTES, FIELD(outbox_limit_bytes), "67108864",
     RANGE(64 * KIB, 4 * GIB),
     .reload = RELOAD_BROKER,
     .shown_by = "system/settings.sh:outbox_limit_bounds_what_waits",
     .help = "What may wait in the broker for one component; beyond it messages are dropped and the "
             "reader is told how many."},
    {BROKER, "mailbox_limit", SCHEMA_BYTES, FIELD(mailbox_limit_bytes), "67108864",
     RANGE(4 * KIB, 64 * GIB),
     .reload = RELOAD_BROKER,
     .shown_by = "system/mailbox.sh:mailbox_limit_bounds_what_is_kept "
     "unit/runtime/test_settings.c:each_key_changes_its_field_of_the_broker",
     .help = "What the broker keeps for one component until it comes for it; more is refused with "
             "E_QUOTA. There is a warning in the log when 80 % are in use."},
    {BROKER, "value_limit", SCHEMA_BYTES, FIELD(value_limit_bytes), "67108864",
     RANGE(4 * KIB, 64 * GIB),
     .reload = RELOAD_BROKER,
     .shown_by = "system/values.sh:value_limit_bounds_what_one_says "
     "unit/runtime/test_settings.c:each_key_changes_its_field_of_the_broker",
     .help = "What the broker stores of the retained values of one component, topics included; more "
             "is refused with E_QUOTA. There is a warning in the log when 80 % are in use."},
    {BROKER, "publish_window", SCHEMA_BYTES, FIELD(publish_window_bytes), "1048576",
     RANGE(128 * KIB, 64 * MIB),
     .reload = RELOAD_BROKER,
     .shown_by = "unit/broker/test_admin.c:a_session_keeps_the_window_it_was_given "
     "unit/runtime/test_settings.c:each_key_changes_its_field_of_the_broker",
     .help = "What one component may have published without the broker's confirmation."},
    {BROKER, "max_connections", SCHEMA_NUMBER, FIELD(max_connections), "10000", RANGE(1, 1000000),
     .reload = RELOAD_BROKER,
     .shown_by = "system/settings.sh:max_connections_bounds_links",
     .help = "Connections at one time; more are closed at once."},
    {BROKER, "max_connections_per_component", SCHEMA_NUMBER, FIELD(max_connections_per_component),
     "32", RANGE(1, 1000000),
     .reload = RELOAD_BROKER,
     .shown_by = "unit/broker/test_quota.c:links_of_one_component_are_counted_and_others_get_in "
     "unit/runtime/test_settings.c:each_key_changes_its_field_of_the_broker",
     .help = "Connections of one component at one time, those that are ending included. As with the "
             "three below, there is a warning in the log when 80 % are in use."},
    {BROKER, "max_subscriptions", SCHEMA_NUMBER, FIELD(max_subscriptions), "10000",
     RANGE(1, 1000000),
     .reload = RELOAD_BROKER,
     .shown_by = "unit/broker/test_quota.c:subscriptions_are_counted_and_warned_about_before_they_end "
     "unit/runtime/test_settings.c:each_key_changes_its_field_of_the_broker",
     .help = "Subscriptions of one component at one time; more are refused with E_QUOTA."},
    {BROKER, "max_requests", SCHEMA_NUMBER, FIELD(max_requests), "4096", RANGE(1, 1000000),
     .reload = RELOAD_BROKER,
     .shown_by = "unit/broker/test_quota.c:requests_are_counted_and_warned_about_before_they_end "
     "unit/runtime/test_settings.c:each_key_changes_its_field_of_the_broker",
     .help = "Requests of one component that wait for a reply; more are refused with E_QUOTA."},
    {BROKER, "publish_rate", SCHEMA_NUMBER, FIELD(publish_rate), "0", RANGE(0, 100000000),
     .zero = "no limit",
     .reload = RELOAD_BROKER,
     .shown_by = "unit/broker/test_quota.c:a_publisher_over_its_rate_is_refused_until_time_has_passed "
     "unit/runtime/test_settings.c:each_key_changes_its_field_of_the_broker",
     .help = "Records one component may publish a second, and as many at once; a sealed batch or a "
             "large message is one record. More are refused with E_QUOTA."},
    {BROKER, "max_topics", SCHEMA_NUMBER, FIELD(max_topics), "1000000", RANGE(1, 100000000),
     .reload = RELOAD_BROKER,
     .shown_by = "system/settings.sh:max_topics_bounds_counters",
     .help = "Topics the broker keeps counters for."},
    {BROKER, "max_retained", SCHEMA_NUMBER, FIELD(max_retained), "10000", RANGE(0, 10000000),
     .reload = RELOAD_BROKER,
     .shown_by = "system/settings.sh:max_retained_bounds_topics_with_a_value "
     "unit/broker/test_delivery.c:fewer_values_from_now_on_forget_none",
     .help = "Topics whose last value the broker keeps for who subscribes later; a value of one more "
             "is refused with E_FULL."},
    {BROKER, "retained_limit", SCHEMA_BYTES, FIELD(retained_limit_bytes), "67108864",
     RANGE(64 * KIB, 4 * GIB),
     .reload = RELOAD_BROKER,
     .shown_by = "system/settings.sh:retained_limit_bounds_bytes_of_values",
     .help = "Bytes of all those values together, as they are sealed; a value beyond it is refused "
             "with E_FULL."},
    {BROKER, "metrics_socket", SCHEMA_PATH, FIELD(metrics_socket), "none",
     .shown_by = "system/metrics.sh:metrics_socket_is_where_numbers_are_read",
     .help = "A unix socket for the broker's user alone that answers GET /metrics with the broker's "
             "numbers in Prometheus text."},
    {BROKER, "io_threads", SCHEMA_NUMBER, FIELD(io_threads), "1", RANGE(1, 16),
     .shown_by = "system/settings.sh:io_threads_are_that_many",
     .help = "Threads that encrypt, the broker's own among them; one serves most installations."},
    {BROKER, "log_level", SCHEMA_WORD, FIELD(log_level), "info",
     WORDS("error", "warning", "info", "debug"),
     .reload = RELOAD_BROKER,
     .shown_by = "system/settings.sh:log_level_leaves_out_what_is_less",
     .help = "The least important entries still written. Never holds content or secrets."},
    {BROKER, "log_format", SCHEMA_WORD, FIELD(log_format), "text", WORDS("text", "json", "journal"),
     .shown_by = "system/service.sh:is_json",
     .help = "Log lines on stderr as text or JSON, or entries with fields for systemd's journal."},
    {BROKER, "drain_timeout", SCHEMA_SECONDS, FIELD(drain_timeout_ms), "5", RANGE(0, 300),
     .reload = RELOAD_BROKER,
     .shown_by = "system/settings.sh:drain_timeout_is_how_long_it_delivers",
     .help = "How long a stopping broker goes on delivering what it holds."},

    {COMPONENT, "identity_file", SCHEMA_PATH, FIELD(identity_file), NULL,
     .shown_by = "system/settings.sh:identity_file_is_the_key",
     .help = "The component's key file. Default: identities/NAME.key in the home, for the broker "
             "broker.key."},
    {COMPONENT, "listen_address", SCHEMA_ADDRESS, FIELD(listen_address), NULL,
     .shown_by = "system/settings.sh:listen_address_takes_the_place_of_its_kind",
     .help = "The address of the bus as its own machine sees it: the broker listens there in place of "
             "the default endpoint of that kind, a component connects to it. Default: not set."},
    {COMPONENT, "backend_address", SCHEMA_ADDRESS, FIELD(backend_address), NULL,
     .not_for_broker = true,
     .reload = RELOAD_COMPONENTS,
     .shown_by = "system/settings.sh:backend_address_is_where_the_bus_is",
     .help = "The address at which this component reaches the bus. Default: the first of "
             "broker.endpoints. Give this or listen_address, not both."},
    {COMPONENT, "allowed_components", SCHEMA_NAMES, FIELD(allowed_components), NULL,
     .not_for_broker = true,
     .reload = RELOAD_COMPONENTS,
     .shown_by = "system/settings.sh:allowed_components_are_who_may_open_a_channel",
     .help = "Who may open a channel to this component; an empty list is nobody. Default: every "
             "registered component."},
    {COMPONENT, "security_level", SCHEMA_WORD, FIELD(security_level), NULL,
     WORDS("standard", "high", "maximum"),
     .reload = RELOAD_COMPONENTS,
     .shown_by = "system/settings.sh:security_level_may_be_raised_by_a_component",
     .help = "As in security.yaml, which it may raise and not lower. Default: that of security.yaml."},
    {COMPONENT, "auto_reconnect", SCHEMA_BOOL, FIELD(auto_reconnect), "true",
     .not_for_broker = true,
     .reload = RELOAD_COMPONENTS,
     .shown_by = "system/settings.sh:auto_reconnect_false_ends_with_the_link",
     .help = "true: a lost connection is made again, and subscriptions with it. false: its loss ends "
             "the client."},
    {COMPONENT, "busy_poll", SCHEMA_NUMBER, FIELD(busy_poll_us), "0", RANGE(0, 1000000),
     .zero = "it sleeps at once",
     .reload = RELOAD_RESTART,
     .shown_by = "integration/test_counting.c:busy_poll_asks_without_pause_before_it_sleeps "
                 "integration/test_counting.c:a_broker_asks_before_it_sleeps_if_it_is_told",
     .help = "Microseconds for which a thread that waits for a message or an answer asks for it "
             "again and again, before it sleeps. Between two looks it gives its core to who waits "
             "for one. In the broker's file, the broker's thread: round trips are shorter where it has "
             "a core that would sleep."},
};
/* clang-format on */

const size_t schema_count = COUNT_OF(schema_keys);

const struct schema_key *schema_find(enum schema_file file, const char *section, const char *name)
{
    for (size_t i = 0; i < schema_count; i++) {
        const struct schema_key *key = &schema_keys[i];

        if (key->file == file && (!section || strcmp(key->section, section) == 0) &&
            strcmp(key->name, name) == 0)
            return key;
    }
    return NULL;
}

const struct schema_key *schema_find_path(const char *path)
{
    char of_key[96];

    for (size_t i = 0; i < schema_count; i++)
        if (strcmp(schema_path(&schema_keys[i], of_key, sizeof(of_key)), path) == 0)
            return &schema_keys[i];
    return NULL;
}

bool schema_is_section(enum schema_file file, const char *path)
{
    size_t size = strlen(path);

    for (size_t i = 0; i < schema_count; i++) {
        const char *section = schema_keys[i].section;

        if (schema_keys[i].file == file && strncmp(section, path, size) == 0 &&
            (section[size] == '\0' || section[size] == '.'))
            return true;
    }
    return false;
}

const char *schema_path(const struct schema_key *key, char *to, size_t size)
{
    (void)snprintf(to, size, "%s%s%s", key->section, *key->section ? "." : "", key->name);
    return to;
}

static const char *words_allowed(const struct schema_key *key, char *to, size_t size)
{
    size_t used = 0;

    to[0] = '\0';
    for (size_t i = 0; key->words[i] && used < size; i++)
        used += (size_t)snprintf(to + used, size - used, "%s%s", i ? ", " : "", key->words[i]);
    return to;
}

const char *schema_allowed(const struct schema_key *key, char *to, size_t size)
{
    char zero[64] = "";
    long long min = (long long)key->min, max = (long long)key->max;

    if (key->zero && key->min > 0)
        (void)snprintf(zero, sizeof(zero), "0 (%s) or ", key->zero);
    switch (key->type) {
    case SCHEMA_WORD:
        return words_allowed(key, to, size);
    case SCHEMA_BOOL:
        (void)snprintf(to, size, "true, false");
        break;
    case SCHEMA_NUMBER:
        (void)snprintf(to, size, "%s%lld..%lld%s%s%s", zero, min, max,
                       key->zero && !*zero ? " (0: " : "", key->zero && !*zero ? key->zero : "",
                       key->zero && !*zero ? ")" : "");
        break;
    case SCHEMA_SECONDS:
        (void)snprintf(to, size, "%s%lld..%lld seconds, also as 90s, 10m, 24h, 7d", zero, min, max);
        break;
    case SCHEMA_BYTES:
        (void)snprintf(to, size, "%s%lld..%lld bytes, also as 64KiB, 16MiB, 1GiB", zero, min, max);
        break;
    case SCHEMA_NAMESPACE:
        (void)snprintf(to, size, "1..64 bytes without spaces");
        break;
    case SCHEMA_PATH:
        (void)snprintf(to, size,
                       "a path%s; ~ and ${AICO_HOME} expand, a relative one starts at "
                       "this file's folder",
                       key->initial && strcmp(key->initial, "none") == 0 ? " or none" : "");
        break;
    case SCHEMA_ADDRESS:
        (void)snprintf(to, size, "host:port, tcp://host:port or ipc:///path");
        break;
    case SCHEMA_ENDPOINTS:
        (void)snprintf(to, size, "a list of 1..%d: ipc:///path, tcp://host:port",
                       SCHEMA_ENDPOINTS_MAX);
        break;
    case SCHEMA_NAMES:
        (void)snprintf(to, size, "a list of component names, e.g. [frontend, cli]");
        break;
    }
    return to;
}

#define COMPARED_MAX 40 /* longer words are near to nothing of ours */

/* Levenshtein's distance with swapped neighbours counted once, which is how people mistype. */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][COMPARED_MAX + 1];
    size_t a_size = strlen(a), b_size = strlen(b);
    size_t *before = rows[0], *above = rows[1], *row = rows[2];

    if (a_size > COMPARED_MAX || b_size > COMPARED_MAX)
        return SIZE_MAX;
    for (size_t k = 0; k <= b_size; k++)
        above[k] = k;
    for (size_t i = 1; i <= a_size; i++) {
        size_t *spare = before;

        row[0] = i;
        for (size_t k = 1; k <= b_size; k++) {
            row[k] = MIN(MIN(above[k], row[k - 1]) + 1, above[k - 1] + (a[i - 1] != b[k - 1]));
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
                row[k] = MIN(row[k], before[k - 2] + 1);
        }
        before = above;
        above = row;
        row = spare;
    }
    return above[b_size];
}

/* Two slips, or one in three characters of a long word; less for words of three and fewer. */
static size_t distance_allowed(const char *word)
{
    size_t size = strlen(word);

    return size <= 3 ? 1 : MAX((size_t)2, size / 3);
}

/* The best candidate so far. Entries of the same section win over equally near ones elsewhere. */
struct nearest {
    size_t score;
    char *to;
    size_t size;
};

static void consider(struct nearest *best, const char *section, const char *name,
                     const char *written_section, const char *written)
{
    size_t d = distance(name, written);
    size_t score = 2 * d + (strcmp(section, written_section) != 0);

    if (d > distance_allowed(name) || score >= best->score)
        return;
    best->score = score;
    (void)snprintf(best->to, best->size, "%s%s%s", section, *section ? "." : "", name);
}

bool schema_nearest(enum schema_file file, const char *section, const char *name, char *to,
                    size_t size)
{
    static const char *const sections[][2] = {
        {"", "security"}, {"security", "transport"}, {"", "broker"}};
    struct nearest best = {SIZE_MAX, to, size};

    for (size_t i = 0; i < schema_count; i++)
        if (schema_keys[i].file == file)
            consider(&best, schema_keys[i].section, schema_keys[i].name, section, name);
    if (file == SCHEMA_SECURITY)
        for (size_t i = 0; i < COUNT_OF(sections); i++)
            consider(&best, sections[i][0], sections[i][1], section, name);
    else
        consider(&best, "", "transport_config", section, name);
    return best.score != SIZE_MAX;
}

const char *schema_nearest_word(const char *const *words, const char *text)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;

    for (; *words; words++) {
        size_t d = distance(*words, text);

        if (d <= distance_allowed(*words) && d < best_distance) {
            best = *words;
            best_distance = d;
        }
    }
    return best;
}
