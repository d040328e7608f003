/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps prekeys, gives each one-time key once, and says when few are left. */
#include "broker/internal.h"

#define PREKEYS_LOW 25
/* 10 bundles a minute and component: a token in 6 s, so the bucket's clock runs 6 times slower. */
#define BUNDLE_SLOWNESS 6
#define BUNDLE_BURST 10

void prekeys_forget(struct member *member)
{
    free(member->prekeys);
    member->prekeys = NULL;
}

static void say_left(struct broker *b, struct broker_peer *peer, const struct prekeys *prekeys)
{
    struct writer w = control_begin(b, peer, RECORD_HEAD_SIZE + 6);

    record_write_prekeys_left(&w, prekeys->number, (uint16_t)prekeys->count);
    control_end(b, peer, &w);
}

/* Number and identity of a statement. */
static uint32_t read_statement(struct bytes statement, struct bytes *ret_identity)
{
    struct reader r = reader_over(statement);
    uint32_t number;

    (void)reader_u32(&r); /* version, type, suite */
    number = reader_u32(&r);
    (void)reader_bytes(&r, 16); /* created, expires */
    *ret_identity = reader_bytes(&r, SIGN_PUBLIC_SIZE);
    return number;
}

static void add_keys(struct prekeys *prekeys, struct bytes keys)
{
    size_t count = MIN(keys.size / ONE_TIME_SIZE, PREKEYS_MAX - prekeys->count);

    bytes_copy(prekeys->keys[prekeys->count], bytes_of(keys.at, count * ONE_TIME_SIZE));
    prekeys->count += count;
}

int on_prekeys(struct broker *b, struct broker_peer *peer, const struct record *record)
{
    struct member *member = peer->member;
    struct record_prekeys m;
    struct bytes identity;
    uint32_t number;
    int r = record_parse_prekeys(record, &m);

    if (r < 0)
        return r;
    number = read_statement(m.statement, &identity);
    if (!bytes_equal(identity, bytes_of(member->identity, SIGN_PUBLIC_SIZE)))
        return AICO_EPROTO;
    if (!member->prekeys)
        member->prekeys = calloc(1, sizeof(*member->prekeys));
    if (!member->prekeys) {
        peer_end_later(b, peer, AICO_ENOMEM, "no memory for prekeys");
        return 0;
    }
    if (member->prekeys->number != number)
        member->prekeys->count = 0;
    member->prekeys->number = number;
    bytes_copy(member->prekeys->statement, m.statement);
    add_keys(member->prekeys, m.keys);
    say_left(b, peer, member->prekeys);
    return 0;
}

/* The key of @name that is active: the one that is connected, else any with prekeys. */
static struct member *find(struct broker *b, struct bytes name)
{
    struct member *found = NULL;

    for (size_t i = 1; i <= b->member_count; i++) {
        struct member *member = b->member_by_number[i];

        if (member->active && bytes_equal_text(name, member->name) && member->prekeys &&
            (!found || member->peer))
            found = member;
    }
    return found;
}

static void give(struct broker *b, struct broker_peer *peer, const struct record_bundle_ask *m,
                 struct member *member)
{
    static const uint8_t nothing[ONE_TIME_SIZE - 4];
    struct prekeys *prekeys = member->prekeys;
    struct record_bundle bundle = {.id = m->id,
                                   .name = m->name,
                                   .statement = bytes_of(prekeys->statement, STATEMENT_SIZE),
                                   .number = ONE_TIME_NONE,
                                   .public = bytes_of(nothing, sizeof(nothing))};
    struct writer w = control_begin(b, peer, RECORD_HEAD_SIZE + 16 + 256 + STATEMENT_SIZE + 64);

    if (prekeys->count > 0) {
        struct reader r = reader_over(bytes_of(prekeys->keys[0], ONE_TIME_SIZE));

        bundle.number = reader_u32(&r);
        bundle.public = reader_rest(&r);
    }
    record_write_bundle(&w, &bundle);
    control_end(b, peer, &w);
    if (prekeys->count == 0)
        return;
    prekeys->count--;
    memmove(prekeys->keys[0], prekeys->keys[1], prekeys->count * ONE_TIME_SIZE);
    if (prekeys->count < PREKEYS_LOW && member->peer)
        say_left(b, member->peer, prekeys);
}

int on_bundle(struct broker *b, struct broker_peer *peer, const struct record *record)
{
    struct record_bundle_ask m;
    struct member *member;
    int r = record_parse_bundle_ask(record, &m);

    if (r < 0)
        return r;
    if (!bucket_take(&peer->member->bundles, b->now.boot_ms / BUNDLE_SLOWNESS, 1, BUNDLE_BURST)) {
        refuse(b, peer, m.id, AICO_ERATE, NULL, "at most %d bundles of prekeys a minute",
               BUNDLE_BURST);
        return 0;
    }
    member = find(b, m.name);
    if (member)
        give(b, peer, &m, member);
    else
        refuse(b, peer, m.id, AICO_ENOPREKEY, NULL,
               "%.*s has left no prekeys: it must connect once, with a rule that lets it read",
               (int)m.name.size, (const char *)m.name.at);
    return 0;
}
