/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readers of stored messages. The store is read in steps, as far as the reader's window and outbox
 * have room; what was handed out is remembered until it is settled, and handed out again when its
 * deadline passes or its reader comes back. What cannot be delivered ends in the dead letters.
 */
#include "broker/stream.h"

/* --- life ----------------------------------------------------------------------------------- */

struct durable *durable_by_handle(struct broker *b, uint64_t handle)
{
    struct durable *d;

    DL_FOREACH(b->streams.durables, d)
    if (d->handle == handle)
        return d;
    return NULL;
}

static struct durable *find_by_subscription(struct broker *b, const struct broker_peer *peer,
                                            uint32_t subscription)
{
    struct durable *d;

    DL_FOREACH(b->streams.durables, d)
    if (d->peer == peer && d->subscription == subscription)
        return d;
    return NULL;
}

struct durable *durable_by_name(struct broker *b, struct bytes component, struct bytes name)
{
    struct durable *d;

    DL_FOREACH(b->streams.durables, d)
    if (d->name_size > 0 && bytes_equal_text(component, d->component) &&
        bytes_equal(bytes_of(d->name, d->name_size), name))
        return d;
    return NULL;
}

static void set_former(struct durable *d, struct handed *h, bool former)
{
    d->former += (size_t)former;
    d->former -= (size_t)h->former;
    h->former = former;
}

void handed_take(struct durable *d, struct handed *h)
{
    set_former(d, h, false);
    HASH_DEL(d->handed, h);
    DL_DELETE(d->handed_first, h);
}

static void handed_remove(struct durable *d, struct handed *h)
{
    handed_take(d, h);
    free(h);
}

void durable_free(struct broker *b, struct durable *d)
{
    while (d->handed_first)
        handed_remove(d, d->handed_first);
    DL_DELETE(b->streams.durables, d);
    free(d);
}

/* @d leaves with what it has not settled. */
static void count_returned(const struct durable *d)
{
    struct handed *h;

    DL_FOREACH(d->handed_first, h)
    {
        if (h->row)
            h->row->returned += h->count;
        h->row = NULL;
    }
}

/* Its reader leaves: a named one waits for it, and how often what was delivered is remembered. */
static void detach(struct broker *b, struct durable *d)
{
    struct durable *group = d->group;
    struct handed *h;

    if (orders_withdraw(b, false, d->handle) && group) { /* for another one */
        group->own.reading = false;
        group->own.more = true;
    }
    count_returned(d);
    while (group && d->handed_first)
        group_return(b, d, d->handed_first);
    missed_left(d);
    if (d->name_size == 0 || !d->at->known) {
        durable_free(b, d);
        if (group && group_left(b, group)) {
            group_pump(b, group);
            missed_pump(b, group);
        }
        return;
    }
    d->peer = NULL;
    d->session++;
    d->at->reading = false;
    DL_FOREACH(d->handed_first, h)
    {
        h->deadline_ms = MOMENT_NEVER;
        set_former(d, h, true);
    }
}

void durables_peer_left(struct broker *b, struct broker_peer *peer)
{
    struct durable *d, *next;

    DL_FOREACH_SAFE(b->streams.durables, d, next)
    if (d->peer == peer)
        detach(b, d);
}

bool durable_unfollow(struct broker *b, struct broker_peer *peer, uint32_t subscription)
{
    struct durable *d = find_by_subscription(b, peer, subscription);

    if (d)
        detach(b, d);
    return d != NULL;
}

void durables_free(struct broker *b)
{
    while (b->streams.durables)
        durable_free(b, b->streams.durables);
}

/* --- following ------------------------------------------------------------------------------ */

struct durable *durable_new(struct broker *b, struct bytes component, struct bytes name,
                            struct bytes filter)
{
    struct durable *d = calloc(1, sizeof(*d));

    if (!d)
        return NULL;
    d->handle = ++b->streams.last_handle;
    d->at = &d->own;
    bytes_copy(d->component, component);
    d->name_size = (uint8_t)name.size;
    bytes_copy(d->name, name);
    d->size = (uint8_t)filter.size;
    bytes_copy(d->filter, filter);
    DL_APPEND(b->streams.durables, d);
    return d;
}

/* Asks the store where this reader stands. */
static int ask_store(struct broker *b, struct durable *d, const struct record_follow *m)
{
    const struct durable *whose = d->group ? d->group : d;
    struct store_order *order =
        order_new(STORE_FOLLOW, d->size + whose->name_size + strlen(whose->component) +
                                    strlen(d->peer->member->name));
    size_t used = 0;

    if (!order)
        return AICO_ENOMEM;
    order->filter = order_keep(order, &used, bytes_of(d->filter, d->size));
    order->name = order_keep(order, &used, m->name);
    order->component = order_keep(order, &used, bytes_text(whose->component));
    order->sender = order_keep(order, &used, bytes_text(d->peer->member->name));
    order->start = m->start;
    order->value = m->value;
    order->handle = d->handle;
    order->serial = d->peer->serial;
    order->id = m->id;
    if (m->start == FOLLOW_LAST)
        order_give_in_turn(b, d->peer->member, order);
    else
        order_give(b, order);
    return 0;
}

static size_t followed_by(struct broker *b, const struct broker_peer *peer)
{
    struct durable *d;
    size_t count = 0;

    DL_FOREACH(b->streams.durables, d)
    count += d->peer == peer && !d->is_mailbox;
    return count;
}

/* The checks of a FOLLOW; false: refused. */
static bool may_follow(struct broker *b, struct broker_peer *peer, const struct record_follow *m,
                       struct bytes filter)
{
    const struct rule *rule = NULL;
    struct durable *d =
        m->queue.size > 0 ? NULL : durable_by_name(b, bytes_text(peer->member->name), m->name);

    if (filter.size == 0)
        refuse(b, peer, m->id, AICO_ETOPIC, NULL,
               "a filter has whole levels as wildcards: * or + for one, ** or # for the rest");
    else if (!b->settings.has_store)
        refuse(b, peer, m->id, AICO_ESTORE, NULL, "this broker stores no messages");
    else if (topic_is_internal(filter) || !may_subscribe(b, peer, filter, &rule))
        refuse_denied(b, peer, m->id, NULL, rule, filter);
    else if (m->name.size > 0 && d && d->peer)
        refuse(b, peer, m->id, AICO_EEXISTS, NULL, "this durable reader is being followed already");
    else if (followed_by(b, peer) >= DURABLES_MAX)
        refuse(b, peer, m->id, AICO_EQUOTA, NULL, "at most %d filters are followed at a time",
               DURABLES_MAX);
    else
        return true;
    return false;
}

/* A reader for @m: its own or a member's of a group; NULL: refused. */
static struct durable *reader_for(struct broker *b, struct broker_peer *peer,
                                  const struct record_follow *m, struct bytes filter)
{
    struct bytes own = bytes_text(peer->member->name);
    struct durable *group = m->queue.size > 0 ? group_get(b, peer, m, filter) : NULL;
    struct durable *d =
        m->name.size > 0 && m->queue.size == 0 ? durable_by_name(b, own, m->name) : NULL;

    if (m->queue.size > 0 && !group)
        return NULL;
    if (d && !bytes_equal(bytes_of(d->filter, d->size), filter)) {
        durable_free(b, d); /* the store says what it thinks of that */
        d = NULL;
    }
    if (!d)
        d = durable_new(b, own, group ? bytes_of(NULL, 0) : m->name, filter);
    if (!d) {
        if (group)
            (void)group_left(b, group);
        refuse(b, peer, m->id, AICO_ENOMEM, NULL, "the broker is out of memory");
        return NULL;
    }
    if (group) {
        d->group = group;
        d->at = &group->own;
    }
    return d;
}

int on_follow(struct broker *b, struct broker_peer *peer, const struct record *record)
{
    char canonical[TOPIC_SIZE_MAX + 1];
    struct subscription *s = NULL;
    struct record_follow m;
    struct bytes filter;
    struct durable *d;
    int r = record_parse_follow(record, &m);

    if (r < 0)
        return r;
    HASH_FIND(hh, peer->subscriptions, &m.subscription, sizeof(m.subscription), s);
    if (s || find_by_subscription(b, peer, m.subscription))
        return AICO_EPROTO;
    filter =
        bytes_of(canonical, filter_is_valid(m.filter) ? filter_canonical(m.filter, canonical) : 0);
    if (!may_follow(b, peer, &m, filter))
        return 0;
    d = reader_for(b, peer, &m, filter);
    if (!d)
        return 0;
    d->peer = peer;
    d->session++;
    d->follow_id = m.id;
    d->subscription = m.subscription;
    d->deadline_ms = MAX(m.deadline_ms, (uint32_t)DEADLINE_MIN_MS);
    d->attempts_max = m.attempts;
    d->window = m.window;
    /* Where it stood is not where it goes on: nothing is read before the store has answered. */
    d->own.reading = true;
    if (ask_store(b, d, &m) < 0) {
        detach(b, d);
        refuse(b, peer, m.id, AICO_ENOMEM, NULL, "the broker is out of memory");
    }
    return 0;
}

/* Nothing is kept of @d, nor of a group that was made for it. */
static void follow_refused(struct broker *b, struct durable *d, const struct store_order *order)
{
    struct durable *group = d->group;
    const struct rule *rule = NULL;

    (void)may_subscribe(b, d->peer, bytes_of(d->filter, d->size), &rule);
    if (order->code == AICO_EQUOTA)
        quota_watch_rows(b, d->peer->member, ROWS_READERS, 0, true);
    refuse(b, d->peer, order->id, order->code, order->code == AICO_EQUOTA ? rule : NULL, "%s",
           order->text);
    durable_free(b, d);
    if (group)
        (void)group_left(b, group);
}

bool durable_followed(struct broker *b, struct store_order *order)
{
    struct durable *d = durable_by_handle(b, order->handle);
    struct broker_peer *peer = d ? d->peer : NULL;

    if (!peer || peer->serial != order->serial || d->follow_id != order->id)
        return false;
    if (order->code < 0) {
        follow_refused(b, d, order);
        return false;
    }
    if (order->more) { /* the last message is not among those that were looked at */
        order_forget_answer(order);
        order_give_in_turn(b, peer->member, order);
        return true;
    }
    quota_watch_rows(b, peer->member, ROWS_READERS, order->count, false);
    d->is_member = d->group != NULL;
    if (!d->group || !d->at->known)
        *d->at = (struct durable_place){.known = true,
                                        .reader = order->reader,
                                        .position = order->floor,
                                        .handed_to = order->after,
                                        .more = true};
    d->at->losses.more = true;
    answer_ok(b, peer, order->id, d->subscription);
    missed_pump(b, d);
    durable_pump(b, d);
    return false;
}

void durables_recheck(struct broker *b, struct broker_peer *peer)
{
    struct durable *d, *next;

    DL_FOREACH_SAFE(b->streams.durables, d, next)
    {
        struct bytes filter = bytes_of(d->filter, d->size);
        const struct rule *rule = NULL;

        if (d->peer != peer || d->is_mailbox || may_subscribe(b, peer, filter, &rule))
            continue;
        refuse_denied(b, peer, d->follow_id, NULL, rule, filter);
        detach(b, d);
    }
}

/* --- reading -------------------------------------------------------------------------------- */

static struct store_order *read_order(struct broker *b, struct durable *d,
                                      enum store_order_kind kind)
{
    struct store_order *order = order_new(kind, d->size);
    size_t used = 0;

    if (!order) {
        peer_end_later(b, d->peer, AICO_ENOMEM, "no memory to read stored messages");
        return NULL;
    }
    order->filter = order_keep(order, &used, bytes_of(d->filter, d->size));
    order->handle = d->handle;
    order->group = d->group ? d->group->handle : 0;
    order->serial = d->session;
    order_read_for(b, order, d->peer->member);
    memcpy(order->receiver, d->peer->member->identity, sizeof(order->receiver));
    return order;
}

void durable_read_on(struct broker *b, struct durable *d, size_t count_max)
{
    struct store_order *order = read_order(b, d, d->is_mailbox ? STORE_MAIL_READ : STORE_READ);

    if (!order)
        return;
    order->after = d->at->position;
    order->reader = d->at->reader;
    order->count_max = count_max;
    order->bytes_max = READ_BYTES;
    d->at->reading = true;
    d->at->more = false; /* what is stored meanwhile says so again */
    order_give_in_turn(b, d->peer->member, order);
}

void durable_pump(struct broker *b, struct durable *d)
{
    size_t open = HASH_COUNT(d->handed) - d->former;

    if (d->group || d->is_group) {
        group_pump(b, d->group ? d->group : d);
        return;
    }
    if (!d->peer || !d->at->known || d->at->reading || !d->at->more || open >= d->window ||
        d->peer->state != PEER_READY || b->draining ||
        d->peer->lanes[LANE_TOPIC].bytes > b->settings.outbox_limit / 2)
        return;
    durable_read_on(b, d, d->window - open);
}

void durables_pump_peer(struct broker *b, struct broker_peer *peer)
{
    struct durable *d;

    DL_FOREACH(b->streams.durables, d)
    if (d->peer == peer)
        durable_pump(b, d);
}

void durables_stored(struct broker *b, struct bytes topic)
{
    struct durable *d;

    DL_FOREACH(b->streams.durables, d)
    if (!d->at->more && !d->is_mailbox && filter_matches(bytes_of(d->filter, d->size), topic)) {
        d->at->more = true;
        durable_pump(b, d);
    }
}

/* --- settling ------------------------------------------------------------------------------- */

/* Everything up to there is settled. */
static uint64_t floor_of(struct broker *b, const struct durable *d)
{
    if (d->group)
        return group_floor(b, d->group);
    return d->handed_first ? d->handed_first->number - 1 : d->at->position;
}

/* @number is done with. @code 0: its reader has acknowledged it; else it is buried. @is_untold: it
 * is not its reader who says so. */
static void settle_number(struct broker *b, struct durable *d, uint64_t number, uint32_t attempts,
                          int code, struct bytes reason, bool is_untold)
{
    const struct durable *whose = d->group ? d->group : d;
    struct store_order *order;
    size_t used = 0;

    if (d->is_mailbox) {
        if (code < 0)
            event(b, BROKER_WARNING, BROKER_EVENT_LIMIT, d->peer, code,
                  "message %llu leaves the mailbox of %s unread: %.*s", (unsigned long long)number,
                  d->component, (int)reason.size, (const char *)reason.at);
        b->totals.buried += code < 0;
        b->totals.settled += code == 0;
        mailbox_take(b, d, number, is_untold ? code : 0);
        return;
    }
    if (code < 0)
        event(b, BROKER_WARNING, BROKER_EVENT_LIMIT, d->peer, code,
              "stored message %llu goes to the dead letters of %s's reader %.*s after %u "
              "deliveries: %.*s",
              (unsigned long long)number, whose->component, (int)whose->name_size, whose->name,
              attempts, (int)reason.size, (const char *)reason.at);
    b->totals.buried += code < 0;
    b->totals.settled += code == 0;
    if (d->at->reader == 0)
        return;
    order = order_new(code < 0 ? STORE_BURY : STORE_SETTLE, reason.size);
    if (!order) {
        event(b, BROKER_ERROR, BROKER_EVENT_LIMIT, d->peer, AICO_ENOMEM,
              "no memory to store an acknowledgement: message %llu will be delivered again",
              (unsigned long long)number);
        return;
    }
    order->data = order_keep(order, &used, reason);
    order->reader = d->at->reader;
    order->number = number;
    order->floor = floor_of(b, d);
    order->bury_code = code;
    order->attempts = attempts;
    order->again = is_untold;
    order_give(b, order);
}

static void bury(struct broker *b, struct durable *d, struct handed *h, int code,
                 struct bytes reason)
{
    uint64_t number = h->number;
    uint32_t attempts = h->attempts;

    handed_remove(d, h);
    settle_number(b, d, number, attempts, code, reason, true);
    if (d->at->reader > 0) {
        d->at->losses.more = true;
        missed_pump(b, d);
    }
}

int on_settle(struct broker *b, struct broker_peer *peer, const struct record *record)
{
    struct handed *h = NULL;
    struct record_settle m;
    struct durable *d, *holder;
    uint32_t attempts;
    int r = record_parse_settle(record, &m);

    if (r < 0)
        return r;
    d = holder = find_by_subscription(b, peer, m.subscription);
    if (m.told) {
        if (d)
            missed_told(b, d, m.number);
        return 0;
    }
    if (d)
        HASH_FIND(hh, d->handed, &m.number, sizeof(m.number), h);
    if (d && !h && d->group && !m.retry) { /* late, and nobody else has it yet */
        holder = d->group;
        HASH_FIND(hh, holder->handed, &m.number, sizeof(m.number), h);
        if (h && h->last != d->handle)
            h = NULL;
    }
    if (!h) /* settled before, or the subscription has ended meanwhile */
        return 0;
    if (m.retry && !d->is_mailbox) {
        h->deadline_ms = b->now.boot_ms;
        wake_at(b, h->deadline_ms);
        return 0;
    }
    attempts = h->attempts;
    handed_remove(holder, h);
    settle_number(b, d, m.number, attempts, -(int)m.code, m.reason, false);
    durable_pump(b, d);
    return 0;
}

/* --- handing out ---------------------------------------------------------------------------- */

bool handed_insert(struct durable *d, struct handed *h)
{
    struct handed *before;

    HASH_ADD(hh, d->handed, number, sizeof(h->number), h);
    if (!HASH_ADDED(hh, h))
        return false;
    /* Read in order: most often it belongs at the end. */
    before = d->handed_first ? d->handed_first->prev : NULL;
    while (before && before->number > h->number)
        before = before == d->handed_first ? NULL : before->prev;
    if (before)
        DL_APPEND_ELEM(d->handed_first, before, h);
    else
        DL_PREPEND(d->handed_first, h);
    return true;
}

static struct handed *hand(struct durable *d, uint64_t number)
{
    struct handed *h = NULL;

    HASH_FIND(hh, d->handed, &number, sizeof(number), h);
    if (h)
        return h;
    h = calloc(1, sizeof(*h));
    if (!h)
        return NULL;
    h->number = number;
    h->attempts = number <= d->at->handed_to ? 1 : 0;
    if (handed_insert(d, h))
        return h;
    free(h);
    return NULL;
}

int stored_forbidden(struct broker *b, const struct broker_peer *peer, struct topic *topic,
                     const struct member *sender, const char **ret_reason)
{
    const struct component *c = sender->component;

    *ret_reason = "its sender was revoked";
    if (c && c->state == COMPONENT_REVOKED)
        return AICO_EREVOKED;
    *ret_reason = "the registry does not know its sender any more";
    if (!c)
        return AICO_EUNKNOWN;
    *ret_reason = "the rule of its topic does not let this component read it";
    return may_read(b, peer, topic) ? 0 : AICO_EDENIED;
}

static struct message *piece_of(struct durable *d, const struct store_row *row,
                                const struct handed *h, struct topic *topic, struct member *sender,
                                size_t offset)
{
    bool fragment = row->payload.size > FRAGMENT_SIZE_MAX;
    uint8_t delivery = d->is_mailbox ? DELIVERY_MAILBOX : DELIVERY_STREAM;
    struct record_item item = {
        .delivery = delivery,
        .subscription = d->subscription,
        .number = row->number,
        .stored_ms = row->stored_ms,
        .attempt = (uint16_t)MIN(h->attempts, (uint32_t)UINT16_MAX),
        .id = row->publish_id,
        .topic = topic->number,
        .sender = sender->number,
        .fragment = fragment,
        .total = (uint32_t)row->payload.size,
        .offset = (uint32_t)offset,
        .count = row->count >= 2 && !fragment ? (uint16_t)row->count : 0,
        .topic_name = topic_view(topic),
        .payload = bytes_of(row->payload.at + offset,
                            MIN(row->payload.size - offset, (size_t)FRAGMENT_SIZE_MAX)),
    };
    size_t size = record_size_item(&item);
    struct message *message = message_over(size, topic, sender);
    struct writer w;

    if (!message)
        return NULL;
    message->id = row->publish_id;
    message->count = fragment ? 1 : row->count;
    message->delivery = delivery;
    message->last = offset + item.payload.size == row->payload.size;
    w = writer_over(message->record, size);
    record_write_item(&w, &item);
    return message;
}

void stored_give_key(struct broker *b, struct broker_peer *peer, const struct store_row *row,
                     const struct member *sender)
{
    struct record_key key = {sender->number, bytes_of(row->payload.at + 8, KEY_ID_BYTES), row->key};
    struct writer w;

    if (row->key.size == 0 || row->payload.size < 8 + KEY_ID_BYTES ||
        announce_member(b, peer, sender) < 0)
        return;
    w = control_begin(b, peer, RECORD_HEAD_SIZE + 4 + KEY_ID_BYTES + 2 + row->key.size);
    record_write_key(&w, &key);
    control_end(b, peer, &w);
}

/* Its records behind what waits for the reader; a large one in fragments. AICO_ENOMEM. */
static int push_pieces(struct broker *b, struct durable *d, const struct store_row *row,
                       const struct handed *h, struct topic *topic, struct member *sender)
{
    struct record_publish p = {
        .id = row->publish_id, .total = (uint32_t)row->payload.size, .delivery = DELIVERY_STREAM};
    struct ledger_row *ledger = h->row;
    struct instance nobody = {0};
    struct flight *flight = NULL;
    int r = 0;

    if (row->payload.size > FRAGMENT_SIZE_MAX) {
        flight = flight_new(b, &nobody, LANE_TOPIC, &p, topic, sender, 1);
        if (!flight)
            return AICO_ENOMEM;
        flight->readers[0] =
            (struct flight_reader){.peer = d->peer, .row = ledger, .policy = SLOW_BLOCK};
        d->peer->lanes[LANE_TOPIC].messages++;
    }
    count_routed(b, d->peer, ledger, flight ? 1 : row->count);
    for (size_t offset = 0; r == 0 && (offset == 0 || offset < row->payload.size);
         offset += FRAGMENT_SIZE_MAX) {
        struct message *message =
            entries_reserve(b, 1) < 0 ? NULL : piece_of(d, row, h, topic, sender, offset);

        if (message)
            lane_push(b, d->peer, LANE_TOPIC, message, SLOW_BLOCK, ledger, NULL, flight, 0);
        r = message ? 0 : AICO_ENOMEM;
        message_unref(message);
    }
    if (flight)
        flight_end(b, &nobody, LANE_TOPIC);
    return r;
}

/* One message to its reader; AICO_ENOMEM. */
static int hand_out(struct broker *b, struct durable *d, const struct store_row *row,
                    struct bytes *last_key)
{
    struct member *sender = member_get(b, row->sender, row->identity.at);
    struct topic *topic = topic_get(b, row->topic, true);
    struct handed *h;
    const char *reason = "";
    int r;

    if (d->is_mailbox && topic && !mailbox_wants(b, d, topic, row->number)) {
        topic_unref(topic);
        return 0;
    }
    h = hand(d, row->number);
    r = sender && topic && h ? stored_forbidden(b, d->peer, topic, sender, &reason) : AICO_ENOMEM;

    if (r == AICO_ENOMEM) {
        topic_unref(topic);
        return r;
    }
    if (r == 0 && d->attempts_max > 0 && h->attempts >= d->attempts_max) {
        r = AICO_EDEADLETTER;
        reason = "delivered so often, and never acknowledged";
    }
    if (r < 0) {
        bury(b, d, h, r, bytes_text(reason));
        topic_unref(topic);
        return 0;
    }
    h->attempts++;
    set_former(d, h, false);
    /* What is in a mailbox comes again with the next session only: a link loses nothing. */
    h->deadline_ms = d->is_mailbox ? MOMENT_NEVER : b->now.boot_ms + d->deadline_ms;
    wake_at(b, h->deadline_ms);
    if (!bytes_equal(*last_key, row->key))
        stored_give_key(b, d->peer, row, sender);
    *last_key = row->key;
    h->row = ledger_row(b, sender, topic_rule(b, topic), d->peer->member);
    h->count = row->payload.size > FRAGMENT_SIZE_MAX ? 1 : row->count;
    r = push_pieces(b, d, row, h, topic, sender);
    topic_unref(topic);
    return r;
}

static bool is_handed(const struct durable *d, uint64_t number)
{
    const struct handed *h = NULL;

    HASH_FIND(hh, d->handed, &number, sizeof(number), h);
    return h != NULL;
}

/* What was asked for again cannot be read now. */
static void wanted_later(struct broker *b, struct durable *d, uint64_t number)
{
    struct handed *h = NULL;

    HASH_FIND(hh, d->handed, &number, sizeof(number), h);
    if (!h)
        return;
    h->deadline_ms = b->now.boot_ms + STREAMS_SAY_MS;
    wake_at(b, h->deadline_ms);
}

void durable_gone(struct broker *b, struct durable *d, uint64_t number)
{
    struct store_order *order;
    struct handed *h = NULL;

    HASH_FIND(hh, d->handed, &number, sizeof(number), h);
    if (!h)
        return;
    handed_remove(d, h);
    order = d->at->reader > 0 ? order_new(STORE_SETTLE, 0) : NULL;
    if (!order) /* the next one moves the floor as well */
        return;
    order->reader = d->at->reader;
    order->floor = floor_of(b, d);
    order_give(b, order);
}

/* What was asked for again is stored no more: the store has noted why. */
static void gone(struct broker *b, struct durable *d, uint64_t number)
{
    durable_gone(b, d, number);
    d->at->losses.more = true;
    missed_pump(b, d);
}

void durable_read(struct broker *b, struct store_order *order)
{
    struct durable *d = durable_by_handle(b, order->handle);
    struct durable *group = order->group ? durable_by_handle(b, order->group) : NULL;
    struct bytes rest = buffer_view(&order->out), key = {0};
    struct store_row row;
    int r = 0;

    if (group && order->kind == STORE_READ)
        group->own.reading = false;
    if (!d || !d->peer || order->serial != d->session || d->peer->end_noted) {
        if (group) { /* for another one */
            group->own.more |= order->kind == STORE_READ;
            group_pump(b, group);
        } else if (d && d->is_mailbox && order->serial != d->session) { /* from the front */
            d->own.reading = false;
            durable_pump(b, d);
        }
        return;
    }
    if (order->kind != STORE_READ_ONE)
        d->at->reading = false;
    if (order->kind == STORE_READ_ONE && order->code == AICO_ENOTFOUND)
        gone(b, d, order->number);
    else if (order->kind == STORE_READ_ONE && order->code < 0)
        wanted_later(b, d, order->number);
    while (r == 0 && store_row_next(&rest, &row)) {
        if (order->kind == STORE_READ_ONE && !is_handed(d, row.number))
            break; /* settled while it was read */
        r = hand_out(b, d, &row, &key);
        if (r == 0 && order->kind != STORE_READ_ONE)
            d->at->position = MAX(d->at->position, row.number);
    }
    if (r < 0) {
        peer_end_later(b, d->peer, r, "no memory to hand out stored messages");
        return;
    }
    if (order->kind == STORE_READ_ONE) {
        durable_pump(b, d);
        return;
    }
    if (order->code < 0) {
        /* Tried again in a while: it may be for a moment, and the log says why. */
        d->at->more = true;
        b->streams.retry_ms = b->now.boot_ms + STREAMS_SAY_MS;
        wake_at(b, b->streams.retry_ms);
        return;
    }
    d->at->position = MAX(d->at->position, order->after);
    d->at->more |= order->more;
    durable_pump(b, d);
}

void durable_ask_again(struct broker *b, struct durable *d, struct handed *h)
{
    struct store_order *order = read_order(b, d, STORE_READ_ONE);

    if (!order)
        return;
    order->number = h->number;
    h->deadline_ms = MOMENT_NEVER;
    b->totals.redelivered++;
    order_give(b, order);
}

/* --- time ------------------------------------------------------------------------------------- */

static void check_deadlines(struct broker *b, struct durable *d)
{
    struct handed *h, *next;

    DL_FOREACH_SAFE(d->handed_first, h, next)
    {
        if (h->deadline_ms == MOMENT_NEVER)
            continue;
        if (h->deadline_ms > b->now.boot_ms)
            wake_at(b, h->deadline_ms);
        else if (d->group)
            group_return(b, d, h);
        else
            durable_ask_again(b, d, h);
    }
}

void durables_tick(struct broker *b)
{
    bool retry = b->streams.retry_ms > 0 && b->now.boot_ms >= b->streams.retry_ms;
    struct broker_peer *peer;
    struct durable *d, *next;

    if (retry) {
        DL_FOREACH(b->peers, peer)
        values_pump_peer(b, peer);
    }
    if (retry)
        b->streams.retry_ms = 0;
    else if (b->streams.retry_ms > 0)
        wake_at(b, b->streams.retry_ms);
    DL_FOREACH_SAFE(b->streams.durables, d, next)
    {
        if (!d->peer || d->peer->state != PEER_READY)
            continue;
        check_deadlines(b, d);
        if (retry)
            missed_pump(b, d);
        if (retry || d->group)
            durable_pump(b, d);
    }
}
