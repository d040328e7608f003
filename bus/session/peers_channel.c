/* SPDX-License-Identifier: Apache-2.0 */
/* Channels: which one is used, what is said on them, and the messages between two components. */
#include <stdio.h>

#include "envelope/headers.h"
#include "session/control.h"
#include "session/peers_internal.h"

static void line_control(struct sessions *s, struct moment now, struct peer *peer,
                         struct line *line, struct bytes content);

/* --- which one ------------------------------------------------------------------------------ */

struct line *line_best(const struct peer *peer)
{
    struct line *line;

    DL_FOREACH(peer->lines, line)
    if (line->sendable && line->until_ms == 0 && channel_is_alive(line->channel))
        return line;
    return NULL;
}

/* The line of the registry that what is said to @name is meant for; NULL: none. */
static const struct component *addressee(const struct sessions *s, struct moment now,
                                         struct bytes name, const struct peer *peer)
{
    return peer ? peer_component(s, now, peer) : registry_find_name(s->registry, name);
}

bool sessions_has_channel(struct sessions *s, struct moment now, struct bytes name)
{
    const struct peer *peer = peer_find(s, name, false);
    const struct component *component = addressee(s, now, name, peer);

    if (seed_is_spoken(s, component))
        return seed_may_meet(s, now, component) == 0;
    return peer && line_best(peer);
}

static struct line *line_find(const struct peer *peer, const uint8_t *identity, struct bytes key_id)
{
    struct line *line;

    DL_FOREACH(peer->lines, line)
    if (memcmp(line->channel->id, key_id.at, CHANNEL_ID_SIZE) == 0 &&
        memcmp(line->channel->peer, identity, SIGN_PUBLIC_SIZE) == 0)
        return line;
    return NULL;
}

void line_remove(struct peer *peer, struct line *line)
{
    DL_DELETE(peer->lines, line);
    channel_free(&line->channel);
    free(line);
}

static void say_final(struct sessions *s, struct moment now, struct peer *peer, struct line *line)
{
    uint8_t room[CONTROL_SMALL_MAX];
    struct writer w = writer_over(room, sizeof(room));

    if (line->final_sent || line->channel->send.next == 0 || !channel_is_alive(line->channel))
        return;
    control_write_final(&w, (uint32_t)line->channel->send.next + 1);
    line_control(s, now, peer, line, writer_view(&w));
    line->final_sent = true;
}

static void retire(struct sessions *s, struct moment now, struct peer *peer, struct line *line)
{
    say_final(s, now, peer, line);
    line->sendable = false;
    line->repeat_ms = 0;
    if (line->until_ms == 0 || line->until_ms > now.boot_ms + s->settings.handshake_timeout_ms)
        line->until_ms = now.boot_ms + s->settings.handshake_timeout_ms;
    peers_wake_at(s, line->until_ms);
}

/* Both directions are said to be over, or never began. */
static bool is_over(const struct line *line)
{
    return !line->sendable && line->final_received &&
           (line->final_sent || line->channel->send.next == 0);
}

static void unknown_gap(struct sessions *s, struct peer *peer)
{
    event_push(s,
               &(struct session_event){.type = SESSION_GAP,
                                       .peer = peer_name(peer),
                                       .direct = true,
                                       .unknown = true,
                                       .cause = SESSION_GAP_FINAL,
                                       .code = AICO_ENOTFOUND,
                                       .text = "a channel ended without saying how far it came"});
}

/* The end of a channel: whether something may be missing is told. */
static void end_line(struct sessions *s, struct peer *peer, struct line *line)
{
    if (line->channel->receive.heard && !line->final_received && !line->link_lost &&
        channel_is_alive(line->channel))
        unknown_gap(s, peer);
    line_remove(peer, line);
}

static void insert(struct peer *peer, struct line *line)
{
    struct line *at;

    DL_FOREACH(peer->lines, at)
    if (channel_compare(line->channel, at->channel) > 0)
        break;
    if (at)
        DL_PREPEND_ELEM(peer->lines, at, line);
    else
        DL_APPEND(peer->lines, line);
}

static void say_ping(struct sessions *s, struct moment now, struct peer *peer, struct line *line)
{
    uint8_t room[CONTROL_SMALL_MAX];
    struct writer w = writer_over(room, sizeof(room));

    control_write_ping(&w, CONTROL_PING, line->channel->id, (uint32_t)line->channel->send.next + 1);
    line_control(s, now, peer, line, writer_view(&w));
    line->pings++;
    line->unanswered++;
    line->is_dirty = false;
    line->ping_ms = now.boot_ms + s->settings.keepalive_interval_ms;
}

static void say_registry(struct sessions *s, struct moment now, struct peer *peer,
                         struct line *line)
{
    CLEANUP(buffer_deinit)
    struct buffer room = {0};
    struct bytes document = registry_document(s->registry);
    struct writer w = writer_over(buffer_reserve(&room, document.size + 1), document.size + 1);

    if (!w.at || document.size + 1 > s->settings.max_message_size)
        return;
    control_write_registry(&w, document);
    line_control(s, now, peer, line, writer_view(&w));
}

/* Until Hello3 is repeated: soon at first, then ever later. */
static int64_t repeat_pause_ms(const struct sessions *s, struct moment now, const struct line *line)
{
    int64_t age_ms = now.boot_ms - line->since_ms;

    return MIN(s->settings.handshake_timeout_ms / 8, MAX(HANDSHAKE_AGAIN_MS, age_ms));
}

/* Until it is looked again whether a channel was used: of what is kept of it the time moves on. */
static int64_t touch_pause_ms(const struct sessions *s)
{
    return s->settings.key_reuse ? s->settings.session_timeout_ms / 4 : MOMENT_NEVER / 2;
}

int line_add(struct sessions *s, struct moment now, struct peer *peer,
             const struct channel_keys *keys, const uint8_t *hello3)
{
    struct line *line = calloc(1, sizeof(*line)), *other;
    int r = AICO_ENOMEM;

    if (line)
        r = channel_new(keys, s->self->public, &s->settings, now, &line->channel);
    if (r < 0) {
        free(line);
        return r;
    }
    line->sendable = true;
    line->used_ms = line->since_ms = now.boot_ms;
    line->touch_ms = now.boot_ms + touch_pause_ms(s);
    line->ping_ms = now.boot_ms + s->settings.keepalive_interval_ms;
    insert(peer, line);
    dial_stop(s, peer);
    peer->away = false;
    peer->hint_code = 0;
    if (keys->resumed)
        s->stats.resumed++;
    else
        s->stats.handshakes++;
    if (hello3) {
        line->has_hello3 = true;
        memcpy(line->hello3, hello3, HELLO3_SIZE);
        event_send(s, peer, bytes_of(hello3, HELLO3_SIZE));
    }
    if (line_best(peer) != line) {
        /* Handshakes crossed and the other one is later: this one is only received on. */
        retire(s, now, peer, line);
        return 0;
    }
    DL_FOREACH(peer->lines, other)
    if (other != line)
        retire(s, now, peer, other);
    resume_keep(s, now, keys);
    if (keys->dialer) {
        say_ping(s, now, peer, line);
        line->repeat_ms = now.boot_ms + repeat_pause_ms(s, now, line);
    }
    if (registry_version(s->registry) > keys->peer_version)
        say_registry(s, now, peer, line);
    publications_peer_ready(s, now, peer);
    readers_peer_ready(s, now, peer);
    ratchets_peer_ready(s, now, peer);
    event_push(s, &(struct session_event){.type = SESSION_READY, .peer = peer_name(peer)});
    peers_wake_at(s, lines_deadline(s, peer));
    return 0;
}

/* --- sealing -------------------------------------------------------------------------------- */

static void note_sealed(struct sessions *s, struct moment now, const struct peer *peer,
                        struct line *line)
{
    line->sent_ms = now.boot_ms;
    if (channel_is_full(line->channel) && !peer->dialing)
        peers_wake_at(s, now.boot_ms); /* tick_used() dials */
    if (!line->is_dirty) {
        line->is_dirty = true;
        line->ping_ms = MIN(line->ping_ms, now.boot_ms + s->settings.keepalive_interval_ms);
        peers_wake_at(s, line->ping_ms);
    }
    peers_wake_at(s, channel_deadline(line->channel, s->backlogged));
}

static void line_control(struct sessions *s, struct moment now, struct peer *peer,
                         struct line *line, struct bytes content)
{
    CLEANUP(buffer_deinit)
    struct buffer room = {0};
    size_t size = envelope_sealed_size(ENVELOPE_FORMAT_MESSAGE, content.size, s->settings.padding,
                                       ENVELOPE_TRAILER_NONE, 0);
    struct writer w = writer_over(buffer_reserve(&room, size), size);
    struct channel_message message = {.format = ENVELOPE_FORMAT_MESSAGE,
                                      .delivery = DELIVERY_CONTROL,
                                      .topic = bytes_text(SESSION_TOPIC_CONTROL),
                                      .payload = content};

    if (!w.at) {
        s->out_of_memory = true;
        return;
    }
    if (channel_seal(line->channel, now, &message, &w, NULL) < 0)
        return;
    note_sealed(s, now, peer, line);
    event_send(s, peer, writer_view(&w));
}

int control_send(struct sessions *s, struct moment now, struct peer *peer, struct bytes content)
{
    struct line *line = line_best(peer);

    if (!line)
        return AICO_ESTATE;
    line_control(s, now, peer, line, content);
    return 0;
}

/* Padded, with the longest trailer a publisher of ours makes, and the message's number. */
static size_t envelope_size(uint8_t format, size_t content)
{
    return envelope_sealed_size(format, content + 2 + HEADER_NUMBER_SIZE_MAX, true,
                                ENVELOPE_TRAILER_VECTOR, GROUP_VECTOR_MAX);
}

size_t sessions_envelope_size(const struct sessions *s, size_t headers_size, size_t payload_size)
{
    (void)s;
    return envelope_size(ENVELOPE_FORMAT_MESSAGE, headers_size + payload_size);
}

size_t sessions_batch_size(size_t count, size_t bytes)
{
    return envelope_size(ENVELOPE_FORMAT_BATCH,
                         count * content_batch_item_size(true, 0, 0) + bytes);
}

size_t sessions_direct_size(struct sessions *s, struct moment now, struct bytes name,
                            size_t headers_size, size_t payload_size)
{
    return seed_is_spoken(s, addressee(s, now, name, peer_find(s, name, false)))
               ? seed_sealed_size(payload_size)
               : sessions_envelope_size(s, headers_size, payload_size);
}

static int may_send(const struct sessions *s, const struct component *peer, struct bytes topic)
{
    const struct rule *rule = registry_rule_for(s->registry, topic);
    const struct component *me = peers_self(s);

    return rule && me && rule_allows(rule, me, RIGHT_PUBLISH) &&
                   rule_allows(rule, peer, RIGHT_SUBSCRIBE)
               ? 0
               : AICO_EDENIED;
}

int sessions_seal_direct(struct sessions *s, struct moment now, struct bytes name,
                         struct bytes topic, uint8_t delivery, const uint8_t *ref,
                         struct bytes headers, struct bytes payload, struct writer *out,
                         uint8_t *ret_ref)
{
    struct peer *peer = peer_find(s, name, false);
    const struct component *component = addressee(s, now, name, peer);
    struct line *line = peer ? line_best(peer) : NULL;
    struct channel_message message = {.format = ENVELOPE_FORMAT_MESSAGE,
                                      .delivery = delivery,
                                      .topic = topic,
                                      .ref = ref,
                                      .has_headers = headers.size > 0,
                                      .headers = headers,
                                      .payload = payload};
    int r;

    if (s->closed)
        return AICO_ECLOSED;
    if (!component || !component_is_active(s->registry, component, now.real_ms))
        return AICO_EPEERUNKNOWN;
    r = ref ? 0 : may_send(s, component, topic);
    if (r < 0)
        return r;
    if (seed_is_spoken(s, component)) {
        peer = peer_find(s, name, true);
        return peer ? seed_seal(s, now, peer, component, topic, headers, payload, out, ret_ref)
                    : AICO_ENOMEM;
    }
    if (ratchet_is_spoken(s, topic))
        return ratchets_seal(s, now, peer, component,
                             &(struct ratchet_message){.delivery = delivery,
                                                       .topic = topic,
                                                       .ref = ref,
                                                       .has_headers = headers.size > 0,
                                                       .headers = headers,
                                                       .payload = payload},
                             out, ret_ref);
    if (!line)
        return AICO_ESTATE;
    r = channel_seal(line->channel, now, &message, out, ret_ref);
    if (r < 0)
        return r;
    line->used_ms = now.boot_ms;
    note_sealed(s, now, peer, line);
    s->stats.sealed++;
    return 0;
}

int sessions_ask_again(struct sessions *s, struct moment now, struct bytes name, struct bytes topic)
{
    struct peer *peer = peer_find(s, name, false);
    uint8_t room[CONTROL_SMALL_MAX];
    struct writer w = writer_over(room, sizeof(room));

    control_write_again(&w, topic);
    return peer ? control_send(s, now, peer, writer_view(&w)) : AICO_ESTATE;
}

int sessions_send_receipts(struct sessions *s, struct moment now, struct bytes name,
                           struct bytes receipts)
{
    struct peer *peer = peer_find(s, name, false);
    uint8_t room[1 + CONTROL_RECEIPTS_MAX];
    struct writer w = writer_over(room, sizeof(room));

    writer_u8(&w, CONTROL_RECEIPT);
    writer_bytes(&w, receipts);
    if (w.failed)
        return AICO_ESIZE;
    return peer ? control_send(s, now, peer, writer_view(&w)) : AICO_ESTATE;
}

int sessions_ping(struct sessions *s, struct moment now, struct bytes name, uint64_t *ret_number)
{
    struct peer *peer = peer_find(s, name, false);
    struct line *line = peer ? line_best(peer) : NULL;

    if (!line)
        return seed_is_spoken(s, addressee(s, now, name, peer)) ? AICO_EFORMAT : AICO_ESTATE;
    if (!bucket_take(&peer->pings, now.boot_ms, PINGS_RATE, PINGS_RATE))
        return AICO_ERATE;
    say_ping(s, now, peer, line);
    *ret_number = line->pings;
    return 0;
}

/* --- control messages ----------------------------------------------------------------------- */

static struct gap_report channel_gaps(struct sessions *s, struct peer *peer,
                                      enum session_gap_cause cause)
{
    return (struct gap_report){s, peer_name(peer), bytes_of(NULL, 0), cause, NULL};
}

static void on_ping(struct sessions *s, struct moment now, struct peer *peer, struct line *line,
                    const struct control *ping)
{
    struct gap_report report = channel_gaps(s, peer, SESSION_GAP_HEADS);
    struct gap_sink sink = gap_sink_for(&report);
    uint8_t room[CONTROL_SMALL_MAX];
    struct writer w = writer_over(room, sizeof(room));

    replay_announce(&line->channel->receive.replay, ping->next, &sink);
    if (!line->sendable || line->until_ms > 0) {
        /* What is left of a broken link is not sealed with: it gets a new channel instead. */
        if (!line_best(peer) && !peer->dialing && !line->final_received)
            (void)!dial_start(s, now, peer);
        return;
    }
    /* As if it were lost: who only asks must not use up what we may say. */
    if (!bucket_take(&peer->pongs, now.boot_ms, PONGS_RATE, PONGS_BURST) ||
        !bucket_take(&s->pongs, now.boot_ms, PONGS_ALL_RATE, PONGS_ALL_BURST))
        return;
    control_write_ping(&w, CONTROL_PONG, line->channel->id, (uint32_t)line->channel->send.next + 1);
    line_control(s, now, peer, line, writer_view(&w));
    line->is_dirty = false; /* it says how far we are, as PING does */
}

static void on_pong(struct sessions *s, struct peer *peer, struct line *line,
                    const struct control *pong)
{
    struct gap_report report = channel_gaps(s, peer, SESSION_GAP_HEADS);
    struct gap_sink sink = gap_sink_for(&report);

    if (memcmp(pong->id.at, line->channel->id, CHANNEL_ID_SIZE) != 0 || line->pongs >= line->pings)
        return;
    replay_announce(&line->channel->receive.replay, pong->next, &sink);
    line->pongs++;
    event_push(s, &(struct session_event){
                      .type = SESSION_PONG, .peer = peer_name(peer), .sequence = line->pongs});
}

/* The peer seals nothing more on @line: it has another one, or ends. The line may be gone
 * afterwards. */
static void on_final(struct sessions *s, struct moment now, struct peer *peer, struct line *line,
                     const struct control *final)
{
    struct gap_report report = channel_gaps(s, peer, SESSION_GAP_FINAL);
    struct gap_sink sink = gap_sink_for(&report);
    bool was_used = line->sendable;

    replay_finish(&line->channel->receive.replay, final->next, &sink);
    line->final_received = true;
    if (was_used)
        retire(s, now, peer, line);
    if (is_over(line))
        line_remove(peer, line);
    if (was_used && !line_best(peer) && !peer->dialing && !peer->half_open)
        event_push(s, &(struct session_event){.type = SESSION_LOST,
                                              .peer = peer_name(peer),
                                              .code = AICO_ECLOSED,
                                              .text = "the other end closed the channel"});
}

static void on_time(struct sessions *s, struct moment now, struct peer *peer,
                    const struct control *time)
{
    int64_t apart = (int64_t)time->time - now.real_ms;
    char text[200];

    if (apart >= -s->settings.synchrony_bound_ms && apart <= s->settings.synchrony_bound_ms)
        return;
    if (!bucket_take(&peer->times, now.boot_ms, WORDS_RATE, WORDS_BURST))
        return;
    (void)snprintf(text, sizeof(text), "the clock of %s differs from ours by %lld ms", peer->name,
                   (long long)apart);
    event_notice(s, peer_name(peer), AICO_ECLOCK, text);
}

/* Content of an envelope on $bus/control. The line may be gone afterwards. */
static void on_control(struct sessions *s, struct moment now, struct peer *peer, struct line *line,
                       struct bytes content)
{
    uint8_t identity[SIGN_PUBLIC_SIZE];
    struct control c;

    if (control_parse(content, &c) < 0)
        return;
    memcpy(identity, line->channel->peer, sizeof(identity));
    switch (c.type) {
    case CONTROL_GROUP_KEY:
        readers_on_key(s, now, peer, identity, &c);
        break;
    case CONTROL_KEY_REQUEST:
        publication_on_request(s, now, peer, identity, &c);
        break;
    case CONTROL_KEY_REFUSE:
        readers_on_refuse(s, now, peer, &c);
        break;
    case CONTROL_REGISTRY:
        if (!bucket_take(&peer->registries, now.boot_ms, WORDS_RATE, WORDS_BURST))
            break;
        event_push(s, &(struct session_event){
                          .type = SESSION_REGISTRY, .peer = peer_name(peer), .bytes = c.document});
        break;
    case CONTROL_FINAL:
        on_final(s, now, peer, line, &c);
        break;
    case CONTROL_PING:
        on_ping(s, now, peer, line, &c);
        break;
    case CONTROL_PONG:
        on_pong(s, peer, line, &c);
        break;
    case CONTROL_TIME:
        on_time(s, now, peer, &c);
        break;
    case CONTROL_RESET:
        ratchets_on_reset(s, peer, identity, &c);
        break;
    case CONTROL_AGAIN:
        if (bucket_take(&peer->agains, now.boot_ms, AGAINS_RATE, AGAINS_BURST))
            event_push(s, &(struct session_event){
                              .type = SESSION_AGAIN, .peer = peer_name(peer), .topic = c.topic});
        break;
    case CONTROL_RECEIPT:
        event_push(s, &(struct session_event){.type = SESSION_RECEIPT,
                                              .peer = peer_name(peer),
                                              .identity = identity,
                                              .bytes = c.receipts});
        break;
    case CONTROL_HEADS: /* come from groups only */
        break;
    }
}

/* --- receiving ------------------------------------------------------------------------------ */

static bool is_control(const struct arrival *a)
{
    return a->delivery == DELIVERY_CONTROL;
}

static void fail(struct sessions *s, const struct arrival *a, int code)
{
    if (is_control(a))
        s->stats.failed++;
    else
        event_failed(s, peer_name(a->peer), a->topic, code, a->cookie);
}

static struct half_open *find_half_open(const struct peer *peer, struct bytes key_id)
{
    struct half_open *half_open;

    LL_FOREACH(peer->half_open, half_open)
    if (memcmp(half_open->state->keys.id, key_id.at, CHANNEL_ID_SIZE) == 0)
        return half_open;
    return NULL;
}

static void receive_envelope(struct sessions *s, struct moment now, const struct arrival *a);

/* Of a channel we do not hold: it overtook its Hello3, or the channel is gone. */
static void receive_unknown(struct sessions *s, struct moment now, const struct arrival *a,
                            const struct envelope *e)
{
    struct held_list *early = &a->peer->early;
    struct half_open *half_open = find_half_open(a->peer, e->key_id);

    if (half_open && half_open->state->keys.resumed &&
        memcmp(half_open->state->keys.peer, a->identity, SIGN_PUBLIC_SIZE) == 0) {
        if (resume_confirm(s, now, a, e, half_open))
            receive_envelope(s, now, a);
        else
            fail(s, a, AICO_EOPEN);
        return;
    }
    if (half_open && !half_open->state->keys.resumed && early->count < HELD_MAX &&
        early->bytes + a->bytes.size <= HELD_BYTES_MAX &&
        held_push(early, now, s->settings.handshake_timeout_ms, a->identity, a->topic, a->delivery,
                  a->bytes, a->ref, true, a->cookie)) {
        peers_wake_at(s, now.boot_ms + s->settings.handshake_timeout_ms);
        return;
    }
    fail(s, a, AICO_EKEY);
    refuse_channel(s, now, a->peer, e->key_id.at);
}

/* Something opened on @line. A sender says FINAL before it seals on a later channel, and the way
 * between two components keeps order; so an earlier channel that has not been ended by now will not
 * be: its process is gone, or somebody withholds (docs/decisions/0006). */
static void line_heard(struct sessions *s, struct moment now, struct peer *peer, struct line *line)
{
    struct line *other, *next;

    line->repeat_ms = 0;
    line->unanswered = 0;
    if (!line->is_dirty)
        line->ping_ms = now.boot_ms + s->settings.keepalive_interval_ms;
    peer->away = false;
    if (!s->settings.strict_ordering)
        return;
    for (other = line->next; other; other = next) {
        next = other->next;
        if (other->channel->receive.heard && !other->final_received)
            end_line(s, peer, other);
    }
}

int direct_may_receive(const struct sessions *s, const struct component *component,
                       const struct rule *rule, uint8_t delivery)
{
    const struct component *me = peers_self(s);

    if (delivery == DELIVERY_REPLY)
        return 0; /* bound to our request */
    return rule && me && rule_allows(rule, component, RIGHT_PUBLISH) &&
                   rule_allows(rule, me, RIGHT_SUBSCRIBE)
               ? 0
               : AICO_EDENIED;
}

static void say_time(struct sessions *s, struct moment now, struct peer *peer)
{
    uint8_t room[CONTROL_SMALL_MAX];
    struct writer w = writer_over(room, sizeof(room));

    control_write_time(&w, (uint64_t)now.real_ms);
    (void)!control_send(s, now, peer, writer_view(&w));
}

static void deliver_opened(struct sessions *s, struct moment now, const struct arrival *a,
                           const struct envelope *e, const struct channel_opened *opened)
{
    const struct component *component = registry_find_identity(s->registry, a->identity);
    const struct rule *rule = registry_rule_for(s->registry, a->topic);
    struct session_event event = {.peer = peer_name(a->peer),
                                  .identity = a->identity,
                                  .topic = a->topic,
                                  .delivery = a->delivery,
                                  .direct = true,
                                  .sent_ms = opened->sent_ms,
                                  .sequence = opened->sequence,
                                  .cookie = a->cookie};
    struct writer ref = writer_over(event.ref, sizeof(event.ref));
    int r = direct_may_receive(s, component, rule, a->delivery);

    if (r == 0 && ratchet_is_spoken(s, a->topic))
        r = AICO_EFORMAT; /* over a channel what the rule wants ratcheted */
    writer_bytes(&ref, e->key_id);
    writer_u32(&ref, e->sequence);
    if (r == 0 && message_is_stale(s, now, rule, a->delivery, opened->sent_ms)) {
        r = AICO_ESTALE;
        say_time(s, now, a->peer);
    }
    if (r == 0)
        r = event_messages(s, e, opened->content, 0, NULL, &event);
    if (r < 0)
        fail(s, a, r);
}

/* An envelope of another format than a channel's, opened by @receive. */
static void receive_by(struct sessions *s, struct moment now, const struct arrival *a,
                       const struct envelope *e,
                       int (*receive)(struct sessions *, struct moment, const struct arrival *,
                                      const struct envelope *, uint8_t *))
{
    struct plain plain;
    int r = AICO_ENOMEM;

    if (plain_take(s, e->sealed.size, &plain))
        r = receive(s, now, a, e, plain.at);
    if (r < 0)
        fail(s, a, r);
    plain_give(s, &plain);
}

static void receive_envelope(struct sessions *s, struct moment now, const struct arrival *a)
{
    struct gap_report report = channel_gaps(s, a->peer, SESSION_GAP_SEQUENCE);
    struct gap_sink sink = gap_sink_for(&report);
    struct channel_opened opened;
    struct envelope e;
    struct line *line;
    struct plain plain;
    int r = a->bytes.size > envelope_size_max(s->settings.max_message_size) ? AICO_ETOOLARGE : 0;

    if (r == 0)
        r = envelope_parse(a->bytes, &e);
    if (r == 0 && a->delivery == DELIVERY_REPLY && !a->ref)
        r = AICO_ENOREQUEST;
    if (r < 0) {
        fail(s, a, r);
        return;
    }
    if (e.format == ENVELOPE_FORMAT_SEED) {
        receive_by(s, now, a, &e, seed_receive);
        return;
    }
    if (e.format == ENVELOPE_FORMAT_RATCHET || e.format == ENVELOPE_FORMAT_INIT) {
        receive_by(s, now, a, &e, ratchets_receive);
        return;
    }
    line = line_find(a->peer, a->identity, e.key_id);
    if (!line) {
        receive_unknown(s, now, a, &e);
        return;
    }
    r = AICO_ENOMEM;
    if (plain_take(s, e.sealed.size, &plain))
        r = channel_open(line->channel, now, &e, a->delivery, a->topic,
                         a->delivery == DELIVERY_REPLY ? a->ref : NULL, plain.at, &sink, &opened);
    if (r < 0) {
        fail(s, a, r);
    } else {
        line_heard(s, now, a->peer, line);
        peers_wake_at(s, channel_deadline(line->channel, s->backlogged));
        if (is_control(a)) {
            on_control(s, now, a->peer, line, opened.content);
        } else {
            line->used_ms = now.boot_ms;
            deliver_opened(s, now, a, &e, &opened);
        }
    }
    plain_give(s, &plain);
}

void early_release(struct sessions *s, struct moment now, struct peer *peer)
{
    struct held *held, *next;

    DL_FOREACH_SAFE(peer->early.first, held, next)
    {
        struct arrival a = {.peer = peer,
                            .identity = held->identity,
                            .topic = bytes_of(held->data, held->topic_size),
                            .bytes = bytes_of(held->data + held->topic_size, held->size),
                            .delivery = held->delivery,
                            .ref = held->has_ref ? held->ref : NULL,
                            .cookie = held->cookie};

        if (!line_find(peer, held->identity, bytes_of(held->key_id, CHANNEL_ID_SIZE)))
            continue;
        receive_envelope(s, now, &a);
        held_remove(&peer->early, held);
    }
}

void sessions_receive_direct(struct sessions *s, struct moment now, struct bytes name,
                             const uint8_t *identity, struct bytes topic, uint8_t delivery,
                             struct bytes bytes, const uint8_t *ref, void *cookie)
{
    struct peer *peer = s->closed ? NULL : peer_find(s, name, true);
    const struct component *component = peer ? peer_component(s, now, peer) : NULL;
    bool for_us = bytes_equal_text(topic, SESSION_TOPIC_CONTROL);
    int code = peer ? 0 : s->closed ? AICO_ECLOSED : AICO_EUNKNOWN;
    bool is_valid;

    if (peer && identity)
        component = registry_find_identity(s->registry, identity);
    is_valid = component && component_is_active(s->registry, component, now.real_ms);
    if (peer && (!component || !bytes_equal_text(name, component->name)))
        code = component ? AICO_ESTAMP : AICO_EUNKNOWN;
    else if (peer && !is_valid &&
             !(delivery == DELIVERY_MAILBOX && mail_may_come(s->registry, now, component)))
        code = AICO_EREVOKED;
    else if (for_us != (delivery == DELIVERY_CONTROL))
        code = AICO_EOPEN; /* claimed to be of another kind */
    if (code < 0) {
        if (!for_us)
            event_failed(s, name, topic, code, cookie);
        return;
    }
    if (is_valid)
        peer_meet(peer, component->identity);
    if (for_us && (bytes.size < 8 || memcmp(bytes.at, ENVELOPE_MAGIC, 8) != 0)) {
        dial_receive(s, now, peer, bytes);
        return;
    }
    receive_envelope(s, now,
                     &(struct arrival){.peer = peer,
                                       .identity = component->identity,
                                       .topic = topic,
                                       .bytes = bytes,
                                       .delivery = delivery,
                                       .ref = ref,
                                       .cookie = cookie});
}

/* --- time ----------------------------------------------------------------------------------- */

/* Up to a tenth of the interval earlier, the same at both ends. */
static int64_t early_ms(const struct sessions *s, const struct line *line)
{
    return s->settings.key_rotation_interval_ms * line->channel->id[0] / 2560;
}

static int64_t spent_ms(const struct sessions *s, const struct line *line)
{
    int64_t age = s->settings.key_rotation_interval_ms - early_ms(s, line);

    /* Who dialled does so again; the other end only when that did not happen. */
    return line->channel->established_ms + age +
           (line->channel->dialer ? 0 : s->settings.handshake_timeout_ms);
}

static void fall_silent(struct sessions *s, struct peer *peer, struct line *line)
{
    char text[200];

    (void)snprintf(text, sizeof(text), "%s does not answer", peer->name);
    event_notice(s, peer_name(peer), AICO_EPEERSILENT, text);
    end_line(s, peer, line);
    if (!line_best(peer))
        event_push(s, &(struct session_event){.type = SESSION_LOST,
                                              .peer = peer_name(peer),
                                              .code = AICO_EPEERSILENT,
                                              .text = text});
}

/* What a channel in use owes the time. The line may be gone afterwards. */
static void tick_used(struct sessions *s, struct moment now, struct peer *peer, struct line *line)
{
    bool spent = now.boot_ms >= spent_ms(s, line) || channel_is_spent(line->channel, now, 0);

    if (line->repeat_ms > 0 && now.boot_ms >= line->repeat_ms) {
        if (line->has_hello3)
            event_send(s, peer, bytes_of(line->hello3, HELLO3_SIZE));
        say_ping(s, now, peer, line);
        line->unanswered = 0; /* the handshake, not the peer, is what is being waited for */
        line->repeat_ms = now.boot_ms + repeat_pause_ms(s, now, line);
        if (now.boot_ms - line->since_ms >= s->settings.handshake_timeout_ms)
            line->repeat_ms = 0;
    }
    if (now.boot_ms >= line->touch_ms) {
        resume_touch(s, now, line->channel, line->used_ms);
        line->touch_ms = now.boot_ms + touch_pause_ms(s);
    }
    if (now.boot_ms - line->used_ms >= s->settings.session_timeout_ms)
        retire(s, now, peer, line);
    else if (spent && !peer->dialing)
        (void)!dial_start(s, now, peer);
    if (!line->sendable || now.boot_ms < line->ping_ms)
        return;
    if (line->unanswered >= PINGS_UNANSWERED_MAX)
        fall_silent(s, peer, line);
    else
        say_ping(s, now, peer, line);
}

void lines_tick(struct sessions *s, struct moment now, struct peer *peer)
{
    struct line *line, *next;

    DL_FOREACH_SAFE(peer->lines, line, next)
    {
        channel_tick(line->channel, now, s->backlogged);
        if (!channel_is_alive(line->channel))
            line_remove(peer, line);
        else if (line->until_ms > 0 && now.boot_ms >= line->until_ms)
            end_line(s, peer, line);
        else if (line->sendable && line->until_ms == 0 && s->link)
            tick_used(s, now, peer, line);
    }
}

int64_t lines_deadline(const struct sessions *s, const struct peer *peer)
{
    int64_t deadline = MOMENT_NEVER;
    const struct line *line;

    DL_FOREACH(peer->lines, line)
    {
        deadline = MIN(deadline, channel_deadline(line->channel, s->backlogged));
        if (line->until_ms > 0)
            deadline = MIN(deadline, line->until_ms);
        if (!line->sendable || line->until_ms > 0 || !s->link)
            continue;
        deadline = MIN(deadline, MIN(line->ping_ms, line->touch_ms));
        deadline = MIN(deadline, line->used_ms + s->settings.session_timeout_ms);
        if (line->repeat_ms > 0)
            deadline = MIN(deadline, line->repeat_ms);
        if (!peer->dialing)
            deadline = MIN(deadline, spent_ms(s, line));
    }
    return deadline;
}

void lines_close(struct sessions *s, struct moment now, struct peer *peer)
{
    struct line *line;

    DL_FOREACH(peer->lines, line)
    if (line->sendable) {
        resume_touch(s, now, line->channel, line->used_ms);
        retire(s, now, peer, line);
    }
}
