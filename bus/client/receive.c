/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From DELIVER records to messages of the application: fragments are put together, envelopes go to
 * the sessions, and what the sessions say becomes messages. A gap the broker names and the jump
 * in the envelopes' sequence that follows are one gap, reported once.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/pool.h"
#include "base/reader.h"
#include "base/secret.h"
#include "client/internal.h"
#include "client/message.h"
#include "crypto/kdf.h"
#include "envelope/envelope.h"

#define REPLAY_SAY_MS 1000
#define AHEAD_SIZE_MIN 512   /* of a record, to be hashed ahead */
#define AHEAD_RECORDS_MAX 16 /* looked at for those that are */
#define CLAIMS_MAX 64        /* of one sender; then neighbours become one */

/* A message of @sender on @topic. @is_kept: as for ledger_received(). */
static void deliver(struct client *client, struct aico_message *message,
                    const struct client_component *sender, struct client_topic *topic,
                    enum ledger_way way, bool is_kept)
{
    uint32_t count = message_count(message);

    client->stats.received += count;
    ledger_received(client, sender, topic, way, is_kept, count);
    client->host.deliver(client->host.context, message);
}

/* What an application is told besides messages. */
struct report {
    enum aico_message_kind kind;
    struct bytes topic, sender;
    uint64_t id, count;
    int code;
    const char *text;
    bool direct; /* it was addressed to this component */
    enum ledger_way way;
    uint16_t attempt;
    struct missed_place missed;
    uint64_t kept; /* message_kept() */
};

/* Without memory for it the client ends, by name. */
static void deliver_report(struct client *client, const struct report *report)
{
    struct aico_message *message =
        client_message_new(&client->messages, &(struct message_parts){.kind = report->kind,
                                                                      .topic = report->topic,
                                                                      .sender = report->sender,
                                                                      .text = report->text});

    if (!message) {
        client_end(client, AICO_ENOMEM, "out of memory");
        return;
    }
    message->id = report->id;
    message->count = report->count;
    message->code = report->code;
    message->direct = report->direct;
    message->attempt = report->attempt;
    *message_missed(message) = report->missed;
    *message_kept(message) = report->kept;
    if (report->kind == AICO_MESSAGE_GAP || report->kind == AICO_MESSAGE_UNOPENED)
        ledger_missed(client, report->kind == AICO_MESSAGE_GAP ? LEDGER_MISSING : LEDGER_UNOPENED,
                      report->sender, report->topic, report->way, report->code, report->count);
    client->host.deliver(client->host.context, message);
}

void deliver_refused(struct client *client, uint64_t app_id, struct bytes topic, int code,
                     const char *text)
{
    deliver_report(client, &(struct report){.kind = AICO_MESSAGE_REFUSED,
                                            .topic = topic,
                                            .id = app_id,
                                            .code = code,
                                            .text = text});
}

void deliver_state(struct client *client, int code, const char *text)
{
    deliver_report(client,
                   &(struct report){.kind = AICO_MESSAGE_STATE, .code = code, .text = text});
}

/* --- losses told once ------------------------------------------------------------------------- */

/* @topic NULL: over the channel. @arrival: claims made before it are over once it has opened. */
static int claim(struct client_component *sender, struct client_topic *topic, uint64_t count,
                 uint64_t arrival)
{
    struct claimed_gap *gap, *last = NULL;
    int claims = 0;

    LL_FOREACH(sender->claimed, gap)
    {
        claims++;
        if (gap->topic == topic)
            last = gap;
    }
    if (last && (last->arrival == arrival || claims >= CLAIMS_MAX)) {
        last->count += count;
        return 0;
    }
    gap = calloc(1, sizeof(*gap));
    if (!gap)
        return AICO_ENOMEM;
    gap->topic = topic;
    gap->count = count;
    gap->arrival = arrival;
    LL_APPEND(sender->claimed, gap);
    return 0;
}

/* How many of @count missing messages were not told yet. */
static uint64_t claims_settle(struct client_component *sender, const struct client_topic *topic,
                              uint64_t count)
{
    struct claimed_gap *gap, *next;

    LL_FOREACH_SAFE(sender->claimed, gap, next)
    {
        uint64_t known = gap->topic == topic ? MIN(gap->count, count) : 0;

        count -= known;
        gap->count -= known;
        if (gap->count == 0) {
            LL_DELETE(sender->claimed, gap);
            free(gap);
        }
    }
    return count;
}

/*
 * Something of @topic, of @generation, that came as number @arrival has opened. With strict
 * ordering it has shown every jump before it. With a window jumps are shown later, at the latest
 * when the former generation is forgotten; the first message after a claim says which one that is.
 */
static void claims_pass(const struct client *client, struct moment now,
                        struct client_component *sender, const struct client_topic *topic,
                        uint64_t arrival, uint64_t generation)
{
    const struct session_settings *session = &client->settings.session;
    struct claimed_gap *gap, *next;

    LL_FOREACH_SAFE(sender->claimed, gap, next)
    {
        if (gap->topic != topic || gap->arrival >= arrival)
            continue;
        if (session->strict_ordering || (gap->until_ms > 0 && now.boot_ms >= gap->until_ms)) {
            LL_DELETE(sender->claimed, gap);
            free(gap);
        } else if (gap->generation == 0) {
            gap->generation = generation;
        } else if (generation > gap->generation && gap->until_ms == 0) {
            gap->until_ms = now.boot_ms + session->handshake_timeout_ms + 1;
        }
    }
}

void deliver_unopened(struct client *client, const struct client_component *sender,
                      const struct client_topic *topic, int code, const char *text)
{
    client->stats.unopened++;
    deliver_report(client, &(struct report){.kind = AICO_MESSAGE_UNOPENED,
                                            .topic = topic_name(topic),
                                            .sender = bytes_text(sender->name),
                                            .count = 1,
                                            .code = code,
                                            .text = text});
}

static void deliver_gap(struct client *client, struct report report)
{
    client->stats.gaps += report.count;
    report.kind = AICO_MESSAGE_GAP;
    deliver_report(client, &report);
}

/* Presence: the broker's own word, in clear inside the link, about who can be reached. */
static void receive_presence(struct client *client, struct moment now, struct client_topic *topic,
                             struct bytes payload)
{
    struct bytes name = bytes_of(topic->name + sizeof(TOPIC_PRESENCE_PREFIX) - 1,
                                 topic->size - (sizeof(TOPIC_PRESENCE_PREFIX) - 1));
    struct client_component *component = component_get(client, name);

    if (component) {
        /* One's own state comes last: then the picture is complete. */
        client->presence_live |=
            client->presence_coming && bytes_equal_text(name, client->self->name);
        component->online = memmem(payload.at, payload.size, "\"state\":\"online\"", 16) != NULL;
        if (component->online) {
            sessions_peer_present(client->sessions, now, name);
            receipts_peer_present(client, now, component);
        } else {
            sessions_peer_away(client->sessions, now, name, AICO_EPEERAWAY);
        }
    }
}

/* To the application, if it asked for it. */
static void deliver_word_of_broker(struct client *client, struct moment now,
                                   struct client_topic *topic, struct bytes payload)
{
    struct client_subscription *s, *next;
    struct aico_message *message;
    bool wanted = false;

    HASH_ITER(hh, client->subscriptions, s, next)
    wanted |= !s->internal && filter_matches(bytes_of(s->filter, s->size), topic_name(topic));
    if (!wanted)
        return;
    message = client_message_new(
        &client->messages,
        &(struct message_parts){.kind = AICO_MESSAGE_RETAINED,
                                .topic = topic_name(topic),
                                .sender = registry_broker(client->registry)
                                              ? bytes_text(registry_broker(client->registry)->name)
                                              : bytes_of(NULL, 0),
                                .payload = payload,
                                .wire = payload});
    if (!message) {
        client_end(client, AICO_ENOMEM, "out of memory");
        return;
    }
    message->sent_ms = now.real_ms;
    deliver(client, message, component_get(client, bytes_text(message->sender)), topic,
            LEDGER_BY_TOPIC, false);
}

/* An unsealed message of a rule that says so; the registry must let its sender publish. */
static void receive_clear(struct client *client, struct moment now, struct client_topic *topic,
                          struct client_component *sender, const struct record_deliver *record,
                          struct bytes payload)
{
    const struct component *c =
        registry_find_identity(client->registry, component_number_identity(client, record->sender));
    const struct rule *rule = client_topic_rule(client, topic);
    struct aico_message *message;

    if ((record->delivery != DELIVERY_EVENT && record->delivery != DELIVERY_STREAM &&
         record->delivery != DELIVERY_RETAINED) ||
        !rule || rule->seal != SEAL_NONE || !client->settings.seal_none_allowed || !c ||
        !component_is_active(client->registry, c, now.real_ms) ||
        !rule_allows(rule, c, RIGHT_PUBLISH)) {
        client->stats.unopened++;
        deliver_report(client,
                       &(struct report){.kind = AICO_MESSAGE_UNOPENED,
                                        .topic = topic_name(topic),
                                        .sender = bytes_text(sender->name),
                                        .count = 1,
                                        .code = AICO_EDENIED,
                                        .text = "came in clear, and no rule allows that",
                                        .direct = record->direct,
                                        .way = record->direct ? LEDGER_DIRECT : LEDGER_BY_TOPIC});
        return;
    }
    if (record->delivery == DELIVERY_RETAINED &&
        (!values_is_new_in_clear(client, sender, topic, record->id) ||
         (record->kept && payload.size == 0))) {
        ledger_repeated(client, sender, topic, LEDGER_BY_TOPIC, 1);
        return;
    }
    message = client_message_new(&client->messages,
                                 &(struct message_parts){.kind = record->delivery == DELIVERY_EVENT
                                                                     ? AICO_MESSAGE_EVENT
                                                                     : AICO_MESSAGE_RETAINED,
                                                         .topic = topic_name(topic),
                                                         .sender = bytes_text(sender->name),
                                                         .payload = payload,
                                                         .wire = payload});
    if (!message) {
        client_end(client, AICO_ENOMEM, "out of memory");
        return;
    }
    message->sequence = record->id;
    message->will = record->kept && record->delivery == DELIVERY_EVENT;
    message->direct = record->direct;
    deliver(client, message, sender, topic, ledger_way_of(record->delivery, record->direct), false);
}

static struct arrival *arrival_new(struct client *client, struct client_component *sender,
                                   struct client_topic *topic, const struct record_deliver *record,
                                   struct bytes payload)
{
    struct arrival *arrival = calloc(1, sizeof(*arrival));

    if (!arrival)
        return NULL;
    arrival->sender = sender;
    arrival->topic = topic;
    arrival->number = ++client->arrival_count;
    arrival->request = record->request;
    arrival->count = record->count ? record->count : 1;
    arrival->id = record->id;
    arrival->direct = record->direct;
    arrival->way = ledger_way_of(record->delivery, record->direct);
    arrival->kept = record->kept;
    arrival->wire_size = payload.size;
    arrival->wire_prefix = (uint8_t)MIN(payload.size, sizeof(arrival->wire));
    memcpy(arrival->wire, payload.at, arrival->wire_prefix);
    DL_APPEND(client->arrivals, arrival);
    return arrival;
}

static void arrival_free(struct client *client, struct arrival *arrival)
{
    if (!arrival)
        return;
    client->receive_owed += arrival->credit;
    client->arrivals_stored -= arrival->stored.number > 0;
    DL_DELETE(client->arrivals, arrival);
    free(arrival);
}

/* A whole payload: handshake bytes, an envelope, or something in clear. */
static int receive_whole(struct client *client, struct moment now, struct client_topic *topic,
                         struct client_component *sender, const struct record_deliver *record,
                         struct bytes payload)
{
    const uint8_t *identity = component_number_identity(client, record->sender), *ref = NULL;
    const struct operation *request;
    struct arrival *arrival;
    bool is_value;

    if (record->topic == TOPIC_NUMBER_CONTROL && record->direct) {
        sessions_receive_direct(client->sessions, now, bytes_text(sender->name), identity,
                                topic_name(topic), record->delivery, payload, NULL, NULL);
        return 0;
    }
    if (record->topic == TOPIC_NUMBER_HEADS) {
        sessions_receive_group(client->sessions, now, bytes_text(sender->name), identity,
                               topic_name(topic), record->delivery, payload, NULL);
        return 0;
    }
    if (record->sender == COMPONENT_NUMBER_BROKER) {
        if (topic->size > sizeof(TOPIC_PRESENCE_PREFIX) - 1 &&
            memcmp(topic->name, TOPIC_PRESENCE_PREFIX, sizeof(TOPIC_PRESENCE_PREFIX) - 1) == 0)
            receive_presence(client, now, topic, payload);
        else if (!bytes_equal_text(topic_name(topic), TOPIC_STATS))
            return 0;
        deliver_word_of_broker(client, now, topic, payload);
        return 0;
    }
    /* The broker's word about what we subscribed to is not taken. (What came over a channel is part
     * of its sequence all the same: report_message() drops it.) */
    if (!record->direct && !topic_is_subscribed(client, topic))
        return 0;
    if (payload.size < 8 || memcmp(payload.at, "AICO-MSG", 8) != 0) {
        receive_clear(client, now, topic, sender, record, payload);
        return 0;
    }

    /* Sealed before we listened: what was left for us opens it, or its publisher seals it again. */
    is_value = record->kept && record->delivery == DELIVERY_RETAINED;
    if (is_value && !sessions_can_open_stored(client->sessions, identity, payload)) {
        values_want(client, now, sender, topic);
        ledger_repeated(client, sender, topic, LEDGER_BY_TOPIC, 1);
        return 0;
    }

    arrival = arrival_new(client, sender, topic, record, payload);
    if (!arrival)
        return AICO_ENOMEM;
    /* While it waits for a key, no more than the window can wait with it. */
    if (!record->direct) {
        arrival->credit = (uint32_t)record_size_deliver(record);
        client->receive_owed -= arrival->credit;
    }
    request = record->reply ? operation_by_reply(client, record->request) : NULL;
    if (request && request->peer == sender)
        ref = request->reference;
    if (record->direct)
        sessions_receive_direct(client->sessions, now, bytes_text(sender->name), identity,
                                topic_name(topic), record->delivery, payload, ref, arrival);
    else if (is_value)
        sessions_receive_stored(client->sessions, now, bytes_text(sender->name), identity,
                                topic_name(topic), record->delivery, payload, arrival);
    else
        sessions_receive_group(client->sessions, now, bytes_text(sender->name), identity,
                               topic_name(topic), record->delivery, payload, arrival);
    return 0;
}

/* Adds one fragment; *ret_whole when it was the last. A piece that does not continue what is
 * there voids it: the sequence of the envelopes then shows the loss. */
static int assemble(struct assembly **lane, struct client_topic *topic,
                    const struct record_deliver *record, struct assembly **ret_whole)
{
    struct assembly *assembly = *lane;

    *ret_whole = NULL;
    if (record->offset == 0) {
        free(assembly);
        *lane = NULL;
        if (record->total > MESSAGE_SIZE_MAX)
            return AICO_EPROTO;
        assembly = malloc(sizeof(*assembly) + record->total);
        if (!assembly)
            return AICO_ENOMEM;
        assembly->topic = topic;
        assembly->id = record->id;
        assembly->total = record->total;
        assembly->size = 0;
        *lane = assembly;
    }
    if (!assembly || assembly->id != record->id || assembly->topic != topic ||
        assembly->total != record->total || assembly->size != record->offset ||
        record->payload.size > assembly->total - assembly->size) {
        free(assembly);
        *lane = NULL;
        return 0;
    }
    memcpy(assembly->payload + assembly->size, record->payload.at, record->payload.size);
    assembly->size += (uint32_t)record->payload.size;
    if (assembly->size == assembly->total)
        *ret_whole = STEAL(*lane);
    return 0;
}

/* Adds the envelope of @record to those that are hashed ahead; false: it is none, or not taken. */
static bool look_ahead(struct client *client, const struct record *record)
{
    struct record_deliver m;
    const struct client_component *sender;
    const struct client_topic *topic;

    if (record->type != RECORD_DELIVER || record->body.size < AHEAD_SIZE_MIN ||
        record_parse_deliver(record, &m) < 0 || m.direct || m.fragment || m.kept || m.topic == 0)
        return false;
    sender = component_number_find(client, m.sender);
    topic = topic_number_find(client, m.topic);
    return sender && topic &&
           sessions_look_ahead(client->sessions, bytes_text(sender->name),
                               component_number_identity(client, m.sender), topic_name(topic),
                               m.delivery, m.payload);
}

void receive_look_ahead(struct client *client, struct record record, struct reader rest)
{
    size_t taken = 0;

    if (record.body.size < AHEAD_SIZE_MIN || rest.left < AHEAD_SIZE_MIN ||
        (client->ahead_end && record.whole.at < client->ahead_end) || !hash_many_is_fast())
        return;
    sessions_forget_ahead(client->sessions);
    for (int i = 0; i < AHEAD_RECORDS_MAX && taken < HASHES_AT_ONCE; i++) {
        taken += look_ahead(client, &record);
        client->ahead_end = record.whole.at + record.whole.size;
        if (frame_next(&rest, &record) <= 0)
            break;
    }
    sessions_hash_ahead(client->sessions);
}

void receive_forget_ahead(struct client *client)
{
    if (!client->ahead_end)
        return;
    client->ahead_end = NULL;
    sessions_forget_ahead(client->sessions);
}

int receive_deliver(struct client *client, struct moment now, const struct record_deliver *record)
{
    struct client_component *sender = component_number_find(client, record->sender);
    struct client_topic *topic = record->topic ? topic_number_find(client, record->topic)
                                               : client_topic_get(client, record->topic_name);
    struct bytes payload = record->payload;
    CLEANUP(free_memory)
    struct assembly *whole = NULL;
    int r;

    if (!sender || !topic)
        return AICO_EPROTO;
    if (!record->direct) {
        client->receive_owed += record_size_deliver(record);
        client->topic_received += record->offset + record->payload.size == record->total;
    }
    if (record->fragment) {
        r = assemble(record->direct ? &sender->direct : &sender->topic, topic, record, &whole);
        if (r < 0 || !whole)
            return r;
        payload = bytes_of(whole->payload, whole->total);
    }
    return receive_whole(client, now, topic, sender, record, payload);
}

static void deliver_item(struct client *client, struct moment now, struct client_topic *topic,
                         struct client_component *sender, const struct record_item *item,
                         struct bytes payload)
{
    struct record_deliver deliver = {
        .delivery = item->delivery, .id = item->id, .count = item->count, .payload = payload};
    const uint8_t *identity = component_number_identity(client, item->sender);
    struct arrival *arrival = arrival_new(client, sender, topic, &deliver, payload);

    if (!arrival) {
        client_end(client, AICO_ENOMEM, "out of memory");
        return;
    }
    arrival->stored = (struct stored_place){item->number, item->subscription, item->attempt,
                                            (int64_t)item->stored_ms};
    client->arrivals_stored += item->number > 0;
    arrival->mail = item->delivery == DELIVERY_MAILBOX;
    if (arrival->mail)
        sessions_receive_direct(client->sessions, now, bytes_text(sender->name), identity,
                                topic_name(topic), item->delivery, payload, NULL, arrival);
    else
        sessions_receive_stored(client->sessions, now, bytes_text(sender->name), identity,
                                topic_name(topic), item->delivery, payload, arrival);
}

static void deliver_clear_item(struct client *client, struct client_topic *topic,
                               struct client_component *sender, const struct record_item *item,
                               struct bytes payload)
{
    struct stored_place place = {item->number, item->subscription, item->attempt,
                                 (int64_t)item->stored_ms};
    static const struct seen_place in_clear;
    const struct rule *rule = client_topic_rule(client, topic);
    struct aico_message *message;

    if (!rule || rule->seal != SEAL_NONE || !client->settings.seal_none_allowed) {
        (void)follow_failed(client, &place, AICO_EDENIED);
        return;
    }
    message = client_message_new(&client->messages,
                                 &(struct message_parts){.kind = AICO_MESSAGE_EVENT,
                                                         .topic = topic_name(topic),
                                                         .sender = bytes_text(sender->name),
                                                         .payload = payload,
                                                         .wire = payload});
    if (!message) {
        client_end(client, AICO_ENOMEM, "out of memory");
        return;
    }
    message->sequence = item->id;
    message->number = place.number;
    message->subscription = place.subscription;
    message->stored_ms = place.stored_ms;
    follow_handed(client, &place, 1, &in_clear);
    message->attempt = follow_attempt(client, &place);
    deliver(client, message, sender, topic, LEDGER_BY_TOPIC, false);
}

int receive_item(struct client *client, struct moment now, const struct record_item *item)
{
    struct client_component *sender = component_number_find(client, item->sender);
    struct client_topic *topic = item->topic ? topic_number_find(client, item->topic)
                                             : client_topic_get(client, item->topic_name);
    struct record_deliver piece = {
        .id = item->id, .total = item->total, .offset = item->offset, .payload = item->payload};
    struct bytes payload = item->payload;
    CLEANUP(free_memory)
    struct assembly *whole = NULL;
    int r;

    if (!sender || !topic)
        return AICO_EPROTO;
    client->receive_owed += record_size_item(item);
    if (item->fragment) {
        r = assemble(&sender->item, topic, &piece, &whole);
        if (r < 0 || !whole)
            return r;
        payload = bytes_of(whole->payload, whole->total);
    }
    /* The next reader gets it, or this one had it. */
    if ((item->delivery == DELIVERY_STREAM && !is_followed(client, item->subscription)) ||
        follow_is_done(client, item->subscription, item->number)) {
        ledger_repeated(client, sender, topic, ledger_way_of(item->delivery, false),
                        item->count ? item->count : 1);
        return 0;
    }
    if (item->delivery == DELIVERY_STREAM &&
        (payload.size < 8 || memcmp(payload.at, "AICO-MSG", 8) != 0))
        deliver_clear_item(client, topic, sender, item, payload);
    else
        deliver_item(client, now, topic, sender, item, payload);
    return 0;
}

int deliver_missed(struct client *client, const struct record_missed *record,
                   const struct missed_place *place, struct client_component *sender,
                   struct client_topic *topic)
{
    int code = -(int)record->cause;
    bool direct = record->subscription == MAILBOX_SUBSCRIPTION;

    /* Its number is missing in the row of the ratchet as well. */
    if (direct && claim(sender, NULL, record->count, client->arrival_count) < 0)
        return AICO_ENOMEM;
    deliver_gap(client, (struct report){.topic = topic_name(topic),
                                        .sender = bytes_text(sender->name),
                                        .count = record->count,
                                        .code = code,
                                        .text = aico_error_string(code),
                                        .direct = direct,
                                        .way = direct ? LEDGER_MAILBOX : LEDGER_BY_TOPIC,
                                        .attempt = record->attempt,
                                        .missed = *place});
    return 0;
}

int receive_gap(struct client *client, struct moment now UNUSED, const struct record_gap *record)
{
    struct client_component *sender = component_number_find(client, record->sender);
    struct client_topic *topic = record->topic ? topic_number_find(client, record->topic)
                                               : client_topic_get(client, record->topic_name);
    struct assembly **lane;
    const struct rule *rule;
    int code = -(int)record->cause;

    if (!sender || !topic)
        return AICO_EPROTO;
    client->topic_received += !record->direct;
    lane = record->direct ? &sender->direct : &sender->topic;
    if (*lane && (*lane)->topic == topic && (*lane)->id <= record->last_id) {
        free(*lane);
        *lane = NULL;
    }
    if (topic_is_internal(topic_name(topic)) ||
        (!record->direct && !topic_is_subscribed(client, topic)))
        return 0;
    rule = client_topic_rule(client, topic);
    if (!record->kept && (record->direct || (rule && rule->seal != SEAL_NONE)) &&
        claim(sender, record->direct ? NULL : topic, record->count, client->arrival_count) < 0)
        return AICO_ENOMEM;
    deliver_gap(client, (struct report){.topic = topic_name(topic),
                                        .sender = bytes_text(sender->name),
                                        .count = record->count,
                                        .code = code,
                                        .text = aico_error_string(code),
                                        .direct = record->direct,
                                        .way = record->direct ? LEDGER_DIRECT : LEDGER_BY_TOPIC});
    return 0;
}

/* The sessions found @count messages missing; what the broker named already is not told again. */
static void report_gap(struct client *client, const struct session_event *event)
{
    uint64_t count = event->unknown ? 0 : event->count;
    struct client_component *sender = component_get(client, event->peer);
    struct client_topic *topic =
        event->topic.size > 0 ? client_topic_get(client, event->topic) : NULL;

    if (topic && !topic_is_subscribed(client, topic))
        return;
    if (sender && !event->unknown) {
        count = claims_settle(sender, topic, count);
        if (count == 0)
            return;
    }
    deliver_gap(client, (struct report){.topic = event->topic,
                                        .sender = event->peer,
                                        .count = count,
                                        .code = event->code,
                                        .text = event->text,
                                        .direct = event->topic.size == 0,
                                        .way = topic ? LEDGER_BY_TOPIC : LEDGER_DIRECT});
}

/* Told in its place instead of the message: whoever held it back, it is void. Who comes later
 * misses nothing. */
static bool is_void(struct client *client, struct moment now, const struct session_event *event,
                    const struct arrival *arrival)
{
    if (event->until_ms == 0 ||
        now.real_ms <= event->until_ms + client->settings.session.synchrony_bound_ms)
        return false;
    if (arrival->kept && event->delivery == DELIVERY_RETAINED) {
        ledger_repeated(client, arrival->sender, arrival->topic, arrival->way, 1);
        return true;
    }
    deliver_gap(client, (struct report){.topic = event->topic,
                                        .sender = event->peer,
                                        .count = 1,
                                        .code = AICO_EEXPIRED,
                                        .text = "came later than its time to live allows",
                                        .direct = event->direct,
                                        .way = arrival->way});
    return true;
}

/* A repetition is no loss: a broker that was restarted may have to deliver again, a publisher that
 * was killed sends again what had no answer, a hostile broker may try it. Told at most once a
 * second, so that it is not a flood by itself. */
static void note_replay(struct client *client, struct moment now, const struct session_event *event)
{
    char text[HINT_SIZE_MAX + 1];

    client->replays++;
    if (now.boot_ms < client->replay_say_ms)
        return;
    (void)snprintf(text, sizeof(text),
                   "%llu messages came again and were not shown again, the last of %.*s on %.*s",
                   (unsigned long long)client->replays, (int)event->peer.size,
                   (const char *)event->peer.at, (int)event->topic.size,
                   (const char *)event->topic.at);
    client->replays = 0;
    client->replay_say_ms = now.boot_ms + REPLAY_SAY_MS;
    deliver_state(client, AICO_EREPLAY, text);
}

/* Of a retained value: nothing as new was shown, now or before a restart. An empty one says that
 * there is none any more: told to who listens, nothing to who comes later. */
static bool is_value_shown(struct client *client, struct moment now,
                           const struct session_event *event, const struct arrival *arrival,
                           const struct seen_place *place)
{
    const struct rule *rule = client_topic_rule(client, arrival->topic);
    uint64_t generation = event->direct ? 0 : event->generation;

    if (!values_is_new(client, arrival->sender, arrival->topic, generation, event->value))
        return false;
    if (generation > 0 && rule && rule->store.on && !seen_is_latest(client, *place)) {
        note_replay(client, now, event);
        return false;
    }
    return event->payload.size > 0 || !(arrival->kept || event->direct);
}

/* Where a stored envelope came to; the sequence of all its messages is its own. */
static struct seen_place place_of(struct client *client, const struct session_event *event,
                                  const struct arrival *arrival)
{
    struct reader ref = reader_over(bytes_of(event->ref, sizeof(event->ref)));
    struct seen_place place = {
        .identity = event->identity, .topic = arrival->topic, .generation = event->generation};

    if (arrival->stored.number > 0)
        place.durable = follow_name(client, arrival->stored.subscription);
    (void)reader_bytes(&ref, ENVELOPE_KEY_ID_SIZE);
    place.sequence = reader_u32(&ref);
    return place;
}

/* What the application gets of @arrival stands for what was handed out before and waits for its key
 * still: behind it that would be a repetition which bears no mark. */
static void hand_item(struct client *client, const struct arrival *arrival,
                      const struct seen_place *place)
{
    struct arrival *earlier = client->arrivals;

    /* Most often it is the only one. */
    for (; client->arrivals_stored > 1 && earlier != arrival; earlier = earlier->next)
        earlier->overtaken |= earlier->stored.number == arrival->stored.number &&
                              earlier->stored.subscription == arrival->stored.subscription;
    follow_handed(client, &arrival->stored, arrival->count, place);
}

/* The application does not get the message of @event, and the broker is not to give it again. */
static void settle_left_out(struct client *client, const struct session_event *event,
                            const struct arrival *arrival, const struct seen_place *place)
{
    if (arrival->stored.number == 0 || arrival->mail)
        return;
    if (event->index == 0)
        hand_item(client, arrival, place);
    client_settle(client, arrival->stored.subscription, arrival->stored.number, 0,
                  bytes_of(NULL, 0));
}

/* The application had the message of @event before: settled, or sealed otherwise. */
static void leave_out(struct client *client, struct moment now, const struct session_event *event,
                      const struct arrival *arrival, const struct seen_place *place)
{
    note_replay(client, now, event);
    if (event->cookie)
        ledger_repeated(client, arrival->sender, arrival->topic, arrival->way, 1);
    settle_left_out(client, event, arrival, place);
}

/* What is to be said to its sender when it has been taken. */
static const struct read_note *note_of(const struct session_event *event, struct read_note *note)
{
    if (event->receipt.level == RECEIPT_NONE || !event->identity ||
        (event->delivery != DELIVERY_EVENT && event->delivery != DELIVERY_STREAM &&
         event->delivery != DELIVERY_MAILBOX))
        return NULL;
    *note = (struct read_note){.receipt = event->receipt, .size = event->payload.size};
    bytes_copy(note->sender, event->peer);
    bytes_copy(note->topic, event->topic);
    memcpy(note->identity, event->identity, sizeof(note->identity));
    if (note->receipt.level == RECEIPT_SIGNED)
        receipt_hash(event->payload, note->hash);
    return note;
}

static void report_message(struct client *client, struct moment now,
                           const struct session_event *event)
{
    const struct arrival none = {.way = LEDGER_MAILBOX}; /* it comes from our own disk */
    const struct arrival *arrival = event->cookie ? event->cookie : &none;
    enum aico_message_kind kind = AICO_MESSAGE_EVENT;
    struct aico_message *message;
    struct seen_place place;
    struct operation *request;
    struct read_note note;

    if (event->cookie && arrival->stored.number == 0 && !event->will && !arrival->kept)
        claims_pass(client, now, arrival->sender, arrival->direct ? NULL : arrival->topic,
                    arrival->number, event->generation);
    if (event->cookie && event->delivery != DELIVERY_REPLY && arrival->stored.number == 0 &&
        !topic_is_subscribed(client, arrival->topic)) {
        ledger_repeated(client, arrival->sender, arrival->topic, arrival->way, 1);
        return;
    }
    if (event->held) { /* the next subscription has it from our disk */
        ledger_repeated(client, arrival->sender, arrival->topic, arrival->way, 1);
        return;
    }
    if (arrival->stored.number > 0 && !arrival->mail &&
        (arrival->overtaken || !is_followed(client, arrival->stored.subscription))) {
        ledger_repeated(client, arrival->sender, arrival->topic, LEDGER_BY_TOPIC, 1);
        return;
    }
    place = place_of(client, event, arrival);
    if (seen_is_settled(client, &place) || !once_is_new(client, event, arrival, &place)) {
        leave_out(client, now, event, arrival, &place);
        return;
    }
    if (event->delivery != DELIVERY_REPLY && is_void(client, now, event, arrival)) {
        settle_left_out(client, event, arrival, &place);
        return;
    }
    if (event->delivery == DELIVERY_RETAINED) {
        if (!is_value_shown(client, now, event, arrival, &place)) {
            ledger_repeated(client, arrival->sender, arrival->topic, arrival->way, 1);
            return;
        }
        kind = AICO_MESSAGE_RETAINED;
    }
    if (event->delivery == DELIVERY_REQUEST)
        kind = AICO_MESSAGE_REQUEST;
    else if (event->delivery == DELIVERY_REPLY)
        kind = AICO_MESSAGE_REPLY;
    message = client_message_new(&client->messages,
                                 &(struct message_parts){
                                     .kind = kind,
                                     .topic = event->topic,
                                     .sender = event->peer,
                                     .payload = event->payload,
                                     .headers = event->headers,
                                     .note = note_of(event, &note),
                                     .wire = bytes_of(arrival->wire, arrival->wire_prefix),
                                 });
    if (!message) {
        client_end(client, AICO_ENOMEM, "out of memory");
        return;
    }
    message->wire_size = arrival->wire_size;
    message->sent_ms = event->sent_ms;
    message->expires_ms = event->until_ms;
    message->sequence = event->sequence;
    message->sealed = true;
    message->will = event->will;
    message->direct = event->direct;
    message->stored_ms = arrival->stored.stored_ms;
    if (!arrival->mail) { /* a mailbox's has nothing to settle: it is kept here already */
        message->number = arrival->stored.number;
        message->subscription = arrival->stored.subscription;
    }
    if (message->number > 0 && event->index == 0)
        hand_item(client, arrival, &place);
    if (message->number > 0)
        message->attempt = follow_attempt(client, &arrival->stored);
    message->id = arrival->id;
    *message_kept(message) = event->kept;
    memcpy(message->reference, event->ref, sizeof(event->ref));
    if (kind != AICO_MESSAGE_REPLY) {
        deliver(client, message,
                event->cookie ? arrival->sender : component_get(client, event->peer),
                event->cookie ? arrival->topic : client_topic_get(client, event->topic),
                arrival->way, event->kept > 0 && !event->cookie);
        return;
    }
    request = operation_by_reply(client, arrival->request);
    if (request) {
        ledger_received(client, arrival->sender, arrival->topic, LEDGER_REPLY, false, 1);
        operation_end(client, request, &(struct client_answer){.text = "", .message = message});
    } else { /* nobody waits any more */
        if (event->cookie)
            ledger_reply_unopened(client, arrival->sender, arrival->topic, AICO_ENOREQUEST);
        aico_message_free(&message);
    }
}

/* A batch that nobody gets. */
static void drop_batch(void *batch, struct bytes text)
{
    if (batch)
        memory_wipe(batch, (size_t)(text.at + text.size - (uint8_t *)batch));
    pool_give(batch);
}

/* What needs no look at each message: all of a batch at once. False: one by one, then. */
static bool report_bundle(struct client *client, struct moment now,
                          const struct session_event *event)
{
    const struct arrival *arrival = event->cookie;
    struct aico_message *bundle;
    void *batch;

    if (!client->host.takes_bundles || event->batch_count < 2 || !arrival ||
        arrival->stored.number > 0 || event->delivery != DELIVERY_EVENT)
        return false;
    batch = sessions_take_batch(client->sessions);
    claims_pass(client, now, arrival->sender, arrival->topic, arrival->number, event->generation);
    if (!topic_is_subscribed(client, arrival->topic)) {
        ledger_repeated(client, arrival->sender, arrival->topic, arrival->way, event->batch_count);
        drop_batch(batch, event->batch);
        return true;
    }
    bundle = client_bundle_new(&client->messages,
                               &(struct message_parts){
                                   .kind = AICO_MESSAGE_EVENT,
                                   .topic = event->topic,
                                   .sender = event->peer,
                                   .payload = event->batch,
                                   .wire = bytes_of(arrival->wire, arrival->wire_prefix),
                               },
                               batch, event->batch_headers, event->batch_count);
    if (!bundle) {
        drop_batch(batch, event->batch);
        client_end(client, AICO_ENOMEM, "out of memory");
        return true;
    }
    bundle->wire_size = arrival->wire_size;
    bundle->sent_ms = event->sent_ms;
    bundle->sequence = event->sequence;
    bundle->sealed = true;
    bundle->id = arrival->id;
    memcpy(bundle->reference, event->ref, sizeof(event->ref));
    deliver(client, bundle, arrival->sender, arrival->topic, arrival->way, false);
    return true;
}

/* The broker is told, and keeps it for its readers among the dead letters. A key that is missing
 * may yet come: then the item comes again, and the application is told once. */
static void report_item_failed(struct client *client, const struct session_event *event,
                               const struct arrival *arrival)
{
    if (arrival->overtaken || !follow_failed(client, &arrival->stored, event->code)) {
        ledger_repeated(client, arrival->sender, arrival->topic, LEDGER_BY_TOPIC, arrival->count);
        return;
    }
    client->stats.unopened += arrival->count;
    deliver_report(client, &(struct report){.kind = AICO_MESSAGE_UNOPENED,
                                            .topic = event->topic,
                                            .sender = event->peer,
                                            .count = arrival->count,
                                            .code = event->code,
                                            .text = event->text});
}

/*
 * What came from our mailbox leaves it: what opened is stored with the state that opened it, before
 * this event was seen, and what never will open is told. What may open another time stays there.
 */
static void settle_mail(struct client *client, const struct arrival *arrival, int code)
{
    if (!arrival || !arrival->mail)
        return;
    switch (code) {
    case AICO_ERATE:
    case AICO_EFULL:
    case AICO_ENOMEM:
    case AICO_EUNKNOWN:
    case AICO_ECLOCK:
    case AICO_EREGISTRYSTALE:
        return;
    default:
        follow_tell(client, arrival->stored.subscription, arrival->stored.number,
                    code == AICO_EREPLAY ? 0 : code);
    }
}

static void report_failed(struct client *client, struct moment now,
                          const struct session_event *event)
{
    const struct arrival *arrival = event->cookie;
    struct operation *request = operation_by_reply(client, arrival->request);

    if (event->code == AICO_EREPLAY &&
        !arrival->mail) /* it asks once more for what it has not heard */
        note_replay(client, now, event);
    if (event->code == AICO_EREPLAY)
        ledger_repeated(client, arrival->sender, arrival->topic, arrival->way, arrival->count);
    if (event->code == AICO_ENOREQUEST || (request && event->code != AICO_EREPLAY))
        ledger_reply_unopened(client, arrival->sender, arrival->topic, event->code);
    /* Nobody waits any more for a late reply. */
    if (event->code == AICO_EREPLAY || event->code == AICO_ENOREQUEST)
        return;
    if (arrival->stored.number > 0 && !arrival->mail) {
        report_item_failed(client, event, arrival);
        return;
    }
    if (!arrival->kept && !arrival->mail &&
        claim(arrival->sender, arrival->direct ? NULL : arrival->topic, arrival->count,
              arrival->number) < 0) {
        client_end(client, AICO_ENOMEM, "out of memory");
    } else if (request) {
        operation_fail(client, request, event->code, event->text);
    } else {
        client->stats.unopened += arrival->count;
        deliver_report(client, &(struct report){.kind = AICO_MESSAGE_UNOPENED,
                                                .topic = event->topic,
                                                .sender = event->peer,
                                                .count = arrival->count,
                                                .code = event->code,
                                                .text = event->text,
                                                .direct = arrival->direct,
                                                .way = arrival->way == LEDGER_REPLY
                                                           ? LEDGER_DIRECT /* nobody waits for it */
                                                           : arrival->way});
    }
}

/* It was opened by a former run of ours, and lies on our disk. */
static void report_kept_failed(struct client *client, const struct session_event *event)
{
    client->stats.unopened++;
    deliver_report(client, &(struct report){.kind = AICO_MESSAGE_UNOPENED,
                                            .topic = event->topic,
                                            .sender = event->peer,
                                            .count = 1,
                                            .code = event->code,
                                            .text = event->text,
                                            .kept = event->kept,
                                            .direct = true,
                                            .way = LEDGER_DIRECT});
}

static void send_control(struct client *client, struct bytes peer, const char *topic,
                         struct bytes bytes)
{
    struct client_component *to = peer.size > 0 ? component_get(client, peer) : NULL;
    struct client_topic *name = client_topic_get(client, bytes_text(topic));

    if (client->state != CLIENT_READY)
        return; /* the sessions repeat what matters once the link is up */
    if (!name || (peer.size > 0 && !to) || publish_control(client, to, name, bytes) < 0)
        client_end(client, AICO_ENOMEM, "out of memory");
}

/* Before what is sealed next: records leave in this order. */
static void send_keys(struct client *client, struct bytes body)
{
    struct record_keys keys = {bytes_of(body.at, KEY_ID_BYTES), body.at[KEY_ID_BYTES],
                               bytes_of(body.at + KEY_ID_BYTES + 1, body.size - KEY_ID_BYTES - 1)};
    struct writer w;

    if (client->state != CLIENT_READY)
        return; /* handed in with the next session */
    w = client_control_begin(client, RECORD_HEAD_SIZE + body.size);
    record_write_keys(&w, &keys);
    client_control_end(client, &w);
}

static void on_lost(struct client *client, struct moment now, const struct session_event *event)
{
    struct client_component *peer = component_get(client, event->peer);

    if (!peer || client->state != CLIENT_READY)
        return; /* dialled again when the link is up: publish_dial_parked() */
    publish_channel_lost(client, peer, event->ratchet, event->code, event->text);
    if (!event->ratchet) {
        receipts_peer_lost(client, peer);
        values_peer_lost(client, peer, event->code, event->text);
    }
    operations_peer_lost(client, peer, event->ratchet, event->code, event->text);
    publish_channel_ready(client, now, peer); /* what waited behind */
}

static void on_ready(struct client *client, struct moment now, const struct session_event *event)
{
    struct client_component *peer = component_get(client, event->peer);

    if (!peer)
        return;
    publish_channel_ready(client, now, peer);
    if (!event->ratchet) {
        receipts_peer_ready(client, now, peer);
        values_peer_ready(client, now, peer);
    }
    operations_peer_ready(client, now, peer, event->ratchet);
}

/* Why two components make no channel, where a person can repair it. */
static bool is_refused_handshake(int code)
{
    switch (code) {
    case AICO_ECLOCK:
    case AICO_EPOLICY:
    case AICO_ENOTALLOWED:
    case AICO_EREVOKED:
    case AICO_EUNKNOWN:
    case AICO_EREGISTRYSTALE:
    case AICO_EEQUIVOCATION:
        return true;
    default:
        return false;
    }
}

void receive_session_events(struct client *client, struct moment now)
{
    struct session_event event;
    int r;

    while (client->state != CLIENT_ENDED && sessions_next(client->sessions, &event)) {
        switch (event.type) {
        case SESSION_SEND:
            send_control(client, event.peer, TOPIC_CONTROL, event.bytes);
            break;
        case SESSION_SEND_HEADS:
            send_control(client, bytes_of(NULL, 0), TOPIC_HEADS, event.bytes);
            break;
        case SESSION_MESSAGE:
            if (report_bundle(client, now, &event))
                event.more = false;
            else
                report_message(client, now, &event);
            settle_mail(client, event.cookie, 0);
            if (!event.more && event.cookie)
                arrival_free(client, event.cookie);
            break;
        case SESSION_FAILED:
            if (!event.cookie) {
                report_kept_failed(client, &event);
                break;
            }
            report_failed(client, now, &event);
            settle_mail(client, event.cookie, event.code);
            arrival_free(client, event.cookie);
            break;
        case SESSION_GAP:
            report_gap(client, &event);
            break;
        case SESSION_READY:
            on_ready(client, now, &event);
            break;
        case SESSION_LOST:
            on_lost(client, now, &event);
            break;
        case SESSION_GROUP_READY:
            break; /* the queue is looked at before every frame */
        case SESSION_PERSIST_CHAINS:
            r = client->host.persist_chains
                    ? client->host.persist_chains(client->host.context, event.bytes)
                    : 0;
            if (r < 0)
                deliver_state(client, r,
                              "what opens stored messages cannot be kept: after a restart they "
                              "will not open");
            break;
        case SESSION_STORE_KEYS:
            send_keys(client, event.bytes);
            break;
        case SESSION_PERSIST_GEN:
            r = client->host.persist_generation(client->host.context, event.generation);
            if (r < 0)
                client_end(client, r, "the generation of sent messages cannot be stored");
            break;
        case SESSION_PONG:
            receive_component_pong(client, now, event.peer, event.sequence);
            break;
        case SESSION_PREKEYS:
            prekeys_send(client, event.bytes, event.payload);
            break;
        case SESSION_BUNDLE:
            bundle_send(client, now, event.peer);
            break;
        case SESSION_BROKEN:
            client_end(client, event.code, event.text);
            break;
        case SESSION_REGISTRY:
            r = accept_registry(client, now, event.bytes);
            if (r == AICO_EEQUIVOCATION)
                deliver_state(client, r, "a peer holds another registry of the same version");
            break;
        case SESSION_AGAIN:
            values_again(client, now, event.peer, event.topic);
            break;
        case SESSION_RECEIPT:
            receipts_arrived(client, now, &event);
            break;
        case SESSION_NOTICE:
            if (is_refused_handshake(event.code))
                operations_peer_claims(client, event.peer, event.code);
            if (is_refused_handshake(event.code) || event.code == AICO_EPEERSILENT ||
                event.code == AICO_EHEADSMISSING || event.code == AICO_ENOPREKEY ||
                event.code == AICO_ENOONETIME || event.code == AICO_ERATCHET ||
                event.code == AICO_ESYSTEM)
                deliver_report(client, &(struct report){.kind = AICO_MESSAGE_STATE,
                                                        .sender = event.peer,
                                                        .code = event.code,
                                                        .text = event.text});
            break;
        }
    }
}

void receive_forget_fragments(struct client *client)
{
    struct client_component *component, *next;
    struct arrival *arrival;

    DL_FOREACH(client->arrivals, arrival)
    arrival->credit = 0; /* the window was that session's */

    HASH_ITER(hh, client->components, component, next)
    {
        free(component->direct);
        free(component->topic);
        free(component->item);
        component->direct = component->topic = component->item = NULL;
        component->online = false;
        (void)claims_settle(component, NULL, UINT64_MAX); /* the channel is over as well */
    }
}

void receive_free(struct client *client)
{
    struct client_component *component, *next;
    struct claimed_gap *gap, *next_gap;

    receive_forget_fragments(client);
    pool_taker_deinit(&client->messages);
    while (client->arrivals)
        arrival_free(client, client->arrivals);
    HASH_ITER(hh, client->components, component, next)
    LL_FOREACH_SAFE(component->claimed, gap, next_gap)
    {
        LL_DELETE(component->claimed, gap);
        free(gap);
    }
}
