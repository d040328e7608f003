/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What readers of a group get for speed. Envelopes are hashed ahead, several at once: then none is
 * hashed when it is opened (trailer_digest() is counted), and what may not be shown is not shown
 * either.
 */
#include "peers_net.h"

#include "base/pool.h"
#include "envelope/layout.h"

enum { BACKEND, CLI, STUDIO, EVERYBODY };
static const char *const names[] = {"backend", "cli", "studio"};

#define LOGS "logs/app/v1"
#define COUNT HASHES_AT_ONCE
#define TEXT_SIZE 3000

static struct net net;
static struct parcel *held[COUNT]; /* on their way to BACKEND */
static size_t held_count;
static size_t digests;

void __real_trailer_digest(const struct secret *commit, const uint8_t context[HASH_SIZE],
                           struct bytes signed_part, uint8_t ret[HASH_SIZE]);
void __wrap_trailer_digest(const struct secret *commit, const uint8_t context[HASH_SIZE],
                           struct bytes signed_part, uint8_t ret[HASH_SIZE]);
void __wrap_trailer_digest(const struct secret *commit, const uint8_t context[HASH_SIZE],
                           struct bytes signed_part, uint8_t ret[HASH_SIZE])
{
    digests++;
    __real_trailer_digest(commit, context, signed_part, ret);
}

/* Two readers: each has a slot of a vector. */
static void rules(struct registry_draft *draft)
{
    draft_rule(draft, "logs/**", "cli", "backend,studio", SEAL_GROUP, AUTHENTICITY_SENDER);
}

static int open_net(void **state UNUSED)
{
    net_open(&net, names, EVERYBODY, rules);
    digests = held_count = 0;
    return 0;
}

static void drop_held(void)
{
    while (held_count > 0)
        parcel_free(held[--held_count]);
}

static int close_net(void **state UNUSED)
{
    drop_held();
    net_close(&net);
    return 0;
}

static bool hold(struct net *n UNUSED, struct parcel *parcel, void *context UNUSED)
{
    struct parcel *copy;

    if (strcmp(parcel->topic, LOGS) != 0)
        return true;
    assert_true(held_count < COUNT);
    copy = calloc(1, sizeof(*copy));
    memcpy(copy->topic, parcel->topic, sizeof(copy->topic));
    assert_int_equal(buffer_append(&copy->bytes, buffer_view(&parcel->bytes)), 0);
    held[held_count++] = copy;
    return false;
}

/* Two were read, so that keys and the context are there; then COUNT are on their way. */
static void publish_some(void)
{
    char text[TEXT_SIZE + 1] = "";

    net_prepare(&net, CLI, LOGS);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(net_publish(&net, CLI, LOGS, "before"), 0);
        net_run(&net);
    }
    net.pass = hold;
    for (int i = 0; i < COUNT; i++) {
        memset(text, 'a' + i, TEXT_SIZE);
        assert_int_equal(net_publish(&net, CLI, LOGS, text), 0);
    }
    net_run(&net);
    net.pass = NULL;
    net_forget_notes(&net);
    digests = 0;
}

static bool look(size_t i, const char *name, const char *topic, uint8_t delivery)
{
    return sessions_look_ahead(net.nodes[BACKEND].sessions, bytes_text(name),
                               net.nodes[CLI].identity->public, bytes_text(topic), delivery,
                               buffer_view(&held[i]->bytes));
}

static void receive(size_t i)
{
    struct node *node = &net.nodes[BACKEND];

    sessions_receive_group(node->sessions, net_moment(&net, node), bytes_text("cli"),
                           net.nodes[CLI].identity->public, bytes_text(LOGS), DELIVERY_EVENT,
                           buffer_view(&held[i]->bytes), NULL);
    net_drain(&net, BACKEND);
}

static void assert_read(size_t index, char letter)
{
    const struct note *note = note_at(&net, BACKEND, SESSION_MESSAGE, index);

    assert_int_equal(note->size, TEXT_SIZE);
    assert_int_equal(note->text[0], letter);
}

static void what_was_hashed_ahead_is_not_hashed_again(void **state UNUSED)
{
    struct sessions *backend = net.nodes[BACKEND].sessions;

    publish_some();
    for (size_t i = 0; i < COUNT; i++)
        assert_true(look(i, "cli", LOGS, DELIVERY_EVENT));
    assert_false(look(0, "cli", LOGS, DELIVERY_EVENT)); /* no room */
    sessions_hash_ahead(backend);
    for (size_t i = 0; i < COUNT; i++) {
        receive(i);
        assert_read(i, (char)('a' + i));
    }
    assert_int_equal(digests, 0);
    /* Again the same: a repetition is one with it, too, and is not hashed another time. */
    receive(0);
    assert_int_equal(note_at(&net, BACKEND, SESSION_FAILED, 0)->code, AICO_EREPLAY);
    sessions_forget_ahead(backend);
    assert_false(look(0, "cli", LOGS, DELIVERY_EVENT));
}

static void what_was_forgotten_is_hashed_when_it_comes(void **state UNUSED)
{
    struct sessions *backend = net.nodes[BACKEND].sessions;

    publish_some();
    for (size_t i = 0; i < COUNT; i++)
        assert_true(look(i, "cli", LOGS, DELIVERY_EVENT));
    sessions_hash_ahead(backend);
    sessions_forget_ahead(backend);
    receive(0);
    assert_read(0, 'a');
    assert_int_equal(digests, 1);
}

/* Each envelope but the first is changed, in its ciphertext, our slot, or its time: it is refused
 * as if it were alone. */
static void what_was_changed_on_its_way_is_refused(void **state UNUSED)
{
    uint8_t *bytes;
    size_t size;

    publish_some();
    bytes = held[1]->bytes.at;
    bytes[ENVELOPE_HEAD_SIZE + 100] ^= 1;
    size = held[2]->bytes.size;
    bytes = held[2]->bytes.at;
    for (size_t at = 0; at < 2 * ENVELOPE_SLOT_SIZE; at++)
        bytes[size - 2 - at] ^= 0x10; /* both slots; the count is behind them */
    held[3]->bytes.at[27] ^= 1;
    for (size_t i = 0; i < COUNT; i++)
        assert_true(look(i, "cli", LOGS, DELIVERY_EVENT));
    sessions_hash_ahead(net.nodes[BACKEND].sessions);
    for (size_t i = 0; i < COUNT; i++)
        receive(i);
    assert_read(0, 'a');
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 1);
    assert_int_equal(note_at(&net, BACKEND, SESSION_FAILED, 0)->code, AICO_EOPEN);
    assert_int_equal(note_at(&net, BACKEND, SESSION_FAILED, 1)->code, AICO_ESIGNATURE);
    assert_int_equal(note_at(&net, BACKEND, SESSION_FAILED, 2)->code, AICO_EOPEN);
}

/* What the broker claims of an envelope goes into the hash: it is not looked ahead by another claim
 * than the one before, and hashed anew for the claim it comes with. */
static void only_what_has_a_key_here_is_looked_at(void **state UNUSED)
{
    struct sessions *backend = net.nodes[BACKEND].sessions;

    publish_some();
    assert_false(look(0, "nobody", LOGS, DELIVERY_EVENT));
    assert_false(look(0, "studio", LOGS, DELIVERY_EVENT));
    assert_false(look(0, "cli", "logs/other/v1", DELIVERY_EVENT));
    assert_false(look(0, "cli", LOGS, DELIVERY_RETAINED));
    held[1]->bytes.at[8] ^= 1; /* key id */
    assert_false(look(1, "cli", LOGS, DELIVERY_EVENT));
    held[2]->bytes.at[23] ^= 1; /* epoch */
    assert_false(look(2, "cli", LOGS, DELIVERY_EVENT));
    held[3]->bytes.size = 20; /* cut off */
    assert_false(look(3, "cli", LOGS, DELIVERY_EVENT));
    assert_true(look(0, "cli", LOGS, DELIVERY_EVENT));
    sessions_forget_ahead(backend);
    receive(0);
    assert_int_equal(digests, 1);
}

/* @count messages of @size bytes in one envelope of its own memory. */
static struct bytes seal_batch(size_t count, size_t size, bool later)
{
    struct node *from = &net.nodes[CLI];
    struct content_item *items = calloc(count, sizeof(*items));
    size_t room_size = sessions_batch_size(count, count * size);
    uint8_t *text = calloc(1, size), *room = malloc(room_size);
    struct writer w = writer_over(room, room_size);

    assert_non_null(items);
    for (size_t i = 0; i < count; i++)
        items[i].payload = bytes_of(text, size);
    assert_int_equal(sessions_seal_batch(from->sessions, net_moment(&net, from), bytes_text(LOGS),
                                         DELIVERY_EVENT, items, count, later, &w),
                     0);
    free(text);
    free(items);
    return writer_view(&w);
}

static void receive_bytes(struct bytes bytes)
{
    struct node *node = &net.nodes[BACKEND];

    sessions_receive_group(node->sessions, net_moment(&net, node), bytes_text("cli"),
                           net.nodes[CLI].identity->public, bytes_text(LOGS), DELIVERY_EVENT, bytes,
                           NULL);
}

/* An envelope of @count messages, which BACKEND opens; the first event of it. */
static struct session_event open_batch(size_t count, size_t size)
{
    struct node *node = &net.nodes[BACKEND];
    struct bytes bytes = seal_batch(count, size, false);
    struct session_event event;

    net_drain(&net, CLI);
    receive_bytes(bytes);
    free((void *)(uintptr_t)bytes.at);
    assert_true(sessions_next(node->sessions, &event));
    assert_int_equal(event.type, SESSION_MESSAGE);
    assert_int_equal(event.batch_count, count);
    return event;
}

/* A batch is handed over as it lies there, but no block that once was there for a larger message:
 * it counts for what is in it. */
static void a_batch_is_handed_over_in_a_block_of_its_size(void **state UNUSED)
{
    static const size_t sizes[] = {16 * 1024, 300 * 1024, 1024, 16 * 1024};
    struct sessions *backend = net.nodes[BACKEND].sessions;

    net_prepare(&net, CLI, LOGS);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct session_event event = open_batch(16, sizes[i] / 16), other;
        const uint8_t *block = sessions_take_batch(backend);

        assert_int_equal(block != NULL, sizes[i] == 16 * 1024);
        if (block)
            assert_true(event.batch.at >= block &&
                        event.batch.at + event.batch.size < block + sizes[i] + 1024);
        pool_give((void *)(uintptr_t)block);
        assert_false(sessions_next(backend, &other)); /* none of its messages follows */
    }
}

static void check_proven_later(const size_t *sizes, size_t count, size_t expected)
{
    struct node *cli = &net.nodes[CLI];
    struct bytes sealed[COUNT + 2];

    digests = 0;
    for (size_t i = 0; i < count; i++) {
        if (i == 1) /* between the two the epoch is over */
            net.now_ms += cli->settings.group_epoch_ms + 1;
        sealed[i] = seal_batch(10, sizes[i] / 10, true);
    }
    sessions_prove(cli->sessions, net_moment(&net, cli), bytes_text(LOGS));
    assert_int_equal(digests, hash_many_is_fast() ? expected : count);
    net_forget_notes(&net);
    for (size_t i = 0; i < count; i++) {
        receive_bytes(sealed[i]);
        net_drain(&net, BACKEND);
        free((void *)(uintptr_t)sealed[i].at);
    }
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 10 * count);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_FAILED), 0);
}

/* Each has its proof afterwards, whoever hashed it: at once; one by one, since one is much longer;
 * when it was sealed, since more are not taken at once. */
static void what_is_proven_later_opens(void **state UNUSED)
{
    static const size_t alike[] = {4000, 4100, 3900, 4000}, unlike[] = {9000, 100, 200},
                        many[] = {4000, 4100, 3900, 4000, 4000, 100};

    publish_some();
    drop_held();
    check_proven_later(alike, COUNT_OF(alike), 0);
    check_proven_later(unlike, COUNT_OF(unlike), COUNT_OF(unlike));
    check_proven_later(many, COUNT_OF(many), 2);
}

/* Nobody takes it for the publisher's. */
static void what_was_not_proven_is_refused(void **state UNUSED)
{
    struct bytes bytes;

    publish_some();
    drop_held();
    bytes = seal_batch(10, 100, true);
    receive_bytes(bytes);
    net_drain(&net, BACKEND);
    assert_int_equal(note_at(&net, BACKEND, SESSION_FAILED, 0)->code, AICO_ESIGNATURE);
    free((void *)(uintptr_t)bytes.at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_hashed_ahead_is_not_hashed_again, open_net,
                                        close_net),
        cmocka_unit_test_setup_teardown(what_was_forgotten_is_hashed_when_it_comes, open_net,
                                        close_net),
        cmocka_unit_test_setup_teardown(what_was_changed_on_its_way_is_refused, open_net,
                                        close_net),
        cmocka_unit_test_setup_teardown(only_what_has_a_key_here_is_looked_at, open_net, close_net),
        cmocka_unit_test_setup_teardown(what_is_proven_later_opens, open_net, close_net),
        cmocka_unit_test_setup_teardown(what_was_not_proven_is_refused, open_net, close_net),
        cmocka_unit_test_setup_teardown(a_batch_is_handed_over_in_a_block_of_its_size, open_net,
                                        close_net),
    };

    if (crypto_start() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
