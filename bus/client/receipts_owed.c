/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receipts for others: what is to be said to whom when our application has taken a message.
 *
 * Of what came live it is said once, over the channel that stands or is made; where none can be
 * made, the publisher names us silent (decision 80). Of what was stored it is kept as long as its
 * publisher waits, said when it is there, and said again whenever it has come back, since what was
 * said to a link that was ending may not have arrived (decision 115). The publisher counts a
 * receipt once, so saying it again does nothing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "client/internal.h"
#include "client/message.h"
#include "session/control.h"
#include "trust/receipt.h"

#define OWED_BYTES_MAX ((size_t)48 * 1024) /* receipts for one publisher, of either kind */
#define SENDS_PER_SECOND 50                /* control messages; a busy reader says many in one */
#define SENDS_BURST 100
#define SEND_AGAIN_MS 20
#define ASK_AGAIN_MS 10000 /* where nobody says when a publisher comes back */

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

/* Receipts for a publisher that have not left. */
static size_t unsaid_bytes(const struct client_component *peer)
{
    return peer->receipts.size + peer->stored_receipts.size - peer->stored_said;
}

static void cut(struct buffer *list, size_t size)
{
    memmove(list->at, list->at + size, list->size - size);
    list->size -= size;
}

/* What is live is given up, what was stored waits until @peer has come back. */
static void put_off(struct client *client, struct client_component *peer)
{
    client->receipts_owed -= unsaid_bytes(peer);
    buffer_deinit(&peer->receipts);
    peer->stored_said = peer->stored_receipts.size;
}

/* The first @size bytes of what is owed to @peer have left. */
static void said(struct client *client, struct client_component *peer, bool is_live, size_t size)
{
    client->receipts_owed -= size;
    if (is_live) {
        cut(&peer->receipts, size);
        return;
    }
    peer->stored_said += size;
    if (peer->stored_said == peer->stored_receipts.size)
        peer->stored_unsaid = 0;
}

/* What @peer is owed, as far as the broker's patience with control messages goes. */
static void send_owed(struct client *client, struct moment now, struct client_component *peer)
{
    while (unsaid_bytes(peer) > 0) {
        bool is_live = peer->receipts.size > 0;
        struct bytes first =
            first_receipts(is_live ? buffer_view(&peer->receipts)
                                   : bytes_of(peer->stored_receipts.at + peer->stored_said,
                                              peer->stored_receipts.size - peer->stored_said));
        int r;

        if (!bucket_take(&client->receipts_sent, now.boot_ms, SENDS_PER_SECOND, SENDS_BURST)) {
            client->receipts_due_ms = now.boot_ms + SEND_AGAIN_MS;
            return;
        }
        r = sessions_send_receipts(client->sessions, now, bytes_text(peer->name), first);
        if (r == AICO_ESTATE)
            r = sessions_dial(client->sessions, now, bytes_text(peer->name));
        else if (r == 0) {
            said(client, peer, is_live, first.size);
            continue;
        }
        if (r < 0) /* its publisher hears nothing, and tells our name */
            put_off(client, peer);
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

/* All of what was stored and is waited for is to be said, whether it was before or not. */
static void say_stored_again(struct client *client, struct client_component *peer)
{
    client->receipts_owed += peer->stored_said;
    peer->stored_said = 0;
}

void receipts_peer_ready(struct client *client, struct moment now, struct client_component *peer)
{
    say_stored_again(client, peer);
    if (client->receipts_due_ms == 0)
        send_owed(client, now, peer);
}

void receipts_peer_present(struct client *client, struct moment now, struct client_component *peer)
{
    if (peer->stored_receipts.size > 0 && client->state == CLIENT_READY)
        receipts_peer_ready(client, now, peer);
}

void receipts_peer_lost(struct client *client, struct client_component *peer)
{
    put_off(client, peer);
}

/* --- of what was stored ----------------------------------------------------------------------- */

static void say_lost(struct client *client, const struct client_component *peer, uint64_t count)
{
    char text[HINT_SIZE_MAX + 1];

    if (count == 0)
        return;
    (void)snprintf(text, sizeof(text),
                   "%" PRIu64 " receipts of stored messages could not be brought to %s: it was not "
                   "there as long as it was to wait",
                   count, peer->name);
    deliver_state(client, AICO_ENORECEIPT, text);
}

/* The oldest go, which have been said if their publisher was there. */
static void make_room(struct client *client, struct client_component *peer, size_t room)
{
    while (peer->stored_receipts.size + room > OWED_BYTES_MAX) {
        struct bytes first = first_receipts(buffer_view(&peer->stored_receipts));
        struct reader list = reader_over(first);
        struct control_receipt receipt;
        uint64_t count = 0;

        while (control_next_receipt(&list, &receipt))
            count++;
        count = MIN(count, peer->stored_unsaid);
        peer->stored_unsaid -= count;
        client->receipts_owed -= first.size - MIN(first.size, peer->stored_said);
        peer->stored_said -= MIN(first.size, peer->stored_said);
        cut(&peer->stored_receipts, first.size);
        say_lost(client, peer, count);
    }
}

/* Nobody waits for them any more. */
static void end_stored(struct client *client, struct client_component *peer)
{
    uint64_t unsaid = peer->stored_unsaid;

    client->receipts_owed -= peer->stored_receipts.size - peer->stored_said;
    buffer_deinit(&peer->stored_receipts);
    peer->stored_said = 0;
    peer->stored_unsaid = 0;
    peer->stored_until_ms = 0;
    say_lost(client, peer, unsaid);
}

static void look_again(struct client *client, int64_t when_ms)
{
    if (client->stored_due_ms == 0 || when_ms < client->stored_due_ms)
        client->stored_due_ms = when_ms;
}

/* Until when @note's publisher waits, by the boot clock; 0: not any more. */
static int64_t waits_until(const struct client *client, struct moment now,
                           const struct read_note *note)
{
    int64_t left = note->receipt.until_ms - now.real_ms;

    left = MIN(left, (int64_t)UINT32_MAX) + client->settings.session.synchrony_bound_ms;
    return left > 0 ? now.boot_ms + left : 0;
}

static int owe_stored(struct client *client, struct moment now, struct client_component *peer,
                      const struct read_note *note)
{
    int64_t until_ms = waits_until(client, now, note);
    size_t before;
    int r;

    if (until_ms == 0)
        return 0; /* read long after: who asked has named us */
    want_presence(client);
    if (peer->stored_unsaid > 0) /* with this one */
        say_stored_again(client, peer);
    make_room(client, peer, CONTROL_RECEIPT_SIZE_MAX);
    before = peer->stored_receipts.size;
    r = write_receipt(client, now, note, &peer->stored_receipts);
    if (r < 0)
        return r;
    client->receipts_owed += peer->stored_receipts.size - before;
    peer->stored_unsaid++;
    peer->stored_until_ms = MAX(peer->stored_until_ms, until_ms);
    look_again(client, peer->stored_until_ms);
    if (client->presence_live && !client->presence_refused && !peer->online)
        put_off(client, peer);
    return 0;
}

static int owe_live(struct client *client, struct moment now, struct client_component *peer,
                    const struct read_note *note)
{
    size_t before = peer->receipts.size;
    int r;

    if (before >= OWED_BYTES_MAX)
        return 0; /* its publisher tells our name */
    r = write_receipt(client, now, note, &peer->receipts);
    client->receipts_owed += peer->receipts.size - before;
    return r;
}

void client_read(struct client *client, struct moment now, const struct read_note *note)
{
    struct client_component *peer = component_get(client, bytes_text(note->sender));
    int r;

    if (!peer)
        return;
    r = note->receipt.until_ms > 0 ? owe_stored(client, now, peer, note)
                                   : owe_live(client, now, peer, note);
    if (r < 0)
        client_end(client, AICO_ENOMEM, "out of memory");
    else if (client->receipts_owed > 0 && client->receipts_due_ms == 0)
        client->receipts_due_ms = now.boot_ms; /* with what else was taken since */
}

bool client_owes_receipts(const struct client *client)
{
    return client->receipts_owed > 0;
}

/* --- time ------------------------------------------------------------------------------------- */

int64_t owed_deadline(const struct client *client)
{
    int64_t deadline = client->stored_due_ms > 0 ? client->stored_due_ms : MOMENT_NEVER;

    if (client->state == CLIENT_READY && client->receipts_due_ms > 0)
        deadline = MIN(deadline, client->receipts_due_ms);
    return deadline;
}

static void look_after_stored(struct client *client, struct moment now)
{
    struct client_component *peer, *next;

    client->stored_due_ms = 0;
    HASH_ITER(hh, client->components, peer, next)
    {
        if (peer->stored_until_ms == 0)
            continue;
        if (now.boot_ms >= peer->stored_until_ms) {
            end_stored(client, peer);
            continue;
        }
        look_again(client, peer->stored_until_ms);
        if (!client->presence_refused || peer->stored_unsaid == 0)
            continue;
        look_again(client, now.boot_ms + ASK_AGAIN_MS);
        say_stored_again(client, peer);
        client->receipts_due_ms = now.boot_ms;
    }
}

void owed_tick(struct client *client, struct moment now)
{
    if (client->stored_due_ms > 0 && now.boot_ms >= client->stored_due_ms)
        look_after_stored(client, now);
    if (client->receipts_due_ms > 0 && now.boot_ms >= client->receipts_due_ms)
        receipts_send(client, now);
}

void owed_free(struct client *client)
{
    struct client_component *peer, *next;

    HASH_ITER(hh, client->components, peer, next)
    {
        put_off(client, peer);
        buffer_deinit(&peer->stored_receipts);
    }
}
