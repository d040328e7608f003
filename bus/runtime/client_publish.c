/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The application's messages into the queue. What the registry in force already forbids is refused
 * here; everything else is sealed and sent by the thread, which may refuse it later.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "envelope/headers.h"
#include "runtime/client.h"
#include "wire/record.h"
#include "wire/topic.h"

#define TTL_MAX_MS UINT32_MAX /* 49 days */
#define RECEIPT_WAIT_MS 30000
#define RECEIPT_WAIT_MAX_MS UINT32_MAX
/* Padded and sealed it still fits one record. */
#define RETAINED_SIZE_MAX (56 * 1024)

/* --- may it be said? ------------------------------------------------------------------------ */

static bool is_verdict_of(const struct aico_client *c, const struct verdict *v, struct bytes topic)
{
    return v && v->registry_version == registry_version(c->registry) &&
           bytes_equal(bytes_of(v->topic, v->topic_size), topic);
}

/* What the registry says of the valid @topic, remembered: with the lock held. */
static const struct verdict *verdict_of(struct aico_client *c, struct bytes topic)
{
    uint64_t version = registry_version(c->registry);
    const struct component *me;
    struct verdict *v;

    if (is_verdict_of(c, c->last_verdict, topic))
        return c->last_verdict;
    c->last_verdict = v = &c->verdicts[hash_bytes(topic.at, topic.size) % CLIENT_VERDICTS];
    if (is_verdict_of(c, v, topic))
        return v;
    me = registry_find_identity(c->registry, c->home.identity->public);
    v->registry_version = version;
    v->rule = registry_rule_for(c->registry, topic);
    v->is_allowed = v->rule && me && rule_allows(v->rule, me, RIGHT_PUBLISH);
    v->topic_size = (uint8_t)topic.size;
    bytes_copy(v->topic, topic);
    return v;
}

static int say_denied(const struct aico_client *c, struct bytes topic, const struct rule *rule,
                      struct aico_error *err)
{
    const char *name = c->home.identity->name;

    if (!rule)
        return aico_error_set(err, AICO_EDENIED,
                              "%.*s: no rule of registry %" PRIu64 " matches, so nobody may "
                              "publish; the owner may add one: aico-keytool rule set '%.*s' "
                              "--publish %s --subscribe WHO",
                              (int)topic.size, (const char *)topic.at,
                              registry_version(c->registry), (int)topic.size,
                              (const char *)topic.at, name);
    return aico_error_set(err, AICO_EDENIED,
                          "%.*s: %s may not publish: registry %" PRIu64 ", line %zu: rule %.*s; "
                          "the owner may allow it: aico-keytool rule set",
                          (int)topic.size, (const char *)topic.at, name,
                          registry_version(c->registry), rule->line, (int)rule->filter.size,
                          (const char *)rule->filter.at);
}

static int check_topic(struct bytes topic, struct aico_error *err)
{
    if (!topic_is_valid(topic))
        return aico_error_set(err, AICO_ETOPIC, "\"%.*s\": not a valid topic%s",
                              (int)MIN(topic.size, (size_t)TOPIC_SIZE_MAX), (const char *)topic.at,
                              filter_is_valid(topic) ? ", it has a wildcard" : "");
    if (topic_is_internal(topic))
        return aico_error_set(err, AICO_ETOPIC, "%.*s: names that begin with $ belong to the bus",
                              (int)topic.size, (const char *)topic.at);
    return 0;
}

static int check_size(const struct aico_client *c, struct bytes topic, size_t headers_size,
                      size_t size, struct aico_error *err)
{
    size_t content_max = (size_t)c->home.config->max_message_size;
    size_t headers_cost = headers_size > 0 ? 2 + headers_size : 0;

    if (size > content_max || headers_cost > content_max - size)
        return aico_error_set(err, AICO_ETOOLARGE, "%.*s: %zu bytes, but max_message_size is %zu",
                              (int)MIN(topic.size, (size_t)TOPIC_SIZE_MAX), (const char *)topic.at,
                              size + headers_cost, content_max);
    return 0;
}

/* With the lock held. */
static int check_rule(struct aico_client *c, struct bytes topic, struct aico_error *err)
{
    const struct verdict *verdict = verdict_of(c, topic);

    return verdict->is_allowed ? 0 : say_denied(c, topic, verdict->rule, err);
}

int client_may_publish(struct aico_client *c, struct bytes topic, size_t headers_size, size_t size,
                       struct aico_error *err)
{
    int r = check_topic(topic, err);

    if (r == 0)
        r = check_size(c, topic, headers_size, size, err);
    if (r < 0)
        return r;
    client_lock(c);
    r = client_check(c, err);
    if (r == 0)
        r = check_rule(c, topic, err);
    client_unlock(c);
    return r;
}

/* With the lock held: whether what is published there is stored. */
static int check_stored(struct aico_client *c, struct bytes topic, struct aico_error *err)
{
    const struct rule *rule = verdict_of(c, topic)->rule;

    if (rule && rule->store.on)
        return 0;
    return aico_error_set(err, AICO_ENOTSTORED,
                          "%.*s: registry %" PRIu64 ", line %zu: rule %.*s does not store; the "
                          "owner may let it: aico-keytool rule set --store age=7d",
                          (int)topic.size, (const char *)topic.at, registry_version(c->registry),
                          rule ? rule->line : 0, rule ? (int)rule->filter.size : 0,
                          rule ? (const char *)rule->filter.at : "");
}

/* With the lock held, after check_rule(): whether what is said there can be kept for one component
 * that is away. */
static int check_mailbox(struct aico_client *c, struct bytes topic, struct aico_error *err)
{
    const struct rule *rule = verdict_of(c, topic)->rule;

    if (rule->seal == SEAL_RATCHET)
        return 0;
    return aico_error_set(err, AICO_ENOTSTORED,
                          "%.*s: registry %" PRIu64
                          ", line %zu: who is away opens only what a rule "
                          "with seal ratchet has sealed, rule %.*s has not; the owner may change "
                          "it: aico-keytool rule set --seal ratchet",
                          (int)topic.size, (const char *)topic.at, registry_version(c->registry),
                          rule->line, (int)rule->filter.size, (const char *)rule->filter.at);
}

/* With the lock held: whether @name can be addressed, and may read what we say there. */
static int check_receiver(struct aico_client *c, struct bytes topic, struct bytes name,
                          struct aico_error *err)
{
    const struct component *peer = registry_find_name(c->registry, name);
    const struct rule *rule = verdict_of(c, topic)->rule;

    if (!peer || peer->state != COMPONENT_ACTIVE)
        return aico_error_set(err, AICO_EPEERUNKNOWN,
                              "%.*s: registry %" PRIu64 " has no active component of that name; "
                              "see: aico-keytool list",
                              (int)name.size, (const char *)name.at, registry_version(c->registry));
    if (!rule_allows(rule, peer, RIGHT_SUBSCRIBE))
        return aico_error_set(err, AICO_EDENIED,
                              "%.*s: %s may not read it: registry %" PRIu64 ", line %zu: rule %.*s",
                              (int)topic.size, (const char *)topic.at, peer->name,
                              registry_version(c->registry), rule->line, (int)rule->filter.size,
                              (const char *)rule->filter.at);
    return 0;
}

/* With the lock held, after check_rule(). */
static int check_retain(struct aico_client *c, struct bytes topic, size_t size, struct bytes to,
                        struct aico_error *err)
{
    const struct rule *rule = verdict_of(c, topic)->rule;

    if (to.size > 0)
        return aico_error_set(err, AICO_EINVAL, "a retained value goes to all, not to one");
    if (rule->seal != SEAL_GROUP && rule->seal != SEAL_NONE)
        return aico_error_set(err, AICO_EINVAL,
                              "%.*s: rule %.*s seals for each reader alone, so there is nothing to "
                              "retain; it needs seal group",
                              (int)topic.size, (const char *)topic.at, (int)rule->filter.size,
                              (const char *)rule->filter.at);
    if (size > RETAINED_SIZE_MAX)
        return aico_error_set(err, AICO_ETOOLARGE,
                              "%.*s: %zu bytes, but a retained value has at most %d",
                              (int)topic.size, (const char *)topic.at, size, RETAINED_SIZE_MAX);
    return 0;
}

/* With the lock held, after check_rule(): only what is sealed once for all its readers can be told
 * from its repetition by each of them. */
static int check_outbox(struct aico_client *c, struct bytes topic,
                        const struct aico_publish_options *options, struct aico_error *err)
{
    const struct rule *rule = verdict_of(c, topic)->rule;

    if (options->to || options->retain)
        return aico_error_set(err, AICO_EINVAL,
                              "an outbox is for events to subscribers, not for %s",
                              options->to ? "one component" : "retained values");
    if (rule->seal != SEAL_GROUP)
        return aico_error_set(err, AICO_EINVAL,
                              "%.*s: an outbox is for rules with seal group, and rule %.*s has "
                              "another seal",
                              (int)topic.size, (const char *)topic.at, (int)rule->filter.size,
                              (const char *)rule->filter.at);
    return 0;
}

/* With the lock held, after check_rule(): whether its readers can say that they have it. */
static int check_receipt(struct aico_client *c, const struct aico_publish_options *options,
                         struct bytes topic, struct aico_error *err)
{
    const struct rule *rule = verdict_of(c, topic)->rule;

    if (options->retain)
        return aico_error_set(
            err, AICO_EINVAL,
            "%.*s: there are no receipts for a retained value: nobody can be asked "
            "who has it, and who is shown it may come at any time; publish it "
            "without retain, too, and have a receipt of that",
            (int)topic.size, (const char *)topic.at);
    if (rule->seal == SEAL_NONE)
        return aico_error_set(err, AICO_EINVAL,
                              "%.*s: rule %.*s does not seal, so nothing could vouch for a receipt",
                              (int)topic.size, (const char *)topic.at, (int)rule->filter.size,
                              (const char *)rule->filter.at);
    return 0;
}

/* --- headers -------------------------------------------------------------------------------- */

/* @until_ms 0: for ever. @once: the message's number in the outbox; 0: there is none. */
static int write_headers(const struct aico_header *headers, size_t count, uint64_t once,
                         const struct header_receipt *receipt, int64_t until_ms,
                         struct buffer *ret_block, struct aico_error *err)
{
    size_t size = (until_ms ? HEADER_UNTIL_SIZE_MAX : 0) + (once ? HEADER_ONCE_SIZE_MAX : 0) +
                  (receipt->level ? HEADER_RECEIPT_SIZE_MAX : 0);

    if (count > HEADERS_MAX - HEADERS_RESERVED)
        return aico_error_set(err, AICO_EINVAL, "%zu headers, but at most %d are possible", count,
                              HEADERS_MAX - HEADERS_RESERVED);
    for (size_t i = 0; i < count; i++)
        size += 3 + strlen(headers[i].key) + strlen(headers[i].value);
    if (size > HEADER_BLOCK_MAX - HEADER_BLOCK_RESERVED)
        return aico_error_set(err, AICO_EINVAL,
                              "the headers take %zu bytes, at most %d are "
                              "possible",
                              size, HEADER_BLOCK_MAX - HEADER_BLOCK_RESERVED);
    if (!buffer_reserve(ret_block, size))
        return aico_error_set(err, AICO_ENOMEM, "out of memory");

    struct writer w = writer_over(ret_block->at, size);

    if (once)
        header_write_once(&w, once);
    if (receipt->level)
        header_write_receipt(&w, receipt);
    if (until_ms)
        header_write_until(&w, until_ms);
    for (size_t i = 0; i < count; i++)
        if (headers[i].key[0] == HEADER_BUS ||
            header_write(&w, bytes_text(headers[i].key), bytes_text(headers[i].value)) < 0)
            return aico_error_set(err, AICO_EINVAL,
                                  "header \"%.64s\": a key has 1..64 printable characters without "
                                  "= and does not begin with $, a value at most 4096 bytes of "
                                  "UTF-8",
                                  headers[i].key);
    ret_block->size = w.size;
    return 0;
}

/* --- the queue ------------------------------------------------------------------------------ */

/* A large message fits into memory as soon as half of the room is free, however large it is; a file
 * has its limit. */
static bool has_room(const struct aico_client *c, size_t size)
{
    size_t queued = c->queue.bytes + c->core_bytes;

    if (c->outbox)
        return size <= c->outbox_limit && c->outbox_bytes <= c->outbox_limit - size;
    return queued + MIN(size, CLIENT_QUEUE_LIMIT / 2) <= CLIENT_QUEUE_LIMIT;
}

static int wait_for_room(struct aico_client *c, size_t size, int64_t wait_ms,
                         struct aico_error *err)
{
    int64_t deadline_ms;
    bool is_late = wait_ms == 0;
    int r;

    if (has_room(c, size))
        return client_check(c, err);
    deadline_ms = is_late ? 0 : wait_deadline(wait_ms);
    c->room_waiters++;
    client_wake_driver(c);
    while ((r = client_check(c, err)) == 0 && !has_room(c, size) && !is_late)
        is_late = !client_wait(c, &c->has_room, deadline_ms);
    c->room_waiters--;
    if (r == 0 && !has_room(c, size) && c->outbox)
        r = aico_error_set(
            err, AICO_EFULL,
            "the outbox is full: %zu of %zu bytes wait for the broker, %zu are asked",
            c->outbox_bytes, c->outbox_limit, size);
    else if (r == 0 && !has_room(c, size))
        r = aico_error_set(err, AICO_EFULL, "%zu bytes wait for the broker%s",
                           c->queue.bytes + c->core_bytes,
                           wait_ms == 0 ? "; wait_ms would wait for room" : "");
    return r;
}

/* Everything of @out but its id is set; the lock is held. */
static int enqueue(struct aico_client *c, struct outgoing *out, struct bytes topic, struct bytes to,
                   struct bytes headers, struct bytes payload, struct aico_error *err)
{
    void *block = fifo_push(&c->queue, outgoing_size(out));

    if (!block)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    out->id = c->next_id++;
    outgoing_write(block, out, topic, to, headers, payload);
    return 0;
}

/* What is to be published, checked as far as the registry does not matter. */
struct said {
    const struct aico_publish_options *options;
    struct bytes topic, to, payload;
    struct outgoing out;
    int64_t until_ms; /* real clock; 0: for ever */
    struct header_receipt receipt;
};

static int take_receipt(struct said *said, struct aico_error *err)
{
    const struct aico_publish_options *options = said->options;

    switch (options->ack) {
    case AICO_ACK_ACCEPTED:
    case AICO_ACK_STORED:
        return 0;
    case AICO_ACK_DELIVERED:
        said->receipt.level = RECEIPT_DELIVERED;
        break;
    case AICO_ACK_SIGNED:
        said->receipt.level = RECEIPT_SIGNED;
        break;
    default:
        return aico_error_set(err, AICO_EINVAL, "ack %d: there is no such acknowledgement",
                              (int)options->ack);
    }
    if (options->receipt_ms < 0 || options->receipt_ms > RECEIPT_WAIT_MAX_MS)
        return aico_error_set(err, AICO_EINVAL, "receipt_ms %" PRId64 ": 0, or 1..%u",
                              options->receipt_ms, RECEIPT_WAIT_MAX_MS);
    said->out.receipt = (uint8_t)said->receipt.level;
    said->out.receipt_ms =
        options->receipt_ms > 0 ? (uint32_t)options->receipt_ms : RECEIPT_WAIT_MS;
    return 0;
}

/* Everything of @said but the header block, whose size is not known to the outbox's lock. */
static int take_options(struct said *said, struct aico_error *err)
{
    const struct aico_publish_options *options = said->options;

    said->out.delivery = options->retain ? DELIVERY_RETAINED : DELIVERY_EVENT;
    if (options->to)
        said->to = bytes_text(options->to);
    if (options->mailbox && !options->to)
        return aico_error_set(err, AICO_EINVAL, "a mailbox is that of one component: `to`");
    if (options->to && (options->ack == AICO_ACK_STORED || options->mailbox))
        said->out.delivery = DELIVERY_MAILBOX;
    if (options->ttl_ms < 0 || options->ttl_ms > TTL_MAX_MS)
        return aico_error_set(err, AICO_EINVAL, "ttl_ms %" PRId64 ": 0, or 1..%u", options->ttl_ms,
                              TTL_MAX_MS);
    if (options->ttl_ms > 0) {
        said->until_ms = moment_now().real_ms + options->ttl_ms;
        said->out.expires_ms = moment_now().boot_ms + options->ttl_ms;
    }
    if (options->to && !component_name_is_valid(said->to))
        return aico_error_set(err, AICO_EPEERUNKNOWN, "\"%.64s\": not a component's name",
                              options->to);
    return take_receipt(said, err);
}

/* With the lock held: what the registry, the connection and the outbox say. */
static int check_said(struct aico_client *c, const struct said *said, size_t headers_size,
                      struct aico_error *err)
{
    const struct aico_publish_options *options = said->options;
    bool is_known = is_verdict_of(c, c->last_verdict, said->topic); /* only a valid one is */
    int r = is_known ? 0 : check_topic(said->topic, err);

    if (r == 0)
        r = client_check(c, err);
    if (r == 0 && !(is_known && c->last_verdict->is_allowed))
        r = check_rule(c, said->topic, err);
    if (r == 0 && c->outbox)
        r = check_outbox(c, said->topic, options, err);
    if (r == 0 && said->out.delivery == DELIVERY_MAILBOX)
        r = check_mailbox(c, said->topic, err);
    else if (r == 0 && options->ack == AICO_ACK_STORED)
        r = check_stored(c, said->topic, err);
    if (r == 0 && said->receipt.level)
        r = check_receipt(c, options, said->topic, err);
    if (r == 0 && options->retain)
        r = check_retain(c, said->topic, said->payload.size + headers_size, said->to, err);
    if (r == 0 && said->to.size > 0)
        r = check_receiver(c, said->topic, said->to, err);
    return r;
}

static int take_headers(struct said *said, uint64_t once, struct buffer *ret_block,
                        struct aico_error *err)
{
    int r = 0;

    if (said->options->header_count > 0 || said->until_ms > 0 || once > 0 || said->receipt.level)
        r = write_headers(said->options->headers, said->options->header_count, once, &said->receipt,
                          said->until_ms, ret_block, err);
    said->out.topic_size = (uint8_t)said->topic.size;
    said->out.to_size = (uint8_t)said->to.size;
    said->out.headers_size = (uint16_t)ret_block->size;
    said->out.payload_size = (uint32_t)said->payload.size;
    return r;
}

/* With the lock held: whether @said waits in the store for readers that may be away. What changes
 * until it is sealed only changes how often a reader says its receipt. */
static bool is_kept(struct aico_client *c, const struct said *said)
{
    const struct rule *rule = topic_is_valid(said->topic) ? verdict_of(c, said->topic)->rule : NULL;

    return said->out.delivery == DELIVERY_MAILBOX || (rule && rule->store.on && said->to.size == 0);
}

static void number_receipt(struct aico_client *c, struct said *said)
{
    client_lock(c);
    said->receipt.run = c->instance;
    said->receipt.number = ++c->receipts;
    if (is_kept(c, said))
        said->receipt.until_ms = moment_now().real_ms + said->out.receipt_ms;
    client_unlock(c);
}

/* To memory only. */
static int publish_now(struct aico_client *c, struct said *said, struct aico_error *err)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer headers = {0};
    int r;

    if (said->receipt.level)
        number_receipt(c, said);
    r = take_headers(said, 0, &headers, err);
    if (r == 0)
        r = check_size(c, said->topic, headers.size, said->payload.size, err);
    if (r < 0)
        return r;
    client_lock(c);
    client_enter(c);
    r = check_said(c, said, headers.size, err);
    if (r == 0)
        r = wait_for_room(c, outgoing_size(&said->out), said->options->wait_ms, err);
    if (r == 0)
        r = enqueue(c, &said->out, said->topic, said->to, buffer_view(&headers), said->payload,
                    err);
    if (r == 0)
        client_send(c);
    client_leave(c);
    client_unlock(c);
    return r;
}

/* Into the file and then to memory, in one order: the outbox's lock is held. */
static int put_and_enqueue(struct aico_client *c, struct said *said, uint64_t number,
                           struct aico_error *err)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer headers = {0};
    int r = take_headers(said, number, &headers, err);

    if (r == 0)
        r = outbox_put(c->outbox, number, said->until_ms, said->topic, buffer_view(&headers),
                       said->payload, err);
    if (r < 0)
        return r;
    client_lock(c);
    r = enqueue(c, &said->out, said->topic, said->to, buffer_view(&headers), said->payload, err);
    if (r == 0)
        client_wake(c);
    client_unlock(c);
    return r;
}

static int publish_by_outbox(struct aico_client *c, struct said *said, struct aico_error *err)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer probe = {0};
    size_t cost = 0;
    uint64_t number;
    int r;

    if (said->receipt.level)
        number_receipt(c, said);
    r = take_headers(said, UINT64_MAX / 2, &probe, err); /* no number is longer */
    if (r == 0)
        r = check_size(c, said->topic, probe.size, said->payload.size, err);
    if (r < 0)
        return r;
    client_lock(c);
    client_enter(c);
    r = check_said(c, said, probe.size, err);
    cost = outbox_cost(said->topic.size, probe.size, said->payload.size);
    if (r == 0)
        r = wait_for_room(c, cost, said->options->wait_ms, err);
    if (r == 0)
        c->outbox_bytes += cost;
    client_unlock(c);
    if (r == 0) {
        number = outbox_begin(c->outbox);
        r = put_and_enqueue(c, said, number, err);
        outbox_end(c->outbox, number, r == 0 ? said->out.id : 0, cost);
        if (r < 0) {
            client_lock(c);
            c->outbox_bytes -= cost;
            client_unlock(c);
        }
    }
    client_lock(c);
    client_leave(c);
    client_unlock(c);
    return r;
}

int aico_publish(struct aico_client *c, const char *topic, const void *payload, size_t size,
                 const struct aico_publish_options *options, uint64_t *ret_id,
                 struct aico_error *err)
{
    static const struct aico_publish_options defaults;
    struct said said = {.options = options ? options : &defaults,
                        .topic = bytes_text(topic),
                        .payload = bytes_of(payload, size)};
    int r = take_options(&said, err);

    if (r == 0)
        r = c->outbox ? publish_by_outbox(c, &said, err) : publish_now(c, &said, err);
    if (r == 0 && ret_id)
        *ret_id = said.out.id;
    return r;
}

int aico_reply(struct aico_client *c, const struct aico_message *request, const void *payload,
               size_t size, struct aico_error *err)
{
    struct bytes topic = bytes_text(request->topic), to = bytes_text(request->sender);
    struct outgoing out = {
        .delivery = DELIVERY_REPLY,
        .request = request->id,
        .topic_size = (uint8_t)topic.size,
        .to_size = (uint8_t)to.size,
        .payload_size = (uint32_t)size,
    };
    int r;

    if (request->kind != AICO_MESSAGE_REQUEST)
        return aico_error_set(err, AICO_EINVAL, "only a request can be replied to");
    r = check_topic(topic, err);
    if (r == 0)
        r = check_size(c, topic, 0, size, err);
    if (r < 0)
        return r;
    memcpy(out.ref, request->reference, sizeof(out.ref));

    client_lock(c);
    client_enter(c);
    r = wait_for_room(c, outgoing_size(&out), 0, err);
    if (r == 0)
        r = enqueue(c, &out, topic, to, bytes_of(NULL, 0), bytes_of(payload, size), err);
    if (r == 0)
        client_send(c);
    client_leave(c);
    client_unlock(c);
    return r;
}
