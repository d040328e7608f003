/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stored messages. The publisher's side: whoever may read a rule with `history` is left the
 * beginning of each generation, sealed for its reading key. The reader's side: what was left for
 * us, and envelopes that come in any order, long after they were sealed.
 */
#include <stdlib.h>

#include "crypto/kdf.h"
#include "session/peers_internal.h"
#include "wire/stream_record.h"

#define STORED_STEPS_MAX 100000 /* epochs from what we hold; 30 ms, once a generation */
#define STORED_READERS_MAX 4096

struct stored_secret {
    struct secret base; /* the chain key of base_epoch: the earliest that is still needed */
    struct secret chain;
    uint32_t base_epoch, chain_epoch; /* of `chain`, where we were last */
};

static void entries_wipe(struct buffer *entries)
{
    buffer_deinit(entries);
}

/* --- the publisher -------------------------------------------------------------------------- */

/* What @identity wants to be sealed for. Until it has come with a new key that is the reading key
 * of the last one before that it came with: it has both (docs/decisions/0120). */
static const struct known_reading *reading_of(const struct sessions *s, const uint8_t *identity)
{
    const struct component *reader = registry_find_identity(s->registry, identity);
    struct known_reading *known;

    HASH_FIND(hh, s->readings, identity, SIGN_PUBLIC_SIZE, known);
    while (!known && reader && (reader = registry_replaced(s->registry, reader)) != NULL)
        HASH_FIND(hh, s->readings, reader->identity, SIGN_PUBLIC_SIZE, known);
    return known;
}

/* One KEYS record around @count @entries: handed in now, and again with the next link. */
static void hand_in(struct sessions *s, struct publication *p, struct bytes entries, uint8_t count)
{
    uint32_t size = (uint32_t)(KEY_ID_BYTES + 1 + entries.size);
    struct writer w =
        writer_over(buffer_reserve(&p->keys, sizeof(size) + size), sizeof(size) + size);

    if (!w.at) {
        s->out_of_memory = true;
        return;
    }
    writer_bytes(&w, bytes_of(&size, sizeof(size))); /* host order: it stays here */
    writer_bytes(&w, bytes_of(p->group->id, GROUP_ID_SIZE));
    writer_u8(&w, count);
    writer_bytes(&w, entries);
    p->keys.size += w.size;
    if (s->link)
        event_push(s, &(struct session_event){.type = SESSION_STORE_KEYS,
                                              .bytes = bytes_of(w.at + sizeof(size), size)});
}

static int add_entry(struct sessions *s, const struct publication *p, const uint8_t *reader,
                     const struct reading *reading, struct buffer *entries)
{
    CLEANUP(entries_wipe)
    struct buffer key = {0};
    const struct group *group = p->group;
    struct stored_generation g = {
        .generation = group->generation,
        .trailer = group->trailer,
        .padded = group->padded,
        .filter = bytes_of(group->filter, group->filter_size),
    };
    uint8_t size[2];
    int r;

    memcpy(g.id, group->id, sizeof(g.id));
    r = stored_key_write(s->self, s->settings.namespace, s->hedge, &g, &group->secret->start,
                         reader, reading, &key);
    if (r < 0)
        return r;
    size[0] = (uint8_t)(key.size >> 8);
    size[1] = (uint8_t)key.size;
    if (buffer_append(entries, bytes_of(reader, SIGN_PUBLIC_SIZE)) < 0 ||
        buffer_append(entries, bytes_of(size, sizeof(size))) < 0)
        return AICO_ENOMEM;
    return buffer_append(entries, buffer_view(&key));
}

/* A member whose stored messages cannot be sealed for it: told, since it may never read them. */
static void say_unreadable(struct sessions *s, const uint8_t *identity, int code)
{
    const struct component *c = registry_find_identity(s->registry, identity);

    event_notice(
        s, bytes_text(c ? c->name : ""), code,
        "has no reading key here: what is stored for it now opens only while we are there");
}

void stored_begin(struct sessions *s, struct publication *p)
{
    CLEANUP(entries_wipe)
    struct buffer entries = {0};
    uint8_t count = 0;

    buffer_deinit(&p->former_keys);
    p->former_keys = p->keys;
    p->keys = (struct buffer){0};
    for (size_t i = 0; p->group->stored && i < p->group->member_count; i++) {
        const uint8_t *identity = p->group->members[i].identity;
        const struct known_reading *known = reading_of(s, identity);
        int r = known ? add_entry(s, p, identity, &known->reading, &entries) : AICO_ENOPREKEY;

        if (r < 0)
            say_unreadable(s, identity, r);
        else
            count++;
        if (count == STORED_KEYS_MAX) {
            hand_in(s, p, buffer_view(&entries), count);
            entries.size = count = 0;
        }
    }
    if (count > 0)
        hand_in(s, p, buffer_view(&entries), count);
}

static void hand_in_again(struct sessions *s, struct bytes keys)
{
    while (keys.size > 0) {
        uint32_t size;

        memcpy(&size, keys.at, sizeof(size));
        event_push(s, &(struct session_event){.type = SESSION_STORE_KEYS,
                                              .bytes = bytes_of(keys.at + sizeof(size), size)});
        keys = bytes_of(keys.at + sizeof(size) + size, keys.size - sizeof(size) - size);
    }
}

void stored_link_up(struct sessions *s)
{
    for (struct publication *p = s->publications; p; p = p->hh.next) {
        hand_in_again(s, buffer_view(&p->former_keys));
        hand_in_again(s, buffer_view(&p->keys));
    }
}

/* @known is new, or another one: live generations are left for it, too. */
static void leave_for(struct sessions *s, const struct known_reading *known)
{
    for (struct publication *p = s->publications; p; p = p->hh.next) {
        CLEANUP(entries_wipe)
        struct buffer entries = {0};

        if (!p->group->stored || !group_member_find(p->group, known->identity))
            continue;
        if (add_entry(s, p, known->identity, &known->reading, &entries) == 0)
            hand_in(s, p, buffer_view(&entries), 1);
    }
}

void sessions_take_reading(struct sessions *s, struct moment now UNUSED,
                           const uint8_t identity[SIGN_PUBLIC_SIZE], struct bytes statement)
{
    struct known_reading *known = NULL;
    struct reading reading;
    int r;

    if (statement.size == 0) {
        s->readings_known = true;
        return;
    }
    HASH_FIND(hh, s->readings, identity, SIGN_PUBLIC_SIZE, known);
    if (!registry_find_identity(s->registry, identity))
        return;
    r = reading_verify(statement, identity, s->settings.namespace, &reading);
    if (r < 0) {
        event_notice(s, bytes_of(NULL, 0), r, "a reading key does not verify and is not used");
        return;
    }
    if (known && (known->reading.created_ms > reading.created_ms ||
                  memcmp(known->reading.public, reading.public, sizeof(reading.public)) == 0))
        return;
    if (!known) {
        known = calloc(1, sizeof(*known));
        if (!known) {
            s->out_of_memory = true;
            return;
        }
        memcpy(known->identity, identity, SIGN_PUBLIC_SIZE);
        HASH_ADD(hh, s->readings, identity, SIGN_PUBLIC_SIZE, known);
        if (!HASH_ADDED(hh, known)) {
            free(known);
            s->out_of_memory = true;
            return;
        }
    }
    known->reading = reading;
    leave_for(s, known);
}

bool sessions_may_store(const struct sessions *s, struct bytes topic)
{
    const struct rule *rule = registry_rule_for(s->registry, topic);

    return !rule || !rule_leaves_keys(rule) || s->readings_known;
}

/* --- the reader ----------------------------------------------------------------------------- */

static struct stored_reader *stored_find(const struct sessions *s, const uint8_t *publisher,
                                         const uint8_t *id)
{
    uint8_t key[SIGN_PUBLIC_SIZE + GROUP_ID_SIZE];
    struct stored_reader *reader;

    memcpy(key, publisher, SIGN_PUBLIC_SIZE);
    memcpy(key + SIGN_PUBLIC_SIZE, id, GROUP_ID_SIZE);
    HASH_FIND(hh, s->stored, key, sizeof(key), reader);
    return reader;
}

static void stored_remove(struct sessions *s, struct stored_reader *reader)
{
    HASH_DEL(s->stored, reader);
    guarded_free(&reader->secret);
    free(reader);
}

/* The generation that is oldest makes room. */
static void make_room(struct sessions *s)
{
    struct stored_reader *reader, *oldest = s->stored;

    if (HASH_COUNT(s->stored) < STORED_READERS_MAX)
        return;
    for (reader = s->stored; reader; reader = reader->hh.next)
        if (reader->generation.generation < oldest->generation.generation)
            oldest = reader;
    stored_remove(s, oldest);
}

static int stored_add(struct sessions *s, const uint8_t *publisher,
                      const struct stored_generation *g, uint32_t epoch, const struct secret *chain)
{
    struct stored_reader *reader = stored_find(s, publisher, g->id);

    if (reader && reader->secret->base_epoch <= epoch)
        return 0;
    if (!reader) {
        make_room(s);
        reader = calloc(1, sizeof(*reader));
        if (!reader || !(reader->secret = guarded_new(sizeof(*reader->secret)))) {
            free(reader);
            return AICO_ENOMEM;
        }
        memcpy(reader->key, publisher, SIGN_PUBLIC_SIZE);
        memcpy(reader->key + SIGN_PUBLIC_SIZE, g->id, GROUP_ID_SIZE);
        HASH_ADD(hh, s->stored, key, sizeof(reader->key), reader);
        if (!HASH_ADDED(hh, reader)) {
            guarded_free(&reader->secret);
            free(reader);
            return AICO_ENOMEM;
        }
        reader->generation = *g;
        bytes_copy(reader->filter, g->filter);
        reader->generation.filter = bytes_of(reader->filter, g->filter.size);
    }
    reader->secret->base = reader->secret->chain = *chain;
    reader->secret->base_epoch = reader->secret->chain_epoch = epoch;
    return 0;
}

/* --- chains that outlive us --------------------------------------------------------------------
 */

/*
 * Without `history` a chain is all there is, and only we have it: byte[32] publisher, u64
 * generation, byte[12] id, u8 trailer, u8 padded, u32 epoch, byte[32] chain key, lp16 filter;
 * repeated.
 */
#define CHAIN_FIXED (SIGN_PUBLIC_SIZE + 8 + GROUP_ID_SIZE + 1 + 1 + 4 + SECRET_SIZE + 2)

/* Whether something of this generation may still be stored. */
static bool is_wanted(const struct sessions *s, struct moment now,
                      const struct stored_generation *g)
{
    const struct rule *rule = registry_rule_named(s->registry, g->filter);

    return rule && rule->store.on && !rule->history &&
           (rule->store.age_s == 0 || (int64_t)g->generation +
                                              s->settings.key_rotation_interval_ms +
                                              (int64_t)rule->store.age_s * 1000 >
                                          now.real_ms);
}

static void persist_chains(struct sessions *s, struct moment now)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer out = {0};
    struct stored_reader *reader;

    for (reader = s->stored; reader; reader = reader->hh.next) {
        const struct stored_generation *g = &reader->generation;
        size_t size = CHAIN_FIXED + g->filter.size;
        struct writer w;

        if (!is_wanted(s, now, g))
            continue;
        w = writer_over(buffer_reserve(&out, size), size);
        if (!w.at) {
            s->out_of_memory = true;
            return;
        }
        writer_bytes(&w, bytes_of(reader->key, SIGN_PUBLIC_SIZE));
        writer_u64(&w, g->generation);
        writer_bytes(&w, bytes_of(g->id, GROUP_ID_SIZE));
        writer_u8(&w, g->trailer);
        writer_u8(&w, g->padded);
        writer_u32(&w, reader->secret->base_epoch);
        writer_bytes(&w, secret_view(&reader->secret->base));
        writer_lp16(&w, g->filter);
        out.size += w.size;
    }
    event_push(s,
               &(struct session_event){.type = SESSION_PERSIST_CHAINS, .bytes = buffer_view(&out)});
}

int sessions_load_chains(struct sessions *s, struct moment now, struct bytes chains)
{
    struct reader r = reader_over(chains);

    while (r.left > 0) {
        CLEANUP(secret_wipe)
        struct secret chain = {0};
        struct stored_generation g = {0};
        struct bytes publisher = reader_bytes(&r, SIGN_PUBLIC_SIZE);
        uint8_t padded;
        uint32_t epoch;
        int code = 0;

        g.generation = reader_u64(&r);
        reader_copy(&r, g.id, sizeof(g.id));
        g.trailer = reader_u8(&r);
        padded = reader_u8(&r);
        g.padded = padded == 1;
        epoch = reader_u32(&r);
        reader_copy(&r, chain.at, SECRET_SIZE);
        g.filter = reader_lp16(&r);
        if (r.failed || g.filter.size == 0 || g.filter.size > TOPIC_SIZE_MAX || padded > 1 ||
            g.generation > GENERATION_MAX || g.trailer > ENVELOPE_TRAILER_SIGNATURE)
            return AICO_EFORMAT;
        if (is_wanted(s, now, &g))
            code = stored_add(s, publisher.at, &g, epoch, &chain);
        if (code < 0)
            return code;
    }
    return 0;
}

void sessions_take_stored_key(struct sessions *s, struct bytes name,
                              const uint8_t identity[SIGN_PUBLIC_SIZE], struct bytes key)
{
    CLEANUP(secret_wipe)
    struct secret g0 = {0};
    struct stored_generation g;
    const struct component *me = peers_self(s);
    int r = stored_key_open(key, s->self->public, s->settings.namespace, identity,
                            s->settings.reading_keys, &g, &g0);

    /* Left for us before our key changed: what opens it has followed us. */
    while (r == AICO_ETARGET && me && (me = registry_replaced(s->registry, me)) != NULL)
        r = stored_key_open(key, me->identity, s->settings.namespace, identity,
                            s->settings.reading_keys, &g, &g0);
    if (r == 0)
        r = stored_add(s, identity, &g, 0, &g0);
    if (r < 0)
        event_notice(s, name, r, "a key left at the broker does not open");
}

void stored_on_key(struct sessions *s, struct moment now, const uint8_t *identity,
                   const struct rule *rule, const struct control *key)
{
    const struct stored_reader *known;
    CLEANUP(secret_wipe)
    struct secret chain = {0};
    struct stored_generation g = {
        .generation = key->generation,
        .trailer = key->authenticity,
        .padded = level_pads(&s->settings, rule),
        .filter = rule->filter,
    };

    if (!rule->store.on)
        return;
    bytes_copy(chain.at, key->chain_key);
    bytes_copy(g.id, key->id);
    known = stored_find(s, identity, g.id);
    if (known && known->secret->base_epoch <= key->epoch)
        return;
    if (stored_add(s, identity, &g, key->epoch, &chain) < 0)
        s->out_of_memory = true;
    else if (!rule->history)
        persist_chains(s, now);
}

/* The chain key of @epoch, from where we were or from the beginning. */
static int chain_of(struct stored_reader *reader, uint32_t epoch, struct secret *ret_key)
{
    struct stored_secret *secret = reader->secret;
    uint32_t at = secret->chain_epoch;

    if (epoch < secret->base_epoch)
        return AICO_EEPOCHBACK;
    if (epoch - secret->base_epoch > STORED_STEPS_MAX)
        return AICO_EEPOCHJUMP;
    *ret_key = epoch >= at ? secret->chain : secret->base;
    for (at = epoch >= at ? at : secret->base_epoch; at < epoch; at++)
        kdf(ret_key, "group step", bytes_of(NULL, 0), ret_key);
    return 0;
}

/* Keys for one envelope. */
struct stored_keys {
    struct secret chain, topic, commit;
    struct aead_key key;
};

static void stored_keys_wipe(struct stored_keys *keys)
{
    memory_wipe(keys, sizeof(*keys));
}

static int open_envelope(struct sessions *s, struct stored_reader *reader, struct bytes topic,
                         uint8_t delivery, const struct envelope *e, uint8_t *plain,
                         struct bytes *ret_content)
{
    CLEANUP(stored_keys_wipe)
    struct stored_keys keys = {0};
    uint8_t context[HASH_SIZE];
    struct envelope_open_input in = {
        .key = &keys.key,
        .commit = &keys.commit,
        .rule = {ENVELOPE_ALLOW(ENVELOPE_FORMAT_MESSAGE) | ENVELOPE_ALLOW(ENVELOPE_FORMAT_BATCH),
                 reader->generation.padded, reader->generation.trailer},
        .context = context,
        .publisher = reader->key,
        .slot = ENVELOPE_NO_SLOT,
    };
    int r = envelope_check(e, &in.rule);

    if (r == 0 && level_is_maximum(&s->settings) &&
        reader->generation.trailer != ENVELOPE_TRAILER_SIGNATURE)
        r = AICO_EAUTHENTICITY; /* published at a lower level */
    if (r == 0)
        r = chain_of(reader, e->epoch, &keys.chain);
    if (r < 0)
        return r;
    kdf(&keys.chain, "group topic", topic, &keys.topic);
    envelope_key_init(&keys.key, &keys.topic, reader->key + SIGN_PUBLIC_SIZE, e->epoch);
    envelope_commit(&keys.topic, &keys.commit);
    envelope_context_hash(&(struct envelope_context){.kind = ENVELOPE_CONTEXT_GROUP,
                                                     .delivery = delivery,
                                                     .sender = reader->key,
                                                     .topic = topic,
                                                     .namespace = s->settings.namespace},
                          context);
    r = envelope_open(e, &in, plain, ret_content);
    if (r == 0 && e->epoch > reader->secret->chain_epoch) {
        reader->secret->chain = keys.chain;
        reader->secret->chain_epoch = e->epoch;
    }
    return r;
}

static int deliver_stored(struct sessions *s, const struct peer *peer,
                          const struct stored_reader *reader, struct bytes topic, uint8_t delivery,
                          const struct envelope *e, struct bytes content, void *cookie)
{
    int64_t t0_ms = (int64_t)(reader->generation.generation - ((uint64_t)1 << 20));
    struct session_event event = {.peer = peer_name(peer),
                                  .identity = reader->key,
                                  .topic = topic,
                                  .delivery = delivery,
                                  .sent_ms = t0_ms + e->time,
                                  .sequence = e->sequence,
                                  .generation = reader->generation.generation,
                                  .cookie = cookie};
    struct writer ref = writer_over(event.ref, sizeof(event.ref));

    writer_bytes(&ref, e->key_id);
    writer_u32(&ref, e->sequence);
    return event_messages(s, e, content, 0, NULL, &event);
}

int stored_open(struct sessions *s, struct moment now UNUSED, struct peer *peer,
                const struct component *publisher, struct bytes topic, uint8_t delivery,
                const struct envelope *e, void *cookie)
{
    struct stored_reader *reader = stored_find(s, publisher->identity, e->key_id.at);
    const struct component *me = peers_self(s);
    const struct rule *rule = registry_rule_for(s->registry, topic);
    struct bytes content;
    struct plain plain;
    int r = AICO_ENOMEM;

    if (!rule || !me || !rule_allows(rule, me, RIGHT_SUBSCRIBE))
        return AICO_EDENIED;
    if (!reader)
        return AICO_EKEY;
    if (!filter_matches(reader->generation.filter, topic))
        return AICO_EOPEN;
    if (plain_take(s, e->sealed.size, &plain))
        r = open_envelope(s, reader, topic, delivery, e, plain.at, &content);
    if (r == 0)
        r = deliver_stored(s, peer, reader, topic, delivery, e, content, cookie);
    plain_give(s, &plain);
    if (r == AICO_EOPEN && ++reader->failures >= FAILURES_MAX)
        stored_remove(s, reader);
    return r;
}

bool sessions_can_open_stored(const struct sessions *s, const uint8_t *identity, struct bytes bytes)
{
    const struct stored_reader *reader;
    struct envelope e;

    if (envelope_parse(bytes, &e) < 0 ||
        (e.format != ENVELOPE_FORMAT_MESSAGE && e.format != ENVELOPE_FORMAT_BATCH))
        return false;
    reader = stored_find(s, identity, e.key_id.at);
    return reader && reader->secret->base_epoch <= e.epoch;
}

void sessions_receive_stored(struct sessions *s, struct moment now, struct bytes name,
                             const uint8_t *identity, struct bytes topic, uint8_t delivery,
                             struct bytes bytes, void *cookie)
{
    struct peer *peer = s->closed ? NULL : peer_find(s, name, true);
    const struct component *publisher = registry_find_identity(s->registry, identity);
    struct envelope e;
    int r = peer ? 0 : s->closed ? AICO_ECLOSED : AICO_EUNKNOWN;

    /* Whoever has left since, in order, may still be read. */
    if (r == 0 && (!publisher || !bytes_equal_text(name, publisher->name)))
        r = publisher ? AICO_ESTAMP : AICO_EUNKNOWN;
    if (r == 0 && publisher->state == COMPONENT_REVOKED)
        r = AICO_EREVOKED;
    if (r == 0 && bytes.size > envelope_size_max(s->settings.max_message_size))
        r = AICO_ETOOLARGE;
    if (r == 0)
        r = envelope_parse(bytes, &e);
    if (r == 0 && e.format != ENVELOPE_FORMAT_MESSAGE && e.format != ENVELOPE_FORMAT_BATCH)
        r = AICO_EFORMAT;
    if (r == 0)
        r = stored_open(s, now, peer, publisher, topic, delivery, &e, cookie);
    /* Nothing was left for us: perhaps its publisher lives. */
    if (r == AICO_EKEY && component_is_active(s->registry, publisher, now.real_ms))
        wait_for_key(s, now, peer, publisher, topic, delivery, bytes, &e, true, cookie);
    else if (r < 0)
        event_failed(s, name, topic, r, cookie);
}

/* --- life ------------------------------------------------------------------------------------- */

void stored_update(struct sessions *s, struct moment now UNUSED)
{
    struct stored_reader *reader, *next;

    HASH_ITER(hh, s->stored, reader, next)
    {
        const struct component *publisher = registry_find_identity(s->registry, reader->key);

        if (!publisher || publisher->state == COMPONENT_REVOKED)
            stored_remove(s, reader);
    }
}

void stored_free(struct sessions *s)
{
    struct stored_reader *reader, *next;
    struct known_reading *known, *after;

    HASH_ITER(hh, s->stored, reader, next)
    {
        stored_remove(s, reader);
    }
    HASH_ITER(hh, s->readings, known, after)
    {
        HASH_DEL(s->readings, known);
        free(known);
    }
}
