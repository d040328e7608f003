/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Following stored messages: what the application still has to settle, and what the broker is told.
 * An item may be a batch: it is settled when all of its messages are.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "client/internal.h"

/* An item the application has. */
struct open_item {
    UT_hash_handle hh; /* by number */
    uint64_t number;
    size_t left;            /* messages not settled */
    uint32_t session;       /* of the follow: that in which it came last */
    bool done;              /* settled, and remembered: the broker may not have heard of it */
    bool retry;             /* one of them is wanted again */
    bool wanted;            /* it is, and has not come since: want_again() */
    uint16_t attempt;       /* how often it was handed out when it came last */
    uint16_t shown;         /* the attempt the application was told then */
    uint64_t token;         /* it is stored no more: answered when it is settled; 0: it is */
    struct seen_place seen; /* its durable name is the follow's */
    uint8_t identity[SIGN_PUBLIC_SIZE]; /* of `seen` */
    int code;                           /* one of them was rejected; 0: none */
    uint8_t reason_size;
    char reason[255];
};

/* An item whose key is missing, which the application has been told. */
struct keyless_item {
    UT_hash_handle hh; /* by number */
    uint64_t number;
};

struct client_follow {
    uint8_t start;
    uint64_t value;
    uint32_t deadline_ms;
    uint16_t attempts, window;
    uint64_t settled;        /* everything up to there is, as far as we know */
    uint64_t forgotten;      /* of settled items up to there some are not known any more */
    struct open_item *items; /* in the order they came */
    struct keyless_item *keyless;
    uint32_t session; /* how often it was followed */
    size_t done_count;
    uint8_t name_size, queue_size;
    char name[DURABLE_NAME_MAX], queue[CLIENT_QUEUE_MAX];
};

#define DONE_MAX 8192    /* settled items that are known again */
#define KEYLESS_MAX 8192 /* more are told again when they come again */

static void item_remove(struct client_follow *f, struct open_item *item)
{
    f->done_count -= item->done;
    HASH_DEL(f->items, item);
    free(item);
}

static void items_forget(struct client_follow *f)
{
    struct open_item *item, *next;

    HASH_ITER(hh, f->items, item, next)
    item_remove(f, item);
}

static void keyless_remove(struct client_follow *f, struct keyless_item *item)
{
    HASH_DEL(f->keyless, item);
    free(item);
}

static struct keyless_item *find_keyless(const struct client_follow *f, uint64_t number)
{
    struct keyless_item *item = NULL;

    HASH_FIND(hh, f->keyless, &number, sizeof(number), item);
    return item;
}

static void keep_done(struct client_follow *f, struct open_item *item)
{
    struct open_item *other, *next;

    item->done = true;
    f->done_count++;
    HASH_ITER(hh, f->items, other, next)
    {
        if (f->done_count <= DONE_MAX)
            return;
        if (other->done) {
            f->forgotten = MAX(f->forgotten, other->number);
            item_remove(f, other);
        }
    }
}

void follow_free(struct client_follow **follow)
{
    if (!*follow)
        return;
    items_forget(*follow);
    while ((*follow)->keyless)
        keyless_remove(*follow, (*follow)->keyless);
    free(*follow);
    *follow = NULL;
}

/* A reader that nobody keeps goes on behind what it has settled. */
void follow_send(struct client *client, struct client_subscription *s)
{
    struct client_follow *f = s->follow;
    uint64_t id = subscription_next_id(client, s);
    struct writer w = client_control_begin(client, RECORD_HEAD_SIZE + 64 + 3 * 256);
    struct record_follow record = {
        .id = id,
        .subscription = s->number,
        .start = f->start,
        .value = f->value,
        .deadline_ms = f->deadline_ms,
        .attempts = f->attempts,
        .window = f->window,
        .name = bytes_of(f->name, f->name_size),
        .filter = bytes_of(s->filter, s->size),
        .queue = bytes_of(f->queue, f->queue_size),
    };

    s->live = false;
    f->session++;
    if (f->name_size == 0 && f->settled > 0) {
        record.start = FOLLOW_NUMBER;
        record.value = f->settled + 1;
    }
    record_write_follow(&w, &record);
    client_control_end(client, &w);
}

void client_follow(struct client *client, struct moment now, const struct follow_request *request,
                   int64_t timeout_ms, void *ticket)
{
    struct operation *operation =
        operation_start(client, now, OPERATION_SUBSCRIBE, timeout_ms, ticket);
    struct client_follow *f = calloc(1, sizeof(*f));
    struct client_subscription *s = NULL;
    struct aico_error err = {0};
    int r = request->durable.size > 0 ? seen_load(client, &err) : 0;

    if (r < 0) {
        free(f);
        if (operation)
            operation_fail(client, operation, r, err.text);
        return;
    }
    if (operation && f) {
        f->start = request->start;
        f->value = request->value;
        f->deadline_ms = request->deadline_ms;
        f->attempts = request->attempts;
        f->window = request->window;
        f->name_size = (uint8_t)request->durable.size;
        bytes_copy(f->name, request->durable);
        f->queue_size = (uint8_t)request->queue.size;
        bytes_copy(f->queue, request->queue);
        s = subscription_new(client, request->filter, SLOW_BLOCK, false, bytes_of(NULL, 0), false,
                             f);
    }
    if (s && client->state == CLIENT_ENDED) /* for want of memory; that was the answer, too */
        return;
    if (s) {
        operation->subscription = s->number;
        return;
    }
    follow_free(&f);
    if (operation)
        operation_fail(client, operation, AICO_ENOMEM, "out of memory");
}

static struct client_subscription *find(struct client *client, uint32_t number)
{
    struct client_subscription *s = NULL;

    HASH_FIND(hh, client->subscriptions, &number, sizeof(number), s);
    return s && s->follow ? s : NULL;
}

bool is_followed(struct client *client, uint32_t subscription)
{
    return find(client, subscription) != NULL;
}

/* Under which what was settled is remembered. What others of a group have settled nobody here can
 * know, so nothing is remembered of it. */
static struct bytes seen_name(const struct client_follow *f)
{
    return f->queue_size > 0 ? bytes_of(NULL, 0) : bytes_of(f->name, f->name_size);
}

struct bytes follow_name(struct client *client, uint32_t subscription)
{
    const struct client_subscription *s = find(client, subscription);

    return s ? seen_name(s->follow) : bytes_of(NULL, 0);
}

static struct open_item *find_item(struct client_follow *f, uint64_t number)
{
    struct open_item *item = NULL;

    HASH_FIND(hh, f->items, &number, sizeof(number), item);
    return item;
}

static void tell(struct client *client, uint32_t subscription, uint64_t number, int code,
                 bool retry, struct bytes reason)
{
    struct writer w = client_control_begin(client, RECORD_HEAD_SIZE + 16 + 256);
    struct record_settle record = {
        .subscription = subscription,
        .number = number,
        .code = (uint16_t)(retry ? 0 : -code),
        .retry = retry,
        .reason = reason,
    };

    record_write_settle(&w, &record);
    client_control_end(client, &w);
}

void follow_tell(struct client *client, uint32_t subscription, uint64_t number, int code)
{
    if (client->state == CLIENT_READY)
        tell(client, subscription, number, code, false,
             bytes_text(code < 0 ? aico_error_string(code) : ""));
}

uint16_t follow_attempt(struct client *client, const struct stored_place *place)
{
    struct client_subscription *s = find(client, place->subscription);
    const struct open_item *item = s ? find_item(s->follow, place->number) : NULL;

    return item ? item->shown : place->attempt;
}

/* The next of an @item that came before, or (NULL) did not as far as we know. */
static uint16_t next_attempt(const struct client_follow *f, const struct open_item *item,
                             const struct stored_place *place)
{
    int least = item ? item->shown + 1 : place->number <= f->forgotten ? 2 : 1;

    if (f->name_size > 0 || f->queue_size > 0)
        return place->attempt;
    return (uint16_t)MIN(MAX((int)place->attempt, least), UINT16_MAX);
}

void follow_handed(struct client *client, const struct stored_place *place, size_t count,
                   const struct seen_place *seen)
{
    struct client_subscription *s = find(client, place->subscription);
    struct open_item *item = s ? find_item(s->follow, place->number) : NULL;
    struct keyless_item *keyless = s ? find_keyless(s->follow, place->number) : NULL;
    uint16_t shown;

    if (!s)
        return;
    shown = next_attempt(s->follow, item, place);
    if (keyless)
        keyless_remove(s->follow, keyless);
    if (!item) {
        item = calloc(1, sizeof(*item));
        if (!item) {
            client_end(client, AICO_ENOMEM, "out of memory");
            return;
        }
        item->number = place->number;
        HASH_ADD(hh, s->follow->items, number, sizeof(item->number), item);
        if (!HASH_ADDED(hh, item)) {
            free(item);
            client_end(client, AICO_ENOMEM, "out of memory");
            return;
        }
    }
    item->seen = *seen;
    item->seen.durable = seen_name(s->follow);
    if (seen->generation > 0)
        memcpy(item->identity, seen->identity, sizeof(item->identity));
    item->seen.identity = item->identity;
    item->session = s->follow->session;
    item->wanted = false;
    item->attempt = place->attempt;
    item->shown = shown;
    item->left += count; /* it came again before the application had settled it */
}

/* Whether the application has not been told. */
static bool note_keyless(struct client *client, struct client_follow *f, uint64_t number)
{
    struct keyless_item *item = find_keyless(f, number);

    if (item)
        return false;
    item = calloc(1, sizeof(*item));
    if (item) {
        item->number = number;
        HASH_ADD(hh, f->keyless, number, sizeof(item->number), item);
    }
    if (!item || !HASH_ADDED(hh, item)) {
        free(item);
        client_end(client, AICO_ENOMEM, "out of memory");
        return false;
    }
    if (HASH_COUNT(f->keyless) > KEYLESS_MAX)
        keyless_remove(f, f->keyless);
    return true;
}

bool follow_failed(struct client *client, const struct stored_place *place, int code)
{
    struct client_subscription *s = find(client, place->subscription);

    if (!s)
        return false;
    if (code == AICO_EKEY)
        return note_keyless(client, s->follow, place->number);
    if (client->state == CLIENT_READY)
        tell(client, place->subscription, place->number, code, false,
             bytes_text(aico_error_string(code)));
    return true;
}

void follow_visit_open(struct client *client, struct bytes durable,
                       void (*visit)(void *context, const struct seen_place *place), void *context)
{
    for (const struct client_subscription *s = client->subscriptions; s; s = s->hh.next) {
        if (!s->follow || !bytes_equal(seen_name(s->follow), durable))
            continue;
        for (const struct open_item *item = s->follow->items; item; item = item->hh.next)
            if (!item->done)
                visit(context, &item->seen);
    }
}

/* Below every item that is open, and as far as any was settled. */
static void note_settled(struct client_follow *f, uint64_t number)
{
    struct open_item *item, *next;

    HASH_ITER(hh, f->items, item, next)
    if (!item->done && item->number < number)
        return;
    f->settled = MAX(f->settled, number);
}

/* Of a reader with a name, or of a group, the broker knows what is still to come. Of others it goes
 * on behind note_settled() after a new link, and gives up what was handed out often enough. */
static void want_again(struct client_follow *f, struct open_item *item)
{
    if (f->name_size > 0 || f->queue_size > 0 ||
        (f->attempts > 0 && item->attempt >= f->attempts)) {
        item_remove(f, item);
        return;
    }
    item->retry = false;
    item->wanted = true;
}

void client_settle(struct client *client, uint32_t subscription, uint64_t number, int code,
                   struct bytes reason)
{
    struct client_subscription *s = find(client, subscription);
    struct open_item *item = s ? find_item(s->follow, number) : NULL;

    if (!item || item->done || item->wanted)
        return;
    if (code == AICO_ESTATE)
        item->retry = true;
    else if (code < 0 && item->code == 0) {
        item->code = code;
        item->reason_size = (uint8_t)MIN(reason.size, sizeof(item->reason));
        bytes_copy(item->reason, bytes_of(reason.at, item->reason_size));
    }
    if (item->left > 0 && --item->left > 0)
        return;
    if (!item->retry || item->code < 0)
        seen_settled(client, &item->seen);
    if (client->state == CLIENT_READY && item->session == s->follow->session)
        tell(client, subscription, number, item->code, item->retry && item->code == 0,
             bytes_of(item->reason, item->code < 0 ? item->reason_size : 0));
    if (item->retry && item->code == 0) {
        want_again(s->follow, item);
        return;
    }
    if (item->token > 0)
        follow_told(client, subscription, item->token);
    keep_done(s->follow, item);
    note_settled(s->follow, number);
}

void follow_told(struct client *client, uint32_t subscription, uint64_t token)
{
    struct writer w;

    if (client->state != CLIENT_READY)
        return; /* it is told again, and answered then */
    w = client_control_begin(client, RECORD_HEAD_SIZE + 16);
    record_write_settle(
        &w, &(struct record_settle){.subscription = subscription, .number = token, .told = true});
    client_control_end(client, &w);
}

bool follow_has(struct client *client, const struct record_missed *record)
{
    struct client_subscription *s = find(client, record->subscription);
    struct open_item *item = s && record->one ? find_item(s->follow, record->number) : NULL;

    if (!item)
        return false;
    item->token = record->token;
    if (item->done)
        follow_told(client, record->subscription, record->token);
    return true;
}

bool follow_is_done(struct client *client, uint32_t subscription, uint64_t number)
{
    struct client_subscription *s = find(client, subscription);
    struct open_item *item = s ? find_item(s->follow, number) : NULL;

    if (!item || item->wanted || (!item->done && item->session == s->follow->session))
        return false;
    if (!item->done) { /* the application has it since before the link was lost */
        item->session = s->follow->session;
        return true;
    }
    tell(client, subscription, number, item->code, false,
         bytes_of(item->reason, item->code < 0 ? item->reason_size : 0));
    return true;
}
