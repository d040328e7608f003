/* SPDX-License-Identifier: Apache-2.0 */
/* The groups we publish: generations, keys for their readers, and how far we are (PROTOCOL 8). */
#include <stdlib.h>

#include "session/control.h"
#include "session/peers_internal.h"

#define AGAIN_MS 1000     /* a generation that could not begin is tried again */
#define CHUNK_HEAD_SIZE 4 /* of a section kept in publication.former: its size, host order */

static struct bytes filter_of(const struct publication *p)
{
    return bytes_of(p->filter, p->filter_size);
}

/* --- keys for readers ----------------------------------------------------------------------- */

/* NULL also for one that is marked `peer aico`: it has no channel to get the key over. */
static struct peer *member_peer(struct sessions *s, const struct group_member *member)
{
    const struct component *c = registry_find_identity(s->registry, member->identity);

    return c && !seed_is_spoken(s, c) ? peer_find(s, bytes_text(c->name), true) : NULL;
}

/* The member that the other end of @peer's channel is; NULL: no channel, or none of ours. */
static struct group_member *peer_member(const struct publication *p, const struct peer *peer)
{
    const struct line *line = line_best(peer);

    return line && p->group ? group_member_find(p->group, line->channel->peer) : NULL;
}

/* A channel at its limit is made anew first, else who stole its keys would be handed the new
 * group's: publications_peer_ready() then gives it. */
static void give_key(struct sessions *s, struct moment now, struct group *group,
                     struct group_member *member, struct peer *peer, uint32_t epoch)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer message = {0};
    const struct line *line = line_best(peer);

    if (line && channel_is_spent(line->channel, now, 0)) {
        if (!peer->dialing)
            (void)!dial_start(s, now, peer);
        return;
    }
    if (group_write_key(group, now, member, epoch, &message) < 0 ||
        control_send(s, now, peer, buffer_view(&message)) < 0)
        return;
    member->told = true;
    s->stats.key_given++;
}

/* Whether @peer must have the key of @p before it asks for it. */
static bool must_be_dialled(const struct publication *p, const struct peer *peer)
{
    return p->has_will && peer && !peer->away && !peer->dialing &&
           p->group->member_count <= GROUP_VECTOR_MAX;
}

/* Everyone with whom a channel stands gets the key. */
static void give_keys(struct sessions *s, struct moment now, struct publication *p)
{
    for (size_t i = 0; i < p->group->member_count; i++) {
        struct group_member *member = &p->group->members[i];
        struct peer *peer = member->told ? NULL : member_peer(s, member);
        struct line *line = peer ? line_best(peer) : NULL;

        if (!line && must_be_dialled(p, peer))
            (void)!dial_start(s, now, peer);
        if (line && memcmp(line->channel->peer, member->identity, SIGN_PUBLIC_SIZE) == 0)
            give_key(s, now, p->group, member, peer, UINT32_MAX);
    }
}

/* --- generations ---------------------------------------------------------------------------- */

/* What the generation that ends has not said yet is said by the next. */
static void keep_heads(struct publication *p)
{
    CLEANUP(buffer_deinit)
    struct buffer section = {0};

    while (group_take_heads(p->group, &section)) {
        uint32_t size = (uint32_t)section.size;

        if (buffer_append(&p->former, bytes_of(&size, CHUNK_HEAD_SIZE)) == 0)
            (void)!buffer_append(&p->former, buffer_view(&section));
        section.size = 0;
    }
}

/* A new generation in place of the one there is; @members is handed over. */
static int begin_generation(struct sessions *s, struct moment now, struct publication *p,
                            const struct rule *rule, struct group_member *members, size_t count)
{
    CLEANUP(group_seed_wipe)
    struct group_seed seed = {0};
    struct group *group = NULL;
    int r;

    group_seed_draw(s->hedge, now, s->last_generation, &seed);
    r = group_new(s->self, &s->settings, rule, &seed, now, members, count, &group);
    if (r < 0)
        return r;
    s->last_generation = seed.generation;
    event_push(s,
               &(struct session_event){.type = SESSION_PERSIST_GEN, .generation = seed.generation});
    if (p->group) {
        keep_heads(p);
        group_free(&p->earlier);
        p->earlier = p->group;
        p->earlier_until_ms = now.boot_ms + s->settings.handshake_timeout_ms;
    }
    p->group = group;
    p->rotate_by_ms = 0;
    stored_begin(s, p);
    p->early_ms = peers_jitter(s, s->settings.key_rotation_interval_ms / 10);
    p->heads_ms = p->former.size > 0 ? now.boot_ms : 0;
    give_keys(s, now, p);
    peers_wake_at(s, publications_deadline(s));
    return 0;
}

static void forget_topics(struct sessions *s)
{
    struct published_topic *topic, *next;

    HASH_ITER(hh, s->topics, topic, next)
    {
        HASH_DEL(s->topics, topic);
        free(topic);
    }
    s->last_topic = NULL;
}

static void publication_free(struct sessions *s, struct publication *p)
{
    HASH_DEL(s->publications, p);
    group_free(&p->group);
    group_free(&p->earlier);
    buffer_deinit(&p->former);
    buffer_deinit(&p->keys);
    buffer_deinit(&p->former_keys);
    free(p);
}

void publications_free(struct sessions *s)
{
    struct publication *p, *next;

    forget_topics(s);
    HASH_ITER(hh, s->publications, p, next)
    {
        publication_free(s, p);
    }
}

static int publication_make(struct sessions *s, struct moment now, const struct rule *rule,
                            struct publication **ret_publication)
{
    struct publication *p = calloc(1, sizeof(*p));
    struct group_member *members = NULL;
    size_t count = 0;
    int r = p ? group_entitled(s->registry, rule, s->self, now, &members, &count) : AICO_ENOMEM;

    if (r < 0) {
        free(p);
        return r;
    }
    p->filter_size = (uint8_t)rule->filter.size;
    bytes_copy(p->filter, rule->filter);
    HASH_ADD(hh, s->publications, filter, p->filter_size, p);
    if (!HASH_ADDED(hh, p)) {
        free(members);
        free(p);
        return AICO_ENOMEM;
    }
    r = begin_generation(s, now, p, rule, members, count);
    if (r < 0) {
        publication_free(s, p);
        return r;
    }
    *ret_publication = p;
    return 0;
}

/* The rule of @topic, if it lets us publish sealed for a group. */
static int rule_of(const struct sessions *s, struct bytes topic, const struct rule **ret_rule)
{
    const struct rule *rule = registry_rule_for(s->registry, topic);
    const struct component *me = peers_self(s);

    if (!rule || !me || !rule_allows(rule, me, RIGHT_PUBLISH))
        return AICO_EDENIED;
    if (rule->seal != SEAL_GROUP)
        return AICO_EINVAL;
    *ret_rule = rule;
    return 0;
}

static int topic_add(struct sessions *s, struct moment now, struct bytes name,
                     struct published_topic **ret_topic)
{
    struct published_topic *topic;
    struct publication *p = NULL;
    const struct rule *rule;
    int r = topic_is_valid(name) ? rule_of(s, name, &rule) : AICO_ETOPIC;

    if (r < 0)
        return r;
    if (HASH_COUNT(s->topics) >= GROUP_TOPICS_MAX)
        return AICO_ELIMIT;
    HASH_FIND(hh, s->publications, rule->filter.at, rule->filter.size, p);
    if (!p && (r = publication_make(s, now, rule, &p)) < 0)
        return r;
    topic = calloc(1, sizeof(*topic) + name.size);
    if (!topic)
        return AICO_ENOMEM;
    topic->publication = p;
    topic->size = (uint8_t)name.size;
    bytes_copy(topic->name, name);
    HASH_ADD(hh, s->topics, name, name.size, topic);
    if (!HASH_ADDED(hh, topic)) {
        free(topic);
        return AICO_ENOMEM;
    }
    *ret_topic = topic;
    return 0;
}

static int publication_of(struct sessions *s, struct moment now, struct bytes name,
                          struct publication **ret_publication)
{
    struct published_topic *topic = s->last_topic;
    int r = 0;

    if (s->closed)
        return AICO_ECLOSED;
    if (!topic || !bytes_equal(bytes_of(topic->name, topic->size), name)) {
        HASH_FIND(hh, s->topics, name.at, name.size, topic);
        if (!topic)
            r = topic_add(s, now, name, &topic);
        if (r < 0)
            return r;
        s->last_topic = topic;
    }
    *ret_publication = topic->publication;
    return 0;
}

/* --- readiness ------------------------------------------------------------------------------ */

static void check_ready(struct sessions *s, struct publication *p)
{
    if (p->ready || !p->prepared)
        return;
    for (size_t i = 0; i < p->group->member_count; i++) {
        const struct peer *peer =
            p->group->members[i].told ? NULL : member_peer(s, &p->group->members[i]);

        if (peer && peer->dialing)
            return;
    }
    p->ready = true;
    event_push(s, &(struct session_event){.type = SESSION_GROUP_READY, .topic = filter_of(p)});
}

int sessions_prepare_group(struct sessions *s, struct moment now, struct bytes topic)
{
    struct publication *p;
    int r = publication_of(s, now, topic, &p);

    if (r < 0 || p->ready)
        return r;
    if (p->prepared)
        return AICO_ESTATE;
    p->prepared = true;
    p->wait_ms = now.boot_ms + PREPARE_MS;
    peers_wake_at(s, p->wait_ms);
    for (size_t i = 0; i < p->group->member_count && p->group->member_count <= GROUP_VECTOR_MAX;
         i++) {
        struct group_member *member = &p->group->members[i];
        struct peer *peer = member->told ? NULL : member_peer(s, member);

        if (peer && !peer->away && !line_best(peer))
            (void)!dial_start(s, now, peer);
    }
    give_keys(s, now, p);
    check_ready(s, p);
    return p->ready ? 0 : AICO_ESTATE;
}

void sessions_get_form(struct sessions *s, struct moment now, struct bytes topic,
                       struct group_form *ret_form)
{
    struct publication *p;

    *ret_form = (struct group_form){0};
    if (publication_of(s, now, topic, &p) == 0)
        *ret_form = (struct group_form){.is_padded = p->group->padded,
                                        .is_hashed = p->group->trailer == ENVELOPE_TRAILER_VECTOR};
}

void publications_peer_ready(struct sessions *s, struct moment now, struct peer *peer)
{
    struct publication *p, *next;

    HASH_ITER(hh, s->publications, p, next)
    {
        struct group_member *member = peer_member(p, peer);

        if (member && p->rotate_by_ms > 0)
            peers_wake_at(s, now.boot_ms);
        /* Also who dialled us, and could ask: we may be gone when it sees what it lacks. A will
         * comes when nobody is left to ask, and who was told may be another process now. */
        if (member && !member->told) /* what was sealed meanwhile waits there */
            give_key(s, now, p->group, member, peer, group_first_epoch(p->group, now));
        else if (member && p->has_will)
            give_key(s, now, p->group, member, peer, UINT32_MAX);
        check_ready(s, p);
    }
}

void publications_peer_lost(struct sessions *s, struct peer *peer)
{
    struct publication *p, *next;

    (void)peer;
    HASH_ITER(hh, s->publications, p, next)
    {
        check_ready(s, p);
    }
}

bool publications_owe(const struct sessions *s, struct moment now, const struct peer *peer)
{
    const struct component *component = peer_component(s, now, peer);
    struct publication *p;

    if (!component || seed_is_spoken(s, component))
        return false;
    for (p = s->publications; p; p = p->hh.next) {
        const struct group_member *member = group_member_find(p->group, component->identity);

        if (member && (p->has_will || !member->told) && p->group->member_count <= GROUP_VECTOR_MAX)
            return true;
    }
    return false;
}

/* --- sealing -------------------------------------------------------------------------------- */

/* @count messages of @p were sealed. */
static void note_sealed(struct sessions *s, struct moment now, struct publication *p, size_t count)
{
    s->stats.sealed += count;
    p->has_said |= !p->group->stored;
    if (p->heads_ms == 0) {
        p->heads_ms = now.boot_ms + s->settings.keepalive_interval_ms;
        peers_wake_at(s, p->heads_ms);
    }
    if (group_is_full(p->group) && p->rotate_by_ms == 0)
        peers_wake_at(s, now.boot_ms);
    peers_wake_at(s, group_deadline(p->group));
}

int sessions_seal_group(struct sessions *s, struct moment now, struct bytes topic, uint8_t delivery,
                        struct bytes headers, struct bytes payload, struct writer *out)
{
    struct publication *p;
    int r = publication_of(s, now, topic, &p);

    if (r == 0)
        r = group_seal(p->group, now, ENVELOPE_FORMAT_MESSAGE, delivery, topic, headers.size > 0,
                       headers, payload, out);
    if (r == 0)
        note_sealed(s, now, p, 1);
    return r;
}

int sessions_seal_batch(struct sessions *s, struct moment now, struct bytes topic, uint8_t delivery,
                        const struct content_item *items, size_t count, bool later,
                        struct writer *out)
{
    struct publication *p;
    int r = publication_of(s, now, topic, &p);

    if (r == 0)
        r = group_seal_batch(p->group, now, delivery, topic, items, count, later ? s->later : NULL,
                             out);
    if (r == 0)
        note_sealed(s, now, p, count);
    return r;
}

void sessions_prove(struct sessions *s, struct moment now, struct bytes topic)
{
    struct publication *p;

    if (publication_of(s, now, topic, &p) == 0)
        group_prove(p->group, s->later);
    trailers_ahead_forget(s->later); /* it points into what is the caller's */
}

int sessions_seal_will(struct sessions *s, struct moment now, struct bytes topic,
                       struct bytes payload, struct writer *out)
{
    struct publication *p;
    int r = publication_of(s, now, topic, &p);

    if (r < 0)
        return r;
    p->has_will = true;
    return group_seal_will(p->group, now, topic, payload, out);
}

bool sessions_group_stamp(const struct sessions *s, struct bytes topic,
                          struct group_stamp *ret_stamp)
{
    const struct published_topic *known = NULL;

    HASH_FIND(hh, s->topics, topic.at, topic.size, known);
    if (!known)
        return false;
    *ret_stamp = (struct group_stamp){known->publication->group->generation,
                                      known->publication->group->secret->chain.epoch};
    return true;
}

static void send_heads(struct sessions *s, struct moment now, struct publication *p,
                       struct bytes sections)
{
    CLEANUP(buffer_deinit)
    struct buffer envelope = {0};

    if (group_seal_heads(p->group, now, sections, &envelope) == 0)
        event_push(s, &(struct session_event){.type = SESSION_SEND_HEADS,
                                              .topic = filter_of(p),
                                              .delivery = DELIVERY_CONTROL,
                                              .bytes = buffer_view(&envelope)});
}

static void say_heads(struct sessions *s, struct moment now, struct publication *p)
{
    CLEANUP(buffer_deinit)
    struct buffer section = {0};
    size_t at = 0;

    while (at < p->former.size) {
        uint32_t size;

        memcpy(&size, p->former.at + at, CHUNK_HEAD_SIZE);
        send_heads(s, now, p, bytes_of(p->former.at + at + CHUNK_HEAD_SIZE, size));
        at += CHUNK_HEAD_SIZE + size;
    }
    buffer_deinit(&p->former);
    while (group_take_heads(p->group, &section)) {
        send_heads(s, now, p, buffer_view(&section));
        section.size = 0;
    }
    p->heads_ms = 0;
}

/* --- a reader asks -------------------------------------------------------------------------- */

static void refuse_key(struct sessions *s, struct moment now, struct peer *peer, int code,
                       struct bytes filter)
{
    uint8_t room[CONTROL_SMALL_MAX];
    struct writer w = writer_over(room, sizeof(room));

    control_write_key_refuse(&w, code, filter);
    if (!w.failed && control_send(s, now, peer, writer_view(&w)) == 0)
        s->stats.key_denied++;
}

/* The generation whose key @identity gets: the one it names if that is the one before and it was in
 * that already, else the current one. NULL: it is not entitled. */
static struct group *asked_group(struct publication *p, struct moment now, const uint8_t *identity,
                                 const struct control *request)
{
    if (!group_member_find(p->group, identity))
        return NULL;
    if (p->earlier && now.boot_ms < p->earlier_until_ms &&
        bytes_equal(request->id, bytes_of(p->earlier->id, GROUP_ID_SIZE)) &&
        group_member_find(p->earlier, identity))
        return p->earlier;
    return p->group;
}

void publication_on_request(struct sessions *s, struct moment now, struct peer *peer,
                            const uint8_t *identity, const struct control *request)
{
    const struct rule *rule = registry_rule_named(s->registry, request->filter);
    const struct component *component = registry_find_identity(s->registry, identity);
    struct group *group = NULL;
    struct publication *p = NULL;

    /* More than that is not answered: an honest reader asks again. */
    if (!bucket_take(&peer->requests, now.boot_ms, KEY_REQUESTS_RATE, KEY_REQUESTS_BURST))
        return;
    if (!rule || !component || !component_is_active(s->registry, component, now.real_ms) ||
        !rule_allows(rule, component, RIGHT_SUBSCRIBE)) {
        refuse_key(s, now, peer, AICO_EDENIED, request->filter);
        return;
    }
    HASH_FIND(hh, s->publications, request->filter.at, request->filter.size, p);
    if (p)
        group = asked_group(p, now, identity, request);
    if (group)
        give_key(s, now, group, group_member_find(group, identity), peer, request->epoch);
    else
        refuse_key(s, now, peer, AICO_EKEY, request->filter);
}

/* --- registry and time ---------------------------------------------------------------------- */

static void update(struct sessions *s, struct moment now, struct publication *p)
{
    const struct rule *rule = registry_rule_named(s->registry, filter_of(p));
    const struct component *me = peers_self(s);
    struct group_member *members = NULL;
    size_t count = 0;

    /* Without the right to publish nobody would take what we say, not even how far we came. */
    if (!rule || !me || rule->seal != SEAL_GROUP || !rule_allows(rule, me, RIGHT_PUBLISH) ||
        group_entitled(s->registry, rule, s->self, now, &members, &count) < 0) {
        publication_free(s, p);
        return;
    }
    if (group_update(p->group, rule, members, count))
        give_keys(s, now, p);
    else if (begin_generation(s, now, p, rule, members, count) < 0)
        publication_free(s, p); /* the next message makes it anew */
}

void publications_update(struct sessions *s, struct moment now)
{
    struct publication *p, *next;

    forget_topics(s);
    HASH_ITER(hh, s->publications, p, next)
    {
        update(s, now, p);
    }
    publications_peer_lost(s, NULL);
}

static void rotate(struct sessions *s, struct moment now, struct publication *p)
{
    const struct rule *rule = registry_rule_named(s->registry, filter_of(p));
    struct group_member *members = NULL;
    size_t count = 0;

    if (!rule || group_entitled(s->registry, rule, s->self, now, &members, &count) < 0 ||
        begin_generation(s, now, p, rule, members, count) < 0)
        p->rotate_by_ms = now.boot_ms + AGAIN_MS; /* no memory */
}

/* Whether a channel that is as old as the generation is being made anew: the new generation would
 * begin before its reader could be given the key, and what is said in it would wait. */
static bool renews_channels(struct sessions *s, struct moment now, const struct publication *p)
{
    bool waits = false;

    for (size_t i = 0; i < p->group->member_count; i++) {
        struct peer *peer = member_peer(s, &p->group->members[i]);
        const struct line *line = peer && !peer->away ? line_best(peer) : NULL;

        if (!line || !channel_is_spent(line->channel, now, 0))
            continue;
        if (!peer->dialing)
            (void)!dial_start(s, now, peer);
        waits |= peer->dialing;
    }
    return waits;
}

/* It is time for a new generation: now, or once the channels of its readers are new. */
static void rotate_in_turn(struct sessions *s, struct moment now, struct publication *p)
{
    if (p->rotate_by_ms == 0)
        p->rotate_by_ms = now.boot_ms + s->settings.handshake_timeout_ms;
    if (now.boot_ms < p->rotate_by_ms && renews_channels(s, now, p))
        return;
    rotate(s, now, p);
}

void publications_tick(struct sessions *s, struct moment now)
{
    struct publication *p, *next;

    HASH_ITER(hh, s->publications, p, next)
    {
        if (group_is_spent(p->group, now, p->early_ms))
            rotate_in_turn(s, now, p);
        group_tick(p->group, now);
        if (p->earlier && now.boot_ms >= p->earlier_until_ms)
            group_free(&p->earlier);
        if (p->earlier)
            group_tick(p->earlier, now);
        if (p->heads_ms > 0 && now.boot_ms >= p->heads_ms && s->link)
            say_heads(s, now, p);
        if (p->prepared && !p->ready && now.boot_ms >= p->wait_ms) {
            p->ready = true;
            event_push(s,
                       &(struct session_event){.type = SESSION_GROUP_READY, .topic = filter_of(p)});
        }
    }
}

int64_t publications_deadline(const struct sessions *s)
{
    int64_t deadline = MOMENT_NEVER;
    const struct publication *p;

    for (p = s->publications; p; p = p->hh.next) {
        deadline = MIN(deadline, group_deadline(p->group));
        if (p->earlier)
            deadline = MIN(deadline, MIN(group_deadline(p->earlier), p->earlier_until_ms));
        deadline = MIN(deadline, p->rotate_by_ms > 0
                                     ? p->rotate_by_ms
                                     : p->group->started_ms + s->settings.key_rotation_interval_ms -
                                           p->early_ms);
        if (p->heads_ms > 0 && s->link)
            deadline = MIN(deadline, p->heads_ms);
        if (p->prepared && !p->ready)
            deadline = MIN(deadline, p->wait_ms);
    }
    return deadline;
}

/* --- the end -------------------------------------------------------------------------------- */

/* The reader that @member is, if it lacks a key that nobody but us can give it. */
static struct peer *keyless_peer(struct sessions *s, const struct publication *p,
                                 const struct group_member *member)
{
    struct peer *peer = !p->has_said || member->told ? NULL : member_peer(s, member);

    return peer && !peer->away ? peer : NULL;
}

void sessions_hand_over(struct sessions *s, struct moment now)
{
    struct publication *p, *next;

    HASH_ITER(hh, s->publications, p, next)
    for (size_t i = 0; i < p->group->member_count; i++) {
        struct peer *peer = keyless_peer(s, p, &p->group->members[i]);

        if (peer && !line_best(peer))
            (void)!dial_start(s, now, peer); /* not to be met: it may not read either */
    }
}

size_t sessions_keyless(struct sessions *s, struct bytes *ret_name)
{
    struct publication *p, *next;
    size_t count = 0;

    HASH_ITER(hh, s->publications, p, next)
    for (size_t i = 0; i < p->group->member_count; i++) {
        const struct peer *peer = keyless_peer(s, p, &p->group->members[i]);

        if (peer && peer->dialing && count++ == 0)
            *ret_name = peer_name(peer);
    }
    return count;
}

void publications_close(struct sessions *s, struct moment now)
{
    struct publication *p, *next;

    HASH_ITER(hh, s->publications, p, next)
    {
        say_heads(s, now, p);
    }
}
