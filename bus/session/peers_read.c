/* SPDX-License-Identifier: Apache-2.0 */
/* The groups we read: keys, what waits for one, and what is missing (PROTOCOL 8 "Recovery"). */
#include <stdlib.h>

#include "session/control.h"
#include "session/peers_internal.h"

#define JITTER_MS 500     /* before many readers dial one publisher */
#define JITTER_READERS 16 /* fewer than that do it at once */

static struct bytes filter_of(const struct group_reader *reader)
{
    return bytes_of(reader->filter, reader->filter_size);
}

/* Whether @rule lets @publisher say something to us by group. */
static bool may_read(const struct sessions *s, const struct rule *rule,
                     const struct component *publisher)
{
    const struct component *me = peers_self(s);

    return rule && me && publisher && rule->seal == SEAL_GROUP &&
           rule_allows(rule, publisher, RIGHT_PUBLISH) && rule_allows(rule, me, RIGHT_SUBSCRIBE);
}

static struct group_reader *reader_find(const struct peer *peer, const uint8_t *identity,
                                        struct bytes id)
{
    uint8_t key[SIGN_PUBLIC_SIZE + GROUP_ID_SIZE];
    struct group_reader *reader;

    memcpy(key, identity, SIGN_PUBLIC_SIZE);
    memcpy(key + SIGN_PUBLIC_SIZE, id.at, GROUP_ID_SIZE);
    HASH_FIND(hh, peer->readers, key, sizeof(key), reader);
    return reader;
}

static void reader_remove(struct peer *peer, struct group_reader *reader)
{
    HASH_DEL(peer->readers, reader);
    group_reader_free(&reader, &peer->windows);
}

static void ask_remove(struct peer *peer, struct ask *ask)
{
    LL_DELETE(peer->asks, ask);
    free(ask);
}

void readers_free(struct peer *peer)
{
    struct group_reader *reader, *next;

    HASH_ITER(hh, peer->readers, reader, next)
    {
        reader_remove(peer, reader);
    }
    while (peer->asks)
        ask_remove(peer, peer->asks);
}

/* --- asking --------------------------------------------------------------------------------- */

static struct ask *ask_find(const struct peer *peer, const uint8_t *id)
{
    struct ask *ask;

    LL_FOREACH(peer->asks, ask)
    if (memcmp(ask->id, id, GROUP_ID_SIZE) == 0)
        break;
    return ask;
}

static uint64_t generation_known(const struct peer *peer, struct bytes filter)
{
    uint64_t generation = 0;

    for (struct group_reader *reader = peer->readers; reader; reader = reader->hh.next)
        if (bytes_equal(filter_of(reader), filter))
            generation = MAX(generation, reader->generation);
    return generation;
}

static void ask_send(struct sessions *s, struct moment now, struct peer *peer, struct ask *ask)
{
    struct bytes filter = bytes_of(ask->filter, ask->filter_size);
    uint8_t room[CONTROL_SMALL_MAX];
    struct writer w = writer_over(room, sizeof(room));

    ask->next_ms = now.boot_ms + MIN(ASK_AGAIN_MS, ASK_AGAIN_MS / 4 * (1 + (int64_t)ask->out));
    control_write_key_request(&w, filter, ask->id, ask->epoch, generation_known(peer, filter));
    if (control_send(s, now, peer, writer_view(&w)) == 0) {
        ask->order = ++s->order;
        ask->out++;
        s->stats.key_asked++;
    } else if (!ask->quiet && !peer->dialing) {
        (void)!dial_start(s, now, peer); /* readers_peer_ready() asks then */
    }
}

static struct ask *ask_make(struct sessions *s, struct moment now, struct peer *peer,
                            struct bytes id, struct bytes filter, uint32_t epoch, bool quiet)
{
    struct ask *ask;
    size_t count;

    LL_COUNT(peer->asks, ask, count);
    ask = ask_find(peer, id.at);
    if (ask) {
        ask->quiet &= quiet;
        return ask;
    }
    if (count >= ASKS_MAX)
        return NULL;
    ask = calloc(1, sizeof(*ask));
    if (!ask)
        return NULL;
    bytes_copy(ask->id, id);
    ask->epoch = epoch;
    ask->quiet = quiet;
    ask->filter_size = (uint8_t)filter.size;
    bytes_copy(ask->filter, filter);
    ask->next_ms = now.boot_ms;
    ask->until_ms = now.boot_ms + s->settings.handshake_timeout_ms;
    LL_PREPEND(peer->asks, ask);
    return ask;
}

/* Wants the list of topics of a group whose key is there: where each stood after we subscribed. */
static void ask_for_list(struct sessions *s, struct moment now, struct peer *peer,
                         const struct group_reader *reader)
{
    struct ask *ask =
        ask_make(s, now, peer, bytes_of(reader->key + SIGN_PUBLIC_SIZE, GROUP_ID_SIZE),
                 filter_of(reader), 0, true);

    if (!ask)
        return;
    if (line_best(peer))
        ask_send(s, now, peer, ask);
    peers_wake_at(s, ask->next_ms);
}

void readers_peer_ready(struct sessions *s, struct moment now, struct peer *peer)
{
    struct ask *ask;

    LL_FOREACH(peer->asks, ask)
    ask_send(s, now, peer, ask);
}

void readers_link_up(struct moment now, struct peer *peer)
{
    struct ask *ask;

    LL_FOREACH(peer->asks, ask)
    {
        ask->order = ask->out = 0;
        ask->next_ms = now.boot_ms;
    }
}

/* --- waiting for a key ---------------------------------------------------------------------- */

static void fail(struct sessions *s, const struct peer *peer, struct bytes topic, int code,
                 void *cookie)
{
    if (bytes_equal_text(topic, SESSION_TOPIC_HEADS))
        s->stats.failed++;
    else
        event_failed(s, peer_name(peer), topic, code, cookie);
}

static void waiting_fail(struct sessions *s, struct peer *peer, const uint8_t *id, int code)
{
    struct held *held, *next;

    DL_FOREACH_SAFE(peer->waiting.first, held, next)
    {
        if (memcmp(held->key_id, id, GROUP_ID_SIZE) != 0)
            continue;
        fail(s, peer, bytes_of(held->data, held->topic_size), code, held->cookie);
        held_remove(&peer->waiting, held);
    }
}

static size_t entitled_count(const struct sessions *s, const struct rule *rule)
{
    size_t count = 0;

    for (size_t i = 0; i < registry_component_count(s->registry); i++)
        count += rule_allows(rule, registry_component_at(s->registry, i), RIGHT_SUBSCRIBE);
    return count;
}

void wait_for_key(struct sessions *s, struct moment now, struct peer *peer,
                  const struct component *publisher, struct bytes topic, uint8_t delivery,
                  struct bytes bytes, const struct envelope *e, bool stored, void *cookie)
{
    struct held *held;
    const struct rule *rule = registry_rule_for(s->registry, topic);
    struct held_list *waiting = &peer->waiting;
    struct ask *ask;

    if (!may_read(s, rule, publisher)) {
        fail(s, peer, topic, AICO_EDENIED, cookie);
        return;
    }
    /* Its publisher's link broke before the broker had answered, and it said it again. */
    if (!stored && held_find(waiting, bytes)) {
        fail(s, peer, topic, AICO_EREPLAY, cookie);
        return;
    }
    if (waiting->count >= WAITING_MAX || waiting->bytes + bytes.size > WAITING_BYTES_MAX ||
        !(ask = ask_make(s, now, peer, e->key_id, rule->filter, e->epoch, false)) ||
        !(held = held_push(waiting, now, s->settings.handshake_timeout_ms, publisher->identity,
                           topic, delivery, bytes, NULL, false, cookie))) {
        fail(s, peer, topic, AICO_EKEY, cookie);
        return;
    }
    held->stored = stored;
    if (!stored)
        (void)held_know(waiting, held); /* without memory a repetition is told as one more */
    ask->in_order |= !stored;
    if (ask->order == 0 && ask->next_ms <= now.boot_ms) {
        if (!line_best(peer) && !peer->dialing && entitled_count(s, rule) > JITTER_READERS)
            ask->next_ms = now.boot_ms + 1 + peers_jitter(s, JITTER_MS);
        else
            ask_send(s, now, peer, ask);
    }
    peers_wake_at(s, MIN(ask->next_ms, ask->until_ms));
}

/* --- receiving ------------------------------------------------------------------------------ */

/* HEADS: how far the publisher is, by generation. */
static void on_heads(struct sessions *s, struct peer *peer, const uint8_t *identity,
                     struct bytes content)
{
    struct control c;
    struct reader sections, topics;
    struct control_stand stand;
    uint64_t generation;

    if (control_parse(content, &c) < 0 || c.type != CONTROL_HEADS)
        return;
    sections = reader_over(c.topics);
    while (control_next_heads(&sections, &generation, &topics)) {
        struct group_reader *reader;

        for (reader = peer->readers; reader; reader = reader->hh.next)
            if (reader->generation == generation &&
                memcmp(reader->key, identity, SIGN_PUBLIC_SIZE) == 0)
                break;
        if (!reader)
            continue;
        reader->unheard_ms = 0;
        reader->heads_missed = false;
        while (control_next_stand(&topics, &stand)) {
            struct gap_report report = {s, peer_name(peer), stand.topic, SESSION_GAP_HEADS,
                                        &reader->missing};
            struct gap_sink sink = gap_sink_for(&report);

            if (!s->heard_any || peers_is_subscribed(s, stand.topic))
                group_reader_announce(reader, &stand, true, &peer->windows, &sink);
        }
    }
}

static void deliver_opened(struct sessions *s, struct moment now, struct peer *peer,
                           const struct group_reader *reader, struct bytes topic, uint8_t delivery,
                           const struct envelope *e, const struct group_opened *opened,
                           struct plain *plain, void *cookie)
{
    struct session_event event = {.peer = peer_name(peer),
                                  .identity = reader->key,
                                  .topic = topic,
                                  .delivery = delivery,
                                  .sent_ms = opened->sent_ms,
                                  .sequence = opened->number,
                                  .will = opened->will,
                                  .generation = reader->generation,
                                  .cookie = cookie};
    struct writer ref = writer_over(event.ref, sizeof(event.ref));
    const struct rule *rule = registry_rule_named(s->registry, filter_of(reader));
    int r = 0;

    writer_bytes(&ref, e->key_id);
    writer_u32(&ref, e->sequence);
    /* A will was sealed when all was well; that it comes now is the broker's word. */
    if (!opened->will && message_is_stale(s, now, rule, delivery, opened->sent_ms))
        r = AICO_ESTALE;
    if (r == 0)
        r = event_messages(s, e, opened->content, opened->count, plain, &event);
    if (r < 0)
        fail(s, peer, topic, r, cookie);
}

/* Whether an earlier message of the same rule waits for its key, so that what is of @reader waits
 * behind it. */
static bool must_follow(const struct peer *peer, const struct group_reader *reader)
{
    const struct ask *ask;

    LL_FOREACH(peer->asks, ask)
    if (ask->in_order && bytes_equal(bytes_of(ask->filter, ask->filter_size), filter_of(reader)))
        return true;
    return false;
}

/* False: there is no room, it cannot wait. */
static bool hold_behind(struct sessions *s, struct moment now, struct peer *peer,
                        const struct component *publisher, struct bytes topic, uint8_t delivery,
                        struct bytes bytes, void *cookie)
{
    struct held_list *waiting = &peer->waiting;

    return waiting->count < WAITING_MAX && waiting->bytes + bytes.size <= WAITING_BYTES_MAX &&
           held_push(waiting, now, s->settings.handshake_timeout_ms, publisher->identity, topic,
                     delivery, bytes, NULL, false, cookie) != NULL;
}

/* An envelope whose key is here. */
static int open_with(struct sessions *s, struct moment now, struct peer *peer,
                     struct group_reader *reader, struct bytes topic, uint8_t delivery,
                     const struct envelope *e, void *cookie)
{
    struct gap_report report = {s, peer_name(peer), topic, SESSION_GAP_SEQUENCE, &reader->missing};
    struct gap_sink sink = gap_sink_for(&report);
    bool heads = bytes_equal_text(topic, SESSION_TOPIC_HEADS);
    struct group_opened opened;
    struct plain plain;
    int r = AICO_ENOMEM;

    if (plain_take(s, e->sealed.size, &plain))
        r = group_open(reader, now, e, delivery, topic, true, &peer->windows, plain.at, &sink,
                       &opened);
    if (r == 0)
        peers_wake_at(s, group_reader_deadline(reader, s->backlogged));
    if (r == 0 && heads)
        on_heads(s, peer, reader->key, opened.content);
    else if (r == 0)
        deliver_opened(s, now, peer, reader, topic, delivery, e, &opened, &plain, cookie);
    plain_give(s, &plain);
    if (reader->failures >= FAILURES_MAX)
        reader_remove(peer, reader);
    return r;
}

static void receive(struct sessions *s, struct moment now, struct peer *peer,
                    const struct component *publisher, struct bytes topic, uint8_t delivery,
                    struct bytes bytes, void *cookie)
{
    bool heads = bytes_equal_text(topic, SESSION_TOPIC_HEADS);
    struct group_reader *reader;
    struct envelope e;
    int r = bytes.size > envelope_size_max(s->settings.max_message_size) ? AICO_ETOOLARGE : 0;

    if (r == 0)
        r = envelope_parse(bytes, &e);
    if (r == 0 && e.format != ENVELOPE_FORMAT_MESSAGE && e.format != ENVELOPE_FORMAT_BATCH)
        r = AICO_EFORMAT;
    if (r == 0 && heads != (delivery == DELIVERY_CONTROL))
        r = AICO_EOPEN; /* claimed to be of another kind */
    if (r < 0) {
        fail(s, peer, topic, r, cookie);
        return;
    }
    reader = reader_find(peer, publisher->identity, e.key_id);
    r = AICO_EKEY;
    if (reader && must_follow(peer, reader) &&
        hold_behind(s, now, peer, publisher, topic, delivery, bytes, cookie))
        return;
    if (reader)
        r = open_with(s, now, peer, reader, topic, delivery, &e, cookie);
    /* Nobody is asked for the sake of HEADS: the messages they count come with a key, or fail. */
    if ((r == AICO_EKEY || r == AICO_EEPOCHJUMP) && !heads)
        wait_for_key(s, now, peer, publisher, topic, delivery, bytes, &e, false, cookie);
    else if (r < 0)
        fail(s, peer, topic, r, cookie);
}

void sessions_receive_group(struct sessions *s, struct moment now, struct bytes name,
                            const uint8_t *identity, struct bytes topic, uint8_t delivery,
                            struct bytes bytes, void *cookie)
{
    struct peer *peer = s->closed ? NULL : peer_find(s, name, true);
    const struct component *component = peer ? peer_component(s, now, peer) : NULL;
    int code = peer ? 0 : s->closed ? AICO_ECLOSED : AICO_EUNKNOWN;

    if (peer && identity)
        component = registry_find_identity(s->registry, identity);
    if (peer && (!component || !bytes_equal_text(name, component->name)))
        code = component ? AICO_ESTAMP : AICO_EUNKNOWN;
    else if (peer && !component_is_active(s->registry, component, now.real_ms))
        code = AICO_EREVOKED;
    if (code == 0)
        peer_meet(peer, component->identity);
    if (code == 0)
        receive(s, now, peer, component, topic, delivery, bytes, cookie);
    else if (!bytes_equal_text(topic, SESSION_TOPIC_HEADS))
        event_failed(s, name, topic, code, cookie);
}

bool sessions_look_ahead(struct sessions *s, struct bytes name, const uint8_t *identity,
                         struct bytes topic, uint8_t delivery, struct bytes bytes)
{
    const struct peer *peer = s->closed ? NULL : peer_find(s, name, false);
    const struct group_reader *reader;
    struct envelope e;

    if (!peer || envelope_parse(bytes, &e) < 0)
        return false;
    reader = reader_find(peer, identity, e.key_id);
    return reader && group_reader_look_ahead(reader, &e, delivery, topic, s->ahead);
}

void sessions_hash_ahead(struct sessions *s)
{
    trailers_ahead_hash(s->ahead);
}

void sessions_forget_ahead(struct sessions *s)
{
    trailers_ahead_forget(s->ahead);
}

/* --- keys ----------------------------------------------------------------------------------- */

/* What is missing from the start of a topic is a gap if we subscribed before we asked where it
 * stands, or if nobody ever told what we subscribed to. */
static bool expects(void *context, const struct group_reader *reader, struct bytes topic)
{
    const struct sessions *s = context;

    return !s->heard_any || filters_match_below(&s->heard, topic, reader->listed_at) ||
           filters_match_below(&s->shared, topic, reader->listed_at);
}

static bool shares(void *context, struct bytes topic)
{
    return peers_is_shared(context, topic);
}

/* The answer to a request of ours says where every topic stands. */
static void take_list(struct sessions *s, struct peer *peer, struct group_reader *reader,
                      const struct control *key, uint64_t order)
{
    struct reader topics = reader_over(key->topics);
    struct control_stand stand;

    if (!key->listed)
        return;
    reader->listed = true;
    reader->listed_at = order;
    while (control_next_stand(&topics, &stand)) {
        struct gap_report report = {s, peer_name(peer), stand.topic, SESSION_GAP_HEADS,
                                    &reader->missing};
        struct gap_sink sink = gap_sink_for(&report);

        if (expects(s, reader, stand.topic))
            group_reader_list(reader, &stand, &peer->windows, &sink);
    }
}

/* @reader is over: what is under way may still come for a while, then its keys go. */
static void replace(struct sessions *s, struct moment now, struct group_reader *reader)
{
    reader->until_ms = now.boot_ms + s->settings.handshake_timeout_ms;
    peers_wake_at(s, reader->until_ms);
}

/* Generations of the same rule before @reader. */
static void replace_older(struct sessions *s, struct moment now, struct peer *peer,
                          const struct group_reader *reader)
{
    struct group_reader *other;

    for (other = peer->readers; other; other = other->hh.next)
        if (other != reader && other->until_ms == 0 && other->generation < reader->generation &&
            memcmp(other->key, reader->key, SIGN_PUBLIC_SIZE) == 0 &&
            bytes_equal(filter_of(other), filter_of(reader)))
            replace(s, now, other);
}

static bool has_newer(const struct peer *peer, const uint8_t *identity, const struct control *key)
{
    for (struct group_reader *reader = peer->readers; reader; reader = reader->hh.next)
        if (reader->generation > key->generation && bytes_equal(filter_of(reader), key->filter) &&
            memcmp(reader->key, identity, SIGN_PUBLIC_SIZE) == 0)
            return true;
    return false;
}

/* Whether something of a newer generation has been handed on. Where order is enforced nothing older
 * may follow it: what waits for its key is then named missing. */
static bool newer_has_begun(const struct peer *peer, const uint8_t *identity,
                            const struct control *key)
{
    for (struct group_reader *reader = peer->readers; reader; reader = reader->hh.next) {
        if (reader->generation <= key->generation || !bytes_equal(filter_of(reader), key->filter) ||
            memcmp(reader->key, identity, SIGN_PUBLIC_SIZE) != 0)
            continue;
        for (struct reader_topic *topic = reader->topics; topic; topic = topic->hh.next)
            if (topic->replay.strict && topic->replay.begun &&
                !topic_is_internal(bytes_of(topic->name, topic->size)))
                return true;
    }
    return false;
}

static struct group_reader *reader_add(struct sessions *s, struct moment now, struct peer *peer,
                                       const uint8_t *identity, const struct rule *rule,
                                       const struct control *key)
{
    struct group_reader *reader = NULL;
    int r = group_reader_new(s->self->public, &s->settings, identity,
                             level_pads(&s->settings, rule), key, now, &peer->windows, &reader);

    if (r < 0) {
        event_notice(s, peer_name(peer), r, "a group key could not be taken");
        return NULL;
    }
    reader->expects = expects;
    reader->shares = shares;
    reader->expects_context = s;
    reader->ahead = s->ahead;
    for (struct reader_topic *topic = reader->topics; topic; topic = topic->hh.next)
        group_reader_share(reader, topic); /* those of the list */
    group_reader_set_registry(reader, s->registry);
    HASH_ADD(hh, peer->readers, key, sizeof(reader->key), reader);
    if (!HASH_ADDED(hh, reader)) {
        group_reader_free(&reader, &peer->windows);
        return NULL;
    }
    replace_older(s, now, peer, reader);
    return reader;
}

/* The key of a generation that is over, which we asked for: it opens what waits, and goes when it
 * would have gone had we had it in time. */
static struct group_reader *add_earlier(struct sessions *s, struct moment now, struct peer *peer,
                                        const uint8_t *identity, const struct rule *rule,
                                        const struct control *key)
{
    struct group_reader *reader = reader_add(s, now, peer, identity, rule, key);

    if (reader)
        replace(s, now, reader);
    return reader;
}

/* What need not wait any more, in the order it came. */
/* It was given up while a message of it waited. @reader may be NULL. */
static void skip_topic(struct group_reader *reader, struct bytes name)
{
    struct reader_topic *topic = NULL;

    if (reader)
        HASH_FIND(hh, reader->topics, name.at, name.size, topic);
    if (topic)
        topic->skip = true;
}

static void release_waiting(struct sessions *s, struct moment now, struct peer *peer)
{
    struct held *held, *next;

    DL_FOREACH_SAFE(peer->waiting.first, held, next)
    {
        const struct component *publisher = registry_find_identity(s->registry, held->identity);
        struct bytes topic = bytes_of(held->data, held->topic_size);
        struct group_reader *known =
            publisher ? reader_find(peer, held->identity, bytes_of(held->key_id, GROUP_ID_SIZE))
                      : NULL;
        struct envelope e;
        int r;

        if (known ? !held->stored && must_follow(peer, known)
                  : publisher && ask_find(peer, held->key_id))
            continue;
        r = known ? envelope_parse(bytes_of(held->data + held->topic_size, held->size), &e)
                  : AICO_EKEY;
        if (r == 0 && held->stored)
            r = stored_open(s, now, peer, publisher, topic, held->delivery, &e, held->cookie);
        else if (r == 0)
            r = open_with(s, now, peer, known, topic, held->delivery, &e, held->cookie);
        if (r < 0)
            fail(s, peer, topic, r, held->cookie);
        else if (!held->stored && s->heard_any && !peers_is_subscribed(s, topic))
            skip_topic(reader_find(peer, held->identity, bytes_of(held->key_id, GROUP_ID_SIZE)),
                       topic);
        held_remove(&peer->waiting, held);
    }
}

void readers_on_key(struct sessions *s, struct moment now, struct peer *peer,
                    const uint8_t *identity, const struct control *key)
{
    const struct rule *rule = registry_rule_named(s->registry, key->filter);
    struct group_reader *reader = reader_find(peer, identity, key->id);
    struct ask *ask = ask_find(peer, key->id.at);

    if (!may_read(s, rule, registry_find_identity(s->registry, identity)))
        return;
    if (level_authenticity(&s->settings, rule) == AUTHENTICITY_SIGNATURE &&
        key->authenticity != ENVELOPE_TRAILER_SIGNATURE) {
        event_notice(s, peer_name(peer), AICO_EAUTHENTICITY,
                     "signatures are wanted here, and the publisher's key says otherwise");
        return;
    }
    if (reader)
        group_reader_renew(reader, key);
    else if (!has_newer(peer, identity, key))
        reader = reader_add(s, now, peer, identity, rule, key);
    else if (ask && !newer_has_begun(peer, identity, key)) /* for what was sealed just before */
        reader = add_earlier(s, now, peer, identity, rule, key);
    stored_on_key(s, now, identity, rule, key);
    if (ask)
        ask->in_order = false;
    if (!reader) {
        release_waiting(s, now, peer);
        return;
    }
    peers_wake_at(s, group_reader_deadline(reader, s->backlogged));
    if (ask && ask->out > 0 && --ask->out == 0) {
        take_list(s, peer, reader, key, ask->order);
        ask_remove(peer, ask);
    } else if (ask) {
        ask->quiet = true; /* the key is here; an earlier answer, whose list says too little */
    } else if (reader->listed_at == 0 && (filters_overlap(&s->heard, key->filter) ||
                                          filters_overlap(&s->shared, key->filter))) {
        ask_for_list(s, now, peer, reader);
    }
    release_waiting(s, now, peer);
}

void readers_on_refuse(struct sessions *s, struct moment now, struct peer *peer,
                       const struct control *refuse)
{
    int code = refuse->code == 0 ? AICO_EKEY : -(int)refuse->code;
    struct ask *ask, *next;

    LL_FOREACH_SAFE(peer->asks, ask, next)
    {
        if (!bytes_equal(bytes_of(ask->filter, ask->filter_size), refuse->filter))
            continue;
        waiting_fail(s, peer, ask->id, code);
        ask_remove(peer, ask);
    }
    release_waiting(s, now, peer);
}

/* --- what we listen to ---------------------------------------------------------------------- */

/* The topic of @reader that @filter matches behind @before, which is NULL at first; NULL: no more.
 */
static struct reader_topic *next_match(const struct group_reader *reader, struct bytes filter,
                                       const struct reader_topic *before)
{
    struct reader_topic *topic = before ? before->hh.next : reader->topics;

    if (!filter_has_wildcard(filter)) {
        topic = NULL;
        if (!before)
            HASH_FIND(hh, reader->topics, filter.at, filter.size, topic);
        return topic;
    }
    while (topic && !filter_matches(filter, bytes_of(topic->name, topic->size)))
        topic = topic->hh.next;
    return topic;
}

void readers_heard_more(struct sessions *s, struct moment now, struct bytes filter)
{
    struct peer *peer, *next;

    HASH_ITER(hh, s->peers, peer, next)
    {
        struct group_reader *reader, *after;

        HASH_ITER(hh, peer->readers, reader, after)
        {
            struct reader_topic *topic = NULL;

            while ((topic = next_match(reader, filter, topic)) != NULL)
                group_reader_share(reader, topic);
            if (reader->until_ms == 0 && filter_overlaps(filter, filter_of(reader)))
                ask_for_list(s, now, peer, reader);
        }
    }
}

void readers_heard_less(struct sessions *s, struct bytes filter)
{
    struct peer *peer, *next;

    HASH_ITER(hh, s->peers, peer, next)
    {
        for (struct group_reader *reader = peer->readers; reader; reader = reader->hh.next) {
            struct reader_topic *topic = NULL;

            while ((topic = next_match(reader, filter, topic)) != NULL) {
                topic->skip |= !peers_is_subscribed(s, bytes_of(topic->name, topic->size));
                group_reader_share(reader, topic);
            }
        }
    }
}

void readers_heard_none(struct sessions *s)
{
    struct peer *peer, *next;

    HASH_ITER(hh, s->peers, peer, next)
    {
        for (struct group_reader *reader = peer->readers; reader; reader = reader->hh.next)
            for (struct reader_topic *topic = reader->topics; topic; topic = topic->hh.next)
                topic->skip = true;
    }
}

/* --- registry and time ---------------------------------------------------------------------- */

void readers_update(struct sessions *s, struct moment now)
{
    struct peer *peer, *next;

    HASH_ITER(hh, s->peers, peer, next)
    {
        struct group_reader *reader, *after;

        HASH_ITER(hh, peer->readers, reader, after)
        {
            const struct component *publisher = registry_find_identity(s->registry, reader->key);

            if (!publisher || !component_is_active(s->registry, publisher, now.real_ms) ||
                !may_read(s, registry_rule_named(s->registry, filter_of(reader)), publisher))
                reader_remove(peer, reader);
            else
                group_reader_set_registry(reader, s->registry);
        }
    }
}

/* Nothing was said of how far the publisher is for two intervals after a message of it. */
static void check_heads(struct sessions *s, struct moment now, const struct peer *peer,
                        struct group_reader *reader)
{
    if (reader->unheard_ms == 0 || reader->heads_missed)
        return;
    if (s->backlogged || !s->link) {
        reader->unheard_ms = now.boot_ms; /* it may be among what we do not read */
        return;
    }
    if (now.boot_ms - reader->unheard_ms < 2 * s->settings.keepalive_interval_ms)
        return;
    reader->heads_missed = true;
    event_notice(s, peer_name(peer), AICO_EHEADSMISSING,
                 "the publisher's count of its messages does not come");
}

/* Nothing more will be opened with @reader: what a window still waits for does not come. */
static void finish(struct sessions *s, struct peer *peer, struct group_reader *reader)
{
    for (struct reader_topic *topic = reader->topics; topic; topic = topic->hh.next) {
        struct bytes name = bytes_of(topic->name, topic->size);
        struct gap_report report = {s, peer_name(peer), name, SESSION_GAP_HEADS};
        struct gap_sink sink = gap_sink_for(&report);

        if (topic->replay.begun && !topic->skip && !topic_is_internal(name))
            replay_finish(&topic->replay, topic->replay.next, &sink);
    }
}

void readers_tick(struct sessions *s, struct moment now, struct peer *peer)
{
    struct group_reader *reader, *after;
    struct ask *ask, *next;
    bool expired = false;

    HASH_ITER(hh, peer->readers, reader, after)
    {
        group_reader_tick(reader, now, s->backlogged);
        check_heads(s, now, peer, reader);
        if (reader->until_ms > 0 && now.boot_ms >= reader->until_ms) {
            finish(s, peer, reader);
            reader_remove(peer, reader);
        }
    }
    LL_FOREACH_SAFE(peer->asks, ask, next)
    {
        if (now.boot_ms >= ask->until_ms) {
            waiting_fail(s, peer, ask->id, AICO_EKEY);
            ask_remove(peer, ask);
            expired = true;
        } else if (s->link && now.boot_ms >= ask->next_ms) {
            if (ask->quiet && ask->out > 0)
                ask->next_ms = ask->until_ms;
            else
                ask_send(s, now, peer, ask);
        }
    }
    if (expired)
        release_waiting(s, now, peer);
}

int64_t readers_deadline(const struct sessions *s, const struct peer *peer)
{
    int64_t deadline = MOMENT_NEVER;
    const struct group_reader *reader;
    const struct ask *ask;

    for (reader = peer->readers; reader; reader = reader->hh.next) {
        deadline = MIN(deadline, group_reader_deadline(reader, s->backlogged));
        if (reader->until_ms > 0)
            deadline = MIN(deadline, reader->until_ms);
        if (reader->unheard_ms > 0 && !reader->heads_missed)
            deadline = MIN(deadline, reader->unheard_ms + 2 * s->settings.keepalive_interval_ms);
    }
    LL_FOREACH(peer->asks, ask)
    {
        deadline = MIN(deadline, ask->until_ms);
        if (s->link)
            deadline = MIN(deadline, ask->next_ms);
    }
    return deadline;
}
