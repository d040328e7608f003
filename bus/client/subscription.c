/* SPDX-License-Identifier: Apache-2.0 */
/* What this client wants to receive; declared again in every session before anything else. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "client/internal.h"

#define SUBSCRIBE_AGAIN_MS 1000 /* "ask again in a second" */

uint64_t subscription_next_id(struct client *client, struct client_subscription *s)
{
    if (s->hh_by_id.tbl)
        HASH_DELETE(hh_by_id, client->subscriptions_by_id, s);
    s->hh_by_id.tbl = NULL;
    s->id = client->next_id++;
    HASH_ADD(hh_by_id, client->subscriptions_by_id, id, sizeof(s->id), s);
    if (!s->hh_by_id.tbl)
        client_end(client, AICO_ENOMEM, "out of memory");
    return s->id;
}

static bool is_presence_of_all(const struct client_subscription *s)
{
    return s->internal && bytes_equal_text(bytes_of(s->filter, s->size), TOPIC_PRESENCE_PREFIX "*");
}

static bool is_heads(const struct client_subscription *s)
{
    return s->internal && bytes_equal_text(bytes_of(s->filter, s->size), TOPIC_HEADS);
}

static struct filters *heard_with(struct client *client, const struct client_subscription *s)
{
    return &client->heard[s->queue_size > 0];
}

static void send_subscribe(struct client *client, struct client_subscription *s)
{
    struct writer w;
    uint64_t id;

    s->again = false;
    if (s->follow) {
        follow_send(client, s);
        return;
    }
    id = subscription_next_id(client, s);
    w = client_control_begin(client, RECORD_HEAD_SIZE + 32 + TOPIC_SIZE_MAX + CLIENT_QUEUE_MAX);

    s->live = false;
    record_write_subscribe(&w, &(struct record_subscribe){
                                   .id = id,
                                   .subscription = s->number,
                                   .policy = s->policy,
                                   .serve = s->serve,
                                   .filter = bytes_of(s->filter, s->size),
                                   .queue = bytes_of(s->queue, s->queue_size),
                               });
    client_control_end(client, &w);
}

struct client_subscription *subscription_add(struct client *client, struct bytes filter,
                                             uint8_t policy, bool serve, struct bytes queue,
                                             bool internal)
{
    return subscription_new(client, filter, policy, serve, queue, internal, NULL);
}

struct client_subscription *subscription_new(struct client *client, struct bytes filter,
                                             uint8_t policy, bool serve, struct bytes queue,
                                             bool internal, struct client_follow *follow)
{
    struct client_subscription *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->number = ++client->next_subscription;
    s->policy = policy;
    s->serve = serve;
    s->internal = internal;
    s->queue_size = (uint8_t)queue.size;
    bytes_copy(s->queue, queue);
    s->size = (uint8_t)filter_canonical(filter, s->filter);
    if (s->size == 0) {
        free(s);
        return NULL;
    }
    if (!follow && filters_add(heard_with(client, s), bytes_of(s->filter, s->size), 0) < 0) {
        free(s);
        return NULL;
    }
    HASH_ADD(hh, client->subscriptions, number, sizeof(s->number), s);
    if (!HASH_ADDED(hh, s)) {
        if (!follow)
            filters_remove(heard_with(client, s), bytes_of(s->filter, s->size));
        free(s);
        return NULL;
    }
    s->follow = follow;
    client->has_heads |= is_heads(s);
    client->match_generation++;
    client->queue_count += s->queue_size > 0;
    if (client->state == CLIENT_READY)
        send_subscribe(client, s);
    return s;
}

static void subscription_remove(struct client *client, struct client_subscription *s)
{
    struct bytes filter = bytes_of(s->filter, s->size);

    HASH_DEL(client->subscriptions, s);
    if (s->hh_by_id.tbl)
        HASH_DELETE(hh_by_id, client->subscriptions_by_id, s);
    if (!s->follow) {
        filters_remove(heard_with(client, s), filter);
        if (filters_count(heard_with(client, s), filter) == 0) /* it may be there twice */
            sessions_unsubscribed(client->sessions, filter, s->queue_size > 0);
    }
    client->has_heads &= !is_heads(s);
    follow_free(&s->follow);
    client->queue_count -= s->queue_size > 0;
    free(s);
    client->match_generation++;
}

void subscriptions_resend(struct client *client)
{
    struct client_subscription *s, *next;

    client->presence_coming = client->presence_live = client->presence_refused = false;
    client->subscribe_again_ms = 0;
    HASH_ITER(hh, client->subscriptions, s, next)
    send_subscribe(client, s);
}

static struct client_subscription *find_by_id(struct client *client, uint64_t id)
{
    struct client_subscription *s = NULL;

    HASH_FIND(hh_by_id, client->subscriptions_by_id, &id, sizeof(id), s);
    return s;
}

void subscription_live(struct client *client, struct moment now, uint64_t id, uint32_t value)
{
    struct client_subscription *s = find_by_id(client, id);
    struct operation *operation = operation_find_id(client, OPERATION_UNSUBSCRIBE, id);
    struct client_answer answer = {.text = "", .subscription = value};
    int r = 0;

    if (operation)
        operation_end(client, operation, &answer);
    if (!s)
        return;
    s->live = true;
    client->presence_coming |= is_presence_of_all(s);
    if (!s->internal && !s->follow)
        r = sessions_subscribed(client->sessions, now, bytes_of(s->filter, s->size),
                                s->queue_size > 0);
    if (r < 0)
        client_end(client, r, aico_error_string(r));
    for (operation = client->operations; operation; operation = operation->next)
        if (operation->kind == OPERATION_SUBSCRIBE && operation->subscription == s->number) {
            answer.subscription = s->number;
            operation_end(client, operation, &answer);
            return;
        }
}

void subscriptions_tick(struct client *client, struct moment now)
{
    struct client_subscription *s, *next;

    if (client->state != CLIENT_READY || client->subscribe_again_ms == 0 ||
        now.boot_ms < client->subscribe_again_ms)
        return;
    client->subscribe_again_ms = 0;
    HASH_ITER(hh, client->subscriptions, s, next)
    {
        if (s->again)
            send_subscribe(client, s);
    }
}

bool subscription_refused(struct client *client, struct moment now, uint64_t id, int code,
                          const char *text)
{
    struct client_subscription *s = find_by_id(client, id);
    struct operation *operation;

    if (!s)
        return false;
    /* Many at once, after a link perhaps, by several processes: that is no reason to lose one. */
    if (code == AICO_ERATE) {
        s->again = true;
        client->subscribe_again_ms = now.boot_ms + SUBSCRIBE_AGAIN_MS;
        return true;
    }
    for (operation = client->operations; operation; operation = operation->next)
        if (operation->kind == OPERATION_SUBSCRIBE && operation->subscription == s->number) {
            operation_fail(client, operation, code, text);
            subscription_remove(client, s);
            return true;
        }
    /* It was live once and a new registry forbids it: the application is told and it is gone. */
    if (!s->internal)
        deliver_refused(client, 0, bytes_of(s->filter, s->size), code, text);
    else if (is_presence_of_all(s))
        client->presence_live = client->presence_refused = true;
    subscription_remove(client, s);
    return true;
}

void client_subscribe(struct client *client, struct moment now, struct bytes filter, uint8_t policy,
                      bool serve, struct bytes queue, int64_t timeout_ms, void *ticket)
{
    struct operation *operation =
        operation_start(client, now, OPERATION_SUBSCRIBE, timeout_ms, ticket);
    struct client_subscription *s;

    if (!operation)
        return;
    if (queue.size > CLIENT_QUEUE_MAX) {
        operation_fail(client, operation, AICO_EINVAL, "the name of the queue group is too long");
        return;
    }
    if (!filter_is_valid(filter)) {
        operation_fail(client, operation, AICO_ETOPIC, "not a valid filter");
        return;
    }
    /* Whoever reads topics also hears how far their publishers have come. */
    if (!client->has_heads && !topic_is_internal(filter))
        (void)subscription_add(client, bytes_text(TOPIC_HEADS), SLOW_DROP_OLD, false,
                               bytes_of(NULL, 0), true);
    values_forget_shown(client, filter);
    if (client->state == CLIENT_ENDED) /* for want of memory; that was the answer, too */
        return;
    s = subscription_add(client, filter, policy, serve, queue, false);
    if (client->state == CLIENT_ENDED)
        return;
    if (!s) {
        operation_fail(client, operation, AICO_ENOMEM, "out of memory");
        return;
    }
    operation->subscription = s->number;
}

/* @as_member: as one of a queue group. What came until now has been handed on, what comes from now
 * on is dropped here, and the broker names it to another member. */
static uint64_t send_unsubscribe(struct client *client, uint32_t number, bool as_member)
{
    struct writer w = client_control_begin(client, 2 * RECORD_HEAD_SIZE + 24);
    uint64_t id = client->next_id++;

    if (as_member && !client->arrivals && client->topic_acked < client->topic_received) {
        client->topic_acked = client->topic_received;
        record_write_ack(&w, client->topic_acked);
    }
    record_write_unsubscribe(&w, id, number);
    client_control_end(client, &w);
    return id;
}

void subscription_give_up(struct client *client, uint32_t number)
{
    struct client_subscription *s = NULL;
    bool as_member;

    HASH_FIND(hh, client->subscriptions, &number, sizeof(number), s);
    if (!s)
        return;
    as_member = s->queue_size > 0;
    subscription_remove(client, s);
    if (client->state == CLIENT_READY)
        (void)send_unsubscribe(client, number, as_member);
}

void client_unsubscribe(struct client *client, struct moment now, uint32_t subscription,
                        int64_t timeout_ms, void *ticket)
{
    struct operation *operation =
        operation_start(client, now, OPERATION_UNSUBSCRIBE, timeout_ms, ticket);
    struct client_subscription *s = NULL;
    bool as_member;

    if (!operation)
        return;
    HASH_FIND(hh, client->subscriptions, &subscription, sizeof(subscription), s);
    if (!s || s->internal) {
        operation_fail(client, operation, AICO_ENOTFOUND, "no such subscription");
        return;
    }
    as_member = s->queue_size > 0;
    subscription_remove(client, s);
    if (client->state != CLIENT_READY) {
        operation_end(client, operation, &(struct client_answer){.text = ""});
        return;
    }
    operation->id = send_unsubscribe(client, subscription, as_member);
}

/* Channel-sealed topics are sent reader by reader: only to those who are there. */
void want_presence(struct client *client)
{
    if (client->presence_wanted)
        return;
    client->presence_wanted = true;
    (void)subscription_add(client, bytes_text(TOPIC_PRESENCE_PREFIX "*"), SLOW_BLOCK, false,
                           bytes_of(NULL, 0), true);
}

void client_subscriptions_free(struct client *client)
{
    struct client_subscription *s, *next;

    HASH_CLEAR(hh_by_id, client->subscriptions_by_id);
    HASH_ITER(hh, client->subscriptions, s, next)
    {
        HASH_DEL(client->subscriptions, s);
        follow_free(&s->follow);
        free(s);
    }
    filters_deinit(&client->heard[0]);
    filters_deinit(&client->heard[1]);
}
