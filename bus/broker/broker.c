/* SPDX-License-Identifier: Apache-2.0 */
/* The broker as a whole: its making, its registry, its timers, its end. */
#include <stdio.h>

#include "broker/internal.h"

#define OUTBOX_LIMIT_MIN (2 * (size_t)FRAME_SIZE_MAX)
#define PUBLISH_WINDOW_MIN (4 * (uint32_t)FRAME_SIZE_MAX)

void broker_settings_default(struct broker_settings *ret_settings)
{
    *ret_settings = (struct broker_settings){
        .software = "aico-broker",
        .max_connections = 1000,
        .max_connections_per_component = 32,
        .max_topics = 200000,
        .max_subscriptions = 10000,
        .max_retained = 10000,
        .retained_limit = 64 * 1024 * 1024,
        .max_requests = 4096,
        .max_message_size = 16 * 1024 * 1024,
        .outbox_limit = 8 * 1024 * 1024,
        .mailbox_limit = 64 * 1024 * 1024,
        .value_limit = 64 * 1024 * 1024,
        .direct_limit = 8 * 1024 * 1024,
        .control_limit = 4 * 1024 * 1024,
        .publish_window = 1024 * 1024,
        .hello_timeout_ms = 5000,
        .keepalive_interval_ms = 60000,
        .ack_delay_ms = 10,
    };
}

/* What no smaller value could work with: one frame must always fit. */
static void raise_limits(struct broker_settings *s)
{
    s->max_connections = MAX(s->max_connections, (size_t)1);
    s->max_connections_per_component = MAX(s->max_connections_per_component, (size_t)1);
    s->max_topics = MAX(s->max_topics, (size_t)TOPIC_NUMBER_HEADS);
    s->outbox_limit = MAX(s->outbox_limit, OUTBOX_LIMIT_MIN);
    s->control_limit = MAX(s->control_limit, OUTBOX_LIMIT_MIN);
    s->publish_window = MIN(MAX(s->publish_window, PUBLISH_WINDOW_MIN), (uint32_t)1 << 30);
    s->max_message_size = MAX(s->max_message_size, (size_t)1024);
    s->hello_timeout_ms = MAX(s->hello_timeout_ms, (int64_t)1);
    s->keepalive_interval_ms = MAX(s->keepalive_interval_ms, (int64_t)1);
}

void broker_set_settings(struct broker *b, struct moment now,
                         const struct broker_settings *settings)
{
    enter(b, now);
    b->settings = *settings;
    raise_limits(&b->settings);
    b->settings.name = NULL; /* was the caller's */
    b->settings.software = b->software;
    wake_at(b, now.boot_ms); /* keep-alive and deadlines may be nearer now */
}

/* Numbers that every implementation knows: the broker and the topics of the bus. */
static int make_fixed_names(struct broker *b)
{
    const struct component *self = registry_broker(b->registry);
    const char *name = b->settings.name ? b->settings.name : self ? self->name : "broker";
    static const uint8_t nobody[SIGN_PUBLIC_SIZE];
    struct topic *control, *heads;

    b->self = member_get(b, bytes_text(name), self ? self->identity : nobody);
    control = topic_get(b, bytes_text(TOPIC_CONTROL), true);
    heads = topic_get(b, bytes_text(TOPIC_HEADS), true);
    if (!b->self || !control || !heads || b->self->number != COMPONENT_NUMBER_BROKER ||
        control->number != TOPIC_NUMBER_CONTROL || heads->number != TOPIC_NUMBER_HEADS)
        return AICO_ENOMEM;
    return 0;
}

int broker_new(const struct broker_settings *settings, struct registry *registry, struct moment now,
               struct broker **ret_broker)
{
    CLEANUP(broker_free)
    struct broker *b = calloc(1, sizeof(*b));

    if (!b)
        return AICO_ENOMEM;
    b->settings = *settings;
    raise_limits(&b->settings);
    b->now = b->started = now;
    b->deadline_ms = MOMENT_NEVER;
    b->swept_ms = INT64_MIN / 2;
    b->registry = registry_ref(registry);
    b->registry_generation = b->route_generation = 1;
    b->next_id = 1;
    b->ledger_rest_direct.key.way = LEDGER_DIRECT;
    b->turn_ends = WORK_TURN;
    b->frame = malloc(FRAME_SIZE_MAX);
    b->software = strdup(settings->software ? settings->software : "");
    if (!b->frame || !b->software || make_fixed_names(b) < 0 || streams_start(b) < 0)
        return AICO_ENOMEM;
    b->settings.name = NULL; /* was the caller's */
    b->settings.software = b->software;
    *ret_broker = STEAL(b);
    return 0;
}

void broker_free(struct broker **broker)
{
    struct broker *b = *broker;

    if (!b)
        return;
    b->draining = true; /* nobody is left to be told who goes */
    while (b->peers) {
        struct broker_peer *peer = b->peers;

        if (peer->state != PEER_LEAVING)
            peer_cut(b, peer, AICO_ECLOSED, "the broker ends");
        peer_free(b, peer);
    }
    while (b->away_instances) {
        struct instance *instance = b->away_instances;

        instance_free(b, &instance);
    }
    streams_free(b);
    retained_free(b);
    entries_free(b);
    route_free(b);
    names_free(b);
    ledger_free(b);
    registry_unref(&b->registry);
    for (size_t i = 0; i < b->succession_count; i++)
        registry_unref(&b->succession[i]);
    free(b->succession);
    free(b->software);
    free(b->frame);
    free(b);
    *broker = NULL;
}

void enter(struct broker *b, struct moment now)
{
    b->now = now;
    outbox_rollback(b);
}

void settle(struct broker *b)
{
    struct broker_peer *peer, *next;

    /* Ending one may fill the outbox of another with its presence: until none is left. */
    while (b->ending > 0)
        DL_FOREACH_SAFE(b->peers, peer, next)
    if (peer->end_noted)
        peer_end(b, peer, peer->end_code, peer->end_text);
}

/* --- output --------------------------------------------------------------------------------- */

bool broker_next_frame(struct broker *b, struct moment now, struct broker_peer **ret_peer,
                       struct bytes *ret_frame)
{
    enter(b, now);
    acks_send_due(b);
    while (b->output) {
        struct broker_peer *peer = b->output;

        if (peer->in_acks) /* it goes along */
            acknowledge(b, peer);
        if (outbox_build(b, peer, ret_frame)) {
            *ret_peer = peer;
            return true;
        }
        output_remove(b, peer);
        settle(b);
    }
    return false;
}

static void drain_if_empty(struct broker *b, struct broker_peer *peer)
{
    if (b->draining && peer->state != PEER_LEAVING &&
        (outbox_is_empty(peer) || b->now.boot_ms >= b->drain_until_ms))
        peer_end(b, peer, AICO_EDRAIN, "the broker is shutting down");
}

void broker_frame_sent(struct broker *b, struct broker_peer *peer)
{
    if (b->build.peer != peer)
        return;
    outbox_commit(b);
    durables_pump_peer(b, peer);
    values_pump_peer(b, peer);
    /* The others first. */
    output_remove(b, peer);
    outbox_queued(b, peer);
    drain_if_empty(b, peer);
    settle(b);
}

void broker_frame_blocked(struct broker *b, struct broker_peer *peer)
{
    if (b->build.peer == peer)
        outbox_rollback(b);
    peer->blocked = true;
    output_remove(b, peer);
}

void broker_peer_writable(struct broker *b, struct broker_peer *peer)
{
    outbox_rollback(b);
    if (!peer->blocked || peer->kick_reported)
        return;
    peer->blocked = false;
    outbox_queued(b, peer);
}

void broker_all_writable(struct broker *b)
{
    struct broker_peer *peer;

    DL_FOREACH(b->peers, peer)
    broker_peer_writable(b, peer);
}

/* --- the registry --------------------------------------------------------------------------- */

/* What the registry in force, or the time, no longer allows ends now. */
static void enforce_registry(struct broker *b)
{
    struct broker_peer *peer, *next;

    members_refresh(b);
    flights_recheck(b);
    retained_sweep(b, true);
    values_recheck(b);
    DL_FOREACH(b->peers, peer)
    if (peer->member->active && peer->state == PEER_READY) {
        (void)entries_reserve(b, 1);
        lane_recheck(b, peer);
        subscriptions_recheck(b, peer);
        durables_recheck(b, peer);
    }
    DL_FOREACH_SAFE(b->peers, peer, next)
    if (!peer->member->active)
        peer_end(b, peer, AICO_EREVOKED,
                 "the registry does not name this identity as active any more");
    b->recheck_real_ms = registry_next_change(b->registry, b->now.real_ms);
    if (b->recheck_real_ms == INT64_MAX)
        b->recheck_real_ms = 0;
    else
        wake_at(b, b->now.boot_ms + (b->recheck_real_ms - b->now.real_ms));
}

int broker_keep_succession(struct broker *b, struct registry *registry)
{
    struct registry **last = b->succession_count ? &b->succession[b->succession_count - 1] : NULL;
    struct registry **list;

    if (!registry_owner_next(registry))
        return 0;
    /* Of one owner the last word is enough. */
    if (last && memcmp(registry_owner(*last), registry_owner(registry), SIGN_PUBLIC_SIZE) == 0) {
        (void)registry_ref(registry);
        registry_unref(last);
        *last = registry;
        return 0;
    }
    list = realloc(b->succession, (b->succession_count + 1) * sizeof(struct registry *));
    if (!list)
        return AICO_ENOMEM;
    b->succession = list;
    b->succession[b->succession_count++] = registry_ref(registry);
    return 0;
}

void registry_send_next(struct broker *b, struct broker_peer *peer)
{
    struct registry *next = b->registry;

    for (size_t i = b->succession_count; i > 0; i--)
        if (registry_version(b->succession[i - 1]) > peer->registry_told)
            next = b->succession[i - 1];
    registry_unref(&peer->registry);
    peer->registry_sent = 0;
    if (registry_version(next) > peer->registry_told)
        peer->registry = registry_ref(next);
}

void broker_set_registry(struct broker *b, struct moment now, struct registry *registry)
{
    struct broker_peer *peer;

    enter(b, now);
    if (broker_keep_succession(b, b->registry) < 0)
        event(b, BROKER_ERROR, BROKER_EVENT_REGISTRY, NULL, AICO_ENOMEM,
              "registry version %llu, which names the next owner, cannot be kept",
              (unsigned long long)registry_version(b->registry));
    (void)registry_ref(registry);
    registry_unref(&b->registry);
    b->registry = registry;
    b->registry_generation++;
    b->route_generation++;
    event(b, BROKER_NOTICE, BROKER_EVENT_REGISTRY, NULL, 0, "registry version %llu is in force",
          (unsigned long long)registry_version(registry));
    enforce_registry(b);
    DL_FOREACH(b->peers, peer)
    if (peer->state == PEER_READY) {
        registry_send_next(b, peer);
        outbox_queued(b, peer);
        statements_tell(b, peer);
    }
    settle(b);
}

/* --- timers and the end --------------------------------------------------------------------- */

void wake_at(struct broker *b, int64_t boot_ms)
{
    /* One sweep looks at everything, so sweeps keep a distance. */
    b->deadline_ms = MIN(b->deadline_ms, MAX(boot_ms, b->swept_ms + SWEEP_MIN_MS));
}

int64_t broker_deadline(const struct broker *b)
{
    return MIN(b->deadline_ms, acks_due_ms(b));
}

void broker_tick(struct broker *b, struct moment now)
{
    struct broker_peer *peer, *next;

    enter(b, now);
    acks_send_due(b);
    if (now.boot_ms < b->deadline_ms)
        return;
    b->deadline_ms = MOMENT_NEVER;
    b->swept_ms = now.boot_ms;
    DL_FOREACH_SAFE(b->peers, peer, next)
    {
        drain_if_empty(b, peer);
        peer_sweep(b, peer);
    }
    requests_sweep(b);
    streams_tick(b);
    stats_tick(b);
    retained_sweep(b, false);
    instances_sweep(b);
    if (b->recheck_real_ms && now.real_ms >= b->recheck_real_ms) {
        b->route_generation++;
        enforce_registry(b);
    } else if (b->recheck_real_ms) {
        wake_at(b, now.boot_ms + (b->recheck_real_ms - now.real_ms));
    }
    if (b->draining && now.boot_ms < b->drain_until_ms)
        wake_at(b, b->drain_until_ms);
    settle(b);
}

void broker_drain(struct broker *b, struct moment now, int64_t timeout_ms)
{
    struct broker_peer *peer, *next;

    enter(b, now);
    b->draining = true;
    b->drain_until_ms = now.boot_ms + timeout_ms;
    wake_at(b, b->drain_until_ms);
    DL_FOREACH_SAFE(b->peers, peer, next)
    drain_if_empty(b, peer);
    settle(b);
}

bool broker_is_drained(const struct broker *b)
{
    return b->draining && b->peer_count == 0;
}
