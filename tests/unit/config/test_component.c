/* SPDX-License-Identifier: Apache-2.0 */
/* The file of one component, and how it and security.yaml act together. */
#include "parse_text.h"

static void without_a_file_a_component_has_its_defaults(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *config = accepted(NULL, "backend", NULL);
    CLEANUP(aico_config_free)
    struct aico_config *broker = accepted(NULL, "broker", NULL);
    CLEANUP(aico_config_free)
    struct aico_config *none = accepted(NULL, NULL, NULL);

    (void)state;
    assert_string_equal(config->home, HOME);
    assert_string_equal(config->component, "backend");
    assert_string_equal(config->identity_file, HOME "/identities/backend.key");
    assert_string_equal(config->connect_endpoint, "ipc://" HOME "/run/bus.sock");
    assert_null(config->listen_address);
    assert_null(config->backend_address);
    assert_false(config->has_allowed_components);
    assert_int_equal(config->allowed_components.count, 0);
    assert_true(config->auto_reconnect);
    assert_int_equal(config->security_level, AICO_SECURITY_HIGH);

    assert_string_equal(broker->identity_file, HOME "/broker.key");
    assert_null(none->component);
    assert_null(none->identity_file);
}

static const char *const both_forms[] = {
    "identity_file: \"~/.aico/backend_identity.key\"\nlisten_address: \"127.0.0.1:8771\"\n"
    "allowed_components: [\"frontend\", \"cli\", \"studio\"]\nsecurity_level: \"high\"\n",
    "transport_config:\n    identity_file: \"~/.aico/backend_identity.key\"\n"
    "    listen_address: \"127.0.0.1:8771\"\n    allowed_components:\n    - frontend\n    - cli\n"
    "    - studio\n    security_level: high\n",
};

static void both_forms_of_the_file_say_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(both_forms); i++) {
        CLEANUP(aico_config_free)
        struct aico_config *config = accepted(NULL, "backend", both_forms[i]);

        assert_string_equal(config->identity_file, "/home/me/.aico/backend_identity.key");
        assert_string_equal(config->listen_address, "tcp://127.0.0.1:8771");
        assert_string_equal(config->connect_endpoint, "tcp://127.0.0.1:8771");
        assert_true(config->has_allowed_components);
        assert_int_equal(config->allowed_components.count, 3);
        assert_string_equal(config->allowed_components.items[0], "frontend");
        assert_string_equal(config->allowed_components.items[2], "studio");
        assert_int_equal(config->security_level, AICO_SECURITY_HIGH);
    }
}

static void the_frontend_of_the_example_connects_to_its_backend(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *config =
        accepted(NULL, "frontend",
                 "identity_file: ~/.aico/frontend_identity.key\n"
                 "backend_address: 127.0.0.1:8771\nauto_reconnect: true\nsecurity_level: high\n");

    (void)state;
    assert_string_equal(config->backend_address, "tcp://127.0.0.1:8771");
    assert_string_equal(config->connect_endpoint, "tcp://127.0.0.1:8771");
    assert_true(config->auto_reconnect);
}

static void keys_beside_transport_config_are_refused(void **state)
{
    (void)state;
    refused(NULL, "cli", "transport_config:\n  auto_reconnect: false\nauto_reconnect: true\n",
            OWN_PATH ":3:1: key `auto_reconnect`: stands beside transport_config");
    refused(NULL, "cli", "transport_config: 5\n",
            OWN_PATH ":1:19: key `transport_config`: must hold keys");
    refused(NULL, "cli", "transport_conf: {}\n",
            OWN_PATH ":1:1: key `transport_conf`: unknown, did you mean `transport_config`?");
    refused(NULL, "cli", "transport_config: {transport_config: {}}\n",
            OWN_PATH ":1:20: key `transport_config`: unknown");
}

static void mistakes_in_the_file_are_told_with_its_path(void **state)
{
    (void)state;
    refused(NULL, "cli", "auto_reconect: false\n",
            OWN_PATH ":1:1: key `auto_reconect`: unknown, did you mean `auto_reconnect`?");
    refused(NULL, "cli", "transport_config:\n  identityfile: a\n",
            OWN_PATH ":2:3: key `identityfile`: unknown, did you mean `identity_file`?");
    refused(NULL, "cli", "session_timeout: 60\n",
            OWN_PATH ":1:1: key `session_timeout`: unknown here, it belongs in security.yaml");
    refused(NULL, "cli", "auto_reconnect: maybe\n",
            OWN_PATH ":1:17: key `auto_reconnect`: `maybe` is neither true nor false");
    refused(NULL, "cli", "identity_file: [a]\n",
            OWN_PATH ":1:16: key `identity_file`: a list, where one value is expected");
    refused(NULL, "cli", "identity_file: 5\n", OWN_PATH ":1:16: key `identity_file`: `5` is a num");
    refused(NULL, "cli", "backend_address: here\n",
            OWN_PATH ":1:18: key `backend_address`: the port is missing, as in 127.0.0.1:8771; "
                     "allowed: host:port, tcp://host:port or ipc:///path");
    refused(NULL, "cli", "backend_address: udp://a:1\n",
            OWN_PATH ":1:18: key `backend_address`: `udp://a:1` is neither ipc:// nor tcp://");
    refused("broker: {io_threads: 0}\n", "cli", "auto_reconnect: maybe\n",
            SECURITY_PATH ":1:22: key `broker.io_threads`");
}

static void allowed_components_are_names(void **state)
{
    static const char *const wrong[] = {"Front", "\"@admins\"", "\"*\"", "\"a b\"", "-x", "\"\""};
    CLEANUP(aico_config_free)
    struct aico_config *nobody = accepted(NULL, "cli", "allowed_components: []\n");
    char text[96];

    (void)state;
    assert_true(nobody->has_allowed_components);
    assert_int_equal(nobody->allowed_components.count, 0);
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        (void)snprintf(text, sizeof(text), "allowed_components: [%s]\n", wrong[i]);
        refused(NULL, "cli", text, OWN_PATH ":1:22: key `allowed_components`: `");
    }
    refused(NULL, "cli", "allowed_components: [a, b, a]\n",
            OWN_PATH ":1:28: key `allowed_components`: `a` is given twice");
    refused(NULL, "cli", "allowed_components: frontend\n",
            OWN_PATH ":1:21: key `allowed_components`: a list is expected");
    refused(NULL, "cli", "allowed_components: [[a]]\n",
            OWN_PATH ":1:22: key `allowed_components`: a list, where one value is expected");
}

static void security_level_may_be_raised_not_lowered(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *raised = accepted("security: {transport: {security_level: standard}}",
                                          "cli", "security_level: high\n");
    CLEANUP(aico_config_free)
    struct aico_config *kept =
        accepted("security: {transport: {security_level: standard}}", "cli", NULL);
    CLEANUP(aico_config_free)
    struct aico_config *highest = accepted(NULL, "cli", "security_level: maximum\n");

    (void)state;
    assert_int_equal(raised->security_level, AICO_SECURITY_HIGH);
    assert_int_equal(kept->security_level, AICO_SECURITY_STANDARD);
    refused(NULL, "cli", "security_level: standard\n",
            OWN_PATH ":1:17: key `security_level`: standard is lower than high in security.yaml");
    assert_int_equal(highest->security_level, AICO_SECURITY_MAXIMUM);
    assert_int_equal(highest->padding, AICO_PADDING_PADME);
    assert_int_equal(highest->registry_max_age_ms, 86400000);
    refused("security: {transport: {padding: none}}", "cli", "security_level: maximum\n",
            SECURITY_PATH ":1:33: key `security.transport.padding`: security_level maximum means");
}

static void listen_address_takes_the_place_of_the_default_of_its_kind(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *tcp = accepted(NULL, "broker", "listen_address: \"*:9000\"\n");
    CLEANUP(aico_config_free)
    struct aico_config *ipc = accepted(NULL, "broker", "listen_address: ipc:///run/aico.sock\n");

    (void)state;
    assert_int_equal(tcp->endpoints.count, 2);
    assert_string_equal(tcp->endpoints.items[0], "ipc://" HOME "/run/bus.sock");
    assert_string_equal(tcp->endpoints.items[1], "tcp://*:9000");
    assert_string_equal(tcp->connect_endpoint, "tcp://127.0.0.1:9000");
    assert_int_equal(ipc->endpoints.count, 2);
    assert_string_equal(ipc->endpoints.items[0], "ipc:///run/aico.sock");
    assert_string_equal(ipc->endpoints.items[1], "tcp://127.0.0.1:8771");
}

static void listen_address_must_agree_with_written_endpoints(void **state)
{
    static const char endpoints[] = "broker: {endpoints: [\"tcp://0.0.0.0:1\", ipc:///s]}\n";
    CLEANUP(aico_config_free)
    struct aico_config *config = accepted(endpoints, "broker", "listen_address: 0.0.0.0:1\n");

    (void)state;
    assert_int_equal(config->endpoints.count, 2);
    assert_string_equal(config->connect_endpoint, "tcp://127.0.0.1:1");
    refused(endpoints, "broker", "listen_address: 127.0.0.1:1\n",
            OWN_PATH ":1:17: key `listen_address`: is not among broker.endpoints");
}

static void a_component_connects_to_the_first_endpoint_unless_told_otherwise(void **state)
{
    static const struct {
        const char *security, *own, *endpoint;
    } cases[] = {
        {"broker: {endpoints: [\"tcp://[::]:5\", ipc:///s]}", NULL, "tcp://[::1]:5"},
        {"broker: {endpoints: [\"tcp://0.0.0.0:5\"]}", NULL, "tcp://127.0.0.1:5"},
        {"broker: {endpoints: [ipc:///s]}", "backend_address: far:1\n", "tcp://far:1"},
        {NULL, "backend_address: ipc://~/s\n", "ipc:///home/me/s"},
        {NULL, "backend_address: \"[2001:db8::1]:8771\"\n", "tcp://[2001:db8::1]:8771"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        CLEANUP(aico_config_free)
        struct aico_config *config = accepted(cases[i].security, "cli", cases[i].own);

        assert_string_equal(config->connect_endpoint, cases[i].endpoint);
    }
}

static void addresses_that_contradict_are_refused(void **state)
{
    (void)state;
    refused(NULL, "cli", "backend_address: a:1\nlisten_address: a:1\n",
            OWN_PATH ":2:17: key `listen_address`: backend_address is given too");
    refused(NULL, "cli", "backend_address: \"*:1\"\n",
            OWN_PATH ":1:18: key `backend_address`: nobody can connect to a wildcard");
}

static void the_broker_refuses_keys_of_those_who_connect(void **state)
{
    (void)state;
    refused(NULL, "broker", "backend_address: a:1\n",
            OWN_PATH ":1:18: key `backend_address`: is for components that connect");
    refused(NULL, "broker", "allowed_components: []\n",
            OWN_PATH ":1:21: key `allowed_components`: is for components that connect");
    refused(NULL, "broker", "auto_reconnect: true\n",
            OWN_PATH ":1:17: key `auto_reconnect`: is for components that connect");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_file_a_component_has_its_defaults),
        cmocka_unit_test(both_forms_of_the_file_say_the_same),
        cmocka_unit_test(the_frontend_of_the_example_connects_to_its_backend),
        cmocka_unit_test(keys_beside_transport_config_are_refused),
        cmocka_unit_test(mistakes_in_the_file_are_told_with_its_path),
        cmocka_unit_test(allowed_components_are_names),
        cmocka_unit_test(security_level_may_be_raised_not_lowered),
        cmocka_unit_test(listen_address_takes_the_place_of_the_default_of_its_kind),
        cmocka_unit_test(listen_address_must_agree_with_written_endpoints),
        cmocka_unit_test(a_component_connects_to_the_first_endpoint_unless_told_otherwise),
        cmocka_unit_test(addresses_that_contradict_are_refused),
        cmocka_unit_test(the_broker_refuses_keys_of_those_who_connect),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
