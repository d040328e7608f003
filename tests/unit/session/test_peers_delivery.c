/* SPDX-License-Identifier: Apache-2.0 */
/* Delivery kinds end to end: what one of a queue group reads; no kind passes for another. */
#include "peers_net.h"

enum { BACKEND, CLI, STUDIO, EVERYBODY };
static const char *const names[] = {"backend", "cli", "studio"};

#define LOGS "logs/app/v1"

static struct net net;
static struct parcel *kept; /* what the broker held back, newest first */

static const char *rule_filter = "logs/**";

static void rules(struct registry_draft *draft)
{
    draft_rule(draft, rule_filter, "cli", "backend,studio", SEAL_GROUP, AUTHENTICITY_SENDER);
}

static int open_net(void **state UNUSED)
{
    net_open(&net, names, EVERYBODY, rules);
    return 0;
}

static int close_net(void **state UNUSED)
{
    while (kept) {
        struct parcel *parcel = kept;

        kept = parcel->next;
        buffer_deinit(&parcel->bytes);
        free(parcel);
    }
    net_close(&net);
    return 0;
}

static bool hold_back(struct net *n UNUSED, struct parcel *parcel, void *context UNUSED)
{
    struct parcel *copy;

    if (strcmp(parcel->topic, LOGS) != 0)
        return true;
    copy = calloc(1, sizeof(*copy));
    assert_non_null(copy);
    *copy = *parcel;
    copy->bytes = (struct buffer){0};
    assert_int_equal(buffer_append(&copy->bytes, buffer_view(&parcel->bytes)), 0);
    copy->next = kept;
    kept = copy;
    return false;
}

/* The broker passes on what it held back, as @delivery. */
static void let_go(const struct parcel *parcel, uint8_t delivery)
{
    net_post(&net, parcel->from, parcel->to, delivery, bytes_text(parcel->topic), NULL,
             buffer_view(&parcel->bytes));
    net_run(&net);
}

static void subscribe(int node, bool shared)
{
    assert_int_equal(sessions_subscribed(net.nodes[node].sessions,
                                         net_moment(&net, &net.nodes[node]), bytes_text("logs/**"),
                                         shared),
                     0);
}

static void publish(const char *text)
{
    assert_int_equal(net_publish(&net, CLI, LOGS, text), 0);
    net_run(&net);
}

/* Lets only every other one pass. */
static bool every_other(struct net *n UNUSED, struct parcel *parcel, void *context)
{
    return strcmp(parcel->topic, LOGS) != 0 || ++*(int *)context % 2 == 0;
}

static void what_other_members_get_is_no_gap(void **state UNUSED)
{
    int turn = 0;

    subscribe(BACKEND, true);
    subscribe(STUDIO, false);
    net_prepare(&net, CLI, LOGS);
    net.pass = every_other;
    net.pass_context = &turn;
    for (int i = 0; i < 10; i++)
        publish("job");
    net_advance(&net, 200000); /* HEADS too */
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 5);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_GAP), 0);
    assert_true(count_notes(&net, STUDIO, SESSION_GAP) > 0); /* who reads all misses them */
}

/* What waited for another member that left comes late. */
static void a_member_reads_out_of_order_and_each_once(void **state UNUSED)
{
    subscribe(BACKEND, true);
    net_prepare(&net, CLI, LOGS);
    net.pass = hold_back;
    publish("one");
    net.pass = NULL;
    publish("two");
    publish("three");
    let_go(kept, DELIVERY_EVENT);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 3);
    assert_heard(&net, BACKEND, 2, "one");
    let_go(kept, DELIVERY_EVENT);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 3);
    assert_int_equal(note_at(&net, BACKEND, SESSION_FAILED, 0)->code, AICO_EREPLAY);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_GAP), 0);
}

/* ... even when the publisher's epoch has gone on meanwhile. */
static void a_member_reads_what_was_sealed_in_the_epoch_before(void **state UNUSED)
{
    subscribe(BACKEND, true);
    net_prepare(&net, CLI, LOGS);
    publish("first");
    net.pass = hold_back;
    publish("one");
    net.pass = NULL;
    net_advance(&net, 61000);
    publish("two");
    let_go(kept, DELIVERY_EVENT);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 3);
    assert_heard(&net, BACKEND, 2, "one");
}

static void who_reads_all_again_begins_with_what_comes(void **state UNUSED)
{
    int turn = 0;

    subscribe(BACKEND, true);
    net_prepare(&net, CLI, LOGS);
    net.pass = every_other;
    net.pass_context = &turn;
    for (int i = 0; i < 4; i++)
        publish("job");
    net.pass = NULL;
    subscribe(BACKEND, false);
    net_advance(&net, 1000);
    publish("all");
    assert_int_equal(count_notes(&net, BACKEND, SESSION_GAP), 0);
    net.pass = hold_back;
    publish("lost");
    net.pass = NULL;
    publish("after");
    assert_int_equal(note_at(&net, BACKEND, SESSION_GAP, 0)->count, 1);
    let_go(kept, DELIVERY_EVENT); /* strict again */
    assert_int_equal(note_at(&net, BACKEND, SESSION_FAILED, 0)->code, AICO_EREPLAY);
}

/* Row 33. */
static void event_as_retained(void **state UNUSED)
{
    subscribe(BACKEND, false);
    net_prepare(&net, CLI, LOGS);
    publish("first");
    net.pass = hold_back;
    publish("event");
    net.pass = NULL;
    let_go(kept, DELIVERY_RETAINED);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 1);
    assert_int_equal(note_at(&net, BACKEND, SESSION_FAILED, 0)->code, AICO_EOPEN);
    let_go(kept, DELIVERY_EVENT); /* nothing had moved */
    assert_heard(&net, BACKEND, 1, "event");
}

/* A reader asks the publisher for its value; it comes over their channel, of its own kind. */
static void a_value_is_asked_for_and_given_over_the_channel(void **state UNUSED)
{
    struct node *backend = &net.nodes[BACKEND];
    const struct note *note;

    assert_int_equal(sessions_ask_again(backend->sessions, net_moment(&net, backend),
                                        bytes_text("cli"), bytes_text(LOGS)),
                     AICO_ESTATE);
    assert_int_equal(net_dial(&net, BACKEND, CLI), 0);
    net_run(&net);
    assert_int_equal(sessions_ask_again(backend->sessions, net_moment(&net, backend),
                                        bytes_text("cli"), bytes_text(LOGS)),
                     0);
    net_drain(&net, BACKEND);
    net_run(&net);
    note = note_at(&net, CLI, SESSION_AGAIN, 0);
    assert_string_equal(note->peer, "backend");
    assert_string_equal(note->topic, LOGS);
    assert_int_equal(net_say(&net, CLI, BACKEND, LOGS, DELIVERY_RETAINED, NULL, "value", NULL), 0);
    net_run(&net);
    assert_heard(&net, BACKEND, 0, "value");
    net.pass = hold_back;
    assert_int_equal(net_say(&net, CLI, BACKEND, LOGS, DELIVERY_RETAINED, NULL, "value", NULL), 0);
    net_run(&net);
    net.pass = NULL;
    let_go(kept, DELIVERY_EVENT); /* nor does a value pass for an event */
    assert_int_equal(note_at(&net, BACKEND, SESSION_FAILED, 0)->code, AICO_EOPEN);
}

/* --- last wills ----------------------------------------------------------------------------- */

/* A will of CLI, kept by the broker. */
static struct parcel *will(const char *text)
{
    struct node *cli = &net.nodes[CLI];
    size_t size = sessions_envelope_size(cli->sessions, 0, strlen(text));
    struct parcel *parcel = calloc(1, sizeof(*parcel));
    struct writer w;

    assert_non_null(parcel);
    w = writer_over(buffer_reserve(&parcel->bytes, size), size);
    assert_int_equal(sessions_seal_will(cli->sessions, net_moment(&net, cli), bytes_text(LOGS),
                                        bytes_text(text), &w),
                     0);
    net_drain(&net, CLI);
    parcel->bytes.size = w.size;
    parcel->from = CLI;
    parcel->to = -1;
    (void)snprintf(parcel->topic, sizeof(parcel->topic), "%s", LOGS);
    parcel->next = kept;
    kept = parcel;
    return parcel;
}

static struct group_stamp stamp(void)
{
    struct group_stamp stamp = {0};

    assert_true(sessions_group_stamp(net.nodes[CLI].sessions, bytes_text(LOGS), &stamp));
    return stamp;
}

static void a_will_is_read_once_and_is_no_part_of_the_row(void **state UNUSED)
{
    const struct parcel *parcel;

    subscribe(BACKEND, false);
    net_prepare(&net, CLI, LOGS);
    publish("one");
    parcel = will("gone");
    publish("two");
    let_go(parcel, DELIVERY_EVENT);
    publish("three"); /* it was not gone: what follows is read, and nothing is missing */
    net_advance(&net, 200000);
    assert_heard(&net, BACKEND, 2, "gone");
    assert_true(note_at(&net, BACKEND, SESSION_MESSAGE, 2)->will);
    assert_heard(&net, BACKEND, 3, "three");
    assert_false(note_at(&net, BACKEND, SESSION_MESSAGE, 3)->will);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_GAP), 0);
    let_go(parcel, DELIVERY_EVENT);
    assert_true(note_at(&net, BACKEND, SESSION_FAILED, 0)->code == AICO_EREPLAY ||
                note_at(&net, BACKEND, SESSION_FAILED, 0)->code == AICO_EEPOCHBACK);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 4);
}

/* Its host is gone; the broker notices late, when the reader has left the epoch by itself. */
static void a_will_outlives_the_readers_idle_step(void **state UNUSED)
{
    const struct parcel *parcel;

    subscribe(BACKEND, false);
    net_prepare(&net, CLI, LOGS);
    publish("one");
    parcel = will("gone");
    net_stop_node(&net, CLI);
    net_advance(&net, 100000);
    let_go(parcel, DELIVERY_EVENT);
    assert_heard(&net, BACKEND, 1, "gone");
}

/* A reader that had the key is another process when the will comes, and its publisher is gone. */
static void a_reader_that_starts_again_has_the_key_of_a_will(void **state UNUSED)
{
    const struct parcel *parcel;

    net_prepare(&net, CLI, LOGS);
    publish("alive");
    parcel = will("gone");
    net_stop_node(&net, BACKEND);
    net_start_node(&net, BACKEND);
    subscribe(BACKEND, false);
    assert_int_equal(net_dial(&net, BACKEND, CLI), 0);
    net_advance(&net, 1000);
    net_stop_node(&net, CLI);
    net_forget_notes(&net);
    let_go(parcel, DELIVERY_EVENT);
    assert_heard(&net, BACKEND, 0, "gone");
}

/* The broker says so, and nobody has a word for its publisher. */
static void a_reader_that_is_another_process_is_dialled_for_the_key_of_a_will(void **state UNUSED)
{
    struct node *cli = &net.nodes[CLI];
    const struct parcel *parcel;

    net_prepare(&net, CLI, LOGS);
    parcel = will("gone");
    net_stop_node(&net, BACKEND);
    net_start_node(&net, BACKEND);
    subscribe(BACKEND, false);
    sessions_peer_renewed(cli->sessions, net_moment(&net, cli), bytes_text("backend"));
    net_drain(&net, CLI);
    net_run(&net);
    net_stop_node(&net, CLI);
    net_forget_notes(&net);
    let_go(parcel, DELIVERY_EVENT);
    assert_heard(&net, BACKEND, 0, "gone");
}

static bool drop_keys(struct net *n UNUSED, struct parcel *parcel, void *context UNUSED)
{
    return parcel->delivery != DELIVERY_CONTROL;
}

/* The channel outlives the reader's link, but what is sent over it meanwhile does not come. */
static void a_key_given_while_the_reader_was_away_is_given_again(void **state UNUSED)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(net.registry, bytes_text(NAMESPACE));
    struct node *cli = &net.nodes[CLI];
    const struct parcel *parcel;

    subscribe(BACKEND, false);
    net_prepare(&net, CLI, LOGS);
    (void)will("former");
    assert_int_equal(registry_draft_set_state(draft, "studio", COMPONENT_REVOKED), 0);
    net.pass = drop_keys;
    net_set_registry(&net, registry_make(draft), 1u << STUDIO);
    net_run(&net);
    net.pass = NULL;
    sessions_peer_present(cli->sessions, net_moment(&net, cli), bytes_text("backend"));
    net_drain(&net, CLI);
    net_run(&net);
    parcel = will("gone");
    net_stop_node(&net, CLI);
    let_go(parcel, DELIVERY_EVENT);
    assert_heard(&net, BACKEND, 0, "gone");
}

/* The generation rotates when no channel stands any more. */
static void a_new_generation_of_a_will_is_handed_out_by_itself(void **state UNUSED)
{
    struct group_stamp before;
    const struct parcel *parcel;

    for (int i = 0; i < EVERYBODY; i++) {
        net.nodes[i].settings.key_rotation_interval_ms = 120000;
        net.nodes[i].settings.session_timeout_ms = 60000;
        net_stop_node(&net, i);
        net_start_node(&net, i);
    }
    subscribe(BACKEND, false);
    net_prepare(&net, CLI, LOGS);
    (void)will("former");
    before = stamp();
    while (stamp().generation == before.generation)
        net_advance(&net, 10000);
    net_advance(&net, 10000);
    parcel = will("gone");
    net_stop_node(&net, CLI);
    let_go(parcel, DELIVERY_EVENT);
    assert_heard(&net, BACKEND, 0, "gone");
}

static void a_will_is_sealed_anew_with_each_epoch_and_generation(void **state UNUSED)
{
    struct group_stamp before, after;
    const struct parcel *parcel;

    subscribe(BACKEND, false);
    net_prepare(&net, CLI, LOGS);
    before = stamp();
    (void)will("nobody has said anything");
    net_advance(&net, 100000);
    assert_int_equal(stamp().epoch, before.epoch); /* a will alone does not end an epoch */
    for (int i = 0; i < 5; i++) {
        publish("traffic");
        net_advance(&net, 61000);
    }
    after = stamp();
    assert_true(after.epoch > before.epoch && after.generation == before.generation);
    parcel = will("gone");
    let_go(parcel, DELIVERY_EVENT);
    assert_heard(&net, BACKEND, 5, "gone");
}

/* Neither a removed reader nor another kind opens it, and no message passes for a will. */
static void a_will_is_bound_to_its_readers_and_kind(void **state UNUSED)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(net.registry, bytes_text(NAMESPACE));
    const struct parcel *parcel;

    subscribe(BACKEND, false);
    subscribe(STUDIO, false);
    net_prepare(&net, CLI, LOGS);
    publish("one");
    parcel = will("gone");
    let_go(parcel, DELIVERY_RETAINED);
    assert_int_equal(note_at(&net, BACKEND, SESSION_FAILED, 0)->code, AICO_EOPEN);
    /* All but the trailer, in which the other reader's slot is not for this one to check. */
    for (size_t i = 0; i < parcel->bytes.size - (2 * 16 + 1); i++) {
        parcel->bytes.at[i] ^= 1;
        let_go(parcel, DELIVERY_EVENT);
        parcel->bytes.at[i] ^= 1;
    }
    net_advance(&net, 40000);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 1);

    /* STUDIO keeps all its keys: it does not hear of the registry. */
    draft_rule(draft, "logs/**", "cli", "backend", SEAL_GROUP, AUTHENTICITY_SENDER);
    net_set_registry(&net, registry_make(draft), 1u << STUDIO);
    net_run(&net);
    parcel = will("gone anew");
    let_go(parcel, DELIVERY_EVENT);
    net_advance(&net, 40000);
    assert_heard(&net, BACKEND, 1, "gone anew");
    assert_int_equal(count_notes(&net, STUDIO, SESSION_MESSAGE), 1);
}

/* The publisher has something to say just before the reader's dial comes to its end. */
static bool prepare_before_hello3(struct net *n, struct parcel *parcel, void *context UNUSED)
{
    if (parcel->bytes.size == HELLO3_SIZE && parcel->bytes.at[1] == HANDSHAKE_HELLO3) {
        n->pass = NULL;
        assert_int_equal(sessions_prepare_group(n->nodes[CLI].sessions,
                                                net_moment(n, &n->nodes[CLI]), bytes_text(LOGS)),
                         AICO_ESTATE);
    }
    return true;
}

/* Who publishes one message and leaves is not there any more to be asked for the key. */
static void a_reader_that_dials_meanwhile_has_the_key_before_the_message(void **state UNUSED)
{
    net_stop_node(&net, STUDIO);
    sessions_peer_away(net.nodes[CLI].sessions, net_moment(&net, &net.nodes[CLI]),
                       bytes_text("studio"), AICO_EPEERAWAY);
    net.pass = prepare_before_hello3;
    assert_int_equal(net_dial(&net, BACKEND, CLI), 0);
    net_run(&net);
    assert_int_equal(net_publish(&net, CLI, LOGS, "the only one"), 0);
    net_stop_node(&net, CLI);
    net_advance(&net, 40000);
    assert_heard(&net, BACKEND, 0, "the only one");
}

static bool drop_handshakes(struct net *n UNUSED, struct parcel *parcel, void *context UNUSED)
{
    return strcmp(parcel->topic, SESSION_TOPIC_CONTROL) != 0;
}

/* A publisher that waited in vain for its readers' handshakes does not leave before they have the
 * key; who is away is not waited for. */
static void who_leaves_hands_over_the_key(void **state UNUSED)
{
    struct sessions *cli = net.nodes[CLI].sessions;
    struct bytes name = bytes_text("none");

    sessions_hand_over(cli, net_moment(&net, &net.nodes[CLI]));
    assert_int_equal(sessions_keyless(cli, &name), 0); /* nothing was said */
    net_stop_node(&net, STUDIO);
    net.pass = drop_handshakes;
    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "the only one"), 0);
    net_run(&net);
    sessions_hand_over(cli, net_moment(&net, &net.nodes[CLI]));
    assert_int_equal(sessions_keyless(cli, &name), 2);
    assert_true(bytes_equal_text(name, "backend"));
    sessions_peer_away(cli, net_moment(&net, &net.nodes[CLI]), bytes_text("studio"),
                       AICO_EPEERAWAY);
    assert_int_equal(sessions_keyless(cli, &name), 1);

    net.pass = NULL;
    net_advance(&net, 10000);
    assert_int_equal(sessions_keyless(cli, &name), 0);
    net_stop_node(&net, CLI);
    net_advance(&net, 40000);
    assert_heard(&net, BACKEND, 0, "the only one");
}

static void hear(const char *filter)
{
    assert_int_equal(sessions_subscribed(net.nodes[BACKEND].sessions,
                                         net_moment(&net, &net.nodes[BACKEND]), bytes_text(filter),
                                         false),
                     0);
}

static bool drop_one(struct net *n UNUSED, struct parcel *parcel, void *left)
{
    if (strcmp(parcel->topic, LOGS) != 0 || *(int *)left == 0)
        return true;
    --*(int *)left;
    return false;
}

/* Of a rule and of a subscription. */
static void loss_from_the_start_is_told_however_filters_are_spelled(void **state UNUSED)
{
    static const char *const pairs[][2] = {{"logs/**", "logs/app/v1"},   {"logs/#", "logs/app/v1"},
                                           {"logs/+/v1", "logs/app/v1"}, {"logs/*/v1", "logs/+/v1"},
                                           {"logs/**", "logs/#"},        {"logs/**", "+/*/v1"}};

    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
        int left = 1;

        rule_filter = pairs[i][0];
        net_open(&net, names, EVERYBODY, rules);
        hear(pairs[i][1]);
        net_prepare(&net, CLI, LOGS);
        net.pass = drop_one;
        net.pass_context = &left;
        assert_int_equal(net_publish(&net, CLI, LOGS, "lost"), 0);
        net_run(&net);
        assert_int_equal(net_publish(&net, CLI, LOGS, "heard"), 0);
        net_run(&net);
        net_advance(&net, 200000);
        assert_int_equal(count_notes(&net, BACKEND, SESSION_GAP), 1);
        net_close(&net);
    }
    rule_filter = "logs/**";
}

/* Its topic was given up while it waited for its key: it is no sign that the topic is heard. */
static void what_waited_too_long_does_not_begin_a_topic_anew(void **state UNUSED)
{
    struct sessions *backend = net.nodes[BACKEND].sessions;

    hear("logs/**");
    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "one"), 0);
    net_run(&net);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 1);
    net_stop_node(&net, CLI); /* and begins a generation whose key is to come */
    net_start_node(&net, CLI);
    net.pass = drop_keys;
    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "late"), 0);
    net_run(&net);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 1);
    sessions_unsubscribed(backend, bytes_text("logs/**"), false);
    net.pass = NULL;
    net_advance(&net, 20000);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 2);
    net.nodes[BACKEND].deaf = true;
    assert_int_equal(net_publish(&net, CLI, LOGS, "unheard"), 0);
    net_run(&net);
    net.nodes[BACKEND].deaf = false;
    hear("logs/**");
    assert_int_equal(net_publish(&net, CLI, LOGS, "three"), 0);
    net_advance(&net, 61000);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 3);
    for (const struct note *note = net.nodes[BACKEND].notes; note; note = note->next)
        assert_int_equal(note->count, 0); /* how many were lost with the channel is not known */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_net, close_net)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_other_members_get_is_no_gap),
        TEST(a_member_reads_out_of_order_and_each_once),
        TEST(a_member_reads_what_was_sealed_in_the_epoch_before),
        TEST(who_reads_all_again_begins_with_what_comes),
        TEST(event_as_retained),
        TEST(a_value_is_asked_for_and_given_over_the_channel),
        TEST(a_will_is_read_once_and_is_no_part_of_the_row),
        TEST(a_will_outlives_the_readers_idle_step),
        TEST(a_reader_that_starts_again_has_the_key_of_a_will),
        TEST(a_reader_that_is_another_process_is_dialled_for_the_key_of_a_will),
        TEST(a_key_given_while_the_reader_was_away_is_given_again),
        TEST(a_new_generation_of_a_will_is_handed_out_by_itself),
        TEST(a_will_is_sealed_anew_with_each_epoch_and_generation),
        TEST(a_will_is_bound_to_its_readers_and_kind),
        TEST(a_reader_that_dials_meanwhile_has_the_key_before_the_message),
        TEST(who_leaves_hands_over_the_key),
        cmocka_unit_test(loss_from_the_start_is_told_however_filters_are_spelled),
        TEST(what_waited_too_long_does_not_begin_a_topic_anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
