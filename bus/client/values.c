/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retained values. Of ours the plaintext is kept, since whoever subscribes later holds no key of
 * the envelope the broker has: it asks (control AGAIN), and gets the value sealed for it alone. Of
 * others it is kept which value was shown, so that none is shown twice (decision 43).
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "client/internal.h"
#include "envelope/headers.h"

#define VALUES_MAX 10000
#define VALUES_BYTES_MAX ((size_t)64 * 1024 * 1024)

static struct bytes topic_of(const struct own_value *v)
{
    return bytes_of(v->data, v->topic_size);
}

static struct bytes headers_of(const struct own_value *v)
{
    return bytes_of(v->data + v->topic_size, v->headers_size);
}

static size_t size_of(const struct own_value *v)
{
    return sizeof(*v) + v->topic_size + v->headers_size + v->payload_size;
}

/* --- ours ----------------------------------------------------------------------------------- */

static struct own_value *find(struct client *client, struct bytes topic)
{
    struct own_value *v = NULL;

    HASH_FIND(hh, client->values, topic.at, topic.size, v);
    return v;
}

static void forget_askers(struct own_value *v)
{
    while (v->askers) {
        struct value_asker *asker = v->askers;

        LL_DELETE(v->askers, asker);
        free(asker);
    }
}

/* @v, with all before it. */
static void release(struct own_value *v)
{
    while (v) {
        struct own_value *former = v->former;

        forget_askers(v);
        memory_wipe(v, size_of(v));
        free(v);
        v = former;
    }
}

static void take_out(struct client *client, struct own_value *v)
{
    HASH_DEL(client->values, v);
    client->values_bytes -= size_of(v);
}

static void forget(struct client *client, struct own_value *v)
{
    take_out(client, v);
    release(v);
}

/* Only the last one counts for the bound: those before it are one that was accepted, and such as
 * the window still holds. AICO_ENOMEM: all of them are gone. */
static int put_in(struct client *client, struct own_value *v)
{
    HASH_ADD_KEYPTR(hh, client->values, v->data, v->topic_size, v);
    if (!HASH_ADDED(hh, v)) {
        release(v);
        return AICO_ENOMEM;
    }
    client->values_bytes += size_of(v);
    return 0;
}

/* Where the value with @number is held, among @at and those before it; NULL: nowhere. */
static struct own_value **place_of(struct own_value **at, uint64_t number)
{
    while (*at && (*at)->number > number)
        at = &(*at)->former;
    return *at && (*at)->number == number ? at : NULL;
}

/* The block with `$value` in front. */
static int number_headers(uint64_t number, struct bytes headers, struct buffer *ret_block)
{
    struct writer w =
        writer_over(buffer_reserve(ret_block, HEADER_VALUE_NUMBER_SIZE_MAX + headers.size),
                    HEADER_VALUE_NUMBER_SIZE_MAX + headers.size);

    if (!w.at)
        return AICO_ENOMEM;
    header_write_value(&w, number);
    writer_bytes(&w, headers);
    ret_block->size = w.size;
    return 0;
}

/* Boot clock; 0: never. As the broker does, by the rule in force when it is said. */
static int64_t end_of(struct client *client, struct moment now, const struct outgoing *out,
                      struct bytes topic)
{
    const struct rule *rule = registry_rule_for(client->registry, topic);
    int64_t end_ms;

    if (!rule || !rule->store.on || rule->store.age_s == 0)
        return out->expires_ms;
    end_ms = now.boot_ms + (int64_t)rule->store.age_s * 1000;
    return out->expires_ms > 0 ? MIN(out->expires_ms, end_ms) : end_ms;
}

int values_keep(struct client *client, struct moment now, const struct outgoing *out,
                struct bytes topic, struct bytes headers, struct bytes payload,
                struct buffer *ret_headers)
{
    struct own_value *former = find(client, topic), *v;
    size_t size = sizeof(*v) + topic.size + headers.size + payload.size;
    size_t freed = former ? size_of(former) : 0;
    int r;

    if (out->value) { /* said again: it is the one we have */
        if (former)
            former->told = true;
        return number_headers(out->value, headers, ret_headers);
    }
    if ((!former && HASH_COUNT(client->values) >= VALUES_MAX) ||
        client->values_bytes - freed + size > VALUES_BYTES_MAX)
        return AICO_EFULL;
    v = calloc(1, size);
    if (!v)
        return AICO_ENOMEM;
    /* Rises over restarts as well, as far as the clock does. */
    v->number = client->last_value =
        MAX((uint64_t)MAX(now.real_ms, (int64_t)1), client->last_value + 1);
    v->expires_ms = end_of(client, now, out, topic);
    v->topic_size = (uint8_t)topic.size;
    v->headers_size = (uint16_t)headers.size;
    v->payload_size = (uint32_t)payload.size;
    bytes_copy(v->data, topic);
    bytes_copy(v->data + topic.size, headers);
    bytes_copy(v->data + topic.size + headers.size, payload);
    if (former)
        take_out(client, former);
    v->former = former;
    r = put_in(client, v);
    if (r < 0)
        return r;
    r = number_headers(v->number, headers, ret_headers);
    if (r < 0)
        values_refused(client, topic, v->number);
    return r;
}

bool values_is_current(struct client *client, struct bytes topic, uint64_t number)
{
    const struct own_value *v = find(client, topic);

    return v && v->number == number;
}

/* Who waits for the answer to @from is given @to. */
static void pass_askers(struct own_value *from, struct own_value *to)
{
    LL_CONCAT(to->askers, from->askers);
    from->askers = NULL;
}

static void give_soon(struct client *client, const struct own_value *v)
{
    if (v->accepted && v->askers)
        client->values_due_ms = 1;
}

void values_accepted(struct client *client, struct bytes topic, uint64_t number)
{
    struct own_value *last = find(client, topic), **at = place_of(&last, number);

    if (!at)
        return;
    (*at)->accepted = (*at)->told = true;
    for (struct own_value *former = (*at)->former; former; former = former->former)
        pass_askers(former, *at);
    give_soon(client, *at);
    release((*at)->former);
    (*at)->former = NULL;
}

/* It is published again, unless another one is said before its turn comes. */
static void say_again(struct client *client, const struct own_value *v)
{
    struct outgoing head = {.payload_size = v->payload_size,
                            .headers_size = v->headers_size,
                            .topic_size = v->topic_size,
                            .delivery = DELIVERY_RETAINED,
                            .expires_ms = v->expires_ms,
                            .value = v->number};
    void *block = fifo_push(&client->queue, outgoing_size(&head));

    if (!block) {
        client_end(client, AICO_ENOMEM, "out of memory");
        return;
    }
    outgoing_write(block, &head, topic_of(v), bytes_of(NULL, 0), headers_of(v),
                   bytes_of(v->data + v->topic_size + v->headers_size, v->payload_size));
}

void values_refused(struct client *client, struct bytes topic, uint64_t number)
{
    struct own_value *last = find(client, topic), **at = place_of(&last, number);
    struct own_value *v = at ? *at : NULL;
    bool is_last = at == &last;

    if (!v)
        return;
    if (is_last)
        take_out(client, v);
    *at = v->former;
    v->former = NULL;
    if (*at) {
        pass_askers(v, *at);
        give_soon(client, *at);
    }
    release(v);
    if (!is_last || !last)
        return;
    if (put_in(client, last) < 0)
        client_end(client, AICO_ENOMEM, "out of memory");
    else if (last->accepted && !last->told) /* by a broker before this one */
        say_again(client, last);
}

static bool is_over(const struct own_value *v, struct moment now)
{
    return v->expires_ms > 0 && now.boot_ms >= v->expires_ms;
}

void values_resend(struct client *client, struct moment now)
{
    struct own_value *v, *next;

    HASH_ITER(hh, client->values, v, next)
    {
        for (struct own_value *one = v; one; one = one->former)
            one->told = false;
        if (!v->accepted) /* the window sends it as it is */
            continue;
        if (is_over(v, now))
            forget(client, v);
        else
            say_again(client, v);
    }
}

/* Whoever may not read it is not told either; that is for the sessions to say. */
static void give(struct client *client, struct moment now, struct client_component *to,
                 const struct own_value *v)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer block = {0};

    if (!is_over(v, now) && number_headers(v->number, headers_of(v), &block) == 0)
        (void)!publish_value(client, now, to, v, buffer_view(&block));
}

/* It may be refused, or be another broker's that does not know it yet. */
static void let_wait(struct client *client, struct own_value *v, struct client_component *to)
{
    struct value_asker *asker;

    LL_FOREACH(v->askers, asker)
    if (asker->to == to)
        return;
    asker = calloc(1, sizeof(*asker));
    if (!asker) {
        client_end(client, AICO_ENOMEM, "out of memory");
        return;
    }
    asker->to = to;
    LL_PREPEND(v->askers, asker);
}

/* Those whose value has its answer now. */
static void give_to_askers(struct client *client, struct moment now)
{
    struct own_value *last, *next;
    struct value_asker *asker;

    HASH_ITER(hh, client->values, last, next)
    for (struct own_value *v = last; v; v = v->former) {
        if (!v->accepted)
            continue;
        LL_FOREACH(v->askers, asker)
        give(client, now, asker->to, v);
        forget_askers(v);
    }
}

void values_again(struct client *client, struct moment now, struct bytes name, struct bytes topic)
{
    struct client_component *to = component_get(client, name);
    struct own_value *v = find(client, topic);

    if (v && is_over(v, now)) {
        if (v->accepted)
            forget(client, v);
        v = NULL;
    }
    if (v && to && v->accepted)
        give(client, now, to, v);
    else if (v && to)
        let_wait(client, v, to);
}

/* --- of others ------------------------------------------------------------------------------ */

static struct peer_value *value_of(struct client_component *peer, struct client_topic *topic)
{
    struct peer_value *v;

    LL_FOREACH(peer->values, v)
    if (v->topic == topic)
        return v;
    v = calloc(1, sizeof(*v));
    if (!v)
        return NULL;
    v->topic = topic;
    LL_PREPEND(peer->values, v);
    return v;
}

static void ask(struct client *client, struct moment now, struct client_component *peer,
                struct peer_value *v)
{
    int r = sessions_ask_again(client->sessions, now, bytes_text(peer->name), topic_name(v->topic));

    v->asked = r == 0;
    if (r == AICO_ESTATE)
        r = sessions_dial(client->sessions, now, bytes_text(peer->name));
    if (r < 0) {
        v->until_ms = 0;
        deliver_unopened(client, peer, v->topic, r, aico_error_string(r));
    }
}

void values_want(struct client *client, struct moment now, struct client_component *sender,
                 struct client_topic *topic)
{
    struct peer_value *v = value_of(sender, topic);

    if (!v) {
        client_end(client, AICO_ENOMEM, "out of memory");
        return;
    }
    if (v->until_ms > 0)
        return;
    v->until_ms = now.boot_ms + client->settings.session.handshake_timeout_ms;
    if (client->values_due_ms == 0 || v->until_ms < client->values_due_ms)
        client->values_due_ms = v->until_ms;
    ask(client, now, sender, v);
}

void values_peer_ready(struct client *client, struct moment now, struct client_component *peer)
{
    struct peer_value *v;

    LL_FOREACH(peer->values, v)
    if (v->until_ms > 0 && !v->asked)
        ask(client, now, peer, v);
}

void values_peer_lost(struct client *client, struct client_component *peer, int code,
                      const char *text)
{
    struct peer_value *v;

    LL_FOREACH(peer->values, v)
    if (v->until_ms > 0) {
        v->until_ms = 0;
        deliver_unopened(client, peer, v->topic, code, text);
    }
}

/* The numbers of a publisher's process follow its clock, generations rise over its restarts. */
bool values_is_new(struct client *client, struct client_component *sender,
                   struct client_topic *topic, uint64_t generation, uint64_t number)
{
    struct peer_value *v = value_of(sender, topic);

    if (!v) {
        client_end(client, AICO_ENOMEM, "out of memory");
        return false;
    }
    v->until_ms = 0;
    if (generation != 0 && generation < v->generation)
        return false;
    if (generation > v->generation) {
        /* Another process, its clock set back; unless what was shown last is of a generation that
         * we do not know. */
        if (v->generation != 0 && !v->is_direct && number < v->number)
            v->number = 0;
        v->generation = generation;
    }
    /* What was asked for may have been overtaken by a newer one, or have overtaken older ones. */
    if (number != 0 && number <= v->number)
        return false;
    v->number = number;
    v->is_direct = generation == 0;
    return true;
}

bool values_is_new_in_clear(struct client *client, struct client_component *sender,
                            struct client_topic *topic, uint64_t id)
{
    struct peer_value *v = value_of(sender, topic);

    if (!v) {
        client_end(client, AICO_ENOMEM, "out of memory");
        return false;
    }
    if (v->id == id)
        return false;
    v->id = id;
    return true;
}

void values_renewed(struct client_component *peer)
{
    struct peer_value *v;

    LL_FOREACH(peer->values, v)
    v->number = v->id = 0;
}

void values_forget_shown(struct client *client, struct bytes filter)
{
    struct client_component *peer, *next;
    struct peer_value *v;

    HASH_ITER(hh, client->components, peer, next)
    LL_FOREACH(peer->values, v)
    if (filter_matches(filter, topic_name(v->topic)))
        v->number = v->id = 0;
}

void values_link_down(struct client *client)
{
    struct client_component *peer, *next;
    struct peer_value *v;

    HASH_ITER(hh, client->components, peer, next)
    LL_FOREACH(peer->values, v)
    v->until_ms = 0; /* the broker names it again */
    client->values_due_ms = 0;
}

void values_tick(struct client *client, struct moment now)
{
    struct client_component *peer, *next;
    struct peer_value *v;

    if (client->values_due_ms == 0 || now.boot_ms < client->values_due_ms)
        return;
    client->values_due_ms = 0;
    give_to_askers(client, now);
    HASH_ITER(hh, client->components, peer, next)
    LL_FOREACH(peer->values, v)
    if (v->until_ms > 0 && now.boot_ms >= v->until_ms) {
        v->until_ms = 0;
        deliver_unopened(client, peer, v->topic, AICO_EKEY,
                         "its publisher does not give its value again");
    } else if (v->until_ms > 0 &&
               (client->values_due_ms == 0 || v->until_ms < client->values_due_ms)) {
        client->values_due_ms = v->until_ms;
    }
}

void values_free(struct client *client)
{
    struct client_component *peer, *next_peer;
    struct own_value *own, *next_own;

    HASH_ITER(hh, client->values, own, next_own)
    {
        forget(client, own);
    }
    HASH_ITER(hh, client->components, peer, next_peer)
    while (peer->values) {
        struct peer_value *v = peer->values;

        LL_DELETE(peer->values, v);
        free(v);
    }
}
