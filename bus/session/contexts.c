/* SPDX-License-Identifier: Apache-2.0 */
/* Cache of context hashes. One owner. */
#include "base/hash.h"
#include "session/contexts.h"

const uint8_t *contexts_get(struct contexts *contexts, const struct envelope_context *context,
                            uint8_t room[HASH_SIZE])
{
    struct bytes topic = context->topic;
    size_t at;

    if (context->ref || topic.size > TOPIC_SIZE_MAX) {
        envelope_context_hash(context, room);
        return room;
    }
    at = (hash_bytes(topic.at, topic.size) + context->delivery) % CONTEXT_SLOTS;
    if (!contexts->slots[at].used || contexts->slots[at].delivery != context->delivery ||
        !bytes_equal(topic, bytes_of(contexts->slots[at].topic, contexts->slots[at].size))) {
        envelope_context_hash(context, contexts->slots[at].hash);
        contexts->slots[at].used = true;
        contexts->slots[at].delivery = context->delivery;
        contexts->slots[at].size = (uint8_t)topic.size;
        bytes_copy(contexts->slots[at].topic, topic);
    }
    return contexts->slots[at].hash;
}
