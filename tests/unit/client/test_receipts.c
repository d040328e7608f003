/* SPDX-License-Identifier: Apache-2.0 */
/* Receipts: who is waited for, what counts as one, and when one is said. */
#include "world.h"

#include "client/message.h"
#include "envelope/headers.h"
#include "session/control.h"
#include "trust/receipt.h"

#define RUN 99 /* world_settings() */
#define G_X 10 /* topic numbers of say_welcome() */
#define BOB 5
#define CAROL 6
#define PRESENCE_BOB 14
#define PRESENCE_ALICE 15

static void start(struct world *w)
{
    world_init(w);
    link_up(w);
    fake.has_channel = true;
}

/* Publishes what asks for @receipt, number @once of the outbox (0: of none), and returns its
 * PUBLISH. */
static struct out *ask_by(struct world *w, const char *topic, const char *to,
                          const struct header_receipt *receipt, uint64_t once)
{
    uint8_t block[120];
    struct writer h = writer_over(block, sizeof(block));
    struct outgoing head = {.id = w->next_app_id++,
                            .payload_size = 5,
                            .topic_size = (uint8_t)strlen(topic),
                            .to_size = (uint8_t)strlen(to),
                            .receipt = (uint8_t)receipt->level,
                            .receipt_ms = 5000,
                            .delivery = DELIVERY_EVENT};
    struct fifo queue = {0};

    if (once > 0)
        header_write_once(&h, once);
    header_write_receipt(&h, receipt);
    head.headers_size = (uint16_t)h.size;
    outgoing_write(fifo_push(&queue, outgoing_size(&head)), &head, bytes_text(topic),
                   bytes_text(to), writer_view(&h), bytes_text("hello"));
    client_push(w->client, &queue);
    fifo_deinit(&queue);
    forget_out(w);
    pull(w);
    return sent(w, RECORD_PUBLISH, 0);
}

/* Message @number of those that ask. @until_ms 0: it is not stored. */
static struct out *ask_as(struct world *w, const char *topic, const char *to,
                          enum receipt_level level, uint64_t number, int64_t until_ms)
{
    return ask_by(w, topic, to, &(struct header_receipt){level, RUN, number, until_ms}, 0);
}

static struct out *ask(struct world *w, const char *topic, const char *to, enum receipt_level level,
                       uint64_t number)
{
    return ask_as(w, topic, to, level, number, 0);
}

static struct out *ask_until(struct world *w, const char *topic, uint64_t number, int64_t until_ms)
{
    return ask_as(w, topic, "", RECEIPT_DELIVERED, number, until_ms);
}

static int say_receivers(struct world *w, uint64_t id, uint32_t total, const uint32_t *who,
                         size_t count)
{
    struct writer f = script();
    uint8_t numbers[64];
    struct writer n = writer_over(numbers, sizeof(numbers));

    for (size_t i = 0; i < count; i++)
        writer_u32(&n, who[i]);
    record_write_receivers(&f, &(struct record_receivers){id, total, writer_view(&n)});
    return say(w, &f);
}

static const uint32_t both[] = {BOB, CAROL};

/* @from says @said over its channel. */
static void receipt_comes(struct world *w, const struct identity *from,
                          const struct control_receipt *said)
{
    uint8_t room[128];
    struct writer r = writer_over(room, sizeof(room));

    control_write_receipt(&r, said);
    fake_push((struct session_event){.type = SESSION_RECEIPT,
                                     .identity = from->public,
                                     .bytes = writer_view(&r)},
              from->name, "", "");
    client_tick(w->client, w->now);
}

static void delivered(struct world *w, const struct identity *from, uint64_t run, uint64_t number)
{
    receipt_comes(w, from,
                  &(struct control_receipt){RECEIPT_DELIVERED, run, number, START_MS, {0}});
}

static struct aico_message *last_receipt(struct world *w, size_t count)
{
    assert_int_equal(told_count(w, AICO_MESSAGE_RECEIPT), count);
    for (size_t i = w->told_count; i-- > 0;)
        if (w->told[i]->kind == AICO_MESSAGE_RECEIPT)
            return w->told[i];
    return NULL;
}

static void whom_the_broker_names_is_waited_for(void **state UNUSED)
{
    struct aico_message *m;
    struct world w;
    struct out *out;

    start(&w);
    out = ask(&w, "g/x", "", RECEIPT_DELIVERED, 1);
    assert_true(out->publish.receipt);
    assert_int_equal(say_receivers(&w, out->id, 2, both, 1), 0); /* in two records */
    assert_int_equal(say_receivers(&w, out->id, 2, both + 1, 1), 0);
    say_ack(&w, out->id);
    assert_int_equal(told_count(&w, AICO_MESSAGE_RECEIPT), 0);
    delivered(&w, w.bob, RUN, 1);
    m = last_receipt(&w, 1);
    assert_string_equal(m->sender, "bob");
    assert_int_equal(m->code, 0);
    assert_int_equal(m->id, 1);
    assert_int_equal(m->count, 1);
    assert_int_equal(m->sent_ms, START_MS);
    delivered(&w, w.bob, RUN, 1);
    assert_int_equal(told_count(&w, AICO_MESSAGE_RECEIPT), 1);
    delivered(&w, w.carol, RUN, 1);
    m = last_receipt(&w, 2);
    assert_string_equal(m->sender, "carol");
    assert_int_equal(m->count, 0);
    pass(&w, 60000);
    assert_int_equal(told_count(&w, AICO_MESSAGE_RECEIPT), 2);
    expect_balance(&w);
    world_deinit(&w);
}

/* It was numbered by the run that accepted it, and there may be one of ours with that number. */
static void what_an_outbox_kept_is_waited_for_by_who_sends_it(void **state UNUSED)
{
    const struct header_receipt former = {RECEIPT_DELIVERED, RUN - 1, 1, 0};
    struct aico_message *m;
    struct world w;
    struct out *out;
    uint64_t id;

    start(&w);
    out = ask_by(&w, "g/x", "", &former, 77);
    assert_true(out->publish.receipt);
    id = out->id;
    assert_int_equal(say_receivers(&w, id, 2, both, 2), 0);
    say_ack(&w, id);
    out = ask(&w, "g/x", "", RECEIPT_DELIVERED, 1);
    assert_int_equal(say_receivers(&w, out->id, 1, both, 1), 0);
    say_ack(&w, out->id);
    delivered(&w, w.bob, RUN - 1, 1);
    m = last_receipt(&w, 1);
    assert_string_equal(m->sender, "bob");
    assert_int_equal(m->id, 1);
    assert_int_equal(m->count, 1);
    delivered(&w, w.bob, RUN, 1);
    m = last_receipt(&w, 2);
    assert_int_equal(m->id, 2);
    assert_int_equal(m->count, 0);
    delivered(&w, w.carol, RUN - 2, 1); /* of neither */
    assert_int_equal(told_count(&w, AICO_MESSAGE_RECEIPT), 2);
    delivered(&w, w.carol, RUN - 1, 1);
    m = last_receipt(&w, 3);
    assert_int_equal(m->id, 1);
    assert_int_equal(m->count, 0);
    world_deinit(&w);
}

static void that_nobody_was_there_is_told(void **state UNUSED)
{
    struct world w;
    struct out *out;

    start(&w);
    out = ask(&w, "g/x", "", RECEIPT_DELIVERED, 1);
    assert_int_equal(say_receivers(&w, out->id, 0, both, 0), 0);
    assert_int_equal(last_receipt(&w, 1)->code, AICO_ENORECEIVER);
    assert_int_equal(last_receipt(&w, 1)->count, 0);
    world_deinit(&w);
}

static void who_is_silent_is_named(void **state UNUSED)
{
    struct aico_message *m;
    struct world w;
    struct out *out;

    start(&w);
    out = ask(&w, "g/x", "", RECEIPT_DELIVERED, 1);
    assert_int_equal(say_receivers(&w, out->id, 2, both, 2), 0);
    say_ack(&w, out->id);
    delivered(&w, w.bob, RUN, 1);
    pass(&w, 4999);
    assert_int_equal(told_count(&w, AICO_MESSAGE_RECEIPT), 1);
    assert_true(client_deadline(w.client) <= w.now.boot_ms + 1);
    pass(&w, 1);
    m = last_receipt(&w, 2);
    assert_string_equal(m->sender, "carol");
    assert_int_equal(m->code, AICO_ENORECEIPT);
    assert_int_equal(m->count, 0);
    delivered(&w, w.carol, RUN, 1);
    assert_int_equal(told_count(&w, AICO_MESSAGE_RECEIPT), 2);
    world_deinit(&w);
}

static void a_broker_that_names_nobody_does_not_end_the_waiting(void **state UNUSED)
{
    struct world w;
    struct out *out;

    start(&w);
    out = ask(&w, "g/x", "", RECEIPT_DELIVERED, 1);
    say_ack(&w, out->id);
    delivered(&w, w.bob, RUN, 1); /* counts all the same */
    assert_int_equal(last_receipt(&w, 1)->count, 1);
    pass(&w, 5000);
    assert_int_equal(told_count(&w, AICO_MESSAGE_RECEIPT), 2);
    assert_int_equal(last_receipt(&w, 2)->code, AICO_ENORECEIPT);
    assert_string_equal(last_receipt(&w, 2)->sender, "");
    world_deinit(&w);
}

static void a_number_nobody_has_ends_the_link(void **state UNUSED)
{
    static const uint32_t nobody[] = {77};
    struct world w;
    struct out *out;

    start(&w);
    out = ask(&w, "g/x", "", RECEIPT_DELIVERED, 1);
    assert_int_equal(say_receivers(&w, out->id, 1, nobody, 1), AICO_EPROTO);
    world_deinit(&w);
}

static void what_was_not_asked_for_counts_for_nothing(void **state UNUSED)
{
    struct world w;

    start(&w);
    assert_false(ask(&w, "g/x", "bob", RECEIPT_DELIVERED, 1)->publish.receipt);
    delivered(&w, w.bob, RUN + 1, 1);
    delivered(&w, w.bob, RUN, 2);
    delivered(&w, w.carol, RUN, 1); /* it was for bob alone */
    delivered(&w, w.broker, RUN, 1);
    receipt_comes(&w, w.bob,
                  &(struct control_receipt){RECEIPT_SIGNED, RUN, 1, START_MS,
                                            bytes_of((uint8_t[64]){0}, 64)});
    assert_int_equal(told_count(&w, AICO_MESSAGE_RECEIPT), 0);
    delivered(&w, w.bob, RUN, 1);
    assert_int_equal(last_receipt(&w, 1)->count, 0);
    world_deinit(&w);
}

static void a_refused_message_waits_for_nobody(void **state UNUSED)
{
    struct world w;
    struct out *out;

    start(&w);
    out = ask(&w, "g/x", "bob", RECEIPT_DELIVERED, 1);
    say_refuse(&w, out->id, AICO_EPEERAWAY);
    assert_int_equal(told(&w, AICO_MESSAGE_REFUSED)->code, AICO_EPEERAWAY);
    delivered(&w, w.bob, RUN, 1);
    pass(&w, 60000);
    assert_int_equal(told_count(&w, AICO_MESSAGE_RECEIPT), 0);
    world_deinit(&w);
}

/* --- of what is stored ------------------------------------------------------------------------ */

static void a_reader_that_is_away_has_as_long_as_the_message_says(void **state UNUSED)
{
    static const uint32_t one_group[] = {0, 0, BOB};
    struct aico_message *m;
    struct world w;
    struct out *out;

    start(&w);
    out = ask_until(&w, "g/x", 1, w.now.real_ms + 3600000);
    assert_int_equal(say_receivers(&w, out->id, 3, one_group, 3), 0);
    say_ack(&w, out->id);
    pass(&w, 1800000);
    assert_int_equal(told_count(&w, AICO_MESSAGE_RECEIPT), 0);
    delivered(&w, w.bob, RUN, 1); /* for itself, and for no group */
    assert_int_equal(last_receipt(&w, 1)->count, 2);
    delivered(&w, w.carol, RUN, 1);
    m = last_receipt(&w, 2);
    assert_string_equal(m->sender, "carol");
    assert_int_equal(m->count, 1);
    pass(&w, 1800000);
    m = last_receipt(&w, 3);
    assert_string_equal(m->sender, "");
    assert_int_equal(m->code, AICO_ENORECEIPT);
    assert_non_null(strstr(m->text, "1 queue groups"));
    assert_int_equal(m->count, 0);
    world_deinit(&w);
}

static void a_member_that_answers_first_counts_for_its_group(void **state UNUSED)
{
    static const uint32_t group_and_bob[] = {0, BOB};
    struct world w;
    struct out *out;

    start(&w);
    out = ask_until(&w, "g/x", 1, w.now.real_ms + 5000);
    delivered(&w, w.carol, RUN, 1); /* before anybody was named */
    assert_int_equal(last_receipt(&w, 1)->count, 1);
    assert_int_equal(say_receivers(&w, out->id, 2, group_and_bob, 2), 0);
    delivered(&w, w.bob, RUN, 1);
    assert_int_equal(last_receipt(&w, 2)->count, 0);
    pass(&w, 60000);
    assert_int_equal(told_count(&w, AICO_MESSAGE_RECEIPT), 2);
    world_deinit(&w);
}

static struct receipt receipt_of(const struct world *w, const struct identity *by, uint64_t number)
{
    struct receipt receipt = {
        .namespace = NAMESPACE, .topic = "g/x", .run = RUN, .number = number, .size = 5};

    receipt.taken_ms = START_MS;
    bytes_copy(receipt.sender, bytes_text("alice"));
    bytes_copy(receipt.receiver, bytes_text(by->name));
    memcpy(receipt.sender_public, w->self->public, SIGN_PUBLIC_SIZE);
    memcpy(receipt.receiver_public, by->public, SIGN_PUBLIC_SIZE);
    receipt_hash(bytes_text("hello"), receipt.hash);
    assert_int_equal(receipt_sign(&receipt, by), 0);
    return receipt;
}

static void signed_by(struct world *w, const struct identity *from, uint64_t number,
                      const struct receipt *receipt)
{
    receipt_comes(w, from,
                  &(struct control_receipt){RECEIPT_SIGNED, RUN, number, receipt->taken_ms,
                                            bytes_of(receipt->signature, SIGNATURE_SIZE)});
}

static void what_a_reader_signs_is_handed_over_as_text(void **state UNUSED)
{
    struct receipt receipt, again;
    struct aico_message *m;
    struct world w;

    start(&w);
    (void)ask(&w, "g/x", "bob", RECEIPT_SIGNED, 1);
    receipt = receipt_of(&w, w.bob, 1);
    signed_by(&w, w.bob, 1, &receipt);
    m = last_receipt(&w, 1);
    assert_int_equal(m->code, 0);
    assert_int_equal(receipt_parse(bytes_of(m->payload, m->size), &again, NULL), 0);
    assert_string_equal(again.receiver, "bob");
    assert_memory_equal(receipt.signature, again.signature, sizeof(again.signature));
    assert_int_equal(receipt_verify(&again), 0); /* of all that it says */
    world_deinit(&w);
}

static void what_another_signed_or_for_another_message_is_no_receipt(void **state UNUSED)
{
    struct receipt receipt;
    struct aico_message *m;
    struct world w;
    struct out *out;

    start(&w);
    (void)ask(&w, "g/x", "bob", RECEIPT_SIGNED, 1);
    (void)ask(&w, "g/x", "bob", RECEIPT_SIGNED, 2);
    receipt = receipt_of(&w, w.bob, 1);
    signed_by(&w, w.bob, 2, &receipt); /* said again for another one */
    m = last_receipt(&w, 1);
    assert_int_equal(m->code, AICO_ESIGNATURE);
    assert_int_equal(m->id, 2);
    assert_int_equal(m->size, 0);
    out = ask(&w, "g/x", "", RECEIPT_SIGNED, 3);
    assert_int_equal(say_receivers(&w, out->id, 2, both, 2), 0);
    receipt = receipt_of(&w, w.bob, 3);
    signed_by(&w, w.carol, 3, &receipt); /* carol hands on what bob signed */
    m = last_receipt(&w, 2);
    assert_int_equal(m->code, AICO_ESIGNATURE);
    assert_string_equal(m->sender, "carol");
    receipt = receipt_of(&w, w.bob, 1);
    receipt.taken_ms++;
    signed_by(&w, w.bob, 1, &receipt);
    assert_int_equal(last_receipt(&w, 3)->code, AICO_ESIGNATURE);
    world_deinit(&w);
}

/* --- the reader ------------------------------------------------------------------------------- */

/* A message of bob that asks for a receipt comes; what is to be said when it was taken. */
static struct read_note comes(struct world *w, enum receipt_level level, uint64_t number)
{
    struct given *g;

    forget_told(w);
    say_deliver(w, (struct record_deliver){.topic = G_X}, "AICO-MSGtext");
    g = &fake.given[fake.given_count - 1];
    fake_push((struct session_event){.type = SESSION_MESSAGE,
                                     .identity = w->bob->public,
                                     .sequence = number,
                                     .generation = 1,
                                     .receipt = {level, 42, number},
                                     .cookie = g->cookie},
              g->peer, g->topic, g->text);
    g->cookie = NULL;
    client_tick(w->client, w->now);
    assert_non_null(message_note(told(w, AICO_MESSAGE_EVENT)));
    return *message_note(told(w, AICO_MESSAGE_EVENT));
}

static void a_receipt_is_said_when_the_application_has_it(void **state UNUSED)
{
    struct control_receipt said;
    struct receipt receipt = {.namespace = NAMESPACE, .topic = "g/x", .run = 42, .size = 4};
    struct read_note note;
    struct reader list;
    struct world w;

    start(&w);
    fake.by_hand = true;
    subscribe(&w, "g/*");
    note = comes(&w, RECEIPT_DELIVERED, 1);
    pass(&w, 1000);
    assert_int_equal(fake.receipts_sent, 0); /* it lies in the inbox */
    client_read(w.client, w.now, &note);
    assert_true(client_owes_receipts(w.client));
    pass(&w, 0);
    assert_int_equal(fake.receipts_sent, 1);
    assert_false(client_owes_receipts(w.client));
    list = reader_over(bytes_of(fake.receipts, fake.receipts_size));
    assert_true(control_next_receipt(&list, &said));
    assert_true(said.level == RECEIPT_DELIVERED && said.run == 42 && said.number == 1);
    assert_false(control_next_receipt(&list, &said));

    note = comes(&w, RECEIPT_SIGNED, 2);
    client_read(w.client, w.now, &note);
    pass(&w, 0);
    list = reader_over(bytes_of(fake.receipts, fake.receipts_size));
    assert_true(control_next_receipt(&list, &said));
    bytes_copy(receipt.sender, bytes_text("bob"));
    bytes_copy(receipt.receiver, bytes_text("alice"));
    memcpy(receipt.sender_public, w.bob->public, SIGN_PUBLIC_SIZE);
    memcpy(receipt.receiver_public, w.self->public, SIGN_PUBLIC_SIZE);
    receipt.number = 2;
    receipt.taken_ms = said.taken_ms;
    receipt_hash(bytes_text("text"), receipt.hash);
    bytes_copy(receipt.signature, said.signature);
    assert_int_equal(receipt_verify(&receipt), 0);
    world_deinit(&w);
}

static void receipts_wait_for_a_channel_and_leave_together(void **state UNUSED)
{
    struct read_note note;
    struct world w;

    start(&w);
    fake.by_hand = true;
    subscribe(&w, "g/*");
    fake.has_channel = false;
    for (uint64_t i = 1; i <= 3; i++) {
        note = comes(&w, RECEIPT_DELIVERED, i);
        client_read(w.client, w.now, &note);
    }
    pass(&w, 0);
    assert_int_equal(fake.receipts_sent, 0);
    assert_true(fake.dials > 0);
    fake.has_channel = true;
    fake_push((struct session_event){.type = SESSION_READY}, "bob", "", "");
    client_tick(w.client, w.now);
    assert_int_equal(fake.receipts_sent, 1);
    assert_int_equal(fake.receipts_size, 3 * 25);
    world_deinit(&w);
}

/* --- of what was stored ----------------------------------------------------------------------- */

static struct read_note stored_note(const struct world *w, uint64_t number, int64_t until_ms)
{
    struct read_note note = {.receipt = {RECEIPT_DELIVERED, 42, number, until_ms}, .size = 4};

    bytes_copy(note.sender, bytes_text("bob"));
    bytes_copy(note.topic, bytes_text("g/x"));
    memcpy(note.identity, w->bob->public, sizeof(note.identity));
    return note;
}

static void take_stored(struct world *w, uint64_t number, int64_t wait_ms)
{
    struct read_note note = stored_note(w, number, w->now.real_ms + wait_ms);

    client_read(w->client, w->now, &note);
    pass(w, 0);
}

static void hear_presence(struct world *w)
{
    struct out *out;

    pull(w);
    out = sent_filter(w, "$bus/presence/*");
    assert_non_null(out);
    say_ok(w, out->id, out->subscription);
}

static void bob_is(struct world *w, const char *state)
{
    say_presence(w, PRESENCE_BOB, state);
}

static void a_publisher_that_is_away_gets_it_when_it_comes_back(void **state UNUSED)
{
    struct world w;

    start(&w);
    fake.by_hand = true;
    fake.has_channel = false;
    take_stored(&w, 1, 60000);
    assert_true(fake.dials == 1 && fake.receipts_sent == 0);
    fake_push((struct session_event){.type = SESSION_LOST, .code = AICO_EPEERAWAY}, "bob", "", "");
    client_tick(w.client, w.now);
    assert_false(client_owes_receipts(w.client)); /* nothing that could leave now */
    hear_presence(&w);
    bob_is(&w, "offline");
    say_presence(&w, PRESENCE_ALICE, "online"); /* oneself comes last */
    take_stored(&w, 2, 60000);
    assert_int_equal(fake.dials, 1);
    bob_is(&w, "online");
    assert_int_equal(fake.dials, 2);
    fake.has_channel = true;
    fake_push((struct session_event){.type = SESSION_READY}, "bob", "", "");
    client_tick(w.client, w.now);
    assert_int_equal(fake.receipts_size, 2 * 25);
    assert_false(client_owes_receipts(w.client));

    /* Its link was lost: what it was told last may not have come. */
    bob_is(&w, "offline");
    bob_is(&w, "online");
    assert_int_equal(fake.receipts_sent, 2);
    assert_int_equal(fake.receipts_size, 2 * 25);
    pass(&w, 120000);
    assert_int_equal(told_count(&w, AICO_MESSAGE_STATE), 0); /* all was brought */
    bob_is(&w, "offline");
    bob_is(&w, "online");
    assert_int_equal(fake.receipts_sent, 2); /* and nobody waits for it any more */
    world_deinit(&w);
}

static void what_could_not_be_brought_is_told(void **state UNUSED)
{
    struct aico_message *m;
    struct world w;

    start(&w);
    fake.dial_code = AICO_EPEERAWAY;
    fake.has_channel = false;
    take_stored(&w, 1, 60000);
    take_stored(&w, 2, 60000);
    pass(&w, 30000);
    assert_int_equal(told_count(&w, AICO_MESSAGE_STATE), 0);
    pass(&w, 120000);
    m = told(&w, AICO_MESSAGE_STATE);
    assert_int_equal(m->code, AICO_ENORECEIPT);
    assert_non_null(strstr(m->text, "2 receipts"));
    assert_non_null(strstr(m->text, "bob"));
    world_deinit(&w);
}

static void what_nobody_waits_for_any_more_is_not_said(void **state UNUSED)
{
    struct world w;

    start(&w);
    take_stored(&w, 1, -3600000);
    assert_true(fake.dials == 0 && fake.receipts_sent == 0);
    assert_false(client_owes_receipts(w.client));
    world_deinit(&w);
}

static void what_is_kept_for_one_publisher_is_bounded(void **state UNUSED)
{
    struct world w;

    start(&w);
    fake.dial_code = AICO_EPEERAWAY;
    fake.has_channel = false;
    for (uint64_t i = 1; i <= 2500; i++) {
        struct read_note note = stored_note(&w, i, w.now.real_ms + 60000);

        client_read(w.client, w.now, &note);
    }
    pass(&w, 0);
    assert_true(told_count(&w, AICO_MESSAGE_STATE) > 0); /* the oldest, by number */
    assert_int_equal(fake.receipts_sent, 0);
    fake.dial_code = 0;
    fake.has_channel = true;
    fake_push((struct session_event){.type = SESSION_READY}, "bob", "", "");
    client_tick(w.client, w.now);
    assert_in_range(fake.receipts_sent, 2, 4); /* 48 KiB, in pieces of 16 */
    assert_false(client_owes_receipts(w.client));
    world_deinit(&w);
}

static void a_busy_reader_says_many_in_one(void **state UNUSED)
{
    struct read_note note;
    struct world w;

    start(&w);
    fake.by_hand = true;
    subscribe(&w, "g/*");
    for (uint64_t i = 1; i <= 200; i++) {
        note = comes(&w, RECEIPT_DELIVERED, i);
        client_read(w.client, w.now, &note);
        pass(&w, 0);
    }
    assert_true(fake.receipts_sent < 150); /* the broker bears 200 control messages a second */
    while (client_owes_receipts(w.client)) {
        unsigned before = fake.receipts_sent;

        pass(&w, client_deadline(w.client) - w.now.boot_ms);
        if (client_owes_receipts(w.client))
            assert_true(fake.receipts_sent <= before + 1);
    }
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whom_the_broker_names_is_waited_for),
        cmocka_unit_test(what_an_outbox_kept_is_waited_for_by_who_sends_it),
        cmocka_unit_test(that_nobody_was_there_is_told),
        cmocka_unit_test(who_is_silent_is_named),
        cmocka_unit_test(a_broker_that_names_nobody_does_not_end_the_waiting),
        cmocka_unit_test(a_number_nobody_has_ends_the_link),
        cmocka_unit_test(what_was_not_asked_for_counts_for_nothing),
        cmocka_unit_test(a_refused_message_waits_for_nobody),
        cmocka_unit_test(what_a_reader_signs_is_handed_over_as_text),
        cmocka_unit_test(what_another_signed_or_for_another_message_is_no_receipt),
        cmocka_unit_test(a_receipt_is_said_when_the_application_has_it),
        cmocka_unit_test(receipts_wait_for_a_channel_and_leave_together),
        cmocka_unit_test(a_busy_reader_says_many_in_one),
        cmocka_unit_test(a_reader_that_is_away_has_as_long_as_the_message_says),
        cmocka_unit_test(a_member_that_answers_first_counts_for_its_group),
        cmocka_unit_test(a_publisher_that_is_away_gets_it_when_it_comes_back),
        cmocka_unit_test(what_could_not_be_brought_is_told),
        cmocka_unit_test(what_nobody_waits_for_any_more_is_not_said),
        cmocka_unit_test(what_is_kept_for_one_publisher_is_bounded),
    };

    return crypto_start() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
