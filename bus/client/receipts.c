/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receipts. Of a message of ours that asks for them it is kept who is to have it: one component, by
 * name; the readers who were sent a copy each; or whom the broker named (RECEIVERS). Each says over
 * its channel, which the broker cannot enter, that its application has taken the message. Who was
 * named and is silent is told by name (decision 80).
 *
 * Of others' messages it is kept what is to be said to whom, until a channel stands.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "client/internal.h"
#include "client/message.h"
#include "session/control.h"
#include "trust/receipt.h"

#define AWAITED_MAX 4096 /* messages; then the queue waits */
#define OWED_BYTES_MAX                                                                             \
    ((size_t)48 * 1024)     /* receipts for one publisher that wait for its channel */
#define SENDS_PER_SECOND 50 /* control messages; a busy reader says many in one */
#define SENDS_BURST 100
#define SEND_AGAIN_MS 20

struct awaited_reader {
    struct awaited_reader *next;
    struct client_component *component;
    bool has_answered;
};

/* A message of ours whose readers are to say that they have it. */
struct awaited {
    UT_hash_handle hh;        /* client->awaited by id: in the order of publishing */
    UT_hash_handle hh_number; /* client->awaited_numbers */
    uint64_t id;              /* the application's */
    uint64_t number;          /* of `$receipt` */
    int64_t until_ms;         /* boot clock */
    enum receipt_level level;
    bool is_addressed; /* nobody else has it */
    bool is_named;     /* everybody who is to have it is among `readers` */
    uint32_t named;    /* by the broker so far */
    size_t silent;     /* readers that have not answered */
    struct client_topic *topic;
    struct awaited_reader *readers;
    uint64_t size;
    uint8_t hash[RECEIPT_HASH_SIZE];
};

/* --- ours: who is to have it ------------------------------------------------------------------ */

static struct awaited *find(struct client *client, uint64_t id)
{
    struct awaited *a = NULL;

    HASH_FIND(hh, client->awaited, &id, sizeof(id), a);
    return a;
}

static void forget(struct client *client, struct awaited *a)
{
    HASH_DELETE(hh, client->awaited, a);
    HASH_DELETE(hh_number, client->awaited_numbers, a);
    while (a->readers) {
        struct awaited_reader *reader = a->readers;

        LL_DELETE(a->readers, reader);
        free(reader);
    }
    free(a);
}

/* Tells the application of one reader, or with @name empty of all. */
static void tell(struct client *client, const struct awaited *a, const char *name, int code,
                 int64_t taken_ms, struct bytes document, const char *text)
{
    struct aico_message *message =
        client_message_new(&client->messages, &(struct message_parts){.kind = AICO_MESSAGE_RECEIPT,
                                                                      .topic = topic_name(a->topic),
                                                                      .sender = bytes_text(name),
                                                                      .payload = document,
                                                                      .text = text});

    if (!message) {
        client_end(client, AICO_ENOMEM, "out of memory");
        return;
    }
    message->id = a->id;
    message->code = code;
    message->sent_ms = taken_ms;
    message->count = a->silent + !a->is_named;
    client->host.deliver(client->host.context, message);
}

bool receipts_have_room(const struct client *client)
{
    return HASH_COUNT(client->awaited) < AWAITED_MAX;
}

int receipts_begin(struct client *client, struct moment now, const struct receipt_asked *asked)
{
    struct awaited *a = calloc(1, sizeof(*a));

    if (!a)
        return AICO_ENOMEM;
    a->id = asked->id;
    a->number = asked->receipt.number;
    a->level = asked->receipt.level;
    a->until_ms = now.boot_ms + asked->timeout_ms;
    a->topic = asked->topic;
    a->is_addressed = asked->is_addressed;
    a->size = asked->payload.size;
    if (a->level == RECEIPT_SIGNED)
        receipt_hash(asked->payload, a->hash);
    HASH_ADD(hh, client->awaited, id, sizeof(a->id), a);
    if (!HASH_ADDED(hh, a)) {
        free(a);
        return AICO_ENOMEM;
    }
    HASH_ADD(hh_number, client->awaited_numbers, number, sizeof(a->number), a);
    if (!HASH_ADDED(hh_number, a)) {
        HASH_DELETE(hh, client->awaited, a);
        free(a);
        return AICO_ENOMEM;
    }
    if (client->awaited_due_ms == 0 || a->until_ms < client->awaited_due_ms)
        client->awaited_due_ms = a->until_ms;
    return 0;
}

static struct awaited_reader *reader_of(const struct awaited *a,
                                        const struct client_component *component)
{
    struct awaited_reader *reader;

    LL_SEARCH_SCALAR(a->readers, reader, component, component);
    return reader;
}

static int expect(struct awaited *a, struct client_component *component)
{
    struct awaited_reader *reader = reader_of(a, component);

    if (reader)
        return 0;
    reader = calloc(1, sizeof(*reader));
    if (!reader)
        return AICO_ENOMEM;
    reader->component = component;
    LL_PREPEND(a->readers, reader);
    a->silent++;
    return 0;
}

/* Everybody is known now. */
static void settle_named(struct client *client, struct awaited *a)
{
    a->is_named = true;
    if (a->silent > 0)
        return;
    if (!a->readers)
        tell(client, a, "", AICO_ENORECEIVER, 0, bytes_of(NULL, 0),
             "nobody who may read it was there");
    else /* all have answered before they were named */
        tell(client, a, "", 0, 0, bytes_of(NULL, 0), "");
    forget(client, a);
}

int receipts_expect(struct client *client, uint64_t id, struct client_component *component)
{
    struct awaited *a = find(client, id);

    return a ? expect(a, component) : 0;
}

void receipts_named(struct client *client, uint64_t id)
{
    struct awaited *a = find(client, id);

    if (a)
        settle_named(client, a);
}

void receipts_without(struct client *client, uint64_t id, const struct client_component *component)
{
    struct awaited *a = find(client, id);
    struct awaited_reader *reader = a ? reader_of(a, component) : NULL;

    if (!reader || reader->has_answered)
        return;
    LL_DELETE(a->readers, reader);
    free(reader);
    a->silent--;
    if (a->is_named)
        settle_named(client, a);
}

void receipts_forget(struct client *client, uint64_t id)
{
    struct awaited *a = client->awaited ? find(client, id) : NULL;

    if (a)
        forget(client, a);
}

int receipts_name(struct client *client, uint64_t id, const struct record_receivers *record)
{
    struct awaited *a = find(client, id);
    struct reader numbers = reader_over(record->numbers);

    while (numbers.left > 0) {
        struct client_component *component = component_number_find(client, reader_u32(&numbers));

        if (!component)
            return AICO_EPROTO;
        if (a && expect(a, component) < 0)
            return AICO_ENOMEM;
    }
    if (!a || a->is_named)
        return 0;
    a->named += (uint32_t)(record->numbers.size / 4);
    if (a->named >= record->total)
        settle_named(client, a);
    return 0;
}

/* --- ours: who says that it has it ------------------------------------------------------------ */

/* What @from must have signed. */
static struct receipt expected_receipt(const struct client *client, const struct awaited *a,
                                       const struct component *from,
                                       const struct control_receipt *said)
{
    struct receipt receipt = {
        .run = said->run, .number = said->number, .taken_ms = said->taken_ms, .size = a->size};

    bytes_copy(receipt.namespace, registry_namespace(client->registry));
    bytes_copy(receipt.sender, bytes_text(client->self->name));
    bytes_copy(receipt.receiver, bytes_text(from->name));
    bytes_copy(receipt.topic, topic_name(a->topic));
    memcpy(receipt.sender_public, client->self->public, SIGN_PUBLIC_SIZE);
    memcpy(receipt.receiver_public, from->identity, SIGN_PUBLIC_SIZE);
    memcpy(receipt.hash, a->hash, sizeof(receipt.hash));
    bytes_copy(receipt.signature, said->signature);
    return receipt;
}

/* The document for the application: 0, AICO_ESIGNATURE, AICO_ENOMEM. */
static int take_signed(const struct client *client, const struct awaited *a,
                       const struct component *from, const struct control_receipt *said,
                       struct buffer *ret_document)
{
    struct receipt receipt = expected_receipt(client, a, from, said);
    int r = receipt_verify(&receipt);

    return r < 0 ? r : receipt_write(&receipt, ret_document);
}

static void take_receipt(struct client *client, struct moment now, struct client_component *peer,
                         const uint8_t *identity, const struct control_receipt *said)
{
    CLEANUP(buffer_deinit)
    struct buffer document = {0};
    const struct component *from = registry_find_identity(client->registry, identity);
    const struct rule *rule;
    struct awaited_reader *reader;
    struct awaited *a = NULL;
    int r = 0;

    HASH_FIND(hh_number, client->awaited_numbers, &said->number, sizeof(said->number), a);
    if (!a || said->run != client->settings.instance || said->level != a->level || !from ||
        !component_is_active(client->registry, from, now.real_ms))
        return;
    reader = reader_of(a, peer);
    rule = client_topic_rule(client, a->topic);
    if ((reader && reader->has_answered) || (!reader && a->is_addressed) || !rule ||
        !rule_allows(rule, from, RIGHT_SUBSCRIBE))
        return;
    if (a->level == RECEIPT_SIGNED)
        r = take_signed(client, a, from, said, &document);
    if (r == AICO_ENOMEM || (!reader && expect(a, peer) < 0)) {
        client_end(client, AICO_ENOMEM, "out of memory");
        return;
    }
    reader_of(a, peer)->has_answered = true;
    a->silent--;
    tell(client, a, peer->name, r, said->taken_ms, buffer_view(&document),
         r < 0 ? "its receipt is not signed by it for this message" : "");
    if (a->is_named && a->silent == 0)
        forget(client, a);
}

void receipts_arrived(struct client *client, struct moment now, const struct session_event *event)
{
    struct client_component *peer = component_get(client, event->peer);
    struct reader list = reader_over(event->bytes);
    struct control_receipt said;

    while (peer && client->state != CLIENT_ENDED && control_next_receipt(&list, &said))
        take_receipt(client, now, peer, event->identity, &said);
}

static void time_out(struct client *client, struct awaited *a)
{
    char text[HINT_SIZE_MAX + 1];
    struct awaited_reader *reader;

    if (!a->is_named) {
        a->is_named = true;
        if (a->silent == 0)
            tell(client, a, "", AICO_ENORECEIPT, 0, bytes_of(NULL, 0),
                 "the broker has not said whom it reached");
    }
    LL_FOREACH(a->readers, reader)
    {
        if (reader->has_answered)
            continue;
        a->silent--;
        (void)snprintf(text, sizeof(text),
                       "%s was sent it and has not said that its application took it",
                       reader->component->name);
        tell(client, a, reader->component->name, AICO_ENORECEIPT, 0, bytes_of(NULL, 0), text);
    }
    forget(client, a);
}

/* --- of others: what is to be said ------------------------------------------------------------ */

static int write_receipt(struct client *client, struct moment now, const struct read_note *note,
                         struct buffer *to)
{
    struct control_receipt said = {.level = (uint8_t)note->receipt.level,
                                   .run = note->receipt.run,
                                   .number = note->receipt.number,
                                   .taken_ms = MAX(now.real_ms, (int64_t)0)};
    uint8_t room[128];
    struct writer w = writer_over(room, sizeof(room));
    int r = 0;

    if (note->receipt.level == RECEIPT_SIGNED) {
        struct receipt receipt = {
            .run = said.run, .number = said.number, .taken_ms = said.taken_ms, .size = note->size};

        bytes_copy(receipt.namespace, registry_namespace(client->registry));
        bytes_copy(receipt.sender, bytes_text(note->sender));
        bytes_copy(receipt.receiver, bytes_text(client->self->name));
        bytes_copy(receipt.topic, bytes_text(note->topic));
        memcpy(receipt.sender_public, note->identity, SIGN_PUBLIC_SIZE);
        memcpy(receipt.receiver_public, client->self->public, SIGN_PUBLIC_SIZE);
        memcpy(receipt.hash, note->hash, sizeof(receipt.hash));
        r = receipt_sign(&receipt, client->self);
        said.signature = bytes_of(receipt.signature, SIGNATURE_SIZE);
        control_write_receipt(&w, &said);
        return r < 0 ? r : buffer_append(to, writer_view(&w));
    }
    control_write_receipt(&w, &said);
    return buffer_append(to, writer_view(&w));
}

/* As much from the front of @owed as one message takes. */
static struct bytes first_receipts(struct bytes owed)
{
    struct reader list = reader_over(owed);
    struct control_receipt said;
    size_t size = 0;

    while (control_next_receipt(&list, &said)) {
        size_t end = (size_t)(list.at - owed.at);

        if (end > CONTROL_RECEIPTS_MAX)
            break;
        size = end;
    }
    return bytes_of(owed.at, size);
}

static void owed_clear(struct client *client, struct client_component *peer)
{
    client->receipts_owed -= peer->receipts.size;
    buffer_deinit(&peer->receipts);
}

/* What @peer is owed, as far as the broker's patience with control messages goes. */
static void send_owed(struct client *client, struct moment now, struct client_component *peer)
{
    while (peer->receipts.size > 0) {
        struct bytes first = first_receipts(buffer_view(&peer->receipts));
        int r;

        if (!bucket_take(&client->receipts_sent, now.boot_ms, SENDS_PER_SECOND, SENDS_BURST)) {
            client->receipts_due_ms = now.boot_ms + SEND_AGAIN_MS;
            return;
        }
        r = sessions_send_receipts(client->sessions, now, bytes_text(peer->name), first);
        if (r == AICO_ESTATE)
            r = sessions_dial(client->sessions, now, bytes_text(peer->name));
        else if (r == 0) {
            client->receipts_owed -= first.size;
            memmove(peer->receipts.at, peer->receipts.at + first.size,
                    peer->receipts.size - first.size);
            peer->receipts.size -= first.size;
            continue;
        }
        if (r < 0) /* its publisher hears nothing, and tells our name */
            owed_clear(client, peer);
        return;
    }
}

void receipts_send(struct client *client, struct moment now)
{
    struct client_component *peer, *next;

    client->receipts_due_ms = 0;
    if (client->receipts_owed == 0 || client->state != CLIENT_READY)
        return;
    HASH_ITER(hh, client->components, peer, next)
    send_owed(client, now, peer);
}

void receipts_peer_ready(struct client *client, struct moment now, struct client_component *peer)
{
    if (client->receipts_due_ms == 0)
        send_owed(client, now, peer);
}

void receipts_peer_lost(struct client *client, struct client_component *peer)
{
    owed_clear(client, peer);
}

void client_read(struct client *client, struct moment now, const struct read_note *note)
{
    struct client_component *peer = component_get(client, bytes_text(note->sender));
    size_t before;

    if (!peer || peer->receipts.size >= OWED_BYTES_MAX)
        return; /* as above */
    before = peer->receipts.size;
    if (write_receipt(client, now, note, &peer->receipts) < 0) {
        client_end(client, AICO_ENOMEM, "out of memory");
        return;
    }
    client->receipts_owed += peer->receipts.size - before;
    if (client->receipts_due_ms == 0) /* with what else was taken since */
        client->receipts_due_ms = now.boot_ms;
}

bool client_owes_receipts(const struct client *client)
{
    return client->receipts_owed > 0;
}

/* --- time ------------------------------------------------------------------------------------- */

int64_t receipts_deadline(const struct client *client)
{
    int64_t deadline = client->awaited_due_ms > 0 ? client->awaited_due_ms : MOMENT_NEVER;

    if (client->state == CLIENT_READY && client->receipts_due_ms > 0)
        deadline = MIN(deadline, client->receipts_due_ms);
    return deadline;
}

void receipts_tick(struct client *client, struct moment now)
{
    struct awaited *a, *next;

    if (client->receipts_due_ms > 0 && now.boot_ms >= client->receipts_due_ms)
        receipts_send(client, now);
    if (client->awaited_due_ms == 0 || now.boot_ms < client->awaited_due_ms)
        return;
    client->awaited_due_ms = 0;
    HASH_ITER(hh, client->awaited, a, next)
    {
        if (now.boot_ms >= a->until_ms)
            time_out(client, a);
        else if (client->awaited_due_ms == 0 || a->until_ms < client->awaited_due_ms)
            client->awaited_due_ms = a->until_ms;
    }
}

void receipts_free(struct client *client)
{
    struct client_component *peer, *next_peer;
    struct awaited *a, *next;

    HASH_ITER(hh, client->awaited, a, next)
    {
        forget(client, a);
    }
    HASH_ITER(hh, client->components, peer, next_peer)
    owed_clear(client, peer);
}
