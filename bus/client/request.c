/* SPDX-License-Identifier: Apache-2.0 */
/* What an application thread waits for: answers, each in time or by name. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "client/internal.h"

struct operation *operation_start(struct client *client, struct moment now,
                                  enum operation_kind kind, int64_t timeout_ms, void *ticket)
{
    struct operation *operation = calloc(1, sizeof(*operation));

    if (!operation) {
        client->host.done(client->host.context, ticket,
                          &(struct client_answer){.code = AICO_ENOMEM, .text = "out of memory"});
        return NULL;
    }
    operation->kind = kind;
    operation->ticket = ticket;
    operation->started_ms = now.boot_ms;
    operation->deadline_ms = timeout_ms < 0 ? MOMENT_NEVER : now.boot_ms + timeout_ms;
    DL_APPEND(client->operations, operation);
    client->requests += kind == OPERATION_REQUEST;
    client->flush_count += kind == OPERATION_FLUSH;
    if (client->state == CLIENT_ENDED) {
        operation_fail(client, operation, client->end_code, client->end_text);
        return NULL;
    }
    return operation;
}

static void operation_free(struct client *client, struct operation *operation)
{
    DL_DELETE(client->operations, operation);
    client->flush_count -= operation->kind == OPERATION_FLUSH;
    buffer_wipe_deinit(&operation->payload);
    buffer_deinit(&operation->json);
    free(operation);
}

void operation_end(struct client *client, struct operation *operation, struct client_answer *answer)
{
    void *ticket = operation->ticket;

    if (operation->kind == OPERATION_REQUEST)
        ledger_request_ended(client, operation->topic, operation->peer, answer->code);
    if (ticket)
        client->host.done(client->host.context, ticket, answer);
    else if (answer->message)
        aico_message_free(&answer->message);
    operation_free(client, operation);
}

void operation_fail(struct client *client, struct operation *operation, int code, const char *text)
{
    operation_end(client, operation, &(struct client_answer){.code = code, .text = text});
}

struct operation *operation_find_id(struct client *client, enum operation_kind kind, uint64_t id)
{
    struct operation *operation;

    DL_FOREACH(client->operations, operation)
    if (operation->kind == kind && operation->id == id && id != 0)
        return operation;
    return NULL;
}

struct operation *operation_find_resolve(struct client *client, uint64_t id)
{
    struct operation *operation;

    DL_FOREACH(client->operations, operation)
    if (operation->kind == OPERATION_REQUEST && operation->resolve_id == id && id != 0)
        return operation;
    return NULL;
}

/* The request whose PUBLISH had id @request. */
struct operation *operation_by_reply(struct client *client, uint64_t request)
{
    struct operation *operation = operation_find_id(client, OPERATION_REQUEST, request);

    return operation && operation->reference_known ? operation : NULL;
}

void client_forget(struct client *client, void *ticket)
{
    struct operation *operation;

    DL_FOREACH(client->operations, operation)
    if (operation->ticket == ticket)
        operation->ticket = NULL;
}

int64_t operations_deadline(const struct client *client)
{
    int64_t deadline = MOMENT_NEVER;
    const struct operation *operation;

    DL_FOREACH(client->operations, operation)
    deadline = MIN(deadline, operation->deadline_ms);
    return deadline;
}

/* A word about the handshake ends no attempt, it may be forged; but whoever waited in vain hears
 * it. */
static void operation_time_out(struct client *client, struct operation *operation)
{
    char text[200];

    if (operation->claim < 0) {
        (void)snprintf(text, sizeof(text),
                       "%s did not answer; it, or the broker in its name, claims: %s",
                       operation->peer->name, aico_error_string(operation->claim));
        operation_fail(client, operation, operation->claim, text);
        return;
    }
    operation_fail(client, operation, AICO_ETIMEOUT,
                   operation->kind == OPERATION_REQUEST && operation->id != 0
                       ? "the responder did not answer in time"
                       : "no answer in time");
}

void operations_tick(struct client *client, struct moment now)
{
    struct operation *operation, *next;

    DL_FOREACH_SAFE(client->operations, operation, next)
    {
        if (now.boot_ms < operation->deadline_ms)
            continue;
        if (operation->kind == OPERATION_SUBSCRIBE)
            subscription_give_up(client, operation->subscription);
        operation_time_out(client, operation);
    }
}

void operations_peer_claims(struct client *client, struct bytes name, int code)
{
    struct operation *operation;

    DL_FOREACH(client->operations, operation)
    if (operation->peer && operation->id == 0 && bytes_equal_text(name, operation->peer->name))
        operation->claim = code;
}

static void send_query(struct client *client, struct operation *operation)
{
    struct reader r = reader_over(buffer_view(&operation->payload));
    struct bytes what = reader_lp8(&r), argument = reader_lp8(&r);
    struct writer w = client_control_begin(client, RECORD_HEAD_SIZE + 8 + 2 * 256);

    operation->id = client->next_id++;
    operation->json.size = 0;
    record_write_query(&w, operation->id, what, argument);
    client_control_end(client, &w);
}

static void send_resolve(struct client *client, struct operation *operation)
{
    struct writer w = client_control_begin(client, RECORD_HEAD_SIZE + 8 + 256);

    operation->subscription = 0;
    operation->resolve_id = client->next_id++;
    record_write_resolve(&w, operation->resolve_id, topic_name(operation->topic));
    client_control_end(client, &w);
}

static void send_ping(struct client *client, struct operation *operation)
{
    struct writer w = client_control_begin(client, RECORD_HEAD_SIZE + 8);

    operation->id = client->next_id++;
    record_write_ping(&w, operation->id);
    client_control_end(client, &w);
}

/* Over the channel with the component, dialled if there is none; on_ready() then comes back. */
static void ping_component(struct client *client, struct moment now, struct operation *operation)
{
    struct bytes name = bytes_text(operation->peer->name);
    int r = sessions_ping(client->sessions, now, name, &operation->pong_number);

    if (r == 0)
        operation->id = client->next_id++; /* on no record: it only says that it was sent */
    else if (r == AICO_ESTATE)
        r = sessions_dial(client->sessions, now, name);
    if (r < 0)
        operation_fail(client, operation, r, aico_error_string(r));
}

void operations_peer_ready(struct client *client, struct moment now, struct client_component *peer,
                           bool ratchet)
{
    struct operation *operation, *next;

    DL_FOREACH_SAFE(client->operations, operation, next)
    {
        int r;

        if (operation->peer != peer)
            continue;
        if (operation->kind == OPERATION_PING &&
            !ratchet) /* also one that was sent over a former channel */
            ping_component(client, now, operation);
        if (operation->kind != OPERATION_REQUEST || operation->id != 0)
            continue;
        r = publish_request(client, now, operation);
        if (r < 0 && r != AICO_ESTATE)
            operation_fail(client, operation, r, aico_error_string(r));
    }
}

/* Whether @operation waits for a ratchet rather than a channel. */
static bool needs_ratchet(struct client *client, const struct operation *operation)
{
    return operation->kind == OPERATION_REQUEST && operation->topic &&
           topic_is_ratcheted(client, operation->topic);
}

void operations_peer_lost(struct client *client, struct client_component *peer, bool ratchet,
                          int code, const char *text)
{
    struct operation *operation, *next;

    DL_FOREACH_SAFE(client->operations, operation, next)
    if (operation->peer == peer && (operation->id == 0 || operation->kind == OPERATION_PING) &&
        needs_ratchet(client, operation) == ratchet)
        operation_fail(client, operation, code, text[0] ? text : aico_error_string(code));
}

static void operation_send(struct client *client, struct moment now, struct operation *operation)
{
    if (client->state != CLIENT_READY)
        return; /* sent by operations_link_up() */
    if (operation->kind == OPERATION_QUERY)
        send_query(client, operation);
    else if (operation->kind == OPERATION_REQUEST)
        send_resolve(client, operation);
    else if (operation->kind == OPERATION_PING && operation->peer)
        ping_component(client, now, operation);
    else if (operation->kind == OPERATION_PING)
        send_ping(client, operation);
}

void operations_link_up(struct client *client, struct moment now)
{
    struct operation *operation, *next;

    DL_FOREACH_SAFE(client->operations, operation, next)
    if (operation->id == 0)
        operation_send(client, now, operation);
}

static bool is_act(const struct operation *operation)
{
    struct reader r = reader_over(buffer_view(&operation->payload));

    return operation->kind == OPERATION_REQUEST ||
           (operation->kind == OPERATION_QUERY && query_is_act(reader_lp8(&r)));
}

/* A request that was on its way may have been carried out: it is not repeated, nor is what the
 * broker was told to do. What only asks is asked again when the link is up. */
void operations_link_down(struct client *client, int code, const char *text)
{
    struct operation *operation, *next;

    DL_FOREACH_SAFE(client->operations, operation, next)
    {
        if (operation->id != 0 && is_act(operation)) {
            operation_fail(client, operation, code, text);
        } else if (operation->kind == OPERATION_UNSUBSCRIBE) {
            operation_end(client, operation, &(struct client_answer){.text = ""});
        } else {
            operation->id = 0;
            operation->resolve_id = 0;
            if (operation->kind != OPERATION_PING)
                operation->peer = NULL;
        }
    }
}

void client_request(struct client *client, struct moment now, struct bytes topic,
                    struct bytes payload, int64_t timeout_ms, void *ticket)
{
    struct operation *operation =
        operation_start(client, now, OPERATION_REQUEST, timeout_ms, ticket);

    if (!operation)
        return;
    operation->topic = client_topic_get(client, topic);
    if (!operation->topic)
        operation_fail(client, operation, AICO_ETOPIC, "not a valid topic");
    else if (buffer_append(&operation->payload, payload) < 0)
        operation_fail(client, operation, AICO_ENOMEM, "out of memory");
    else
        operation_send(client, now, operation);
}

void client_query(struct client *client, struct moment now, struct bytes what,
                  struct bytes argument, int64_t timeout_ms, void *ticket)
{
    struct operation *operation = operation_start(client, now, OPERATION_QUERY, timeout_ms, ticket);
    uint8_t text[512];
    struct writer w = writer_over(text, sizeof(text));

    if (!operation)
        return;
    writer_lp8(&w, what);
    writer_lp8(&w, argument);
    if (w.failed)
        operation_fail(client, operation, AICO_EINVAL, "the question is too long");
    else if (buffer_append(&operation->payload, writer_view(&w)) < 0)
        operation_fail(client, operation, AICO_ENOMEM, "out of memory");
    else
        operation_send(client, now, operation);
}

void client_ping(struct client *client, struct moment now, struct bytes peer, int64_t timeout_ms,
                 void *ticket)
{
    struct operation *operation = operation_start(client, now, OPERATION_PING, timeout_ms, ticket);

    if (!operation)
        return;
    if (peer.size > 0 && !component_name_is_valid(peer)) {
        operation_fail(client, operation, AICO_EPEERUNKNOWN, "not a component's name");
        return;
    }
    if (peer.size > 0 && !(operation->peer = component_get(client, peer))) {
        operation_fail(client, operation, AICO_ENOMEM, "out of memory");
        return;
    }
    operation_send(client, now, operation);
}

static void end_ping(struct client *client, struct moment now, struct operation *operation)
{
    operation_end(
        client, operation,
        &(struct client_answer){.text = "", .round_trip_ms = now.boot_ms - operation->started_ms});
}

void receive_pong(struct client *client, struct moment now, uint64_t token)
{
    struct operation *operation = operation_find_id(client, OPERATION_PING, token);

    if (operation && !operation->peer)
        end_ping(client, now, operation);
}

void receive_component_pong(struct client *client, struct moment now, struct bytes name,
                            uint64_t number)
{
    struct client_component *peer = component_get(client, name);
    struct operation *operation, *next;

    DL_FOREACH_SAFE(client->operations, operation, next)
    if (operation->kind == OPERATION_PING && peer && operation->peer == peer &&
        operation->id != 0 && operation->pong_number == number)
        end_ping(client, now, operation);
}

int receive_resolved(struct client *client, struct moment now,
                     const struct record_resolved *resolved)
{
    struct client_component *component = component_number_find(client, resolved->component);
    struct operation *operation;
    int r;

    if (!component)
        return AICO_EPROTO;
    operation = operation_find_resolve(client, resolved->id);
    if (!operation)
        return 0;
    operation->resolve_id = 0;
    operation->peer = component;
    r = publish_request(client, now, operation);
    if (r < 0 && r != AICO_ESTATE)
        operation_fail(client, operation, r, aico_error_string(r));
    return 0;
}

/* What the broker has done for us that changes something here. */
static void note_done(struct client *client, const struct operation *query)
{
    struct reader r = reader_over(buffer_view(&query->payload));

    if (bytes_equal_text(reader_lp8(&r), "forget"))
        seen_forget(client, reader_lp8(&r));
}

int receive_answer(struct client *client, const struct record_answer *answer)
{
    struct operation *operation = operation_find_id(client, OPERATION_QUERY, answer->id);

    if (!operation)
        return 0;
    if (answer->offset != operation->json.size || answer->total < answer->piece.size)
        return AICO_EPROTO;
    if (buffer_append(&operation->json, answer->piece) < 0) {
        operation_fail(client, operation, AICO_ENOMEM, "out of memory");
    } else if (operation->json.size == answer->total) {
        struct buffer json = operation->json;

        operation->json = (struct buffer){0};
        note_done(client, operation);
        operation_end(client, operation,
                      &(struct client_answer){.text = "", .json = buffer_view(&json)});
        buffer_deinit(&json);
    }
    return 0;
}

void client_flush(struct client *client, struct moment now, uint64_t last_id, int64_t timeout_ms,
                  void *ticket)
{
    struct operation *operation = operation_start(client, now, OPERATION_FLUSH, timeout_ms, ticket);

    if (!operation)
        return;
    operation->flush_id = last_id;
    flushes_check(client);
}

void flushes_check(struct client *client)
{
    struct operation *operation, *next;

    DL_FOREACH_SAFE(client->operations, operation, next)
    {
        struct client_answer answer = {.code = client->refused_code, .text = client->refused_text};

        if (operation->kind != OPERATION_FLUSH || !publish_is_answered(client, operation))
            continue;
        client->refused_code = 0;
        operation_end(client, operation, &answer);
        client->refused_text[0] = '\0';
    }
}

void operations_free(struct client *client)
{
    while (client->operations)
        operation_fail(client, client->operations, AICO_ECLOSED, "the client was closed");
}
