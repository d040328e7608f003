/* SPDX-License-Identifier: Apache-2.0 */
/* The session manager: its life, the registry, time, and which peer a name is. */
#include <stdlib.h>

#include "session/peers_internal.h"

/* --- life ----------------------------------------------------------------------------------- */

int sessions_new(const struct session_settings *settings, const struct identity *self,
                 struct registry *registry, struct random_source random, uint64_t last_generation,
                 struct moment now, struct sessions **ret_sessions, struct aico_error *err)
{
    const struct component *me = registry_find_identity(registry, self->public);
    CLEANUP(sessions_free)
    struct sessions *s = NULL;

    if (!me)
        return aico_error_set(err, AICO_EUNKNOWN, "%s: not in the registry", self->name);
    if (!component_is_active(registry, me, now.real_ms))
        return aico_error_set(err, AICO_EREVOKED, "%s: no longer active in the registry",
                              self->name);
    s = calloc(1, sizeof(*s));
    if (!s)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    s->settings = *settings;
    s->self = self;
    s->registry = registry_ref(registry);
    s->random = random;
    s->last_generation = last_generation;
    s->link = true;
    s->recheck_real_ms = registry_next_change(registry, now.real_ms);
    s->deadline_ms = s->recheck_real_ms == INT64_MAX ? MOMENT_NEVER : now.boot_ms;
    s->guard = guard_new(2 * settings->synchrony_bound_ms);
    s->hedge = guarded_new(sizeof(*s->hedge));
    s->ahead = guarded_new(sizeof(*s->ahead));
    s->later = guarded_new(sizeof(*s->later));
    if (!s->guard || !s->hedge || !s->ahead || !s->later)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    hedge_init(s->hedge, &self->seed, random);
    if (ratchets_start(s, now, err) < 0)
        return err ? err->code : AICO_EKEPTDAMAGED;
    resumes_start(s, now);
    *ret_sessions = STEAL(s);
    return 0;
}

static void held_free(struct held_list *list)
{
    while (list->first)
        held_remove(list, list->first);
}

static void peer_free(struct sessions *s, struct peer *peer)
{
    while (peer->lines)
        line_remove(peer, peer->lines);
    seeds_free(peer);
    dial_stop(s, peer);
    half_open_drop_all(peer);
    held_free(&peer->early);
    readers_free(peer);
    held_free(&peer->waiting);
    bonds_free(peer);
    HASH_DEL(s->peers, peer);
    free(peer);
}

void sessions_free(struct sessions **sessions)
{
    struct sessions *s = *sessions;
    struct peer *peer, *next;

    if (!s)
        return;
    HASH_ITER(hh, s->peers, peer, next)
    {
        peer_free(s, peer);
    }
    publications_free(s);
    stored_free(s);
    resumes_free(s);
    ratchets_free(s);
    filters_deinit(&s->heard);
    filters_deinit(&s->shared);
    events_free(s);
    pool_give(s->large.at);
    pool_taker_deinit(&s->plains);
    guarded_free(&s->later);
    guarded_free(&s->ahead);
    guarded_free(&s->hedge);
    guard_free(&s->guard);
    registry_unref(&s->registry);
    free(s);
    *sessions = NULL;
}

void sessions_close(struct sessions *s, struct moment now)
{
    struct peer *peer, *next;

    if (s->closed)
        return;
    publications_close(s, now);
    HASH_ITER(hh, s->peers, peer, next)
    {
        lines_close(s, now, peer);
    }
    resumes_flush(s);
    ratchets_close(s);
    s->closed = true;
}

void sessions_get_stats(const struct sessions *s, struct sessions_stats *ret_stats)
{
    *ret_stats = s->stats;
}

/* --- who is who ----------------------------------------------------------------------------- */

struct handshake_context peers_context(struct sessions *s)
{
    return (struct handshake_context){.settings = &s->settings,
                                      .self = s->self,
                                      .registry = s->registry,
                                      .verifications = &s->stats.verified_hellos};
}

struct bytes peer_name(const struct peer *peer)
{
    return bytes_of(peer->name, peer->name_size);
}

struct peer *peer_find(struct sessions *s, struct bytes name, bool make)
{
    struct peer *peer = NULL;

    HASH_FIND(hh, s->peers, name.at, name.size, peer);
    /* Only names of the registry get memory: strangers cannot fill it. */
    if (peer || !make || !component_name_is_valid(name) || !registry_find_name(s->registry, name))
        return peer;
    peer = calloc(1, sizeof(*peer));
    if (!peer)
        return NULL;
    peer->name_size = name.size;
    bytes_copy(peer->name, name);
    HASH_ADD(hh, s->peers, name, name.size, peer);
    if (!HASH_ADDED(hh, peer)) {
        free(peer);
        return NULL;
    }
    return peer;
}

const struct component *peer_component(const struct sessions *s, struct moment now,
                                       const struct peer *peer)
{
    const struct component *met =
        peer->is_met ? registry_find_identity(s->registry, peer->met) : NULL;

    if (met && bytes_equal_text(peer_name(peer), met->name) &&
        component_is_active(s->registry, met, now.real_ms))
        return met;
    return registry_find_name(s->registry, peer_name(peer));
}

void peer_meet(struct peer *peer, const uint8_t identity[SIGN_PUBLIC_SIZE])
{
    peer->is_met = true;
    memcpy(peer->met, identity, SIGN_PUBLIC_SIZE);
}

const struct component *peer_other_component(const struct sessions *s, struct moment now,
                                             const struct peer *peer, const uint8_t *identity)
{
    for (size_t i = 0; i < registry_component_count(s->registry); i++) {
        const struct component *c = registry_component_at(s->registry, i);

        if (bytes_equal_text(peer_name(peer), c->name) &&
            memcmp(c->identity, identity, SIGN_PUBLIC_SIZE) != 0 &&
            component_is_active(s->registry, c, now.real_ms))
            return c;
    }
    return NULL;
}

const struct component *peers_self(const struct sessions *s)
{
    return registry_find_identity(s->registry, s->self->public);
}

int64_t peers_jitter(struct sessions *s, int64_t bound)
{
    uint32_t value = 0;

    if (bound <= 0)
        return 0;
    s->random.bytes(s->random.context, &value, sizeof(value));
    return (int64_t)(value % (uint64_t)bound);
}

/* --- the broker's word ---------------------------------------------------------------------- */

void sessions_peer_away(struct sessions *s, struct moment now, struct bytes name, int code)
{
    struct peer *peer = peer_find(s, name, false);

    (void)now;
    if (!peer)
        return;
    peer->away = true;
    if (peer->dialing)
        dial_fail(s, peer, code);
}

void sessions_peer_present(struct sessions *s, struct moment now, struct bytes name)
{
    struct peer *peer = peer_find(s, name, false);

    if (!peer)
        return;
    peer->away = false;
    if (peer->dialing && peer->attempt_end_ms == 0)
        peer->hello_ms = now.boot_ms;
    else if (line_best(peer)) /* keys given while it was away are lost */
        publications_peer_ready(s, now, peer);
    else if (!peer->dialing && publications_owe(s, now, peer))
        (void)!dial_start(s, now, peer);
    peers_wake_at(s, now.boot_ms);
}

static void stop_sealing(struct sessions *s, struct moment now, struct line *line)
{
    line->sendable = false;
    if (line->until_ms == 0)
        line->until_ms = now.boot_ms + s->settings.handshake_timeout_ms;
    peers_wake_at(s, line->until_ms);
}

void sessions_peer_renewed(struct sessions *s, struct moment now, struct bytes name)
{
    struct peer *peer = peer_find(s, name, false);
    struct line *line;

    if (!peer)
        return;
    peer->away = false;
    DL_FOREACH(peer->lines, line)
    stop_sealing(s, now, line);
    if (!peer->dialing && publications_owe(s, now, peer))
        (void)!dial_start(s, now, peer);
}

void sessions_peer_identity(struct sessions *s, struct moment now, struct bytes name,
                            const uint8_t identity[SIGN_PUBLIC_SIZE])
{
    const struct component *component = registry_find_identity(s->registry, identity);
    struct peer *peer = peer_find(s, name, true);
    struct line *line;

    if (!peer || !component || !bytes_equal_text(name, component->name) ||
        !component_is_active(s->registry, component, now.real_ms))
        return;
    peer->away = false;
    peer_meet(peer, identity);
    DL_FOREACH(peer->lines, line)
    if (line->sendable && memcmp(line->channel->peer, identity, SIGN_PUBLIC_SIZE) != 0)
        stop_sealing(s, now, line);
    if (peer->dialer && memcmp(peer->dialer->peer, identity, SIGN_PUBLIC_SIZE) != 0) {
        peer->hello_ms = now.boot_ms;
        peers_wake_at(s, now.boot_ms);
    }
}

void sessions_link_lost(struct sessions *s, struct moment now)
{
    struct peer *peer, *next;
    struct line *line;

    s->link = false;
    s->readings_known = false;
    HASH_ITER(hh, s->peers, peer, next)
    {
        bool dialing = peer->dialing;

        dial_stop(s, peer);
        peer->dialing = dialing; /* goes on when the link is up */
        half_open_drop_all(peer);
        ratchets_link_lost(peer);
        if (!s->settings.fresh_handshake)
            continue;
        DL_FOREACH(peer->lines, line)
        {
            line->sendable = false;
            line->link_lost = true;
            if (line->until_ms == 0)
                line->until_ms = now.boot_ms + s->settings.session_timeout_ms;
        }
    }
}

void sessions_link_up(struct sessions *s, struct moment now)
{
    struct peer *peer, *next;

    s->link = true;
    HASH_ITER(hh, s->peers, peer, next)
    {
        peer->away = false;
        if (peer->dialing) {
            peer->dialing = false;
            (void)!dial_start(s, now, peer);
        }
        readers_link_up(now, peer);
    }
    stored_link_up(s);
    ratchets_link_up(s, now);
    peers_wake_at(s, now.boot_ms);
}

/* --- what we listen to ---------------------------------------------------------------------- */

bool peers_is_subscribed(const struct sessions *s, struct bytes topic)
{
    return filters_match(&s->heard, topic) || filters_match(&s->shared, topic);
}

bool peers_is_shared(const struct sessions *s, struct bytes topic)
{
    return filters_match(&s->shared, topic) && !filters_match(&s->heard, topic);
}

int sessions_subscribed(struct sessions *s, struct moment now, struct bytes filter, bool shared)
{
    struct filters *heard = shared ? &s->shared : &s->heard;

    if (!filter_is_valid(filter))
        return AICO_ETOPIC;
    /* Said again after the link was lost: what was missed meanwhile is a gap like any other. */
    if (filters_count(heard, filter) > 0)
        return 0;
    if (filters_add(heard, filter, ++s->order) < 0)
        return AICO_ENOMEM;
    /* The first one also says that we did not listen before, whatever HEADS told meanwhile. */
    if (!s->heard_any)
        readers_heard_none(s);
    s->heard_any = true;
    readers_heard_more(s, now, filter);
    ratchets_heard_more(s, filter);
    return 0;
}

void sessions_unsubscribed(struct sessions *s, struct bytes filter, bool shared)
{
    struct filters *heard = shared ? &s->shared : &s->heard;

    if (filters_count(heard, filter) == 0)
        return;
    filters_remove(heard, filter);
    readers_heard_less(s, filter);
}

void sessions_set_backlogged(struct sessions *s, bool backlogged)
{
    s->backlogged = backlogged;
    s->deadline_ms = 0; /* the next tick looks at every chain */
}

/* --- the registry --------------------------------------------------------------------------- */

/* Ends everything with identities of @peer that may no longer be met. */
static void drop_unwelcome(struct sessions *s, struct moment now, struct peer *peer)
{
    struct handshake_context context = peers_context(s);
    struct line *line, *next;
    const struct component *component;
    struct half_open *half_open;
    bool had = peer->lines != NULL;
    int code = 0;

    DL_FOREACH_SAFE(peer->lines, line, next)
    {
        component = registry_find_identity(s->registry, line->channel->peer);
        code = handshake_may_meet(&context, now, component);
        if (code == 0 && !bytes_equal_text(peer_name(peer), component->name))
            code = AICO_ESTAMP;
        if (code < 0)
            line_remove(peer, line);
    }
    if (had && !peer->lines)
        event_push(s, &(struct session_event){.type = SESSION_LOST,
                                              .peer = peer_name(peer),
                                              .code = code,
                                              .text = aico_error_string(code)});
    for (half_open = peer->half_open; half_open; half_open = half_open->next) {
        component = registry_find_identity(s->registry, half_open->state->keys.peer);
        if (handshake_may_meet(&context, now, component) < 0) {
            half_open_drop_all(peer);
            break;
        }
    }
    component = peer_component(s, now, peer);
    code = handshake_may_meet(&context, now, component);
    if (peer->dialing && code < 0)
        dial_fail(s, peer, code);
    else if (peer->dialer && memcmp(peer->dialer->peer, component->identity, SIGN_PUBLIC_SIZE) != 0)
        peer->hello_ms = now.boot_ms; /* it has another key now */
}

/* What the registry in force, or the time, no longer allows ends now. */
static void enforce_registry(struct sessions *s, struct moment now)
{
    struct peer *peer, *next;

    HASH_ITER(hh, s->peers, peer, next)
    {
        drop_unwelcome(s, now, peer);
        seeds_update(s, now, peer);
    }
    resumes_update(s, now);
    readers_update(s, now);
    stored_update(s, now);
    ratchets_update(s, now);
    publications_update(s, now);
    s->recheck_real_ms = registry_next_change(s->registry, now.real_ms);
    peers_wake_at(s, now.boot_ms);
}

void sessions_set_registry(struct sessions *s, struct moment now, struct registry *registry)
{
    struct registry *former = s->registry;

    s->registry = registry_ref(registry);
    registry_unref(&former);
    enforce_registry(s, now);
}

/* --- time ----------------------------------------------------------------------------------- */

void peers_wake_at(struct sessions *s, int64_t boot_ms)
{
    s->deadline_ms = MIN(s->deadline_ms, boot_ms);
}

int64_t sessions_deadline(const struct sessions *s)
{
    if (s->events.count > (s->event_out ? 1u : 0u) || s->out_of_memory || s->is_unkept)
        return 0;
    return s->closed ? MOMENT_NEVER : s->deadline_ms;
}

static void early_expire(struct sessions *s, struct moment now, struct peer *peer)
{
    struct held *held, *next;

    DL_FOREACH_SAFE(peer->early.first, held, next)
    {
        if (now.boot_ms < held->until_ms)
            continue;
        if (held->cookie || held->delivery != DELIVERY_CONTROL)
            event_failed(s, peer_name(peer), bytes_of(held->data, held->topic_size), AICO_EKEY,
                         held->cookie);
        held_remove(&peer->early, held);
    }
}

static int64_t peer_deadline(const struct sessions *s, const struct peer *peer)
{
    int64_t deadline = MIN(dial_deadline(peer), lines_deadline(s, peer));

    if (peer->early.first)
        deadline = MIN(deadline, peer->early.first->until_ms);
    deadline = MIN(deadline, ratchets_peer_deadline(s, peer));
    return MIN(deadline, readers_deadline(s, peer));
}

void sessions_tick(struct sessions *s, struct moment now)
{
    struct peer *peer, *next;

    if (s->closed || now.boot_ms < s->deadline_ms)
        return;
    if (now.real_ms >= s->recheck_real_ms)
        enforce_registry(s, now);
    HASH_ITER(hh, s->peers, peer, next)
    {
        lines_tick(s, now, peer);
        dial_tick(s, now, peer);
        early_expire(s, now, peer);
        readers_tick(s, now, peer);
        ratchets_tick(s, now, peer);
    }
    publications_tick(s, now);
    ratchets_renew(s, now);
    if (s->resumables && now.boot_ms >= s->resumes_ms)
        resumes_update(s, now);
    if (s->resumes_keep_ms > 0 && now.boot_ms >= s->resumes_keep_ms)
        resumes_flush(s);

    s->deadline_ms = MIN(publications_deadline(s), ratchets_deadline(s, now));
    if (s->resumables)
        s->deadline_ms = MIN(s->deadline_ms, s->resumes_ms);
    if (s->resumes_keep_ms > 0)
        s->deadline_ms = MIN(s->deadline_ms, s->resumes_keep_ms);
    if (s->recheck_real_ms != INT64_MAX)
        s->deadline_ms =
            MIN(s->deadline_ms, now.boot_ms + MAX(s->recheck_real_ms - now.real_ms, (int64_t)1));
    for (peer = s->peers; peer; peer = peer->hh.next)
        s->deadline_ms = MIN(s->deadline_ms, peer_deadline(s, peer));
}
