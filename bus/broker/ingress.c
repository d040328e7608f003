/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames come in here: which record is allowed when, what it costs, and who handles it.
 *
 * A frame may hold thousands of records, and a peer may send frames without end. So each peer gets
 * slices of work: what is beyond is kept as it came, and broker_work() goes on with it, one peer
 * after the other. A control message beyond the rate of its component waits there too, with all
 * that came behind it, until the rate lets it through: nobody would say it again.
 */
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
    [RECORD_ACK] = {PEER_READY, true, 0, on_ack},
    [RECORD_RESOLVE] = {PEER_READY, false, 0, on_resolve},
    [RECORD_WILL] = {PEER_READY, false, 10, on_will},
    [RECORD_QUERY] = {PEER_READY, false, 200, on_query},
    [RECORD_FOLLOW] = {PEER_READY, false, 150, on_follow}, /* DURABLES_MAX at once */
    [RECORD_SETTLE] = {PEER_READY, true, 0, on_settle},
    [RECORD_KEYS] = {PEER_READY, false, 0, on_keys},
    [RECORD_READING] = {PEER_READY, false, 0, on_reading},
    [RECORD_PREKEYS] = {PEER_READY, false, 0, on_prekeys},
    [RECORD_BUNDLE] = {PEER_READY, false, 50, on_bundle},
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

static const char *breach_text(int code)
{
    switch (code) {
    case AICO_ESTATE:
        return "a session begins with HELLO, once";
    case AICO_ECREDIT:
        return "more bytes published than the window allows";
    case AICO_EVERSION:
        return "this broker speaks frames of version 1";
    case AICO_ERATE:
        return "more records sent than can be worked off";
    default:
        return NULL;
    }
}

static bool is_over(const struct broker_peer *peer)
{
    return peer->state == PEER_LEAVING || peer->end_noted;
}

static void pause_input(struct broker *b, struct broker_peer *peer)
{
    peer->resume_ms = b->now.boot_ms + PAUSE_MS;
    wake_at(b, peer->resume_ms);
}

/* Handles records until they or the slice are used up, or one has to wait. 0 or the breach. */
static int run_slice(struct broker *b, struct broker_peer *peer, struct reader *records)
{
    uint64_t end = MIN(b->work + WORK_SLICE, b->turn_ends);
    struct record record;
    int r = 0;

    while (b->work < end && !is_over(peer) && records->left > 0) {
        struct reader before = *records;

        r = frame_next(records, &record);
        if (r == 1)
            r = dispatch(b, peer, &record);
        if (r < 0)
            break;
        if (r == INGRESS_LATER) {
            *records = before;
            pause_input(b, peer);
            break;
        }
        work_add(b, WORK_RECORD);
    }
    return r < 0 ? r : 0;
}

/* --- what was not reached ------------------------------------------------------------------- */

static void working_remove(struct broker *b, struct broker_peer *peer)
{
    if (!peer->in_working)
        return;
    peer->in_working = false;
    DL_DELETE2(b->working, peer, work_prev, work_next);
}

static void working_add(struct broker *b, struct broker_peer *peer)
{
    if (peer->in_working || peer->resume_ms > 0)
        return;
    peer->in_working = true;
    DL_APPEND2(b->working, peer, work_prev, work_next);
}

void ingress_forget(struct broker *b, struct broker_peer *peer)
{
    fifo_deinit(&peer->input);
    peer->input_taken = 0;
    working_remove(b, peer);
}

void ingress_resume(struct broker *b, struct broker_peer *peer)
{
    peer->resume_ms = 0;
    if (peer->input.count > 0)
        working_add(b, peer);
}

void ingress_sweep(struct broker *b, struct broker_peer *peer)
{
    if (peer->resume_ms == 0)
        return;
    if (b->now.boot_ms >= peer->resume_ms)
        ingress_resume(b, peer);
    else
        wake_at(b, peer->resume_ms);
}

static int keep(struct broker *b, struct broker_peer *peer, const struct reader *records)
{
    size_t limit = b->settings.publish_window + INGRESS_EXTRA;
    void *block;

    if (records->left == 0 || is_over(peer))
        return 0;
    if (peer->input.bytes - peer->input_taken + records->left > limit)
        return AICO_ERATE;
    block = fifo_push(&peer->input, records->left);
    if (!block)
        return AICO_ENOMEM;
    memcpy(block, records->at, records->left);
    working_add(b, peer);
    return 0;
}

/* One slice of what waits from @peer. */
static int run_kept(struct broker *b, struct broker_peer *peer)
{
    int r = 0;

    while (r == 0 && peer->input.count > 0 && !is_over(peer)) {
        size_t size, left;
        uint8_t *block = fifo_front(&peer->input, &size);
        struct reader records =
            reader_over(bytes_of(block + peer->input_taken, size - peer->input_taken));

        r = run_slice(b, peer, &records);
        left = records.left;
        if (left > 0) {
            peer->input_taken = size - left;
            break;
        }
        fifo_pop(&peer->input);
        peer->input_taken = 0;
    }
    return r;
}

bool broker_work(struct broker *b, struct moment now)
{
    struct broker_peer *last;

    enter(b, now);
    b->turn_ends = b->work + WORK_TURN;
    last = b->working ? b->working->work_prev : NULL; /* of a DL list: its tail */
    while (b->working && b->work < b->turn_ends) {
        struct broker_peer *peer = b->working;
        bool is_round = peer == last;
        int r = run_kept(b, peer);

        acknowledge_soon(b, peer);
        if (r < 0)
            peer_end(b, peer, r, breach_text(r));
        working_remove(b, peer);
        if (peer->input.count > 0 && !is_over(peer))
            working_add(b, peer);
        else
            ingress_forget(b, peer);
        if (peer->is_orphan && !peer->in_working)
            peer_orphan_end(b, peer);
        if (is_round)
            break;
    }
    b->turn_ends = b->work + WORK_TURN;
    settle(b);
    return b->working != NULL;
}

/* --- the door ------------------------------------------------------------------------------- */

int broker_peer_receive(struct broker *b, struct moment now, struct broker_peer *peer,
                        struct bytes frame)
{
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
    if (r == 0 && peer->input.count == 0)
        r = run_slice(b, peer, &records);
    if (r == 0)
        r = keep(b, peer, &records);
    acknowledge_soon(b, peer);
    if (r < 0)
        peer_end(b, peer, r, breach_text(r));
    settle(b);
    return peer->state == PEER_LEAVING ? peer->end_code : 0;
}
