/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Channels that go on after a restart (PROTOCOL 4, Resume; docs/decisions/0129), with
 * allow_key_reuse only: of the last channel with each key of a peer its resumption secret is kept,
 * and whoever dials says Resume1 before it says Hello1. What fails in any way is a handshake.
 */
#include <stdio.h>

#include "crypto/kdf.h"
#include "session/peers_internal.h"
#include "session/resume.h"

#define RESUMES_RATE 10 /* a second, of one peer */
#define RESUMES_BURST 20
#define KEEP_AFTER_MS                                                                              \
    1000 /* a peer cannot have us sync a disk more often than once in this time                    \
          */

/* What is kept of the last channel with one key of a peer. */
struct resumable {
    UT_hash_handle hh; /* by peer */
    uint8_t peer[SIGN_PUBLIC_SIZE];
    struct resume_secret *from; /* guarded */
    uint32_t policy;
    uint8_t psk_check[8];  /* of the pre-shared key that the handshake had; zeros: none */
    uint64_t time;         /* of the channel: orders those with one peer */
    uint64_t peer_version; /* of its registry, as the handshake said */
    int64_t t0_ms;
    int64_t agreed_ms; /* since 1970: the last handshake */
    int64_t until_ms;  /* since 1970: session_timeout after its last message */
    bool is_dirty;     /* the row on the disk says something else */
};

/* --- rows ----------------------------------------------------------------------------------- */

static struct bytes row_key(const uint8_t *peer, uint8_t room[KEEP_KEY_MAX])
{
    struct writer w = writer_over(room, KEEP_KEY_MAX);

    writer_u8(&w, KEEP_RESUME);
    writer_bytes(&w, bytes_of(peer, SIGN_PUBLIC_SIZE));
    return writer_view(&w);
}

static void put(struct sessions *s, struct resumable *resumable)
{
    uint8_t key[KEEP_KEY_MAX], row[KEEP_RESUME_SIZE];
    struct writer w = writer_over(row, sizeof(row));

    writer_bytes(&w, bytes_of(s->self->public, SIGN_PUBLIC_SIZE));
    writer_bytes(&w, bytes_of(resumable->from->id, CHANNEL_ID_SIZE));
    writer_u32(&w, resumable->policy);
    writer_bytes(&w, bytes_of(resumable->psk_check, sizeof(resumable->psk_check)));
    writer_u64(&w, resumable->time);
    writer_u64(&w, resumable->peer_version);
    writer_u64(&w, (uint64_t)resumable->t0_ms);
    writer_u64(&w, (uint64_t)resumable->agreed_ms);
    writer_u64(&w, (uint64_t)resumable->until_ms);
    writer_bytes(&w, secret_view(&resumable->from->secret));
    keep_put(&s->batch, row_key(resumable->peer, key), writer_view(&w));
    memory_wipe(row, sizeof(row));
    s->is_unkept = true;
    resumable->is_dirty = false;
}

/* A row that is lost costs a handshake: it waits for others. */
static void put_soon(struct sessions *s, struct moment now, struct resumable *resumable)
{
    resumable->is_dirty = true;
    if (s->resumes_keep_ms == 0)
        s->resumes_keep_ms = now.boot_ms + KEEP_AFTER_MS;
    peers_wake_at(s, s->resumes_keep_ms);
}

void resumes_flush(struct sessions *s)
{
    struct resumable *resumable, *next;

    s->resumes_keep_ms = 0;
    HASH_ITER(hh, s->resumables, resumable, next)
    {
        if (resumable->is_dirty)
            put(s, resumable);
    }
}

static void resumable_free(struct sessions *s, struct resumable *resumable)
{
    HASH_DEL(s->resumables, resumable);
    guarded_free(&resumable->from);
    free(resumable);
}

static void drop(struct sessions *s, struct resumable *resumable)
{
    uint8_t key[KEEP_KEY_MAX];

    keep_drop(&s->batch, row_key(resumable->peer, key));
    s->is_unkept = true;
    resumable_free(s, resumable);
}

static struct resumable *find(struct sessions *s, const uint8_t *peer)
{
    struct resumable *resumable;

    HASH_FIND(hh, s->resumables, peer, SIGN_PUBLIC_SIZE, resumable);
    return resumable;
}

/* The one of @peer; made when there is none. NULL without memory. */
static struct resumable *of_peer(struct sessions *s, const uint8_t *peer)
{
    struct resumable *resumable = find(s, peer);

    if (resumable)
        return resumable;
    resumable = calloc(1, sizeof(*resumable));
    if (!resumable || !(resumable->from = guarded_new(sizeof(*resumable->from)))) {
        free(resumable);
        return NULL;
    }
    memcpy(resumable->peer, peer, SIGN_PUBLIC_SIZE);
    HASH_ADD(hh, s->resumables, peer, SIGN_PUBLIC_SIZE, resumable);
    if (!HASH_ADDED(hh, resumable)) {
        guarded_free(&resumable->from);
        free(resumable);
        return NULL;
    }
    return resumable;
}

/* --- life ----------------------------------------------------------------------------------- */

static bool is_on(const struct sessions *s)
{
    return s->settings.key_reuse && !s->settings.fresh_handshake && s->settings.keeper &&
           !s->resumes_off;
}

static int take_row(void *to, struct bytes key, struct bytes value)
{
    struct sessions *s = to;
    struct reader k = reader_over(key), r = reader_over(value);
    struct resumable *resumable;
    const uint8_t *peer, *self;

    if (reader_u8(&k) != KEEP_RESUME)
        return 0;
    peer = reader_bytes(&k, SIGN_PUBLIC_SIZE).at;
    self = reader_bytes(&r, SIGN_PUBLIC_SIZE).at;
    if (k.failed || value.size != KEEP_RESUME_SIZE)
        return AICO_EFORMAT;
    resumable = of_peer(s, peer);
    if (!resumable)
        return AICO_ENOMEM;
    reader_copy(&r, resumable->from->id, CHANNEL_ID_SIZE);
    resumable->policy = reader_u32(&r);
    reader_copy(&r, resumable->psk_check, sizeof(resumable->psk_check));
    resumable->time = reader_u64(&r);
    resumable->peer_version = reader_u64(&r);
    resumable->t0_ms = (int64_t)reader_u64(&r);
    resumable->agreed_ms = (int64_t)reader_u64(&r);
    resumable->until_ms = (int64_t)reader_u64(&r);
    reader_copy(&r, resumable->from->secret.at, SECRET_SIZE);
    if (memcmp(self, s->self->public, SIGN_PUBLIC_SIZE) != 0)
        drop(s, resumable); /* of our former key: no peer would know it */
    return 0;
}

void resumes_start(struct sessions *s, struct moment now)
{
    struct aico_error err = {0};
    int r;

    if (!is_on(s))
        return;
    r = s->settings.keeper->load(s->settings.keeper->context, take_row, s, &err);
    if (r < 0)
        resumes_give_up(s, r, err.text);
    else
        resumes_update(s, now);
}

void resumes_give_up(struct sessions *s, int code, const char *why)
{
    char text[sizeof(((struct aico_error *)0)->text) + 64];

    s->resumes_off = true;
    resumes_free(s);
    if (code == AICO_EKEPTLOCKED) /* another process has this identity: it resumes, this one not */
        return;
    (void)snprintf(text, sizeof(text), "channels will not go on after a restart: %s",
                   why[0] ? why : aico_error_string(code));
    event_notice(s, bytes_of(NULL, 0), AICO_ESYSTEM, text);
}

void resumes_free(struct sessions *s)
{
    struct resumable *resumable, *next;

    HASH_ITER(hh, s->resumables, resumable, next)
    {
        resumable_free(s, resumable);
    }
}

/* Says whether the pre-shared key is another one, and nothing about it. */
static void check_psk(const struct sessions *s, uint8_t ret_check[8])
{
    CLEANUP(secret_wipe)
    struct secret check = {0};

    if (s->settings.psk)
        kdf(s->settings.psk, "psk check", bytes_of(NULL, 0), &check);
    memcpy(ret_check, check.at, 8);
}

/* Whether the channel may still go on: its time is not over, nor its key, nor what was agreed. */
static bool is_usable(struct sessions *s, struct moment now, const struct resumable *resumable)
{
    struct handshake_context context = peers_context(s);
    int64_t age_ms = now.real_ms - resumable->agreed_ms;
    uint8_t psk_check[8];

    check_psk(s, psk_check);
    return secret_equal(psk_check, resumable->psk_check, sizeof(psk_check)) &&
           now.real_ms < resumable->until_ms && age_ms >= 0 &&
           age_ms < s->settings.key_rotation_interval_ms &&
           resumable->policy == session_policy(&s->settings) &&
           handshake_may_meet(&context, now,
                              registry_find_identity(s->registry, resumable->peer)) == 0;
}

void resumes_update(struct sessions *s, struct moment now)
{
    struct resumable *resumable, *next;

    s->resumes_ms = now.boot_ms + s->settings.session_timeout_ms / 4;
    HASH_ITER(hh, s->resumables, resumable, next)
    {
        if (!is_usable(s, now, resumable))
            drop(s, resumable);
    }
}

/* --- what is kept --------------------------------------------------------------------------- */

void resume_keep(struct sessions *s, struct moment now, const struct channel_keys *keys)
{
    struct resumable *resumable;

    if (!is_on(s))
        return;
    resumable = of_peer(s, keys->peer);
    if (!resumable)
        return; /* the next channel is a handshake */
    memcpy(resumable->from->id, keys->id, CHANNEL_ID_SIZE);
    resumable->from->secret = keys->resume;
    resumable->policy = session_policy(&s->settings);
    check_psk(s, resumable->psk_check);
    resumable->time = keys->time;
    resumable->t0_ms = keys->t0_ms;
    resumable->peer_version = keys->peer_version;
    if (!keys->resumed)
        resumable->agreed_ms = now.real_ms;
    resumable->until_ms = now.real_ms + s->settings.session_timeout_ms;
    put_soon(s, now, resumable);
}

void resume_touch(struct sessions *s, struct moment now, const struct channel *channel,
                  int64_t used_ms)
{
    struct resumable *resumable = is_on(s) ? find(s, channel->peer) : NULL;
    int64_t until_ms = now.real_ms - (now.boot_ms - used_ms) + s->settings.session_timeout_ms;

    if (!resumable || memcmp(resumable->from->id, channel->id, CHANNEL_ID_SIZE) != 0 ||
        until_ms <= resumable->until_ms)
        return;
    resumable->until_ms = until_ms;
    put_soon(s, now, resumable);
}

/* What of the keys does not follow from the secret. Both ends say that the channel began a
 * millisecond after the one it goes on from. */
static void complete(struct channel_keys *keys, struct moment now,
                     const struct resumable *resumable)
{
    memcpy(keys->peer, resumable->peer, SIGN_PUBLIC_SIZE);
    keys->t0_ms = resumable->t0_ms;
    keys->time = resumable->time + 1;
    keys->peer_version = resumable->peer_version;
    keys->age_ms = now.real_ms - resumable->agreed_ms;
    keys->resumed = true;
}

/* --- dialling ------------------------------------------------------------------------------- */

bool resume_dial(struct sessions *s, struct moment now, struct peer *peer,
                 const struct component *component)
{
    struct resumable *resumable = is_on(s) ? find(s, component->identity) : NULL;
    CLEANUP(secret_wipe)
    struct secret nonce = {0};

    /* A channel that stands is renewed by a handshake, since it is spent or was passed over. */
    if (!resumable || line_best(peer) || !is_usable(s, now, resumable))
        return false;
    fresh(s->hedge, "resume", &nonce);
    resume_ask(resumable->from, nonce.at, peer->resume1);
    memcpy(peer->resumed, component->identity, SIGN_PUBLIC_SIZE);
    peer->resuming = true;
    event_send(s, peer, bytes_of(peer->resume1, RESUME_SIZE));
    return true;
}

/* What the listener has of the channel is kept until something opens under the new keys; so the
 * dialer, which knows that both have them, says PING until something opens here. */
static void on_resume2(struct sessions *s, struct moment now, struct peer *peer,
                       struct bytes resume2)
{
    CLEANUP(channel_keys_wipe)
    struct channel_keys keys = {0};
    struct resumable *resumable = peer->resuming ? find(s, peer->resumed) : NULL;

    if (!resumable || resume_finish(resumable->from, peer->resume1, resume2, &keys) < 0)
        return;
    complete(&keys, now, resumable);
    (void)!line_add(s, now, peer, &keys, NULL);
}

bool resume_is_refused(const struct peer *peer, struct bytes about)
{
    uint8_t hash[HASH_SIZE];

    if (!peer->resuming)
        return false;
    hash_n(bytes_of(peer->resume1, RESUME_SIZE), hash, HASH_SIZE);
    return bytes_equal(about, bytes_of(hash, HASH_SIZE));
}

/* --- answering ------------------------------------------------------------------------------ */

/* The channel of one of @peer's keys that has this id. */
static struct resumable *find_named(struct sessions *s, const struct peer *peer, const uint8_t *id)
{
    struct resumable *resumable, *next;

    HASH_ITER(hh, s->resumables, resumable, next)
    {
        const struct component *component = registry_find_identity(s->registry, resumable->peer);

        if (memcmp(resumable->from->id, id, CHANNEL_ID_SIZE) == 0 && component &&
            bytes_equal_text(peer_name(peer), component->name))
            return resumable;
    }
    return NULL;
}

static int answer(struct sessions *s, struct moment now, struct peer *peer,
                  const struct resumable *resumable, struct bytes resume1)
{
    CLEANUP(secret_wipe)
    struct secret nonce = {0};
    struct half_open *half_open = half_open_new();
    uint8_t resume2[RESUME_SIZE];
    int r;

    if (!half_open)
        return AICO_ENOMEM;
    fresh(s->hedge, "resume", &nonce);
    r = resume_answer(resumable->from, resume1, nonce.at, resume2, &half_open->state->keys);
    if (r < 0) {
        half_open_free(half_open);
        return r;
    }
    complete(&half_open->state->keys, now, resumable);
    half_open->state->deadline_ms = now.boot_ms + s->settings.handshake_timeout_ms;
    half_open_add(s, peer, half_open);
    event_send(s, peer, bytes_of(resume2, sizeof(resume2)));
    return 0;
}

static void on_resume1(struct sessions *s, struct moment now, struct peer *peer,
                       struct bytes resume1)
{
    const uint8_t *id = resume_named(resume1);
    struct resumable *resumable = NULL;
    uint8_t about[HASH_SIZE];

    if (!id || !s->settings.key_reuse || s->settings.fresh_handshake)
        return; /* who may not resume has no channel with us */
    if (is_on(s) && bucket_take(&peer->resumes, now.boot_ms, RESUMES_RATE, RESUMES_BURST))
        resumable = find_named(s, peer, id);
    if (resumable && peer->resuming &&
        memcmp(s->self->public, resumable->peer, SIGN_PUBLIC_SIZE) < 0)
        return; /* both dial: the smaller goes on */
    if (!resumable || !is_usable(s, now, resumable) ||
        answer(s, now, peer, resumable, resume1) < 0) {
        s->stats.refused_hellos++;
        hash_n(resume1, about, HASH_SIZE);
        refuse_peer(s, now, peer, AICO_ECHANNELUNKNOWN, about);
        return;
    }
    peer->away = false;
    if (!peer->resuming)
        return;
    peer->resuming = false;
    peer->hello_ms = now.boot_ms + s->settings.handshake_timeout_ms / 4;
}

void resume_receive(struct sessions *s, struct moment now, struct peer *peer, struct bytes bytes)
{
    if (bytes.at[1] == HANDSHAKE_RESUME1)
        on_resume1(s, now, peer, bytes);
    else
        on_resume2(s, now, peer, bytes);
}

/* --- the first envelope ----------------------------------------------------------------------- */

static void ignore_gap(void *context, uint64_t first, uint64_t last)
{
    (void)context;
    (void)first;
    (void)last;
}

/* Whether @a opens with the keys of @half_open. */
static bool opens(struct sessions *s, struct moment now, const struct arrival *a,
                  const struct envelope *e, const struct half_open *half_open)
{
    const struct gap_sink sink = {.report = ignore_gap};
    struct channel *channel = NULL;
    struct channel_opened opened;
    struct plain plain;
    bool is_open = false;

    if (channel_new(&half_open->state->keys, s->self->public, &s->settings, now, &channel) < 0)
        return false;
    if (plain_take(s, e->sealed.size, &plain))
        is_open = channel_open(channel, now, e, a->delivery, a->topic,
                               a->delivery == DELIVERY_REPLY ? a->ref : NULL, plain.at, &sink,
                               &opened) == 0;
    plain_give(s, &plain);
    channel_free(&channel);
    return is_open;
}

bool resume_confirm(struct sessions *s, struct moment now, const struct arrival *a,
                    const struct envelope *e, struct half_open *half_open)
{
    CLEANUP(channel_keys_wipe)
    struct channel_keys keys = {0};

    if (now.boot_ms > half_open->state->deadline_ms || !opens(s, now, a, e, half_open))
        return false;
    keys = half_open->state->keys;
    half_open_drop(a->peer, half_open);
    return line_add(s, now, a->peer, &keys, NULL) == 0;
}
