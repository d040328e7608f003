/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PROTOCOL 14 rows 47 and 72 at once: while messages are always under way, on a channel both ways
 * and in a group, everything is rekeyed again and again, by age, by count and by bytes. Nothing is
 * lost, doubled, out of order or refused for want of a key; and whatever was replaced longer ago
 * than handshake_timeout is in no memory of the process, which is that of all of them.
 */
#include "memory_scan.h"
#include "peers_net.h"

#include "session/peers_internal.h"

enum { BACKEND, CLI, STUDIO, EVERYBODY };
static const char *const names[] = {"backend", "cli", "studio"};

/* A step is a message to two readers and one to and fro: four are received. */
#define STEP_MESSAGES 4
#define STEPS 2500 /* of a round */
#define STEPS_MS 2 /* a millisecond */
#define UNDER_WAY 300
#define ROUNDS 10
#define ROUNDS_SMALL 3
#define AGE_MS 2000
#define TIMEOUT_MS 500
#define EPOCH_MS 200
#define TALK "talk/v1"
#define RARE_STEPS 700
#define LIMIT_STEPS 300
#define LEFT 40 /* envelopes to a limit */

static const char *const topics[] = {"logs/a", "logs/b", "logs/rare", TALK};
enum { A, B, RARE, TALKED, TOPICS };

static struct net net;
static struct ring ring;
static size_t heard[EVERYBODY][TOPICS], said[TOPICS];
static size_t steps;
static uint64_t generation;
static size_t generations, limits;
static uint32_t epochs;

static void rules(struct registry_draft *draft)
{
    draft_rule(draft, "logs/**", "cli", "backend,studio", SEAL_GROUP, AUTHENTICITY_SENDER);
    draft_rule(draft, "talk/**", "*", "*", SEAL_CHANNEL, AUTHENTICITY_SENDER);
}

static struct sessions *at(int node)
{
    return net.nodes[node].sessions;
}

static struct line *line_to(int node, int other)
{
    struct peer *peer = peer_find(at(node), bytes_text(names[other]), false);

    return peer ? line_best(peer) : NULL;
}

/* --- what is in use --------------------------------------------------------------------------- */

static void see(const char *what, const struct secret *secret)
{
    ring_see(&ring, what, secret, net.now_ms);
}

static void see_channel(const struct channel *channel)
{
    see("a channel's sending chain", &channel->send.chain.key);
    see("a channel's sending subkey", &channel->send.key.subkey);
    see("a channel's receiving chain", &channel->receive.chain.key);
    if (channel->receive.has_key)
        see("a channel's receiving subkey", &channel->receive.key.subkey);
    epochs = MAX(epochs, channel->send.chain.epoch);
}

static void see_reader(const struct group_reader *reader)
{
    see("a reader's chain", &reader->secret->chain.key);
    see("a reader's own key", &reader->secret->reader_key);
    for (const struct reader_topic *topic = reader->topics; topic; topic = topic->hh.next) {
        if (!topic->has_key || topic->epoch != reader->secret->chain.epoch)
            continue;
        see("a reader's subkey of a topic", &topic->secret->key.subkey);
        see("a reader's commitment to a topic", &topic->secret->commit);
    }
}

static void see_group(const struct group *group)
{
    see("a group's chain", &group->secret->chain.key);
    see("a group's vector", &group->secret->vector);
    for (size_t i = 0; i < group->vector_count; i++)
        see("a group's key of a reader", &group->secret->reader_keys[i]);
    for (const struct group_topic *topic = group->topics; topic; topic = topic->hh.next) {
        if (!topic->has_key)
            continue;
        see("a group's subkey of a topic", &topic->secret->key.subkey);
        see("a group's commitment to a topic", &topic->secret->commit);
    }
    generations += group->generation != generation;
    generation = group->generation;
    epochs = MAX(epochs, group->secret->chain.epoch);
}

/* What nothing has taken the place of yet. */
static void see_all(void)
{
    for (int node = 0; node < EVERYBODY; node++) {
        for (const struct peer *peer = at(node)->peers; peer; peer = peer->hh.next) {
            const struct line *line;

            DL_FOREACH(peer->lines, line)
            if (line->until_ms == 0)
                see_channel(line->channel);
            for (const struct group_reader *r = peer->readers; r; r = r->hh.next)
                if (r->until_ms == 0)
                    see_reader(r);
        }
        for (const struct publication *p = at(node)->publications; p; p = p->hh.next)
            see_group(p->group);
    }
}

/* Returns how many must have been gone, and were. */
static size_t assert_only_what_may_be_is_there(void)
{
    size_t gone = 0;

    ring_count(&ring);
    for (size_t i = 1; i <= ring.count; i++) {
        const struct ring_key *key = &ring.keys[i];
        int64_t age = net.now_ms - key->seen_ms;

        if (age == 0 && key->copies == 0)
            fail_msg("%s is in use and not found", key->what);
        if (age > TIMEOUT_MS && key->copies > 0)
            fail_msg("%s, replaced %lld ms ago: %zu copies", key->what, (long long)age,
                     key->copies);
        gone += age > TIMEOUT_MS;
    }
    return gone;
}

/* --- load ------------------------------------------------------------------------------------- */

static void publish(int topic)
{
    char text[20];

    (void)snprintf(text, sizeof(text), "%zu", said[topic]++);
    assert_int_equal(net_publish(&net, CLI, topics[topic], text), 0);
}

static void talk(void)
{
    char text[20];

    (void)snprintf(text, sizeof(text), "%zu", said[TALKED]++);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_EVENT, NULL, text, NULL), 0);
    assert_int_equal(net_say(&net, BACKEND, CLI, TALK, DELIVERY_EVENT, NULL, text, NULL), 0);
}

static void check_note(int node, const struct note *note)
{
    int topic = 0;

    if (note->type == SESSION_READY || note->type == SESSION_GROUP_READY ||
        note->type == SESSION_PONG)
        return;
    if (note->type != SESSION_MESSAGE)
        fail_msg("%s is told of %d on '%s': %d (%s), %llu to %llu", names[node], (int)note->type,
                 note->topic, note->code, note->text, (unsigned long long)note->first,
                 (unsigned long long)note->last);
    while (strcmp(topics[topic], note->topic) != 0)
        assert_true(++topic < TOPICS);
    assert_int_equal(strtoul(note->text, NULL, 10), heard[node][topic]++);
}

static void check_notes(void)
{
    for (int node = 0; node < EVERYBODY; node++) {
        const struct note *note;

        LL_FOREACH(net.nodes[node].notes, note)
        check_note(node, note);
    }
    net_forget_notes(&net);
}

static void deliver(size_t left)
{
    const struct parcel *parcel;
    size_t count;

    LL_COUNT(net.parcels, parcel, count);
    for (; count > left && net_step(&net); count--)
        continue;
    check_notes();
}

/* The channel from @from to @to has sealed nearly as much as one may: nothing is under way. */
static void count_up(int from, int to)
{
    struct channel *sender = line_to(from, to)->channel, *receiver = line_to(to, from)->channel;

    assert_memory_equal(sender->id, receiver->id, CHANNEL_ID_SIZE);
    sender->send.next = receiver->receive.replay.next = receiver->receive.replay.low =
        CHANNEL_REKEY_ENVELOPES - LEFT;
}

/* Brings something near one of its limits; its age does the rest. */
static void use_up(size_t which)
{
    struct line *line;

    switch (which % 5) {
    case 0:
        if ((line = line_to(CLI, BACKEND)))
            line->channel->send.bytes = CHANNEL_REKEY_BYTES - (uint64_t)LEFT * 100;
        break;
    case 1:
        at(CLI)->publications->group->top = GROUP_REKEY_SEQUENCE;
        break;
    case 2:
        net_run(&net);
        check_notes();
        count_up(which & 1 ? CLI : BACKEND, which & 1 ? BACKEND : CLI);
        break;
    case 3: /* both at once: the new generation has to wait for the new channels */
        if ((line = line_to(CLI, STUDIO)))
            line->channel->send.bytes = CHANNEL_REKEY_BYTES;
        at(CLI)->publications->group->top = GROUP_REKEY_SEQUENCE;
        break;
    case 4:
        at(CLI)->publications->group->secret->chain.sealed = CHAIN_ENVELOPES_MAX - LEFT;
        break;
    }
    limits++;
}

static void pass_a_millisecond(void)
{
    net.now_ms++;
    net_tick(&net);
    net_drain_all(&net);
    see_all();
}

static void *load(void *unused)
{
    for (size_t until = steps + STEPS; steps < until; steps++) {
        publish(steps % RARE_STEPS == 0 ? RARE : steps % 2 ? B : A);
        talk();
        deliver(UNDER_WAY);
        if (steps % LIMIT_STEPS == LIMIT_STEPS - 1 && steps / STEPS % 4 < 2)
            use_up(limits);
        if (steps % STEPS_MS == 0)
            pass_a_millisecond();
    }
    pass_a_millisecond();
    return unused;
}

static void *settle(void *unused)
{
    for (int i = 0; i < 3 * TIMEOUT_MS; i++) {
        net_advance(&net, 1);
        see_all();
    }
    check_notes();
    return unused;
}

static void *leave(void *unused)
{
    for (int node = 0; node < EVERYBODY; node++)
        sessions_close(at(node), net_moment(&net, &net.nodes[node]));
    net_run(&net);
    for (int node = 0; node < EVERYBODY; node++)
        net_stop_node(&net, node);
    net.now_ms += TIMEOUT_MS + 1;
    return unused;
}

static void open_with(int64_t age_ms, int64_t epoch_ms, bool strict)
{
    net_open(&net, names, EVERYBODY, rules);
    for (int i = 0; i < EVERYBODY; i++) {
        net_stop_node(&net, i);
        net.nodes[i].settings.key_rotation_interval_ms = age_ms;
        net.nodes[i].settings.handshake_timeout_ms = TIMEOUT_MS;
        net.nodes[i].settings.group_epoch_ms = epoch_ms;
        net.nodes[i].settings.strict_ordering = strict;
        net_start_node(&net, i);
    }
}

static void *begin(void *strict)
{
    open_with(AGE_MS, EPOCH_MS, *(const bool *)strict);
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    net_prepare(&net, CLI, topics[A]);
    return NULL;
}

static void assert_all_was_heard(void)
{
    for (int topic = A; topic <= RARE; topic++) {
        assert_int_equal(heard[BACKEND][topic], said[topic]);
        assert_int_equal(heard[STUDIO][topic], said[topic]);
    }
    assert_int_equal(heard[BACKEND][TALKED], said[TALKED]);
    assert_int_equal(heard[CLI][TALKED], said[TALKED]);
}

static void assert_nobody_was_refused_or_had_to_ask(void)
{
    for (int node = 0; node < EVERYBODY; node++) {
        struct sessions_stats stats;

        sessions_get_stats(at(node), &stats);
        assert_int_equal(stats.failed, 0);
        assert_int_equal(stats.key_denied, 0);
        assert_int_equal(stats.key_asked, 0); /* nothing waited for a key */
    }
}

static void forget(void)
{
    ring_clear(&ring);
    memset(said, 0, sizeof(said));
    memset(heard, 0, sizeof(heard));
    steps = generations = limits = 0;
    epochs = 0;
}

static void load_and_look(bool strict)
{
    int rounds = is_small() ? ROUNDS_SMALL : ROUNDS;
    struct sessions_stats stats;
    size_t gone = 0;

    forget();
    apart(begin, &strict);
    for (int i = 0; i < rounds; i++) {
        apart(load, NULL);
        gone = assert_only_what_may_be_is_there();
    }
    sessions_get_stats(at(CLI), &stats);
    assert_true(gone > 0);
    apart(settle, NULL);
    assert_all_was_heard();
    assert_nobody_was_refused_or_had_to_ask();
    assert_true(assert_only_what_may_be_is_there() > gone);
    apart(leave, NULL);
    assert_int_equal(assert_only_what_may_be_is_there(), ring.count);
    print_message("%zu messages: %llu handshakes, %zu generations, %zu limits, %zu keys\n",
                  STEP_MESSAGES * steps, (unsigned long long)stats.handshakes, generations, limits,
                  ring.count);
    assert_true(stats.handshakes > 2 * (uint64_t)rounds);
    assert_true(generations > 2 * (size_t)rounds);
    assert_true(epochs > 1);
    net_close(&net);
}

static void rekeys_under_load_lose_nothing_and_leave_nothing(void **state UNUSED)
{
    load_and_look(true);
}

/* Without an order that is enforced, keys that were left are kept for what is late. */
static void rekeys_of_windows_lose_nothing_and_leave_nothing(void **state UNUSED)
{
    load_and_look(false);
}

/* --- at a limit ------------------------------------------------------------------------------- */

static int open_net(void **state UNUSED)
{
    forget();
    open_with(24 * 3600 * 1000, 60 * 1000, true);
    return 0;
}

static int close_net(void **state UNUSED)
{
    net_close(&net);
    return 0;
}

static void meet(void)
{
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    net_prepare(&net, CLI, topics[A]);
}

/* Not when the next timer is due, which may be a minute later. */
static void a_channel_at_a_limit_is_replaced_at_once(void **state UNUSED)
{
    uint8_t former[CHANNEL_ID_SIZE];

    meet();
    for (int i = 0; i < 2; i++) {
        struct channel *channel = line_to(CLI, BACKEND)->channel;

        memcpy(former, channel->id, sizeof(former));
        if (i == 0)
            channel->send.bytes = CHANNEL_REKEY_BYTES;
        else
            count_up(CLI, BACKEND);
        for (int n = 0; n < LEFT; n++)
            talk();
        net_advance(&net, 0);
        assert_memory_not_equal(line_to(CLI, BACKEND)->channel->id, former, sizeof(former));
        assert_memory_not_equal(line_to(BACKEND, CLI)->channel->id, former, sizeof(former));
    }
}

static void a_generation_at_its_limit_is_replaced_at_once(void **state UNUSED)
{
    uint64_t former;

    meet();
    former = net.nodes[CLI].generation;
    at(CLI)->publications->group->top = GROUP_REKEY_SEQUENCE;
    publish(A);
    net_advance(&net, 0);
    assert_true(net.nodes[CLI].generation > former);
}

static bool no_handshake(struct net *n UNUSED, struct parcel *parcel, void *context UNUSED)
{
    return parcel->bytes.size != HELLO1_SIZE;
}

/* Who has the keys of the channel must not get those of the generation after it, by whatever way:
 * not by being asked either. */
static void no_key_goes_over_a_channel_that_is_used_up(void **state UNUSED)
{
    meet();
    line_to(CLI, BACKEND)->channel->send.bytes = CHANNEL_REKEY_BYTES;
    at(CLI)->publications->group->top = GROUP_REKEY_SEQUENCE;
    net.pass = no_handshake;
    publish(A); /* the last of its generation */
    net_advance(&net, 2 * TIMEOUT_MS);
    publish(A);
    net_advance(&net, TIMEOUT_MS / 10);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), said[A] - 1);
    assert_int_equal(count_notes(&net, STUDIO, SESSION_MESSAGE), said[A]);
    net.pass = NULL;
    net_advance(&net, TIMEOUT_MS / 2);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), said[A]);
}

/* An epoch ends while the reader that is to have its key is still being met. */
static void what_was_sealed_before_a_step_is_opened(void **state UNUSED)
{
    publish(A);
    assert_true(net_step(&net)); /* it waits at the readers, who dial */
    at(CLI)->publications->group->secret->chain.sealed = CHAIN_ENVELOPES_MAX;
    publish(A);
    assert_int_equal(at(CLI)->publications->group->secret->chain.epoch, 1);
    net_run(&net);
    check_notes();
    assert_all_was_heard();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rekeys_under_load_lose_nothing_and_leave_nothing),
        cmocka_unit_test(rekeys_of_windows_lose_nothing_and_leave_nothing),
        cmocka_unit_test_setup_teardown(a_channel_at_a_limit_is_replaced_at_once, open_net,
                                        close_net),
        cmocka_unit_test_setup_teardown(a_generation_at_its_limit_is_replaced_at_once, open_net,
                                        close_net),
        cmocka_unit_test_setup_teardown(no_key_goes_over_a_channel_that_is_used_up, open_net,
                                        close_net),
        cmocka_unit_test_setup_teardown(what_was_sealed_before_a_step_is_opened, open_net,
                                        close_net),
    };

    assert_int_equal(crypto_start(), 0);
    return cmocka_run_group_tests_name("session/rekey", tests, NULL, NULL);
}
