/* SPDX-License-Identifier: Apache-2.0 */
/* Frames come in here: which record is allowed when, what it costs, and who handles it. */
#include <stdio.h>

#include "broker/internal.h"

static const struct ingress {
    uint8_t states;      /* enum peer_state bits in which it may come */
    bool while_draining; /* else it is left unanswered while the broker shuts down */
    uint8_t tokens;      /* what it takes from the peer's bucket (PUBLISH decides for itself) */
    int (*handle)(struct broker *, struct broker_peer *, const struct record *);
} ingress[] = {
    /* The right to do it: HELLO, BYE, PING, PONG, CREDIT every authenticated link; SUBSCRIBE,
     * PUBLISH and RESOLVE by the rule of the topic (acl.c); QUERY by role, for "peers" and more. */
    [RECORD_HELLO] = {PEER_NEW, true, 0, on_hello},
    [RECORD_BYE] = {PEER_NEW | PEER_READY, true, 0, on_bye},
    [RECORD_PING] = {PEER_READY, true, 0, on_ping},
    [RECORD_PONG] = {PEER_READY, true, 0, on_pong},
    [RECORD_CREDIT] = {PEER_READY, true, 0, on_credit},
    [RECORD_SUBSCRIBE] = {PEER_READY, false, 0, on_subscribe},
    [RECORD_UNSUBSCRIBE] = {PEER_READY, false, 0, on_unsubscribe},
    [RECORD_PUBLISH] = {PEER_READY, false, 0, on_publish},
    [RECORD_RESOLVE] = {PEER_READY, false, 0, on_resolve},
    [RECORD_QUERY] = {PEER_READY, false, 20, on_query},
    [RECORD_FOLLOW] = {PEER_READY, false, 20, on_follow},
    [RECORD_SETTLE] = {PEER_READY, true, 0, on_settle},
    [RECORD_KEYS] = {PEER_READY, false, 0, on_keys},
    [RECORD_READING] = {PEER_READY, false, 0, on_reading},
};

/* The record's id, which all that cost tokens have first. */
static uint64_t record_id(const struct record *record)
{
    struct reader r = reader_over(record->body);

    return reader_u64(&r);
}

static int dispatch(struct broker *b, struct broker_peer *peer, const struct record *record)
{
    const struct ingress *in = record->type < COUNT_OF(ingress) ? &ingress[record->type] : NULL;

    if (!in || !in->handle)
        return AICO_EPROTO;
    if (!(in->states & peer->state))
        return AICO_ESTATE;
    if (b->draining && !in->while_draining)
        return 0;
    if (in->tokens > 0 && !peer_take_tokens(b, peer, in->tokens)) {
        uint64_t id = record_id(record);

        if (id == 0)
            return AICO_EPROTO;
        refuse(b, peer, id, AICO_ERATE, NULL, "too many questions; ask again in a second");
        return 0;
    }
    return in->handle(b, peer, record);
}

void acknowledge(struct broker *b, struct broker_peer *peer)
{
    struct writer w;
    uint64_t id;

    if (!peer->ack_pending || peer->state != PEER_READY)
        return;
    peer->ack_pending = false;
    id = instance_acknowledged(peer->instance);
    if (id == 0)
        return;
    w = control_begin(b, peer, RECORD_HEAD_SIZE + 8);
    record_write_ack(&w, id);
    control_end(b, peer, &w);
}

static const char *breach_text(int code)
{
    switch (code) {
    case AICO_ESTATE:
        return "a session begins with HELLO, once";
    case AICO_ECREDIT:
        return "more bytes published than the window allows";
    case AICO_EVERSION:
        return "this broker speaks frames of version 1";
    default:
        return NULL;
    }
}

int broker_peer_receive(struct broker *b, struct moment now, struct broker_peer *peer,
                        struct bytes frame)
{
    struct record record;
    struct reader records;
    int r;

    enter(b, now);
    if (peer->state == PEER_LEAVING)
        return 0;
    peer->heard_ms = now.boot_ms;
    peer->pings = 0;
    peer->bytes_in += frame.size;
    b->totals.bytes_in += frame.size;

    r = frame_open(frame, &records);
    while (r >= 0 && peer->state != PEER_LEAVING && !peer->end_noted &&
           (r = frame_next(&records, &record)) == 1)
        r = dispatch(b, peer, &record);
    acknowledge(b, peer);
    if (r < 0)
        peer_end(b, peer, r, breach_text(r));
    settle(b);
    return peer->state == PEER_LEAVING ? peer->end_code : 0;
}
