/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading from a real home, and the texts that are made from the schema: the example files, the
 * reference and the printed settings. With --write it rewrites config/security.yaml and
 * docs/configuration.md instead of comparing them.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#include "parse_text.h"

#include "config/reference.h"
#include "config/value.h"

#define SOURCES AICO_VECTORS_DIR "/../.."

/* A home of its own for each test; the environment says nothing until a test does. */
static char home[64];

static int make_home(void **state)
{
    char folder[96];

    (void)state;
    (void)snprintf(home, sizeof(home), "/tmp/aico-config-XXXXXX");
    assert_non_null(mkdtemp(home));
    (void)snprintf(folder, sizeof(folder), "%s/config", home);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(unsetenv("AICO_HOME"), 0);
    assert_int_equal(setenv("HOME", "/home/nobody", 1), 0);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static int remove_home(void **state)
{
    (void)state;
    return nftw(home, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void write_file(const char *name, const char *text)
{
    char path[128];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", home, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static struct aico_config *loaded(const char *from, const char *config_file, const char *component)
{
    struct aico_config *config = NULL;
    struct aico_error err = {0};
    int r = aico_config_load(from, config_file, component, &config, &err);

    if (r != 0)
        print_message("%s\n", err.text);
    assert_int_equal(r, 0);
    return config;
}

static void not_loaded(const char *config_file, const char *component, int code, const char *cause)
{
    struct aico_config_problems problems;
    struct aico_config *config = NULL;
    struct aico_error err = {0};

    assert_int_equal(aico_config_load(home, config_file, component, &config, &err), code);
    assert_null(config);
    assert_int_equal(err.code, code);
    if (!strstr(err.text, cause))
        fail_msg("\n     got: %s\nexpected: %s", err.text, cause);
    assert_int_equal(aico_config_check(home, config_file, component, &problems), code);
    assert_true(problems.count >= 1);
    assert_string_equal(problems.problems[0].text, err.text);
}

/* The whole file, with a final zero; free() it. */
static char *file_text(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = calloc(1, AICO_CONFIG_FILE_MAX + 1);

    if (!file)
        fail_msg("%s: %s", path, strerror(errno));
    assert_non_null(text);
    assert_true(fread(text, 1, AICO_CONFIG_FILE_MAX, file) < AICO_CONFIG_FILE_MAX);
    (void)fclose(file);
    return text;
}

static void no_difference(void *context, const char *key, const char *before, const char *after)
{
    (void)context;
    fail_msg("%s: %s became %s", key, before, after);
}

static void an_empty_home_has_defaults(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *config = loaded(home, NULL, "backend");
    struct aico_config_problems problems;
    char path[128];

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/security.yaml", home);
    assert_string_equal(config->security_file, path);
    assert_string_equal(config->home, home);
    assert_int_equal(config->session_timeout_ms, 3600000);
    assert_int_equal(aico_config_check(home, NULL, "backend", &problems), 0);
    assert_int_equal(problems.count, 0);
}

static void the_home_is_the_argument_the_variable_or_below_the_user(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *by_user = loaded(NULL, NULL, NULL);
    CLEANUP(aico_config_free)
    struct aico_config *by_variable = NULL;
    CLEANUP(aico_config_free)
    struct aico_config *by_argument = NULL;
    CLEANUP(aico_config_free)
    struct aico_config *relative = NULL;
    struct aico_config *config = NULL;
    struct aico_error err;

    (void)state;
    assert_string_equal(by_user->home, "/home/nobody/.aico");
    assert_int_equal(setenv("AICO_HOME", "/var/lib/aico//", 1), 0);
    by_variable = loaded(NULL, NULL, NULL);
    assert_string_equal(by_variable->home, "/var/lib/aico");
    by_argument = loaded(home, NULL, NULL);
    assert_string_equal(by_argument->home, home);
    relative = loaded("some/where", NULL, NULL);
    assert_int_equal(relative->home[0], '/');
    assert_non_null(strstr(relative->home, "/some/where"));

    assert_int_equal(unsetenv("AICO_HOME"), 0);
    assert_int_equal(unsetenv("HOME"), 0);
    assert_int_equal(aico_config_load(NULL, NULL, NULL, &config, &err), AICO_EINVAL);
}

static void both_files_of_the_home_are_read(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *config = NULL;
    CLEANUP(aico_config_free)
    struct aico_config *other = NULL;
    char path[128];

    (void)state;
    write_file("security.yaml", "security: {transport: {session_timeout: 61, psk_file: p}}\n");
    write_file("config/backend.yaml", "identity_file: me.key\n");
    write_file("other.yaml", "security: {transport: {session_timeout: 62}}\n");
    config = loaded(home, NULL, "backend");
    assert_int_equal(config->session_timeout_ms, 61000);
    (void)snprintf(path, sizeof(path), "%s/p", home);
    assert_string_equal(config->psk_file, path);
    (void)snprintf(path, sizeof(path), "%s/config/me.key", home);
    assert_string_equal(config->identity_file, path);

    (void)snprintf(path, sizeof(path), "%s/other.yaml", home);
    other = loaded(home, path, "backend");
    assert_int_equal(other->session_timeout_ms, 62000);
    assert_string_equal(other->security_file, path);
}

static void a_file_that_was_named_must_be_there(void **state)
{
    char path[128];

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/missing.yaml", home);
    not_loaded(path, NULL, AICO_ECONFIG, "/missing.yaml: No such file or directory");
}

static void files_that_are_none_or_open_to_all_are_refused(void **state)
{
    char path[128];

    (void)state;
    not_loaded(home, NULL, AICO_ECONFIG, "is not a regular file");
    (void)snprintf(path, sizeof(path), "%s/fifo", home);
    assert_int_equal(mkfifo(path, 0600), 0);
    not_loaded(path, NULL, AICO_ECONFIG, "/fifo: is not a regular file");
    write_file("security.yaml", "");
    (void)snprintf(path, sizeof(path), "%s/security.yaml", home);
    assert_int_equal(chmod(path, 0666), 0);
    not_loaded(NULL, NULL, AICO_ECONFIG,
               "/security.yaml: every user may change it (mode 666), run: chmod o-w");
    assert_int_equal(chmod(path, 0664), 0);
    aico_config_free(&(struct aico_config *){loaded(home, NULL, NULL)});
}

static void a_component_name_cannot_leave_the_folder(void **state)
{
    static const char *const names[] = {"../security", "a/b", "", ".", "A", "$bus", "a\nb"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        not_loaded(NULL, names[i], AICO_EINVAL, "is no component name");
}

static void check_lists_the_problems_of_both_files(void **state)
{
    struct aico_config_problems problems;

    (void)state;
    write_file("security.yaml", "broker:\n  io_threads: 0\n  max_topics: x\n");
    write_file("config/cli.yaml", "auto_reconnect: 5\n");
    assert_int_equal(aico_config_check(home, NULL, "cli", &problems), AICO_ECONFIG);
    assert_int_equal(problems.count, 3);
    assert_int_equal(problems.more, 0);
    assert_non_null(strstr(problems.problems[0].text, "/security.yaml:2:15: key `broker.io_thr"));
    assert_non_null(strstr(problems.problems[1].text, "/security.yaml:3:15: key `broker.max_top"));
    assert_non_null(strstr(problems.problems[2].text, "/config/cli.yaml:1:17: key `auto_reconn"));
    not_loaded(NULL, "cli", AICO_ECONFIG, "/security.yaml:2:15: ");
}

static void a_file_that_is_too_large_is_refused(void **state)
{
    CLEANUP(free_memory)
    char *text = calloc(1, AICO_CONFIG_FILE_MAX + 2);

    (void)state;
    assert_non_null(text);
    memset(text, '#', AICO_CONFIG_FILE_MAX + 1);
    write_file("security.yaml", text);
    not_loaded(NULL, NULL, AICO_ECONFIG, "the file has more than 262144 bytes");
}

/* What aico_config_print() writes; free() it. */
/* Not inlined: gcc 12 takes what open_memstream() writes to for what it points to. */
static __attribute__((noinline)) char *printed(const struct aico_config *config)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    assert_int_equal(aico_config_print(config, out), 0);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void printed_settings_name_their_origin(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *config = NULL;
    CLEANUP(free_memory)
    char *text = NULL;
    char expected[256];

    (void)state;
    write_file("security.yaml", "security:\n  transport:\n    session_timeout: 2m\n");
    write_file("config/cli.yaml", "\nauto_reconnect: false\n");
    config = loaded(home, NULL, "cli");
    text = printed(config);
    (void)snprintf(expected, sizeof(expected), "\n        session_timeout: 120  # %s:3\n",
                   config->security_file);
    assert_non_null(strstr(text, expected));
    (void)snprintf(expected, sizeof(expected), "\nauto_reconnect: false  # %s/config/cli.yaml:2\n",
                   home);
    assert_non_null(strstr(text, expected));
    assert_non_null(strstr(text, "\n        padding: none  # default\n"));
    assert_non_null(strstr(text, "\n# allowed_components: (not set)  # default\n"));
}

static void printed_settings_load_to_the_same(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *config =
        accepted("security: {transport: {namespace: \"a\\\"\\\\b\", psk_file: ~/p, padding: padme,"
                 " require_fresh_handshake: false, group_epoch: 1h, security_level: standard}}\n"
                 "broker: {endpoints: [ipc:///s, \"tcp://[::1]:7\"], log_level: debug}\n",
                 "backend",
                 "allowed_components: [a, b]\nauto_reconnect: false\n"
                 "listen_address: ipc:///s\n");
    CLEANUP(aico_config_free)
    struct aico_config *again = NULL;
    CLEANUP(free_memory)
    char *text = printed(config);
    char *second = strstr(text, "\n---\n");

    (void)state;
    assert_non_null(second);
    *second = '\0';
    again = accepted(text, "backend", second + 5);
    assert_int_equal(aico_config_compare(config, again, no_difference, NULL), 0);
    assert_string_equal(again->connect_endpoint, config->connect_endpoint);
}

static void count_difference(void *context, const char *key, const char *before, const char *after)
{
    int *count = context;

    (*count)++;
    if (strcmp(key, "security.transport.group_epoch") == 0) {
        assert_string_equal(before, "60");
        assert_string_equal(after, "61");
    } else {
        assert_string_equal(key, "allowed_components");
        assert_string_equal(before, "");
        assert_string_equal(after, "[\"a\"]");
    }
}

static void compare_tells_what_changed(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *before = accepted(NULL, "cli", NULL);
    CLEANUP(aico_config_free)
    struct aico_config *after = accepted("security: {transport: {group_epoch: 61, padding: none}}",
                                         "cli", "allowed_components: [a]\n");
    int count = 0;

    (void)state;
    assert_int_equal(aico_config_compare(before, after, count_difference, &count), 0);
    assert_int_equal(count, 2);
}

static void a_full_disk_is_an_error(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *config = accepted(NULL, NULL, NULL);
    CLEANUP(file_close)
    FILE *full = fopen("/dev/full", "w");

    (void)state;
    assert_non_null(full);
    assert_int_equal(aico_config_print(config, full), AICO_ESYSTEM);
}

static void the_seeds_own_security_yaml_is_accepted(void **state)
{
    CLEANUP(aico_config_free)
    struct aico_config *config =
        accepted("security:\n  transport:\n    # Cryptographic algorithms\n"
                 "    encryption: \"xchacha20poly1305\"\n    key_exchange: \"x25519\"\n"
                 "    authentication: \"ed25519\"\n\n    # Session management\n"
                 "    session_timeout: 3600        # 1 hour\n"
                 "    key_rotation_interval: 86400 # 24 hours\n"
                 "    max_message_size: 16777216   # 16MB\n\n    # Network settings\n"
                 "    handshake_timeout: 30\n    keepalive_interval: 60\n"
                 "    connection_retry_limit: 3\n\n    # Security policies\n"
                 "    require_fresh_handshake: true\n    allow_key_reuse: false\n"
                 "    enforce_message_ordering: true\n",
                 NULL, NULL);
    CLEANUP(aico_config_free)
    struct aico_config *defaults = accepted(NULL, NULL, NULL);

    (void)state;
    assert_int_equal(aico_config_compare(config, defaults, no_difference, NULL), 0);
}

static void the_example_security_yaml_equals_the_defaults(void **state)
{
    CLEANUP(free_memory)
    char *text = file_text(SOURCES "/config/security.yaml");
    CLEANUP(aico_config_free)
    struct aico_config *config = accepted(text, NULL, NULL);
    CLEANUP(aico_config_free)
    struct aico_config *defaults = accepted(NULL, NULL, NULL);

    (void)state;
    assert_int_equal(aico_config_compare(config, defaults, no_difference, NULL), 0);
    for (size_t i = 0; i < schema_count; i++)
        if (schema_keys[i].file == SCHEMA_SECURITY)
            assert_int_equal(config->origins->of[i].kind, ORIGIN_SECURITY);
}

static void the_example_component_files_are_accepted(void **state)
{
    static const char *const names[] = {"backend", "frontend", "cli"};
    char path[256];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        CLEANUP(free_memory)
        char *text = NULL;
        CLEANUP(aico_config_free)
        struct aico_config *config = NULL;

        (void)snprintf(path, sizeof(path), SOURCES "/config/%s.yaml", names[i]);
        text = file_text(path);
        config = accepted(NULL, names[i], text);
        (void)snprintf(path, sizeof(path), HOME "/identities/%s.key", names[i]);
        assert_string_equal(config->identity_file, path);
    }
}

/* Files that are made from the schema. */
static const struct {
    const char *path;
    int (*write)(FILE *out);
} made[] = {
    {SOURCES "/config/security.yaml", config_example_write},
    {SOURCES "/docs/configuration.md", config_reference_write},
};

static void example_and_reference_are_made_from_the_schema(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(made); i++) {
        CLEANUP(free_memory)
        char *there = file_text(made[i].path);
        CLEANUP(free_memory)
        char *now = NULL;
        size_t size;
        FILE *out = open_memstream(&now, &size);

        assert_non_null(out);
        assert_int_equal(made[i].write(out), 0);
        assert_int_equal(fclose(out), 0);
        if (strcmp(there, now) != 0)
            fail_msg("%s differs from the schema: run this test with --write", made[i].path);
    }
}

static void the_schema_is_complete_in_itself(void **state)
{
    char text[192];

    (void)state;
    for (size_t i = 0; i < schema_count; i++) {
        const struct schema_key *key = &schema_keys[i];

        assert_ptr_equal(schema_find(key->file, key->section, key->name), key); /* no name twice */
        assert_true(strlen(key->help) > 10);
        if (!key->shown_by)
            fail_msg("%s: no test shows it: shown_by", key->name);
        assert_true(strlen(schema_allowed(key, text, sizeof(text))) > 3);
        assert_true(key->file == SCHEMA_COMPONENT || key->initial);
        assert_true(strlen(schema_path(key, text, sizeof(text))) < 64);
    }
}

static int write_made_files(void)
{
    for (size_t i = 0; i < COUNT_OF(made); i++) {
        CLEANUP(file_close)
        FILE *out = fopen(made[i].path, "w");

        if (!out || made[i].write(out) != 0) {
            perror(made[i].path);
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
#define IN_A_HOME(test) cmocka_unit_test_setup_teardown(test, make_home, remove_home)
    const struct CMUnitTest tests[] = {
        IN_A_HOME(an_empty_home_has_defaults),
        IN_A_HOME(the_home_is_the_argument_the_variable_or_below_the_user),
        IN_A_HOME(both_files_of_the_home_are_read),
        IN_A_HOME(a_file_that_was_named_must_be_there),
        IN_A_HOME(files_that_are_none_or_open_to_all_are_refused),
        IN_A_HOME(a_component_name_cannot_leave_the_folder),
        IN_A_HOME(check_lists_the_problems_of_both_files),
        IN_A_HOME(a_file_that_is_too_large_is_refused),
        IN_A_HOME(printed_settings_name_their_origin),
        cmocka_unit_test(printed_settings_load_to_the_same),
        cmocka_unit_test(compare_tells_what_changed),
        cmocka_unit_test(a_full_disk_is_an_error),
        cmocka_unit_test(the_seeds_own_security_yaml_is_accepted),
        cmocka_unit_test(the_example_security_yaml_equals_the_defaults),
        cmocka_unit_test(the_example_component_files_are_accepted),
        cmocka_unit_test(example_and_reference_are_made_from_the_schema),
        cmocka_unit_test(the_schema_is_complete_in_itself),
    };

    if (argc > 1 && strcmp(argv[1], "--write") == 0)
        return write_made_files();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
