/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's half of ZMTP and CurveZMQ against a server of a test, of which every byte may be
 * wrong. The seed of a run is printed; AICO_TEST_SEED repeats it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "crypto/crypto.h"
#include "curve_server.h"
#include "random.h"
#include "transport/zmtp.h"

#define BODY_MAX 1000

struct pair {
    struct curve_server server;
    struct zmtp client;
    uint8_t public[32];
    struct secret secret;
    uint8_t said[ZMTP_ANSWER_MAX]; /* by the client, last */
    size_t said_size;
    uint8_t heard[SERVER_ROOM]; /* what the client is given next */
    size_t heard_size;
    unsigned status;
};

static void begin(struct pair *pair)
{
    struct writer w = writer_over(pair->said, sizeof(pair->said));

    server_new(&pair->server);
    crypto_box_keypair(pair->public, pair->secret.at);
    zmtp_begin(&pair->client, pair->server.public, pair->public, &pair->secret, &w);
    assert_false(w.failed);
    pair->said_size = w.size;
    pair->heard_size = server_greeting(pair->heard);
}

static enum zmtp_shaken hear(struct pair *pair)
{
    CLEANUP(free_memory)
    uint8_t *exact = malloc(pair->heard_size + 1); /* a sanitizer sees one byte too far */
    struct writer w = writer_over(pair->said, sizeof(pair->said));
    enum zmtp_shaken shaken;
    size_t taken = 0;

    assert_non_null(exact);
    memcpy(exact, pair->heard, pair->heard_size);
    shaken =
        zmtp_shake(&pair->client, bytes_of(exact, pair->heard_size), &taken, &w, &pair->status);
    assert_false(w.failed);
    if (shaken == ZMTP_TAKEN)
        assert_int_equal(taken, pair->heard_size);
    else
        assert_int_equal(w.size, 0);
    pair->said_size = w.size;
    return shaken;
}

/* To where the client has been given all but @state's last message, which lies in `heard`. */
static void until(struct pair *pair, enum zmtp_state state)
{
    begin(pair);
    if (state == ZMTP_WAITS_GREETING)
        return;
    assert_int_equal(hear(pair), ZMTP_TAKEN);
    pair->heard_size = server_welcome(&pair->server, pair->said, pair->said_size, pair->heard);
    assert_int_equal(pair->heard_size, SERVER_WELCOME_SIZE);
    if (state == ZMTP_WAITS_WELCOME)
        return;
    assert_int_equal(hear(pair), ZMTP_TAKEN);
    assert_true(server_initiate(&pair->server, pair->said, pair->said_size));
    assert_memory_equal(pair->server.client, pair->public, 32);
    pair->heard_size = server_ready(&pair->server, "ROUTER", pair->heard);
    if (state == ZMTP_WAITS_READY)
        return;
    assert_int_equal(hear(pair), ZMTP_TAKEN);
    assert_int_equal(pair->client.state, ZMTP_UP);
    assert_int_equal(pair->said_size, 0);
}

static int open_heard(struct pair *pair, unsigned *ret_flags, struct bytes *ret_plain)
{
    size_t head, whole;

    assert_int_equal(
        zmtp_next(bytes_of(pair->heard, pair->heard_size), false, BODY_MAX * 2, &head, &whole), 0);
    assert_int_equal(whole, pair->heard_size);
    return zmtp_open(&pair->client, pair->heard + head, whole - head, ret_flags, ret_plain);
}

static void it_comes_up_and_frames_pass_both_ways(void **state UNUSED)
{
    struct pair pair;

    until(&pair, ZMTP_UP);
    for (size_t size = 0; size < BODY_MAX; size += size < 300 ? 1 : 97) {
        uint8_t text[BODY_MAX], sealed[BODY_MAX + ZMTP_OVERHEAD], plain[BODY_MAX + 1];
        uint8_t nonce[24] = "CurveZMQMESSAGEC";
        size_t head = 2, sealed_size;
        struct bytes opened;
        unsigned flags;

        random_fill(text, sizeof(text));
        pair.heard_size = server_message(&pair.server, 0, text, size, pair.heard);
        assert_int_equal(open_heard(&pair, &flags, &opened), 0);
        assert_int_equal(flags, 0);
        assert_true(bytes_equal(opened, bytes_of(text, size)));

        sealed_size = zmtp_seal(&pair.client, ZMTP_COMMAND, bytes_of(text, size), sealed);
        assert_true(sealed_size <= size + ZMTP_OVERHEAD);
        head = sealed[0] & 2 ? 9 : 2;
        assert_memory_equal(sealed + head, "\7MESSAGE", 8);
        memcpy(nonce + 16, sealed + head + 8, 8);
        assert_int_equal(crypto_box_open_easy_afternm(plain, sealed + head + 16,
                                                      sealed_size - head - 16, nonce,
                                                      pair.server.shared),
                         0);
        assert_int_equal(plain[0], ZMTP_COMMAND);
        assert_memory_equal(plain + 1, text, size);
    }
    zmtp_wipe(&pair.client);
}

static void less_than_a_whole_message_is_waited_for(void **state UNUSED)
{
    for (enum zmtp_state at = ZMTP_WAITS_GREETING; at < ZMTP_UP; at++) {
        struct pair pair;
        size_t whole;

        until(&pair, at);
        whole = pair.heard_size;
        for (size_t size = 0; size < whole; size++) {
            pair.heard_size = size;
            assert_int_equal(hear(&pair), ZMTP_MORE);
        }
        pair.heard_size = whole;
        assert_int_equal(hear(&pair), ZMTP_TAKEN);
        zmtp_wipe(&pair.client);
    }
}

/* No bit of WELCOME and READY may be another; of a greeting, most say nothing. */
static void a_message_with_one_bit_changed_is_refused(void **state UNUSED)
{
    for (enum zmtp_state at = ZMTP_WAITS_WELCOME; at < ZMTP_UP; at++) {
        size_t bits = SIZE_MAX;

        for (size_t bit = 0; bit < bits; bit++) {
            struct pair pair;

            until(&pair, at);
            bits = 8 * pair.heard_size;
            pair.heard[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_not_equal(hear(&pair), ZMTP_TAKEN);
            assert_int_equal(pair.said_size, 0);
            zmtp_wipe(&pair.client);
        }
    }
}

static void what_is_no_greeting_of_curve_is_another_program(void **state UNUSED)
{
    static const size_t told_by[] = {0, 9, 10, 12, 16, 17, 31};

    for (size_t i = 0; i < COUNT_OF(told_by); i++) {
        struct pair pair;

        begin(&pair);
        pair.heard[told_by[i]] ^= 2;
        assert_int_equal(hear(&pair), ZMTP_OTHER);
        assert_int_equal(pair.client.state, ZMTP_FAILED);
    }
    for (int byte = 0; byte < 0xff; byte++) { /* told by the first one */
        struct pair pair;

        begin(&pair);
        pair.heard[0] = (uint8_t)byte;
        pair.heard_size = 1;
        assert_int_equal(hear(&pair), ZMTP_OTHER);
    }
}

static void another_key_is_told_apart(void **state UNUSED)
{
    struct curve_server other;
    struct pair pair;

    /* It has not the secret of the key we pin, and answers all the same. */
    until(&pair, ZMTP_WAITS_WELCOME);
    server_new(&other);
    memcpy(other.client_once, pair.server.client_once, 32);
    (void)!crypto_box_easy(pair.heard + 26, (const uint8_t[128]){0}, 128, pair.heard + 2,
                           other.client_once, other.secret);
    assert_int_equal(hear(&pair), ZMTP_OTHER_KEY);
    assert_int_equal(pair.client.state, ZMTP_FAILED);

    /* READY of another connection. */
    until(&pair, ZMTP_WAITS_READY);
    random_fill(pair.server.shared, 32);
    pair.heard_size = server_ready(&pair.server, "ROUTER", pair.heard);
    assert_int_equal(hear(&pair), ZMTP_SPOILED);
}

static void a_welcome_of_another_connection_is_refused(void **state UNUSED)
{
    struct pair former, pair;

    until(&former, ZMTP_WAITS_WELCOME);
    until(&pair, ZMTP_WAITS_GREETING);
    memcpy(pair.client.broker_public, former.server.public, 32);
    assert_int_equal(hear(&pair), ZMTP_TAKEN);
    memcpy(pair.heard, former.heard, former.heard_size);
    pair.heard_size = former.heard_size;
    assert_int_equal(hear(&pair), ZMTP_OTHER_KEY);
}

static void only_a_router_is_a_broker(void **state UNUSED)
{
    static const char *const types[] = {"DEALER", "PUB", "ROUTERS", ""};

    for (size_t i = 0; i < COUNT_OF(types); i++) {
        struct pair pair;

        until(&pair, ZMTP_WAITS_READY);
        pair.heard_size = server_ready(&pair.server, types[i], pair.heard);
        assert_int_equal(hear(&pair), ZMTP_OTHER);
    }
}

static void metadata_that_says_more_than_it_has_is_refused(void **state UNUSED)
{
    static const uint8_t one[] = "\13Socket-Type\0\0\0\6ROUTER";

    for (size_t size = 0; size < sizeof(one) + 3; size++) {
        uint8_t text[sizeof(one) + 3] = {0};
        struct pair pair;

        memcpy(text, one, sizeof(one) - 1);
        until(&pair, ZMTP_WAITS_READY);
        pair.heard_size =
            server_seal(&pair.server, 4, "\5READY", "CurveZMQREADY---", text, size, pair.heard);
        assert_int_equal(hear(&pair), size == sizeof(one) - 1 ? ZMTP_TAKEN : ZMTP_OTHER);
        zmtp_wipe(&pair.client);
    }
}

static void the_brokers_refusal_has_its_status(void **state UNUSED)
{
    static const struct {
        const char *body;
        size_t size;
        enum zmtp_shaken shaken;
        unsigned status;
    } cases[] = {
        {"\5ERROR\003400", 10, ZMTP_REFUSED, 400},
        {"\5ERROR\003500", 10, ZMTP_REFUSED, 500},
        {"\5ERROR\0", 7, ZMTP_SPOILED, 0},
        {"\5ERROR\0034x0", 10, ZMTP_SPOILED, 0},
        {"\5ERROR\0044000", 11, ZMTP_SPOILED, 0},
        {"\5ERROR\002400", 10, ZMTP_SPOILED, 0},
        {"\5ERROR\003400x", 11, ZMTP_SPOILED, 0},
        {"\5ERROR\004400", 10, ZMTP_SPOILED, 0},
        {"\5ERROR", 6, ZMTP_SPOILED, 0},
        {"\5ERRORS", 7, ZMTP_SPOILED, 0},
        {"\4PING", 5, ZMTP_SPOILED, 0},
        {"", 0, ZMTP_SPOILED, 0},
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct pair pair;

        until(&pair, ZMTP_WAITS_READY);
        pair.status = 0;
        pair.heard[0] = 4;
        pair.heard[1] = (uint8_t)cases[i].size;
        memcpy(pair.heard + 2, cases[i].body, cases[i].size);
        pair.heard_size = 2 + cases[i].size;
        assert_int_equal(hear(&pair), cases[i].shaken);
        if (cases[i].shaken == ZMTP_REFUSED)
            assert_int_equal(pair.status, cases[i].status);
        assert_int_equal(pair.client.state, ZMTP_FAILED);
    }
}

static void a_handshake_that_is_longer_than_any_is_refused_by_its_head(void **state UNUSED)
{
    for (enum zmtp_state at = ZMTP_WAITS_WELCOME; at < ZMTP_UP; at++) {
        struct pair pair;

        until(&pair, at);
        memcpy(pair.heard, "\6\0\0\0\0\0\0\4\1", 9);
        pair.heard_size = 9;
        assert_int_equal(hear(&pair), at == ZMTP_WAITS_READY ? ZMTP_SPOILED : ZMTP_OTHER);
    }
}

static void a_frame_that_was_heard_is_not_heard_again(void **state UNUSED)
{
    uint8_t first[SERVER_ROOM];
    struct bytes plain;
    struct pair pair;
    unsigned flags;
    size_t size;

    until(&pair, ZMTP_UP);
    size = pair.heard_size = server_message(&pair.server, 0, "one", 3, pair.heard);
    memcpy(first, pair.heard, size);
    assert_int_equal(open_heard(&pair, &flags, &plain), 0);
    memcpy(pair.heard, first, size);
    assert_int_equal(open_heard(&pair, &flags, &plain), AICO_EPROTO);

    /* Nor one that is not the next, nor one of ours that is sent back. */
    memcpy(first, pair.heard, server_message(&pair.server, 0, "two", 3, pair.heard));
    pair.heard_size = server_message(&pair.server, 0, "three", 5, pair.heard);
    assert_int_equal(open_heard(&pair, &flags, &plain), AICO_EPROTO);
    pair.heard_size = size;
    memcpy(pair.heard, first, size);
    assert_int_equal(open_heard(&pair, &flags, &plain), 0);
    pair.client.sent = pair.client.received;
    pair.heard_size = zmtp_seal(&pair.client, 0, bytes_text("ours"), pair.heard);
    assert_int_equal(open_heard(&pair, &flags, &plain), AICO_EAUTHENTICITY);
}

static void a_frame_with_one_bit_changed_is_refused(void **state UNUSED)
{
    struct pair pair;
    size_t bits;

    until(&pair, ZMTP_UP);
    bits = 8 * server_message(&pair.server, 0, "text", 4, pair.heard);
    for (size_t bit = 16; bit < bits; bit++) { /* behind its head */
        struct bytes plain;
        unsigned flags;

        pair.server.sent = pair.client.received; /* it would be the next */
        pair.heard_size = server_message(&pair.server, 0, "text", 4, pair.heard);
        pair.heard[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(open_heard(&pair, &flags, &plain), 0);
    }
    for (size_t size = 0; size < 33; size++) { /* too short for one */
        uint8_t body[33] = "\7MESSAGE\1";
        struct bytes plain;
        unsigned flags;

        assert_int_not_equal(zmtp_open(&pair.client, body, size, &flags, &plain), 0);
    }
}

static void the_size_of_a_frame_is_known_by_its_head(void **state UNUSED)
{
    size_t head = 0, whole = 0;

    assert_int_equal(zmtp_next(bytes_of("", 0), false, 10, &head, &whole), AICO_ENOTFOUND);
    assert_int_equal(whole, 0);
    assert_int_equal(zmtp_next(bytes_of("\0", 1), false, 10, &head, &whole), AICO_ENOTFOUND);
    assert_int_equal(whole, 0);
    assert_int_equal(zmtp_next(bytes_of("\0\3ab", 4), false, 10, &head, &whole), AICO_ENOTFOUND);
    assert_int_equal(whole, 5);
    assert_int_equal(zmtp_next(bytes_of("\0\3abcd", 6), false, 10, &head, &whole), 0);
    assert_int_equal(whole, 5);
    assert_int_equal(head, 2);
    assert_int_equal(zmtp_next(bytes_of("\0\13", 2), false, 10, &head, &whole), AICO_ETOOLARGE);
    assert_int_equal(zmtp_next(bytes_of("\2\0\0\0\0\0\0\0\12", 9), false, 10, &head, &whole),
                     AICO_ENOTFOUND);
    assert_int_equal(whole, 19);
    assert_int_equal(
        zmtp_next(bytes_of("\2\377\377\377\377\377\377\377\377", 9), false, 10, &head, &whole),
        AICO_ETOOLARGE);
    assert_int_equal(zmtp_next(bytes_of("\2\0\0\0\0\0\0\0", 8), false, 10, &head, &whole),
                     AICO_ENOTFOUND);
    for (int flags = 0; flags < 256; flags++)
        if (flags != 0 && flags != 2)
            assert_int_equal(zmtp_next((struct bytes){(const uint8_t[]){(uint8_t)flags, 0}, 2},
                                       false, 10, &head, &whole),
                             AICO_EPROTO);
}

static void who_is_asked_whether_he_is_there_says_so(void **state UNUSED)
{
    uint8_t room[ZMTP_ANSWER_MAX];
    struct writer w = writer_over(room, sizeof(room));

    assert_true(zmtp_pong(bytes_of("\4PING\0\12ctx", 10), &w));
    assert_true(bytes_equal(writer_view(&w), bytes_of("\4PONGctx", 8)));
    w.size = 0;
    assert_false(zmtp_pong(bytes_of("\4PING\0", 6), &w));
    assert_false(zmtp_pong(bytes_of("\4PING\0\12ctxctxctxctxctxctx", 25), &w));
    assert_false(zmtp_pong(bytes_of("\4PONG\0\12ctx", 10), &w));
    assert_int_equal(w.size, 0);
}

static bool is_in(const struct zmtp *zmtp, const void *secret)
{
    const uint8_t *at = (const uint8_t *)zmtp;

    for (size_t i = 0; i + 32 <= sizeof(*zmtp); i++)
        if (memcmp(at + i, secret, 32) == 0)
            return true;
    return false;
}

static void secrets_are_kept_no_longer_than_they_serve(void **state UNUSED)
{
    struct secret once;
    struct pair pair;

    until(&pair, ZMTP_WAITS_WELCOME);
    once = pair.client.once_secret;
    assert_true(is_in(&pair.client, pair.secret.at));
    assert_int_equal(hear(&pair), ZMTP_TAKEN);
    assert_false(is_in(&pair.client, pair.secret.at));
    assert_false(is_in(&pair.client, once.at));
    assert_true(server_initiate(&pair.server, pair.said, pair.said_size));
    assert_true(is_in(&pair.client, pair.server.shared));
    pair.heard_size = server_ready(&pair.server, "ROUTER", pair.heard);
    assert_int_equal(hear(&pair), ZMTP_TAKEN);
    assert_false(is_in(&pair.client, pair.server.shared));

    until(&pair, ZMTP_WAITS_WELCOME); /* nor after a failure */
    pair.heard[30] ^= 1;
    assert_int_equal(hear(&pair), ZMTP_OTHER_KEY);
    assert_false(is_in(&pair.client, pair.secret.at));
}

static int start(void **state UNUSED)
{
    random_start();
    return crypto_start();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_comes_up_and_frames_pass_both_ways),
        cmocka_unit_test(less_than_a_whole_message_is_waited_for),
        cmocka_unit_test(a_message_with_one_bit_changed_is_refused),
        cmocka_unit_test(what_is_no_greeting_of_curve_is_another_program),
        cmocka_unit_test(another_key_is_told_apart),
        cmocka_unit_test(a_welcome_of_another_connection_is_refused),
        cmocka_unit_test(only_a_router_is_a_broker),
        cmocka_unit_test(metadata_that_says_more_than_it_has_is_refused),
        cmocka_unit_test(the_brokers_refusal_has_its_status),
        cmocka_unit_test(a_handshake_that_is_longer_than_any_is_refused_by_its_head),
        cmocka_unit_test(a_frame_that_was_heard_is_not_heard_again),
        cmocka_unit_test(a_frame_with_one_bit_changed_is_refused),
        cmocka_unit_test(the_size_of_a_frame_is_known_by_its_head),
        cmocka_unit_test(who_is_asked_whether_he_is_there_says_so),
        cmocka_unit_test(secrets_are_kept_no_longer_than_they_serve),
    };

    return cmocka_run_group_tests(tests, start, NULL);
}
