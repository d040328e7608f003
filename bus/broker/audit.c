/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads of the audit log on their way to components, which keep them: a log that is cut or replaced
 * later does not have what they saw (docs/audit.md). What a head says is not the core's business.
 */
#include "broker/internal.h"

#define TELL_EVERY_MS 60000

void audit_head_tell(struct broker *b, struct broker_peer *peer)
{
    struct writer w;

    if (b->audit_head_size == 0)
        return;
    w = control_begin(b, peer, RECORD_HEAD_SIZE + 2 + b->audit_head_size);
    record_write_audit_head(&w, bytes_of(b->audit_head, b->audit_head_size));
    control_end(b, peer, &w);
}

void broker_set_audit_head(struct broker *b, struct moment now, struct bytes line)
{
    struct broker_peer *peer;

    if (line.size > sizeof(b->audit_head))
        return;
    bytes_copy(b->audit_head, line);
    b->audit_head_size = line.size;
    if (now.boot_ms < b->audit_head_ms)
        return;
    b->audit_head_ms = now.boot_ms + TELL_EVERY_MS;
    DL_FOREACH(b->peers, peer)
    if (peer->state == PEER_READY) {
        audit_head_tell(b, peer);
        outbox_queued(b, peer);
    }
}
