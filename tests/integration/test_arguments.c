/* SPDX-License-Identifier: Apache-2.0 */
/* What <aico/client.h> refuses at the call, before anything is sent, and by which code. */
#include "world.h"

#define TOPIC "logs/test/v1"      /* seal group */
#define CHANNEL "channel/test/v1" /* seal channel */
#define CLEAR "clear/test/v1"     /* seal none */

static char long_name[66]; /* one byte more than a name has */

/* Of one call; says which row it was that is wrong. */
static void expect_code(size_t row, int got, int wanted, const struct aico_error *err)
{
    if (got != wanted)
        fail_msg("row %zu: %s instead of %s: %s", row, aico_error_name(got),
                 aico_error_name(wanted), err->text);
    assert_int_equal(err->code, wanted);
    assert_true(err->text[0] != '\0');
}

static void a_publication_that_cannot_be(void **state)
{
    static uint8_t large[57 * 1024];
    static char value[4098], many_text[65536];
    static struct aico_header header[4], many[62];
    const struct {
        const char *topic;
        struct aico_publish_options options;
        size_t size;
        int code;
    } rows[] = {
        {TOPIC, {.ttl_ms = -1}, 1, AICO_EINVAL},
        {TOPIC, {.ttl_ms = INT64_MAX}, 1, AICO_EINVAL},
        {TOPIC, {.ack = (enum aico_ack)99}, 1, AICO_EINVAL},
        {TOPIC, {.ack = AICO_ACK_STORED}, 1, AICO_ENOTSTORED},
        {TOPIC, {.ack = AICO_ACK_STORED, .to = "bob"}, 1, AICO_ENOTSTORED},
        {TOPIC, {.ack = AICO_ACK_DELIVERED, .receipt_ms = -1}, 1, AICO_EINVAL},
        {TOPIC, {.ack = AICO_ACK_SIGNED, .receipt_ms = INT64_MAX}, 1, AICO_EINVAL},
        {TOPIC, {.ack = AICO_ACK_DELIVERED, .retain = true}, 1, AICO_EINVAL},
        {CLEAR, {.ack = AICO_ACK_DELIVERED}, 1, AICO_EINVAL},
        {TOPIC, {.retain = true, .to = "bob"}, 1, AICO_EINVAL},
        {CHANNEL, {.retain = true}, 1, AICO_EINVAL},
        {TOPIC, {.retain = true}, sizeof(large), AICO_ETOOLARGE},
        {TOPIC, {.to = long_name}, 1, AICO_EPEERUNKNOWN},
        {TOPIC, {.to = "dave"}, 1, AICO_EPEERUNKNOWN}, /* not in the registry */
        {"private/x/v1", {.to = "carol"}, 1, AICO_EDENIED},
        {TOPIC, {.headers = &header[0], .header_count = 1}, 1, AICO_EINVAL},
        {TOPIC, {.headers = &header[1], .header_count = 1}, 1, AICO_EINVAL},
        {TOPIC, {.headers = &header[2], .header_count = 1}, 1, AICO_EINVAL},
        {TOPIC, {.headers = &header[3], .header_count = 1}, 1, AICO_EINVAL},
        {TOPIC, {.headers = many, .header_count = 62}, 1, AICO_EINVAL},
    };
    struct aico_client *alice;
    struct aico_client_stats stats;

    world_set_rule(*state, "clear/**", "*", "*", SEAL_NONE);
    alice = join(*state, ALICE);
    memset(value, 'v', sizeof(value) - 1);
    memset(many_text, 'v', sizeof(many_text) - 1);
    header[0] = (struct aico_header){"a=b", "v"};
    header[1] = (struct aico_header){"$ours", "v"};
    header[2] = (struct aico_header){"key", value};
    header[3] = (struct aico_header){"key", many_text};
    for (size_t i = 0; i < 62; i++)
        many[i] = (struct aico_header){"key", "v"};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct aico_error err = {0};

        expect_code(
            i,
            aico_publish(alice, rows[i].topic, large, rows[i].size, &rows[i].options, NULL, &err),
            rows[i].code, &err);
    }
    aico_client_get_stats(alice, &stats);
    assert_int_equal(stats.published, 0);
    leave(&alice);
}

static void a_subscription_that_cannot_be(void **state)
{
    const struct {
        const char *filter;
        struct aico_subscribe_options options;
        int code;
    } rows[] = {
        {"logs/x*", {0}, AICO_ETOPIC},
        {"", {0}, AICO_ETOPIC},
        {"logs/**", {.slow_policy = (enum aico_slow_policy)9}, AICO_EINVAL},
        {"logs/**", {.slow_policy = (enum aico_slow_policy) - 1}, AICO_EINVAL},
        {"logs/**", {.queue = ""}, AICO_EINVAL},
        {"logs/**", {.queue = long_name}, AICO_EINVAL},
    };
    struct aico_client *bob = join(*state, BOB);
    struct aico_error err = {0};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect_code(i, aico_subscribe(bob, rows[i].filter, &rows[i].options, WAIT_MS, NULL, &err),
                    rows[i].code, &err);
    expect_code(0, aico_unsubscribe(bob, 12345, WAIT_MS, &err), AICO_ENOTFOUND, &err);
    leave(&bob);
}

static void following_that_cannot_be(void **state)
{
    const struct {
        const char *filter;
        struct aico_follow_options options;
        int code;
    } rows[] = {
        {"logs/x*", {0}, AICO_ETOPIC},
        {"logs/**", {.durable = ""}, AICO_EINVAL},
        {"logs/**", {.durable = long_name}, AICO_EINVAL},
        {"logs/**", {.queue = "workers"}, AICO_EINVAL}, /* of no shared place */
        {"logs/**", {.queue = "", .durable = "d"}, AICO_EINVAL},
        {"logs/**", {.queue = long_name, .durable = "d"}, AICO_EINVAL},
        {"logs/**", {.start = (enum aico_start) - 1}, AICO_EINVAL},
        {"logs/**", {.start = (enum aico_start)99}, AICO_EINVAL},
        {"logs/**", {.start = AICO_START_TIME, .since = -1}, AICO_EINVAL},
        {"logs/**", {.start = AICO_START_NEW, .since = 1}, AICO_EINVAL},
        {"logs/**", {.deadline_ms = -1}, AICO_EINVAL},
        {"logs/**", {.deadline_ms = INT64_MAX}, AICO_EINVAL},
        {"logs/**", {.attempts = 65536}, AICO_EINVAL},
        {"logs/**", {.window = 4097}, AICO_EINVAL},
    };
    struct aico_client *bob = join(*state, BOB);
    struct aico_error err = {0};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect_code(i, aico_follow(bob, rows[i].filter, &rows[i].options, WAIT_MS, NULL, &err),
                    rows[i].code, &err);
    leave(&bob);
}

static void a_verdict_that_cannot_be(void **state)
{
    static char reason[257];
    struct aico_message live = {.number = 0}, followed = {.number = 1, .subscription = 1};
    struct aico_client *bob = join(*state, BOB);
    struct aico_error err = {0};

    memset(reason, 'r', sizeof(reason) - 1);
    expect_code(0, aico_settle(bob, &live, AICO_DONE, NULL, &err), AICO_EINVAL, &err);
    expect_code(1, aico_settle(bob, &followed, AICO_DONE, "why", &err), AICO_EINVAL, &err);
    expect_code(2, aico_settle(bob, &followed, AICO_REJECT, reason, &err), AICO_EINVAL, &err);
    expect_code(3, aico_settle(bob, &followed, (enum aico_verdict)99, NULL, &err), AICO_EINVAL,
                &err);
    /* Of a subscription that has ended meanwhile: nothing is left to be said. */
    assert_int_equal(aico_settle(bob, &followed, AICO_REJECT, "why", &err), 0);
    leave(&bob);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_publication_that_cannot_be, world_new, world_free),
        cmocka_unit_test_setup_teardown(a_subscription_that_cannot_be, world_new, world_free),
        cmocka_unit_test_setup_teardown(following_that_cannot_be, world_new, world_free),
        cmocka_unit_test_setup_teardown(a_verdict_that_cannot_be, world_new, world_free),
    };

    memset(long_name, 'n', sizeof(long_name) - 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
