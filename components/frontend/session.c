/* SPDX-License-Identifier: Apache-2.0 */
/* The frontend's picture of the bus: presence, messages, subscriptions. */
#include "frontend/session.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "common/moment.h"
#include "common/stop.h"
#include "common/log.h"
#include "common/text.h"

#define PRESENCE "$bus/presence/"

static struct person *find_person(struct session *session, const char *name)
{
    struct person *person;

    for (size_t i = 0; i < session->people_count; i++)
        if (strcmp(session->people[i].name, name) == 0)
            return &session->people[i];
    if (session->people_count == PEOPLE_MAX || strlen(name) >= NAME_SIZE)
        return NULL;
    person = &session->people[session->people_count++];
    *person = (struct person){0};
    (void)snprintf(person->name, NAME_SIZE, "%s", name);
    return person;
}

/* {"name", "state": "online" or "offline", "reason", "since_ms"}, from the broker itself. */
static void on_presence(struct session *session, const struct aico_message *message)
{
    json_error_t where;
    json_t *object = json_loadb(message->payload, message->size, 0, &where);
    const char *name = json_string_value(json_object_get(object, "name"));
    const char *state = json_string_value(json_object_get(object, "state"));
    struct person *person = name && state ? find_person(session, name) : NULL;
    bool is_online = state && strcmp(state, "online") == 0;

    if (person) {
        if (session->is_live && person->is_online != is_online)
            (void)printf("* %s is %s\n", name, is_online ? "here" : "gone");
        person->is_online = is_online;
        person->since_ms = json_integer_value(json_object_get(object, "since_ms"));
    }
    json_decref(object);
}

static void show(const struct aico_message *message)
{
    (void)putchar('[');
    text_write_escaped(stdout, message->topic, strlen(message->topic));
    (void)printf("] %s: ", message->sender);
    text_write_escaped(stdout, message->payload, message->size);
    (void)putchar('\n');
}

/* Takes the message over: shown to a person, or kept for a script, the oldest giving way. */
static void on_event(struct session *session, struct aico_message *message)
{
    if (session->is_live) {
        show(message);
        aico_message_free(&message);
        return;
    }
    if (session->inbox_count == INBOX_MAX) {
        aico_message_free(&session->inbox[0]);
        session->inbox_count--;
        memmove(session->inbox, session->inbox + 1, session->inbox_count * sizeof(*session->inbox));
    }
    session->inbox[session->inbox_count++] = message;
}

/* What there is to say about @message; false: nothing. */
static bool notice_text(const struct session *session, const struct aico_message *message, char *to,
                        size_t size)
{
    const char *text =
        message->text && *message->text ? message->text : aico_error_string(message->code);

    if (message->kind == AICO_MESSAGE_GAP)
        (void)snprintf(to, size, "%s: %" PRIu64 " messages of %s are missing: %s", message->topic,
                       message->count, message->sender, text);
    else if (message->kind == AICO_MESSAGE_UNOPENED)
        (void)snprintf(to, size, "%s: a message of %s did not open: %s", message->topic,
                       message->sender, text);
    else if (message->kind == AICO_MESSAGE_REFUSED)
        (void)snprintf(to, size, "%s: refused: %s", message->topic, text);
    else if (message->kind == AICO_MESSAGE_STATE && message->code != 0)
        (void)snprintf(to, size, "connection lost: %s", text);
    else if (message->kind == AICO_MESSAGE_STATE && session->is_live)
        (void)snprintf(to, size, "connected");
    else
        return false;
    return true;
}

static void on_notice(const struct session *session, const struct aico_message *message)
{
    bool is_good = message->kind == AICO_MESSAGE_STATE && message->code == 0;
    char text[1000];

    if (!notice_text(session, message, text, sizeof(text)))
        return;
    if (log_has_fields() && !session->is_live)
        log_write(LOG_WARNING, "%s", text);
    else
        (void)fprintf(session->is_live ? stdout : stderr, "%c %s\n", is_good ? '*' : '!', text);
}

int session_take(struct session *session, struct aico_error *err)
{
    struct aico_message *message = NULL;
    int r;

    while ((r = aico_receive(session->client, 0, &message, err)) == 0) {
        if (strncmp(message->topic, PRESENCE, strlen(PRESENCE)) == 0 &&
            message->kind == AICO_MESSAGE_RETAINED) {
            on_presence(session, message);
        } else if (message->kind == AICO_MESSAGE_EVENT || message->kind == AICO_MESSAGE_RETAINED) {
            on_event(session, message);
            message = NULL;
        } else {
            on_notice(session, message);
        }
        aico_message_free(&message);
    }
    (void)fflush(stdout);
    return r == AICO_ETIMEOUT ? 0 : r;
}

int session_wait(struct session *session, int64_t until_ms, struct aico_error *err)
{
    struct pollfd fds[] = {
        {.fd = aico_client_fd(session->client), .events = POLLIN},
        {.fd = session->stop_fd, .events = POLLIN},
    };
    int64_t left = until_ms < 0 ? -1 : until_ms - steady_ms();
    int ready;

    if (until_ms >= 0 && left <= 0)
        return AICO_ETIMEOUT;
    ready = poll(fds, 2, left > 60000 ? 60000 : (int)left);
    if (stop_signal() != 0)
        return aico_error_set(err, AICO_ECLOSED, "ended by signal %d", stop_signal());
    if (ready < 0 && errno != EINTR)
        return aico_error_set(err, AICO_ESYSTEM, "poll: %s", strerror(errno));
    return 0;
}

int session_subscribe(struct session *session, const char *filter, struct aico_error *err)
{
    uint32_t number;
    char *copy;
    int r;

    for (size_t i = 0; i < session->filter_count; i++)
        if (strcmp(session->filters[i], filter) == 0)
            return 0;
    if (session->filter_count == FILTERS_MAX)
        return aico_error_set(err, AICO_EFULL, "more than %d filters", FILTERS_MAX);
    copy = strdup(filter);
    if (!copy)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");

    r = aico_subscribe(session->client, filter, NULL, session->timeout_ms, &number, err);
    if (r < 0) {
        free(copy);
        return r;
    }
    session->filters[session->filter_count++] = copy;
    return 0;
}

int session_start(struct session *session, struct aico_error *err)
{
    uint32_t number;

    return aico_subscribe(session->client, PRESENCE "*", NULL, session->timeout_ms, &number, err);
}

void session_deinit(struct session *session)
{
    for (size_t i = 0; i < session->inbox_count; i++)
        aico_message_free(&session->inbox[i]);
    for (size_t i = 0; i < session->filter_count; i++)
        free(session->filters[i]);
    free(session->result);
    session->result = NULL;
    session->inbox_count = session->filter_count = 0;
}
