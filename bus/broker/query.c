/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to the broker and what it can be told to do. Who may is decided here alone, by the role
 * that the registry gives the key of the link.
 */
#include <stdio.h>

#include "base/json.h"
#include "broker/internal.h"

#define ANSWER_PIECE (32 * 1024)
#define SHOWN_MAX 32 /* of a question in a text */

static void send_answer(struct broker *b, struct broker_peer *peer, uint64_t id, struct bytes text)
{
    for (size_t offset = 0; offset < text.size; offset += ANSWER_PIECE) {
        size_t size = MIN(text.size - offset, (size_t)ANSWER_PIECE);
        struct record_answer record = {id, (uint32_t)text.size, (uint32_t)offset,
                                       bytes_of(text.at + offset, size)};
        struct writer w = control_begin(b, peer, RECORD_HEAD_SIZE + 16 + size);

        record_write_answer(&w, &record);
        control_end(b, peer, &w);
    }
}

static void answer_text(struct broker *b, struct broker_peer *peer, uint64_t id, const char *name,
                        const char *value)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct json json = json_over(&text);

    json_open_object(&json, NULL);
    json_put_text(&json, name, bytes_text(value));
    json_close_object(&json);
    if (json.failed)
        refuse(b, peer, id, AICO_ENOMEM, NULL, "the broker is out of memory");
    else
        send_answer(b, peer, id, buffer_view(&text));
}

/* Names those who may, as many as fit. */
static void refuse_not_admin(struct broker *b, struct broker_peer *peer,
                             const struct record_query *query)
{
    int size = (int)MIN(query->what.size, (size_t)SHOWN_MAX);
    const char *what = (const char *)query->what.at;
    char names[HINT_SIZE_MAX / 2] = "";
    size_t used = 0;

    for (size_t i = 0; i < registry_component_count(b->registry); i++) {
        const struct component *component = registry_component_at(b->registry, i);
        size_t left = sizeof(names) - used;

        if (!component_has_role(component, REGISTRY_ROLE_ADMIN) ||
            !component_is_active(b->registry, component, b->now.real_ms))
            continue;
        if (strlen(component->name) + 3 > left)
            break;
        used += (size_t)snprintf(names + used, left, "%s%s", used ? ", " : "", component->name);
    }
    event(b, BROKER_NOTICE, BROKER_EVENT_DENIED, peer, AICO_EDENIED,
          "may not ask for %.*s: role " REGISTRY_ROLE_ADMIN " is needed", size, what);
    refuse(b, peer, query->id, AICO_EDENIED, NULL,
           "only a component with role " REGISTRY_ROLE_ADMIN " may ask for %.*s: %s", size, what,
           *names ? names : "the registry has none");
}

void answer_query(struct broker *b, struct broker_peer *peer, uint64_t id, struct bytes text)
{
    if (control_waiting(peer) + text.size + text.size / 1024 > b->settings.control_limit)
        refuse(b, peer, id, AICO_EFULL, NULL, "earlier answers have not been read yet");
    else
        send_answer(b, peer, id, text);
}

/* --- questions ------------------------------------------------------------------------------ */

static void answer_status(struct broker *b, struct broker_peer *peer, const struct record_query *m)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    int r;

    work_add(b, WORK_QUERY);
    r = status_json(b, peer, m->what, m->argument, &text);
    work_add(b, text.size / 16);
    if (r < 0)
        refuse(b, peer, m->id, r, NULL, "%s",
               r == AICO_EINVAL ? "known questions: status, peers, topics, ledger, streams; to be "
                                  "done: kick, reload, drain, purge, forget"
                                : aico_error_string(r));
    else
        answer_query(b, peer, m->id, buffer_view(&text));
}

/* --- acts ----------------------------------------------------------------------------------- */

/* "NAME" or "NAME REASON". Whoever is kicked may come back: revoking is the owner's affair. */
static void act_kick(struct broker *b, struct broker_peer *peer, const struct record_query *m)
{
    const uint8_t *space = m->argument.size ? memchr(m->argument.at, ' ', m->argument.size) : NULL;
    size_t size = space ? (size_t)(space - m->argument.at) : m->argument.size;
    char name[COMPONENT_NAME_MAX + 1] = "", text[HINT_SIZE_MAX + 1];
    bool is_name = size > 0 && size < sizeof(name);

    if (is_name)
        bytes_copy(name, bytes_of(m->argument.at, size));
    if (!is_name || !registry_find_name(b->registry, bytes_text(name))) {
        refuse(b, peer, m->id, AICO_EPEERUNKNOWN, NULL, "the registry has no such component");
        return;
    }
    (void)snprintf(text, sizeof(text), "disconnected by %s%s%.*s", peer->member->name,
                   space ? ": " : "", space ? (int)(m->argument.size - size - 1) : 0,
                   space ? (const char *)space + 1 : "");
    if (!kick_name(b, bytes_text(name), AICO_EKICKED, text)) {
        refuse(b, peer, m->id, AICO_EPEERAWAY, NULL, "%s is not connected", name);
        return;
    }
    event(b, BROKER_NOTICE, BROKER_EVENT_ADMIN, peer, 0, "kick %s", name);
    answer_text(b, peer, m->id, "kicked", name);
}

static void hand_on(struct broker *b, struct broker_peer *peer, const struct record_query *m,
                    enum broker_act act)
{
    struct broker_ask *ask = &b->asks[b->ask_count];

    if (b->ask_count == ASKS_KEPT) {
        refuse(b, peer, m->id, AICO_EFULL, NULL, "others have asked for the same");
        return;
    }
    *ask = (struct broker_ask){.act = act, .session = peer->serial, .id = m->id};
    (void)snprintf(ask->name, sizeof(ask->name), "%s", peer->member->name);
    b->ask_count++;
    event(b, BROKER_NOTICE, BROKER_EVENT_ADMIN, peer, 0, "%s",
          act == BROKER_RELOAD ? "reload" : "drain");
}

bool broker_next_ask(struct broker *b, struct broker_ask *ret_ask)
{
    if (b->ask_count == 0)
        return false;
    *ret_ask = b->asks[0];
    memmove(b->asks, b->asks + 1, --b->ask_count * sizeof(b->asks[0]));
    return true;
}

void broker_answer_ask(struct broker *b, struct moment now, const struct broker_ask *ask,
                       struct bytes json)
{
    struct broker_peer *peer;

    enter(b, now);
    DL_FOREACH(b->peers, peer)
    if (peer->serial == ask->session && peer->state == PEER_READY) {
        send_answer(b, peer, ask->id, json);
        break;
    }
    settle(b);
}

/* What who is no admin may ask: the status, and to forget a reader of its own. */
static bool is_for_all(const struct record_query *m)
{
    bool is_of_a_group = m->argument.size > 0 && m->argument.at[0] == '$' &&
                         memchr(m->argument.at, '\n', m->argument.size);

    return bytes_equal_text(m->what, "status") ||
           (bytes_equal_text(m->what, "forget") && !is_of_a_group);
}

int on_query(struct broker *b, struct broker_peer *peer, const struct record *record)
{
    struct record_query m;
    int r = record_parse_query(record, &m);

    if (r < 0)
        return r;
    if (!is_for_all(&m) && !component_has_role(peer->member->component, REGISTRY_ROLE_ADMIN))
        refuse_not_admin(b, peer, &m);
    else if (bytes_equal_text(m.what, "kick"))
        act_kick(b, peer, &m);
    else if (query_is_act(m.what))
        hand_on(b, peer, &m, bytes_equal_text(m.what, "reload") ? BROKER_RELOAD : BROKER_DRAIN);
    else if (!stream_ask(b, peer, &m))
        answer_status(b, peer, &m);
    return 0;
}
