/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's numbers as Prometheus text:
 *
 *   # HELP NAME what it counts
 *   # TYPE NAME counter|gauge
 *   NAME{label="value"} number
 *
 * Counters end in _total; those of a component begin again with each of its sessions, which is what
 * Prometheus expects of a counter.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/buffer.h"
#include "broker/internal.h"

#define PREFIX "aico_bus_"

struct text {
    struct buffer *out;
    bool failed;
};

static void put(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct text *t, const char *format, ...)
{
    char line[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    t->failed |= buffer_append_text(t->out, line) < 0;
}

static void put_head(struct text *t, const char *name, const char *type, const char *help)
{
    put(t, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, help, name, type);
}

static void put_value(struct text *t, const char *name, uint64_t value)
{
    put(t, PREFIX "%s %" PRIu64 "\n", name, value);
}

/* Values of labels escape backslash, quote and newline. */
static void put_label(struct text *t, const char *name, const char *label, const char *value)
{
    put(t, PREFIX "%s{%s=\"", name, label);
    for (const char *at = value; *at; at++) {
        char escaped[3] = {'\\', *at == '\n' ? 'n' : *at};
        char plain[2] = {*at};
        bool is_special = *at == '\\' || *at == '"' || *at == '\n';

        t->failed |= buffer_append_text(t->out, is_special ? escaped : plain) < 0;
    }
    put(t, "\"}");
}

static void put_labelled(struct text *t, const char *name, const char *label, const char *of,
                         uint64_t value)
{
    put_label(t, name, label, of);
    put(t, " %" PRIu64 "\n", value);
}

/* --- the whole broker ----------------------------------------------------------------------- */

static void put_about(struct text *t, const struct broker *b)
{
    put_head(t, "info", "gauge", "The program that answers; always 1.");
    put_labelled(t, "info", "version", b->software, 1);
    put_head(t, "uptime_seconds", "gauge", "Since the broker started.");
    put_value(t, "uptime_seconds", (uint64_t)(b->now.boot_ms - b->started.boot_ms) / 1000);
    put_head(t, "registry_version", "gauge", "Version of the registry in force.");
    put_value(t, "registry_version", registry_version(b->registry));
}

struct number {
    const char *name, *type, *help;
    uint64_t value;
};

static void put_numbers(struct text *t, const struct number *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        put_head(t, numbers[i].name, numbers[i].type, numbers[i].help);
        put_value(t, numbers[i].name, numbers[i].value);
    }
}

static void put_totals(struct text *t, const struct broker *b)
{
    const struct broker_totals *m = &b->totals;
    const struct number numbers[] = {
        {"connections", "gauge", "Links, with or without a session.", b->peer_count},
        {"components", "gauge", "Components connected.", HASH_COUNT(b->sessions)},
        {"subscriptions", "gauge", "Subscriptions of all components.", b->subscription_count},
        {"topics", "gauge", "Topics that have a number.", b->topic_count},
        {"retained_values", "gauge", "Topics whose last value is kept.", HASH_COUNT(b->retained)},
        {"retained_bytes", "gauge", "Bytes of those values.", b->retained_bytes},
        {"published_total", "counter", "Messages accepted by topic.", m->published},
        {"repeated_total", "counter", "Messages accepted before, not routed again.", m->repeated},
        {"routed_total", "counter", "Pairs of a message and a reader.", m->by_topic.routed},
        {"delivered_total", "counter", "Of these, given to the reader.", m->by_topic.delivered},
        {"waiting_messages", "gauge", "Of these, held for the reader now.", m->by_topic.queued},
        {"direct_total", "counter", "Messages accepted for one component.", m->direct},
        {"direct_delivered_total", "counter", "Of these, given out.", m->to_one.delivered},
        {"direct_dropped_total", "counter", "Of these, dropped.", broker_flow_dropped(&m->to_one)},
        {"stored_total", "counter", "Messages the store has committed.", m->stored},
        {"expired_total", "counter", "Stored messages that retention or their time to live took.",
         m->expired},
        {"settled_total", "counter", "Messages durable readers acknowledged.", m->settled},
        {"redelivered_total", "counter", "Deliveries of stored messages beyond the first.",
         m->redelivered},
        {"dead_letters_total", "counter", "Messages given up after too many attempts.", m->buried},
        {"gaps_total", "counter", "Gaps told to readers.", m->gaps},
        {"wills_lost_total", "counter", "Last wills lost for want of memory.", m->wills_lost},
        {"handshake_records_total", "counter", "Handshake records passed on.", m->handshakes},
        {"received_bytes_total", "counter", "Bytes of frames from components.", m->bytes_in},
        {"sent_bytes_total", "counter", "Bytes of frames to components.", m->bytes_out},
    };

    put_numbers(t, numbers, COUNT_OF(numbers));
}

static void put_losses(struct text *t, const struct broker *b)
{
    put_head(t, "dropped_total", "counter", "Messages a reader did not get, by cause.");
    for (int cause = 0; cause < DROP_CAUSES; cause++)
        put_labelled(t, "dropped_total", "cause", broker_drop_name((enum broker_drop)cause),
                     b->totals.by_topic.dropped[cause]);
    put_head(t, "refused_total", "counter", "Records refused, by code.");
    for (size_t code = 1; code < COUNT_OF(b->refused_by_code); code++)
        if (b->refused_by_code[code] > 0)
            put_labelled(t, "refused_total", "code", aico_error_name(-(int)code),
                         b->refused_by_code[code]);
    put_head(t, "quota_warnings_total", "counter", "Components that came near a quota.");
    for (int quota = 0; quota < QUOTAS; quota++)
        put_labelled(t, "quota_warnings_total", "quota", quota_key((enum quota)quota),
                     b->quota_warnings[quota]);
    put_head(t, "quota_refusals_total", "counter", "What was refused for a quota.");
    for (int quota = 0; quota < QUOTAS; quota++)
        put_labelled(t, "quota_refusals_total", "quota", quota_key((enum quota)quota),
                     b->quota_refusals[quota]);
}

/* --- components ----------------------------------------------------------------------------- */

/* clang-format off */
static uint64_t get_published(const struct broker_peer *p) { return p->published; }
static uint64_t get_refused(const struct broker_peer *p) { return p->refused; }
static uint64_t get_delivered(const struct broker_peer *p) { return p->delivered; }
static uint64_t get_dropped(const struct broker_peer *p) { return p->dropped; }
static uint64_t get_received(const struct broker_peer *p) { return p->bytes_in; }
static uint64_t get_sent(const struct broker_peer *p) { return p->bytes_out; }
static uint64_t get_subscriptions(const struct broker_peer *p) { return p->subscription_count; }
static uint64_t get_waiting(const struct broker_peer *p)
{
    return p->lanes[LANE_TOPIC].messages + p->lanes[LANE_DIRECT].messages;
}
static uint64_t get_waiting_bytes(const struct broker_peer *p)
{
    return p->lanes[LANE_TOPIC].bytes + p->lanes[LANE_DIRECT].bytes;
}
/* clang-format on */

static const struct component_number {
    const char *name, *type, *help;
    uint64_t (*get)(const struct broker_peer *);
} component_numbers[] = {
    {"component_published_total", "counter", "Messages accepted of it.", get_published},
    {"component_refused_total", "counter", "Messages refused of it.", get_refused},
    {"component_delivered_total", "counter", "Messages given to it.", get_delivered},
    {"component_dropped_total", "counter", "Messages dropped for it.", get_dropped},
    {"component_received_bytes_total", "counter", "Bytes of frames from it.", get_received},
    {"component_sent_bytes_total", "counter", "Bytes of frames to it.", get_sent},
    {"component_subscriptions", "gauge", "Its subscriptions.", get_subscriptions},
    {"component_waiting_messages", "gauge", "Messages held for it.", get_waiting},
    {"component_waiting_bytes", "gauge", "Bytes of these.", get_waiting_bytes},
};

/* The lines of one number stand together, as the format wants it. */
static void put_components(struct text *t, const struct broker *b)
{
    size_t sessions = HASH_COUNT(b->sessions);

    for (size_t i = 0; i < COUNT_OF(component_numbers); i++) {
        const struct component_number *number = &component_numbers[i];
        const struct broker_peer *peer = b->sessions;

        put_head(t, number->name, number->type, number->help);
        for (size_t n = 0; peer && n < METRICS_COMPONENTS_MAX; peer = peer->hh.next, n++)
            put_labelled(t, number->name, "component", peer->member->name, number->get(peer));
    }
    put_head(t, "components_left_out", "gauge", "Components connected that are not shown here.");
    put_value(t, "components_left_out",
              sessions > METRICS_COMPONENTS_MAX ? sessions - METRICS_COMPONENTS_MAX : 0);
}

int broker_metrics(const struct broker *b, struct moment now, struct buffer *out)
{
    struct text t = {out, false};
    size_t before = out->size;

    (void)now; /* as broker_status_json() */
    put_about(&t, b);
    put_totals(&t, b);
    put_losses(&t, b);
    put_components(&t, b);
    if (!t.failed)
        return 0;
    out->size = before;
    return AICO_ENOMEM;
}
