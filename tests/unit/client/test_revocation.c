/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PROTOCOL 14 row 69: what waits for credit while a reader is removed is not readable by it. The
 * client core against a broker that is played by this file.
 */
#include "../session/world.h"

#include "client/client.h"
#include "envelope/envelope.h"

#define LOGS "logs/app/v1"
#define COUNT 1000

static struct identity *cli, *backend, *studio;
static struct registry *registry;
static struct client *client;
static struct dice dice = {69};
static int64_t now_ms = START_MS;

/* What left: the key ids of application envelopes, in order. */
static struct {
    uint8_t key_id[ENVELOPE_KEY_ID_SIZE];
    bool after;
} left[COUNT + 10];
static size_t left_count;
static bool revoked;

static struct moment now(void)
{
    return moment_at(now_ms);
}

static void deliver(void *context UNUSED, struct aico_message *message UNUSED)
{
    fail_msg("nothing was sent to us");
}

static void done(void *context UNUSED, void *ticket UNUSED, const struct client_answer *a UNUSED)
{
}

static int persist(void *context UNUSED, uint64_t generation UNUSED)
{
    return 0;
}

static void registry_changed(void *context UNUSED, struct registry *r UNUSED)
{
}

static struct registry *make(const struct registry *from, bool revoke, struct buffer *ret_document)
{
    struct registry_draft *draft = registry_draft_new(from, bytes_text(NAMESPACE));
    struct registry *made;
    struct secret seed;

    if (!from) {
        draft_add(draft, cli, "tool");
        draft_add(draft, backend, "service");
        draft_add(draft, studio, "ui");
        draft_rule(draft, "logs/**", "cli", "*", SEAL_GROUP, AUTHENTICITY_SENDER);
    }
    if (revoke)
        assert_int_equal(registry_draft_set_state(draft, "studio", COMPONENT_REVOKED), 0);
    owner_seed(&seed);
    if (ret_document)
        assert_int_equal(registry_draft_sign(draft, &seed, START_MS, ret_document), 0);
    made = registry_make(draft);
    registry_draft_free(&draft);
    return made;
}

/* The broker's side of everything the client has to send just now. */
static void take_frames(void)
{
    struct bytes frame;

    while (client_next_frame(client, now(), &frame)) {
        struct record_publish publish;
        struct reader records;
        struct record record;

        assert_int_equal(frame_open(frame, &records), 0);
        while (frame_next(&records, &record) == 1) {
            if (record.type != RECORD_PUBLISH)
                continue;
            assert_int_equal(record_parse_publish(&record, &publish), 0);
            if (publish.delivery != DELIVERY_EVENT || publish.to != 0)
                continue;
            assert_true(left_count < COUNT + 10);
            memcpy(left[left_count].key_id, publish.payload.at + 8, ENVELOPE_KEY_ID_SIZE);
            left[left_count++].after = revoked;
        }
        client_frame_sent(client, now());
    }
}

static void tell(void (*write)(struct writer *w))
{
    uint8_t room[1000];
    struct writer w = writer_over(room, sizeof(room));

    writer_u8(&w, WIRE_VERSION);
    write(&w);
    assert_false(w.failed);
    assert_int_equal(client_receive(client, now(), writer_view(&w)), 0);
    take_frames();
}

static void welcome(struct writer *w)
{
    record_write_welcome(w,
                         &(struct record_welcome){
                             .window = 4000, /* a few messages */
                             .self = 5,
                             .registry_version = registry_version(registry),
                             .registry_hash = bytes_of(registry_hash(registry), REGISTRY_HASH_SIZE),
                             .time_ms = START_MS,
                             .name = bytes_text("broker"),
                             .software = bytes_text("test")});
}

static void credit(struct writer *w)
{
    record_write_credit(w, 4000);
}

static void let_time_pass(int64_t ms)
{
    for (int64_t until = now_ms + ms; now_ms < until; now_ms += 100) {
        client_tick(client, now());
        take_frames();
    }
}

static void publish_all(void)
{
    struct fifo queue = {0};

    for (uint64_t i = 1; i <= COUNT; i++) {
        const struct outgoing head = {
            .id = i, .payload_size = 5, .topic_size = sizeof(LOGS) - 1, .delivery = DELIVERY_EVENT};
        void *block = fifo_push(&queue, outgoing_size(&head));

        assert_non_null(block);
        outgoing_write(block, &head, bytes_text(LOGS), bytes_of(NULL, 0), bytes_of(NULL, 0),
                       bytes_text("hello"));
    }
    client_push(client, &queue);
    fifo_deinit(&queue);
}

static void revoke_while_messages_wait(void **state UNUSED)
{
    struct buffer document = {0};
    struct registry *next;
    size_t before, waiting;

    assert_true(client_wants_link(client, now()));
    client_link_up(client, now());
    take_frames();
    tell(welcome);
    assert_true(client_is_ready(client));
    publish_all();
    let_time_pass(5000); /* nobody answers: readers are not waited for longer than two seconds */
    before = left_count;
    assert_true(before > 0);
    waiting = client_queued(client);
    assert_true(waiting > COUNT / 2);

    next = make(registry, true, &document);
    revoked = true;
    assert_int_equal(client_offer_registry(client, now(), buffer_view(&document)), 0);
    for (int i = 0; i < 1000 && client_queued(client) > 0; i++) {
        let_time_pass(100);
        tell(credit);
    }
    let_time_pass(3000);
    assert_int_equal(client_queued(client), 0);
    assert_true(left_count > before);
    for (size_t i = 0; i < left_count; i++) {
        bool former = memcmp(left[i].key_id, left[0].key_id, ENVELOPE_KEY_ID_SIZE) == 0;

        /* None under the old generation once the revocation was known. */
        if (former == left[i].after)
            fail_msg("envelope %zu of %zu left under the wrong generation", i, left_count);
    }
    registry_unref(&next);
    buffer_deinit(&document);
}

static int start(void **state UNUSED)
{
    const struct client_host host = {NULL, deliver, done, persist, registry_changed};
    struct client_settings settings = {.session = session_settings_default(),
                                       .instance = 7,
                                       .window = FRAME_SIZE_MAX,
                                       .software = "test"};

    assert_int_equal(crypto_start(), 0);
    cli = identity_make("cli");
    backend = identity_make("backend");
    studio = identity_make("studio");
    registry = make(NULL, false, NULL);
    assert_int_equal(
        client_new(&settings, cli, registry, dice_source(&dice), 0, &host, now(), &client, NULL),
        0);
    return 0;
}

static int stop(void **state UNUSED)
{
    client_free(&client);
    registry_unref(&registry);
    identity_free(&cli);
    identity_free(&backend);
    identity_free(&studio);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(revoke_while_messages_wait),
    };

    return cmocka_run_group_tests_name("client/revocation", tests, start, stop);
}
