/* SPDX-License-Identifier: Apache-2.0 */
/* The Double Ratchet as a state machine. One owner. */
#include "session/ratchet.h"

#include "base/cleanup.h"
#include "base/reader.h"
#include "crypto/dh.h"
#include "crypto/kdf.h"
#include "session/channel.h"

#define RATCHET_ALIVE 0x52617443u
#define STATE_VERSION 1
#define STATE_FIXED_MAX 768 /* bytes of a stored state without Init and skipped keys */
#define SKIPPED_STORED (SECRET_SIZE + DH_PUBLIC_SIZE + 4 + 8)

enum state_flags {
    STATE_SEND = 1,
    STATE_RECEIVE = 2,
    STATE_HEARD = 4,
    STATE_INIT = 8,
    STATE_RECEIVED = 16,
};

/* --- steps ---------------------------------------------------------------------------------- */

/* dh consumed; @root moves, @chain begins. */
static void root_step(struct secret *root, struct secret *dh, struct ratchet_chain *chain)
{
    kdf(root, "ratchet chain", secret_view(dh), &chain->key);
    kdf(root, "ratchet root", secret_view(dh), root);
    secret_wipe(dh);
    chain->next = 0;
    chain->begun = true;
}

/* The key of number chain->next, which is then past. */
static void chain_step(struct ratchet_chain *chain, struct secret *ret_key)
{
    kdf(&chain->key, "message key", bytes_of(NULL, 0), ret_key);
    kdf(&chain->key, "chain step", bytes_of(NULL, 0), &chain->key);
    chain->next++;
}

void ratchet_id(const struct secret *root, uint8_t ret_id[RATCHET_ID_SIZE])
{
    CLEANUP(secret_wipe)
    struct secret id;

    kdf(root, "ratchet id", bytes_of(NULL, 0), &id);
    memcpy(ret_id, id.at, RATCHET_ID_SIZE);
}

/* --- life ----------------------------------------------------------------------------------- */

static int ratchet_new(const struct ratchet_start *start, const struct secret *secret,
                       struct ratchet **ret_ratchet)
{
    struct ratchet *ratchet = guarded_new(sizeof(*ratchet));

    if (!ratchet)
        return AICO_ENOMEM;
    ratchet->alive = RATCHET_ALIVE;
    ratchet_id(start->root, ratchet->id);
    memcpy(ratchet->self, start->self, SIGN_PUBLIC_SIZE);
    memcpy(ratchet->peer, start->peer, SIGN_PUBLIC_SIZE);
    ratchet->t0_ms = start->t0_ms;
    ratchet->root = *start->root;
    ratchet->secret = *secret;
    dh_public(secret, ratchet->public);
    if (start->init)
        memcpy(ratchet->init, start->init, RATCHET_INIT_SIZE);
    *ret_ratchet = ratchet;
    return 0;
}

int ratchet_begin(const struct ratchet_start *start, const uint8_t peer_public[DH_PUBLIC_SIZE],
                  const struct secret *secret, struct ratchet **ret_ratchet)
{
    CLEANUP(ratchet_free)
    struct ratchet *ratchet = NULL;
    CLEANUP(secret_wipe)
    struct secret dh;
    int r = dh_shared(secret, peer_public, &dh);

    if (r == 0)
        r = ratchet_new(start, secret, &ratchet);
    if (r < 0)
        return r;
    root_step(&ratchet->root, &dh, &ratchet->send);
    memcpy(ratchet->peer_public, peer_public, DH_PUBLIC_SIZE);
    ratchet->has_init = start->init != NULL;
    *ret_ratchet = STEAL(ratchet);
    return 0;
}

int ratchet_await(const struct ratchet_start *start, const struct secret *secret,
                  struct ratchet **ret_ratchet)
{
    int r = ratchet_new(start, secret, ret_ratchet);

    if (r == 0)
        (*ret_ratchet)->received = start->init != NULL;
    return r;
}

void ratchet_free(struct ratchet **ratchet)
{
    if (!*ratchet)
        return;
    guarded_free(&(*ratchet)->skipped);
    guarded_free(ratchet);
}

/* --- the stored form ------------------------------------------------------------------------ */

static void write_chain(struct writer *w, const struct ratchet_chain *chain)
{
    writer_bytes(w, secret_view(&chain->key));
    writer_u32(w, chain->next);
}

static void chain_wipe(struct ratchet_chain *chain)
{
    memory_wipe(chain, sizeof(*chain));
}

/* The sending chain behind every number that may have been used. */
static void chain_reserved(const struct ratchet *ratchet, struct ratchet_chain *ret_chain)
{
    CLEANUP(secret_wipe)
    struct secret unused;

    *ret_chain = ratchet->send;
    while (ret_chain->begun && ret_chain->next < ratchet->reserved)
        chain_step(ret_chain, &unused);
}

static void write_skipped(struct writer *w, const struct ratchet *ratchet)
{
    writer_u32(w, (uint32_t)ratchet->skipped_count);
    for (size_t i = 0; i < ratchet->skipped_count; i++) {
        const struct ratchet_skipped *skipped = &ratchet->skipped[i];

        writer_bytes(w, secret_view(&skipped->key));
        writer_bytes(w, bytes_of(skipped->public, DH_PUBLIC_SIZE));
        writer_u32(w, skipped->number);
        writer_u64(w, (uint64_t)skipped->until_ms);
    }
}

int ratchet_write(const struct ratchet *ratchet, struct buffer *to)
{
    size_t room = STATE_FIXED_MAX + RATCHET_INIT_SIZE + ratchet->skipped_count * SKIPPED_STORED;
    struct writer w = writer_over(buffer_reserve(to, room), room);
    CLEANUP(chain_wipe)
    struct ratchet_chain send;

    if (!w.at)
        return AICO_ENOMEM;
    chain_reserved(ratchet, &send);
    writer_u8(&w, STATE_VERSION);
    writer_u8(
        &w, (uint8_t)((send.begun ? STATE_SEND : 0) | (ratchet->receive.begun ? STATE_RECEIVE : 0) |
                      (ratchet->heard ? STATE_HEARD : 0) | (ratchet->has_init ? STATE_INIT : 0) |
                      (ratchet->received ? STATE_RECEIVED : 0)));
    writer_bytes(&w, bytes_of(ratchet->id, RATCHET_ID_SIZE));
    writer_bytes(&w, bytes_of(ratchet->self, SIGN_PUBLIC_SIZE));
    writer_bytes(&w, bytes_of(ratchet->peer, SIGN_PUBLIC_SIZE));
    writer_u64(&w, (uint64_t)ratchet->t0_ms);
    writer_bytes(&w, secret_view(&ratchet->root));
    writer_bytes(&w, secret_view(&ratchet->secret));
    writer_bytes(&w, bytes_of(ratchet->peer_public, DH_PUBLIC_SIZE));
    writer_bytes(&w, bytes_of(ratchet->former, sizeof(ratchet->former)));
    write_chain(&w, &send);
    write_chain(&w, &ratchet->receive);
    writer_u32(&w, ratchet->previous);
    if (ratchet->has_init || ratchet->received)
        writer_bytes(&w, bytes_of(ratchet->init, RATCHET_INIT_SIZE));
    write_skipped(&w, ratchet);
    to->size += w.size;
    return 0;
}

static void parse_chain(struct reader *r, bool begun, struct ratchet_chain *chain)
{
    reader_copy(r, chain->key.at, SECRET_SIZE);
    chain->next = reader_u32(r);
    chain->begun = begun;
}

/* Room for @count skipped keys; 0 or AICO_ENOMEM. */
static int reserve_skipped(struct ratchet *ratchet, size_t count)
{
    size_t capacity = MAX(ratchet->skipped_capacity, (size_t)16);
    struct ratchet_skipped *grown;

    if (count <= ratchet->skipped_capacity)
        return 0;
    while (capacity < count)
        capacity *= 2;
    grown = guarded_new(capacity * sizeof(*grown));
    if (!grown)
        return AICO_ENOMEM;
    if (ratchet->skipped_count > 0)
        memcpy(grown, ratchet->skipped, ratchet->skipped_count * sizeof(*grown));
    guarded_free(&ratchet->skipped);
    ratchet->skipped = grown;
    ratchet->skipped_capacity = capacity;
    return 0;
}

static int parse_skipped(struct reader *r, struct ratchet *ratchet)
{
    uint32_t count = reader_u32(r);

    if (r->failed || count > RATCHET_SKIPPED_MAX || r->left != (size_t)count * SKIPPED_STORED)
        return AICO_EFORMAT;
    if (reserve_skipped(ratchet, count) < 0)
        return AICO_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        struct ratchet_skipped *skipped = &ratchet->skipped[i];

        reader_copy(r, skipped->key.at, SECRET_SIZE);
        reader_copy(r, skipped->public, DH_PUBLIC_SIZE);
        skipped->number = reader_u32(r);
        skipped->until_ms = (int64_t)reader_u64(r);
    }
    ratchet->skipped_count = count;
    return 0;
}

static int parse_into(struct bytes state, struct ratchet *ratchet)
{
    struct reader r = reader_over(state);
    uint8_t version = reader_u8(&r), flags = reader_u8(&r);

    if (version != STATE_VERSION || flags > STATE_RECEIVED * 2 - 1 ||
        (flags & STATE_INIT && flags & STATE_RECEIVED))
        return AICO_EFORMAT;
    reader_copy(&r, ratchet->id, RATCHET_ID_SIZE);
    reader_copy(&r, ratchet->self, SIGN_PUBLIC_SIZE);
    reader_copy(&r, ratchet->peer, SIGN_PUBLIC_SIZE);
    ratchet->t0_ms = (int64_t)reader_u64(&r);
    reader_copy(&r, ratchet->root.at, SECRET_SIZE);
    reader_copy(&r, ratchet->secret.at, SECRET_SIZE);
    reader_copy(&r, ratchet->peer_public, DH_PUBLIC_SIZE);
    reader_copy(&r, ratchet->former, sizeof(ratchet->former));
    parse_chain(&r, flags & STATE_SEND, &ratchet->send);
    parse_chain(&r, flags & STATE_RECEIVE, &ratchet->receive);
    ratchet->previous = reader_u32(&r);
    ratchet->heard = flags & STATE_HEARD;
    ratchet->has_init = flags & STATE_INIT;
    ratchet->received = flags & STATE_RECEIVED;
    if (flags & (STATE_INIT | STATE_RECEIVED))
        reader_copy(&r, ratchet->init, RATCHET_INIT_SIZE);
    ratchet->reserved = ratchet->send.next;
    dh_public(&ratchet->secret, ratchet->public);
    return parse_skipped(&r, ratchet);
}

int ratchet_parse(struct bytes state, struct ratchet **ret_ratchet)
{
    CLEANUP(ratchet_free)
    struct ratchet *ratchet = guarded_new(sizeof(*ratchet));
    int r;

    if (!ratchet)
        return AICO_ENOMEM;
    ratchet->alive = RATCHET_ALIVE;
    r = parse_into(state, ratchet);
    if (r < 0)
        return r;
    *ret_ratchet = STEAL(ratchet);
    return 0;
}

/* --- sealing -------------------------------------------------------------------------------- */

bool ratchet_needs_reserve(const struct ratchet *ratchet)
{
    return ratchet->send.next >= ratchet->reserved;
}

void ratchet_reserve(struct ratchet *ratchet)
{
    uint32_t next = ratchet->send.next;

    ratchet->reserved = next > UINT32_MAX - RATCHET_RESERVE ? UINT32_MAX : next + RATCHET_RESERVE;
}

void ratchet_release(struct ratchet *ratchet)
{
    ratchet->reserved = ratchet->send.next;
}

bool ratchet_can_seal(const struct ratchet *ratchet, struct moment now)
{
    int64_t life_ms = ratchet->has_init && !ratchet->heard ? RATCHET_UNHEARD_MS : RATCHET_LIFE_MS;

    return ratchet->alive == RATCHET_ALIVE && ratchet->send.begun &&
           now.real_ms - ratchet->t0_ms < life_ms;
}

static void context_of(const struct ratchet *ratchet, const struct session_settings *settings,
                       const struct ratchet_message *message, bool sending,
                       uint8_t ret_context[HASH_SIZE])
{
    envelope_context_hash(
        &(struct envelope_context){.kind = ENVELOPE_CONTEXT_RATCHET,
                                   .delivery = message->delivery,
                                   .sender = sending ? ratchet->self : ratchet->peer,
                                   .receiver = sending ? ratchet->peer : ratchet->self,
                                   .ref = message->ref,
                                   .topic = message->topic,
                                   .namespace = settings->namespace},
        ret_context);
}

static void write_ref(const uint8_t *id, const uint8_t *public, uint32_t number,
                      uint8_t ret_ref[ENVELOPE_REF_SIZE])
{
    uint8_t room[RATCHET_ID_SIZE + DH_PUBLIC_SIZE + 4];
    struct writer w = writer_over(room, sizeof(room));

    writer_bytes(&w, bytes_of(id, RATCHET_ID_SIZE));
    writer_bytes(&w, bytes_of(public, DH_PUBLIC_SIZE));
    writer_u32(&w, number);
    hash_tagged_n("ratchet ref", writer_view(&w), ret_ref, ENVELOPE_REF_SIZE);
}

static const uint8_t *envelope_public(const struct envelope *e)
{
    return e->metadata.at + e->metadata.size - DH_PUBLIC_SIZE;
}

void ratchet_ref(const struct envelope *e, uint8_t ret_ref[ENVELOPE_REF_SIZE])
{
    write_ref(e->key_id.at, envelope_public(e), e->sequence, ret_ref);
}

int ratchet_seal(struct ratchet *ratchet, const struct session_settings *settings,
                 struct moment now, const struct ratchet_message *message, struct writer *out,
                 uint8_t *ret_ref)
{
    bool first = ratchet->has_init && !ratchet->heard;
    uint8_t metadata[RATCHET_INIT_SIZE + DH_PUBLIC_SIZE], context[HASH_SIZE];
    struct writer w = writer_over(metadata, sizeof(metadata));
    CLEANUP(chain_wipe)
    struct ratchet_chain next = ratchet->send;
    CLEANUP(aead_key_wipe)
    struct aead_key key;
    CLEANUP(secret_wipe)
    struct secret message_key;
    int r;

    if (ratchet->alive != RATCHET_ALIVE)
        return AICO_EFORKED;
    if (next.next == UINT32_MAX)
        return AICO_ELIMIT;
    if (!ratchet_can_seal(ratchet, now) || ratchet_needs_reserve(ratchet))
        return AICO_ESTATE;
    if (first)
        writer_bytes(&w, bytes_of(ratchet->init, RATCHET_INIT_SIZE));
    writer_bytes(&w, bytes_of(ratchet->public, DH_PUBLIC_SIZE));
    context_of(ratchet, settings, message, true, context);
    chain_step(&next, &message_key);
    envelope_key_init(&key, &message_key, ratchet->id, ratchet->previous);
    r = envelope_seal(&(struct envelope_seal_input){.key = &key,
                                                    .time = time_since(ratchet->t0_ms, now),
                                                    .sequence = ratchet->send.next,
                                                    .format = first ? ENVELOPE_FORMAT_INIT
                                                                    : ENVELOPE_FORMAT_RATCHET,
                                                    .padded = settings->padding,
                                                    .has_headers = message->has_headers,
                                                    .context = context,
                                                    .metadata = writer_view(&w),
                                                    .headers = message->headers,
                                                    .payload = message->payload,
                                                    .content_max = settings->max_message_size},
                      out);
    if (r == 0 && ret_ref)
        write_ref(ratchet->id, ratchet->public, ratchet->send.next, ret_ref);
    if (r == 0)
        ratchet->send = next;
    return r;
}

/* --- opening -------------------------------------------------------------------------------- */

/* What an envelope would change, on the side. */
struct attempt {
    struct ratchet_chain receive, send;
    struct secret root, key; /* key: of this message */
    bool turned;
    struct ratchet_skipped *skipped; /* guarded */
    size_t skipped_count;
};

static void attempt_wipe(struct attempt *attempt)
{
    guarded_free(&attempt->skipped);
    memory_wipe(attempt, sizeof(*attempt));
}

static int open_with(const struct ratchet *ratchet, const struct session_settings *settings,
                     const struct envelope *e, const struct ratchet_message *expected,
                     const struct secret *message_key, uint8_t *plain, struct bytes *ret_content)
{
    uint8_t context[HASH_SIZE];
    CLEANUP(aead_key_wipe)
    struct aead_key key;

    context_of(ratchet, settings, expected, false, context);
    envelope_key_init(&key, message_key, ratchet->id, e->epoch);
    return envelope_open(
        e,
        &(struct envelope_open_input){.key = &key,
                                      .context = context,
                                      .rule = {.formats = ENVELOPE_ALLOW(ENVELOPE_FORMAT_RATCHET) |
                                                          ENVELOPE_ALLOW(ENVELOPE_FORMAT_INIT),
                                               .padded = settings->padding,
                                               .trailer_kind = ENVELOPE_TRAILER_NONE}},
        plain, ret_content);
}

static struct ratchet_skipped *skipped_find(struct ratchet *ratchet, const uint8_t *public,
                                            uint32_t number)
{
    for (size_t i = 0; i < ratchet->skipped_count; i++)
        if (ratchet->skipped[i].number == number &&
            memcmp(ratchet->skipped[i].public, public, DH_PUBLIC_SIZE) == 0)
            return &ratchet->skipped[i];
    return NULL;
}

static void skipped_drop(struct ratchet *ratchet, size_t at, size_t count)
{
    struct ratchet_skipped *from = ratchet->skipped + at;
    size_t behind = ratchet->skipped_count - at - count;

    memmove(from, from + count, behind * sizeof(*from));
    memory_wipe(from + behind, count * sizeof(*from));
    ratchet->skipped_count -= count;
}

/* The keys of @chain up to number @to, set aside. */
static void skip_to(struct attempt *attempt, struct ratchet_chain *chain, const uint8_t *public,
                    uint32_t to, struct moment now)
{
    while (chain->next < to) {
        struct ratchet_skipped *skipped = &attempt->skipped[attempt->skipped_count++];

        memcpy(skipped->public, public, DH_PUBLIC_SIZE);
        skipped->number = chain->next;
        skipped->until_ms = now.real_ms + RATCHET_SKIPPED_KEEP_MS;
        chain_step(chain, &skipped->key);
    }
}

static bool is_former(const struct ratchet *ratchet, const uint8_t *public)
{
    for (size_t i = 0; i < RATCHET_FORMER; i++)
        if (memcmp(ratchet->former[i], public, DH_PUBLIC_SIZE) == 0)
            return true;
    return false;
}

/* How many numbers would be skipped, in the chain that ends and in the one that goes on. */
static int count_skipped(const struct ratchet *ratchet, const struct envelope *e, bool turned,
                         size_t max_skipped, size_t *ret_ended, size_t *ret_going_on)
{
    uint32_t next = ratchet->receive.next;

    if (turned && is_former(ratchet, envelope_public(e)))
        return AICO_EREPLAY;
    if (!turned && e->sequence < next)
        return AICO_EREPLAY;
    /* What we have opened of the chain that ends was sealed before its length was said. */
    if (turned && ratchet->receive.begun && e->epoch < next)
        return AICO_EOPEN;
    *ret_ended = turned && ratchet->receive.begun ? e->epoch - next : 0;
    *ret_going_on = turned ? e->sequence : e->sequence - next;
    return *ret_ended > max_skipped || *ret_going_on > max_skipped ? AICO_ESKIP : 0;
}

/* The peer's key is new: both chains begin anew. */
static int turn(const struct ratchet *ratchet, const uint8_t *public, struct attempt *attempt,
                const struct secret *fresh_secret)
{
    CLEANUP(secret_wipe)
    struct secret dh;
    int r = dh_shared(&ratchet->secret, public, &dh);

    if (r < 0)
        return r;
    root_step(&attempt->root, &dh, &attempt->receive);
    r = dh_shared(fresh_secret, public, &dh);
    if (r < 0)
        return r;
    root_step(&attempt->root, &dh, &attempt->send);
    return 0;
}

/* Derives the key of @e's number on the side. */
static int derive(const struct ratchet *ratchet, struct moment now, const struct envelope *e,
                  size_t max_skipped, const struct secret *fresh_secret, struct attempt *attempt)
{
    const uint8_t *public = envelope_public(e);
    size_t ended = 0, going_on = 0;
    int r;

    attempt->turned =
        !ratchet->receive.begun || memcmp(public, ratchet->peer_public, DH_PUBLIC_SIZE) != 0;
    r = count_skipped(ratchet, e, attempt->turned, max_skipped, &ended, &going_on);
    if (r < 0)
        return r;
    if (ended + going_on > 0) {
        attempt->skipped = guarded_new((ended + going_on) * sizeof(*attempt->skipped));
        if (!attempt->skipped)
            return AICO_ENOMEM;
    }
    attempt->root = ratchet->root;
    attempt->receive = ratchet->receive;
    attempt->send = ratchet->send;
    if (attempt->turned) {
        if (ratchet->receive.begun)
            skip_to(attempt, &attempt->receive, ratchet->peer_public, e->epoch, now);
        r = turn(ratchet, public, attempt, fresh_secret);
        if (r < 0)
            return r;
    }
    skip_to(attempt, &attempt->receive, public, e->sequence, now);
    chain_step(&attempt->receive, &attempt->key);
    return 0;
}

/* The envelope opened: what was derived on the side is the state. Room was reserved. */
static void take_over(struct ratchet *ratchet, const struct envelope *e,
                      const struct attempt *attempt, const struct secret *fresh_secret,
                      size_t max_kept)
{
    size_t all = ratchet->skipped_count + attempt->skipped_count;

    if (attempt->skipped_count > 0)
        memcpy(ratchet->skipped + ratchet->skipped_count, attempt->skipped,
               attempt->skipped_count * sizeof(*ratchet->skipped));
    ratchet->skipped_count = all;
    if (all > max_kept)
        skipped_drop(ratchet, 0, all - max_kept);
    ratchet->receive = attempt->receive;
    ratchet->heard = true;
    if (!attempt->turned)
        return;
    memmove(ratchet->former[1], ratchet->former[0], sizeof(ratchet->former) - DH_PUBLIC_SIZE);
    memcpy(ratchet->former[0], ratchet->peer_public, DH_PUBLIC_SIZE);
    memcpy(ratchet->peer_public, envelope_public(e), DH_PUBLIC_SIZE);
    ratchet->root = attempt->root;
    ratchet->previous = ratchet->send.begun ? ratchet->send.next : 0;
    ratchet->send = attempt->send;
    ratchet->reserved = 0;
    ratchet->secret = *fresh_secret;
    dh_public(fresh_secret, ratchet->public);
}

/* One that was skipped before. */
static int open_skipped(struct ratchet *ratchet, const struct session_settings *settings,
                        const struct envelope *e, const struct ratchet_message *expected,
                        struct ratchet_skipped *skipped, uint8_t *plain,
                        struct ratchet_opened *opened)
{
    int r = open_with(ratchet, settings, e, expected, &skipped->key, plain, &opened->content);

    if (r == 0)
        skipped_drop(ratchet, (size_t)(skipped - ratchet->skipped), 1);
    return r;
}

static int open_ahead(struct ratchet *ratchet, const struct session_settings *settings,
                      struct moment now, const struct envelope *e,
                      const struct ratchet_message *expected, size_t max_skipped,
                      const struct secret *fresh_secret, uint8_t *plain,
                      struct ratchet_opened *opened)
{
    CLEANUP(attempt_wipe)
    struct attempt attempt = {0};
    int r = derive(ratchet, now, e, max_skipped, fresh_secret, &attempt);

    if (r == 0)
        r = reserve_skipped(ratchet, ratchet->skipped_count + attempt.skipped_count);
    if (r == 0)
        r = open_with(ratchet, settings, e, expected, &attempt.key, plain, &opened->content);
    if (r < 0)
        return r;
    opened->turned = attempt.turned;
    opened->passed_over = attempt.skipped_count;
    take_over(ratchet, e, &attempt, fresh_secret, 2 * max_skipped);
    return 0;
}

int ratchet_open(struct ratchet *ratchet, const struct session_settings *settings,
                 struct moment now, const struct envelope *e,
                 const struct ratchet_message *expected, size_t max_skipped,
                 const struct secret *fresh_secret, uint8_t *plain,
                 struct ratchet_opened *ret_opened)
{
    struct ratchet_opened opened = {.sent_ms = ratchet->t0_ms + e->time, .number = e->sequence};
    struct ratchet_skipped *skipped;
    int r;

    if (ratchet->alive != RATCHET_ALIVE)
        return AICO_EFORKED;
    if (e->padded != settings->padding)
        return AICO_EPADDING;
    skipped = skipped_find(ratchet, envelope_public(e), e->sequence);
    if (skipped)
        r = open_skipped(ratchet, settings, e, expected, skipped, plain, &opened);
    else
        r = open_ahead(ratchet, settings, now, e, expected, max_skipped, fresh_secret, plain,
                       &opened);
    if (r == 0)
        *ret_opened = opened;
    return r;
}

uint32_t ratchet_first_numbers(const struct ratchet *ratchet)
{
    static const uint8_t zeros[DH_PUBLIC_SIZE];

    /* It turned again: the first chain has ended. */
    if (memcmp(ratchet->former[0], zeros, sizeof(zeros)) != 0)
        return UINT32_MAX;
    return ratchet->receive.begun ? ratchet->receive.next : 0;
}

bool ratchet_expire(struct ratchet *ratchet, struct moment now)
{
    size_t old = 0;

    while (old < ratchet->skipped_count && ratchet->skipped[old].until_ms <= now.real_ms)
        old++;
    if (old > 0)
        skipped_drop(ratchet, 0, old);
    return old > 0;
}
