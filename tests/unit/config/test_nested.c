/* SPDX-License-Identifier: Apache-2.0 */
/* The shape of security.yaml that has `transport:` at its top: read, mixed up, refused. */
#include "parse_text.h"

#define ROOT "transport:\n"
#define ENCRYPTION ROOT "  encryption:\n"

static void its_words_are_read_into_the_settings_of_the_same_meaning(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *config = accepted(ROOT "  message_bus_encryption: true\n"
                                               "  curve_zmq:\n"
                                               "    enabled: true\n"
                                               "    key_rotation_interval: 43200\n"
                                               "  encryption:\n"
                                               "    enabled: true\n"
                                               "    algorithm: \"XChaCha20-Poly1305\"\n"
                                               "    identity:\n"
                                               "      key_type: Ed25519\n"
                                               "      session_key_type: X25519\n"
                                               "    session:\n"
                                               "      timeout_seconds: 1800\n"
                                               "      handshake_timeout_seconds: 20\n"
                                               "      max_sessions_per_client: 1\n"
                                               "    handshake:\n"
                                               "      challenge_size: 32\n"
                                               "      nonce_size: 24\n"
                                               "      signature_algorithm: Ed25519\n"
                                               "    message:\n"
                                               "      max_payload_size: 1048576\n"
                                               "      compression_enabled: false\n"
                                               "broker:\n"
                                               "  io_threads: 2\n",
                                          NULL, NULL);

    (void)state;
    assert_int_equal(config->key_rotation_interval_ms, 43200000);
    assert_int_equal(config->session_timeout_ms, 1800000);
    assert_int_equal(config->handshake_timeout_ms, 20000);
    assert_int_equal(config->max_message_size, 1048576);
    assert_int_equal(config->io_threads, 2);
    assert_int_equal(config->synchrony_bound_ms, 30000); /* not named: at its default */
}

static void what_it_has_no_word_for_stands_directly_below_transport(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *config =
        accepted(ROOT "  namespace: acme\n  padding: padme\n  synchrony_bound: 10s\n", NULL, NULL);

    (void)state;
    assert_string_equal(config->bus_namespace, "acme");
    assert_int_equal(config->padding, AICO_PADDING_PADME);
    assert_int_equal(config->synchrony_bound_ms, 10000);
}

static void unknown_words_are_refused_with_their_place(void **state)
{
    (void)state;
    refused(ROOT "  encription: {}\n", NULL, NULL,
            SECURITY_PATH ":2:3: key `transport.encription`: unknown");
    refused(ENCRYPTION "    session:\n      timeout_second: 60\n", NULL, NULL,
            SECURITY_PATH ":4:7: key `transport.encryption.session.timeout_second`: unknown, did "
                          "you mean `transport.encryption.session.timeout_seconds`?");
    refused(ENCRYPTION "    padding: none\n", NULL, NULL,
            SECURITY_PATH ":3:5: key `transport.encryption.padding`: unknown");
    refused(ROOT "  encryption.enabled: true\n", NULL, NULL,
            SECURITY_PATH ":2:3: key `transport.encryption.enabled`: unknown");
    refused(ROOT "  endpoints: [\"tcp://a:1\"]\n", NULL, NULL,
            SECURITY_PATH ":2:3: key `transport.endpoints`: unknown");
}

static void values_that_mean_less_security_are_refused_with_the_reason(void **state)
{
    (void)state;
    refused(ROOT "  message_bus_encryption: false\n", NULL, NULL,
            SECURITY_PATH ":2:27: key `transport.message_bus_encryption`: `false` is refused: "
                          "there is no bus in clear; allowed: true");
    refused(ROOT "  curve_zmq:\n    authentication_policy: CURVE_ALLOW_ANY\n", NULL, NULL,
            SECURITY_PATH ":3:5: key `transport.curve_zmq.authentication_policy`: has no meaning "
                          "here: the owner's registry alone decides who connects; leave it out");
    refused(ENCRYPTION "    algorithm: AES-256-GCM\n", NULL, NULL,
            SECURITY_PATH ":3:16: key `transport.encryption.algorithm`: `AES-256-GCM` is refused: "
                          "algorithms are asserted, not negotiated; allowed: XChaCha20-Poly1305");
    refused(ENCRYPTION "    session: {max_sessions_per_client: 5}\n", NULL, NULL,
            SECURITY_PATH ":3:40: key `transport.encryption.session.max_sessions_per_client`: `5` "
                          "is refused: one identity runs in one process at a time; allowed: 1");
    refused(ENCRYPTION "    message: {compression_enabled: true}\n", NULL, NULL,
            SECURITY_PATH ":3:36: key `transport.encryption.message.compression_enabled`: `true` "
                          "is refused");
    refused(ENCRYPTION "    client_identification: {header: x}\n", NULL, NULL,
            SECURITY_PATH ":3:5: key `transport.encryption.client_identification`: has no meaning");
}

static void types_and_ranges_are_those_of_the_setting(void **state)
{
    (void)state;
    refused(ENCRYPTION "    session: {timeout_seconds: 59}\n", NULL, NULL,
            SECURITY_PATH ":3:32: key `transport.encryption.session.timeout_seconds`: `59` is out "
                          "of range; allowed: 60..604800 seconds");
    refused(ENCRYPTION "    message: {max_payload_size: \"1048576\"}\n", NULL, NULL,
            SECURITY_PATH ":3:33: key `transport.encryption.message.max_payload_size`: `1048576` "
                          "is text");
    refused(ENCRYPTION "    enabled: {}\n", NULL, NULL,
            SECURITY_PATH ":3:14: key `transport.encryption.enabled`: `a mapping` is refused");
    refused(ROOT "  encryption: xchacha20poly1305\n", NULL, NULL,
            SECURITY_PATH ":2:15: key `transport.encryption`: must hold keys, indented below");
    refused("transport: high\n", NULL, NULL,
            SECURITY_PATH ":1:12: key `transport`: must hold keys, indented below");
}

static void a_file_has_one_of_the_two_shapes(void **state)
{
    (void)state;
    refused("security:\n  transport: {padding: none}\ntransport: {namespace: a}\n", NULL, NULL,
            SECURITY_PATH ":3:1: key `transport`: `security` is in line 1; a file has one of the "
                          "two shapes");
    refused("transport: {}\nsecurity: {}\n", NULL, NULL,
            SECURITY_PATH ":1:1: key `transport`: `security` is in line 2");
}

static void two_spellings_of_one_setting_are_refused(void **state)
{
    (void)state;
    refused(ROOT "  session_timeout: 60\n  encryption:\n    session: {timeout_seconds: 70}\n", NULL,
            NULL,
            SECURITY_PATH ":4:15: key `transport.encryption.session.timeout_seconds`: line 2 says "
                          "the same in another spelling; keep one of them");
}

static void it_is_no_shape_of_a_component_file(void **state)
{
    (void)state;
    refused(NULL, "backend", "transport: {padding: none}\n",
            OWN_PATH ":1:1: key `transport`: unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_words_are_read_into_the_settings_of_the_same_meaning),
        cmocka_unit_test(what_it_has_no_word_for_stands_directly_below_transport),
        cmocka_unit_test(unknown_words_are_refused_with_their_place),
        cmocka_unit_test(values_that_mean_less_security_are_refused_with_the_reason),
        cmocka_unit_test(types_and_ranges_are_those_of_the_setting),
        cmocka_unit_test(a_file_has_one_of_the_two_shapes),
        cmocka_unit_test(two_spellings_of_one_setting_are_refused),
        cmocka_unit_test(it_is_no_shape_of_a_component_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
