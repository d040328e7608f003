/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings of time that no test could wait for on a real clock: one of them is changed at both ends
 * and nothing else, and what was so by default is otherwise.
 */
#include "peers_net.h"

#include "envelope/envelope.h"
#include "session/peers_internal.h"

enum { BACKEND, CLI, EVERYBODY };
static const char *const names[] = {"backend", "cli"};

#define LOGS "logs/app/v1"
#define TALK "talk/v1"

static struct net net;

static void rules(struct registry_draft *draft)
{
    draft_rule(draft, "logs/**", "cli", "backend", SEAL_GROUP, AUTHENTICITY_SENDER);
    draft_rule(draft, "talk/**", "*", "*", SEAL_CHANNEL, AUTHENTICITY_SENDER);
}

static int open_net(void **state)
{
    (void)state;
    net_open(&net, names, EVERYBODY, rules);
    return 0;
}

static int close_net(void **state)
{
    (void)state;
    net_close(&net);
    return 0;
}

/* At both ends, which start anew. */
#define SET(field, value)                                                                          \
    do {                                                                                           \
        for (int at_ = 0; at_ < EVERYBODY; at_++) {                                                \
            net_stop_node(&net, at_);                                                              \
            net.nodes[at_].settings.field = (value);                                               \
            net_start_node(&net, at_);                                                             \
        }                                                                                          \
        net_forget_notes(&net);                                                                    \
    } while (0)

static bool has_channel(void)
{
    return sessions_has_channel(net.nodes[CLI].sessions, net_moment(&net, &net.nodes[CLI]),
                                bytes_text("backend"));
}

static void session_timeout_ends_an_idle_channel(void **state UNUSED)
{
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_advance(&net, 120 * 1000);
    assert_true(has_channel());
    SET(session_timeout_ms, 60 * 1000);
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_advance(&net, 120 * 1000);
    assert_false(has_channel());
}

/* One word a second for so long keeps a channel; returns how often one became ready at CLI. */
static size_t handshakes_in(int seconds)
{
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    for (int i = 0; i < seconds; i++) {
        net_advance(&net, 1000);
        assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "x", NULL), 0);
    }
    return count_notes(&net, CLI, SESSION_READY);
}

static void key_rotation_interval_makes_new_keys(void **state UNUSED)
{
    assert_int_equal(handshakes_in(150), 1);
    SET(key_rotation_interval_ms, 60 * 1000);
    assert_true(handshakes_in(150) >= 3);
}

static void synchrony_bound_is_how_far_clocks_may_differ(void **state UNUSED)
{
    net.nodes[CLI].skew_ms = 10 * 1000;
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_true(has_channel());
    SET(synchrony_bound_ms, 5 * 1000);
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_false(has_channel());
}

/* The epoch in the envelope that the broker saw last. */
static uint32_t last_epoch;
static bool look_at_epoch(struct net *n, struct parcel *parcel, void *context)
{
    struct envelope envelope;

    (void)n, (void)context;
    if (strcmp(parcel->topic, LOGS) == 0 &&
        envelope_parse(buffer_view(&parcel->bytes), &envelope) == 0)
        last_epoch = envelope.epoch;
    return true;
}

/* By how much the epoch rises in ten seconds with a message each. */
static uint32_t epochs_in_ten_seconds(void)
{
    uint32_t first;

    net_prepare(&net, CLI, LOGS);
    net.pass = look_at_epoch;
    assert_int_equal(net_publish(&net, CLI, LOGS, "x"), 0);
    net_run(&net);
    first = last_epoch;
    for (int i = 0; i < 10; i++) {
        net_advance(&net, 1000);
        assert_int_equal(net_publish(&net, CLI, LOGS, "x"), 0);
        net_run(&net);
    }
    return last_epoch - first;
}

static void group_epoch_steps_the_keys_of_a_group(void **state UNUSED)
{
    assert_int_equal(epochs_in_ten_seconds(), 0);
    SET(group_epoch_ms, 2000);
    assert_true(epochs_in_ten_seconds() >= 3);
}

static bool drop_everything(struct net *n, struct parcel *parcel, void *context)
{
    (void)n, (void)parcel, (void)context;
    return false;
}

static void handshake_timeout_ends_an_attempt(void **state UNUSED)
{
    net.pass = drop_everything;
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_advance(&net, 20 * 1000);
    assert_int_equal(count_notes(&net, CLI, SESSION_LOST), 0);
    SET(handshake_timeout_ms, 1000);
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_advance(&net, 20 * 1000);
    assert_int_equal(note_at(&net, CLI, SESSION_LOST, 0)->code, AICO_ETIMEOUT);
}

static void keepalive_interval_finds_a_silent_peer(void **state UNUSED)
{
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    net.pass = drop_everything;
    net_advance(&net, 20 * 1000);
    assert_true(has_channel());
    net.pass = NULL;
    SET(keepalive_interval_ms, 2000);
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    net.pass = drop_everything;
    net_advance(&net, 20 * 1000);
    assert_int_equal(note_at(&net, CLI, SESSION_NOTICE, 0)->code, AICO_EPEERSILENT);
}

static void require_fresh_handshake_false_keeps_channels_over_links(void **state UNUSED)
{
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    sessions_link_lost(net.nodes[CLI].sessions, net_moment(&net, &net.nodes[CLI]));
    assert_false(has_channel());
    SET(fresh_handshake, false);
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    sessions_link_lost(net.nodes[CLI].sessions, net_moment(&net, &net.nodes[CLI]));
    assert_true(has_channel());
}

/* Of the group envelope that the broker saw last. */
static struct {
    uint8_t trailer;
    bool padded;
} last_group;
static bool look_at_group(struct net *n, struct parcel *parcel, void *context)
{
    struct envelope envelope;

    (void)n, (void)context;
    if (strcmp(parcel->topic, LOGS) == 0 &&
        envelope_parse(buffer_view(&parcel->bytes), &envelope) == 0) {
        last_group.trailer = envelope.trailer_kind;
        last_group.padded = envelope.padded;
    }
    return true;
}

static void publish_one(void)
{
    net.pass = look_at_group;
    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "x"), 0);
    net_run(&net);
    assert_heard(&net, BACKEND, 0, "x");
}

static void maximum_signs_and_pads_groups(void **state UNUSED)
{
    publish_one();
    assert_int_equal(last_group.trailer, ENVELOPE_TRAILER_NONE); /* one reader has the key */
    assert_false(last_group.padded);
    SET(security_level, LEVEL_MAXIMUM);
    publish_one();
    assert_int_equal(last_group.trailer, ENVELOPE_TRAILER_SIGNATURE);
    assert_true(last_group.padded);
}

/* A publisher that has stayed behind hands out the key of an unsigned generation. */
static void hand_out_an_unsigned_key(void)
{
    static const struct secret none;
    struct node *cli = &net.nodes[CLI];
    struct secret g0 = {{5}};
    uint8_t room[CONTROL_SMALL_MAX], id[GROUP_ID_SIZE];
    struct writer w = writer_over(room, sizeof(room));
    uint64_t generation = START_MS + (uint64_t)net.now_ms;

    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    group_derive_id(&g0, generation, cli->identity->public, bytes_text("logs/**"), id);
    control_write_group_key(&w,
                            &(struct control){.filter = bytes_text("logs/**"),
                                              .generation = generation,
                                              .chain_key = secret_view(&g0),
                                              .id = bytes_of(id, sizeof(id)),
                                              .slot = ENVELOPE_NO_SLOT,
                                              .reader_key = secret_view(&none)},
                            CONTROL_NOT_LISTED);
    assert_int_equal(control_send(cli->sessions, net_moment(&net, cli),
                                  peer_find(cli->sessions, bytes_text("backend"), false),
                                  writer_view(&w)),
                     0);
    net_run(&net);
}

static void maximum_takes_no_key_of_an_unsigned_generation(void **state UNUSED)
{
    hand_out_an_unsigned_key();
    assert_int_equal(count_notes(&net, BACKEND, SESSION_NOTICE), 0);
    SET(security_level, LEVEL_MAXIMUM);
    hand_out_an_unsigned_key();
    assert_int_equal(note_at(&net, BACKEND, SESSION_NOTICE, 0)->code, AICO_EAUTHENTICITY);
}

static void maximum_seals_nothing_for_one_component_over_a_channel(void **state UNUSED)
{
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "x", NULL), 0);
    SET(security_level, LEVEL_MAXIMUM);
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_true(has_channel());
    /* Nobody stores ratchets in this net. */
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "x", NULL),
                     AICO_ENOTYET);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_net, close_net)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(session_timeout_ends_an_idle_channel),
        TEST(key_rotation_interval_makes_new_keys),
        TEST(synchrony_bound_is_how_far_clocks_may_differ),
        TEST(group_epoch_steps_the_keys_of_a_group),
        TEST(handshake_timeout_ends_an_attempt),
        TEST(keepalive_interval_finds_a_silent_peer),
        TEST(require_fresh_handshake_false_keeps_channels_over_links),
        TEST(maximum_signs_and_pads_groups),
        TEST(maximum_takes_no_key_of_an_unsigned_generation),
        TEST(maximum_seals_nothing_for_one_component_over_a_channel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
