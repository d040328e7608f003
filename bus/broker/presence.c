/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is here: the broker's own messages on $bus/presence/NAME, in clear, because they are its own
 * word and nobody else's.
 */
#include "base/json.h"
#include "broker/internal.h"

static size_t presence_topic(const struct member *member, char to[TOPIC_SIZE_MAX + 1])
{
    return (size_t)snprintf(to, TOPIC_SIZE_MAX + 1, TOPIC_PRESENCE_PREFIX "%s", member->name);
}

static void publish_state(struct broker *b, const struct broker_peer *peer, const char *state,
                          const char *reason, int64_t since_ms, struct broker_peer *only)
{
    CLEANUP(buffer_deinit)
    struct buffer payload = {0};
    char topic[TOPIC_SIZE_MAX + 1];
    size_t size = presence_topic(peer->member, topic);
    struct json json = json_over(&payload);

    json_open_object(&json, NULL);
    json_put_text(&json, "name", bytes_text(peer->member->name));
    json_put_text(&json, "state", bytes_text(state));
    json_put_text(&json, "reason", bytes_text(reason));
    json_put_i64(&json, "since_ms", since_ms);
    json_close_object(&json);
    if (json.failed)
        event(b, BROKER_ERROR, BROKER_EVENT_LIMIT, peer, AICO_ENOMEM,
              "no memory to tell that it is %s", state);
    else
        publish_own(b, bytes_of(topic, size), buffer_view(&payload), only, only == peer);
}

void presence_online(struct broker *b, const struct broker_peer *peer)
{
    publish_state(b, peer, "online", "", peer->ready_real_ms, NULL);
}

void presence_offline(struct broker *b, const struct broker_peer *peer, int code)
{
    publish_state(b, peer, "offline", code == 0 ? "closed" : aico_error_name(code), b->now.real_ms,
                  NULL);
}

void presence_catch_up(struct broker *b, struct broker_peer *peer, struct bytes filter)
{
    struct broker_peer *other, *next;
    char topic[TOPIC_SIZE_MAX + 1];

    work_add(b, WORK_PRESENCE * HASH_COUNT(b->sessions));
    HASH_ITER(hh, b->sessions, other, next)
    if (other != peer &&
        filter_matches(filter, bytes_of(topic, presence_topic(other->member, topic))))
        publish_state(b, other, "online", "", other->ready_real_ms, peer);
    /* Itself last: then it knows that the picture is complete. */
    if (filter_matches(filter, bytes_of(topic, presence_topic(peer->member, topic))))
        publish_state(b, peer, "online", "", peer->ready_real_ms, peer);
}
