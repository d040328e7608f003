/* SPDX-License-Identifier: Apache-2.0 */
/* A reader's side of a group. One owner, not thread-safe. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "crypto/kdf.h"
#include "envelope/headers.h"
#include "session/channel.h"
#include "session/group.h"
#include "wire/record.h"

#define HEADS_TOPIC "$bus/heads"

static struct bytes filter_of(const struct group_reader *reader)
{
    return bytes_of(reader->filter, reader->filter_size);
}

/* What a publisher names must be its to name. */
static bool belongs(const struct group_reader *reader, struct bytes topic)
{
    return topic_is_valid(topic) && filter_matches(filter_of(reader), topic);
}

static struct reader_topic *add_topic(struct group_reader *reader, struct bytes name,
                                      size_t *windows)
{
    struct reader_topic *topic;

    if (*windows >= GROUP_TOPICS_MAX)
        return NULL;
    topic = calloc(1, sizeof(*topic) + name.size);
    if (!topic)
        return NULL;
    topic->secret = vault_take(&reader->vault);
    topic->size = (uint8_t)name.size;
    bytes_copy(topic->name, name);
    replay_init(&topic->replay, reader->settings.strict_ordering);
    if (topic->secret)
        HASH_ADD(hh, reader->topics, name, name.size, topic);
    if (!topic->secret || !HASH_ADDED(hh, topic)) {
        free(topic);
        return NULL;
    }
    ++*windows;
    group_reader_share(reader, topic);
    return topic;
}

/*
 * One of a group gets some numbers, and gets them out of order when another member has left. So it
 * keeps a window, also where order is enforced, and the keys of epochs just left. Who then reads
 * all again begins with what comes next.
 */
void group_reader_share(struct group_reader *reader, struct reader_topic *topic)
{
    struct bytes name = bytes_of(topic->name, topic->size);
    bool shared = reader->shares && reader->shares(reader->expects_context, name);

    if (shared == topic->shared)
        return;
    topic->shared = shared;
    topic->replay.strict = reader->settings.strict_ordering && !shared;
    if (shared)
        reader->secret->chain.windowed = true;
    else if (topic->replay.begun)
        topic->skip = true;
}

static struct reader_topic *find_topic(const struct group_reader *reader, struct bytes name)
{
    struct reader_topic *topic;

    HASH_FIND(hh, reader->topics, name.at, name.size, topic);
    return topic;
}

int group_reader_new(const uint8_t *self, const struct session_settings *settings,
                     const uint8_t publisher[SIGN_PUBLIC_SIZE], bool padded,
                     const struct control *key, struct moment now, size_t *windows,
                     struct group_reader **ret_reader)
{
    struct group_reader *reader;
    struct reader topics = reader_over(key->topics);
    struct control_stand stand;
    struct secret chain_key;

    if (key->filter.size == 0 || key->filter.size > TOPIC_SIZE_MAX ||
        key->generation > GENERATION_MAX)
        return AICO_EFORMAT;
    reader = calloc(1, sizeof(*reader));
    if (!reader)
        return AICO_ENOMEM;
    reader->secret = guarded_new(sizeof(*reader->secret));
    if (!reader->secret) {
        free(reader);
        return AICO_ENOMEM;
    }
    reader->self = self;
    reader->settings = *settings;
    memcpy(reader->key, publisher, SIGN_PUBLIC_SIZE);
    memcpy(reader->key + SIGN_PUBLIC_SIZE, key->id.at, GROUP_ID_SIZE);
    reader->generation = key->generation;
    reader->t0_ms = (int64_t)(key->generation - ((uint64_t)1 << 20));
    (void)now;
    reader->trailer = key->authenticity;
    reader->slot = key->slot;
    reader->padded = padded;
    reader->listed = key->listed;
    reader->filter_size = (uint8_t)key->filter.size;
    bytes_copy(reader->filter, key->filter);
    reader->vault.size = sizeof(struct topic_secret);
    bytes_copy(chain_key.at, key->chain_key);
    chain_receiver_init(&reader->secret->chain, "group step", &chain_key, key->epoch,
                        !settings->strict_ordering);
    secret_wipe(&chain_key);
    bytes_copy(reader->secret->reader_key.at, key->reader_key);
    while (control_next_stand(&topics, &stand)) {
        struct reader_topic *topic = find_topic(reader, stand.topic);

        if (!belongs(reader, stand.topic)) {
            group_reader_free(&reader, windows);
            return AICO_EFORMAT;
        }
        if (!topic)
            topic = add_topic(reader, stand.topic, windows);
        if (!topic) {
            group_reader_free(&reader, windows);
            return *windows >= GROUP_TOPICS_MAX ? AICO_ELIMIT : AICO_ENOMEM;
        }
        topic->listed = stand.next;
        topic->listed_messages = stand.messages;
    }
    *ret_reader = reader;
    return 0;
}

void group_reader_free(struct group_reader **reader, size_t *windows)
{
    struct reader_topic *topic, *next;

    if (!*reader)
        return;
    HASH_ITER(hh, (*reader)->topics, topic, next)
    {
        HASH_DEL((*reader)->topics, topic);
        free(topic);
        --*windows;
    }
    vault_deinit(&(*reader)->vault);
    guarded_free(&(*reader)->secret);
    free(*reader);
    *reader = NULL;
}

/* The topic keys of an epoch that was left. */
static void forget_keys(struct group_reader *reader)
{
    vault_wipe(&reader->vault);
    for (struct reader_topic *topic = reader->topics; topic; topic = topic->hh.next)
        topic->has_key = false;
}

void group_reader_renew(struct group_reader *reader, const struct control *key)
{
    struct chain_receiver *chain = &reader->secret->chain;
    struct secret chain_key;

    /* What was sealed in the epochs between may still be on its way, behind other messages; the
     * chain gets there by itself unless it is too far. */
    if (key->epoch > chain->epoch && key->epoch - chain->epoch > CHAIN_JUMP_MAX) {
        bytes_copy(chain_key.at, key->chain_key);
        chain_receiver_init(chain, "group step", &chain_key, key->epoch, chain->windowed);
        secret_wipe(&chain_key);
        forget_keys(reader);
    }
    if (reader->slot == ENVELOPE_NO_SLOT && key->slot != ENVELOPE_NO_SLOT) {
        reader->slot = key->slot;
        bytes_copy(reader->secret->reader_key.at, key->reader_key);
    }
}

/* --- opening -------------------------------------------------------------------------------- */

static void context_of(const struct group_reader *reader, struct bytes topic, uint8_t delivery,
                       uint8_t ret[HASH_SIZE])
{
    envelope_context_hash(&(struct envelope_context){.kind = ENVELOPE_CONTEXT_GROUP,
                                                     .delivery = delivery,
                                                     .sender = reader->key,
                                                     .topic = topic,
                                                     .namespace = reader->settings.namespace},
                          ret);
}

/* A key derived for one envelope; kept only if it opens. */
struct attempt {
    struct chain_key chain;
    struct topic_secret topic;
};

static void attempt_wipe(struct attempt *attempt)
{
    memory_wipe(attempt, sizeof(*attempt));
}

static int derive(const struct group_reader *reader, struct moment now, uint32_t epoch,
                  struct bytes topic, struct attempt *attempt)
{
    CLEANUP(secret_wipe)
    struct secret key = {0};
    int r;

    r = chain_receiver_find(&reader->secret->chain, now, epoch, &attempt->chain);
    if (r < 0)
        return r;
    kdf(&attempt->chain.key, "group topic", topic, &key);
    envelope_key_init(&attempt->topic.key, &key, reader->key + SIGN_PUBLIC_SIZE, epoch);
    envelope_commit(&key, &attempt->topic.commit);
    return 0;
}

/* @attempt opened: the chain moves, the key is kept for the next envelope of @topic. */
static void keep(struct group_reader *reader, struct moment now, struct reader_topic *topic,
                 const struct attempt *attempt)
{
    struct chain_receiver *chain = &reader->secret->chain;

    if (attempt->chain.epoch < chain->epoch)
        return;
    if (attempt->chain.epoch > chain->epoch)
        forget_keys(reader);
    chain_receiver_move(chain, &attempt->chain, now, reader->settings.handshake_timeout_ms);
    *topic->secret = attempt->topic;
    topic->epoch = attempt->chain.epoch;
    topic->has_key = true;
}

/* Makes sure the topic's window exists before @sequence moves it. */
static void begin_window(const struct group_reader *reader, struct reader_topic *topic,
                         uint64_t sequence, bool expected)
{
    if (topic->skip && topic->replay.begun) {
        replay_skip(&topic->replay, sequence);
        topic->is_uncounted = true;
    }
    topic->skip = false;
    if (topic->replay.begun)
        return;
    if (topic->shared) {
        topic->is_guessed = topic->is_uncounted = true;
        topic->start = sequence;
        replay_start(&topic->replay, sequence >= REPLAY_WINDOW ? sequence - REPLAY_WINDOW + 1 : 0);
        return;
    }
    /* What was sealed before the key was handed out may still come, once: it was held back. */
    topic->is_guessed = !expected || !reader->listed;
    topic->start = sequence;
    replay_start(&topic->replay, topic->is_guessed ? sequence : MIN(topic->listed, sequence));
    topic->is_uncounted = topic->is_guessed || topic->listed > sequence;
    topic->messages = topic->listed_messages;
}

/*
 * What is in an envelope that opened: its first message's number, and how many. Numbers begin as
 * the sequence and run ahead of it with the first batch.
 */
static int count_messages(const struct envelope *e, struct bytes content, uint64_t *ret_number,
                          size_t *ret_count)
{
    struct content_cursor cursor = content_cursor_over(content);
    struct bytes first = content, headers, payload;
    size_t count = 1;
    int r = 0;

    if (e->format == ENVELOPE_FORMAT_BATCH) {
        r = content_batch_check(content, e->headers, &count);
        if (r == 0)
            r = content_next(&cursor, &first) > 0 ? 0 : AICO_EFORMAT;
    }
    if (r == 0)
        r = content_split(first, e->headers, &headers, &payload);
    if (r < 0)
        return r;
    *ret_number = e->sequence;
    (void)header_take_number(&headers, ret_number);
    *ret_count = count;
    return 0;
}

/* How many messages are missing before number @number; 0: not known, or none. */
static uint64_t missing_before(const struct reader_topic *topic, uint64_t number)
{
    if (!topic->replay.strict || topic->is_uncounted || number <= topic->messages)
        return 0;
    return number - topic->messages;
}

/* The window moves over an envelope that opened, and its messages are counted. */
static void move_window(struct group_reader *reader, struct reader_topic *topic,
                        const struct group_opened *opened, const struct gap_sink *sink)
{
    reader->missing = missing_before(topic, opened->number);
    replay_move(&topic->replay, (uint32_t)opened->sequence, sink);
    reader->missing = 0;
    topic->is_uncounted = false;
    topic->messages = opened->number + opened->count;
    if (opened->sequence == topic->start)
        topic->start_number = opened->number;
}

/* Only asked while the topic's window has not begun. */
static bool is_expected(const struct group_reader *reader, const struct reader_topic *topic,
                        struct bytes name, bool expected)
{
    if (topic && topic->replay.begun)
        return false;
    return reader->expects ? reader->expects(reader->expects_context, reader, name) : expected;
}

/* Whether the rule of this group, and no earlier one, decides for the topic. */
static bool is_of_rule(const struct group_reader *reader, struct reader_topic *topic,
                       struct bytes name)
{
    const struct rule *rule;

    if (!reader->registry || (topic && topic->is_ruled))
        return true;
    rule = registry_rule_for(reader->registry, name);
    if (!rule || !bytes_equal(rule->filter, filter_of(reader)))
        return false;
    if (topic)
        topic->is_ruled = true;
    return true;
}

void group_reader_set_registry(struct group_reader *reader, const struct registry *registry)
{
    reader->registry = registry;
    for (struct reader_topic *topic = reader->topics; topic; topic = topic->hh.next)
        topic->is_ruled = false;
}

void group_reader_list(struct group_reader *reader, const struct control_stand *stand,
                       size_t *windows, const struct gap_sink *sink)
{
    struct reader_topic *topic = find_topic(reader, stand->topic);

    if (!topic && belongs(reader, stand->topic))
        topic = add_topic(reader, stand->topic, windows);
    if (!topic)
        return;
    topic->listed = stand->next;
    topic->listed_messages = stand->messages;
    if (topic->skip && topic->replay.begun) {
        if (stand->next >= topic->replay.next) {
            topic->messages = stand->messages;
            topic->is_uncounted = false;
        }
        replay_skip(&topic->replay, stand->next);
        topic->skip = false;
    } else if (topic->replay.begun && topic->is_guessed && stand->next < topic->start) {
        if (topic->start_number > stand->messages)
            reader->missing = topic->start_number - stand->messages;
        sink->report(sink->context, stand->next, topic->start - 1);
        reader->missing = 0;
    }
    topic->is_guessed = false;
}

static int open_known(struct group_reader *reader, struct moment now, const struct envelope *e,
                      struct envelope_open_input *in, struct reader_topic *topic, uint8_t *plain,
                      struct bytes *ret_content)
{
    int r;

    in->key = &topic->secret->key;
    in->commit = &topic->secret->commit;
    r = envelope_open(e, in, plain, ret_content);
    if (r == 0) {
        reader->secret->chain.opened = true;
        reader->secret->chain.heard_ms = now.boot_ms;
    }
    return r;
}

static int open_derived(struct group_reader *reader, struct moment now, const struct envelope *e,
                        struct envelope_open_input *in, struct bytes name, size_t *windows,
                        uint8_t *plain, struct reader_topic **topic, struct bytes *ret_content)
{
    CLEANUP(attempt_wipe)
    struct attempt attempt = {0};
    int r;

    if (!*topic && *windows >= GROUP_TOPICS_MAX)
        return AICO_ELIMIT;
    r = derive(reader, now, e->epoch, name, &attempt);
    if (r < 0)
        return r;
    in->key = &attempt.topic.key;
    in->commit = &attempt.topic.commit;
    r = envelope_open(e, in, plain, ret_content);
    in->key = NULL; /* they go with this scope */
    in->commit = NULL;
    if (r < 0)
        return r;
    if (!*topic)
        *topic = add_topic(reader, name, windows);
    if (!*topic) {
        memory_wipe(plain, ret_content->size);
        return AICO_ENOMEM;
    }
    keep(reader, now, *topic, &attempt);
    return 0;
}

/*
 * A will: sealed one epoch ahead, in a row of its own. Neither the chain nor the window moves,
 * since its publisher may still be there and go on; a later will may come, an earlier one may not.
 */
static int open_will(struct group_reader *reader, struct moment now, const struct envelope *e,
                     struct envelope_open_input *in, struct bytes name, size_t *windows,
                     uint8_t *plain, struct reader_topic *topic, struct group_opened *ret_opened)
{
    CLEANUP(attempt_wipe)
    struct attempt attempt = {0};
    struct bytes content;
    uint8_t context[HASH_SIZE];
    int r;

    if (e->format != ENVELOPE_FORMAT_MESSAGE)
        return AICO_EFORMAT;
    if (topic && e->sequence < topic->will_next)
        return AICO_EREPLAY;
    if (!topic && *windows >= GROUP_TOPICS_MAX)
        return AICO_ELIMIT;
    r = derive(reader, now, e->epoch, name, &attempt);
    if (r < 0)
        return r;
    context_of(reader, name, DELIVERY_EVENT, context);
    in->context = context;
    in->key = &attempt.topic.key;
    in->commit = &attempt.topic.commit;
    r = envelope_open(e, in, plain, &content);
    in->context = NULL; /* they go with this scope */
    in->key = NULL;
    in->commit = NULL;
    if (r == AICO_EOPEN && ++reader->failures >= FAILURES_MAX)
        return AICO_ELIMIT;
    if (r < 0)
        return r;
    if (!topic)
        topic = add_topic(reader, name, windows);
    if (!topic) {
        memory_wipe(plain, content.size);
        return AICO_ENOMEM;
    }
    topic->will_next = (uint64_t)e->sequence + 1;
    *ret_opened = (struct group_opened){content, reader->t0_ms + e->time, 0, 0, 1, true};
    return 0;
}

int group_open(struct group_reader *reader, struct moment now, const struct envelope *e,
               uint8_t delivery, struct bytes name, bool expected, size_t *windows, uint8_t *plain,
               const struct gap_sink *sink, struct group_opened *ret_opened)
{
    struct reader_topic *topic;
    uint8_t room[HASH_SIZE];
    struct envelope_open_input in = {
        .rule = {ENVELOPE_ALLOW(ENVELOPE_FORMAT_MESSAGE) | ENVELOPE_ALLOW(ENVELOPE_FORMAT_BATCH),
                 reader->padded, reader->trailer},
        .context = room,
        .publisher = reader->key,
        .reader_key = &reader->secret->reader_key,
        .slot = reader->slot,
        .ahead = reader->ahead,
    };
    bool heads = bytes_equal_text(name, HEADS_TOPIC);
    struct bytes content;
    int r;

    topic = find_topic(reader, name);
    if (!topic && !heads && !belongs(reader, name))
        return AICO_EOPEN;
    if (!heads && !is_of_rule(reader, topic, name))
        return AICO_EOPEN;
    r = envelope_check(e, &in.rule);
    if (r < 0)
        return r;
    if (e->sequence >= GROUP_WILL_BASE)
        return heads || delivery != DELIVERY_EVENT
                   ? AICO_EOPEN
                   : open_will(reader, now, e, &in, name, windows, plain, topic, ret_opened);
    if (topic) {
        r = replay_check(&topic->replay, e->sequence);
        if (r < 0)
            return r;
    }
    if (topic && (!topic->has_context || topic->delivery != delivery)) {
        context_of(reader, name, delivery, topic->context);
        topic->delivery = delivery;
        topic->has_context = true;
    } else if (!topic) {
        context_of(reader, name, delivery, room);
    }
    if (topic)
        in.context = topic->context;

    if (topic && topic->has_key && topic->epoch == e->epoch)
        r = open_known(reader, now, e, &in, topic, plain, &content);
    else
        r = open_derived(reader, now, e, &in, name, windows, plain, &topic, &content);
    if (r == AICO_EOPEN && ++reader->failures >= FAILURES_MAX)
        return AICO_ELIMIT;
    if (r < 0)
        return r;
    *ret_opened =
        (struct group_opened){content, reader->t0_ms + e->time, e->sequence, e->sequence, 1, false};
    /* Malformed content is the publisher's doing; its number is used all the same. */
    if (!heads)
        r = count_messages(e, content, &ret_opened->number, &ret_opened->count);
    begin_window(reader, topic, e->sequence, !heads && is_expected(reader, topic, name, expected));
    move_window(reader, topic, ret_opened, sink);
    if (heads) {
        reader->unheard_ms = 0;
        reader->heads_missed = false;
    } else if (reader->unheard_ms == 0) {
        reader->unheard_ms = now.boot_ms;
    }
    return r;
}

bool group_reader_look_ahead(const struct group_reader *reader, const struct envelope *e,
                             uint8_t delivery, struct bytes name, struct trailers_ahead *ahead)
{
    const struct reader_topic *topic = find_topic(reader, name);

    return topic && topic->has_key && topic->epoch == e->epoch && topic->has_context &&
           topic->delivery == delivery && e->trailer_kind != ENVELOPE_TRAILER_NONE &&
           e->trailer_kind == reader->trailer && replay_check(&topic->replay, e->sequence) == 0 &&
           trailers_ahead_add(ahead, &topic->secret->commit, topic->context, e->signed_part, NULL);
}

void group_reader_announce(struct group_reader *reader, const struct control_stand *stand,
                           bool expected, size_t *windows, const struct gap_sink *sink)
{
    struct reader_topic *topic = find_topic(reader, stand->topic);

    expected = is_expected(reader, topic, stand->topic, expected);
    if (!topic && expected && reader->listed && belongs(reader, stand->topic))
        topic = add_topic(reader, stand->topic, windows);
    if (!topic || (!topic->replay.begun && !(expected && reader->listed)))
        return;
    /* Said before the list was, which overtook it: news only of what we did not listen to. */
    if (!topic->replay.begun && stand->next < topic->listed)
        return;
    begin_window(reader, topic, stand->next, expected);
    if (stand->next < topic->replay.next)
        return; /* it was overtaken */
    reader->missing = missing_before(topic, stand->messages);
    replay_announce(&topic->replay, stand->next, sink);
    reader->missing = 0;
    topic->is_uncounted = false;
    topic->messages = stand->messages;
}

void group_reader_tick(struct group_reader *reader, struct moment now, bool backlogged)
{
    if (chain_receiver_tick(&reader->secret->chain, now, reader->settings.group_epoch_ms,
                            reader->settings.handshake_timeout_ms, backlogged))
        forget_keys(reader);
}

int64_t group_reader_deadline(const struct group_reader *reader, bool backlogged)
{
    return chain_receiver_deadline(&reader->secret->chain, reader->settings.group_epoch_ms,
                                   backlogged);
}
