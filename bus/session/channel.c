/* SPDX-License-Identifier: Apache-2.0 */
/* One established channel. One owner, not thread-safe. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "session/channel.h"

#define CHANNEL_ALIVE 0x616c6976u
#define CHANNEL_DEAD 0x64656164u

uint32_t time_since(int64_t t0_ms, struct moment now)
{
    int64_t time = now.real_ms - t0_ms;

    return time < 0 ? 0 : time > (int64_t)UINT32_MAX ? UINT32_MAX : (uint32_t)time;
}

static void renew_send_key(struct channel *c)
{
    envelope_key_init(&c->send.key, &c->send.chain.key, c->id, c->send.chain.epoch);
}

int channel_new(const struct channel_keys *keys, const uint8_t *self,
                const struct session_settings *settings, struct moment now,
                struct channel **ret_channel)
{
    struct channel *c = guarded_new(sizeof(*c));

    if (!c)
        return AICO_ENOMEM;
    c->contexts = calloc(2, sizeof(*c->contexts));
    if (!c->contexts) {
        guarded_free(&c);
        return AICO_ENOMEM;
    }
    c->alive = CHANNEL_ALIVE;
    memcpy(c->id, keys->id, CHANNEL_ID_SIZE);
    memcpy(c->self, self, SIGN_PUBLIC_SIZE);
    memcpy(c->peer, keys->peer, SIGN_PUBLIC_SIZE);
    c->settings = *settings;
    c->t0_ms = keys->t0_ms;
    c->time = keys->time;
    c->dialer = keys->dialer;
    c->established_ms = now.boot_ms - keys->age_ms;
    chain_sender_init(&c->send.chain, "channel step", &keys->send);
    renew_send_key(c);
    chain_receiver_init(&c->receive.chain, "channel step", &keys->receive, 0,
                        !settings->strict_ordering);
    replay_init(&c->receive.replay, settings->strict_ordering);
    replay_start(&c->receive.replay, 0);
    *ret_channel = c;
    return 0;
}

void channel_free(struct channel **channel)
{
    if (!*channel)
        return;
    free((*channel)->contexts);
    guarded_free(channel);
}

void channel_kill(struct channel *c)
{
    struct channel kept = {.contexts = c->contexts, .time = c->time};

    memcpy(kept.id, c->id, CHANNEL_ID_SIZE);
    memcpy(kept.peer, c->peer, SIGN_PUBLIC_SIZE);
    memory_wipe(c, sizeof(*c));
    *c = kept;
    c->alive = CHANNEL_DEAD;
}

bool channel_is_alive(const struct channel *channel)
{
    return channel->alive == CHANNEL_ALIVE;
}

/* A killed channel is our doing; one that reads as zeros belongs to the parent process. */
static int check_alive(const struct channel *c)
{
    if (c->alive == CHANNEL_ALIVE)
        return 0;
    return c->alive == CHANNEL_DEAD ? AICO_ESTATE : AICO_EFORKED;
}

int channel_seal(struct channel *c, struct moment now, const struct channel_message *m,
                 struct writer *out, uint8_t *ret_ref)
{
    uint8_t room[HASH_SIZE];
    size_t before = out->size;
    struct envelope_seal_input in;
    struct writer ref;
    int r;

    r = check_alive(c);
    if (r < 0)
        return r;
    if (c->send.next >= CHANNEL_SEQUENCE_END)
        return AICO_ELIMIT;
    if (chain_sender_is_due(&c->send.chain, now, c->settings.group_epoch_ms)) {
        chain_sender_step(&c->send.chain);
        renew_send_key(c);
    }
    in = (struct envelope_seal_input){
        .key = &c->send.key,
        .time = time_since(c->t0_ms, now),
        .sequence = (uint32_t)c->send.next,
        .format = m->format,
        .padded = c->settings.padding,
        .has_headers = m->has_headers,
        .context = contexts_get(&c->contexts[0],
                                &(struct envelope_context){.kind = ENVELOPE_CONTEXT_CHANNEL,
                                                           .delivery = m->delivery,
                                                           .sender = c->self,
                                                           .receiver = c->peer,
                                                           .ref = m->ref,
                                                           .topic = m->topic,
                                                           .namespace = c->settings.namespace},
                                room),
        .headers = m->headers,
        .payload = m->payload,
        .content_max = c->settings.max_message_size,
    };
    r = envelope_seal(&in, out);
    if (r < 0)
        return r;
    if (ret_ref) {
        ref = writer_over(ret_ref, ENVELOPE_REF_SIZE);
        writer_bytes(&ref, bytes_of(c->id, CHANNEL_ID_SIZE));
        writer_u32(&ref, (uint32_t)c->send.next);
    }
    c->send.next++;
    c->send.bytes += out->size - before;
    chain_sender_count(&c->send.chain, now);
    return 0;
}

/* OPEN with the key of the envelope's epoch; the chain moves only if it succeeds. */
static int open_in_epoch(struct channel *c, struct moment now, const struct envelope *e,
                         struct envelope_open_input *in, uint8_t *plain, struct bytes *ret_content)
{
    CLEANUP(chain_key_wipe)
    struct chain_key found = {0};
    CLEANUP(aead_key_wipe)
    struct aead_key tentative = {0};
    int r;

    if (c->receive.has_key && e->epoch == c->receive.chain.epoch) {
        in->key = &c->receive.key;
        r = envelope_open(e, in, plain, ret_content);
        if (r == 0) {
            c->receive.chain.opened = true;
            c->receive.chain.heard_ms = now.boot_ms;
        }
        return r;
    }
    r = chain_receiver_find(&c->receive.chain, now, e->epoch, &found);
    if (r < 0)
        return r;
    envelope_key_init(&tentative, &found.key, c->id, e->epoch);
    in->key = &tentative;
    r = envelope_open(e, in, plain, ret_content);
    in->key = NULL; /* the key goes with this scope */
    if (r < 0)
        return r;
    if (found.epoch >= c->receive.chain.epoch) {
        c->receive.key = tentative;
        c->receive.has_key = true;
    }
    chain_receiver_move(&c->receive.chain, &found, now, c->settings.handshake_timeout_ms);
    return 0;
}

int channel_open(struct channel *c, struct moment now, const struct envelope *e, uint8_t delivery,
                 struct bytes topic, const uint8_t *ref, uint8_t *plain,
                 const struct gap_sink *sink, struct channel_opened *ret_opened)
{
    uint8_t room[HASH_SIZE];
    struct envelope_open_input in = {
        .rule = {ENVELOPE_ALLOW(ENVELOPE_FORMAT_MESSAGE) | ENVELOPE_ALLOW(ENVELOPE_FORMAT_BATCH),
                 c->settings.padding, ENVELOPE_TRAILER_NONE},
    };
    struct bytes content;
    int r;

    r = check_alive(c);
    if (r == 0)
        r = envelope_check(e, &in.rule);
    if (r == 0)
        r = replay_check(&c->receive.replay, e->sequence);
    if (r < 0)
        return r;
    in.context = contexts_get(&c->contexts[1],
                              &(struct envelope_context){.kind = ENVELOPE_CONTEXT_CHANNEL,
                                                         .delivery = delivery,
                                                         .sender = c->peer,
                                                         .receiver = c->self,
                                                         .ref = ref,
                                                         .topic = topic,
                                                         .namespace = c->settings.namespace},
                              room);
    r = open_in_epoch(c, now, e, &in, plain, &content);
    if (r == AICO_EOPEN && ++c->receive.failures >= FAILURES_MAX) {
        channel_kill(c);
        return AICO_ELIMIT;
    }
    if (r < 0)
        return r;
    replay_move(&c->receive.replay, e->sequence, sink);
    c->receive.bytes += ENVELOPE_OVERHEAD + e->sealed.size;
    c->receive.heard = true;
    *ret_opened = (struct channel_opened){content, c->t0_ms + e->time, e->sequence};
    return 0;
}

bool channel_is_full(const struct channel *c)
{
    return c->send.next >= CHANNEL_REKEY_ENVELOPES ||
           c->receive.replay.next >= CHANNEL_REKEY_ENVELOPES ||
           c->send.bytes >= CHANNEL_REKEY_BYTES || c->receive.bytes >= CHANNEL_REKEY_BYTES;
}

bool channel_is_spent(const struct channel *c, struct moment now, int64_t early_ms)
{
    return now.boot_ms - c->established_ms >= c->settings.key_rotation_interval_ms - early_ms ||
           channel_is_full(c);
}

int channel_compare(const struct channel *a, const struct channel *b)
{
    if (a->time != b->time)
        return a->time < b->time ? -1 : 1;
    return memcmp(a->id, b->id, CHANNEL_ID_SIZE);
}

void channel_tick(struct channel *c, struct moment now, bool backlogged)
{
    if (c->alive != CHANNEL_ALIVE)
        return;
    if (chain_sender_is_due(&c->send.chain, now, c->settings.group_epoch_ms)) {
        chain_sender_step(&c->send.chain);
        renew_send_key(c);
    }
    if (chain_receiver_tick(&c->receive.chain, now, c->settings.group_epoch_ms,
                            c->settings.handshake_timeout_ms, backlogged)) {
        aead_key_wipe(&c->receive.key);
        c->receive.has_key = false;
    }
}

int64_t channel_deadline(const struct channel *c, bool backlogged)
{
    if (c->alive != CHANNEL_ALIVE)
        return MOMENT_NEVER;
    return MIN(chain_sender_deadline(&c->send.chain, c->settings.group_epoch_ms),
               chain_receiver_deadline(&c->receive.chain, c->settings.group_epoch_ms, backlogged));
}
