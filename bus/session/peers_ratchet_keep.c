/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of the ratchets is on the disk: states and prekeys, and the messages that were opened and
 * not yet taken (session/keep.h).
 */
#include <stdio.h>
#include <stdlib.h>

#include "session/peers_ratchet.h"

#define INBOX_HEAD_MAX 512

/* --- rows ----------------------------------------------------------------------------------- */

struct bytes bond_key(const struct bond *bond, uint8_t room[KEEP_KEY_MAX])
{
    struct writer w = writer_over(room, KEEP_KEY_MAX);

    writer_u8(&w, KEEP_RATCHET);
    writer_bytes(&w, bytes_of(bond->ratchet->peer, SIGN_PUBLIC_SIZE));
    writer_bytes(&w, bytes_of(bond->ratchet->id, RATCHET_ID_SIZE));
    return writer_view(&w);
}

static struct bytes inbox_key(uint64_t number, uint8_t room[KEEP_KEY_MAX])
{
    struct writer w = writer_over(room, KEEP_KEY_MAX);

    writer_u8(&w, KEEP_INBOX);
    writer_u64(&w, number);
    return writer_view(&w);
}

static void put_bond(struct sessions *s, struct bond *bond)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer row = {0};
    uint8_t room[KEEP_KEY_MAX];
    uint8_t *time = buffer_reserve(&row, 8);
    struct writer w = writer_over(time, time ? 8 : 0);

    writer_u64(&w, bond->time);
    row.size = w.size;
    if (!time || ratchet_write(bond->ratchet, &row) < 0)
        s->batch.failed = true;
    else
        keep_put(&s->batch, bond_key(bond, room), buffer_view(&row));
    bond->dirty = false;
}

/* Everything that has changed, in one commit. A failure ends the sessions: what is in memory must
 * not be used, and nobody can say what is on the disk. */
int bonds_commit(struct sessions *s)
{
    struct aico_error err = {0};
    struct peer *peer, *next;
    int r;

    if (s->broken_code < 0)
        return s->broken_code;
    HASH_ITER(hh, s->peers, peer, next)
    {
        struct bond *bond;

        DL_FOREACH(peer->bonds, bond)
        if (bond->dirty)
            put_bond(s, bond);
    }
    s->is_unkept = false;
    if (s->batch.count == 0 && !s->batch.failed)
        return 0;
    r = keep_commit(&s->batch, s->settings.keeper, &err);
    if (r < 0 && !s->shelf) { /* no ratchets: it does without what channels go on from */
        resumes_give_up(s, r, err.text);
        return 0;
    }
    if (r < 0) {
        s->broken_code = r;
        (void)snprintf(s->broken_text, sizeof(s->broken_text),
                       "the state of ratchets cannot be stored: %s", err.text);
    }
    return r;
}

int ratchets_commit(struct sessions *s)
{
    return s->is_unkept ? bonds_commit(s) : s->broken_code;
}

void mark_dirty(struct sessions *s, struct bond *bond)
{
    bond->dirty = true;
    s->is_unkept = true;
}

/* --- loading -------------------------------------------------------------------------------- */

struct loading {
    struct sessions *s;
    struct moment now;
};

static int take_ratchet(struct loading *loading, struct bytes key, struct bytes value)
{
    struct sessions *s = loading->s;
    CLEANUP(ratchet_free)
    struct ratchet *ratchet = NULL;
    struct reader r = reader_over(value), k = reader_over(key);
    uint64_t time = reader_u64(&r);
    const uint8_t *identity;
    const struct component *component;
    struct peer *peer;
    struct bond *bond;
    int result = ratchet_parse(reader_rest(&r), &ratchet);

    if (result < 0)
        return result;
    (void)reader_u8(&k);
    identity = reader_bytes(&k, SIGN_PUBLIC_SIZE).at;
    if (key.size != 1 + SIGN_PUBLIC_SIZE + RATCHET_ID_SIZE ||
        memcmp(identity, ratchet->peer, SIGN_PUBLIC_SIZE) != 0)
        return AICO_EFORMAT;
    component = registry_find_identity(s->registry, ratchet->peer);
    if (!is_or_was_ours(s, ratchet->self) || !component ||
        !mail_may_come(s->registry, loading->now, component)) {
        ratchet_give_up(s, ratchet, loading->now.real_ms + s->settings.synchrony_bound_ms);
        keep_drop(&s->batch, key);
        s->is_unkept = true;
        return 0;
    }
    peer = peer_find(s, bytes_text(component->name), true);
    bond = peer ? bond_add(s, peer, ratchet, time) : NULL;
    if (!bond)
        return AICO_ENOMEM;
    /* What was opened before is not known any more, but none of it was sealed later than this. */
    bond->newest_ms = loading->now.real_ms + s->settings.synchrony_bound_ms;
    STEAL(ratchet);
    return 0;
}

static int take_inbox(struct sessions *s, struct bytes key, struct bytes value)
{
    struct reader k = reader_over(key);
    struct kept_message *kept;

    (void)reader_u8(&k);
    kept = calloc(1, sizeof(*kept) + value.size);
    if (!kept)
        return AICO_ENOMEM;
    kept->number = reader_u64(&k);
    kept->size = value.size;
    bytes_copy(kept->row, value);
    DL_APPEND(s->inbox, kept);
    s->inbox_count++;
    s->last_inbox = MAX(s->last_inbox, kept->number);
    return reader_done(&k) && kept->number > 0 ? 0 : AICO_EFORMAT;
}

static int take_row(void *to, struct bytes key, struct bytes value)
{
    struct loading *loading = to;

    if (key.size > 0 && key.at[0] == KEEP_RATCHET)
        return take_ratchet(loading, key, value);
    if (key.size > 0 && key.at[0] == KEEP_INBOX)
        return take_inbox(loading->s, key, value);
    if (key.size > 0 && key.at[0] == KEEP_RESUME) {
        if (!loading->s->settings.key_reuse) {
            keep_drop(&loading->s->batch, key);
            loading->s->is_unkept = true;
        }
        return 0; /* resumes_start() takes it */
    }
    return shelf_take_row(loading->s->shelf, key, value);
}

/* What is stored, once a ratchet rule concerns us. */
int bonds_load(struct sessions *s, struct moment now, struct aico_error *err)
{
    struct loading loading = {s, now};
    int r;

    if (s->shelf || !s->settings.keeper ||
        (!has_ratchet_rule(s, RIGHT_PUBLISH) && !has_ratchet_rule(s, RIGHT_SUBSCRIBE)))
        return 0;
    s->shelf = shelf_new();
    if (!s->shelf)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = s->settings.keeper->load(s->settings.keeper->context, take_row, &loading, err);
    if (r == AICO_EFORMAT)
        return aico_error_prefix(err, r, "the stored state of ratchets does not parse");
    return r;
}

int ratchets_start(struct sessions *s, struct moment now, struct aico_error *err)
{
    return bonds_load(s, now, err);
}

static void kept_free(struct sessions *s, struct kept_message *kept)
{
    DL_DELETE(s->inbox, kept);
    s->inbox_count--;
    memory_wipe(kept->row, kept->size);
    free(kept);
}

void ratchets_free(struct sessions *s)
{
    while (s->inbox)
        kept_free(s, s->inbox);
    shelf_free(&s->shelf);
    keep_batch_deinit(&s->batch);
}

/* --- messages of a former run ----------------------------------------------------------------- */

/* The message of a stored row, as an event. It was opened while its sender's key was valid: only
 * AICO_EREVOKED, AICO_EUNKNOWN (the registry has the key no more) and AICO_EFORMAT keep it back. */
static int read_row(struct sessions *s, const struct kept_message *kept,
                    struct session_event *event)
{
    struct reader r = reader_over(bytes_of(kept->row, kept->size));
    const uint8_t *identity = reader_bytes(&r, SIGN_PUBLIC_SIZE).at;
    const struct component *component;
    struct bytes content;
    bool has_headers;

    event->topic = reader_lp8(&r);
    event->delivery = reader_u8(&r);
    event->sent_ms = (int64_t)reader_u64(&r);
    event->sequence = reader_u64(&r);
    reader_copy(&r, event->ref, sizeof(event->ref));
    has_headers = reader_u8(&r) != 0;
    content = reader_rest(&r);
    if (r.failed || content_split(content, has_headers, &event->headers, &event->payload) < 0)
        return AICO_EFORMAT;
    component = registry_find_identity(s->registry, identity);
    if (!component)
        return AICO_EUNKNOWN;
    event->peer = bytes_text(component->name);
    if (component->state == COMPONENT_REVOKED)
        return AICO_EREVOKED;
    event->identity = identity;
    event_take_headers(event);
    return 0;
}

/* The row of a message that was just opened; size 0: no memory. */
static struct buffer row_of(const struct session_event *event, const struct envelope *e,
                            struct bytes content)
{
    size_t size = INBOX_HEAD_MAX + content.size;
    struct buffer row = {0};
    struct writer w = writer_over(buffer_reserve(&row, size), size);

    if (!w.at)
        return row;
    writer_bytes(&w, bytes_of(event->identity, SIGN_PUBLIC_SIZE));
    writer_lp8(&w, event->topic);
    writer_u8(&w, event->delivery);
    writer_u64(&w, (uint64_t)event->sent_ms);
    writer_u64(&w, event->sequence);
    writer_bytes(&w, bytes_of(event->ref, sizeof(event->ref)));
    writer_u8(&w, e->headers);
    writer_bytes(&w, content);
    row.size = w.size;
    return row;
}

/* Writes the message of @event into the store with the state that opened it. One that is held is
 * kept in memory as well, until it is handed over. */
void keep_message(struct sessions *s, const struct envelope *e, struct bytes content,
                  struct session_event *event)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer row = row_of(event, e, content);
    struct bytes own = event->held ? buffer_view(&row) : bytes_of(NULL, 0);
    struct kept_message *kept = calloc(1, sizeof(*kept) + own.size);
    uint8_t room[KEEP_KEY_MAX];

    if (!kept || row.size == 0) {
        free(kept);
        s->batch.failed = true;
        return;
    }
    kept->number = event->kept = ++s->last_inbox;
    kept->handed = !event->held;
    kept->size = own.size;
    bytes_copy(kept->row, own);
    DL_APPEND(s->inbox, kept);
    s->inbox_count++;
    keep_put(&s->batch, inbox_key(kept->number, room), buffer_view(&row));
}

static void kept_drop(struct sessions *s, struct kept_message *kept)
{
    uint8_t room[KEEP_KEY_MAX];

    keep_drop(&s->batch, inbox_key(kept->number, room));
    s->is_unkept = true;
    kept_free(s, kept);
}

void ratchets_heard_more(struct sessions *s, struct bytes filter)
{
    struct kept_message *kept, *next;
    int r;

    DL_FOREACH_SAFE(s->inbox, kept, next)
    {
        struct session_event event = {
            .type = SESSION_MESSAGE, .direct = true, .kept = kept->number};

        if (kept->handed)
            continue;
        r = read_row(s, kept, &event);
        if (r < 0) {
            kept->handed = true;
            s->stats.failed++;
            event_push(s, &(struct session_event){.type = SESSION_FAILED,
                                                  .peer = event.peer,
                                                  .topic = event.topic,
                                                  .code = r,
                                                  .text = aico_error_string(r),
                                                  .kept = kept->number});
        } else if (filter_matches(filter, event.topic)) {
            kept->handed = true;
            event_push(s, &event);
        }
    }
}

void sessions_taken(struct sessions *s, uint64_t number)
{
    struct kept_message *kept, *next;

    DL_FOREACH_SAFE(s->inbox, kept, next)
    if (kept->handed && kept->number <= number)
        kept_drop(s, kept);
}
