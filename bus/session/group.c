/* SPDX-License-Identifier: Apache-2.0 */
/* The publisher's side of a group. One owner, not thread-safe. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "crypto/kdf.h"
#include "envelope/headers.h"
#include "session/channel.h"
#include "session/group.h"
#include "session/level.h"
#include "wire/record.h"

#define GROUP_ALIVE 0x67726f75u
#define HEADS_TOPIC "$bus/heads"
#define HEADS_BODY_MAX (32 * 1024)
#define HEADS_COUNT_MAX 1000
#define HEADS_HEAD_SIZE 10 /* u64 generation, u16 count */

void group_seed_draw(struct hedge *hedge, struct moment now, uint64_t last_generation,
                     struct group_seed *ret_seed)
{
    fresh(hedge, "group", &ret_seed->g0);
    fresh(hedge, "vector", &ret_seed->vector);
    ret_seed->generation = MAX((uint64_t)now.real_ms, last_generation + 1);
}

void group_seed_wipe(struct group_seed *seed)
{
    memory_wipe(seed, sizeof(*seed));
}

int group_entitled(const struct registry *registry, const struct rule *rule,
                   const struct identity *self, struct moment now,
                   struct group_member **ret_members, size_t *ret_count)
{
    size_t total = registry_component_count(registry), count = 0;
    struct group_member *members = calloc(total ? total : 1, sizeof(*members));

    if (!members)
        return AICO_ENOMEM;
    for (size_t i = 0; i < total; i++) {
        const struct component *component = registry_component_at(registry, i);

        /* By name: our own other key, in a rotation, is no reader of ours. */
        if (strcmp(component->name, self->name) == 0 ||
            !component_is_active(registry, component, now.real_ms) ||
            !rule_allows(rule, component, RIGHT_SUBSCRIBE))
            continue;
        memcpy(members[count].identity, component->identity, SIGN_PUBLIC_SIZE);
        members[count++].slot = ENVELOPE_NO_SLOT;
    }
    *ret_members = members;
    *ret_count = count;
    return 0;
}

uint8_t group_trailer(const struct session_settings *settings, const struct rule *rule,
                      size_t count)
{
    enum rule_authenticity authenticity = level_authenticity(settings, rule);

    if (authenticity == AUTHENTICITY_GROUP)
        return ENVELOPE_TRAILER_NONE;
    if (authenticity == AUTHENTICITY_SIGNATURE || rule->history || rule->store.on)
        return ENVELOPE_TRAILER_SIGNATURE;
    if (count <= 1)
        return ENVELOPE_TRAILER_NONE;
    return count <= GROUP_VECTOR_MAX ? ENVELOPE_TRAILER_VECTOR : ENVELOPE_TRAILER_SIGNATURE;
}

/* --- life ----------------------------------------------------------------------------------- */

void group_derive_id(const struct secret *g0, uint64_t generation,
                     const uint8_t publisher[SIGN_PUBLIC_SIZE], struct bytes filter,
                     uint8_t ret_id[GROUP_ID_SIZE])
{
    CLEANUP(secret_wipe)
    struct secret id;
    uint8_t room[8 + SIGN_PUBLIC_SIZE + 2 + TOPIC_SIZE_MAX];
    struct writer w = writer_over(room, sizeof(room));

    writer_u64(&w, generation);
    writer_bytes(&w, bytes_of(publisher, SIGN_PUBLIC_SIZE));
    writer_lp16(&w, filter);
    kdf(g0, "group id", writer_view(&w), &id);
    memcpy(ret_id, id.at, GROUP_ID_SIZE);
}

bool rule_leaves_keys(const struct rule *rule)
{
    return rule->store.on && rule->history && rule->seal == SEAL_GROUP;
}

static void give_slot(struct group *group, struct group_member *member)
{
    member->slot = (uint8_t)group->vector_count;
    kdf(&group->secret->vector, "group reader", bytes_of(member->identity, SIGN_PUBLIC_SIZE),
        &group->secret->reader_keys[group->vector_count++]);
}

int group_new(const struct identity *self, const struct session_settings *settings,
              const struct rule *rule, const struct group_seed *seed, struct moment now,
              struct group_member *members, size_t member_count, struct group **ret_group)
{
    CLEANUP(group_free)
    struct group *group = calloc(1, sizeof(*group));

    if (!group) {
        free(members);
        return AICO_ENOMEM;
    }
    group->members = members;
    group->secret = guarded_new(sizeof(*group->secret));
    if (!group->secret)
        return AICO_ENOMEM;
    group->self = self;
    group->settings = *settings;
    group->filter_size = (uint8_t)rule->filter.size;
    bytes_copy(group->filter, rule->filter);
    group->generation = seed->generation;
    group->t0_ms = (int64_t)seed->generation - ((int64_t)1 << 20);
    group->started_ms = now.boot_ms;
    group->padded = level_pads(settings, rule);
    group->authenticity = level_authenticity(settings, rule);
    group->trailer = group_trailer(settings, rule, member_count);
    group->member_count = member_count;
    group->vault.size = sizeof(struct topic_secret);
    group->secret->alive = GROUP_ALIVE;
    group->secret->vector = seed->vector;
    chain_sender_init(&group->secret->chain, "group step", &seed->g0);
    group->stored = rule_leaves_keys(rule);
    if (group->stored)
        group->secret->start = seed->g0;
    group_derive_id(&seed->g0, group->generation, self->public, rule->filter, group->id);
    for (size_t i = 0; i < member_count && group->trailer == ENVELOPE_TRAILER_VECTOR; i++)
        give_slot(group, &members[i]);
    *ret_group = STEAL(group);
    return 0;
}

void group_free(struct group **group)
{
    struct group_topic *topic, *next;

    if (!*group)
        return;
    HASH_ITER(hh, (*group)->topics, topic, next)
    {
        HASH_DEL((*group)->topics, topic);
        free(topic);
    }
    vault_deinit(&(*group)->vault);
    guarded_free(&(*group)->secret);
    free((*group)->members);
    free(*group);
    *group = NULL;
}

static struct group_member *find_in(struct group_member *members, size_t count,
                                    const uint8_t *identity)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(members[i].identity, identity, SIGN_PUBLIC_SIZE) == 0)
            return &members[i];
    return NULL;
}

struct group_member *group_member_find(struct group *group,
                                       const uint8_t identity[SIGN_PUBLIC_SIZE])
{
    return find_in(group->members, group->member_count, identity);
}

/* --- epochs --------------------------------------------------------------------------------- */

/* @keep_ms: how long late requests may still get the key that is left; 0: not at all. */
static void step(struct group *group, struct moment now, int64_t keep_ms)
{
    if (keep_ms > 0)
        group->secret->previous = group->secret->chain.key;
    else
        secret_wipe(&group->secret->previous);
    group->previous_until_ms = keep_ms > 0 ? now.boot_ms + keep_ms : 0;
    chain_sender_step(&group->secret->chain);
    vault_wipe(&group->vault);
    for (struct group_topic *topic = group->topics; topic; topic = topic->hh.next)
        topic->has_key = false;
}

void group_tick(struct group *group, struct moment now)
{
    if (group->secret->alive != GROUP_ALIVE)
        return;
    if (group->previous_until_ms && now.boot_ms >= group->previous_until_ms) {
        secret_wipe(&group->secret->previous);
        group->previous_until_ms = 0;
    }
    if (chain_sender_is_due(&group->secret->chain, now, group->settings.group_epoch_ms))
        step(group, now, group->settings.handshake_timeout_ms);
}

int64_t group_deadline(const struct group *group)
{
    int64_t deadline;

    if (group->secret->alive != GROUP_ALIVE)
        return MOMENT_NEVER;
    deadline = chain_sender_deadline(&group->secret->chain, group->settings.group_epoch_ms);
    return group->previous_until_ms ? MIN(deadline, group->previous_until_ms) : deadline;
}

bool group_is_full(const struct group *group)
{
    return group->top >= GROUP_REKEY_SEQUENCE;
}

bool group_is_spent(const struct group *group, struct moment now, int64_t early_ms)
{
    return group_is_full(group) ||
           now.boot_ms - group->started_ms >= group->settings.key_rotation_interval_ms - early_ms;
}

/* Whether everyone of the current members is among @next. */
static bool all_stay(const struct group *group, struct group_member *next, size_t next_count)
{
    for (size_t i = 0; i < group->member_count; i++)
        if (!find_in(next, next_count, group->members[i].identity))
            return false;
    return true;
}

bool group_update(struct group *group, const struct rule *rule, struct group_member *next,
                  size_t next_count)
{
    /* Who is new to a stored group would be given its beginning: it begins anew instead. */
    if (group->stored != rule_leaves_keys(rule) ||
        (group->stored && next_count > group->member_count))
        return false;
    if (level_pads(&group->settings, rule) != group->padded ||
        level_authenticity(&group->settings, rule) != group->authenticity ||
        group_trailer(&group->settings, rule, next_count) != group->trailer ||
        !all_stay(group, next, next_count))
        return false;
    if (next_count > group->member_count && group->secret->chain.sealed > 0) {
        /* Whoever is new gets nothing from before, not even by asking for the epoch before. */
        step(group, (struct moment){0}, 0);
    } else if (next_count > group->member_count) {
        secret_wipe(&group->secret->previous);
        group->previous_until_ms = 0;
    }
    for (size_t i = 0; i < next_count; i++) {
        const struct group_member *known = group_member_find(group, next[i].identity);

        if (known)
            next[i] = *known;
        else if (group->trailer == ENVELOPE_TRAILER_VECTOR)
            give_slot(group, &next[i]);
    }
    free(group->members);
    group->members = next;
    group->member_count = next_count;
    return true;
}

/* --- sealing -------------------------------------------------------------------------------- */

static struct group_topic *add_topic(struct group *group, struct bytes name)
{
    struct group_topic *topic = calloc(1, sizeof(*topic) + name.size);

    if (!topic)
        return NULL;
    topic->secret = vault_take(&group->vault);
    topic->size = (uint8_t)name.size;
    bytes_copy(topic->name, name);
    if (topic->secret)
        HASH_ADD(hh, group->topics, name, name.size, topic);
    if (!topic->secret || !HASH_ADDED(hh, topic)) {
        free(topic);
        return NULL;
    }
    return topic;
}

static int topic_of(struct group *group, struct bytes name, struct group_topic **ret_topic)
{
    struct group_topic *topic;

    HASH_FIND(hh, group->topics, name.at, name.size, topic);
    if (!topic) {
        if (name.size > TOPIC_SIZE_MAX || HASH_COUNT(group->topics) >= GROUP_TOPICS_MAX)
            return AICO_ELIMIT;
        topic = add_topic(group, name);
        if (!topic)
            return AICO_ENOMEM;
    }
    *ret_topic = topic;
    return 0;
}

/* The AEAD key of @topic in the current epoch, and its context for @delivery. */
static void prepare_topic(struct group *group, struct group_topic *topic, uint8_t delivery)
{
    CLEANUP(secret_wipe)
    struct secret key = {0};
    struct bytes name = {(const uint8_t *)topic->name, topic->size};

    if (!topic->has_key) {
        kdf(&group->secret->chain.key, "group topic", name, &key);
        envelope_key_init(&topic->secret->key, &key, group->id, group->secret->chain.epoch);
        if (group->trailer != ENVELOPE_TRAILER_NONE)
            envelope_commit(&key, &topic->secret->commit);
        topic->has_key = true;
    }
    if (!topic->has_context || topic->delivery != delivery) {
        envelope_context_hash(&(struct envelope_context){.kind = ENVELOPE_CONTEXT_GROUP,
                                                         .delivery = delivery,
                                                         .sender = group->self->public,
                                                         .topic = name,
                                                         .namespace = group->settings.namespace},
                              topic->context);
        topic->delivery = delivery;
        topic->has_context = true;
    }
}

static void mark_dirty(struct group *group, struct group_topic *topic)
{
    if (topic->dirty)
        return;
    topic->dirty = true;
    topic->dirty_next = group->dirty;
    group->dirty = topic;
}

static int seal(struct group *group, struct moment now, uint8_t format, uint8_t delivery,
                struct bytes topic, bool has_headers, struct bytes headers, struct bytes payload,
                struct trailers_ahead *later, struct writer *out, struct group_topic **ret_topic)
{
    struct group_topic *known;
    struct envelope_seal_input in;
    int r;

    if (group->secret->alive != GROUP_ALIVE)
        return AICO_EFORKED;
    r = topic_of(group, topic, &known);
    if (r < 0)
        return r;
    if (known->next >= GROUP_WILL_BASE)
        return AICO_ELIMIT;
    if (chain_sender_is_due(&group->secret->chain, now, group->settings.group_epoch_ms))
        step(group, now, group->settings.handshake_timeout_ms);
    prepare_topic(group, known, delivery);
    in = (struct envelope_seal_input){
        .key = &known->secret->key,
        .time = time_since(group->t0_ms, now),
        .sequence = (uint32_t)known->next,
        .format = format,
        .padded = group->padded,
        .has_headers = has_headers,
        .context = known->context,
        .headers = headers,
        .payload = payload,
        .content_max = group->settings.max_message_size,
        .trailer_kind = group->trailer,
        .commit = &known->secret->commit,
        .sign_seed = &group->self->seed,
        .sign_public = group->self->public,
        .reader_keys = group->secret->reader_keys,
        .reader_count = group->vector_count,
        .later = later,
    };
    r = envelope_seal(&in, out);
    if (r < 0)
        return r;
    known->next++;
    group->top = MAX(group->top, known->next);
    chain_sender_count(&group->secret->chain, now);
    *ret_topic = known;
    return 0;
}

/* Whether the sequence no longer says which message it is. */
static bool needs_number(const struct group_topic *topic)
{
    return topic->messages != topic->next;
}

/* A header block behind the number of its message; only one that was not empty is allocated. */
struct numbered {
    uint8_t alone[HEADER_NUMBER_SIZE_MAX];
    struct buffer block;
};

static void numbered_deinit(struct numbered *numbered)
{
    buffer_deinit(&numbered->block);
}

/* Makes *@headers the numbered ones of the next message of @topic, lent by @numbered. */
static int number_headers(const struct group_topic *topic, struct numbered *numbered,
                          struct bytes *headers)
{
    struct writer w = writer_over(numbered->alone, sizeof(numbered->alone));

    header_write_number(&w, topic->messages);
    if (headers->size == 0) {
        *headers = writer_view(&w);
        return 0;
    }
    if (buffer_append(&numbered->block, writer_view(&w)) < 0 ||
        buffer_append(&numbered->block, *headers) < 0)
        return AICO_ENOMEM;
    *headers = buffer_view(&numbered->block);
    return 0;
}

int group_seal(struct group *group, struct moment now, uint8_t format, uint8_t delivery,
               struct bytes topic, bool has_headers, struct bytes headers, struct bytes payload,
               struct writer *out)
{
    CLEANUP(numbered_deinit)
    struct numbered numbered = {0};
    struct group_topic *known;
    int r = topic_of(group, topic, &known);

    if (r == 0 && needs_number(known)) {
        r = number_headers(known, &numbered, &headers);
        has_headers = true;
    }
    if (r < 0)
        return r;
    r = seal(group, now, format, delivery, topic, has_headers, headers, payload, NULL, out, &known);
    if (r < 0)
        return r;
    known->messages++;
    mark_dirty(group, known);
    return 0;
}

int group_seal_batch(struct group *group, struct moment now, uint8_t delivery, struct bytes topic,
                     const struct content_item *items, size_t count, struct trailers_ahead *later,
                     struct writer *out)
{
    CLEANUP(numbered_deinit)
    struct numbered numbered = {0};
    size_t limit = group->settings.max_message_size;
    struct bytes first = items[0].headers;
    struct group_topic *known;
    struct writer batch;
    size_t offset;
    bool has_headers;
    int r = topic_of(group, topic, &known);

    if (r < 0)
        return r;
    has_headers = needs_number(known);
    if (has_headers)
        r = number_headers(known, &numbered, &first);
    for (size_t i = 0; i < count && !has_headers; i++)
        has_headers = items[i].headers.size > 0;
    /* Written where it will be sealed. */
    offset = envelope_content_offset(ENVELOPE_FORMAT_BATCH, group->padded);
    if (offset > out->capacity - out->size)
        return AICO_ESIZE;
    batch = writer_over(out->at + out->size + offset, out->capacity - out->size - offset);
    for (size_t i = 0; r == 0 && i < count; i++)
        r = content_batch_add(&batch, has_headers, i == 0 ? first : items[i].headers,
                              items[i].payload, limit);
    if (r == 0)
        r = seal(group, now, ENVELOPE_FORMAT_BATCH, delivery, topic, has_headers, bytes_of(NULL, 0),
                 writer_view(&batch), later, out, &known);
    if (r < 0)
        return r;
    known->messages += count;
    group->top = MAX(group->top, known->messages); /* it is said in 32 bits */
    mark_dirty(group, known);
    return 0;
}

void group_prove(const struct group *group, struct trailers_ahead *later)
{
    trailers_ahead_prove(later, group->secret->reader_keys, group->vector_count);
}

/* The key of @topic in the epoch to come. */
static void derive_ahead(const struct group *group, struct bytes topic, struct topic_secret *ret)
{
    CLEANUP(secret_wipe)
    struct secret key = {0};

    kdf(&group->secret->chain.key, group->secret->chain.label, bytes_of(NULL, 0), &key);
    kdf(&key, "group topic", topic, &key);
    envelope_key_init(&ret->key, &key, group->id, group->secret->chain.epoch + 1);
    envelope_commit(&key, &ret->commit);
}

static void topic_secret_wipe(struct topic_secret *secret)
{
    memory_wipe(secret, sizeof(*secret));
}

int group_seal_will(struct group *group, struct moment now, struct bytes topic,
                    struct bytes payload, struct writer *out)
{
    CLEANUP(topic_secret_wipe)
    struct topic_secret ahead = {0};
    uint8_t context[HASH_SIZE];
    struct envelope_seal_input in;
    struct group_topic *known;
    int r;

    if (group->secret->alive != GROUP_ALIVE)
        return AICO_EFORKED;
    r = topic_of(group, topic, &known);
    if (r < 0)
        return r;
    if (known->wills >= UINT32_MAX - GROUP_WILL_BASE)
        return AICO_ELIMIT;
    derive_ahead(group, topic, &ahead);
    envelope_context_hash(&(struct envelope_context){.kind = ENVELOPE_CONTEXT_GROUP,
                                                     .delivery = DELIVERY_EVENT,
                                                     .sender = group->self->public,
                                                     .topic = topic,
                                                     .namespace = group->settings.namespace},
                          context);
    in = (struct envelope_seal_input){
        .key = &ahead.key,
        .time = time_since(group->t0_ms, now),
        .sequence = GROUP_WILL_BASE + known->wills,
        .format = ENVELOPE_FORMAT_MESSAGE,
        .padded = group->padded,
        .context = context,
        .payload = payload,
        .content_max = group->settings.max_message_size,
        .trailer_kind = group->trailer,
        .commit = &ahead.commit,
        .sign_seed = &group->self->seed,
        .sign_public = group->self->public,
        .reader_keys = group->secret->reader_keys,
        .reader_count = group->vector_count,
    };
    r = envelope_seal(&in, out);
    if (r == 0)
        known->wills++; /* it does not make the epoch end: nobody may ever read it */
    return r;
}

/* --- what readers are told -------------------------------------------------------------------- */

static struct control_stand stand_of(const struct group_topic *topic)
{
    return (struct control_stand){bytes_of(topic->name, topic->size), (uint32_t)topic->next,
                                  (uint32_t)topic->messages};
}

uint32_t group_first_epoch(const struct group *group, struct moment now)
{
    uint32_t epoch = group->secret->chain.epoch;

    return epoch > 0 && group->previous_until_ms > now.boot_ms ? epoch - 1 : epoch;
}

int group_write_key(struct group *group, struct moment now, const struct group_member *member,
                    uint32_t epoch, struct buffer *out)
{
    static const struct secret none;
    const struct chain_sender *chain = &group->secret->chain;
    uint32_t first = group_first_epoch(group, now);
    bool previous = epoch < chain->epoch && first < chain->epoch;
    bool has_slot = member->slot != ENVELOPE_NO_SLOT;
    struct control key = {
        .authenticity = group->trailer,
        .filter = bytes_of(group->filter, group->filter_size),
        .generation = group->generation,
        .epoch = previous ? first : chain->epoch,
        .chain_key = secret_view(previous ? &group->secret->previous : &chain->key),
        .id = bytes_of(group->id, GROUP_ID_SIZE),
        .slot = member->slot,
        .reader_key = secret_view(has_slot ? &group->secret->reader_keys[member->slot] : &none),
    };
    size_t size = 2 + 2 + TOPIC_SIZE_MAX + 8 + 4 + 32 + 12 + 1 + 32 + 2, topics = 0;
    unsigned count = 0;
    struct writer w;

    if (group->secret->alive != GROUP_ALIVE)
        return AICO_EFORKED;
    for (struct group_topic *topic = group->topics; topic; topic = topic->hh.next) {
        struct control_stand stand = stand_of(topic);

        if (topic->name[0] == '$')
            continue;
        topics += control_stand_size(&stand);
        count += control_stand_heads(&stand);
    }
    if (count >= CONTROL_NOT_LISTED ||
        size + topics > MIN((size_t)CONTROL_GROUP_KEY_MAX, group->settings.max_message_size)) {
        count = CONTROL_NOT_LISTED;
        topics = 0;
    }
    w = writer_over(buffer_reserve(out, size + topics), size + topics);
    if (!w.at)
        return AICO_ENOMEM;
    control_write_group_key(&w, &key, (uint16_t)count);
    for (struct group_topic *topic = group->topics; topic && count != CONTROL_NOT_LISTED;
         topic = topic->hh.next) {
        struct control_stand stand = stand_of(topic);

        if (topic->name[0] != '$')
            control_write_stand(&w, &stand);
    }
    out->size += w.size;
    return 0;
}

bool group_has_traffic(const struct group *group)
{
    return group->dirty != NULL;
}

bool group_take_heads(struct group *group, struct buffer *out)
{
    size_t limit = MIN((size_t)HEADS_BODY_MAX, group->settings.max_message_size - 1);
    size_t size = HEADS_HEAD_SIZE;
    unsigned topics = 0, heads = 0;
    struct writer section;

    for (struct group_topic *topic = group->dirty; topic; topic = topic->dirty_next) {
        struct control_stand stand = stand_of(topic);

        if (heads + 2 > HEADS_COUNT_MAX || size + control_stand_size(&stand) > limit)
            break;
        size += control_stand_size(&stand);
        heads += control_stand_heads(&stand);
        topics++;
    }
    if (topics == 0 || !buffer_reserve(out, size))
        return false;
    section = writer_over(out->at + out->size, size);
    control_write_heads_section(&section, group->generation, (uint16_t)heads);
    for (; topics > 0; topics--) {
        struct group_topic *topic = group->dirty;
        struct control_stand stand = stand_of(topic);

        group->dirty = topic->dirty_next;
        topic->dirty = false;
        control_write_stand(&section, &stand);
    }
    out->size += section.size;
    return true;
}

int group_seal_heads(struct group *group, struct moment now, struct bytes sections,
                     struct buffer *out)
{
    CLEANUP(buffer_deinit)
    struct buffer room = {0};
    size_t size = envelope_sealed_size(ENVELOPE_FORMAT_MESSAGE, 1 + sections.size, group->padded,
                                       group->trailer, group->vector_count);
    struct writer body = writer_over(buffer_reserve(&room, 1 + sections.size), 1 + sections.size);
    struct writer envelope = writer_over(buffer_reserve(out, size), size);
    struct group_topic *unused;
    int r;

    if (!body.at || !envelope.at)
        return AICO_ENOMEM;
    writer_u8(&body, CONTROL_HEADS);
    writer_bytes(&body, sections);
    r = seal(group, now, ENVELOPE_FORMAT_MESSAGE, DELIVERY_CONTROL, bytes_text(HEADS_TOPIC), false,
             bytes_of(NULL, 0), writer_view(&body), NULL, &envelope, &unused);
    if (r == 0)
        out->size += envelope.size;
    return r;
}

bool group_next_heads(struct group *group, struct moment now, struct buffer *out)
{
    CLEANUP(buffer_deinit)
    struct buffer section = {0};

    return group_take_heads(group, &section) &&
           group_seal_heads(group, now, buffer_view(&section), out) == 0;
}
