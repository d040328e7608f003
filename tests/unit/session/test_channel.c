/* SPDX-License-Identifier: Apache-2.0 */
/* One channel against the vectors and the rows of PROTOCOL 14 that concern it. */
#include "world.h"

#include <sys/wait.h>
#include <unistd.h>

#include "session/channel.h"

static json_t *vectors;
static struct session_settings settings;

#define TOPIC "conversation/user/input/v1"

/* The two ends of the vectors' channel. */
struct pair {
    struct channel *d, *l;
};

static struct channel *end_of_vectors(bool dialer, const struct session_settings *with)
{
    struct channel_keys keys = {.dialer = dialer};
    uint8_t self[SIGN_PUBLIC_SIZE];
    struct channel *channel = NULL;

    vectors_hex_into(vectors, "handshake.id", keys.id, CHANNEL_ID_SIZE);
    vectors_hex_into(vectors, dialer ? "handshake.k_dl" : "handshake.k_ld", keys.send.at, 32);
    vectors_hex_into(vectors, dialer ? "handshake.k_ld" : "handshake.k_dl", keys.receive.at, 32);
    vectors_hex_into(vectors, dialer ? "identity.0.ed25519" : "identity.1.ed25519", keys.peer, 32);
    vectors_hex_into(vectors, dialer ? "identity.1.ed25519" : "identity.0.ed25519", self, 32);
    keys.t0_ms = vectors_int(vectors, "handshake.t0");
    keys.time = START_MS;
    assert_int_equal(channel_new(&keys, self, with, moment_at(START_MS), &channel), 0);
    return channel;
}

static struct pair pair_new(const struct session_settings *with)
{
    return (struct pair){end_of_vectors(true, with), end_of_vectors(false, with)};
}

static void pair_free(struct pair *pair)
{
    channel_free(&pair->d);
    channel_free(&pair->l);
}

static struct {
    uint64_t first[64], last[64];
    size_t count;
} gaps;

static void note_gap(void *context UNUSED, uint64_t first, uint64_t last)
{
    assert_true(gaps.count < 64);
    gaps.first[gaps.count] = first;
    gaps.last[gaps.count++] = last;
}

static const struct gap_sink sink = {note_gap, NULL};

static uint8_t content[2048];
static size_t content_size;

/* @wire as @channel receives it, from a block of exact size. */
static int open_as(struct channel *channel, int64_t at_ms, struct bytes wire, uint8_t delivery,
                   struct bytes topic, const uint8_t *ref)
{
    uint8_t *copy = exact_copy(wire), *plain = malloc(wire.size + 1);
    struct channel_opened opened;
    struct envelope envelope;
    int r;

    r = envelope_parse(bytes_of(copy, wire.size), &envelope);
    if (r == 0 && !bytes_equal(envelope.key_id, bytes_of(channel->id, CHANNEL_ID_SIZE)))
        r = AICO_EKEY;
    if (r == 0)
        r = channel_open(channel, moment_at(at_ms), &envelope, delivery, topic, ref, plain, &sink,
                         &opened);
    if (r == 0) {
        content_size = opened.content.size;
        assert_true(content_size <= sizeof(content));
        bytes_copy(content, opened.content);
    }
    free(copy);
    free(plain);
    return r;
}

static uint8_t sealed[4096];

static struct bytes seal_at(struct channel *channel, int64_t at_ms, const char *text,
                            uint8_t delivery, const char *topic, const uint8_t *ref,
                            uint8_t *ret_ref)
{
    struct writer out = writer_over(sealed, sizeof(sealed));

    assert_int_equal(channel_seal(channel, moment_at(at_ms),
                                  &(struct channel_message){.format = ENVELOPE_FORMAT_MESSAGE,
                                                            .delivery = delivery,
                                                            .topic = bytes_text(topic),
                                                            .ref = ref,
                                                            .payload = bytes_text(text)},
                                  &out, ret_ref),
                     0);
    return writer_view(&out);
}

static struct bytes seal(struct channel *channel, const char *text)
{
    return seal_at(channel, START_MS, text, DELIVERY_EVENT, TOPIC, NULL, NULL);
}

static int open_plain(struct channel *channel, struct bytes wire)
{
    return open_as(channel, START_MS, wire, DELIVERY_EVENT, bytes_text(TOPIC), NULL);
}

/* --- vectors ------------------------------------------------------------------------------------
 */

static void the_channel_vectors_open_and_seal_to_the_same_bytes(void **state UNUSED)
{
    json_t *cases = vectors_at(vectors, "channel.cases"), *one;
    struct session_settings padded = settings;
    struct pair plain = pair_new(&settings), padding;
    size_t i;

    padded.padding = true;
    padded.strict_ordering = false;
    padding = pair_new(&padded);
    json_array_foreach(cases, i, one)
    {
        bool is_padded = json_is_true(json_object_get(one, "padded"));
        struct pair *pair = is_padded ? &padding : &plain;
        bool dialer = strcmp(vectors_text(one, "direction"), "dialer") == 0;
        struct channel *from = dialer ? pair->d : pair->l, *to = dialer ? pair->l : pair->d;
        struct bytes envelope = vectors_hex(one, "envelope"), text = vectors_hex(one, "content");
        struct bytes topic = bytes_text(vectors_text(one, "topic"));
        uint8_t delivery = (uint8_t)vectors_int(one, "delivery"), ref[ENVELOPE_REF_SIZE];
        bool has_ref = json_object_get(one, "ref") != NULL;
        struct writer out = writer_over(sealed, sizeof(sealed));
        struct envelope parsed;
        int r;

        if (has_ref)
            vectors_hex_into(one, "ref", ref, sizeof(ref));
        /* The padded cases are alternatives of one sequence number. */
        if (is_padded) {
            pair_free(&padding);
            padding = pair_new(&padded);
            from = dialer ? padding.d : padding.l;
            to = dialer ? padding.l : padding.d;
        }
        assert_int_equal(envelope_parse(envelope, &parsed), 0);
        while (from->send.chain.epoch < parsed.epoch) {
            from->send.chain.sealed = 0;
            chain_sender_step(&from->send.chain);
            envelope_key_init(&from->send.key, &from->send.chain.key, from->id,
                              from->send.chain.epoch);
        }
        from->send.chain.sealed = 0;
        from->send.next = parsed.sequence;
        r = channel_seal(from, (struct moment){from->t0_ms + parsed.time, 1000000},
                         &(struct channel_message){.format = parsed.format,
                                                   .delivery = delivery,
                                                   .topic = topic,
                                                   .ref = has_ref ? ref : NULL,
                                                   .has_headers = parsed.headers,
                                                   .payload = text},
                         &out, NULL);
        assert_int_equal(r, 0);
        if (!parsed.headers) {
            assert_int_equal(out.size, envelope.size);
            assert_memory_equal(sealed, envelope.at, envelope.size);
        }
        r = open_as(to, START_MS, envelope, delivery, topic, has_ref ? ref : NULL);
        if (r < 0)
            fail_msg("case %zu: %s", i, aico_error_name(r));
        assert_int_equal(content_size, text.size);
        assert_memory_equal(content, text.at, text.size);
        free((void *)(uintptr_t)envelope.at);
        free((void *)(uintptr_t)text.at);
    }
    pair_free(&plain);
    pair_free(&padding);
}

static void each_negative_channel_vector_gives_its_code(void **state UNUSED)
{
    json_t *cases = vectors_at(vectors, "channel_negative"), *one, *earlier;
    size_t i, j;

    json_array_foreach(cases, i, one)
    {
        struct session_settings mine = settings;
        struct bytes envelope = vectors_hex(one, "envelope");
        json_t *topic = json_object_get(one, "topic");
        struct channel *l;
        const char *expect = vectors_text(one, "expect");
        int r;

        mine.strict_ordering = json_is_true(json_object_get(one, "strict"));
        mine.padding = json_is_true(json_object_get(one, "padded"));
        l = end_of_vectors(false, &mine);
        json_array_foreach(json_object_get(one, "before"), j, earlier)
        {
            char path[32];
            struct bytes before;

            (void)snprintf(path, sizeof(path), "before.%zu", j);
            before = vectors_hex(one, path);
            r = open_as(l, START_MS, before, (uint8_t)vectors_int(one, "delivery"),
                        bytes_text("a/b"), NULL);
            if (r < 0)
                fail_msg("%s: before: %s", vectors_text(one, "name"), aico_error_name(r));
            free((void *)(uintptr_t)before.at);
        }
        r = open_as(l, START_MS, envelope, (uint8_t)vectors_int(one, "delivery"),
                    bytes_of(json_string_value(topic), json_string_length(topic)), NULL);
        if (strcmp(r == 0 ? "ok" : aico_error_name(r), expect) != 0)
            fail_msg("%s: %s", vectors_text(one, "name"), aico_error_name(r));
        free((void *)(uintptr_t)envelope.at);
        channel_free(&l);
    }
}

/* --- content, topic, sender, kind, direction
 * ---------------------------------------------------------- */

static void envelope_every_bit(void **state UNUSED)
{
    struct session_settings padded = settings;

    padded.padding = true;
    for (int with_padding = 0; with_padding < 2; with_padding++) {
        struct pair p = pair_new(with_padding ? &padded : &settings);
        struct bytes wire = seal(p.d, "every bit counts");
        uint8_t *copy = exact_copy(wire);

        for (size_t bit = 0; bit < 8 * wire.size; bit++) {
            copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_true(open_plain(p.l, bytes_of(copy, wire.size)) < 0);
            copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        assert_int_equal(open_plain(p.l, bytes_of(copy, wire.size)), 0);
        free(copy);
        pair_free(&p);
    }
}

static void every_truncation_of_an_envelope_is_refused(void **state UNUSED)
{
    struct pair p = pair_new(&settings);
    struct bytes wire = seal(p.d, "cut me");

    for (size_t size = 0; size < wire.size; size++)
        assert_true(open_plain(p.l, bytes_of(wire.at, size)) < 0);
    assert_int_equal(open_plain(p.l, wire), 0);
    pair_free(&p);
}

static void move_topic(void **state UNUSED)
{
    static const char *const others[] = {"conversation/user/input/v2", "conversation/user/input",
                                         TOPIC "/x"};
    struct pair p = pair_new(&settings);
    struct bytes wire = seal(p.d, "mine");

    for (size_t i = 0; i < COUNT_OF(others); i++)
        assert_int_equal(open_as(p.l, START_MS, wire, DELIVERY_EVENT, bytes_text(others[i]), NULL),
                         AICO_EOPEN);
    assert_int_equal(
        open_as(p.l, START_MS, wire, DELIVERY_EVENT, bytes_of(TOPIC, sizeof(TOPIC)), NULL),
        AICO_EOPEN);
    assert_int_equal(open_plain(p.l, wire), 0);
    pair_free(&p);
}

static void event_as_retained(void **state UNUSED)
{
    struct pair p = pair_new(&settings);
    struct bytes wire = seal(p.d, "now");

    assert_int_equal(open_as(p.l, START_MS, wire, DELIVERY_RETAINED, bytes_text(TOPIC), NULL),
                     AICO_EOPEN);
    pair_free(&p);
}

static void event_as_reply(void **state UNUSED)
{
    struct pair p = pair_new(&settings);
    struct bytes wire = seal(p.d, "now");
    uint8_t ref[ENVELOPE_REF_SIZE] = {1};

    assert_int_equal(open_as(p.l, START_MS, wire, DELIVERY_REPLY, bytes_text(TOPIC), ref),
                     AICO_EOPEN);
    pair_free(&p);
}

static void swap_replies(void **state UNUSED)
{
    struct pair p = pair_new(&settings);
    uint8_t ref[2][ENVELOPE_REF_SIZE], replies[2][256];
    struct bytes wire[2];

    for (int i = 0; i < 2; i++) {
        (void)seal_at(p.d, START_MS, "question", DELIVERY_REQUEST, TOPIC, NULL, ref[i]);
        assert_int_equal(open_as(p.l, START_MS, bytes_of(sealed, ENVELOPE_OVERHEAD + 8),
                                 DELIVERY_REQUEST, bytes_text(TOPIC), NULL),
                         0);
    }
    assert_memory_not_equal(ref[0], ref[1], sizeof(ref[0]));
    for (int i = 0; i < 2; i++) {
        wire[i] = seal_at(p.l, START_MS, "answer", DELIVERY_REPLY, TOPIC, ref[i], NULL);
        bytes_copy(replies[i], wire[i]);
        wire[i].at = replies[i];
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            open_as(p.d, START_MS, wire[i], DELIVERY_REPLY, bytes_text(TOPIC), ref[1 - i]),
            AICO_EOPEN);
    for (int i = 0; i < 2; i++)
        assert_int_equal(open_as(p.d, START_MS, wire[i], DELIVERY_REPLY, bytes_text(TOPIC), ref[i]),
                         0);
    pair_free(&p);
}

static void reflect_envelope(void **state UNUSED)
{
    struct pair p = pair_new(&settings);

    assert_int_equal(open_plain(p.d, seal(p.d, "echo")), AICO_EOPEN);
    pair_free(&p);
}

static void another_sender_does_not_open(void **state UNUSED)
{
    struct pair p = pair_new(&settings);
    struct bytes wire = seal(p.d, "who");

    p.l->peer[0] ^= 1;
    memset(p.l->contexts, 0, 2 * sizeof(*p.l->contexts));
    assert_int_equal(open_plain(p.l, wire), AICO_EOPEN);
    pair_free(&p);
}

/* --- sequence and epochs
 * ----------------------------------------------------------------------------- */

static void replay_and_reorder(void **state UNUSED)
{
    struct session_settings windowed = settings;

    windowed.strict_ordering = false;
    for (int window = 0; window < 2; window++) {
        struct pair p = pair_new(window ? &windowed : &settings);
        uint8_t first[128];
        struct bytes one = seal(p.d, "one"), two;

        bytes_copy(first, one);
        one.at = first;
        two = seal(p.d, "two");
        gaps.count = 0;
        assert_int_equal(open_plain(p.l, two), 0);
        assert_int_equal(open_plain(p.l, two), AICO_EREPLAY);
        assert_int_equal(open_plain(p.l, one), window ? 0 : AICO_EREPLAY);
        assert_int_equal(open_plain(p.l, one), AICO_EREPLAY);
        assert_int_equal(gaps.count, window ? 0 : 1);
        pair_free(&p);
    }
}

static void drop_of_the_last_of_an_epoch_is_a_gap_after_the_step(void **state UNUSED)
{
    struct pair p = pair_new(&settings);

    gaps.count = 0;
    assert_int_equal(open_plain(p.l, seal(p.d, "0")), 0);
    (void)seal(p.d, "1, lost");
    assert_int_equal(open_as(p.l, START_MS + 61000,
                             seal_at(p.d, START_MS + 61000, "2", DELIVERY_EVENT, TOPIC, NULL, NULL),
                             DELIVERY_EVENT, bytes_text(TOPIC), NULL),
                     0);
    assert_int_equal(p.l->receive.chain.epoch, 1);
    assert_int_equal(gaps.count, 1);
    assert_int_equal(gaps.first[0], 1);
    assert_int_equal(gaps.last[0], 1);
    pair_free(&p);
}

static void drop_3_of_10_and_the_first(void **state UNUSED)
{
    struct pair p = pair_new(&settings);

    gaps.count = 0;
    for (int i = 0; i < 10; i++) {
        struct bytes wire = seal(p.d, "x");

        if (i < 1 || i > 3)
            assert_int_equal(open_plain(p.l, wire), 0);
    }
    assert_int_equal(gaps.count, 1);
    assert_int_equal(gaps.first[0], 1);
    assert_int_equal(gaps.last[0], 3);
    pair_free(&p);

    p = pair_new(&settings);
    gaps.count = 0;
    (void)seal(p.d, "lost");
    assert_int_equal(open_plain(p.l, seal(p.d, "here")), 0);
    assert_int_equal(gaps.count, 1);
    assert_int_equal(gaps.last[0], 0);
    pair_free(&p);
}

static void forged_sequence_moves_nothing(void **state UNUSED)
{
    struct pair p = pair_new(&settings);
    struct bytes wire = seal(p.d, "0");
    uint8_t *copy = exact_copy(wire);

    memset(copy + 28, 0xff, 4);
    copy[31] = 0xf0;
    assert_int_equal(open_plain(p.l, bytes_of(copy, wire.size)), AICO_EOPEN);
    assert_int_equal(open_plain(p.l, wire), 0);
    free(copy);
    pair_free(&p);
}

static void forged_epoch_moves_nothing(void **state UNUSED)
{
    struct pair p = pair_new(&settings);
    struct bytes wire = seal(p.d, "0");
    uint8_t *copy = exact_copy(wire);
    struct secret before = p.l->receive.chain.key;

    copy[22] = 500 >> 8;
    copy[23] = 500 & 0xff;
    assert_int_equal(open_plain(p.l, bytes_of(copy, wire.size)), AICO_EOPEN);
    assert_memory_equal(p.l->receive.chain.key.at, before.at, SECRET_SIZE);
    copy[22] = 1025 >> 8;
    copy[23] = 1025 & 0xff;
    assert_int_equal(open_plain(p.l, bytes_of(copy, wire.size)), AICO_EEPOCHJUMP);
    assert_memory_equal(p.l->receive.chain.key.at, before.at, SECRET_SIZE);
    assert_int_equal(open_plain(p.l, wire), 0);
    free(copy);
    pair_free(&p);
}

static void a_windowed_reader_opens_what_the_step_overtook(void **state UNUSED)
{
    struct session_settings windowed = settings;
    struct pair p;
    uint8_t late[128];
    struct bytes wire;

    windowed.strict_ordering = false;
    p = pair_new(&windowed);
    wire = seal(p.d, "late");
    bytes_copy(late, wire);
    assert_int_equal(open_as(p.l, START_MS + 61000,
                             seal_at(p.d, START_MS + 61000, "2", DELIVERY_EVENT, TOPIC, NULL, NULL),
                             DELIVERY_EVENT, bytes_text(TOPIC), NULL),
                     0);
    assert_int_equal(open_as(p.l, START_MS + 61001, bytes_of(late, wire.size), DELIVERY_EVENT,
                             bytes_text(TOPIC), NULL),
                     0);
    assert_int_equal(p.l->receive.chain.epoch, 1);
    assert_int_equal(open_as(p.l, START_MS + 61002, bytes_of(late, wire.size), DELIVERY_EVENT,
                             bytes_text(TOPIC), NULL),
                     AICO_EREPLAY);
    pair_free(&p);
}

static void withheld_for_an_epoch_and_the_key_is_gone(void **state UNUSED)
{
    struct pair p = pair_new(&settings);
    struct secret key = p.l->receive.chain.key, aead;
    struct bytes wire;

    assert_int_equal(open_plain(p.l, seal(p.d, "0")), 0);
    aead = p.l->receive.key.subkey;
    wire = seal(p.d, "withheld");
    channel_tick(p.l, moment_at(START_MS + 60000 + 29999), false);
    assert_memory_equal(p.l->receive.chain.key.at, key.at, SECRET_SIZE);
    channel_tick(p.l, moment_at(START_MS + 60000 + 31000), false);
    assert_null(memmem(p.l, sizeof(*p.l), key.at, SECRET_SIZE));
    assert_null(memmem(p.l, sizeof(*p.l), aead.at, SECRET_SIZE));
    assert_int_equal(open_as(p.l, START_MS + 91000, wire, DELIVERY_EVENT, bytes_text(TOPIC), NULL),
                     AICO_EEPOCHBACK);
    pair_free(&p);
}

static void keys_are_erased_when_an_epoch_is_left(void **state UNUSED)
{
    struct pair p = pair_new(&settings);
    struct secret sent = p.d->send.chain.key, sent_aead = p.d->send.key.subkey, got_aead;

    assert_int_equal(open_plain(p.l, seal(p.d, "0")), 0);
    got_aead = p.l->receive.key.subkey;
    assert_memory_equal(got_aead.at, sent_aead.at, SECRET_SIZE);
    channel_tick(p.d, moment_at(START_MS + 60000), false);
    assert_null(memmem(p.d, sizeof(*p.d), sent.at, SECRET_SIZE));
    assert_null(memmem(p.d, sizeof(*p.d), sent_aead.at, SECRET_SIZE));
    assert_int_equal(open_as(p.l, START_MS + 60000,
                             seal_at(p.d, START_MS + 60000, "1", DELIVERY_EVENT, TOPIC, NULL, NULL),
                             DELIVERY_EVENT, bytes_text(TOPIC), NULL),
                     0);
    assert_null(memmem(p.l, sizeof(*p.l), sent.at, SECRET_SIZE));
    assert_null(memmem(p.l, sizeof(*p.l), got_aead.at, SECRET_SIZE));
    sent = p.d->send.chain.key;
    channel_kill(p.d);
    assert_null(memmem(p.d, sizeof(*p.d), sent.at, SECRET_SIZE));
    assert_false(channel_is_alive(p.d));
    pair_free(&p);
}

/* --- limits
 * -------------------------------------------------------------------------------------------- */

static int compare_nonces(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

static void nonce_unique(void **state UNUSED)
{
    enum { COUNT = 1000000 };
    uint8_t(*seen)[16] = calloc(COUNT, 16); /* hash of key and nonce */
    struct pair p = pair_new(&settings);
    uint8_t room[128];

    assert_non_null(seen);
    for (int i = 0; i < COUNT; i++) {
        static const char *const topics[] = {"a/b", "a/c", "a/d"};
        struct writer out = writer_over(room, sizeof(room));
        uint8_t both[SECRET_SIZE + ENVELOPE_NONCE_SIZE];

        assert_int_equal(channel_seal(p.d, moment_at(START_MS + i / 10),
                                      &(struct channel_message){.format = ENVELOPE_FORMAT_MESSAGE,
                                                                .topic = bytes_text(topics[i % 3])},
                                      &out, NULL),
                         0);
        memcpy(both, p.d->send.chain.key.at, SECRET_SIZE);
        memcpy(both + SECRET_SIZE, room + 8, ENVELOPE_NONCE_SIZE);
        hash_n(bytes_of(both, sizeof(both)), seen[i], 16);
    }
    qsort(seen, COUNT, 16, compare_nonces);
    for (int i = 1; i < COUNT; i++)
        assert_memory_not_equal(seen[i - 1], seen[i], 16);
    assert_true(p.d->send.chain.epoch >= COUNT / CHAIN_ENVELOPES_MAX);
    free(seen);
    pair_free(&p);
}

static void at_2_31_a_rekey_is_due_and_at_the_end_sealing_refuses(void **state UNUSED)
{
    struct pair p = pair_new(&settings);
    struct writer out = writer_over(sealed, sizeof(sealed));
    const struct channel_message message = {.format = ENVELOPE_FORMAT_MESSAGE,
                                            .topic = bytes_text(TOPIC)};

    p.d->send.next = CHANNEL_REKEY_ENVELOPES - 1;
    assert_false(channel_is_spent(p.d, moment_at(START_MS), 0));
    assert_int_equal(channel_seal(p.d, moment_at(START_MS), &message, &out, NULL), 0);
    assert_true(channel_is_spent(p.d, moment_at(START_MS), 0));
    p.d->send.next = CHANNEL_SEQUENCE_END - 1;
    assert_int_equal(channel_seal(p.d, moment_at(START_MS), &message, &out, NULL), 0);
    assert_int_equal(channel_seal(p.d, moment_at(START_MS), &message, &out, NULL), AICO_ELIMIT);
    assert_false(channel_is_spent(p.l, moment_at(START_MS + 86399999), 0));
    assert_true(channel_is_spent(p.l, moment_at(START_MS + 86400000), 0));
    assert_true(channel_is_spent(p.l, moment_at(START_MS + 80000000), 8640000));
    p.l->receive.bytes = CHANNEL_REKEY_BYTES;
    assert_true(channel_is_spent(p.l, moment_at(START_MS), 0));
    pair_free(&p);
}

static void a_million_failures_end_a_key(void **state UNUSED)
{
    struct pair p = pair_new(&settings);
    struct bytes wire = seal(p.d, "x");
    uint8_t *copy = exact_copy(wire);

    copy[wire.size - 1] ^= 1;
    p.l->receive.failures = FAILURES_MAX - 2;
    assert_int_equal(open_plain(p.l, bytes_of(copy, wire.size)), AICO_EOPEN);
    assert_true(channel_is_alive(p.l));
    assert_int_equal(open_plain(p.l, bytes_of(copy, wire.size)), AICO_ELIMIT);
    assert_false(channel_is_alive(p.l));
    assert_int_equal(open_plain(p.l, wire), AICO_ESTATE);
    free(copy);
    pair_free(&p);
}

static void a_forked_child_refuses_to_seal(void **state UNUSED)
{
    struct pair p = pair_new(&settings);
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        struct writer out = writer_over(sealed, sizeof(sealed));
        const struct channel_message message = {.format = ENVELOPE_FORMAT_MESSAGE,
                                                .topic = bytes_text(TOPIC)};
        int r = channel_seal(p.d, moment_at(START_MS), &message, &out, NULL);

        _exit(r == AICO_EFORKED && out.size == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    pair_free(&p);
}

static void a_clock_before_t0_seals_time_zero(void **state UNUSED)
{
    assert_int_equal(time_since(START_MS, moment_at(START_MS - 5)), 0);
    assert_int_equal(time_since(START_MS, moment_at(START_MS + 5)), 5);
    assert_int_equal(time_since(0, moment_at(START_MS)), UINT32_MAX);
}

static int start(void **state UNUSED)
{
    assert_int_equal(crypto_start(), 0);
    vectors = vectors_load("session-v1.json");
    settings = session_settings_default();
    return 0;
}

static int stop(void **state UNUSED)
{
    json_decref(vectors);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_channel_vectors_open_and_seal_to_the_same_bytes),
        cmocka_unit_test(each_negative_channel_vector_gives_its_code),
        cmocka_unit_test(envelope_every_bit),
        cmocka_unit_test(every_truncation_of_an_envelope_is_refused),
        cmocka_unit_test(move_topic),
        cmocka_unit_test(event_as_retained),
        cmocka_unit_test(event_as_reply),
        cmocka_unit_test(swap_replies),
        cmocka_unit_test(reflect_envelope),
        cmocka_unit_test(another_sender_does_not_open),
        cmocka_unit_test(replay_and_reorder),
        cmocka_unit_test(drop_3_of_10_and_the_first),
        cmocka_unit_test(drop_of_the_last_of_an_epoch_is_a_gap_after_the_step),
        cmocka_unit_test(forged_sequence_moves_nothing),
        cmocka_unit_test(forged_epoch_moves_nothing),
        cmocka_unit_test(a_windowed_reader_opens_what_the_step_overtook),
        cmocka_unit_test(withheld_for_an_epoch_and_the_key_is_gone),
        cmocka_unit_test(keys_are_erased_when_an_epoch_is_left),
        cmocka_unit_test(nonce_unique),
        cmocka_unit_test(at_2_31_a_rekey_is_due_and_at_the_end_sealing_refuses),
        cmocka_unit_test(a_million_failures_end_a_key),
        cmocka_unit_test(a_forked_child_refuses_to_seal),
        cmocka_unit_test(a_clock_before_t0_seals_time_zero),
    };

    return cmocka_run_group_tests_name("session/channel", tests, start, stop);
}
