/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Format 0, the seed's envelope, with components marked `peer aico` (PROTOCOL 5.5,
 * docs/decisions/0010): no handshake, keys that stand as long as the identities do, and so nothing
 * but a timestamp and the memory of nonces against replay.
 */
#include <stdlib.h>

#include "crypto/kdf.h"
#include "crypto/kx.h"
#include "envelope/format0.h"
#include "envelope/metadata.h"
#include "session/peers_internal.h"

/* The metadata we write: a topic byte takes at most 6 in JSON, the rest is the frame around it. */
#define METADATA_MAX (6 * TOPIC_SIZE_MAX + 64)

/* Guarded. Each key has one direction. */
struct seed_secret {
    struct secret send;    /* we are crypto_kx's client, as the sender of a message is */
    struct secret receive; /* the peer is */
    struct secret answer;  /* the peer answers as the server of a dialogue we began */
    struct format0_nonces nonces;
};

struct seed_nonce {
    UT_hash_handle hh; /* in the order of arrival */
    uint8_t hash[SESSION_REF_SIZE];
    int64_t until_ms; /* boot clock */
};

struct seed {
    struct seed *next;
    uint8_t identity[SIGN_PUBLIC_SIZE];
    struct seed_secret *secret;
    bool began; /* we sealed something for it */
    uint64_t opened;
    struct seed_nonce *timed;   /* of messages with a timestamp: twice the synchrony bound */
    struct seed_nonce *lasting; /* of messages without: as long as the key */
};

/* --- which peers ---------------------------------------------------------------------------- */

bool seed_is_spoken(const struct sessions *s, const struct component *component)
{
    const struct component *me = registry_find_identity(s->registry, s->self->public);

    return component && (component->peer_aico || (me && me->peer_aico));
}

int seed_may_meet(struct sessions *s, struct moment now, const struct component *component)
{
    struct handshake_context context = peers_context(s);
    int r = handshake_may_meet(&context, now, component);

    if (r == 0 && level_is_maximum(&s->settings))
        return AICO_EPOLICY; /* neither ratchet nor forward secrecy */
    return r == AICO_EUNKNOWN ? AICO_EPEERUNKNOWN : r;
}

static void nonces_free(struct seed_nonce **nonces)
{
    struct seed_nonce *nonce, *next;

    HASH_ITER(hh, *nonces, nonce, next)
    {
        HASH_DEL(*nonces, nonce);
        free(nonce);
    }
}

static void seed_remove(struct peer *peer, struct seed *seed)
{
    LL_DELETE(peer->seeds, seed);
    nonces_free(&seed->timed);
    nonces_free(&seed->lasting);
    guarded_free(&seed->secret);
    free(seed);
}

void seeds_free(struct peer *peer)
{
    while (peer->seeds)
        seed_remove(peer, peer->seeds);
}

void seeds_update(struct sessions *s, struct moment now, struct peer *peer)
{
    struct seed *seed, *next;

    LL_FOREACH_SAFE(peer->seeds, seed, next)
    {
        const struct component *c = registry_find_identity(s->registry, seed->identity);

        if (!seed_is_spoken(s, c) || seed_may_meet(s, now, c) < 0 ||
            !bytes_equal_text(peer_name(peer), c->name))
            seed_remove(peer, seed);
    }
    if (!peer->dialing || !seed_is_spoken(s, peer_component(s, now, peer)))
        return;
    /* Whoever waits for the channel need not any more. */
    dial_stop(s, peer);
    event_push(s, &(struct session_event){.type = SESSION_READY, .peer = peer_name(peer)});
    publications_peer_lost(s, peer);
}

/* The keys with one identity of @peer, agreed upon when they are first needed. */
static int seed_with(struct sessions *s, struct peer *peer, const uint8_t *identity,
                     struct seed **ret_seed)
{
    struct seed *seed;
    struct secret unused = {0};
    int r = AICO_ENOMEM;

    LL_FOREACH(peer->seeds, seed)
    if (memcmp(seed->identity, identity, SIGN_PUBLIC_SIZE) == 0)
        break;
    if (!seed) {
        seed = calloc(1, sizeof(*seed));
        if (!seed)
            return AICO_ENOMEM;
        LL_PREPEND(peer->seeds, seed);
        memcpy(seed->identity, identity, SIGN_PUBLIC_SIZE);
        seed->secret = guarded_new(sizeof(*seed->secret));
        if (seed->secret)
            r = kx_static(&s->self->seed, identity, true, &seed->secret->answer,
                          &seed->secret->send);
        if (r == 0)
            r = kx_static(&s->self->seed, identity, false, &seed->secret->receive, &unused);
        secret_wipe(&unused);
        if (r < 0) {
            seed_remove(peer, seed);
            return r;
        }
        format0_nonces_init(&seed->secret->nonces, s->hedge);
    }
    if (seed->secret->nonces.counter == 0)
        return AICO_EFORKED; /* a child holds zeros, which anybody could seal under */
    *ret_seed = seed;
    return 0;
}

/* --- sealing -------------------------------------------------------------------------------- */

size_t seed_sealed_size(size_t payload_size)
{
    return format0_sealed_size(METADATA_MAX, payload_size);
}

int seed_seal(struct sessions *s, struct moment now, struct peer *peer,
              const struct component *component, struct bytes topic, struct bytes headers,
              struct bytes payload, struct writer *out, uint8_t *ret_ref)
{
    uint8_t room[METADATA_MAX], nonce[ENVELOPE_NONCE_SIZE];
    struct metadata_writer m;
    struct bytes metadata;
    struct seed *seed;
    int r = headers.size > 0 ? AICO_EFORMAT : seed_may_meet(s, now, component);

    if (r == 0)
        r = seed_with(s, peer, component->identity, &seed);
    if (r < 0)
        return r;
    metadata_begin(&m, room, sizeof(room));
    metadata_text(&m, "topic", topic);
    metadata_seconds(&m, "timestamp", now.real_ms);
    r = metadata_end(&m, &metadata);
    if (r == 0)
        r = format0_nonces_next(&seed->secret->nonces, nonce);
    if (r == 0)
        r = format0_seal(&seed->secret->send, nonce, metadata, payload,
                         s->settings.max_message_size, out);
    if (r < 0)
        return r;
    seed->began = true;
    s->stats.sealed++;
    if (ret_ref)
        hash_n(bytes_of(nonce, sizeof(nonce)), ret_ref, SESSION_REF_SIZE);
    return 0;
}

/* --- receiving ------------------------------------------------------------------------------ */

static bool has_seen(struct seed *seed, struct moment now, const uint8_t *hash)
{
    struct seed_nonce *nonce, *next;

    HASH_ITER(hh, seed->timed, nonce, next)
    {
        if (now.boot_ms <= nonce->until_ms)
            break;
        HASH_DEL(seed->timed, nonce);
        free(nonce);
    }
    HASH_FIND(hh, seed->timed, hash, SESSION_REF_SIZE, nonce);
    if (!nonce)
        HASH_FIND(hh, seed->lasting, hash, SESSION_REF_SIZE, nonce);
    return nonce != NULL;
}

static int remember(struct seed_nonce **nonces, size_t max, const uint8_t *hash, int64_t until_ms)
{
    struct seed_nonce *nonce;

    if (HASH_COUNT(*nonces) >= max)
        return AICO_ELIMIT;
    nonce = calloc(1, sizeof(*nonce));
    if (!nonce)
        return AICO_ENOMEM;
    memcpy(nonce->hash, hash, sizeof(nonce->hash));
    nonce->until_ms = until_ms;
    HASH_ADD(hh, *nonces, hash, sizeof(nonce->hash), nonce);
    if (!HASH_ADDED(hh, nonce)) {
        free(nonce);
        return AICO_ENOMEM;
    }
    return 0;
}

static int open_with(struct seed *seed, const struct envelope *e, uint8_t *plain,
                     struct bytes *ret_payload)
{
    int r = format0_open(e, &seed->secret->receive, plain, ret_payload);

    if (r == AICO_EOPEN && seed->began)
        r = format0_open(e, &seed->secret->answer, plain, ret_payload);
    return r;
}

/* What the metadata of an opened envelope says against it. */
static int check_facts(const struct sessions *s, struct moment now, const struct arrival *a,
                       const struct metadata_facts *facts)
{
    int64_t apart = now.real_ms - facts->timestamp_ms;

    if (facts->has_topic && !bytes_equal(bytes_of(facts->topic, facts->topic_size), a->topic))
        return AICO_EOPEN; /* moved, as another topic is in the other formats */
    if (facts->has_timestamp &&
        (apart > s->settings.synchrony_bound_ms || apart < -s->settings.synchrony_bound_ms))
        return AICO_ESTALE;
    return 0;
}

int seed_receive(struct sessions *s, struct moment now, const struct arrival *a,
                 const struct envelope *e, uint8_t *plain)
{
    const struct component *component = registry_find_identity(s->registry, a->identity);
    struct session_event event = {.type = SESSION_MESSAGE,
                                  .peer = peer_name(a->peer),
                                  .identity = a->identity,
                                  .topic = a->topic,
                                  .delivery = a->delivery,
                                  .direct = true,
                                  .cookie = a->cookie};
    struct metadata_facts facts;
    struct seed *seed;
    int r = a->delivery != DELIVERY_CONTROL && seed_is_spoken(s, component) ? 0 : AICO_EFORMAT;

    if (r == 0)
        r = seed_may_meet(s, now, component);
    if (r == 0)
        r = seed_with(s, a->peer, a->identity, &seed);
    if (r != 0)
        return r;
    hash_n(e->nonce, event.ref, sizeof(event.ref));
    if (has_seen(seed, now, event.ref))
        return AICO_EREPLAY;
    r = open_with(seed, e, plain, &event.payload);
    if (r == 0)
        r = event.payload.size > s->settings.max_message_size ? AICO_ETOOLARGE
                                                              : metadata_parse(e->metadata, &facts);
    if (r == 0)
        r = check_facts(s, now, a, &facts);
    if (r == 0)
        r = direct_may_receive(s, component, registry_rule_for(s->registry, a->topic), a->delivery);
    if (r == 0)
        r = facts.has_timestamp
                ? remember(&seed->timed, SEED_TIMED_MAX, event.ref,
                           now.boot_ms + 2 * s->settings.synchrony_bound_ms)
                : remember(&seed->lasting, SEED_LASTING_MAX, event.ref, MOMENT_NEVER);
    if (r != 0)
        return r;
    /* There is no number in the envelope; ours at least tells them apart. */
    event.sequence = seed->opened++;
    event.sent_ms = facts.has_timestamp ? facts.timestamp_ms : now.real_ms;
    s->stats.opened++;
    event_push(s, &event);
    return 0;
}
