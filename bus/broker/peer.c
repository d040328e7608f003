/* SPDX-License-Identifier: Apache-2.0 */
/* One link from broker_peer_open() to broker_peer_gone(). */
#include <stdio.h>

#include "broker/internal.h"

#define PINGS_UNANSWERED_MAX 2

static struct broker_peer *refuse_link(struct broker *b, struct bytes name, const char *address,
                                       int code, int *ret_code)
{
    event(b, BROKER_NOTICE, BROKER_EVENT_REFUSED, NULL, code, "%.*s from %s: %s",
          (int)MIN(name.size, (size_t)COMPONENT_NAME_MAX), (const char *)name.at, address,
          aico_error_string(code));
    *ret_code = code;
    return NULL;
}

static struct broker_peer *peer_new(struct broker *b, struct member *member, const char *address,
                                    void *cookie)
{
    struct broker_peer *peer = calloc(1, sizeof(*peer));

    if (!peer)
        return NULL;
    peer->state = PEER_NEW;
    peer->serial = ++b->next_serial;
    peer->cookie = cookie;
    peer->member = member;
    peer->opened_ms = peer->heard_ms = b->now.boot_ms;
    peer->denied_logged_ms = INT64_MIN / 2;
    (void)snprintf(peer->address, sizeof(peer->address), "%s", address);
    DL_APPEND(b->peers, peer);
    b->peer_count++;
    member->quotas.links++;
    quota_watch_links(b);
    return peer;
}

struct broker_peer *broker_peer_open(struct broker *b, struct moment now, struct bytes name,
                                     const uint8_t identity[32], const char *address, void *cookie,
                                     int *ret_code)
{
    const struct component *component;
    struct broker_peer *peer;
    struct member *member;

    enter(b, now);
    component = registry_find_identity(b->registry, identity);
    if (b->draining)
        return refuse_link(b, name, address, AICO_EDRAIN, ret_code);
    if (!component || !bytes_equal_text(name, component->name))
        return refuse_link(b, name, address, AICO_EUNKNOWN, ret_code);
    if (!component_is_active(b->registry, component, now.real_ms))
        return refuse_link(b, name, address, AICO_EREVOKED, ret_code);
    if (b->peer_count >= b->settings.max_connections)
        return refuse_link(b, name, address, AICO_EQUOTA, ret_code);
    member = member_get(b, name, identity);
    if (member &&
        !bucket_take(&member->quotas.links_opened, now.boot_ms, LINKS_PER_SECOND, LINKS_BURST))
        return refuse_link(b, name, address, AICO_ERATE, ret_code);
    if (member && !quota_allows(b, member, NULL, QUOTA_CONNECTIONS, member->quotas.links))
        return refuse_link(b, name, address, AICO_EQUOTA, ret_code);
    peer = member ? peer_new(b, member, address, cookie) : NULL;
    if (!peer)
        return refuse_link(b, name, address, AICO_ENOMEM, ret_code);
    wake_at(b, now.boot_ms + b->settings.hello_timeout_ms);
    return peer;
}

void peer_free(struct broker *b, struct broker_peer *peer)
{
    output_remove(b, peer);
    ack_forget(b, peer);
    ingress_forget(b, peer);
    DL_DELETE(b->peers, peer);
    b->peer_count--;
    peer->member->quotas.links--;
    if (peer->end_noted)
        b->ending--;
    if (peer->state == PEER_LEAVING)
        b->leaving--;
    buffer_deinit(&peer->control);
    registry_unref(&peer->registry);
    free(peer->topics_known.words);
    free(peer->components_known.words);
    free(peer->components_renewed.words);
    free(peer->gap_slots);
    free(peer->memberships);
    free(peer->software);
    free(peer);
}

void peer_become_ready(struct broker *b, struct broker_peer *peer)
{
    peer->state = PEER_READY;
    peer->ready_ms = b->now.boot_ms;
    peer->ready_real_ms = b->now.real_ms;
    peer->member->peer = peer;
    wake_at(b, peer->heard_ms + b->settings.keepalive_interval_ms);
}

/* The session ends: nothing of it remains but the link. */
static void leave(struct broker *b, struct broker_peer *peer, int code, bool quiet)
{
    bool was_ready = peer->state == PEER_READY;

    if (peer->end_noted) {
        peer->end_noted = false;
        b->ending--;
    }
    ack_forget(b, peer);
    peer->end_code = code;
    peer->state = PEER_LEAVING;
    b->leaving++;
    if (!was_ready)
        return;
    HASH_DEL(b->sessions, peer);
    if (peer->member->peer == peer)
        peer->member->peer = NULL;
    subscriptions_free(b, peer);
    durables_peer_left(b, peer);
    values_peer_left(b, peer);
    requests_peer_left(b, peer);
    queue_left(b, peer, NULL);
    flights_forget(b, peer);
    lane_clear(b, peer, code == AICO_EREVOKED ? DROP_REVOKED : DROP_LINK_LOST);
    will_session_ended(b, peer->instance, code);
    if (code == AICO_EREVOKED) {
        struct instance *instance = peer->instance;

        instance_free(b, &instance);
    } else {
        instance_detach(b, peer->instance);
    }
    if (!quiet && !b->draining)
        presence_offline(b, peer, code);
}

void peer_cut(struct broker *b, struct broker_peer *peer, int code, const char *text)
{
    if (peer->state == PEER_LEAVING)
        return;
    event(b, code == 0 ? BROKER_INFO : BROKER_NOTICE,
          code == 0 ? BROKER_EVENT_LEFT : BROKER_EVENT_KICKED, peer, code, "%s", text);
    leave(b, peer, code, code == AICO_EDUPLICATE);
    peer->control.size = peer->control_sent = 0;
    peer->kick_at_ms = b->now.boot_ms;
}

void peer_end(struct broker *b, struct broker_peer *peer, int code, const char *text)
{
    const char *cause = text ? text : aico_error_string(code);
    struct record_bye bye = {.code = (uint16_t)-code, .text = bytes_text(cause)};
    uint8_t room[RECORD_HEAD_SIZE + 2 + HINT_SIZE_MAX];
    struct writer w = writer_over(room, sizeof(room));

    if (peer->state == PEER_LEAVING)
        return;
    event(b, code == AICO_EDRAIN ? BROKER_INFO : BROKER_NOTICE,
          peer->state == PEER_NEW ? BROKER_EVENT_REFUSED : BROKER_EVENT_KICKED, peer, code, "%s",
          cause);
    record_write_bye(&w, &bye);
    acknowledge(b, peer);
    leave(b, peer, code, false);
    /* Answers that wait are still sent, unless there are too many or nobody may have them. */
    if (control_waiting(peer) > b->settings.control_limit || code == AICO_EREVOKED)
        peer->control.size = peer->control_sent = 0;
    (void)buffer_append(&peer->control, writer_view(&w)); /* without memory: cut without BYE */
    peer->kick_at_ms = b->now.boot_ms + BROKER_KICK_GRACE_MS;
    wake_at(b, peer->kick_at_ms);
    outbox_queued(b, peer);
}

void peer_end_later(struct broker *b, struct broker_peer *peer, int code, const char *text)
{
    if (peer->state == PEER_LEAVING || peer->end_noted)
        return;
    peer->end_noted = true;
    peer->end_code = code;
    (void)snprintf(peer->end_text, sizeof(peer->end_text), "%s", text);
    b->ending++;
}

void peer_orphan_end(struct broker *b, struct broker_peer *peer)
{
    if (peer->state != PEER_LEAVING)
        peer_cut(b, peer, AICO_ECLOSED, "link lost");
    peer_free(b, peer);
}

void broker_peer_gone(struct broker *b, struct moment now, struct broker_peer *peer)
{
    enter(b, now);
    if (peer->state == PEER_READY && peer->input.count > 0) {
        peer->is_orphan = peer->blocked = peer->kick_reported = true;
        peer->cookie = NULL;
        output_remove(b, peer);
        ingress_resume(b, peer);
        return;
    }
    peer_orphan_end(b, peer);
    settle(b);
}

bool kick_name(struct broker *b, struct bytes name, int code, const char *text)
{
    struct broker_peer *peer;
    bool found = false;

    DL_FOREACH(b->peers, peer)
    if (peer->state != PEER_LEAVING && !peer->is_orphan &&
        bytes_equal_text(name, peer->member->name)) {
        peer_end_later(b, peer, code, text);
        found = true;
    }
    return found;
}

bool broker_kick(struct broker *b, struct moment now, struct bytes name, int code, const char *text)
{
    bool found;

    enter(b, now);
    found = kick_name(b, name, code, text);
    settle(b);
    return found;
}

/* Who is cut off for reading too slowly is the one that does not read the BYE, though the transport
 * took it: had it read it, it would have left. It is told again when it comes back. */
static void note_untold(struct broker *b, const struct broker_peer *peer)
{
    struct instance *instance;

    if (peer->end_code != AICO_ESLOW)
        return;
    instance = instance_find(b, peer->member, peer->instance_number);
    if (instance)
        instance->untold_code = peer->end_code;
}

bool broker_next_kick(struct broker *b, struct moment now, struct broker_peer **ret_peer,
                      int *ret_code)
{
    struct broker_peer *peer;

    enter(b, now);
    if (b->leaving == 0)
        return false;
    DL_FOREACH(b->peers, peer)
    {
        if (peer->state != PEER_LEAVING || peer->kick_reported ||
            ((control_waiting(peer) > 0 || peer->end_code == AICO_ESLOW) &&
             now.boot_ms < peer->kick_at_ms))
            continue;
        peer->kick_reported = true;
        output_remove(b, peer);
        note_untold(b, peer);
        *ret_peer = peer;
        *ret_code = peer->end_code;
        return true;
    }
    return false;
}

bool peer_take_tokens(struct broker *b, struct broker_peer *peer, unsigned count)
{
    return bucket_take_many(&peer->member->quotas.control, b->now.boot_ms, count, TOKENS_PER_SECOND,
                            TOKENS_BURST);
}

static void ping(struct broker *b, struct broker_peer *peer)
{
    struct writer w = control_begin(b, peer, RECORD_HEAD_SIZE + 8);

    record_write_ping(&w, ++peer->pings);
    control_end(b, peer, &w);
}

void peer_sweep(struct broker *b, struct broker_peer *peer)
{
    int64_t now = b->now.boot_ms, interval = b->settings.keepalive_interval_ms, due;

    switch (peer->state) {
    case PEER_NEW:
        due = peer->opened_ms + b->settings.hello_timeout_ms;
        if (now >= due)
            peer_end(b, peer, AICO_ETIMEOUT, "no HELLO came in time");
        else
            wake_at(b, due);
        return;
    case PEER_READY:
        lane_expire(b, peer);
        ingress_sweep(b, peer);
        due = peer->heard_ms + interval * (peer->pings + 1);
        if (now >= due && peer->pings >= PINGS_UNANSWERED_MAX) {
            peer_end(b, peer, AICO_EPEERSILENT, NULL);
            return;
        }
        if (now >= due)
            ping(b, peer);
        wake_at(b, MAX(due, now) + (now >= due ? interval : 0));
        return;
    case PEER_LEAVING:
        if (!peer->kick_reported)
            wake_at(b, peer->kick_at_ms);
        return;
    }
}

void *broker_peer_cookie(const struct broker_peer *peer)
{
    return peer->cookie;
}

const char *broker_peer_name(const struct broker_peer *peer)
{
    return peer->member->name;
}

const char *broker_peer_address(const struct broker_peer *peer)
{
    return peer->address;
}

bool broker_peer_is_ready(const struct broker_peer *peer)
{
    return peer->state == PEER_READY;
}
