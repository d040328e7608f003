/* SPDX-License-Identifier: Apache-2.0 */
/* Groups and control messages against the vectors and the rows of PROTOCOL 14 that need no network.
 */
#include "world.h"

#include <sys/wait.h>
#include <unistd.h>

#include "session/channel.h"
#include "session/group.h"
#include "session/level.h"

static json_t *vectors;
static struct session_settings settings;
static struct identity *backend, *frontend, *studio, *mallory;
static struct registry *registry; /* of the vectors */
static struct dice dice = {2};
static struct hedge hedge;

#define FILTER "conversation/**"
#define TOPIC "conversation/ai/output/v1"
#define OTHER "conversation/user/input/v1"
#define HEADS "$bus/heads"

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
static size_t windows;

/* --- helpers ------------------------------------------------------------------------------------
 */

static struct rule rule_of(enum rule_authenticity authenticity)
{
    return (struct rule){.filter = bytes_text(FILTER), .authenticity = authenticity};
}

static struct group_member *members_of(const struct identity *const *who, size_t count)
{
    struct group_member *members = calloc(count ? count : 1, sizeof(*members));

    assert_non_null(members);
    for (size_t i = 0; i < count; i++) {
        memcpy(members[i].identity, who[i]->public, SIGN_PUBLIC_SIZE);
        members[i].slot = ENVELOPE_NO_SLOT;
    }
    return members;
}

static struct group *group_make(enum rule_authenticity authenticity, bool padded,
                                const struct identity *const *who, size_t count)
{
    struct rule rule = rule_of(authenticity);
    struct group_seed seed;
    struct group *group = NULL;

    rule.padding = padded;
    group_seed_draw(&hedge, moment_at(START_MS), 0, &seed);
    assert_int_equal(group_new(backend, &settings, &rule, &seed, moment_at(START_MS),
                               members_of(who, count), count, &group),
                     0);
    group_seed_wipe(&seed);
    return group;
}

static uint8_t sealed[8192];

static void announce(struct group_reader *reader, struct bytes topic, uint32_t next, bool expected)
{
    group_reader_announce(reader, &(struct control_stand){topic, next, next}, expected, &windows,
                          &sink);
}

static struct bytes seal_at(struct group *group, int64_t at_ms, const char *topic, const char *text)
{
    struct writer out = writer_over(sealed, sizeof(sealed));

    assert_int_equal(group_seal(group, moment_at(at_ms), ENVELOPE_FORMAT_MESSAGE, DELIVERY_EVENT,
                                bytes_text(topic), false, bytes_of(NULL, 0), bytes_text(text),
                                &out),
                     0);
    return writer_view(&out);
}

static struct bytes seal(struct group *group, const char *text)
{
    return seal_at(group, START_MS, TOPIC, text);
}

/* A reader from GROUP_KEY bytes, as @self hears them from @publisher. */
static struct group_reader *reader_from(struct bytes message, const struct identity *self,
                                        const uint8_t *publisher, bool strict, bool padded)
{
    struct session_settings mine = settings;
    struct group_reader *reader = NULL;
    uint8_t *copy = exact_copy(message);
    struct control control;

    mine.strict_ordering = strict;
    assert_int_equal(control_parse(bytes_of(copy, message.size), &control), 0);
    assert_int_equal(control.type, CONTROL_GROUP_KEY);
    assert_int_equal(group_reader_new(self->public, &mine, publisher, padded, &control,
                                      moment_at(START_MS), &windows, &reader),
                     0);
    free(copy);
    return reader;
}

static struct group_reader *reader_of(struct group *group, const struct identity *self, bool strict)
{
    struct group_member *member = group_member_find(group, self->public);
    struct buffer message = {0};
    struct group_reader *reader;

    assert_non_null(member);
    assert_int_equal(group_write_key(group, moment_at(START_MS), member, UINT32_MAX, &message), 0);
    reader = reader_from(buffer_view(&message), self, backend->public, strict, group->padded);
    buffer_wipe_deinit(&message);
    return reader;
}

static uint8_t content[4096];
static size_t content_size;

static int open_as(struct group_reader *reader, int64_t at_ms, struct bytes wire, uint8_t delivery,
                   struct bytes topic)
{
    uint8_t *copy = exact_copy(wire), *plain = malloc(wire.size + 1);
    struct group_opened opened;
    struct envelope e;
    int r;

    r = envelope_parse(bytes_of(copy, wire.size), &e);
    if (r == 0 && !bytes_equal(e.key_id, bytes_of(reader->key + SIGN_PUBLIC_SIZE, GROUP_ID_SIZE)))
        r = AICO_EKEY;
    if (r == 0)
        r = group_open(reader, moment_at(at_ms), &e, delivery, topic, true, &windows, plain, &sink,
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

static int open_event(struct group_reader *reader, struct bytes wire)
{
    return open_as(reader, START_MS, wire, DELIVERY_EVENT, bytes_text(TOPIC));
}

static const struct identity *const *both(void)
{
    static const struct identity *who[2];

    who[0] = frontend;
    who[1] = studio;
    return who;
}

/* --- vectors
 * -------------------------------------------------------------------------------------- */

static void check_group_vector(const char *kind, enum rule_authenticity authenticity)
{
    json_t *v = vectors_at(vectors_at(vectors, "group"), kind), *one;
    struct rule rule = rule_of(authenticity);
    struct group_reader *reader, *late;
    struct group *group = NULL;
    struct group_seed seed;
    struct buffer message = {0};
    struct bytes expected;
    uint8_t id[GROUP_ID_SIZE];
    size_t i;

    vectors_hex_into(v, "g0", seed.g0.at, 32);
    vectors_hex_into(v, "vk", seed.vector.at, 32);
    seed.generation = (uint64_t)vectors_int(v, "gen");
    assert_int_equal(group_new(backend, &settings, &rule, &seed, moment_at(START_MS),
                               members_of(both(), 2), 2, &group),
                     0);
    vectors_hex_into(v, "gid", id, sizeof(id));
    assert_memory_equal(group->id, id, sizeof(id));

    assert_int_equal(group_write_key(group, moment_at(START_MS),
                                     group_member_find(group, frontend->public), 0, &message),
                     0);
    expected = vectors_hex(v, "key_message_frontend");
    /* In the vectors a group without a vector writes no slot as 255. */
    assert_int_equal(message.size, expected.size);
    assert_memory_equal(message.at, expected.at, expected.size);
    reader = reader_from(expected, frontend, backend->public, true, false);
    free((void *)(uintptr_t)expected.at);
    buffer_wipe_deinit(&message);

    gaps.count = 0;
    json_array_foreach(vectors_at(v, "cases"), i, one)
    {
        struct bytes envelope = vectors_hex(one, "envelope"), text = vectors_hex(one, "content");
        struct bytes topic = bytes_text(vectors_text(one, "topic"));
        json_t *delivery_value = json_object_get(one, "delivery");
        uint8_t delivery =
            delivery_value ? (uint8_t)json_integer_value(delivery_value) : DELIVERY_EVENT;
        struct moment now;
        struct envelope e;
        int r;

        assert_int_equal(envelope_parse(envelope, &e), 0);
        now = (struct moment){group->t0_ms + e.time, 1000000};
        if (e.epoch > group->secret->chain.epoch) {
            /* The second reader is told between the epochs. */
            group->secret->chain.started_ms = now.boot_ms - settings.group_epoch_ms;
            group_tick(group, now);
            assert_int_equal(
                group_write_key(group, now, group_member_find(group, studio->public), 1, &message),
                0);
            expected = vectors_hex(v, "key_message_studio_after_3");
            assert_int_equal(message.size, expected.size);
            assert_memory_equal(message.at, expected.at, expected.size);
            free((void *)(uintptr_t)expected.at);
        }
        if (delivery == DELIVERY_CONTROL) {
            struct buffer heads = {0};
            struct reader list, topics;
            struct control control;
            struct bytes name;
            uint64_t generation;
            uint32_t next;
            size_t named = 0;

            assert_true(group_next_heads(group, now, &heads));
            assert_int_equal(heads.size, envelope.size);
            assert_int_equal(open_as(reader, START_MS, envelope, delivery, topic), 0);
            assert_memory_equal(content, text.at, text.size);
            assert_int_equal(control_parse(bytes_of(content, content_size), &control), 0);
            list = reader_over(control.topics);
            assert_true(control_next_heads(&list, &generation, &topics));
            assert_int_equal(generation, group->generation);
            while (control_next_head(&topics, &name, &next))
                named++;
            assert_int_equal(named, 2);
            /* Ours names the same topics, in the order they were used. */
            assert_int_equal(open_as(reader, START_MS, buffer_view(&heads), delivery, topic),
                             AICO_EREPLAY);
            assert_false(group_next_heads(group, now, &heads));
            buffer_deinit(&heads);
        } else {
            struct writer out = writer_over(sealed, sizeof(sealed));

            assert_int_equal(group_seal(group, now, e.format, delivery, topic, false,
                                        bytes_of(NULL, 0), text, &out),
                             0);
            assert_int_equal(out.size, envelope.size);
            assert_memory_equal(sealed, envelope.at, envelope.size);
            r = open_as(reader, START_MS, envelope, delivery, topic);
            if (r < 0)
                fail_msg("%s %zu: %s", kind, i, aico_error_name(r));
            assert_int_equal(content_size, text.size);
            assert_memory_equal(content, text.at, text.size);
        }
        free((void *)(uintptr_t)envelope.at);
        free((void *)(uintptr_t)text.at);
    }
    assert_int_equal(gaps.count, 0);

    /* Told in epoch 1: reads from there on, nothing before. */
    late = reader_from(buffer_view(&message), studio, backend->public, true, false);
    expected = vectors_hex(v, "cases.2.envelope");
    assert_int_equal(open_as(late, START_MS, expected, DELIVERY_EVENT, bytes_text(OTHER)),
                     AICO_EEPOCHBACK);
    free((void *)(uintptr_t)expected.at);
    expected = vectors_hex(v, "cases.3.envelope");
    assert_int_equal(open_event(late, expected), 0);
    assert_int_equal(gaps.count, 0);
    free((void *)(uintptr_t)expected.at);

    buffer_wipe_deinit(&message);
    group_reader_free(&reader, &windows);
    group_reader_free(&late, &windows);
    assert_int_equal(windows, 0);
    group_free(&group);
}

static void the_group_vectors_are_byte_exact(void **state UNUSED)
{
    check_group_vector("group", AUTHENTICITY_GROUP);
    check_group_vector("vector", AUTHENTICITY_SENDER);
    check_group_vector("signature", AUTHENTICITY_SIGNATURE);
}

static void each_negative_group_vector_gives_its_code(void **state UNUSED)
{
    struct group_reader *reader = NULL;
    char last_key[1024] = "";
    json_t *one;
    size_t i;

    json_array_foreach(vectors_at(vectors, "group_negative"), i, one)
    {
        struct bytes envelope = vectors_hex(one, "envelope"),
                     message = vectors_hex(one, "key_message");
        const char *name = vectors_text(one, "name"), *expect = vectors_text(one, "expect");
        uint8_t publisher[SIGN_PUBLIC_SIZE];
        int r;

        vectors_hex_into(one, "publisher", publisher, sizeof(publisher));
        /* "honest one after it" goes on with the reader of the case before. */
        if (!reader || strcmp(name, "honest one after it") != 0) {
            if (reader)
                group_reader_free(&reader, &windows);
            reader = reader_from(message, frontend, publisher,
                                 json_is_true(json_object_get(one, "strict")), false);
        }
        (void)snprintf(last_key, sizeof(last_key), "%s", vectors_text(one, "key_message"));
        r = open_as(reader, START_MS, envelope, (uint8_t)vectors_int(one, "delivery"),
                    bytes_text(vectors_text(one, "topic")));
        if (strcmp(r == 0 ? "ok" : aico_error_name(r), expect) != 0)
            fail_msg("%s: %s, not %s", name, aico_error_name(r), expect);
        free((void *)(uintptr_t)envelope.at);
        free((void *)(uintptr_t)message.at);
    }
    group_reader_free(&reader, &windows);
}

/* --- content, topic, sender
 * ------------------------------------------------------------------------- */

static void envelope_every_bit(void **state UNUSED)
{
    static const enum rule_authenticity kinds[] = {AUTHENTICITY_GROUP, AUTHENTICITY_SENDER,
                                                   AUTHENTICITY_SIGNATURE};

    for (size_t k = 0; k < 2 * COUNT_OF(kinds); k++) {
        struct group *group = group_make(kinds[k / 2], k % 2, both(), 2);
        struct group_reader *reader = reader_of(group, frontend, true);
        struct bytes wire = seal(group, "every bit");
        uint8_t *copy = exact_copy(wire);
        size_t trailer = wire.size - (kinds[k / 2] == AUTHENTICITY_SENDER ? 33 : 0);

        for (size_t bit = 0; bit < 8 * wire.size; bit++) {
            /* The other reader's slot is not ours to check. */
            if (kinds[k / 2] == AUTHENTICITY_SENDER && bit / 8 >= trailer + 16 &&
                bit / 8 < trailer + 32)
                continue;
            copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_true(open_event(reader, bytes_of(copy, wire.size)) < 0);
            copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        for (size_t size = 0; size < wire.size; size++)
            assert_true(open_event(reader, bytes_of(copy, size)) < 0);
        assert_int_equal(open_event(reader, bytes_of(copy, wire.size)), 0);
        free(copy);
        group_reader_free(&reader, &windows);
        group_free(&group);
    }
}

static void move_topic(void **state UNUSED)
{
    static const char *const others[] = {OTHER, TOPIC "/x", "conversation/ai/output/v", "logs/x"};
    struct group *group = group_make(AUTHENTICITY_GROUP, false, both(), 2);
    struct group_reader *reader = reader_of(group, frontend, true);
    struct bytes wire = seal(group, "mine");

    for (size_t i = 0; i < COUNT_OF(others); i++)
        assert_int_equal(open_as(reader, START_MS, wire, DELIVERY_EVENT, bytes_text(others[i])),
                         AICO_EOPEN);
    assert_int_equal(
        open_as(reader, START_MS, wire, DELIVERY_EVENT, bytes_of(TOPIC, sizeof(TOPIC))),
        AICO_EOPEN);
    assert_int_equal(open_as(reader, START_MS, wire, DELIVERY_RETAINED, bytes_text(TOPIC)),
                     AICO_EOPEN);
    assert_int_equal(open_event(reader, wire), 0);
    group_reader_free(&reader, &windows);
    group_free(&group);
}

static void a_group_lent_to_another_publisher_does_not_open(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_GROUP, false, both(), 2);
    struct buffer message = {0};
    struct group_reader *lent;

    assert_int_equal(group_write_key(group, moment_at(START_MS),
                                     group_member_find(group, frontend->public), 0, &message),
                     0);
    lent = reader_from(buffer_view(&message), frontend, mallory->public, true, false);
    assert_int_equal(open_event(lent, seal(group, "stolen")), AICO_EOPEN);
    buffer_wipe_deinit(&message);
    group_reader_free(&lent, &windows);
    group_free(&group);
}

/* A member's attempt: @group's keys with @trailer as it can make it. */
static void member_forges(void **state UNUSED)
{
    static const struct {
        enum rule_authenticity authenticity;
        int code;
    } cases[] = {{AUTHENTICITY_GROUP, 0},
                 {AUTHENTICITY_SENDER, AICO_ESIGNATURE},
                 {AUTHENTICITY_SIGNATURE, AICO_ESIGNATURE}};

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct group *group = group_make(cases[i].authenticity, false, both(), 2);
        struct group_reader *victim = reader_of(group, studio, true);
        struct group_reader *member = reader_of(group, frontend, true);
        struct secret keys[2], key, commit;
        struct aead_key aead;
        uint8_t context[HASH_SIZE];
        struct writer out = writer_over(sealed, sizeof(sealed));

        kdf(&member->secret->chain.key, "group topic", bytes_text(TOPIC), &key);
        envelope_key_init(&aead, &key, group->id, 0);
        envelope_commit(&key, &commit);
        envelope_context_hash(&(struct envelope_context){.kind = ENVELOPE_CONTEXT_GROUP,
                                                         .sender = backend->public,
                                                         .topic = bytes_text(TOPIC),
                                                         .namespace = bytes_text(NAMESPACE)},
                              context);
        keys[0] = keys[1] = member->secret->reader_key;
        assert_int_equal(
            envelope_seal(&(struct envelope_seal_input){.key = &aead,
                                                        .format = ENVELOPE_FORMAT_MESSAGE,
                                                        .context = context,
                                                        .payload = bytes_text("not from backend"),
                                                        .content_max = 100,
                                                        .trailer_kind = group->trailer,
                                                        .commit = &commit,
                                                        .sign_seed = &frontend->seed,
                                                        .sign_public = frontend->public,
                                                        .reader_keys = keys,
                                                        .reader_count = 2},
                          &out),
            0);
        assert_int_equal(open_event(victim, writer_view(&out)), cases[i].code);
        group_reader_free(&victim, &windows);
        group_reader_free(&member, &windows);
        group_free(&group);
    }
}

static void strip_signature(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_SIGNATURE, false, both(), 2);
    struct group_reader *reader = reader_of(group, frontend, true);
    struct bytes wire = seal(group, "signed");
    uint8_t *copy = exact_copy(wire);

    copy[32] &= 0x3f;
    assert_int_equal(open_event(reader, bytes_of(copy, wire.size - SIGNATURE_SIZE)),
                     AICO_EAUTHENTICITY);
    /* A vector in the place of the signature: three slots and their count fit into it. */
    copy[32] |= 0x40;
    copy[wire.size - SIGNATURE_SIZE + 48] = 3;
    assert_int_equal(open_event(reader, bytes_of(copy, wire.size - SIGNATURE_SIZE + 49)),
                     AICO_EAUTHENTICITY);
    assert_int_equal(open_event(reader, wire), 0);
    free(copy);
    group_reader_free(&reader, &windows);
    group_free(&group);
}

static void a_reader_without_a_slot_refuses(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_SENDER, false, both(), 2);
    struct group_reader *reader = reader_of(group, frontend, true);

    reader->slot = ENVELOPE_NO_SLOT;
    assert_int_equal(open_event(reader, seal(group, "x")), AICO_EAUTHENTICITY);
    group_reader_free(&reader, &windows);
    group_free(&group);
}

/* --- sequence, gaps, epochs
 * -------------------------------------------------------------------------- */

static void gaps_are_counted_per_topic(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_GROUP, false, both(), 2);
    struct group_reader *reader = reader_of(group, frontend, true);

    gaps.count = 0;
    (void)seal_at(group, START_MS, OTHER, "not subscribed");
    for (int i = 0; i < 10; i++) {
        struct bytes wire = seal(group, "x");

        if (i < 1 || i > 3)
            assert_int_equal(open_event(reader, wire), 0);
    }
    assert_int_equal(gaps.count, 1);
    assert_int_equal(gaps.first[0], 1);
    assert_int_equal(gaps.last[0], 3);
    /* The first of a topic. */
    assert_int_equal(open_as(reader, START_MS, seal_at(group, START_MS, OTHER, "second"),
                             DELIVERY_EVENT, bytes_text(OTHER)),
                     0);
    assert_int_equal(gaps.count, 2);
    assert_int_equal(gaps.first[1], 0);
    assert_int_equal(gaps.last[1], 0);
    group_reader_free(&reader, &windows);
    group_free(&group);
}

static void what_was_held_before_the_key_came_opens_once(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_GROUP, false, both(), 2);
    uint8_t held[3][128];
    struct bytes wire[3];
    struct group_reader *reader;

    for (int i = 0; i < 3; i++) {
        wire[i] = seal(group, "early");
        bytes_copy(held[i], wire[i]);
        wire[i].at = held[i];
    }
    reader = reader_of(group, frontend, true); /* lists the topic at 3 */
    gaps.count = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(open_event(reader, wire[i]), 0);
    assert_int_equal(open_event(reader, wire[1]), AICO_EREPLAY);
    assert_int_equal(open_event(reader, seal(group, "now")), 0);
    assert_int_equal(gaps.count, 0);
    group_reader_free(&reader, &windows);
    group_free(&group);
}

static void heads_name_a_dropped_tail_and_a_topic_lost_whole(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_GROUP, false, both(), 2);
    struct group_reader *reader = reader_of(group, frontend, true);

    gaps.count = 0;
    assert_int_equal(open_event(reader, seal(group, "0")), 0);
    announce(reader, bytes_text(TOPIC), 3, true);
    assert_int_equal(gaps.count, 1);
    assert_int_equal(gaps.first[0], 1);
    assert_int_equal(gaps.last[0], 2);
    announce(reader, bytes_text(TOPIC), 3, true);
    assert_int_equal(gaps.count, 1);
    announce(reader, bytes_text(OTHER), 2, true);
    assert_int_equal(gaps.count, 2);
    assert_int_equal(gaps.first[1], 0);
    assert_int_equal(gaps.last[1], 1);
    /* A topic we do not listen to is none of our business. */
    announce(reader, bytes_text("conversation/x"), 9, false);
    assert_int_equal(gaps.count, 2);
    group_reader_free(&reader, &windows);
    group_free(&group);
}

static void heads_that_are_older_than_the_list_are_no_news(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_GROUP, false, both(), 2);
    struct group_reader *reader;

    for (int i = 0; i < 3; i++)
        (void)seal(group, "before we listened");
    reader = reader_of(group, frontend, true); /* lists the topic at 3 */
    gaps.count = 0;
    /* Said before, it waited behind messages while the key overtook it. */
    announce(reader, bytes_text(TOPIC), 2, true);
    assert_int_equal(open_event(reader, seal(group, "now")), 0);
    assert_int_equal(gaps.count, 0);
    group_reader_free(&reader, &windows);
    group_free(&group);
}

static void forged_epoch_and_sequence_move_nothing(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_GROUP, false, both(), 2);
    struct group_reader *reader = reader_of(group, frontend, true);
    struct bytes wire = seal(group, "0");
    uint8_t *copy = exact_copy(wire);
    struct secret before = reader->secret->chain.key;

    copy[22] = 500 >> 8;
    copy[23] = 500 & 0xff;
    assert_int_equal(open_event(reader, bytes_of(copy, wire.size)), AICO_EOPEN);
    copy[22] = 1025 >> 8;
    copy[23] = 1025 & 0xff;
    assert_int_equal(open_event(reader, bytes_of(copy, wire.size)), AICO_EEPOCHJUMP);
    copy[22] = copy[23] = 0;
    memset(copy + 28, 0xff, 4);
    assert_int_equal(open_event(reader, bytes_of(copy, wire.size)), AICO_EOPEN);
    assert_memory_equal(reader->secret->chain.key.at, before.at, SECRET_SIZE);
    assert_int_equal(open_event(reader, wire), 0);
    free(copy);
    group_reader_free(&reader, &windows);
    group_free(&group);
}

static void steps_erase_the_keys_of_both_ends(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_GROUP, false, both(), 2);
    struct group_reader *reader = reader_of(group, frontend, true);
    struct secret chain = group->secret->chain.key, topic;
    struct topic_secret *publisher_topic, *reader_topic;

    assert_int_equal(open_event(reader, seal(group, "0")), 0);
    publisher_topic = group->topics->secret;
    reader_topic = reader->topics->secret;
    topic = publisher_topic->key.subkey;
    assert_memory_equal(reader_topic->key.subkey.at, topic.at, SECRET_SIZE);

    /* The key that is left stays for late requests, for handshake_timeout. */
    group_tick(group, moment_at(START_MS + 60000));
    assert_int_equal(group->secret->chain.epoch, 1);
    assert_memory_equal(group->secret->previous.at, chain.at, SECRET_SIZE);
    assert_memory_not_equal(publisher_topic->key.subkey.at, topic.at, SECRET_SIZE);
    group_tick(group, moment_at(START_MS + 90000));
    assert_null(memmem(group->secret, sizeof(*group->secret), chain.at, SECRET_SIZE));

    assert_int_equal(open_as(reader, START_MS + 60000, seal_at(group, START_MS + 60000, TOPIC, "1"),
                             DELIVERY_EVENT, bytes_text(TOPIC)),
                     0);
    assert_null(memmem(reader->secret, sizeof(*reader->secret), chain.at, SECRET_SIZE));
    assert_memory_not_equal(reader_topic->key.subkey.at, topic.at, SECRET_SIZE);
    group_reader_free(&reader, &windows);
    group_free(&group);
}

static void withheld_for_an_epoch_and_the_key_is_gone(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_GROUP, false, both(), 2);
    struct group_reader *reader = reader_of(group, frontend, true);
    struct secret chain = reader->secret->chain.key;
    struct bytes wire;

    assert_int_equal(open_event(reader, seal(group, "0")), 0);
    wire = seal(group, "withheld");
    group_reader_tick(reader, moment_at(START_MS + 91000), true);
    assert_memory_equal(reader->secret->chain.key.at, chain.at, SECRET_SIZE);
    group_reader_tick(reader, moment_at(START_MS + 91000), false);
    assert_null(memmem(reader->secret, sizeof(*reader->secret), chain.at, SECRET_SIZE));
    assert_int_equal(open_as(reader, START_MS + 91000, wire, DELIVERY_EVENT, bytes_text(TOPIC)),
                     AICO_EEPOCHBACK);
    group_reader_free(&reader, &windows);
    group_free(&group);
}

/* Keys do not wait behind messages: one may overtake what was sealed before it. */
static void a_later_key_does_not_close_what_is_on_its_way(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_SENDER, false, both(), 2);
    struct group_reader *reader = reader_of(group, frontend, true);
    struct buffer message = {0};
    struct control control;
    struct bytes wire = seal(group, "under way");
    uint8_t *early = exact_copy(wire);

    (void)seal_at(group, START_MS + 61000, TOPIC, "the next epoch");
    assert_int_equal(group_write_key(group, moment_at(START_MS + 61000),
                                     group_member_find(group, frontend->public), UINT32_MAX,
                                     &message),
                     0);
    assert_int_equal(control_parse(buffer_view(&message), &control), 0);
    assert_int_equal(control.epoch, 1);
    group_reader_renew(reader, &control);
    assert_int_equal(open_event(reader, bytes_of(early, wire.size)), 0);
    free(early);
    buffer_wipe_deinit(&message);
    group_reader_free(&reader, &windows);
    group_free(&group);
}

static void a_reader_asks_for_the_epoch_it_saw(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_GROUP, false, both(), 2);
    struct group_member *member = group_member_find(group, studio->public);
    struct secret first = group->secret->chain.key;
    struct buffer message = {0};
    struct control control;

    (void)seal(group, "0");
    group_tick(group, moment_at(START_MS + 60000));
    assert_int_equal(group_write_key(group, moment_at(START_MS + 60001), member, 0, &message), 0);
    assert_int_equal(control_parse(buffer_view(&message), &control), 0);
    assert_int_equal(control.epoch, 0);
    assert_memory_equal(control.chain_key.at, first.at, SECRET_SIZE);
    message.size = 0;
    assert_int_equal(group_write_key(group, moment_at(START_MS + 90000), member, 0, &message), 0);
    assert_int_equal(control_parse(buffer_view(&message), &control), 0);
    assert_int_equal(control.epoch, 1);
    buffer_wipe_deinit(&message);
    group_free(&group);
}

/* --- who reads
 * ------------------------------------------------------------------------------------------ */

static void the_registry_entitles_nobody_else(void **state UNUSED)
{
    const struct rule *rule = registry_rule_named(registry, bytes_text(FILTER));
    struct group_member *members = NULL;
    size_t count = 0;

    assert_int_equal(group_entitled(registry, rule, backend, moment_at(START_MS), &members, &count),
                     0);
    assert_int_equal(count, 3);
    assert_memory_equal(members[0].identity, frontend->public, SIGN_PUBLIC_SIZE);
    assert_memory_equal(members[1].identity, studio->public, SIGN_PUBLIC_SIZE);
    assert_memory_equal(members[2].identity, mallory->public, SIGN_PUBLIC_SIZE);
    free(members);
    /* A publisher is no reader of its own. */
    assert_int_equal(
        group_entitled(registry, rule, frontend, moment_at(START_MS), &members, &count), 0);
    assert_int_equal(count, 2);
    free(members);
}

static void the_number_of_entitled_readers_picks_the_trailer(void **state UNUSED)
{
    struct rule sender = rule_of(AUTHENTICITY_SENDER), history = sender;
    struct rule group = rule_of(AUTHENTICITY_GROUP), signature = rule_of(AUTHENTICITY_SIGNATURE);
    struct session_settings maximum = settings;

    history.history = true;
    assert_int_equal(group_trailer(&settings, &sender, 0), ENVELOPE_TRAILER_NONE);
    assert_int_equal(group_trailer(&settings, &sender, 1), ENVELOPE_TRAILER_NONE);
    assert_int_equal(group_trailer(&settings, &sender, 2), ENVELOPE_TRAILER_VECTOR);
    assert_int_equal(group_trailer(&settings, &sender, 16), ENVELOPE_TRAILER_VECTOR);
    assert_int_equal(group_trailer(&settings, &sender, 17), ENVELOPE_TRAILER_SIGNATURE);
    assert_int_equal(group_trailer(&settings, &history, 2), ENVELOPE_TRAILER_SIGNATURE);
    assert_int_equal(group_trailer(&settings, &signature, 1), ENVELOPE_TRAILER_SIGNATURE);
    assert_int_equal(group_trailer(&settings, &group, 100), ENVELOPE_TRAILER_NONE);
    maximum.security_level = LEVEL_MAXIMUM;
    assert_int_equal(group_trailer(&maximum, &group, 1), ENVELOPE_TRAILER_SIGNATURE);
    assert_int_equal(group_trailer(&maximum, &sender, 2), ENVELOPE_TRAILER_SIGNATURE);
}

static void a_reader_the_registry_adds_reads_nothing_from_before(void **state UNUSED)
{
    const struct identity *three[] = {frontend, studio, mallory};
    struct rule rule = rule_of(AUTHENTICITY_SENDER);
    struct group *group = group_make(AUTHENTICITY_SENDER, false, three, 2);
    struct group_reader *old = reader_of(group, frontend, true), *added;
    struct secret before = group->secret->chain.key;
    uint8_t earlier[256];
    struct bytes wire = seal(group, "before");

    bytes_copy(earlier, wire);
    wire.at = earlier;
    assert_true(group_update(group, &rule, members_of(three, 3), 3));
    assert_int_equal(group->secret->chain.epoch, 1);
    assert_null(memmem(group->secret, sizeof(*group->secret), before.at, SECRET_SIZE));
    assert_int_equal(group->vector_count, 3);
    assert_int_equal(group_member_find(group, frontend->public)->slot, 0);
    assert_int_equal(group_member_find(group, mallory->public)->slot, 2);

    added = reader_of(group, mallory, true);
    assert_int_equal(open_event(added, wire), AICO_EEPOCHBACK);
    assert_int_equal(open_event(old, wire), 0);
    wire = seal(group, "after");
    assert_int_equal(open_event(added, wire), 0);
    assert_int_equal(open_event(old, wire), 0);
    group_reader_free(&old, &windows);
    group_reader_free(&added, &windows);
    group_free(&group);
}

static void a_generation_ends_when_somebody_leaves_or_the_rule_changes(void **state UNUSED)
{
    const struct identity *one[] = {frontend}, *three[] = {frontend, studio, mallory};
    struct rule rule = rule_of(AUTHENTICITY_SENDER);
    struct group *group = group_make(AUTHENTICITY_SENDER, false, three, 3);
    struct group_member *next = members_of(both(), 2);

    assert_false(group_update(group, &rule, next, 2)); /* mallory left */
    free(next);
    next = members_of(three, 3);
    rule.padding = true;
    assert_false(group_update(group, &rule, next, 3));
    rule.padding = false;
    rule.authenticity = AUTHENTICITY_SIGNATURE;
    assert_false(group_update(group, &rule, next, 3));
    free(next);
    group_free(&group);

    rule = rule_of(AUTHENTICITY_SENDER);
    group = group_make(AUTHENTICITY_SENDER, false, one, 1);
    next = members_of(both(), 2);
    assert_false(group_update(group, &rule, next, 2)); /* 1 -> 2: the trailer changes */
    free(next);
    group_free(&group);
}

static void a_generation_is_later_than_the_last(void **state UNUSED)
{
    struct group_seed seed;

    group_seed_draw(&hedge, moment_at(START_MS), START_MS + 5000, &seed);
    assert_int_equal(seed.generation, START_MS + 5001);
    group_seed_draw(&hedge, moment_at(START_MS), 7, &seed);
    assert_int_equal(seed.generation, START_MS);
}

/* A member that may publish can name any generation; times computed from it must not overflow. */
static void a_generation_out_of_all_time_is_refused(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_GROUP, false, both(), 2);
    struct buffer message = {0};
    struct group_reader *reader = NULL;
    struct control control;

    assert_int_equal(group_write_key(group, moment_at(START_MS),
                                     group_member_find(group, frontend->public), 0, &message),
                     0);
    assert_int_equal(control_parse(buffer_view(&message), &control), 0);
    control.generation = (uint64_t)INT64_MAX + ((uint64_t)1 << 20);
    assert_int_equal(group_reader_new(frontend->public, &settings, backend->public, false, &control,
                                      moment_at(START_MS), &windows, &reader),
                     AICO_EFORMAT);
    control.generation = UINT64_MAX;
    assert_int_equal(group_reader_new(frontend->public, &settings, backend->public, false, &control,
                                      moment_at(START_MS), &windows, &reader),
                     AICO_EFORMAT);
    assert_null(reader);
    buffer_wipe_deinit(&message);
    group_free(&group);
}

static void the_last_number_of_a_topic_is_never_sealed(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_GROUP, false, both(), 2);
    struct group_reader *reader = reader_of(group, frontend, true);
    struct writer out = writer_over(sealed, sizeof(sealed));

    (void)seal(group, "0");
    group->topics->next = GROUP_WILL_BASE - 1; /* from there on numbers are of wills */
    assert_int_equal(open_event(reader, seal(group, "the last")), 0);
    assert_true(group_is_spent(group, moment_at(START_MS), 0));
    assert_int_equal(group_seal(group, moment_at(START_MS), ENVELOPE_FORMAT_MESSAGE, DELIVERY_EVENT,
                                bytes_text(TOPIC), false, bytes_of(NULL, 0), bytes_text("x"), &out),
                     AICO_ELIMIT);
    assert_int_equal(out.size, 0);
    group_reader_free(&reader, &windows);
    group_free(&group);
}

/* A reader that was away for more epochs than it may derive is told the key again. */
static void a_later_key_of_the_same_group_is_taken(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_SENDER, false, both(), 2);
    struct group_reader *reader = reader_of(group, frontend, true);
    struct buffer message = {0}, older = {0};
    struct control control;
    struct bytes wire;
    int64_t at_ms = START_MS;

    assert_int_equal(group_write_key(group, moment_at(at_ms),
                                     group_member_find(group, frontend->public), 0, &older),
                     0);
    for (int i = 0; i < 1100; i++, at_ms += 60000)
        (void)seal_at(group, at_ms, TOPIC, "x");
    wire = seal_at(group, at_ms, TOPIC, "far");
    assert_int_equal(open_as(reader, at_ms, wire, DELIVERY_EVENT, bytes_text(TOPIC)),
                     AICO_EEPOCHJUMP);
    assert_int_equal(group_write_key(group, moment_at(at_ms),
                                     group_member_find(group, frontend->public), UINT32_MAX,
                                     &message),
                     0);
    assert_int_equal(control_parse(buffer_view(&message), &control), 0);
    group_reader_renew(reader, &control);
    assert_int_equal(open_as(reader, at_ms, wire, DELIVERY_EVENT, bytes_text(TOPIC)), 0);
    /* The one from before takes nothing back. */
    assert_int_equal(control_parse(buffer_view(&older), &control), 0);
    group_reader_renew(reader, &control);
    wire = seal_at(group, at_ms, TOPIC, "on");
    assert_int_equal(open_as(reader, at_ms, wire, DELIVERY_EVENT, bytes_text(TOPIC)), 0);
    buffer_wipe_deinit(&message);
    buffer_wipe_deinit(&older);
    group_reader_free(&reader, &windows);
    group_free(&group);
}

/* A member may not say under a wide rule what a narrower one before it forbids. */
static void a_topic_that_another_rule_decides_does_not_open(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_GROUP, false, both(), 2);
    struct group_reader *reader = reader_of(group, frontend, true);
    struct registry_draft *draft = registry_draft_new(NULL, bytes_text(NAMESPACE));
    struct registry *narrow;

    draft_add(draft, backend, "service");
    draft_add(draft, frontend, "ui");
    draft_rule(draft, "conversation/ai/**", "frontend", "*", SEAL_GROUP, AUTHENTICITY_GROUP);
    draft_rule(draft, FILTER, "backend", "*", SEAL_GROUP, AUTHENTICITY_GROUP);
    narrow = registry_make(draft);
    registry_draft_free(&draft);

    assert_int_equal(open_event(reader, seal(group, "allowed so far")), 0);
    group_reader_set_registry(reader, narrow);
    assert_int_equal(open_event(reader, seal(group, "no more")), AICO_EOPEN);
    assert_int_equal(open_as(reader, START_MS, seal_at(group, START_MS, OTHER, "still"),
                             DELIVERY_EVENT, bytes_text(OTHER)),
                     0);
    registry_unref(&narrow);
    group_reader_free(&reader, &windows);
    group_free(&group);
}

static void a_list_too_long_for_a_message_is_left_out(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_GROUP, false, both(), 2);
    struct buffer message = {0};
    struct group_reader *reader;
    struct control control;
    char topic[200];

    for (int i = 0; i < 600; i++) {
        (void)snprintf(topic, sizeof(topic), "conversation/%0150d", i);
        (void)seal_at(group, START_MS, topic, "x");
    }
    assert_int_equal(group_write_key(group, moment_at(START_MS),
                                     group_member_find(group, frontend->public), 0, &message),
                     0);
    assert_true(message.size <= CONTROL_GROUP_KEY_MAX);
    assert_int_equal(control_parse(buffer_view(&message), &control), 0);
    assert_false(control.listed);
    buffer_wipe_deinit(&message);

    /* Without a list the first number that comes is where a topic begins. */
    gaps.count = 0;
    reader = reader_of(group, frontend, true);
    assert_int_equal(open_as(reader, START_MS, seal_at(group, START_MS, topic, "y"), DELIVERY_EVENT,
                             bytes_text(topic)),
                     0);
    assert_int_equal(gaps.count, 0);
    group_reader_free(&reader, &windows);
    group_free(&group);
}

static void a_million_failures_end_a_group_key(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_GROUP, false, both(), 2);
    struct group_reader *reader = reader_of(group, frontend, true);
    struct bytes wire = seal(group, "0");
    uint8_t *copy = exact_copy(wire);

    copy[wire.size - 1] ^= 1;
    reader->failures = FAILURES_MAX - 2;
    assert_int_equal(open_event(reader, bytes_of(copy, wire.size)), AICO_EOPEN);
    assert_int_equal(open_event(reader, bytes_of(copy, wire.size)), AICO_ELIMIT);
    free(copy);
    group_reader_free(&reader, &windows);
    group_free(&group);
}

/* Row 42 for groups: over topics, epochs and generations no (key, nonce) comes twice. */
static int compare_pairs(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

static void nonce_unique(void **state UNUSED)
{
    enum { GENERATIONS = 3, COUNT = 30000 };
    uint8_t(*seen)[16] = calloc(GENERATIONS * COUNT, 16);
    size_t n = 0;

    assert_non_null(seen);
    for (int g = 0; g < GENERATIONS; g++) {
        struct group *group = group_make(AUTHENTICITY_GROUP, false, both(), 2);

        for (int i = 0; i < COUNT; i++) {
            static const char *const topics[] = {TOPIC, OTHER, "conversation/x"};
            struct bytes wire = seal_at(group, START_MS + i * 50, topics[i % 3], "");
            uint8_t both_of[SECRET_SIZE + ENVELOPE_NONCE_SIZE];
            struct group_topic *topic;

            HASH_FIND(hh, group->topics, topics[i % 3], strlen(topics[i % 3]), topic);
            memcpy(both_of, topic->secret->key.subkey.at, SECRET_SIZE);
            memcpy(both_of + SECRET_SIZE, wire.at + 8, ENVELOPE_NONCE_SIZE);
            hash_n(bytes_of(both_of, sizeof(both_of)), seen[n++], 16);
        }
        assert_true(group->secret->chain.epoch >= 20);
        group_free(&group);
    }
    qsort(seen, n, 16, compare_pairs);
    for (size_t i = 1; i < n; i++)
        assert_memory_not_equal(seen[i - 1], seen[i], 16);
    free(seen);
}

static void topics_are_bounded(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_GROUP, false, both(), 2);
    struct group_reader *reader = reader_of(group, frontend, true);
    struct writer out;
    char topic[64];

    for (int i = 0; i <= GROUP_TOPICS_MAX; i++) {
        int r;

        (void)snprintf(topic, sizeof(topic), "conversation/%d", i);
        out = writer_over(sealed, sizeof(sealed));
        r = group_seal(group, moment_at(START_MS), ENVELOPE_FORMAT_MESSAGE, DELIVERY_EVENT,
                       bytes_text(topic), false, bytes_of(NULL, 0), bytes_text("x"), &out);
        assert_int_equal(r, i < GROUP_TOPICS_MAX ? 0 : AICO_ELIMIT);
        if (r == 0)
            assert_int_equal(
                open_as(reader, START_MS, writer_view(&out), DELIVERY_EVENT, bytes_text(topic)), 0);
    }
    assert_int_equal(windows, GROUP_TOPICS_MAX);
    group_free(&group);
    /* Another group of the same sender has no more room. */
    group = group_make(AUTHENTICITY_GROUP, false, both(), 2);
    {
        struct group_reader *second = reader_of(group, frontend, true);

        assert_int_equal(open_event(second, seal(group, "one too many")), AICO_ELIMIT);
        group_reader_free(&second, &windows);
    }
    group_free(&group);
    group_reader_free(&reader, &windows);
    assert_int_equal(windows, 0);
}

static void every_topic_is_announced_once(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_GROUP, false, both(), 2);
    struct group_reader *reader = reader_of(group, frontend, true);
    char topic[64];
    size_t named = 0;

    for (int i = 0; i < 3000; i++) {
        (void)snprintf(topic, sizeof(topic), "conversation/%d", i);
        (void)seal_at(group, START_MS, topic, "x");
    }
    assert_true(group_has_traffic(group));
    for (struct buffer heads = {0}; group_next_heads(group, moment_at(START_MS), &heads);
         buffer_deinit(&heads)) {
        uint8_t *plain = malloc(heads.size);
        struct reader list, topics;
        struct group_opened opened;
        struct control control;
        struct bytes name;
        struct envelope e;
        uint64_t generation;
        uint32_t next;

        assert_non_null(plain);
        assert_int_equal(envelope_parse(buffer_view(&heads), &e), 0);
        assert_int_equal(group_open(reader, moment_at(START_MS), &e, DELIVERY_CONTROL,
                                    bytes_text(HEADS), true, &windows, plain, &sink, &opened),
                         0);
        assert_int_equal(control_parse(opened.content, &control), 0);
        list = reader_over(control.topics);
        while (control_next_heads(&list, &generation, &topics))
            while (control_next_head(&topics, &name, &next))
                named++;
        free(plain);
    }
    assert_int_equal(named, 3000);
    assert_false(group_has_traffic(group));
    group_reader_free(&reader, &windows);
    group_free(&group);
}

static void a_forked_child_refuses_to_seal(void **state UNUSED)
{
    struct group *group = group_make(AUTHENTICITY_GROUP, false, both(), 2);
    int status;
    pid_t child;

    (void)seal(group, "parent");
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct writer out = writer_over(sealed, sizeof(sealed));
        int r = group_seal(group, moment_at(START_MS), ENVELOPE_FORMAT_MESSAGE, DELIVERY_EVENT,
                           bytes_text(TOPIC), false, bytes_of(NULL, 0), bytes_text("x"), &out);

        _exit(r == AICO_EFORKED && out.size == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    group_free(&group);
}

/* --- control messages
 * ----------------------------------------------------------------------------------- */

static size_t write_any(uint8_t *to, size_t size, int which)
{
    static const uint8_t id[CONTROL_ID_SIZE] = {5};
    struct writer w = writer_over(to, size);
    struct control key = {.authenticity = 1,
                          .filter = bytes_text(FILTER),
                          .generation = 9,
                          .epoch = 3,
                          .chain_key = bytes_of(backend->public, 32),
                          .id = bytes_of(id, sizeof(id)),
                          .slot = 2,
                          .reader_key = bytes_of(frontend->public, 32)};

    switch (which) {
    case 0:
        control_write_group_key(&w, &key, 2);
        control_write_head(&w, bytes_text("a"), 1);
        control_write_head(&w, bytes_text("b/c"), 2);
        break;
    case 1:
        control_write_group_key(&w, &key, CONTROL_NOT_LISTED);
        break;
    case 2:
        control_write_key_request(&w, bytes_text(FILTER), id, 7, 8);
        break;
    case 3:
        control_write_key_refuse(&w, AICO_EDENIED, bytes_text(FILTER));
        break;
    case 4:
        writer_u8(&w, CONTROL_HEADS);
        control_write_heads_section(&w, 9, 1);
        control_write_head(&w, bytes_text("a"), 1);
        control_write_heads_section(&w, 10, 0);
        break;
    case 5:
        control_write_final(&w, 12);
        break;
    case 6:
        control_write_ping(&w, CONTROL_PING, id, 13);
        break;
    case 7:
        control_write_ping(&w, CONTROL_PONG, id, 13);
        break;
    case 8:
        control_write_time(&w, START_MS);
        break;
    default:
        control_write_registry(&w, bytes_text("document"));
        break;
    }
    assert_false(w.failed);
    return w.size;
}

static void control_messages_parse_and_every_truncation_is_refused(void **state UNUSED)
{
    for (int which = 0; which < 10; which++) {
        uint8_t room[CONTROL_SMALL_MAX];
        size_t size = write_any(room, sizeof(room), which);
        struct control control;

        assert_int_equal(control_parse(bytes_of(room, size), &control), 0);
        if (which == 2) {
            assert_int_equal(control.epoch, 7);
            assert_int_equal(control.generation, 8);
        }
        if (which == 3)
            assert_int_equal(-(int)control.code, AICO_EDENIED);
        for (size_t cut = 0; cut < size && which < 9; cut++) {
            uint8_t *copy = exact_copy(bytes_of(room, cut));
            int r = control_parse(bytes_of(copy, cut), &control);

            free(copy);
            /* HEADS is a list: cut between its entries it is a shorter one. */
            if (r == 0 && which != 4)
                fail_msg("message %d cut to %zu", which, cut);
        }
        room[size] = 0;
        if (which < 4 || (which > 4 && which < 9))
            assert_int_equal(control_parse(bytes_of(room, size + 1), &control), AICO_EFORMAT);
        room[0] = 77;
        assert_int_equal(control_parse(bytes_of(room, size), &control), AICO_ETYPE);
    }
}

static void random_control_bytes_never_crash(void **state UNUSED)
{
    struct dice local = {42};

    for (int i = 0; i < 200000; i++) {
        uint8_t room[CONTROL_SMALL_MAX], *copy;
        size_t size = write_any(room, sizeof(room), (int)dice_below(&local, 10));
        struct control control;

        for (uint64_t n = dice_below(&local, 4); n > 0; n--)
            room[dice_below(&local, size)] = (uint8_t)dice_next(&local);
        size = dice_below(&local, size + 1);
        copy = exact_copy(bytes_of(room, size));
        if (control_parse(bytes_of(copy, size), &control) == 0) {
            struct reader list = reader_over(control.topics), topics;
            struct bytes name;
            uint64_t generation;
            uint32_t next;

            if (control.type == CONTROL_HEADS)
                while (control_next_heads(&list, &generation, &topics))
                    while (control_next_head(&topics, &name, &next))
                        assert_true(name.size > 0);
        }
        free(copy);
    }
}

static int start(void **state UNUSED)
{
    assert_int_equal(crypto_start(), 0);
    vectors = vectors_load("session-v1.json");
    settings = session_settings_default();
    backend = identity_make("backend");
    frontend = identity_make("frontend");
    studio = identity_make("studio");
    mallory = identity_make("mallory");
    registry = registry_of_vectors(vectors);
    hedge_init(&hedge, &backend->seed, dice_source(&dice));
    return 0;
}

static int stop(void **state UNUSED)
{
    registry_unref(&registry);
    identity_free(&backend);
    identity_free(&frontend);
    identity_free(&studio);
    identity_free(&mallory);
    json_decref(vectors);
    hedge_wipe(&hedge);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_group_vectors_are_byte_exact),
        cmocka_unit_test(each_negative_group_vector_gives_its_code),
        cmocka_unit_test(envelope_every_bit),
        cmocka_unit_test(move_topic),
        cmocka_unit_test(a_group_lent_to_another_publisher_does_not_open),
        cmocka_unit_test(member_forges),
        cmocka_unit_test(strip_signature),
        cmocka_unit_test(a_reader_without_a_slot_refuses),
        cmocka_unit_test(gaps_are_counted_per_topic),
        cmocka_unit_test(what_was_held_before_the_key_came_opens_once),
        cmocka_unit_test(heads_name_a_dropped_tail_and_a_topic_lost_whole),
        cmocka_unit_test(heads_that_are_older_than_the_list_are_no_news),
        cmocka_unit_test(forged_epoch_and_sequence_move_nothing),
        cmocka_unit_test(steps_erase_the_keys_of_both_ends),
        cmocka_unit_test(withheld_for_an_epoch_and_the_key_is_gone),
        cmocka_unit_test(a_later_key_does_not_close_what_is_on_its_way),
        cmocka_unit_test(a_reader_asks_for_the_epoch_it_saw),
        cmocka_unit_test(the_registry_entitles_nobody_else),
        cmocka_unit_test(the_number_of_entitled_readers_picks_the_trailer),
        cmocka_unit_test(a_reader_the_registry_adds_reads_nothing_from_before),
        cmocka_unit_test(a_generation_ends_when_somebody_leaves_or_the_rule_changes),
        cmocka_unit_test(a_generation_is_later_than_the_last),
        cmocka_unit_test(a_generation_out_of_all_time_is_refused),
        cmocka_unit_test(the_last_number_of_a_topic_is_never_sealed),
        cmocka_unit_test(a_later_key_of_the_same_group_is_taken),
        cmocka_unit_test(a_topic_that_another_rule_decides_does_not_open),
        cmocka_unit_test(a_list_too_long_for_a_message_is_left_out),
        cmocka_unit_test(a_million_failures_end_a_group_key),
        cmocka_unit_test(nonce_unique),
        cmocka_unit_test(topics_are_bounded),
        cmocka_unit_test(every_topic_is_announced_once),
        cmocka_unit_test(a_forked_child_refuses_to_seal),
        cmocka_unit_test(control_messages_parse_and_every_truncation_is_refused),
        cmocka_unit_test(random_control_bytes_never_crash),
    };

    return cmocka_run_group_tests_name("session/group", tests, start, stop);
}
