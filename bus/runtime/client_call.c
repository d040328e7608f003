/* SPDX-License-Identifier: Apache-2.0 */
/* Questions: an application thread asks, and whoever drives answers, in time or by name. */
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "runtime/client.h"
#include "wire/stream_record.h"
#include "wire/topic.h"

/* Asks and waits; the deadline is the core's, which always answers. */
static int ask(struct aico_client *c, struct call *call, struct aico_error *err)
{
    int r = wait_cond_init(&call->is_done_cond);

    if (r < 0)
        return aico_error_set(err, r, "out of memory");
    client_lock(c);
    r = client_check(c, err);
    if (r == 0) {
        call->last_id = c->next_id - 1;
        *c->asked_end = call;
        c->asked_end = &call->next;
        client_wake_later(c);
        client_enter(c);
        while (!call->is_done)
            (void)client_await(c, call, &call->is_done_cond, MOMENT_NEVER);
        client_leave(c);
        r = call->code;
        if (r < 0)
            (void)aico_error_set(err, r, "%s", call->text[0] ? call->text : aico_error_string(r));
    }
    client_unlock(c);
    (void)pthread_cond_destroy(&call->is_done_cond);
    return r;
}

int aico_flush(struct aico_client *c, int64_t timeout_ms, struct aico_error *err)
{
    struct call call = {.kind = CALL_FLUSH, .timeout_ms = timeout_ms};
    int r = ask(c, &call, err);

    if (r != AICO_ETIMEOUT)
        return r;
    client_lock(c);
    if (!c->is_ready && c->down_code == AICO_EUNREACHABLE)
        r = aico_error_set(err, c->down_code, "%s", c->down_text);
    client_unlock(c);
    return r;
}

int aico_subscribe(struct aico_client *c, const char *filter,
                   const struct aico_subscribe_options *options, int64_t timeout_ms,
                   uint32_t *ret_subscription, struct aico_error *err)
{
    struct call call = {
        .kind = CALL_SUBSCRIBE, .timeout_ms = timeout_ms, .subject = bytes_text(filter)};
    int r;

    if (!filter_is_valid(call.subject))
        return aico_error_set(err, AICO_ETOPIC, "\"%.255s\": not a valid filter", filter);
    if (options) {
        if (options->slow_policy < AICO_SLOW_DROP_OLD ||
            options->slow_policy > AICO_SLOW_DISCONNECT)
            return aico_error_set(err, AICO_EINVAL, "slow_policy %d: there is no such policy",
                                  (int)options->slow_policy);
        call.policy = (uint8_t)options->slow_policy;
        call.serve = options->serve;
        call.queue = bytes_text(options->queue ? options->queue : "");
        if (call.queue.size > CLIENT_QUEUE_MAX || (options->queue && call.queue.size == 0))
            return aico_error_set(err, AICO_EINVAL, "queue: the name has 1..%d bytes",
                                  CLIENT_QUEUE_MAX);
    }
    r = ask(c, &call, err);
    if (r < 0)
        return aico_error_prefix(err, r, "subscribing to %s", filter);
    if (ret_subscription)
        *ret_subscription = call.subscription;
    return 0;
}

/* What an application left at 0. */
#define FOLLOW_DEADLINE_MS 30000
#define FOLLOW_ATTEMPTS 10
#define FOLLOW_WINDOW 256
#define FOLLOW_WINDOW_GROUP 16 /* what one of a group holds is not with the others */

static int take_follow(const struct aico_follow_options *o, struct follow_request *to,
                       struct aico_error *err)
{
    bool has_since = o->start == AICO_START_TIME || o->start == AICO_START_NUMBER;

    if (o->durable) {
        to->durable = bytes_text(o->durable);
        if (to->durable.size == 0 || to->durable.size > DURABLE_NAME_MAX)
            return aico_error_set(err, AICO_EINVAL, "a durable name has 1..%d bytes",
                                  DURABLE_NAME_MAX);
    }
    if (o->queue) {
        to->queue = bytes_text(o->queue);
        if (to->queue.size == 0 || to->queue.size > QUEUE_NAME_MAX || !o->durable)
            return aico_error_set(err, AICO_EINVAL,
                                  "a queue group that follows has a name of 1..%d bytes and a "
                                  "durable name, which its members share",
                                  QUEUE_NAME_MAX);
    }
    if (o->start < AICO_START_NEW || o->start > AICO_START_LAST || o->since < 0 ||
        (o->since > 0 && !has_since))
        return aico_error_set(err, AICO_EINVAL, "start %d with since %lld: not a place to begin",
                              (int)o->start, (long long)o->since);
    if (o->deadline_ms < 0 || o->deadline_ms > UINT32_MAX || o->attempts > UINT16_MAX ||
        o->window > FOLLOW_WINDOW_MAX)
        return aico_error_set(err, AICO_EINVAL,
                              "deadline_ms, attempts or window (at most %d) is out of range",
                              FOLLOW_WINDOW_MAX);
    to->start = (uint8_t)o->start;
    to->value = (uint64_t)o->since;
    to->deadline_ms = o->deadline_ms ? (uint32_t)o->deadline_ms : FOLLOW_DEADLINE_MS;
    to->attempts = o->attempts ? (uint16_t)o->attempts : FOLLOW_ATTEMPTS;
    to->window = o->window ? (uint16_t)o->window : o->queue ? FOLLOW_WINDOW_GROUP : FOLLOW_WINDOW;
    return 0;
}

int aico_follow(struct aico_client *c, const char *filter,
                const struct aico_follow_options *options, int64_t timeout_ms,
                uint32_t *ret_subscription, struct aico_error *err)
{
    static const struct aico_follow_options defaults;
    struct call call = {.kind = CALL_FOLLOW, .timeout_ms = timeout_ms};
    int r = take_follow(options ? options : &defaults, &call.follow, err);

    call.follow.filter = bytes_text(filter);
    if (r == 0 && !filter_is_valid(call.follow.filter))
        r = aico_error_set(err, AICO_ETOPIC, "\"%.255s\": not a valid filter", filter);
    if (r == 0)
        r = ask(c, &call, err);
    if (r < 0)
        return aico_error_prefix(err, r, "following %s", filter);
    if (ret_subscription)
        *ret_subscription = call.subscription;
    return 0;
}

int aico_settle(struct aico_client *c, const struct aico_message *message,
                enum aico_verdict verdict, const char *reason, struct aico_error *err)
{
    struct verdict_given given = {.number = message->number,
                                  .subscription = message->subscription,
                                  .code = verdict == AICO_DONE    ? 0
                                          : verdict == AICO_RETRY ? AICO_ESTATE
                                                                  : AICO_EDEADLETTER};
    size_t size = reason ? strlen(reason) : 0;
    void *block = NULL;
    int r;

    if (message->number == 0 || message->subscription == 0)
        return aico_error_set(err, AICO_EINVAL, "only messages that were followed are settled");
    if (verdict < AICO_DONE || verdict > AICO_REJECT)
        return aico_error_set(err, AICO_EINVAL, "verdict %d: there is no such verdict",
                              (int)verdict);
    if (size > sizeof(given.reason) || (size > 0 && verdict != AICO_REJECT))
        return aico_error_set(err, AICO_EINVAL, "a reason of at most 255 bytes goes with REJECT");
    given.reason_size = (uint8_t)size;
    bytes_copy(given.reason, bytes_of(reason, size));
    client_lock(c);
    r = client_check(c, err);
    if (r == 0)
        block = fifo_push(&c->settled, sizeof(given));
    if (block) {
        memcpy(block, &given, sizeof(given));
        client_wake_later(c);
    }
    client_unlock(c);
    return r < 0 || block ? r : aico_error_set(err, AICO_ENOMEM, "out of memory");
}

int aico_unsubscribe(struct aico_client *c, uint32_t subscription, int64_t timeout_ms,
                     struct aico_error *err)
{
    struct call call = {
        .kind = CALL_UNSUBSCRIBE, .timeout_ms = timeout_ms, .subscription = subscription};

    return ask(c, &call, err);
}

int aico_request(struct aico_client *c, const char *topic, const void *payload, size_t size,
                 int64_t timeout_ms, struct aico_message **ret_reply, struct aico_error *err)
{
    struct call call = {.kind = CALL_REQUEST,
                        .timeout_ms = timeout_ms,
                        .subject = bytes_text(topic),
                        .body = bytes_of(payload, size)};
    int r = client_may_publish(c, call.subject, 0, size, err);

    if (r == 0)
        r = ask(c, &call, err);
    if (r < 0)
        return r;
    *ret_reply = call.message;
    return 0;
}

int aico_query(struct aico_client *c, const char *what, const char *argument, int64_t timeout_ms,
               char **ret_json, struct aico_error *err)
{
    struct call call = {.kind = CALL_QUERY,
                        .timeout_ms = timeout_ms,
                        .subject = bytes_text(what),
                        .body = bytes_text(argument ? argument : "")};
    int r = ask(c, &call, err);

    if (r < 0)
        return r;
    *ret_json = call.json;
    return 0;
}

int aico_ping(struct aico_client *c, const char *peer, int64_t timeout_ms, int64_t *ret_us,
              struct aico_error *err)
{
    struct call call = {
        .kind = CALL_PING, .timeout_ms = timeout_ms, .subject = bytes_text(peer ? peer : "")};
    int r = ask(c, &call, err);

    if (r < 0)
        return r;
    if (ret_us)
        *ret_us = call.took_us;
    return 0;
}

int aico_client_ledger(struct aico_client *c, char **ret_json, struct aico_error *err)
{
    struct call call = {.kind = CALL_LEDGER};
    int r = ask(c, &call, err);

    if (r == 0)
        *ret_json = call.json;
    return r;
}
