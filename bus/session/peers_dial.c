/* SPDX-License-Identifier: Apache-2.0 */
/* Handshakes: who dials, who answers, and which attempt survives (PROTOCOL 4). */
#include <stdio.h>

#include "crypto/kdf.h"
#include "session/peers_internal.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_LAST_MS 30000

/* --- dialling ------------------------------------------------------------------------------- */

void dial_stop(struct sessions *s, struct peer *peer)
{
    (void)s;
    if (peer->dialer)
        dialer_wipe(peer->dialer);
    guarded_free(&peer->dialer);
    peer->dialing = peer->resuming = false;
    peer->attempts = 0;
    peer->attempt_end_ms = 0;
    peer->hello_ms = MOMENT_NEVER;
}

void dial_fail(struct sessions *s, struct peer *peer, int code)
{
    char text[200];

    if (peer->hint_code < 0 && (code == AICO_ETIMEOUT || code == AICO_EDEADLINE))
        (void)snprintf(text, sizeof(text),
                       "%s did not answer; it, or the broker in its name, claims: %s", peer->name,
                       aico_error_string(peer->hint_code));
    else
        (void)snprintf(text, sizeof(text), "%s: %s", peer->name, aico_error_string(code));
    dial_stop(s, peer);
    if (line_best(peer)) { /* it was for a new channel in place of one that still works */
        event_notice(s, peer_name(peer), code, text);
        return;
    }
    event_push(s, &(struct session_event){
                      .type = SESSION_LOST, .peer = peer_name(peer), .code = code, .text = text});
    publications_peer_lost(s, peer);
}

/*
 * The time a Hello1 says. Channels with one peer are ordered by it, and what we dial now must be
 * later than what stands, else the peer would pass it over: clocks differ, and the peer may have
 * dialled the channel that stands. No more than the bound ahead of our clock, or it is refused.
 */
static struct moment hello1_moment(const struct sessions *s, struct moment now,
                                   const struct peer *peer)
{
    int64_t ahead = now.real_ms + s->settings.synchrony_bound_ms;
    const struct line *line;

    DL_FOREACH(peer->lines, line)
    if ((int64_t)line->channel->time < ahead)
        now.real_ms = MAX(now.real_ms, (int64_t)line->channel->time + 1);
    return now;
}

/* How many handshakes we have begun and wait for, @most at most. */
static int64_t count_dialing(const struct sessions *s, int64_t most)
{
    const struct peer *peer, *next;
    int64_t count = 0;

    HASH_ITER(hh, s->peers, peer, next)
    {
        if (peer->dialing && ++count >= most)
            break;
    }
    return count;
}

/* Until the next Hello1 of this attempt: soon at first, then ever later, so that a way on which
 * answers take long is not filled with questions; and together we repeat one each
 * HANDSHAKE_AGAIN_MS, however many we wait for, since many that are slow are no loss. */
static int64_t hello_pause_ms(const struct sessions *s, struct moment now, const struct peer *peer)
{
    int64_t most_ms = s->settings.handshake_timeout_ms / 4;
    int64_t age_ms = now.boot_ms - (peer->attempt_end_ms - s->settings.handshake_timeout_ms);
    int64_t shared_ms =
        HANDSHAKE_AGAIN_MS * MAX(count_dialing(s, 1 + most_ms / HANDSHAKE_AGAIN_MS), (int64_t)1);

    return MIN(most_ms, MAX(shared_ms, age_ms / 2));
}

/* A new Hello1, with a key of its own: none is ever sent twice. */
static int send_hello1(struct sessions *s, struct moment now, struct peer *peer)
{
    CLEANUP(handshake_random_wipe)
    struct handshake_random random = {0};
    struct handshake_context context = peers_context(s);
    const struct component *component = peer_component(s, now, peer);
    int64_t pause_ms = hello_pause_ms(s, now, peer);
    int r = handshake_may_meet(&context, now, component);

    if (r < 0)
        return r == AICO_EUNKNOWN ? AICO_EPEERUNKNOWN : r;
    if (!peer->dialer)
        peer->dialer = guarded_new(sizeof(*peer->dialer));
    if (!peer->dialer)
        return AICO_ENOMEM;
    handshake_random_draw(s->hedge, &random);
    r = dialer_begin(&context, hello1_moment(s, now, peer), component->identity, &random,
                     peer->dialer);
    if (r < 0)
        return r;
    event_send(s, peer, bytes_of(peer->dialer->hello1, HELLO1_SIZE));
    peer->hello_ms = now.boot_ms + pause_ms * 3 / 4 + peers_jitter(s, pause_ms / 2);
    return 0;
}

/* Of an attempt: Resume1 when there is something to go on from. */
static int say_first(struct sessions *s, struct moment now, struct peer *peer)
{
    const struct component *component = peer_component(s, now, peer);
    int64_t pause_ms = hello_pause_ms(s, now, peer);

    if (!component || !resume_dial(s, now, peer, component))
        return send_hello1(s, now, peer);
    peer->hello_ms = now.boot_ms + pause_ms * 3 / 4 + peers_jitter(s, pause_ms / 2);
    return 0;
}

static int begin_attempt(struct sessions *s, struct moment now, struct peer *peer)
{
    int64_t end_ms = peer->attempt_end_ms;
    int r;

    peer->attempt_end_ms = now.boot_ms + s->settings.handshake_timeout_ms;
    r = say_first(s, now, peer);
    if (r < 0) {
        peer->attempt_end_ms = end_ms;
        return r;
    }
    peer->retargeted = false;
    peers_wake_at(s, MIN(peer->hello_ms, peer->attempt_end_ms));
    return 0;
}

int dial_start(struct sessions *s, struct moment now, struct peer *peer)
{
    struct handshake_context context = peers_context(s);
    int r;

    if (peer->dialing)
        return 0;
    r = handshake_may_meet(&context, now, peer_component(s, now, peer));
    if (r < 0)
        return r == AICO_EUNKNOWN ? AICO_EPEERUNKNOWN : r;
    peer->dialing = true;
    peer->attempts = 0;
    peer->attempt_end_ms = 0;
    peer->hint_code = 0;
    peer->hello_ms = MAX(now.boot_ms, peer->redial_ms);
    if (!s->link)
        peer->hello_ms = MOMENT_NEVER; /* sessions_link_up() starts it */
    else if (peer->hello_ms <= now.boot_ms && (r = begin_attempt(s, now, peer)) < 0)
        dial_stop(s, peer);
    peers_wake_at(s, peer->hello_ms);
    return r;
}

int sessions_dial(struct sessions *s, struct moment now, struct bytes name)
{
    struct peer *peer = peer_find(s, name, true);

    if (s->closed)
        return AICO_ECLOSED;
    if (!peer)
        return registry_find_name(s->registry, name) ? AICO_ENOMEM : AICO_EPEERUNKNOWN;
    if (seed_is_spoken(s, peer_component(s, now, peer))) {
        int r = seed_may_meet(s, now, peer_component(s, now, peer));

        if (r < 0)
            return r;
    } else if (!line_best(peer)) {
        return dial_start(s, now, peer);
    }
    event_push(s, &(struct session_event){.type = SESSION_READY, .peer = name});
    return 0;
}

static void end_attempt(struct sessions *s, struct moment now, struct peer *peer)
{
    int64_t bound = BACKOFF_LAST_MS;
    uint32_t limit = s->settings.connection_retry_limit;

    peer->attempts++;
    if (limit > 0 && peer->attempts >= limit) {
        dial_fail(s, peer, AICO_ETIMEOUT);
        return;
    }
    if (peer->dialer)
        dialer_wipe(peer->dialer);
    guarded_free(&peer->dialer);
    peer->resuming = false;
    if (peer->attempts < 9)
        bound = MIN(bound, (int64_t)BACKOFF_FIRST_MS << (peer->attempts - 1));
    peer->attempt_end_ms = 0;
    peer->hello_ms = now.boot_ms + peers_jitter(s, bound);
}

struct half_open *half_open_new(void)
{
    struct half_open *half_open = calloc(1, sizeof(*half_open));

    if (!half_open || !(half_open->state = guarded_new(sizeof(*half_open->state)))) {
        free(half_open);
        return NULL;
    }
    return half_open;
}

void half_open_free(struct half_open *half_open)
{
    guarded_free(&half_open->state);
    free(half_open);
}

void half_open_drop(struct peer *peer, struct half_open *half_open)
{
    LL_DELETE(peer->half_open, half_open);
    peer->half_open_count--;
    half_open_free(half_open);
}

/*
 * A dialer holds one attempt: of several the newest is the one that may still be confirmed. So one
 * more takes the place of the oldest. Refusing it instead would shut out, for handshake_timeout, a
 * dialer whose answers were lost. How many are verified is bounded by the guard.
 */
void half_open_add(struct sessions *s, struct peer *peer, struct half_open *half_open)
{
    LL_PREPEND(peer->half_open, half_open);
    peer->half_open_count++;
    peers_wake_at(s, half_open->state->deadline_ms + 1);
    if (peer->half_open_count <= HALF_OPEN_MAX)
        return;
    while (half_open->next)
        half_open = half_open->next;
    half_open_drop(peer, half_open);
}

static void half_open_expire(struct moment now, struct peer *peer)
{
    struct half_open *half_open, *next;

    LL_FOREACH_SAFE(peer->half_open, half_open, next)
    {
        if (now.boot_ms > half_open->state->deadline_ms)
            half_open_drop(peer, half_open);
    }
}

void dial_tick(struct sessions *s, struct moment now, struct peer *peer)
{
    int r = 0;

    half_open_expire(now, peer);
    if (!peer->dialing || !s->link)
        return;
    if (peer->attempt_end_ms > 0 && now.boot_ms >= peer->attempt_end_ms)
        end_attempt(s, now, peer);
    if (peer->dialing && now.boot_ms >= peer->hello_ms)
        r = peer->attempt_end_ms > 0 ? send_hello1(s, now, peer) : begin_attempt(s, now, peer);
    if (r < 0)
        dial_fail(s, peer, r);
}

int64_t dial_deadline(const struct peer *peer)
{
    int64_t deadline = MOMENT_NEVER;
    const struct half_open *half_open;

    if (peer->dialing) {
        deadline = peer->hello_ms;
        if (peer->attempt_end_ms > 0)
            deadline = MIN(deadline, peer->attempt_end_ms);
    }
    LL_FOREACH(peer->half_open, half_open)
    deadline = MIN(deadline, half_open->state->deadline_ms + 1);
    return deadline;
}

/* --- hints ---------------------------------------------------------------------------------- */

void refuse_peer(struct sessions *s, struct moment now, struct peer *peer, int code,
                 const uint8_t about[HASH_SIZE])
{
    uint8_t bytes[REFUSE_SIZE];

    if (!bucket_take(&peer->refuses, now.boot_ms, REFUSES_RATE, REFUSES_BURST))
        return;
    refuse_write(code, now, about, bytes);
    event_send(s, peer, bytes_of(bytes, sizeof(bytes)));
}

void refuse_channel(struct sessions *s, struct moment now, struct peer *peer,
                    const uint8_t key_id[CHANNEL_ID_SIZE])
{
    uint8_t about[HASH_SIZE] = {0};

    memcpy(about, key_id, CHANNEL_ID_SIZE);
    refuse_peer(s, now, peer, AICO_ECHANNELUNKNOWN, about);
}

/* "I do not know this channel": a forged one costs a handshake and loses nothing. */
static void on_channel_unknown(struct sessions *s, struct moment now, struct peer *peer,
                               struct bytes about)
{
    int64_t start = MAX(now.boot_ms, peer->redial_ms);
    struct line *line;

    if (resume_is_refused(peer, about)) {
        peer->resuming = false;
        if (!peer->dialer)
            (void)!send_hello1(s, now, peer); /* without memory: at hello_ms */
        return;
    }
    DL_FOREACH(peer->lines, line)
    if (line->sendable && memcmp(line->channel->id, about.at, CHANNEL_ID_SIZE) == 0)
        break;
    if (!line)
        return;
    line->sendable = false;
    if (line_best(peer) || peer->dialing)
        return;
    (void)!dial_start(s, now, peer);
    peer->redial_ms = start + REDIAL_MS; /* from when it dials, which may be later than now */
}

/*
 * "Not me": during a rotation the process may have the other key of its name, and the registry lets
 * both be met. So this attempt goes on with that one; once, because anybody can say so.
 */
static void on_wrong_target(struct sessions *s, struct moment now, struct peer *peer,
                            struct bytes about)
{
    const struct component *other;
    uint8_t hash[HASH_SIZE];

    if (!peer->dialing || !peer->dialer || peer->retargeted)
        return;
    hash_n(bytes_of(peer->dialer->hello1, HELLO1_SIZE), hash, sizeof(hash));
    other = peer_other_component(s, now, peer, peer->dialer->peer);
    if (!other || !bytes_equal(about, bytes_of(hash, sizeof(hash))))
        return;
    peer_meet(peer, other->identity);
    peer->retargeted = true;
    (void)!send_hello1(s, now, peer); /* without memory: at hello_ms, as any that was lost */
}

static void on_refuse(struct sessions *s, struct moment now, struct peer *peer, struct bytes bytes)
{
    struct refuse hint;
    char text[200];

    if (refuse_parse(bytes, &hint) < 0)
        return;
    s->stats.hints++;
    if (hint.code == AICO_ECHANNELUNKNOWN) {
        on_channel_unknown(s, now, peer, hint.about);
        return;
    }
    if (hint.code == AICO_ETARGET)
        on_wrong_target(s, now, peer, hint.about);
    /* Only a word about what we are trying just now is worth showing; it changes nothing. */
    if (!peer->dialing || peer->hint_code == hint.code ||
        !bucket_take(&peer->hints, now.boot_ms, WORDS_RATE, WORDS_BURST))
        return;
    peer->hint_code = hint.code;
    (void)snprintf(text, sizeof(text), "%s, or the broker in its name, refuses the handshake: %s",
                   peer->name, aico_error_string(hint.code));
    event_notice(s, peer_name(peer), hint.code, text);
}

/* What went wrong with a Hello, where somebody can repair it. */
static void note_failure(struct sessions *s, struct peer *peer, int code)
{
    char text[200];

    if (code != AICO_EEQUIVOCATION && code != AICO_ECLOCK && code != AICO_EPOLICY)
        return;
    (void)snprintf(text, sizeof(text), "the handshake with %s failed: %s", peer->name,
                   aico_error_string(code));
    event_notice(s, peer_name(peer), code, text);
}

/* --- answering ------------------------------------------------------------------------------ */

void half_open_drop_all(struct peer *peer)
{
    while (peer->half_open)
        half_open_drop(peer, peer->half_open);
}

/* Whether our own attempt goes before the one in @hello1. */
static bool we_go_first(const struct sessions *s, const struct peer *peer, struct bytes hello1)
{
    const uint8_t *identity = hello1_dialer(hello1);

    return identity && peer->dialer &&
           memcmp(identity, peer->dialer->peer, SIGN_PUBLIC_SIZE) == 0 &&
           memcmp(s->self->public, identity, SIGN_PUBLIC_SIZE) < 0;
}

static int answer_hello1(struct sessions *s, struct moment now, struct peer *peer,
                         struct bytes hello1)
{
    CLEANUP(handshake_random_wipe)
    struct handshake_random random = {0};
    struct handshake_context context = peers_context(s);
    struct half_open *half_open = half_open_new();
    uint8_t hello2[HELLO2_SIZE];
    int r;

    if (!half_open)
        return AICO_ENOMEM;
    handshake_random_draw(s->hedge, &random);
    r = listener_receive(&context, now, s->guard, peer_name(peer),
                         MIN(peer->half_open_count, (size_t)HALF_OPEN_MAX - 1), hello1, &random,
                         half_open->state, hello2);
    if (r < 0) {
        half_open_free(half_open);
        return r;
    }
    half_open_add(s, peer, half_open);
    event_send(s, peer, bytes_of(hello2, sizeof(hello2)));
    return 0;
}

static void on_hello1(struct sessions *s, struct moment now, struct peer *peer, struct bytes hello1)
{
    uint8_t about[HASH_SIZE];
    int r;

    if (we_go_first(s, peer, hello1))
        return;
    r = answer_hello1(s, now, peer, hello1);
    if (r < 0) {
        s->stats.refused_hellos++;
        note_failure(s, peer, r);
        hash_n(hello1, about, HASH_SIZE);
        refuse_peer(s, now, peer, r, about);
        return;
    }
    peer->away = false;
    if (!peer->dialer)
        return;
    /* It verified, so ours yields; should its Hello3 not come, we dial again. */
    dialer_wipe(peer->dialer);
    guarded_free(&peer->dialer);
    peer->hello_ms = now.boot_ms + s->settings.handshake_timeout_ms / 4;
}

static void on_hello2(struct sessions *s, struct moment now, struct peer *peer, struct bytes hello2)
{
    CLEANUP(channel_keys_wipe)
    struct channel_keys keys = {0};
    struct handshake_context context = peers_context(s);
    uint8_t hello3[HELLO3_SIZE];
    int r;

    if (!peer->dialer)
        return;
    r = dialer_receive(&context, now, peer->dialer, hello2, &keys, hello3);
    if (r == AICO_EDEADLINE) {
        guarded_free(&peer->dialer);
        peers_wake_at(s, now.boot_ms);
        return;
    }
    if (r == 0)
        r = line_add(s, now, peer, &keys, hello3);
    if (r < 0)
        note_failure(s, peer, r);
}

static void on_hello3(struct sessions *s, struct moment now, struct peer *peer, struct bytes hello3)
{
    CLEANUP(channel_keys_wipe)
    struct channel_keys keys = {0};
    struct half_open *half_open;

    LL_FOREACH(peer->half_open, half_open)
    if (hello3.size == HELLO3_SIZE && !half_open->state->keys.resumed &&
        memcmp(half_open->state->keys.id, hello3.at + 4, CHANNEL_ID_SIZE) == 0)
        break;
    if (!half_open)
        return; /* of a channel that stands already, or never did */
    if (listener_confirm(half_open->state, now, hello3, &keys) < 0)
        return;
    half_open_drop(peer, half_open);
    if (line_add(s, now, peer, &keys, NULL) == 0)
        early_release(s, now, peer);
}

void dial_receive(struct sessions *s, struct moment now, struct peer *peer, struct bytes bytes)
{
    if (bytes.size < 2)
        return;
    /* Of another version a Hello1 is refused by name, the rest fails where it is read. */
    switch (bytes.at[1]) {
    case HANDSHAKE_HELLO1:
        on_hello1(s, now, peer, bytes);
        break;
    case HANDSHAKE_HELLO2:
        on_hello2(s, now, peer, bytes);
        break;
    case HANDSHAKE_HELLO3:
        on_hello3(s, now, peer, bytes);
        break;
    case HANDSHAKE_REFUSE:
        on_refuse(s, now, peer, bytes);
        break;
    case HANDSHAKE_RESUME1:
    case HANDSHAKE_RESUME2:
        resume_receive(s, now, peer, bytes);
        break;
    default:
        break;
    }
}
