/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's half of ZMTP and CurveZMQ against a client of a test, of which every byte may be
 * wrong. The seed of a run is printed; AICO_TEST_SEED repeats it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "crypto/crypto.h"
#include "curve_client.h"
#include "random.h"
#include "transport/zmtp.h"

#define PLAIN_MAX 300000
#define AT_INITIATE_NAME 9 /* in its frame */
#define AT_COOKIE (AT_INITIATE_NAME + 9)

struct pair {
    struct curve_client client;
    struct zmtp server;
    uint8_t public[32];
    struct secret secret;
    uint8_t said[ZMTP_ANSWER_MAX]; /* by the server, last */
    size_t said_size;
    uint8_t heard[CLIENT_ROOM]; /* what the server is given next */
    size_t heard_size;
    size_t taken;
};

/* The broker of @pair waits for another client. */
static void await(struct pair *pair)
{
    uint8_t greeting[CLIENT_GREETING_SIZE];
    struct writer w = writer_over(pair->said, sizeof(pair->said));

    client_new(&pair->client, pair->public);
    zmtp_await(&pair->server, pair->public, &pair->secret, &w);
    assert_false(w.failed);
    assert_int_equal(w.size, client_greeting(greeting));
    assert_memory_equal(pair->said + 12, greeting + 12, sizeof(greeting) - 12);
    assert_int_equal(pair->said[0], 0xff);
    assert_int_equal(pair->said[9], 0x7f);
    assert_int_equal(pair->said[10], 3);
    assert_int_equal(pair->said[11], 1);
    pair->heard_size = client_greeting(pair->heard);
}

static void begin(struct pair *pair)
{
    memset(pair, 0, sizeof(*pair));
    crypto_box_keypair(pair->public, pair->secret.at);
    await(pair);
}

/* Nothing is left of it. */
static bool is_wiped(const struct zmtp *zmtp)
{
    static const struct zmtp zeros;
    struct zmtp copy;

    memcpy(&copy, zmtp, sizeof(copy));
    if (copy.state != ZMTP_FAILED)
        return false;
    memset(&copy.state, 0, sizeof(copy.state));
    return memcmp(&copy, &zeros, sizeof(copy)) == 0;
}

/* Gives the server what is in `heard`, of which it may take less. */
static enum zmtp_shaken hear_some(struct pair *pair)
{
    CLEANUP(free_memory)
    uint8_t *exact = malloc(pair->heard_size + 1); /* a sanitizer sees one byte too far */
    struct writer w = writer_over(pair->said, sizeof(pair->said));
    enum zmtp_state before = pair->server.state;
    enum zmtp_shaken shaken;

    assert_non_null(exact);
    memcpy(exact + 1, pair->heard, pair->heard_size);
    pair->taken = 0;
    shaken = zmtp_serve(&pair->server, bytes_of(exact + 1, pair->heard_size), &pair->taken, &w);
    assert_false(w.failed);
    pair->said_size = w.size;
    if (shaken == ZMTP_TAKEN) {
        assert_in_range(pair->taken, 1, pair->heard_size);
        assert_int_equal(pair->server.state,
                         before == ZMTP_WAITS_GREETING ? ZMTP_WAITS_HELLO : before + 1);
        return shaken;
    }
    assert_int_equal(w.size, 0);
    assert_int_equal(pair->taken, 0);
    if (shaken == ZMTP_MORE)
        assert_int_equal(pair->server.state, before);
    else
        assert_true(is_wiped(&pair->server));
    return shaken;
}

static enum zmtp_shaken hear(struct pair *pair)
{
    enum zmtp_shaken shaken = hear_some(pair);

    if (shaken == ZMTP_TAKEN)
        assert_int_equal(pair->taken, pair->heard_size);
    return shaken;
}

static void admit(struct pair *pair)
{
    struct writer w = writer_over(pair->said, sizeof(pair->said));

    zmtp_admit(&pair->server, &w);
    assert_false(w.failed);
    assert_int_equal(pair->server.state, ZMTP_UP);
    pair->said_size = w.size;
}

/* From the greeting to where the server has been given all but @state's last message, which lies in
 * `heard`. */
static void go_on(struct pair *pair, enum zmtp_state state)
{
    if (state == ZMTP_WAITS_GREETING)
        return;
    assert_int_equal(hear(pair), ZMTP_TAKEN);
    assert_int_equal(pair->said_size, 0);
    pair->heard_size = client_hello(&pair->client, pair->heard);
    if (state == ZMTP_WAITS_HELLO)
        return;
    assert_int_equal(hear(pair), ZMTP_TAKEN);
    assert_true(client_welcome(&pair->client, pair->said, pair->said_size));
    pair->heard_size =
        client_initiate(&pair->client, CLIENT_METADATA, CLIENT_METADATA_SIZE, pair->heard);
    if (state == ZMTP_WAITS_INITIATE)
        return;
    assert_int_equal(hear(pair), ZMTP_TAKEN);
    assert_int_equal(pair->said_size, 0);
    assert_int_equal(pair->server.state, ZMTP_WAITS_VERDICT);
    if (state == ZMTP_WAITS_VERDICT)
        return;
    admit(pair);
    assert_true(client_ready(&pair->client, pair->said, pair->said_size));
}

static void until(struct pair *pair, enum zmtp_state state)
{
    begin(pair);
    go_on(pair, state);
}

/* INITIATE with other metadata than `heard` has. */
static void initiate(struct pair *pair, const void *metadata, size_t size)
{
    pair->client.sent--;
    pair->heard_size = client_initiate(&pair->client, metadata, size, pair->heard);
}

static int open_frame(struct zmtp *zmtp, uint8_t *frame, size_t size, unsigned *ret_flags,
                      struct bytes *ret_plain)
{
    size_t head, whole;

    assert_int_equal(zmtp_next(bytes_of(frame, size), false, SIZE_MAX / 2, &head, &whole), 0);
    assert_int_equal(whole, size);
    return zmtp_open(zmtp, frame + head, whole - head, ret_flags, ret_plain);
}

static size_t next_size(size_t size)
{
    return size < 300 ? size + 1 : size < 1500 ? size + 97 : size * 3 + 1;
}

/* --- what is right ---------------------------------------------------------------------------- */

static void it_comes_up_and_messages_pass_both_ways(void **state UNUSED)
{
    CLEANUP(free_memory)
    uint8_t *text = malloc(PLAIN_MAX + 1);
    CLEANUP(free_memory)
    uint8_t *frame = malloc(PLAIN_MAX + 1 + ZMTP_OVERHEAD);
    CLEANUP(free_memory)
    uint8_t *plain = malloc(PLAIN_MAX + 1);
    struct pair pair;

    assert_true(text && frame && plain);
    until(&pair, ZMTP_UP);
    for (size_t size = 0; size < PLAIN_MAX; size = next_size(size)) {
        unsigned flags = 0, said = (unsigned)(size % 4);
        struct bytes opened;
        size_t whole;

        random_fill(text + 1, size);
        text[0] = (uint8_t)said;
        whole = client_seal(&pair.client, text, size + 1, frame);
        assert_int_equal(open_frame(&pair.server, frame, whole, &flags, &opened), 0);
        assert_int_equal(flags, said);
        assert_true(bytes_equal(opened, bytes_of(text + 1, size)));

        whole = zmtp_seal(&pair.server, said, bytes_of(text + 1, size), frame);
        assert_true(whole <= size + ZMTP_OVERHEAD);
        assert_int_equal(client_open(&pair.client, frame, whole, plain), size + 1);
        assert_memory_equal(plain, text, size + 1);
    }
    zmtp_wipe(&pair.server);
    assert_true(is_wiped(&pair.server));
}

static void serve_ours(struct zmtp *server, struct writer *up, struct writer *down)
{
    size_t taken;

    assert_int_equal(zmtp_serve(server, writer_view(up), &taken, down), ZMTP_TAKEN);
    assert_int_equal(taken, up->size);
    up->size = 0;
}

static enum zmtp_shaken shake_ours(struct zmtp *client, struct writer *down, struct writer *up,
                                   unsigned *ret_status)
{
    size_t taken = 0;
    enum zmtp_shaken shaken = zmtp_shake(client, writer_view(down), &taken, up, ret_status);

    if (shaken == ZMTP_TAKEN)
        assert_int_equal(taken, down->size);
    down->size = 0;
    return shaken;
}

/* NULL: it is let in. */
static void judge_our_own_client(const char *verdict)
{
    uint8_t to_server[ZMTP_ANSWER_MAX], to_client[ZMTP_ANSWER_MAX], public[32], frame[64];
    struct writer up = writer_over(to_server, sizeof(to_server));
    struct writer down = writer_over(to_client, sizeof(to_client));
    struct secret secret;
    struct zmtp client;
    struct bytes plain;
    struct pair pair;
    unsigned status = 0, flags;
    size_t size;

    begin(&pair);
    crypto_box_keypair(public, secret.at);
    zmtp_await(&pair.server, pair.public, &pair.secret, &down);
    zmtp_begin(&client, pair.public, public, &secret, &up);
    for (int step = 0; step < 2; step++) { /* greetings, HELLO and WELCOME */
        serve_ours(&pair.server, &up, &down);
        assert_int_equal(shake_ours(&client, &down, &up, &status), ZMTP_TAKEN);
    }
    serve_ours(&pair.server, &up, &down);
    assert_int_equal(down.size, 0);
    assert_int_equal(pair.server.state, ZMTP_WAITS_VERDICT);
    assert_memory_equal(pair.server.client_public, public, 32);
    if (verdict) {
        zmtp_refuse(&pair.server, verdict, &down);
        assert_false(down.failed);
        assert_true(is_wiped(&pair.server));
        assert_int_equal(shake_ours(&client, &down, &up, &status), ZMTP_REFUSED);
        assert_int_equal(status, strtoul(verdict, NULL, 10));
        return;
    }
    zmtp_admit(&pair.server, &down);
    assert_int_equal(shake_ours(&client, &down, &up, &status), ZMTP_TAKEN);
    assert_int_equal(client.state, ZMTP_UP);
    for (int i = 0; i < 3; i++) {
        size = zmtp_seal(&pair.server, 0, bytes_text("down"), frame);
        assert_int_equal(open_frame(&client, frame, size, &flags, &plain), 0);
        assert_true(bytes_equal_text(plain, "down"));
        size = zmtp_seal(&client, 0, bytes_text("up"), frame);
        assert_int_equal(open_frame(&pair.server, frame, size, &flags, &plain), 0);
        assert_true(bytes_equal_text(plain, "up"));
    }
    zmtp_wipe(&client);
    zmtp_wipe(&pair.server);
}

static void our_own_client_is_let_in(void **state UNUSED)
{
    judge_our_own_client(NULL);
}

static void a_refused_client_hears_its_status(void **state UNUSED)
{
    static const uint8_t error[] = "\4\12\5ERROR\003400";
    struct writer w;
    struct pair pair;

    judge_our_own_client("300");
    judge_our_own_client("400");
    judge_our_own_client("500");

    until(&pair, ZMTP_WAITS_VERDICT);
    w = writer_over(pair.said, sizeof(pair.said));
    zmtp_refuse(&pair.server, "400", &w);
    assert_true(bytes_equal(writer_view(&w), bytes_of(error, sizeof(error) - 1)));
}

static void the_proven_key_is_known_for_the_verdict(void **state UNUSED)
{
    struct pair pair;

    begin(&pair);
    for (int i = 0; i < 5; i++) { /* of one broker */
        await(&pair);
        go_on(&pair, ZMTP_WAITS_INITIATE);
        assert_memory_not_equal(pair.server.client_public, pair.client.public, 32);
        assert_int_equal(hear(&pair), ZMTP_TAKEN);
        assert_memory_equal(pair.server.client_public, pair.client.public, 32);
        admit(&pair);
        assert_true(client_ready(&pair.client, pair.said, pair.said_size));
        assert_memory_equal(pair.server.client_public, pair.client.public, 32);
        zmtp_wipe(&pair.server);
    }
}

static void what_is_written_ahead_is_sealed_to_the_same_bytes(void **state UNUSED)
{
    uint8_t text[1024], whole[1024 + ZMTP_OVERHEAD], plain[1025];
    struct pair pair;

    until(&pair, ZMTP_UP);
    random_fill(text, sizeof(text));
    for (size_t size = 0; size <= sizeof(text); size = next_size(size)) {
        CLEANUP(free_memory)
        uint8_t *first = malloc(size + ZMTP_OVERHEAD);
        CLEANUP(free_memory)
        uint8_t *second = malloc(size + ZMTP_OVERHEAD);
        struct zmtp other = pair.server;
        size_t sealed;

        assert_true(first && second);
        sealed = zmtp_seal(&pair.server, 1, bytes_of(text, size), whole);
        /* Two are written, and then sealed in their order. */
        assert_int_equal(zmtp_write(1, bytes_of(text, size), first), sealed);
        assert_int_equal(zmtp_write(2, bytes_of(text, size), second), sealed);
        assert_int_equal(zmtp_seal_written(&other, first), sealed);
        assert_memory_equal(first, whole, sealed);
        assert_int_equal(client_open(&pair.client, first, sealed, plain), size + 1);
        assert_int_equal(plain[0], 1);
        assert_memory_equal(plain + 1, text, size);
        assert_int_equal(zmtp_seal_written(&other, second), sealed);
        assert_int_equal(zmtp_seal(&pair.server, 2, bytes_of(text, size), whole), sealed);
        assert_memory_equal(second, whole, sealed);
        assert_int_equal(client_open(&pair.client, second, sealed, plain), size + 1);
        assert_int_equal(plain[0], 2);
        assert_memory_equal(&other, &pair.server, sizeof(other));
    }
    zmtp_wipe(&pair.server);
}

static void what_was_opened_is_found_again(void **state UNUSED)
{
    uint8_t text[2048], frame[2048 + ZMTP_OVERHEAD];
    struct pair pair;

    until(&pair, ZMTP_UP);
    for (size_t size = 0; size < sizeof(text); size = next_size(size)) {
        struct bytes opened, again;
        unsigned flags = 7, same = 8;
        size_t head, whole;

        random_fill(text, sizeof(text)); /* and any flags */
        whole = client_seal(&pair.client, text, size + 1, frame);
        assert_int_equal(open_frame(&pair.server, frame, whole, &flags, &opened), 0);
        assert_int_equal(zmtp_next(bytes_of(frame, whole), false, SIZE_MAX / 2, &head, &whole), 0);
        again = zmtp_opened(frame + head, whole - head, &same);
        assert_int_equal(same, flags);
        assert_int_equal(same, text[0]);
        assert_ptr_equal(again.at, opened.at);
        assert_int_equal(again.size, opened.size);
        assert_true(bytes_equal(again, bytes_of(text + 1, size)));
    }
    zmtp_wipe(&pair.server);
}

static void nothing_of_a_welcome_comes_again(void **state UNUSED)
{
    struct zmtp second;
    struct pair pair;
    uint8_t first[32], cookie[96], nonce[16];

    /* To the same HELLO. */
    until(&pair, ZMTP_WAITS_HELLO);
    second = pair.server;
    assert_int_equal(hear(&pair), ZMTP_TAKEN);
    assert_true(client_welcome(&pair.client, pair.said, pair.said_size));
    memcpy(nonce, pair.said + 10, sizeof(nonce));
    memcpy(first, pair.client.broker_once, sizeof(first));
    memcpy(cookie, pair.client.cookie, sizeof(cookie));
    pair.server = second;
    assert_int_equal(hear(&pair), ZMTP_TAKEN);
    assert_true(client_welcome(&pair.client, pair.said, pair.said_size));
    assert_memory_not_equal(nonce, pair.said + 10, sizeof(nonce));
    assert_memory_not_equal(first, pair.client.broker_once, sizeof(first));
    for (size_t i = 0; i < sizeof(cookie); i += 16)
        assert_memory_not_equal(cookie + i, pair.client.cookie + i, 16);
}

static void numbers_go_on_from_where_the_client_begins(void **state UNUSED)
{
    uint8_t frame[64];
    struct pair pair;
    struct bytes plain;
    unsigned flags;

    begin(&pair);
    pair.client.sent = 6;
    go_on(&pair, ZMTP_UP);
    assert_int_equal(pair.client.sent, 8);
    assert_int_equal(
        open_frame(&pair.server, frame, client_seal(&pair.client, "\0x", 2, frame), &flags, &plain),
        0);
    assert_true(bytes_equal_text(plain, "x"));
}

/* --- pieces ----------------------------------------------------------------------------------- */

static const enum zmtp_state waiting[] = {ZMTP_WAITS_GREETING, ZMTP_WAITS_HELLO,
                                          ZMTP_WAITS_INITIATE};

static void bytes_may_come_one_by_one(void **state UNUSED)
{
    for (size_t i = 0; i < COUNT_OF(waiting); i++) {
        struct pair pair;
        struct zmtp before;
        size_t whole;

        until(&pair, waiting[i]);
        before = pair.server;
        whole = pair.heard_size;
        for (size_t size = 0; size < whole; size++) {
            pair.heard_size = size;
            assert_int_equal(hear(&pair), ZMTP_MORE);
            assert_memory_equal(&pair.server, &before, sizeof(before));
        }
        pair.heard_size = whole;
        assert_int_equal(hear(&pair), ZMTP_TAKEN);
        zmtp_wipe(&pair.server);
    }
}

static void two_steps_may_come_at_once(void **state UNUSED)
{
    struct pair pair;
    size_t whole;

    begin(&pair);
    (void)client_hello(&pair.client, pair.heard + CLIENT_GREETING_SIZE);
    pair.heard_size = CLIENT_GREETING_SIZE + CLIENT_HELLO_SIZE;
    assert_int_equal(hear_some(&pair), ZMTP_TAKEN);
    assert_int_equal(pair.taken, CLIENT_GREETING_SIZE);
    assert_int_equal(pair.said_size, 0);
    memmove(pair.heard, pair.heard + CLIENT_GREETING_SIZE, CLIENT_HELLO_SIZE);
    pair.heard_size = CLIENT_HELLO_SIZE + 5; /* and the head of what follows */
    memcpy(pair.heard + CLIENT_HELLO_SIZE, "\4\377\10INI", 5);
    assert_int_equal(hear_some(&pair), ZMTP_TAKEN);
    assert_int_equal(pair.taken, CLIENT_HELLO_SIZE);
    assert_true(client_welcome(&pair.client, pair.said, pair.said_size));

    /* INITIATE, and a message of who does not wait for READY. */
    whole = client_initiate(&pair.client, CLIENT_METADATA, CLIENT_METADATA_SIZE, pair.heard);
    pair.heard_size = whole + client_seal(&pair.client, "\0x", 2, pair.heard + whole);
    assert_int_equal(hear_some(&pair), ZMTP_TAKEN);
    assert_int_equal(pair.taken, whole);
    assert_int_equal(pair.server.state, ZMTP_WAITS_VERDICT);
}

static void a_longer_command_than_any_is_refused_by_its_head(void **state UNUSED)
{
    for (size_t i = 1; i < COUNT_OF(waiting); i++) {
        struct pair pair;

        until(&pair, waiting[i]);
        memcpy(pair.heard, "\6\0\0\0\0\0\0\4\1", 9);
        pair.heard_size = 8;
        assert_int_equal(hear(&pair), ZMTP_MORE);
        pair.heard[8] = 0; /* the longest */
        pair.heard_size = 9;
        assert_int_equal(hear(&pair), ZMTP_MORE);
        pair.heard[8] = 1;
        assert_int_not_equal(hear(&pair), ZMTP_MORE);

        until(&pair, waiting[i]);
        memcpy(pair.heard, "\6\377\377\377\377\377\377\377\377", 9);
        pair.heard_size = 9;
        assert_int_not_equal(hear(&pair), ZMTP_MORE);
    }
}

static void what_is_no_command_is_refused_by_its_first_byte(void **state UNUSED)
{
    for (size_t i = 1; i < COUNT_OF(waiting); i++) {
        struct pair pair, saved;

        until(&saved, waiting[i]);
        for (int flags = 0; flags < 256; flags++) {
            enum zmtp_shaken shaken;

            pair = saved;
            pair.heard[0] = (uint8_t)flags;
            pair.heard_size = 1;
            shaken = hear(&pair);
            if (flags == 4 || flags == 6)
                assert_int_equal(shaken, ZMTP_MORE);
            else
                assert_in_set(shaken, ((const unsigned long[]){ZMTP_OTHER, ZMTP_SPOILED}), 2);
        }
    }
}

static void a_step_in_place_of_another_is_refused(void **state UNUSED)
{
    static const char *const names[] = {"\5HELLO", "\10INITIATE", "\7MESSAGE", "\5READY",
                                        "\5ERROR", "\4PING",      ""};

    for (size_t i = 1; i < COUNT_OF(waiting); i++)
        for (size_t j = 0; j < COUNT_OF(names); j++) {
            struct pair pair;

            until(&pair, waiting[i]);
            if (memcmp(pair.heard + (waiting[i] == ZMTP_WAITS_HELLO ? 2 : AT_INITIATE_NAME),
                       names[j], MAX(strlen(names[j]), (size_t)1)) == 0)
                continue;
            pair.heard_size = client_put_head(pair.heard, 4, strlen(names[j]));
            memcpy(pair.heard + 2, names[j], strlen(names[j]));
            pair.heard_size += strlen(names[j]);
            assert_int_equal(hear(&pair),
                             waiting[i] == ZMTP_WAITS_HELLO ? ZMTP_OTHER : ZMTP_SPOILED);
        }
}

/* --- what is wrong in a greeting and HELLO ---------------------------------------------------- */

static void what_is_no_greeting_of_curve_is_another_program(void **state UNUSED)
{
    static const size_t told_by[] = {0, 9, 10, 12, 16, 17, 31};
    static const size_t not_told_by[] = {1, 8, 11, 32, 33, 63};

    for (size_t i = 0; i < COUNT_OF(told_by); i++) {
        struct pair pair;

        begin(&pair);
        pair.heard[told_by[i]] ^= 2;
        assert_int_equal(hear(&pair), ZMTP_OTHER);
    }
    for (size_t i = 0; i < COUNT_OF(not_told_by); i++) {
        struct pair pair;

        begin(&pair);
        pair.heard[not_told_by[i]] ^= 2;
        assert_int_equal(hear(&pair), ZMTP_TAKEN);
    }
    for (int major = 0; major < 256; major++) { /* later ones speak ours to us */
        struct pair pair;

        begin(&pair);
        pair.heard[10] = (uint8_t)major;
        assert_int_equal(hear(&pair), major < 3 ? ZMTP_OTHER : ZMTP_TAKEN);
    }
    for (int byte = 0; byte < 0xff; byte++) { /* told by the first one */
        struct pair pair;

        begin(&pair);
        pair.heard[0] = (uint8_t)byte;
        pair.heard_size = 1;
        assert_int_equal(hear(&pair), ZMTP_OTHER);
    }
}

/* Of the filler nothing is asked. C' has a bit that X25519 leaves out: INITIATE will tell. */
static void a_hello_with_one_bit_changed_comes_to_nothing(void **state UNUSED)
{
    size_t told_late = 0;
    struct pair saved;

    until(&saved, ZMTP_WAITS_HELLO);
    for (size_t bit = 0; bit < (size_t)8 * CLIENT_HELLO_SIZE; bit++) {
        struct pair pair = saved;
        enum zmtp_shaken shaken;

        if (bit / 8 >= CLIENT_AT_FILLER && bit / 8 < CLIENT_AT_ONCE)
            continue;
        pair.heard[bit / 8] ^= (uint8_t)(1u << bit % 8);
        shaken = hear(&pair);
        if (shaken != ZMTP_TAKEN)
            continue;
        told_late++;
        assert_int_equal(bit / 8, CLIENT_AT_ONCE + 31);
        assert_true(client_welcome(&pair.client, pair.said, pair.said_size));
        pair.heard_size =
            client_initiate(&pair.client, CLIENT_METADATA, CLIENT_METADATA_SIZE, pair.heard);
        assert_int_equal(hear(&pair), ZMTP_SPOILED);
    }
    assert_in_range(told_late, 0, 1);
    assert_int_equal(hear(&saved), ZMTP_TAKEN);
}

static void a_hello_says_its_version_and_is_of_one_size(void **state UNUSED)
{
    struct pair pair;

    until(&pair, ZMTP_WAITS_HELLO);
    pair.heard[8] = 2;
    assert_int_equal(hear(&pair), ZMTP_OTHER);
    until(&pair, ZMTP_WAITS_HELLO);
    pair.heard[9] = 1;
    assert_int_equal(hear(&pair), ZMTP_OTHER);
    for (int more = -1; more <= 1; more += 2) {
        until(&pair, ZMTP_WAITS_HELLO);
        pair.heard[1] = (uint8_t)(pair.heard[1] + more);
        pair.heard_size += (size_t)more;
        assert_int_equal(hear(&pair), ZMTP_OTHER);
    }
    for (size_t size = 0; size < CLIENT_HELLO_SIZE - 2; size++) { /* whole frames */
        until(&pair, ZMTP_WAITS_HELLO);
        pair.heard[1] = (uint8_t)size;
        pair.heard_size = 2 + size;
        assert_int_equal(hear(&pair), ZMTP_OTHER);
    }
}

static void a_hello_for_another_key_is_told_apart(void **state UNUSED)
{
    uint8_t other[32], secret[32];
    struct pair pair;

    begin(&pair);
    crypto_box_keypair(other, secret);
    memcpy(pair.client.broker, other, 32);
    go_on(&pair, ZMTP_WAITS_HELLO);
    assert_int_equal(hear(&pair), ZMTP_OTHER_KEY);
}

static void a_hello_of_other_than_zeros_is_refused(void **state UNUSED)
{
    for (size_t i = 0; i < 64; i++) {
        struct pair pair;

        begin(&pair);
        pair.client.hello[i] = 1;
        go_on(&pair, ZMTP_WAITS_HELLO);
        assert_int_equal(hear(&pair), ZMTP_OTHER_KEY);
    }
}

/* Points of which every secret makes the same key, so that they prove nothing: of order 1, 2, 4 and
 * 8, and the same ones beyond the prime. */
static const uint8_t low_order[][32] = {
    {0},
    {1},
    {0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3,
     0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32,
     0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00},
    {0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1,
     0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c,
     0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57},
    {0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
    {0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
    {0xee, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
};

/* What the key of such a point would be: made of zeros, or never made at all. */
static void low_order_key(bool is_made, uint8_t key[32])
{
    static const uint8_t zeros[32];

    memset(key, 0, 32);
    if (is_made)
        crypto_core_hsalsa20(key, zeros, zeros, NULL);
}

static void a_key_of_low_order_is_refused(void **state UNUSED)
{
    for (size_t i = 0; i < COUNT_OF(low_order); i++)
        for (int is_made = 0; is_made < 2; is_made++) {
            uint8_t key[32];
            struct pair pair;

            low_order_key(is_made, key);
            until(&pair, ZMTP_WAITS_HELLO); /* as C' */
            memcpy(pair.client.once_public, low_order[i], 32);
            pair.client.sent = 0;
            pair.heard_size = client_hello_by(&pair.client, key, pair.heard);
            assert_int_equal(hear(&pair), ZMTP_OTHER);

            until(&pair, ZMTP_WAITS_INITIATE); /* as C, of which everybody has the secret */
            memcpy(pair.client.public, low_order[i], 32);
            pair.client.sent--;
            pair.heard_size = client_initiate_by(&pair.client, key, CLIENT_METADATA,
                                                 CLIENT_METADATA_SIZE, pair.heard);
            assert_int_equal(hear(&pair), ZMTP_SPOILED);
        }
}

/* --- what is wrong in INITIATE ---------------------------------------------------------------- */

static void an_initiate_with_one_bit_changed_is_refused(void **state UNUSED)
{
    struct pair saved;

    until(&saved, ZMTP_WAITS_INITIATE);
    assert_int_equal(saved.heard_size, 9 + 9 + 96 + 8 + 16 + 128 + CLIENT_METADATA_SIZE);
    for (size_t bit = 0; bit < 8 * saved.heard_size; bit++) {
        struct pair pair = saved;

        pair.heard[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(hear(&pair), ZMTP_TAKEN);
        if (bit / 8 >= AT_INITIATE_NAME)
            assert_int_equal(pair.server.state, ZMTP_FAILED);
    }
    assert_int_equal(hear(&saved), ZMTP_TAKEN);
}

/* Whole frames that are shorter, and boxes that hold less than they must. */
static void an_initiate_that_is_too_short_is_refused(void **state UNUSED)
{
    uint8_t plain[128];
    struct pair saved, pair;

    until(&saved, ZMTP_WAITS_INITIATE);
    for (size_t size = 0; size + 9 < saved.heard_size; size++) {
        size_t at;

        pair = saved;
        at = client_put_head(pair.heard, 4, size);
        memcpy(pair.heard + at, saved.heard + 9, size);
        pair.heard_size = at + size;
        assert_int_equal(hear(&pair), ZMTP_SPOILED);
    }
    random_fill(plain, sizeof(plain));
    saved.client.sent--;
    for (size_t size = 0; size <= sizeof(plain); size++) {
        pair = saved;
        pair.heard_size = client_initiate_of(&pair.client, plain, size, pair.heard);
        assert_int_equal(hear(&pair), ZMTP_SPOILED);
    }
}

static void an_initiate_is_the_next_after_hello(void **state UNUSED)
{
    static const int steps[] = {-2, -1, 1, 2, 256};

    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        struct pair pair;

        begin(&pair);
        pair.client.sent = 10;
        go_on(&pair, ZMTP_WAITS_INITIATE);
        pair.client.sent += (uint64_t)steps[i];
        initiate(&pair, CLIENT_METADATA, CLIENT_METADATA_SIZE);
        assert_int_equal(hear(&pair), ZMTP_SPOILED);
    }
}

static void another_cookie_is_refused(void **state UNUSED)
{
    struct pair pair, other;

    until(&other, ZMTP_WAITS_INITIATE);
    until(&pair, ZMTP_WAITS_INITIATE);
    memcpy(pair.heard + AT_COOKIE, other.client.cookie, 96);
    assert_int_equal(hear(&pair), ZMTP_SPOILED);
    until(&pair, ZMTP_WAITS_INITIATE);
    memset(pair.heard + AT_COOKIE, 0, 96);
    assert_int_equal(hear(&pair), ZMTP_SPOILED);
}

static void who_has_not_the_secret_of_the_key_it_names_is_refused(void **state UNUSED)
{
    struct curve_client other;
    struct pair pair;

    until(&pair, ZMTP_WAITS_INITIATE);
    client_new(&other, pair.public);
    memcpy(pair.client.public, other.public, 32); /* named, and vouched for by ours */
    initiate(&pair, CLIENT_METADATA, CLIENT_METADATA_SIZE);
    assert_int_equal(hear(&pair), ZMTP_SPOILED);

    until(&pair, ZMTP_WAITS_INITIATE); /* by the key of the connection */
    memcpy(pair.client.public, other.public, 32);
    memcpy(pair.client.secret, pair.client.once_secret, 32);
    initiate(&pair, CLIENT_METADATA, CLIENT_METADATA_SIZE);
    assert_int_equal(hear(&pair), ZMTP_SPOILED);

    until(&pair, ZMTP_WAITS_INITIATE); /* the broker's, by a client */
    memcpy(pair.client.public, pair.public, 32);
    initiate(&pair, CLIENT_METADATA, CLIENT_METADATA_SIZE);
    assert_int_equal(hear(&pair), ZMTP_SPOILED);
}

/* What one client said is not left for the next one to be let in by: the same functions run one
 * right behind the other, so that what they do not set is as it was. */
static void what_another_proved_proves_nothing(void **state UNUSED)
{
    struct curve_client other;
    struct pair saved;

    until(&saved, ZMTP_WAITS_INITIATE);
    client_new(&other, saved.public);
    for (int i = 0; i < 3; i++) {
        struct zmtp genuine = saved.server;
        enum zmtp_shaken first, second;
        struct pair pair = saved;
        struct writer w = writer_over(pair.said, sizeof(pair.said));
        size_t taken;

        if (i == 0) /* it names another's key */
            memcpy(pair.client.public, other.public, 32);
        if (i == 1) /* another vouches */
            memcpy(pair.client.secret, other.secret, 32);
        initiate(&pair, CLIENT_METADATA, CLIENT_METADATA_SIZE);
        if (i == 2) /* the tag of the box */
            pair.heard[AT_COOKIE + 96 + 8] ^= 1;
        first = zmtp_serve(&genuine, bytes_of(saved.heard, saved.heard_size), &taken, &w);
        second = zmtp_serve(&pair.server, bytes_of(pair.heard, pair.heard_size), &taken, &w);
        assert_int_equal(first, ZMTP_TAKEN);
        assert_int_equal(second, ZMTP_SPOILED);
        assert_true(is_wiped(&pair.server));
    }
}

/* X25519 leaves a bit out, by which a key has a second name: it is not taken for the first. */
static void a_key_is_known_as_it_was_named(void **state UNUSED)
{
    struct pair pair;

    until(&pair, ZMTP_WAITS_INITIATE);
    pair.client.public[31] ^= 0x80;
    initiate(&pair, CLIENT_METADATA, CLIENT_METADATA_SIZE);
    if (hear(&pair) == ZMTP_TAKEN)
        assert_memory_equal(pair.server.client_public, pair.client.public, 32);
}

static void a_vouch_for_another_connection_or_broker_is_refused(void **state UNUSED)
{
    struct curve_client other;
    struct pair pair;

    for (size_t i = 0; i < sizeof(other.vouched); i++) {
        until(&pair, ZMTP_WAITS_INITIATE);
        pair.client.vouched[i] ^= 1;
        initiate(&pair, CLIENT_METADATA, CLIENT_METADATA_SIZE);
        assert_int_equal(hear(&pair), ZMTP_SPOILED);
    }
    until(&pair, ZMTP_WAITS_INITIATE);
    client_new(&other, pair.public);
    memcpy(pair.client.vouched, other.once_public, 32);
    initiate(&pair, CLIENT_METADATA, CLIENT_METADATA_SIZE);
    assert_int_equal(hear(&pair), ZMTP_SPOILED);

    until(&pair, ZMTP_WAITS_INITIATE);
    memcpy(pair.client.vouched + 32, other.public, 32);
    initiate(&pair, CLIENT_METADATA, CLIENT_METADATA_SIZE);
    assert_int_equal(hear(&pair), ZMTP_SPOILED);

    until(&pair, ZMTP_WAITS_INITIATE); /* one that C made for another S' */
    crypto_box_keypair(pair.client.broker_once, other.secret);
    initiate(&pair, CLIENT_METADATA, CLIENT_METADATA_SIZE);
    assert_int_equal(hear(&pair), ZMTP_SPOILED);
}

/* A broker whom C trusts as well passes on what C says to it. */
static void a_vouch_is_not_passed_on(void **state UNUSED)
{
    uint8_t nonce[24] = "CurveZMQINITIATE", plain[128 + CLIENT_METADATA_SIZE];
    struct pair theirs, pair;

    until(&theirs, ZMTP_WAITS_INITIATE);
    memcpy(nonce + 16, theirs.heard + AT_COOKIE + 96, 8);
    assert_int_equal(crypto_box_open_easy_afternm(plain, theirs.heard + AT_COOKIE + 104,
                                                  sizeof(plain) + 16, nonce, theirs.client.shared),
                     0);
    until(&pair, ZMTP_WAITS_INITIATE);
    pair.client.sent--;
    pair.heard_size = client_initiate_of(&pair.client, plain, sizeof(plain), pair.heard);
    assert_int_equal(hear(&pair), ZMTP_SPOILED);
}

static void a_recorded_handshake_is_refused(void **state UNUSED)
{
    uint8_t hello[CLIENT_HELLO_SIZE], said[CLIENT_ROOM];
    struct pair pair;
    size_t size;

    until(&pair, ZMTP_WAITS_HELLO);
    memcpy(hello, pair.heard, sizeof(hello));
    assert_int_equal(hear(&pair), ZMTP_TAKEN);
    assert_true(client_welcome(&pair.client, pair.said, pair.said_size));
    size = client_initiate(&pair.client, CLIENT_METADATA, CLIENT_METADATA_SIZE, said);
    for (int has_cookie = 0; has_cookie < 2; has_cookie++) {
        await(&pair); /* the same broker, whose next connection it is */
        assert_int_equal(hear(&pair), ZMTP_TAKEN);
        memcpy(pair.heard, hello, sizeof(hello));
        pair.heard_size = sizeof(hello);
        assert_int_equal(hear(&pair), ZMTP_TAKEN); /* who hears WELCOME cannot open it */
        memcpy(pair.heard, said, size);
        if (has_cookie) /* as if it could */
            memcpy(pair.heard + AT_COOKIE, pair.server.cookie, 96);
        pair.heard_size = size;
        assert_int_equal(hear(&pair), ZMTP_SPOILED);
    }
}

#define TYPE(size, type) "\13Socket-Type\0\0\0" size type
#define DEALER TYPE("\6", "DEALER")

static void metadata_is_of_a_dealer_without_an_identity(void **state UNUSED)
{
#define CASE(text, shaken)                                                                         \
    {                                                                                              \
        text, sizeof(text) - 1, shaken                                                             \
    }
    static const struct {
        const char *text;
        size_t size;
        enum zmtp_shaken shaken;
    } cases[] = {
        CASE(DEALER, ZMTP_TAKEN),
        CASE("\13socket-TYPE\0\0\0\6DEALER", ZMTP_TAKEN),
        CASE("\10Identity\0\0\0\0" DEALER, ZMTP_TAKEN),
        CASE("", ZMTP_SPOILED),
        CASE("\10Identity\0\0\0\0", ZMTP_SPOILED),
        CASE("\12Socket-Typ\0\0\0\6DEALER", ZMTP_SPOILED),
        CASE("\14Socket-Types\0\0\0\6DEALER", ZMTP_SPOILED),
        CASE("\13Socket-Typo\0\0\0\6DEALER", ZMTP_SPOILED),
        CASE(TYPE("\3", "REQ"), ZMTP_SPOILED),
        CASE(TYPE("\3", "PUB"), ZMTP_SPOILED),
        CASE(TYPE("\6", "ROUTER"), ZMTP_SPOILED),
        CASE(TYPE("\6", "dealer"), ZMTP_SPOILED),
        CASE(TYPE("\7", "DEALERS"), ZMTP_SPOILED),
        CASE(TYPE("\5", "DEALE"), ZMTP_SPOILED),
        CASE(TYPE("\0", ""), ZMTP_SPOILED),
        /* What it wants to be called. */
        CASE(DEALER "\10Identity\0\0\0\1x", ZMTP_CHOSE_ID),
        CASE(DEALER "\10identity\0\0\0\1x", ZMTP_CHOSE_ID),
        CASE("\10IDENTITY\0\0\0\5store" DEALER, ZMTP_CHOSE_ID),
        CASE("\10Identity\0\0\0\1\0" DEALER, ZMTP_CHOSE_ID),
        CASE(DEALER "\10Identity\0\0\0\0\10Identity\0\0\0\1x", ZMTP_CHOSE_ID),
        CASE("\10Identity\0\0\0\1x" DEALER "\10Identity\0\0\0\0", ZMTP_CHOSE_ID),
        CASE(TYPE("\3", "REQ") "\10Identity\0\0\0\1x", ZMTP_SPOILED),
        CASE(DEALER "\7Identit\0\0\0\1x", ZMTP_TAKEN),
        CASE(DEALER "\11Identity\0\0\0\0\1x", ZMTP_TAKEN),
        /* What says more than it has. */
        CASE(DEALER "\1", ZMTP_SPOILED),
        CASE(DEALER "\1x", ZMTP_SPOILED),
        CASE(DEALER "\1x\0\0\0", ZMTP_SPOILED),
        CASE(DEALER "\1x\0\0\0\1", ZMTP_SPOILED),
        CASE(DEALER "\1x\377\377\377\377", ZMTP_SPOILED),
        CASE(DEALER "\1x\200\0\0\0y", ZMTP_SPOILED),
        CASE(DEALER "\377x\0\0\0\1y", ZMTP_SPOILED),
        CASE(DEALER "\10Identity\0\0\0\2x", ZMTP_SPOILED),
    };
#undef CASE

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct pair pair;

        until(&pair, ZMTP_WAITS_INITIATE);
        initiate(&pair, cases[i].text, cases[i].size);
        if (hear(&pair) != cases[i].shaken)
            fail_msg("case %zu: state %d", i, (int)pair.server.state);
    }
}

static void metadata_that_is_cut_is_refused(void **state UNUSED)
{
    static const char text[] = DEALER "\10Identity\0\0\0\0\4Last\0\0\0\2me";

    for (size_t size = 0; size < sizeof(text); size++) {
        bool is_whole =
            size == sizeof(DEALER) - 1 || size == CLIENT_METADATA_SIZE || size == sizeof(text) - 1;
        struct pair pair;

        until(&pair, ZMTP_WAITS_INITIATE);
        initiate(&pair, text, size);
        assert_int_equal(hear(&pair), is_whole ? ZMTP_TAKEN : ZMTP_SPOILED);
    }
}

static void metadata_may_be_as_long_as_a_command(void **state UNUSED)
{
    size_t most = ZMTP_SHAKE_MAX - 9 - 96 - 8 - 16 - 128, at = sizeof(DEALER) - 1;
    uint8_t text[ZMTP_SHAKE_MAX] = DEALER "\4Long\0\0";
    struct pair pair;

    text[at + 7] = (uint8_t)((most - at - 9) >> 8);
    text[at + 8] = (uint8_t)(most - at - 9);
    until(&pair, ZMTP_WAITS_INITIATE);
    initiate(&pair, text, most);
    assert_int_equal(pair.heard_size, 9 + ZMTP_SHAKE_MAX);
    assert_int_equal(hear(&pair), ZMTP_TAKEN);

    text[at + 8]++;
    until(&pair, ZMTP_WAITS_INITIATE);
    initiate(&pair, text, most + 1);
    assert_int_not_equal(hear(&pair), ZMTP_TAKEN);
}

static void a_forged_property_changes_nothing(void **state UNUSED)
{
    static const char forged[] = "\7User-Id\0\0\0\5admin" DEALER "\10Identity\0\0\0\0"
                                 "\14Peer-Address\0\0\0\11"
                                 "127.0.0.1\10Resource\0\0\0\1/";
    struct pair saved, plain;

    until(&saved, ZMTP_WAITS_INITIATE);
    plain = saved;
    assert_int_equal(hear(&plain), ZMTP_TAKEN);
    initiate(&saved, forged, sizeof(forged) - 1);
    assert_int_equal(hear(&saved), ZMTP_TAKEN);
    assert_memory_equal(saved.server.client_public, saved.client.public, 32);
    assert_memory_equal(&saved.server, &plain.server, sizeof(plain.server));
}

/* --- messages --------------------------------------------------------------------------------- */

static int open_next(struct pair *pair, const void *plain, size_t size)
{
    uint8_t frame[CLIENT_ROOM];
    struct bytes opened;
    unsigned flags;

    return open_frame(&pair->server, frame, client_seal(&pair->client, plain, size, frame), &flags,
                      &opened);
}

static void a_message_that_is_not_the_next_is_refused(void **state UNUSED)
{
    uint8_t first[64], copy[64];
    struct bytes plain;
    struct pair pair;
    unsigned flags;
    size_t size;

    until(&pair, ZMTP_UP);
    pair.client.sent -= 2; /* the numbers of HELLO and INITIATE are gone */
    assert_int_equal(open_next(&pair, "\0x", 2), AICO_EPROTO);
    assert_int_equal(open_next(&pair, "\0x", 2), AICO_EPROTO);

    size = client_seal(&pair.client, "\0one", 4, first);
    memcpy(copy, first, size);
    assert_int_equal(open_frame(&pair.server, copy, size, &flags, &plain), 0);
    memcpy(copy, first, size); /* repeated */
    assert_int_equal(open_frame(&pair.server, copy, size, &flags, &plain), AICO_EPROTO);
    pair.client.sent++; /* skipped */
    assert_int_equal(open_next(&pair, "\0three", 6), AICO_EPROTO);
    pair.client.sent = 0;
    assert_int_equal(open_next(&pair, "\0x", 2), AICO_EPROTO);
    pair.client.sent = pair.server.received - 1; /* another with its number */
    assert_int_equal(open_next(&pair, "\0x", 2), AICO_EPROTO);
    assert_int_equal(open_next(&pair, "\0two", 4), 0);

    /* Its own, that comes back. */
    pair.server.sent = pair.server.received;
    size = zmtp_seal(&pair.server, 0, bytes_text("ours"), first);
    assert_int_equal(open_frame(&pair.server, first, size, &flags, &plain), AICO_EAUTHENTICITY);
}

static void a_message_with_one_bit_changed_is_refused(void **state UNUSED)
{
    uint8_t whole[64];
    struct pair pair;
    size_t size;

    until(&pair, ZMTP_UP);
    size = client_seal(&pair.client, "\0text", 5, whole);
    for (size_t bit = 16; bit < 8 * size; bit++) { /* behind its head */
        uint8_t frame[64];
        struct bytes plain;
        unsigned flags;

        memcpy(frame, whole, size);
        frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(open_frame(&pair.server, frame, size, &flags, &plain), 0);
    }
    pair.client.sent--;
    assert_int_equal(open_next(&pair, "\0text", 5), 0); /* and those have changed nothing */
}

static void a_message_of_another_connection_is_refused(void **state UNUSED)
{
    struct pair former, pair;

    until(&former, ZMTP_UP);
    until(&pair, ZMTP_UP);
    assert_int_equal(former.client.sent, pair.client.sent);
    memcpy(pair.client.shared, former.client.shared, 32);
    assert_int_equal(open_next(&pair, "\0text", 5), AICO_EAUTHENTICITY);
}

static void a_message_has_at_least_its_flags(void **state UNUSED)
{
    struct pair pair;

    until(&pair, ZMTP_UP);
    assert_int_equal(open_next(&pair, "", 0), AICO_EPROTO);
}

/* --- secrets ---------------------------------------------------------------------------------- */

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
    struct secret once, outgoing;
    struct pair pair;
    struct writer w;

    until(&pair, ZMTP_WAITS_INITIATE);
    once = pair.server.once_secret;
    assert_memory_not_equal(once.at, (const uint8_t[32]){0}, 32);
    assert_false(is_in(&pair.server, pair.secret.at));
    assert_int_equal(hear(&pair), ZMTP_TAKEN);
    assert_false(is_in(&pair.server, once.at));
    assert_true(is_in(&pair.server, pair.client.shared));
    admit(&pair);
    assert_false(is_in(&pair.server, pair.client.shared));
    assert_false(is_in(&pair.server, pair.secret.at));
    outgoing = pair.server.outgoing;
    zmtp_wipe(&pair.server);
    assert_false(is_in(&pair.server, outgoing.at));
    assert_true(is_wiped(&pair.server));

    until(&pair, ZMTP_WAITS_VERDICT); /* nor after a refusal */
    w = writer_over(pair.said, sizeof(pair.said));
    zmtp_refuse(&pair.server, "400", &w);
    assert_true(is_wiped(&pair.server));
}

static int start(void **state UNUSED)
{
    random_start();
    return crypto_start();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_comes_up_and_messages_pass_both_ways),
        cmocka_unit_test(our_own_client_is_let_in),
        cmocka_unit_test(a_refused_client_hears_its_status),
        cmocka_unit_test(the_proven_key_is_known_for_the_verdict),
        cmocka_unit_test(what_is_written_ahead_is_sealed_to_the_same_bytes),
        cmocka_unit_test(what_was_opened_is_found_again),
        cmocka_unit_test(nothing_of_a_welcome_comes_again),
        cmocka_unit_test(numbers_go_on_from_where_the_client_begins),
        cmocka_unit_test(bytes_may_come_one_by_one),
        cmocka_unit_test(two_steps_may_come_at_once),
        cmocka_unit_test(a_longer_command_than_any_is_refused_by_its_head),
        cmocka_unit_test(what_is_no_command_is_refused_by_its_first_byte),
        cmocka_unit_test(a_step_in_place_of_another_is_refused),
        cmocka_unit_test(what_is_no_greeting_of_curve_is_another_program),
        cmocka_unit_test(a_hello_with_one_bit_changed_comes_to_nothing),
        cmocka_unit_test(a_hello_says_its_version_and_is_of_one_size),
        cmocka_unit_test(a_hello_for_another_key_is_told_apart),
        cmocka_unit_test(a_hello_of_other_than_zeros_is_refused),
        cmocka_unit_test(a_key_of_low_order_is_refused),
        cmocka_unit_test(an_initiate_with_one_bit_changed_is_refused),
        cmocka_unit_test(an_initiate_that_is_too_short_is_refused),
        cmocka_unit_test(an_initiate_is_the_next_after_hello),
        cmocka_unit_test(another_cookie_is_refused),
        cmocka_unit_test(who_has_not_the_secret_of_the_key_it_names_is_refused),
        cmocka_unit_test(what_another_proved_proves_nothing),
        cmocka_unit_test(a_key_is_known_as_it_was_named),
        cmocka_unit_test(a_vouch_for_another_connection_or_broker_is_refused),
        cmocka_unit_test(a_vouch_is_not_passed_on),
        cmocka_unit_test(a_recorded_handshake_is_refused),
        cmocka_unit_test(metadata_is_of_a_dealer_without_an_identity),
        cmocka_unit_test(metadata_that_is_cut_is_refused),
        cmocka_unit_test(metadata_may_be_as_long_as_a_command),
        cmocka_unit_test(a_forged_property_changes_nothing),
        cmocka_unit_test(a_message_that_is_not_the_next_is_refused),
        cmocka_unit_test(a_message_with_one_bit_changed_is_refused),
        cmocka_unit_test(a_message_of_another_connection_is_refused),
        cmocka_unit_test(a_message_has_at_least_its_flags),
        cmocka_unit_test(secrets_are_kept_no_longer_than_they_serve),
    };

    return cmocka_run_group_tests(tests, start, NULL);
}
