/* SPDX-License-Identifier: Apache-2.0 */
/* Direct messages of format 0 with a component that is marked `peer aico` (PROTOCOL 5.5). */
#include "peers_net.h"

#include "session/level.h"

#include "crypto/kx.h"
#include "envelope/format0.h"
#include "envelope/metadata.h"

/* backend is the seed's. */
enum { BACKEND, CLI, FRONTEND, EVERYBODY };
static const char *const names[] = {"backend", "cli", "frontend"};

#define TALK "talk/v1"
#define BOUND_MS 30000

static struct net net;

static void rules_unmarked(struct registry_draft *draft)
{
    draft_rule(draft, "talk/**", "*", "*", SEAL_CHANNEL, AUTHENTICITY_SENDER);
    draft_rule(draft, "orders/**", "cli", "backend", SEAL_CHANNEL, AUTHENTICITY_SENDER);
    draft_rule(draft, "news/**", "*", "*", SEAL_GROUP, AUTHENTICITY_SENDER);
}

static void mark_backend(struct registry_draft *draft)
{
    assert_int_equal(registry_draft_set_peer_aico(draft, "backend"), 0);
}

static void rules(struct registry_draft *draft)
{
    rules_unmarked(draft);
    mark_backend(draft);
}

static int open_net(void **state)
{
    (void)state;
    net_open(&net, names, EVERYBODY, rules);
    return 0;
}

static int open_unmarked(void **state)
{
    (void)state;
    net_open(&net, names, EVERYBODY, rules_unmarked);
    return 0;
}

static int close_net(void **state)
{
    (void)state;
    net_close(&net);
    return 0;
}

static struct registry *changed(void (*change)(struct registry_draft *))
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(net.registry, bytes_text(NAMESPACE));

    change(draft);
    return registry_make(draft);
}

static struct moment now_at(int at)
{
    return net_moment(&net, &net.nodes[at]);
}

/* The last failure of @at; 0: none. */
static int failure(int at)
{
    const struct note *note;
    int code = 0;

    LL_FOREACH(net.nodes[at].notes, note)
    if (note->type == SESSION_FAILED)
        code = note->code;
    return code;
}

/* --- what the seed's own software would say --------------------------------------------------- */

struct words {
    int from, to, as_server; /* as_server: sealed with the answer key of a dialogue of @to's */
    const char *topic, *metadata;
    uint8_t delivery, number; /* the nonce is all @number */
    const uint8_t *ref;
};

static void seed_envelope(const struct words *w, uint8_t *room, size_t capacity, struct bytes *ret)
{
    uint8_t nonce[ENVELOPE_NONCE_SIZE];
    struct writer out = writer_over(room, capacity);
    struct secret rx, tx;

    memset(nonce, w->number, sizeof(nonce));
    assert_int_equal(kx_static(&net.nodes[w->from].identity->seed,
                               net.nodes[w->to].identity->public, !w->as_server, &rx, &tx),
                     0);
    assert_int_equal(
        format0_seal(&tx, nonce, bytes_text(w->metadata), bytes_text("said"), 1000, &out), 0);
    *ret = writer_view(&out);
}

/* 0, or why the receiver did not take it. */
static int say_as_seed(const struct words *w)
{
    uint8_t room[1000];
    struct bytes bytes;

    net_forget_notes(&net);
    seed_envelope(w, room, sizeof(room), &bytes);
    net_post(&net, w->from, w->to, w->delivery, bytes_text(w->topic), w->ref, bytes);
    net_run(&net);
    assert_int_equal(
        count_notes(&net, w->to, SESSION_MESSAGE) + count_notes(&net, w->to, SESSION_FAILED), 1);
    return failure(w->to);
}

/* {"timestamp": ...} of the test's clock and @ms more. */
static const char *stamped(int64_t ms)
{
    static uint8_t room[200];
    struct metadata_writer m;
    struct bytes metadata;

    metadata_begin(&m, room, sizeof(room) - 1);
    metadata_seconds(&m, "timestamp", START_MS + net.now_ms + ms);
    assert_int_equal(metadata_end(&m, &metadata), 0);
    room[metadata.size] = 0;
    return (const char *)room;
}

static int say_stamped(uint8_t number, int64_t ms)
{
    return say_as_seed(
        &(struct words){BACKEND, CLI, 0, TALK, stamped(ms), DELIVERY_EVENT, number, NULL});
}

/* --- both ways -------------------------------------------------------------------------------- */

static bool count_and_check(struct net *n, struct parcel *parcel, void *context)
{
    (void)n;
    ++*(int *)context;
    assert_true(parcel->bytes.size > ENVELOPE_OVERHEAD);
    assert_int_equal(parcel->bytes.at[32], 0);
    return true;
}

static void no_handshake_is_needed_and_none_takes_place(void **state UNUSED)
{
    uint8_t ref[SESSION_REF_SIZE];
    const struct note *note;
    int parcels = 0;

    net.pass = count_and_check;
    net.pass_context = &parcels;
    assert_true(sessions_has_channel(net.nodes[CLI].sessions, now_at(CLI), bytes_text("backend")));
    assert_false(
        sessions_has_channel(net.nodes[CLI].sessions, now_at(CLI), bytes_text("frontend")));
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_int_equal(count_notes(&net, CLI, SESSION_READY), 1);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "hello", NULL), 0);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_REQUEST, NULL, "you?", ref), 0);
    net_run(&net);
    assert_heard(&net, BACKEND, 0, "hello");
    note = note_at(&net, BACKEND, SESSION_MESSAGE, 1);
    assert_string_equal(note->text, "you?");
    assert_string_equal(note->peer, "cli");
    assert_int_equal(note->sequence, 1);
    assert_memory_equal(note->ref, ref, sizeof(ref));
    assert_int_equal(net_say(&net, BACKEND, CLI, TALK, DELIVERY_REPLY, ref, "yes", NULL), 0);
    net_run(&net);
    assert_heard(&net, CLI, 0, "yes");
    assert_int_equal(parcels, 3);
}

static void a_reply_nobody_waits_for_is_refused(void **state UNUSED)
{
    assert_int_equal(
        say_as_seed(&(struct words){BACKEND, CLI, 0, TALK, "{}", DELIVERY_REPLY, 1, NULL}),
        AICO_ENOREQUEST);
}

static void format_0_is_taken_only_from_a_marked_component(void **state UNUSED)
{
    struct words w = {BACKEND, CLI, 0, TALK, "{}", DELIVERY_EVENT, 1, NULL};

    assert_int_equal(say_as_seed(&w), AICO_EFORMAT);
    net_set_registry(&net, changed(mark_backend), 0);
    assert_int_equal(say_as_seed(&w), 0);
    w.from = FRONTEND;
    assert_int_equal(say_as_seed(&w), AICO_EFORMAT);
}

static void a_mark_ends_the_wait_for_a_channel(void **state UNUSED)
{
    net_stop_node(&net, BACKEND);
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_int_equal(count_notes(&net, CLI, SESSION_READY), 0);
    net_set_registry(&net, changed(mark_backend), 0);
    assert_int_equal(count_notes(&net, CLI, SESSION_READY), 1);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "hello", NULL), 0);
}

static void a_publisher_does_not_wait_for_a_reader_of_format_0(void **state UNUSED)
{
    net_stop_node(&net, BACKEND);
    assert_int_equal(net_dial(&net, FRONTEND, CLI), 0);
    net_run(&net);
    (void)!sessions_prepare_group(net.nodes[CLI].sessions, now_at(CLI), bytes_text("news/a"));
    net_advance(&net, 0);
    assert_int_equal(
        sessions_prepare_group(net.nodes[CLI].sessions, now_at(CLI), bytes_text("news/a")), 0);
}

static void it_has_no_headers_and_no_ping(void **state UNUSED)
{
    uint8_t room[4000];
    struct writer w = writer_over(room, sizeof(room));
    uint64_t number;

    assert_int_equal(sessions_seal_direct(net.nodes[CLI].sessions, now_at(CLI),
                                          bytes_text("backend"), bytes_text(TALK), DELIVERY_EVENT,
                                          NULL, bytes_text("\1a\0\1b"), bytes_text("x"), &w, NULL),
                     AICO_EFORMAT);
    assert_int_equal(w.size, 0);
    assert_int_equal(
        sessions_ping(net.nodes[CLI].sessions, now_at(CLI), bytes_text("backend"), &number),
        AICO_EFORMAT);
}

static void the_longest_topic_has_room(void **state UNUSED)
{
    char topic[TOPIC_SIZE_MAX + 1];
    size_t with =
        sessions_direct_size(net.nodes[CLI].sessions, now_at(CLI), bytes_text("backend"), 0, 100);

    memset(topic, '"', TOPIC_SIZE_MAX);
    memcpy(topic, "talk/", 5);
    topic[TOPIC_SIZE_MAX] = 0;
    assert_int_equal(net_say(&net, CLI, BACKEND, topic, DELIVERY_EVENT, NULL, "fits", NULL), 0);
    net_run(&net);
    assert_heard(&net, BACKEND, 0, "fits");
    assert_true(with > 100 + TOPIC_SIZE_MAX * 6);
    /* And only where it is needed. */
    assert_int_equal(
        sessions_direct_size(net.nodes[CLI].sessions, now_at(CLI), bytes_text("frontend"), 0, 100),
        sessions_envelope_size(net.nodes[CLI].sessions, 0, 100));
}

/* --- replay ----------------------------------------------------------------------------------- */

static void a_timestamp_must_lie_within_the_bound(void **state UNUSED)
{
    assert_int_equal(say_stamped(1, -BOUND_MS), 0);
    assert_int_equal(say_stamped(2, BOUND_MS), 0);
    assert_int_equal(say_stamped(3, -BOUND_MS - 1), AICO_ESTALE);
    assert_int_equal(say_stamped(4, BOUND_MS + 1), AICO_ESTALE);
    /* What was refused is not remembered: its time may come. */
    assert_int_equal(say_stamped(4, BOUND_MS), 0);
}

static void a_replay_is_refused_as_long_as_it_would_be_fresh(void **state UNUSED)
{
    struct words w = {BACKEND, CLI, 0, TALK, stamped(BOUND_MS), DELIVERY_EVENT, 1, NULL};

    assert_int_equal(say_as_seed(&w), 0);
    assert_int_equal(say_as_seed(&w), AICO_EREPLAY);
    net.now_ms += (int64_t)2 * BOUND_MS;
    assert_int_equal(say_as_seed(&w), AICO_EREPLAY);
    net.now_ms += 1;
    assert_int_equal(say_as_seed(&w), AICO_ESTALE);
}

static void without_a_timestamp_a_replay_is_refused_for_ever(void **state UNUSED)
{
    struct words w = {BACKEND, CLI, 0, TALK, "{}", DELIVERY_EVENT, 1, NULL};

    assert_int_equal(say_as_seed(&w), 0);
    net.now_ms += (int64_t)365 * 86400000;
    assert_int_equal(say_as_seed(&w), AICO_EREPLAY);
}

static void no_more_than_65536_can_be_without_a_timestamp(void **state UNUSED)
{
    struct sessions *cli = net.nodes[CLI].sessions;
    struct session_event event = {0};
    uint8_t nonce[ENVELOPE_NONCE_SIZE] = {0}, room[200];
    struct secret rx, tx;

    assert_int_equal(kx_static(&net.nodes[BACKEND].identity->seed, net.nodes[CLI].identity->public,
                               true, &rx, &tx),
                     0);
    for (uint32_t i = 0; i <= 65536; i++) {
        struct writer w = writer_over(room, sizeof(room));

        memcpy(nonce, &i, sizeof(i));
        assert_int_equal(format0_seal(&tx, nonce, bytes_text("{}"), bytes_text("x"), 1000, &w), 0);
        sessions_receive_direct(cli, now_at(CLI), bytes_text("backend"), NULL, bytes_text(TALK),
                                DELIVERY_EVENT, writer_view(&w), NULL, NULL);
        assert_true(sessions_next(cli, &event));
        assert_int_equal(event.type, i < 65536 ? SESSION_MESSAGE : SESSION_FAILED);
    }
    assert_int_equal(event.code, AICO_ELIMIT);
    assert_int_equal(say_stamped(1, 0), 0);
}

/* --- what else could be wrong ----------------------------------------------------------------- */

static void the_topic_in_the_metadata_is_that_of_the_record(void **state UNUSED)
{
    struct words w = {BACKEND, CLI, 0, TALK, "{\"topic\": \"talk/v2\"}", DELIVERY_EVENT, 1, NULL};

    assert_int_equal(say_as_seed(&w), AICO_EOPEN);
    w.topic = "talk/v2";
    assert_int_equal(say_as_seed(&w), 0);
}

static void the_sender_is_the_client_or_answers_a_dialogue_of_ours(void **state UNUSED)
{
    struct words w = {BACKEND, CLI, 1, TALK, "{}", DELIVERY_EVENT, 1, NULL};

    assert_int_equal(say_as_seed(&w), AICO_EOPEN);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "hello", NULL), 0);
    assert_int_equal(say_as_seed(&w), 0);
}

static void nobody_else_s_key_opens_nor_our_own(void **state UNUSED)
{
    struct words w = {FRONTEND, CLI, 0, TALK, "{}", DELIVERY_EVENT, 1, NULL};
    uint8_t room[1000];
    struct bytes bytes;

    seed_envelope(&w, room, sizeof(room), &bytes);
    net_post(&net, BACKEND, CLI, DELIVERY_EVENT, bytes_text(TALK), NULL, bytes);
    net_run(&net);
    assert_int_equal(failure(CLI), AICO_EOPEN);
    /* Sent back to its sender. */
    net_forget_notes(&net);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "hello", NULL), 0);
    net.parcels->from = BACKEND;
    net.parcels->to = CLI;
    net_run(&net);
    assert_int_equal(failure(CLI), AICO_EOPEN);
}

static void every_flipped_bit_is_refused_and_costs_nothing(void **state UNUSED)
{
    struct words w = {BACKEND, CLI, 0, TALK, stamped(0), DELIVERY_EVENT, 1, NULL};
    uint8_t room[1000], copy[1000];
    struct bytes bytes;

    seed_envelope(&w, room, sizeof(room), &bytes);
    for (size_t bit = 0; bit < 8 * bytes.size; bit++) {
        memcpy(copy, room, bytes.size);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        net_post(&net, BACKEND, CLI, DELIVERY_EVENT, bytes_text(TALK), NULL,
                 bytes_of(copy, bytes.size));
    }
    net_run(&net);
    assert_int_equal(count_notes(&net, CLI, SESSION_MESSAGE), 0);
    assert_int_equal(count_notes(&net, CLI, SESSION_FAILED), 8 * bytes.size);
    assert_int_equal(say_as_seed(&w), 0);
}

static void metadata_that_is_no_json_is_refused_after_opening(void **state UNUSED)
{
    uint8_t nonce[ENVELOPE_NONCE_SIZE] = {0}, room[200];
    struct writer w = writer_over(room, sizeof(room));
    struct bytes metadata = bytes_text("{\"a\": }"), payload = bytes_text("x");
    struct secret rx, tx;

    assert_int_equal(kx_static(&net.nodes[BACKEND].identity->seed, net.nodes[CLI].identity->public,
                               true, &rx, &tx),
                     0);
    writer_bytes(&w, bytes_text(ENVELOPE_MAGIC));
    writer_bytes(&w, bytes_of(nonce, sizeof(nonce)));
    writer_u32(&w, (uint32_t)metadata.size);
    writer_bytes(&w, metadata);
    aead_seal(&tx, nonce, metadata, bytes_of(NULL, 0), payload, w.at + w.size);
    w.size += payload.size + AEAD_TAG_SIZE;
    net_post(&net, BACKEND, CLI, DELIVERY_EVENT, bytes_text(TALK), NULL, writer_view(&w));
    net_run(&net);
    assert_int_equal(failure(CLI), AICO_EMETADATA);
}

/* --- rights ----------------------------------------------------------------------------------- */

static void the_rules_hold_as_for_channels(void **state UNUSED)
{
    struct words w = {BACKEND, CLI, 0, "orders/a", "{}", DELIVERY_EVENT, 1, NULL};

    assert_int_equal(say_as_seed(&w), AICO_EDENIED);
    w.topic = "free/a";
    assert_int_equal(say_as_seed(&w), AICO_EDENIED);
    assert_int_equal(net_say(&net, BACKEND, CLI, "orders/a", DELIVERY_EVENT, NULL, "no", NULL),
                     AICO_EDENIED);
    assert_int_equal(net_say(&net, CLI, BACKEND, "orders/a", DELIVERY_EVENT, NULL, "yes", NULL), 0);
    net_run(&net);
    assert_heard(&net, BACKEND, 0, "yes");
    /* Control messages belong to channels. */
    w.topic = SESSION_TOPIC_CONTROL;
    net_forget_notes(&net);
    net_post(&net, BACKEND, CLI, DELIVERY_CONTROL, bytes_text(SESSION_TOPIC_CONTROL), NULL,
             bytes_text("AICO-MSG"));
    net_run(&net);
    assert_int_equal(count_notes(&net, CLI, SESSION_MESSAGE), 0);
}

static void who_is_not_in_allowed_components_is_not_heard(void **state UNUSED)
{
    static const char *const allowed[] = {"frontend"};

    net_stop_node(&net, CLI);
    net.nodes[CLI].settings.allowed_components = allowed;
    net.nodes[CLI].settings.allowed_count = 1;
    net_start_node(&net, CLI);
    assert_int_equal(
        say_as_seed(&(struct words){BACKEND, CLI, 0, TALK, "{}", DELIVERY_EVENT, 1, NULL}),
        AICO_ENOTALLOWED);
    assert_int_equal(net_dial(&net, CLI, BACKEND), AICO_ENOTALLOWED);
}

static void revoke_backend(struct registry_draft *draft)
{
    assert_int_equal(registry_draft_set_state(draft, "backend", COMPONENT_REVOKED), 0);
}

static void a_revoked_one_is_not_heard_nor_spoken_to(void **state UNUSED)
{
    struct words w = {BACKEND, CLI, 0, TALK, "{}", DELIVERY_EVENT, 1, NULL};

    assert_int_equal(say_as_seed(&w), 0);
    net_set_registry(&net, changed(revoke_backend), 1u << BACKEND);
    w.number = 2;
    assert_int_equal(say_as_seed(&w), AICO_EREVOKED);
    assert_false(sessions_has_channel(net.nodes[CLI].sessions, now_at(CLI), bytes_text("backend")));
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "x", NULL),
                     AICO_EPEERUNKNOWN);
}

static void security_level_maximum_refuses_format_0(void **state UNUSED)
{
    struct words w = {BACKEND, CLI, 0, TALK, "{}", DELIVERY_EVENT, 1, NULL};

    assert_int_equal(say_as_seed(&w), 0);
    net_stop_node(&net, CLI);
    net.nodes[CLI].settings.security_level = LEVEL_MAXIMUM;
    net_start_node(&net, CLI);
    w.number = 2;
    assert_int_equal(say_as_seed(&w), AICO_EPOLICY);
    assert_int_equal(net_dial(&net, CLI, BACKEND), AICO_EPOLICY);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, "x", NULL),
                     AICO_EPOLICY);
}

#define MARKED(test) cmocka_unit_test_setup_teardown(test, open_net, close_net)
#define UNMARKED(test) cmocka_unit_test_setup_teardown(test, open_unmarked, close_net)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MARKED(no_handshake_is_needed_and_none_takes_place),
        MARKED(a_reply_nobody_waits_for_is_refused),
        UNMARKED(format_0_is_taken_only_from_a_marked_component),
        UNMARKED(a_mark_ends_the_wait_for_a_channel),
        MARKED(a_publisher_does_not_wait_for_a_reader_of_format_0),
        MARKED(it_has_no_headers_and_no_ping),
        MARKED(the_longest_topic_has_room),
        MARKED(a_timestamp_must_lie_within_the_bound),
        MARKED(a_replay_is_refused_as_long_as_it_would_be_fresh),
        MARKED(without_a_timestamp_a_replay_is_refused_for_ever),
        MARKED(no_more_than_65536_can_be_without_a_timestamp),
        MARKED(the_topic_in_the_metadata_is_that_of_the_record),
        MARKED(the_sender_is_the_client_or_answers_a_dialogue_of_ours),
        MARKED(nobody_else_s_key_opens_nor_our_own),
        MARKED(every_flipped_bit_is_refused_and_costs_nothing),
        MARKED(metadata_that_is_no_json_is_refused_after_opening),
        MARKED(the_rules_hold_as_for_channels),
        MARKED(who_is_not_in_allowed_components_is_not_heard),
        MARKED(a_revoked_one_is_not_heard_nor_spoken_to),
        MARKED(security_level_maximum_refuses_format_0),
    };

    assert_int_equal(crypto_start(), 0);
    return cmocka_run_group_tests_name("session/peers_seed", tests, NULL, NULL);
}
