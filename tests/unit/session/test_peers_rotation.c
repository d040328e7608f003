/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A component's key is rotated while its process runs on with the former one: both are met until
 * the overlap ends, and not a moment longer.
 */
#include "peers_net.h"

enum { BACKEND, CLI, RENEWED };

#define UNTIL_MS (START_MS + 60000)

static struct net net;

static void rules(struct registry_draft *draft)
{
    draft_rule(draft, "logs/**", "*", "*", SEAL_GROUP, AUTHENTICITY_SENDER);
    draft_rule(draft, "ask/**", "*", "*", SEAL_CHANNEL, AUTHENTICITY_SENDER);
}

static struct sessions *at(int node)
{
    return net.nodes[node].sessions;
}

static struct moment now_at(int node)
{
    return net_moment(&net, &net.nodes[node]);
}

/* Two components; the broker says who somebody is by the key it is connected with. */
static void begin(void)
{
    static const char *const names[] = {"backend", "cli"};

    net_open(&net, names, 2, rules);
    net.stamps_identity = true;
}

/* BACKEND's next key is RENEWED's, whose process does not run yet. */
static void rotate(void)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(net.registry, bytes_of(NULL, 0));
    const struct secret seed = {{99}};
    struct node *node = &net.nodes[RENEWED];

    net.count = RENEWED + 1;
    node->name = "backend";
    node->settings = net.nodes[BACKEND].settings;
    node->dice.state = 99;
    assert_int_equal(identity_new("backend", &seed, 0, &node->identity), 0);
    assert_int_equal(
        registry_draft_rotate(draft, net.nodes[BACKEND].identity, node->identity, 1, UNTIL_MS), 0);
    net_set_registry(&net, registry_make(draft), 0);
}

static struct sessions_stats stats_of(int node)
{
    struct sessions_stats stats;

    sessions_get_stats(at(node), &stats);
    return stats;
}

static void say_and_hear(int from, int to, const char *text)
{
    size_t heard = count_notes(&net, to, SESSION_MESSAGE);

    assert_int_equal(net_say(&net, from, to, "ask/v1", DELIVERY_EVENT, NULL, text, NULL), 0);
    net_run(&net);
    assert_heard(&net, to, heard, text);
}

static void a_process_on_its_former_key_is_found_at_once(void **state UNUSED)
{
    begin();
    rotate();
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net); /* no time passes: its "not me" is enough */
    assert_int_equal(count_notes(&net, CLI, SESSION_READY), 1);
    say_and_hear(CLI, BACKEND, "to the former key");
    say_and_hear(BACKEND, CLI, "from the former key");
    net_close(&net);
}

static void who_was_met_with_a_key_is_dialled_by_that(void **state UNUSED)
{
    begin();
    rotate();
    sessions_peer_identity(at(CLI), now_at(CLI), bytes_text("backend"),
                           net.nodes[BACKEND].identity->public);
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_int_equal(count_notes(&net, CLI, SESSION_READY), 1);
    assert_int_equal(stats_of(BACKEND).refused_hellos, 0);
    net_close(&net);
}

static void marked_rules(struct registry_draft *draft)
{
    rules(draft);
    assert_int_equal(registry_draft_set_peer_aico(draft, "backend"), 0);
}

static void format_0_is_sealed_for_the_key_that_was_met(void **state UNUSED)
{
    static const char *const names[] = {"backend", "cli"};

    net_open(&net, names, 2, marked_rules);
    net.stamps_identity = true;
    say_and_hear(CLI, BACKEND, "before");
    rotate();
    sessions_peer_identity(at(CLI), now_at(CLI), bytes_text("backend"),
                           net.nodes[BACKEND].identity->public);
    say_and_hear(CLI, BACKEND, "to the former key");
    say_and_hear(BACKEND, CLI, "from the former key");
    net_close(&net);
}

static void what_stood_before_the_rotation_goes_on(void **state UNUSED)
{
    begin();
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    rotate();
    say_and_hear(CLI, BACKEND, "one");
    say_and_hear(BACKEND, CLI, "two");
    assert_int_equal(stats_of(CLI).handshakes, 1);
    net_close(&net);
}

static void a_late_reader_gets_the_keys_of_the_former_identity(void **state UNUSED)
{
    begin();
    net_stop_node(&net, CLI);
    rotate();
    net_start_node(&net, CLI);
    assert_int_equal(net_publish(&net, BACKEND, "logs/x", "from the former key"), 0);
    net_advance(&net, 1000);
    assert_heard(&net, CLI, 0, "from the former key");
    net_close(&net);
}

/* It stops, and another process goes on with the new key: nobody seals for the former one then. */
static void the_restarted_process_is_met_with_its_new_key(void **state UNUSED)
{
    begin();
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    rotate();
    assert_int_equal(net_publish(&net, BACKEND, "logs/x", "one"), 0);
    net_advance(&net, 1000);
    net.nodes[RENEWED].generation = net.nodes[BACKEND].generation;
    sessions_close(at(BACKEND), now_at(BACKEND));
    net_run(&net);
    net_stop_node(&net, BACKEND);
    net_start_node(&net, RENEWED);
    sessions_peer_identity(at(CLI), now_at(CLI), bytes_text("backend"),
                           net.nodes[RENEWED].identity->public);
    assert_false(sessions_has_channel(at(CLI), now_at(CLI), bytes_text("backend")));
    assert_int_equal(net_dial(&net, CLI, RENEWED), 0);
    net_run(&net);
    say_and_hear(CLI, RENEWED, "to the new key");
    assert_int_equal(stats_of(RENEWED).refused_hellos, 0);
    assert_int_equal(net_publish(&net, RENEWED, "logs/x", "two"), 0);
    net_advance(&net, 1000);
    assert_heard(&net, CLI, 0, "one");
    assert_heard(&net, CLI, 1, "two");
    assert_int_equal(count_notes(&net, CLI, SESSION_GAP), 0);
    net_close(&net);
}

/* Nobody has to be told: the clock is enough. */
static void at_the_end_of_the_overlap_the_former_key_is_out(void **state UNUSED)
{
    begin();
    rotate();
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_int_equal(net_publish(&net, CLI, "logs/x", "read by the former key"), 0);
    net_advance(&net, 1000);
    assert_heard(&net, BACKEND, 0, "read by the former key");
    net_advance(&net, UNTIL_MS - START_MS - net.now_ms);
    say_and_hear(CLI, BACKEND, "the last moment");
    net_advance(&net, 1);
    assert_int_equal(note_at(&net, CLI, SESSION_LOST, 0)->code, AICO_EREVOKED);
    assert_false(sessions_has_channel(at(CLI), now_at(CLI), bytes_text("backend")));
    net_forget_notes(&net);
    assert_int_equal(net_publish(&net, CLI, "logs/x", "not for it"), 0);
    net_advance(&net, 31000);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 0);
    assert_int_equal(net_publish(&net, BACKEND, "logs/x", "from nobody"), 0);
    net_advance(&net, 1000);
    assert_int_equal(count_notes(&net, CLI, SESSION_MESSAGE), 0);
    assert_int_equal(note_at(&net, CLI, SESSION_FAILED, 0)->code, AICO_EREVOKED);
    net_close(&net);
}

/* Whoever started only then has the same end before it. */
static void the_end_is_known_from_the_start(void **state UNUSED)
{
    begin();
    rotate();
    net_stop_node(&net, CLI);
    net_start_node(&net, CLI);
    sessions_tick(at(CLI), now_at(CLI));
    assert_true(sessions_deadline(at(CLI)) <= now_at(CLI).boot_ms + 60001);
    net_close(&net);
}

/* Anybody can say "not me" in the broker's way: it costs one Hello1 an attempt, no more. */
static bool refuse_all(struct net *n, struct parcel *parcel, void *context)
{
    uint8_t bytes[REFUSE_SIZE], about[HASH_SIZE];

    if (parcel->from != CLI || parcel->bytes.size != HELLO1_SIZE)
        return true;
    ++*(int *)context;
    hash_n(buffer_view(&parcel->bytes), about, sizeof(about));
    refuse_write(AICO_ETARGET, now_at(CLI), about, bytes);
    net_post(n, BACKEND, CLI, DELIVERY_CONTROL, bytes_text(SESSION_TOPIC_CONTROL), NULL,
             bytes_of(bytes, sizeof(bytes)));
    return false;
}

static void a_forged_not_me_costs_one_hello_an_attempt(void **state UNUSED)
{
    int hellos = 0;

    begin();
    rotate();
    net.pass = refuse_all;
    net.pass_context = &hellos;
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_int_equal(hellos, 2);
    net.pass = NULL;
    net_advance(&net, 30000);
    assert_int_equal(count_notes(&net, CLI, SESSION_READY), 1);
    net_close(&net);
}

static void an_unknown_or_foreign_key_of_a_name_changes_nothing(void **state UNUSED)
{
    const uint8_t unknown[SIGN_PUBLIC_SIZE] = {1};

    begin();
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    sessions_peer_identity(at(CLI), now_at(CLI), bytes_text("backend"), unknown);
    sessions_peer_identity(at(CLI), now_at(CLI), bytes_text("backend"),
                           net.nodes[CLI].identity->public);
    sessions_peer_identity(at(CLI), now_at(CLI), bytes_text("nobody"), unknown);
    say_and_hear(CLI, BACKEND, "as before");
    net_close(&net);
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_process_on_its_former_key_is_found_at_once),
        TEST(who_was_met_with_a_key_is_dialled_by_that),
        TEST(what_stood_before_the_rotation_goes_on),
        TEST(format_0_is_sealed_for_the_key_that_was_met),
        TEST(a_late_reader_gets_the_keys_of_the_former_identity),
        TEST(the_restarted_process_is_met_with_its_new_key),
        TEST(at_the_end_of_the_overlap_the_former_key_is_out),
        TEST(the_end_is_known_from_the_start),
        TEST(a_forged_not_me_costs_one_hello_an_attempt),
        TEST(an_unknown_or_foreign_key_of_a_name_changes_nothing),
    };

    assert_int_equal(crypto_start(), 0);
    return cmocka_run_group_tests_name("session/peers_rotation", tests, NULL, NULL);
}
