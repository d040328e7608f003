/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When ACKs are sent. A frame of its own for each costs the broker and its peer as much as a
 * message does, and nobody waits for most of them. So a peer that has sent little gets its ACK in
 * the next frame that it is sent anyway, or after ack_delay_ms. At once gets it who has sent much,
 * who asks (PING), and who is told BYE.
 */
#include "broker/internal.h"

/* So much since the last one is much: who publishes as fast as it goes is not kept waiting. */
#define ACK_RECORDS 8
#define ACK_BYTES (16 * 1024)

void ack_note(struct broker_peer *peer, size_t size)
{
    peer->ack_pending = true;
    peer->ack_records++;
    peer->ack_bytes += size;
}

void ack_forget(struct broker *b, struct broker_peer *peer)
{
    peer->ack_pending = false;
    peer->ack_records = 0;
    peer->ack_bytes = 0;
    if (!peer->in_acks)
        return;
    peer->in_acks = false;
    DL_DELETE2(b->acks, peer, ack_prev, ack_next);
}

void acknowledge(struct broker *b, struct broker_peer *peer)
{
    struct writer w;
    uint64_t id;

    if (!peer->ack_pending || peer->state != PEER_READY)
        return;
    ack_forget(b, peer);
    id = instance_acknowledged(peer->instance);
    if (id == 0)
        return;
    w = control_begin(b, peer, RECORD_HEAD_SIZE + 8);
    record_write_ack(&w, id);
    control_end(b, peer, &w);
}

void acknowledge_soon(struct broker *b, struct broker_peer *peer)
{
    if (!peer->ack_pending || peer->state != PEER_READY)
        return;
    if (b->settings.ack_delay_ms == 0 || peer->ack_records >= ACK_RECORDS ||
        peer->ack_bytes >= ACK_BYTES) {
        acknowledge(b, peer);
        return;
    }
    if (peer->in_acks)
        return;
    peer->in_acks = true;
    peer->ack_due_ms = b->now.boot_ms + b->settings.ack_delay_ms;
    DL_APPEND2(b->acks, peer, ack_prev, ack_next); /* in the order in which they are due */
}

int64_t acks_due_ms(const struct broker *b)
{
    return b->acks ? b->acks->ack_due_ms : MOMENT_NEVER;
}

void acks_send_due(struct broker *b)
{
    while (b->now.boot_ms >= acks_due_ms(b))
        acknowledge(b, b->acks);
}
