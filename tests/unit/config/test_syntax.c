/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration file may look like at all, and that no file whatever crashes the parser. */
#include "parse_text.h"

#define FLIPS 20000

static void refused_bytes(const void *text, size_t size, const char *reason)
{
    struct problem_list problems;
    struct aico_config *config = NULL;

    assert_int_equal(parse_bytes(bytes_of(text, size), NULL, (struct bytes){0}, &problems, &config),
                     AICO_ECONFIG);
    assert_null(config);
    if (strncmp(problems.items[0].error.text, reason, strlen(reason)) != 0)
        fail_msg("\n     got: %s\nexpected: %s", problems.items[0].error.text, reason);
}

static void a_key_given_twice_is_refused_with_its_first_line(void **state)
{
    (void)state;
    refused("broker:\n  io_threads: 1\n  \"io_threads\": 1\n", NULL, NULL,
            SECURITY_PATH ":3:3: key `broker.io_threads`: given before, in line 2");
    refused("broker: {}\nsecurity: {}\nbroker: {}\n", NULL, NULL,
            SECURITY_PATH ":3:1: key `broker`: given before, in line 1");
    refused("security: {transport: {padding: none, padding: none}}\n", NULL, NULL,
            SECURITY_PATH ":1:39: key `security.transport.padding`: given before, in line 1");
}

static void anchors_aliases_tags_and_merges_are_refused(void **state)
{
    (void)state;
    refused("broker: &b\n  io_threads: 1\n", NULL, NULL,
            SECURITY_PATH ":1:9: an anchor (&b); anchors are not allowed");
    refused("broker: {io_threads: &n 1}\n", NULL, NULL, SECURITY_PATH ":1:22: an anchor (&n)");
    refused("broker: {endpoints: &l [tcp://a:1]}\n", NULL, NULL, SECURITY_PATH ":1:21: an anchor");
    refused("broker: {&k io_threads: 1}\n", NULL, NULL, SECURITY_PATH ":1:10: an anchor (&k)");
    refused("broker: *b\n", NULL, NULL,
            SECURITY_PATH ":1:9: an alias (*b); aliases are not allowed");
    refused("broker: {io_threads: !!int 1}\n", NULL, NULL,
            SECURITY_PATH ":1:22: a tag (!); tags are not allowed");
    refused("broker: !x {io_threads: 1}\n", NULL, NULL, SECURITY_PATH ":1:9: a tag");
    refused("broker: {endpoints: ! [a]}\n", NULL, NULL, SECURITY_PATH ":1:21: a tag");
    refused("broker: {<<: {io_threads: 1}}\n", NULL, NULL,
            SECURITY_PATH ":1:10: key `broker.<<`: unknown");
}

static void a_file_is_one_document_without_directives(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *config = accepted("---\nbroker: {io_threads: 2}\n...\n", NULL, NULL);

    (void)state;
    assert_int_equal(config->io_threads, 2);
    refused("broker: {}\n---\nbroker: {}\n", NULL, NULL,
            SECURITY_PATH ":2:1: a second document; one file holds one");
    refused("%YAML 1.1\n---\nbroker: {}\n", NULL, NULL, SECURITY_PATH ":1:1: a % directive");
    refused("%TAG ! tag:a,2000:\n---\nbroker: {}\n", NULL, NULL,
            SECURITY_PATH ":1:1: a % directive");
}

static void wrong_yaml_is_refused_with_its_place(void **state)
{
    (void)state;
    refused("broker: {io_threads: 1\n", NULL, NULL, SECURITY_PATH ":2:1: not valid YAML: ");
    refused("broker:\n  io_threads: 1\n max_topics: 1\n", NULL, NULL,
            SECURITY_PATH ":3:2: not valid YAML: ");
    refused("broker: \"open\n", NULL, NULL, SECURITY_PATH ":2:1: not valid YAML: ");
    refused("broker: @x\n", NULL, NULL, SECURITY_PATH ":1:9: not valid YAML: ");
    refused("? [a]\n: b\n", NULL, NULL, SECURITY_PATH ":1:3: a key must be one word");
    refused("broker: [[[[[[[[[[[[1]]]]]]]]]]]]\n", NULL, NULL,
            SECURITY_PATH ":1:17: nested more than 8 deep");
}

static void tabs_and_control_characters_are_refused_where_they_stand(void **state)
{
    static const char nul[] = "broker:\n  io_thr\0eads: 1\n";

    (void)state;
    refused("broker:\n\tio_threads: 1\n", NULL, NULL,
            SECURITY_PATH ":2:1: a tab; indent with spaces");
    refused("broker: {}\t# a\n", NULL, NULL, SECURITY_PATH ":1:11: a tab; indent with spaces");
    refused_bytes(nul, sizeof(nul) - 1, SECURITY_PATH ":2:9: control character 0x00");
    refused("broker: {} # \x1b[31m\n", NULL, NULL, SECURITY_PATH ":1:14: control character 0x1b");
    refused("broker: {}\rsecurity: {}\n", NULL, NULL,
            SECURITY_PATH ":1:11: control character 0x0d");
    refused("broker: {} # \x7f\n", NULL, NULL, SECURITY_PATH ":1:14: control character 0x7f");
    refused("# \xc2\x85 broker: {}\n", NULL, NULL, SECURITY_PATH ":1:3: an invisible control");
    refused("# \xe2\x80\xa8 broker: {}\n", NULL, NULL, SECURITY_PATH ":1:3: an invisible control");
    refused("# \xef\xbb\xbf\n", NULL, NULL, SECURITY_PATH ":1:3: an invisible control");
    refused("\"bro\\0ker\": {}\n", NULL, NULL, SECURITY_PATH ":1:1: the text has a line end");
    refused("broker: {endpoints: [\"ipc:///\\L\"]}\n", NULL, NULL,
            SECURITY_PATH ":1:22: the text has a line end");
    refused("\"\": {}\n", NULL, NULL, SECURITY_PATH ":1:1: key ``: unknown");
}

static void only_utf8_is_read_and_columns_count_characters(void **state)
{
    static const uint8_t utf16[] = {0xff, 0xfe, 'a', 0, ':', 0, ' ', 0, '1', 0};
    static const char *const wrong[] = {"\x80",
                                        "\xc0\x80",
                                        "\xc3",
                                        "\xc3(",
                                        "\xe0\x80\x80",
                                        "\xe2\x82",
                                        "\xed\xa0\x80",
                                        "\xf0\x80\x80\x80",
                                        "\xf4\x90\x80\x80",
                                        "\xf8\x88\x80\x80\x80",
                                        "\xf0\x9f\x98",
                                        "\xfe",
                                        "\xff"};
    char text[64], reason[96];

    (void)state;
    refused_bytes(utf16, sizeof(utf16), SECURITY_PATH ":1:1: byte 0xff is not UTF-8");
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        (void)snprintf(text, sizeof(text), "# gr\xc3\xbc\xc3\x9f\x65 %s", wrong[i]);
        (void)snprintf(reason, sizeof(reason), SECURITY_PATH ":1:9: byte 0x%02x is not UTF-8",
                       (unsigned)(uint8_t)wrong[i][0]);
        refused_bytes(text, strlen(text), reason);
    }
    refused("broker: {\"\xc3\xbc\xf0\x9f\x98\x80\": 1}\n", NULL, NULL,
            SECURITY_PATH ":1:10: key `broker.\xc3\xbc\xf0\x9f\x98\x80`: unknown");
    refused("security: {transport: {namespace: \"\xc3\xbc\", padding: x}}\n", NULL, NULL,
            SECURITY_PATH ":1:49: key `security.transport.padding`");
}

static void a_byte_order_mark_and_crlf_are_read(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *config = accepted("\xef\xbb\xbf"
                                          "broker:\r\n  io_threads: 3\r\n",
                                          NULL, NULL);

    (void)state;
    assert_int_equal(config->io_threads, 3);
    refused("\xef\xbb\xbf"
            "brokr: 1\n",
            NULL, NULL, SECURITY_PATH ":1:1: key `brokr`");
}

static void a_file_of_more_than_256_kib_is_refused(void **state)
{
    CLEANUP(free_memory)
    char *text = malloc(AICO_CONFIG_FILE_MAX + 1);
    CLEANUP(aico_config_free)
    struct aico_config *config = NULL;
    struct problem_list problems;

    (void)state;
    assert_non_null(text);
    memset(text, '#', AICO_CONFIG_FILE_MAX + 1);
    assert_int_equal(parse_bytes(bytes_of(text, AICO_CONFIG_FILE_MAX), NULL, (struct bytes){0},
                                 &problems, &config),
                     0);
    refused_bytes(text, AICO_CONFIG_FILE_MAX + 1,
                  SECURITY_PATH ":1:1: the file has more than 262144 bytes");
}

static void a_great_many_entries_are_refused_soon(void **state)
{
    CLEANUP(free_memory)
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    (void)state;
    assert_non_null(out);
    for (int i = 0; i < 20000; i++)
        (void)fprintf(out, "k%d: 1\n", i);
    assert_int_equal(fclose(out), 0);
    refused(text, NULL, NULL, SECURITY_PATH ":4097:1: more than 4096 entries");
}

static const char valid[] = "# every form a file may take\nsecurity:\n  transport:\n"
                            "    encryption: \"xchacha20poly1305\"\n    session_timeout: 2h\n"
                            "    max_message_size: 1MiB\n    enforce_message_ordering: false\n"
                            "    psk_file: ~/psk\n    namespace: 'gr\xc3\xbc\xc3\x9f\x65'\n"
                            "broker:\n  endpoints:\n  - ipc://${AICO_HOME}/s\n"
                            "  - \"tcp://[::1]:8771\"\n  log_level: debug\n"
                            "  drain_timeout: 0\n";
static const char valid_own[] = "transport_config:\n  identity_file: ./me.key\n"
                                "  listen_address: \"[::1]:8771\"\n"
                                "  allowed_components: [frontend, cli]\n  security_level: high\n"
                                "  auto_reconnect: true\n";

/* Whatever the bytes are: a configuration or a reason, and both are well formed. */
static void parse_any(struct bytes security, struct bytes own)
{
    CLEANUP(aico_config_free)
    struct aico_config *config = NULL;
    struct problem_list problems;
    int r = parse_bytes(security, "backend", own, &problems, &config);

    assert_int_equal(r == 0, config != NULL);
    assert_int_equal(r == 0, problems.count == 0);
    assert_true(r == 0 || r == AICO_ECONFIG);
    for (size_t i = 0; i < problems.count; i++) {
        assert_true(strncmp(problems.items[i].error.text, "/etc/aico/", 10) == 0);
        for (const char *at = problems.items[i].error.text; *at; at++)
            assert_true((uint8_t)*at >= 0x20 && *at != 0x7f);
    }
}

static void every_truncation_is_accepted_or_refused(void **state)
{
    (void)state;
    aico_config_free(&(struct aico_config *){accepted(valid, "backend", valid_own)});
    for (size_t size = 0; size < sizeof(valid); size++)
        parse_any(bytes_of(valid, size), bytes_text(valid_own));
    for (size_t size = 0; size < sizeof(valid_own); size++)
        parse_any(bytes_text(valid), bytes_of(valid_own, size));
}

static void every_flipped_bit_is_accepted_or_refused(void **state)
{
    char security[sizeof(valid)], own[sizeof(valid_own)];

    (void)state;
    memcpy(security, valid, sizeof(valid));
    memcpy(own, valid_own, sizeof(valid_own));
    for (size_t bit = 0; bit < 8 * (sizeof(valid) - 1); bit++) {
        security[bit / 8] ^= (char)(1 << bit % 8);
        parse_any(bytes_of(security, sizeof(valid) - 1), bytes_text(valid_own));
        security[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t bit = 0; bit < 8 * (sizeof(valid_own) - 1); bit++) {
        own[bit / 8] ^= (char)(1 << bit % 8);
        parse_any(bytes_text(valid), bytes_of(own, sizeof(valid_own) - 1));
        own[bit / 8] ^= (char)(1 << bit % 8);
    }
}

static uint32_t random_next(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33);
}

/* Bytes that mean something to YAML, put anywhere. */
static void random_changes_are_accepted_or_refused(void **state)
{
    static const char letters[] =
        "{}[]:,-?&*!|>'\"%@`# \n\r\t~$./0123456789abkmsKM\\\x01\xc3\xbc\xff";
    const char *given = getenv("AICO_SEED");
    uint64_t start = given ? strtoull(given, NULL, 0) : 20261120, seed = start;
    char text[sizeof(valid)];

    (void)state;
    print_message("seed %llu (AICO_SEED)\n", (unsigned long long)start);
    for (int i = 0; i < FLIPS; i++) {
        uint32_t count = 1 + random_next(&seed) % 8;

        memcpy(text, valid, sizeof(valid));
        for (uint32_t k = 0; k < count; k++)
            text[random_next(&seed) % (sizeof(valid) - 1)] =
                letters[random_next(&seed) % (sizeof(letters) - 1)];
        parse_any(bytes_of(text, sizeof(valid) - 1), bytes_text(valid_own));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_given_twice_is_refused_with_its_first_line),
        cmocka_unit_test(anchors_aliases_tags_and_merges_are_refused),
        cmocka_unit_test(a_file_is_one_document_without_directives),
        cmocka_unit_test(wrong_yaml_is_refused_with_its_place),
        cmocka_unit_test(tabs_and_control_characters_are_refused_where_they_stand),
        cmocka_unit_test(only_utf8_is_read_and_columns_count_characters),
        cmocka_unit_test(a_byte_order_mark_and_crlf_are_read),
        cmocka_unit_test(a_file_of_more_than_256_kib_is_refused),
        cmocka_unit_test(a_great_many_entries_are_refused_soon),
        cmocka_unit_test(every_truncation_is_accepted_or_refused),
        cmocka_unit_test(every_flipped_bit_is_accepted_or_refused),
        cmocka_unit_test(random_changes_are_accepted_or_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
