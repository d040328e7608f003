/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A broker core with fake clients around it, for tests: registries made from a few lines, clients
 * that speak records and remember what they were told. Header only, one world per test.
 */
#ifndef TEST_WORLD_H
#define TEST_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
/* keep: cmocka needs the above first */
#include <cmocka.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/hex.h"
#include "broker/broker.h"
#include "crypto/sign.h"
#include "trust/document.h"
#include "trust/registry.h"
#include "vectors.h"
#include "wire/stream_record.h"

#define CLIENTS_MAX 16
#define NAMES_MAX 4096

/* One record a client received, copied. */
struct item {
    struct item *next;
    uint8_t type;
    int code; /* BYE, REFUSE, GAP: negative */
    uint64_t id, count, last_id;
    uint32_t value; /* OK, CREDIT, RESOLVED, offset of a fragment */
    uint32_t total;
    uint8_t delivery;
    bool direct, fragment, kept;
    uint64_t request;
    char topic[256];
    char sender[65];
    char text[512];
    size_t size;
    uint8_t *payload;
};

struct client {
    const uint8_t *identity; /* NULL: made from its name */
    struct world *world;
    struct broker_peer *peer; /* NULL: not linked */
    char name[65];
    uint64_t instance, next_id;
    uint32_t next_subscription;
    uint32_t window;   /* given in HELLO */
    bool gives_credit; /* returns what it received at once */
    bool stalled;      /* the transport takes nothing for it */
    int kicked;        /* code it was cut with; 1: not cut */
    struct item *items;
    struct record_welcome welcome; /* without its texts */
    uint8_t welcome_hash[16];
    char *topics[NAMES_MAX];
    char *components[NAMES_MAX];
    size_t received_bytes; /* of DELIVER by subscription */
    size_t renewed;        /* components announced again in one session */
};

struct world {
    struct broker *broker;
    struct broker_settings settings;
    struct registry *registry;
    struct moment now;
    uint64_t version;
    struct client clients[CLIENTS_MAX];
    size_t client_count;
};

/* --- registries ----------------------------------------------------------------------------- */

static inline void identity_of(const char *name, uint8_t identity[32])
{
    memset(identity, 0, 32);
    memcpy(identity, "id:", 3);
    memcpy(identity + 3, name, MIN(strlen(name), (size_t)28));
}

/*
 * @components  "NAME state role,role" separated by newlines
 * @rules       "FILTER publish WHO subscribe WHO seal KIND[| what follows freshness]" separated by
 *              newlines
 * A broker component is added.
 */
static inline struct registry *registry_make(uint64_t version, const char *components,
                                             const char *rules)
{
    static const struct secret owner = {{7}};
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    uint8_t public[SIGN_PUBLIC_SIZE], signature[SIGNATURE_SIZE], identity[32];
    char hex[2 * SIGNATURE_SIZE + 1], other[65];
    struct registry *registry = NULL;
    struct aico_error err = {0};
    char *copy, *rest, *line;
    int r;

    assert_int_equal(crypto_start(), 0);
    sign_public(&owner, public);
    hex_write(bytes_of(public, 32), hex);
    buffer_printf(&text, "aico-registry 1\nnamespace aico\nversion %llu\nissued 1763668800000\n",
                  (unsigned long long)version);
    buffer_printf(&text, "owner %s\nprevious %064d\n", hex, version == 1 ? 0 : 1);

    copy = rest = malloc(strlen(components) + 64);
    (void)sprintf(copy, "broker active broker\n%s", components);
    while ((line = strsep(&rest, "\n")) != NULL) {
        char name[65], state[16], roles[128];

        if (sscanf(line, "%64s %15s %127s", name, state, roles) != 3)
            continue;
        identity_of(name, identity);
        hex_write(bytes_of(identity, 32), hex);
        identity[31] = 1;
        hex_write(bytes_of(identity, 32), other);
        buffer_printf(&text, "component %s %s %s %s %s 1763668800000\n", name, hex, other, state,
                      roles);
    }
    free(copy);
    copy = rest = strdup(rules);
    while ((line = strsep(&rest, "\n")) != NULL)
        if (*line)
            buffer_printf(&text, "rule %.*s authenticity group padding none freshness 0%s\n",
                          (int)strcspn(line, "|"), line,
                          strchrnul(line, '|') + !!strchr(line, '|'));
    free(copy);

    assert_int_equal(
        sign_make(&owner, "registry", buffer_view(&text), bytes_of(NULL, 0), signature), 0);
    hex_write(bytes_of(signature, sizeof(signature)), hex);
    buffer_printf(&text, "signature %s\n", hex);
    r = registry_parse(buffer_view(&text), public, bytes_text("aico"), &registry, &err);
    if (r < 0)
        fail_msg("registry: %s: %s", aico_error_name(r), err.text);
    return registry;
}

#define COMPONENTS                                                                                 \
    "a active user\nb active user\nc active user\nd active user\nadmin active admin\n"
/* open/... for everybody; up/... from a to b; sealed/... demands envelopes */
#define RULES                                                                                      \
    "up/** publish a subscribe b,admin seal none\n"                                                \
    "sealed/** publish * subscribe * seal group\n"                                                 \
    "open/** publish * subscribe * seal none\n"

/* --- the world ------------------------------------------------------------------------------ */

#define ACK_DELAY_MS 10 /* of broker_settings_default() */

static inline void world_init_with(struct world *w, const struct broker_settings *settings,
                                   const char *components, const char *rules)
{
    *w = (struct world){.settings = *settings, .version = 1};
    w->now = (struct moment){1763668900000, 1000000};
    w->registry = registry_make(1, components, rules);
    assert_int_equal(broker_new(settings, w->registry, w->now, &w->broker), 0);
}

static inline void world_init(struct world *w)
{
    struct broker_settings settings;

    broker_settings_default(&settings);
    world_init_with(w, &settings, COMPONENTS, RULES);
}

/* The next registry, by the owner of registry_make(); @draft is used up. */
static inline void registry_next(struct world *w, struct registry_draft *draft)
{
    static const struct secret owner = {{7}};
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct registry *registry = NULL;
    uint8_t public[SIGN_PUBLIC_SIZE];

    sign_public(&owner, public);
    assert_int_equal(registry_draft_sign(draft, &owner, 1763668800000, &text), 0);
    assert_int_equal(
        registry_parse(buffer_view(&text), public, bytes_text("aico"), &registry, NULL), 0);
    registry_draft_free(&draft);
    broker_set_registry(w->broker, w->now, registry);
    registry_unref(&w->registry);
    w->registry = registry;
    w->version = registry_version(registry);
}

static inline void item_free(struct item *item)
{
    free(item->payload);
    free(item);
}

static inline void client_forget(struct client *c)
{
    while (c->items) {
        struct item *item = c->items;

        c->items = item->next;
        item_free(item);
    }
    for (size_t i = 0; i < NAMES_MAX; i++) {
        free(c->topics[i]);
        free(c->components[i]);
        c->topics[i] = c->components[i] = NULL;
    }
}

/* The rows say what the totals say, and nothing is missing. */
static inline void check_balance(const struct world *w)
{
    CLEANUP(buffer_deinit)
    struct buffer json = {0};

    assert_int_equal(
        broker_status_json(w->broker, w->now, bytes_text("ledger"), bytes_of(NULL, 0), &json), 0);
    if (!memmem(json.at, json.size, "\"balanced\":true", 15))
        fail_msg("%.*s", (int)json.size, (const char *)json.at);
}

static inline void world_deinit(struct world *w)
{
    check_balance(w);
    for (size_t i = 0; i < w->client_count; i++)
        client_forget(&w->clients[i]);
    broker_free(&w->broker);
    registry_unref(&w->registry);
}

/* --- what clients receive ------------------------------------------------------------------- */

static inline void name_set(char **names, uint32_t number, struct bytes name, bool again)
{
    assert_true(number < NAMES_MAX);
    if (!again)
        assert_null(names[number]); /* a number is told once */
    free(names[number]);
    names[number] = strndup((const char *)name.at, name.size);
}

static inline const char *name_get(struct client *c, char **names, uint32_t number)
{
    (void)c;
    assert_true(number < NAMES_MAX);
    assert_non_null(names[number]); /* nothing is named before it was introduced */
    return names[number];
}

static inline void put_topic_name(struct client *c, struct item *item, uint32_t number,
                                  struct bytes name)
{
    if (number == TOPIC_NUMBER_CONTROL)
        strcpy(item->topic, TOPIC_CONTROL);
    else if (number == TOPIC_NUMBER_HEADS)
        strcpy(item->topic, TOPIC_HEADS);
    else if (number)
        strcpy(item->topic, name_get(c, c->topics, number));
    else
        memcpy(item->topic, name.at, name.size);
}

static inline void client_send(struct client *c, const struct writer *frame);

static inline void give_credit(struct client *c, uint32_t bytes)
{
    uint8_t room[32];
    struct writer w = writer_over(room, sizeof(room));

    writer_u8(&w, WIRE_VERSION);
    record_write_credit(&w, bytes);
    client_send(c, &w);
}

static inline void on_deliver(struct client *c, struct item *item, const struct record *record)
{
    struct record_deliver d;

    assert_int_equal(record_parse_deliver(record, &d), 0);
    item->id = d.id;
    item->delivery = d.delivery;
    item->direct = d.direct;
    item->kept = d.kept;
    item->fragment = d.fragment;
    item->total = d.total;
    item->value = d.offset;
    item->request = d.request;
    item->size = d.payload.size;
    item->payload = exact_copy(d.payload);
    put_topic_name(c, item, d.topic, d.topic_name);
    strcpy(item->sender, name_get(c, c->components, d.sender));
    if (!d.direct)
        c->received_bytes += record->whole.size;
}

static inline void client_take(struct client *c, const struct record *record)
{
    struct item *item = calloc(1, sizeof(*item)), **end = &c->items;

    assert_non_null(item);
    item->type = record->type;
    switch (record->type) {
    case RECORD_WELCOME:
        assert_int_equal(record_parse_welcome(record, &c->welcome), 0);
        bytes_copy(c->welcome_hash, c->welcome.registry_hash);
        item->last_id = c->welcome.last_id;
        break;
    case RECORD_TOPIC: {
        struct record_topic t;

        assert_int_equal(record_parse_topic(record, &t), 0);
        name_set(c->topics, t.number, t.topic, false);
        break;
    }
    case RECORD_COMPONENT: {
        struct record_component m;

        assert_int_equal(record_parse_component(record, &m), 0);
        if (c->components[m.number])
            c->renewed++;
        name_set(c->components, m.number, m.name, true);
        break;
    }
    case RECORD_BYE: {
        struct record_bye m;

        assert_int_equal(record_parse_bye(record, &m), 0);
        item->code = -(int)m.code;
        bytes_copy(item->text, m.text);
        break;
    }
    case RECORD_PING:
    case RECORD_PONG: {
        struct record_ping m;

        assert_int_equal(record_parse_ping(record, &m), 0);
        item->id = m.token;
        break;
    }
    case RECORD_CREDIT: {
        struct record_credit m;

        assert_int_equal(record_parse_credit(record, &m), 0);
        item->value = m.bytes;
        break;
    }
    case RECORD_REGISTRY: {
        struct record_registry m;

        assert_int_equal(record_parse_registry(record, &m), 0);
        item->id = m.version;
        item->total = m.total;
        item->value = m.offset;
        item->size = m.piece.size;
        break;
    }
    case RECORD_OK: {
        struct record_ok m;

        assert_int_equal(record_parse_ok(record, &m), 0);
        item->id = m.id;
        item->value = m.value;
        break;
    }
    case RECORD_REFUSE: {
        struct record_refuse m;

        assert_int_equal(record_parse_refuse(record, &m), 0);
        item->id = m.id;
        item->code = -(int)m.code;
        item->value = m.rule_line;
        bytes_copy(item->topic, m.filter);
        bytes_copy(item->text, m.hint);
        break;
    }
    case RECORD_ACK: {
        struct record_ack m;

        assert_int_equal(record_parse_ack(record, &m), 0);
        item->id = m.id;
        break;
    }
    case RECORD_DELIVER:
        on_deliver(c, item, record);
        break;
    case RECORD_GAP: {
        struct record_gap m;

        assert_int_equal(record_parse_gap(record, &m), 0);
        item->code = -(int)m.cause;
        item->count = m.count;
        item->last_id = m.last_id;
        item->direct = m.direct;
        item->kept = m.kept;
        put_topic_name(c, item, m.topic, m.topic_name);
        strcpy(item->sender, name_get(c, c->components, m.sender));
        break;
    }
    case RECORD_RESOLVED: {
        struct record_resolved m;

        assert_int_equal(record_parse_resolved(record, &m), 0);
        item->id = m.id;
        item->value = m.component;
        strcpy(item->sender, name_get(c, c->components, m.component));
        break;
    }
    case RECORD_ANSWER: {
        struct record_answer m;

        assert_int_equal(record_parse_answer(record, &m), 0);
        item->id = m.id;
        item->total = m.total;
        item->value = m.offset;
        item->size = m.piece.size;
        item->payload = exact_copy(m.piece);
        break;
    }
    case RECORD_ITEM: {
        struct record_item m;

        assert_int_equal(record_parse_item(record, &m), 0);
        item->id = m.number;
        item->count = m.attempt;
        item->value = m.subscription;
        item->delivery = m.delivery;
        item->size = m.payload.size;
        item->payload = exact_copy(m.payload);
        put_topic_name(c, item, m.topic, m.topic_name);
        strcpy(item->sender, name_get(c, c->components, m.sender));
        break;
    }
    case RECORD_MISSED: {
        struct record_missed m;

        assert_int_equal(record_parse_missed(record, &m), 0);
        item->code = -(int)m.cause;
        item->id = m.token;
        item->count = m.count;
        item->last_id = m.number;
        item->value = m.attempt;
        item->kept = m.one;
        put_topic_name(c, item, m.topic, m.topic_name);
        strcpy(item->sender, name_get(c, c->components, m.sender));
        break;
    }
    case RECORD_RECEIVERS: {
        struct record_receivers m;

        assert_int_equal(record_parse_receivers(record, &m), 0);
        item->id = m.id;
        item->total = m.total;
        item->size = m.numbers.size;
        item->payload = exact_copy(m.numbers);
        break;
    }
    case RECORD_KEY:
        break;
    case RECORD_READING: {
        struct record_reading m;

        assert_int_equal(record_parse_reading(record, &m), 0);
        item->size = m.statement.size;
        bytes_copy(item->sender, bytes_of(m.identity.at + 3, 1)); /* identity_of() */
        bytes_copy(item->text, m.statement);
        break;
    }
    case RECORD_PREKEYS: {
        struct record_prekeys_left m;

        assert_int_equal(record_parse_prekeys_left(record, &m), 0);
        item->id = m.number;
        item->value = m.left;
        break;
    }
    case RECORD_BUNDLE: {
        struct record_bundle m;

        assert_int_equal(record_parse_bundle(record, &m), 0);
        item->id = m.id;
        item->value = m.number;
        bytes_copy(item->sender, m.name);
        item->size = m.statement.size;
        item->payload = exact_copy(m.statement);
        break;
    }
    default:
        fail_msg("record of type %u to a client", record->type);
    }
    while (*end)
        end = &(*end)->next;
    *end = item;
}

static inline void client_receive(struct client *c, struct bytes frame)
{
    uint8_t *copy = exact_copy(frame);
    size_t before = c->received_bytes;
    struct record record;
    struct reader r;
    int more;

    assert_int_equal(frame_open(bytes_of(copy, frame.size), &r), 0);
    while ((more = frame_next(&r, &record)) == 1)
        client_take(c, &record);
    assert_int_equal(more, 0);
    free(copy);
    (void)before;
}

/* Carries every frame that can be carried and cuts every link that must be cut. */
static inline void pump(struct world *w)
{
    struct broker_peer *peer;
    struct bytes frame;
    int code;

    for (;;) {
        bool has_more = broker_work(w->broker, w->now);

        if (broker_next_frame(w->broker, w->now, &peer, &frame)) {
            struct client *c = broker_peer_cookie(peer);
            size_t before = c->received_bytes;

            if (c->stalled) {
                broker_frame_blocked(w->broker, peer);
                continue;
            }
            client_receive(c, frame);
            broker_frame_sent(w->broker, peer);
            if (c->gives_credit && c->received_bytes > before && c->peer)
                give_credit(c, (uint32_t)(c->received_bytes - before));
        } else if (broker_next_kick(w->broker, w->now, &peer, &code)) {
            struct client *c = broker_peer_cookie(peer);

            c->kicked = code;
            if (c->peer == peer)
                c->peer = NULL;
            broker_peer_gone(w->broker, w->now, peer);
        } else if (!has_more) {
            break;
        }
    }
    check_balance(w);
}

/* Time passes; timers run when they are due. */
static inline void advance(struct world *w, int64_t ms)
{
    int64_t until = w->now.boot_ms + ms;

    for (;;) {
        int64_t due = broker_deadline(w->broker);

        if (due > until)
            break;
        due = MAX(due, w->now.boot_ms);
        w->now.real_ms += due - w->now.boot_ms;
        w->now.boot_ms = due;
        broker_tick(w->broker, w->now);
        pump(w);
    }
    w->now.real_ms += until - w->now.boot_ms;
    w->now.boot_ms = until;
    pump(w);
}

/* The first item of @type, taken out; NULL when there is none. The caller frees it. */
static inline struct item *take(struct client *c, uint8_t type)
{
    for (struct item **at = &c->items; *at; at = &(*at)->next)
        if ((*at)->type == type) {
            struct item *item = *at;

            *at = item->next;
            return item;
        }
    return NULL;
}

static inline size_t count_items(const struct client *c, uint8_t type)
{
    size_t count = 0;

    for (const struct item *item = c->items; item; item = item->next)
        count += item->type == type;
    return count;
}

static inline void drop_items(struct client *c)
{
    while (c->items) {
        struct item *item = c->items;

        c->items = item->next;
        item_free(item);
    }
}

/* --- what clients send ---------------------------------------------------------------------- */

/* Hands a frame over as it is, in a heap block of its exact size. */
static inline int send_bytes(struct client *c, struct bytes frame)
{
    uint8_t *copy = exact_copy(frame);
    int r =
        broker_peer_receive(c->world->broker, c->world->now, c->peer, bytes_of(copy, frame.size));

    free(copy);
    return r;
}

static inline void client_send(struct client *c, const struct writer *frame)
{
    assert_false(frame->failed);
    (void)send_bytes(c, writer_view(frame));
}

static uint8_t frame_room[FRAME_SIZE_MAX];

static inline struct writer frame_begin(void)
{
    struct writer w = writer_over(frame_room, sizeof(frame_room));

    writer_u8(&w, WIRE_VERSION);
    return w;
}

static inline struct client *client_new(struct world *w, const char *name)
{
    struct client *c = &w->clients[w->client_count++];

    assert_true(w->client_count <= CLIENTS_MAX);
    *c = (struct client){.world = w, .instance = 1000 + w->client_count, .next_id = 1};
    (void)snprintf(c->name, sizeof(c->name), "%s", name);
    c->window = 1024 * 1024;
    c->gives_credit = true;
    c->kicked = 1;
    return c;
}

static inline void client_link(struct client *c)
{
    uint8_t identity[32];
    int code = 0;

    for (size_t i = 0; i < NAMES_MAX; i++) {
        free(c->topics[i]);
        free(c->components[i]);
        c->topics[i] = c->components[i] = NULL;
    }
    c->kicked = 1;
    c->next_subscription = 1;
    identity_of(c->name, identity);
    c->peer = broker_peer_open(c->world->broker, c->world->now, bytes_text(c->name),
                               c->identity ? c->identity : identity, "test:1", c, &code);
    assert_non_null(c->peer);
}

static inline void client_hello(struct client *c, uint64_t registry_version)
{
    static const uint8_t hash[16];
    struct writer w = frame_begin();

    record_write_hello(&w, &(struct record_hello){
                               .version = WIRE_VERSION,
                               .instance = c->instance,
                               .registry_version = registry_version,
                               .registry_hash = bytes_of(hash, 16),
                               .window = c->window,
                               .name = bytes_text(c->name),
                               .software = bytes_text("test client"),
                           });
    client_send(c, &w);
}

/* Links, says HELLO, expects WELCOME. */
static inline void client_go(struct client *c)
{
    struct item *item;

    client_link(c);
    client_hello(c, c->world->version);
    pump(c->world);
    item = take(c, RECORD_WELCOME);
    assert_non_null(item);
    item_free(item);
    assert_true(broker_peer_is_ready(c->peer));
}

static inline struct client *connect_as(struct world *w, const char *name)
{
    struct client *c = client_new(w, name);

    client_go(c);
    return c;
}

static inline void client_lose_link(struct client *c)
{
    struct broker_peer *peer = c->peer;

    c->peer = NULL;
    broker_peer_gone(c->world->broker, c->world->now, peer);
}

static inline uint64_t send_subscribe(struct client *c, const char *filter, uint8_t policy,
                                      bool serve)
{
    struct writer w = frame_begin();
    uint64_t id = c->next_id++;

    record_write_subscribe(&w, &(struct record_subscribe){.id = id,
                                                          .subscription = c->next_subscription++,
                                                          .policy = policy,
                                                          .serve = serve,
                                                          .filter = bytes_text(filter)});
    client_send(c, &w);
    return id;
}

/* Subscribes and expects OK. Returns the subscription's number. */
static inline uint32_t subscribe_with(struct client *c, const char *filter, uint8_t policy,
                                      bool serve)
{
    uint64_t id = send_subscribe(c, filter, policy, serve);
    struct item *item;

    pump(c->world);
    item = take(c, RECORD_OK);
    assert_non_null(item);
    assert_true(item->id == id);
    item_free(item);
    return c->next_subscription - 1;
}

static inline uint32_t subscribe(struct client *c, const char *filter)
{
    return subscribe_with(c, filter, SLOW_DROP_OLD, false);
}

/* As one of @queue; expects OK. */
static inline uint32_t subscribe_queue(struct client *c, const char *filter, const char *queue)
{
    struct writer w = frame_begin();
    struct item *item;

    record_write_subscribe(&w, &(struct record_subscribe){.id = c->next_id++,
                                                          .subscription = c->next_subscription++,
                                                          .filter = bytes_text(filter),
                                                          .queue = bytes_text(queue)});
    client_send(c, &w);
    pump(c->world);
    item = take(c, RECORD_OK);
    assert_non_null(item);
    item_free(item);
    return c->next_subscription - 1;
}

static inline uint64_t send_will(struct client *c, const char *topic, const char *payload)
{
    struct writer w = frame_begin();
    uint64_t id = c->next_id++;

    record_write_will(&w, &(struct record_will){.id = id,
                                                .topic_name = bytes_text(topic),
                                                .payload = bytes_text(payload)});
    client_send(c, &w);
    pump(c->world);
    return id;
}

/* The first @count messages by subscription of this session are here. */
static inline void send_ack(struct client *c, uint64_t count)
{
    struct writer w = frame_begin();

    record_write_ack(&w, count);
    client_send(c, &w);
}

static inline uint64_t send_publish(struct client *c, struct record_publish p)
{
    struct writer w = frame_begin();

    if (p.id == 0)
        p.id = c->next_id++;
    record_write_publish(&w, &p);
    client_send(c, &w);
    return p.id;
}

static inline uint64_t publish(struct client *c, const char *topic, const char *payload)
{
    return send_publish(c, (struct record_publish){.topic_name = bytes_text(topic),
                                                   .payload = bytes_text(payload)});
}

static inline uint64_t publish_size(struct client *c, const char *topic, size_t size)
{
    static const uint8_t zeros[FRAGMENT_SIZE_MAX];

    return send_publish(c, (struct record_publish){.topic_name = bytes_text(topic),
                                                   .payload = bytes_of(zeros, size)});
}

static inline uint64_t publish_to(struct client *c, const char *to, const char *topic,
                                  uint8_t delivery, const char *payload)
{
    return send_publish(c, (struct record_publish){.delivery = delivery,
                                                   .to = NUMBER_BY_NAME,
                                                   .to_name = bytes_text(to),
                                                   .topic_name = bytes_text(topic),
                                                   .payload = bytes_text(payload)});
}

static inline uint64_t publish_fragment(struct client *c, const char *topic, uint64_t id,
                                        size_t total, size_t offset, size_t size)
{
    static uint8_t bytes[FRAGMENT_SIZE_MAX];

    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(offset + i);
    return send_publish(c, (struct record_publish){.id = id,
                                                   .topic_name = bytes_text(topic),
                                                   .fragment = true,
                                                   .total = (uint32_t)total,
                                                   .offset = (uint32_t)offset,
                                                   .payload = bytes_of(bytes, size)});
}

/* --- expectations --------------------------------------------------------------------------- */

#define expect_refused(c, wanted_id, wanted_code)                                                  \
    do {                                                                                           \
        struct item *refusal_ = take(c, RECORD_REFUSE);                                            \
        if (!refusal_)                                                                             \
            fail_msg("not refused");                                                               \
        assert_true(refusal_->id == (wanted_id));                                                  \
        if (refusal_->code != (wanted_code))                                                       \
            fail_msg("refused with %s (%s)", aico_error_name(refusal_->code), refusal_->text);     \
        item_free(refusal_);                                                                       \
    } while (0)

#define expect_delivered(c, wanted_topic, wanted_sender, wanted_payload)                           \
    do {                                                                                           \
        struct item *got_ = take(c, RECORD_DELIVER);                                               \
        if (!got_)                                                                                 \
            fail_msg("nothing was delivered");                                                     \
        assert_string_equal(got_->topic, wanted_topic);                                            \
        assert_string_equal(got_->sender, wanted_sender);                                          \
        assert_true(bytes_equal_text(bytes_of(got_->payload, got_->size), wanted_payload));        \
        item_free(got_);                                                                           \
    } while (0)

#define expect_nothing(c, type) assert_int_equal(count_items(c, type), 0)

#define expect_bye(c, wanted_code)                                                                 \
    do {                                                                                           \
        struct item *bye_ = take(c, RECORD_BYE);                                                   \
        if (!bye_)                                                                                 \
            fail_msg("no BYE");                                                                    \
        if (bye_->code != (wanted_code))                                                           \
            fail_msg("BYE %s (%s)", aico_error_name(bye_->code), bye_->text);                      \
        item_free(bye_);                                                                           \
        assert_int_equal((c)->kicked, wanted_code);                                                \
    } while (0)

#endif
