/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The session with the broker: HELLO and WELCOME, keep-alive, credit, when to dial again, and which
 * handler takes which record.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "client/internal.h"
#include "client/message.h"
#include "session/stored.h"

#define SPARE_CHUNKS                                                                               \
    28 /* emptied memory of what is published: of queue and window 2 MiB each with one more */
#define BACKOFF_FIRST_MS 100
#define BACKOFF_LAST_MS 30000
#define PINGS_UNANSWERED_MAX 2

int64_t random_below(struct client *client, int64_t bound)
{
    uint32_t value = 0;

    if (bound <= 0)
        return 0;
    client->random.bytes(client->random.context, &value, sizeof(value));
    return (int64_t)(value % (uint64_t)bound);
}

/* Room for one record behind what already waits; client_control_end() keeps what was written.
 * Without memory the writer has failed from the start and the link ends: nothing is dropped
 * silently. */
struct writer client_control_begin(struct client *client, size_t room)
{
    uint8_t *at = buffer_reserve(&client->control, room);
    struct writer w = writer_over(at, at ? room : 0);

    w.failed = at == NULL;
    return w;
}

void client_control_end(struct client *client, const struct writer *w)
{
    if (w->failed)
        client_end(client, AICO_ENOMEM, "no memory for a record to the broker");
    else
        client->control.size += w->size;
}

int client_new(const struct client_settings *settings, struct identity *self,
               struct registry *registry, struct random_source random, uint64_t last_generation,
               const struct client_host *host, struct moment now, struct client **ret_client,
               struct aico_error *err)
{
    const struct component *me = registry_find_identity(registry, self->public);
    CLEANUP(client_free)
    struct client *client = NULL;
    int r;

    if (!me)
        return aico_error_set(err, AICO_EUNKNOWN,
                              "%s is not in the registry, run: aico-keytool add or new",
                              self->name);
    if (!component_is_active(registry, me, now.real_ms))
        return aico_error_set(err, AICO_EREVOKED,
                              "the registry says %s is revoked; a new identity is needed: "
                              "aico-keytool new NAME",
                              self->name);

    client = calloc(1, sizeof(*client));
    if (!client)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    client->settings = *settings;
    client->host = *host;
    client->random = random;
    client->self = self;
    client->registry = registry_ref(registry);
    client->rule_generation = client->match_generation = 1;
    client->next_id = 1;
    client->queue.more_spares = client->window.more_spares = SPARE_CHUNKS;
    client->down_since_ms = now.boot_ms;
    client->frame = malloc(FRAME_SIZE_MAX);
    if (!client->frame)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = sessions_new(&settings->session, self, registry, random, last_generation, now,
                     &client->sessions, err);
    /* Says that we are going to say what we listen to: until then nothing is missing. */
    if (r == 0)
        r = sessions_subscribed(client->sessions, now, bytes_text(TOPIC_HEADS), false);
    if (r < 0)
        return r;
    *ret_client = STEAL(client);
    return 0;
}

int client_load_chains(struct client *client, struct moment now, struct bytes chains)
{
    return sessions_load_chains(client->sessions, now, chains);
}

void client_free(struct client **client)
{
    struct client *c = *client;

    if (!c)
        return;
    operations_free(c);
    publish_free(c);
    values_free(c);
    receipts_free(c);
    owed_free(c);
    missed_free(c);
    ledger_clear(c);
    once_free(c);
    seen_free(c);
    buffer_wipe_deinit(&c->will);
    receive_free(c);
    client_subscriptions_free(c);
    client_names_free(c);
    sessions_free(&c->sessions);
    registry_unref(&c->registry);
    buffer_wipe_deinit(&c->control);
    buffer_deinit(&c->registry_document);
    free(c->frame);
    free(c);
    *client = NULL;
}

void client_end(struct client *client, int code, const char *text)
{
    if (client->state == CLIENT_ENDED)
        return;
    client->state = CLIENT_ENDED;
    client->end_code = code;
    (void)snprintf(client->end_text, sizeof(client->end_text), "%s", text);
    operations_link_down(client, code, client->end_text);
    while (client->operations)
        operation_fail(client, client->operations, code, client->end_text);
}

bool client_is_ready(const struct client *client)
{
    return client->state == CLIENT_READY;
}

bool client_is_ended(const struct client *client, int *ret_code, const char **ret_text)
{
    if (client->state != CLIENT_ENDED)
        return false;
    *ret_code = client->end_code;
    *ret_text = client->end_text;
    return true;
}

struct registry *client_registry(const struct client *client)
{
    return client->registry;
}

bool client_wants_link(struct client *client, struct moment now)
{
    if (client->state != CLIENT_DOWN || now.boot_ms < client->retry_at_ms)
        return false;
    client->state = CLIENT_DIALING;
    return true;
}

bool client_has_link(const struct client *client)
{
    return client->state == CLIENT_HELLO || client->state == CLIENT_READY;
}

void client_link_up(struct client *client, struct moment now)
{
    struct writer w;

    if (client->state != CLIENT_DOWN && client->state != CLIENT_DIALING)
        return;
    client->state = CLIENT_HELLO;
    client->hello_deadline_ms = now.boot_ms + client->settings.session.handshake_timeout_ms;
    client->heard_ms = now.boot_ms;
    client->control.size = 0;
    w = client_control_begin(client, RECORD_HEAD_SIZE + 600);
    record_write_hello(
        &w, &(struct record_hello){
                .version = WIRE_VERSION,
                .instance = client->settings.instance,
                .registry_version = registry_version(client->registry),
                .registry_hash = bytes_of(registry_hash(client->registry), REGISTRY_HASH_SIZE),
                .window = client->settings.window,
                .name = bytes_text(client->self->name),
                .software = bytes_text(client->settings.software),
            });
    client_control_end(client, &w);
}

/* These do not become better by trying again. */
static bool is_final(int code)
{
    switch (code) {
    case AICO_EREVOKED:
    case AICO_EUNKNOWN:
    case AICO_EBROKERKEY:
    case AICO_EDUPLICATE:
    case AICO_EKICKED:
    case AICO_ENAMESPACE:
    case AICO_EVERSION:
    case AICO_EPOLICY:
    case AICO_ENOMEM:
        return true;
    default:
        return false;
    }
}

/* The owner has given the broker another key while we ran, and it was not restarted yet: then the
 * key it shows is the former one, and we wait for the new one. */
static bool waits_for_key(const struct client *client, int code)
{
    return code == AICO_EBROKERKEY && client->broker_key_moved;
}

static void schedule_dial(struct client *client, struct moment now)
{
    int64_t bound = BACKOFF_LAST_MS;

    if (client->attempts < 8)
        bound = (int64_t)BACKOFF_FIRST_MS << client->attempts;
    client->attempts++;
    client->state = CLIENT_DOWN;
    client->retry_at_ms = now.boot_ms + 1 + random_below(client, MIN(bound, BACKOFF_LAST_MS));
}

/* Long enough without a broker to tell the application. */
static bool is_hopeless(const struct client *client, struct moment now)
{
    const struct session_settings *session = &client->settings.session;

    return session->connection_retry_limit > 0 &&
           now.boot_ms - client->down_since_ms >=
               (int64_t)session->connection_retry_limit * session->handshake_timeout_ms;
}

/* A broker that went away while we came is there again at once, or the next dial tells that it is
 * not. */
static bool dials_again(const struct client *client, int code)
{
    if (client->was_ready)
        return client->settings.auto_reconnect;
    return client->settings.wait_for_broker || code == AICO_ECLOSED;
}

void client_link_down(struct client *client, struct moment now, int code, const char *text)
{
    const struct component *me = registry_find_identity(client->registry, client->self->public);
    bool was_up = client->state == CLIENT_READY;
    char reason[HINT_SIZE_MAX + 1];

    if (client->state == CLIENT_ENDED || client->state == CLIENT_DOWN)
        return;
    if (code == AICO_EUNKNOWN && me && !component_is_active(client->registry, me, now.real_ms))
        code = AICO_EREVOKED;
    (void)snprintf(reason, sizeof(reason), "%s", text);

    if (was_up) {
        client->down_since_ms = now.boot_ms;
        client->attempts = 0;
        sessions_link_lost(client->sessions, now);
    }
    client->frame_size = 0;
    client->control.size = 0;
    client->state = CLIENT_DOWN;
    client->pings_pending = 0;
    names_forget_numbers(client);
    receive_forget_fragments(client);
    publish_link_down(client);
    values_link_down(client);
    operations_link_down(client, code, reason);
    receive_session_events(client, now);

    if ((is_final(code) && !waits_for_key(client, code)) || is_hopeless(client, now) ||
        !dials_again(client, code)) {
        client_end(client, code, reason);
        return;
    }
    if (client->state == CLIENT_ENDED)
        return;
    if (was_up)
        deliver_state(client, code, reason);
    schedule_dial(client, now);
}

/* None of it is more than the broker's word: nothing changes here, but a person may look. */
static void compare_with_broker(struct client *client, struct moment now,
                                const struct record_welcome *welcome)
{
    int64_t bound_ms = client->settings.session.synchrony_bound_ms;
    int64_t ahead_ms = now.real_ms - (int64_t)welcome->time_ms;
    uint64_t ours = registry_version(client->registry);
    char text[HINT_SIZE_MAX + 1];

    if (ahead_ms > bound_ms || ahead_ms < -bound_ms) {
        (void)snprintf(text, sizeof(text),
                       "our clock is %lld s %s the broker's; %lld s are accepted, set it: "
                       "timedatectl set-ntp true",
                       llabs((long long)ahead_ms / 1000), ahead_ms > 0 ? "ahead of" : "behind",
                       (long long)bound_ms / 1000);
        deliver_state(client, AICO_ECLOCK, text);
    }
    if (welcome->registry_version < ours) {
        (void)snprintf(text, sizeof(text),
                       "the broker has registry %llu, we have %llu; its home needs the newer one",
                       (unsigned long long)welcome->registry_version, (unsigned long long)ours);
        deliver_state(client, AICO_EREGISTRYOLD, text);
    } else if (welcome->registry_version == ours &&
               !bytes_equal(welcome->registry_hash,
                            bytes_of(registry_hash(client->registry), REGISTRY_HASH_SIZE))) {
        (void)snprintf(text, sizeof(text),
                       "the broker has another registry of version %llu than we; compare: "
                       "aico-keytool inspect FILE",
                       (unsigned long long)ours);
        deliver_state(client, AICO_EEQUIVOCATION, text);
    }
}

/* What is sealed for us while we are away is sealed for this. */
static void send_reading(struct client *client)
{
    const struct reading_keys *keys = client->settings.session.reading_keys;
    uint8_t statement[READING_SIZE];
    struct writer w;

    if (!keys || keys->count == 0)
        return;
    if (reading_write(client->self, client->settings.session.namespace,
                      &keys->items[keys->count - 1], statement) < 0) {
        client_end(client, AICO_ENOMEM, "out of memory");
        return;
    }
    w = client_control_begin(client, RECORD_HEAD_SIZE + SIGN_PUBLIC_SIZE + 2 + READING_SIZE);
    record_write_reading(&w,
                         &(struct record_reading){bytes_of(client->self->public, SIGN_PUBLIC_SIZE),
                                                  bytes_of(statement, sizeof(statement))});
    client_control_end(client, &w);
}

static int on_welcome(struct client *client, struct moment now, const struct record *record)
{
    struct record_welcome welcome;
    int r = record_parse_welcome(record, &welcome);

    if (r < 0)
        return r;
    if (welcome.last_id >= client->next_id)
        return AICO_EPROTO;
    client->state = CLIENT_READY;
    client->broker_key_moved = false;
    client->send_window = welcome.window;
    client->receive_owed = 0;
    client->topic_received = client->topic_acked = 0;
    client->will_id = 0;
    client->self_number = welcome.self;
    client->attempts = 0;
    client->registry_total = 0;
    client->ping_at_ms = now.boot_ms + client->settings.session.keepalive_interval_ms;
    send_reading(client);
    subscriptions_resend(client);
    publish_link_up(client, now, welcome.last_id);
    sessions_link_up(client->sessions, now);
    operations_link_up(client, now);
    publish_dial_parked(client, now);
    receipts_send(client, now);
    if (client->was_ready) {
        client->stats.reconnects++;
        deliver_state(client, 0, "connected again");
    }
    client->was_ready = true;
    compare_with_broker(client, now, &welcome);
    return 0;
}

static int on_bye(struct client *client, struct moment now, const struct record *record)
{
    struct record_bye bye;
    char text[HINT_SIZE_MAX + 1] = "";
    int r = record_parse_bye(record, &bye);

    if (r < 0)
        return r;
    bytes_copy(text, bye.text);
    r = bye.code == 0 ? AICO_ECLOSED : -(int)bye.code;
    client_link_down(client, now, r, text[0] ? text : aico_error_string(r));
    return r;
}

static int on_ping(struct client *client, struct moment now UNUSED, const struct record *record)
{
    struct record_ping ping;
    struct writer w;
    int r = record_parse_ping(record, &ping);

    if (r < 0)
        return r;
    w = client_control_begin(client, RECORD_HEAD_SIZE + 8);
    record_write_pong(&w, ping.token);
    client_control_end(client, &w);
    return 0;
}

static int on_pong(struct client *client, struct moment now, const struct record *record)
{
    struct record_ping ping;
    int r = record_parse_ping(record, &ping);

    if (r < 0)
        return r;
    client->pings_pending = 0;
    receive_pong(client, now, ping.token);
    return 0;
}

static int on_credit(struct client *client, struct moment now UNUSED, const struct record *record)
{
    struct record_credit credit;
    int r = record_parse_credit(record, &credit);

    if (r == 0)
        client->send_window += credit.bytes;
    return r;
}

static bool has_other_broker_key(const struct registry *former, const struct registry *next)
{
    const struct component *was = registry_broker(former), *is = registry_broker(next);

    return was && is && memcmp(was->transport, is->transport, DH_PUBLIC_SIZE) != 0;
}

/*
 * Takes @document if its signature, namespace and version allow it. Its owner is the one of the
 * registry we hold, or the successor that one announced.
 */
int accept_registry(struct client *client, struct moment now, struct bytes document)
{
    struct bytes ns = registry_namespace(client->registry);
    const uint8_t *next_owner = registry_owner_next(client->registry);
    struct registry *registry = NULL;
    const struct component *me;
    int r;

    r = registry_parse(document, registry_owner(client->registry), ns, &registry, NULL);
    if (r == AICO_EREGISTRYSIGNATURE && next_owner)
        r = registry_parse(document, next_owner, ns, &registry, NULL);
    if (r < 0)
        return r;
    r = registry_may_replace(client->registry, 0, (const uint8_t[REGISTRY_HASH_SIZE]){0}, registry);
    if (r < 0) {
        registry_unref(&registry);
        return r;
    }
    client->broker_key_moved |= has_other_broker_key(client->registry, registry);
    registry_unref(&client->registry);
    client->registry = registry;
    client->rule_generation++;
    client->host.registry_changed(client->host.context, registry);
    me = registry_find_identity(registry, client->self->public);
    if (!me || !component_is_active(registry, me, now.real_ms)) {
        client_end(client, AICO_EREVOKED, "the owner's registry has this identity as revoked");
        return AICO_EREVOKED;
    }
    sessions_set_registry(client->sessions, now, registry);
    if (client->state == CLIENT_READY)
        send_reading(client);
    return 0;
}

int client_offer_registry(struct client *client, struct moment now, struct bytes document)
{
    int r = client->state == CLIENT_ENDED ? AICO_ECLOSED : accept_registry(client, now, document);

    receive_session_events(client, now);
    return r;
}

static int on_registry(struct client *client, struct moment now, const struct record *record)
{
    struct record_registry piece;
    int r = record_parse_registry(record, &piece);

    if (r < 0)
        return r;
    if (piece.total > REGISTRY_SIZE_MAX)
        return AICO_EPROTO;
    if (piece.offset == 0) {
        client->registry_document.size = 0;
        client->registry_total = piece.total;
        client->registry_piece_version = piece.version;
    }
    if (piece.total != client->registry_total || piece.version != client->registry_piece_version ||
        piece.offset != client->registry_document.size ||
        piece.piece.size > piece.total - piece.offset)
        return AICO_EPROTO;
    r = buffer_append(&client->registry_document, piece.piece);
    if (r < 0 || client->registry_document.size < piece.total)
        return r;

    r = accept_registry(client, now, buffer_view(&client->registry_document));
    buffer_deinit(&client->registry_document);
    client->registry_total = 0;
    if (r == AICO_EREVOKED)
        return r;
    /* What the broker hands on is not its word but the owner's; one that does not verify changes
     * nothing here, and is told. */
    if (r < 0 && r != AICO_EEXISTS && r != AICO_EREGISTRYOLD)
        deliver_state(client, r, "the broker handed on a registry that was not accepted");
    return 0;
}

static int on_component(struct client *client, struct moment now, const struct record *record)
{
    struct record_component component;
    int r = record_parse_component(record, &component);

    return r < 0 ? r : component_number_set(client, now, &component);
}

static int on_topic(struct client *client, struct moment now UNUSED, const struct record *record)
{
    struct record_topic topic;
    int r = record_parse_topic(record, &topic);

    return r < 0 ? r : topic_number_set(client, topic.number, topic.topic);
}

static int on_ok(struct client *client, struct moment now, const struct record *record)
{
    struct record_ok ok;
    int r = record_parse_ok(record, &ok);

    if (r == 0)
        subscription_live(client, now, ok.id, ok.value);
    return r;
}

/* "denied by rule 12 (logs/#): run: aico-keytool ..." out of the fields of a REFUSE. */
static void refusal_text(const struct record_refuse *refuse, char text[HINT_SIZE_MAX + 1])
{
    int code = -(int)refuse->code;

    if (refuse->rule_line > 0)
        (void)snprintf(text, HINT_SIZE_MAX, "%s (registry line %u: rule %.*s)%s%.*s",
                       aico_error_string(code), refuse->rule_line, (int)refuse->filter.size,
                       (const char *)refuse->filter.at, refuse->hint.size > 0 ? "; " : "",
                       (int)refuse->hint.size, (const char *)refuse->hint.at);
    else
        (void)snprintf(text, HINT_SIZE_MAX, "%s%s%.*s", aico_error_string(code),
                       refuse->hint.size > 0 ? "; " : "", (int)refuse->hint.size,
                       (const char *)refuse->hint.at);
}

static int on_refuse(struct client *client, struct moment now, const struct record *record)
{
    static const enum operation_kind kinds[] = {OPERATION_REQUEST, OPERATION_QUERY,
                                                OPERATION_UNSUBSCRIBE};
    struct operation *operation = NULL;
    struct record_refuse refuse;
    char text[HINT_SIZE_MAX + 1] = "";
    int r = record_parse_refuse(record, &refuse);

    if (r < 0)
        return r;
    refusal_text(&refuse, text);
    publish_refused(client, now, &refuse, text);
    for (size_t i = 0; !operation && i < COUNT_OF(kinds); i++)
        operation = operation_find_id(client, kinds[i], refuse.id);
    if (!operation)
        operation = operation_find_resolve(client, refuse.id);
    if (operation)
        operation_fail(client, operation, -(int)refuse.code, text);
    else if (!bundle_refused(client, now, refuse.id, -(int)refuse.code, text) &&
             !will_refused(client, refuse.id, -(int)refuse.code, text))
        (void)subscription_refused(client, now, refuse.id, -(int)refuse.code, text);
    return 0;
}

static int on_ack(struct client *client, struct moment now UNUSED, const struct record *record)
{
    struct record_ack ack;
    int r = record_parse_ack(record, &ack);

    if (r < 0)
        return r;
    if (ack.id >= client->next_id)
        return AICO_EPROTO;
    publish_acked(client, ack.id);
    return 0;
}

static int on_receivers(struct client *client, struct moment now UNUSED,
                        const struct record *record)
{
    struct record_receivers receivers;
    int r = record_parse_receivers(record, &receivers);

    return r < 0 ? r : receive_receivers(client, &receivers);
}

static int on_deliver(struct client *client, struct moment now, const struct record *record)
{
    struct record_deliver deliver;
    int r = record_parse_deliver(record, &deliver);

    return r < 0 ? r : receive_deliver(client, now, &deliver);
}

static int on_gap(struct client *client, struct moment now, const struct record *record)
{
    struct record_gap gap;
    int r = record_parse_gap(record, &gap);

    return r < 0 ? r : receive_gap(client, now, &gap);
}

static int on_resolved(struct client *client, struct moment now, const struct record *record)
{
    struct record_resolved resolved;
    int r = record_parse_resolved(record, &resolved);

    return r < 0 ? r : receive_resolved(client, now, &resolved);
}

static int on_answer(struct client *client, struct moment now UNUSED, const struct record *record)
{
    struct record_answer answer;
    int r = record_parse_answer(record, &answer);

    return r < 0 ? r : receive_answer(client, &answer);
}

static int on_item(struct client *client, struct moment now, const struct record *record)
{
    struct record_item item;
    int r = record_parse_item(record, &item);

    return r < 0 ? r : receive_item(client, now, &item);
}

static int on_missed(struct client *client, struct moment now UNUSED, const struct record *record)
{
    struct record_missed missed;
    int r = record_parse_missed(record, &missed);

    return r < 0 ? r : receive_missed(client, &missed);
}

static int on_key(struct client *client, struct moment now UNUSED, const struct record *record)
{
    struct client_component *sender;
    struct record_key key;
    int r = record_parse_key(record, &key);

    if (r < 0)
        return r;
    sender = component_number_find(client, key.sender);
    if (!sender)
        return AICO_EPROTO;
    sessions_take_stored_key(client->sessions, bytes_text(sender->name),
                             component_number_identity(client, key.sender), key.key);
    return 0;
}

static int on_reading(struct client *client, struct moment now, const struct record *record)
{
    struct record_reading reading;
    int r = record_parse_reading(record, &reading);

    if (r == 0)
        sessions_take_reading(client->sessions, now, reading.identity.at, reading.statement);
    return r;
}

static int on_audit_head(struct client *client, struct moment now UNUSED,
                         const struct record *record)
{
    struct aico_error err = {0};
    struct bytes line;
    int r = record_parse_audit_head(record, &line);

    if (r < 0 || !client->host.saw_audit_head)
        return r;
    r = client->host.saw_audit_head(client->host.context, line, &err);
    if (r < 0)
        deliver_state(client, r, err.text);
    return 0;
}

/* Which record may come in which state. */
static const struct handler {
    uint8_t type;
    enum client_state state; /* the session must have come this far */
    int (*handle)(struct client *, struct moment, const struct record *);
} handlers[] = {
    {RECORD_WELCOME, CLIENT_HELLO, on_welcome},
    {RECORD_BYE, CLIENT_HELLO, on_bye},
    {RECORD_PING, CLIENT_HELLO, on_ping},
    {RECORD_PONG, CLIENT_READY, on_pong},
    {RECORD_CREDIT, CLIENT_READY, on_credit},
    {RECORD_REGISTRY, CLIENT_READY, on_registry},
    {RECORD_COMPONENT, CLIENT_READY, on_component},
    {RECORD_TOPIC, CLIENT_READY, on_topic},
    {RECORD_OK, CLIENT_READY, on_ok},
    {RECORD_REFUSE, CLIENT_READY, on_refuse},
    {RECORD_ACK, CLIENT_READY, on_ack},
    {RECORD_RECEIVERS, CLIENT_READY, on_receivers},
    {RECORD_DELIVER, CLIENT_READY, on_deliver},
    {RECORD_GAP, CLIENT_READY, on_gap},
    {RECORD_RESOLVED, CLIENT_READY, on_resolved},
    {RECORD_ANSWER, CLIENT_READY, on_answer},
    {RECORD_ITEM, CLIENT_READY, on_item},
    {RECORD_MISSED, CLIENT_READY, on_missed},
    {RECORD_KEY, CLIENT_READY, on_key},
    {RECORD_READING, CLIENT_READY, on_reading},
    {RECORD_AUDIT, CLIENT_READY, on_audit_head},
    {RECORD_PREKEYS, CLIENT_READY, receive_prekeys_left},
    {RECORD_BUNDLE, CLIENT_READY, receive_bundle},
};

static int dispatch(struct client *client, struct moment now, const struct record *record)
{
    for (size_t i = 0; i < COUNT_OF(handlers); i++) {
        if (handlers[i].type != record->type)
            continue;
        if (client->state < handlers[i].state)
            return AICO_EPROTO;
        if (record->type == RECORD_WELCOME && client->state != CLIENT_HELLO)
            return AICO_EPROTO;
        return handlers[i].handle(client, now, record);
    }
    return AICO_EPROTO;
}

static int take_records(struct client *client, struct moment now, struct bytes frame)
{
    struct reader records;
    struct record record;
    int r = frame_open(frame, &records);

    while (r == 0 && (r = frame_next(&records, &record)) > 0) {
        receive_look_ahead(client, record, records);
        r = dispatch(client, now, &record);
        if (r == 0) /* before the next record: an envelope's messages come before a later GAP */
            receive_session_events(client, now);
        if (client->state == CLIENT_DOWN || client->state == CLIENT_ENDED)
            return r < 0 ? r : AICO_ECLOSED; /* BYE, or revoked */
    }
    if (r < 0)
        client_link_down(client, now, r,
                         r == AICO_EPROTO ? "the broker sent a record that does not parse"
                                          : aico_error_string(r));
    return r;
}

int client_receive(struct client *client, struct moment now, struct bytes frame)
{
    int r;

    if (client->state != CLIENT_HELLO && client->state != CLIENT_READY)
        return client->state == CLIENT_ENDED ? client->end_code : AICO_ECLOSED;
    client->heard_ms = now.boot_ms;
    client->pings_pending = 0;
    r = take_records(client, now, frame);
    receive_forget_ahead(client);
    if (r == 0)
        flushes_check(client);
    return r;
}

void client_taken(struct client *client, struct moment now, uint64_t number)
{
    sessions_taken(client->sessions, number);
    receive_session_events(client, now);
}

/* Moves whole records of ours into the frame; true when none is left. */
static bool fill_control(struct client *client, struct writer *frame)
{
    size_t taken = 0;

    while (taken < client->control.size) {
        const uint8_t *at = client->control.at + taken;
        size_t size = RECORD_HEAD_SIZE +
                      ((size_t)at[4] << 24 | (size_t)at[5] << 16 | (size_t)at[6] << 8 | at[7]);

        if (frame->size > 1 && frame->size + size > FRAME_BATCH_SIZE)
            break;
        writer_bytes(frame, bytes_of(at, size));
        taken += size;
    }
    if (taken > 0)
        memmove(client->control.at, client->control.at + taken, client->control.size - taken);
    client->control.size -= taken;
    return client->control.size == 0;
}

/* What a session sends besides its own records. */
static void fill_session(struct client *client, struct moment now, struct writer *frame)
{
    if (!client->backlogged && client->receive_owed >= client->settings.window / 4) {
        record_write_credit(frame, (uint32_t)client->receive_owed);
        client->receive_owed = 0;
    }
    /* As one of a queue group: so far nothing needs to be named lost, should we end here. */
    if (client->queue_count > 0 && !client->arrivals &&
        client->topic_acked < client->topic_received) {
        client->topic_acked = client->topic_received;
        record_write_ack(frame, client->topic_acked);
    }
    publish_fill(client, now, frame);
    /* Sealing may have asked for something, first of all that a generation be stored before what
     * was sealed under it leaves. */
    will_give(client, now);
    receive_session_events(client, now);
    if (fill_control(client, frame) && publish_render(client, now, frame))
        publish_ask_for_ack(client, frame);
}

bool client_next_frame(struct client *client, struct moment now, struct bytes *ret_frame)
{
    struct writer frame = writer_over(client->frame, FRAME_SIZE_MAX);

    if (client->state != CLIENT_HELLO && client->state != CLIENT_READY)
        return false;
    if (client->frame_size == 0) {
        seen_commit(client);
        writer_u8(&frame, WIRE_VERSION);
        if (fill_control(client, &frame) && client->state == CLIENT_READY)
            fill_session(client, now, &frame);
        if (frame.size == 1 || client->state == CLIENT_ENDED)
            return false;
        client->frame_size = frame.size;
    }
    *ret_frame = bytes_of(client->frame, client->frame_size);
    return true;
}

void client_frame_sent(struct client *client, struct moment now UNUSED)
{
    client->frame_size = 0;
}

void client_set_backlogged(struct client *client, bool backlogged)
{
    client->backlogged = backlogged;
    sessions_set_backlogged(client->sessions, backlogged);
}

static void keep_alive(struct client *client, struct moment now)
{
    struct writer w;

    if (now.boot_ms < client->ping_at_ms)
        return;
    client->ping_at_ms = now.boot_ms + client->settings.session.keepalive_interval_ms;
    if (now.boot_ms - client->heard_ms < client->settings.session.keepalive_interval_ms)
        return;
    if (client->pings_pending >= PINGS_UNANSWERED_MAX) {
        client_link_down(client, now, AICO_EPEERSILENT, "the broker does not answer");
        return;
    }
    client->pings_pending++;
    w = client_control_begin(client, RECORD_HEAD_SIZE + 8);
    record_write_ping(&w, 0);
    client_control_end(client, &w);
}

int64_t client_deadline(const struct client *client)
{
    int64_t deadline = operations_deadline(client);

    if (client->state == CLIENT_ENDED)
        return deadline;
    if (client->state == CLIENT_DOWN)
        deadline = MIN(deadline, client->retry_at_ms);
    else if (client->state == CLIENT_HELLO)
        deadline = MIN(deadline, client->hello_deadline_ms);
    else if (client->state == CLIENT_READY)
        deadline = MIN(deadline, client->ping_at_ms);
    deadline = MIN(deadline, publish_deadline(client));
    deadline = MIN(deadline, receipts_deadline(client));
    deadline = MIN(deadline, owed_deadline(client));
    if (client->values_due_ms > 0)
        deadline = MIN(deadline, client->values_due_ms);
    if (client->subscribe_again_ms > 0 && client->state == CLIENT_READY)
        deadline = MIN(deadline, client->subscribe_again_ms);
    return MIN(deadline, sessions_deadline(client->sessions));
}

void client_tick(struct client *client, struct moment now)
{
    operations_tick(client, now);
    if (client->state == CLIENT_ENDED)
        return;
    if (client->state == CLIENT_HELLO && now.boot_ms >= client->hello_deadline_ms)
        client_link_down(client, now, AICO_ENOTBROKER, "no answer to HELLO");
    if (client->state == CLIENT_READY)
        keep_alive(client, now);
    if (client->state == CLIENT_ENDED)
        return;
    subscriptions_tick(client, now);
    publish_expire(client, now);
    values_tick(client, now);
    receipts_tick(client, now);
    owed_tick(client, now);
    sessions_tick(client->sessions, now);
    receive_session_events(client, now);
    flushes_check(client);
}

void client_hand_over(struct client *client, struct moment now)
{
    sessions_hand_over(client->sessions, now);
    receive_session_events(client, now);
}

size_t client_keyless(const struct client *client, struct bytes *ret_name)
{
    return sessions_keyless(client->sessions, ret_name);
}

void client_close(struct client *client, struct moment now)
{
    if (client->state == CLIENT_ENDED)
        return;
    client->closed = true;
    sessions_close(client->sessions, now);
    receive_session_events(client, now);
}

void client_get_stats(const struct client *client, struct aico_client_stats *ret_stats)
{
    *ret_stats = client->stats;
    ret_stats->queued = client_queued(client);
    ret_stats->unacknowledged = client->unacknowledged;
    ret_stats->registry_version = registry_version(client->registry);
}
