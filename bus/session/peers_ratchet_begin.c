/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How ratchets begin: our prekeys in the broker's directory, and those of others, fetched there and
 * checked here (PROTOCOL 9).
 */
#include "session/peers_ratchet.h"

#define BUNDLE_WAIT_MS 120000 /* a quota of 10 a minute lets the last one wait */
#define BUNDLE_AGAIN_MS 6000  /* after E_RATE */

/* --- our prekeys at the broker ---------------------------------------------------------------- */

static void say_prekeys(struct sessions *s, size_t count)
{
    CLEANUP(buffer_deinit)
    struct buffer keys = {0};
    uint32_t number;
    const uint8_t *statement = shelf_statement(s->shelf, &number);

    if (!statement)
        return;
    if (count > 0 && shelf_refill(s->shelf, s->hedge, count, &s->batch, &keys) < 0) {
        s->out_of_memory = true;
        return;
    }
    s->is_unkept |= count > 0;
    event_push(s, &(struct session_event){.type = SESSION_PREKEYS,
                                          .bytes = bytes_of(statement, PREKEY_STATEMENT_SIZE),
                                          .payload = buffer_view(&keys)});
}

/* A statement when one is due, and the broker told of it. */
void renew_prekeys(struct sessions *s, struct moment now, bool tell)
{
    struct handshake_context context = peers_context(s);
    int r;

    if (!s->shelf || !has_ratchet_rule(s, RIGHT_SUBSCRIBE))
        return;
    r = shelf_renew(s->shelf, &context, s->hedge, now, &s->batch);
    if (r < 0)
        s->out_of_memory = true;
    s->is_unkept = true; /* what was erased goes from the store as well */
    if (s->link && (r > 0 || tell))
        say_prekeys(s, 0);
}

void sessions_prekeys_left(struct sessions *s, struct moment now, size_t count)
{
    (void)now;
    if (s->shelf && !s->closed && count < SHELF_LOW)
        say_prekeys(s, SHELF_FULL - count);
}

/* --- beginning one -------------------------------------------------------------------------- */

void bundle_over(struct peer *peer)
{
    peer->bundle_wanted = peer->bundle_asked = false;
}

void bundle_fail(struct sessions *s, struct peer *peer, int code, const char *text)
{
    bundle_over(peer);
    event_push(s, &(struct session_event){.type = SESSION_LOST,
                                          .peer = peer_name(peer),
                                          .ratchet = true,
                                          .code = code,
                                          .text = text});
}

void bundle_ask(struct sessions *s, struct peer *peer)
{
    peer->bundle_asked = true;
    event_push(s, &(struct session_event){.type = SESSION_BUNDLE, .peer = peer_name(peer)});
}

void say_ratchet_ready(struct sessions *s, struct peer *peer)
{
    event_push(s, &(struct session_event){
                      .type = SESSION_READY, .peer = peer_name(peer), .ratchet = true});
}

int bundle_want(struct sessions *s, struct moment now, struct peer *peer)
{
    if (!peer->bundle_wanted) {
        peer->bundle_wanted = true;
        peer->bundle_until_ms = now.boot_ms + BUNDLE_WAIT_MS;
        peer->bundle_ms = now.boot_ms;
        peers_wake_at(s, peer->bundle_until_ms);
        if (s->link)
            bundle_ask(s, peer);
    }
    return 0;
}

/* Begins a ratchet with the keys of a bundle. */
static int bond_begin(struct sessions *s, struct moment now, struct peer *peer,
                      struct bytes statement, uint32_t number, const uint8_t *one_time)
{
    const struct component *component = peer_component(s, now, peer);
    struct handshake_context context = peers_context(s);
    struct prekey_statement parsed = {0};
    CLEANUP(ratchet_free)
    struct ratchet *ratchet = NULL;
    CLEANUP(secret_wipe)
    struct secret ephemeral, root;
    CLEANUP(secret_wipe)
    struct secret first;
    uint8_t init[RATCHET_INIT_SIZE];
    struct bond *bond;
    int r = handshake_may_meet(&context, now, component);

    secret_wipe(&root);
    if (r == 0)
        r = prekey_statement_check(&context, now, component->identity, statement, &parsed);
    if (r < 0)
        return r;
    fresh(s->hedge, "ephemeral", &ephemeral);
    fresh(s->hedge, "ratchet", &first);
    r = prekey_start(&context, now, statement, number, one_time, &ephemeral, init, &root);
    if (r == 0)
        r = ratchet_begin(&(struct ratchet_start){s->self->public, component->identity, &root,
                                                  prekey_t0_ms((uint64_t)now.real_ms), init},
                          parsed.public, &first, &ratchet);
    secret_wipe(&root);
    if (r < 0)
        return r;
    bond = bond_add(s, peer, ratchet, (uint64_t)now.real_ms);
    if (!bond)
        return AICO_ENOMEM;
    STEAL(ratchet);
    mark_dirty(s, bond);
    return 0;
}

void sessions_bundle(struct sessions *s, struct moment now, struct bytes name,
                     struct bytes statement, uint32_t number, const uint8_t *one_time)
{
    struct peer *peer = peer_find(s, name, false);
    int r;

    if (!peer || !peer->bundle_asked || !s->shelf)
        return;
    r = bond_begin(s, now, peer, statement, number, one_time);
    if (r < 0) {
        bundle_fail(s, peer, r, aico_error_string(r));
        return;
    }
    bundle_over(peer);
    s->stats.ratchets++;
    if (!one_time)
        event_notice(s, name, AICO_ENOONETIME,
                     "begun without a one-time key, forward_secrecy: statement, until it answers");
    say_ratchet_ready(s, peer);
}

void sessions_bundle_refused(struct sessions *s, struct moment now, struct bytes name, int code,
                             const char *text)
{
    struct peer *peer = peer_find(s, name, false);

    if (!peer || !peer->bundle_asked)
        return;
    peer->bundle_asked = false;
    if (code != AICO_ERATE) {
        bundle_fail(s, peer, code, text);
        return;
    }
    peer->bundle_ms = now.boot_ms + BUNDLE_AGAIN_MS;
    peers_wake_at(s, peer->bundle_ms);
}
