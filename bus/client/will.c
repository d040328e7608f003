/* SPDX-License-Identifier: Apache-2.0 */
/* Our last will at the broker: sealed for the epoch to come, and anew with each (decision 44). */
#include "base/cleanup.h"
#include "client/internal.h"

int client_set_will(struct client *client, struct bytes topic, struct bytes payload)
{
    client->will_topic = client_topic_get(client, topic);
    if (!client->will_topic || buffer_append(&client->will, payload) < 0)
        return AICO_ENOMEM;
    return 0;
}

static void give_up(struct client *client, int code, const char *text)
{
    deliver_refused(client, 0, topic_name(client->will_topic), code, text);
    client->will_topic = NULL;
}

bool will_refused(struct client *client, uint64_t id, int code, const char *text)
{
    if (!client->will_topic || client->will_id == 0 || id != client->will_id)
        return false;
    give_up(client, code, text);
    return true;
}

/* The envelope, or the clear text where a rule says so. */
static int seal(struct client *client, struct moment now, struct buffer *ret_sealed)
{
    const struct rule *rule = client_topic_rule(client, client->will_topic);
    struct bytes topic = topic_name(client->will_topic), text = buffer_view(&client->will);
    size_t room = sessions_envelope_size(client->sessions, 0, text.size);
    struct writer w;
    int r;

    if (!rule)
        return AICO_EDENIED;
    if (rule->seal == SEAL_NONE)
        return client->settings.seal_none_allowed ? buffer_append(ret_sealed, text) : AICO_EPOLICY;
    w = writer_over(buffer_reserve(ret_sealed, room), room);
    if (!w.at)
        return AICO_ENOMEM;
    /* Whoever is here gets the key now; who comes later, when it comes. */
    want_presence(client);
    r = sessions_prepare_group(client->sessions, now, topic);
    if (r == 0 || r == AICO_ESTATE)
        r = sessions_seal_will(client->sessions, now, topic, text, &w);
    ret_sealed->size = w.size;
    return r;
}

void will_give(struct client *client, struct moment now)
{
    CLEANUP(buffer_deinit)
    struct buffer sealed = {0};
    struct group_stamp stamp = {0};
    struct record_will record;
    struct writer w;
    int r;

    if (!client->will_topic || client->closed)
        return;
    (void)sessions_group_stamp(client->sessions, topic_name(client->will_topic), &stamp);
    if (client->will_id > 0 && stamp.generation == client->will_stamp.generation &&
        stamp.epoch == client->will_stamp.epoch)
        return;
    r = seal(client, now, &sealed);
    if (r == 0 && sealed.size > WILL_SIZE_MAX)
        r = AICO_ETOOLARGE;
    if (r < 0) {
        give_up(client, r, aico_error_string(r));
        return;
    }
    (void)sessions_group_stamp(client->sessions, topic_name(client->will_topic),
                               &client->will_stamp);
    client->will_id = client->next_id++;
    record = (struct record_will){.id = client->will_id,
                                  .topic = client->will_topic->number,
                                  .topic_name = topic_name(client->will_topic),
                                  .payload = buffer_view(&sealed)};
    w = client_control_begin(client, RECORD_HEAD_SIZE + 16 + TOPIC_SIZE_MAX + sealed.size);
    record_write_will(&w, &record);
    client_control_end(client, &w);
}
