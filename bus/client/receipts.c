/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receipts for us. Of a message of ours that asks for them it is kept who is to have it: one
 * component, by name; the readers who were sent a copy each; or whom the broker named (RECEIVERS):
 * who listens, and whose durable readers it stored it for. Each says over its channel, which the
 * broker cannot enter, that its application has taken the message. Who was named and is silent is
 * told by name (decisions 80, 115). What we owe others: receipts_owed.c.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "client/internal.h"
#include "client/message.h"
#include "session/control.h"
#include "trust/receipt.h"

#define AWAITED_MAX 4096 /* messages; then the queue waits */

/* One message of one run: an outbox sends what a former run has numbered. */
struct receipt_key {
    uint64_t run, number;
};

struct awaited_reader {
    struct awaited_reader *next;
    struct client_component *component;
    bool has_answered;
    bool is_own; /* named for itself, or it alone is to have it: it answers for no queue group */
};

/* A message of ours whose readers are to say that they have it. */
struct awaited {
    UT_hash_handle hh;        /* client->awaited by id: in the order of publishing */
    UT_hash_handle hh_number; /* client->awaited_numbers */
    uint64_t id;              /* the application's */
    struct receipt_key key;   /* of `$receipt` */
    int64_t until_ms;         /* boot clock */
    enum receipt_level level;
    bool is_addressed; /* nobody else has it */
    bool is_named;     /* everybody who is to have it is among `readers` */
    bool is_stored;    /* its readers need not have been there */
    uint32_t named;    /* by the broker so far */
    size_t groups;     /* queue groups of which one member is to have it */
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

/* Queue groups for which nobody has answered. */
static size_t silent_groups(const struct awaited *a)
{
    const struct awaited_reader *reader;
    size_t answered = 0;

    if (a->groups == 0)
        return 0;
    LL_FOREACH(a->readers, reader)
    answered += reader->has_answered && !reader->is_own;
    return a->groups > answered ? a->groups - answered : 0;
}

static size_t awaited_count(const struct awaited *a)
{
    return a->silent + silent_groups(a) + !a->is_named;
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
    message->count = awaited_count(a);
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
    a->key = (struct receipt_key){asked->receipt.run, asked->receipt.number};
    a->level = asked->receipt.level;
    a->is_stored = asked->receipt.until_ms > 0;
    a->until_ms = now.boot_ms + (a->is_stored ? MAX(asked->receipt.until_ms - now.real_ms, 0)
                                              : (int64_t)asked->timeout_ms);
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
    HASH_ADD(hh_number, client->awaited_numbers, key, sizeof(a->key), a);
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

static int expect(struct awaited *a, struct client_component *component, bool is_own)
{
    struct awaited_reader *reader = reader_of(a, component);

    if (reader) {
        reader->is_own |= is_own;
        return 0;
    }
    reader = calloc(1, sizeof(*reader));
    if (!reader)
        return AICO_ENOMEM;
    reader->component = component;
    reader->is_own = is_own;
    LL_PREPEND(a->readers, reader);
    a->silent++;
    return 0;
}

/* Everybody is known now. */
static void settle_named(struct client *client, struct awaited *a)
{
    a->is_named = true;
    if (awaited_count(a) > 0)
        return;
    if (!a->readers)
        tell(client, a, "", AICO_ENORECEIVER, 0, bytes_of(NULL, 0),
             a->is_stored ? "it is stored, and nobody who may read it was there or has a durable "
                            "reader"
                          : "nobody who may read it was there");
    else /* all have answered before they were named */
        tell(client, a, "", 0, 0, bytes_of(NULL, 0), "");
    forget(client, a);
}

int receipts_expect(struct client *client, uint64_t id, struct client_component *component)
{
    struct awaited *a = find(client, id);

    return a ? expect(a, component, true) : 0;
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
        uint32_t number = reader_u32(&numbers);
        struct client_component *component =
            number > 0 ? component_number_find(client, number) : NULL;

        if (!component && (number > 0 || (a && !a->is_stored)))
            return AICO_EPROTO;
        if (a && !component)
            a->groups++;
        else if (a && expect(a, component, true) < 0)
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
    const struct receipt_key key = {said->run, said->number};
    const struct rule *rule;
    struct awaited_reader *reader;
    struct awaited *a = NULL;
    int r = 0;

    HASH_FIND(hh_number, client->awaited_numbers, &key, sizeof(key), a);
    if (!a || said->level != a->level || !from ||
        !component_is_active(client->registry, from, now.real_ms))
        return;
    reader = reader_of(a, peer);
    rule = client_topic_rule(client, a->topic);
    if ((reader && reader->has_answered) || (!reader && a->is_addressed) || !rule ||
        !rule_allows(rule, from, RIGHT_SUBSCRIBE))
        return;
    if (a->level == RECEIPT_SIGNED)
        r = take_signed(client, a, from, said, &document);
    if (r == AICO_ENOMEM || (!reader && expect(a, peer, false) < 0)) {
        client_end(client, AICO_ENOMEM, "out of memory");
        return;
    }
    reader_of(a, peer)->has_answered = true;
    a->silent--;
    tell(client, a, peer->name, r, said->taken_ms, buffer_view(&document),
         r < 0 ? "its receipt is not signed by it for this message" : "");
    if (awaited_count(a) == 0)
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

static void time_out_groups(struct client *client, struct awaited *a)
{
    char text[HINT_SIZE_MAX + 1];
    size_t silent = silent_groups(a);

    a->groups = 0;
    if (silent == 0)
        return;
    (void)snprintf(text, sizeof(text),
                   "%zu queue groups are to have it, and none of their members has said that its "
                   "application took it",
                   silent);
    tell(client, a, "", AICO_ENORECEIPT, 0, bytes_of(NULL, 0), text);
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
    time_out_groups(client, a);
    LL_FOREACH(a->readers, reader)
    {
        if (reader->has_answered)
            continue;
        a->silent--;
        (void)snprintf(text, sizeof(text),
                       a->is_stored
                           ? "it is stored for %s, which has not said that its application took it"
                           : "%s was sent it and has not said that its application took it",
                       reader->component->name);
        tell(client, a, reader->component->name, AICO_ENORECEIPT, 0, bytes_of(NULL, 0), text);
    }
    forget(client, a);
}

/* --- time ------------------------------------------------------------------------------------- */

int64_t receipts_deadline(const struct client *client)
{
    return client->awaited_due_ms > 0 ? client->awaited_due_ms : MOMENT_NEVER;
}

void receipts_tick(struct client *client, struct moment now)
{
    struct awaited *a, *next;

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
    struct awaited *a, *next;

    HASH_ITER(hh, client->awaited, a, next)
    {
        forget(client, a);
    }
}
