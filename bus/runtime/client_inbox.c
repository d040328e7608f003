/* SPDX-License-Identifier: Apache-2.0 */
/* Received messages on their way to the application. */
#include <stdio.h>

#include "base/cleanup.h"
#include "client/message.h"
#include "runtime/client.h"

static bool is_report(const struct aico_message *message)
{
    switch (message->kind) {
    case AICO_MESSAGE_EVENT:
    case AICO_MESSAGE_RETAINED:
    case AICO_MESSAGE_REQUEST:
    case AICO_MESSAGE_REPLY:
        return false;
    case AICO_MESSAGE_GAP:
    case AICO_MESSAGE_REFUSED:
    case AICO_MESSAGE_UNOPENED:
    case AICO_MESSAGE_RECEIPT:
    case AICO_MESSAGE_STATE:
        break;
    }
    return true;
}

static void append(struct inbox *inbox, struct aico_message *message)
{
    if (inbox->tail)
        *message_link(inbox->tail) = message;
    else
        inbox->head = message;
    inbox->tail = message;
    inbox->bytes += message_cost(message);
    if (!is_report(message))
        inbox->messages += message_count(message);
}

static struct aico_message *take_first(struct inbox *inbox)
{
    struct aico_message *message = inbox->head;

    if (!message)
        return NULL;
    inbox->head = *message_link(message);
    *message_link(message) = NULL;
    if (!inbox->head)
        inbox->tail = NULL;
    inbox->bytes -= message_cost(message);
    if (!is_report(message))
        inbox->messages -= message_count(message);
    return message;
}

/* The first message, if need be out of its bundle; NULL without memory. */
static struct aico_message *take_message(struct inbox *inbox, struct pool_taker *taker)
{
    struct aico_message *message;

    if (message_count(inbox->head) > 1) {
        message = message_split(taker, inbox->head);
        inbox->messages -= message != NULL;
    } else {
        message = take_first(inbox);
        message_settle(message);
    }
    return message;
}

/* The report in place of a direct message that finds no room. */
static struct aico_message *gap_for(const struct aico_message *message)
{
    struct aico_message *gap =
        client_message_new(NULL, &(struct message_parts){
                                     .kind = AICO_MESSAGE_GAP,
                                     .topic = bytes_text(message->topic),
                                     .sender = bytes_text(message->sender),
                                     .text = "the application did not take its messages in time",
                                 });

    if (gap) {
        gap->code = AICO_EFULL;
        gap->count = 1;
    }
    return gap;
}

static bool is_alike(const struct aico_message *a, const struct aico_message *b)
{
    return a->kind != AICO_MESSAGE_RECEIPT && a->kind == b->kind && a->code == b->code &&
           strcmp(a->sender, b->sender) == 0 && strcmp(a->topic, b->topic) == 0;
}

/*
 * Topics stop coming when unread messages pile up, because the broker gets no credit. Direct
 * messages and reports come all the same, so above CLIENT_INBOX_HARD a direct message becomes a
 * gap, and a report that equals the last one is counted there.
 */
void inbox_put(struct inbox *inbox, struct aico_message *message)
{
    if (inbox->bytes >= CLIENT_INBOX_HARD && (message->direct || is_report(message))) {
        struct aico_message *last = inbox->tail;
        struct aico_message *report = message->direct ? gap_for(message) : message;

        if (!report) {
            report = message; /* no memory: then it stays what it is */
        } else if (report != message) {
            aico_message_free(&message);
            inbox->dropped++;
        }
        if (is_alike(last, report)) {
            last->count += MAX(report->count, (uint64_t)1);
            aico_message_free(&report);
            return;
        }
        message = report;
    }
    append(inbox, message);
}

void inbox_splice(struct inbox *to, struct inbox *from)
{
    if (to->bytes + from->bytes >= CLIENT_INBOX_HARD) {
        struct aico_message *message;

        while ((message = take_first(from)) != NULL)
            inbox_put(to, message);
        to->dropped += from->dropped;
        from->dropped = 0;
        return;
    }
    if (!from->head)
        return;
    if (to->tail)
        *message_link(to->tail) = from->head;
    else
        to->head = from->head;
    to->tail = from->tail;
    to->bytes += from->bytes;
    to->messages += from->messages;
    to->dropped += from->dropped;
    *from = (struct inbox){0};
}

void inbox_deinit(struct inbox *inbox)
{
    struct aico_message *message;

    while ((message = take_first(inbox)) != NULL)
        aico_message_free(&message);
}

/* The application takes @message: whoever asked for a receipt hears of it. */
static int note_read(struct aico_client *c, const struct aico_message *message)
{
    const struct read_note *note = message_note(message);
    void *place;

    if (!note)
        return 0;
    place = fifo_push(&c->read, sizeof(*note));
    if (!place)
        return AICO_ENOMEM;
    memcpy(place, note, sizeof(*note));
    client_wake(c);
    return 0;
}

/* The application takes @message: the broker hears that it has been told. */
static int note_missed(struct aico_client *c, struct aico_message *message)
{
    const struct missed_place *missed = message_missed(message);
    void *place;

    if (missed->token == 0)
        return 0;
    place = fifo_push(&c->missed, sizeof(*missed));
    if (!place)
        return AICO_ENOMEM;
    memcpy(place, missed, sizeof(*missed));
    client_wake(c);
    return 0;
}

/* With the lock held, while there is a message. */
static int hand_over(struct aico_client *c, struct aico_message **ret_message,
                     struct aico_error *err)
{
    struct aico_message *message;

    if (note_read(c, c->inbox.head) < 0 || note_missed(c, c->inbox.head) < 0)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    message = take_message(&c->inbox, &c->messages);
    if (!message)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    if (*message_kept(message) > 0) {
        c->taken = *message_kept(message);
        client_wake_later(c);
    }
    if (!c->inbox.head && !c->is_over && c->is_watched)
        wake_clear(&c->ready);
    if (c->is_backlogged && c->inbox.bytes < CLIENT_INBOX_LIMIT / 2)
        client_wake(c);
    *ret_message = message;
    return 0;
}

int aico_receive(struct aico_client *c, int64_t timeout_ms, struct aico_message **ret_message,
                 struct aico_error *err)
{
    int64_t deadline_ms = 0;
    bool is_late = timeout_ms == 0;
    int r = 0;

    client_lock(c);
    client_enter(c);
    if (!c->inbox.head && !is_late)
        deadline_ms = wait_deadline(timeout_ms);
    while (!c->inbox.head && (r = client_check(c, err)) == 0 && !is_late)
        is_late = !client_await(c, NULL, &c->arrived, deadline_ms);
    if (c->inbox.head) {
        r = hand_over(c, ret_message, err);
    } else if (r == 0) {
        r = aico_error_set(err, AICO_ETIMEOUT, "nothing came in time");
    }
    client_leave(c);
    client_unlock(c);
    return r;
}
