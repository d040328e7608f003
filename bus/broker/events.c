/* SPDX-License-Identifier: Apache-2.0 */
/* What happened, for the log: a ring that its owner empties. Texts are made printable, because
 * names in them come from peers. */
#include <stdarg.h>
#include <stdio.h>

#include "broker/internal.h"

static void make_printable(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

void event(struct broker *b, enum broker_event_level level, enum broker_event_kind kind,
           const struct broker_peer *peer, int code, const char *text, ...)
{
    struct broker_event *e;
    va_list args;

    if (b->event_count == EVENTS_KEPT) {
        b->events_lost++;
        return;
    }
    e = &b->events[(b->event_first + b->event_count++) % EVENTS_KEPT];
    *e = (struct broker_event){.level = level, .kind = kind, .code = code};
    if (peer) {
        (void)snprintf(e->name, sizeof(e->name), "%s", peer->member->name);
        (void)snprintf(e->address, sizeof(e->address), "%s", peer->address);
    }
    va_start(args, text);
    (void)vsnprintf(e->text, sizeof(e->text), text, args);
    va_end(args);
    make_printable(e->text);
    make_printable(e->address);
}

bool broker_next_event(struct broker *b, struct broker_event *ret_event)
{
    if (b->event_count > 0) {
        *ret_event = b->events[b->event_first];
        b->event_first = (b->event_first + 1) % EVENTS_KEPT;
        b->event_count--;
        return true;
    }
    if (b->events_lost > 0) {
        *ret_event =
            (struct broker_event){.level = BROKER_WARNING, .kind = BROKER_EVENT_EVENTS_LOST};
        (void)snprintf(ret_event->text, sizeof(ret_event->text),
                       "%llu events happened faster than they were logged",
                       (unsigned long long)b->events_lost);
        b->events_lost = 0;
        return true;
    }
    return false;
}
