/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One PUBLISH: checked, refused or routed. The checks stand in the order in which they cost, and
 * nothing is kept of a message before all have passed.
 */
#include "broker/stream.h"

/* Metadata, head, tag and trailer of the largest envelope (PROTOCOL 7, max_message_size). */
#define ENVELOPE_OVERHEAD (65535u + 52 + 1 + 16 * 255)
#define DIRECT_CONTROL_EXTRA (1024 * 1024) /* handshakes get through when messages do not */
#define HELLO_FIRST_BYTE 1

/* A PUBLISH on its way through the checks. */
struct incoming {
    struct broker *b;
    struct broker_peer *peer;
    const struct record_publish *p;
    uint32_t charge; /* bytes of credit it took, 0 for control */
    bool held;       /* the credit comes back when blocking readers were sent it */
    struct topic *topic;
    const struct rule *rule;
    struct broker_peer *to;
};

/* --- what both ways share ------------------------------------------------------------------- */

static size_t size_limit(const struct broker *b)
{
    size_t content = b->settings.max_message_size;

    /* Padme adds at most 12 %. */
    return MIN(content + content / 8 + ENVELOPE_OVERHEAD, (size_t)MESSAGE_SIZE_MAX);
}

/* The topic by number must have been announced to this peer: numbers are not for guessing. */
static bool topic_is_known(const struct broker_peer *peer, uint32_t number)
{
    return number <= TOPIC_NUMBER_HEADS || bitmap_has(&peer->topics_known, number);
}

/*
 * Finds the topic and checks the right to publish there. 1: go on, in->topic is referred to.
 * 0: refused. Negative: a breach of the protocol. A topic only gets a number when a rule lets its
 * publisher use it.
 */
static int find_topic(struct incoming *in)
{
    const struct record_publish *p = in->p;
    struct broker *b = in->b;
    struct broker_peer *peer = in->peer;
    bool reply = p->delivery == DELIVERY_REPLY; /* its right is the request it answers */
    struct topic *topic;
    bool allowed;

    topic = p->topic ? topic_by_number(b, p->topic) : topic_find(b, p->topic_name);
    if (p->topic && (!topic || !topic_is_known(peer, p->topic)))
        return AICO_EPROTO;
    if (!topic && !topic_is_valid(p->topic_name)) {
        refuse_publish(b, peer, p, AICO_ETOPIC, NULL,
                       "a topic has 1..255 bytes of UTF-8 and 1..32 levels without wildcards");
        return 0;
    }
    if (topic_is_internal(topic ? topic_view(topic) : p->topic_name)) {
        uint32_t own = p->to ? TOPIC_NUMBER_CONTROL : TOPIC_NUMBER_HEADS;

        if (!topic || topic->number != own || p->delivery != DELIVERY_CONTROL) {
            refuse_denied(b, peer, p->id, p, NULL, topic ? topic_view(topic) : p->topic_name);
            return 0;
        }
        in->topic = topic;
        return 1;
    }
    if (topic) {
        in->rule = topic_rule(b, topic);
        allowed = reply || may_publish(b, peer, topic);
    } else {
        in->rule = registry_rule_for(b->registry, p->topic_name);
        allowed =
            reply || (in->rule && rule_allows(in->rule, peer->member->component, RIGHT_PUBLISH));
    }
    if (!allowed) {
        refuse_denied(b, peer, p->id, p, in->rule, topic ? topic_view(topic) : p->topic_name);
        return 0;
    }
    in->topic = topic ? topic : topic_get(b, p->topic_name, !reply);
    if (!in->topic) {
        refuse_publish(b, peer, p, AICO_ENOMEM, NULL, "the broker is out of memory");
        return 0;
    }
    if (topic)
        topic_ref(topic);
    return 1;
}

/* Whether what is published by subscription here is stored. */
static bool is_stored(const struct incoming *in)
{
    return !in->p->to && in->rule && in->rule->store.on;
}

/* Kind, size and seal; false: refused. */
static bool is_acceptable(struct incoming *in)
{
    const struct record_publish *p = in->p;
    bool application = !topic_is_internal(topic_view(in->topic));
    int code = 0;
    const char *hint = "";

    if (p->delivery == DELIVERY_MAILBOX && !in->b->settings.has_store) {
        code = AICO_ESTORE;
        hint = "this broker stores no messages";
    } else if (p->delivery == DELIVERY_MAILBOX && (!in->rule || in->rule->seal != SEAL_RATCHET)) {
        code = AICO_ENOTSTORED;
        hint = "who is away opens only what a rule with seal ratchet has sealed";
    } else if (p->delivery == DELIVERY_RETAINED && (p->fragment || (p->to && !p->copy))) {
        code = p->fragment ? AICO_ETOOLARGE : AICO_EINVAL;
        hint = p->fragment ? "a retained value fits one record: 65 KiB with its envelope"
                           : "a retained value goes to all readers of its topic";
    } else if (is_stored(in) != (p->delivery == DELIVERY_STREAM) &&
               (p->delivery == DELIVERY_STREAM || p->delivery == DELIVERY_EVENT)) {
        code = AICO_ENOTSTORED;
        hint =
            "broker and publisher disagree on whether the rule stores: one has an older registry";
    } else if (is_stored(in) && !in->b->settings.has_store) {
        code = AICO_ESTORE;
        hint = "this broker stores no messages";
    } else if (application && p->delivery == DELIVERY_CONTROL) {
        code = AICO_EINVAL;
        hint = "control messages go on " TOPIC_CONTROL " and " TOPIC_HEADS;
    } else if (!p->to && (p->delivery == DELIVERY_REQUEST || p->delivery == DELIVERY_REPLY)) {
        code = AICO_EINVAL;
        hint = "requests and replies are addressed to a component; RESOLVE names one";
    } else if (p->total > size_limit(in->b)) {
        code = AICO_ETOOLARGE;
        hint = "larger than the broker's max_message_size";
    }
    if (code < 0) {
        refuse_publish(in->b, in->peer, p, code, in->rule, "%s", hint);
        return false;
    }
    if (!is_sealed_enough(in->rule, p->payload)) {
        refuse_publish(in->b, in->peer, p, AICO_EDENIED, in->rule,
                       "rule %zu demands sealed messages: this one is no AICO-MSG envelope",
                       in->rule->line);
        return false;
    }
    return true;
}

/* Messages in a PUBLISH: the publisher's word, for what is counted and reported. */
static uint32_t message_count(const struct record_publish *p)
{
    return p->count ? p->count : 1;
}

static struct record_deliver deliver_of(const struct incoming *in)
{
    const struct record_publish *p = in->p;

    return (struct record_deliver){
        .delivery = p->delivery,
        .id = p->id,
        .topic = in->topic->number,
        .sender = in->peer->member->number,
        .direct = p->to != 0,
        .fragment = p->fragment,
        .total = p->total,
        .offset = p->offset,
        .reply = p->reply,
        .request = p->request,
        .count = p->count,
        .topic_name = topic_view(in->topic),
        .payload = p->payload,
    };
}

static struct message *render(struct incoming *in)
{
    const struct record_publish *p = in->p;
    struct record_deliver deliver = deliver_of(in);
    struct message *message = message_new(in->b, &deliver, in->topic, in->peer->member);

    if (message) {
        message->session = in->peer->serial;
        message->count = message_count(p);
        if (p->ttl_ms)
            message->expires_ms = in->b->now.boot_ms + p->ttl_ms;
    }
    return message;
}

/* The message is on its way: credit waits for blocking readers, or comes back at once. */
static void settle_credit(struct incoming *in, struct message *message)
{
    if (message && message->blocking > 0) {
        message->owed = in->charge;
        in->held = in->charge > 0;
    }
}

/* A publisher that named the topic may use its number from now on. */
static void teach_numbers(struct incoming *in)
{
    if (in->p->topic == 0 && in->topic->number)
        (void)announce_topic(in->b, in->peer, in->topic);
    /* By name, or by the number its former key had: from now on it is known by its own. */
    if (in->to && in->p->to != in->to->member->number)
        (void)announce_member(in->b, in->peer, in->to->member);
}

/* @direct: its row; NULL: it went by subscription. */
static void complete(struct incoming *in, struct ledger_row *direct)
{
    struct instance *instance = in->peer->instance;

    instance->last_id = MAX(instance->last_id, in->p->id);
    if (direct)
        count_direct(in->b, direct);
    else
        count_published(in->b, in->peer->member, in->rule, message_count(in->p));
    in->peer->published += message_count(in->p);
    in->topic->messages += message_count(in->p);
    in->topic->bytes += in->p->total;
}

/* --- by subscription ------------------------------------------------------------------------ */

static struct ledger_row *row_of(struct incoming *in, struct recipient *reader)
{
    if (reader->row_sender != in->peer->member) {
        reader->row = ledger_row(in->b, in->peer->member, in->rule, reader->peer->member);
        reader->row_sender = in->peer->member;
    }
    return reader->row;
}

/* How many will get it; false when one that must not lose anything has no room. */
static bool count_readers(struct incoming *in, size_t *ret_count)
{
    size_t limit = in->b->settings.outbox_limit, count = 0;

    for (size_t i = 0; i < in->topic->reader_count; i++) {
        struct recipient *reader = &in->topic->readers[i];
        const struct lane *lane = &reader->peer->lanes[LANE_TOPIC];

        if (!recipient_gets(reader, in->peer))
            continue;
        count++;
        if (reader->policy == SLOW_BLOCK && lane->bytes > 0 &&
            lane->bytes + in->p->payload.size > limit) {
            refuse_publish(in->b, in->peer, in->p, AICO_EFULL, in->rule,
                           "%s reads too slowly and has asked not to lose anything; send again "
                           "later",
                           reader->peer->member->name);
            return false;
        }
    }
    *ret_count = count;
    return true;
}

static void route_to_readers(struct incoming *in, struct message *message, struct flight *flight)
{
    uint32_t index = 0;

    for (size_t i = 0; i < in->topic->reader_count; i++) {
        struct recipient *reader = &in->topic->readers[i];
        struct ledger_row *row;

        if (!recipient_gets(reader, in->peer))
            continue;
        row = row_of(in, reader);
        count_routed(in->b, reader->peer, row, message_count(in->p));
        if (flight) {
            flight->readers[index] = (struct flight_reader){
                .peer = reader->peer, .row = row, .queue = reader->queue, .policy = reader->policy};
            queue_ref(reader->queue);
            reader->peer->lanes[LANE_TOPIC].messages++;
        }
        lane_push(in->b, reader->peer, LANE_TOPIC, message, reader->policy, row, reader->queue,
                  flight, index);
        index++;
    }
}

static void publish_to_topic(struct incoming *in)
{
    struct broker *b = in->b;
    const struct record_publish *p = in->p;
    struct message *message = NULL;
    struct flight *flight = NULL;
    size_t count;

    if (route_update(b, in->topic) < 0 || entries_reserve(b, in->topic->reader_count) < 0)
        goto no_memory;
    queue_choose(b, in->topic, in->peer, NULL);
    if (!count_readers(in, &count) ||
        (p->delivery == DELIVERY_RETAINED && !retained_has_room(b, in->peer, p, in->topic)))
        return;
    if (p->delivery == DELIVERY_RETAINED && p->again &&
        retained_is_of_another(b, in->topic, in->peer->member)) {
        complete(in, NULL); /* somebody has said something later */
        teach_numbers(in);
        return;
    }
    if (p->delivery == DELIVERY_RETAINED) {
        struct record_deliver deliver = deliver_of(in);

        if (retained_keep(b, &deliver, in->topic, in->peer->member,
                          p->ttl_ms ? b->now.boot_ms + p->ttl_ms : 0) < 0)
            goto no_memory;
    }
    if (count > 0) {
        message = render(in);
        if (!message)
            goto no_memory;
    }
    if (p->fragment) {
        flight =
            flight_new(b, in->peer->instance, LANE_TOPIC, p, in->topic, in->peer->member, count);
        if (!flight)
            goto no_memory;
        flight->routed = (uint32_t)p->payload.size;
    }
    if (message)
        route_to_readers(in, message, flight);
    if (p->receipt)
        receivers_tell(b, in->peer, in->topic, p->id, count);
    settle_credit(in, message);
    if (!flight || flight->routed == flight->total) {
        complete(in, NULL);
        if (flight) /* another one may be under way */
            flight_end(b, in->peer->instance, LANE_TOPIC);
    }
    message_unref(message);
    teach_numbers(in);
    return;

no_memory: /* one exit for three places, nothing of them is kept */
    message_unref(message);
    refuse_publish(b, in->peer, p, AICO_ENOMEM, NULL, "the broker is out of memory");
}

/* --- to one component ----------------------------------------------------------------------- */

/* 1: in->to is its session. 0: refused. Negative: a breach of the protocol. */
static int find_receiver(struct incoming *in)
{
    const struct record_publish *p = in->p;
    struct broker *b = in->b;
    const struct member *member = NULL;
    struct bytes name = p->to_name;

    if (p->to != NUMBER_BY_NAME) {
        member = member_by_number(b, p->to);
        if (!member ||
            (!bitmap_has(&in->peer->components_known, p->to) && member != in->peer->member))
            return AICO_EPROTO;
        name = bytes_text(member->name);
        in->to = member->peer;
    }
    /* Also where the number is that of a key which was rotated: the name has another one now. */
    if (!in->to)
        HASH_FIND(hh, b->sessions, name.at, name.size, in->to);
    if (!in->to && !registry_find_name(b->registry, name)) {
        refuse_publish(b, in->peer, p, AICO_EPEERUNKNOWN, NULL,
                       "no component %.*s in the registry; ask the owner: aico-keytool new",
                       (int)MIN(name.size, (size_t)COMPONENT_NAME_MAX), (const char *)name.at);
        return 0;
    }
    if (!in->to || in->to->end_noted) {
        refuse_publish(b, in->peer, p, AICO_EPEERAWAY, NULL, "%.*s is not connected",
                       (int)name.size, (const char *)name.at);
        return 0;
    }
    if (in->to == in->peer) {
        refuse_publish(b, in->peer, p, AICO_EINVAL, NULL, "a component cannot address itself");
        return 0;
    }
    return 1;
}

/* The right to reply is the request's; without a request, or when a registry since has taken it
 * from either of the two, there is none, and in the latter case nobody waits any longer. */
static bool may_reply(struct incoming *in)
{
    struct broker *b = in->b;
    const struct member *asker = in->to->member;
    struct request *request = request_find(b, asker, in->p->request, in->peer);

    if (!request) {
        refuse_publish(b, in->peer, in->p, AICO_ENOREQUEST, NULL,
                       "%s does not wait for this reply: answered, timed out or never asked",
                       asker->name);
        return false;
    }
    if (may_go(b, LANE_DIRECT, DELIVERY_REPLY, in->topic, in->peer->member, asker))
        return true;
    refuse_publish(b, in->peer, in->p, AICO_EDENIED, in->rule,
                   "the registry in force no longer lets %s ask here, or this component answer",
                   asker->name);
    refuse(b, in->to, request->key.id, AICO_EDENIED, in->rule,
           "the registry in force no longer lets %s answer here", in->peer->member->name);
    request_end(b, request, AICO_EDENIED);
    return false;
}

/* Whether this message may go to that component; false: refused. */
static bool may_address(struct incoming *in)
{
    const struct record_publish *p = in->p;
    struct broker *b = in->b;
    const char *name = in->to->member->name;
    const struct recipient *reader;

    if (p->delivery == DELIVERY_CONTROL)
        return true;
    if (p->delivery == DELIVERY_REPLY)
        return may_reply(in);
    if (!may_read(b, in->to, in->topic)) {
        refuse_publish(b, in->peer, p, AICO_EDENIED, in->rule,
                       "%s may not subscribe here; ask the owner: aico-keytool rule set", name);
        return false;
    }
    if (route_update(b, in->topic) < 0) {
        refuse_publish(b, in->peer, p, AICO_ENOMEM, NULL, "the broker is out of memory");
        return false;
    }
    reader = route_find(in->topic, in->to);
    if (p->copy || (reader && (reader->serve || p->delivery != DELIVERY_REQUEST)))
        return true;
    refuse_publish(b, in->peer, p, AICO_ENORESPONDER, in->rule,
                   p->delivery == DELIVERY_REQUEST
                       ? "%s is connected but does not serve this topic"
                       : "%s is connected but has not subscribed to this topic",
                   name);
    return false;
}

static bool direct_has_room(const struct incoming *in)
{
    const struct lane *lane = &in->to->lanes[LANE_DIRECT];
    size_t limit = in->b->settings.direct_limit, waiting = lane->bytes + lane->reserved;

    if (in->p->delivery == DELIVERY_CONTROL)
        limit += DIRECT_CONTROL_EXTRA;
    return waiting == 0 || waiting + in->p->total <= limit;
}

static void publish_to_component(struct incoming *in)
{
    struct broker *b = in->b;
    const struct record_publish *p = in->p;
    struct flight *flight = NULL;
    struct message *message = NULL;
    struct ledger_row *row;
    char hint[QUOTA_HINT_SIZE];
    int r = AICO_ENOMEM;

    if (!direct_has_room(in)) {
        refuse_publish(b, in->peer, p, AICO_EFULL, NULL,
                       "too much waits for %s already; send again later", in->to->member->name);
        return;
    }
    message = render(in);
    if (!message || entries_reserve(b, 1) < 0)
        goto refused;
    row = direct_row(b, in->peer->member, in->rule, in->to->member, direct_way(p->delivery));
    if (p->delivery == DELIVERY_REQUEST) {
        r = request_add(b, in->peer, p->id, in->to, p->timeout_ms, row);
        if (r < 0)
            goto refused;
    }
    if (p->fragment) {
        flight = flight_new(b, in->peer->instance, LANE_DIRECT, p, in->topic, in->peer->member, 1);
        if (!flight) {
            struct request *request = request_find(b, in->peer->member, p->id, in->to);

            if (request)
                request_end(b, request, AICO_ENOMEM);
            r = AICO_ENOMEM;
            goto refused;
        }
        flight->routed = (uint32_t)p->payload.size;
        flight->to = in->to->member;
        flight->readers[0].peer = in->to;
        flight->readers[0].row = row;
        in->to->lanes[LANE_DIRECT].messages++;
        in->to->lanes[LANE_DIRECT].reserved += p->total - flight->routed;
    }
    count_routed(b, in->to, row, 1);
    lane_push(b, in->to, LANE_DIRECT, message, SLOW_DROP_NEW, row, NULL, flight, 0);
    message_unref(message);
    if (p->delivery == DELIVERY_CONTROL && p->payload.size > 0 &&
        p->payload.at[0] == HELLO_FIRST_BYTE)
        b->totals.handshakes++;
    if (!flight || flight->routed == flight->total) {
        struct request *request =
            p->reply ? request_find(b, in->to->member, p->request, in->peer) : NULL;

        if (request)
            request_end(b, request, 0);
        complete(in, row);
        if (flight) /* another one may be under way */
            flight_end(b, in->peer->instance, LANE_DIRECT);
    }
    teach_numbers(in);
    return;

refused: /* one exit for three places, nothing of them is kept */
    message_unref(message);
    refuse_publish(b, in->peer, p, r, NULL, "%s",
                   r == AICO_EQUOTA ? quota_hint(b, QUOTA_REQUESTS, hint)
                                    : "the broker is out of memory");
}

/* --- fragments after the first -------------------------------------------------------------- */

static bool fits_flight(const struct incoming *in, const struct flight *flight)
{
    const struct record_publish *p = in->p;
    bool topic = p->topic ? flight->topic->number == p->topic
                          : bytes_equal(topic_view(flight->topic), p->topic_name);
    bool to =
        !flight->to || (p->to == NUMBER_BY_NAME ? bytes_equal_text(p->to_name, flight->to->name)
                                                : p->to == flight->to->number);

    return p->fragment && p->total == flight->total && p->delivery == flight->delivery &&
           p->request == flight->request && topic && to;
}

static void flight_push(struct incoming *in, struct flight *flight, struct message *message)
{
    for (size_t i = 0; i < flight->reader_count; i++) {
        struct flight_reader *fr = &flight->readers[i];

        if (!fr->peer)
            continue;
        if (flight->lane == LANE_DIRECT)
            fr->peer->lanes[LANE_DIRECT].reserved -= in->p->payload.size;
        lane_push(in->b, fr->peer, flight->lane, message, fr->policy, fr->row, fr->queue, flight,
                  (uint32_t)i);
    }
}

static int continue_flight(struct incoming *in, struct flight *flight)
{
    const struct record_publish *p = in->p;
    struct broker *b = in->b;
    struct instance *instance = in->peer->instance;
    enum lane_kind lane = flight->lane;
    struct message *message;
    struct request *request;

    if (!fits_flight(in, flight))
        return AICO_EPROTO;
    flight->suspended_until_ms = 0;
    if (p->offset + p->payload.size <= flight->routed)
        return 0; /* sent again after the link was lost */
    if (p->offset != flight->routed)
        return AICO_EPROTO;

    in->topic = flight->topic;
    in->rule = topic_rule(b, in->topic);
    topic_ref(in->topic);
    message = render(in);
    if (!message || entries_reserve(b, flight->reader_count) < 0) {
        message_unref(message);
        flight_abort(b, instance, lane, DROP_MEMORY, AICO_ENOMEM);
        refuse_publish(b, in->peer, p, AICO_ENOMEM, NULL, "the broker is out of memory");
        return 0;
    }
    flight->routed += (uint32_t)p->payload.size;
    message->expires_ms = flight->expires_ms;
    flight_push(in, flight, message);
    settle_credit(in, message);
    message_unref(message);

    request = p->reply && flight->to ? request_find(b, flight->to, p->request, in->peer) : NULL;
    if (request)
        request->deadline_ms = b->now.boot_ms + REQUEST_TIMEOUT_DEFAULT_MS;
    if (flight->routed == flight->total) {
        if (request)
            request_end(b, request, 0);
        complete(in, lane == LANE_DIRECT ? flight->readers[0].row : NULL);
        flight_end(b, instance, lane);
    }
    return 0;
}

/* --- to one component, there or not ---------------------------------------------------------- */

/* Whose mailbox: the key its name has now. 1, 0: refused; negative: a breach of the protocol. */
static int find_mailbox(struct incoming *in, struct member **ret_receiver)
{
    const struct record_publish *p = in->p;
    struct broker *b = in->b;
    const struct member *known = NULL;
    const struct component *component;
    struct bytes name = p->to_name;

    if (p->to != NUMBER_BY_NAME) {
        known = member_by_number(b, p->to);
        if (!known ||
            (!bitmap_has(&in->peer->components_known, p->to) && known != in->peer->member))
            return AICO_EPROTO;
        name = bytes_text(known->name);
    }
    component = registry_find_name(b->registry, name);
    if (!component || component->state != COMPONENT_ACTIVE) {
        refuse_publish(b, in->peer, p, AICO_EPEERUNKNOWN, NULL,
                       "no active component %.*s in the registry; ask the owner: aico-keytool new",
                       (int)MIN(name.size, (size_t)COMPONENT_NAME_MAX), (const char *)name.at);
    } else if (memcmp(component->identity, in->peer->member->identity, SIGN_PUBLIC_SIZE) == 0) {
        refuse_publish(b, in->peer, p, AICO_EINVAL, NULL, "a component cannot address itself");
    } else if (!rule_allows(in->rule, component, RIGHT_SUBSCRIBE)) {
        refuse_publish(b, in->peer, p, AICO_EDENIED, in->rule,
                       "%s may not subscribe here; ask the owner: aico-keytool rule set",
                       component->name);
    } else {
        *ret_receiver = member_get(b, name, component->identity);
        if (*ret_receiver)
            return 1;
        refuse_publish(b, in->peer, p, AICO_ENOMEM, NULL, "the broker is out of memory");
    }
    return 0;
}

static int publish_to_mailbox(struct incoming *in)
{
    struct member *receiver = NULL;
    int r = find_mailbox(in, &receiver);

    if (r <= 0)
        return r;
    in->held = stream_publish(in->b, in->peer, in->rule, in->topic, receiver, in->p, in->charge);
    in->to = receiver->peer;
    teach_numbers(in);
    return 0;
}

/* --- the door ------------------------------------------------------------------------------- */

static int accept_new(struct incoming *in)
{
    const struct record_publish *p = in->p;
    int r = find_topic(in);

    if (r <= 0 || !is_acceptable(in))
        return r < 0 ? r : 0;
    if (is_stored(in) && (p->delivery == DELIVERY_STREAM || p->delivery == DELIVERY_RETAINED)) {
        in->held = stream_publish(in->b, in->peer, in->rule, in->topic, NULL, p, in->charge);
        teach_numbers(in);
        return 0;
    }
    if (p->delivery == DELIVERY_MAILBOX)
        return publish_to_mailbox(in);
    if (p->to == 0) {
        publish_to_topic(in);
        return 0;
    }
    r = find_receiver(in);
    if (r <= 0)
        return r;
    if (may_address(in))
        publish_to_component(in);
    return 0;
}

static int accept_publish(struct incoming *in)
{
    const struct record_publish *p = in->p;
    struct broker *b = in->b;
    struct instance *instance = in->peer->instance;
    enum lane_kind lane = p->to ? LANE_DIRECT : LANE_TOPIC;
    struct flight *flight = instance->flights[lane];
    char hint[QUOTA_HINT_SIZE];

    if (flight && flight->id == p->id)
        return continue_flight(in, flight);
    if (instance->storing_part && instance->storing_part->id == p->id) {
        in->held = stream_publish(b, in->peer, NULL, NULL, NULL, p, in->charge);
        return 0;
    }
    if (p->id <= instance->last_id) {
        b->totals.repeated += p->offset == 0;
        return 0;
    }
    if (flight && flight->suspended_until_ms) {
        /* Its publisher came back without it. */
        instance_refused(b, instance, flight->id, AICO_EEXPIRED, 0);
        flight_abort(b, instance, lane, DROP_INCOMPLETE, AICO_EPEERAWAY);
        flight = NULL;
    }
    if (p->fragment &&
        ((flight && p->delivery != DELIVERY_STREAM && p->delivery != DELIVERY_MAILBOX) ||
         p->offset != 0))
        return AICO_EPROTO;
    /* Not of one whose link is gone: its input is bounded, and it cannot send more. */
    if (p->delivery == DELIVERY_CONTROL && !in->peer->is_orphan &&
        !peer_take_tokens(b, in->peer, 1))
        return INGRESS_LATER;
    if (p->delivery != DELIVERY_CONTROL && !quota_take_publish(b, in->peer)) {
        refuse_publish(b, in->peer, p, AICO_EQUOTA, NULL, "%s",
                       quota_hint(b, QUOTA_PUBLISH_RATE, hint));
        return 0;
    }
    return accept_new(in);
}

int on_publish(struct broker *b, struct broker_peer *peer, const struct record *record)
{
    struct record_publish p;
    struct incoming in = {.b = b, .peer = peer, .p = &p};
    int r = record_parse_publish(record, &p);

    if (r < 0)
        return r;
    if (b->draining)
        return 0; /* neither taken nor acknowledged: the client sends it to the next broker */
    if (p.delivery != DELIVERY_CONTROL) {
        in.charge = (uint32_t)record->whole.size;
        if (in.charge > peer->publish_credit)
            return AICO_ECREDIT;
        peer->publish_credit -= in.charge;
    }
    ack_note(peer, record->whole.size);
    work_add(b, WORK_PUBLISH);
    r = accept_publish(&in);
    topic_unref(in.topic);
    if (!in.held)
        owe_credit(b, peer, in.charge);
    return r;
}

void publish_own(struct broker *b, struct bytes name, struct bytes payload,
                 struct broker_peer *only, bool last)
{
    struct topic *topic = topic_get(b, name, true);
    struct record_deliver deliver = {
        .delivery = DELIVERY_RETAINED,
        .id = b->next_id++,
        .sender = COMPONENT_NUMBER_BROKER,
        .direct = true,
        .topic_name = name,
        .payload = payload,
    };
    struct message *message = NULL;

    if (topic) {
        deliver.topic = topic->number;
        if (route_update(b, topic) == 0 && entries_reserve(b, topic->reader_count) == 0)
            message = message_new(b, &deliver, topic, b->self);
    }
    if (!message)
        event(b, BROKER_ERROR, BROKER_EVENT_LIMIT, NULL, AICO_ENOMEM, "no memory to publish %.*s",
              (int)name.size, (const char *)name.at);
    for (size_t i = 0; message && i < topic->reader_count; i++) {
        struct broker_peer *reader = topic->readers[i].peer;
        struct ledger_row *row;

        if (reader->state != PEER_READY || (only && reader != only) ||
            (!last && lane_replace(reader, message)))
            continue;
        lane_withdraw(b, reader, message);
        row = direct_row(b, b->self, NULL, NULL, LEDGER_CONTROL);
        count_routed(b, reader, row, 1);
        lane_push(b, reader, LANE_DIRECT, message, SLOW_DROP_NEW, row, NULL, NULL, 0);
    }
    message_unref(message);
    topic_unref(topic);
}
