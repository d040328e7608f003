/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client core between a scripted broker and a scripted session manager: the test says what either
 * answers and looks at what the core hands out. The sessions_* functions are defined here, so the
 * real manager is not linked. Header only, one world per test.
 */
#ifndef TEST_CLIENT_WORLD_H
#define TEST_CLIENT_WORLD_H

#include "../session/world.h"

#include "client/client.h"
#include "session/peers.h"
#include "wire/stream_record.h"

#define TOLD_MAX 2048
#define OUT_MAX 512

/* --- the scripted session manager ---------------------------------------------------------------
 */

/* An envelope it was given, to be answered by the test. */
struct given {
    char peer[COMPONENT_NAME_MAX + 1], topic[256], text[64];
    uint8_t delivery;
    bool direct, has_ref;
    void *cookie;
};

struct fake_event {
    struct fake_event *next;
    struct session_event event;
    char peer[COMPONENT_NAME_MAX + 1], topic[256], payload[64];
};

struct sessions {
    struct fake_event *events, *out; /* `out` was handed out last */
    struct given given[TOLD_MAX];
    size_t given_count;
    bool by_hand;        /* the test answers envelopes; else they open at once */
    bool has_channel;    /* with everybody */
    bool has_stored_key; /* for everything */
    int prepare_code;    /* of sessions_prepare_group() */
    int seal_code;       /* of sealing */
    int dial_code;       /* of sessions_dial() */
    bool new_group;      /* the next sealing begins a generation */
    bool no_readings;    /* who reads what is stored is not known yet */
    unsigned asked, dials, sealed, subscribed, unsubscribed, link_lost, link_up, registries, away;
    uint64_t sequence;
    size_t prekeys_left;
    unsigned bundles;
    uint32_t bundle_number;
    bool bundle_has_key;
    int bundle_code;
    uint64_t taken;
    struct group_stamp stamp;
    char looked[64]; /* ahead: letters, and a | where they were hashed */
    size_t looked_size, ahead;
    struct group_form form;
    size_t content_max;          /* of a batch; 0: any */
    unsigned unproven;           /* sealed with that to come */
    void *batch;                 /* of the pool: what sessions_take_batch() hands over */
    uint8_t receipts[16 * 1024]; /* sent last */
    size_t receipts_size;
    unsigned receipts_sent;
    bool closed;
};

static struct sessions fake;

static inline void fake_push(struct session_event event, const char *peer, const char *topic,
                             const char *payload)
{
    struct fake_event *e = calloc(1, sizeof(*e)), **at = &fake.events;

    assert_non_null(e);
    e->event = event;
    (void)snprintf(e->peer, sizeof(e->peer), "%s", peer);
    (void)snprintf(e->topic, sizeof(e->topic), "%s", topic);
    (void)snprintf(e->payload, sizeof(e->payload), "%s", payload);
    e->event.peer = bytes_text(e->peer);
    e->event.topic = bytes_text(e->topic);
    e->event.payload = bytes_text(e->payload);
    if (!event.bytes.at) /* else the test keeps them */
        e->event.bytes = e->event.payload;
    if (!e->event.text)
        e->event.text = "scripted";
    while (*at)
        at = &(*at)->next;
    *at = e;
}

/* Envelope @index opened. */
static inline void fake_opens(size_t index, uint64_t generation)
{
    struct given *g = &fake.given[index];

    fake_push((struct session_event){.type = SESSION_MESSAGE,
                                     .delivery = g->delivery,
                                     .direct = g->direct,
                                     .sequence = index,
                                     .generation = generation,
                                     .cookie = g->cookie},
              g->peer, g->topic, g->text);
    g->cookie = NULL;
}

static inline void fake_fails(size_t index, int code)
{
    struct given *g = &fake.given[index];

    fake_push((struct session_event){.type = SESSION_FAILED, .code = code, .cookie = g->cookie},
              g->peer, g->topic, "");
    g->cookie = NULL;
}

/* @topic "": of the channel. */
static inline void fake_gap(const char *peer, const char *topic, uint64_t count)
{
    fake_push((struct session_event){.type = SESSION_GAP,
                                     .first = 10,
                                     .last = 9 + count,
                                     .count = count,
                                     .unknown = count == 0,
                                     .code = AICO_ENOTFOUND},
              peer, topic, "");
}

int sessions_new(const struct session_settings *settings UNUSED, const struct identity *self UNUSED,
                 struct registry *registry UNUSED, struct random_source random UNUSED,
                 uint64_t last_generation UNUSED, struct moment now UNUSED,
                 struct sessions **ret_sessions, struct aico_error *err UNUSED)
{
    fake = (struct sessions){0};
    *ret_sessions = &fake;
    return 0;
}

void sessions_free(struct sessions **sessions)
{
    while (fake.events) {
        struct fake_event *e = fake.events;

        fake.events = e->next;
        free(e);
    }
    free(fake.out);
    fake.out = NULL;
    *sessions = NULL;
}

bool sessions_next(struct sessions *s, struct session_event *ret_event)
{
    free(s->out);
    s->out = s->events;
    if (!s->out)
        return false;
    s->events = s->out->next;
    *ret_event = s->out->event;
    return true;
}

/* Only of a test that has made one. */
void *sessions_take_batch(struct sessions *s)
{
    assert_non_null(s->batch);
    return STEAL(s->batch);
}

/* The first letter of each envelope that was looked at before it came. */
bool sessions_look_ahead(struct sessions *s, struct bytes name UNUSED,
                         const uint8_t *identity UNUSED, struct bytes topic UNUSED,
                         uint8_t delivery UNUSED, struct bytes bytes)
{
    if (s->ahead == HASHES_AT_ONCE)
        return false;
    assert_true(bytes.size > 8 && s->looked_size < sizeof(s->looked) - 1);
    s->looked[s->looked_size++] = (char)bytes.at[8];
    s->ahead++;
    return true;
}

void sessions_hash_ahead(struct sessions *s)
{
    s->looked[s->looked_size++] = '|';
}

void sessions_forget_ahead(struct sessions *s)
{
    s->ahead = 0;
}

void sessions_prove(struct sessions *s, struct moment now UNUSED, struct bytes topic UNUSED)
{
    assert_true(s->unproven > 0);
    s->unproven = 0;
}

void sessions_get_form(struct sessions *s, struct moment now UNUSED, struct bytes topic UNUSED,
                       struct group_form *ret_form)
{
    *ret_form = s->form;
}

static inline void fake_given(struct bytes name, struct bytes topic, uint8_t delivery,
                              struct bytes bytes, bool direct, bool has_ref, void *cookie)
{
    struct given *g = &fake.given[fake.given_count++];

    assert_true(fake.given_count < TOLD_MAX);
    bytes_copy(g->peer, name);
    bytes_copy(g->topic, topic);
    if (bytes.size > 8)
        bytes_copy(g->text, bytes_of(bytes.at + 8, MIN(bytes.size - 8, sizeof(g->text) - 1)));
    g->delivery = delivery;
    g->direct = direct;
    g->has_ref = has_ref;
    g->cookie = cookie;
    if (!fake.by_hand && cookie)
        fake_opens(fake.given_count - 1, 1);
}

void sessions_receive_direct(struct sessions *s UNUSED, struct moment now UNUSED, struct bytes name,
                             const uint8_t *identity UNUSED, struct bytes topic, uint8_t delivery,
                             struct bytes bytes, const uint8_t *ref, void *cookie)
{
    fake_given(name, topic, delivery, bytes, true, ref != NULL, cookie);
}

void sessions_receive_group(struct sessions *s UNUSED, struct moment now UNUSED, struct bytes name,
                            const uint8_t *identity UNUSED, struct bytes topic, uint8_t delivery,
                            struct bytes bytes, void *cookie)
{
    fake_given(name, topic, delivery, bytes, false, false, cookie);
}

size_t sessions_envelope_size(const struct sessions *s UNUSED, size_t headers_size,
                              size_t payload_size)
{
    return 8 + headers_size + payload_size;
}

size_t sessions_direct_size(struct sessions *s, struct moment now UNUSED, struct bytes peer UNUSED,
                            size_t headers_size, size_t payload_size)
{
    return sessions_envelope_size(s, headers_size, payload_size);
}

int sessions_prepare_group(struct sessions *s, struct moment now UNUSED, struct bytes topic UNUSED)
{
    return s->prepare_code;
}

void sessions_hand_over(struct sessions *s UNUSED, struct moment now UNUSED)
{
}

size_t sessions_keyless(struct sessions *s UNUSED, struct bytes *ret_name UNUSED)
{
    return 0;
}

static inline int fake_seal(struct sessions *s, struct bytes payload, struct writer *out)
{
    if (s->seal_code < 0)
        return s->seal_code;
    writer_bytes(out, bytes_text("AICO-MSG"));
    writer_bytes(out, payload);
    s->sealed++;
    return 0;
}

int sessions_seal_group(struct sessions *s, struct moment now UNUSED, struct bytes topic UNUSED,
                        uint8_t delivery UNUSED, struct bytes headers UNUSED, struct bytes payload,
                        struct writer *out)
{
    if (s->new_group)
        fake_push((struct session_event){.type = SESSION_PERSIST_GEN, .generation = 7}, "", "", "");
    s->new_group = false;
    return fake_seal(s, payload, out);
}

size_t sessions_batch_size(size_t count, size_t bytes)
{
    return 8 + count + bytes;
}

/* The payloads, each behind a `|`. */
int sessions_seal_batch(struct sessions *s, struct moment now UNUSED, struct bytes topic UNUSED,
                        uint8_t delivery UNUSED, const struct content_item *items, size_t count,
                        bool later, struct writer *out)
{
    size_t content = 0;

    for (size_t i = 0; i < count; i++)
        content += content_batch_item_size(false, 0, items[i].payload.size);
    if (s->content_max > 0 && content > s->content_max)
        return AICO_ETOOLARGE;
    s->unproven += later;
    if (s->seal_code < 0)
        return s->seal_code;
    writer_bytes(out, bytes_text("AICO-MSG"));
    for (size_t i = 0; i < count; i++) {
        writer_u8(out, '|');
        writer_bytes(out, items[i].payload);
    }
    s->sealed++;
    return 0;
}

int sessions_seal_direct(struct sessions *s, struct moment now UNUSED, struct bytes peer UNUSED,
                         struct bytes topic UNUSED, uint8_t delivery UNUSED,
                         const uint8_t *ref UNUSED, struct bytes headers UNUSED,
                         struct bytes payload, struct writer *out, uint8_t *ret_ref)
{
    if (!s->has_channel)
        return AICO_ESTATE;
    if (ret_ref)
        memset(ret_ref, 5, SESSION_REF_SIZE);
    return fake_seal(s, payload, out);
}

int sessions_dial(struct sessions *s, struct moment now UNUSED, struct bytes peer UNUSED)
{
    s->dials++;
    return s->dial_code;
}

int sessions_ping(struct sessions *s UNUSED, struct moment now UNUSED, struct bytes peer UNUSED,
                  uint64_t *ret_number UNUSED)
{
    return AICO_ESTATE;
}

bool sessions_has_channel(struct sessions *s, struct moment now UNUSED, struct bytes peer UNUSED)
{
    return s->has_channel;
}

int sessions_load_chains(struct sessions *s UNUSED, struct moment now UNUSED,
                         struct bytes chains UNUSED)
{
    return 0;
}

bool sessions_may_store(const struct sessions *s, struct bytes topic UNUSED)
{
    return !s->no_readings;
}

void sessions_take_reading(struct sessions *s UNUSED, struct moment now UNUSED,
                           const uint8_t identity[SIGN_PUBLIC_SIZE] UNUSED,
                           struct bytes statement UNUSED)
{
}

void sessions_take_stored_key(struct sessions *s UNUSED, struct bytes name UNUSED,
                              const uint8_t identity[SIGN_PUBLIC_SIZE] UNUSED,
                              struct bytes key UNUSED)
{
}

bool sessions_can_open_stored(const struct sessions *s, const uint8_t *identity UNUSED,
                              struct bytes bytes UNUSED)
{
    return s->has_stored_key;
}

void sessions_receive_stored(struct sessions *s, struct moment now, struct bytes name,
                             const uint8_t *identity, struct bytes topic, uint8_t delivery,
                             struct bytes bytes, void *cookie)
{
    sessions_receive_group(s, now, name, identity, topic, delivery, bytes, cookie);
}

bool sessions_is_ready(struct sessions *s, struct moment now UNUSED, struct bytes peer UNUSED,
                       struct bytes topic UNUSED)
{
    return s->has_channel;
}

int sessions_want(struct sessions *s, struct moment now, struct bytes peer,
                  struct bytes topic UNUSED)
{
    return sessions_dial(s, now, peer);
}

void sessions_prekeys_left(struct sessions *s, struct moment now UNUSED, size_t count)
{
    s->prekeys_left = count;
}

void sessions_bundle(struct sessions *s, struct moment now UNUSED, struct bytes peer UNUSED,
                     struct bytes statement UNUSED, uint32_t number, const uint8_t *one_time)
{
    s->bundles++;
    s->bundle_number = number;
    s->bundle_has_key = one_time != NULL;
}

void sessions_bundle_refused(struct sessions *s, struct moment now UNUSED, struct bytes peer UNUSED,
                             int code, const char *text UNUSED)
{
    s->bundle_code = code;
}

void sessions_taken(struct sessions *s, uint64_t number)
{
    s->taken = number;
}

void sessions_peer_away(struct sessions *s, struct moment now UNUSED, struct bytes peer UNUSED,
                        int code UNUSED)
{
    s->away++;
}

void sessions_peer_present(struct sessions *s UNUSED, struct moment now UNUSED,
                           struct bytes peer UNUSED)
{
}

void sessions_peer_renewed(struct sessions *s UNUSED, struct moment now UNUSED,
                           struct bytes peer UNUSED)
{
}

void sessions_peer_identity(struct sessions *s UNUSED, struct moment now UNUSED,
                            struct bytes peer UNUSED,
                            const uint8_t identity[SIGN_PUBLIC_SIZE] UNUSED)
{
}

void sessions_link_lost(struct sessions *s, struct moment now UNUSED)
{
    s->link_lost++;
}

void sessions_link_up(struct sessions *s, struct moment now UNUSED)
{
    s->link_up++;
}

bool sessions_group_stamp(const struct sessions *s, struct bytes topic UNUSED,
                          struct group_stamp *ret_stamp)
{
    *ret_stamp = s->stamp;
    return true;
}

int sessions_seal_will(struct sessions *s, struct moment now UNUSED, struct bytes topic UNUSED,
                       struct bytes payload, struct writer *out)
{
    return fake_seal(s, payload, out);
}

int sessions_ask_again(struct sessions *s, struct moment now UNUSED, struct bytes peer UNUSED,
                       struct bytes topic UNUSED)
{
    if (!s->has_channel)
        return AICO_ESTATE;
    s->asked++;
    return 0;
}

int sessions_send_receipts(struct sessions *s, struct moment now UNUSED, struct bytes name UNUSED,
                           struct bytes receipts)
{
    if (!s->has_channel)
        return AICO_ESTATE;
    assert_true(receipts.size <= sizeof(s->receipts));
    bytes_copy(s->receipts, receipts);
    s->receipts_size = receipts.size;
    s->receipts_sent++;
    return 0;
}

int sessions_subscribed(struct sessions *s, struct moment now UNUSED, struct bytes filter UNUSED,
                        bool shared UNUSED)
{
    s->subscribed++;
    return 0;
}

void sessions_unsubscribed(struct sessions *s, struct bytes filter UNUSED, bool shared UNUSED)
{
    s->unsubscribed++;
}

void sessions_set_backlogged(struct sessions *s UNUSED, bool backlogged UNUSED)
{
}

void sessions_set_registry(struct sessions *s, struct moment now UNUSED,
                           struct registry *registry UNUSED)
{
    s->registries++;
}

int64_t sessions_deadline(const struct sessions *s UNUSED)
{
    return MOMENT_NEVER;
}

void sessions_tick(struct sessions *s UNUSED, struct moment now UNUSED)
{
}

void sessions_close(struct sessions *s, struct moment now UNUSED)
{
    s->closed = true;
}

void sessions_get_stats(const struct sessions *s UNUSED, struct sessions_stats *ret_stats)
{
    *ret_stats = (struct sessions_stats){0};
}

/* --- the world ----------------------------------------------------------------------------------
 */

/* One record the core sent. */
struct out {
    uint8_t type;
    uint64_t id;
    struct record_publish publish; /* without names and payload */
    char topic[256], to[65], text[64];
    size_t size; /* of the payload */
    uint32_t subscription, bytes;
    uint8_t policy;
    char filter[256];
    char queue[65], name[65]; /* name: of a durable reader */
    uint16_t code;
    uint8_t start; /* of a FOLLOW, with value */
    uint64_t value;
    bool retry;
};

/* One operation that ended. */
struct ended {
    bool ended;
    int code;
    char text[400];
    uint32_t subscription;
    char reply[64];
    char json[256];
};

struct world {
    struct client *client;
    struct identity *self, *bob, *carol, *broker;
    struct registry *registry;
    struct dice dice;
    struct moment now;
    struct aico_message *told[TOLD_MAX];
    size_t told_count;
    struct out out[OUT_MAX];
    size_t out_count, frames, largest_frame;
    uint64_t persisted;
    size_t frames_when_persisted;
    int persist_code;
    unsigned registries;
    uint64_t next_app_id;
    bool is_short; /* memory was: something may be missing in the books */
};

static inline void world_deliver(void *context, struct aico_message *message)
{
    struct world *w = context;

    assert_true(w->told_count < TOLD_MAX);
    w->told[w->told_count++] = message;
}

static inline void world_done(void *context UNUSED, void *ticket,
                              const struct client_answer *answer)
{
    struct ended *ended = ticket;
    struct aico_message *reply = answer->message;

    assert_false(ended->ended);
    ended->ended = true;
    ended->code = answer->code;
    ended->subscription = answer->subscription;
    (void)snprintf(ended->text, sizeof(ended->text), "%s", answer->text);
    if (answer->json.size > 0 && answer->json.size < sizeof(ended->json))
        bytes_copy(ended->json, answer->json);
    if (!reply)
        return;
    (void)snprintf(ended->reply, sizeof(ended->reply), "%.*s", (int)reply->size,
                   (const char *)reply->payload);
    aico_message_free(&reply);
}

static inline int world_persist(void *context, uint64_t generation)
{
    struct world *w = context;

    w->persisted = generation;
    w->frames_when_persisted = w->frames;
    return w->persist_code;
}

static inline void world_registry_changed(void *context, struct registry *registry UNUSED)
{
    struct world *w = context;

    w->registries++;
}

/* alice (the client), bob and carol; g by group, c by channel, n in clear. */
static inline struct registry_draft *world_draft(struct world *w, const struct registry *current)
{
    struct registry_draft *draft = registry_draft_new(current, bytes_text(NAMESPACE));

    assert_non_null(draft);
    if (current)
        return draft;
    draft_add(draft, w->self, "user");
    draft_add(draft, w->bob, "user");
    draft_add(draft, w->carol, "user");
    draft_add(draft, w->broker, "broker");
    draft_rule(draft, "g/**", "*", "*", SEAL_GROUP, AUTHENTICITY_GROUP);
    draft_rule(draft, "c/**", "*", "*", SEAL_CHANNEL, AUTHENTICITY_GROUP);
    draft_rule(draft, "n/**", "*", "*", SEAL_NONE, AUTHENTICITY_GROUP);
    return draft;
}

static inline struct client_settings world_settings(void)
{
    struct client_settings settings = {.session = session_settings_default(),
                                       .instance = 99,
                                       .window = 4 * FRAME_SIZE_MAX,
                                       .auto_reconnect = true,
                                       .wait_for_broker = true,
                                       .seal_none_allowed = true,
                                       .software = "test"};

    settings.session.connection_retry_limit = 0;
    return settings;
}

static inline void world_init_with(struct world *w, const struct client_settings *settings)
{
    struct client_host host = {w, world_deliver, world_done, world_persist, world_registry_changed};
    struct registry_draft *draft;

    *w = (struct world){.dice = {7}, .now = moment_at(START_MS + 1000), .next_app_id = 1};
    w->self = identity_make("alice");
    w->bob = identity_make("bob");
    w->carol = identity_make("carol");
    w->broker = identity_make("broker");
    draft = world_draft(w, NULL);
    w->registry = registry_make(draft);
    registry_draft_free(&draft);
    assert_int_equal(client_new(settings, w->self, w->registry, dice_source(&w->dice), 0, &host,
                                w->now, &w->client, NULL),
                     0);
}

static inline void world_init(struct world *w)
{
    struct client_settings settings = world_settings();

    world_init_with(w, &settings);
}

static inline void forget_told(struct world *w)
{
    while (w->told_count > 0)
        aico_message_free(&w->told[--w->told_count]);
}

/* The client's books (docs/decisions/0081) say what its counters say. */
static inline void expect_books(struct world *w)
{
    CLEANUP(buffer_deinit)
    struct buffer json = {0};

    assert_int_equal(client_ledger(w->client, &json), 0);
    if (!memmem(json.at, json.size, "\"balanced\":true", 15))
        fail_msg("%.*s", (int)json.size, (const char *)json.at);
}

static inline void world_deinit(struct world *w)
{
    if (!w->is_short)
        expect_books(w);
    client_free(&w->client);
    forget_told(w);
    registry_unref(&w->registry);
    identity_free(&w->self);
    identity_free(&w->bob);
    identity_free(&w->carol);
    identity_free(&w->broker);
}

/* --- what the core sends ------------------------------------------------------------------------
 */

static inline void out_publish(struct out *out, const struct record *record)
{
    assert_int_equal(record_parse_publish(record, &out->publish), 0);
    bytes_copy(out->topic, out->publish.topic_name);
    bytes_copy(out->to, out->publish.to_name);
    out->id = out->publish.id;
    out->size = out->publish.payload.size;
    bytes_copy(out->text, bytes_of(out->publish.payload.at, MIN(out->size, (size_t)63)));
    out->publish.payload = out->publish.topic_name = out->publish.to_name = bytes_of(NULL, 0);
}

static inline void out_take(struct world *w, const struct record *record)
{
    struct out *out = &w->out[w->out_count++];
    struct record_unsubscribe unsubscribe;
    struct record_subscribe subscribe;
    struct record_follow follow;
    struct record_settle settled;
    struct record_resolve resolve;
    struct record_ack ack;
    struct record_will will;
    struct record_credit credit;
    struct record_query query;
    struct record_bundle_ask bundle;
    struct record_ping ping;

    assert_true(w->out_count < OUT_MAX);
    *out = (struct out){.type = record->type};
    switch (record->type) {
    case RECORD_PUBLISH:
        out_publish(out, record);
        break;
    case RECORD_SUBSCRIBE:
        assert_int_equal(record_parse_subscribe(record, &subscribe), 0);
        out->id = subscribe.id;
        out->subscription = subscribe.subscription;
        out->policy = subscribe.policy;
        bytes_copy(out->filter, subscribe.filter);
        bytes_copy(out->queue, subscribe.queue);
        break;
    case RECORD_FOLLOW:
        assert_int_equal(record_parse_follow(record, &follow), 0);
        out->id = follow.id;
        out->subscription = follow.subscription;
        out->start = follow.start;
        out->value = follow.value;
        bytes_copy(out->name, follow.name);
        bytes_copy(out->filter, follow.filter);
        bytes_copy(out->queue, follow.queue);
        break;
    case RECORD_SETTLE:
        assert_int_equal(record_parse_settle(record, &settled), 0);
        out->id = settled.number;
        out->subscription = settled.subscription;
        out->code = settled.code;
        out->retry = settled.retry;
        bytes_copy(out->text, bytes_of(settled.reason.at, MIN(settled.reason.size, (size_t)63)));
        break;
    case RECORD_UNSUBSCRIBE:
        assert_int_equal(record_parse_unsubscribe(record, &unsubscribe), 0);
        out->id = unsubscribe.id;
        out->subscription = unsubscribe.subscription;
        break;
    case RECORD_WILL:
        assert_int_equal(record_parse_will(record, &will), 0);
        out->id = will.id;
        bytes_copy(out->topic, will.topic_name);
        bytes_copy(out->text, bytes_of(will.payload.at, MIN(will.payload.size, (size_t)63)));
        break;
    case RECORD_ACK:
        assert_int_equal(record_parse_ack(record, &ack), 0);
        out->id = ack.id;
        break;
    case RECORD_RESOLVE:
        assert_int_equal(record_parse_resolve(record, &resolve), 0);
        out->id = resolve.id;
        break;
    case RECORD_BUNDLE:
        assert_int_equal(record_parse_bundle_ask(record, &bundle), 0);
        out->id = bundle.id;
        break;
    case RECORD_QUERY:
        assert_int_equal(record_parse_query(record, &query), 0);
        out->id = query.id;
        break;
    case RECORD_CREDIT:
        assert_int_equal(record_parse_credit(record, &credit), 0);
        out->bytes = credit.bytes;
        break;
    case RECORD_PING:
    case RECORD_PONG:
        assert_int_equal(record_parse_ping(record, &ping), 0);
        out->id = ping.token;
        break;
    default:
        break;
    }
}

/* Takes every frame the core has. */
static inline void pull(struct world *w)
{
    struct bytes frame;
    struct record record;
    struct reader r;

    while (client_next_frame(w->client, w->now, &frame)) {
        size_t records = 0;

        w->frames++;
        assert_int_equal(frame_open(frame, &r), 0);
        while (frame_next(&r, &record) == 1) {
            out_take(w, &record);
            records++;
        }
        if (records > 1)
            w->largest_frame = MAX(w->largest_frame, frame.size);
        client_frame_sent(w->client, w->now);
    }
}

static inline void forget_out(struct world *w)
{
    w->out_count = 0;
}

/* The @nth record of @type sent since forget_out(); NULL: there is none. */
static inline struct out *sent(struct world *w, uint8_t type, size_t nth)
{
    for (size_t i = 0; i < w->out_count; i++)
        if (w->out[i].type == type && nth-- == 0)
            return &w->out[i];
    return NULL;
}

static inline size_t sent_count(struct world *w, uint8_t type)
{
    size_t count = 0;

    for (size_t i = 0; i < w->out_count; i++)
        count += w->out[i].type == type;
    return count;
}

/* The SUBSCRIBE for @filter. */
static inline struct out *sent_filter(struct world *w, const char *filter)
{
    for (size_t i = 0; i < w->out_count; i++)
        if (w->out[i].type == RECORD_SUBSCRIBE && strcmp(w->out[i].filter, filter) == 0)
            return &w->out[i];
    return NULL;
}

/* --- what the broker says -----------------------------------------------------------------------
 */

static uint8_t script_room[FRAME_SIZE_MAX];

static inline struct writer script(void)
{
    struct writer w = writer_over(script_room, sizeof(script_room));

    writer_u8(&w, WIRE_VERSION);
    return w;
}

/* In a block of its exact size, so that one byte too far stops the run. */
static inline int say(struct world *w, const struct writer *frame)
{
    uint8_t *copy = exact_copy(writer_view(frame));
    int r = client_receive(w->client, w->now, bytes_of(copy, frame->size));

    free(copy);
    return r;
}

static inline void write_component(struct writer *f, uint32_t number,
                                   const struct identity *identity)
{
    record_write_component(f, &(struct record_component){number, bytes_of(identity->public, 32),
                                                         bytes_text(identity->name)});
}

static inline void say_welcome(struct world *w, uint32_t window, uint64_t last_id)
{
    struct writer f = script();

    record_write_welcome(
        &f, &(struct record_welcome){.window = window,
                                     .self = 9,
                                     .registry_version = 1,
                                     .registry_hash =
                                         bytes_of(registry_hash(w->registry), REGISTRY_HASH_SIZE),
                                     .time_ms = START_MS,
                                     .last_id = last_id,
                                     .name = bytes_text("broker"),
                                     .software = bytes_text("scripted")});
    write_component(&f, 1, w->broker);
    write_component(&f, 5, w->bob);
    write_component(&f, 6, w->carol);
    record_write_topic(&f, 10, bytes_text("g/x"));
    record_write_topic(&f, 11, bytes_text("c/x"));
    record_write_topic(&f, 12, bytes_text("n/x"));
    record_write_topic(&f, 13, bytes_text("g/y"));
    record_write_topic(&f, 14, bytes_text("$bus/presence/bob"));
    record_write_topic(&f, 15, bytes_text("$bus/presence/alice"));
    assert_int_equal(say(w, &f), 0);
}

#define WINDOW (1024 * 1024)

static inline void link_with(struct world *w, uint32_t window, uint64_t last_id)
{
    assert_true(client_wants_link(w->client, w->now));
    client_link_up(w->client, w->now);
    pull(w);
    assert_non_null(sent(w, RECORD_HELLO, 0));
    forget_out(w);
    say_welcome(w, window, last_id);
    assert_true(client_is_ready(w->client));
    pull(w);
}

static inline void link_up(struct world *w)
{
    link_with(w, WINDOW, 0);
    forget_out(w);
}

/* The link breaks, and time passes until the next dial. */
static inline void lose_link(struct world *w)
{
    client_link_down(w->client, w->now, AICO_EUNREACHABLE, "lost");
    w->now.boot_ms += 60000;
    w->now.real_ms += 60000;
    forget_out(w);
}

static inline void pass(struct world *w, int64_t ms)
{
    w->now.boot_ms += ms;
    w->now.real_ms += ms;
    client_tick(w->client, w->now);
}

static inline void say_ok(struct world *w, uint64_t id, uint32_t value)
{
    struct writer f = script();

    record_write_ok(&f, id, value);
    assert_int_equal(say(w, &f), 0);
}

static inline void say_ack(struct world *w, uint64_t id)
{
    struct writer f = script();

    record_write_ack(&f, id);
    assert_int_equal(say(w, &f), 0);
}

static inline void write_refuse(struct writer *f, uint64_t id, int code)
{
    record_write_refuse(f, &(struct record_refuse){.code = (uint16_t)-code,
                                                   .id = id,
                                                   .hint = bytes_text("as scripted")});
}

static inline void say_refuse(struct world *w, uint64_t id, int code)
{
    struct writer f = script();

    write_refuse(&f, id, code);
    assert_int_equal(say(w, &f), 0);
}

static inline void write_deliver(struct writer *f, struct record_deliver d, const char *payload)
{
    d.payload = bytes_text(payload);
    if (d.sender == 0)
        d.sender = 5;
    if (d.id == 0)
        d.id = 77;
    d.total = (uint32_t)d.payload.size;
    record_write_deliver(f, &d);
}

static inline void say_deliver(struct world *w, struct record_deliver d, const char *payload)
{
    struct writer f = script();

    write_deliver(&f, d, payload);
    assert_int_equal(say(w, &f), 0);
}

static inline void say_gap(struct world *w, uint32_t topic, uint64_t count, uint64_t last_id,
                           bool direct)
{
    struct writer f = script();

    record_write_gap(&f, &(struct record_gap){.cause = (uint16_t)-AICO_ESLOW,
                                              .sender = 5,
                                              .topic = topic,
                                              .count = count,
                                              .last_id = last_id,
                                              .direct = direct});
    assert_int_equal(say(w, &f), 0);
}

static inline void say_presence(struct world *w, uint32_t topic, const char *state)
{
    char text[64];

    (void)snprintf(text, sizeof(text), "{\"state\":\"%s\"}", state);
    say_deliver(w,
                (struct record_deliver){
                    .delivery = DELIVERY_RETAINED, .sender = 1, .topic = topic, .direct = true},
                text);
}

/* --- what the application does ------------------------------------------------------------------
 */

/* Subscribes, and the broker agrees. */
static inline uint32_t subscribe(struct world *w, const char *filter)
{
    struct ended ended = {0};
    struct out *out;

    forget_out(w);
    client_subscribe(w->client, w->now, bytes_text(filter), SLOW_DROP_OLD, true, bytes_of(NULL, 0),
                     1000, &ended);
    pull(w);
    out = sent_filter(w, filter);
    assert_non_null(out);
    say_ok(w, out->id, out->subscription);
    assert_true(ended.ended);
    assert_int_equal(ended.code, 0);
    return ended.subscription;
}

static inline uint64_t push(struct world *w, const char *topic, const char *to,
                            struct bytes payload)
{
    struct outgoing head = {.id = w->next_app_id++,
                            .payload_size = (uint32_t)payload.size,
                            .topic_size = (uint8_t)strlen(topic),
                            .to_size = (uint8_t)strlen(to),
                            .delivery = DELIVERY_EVENT};
    struct fifo queue = {0};

    outgoing_write(fifo_push(&queue, outgoing_size(&head)), &head, bytes_text(topic),
                   bytes_text(to), bytes_of(NULL, 0), payload);
    client_push(w->client, &queue);
    fifo_deinit(&queue);
    return head.id;
}

static inline uint64_t publish(struct world *w, const char *topic, const char *text)
{
    return push(w, topic, "", bytes_text(text));
}

/* --- expectations -------------------------------------------------------------------------------
 */

static inline size_t told_count(struct world *w, enum aico_message_kind kind)
{
    size_t count = 0;

    for (size_t i = 0; i < w->told_count; i++)
        count += w->told[i]->kind == kind;
    return count;
}

/* The first thing of @kind the application was told. */
static inline struct aico_message *told(struct world *w, enum aico_message_kind kind)
{
    for (size_t i = 0; i < w->told_count; i++)
        if (w->told[i]->kind == kind)
            return w->told[i];
    fail_msg("was not told");
    return NULL;
}

static inline void expect_balance(struct world *w)
{
    struct aico_client_stats s;

    client_get_stats(w->client, &s);
    assert_int_equal(s.published, s.acknowledged + s.refused + s.queued + s.unacknowledged);
}

static inline void expect_end(struct world *w, int code)
{
    const char *text;
    int got = 0;

    assert_true(client_is_ended(w->client, &got, &text));
    assert_int_equal(got, code);
}

#endif
