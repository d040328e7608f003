/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client core without memory: each allocation fails once while it connects, subscribes, publishes
 * and is delivered to. It ends with a named cause or goes on; its ledger balances either way.
 */
#include <stdlib.h>

#include "client/client.h"
#include "starve.h"

/* The session manager of world.h is the test's own: its memory is not short. */
static void *spare(size_t count, size_t size)
{
    void *at;

    starve_off();
    at = calloc(count, size);
    starve_on();
    return at;
}

/* clang-format off */
#define calloc(count, size) spare((count), (size))
#define client_receive(...) STARVED(client_receive(__VA_ARGS__))
#define client_next_frame(...) STARVED(client_next_frame(__VA_ARGS__))
#define client_frame_sent(...) STARVED_VOID(client_frame_sent(__VA_ARGS__))
#define client_tick(...) STARVED_VOID(client_tick(__VA_ARGS__))
#define client_push(...) STARVED_VOID(client_push(__VA_ARGS__))
#define client_subscribe(...) STARVED_VOID(client_subscribe(__VA_ARGS__))
#define client_follow(...) STARVED_VOID(client_follow(__VA_ARGS__))
#define client_link_up(...) STARVED_VOID(client_link_up(__VA_ARGS__))
#define client_link_down(...) STARVED_VOID(client_link_down(__VA_ARGS__))
/* clang-format on */
#include "world.h"

static struct world w;

static bool is_linked(void)
{
    return client_has_link(w.client) && client_is_ready(w.client);
}

/* What the broker says, unless the core has ended the link. */
static void hear(const struct writer *frame)
{
    int r = client_has_link(w.client) ? say(&w, frame) : 0;

    if (r == 0)
        return;
    assert_true(r == AICO_ENOMEM ||
                r == AICO_ECLOSED); /* the latter: it has ended, with its cause */
    if (client_has_link(w.client))
        client_link_down(w.client, w.now, r, "no memory");
}

static void hear_deliver(struct record_deliver d, const char *payload)
{
    struct writer f = script();

    write_deliver(&f, d, payload);
    hear(&f);
}

static void acknowledge_all(void)
{
    uint64_t last = 0;

    for (size_t i = 0; i < w.out_count; i++)
        if (w.out[i].type == RECORD_PUBLISH)
            last = MAX(last, w.out[i].id);
    if (last > 0) {
        struct writer f = script();

        record_write_ack(&f, last);
        hear(&f);
    }
}

static int live(void *context UNUSED)
{
    struct ended ended = {0};
    const struct out *out;
    const char *text;
    int code = 0;

    starve_arm(false);
    world_init(&w);
    fake.has_channel = true;
    link_up(&w);
    starve_arm(true);
    client_subscribe(w.client, w.now, bytes_text("g/**"), SLOW_DROP_OLD, true, bytes_of(NULL, 0),
                     1000, &ended);
    pull(&w);
    out = sent_filter(&w, "g/**");
    if (out) {
        struct writer f = script();

        record_write_ok(&f, out->id, out->subscription);
        hear(&f);
    }
    hear_deliver((struct record_deliver){.topic = 10}, "AICO-MSGone");
    hear_deliver((struct record_deliver){.topic = 11, .direct = true}, "AICO-MSGtwo");
    for (const char *const *topic = (const char *const[]){"g/x", "n/x", NULL}; *topic; topic++)
        (void)publish(&w, *topic, "text");
    (void)push(&w, "c/x", "bob", bytes_text("direct"));
    pull(&w);
    acknowledge_all();
    pass(&w, 1000);
    pull(&w);
    starve_arm(false);
    expect_balance(&w);
    if (client_is_ended(w.client, &code, &text))
        assert_int_equal(code, AICO_ENOMEM);
    else if (!is_linked())
        assert_true(starve_has_failed());
    w.is_short = starve_has_failed();
    world_deinit(&w);
    return 0;
}

static int follow(void *context UNUSED)
{
    struct ended ended = {0};
    struct follow_request request = {
        .filter = bytes_text("**"), .start = FOLLOW_ALL, .deadline_ms = 30000, .window = 256};

    starve_arm(false);
    world_init(&w);
    link_up(&w);
    starve_arm(true);
    client_follow(w.client, w.now, &request, 1000, &ended);
    starve_arm(false);
    w.is_short = starve_has_failed();
    world_deinit(&w);
    return 0;
}

static void who_follows_is_told_that_there_is_no_memory(void **state UNUSED)
{
    assert_true(starve_each(follow, NULL, true) > 1);
}

static void a_client_goes_on_or_ends_with_the_cause(void **state UNUSED)
{
    assert_true(starve_each(live, NULL, true) > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_goes_on_or_ends_with_the_cause),
        cmocka_unit_test(who_follows_is_told_that_there_is_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
