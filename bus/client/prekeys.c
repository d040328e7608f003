/* SPDX-License-Identifier: Apache-2.0 */
/* Prekeys between the sessions and the broker's directory. */
#include "client/internal.h"

void prekeys_send(struct client *client, struct bytes statement, struct bytes keys)
{
    struct record_prekeys record = {statement, keys};
    struct writer w;

    if (client->state != CLIENT_READY)
        return; /* said again when the link is up */
    w = client_control_begin(client, RECORD_HEAD_SIZE + STATEMENT_SIZE + 2 + keys.size);
    record_write_prekeys(&w, &record);
    client_control_end(client, &w);
}

void bundle_send(struct client *client, struct moment now, struct bytes name)
{
    struct client_component *component = component_get(client, name);
    struct writer w;

    if (client->state != CLIENT_READY)
        return;
    if (!component) {
        sessions_bundle_refused(client->sessions, now, name, AICO_ENOMEM, "out of memory");
        return;
    }
    w = client_control_begin(client, RECORD_HEAD_SIZE + 9 + name.size);
    component->bundle_id = client->next_id++;
    record_write_bundle_ask(&w, component->bundle_id, name);
    client_control_end(client, &w);
}

static struct client_component *find_asked(struct client *client, uint64_t id)
{
    struct client_component *component;

    for (component = client->components; component; component = component->hh.next)
        if (component->bundle_id == id)
            return component;
    return NULL;
}

bool bundle_refused(struct client *client, struct moment now, uint64_t id, int code,
                    const char *text)
{
    struct client_component *component = find_asked(client, id);

    if (id == 0 || !component)
        return false;
    component->bundle_id = 0;
    sessions_bundle_refused(client->sessions, now, bytes_text(component->name), code, text);
    return true;
}

int receive_prekeys_left(struct client *client, struct moment now, const struct record *record)
{
    struct record_prekeys_left left;
    int r = record_parse_prekeys_left(record, &left);

    if (r == 0)
        sessions_prekeys_left(client->sessions, now, left.left);
    return r;
}

int receive_bundle(struct client *client, struct moment now, const struct record *record)
{
    struct client_component *component;
    struct record_bundle bundle;
    int r = record_parse_bundle(record, &bundle);

    if (r < 0)
        return r;
    component = find_asked(client, bundle.id);
    if (!component || !bytes_equal_text(bundle.name, component->name))
        return AICO_EPROTO;
    component->bundle_id = 0;
    sessions_bundle(client->sessions, now, bundle.name, bundle.statement, bundle.number,
                    bundle.number == ONE_TIME_NONE ? NULL : bundle.public.at);
    return 0;
}
