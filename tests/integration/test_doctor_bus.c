/* SPDX-License-Identifier: Apache-2.0 */
/* What the doctor says of keys, registries, rules, limits and brokers that no line for sh repairs.
 */
#include "findings.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "store/home.h"

#define KEY "identities/alice.key"

/* The broker runs. */
static int set_up(void **state)
{
    (void)unsetenv("AICO_IDENTITY");
    return world_new(state);
}

static int set_up_without_broker(void **state)
{
    if (set_up(state) < 0)
        return -1;
    world_stop(*state, true);
    return 0;
}

static struct registry_draft *draft_of(const struct world *world)
{
    struct registry_draft *draft = registry_draft_new(world->registry, bytes_text("aico"));

    assert_non_null(draft);
    return draft;
}

static void new_key(const struct world *world, const char *path, const char *name,
                    const struct secret *seed)
{
    struct aico_error err = {0};

    (void)unlink(at_home(world, path));
    if (keyfile_create(at_home(world, path), name, seed, bytes_of("", 0), &err) < 0)
        fail_msg("%s", err.text);
}

/* The home is the one where the owner works. */
static void owner_moves_in(const struct world *world)
{
    new_key(world, "owner.key", names[OWNER], &world->seeds[OWNER]);
}

/* An error that only the owner can repair; what he types has @text in it. */
static void expect_owners(const char *check, int code, const char *subject, const char *text,
                          bool is_elsewhere)
{
    const struct finding *f = expect_finding(check, code, subject);

    assert_int_equal(f->level, AICO_FINDING_ERROR);
    assert_int_equal(f->for_owner, is_elsewhere);
    if (!strstr(f->repair, text))
        fail_msg("'%s' is not in '%s'", text, f->repair);
}

/* --- a bus that works ------------------------------------------------------------------------- */

static void a_bus_that_works(void **state)
{
    struct aico_client *alice;

    assert_int_equal(examine(*state, NULL), 0);
    assert_int_equal(expect_finding("broker", 0, "answers alice")->level, AICO_FINDING_OK);
    (void)expect_finding("registry", 0, "version 1, 4 components");
    (void)expect_finding("keys", 0, "alice.key");
    (void)expect_finding("config", 0, "security.yaml");
    (void)expect_finding("home", 0, "closed to others");
    assert_int_equal(examine(*state, &(struct aico_doctor_options){.identity = NULL}), 0);
    (void)expect_finding("broker", 0, "has the key that the registry names");
    assert_int_equal(setenv("AICO_IDENTITY", "bob", 1), 0);
    assert_int_equal(examine(*state, &(struct aico_doctor_options){.identity = NULL}), 0);
    (void)expect_finding("broker", 0, "answers bob");
    assert_int_equal(unsetenv("AICO_IDENTITY"), 0);

    alice = join(*state, ALICE);
    assert_int_equal(examine(*state, NULL), 0);
    assert_int_equal(expect_finding("broker", AICO_EDUPLICATE, "alice")->level, AICO_FINDING_NOTE);
    leave(&alice);
    assert_int_equal(examine(*state, &(struct aico_doctor_options){.identity = "no name"}),
                     AICO_EINVAL);
}

static void levels_have_names(void **state)
{
    (void)state;
    assert_string_equal(aico_finding_level_name(AICO_FINDING_OK), "ok");
    assert_string_equal(aico_finding_level_name(AICO_FINDING_ERROR), "error");
    assert_string_equal(aico_finding_level_name((enum aico_finding_level)4), "unknown");
}

/* --- keys ------------------------------------------------------------------------------------- */

static void a_key_that_is_lost(void **state)
{
    struct world *world = *state;

    assert_int_equal(unlink(at_home(world, KEY)), 0);
    assert_true(examine(world, NULL) < 0);
    expect_owners("keys", AICO_EUNKNOWN, "no such key file",
                  "revoke alice --reason 'key lost' && aico-keytool new alice --role tester "
                  "--role admin",
                  true);
    owner_moves_in(world);
    assert_true(examine(world, NULL) < 0);
    expect_owners("keys", AICO_EUNKNOWN, "no such key file", "' new alice --role tester", false);
    write_text(world, KEY, "");
    assert_true(examine(world, NULL) < 0);
    expect_owners("keys", AICO_EKEYFILE, KEY, "alice.key'.unusable && aico-keytool", false);
    world_revoke(world, ALICE); /* nothing has to be revoked any more */
    assert_true(examine(world, NULL) < 0);
    expect_owners("keys", AICO_EKEYFILE, KEY, "alice.key'.unusable && aico-keytool", false);
    assert_null(strstr(expect_finding("keys", AICO_EKEYFILE, KEY)->repair, "revoke"));
    assert_int_equal(unlink(at_home(world, KEY)), 0);
    assert_true(examine(world, NULL) < 0);
    assert_null(strstr(expect_finding("keys", AICO_EUNKNOWN, KEY)->repair, "revoke"));
}

static void a_copy_beside_it_is_put_back(void **state)
{
    struct world *world = *state;
    const struct finding *f;

    assert_int_equal(rename(at_home(world, KEY), at_home(world, KEY ".saved")), 0);
    copy_file(world, "identities/bob.key", KEY ".other"); /* no copy of it */
    write_text(world, KEY ".empty", "");
    assert_true(examine(world, NULL) < 0);
    f = expect_finding("keys", AICO_EUNKNOWN, "no such key file");
    assert_non_null(strstr(f->repair, "cp -p "));
    assert_non_null(strstr(f->repair, "alice.key.saved' "));
}

static void a_key_of_somebody_else(void **state)
{
    static const struct secret another = {{99}};
    struct world *world = *state;

    new_key(world, KEY, names[BOB], &world->seeds[BOB]);
    assert_true(examine(world, NULL) < 0);
    (void)expect_finding("keys", AICO_EKEYFILEMISMATCH, "holds the key of another component");
    new_key(world, KEY, names[ALICE], &another);
    assert_true(examine(world, NULL) < 0);
    (void)expect_finding("keys", AICO_EKEYFILEMISMATCH, "another key than the one");
}

static void a_key_that_is_not_registered(void **state)
{
    struct world *world = *state;

    assert_true(examine_as(world, DAVE) < 0);
    expect_owners("keys", AICO_EUNKNOWN, "dave.key", "aico-keytool add dave.public", true);
    owner_moves_in(world);
    assert_true(examine_as(world, DAVE) < 0);
    expect_owners("keys", AICO_EUNKNOWN, "dave.key", "public dave >", false);
}

static void a_key_that_is_in_force_no_more(void **state)
{
    static const struct secret renewed_seed = {{77}};
    struct world *world = *state;
    CLEANUP(identity_free)
    struct identity *renewed = NULL;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = draft_of(world);
    int64_t now_ms = moment_now().real_ms;

    assert_int_equal(identity_new(names[ALICE], &renewed_seed, 0, &renewed), 0);
    assert_int_equal(
        registry_draft_rotate(draft, world->identities[ALICE], renewed, 1, now_ms + 3600000), 0);
    sign_registry(world, draft, now_ms);
    (void)examine(world, NULL);
    assert_int_equal(expect_finding("keys", AICO_EREVOKED, "was replaced and is valid")->level,
                     AICO_FINDING_WARNING);
    registry_draft_free(&draft);
    draft = draft_of(world);
    assert_int_equal(registry_draft_rotate(draft, world->identities[ALICE], renewed, 1, 2), 0);
    (void)unlink(at_home(world, "state/alice/registry"));
    sign_registry(world, draft, now_ms);
    assert_true(examine(world, NULL) < 0);
    (void)expect_finding("keys", AICO_EREVOKED, "before a rotation");
}

static void a_revoked_key(void **state)
{
    world_revoke(*state, ALICE);
    assert_true(examine(*state, NULL) < 0);
    expect_owners("keys", AICO_EREVOKED, "owner has revoked", "aico-keytool new alice --role",
                  true);
}

static void a_transport_key_of_before(void **state)
{
    struct world *world = *state;
    CLEANUP(identity_free)
    struct identity *renewed = NULL;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = draft_of(world);

    assert_int_equal(identity_new(names[ALICE], &world->seeds[ALICE], 1, &renewed), 0);
    assert_int_equal(registry_draft_set_transport(draft, renewed), 0);
    sign_registry(world, draft, moment_now().real_ms);
    assert_true(examine(world, NULL) < 0);
    expect_owners("keys", AICO_EKEYFILEMISMATCH, "transport key", "rotate alice --transport", true);
}

static void a_key_that_needs_a_passphrase(void **state)
{
    struct world *world = *state;
    struct aico_error err = {0};

    assert_int_equal(unlink(at_home(world, KEY)), 0);
    assert_int_equal(keyfile_create(at_home(world, KEY), names[ALICE], &world->seeds[ALICE],
                                    bytes_text("no rule of the road"), &err),
                     0);
    assert_true(examine(world, NULL) < 0);
    assert_string_equal(expect_finding("keys", AICO_EPASSPHRASE, "--passphrase-file")->repair, "");
}

static void the_keys_of_owner_and_broker(void **state)
{
    static const struct secret another = {{98}};
    struct world *world = *state;

    owner_moves_in(world);
    (void)examine(world, NULL);
    assert_int_equal(expect_finding("keys", 0, "not protected by a passphrase")->level,
                     AICO_FINDING_NOTE);
    assert_int_equal(unlink(at_home(world, "broker.key")), 0);
    (void)examine(world, NULL);
    assert_string_equal(expect_finding("keys", AICO_EUNKNOWN, "broker.key")->repair, "");
    new_key(world, "owner.key", names[OWNER], &another);
    (void)examine(world, NULL);
    assert_int_equal(expect_finding("keys", AICO_EKEYFILEMISMATCH, "who signed")->level,
                     AICO_FINDING_WARNING);
    write_text(world, "owner.key", "nonsense\n");
    (void)examine(world, NULL);
    (void)expect_finding("keys", AICO_EKEYFILE, "owner.key");
}

/* --- the registry ----------------------------------------------------------------------------- */

static void an_owner_nobody_knows(void **state)
{
    struct world *world = *state;

    spoil_file(at_home(world, "owner.public"));
    assert_true(examine(world, NULL) < 0);
    assert_true(expect_finding("registry", AICO_ESIGNATURE, "does not read")->for_owner);
    assert_int_equal(unlink(at_home(world, "owner.public")), 0);
    assert_true(examine(world, NULL) < 0);
    expect_owners("registry", AICO_ENOTFOUND, "owner.public", "public owner >owner.public", true);
    owner_moves_in(world);
    assert_true(examine(world, NULL) < 0);
    expect_owners("registry", AICO_ENOTFOUND, "owner.public", "owner.public'", false);
}

/* Nothing of the registry is known; the broker is asked nothing, only looked for. */
static void a_registry_to_be_had_from_the_owner(void **state)
{
    assert_int_equal(unlink(at_home(*state, "registry")), 0);
    assert_int_equal(unlink(at_home(*state, "state/broker/registry")), 0);
    assert_int_equal(examine(*state, NULL), AICO_ENOTFOUND);
    assert_string_equal(expect_finding("registry", AICO_ENOTFOUND, "from the owner")->repair, "");
    (void)expect_finding("broker", AICO_EUNREACHABLE, "no broker of this home is running");
}

static void two_registries_of_one_version(void **state)
{
    struct world *world = *state;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = draft_of(world);
    int64_t now_ms = moment_now().real_ms;

    assert_int_equal(mkdir(at_home(world, "state/alice"), 0700), 0);
    sign_registry(world, draft, now_ms);
    copy_file(world, "registry", "state/alice/registry");
    sign_registry(world, draft, now_ms - 1000);
    assert_true(examine(world, NULL) < 0);
    assert_non_null(
        strstr(expect_finding("registry", AICO_EEQUIVOCATION, "/registry")->repair, "cp "));
}

static void a_registry_of_another_time(void **state)
{
    struct world *world = *state;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = draft_of(world);
    int64_t now_ms = moment_now().real_ms;

    world_configure(world->home, world, "security:\n  transport:\n    registry_max_age: 86400\n");
    sign_registry(world, draft, now_ms + 3600000);
    assert_true(examine(world, NULL) < 0);
    assert_non_null(
        strstr(expect_finding("clock", AICO_ECLOCK, "from now")->repair, "timedatectl"));
    (void)unlink(at_home(world, "state/alice/registry"));
    sign_registry(world, draft, now_ms - 80000000); /* nearly a day */
    (void)examine(world, NULL);
    assert_int_equal(expect_finding("registry", AICO_EREGISTRYSTALE, "registry_max_age")->level,
                     AICO_FINDING_WARNING);
    (void)unlink(at_home(world, "state/alice/registry"));
    sign_registry(world, draft, now_ms - 90000000); /* more than one */
    (void)examine(world, NULL);
    expect_owners("registry", AICO_EREGISTRYSTALE, "registry_max_age", "renew", true);
}

/* --- rules and limits ---------------------------------------------------------------------------
 */

static void rules_that_keep_it_from_what_it_wants(void **state)
{
    struct world *world = *state;
    const char *const publish[] = {"logs/x", "private/x", "robots/hello", "a//b"};
    const char *const subscribe[] = {"logs/**", "private/**", "robots/**", "a//b"};
    const struct aico_doctor_options options = {.identity = "carol",
                                                .publish = publish,
                                                .publish_count = 4,
                                                .subscribe = subscribe,
                                                .subscribe_count = 4};

    assert_true(examine(world, &options) < 0);
    (void)expect_finding("rules", 0, "carol may publish: rule logs/**");
    (void)expect_finding("rules", 0, "carol may subscribe: rule logs/**");
    expect_owners("rules", AICO_EDENIED, "private/x",
                  "rule set 'private/**' --publish 'alice,carol' --subscribe 'bob' --seal group "
                  "--authenticity sender",
                  true);
    expect_owners("rules", AICO_EDENIED, "carol may not subscribe",
                  "--publish 'alice' --subscribe 'bob,carol'", true);
    expect_owners("rules", AICO_EDENIED, "nobody may publish",
                  "rule set 'robots/hello' --publish carol --subscribe carol", true);
    (void)expect_finding("rules", AICO_EDENIED, "nobody may subscribe");
    (void)expect_finding("rules", AICO_ETOPIC, "a//b");
}

static void clear_text_where_settings_forbid_it(void **state)
{
    struct world *world = *state;
    const struct finding *f;

    world_set_rule(world, "clear/**", "*", "@tester", SEAL_NONE);
    (void)examine(world, NULL);
    f = expect_finding("rules", AICO_EPOLICY, "clear/**");
    assert_int_equal(f->level, AICO_FINDING_WARNING);
    assert_non_null(strstr(f->repair, "--subscribe '@tester' --seal group"));
    world_configure(world->home, world, "security:\n  transport:\n    security_level: standard\n");
    (void)examine(world, NULL);
    assert_false(is_found("rules", AICO_EPOLICY, "clear/**"));
}

static void limit_descriptors(rlim_t count, struct rlimit *ret_before)
{
    struct rlimit few;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, ret_before), 0);
    few = *ret_before;
    few.rlim_cur = count;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
}

static void a_broker_with_too_few_descriptors(void **state)
{
    struct rlimit before;

    limit_descriptors(500, &before); /* the broker is this process */
    assert_int_equal(examine(*state, NULL), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(expect_finding("limits", AICO_ELIMIT, "may open 500 files")->level,
                     AICO_FINDING_NOTE);
}

/* Without a registry nobody is asked, which would take some. */
static void too_few_descriptors(void **state)
{
    struct rlimit before;

    assert_int_equal(unlink(at_home(*state, "registry")), 0);
    limit_descriptors(60, &before);
    (void)examine(*state, NULL);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_string_equal(expect_finding("limits", AICO_ELIMIT, "we may open 60")->repair,
                        "ulimit -Sn 1024");
}

/* --- brokers ---------------------------------------------------------------------------------- */

static void a_broker_that_does_not_run(void **state)
{
    struct world *world = *state;
    struct aico_doctor_options options = {.identity = "alice"};
    const struct finding *f;

    assert_int_equal(examine(world, NULL), AICO_EUNREACHABLE);
    f = expect_finding("broker", AICO_EUNREACHABLE, "bus.sock");
    assert_non_null(strstr(f->repair, "setsid -f aico-broker --home '/tmp/"));
    assert_null(strstr(f->repair, "kill"));

    options.config = at_home(world, "security.yaml");
    assert_int_equal(examine(world, &options), AICO_EUNREACHABLE);
    f = expect_finding("broker", AICO_EUNREACHABLE, "bus.sock");
    assert_non_null(strstr(f->repair, "--config '/tmp/"));

    options = (struct aico_doctor_options){.identity = "alice"};
    options.broker = "ipc:///tmp/aico-there-is-none.sock";
    assert_int_equal(examine(world, &options), AICO_EUNREACHABLE);
    assert_string_equal(expect_finding("broker", AICO_EUNREACHABLE, "none.sock")->repair, "");
}

static void the_broker_of_another_bus(void **state)
{
    struct world *world = *state;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = NULL;
    char home[80];
    struct aico_doctor_options options = {.identity = "alice", .home = home};
    CLEANUP(buffer_deinit)
    struct buffer document = {0};

    world_copy_home(world, "copy", home);
    assert_int_equal(unlink(at_home(world, "copy/broker.key")), 0);
    draft = draft_of(world);
    assert_int_equal(registry_draft_set_state(draft, names[BROKER], COMPONENT_RETIRED), 0);
    assert_int_equal(registry_draft_sign(draft, &world->seeds[OWNER], 1, &document), 0);
    world_write(home, "registry", buffer_view(&document));
    assert_int_equal(examine(world, &options), AICO_EBROKERKEY);
    (void)expect_finding("broker", AICO_EBROKERKEY, "names no active component");

    document.size = 0;
    assert_int_equal(
        registry_draft_add(draft,
                           &(struct component_line){names[DAVE], world->identities[DAVE]->public,
                                                    world->identities[DAVE]->transport_public,
                                                    "broker", 1}),
        0);
    assert_int_equal(registry_draft_sign(draft, &world->seeds[OWNER], 2, &document), 0);
    world_write(home, "registry", buffer_view(&document));
    (void)unlink(at_home(world, "copy/state/alice/registry"));
    assert_int_equal(examine(world, &options), AICO_EBROKERKEY);
    assert_string_equal(expect_finding("broker", AICO_EBROKERKEY, "bus.sock")->repair, "");
}

/* A socket that takes connections and never says a word. */
static void something_else_in_its_place(void **state)
{
    struct world *world = *state;
    CLEANUP(fd_close)
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct aico_doctor_options options = {.identity = "alice"};
    int r;

    (void)unlink(at_home(world, "run/bus.sock"));
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s",
                   at_home(world, "run/bus.sock"));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 8), 0);
    r = examine(world, &options);
    if (r != AICO_ENOTBROKER && r != AICO_ETIMEOUT)
        fail_msg("%s", aico_error_name(r));
    assert_string_equal(expect_finding("broker", r, "bus.sock")->repair, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_bus_that_works, set_up, world_free),
        cmocka_unit_test(levels_have_names),
        cmocka_unit_test_setup_teardown(a_key_that_is_lost, set_up_without_broker, world_free),
        cmocka_unit_test_setup_teardown(a_copy_beside_it_is_put_back, set_up_without_broker,
                                        world_free),
        cmocka_unit_test_setup_teardown(a_key_of_somebody_else, set_up_without_broker, world_free),
        cmocka_unit_test_setup_teardown(a_key_that_is_not_registered, set_up_without_broker,
                                        world_free),
        cmocka_unit_test_setup_teardown(a_key_that_is_in_force_no_more, set_up_without_broker,
                                        world_free),
        cmocka_unit_test_setup_teardown(a_revoked_key, set_up_without_broker, world_free),
        cmocka_unit_test_setup_teardown(a_transport_key_of_before, set_up_without_broker,
                                        world_free),
        cmocka_unit_test_setup_teardown(a_key_that_needs_a_passphrase, set_up_without_broker,
                                        world_free),
        cmocka_unit_test_setup_teardown(the_keys_of_owner_and_broker, set_up_without_broker,
                                        world_free),
        cmocka_unit_test_setup_teardown(an_owner_nobody_knows, set_up_without_broker, world_free),
        cmocka_unit_test_setup_teardown(a_registry_to_be_had_from_the_owner, set_up_without_broker,
                                        world_free),
        cmocka_unit_test_setup_teardown(two_registries_of_one_version, set_up_without_broker,
                                        world_free),
        cmocka_unit_test_setup_teardown(a_registry_of_another_time, set_up_without_broker,
                                        world_free),
        cmocka_unit_test_setup_teardown(rules_that_keep_it_from_what_it_wants,
                                        set_up_without_broker, world_free),
        cmocka_unit_test_setup_teardown(clear_text_where_settings_forbid_it, set_up_without_broker,
                                        world_free),
        cmocka_unit_test_setup_teardown(a_broker_with_too_few_descriptors, set_up, world_free),
        cmocka_unit_test_setup_teardown(too_few_descriptors, set_up_without_broker, world_free),
        cmocka_unit_test_setup_teardown(a_broker_that_does_not_run, set_up_without_broker,
                                        world_free),
        cmocka_unit_test_setup_teardown(the_broker_of_another_bus, set_up, world_free),
        cmocka_unit_test_setup_teardown(something_else_in_its_place, set_up_without_broker,
                                        world_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
