/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The doctor at a home that was spoilt in one way: it names it, and where a line for sh helps, that
 * line as it stands repairs it. The broker of the home does not run.
 */
#include "findings.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define OF_OTHERS 12345 /* a user that is nobody here */
#define KEY "identities/alice.key"
#define OWN "config/alice.yaml"
#define COPY "state/alice/registry"

static int set_up(void **state)
{
    struct world *world;

    (void)unsetenv("AICO_IDENTITY");
    if (world_new(state) < 0)
        return -1;
    world = *state;
    world_stop(world, true);
    assert_int_equal(mkdir(at_home(world, "config"), 0700), 0);
    assert_int_equal(mkdir(at_home(world, "state/alice"), 0700), 0);
    copy_file(world, "registry", COPY);
    return 0;
}

/* Puts right what no repair of the doctor's is for: settings that were made comments. */
static void whole_settings(const struct world *world)
{
    static const char *const files[] = {OWN, "config/bob.yaml", "config/broker.yaml", "psk"};

    world_configure(world->home, world, "");
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        (void)unlink(at_home(world, files[i]));
}

static void mode(const struct world *world, const char *name, mode_t bits)
{
    assert_int_equal(chmod(at_home(world, name), bits), 0);
}

static void try_all(const struct world *world, const struct fault *faults, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        expect_named_and_repaired(world, &faults[i]);
        whole_settings(world);
    }
}

/* --- whose, and who may ----------------------------------------------------------------------- */

static void open_home(const struct world *world)
{
    mode(world, "", 0755);
}

static void writable_home(const struct world *world)
{
    mode(world, "", 0777);
}

static void open_run(const struct world *world)
{
    mode(world, "run", 0755);
}

static void run_is_a_file(const struct world *world)
{
    assert_int_equal(rename(at_home(world, "run"), at_home(world, "run.moved")), 0);
    write_text(world, "run", "");
}

static void writable_state(const struct world *world)
{
    mode(world, "state", 0777);
}

static void open_state_of_its_own(const struct world *world)
{
    mode(world, "state/alice", 0755);
}

static void readable_key(const struct world *world)
{
    mode(world, KEY, 0644);
}

static void useless_key(const struct world *world)
{
    mode(world, KEY, 0200);
}

static void linked_key(const struct world *world)
{
    assert_int_equal(rename(at_home(world, KEY), at_home(world, "elsewhere")), 0);
    assert_int_equal(symlink("../elsewhere", at_home(world, KEY)), 0);
}

static void writable_registry(const struct world *world)
{
    mode(world, "registry", 0664);
}

static void writable_owner(const struct world *world)
{
    mode(world, "owner.public", 0666);
}

static void writable_copy(const struct world *world)
{
    mode(world, COPY, 0666);
}

static void file_for_a_socket(const struct world *world)
{
    (void)unlink(at_home(world, "run/bus.sock"));
    write_text(world, "run/bus.sock", "");
}

static void modes_and_kinds(void **state)
{
    static const struct fault faults[] = {
        {"the home is open", open_home, "home", AICO_EMODE, "open to others (mode 755)"},
        {"others write to the home", writable_home, "home", AICO_EMODE, "(mode 777)"},
        {"run/ is open", open_run, "home", AICO_EMODE, "/run"},
        {"run is a file", run_is_a_file, "home", AICO_EEXISTS, "is not a folder"},
        {"state/ is writable", writable_state, "home", AICO_EMODE, "/state"},
        {"state/alice is open", open_state_of_its_own, "home", AICO_EMODE, "/state/alice"},
        {"a key others read", readable_key, "home", AICO_EMODE, KEY},
        {"a key we may not read", useless_key, "home", AICO_EMODE, "not use it ourselves"},
        {"a key that is a link", linked_key, "home", AICO_ESYMLINK, KEY},
        {"a registry others write", writable_registry, "home", AICO_EMODE, "/registry"},
        {"an owner others write", writable_owner, "home", AICO_EMODE, "owner.public"},
        {"an accepted copy others write", writable_copy, "home", AICO_EMODE, COPY},
        {"no socket", file_for_a_socket, "home", AICO_EEXISTS, "where the broker's socket has"},
    };

    try_all(*state, faults, sizeof(faults) / sizeof(faults[0]));
}

static void foreign_key(const struct world *world)
{
    assert_int_equal(lchown(at_home(world, KEY), OF_OTHERS, (gid_t)-1), 0);
}

static void foreign_registry(const struct world *world)
{
    assert_int_equal(lchown(at_home(world, "registry"), OF_OTHERS, (gid_t)-1), 0);
}

static void foreign_state(const struct world *world)
{
    assert_int_equal(lchown(at_home(world, "state"), OF_OTHERS, (gid_t)-1), 0);
}

static void foreign_home(const struct world *world)
{
    assert_int_equal(lchown(world->home, OF_OTHERS, (gid_t)-1), 0);
}

static void foreign_psk(const struct world *world)
{
    char more[256];

    write_text(world, "psk", "0000000000000000000000000000000000000000000000000000000000000007\n");
    assert_int_equal(lchown(at_home(world, "psk"), OF_OTHERS, (gid_t)-1), 0);
    (void)snprintf(more, sizeof(more), "security:\n  transport:\n    psk_file: %s\n",
                   at_home(world, "psk"));
    world_configure(world->home, world, more);
}

static void files_of_another_user(void **state)
{
    static const struct fault faults[] = {
        {"a key", foreign_key, "home", AICO_EOWNER, "alice.key"},
        {"the registry", foreign_registry, "home", AICO_EOWNER, "/registry"},
        {"state/", foreign_state, "home", AICO_EOWNER, "/state"},
        {"the home", foreign_home, "home", AICO_EOWNER, "the home belongs to user 12345"},
        {"the psk", foreign_psk, "config", AICO_EOWNER, "psk_file"},
    };

    if (geteuid() != 0)
        skip(); /* only root gives files away */
    try_all(*state, faults, sizeof(faults) / sizeof(faults[0]));
}

static void a_home_that_is_none(void **state)
{
    struct aico_doctor_options options = {.identity = names[ALICE],
                                          .home = at_home(*state, "none")};

    assert_int_equal(examine(*state, &options), AICO_ENOTFOUND);
    assert_string_equal(strstr(expect_finding("home", AICO_ENOTFOUND, "no home of a bus")->repair,
                               "init --starter"),
                        "init --starter");
    assert_false(is_found("limits", 0, "")); /* nothing rests on nothing */
    options.home = at_home(*state, "registry/none");
    assert_int_equal(examine(*state, &options), AICO_ENOTFOUND);
    options.home = at_home(*state, "registry");
    assert_int_equal(examine(*state, &options), AICO_EEXISTS);
}

/* --- settings --------------------------------------------------------------------------------- */

#define TRANSPORT "security:\n  transport:\n    keepalive_interval: 60\n"

static void slip(const struct world *world)
{
    world_configure(world->home, world, TRANSPORT "    sesion_timeout: 60\n");
}

static void word(const struct world *world)
{
    world_configure(world->home, world, TRANSPORT "    security_level: hihg\n");
}

static void range(const struct world *world)
{
    world_configure(world->home, world, TRANSPORT "    handshake_timeout: 100000\n");
}

static void tab(const struct world *world)
{
    world_configure(world->home, world, "security:\n    transport:\n\tnamespace: aico\n");
}

static void long_socket(const struct world *world)
{
    char more[300];

    (void)snprintf(more, sizeof(more), "broker:\n  endpoints: [\"ipc:///tmp/%0150d/bus.sock\"]\n",
                   0);
    write_text(world, "security.yaml", more);
}

static void writable_settings(const struct world *world)
{
    mode(world, "security.yaml", 0646);
}

static void own_slip(const struct world *world)
{
    write_text(world, OWN, "auto_reconect: true\n");
}

static void no_yaml(const struct world *world)
{
    write_text(world, OWN, "a: [1, 2\n{{{\n");
}

static void slip_of_another(const struct world *world)
{
    write_text(world, "config/bob.yaml", "auto_reconect: true\n");
}

static void setting_of_a_component(const struct world *world)
{
    write_text(world, "config/broker.yaml", "backend_address: 127.0.0.1:1\n");
}

static void key_elsewhere(const struct world *world)
{
    write_text(world, OWN, "identity_file: /nowhere/alice.key\n");
}

static void broker_elsewhere(const struct world *world)
{
    char text[256];

    (void)snprintf(text, sizeof(text), "backend_address: ipc://%s\n",
                   at_home(world, "run/other.sock"));
    write_text(world, OWN, text);
}

static void use_psk(const struct world *world)
{
    char more[256];

    (void)snprintf(more, sizeof(more), "security:\n  transport:\n    psk_file: %s\n",
                   at_home(world, "psk"));
    world_configure(world->home, world, more);
    write_text(world, "psk", "0000000000000000000000000000000000000000000000000000000000000007\n");
}

static void readable_psk(const struct world *world)
{
    use_psk(world);
    mode(world, "psk", 0644);
}

static void linked_psk(const struct world *world)
{
    use_psk(world);
    assert_int_equal(rename(at_home(world, "psk"), at_home(world, "psk.there")), 0);
    assert_int_equal(symlink("psk.there", at_home(world, "psk")), 0);
}

static void settings(void **state)
{
    static const struct fault faults[] = {
        {"a slip in a key", slip, "config", AICO_ECONFIG, "sesion_timeout"},
        {"a slip in a word", word, "config", AICO_ECONFIG, "security_level"},
        {"out of range", range, "config", AICO_ECONFIG, "handshake_timeout"},
        {"a tab", tab, "config", AICO_ECONFIG, "a tab"},
        {"a path too long for a socket", long_socket, "config", AICO_ECONFIG, "socket path has"},
        {"everybody may change it", writable_settings, "config", AICO_ECONFIG, "may change it"},
        {"a slip in our file", own_slip, "config", AICO_ECONFIG, OWN},
        {"no YAML at all", no_yaml, "config", AICO_ECONFIG, "not valid YAML"},
        {"a slip in another's file", slip_of_another, "config", AICO_ECONFIG, "bob.yaml"},
        {"not for a broker", setting_of_a_component, "config", AICO_ECONFIG, "broker.yaml"},
        {"the key is elsewhere", key_elsewhere, "keys", AICO_EUNKNOWN, "identity_file"},
        {"the broker is elsewhere", broker_elsewhere, "broker", AICO_EUNREACHABLE,
         "backend_address of alice"},
        {"a psk others read", readable_psk, "config", AICO_EMODE, "psk_file"},
        {"a psk that is a link", linked_psk, "config", AICO_ESYMLINK, "psk_file"},
    };

    try_all(*state, faults, sizeof(faults) / sizeof(faults[0]));
}

static void a_psk_that_is_not_there_has_no_repair(void **state)
{
    use_psk(*state);
    assert_int_equal(unlink(at_home(*state, "psk")), 0);
    assert_true(examine(*state, NULL) < 0);
    assert_string_equal(expect_finding("config", AICO_ENOTFOUND, "psk_file")->repair, "");
    whole_settings(*state);
}

/* One mistake is told once, whoever reads the file. */
static void a_mistake_for_all_is_told_once(void **state)
{
    const struct finding *first;

    slip(*state);
    slip_of_another(*state);
    assert_int_equal(examine(*state, NULL), AICO_ECONFIG);
    first = expect_finding("config", AICO_ECONFIG, "sesion_timeout");
    assert_ptr_equal(expect_finding("config", AICO_ECONFIG, "bob.yaml"), first + 1);
    whole_settings(*state);
}

/* --- the registry ----------------------------------------------------------------------------- */

static void registry_gone(const struct world *world)
{
    assert_int_equal(unlink(at_home(world, "registry")), 0);
}

static void registry_changed(const struct world *world)
{
    spoil_file(at_home(world, "registry"));
}

static void registry_nonsense(const struct world *world)
{
    write_text(world, "registry", "nonsense\n");
}

static void registry_put_back(const struct world *world)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(world->registry, bytes_text("aico"));

    sign_registry(world, draft, 1);
    assert_int_equal(rename(at_home(world, "registry"), at_home(world, COPY)), 0);
    world_write(world->home, "registry", registry_document(world->registry));
}

static void copy_changed(const struct world *world)
{
    spoil_file(at_home(world, COPY));
}

static void generation_nonsense(const struct world *world)
{
    write_text(world, "state/alice/generation", "nonsense\n");
}

static void another_namespace(const struct world *world)
{
    (void)unlink(at_home(world, COPY));
    world_configure(world->home, world, "security:\n  transport:\n    namespace: robots\n");
}

static void registries(void **state)
{
    static const struct fault faults[] = {
        {"missing", registry_gone, "registry", AICO_ENOTFOUND, "the registry is missing"},
        {"changed", registry_changed, "registry", AICO_EREGISTRYSIGNATURE, "/registry"},
        {"something else", registry_nonsense, "registry", AICO_EREGISTRY, "/registry"},
        {"an older one", registry_put_back, "registry", AICO_EREGISTRYOLD, "is older than 2"},
        {"a spoilt copy", copy_changed, "registry", AICO_EREGISTRYSIGNATURE, COPY},
        {"a spoilt number", generation_nonsense, "registry", AICO_ESTATE, "generation"},
        {"another namespace", another_namespace, "registry", AICO_ENAMESPACE, "say robots"},
    };

    try_all(*state, faults, sizeof(faults) / sizeof(faults[0]));
}

/* --- state ------------------------------------------------------------------------------------ */

static void store_garbage(const struct world *world)
{
    write_text(world, "state/broker/messages.db", "no database, however long one reads in it\n");
}

static void sessions_garbage(const struct world *world)
{
    write_text(world, "state/alice/sessions.db", "no database, however long one reads in it\n");
}

static void audit_changed(const struct world *world)
{
    spoil_file(at_home(world, "log/audit"));
}

static void state_files(void **state)
{
    static const struct fault faults[] = {
        {"the store", store_garbage, "state", AICO_ESTOREDAMAGED, "messages.db"},
        {"the ratchets", sessions_garbage, "state", AICO_EKEPTDAMAGED, "sessions.db"},
        {"the audit log", audit_changed, "state", AICO_EAUDIT, "was changed"},
    };

    (void)examine(*state, NULL);
    assert_int_equal(expect_finding("state", 0, "log/audit")->level, AICO_FINDING_OK);
    try_all(*state, faults, sizeof(faults) / sizeof(faults[0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(modes_and_kinds, set_up, world_free),
        cmocka_unit_test_setup_teardown(files_of_another_user, set_up, world_free),
        cmocka_unit_test_setup_teardown(a_home_that_is_none, set_up, world_free),
        cmocka_unit_test_setup_teardown(settings, set_up, world_free),
        cmocka_unit_test_setup_teardown(a_psk_that_is_not_there_has_no_repair, set_up, world_free),
        cmocka_unit_test_setup_teardown(a_mistake_for_all_is_told_once, set_up, world_free),
        cmocka_unit_test_setup_teardown(registries, set_up, world_free),
        cmocka_unit_test_setup_teardown(state_files, set_up, world_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
