/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishers of stored messages: a PUBLISH of delivery stream becomes an order, its ACK waits for
 * the commit, and then it is shown to who listens. The credit it took comes back at the same
 * moment, so what waits for the store is bounded by the windows of those who publish.
 */
#include <inttypes.h>
#include <stdio.h>

#include "broker/quota.h"
#include "broker/stream.h"

#define FRAGMENTS_MAX ((size_t)64 * 1024 * 1024) /* bytes of messages not yet whole, in all */
#define TRIM_MS 1000
#define NONCE_AT 8 /* in an envelope, behind its magic: key id, epoch, time, sequence */
#define NONCE_SIZE 24
#define MAGIC "AICO-MSG"

/* --- into the store ------------------------------------------------------------------------- */

/*
 * What a repetition is known by. Sealed: the group's id, and the sequence in the nonce, which rises
 * on a topic; in clear, or for a mailbox, where numbers begin anew with every chain: the run of the
 * publisher, and its PUBLISH ids. The broker cannot check the
 * former; who forges it only has messages of his own left out.
 */
static void set_position(struct store_order *order, const struct instance *instance)
{
    struct reader nonce = reader_over(order->data);
    struct writer scope = writer_over(order->scope, sizeof(order->scope));

    if (order->kind != STORE_MAIL && order->data.size >= NONCE_AT + NONCE_SIZE &&
        memcmp(order->data.at, MAGIC, NONCE_AT) == 0) {
        (void)reader_bytes(&nonce, NONCE_AT);
        writer_bytes(&scope, reader_bytes(&nonce, STORE_KEY_ID_SIZE));
        (void)reader_u64(&nonce); /* epoch, time */
        order->position = (uint64_t)reader_u32(&nonce) + 1;
        return;
    }
    writer_u64(&scope, UINT64_MAX); /* no key id begins so, but one in 2^64 */
    writer_u64(&scope, instance->key.number);
    order->position = order->publish_id;
}

static struct store_order *put_new(struct broker *b, const struct rule *rule,
                                   struct broker_peer *peer, struct topic *topic,
                                   struct member *receiver, const struct record_publish *p)
{
    const struct member *member = peer->member;
    enum store_order_kind kind = receiver                           ? STORE_MAIL
                                 : p->delivery == DELIVERY_RETAINED ? STORE_VALUE
                                                                    : STORE_PUT;
    struct store_order *order =
        order_new(kind, rule->filter.size + topic->size + strlen(member->name) + p->total);
    size_t used = 0;

    if (!order)
        return NULL;
    order->stream = order_keep(order, &used, rule->filter);
    order->topic = order_keep(order, &used, topic_view(topic));
    order->sender = order_keep(order, &used, bytes_text(member->name));
    order->data = order_keep(order, &used, p->payload);
    memcpy(order->identity, member->identity, sizeof(order->identity));
    if (receiver) {
        memcpy(order->receiver, receiver->identity, sizeof(order->receiver));
        order->receiver_ref = receiver;
        order->limit = b->settings.mailbox_limit;
        order->expires_ms =
            b->now.real_ms + (p->ttl_ms ? MIN((int64_t)p->ttl_ms, MAIL_KEPT_MS) : MAIL_KEPT_MS);
    }
    if (kind == STORE_PUT && p->ttl_ms)
        order->expires_ms = b->now.real_ms + (int64_t)p->ttl_ms;
    if (kind == STORE_VALUE) {
        order->limit = b->settings.value_limit;
        order->expires_ms = value_expires_ms(b, rule, p->ttl_ms);
        order->again = p->again;
    }
    order->names_readers = p->receipt;
    order->publish_id = order->id = p->id;
    order->count = p->count ? p->count : 1;
    order->delivery = p->delivery;
    order->serial = peer->serial;
    order->instance = peer->instance->key.number;
    order->member = peer->member;
    order->topic_ref = topic;
    topic_ref(topic);
    return order;
}

static void put_free(struct store_order **order)
{
    if (*order)
        topic_unref((*order)->topic_ref);
    store_order_free(order);
}

/* @order is whole: it leaves for the store. */
static bool put_send(struct broker *b, struct instance *instance, struct store_order *order)
{
    uint64_t *id = fifo_push(&instance->storing, sizeof(*id));

    if (!id)
        return false;
    *id = order->id;
    instance->last_id = MAX(instance->last_id, order->id);
    set_position(order, instance);
    order_give(b, order);
    return true;
}

static void assembly_drop(struct broker *b, struct instance *instance)
{
    if (!instance->storing_part)
        return;
    b->streams.assembling -= instance->storing_total;
    put_free(&instance->storing_part);
}

/* A piece of a message in fragments. 1: it is whole now, in storing_part; 0: more is to come;
 * negative: a breach, or AICO_EFULL, AICO_ENOMEM. */
static int assemble(struct broker *b, struct broker_peer *peer, const struct rule *rule,
                    struct topic *topic, struct member *receiver, const struct record_publish *p)
{
    struct instance *instance = peer->instance;
    struct store_order *part = instance->storing_part;

    if (part && part->id != p->id) {
        assembly_drop(b, instance); /* its publisher came back without it */
        part = NULL;
    }
    if (!part) {
        if (p->offset != 0)
            return AICO_EPROTO;
        if (b->streams.assembling + p->total > FRAGMENTS_MAX)
            return AICO_EFULL;
        part = instance->storing_part = put_new(b, rule, peer, topic, receiver, p);
        if (!part)
            return AICO_ENOMEM;
        instance->storing_total = p->total;
        b->streams.assembling += p->total;
    } else if (p->offset + p->payload.size <= part->data.size) {
        return 0; /* sent again */
    } else if (p->offset != part->data.size || p->total != instance->storing_total) {
        return AICO_EPROTO;
    } else {
        bytes_copy((uint8_t *)part->data.at + part->data.size, p->payload);
        part->data.size += p->payload.size;
    }
    if (part->data.size < p->total)
        return 0;
    b->streams.assembling -= instance->storing_total;
    return 1;
}

bool stream_publish(struct broker *b, struct broker_peer *peer, const struct rule *rule,
                    struct topic *topic, struct member *receiver, const struct record_publish *p,
                    uint32_t charge)
{
    struct instance *instance = peer->instance;
    struct store_order *order = NULL;
    int r = 1;

    if (p->fragment) {
        r = assemble(b, peer, rule, topic, receiver, p);
        if (r == 1)
            order = STEAL(instance->storing_part);
    } else {
        order = put_new(b, rule, peer, topic, receiver, p);
    }
    if (r == 0)
        return false;
    if (r == AICO_EPROTO)
        peer_end_later(b, peer, r, "a fragment that does not follow the one before");
    if (order && r == 1) {
        order->charge = charge;
        if (put_send(b, instance, order))
            return true;
    }
    put_free(&order);
    assembly_drop(b, instance);
    if (r != AICO_EPROTO)
        refuse_publish(b, peer, p, r == AICO_EFULL ? r : AICO_ENOMEM, rule, "%s",
                       r == AICO_EFULL ? "too many large messages are on their way to the store; "
                                         "send again later"
                                       : "the broker is out of memory");
    return false;
}

void stream_instance_free(struct broker *b, struct instance *instance)
{
    assembly_drop(b, instance);
    fifo_deinit(&instance->storing);
}

uint64_t stream_unstored(const struct instance *instance)
{
    const uint64_t *first = fifo_front((struct fifo *)&instance->storing, NULL);
    uint64_t id = first ? *first : UINT64_MAX;

    return instance->storing_part ? MIN(id, instance->storing_part->id) : id;
}

/* --- out of it ------------------------------------------------------------------------------ */

static struct record_deliver deliver_of(const struct store_order *order)
{
    return (struct record_deliver){
        .delivery = order->delivery,
        .id = order->publish_id,
        .topic = order->topic_ref->number,
        .sender = order->member->number,
        .total = (uint32_t)order->data.size,
        .topic_name = order->topic,
        .payload = order->data,
    };
}

/* Boot clock; 0: never. That of a value ends in the store. */
static int64_t end_of(const struct broker *b, const struct store_order *order)
{
    if (order->kind != STORE_PUT || order->expires_ms == 0)
        return 0;
    return MAX(b->now.boot_ms + order->expires_ms - b->now.real_ms, (int64_t)1);
}

/* One record's worth of @order, from @offset on, to everybody who listens. */
static void show_piece(struct broker *b, struct store_order *order, struct flight *flight,
                       size_t offset, struct broker_peer *publisher)
{
    struct record_deliver deliver = deliver_of(order);
    struct topic *topic = order->topic_ref;
    const struct rule *rule = topic_rule(b, topic);
    struct message *message;
    uint32_t index = 0;

    deliver.fragment = flight != NULL;
    deliver.offset = (uint32_t)offset;
    deliver.payload = bytes_of(order->data.at + offset,
                               MIN(order->data.size - offset, (size_t)FRAGMENT_SIZE_MAX));
    deliver.count = flight || order->count < 2 ? 0 : (uint16_t)order->count;
    message = message_new(b, &deliver, topic, order->member);
    if (!message || entries_reserve(b, topic->reader_count) < 0) {
        event(b, BROKER_ERROR, BROKER_EVENT_LIMIT, NULL, AICO_ENOMEM,
              "a stored message cannot be shown to who listens now: out of memory");
        message_unref(message);
        return;
    }
    message->count = flight ? 1 : order->count;
    message->expires_ms = end_of(b, order);
    for (size_t i = 0; i < topic->reader_count; i++) {
        struct recipient *reader = &topic->readers[i];
        struct ledger_row *row;

        if (reader->peer == publisher || !queue_lets(reader))
            continue;
        row = ledger_row(b, order->member, rule, reader->peer->member);
        if (offset == 0)
            count_routed(b, reader->peer, row, message->count);
        if (flight && offset == 0) {
            flight->readers[index] = (struct flight_reader){
                .peer = reader->peer, .row = row, .queue = reader->queue, .policy = reader->policy};
            queue_ref(reader->queue);
            reader->peer->lanes[LANE_TOPIC].messages++;
        }
        lane_push(b, reader->peer, LANE_TOPIC, message, reader->policy, row, reader->queue, flight,
                  index);
        index++;
    }
    if (publisher && message->blocking > 0) {
        message->session = publisher->serial;
        message->owed = order->charge;
        order->charge = 0;
    }
    message_unref(message);
}

/* Whether who listens may be shown what was stored: its publisher may have lost its right on the
 * way to the disk. 0 or why not. */
static int withdrawn(struct broker *b, const struct store_order *order)
{
    const struct member *sender = order->member;
    const struct rule *rule = topic_rule(b, order->topic_ref);

    if (!sender->active)
        return AICO_EREVOKED;
    return rule && rule_allows(rule, sender->component, RIGHT_PUBLISH) ? 0 : AICO_EDENIED;
}

/* Who listens is told that it misses it, for @code, as of what a new registry finds waiting
 * for it. */
static void show_loss(struct broker *b, struct store_order *order,
                      const struct broker_peer *publisher, int code)
{
    struct topic *topic = order->topic_ref;
    uint64_t count = order->data.size > FRAGMENT_SIZE_MAX ? 1 : order->count;

    for (size_t i = 0; i < topic->reader_count; i++) {
        struct recipient *reader = &topic->readers[i];
        struct ledger_row *row;

        if (reader->peer == publisher || !queue_lets(reader))
            continue;
        row = ledger_row(b, order->member, topic_rule(b, topic), reader->peer->member);
        (void)entries_reserve(b, 1); /* without memory the reader is ended, which tells it too */
        count_routed(b, reader->peer, row, count);
        count_dropped(b, reader->peer, row, code == AICO_EREVOKED ? DROP_REVOKED : DROP_DENIED,
                      count);
        lane_report_loss(b, reader->peer,
                         &(struct gap){.topic = topic,
                                       .sender = order->member,
                                       .cause = code,
                                       .count = count,
                                       .last_id = order->publish_id,
                                       .queue = reader->queue});
    }
}

/* Live readers get it as they get an event. */
static void show(struct broker *b, struct store_order *order, struct broker_peer *publisher)
{
    struct topic *topic = order->topic_ref;
    struct instance nobody = {0};
    struct flight *flight = NULL;
    int code;

    if (route_update(b, topic) < 0 || topic->reader_count == 0)
        return;
    queue_choose(b, topic, publisher, NULL);
    code = withdrawn(b, order);
    if (code < 0) {
        show_loss(b, order, publisher, code);
        return;
    }
    if (order->data.size > FRAGMENT_SIZE_MAX) {
        struct record_publish p = {
            .id = order->id, .total = (uint32_t)order->data.size, .delivery = order->delivery};

        flight = flight_new(b, &nobody, LANE_TOPIC, &p, topic, order->member, topic->reader_count);
        if (!flight)
            return;
        flight->expires_ms = end_of(b, order);
    }
    for (size_t offset = 0; offset == 0 || offset < order->data.size; offset += FRAGMENT_SIZE_MAX)
        show_piece(b, order, flight, offset, publisher);
    if (flight)
        flight_end(b, &nobody, LANE_TOPIC);
}

static struct instance *instance_of(struct broker *b, const struct store_order *order)
{
    struct instance_key key;
    struct instance *instance = NULL;

    memset(&key, 0, sizeof(key));
    memcpy(key.identity, order->identity, sizeof(key.identity));
    key.number = order->instance;
    HASH_FIND(hh, b->instances, &key, sizeof(key), instance);
    return instance;
}

/* The publisher is told, if it is still there to hear it. */
static void answer(struct broker *b, struct store_order *order, struct instance *instance,
                   struct broker_peer *peer)
{
    const struct rule *rule = topic_rule(b, order->topic_ref);

    if (order->code < 0)
        count_refused(b, sender_row(b, member_find(b, order->identity), rule), order->code);
    if (order->code == AICO_EQUOTA && order->kind == STORE_VALUE && order->value != UINT64_MAX &&
        !quota_allows(b, order->member, NULL, QUOTA_VALUES, UINT64_MAX))
        (void)snprintf(order->text, sizeof(order->text),
                       "value_limit: the stored values of %s have %" PRIu64 " bytes, at most "
                       "%" PRIu64 " are kept; let it say fewer, or raise broker.value_limit in "
                       "security.yaml",
                       order->member->name, order->value, order->limit);
    if (order->code == AICO_EQUOTA && order->kind == STORE_MAIL && /* counted and told in the log */
        order->value + order->data.size > order->limit &&
        !quota_allows(b, order->receiver_ref, NULL, QUOTA_MAILBOX, UINT64_MAX))
        (void)snprintf(order->text, sizeof(order->text),
                       "mailbox_limit: the mailbox of %s holds %" PRIu64 " bytes, at most %" PRIu64
                       " are kept; it has to come for them, or raise broker.mailbox_limit in "
                       "security.yaml",
                       order->receiver_ref->name, order->value, order->limit);
    if (!instance)
        return;
    fifo_pop(&instance->storing);
    if (order->code < 0) {
        instance_refused(b, instance, order->id, order->code, 0);
        if (peer)
            refuse(b, peer, order->id, order->code, order->code == AICO_EQUOTA ? rule : NULL, "%s",
                   order->text);
    }
    if (peer)
        peer->ack_pending = true;
}

void stream_put_done(struct broker *b, struct store_order *order)
{
    struct instance *instance = instance_of(b, order);
    struct broker_peer *peer = instance ? instance->peer : NULL;
    struct broker_peer *same = peer && peer->serial == order->serial ? peer : NULL;

    if (order->kind == STORE_PUT && order->value != UINT64_MAX &&
        (order->code == 0 || order->code == AICO_EQUOTA))
        quota_watch_rows(b, order->member, ROWS_TOPICS, order->value, order->code < 0);
    if (order->code == 0 && order->number > 0) {
        count_stored(b, member_find(b, order->identity), topic_rule(b, order->topic_ref),
                     order->count);
        order->topic_ref->messages += order->count;
        order->topic_ref->bytes += order->data.size;
        if (peer)
            peer->published += order->count;
        if (order->kind == STORE_MAIL) {
            mailbox_stored(b, order);
        } else if (order->kind == STORE_VALUE) {
            value_stored(b, order);
            show(b, order, peer);
        } else {
            show(b, order, peer);
            durables_stored(b, order->topic);
        }
    } else if (order->code == 0) {
        b->totals.repeated++;
    }
    if (order->code == 0 && order->names_readers && peer)
        receivers_tell_stored(b, peer, order);
    answer(b, order, instance, peer);
    if (same)
        owe_credit(b, same, order->charge);
    topic_unref(order->topic_ref);
    if (b->streams.trim_ms == 0) {
        b->streams.trim_ms = b->now.boot_ms + TRIM_MS;
        wake_at(b, b->streams.trim_ms);
    }
}

/* --- questions, keys, retention --------------------------------------------------------------- */

/* Whether @peer may publish what is stored with keys for its readers. */
static bool leaves_keys(const struct broker *b, const struct broker_peer *peer)
{
    for (size_t i = 0; peer->member->component && i < registry_rule_count(b->registry); i++) {
        const struct rule *rule = registry_rule_at(b->registry, i);

        if (rule->store.on && rule->history &&
            rule_allows(rule, peer->member->component, RIGHT_PUBLISH))
            return true;
    }
    return false;
}

int on_keys(struct broker *b, struct broker_peer *peer, const struct record *record)
{
    struct member *member = peer->member;
    struct record_keys m;
    struct store_order *order;
    size_t used = 0, charge;
    int r = record_parse_keys(record, &m);

    if (r < 0 || !b->settings.has_store)
        return r;
    if (!leaves_keys(b, peer) && !is_ahead(b, peer)) {
        log_unanswered(b, peer, "KEYS");
        return 0;
    }
    charge = sizeof(*order) + m.entries.size + strlen(member->name);
    if (member->keys_storing + charge > KEYS_STORING_MAX)
        return INGRESS_LATER;
    order = order_new(STORE_KEYS, m.entries.size + strlen(peer->member->name));
    if (!order) {
        peer_end_later(b, peer, AICO_ENOMEM, "no memory for keys to be stored");
        return 0;
    }
    memcpy(order->identity, peer->member->identity, sizeof(order->identity));
    memcpy(order->key_id, m.key_id.at, sizeof(order->key_id));
    order->data = order_keep(order, &used, m.entries);
    order->sender = order_keep(order, &used, bytes_text(peer->member->name));
    order->member = member;
    order->charge = (uint32_t)charge;
    member->keys_storing += charge;
    order_give(b, order);
    return 0;
}

static void keys_stored(struct broker *b, struct store_order *order)
{
    order->member->keys_storing -= order->charge;
    if (order->code == 0 || order->code == AICO_EQUOTA)
        quota_watch_rows(b, order->member, ROWS_KEYS, order->value, order->code < 0);
}

/* Whose reader is to be forgotten: "NAME" is of who asks, "$GROUP\nNAME" of a queue group. */
static struct bytes whose_reader(struct bytes own, struct bytes *name)
{
    const uint8_t *end =
        name->size > 0 && name->at[0] == '$' ? memchr(name->at, '\n', name->size) : NULL;
    struct bytes whose = own;

    if (end) {
        whose = bytes_of(name->at, (size_t)(end - name->at));
        *name = bytes_of(end + 1, name->size - whose.size - 1);
    }
    return whose;
}

/* The core forgets it as well. False: it is being read. */
static bool forget_reader(struct broker *b, struct bytes whose, struct bytes name)
{
    struct durable *d = durable_by_name(b, whose, name);

    if (d && (d->peer || group_members(b, d) > 0))
        return false;
    if (d)
        durable_free(b, d);
    return true;
}

/* What an admin has done to the store, for the audit log: when it is asked, for who asks may not
 * wait for the answer. Who forgets a reader of its own is no admin. */
static void note_act(struct broker *b, const struct broker_peer *peer,
                     const struct store_order *order)
{
    bool is_of_a_group = order->data.size > 0 && order->data.at[0] == '$';

    if (bytes_equal_text(order->name, "purge"))
        event(b, BROKER_NOTICE, BROKER_EVENT_ADMIN, peer, 0, "purge %.*s", (int)order->filter.size,
              (const char *)order->filter.at);
    else if (bytes_equal_text(order->name, "forget") && is_of_a_group)
        event(b, BROKER_NOTICE, BROKER_EVENT_ADMIN, peer, 0, "forget %.*s of group %.*s",
              (int)order->filter.size, (const char *)order->filter.at, (int)order->data.size - 1,
              (const char *)order->data.at + 1);
}

bool stream_ask(struct broker *b, struct broker_peer *peer, const struct record_query *m)
{
    struct bytes own = bytes_text(peer->member->name), argument = m->argument;
    struct store_order *order;
    size_t used = 0;

    if (!bytes_equal_text(m->what, "streams") && !bytes_equal_text(m->what, "purge") &&
        !bytes_equal_text(m->what, "forget"))
        return false;
    if (!b->settings.has_store) {
        refuse(b, peer, m->id, AICO_ESTORE, NULL, "this broker stores no messages");
        return true;
    }
    if (bytes_equal_text(m->what, "forget")) {
        own = whose_reader(own, &argument);
        if (!forget_reader(b, own, argument)) {
            refuse(b, peer, m->id, AICO_EEXISTS, NULL, "this durable reader is being followed");
            return true;
        }
    }
    order = order_new(STORE_ASK, m->what.size + m->argument.size + own.size);
    if (!order) {
        refuse(b, peer, m->id, AICO_ENOMEM, NULL, "the broker is out of memory");
        return true;
    }
    order->name = order_keep(order, &used, m->what);
    order->filter = order_keep(order, &used, argument);
    order->data = order_keep(order, &used, own);
    order->id = m->id;
    order->serial = peer->serial;
    note_act(b, peer, order);
    order_give(b, order);
    return true;
}

struct broker_peer *peer_by_serial(struct broker *b, uint64_t serial)
{
    struct broker_peer *peer;

    DL_FOREACH(b->peers, peer)
    if (peer->serial == serial && peer->state == PEER_READY)
        return peer;
    return NULL;
}

static void asked(struct broker *b, struct store_order *order)
{
    struct broker_peer *peer = peer_by_serial(b, order->serial);

    if (!peer)
        return;
    if (order->code < 0)
        refuse(b, peer, order->id, order->code, NULL, "%s", order->text);
    else
        answer_query(b, peer, order->id, buffer_view(&order->out));
}

static void sweep(struct broker *b)
{
    struct store_order *order = deletion_new(b, STORE_SWEEP, DELETION_SWEEP, 0);

    b->streams.tidy_ms = b->now.boot_ms + STREAMS_TIDY_MS;
    if (order)
        order_give(b, order);
}

static void trim(struct broker *b)
{
    struct store_order *expire = deletion_new(b, STORE_EXPIRE, DELETION_VOID, 0);

    if (expire) /* what is void is not what retention takes */
        order_give(b, expire);
    mailboxes_trim(b, NULL);
    values_trim(b);
    for (size_t i = 0; i < registry_rule_count(b->registry); i++) {
        const struct rule *rule = registry_rule_at(b->registry, i);
        struct store_order *order;
        size_t used = 0;

        if (!rule->store.on)
            continue;
        order = deletion_new(b, STORE_TRIM, DELETION_RULES + i, rule->filter.size);
        if (!order)
            continue;
        order->stream = order_keep(order, &used, rule->filter);
        order->limits = rule->store;
        order_give(b, order);
    }
    if (b->now.boot_ms >= b->streams.tidy_ms)
        sweep(b);
}

void streams_tick(struct broker *b)
{
    if (!b->settings.has_store)
        return;
    if (b->now.boot_ms >= b->streams.sweep_ms) {
        b->streams.sweep_ms = b->now.boot_ms + STREAMS_SWEEP_MS;
        b->streams.trim_ms = b->now.boot_ms;
    }
    if (b->streams.trim_ms > 0 && b->now.boot_ms >= b->streams.trim_ms) {
        b->streams.trim_ms = 0;
        trim(b);
    }
    wake_at(b, b->streams.trim_ms > 0 ? b->streams.trim_ms : b->streams.sweep_ms);
    durables_tick(b);
}

/* What is left to delete comes behind what others want; not by what an earlier registry said. */
static bool delete_on(struct broker *b, struct store_order *order)
{
    bool more = order->code == 0 && order->more && order->id == b->registry_generation;

    b->totals.expired += order->code == 0 ? order->count : 0;
    if (more) {
        order_forget_answer(order);
        order_give(b, order);
    } else {
        deletion_done(b, order);
    }
    return more;
}

/* One order that came back; true: it was given again. */
static bool order_done(struct broker *b, struct store_order *order)
{
    bool again = false, missed = order->missed;

    order_came_back(b, order);
    switch (order->kind) {
    case STORE_LOAD:
        statements_loaded(b, order);
        break;
    case STORE_LOAD_PREKEYS:
        prekeys_loaded(b, order);
        break;
    case STORE_PUT:
    case STORE_MAIL:
    case STORE_VALUE:
        stream_put_done(b, order);
        break;
    case STORE_VALUE_READ:
        values_read(b, order);
        break;
    case STORE_FOLLOW:
        again = durable_followed(b, order);
        break;
    case STORE_READ:
    case STORE_READ_ONE:
    case STORE_MAIL_READ:
        durable_read(b, order);
        break;
    case STORE_ASK:
        asked(b, order);
        break;
    case STORE_MISSED:
        b->totals.expired += order->code == 0 ? order->count : 0;
        missed_read(b, order);
        break;
    case STORE_TRIM:
    case STORE_EXPIRE:
    case STORE_SWEEP:
    case STORE_VALUE_TRIM:
        again = delete_on(b, order);
        break;
    case STORE_MAIL_TRIM:
        b->totals.expired += order->code == 0 ? order->count : 0;
        deletion_done(b, order);
        if (order->code == 0 && order->more)
            mailboxes_trim(b, order); /* others have their messages in hand now */
        break;
    case STORE_KEYS:
        keys_stored(b, order);
        break;
    case STORE_STATEMENT:
    case STORE_PREKEYS:
    case STORE_SETTLE:
    case STORE_BURY:
    case STORE_MISSED_TAKE:
    case STORE_MAIL_INHERIT:
    case STORE_MAIL_TAKE:
    case STORE_VALUE_DROP:
        break;
    }
    if (missed)
        missed_noted(b);
    if (order->code < 0 && order->code != AICO_ENOTFOUND && order->code != AICO_EQUOTA &&
        order->code != AICO_EEXISTS && b->now.boot_ms >= b->streams.say_ms) {
        b->streams.say_ms = b->now.boot_ms + STREAMS_SAY_MS;
        event(b, BROKER_ERROR, BROKER_EVENT_LIMIT, NULL, order->code, "%s", order->text);
    }
    return again;
}

void broker_orders_done(struct broker *b, struct moment now, struct store_order *list)
{
    struct broker_peer *peer;

    enter(b, now);
    while (list) {
        struct store_order *order = list;

        DL_DELETE(list, order);
        if (!order_done(b, order))
            store_order_free(&order);
    }
    DL_FOREACH(b->peers, peer)
    acknowledge(b, peer);
    settle(b);
}

int streams_start(struct broker *b)
{
    struct store_order *order = b->settings.has_store ? order_new(STORE_LOAD, 0) : NULL;

    if (!b->settings.has_store)
        return 0;
    if (!order)
        return AICO_ENOMEM;
    order_give(b, order);
    b->streams.sweep_ms = b->now.boot_ms + STREAMS_SWEEP_MS;
    wake_at(b, b->streams.sweep_ms);
    values_recheck(b);
    return prekeys_start(b);
}

void streams_free(struct broker *b)
{
    orders_free(b);
    durables_free(b);
    statements_free(b);
    prekeys_free(b);
}
