/* SPDX-License-Identifier: Apache-2.0 */
/* Mailboxes in the broker core, with a store in memory that outlives brokers. */
#include "world.h"

#include "broker/store.h"
#include "wire/stream_record.h"

#define MAIL_RULES                                                                                 \
    "mail/** publish a subscribe b,c seal ratchet\n"                                               \
    "open/** publish * subscribe * seal none\n"
#define SEALED "AICO-MSG sealed for it, by its look"
#define KEPT_MAX 16

static struct kept {
    uint8_t receiver[32], identity[32];
    char topic[64], sender[65];
    uint64_t publish_id;
    int64_t expires_ms;
    bool taken;
    int missed_code; /* its owner is to be told */
} kept[KEPT_MAX];
static size_t kept_count;

static void put(struct store_order *o)
{
    struct kept *k = &kept[kept_count];

    o->value = kept_count * 100;
    if (o->value + 100 > o->limit) {
        o->code = AICO_EQUOTA;
        return;
    }
    assert_true(kept_count < KEPT_MAX);
    *k = (struct kept){.publish_id = o->publish_id, .expires_ms = o->expires_ms};
    memcpy(k->receiver, o->receiver, 32);
    memcpy(k->identity, o->identity, 32);
    bytes_copy(k->topic, o->topic);
    bytes_copy(k->sender, o->sender);
    assert_true(bytes_equal_text(o->data, SEALED));
    o->number = ++kept_count;
    o->value += 100;
}

static void read_mail(struct store_order *o)
{
    for (size_t i = (size_t)o->after; i < kept_count; i++) {
        o->after = i + 1;
        if (kept[i].taken || memcmp(kept[i].receiver, o->receiver, 32) != 0)
            continue;
        assert_int_equal(
            store_row_put(&o->out, &(struct store_row){.number = i + 1,
                                                       .stored_ms = 1,
                                                       .publish_id = kept[i].publish_id,
                                                       .count = 1,
                                                       .identity = bytes_of(kept[i].identity, 32),
                                                       .sender = bytes_text(kept[i].sender),
                                                       .topic = bytes_text(kept[i].topic),
                                                       .payload = bytes_text(SEALED)}),
            0);
    }
}

static void take_out(struct store_order *o)
{
    struct kept *k = &kept[o->number - 1];

    k->taken = true;
    k->missed_code = o->bury_code;
    o->missed = o->bury_code < 0;
}

static void tell_missed(struct store_order *o)
{
    for (size_t i = 0; i < kept_count && o->reader == 0; i++) {
        const struct kept *k = &kept[i];
        struct store_missed m = {.token = 1 + i,
                                 .count = 1,
                                 .number = 1 + i,
                                 .publish_id = k->publish_id,
                                 .code = k->missed_code,
                                 .identity = bytes_of(k->identity, 32),
                                 .sender = bytes_text(k->sender),
                                 .topic = bytes_text(k->topic)};

        if (k->missed_code < 0 && memcmp(k->receiver, o->receiver, 32) == 0)
            assert_int_equal(store_missed_put(&o->out, &m), 0);
    }
}

static void carry_out(struct store_order *o)
{
    if (o->kind == STORE_MAIL)
        put(o);
    else if (o->kind == STORE_MAIL_READ)
        read_mail(o);
    else if (o->kind == STORE_MAIL_TAKE)
        take_out(o);
    else if (o->kind == STORE_MISSED)
        tell_missed(o);
}

static void bring_back(struct world *w, struct store_order *o)
{
    o->next = NULL;
    o->prev = o;
    broker_orders_done(w->broker, w->now, o);
}

static void work(struct world *w)
{
    struct store_order *o;

    while ((o = broker_next_order(w->broker)) != NULL) {
        carry_out(o);
        bring_back(w, o);
    }
    pump(w);
}

static void begin(struct world *w, size_t limit)
{
    struct broker_settings settings;

    broker_settings_default(&settings);
    settings.has_store = true;
    settings.mailbox_limit = limit;
    world_init_with(w, &settings, COMPONENTS, MAIL_RULES);
    work(w);
}

static uint64_t leave(struct client *c, const char *to, const char *topic, uint32_t ttl_ms)
{
    uint64_t id = send_publish(c, (struct record_publish){.delivery = DELIVERY_MAILBOX,
                                                          .to = NUMBER_BY_NAME,
                                                          .to_name = bytes_text(to),
                                                          .ttl_ms = ttl_ms,
                                                          .topic_name = bytes_text(topic),
                                                          .payload = bytes_text(SEALED)});

    pump(c->world);
    return id;
}

static void expect_refusal(struct client *c, uint64_t id, int code)
{
    struct item *item = take(c, RECORD_REFUSE);

    assert_non_null(item);
    assert_int_equal(item->id, id);
    assert_int_equal(item->code, code);
    item_free(item);
}

static void settle(struct client *c, uint64_t number)
{
    struct writer frame = frame_begin();

    record_write_settle(
        &frame, &(struct record_settle){.subscription = MAILBOX_SUBSCRIPTION, .number = number});
    client_send(c, &frame);
    work(c->world);
}

static void expect_mail(struct client *c, uint64_t number)
{
    struct item *item = take(c, RECORD_ITEM);

    if (!item)
        fail_msg("no item, but %llu was expected", (unsigned long long)number);
    assert_int_equal(item->id, number);
    assert_int_equal(item->delivery, DELIVERY_MAILBOX);
    assert_string_equal(item->sender, "a");
    item_free(item);
}

static void it_waits_for_who_is_away_over_a_restart_until_taken(void **state)
{
    struct world w;
    struct client *a, *b;
    uint64_t id;

    (void)state;
    kept_count = 0;
    begin(&w, 10000);
    a = connect_as(&w, "a");
    drop_items(a);
    id = leave(a, "b", "mail/x", 0);
    assert_int_equal(count_items(a, RECORD_ACK), 0);
    work(&w);
    assert_int_equal(count_items(a, RECORD_ACK), 1);
    assert_int_equal(count_items(a, RECORD_REFUSE), 0);
    (void)id;
    world_deinit(&w);

    begin(&w, 10000); /* killed, and started again */
    b = connect_as(&w, "b");
    (void)subscribe(b, "open/**");
    work(&w);
    assert_int_equal(count_items(b, RECORD_ITEM), 0); /* it does not listen there */
    (void)subscribe(b, "mail/**");
    work(&w);
    expect_mail(b, 1);
    (void)subscribe(b, "open/x");
    work(&w);
    assert_int_equal(count_items(b, RECORD_ITEM), 0); /* in this session once */
    client_lose_link(b);
    client_go(b);
    (void)subscribe(b, "mail/x");
    work(&w);
    expect_mail(b, 1); /* it had not said that it has it */
    settle(b, 1);
    assert_true(kept[0].taken);
    world_deinit(&w);
}

static void who_is_there_gets_it_when_it_is_stored_and_nobody_else(void **state)
{
    struct world w;
    struct client *a, *b, *c;

    (void)state;
    kept_count = 0;
    begin(&w, 10000);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    (void)subscribe(b, "mail/**");
    (void)subscribe(c, "mail/**");
    work(&w);
    (void)leave(a, "b", "mail/x", 5000);
    assert_int_equal(count_items(b, RECORD_ITEM), 0);
    work(&w);
    expect_mail(b, 1);
    assert_int_equal(count_items(c, RECORD_ITEM), 0);
    assert_int_equal(kept[0].expires_ms, w.now.real_ms + 5000);
    world_deinit(&w);
}

/* It leaves the mailbox unread, and its owner hears of it. */
static void mail_of_who_was_revoked_is_told_and_not_shown(void **state)
{
    static const char revoked[] = "a revoked user\nb active user\nc active user\n";
    struct world w;
    struct client *b;
    struct item *missed;

    (void)state;
    kept_count = 0;
    begin(&w, 10000);
    (void)leave(connect_as(&w, "a"), "b", "mail/x", 0);
    work(&w);
    registry_unref(&w.registry);
    w.registry = registry_make(++w.version, revoked, MAIL_RULES);
    broker_set_registry(w.broker, w.now, w.registry);
    work(&w);
    b = connect_as(&w, "b");
    (void)subscribe(b, "mail/**");
    work(&w);
    assert_int_equal(count_items(b, RECORD_ITEM), 0);
    assert_true(kept[0].taken);
    missed = take(b, RECORD_MISSED);
    assert_non_null(missed);
    assert_int_equal(missed->code, AICO_EREVOKED);
    assert_int_equal(missed->count, 1);
    item_free(missed);
    world_deinit(&w);
}

static void what_cannot_be_kept_is_refused(void **state)
{
    struct world w;
    struct client *a;

    (void)state;
    kept_count = 0;
    begin(&w, 500);
    a = connect_as(&w, "a");
    drop_items(a);
    expect_refusal(a, leave(a, "b", "open/x", 0), AICO_ENOTSTORED);
    expect_refusal(a, leave(a, "nobody", "mail/x", 0), AICO_EPEERUNKNOWN);
    expect_refusal(a, leave(a, "a", "mail/x", 0), AICO_EINVAL);
    for (size_t i = 0; i < 5; i++) {
        (void)leave(a, "b", "mail/x", 0);
        work(&w);
        assert_int_equal(count_items(a, RECORD_REFUSE), 0);
    }
    (void)leave(a, "b", "mail/x", 0);
    work(&w);
    assert_int_equal(kept_count, 5);
    assert_int_equal(count_items(a, RECORD_REFUSE), 1);
    world_deinit(&w);
}

static struct store_order *next_of(struct world *w, enum store_order_kind kind)
{
    struct store_order *o;

    while ((o = broker_next_order(w->broker)) != NULL && o->kind != kind) {
        carry_out(o);
        bring_back(w, o);
    }
    return o;
}

/* Looking for what is void goes on where it was: what its owner may have is looked at once. */
static void the_next_step_of_a_trim_goes_on_where_the_last_one_ended(void **state)
{
    struct store_order *o;
    struct world w;

    (void)state;
    kept_count = 0;
    begin(&w, 10000);
    advance(&w, 61000);
    o = next_of(&w, STORE_MAIL_TRIM);
    assert_non_null(o);
    assert_int_equal(o->after, 0);
    o->after = 1000;
    o->more = true;
    bring_back(&w, o);
    o = next_of(&w, STORE_MAIL_TRIM);
    assert_non_null(o);
    assert_int_equal(o->after, 1000);
    bring_back(&w, o);
    assert_null(next_of(&w, STORE_MAIL_TRIM));
    world_deinit(&w);
}

static void unsubscribe(struct client *c, uint32_t number)
{
    struct writer frame = frame_begin();

    record_write_unsubscribe(&frame, c->next_id++, number);
    client_send(c, &frame);
    pump(c->world);
    item_free(take(c, RECORD_OK));
}

/* How many orders of @kind there are, until nothing is left to do. */
static size_t count_of(struct world *w, enum store_order_kind kind)
{
    struct store_order *o;
    size_t count = 0;

    for (; (o = next_of(w, kind)) != NULL; count++) {
        carry_out(o);
        bring_back(w, o);
    }
    pump(w);
    return count;
}

/* However often it says what it listens to. */
static void a_mailbox_is_read_once_at_a_time(void **state)
{
    struct store_order *out;
    struct client *b;
    struct world w;

    (void)state;
    kept_count = 0;
    begin(&w, 10000);
    (void)leave(connect_as(&w, "a"), "b", "mail/x", 0);
    work(&w);
    b = connect_as(&w, "b");
    for (int i = 0; i < 100; i++)
        unsubscribe(b, subscribe(b, "open/**"));
    (void)subscribe(b, "mail/**");
    assert_int_equal(count_of(&w, STORE_MAIL_READ), 1);
    expect_mail(b, 1);
    client_lose_link(b);

    /* What the store reads at this moment is not for what it listens to by then. */
    client_go(b);
    (void)subscribe(b, "open/**");
    out = next_of(&w, STORE_MAIL_READ);
    assert_non_null(out);
    carry_out(out);
    for (int i = 0; i < 100; i++)
        unsubscribe(b, subscribe(b, "open/**"));
    (void)subscribe(b, "mail/**");
    assert_null(next_of(&w, STORE_MAIL_READ));
    bring_back(&w, out);
    assert_int_equal(count_of(&w, STORE_MAIL_READ), 1);
    expect_mail(b, 1);
    assert_int_equal(count_items(b, RECORD_ITEM), 0);
    world_deinit(&w);
}

/* b with a key of its own, and with the next one. */
static void rotate(struct world *w, struct identity **ret_old, struct identity **ret_renewed)
{
    const struct secret seeds[] = {{{91}}, {{92}}};
    struct registry_draft *draft = registry_draft_new(w->registry, bytes_of(NULL, 0));

    assert_int_equal(identity_new("b", &seeds[0], 0, ret_old), 0);
    assert_int_equal(identity_new("b", &seeds[1], 0, ret_renewed), 0);
    assert_int_equal(registry_draft_remove(draft, "b"), 0);
    assert_int_equal(registry_draft_add(
                         draft, &(struct component_line){"b", (*ret_old)->public,
                                                         (*ret_old)->transport_public, "user", 1}),
                     0);
    assert_int_equal(
        registry_draft_rotate(draft, *ret_old, *ret_renewed, 1, w->now.real_ms + 60000), 0);
    registry_next(w, draft);
}

static void the_mailbox_of_a_former_key_is_asked_for_once_a_session(void **state)
{
    CLEANUP(identity_free)
    struct identity *old = NULL, *renewed = NULL;
    struct client *b;
    struct world w;

    (void)state;
    kept_count = 0;
    begin(&w, 10000);
    rotate(&w, &old, &renewed);
    b = client_new(&w, "b");
    b->identity = renewed->public;
    for (int session = 0; session < 2; session++) {
        client_go(b);
        for (int i = 0; i < 100; i++)
            unsubscribe(b, subscribe(b, "mail/**"));
        assert_int_equal(count_of(&w, STORE_MAIL_INHERIT), 1);
        client_lose_link(b);
    }
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_waits_for_who_is_away_over_a_restart_until_taken),
        cmocka_unit_test(who_is_there_gets_it_when_it_is_stored_and_nobody_else),
        cmocka_unit_test(mail_of_who_was_revoked_is_told_and_not_shown),
        cmocka_unit_test(what_cannot_be_kept_is_refused),
        cmocka_unit_test(the_next_step_of_a_trim_goes_on_where_the_last_one_ended),
        cmocka_unit_test(a_mailbox_is_read_once_at_a_time),
        cmocka_unit_test(the_mailbox_of_a_former_key_is_asked_for_once_a_session),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
