/* SPDX-License-Identifier: Apache-2.0 */
/* The session manager as its caller sees it: several components and a perfect broker. */
#include "peers_net.h"

enum { BACKEND, CLI, FRONTEND, STUDIO, EVERYBODY };
static const char *const names[] = {"backend", "cli", "frontend", "studio"};

#define LOGS "logs/app/v1"
#define TALK "talk/v1"

static struct net net;

static void rules(struct registry_draft *draft)
{
    draft_rule(draft, "logs/**", "cli,frontend,studio", "backend,frontend,studio", SEAL_GROUP,
               AUTHENTICITY_SENDER);
    draft_rule(draft, "talk/**", "*", "*", SEAL_CHANNEL, AUTHENTICITY_SENDER);
    draft_rule(draft, "one/**", "cli", "backend", SEAL_GROUP, AUTHENTICITY_SENDER);
    draft_rule(draft, "signed/**", "cli", "backend,frontend", SEAL_GROUP, AUTHENTICITY_SIGNATURE);
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

/* The registry with one more change, signed by the owner. */
static struct registry *changed(void (*change)(struct registry_draft *))
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(net.registry, bytes_text(NAMESPACE));

    change(draft);
    return registry_make(draft);
}

static void revoke_studio(struct registry_draft *draft)
{
    assert_int_equal(registry_draft_set_state(draft, "studio", COMPONENT_REVOKED), 0);
}

static void assert_no_gaps(void)
{
    for (int i = 0; i < EVERYBODY; i++) {
        assert_int_equal(count_notes(&net, i, SESSION_GAP), 0);
        assert_int_equal(count_notes(&net, i, SESSION_FAILED), 0);
    }
}

/* --- channels ------------------------------------------------------------------------------- */

static void a_dialled_peer_is_ready_and_hears_what_is_said(void **state UNUSED)
{
    const struct note *note;

    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "early", NULL),
                     AICO_ESTATE);
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_int_equal(count_notes(&net, CLI, SESSION_READY), 1);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_READY), 1);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "hello", NULL), 0);
    assert_int_equal(net_say(&net, BACKEND, CLI, TALK, DELIVERY_EVENT, NULL, "good day", NULL), 0);
    net_run(&net);
    note = note_at(&net, BACKEND, SESSION_MESSAGE, 0);
    assert_string_equal(note->text, "hello");
    assert_string_equal(note->peer, "cli");
    assert_string_equal(note->topic, TALK);
    assert_heard(&net, CLI, 0, "good day");
    assert_no_gaps();
}

static void both_dial_and_one_channel_is_used(void **state UNUSED)
{
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    assert_int_equal(net_dial(&net, BACKEND, CLI), 0);
    net_advance(&net, 60000);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "one", NULL), 0);
    assert_int_equal(net_say(&net, BACKEND, CLI, TALK, DELIVERY_EVENT, NULL, "two", NULL), 0);
    net_run(&net);
    assert_heard(&net, BACKEND, 0, "one");
    assert_heard(&net, CLI, 0, "two");
    assert_no_gaps();
}

static void a_reply_is_bound_to_its_request(void **state UNUSED)
{
    uint8_t ref[SESSION_REF_SIZE], other[SESSION_REF_SIZE];
    struct parcel *parcel;

    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_REQUEST, NULL, "a?", ref), 0);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_REQUEST, NULL, "b?", other), 0);
    net_run(&net);
    assert_memory_equal(note_at(&net, BACKEND, SESSION_MESSAGE, 0)->ref, ref, SESSION_REF_SIZE);
    assert_int_equal(net_say(&net, BACKEND, CLI, TALK, DELIVERY_REPLY,
                             note_at(&net, BACKEND, SESSION_MESSAGE, 0)->ref, "to a", NULL),
                     0);
    net_run(&net);
    assert_heard(&net, CLI, 0, "to a");
    /* The broker claims that the answer to b is one to a. */
    assert_int_equal(net_say(&net, BACKEND, CLI, TALK, DELIVERY_REPLY, other, "to b", NULL), 0);
    parcel = net.parcels;
    memcpy(parcel->ref, ref, sizeof(ref));
    net_run(&net);
    assert_int_equal(note_at(&net, CLI, SESSION_FAILED, 0)->code, AICO_EOPEN);
    assert_int_equal(count_notes(&net, CLI, SESSION_MESSAGE), 1);
}

static void nobody_may_say_what_no_rule_allows(void **state UNUSED)
{
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_int_equal(net_say(&net, BACKEND, CLI, LOGS, DELIVERY_EVENT, NULL, "no", NULL),
                     AICO_EDENIED);
    assert_int_equal(net_say(&net, CLI, BACKEND, "free/v1", DELIVERY_EVENT, NULL, "no", NULL),
                     AICO_EDENIED);
    assert_int_equal(net_publish(&net, BACKEND, LOGS, "no"), AICO_EDENIED);
    assert_int_equal(net_publish(&net, CLI, TALK, "no"), AICO_EINVAL);
    assert_int_equal(net_dial(&net, CLI, CLI), AICO_ESELF);
    assert_int_equal(sessions_dial(net.nodes[CLI].sessions, net_moment(&net, &net.nodes[CLI]),
                                   bytes_text("nobody")),
                     AICO_EPEERUNKNOWN);
}

static bool drop_hello1(struct net *n, struct parcel *parcel, void *context)
{
    int *left = context;

    (void)n;
    if (parcel->bytes.size == HELLO1_SIZE && *left > 0)
        return --*left < 0;
    return true;
}

static void a_lost_hello_is_repaired_by_another(void **state UNUSED)
{
    int left = 1;

    net.pass = drop_hello1;
    net.pass_context = &left;
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_int_equal(count_notes(&net, CLI, SESSION_READY), 0);
    net_advance(&net, 10000);
    assert_int_equal(count_notes(&net, CLI, SESSION_READY), 1);
}

/* Hello1 of one dialer in its first 3 s, none of which arrives. */
static int hellos_of(const int *listeners, size_t count)
{
    int left = 1000;

    net.pass = drop_hello1;
    net.pass_context = &left;
    for (size_t i = 0; i < count; i++)
        assert_int_equal(net_dial(&net, CLI, listeners[i]), 0);
    net_advance(&net, 3000);
    return 1000 - left;
}

static void a_lost_hello_is_soon_said_again(void **state UNUSED)
{
    assert_in_range(hellos_of((int[]){BACKEND}, 1), 5, 10);
}

/* Whose way is slow, not lossy, would be made slower still. */
static void many_that_are_met_are_not_asked_more_often_than_one(void **state UNUSED)
{
    assert_in_range(hellos_of((int[]){BACKEND, FRONTEND, STUDIO}, 3), 3 + 5, 3 + 12);
}

/* Hello1 becomes one of version 2; remembers what is refused. */
static bool as_version_2(struct net *n, struct parcel *parcel, void *context)
{
    (void)n;
    if (parcel->bytes.size == HELLO1_SIZE && parcel->bytes.at[1] == HANDSHAKE_HELLO1)
        parcel->bytes.at[0] = 2;
    if (parcel->bytes.size == REFUSE_SIZE && parcel->bytes.at[1] == HANDSHAKE_REFUSE)
        *(int *)context = -(parcel->bytes.at[2] << 8 | parcel->bytes.at[3]);
    return true;
}

static void a_hello_of_another_version_is_refused_by_name(void **state UNUSED)
{
    int refused = 0;

    net.pass = as_version_2;
    net.pass_context = &refused;
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_int_equal(refused, AICO_EVERSION);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_READY), 0);
}

static void an_absent_peer_is_lost_after_the_last_attempt(void **state UNUSED)
{
    int left = 1000;

    net.pass = drop_hello1;
    net.pass_context = &left;
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_advance(&net, 200000);
    assert_int_equal(note_at(&net, CLI, SESSION_LOST, 0)->code, AICO_ETIMEOUT);
    assert_int_equal(count_notes(&net, CLI, SESSION_LOST), 1);
    assert_true(left < 1000 - 6); /* each Hello1 was one of its own */
}

static void a_peer_the_broker_says_is_away_is_lost_at_once(void **state UNUSED)
{
    int left = 1000;

    net.pass = drop_hello1;
    net.pass_context = &left;
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    sessions_peer_away(net.nodes[CLI].sessions, net_moment(&net, &net.nodes[CLI]),
                       bytes_text("backend"), AICO_EPEERAWAY);
    net_run(&net);
    assert_int_equal(note_at(&net, CLI, SESSION_LOST, 0)->code, AICO_EPEERAWAY);
}

static void a_peer_that_restarted_is_dialled_anew(void **state UNUSED)
{
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    net_stop_node(&net, BACKEND);
    net_start_node(&net, BACKEND);
    /* Unaware of it, the first message is lost by name and repairs the way. */
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "lost", NULL), 0);
    net_run(&net);
    assert_int_equal(note_at(&net, BACKEND, SESSION_FAILED, 0)->code, AICO_EKEY);
    net_advance(&net, 2000);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "heard", NULL), 0);
    net_run(&net);
    assert_heard(&net, BACKEND, 0, "heard");

    net_stop_node(&net, BACKEND);
    net_start_node(&net, BACKEND);
    sessions_peer_renewed(net.nodes[CLI].sessions, net_moment(&net, &net.nodes[CLI]),
                          bytes_text("backend"));
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "not yet", NULL),
                     AICO_ESTATE);
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "again", NULL), 0);
    net_run(&net);
    assert_heard(&net, BACKEND, 1, "again");
}

static void ping_is_answered_by_number(void **state UNUSED)
{
    struct node *cli = &net.nodes[CLI];
    uint64_t number;

    assert_int_equal(
        sessions_ping(cli->sessions, net_moment(&net, cli), bytes_text("backend"), &number),
        AICO_ESTATE);
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_int_equal(
        sessions_ping(cli->sessions, net_moment(&net, cli), bytes_text("backend"), &number), 0);
    net_run(&net);
    assert_int_equal(note_at(&net, CLI, SESSION_PONG, 1)->sequence, number);
}

/* Whoever asks without end is told so, and its peer spends no more than that on it. */
static void pings_have_a_rate(void **state UNUSED)
{
    struct node *cli = &net.nodes[CLI];
    uint64_t number;
    int r = 0;

    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    for (int i = 0; i < 1000 && r == 0; i++)
        r = sessions_ping(cli->sessions, net_moment(&net, cli), bytes_text("backend"), &number);
    assert_int_equal(r, 0);
    assert_int_equal(
        sessions_ping(cli->sessions, net_moment(&net, cli), bytes_text("backend"), &number),
        AICO_ERATE);
    net_run(&net);
    assert_int_equal(note_at(&net, CLI, SESSION_PONG, 1000)->sequence, number);
    net_advance(&net, 100);
    assert_int_equal(
        sessions_ping(cli->sessions, net_moment(&net, cli), bytes_text("backend"), &number), 0);
    net_run(&net);
    assert_int_equal(note_at(&net, CLI, SESSION_PONG, 1001)->sequence, number);
}

static void a_broken_link_means_new_channels(void **state UNUSED)
{
    struct node *cli = &net.nodes[CLI];

    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "before", NULL), 0);
    net_run(&net);
    sessions_link_lost(cli->sessions, net_moment(&net, cli));
    sessions_link_up(cli->sessions, net_moment(&net, cli));
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "no", NULL),
                     AICO_ESTATE);
    assert_int_equal(net_say(&net, BACKEND, CLI, TALK, DELIVERY_EVENT, NULL, "still", NULL), 0);
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "after", NULL), 0);
    net_run(&net);
    assert_heard(&net, CLI, 0, "still");
    assert_heard(&net, BACKEND, 1, "after");
    assert_no_gaps();
}

static bool drop_everything(struct net *n, struct parcel *parcel, void *context)
{
    (void)n;
    (void)parcel;
    (void)context;
    return false;
}

static void a_silent_peer_is_named(void **state UNUSED)
{
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    net.pass = drop_everything;
    net_advance(&net, 200000);
    assert_int_equal(note_at(&net, CLI, SESSION_NOTICE, 0)->code, AICO_EPEERSILENT);
    assert_int_equal(note_at(&net, CLI, SESSION_LOST, 0)->code, AICO_EPEERSILENT);
}

static void an_idle_channel_lives_by_its_pings(void **state UNUSED)
{
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_advance(&net, 1800 * 1000);
    assert_true(sessions_has_channel(net.nodes[CLI].sessions, net_moment(&net, &net.nodes[CLI]),
                                     bytes_text("backend")));
    assert_int_equal(count_notes(&net, CLI, SESSION_NOTICE), 0);
    /* ... until session_timeout, and then both ends let go of it without a word of loss. */
    net_advance(&net, 1900 * 1000);
    assert_false(sessions_has_channel(net.nodes[CLI].sessions, net_moment(&net, &net.nodes[CLI]),
                                      bytes_text("backend")));
    assert_false(sessions_has_channel(net.nodes[BACKEND].sessions,
                                      net_moment(&net, &net.nodes[BACKEND]), bytes_text("cli")));
    assert_no_gaps();
}

static bool drop_from_cli(struct net *n, struct parcel *parcel, void *context)
{
    (void)n;
    (void)context;
    return parcel->from != CLI || parcel->delivery == DELIVERY_CONTROL;
}

static void drop_tail(void **state UNUSED)
{
    const struct note *gap;

    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "heard", NULL), 0);
    net_run(&net);
    net.pass = drop_from_cli;
    for (int i = 0; i < 3; i++)
        assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "gone", NULL), 0);
    net_advance(&net, 61000);
    gap = note_at(&net, BACKEND, SESSION_GAP, 0);
    assert_int_equal(gap->last - gap->first + 1, 3);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_GAP), 1);
}

static void a_rekey_loses_and_doubles_nothing(void **state UNUSED)
{
    char text[20];
    int said = 0;

    for (int i = 0; i < EVERYBODY; i++) {
        net_stop_node(&net, i);
        net.nodes[i].settings.key_rotation_interval_ms = 60000;
        net_start_node(&net, i);
    }
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    for (; said < 500; said++) {
        net_advance(&net, 500);
        (void)snprintf(text, sizeof(text), "%d", said);
        assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, text, NULL), 0);
        assert_int_equal(net_say(&net, BACKEND, CLI, TALK, DELIVERY_EVENT, NULL, text, NULL), 0);
    }
    net_run(&net);
    assert_no_gaps();
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), said);
    assert_int_equal(count_notes(&net, CLI, SESSION_MESSAGE), said);
    for (int i = 0; i < said; i++) {
        (void)snprintf(text, sizeof(text), "%d", i);
        assert_heard(&net, BACKEND, (size_t)i, text);
    }
    assert_true(count_notes(&net, CLI, SESSION_READY) >= 4);
}

/* --- groups --------------------------------------------------------------------------------- */

static void every_entitled_reader_opens_the_first_message(void **state UNUSED)
{
    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "first"), 0);
    assert_int_equal(net_publish(&net, CLI, LOGS, "second"), 0);
    net_run(&net);
    for (int i = BACKEND; i < EVERYBODY; i++) {
        if (i == CLI)
            continue;
        assert_heard(&net, i, 0, "first");
        assert_heard(&net, i, 1, "second");
        assert_string_equal(note_at(&net, i, SESSION_MESSAGE, 0)->peer, "cli");
    }
    assert_no_gaps();
    assert_true(net.nodes[CLI].generation > 0);
}

static void an_unprepared_message_fetches_its_key(void **state UNUSED)
{
    assert_int_equal(net_publish(&net, CLI, LOGS, "one"), 0);
    assert_int_equal(net_publish(&net, CLI, LOGS, "two"), 0);
    net_run(&net);
    for (int i = BACKEND; i < EVERYBODY; i++) {
        if (i == CLI)
            continue;
        assert_heard(&net, i, 0, "one");
        assert_heard(&net, i, 1, "two");
    }
    assert_no_gaps();
}

/* Drops the first GROUP_KEY there is: the first control envelope of that size. */
static bool drop_one_key(struct net *n, struct parcel *parcel, void *context)
{
    int *left = context;

    (void)n;
    if (parcel->from == CLI && parcel->delivery == DELIVERY_CONTROL && parcel->to >= 0 &&
        parcel->bytes.size > 150 && memcmp(parcel->bytes.at, "AICO-MSG", 8) == 0 && *left > 0)
        return --*left < 0;
    return true;
}

static void drop_group_key_once(void **state UNUSED)
{
    int left = 1;

    assert_int_equal(net_publish(&net, CLI, "one/v1", "kept"), 0);
    net.pass = drop_one_key;
    net.pass_context = &left;
    assert_int_equal(net_publish(&net, CLI, "one/v1", "in order"), 0);
    net_advance(&net, 3000);
    assert_int_equal(left, 0);
    assert_heard(&net, BACKEND, 0, "kept");
    assert_heard(&net, BACKEND, 1, "in order");
    /* The lost one is a hole in the channel, and named there; of the topic nothing is. */
    for (size_t i = 0; i < count_notes(&net, BACKEND, SESSION_GAP); i++)
        assert_string_equal(note_at(&net, BACKEND, SESSION_GAP, i)->topic, "");
    assert_int_equal(count_notes(&net, BACKEND, SESSION_FAILED), 0);
}

static void a_late_reader_joins_and_reads_on(void **state UNUSED)
{
    net_stop_node(&net, STUDIO);
    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "before"), 0);
    net_run(&net);
    net_start_node(&net, STUDIO);
    assert_int_equal(sessions_subscribed(net.nodes[STUDIO].sessions,
                                         net_moment(&net, &net.nodes[STUDIO]),
                                         bytes_text("logs/**"), false),
                     0);
    assert_int_equal(net_publish(&net, CLI, LOGS, "after"), 0);
    net_advance(&net, 1000);
    assert_heard(&net, STUDIO, 0, "after");
    assert_int_equal(count_notes(&net, STUDIO, SESSION_MESSAGE), 1);
    assert_no_gaps();
}

static void a_restarted_publisher_goes_on_in_a_new_generation(void **state UNUSED)
{
    uint64_t generation;

    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "one"), 0);
    net_run(&net);
    generation = net.nodes[CLI].generation;
    net_stop_node(&net, CLI);
    net_start_node(&net, CLI);
    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "two"), 0);
    net_run(&net);
    assert_true(net.nodes[CLI].generation > generation);
    assert_heard(&net, BACKEND, 0, "one");
    assert_heard(&net, BACKEND, 1, "two");
    assert_int_equal(count_notes(&net, BACKEND, SESSION_FAILED), 0);
}

static void removed_reads(void **state UNUSED)
{
    struct registry *held;

    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "for all"), 0);
    net_run(&net);
    assert_heard(&net, STUDIO, 0, "for all");
    /* Studio does not hear of its revocation and still gets every byte. */
    held = changed(revoke_studio);
    net_set_registry(&net, held, 1u << STUDIO);
    assert_int_equal(net_publish(&net, CLI, LOGS, "not for studio"), 0);
    net_advance(&net, 60000);
    assert_heard(&net, BACKEND, 1, "not for studio");
    assert_heard(&net, FRONTEND, 1, "not for studio");
    assert_int_equal(count_notes(&net, STUDIO, SESSION_MESSAGE), 1);
    assert_int_equal(note_at(&net, STUDIO, SESSION_FAILED, 0)->code, AICO_EKEY);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_GAP), 0);
}

static void a_revoked_peer_loses_its_channels_at_once(void **state UNUSED)
{
    assert_int_equal(net_dial(&net, CLI, STUDIO), 0);
    net_run(&net);
    net_set_registry(&net, changed(revoke_studio), 1u << STUDIO);
    assert_int_equal(note_at(&net, CLI, SESSION_LOST, 0)->code, AICO_EREVOKED);
    assert_int_equal(net_say(&net, CLI, STUDIO, TALK, DELIVERY_EVENT, NULL, "no", NULL),
                     AICO_EPEERUNKNOWN);
    assert_int_equal(net_dial(&net, CLI, STUDIO), AICO_EREVOKED);
    assert_int_equal(net_say(&net, STUDIO, CLI, TALK, DELIVERY_EVENT, NULL, "I am", NULL), 0);
    net_run(&net);
    assert_int_equal(note_at(&net, CLI, SESSION_FAILED, 0)->code, AICO_EREVOKED);
}

static void hidden_revocation(void **state UNUSED)
{
    struct registry *next = changed(revoke_studio);

    /* The broker keeps the new one from backend; cli has it and talks to backend. */
    assert_int_equal(net_dial(&net, BACKEND, STUDIO), 0);
    net_run(&net);
    net_set_registry(&net, next, 1u << BACKEND | 1u << STUDIO);
    assert_int_equal(net_dial(&net, BACKEND, CLI), 0);
    net_run(&net);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_REGISTRY), 1);
    assert_string_equal(note_at(&net, BACKEND, SESSION_REGISTRY, 0)->peer, "cli");
    assert_int_equal(count_notes(&net, CLI, SESSION_REGISTRY), 0);
}

static void a_rule_for_one_needs_no_sender_proof_and_many_get_signatures(void **state UNUSED)
{
    net_prepare(&net, CLI, "one/v1");
    net_prepare(&net, CLI, "signed/v1");
    assert_int_equal(net_publish(&net, CLI, "one/v1", "bare"), 0);
    assert_int_equal(net.parcels->bytes.at[32] >> 6, ENVELOPE_TRAILER_NONE);
    net_run(&net);
    assert_int_equal(net_publish(&net, CLI, "signed/v1", "signed"), 0);
    assert_int_equal(net.parcels->bytes.at[32] >> 6, ENVELOPE_TRAILER_SIGNATURE);
    net_run(&net);
    assert_heard(&net, BACKEND, 1, "signed");
}

static bool drop_published(struct net *n, struct parcel *parcel, void *context)
{
    int *left = context;

    (void)n;
    if (parcel->to < 0 && parcel->delivery == DELIVERY_EVENT && *left > 0)
        return --*left < 0;
    return true;
}

static void a_dropped_first_message_is_a_gap_by_heads(void **state UNUSED)
{
    int left = 2;
    const struct note *gap;

    net_prepare(&net, CLI, LOGS);
    net.pass = drop_published;
    net.pass_context = &left;
    assert_int_equal(net_publish(&net, CLI, LOGS, "gone"), 0);
    assert_int_equal(net_publish(&net, CLI, LOGS, "gone too"), 0);
    net_advance(&net, 61000);
    gap = note_at(&net, BACKEND, SESSION_GAP, 0);
    assert_string_equal(gap->topic, LOGS);
    assert_int_equal(gap->first, 0);
    assert_int_equal(gap->last, 1);
    assert_int_equal(count_notes(&net, FRONTEND, SESSION_GAP), 1);
}

static void what_ended_with_a_generation_is_still_counted(void **state UNUSED)
{
    int left = 1;

    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "heard"), 0);
    net_run(&net);
    net.pass = drop_published;
    net.pass_context = &left;
    assert_int_equal(net_publish(&net, CLI, LOGS, "gone"), 0);
    net_run(&net);
    net_set_registry(&net, changed(revoke_studio), 1u << STUDIO);
    net_advance(&net, 1000);
    assert_int_equal(note_at(&net, BACKEND, SESSION_GAP, 0)->first, 1);
    assert_int_equal(note_at(&net, BACKEND, SESSION_GAP, 0)->last, 1);
}

/* A window is sure of a loss at the second count; a generation that is over has no second one. */
static void what_a_window_missed_is_told_when_its_generation_is_forgotten(void **state UNUSED)
{
    int left = 1;

    for (int i = 0; i < EVERYBODY; i++) {
        net_stop_node(&net, i);
        net.nodes[i].settings.strict_ordering = false;
        net_start_node(&net, i);
    }
    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "heard"), 0);
    net_run(&net);
    net.pass = drop_published;
    net.pass_context = &left;
    assert_int_equal(net_publish(&net, CLI, LOGS, "gone"), 0);
    assert_int_equal(net_publish(&net, CLI, LOGS, "heard"), 0);
    net_run(&net);
    net_set_registry(&net, changed(revoke_studio), 1u << STUDIO);
    net_advance(&net, 1000);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_GAP), 0);
    net_advance(&net, 31000);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_GAP), 1);
    assert_int_equal(note_at(&net, BACKEND, SESSION_GAP, 0)->first, 1);
    assert_int_equal(note_at(&net, BACKEND, SESSION_GAP, 0)->last, 1);
}

static void publish_batch(size_t count, const char *text)
{
    struct node *cli = &net.nodes[CLI];
    struct content_item items[100] = {0};
    size_t size = sessions_batch_size(count, count * strlen(text));
    uint8_t *room = malloc(size);
    struct writer w = writer_over(room, size);

    for (size_t i = 0; i < count; i++)
        items[i].payload = bytes_text(text);
    assert_int_equal(sessions_seal_batch(cli->sessions, net_moment(&net, cli), bytes_text(LOGS),
                                         DELIVERY_EVENT, items, count, false, &w),
                     0);
    net_drain(&net, CLI);
    net_post(&net, CLI, -1, DELIVERY_EVENT, bytes_text(LOGS), NULL, writer_view(&w));
    free(room);
}

static void a_batch_is_many_messages_and_one_envelope(void **state UNUSED)
{
    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "zero"), 0);
    publish_batch(10, "batched");
    assert_int_equal(net_publish(&net, CLI, LOGS, "eleven"), 0);
    net_run(&net);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 12);
    for (size_t i = 0; i < 12; i++)
        assert_int_equal(note_at(&net, BACKEND, SESSION_MESSAGE, i)->sequence, i);
    assert_heard(&net, BACKEND, 10, "batched");
    assert_heard(&net, BACKEND, 11, "eleven");
    assert_no_gaps();
}

/* Envelopes are numbered, messages are lost. */
static void a_lost_batch_counts_by_its_messages(void **state UNUSED)
{
    int left = 2;

    net_prepare(&net, CLI, LOGS);
    publish_batch(5, "heard");
    net_run(&net);
    net.pass = drop_published;
    net.pass_context = &left;
    publish_batch(10, "gone");
    publish_batch(20, "gone");
    net_run(&net);
    assert_int_equal(net_publish(&net, CLI, LOGS, "heard"), 0);
    net_run(&net);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_GAP), 1);
    assert_int_equal(note_at(&net, BACKEND, SESSION_GAP, 0)->count, 30);
    /* ... also at the very end, where only HEADS tell. */
    left = 1;
    publish_batch(7, "gone");
    net_advance(&net, 61000);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_GAP), 2);
    assert_int_equal(note_at(&net, BACKEND, SESSION_GAP, 1)->count, 7);
    /* ... and in a generation that is over. */
    left = 1;
    publish_batch(9, "gone");
    net_run(&net);
    net_set_registry(&net, changed(revoke_studio), 1u << STUDIO);
    net_advance(&net, 1000);
    assert_int_equal(note_at(&net, BACKEND, SESSION_GAP, 2)->count, 9);
}

static void a_late_reader_counts_from_where_it_came(void **state UNUSED)
{
    int left = 1;

    net_stop_node(&net, STUDIO);
    net_prepare(&net, CLI, LOGS);
    publish_batch(50, "before");
    net_run(&net);
    net_start_node(&net, STUDIO);
    assert_int_equal(sessions_subscribed(net.nodes[STUDIO].sessions,
                                         net_moment(&net, &net.nodes[STUDIO]),
                                         bytes_text("logs/**"), false),
                     0);
    publish_batch(3, "after");
    net_advance(&net, 1000);
    assert_int_equal(count_notes(&net, STUDIO, SESSION_MESSAGE), 3);
    assert_int_equal(note_at(&net, STUDIO, SESSION_MESSAGE, 0)->sequence, 50);
    assert_no_gaps();
    net.pass = drop_published;
    net.pass_context = &left;
    publish_batch(4, "gone");
    publish_batch(2, "heard");
    net_run(&net);
    assert_int_equal(note_at(&net, STUDIO, SESSION_GAP, 0)->count, 4);
}

static void who_stops_listening_hears_of_no_gap(void **state UNUSED)
{
    struct node *backend = &net.nodes[BACKEND];

    assert_int_equal(sessions_subscribed(backend->sessions, net_moment(&net, backend),
                                         bytes_text("logs/**"), false),
                     0);
    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "one"), 0);
    net_run(&net);
    sessions_unsubscribed(backend->sessions, bytes_text("logs/**"), false);
    backend->deaf = true;
    assert_int_equal(net_publish(&net, CLI, LOGS, "unheard"), 0);
    net_run(&net);
    backend->deaf = false;
    assert_int_equal(sessions_subscribed(backend->sessions, net_moment(&net, backend),
                                         bytes_text("logs/**"), false),
                     0);
    assert_int_equal(net_publish(&net, CLI, LOGS, "three"), 0);
    net_advance(&net, 61000);
    assert_heard(&net, BACKEND, 1, "three");
    assert_no_gaps();
}

/* The list it asks for says how many messages there were, not only how many envelopes. */
static void who_listens_again_counts_from_the_list(void **state UNUSED)
{
    struct node *backend = &net.nodes[BACKEND];
    int left = 1;

    assert_int_equal(sessions_subscribed(backend->sessions, net_moment(&net, backend),
                                         bytes_text("logs/**"), false),
                     0);
    net_prepare(&net, CLI, LOGS);
    publish_batch(3, "heard");
    net_run(&net);
    sessions_unsubscribed(backend->sessions, bytes_text("logs/**"), false);
    backend->deaf = true;
    publish_batch(5, "unheard");
    net_run(&net);
    backend->deaf = false;
    assert_int_equal(sessions_subscribed(backend->sessions, net_moment(&net, backend),
                                         bytes_text("logs/**"), false),
                     0);
    net_run(&net);
    net.pass = drop_published;
    net.pass_context = &left;
    publish_batch(7, "gone");
    net_run(&net);
    assert_int_equal(net_publish(&net, CLI, LOGS, "heard"), 0);
    net_run(&net);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_GAP), 1);
    assert_int_equal(note_at(&net, BACKEND, SESSION_GAP, 0)->count, 7);
}

static void false_members_get_no_key(void **state UNUSED)
{
    struct sessions_stats stats;

    /* Backend may not publish logs; nor is cli a reader of its own rule "one". */
    net_prepare(&net, CLI, "one/v1");
    assert_int_equal(net_dial(&net, STUDIO, CLI), 0);
    net_run(&net);
    assert_int_equal(net_publish(&net, CLI, "one/v1", "secret"), 0);
    net_advance(&net, 40000);
    assert_heard(&net, BACKEND, 0, "secret");
    assert_int_equal(count_notes(&net, STUDIO, SESSION_MESSAGE), 0);
    assert_int_equal(note_at(&net, STUDIO, SESSION_FAILED, 0)->code, AICO_EDENIED);
    sessions_get_stats(net.nodes[CLI].sessions, &stats);
    assert_true(stats.key_given >= 1);
}

/* One member invents key ids: its readers give up on most at once, and ask for few. */
static void invented_key_ids_cost_a_reader_little(void **state UNUSED)
{
    struct sessions_stats stats;
    uint8_t *at;

    net_prepare(&net, CLI, LOGS);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(net_publish(&net, CLI, LOGS, "x"), 0);
        at = net.parcels->bytes.at;
        memcpy(at + 8, &i, sizeof(i));
        net_run(&net);
    }
    sessions_get_stats(net.nodes[BACKEND].sessions, &stats);
    assert_true(stats.key_asked <= 20);
    assert_true(count_notes(&net, BACKEND, SESSION_FAILED) >= 1000 - 64);
    net_advance(&net, 31000);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_FAILED), 1000);
}

static bool drop_final(struct net *n, struct parcel *parcel, void *context)
{
    int *left = context;

    (void)n;
    /* The first control envelope of cli after its second Hello3. */
    if (parcel->from != CLI || parcel->to < 0 || parcel->delivery != DELIVERY_CONTROL)
        return true;
    if (parcel->bytes.size == HELLO3_SIZE)
        *left = 1;
    else if (*left == 1)
        return --*left < 0;
    return true;
}

static void final_dropped_at_rekey(void **state UNUSED)
{
    int left = 0;

    for (int i = 0; i < EVERYBODY; i++) {
        net_stop_node(&net, i);
        net.nodes[i].settings.key_rotation_interval_ms = 60000;
        net_start_node(&net, i);
    }
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "old", NULL), 0);
    net_run(&net);
    net.pass = drop_final;
    net.pass_context = &left;
    net_advance(&net, 61000);
    assert_true(note_at(&net, BACKEND, SESSION_GAP, 0)->unknown);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_GAP), 1);
    net.pass = NULL;
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "new", NULL), 0);
    net_run(&net);
    assert_heard(&net, BACKEND, 1, "new");
}

/* Nobody owes anything to the time after the last word. */
static void a_closed_manager_needs_no_timer(void **state UNUSED)
{
    struct node *cli = &net.nodes[CLI];

    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "x"), 0);
    sessions_close(cli->sessions, net_moment(&net, cli));
    net_run(&net);
    assert_true(sessions_deadline(cli->sessions) == MOMENT_NEVER);
}

static void closing_says_what_was_last(void **state UNUSED)
{
    struct node *cli = &net.nodes[CLI];
    int left = 1;

    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "heard"), 0);
    net_run(&net);
    net.pass = drop_published;
    net.pass_context = &left;
    assert_int_equal(net_publish(&net, CLI, LOGS, "gone"), 0);
    net_run(&net);
    sessions_close(cli->sessions, net_moment(&net, cli));
    net_run(&net);
    assert_int_equal(note_at(&net, BACKEND, SESSION_GAP, 0)->first, 1);
    assert_int_equal(net_publish(&net, CLI, LOGS, "no"), AICO_ECLOSED);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "no", NULL),
                     AICO_ECLOSED);
    assert_false(sessions_has_channel(net.nodes[BACKEND].sessions,
                                      net_moment(&net, &net.nodes[BACKEND]), bytes_text("cli")));
}

static void a_generation_rotates_and_everything_is_read(void **state UNUSED)
{
    char text[20];
    uint64_t first;

    for (int i = 0; i < EVERYBODY; i++) {
        net_stop_node(&net, i);
        net.nodes[i].settings.key_rotation_interval_ms = 60000;
        net_start_node(&net, i);
    }
    net_prepare(&net, CLI, LOGS);
    first = net.nodes[CLI].generation;
    for (int i = 0; i < 400; i++) {
        net_advance(&net, 500);
        (void)snprintf(text, sizeof(text), "%d", i);
        assert_int_equal(net_publish(&net, CLI, LOGS, text), 0);
    }
    net_advance(&net, 3000);
    assert_true(net.nodes[CLI].generation >= first + 3 * 50000);
    for (int i = 0; i < 400; i++) {
        (void)snprintf(text, sizeof(text), "%d", i);
        assert_heard(&net, BACKEND, (size_t)i, text);
        assert_heard(&net, STUDIO, (size_t)i, text);
    }
    assert_no_gaps();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_net, close_net)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_dialled_peer_is_ready_and_hears_what_is_said),
        TEST(both_dial_and_one_channel_is_used),
        TEST(a_reply_is_bound_to_its_request),
        TEST(nobody_may_say_what_no_rule_allows),
        TEST(a_lost_hello_is_repaired_by_another),
        TEST(a_lost_hello_is_soon_said_again),
        TEST(many_that_are_met_are_not_asked_more_often_than_one),
        TEST(a_hello_of_another_version_is_refused_by_name),
        TEST(an_absent_peer_is_lost_after_the_last_attempt),
        TEST(a_peer_the_broker_says_is_away_is_lost_at_once),
        TEST(a_peer_that_restarted_is_dialled_anew),
        TEST(ping_is_answered_by_number),
        TEST(pings_have_a_rate),
        TEST(a_broken_link_means_new_channels),
        TEST(a_silent_peer_is_named),
        TEST(an_idle_channel_lives_by_its_pings),
        TEST(drop_tail),
        TEST(a_rekey_loses_and_doubles_nothing),
        TEST(every_entitled_reader_opens_the_first_message),
        TEST(an_unprepared_message_fetches_its_key),
        TEST(drop_group_key_once),
        TEST(a_late_reader_joins_and_reads_on),
        TEST(a_restarted_publisher_goes_on_in_a_new_generation),
        TEST(removed_reads),
        TEST(a_revoked_peer_loses_its_channels_at_once),
        TEST(hidden_revocation),
        TEST(a_rule_for_one_needs_no_sender_proof_and_many_get_signatures),
        TEST(a_dropped_first_message_is_a_gap_by_heads),
        TEST(what_ended_with_a_generation_is_still_counted),
        TEST(what_a_window_missed_is_told_when_its_generation_is_forgotten),
        TEST(a_batch_is_many_messages_and_one_envelope),
        TEST(a_lost_batch_counts_by_its_messages),
        TEST(a_late_reader_counts_from_where_it_came),
        TEST(who_stops_listening_hears_of_no_gap),
        TEST(who_listens_again_counts_from_the_list),
        TEST(false_members_get_no_key),
        TEST(invented_key_ids_cost_a_reader_little),
        TEST(final_dropped_at_rekey),
        TEST(a_closed_manager_needs_no_timer),
        TEST(closing_says_what_was_last),
        TEST(a_generation_rotates_and_everything_is_read),
    };

    assert_int_equal(crypto_start(), 0);
    return cmocka_run_group_tests_name("session/peers", tests, NULL, NULL);
}
