/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Channels that go on after a restart, with allow_key_reuse: who may, who may not, and that nothing
 * that is lost, repeated or put back makes two of one key (PROTOCOL 4, row 48 of PROTOCOL 14).
 */
#include "peers_net.h"

#include "disk.h"

#include "session/peers_internal.h"

enum { BACKEND, CLI, EVERYBODY };
static const char *const names[] = {"backend", "cli"};

#define TALK "talk/v1"
#define IDS_MAX 4096

static struct net net;
static struct disk disks[EVERYBODY];
static struct keeper keepers[EVERYBODY];
/* Of every channel that ever stood: none comes twice. */
static uint8_t ids[IDS_MAX][CHANNEL_ID_SIZE];
static size_t id_count;

static void rules(struct registry_draft *draft)
{
    draft_rule(draft, "talk/**", "*", "*", SEAL_CHANNEL, AUTHENTICITY_SENDER);
}

static void start_again(int at)
{
    net_stop_node(&net, at);
    net_start_node(&net, at);
}

static int open_net(void **state)
{
    (void)state;
    net_open(&net, names, EVERYBODY, rules);
    id_count = 0;
    for (int at = 0; at < EVERYBODY; at++) {
        memset(&disks[at], 0, sizeof(disks[at]));
        keepers[at] = (struct keeper){&disks[at], disk_load, disk_commit};
        net.nodes[at].settings.keeper = &keepers[at];
        net.nodes[at].settings.fresh_handshake = false;
        net.nodes[at].settings.key_reuse = true;
        start_again(at);
    }
    return 0;
}

static int close_net(void **state)
{
    (void)state;
    net_close(&net);
    for (int at = 0; at < EVERYBODY; at++)
        disk_clear(&disks[at]);
    return 0;
}

static const struct channel *channel_of(int at)
{
    struct peer *peer = peer_find(net.nodes[at].sessions, bytes_text(names[!at]), false);
    struct line *line = peer ? line_best(peer) : NULL;

    return line ? line->channel : NULL;
}

static struct sessions_stats stats_of(int at)
{
    struct sessions_stats stats;

    sessions_get_stats(net.nodes[at].sessions, &stats);
    return stats;
}

/* Both have the same channel, which is none of those that were, and it carries. */
static void assert_stands(void)
{
    char text[2][32];

    net_run(&net);
    assert_non_null(channel_of(CLI));
    assert_non_null(channel_of(BACKEND));
    assert_memory_equal(channel_of(CLI)->id, channel_of(BACKEND)->id, CHANNEL_ID_SIZE);
    for (size_t i = 0; i < id_count; i++)
        assert_memory_not_equal(ids[i], channel_of(CLI)->id, CHANNEL_ID_SIZE);
    assert_true(id_count < IDS_MAX);
    memcpy(ids[id_count++], channel_of(CLI)->id, CHANNEL_ID_SIZE);
    net_forget_notes(&net);
    for (int at = 0; at < EVERYBODY; at++) {
        (void)snprintf(text[at], sizeof(text[at]), "%zu from %s", id_count, names[at]);
        assert_int_equal(net_say(&net, at, !at, TALK, DELIVERY_EVENT, NULL, text[at], NULL), 0);
    }
    net_run(&net);
    for (int at = 0; at < EVERYBODY; at++) {
        assert_int_equal(count_notes(&net, at, SESSION_MESSAGE), 1);
        assert_heard(&net, at, 0, text[!at]);
        assert_int_equal(count_notes(&net, at, SESSION_GAP), 0);
        assert_int_equal(count_notes(&net, at, SESSION_FAILED), 0);
    }
    net_advance(&net, 1100); /* what it goes on from is on the disk by then */
}

static void meet(int from)
{
    assert_int_equal(net_dial(&net, from, !from), 0);
    net_run(&net);
}

/* @who (a bit each) start again and @from dials: whether that took no handshake. */
static bool goes_on(unsigned who, int from)
{
    uint64_t handshakes;

    net_advance(&net, 1000); /* channels are ordered by the millisecond of their first word */
    for (int at = 0; at < EVERYBODY; at++)
        if (who >> at & 1)
            start_again(at);
    handshakes = stats_of(CLI).handshakes + stats_of(BACKEND).handshakes;
    meet(from);
    net_advance(&net, 2000);
    assert_stands();
    return stats_of(CLI).handshakes + stats_of(BACKEND).handshakes == handshakes;
}

#define BOTH 3u
#define ONLY(at) (1u << (at))

static void a_channel_goes_on_after_a_restart(void **state UNUSED)
{
    meet(CLI);
    assert_stands();
    for (int round = 0; round < 3; round++)
        for (int from = 0; from < EVERYBODY; from++) {
            assert_true(goes_on(ONLY(from), from));
            assert_int_equal(stats_of(from).resumed, 1);
            assert_true(goes_on(BOTH, from));
        }
}

/* Who stayed seals on a channel that the other has no more, and is told so. */
static void it_goes_on_when_the_other_end_is_the_new_one(void **state UNUSED)
{
    meet(CLI);
    assert_stands();
    for (int stays = 0; stays < EVERYBODY; stays++) {
        uint64_t handshakes = stats_of(stays).handshakes;

        start_again(!stays);
        assert_int_equal(net_say(&net, stays, !stays, TALK, DELIVERY_EVENT, NULL, "lost", NULL), 0);
        net_advance(&net, 3000);
        assert_stands();
        assert_int_equal(stats_of(stays).handshakes, handshakes);
    }
}

static void without_the_setting_nothing_is_written(void **state UNUSED)
{
    for (int at = 0; at < EVERYBODY; at++) {
        net.nodes[at].settings.key_reuse = false;
        start_again(at);
    }
    meet(CLI);
    assert_stands();
    assert_int_equal(disks[CLI].writes + disks[BACKEND].writes, 0);
    assert_false(goes_on(ONLY(CLI), CLI));
}

/* Both are away for @ms. */
static void sleep_ms(int64_t ms)
{
    for (int at = 0; at < EVERYBODY; at++)
        net_stop_node(&net, at);
    net.now_ms += ms;
    for (int at = 0; at < EVERYBODY; at++)
        net_start_node(&net, at);
}

/* Its time is the handshake's, however often it has gone on since. */
static void it_goes_on_no_longer_than_the_rotation_interval(void **state UNUSED)
{
    for (int at = 0; at < EVERYBODY; at++) {
        net.nodes[at].settings.session_timeout_ms = 7 * 86400 * 1000;
        start_again(at);
    }
    meet(CLI);
    assert_stands();
    for (int i = 0; i < 3; i++) {
        sleep_ms(25000 * 1000);
        assert_true(goes_on(0, CLI));
    }
    sleep_ms(12000 * 1000);
    assert_false(goes_on(0, CLI));
    assert_int_equal(stats_of(CLI).resumed, 0);
    sleep_ms(25000 * 1000);
    assert_true(goes_on(0, CLI));
}

/* Also when it went on from another: its age is that of the handshake. */
static void a_channel_that_is_renewed_makes_a_handshake(void **state UNUSED)
{
    for (int at = 0; at < EVERYBODY; at++) {
        net.nodes[at].settings.key_rotation_interval_ms = 100 * 1000;
        start_again(at);
    }
    meet(CLI);
    assert_stands();
    net_advance(&net, 60 * 1000);
    assert_true(goes_on(BOTH, CLI));
    net_advance(&net, 45 * 1000);
    assert_stands();
    assert_int_equal(stats_of(CLI).handshakes, 1);
    net_advance(&net, 200 * 1000);
    assert_int_equal(stats_of(CLI).resumed, 1);
    assert_in_range(stats_of(CLI).handshakes, 2, 4);
}

/* ... at once, without a wait for an answer that does not come. */
static void who_has_forgotten_says_so(void **state UNUSED)
{
    meet(CLI);
    assert_stands();
    disk_clear(&disks[BACKEND]);
    sleep_ms(1000);
    meet(CLI);
    assert_stands();
    assert_int_equal(stats_of(CLI).handshakes, 1);
}

static void it_goes_on_no_longer_than_the_session_timeout(void **state UNUSED)
{
    meet(CLI);
    assert_stands();
    /* Used twice within the hour, it may go on half an hour after it would have been over. */
    net_advance(&net, 1800 * 1000);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "still", NULL), 0);
    net_advance(&net, 2700 * 1000);
    assert_true(goes_on(BOTH, CLI));
    sleep_ms(3601 * 1000);
    for (int at = 0; at < EVERYBODY; at++) {
        net_drain(&net, at);
        assert_int_equal(disk_rows(&disks[at], KEEP_RESUME), 0);
    }
    assert_false(goes_on(BOTH, CLI));
}

static void an_orderly_end_leaves_it_its_time(void **state UNUSED)
{
    meet(CLI);
    assert_stands();
    net_advance(&net, 600 * 1000);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "last", NULL), 0);
    net_run(&net);
    for (int at = 0; at < EVERYBODY; at++) {
        sessions_close(net.nodes[at].sessions, net_moment(&net, &net.nodes[at]));
        net_drain(&net, at);
        net_stop_node(&net, at);
    }
    net_run(&net);
    net.now_ms += 3300 * 1000; /* more than an hour after the handshake */
    for (int at = 0; at < EVERYBODY; at++)
        net_start_node(&net, at);
    assert_true(goes_on(0, CLI));
}

static void both_ends_must_still_have_agreed(void **state UNUSED)
{
    static const struct secret psk = {{1}}, other = {{2}};

    meet(CLI);
    assert_stands();
    for (int at = 0; at < EVERYBODY; at++)
        net.nodes[at].settings.padding = true;
    assert_false(goes_on(BOTH, CLI));
    assert_true(goes_on(BOTH, CLI));
    for (int at = 0; at < EVERYBODY; at++)
        net.nodes[at].settings.psk = &psk;
    assert_false(goes_on(BOTH, CLI));
    assert_true(goes_on(BOTH, CLI));
    for (int at = 0; at < EVERYBODY; at++)
        net.nodes[at].settings.psk = &other; /* the policy says the same */
    assert_false(goes_on(BOTH, CLI));
}

static void whoever_is_revoked_goes_on_with_nobody(void **state UNUSED)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = NULL;

    meet(CLI);
    assert_stands();
    assert_int_equal(disk_rows(&disks[BACKEND], KEEP_RESUME), 1);
    draft = registry_draft_new(net.registry, bytes_text(NAMESPACE));
    assert_int_equal(registry_draft_set_state(draft, "cli", COMPONENT_REVOKED), 0);
    net_set_registry(&net, registry_make(draft), ONLY(CLI));
    assert_int_equal(disk_rows(&disks[BACKEND], KEEP_RESUME), 0);
}

/* Row 48: what is put back at either end, or at both, leads to keys that were never used. */
static void yesterdays_state_brings_no_key_back(void **state UNUSED)
{
    static struct disk yesterday[EVERYBODY];

    meet(CLI);
    assert_stands();
    for (int at = 0; at < EVERYBODY; at++)
        disk_copy(&yesterday[at], &disks[at]);
    for (unsigned put_back = 0; put_back <= BOTH; put_back++)
        for (int from = 0; from < EVERYBODY; from++) {
            assert_true(goes_on(BOTH, from));
            for (int at = 0; at < EVERYBODY; at++) {
                net_stop_node(&net, at);
                if (put_back >> at & 1)
                    disk_copy(&disks[at], &yesterday[at]);
                net_start_node(&net, at);
            }
            /* assert_stands() knows all channels there were. */
            assert_int_equal(goes_on(0, from), put_back == 0 || put_back == BOTH);
        }
    for (int at = 0; at < EVERYBODY; at++)
        disk_clear(&yesterday[at]);
}

/* --- a way that loses and repeats ---------------------------------------------------------------
 */

struct way {
    size_t drop; /* this parcel, the first is 1 */
    size_t count;
    uint8_t resume1[RESUME_SIZE]; /* the last one */
};

static bool lose_one(struct net *n UNUSED, struct parcel *parcel, void *context)
{
    struct way *way = context;

    if (parcel->bytes.size == RESUME_SIZE && parcel->bytes.at[1] == HANDSHAKE_RESUME1)
        memcpy(way->resume1, parcel->bytes.at, RESUME_SIZE);
    return ++way->count != way->drop;
}

static void whatever_is_lost_a_channel_stands_soon(void **state UNUSED)
{
    struct way way = {0};

    net.pass = lose_one;
    net.pass_context = &way;
    meet(CLI);
    assert_stands();
    for (size_t drop = 1; drop <= 8; drop++)
        for (int from = 0; from < EVERYBODY; from++) {
            start_again(from);
            way = (struct way){.drop = drop};
            meet(from);
            net_advance(&net, 3000);
            way.drop = 0;
            assert_stands();
        }
}

static void a_repeated_resume_disturbs_nothing(void **state UNUSED)
{
    struct way way = {0};
    const struct channel *channel;
    uint64_t resumed;

    net.pass = lose_one;
    net.pass_context = &way;
    meet(CLI);
    assert_stands();
    assert_true(goes_on(ONLY(CLI), CLI));
    channel = channel_of(BACKEND);
    resumed = stats_of(BACKEND).resumed;
    for (int i = 0; i < 100; i++) {
        net_post(&net, CLI, BACKEND, DELIVERY_CONTROL, bytes_text(SESSION_TOPIC_CONTROL), NULL,
                 bytes_of(way.resume1, RESUME_SIZE));
        net_run(&net);
    }
    assert_ptr_equal(channel_of(BACKEND), channel);
    assert_int_equal(stats_of(BACKEND).resumed, resumed);
    id_count--;
    assert_stands();
}

/* Repeated before anything opened on the channel it makes, while the old one still stands. */
static void a_repeated_resume_is_answered_and_forgotten(void **state UNUSED)
{
    struct way way = {0};
    const struct channel *channel;
    struct peer *peer;

    meet(CLI);
    assert_stands();
    channel = channel_of(BACKEND);
    net.pass = lose_one;
    net.pass_context = &way;
    start_again(CLI);
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    way.drop = 2; /* Resume2 */
    net_drain_all(&net);
    (void)net_step(&net);
    (void)net_step(&net);
    for (int i = 0; i < 10; i++) {
        net_post(&net, CLI, BACKEND, DELIVERY_CONTROL, bytes_text(SESSION_TOPIC_CONTROL), NULL,
                 bytes_of(way.resume1, RESUME_SIZE));
        way.drop = way.count + 2; /* and its answer is lost */
        (void)net_step(&net);
        net_drain_all(&net);
        (void)net_step(&net);
    }
    assert_ptr_equal(channel_of(BACKEND), channel);
    peer = peer_find(net.nodes[BACKEND].sessions, bytes_text("cli"), false);
    assert_in_range(peer->half_open_count, 1, HALF_OPEN_MAX);
    way.drop = 0;
    net_advance(&net, 3000);
    assert_stands();
    net_advance(&net, 60 * 1000);
    assert_int_equal(peer->half_open_count, 0);
}

/* A Hello3 is no proof of anything for a channel that goes on from another. */
static void a_hello3_confirms_no_resume(void **state UNUSED)
{
    struct way way = {0};
    const struct channel *channel;
    struct peer *peer;
    uint8_t hello3[HELLO3_SIZE] = {HANDSHAKE_VERSION, HANDSHAKE_HELLO3};
    static const struct secret zero;
    const uint8_t transcript[HASH_SIZE] = {0};

    meet(CLI);
    assert_stands();
    channel = channel_of(BACKEND);
    net.pass = lose_one;
    net.pass_context = &way;
    start_again(CLI);
    way.drop = 2; /* Resume2 */
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    peer = peer_find(net.nodes[BACKEND].sessions, bytes_text("cli"), false);
    assert_int_equal(peer->half_open_count, 1);
    memcpy(hello3 + 4, peer->half_open->state->keys.id, CHANNEL_ID_SIZE);
    mac(&zero, bytes_of(transcript, HASH_SIZE), hello3 + 16);
    net_post(&net, CLI, BACKEND, DELIVERY_CONTROL, bytes_text(SESSION_TOPIC_CONTROL), NULL,
             bytes_of(hello3, HELLO3_SIZE));
    (void)net_step(&net);
    assert_ptr_equal(channel_of(BACKEND), channel);
    assert_int_equal(stats_of(BACKEND).resumed, 0);
}

/* The broker changes every envelope that is the first under new keys. */
static bool change_envelopes(struct net *n UNUSED, struct parcel *parcel, void *context UNUSED)
{
    if (parcel->from == CLI && memcmp(parcel->bytes.at, ENVELOPE_MAGIC, 8) == 0)
        parcel->bytes.at[parcel->bytes.size - 1] ^= 1;
    return true;
}

static void only_what_opens_confirms_a_resume(void **state UNUSED)
{
    const struct channel *channel;

    meet(CLI);
    assert_stands();
    channel = channel_of(BACKEND);
    net_advance(&net, 1000);
    start_again(CLI);
    net.pass = change_envelopes;
    meet(CLI);
    assert_int_equal(stats_of(CLI).resumed, 1);
    assert_int_equal(stats_of(BACKEND).resumed, 0);
    assert_ptr_equal(channel_of(BACKEND), channel);
    net.pass = NULL;
    net_advance(&net, 2000);
    assert_stands();
    assert_int_equal(stats_of(BACKEND).resumed, 1);
}

static void both_may_dial_at_once(void **state UNUSED)
{
    meet(CLI);
    assert_stands();
    for (int round = 0; round < 4; round++) {
        start_again(CLI);
        start_again(BACKEND);
        assert_int_equal(net_dial(&net, round & 1, !(round & 1)), 0);
        assert_int_equal(net_dial(&net, !(round & 1), round & 1), 0);
        net_run(&net);
        net_advance(&net, 12 * 1000);
        assert_stands();
        assert_int_equal(stats_of(CLI).handshakes, 0);
    }
}

/* --- another process of the same component ------------------------------------------------------
 */

static int load_locked(void *context, int (*take)(void *to, struct bytes key, struct bytes value),
                       void *to, struct aico_error *err)
{
    (void)context;
    (void)take;
    (void)to;
    return aico_error_set(err, AICO_EKEPTLOCKED, "somebody else has it");
}

static int commit_locked(void *context, const struct keep_change *changes, size_t count,
                         struct aico_error *err)
{
    (void)context;
    (void)changes;
    (void)count;
    return aico_error_set(err, AICO_EKEPTLOCKED, "somebody else has it");
}

static void who_has_no_disk_makes_handshakes(void **state UNUSED)
{
    const struct keeper locked = {NULL, load_locked, commit_locked};
    const struct keeper taken_later = {&disks[CLI], disk_load, commit_locked};

    meet(CLI);
    assert_stands();
    keepers[CLI] = locked;
    assert_false(goes_on(ONLY(CLI), CLI));
    assert_false(goes_on(ONLY(BACKEND), BACKEND));
    disk_clear(&disks[CLI]);
    keepers[CLI] = taken_later;
    assert_false(goes_on(ONLY(CLI), CLI));
    assert_false(goes_on(ONLY(BACKEND), BACKEND));
}

/* Nothing of it is needed: what was opened is handed over, and channels are handshaken. */
static int commit_fails(void *context, const struct keep_change *changes, size_t count,
                        struct aico_error *err)
{
    (void)context;
    (void)changes;
    (void)count;
    return aico_error_set(err, AICO_ESYSTEM, "the disk is full");
}

static void a_full_disk_costs_handshakes_only(void **state UNUSED)
{
    keepers[CLI].commit = commit_fails;
    meet(CLI);
    net_advance(&net, 2000);
    assert_int_equal(count_notes(&net, CLI, SESSION_BROKEN), 0);
    assert_int_equal(count_notes(&net, CLI, SESSION_NOTICE), 1);
    assert_int_equal(note_at(&net, CLI, SESSION_NOTICE, 0)->code, AICO_ESYSTEM);
    assert_non_null(strstr(note_at(&net, CLI, SESSION_NOTICE, 0)->text, "the disk is full"));
    assert_stands();
    assert_false(goes_on(ONLY(CLI), CLI));
}

static void a_row_that_does_not_parse_costs_handshakes_only(void **state UNUSED)
{
    uint8_t key[1 + SIGN_PUBLIC_SIZE] = {KEEP_RESUME};
    const struct keep_change change = {bytes_of(key, sizeof(key)), bytes_text("short")};

    meet(CLI);
    net_advance(&net, 2000);
    net_stop_node(&net, CLI);
    disk_apply(&disks[CLI], &change);
    net_start_node(&net, CLI);
    net_drain(&net, CLI);
    assert_int_equal(note_at(&net, CLI, SESSION_NOTICE, 0)->code, AICO_ESYSTEM);
    assert_false(goes_on(0, CLI));
}

/* However often a peer begins anew. */
static void the_disk_is_written_once_a_second_at_most(void **state UNUSED)
{
    unsigned before;

    meet(CLI);
    net_advance(&net, 2000);
    before = disks[BACKEND].writes;
    for (int i = 0; i < 8; i++) {
        start_again(CLI);
        meet(CLI);
        net_advance(&net, 200);
    }
    assert_in_range(disks[BACKEND].writes, before + 1, before + 3);
}

/* L has seen nothing of the restart and says more than one thing on the channel that was. */
static void what_is_said_on_a_channel_that_was_refuses_no_resume(void **state UNUSED)
{
    meet(CLI);
    assert_stands();
    net_advance(&net, 2000);
    start_again(CLI);
    for (int i = 0; i < 5; i++)
        assert_int_equal(net_say(&net, BACKEND, CLI, TALK, DELIVERY_EVENT, NULL, "lost", NULL), 0);
    net_run(&net);
    assert_stands();
    assert_int_equal(stats_of(CLI).resumed, 1);
    assert_int_equal(stats_of(CLI).handshakes, 0);
}

/* The broker says that the first envelope is of another key of that name. */
static bool lie_about_identity(struct net *n, struct parcel *parcel, void *context)
{
    struct node *node = &n->nodes[BACKEND], *from = &n->nodes[CLI];

    if (parcel->from != CLI || memcmp(parcel->bytes.at, ENVELOPE_MAGIC, 8) != 0)
        return true;
    sessions_receive_direct(node->sessions, net_moment(n, node), bytes_text(from->name), context,
                            bytes_text(parcel->topic), parcel->delivery,
                            buffer_view(&parcel->bytes), NULL, NULL);
    net_drain(n, BACKEND);
    return false;
}

static void only_the_key_it_was_made_with_confirms_a_resume(void **state UNUSED)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(net.registry, bytes_text(NAMESPACE));
    CLEANUP(identity_free)
    struct identity *next = NULL;
    const struct secret seed = {{77}};

    meet(CLI);
    assert_stands();
    assert_int_equal(identity_new("cli", &seed, 0, &next), 0);
    assert_int_equal(
        registry_draft_rotate(draft, net.nodes[CLI].identity, next, 1, START_MS + 3600 * 1000), 0);
    net_set_registry(&net, registry_make(draft), 0);
    start_again(CLI);
    net.pass = lie_about_identity;
    net.pass_context = next->public;
    meet(CLI);
    assert_int_equal(stats_of(CLI).resumed, 1);
    assert_int_equal(stats_of(BACKEND).resumed, 0);
}

/* It says the registry with every channel until the peer's handshake has a newer one. */
static void a_peer_that_may_be_behind_is_told_the_registry_each_time(void **state UNUSED)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(net.registry, bytes_text(NAMESPACE));

    registry_unref(&net.registry);
    net.registry = registry_make(draft);
    sessions_set_registry(net.nodes[CLI].sessions, net_moment(&net, &net.nodes[CLI]), net.registry);
    for (int i = 0; i < 3; i++) {
        net_forget_notes(&net);
        if (i > 0) {
            net_advance(&net, 2000);
            start_again(CLI);
        }
        meet(CLI);
        assert_int_equal(stats_of(CLI).resumed, i > 0);
        assert_int_equal(count_notes(&net, BACKEND, SESSION_REGISTRY), 1);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_net, close_net)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_channel_goes_on_after_a_restart),
        TEST(it_goes_on_when_the_other_end_is_the_new_one),
        TEST(without_the_setting_nothing_is_written),
        TEST(it_goes_on_no_longer_than_the_rotation_interval),
        TEST(a_channel_that_is_renewed_makes_a_handshake),
        TEST(who_has_forgotten_says_so),
        TEST(it_goes_on_no_longer_than_the_session_timeout),
        TEST(an_orderly_end_leaves_it_its_time),
        TEST(both_ends_must_still_have_agreed),
        TEST(whoever_is_revoked_goes_on_with_nobody),
        TEST(yesterdays_state_brings_no_key_back),
        TEST(whatever_is_lost_a_channel_stands_soon),
        TEST(a_repeated_resume_disturbs_nothing),
        TEST(a_repeated_resume_is_answered_and_forgotten),
        TEST(a_hello3_confirms_no_resume),
        TEST(only_what_opens_confirms_a_resume),
        TEST(both_may_dial_at_once),
        TEST(who_has_no_disk_makes_handshakes),
        TEST(a_full_disk_costs_handshakes_only),
        TEST(a_row_that_does_not_parse_costs_handshakes_only),
        TEST(the_disk_is_written_once_a_second_at_most),
        TEST(what_is_said_on_a_channel_that_was_refuses_no_resume),
        TEST(only_the_key_it_was_made_with_confirms_a_resume),
        TEST(a_peer_that_may_be_behind_is_told_the_registry_each_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
