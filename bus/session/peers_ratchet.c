/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ratchets with our peers (PROTOCOL 9, docs/decisions/0052): which one is sealed with, and what is
 * done with what comes. Every change is stored before what it allows is seen: a number before an
 * envelope leaves, a state before a message is handed over.
 */
#include <stdio.h>
#include <stdlib.h>

#include "session/control.h"
#include "session/peers_ratchet.h"

#define BONDS_MAX 8            /* ratchets with one component; the least used go */
#define TURN_AFTER_MS 1000     /* what is heard is answered by then, so that keys change */
#define FAILURES_PER_SECOND 5  /* then a second of pause: a forged header costs 0.3 ms */
#define FAILURES_PAUSE_MS 1000 /* of one peer */
#define FAILURES_RESET 3       /* in a row: one of the two states is an old one */
#define RESET_PAUSE_MS 10000   /* of one peer */
#define RESETS_OWED_MAX 4
#define STARTS_PER_SECOND 10 /* of one peer, as Hello1 */
#define STARTS_BURST 20

/* --- rules ---------------------------------------------------------------------------------- */

bool ratchet_is_spoken(const struct sessions *s, struct bytes topic)
{
    const struct rule *rule = registry_rule_for(s->registry, topic);

    return level_ratchets(&s->settings, rule);
}

/* Whether a rule that is ratcheted gives us @right. */
bool has_ratchet_rule(const struct sessions *s, enum right right)
{
    const struct component *me = peers_self(s);

    for (size_t i = 0; me && i < registry_rule_count(s->registry); i++) {
        const struct rule *rule = registry_rule_at(s->registry, i);

        if (level_ratchets(&s->settings, rule) && rule_allows(rule, me, right))
            return true;
    }
    return false;
}

bool is_or_was_ours(const struct sessions *s, const uint8_t *identity)
{
    const struct component *me = peers_self(s);

    if (memcmp(identity, s->self->public, SIGN_PUBLIC_SIZE) == 0)
        return true;
    while (me && (me = registry_replaced(s->registry, me)) != NULL)
        if (memcmp(identity, me->identity, SIGN_PUBLIC_SIZE) == 0)
            return true;
    return false;
}

/* --- which one ------------------------------------------------------------------------------ */

static int bond_compare(const struct bond *a, const struct bond *b)
{
    if (a->time != b->time)
        return a->time < b->time ? -1 : 1;
    return memcmp(a->ratchet->id, b->ratchet->id, RATCHET_ID_SIZE);
}

/* Sealed with: the latest begun, at both ends, so that crossing starts and a start after a lost
 * disk end on one ratchet. */
struct bond *bond_best(const struct peer *peer, const uint8_t *identity, struct moment now)
{
    struct bond *bond, *best = NULL;

    DL_FOREACH(peer->bonds, bond)
    if (memcmp(bond->ratchet->peer, identity, SIGN_PUBLIC_SIZE) == 0 && !bond->is_former &&
        ratchet_can_seal(bond->ratchet, now) && (!best || bond_compare(bond, best) > 0))
        best = bond;
    return best;
}

static struct bond *bond_find(const struct peer *peer, const uint8_t *identity, const uint8_t *id)
{
    struct bond *bond;

    DL_FOREACH(peer->bonds, bond)
    if (memcmp(bond->ratchet->id, id, RATCHET_ID_SIZE) == 0 &&
        memcmp(bond->ratchet->peer, identity, SIGN_PUBLIC_SIZE) == 0)
        return bond;
    return NULL;
}

/* Takes @ratchet over; the oldest of too many goes. */
struct bond *bond_add(struct sessions *s, struct peer *peer, struct ratchet *ratchet, uint64_t time)
{
    struct bond *bond = calloc(1, sizeof(*bond)), *other, *oldest = NULL;
    size_t count = 0;

    if (!bond)
        return NULL;
    DL_FOREACH(peer->bonds, other)
    {
        count++;
        if (!oldest || bond_compare(other, oldest) < 0)
            oldest = other;
    }
    if (count >= BONDS_MAX)
        bond_remove(s, peer, oldest);
    bond->ratchet = ratchet;
    bond->time = time;
    bond->is_former = memcmp(ratchet->self, s->self->public, SIGN_PUBLIC_SIZE) != 0;
    DL_APPEND(peer->bonds, bond);
    return bond;
}

static void bond_free(struct peer *peer, struct bond *bond)
{
    DL_DELETE(peer->bonds, bond);
    ratchet_free(&bond->ratchet);
    free(bond);
}

/* Its peer may go on with it: what it would have opened is a loss, what it has opened is none. */
void ratchet_give_up(struct sessions *s, const struct ratchet *ratchet, int64_t newest_ms)
{
    struct shelf_opened opened = {ratchet_first_numbers(ratchet), newest_ms};
    struct prekey_init init;

    if (ratchet->received &&
        prekey_init_parse(bytes_of(ratchet->init, RATCHET_INIT_SIZE), &init) == 0)
        shelf_give_up(s->shelf, &init, &opened, &s->batch);
}

/* For good: also from the store. */
void bond_remove(struct sessions *s, struct peer *peer, struct bond *bond)
{
    uint8_t room[KEEP_KEY_MAX];

    ratchet_give_up(s, bond->ratchet, bond->newest_ms);
    keep_drop(&s->batch, bond_key(bond, room));
    s->is_unkept = true;
    bond_free(peer, bond);
}

void bonds_free(struct peer *peer)
{
    while (peer->bonds)
        bond_free(peer, peer->bonds);
}

/* --- sealing -------------------------------------------------------------------------------- */

static int bond_seal(struct sessions *s, struct moment now, struct bond *bond,
                     const struct ratchet_message *message, struct writer *out, uint8_t *ret_ref)
{
    int r = s->broken_code; /* a number may be reserved in memory only */

    if (r == 0 && ratchet_needs_reserve(bond->ratchet)) {
        ratchet_reserve(bond->ratchet);
        mark_dirty(s, bond);
        r = bonds_commit(s);
    }
    if (r == 0)
        r = ratchet_seal(bond->ratchet, &s->settings, now, message, out, ret_ref);
    if (r == 0)
        bond->turn_ms = 0;
    return r;
}

bool sessions_is_ready(struct sessions *s, struct moment now, struct bytes name, struct bytes topic)
{
    const struct peer *peer;
    const struct component *component;

    if (!ratchet_is_spoken(s, topic))
        return sessions_has_channel(s, now, name);
    peer = peer_find(s, name, false);
    component = peer ? peer_component(s, now, peer) : registry_find_name(s->registry, name);
    if (seed_is_spoken(s, component))
        return sessions_has_channel(s, now, name);
    return peer && component && bond_best(peer, component->identity, now);
}

int sessions_want(struct sessions *s, struct moment now, struct bytes name, struct bytes topic)
{
    struct handshake_context context = peers_context(s);
    const struct component *component;
    struct peer *peer;
    int r;

    if (!ratchet_is_spoken(s, topic))
        return sessions_dial(s, now, name);
    peer = peer_find(s, name, true);
    component = peer ? peer_component(s, now, peer) : NULL;
    if (!component)
        return AICO_EPEERUNKNOWN;
    if (seed_is_spoken(s, component))
        return sessions_dial(s, now, name);
    if (!s->shelf)
        return AICO_ENOTYET;
    r = handshake_may_meet(&context, now, component);
    if (r < 0)
        return r;
    if (bond_best(peer, component->identity, now)) {
        say_ratchet_ready(s, peer);
        return 0;
    }
    return bundle_want(s, now, peer);
}

int ratchets_seal(struct sessions *s, struct moment now, struct peer *peer,
                  const struct component *component, const struct ratchet_message *message,
                  struct writer *out, uint8_t *ret_ref)
{
    struct bond *bond = peer ? bond_best(peer, component->identity, now) : NULL;
    int r;

    if (!s->shelf)
        return AICO_ENOTYET;
    if (!bond)
        return AICO_ESTATE;
    r = bond_seal(s, now, bond, message, out, ret_ref);
    if (r == 0)
        s->stats.sealed++;
    return r;
}

/* An empty message, so that the peer hears a key of ours and goes on with one of its own. */
static void say_turn(struct sessions *s, struct moment now, struct peer *peer, struct bond *bond)
{
    struct ratchet_message message = {.delivery = DELIVERY_CONTROL,
                                      .topic = bytes_text(SESSION_TOPIC_CONTROL)};
    size_t size = envelope_sealed_size(ENVELOPE_FORMAT_INIT, 0, s->settings.padding,
                                       ENVELOPE_TRAILER_NONE, 0);
    uint8_t room[1024];
    struct writer w = writer_over(room, MIN(size, sizeof(room)));

    bond->turn_ms = 0;
    if (bond_seal(s, now, bond, &message, &w, NULL) == 0)
        event_send(s, peer, writer_view(&w));
}

/* --- RESET ---------------------------------------------------------------------------------- */

static void say_reset(struct sessions *s, struct moment now, struct peer *peer, const uint8_t *id)
{
    uint8_t room[CONTROL_SMALL_MAX];
    struct writer w = writer_over(room, sizeof(room));

    control_write_reset(&w, id);
    (void)!control_send(s, now, peer, writer_view(&w));
    s->stats.resets++;
}

static bool is_owed(const struct peer *peer, const uint8_t *id)
{
    for (size_t i = 0; i < peer->resets_owed; i++)
        if (memcmp(peer->resets[i], id, RATCHET_ID_SIZE) == 0)
            return true;
    return false;
}

/* The peer seals with a ratchet we cannot open: it is told over a channel, where nobody can forge
 * that. */
static void owe_reset(struct sessions *s, struct moment now, struct peer *peer, const uint8_t *id)
{
    if (now.boot_ms < peer->reset_ms)
        return;
    if (line_best(peer)) {
        say_reset(s, now, peer, id);
        peer->reset_ms = now.boot_ms + RESET_PAUSE_MS;
        return;
    }
    if (!is_owed(peer, id)) {
        if (peer->resets_owed == RESETS_OWED_MAX)
            return;
        memcpy(peer->resets[peer->resets_owed++], id, RATCHET_ID_SIZE);
    }
    if (!peer->dialing) {
        (void)!dial_start(s, now, peer);
    } else {
        peer->hello_ms = now.boot_ms; /* it is there now, perhaps for a moment only */
        peers_wake_at(s, now.boot_ms);
    }
}

void ratchets_peer_ready(struct sessions *s, struct moment now, struct peer *peer)
{
    for (size_t i = 0; i < peer->resets_owed; i++)
        say_reset(s, now, peer, peer->resets[i]);
    if (peer->resets_owed > 0)
        peer->reset_ms = now.boot_ms + RESET_PAUSE_MS;
    peer->resets_owed = 0;
}

void ratchets_on_reset(struct sessions *s, struct peer *peer, const uint8_t *identity,
                       const struct control *reset)
{
    struct bond *bond = bond_find(peer, identity, reset->id.at);

    if (!bond)
        return;
    bond_remove(s, peer, bond);
    event_notice(s, peer_name(peer), AICO_ERATCHET,
                 "it lost the ratchet we sealed with: the next message begins a new one");
}

/* --- receiving ------------------------------------------------------------------------------ */

static struct ratchet_message expected_of(const struct arrival *a)
{
    return (struct ratchet_message){.delivery = a->delivery,
                                    .topic = a->topic,
                                    .ref = a->delivery == DELIVERY_REPLY ? a->ref : NULL};
}

/* An Init of a ratchet we do not hold, in the order of PROTOCOL 9; what is dear comes last. */
static int check_init(struct sessions *s, struct moment now, const struct arrival *a,
                      struct bytes bytes, struct prekey_init *ret_init,
                      struct shelf_found *ret_found)
{
    struct handshake_context context = peers_context(s);
    const struct component *sender = registry_find_identity(s->registry, a->identity);
    int r = prekey_init_parse(bytes, ret_init);

    if (r < 0)
        return r;
    if (!is_or_was_ours(s, ret_init->receiver))
        return AICO_ETARGET;
    if (memcmp(ret_init->sender, a->identity, SIGN_PUBLIC_SIZE) != 0)
        return AICO_ESTAMP;
    r = a->delivery == DELIVERY_MAILBOX ? handshake_may_have_written(&context, now, sender)
                                        : handshake_may_meet(&context, now, sender);
    if (r < 0)
        return r;
    if ((int64_t)ret_init->time < 0 ||
        (int64_t)ret_init->time - now.real_ms > s->settings.synchrony_bound_ms)
        return AICO_ECLOCK;
    if (now.real_ms - (int64_t)ret_init->time > PREKEY_INIT_AGE_MS)
        return AICO_EPREKEYOLD;
    if (ret_init->policy != session_policy(&s->settings))
        return AICO_EPOLICY;
    r = shelf_find(s->shelf, ret_init, ret_found);
    if (r < 0)
        return r;
    if (!bucket_take(&a->peer->starts, now.boot_ms, STARTS_PER_SECOND, STARTS_BURST))
        return AICO_ERATE;
    return prekey_init_verify(&context, bytes);
}

/* The other end of a ratchet @a begins; nothing is kept until its envelope opens. */
static int bond_accept(struct sessions *s, struct moment now, const struct arrival *a,
                       struct bytes bytes, struct prekey_init *ret_init,
                       struct ratchet **ret_ratchet)
{
    struct handshake_context context = peers_context(s);
    struct shelf_found found;
    CLEANUP(secret_wipe)
    struct secret root = {0};
    int r = check_init(s, now, a, bytes, ret_init, &found);

    if (r == 0)
        r = prekey_finish(&context, bytes_of(found.statement, PREKEY_STATEMENT_SIZE), found.secret,
                          found.one_time, bytes, &root);
    if (r == 0)
        r = ratchet_await(&(struct ratchet_start){ret_init->receiver, a->identity, &root,
                                                  prekey_t0_ms(ret_init->time), bytes.at},
                          found.secret, ret_ratchet);
    return r;
}

static int open_ratchet(struct sessions *s, struct moment now, const struct arrival *a,
                        struct ratchet *ratchet, const struct envelope *e, uint8_t *plain,
                        struct ratchet_opened *ret_opened)
{
    struct ratchet_message expected = expected_of(a);
    CLEANUP(secret_wipe)
    struct secret fresh_secret;

    fresh(s->hedge, "ratchet", &fresh_secret);
    return ratchet_open(ratchet, &s->settings, now, e, &expected, s->settings.max_skipped_messages,
                        &fresh_secret, plain, ret_opened);
}

/* With a ratchet that begins with this envelope. */
static int open_first(struct sessions *s, struct moment now, const struct arrival *a,
                      const struct envelope *e, uint8_t *plain, struct bond **ret_bond,
                      struct ratchet_opened *ret_opened)
{
    struct bytes bytes = bytes_of(e->metadata.at, RATCHET_INIT_SIZE);
    CLEANUP(ratchet_free)
    struct ratchet *ratchet = NULL;
    struct prekey_init init;
    struct bond *bond;
    int r = bond_accept(s, now, a, bytes, &init, &ratchet);

    /* Its ratchet was given up: no repetition is what that had not opened. */
    if (r == AICO_EREPLAY &&
        !shelf_has_opened(s->shelf, &init, e->sequence, prekey_t0_ms(init.time) + e->time))
        r = AICO_ERATCHET;
    if (r == 0 && memcmp(ratchet->id, e->key_id.at, RATCHET_ID_SIZE) != 0)
        r = AICO_EOPEN; /* another one-time key than ours, or another Init than was sealed for */
    if (r == 0)
        r = open_ratchet(s, now, a, ratchet, e, plain, ret_opened);
    if (r == 0)
        r = shelf_spend(s->shelf, &init,
                        &(struct shelf_opened){ratchet_first_numbers(ratchet), ret_opened->sent_ms},
                        &s->batch);
    if (r < 0)
        return r;
    bond = bond_add(s, a->peer, ratchet, init.time);
    if (!bond)
        return AICO_ENOMEM;
    STEAL(ratchet);
    s->stats.ratchets++;
    *ret_bond = bond;
    return 0;
}

/* An answer is due, so that what is stolen now is worth nothing soon. */
static void want_turn(struct sessions *s, struct moment now, struct bond *bond, bool first)
{
    int64_t at_ms = now.boot_ms + (first ? 0 : TURN_AFTER_MS);

    if (bond->turn_ms == 0 || at_ms < bond->turn_ms)
        bond->turn_ms = at_ms;
    peers_wake_at(s, bond->turn_ms);
}

static void say_gap(struct sessions *s, const struct arrival *a, uint64_t count)
{
    event_push(s, &(struct session_event){
                      .type = SESSION_GAP,
                      .peer = peer_name(a->peer),
                      .direct = true,
                      .count = count,
                      .cause = SESSION_GAP_SEQUENCE,
                      .code = AICO_ENOTFOUND,
                      .text = "did not arrive, or their numbers were lost when their sender was"});
}

static bool has_room(const struct sessions *s)
{
    return s->inbox_count < s->settings.ratchet_inbox_max;
}

/* Mail is, also what is on its way when we listen no more: the broker forgets it when it was
 * opened. There was room, or it would not have been. */
static bool is_kept(const struct sessions *s, const struct arrival *a, bool is_subscribed)
{
    return a->delivery == DELIVERY_MAILBOX ||
           (a->delivery != DELIVERY_REQUEST && a->delivery != DELIVERY_REPLY && has_room(s) &&
            is_subscribed);
}

static int deliver(struct sessions *s, struct moment now, const struct arrival *a,
                   const struct envelope *e, const struct ratchet_opened *opened)
{
    const struct component *component = registry_find_identity(s->registry, a->identity);
    const struct rule *rule = registry_rule_for(s->registry, a->topic);
    struct session_event event = {.type = SESSION_MESSAGE,
                                  .peer = peer_name(a->peer),
                                  .identity = a->identity,
                                  .topic = a->topic,
                                  .delivery = a->delivery,
                                  .direct = true,
                                  .sent_ms = opened->sent_ms,
                                  .sequence = opened->number,
                                  .cookie = a->cookie};
    bool is_subscribed = peers_is_subscribed(s, a->topic);
    int r = direct_may_receive(s, component, rule, a->delivery);

    if (r == 0 && !ratchet_is_spoken(s, a->topic))
        r = AICO_EFORMAT;
    if (r == 0 && message_is_stale(s, now, rule, a->delivery, opened->sent_ms))
        r = AICO_ESTALE;
    if (r == 0 && !component_is_active(s->registry, component, now.real_ms) &&
        opened->sent_ms > component->replaced_until_ms + s->settings.synchrony_bound_ms)
        r = AICO_EREVOKED;
    if (r < 0)
        return r;
    ratchet_ref(e, event.ref);
    event.held = a->delivery == DELIVERY_MAILBOX && !is_subscribed;
    if (is_kept(s, a, is_subscribed))
        keep_message(s, e, opened->content, &event);
    return event_messages(s, e, opened->content, 0, NULL, &event);
}

/* The ratchet is there, but does not open this: a copy of one of the ends may be old. */
static void note_failure(struct sessions *s, struct moment now, const struct arrival *a,
                         struct bond *bond, int code)
{
    if (code != AICO_ERATCHET && /* that costs nothing */
        !bucket_take(&a->peer->failures, now.boot_ms, FAILURES_PER_SECOND, FAILURES_PER_SECOND))
        a->peer->pause_ms = now.boot_ms + FAILURES_PAUSE_MS;
    if (bond && ++bond->failures >= FAILURES_RESET && code != AICO_EPADDING) {
        bond->failures = 0;
        owe_reset(s, now, a->peer, bond->ratchet->id);
    }
}

/*
 * Seen before, and sealed before what we opened: the broker hands it over again. A sender whose
 * state is an old one uses numbers again as well, but says that it does so now.
 */
static bool is_repetition(const struct bond *bond, const struct envelope *e, int code)
{
    return code == AICO_EREPLAY && bond && bond->ratchet->t0_ms + e->time <= bond->newest_ms;
}

static void heard(struct sessions *s, struct moment now, const struct arrival *a,
                  const struct envelope *e, struct bond *bond, const struct ratchet_opened *opened)
{
    bool first = e->format == ENVELOPE_FORMAT_INIT;

    bond->failures = 0;
    bond->newest_ms = MAX(bond->newest_ms, opened->sent_ms);
    a->peer->away = false;
    mark_dirty(s, bond);
    if (opened->passed_over > 0)
        say_gap(s, a, opened->passed_over);
    if (a->delivery != DELIVERY_CONTROL && !bond->is_former && (opened->turned || first) &&
        component_is_active(s->registry, registry_find_identity(s->registry, a->identity),
                            now.real_ms))
        want_turn(s, now, bond, first && opened->turned);
    if (bond == bond_best(a->peer, a->identity, now) && a->peer->bundle_wanted) {
        bundle_over(a->peer); /* it began one itself */
        say_ratchet_ready(s, a->peer);
    }
}

int ratchets_receive(struct sessions *s, struct moment now, const struct arrival *a,
                     const struct envelope *e, uint8_t *plain)
{
    struct bond *bond = bond_find(a->peer, a->identity, e->key_id.at);
    bool first = e->format == ENVELOPE_FORMAT_INIT;
    struct ratchet_opened opened = {0};
    int r;

    if (!s->shelf)
        return AICO_ENOTYET;
    if (now.boot_ms < a->peer->pause_ms)
        return AICO_ERATE;
    if (a->delivery == DELIVERY_MAILBOX && !has_room(s))
        return AICO_EFULL; /* the broker has it still */
    if (bond && first &&
        (!bond->ratchet->received ||
         memcmp(bond->ratchet->init, e->metadata.at, RATCHET_INIT_SIZE) != 0))
        r = AICO_EOPEN;
    else if (bond)
        r = open_ratchet(s, now, a, bond->ratchet, e, plain, &opened);
    else if (first)
        r = open_first(s, now, a, e, plain, &bond, &opened);
    else
        r = AICO_ERATCHET;
    if (is_repetition(bond, e, r))
        return r;
    if (r < 0) {
        note_failure(s, now, a, bond, r);
        if (!bond && r != AICO_ERATE && r != AICO_EREPLAY && r != AICO_EPREKEYUSED)
            owe_reset(s, now, a->peer, e->key_id.at);
        return r;
    }
    heard(s, now, a, e, bond, &opened);
    return a->delivery == DELIVERY_CONTROL ? 0 : deliver(s, now, a, e, &opened);
}

/* --- the world outside ------------------------------------------------------------------------ */

void ratchets_link_up(struct sessions *s, struct moment now)
{
    struct peer *peer, *next;

    if (!s->shelf)
        return;
    renew_prekeys(s, now, true);
    HASH_ITER(hh, s->peers, peer, next)
    {
        if (peer->bundle_wanted)
            bundle_ask(s, peer);
    }
}

void ratchets_link_lost(struct peer *peer)
{
    peer->bundle_asked = false;
}

void ratchets_update(struct sessions *s, struct moment now)
{
    struct handshake_context context = peers_context(s);
    struct aico_error err = {0};
    struct peer *peer, *next;
    bool fresh_start = !s->shelf;

    if (bonds_load(s, now, &err) < 0) {
        s->broken_code = err.code;
        (void)snprintf(s->broken_text, sizeof(s->broken_text), "%s", err.text);
        return;
    }
    HASH_ITER(hh, s->peers, peer, next)
    {
        struct bond *bond, *after;
        int code;

        DL_FOREACH_SAFE(peer->bonds, bond, after)
        {
            const struct component *c = registry_find_identity(s->registry, bond->ratchet->peer);

            code = handshake_may_have_written(&context, now, c);
            if (code < 0 && code != AICO_EREGISTRYSTALE)
                bond_remove(s, peer, bond);
            else if (!component_is_active(s->registry, c, now.real_ms))
                bond->turn_ms = 0; /* it is heard, and not answered */
        }
        code = handshake_may_meet(&context, now, peer_component(s, now, peer));
        if (peer->bundle_wanted && code < 0)
            bundle_fail(s, peer, code, aico_error_string(code));
    }
    renew_prekeys(s, now, fresh_start && s->shelf);
}

static void tick_bonds(struct sessions *s, struct moment now, struct peer *peer)
{
    struct bond *bond, *next;

    DL_FOREACH_SAFE(peer->bonds, bond, next)
    {
        if (ratchet_expire(bond->ratchet, now))
            mark_dirty(s, bond);
        if (now.real_ms - bond->ratchet->t0_ms >= RATCHET_LIFE_MS + RATCHET_SKIPPED_KEEP_MS)
            bond_remove(s, peer, bond);
        else if (bond->turn_ms > 0 && now.boot_ms >= bond->turn_ms && s->link)
            say_turn(s, now, peer, bond);
    }
}

void ratchets_tick(struct sessions *s, struct moment now, struct peer *peer)
{
    tick_bonds(s, now, peer);
    if (peer->bundle_wanted && now.boot_ms >= peer->bundle_until_ms)
        bundle_fail(s, peer, AICO_EDEADLINE, "the broker gave no prekeys of it in time");
    else if (peer->bundle_wanted && !peer->bundle_asked && s->link &&
             now.boot_ms >= peer->bundle_ms)
        bundle_ask(s, peer);
}

void ratchets_renew(struct sessions *s, struct moment now)
{
    if (s->shelf && now.real_ms >= shelf_deadline(s->shelf))
        renew_prekeys(s, now, false);
}

int64_t ratchets_deadline(const struct sessions *s, struct moment now)
{
    int64_t at_ms = s->shelf ? shelf_deadline(s->shelf) : INT64_MAX;

    return at_ms == INT64_MAX ? MOMENT_NEVER : now.boot_ms + MAX(at_ms - now.real_ms, (int64_t)1);
}

int64_t ratchets_peer_deadline(const struct sessions *s, const struct peer *peer)
{
    int64_t deadline = MOMENT_NEVER;
    const struct bond *bond;

    if (s->link)
        DL_FOREACH(peer->bonds, bond)
    if (bond->turn_ms > 0)
        deadline = MIN(deadline, bond->turn_ms);
    if (peer->bundle_wanted)
        deadline = MIN(deadline, peer->bundle_until_ms);
    if (peer->bundle_wanted && !peer->bundle_asked && s->link)
        deadline = MIN(deadline, peer->bundle_ms);
    return deadline;
}

/* Nothing is sealed afterwards: the stored states need not be ahead of use any more. */
void ratchets_close(struct sessions *s)
{
    struct peer *peer, *next;

    if (!s->shelf)
        return;
    HASH_ITER(hh, s->peers, peer, next)
    {
        struct bond *bond;

        DL_FOREACH(peer->bonds, bond)
        {
            if (bond->ratchet->reserved > bond->ratchet->send.next)
                mark_dirty(s, bond);
            ratchet_release(bond->ratchet);
        }
    }
}
