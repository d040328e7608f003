/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several session managers and a broker that is not perfect: the rows of PROTOCOL 14 that concern
 * more than one handshake, channel or group (docs/threats.md). The seed of a random run is printed
 * when it fails; AICO_TEST_SEED repeats it.
 */
#include "peers_net.h"

#include "envelope/content.h"
#include "session/peers_internal.h"

enum { BACKEND, CLI, FRONTEND, STUDIO, EVERYBODY };
static const char *const names[] = {"backend", "cli", "frontend", "studio"};

#define LOGS "logs/app/v1"
#define TALK "talk/v1"
#define FRESH "fresh/v1"
#define SHARED "shared/v1"

static struct net net;

static void rules(struct registry_draft *draft)
{
    draft_rule(draft, "logs/**", "cli", "backend,frontend,studio", SEAL_GROUP, AUTHENTICITY_SENDER);
    draft_rule(draft, "shared/**", "cli,studio", "backend,frontend", SEAL_GROUP,
               AUTHENTICITY_GROUP);
    draft_rule(draft, "one/**", "cli", "backend", SEAL_GROUP, AUTHENTICITY_SENDER);
    draft_rule(draft, "talk/**", "*", "*", SEAL_CHANNEL, AUTHENTICITY_SENDER);
    assert_int_equal(
        registry_draft_set_rule(draft,
                                &(struct rule_line){.filter = bytes_text("fresh/**"),
                                                    .publish = "*",
                                                    .subscribe = "*",
                                                    .seal = SEAL_GROUP,
                                                    .authenticity = AUTHENTICITY_SENDER,
                                                    .freshness_s = 5},
                                NULL),
        0);
}

static int open_net(void **state UNUSED)
{
    net_open(&net, names, EVERYBODY, rules);
    return 0;
}

static int close_net(void **state UNUSED)
{
    net_close(&net);
    return 0;
}

static struct registry *changed(void (*change)(struct registry_draft *))
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(net.registry, bytes_text(NAMESPACE));

    change(draft);
    return registry_make(draft);
}

static struct moment now_at(int node)
{
    return net_moment(&net, &net.nodes[node]);
}

static struct sessions *at(int node)
{
    return net.nodes[node].sessions;
}

static struct peer *peer_at(int node, int other)
{
    struct peer *peer = peer_find(at(node), bytes_text(names[other]), false);

    assert_non_null(peer);
    return peer;
}

static size_t line_count(int node, int other)
{
    const struct line *line;
    size_t count = 0;

    DL_FOREACH(peer_at(node, other)->lines, line)
    count++;
    return count;
}

static void connect_both(int from, int to)
{
    assert_int_equal(net_dial(&net, from, to), 0);
    net_run(&net);
    assert_true(sessions_has_channel(at(from), now_at(from), bytes_text(names[to])));
}

static void say(int from, int to, const char *text)
{
    assert_int_equal(net_say(&net, from, to, TALK, DELIVERY_EVENT, NULL, text, NULL), 0);
}

/* A control message of @from to @to, whatever it says, over their channel. */
static void send_control(int from, int to, struct bytes content)
{
    assert_int_equal(control_send(at(from), now_at(from), peer_at(from, to), content), 0);
    net_drain(&net, from);
}

/* --- what a broker can keep and give again ---------------------------------------------------- */

/* Copies of every parcel that passed. */
static struct {
    struct parcel *first;
    size_t count;
} kept;

static bool keep_copy(struct net *n UNUSED, struct parcel *parcel, void *context UNUSED)
{
    struct parcel *copy = calloc(1, sizeof(*copy));

    *copy = *parcel;
    copy->next = NULL;
    copy->bytes = (struct buffer){0};
    assert_int_equal(buffer_append(&copy->bytes, buffer_view(&parcel->bytes)), 0);
    LL_APPEND(kept.first, copy);
    kept.count++;
    return true;
}

static void forget_kept(void)
{
    struct parcel *parcel;

    while ((parcel = kept.first) != NULL) {
        LL_DELETE(kept.first, parcel);
        parcel_free(parcel);
    }
    kept.count = 0;
}

static struct bytes kept_of_size(size_t size)
{
    const struct parcel *parcel;

    LL_FOREACH(kept.first, parcel)
    if (parcel->bytes.size == size)
        return buffer_view(&parcel->bytes);
    fail_msg("nothing of %zu bytes was sent", size);
    return bytes_of(NULL, 0);
}

/* Row 11. */
static void hello1_replay_keeps_channel(void **state UNUSED)
{
    struct sessions_stats before, after;
    char text[20];
    struct bytes hello1;

    net.pass = keep_copy;
    connect_both(CLI, BACKEND);
    net.pass = NULL;
    hello1 = kept_of_size(HELLO1_SIZE);
    sessions_get_stats(at(BACKEND), &before);
    for (int i = 0; i < 100; i++) {
        (void)snprintf(text, sizeof(text), "%d", i);
        say(CLI, BACKEND, text);
        net_post(&net, CLI, BACKEND, DELIVERY_CONTROL, bytes_text(SESSION_TOPIC_CONTROL), NULL,
                 hello1);
        net_run(&net);
        say(BACKEND, CLI, text);
    }
    net_advance(&net, 120000);
    for (int i = 0; i < 100; i++) {
        (void)snprintf(text, sizeof(text), "%d", i);
        assert_heard(&net, BACKEND, (size_t)i, text);
        assert_heard(&net, CLI, (size_t)i, text);
    }
    assert_int_equal(count_notes(&net, BACKEND, SESSION_GAP), 0);
    assert_int_equal(count_notes(&net, CLI, SESSION_GAP), 0);
    sessions_get_stats(at(BACKEND), &after);
    assert_int_equal(after.handshakes, before.handshakes);
    assert_int_equal(after.verified_hellos, before.verified_hellos);
    forget_kept();
}

/* All that was ever sent, once more: nothing happens twice, and the channel goes on. */
static void everything_again_does_nothing_twice(void **state UNUSED)
{
    struct parcel *parcel;
    size_t heard;

    net.pass = keep_copy;
    connect_both(CLI, BACKEND);
    net_prepare(&net, CLI, LOGS);
    for (int i = 0; i < 5; i++) {
        say(CLI, BACKEND, "direct");
        assert_int_equal(net_publish(&net, CLI, LOGS, "published"), 0);
    }
    net_advance(&net, 61000);
    net.pass = NULL;
    heard = count_notes(&net, BACKEND, SESSION_MESSAGE);
    assert_int_equal(heard, 10);
    LL_FOREACH(kept.first, parcel)
    net_post(&net, parcel->from, parcel->to, parcel->delivery, bytes_text(parcel->topic), NULL,
             buffer_view(&parcel->bytes));
    net_run(&net);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), heard);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_GAP), 0);
    say(CLI, BACKEND, "and on");
    net_run(&net);
    assert_heard(&net, BACKEND, heard, "and on");
    forget_kept();
}

/* --- hints ------------------------------------------------------------------------------------ */

/* In place of every Hello2 comes a Refuse that names it and every code there is. */
static bool refuse_first(struct net *n, struct parcel *parcel, void *context)
{
    int *left = context;
    uint8_t refuse[REFUSE_SIZE], about[HASH_SIZE];

    if (parcel->bytes.size != HELLO1_SIZE || *left == 0)
        return true;
    --*left;
    hash_n(buffer_view(&parcel->bytes), about, sizeof(about));
    for (int code = 0; code < 130; code++) {
        refuse_write(-code, moment_at(START_MS), about, refuse);
        net_post(n, parcel->to, parcel->from, DELIVERY_CONTROL, bytes_text(SESSION_TOPIC_CONTROL),
                 NULL, bytes_of(refuse, sizeof(refuse)));
    }
    return true;
}

/* Row 15. */
static void forged_refuse(void **state UNUSED)
{
    int left = 1;

    net.pass = refuse_first;
    net.pass_context = &left;
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_run(&net);
    assert_int_equal(left, 0);
    assert_int_equal(count_notes(&net, CLI, SESSION_LOST), 0);
    assert_int_equal(count_notes(&net, CLI, SESSION_READY), 1);
    say(CLI, BACKEND, "as if nothing had been");
    net_run(&net);
    assert_heard(&net, BACKEND, 0, "as if nothing had been");
}

/* Without allow_key_reuse, as by default: whatever bits Resume1 and Resume2 have, nothing is
 * answered, derived or lost. With it: test_peers_resume.c. */
static void a_resume_is_not_taken(void **state UNUSED)
{
    enum { SIZE = 80 };
    struct sessions_stats before, after;
    struct channel *channel;

    connect_both(CLI, BACKEND);
    net_run(&net);
    net_forget_notes(&net);
    sessions_get_stats(net.nodes[BACKEND].sessions, &before);
    channel = line_best(peer_at(BACKEND, CLI))->channel;
    for (uint8_t type = 7; type <= 8; type++)
        for (size_t bit = 0; bit <= SIZE * 8; bit++) { /* the last one changes nothing */
            uint8_t resume[SIZE + 1] = {1, type};

            memcpy(resume + 4, channel->id, CHANNEL_ID_SIZE);
            resume[bit / 8] ^= (uint8_t)(1 << bit % 8);
            net_post(&net, CLI, BACKEND, DELIVERY_CONTROL, bytes_text(SESSION_TOPIC_CONTROL), NULL,
                     bytes_of(resume, SIZE));
            net.handed = 0;
            net_run(&net);
            assert_int_equal(net.handed, 1); /* nothing but itself */
        }
    sessions_get_stats(net.nodes[BACKEND].sessions, &after);
    assert_int_equal(after.handshakes, before.handshakes);
    assert_ptr_equal(line_best(peer_at(BACKEND, CLI))->channel, channel);
    say(CLI, BACKEND, "as if nothing had been");
    net_run(&net);
    assert_heard(&net, BACKEND, 0, "as if nothing had been");
}

static void a_forged_channel_unknown_costs_a_handshake_and_loses_nothing(void **state UNUSED)
{
    uint8_t refuse[REFUSE_SIZE], about[HASH_SIZE] = {0};
    struct sessions_stats stats;

    connect_both(CLI, BACKEND);
    say(CLI, BACKEND, "before");
    net_run(&net);
    for (int i = 0; i < 50; i++) {
        struct line *line = line_best(peer_at(CLI, BACKEND));

        if (line)
            memcpy(about, line->channel->id, CHANNEL_ID_SIZE);
        refuse_write(AICO_ECHANNELUNKNOWN, moment_at(START_MS), about, refuse);
        net_post(&net, BACKEND, CLI, DELIVERY_CONTROL, bytes_text(SESSION_TOPIC_CONTROL), NULL,
                 bytes_of(refuse, sizeof(refuse)));
        say(BACKEND, CLI, "still");
        net_advance(&net, 50);
    }
    net_advance(&net, 5000);
    say(CLI, BACKEND, "after");
    net_run(&net);
    assert_heard(&net, BACKEND, 0, "before");
    assert_heard(&net, BACKEND, 1, "after");
    assert_int_equal(count_notes(&net, CLI, SESSION_MESSAGE), 50);
    assert_int_equal(count_notes(&net, CLI, SESSION_GAP), 0);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_GAP), 0);
    sessions_get_stats(at(CLI), &stats);
    assert_true(stats.handshakes <= 5); /* at most one a second */
}

/* --- a broker without any manners (row 22) ---------------------------------------------------- */

#define LATENCY_MS 80
#define CALM_MS 10000 /* within which they must have found each other */

struct flight {
    struct flight *next;
    int64_t due_ms;
    struct parcel *parcel;
};

struct storm {
    struct dice dice;
    struct flight *flights;
    int64_t until_ms;     /* the disturbance */
    int64_t latest_ms[2]; /* per receiver, once the way keeps order */
    int sent[2], heard[2];
    bool counting;
};

static bool is_stormy(const struct storm *storm)
{
    return net.now_ms < storm->until_ms;
}

static void fly(struct storm *storm, struct parcel *parcel)
{
    struct flight *flight = calloc(1, sizeof(*flight)), *before;
    int64_t due = net.now_ms + 1 + (int64_t)dice_below(&storm->dice, LATENCY_MS);

    if (!is_stormy(storm)) {
        due = MAX(due, storm->latest_ms[parcel->to]);
        storm->latest_ms[parcel->to] = due;
    }
    *flight = (struct flight){.due_ms = due, .parcel = parcel};
    if (!storm->flights || storm->flights->due_ms > due) {
        LL_PREPEND(storm->flights, flight);
        return;
    }
    for (before = storm->flights; before->next && before->next->due_ms <= due;)
        before = before->next;
    flight->next = before->next;
    before->next = flight;
}

static struct parcel *parcel_copy(const struct parcel *parcel)
{
    struct parcel *copy = calloc(1, sizeof(*copy));

    *copy = *parcel;
    copy->next = NULL;
    copy->bytes = (struct buffer){0};
    assert_int_equal(buffer_append(&copy->bytes, buffer_view(&parcel->bytes)), 0);
    return copy;
}

/* What was posted takes off, is lost, or comes twice. */
static void take_off(struct storm *storm)
{
    struct parcel *parcel;

    while ((parcel = net.parcels) != NULL) {
        LL_DELETE(net.parcels, parcel);
        if (is_stormy(storm) && dice_below(&storm->dice, 100) < 30) {
            parcel_free(parcel);
            continue;
        }
        if (is_stormy(storm) && dice_below(&storm->dice, 100) < 15)
            fly(storm, parcel_copy(parcel));
        fly(storm, parcel);
    }
}

static void land(struct storm *storm)
{
    struct flight *flight = storm->flights;

    LL_DELETE(storm->flights, flight);
    net_hand(&net, flight->parcel, flight->parcel->to);
    parcel_free(flight->parcel);
    free(flight);
}

/* The application of a node: it wants a channel, and talks. */
static void live(struct storm *storm, int node)
{
    char text[20];
    struct note *note, *next;

    if (!sessions_has_channel(at(node), now_at(node), bytes_text(names[!node])))
        (void)!net_dial(&net, node, !node);
    (void)snprintf(text, sizeof(text), "%d", storm->counting ? storm->sent[node] : -1);
    if (net_say(&net, node, !node, TALK, DELIVERY_EVENT, NULL, text, NULL) == 0)
        storm->sent[node] += storm->counting;
    LL_FOREACH_SAFE(net.nodes[node].notes, note, next)
    {
        if (note->type == SESSION_MESSAGE && strcmp(note->text, "-1") != 0) {
            assert_int_equal(atoi(note->text), storm->heard[node]);
            storm->heard[node]++;
        }
        buffer_deinit(&note->bytes);
        free(note);
    }
    net.nodes[node].notes = NULL;
    net_drain(&net, node);
}

static void disturb(struct storm *storm)
{
    int node = (int)dice_below(&storm->dice, 2);

    switch (dice_below(&storm->dice, 12)) {
    case 0:
        net_stop_node(&net, node);
        net_start_node(&net, node);
        break;
    case 1:
        sessions_link_lost(at(node), now_at(node));
        sessions_link_up(at(node), now_at(node));
        break;
    case 2:
        sessions_peer_renewed(at(node), now_at(node), bytes_text(names[!node]));
        break;
    default:
        break;
    }
}

/* Lets time run for @ms; every 250 ms somebody lives. */
static void blow(struct storm *storm, int64_t ms)
{
    int64_t until = net.now_ms + ms, live_at = net.now_ms;

    while (net.now_ms < until) {
        int64_t next = MIN(until, live_at);

        if (storm->flights)
            next = MIN(next, storm->flights->due_ms);
        for (int i = 0; i < 2; i++) {
            int64_t deadline = sessions_deadline(at(i));

            if (deadline != MOMENT_NEVER)
                next = MIN(next, deadline - moment_at(START_MS).boot_ms);
        }
        net.now_ms = MAX(next, net.now_ms);
        if (net.now_ms >= live_at) {
            if (is_stormy(storm))
                disturb(storm);
            live(storm, 0);
            live(storm, 1);
            live_at += 250;
        }
        while (storm->flights && storm->flights->due_ms <= net.now_ms)
            land(storm);
        for (int i = 0; i < 2; i++) {
            sessions_tick(at(i), now_at(i));
            net_drain(&net, i);
        }
        take_off(storm);
    }
}

static void one_storm(uint64_t seed)
{
    struct storm storm = {.dice = {seed}};
    const struct line *a, *b;

    net_open(&net, names, 2, rules);
    net.nodes[0].skew_ms = (int64_t)dice_below(&storm.dice, 28000) - 14000;
    net.nodes[1].skew_ms = (int64_t)dice_below(&storm.dice, 28000) - 14000;
    net.nodes[0].dice.state = seed * 2;
    net.nodes[1].dice.state = seed * 2 + 1;
    storm.until_ms = (int64_t)dice_below(&storm.dice, 20000);
    blow(&storm, storm.until_ms + CALM_MS);

    a = line_best(peer_at(0, 1));
    b = line_best(peer_at(1, 0));
    if (!a || !b || memcmp(a->channel->id, b->channel->id, CHANNEL_ID_SIZE) != 0)
        fail_msg("seed %llu: not on one channel", (unsigned long long)seed);

    /* From here on every message arrives, once and in order. */
    net_forget_notes(&net);
    storm.counting = true;
    blow(&storm, 5000);
    storm.counting = false;
    blow(&storm, 1000);
    if (storm.sent[0] < 20 || storm.sent[1] < 20 || storm.heard[0] != storm.sent[1] ||
        storm.heard[1] != storm.sent[0])
        fail_msg("seed %llu: %d and %d sent, %d and %d heard", (unsigned long long)seed,
                 storm.sent[0], storm.sent[1], storm.heard[0], storm.heard[1]);
    while (storm.flights) {
        struct flight *flight = storm.flights;

        LL_DELETE(storm.flights, flight);
        parcel_free(flight->parcel);
        free(flight);
    }
    net_close(&net);
}

static void both_dial(void **state UNUSED)
{
    const char *wanted = getenv("AICO_TEST_SEED");
    uint64_t count = is_small() ? 200 : 2000;

    if (wanted) {
        one_storm(strtoull(wanted, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= count; seed++)
        one_storm(seed);
}

static bool drop_hello2(struct net *n UNUSED, struct parcel *parcel, void *context)
{
    int *left = context;

    if (parcel->bytes.size != HELLO2_SIZE || parcel->bytes.at[1] != HANDSHAKE_HELLO2 || *left == 0)
        return true;
    --*left;
    return false;
}

/* What both_dial found: three answers lost, and the dialer was shut out for handshake_timeout. */
static void a_dialer_whose_answers_were_lost_is_not_shut_out(void **state UNUSED)
{
    int left = 3;

    net.pass = drop_hello2;
    net.pass_context = &left;
    for (int i = 0; i < 3; i++) {
        net_stop_node(&net, CLI);
        net_start_node(&net, CLI);
        assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
        net_run(&net);
        net.now_ms += 100;
    }
    assert_int_equal(left, 0);
    assert_int_equal(peer_at(BACKEND, CLI)->half_open_count, HALF_OPEN_MAX);
    net_stop_node(&net, CLI);
    net_start_node(&net, CLI);
    connect_both(CLI, BACKEND);
}

/* What both_dial found: the later dialer's clock is behind, and its channel was passed over for the
 * one that the other end alone still held. */
static void a_new_channel_is_later_whatever_the_clocks_say(void **state UNUSED)
{
    const struct line *here, *there;
    struct reader hello1;

    net.nodes[BACKEND].skew_ms = 14000;
    net.nodes[CLI].skew_ms = -14000;
    connect_both(BACKEND, CLI);
    sessions_peer_renewed(at(CLI), now_at(CLI), bytes_text("backend"));
    net.pass = keep_copy;
    connect_both(CLI, BACKEND);
    net.pass = NULL;
    hello1 = reader_over(kept_of_size(HELLO1_SIZE));
    (void)reader_u64(&hello1);
    assert_int_equal(reader_u64(&hello1), START_MS + 14001);
    here = line_best(peer_at(CLI, BACKEND));
    there = line_best(peer_at(BACKEND, CLI));
    assert_memory_equal(here->channel->id, there->channel->id, CHANNEL_ID_SIZE);
    forget_kept();

    /* Never beyond the bound, or the peer would refuse it. */
    net.nodes[CLI].skew_ms = -29999;
    net.nodes[BACKEND].skew_ms = 0;
    sessions_peer_renewed(at(CLI), now_at(CLI), bytes_text("backend"));
    assert_int_equal(net_dial(&net, CLI, BACKEND), 0);
    net_drain(&net, CLI);
    hello1 = reader_over(buffer_view(&net.parcels->bytes));
    (void)reader_u64(&hello1);
    assert_int_equal(reader_u64(&hello1), START_MS - 29999);
}

/* --- completeness ----------------------------------------------------------------------------- */

static void short_lived_keys(int64_t interval_ms)
{
    for (int i = 0; i < EVERYBODY; i++) {
        net_stop_node(&net, i);
        net.nodes[i].settings.key_rotation_interval_ms = interval_ms;
        net_start_node(&net, i);
    }
}

/* Drops the last envelope on the old channel: the one before the first of the new one. */
struct final_dropper {
    struct bytes old_id;
    uint8_t id[CHANNEL_ID_SIZE];
    bool armed;
    int dropped;
};

static bool drop_old(struct net *n UNUSED, struct parcel *parcel, void *context)
{
    struct final_dropper *dropper = context;

    if (dropper->armed && parcel->from == CLI && parcel->bytes.size > 52 &&
        memcmp(parcel->bytes.at, "AICO-MSG", 8) == 0 &&
        memcmp(parcel->bytes.at + 8, dropper->id, CHANNEL_ID_SIZE) == 0 &&
        parcel->delivery == DELIVERY_CONTROL) {
        dropper->dropped++;
        return false;
    }
    return true;
}

/* Row 38. */
static void final_dropped(void **state UNUSED)
{
    struct final_dropper dropper = {0};
    const struct note *gap;

    short_lived_keys(120000);
    connect_both(CLI, BACKEND);
    say(CLI, BACKEND, "old");
    net_run(&net);
    memcpy(dropper.id, line_best(peer_at(CLI, BACKEND))->channel->id, CHANNEL_ID_SIZE);
    dropper.armed = true;
    net.pass = drop_old;
    net.pass_context = &dropper;
    net_advance(&net, 125000);
    assert_true(dropper.dropped >= 1);
    assert_memory_not_equal(line_best(peer_at(CLI, BACKEND))->channel->id, dropper.id,
                            CHANNEL_ID_SIZE);
    say(CLI, BACKEND, "new");
    net_advance(&net, 31000);
    assert_heard(&net, BACKEND, 1, "new");
    gap = note_at(&net, BACKEND, SESSION_GAP, 0);
    assert_true(gap->unknown);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_GAP), 1);
    assert_int_equal(line_count(BACKEND, CLI), 1);
}

/* Row 46. The bound itself passes; the broker may add nothing. */
static void delayed_beyond_freshness(void **state UNUSED)
{
    net_prepare(&net, CLI, FRESH);
    assert_int_equal(net_publish(&net, CLI, FRESH, "in time"), 0);
    net.now_ms += 5000 + 30000;
    net_run(&net);
    assert_heard(&net, BACKEND, 0, "in time");
    assert_int_equal(net_publish(&net, CLI, FRESH, "stale"), 0);
    net.now_ms += 5000 + 30000 + 1;
    net_run(&net);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 1);
    assert_int_equal(note_at(&net, BACKEND, SESSION_FAILED, 0)->code, AICO_ESTALE);

    /* A request is never executed an hour later, whatever its rule says. */
    connect_both(CLI, BACKEND);
    assert_int_equal(net_say(&net, CLI, BACKEND, TALK, DELIVERY_REQUEST, NULL, "do it", NULL), 0);
    net.now_ms += 60000 + 30000 + 1;
    net_run(&net);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 1);
    assert_int_equal(note_at(&net, BACKEND, SESSION_FAILED, 1)->code, AICO_ESTALE);
    say(CLI, BACKEND, "an event without freshness");
    net.now_ms += 60000 + 30000 + 1;
    net_run(&net);
    assert_heard(&net, BACKEND, 1, "an event without freshness");
}

/* Row 47: messages are under way in both directions all the time. */
static void rekey_under_load(void **state UNUSED)
{
    int count = is_small() ? 2000 : 50000;
    struct sessions_stats stats;
    char text[20];
    int heard[2] = {0, 0};

    short_lived_keys(60000);
    connect_both(CLI, BACKEND);
    for (int i = 0; i < count; i++) {
        (void)snprintf(text, sizeof(text), "%d", i);
        say(CLI, BACKEND, text);
        say(BACKEND, CLI, text);
        if (i % 50 != 49)
            continue;
        net_advance(&net, 600 - (i % 7) * 50);
        for (int node = BACKEND; node <= CLI; node++) {
            struct note *note, *next;

            LL_FOREACH_SAFE(net.nodes[node].notes, note, next)
            {
                assert_int_not_equal(note->type, SESSION_GAP);
                assert_int_not_equal(note->type, SESSION_FAILED);
                assert_int_not_equal(note->type, SESSION_LOST);
                if (note->type == SESSION_MESSAGE)
                    assert_int_equal(atoi(note->text), heard[node]++);
                buffer_deinit(&note->bytes);
                free(note);
            }
            net.nodes[node].notes = NULL;
        }
    }
    assert_int_equal(heard[BACKEND], count);
    assert_int_equal(heard[CLI], count);
    sessions_get_stats(at(CLI), &stats);
    assert_true(stats.handshakes >= (uint64_t)count / 50 * 450 / 60000);
    /* The keys of those that were replaced are gone. */
    net_advance(&net, 30001);
    assert_true(line_count(CLI, BACKEND) <= 1 && line_count(BACKEND, CLI) <= 1);
}

/* --- who reads -------------------------------------------------------------------------------- */

static void revoke_studio(struct registry_draft *draft)
{
    assert_int_equal(registry_draft_set_state(draft, "studio", COMPONENT_REVOKED), 0);
}

/* Row 51: every byte after the revocation is given to the removed, which keeps all its keys. */
static void nothing_is_sealed_for_the_removed(void **state UNUSED)
{
    uint8_t former[ENVELOPE_KEY_ID_SIZE];
    struct parcel *parcel;

    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "for all"), 0);
    memcpy(former, net.parcels->bytes.at + 8, sizeof(former));
    net_run(&net);
    assert_heard(&net, STUDIO, 0, "for all");

    net.pass = keep_copy;
    net_set_registry(&net, changed(revoke_studio), 1u << STUDIO);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(net_publish(&net, CLI, LOGS, "not for studio"), 0);
        net_advance(&net, 3000);
    }
    net.pass = NULL;
    LL_FOREACH(kept.first, parcel)
    if (parcel->bytes.size > 52 && parcel->to < 0)
        assert_memory_not_equal(parcel->bytes.at + 8, former, sizeof(former));
    assert_int_equal(count_notes(&net, STUDIO, SESSION_MESSAGE), 1);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 51);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_GAP), 0);
    /* Nor does it get a key for the asking: nobody who knows takes anything from it. */
    LL_FOREACH(kept.first, parcel)
    assert_int_not_equal(parcel->to, STUDIO);
    forget_kept();
}

static void add_newcomer(struct registry_draft *draft)
{
    draft_rule(draft, "logs/**", "cli", "backend,frontend,studio,late", SEAL_GROUP,
               AUTHENTICITY_SENDER);
}

/* Row 52: what was sealed before it was added stays closed, even with the broker's help. */
static void the_added_reads_nothing_from_before(void **state UNUSED)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = NULL;
    struct node *late = &net.nodes[EVERYBODY];
    struct parcel *parcel;

    net_prepare(&net, CLI, LOGS);
    net.pass = keep_copy;
    for (int i = 0; i < 20; i++)
        assert_int_equal(net_publish(&net, CLI, LOGS, "before"), 0);
    net_run(&net);
    net.pass = NULL;

    late->name = "late";
    late->identity = identity_make("late");
    late->settings = session_settings_default();
    late->dice.state = 99;
    draft = registry_draft_new(net.registry, bytes_text(NAMESPACE));
    draft_add(draft, late->identity, "member");
    add_newcomer(draft);
    net_set_registry(&net, registry_make(draft), 0);
    net.count++;
    net_start_node(&net, EVERYBODY);
    assert_int_equal(net_publish(&net, CLI, LOGS, "after"), 0);
    net_run(&net);
    assert_heard(&net, EVERYBODY, 0, "after");

    LL_FOREACH(kept.first, parcel)
    if (parcel->to < 0)
        net_post(&net, parcel->from, parcel->to, parcel->delivery, bytes_text(parcel->topic), NULL,
                 buffer_view(&parcel->bytes));
    net_advance(&net, 40000);
    assert_int_equal(count_notes(&net, EVERYBODY, SESSION_MESSAGE), 1);
    assert_true(count_notes(&net, EVERYBODY, SESSION_FAILED) >= 20);
    forget_kept();
}

static size_t group_keys_of(int from)
{
    struct sessions_stats stats;

    sessions_get_stats(at(from), &stats);
    return stats.key_given;
}

/* Row 53. */
static void false_subscribers(void **state UNUSED)
{
    uint8_t room[CONTROL_SMALL_MAX], id[CONTROL_ID_SIZE] = {1};
    struct writer request = writer_over(room, sizeof(room));
    struct sessions_stats stats;
    size_t given;

    net_prepare(&net, CLI, "one/v1");
    assert_int_equal(net_publish(&net, CLI, "one/v1", "for backend"), 0);
    net_run(&net);
    given = group_keys_of(CLI);
    assert_int_equal(given, 1);

    /* The broker says that everybody is here, and more. */
    for (int i = 0; i < 100; i++) {
        sessions_peer_present(at(CLI), now_at(CLI), bytes_text(names[i % EVERYBODY]));
        sessions_peer_renewed(at(CLI), now_at(CLI), bytes_text("nobody"));
    }
    /* It forges a request in the name of the only reader, in clear. */
    control_write_key_request(&request, bytes_text("one/**"), id, 0, 0);
    net_post(&net, BACKEND, CLI, DELIVERY_CONTROL, bytes_text(SESSION_TOPIC_CONTROL), NULL,
             writer_view(&request));
    net_advance(&net, 2000);
    assert_int_equal(group_keys_of(CLI), given);

    /* A member without the right asks over its own channel, and is told which rule. */
    connect_both(STUDIO, CLI);
    send_control(STUDIO, CLI, writer_view(&request));
    net_run(&net);
    assert_int_equal(group_keys_of(CLI), given);
    sessions_get_stats(at(CLI), &stats);
    assert_int_equal(stats.key_denied, 1);
    /* And no more often than ten a second. */
    for (int i = 0; i < 1000; i++)
        send_control(STUDIO, CLI, writer_view(&request));
    net_run(&net);
    sessions_get_stats(at(CLI), &stats);
    assert_true(stats.key_denied <= 21);
    assert_int_equal(group_keys_of(CLI), given);
}

static bool drop_key_to_backend(struct net *n UNUSED, struct parcel *parcel, void *context)
{
    int *left = context;

    if (parcel->from == CLI && parcel->to == BACKEND && parcel->bytes.size > 150 &&
        memcmp(parcel->bytes.at, "AICO-MSG", 8) == 0 && *left > 0) {
        --*left;
        return false;
    }
    return true;
}

/* Row 54. */
static void drop_group_key(void **state UNUSED)
{
    int left = 1;
    char text[20];

    connect_both(CLI, BACKEND);
    net.pass = drop_key_to_backend;
    net.pass_context = &left;
    for (int i = 0; i < 60; i++) {
        (void)snprintf(text, sizeof(text), "%d", i);
        assert_int_equal(net_publish(&net, CLI, "one/v1", text), 0);
    }
    net_advance(&net, 3000);
    assert_int_equal(left, 0);
    for (int i = 0; i < 60; i++) {
        (void)snprintf(text, sizeof(text), "%d", i);
        assert_heard(&net, BACKEND, (size_t)i, text);
    }
    assert_int_equal(count_notes(&net, BACKEND, SESSION_FAILED), 0);
}

/* Row 68: studio, a publisher of the rule as well, occupies cli's group id before cli uses it. */
static void borrowed_group_id(void **state UNUSED)
{
    static const struct secret none;
    struct secret key = {{66}};
    uint8_t room[CONTROL_SMALL_MAX], id[GROUP_ID_SIZE];
    struct writer w = writer_over(room, sizeof(room));
    struct parcel *parcel;

    connect_both(STUDIO, BACKEND);
    assert_int_equal(net_publish(&net, CLI, SHARED, "mine"), 0);
    parcel = net.parcels;
    while (parcel->to >= 0)
        parcel = parcel->next;
    memcpy(id, parcel->bytes.at + 8, sizeof(id));
    control_write_group_key(&w,
                            &(struct control){.filter = bytes_text("shared/**"),
                                              .generation = 1,
                                              .chain_key = secret_view(&key),
                                              .id = bytes_of(id, sizeof(id)),
                                              .slot = ENVELOPE_NO_SLOT,
                                              .reader_key = secret_view(&none)},
                            CONTROL_NOT_LISTED);
    assert_int_equal(
        control_send(at(STUDIO), now_at(STUDIO), peer_at(STUDIO, BACKEND), writer_view(&w)), 0);
    /* Its word arrives before cli's message does. */
    parcel = net.parcels;
    net.parcels = NULL;
    net_run(&net);
    net.parcels = parcel;
    net_run(&net);
    assert_heard(&net, BACKEND, 0, "mine");
    assert_string_equal(note_at(&net, BACKEND, SESSION_MESSAGE, 0)->peer, "cli");

    /* What studio seals with it is studio's, and nothing the broker stamps makes it cli's. */
    assert_int_equal(net_publish(&net, STUDIO, SHARED, "studio's"), 0);
    net_run(&net);
    assert_string_equal(note_at(&net, BACKEND, SESSION_MESSAGE, 1)->peer, "studio");
    assert_int_equal(net_publish(&net, STUDIO, SHARED, "as if cli's"), 0);
    LL_FOREACH(net.parcels, parcel)
    parcel->from = CLI;
    net_advance(&net, 40000);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 2);
}

static void revoke_frontend(struct registry_draft *draft)
{
    assert_int_equal(registry_draft_set_state(draft, "frontend", COMPONENT_REVOKED), 0);
}

static bool drop_from_cli(struct net *n UNUSED, struct parcel *parcel, void *context UNUSED)
{
    return parcel->from != CLI;
}

/* Row 71: everything is withheld, the counts as well, and comes later. */
static void withheld_beyond_the_epoch(void **state UNUSED)
{
    struct parcel *withheld;
    struct secret key;

    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "heard"), 0);
    net_run(&net);
    key = peer_at(BACKEND, CLI)->readers->secret->chain.key;
    assert_int_equal(net_publish(&net, CLI, LOGS, "withheld"), 0);
    withheld = net.parcels;
    net.parcels = NULL;
    net.pass = drop_from_cli;
    net_advance(&net, 60000 + 31000);
    assert_memory_not_equal(peer_at(BACKEND, CLI)->readers->secret->chain.key.at, key.at,
                            SECRET_SIZE);
    net.pass = NULL;
    net.parcels = withheld;
    net_run(&net);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 1);
    assert_int_equal(note_at(&net, BACKEND, SESSION_FAILED, 0)->code, AICO_EEPOCHBACK);
    /* And once anything of that publisher comes through, it is a gap as well. */
    assert_int_equal(net_publish(&net, CLI, LOGS, "on"), 0);
    net_run(&net);
    assert_heard(&net, BACKEND, 1, "on");
    assert_int_equal(note_at(&net, BACKEND, SESSION_GAP, 0)->first, 1);
    assert_int_equal(note_at(&net, BACKEND, SESSION_GAP, 0)->last, 1);
}

/* Row 28, beyond one round trip: everybody who is talked to learns it and drops the revoked. */
static void a_revocation_spreads_without_the_broker(void **state UNUSED)
{
    struct registry *next = changed(revoke_frontend);

    connect_both(BACKEND, FRONTEND);
    connect_both(STUDIO, BACKEND);
    net_set_registry(&net, registry_ref(next), ~(1u << CLI));
    connect_both(CLI, BACKEND);
    assert_string_equal(note_at(&net, BACKEND, SESSION_REGISTRY, 0)->peer, "cli");
    /* What the caller does with it. */
    sessions_set_registry(at(BACKEND), now_at(BACKEND), next);
    net_run(&net);
    assert_false(sessions_has_channel(at(BACKEND), now_at(BACKEND), bytes_text("frontend")));
    assert_int_equal(net_dial(&net, BACKEND, FRONTEND), AICO_EREVOKED);
    registry_unref(&next);
}

/* --- the broker's word about who says what ---------------------------------------------------- */

/* Rows 18, 32, 33 at the manager: a stamp, an identity, a kind that is not so. */
static void a_false_stamp_or_kind_opens_nothing(void **state UNUSED)
{
    struct parcel *direct, *published;

    connect_both(CLI, BACKEND);
    connect_both(STUDIO, BACKEND);
    net_prepare(&net, CLI, LOGS);
    say(CLI, BACKEND, "direct");
    direct = net.parcels;
    net.parcels = NULL;
    assert_int_equal(net_publish(&net, CLI, LOGS, "published"), 0);
    published = net.parcels;
    net.parcels = NULL;

    for (int kind = DELIVERY_EVENT; kind <= DELIVERY_CONTROL; kind++) {
        if (kind == DELIVERY_EVENT)
            continue;
        sessions_receive_direct(at(BACKEND), now_at(BACKEND), bytes_text("cli"), NULL,
                                bytes_text(TALK), (uint8_t)kind, buffer_view(&direct->bytes), NULL,
                                NULL);
        sessions_receive_group(at(BACKEND), now_at(BACKEND), bytes_text("cli"), NULL,
                               bytes_text(LOGS), (uint8_t)kind, buffer_view(&published->bytes),
                               NULL);
    }
    for (int who = FRONTEND; who <= STUDIO; who++) {
        const uint8_t *identity = net.nodes[who].identity->public;

        /* Another's name, another's identity under the right name. */
        sessions_receive_direct(at(BACKEND), now_at(BACKEND), bytes_text(names[who]), NULL,
                                bytes_text(TALK), DELIVERY_EVENT, buffer_view(&direct->bytes), NULL,
                                NULL);
        sessions_receive_direct(at(BACKEND), now_at(BACKEND), bytes_text("cli"), identity,
                                bytes_text(TALK), DELIVERY_EVENT, buffer_view(&direct->bytes), NULL,
                                NULL);
        sessions_receive_group(at(BACKEND), now_at(BACKEND), bytes_text(names[who]), NULL,
                               bytes_text(LOGS), DELIVERY_EVENT, buffer_view(&published->bytes),
                               NULL);
        sessions_receive_group(at(BACKEND), now_at(BACKEND), bytes_text("cli"), identity,
                               bytes_text(LOGS), DELIVERY_EVENT, buffer_view(&published->bytes),
                               NULL);
    }
    sessions_receive_direct(at(BACKEND), now_at(BACKEND), bytes_text("nobody"), NULL,
                            bytes_text(TALK), DELIVERY_EVENT, buffer_view(&direct->bytes), NULL,
                            NULL);
    sessions_receive_group(at(BACKEND), now_at(BACKEND), bytes_text("nobody"), NULL,
                           bytes_text(LOGS), DELIVERY_EVENT, buffer_view(&published->bytes), NULL);
    net_run(&net);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 0);
    /* Nothing of it was counted as seen. */
    net.parcels = direct;
    direct->next = published;
    net_run(&net);
    assert_heard(&net, BACKEND, 0, "direct");
    assert_heard(&net, BACKEND, 1, "published");
    assert_int_equal(count_notes(&net, BACKEND, SESSION_GAP), 0);
}

/* Each message of a batch is told, and which is the last. */
static void a_batch_is_told_message_by_message(void **state UNUSED)
{
    uint8_t content[200], wire[600];
    struct writer batch = writer_over(content, sizeof(content));
    struct writer out = writer_over(wire, sizeof(wire));
    struct session_event event;
    int count = 0;

    connect_both(CLI, BACKEND);
    for (int i = 0; i < 3; i++)
        assert_int_equal(
            content_batch_add(&batch, false, bytes_of(NULL, 0), bytes_text("item"), 100), 0);
    assert_int_equal(channel_seal(line_best(peer_at(CLI, BACKEND))->channel, now_at(CLI),
                                  &(struct channel_message){.format = ENVELOPE_FORMAT_BATCH,
                                                            .topic = bytes_text(TALK),
                                                            .payload = writer_view(&batch)},
                                  &out, NULL),
                     0);
    sessions_receive_direct(at(BACKEND), now_at(BACKEND), bytes_text("cli"), NULL, bytes_text(TALK),
                            DELIVERY_EVENT, writer_view(&out), NULL, &count);
    while (sessions_next(at(BACKEND), &event)) {
        assert_int_equal(event.type, SESSION_MESSAGE);
        assert_int_equal(event.index, count++);
        assert_int_equal(event.more, count < 3);
        assert_ptr_equal(event.cookie, &count);
    }
    assert_int_equal(count, 3);

    /* One that is no batch inside ends in one word, too. */
    out.size = 0;
    assert_int_equal(channel_seal(line_best(peer_at(CLI, BACKEND))->channel, now_at(CLI),
                                  &(struct channel_message){.format = ENVELOPE_FORMAT_BATCH,
                                                            .topic = bytes_text(TALK),
                                                            .payload = bytes_text("no batch")},
                                  &out, NULL),
                     0);
    sessions_receive_direct(at(BACKEND), now_at(BACKEND), bytes_text("cli"), NULL, bytes_text(TALK),
                            DELIVERY_EVENT, writer_view(&out), NULL, NULL);
    assert_true(sessions_next(at(BACKEND), &event));
    assert_int_equal(event.type, SESSION_FAILED);
    assert_int_equal(event.code, AICO_EFORMAT);
    assert_false(sessions_next(at(BACKEND), &event));
}

/* --- keys that were stolen, rights that are gone ---------------------------------------------- */

/* Attack 12 of PROTOCOL 16: a new generation is not handed out over a channel as old as the last
 * one, whose keys may have been stolen. */
static void a_new_generation_goes_over_new_channels(void **state UNUSED)
{
    uint8_t old[CHANNEL_ID_SIZE];
    const struct parcel *parcel;
    bool rekeyed = false;

    short_lived_keys(120000);
    net_prepare(&net, CLI, "one/v1");
    assert_int_equal(net_publish(&net, CLI, "one/v1", "first"), 0);
    net_run(&net);
    memcpy(old, line_best(peer_at(CLI, BACKEND))->channel->id, sizeof(old));
    /* Nothing is dialled before the generation ends: only it asks for the new channel. */
    net.now_ms += 120000;
    net.pass = keep_copy;
    sessions_tick(at(CLI), now_at(CLI));
    net_advance(&net, 1000);
    net.pass = NULL;
    LL_FOREACH(kept.first, parcel)
    {
        rekeyed |= parcel->bytes.size == HELLO3_SIZE && parcel->bytes.at[1] == HANDSHAKE_HELLO3;
        /* GROUP_KEY of this rule is the only control message of that size. */
        if (parcel->from == CLI && parcel->to == BACKEND && parcel->bytes.size > 150 &&
            memcmp(parcel->bytes.at, ENVELOPE_MAGIC, 8) == 0 &&
            memcmp(parcel->bytes.at + 8, old, sizeof(old)) == 0)
            fail_msg("a key went over the old channel");
    }
    assert_true(rekeyed);
    assert_int_equal(net_publish(&net, CLI, "one/v1", "second"), 0);
    net_advance(&net, 1000);
    assert_heard(&net, BACKEND, 1, "second");
    forget_kept();
}

/* The last generation opens for handshake_timeout, and no longer: then its key is gone. */
static void a_former_generation_is_forgotten(void **state UNUSED)
{
    struct parcel *late;

    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "one"), 0);
    assert_int_equal(net_publish(&net, CLI, LOGS, "late"), 0);
    late = net.parcels->next;
    net.parcels->next = NULL;
    net_run(&net);
    net_set_registry(&net, changed(revoke_studio), 1u << STUDIO);
    net_run(&net);
    assert_int_equal(HASH_COUNT(peer_at(BACKEND, CLI)->readers), 2);
    net_advance(&net, 30001);
    assert_int_equal(HASH_COUNT(peer_at(BACKEND, CLI)->readers), 1);
    net.parcels = late;
    net_advance(&net, 60000);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 1);
    assert_int_equal(note_at(&net, BACKEND, SESSION_FAILED, 0)->code, AICO_EKEY);
}

/* A key of a generation before the one we have is not taken, whoever sends it. */
static void an_older_generation_is_not_taken(void **state UNUSED)
{
    static const struct secret none;
    const struct secret key = {{5}};
    uint8_t room[CONTROL_SMALL_MAX], id[GROUP_ID_SIZE] = {9};
    struct writer w = writer_over(room, sizeof(room));

    net_prepare(&net, CLI, LOGS);
    control_write_group_key(&w,
                            &(struct control){.filter = bytes_text("logs/**"),
                                              .authenticity = ENVELOPE_TRAILER_NONE,
                                              .generation = net.nodes[CLI].generation - 1,
                                              .chain_key = secret_view(&key),
                                              .id = bytes_of(id, sizeof(id)),
                                              .slot = ENVELOPE_NO_SLOT,
                                              .reader_key = secret_view(&none)},
                            CONTROL_NOT_LISTED);
    send_control(CLI, BACKEND, writer_view(&w));
    net_run(&net);
    assert_int_equal(HASH_COUNT(peer_at(BACKEND, CLI)->readers), 1);

    /* Nor one for a rule that does not let its sender publish, or us read. */
    connect_both(STUDIO, BACKEND);
    send_control(STUDIO, BACKEND, writer_view(&w));
    net_run(&net);
    assert_null(peer_at(BACKEND, STUDIO)->readers);
}

static void silence_cli(struct registry_draft *draft)
{
    draft_rule(draft, "logs/**", "studio", "backend,frontend,cli", SEAL_GROUP, AUTHENTICITY_SENDER);
}

static void who_may_no_longer_publish_is_no_longer_read(void **state UNUSED)
{
    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "before"), 0);
    net_run(&net);
    /* Cli does not hear of it and goes on. */
    net_set_registry(&net, changed(silence_cli), 1u << CLI);
    assert_int_equal(net_publish(&net, CLI, LOGS, "after"), 0);
    net_advance(&net, 40000);
    assert_int_equal(count_notes(&net, BACKEND, SESSION_MESSAGE), 1);
    assert_int_equal(count_notes(&net, FRONTEND, SESSION_MESSAGE), 1);
    assert_null(peer_at(BACKEND, CLI)->readers);
    /* And once it hears, it cannot. */
    sessions_set_registry(at(CLI), now_at(CLI), net.registry);
    assert_int_equal(net_publish(&net, CLI, LOGS, "no"), AICO_EDENIED);
}

/* A revocation ends what is under way: our attempt, its half-open one. */
static void a_revocation_ends_handshakes_under_way(void **state UNUSED)
{
    struct parcel *hello1;
    const struct peer *peer;

    assert_int_equal(net_dial(&net, STUDIO, CLI), 0);
    net_drain(&net, STUDIO);
    hello1 = net.parcels;
    net.parcels = NULL;
    net_hand(&net, hello1, CLI);
    parcel_free(hello1);
    assert_int_equal(peer_at(CLI, STUDIO)->half_open_count, 1);
    assert_int_equal(net_dial(&net, BACKEND, STUDIO), 0);
    net_drain(&net, BACKEND);
    net_set_registry(&net, changed(revoke_studio), 1u << STUDIO);
    assert_int_equal(peer_at(CLI, STUDIO)->half_open_count, 0);
    peer = peer_at(BACKEND, STUDIO);
    assert_false(peer->dialing);
    assert_null(peer->dialer);
    assert_int_equal(note_at(&net, BACKEND, SESSION_LOST, 0)->code, AICO_EREVOKED);
    net_advance(&net, 60000);
    assert_false(sessions_has_channel(at(CLI), now_at(CLI), bytes_text("studio")));
    assert_false(sessions_has_channel(at(BACKEND), now_at(BACKEND), bytes_text("studio")));
}

/* Who is not in the registry, or no longer, does not even start. */
static void the_revoked_do_not_start(void **state UNUSED)
{
    struct identity *stranger = identity_make("stranger");
    struct registry *revoked = changed(revoke_studio);
    struct sessions *sessions = NULL;
    struct dice dice = {1};

    assert_int_equal(sessions_new(&net.nodes[CLI].settings, stranger, net.registry,
                                  dice_source(&dice), 0, moment_at(START_MS), &sessions, NULL),
                     AICO_EUNKNOWN);
    assert_int_equal(sessions_new(&net.nodes[CLI].settings, net.nodes[STUDIO].identity, revoked,
                                  dice_source(&dice), 0, moment_at(START_MS), &sessions, NULL),
                     AICO_EREVOKED);
    assert_null(sessions);
    identity_free(&stranger);
    registry_unref(&revoked);
}

/* Behind unread messages nothing is erased by idleness: the backlog must still open. */
static void a_backlog_is_not_lost_to_the_clock(void **state UNUSED)
{
    struct parcel *waiting;

    net_prepare(&net, CLI, LOGS);
    assert_int_equal(net_publish(&net, CLI, LOGS, "read"), 0);
    net_run(&net);
    sessions_set_backlogged(at(BACKEND), true);
    assert_int_equal(net_publish(&net, CLI, LOGS, "waits"), 0);
    waiting = net.parcels;
    net.parcels = NULL;
    net.nodes[BACKEND].deaf = true;
    net_advance(&net, 600000);
    net.nodes[BACKEND].deaf = false;
    net.parcels = waiting;
    net_run(&net);
    assert_heard(&net, BACKEND, 1, "waits");
    assert_int_equal(count_notes(&net, BACKEND, SESSION_FAILED), 0);
}

/* --- flooding --------------------------------------------------------------------------------- */

/* Row 20: a member that never finishes its handshakes. */
static void a_flood_of_hellos_holds_three_states(void **state UNUSED)
{
    struct handshake_context studio = {&net.nodes[STUDIO].settings, net.nodes[STUDIO].identity,
                                       net.registry, NULL};
    struct sessions_stats stats;
    struct dice dice = {5};
    struct hedge hedge;

    hedge_init(&hedge, &net.nodes[STUDIO].identity->seed, dice_source(&dice));
    for (int i = 0; i < 1000; i++) {
        struct handshake_random random;
        struct dialer dialer;

        handshake_random_draw(&hedge, &random);
        assert_int_equal(dialer_begin(&studio, now_at(STUDIO), net.nodes[BACKEND].identity->public,
                                      &random, &dialer),
                         0);
        net_post(&net, STUDIO, BACKEND, DELIVERY_CONTROL, bytes_text(SESSION_TOPIC_CONTROL), NULL,
                 bytes_of(dialer.hello1, HELLO1_SIZE));
        net.now_ms++;
        net_run(&net);
        dialer_wipe(&dialer);
    }
    hedge_wipe(&hedge);
    assert_int_equal(peer_at(BACKEND, STUDIO)->half_open_count, HALF_OPEN_MAX);
    sessions_get_stats(at(BACKEND), &stats);
    assert_true(stats.verified_hellos <= 30);
    /* Others are not in its way. */
    connect_both(CLI, BACKEND);
    net_advance(&net, 30001);
    assert_int_equal(peer_at(BACKEND, STUDIO)->half_open_count, 0);
}

/* Envelopes of keys nobody has: the memory for those that wait is bounded. */
static void what_waits_for_a_key_is_bounded(void **state UNUSED)
{
    uint8_t wire[1000];
    struct writer w = writer_over(wire, sizeof(wire));
    const struct peer *peer;

    writer_bytes(&w, bytes_text(ENVELOPE_MAGIC));
    writer_zeros(&w, ENVELOPE_NONCE_SIZE);
    writer_u8(&w, ENVELOPE_FORMAT_MESSAGE | ENVELOPE_TRAILER_VECTOR << 6);
    writer_zeros(&w, sizeof(wire) - w.size - 1);
    writer_u8(&w, 2);
    for (uint32_t i = 0; i < 3000; i++) {
        memcpy(wire + 8, &i, sizeof(i));
        sessions_receive_group(at(BACKEND), now_at(BACKEND), bytes_text("cli"), NULL,
                               bytes_text(LOGS), DELIVERY_EVENT, writer_view(&w), NULL);
    }
    peer = peer_at(BACKEND, CLI);
    assert_true(peer->waiting.count <= WAITING_MAX && peer->waiting.bytes <= WAITING_BYTES_MAX);
    net_advance(&net, 60000);
    /* Each ended in exactly one word. */
    assert_int_equal(count_notes(&net, BACKEND, SESSION_FAILED), 3000);
    assert_int_equal(peer->waiting.count, 0);
    assert_null(peer->asks);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_net, close_net)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hello1_replay_keeps_channel),
        TEST(everything_again_does_nothing_twice),
        TEST(forged_refuse),
        TEST(a_resume_is_not_taken),
        TEST(a_forged_channel_unknown_costs_a_handshake_and_loses_nothing),
        cmocka_unit_test(both_dial),
        TEST(a_dialer_whose_answers_were_lost_is_not_shut_out),
        TEST(a_new_channel_is_later_whatever_the_clocks_say),
        TEST(final_dropped),
        TEST(delayed_beyond_freshness),
        TEST(rekey_under_load),
        TEST(nothing_is_sealed_for_the_removed),
        TEST(the_added_reads_nothing_from_before),
        TEST(false_subscribers),
        TEST(drop_group_key),
        TEST(borrowed_group_id),
        TEST(withheld_beyond_the_epoch),
        TEST(a_revocation_spreads_without_the_broker),
        TEST(a_false_stamp_or_kind_opens_nothing),
        TEST(a_batch_is_told_message_by_message),
        TEST(a_new_generation_goes_over_new_channels),
        TEST(a_former_generation_is_forgotten),
        TEST(an_older_generation_is_not_taken),
        TEST(who_may_no_longer_publish_is_no_longer_read),
        TEST(a_revocation_ends_handshakes_under_way),
        TEST(the_revoked_do_not_start),
        TEST(a_backlog_is_not_lost_to_the_clock),
        TEST(a_flood_of_hellos_holds_three_states),
        TEST(what_waits_for_a_key_is_bounded),
    };

    assert_int_equal(crypto_start(), 0);
    return cmocka_run_group_tests_name("session/peers_attacks", tests, NULL, NULL);
}
