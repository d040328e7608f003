/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stored messages between sessions: what a publisher leaves at the broker for its readers, and what
 * readers make of it long after, when the publisher may be gone.
 */
#include "peers_net.h"

#include "crypto/crypto.h"
#include "crypto/dh.h"
#include "session/stored.h"
#include "wire/stream_record.h"

enum { BACKEND, CLI, STUDIO, EVERYBODY, RENEWED = EVERYBODY };
static const char *const names[] = {"backend", "cli", "studio"};

#define KEPT "kept/x"     /* its keys are left at the broker */
#define PASSED "passed/x" /* ... are given over channels only */
#define AGE_S 3600
#define CHAIN_SIZE (32 + 8 + 12 + 1 + 1 + 4 + 32 + 2) /* of a kept chain, before its filter */

static struct net net;
static struct reading_keys *backends; /* what is sealed for BACKEND */
static struct buffer sealed;          /* the last stored envelope */

static void store_rule(struct registry_draft *draft, const char *filter, bool history)
{
    assert_int_equal(
        registry_draft_set_rule(draft,
                                &(struct rule_line){.filter = bytes_text(filter),
                                                    .publish = "cli",
                                                    .subscribe = "backend,studio",
                                                    .seal = SEAL_GROUP,
                                                    .authenticity = AUTHENTICITY_GROUP,
                                                    .history = history,
                                                    .store = {.on = true, .age_s = AGE_S}},
                                NULL),
        0);
}

static void rules(struct registry_draft *draft)
{
    store_rule(draft, "kept/**", true);
    store_rule(draft, "passed/**", false);
    draft_rule(draft, "live/**", "*", "*", SEAL_GROUP, AUTHENTICITY_GROUP);
}

static struct sessions *at(int node)
{
    return net.nodes[node].sessions;
}

static struct moment now_at(int node)
{
    return net_moment(&net, &net.nodes[node]);
}

static const uint8_t *identity_of(int node)
{
    return net.nodes[node].identity->public;
}

static void link_up(int node)
{
    sessions_link_up(at(node), now_at(node));
    net_drain(&net, node);
}

/* Another process of the same component, which knows nothing. */
static void restart(int node)
{
    net_stop_node(&net, node);
    net_start_node(&net, node);
    link_up(node);
    net_forget_notes(&net);
}

static int open_net(void **state UNUSED)
{
    net_open(&net, names, EVERYBODY, rules);
    backends = guarded_new(sizeof(*backends));
    assert_non_null(backends);
    backends->count = 2;
    for (uint32_t i = 0; i < 2; i++) {
        backends->items[i].number = i + 1;
        backends->items[i].created_ms = START_MS + i;
        memset(backends->items[i].secret.at, (int)i + 40, SECRET_SIZE);
    }
    net.nodes[BACKEND].settings.reading_keys = backends;
    for (int i = 0; i < EVERYBODY; i++)
        restart(i);
    return 0;
}

static int close_net(void **state UNUSED)
{
    net_close(&net);
    buffer_deinit(&sealed);
    guarded_free(&backends);
    return 0;
}

/* The broker tells CLI which key BACKEND wants its messages sealed for. */
static void tell_reading(const struct reading_key *key)
{
    uint8_t statement[READING_SIZE];

    assert_int_equal(
        reading_write(net.nodes[BACKEND].identity, bytes_text(NAMESPACE), key, statement), 0);
    sessions_take_reading(at(CLI), now_at(CLI), identity_of(BACKEND),
                          bytes_of(statement, sizeof(statement)));
    net_drain(&net, CLI);
}

static void tell_all_readings(void)
{
    tell_reading(&backends->items[0]);
    sessions_take_reading(at(CLI), now_at(CLI), identity_of(CLI), bytes_of(NULL, 0));
}

/* CLI publishes, and only the store gets it. */
static void store(const char *topic, const char *text)
{
    struct writer w;
    size_t size = sessions_envelope_size(at(CLI), 0, strlen(text));

    net_prepare(&net, CLI, topic);
    sealed.size = 0;
    w = writer_over(buffer_reserve(&sealed, size), size);
    assert_int_equal(sessions_seal_group(at(CLI), now_at(CLI), bytes_text(topic), DELIVERY_STREAM,
                                         bytes_of(NULL, 0), bytes_text(text), &w),
                     0);
    sealed.size = w.size;
    net_run(&net);
}

/* The broker hands @bytes out as what CLI stored. */
static void hand_out_as(int to, const char *name, const uint8_t *identity, const char *topic,
                        struct bytes bytes)
{
    uint8_t *exact = exact_copy(bytes);

    sessions_receive_stored(at(to), now_at(to), bytes_text(name), identity, bytes_text(topic),
                            DELIVERY_STREAM, bytes_of(exact, bytes.size), NULL);
    free(exact);
    net_drain(&net, to);
}

static void hand_out(int to, const char *topic)
{
    hand_out_as(to, "cli", identity_of(CLI), topic, buffer_view(&sealed));
}

/* The last thing @at was told is that an envelope failed with @code. */
static void expect_failed(int at_node, int code)
{
    size_t count = count_notes(&net, at_node, SESSION_FAILED);

    assert_true(count > 0);
    assert_int_equal(note_at(&net, at_node, SESSION_FAILED, count - 1)->code, code);
    assert_int_equal(count_notes(&net, at_node, SESSION_MESSAGE), 0);
    net_forget_notes(&net);
}

/* The key for @reader in the @nth KEYS record of CLI: a view of it. False: it holds none. */
static bool key_left(size_t nth, const uint8_t *reader, struct bytes *ret_key)
{
    const struct note *note = note_at(&net, CLI, SESSION_STORE_KEYS, nth);
    struct reader entries = reader_over(buffer_view(&note->bytes));
    struct bytes identity, key;

    (void)reader_bytes(&entries, KEY_ID_BYTES);
    (void)reader_u8(&entries);
    while (record_next_key(&entries, &identity, &key))
        if (memcmp(identity.at, reader, SIGN_PUBLIC_SIZE) == 0) {
            *ret_key = key;
            return true;
        }
    return false;
}

static bool can_open(int node)
{
    return sessions_can_open_stored(at(node), identity_of(CLI), buffer_view(&sealed));
}

/* --- with history -------------------------------------------------------------------------------
 */

static void what_was_left_opens_when_its_publisher_is_gone(void **state UNUSED)
{
    struct bytes key;

    tell_all_readings();
    store(KEPT, "one");
    assert_true(key_left(0, identity_of(BACKEND), &key));
    key = (struct bytes){exact_copy(key), key.size};
    restart(BACKEND);
    net_stop_node(&net, CLI);

    assert_false(can_open(BACKEND));
    sessions_take_stored_key(at(BACKEND), bytes_text("cli"), identity_of(CLI), key);
    assert_true(can_open(BACKEND));
    hand_out(BACKEND, KEPT);
    assert_heard(&net, BACKEND, 0, "one");
    hand_out(BACKEND, KEPT); /* again: who has settled what is not our business */
    assert_heard(&net, BACKEND, 1, "one");
    assert_int_equal(note_at(&net, BACKEND, SESSION_MESSAGE, 1)->delivery, DELIVERY_STREAM);
    free((void *)key.at);
}

/* Epochs step on while a generation lives; envelopes come back in any order. */
static void messages_of_any_epoch_open_in_any_order(void **state UNUSED)
{
    struct buffer early = {0};
    struct bytes key;

    tell_all_readings();
    store(KEPT, "early");
    assert_true(key_left(0, identity_of(BACKEND), &key));
    key = (struct bytes){exact_copy(key), key.size};
    assert_int_equal(buffer_append(&early, buffer_view(&sealed)), 0);
    net_advance(&net, 3 * net.nodes[CLI].settings.group_epoch_ms);
    store(KEPT, "late");
    restart(BACKEND);
    net_stop_node(&net, CLI);

    sessions_take_stored_key(at(BACKEND), bytes_text("cli"), identity_of(CLI), key);
    hand_out(BACKEND, KEPT);
    hand_out_as(BACKEND, "cli", identity_of(CLI), KEPT, buffer_view(&early));
    hand_out(BACKEND, KEPT);
    assert_heard(&net, BACKEND, 0, "late");
    assert_heard(&net, BACKEND, 1, "early");
    assert_heard(&net, BACKEND, 2, "late");
    buffer_deinit(&early);
    free((void *)key.at);
}

static void nothing_is_stored_before_the_reading_keys_are_known(void **state UNUSED)
{
    assert_true(sessions_may_store(at(CLI), bytes_text("live/x")));
    assert_true(sessions_may_store(at(CLI), bytes_text("under/no/rule")));
    assert_true(sessions_may_store(at(CLI), bytes_text(PASSED)));
    assert_false(sessions_may_store(at(CLI), bytes_text(KEPT)));
    tell_all_readings();
    assert_true(sessions_may_store(at(CLI), bytes_text(KEPT)));
    sessions_link_lost(at(CLI), now_at(CLI)); /* the next broker may know others */
    assert_false(sessions_may_store(at(CLI), bytes_text(KEPT)));
}

/* The broker may have died before it stored them. */
static void keys_are_left_again_with_each_link(void **state UNUSED)
{
    struct bytes key;

    tell_all_readings();
    store(KEPT, "one");
    assert_int_equal(count_notes(&net, CLI, SESSION_STORE_KEYS), 1);
    sessions_link_lost(at(CLI), now_at(CLI));
    link_up(CLI);
    assert_int_equal(count_notes(&net, CLI, SESSION_STORE_KEYS), 2);
    assert_true(key_left(1, identity_of(BACKEND), &key));
}

static void a_generation_begun_without_a_link_is_left_with_the_next(void **state UNUSED)
{
    tell_all_readings();
    net_prepare(&net, CLI, KEPT);
    net_forget_notes(&net);
    sessions_link_lost(at(CLI), now_at(CLI));
    net_advance(&net, 2 * net.nodes[CLI].settings.key_rotation_interval_ms);
    (void)!sessions_prepare_group(at(CLI), now_at(CLI), bytes_text(KEPT));
    net_drain(&net, CLI);
    assert_int_equal(count_notes(&net, CLI, SESSION_STORE_KEYS), 0);
    link_up(CLI);
    assert_true(count_notes(&net, CLI, SESSION_STORE_KEYS) > 0);
}

/* STUDIO has told no reading key: what is stored meanwhile it may never read, and CLI is told. */
static void a_reader_without_a_reading_key_is_named(void **state UNUSED)
{
    struct bytes key;

    tell_all_readings();
    store(KEPT, "one");
    assert_false(key_left(0, identity_of(STUDIO), &key));
    assert_int_equal(count_notes(&net, CLI, SESSION_NOTICE), 1);
    assert_string_equal(note_at(&net, CLI, SESSION_NOTICE, 0)->peer, "studio");
    assert_int_equal(note_at(&net, CLI, SESSION_NOTICE, 0)->code, AICO_ENOPREKEY);
}

/* A reading key that comes late, or is a newer one, gets the generation that lives. */
static void a_reading_key_that_comes_later_gets_what_lives(void **state UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer copy = {0};
    struct bytes key;

    sessions_take_reading(at(CLI), now_at(CLI), identity_of(CLI), bytes_of(NULL, 0));
    store(KEPT, "one");
    store(PASSED, "nothing is left of this rule");
    assert_int_equal(count_notes(&net, CLI, SESSION_STORE_KEYS), 0);
    tell_reading(&backends->items[0]);
    assert_int_equal(count_notes(&net, CLI, SESSION_STORE_KEYS), 1);
    tell_reading(&backends->items[0]); /* nothing new */
    assert_int_equal(count_notes(&net, CLI, SESSION_STORE_KEYS), 1);
    tell_reading(&backends->items[1]);
    assert_int_equal(count_notes(&net, CLI, SESSION_STORE_KEYS), 2);
    tell_reading(&backends->items[0]); /* a former one, said again by the broker */
    assert_int_equal(count_notes(&net, CLI, SESSION_STORE_KEYS), 2);

    assert_true(key_left(1, identity_of(BACKEND), &key));
    assert_int_equal(buffer_append(&copy, key), 0);
    restart(STUDIO);
    sessions_take_stored_key(at(STUDIO), bytes_text("cli"), identity_of(CLI), buffer_view(&copy));
    net_drain(&net, STUDIO);
    assert_int_equal(note_at(&net, STUDIO, SESSION_NOTICE, 0)->code, AICO_ETARGET);
}

static void a_reading_key_that_is_not_its_owners_is_not_used(void **state UNUSED)
{
    uint8_t statement[READING_SIZE];
    const uint8_t nobody[SIGN_PUBLIC_SIZE] = {1};

    assert_int_equal(reading_write(net.nodes[STUDIO].identity, bytes_text(NAMESPACE),
                                   &backends->items[0], statement),
                     0);
    sessions_take_reading(at(CLI), now_at(CLI), identity_of(BACKEND),
                          bytes_of(statement, sizeof(statement)));
    sessions_take_reading(at(CLI), now_at(CLI), nobody, bytes_of(statement, sizeof(statement)));
    sessions_take_reading(at(CLI), now_at(CLI), identity_of(CLI), bytes_of(NULL, 0));
    net_drain(&net, CLI);
    assert_int_equal(count_notes(&net, CLI, SESSION_NOTICE), 1); /* a stranger's is no news */
    assert_int_equal(note_at(&net, CLI, SESSION_NOTICE, 0)->code, AICO_ETARGET);
    store(KEPT, "one");
    assert_int_equal(count_notes(&net, CLI, SESSION_STORE_KEYS), 0);
}

/* The last stored envelope as if a ratchet had sealed it: whole, but of a format not stored. */
static struct bytes of_a_ratchet(uint8_t room[512])
{
    struct writer w = writer_over(room, 512);
    static const uint8_t key[32];

    writer_bytes(&w, bytes_of(sealed.at, ENVELOPE_HEAD_SIZE - 4));
    writer_u8(&w, ENVELOPE_FORMAT_RATCHET);
    writer_uint(&w, sizeof(key), 3);
    writer_bytes(&w, bytes_of(key, sizeof(key)));
    writer_bytes(&w, bytes_of(sealed.at + ENVELOPE_HEAD_SIZE, sealed.size - ENVELOPE_HEAD_SIZE));
    return writer_view(&w);
}

/* --- what is refused ----------------------------------------------------------------------------
 */

static void what_cannot_be_the_publishers_is_refused(void **state UNUSED)
{
    static const uint8_t large[256 * 1024];
    const uint8_t nobody[SIGN_PUBLIC_SIZE] = {1};
    uint8_t ratchet[512];

    net.nodes[BACKEND].settings.max_message_size = 1024;
    restart(BACKEND);
    tell_all_readings();
    store(KEPT, "one");
    hand_out_as(BACKEND, "stranger", nobody, KEPT, buffer_view(&sealed));
    expect_failed(BACKEND, AICO_EUNKNOWN);
    hand_out_as(BACKEND, "cli", nobody, KEPT, buffer_view(&sealed));
    expect_failed(BACKEND, AICO_EUNKNOWN);
    hand_out_as(BACKEND, "cli", identity_of(STUDIO), KEPT, buffer_view(&sealed));
    expect_failed(BACKEND, AICO_ESTAMP);
    hand_out_as(BACKEND, "cli", identity_of(CLI), KEPT, bytes_text("AICO-MS"));
    expect_failed(BACKEND, AICO_ESIZE);
    hand_out_as(BACKEND, "cli", identity_of(CLI), KEPT, bytes_of(large, sizeof(large)));
    expect_failed(BACKEND, AICO_ETOOLARGE);
    hand_out_as(BACKEND, "cli", identity_of(CLI), KEPT, of_a_ratchet(ratchet));
    expect_failed(BACKEND, AICO_EFORMAT);
    sessions_close(at(BACKEND), now_at(BACKEND));
    net_drain(&net, BACKEND);
    hand_out(BACKEND, KEPT);
    expect_failed(BACKEND, AICO_ECLOSED);
}

static void a_stored_message_is_bound_to_its_topic_and_rule(void **state UNUSED)
{
    tell_all_readings();
    store(KEPT, "one");
    hand_out(BACKEND, "kept/y");
    expect_failed(BACKEND, AICO_EOPEN);
    hand_out(BACKEND, PASSED); /* not of the filter the key was made for */
    expect_failed(BACKEND, AICO_EOPEN);
    hand_out(BACKEND, "under/no/rule");
    expect_failed(BACKEND, AICO_EDENIED);
    hand_out(CLI, KEPT); /* it publishes and does not read */
    expect_failed(CLI, AICO_EDENIED);
    sealed.at[sealed.size - 1] ^= 1;
    hand_out(BACKEND, KEPT);
    expect_failed(BACKEND, AICO_EOPEN);
    sealed.at[sealed.size - 1] ^= 1;
    hand_out(BACKEND, KEPT);
    assert_heard(&net, BACKEND, 0, "one");
}

static void a_level_of_maximum_reads_nothing_unsigned(void **state UNUSED)
{
    struct bytes key;

    tell_all_readings();
    store(KEPT, "one");
    assert_true(key_left(0, identity_of(BACKEND), &key));
    key = (struct bytes){exact_copy(key), key.size};
    net.nodes[BACKEND].settings.security_level = 2;
    restart(BACKEND);
    sessions_take_stored_key(at(BACKEND), bytes_text("cli"), identity_of(CLI), key);
    hand_out(BACKEND, KEPT);
    expect_failed(BACKEND, AICO_EAUTHENTICITY);
    free((void *)key.at);
}

/* Nothing was left for STUDIO, which has restarted: it asks the publisher while that lives. */
static void what_nobody_left_is_asked_for(void **state UNUSED)
{
    tell_all_readings();
    store(KEPT, "one");
    restart(STUDIO);
    hand_out(STUDIO, KEPT);
    net_advance(&net, 2000);
    assert_heard(&net, STUDIO, 0, "one");

    net_stop_node(&net, CLI);
    restart(STUDIO);
    hand_out(STUDIO, KEPT);
    net_advance(&net, 10 * net.nodes[STUDIO].settings.handshake_timeout_ms);
    expect_failed(STUDIO, AICO_EKEY);
}

static void set_state(enum component_state state)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(net.registry, bytes_of(NULL, 0));

    assert_int_equal(registry_draft_set_state(draft, "cli", state), 0);
    net_set_registry(&net, registry_make(draft), 0);
}

static void what_the_revoked_stored_is_not_read(void **state UNUSED)
{
    tell_all_readings();
    store(KEPT, "one");
    assert_true(can_open(BACKEND));
    set_state(COMPONENT_REVOKED);
    assert_false(can_open(BACKEND)); /* the key is erased */
    net_forget_notes(&net);
    hand_out(BACKEND, KEPT);
    expect_failed(BACKEND, AICO_EREVOKED);
}

static void what_one_that_left_in_order_stored_is_read(void **state UNUSED)
{
    tell_all_readings();
    store(KEPT, "one");
    set_state(COMPONENT_RETIRED);
    hand_out(BACKEND, KEPT);
    assert_heard(&net, BACKEND, 0, "one");
    /* Nothing was left for this one, and it is not asked any more. */
    restart(BACKEND);
    hand_out(BACKEND, KEPT);
    expect_failed(BACKEND, AICO_EKEY);
}

/* --- without history ----------------------------------------------------------------------------
 */

/* The chains BACKEND was told to keep last. */
static struct buffer kept_chains(void)
{
    size_t count = count_notes(&net, BACKEND, SESSION_PERSIST_CHAINS);
    struct buffer chains = {0};

    assert_true(count > 0);
    assert_int_equal(
        buffer_append(
            &chains,
            buffer_view(&note_at(&net, BACKEND, SESSION_PERSIST_CHAINS, count - 1)->bytes)),
        0);
    return chains;
}

static int load(int node, struct bytes chains)
{
    uint8_t *exact = exact_copy(chains);
    int r = sessions_load_chains(at(node), now_at(node), bytes_of(exact, chains.size));

    free(exact);
    return r;
}

static void a_chain_that_was_given_outlives_a_restart(void **state UNUSED)
{
    struct buffer chains;

    tell_all_readings();
    store(PASSED, "one");
    assert_int_equal(count_notes(&net, CLI, SESSION_STORE_KEYS), 0);
    chains = kept_chains();
    restart(BACKEND);
    net_stop_node(&net, CLI);
    assert_int_equal(load(BACKEND, buffer_view(&chains)), 0);
    hand_out(BACKEND, PASSED);
    assert_heard(&net, BACKEND, 0, "one");
    buffer_deinit(&chains);
}

static void chains_are_read_whole_or_not_at_all(void **state UNUSED)
{
    struct buffer chains;
    size_t size;

    tell_all_readings();
    store(PASSED, "one");
    chains = kept_chains();
    size = CHAIN_SIZE + strlen("passed/**");
    assert_int_equal(chains.size % size, 0);
    restart(BACKEND);
    for (size_t cut = 0; cut < chains.size; cut++)
        assert_int_equal(load(BACKEND, bytes_of(chains.at, cut)),
                         cut % size == 0 ? 0 : AICO_EFORMAT);
    chains.at[CHAIN_SIZE - 1] = 0; /* a filter of no bytes */
    assert_int_equal(load(BACKEND, bytes_of(chains.at, CHAIN_SIZE)), AICO_EFORMAT);
    buffer_deinit(&chains);
}

/* The sum of such a number and a time would not be a time any more. */
static void chains_that_cannot_be_are_refused(void **state UNUSED)
{
    static const struct {
        size_t at;
        uint8_t byte;
    } changes[] = {{32, 0x7f}, {32, 0xff}, {52, 3}, {53, 2}}; /* generation, trailer, padded */
    struct buffer chains;

    tell_all_readings();
    store(PASSED, "one");
    chains = kept_chains();
    restart(BACKEND);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        uint8_t was = chains.at[changes[i].at];

        chains.at[changes[i].at] = changes[i].byte;
        assert_int_equal(load(BACKEND, buffer_view(&chains)), AICO_EFORMAT);
        chains.at[changes[i].at] = was;
    }
    assert_int_equal(load(BACKEND, buffer_view(&chains)), 0);
    buffer_deinit(&chains);
}

/* What the rule keeps for an hour is gone from every store then, and so is what opens it. */
static void a_chain_is_kept_no_longer_than_what_it_opens(void **state UNUSED)
{
    struct buffer chains;

    tell_all_readings();
    store(PASSED, "one");
    chains = kept_chains();
    net_stop_node(&net, BACKEND);
    net.now_ms += net.nodes[CLI].settings.key_rotation_interval_ms + (AGE_S + 60) * 1000;
    net_start_node(&net, BACKEND);
    assert_int_equal(load(BACKEND, buffer_view(&chains)), 0);
    assert_false(can_open(BACKEND));
    buffer_deinit(&chains);
}

/* Somebody who came later was given a later chain: what was before is not for him. */
static void an_epoch_before_our_chain_does_not_open(void **state UNUSED)
{
    struct buffer early = {0}, chains;

    tell_all_readings();
    store(PASSED, "early");
    assert_int_equal(buffer_append(&early, buffer_view(&sealed)), 0);
    restart(BACKEND);
    net_advance(&net, 3 * net.nodes[CLI].settings.group_epoch_ms);
    store(PASSED, "late");
    hand_out(BACKEND, PASSED); /* asks, and is given the chain of today */
    net_advance(&net, 2000);
    assert_heard(&net, BACKEND, 0, "late");
    chains = kept_chains();
    restart(BACKEND);
    net_stop_node(&net, CLI);
    assert_int_equal(load(BACKEND, buffer_view(&chains)), 0);
    hand_out_as(BACKEND, "cli", identity_of(CLI), PASSED, buffer_view(&early));
    expect_failed(BACKEND, AICO_EEPOCHBACK);
    buffer_deinit(&early);
    buffer_deinit(&chains);
}

/* So many generations are remembered; the oldest makes room, wherever it stands. */
static void the_oldest_generation_makes_room(void **state UNUSED)
{
    enum { COUNT = 4096 };
    size_t size = CHAIN_SIZE + strlen("passed/**");
    uint8_t *many = calloc(COUNT + 1, size);
    struct writer w = writer_over(many, (COUNT + 1) * size);

    assert_non_null(many);
    store(PASSED, "one");
    restart(BACKEND);
    for (uint32_t i = 0; i <= COUNT; i++) {
        uint8_t id[12] = {(uint8_t)(i >> 8), (uint8_t)i, 1};
        uint8_t chain[SECRET_SIZE] = {1};

        writer_bytes(&w, bytes_of(identity_of(CLI), SIGN_PUBLIC_SIZE));
        /* The second one is the oldest. */
        writer_u64(&w, (uint64_t)START_MS + (i == 1 ? 0 : i + 1));
        writer_bytes(&w, bytes_of(id, sizeof(id)));
        writer_u8(&w, 0);
        writer_u8(&w, 0);
        writer_u32(&w, 0);
        writer_bytes(&w, bytes_of(chain, sizeof(chain)));
        writer_lp16(&w, bytes_text("passed/**"));
    }
    assert_int_equal(load(BACKEND, writer_view(&w)), 0);
    for (uint32_t i = 0; i <= COUNT; i++) {
        struct envelope e;
        uint8_t id[12] = {(uint8_t)(i >> 8), (uint8_t)i, 1};

        assert_int_equal(envelope_parse(buffer_view(&sealed), &e), 0);
        memcpy(sealed.at + (e.key_id.at - sealed.at), id, sizeof(id));
        assert_int_equal(can_open(BACKEND), i != 1);
    }
    free(many);
}

static void what_is_no_envelope_cannot_be_opened(void **state UNUSED)
{
    uint8_t ratchet[512];

    tell_all_readings();
    store(KEPT, "one");
    assert_true(can_open(BACKEND));
    assert_false(sessions_can_open_stored(at(BACKEND), identity_of(CLI), of_a_ratchet(ratchet)));
    sealed.size = 7;
    assert_false(can_open(BACKEND));
}

/* --- many readers -------------------------------------------------------------------------------
 */

#define MANY (STORED_KEYS_MAX + 6)
static struct identity *many_readers[MANY];

static void rules_of_many(struct registry_draft *draft)
{
    for (size_t i = 0; i < MANY; i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "reader%zu", i);
        many_readers[i] = identity_make(name);
        draft_add(draft, many_readers[i], "reader");
    }
    assert_int_equal(registry_draft_set_rule(draft,
                                             &(struct rule_line){.filter = bytes_text("kept/**"),
                                                                 .publish = "cli",
                                                                 .subscribe = "@reader",
                                                                 .seal = SEAL_GROUP,
                                                                 .history = true,
                                                                 .store = {.on = true, .count = 9}},
                                             NULL),
                     0);
}

static void each_of_many_readers_is_left_a_key(void **state UNUSED)
{
    size_t records;

    net_open(&net, names, EVERYBODY, rules_of_many);
    link_up(CLI);
    for (size_t i = 0; i < MANY; i++) {
        uint8_t statement[READING_SIZE];
        const struct reading_key key = {1, START_MS, {{(uint8_t)(i + 1)}}};

        assert_int_equal(reading_write(many_readers[i], bytes_text(NAMESPACE), &key, statement), 0);
        sessions_take_reading(at(CLI), now_at(CLI), many_readers[i]->public,
                              bytes_of(statement, sizeof(statement)));
    }
    sessions_take_reading(at(CLI), now_at(CLI), identity_of(CLI), bytes_of(NULL, 0));
    net_prepare(&net, CLI, KEPT);
    net_drain(&net, CLI);
    records = count_notes(&net, CLI, SESSION_STORE_KEYS);
    assert_int_equal(records, 2);
    for (size_t i = 0; i < MANY; i++) {
        struct bytes key;
        size_t found = 0;

        for (size_t nth = 0; nth < records; nth++)
            found += key_left(nth, many_readers[i]->public, &key);
        assert_int_equal(found, 1);
    }
    for (size_t i = 0; i < MANY; i++)
        identity_free(&many_readers[i]);
    net_close(&net);
}

/* --- loss and restarts --------------------------------------------------------------------------
 *
 * The broker stores what CLI publishes for BACKEND on KEPT and PASSED, and hands out what BACKEND
 * has not opened: at once, when either of them or the broker was restarted, and when the deadline
 * of a message that failed is over. Three of ten control records are lost. STUDIO, which may not
 * read, is handed everything as well.
 */

#define LOSSY_MS 90000
#define CALM_MS 70000
#define DEADLINE_MS 30000
#define ITEMS_MAX 1000
#define SEEDS 40

static struct item {
    struct buffer sealed;
    const char *topic;
    int publisher_run;
    unsigned opened, attempt;    /* an earlier attempt that opens is not shown: client/follow.c */
    int64_t stored_ms, again_ms; /* to be handed out then; MOMENT_NEVER: it is out, or done with */
} items[ITEMS_MAX];
static size_t item_count;
static struct buffer left[ITEMS_MAX], chains; /* KEYS records; what BACKEND keeps on its disk */
static size_t left_count;
static int publisher_run;
static int64_t repairs[SEEDS * ITEMS_MAX]; /* how long what could not be opened at once took */
static size_t repair_count, opened_at_once;

static void rules_of_two(struct registry_draft *draft)
{
    for (int i = 0; i < 2; i++)
        assert_int_equal(registry_draft_set_rule(
                             draft,
                             &(struct rule_line){.filter = bytes_text(i ? "passed/**" : "kept/**"),
                                                 .publish = "cli",
                                                 .subscribe = "backend",
                                                 .seal = SEAL_GROUP,
                                                 .authenticity = AUTHENTICITY_SIGNATURE,
                                                 .history = i == 0,
                                                 .store = {.on = true, .age_s = AGE_S}},
                             NULL),
                         0);
}

static bool lose_control(struct net *n, struct parcel *parcel, void *context)
{
    return n->now_ms >= LOSSY_MS || strcmp(parcel->topic, SESSION_TOPIC_CONTROL) != 0 ||
           dice_below(context, 100) >= 30;
}

static void take_opened(const struct note *note)
{
    struct item *item = &items[strtoul(note->text, NULL, 10)];

    if ((uintptr_t)note->cookie / ITEMS_MAX != item->attempt || item->opened++ > 0)
        return;
    item->again_ms = MOMENT_NEVER;
    if (net.now_ms == item->stored_ms)
        opened_at_once++;
    else
        repairs[repair_count++] = net.now_ms - item->stored_ms;
}

/* What the two said since: to the broker, to a disk, to the application. */
static void take_notes(void)
{
    const struct note *note;

    net_drain_all(&net);
    LL_FOREACH(net.nodes[CLI].notes, note)
    if (note->type == SESSION_STORE_KEYS)
        assert_int_equal(buffer_append(&left[left_count++], buffer_view(&note->bytes)), 0);
    LL_FOREACH(net.nodes[BACKEND].notes, note)
    {
        if (note->type == SESSION_MESSAGE)
            take_opened(note);
        else if (note->type == SESSION_FAILED)
            items[(uintptr_t)note->cookie % ITEMS_MAX].again_ms = net.now_ms + DEADLINE_MS;
        else if (note->type == SESSION_PERSIST_CHAINS) {
            chains.size = 0;
            assert_int_equal(buffer_append(&chains, buffer_view(&note->bytes)), 0);
        }
    }
    assert_int_equal(count_notes(&net, STUDIO, SESSION_MESSAGE), 0);
    net_forget_notes(&net);
}

/* What opens @item for @reader, as it was left at the broker. */
static void give_key(int node, const struct item *item)
{
    for (size_t i = 0; i < left_count; i++) {
        struct reader entries = reader_over(buffer_view(&left[i]));
        struct bytes id = reader_bytes(&entries, KEY_ID_BYTES), identity, key;

        (void)reader_u8(&entries);
        if (memcmp(id.at, item->sealed.at + 8, KEY_ID_BYTES) != 0)
            continue;
        while (record_next_key(&entries, &identity, &key))
            if (node == STUDIO || memcmp(identity.at, identity_of(node), SIGN_PUBLIC_SIZE) == 0)
                sessions_take_stored_key(at(node), bytes_text("cli"), identity_of(CLI), key);
    }
}

static void hand_out_item(int node, size_t index)
{
    struct item *item = &items[index];

    item->attempt += node == BACKEND;
    give_key(node, item);
    sessions_receive_stored(at(node), now_at(node), bytes_text("cli"), identity_of(CLI),
                            bytes_text(item->topic), DELIVERY_STREAM, buffer_view(&item->sealed),
                            (void *)(item->attempt * ITEMS_MAX + index));
    if (node == STUDIO)
        assert_false(
            sessions_can_open_stored(at(STUDIO), identity_of(CLI), buffer_view(&item->sealed)));
}

static void hand_out_due(bool all)
{
    for (size_t i = 0; i < item_count; i++) {
        if (items[i].opened > 0 || (!all && items[i].again_ms > net.now_ms))
            continue;
        items[i].again_ms = MOMENT_NEVER;
        hand_out_item(BACKEND, i);
    }
    take_notes();
}

/* The link of @node is new: what the broker tells, and what it has for it. */
static void connect_again(int node)
{
    sessions_link_up(at(node), now_at(node));
    if (node == CLI)
        tell_all_readings();
    take_notes();
    if (node == BACKEND)
        hand_out_due(true);
}

static void restart_lossy(int node)
{
    take_notes();
    net_stop_node(&net, node);
    net_start_node(&net, node);
    if (node == CLI)
        publisher_run++;
    else if (chains.size > 0)
        assert_int_equal(sessions_load_chains(at(node), now_at(node), buffer_view(&chains)), 0);
    connect_again(node);
}

static void disturb(struct dice *dice)
{
    switch (dice_below(dice, 60)) {
    case 0:
        restart_lossy(BACKEND);
        break;
    case 1:
        restart_lossy(CLI);
        break;
    case 2:
        restart_lossy(BACKEND);
        restart_lossy(CLI);
        break;
    case 3:
        for (int i = 0; i < EVERYBODY; i++)
            sessions_link_lost(at(i), now_at(i));
        for (int i = 0; i < EVERYBODY; i++)
            connect_again(i);
        break;
    default:
        break;
    }
}

static void store_next(struct dice *dice)
{
    struct item *item = &items[item_count];
    char text[32];
    size_t size;
    struct writer w;

    assert_true(item_count < ITEMS_MAX);
    *item = (struct item){.topic = dice_below(dice, 2) ? KEPT : PASSED,
                          .publisher_run = publisher_run,
                          .stored_ms = net.now_ms,
                          .again_ms = MOMENT_NEVER};
    if (sessions_prepare_group(at(CLI), now_at(CLI), bytes_text(item->topic)) < 0 ||
        !sessions_may_store(at(CLI), bytes_text(item->topic)))
        return; /* it waits in the client's queue */
    (void)snprintf(text, sizeof(text), "%zu", item_count);
    size = sessions_envelope_size(at(CLI), 0, strlen(text));
    w = writer_over(buffer_reserve(&item->sealed, size), size);
    assert_int_equal(sessions_seal_group(at(CLI), now_at(CLI), bytes_text(item->topic),
                                         DELIVERY_STREAM, bytes_of(NULL, 0), bytes_text(text), &w),
                     0);
    item->sealed.size = w.size;
    take_notes();
    hand_out_item(BACKEND, item_count);
    hand_out_item(STUDIO, item_count++);
    net_run(&net);
    take_notes();
}

static void check_items(uint64_t seed)
{
    for (size_t i = 0; i < item_count; i++) {
        /* Without history its key ended with the publisher's process, for who had not met it. */
        bool may_miss = items[i].topic[0] == 'p' && items[i].publisher_run != publisher_run;

        if (items[i].opened > 1 || (items[i].opened == 0 && !may_miss))
            fail_msg("seed %llu: message %zu on %s was opened %u times", (unsigned long long)seed,
                     i, items[i].topic, items[i].opened);
        buffer_deinit(&items[i].sealed);
    }
    for (size_t i = 0; i < left_count; i++)
        buffer_deinit(&left[i]);
    buffer_deinit(&chains);
}

static void run_lossy(uint64_t seed)
{
    struct dice dice = {seed};

    net_open(&net, names, EVERYBODY, rules_of_two);
    backends = guarded_new(sizeof(*backends));
    assert_non_null(backends);
    backends->count = 1;
    backends->items[0] = (struct reading_key){1, START_MS, {{40}}};
    net.nodes[BACKEND].settings.reading_keys = backends;
    item_count = left_count = 0;
    publisher_run = 0;
    net.pass = lose_control;
    net.pass_context = &dice;
    for (int i = 0; i < EVERYBODY; i++) {
        net.nodes[i].settings.key_rotation_interval_ms = 60000;
        net_stop_node(&net, i);
        net_start_node(&net, i);
        connect_again(i);
    }
    while (net.now_ms < LOSSY_MS) {
        int64_t next_ms = net.now_ms + 100 + (int64_t)dice_below(&dice, 400);

        store_next(&dice);
        while (net.now_ms < next_ms) {
            net_advance(&net, 10);
            take_notes();
        }
        hand_out_due(false);
        disturb(&dice);
    }
    for (int i = 0; i < CALM_MS / 1000; i++) {
        net_advance(&net, 1000);
        take_notes();
        hand_out_due(false);
    }
    check_items(seed);
    net_close(&net);
    guarded_free(&backends);
}

static int by_time(const void *a, const void *b)
{
    int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;

    return (one > other) - (one < other);
}

static void stored_messages_open_once_under_loss_and_restarts(void **state UNUSED)
{
    int64_t p95;

    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_lossy(seed);
    assert_true(repair_count > 100);
    qsort(repairs, repair_count, sizeof(repairs[0]), by_time);
    p95 = repairs[repair_count * 95 / 100];
    print_message(
        "%zu opened at once, %zu later: after %lld ms in the median, %lld p95, %lld at most\n",
        opened_at_once, repair_count, (long long)repairs[repair_count / 2], (long long)p95,
        (long long)repairs[repair_count - 1]);
    assert_in_range(p95, 1, 2999);
}

/* --- after a rotation ------------------------------------------------------------------------ */

/* BACKEND's process has ended, its name has the key of node RENEWED, which has its reading keys,
 * after so many @rotations; 0: the name was taken away and given again. */
static void next_backend(unsigned rotations)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(net.registry, bytes_of(NULL, 0));
    const struct identity *former = net.nodes[BACKEND].identity;
    struct identity *between[REGISTRY_FORMER_MAX] = {0};
    const struct secret seed = {{99}};
    struct node *node = &net.nodes[RENEWED];

    net_stop_node(&net, BACKEND);
    net.count = RENEWED + 1;
    node->name = "backend";
    node->settings = net.nodes[BACKEND].settings;
    node->dice.state = 99;
    assert_int_equal(identity_new("backend", &seed, 0, &node->identity), 0);
    if (rotations == 0) {
        assert_int_equal(registry_draft_remove(draft, "backend"), 0);
        draft_add(draft, node->identity, "renewed");
    }
    for (unsigned i = 1; i <= rotations; i++) {
        const struct secret other = {{100 + i}};
        const struct identity *next = node->identity;

        if (i < rotations) {
            assert_int_equal(identity_new("backend", &other, 0, &between[i - 1]), 0);
            next = between[i - 1];
        }
        assert_int_equal(registry_draft_rotate(draft, former, next, 1, START_MS - 1), 0);
        former = next;
    }
    net_set_registry(&net, registry_make(draft), 0);
    for (size_t i = 0; i < REGISTRY_FORMER_MAX; i++)
        identity_free(&between[i]);
}

static void opens_what_was_left_before(unsigned rotations)
{
    struct bytes key;

    tell_all_readings();
    store(KEPT, "for the former key");
    assert_true(key_left(0, identity_of(BACKEND), &key));
    key = (struct bytes){exact_copy(key), key.size};
    next_backend(rotations);
    restart(RENEWED);
    net_stop_node(&net, CLI);
    sessions_take_stored_key(at(RENEWED), bytes_text("cli"), identity_of(CLI), key);
    hand_out(RENEWED, KEPT);
    assert_heard(&net, RENEWED, 0, "for the former key");
    free((void *)key.at);
}

static void what_was_left_for_a_former_key_opens(void **state UNUSED)
{
    opens_what_was_left_before(1);
}

static void what_was_left_for_a_key_some_rotations_ago_opens(void **state UNUSED)
{
    opens_what_was_left_before(REGISTRY_FORMER_MAX);
}

/* Whoever was not there since: what is said meanwhile opens with the reading key it still has. */
static void seals_for_who_has_not_come_since(unsigned rotations)
{
    struct bytes key;

    tell_all_readings();
    next_backend(rotations);
    net_forget_notes(&net);
    store(KEPT, "between");
    assert_true(key_left(0, identity_of(RENEWED), &key));
    key = (struct bytes){exact_copy(key), key.size};
    restart(RENEWED);
    net_stop_node(&net, CLI);
    sessions_take_stored_key(at(RENEWED), bytes_text("cli"), identity_of(CLI), key);
    hand_out(RENEWED, KEPT);
    assert_heard(&net, RENEWED, 0, "between");
    free((void *)key.at);
}

static void what_is_stored_before_the_next_key_has_come_is_sealed_for_it(void **state UNUSED)
{
    seals_for_who_has_not_come_since(1);
}

static void what_is_stored_while_some_keys_did_not_come_is_sealed_for_it(void **state UNUSED)
{
    seals_for_who_has_not_come_since(REGISTRY_FORMER_MAX);
}

/* A name that was given away again is not its former owner. */
static void a_name_that_was_given_away_again_inherits_nothing(void **state UNUSED)
{
    struct bytes key, other;

    tell_all_readings();
    store(KEPT, "for the former key");
    assert_true(key_left(0, identity_of(BACKEND), &key));
    key = (struct bytes){exact_copy(key), key.size};
    net_forget_notes(&net);
    next_backend(0);
    store(KEPT, "not sealed for its reading key");
    for (size_t i = 0; i < count_notes(&net, CLI, SESSION_STORE_KEYS); i++)
        assert_false(key_left(i, identity_of(RENEWED), &other));
    restart(RENEWED);
    sessions_take_stored_key(at(RENEWED), bytes_text("cli"), identity_of(CLI), key);
    net_drain(&net, RENEWED);
    assert_false(can_open(RENEWED));
    free((void *)key.at);
}

#define STORED_TEST(name) cmocka_unit_test_setup_teardown(name, open_net, close_net)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORED_TEST(what_was_left_opens_when_its_publisher_is_gone),
        STORED_TEST(messages_of_any_epoch_open_in_any_order),
        STORED_TEST(nothing_is_stored_before_the_reading_keys_are_known),
        STORED_TEST(keys_are_left_again_with_each_link),
        STORED_TEST(a_generation_begun_without_a_link_is_left_with_the_next),
        STORED_TEST(a_reader_without_a_reading_key_is_named),
        STORED_TEST(a_reading_key_that_comes_later_gets_what_lives),
        STORED_TEST(a_reading_key_that_is_not_its_owners_is_not_used),
        STORED_TEST(what_cannot_be_the_publishers_is_refused),
        STORED_TEST(a_stored_message_is_bound_to_its_topic_and_rule),
        STORED_TEST(a_level_of_maximum_reads_nothing_unsigned),
        STORED_TEST(what_nobody_left_is_asked_for),
        STORED_TEST(what_the_revoked_stored_is_not_read),
        STORED_TEST(what_one_that_left_in_order_stored_is_read),
        STORED_TEST(a_chain_that_was_given_outlives_a_restart),
        STORED_TEST(chains_are_read_whole_or_not_at_all),
        STORED_TEST(chains_that_cannot_be_are_refused),
        STORED_TEST(a_chain_is_kept_no_longer_than_what_it_opens),
        STORED_TEST(an_epoch_before_our_chain_does_not_open),
        STORED_TEST(the_oldest_generation_makes_room),
        STORED_TEST(what_is_no_envelope_cannot_be_opened),
        STORED_TEST(what_was_left_for_a_former_key_opens),
        STORED_TEST(what_was_left_for_a_key_some_rotations_ago_opens),
        STORED_TEST(what_is_stored_before_the_next_key_has_come_is_sealed_for_it),
        STORED_TEST(what_is_stored_while_some_keys_did_not_come_is_sealed_for_it),
        STORED_TEST(a_name_that_was_given_away_again_inherits_nothing),
        cmocka_unit_test(each_of_many_readers_is_left_a_key),
        cmocka_unit_test(stored_messages_open_once_under_loss_and_restarts),
    };

    if (crypto_start() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
