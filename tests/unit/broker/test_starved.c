/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A broker without memory: each allocation fails once while components connect, subscribe, publish,
 * ask and leave. It must not lose its balance, must tell who lost something, and must serve the
 * next one as if nothing had been.
 */
#include "broker/broker.h"
#include "starve.h"

/* clang-format off */
#define broker_peer_receive(...) STARVED(broker_peer_receive(__VA_ARGS__))
#define broker_peer_open(...) STARVED(broker_peer_open(__VA_ARGS__))
#define broker_peer_gone(...) STARVED_VOID(broker_peer_gone(__VA_ARGS__))
#define broker_work(...) STARVED(broker_work(__VA_ARGS__))
#define broker_next_frame(...) STARVED(broker_next_frame(__VA_ARGS__))
#define broker_next_kick(...) STARVED(broker_next_kick(__VA_ARGS__))
#define broker_tick(...) STARVED_VOID(broker_tick(__VA_ARGS__))
#define broker_set_registry(...) STARVED_VOID(broker_set_registry(__VA_ARGS__))
/* clang-format on */
#include "world.h"

static struct world w;

/* What a run does while memory is short; @a and @b are connected. */
typedef void (*act)(struct client *a, struct client *b);

static bool was_told(struct client *c)
{
    bool told = c->kicked != 1 || count_items(c, RECORD_GAP) > 0;

    for (const struct item *item = c->items; item; item = item->next)
        told |= item->type == RECORD_REFUSE || item->type == RECORD_BYE;
    return told;
}

/* Who is gone cannot be told: the log has it. */
static bool is_logged(void)
{
    struct broker_event event;
    bool logged = false;

    while (broker_next_event(w.broker, &event))
        logged |= event.code == AICO_ENOMEM;
    return logged;
}

/* Sends unless the broker has cut it off. */
#define IF_LINKED(c, call)                                                                         \
    do {                                                                                           \
        if ((c)->peer)                                                                             \
            (void)(call);                                                                          \
        pump(&w);                                                                                  \
    } while (0)

static void speak(struct client *c, const char *topic, const char *text)
{
    IF_LINKED(c, publish(c, topic, text));
}

static void next_one_is_served(void)
{
    struct client *c = connect_as(&w, "c"), *d = connect_as(&w, "d");

    subscribe(c, "open/after");
    (void)publish(d, "open/after", "served");
    pump(&w);
    expect_delivered(c, "open/after", "d", "served");
}

static int run(void *context)
{
    struct client *a, *b;

    starve_arm(false);
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/**");
    starve_arm(true);
    (*(act *)context)(a, b);
    starve_arm(false);
    pump(&w);
    check_balance(&w);
    next_one_is_served();
    world_deinit(&w);
    return 0;
}

static size_t starve(act what)
{
    return starve_each(run, &what, true);
}

static void publish_some(struct client *a, struct client *b)
{
    speak(a, "open/x", "one");
    speak(a, "open/y", "two");
    IF_LINKED(a, publish_to(a, "b", "up/z", DELIVERY_EVENT, "three"));
    if (count_items(b, RECORD_DELIVER) < 3 && !was_told(a) && !was_told(b))
        fail_msg("a message was lost and nobody was told");
}

static void what_is_published_is_delivered_or_somebody_is_told(void **state UNUSED)
{
    assert_true(starve(publish_some) > 5);
}

static void subscribe_some(struct client *a, struct client *b)
{
    IF_LINKED(a, send_subscribe(a, "open/#", SLOW_DROP_OLD, false));
    IF_LINKED(a, send_subscribe(a, "open/a/**", SLOW_DROP_NEW, true));
    IF_LINKED(b, send_subscribe(b, "$bus/presence/**", SLOW_DROP_OLD, false));
    if (count_items(a, RECORD_OK) + count_items(a, RECORD_REFUSE) < 2 && !was_told(a))
        fail_msg("a subscription was neither made nor refused");
}

static void a_subscription_is_made_or_refused(void **state UNUSED)
{
    assert_true(starve(subscribe_some) > 5);
}

static void keep_some(struct client *a, struct client *b)
{
    struct writer f = frame_begin();

    IF_LINKED(a, send_publish(a, (struct record_publish){.topic_name = bytes_text("open/kept"),
                                                         .delivery = DELIVERY_RETAINED,
                                                         .payload = bytes_text("value")}));
    record_write_will(&f, &(struct record_will){.id = a->next_id++,
                                                .topic_name = bytes_text("open/will"),
                                                .payload = bytes_text("gone")});
    IF_LINKED(a, send_bytes(a, writer_view(&f)));
    IF_LINKED(a, publish_fragment(a, "open/large", a->next_id, 100000, 0, 50000));
    IF_LINKED(a, publish_fragment(a, "open/large", a->next_id++, 100000, 50000, 50000));
    if (a->peer)
        client_lose_link(a);
    pump(&w);
    advance(&w, 4000); /* its will */
    if (count_items(b, RECORD_DELIVER) < 4 && !was_told(a) && !was_told(b) && !is_logged())
        fail_msg("a message was lost and nobody was told");
}

static size_t wills_lost;

/* Its client has gone; now it is due, and there is no memory. */
static void leave_a_will(struct client *a, struct client *b)
{
    struct broker_totals totals;
    size_t got;

    starve_arm(false);
    send_will(a, "open/will", "gone");
    client_lose_link(a);
    pump(&w);
    starve_arm(true);
    advance(&w, 4000);
    starve_arm(false);
    pump(&w);
    got = count_items(b, RECORD_DELIVER);
    broker_get_totals(w.broker, &totals);
    assert_int_equal(totals.published, 1);
    if (b->peer && got == 0) {
        assert_int_equal(totals.wills_lost, 1);
        assert_int_equal(totals.by_topic.dropped[DROP_MEMORY], 1);
        assert_true(is_logged());
        wills_lost++;
    } else if (b->peer) {
        assert_int_equal(totals.wills_lost, 0);
    }
}

static void a_lost_will_is_in_the_books(void **state UNUSED)
{
    (void)starve(leave_a_will);
    assert_true(wills_lost > 0);
}

static void values_wills_and_parts_are_kept_or_somebody_is_told(void **state UNUSED)
{
    assert_true(starve(keep_some) > 5);
}

static void come_and_go(struct client *a, struct client *b)
{
    static uint8_t identity[32];
    struct client *again = a;
    int code = 0;

    if (a->peer)
        client_lose_link(a);
    pump(&w);
    identity_of("a", identity);
    for (size_t i = 0; i < NAMES_MAX; i++) {
        free(a->topics[i]);
        free(a->components[i]);
        a->topics[i] = a->components[i] = NULL;
    }
    a->kicked = 1;
    a->peer = broker_peer_open(w.broker, w.now, bytes_text("a"), identity, "test:1", again, &code);
    if (!a->peer) {
        assert_int_equal(code, AICO_ENOMEM);
        return;
    }
    client_hello(a, 1);
    pump(&w);
    if (count_items(a, RECORD_WELCOME) == 0 && !was_told(a))
        fail_msg("it was neither welcomed nor refused");
    (void)b;
}

static void who_comes_is_welcomed_or_refused(void **state UNUSED)
{
    assert_true(starve(come_and_go) > 3);
}

static void revoke_one(struct client *a, struct client *b)
{
    struct registry *next;

    starve_arm(false);
    next = registry_make(2,
                         "a revoked user\nb active user\nc active user\nd active user\n"
                         "admin active admin\n",
                         RULES);
    starve_arm(true);
    broker_set_registry(w.broker, w.now, next);
    starve_arm(false);
    registry_unref(&w.registry);
    w.registry = next;
    w.version = 2;
    pump(&w);
    assert_null(a->peer); /* whatever there is memory for */
    (void)b;
}

static void a_revocation_bites_without_memory(void **state UNUSED)
{
    (void)starve(revoke_one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_published_is_delivered_or_somebody_is_told),
        cmocka_unit_test(a_subscription_is_made_or_refused),
        cmocka_unit_test(values_wills_and_parts_are_kept_or_somebody_is_told),
        cmocka_unit_test(a_lost_will_is_in_the_books),
        cmocka_unit_test(who_comes_is_welcomed_or_refused),
        cmocka_unit_test(a_revocation_bites_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
