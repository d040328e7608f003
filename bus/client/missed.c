/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was stored for this component and will not come (MISSED). The application is told once by
 * this process, whatever happens to the link; the broker is told when it has taken that, and tells
 * it again until then: a report that comes as attempt 2 may be a repetition.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "client/internal.h"
#include "client/message.h"

#define REPORTS_MAX 8192 /* remembered; the broker has at most 64 open at a time */

struct report_key {
    uint64_t token, number, count; /* a broker with another store counts anew */
};

struct missed_report {
    UT_hash_handle hh; /* client->missed */
    struct report_key key;
    bool taken;
};

static struct missed_report *find(struct client *client, const struct missed_place *place)
{
    struct report_key key = {place->token, place->number, place->count};
    struct missed_report *report = NULL;

    HASH_FIND(hh, client->missed, &key, sizeof(key), report);
    return report;
}

static void forget(struct client *client, struct missed_report *report)
{
    HASH_DEL(client->missed, report);
    free(report);
}

/* AICO_ENOMEM. */
static int remember(struct client *client, const struct missed_place *place)
{
    struct missed_report *report = calloc(1, sizeof(*report));

    if (!report)
        return AICO_ENOMEM;
    report->key = (struct report_key){place->token, place->number, place->count};
    HASH_ADD(hh, client->missed, key, sizeof(report->key), report);
    if (!HASH_ADDED(hh, report)) {
        free(report);
        return AICO_ENOMEM;
    }
    if (HASH_COUNT(client->missed) > REPORTS_MAX)
        forget(client, client->missed);
    return 0;
}

int receive_missed(struct client *client, const struct record_missed *record)
{
    struct client_component *sender = component_number_find(client, record->sender);
    struct client_topic *topic = record->topic ? topic_number_find(client, record->topic)
                                               : client_topic_get(client, record->topic_name);
    struct missed_place place = {record->token, record->number, record->count,
                                 record->subscription};
    struct missed_report *report;

    if (!sender || !topic)
        return AICO_EPROTO;
    if ((record->subscription != MAILBOX_SUBSCRIPTION &&
         !is_followed(client, record->subscription)) ||
        follow_has(client, record))
        return 0;
    report = find(client, &place);
    if (report) {
        if (report->taken)
            follow_told(client, record->subscription, record->token);
        return 0;
    }
    if (remember(client, &place) < 0)
        return AICO_ENOMEM;
    return deliver_missed(client, record, &place, sender, topic);
}

void client_missed_taken(struct client *client, const struct missed_place *place)
{
    struct missed_report *report = find(client, place);

    if (report)
        report->taken = true;
    follow_told(client, place->subscription, place->token);
}

void missed_free(struct client *client)
{
    while (client->missed)
        forget(client, client->missed);
}
